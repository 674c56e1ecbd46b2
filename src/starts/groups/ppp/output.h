/* What `sow ppp` writes. */
#ifndef SOW_STARTS_GROUPS_PPP_OUTPUT_H
#define SOW_STARTS_GROUPS_PPP_OUTPUT_H

#include "starts/groups/ppp/model.h"

/* labels.csv: the input's ids (or row numbers), cluster, core (NULL: not written), confidence. */
sow_status ppp_write_labels(const char *path, const ppp_input *input, const int32_t *labels, const uint8_t *core,
                            const double *confidence);
/* The clusters and the tree as JSON arrays of rows. */
json_t *ppp_cluster_rows(const sow_ppp *p);
json_t *ppp_tree_rows(const sow_ppp *p);
/* plot.svg: rows on the first two principal axes of the view, coloured by cluster. */
sow_status ppp_write_plot(const char *path, const sow_rows *rows, const sow_ppp *p, const char *title);
/* Means of the cores in the values' own units: [clusters, inputs]. */
sow_status ppp_input_centroids(const sow_rows *values, const sow_ppp *p, double *out);

#endif
