/* The study of ppp, after Sultan 2020 (arXiv 2003.04372): does the answer depend on the start, is the number found? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "sow/threads.h"
#include "studies/ppp/cells.h"
#include "studies/seeds.h"

enum { STARTS = 5, FEW_STARTS = 3, TALLIES = 512 };

/* ---- means by arm and metric, of one seed ---- */

typedef struct tally {
    const char *arm, *metric;
    double sum;
    int count;
} tally;

typedef struct part {
    sow_study_call *call;
    uint64_t seed;
    sow_arena *arena; /* of names; lives as long as the part */
    tally rows[TALLIES];
    int count;
    int64_t done, total;
} part;

static sow_status note(part *p, const char *arm, const char *metric, double value) {
    int i = 0;
    if (!arm || !metric) return SOW_E_MEMORY;
    while (i < p->count && (strcmp(p->rows[i].arm, arm) != 0 || strcmp(p->rows[i].metric, metric) != 0)) i++;
    if (i == p->count) {
        if (i == TALLIES) return sow_fail(SOW_E_RANGE, "ppp study: more than %d metrics", TALLIES);
        p->rows[p->count++] = (tally){.arm = arm, .metric = metric};
    }
    p->rows[i].sum += value;
    p->rows[i].count++;
    return SOW_OK;
}

static void tick(part *p) {
    sow_progress("data sets", ++p->done, p->total);
}

/* ---- planted groups ---- */

static double share_right(const ppp_runs *r, int clusters) {
    int right = 0;
    for (int i = 0; i < r->count; i++) right += r->clusters[i] == clusters;
    return (double)right / r->count;
}

static double mean_gap(const ppp_runs *r, int clusters) {
    double sum = 0;
    for (int i = 0; i < r->count; i++) sum += abs(r->clusters[i] - clusters);
    return sum / r->count;
}

static sow_status mean_truth(int32_t *const *labels, const ppp_set *set, int count, double *out) {
    double index, sum = 0;
    for (int i = 0; i < count; i++) {
        SOW_TRY(sow_adjusted_rand(labels[i], set->truth, set->rows.count, &index));
        sum += index / count;
    }
    *out = sum;
    return SOW_OK;
}

static bool finds_number(ppp_arm arm) {
    return arm != PPP_ARM_KMEANS_1 && arm != PPP_ARM_KMEANS_10 && arm != PPP_ARM_GMM;
}

/* Scores of one arm on one planted table. */
static sow_status score_planted(part *p, ppp_arm arm, const ppp_planting *planted, const ppp_set *set,
                                const ppp_runs *runs, sow_arena *scratch) {
    const char *name = ppp_arm_name(arm);
    int width = (int)planted->width, clusters = planted->clusters;
    double value;
    SOW_TRY(ppp_repeatability(runs, NULL, set->rows.count, scratch, &value));
    SOW_TRY(note(p, name,
                 planted->separation >= 3 ? "repeatability, separation 3 and more" : "repeatability, separation 2",
                 value));
    ppp_runs all = *runs; /* all rows: the labels as their own cores */
    all.core = runs->labels;
    SOW_TRY(ppp_repeatability(&all, NULL, set->rows.count, scratch, &value));
    if (planted->separation >= 3) SOW_TRY(note(p, name, "repeatability on all rows, separation 3 and more", value));
    SOW_TRY(mean_truth(runs->core, set, runs->count, &value));
    SOW_TRY(
        note(p, name, sow_arena_format(p->arena, "index to truth on core, separation %g", planted->separation), value));
    SOW_TRY(mean_truth(runs->labels, set, runs->count, &value));
    SOW_TRY(note(p, name, sow_arena_format(p->arena, "index to truth, separation %g", planted->separation), value));
    if (!finds_number(arm)) return SOW_OK;
    SOW_TRY(
        note(p, name,
             sow_arena_format(p->arena, "error of the number, separation %g, %d columns", planted->separation, width),
             mean_gap(runs, clusters)));
    if (planted->separation < 4) return SOW_OK;
    return note(p, name, sow_arena_format(p->arena, "number right, separation 4 and more, %d columns", width),
                share_right(runs, clusters));
}

static sow_status run_planted(part *p, const ppp_planting *planted, const ppp_arm *arms, int arm_count, int starts) {
    sow_arena *scratch;
    ppp_set set;
    SOW_TRY(sow_check_interrupt());
    SOW_TRY(sow_arena_new(&scratch));
    uint64_t seed = p->seed * 1000 + (uint64_t)(planted->separation * 10) +
                    (uint64_t)(planted->width * 7 + planted->clusters);
    sow_status status = ppp_plant(planted, seed, scratch, &set);
    for (int a = 0; status == SOW_OK && a < arm_count; a++) {
        ppp_runs runs;
        status = ppp_run_arm(arms[a], &set, p->seed, starts, scratch, &runs);
        if (status == SOW_OK) status = score_planted(p, arms[a], planted, &set, &runs, scratch);
    }
    sow_arena_free(scratch);
    return status;
}

static const ppp_arm main_arms[] = {PPP_ARM_PPP, PPP_ARM_BINARY, PPP_ARM_KMEANS_1, PPP_ARM_KMEANS_10, PPP_ARM_GMM};
static const ppp_arm sweeping_arms[] = {PPP_ARM_RANDOM, PPP_ARM_PCA, PPP_ARM_GMM_BIC, PPP_ARM_NORMALITY,
                                        PPP_ARM_SPHERICAL};

/* Five separations, two widths, three numbers of groups; the sweeping arms on six groups, for the first two seeds. */
static sow_status run_grid(part *p, int starts, bool sweep) {
    static const double separations[] = {2, 3, 4, 5, 8};
    static const int64_t widths[] = {2, 8};
    static const int clusters[] = {3, 6, 12};
    for (int s = 0; s < 5; s++)
        for (int w = 0; w < 2; w++)
            for (int k = 0; k < 3; k++) {
                ppp_planting planted = {3000, widths[w], clusters[k], separations[s], 0, false, false};
                SOW_TRY(run_planted(p, &planted, main_arms, 5, starts));
                if (sweep && clusters[k] == 6) SOW_TRY(run_planted(p, &planted, sweeping_arms, 5, FEW_STARTS));
                tick(p);
            }
    return SOW_OK;
}

/* One group must be found as one. */
static sow_status run_single(part *p, int64_t rows, int starts) {
    sow_arena *scratch;
    ppp_set set;
    ppp_runs runs;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = ppp_plant(&(ppp_planting){rows, 2, 1, 1, 0, false, false}, p->seed, scratch, &set);
    if (status == SOW_OK) status = ppp_run_arm(PPP_ARM_PPP, &set, p->seed, starts, scratch, &runs);
    if (status == SOW_OK) status = note(p, "ppp", "one group found as one", share_right(&runs, 1));
    sow_arena_free(scratch);
    return status;
}

/* What the method is not made for: reported, not judged. */
static sow_status run_hard(part *p) {
    static const struct {
        const char *name;
        ppp_planting planted;
    } hard[] = {{"columns of noise", {3000, 8, 6, 5, 8, false, false}},
                {"unequal sizes and spreads", {3000, 8, 6, 5, 0, true, false}},
                {"heavy tails (t, 3 degrees)", {3000, 8, 6, 5, 0, false, true}}};
    for (int h = 0; h < 3; h++) {
        sow_arena *scratch;
        ppp_set set;
        ppp_runs runs;
        SOW_TRY(sow_arena_new(&scratch));
        sow_status status = ppp_plant(&hard[h].planted, p->seed, scratch, &set);
        if (status == SOW_OK) status = ppp_run_arm(PPP_ARM_PPP, &set, p->seed, FEW_STARTS, scratch, &runs);
        if (status == SOW_OK)
            status = note(p, "ppp", sow_arena_format(p->arena, "error of the number, %s", hard[h].name),
                          mean_gap(&runs, 6));
        sow_arena_free(scratch);
        SOW_TRY(status);
    }
    return SOW_OK;
}

/* ---- real tables ---- */

/* Silhouette of the labels, mean over runs; no value where a run found one group only. */
static sow_status score_silhouette(part *p, const char *arm, const char *metric, const ppp_set *set,
                                   int32_t *const *labels, int count) {
    double sum = 0, value;
    for (int i = 0; i < count; i++) {
        sow_status status = sow_silhouette(&set->rows, labels[i], 3000, &value);
        if (status == SOW_E_RANGE) return SOW_OK;
        SOW_TRY(status);
        sum += value / count;
    }
    return note(p, arm, metric, sum);
}

/* The rows nearest to their centroids, as many as the core has: k-means' own most confident ones. */
typedef struct near_row {
    double gap;
    int64_t row;
} near_row;

static int by_gap(const void *a, const void *b) {
    const near_row *x = a, *y = b;
    if (x->gap != y->gap) return x->gap < y->gap ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static sow_status keep_nearest(const ppp_set *set, int32_t *labels, int64_t keep, sow_arena *arena) {
    int64_t n = set->rows.count, d = set->rows.width;
    double *x, *centroids;
    int64_t *sizes;
    near_row *order;
    sow_rows copy;
    SOW_TRY(SOW_NEW(arena, centroids, set->clusters * d));
    SOW_TRY(SOW_NEW(arena, sizes, set->clusters));
    SOW_TRY(SOW_NEW(arena, order, n));
    SOW_TRY(sow_rows_sample(&set->rows, n, arena, &copy, NULL));
    x = copy.data.data; /* by columns */
    for (int64_t i = 0; i < n; i++) {
        sizes[labels[i]]++;
        for (int64_t j = 0; j < d; j++) centroids[labels[i] * d + j] += x[j * n + i];
    }
    for (int64_t i = 0; i < n; i++) {
        order[i] = (near_row){0, i};
        for (int64_t j = 0; j < d; j++)
            order[i].gap += pow(x[j * n + i] - centroids[labels[i] * d + j] / (double)sizes[labels[i]], 2);
    }
    qsort(order, (size_t)n, sizeof *order, by_gap);
    for (int64_t i = keep; i < n; i++) labels[order[i].row] = -1;
    return SOW_OK;
}

static sow_status score_real(part *p, const char *name, const ppp_set *set, const ppp_runs *ppp, const ppp_runs *kmeans,
                             sow_arena *scratch) {
    const char *of = sow_arena_format(p->arena, "%s: ", name);
    int64_t n = set->rows.count, core = 0;
    double value, number = 0;
    if (!of) return SOW_E_MEMORY;
#define METRIC(text) sow_arena_format(p->arena, "%s" text, of)
    SOW_TRY(ppp_repeatability(ppp, NULL, n, scratch, &value));
    SOW_TRY(note(p, "ppp", METRIC("repeatability"), value));
    SOW_TRY(ppp_repeatability(kmeans, ppp, n, scratch, &value));
    SOW_TRY(note(p, "k-means, one start", METRIC("repeatability"), value));
    SOW_TRY(ppp_repeatability(kmeans, NULL, n, scratch, &value));
    SOW_TRY(note(p, "k-means, one start", METRIC("repeatability on all rows"), value));
    ppp_runs all = *ppp;
    all.core = ppp->labels;
    SOW_TRY(ppp_repeatability(&all, NULL, n, scratch, &value));
    SOW_TRY(note(p, "ppp", METRIC("repeatability on all rows"), value));
    for (int i = 0; i < ppp->count; i++) number += (double)ppp->clusters[i] / ppp->count;
    SOW_TRY(note(p, "ppp", METRIC("number of clusters"), number));
    for (int64_t i = 0; i < n; i++) core += ppp->core[0][i] >= 0;
    SOW_TRY(note(p, "ppp", METRIC("share of rows in cores"), (double)core / (double)n));
    SOW_TRY(mean_truth(ppp->core, set, ppp->count, &value));
    SOW_TRY(note(p, "ppp", METRIC("index to classes on core"), value));
    SOW_TRY(mean_truth(ppp->labels, set, ppp->count, &value));
    SOW_TRY(note(p, "ppp", METRIC("index to classes"), value));
    SOW_TRY(mean_truth(kmeans->labels, set, kmeans->count, &value));
    SOW_TRY(note(p, "k-means, one start", METRIC("index to classes"), value));
    SOW_TRY(score_silhouette(p, "ppp", METRIC("silhouette"), set, ppp->core, ppp->count));
    SOW_TRY(score_silhouette(p, "ppp", METRIC("silhouette on all rows"), set, ppp->labels, ppp->count));
    SOW_TRY(score_silhouette(p, "k-means, one start", METRIC("silhouette"), set, kmeans->labels, kmeans->count));
    for (int i = 0; i < kmeans->count; i++) SOW_TRY(keep_nearest(set, kmeans->labels[i], core, scratch));
    SOW_TRY(mean_truth(kmeans->labels, set, kmeans->count, &value));
    SOW_TRY(note(p, "k-means, one start", METRIC("index to classes, as many rows as the core"), value));
    return score_silhouette(p, "k-means, one start", METRIC("silhouette, as many rows as the core"), set,
                            kmeans->labels, kmeans->count);
#undef METRIC
}

static sow_status run_real(part *p, const char *name, int starts) {
    sow_arena *scratch;
    ppp_set set;
    ppp_runs ppp, kmeans;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = ppp_real_set(p->call->data, name, scratch, &set);
    if (status == SOW_OK) status = ppp_run_arm(PPP_ARM_PPP, &set, p->seed, starts, scratch, &ppp);
    if (status == SOW_OK) status = ppp_run_arm(PPP_ARM_KMEANS_1, &set, p->seed, starts, scratch, &kmeans);
    if (status == SOW_OK) status = score_real(p, name, &set, &ppp, &kmeans, scratch);
    sow_arena_free(scratch);
    tick(p);
    return status;
}

/* ---- a million rows: the same bits with one and with two threads ---- */

static sow_status run_large(part *p) {
    sow_arena *scratch;
    ppp_set set;
    ppp_runs runs[2];
    int threads = sow_threads();
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = ppp_plant(&(ppp_planting){1000000, 32, 6, 4, 0, false, false}, p->seed, scratch, &set);
    for (int i = 0; status == SOW_OK && i < 2; i++) {
        sow_set_threads(i + 1);
        status = ppp_run_arm(PPP_ARM_PPP, &set, p->seed, 1, scratch, &runs[i]);
    }
    sow_set_threads(threads);
    if (status == SOW_OK) {
        size_t size = (size_t)set.rows.count * sizeof(int32_t);
        bool same = !memcmp(runs[0].labels[0], runs[1].labels[0], size) &&
                    !memcmp(runs[0].core[0], runs[1].core[0], size);
        status = note(p, "ppp", "a million rows: same labels with one and two threads", same);
        if (status == SOW_OK) status = note(p, "ppp", "a million rows: number right", share_right(&runs[0], 6));
    }
    sow_arena_free(scratch);
    tick(p);
    return status;
}

/* ---- one seed ---- */

static const char *const real_sets[] = {"iris", "wine", "digits"};

static sow_status compute_part(part *p) {
    sow_scale_kind scale = p->call->scale;
    if (scale == SOW_SCALE_SMOKE) {
        p->total = 1;
        SOW_TRY(run_planted(p, &(ppp_planting){1500, 8, 6, 5, 0, false, false}, main_arms, 3, STARTS));
        tick(p);
        return run_single(p, 2000, STARTS);
    }
    int starts = scale == SOW_SCALE_FULL ? 10 : STARTS;
    p->total = 30 + 3 + (scale == SOW_SCALE_FULL);
    SOW_TRY(run_grid(p, starts, scale == SOW_SCALE_FULL || p->seed <= 2));
    SOW_TRY(run_single(p, 2000, starts));
    SOW_TRY(run_hard(p));
    for (int i = 0; i < 3; i++) SOW_TRY(run_real(p, real_sets[i], starts));
    return scale == SOW_SCALE_FULL ? run_large(p) : SOW_OK;
}

static sow_status run_seed(sow_study_call *call, uint64_t seed, void *unused) {
    part *p;
    (void)unused;
    SOW_TRY(SOW_NEW(call->arena, p, 1));
    *p = (part){.call = call, .seed = seed, .arena = call->arena};
    SOW_TRY(compute_part(p));
    for (int i = 0; i < p->count; i++)
        SOW_TRY(sow_study_score(call, p->rows[i].arm, p->rows[i].metric, seed, p->rows[i].sum / p->rows[i].count));
    return SOW_OK;
}

/* ---- what decides: the card's criteria ---- */

#define CORE "repeatability, separation 3 and more"
static const sow_clause smoke_clauses[] = {
    SOW_AT_LEAST("six groups are found from every start", "ppp", NULL, "number right, separation 4 and more, 8 columns",
                 SOW_MEAN_DIFFERENCE, 1),
    SOW_AT_LEAST("with the same cores from every start", "ppp", NULL, CORE, SOW_MEAN_DIFFERENCE, 0.999999),
    SOW_AT_LEAST("one group is found as one", "ppp", NULL, "one group found as one", SOW_MEAN_DIFFERENCE, 1),
};
#define REAL(set)                                                                                       \
    SOW_AT_LEAST(set ": cores are more compact than k-means on all rows, told the number", "ppp",       \
                 "k-means, one start", set ": silhouette", SOW_MEAN_DIFFERENCE, 0),                     \
        SOW_AT_LEAST(set ": repeatable", "ppp", NULL, set ": repeatability", SOW_MEAN_DIFFERENCE, 0.9), \
        SOW_AT_LEAST(set ": more so than k-means on the same rows", "ppp", "k-means, one start",        \
                     set ": repeatability", SOW_MEAN_DIFFERENCE, 0.05)
#define GENERATED                                                                                                \
    SOW_AT_LEAST("planted groups: the cores do not depend on the start", "ppp", NULL, CORE, SOW_MEAN_DIFFERENCE, \
                 0.99),                                                                                          \
        SOW_AT_LEAST("planted groups: k-means from one start does", "ppp", "k-means, one start", CORE,           \
                     SOW_MEAN_DIFFERENCE, 0.1),                                                                  \
        SOW_AT_LEAST("planted groups, 8 columns: the number is right in nine runs of ten", "ppp", NULL,          \
                     "number right, separation 4 and more, 8 columns", SOW_MEAN_DIFFERENCE, 0.9)
static const sow_clause small_clauses[] = {GENERATED, REAL("iris"), REAL("wine"), REAL("digits")};
static const sow_clause full_clauses[] = {
    GENERATED, REAL("iris"), REAL("wine"), REAL("digits"),
    SOW_AT_LEAST("a million rows: the same labels with one and two threads", "ppp", NULL,
                 "a million rows: same labels with one and two threads", SOW_MEAN_DIFFERENCE, 1)};

static sow_status check_tables(sow_study_call *call) {
    sow_arena *scratch;
    ppp_set set;
    if (call->scale == SOW_SCALE_SMOKE) return SOW_OK;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = SOW_OK;
    for (int i = 0; status == SOW_OK && i < 3; i++) status = ppp_real_set(call->data, real_sets[i], scratch, &set);
    sow_arena_free(scratch);
    return status;
}

static sow_status run(sow_study_call *call) {
    static const char *const plans[] = {"ppp 1, smoke", "ppp 1, small", "ppp 1, full"};
    call->claim =
        "A partition by k-means that Gaussian mixtures check finds the number of clusters and the most separable rows, "
        "whatever the start.";
    if (call->scale == SOW_SCALE_SMOKE) SOW_DECIDES(call, smoke_clauses);
    else if (call->scale == SOW_SCALE_SMALL) SOW_DECIDES(call, small_clauses);
    else SOW_DECIDES(call, full_clauses);
    SOW_TRY(check_tables(call));
    for (int i = 0; i < call->seed_count; i++)
        SOW_TRY(study_seed(call, call->seeds[i], plans[call->scale], run_seed, NULL));
    return SOW_OK;
}

const sow_study sow_study_ppp = {
    .name = "ppp",
    .method = "ppp",
    .paper = "after Sultan 2020, arXiv 2003.04372 (procedure reconstructed)",
    .summary = "does the partition depend on the start, is the number of clusters found; against k-means and mixtures",
    .seeds = {"1:5", "1:4", "1:10"},
    .time = {"3 seconds", "5 minutes", "2 hours"},
    .data_help =
        "a folder with scikit-learn's iris.csv, wine_data.csv, digits.csv.gz; default: that of Debian's python3-sklearn",
    .run = run,
};
