/* Standard initialisations, as torch.nn.init and TensorFlow define them. */
#ifndef SOW_INIT_H
#define SOW_INIT_H

#include "sow/random.h"
#include "sow/state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_scheme {
    SOW_INIT_UNIFORM,
    SOW_INIT_NORMAL,
    SOW_INIT_TRUNCATED_NORMAL,
    SOW_INIT_CONSTANT,
    SOW_INIT_ONES,
    SOW_INIT_ZEROS,
    SOW_INIT_EYE,
    SOW_INIT_DIRAC,
    SOW_INIT_XAVIER_UNIFORM,
    SOW_INIT_XAVIER_NORMAL,
    SOW_INIT_KAIMING_UNIFORM,
    SOW_INIT_KAIMING_NORMAL,
    SOW_INIT_ORTHOGONAL,
    SOW_INIT_SPARSE,
    SOW_INIT_TORCH_DEFAULT,    /* what PyTorch's modules do: needs the sibling weight for a bias */
    SOW_INIT_VARIANCE_SCALING, /* TensorFlow */
    SOW_INIT_GLOROT_TRUNCATED, /* TF1 xavier_initializer(uniform=False): normal cut at 2 sd, widened */
    SOW_INIT_DELTA_ORTHOGONAL, /* Xiao et al. 2018 */
    SOW_INIT_KEEP,             /* leave the tensor as it is */
    SOW_INIT_SCHEMES
} sow_scheme;

typedef enum sow_fan { SOW_FAN_IN, SOW_FAN_OUT, SOW_FAN_AVERAGE } sow_fan;

/* Parameters of a scheme; sow_init_defaults fills those of torch.nn.init. A scheme ignores what is not its own. */
typedef struct sow_init {
    sow_scheme scheme;
    double low, high;         /* uniform [0, 1); truncated normal keeps [-2, 2], absolute bounds as in PyTorch */
    double mean, sd;          /* normal and truncated normal 0, 1; sparse sd 0.01 */
    double value;             /* constant 0 */
    double gain;              /* xavier, orthogonal, delta-orthogonal 1 */
    sow_fan mode;             /* kaiming and variance scaling: fan_in; fan_avg for variance scaling only */
    double slope;             /* kaiming: negative slope of leaky_relu, 0 (sqrt 5 inside torch-default) */
    const char *nonlinearity; /* kaiming: "leaky_relu" */
    double sparsity;          /* sparse: fraction of zeros a column; NAN, must be given */
    double scale;             /* variance scaling 1 */
    const char *distribution; /* variance scaling: "truncated_normal", "untruncated_normal", "uniform" */
    int64_t groups;           /* dirac: of the convolution; 0 means 1 */
} sow_init;

/* The scheme with the parameters of torch.nn.init (TensorFlow's for variance scaling). */
sow_init sow_init_defaults(sow_scheme scheme);
/* "kaiming-uniform", "xavier-normal", "torch-default" ... */
const char *sow_scheme_name(sow_scheme scheme);
/* The way back, where torch's spelling (kaiming_uniform_, trunc_normal_) and he-, glorot- are known too;
 * SOW_E_ARGUMENT with the nearest name. */
sow_status sow_scheme_parse(const char *name, sow_scheme *out);
/* Sets one parameter from text: ("sd", "0.02"), ("mode", "fan_out"). SOW_E_ARGUMENT for one that the scheme does not
 * have, and for numbers that are not finite. */
sow_status sow_init_set(sow_init *init, const char *parameter, const char *value);
/* "normal:mean=0,sd=0.02": a scheme with the parameters that differ from its defaults. Errors as sow_init_set. */
sow_status sow_init_parse(const char *text, sow_init *out);
enum { SOW_INIT_TEXT = 320 };
/* The text that sow_init_parse reads back the same, into the caller's buffer; returns it. */
char *sow_init_text(const sow_init *init, char text[SOW_INIT_TEXT]);
/* torch.nn.init.calculate_gain: linear, conv*, sigmoid, tanh, relu, leaky_relu (`parameter` is its slope), selu.
 * SOW_E_ARGUMENT with the nearest name for another. */
sow_status sow_gain(const char *nonlinearity, double parameter, double *out);
/* Inputs and outputs of one unit of a weight [out, in, ...], as torch.nn.init._calculate_fan_in_and_fan_out counts them:
 * columns and rows, each times the size of the window. SOW_E_SHAPE below two dimensions. */
sow_status sow_fans(sow_tensor t, double *fan_in, double *fan_out);

/* Fills one tensor (F32 or F64; F16 and BF16 through F32, rounded to nearest) in logical order, whatever its layout; other
 * dtypes take constants only. The generator is moved to the stream ("init", name) first. `weight_fan_in` is the sibling weight's
 * fan-in, for biases under SOW_INIT_TORCH_DEFAULT (0: such a bias gets zeros); `role` matters to that scheme only.
 * Errors, naming tensor, shape and what is expected: SOW_E_SHAPE, SOW_E_TYPE, SOW_E_RANGE (a parameter), SOW_E_NUMBER (a value
 * that the dtype cannot hold). Cost: one pass; orthogonal: one QR in f64. */
sow_status sow_init_tensor(sow_rng *rng, const char *name, sow_role role, const sow_init *init, double weight_fan_in,
                           sow_tensor t);

/* ---- whole states ---- */

/* `pattern`: a POSIX extended regular expression that must match the whole name or its end behind a dot, so that
 * "norm.*weight" finds "layers.0.norm1.weight"; ^ stands for the name's beginning only. */
typedef struct sow_init_rule {
    const char *pattern;
    sow_init init;
    bool by_role; /* like the default: biases, norms and buffers that match get their usual values */
} sow_init_rule;

/* What one tensor gets. */
typedef struct sow_init_choice {
    sow_init init;
    double weight_fan_in;
    int rule; /* index of the rule that decided, -1: the default */
} sow_init_choice;

/* Decides for every entry, in order, into `choices` [sow_state_count], reading names, shapes and roles only. The first rule that
 * matches wins and its scheme is taken literally, except that biases and norm parameters get their usual values where
 * it asks for two dimensions or more (orthogonal, kaiming ...). The rest goes by role:
 *   weights      `by_default`
 *   biases       0
 *   norms        scale 1, shift 0
 *   embeddings   `by_default` if it is uniform, normal or truncated normal, else N(0, 1)
 *   buffers      running_mean 0, running_var 1, num_batches_tracked 0, others kept
 *   others       (one-dimensional parameters that are none of these, integers): kept
 * SOW_INIT_TORCH_DEFAULT does what PyTorch's modules do (Linear, Conv, norms, Embedding, RNN, LSTM, GRU, MultiheadAttention).
 * SOW_INIT_KEEP by default keeps everything. Errors: SOW_E_ARGUMENT for a wrong pattern, and for one that matches no
 * name, with the nearest remedy. */
sow_status sow_init_choose(const sow_state *state, const sow_init *by_default, const sow_init_rule *rules, int count,
                           sow_init_choice *choices);

/* Chooses and fills all entries in order: with the generator TORCH_CPU the bits are those of PyTorch, if the state's order is
 * that of its modules. On failure some entries are filled. */
sow_status sow_init_state(sow_rng *rng, sow_state *state, const sow_init *by_default, const sow_init_rule *rules,
                          int count);

#ifdef __cplusplus
}
#endif
#endif
