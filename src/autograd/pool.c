/* Pooling over windows of images and over whole images, channels last. */
#include <string.h>

#include "autograd/image.h"

typedef struct window {
    int64_t n, c, h, w, out_h, out_w;
    int64_t size, stride, padding;
} window;

/* Channels handled together: what a window has left to give waits in registers and L1. */
enum { LANES = 64 };

typedef struct span {
    int64_t top, bottom, left, right; /* input rows and columns under a window; ends exclusive */
} span;

static span under(const window *a, int64_t oh, int64_t ow) {
    span s = {oh * a->stride - a->padding, 0, ow * a->stride - a->padding, 0};
    s.bottom = s.top + a->size < a->h ? s.top + a->size : a->h;
    s.right = s.left + a->size < a->w ? s.left + a->size : a->w;
    if (s.top < 0) s.top = 0;
    if (s.left < 0) s.left = 0;
    return s;
}

/* ---- one window, `lanes` channels from x on; pixels lie `c` apart and rows `w * c` ---- */

#define INLINE static inline __attribute__((always_inline))

/* The loops are written once for float and double. x, dx: the image at the first of the lanes; y, dy: the output pixel. */
#define WINDOW_LOOPS(real, suffix)                                                                                     \
    INLINE void max_##suffix(const window *a, span s, const real *x, real *y, int64_t lanes) {                         \
        const real *first = x + (s.top * a->w + s.left) * a->c;                                                        \
        for (int64_t j = 0; j < lanes; j++) y[j] = first[j];                                                           \
        for (int64_t h = s.top; h < s.bottom; h++)                                                                     \
            for (int64_t w = s.left; w < s.right; w++) {                                                               \
                const real *v = x + (h * a->w + w) * a->c;                                                             \
                for (int64_t j = 0; j < lanes; j++) y[j] = y[j] >= v[j] || y[j] != y[j] ? y[j] : v[j];                 \
            }                                                                                                          \
    }                                                                                                                  \
    /* The first pixel that equals the maximum gets the gradient. */                                                   \
    INLINE void max_back_##suffix(const window *a, span s, const real *x, const real *y, const real *dy, real *dx,     \
                                  int64_t lanes) {                                                                     \
        real left[LANES];                                                                                              \
        for (int64_t j = 0; j < lanes; j++) left[j] = dy[j];                                                           \
        for (int64_t h = s.top; h < s.bottom; h++)                                                                     \
            for (int64_t w = s.left; w < s.right; w++) {                                                               \
                int64_t at = (h * a->w + w) * a->c;                                                                    \
                for (int64_t j = 0; j < lanes; j++) {                                                                  \
                    real given = x[at + j] == y[j] ? left[j] : 0;                                                      \
                    dx[at + j] += given;                                                                               \
                    left[j] = x[at + j] == y[j] ? 0 : left[j];                                                         \
                }                                                                                                      \
            }                                                                                                          \
    }                                                                                                                  \
    INLINE void average_##suffix(const window *a, span s, const real *x, real *y, int64_t lanes) {                     \
        for (int64_t j = 0; j < lanes; j++) y[j] = 0;                                                                  \
        for (int64_t h = s.top; h < s.bottom; h++)                                                                     \
            for (int64_t w = s.left; w < s.right; w++)                                                                 \
                for (int64_t j = 0; j < lanes; j++) y[j] += x[(h * a->w + w) * a->c + j];                              \
        real each = 1 / (real)((s.bottom - s.top) * (s.right - s.left));                                               \
        for (int64_t j = 0; j < lanes; j++) y[j] *= each;                                                              \
    }                                                                                                                  \
    INLINE void average_back_##suffix(const window *a, span s, const real *dy, real *dx, int64_t lanes) {              \
        real each = 1 / (real)((s.bottom - s.top) * (s.right - s.left));                                               \
        for (int64_t h = s.top; h < s.bottom; h++)                                                                     \
            for (int64_t w = s.left; w < s.right; w++)                                                                 \
                for (int64_t j = 0; j < lanes; j++) dx[(h * a->w + w) * a->c + j] += each * dy[j];                     \
    }
WINDOW_LOOPS(float, f32)
WINDOW_LOOPS(double, f64)

/* ---- all windows of one image ---- */

/* Calls `body` for each output pixel and each group of lanes of an image. */
#define FOR_WINDOWS(a, body)                                                      \
    for (int64_t oh = 0; oh < (a)->out_h; oh++)                                   \
        for (int64_t ow = 0; ow < (a)->out_w; ow++)                               \
            for (int64_t c0 = 0; c0 < (a)->c; c0 += LANES) {                      \
                span s = under((a), oh, ow);                                      \
                int64_t lanes = (a)->c - c0 < LANES ? (a)->c - c0 : LANES;        \
                int64_t pixel = (oh * (a)->out_w + ow) * (a)->c + c0;             \
                body;                                                             \
            }

SOW_CLONES static void max_image_f32(const window *a, const float *x, float *y) {
    FOR_WINDOWS(a, max_f32(a, s, x + c0, y + pixel, lanes))
}
SOW_CLONES static void max_back_image_f32(const window *a, const float *x, const float *y, const float *dy, float *dx) {
    FOR_WINDOWS(a, max_back_f32(a, s, x + c0, y + pixel, dy + pixel, dx + c0, lanes))
}
SOW_CLONES static void average_image_f32(const window *a, const float *x, float *y) {
    FOR_WINDOWS(a, average_f32(a, s, x + c0, y + pixel, lanes))
}
SOW_CLONES static void average_back_image_f32(const window *a, const float *dy, float *dx) {
    FOR_WINDOWS(a, average_back_f32(a, s, dy + pixel, dx + c0, lanes))
}
static void max_image_f64(const window *a, const double *x, double *y) {
    FOR_WINDOWS(a, max_f64(a, s, x + c0, y + pixel, lanes))
}
static void max_back_image_f64(const window *a, const double *x, const double *y, const double *dy, double *dx) {
    FOR_WINDOWS(a, max_back_f64(a, s, x + c0, y + pixel, dy + pixel, dx + c0, lanes))
}
static void average_image_f64(const window *a, const double *x, double *y) {
    FOR_WINDOWS(a, average_f64(a, s, x + c0, y + pixel, lanes))
}
static void average_back_image_f64(const window *a, const double *dy, double *dx) {
    FOR_WINDOWS(a, average_back_f64(a, s, dy + pixel, dx + c0, lanes))
}

/* ---- operators: x [N, C, H, W] -> y [N, C, H', W'] ---- */

typedef struct pooling {
    window window;
    bool average;
} pooling;

typedef struct job {
    const pooling *p;
    sow_dtype dtype;
    const void *x, *y, *dy;
    void *out; /* y forward, dx backward */
    bool add;  /* dx holds a gradient already */
} job;

static const void *at(const void *data, sow_dtype dtype, int64_t index) {
    return (const char *)data + (size_t)index * sow_dtype_size(dtype);
}

static void forward_image(void *context, int64_t n) {
    const job *k = context;
    const window *a = &k->p->window;
    const void *x = at(k->x, k->dtype, n * a->h * a->w * a->c);
    void *y = (void *)(uintptr_t)at(k->out, k->dtype, n * a->out_h * a->out_w * a->c);
    if (k->dtype == SOW_F32) (k->p->average ? average_image_f32 : max_image_f32)(a, x, y);
    else (k->p->average ? average_image_f64 : max_image_f64)(a, x, y);
}

static void backward_image(void *context, int64_t n) {
    const job *k = context;
    const window *a = &k->p->window;
    int64_t in = a->h * a->w * a->c, first = n * a->out_h * a->out_w * a->c;
    const void *y = at(k->y, k->dtype, first), *dy = at(k->dy, k->dtype, first), *x = at(k->x, k->dtype, n * in);
    void *dx = (void *)(uintptr_t)at(k->out, k->dtype, n * in);
    if (!k->add) memset(dx, 0, (size_t)in * sow_dtype_size(k->dtype));
    if (k->dtype == SOW_F32 && k->p->average) average_back_image_f32(a, dy, dx);
    else if (k->dtype == SOW_F32) max_back_image_f32(a, x, y, dy, dx);
    else if (k->p->average) average_back_image_f64(a, dy, dx);
    else max_back_image_f64(a, x, y, dy, dx);
}

static sow_status pool_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const pooling *p = n->attributes;
    job k = {.p = p, .dtype = n->value.dtype, .x = n->input[0]->value.data, .out = n->value.data};
    sow_cells(p->window.n, forward_image, &k);
    return SOW_OK;
}

static sow_status pool_backward(sow_tape *t, sow_node *n) {
    const pooling *p = n->attributes;
    sow_tensor dx;
    bool add = sow_grad_into(t, n->input[0], &dx) != 0;
    if (!dx.data) return SOW_E_MEMORY;
    job k = {p, n->value.dtype, n->input[0]->value.data, n->value.data, n->grad.data, dx.data, add};
    sow_cells(p->window.n, backward_image, &k);
    return SOW_OK;
}

static const sow_op max_op = {"max_pool2d", pool_forward, pool_backward};
static const sow_op average_op = {"avg_pool2d", pool_forward, pool_backward};

static sow_status check_image(const char *name, sow_tensor x) {
    char text[SOW_SHAPE_TEXT];
    if (x.rank != 4) return sow_fail(SOW_E_SHAPE, "%s: input is %s, expected [N, C, H, W]", name, sow_shape_text(x, text));
    if (x.dtype != SOW_F32 && x.dtype != SOW_F64)
        return sow_fail(SOW_E_TYPE, "%s: input is %s, expected F32 or F64", name, sow_dtype_name(x.dtype));
    return SOW_OK;
}

static sow_status find_window(const char *name, sow_tensor x, int64_t size, int64_t stride, int64_t padding, window *a) {
    SOW_TRY(check_image(name, x));
    if (size < 1 || stride < 1 || padding < 0 || padding > size / 2)
        return sow_fail(SOW_E_RANGE, "%s: size %lld, stride %lld, padding %lld: expected size and stride of at least 1, padding up to half the size",
                        name, (long long)size, (long long)stride, (long long)padding);
    int64_t h = x.shape[2] + 2 * padding - size, w = x.shape[3] + 2 * padding - size;
    char text[SOW_SHAPE_TEXT];
    if (h < 0 || w < 0 || x.shape[0] < 1 || x.shape[1] < 1)
        return sow_fail(SOW_E_SHAPE, "%s: input %s is smaller than the window of %lld", name, sow_shape_text(x, text), (long long)size);
    *a = (window){x.shape[0], x.shape[1], x.shape[2], x.shape[3], h / stride + 1, w / stride + 1, size, stride, padding};
    return SOW_OK;
}

static sow_var pool(sow_tape *t, const sow_op *op, sow_var x, int64_t size, int64_t stride, int64_t padding) {
    x = sow_channels_last(t, x);
    sow_node *n = SOW_NODE(t, op, pooling, 1, x);
    if (!n) return NULL;
    pooling *p = n->attributes;
    p->average = op == &average_op;
    sow_status status = find_window(op->name, sow_value(x), size, stride, padding, &p->window);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    const window *a = &p->window;
    return sow_node_run(t, n, sow_describe_channels_last(sow_value(x).dtype, a->n, a->c, a->out_h, a->out_w));
}

sow_var sow_max_pool2d(sow_tape *t, sow_var x, int64_t size, int64_t stride, int64_t padding) {
    return pool(t, &max_op, x, size, stride, padding);
}

sow_var sow_avg_pool2d(sow_tape *t, sow_var x, int64_t size, int64_t stride, int64_t padding) {
    return pool(t, &average_op, x, size, stride, padding);
}

/* ---- the mean of whole images: x [N, C, H, W] -> y [N, C] ---- */

/* Sums of 64 pixels at a time, then their sum: rounding stays small for large images. */
SOW_CLONES static void mean_f32(const float *restrict x, float *restrict y, int64_t pixels, int64_t c) {
    for (int64_t c0 = 0; c0 < c; c0 += LANES) {
        int64_t lanes = c - c0 < LANES ? c - c0 : LANES;
        float total[LANES] = {0};
        for (int64_t first = 0; first < pixels; first += 64) {
            float sum[LANES] = {0};
            for (int64_t r = first; r < pixels && r < first + 64; r++)
                for (int64_t j = 0; j < lanes; j++) sum[j] += x[r * c + c0 + j];
            for (int64_t j = 0; j < lanes; j++) total[j] += sum[j];
        }
        for (int64_t j = 0; j < lanes; j++) y[c0 + j] = total[j] / (float)pixels;
    }
}

SOW_CLONES static void spread_f32(const float *restrict dy, float *restrict dx, int64_t pixels, int64_t c, bool add) {
    for (int64_t r = 0; r < pixels; r++)
        for (int64_t j = 0; j < c; j++) {
            float g = dy[j] / (float)pixels;
            dx[r * c + j] = add ? dx[r * c + j] + g : g;
        }
}

static void mean_image(void *context, int64_t n) {
    const job *k = context;
    const window *a = &k->p->window;
    int64_t pixels = a->h * a->w, c = a->c;
    if (k->dtype == SOW_F32) {
        mean_f32((const float *)k->x + n * pixels * c, (float *)k->out + n * c, pixels, c);
        return;
    }
    const double *x = (const double *)k->x + n * pixels * c;
    double *y = (double *)k->out + n * c;
    for (int64_t j = 0; j < c; j++) {
        y[j] = 0;
        for (int64_t r = 0; r < pixels; r++) y[j] += x[r * c + j] / (double)pixels;
    }
}

static void spread_image(void *context, int64_t n) {
    const job *k = context;
    const window *a = &k->p->window;
    int64_t pixels = a->h * a->w, c = a->c;
    if (k->dtype == SOW_F32) {
        spread_f32((const float *)k->dy + n * c, (float *)k->out + n * pixels * c, pixels, c, k->add);
        return;
    }
    const double *dy = (const double *)k->dy + n * c;
    double *dx = (double *)k->out + n * pixels * c;
    for (int64_t i = 0; i < pixels * c; i++) dx[i] = dy[i % c] / (double)pixels + (k->add ? dx[i] : 0);
}

static sow_status mean_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const pooling *p = n->attributes;
    job k = {.p = p, .dtype = n->value.dtype, .x = n->input[0]->value.data, .out = n->value.data};
    sow_cells(p->window.n, mean_image, &k);
    return SOW_OK;
}

static sow_status mean_backward(sow_tape *t, sow_node *n) {
    sow_tensor dx;
    bool add = sow_grad_into(t, n->input[0], &dx) != 0;
    if (!dx.data) return SOW_E_MEMORY;
    const pooling *p = n->attributes;
    job k = {.p = p, .dtype = n->value.dtype, .dy = n->grad.data, .out = dx.data, .add = add};
    sow_cells(p->window.n, spread_image, &k);
    return SOW_OK;
}

static const sow_op mean_op = {"global_avg_pool2d", mean_forward, mean_backward};

sow_var sow_global_avg_pool2d(sow_tape *t, sow_var x) {
    x = sow_channels_last(t, x);
    sow_node *n = SOW_NODE(t, &mean_op, pooling, 1, x);
    if (!n) return NULL;
    sow_tensor v = sow_value(x);
    sow_status status = check_image(mean_op.name, v);
    if (status == SOW_OK && sow_count(v) < 1) status = sow_fail(SOW_E_SHAPE, "%s: the input is empty", mean_op.name);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    ((pooling *)n->attributes)->window = (window){.n = v.shape[0], .c = v.shape[1], .h = v.shape[2], .w = v.shape[3]};
    return sow_node_run(t, n, sow_describe(v.dtype, 2, v.shape));
}
