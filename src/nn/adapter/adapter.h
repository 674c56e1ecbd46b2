/* What the files of adapters share. */
#ifndef SOW_NN_ADAPTER_ADAPTER_H
#define SOW_NN_ADAPTER_ADAPTER_H

#include "sow/adapter.h"

/* alpha / rank, or alpha / sqrt(rank). */
double adapter_scale(const sow_adapter *adapter, double alpha, int64_t rank);
/* A layer without entries; a whole module without entries. */
sow_status adapter_append(sow_adapter *adapter, const char *module, sow_adapter_layer **out);
sow_status adapter_append_whole(sow_adapter *adapter, const char *module, sow_adapter_whole **out);
/* Adds "module.suffix" to the adapter's state, zeros, trainable. */
sow_status adapter_entry(sow_adapter *adapter, const char *module, const char *suffix, sow_dtype type, int rank,
                         const int64_t *shape, sow_entry **out);
/* Adds a copy of a whole module. */
sow_status adapter_copy_whole(const sow_adapter_whole *from, sow_adapter *to);
/* The site's weight += factor B A. */
sow_status adapter_add_product(const sow_site *site, sow_tensor b, sow_tensor a, double factor);

#endif
