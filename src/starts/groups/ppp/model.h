/* A fitted partition with the view of the columns that it was made in: what `ppp assign` needs again. */
#ifndef SOW_STARTS_GROUPS_PPP_MODEL_H
#define SOW_STARTS_GROUPS_PPP_MODEL_H

#include "starts/groups/ppp/input.h"

/* How values become coordinates: centred, scaled, projected. */
typedef struct ppp_view {
    int64_t inputs, width;
    double *shift, *scale, *map; /* [inputs], [inputs] or NULL, [width, inputs] or NULL */
    bool zscore;
    int pca;           /* axes, 0: none */
    double kept;       /* share of the variance on these axes */
    const char *why;   /* these were chosen, where the user left it open; "" else */
    int64_t constant;  /* columns without variance */
    double *mean, *sd; /* [inputs] of the values */
} ppp_view;

/* scale: "auto", "none", "zscore"; pca: axes, 0 none, -1 auto. SOW_E_RANGE: more axes than columns. */
sow_status ppp_view_make(const sow_rows *values, const char *scale, int pca, sow_arena *arena, ppp_view *out);
/* The rows as the view shows them. */
sow_rows ppp_view_of(const sow_rows *values, const ppp_view *view);

/* Writes FOLDER/model.safetensors. centroids: [clusters, inputs] in the values' units. */
sow_status ppp_model_save(const char *path, const sow_ppp *model, const ppp_view *view, const double *centroids,
                          const char *passport);
/* Reads it back: what sow_ppp_assign needs, and the view. SOW_E_FORMAT: not such a file, or tensors that do not fit. */
sow_status ppp_model_load(sow_arena *arena, const char *path, sow_ppp *model, ppp_view *view);

#endif
