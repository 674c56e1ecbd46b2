/* Standard initialisations of one tensor: torch.nn.init, TensorFlow's variance scaling, Xiao et al. 2018 (arXiv 1806.05393). */
#include "nn/init.h"

#include <math.h>
#include <string.h>

#include "sow/linalg.h"
#include "sow/text.h"

#define FANS INIT_MODE | INIT_SLOPE | INIT_NONLINEARITY
static const char convolution[] = "a convolution's weight of 3 to 5 dimensions";
static const char layer[] = "a weight of 2 dimensions or more";

const init_facts init_facts_of[SOW_INIT_SCHEMES] = {
    [SOW_INIT_UNIFORM] = {"uniform", 0, 8, "", "", INIT_LOW | INIT_HIGH, true},
    [SOW_INIT_NORMAL] = {"normal", 0, 8, "", "", INIT_MEAN | INIT_SD, true},
    [SOW_INIT_TRUNCATED_NORMAL] = {"truncated-normal", 0, 8, "", "", INIT_MEAN | INIT_SD | INIT_LOW | INIT_HIGH, true},
    [SOW_INIT_CONSTANT] = {"constant", 0, 8, "", "", INIT_VALUE, false},
    [SOW_INIT_ONES] = {"ones", 0, 8, "", "", 0, false},
    [SOW_INIT_ZEROS] = {"zeros", 0, 8, "", "", 0, false},
    [SOW_INIT_EYE] = {"eye", 2, 2, "a matrix", "dirac for convolutions, ones or zeros for vectors", 0, false},
    [SOW_INIT_DIRAC] = {"dirac", 3, 5, convolution, "eye for matrices", INIT_GROUPS, false},
    [SOW_INIT_XAVIER_UNIFORM] = {"xavier-uniform", 2, 8, layer, "uniform or zeros", INIT_GAIN, true},
    [SOW_INIT_XAVIER_NORMAL] = {"xavier-normal", 2, 8, layer, "normal or zeros", INIT_GAIN, true},
    [SOW_INIT_KAIMING_UNIFORM] = {"kaiming-uniform", 2, 8, layer, "uniform or zeros", FANS, true},
    [SOW_INIT_KAIMING_NORMAL] = {"kaiming-normal", 2, 8, layer, "normal or zeros", FANS, true},
    [SOW_INIT_ORTHOGONAL] = {"orthogonal", 2, 8, layer, "normal or zeros", INIT_GAIN, true},
    [SOW_INIT_SPARSE] = {"sparse", 2, 2, "a matrix", "normal", INIT_SPARSITY | INIT_SD, true},
    [SOW_INIT_TORCH_DEFAULT] = {"torch-default", 0, 8, "", "", 0, true},
    [SOW_INIT_VARIANCE_SCALING] = {"variance-scaling", 1, 8, "1 dimension or more", "constant",
                                   INIT_SCALE | INIT_MODE | INIT_DISTRIBUTION, true},
    [SOW_INIT_GLOROT_TRUNCATED] = {"glorot-truncated", 1, 8, "1 dimension or more", "constant", 0, true},
    [SOW_INIT_DELTA_ORTHOGONAL] = {"delta-orthogonal", 3, 5, convolution, "orthogonal for matrices", INIT_GAIN, true},
    [SOW_INIT_KEEP] = {"keep", 0, 8, "", "", 0, false},
};

sow_init sow_init_defaults(sow_scheme scheme) {
    sow_init init = {.scheme = scheme,
                     .low = 0,
                     .high = 1,
                     .mean = 0,
                     .sd = 1,
                     .gain = 1,
                     .mode = SOW_FAN_IN,
                     .nonlinearity = "leaky_relu",
                     .sparsity = NAN,
                     .scale = 1,
                     .distribution = "truncated_normal",
                     .groups = 1};
    if (scheme == SOW_INIT_TRUNCATED_NORMAL) init.low = -2, init.high = 2;
    if (scheme == SOW_INIT_SPARSE) init.sd = 0.01;
    return init;
}

sow_status sow_gain(const char *nonlinearity, double parameter, double *out) {
    static const struct {
        const char *name;
        double gain;
    } known[] = {{"linear", 1},     {"sigmoid", 1},          {"conv1d", 1},           {"conv2d", 1},
                 {"conv3d", 1},     {"conv_transpose1d", 1}, {"conv_transpose2d", 1}, {"conv_transpose3d", 1},
                 {"tanh", 5.0 / 3}, {"selu", 3.0 / 4}};
    if (!strcmp(nonlinearity, "relu")) {
        *out = sqrt(2.0);
        return SOW_OK;
    }
    if (!strcmp(nonlinearity, "leaky_relu")) {
        /* rounded by itself on every processor: never fused with the sum */
        const volatile double square = parameter * parameter;
        *out = sqrt(2.0 / (1 + square));
        return SOW_OK;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(nonlinearity, known[i].name)) {
            *out = known[i].gain;
            return SOW_OK;
        }
    return sow_fail(
        SOW_E_ARGUMENT,
        "nonlinearity '%s': expected linear, sigmoid, tanh, relu, leaky_relu, selu or conv1d ... conv_transpose3d",
        nonlinearity);
}

sow_status sow_fans(sow_tensor t, double *fan_in, double *fan_out) {
    char text[SOW_SHAPE_TEXT];
    if (t.rank < 2)
        return sow_fail(SOW_E_SHAPE, "fan-in and fan-out need 2 dimensions or more, found %s", sow_shape_text(t, text));
    double field = 1; /* the filter's extent: kernel height times width ... */
    for (int d = 2; d < t.rank; d++) field *= (double)t.shape[d];
    *fan_in = (double)t.shape[1] * field;
    *fan_out = (double)t.shape[0] * field;
    return SOW_OK;
}

/* ---- checks ---- */

static sow_status check_shape(const char *name, const sow_init *init, sow_tensor t) {
    const init_facts *facts = &init_facts_of[init->scheme];
    char text[SOW_SHAPE_TEXT];
    if (t.rank < facts->least || t.rank > facts->most)
        return sow_fail(SOW_E_SHAPE, "%s: '%s' is %s, expected %s; take %s", facts->name, name, sow_shape_text(t, text),
                        facts->needs, facts->instead);
    int64_t groups = init->groups ? init->groups : 1;
    if (init->scheme == SOW_INIT_DIRAC && (groups < 1 || t.shape[0] % groups))
        return sow_fail(SOW_E_SHAPE, "dirac: '%s' is %s, its %lld output channels do not divide into %lld groups", name,
                        sow_shape_text(t, text), (long long)t.shape[0], (long long)groups);
    if (init->scheme == SOW_INIT_DELTA_ORTHOGONAL && t.shape[0] < t.shape[1])
        return sow_fail(
            SOW_E_SHAPE,
            "delta-orthogonal: '%s' is %s, expected at least as many output channels (first) as input channels; take orthogonal",
            name, sow_shape_text(t, text));
    return SOW_OK;
}

static sow_status check_dtype(const char *name, const sow_init *init, sow_tensor t) {
    const init_facts *facts = &init_facts_of[init->scheme];
    bool shapeless = init->scheme == SOW_INIT_CONSTANT || init->scheme == SOW_INIT_ONES ||
                     init->scheme == SOW_INIT_ZEROS;
    if (sow_dtype_is_real(t.dtype)) return SOW_OK;
    if (shapeless && t.dtype != SOW_C64 && t.dtype != SOW_F8_E4M3 && t.dtype != SOW_F8_E5M2) return SOW_OK;
    return sow_fail(SOW_E_TYPE, "%s: '%s' is %s, expected F64, F32, F16 or BF16; take keep", facts->name, name,
                    sow_dtype_name(t.dtype));
}

static sow_status check_parameters(const char *name, const sow_init *init) {
    const init_facts *facts = &init_facts_of[init->scheme];
    unsigned has = facts->parameters;
    const double numbers[] = {init->low,   init->high, init->mean,  init->sd,
                              init->value, init->gain, init->slope, init->scale};
    const unsigned owners[] = {INIT_LOW, INIT_HIGH, INIT_MEAN, INIT_SD, INIT_VALUE, INIT_GAIN, INIT_SLOPE, INIT_SCALE};
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++)
        if ((has & owners[i]) && !isfinite(numbers[i]))
            return sow_fail(SOW_E_RANGE, "%s: '%s': parameter %g, expected finite numbers", facts->name, name,
                            numbers[i]);
    if ((has & INIT_SD) && init->sd < 0)
        return sow_fail(SOW_E_RANGE, "%s: '%s': standard deviation %g, expected 0 or more", facts->name, name,
                        init->sd);
    if (init->scheme == SOW_INIT_UNIFORM && (init->low > init->high || !isfinite((float)init->high - (float)init->low)))
        return sow_fail(SOW_E_RANGE, "uniform: '%s': bounds %g and %g, expected low <= high", name, init->low,
                        init->high);
    if ((has & INIT_SPARSITY) && !(init->sparsity >= 0 && init->sparsity <= 1))
        return sow_fail(SOW_E_RANGE,
                        isnan(init->sparsity)
                            ? "sparse: '%s': no sparsity given, expected the fraction of zeros in a column, from 0 to 1"
                            : "sparse: '%s': sparsity %g, expected 0 to 1",
                        name, init->sparsity);
    if ((has & INIT_SCALE) && init->scale <= 0)
        return sow_fail(SOW_E_RANGE, "variance-scaling: '%s': scale %g, expected more than 0", name, init->scale);
    if ((has & INIT_SLOPE) && init->mode == SOW_FAN_AVERAGE)
        return sow_fail(SOW_E_RANGE, "%s: '%s': mode fan_avg, expected fan_in or fan_out; take variance-scaling",
                        facts->name, name);
    return SOW_OK;
}

/* ---- draws ---- */

typedef struct distribution {
    enum { UNIFORM, NORMAL, TRUNCATED } kind;
    double mean, sd, low, high; /* uniform: low, high; normal: mean, sd; truncated: all */
} distribution;

static distribution uniform_within(double bound) {
    return (distribution){.kind = UNIFORM, .low = -bound, .high = bound};
}

static distribution normal_of(double sd) {
    return (distribution){.kind = NORMAL, .sd = sd};
}

static sow_status draw_row_major(sow_rng *rng, const distribution *d, sow_tensor t) {
    int64_t n = sow_count(t);
    if (t.dtype == SOW_F64) {
        if (d->kind == TRUNCATED) return sow_rng_truncated_f64(rng, t.data, n, d->mean, d->sd, d->low, d->high);
        if (d->kind == NORMAL) sow_rng_normal_f64(rng, t.data, n, d->mean, d->sd);
        else sow_rng_uniform_f64(rng, t.data, n, d->low, d->high);
        return SOW_OK;
    }
    if (d->kind == TRUNCATED) return sow_rng_truncated_f32(rng, t.data, n, d->mean, d->sd, d->low, d->high);
    if (d->kind == NORMAL) sow_rng_normal_f32(rng, t.data, n, d->mean, d->sd);
    else sow_rng_uniform_f32(rng, t.data, n, d->low, d->high);
    return SOW_OK;
}

/* Numbers come in logical order and in f32 or f64: other layouts and dtypes are filled by way of scratch memory. */
static sow_status draw(sow_rng *rng, const distribution *d, sow_tensor t) {
    if (sow_is_contiguous(t) && (t.dtype == SOW_F32 || t.dtype == SOW_F64)) return draw_row_major(rng, d, t);
    sow_dtype dtype = t.dtype == SOW_F64 ? SOW_F64 : SOW_F32;
    void *scratch = sow_reallocate(NULL, (size_t)sow_count(t) * sow_dtype_size(dtype));
    if (!scratch) return SOW_E_MEMORY;
    sow_tensor drawn = sow_tensor_of(scratch, dtype, t.rank, t.shape);
    sow_status status = draw_row_major(rng, d, drawn);
    if (status == SOW_OK) status = sow_copy(t, drawn);
    sow_release(scratch);
    return status;
}

/* ---- schemes of a distribution ---- */

static sow_status xavier(const sow_init *init, sow_tensor t, distribution *d) {
    double fan_in, fan_out;
    SOW_TRY(sow_fans(t, &fan_in, &fan_out));
    double sd = init->gain * sqrt(2.0 / (fan_in + fan_out));
    *d = init->scheme == SOW_INIT_XAVIER_UNIFORM ? uniform_within(sqrt(3.0) * sd) : normal_of(sd);
    return SOW_OK;
}

static sow_status kaiming(const sow_init *init, bool uniform, sow_tensor t, distribution *d) {
    double fan_in, fan_out, gain;
    SOW_TRY(sow_fans(t, &fan_in, &fan_out));
    SOW_TRY(sow_gain(init->nonlinearity, init->slope, &gain));
    double sd = gain / sqrt(init->mode == SOW_FAN_OUT ? fan_out : fan_in);
    *d = uniform ? uniform_within(sqrt(3.0) * sd) : normal_of(sd);
    return SOW_OK;
}

/* TensorFlow's fans: those of PyTorch, and a vector's length for both. */
static double tensorflow_fan(sow_tensor t, sow_fan mode) {
    double fan_in = (double)t.shape[0], fan_out = fan_in;
    if (t.rank >= 2) sow_fans(t, &fan_in, &fan_out);
    return fmax(1, mode == SOW_FAN_IN ? fan_in : mode == SOW_FAN_OUT ? fan_out : (fan_in + fan_out) / 2);
}

/* A normal cut at two standard deviations. */
static distribution cut_normal(double sd) {
    return (distribution){.kind = TRUNCATED, .sd = sd, .low = -2 * sd, .high = 2 * sd};
}

static sow_status variance_scaling(const sow_init *init, sow_tensor t, distribution *d) {
    /* what remains of a unit normal's deviation between -2 and 2 */
    static const double cut = 0.87962566103423978;
    double variance = init->scale / tensorflow_fan(t, init->mode);
    if (!strcmp(init->distribution, "uniform")) *d = uniform_within(sqrt(3.0 * variance));
    else if (!strcmp(init->distribution, "untruncated_normal")) *d = normal_of(sqrt(variance));
    else if (!strcmp(init->distribution, "truncated_normal")) *d = cut_normal(sqrt(variance) / cut);
    else
        return sow_fail(SOW_E_ARGUMENT, "distribution '%s': expected truncated_normal, untruncated_normal or uniform",
                        init->distribution);
    return SOW_OK;
}

/* ---- schemes of a structure ---- */

static void fill_eye(sow_tensor t) {
    sow_fill(t, 0);
    for (int64_t i = 0; i < t.shape[0] && i < t.shape[1]; i++) sow_put(t, i * t.shape[1] + i, 1);
}

/* Logical index of the element at the filter's centre; an even extent has two, of which `upper` is the second. */
static int64_t centre(sow_tensor t, int64_t out, int64_t in, bool upper) {
    int64_t index = out * t.shape[1] + in;
    for (int d = 2; d < t.rank; d++) index = index * t.shape[d] + (upper ? t.shape[d] / 2 : (t.shape[d] - 1) / 2);
    return index;
}

static void fill_dirac(sow_tensor t, int64_t groups) {
    int64_t outputs = t.shape[0] / groups;
    sow_fill(t, 0);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t i = 0; i < outputs && i < t.shape[1]; i++) sow_put(t, centre(t, g * outputs + i, i, true), 1);
}

/* Martens 2010 as in PyTorch: the first rows of a random order are zero, column by column. */
static sow_status fill_sparse(sow_rng *rng, const sow_init *init, sow_tensor t) {
    int64_t rows = t.shape[0], columns = t.shape[1], zeros = (int64_t)ceil(init->sparsity * (double)rows);
    distribution d = normal_of(init->sd);
    SOW_TRY(draw(rng, &d, t));
    int64_t *order = sow_reallocate(NULL, (size_t)rows * sizeof *order);
    if (!order) return SOW_E_MEMORY;
    for (int64_t column = 0; column < columns; column++) {
        sow_rng_permutation(rng, order, rows);
        for (int64_t i = 0; i < zeros && i < rows; i++) sow_put(t, order[i] * columns + column, 0);
    }
    sow_release(order);
    return SOW_OK;
}

/* Saxe et al. 2014: Q of a normal matrix [rows, columns], in f64 whatever the draw's dtype; of its transpose if wide. */
static sow_status fill_orthogonal(sow_rng *rng, double gain, sow_tensor matrix) {
    int64_t rows = matrix.shape[0], columns = matrix.shape[1], n = rows * columns;
    sow_dtype dtype = matrix.dtype == SOW_F64 ? SOW_F64 : SOW_F32;
    double *scratch = sow_reallocate(NULL, (size_t)n * (sizeof *scratch + sow_dtype_size(dtype)));
    if (!scratch) return SOW_E_MEMORY;
    sow_tensor normals = sow_tensor_of(scratch + n, dtype, 2, (int64_t[]){rows, columns}), tall = normals;
    distribution d = normal_of(1);
    sow_status status = draw_row_major(rng, &d, normals);
    if (rows < columns) tall = sow_transpose(normals), matrix = sow_transpose(matrix);
    sow_tensor q = sow_transpose(sow_tensor_of(scratch, SOW_F64, 2, (int64_t[]){tall.shape[1], tall.shape[0]}));
    if (status == SOW_OK) status = sow_qr(tall, q, (sow_tensor){0});
    for (int64_t i = 0; i < n; i++) scratch[i] *= gain;
    if (status == SOW_OK) status = sow_copy(matrix, q);
    sow_release(scratch);
    return status;
}

/* The tensor as [shape[0], the rest], in row-major memory: its own, or a copy that is brought back. */
static sow_status fill_flattened_orthogonal(sow_rng *rng, double gain, sow_tensor t) {
    int64_t rows = t.shape[0], columns = sow_count(t) / rows;
    if (t.rank == 2) return fill_orthogonal(rng, gain, t);
    if (sow_is_contiguous(t))
        return fill_orthogonal(rng, gain, sow_tensor_of(t.data, t.dtype, 2, (int64_t[]){rows, columns}));
    void *copy = sow_reallocate(NULL, sow_bytes(t));
    if (!copy) return SOW_E_MEMORY;
    sow_status status = fill_orthogonal(rng, gain, sow_tensor_of(copy, t.dtype, 2, (int64_t[]){rows, columns}));
    if (status == SOW_OK) status = sow_copy(t, sow_tensor_of(copy, t.dtype, t.rank, t.shape));
    sow_release(copy);
    return status;
}

/* Xiao et al. 2018: an orthogonal matrix at the filter's centre, zeros around it. */
static sow_status fill_delta_orthogonal(sow_rng *rng, double gain, sow_tensor t) {
    sow_fill(t, 0);
    sow_tensor middle = {.data = t.data,
                         .dtype = t.dtype,
                         .rank = 2,
                         .shape = {t.shape[0], t.shape[1]},
                         .stride = {t.stride[0], t.stride[1]}};
    middle.data = (uint8_t *)t.data + sow_offset(t, centre(t, 0, 0, false)) * (int64_t)sow_dtype_size(t.dtype);
    return fill_orthogonal(rng, gain, middle);
}

/* ---- PyTorch's modules ---- */

static sow_status fill_as_module(sow_rng *rng, const char *name, sow_role role, double weight_fan_in, sow_tensor t) {
    sow_init linear = sow_init_defaults(SOW_INIT_KAIMING_UNIFORM);
    distribution d = normal_of(1);
    linear.slope = sqrt(5.0);
    switch (role) {
    case SOW_ROLE_WEIGHT: SOW_TRY(kaiming(&linear, true, t, &d)); break;
    case SOW_ROLE_BIAS: d = uniform_within(weight_fan_in > 0 ? 1 / sqrt(weight_fan_in) : 0); break;
    case SOW_ROLE_EMBEDDING: break;
    case SOW_ROLE_NORM: sow_fill(t, !sow_ends_with(name, "bias") && !sow_ends_with(name, "beta")); return SOW_OK;
    case SOW_ROLE_BUFFER: sow_fill(t, sow_ends_with(name, "running_var")); return SOW_OK;
    }
    return role == SOW_ROLE_BIAS && !(weight_fan_in > 0) ? (sow_fill(t, 0), SOW_OK) : draw(rng, &d, t);
}

/* ---- one tensor ---- */

static sow_status fill(sow_rng *rng, const char *name, sow_role role, const sow_init *init, double weight_fan_in,
                       sow_tensor t) {
    distribution d = {.kind = UNIFORM, .mean = init->mean, .sd = init->sd, .low = init->low, .high = init->high};
    switch (init->scheme) {
    case SOW_INIT_UNIFORM: break;
    case SOW_INIT_NORMAL: d.kind = NORMAL; break;
    case SOW_INIT_TRUNCATED_NORMAL: d.kind = TRUNCATED; break;
    case SOW_INIT_XAVIER_UNIFORM:
    case SOW_INIT_XAVIER_NORMAL: SOW_TRY(xavier(init, t, &d)); break;
    case SOW_INIT_KAIMING_UNIFORM:
    case SOW_INIT_KAIMING_NORMAL: SOW_TRY(kaiming(init, init->scheme == SOW_INIT_KAIMING_UNIFORM, t, &d)); break;
    case SOW_INIT_VARIANCE_SCALING: SOW_TRY(variance_scaling(init, t, &d)); break;
    case SOW_INIT_GLOROT_TRUNCATED: d = cut_normal(sqrt(1.3 / tensorflow_fan(t, SOW_FAN_AVERAGE))); break;
    case SOW_INIT_CONSTANT: sow_fill(t, init->value); return SOW_OK;
    case SOW_INIT_ONES: sow_fill(t, 1); return SOW_OK;
    case SOW_INIT_ZEROS: sow_fill(t, 0); return SOW_OK;
    case SOW_INIT_EYE: fill_eye(t); return SOW_OK;
    case SOW_INIT_DIRAC: fill_dirac(t, init->groups ? init->groups : 1); return SOW_OK;
    case SOW_INIT_ORTHOGONAL: return fill_flattened_orthogonal(rng, init->gain, t);
    case SOW_INIT_DELTA_ORTHOGONAL: return fill_delta_orthogonal(rng, init->gain, t);
    case SOW_INIT_SPARSE: return fill_sparse(rng, init, t);
    case SOW_INIT_TORCH_DEFAULT: return fill_as_module(rng, name, role, weight_fan_in, t);
    case SOW_INIT_KEEP:
    case SOW_INIT_SCHEMES: return SOW_OK;
    }
    return draw(rng, &d, t);
}

sow_status sow_init_tensor(sow_rng *rng, const char *name, sow_role role, const sow_init *init, double weight_fan_in,
                           sow_tensor t) {
    if ((unsigned)init->scheme >= SOW_INIT_SCHEMES)
        return sow_fail(SOW_E_RANGE, "'%s': no initialisation number %d", name, (int)init->scheme);
    if (init->scheme == SOW_INIT_KEEP) return SOW_OK;
    if (init->scheme != SOW_INIT_TORCH_DEFAULT || role != SOW_ROLE_BUFFER) SOW_TRY(check_dtype(name, init, t));
    SOW_TRY(check_shape(name, init, t));
    SOW_TRY(check_parameters(name, init));
    sow_rng_at(rng, "init", name);
    if (sow_count(t) == 0) return SOW_OK;
    sow_status status = fill(rng, name, role, init, weight_fan_in, t);
    if (status != SOW_OK) return sow_fail_in(status, "'%s'", name);
    status = sow_require_finite(t, name);
    return status == SOW_OK ? SOW_OK
                            : sow_fail_in(status, "%s gives values beyond %s", sow_scheme_name(init->scheme),
                                          sow_dtype_name(t.dtype));
}
