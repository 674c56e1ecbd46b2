/* Layers that find or declare their parameters by name, and whole models. */
#ifndef SOW_NN_H
#define SOW_NN_H

#include "sow/data.h"
#include "sow/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sow_dense {
    int64_t out;
    bool no_bias;
    bool by_rows;      /* store the weight [out, in]: wide models, mapped files */
    const char *group; /* pruning group; NULL means "fc" */
} sow_dense;
/* Parameters name.weight [out, in] (stored [in, out], the faster order for small nets, unless by_rows) and name.bias [out]; a site. */
sow_var sow_linear_at(sow_tape *t, sow_state *s, const char *name, sow_var x, sow_dense dense);

typedef struct sow_filter {
    int64_t out, size, stride, padding, groups; /* 0 means 1 for stride and groups */
    bool bias;
    const char *group; /* NULL means "conv" */
} sow_filter;
/* Parameters name.weight [out, in/groups, size, size], name.bias; a site. */
sow_var sow_conv2d_at(sow_tape *t, sow_state *s, const char *name, sow_var x, sow_filter filter);

/* Parameters name.weight (1), name.bias (0) and buffers running_mean, running_var, num_batches_tracked; a site. */
sow_var sow_batch_norm_at(sow_tape *t, sow_state *s, const char *name, sow_var x, sow_var skip, bool relu);
/* Parameters name.weight (1) and name.bias (0) over the last dimension; a site. */
sow_var sow_layer_norm_at(sow_tape *t, sow_state *s, const char *name, sow_var x);

typedef struct sow_model sow_model;
/* x: [N, C, H, W] -> logits [N, classes]. */
typedef sow_var (*sow_forward)(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);

struct sow_model {
    const char *arch;        /* as the user wrote it: "lenet300", "mlp:784-300-100-10" */
    sow_geometry geometry;
    sow_forward forward;
    int64_t widths[32];      /* mlp: layer widths, input first, zero behind the last; vit: patch, width, depth, heads */
    int layers;
    double dropout;          /* 0: none */
    sow_state *state;        /* owned */
};

/* One row of the table of architectures (src/nn/architectures.c). */
typedef struct sow_architecture {
    const char *name, *summary;
    sow_geometry geometry;   /* of the paper's data; zeros: from the name or the data */
    sow_forward forward;
    bool global_pruning;     /* the paper prunes it with one threshold over all conv weights */
} sow_architecture;
/* The table of architectures, in the order they are shown. */
const sow_architecture *sow_architectures(int *count);

/* A model by name, with its parameters declared and filled with zeros (norm scales and running variances with 1).
 * geometry NULL or with zeros: the architecture's own. Errors: SOW_E_NOT_FOUND with the nearest name; SOW_E_SHAPE
 * where the architecture cannot take that geometry (lenet300 is 784 inputs whatever they are called). */
sow_status sow_model_new(const char *arch, const sow_geometry *geometry, sow_model **out);
/* Frees the model and its state; NULL is allowed. */
void sow_model_free(sow_model *model);

#ifdef __cplusplus
}
#endif
#endif
