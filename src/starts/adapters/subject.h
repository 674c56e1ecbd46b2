/* What eva and lora-sb make an adapter for: a language model (--model), or a network on images (--arch with --start). */
#ifndef SOW_STARTS_ADAPTERS_SUBJECT_H
#define SOW_STARTS_ADAPTERS_SUBJECT_H

#include "nn/lm/base_model.h"
#include "sow/data.h"
#include "sow/nn.h"

#define SUBJECT_OPTIONS                                                                                   \
    SOW_OPTION_TEXT("model", NULL,                                                                        \
                    "base model: a Hugging Face folder, a GGUF file, or a name that `sow fetch` lists"),  \
        SOW_OPTION_TEXT("arch", NULL,                                                                     \
                        "instead of --model: network on images, like mlp:784-512-512-10; needs --start"), \
        SOW_OPTION_PATH("start", NULL, "--arch: its trained weights, safetensors"), {                     \
        "data", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL,                                                 \
            "what it will be tuned on: JSON lines, TSV or plain text; with --arch a data set of images",  \
            SOW_OPTION_REQUIRED                                                                           \
    }

typedef struct subject {
    base_model base;  /* of --model */
    sow_model *model; /* of --arch */
    sow_data *data;
    sow_sites all, sites;
    sow_input inputs[2]; /* for the passport */
    int input_count;
    const char *name, *data_name;
} subject;

/* One of --model and --arch, --start with --arch alone; with it neither options of texts nor `of_model`. */
sow_status subject_check(sow_call *call, const char *of_model);
/* --model by base_model_open or base_model_open_frozen; --arch. subject_close also after a failure. */
sow_status subject_open_lm(sow_call *call, sow_status (*open)(sow_call *call, base_model *base), subject *out);
sow_status subject_open_network(sow_call *call, subject *out);
void subject_close(subject *subject);

/* The adapter's targets, and base and task of a language model. */
void subject_describe(const sow_call *call, const subject *subject, sow_adapter *adapter);

#endif
