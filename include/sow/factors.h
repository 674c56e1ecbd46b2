/* Low-rank matrix problems: recovery under gross corruption (subgm), and how fast factors converge (matrix-gd). */
#ifndef SOW_FACTORS_H
#define SOW_FACTORS_H

#include "sow/method.h"
#include "sow/operator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X = F G^T. Symmetric problems have one factor: g == f. */
typedef struct sow_factors {
    int64_t n1, n2, k;
    double *f, *g; /* [n1, k], [n2, k] */
    bool symmetric;
} sow_factors;

enum { SOW_FACTORS_SHOWN = 8 };

/* What was seen at a step, before it was taken. NaN: not known. */
typedef struct sow_factors_row {
    int64_t step;
    double rate, loss; /* step size; subgm: mean |residual|, matrix-gd: ||A(X) - y||^2 / 2 (symmetric: / 4) */
    double holdout;    /* median |residual| of measurements that were held out */
    double error;      /* ||X - X*||_F, where the truth is known */
    double singular[SOW_FACTORS_SHOWN];   /* the largest singular values of X */
    double last_singular;                 /* the k-th */
    double imbalance_low, imbalance_high; /* extreme eigenvalues of F^T F - G^T G */
} sow_factors_row;

/* Singular values of F G^T, falling, [k], from two QR decompositions: small ones are exact to f64. k <= min(n1, n2). */
sow_status sow_factors_singular(const sow_factors *x, sow_arena *arena, double *values);

/* ---- subgm: Ma and Fattahi 2022, arXiv 2202.08788 ---- */

typedef enum sow_subgm_rule {
    SOW_SUBGM_GEOMETRIC, /* eta0 rho^t / ||Q|| */
    SOW_SUBGM_LOSS,      /* eta0 (pi/2) mean |residual|: for clean measurements only */
    SOW_SUBGM_CONSTANT,  /* eta0 */
    SOW_SUBGM_POLYAK,    /* f(U) / ||D||_F^2 */
    SOW_SUBGM_ROOT,      /* eta0 / sqrt(t+1) / ||Q|| */
} sow_subgm_rule;
typedef enum sow_subgm_norm { SOW_NORM_SPECTRAL, SOW_NORM_FROBENIUS, SOW_NORM_NONE } sow_subgm_norm;

typedef struct sow_subgm_config {
    int64_t rank;      /* columns of the factors; 0: min(n1, n2, 64) */
    double alpha;      /* size of the start, 1e-6 */
    bool random_start; /* N(0, 1/n) instead of the spectral start */
    bool unit_scale;   /* alpha counts in units of 1; else of the square root of the data's scale */
    sow_subgm_rule rule;
    sow_subgm_norm norm;
    double eta0; /* 0.3 */
    double rho;  /* 0: 1 - eta0 / (1.5 budget sqrt(r) ln(1/alpha)), r the eigenvalues of C above half of the largest */
    double budget;  /* factor of the travel, "kappa"; 0: 1, or with held-out measurements the best of a few */
    int64_t steps;  /* 0: until rho^t <= 1e-7 */
    double holdout; /* share of the measurements held out; negative: 0.1 for entries and identity, else 0 */
    bool squares;   /* minimise squared residuals instead: the baseline that outliers break */
    uint64_t seed;
    const double *truth;      /* [n1, n2] or NULL */
    const sow_factors *start; /* factors to start from, or NULL */
    bool full_path;           /* no early end where held-out measurements say that it gets worse */
} sow_subgm_config;
/* What the command takes where nothing is said. */
sow_subgm_config sow_subgm_defaults(void);

typedef struct sow_subgm_result {
    sow_factors x;
    int64_t start_rank, steps, best_step; /* eigenvalues of C above half of the largest; the step that was kept */
    double rho, budget, travel;           /* of the run that was kept; travel = sum of eta0 rho^t */
    double scale;                         /* estimate of ||X*||_F */
    double holdout;                       /* median |residual| of the held-out measurements at the best step */
    int64_t rank;                         /* singular values of X above 1e-2 of the largest */
    double *singular;                     /* [k], of X */
    double *residual;                     /* [m]: <A_i, X> - y_i */
    double spread;                        /* 1.4826 median |residual| */
    int64_t outliers;                     /* |residual| > 5 spread */
    sow_factors_row *rows;                /* of the run that was kept */
    int64_t row_count;
    double least_error; /* least error over the rows, NaN without truth */
    struct sow_subgm_tried {
        double budget, holdout;
        int64_t best_step, rank;
    } tried[4];
    int tried_count;
} sow_subgm_result;

/* Recovers X from measurements y [m] of which many may be grossly wrong: minimises mean |<A_i, F G^T> - y_i| from a tiny start
 * by D = Q [G; F], Q = (1/m) sum sign(residual) A_i, with steps that shrink geometrically. op->symmetric: X = U U^T, positive
 * semidefinite; else the pair is lifted to [F; G]. With held-out measurements the point of the path, and the budget of {1, 3, 10}
 * (entries, identity; else {1, 1.5, 2, 3}), with the smallest median |residual| of those is kept.
 * Errors: SOW_E_SHAPE, SOW_E_RANGE, SOW_E_NUMBER (y is not finite, or the iteration diverges), SOW_E_MEMORY, SOW_E_INTERRUPTED.
 * Cost: a pass of the operator a step, a decomposition of [n1, n2] at the start. All in the arena. */
sow_status sow_subgm(const sow_operator *op, const double *y, const sow_subgm_config *config, sow_arena *arena,
                     sow_subgm_result *out);

/* Sign-RIP (Ma and Fattahi 2021, arXiv 2102.02969): how far sign-subgradients D of X of that rank are from phi X / ||X||_F, seen by
 * unit Y of the same rank: delta(X) = max_Y <D - phi X, Y> / phi, exact over Y (by singular values), over `pairs` random X of norm 1;
 * phi = <D, X>. noise: [m] added to the measurements, or NULL. A lower bound of the constant over all X. */
typedef struct sow_sign_rip {
    double delta, mean_delta, phi; /* largest, mean over X, mean phi */
} sow_sign_rip;
/* Measures it over `pairs` random X. Cost: a pass over the operator and an SVD for each. */
sow_status sow_subgm_sign_rip(const sow_operator *op, const double *noise, int64_t rank, int pairs, uint64_t seed,
                              sow_arena *arena, sow_sign_rip *out);

/* ---- matrix-gd: Xiong, Ding and Du 2024, arXiv 2310.01769 ---- */

typedef enum sow_switch_rule { SOW_SWITCH_RESIDUAL, SOW_SWITCH_STEP, SOW_SWITCH_AUTO } sow_switch_rule;

typedef struct sow_matrix_gd_config {
    int64_t rank;        /* columns of the factors */
    double alpha, ratio; /* F_0 = alpha N, G_0 = alpha/ratio N; 0.2, 3 */
    bool entry_scale;    /* N with variance 1; else 1/n (of each factor's own rows) */
    double lr;           /* 0.1 */
    bool absolute;       /* lr and alpha as they are; else in units of the largest singular value of A*(y) */
    int64_t steps;       /* 2000 */
    bool rebalance;
    double beta; /* 0: square root of the largest singular value of F G^T at the switch */
    sow_switch_rule when;
    double switch_residual; /* ||A(X) - y||^2 / ||y||^2, 1e-3 */
    int64_t switch_step;
    uint64_t seed;
    const double *truth; /* [n1, n2] or NULL */
    const sow_factors *start;
} sow_matrix_gd_config;
/* What the command takes where nothing is said. */
sow_matrix_gd_config sow_matrix_gd_defaults(void);

/* How a positive sequence falls: e_t ~ exp(-rate t), or ~ t^slope. */
typedef enum sow_decay { SOW_DECAY_UNKNOWN, SOW_DECAY_LINEAR, SOW_DECAY_POWER, SOW_DECAY_FLOOR } sow_decay;
typedef struct sow_decay_fit {
    sow_decay kind;
    double rate, slope;         /* -d ln e / dt; d ln e / d ln t */
    double r2_linear, r2_power; /* of ln e against t and against ln t */
    int64_t first, last;        /* the steps that were fitted */
} sow_decay_fit;
/* Fits e[0..n) over the steps behind `from` where e lies between 1e-2 e[0] and `floor`; of those, the last two thirds. Linear or
 * power by the better R^2; floor: it fell less than tenfold over them and has stopped. Unknown: fewer than 20 steps. */
sow_decay_fit sow_decay_of(const double *e, int64_t n, int64_t from, double floor);

typedef struct sow_matrix_gd_result {
    sow_factors x;
    int64_t steps, switched; /* steps taken; step of the rebalancing, -1: none */
    double beta, lr, unit;   /* as used; unit: largest singular value of A*(y) */
    double start_norm;       /* ||F_0||_2 */
    double *loss, *error;    /* [steps + 1]: loss; ||X - X*||_F^2 or NULL */
    sow_decay_fit decay;     /* of error if known, else of the loss; behind the switch */
    double *singular, *residual;
    int64_t rank;
    sow_factors_row *rows;
    int64_t row_count;
} sow_matrix_gd_result;

/* Gradient descent on ||A(F G^T) - y||^2 / 2 with A_i scaled by 1/sqrt(m) (dense, rank one; entries by sqrt(n1 n2 / m)), both
 * factors from one residual; op->symmetric: ||A(X X^T) - y||^2 / 4. `rebalance` turns F into beta times orthonormal columns once,
 * F G^T unchanged (their equation 5.1), so that the rate no longer depends on alpha.
 * Errors: as sow_subgm; SOW_E_NUMBER where lr is too large. Cost: a pass of the operator a step. */
sow_status sow_matrix_gd(const sow_operator *op, const double *y, const sow_matrix_gd_config *config, sow_arena *arena,
                         sow_matrix_gd_result *out);

/* Equation 5.1 on its own: with F = U S V^T, F <- beta U, G <- G V S / beta. SOW_E_RANGE: the smallest singular value of F is below
 * 1e-12 of the largest. */
sow_status sow_rebalance(sow_factors *x, double beta, sow_arena *arena);

/* ---- tables with missing cells ---- */

typedef struct sow_complete_config {
    int64_t rank;               /* -1: chosen by held-out cells, 0: offsets alone */
    int64_t rank_most;          /* of those that are tried, 0: min(rows, columns) - 1, at most 32 */
    bool non_negative, no_rows; /* factors >= 0, without offsets; no offset a row */
    bool no_columns;            /* no offset a column */
    double alpha, ratio, lr;
    int64_t steps;
    double holdout; /* share of cells for the test, 0.1 */
    int folds;      /* of the rest, to choose rank and steps; 0: 5, or 1 beyond 20,000 cells */
    bool rebalance;
    uint64_t seed;
} sow_complete_config;
/* What the command takes where nothing is said. */
sow_complete_config sow_complete_defaults(void);

typedef struct sow_complete_result {
    double *filled; /* [rows, columns], every cell's prediction */
    int64_t observed, rank, steps;
    double test_error, test_offsets,
        test_means;       /* root mean squares over test cells, in standard deviations of their columns: the model,
                                                    offsets alone, column means */
    double *column_error; /* [columns], the model's, in the column's own unit; NaN: no test cell */
    struct sow_complete_tried {
        int64_t rank, steps;
        double error;
    } tried[16];
    int tried_count;
} sow_complete_result;

/* Fills values[r][c] = NaN: offsets of rows and columns plus a low-rank part by matrix-gd's unbalanced descent, of standardised
 * columns. Rank and number of steps by folds over held-out cells; error on a test share that chose nothing; then all cells.
 * Errors: SOW_E_SHAPE, SOW_E_NUMBER (an infinite value; a column without observed cell), SOW_E_RANGE (negative value with
 * non_negative; too few cells). Cost: folds x ranks x steps passes over the observed cells. */
sow_status sow_complete(const double *values, int64_t rows, int64_t columns, const sow_complete_config *config,
                        sow_arena *arena, sow_complete_result *out);

extern const sow_method sow_method_subgm, sow_method_matrix_gd;

#ifdef __cplusplus
}
#endif
#endif
