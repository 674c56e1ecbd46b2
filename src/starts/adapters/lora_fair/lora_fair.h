/* What the files of lora-fair share. */
#ifndef SOW_STARTS_ADAPTERS_LORA_FAIR_H
#define SOW_STARTS_ADAPTERS_LORA_FAIR_H

#include "sow/adapters.h"

/* ---- options of every action that merges ---- */

#define FAIR_SOLVER_OPTIONS                                                                                          \
    SOW_OPTION_CHOICE("kind", "fair", "fair|fedit|ffa|flora|flexlora|fair-ls",                                       \
                      "fair: correct B by gradient descent; fair-ls: by least squares; flexlora: leading singular "  \
                      "triples; flora: stack, of K times the rank; fedit: plain average; ffa: the same with one A"), \
        SOW_OPTION_REAL("lambda", "0.01", 0, 1e6, "fair: penalty on the correction"),                                \
        SOW_OPTION_CHOICE("reg", "square", "square|norm", "fair: of its squared length, or of its length"),          \
        SOW_OPTION_INT("steps", "1000", 0, 1e8, "fair: steps of gradient descent"),                                  \
        SOW_OPTION_REAL("lr", "0.01", 1e-12, 1e6, "fair: their rate, for a product B A of length 1"),                \
        SOW_OPTION_REAL("stop", "1e-9", 0, 1, "fair: end where a step changes the loss by less; 0: never"),          \
        SOW_OPTION_REAL("mu", "0.01", 0, 1e12, "fair-ls: ridge added to A A^T")
sow_status fair_config_of(const sow_call *call, sow_fair_config *out);

/* Means over the layers, and the worst one. */
typedef struct fair_summary {
    double cosine_before, cosine_after, least_before, least_after;
    double bias_before, bias_after; /* ||dW - product|| / ||dW||, root mean square */
    double growth, similarity;      /* mean ||B'|| / ||B||, mean cosine of B' and B */
    int64_t kept;
} fair_summary;
fair_summary fair_summarise(const sow_fair_layer *layers, int64_t count);

/* Cosines, biases, lengths of a merge into the result, and what they mean. */
sow_status fair_report(sow_call *call, const sow_fair_config *config, const sow_fair_layer *layers, int64_t count);
/* A layer a line, into FOLDER/merge.csv. */
sow_status fair_write_layers(sow_call *call, const char *folder, const sow_fair_layer *layers, int64_t count);
/* The merged adapter with its card into the folder, which exists. */
sow_status fair_write_adapter(sow_call *call, const sow_adapter *adapter, const char *folder, const char *passport,
                              const char *how);

/* ---- the actions ---- */

extern const sow_option fair_run_options[], fair_client_options[], fair_simulate_options[];
sow_status fair_run(sow_call *call);
sow_status fair_client(sow_call *call);
sow_status fair_simulate(sow_call *call);

#endif
