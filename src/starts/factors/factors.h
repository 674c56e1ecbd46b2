/* What the methods of low-rank matrices share: measurements from files, rows of the trace, files that are written. */
#ifndef SOW_STARTS_FACTORS_H
#define SOW_STARTS_FACTORS_H

#include "sow/factors.h"
#include "sow/file.h"

/* ---- numbers (factors.c) ---- */

/* The middle of n values (the lower one of two); values are reordered. n 0: 0. */
double factors_median(double *values, int64_t n);
double factors_norm(const double *v, int64_t n);
sow_status factors_require_finite(const double *y, int64_t n);
/* SOW_E_SHAPE unless k is in 1..min(n1, n2), or 0. */
sow_status factors_check_rank(const sow_operator *op, int64_t k);
/* Zeroed factors in the arena. SOW_E_SHAPE: k is not in 1..min(n1, n2). */
sow_status factors_new(sow_arena *arena, const sow_operator *op, int64_t k, sow_factors *out);
sow_status factors_copy(const sow_factors *from, sow_factors *to);
/* ||F G^T - truth||_F. product: [n1, n2], scratch. */
double factors_error(const sow_factors *x, const double *truth, double *product);
/* Singular values, imbalance and error of a row; step, rate, loss and holdout are the caller's. */
sow_status factors_look(const sow_factors *x, const double *truth, double *product, sow_factors_row *row);
/* Standard normals of stream ("factors", name). */
void factors_normal(uint64_t seed, const char *name, double *out, int64_t n, double sd);

/* ---- measurements (measurements.c) ---- */

/* y, the operator, and what they view. */
typedef struct factors_problem {
    sow_operator op;
    double *y;     /* [op.m] */
    double *truth; /* [n1, n2] or NULL */
    sow_map map;
    struct sow_safetensors *file;
    int64_t missing;  /* cells of a matrix that were not there */
    const char *what; /* the operator in words */
} factors_problem;

/* The options that say what was measured; `out` and the rest are the action's own. */
#define FACTORS_MEASUREMENTS                                                                                             \
    {"y",                                                                                                                \
     0,                                                                                                                  \
     SOW_TYPE_PATH,                                                                                                      \
     NULL,                                                                                                               \
     0,                                                                                                                  \
     0,                                                                                                                  \
     NULL,                                                                                                               \
     NULL,                                                                                                               \
     "measurements: .npy or CSV; a matrix (two dimensions) stands for all its entries, NaN and empty cells are missing", \
     SOW_OPTION_POSITIONAL},                                                                                             \
        SOW_OPTION_TEXT(                                                                                                 \
            "operator", NULL,                                                                                            \
            "what was measured: dense:A.npy (m x n1*n2), rank-one:a.npy[,b.npy], entries:ij.csv, identity; "             \
            "default: identity for a matrix"),                                                                           \
        SOW_OPTION_PATH("matrix", NULL, "the operator's file, where --operator names the kind alone"),                   \
        SOW_OPTION_PATH("matrix-b", NULL, "rank-one: the second vectors"),                                               \
        SOW_OPTION_TEXT("shape", NULL, "of the matrix, as n1xn2; default: square, or as the files say"),                 \
        SOW_OPTION_FLAG("one-based", "indices of entries count from 1"),                                                 \
        SOW_OPTION_PATH("truth", NULL, "the true matrix (.npy), to measure errors; changes nothing else"), {             \
        "memory", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,                                                              \
            "bound of resident memory, like 256M: dense operators are streamed", SOW_OPTION_NO_PASSPORT                  \
    }

/* Reads what those options name. Close with factors_close. Fixes the call's options so that a passport holds base names. */
sow_status factors_open(sow_call *call, factors_problem *out);
void factors_close(factors_problem *problem);
/* The operator alone (dense, rank-one), of an action without measurements. */
sow_status factors_open_operator(sow_call *call, factors_problem *out);
/* A .npy or CSV file as f64 [rows, columns] (one column: rank 1); missing cells are NaN. */
sow_status factors_read(sow_arena *arena, const char *path, sow_tensor *out);

/* ---- files (files.c) ---- */

/* FOLDER/trace.csv, factors.safetensors (with passport), recovered.npy, residuals.csv and the result's "files". */
sow_status factors_write(sow_call *call, const factors_problem *problem, const sow_factors *x, const double *singular,
                         const double *residual, double spread, const sow_factors_row *rows, int64_t row_count);
/* Plots as SVG, and report.html with these pictures (PNG files) and plots. */
sow_status factors_report(sow_call *call, const sow_factors *x, const sow_factors_row *rows, int64_t count,
                          const char *const *images, const char *const *captions, int image_count);
/* Makes the output folder, refusing an existing one without --force. */
sow_status factors_begin(sow_call *call);
/* Puts a value where the user gave none, so that the passport shows what was used. */
void factors_resolve(sow_call *call, const char *option, const char *value);

#endif
