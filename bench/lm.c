/* Times SmolLM2-135M's passes (the shapes, random weights) on packed sequences: `lm THREADS REPEATS forward|both|recompute
 * [SEQUENCES TOKENS]` prints one JSON line: median seconds, peak memory, loss, and the SHA-256 of a gradient. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"

static const char config_text[] =
    "{\"model_type\":\"llama\",\"vocab_size\":49152,\"hidden_size\":576,\"intermediate_size\":1536,"
    "\"num_hidden_layers\":30,\"num_attention_heads\":9,\"num_key_value_heads\":3,\"hidden_act\":\"silu\","
    "\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true,\"rope_theta\":100000}";

static sow_lm *make_model(void) {
    sow_lm_config config;
    sow_lm *lm;
    sow_rng rng;
    json_t *json = json_loads(config_text, 0, NULL);
    OK(sow_lm_configure(json, &config));
    OK(sow_lm_declare(&config, SOW_F32, &lm));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    for (int64_t i = 0; i < sow_state_count(lm->state); i++) {
        sow_entry *e = sow_state_entry(lm->state, i);
        if (e->role != SOW_ROLE_NORM) sow_rng_normal_f32(&rng, e->value.data, sow_count(e->value), 0, 0.02);
    }
    json_decref(json);
    return lm;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    enum { REPEATS_MAX = 64, TOKENS_MAX = 16384, SEQUENCES_MAX = 64 };
    static int32_t ids[TOKENS_MAX], labels[TOKENS_MAX];
    static int64_t start[SEQUENCES_MAX + 1];
    double seconds[REPEATS_MAX], loss = 0;
    int threads = argc > 1 ? atoi(argv[1]) : 1, repeats = argc > 2 ? atoi(argv[2]) : 3,
        sequences = argc > 5 ? atoi(argv[4]) : 4, length = argc > 5 ? atoi(argv[5]) : 256;
    const char *what = argc > 3 ? argv[3] : "both";
    if (repeats < 1 || repeats > REPEATS_MAX || sequences < 1 || sequences > SEQUENCES_MAX ||
        sequences * length > TOKENS_MAX)
        return 2;
    sow_set_threads(threads);
    sow_lm *lm = make_model();
    sow_tape *t;
    bool forward = !strcmp(what, "forward");
    lm->recompute = !strcmp(what, "recompute");
    for (int i = 0; i < sequences * length; i++) ids[i] = (int32_t)(((int64_t)i * 7919 + 13) % 49152);
    for (int i = 0; i < sequences * length; i++) labels[i] = (i + 1) % length ? ids[i + 1] : -1;
    for (int s = 0; s <= sequences; s++) start[s] = (int64_t)s * length;
    sow_tokens tokens = {ids, start, sequences};
    OK(sow_tape_new(&t));
    sow_tape_record(t, !forward);
    if (!forward) OK(sow_state_add_gradients(lm->state));
    for (int r = -1; r < repeats; r++) { /* the first one warms up */
        double begin = sow_seconds();
        sow_tape_reset(t);
        sow_fresh_gradients(lm->state);
        sow_var l = sow_lm_loss(t, lm, &tokens, SOW_TENSOR(labels, SOW_I32, sequences * length), 0);
        OK(sow_tape_status(t));
        loss = sow_scalar(l);
        if (!forward) OK(sow_tape_backward(t, l));
        if (r >= 0) seconds[r] = sow_seconds() - begin;
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, by_value);
    char hex[65] = "";
    if (!forward) {
        sow_tensor g = sow_state_entry(lm->state, 0)->grad;
        sow_sha256(g.data, sow_bytes(g), hex);
    }
    printf("{\"seconds\":%.6f,\"peak_mib\":%.1f,\"loss\":%.9g,\"sha256\":\"%s\"}\n", seconds[repeats / 2], peak_mib(),
           loss, hex);
    sow_tape_free(t);
    sow_lm_free(lm);
    return 0;
}
