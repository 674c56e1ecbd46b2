/* What a ticket looks like: appendix F of Frankle and Carbin 2019. */
#include <math.h>
#include <stdlib.h>

#include "starts/sparsity/lottery_ticket/ticket.h"

enum { BINS = 40 };

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean, standard deviation and quartiles of numbers, which get sorted. */
static json_t *summary(double *values, int64_t n) {
    if (n == 0) return json_null();
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++) mean += values[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) square += (values[i] - mean) * (values[i] - mean);
    qsort(values, (size_t)n, sizeof *values, ascending);
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)n, "mean", mean, "sd", sqrt(square / (double)n),
                     "q25", values[(n - 1) / 4], "median", values[(n - 1) / 2], "q75", values[(n - 1) * 3 / 4]);
}

/* Counts of the surviving theta_0 in equal bins from -limit to limit, the largest |theta_0| of the tensor. */
static json_t *histogram(const double *theta0, const sow_bits *bits) {
    double limit = 0;
    int64_t counts[BINS] = {0};
    for (int64_t i = 0; i < bits->count; i++) limit = fmax(limit, fabs(theta0[i]));
    for (int64_t i = 0; i < bits->count && limit > 0; i++) {
        int bin = (int)((theta0[i] / limit + 1) / 2 * BINS);
        if (sow_bit(bits, i)) counts[bin < BINS ? bin : BINS - 1]++;
    }
    json_t *array = json_array();
    for (int b = 0; b < BINS; b++) json_array_append_new(array, json_integer(counts[b]));
    return json_pack("{s:f, s:f, s:o}", "low", -limit, "high", limit, "counts", array);
}

/* One movement, |theta_j - theta_0| or |theta_j| - |theta_0|, inside and outside the ticket. */
static json_t *movement(const double *theta0, const double *trained, const sow_bits *bits, bool of_magnitude,
                        double *scratch) {
    json_t *parts[2];
    for (int inside = 0; inside < 2; inside++) {
        int64_t n = 0;
        for (int64_t i = 0; i < bits->count; i++) {
            if (sow_bit(bits, i) != inside) continue;
            scratch[n++] = of_magnitude ? fabs(trained[i]) - fabs(theta0[i]) : fabs(trained[i] - theta0[i]);
        }
        parts[inside] = summary(scratch, n);
    }
    return json_pack("{s:o, s:o}", "ticket", parts[1], "rest", parts[0]);
}

/* Surviving connections of every unit: rows are a layer's outputs (their incoming ones), columns its inputs. */
static sow_status units(sow_arena *arena, const sow_bits *bits, json_t *into) {
    int64_t rows = bits->shape[0], columns = bits->rank > 1 ? bits->shape[1] : 1, *in, *out;
    int64_t field = rows * columns > 0 ? bits->count / (rows * columns) : 0;
    SOW_TRY(SOW_NEW(arena, in, rows + 1));
    SOW_TRY(SOW_NEW(arena, out, columns + 1));
    for (int64_t i = 0; i < bits->count; i++) {
        if (!sow_bit(bits, i)) continue;
        in[i / field / columns]++;
        out[i / field % columns]++;
    }
    json_t *incoming = json_array(), *outgoing = json_array();
    for (int64_t r = 0; r < rows; r++) json_array_append_new(incoming, json_integer(in[r]));
    for (int64_t c = 0; c < columns; c++) json_array_append_new(outgoing, json_integer(out[c]));
    json_object_set_new(into, "incoming", incoming);
    json_object_set_new(into, "outgoing", outgoing);
    return SOW_OK;
}

static sow_status flat(sow_arena *arena, sow_tensor t, double **out) {
    SOW_TRY(SOW_NEW_RAW(arena, *out, sow_count(t)));
    return sow_copy(sow_tensor_of(*out, SOW_F64, t.rank, t.shape), t);
}

static sow_status diagnose(sow_arena *arena, const sow_entry *start, const sow_entry *trained, const sow_bits *bits,
                           json_t *rows) {
    double *theta0, *theta, *scratch;
    SOW_TRY(flat(arena, start->value, &theta0));
    SOW_TRY(flat(arena, trained->value, &theta));
    SOW_TRY(SOW_NEW_RAW(arena, scratch, bits->count));
    json_t *row = json_pack("{s:s, s:I, s:I}", "name", bits->name, "kept", (json_int_t)sow_bits_kept(bits), "of",
                            (json_int_t)bits->count);
    json_object_set_new(row, "theta0", histogram(theta0, bits));
    json_object_set_new(row, "moved", movement(theta0, theta, bits, false, scratch));
    json_object_set_new(row, "grew", movement(theta0, theta, bits, true, scratch));
    sow_status status = units(arena, bits, row);
    if (json_array_append_new(rows, row) != 0 && status == SOW_OK) status = sow_fail(SOW_E_MEMORY, "out of memory");
    return status;
}

sow_status sow_lottery_diagnostics(sow_arena *arena, const sow_state *theta0, const sow_state *dense,
                                   const sow_mask *mask, json_t **out) {
    if (!(*out = json_array())) return sow_fail(SOW_E_MEMORY, "out of memory");
    for (int64_t t = 0; t < mask->tensors; t++) {
        sow_entry *start, *trained;
        sow_mark mark = sow_arena_mark(arena);
        sow_status status = sow_state_get(theta0, mask->bits[t].name, &start);
        if (status == SOW_OK) status = sow_state_get(dense, mask->bits[t].name, &trained);
        if (status == SOW_OK) status = diagnose(arena, start, trained, &mask->bits[t], *out);
        sow_arena_release(arena, mark);
        if (status == SOW_OK) continue;
        json_decref(*out);
        *out = NULL;
        return status;
    }
    return SOW_OK;
}
