/* Times the optimisers' steps alone on a transformer's shapes: `optimizers sgd|sgdm|sgd-sai|adamw|measure THREADS SECONDS` prints one JSON
 * line. 12 blocks of width 384 and an embedding of 8192 rows, 24.4 million weights. measure: the first step of sgd-sai. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"


enum { BLOCKS = 12, D = 384, ROWS = 8192, STEPS = 5 };

static void add(sow_state *s, const char *name, int64_t rows, int64_t columns) {
    sow_entry *e;
    OK(sow_state_add(s, name, SOW_F32, columns ? 2 : 1, (int64_t[]){rows, columns}, &e));
    for (int64_t i = 0; i < sow_count(e->value); i++) ((float *)e->value.data)[i] = (float)(i % 1021) * 1e-3F - 0.5F;
}

static sow_state *model(void) {
    static const struct {
        const char *name;
        int64_t rows, columns;
    } parts[] = {{"ln_1.weight", D, 0}, {"ln_1.bias", D, 0}, {"attn.qkv.weight", 3 * D, D}, {"attn.qkv.bias", 3 * D, 0},
                 {"attn.proj.weight", D, D}, {"attn.proj.bias", D, 0}, {"ln_2.weight", D, 0}, {"ln_2.bias", D, 0},
                 {"mlp.fc1.weight", 4 * D, D}, {"mlp.fc1.bias", 4 * D, 0}, {"mlp.fc2.weight", D, 4 * D}, {"mlp.fc2.bias", D, 0}};
    sow_state *s;
    char name[64];
    OK(sow_state_new(&s));
    add(s, "wte.weight", ROWS, D);
    for (int b = 0; b < BLOCKS; b++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "h.%d.%s", b, parts[i].name);
            add(s, name, parts[i].rows, parts[i].columns);
        }
    OK(sow_state_add_gradients(s));
    for (int64_t i = 0; i < sow_state_count(s); i++) {
        sow_entry *e = sow_state_entry(s, i);
        for (int64_t k = 0; k < sow_count(e->grad); k++) ((float *)e->grad.data)[k] = (float)(k % 509 - 254) * 1e-5F;
        e->grad_written = true;
    }
    return s;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **argument) {
    if (count != 4) {
        fprintf(stderr, "usage: optimizers sgd|sgdm|sgd-sai|adamw|measure THREADS SECONDS\n");
        return 2;
    }
    bool measure = !strcmp(argument[1], "measure");
    sow_optimizer_config config = {.rate = 1e-6, .momentum = 0.9, .weight_decay = 0.1};
    OK(sow_optimizer_parse(measure ? "sgd-sai" : argument[1], &config.kind));
    sow_set_threads(atoi(argument[2]));
    sow_flush_denormals();
    sow_state *s = model();
    sow_optimizer *o = NULL;
    double times[4096], begin = sow_seconds();
    int blocks = 0;
    OK(sow_optimizer_new(&config, s, &o));
    if (!measure) sow_optimizer_step(o, 1);
    while (blocks < 3 || (sow_seconds() - begin < atof(argument[3]) && blocks < 4096)) {
        if (measure) {
            sow_optimizer_free(o);
            OK(sow_optimizer_new(&config, s, &o));
        }
        double start = sow_seconds();
        int steps = measure ? 1 : STEPS;
        for (int i = 0; i < steps; i++) sow_optimizer_step(o, 1);
        times[blocks++] = (sow_seconds() - start) / steps;
    }
    qsort(times, (size_t)blocks, sizeof *times, by_value);
    printf("{\"case\": \"%s\", \"threads\": %d, \"seconds\": %.9g, \"weights\": %lld, \"peak_mib\": %.1f}\n", argument[1], sow_threads(),
           times[blocks / 2], (long long)sow_state_parameters(s), peak_mib());
    return 0;
}
