/* Linear operators of a matrix: what they are, passes, adjoints, norms. */
#include <math.h>
#include <string.h>

#include "linalg/operator.h"

/* ---- making ---- */

static sow_status check_sizes(int64_t n1, int64_t n2) {
    int64_t n;
    if (n1 < 1 || n2 < 1)
        return sow_fail(SOW_E_SHAPE, "operator: matrices of %lld x %lld, expected at least 1 x 1", (long long)n1,
                        (long long)n2);
    if (n1 > INT32_MAX || n2 > INT32_MAX)
        return sow_fail(SOW_E_RANGE, "operator: matrices of %lld x %lld, expected extents below 2^31", (long long)n1,
                        (long long)n2);
    SOW_TRY(sow_multiply(n1, n2, &n));
    return sow_multiply(n, (int64_t)sizeof(double), &n);
}

sow_status sow_operator_dense(sow_tensor a, int64_t n1, int64_t n2, int64_t memory, sow_operator *out) {
    char text[SOW_SHAPE_TEXT];
    SOW_TRY(check_sizes(n1, n2));
    bool flat = a.rank == 2 && a.shape[1] == n1 * n2, cube = a.rank == 3 && a.shape[1] == n1 && a.shape[2] == n2;
    if ((!flat && !cube) || a.shape[0] < 1)
        return sow_fail(SOW_E_SHAPE, "operator: the matrices are %s, expected [m, %lld] or [m, %lld, %lld]",
                        sow_shape_text(a, text), (long long)(n1 * n2), (long long)n1, (long long)n2);
    if (a.dtype != SOW_F64 && a.dtype != SOW_F32)
        return sow_fail(SOW_E_TYPE, "operator: the matrices are %s, expected F64 or F32", sow_dtype_name(a.dtype));
    if (!sow_is_contiguous(a))
        return sow_fail(SOW_E_SHAPE,
                        "operator: the matrices are stored by columns (Fortran order), expected one after another");
    *out = (sow_operator){.kind = SOW_OPERATOR_DENSE, .m = a.shape[0], .n1 = n1, .n2 = n2, .a = a, .memory = memory};
    int64_t least = 3 * operator_dense_block(out) + (operator_dense_cells(out) + 4) * n1 * n2 * 8 + (8 << 20);
    if (memory > 0 && memory < least && memory < (int64_t)sow_bytes(a))
        return sow_fail(SOW_E_RANGE,
                        "operator: a memory bound of %lld MiB, at least %lld MiB are needed to stream these matrices",
                        (long long)(memory >> 20), (long long)(least >> 20) + 1);
    return SOW_OK;
}

sow_status sow_operator_rank_one(sow_tensor a, sow_tensor b, sow_operator *out) {
    char first[SOW_SHAPE_TEXT], second[SOW_SHAPE_TEXT];
    if (!b.data) b = a;
    if (a.rank != 2 || b.rank != 2 || a.shape[0] != b.shape[0] || a.shape[0] < 1)
        return sow_fail(SOW_E_SHAPE, "operator: vectors are %s and %s, expected [m, n1] and [m, n2]",
                        sow_shape_text(a, first), sow_shape_text(b, second));
    if (a.dtype != SOW_F64 || b.dtype != SOW_F64 || !sow_is_contiguous(a) || !sow_is_contiguous(b))
        return sow_fail(SOW_E_TYPE, "operator: vectors must be F64, row by row");
    SOW_TRY(check_sizes(a.shape[1], b.shape[1]));
    *out = (sow_operator){
        .kind = SOW_OPERATOR_RANK_ONE, .m = a.shape[0], .n1 = a.shape[1], .n2 = b.shape[1], .a = a, .b = b};
    return SOW_OK;
}

/* Counting sort: start[i] is where line i begins in `order`. */
static sow_status sort_by(sow_arena *arena, int64_t m, int64_t n, const int64_t *line, const int64_t **order,
                          const int64_t **start) {
    int64_t *sorted, *begin, *next;
    SOW_TRY(SOW_NEW_RAW(arena, sorted, m));
    SOW_TRY(SOW_NEW(arena, begin, n + 1));
    SOW_TRY(SOW_NEW_RAW(arena, next, n));
    for (int64_t i = 0; i < m; i++) begin[line[i] + 1]++;
    for (int64_t i = 0; i < n; i++) begin[i + 1] += begin[i];
    memcpy(next, begin, (size_t)n * sizeof *next);
    for (int64_t i = 0; i < m; i++) sorted[next[line[i]]++] = i;
    *order = sorted;
    *start = begin;
    return SOW_OK;
}

sow_status sow_operator_entries(sow_arena *arena, int64_t m, int64_t n1, int64_t n2, const int64_t *row,
                                const int64_t *column, sow_operator *out) {
    SOW_TRY(check_sizes(n1, n2));
    if (m < 1) return sow_fail(SOW_E_SHAPE, "operator: no entry is measured");
    for (int64_t i = 0; i < m; i++)
        if (row[i] < 0 || row[i] >= n1 || column[i] < 0 || column[i] >= n2)
            return sow_fail(SOW_E_RANGE,
                            "operator: measurement %lld is of entry (%lld, %lld), the matrix is %lld x %lld",
                            (long long)i, (long long)row[i], (long long)column[i], (long long)n1, (long long)n2);
    *out = (sow_operator){.kind = SOW_OPERATOR_ENTRIES, .m = m, .n1 = n1, .n2 = n2, .row = row, .column = column};
    SOW_TRY(sort_by(arena, m, n1, row, &out->by_row, &out->row_start));
    return sort_by(arena, m, n2, column, &out->by_column, &out->column_start);
}

sow_status sow_operator_identity(int64_t n1, int64_t n2, sow_operator *out) {
    SOW_TRY(check_sizes(n1, n2));
    *out = (sow_operator){.kind = SOW_OPERATOR_IDENTITY, .m = n1 * n2, .n1 = n1, .n2 = n2};
    return SOW_OK;
}

/* ---- passes ---- */

static sow_status take(sow_arena *arena, int64_t rows, int64_t columns, double **out) {
    int64_t count;
    SOW_TRY(sow_multiply(rows, columns, &count));
    return SOW_NEW(arena, *out, count);
}

sow_status sow_pass_new(sow_arena *arena, const sow_operator *op, int64_t k, sow_pass *out) {
    int64_t n = op->n1 * op->n2;
    if (op->symmetric && op->n1 != op->n2)
        return sow_fail(SOW_E_SHAPE, "operator: a symmetric matrix of %lld x %lld", (long long)op->n1,
                        (long long)op->n2);
    *out = (sow_pass){.op = op, .k = k};
    SOW_TRY(take(arena, op->m, 1, &out->ax));
    SOW_TRY(take(arena, op->m, 1, &out->z));
    SOW_TRY(take(arena, op->n1 > op->n2 ? op->n1 : op->n2, k > 0 ? k : 1, &out->t));
    SOW_TRY(take(arena, op->n1, 1, &out->u));
    if (op->kind == SOW_OPERATOR_IDENTITY) {
        out->x = out->ax; /* the measurements are the matrix */
        out->e = op->symmetric ? NULL : out->z;
        return op->symmetric ? take(arena, op->n1, op->n2, &out->e) : SOW_OK;
    }
    if (op->kind == SOW_OPERATOR_RANK_ONE) {
        SOW_TRY(take(arena, op->m, k > 0 ? k : 1, &out->p));
        return take(arena, op->m, k > 0 ? k : 1, &out->q);
    }
    if (op->kind == SOW_OPERATOR_ENTRIES) return SOW_OK;
    SOW_TRY(take(arena, op->n1, op->n2, &out->e));
    SOW_TRY(take(arena, op->n1, op->n2, &out->x));
    return take(arena, operator_dense_cells(op), n, &out->partial);
}

static void symmetric_identity(sow_pass *pass) {
    int64_t n = pass->op->n1;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) pass->e[i * n + j] = 0.5 * (pass->z[i * n + j] + pass->z[j * n + i]);
}

static void product(sow_pass *pass, const double *f, const double *g, int64_t k) {
    const sow_operator *op = pass->op;
    if (f) sow_gemm_f64(false, true, op->n1, op->n2, k, 1, f, k, g, k, 0, pass->x, op->n2);
    else memset(pass->x, 0, (size_t)(op->n1 * op->n2) * sizeof *pass->x);
}

sow_status sow_operator_forward(sow_pass *pass, const double *f, const double *g, int64_t k, sow_weigh weigh,
                                void *user) {
    switch (pass->op->kind) {
    case SOW_OPERATOR_DENSE:
        product(pass, f, g, k);
        operator_dense_pass(pass, f != NULL, weigh, user);
        break;
    case SOW_OPERATOR_RANK_ONE: operator_rank_one_forward(pass, f, g, k, weigh, user); break;
    case SOW_OPERATOR_ENTRIES: operator_entries_forward(pass, f, g, k, weigh, user); break;
    case SOW_OPERATOR_IDENTITY:
        product(pass, f, g, k);
        operator_weigh(pass, weigh, user);
        if (pass->op->symmetric) symmetric_identity(pass);
        break;
    }
    return SOW_OK;
}

sow_status sow_operator_adjoint(sow_pass *pass, const double *z) {
    if (z != pass->z) memcpy(pass->z, z, (size_t)pass->op->m * sizeof *z);
    if (pass->op->kind == SOW_OPERATOR_DENSE) operator_dense_pass(pass, false, NULL, NULL);
    if (pass->op->kind == SOW_OPERATOR_IDENTITY && pass->op->symmetric) symmetric_identity(pass);
    return SOW_OK;
}

/* ---- E at work ---- */

static void times(sow_pass *pass, const double *v, int64_t k, bool transpose, double *out) {
    const sow_operator *op = pass->op;
    if (op->kind == SOW_OPERATOR_ENTRIES) operator_entries_times(pass, v, k, transpose, out);
    else if (op->kind == SOW_OPERATOR_RANK_ONE) operator_rank_one_times(pass, v, k, transpose, out);
    else
        sow_gemm_f64(transpose, false, transpose ? op->n2 : op->n1, k, transpose ? op->n1 : op->n2, 1, pass->e, op->n2,
                     v, k, 0, out, k);
}

sow_status sow_operator_times(sow_pass *pass, const double *v, int64_t k, bool transpose, double *out) {
    const sow_operator *op = pass->op;
    times(pass, v, k, transpose, out);
    if (!op->symmetric || pass->e) return SOW_OK; /* a formed E is symmetric already */
    times(pass, v, k, !transpose, pass->t);
    for (int64_t i = 0; i < op->n1 * k; i++) out[i] = 0.5 * (out[i] + pass->t[i]);
    return SOW_OK;
}

sow_status sow_operator_sum(sow_pass *pass, double *e) {
    const sow_operator *op = pass->op;
    int64_t n = op->n1 * op->n2;
    if (pass->e) {
        memcpy(e, pass->e, (size_t)n * sizeof *e);
        return SOW_OK;
    }
    memset(e, 0, (size_t)n * sizeof *e);
    for (int64_t i = 0; i < op->m && op->kind == SOW_OPERATOR_ENTRIES; i++)
        e[op->row[i] * op->n2 + op->column[i]] += pass->z[i];
    for (int64_t i = 0; i < op->m && op->kind == SOW_OPERATOR_RANK_ONE; i++) {
        const double *a = (const double *)op->a.data + i * op->n1, *b = (const double *)op->b.data + i * op->n2;
        for (int64_t r = 0; r < op->n1; r++)
            for (int64_t c = 0; c < op->n2; c++) e[r * op->n2 + c] += pass->z[i] * a[r] * b[c];
    }
    for (int64_t r = 0; r < op->n1 && op->symmetric; r++)
        for (int64_t c = 0; c < r; c++)
            e[r * op->n2 + c] = e[c * op->n2 + r] = 0.5 * (e[r * op->n2 + c] + e[c * op->n2 + r]);
    return SOW_OK;
}

static double length(const double *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i] * v[i];
    return sqrt(sum);
}

sow_status sow_operator_norm(sow_pass *pass, double *v, int rounds, double *norm) {
    int64_t n1 = pass->op->n1, n2 = pass->op->n2;
    if (length(v, n2) == 0)
        for (int64_t i = 0; i < n2; i++) v[i] = 1 + 0.5 * cos(1.7 * (double)i); /* nothing special about it */
    *norm = 0;
    for (int r = 0; r < rounds; r++) {
        double scale = length(v, n2);
        if (scale == 0) return SOW_OK;
        for (int64_t i = 0; i < n2; i++) v[i] /= scale;
        SOW_TRY(sow_operator_times(pass, v, 1, false, pass->u));
        *norm = length(pass->u, n1);
        SOW_TRY(sow_operator_times(pass, pass->u, 1, true, v));
    }
    return SOW_OK;
}
