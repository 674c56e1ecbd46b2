/* sow lm score: likelihoods of texts, of the next token, and of answers to choose from. */
#include <math.h>
#include <string.h>

#include "cli/lm.h"
#include "nn/lm/base_model.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/text.h"
#include "sow/tune.h"

/* ---- texts ---- */

typedef struct scorer {
    cli_lm model;
    int64_t window, tokens, counted;
    double sum;
} scorer;

/* Sum of -log p over the ids in windows of the model's context; each window begins anew. */
static sow_status score_ids(scorer *s, const int32_t *ids, int64_t count, double *sum, int64_t *counted) {
    int32_t *labels;
    SOW_TRY(SOW_NEW_RAW(s->model.call->arena, labels, s->window));
    *sum = 0;
    *counted = 0;
    for (int64_t at = 0; at < count; at += s->window) {
        int64_t n = count - at < s->window ? count - at : s->window, some, start[2] = {0, n};
        double part;
        for (int64_t i = 0; i < n; i++) labels[i] = i + 1 < n ? ids[at + i + 1] : -1;
        sow_tokens tokens = {ids + at, start, 1};
        SOW_TRY(sow_lm_score(s->model.tape, s->model.lm, &tokens, SOW_TENSOR(labels, SOW_I32, n), &part, &some));
        *sum += part;
        *counted += some;
        sow_progress("scoring", at + n, count);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

static sow_status score_text(scorer *s, sow_span text, double *sum, int64_t *counted) {
    sow_encoding e;
    SOW_TRY(sow_encode(s->model.tokenizer, s->model.call->arena, text.text, text.size, cli_encode_flags(s->model.call),
                       &e));
    SOW_TRY(score_ids(s, e.ids, e.count, sum, counted));
    s->tokens += e.count;
    s->sum += *sum;
    s->counted += *counted;
    return SOW_OK;
}

static sow_status score_lines(scorer *s, const char *path) {
    cli_lines in;
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(s->model.call->result, "lines", rows));
    SOW_TRY(cli_read_lines(s->model.call->arena, path, &in));
    for (int64_t i = 0; i < in.count; i++) {
        double sum;
        int64_t counted;
        sow_status status = score_text(s, in.at[i], &sum, &counted);
        if (status != SOW_OK) return sow_fail_in(status, "%s: text %lld", path, (long long)i + 1);
        json_t *row = json_pack("{s:I,s:I,s:f}", "line", (json_int_t)i + 1, "predicted", (json_int_t)counted, "loss",
                                counted > 0 ? sum / (double)counted : 0.0);
        if (counted == 0) json_object_set_new(row, "loss", json_null());
        SOW_TRY(sow_append_json(rows, row));
    }
    return SOW_OK;
}

/* Files of samples are read as `sow train` reads them: only what is to be answered counts. */
static bool holds_samples(const char *path) {
    return sow_ends_with_any_case(path, ".jsonl") || sow_ends_with_any_case(path, ".ndjson") ||
           sow_ends_with_any_case(path, ".tsv");
}

static sow_status score_samples(scorer *s) {
    enum { BATCH = 4 };
    sow_texts *texts;
    json_t *r = s->model.call->result;
    SOW_TRY(base_texts_read(s->model.call, s->model.lm, s->model.tokenizer, s->window, sow_text(s->model.call, "data"),
                            &texts));
    sow_status status = sow_lm_evaluate(s->model.tape, s->model.lm, texts, BATCH, &s->sum, &s->counted);
    s->tokens = texts->start[texts->count];
    if (!status) status = sow_put_text(r, "format", texts->format);
    if (!status) status = sow_put_count(r, "sequences", texts->count);
    if (!status && texts->cut > 0) status = sow_put_count(r, "cut", texts->cut);
    sow_texts_free(texts);
    return status;
}

static sow_status score_whole(scorer *s, const char *path) {
    sow_span whole;
    double sum;
    int64_t counted;
    SOW_TRY(cli_read_text(s->model.call->arena, path, &whole));
    return score_text(s, whole, &sum, &counted);
}

static sow_status score_data(scorer *s) {
    const char *path = sow_text(s->model.call, "data");
    if (sow_flag(s->model.call, "per-line")) SOW_TRY(score_lines(s, path));
    else SOW_TRY(holds_samples(path) ? score_samples(s) : score_whole(s, path));
    if (s->counted == 0)
        return sow_fail(SOW_E_FORMAT, "%s: nothing to predict: the text has %lld tokens", path, (long long)s->tokens);
    double loss = s->sum / (double)s->counted;
    json_t *r = s->model.call->result;
    SOW_TRY(sow_put_count(r, "tokens", s->tokens));
    SOW_TRY(sow_put_count(r, "predicted", s->counted));
    SOW_TRY(sow_put_real(r, "loss", loss));
    return sow_put_real(r, "perplexity", exp(loss));
}

/* The `top` largest logits; equal ones by id. */
static sow_status add_top(scorer *s, const float *logits, int64_t n, int64_t top) {
    json_t *list = json_array();
    SOW_TRY(sow_put_json(s->model.call->result, "top", list));
    float bound = INFINITY;
    int64_t last = -1;
    for (int64_t k = 0; k < top && k < n; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++) {
            bool later = logits[i] < bound || (logits[i] == bound && i > last);
            if (later && (best < 0 || logits[i] > logits[best])) best = i;
        }
        if (best < 0) break;
        sow_span token = sow_token_text(s->model.tokenizer, (int32_t)best);
        json_t *text = json_stringn(token.text ? token.text : "", token.size); /* NULL: part of a character */
        json_t *row = s->model.call->json
                          ? json_pack("[I,f]", (json_int_t)best, (double)logits[best])
                          : json_pack("{s:I,s:o,s:f}", "id", (json_int_t)best, "token",
                                      text ? json_incref(text) : json_null(), "logit", (double)logits[best]);
        json_decref(text);
        SOW_TRY(sow_append_json(list, row));
        bound = logits[best];
        last = best;
    }
    return SOW_OK;
}

static sow_status score_prompt(scorer *s) {
    const char *prompt = sow_text(s->model.call, "prompt");
    sow_encoding e;
    SOW_TRY(sow_encode(s->model.tokenizer, s->model.call->arena, prompt, strlen(prompt),
                       cli_encode_flags(s->model.call), &e));
    if (e.count == 0) return sow_fail(SOW_E_ARGUMENT, "--prompt: no token in it");
    int64_t start[2] = {0, e.count}, n = s->model.lm->config.vocabulary;
    sow_tokens tokens = {e.ids, start, 1};
    sow_tape_record(s->model.tape, false);
    sow_var logits = sow_lm_logits(
        s->model.tape, s->model.lm,
        sow_narrow(s->model.tape, sow_lm_states(s->model.tape, s->model.lm, &tokens), 0, e.count - 1, 1));
    SOW_TRY(sow_tape_status(s->model.tape));
    const float *z = sow_value(logits).data;
    double largest = z[0], sum = 0;
    for (int64_t i = 1; i < n; i++) largest = fmax(largest, (double)z[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((double)z[i] - largest);
    SOW_TRY(add_top(s, z, n, sow_int(s->model.call, "top")));
    return sow_put_real(s->model.call->result, "logsumexp", log(sum) + largest);
}

sow_status cli_lm_score(sow_call *call) {
    scorer s = {0};
    if (!!sow_text(call, "data") + !!sow_text(call, "prompt") + !!sow_text(call, "choices") != 1)
        return sow_fail(SOW_E_ARGUMENT, "give either --data or --prompt or --choices");
    sow_status status = cli_lm_open(call, &s.model);
    if (status == SOW_OK) {
        int64_t window = sow_int(call, "context");
        s.window = window > 0 && window < s.model.lm->config.positions ? window
                   : s.model.lm->config.positions < 1024               ? s.model.lm->config.positions
                                                                       : 1024;
        status = sow_text(call, "prompt")    ? score_prompt(&s)
                 : sow_text(call, "choices") ? cli_lm_score_choices(&s.model, s.window)
                                             : score_data(&s);
    }
    cli_lm_close(&s.model);
    return status;
}

const sow_option cli_lm_score_options[] = {
    CLI_LM_MODEL,
    SOW_OPTION_TEXT("data", NULL,
                    "a text file; .jsonl and .tsv: samples as for `sow train`, of which the answers count; -: standard "
                    "input"),
    SOW_OPTION_TEXT("prompt", NULL, "show the likeliest next tokens instead"),
    SOW_OPTION_INT("top", "10", 1, 100000, "how many of them"),
    SOW_OPTION_TEXT(
        "choices", NULL,
        "questions, one a line: {\"prompt\" or \"question\": .., \"choices\": [..], \"answer\": number from 0}"),
    SOW_OPTION_FLAG(
        "per-line",
        "each line (.jsonl: its \"text\") is a text of its own, with its loss; each question with its answers"),
    SOW_OPTION_INT("context", "0", 0, 1 << 24, "tokens of a window; 0: 1,024 or what the model takes"),
    CLI_LM_ADAPTER,
    BASE_SAMPLE_OPTIONS,
    CLI_LM_TOKENIZER,
    CLI_LM_INVALID,
    {0},
};
