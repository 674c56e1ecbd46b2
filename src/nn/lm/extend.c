/* Feeding a model token after token: what is new goes through, the rest comes from the cache. */
#include <string.h>

#include "nn/lm/cache.h"
#include "nn/lm/lm.h"

static sow_status feed(sow_tape *t, sow_lm *lm, const int32_t *ids, int64_t n, float *logits) {
    int64_t start[2] = {0, n};
    sow_tokens tokens = {ids, start, 1};
    sow_tape_reset(t);
    sow_var states = sow_lm_states(t, lm, &tokens);
    sow_var scores = logits ? sow_lm_logits(t, lm, sow_narrow(t, states, 0, n - 1, 1)) : NULL;
    sow_status status = sow_tape_status(t);
    if (status == SOW_OK && logits)
        memcpy(logits, sow_value(scores).data, (size_t)lm->config.vocabulary * sizeof *logits);
    sow_tape_reset(t);
    return status;
}

static sow_status check_ids(const sow_lm *lm, const int32_t *ids, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= lm->config.vocabulary)
            return sow_fail(SOW_E_RANGE, "token %lld is %d, expected 0 to %lld", (long long)i, ids[i],
                            (long long)lm->config.vocabulary - 1);
    return SOW_OK;
}

sow_status sow_lm_extend(sow_tape *t, sow_lm *lm, sow_lm_cache *cache, const int32_t *ids, int64_t count,
                         float *logits) {
    sow_status status = SOW_OK;
    if (count < 1 || count > cache->room - cache->length)
        return sow_fail(SOW_E_RANGE, "%lld tokens for a cache that has room for %lld more", (long long)count,
                        (long long)(cache->room - cache->length));
    SOW_TRY(check_ids(lm, ids, count));
    sow_tape_record(t, false);
    lm->cache = cache;
    for (int64_t at = 0, n; at < count && status == SOW_OK; at += n) {
        n = count - at < LM_CACHE_BLOCK ? count - at : LM_CACHE_BLOCK;
        status = feed(t, lm, ids + at, n, at + n == count ? logits : NULL);
        if (status == SOW_OK) cache->length += n;
    }
    lm->cache = NULL;
    return status;
}
