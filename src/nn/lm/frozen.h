/* Matrices that stay in their file: rows of blocks, made into floats where a pass needs them. */
#ifndef SOW_NN_LM_FROZEN_H
#define SOW_NN_LM_FROZEN_H

#include "sow/lm.h"
#include "sow/safetensors.h"

/* One row an output. */
typedef struct lm_matrix {
    const char *name; /* of the state dict, ".weight" included */
    sow_gguf_type type;
    const uint8_t *data;
    int64_t rows, width;
    int64_t heads; /* > 0: rows of a head are interleaved: its row s d/2 + m is the file's 2 m + s */
    bool turned;   /* the state dict has it as [width, rows] */
    int64_t layer; /* -1: of none */
} lm_matrix;

/* Rows [first, first + count) in the state dict's order as floats, [count, width]. */
void lm_matrix_read(const lm_matrix *m, int64_t first, int64_t count, float *out);
/* All of them, in parallel. */
void lm_matrix_read_all(const lm_matrix *m, float *out);

struct lm_frozen {
    sow_arena *arena;
    lm_matrix *matrices; /* by name */
    int64_t count, room;
    sow_gguf *gguf; /* what keeps the bytes mapped; one of them */
    sow_safetensors *tensors;
    bool release; /* a layer's pages are given back behind it */
};

/* Empty, with room for that many matrices; takes over the file. */
sow_status lm_frozen_new(int64_t room, sow_gguf *gguf, sow_safetensors *tensors, struct lm_frozen **out);
/* Copies the description; the name lives in its arena from then on. */
sow_status lm_frozen_add(struct lm_frozen *f, const lm_matrix *m);
/* Sorts, and decides whether the file is larger than half of the memory. */
void lm_frozen_finish(struct lm_frozen *f);
/* Unmaps too; NULL is allowed. */
void lm_frozen_free(struct lm_frozen *f);
/* NULL: not there. */
const lm_matrix *lm_frozen_find(const struct lm_frozen *f, const char *name);
/* Gives a layer's pages back where the file is large. */
void lm_frozen_pass(const struct lm_frozen *f, int64_t layer);

/* y = x W^T + b; x: [n, width], b: [rows] or NULL. Gradients flow to x and b. One row of x reads the quantised rows, many
 * are multiplied with panels of floats. */
sow_var lm_product(sow_tape *t, const lm_matrix *w, sow_var x, sow_var b);
/* Products of one x with several matrices of its width, y[i] of w[i] and b[i]; where x has few rows they are computed at once. */
enum { LM_TOGETHER = 4 };
void lm_products(sow_tape *t, const lm_matrix *const *w, int count, sow_var x, const sow_var *b, sow_var *y);
/* Rows by number, [count, width]; SOW_E_RANGE: an id outside. */
sow_var lm_matrix_rows(sow_tape *t, const lm_matrix *m, const int32_t *ids, int64_t count);

#endif
