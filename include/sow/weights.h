/* Start values of networks: the standard initialisations (classic), and LSUV with data. */
#ifndef SOW_WEIGHTS_H
#define SOW_WEIGHTS_H

#include "sow/init.h"
#include "sow/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- classic ---- */

typedef struct sow_classic_config {
    sow_init by_default;        /* of what no rule names, by role (sow_init_choose); keep: nothing else changes */
    const sow_init_rule *rules; /* the first that matches wins */
    int rule_count;
    sow_rng_kind rng;
    uint64_t seed;
    /* Names in the order in which a generator with one stream (all but SOW) draws; the rest follows. NULL: states in their own
     * order; files in natural order of names (layer2 before layer10), a module's weight before its bias. */
    const char *const *order;
    int64_t order_count;
} sow_classic_config;

/* What became of one tensor. */
typedef struct sow_filled {
    const char *name;
    sow_tensor shape; /* a description: data NULL */
    sow_init init;
    double mean, sd; /* over all elements; NAN for integers and F8 */
} sow_filled;

/* Fills a state in place. `report`: one row an entry, in the arena; NULL: not wanted. Errors: those of sow_init_choose and
 * sow_init_tensor, the name of an unknown tensor in `order`; on failure some entries are filled. */
sow_status sow_classic(const sow_classic_config *config, sow_state *state, sow_arena *arena, sow_filled **report);

/* Reads LIKE (safetensors, one file, an index or a folder) and writes OUT with the same names, shapes and dtypes, tensor by tensor: files may
 * be larger than memory, of which the largest tensor takes its own size, twice its f32 size for orthogonal, and a generator's state a
 * tensor where it has one stream. Kept tensors are copied byte by byte; SOW_E_NUMBER if one holds NaN or infinities. */
sow_status sow_classic_file(const sow_classic_config *config, const char *like, const char *out, const char *passport,
                            sow_arena *arena, sow_filled **report, int64_t *count);

/* ---- LSUV (Mishkin and Matas 2016, arXiv 1511.06422) ---- */

typedef struct sow_lsuv_config {
    int64_t batch;    /* examples of the training part that are sent through, 256 */
    double tolerance; /* how far an output's variance may stay from 1, 0.1 */
    int rounds;       /* at most, 10 */
    uint64_t seed;    /* which examples */
} sow_lsuv_config;

/* How a layer's outputs varied over the batch before and after. */
typedef struct sow_lsuv_layer {
    const char *site;
    double before, after; /* variance over all elements */
} sow_lsuv_layer;

/* Scales the weights of each dense and convolutional layer, in the order of the forward pass, until the variance of its outputs
 * (before norm and activation) is within tolerance of 1. Weights must be filled (orthogonal, in the paper). Batch norms work on
 * the batch; their running statistics stay as they were. Errors: SOW_E_NUMBER where an output does not vary at all; SOW_E_SHAPE.
 * Layers that do not settle in `rounds` rounds are warned about. Cost: a forward pass a round, two where biases are 0. */
sow_status sow_lsuv(const sow_lsuv_config *config, sow_model *model, const sow_data *data, sow_arena *arena,
                    sow_lsuv_layer **layers, int64_t *count);

#ifdef __cplusplus
}
#endif
#endif
