/* Gated units: activation(gate) * up. Shazeer 2020, arXiv 2002.05202. */
#include <math.h>

#include "autograd/op.h"
#include "autograd/vexp.h"

typedef struct gated {
    sow_activation activation;
    int64_t count;
} gated;

#define ROOT_2_OVER_PI 0.79788456080286535588
#define CUBIC 0.044715
#define ROOT_HALF 0.70710678118654752440
#define DENSITY 0.39894228040143267794 /* 1 / sqrt(2 pi) */

/* Every activation is x s(x): s is the logistic function of x (SiLU) or of 2 sqrt(2/pi) (x + 0.044715 x^3) (GELU by
 * tanh), the normal distribution function (GELU), or a step (ReLU). Its derivative follows from x and s. */

/* ---- f32: one vector loop each ---- */

#define LOOPS(NAME, SHARE, SLOPE)                                                                                  \
    SOW_CLONES static void NAME##_forward(const float *restrict gate, const float *restrict up, float *restrict y, \
                                          int64_t n) {                                                             \
        for (int64_t i = 0; i < n; i++) {                                                                          \
            const float x = gate[i], s = (SHARE);                                                                  \
            y[i] = x * s * up[i];                                                                                  \
        }                                                                                                          \
    }                                                                                                              \
    SOW_CLONES static void NAME##_dgate(const float *restrict gate, const float *restrict up,                      \
                                        const float *restrict dy, float *restrict out, int64_t n, float beta) {    \
        for (int64_t i = 0; i < n; i++) {                                                                          \
            const float x = gate[i], s = (SHARE);                                                                  \
            out[i] = (beta == 0 ? 0 : out[i]) + dy[i] * up[i] * (SLOPE);                                           \
        }                                                                                                          \
    }                                                                                                              \
    SOW_CLONES static void NAME##_dup(const float *restrict gate, const float *restrict dy, float *restrict out,   \
                                      int64_t n, float beta) {                                                     \
        for (int64_t i = 0; i < n; i++) {                                                                          \
            const float x = gate[i], s = (SHARE);                                                                  \
            out[i] = (beta == 0 ? 0 : out[i]) + dy[i] * x * s;                                                     \
        }                                                                                                          \
    }
#define LOGIT (2 * (float)ROOT_2_OVER_PI * (x + (float)CUBIC * x * x * x))
LOOPS(silu, sow_vsigmoid(x), s *(1 + x * (1 - s)))
LOOPS(gelu_tanh, sow_vsigmoid(LOGIT), s + x * s * (1 - s) * 2 * (float)ROOT_2_OVER_PI * (1 + 3 * (float)CUBIC * x * x))
LOOPS(gelu, 0.5f * (1 + erff(x * (float)ROOT_HALF)), s + x * (float)DENSITY * expf(-0.5f * x * x))
LOOPS(relu, x > 0 ? 1.0f : 0.0f, s)

typedef struct loops {
    void (*forward)(const float *, const float *, float *, int64_t);
    void (*dgate)(const float *, const float *, const float *, float *, int64_t, float);
    void (*dup)(const float *, const float *, float *, int64_t, float);
} loops;

static loops loops_of(sow_activation activation) {
    switch (activation) {
    case SOW_SILU: return (loops){silu_forward, silu_dgate, silu_dup};
    case SOW_GELU: return (loops){gelu_forward, gelu_dgate, gelu_dup};
    case SOW_GELU_TANH: return (loops){gelu_tanh_forward, gelu_tanh_dgate, gelu_tanh_dup};
    default: return (loops){relu_forward, relu_dgate, relu_dup};
    }
}

/* ---- f64: the reference ---- */

static double share(sow_activation activation, double x) {
    switch (activation) {
    case SOW_SILU: return 1 / (1 + exp(-x));
    case SOW_GELU: return 0.5 * (1 + erf(x * ROOT_HALF));
    case SOW_GELU_TANH: return 1 / (1 + exp(-2 * ROOT_2_OVER_PI * (x + CUBIC * x * x * x)));
    default: return x > 0;
    }
}

static double slope(sow_activation activation, double x) {
    double s = share(activation, x);
    switch (activation) {
    case SOW_SILU: return s * (1 + x * (1 - s));
    case SOW_GELU: return s + x * DENSITY * exp(-0.5 * x * x);
    case SOW_GELU_TANH: return s + x * s * (1 - s) * 2 * ROOT_2_OVER_PI * (1 + 3 * CUBIC * x * x);
    default: return s;
    }
}

/* ---- the operator ---- */

typedef struct gate_job {
    const gated *a;
    bool single;
    const void *gate, *up, *dy;
    void *y, *dgate, *dup; /* NULL: not wanted */
    float beta_gate, beta_up;
} gate_job;

static void single_cell(const gate_job *j, sow_range r) {
    loops l = loops_of(j->a->activation);
    const float *gate = (const float *)j->gate + r.first, *up = (const float *)j->up + r.first;
    if (j->y) l.forward(gate, up, (float *)j->y + r.first, r.count);
    if (j->dgate) l.dgate(gate, up, (const float *)j->dy + r.first, (float *)j->dgate + r.first, r.count, j->beta_gate);
    if (j->dup) l.dup(gate, (const float *)j->dy + r.first, (float *)j->dup + r.first, r.count, j->beta_up);
}

static void double_cell(const gate_job *j, sow_range r) {
    const double *gate = j->gate, *up = j->up, *dy = j->dy;
    double *y = j->y, *dgate = j->dgate, *dup = j->dup;
    sow_activation act = j->a->activation;
    for (int64_t i = r.first; i < r.first + r.count; i++) {
        if (y) y[i] = gate[i] * share(act, gate[i]) * up[i];
        if (dgate) dgate[i] = (j->beta_gate == 0 ? 0 : dgate[i]) + dy[i] * up[i] * slope(act, gate[i]);
        if (dup) dup[i] = (j->beta_up == 0 ? 0 : dup[i]) + dy[i] * gate[i] * share(act, gate[i]);
    }
}

static void gate_cell(void *context, int64_t cell) {
    const gate_job *j = context;
    if (j->single) single_cell(j, sow_chunk(cell, j->a->count));
    else double_cell(j, sow_chunk(cell, j->a->count));
}

static gate_job job_of(const sow_node *n) {
    return (gate_job){.a = n->attributes,
                      .single = n->value.dtype == SOW_F32,
                      .gate = n->input[0]->value.data,
                      .up = n->input[1]->value.data};
}

static sow_status gate_forward(sow_tape *t, sow_node *n) {
    (void)t;
    gate_job j = job_of(n);
    j.y = n->value.data;
    sow_cells(sow_cells_for(j.a->count, SOW_CHUNK), gate_cell, &j);
    return SOW_OK;
}

static sow_status gate_backward(sow_tape *t, sow_node *n) {
    gate_job j = job_of(n);
    sow_tensor g;
    j.dy = n->grad.data;
    if (sow_wants_grad(n->input[0])) {
        j.beta_gate = sow_grad_into(t, n->input[0], &g);
        if (!(j.dgate = g.data)) return SOW_E_MEMORY;
    }
    if (sow_wants_grad(n->input[1])) {
        j.beta_up = sow_grad_into(t, n->input[1], &g);
        if (!(j.dup = g.data)) return SOW_E_MEMORY;
    }
    sow_cells(sow_cells_for(j.a->count, SOW_CHUNK), gate_cell, &j);
    return SOW_OK;
}

static unsigned gate_reads(const sow_node *n) {
    (void)n;
    return 3;
}

static const sow_op gate_op = {"gated", gate_forward, gate_backward, gate_reads, true};

sow_var sow_gated(sow_tape *t, sow_var gate, sow_var up, sow_activation activation) {
    gate = sow_contiguous(t, gate);
    up = sow_contiguous(t, up);
    sow_node *n = SOW_NODE(t, &gate_op, gated, 2, gate, up);
    if (!n) return NULL;
    sow_tensor g = gate->value, u = up->value;
    char a[SOW_SHAPE_TEXT], b[SOW_SHAPE_TEXT];
    if (!sow_same_shape(g, u) || g.dtype != u.dtype || (g.dtype != SOW_F32 && g.dtype != SOW_F64))
        return sow_tape_fail(
            t, sow_fail(SOW_E_SHAPE, "gated: gate is %s %s, up is %s %s; expected equal shapes, both F32 or both F64",
                        sow_dtype_name(g.dtype), sow_shape_text(g, a), sow_dtype_name(u.dtype), sow_shape_text(u, b)));
    *(gated *)n->attributes = (gated){activation, sow_count(g)};
    return sow_node_run(t, n, sow_describe(g.dtype, g.rank, g.shape));
}
