/* Standard initialisations, as torch.nn.init and TensorFlow define them. */
#ifndef SOW_INIT_H
#define SOW_INIT_H

#include "sow/random.h"
#include "sow/state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_scheme {
    SOW_INIT_UNIFORM, SOW_INIT_NORMAL, SOW_INIT_TRUNCATED_NORMAL, SOW_INIT_CONSTANT, SOW_INIT_ONES, SOW_INIT_ZEROS,
    SOW_INIT_EYE, SOW_INIT_DIRAC, SOW_INIT_XAVIER_UNIFORM, SOW_INIT_XAVIER_NORMAL, SOW_INIT_KAIMING_UNIFORM,
    SOW_INIT_KAIMING_NORMAL, SOW_INIT_ORTHOGONAL, SOW_INIT_SPARSE,
    SOW_INIT_TORCH_DEFAULT,       /* what PyTorch's modules do: needs the sibling weight for a bias */
    SOW_INIT_VARIANCE_SCALING,    /* TensorFlow */
    SOW_INIT_GLOROT_TRUNCATED,    /* TF1 xavier_initializer(uniform=False): normal cut at 2 sd, widened */
    SOW_INIT_DELTA_ORTHOGONAL,    /* Xiao et al. 2018 */
    SOW_INIT_KEEP,                /* leave the tensor as it is */
    SOW_INIT_SCHEMES
} sow_scheme;

typedef enum sow_fan { SOW_FAN_IN, SOW_FAN_OUT, SOW_FAN_AVERAGE } sow_fan;

/* Parameters of a scheme; sow_init_defaults fills those of torch.nn.init. */
typedef struct sow_init {
    sow_scheme scheme;
    double low, high;       /* uniform [0, 1); truncation bounds [-2, 2] */
    double mean, sd;        /* normal 0, 1; truncated 0, 1; sparse sd 0.01 */
    double value;           /* constant */
    double gain;            /* xavier, orthogonal; 1 */
    sow_fan mode;           /* kaiming fan_in; variance scaling fan_in */
    double slope;           /* kaiming: negative slope a, 0 (sqrt 5 inside torch-default) */
    const char *nonlinearity; /* kaiming: "leaky_relu" */
    double sparsity;        /* sparse: fraction of zeros a column */
    double scale;           /* variance scaling 1 */
    const char *distribution; /* variance scaling: "truncated_normal", "untruncated_normal", "uniform" */
    int64_t groups;         /* dirac, convolutions with groups; 0 means 1 */
} sow_init;

sow_init sow_init_defaults(sow_scheme scheme);
/* "kaiming-uniform", "xavier-normal", "torch-default" ... and back; SOW_E_NOT_FOUND with the nearest name. */
const char *sow_scheme_name(sow_scheme scheme);
sow_status sow_scheme_parse(const char *name, sow_scheme *out);
/* torch.nn.init.calculate_gain: linear, conv*, sigmoid, tanh, relu, leaky_relu, selu. */
sow_status sow_gain(const char *nonlinearity, double parameter, double *out);
/* torch.nn.init._calculate_fan_in_and_fan_out; SOW_E_SHAPE below two dimensions. */
sow_status sow_fans(sow_tensor t, double *fan_in, double *fan_out);

/* Fills one tensor (F32 or F64; F16 and BF16 through F32) in logical order, whatever its layout. The generator is
 * moved to the stream ("init", name) first. `weight_fan_in` is the sibling weight's fan-in, for biases under
 * SOW_INIT_TORCH_DEFAULT (0: the tensor is a weight, a norm or an embedding, decided by role). Cost: one pass; orthogonal: one QR. */
sow_status sow_init_tensor(sow_rng *rng, const char *name, sow_role role, const sow_init *init, double weight_fan_in, sow_tensor t);

#ifdef __cplusplus
}
#endif
#endif
