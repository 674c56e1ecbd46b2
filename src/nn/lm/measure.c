/* What models say without being trained: sentence vectors and the likelihood of texts. */
#include <math.h>

#include "nn/lm/lm.h"

static void mean_of(const float *states, int64_t rows, int64_t d, float *out) {
    double length = 0;
    for (int64_t i = 0; i < d; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += (double)states[r * d + i];
        out[i] = rows > 0 ? (float)(sum / (double)rows) : 0;
        length += (double)out[i] * (double)out[i];
    }
    double scale = 1 / fmax(sqrt(length), 1e-12);
    for (int64_t i = 0; i < d; i++) out[i] = (float)((double)out[i] * scale);
}

sow_status sow_lm_embed(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, float *out) {
    sow_tape_reset(t);
    sow_tape_record(t, false);
    sow_var states = sow_lm_states(t, lm, tokens);
    SOW_TRY(sow_tape_status(t));
    sow_tensor v = sow_value(states);
    if (v.dtype != SOW_F32) return sow_fail(SOW_E_TYPE, "the model is %s, expected F32", sow_dtype_name(v.dtype));
    int64_t d = lm->config.hidden;
    for (int64_t s = 0; s < tokens->sequences; s++)
        mean_of((const float *)v.data + tokens->start[s] * d, tokens->start[s + 1] - tokens->start[s], d, out + s * d);
    sow_tape_reset(t);
    return SOW_OK;
}

sow_status sow_lm_score(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_tensor labels, double *sum,
                        int64_t *counted) {
    const int32_t *label = labels.data;
    *counted = 0;
    *sum = 0;
    for (int64_t i = 0; i < labels.shape[0]; i++) *counted += label[i] >= 0;
    if (*counted == 0) return SOW_OK;
    sow_tape_reset(t);
    sow_tape_record(t, false);
    sow_var loss = sow_lm_loss(t, lm, tokens, labels, 1);
    SOW_TRY(sow_tape_status(t));
    *sum = sow_scalar(loss);
    sow_tape_reset(t);
    return isfinite(*sum) ? SOW_OK : sow_fail(SOW_E_NUMBER, "the model's loss is not finite");
}
