/* Fine-tuning language models on texts: the task for the training loop, and what a model loses on texts. */
#ifndef SOW_TUNE_H
#define SOW_TUNE_H

#include "sow/adapter.h"
#include "sow/optim.h"
#include "sow/texts.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is tuned on what. All of it must outlive the task. */
typedef struct sow_tuning {
    sow_lm *lm;
    sow_adapter *adapter; /* bound to sites of the model; NULL: the model's own weights are trained */
    const sow_texts *train;
    const sow_texts *validation, *test; /* NULL: none */
    int64_t batch;                      /* sequences of a micro-batch */
    int64_t parts;                      /* micro-batches a step (gradient accumulation); 0: 1 */
    uint64_t seed;                      /* order of the sequences */
} sow_tuning;

typedef struct sow_lm_task sow_lm_task;
/* The task of predicting the labels of `train`: a step takes `parts` batches of `batch` sequences, and its loss is the mean
 * over all labels that count in the step, however they are spread over the parts. With an adapter the model's weights are
 * frozen (sow_state_train) and the adapter's trainable entries are trained; without one all but buffers are trained.
 * Evaluations walk over all of validation and test; losses are means over tokens, accuracy is not measured.
 * Peak memory of a step: weights, gradients and moments of what is trained, and the states of one micro-batch. SOW_E_RANGE: a
 * sequence longer than the model's positions, an id outside its vocabulary, too few sequences for a batch. */
sow_status sow_lm_task_new(const sow_tuning *tuning, sow_lm_task **out);
/* NULL is allowed; model, adapter and texts stay. */
void sow_lm_task_free(sow_lm_task *task);
/* For sow_train_task. Valid as long as the task. */
const sow_task *sow_lm_task_of(const sow_lm_task *task);
/* Steps of an epoch: whole batches of all parts. */
int64_t sow_lm_task_epoch(const sow_lm_task *task);

/* The sum of -log p of all labels of the texts that count, and their number, in batches of `batch` sequences. The tape has the
 * adapter's taps if there is one (sow_adapter_attach); it is reset. exp(sum / counted) is the perplexity. */
sow_status sow_lm_evaluate(sow_tape *tape, sow_lm *lm, const sow_texts *texts, int64_t batch, double *sum,
                           int64_t *counted);

#ifdef __cplusplus
}
#endif
#endif
