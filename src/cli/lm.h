/* What the actions of `sow lm` share: texts from files, and a model with its tokenizer. */
#ifndef SOW_CLI_LM_H
#define SOW_CLI_LM_H

#include "cli/cli.h"
#include "sow/adapter.h"
#include "sow/lm.h"

/* ---- texts (lm_texts.c); "-" is standard input ---- */

sow_status cli_read_text(sow_arena *arena, const char *path, sow_span *out);

typedef struct cli_lines {
    sow_span *at;
    int64_t count;
} cli_lines;
/* The lines of a file without their ends; those of a .jsonl file give their "text". SOW_E_FORMAT with the line. */
sow_status cli_read_lines(sow_arena *arena, const char *path, cli_lines *out);

/* ---- models (lm_texts.c) ---- */

/* What --invalid says, with special tokens. */
unsigned cli_encode_flags(const sow_call *call);
/* --tokenizer, or that of --model. */
sow_status cli_open_tokenizer(const sow_call *call, sow_tokenizer **out);

typedef struct cli_lm {
    sow_call *call;
    sow_lm *lm;
    sow_tokenizer *tokenizer;
    sow_tape *tape;
    sow_adapter *adapter; /* NULL: none */
} cli_lm;
/* --model, its matrices left in their file, with its tokenizer, a tape, and --adapter on it where the action has that option
 * and it was given; cli_lm_close also after a failure. */
sow_status cli_lm_open(sow_call *call, cli_lm *out);
void cli_lm_close(cli_lm *model);

/* ---- options that all actions have ---- */

#define CLI_LM_MODEL                                                                                    \
    {                                                                                                   \
        "model", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,                                              \
            "a Hugging Face folder, a GGUF file, or a name that `sow fetch` lists", SOW_OPTION_REQUIRED \
    }
#define CLI_LM_TOKENIZER SOW_OPTION_PATH("tokenizer", NULL, "a tokenizer.json in place of the model's own")
#define CLI_LM_ADAPTER SOW_OPTION_PATH("adapter", NULL, "a PEFT folder that is put on the model")
#define CLI_LM_INVALID \
    SOW_OPTION_CHOICE("invalid", "error", "error|replace", "what to do with bytes that are not UTF-8")

/* ---- actions in files of their own ---- */

extern const sow_option cli_lm_score_options[];
sow_status cli_lm_score(sow_call *call);
extern const sow_option cli_lm_generate_options[];
sow_status cli_lm_generate(sow_call *call);
/* The questions of --choices, in windows of so many tokens (lm_choices.c). */
sow_status cli_lm_score_choices(cli_lm *model, int64_t window);
/* Writes the model into the folder --out as --dtype says, with the tokenizer of --model or --tokenizer, a README that
 * says `how`, and a passport. */
sow_status cli_lm_write(sow_call *call, const sow_lm *lm, const char *how);
extern const sow_option cli_lm_export_options[];
sow_status cli_lm_export(sow_call *call);

#endif
