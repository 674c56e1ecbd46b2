/* Continuing a prompt: one token after the other, its text as soon as it is certain, until something says stop. */
#include "sow/generate.h"

#include <stdlib.h>
#include <string.h>

#include "sow/log.h"

const char *sow_stop_name(sow_stop stop) {
    static const char *const names[] = {"end", "stop string", "limit", "context"};
    return names[stop];
}

/* ---- the text so far ---- */

/* Tokens become text in pieces: those from `from` on are decoded together, and what they say beyond the tokens before `to` is
 * new. A character whose bytes are not all there decodes to U+FFFD at the end and waits. */
typedef struct writer {
    const sow_generation *how;
    const sow_tokenizer *tokenizer;
    sow_arena *arena;
    int32_t *ids;
    int64_t count, from, to;
    char *text;
    size_t size, room, said;
    bool stopped; /* by a stop string */
} writer;

static bool waits(const char *text, size_t size) {
    return size >= 3 && !memcmp(text + size - 3, "\xEF\xBF\xBD", 3);
}

static sow_status add_text(writer *w, const char *text, size_t size) {
    if (w->size + size + 1 > w->room) {
        size_t room = 2 * (w->size + size + 1) + 1024;
        char *larger;
        SOW_TRY(SOW_NEW_RAW(w->arena, larger, room));
        if (w->size > 0) memcpy(larger, w->text, w->size);
        w->text = larger;
        w->room = room;
    }
    memcpy(w->text + w->size, text, size);
    w->size += size;
    w->text[w->size] = 0;
    return SOW_OK;
}

/* Cuts the text at the first stop string; those that end before `old` were looked for before. */
static void find_stop(writer *w, size_t old) {
    size_t first = w->size + 1;
    for (const char *const *s = w->how->stops; s && *s; s++) {
        size_t n = strlen(*s), begin = old > n ? old - n : 0;
        const char *found = n > 0 ? memmem(w->text + begin, w->size - begin, *s, n) : NULL;
        if (found && (size_t)(found - w->text) < first) first = (size_t)(found - w->text);
    }
    if (first > w->size) return;
    w->size = first;
    w->text[first] = 0;
    w->stopped = true;
}

/* How many bytes at the end could begin a stop string. */
static size_t held_back(const writer *w) {
    size_t most = 0;
    for (const char *const *s = w->how->stops; s && *s; s++) {
        size_t n = strlen(*s);
        for (size_t k = n > 0 ? n - 1 : 0; k > most; k--)
            if (k <= w->size && !memcmp(w->text + w->size - k, *s, k)) most = k;
    }
    return most;
}

static sow_status say(writer *w, bool last) {
    size_t until = w->size - (last || w->stopped ? 0 : held_back(w));
    if (until <= w->said || !w->how->say) return SOW_OK;
    SOW_TRY(w->how->say(w->how->user, w->text + w->said, until - w->said));
    w->said = until;
    return SOW_OK;
}

/* Takes in the tokens that came; last: whatever they are. */
static sow_status write_new(writer *w, sow_arena *scratch, bool last) {
    char *before, *now;
    size_t before_size, now_size, old = w->size;
    SOW_TRY(sow_decode(w->tokenizer, scratch, w->ids + w->from, w->to - w->from, true, &before, &before_size));
    SOW_TRY(sow_decode(w->tokenizer, scratch, w->ids + w->from, w->count - w->from, true, &now, &now_size));
    if (now_size > before_size && (last || !waits(now, now_size))) {
        SOW_TRY(add_text(w, now + before_size, now_size - before_size));
        find_stop(w, old);
        w->from = w->to;
        w->to = w->count;
    }
    return say(w, last);
}

/* ---- the loop ---- */

typedef struct run {
    sow_tape *t;
    sow_lm *lm;
    sow_lm_cache *cache;
    sow_arena *scratch;
    float *logits;
    uint8_t *seen;
    int64_t prompt_count;
    double begin;
} run;

static bool is_end(const run *r, const sow_generation *how, int32_t id) {
    if (id == how->end) return true;
    for (int i = 0; i < r->lm->config.end_count; i++)
        if (r->lm->config.ends[i] == id) return true;
    return false;
}

static sow_status next_token(run *r, writer *w, uint64_t step, int32_t *id) {
    sow_mark mark = sow_arena_mark(r->scratch);
    sow_status status = sow_lm_sample(&w->how->sampling, r->scratch, r->logits, r->lm->config.vocabulary, r->seen, step,
                                      id);
    sow_arena_release(r->scratch, mark);
    return status;
}

static sow_status loop(run *r, writer *w, sow_generated *out) {
    int32_t id;
    for (int64_t step = 0;; step++) {
        SOW_TRY(sow_check_interrupt());
        SOW_TRY(next_token(r, w, (uint64_t)step, &id));
        if (step == 0) out->first_seconds = sow_seconds() - r->begin;
        out->stop = SOW_STOP_END;
        if (is_end(r, w->how, id)) return SOW_OK;
        w->ids[w->count++] = id;
        r->seen[id] = 1;
        sow_mark mark = sow_arena_mark(r->scratch);
        SOW_TRY(write_new(w, r->scratch, false));
        sow_arena_release(r->scratch, mark);
        out->stop = w->stopped ? SOW_STOP_TEXT : SOW_STOP_LIMIT;
        if (w->stopped || w->count == w->how->max_tokens) return SOW_OK;
        out->stop = SOW_STOP_CONTEXT;
        if (r->prompt_count + w->count >= r->lm->config.positions) return SOW_OK;
        SOW_TRY(sow_lm_extend(r->t, r->lm, r->cache, &id, 1, r->logits));
    }
}

static sow_status begin(run *r, const int32_t *prompt, int64_t count, int64_t limit) {
    int64_t n = r->lm->config.vocabulary, room = count + limit;
    if (count < 1 || count >= r->lm->config.positions)
        return sow_fail(SOW_E_RANGE, "the prompt has %lld tokens, expected 1 to %lld", (long long)count,
                        (long long)r->lm->config.positions - 1);
    if (room > r->lm->config.positions) room = r->lm->config.positions;
    SOW_TRY(SOW_NEW_RAW(r->scratch, r->logits, n));
    SOW_TRY(SOW_NEW(r->scratch, r->seen, n));
    SOW_TRY(sow_lm_cache_new(r->lm, room, &r->cache));
    SOW_TRY(sow_lm_extend(r->t, r->lm, r->cache, prompt, count, r->logits));
    for (int64_t i = 0; i < count; i++) r->seen[prompt[i]] = 1;
    return SOW_OK;
}

static sow_status generate(run *r, writer *w, const int32_t *prompt, sow_generated *out) {
    SOW_TRY(begin(r, prompt, r->prompt_count, w->how->max_tokens));
    int64_t room = r->lm->config.positions - r->prompt_count;
    SOW_TRY(SOW_NEW_RAW(w->arena, w->ids, w->how->max_tokens < room ? w->how->max_tokens : room));
    SOW_TRY(add_text(w, "", 0));
    SOW_TRY(loop(r, w, out));
    if (!w->stopped) SOW_TRY(write_new(w, r->scratch, true));
    *out = (sow_generated){w->ids, w->count, w->text, w->size, out->stop, out->first_seconds, sow_seconds() - r->begin};
    return SOW_OK;
}

sow_status sow_lm_generate(sow_tape *t, sow_lm *lm, sow_tokenizer *tokenizer, sow_arena *arena, const int32_t *prompt,
                           int64_t count, const sow_generation *how, sow_generated *out) {
    run r = {.t = t, .lm = lm, .prompt_count = count, .begin = sow_seconds()};
    writer w = {.how = how, .tokenizer = tokenizer, .arena = arena};
    *out = (sow_generated){0};
    if (how->max_tokens < 1)
        return sow_fail(SOW_E_ARGUMENT, "at most %lld tokens, expected 1 or more", (long long)how->max_tokens);
    SOW_TRY(sow_arena_new(&r.scratch));
    sow_status status = generate(&r, &w, prompt, out);
    sow_lm_cache_free(r.cache);
    sow_arena_free(r.scratch);
    return status;
}
