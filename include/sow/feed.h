/* Batches on their way through a network: where training, and starts that look at data, get passes, losses and gradients. */
#ifndef SOW_FEED_H
#define SOW_FEED_H

#include "sow/adapter.h"
#include "sow/data.h"
#include "sow/texts.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sums over examples (of a language model: over tokens that count). */
typedef struct sow_tally {
    double loss, correct, examples; /* correct NaN: nothing is classified */
} sow_tally;

typedef struct sow_feed sow_feed;

/* A kind of data through a kind of network. Batches are numbered from 0, over all epochs; any one at any time. */
typedef struct sow_feed_kind {
    /* Records the pass of a batch, at least as far as the site `last` (NULL: to the end), and sets `keep` before it reaches the
     * first site. NULL: this kind has losses only. */
    sow_status (*pass)(sow_feed *feed, sow_tape *tape, int64_t batch, const sow_site *last);
    /* Records the sum of the batch's losses divided by `divisor` (0: by how many there are), and adds them to the tally. */
    sow_var (*loss)(sow_feed *feed, sow_tape *tape, int64_t batch, double divisor, sow_tally *tally);
    /* How many losses batches [first, first + count) have. */
    double (*counted)(sow_feed *feed, int64_t first, int64_t count);
    /* NULL: the feed is its caller's. */
    void (*free)(sow_feed *feed);
} sow_feed_kind;

struct sow_feed {
    const sow_feed_kind *kind;
    sow_state *state;    /* the network's weights */
    int64_t batches;     /* of an epoch; 0: they never repeat */
    const uint8_t *keep; /* of the last pass: one byte a row of what enters the sites, 0 leaves the row out; NULL: all count */
    void *own;           /* the kind's */
};

typedef struct sow_feed_options {
    int64_t batch;         /* examples or sequences */
    uint64_t seed;         /* of the order, and of augmentation */
    bool shuffle;          /* a fresh order each epoch, whole batches only; else the data's order, and a short batch at the end */
    unsigned augmentation; /* of images */
    bool answers;          /* of texts: `keep` leaves out what is no answer (whose own label does not count) */
} sow_feed_options;

/* Images or tables through a network: mean softmax cross-entropy, and how many are classified rightly. Model, data and part
 * outlive the feed. Errors: those of sow_batches_new. */
sow_status sow_feed_network(sow_model *model, const sow_data *data, const sow_part *part,
                            const sow_feed_options *options, sow_feed **out);
/* Texts through a language model: cross-entropy of the labels that count; passes end behind the layer of `last`. Model and texts
 * outlive the feed. SOW_E_RANGE: a sequence longer than the model's positions, an id outside its vocabulary; those of
 * sow_text_batches_new. */
sow_status sow_feed_texts(sow_lm *lm, const sow_texts *texts, const sow_feed_options *options, sow_feed **out);
/* NULL is allowed; network and data stay. */
void sow_feed_free(sow_feed *feed);

/* The calls of the kind (sow_feed_kind says what each does). SOW_E_UNSUPPORTED: a kind without passes. */
sow_status sow_feed_pass(sow_feed *feed, sow_tape *tape, int64_t batch, const sow_site *last);
/* NULL: the tape says why. */
sow_var sow_feed_loss(sow_feed *feed, sow_tape *tape, int64_t batch, double divisor, sow_tally *tally);
/* 0 where nothing counts. */
double sow_feed_counted(sow_feed *feed, int64_t first, int64_t count);

/* Sums over an epoch, in evaluation mode, without gradients. The tape has the taps that are wanted (sow_adapter_attach); it is
 * reset. Batches of which nothing counts are passed over. */
sow_status sow_feed_evaluate(sow_feed *feed, sow_tape *tape, sow_tally *tally);
/* Adds the gradient of the mean loss over an epoch to those of the state's trainable entries, in evaluation mode (running
 * statistics of norms stay); *loss: that mean. SOW_E_NUMBER: a batch's loss is not finite. SOW_E_INTERRUPTED. Cost: a forward
 * and a backward pass a batch; memory: the states of one. */
sow_status sow_feed_gradients(sow_feed *feed, double *loss);

#ifdef __cplusplus
}
#endif
#endif
