/* Files that both methods write: factors with their passport, the matrix, outlier scores, the trace. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/npy.h"
#include "sow/safetensors.h"
#include "starts/factors/factors.h"

enum { RECOVERED_MAX = 1 << 26 };

sow_status factors_begin(sow_call *call) {
    const char *folder = sow_text(call, "out");
    SOW_TRY(sow_check_output(call, folder));
    return sow_make_folder(folder);
}

static sow_status path_of(sow_call *call, const char *name, const char **path) {
    *path = sow_path_join(call->arena, sow_text(call, "out"), name);
    return *path ? SOW_OK : SOW_E_MEMORY;
}

static sow_status add(sow_state *state, const char *name, const double *values, int64_t rows, int64_t columns) {
    sow_entry *entry;
    SOW_TRY(sow_state_add(state, name, SOW_F64, columns > 0 ? 2 : 1, (int64_t[]){rows, columns}, &entry));
    memcpy(entry->value.data, values, sow_bytes(entry->value));
    return SOW_OK;
}

static sow_status write_factors(sow_call *call, const sow_factors *x, const double *singular) {
    sow_state *state;
    const char *passport, *path;
    SOW_TRY(path_of(call, "factors.safetensors", &path));
    SOW_TRY(sow_passport(call, "factors.safetensors", NULL, 0, &passport));
    SOW_TRY(sow_state_new(&state));
    sow_status status = add(state, x->symmetric ? "U" : "F", x->f, x->n1, x->k);
    if (!status && !x->symmetric) status = add(state, "G", x->g, x->n2, x->k);
    if (!status) status = add(state, "singular_values", singular, x->k, 0);
    if (!status) status = sow_save_state(path, state, passport);
    sow_state_free(state);
    return status ? status : sow_wrote(call, path);
}

static sow_status write_recovered(sow_call *call, const sow_factors *x) {
    const char *path;
    double *matrix;
    int64_t n = x->n1 * x->n2;
    if (n > RECOVERED_MAX) return SOW_OK; /* F G^T is a line of NumPy */
    sow_mark mark = sow_arena_mark(call->arena);
    SOW_TRY(path_of(call, "recovered.npy", &path));
    SOW_TRY(sow_wrote(call, path));
    SOW_TRY(SOW_NEW_RAW(call->arena, matrix, n));
    sow_gemm_f64(false, true, x->n1, x->n2, x->k, 1, x->f, x->k, x->g, x->k, 0, matrix, x->n2);
    sow_status status = sow_npy_write(path, SOW_TENSOR(matrix, SOW_F64, x->n1, x->n2));
    sow_arena_release(call->arena, mark);
    return status;
}

static void print_real(sow_writer *writer, double value) {
    char text[SOW_REAL_TEXT];
    sow_writer_printf(writer, ",%s", isfinite(value) ? sow_real_text(value, text) : "");
}

/* A score of 5 and more is what the summary counts as an outlier. */
static sow_status write_outliers(sow_call *call, const factors_problem *p, const double *residual, double spread) {
    const char *path;
    sow_writer *writer;
    bool entries = p->op.kind == SOW_OPERATOR_ENTRIES || p->op.kind == SOW_OPERATOR_IDENTITY;
    SOW_TRY(path_of(call, "outliers.csv", &path));
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_printf(writer, entries ? "measurement,row,column,y,residual,score\n" : "measurement,y,residual,score\n");
    for (int64_t i = 0; i < p->op.m; i++) {
        sow_writer_printf(writer, "%lld", (long long)i);
        if (p->op.kind == SOW_OPERATOR_ENTRIES)
            sow_writer_printf(writer, ",%lld,%lld", (long long)p->op.row[i], (long long)p->op.column[i]);
        if (p->op.kind == SOW_OPERATOR_IDENTITY)
            sow_writer_printf(writer, ",%lld,%lld", (long long)(i / p->op.n2), (long long)(i % p->op.n2));
        print_real(writer, p->y[i]);
        print_real(writer, residual[i]);
        print_real(writer, spread > 0 ? fabs(residual[i]) / spread : residual[i] != 0 ? INFINITY : 0);
        sow_writer_printf(writer, "\n");
    }
    SOW_TRY(sow_writer_commit(writer));
    return sow_wrote(call, path);
}

static sow_status write_trace(sow_call *call, const sow_factors *x, const sow_factors_row *rows, int64_t count) {
    const char *path;
    sow_writer *writer;
    SOW_TRY(path_of(call, "trace.csv", &path));
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_printf(writer, "step,rate,loss,holdout,error,imbalance_low,imbalance_high");
    for (int j = 0; j < SOW_FACTORS_SHOWN && j < x->k; j++) sow_writer_printf(writer, ",singular_%d", j + 1);
    sow_writer_printf(writer, ",singular_last\n");
    for (int64_t i = 0; i < count; i++) {
        const sow_factors_row *r = &rows[i];
        const double numbers[] = {r->rate, r->loss, r->holdout, r->error, r->imbalance_low, r->imbalance_high};
        sow_writer_printf(writer, "%lld", (long long)r->step);
        for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++) print_real(writer, numbers[j]);
        for (int j = 0; j < SOW_FACTORS_SHOWN && j < x->k; j++) print_real(writer, r->singular[j]);
        print_real(writer, r->last_singular);
        sow_writer_printf(writer, "\n");
    }
    SOW_TRY(sow_writer_commit(writer));
    return sow_wrote(call, path);
}

sow_status factors_write(sow_call *call, const factors_problem *problem, const sow_factors *x, const double *singular,
                         const double *residual, double spread, const sow_factors_row *rows, int64_t row_count) {
    SOW_TRY(write_factors(call, x, singular));
    SOW_TRY(write_recovered(call, x));
    if (residual) SOW_TRY(write_outliers(call, problem, residual, spread));
    return write_trace(call, x, rows, row_count);
}
