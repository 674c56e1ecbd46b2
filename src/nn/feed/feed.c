/* Feeds: what is done with batches of any kind. */
#include "sow/feed.h"

#include <math.h>

#include "sow/log.h"

sow_status sow_feed_pass(sow_feed *feed, sow_tape *tape, int64_t batch, const sow_site *last) {
    if (!feed->kind->pass) return sow_fail(SOW_E_UNSUPPORTED, "these batches have losses, but no passes to watch");
    return feed->kind->pass(feed, tape, batch, last);
}

sow_var sow_feed_loss(sow_feed *feed, sow_tape *tape, int64_t batch, double divisor, sow_tally *tally) {
    return feed->kind->loss(feed, tape, batch, divisor, tally);
}

double sow_feed_counted(sow_feed *feed, int64_t first, int64_t count) {
    return feed->kind->counted(feed, first, count);
}

void sow_feed_free(sow_feed *feed) {
    if (feed && feed->kind->free) feed->kind->free(feed);
}

static sow_status evaluate(sow_feed *feed, sow_tape *tape, sow_tally *tally) {
    for (int64_t b = 0; b < feed->batches; b++) {
        if (sow_feed_counted(feed, b, 1) <= 0) continue;
        sow_tape_reset(tape);
        sow_tape_train(tape, false);
        sow_tape_record(tape, false);
        sow_feed_loss(feed, tape, b, 1, tally);
        SOW_TRY(sow_tape_status(tape));
    }
    return SOW_OK;
}

sow_status sow_feed_evaluate(sow_feed *feed, sow_tape *tape, sow_tally *tally) {
    *tally = (sow_tally){0};
    sow_status status = evaluate(feed, tape, tally);
    sow_tape_reset(tape);
    return status;
}

static sow_status add_gradients(sow_feed *feed, sow_tape *tape, double *loss) {
    double all = sow_feed_counted(feed, 0, feed->batches);
    for (int64_t b = 0; b < feed->batches; b++) {
        sow_tally tally = {0};
        if (sow_feed_counted(feed, b, 1) <= 0) continue;
        sow_tape_reset(tape);
        sow_var share = sow_feed_loss(feed, tape, b, all, &tally);
        SOW_TRY(sow_tape_status(tape));
        if (!isfinite(sow_scalar(share)))
            return sow_fail(SOW_E_NUMBER, "the loss of batch %lld of the samples is not finite", (long long)b + 1);
        *loss += sow_scalar(share);
        SOW_TRY(sow_tape_backward(tape, share));
        sow_progress("gradients", b + 1, feed->batches);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

sow_status sow_feed_gradients(sow_feed *feed, double *loss) {
    sow_tape *tape;
    *loss = 0;
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = add_gradients(feed, tape, loss);
    sow_tape_free(tape);
    return status;
}
