/* What the actions of sgd-sai share: a model with its data, whatever kind they are of. */
#ifndef SOW_STARTS_SGD_SAI_H
#define SOW_STARTS_SGD_SAI_H

#include "nn/lm/base_model.h"
#include "sow/optim.h"
#include "sow/steps.h"

typedef struct sai_subject {
    sow_call *call;
    const char *model_name, *data_name;
    char data_sha256[65], model_sha256[65]; /* the second "": no files but those of the options */
    sow_state *state;                       /* whose scales are wanted: the model's, or the adapter's */
    int64_t heads, kv_heads;                /* attention heads, 0: it has none */
    sow_feed *train, *validation;           /* validation NULL: none */
    sow_model *model;                       /* a network on images and tables, */
    sow_data *data;
    sow_lm *letters;         /* a character model, */
    base_model base;         /* or a language model, */
    sow_adapter *adapter;    /* maybe with an adapter on it */
    sow_texts *learn, *held; /* and texts held out; NULL: none */
} sai_subject;

/* Opens what the call's options name, and fills the start. sai_close also after a failure. */
sow_status sai_open(sow_call *call, sai_subject *out);
void sai_close(sai_subject *subject);

/* Each in a file of its own. */
sow_status sai_open_network(sai_subject *s);
sow_status sai_open_letters(sai_subject *s);
/* --model; validation where --val holds sequences out. */
sow_status sai_open_language(sai_subject *s);
/* --scheme (default: `scheme`) with --seed, or --start. */
sow_status sai_fill_start(sai_subject *s, const char *scheme);

/* Options of the subject, for the tables of actions that open one. */
#define SAI_SUBJECT_OPTIONS                                                                                            \
    SOW_OPTION_PATH("start", NULL, "weights to begin with (safetensors); default: --scheme with --seed"),              \
        SOW_OPTION_TEXT("scheme", NULL,                                                                                \
                        "initialisation where there is no --start: kaiming-uniform, normal:sd=0.02 ...; default "      \
                        "torch-default, for gpt normal:sd=0.02"),                                                      \
        SOW_OPTION_COUNT("batch", NULL, 1, 1 << 20, "examples",                                                        \
                         "size of a batch; default 128, for gpt 16, for --model 4"),                                   \
        SOW_OPTION_TEXT("input", NULL, "CxHxW that the data must have; rows of a table are images of this size"),      \
        SOW_OPTION_TEXT("label", NULL, "label column of a CSV; default: label, class, target or the last"),            \
        SOW_OPTION_CHOICE("normalisation", NULL, "unit|channel|row|none", "of inputs, as for `sow train`"),            \
        SOW_OPTION_COUNT("val", NULL, 0, 1e12, "examples",                                                             \
                         "split off for validation, as for `sow train`; of --model: default none, to simulate 32"),    \
        SOW_OPTION_INT("data-seed", "0", 0, 9007199254740991.0, "chooses the validation part"), SOW_OPTION_SEED,       \
        SOW_OPTION_INT("rank", NULL, 1, 4096, "--model: of a fresh LoRA adapter, instead of all the model's weights"), \
        SOW_OPTION_REAL("alpha", NULL, 0, 1e6, "--rank: the adapter's scale is alpha / rank; default: the rank"),      \
        SOW_OPTION_TEXT("targets", NULL, "--rank: layers with an adapter: q_proj,v_proj ...; default all"),            \
        BASE_TEXT_OPTIONS("256"), {                                                                                    \
        "recompute", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "--model: less memory for a third more time",           \
            SOW_OPTION_NO_PASSPORT                                                                                     \
    }

/* ---- files (files.c) ---- */

/* Writes scales.json with the passport, scales.csv and scales.svg beside it. */
sow_status sai_write(const sai_subject *subject, const sow_scales *scales, const char *path);
/* The paths of the CSV and the plot beside a table. */
const char *sai_beside(sow_arena *arena, const char *path, const char *ending);

/* ---- simulate (simulate.c) ---- */

extern const sow_option sai_simulate_options[];
sow_status sai_simulate(sow_call *call);

#endif
