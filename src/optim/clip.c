/* Gradient clipping by the norm of the whole gradient: Pascanu et al. 2013, arXiv 1211.5063. */
#include <math.h>

#include "autograd/op.h"
#include "sow/optim.h"

static double sum_of_squares(sow_tensor t) {
    int64_t n = sow_count(t);
    double sum = 0;
    if (t.dtype == SOW_F64) {
        for (int64_t i = 0; i < n; i++) sum += ((const double *)t.data)[i] * ((const double *)t.data)[i];
        return sum;
    }
    const float *g = t.data;
    for (int64_t i = 0; i < n; i++) sum += (double)g[i] * (double)g[i];
    return sum;
}

typedef struct part_job {
    sow_tensor grad;
    double factor; /* scaling */
    double *sum;   /* or one sum a chunk */
} part_job;

static sow_tensor part_of(const part_job *job, int64_t cell) {
    sow_range r = sow_chunk(cell, sow_count(job->grad));
    return SOW_TENSOR((char *)job->grad.data + (size_t)r.first * sow_dtype_size(job->grad.dtype), job->grad.dtype,
                      r.count);
}

static void sum_part(void *context, int64_t cell) {
    const part_job *job = context;
    job->sum[cell] = sum_of_squares(part_of(job, cell));
}

static void scale_part(void *context, int64_t cell) {
    const part_job *job = context;
    sow_tensor t = part_of(job, cell);
    for (int64_t i = 0, n = sow_count(t); i < n; i++)
        if (t.dtype == SOW_F64) ((double *)t.data)[i] *= job->factor;
        else ((float *)t.data)[i] *= (float)job->factor;
}

static bool has_gradient(const sow_entry *e) {
    return e->trainable && e->grad_written && e->grad.data;
}

/* One tensor's sum, in the order of its chunks; blocks of chunks keep the list of sums short. */
static double norm_squared(const sow_entry *e) {
    double sums[256], total = 0;
    int64_t n = sow_count(e->grad), block = (int64_t)(sizeof sums / sizeof *sums) * SOW_CHUNK;
    for (int64_t first = 0; first < n; first += block) {
        int64_t count = n - first < block ? n - first : block, cells = sow_cells_for(count, SOW_CHUNK);
        part_job job = {.grad = SOW_TENSOR((char *)e->grad.data + (size_t)first * sow_dtype_size(e->grad.dtype),
                                           e->grad.dtype, count),
                        .sum = sums};
        sow_cells(cells, sum_part, &job);
        for (int64_t i = 0; i < cells; i++) total += sums[i];
    }
    return total;
}

double sow_clip_gradients(sow_state *state, double limit) {
    double norm = 0;
    for (int64_t i = 0; i < sow_state_count(state); i++)
        if (has_gradient(sow_state_entry(state, i))) norm += norm_squared(sow_state_entry(state, i));
    norm = sqrt(norm);
    double factor = limit / (norm + 1e-6);
    for (int64_t i = 0; limit > 0 && factor < 1 && i < sow_state_count(state); i++) {
        sow_entry *e = sow_state_entry(state, i);
        if (!has_gradient(e)) continue;
        part_job job = {.grad = SOW_TENSOR(e->grad.data, e->grad.dtype, sow_count(e->grad)), .factor = factor};
        sow_cells(sow_cells_for(sow_count(e->grad), SOW_CHUNK), scale_part, &job);
    }
    return norm;
}
