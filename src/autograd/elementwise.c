/* Element-wise operators: sums, products, activations, dropout. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "autograd/vexp.h"
#include "sow/random.h"

/* ---- functions of one value ---- */

/* For each function: y from x, and dx from (x, y, dy). `a` holds the constants. */
typedef struct constants {
    double factor, shift;
} constants;

/* Defines NAME_forward_REAL and NAME_backward_REAL over a run of memory. */
#define UNARY(NAME, REAL, FORWARD, BACKWARD)                                                                             \
    SOW_CLONES static void NAME##_forward_##REAL(const REAL *restrict xs, REAL *restrict ys, int64_t n, const constants *a) { \
        (void)a;                                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                                                \
            const REAL x = xs[i];                                                                                        \
            ys[i] = (FORWARD);                                                                                           \
        }                                                                                                                \
    }                                                                                                                    \
    SOW_CLONES static void NAME##_backward_##REAL(const REAL *restrict xs, const REAL *restrict ys, const REAL *restrict gs, REAL *restrict out, \
                                                  int64_t n, REAL beta, const constants *a) {                             \
        (void)a, (void)xs, (void)ys;                                                                                     \
        if (beta == 0)                                                                                                   \
            for (int64_t i = 0; i < n; i++) {                                                                            \
                const REAL x = xs[i], y = ys[i], g = gs[i];                                                              \
                (void)x, (void)y;                                                                                        \
                out[i] = (BACKWARD);                                                                                     \
            }                                                                                                            \
        else                                                                                                             \
            for (int64_t i = 0; i < n; i++) {                                                                            \
                const REAL x = xs[i], y = ys[i], g = gs[i];                                                              \
                (void)x, (void)y;                                                                                        \
                out[i] += (BACKWARD);                                                                                    \
            }                                                                                                            \
    }
#define UNARY_BOTH(NAME, FORWARD, BACKWARD) UNARY(NAME, float, FORWARD, BACKWARD) UNARY(NAME, double, FORWARD, BACKWARD)

#define ROOT_HALF 0.70710678118654752440  /* 1/sqrt 2 */
#define DENSITY 0.39894228040143267794    /* 1/sqrt(2 pi) */
#define TANH_SCALE 0.79788456080286535588 /* sqrt(2/pi) */

UNARY_BOTH(relu, x > 0 ? x : 0, y > 0 ? g : 0)
UNARY(scale, float, (float)a->factor * x + (float)a->shift, (float)a->factor * g)
UNARY(scale, double, a->factor *x + a->shift, a->factor *g)
UNARY_BOTH(square, x *x, 2 * x * g)
UNARY(sigmoid, float, 1 / (1 + expf(-x)), g * y * (1 - y))
UNARY(sigmoid, double, 1 / (1 + exp(-x)), g * y * (1 - y))
UNARY(tanh, float, tanhf(x), g *(1 - y * y))
UNARY(tanh, double, tanh(x), g *(1 - y * y))
UNARY(exp, float, expf(x), g *y)
UNARY(exp, double, exp(x), g *y)
UNARY(log, float, logf(x), g / x)
UNARY(log, double, log(x), g / x)
/* GELU (Hendrycks and Gimpel 2016): x Phi(x), and its form with tanh. */
UNARY(gelu, float, x * 0.5f * (1 + erff(x * (float)ROOT_HALF)),
      g * (0.5f * (1 + erff(x * (float)ROOT_HALF)) + x * (float)DENSITY * expf(-0.5f * x * x)))
UNARY(gelu, double, x * 0.5 * (1 + erf(x * ROOT_HALF)), g *(0.5 * (1 + erf(x * ROOT_HALF)) + x * DENSITY * exp(-0.5 * x * x)))

static double gelu_tanh_value(double x) {
    return 0.5 * x * (1 + tanh(TANH_SCALE * (x + 0.044715 * x * x * x)));
}

static double gelu_tanh_slope(double x) {
    double h = tanh(TANH_SCALE * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + h) + 0.5 * x * (1 - h * h) * TANH_SCALE * (1 + 3 * 0.044715 * x * x);
}
/* In f32 by (1 + tanh u) / 2 = 1 / (1 + e^-2u), which vectorises. */
static inline __attribute__((always_inline)) float gelu_tanh_gate(float x) {
    return sow_vsigmoid((float)(2 * TANH_SCALE) * (x + 0.044715f * x * x * x));
}

static inline __attribute__((always_inline)) float gelu_tanh_slope_f32(float x) {
    float s = gelu_tanh_gate(x);
    return s + x * s * (1 - s) * (float)(2 * TANH_SCALE) * (1 + 3 * 0.044715f * x * x);
}
UNARY(gelu_tanh, float, x *gelu_tanh_gate(x), g *gelu_tanh_slope_f32(x))
UNARY(gelu_tanh, double, gelu_tanh_value(x), g *gelu_tanh_slope(x))

typedef struct function {
    void (*forward_f32)(const float *, float *, int64_t, const constants *);
    void (*backward_f32)(const float *, const float *, const float *, float *, int64_t, float, const constants *);
    void (*forward_f64)(const double *, double *, int64_t, const constants *);
    void (*backward_f64)(const double *, const double *, const double *, double *, int64_t, double, const constants *);
} function;
#define FUNCTION(NAME) {NAME##_forward_float, NAME##_backward_float, NAME##_forward_double, NAME##_backward_double}

typedef struct unary {
    constants constants;
    const function *function;
} unary;

typedef struct unary_job {
    const unary *u;
    sow_tensor x, y, gy, gx;
    int64_t count;
    float beta;
} unary_job;

static void unary_cell(void *context, int64_t cell) {
    const unary_job *j = context;
    sow_range r = sow_chunk(cell, j->count);
    if (j->x.dtype == SOW_F32) j->u->function->forward_f32((const float *)j->x.data + r.first, (float *)j->y.data + r.first, r.count, &j->u->constants);
    else j->u->function->forward_f64((const double *)j->x.data + r.first, (double *)j->y.data + r.first, r.count, &j->u->constants);
}

static void unary_back_cell(void *context, int64_t cell) {
    const unary_job *j = context;
    sow_range r = sow_chunk(cell, j->count);
    const constants *a = &j->u->constants;
    if (j->x.dtype == SOW_F32)
        j->u->function->backward_f32((const float *)j->x.data + r.first, (const float *)j->y.data + r.first, (const float *)j->gy.data + r.first,
                                     (float *)j->gx.data + r.first, r.count, j->beta, a);
    else
        j->u->function->backward_f64((const double *)j->x.data + r.first, (const double *)j->y.data + r.first, (const double *)j->gy.data + r.first,
                                     (double *)j->gx.data + r.first, r.count, (double)j->beta, a);
}

static sow_status unary_forward(sow_tape *t, sow_node *n) {
    (void)t;
    unary_job job = {.u = n->attributes, .x = n->input[0]->value, .y = n->value, .count = sow_count(n->value)};
    sow_cells(sow_cells_for(job.count, SOW_CHUNK), unary_cell, &job);
    return SOW_OK;
}

static sow_status unary_backward(sow_tape *t, sow_node *n) {
    unary_job job = {.u = n->attributes, .x = n->input[0]->value, .y = n->value, .gy = n->grad, .count = sow_count(n->value)};
    job.beta = sow_grad_into(t, n->input[0], &job.gx);
    if (!job.gx.data) return SOW_E_MEMORY;
    sow_cells(sow_cells_for(job.count, SOW_CHUNK), unary_back_cell, &job);
    return SOW_OK;
}

static bool is_compute_type(sow_tape *t, const char *what, sow_var x) {
    if (x->value.dtype == SOW_F32 || x->value.dtype == SOW_F64) return true;
    sow_tape_fail(t, sow_fail(SOW_E_TYPE, "%s: operand is %s, expected F32 or F64", what, sow_dtype_name(x->value.dtype)));
    return false;
}

static sow_var unary_of(sow_tape *t, const sow_op *op, const function *f, sow_var x, double factor, double shift) {
    x = sow_gap_free(t, x);
    sow_node *n = SOW_NODE(t, op, unary, 1, x);
    if (!n || !is_compute_type(t, op->name, x)) return NULL;
    *(unary *)n->attributes = (unary){{factor, shift}, f};
    sow_tensor y = x->value;
    y.data = NULL;
    return sow_node_run(t, n, y);
}

#define UNARY_CALL(CALL, NAME)                                                    \
    static const sow_op NAME##_op = {#NAME, unary_forward, unary_backward};       \
    static const function NAME##_function = FUNCTION(NAME);                       \
    sow_var CALL(sow_tape *t, sow_var x) { return unary_of(t, &NAME##_op, &NAME##_function, x, 1, 0); }

UNARY_CALL(sow_relu, relu)
UNARY_CALL(sow_square, square)
UNARY_CALL(sow_sigmoid, sigmoid)
UNARY_CALL(sow_tanh, tanh)
UNARY_CALL(sow_exp, exp)
UNARY_CALL(sow_log_of, log)

static const sow_op scale_op = {"scale", unary_forward, unary_backward, sow_reads_nothing, true}, gelu_op = {"gelu", unary_forward, unary_backward};
static const function scale_function = FUNCTION(scale), gelu_function = FUNCTION(gelu), gelu_tanh_function = FUNCTION(gelu_tanh);

sow_var sow_scale(sow_tape *t, sow_var x, double factor, double shift) {
    return unary_of(t, &scale_op, &scale_function, x, factor, shift);
}

sow_var sow_gelu(sow_tape *t, sow_var x, bool tanh_form) {
    return unary_of(t, &gelu_op, tanh_form ? &gelu_tanh_function : &gelu_function, x, 1, 0);
}

/* ---- sums, differences and products of two; b may repeat over a's leading dimensions ---- */

typedef enum binary_kind { BINARY_ADD, BINARY_SUB, BINARY_MUL } binary_kind;

typedef struct binary {
    binary_kind kind;
    int64_t count, period; /* elements of a and of b */
} binary;

typedef struct binary_job {
    const binary *b;
    sow_tensor x, y, out; /* forward: operands and result */
    float beta;
    bool right;           /* backward: for b */
} binary_job;

#define BINARY_LOOPS(REAL)                                                                                              \
    SOW_CLONES static void combine_##REAL(binary_kind kind, const REAL *x, const REAL *y, REAL *out, int64_t n) {        \
        if (kind == BINARY_ADD) for (int64_t i = 0; i < n; i++) out[i] = x[i] + y[i];                                    \
        else if (kind == BINARY_SUB) for (int64_t i = 0; i < n; i++) out[i] = x[i] - y[i];                               \
        else for (int64_t i = 0; i < n; i++) out[i] = x[i] * y[i];                                                      \
    }                                                                                                                   \
    /* out = beta out + sign g (times `by`, if given) */                                                                \
    SOW_CLONES static void give_##REAL(const REAL *g, const REAL *by, REAL sign, REAL *out, int64_t n, REAL beta) {      \
        for (int64_t i = 0; i < n; i++) {                                                                               \
            REAL v = by ? g[i] * by[i] : sign * g[i];                                                                   \
            out[i] = beta == 0 ? v : out[i] + v;                                                                        \
        }                                                                                                               \
    }
BINARY_LOOPS(float)
BINARY_LOOPS(double)

/* A cell of an operand that repeats lies within one repetition: cells count through periods. */
static void binary_cell(void *context, int64_t cell) {
    const binary_job *j = context;
    int64_t per = sow_cells_for(j->b->period, SOW_CHUNK), base = cell / per * j->b->period;
    sow_range r = sow_chunk(cell % per, j->b->period);
    if (j->x.dtype == SOW_F32)
        combine_float(j->b->kind, (const float *)j->x.data + base + r.first, (const float *)j->y.data + r.first, (float *)j->out.data + base + r.first, r.count);
    else combine_double(j->b->kind, (const double *)j->x.data + base + r.first, (const double *)j->y.data + r.first, (double *)j->out.data + base + r.first, r.count);
}

static sow_status binary_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const binary *b = n->attributes;
    binary_job job = {.b = b, .x = n->input[0]->value, .y = n->input[1]->value, .out = n->value};
    if (b->period > 0) sow_cells(b->count / b->period * sow_cells_for(b->period, SOW_CHUNK), binary_cell, &job);
    return SOW_OK;
}

static void give(sow_tensor g, int64_t g_at, const sow_tensor *by, int64_t by_at, double sign, sow_tensor out, int64_t out_at, int64_t n, float beta) {
    if (g.dtype == SOW_F32)
        give_float((const float *)g.data + g_at, by ? (const float *)by->data + by_at : NULL, (float)sign, (float *)out.data + out_at, n, beta);
    else give_double((const double *)g.data + g_at, by ? (const double *)by->data + by_at : NULL, sign, (double *)out.data + out_at, n, (double)beta);
}

/* Gradient of a: cells as forward. Gradient of b: a cell owns a chunk of one period and sums repetitions in order. */
static void binary_back_cell(void *context, int64_t cell) {
    const binary_job *j = context;
    bool product = j->b->kind == BINARY_MUL;
    double sign = j->right && j->b->kind == BINARY_SUB ? -1 : 1;
    int64_t per = sow_cells_for(j->b->period, SOW_CHUNK);
    sow_range r = sow_chunk(cell % per, j->b->period);
    if (!j->right) {
        int64_t base = cell / per * j->b->period;
        give(j->x, base + r.first, product ? &j->y : NULL, r.first, sign, j->out, base + r.first, r.count, j->beta);
        return;
    }
    for (int64_t base = 0; base < j->b->count; base += j->b->period)
        give(j->x, base + r.first, product ? &j->y : NULL, base + r.first, sign, j->out, r.first, r.count, base == 0 ? j->beta : 1);
}

static sow_status binary_backward(sow_tape *t, sow_node *n) {
    const binary *b = n->attributes;
    for (int side = 0; side < 2 && b->period > 0; side++) {
        if (!sow_wants_grad(n->input[side])) continue;
        binary_job job = {.b = b, .x = n->grad, .y = n->input[1 - side]->value, .right = side == 1};
        job.beta = sow_grad_into(t, n->input[side], &job.out);
        if (!job.out.data) return SOW_E_MEMORY;
        int64_t per = sow_cells_for(b->period, SOW_CHUNK);
        sow_cells(side ? per : b->count / b->period * per, binary_back_cell, &job);
    }
    return SOW_OK;
}

static sow_var binary_of(sow_tape *t, const sow_op *op, binary_kind kind, sow_var a, sow_var b) {
    a = sow_gap_free(t, a);
    if (a && b && !sow_same_layout(a->value, b->value)) a = sow_contiguous(t, a), b = sow_contiguous(t, b);
    sow_node *n = SOW_NODE(t, op, binary, 2, a, b);
    if (!n || !is_compute_type(t, op->name, a)) return NULL;
    sow_tensor av = a->value, bv = b->value;
    char at[SOW_SHAPE_TEXT], bt[SOW_SHAPE_TEXT];
    bool fits = av.dtype == bv.dtype && bv.rank <= av.rank;
    for (int i = 0; fits && i < bv.rank; i++) fits = bv.shape[bv.rank - 1 - i] == av.shape[av.rank - 1 - i];
    if (!fits) return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "%s: %s %s and %s %s", op->name, sow_dtype_name(av.dtype), sow_shape_text(av, at), sow_dtype_name(bv.dtype), sow_shape_text(bv, bt)));
    *(binary *)n->attributes = (binary){kind, sow_count(av), sow_count(bv)};
    av.data = NULL;
    return sow_node_run(t, n, av);
}

static const sow_op add_op = {"add", binary_forward, binary_backward, sow_reads_nothing, false}, sub_op = {"sub", binary_forward, binary_backward, sow_reads_nothing, false},
                    mul_op = {"mul", binary_forward, binary_backward};

sow_var sow_add(sow_tape *t, sow_var a, sow_var b) {
    return binary_of(t, &add_op, BINARY_ADD, a, b);
}

sow_var sow_sub(sow_tape *t, sow_var a, sow_var b) {
    return binary_of(t, &sub_op, BINARY_SUB, a, b);
}

sow_var sow_mul(sow_tape *t, sow_var a, sow_var b) {
    return binary_of(t, &mul_op, BINARY_MUL, a, b);
}

/* ---- dropout: the kept set is a function of (seed, step, ordinal, element) ---- */

typedef struct dropout {
    double p;
    uint64_t seed, step;
} dropout;

typedef struct dropout_job {
    sow_tensor from, to;
    const dropout *d;
    int64_t count, ordinal;
    float beta;
} dropout_job;

static void dropout_cell(void *context, int64_t cell) {
    const dropout_job *j = context;
    sow_range r = sow_chunk(cell, j->count);
    const dropout *d = j->d;
    uint32_t key[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32) ^ 0x64726f70u}, words[4]; /* "drop" */
    uint32_t least = d->p >= 1 ? UINT32_MAX : (uint32_t)(d->p * 4294967296.0);                /* kept at or above */
    double factor = d->p < 1 ? 1 / (1 - d->p) : 0;
    for (int64_t i = r.first; i < r.first + r.count; i++) {
        if (i == r.first || (i & 3) == 0) {
            uint64_t block = (uint64_t)i >> 2;
            uint32_t counter[4] = {(uint32_t)block, (uint32_t)j->ordinal, (uint32_t)d->step, (uint32_t)(d->step >> 32)};
            sow_philox(counter, key, words);
        }
        bool keep = words[i & 3] >= least && d->p < 1;
        if (j->to.dtype == SOW_F32) {
            float v = keep ? ((const float *)j->from.data)[i] * (float)factor : 0, *to = (float *)j->to.data + i;
            *to = j->beta == 0 ? v : *to + v;
        } else {
            double v = keep ? ((const double *)j->from.data)[i] * factor : 0, *to = (double *)j->to.data + i;
            *to = j->beta == 0 ? v : *to + v;
        }
    }
}

static sow_status dropout_forward(sow_tape *t, sow_node *n) {
    dropout *d = n->attributes;
    sow_tape_random_state(t, &d->seed, &d->step);
    dropout_job job = {.from = n->input[0]->value, .to = n->value, .d = d, .count = sow_count(n->value), .ordinal = n->ordinal};
    sow_cells(sow_cells_for(job.count, SOW_CHUNK), dropout_cell, &job);
    return SOW_OK;
}

static sow_status dropout_backward(sow_tape *t, sow_node *n) {
    dropout_job job = {.from = n->grad, .d = n->attributes, .count = sow_count(n->value), .ordinal = n->ordinal};
    job.beta = sow_grad_into(t, n->input[0], &job.to);
    if (!job.to.data) return SOW_E_MEMORY;
    sow_cells(sow_cells_for(job.count, SOW_CHUNK), dropout_cell, &job);
    return SOW_OK;
}

static const sow_op dropout_op = {"dropout", dropout_forward, dropout_backward};

sow_var sow_dropout(sow_tape *t, sow_var x, double p) {
    if (p < 0 || p > 1) return sow_tape_fail(t, sow_fail(SOW_E_RANGE, "dropout: probability %g, expected 0 to 1", p));
    if (!sow_tape_is_training(t) || p == 0) return x;
    x = sow_gap_free(t, x);
    sow_node *n = SOW_NODE(t, &dropout_op, dropout, 1, x);
    if (!n || !is_compute_type(t, "dropout", x)) return NULL;
    ((dropout *)n->attributes)->p = p;
    sow_tensor y = x->value;
    y.data = NULL;
    return sow_node_run(t, n, y);
}
