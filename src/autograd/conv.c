/* Convolution in two dimensions: oneDNN on fixed shards of images, and plain loops in f64. */
#include <stdatomic.h>
#include <string.h>

#include "autograd/image.h"
#include "autograd/primitive.h"

/* All that a convolution depends on. Also a plan's key: only int64_t, so without padding bytes. */
typedef struct shape {
    int64_t n, c, h, w;             /* input, channels last */
    int64_t k, r, s;                /* filters [k, c / groups, r, s] */
    int64_t out_h, out_w;
    int64_t stride, padding, dilation, groups;
    int64_t bias;
} shape;

/* ---- the work grid: shapes only, never threads ---- */

/* Images a cell of forward or backward-data has at most, measured flat from 4 to 32; small batches of large images are cut
 * into up to SPREAD cells, each worth a barrier. */
enum { IMAGES = 8, SPREAD = 8, CELL_FLOP = 1 << 21 };
/* Backward-weights: partial gradients to be added, and elements all of them together may have. */
enum { GROUPS = 8, GROUP_ELEMENTS = 1 << 22 };

static int64_t weight_count(const shape *g) {
    return g->k * (g->c / g->groups) * g->r * g->s;
}

/* Cell `index` of `cells` over n images: the first n % cells ones have one image more. */
static sow_range images_of(int64_t n, int64_t cells, int64_t index) {
    int64_t base = n / cells, more = n % cells;
    return (sow_range){index * base + (index < more ? index : more), base + (index < more)};
}

static int64_t image_cells(const shape *g) {
    int64_t flop_an_image = 2 * weight_count(g) * g->out_h * g->out_w;
    int64_t spread = g->n < SPREAD ? g->n : SPREAD, worth = g->n * flop_an_image / CELL_FLOP;
    if (spread > worth) spread = worth;
    int64_t cells = sow_cells_for(g->n, IMAGES);
    return cells > spread ? cells : spread;
}

static int64_t group_cells(const shape *g) {
    int64_t most = GROUP_ELEMENTS / weight_count(g);
    int64_t cells = image_cells(g) < GROUPS ? image_cells(g) : GROUPS;
    if (cells > most) cells = most;
    if (cells < 2) cells = 2;
    return cells < g->n ? cells : g->n;
}

/* ---- plans: the primitives of one direction, for the two sizes of cells ---- */

typedef enum direction { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } direction;

typedef struct plan_key {
    shape shape;
    int64_t direction;
} plan_key;

typedef struct plan {
    int64_t cells;
    sow_primitive *large, *small;   /* small is NULL where all cells have as many images */
    sow_primitive *reorder;         /* weights: oihw to the primitives' own order, or back for their gradient */
    size_t weight_bytes;            /* in the primitives' own order */
} plan;

typedef struct layouts {
    dnnl_memory_desc_t x, w, b, y;
} layouts;

static sow_status describe_layouts(const shape *g, int64_t n, const dnnl_memory_desc_t *weights, layouts *l) {
    dnnl_dims_t x = {n, g->c, g->h, g->w}, y = {n, g->k, g->out_h, g->out_w}, b = {g->k};
    dnnl_dims_t w = {g->k, g->c, g->r, g->s}, grouped = {g->groups, g->k / g->groups, g->c / g->groups, g->r, g->s};
    bool many = g->groups > 1;
    SOW_TRY(sow_dnnl_check(dnnl_memory_desc_init_by_tag(&l->x, 4, x, dnnl_f32, dnnl_nhwc), "input layout"));
    SOW_TRY(sow_dnnl_check(dnnl_memory_desc_init_by_tag(&l->y, 4, y, dnnl_f32, dnnl_nhwc), "output layout"));
    SOW_TRY(sow_dnnl_check(dnnl_memory_desc_init_by_tag(&l->b, 1, b, dnnl_f32, dnnl_a), "bias layout"));
    if (weights) {
        l->w = *weights;
        return SOW_OK;
    }
    /* `any`: with plain weights oneDNN falls back to reference code without a word */
    return sow_dnnl_check(dnnl_memory_desc_init_by_tag(&l->w, many ? 5 : 4, many ? grouped : w, dnnl_f32, dnnl_format_tag_any),
                          "weight layout");
}

/* Descriptor of one direction for n images; backward ones ask oneDNN for the forward one as a hint. */
static dnnl_status_t describe(const shape *g, direction which, const layouts *l, dnnl_primitive_attr_t attributes,
                              dnnl_primitive_desc_t *out) {
    dnnl_dims_t stride = {g->stride, g->stride}, dilation = {g->dilation - 1, g->dilation - 1}, before = {g->padding, g->padding};
    dnnl_dims_t after = {(g->out_h - 1) * g->stride + g->dilation * (g->r - 1) + 1 - g->h - g->padding,
                         (g->out_w - 1) * g->stride + g->dilation * (g->s - 1) + 1 - g->w - g->padding};
    const dnnl_memory_desc_t *bias = g->bias ? &l->b : NULL;
    layouts free_weights = *l; /* the hint may not insist on the weight order of a backward primitive */
    if (which != FORWARD) {
        dnnl_dims_t w = {g->k, g->c, g->r, g->s}, grouped = {g->groups, g->k / g->groups, g->c / g->groups, g->r, g->s};
        dnnl_memory_desc_init_by_tag(&free_weights.w, g->groups > 1 ? 5 : 4, g->groups > 1 ? grouped : w, dnnl_f32, dnnl_format_tag_any);
    }
    dnnl_convolution_desc_t forward, backward;
    dnnl_primitive_desc_t hint;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(&forward, dnnl_forward_training, dnnl_convolution_direct, &l->x,
                                                                      &free_weights.w, bias, &l->y, stride, dilation, before, after);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(&hint, &forward, attributes, sow_engine(), NULL);
    if (status != dnnl_success || which == FORWARD) {
        *out = hint;
        return status;
    }
    if (which == BACKWARD_DATA)
        status = dnnl_dilated_convolution_backward_data_desc_init(&backward, dnnl_convolution_direct, &l->x, &l->w, &l->y, stride,
                                                                  dilation, before, after);
    else
        status = dnnl_dilated_convolution_backward_weights_desc_init(&backward, dnnl_convolution_direct, &l->x, &l->w, bias, &l->y,
                                                                     stride, dilation, before, after);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(out, &backward, attributes, sow_engine(), hint);
    dnnl_primitive_desc_destroy(hint);
    return status;
}

/* Operands in the order that the cells below give them. */
static const int operands[3][4] = {
    [FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
    [BACKWARD_DATA] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, 0},
    [BACKWARD_WEIGHTS] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_BIAS},
};

static sow_status make_primitive(const shape *g, direction which, int64_t n, const dnnl_memory_desc_t *weights, sow_primitive **out) {
    layouts l;
    SOW_TRY(describe_layouts(g, n, weights, &l));
    dnnl_primitive_attr_t attributes;
    SOW_TRY(sow_dnnl_check(dnnl_primitive_attr_create(&attributes), "attributes"));
    dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    dnnl_primitive_desc_t described = NULL;
    dnnl_status_t status = describe(g, which, &l, attributes, &described);
    dnnl_primitive_attr_destroy(attributes);
    SOW_TRY(sow_dnnl_check(status, "convolution of this shape"));
    return sow_primitive_new(described, g->bias && which != BACKWARD_DATA ? 4 : 3, operands[which], out);
}

static sow_status make_plan(const void *key, void *made) {
    const shape *g = &((const plan_key *)key)->shape;
    direction which = (direction)((const plan_key *)key)->direction;
    plan *p = made;
    p->cells = which == BACKWARD_WEIGHTS ? group_cells(g) : image_cells(g);
    int64_t images = images_of(g->n, p->cells, 0).count;
    SOW_TRY(make_primitive(g, which, images, NULL, &p->large));
    const dnnl_memory_desc_t *weights = sow_primitive_layout(p->large, operands[which][1]);
    if (g->n % p->cells) SOW_TRY(make_primitive(g, which, images - 1, weights, &p->small));
    p->weight_bytes = dnnl_memory_desc_get_size(weights);
    dnnl_memory_desc_t plain;
    SOW_TRY(sow_dnnl_check(dnnl_memory_desc_init_by_tag(&plain, weights->ndims, weights->dims, dnnl_f32,
                                                        g->groups > 1 ? dnnl_goihw : dnnl_oihw), "weight layout"));
    if (which == BACKWARD_WEIGHTS) return sow_reorder_new(weights, &plain, &p->reorder);
    return sow_reorder_new(&plain, weights, &p->reorder);
}

static void unmake_plan(void *made) {
    plan *p = made;
    sow_primitive_free(p->large);
    sow_primitive_free(p->small);
    sow_primitive_free(p->reorder);
}

static const sow_plan_kind plan_kind = {"conv2d", sizeof(plan_key), sizeof(plan), make_plan, unmake_plan};

static sow_status use_plan(const shape *g, direction which, plan **out) {
    plan_key key = {*g, which};
    void *found;
    SOW_TRY(sow_plan_use(&plan_kind, &key, &found));
    *out = found;
    sow_status status = sow_primitive_reserve((*out)->large, sow_threads());
    if (status == SOW_OK) status = sow_primitive_reserve((*out)->small, sow_threads());
    if (status == SOW_OK) status = sow_primitive_reserve((*out)->reorder, 1);
    if (status != SOW_OK) sow_plan_leave(found);
    return status;
}

/* ---- f32 ---- */

typedef struct work {
    const shape *g;
    const plan *p;
    float *x, *y, *b; /* values, or gradients where the direction says so */
    char *w;          /* in the primitives' own order; backward-weights: one a cell, weight_bytes apart */
    float *shards;    /* backward-data: a shard a cell, where the gradient is added to; or NULL */
    _Atomic int failed;
} work;

static int64_t in_image(const shape *g) { return g->c * g->h * g->w; }
static int64_t out_image(const shape *g) { return g->k * g->out_h * g->out_w; }

SOW_CLONES static void add_to(float *restrict to, const float *restrict from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

static void run_cell(work *k, int64_t images, void *const *data) {
    bool large = images == images_of(k->g->n, k->p->cells, 0).count;
    sow_status status = sow_primitive_run(large ? k->p->large : k->p->small, data);
    if (status != SOW_OK) atomic_store(&k->failed, (int)status);
}

static void forward_cell(void *context, int64_t index) {
    work *k = context;
    sow_range i = images_of(k->g->n, k->p->cells, index);
    run_cell(k, i.count, (void *[]){k->x + i.first * in_image(k->g), k->w, k->y + i.first * out_image(k->g), k->b});
}

static void data_cell(void *context, int64_t index) {
    work *k = context;
    sow_range i = images_of(k->g->n, k->p->cells, index);
    float *dx = k->x + i.first * in_image(k->g);
    float *into = k->shards ? k->shards + index * images_of(k->g->n, k->p->cells, 0).count * in_image(k->g) : dx;
    run_cell(k, i.count, (void *[]){into, k->w, k->y + i.first * out_image(k->g)});
    if (k->shards) add_to(dx, into, i.count * in_image(k->g));
}

static void weights_cell(void *context, int64_t index) {
    work *k = context;
    sow_range i = images_of(k->g->n, k->p->cells, index);
    float *db = k->b ? k->b + index * k->g->k : NULL;
    run_cell(k, i.count, (void *[]){k->x + i.first * in_image(k->g), k->w + (size_t)index * k->p->weight_bytes,
                                    k->y + i.first * out_image(k->g), db});
}

/* Runs all cells; a worker's failure becomes this thread's. */
static sow_status run_cells(work *k, void (*cell)(void *, int64_t), const char *what) {
    sow_cells(k->p->cells, cell, k);
    int failed = atomic_load(&k->failed);
    return failed ? sow_fail((sow_status)failed, "conv2d: oneDNN failed in %s", what) : SOW_OK;
}

typedef struct reordering {
    sow_primitive *by;
    void *data[2];
    sow_status status;
} reordering;

static void reorder_cell(void *context, int64_t index) {
    (void)index;
    reordering *r = context;
    r->status = sow_primitive_run(r->by, r->data);
}

/* As a cell: by itself the library would wake all threads for a microsecond's work. */
static sow_status reorder(const plan *p, const void *from, void *to) {
    reordering r = {p->reorder, {(void *)(uintptr_t)from, to}, SOW_OK};
    sow_cells(1, reorder_cell, &r);
    return r.status;
}

/* Weights in the order of a plan's primitives, in scratch memory. */
static sow_status order_weights(sow_tape *t, const plan *p, const void *oihw, char **ordered) {
    *ordered = sow_scratch(t, p->weight_bytes);
    return *ordered ? reorder(p, oihw, *ordered) : SOW_E_MEMORY;
}

static sow_status forward_f32(sow_tape *t, const shape *g, const plan *p, const void *x, const void *w, const void *b, void *y) {
    work k = {.g = g, .p = p, .x = (float *)(uintptr_t)x, .y = y, .b = (float *)(uintptr_t)b};
    SOW_TRY(order_weights(t, p, w, &k.w));
    return run_cells(&k, forward_cell, "forward");
}

static sow_status data_f32(sow_tape *t, const shape *g, const plan *p, const void *dy, const void *w, void *dx, bool add) {
    work k = {.g = g, .p = p, .x = dx, .y = (float *)(uintptr_t)dy};
    SOW_TRY(order_weights(t, p, w, &k.w));
    if (add) {
        k.shards = sow_scratch(t, (size_t)(p->cells * images_of(g->n, p->cells, 0).count * in_image(g)) * sizeof(float));
        if (!k.shards) return SOW_E_MEMORY;
    }
    return run_cells(&k, data_cell, "the input's gradient");
}

typedef struct fold {
    float *parts;
    int64_t cells, apart, count; /* partial sums, floats from one to the next, floats of each */
} fold;

/* Adds the cells' partial sums to the first one, in cell order. */
static void fold_chunk(void *context, int64_t index) {
    const fold *f = context;
    sow_range i = sow_chunk(index, f->count);
    for (int64_t cell = 1; cell < f->cells; cell++) add_to(f->parts + i.first, f->parts + cell * f->apart + i.first, i.count);
}

static void fold_cells(float *parts, int64_t cells, int64_t apart, int64_t count) {
    fold f = {parts, cells, apart, count};
    sow_cells(sow_cells_for(count, SOW_CHUNK), fold_chunk, &f);
}

static sow_status put_gradient(sow_tape *t, sow_var input, const float *from, const plan *reordered_by) {
    sow_tensor grad;
    bool add = sow_grad_into(t, input, &grad) != 0;
    if (!grad.data) return SOW_E_MEMORY;
    float *plain = add ? sow_scratch(t, sow_bytes(grad)) : grad.data;
    if (!plain) return SOW_E_MEMORY;
    if (reordered_by) SOW_TRY(reorder(reordered_by, from, plain));
    else memcpy(plain, from, sow_bytes(grad));
    if (add) add_to(grad.data, plain, sow_count(grad));
    return SOW_OK;
}

static sow_status weights_f32(sow_tape *t, const shape *g, const plan *p, const void *x, const void *dy, sow_var w, sow_var b) {
    work k = {.g = g, .p = p, .x = (float *)(uintptr_t)x, .y = (float *)(uintptr_t)dy};
    k.w = sow_scratch(t, (size_t)p->cells * p->weight_bytes);
    if (b) k.b = sow_scratch(t, (size_t)(p->cells * g->k) * sizeof(float));
    if (!k.w || (b && !k.b)) return SOW_E_MEMORY;
    SOW_TRY(run_cells(&k, weights_cell, "the weights' gradient"));
    int64_t floats = (int64_t)(p->weight_bytes / sizeof(float));
    fold_cells((float *)(void *)k.w, p->cells, floats, floats);
    if (sow_wants_grad(w)) SOW_TRY(put_gradient(t, w, (float *)(void *)k.w, p));
    if (!sow_wants_grad(b)) return SOW_OK;
    fold_cells(k.b, p->cells, g->k, g->k);
    return put_gradient(t, b, k.b, NULL);
}

/* ---- f64: the definition, loop by loop ---- */

typedef struct f64_work {
    const shape *g;
    const double *x, *w, *b, *dy;
    double *y, *dx, *dw, *db; /* what is wanted; summed into */
} f64_work;

/* The input pixel under filter row r (or column) at output position o; -1 outside. */
static int64_t under(int64_t o, int64_t r, const shape *g, int64_t extent) {
    int64_t i = o * g->stride - g->padding + r * g->dilation;
    return i >= 0 && i < extent ? i : -1;
}

/* Runs over all products of image n and filter k; the three gradients and the output differ only in which of
 * the three factors is summed into. */
static void products(const f64_work *f, int64_t n, int64_t k) {
    const shape *g = f->g;
    int64_t per_group = g->c / g->groups, first = k / (g->k / g->groups) * per_group;
    for (int64_t at = 0; at < g->out_h * g->out_w; at++) {
        int64_t out = (n * g->out_h * g->out_w + at) * g->k + k;
        for (int64_t tap = 0; tap < g->r * g->s; tap++) {
            int64_t ih = under(at / g->out_w, tap / g->s, g, g->h), iw = under(at % g->out_w, tap % g->s, g, g->w);
            if (ih < 0 || iw < 0) continue;
            int64_t in = ((n * g->h + ih) * g->w + iw) * g->c + first, weight = k * per_group * g->r * g->s + tap;
            for (int64_t c = 0; c < per_group; c++, in++, weight += g->r * g->s) {
                if (f->y) f->y[out] += f->x[in] * f->w[weight];
                if (f->dx) f->dx[in] += f->dy[out] * f->w[weight];
                if (f->dw) f->dw[weight] += f->dy[out] * f->x[in];
            }
        }
        if (f->db) f->db[k] += f->dy[out];
    }
}

static void image_f64(void *context, int64_t n) {
    const f64_work *f = context;
    const shape *g = f->g;
    if (f->y)
        for (int64_t i = 0; i < out_image(g); i++) f->y[n * out_image(g) + i] = f->b ? f->b[i % g->k] : 0;
    for (int64_t k = 0; k < g->k; k++) products(f, n, k);
}

static void filter_f64(void *context, int64_t k) {
    const f64_work *f = context;
    const shape *g = f->g;
    for (int64_t n = 0; n < g->n; n++) products(f, n, k);
}

/* Where an input's gradient is summed: zeros at the first contribution. */
static sow_status start_f64(sow_tape *t, sow_var input, double **data) {
    if (!sow_wants_grad(input)) return SOW_OK;
    sow_tensor grad;
    bool add = sow_grad_into(t, input, &grad) != 0;
    if (!grad.data) return SOW_E_MEMORY;
    if (!add) memset(grad.data, 0, sow_bytes(grad));
    *data = grad.data;
    return SOW_OK;
}

static sow_status backward_f64(sow_tape *t, sow_node *n, const shape *g) {
    f64_work by_filter = {.g = g, .x = n->input[0]->value.data, .dy = n->grad.data};
    SOW_TRY(start_f64(t, n->input[1], &by_filter.dw));
    SOW_TRY(start_f64(t, n->input[2], &by_filter.db));
    if (by_filter.dw || by_filter.db) sow_cells(g->k, filter_f64, &by_filter);
    f64_work by_image = {.g = g, .w = n->input[1]->value.data, .dy = n->grad.data};
    SOW_TRY(start_f64(t, n->input[0], &by_image.dx));
    if (by_image.dx) sow_cells(g->n, image_f64, &by_image);
    return SOW_OK;
}

/* ---- the operator: y = x * w + b. x: [N, C, H, W], w: [K, C/groups, R, S], y: [N, K, H', W'] ---- */

static sow_status conv_forward(sow_tape *t, sow_node *n) {
    const shape *g = n->attributes;
    const void *x = n->input[0]->value.data, *w = n->input[1]->value.data, *b = n->input[2] ? n->input[2]->value.data : NULL;
    if (n->value.dtype == SOW_F64) {
        f64_work f = {.g = g, .x = x, .w = w, .b = b, .y = n->value.data};
        sow_cells(g->n, image_f64, &f);
        return SOW_OK;
    }
    plan *p;
    SOW_TRY(use_plan(g, FORWARD, &p));
    sow_status status = forward_f32(t, g, p, x, w, b, n->value.data);
    sow_plan_leave(p);
    return status;
}

static sow_status weights_backward(sow_tape *t, sow_node *n, const shape *g) {
    plan *p;
    SOW_TRY(use_plan(g, BACKWARD_WEIGHTS, &p));
    sow_status status = weights_f32(t, g, p, n->input[0]->value.data, n->grad.data, n->input[1], n->input[2]);
    sow_plan_leave(p);
    return status;
}

static sow_status data_backward(sow_tape *t, sow_node *n, const shape *g) {
    sow_tensor dx;
    bool add = sow_grad_into(t, n->input[0], &dx) != 0;
    if (!dx.data) return SOW_E_MEMORY;
    plan *p;
    SOW_TRY(use_plan(g, BACKWARD_DATA, &p));
    sow_status status = data_f32(t, g, p, n->grad.data, n->input[1]->value.data, dx.data, add);
    sow_plan_leave(p);
    return status;
}

static sow_status conv_backward(sow_tape *t, sow_node *n) {
    const shape *g = n->attributes;
    if (n->value.dtype == SOW_F64) return backward_f64(t, n, g);
    if (sow_wants_grad(n->input[1]) || sow_wants_grad(n->input[2])) SOW_TRY(weights_backward(t, n, g));
    if (sow_wants_grad(n->input[0])) SOW_TRY(data_backward(t, n, g));
    return SOW_OK;
}

static const sow_op conv_op = {"conv2d", conv_forward, conv_backward};

static sow_status check_operands(sow_tensor x, sow_tensor w, sow_var b, const sow_conv *c) {
    char xs[SOW_SHAPE_TEXT], ws[SOW_SHAPE_TEXT];
    sow_shape_text(x, xs);
    sow_shape_text(w, ws);
    if (x.rank != 4 || w.rank != 4)
        return sow_fail(SOW_E_SHAPE, "conv2d: input is %s, weight is %s; both need four dimensions", xs, ws);
    if (c->stride < 1 || c->dilation < 1 || c->groups < 1 || c->padding < 0)
        return sow_fail(SOW_E_RANGE, "conv2d: stride %lld, padding %lld, dilation %lld, groups %lld: expected at least 1, 0, 1, 1",
                        (long long)c->stride, (long long)c->padding, (long long)c->dilation, (long long)c->groups);
    if (x.shape[1] % c->groups || w.shape[0] % c->groups || w.shape[1] != x.shape[1] / c->groups)
        return sow_fail(SOW_E_SHAPE, "conv2d: input is %s, weight is %s, groups %lld: expected weight [K, C/groups, R, S]", xs, ws,
                        (long long)c->groups);
    if (x.dtype != w.dtype || (x.dtype != SOW_F32 && x.dtype != SOW_F64) || (b && sow_value(b).dtype != x.dtype))
        return sow_fail(SOW_E_TYPE, "conv2d: input is %s, weight is %s; expected both F32 or both F64", sow_dtype_name(x.dtype),
                        sow_dtype_name(w.dtype));
    if (b && (sow_value(b).rank != 1 || sow_value(b).shape[0] != w.shape[0]))
        return sow_fail(SOW_E_SHAPE, "conv2d: bias has %lld elements, weight is %s", (long long)sow_count(sow_value(b)), ws);
    return SOW_OK;
}

static int64_t out_extent(int64_t extent, int64_t filter, const sow_conv *c) {
    int64_t room = extent + 2 * c->padding - c->dilation * (filter - 1) - 1;
    return room < 0 ? 0 : room / c->stride + 1;
}

static sow_status find_shape(sow_tensor x, sow_tensor w, sow_var b, const sow_conv *c, shape *g) {
    SOW_TRY(check_operands(x, w, b, c));
    *g = (shape){x.shape[0], x.shape[1], x.shape[2], x.shape[3], w.shape[0], w.shape[2], w.shape[3],
                 out_extent(x.shape[2], w.shape[2], c), out_extent(x.shape[3], w.shape[3], c),
                 c->stride, c->padding, c->dilation, c->groups, b != NULL};
    if (g->n > 0 && g->out_h > 0 && g->out_w > 0 && sow_count(w) > 0) return SOW_OK;
    char xs[SOW_SHAPE_TEXT], ws[SOW_SHAPE_TEXT];
    return sow_fail(SOW_E_SHAPE, "conv2d: input %s is too small for weight %s with padding %lld and dilation %lld",
                    sow_shape_text(x, xs), sow_shape_text(w, ws), (long long)c->padding, (long long)c->dilation);
}

sow_var sow_conv2d(sow_tape *t, sow_var x, sow_var w, sow_var b, sow_conv c) {
    x = sow_channels_last(t, x);
    w = sow_contiguous(t, w);
    sow_node *n = SOW_NODE(t, &conv_op, shape, 2, x, w, b);
    if (!n) return NULL;
    c.stride += c.stride == 0;
    c.dilation += c.dilation == 0;
    c.groups += c.groups == 0;
    shape *g = n->attributes;
    sow_status status = find_shape(sow_value(x), sow_value(w), b, &c, g);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    return sow_node_run(t, n, sow_describe_channels_last(sow_value(x).dtype, g->n, g->k, g->out_h, g->out_w));
}
