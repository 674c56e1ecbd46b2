/* sow sgd-sai simulate: a small model trained by any optimiser, with what the study compares. */
#include <math.h>
#include <string.h>

#include "optim/options.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

enum { LAST_LOSSES = 10 };

const sow_option sai_simulate_options[] = {
    SOW_OPTION_TEXT("arch", "gpt:64-2-4-64",
                    "gpt:WIDTH-LAYERS-HEADS-CONTEXT on the bytes of a text, or a network as for `sow train`"),
    SOW_OPTION_TEXT("model", NULL, "a language model instead: all its weights, or with --rank an adapter"),
    SOW_OPTION_PATH("data", NULL,
                    "a text or a folder of texts for gpt, default: the licence texts of Debian's base-files; texts for "
                    "--model; else a data set"),
    SAI_SUBJECT_OPTIONS,
    SOW_OPTIMIZER_OPTIONS("sgd-sai"),
    SOW_OPTION_FLAG("permute", "of sgd-sai: measured scales are handed out to the blocks at random"),
    SOW_OPTION_FLAG("convert",
                    "--lr and --weight-decay are meant for --scale-norm none: they are converted by the largest scale"),
    SOW_OPTION_COUNT("steps", "300", 1, 1e9, "steps", "length of the training"),
    SOW_OPTION_TEXT("schedule", "warmup:20+cosine:0.1", "of the rate, as for `sow train`"),
    SOW_OPTION_OUTPUT_OR("the result as a JSON file"),
    SOW_OPTION_FORCE,
    {0},
};

typedef struct simulation {
    sai_subject subject;
    sow_training training;
    sow_feed watched;                /* the training part, with its losses noted: */
    double first, last[LAST_LOSSES]; /* of the first batch, and of the last ones */
    int64_t batches;
    sow_scales scales; /* measured; count 0: none */
    int64_t state_bytes;
} simulation;

/* ---- losses ---- */

static sow_var watched_loss(sow_feed *feed, sow_tape *t, int64_t batch, double divisor, sow_tally *tally) {
    simulation *s = feed->own;
    sow_var loss = sow_feed_loss(s->subject.train, t, batch, divisor, tally);
    if (!loss) return NULL;
    if (s->batches == 0) s->first = sow_scalar(loss);
    s->last[s->batches++ % LAST_LOSSES] = sow_scalar(loss);
    return loss;
}

static void watch(simulation *s) {
    static const sow_feed_kind kind = {.loss = watched_loss};
    s->watched = *s->subject.train;
    s->watched.kind = &kind;
    s->watched.own = s;
}

/* ---- scales ---- */

/* As the optimiser will at its first step: from the gradient after clipping, which changes g where epsilon shows. */
static sow_status measure(simulation *s) {
    const sow_optimizer_config *o = &s->training.optimizer;
    const sow_sgd_sai_config config = {
        .adapter = s->subject.adapter, .blocks = o->blocks, .norm = o->normalise, .batches = 1};
    sow_arena *arena = s->subject.call->arena;
    if (o->kind != SOW_SGD_SAI || o->scales) return SOW_OK;
    SOW_TRY(sow_sgd_sai(&config, s->subject.train, arena, &s->scales));
    if (s->training.clip <= 0) return SOW_OK;
    sow_clip_gradients(s->subject.state, s->training.clip);
    return sow_scales_measure(arena, s->subject.state, &o->blocks, o->normalise, &s->scales);
}

/* The negative control: the same scales, at other blocks. */
static sow_status permute(simulation *s) {
    sow_call *call = s->subject.call;
    sow_rng rng;
    int64_t *order;
    double *scale;
    if (s->scales.count == 0)
        return sow_fail(SOW_E_ARGUMENT, "--permute belongs to measured scales of --optimizer sgd-sai");
    SOW_TRY(SOW_NEW(call->arena, order, s->scales.count));
    SOW_TRY(SOW_NEW(call->arena, scale, s->scales.count));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, s->training.seed));
    sow_rng_at(&rng, "sgd-sai", "permutation");
    sow_rng_permutation(&rng, order, s->scales.count);
    for (int64_t i = 0; i < s->scales.count; i++) scale[i] = s->scales.rows[order[i]].scale;
    for (int64_t i = 0; i < s->scales.count; i++) s->scales.rows[i].scale = scale[i];
    s->training.optimizer.scales = &s->scales;
    return SOW_OK;
}

static sow_status convert(simulation *s) {
    sow_optimizer_config *o = &s->training.optimizer;
    if (s->scales.count == 0 || o->normalise != SOW_SCALES_MAX)
        return sow_fail(SOW_E_ARGUMENT, "--convert belongs to --optimizer sgd-sai --scale-norm max");
    o->rate *= s->scales.largest;
    o->weight_decay /= s->scales.largest;
    return SOW_OK;
}

/* How far g, but for epsilon, is from (n - 1) / (1 - n mean^2 / norm^2), relative: rounding alone. */
static double identity_error(const sow_scales *scales) {
    double most = 0;
    for (int64_t i = 0; i < scales->count; i++) {
        const sow_gsnr *g = &scales->rows[i].gsnr;
        if (g->kind != SOW_GSNR_MEASURED && g->kind != SOW_GSNR_TINY) continue;
        double n = (double)g->n, square = g->norm / g->sd * (g->norm / g->sd);
        most = fmax(most, fabs(square * (1 - n * g->mean * g->mean / (g->norm * g->norm)) / (n - 1) - 1));
    }
    return most;
}

/* ---- running ---- */

static sow_status count_state(simulation *s) {
    sow_optimizer *o;
    SOW_TRY(sow_optimizer_new(&s->training.optimizer, s->subject.state, &o));
    const sow_state *moments = sow_optimizer_moments(o);
    for (int64_t i = 0; i < sow_state_count(moments); i++)
        s->state_bytes += (int64_t)sow_bytes(sow_state_entry(moments, i)->value);
    sow_optimizer_free(o);
    return SOW_OK;
}

static sow_status attach(void *user, sow_tape *tape) {
    return user ? sow_adapter_attach(user, tape) : SOW_OK;
}

static sow_status choose_subject(sow_call *call) {
    if (!sow_text(call, "model")) return SOW_OK;
    if (sow_given(call, "arch")) return sow_fail(SOW_E_ARGUMENT, "--model and --arch exclude each other");
    sow_resolve(call, "arch", NULL);
    sow_resolve(call, "val", "32");
    return SOW_OK;
}

static sow_status prepare(simulation *s) {
    sow_call *call = s->subject.call;
    sow_training *t = &s->training;
    *t = (sow_training){.steps = sow_int(call, "steps"),
                        .batch = 1,
                        .seed = (uint64_t)sow_int(call, "seed"),
                        .clip = sow_real(call, "clip")};
    SOW_TRY(sow_schedule_parse(sow_text(call, "schedule"), &t->schedule));
    SOW_TRY(optim_check_options(call, &t->optimizer));
    SOW_TRY(choose_subject(call));
    SOW_TRY(sai_open(call, &s->subject));
    SOW_TRY(optim_read_options(call, s->subject.state, s->subject.heads, &t->optimizer));
    SOW_TRY(measure(s));
    if (sow_flag(call, "permute")) SOW_TRY(permute(s));
    if (sow_flag(call, "convert")) SOW_TRY(convert(s));
    return count_state(s);
}

static sow_status report_model(const simulation *s) {
    sow_call *call = s->subject.call;
    json_t *r = call->result;
    SOW_TRY(sow_put_text(r, "model", s->subject.model_name));
    SOW_TRY(sow_put_text(r, "data", s->subject.data_name));
    SOW_TRY(sow_put_text(r, "optimizer", sow_text(call, "optimizer")));
    SOW_TRY(sow_put_real(r, "lr", s->training.optimizer.rate));
    SOW_TRY(sow_put_count(r, "parameters", sow_state_parameters(s->subject.state)));
    SOW_TRY(sow_put_count(r, "state_bytes", s->state_bytes));
    if (s->scales.count == 0) return SOW_OK;
    sow_sai_summary sum = sow_sai_summarise(&s->scales);
    SOW_TRY(sow_put_real(r, "largest_g", s->scales.largest));
    SOW_TRY(sow_put_count(r, "dead_blocks", sum.dead));
    SOW_TRY(sow_put_real(r, "least_ratio_to_sqrt_n", sum.least));
    SOW_TRY(sow_put_real(r, "most_ratio_to_sqrt_n", sum.most));
    return sow_put_real(r, "identity_error", identity_error(&s->scales));
}

static sow_status report_training(const simulation *s) {
    json_t *r = s->subject.call->result;
    const sow_evaluation *e = &s->training.curve[s->training.evaluations - 1];
    int64_t losses = s->batches < LAST_LOSSES ? s->batches : LAST_LOSSES;
    double last = 0;
    for (int64_t i = 0; i < losses; i++) last += s->last[i] / (double)losses;
    SOW_TRY(sow_put_real(r, "first_train_loss", s->first));
    SOW_TRY(sow_put_real(r, "last_train_loss", last));
    SOW_TRY(sow_put_real(r, "share_of_first_loss", last / s->first));
    SOW_TRY(sow_put_known(r, "val_loss", e->validation_loss));
    return sow_put_known(r, "val_accuracy", e->validation_accuracy);
}

/* A training that diverges has a result too, without losses: searches of rates go on. */
static sow_status run(simulation *s) {
    sow_call *call = s->subject.call;
    SOW_TRY(prepare(s));
    sow_task task = {.state = s->subject.state,
                     .train = &s->watched,
                     .validation = s->subject.validation,
                     .identity = "",
                     .open = attach,
                     .user = s->subject.adapter};
    watch(s);
    SOW_TRY(report_model(s));
    sow_status status = sow_train_task(call->arena, &s->training, &task);
    SOW_TRY(sow_put_flag(call->result, "diverged", status == SOW_E_NUMBER));
    if (status == SOW_E_NUMBER) sow_warn("%s", sow_message());
    if (status == SOW_E_NUMBER) return SOW_OK;
    SOW_TRY(status);
    return report_training(s);
}

sow_status sai_simulate(sow_call *call) {
    simulation s = {.subject = {.call = call}};
    const char *out = sow_text(call, "out");
    char *text;
    if (out) SOW_TRY(sow_check_output(call, out));
    sow_status status = run(&s);
    sai_close(&s.subject);
    if (status || !out) return status;
    SOW_TRY(sow_json_text(call->arena, call->result, SOW_JSON_PRETTY, &text));
    SOW_TRY(sow_write_file(out, text, strlen(text)));
    return sow_wrote(call, out);
}
