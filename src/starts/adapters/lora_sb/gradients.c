/* LoRA-SB: gradients of the base's weights, summed over the batches of a few samples. */
#include <math.h>

#include "sow/adapters.h"
#include "sow/log.h"

/* Gradients of one batch; its loss must be a number. */
static sow_status backward(sow_tape *tape, sow_var loss, int64_t batch) {
    SOW_TRY(sow_tape_status(tape));
    if (!isfinite(sow_scalar(loss)))
        return sow_fail(SOW_E_NUMBER, "the loss of batch %lld of the samples is not finite", (long long)batch + 1);
    return sow_tape_backward(tape, loss);
}

/* ---- language models ---- */

static sow_status add_texts(const sow_lm_gradients *g, sow_text_batches *batches, sow_tape *tape, int64_t number,
                            double *loss) {
    sow_tokens tokens;
    sow_tensor labels;
    SOW_TRY(sow_text_batches_at(batches, number, &tokens, &labels));
    sow_tape_reset(tape);
    sow_var mean = sow_lm_loss(tape, g->lm, &tokens, labels, (double)g->texts->counted);
    SOW_TRY(backward(tape, mean, number));
    *loss += sow_scalar(mean);
    return SOW_OK;
}

static sow_status add_all_texts(sow_lm_gradients *g, sow_text_batches *batches, sow_tape *tape) {
    int64_t count = sow_text_batches_per_epoch(batches);
    sow_tape_train(tape, true);
    g->loss = 0;
    for (int64_t i = 0; i < count; i++) {
        SOW_TRY(add_texts(g, batches, tape, i, &g->loss));
        sow_progress("gradients", i + 1, count);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

sow_status sow_lm_gradient_source(void *user) {
    sow_lm_gradients *g = user;
    sow_text_batches *batches;
    sow_tape *tape;
    SOW_TRY(sow_text_batches_new(g->texts, g->batch, 0, false, &batches));
    sow_status status = sow_tape_new(&tape);
    if (status == SOW_OK) {
        status = add_all_texts(g, batches, tape);
        sow_tape_free(tape);
    }
    sow_text_batches_free(batches);
    return status;
}

/* ---- networks on images and tables ---- */

static sow_status add_examples(const sow_model_gradients *g, sow_batches *batches, sow_tape *tape, int64_t number,
                               double *loss) {
    sow_tensor inputs, labels;
    SOW_TRY(sow_batches_at(batches, number, &inputs, &labels));
    double share = (double)labels.shape[0] / (double)g->part->count;
    sow_tape_reset(tape);
    sow_var logits = g->model->forward(tape, g->model->state, g->model, sow_constant(tape, inputs));
    sow_var weighted = sow_scale(tape, sow_softmax_cross_entropy(tape, logits, labels), share, 0);
    SOW_TRY(backward(tape, weighted, number));
    *loss += sow_scalar(weighted);
    return SOW_OK;
}

/* In evaluation mode: running statistics of norms belong to the base, which stays. */
static sow_status add_all_examples(sow_model_gradients *g, sow_batches *batches, sow_tape *tape) {
    g->loss = 0;
    for (int64_t i = 0; i < sow_batches_per_epoch(batches); i++) {
        SOW_TRY(add_examples(g, batches, tape, i, &g->loss));
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

sow_status sow_model_gradient_source(void *user) {
    sow_model_gradients *g = user;
    sow_batches *batches;
    sow_tape *tape;
    SOW_TRY(sow_batches_new(g->data, g->part, g->batch, 0, false, SOW_AUGMENT_NONE, &batches));
    sow_status status = sow_tape_new(&tape);
    if (status == SOW_OK) {
        status = add_all_examples(g, batches, tape);
        sow_tape_free(tape);
    }
    sow_batches_free(batches);
    return status;
}
