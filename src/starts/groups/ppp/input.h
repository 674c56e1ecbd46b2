/* Tables of numbers as ppp reads them: CSV, .npy, .vec, safetensors. */
#ifndef SOW_STARTS_GROUPS_PPP_INPUT_H
#define SOW_STARTS_GROUPS_PPP_INPUT_H

#include "sow/file.h"
#include "sow/groups.h"
#include "sow/safetensors.h"

typedef struct ppp_input {
    const char *path;
    sow_tensor values; /* [rows, columns], any real type */
    bool mapped;
    const char **columns; /* names of the value columns; NULL: the file has none */
    int id_count;         /* columns that are carried along */
    const char **id_names;
    const char **ids; /* [rows, id_count] */
    int32_t *truth;   /* [rows] known classes, NULL: none */
    const char *truth_name;
    sow_map map;
    sow_safetensors *file;
} ppp_input;

typedef struct ppp_input_options {
    const char *tensor;        /* safetensors: which one; NULL: the only one with two dimensions */
    const char *const *ids;    /* CSV: columns by name or number that are carried along, NULL-terminated */
    const char *truth;         /* CSV: a column with known classes */
    const char *const *wanted; /* CSV: take exactly these value columns, NULL-terminated; NULL: all numbers */
} ppp_input_options;

/* Opens the table; close it in any case. Errors name file, line and column. */
sow_status ppp_input_open(sow_arena *arena, const char *path, const ppp_input_options *options, ppp_input *out);
void ppp_input_close(ppp_input *input);

#endif
