/* Batch normalisation with skip and ReLU in the same pass: Ioffe and Szegedy 2015, arXiv 1502.03167. */
#include <math.h>
#include <string.h>

#include "autograd/image.h"

/* x is seen as rows of c channels: [N, H, W, C] or [N, C]. */
typedef struct batch_norm {
    int64_t rows, c;
    double epsilon, momentum;
    bool relu, training;
    sow_entry *running_mean, *running_var, *batches;
} batch_norm;

/* Rows a cell sums, and rows that are summed in f32 before the sum goes to f64: variances then stand large means. */
enum { CELL_ELEMENTS = 1 << 16, BLOCK = 64, TILE = 16 };

static int64_t cell_rows(int64_t c) {
    int64_t rows = CELL_ELEMENTS / c / BLOCK * BLOCK;
    return rows < BLOCK ? BLOCK : rows;
}

static sow_range rows_of(const batch_norm *a, int64_t cell) {
    int64_t first = cell * cell_rows(a->c), left = a->rows - first;
    return (sow_range){first, left < cell_rows(a->c) ? left : cell_rows(a->c)};
}

static int64_t cells_of(const batch_norm *a) {
    return sow_cells_for(a->rows, cell_rows(a->c));
}

/* ---- kernels of one cell, a tile of channels at a time: loops of constant width stay in registers ---- */

#define INLINE static inline __attribute__((always_inline))
/* Without the pragma the compiler unrolls such short loops before it can make vectors of them. */
#define FOR_LANES(j, width) _Pragma("omp simd") for (int j = 0; j < (width); j++)

/* What one pass over rows reads and writes; NULL where absent. Arrays over channels: shift, scale, offset ... */
typedef struct pass {
    const float *x, *y, *dy, *skip;
    float *out, *d_skip;
    const float *mean, *scale, *offset, *slope; /* meaning: see each kernel */
    double *sum, *product;
    int64_t rows, c;
    bool relu, add, add_skip;
} pass;

/* The tile's part of an array over channels. */
INLINE void load(float to[TILE], const float *from, int64_t c0, int width) {
    FOR_LANES(j, width) to[j] = from[c0 + j];
}

INLINE void add_sums(const pass *p, int64_t c0, int width, const float sum[TILE], const float product[TILE]) {
    FOR_LANES(j, width) {
        p->sum[c0 + j] += (double)sum[j];
        p->product[c0 + j] += (double)product[j];
    }
}

/* Sums of d and d*d with d = x - mean, where mean is any value near the channel's own. */
INLINE void moments_tile(const pass *p, int64_t c0, int width) {
    float mean[TILE];
    load(mean, p->mean, c0, width);
    for (int64_t first = 0; first < p->rows; first += BLOCK) {
        int64_t last = first + BLOCK < p->rows ? first + BLOCK : p->rows;
        float sum[TILE] = {0}, square[TILE] = {0};
        for (int64_t r = first; r < last; r++) {
            const float *restrict x = p->x + r * p->c + c0;
            FOR_LANES(j, width) {
                float d = x[j] - mean[j];
                sum[j] += d;
                square[j] += d * d;
            }
        }
        add_sums(p, c0, width, sum, square);
    }
}

/* out = (x - mean) * scale + offset (+ skip) (then ReLU); NaN stays NaN */
INLINE void apply_tile(const pass *p, int64_t c0, int width, bool skip, bool relu) {
    float mean[TILE], scale[TILE], offset[TILE];
    load(mean, p->mean, c0, width), load(scale, p->scale, c0, width), load(offset, p->offset, c0, width);
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = r * p->c + c0;
        const float *restrict x = p->x + at, *restrict s = skip ? p->skip + at : x;
        float *restrict out = p->out + at;
        FOR_LANES(j, width) {
            float v = (x[j] - mean[j]) * scale[j] + offset[j];
            if (skip) v += s[j];
            if (relu) v = v <= 0 ? 0 : v;
            out[j] = v;
        }
    }
}

/* Sums of g and g*(x - mean), where g is the gradient behind the ReLU; g goes to the skip too. */
INLINE void gradient_sums_tile(const pass *p, int64_t c0, int width, bool relu, bool skip, bool add) {
    float mean[TILE];
    load(mean, p->mean, c0, width);
    for (int64_t first = 0; first < p->rows; first += BLOCK) {
        int64_t last = first + BLOCK < p->rows ? first + BLOCK : p->rows;
        float sum[TILE] = {0}, product[TILE] = {0};
        for (int64_t r = first; r < last; r++) {
            int64_t at = r * p->c + c0;
            const float *restrict x = p->x + at, *restrict dy = p->dy + at, *restrict y = p->y + at;
            float *restrict d_skip = skip ? p->d_skip + at : NULL;
            FOR_LANES(j, width) {
                float g = dy[j]; /* read before the test: no conditional load */
                if (relu) g = y[j] > 0 ? g : 0;
                if (skip) d_skip[j] = add ? d_skip[j] + g : g;
                sum[j] += g;
                product[j] += g * (x[j] - mean[j]);
            }
        }
        add_sums(p, c0, width, sum, product);
    }
}

/* dx = scale * (g - offset - (x - mean) * slope) */
INLINE void gradient_tile(const pass *p, int64_t c0, int width, bool relu, bool add) {
    float mean[TILE], scale[TILE], offset[TILE], slope[TILE];
    load(mean, p->mean, c0, width), load(scale, p->scale, c0, width);
    load(offset, p->offset, c0, width), load(slope, p->slope, c0, width);
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = r * p->c + c0;
        const float *restrict x = p->x + at, *restrict dy = p->dy + at, *restrict y = p->y + at;
        float *restrict out = p->out + at;
        FOR_LANES(j, width) {
            float g = dy[j];
            if (relu) g = y[j] > 0 ? g : 0;
            float d = scale[j] * (g - offset[j] - (x[j] - mean[j]) * slope[j]);
            out[j] = add ? out[j] + d : d;
        }
    }
}

/* Whole tiles of constant width, then the channels that are left. */
#define FOR_TILES(p, tile, ...)                                                        \
    do {                                                                               \
        int64_t c0 = 0;                                                                \
        for (; c0 + TILE <= (p)->c; c0 += TILE) tile((p), c0, TILE, ##__VA_ARGS__);    \
        if (c0 < (p)->c) tile((p), c0, (int)((p)->c - c0), ##__VA_ARGS__);             \
    } while (0)

SOW_CLONES static void moments(const pass *p) { FOR_TILES(p, moments_tile); }
SOW_CLONES static void apply_plain(const pass *p) { FOR_TILES(p, apply_tile, false, false); }
SOW_CLONES static void apply_relu(const pass *p) { FOR_TILES(p, apply_tile, false, true); }
SOW_CLONES static void apply_skip(const pass *p) { FOR_TILES(p, apply_tile, true, false); }
SOW_CLONES static void apply_skip_relu(const pass *p) { FOR_TILES(p, apply_tile, true, true); }
SOW_CLONES static void sums_plain(const pass *p) { FOR_TILES(p, gradient_sums_tile, false, false, false); }
SOW_CLONES static void sums_relu(const pass *p) { FOR_TILES(p, gradient_sums_tile, true, false, false); }
SOW_CLONES static void sums_skip(const pass *p) { FOR_TILES(p, gradient_sums_tile, false, true, false); }
SOW_CLONES static void sums_skip_relu(const pass *p) { FOR_TILES(p, gradient_sums_tile, true, true, false); }
SOW_CLONES static void sums_add(const pass *p) { FOR_TILES(p, gradient_sums_tile, false, true, true); }
SOW_CLONES static void sums_add_relu(const pass *p) { FOR_TILES(p, gradient_sums_tile, true, true, true); }
SOW_CLONES static void gradient_plain(const pass *p) { FOR_TILES(p, gradient_tile, false, false); }
SOW_CLONES static void gradient_relu(const pass *p) { FOR_TILES(p, gradient_tile, true, false); }
SOW_CLONES static void gradient_add(const pass *p) { FOR_TILES(p, gradient_tile, false, true); }
SOW_CLONES static void gradient_relu_add(const pass *p) { FOR_TILES(p, gradient_tile, true, true); }

static void apply(const pass *p) {
    if (p->skip) (p->relu ? apply_skip_relu : apply_skip)(p);
    else (p->relu ? apply_relu : apply_plain)(p);
}

static void gradient_sums(const pass *p) {
    if (p->d_skip && p->add_skip) (p->relu ? sums_add_relu : sums_add)(p);
    else if (p->d_skip) (p->relu ? sums_skip_relu : sums_skip)(p);
    else (p->relu ? sums_relu : sums_plain)(p);
}

static void gradient(const pass *p) {
    if (p->add) (p->relu ? gradient_relu_add : gradient_add)(p);
    else (p->relu ? gradient_relu : gradient_plain)(p);
}

/* ---- a pass over all cells ---- */

typedef struct job {
    const batch_norm *a;
    pass whole;              /* rows of the whole batch; sums: [cells][2][c], or NULL */
    void (*kernel)(const pass *p);
} job;

static const float *from_row(const float *p, int64_t at) { return p ? p + at : NULL; }
static float *into_row(float *p, int64_t at) { return p ? p + at : NULL; }

static void run_cell(void *context, int64_t cell) {
    const job *k = context;
    sow_range rows = rows_of(k->a, cell);
    int64_t at = rows.first * k->a->c;
    pass p = k->whole;
    p.rows = rows.count;
    p.x = from_row(p.x, at), p.y = from_row(p.y, at), p.dy = from_row(p.dy, at), p.skip = from_row(p.skip, at);
    p.out = into_row(p.out, at), p.d_skip = into_row(p.d_skip, at);
    if (p.sum) {
        p.sum += cell * 2 * p.c;
        p.product = p.sum + p.c;
        memset(p.sum, 0, (size_t)(2 * p.c) * sizeof *p.sum);
    }
    k->kernel(&p);
}

static void run(const batch_norm *a, pass p, void (*kernel)(const pass *p)) {
    job k = {a, p, kernel};
    k.whole.c = a->c;
    k.whole.relu = a->relu;
    sow_cells(cells_of(a), run_cell, &k);
}

/* Runs a kernel that sums; afterwards the first cell's sums hold those of all, added in cell order. */
static sow_status run_sums(sow_tape *t, const batch_norm *a, pass p, void (*kernel)(const pass *p), double **sums) {
    p.sum = sow_scratch(t, (size_t)(cells_of(a) * 2 * a->c) * sizeof *p.sum);
    if (!p.sum) return SOW_E_MEMORY;
    run(a, p, kernel);
    for (int64_t cell = 1; cell < cells_of(a); cell++)
        for (int64_t i = 0; i < 2 * a->c; i++) p.sum[i] += p.sum[cell * 2 * a->c + i];
    *sums = p.sum;
    return SOW_OK;
}

/* ---- statistics ---- */

/* What forward keeps for backward, one value a channel. */
typedef struct statistics {
    double *mean, *inverse_sd;
} statistics;

static sow_status keep_statistics(sow_tape *t, sow_node *n, statistics *s) {
    const batch_norm *a = n->attributes;
    s->mean = sow_node_keep(t, n, 0, (size_t)(2 * a->c) * sizeof(double));
    if (!s->mean) return SOW_E_MEMORY;
    s->inverse_sd = s->mean + a->c;
    return SOW_OK;
}

/* Running statistics take the unbiased variance; the batch is normalised by the biased one. */
static void update_running(const batch_norm *a, const double *mean, const double *variance) {
    double m = a->momentum, unbias = (double)a->rows / (double)(a->rows - 1);
    for (int64_t c = 0; c < a->c; c++) {
        if (a->running_mean) sow_put(a->running_mean->value, c, (1 - m) * sow_at(a->running_mean->value, c) + m * mean[c]);
        if (a->running_var) sow_put(a->running_var->value, c, (1 - m) * sow_at(a->running_var->value, c) + m * variance[c] * unbias);
    }
    if (a->batches) *(int64_t *)a->batches->value.data += 1;
}

/* From sums of x - shift and their squares to mean and biased variance; inverse_sd holds the variance on return. */
static void finish_moments(const batch_norm *a, const float *shift, const double *sums, statistics s) {
    for (int64_t c = 0; c < a->c; c++) {
        double mean = sums[c] / (double)a->rows, variance = sums[a->c + c] / (double)a->rows - mean * mean;
        s.mean[c] = (double)shift[c] + mean;
        s.inverse_sd[c] = variance > 0 || variance != variance ? variance : 0;
    }
}

static void moments_f64(const batch_norm *a, const double *x, statistics s) {
    for (int64_t c = 0; c < a->c; c++) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < a->rows; r++) sum += x[r * a->c + c];
        s.mean[c] = sum / (double)a->rows;
        for (int64_t r = 0; r < a->rows; r++) squares += (x[r * a->c + c] - s.mean[c]) * (x[r * a->c + c] - s.mean[c]);
        s.inverse_sd[c] = squares / (double)a->rows;
    }
}

static sow_status find_statistics(sow_tape *t, sow_node *n, statistics s) {
    const batch_norm *a = n->attributes;
    sow_tensor x = n->input[0]->value;
    if (!a->training) {
        for (int64_t c = 0; c < a->c; c++) {
            s.mean[c] = sow_at(a->running_mean->value, c);
            s.inverse_sd[c] = sow_at(a->running_var->value, c);
        }
    } else if (x.dtype == SOW_F64) moments_f64(a, x.data, s);
    else {
        double *sums;
        const float *shift = x.data; /* the first row stands for the means */
        SOW_TRY(run_sums(t, a, (pass){.x = x.data, .mean = shift}, moments, &sums));
        finish_moments(a, shift, sums, s);
    }
    if (a->training && !sow_is_recomputing(t)) update_running(a, s.mean, s.inverse_sd);
    for (int64_t c = 0; c < a->c; c++) s.inverse_sd[c] = 1 / sqrt(s.inverse_sd[c] + a->epsilon);
    return SOW_OK;
}

/* ---- forward ---- */

static void forward_f64(const batch_norm *a, sow_node *n, statistics s) {
    const double *x = n->input[0]->value.data, *gamma = n->input[1]->value.data, *beta = n->input[2]->value.data;
    const double *skip = n->input[3] ? n->input[3]->value.data : NULL;
    double *y = n->value.data;
    for (int64_t i = 0; i < a->rows * a->c; i++) {
        int64_t c = i % a->c;
        double v = (x[i] - s.mean[c]) * s.inverse_sd[c] * gamma[c] + beta[c] + (skip ? skip[i] : 0);
        y[i] = a->relu && v <= 0 ? 0 : v;
    }
}

static sow_status norm_forward(sow_tape *t, sow_node *n) {
    const batch_norm *a = n->attributes;
    statistics s;
    SOW_TRY(keep_statistics(t, n, &s));
    SOW_TRY(find_statistics(t, n, s));
    if (n->value.dtype == SOW_F64) {
        forward_f64(a, n, s);
        return SOW_OK;
    }
    float *mean = sow_scratch(t, (size_t)(2 * a->c) * sizeof(float));
    if (!mean) return SOW_E_MEMORY;
    float *scale = mean + a->c;
    const float *gamma = n->input[1]->value.data;
    for (int64_t c = 0; c < a->c; c++) {
        mean[c] = (float)s.mean[c];
        scale[c] = (float)(s.inverse_sd[c] * (double)gamma[c]);
    }
    run(a, (pass){.x = n->input[0]->value.data, .skip = n->input[3] ? n->input[3]->value.data : NULL, .out = n->value.data,
                  .mean = mean, .scale = scale, .offset = n->input[2]->value.data}, apply);
    return SOW_OK;
}

/* ---- backward: dx = gamma/sd (g - mean(g) - xhat mean(g xhat)), the means only where the batch's own normalised ---- */

/* Adds sums[c] * factor[c] to the gradient of gamma or beta. */
static sow_status add_channels(sow_tape *t, sow_var input, const double *sums, const double *factor, int64_t channels) {
    if (!sow_wants_grad(input)) return SOW_OK;
    sow_tensor g;
    bool add = sow_grad_into(t, input, &g) != 0;
    if (!g.data) return SOW_E_MEMORY;
    for (int64_t c = 0; c < channels; c++) sow_put(g, c, (add ? sow_at(g, c) : 0) + sums[c] * (factor ? factor[c] : 1));
    return SOW_OK;
}

static sow_status skip_gradient(sow_tape *t, sow_var skip, void **data, bool *add) {
    *data = NULL;
    *add = false;
    if (!sow_wants_grad(skip)) return SOW_OK;
    sow_tensor g;
    *add = sow_grad_into(t, skip, &g) != 0;
    *data = g.data;
    return g.data ? SOW_OK : SOW_E_MEMORY;
}

static sow_status input_gradient(sow_tape *t, sow_node *n, statistics s, const double *sums, pass p) {
    const batch_norm *a = n->attributes;
    sow_tensor dx;
    p.add = sow_grad_into(t, n->input[0], &dx) != 0;
    float *scale = sow_scratch(t, (size_t)(3 * a->c) * sizeof(float));
    if (!dx.data || !scale) return SOW_E_MEMORY;
    float *offset = scale + a->c, *slope = offset + a->c;
    const float *gamma = n->input[1]->value.data;
    double of_batch = a->training ? 1 / (double)a->rows : 0;
    for (int64_t c = 0; c < a->c; c++) {
        scale[c] = (float)((double)gamma[c] * s.inverse_sd[c]);
        offset[c] = (float)(sums[c] * of_batch);
        slope[c] = (float)(sums[a->c + c] * of_batch * s.inverse_sd[c] * s.inverse_sd[c]);
    }
    p.scale = scale, p.offset = offset, p.slope = slope, p.out = dx.data;
    run(a, p, gradient);
    return SOW_OK;
}

static sow_status backward_f32(sow_tape *t, sow_node *n, statistics s) {
    const batch_norm *a = n->attributes;
    float *mean = sow_scratch(t, (size_t)a->c * sizeof(float));
    if (!mean) return SOW_E_MEMORY;
    for (int64_t c = 0; c < a->c; c++) mean[c] = (float)s.mean[c];
    pass p = {.x = n->input[0]->value.data, .y = n->value.data, .dy = n->grad.data, .mean = mean};
    void *d_skip;
    SOW_TRY(skip_gradient(t, n->input[3], &d_skip, &p.add_skip));
    p.d_skip = d_skip;
    double *sums; /* of g, and of g (x - mean) */
    SOW_TRY(run_sums(t, a, p, gradient_sums, &sums));
    SOW_TRY(add_channels(t, n->input[1], sums + a->c, s.inverse_sd, a->c));
    SOW_TRY(add_channels(t, n->input[2], sums, NULL, a->c));
    p.d_skip = NULL;
    return sow_wants_grad(n->input[0]) ? input_gradient(t, n, s, sums, p) : SOW_OK;
}

static double masked(const batch_norm *a, const sow_node *n, int64_t i) {
    return a->relu && !(((const double *)n->value.data)[i] > 0) ? 0 : ((const double *)n->grad.data)[i];
}

static sow_status backward_f64(sow_tape *t, sow_node *n, statistics s) {
    const batch_norm *a = n->attributes;
    const double *x = n->input[0]->value.data, *gamma = n->input[1]->value.data;
    bool add;
    void *d_skip;
    double *sums = sow_scratch(t, (size_t)(2 * a->c) * sizeof(double));
    if (!sums) return SOW_E_MEMORY;
    memset(sums, 0, (size_t)(2 * a->c) * sizeof(double));
    SOW_TRY(skip_gradient(t, n->input[3], &d_skip, &add));
    for (int64_t i = 0; i < a->rows * a->c; i++) {
        double g = masked(a, n, i);
        if (d_skip) ((double *)d_skip)[i] = g + (add ? ((double *)d_skip)[i] : 0);
        sums[i % a->c] += g;
        sums[a->c + i % a->c] += g * (x[i] - s.mean[i % a->c]);
    }
    SOW_TRY(add_channels(t, n->input[1], sums + a->c, s.inverse_sd, a->c));
    SOW_TRY(add_channels(t, n->input[2], sums, NULL, a->c));
    if (!sow_wants_grad(n->input[0])) return SOW_OK;
    sow_tensor dx;
    add = sow_grad_into(t, n->input[0], &dx) != 0;
    if (!dx.data) return SOW_E_MEMORY;
    double of_batch = a->training ? 1 / (double)a->rows : 0;
    for (int64_t i = 0; i < a->rows * a->c; i++) {
        int64_t c = i % a->c;
        double centred = (x[i] - s.mean[c]) * s.inverse_sd[c] * s.inverse_sd[c] * sums[a->c + c];
        double d = gamma[c] * s.inverse_sd[c] * (masked(a, n, i) - of_batch * (sums[c] + centred));
        ((double *)dx.data)[i] = d + (add ? ((double *)dx.data)[i] : 0);
    }
    return SOW_OK;
}

static sow_status norm_backward(sow_tape *t, sow_node *n) {
    statistics s;
    SOW_TRY(keep_statistics(t, n, &s));
    return n->value.dtype == SOW_F64 ? backward_f64(t, n, s) : backward_f32(t, n, s);
}

/* ---- the operator ---- */

static const sow_op norm_op = {"batch_norm", norm_forward, norm_backward};

static bool has_channels(sow_tensor p, sow_dtype dtype, int64_t channels) {
    return p.rank == 1 && p.shape[0] == channels && p.dtype == dtype && p.stride[0] == 1;
}

static sow_status check_operands(sow_tensor x, sow_var gamma, sow_var beta, sow_var skip, const batch_norm *a) {
    char text[SOW_SHAPE_TEXT], other[SOW_SHAPE_TEXT];
    sow_shape_text(x, text);
    if (x.rank != 2 && x.rank != 4) return sow_fail(SOW_E_SHAPE, "batch_norm: input is %s, expected [N, C, H, W] or [N, C]", text);
    if (x.dtype != SOW_F32 && x.dtype != SOW_F64)
        return sow_fail(SOW_E_TYPE, "batch_norm: input is %s, expected F32 or F64", sow_dtype_name(x.dtype));
    if (!has_channels(sow_value(gamma), x.dtype, a->c) || !has_channels(sow_value(beta), x.dtype, a->c))
        return sow_fail(SOW_E_SHAPE, "batch_norm: input is %s %s, scale is %s %s; expected scale and shift [%lld] of the same type", text,
                        sow_dtype_name(x.dtype), sow_shape_text(sow_value(gamma), other), sow_dtype_name(sow_value(gamma).dtype), (long long)a->c);
    if (skip && (!sow_same_shape(sow_value(skip), x) || sow_value(skip).dtype != x.dtype))
        return sow_fail(SOW_E_SHAPE, "batch_norm: input is %s, skip is %s", text, sow_shape_text(sow_value(skip), other));
    const sow_entry *running[2] = {a->running_mean, a->running_var};
    for (int i = 0; i < 2; i++) {
        if (!running[i] && !a->training) return sow_fail(SOW_E_ARGUMENT, "batch_norm: evaluation needs running statistics");
        if (running[i] && (running[i]->value.rank != 1 || running[i]->value.shape[0] != a->c))
            return sow_fail(SOW_E_SHAPE, "batch_norm: %s is %s, input is %s", running[i]->name, sow_shape_text(running[i]->value, other), text);
    }
    if (a->batches && a->batches->value.dtype != SOW_I64)
        return sow_fail(SOW_E_TYPE, "batch_norm: %s is %s, expected I64", a->batches->name, sow_dtype_name(a->batches->value.dtype));
    if (a->training && a->rows < 2) return sow_fail(SOW_E_SHAPE, "batch_norm: input is %s; training needs more than one value a channel", text);
    return SOW_OK;
}

sow_var sow_batch_norm(sow_tape *t, sow_var x, sow_var gamma, sow_var beta, sow_var skip, sow_entry *running_mean,
                       sow_entry *running_var, sow_entry *batches, sow_norm norm) {
    bool image = sow_value(x).rank == 4;
    x = image ? sow_channels_last(t, x) : sow_contiguous(t, x);
    skip = image ? sow_channels_last(t, skip) : sow_contiguous(t, skip);
    sow_node *n = SOW_NODE(t, &norm_op, batch_norm, 3, x, gamma, beta, skip);
    if (!n) return NULL;
    sow_tensor v = sow_value(x);
    batch_norm *a = n->attributes;
    *a = (batch_norm){.c = v.rank < 2 ? 0 : v.shape[1], .epsilon = norm.epsilon == 0 ? 1e-5 : norm.epsilon,
                      .momentum = norm.momentum == 0 ? 0.1 : norm.momentum, .relu = norm.relu, .training = sow_tape_is_training(t),
                      .running_mean = running_mean, .running_var = running_var, .batches = batches};
    a->rows = a->c > 0 ? sow_count(v) / a->c : 0;
    sow_status status = check_operands(v, gamma, beta, skip, a);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    sow_tensor y = image ? sow_describe_channels_last(v.dtype, v.shape[0], v.shape[1], v.shape[2], v.shape[3])
                         : sow_describe(v.dtype, v.rank, v.shape);
    return sow_node_run(t, n, y);
}
