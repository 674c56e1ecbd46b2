/* Feeds of texts: the cross-entropy of the labels that count. */
#include <math.h>

#include "nn/lm/lm.h"
#include "sow/feed.h"

typedef struct texts {
    sow_feed feed;
    sow_arena *arena;
    sow_lm *lm;
    sow_text_batches *batches;
    uint8_t *keep; /* of the batch that passed; NULL: all rows count */
} texts;

/* ---- passes ---- */

/* labels[i] is the token behind row i, so a row counts where the label before it does; of the first token of a sequence nothing is
 * predicted: it counts where the second does. */
static void mark_answers(const sow_tokens *tokens, const int32_t *labels, uint8_t *keep) {
    for (int64_t s = 0; s < tokens->sequences; s++)
        for (int64_t first = tokens->start[s], i = first; i < tokens->start[s + 1]; i++)
            keep[i] = labels[i > first ? i - 1 : i] >= 0;
}

static sow_status texts_pass(sow_feed *feed, sow_tape *tape, int64_t batch, const sow_site *last) {
    texts *x = feed->own;
    sow_tokens tokens;
    sow_tensor labels;
    SOW_TRY(sow_text_batches_at(x->batches, batch, &tokens, &labels));
    if (x->keep) mark_answers(&tokens, labels.data, x->keep);
    x->lm->layer_limit = last ? lm_layer_of(last->name) + 1 : 0;
    sow_lm_states(tape, x->lm, &tokens);
    x->lm->layer_limit = 0;
    return SOW_OK;
}

/* ---- losses ---- */

static double texts_counted(sow_feed *feed, int64_t first, int64_t count) {
    const texts *x = feed->own;
    return (double)sow_text_batches_counted(x->batches, first, count);
}

static sow_var texts_loss(sow_feed *feed, sow_tape *tape, int64_t batch, double divisor, sow_tally *tally) {
    const texts *x = feed->own;
    sow_tokens tokens;
    sow_tensor labels;
    double counted = texts_counted(feed, batch, 1);
    if (divisor <= 0) divisor = counted;
    sow_status status = sow_text_batches_at(x->batches, batch, &tokens, &labels);
    if (status != SOW_OK) return sow_tape_fail(tape, status);
    sow_var loss = sow_lm_loss(tape, x->lm, &tokens, labels, divisor);
    if (!loss) return NULL;
    tally->loss += sow_scalar(loss) * divisor;
    tally->examples += counted;
    tally->correct = NAN;
    return loss;
}

/* ---- making ---- */

static sow_status check(const sow_lm *lm, const sow_texts *t) {
    if (lm->config.positions > 0 && t->longest > lm->config.positions)
        return sow_fail(SOW_E_RANGE, "%s: a sequence of %lld tokens, but the model has positions for %lld", t->name,
                        (long long)t->longest, (long long)lm->config.positions);
    for (int64_t i = 0; i < t->start[t->count]; i++) {
        int64_t id = t->ids[i] > t->labels[i] ? t->ids[i] : t->labels[i];
        if (t->ids[i] < 0 || id >= lm->config.vocabulary)
            return sow_fail(SOW_E_RANGE,
                            "%s: token %lld, but the model's vocabulary has %lld: another tokenizer's texts?", t->name,
                            (long long)id, (long long)lm->config.vocabulary);
    }
    return SOW_OK;
}

static void texts_free(sow_feed *feed) {
    texts *x = feed->own;
    sow_text_batches_free(x->batches);
    sow_arena_free(x->arena);
}

static sow_status open_batches(texts *x, const sow_texts *t, const sow_feed_options *options) {
    SOW_TRY(sow_text_batches_new(t, options->batch, options->seed, options->shuffle, &x->batches));
    if (!options->answers) return SOW_OK;
    int64_t all = t->start[t->count];
    return SOW_NEW(x->arena, x->keep, t->longest < all / options->batch ? options->batch * t->longest : all);
}

sow_status sow_feed_texts(sow_lm *lm, const sow_texts *t, const sow_feed_options *options, sow_feed **out) {
    static const sow_feed_kind kind = {texts_pass, texts_loss, texts_counted, texts_free};
    sow_arena *arena;
    texts *x;
    SOW_TRY(check(lm, t));
    SOW_TRY(SOW_OWN(arena, x));
    *x = (texts){.arena = arena, .lm = lm};
    sow_status status = open_batches(x, t, options);
    if (status != SOW_OK) {
        sow_text_batches_free(x->batches);
        sow_arena_free(arena);
        return status;
    }
    x->feed = (sow_feed){.kind = &kind,
                         .state = lm->state,
                         .batches = sow_text_batches_per_epoch(x->batches),
                         .keep = x->keep,
                         .own = x};
    *out = &x->feed;
    return SOW_OK;
}
