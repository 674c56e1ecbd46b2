/* Learning-rate scales from the first gradients: Xu et al. 2024, arXiv 2412.11768. */
#include <math.h>

#include "sow/log.h"
#include "sow/ops.h"
#include "sow/steps.h"

static const double FAR = 0.02; /* from sqrt(n), relative */

/* The gradient of one batch's loss times `share`, added to what is there. */
static sow_status add_gradient(sow_tape *t, sow_feed *feed, int64_t batch, double share) {
    sow_tally tally = {0};
    sow_tape_reset(t);
    sow_var loss = sow_feed_loss(feed, t, batch, 0, &tally);
    SOW_TRY(sow_tape_status(t));
    if (!isfinite(sow_scalar(loss)))
        return sow_fail(SOW_E_NUMBER, "sgd-sai: the loss of batch %lld is %f", (long long)batch + 1, sow_scalar(loss));
    if (share != 1) loss = sow_scale(t, loss, share, 0);
    SOW_TRY(sow_tape_status(t));
    return sow_tape_backward(t, loss);
}

static sow_status measure(const sow_sgd_sai_config *c, sow_tape *t, sow_feed *feed, sow_arena *arena, sow_scales *out) {
    sow_state *state = c->adapter ? c->adapter->state : feed->state;
    SOW_TRY(sow_state_add_gradients(state));
    sow_fresh_gradients(state);
    for (int64_t b = 0; b < c->batches; b++) {
        if (c->mean_of_scales) sow_fresh_gradients(state);
        SOW_TRY(add_gradient(t, feed, b, c->mean_of_scales ? 1 : 1 / (double)c->batches));
        sow_progress("measuring", b + 1, c->batches);
        SOW_TRY(sow_check_interrupt());
        if (!c->mean_of_scales) continue;
        sow_scales one;
        SOW_TRY(sow_scales_measure(arena, state, &c->blocks, c->norm, b == 0 ? out : &one));
        if (b > 0) SOW_TRY(sow_scales_add(out, &one));
    }
    if (!c->mean_of_scales) return sow_scales_measure(arena, state, &c->blocks, c->norm, out);
    sow_scales_divide(out, c->batches);
    return SOW_OK;
}

sow_status sow_sgd_sai(const sow_sgd_sai_config *config, sow_feed *feed, sow_arena *arena, sow_scales *out) {
    sow_tape *tape;
    SOW_TRY(sow_tape_new(&tape));
    sow_tape_train(tape, true);
    sow_status status = config->adapter ? sow_adapter_attach(config->adapter, tape) : SOW_OK;
    if (status == SOW_OK) status = measure(config, tape, feed, arena, out);
    sow_tape_free(tape);
    return status;
}

sow_sai_summary sow_sai_summarise(const sow_scales *s) {
    sow_sai_summary out = {.least = INFINITY, .most = 0};
    for (int64_t i = 0; i < s->count; i++) {
        const sow_gsnr *g = &s->rows[i].gsnr;
        out.dead += g->kind == SOW_GSNR_DEAD;
        out.single += g->kind == SOW_GSNR_SINGLE;
        out.constant += g->kind == SOW_GSNR_CONSTANT;
        out.tiny += g->kind == SOW_GSNR_TINY;
        if (g->kind == SOW_GSNR_DEAD || g->kind == SOW_GSNR_SINGLE) continue;
        double ratio = g->g / sqrt((double)g->n);
        bool off = fabs(ratio - 1) > FAR;
        out.blocks++;
        out.weights += g->n;
        out.blocks_off += off;
        out.weights_off += off ? g->n : 0;
        out.least = fmin(out.least, ratio);
        out.most = fmax(out.most, ratio);
    }
    return out;
}
