/* The options of an optimiser, for every action that trains. */
#ifndef SOW_OPTIM_OPTIONS_H
#define SOW_OPTIM_OPTIONS_H

#include "sow/method.h"
#include "sow/optim.h"

/* Rows of an option table; `initial` is the optimiser where none is asked for. */
#define SOW_OPTIMIZER_OPTIONS(initial)                                                                                \
    SOW_OPTION_CHOICE("optimizer", initial, "sgd|adam|adamw|sgdm|sgd-sai", "update rule"),                            \
        SOW_OPTION_REAL("lr", NULL, 0, 1e6,                                                                           \
                        "learning rate; default 0.1 for sgd and sgdm, 0.001 for adam and adamw, 0.01 for sgd-sai"),   \
        SOW_OPTION_REAL("momentum", NULL, 0, 0.9999, "of sgd, default 0; of sgdm and sgd-sai, default 0.9"),          \
        SOW_OPTION_REAL("dampening", NULL, 0, 1, "of sgd: the gradient's share that momentum leaves out; default 0"), \
        SOW_OPTION_FLAG("nesterov", "Nesterov's momentum"),                                                           \
        SOW_OPTION_REAL("beta1", NULL, 0, 0.9999, "of adam and adamw; default 0.9"),                                  \
        SOW_OPTION_REAL("beta2", NULL, 0, 0.999999, "of adam and adamw; default 0.999"),                              \
        SOW_OPTION_REAL("weight-decay", "0", 0, 1e3, "added to the gradient; decoupled for adamw, sgdm and sgd-sai"), \
        SOW_OPTION_PATH("scales", NULL, "of sgd-sai: a table made by `sow sgd-sai` instead of the first gradient"),   \
        SOW_OPTION_FLAG("sqrt-n", "of sgd-sai: roots of the blocks' sizes instead of the first gradient"),            \
        SOW_OPTION_CHOICE("scale-norm", NULL, "none|max|mean",                                                        \
                          "of sgd-sai: what scales are divided by; default none, as in the authors' package"),        \
        SOW_OPTION_CHOICE("scale-blocks", NULL, "tensor|qkv|head|row",                                                \
                          "of sgd-sai: what has a scale of its own; default tensor"),                                 \
        SOW_OPTION_REAL("clip", NULL, 0, 1e9, "scales the gradient down to this norm; default: never")

/* Reads them, and the table of --scales into the arena. `state` is the model's (for --sqrt-n), `heads` its attention heads, 0 if it has
 * none. Options of another optimiser are refused: SOW_E_ARGUMENT. */
sow_status optim_read_options(sow_call *call, const sow_state *state, int64_t heads, sow_optimizer_config *out);

/* The same checks before there is a model: all but the table. */
sow_status optim_check_options(sow_call *call, sow_optimizer_config *out);

#endif
