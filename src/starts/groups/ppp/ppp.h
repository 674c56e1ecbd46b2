/* What the files of ppp share. */
#ifndef SOW_STARTS_GROUPS_PPP_H
#define SOW_STARTS_GROUPS_PPP_H

#include "sow/groups.h"

/* A split that was tried: k-means, the mixture that begins with it, what they say. */
typedef struct ppp_trial {
    int parts;
    bool accepted;
    const char *why; /* it was refused */
    int64_t smallest;
    double sse, agreement, bic, anderson;
    int32_t *part; /* [rows] part of each row that both agree on, -1 for the others */
    int64_t core;
} ppp_trial;

/* Rows of one node, and where its work may take memory. */
typedef struct ppp_node_rows {
    sow_rows rows;
    int64_t min_leaf;
    uint64_t number; /* of the node: draws of its own */
} ppp_node_rows;

/* log likelihood's BIC of one Gaussian, and the squared distances to the mean. */
sow_status ppp_one_gaussian(const ppp_node_rows *node, const sow_ppp_config *config, double *bic, double *sse);
/* Splits in two; where that is refused, in 3 .. config->flat. out->part lies in the arena. */
sow_status ppp_try(const ppp_node_rows *node, const sow_ppp_config *config, double bic_one, int most, sow_arena *arena,
                   ppp_trial *out);

#endif
