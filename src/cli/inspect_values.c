/* Statistics of tensors, in blocks and in a fixed order. */
#include <math.h>
#include <stdlib.h>

#include "cli/inspect.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/threads.h"

enum { BLOCK = 1 << 16, BLOCKS_AT_ONCE = 64 };

/* What one block contributes; added up in block order. */
typedef struct part {
    int64_t zeros, nan, infinite;
    double sum, squares; /* of the values; of their distances from the mean */
    double low, high;
    int64_t bins[INSPECT_BINS];
} part;

typedef struct pass {
    sow_tensor flat; /* one dimension */
    int64_t first;   /* block number of parts[0] */
    part *parts;
    double *values;              /* [BLOCKS_AT_ONCE][BLOCK] */
    const tensor_summary *known; /* NULL in the first pass */
} pass;

static void first_pass(part *p, const double *x, int64_t n) {
    p->low = INFINITY;
    p->high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i])) p->nan++;
        else if (isinf(x[i])) p->infinite++;
        else {
            p->zeros += x[i] == 0;
            p->sum += x[i];
            p->low = fmin(p->low, x[i]);
            p->high = fmax(p->high, x[i]);
        }
    }
}

static void second_pass(part *p, const double *x, int64_t n, const tensor_summary *known) {
    double width = known->high - known->low, scale = width > 0 && isfinite(width) ? INSPECT_BINS / width : 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) continue;
        double distance = x[i] - known->mean;
        int bin = (int)((x[i] - known->low) * scale);
        p->squares += distance * distance;
        p->bins[bin < INSPECT_BINS ? bin : INSPECT_BINS - 1]++;
    }
}

static void do_block(void *context, int64_t index) {
    pass *work = context;
    int64_t begin = (work->first + index) * BLOCK, left = work->flat.shape[0] - begin, n = left < BLOCK ? left : BLOCK;
    double *x = work->values + index * BLOCK;
    part *p = &work->parts[index];
    *p = (part){0};
    if (sow_copy(SOW_TENSOR(x, SOW_F64, n), sow_slice(work->flat, 0, begin, n)))
        return; /* only F8 fails, and is not asked for */
    if (work->known) second_pass(p, x, n, work->known);
    else first_pass(p, x, n);
}

static void add_first(tensor_summary *s, double *sum, const part *p) {
    s->zeros += p->zeros;
    s->nan += p->nan;
    s->infinite += p->infinite;
    *sum += p->sum;
    s->low = fmin(s->low, p->low);
    s->high = fmax(s->high, p->high);
}

static void add_second(tensor_summary *s, double *squares, const part *p) {
    *squares += p->squares;
    for (int b = 0; b < INSPECT_BINS; b++) s->bins[b] += p->bins[b];
}

/* Runs one pass over all blocks and adds the parts up in order: their sum, or their sum of squares, comes back. */
static sow_status run_pass(pass *work, tensor_summary *s, double *total) {
    int64_t blocks = sow_cells_for(work->flat.shape[0], BLOCK);
    *total = 0;
    for (work->first = 0; work->first < blocks; work->first += BLOCKS_AT_ONCE) {
        int64_t n = blocks - work->first < BLOCKS_AT_ONCE ? blocks - work->first : BLOCKS_AT_ONCE;
        SOW_TRY(sow_check_interrupt());
        sow_cells(n, do_block, work);
        for (int64_t i = 0; i < n; i++) {
            if (work->known) add_second(s, total, &work->parts[i]);
            else add_first(s, total, &work->parts[i]);
        }
    }
    return SOW_OK;
}

sow_status inspect_summarise(sow_arena *arena, sow_tensor t, tensor_summary *out) {
    sow_mark mark = sow_arena_mark(arena);
    pass work = {0};
    double sum, squares;
    *out = (tensor_summary){.count = sow_count(t), .low = INFINITY, .high = -INFINITY};
    if (t.dtype == SOW_C64 || t.dtype == SOW_F8_E4M3 || t.dtype == SOW_F8_E5M2 || out->count == 0) return SOW_OK;
    int64_t at_once = sow_cells_for(out->count, BLOCK);
    if (at_once > BLOCKS_AT_ONCE) at_once = BLOCKS_AT_ONCE;
    SOW_TRY(SOW_NEW(arena, work.parts, at_once));
    SOW_TRY(SOW_NEW_RAW(arena, work.values, at_once * BLOCK));
    work.flat = sow_reshape(t, 1, &out->count);
    SOW_TRY(run_pass(&work, out, &sum));
    out->known = true;
    out->finite = out->count - out->nan - out->infinite;
    if (out->finite > 0) {
        out->mean = sum / (double)out->finite;
        work.known = out;
        SOW_TRY(run_pass(&work, out, &squares));
        out->sd = out->finite > 1 ? sqrt(squares / (double)(out->finite - 1)) : 0;
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

/* ---- rows ---- */

/* Bars of eight heights, one a bin; the lowest only for bins that are empty. */
static json_t *bars(const tensor_summary *s) {
    static const char *const heights[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                          "\u2585", "\u2586", "\u2587", "\u2588"};
    char text[4 * INSPECT_BINS + 1] = "";
    int64_t most = 1;
    for (int b = 0; b < INSPECT_BINS; b++)
        if (s->bins[b] > most) most = s->bins[b];
    for (int b = 0, at = 0; b < INSPECT_BINS; b++) {
        int height = (int)ceil(7.0 * (double)s->bins[b] / (double)most);
        at += snprintf(text + at, sizeof text - (size_t)at, "%s", heights[height]);
    }
    return json_string(text);
}

static json_t *counts(const tensor_summary *s) {
    json_t *list = json_array();
    for (int b = 0; b < INSPECT_BINS; b++) json_array_append_new(list, json_integer(s->bins[b]));
    return json_pack("{s:f,s:f,s:o}", "low", s->low, "high", s->high, "counts", list);
}

static json_t *shape_of(const sow_call *call, sow_tensor t) {
    if (call->json) {
        json_t *list = json_array();
        for (int d = 0; d < t.rank; d++) json_array_append_new(list, json_integer(t.shape[d]));
        return list;
    }
    char text[SOW_SHAPE_TEXT];
    return json_string(sow_shape_text(t, text));
}

static sow_status put_moments(sow_call *call, json_t *row, const tensor_summary *s) {
    SOW_TRY(sow_put_real(row, "mean", s->mean));
    SOW_TRY(sow_put_real(row, "sd", s->sd));
    SOW_TRY(sow_put_real(row, "min", s->low));
    SOW_TRY(sow_put_real(row, "max", s->high));
    return sow_put_json(row, "histogram", call->json ? counts(s) : bars(s));
}

sow_status inspect_row(sow_call *call, const char *name, sow_tensor t, const tensor_summary *s, json_t **row) {
    *row = json_pack("{s:s,s:s,s:o}", "name", name, "dtype", sow_dtype_name(t.dtype), "shape", shape_of(call, t));
    if (!*row) return sow_fail(SOW_E_FORMAT, "a tensor's name is not UTF-8");
    sow_status status = SOW_OK;
    if (s->known) status = sow_put_count(*row, "zeros", s->zeros);
    if (s->known && !status) status = sow_put_count(*row, "nonfinite", s->nan + s->infinite);
    if (s->finite > 0 && !status) status = put_moments(call, *row, s);
    if (status != SOW_OK) json_decref(*row);
    return status;
}
