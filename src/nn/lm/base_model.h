/* What methods and commands that take --model share: the language model, its linear layers, and texts for it. */
#ifndef SOW_NN_LM_BASE_MODEL_H
#define SOW_NN_LM_BASE_MODEL_H

#include "sow/adapter.h"
#include "sow/method.h"
#include "sow/texts.h"

/* How texts are read from files of samples. */
#define BASE_SAMPLE_OPTIONS                                                                                            \
    SOW_OPTION_TEXT("prompt-field", NULL, "JSON lines, TSV: field of the prompt; default: those that are known"),      \
        SOW_OPTION_TEXT("completion-field", NULL, "field of what is to be answered"),                                  \
        SOW_OPTION_CHOICE("loss-on", "completion", "completion|all", "tokens that count"),                             \
        SOW_OPTION_TEXT("chat-template", NULL,                                                                         \
                        "how chats and questions are written: chatml, llama3, gemma, zephyr, smollm2, none; default: " \
                        "the model's")

/* Options of the texts of a --model, `length` tokens a sequence unless asked otherwise; --model, --data and --targets are the action's
 * own. */
#define BASE_TEXT_OPTIONS(length) \
    SOW_OPTION_INT("length", length, 2, 1 << 20, "tokens of a sequence at most"), BASE_SAMPLE_OPTIONS

/* For calls without --model: refuses the text options that were typed, and leaves the others out of the passport. */
sow_status base_without_texts(sow_call *call);

typedef struct base_model {
    sow_lm *lm;
    sow_tokenizer *tokenizer;
    sow_texts *texts;     /* all of --data */
    sow_sites all, sites; /* every linear layer; those of --targets */
    const char *folder;   /* as PEFT's base_model_name_or_path: the Hugging Face folder as typed, NULL for GGUF */
    sow_input inputs[2];  /* model and data, for the passport */
    sow_arena *arena;
} base_model;

/* Opens --model, --data by the options above, and chooses --targets. base_model_close also after a failure. */
sow_status base_model_open(sow_call *call, base_model *out);
/* The same for forward passes only: weights stay in their file, quantised too (sow_lm_open_frozen). */
sow_status base_model_open_frozen(sow_call *call, base_model *out);
void base_model_close(base_model *base);
/* Its parts, for who needs no sites: --model with its tokenizer, by sow_lm_open or sow_lm_open_frozen; then --data. */
sow_status base_lm_open(sow_call *call, sow_status (*open)(const char *path, sow_lm **lm), base_model *out);
sow_status base_data_open(const sow_call *call, base_model *base);
/* The texts of a file by the sample options, with at most `length` tokens a sequence. The caller frees them. */
sow_status base_texts_read(const sow_call *call, const sow_lm *lm, sow_tokenizer *tokenizer, int64_t length,
                           const char *path, sow_texts **out);
/* More texts for the same model, by the same options: a file for validation. The caller frees them. */
sow_status base_texts_open(const sow_call *call, const base_model *base, const char *path, sow_texts **out);

/* The last components of the sites' paths where these stand for exactly these sites ("q_proj,v_proj"), as
 * sow_adapter.targets; NULL: they do not. */
const char *base_targets(sow_arena *arena, const sow_sites *all, const sow_sites *sites);

/* Seconds that a forward and a backward pass over so many tokens will take, by the machine's matrix products of this moment. */
double base_seconds(const base_model *base, int64_t tokens);
/* Bytes of the weights and of the states kept for backward of a batch of so many tokens. */
int64_t base_bytes(const base_model *base, int64_t tokens);

#endif
