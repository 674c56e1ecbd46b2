/* Feeds of images and tables: mean softmax cross-entropy, accuracy. */
#include "sow/feed.h"

typedef struct network {
    sow_feed feed;
    sow_arena *arena;
    sow_model *model;
    sow_batches *batches;
    int64_t count, batch; /* examples of an epoch, of a batch */
} network;

/* Counts rows whose largest logit (the first on ties) is the label's. */
static int64_t count_correct(sow_tensor logits, sow_tensor labels) {
    int64_t rows = logits.shape[0], classes = logits.shape[1], correct = 0;
    const float *z = logits.data;
    const int32_t *label = labels.data;
    for (int64_t r = 0; r < rows; r++, z += classes) {
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (z[c] > z[best]) best = c;
        correct += best == label[r];
    }
    return correct;
}

static sow_var logits_of(const network *n, sow_tape *tape, sow_tensor inputs) {
    return n->model->forward(tape, n->model->state, n->model, sow_constant(tape, inputs));
}

static sow_status network_pass(sow_feed *feed, sow_tape *tape, int64_t batch, const sow_site *last) {
    const network *n = feed->own;
    sow_tensor inputs, labels;
    (void)last;
    SOW_TRY(sow_batches_at(n->batches, batch, &inputs, &labels));
    logits_of(n, tape, inputs);
    return SOW_OK;
}

static sow_var network_loss(sow_feed *feed, sow_tape *tape, int64_t batch, double divisor, sow_tally *tally) {
    const network *n = feed->own;
    sow_tensor inputs, labels;
    sow_status status = sow_batches_at(n->batches, batch, &inputs, &labels);
    if (status != SOW_OK) return sow_tape_fail(tape, status);
    sow_var logits = logits_of(n, tape, inputs), mean = sow_softmax_cross_entropy(tape, logits, labels);
    if (!mean) return NULL;
    double examples = (double)labels.shape[0];
    tally->loss += sow_scalar(mean) * examples;
    tally->correct += (double)count_correct(sow_value(logits), labels);
    tally->examples += examples;
    return divisor > 0 ? sow_scale(tape, mean, examples / divisor, 0) : mean;
}

static double network_counted(sow_feed *feed, int64_t first, int64_t count) {
    const network *n = feed->own;
    int64_t sum = 0;
    for (int64_t b = first; b < first + count; b++) {
        int64_t left = n->count - b % feed->batches * n->batch;
        sum += left < n->batch ? left : n->batch;
    }
    return (double)sum;
}

static void network_free(sow_feed *feed) {
    network *n = feed->own;
    sow_batches_free(n->batches);
    sow_arena_free(n->arena);
}

sow_status sow_feed_network(sow_model *model, const sow_data *data, const sow_part *part,
                            const sow_feed_options *options, sow_feed **out) {
    static const sow_feed_kind kind = {network_pass, network_loss, network_counted, network_free};
    sow_arena *arena;
    network *n;
    SOW_TRY(SOW_OWN(arena, n));
    *n = (network){.arena = arena, .model = model, .count = part->count, .batch = options->batch};
    sow_status status = sow_batches_new(data, part, options->batch, options->seed, options->shuffle,
                                        options->augmentation, &n->batches);
    if (status != SOW_OK) {
        sow_arena_free(arena);
        return status;
    }
    n->feed = (sow_feed){.kind = &kind, .state = model->state, .batches = sow_batches_per_epoch(n->batches), .own = n};
    *out = &n->feed;
    return SOW_OK;
}
