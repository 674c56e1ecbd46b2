/* Assignment by allele frequencies: Rannala and Mountain 1997 (Proc. Natl Acad. Sci. 94:9197), exclusion by simulation
 * (Cornuet et al. 1999; Paetkau et al. 2004), and supervised admixture by expectation maximisation. */
#include <math.h>
#include <string.h>

#include "sow/log.h"
#include "sow/threads.h"
#include "starts/groups/mycorrhiza/individuals.h"

enum { EM_STEPS = 200 };

/* Copies of alleles seen in each population: counts[start[locus] + k * alleles + allele - 1]. */
typedef struct frequencies {
    const sow_genotypes *g;
    int32_t classes;
    int64_t *start; /* [loci] */
    double *counts;
    double *sums; /* [loci][classes] */
} frequencies;

static int64_t alleles_at(const sow_genotypes *g, int64_t locus) {
    return g->allele_count[locus] > 0 ? g->allele_count[locus] : 1;
}

static sow_status count_copies(const sow_genotypes *g, const int32_t *labels, int32_t classes, const int64_t *learn,
                               int64_t learn_count, sow_arena *arena, frequencies *f) {
    int64_t size = 0;
    *f = (frequencies){.g = g, .classes = classes};
    SOW_TRY(SOW_NEW(arena, f->start, g->loci));
    for (int64_t l = 0; l < g->loci; l++) f->start[l] = size, size += alleles_at(g, l) * classes;
    SOW_TRY(SOW_NEW(arena, f->counts, size));
    SOW_TRY(SOW_NEW(arena, f->sums, g->loci * classes));
    for (int64_t i = 0; i < learn_count; i++)
        for (int c = 0; c < g->ploidy; c++) {
            const uint16_t *row = sow_genotype_row(g, learn[i], c);
            int32_t k = labels[learn[i]];
            for (int64_t l = 0; l < g->loci; l++)
                if (row[l]) {
                    f->counts[f->start[l] + k * alleles_at(g, l) + row[l] - 1]++;
                    f->sums[l * classes + k]++;
                }
        }
    return SOW_OK;
}

/* Log chance of the individual's copies at one locus: drawn one after another from a Dirichlet posterior with prior
 * 1 / (number of alleles), times 2 for a heterozygote. own: the individual's copies are in the counts, and come out. */
static double locus_likelihood(const frequencies *f, int64_t individual, int64_t locus, int32_t k, bool own) {
    const sow_genotypes *g = f->g;
    int64_t alleles = alleles_at(g, locus);
    const double *counts = f->counts + f->start[locus] + k * alleles;
    double chance = 1, prior = 1 / (double)alleles, sum = f->sums[locus * f->classes + k] + 1;
    uint16_t copies[SOW_PLOIDY_MAX];
    int seen = 0;
    for (int c = 0; c < g->ploidy; c++) {
        uint16_t allele = sow_genotype_row(g, individual, c)[locus];
        if (allele) copies[seen++] = allele;
    }
    if (own) sum -= seen;
    for (int c = 0; c < seen; c++) {
        double count = counts[copies[c] - 1] + prior;
        for (int o = 0; o < seen; o++)
            count += (own ? -1 : 0) * (copies[o] == copies[c]) + (o < c && copies[o] == copies[c]);
        chance *= count / (sum + c);
    }
    if (seen == 2 && copies[0] != copies[1]) chance *= 2;
    return sow_log(chance);
}

static void normalise(double *logs, int32_t classes) {
    double most = -INFINITY, sum = 0;
    for (int32_t k = 0; k < classes; k++) most = fmax(most, logs[k]);
    for (int32_t k = 0; k < classes; k++) sum += logs[k] = exp(logs[k] - most);
    for (int32_t k = 0; k < classes; k++) logs[k] /= sum;
}

typedef struct work {
    const frequencies *f;
    const int64_t *predict;
    double *out;
} work;

static void likelihood_cell(void *context, int64_t i) {
    const work *w = context;
    double *row = w->out + i * w->f->classes;
    for (int32_t k = 0; k < w->f->classes; k++) {
        row[k] = 0;
        for (int64_t l = 0; l < w->f->g->loci; l++) row[k] += locus_likelihood(w->f, w->predict[i], l, k, false);
    }
    normalise(row, w->f->classes);
}

/* q_k <- mean over copies of q_k f_k / sum_j q_j f_j. */
static void admixture_cell(void *context, int64_t i) {
    const work *w = context;
    const frequencies *f = w->f;
    const sow_genotypes *g = f->g;
    double *q = w->out + i * f->classes, next[1024], share[1024];
    for (int32_t k = 0; k < f->classes; k++) q[k] = 1.0 / f->classes;
    for (int step = 0; step < EM_STEPS; step++) {
        int64_t seen = 0;
        memset(next, 0, (size_t)f->classes * sizeof *next);
        for (int c = 0; c < g->ploidy; c++) {
            const uint16_t *row = sow_genotype_row(g, w->predict[i], c);
            for (int64_t l = 0; l < g->loci; l++) {
                if (!row[l]) continue;
                int64_t alleles = alleles_at(g, l);
                double all = 0;
                for (int32_t k = 0; k < f->classes; k++) {
                    double count = f->counts[f->start[l] + k * alleles + row[l] - 1] + 1 / (double)alleles;
                    all += share[k] = q[k] * count / (f->sums[l * f->classes + k] + 1);
                }
                for (int32_t k = 0; k < f->classes; k++) next[k] += share[k] / all;
                seen++;
            }
        }
        for (int32_t k = 0; seen > 0 && k < f->classes; k++) q[k] = next[k] / (double)seen;
    }
}

sow_status frequency_assign(const sow_genotypes *g, bool admixture, const int32_t *labels, int32_t classes,
                            const int64_t *learn, int64_t learn_count, const int64_t *predict, int64_t count,
                            sow_arena *arena, double *probabilities) {
    frequencies f;
    if (admixture && classes > 1024)
        return sow_fail(SOW_E_RANGE, "admixture: %d populations, expected at most 1024", classes);
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(count_copies(g, labels, classes, learn, learn_count, arena, &f));
    work w = {&f, predict, probabilities};
    sow_cells(count, admixture ? admixture_cell : likelihood_cell, &w);
    sow_arena_release(arena, mark);
    return sow_check_interrupt();
}

/* ---- exclusion ---- */

typedef struct exclusion {
    const frequencies *f;
    const int32_t *labels;
    int32_t k;
    int draws;
    uint64_t seed;
    float *simulated; /* [loci][draws] log likelihoods of genotypes drawn from population k */
    double *p;
} exclusion;

/* Log chance of each pair of alleles, once: then draws are looked up. */
static void simulate_cell(void *context, int64_t locus) {
    const exclusion *e = context;
    const frequencies *f = e->f;
    const sow_genotypes *g = f->g;
    int64_t alleles = alleles_at(g, locus);
    const double *counts = f->counts + f->start[locus] + e->k * alleles;
    double prior = 1 / (double)alleles, sum = f->sums[locus * f->classes + e->k] + 1, u[SOW_PLOIDY_MAX];
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, e->seed);
    sow_rng_at_index(&rng, "exclusion", (uint64_t)(locus * f->classes + e->k));
    for (int d = 0; d < e->draws; d++) {
        int64_t copies[SOW_PLOIDY_MAX];
        double chance = 1;
        sow_rng_uniform_f64(&rng, u, g->ploidy, 0, 1);
        for (int c = 0; c < g->ploidy; c++) {
            double left = u[c] * sum, again = 0;
            int64_t a = 0;
            while (a + 1 < alleles && left >= counts[a] + prior) left -= counts[a++] + prior;
            copies[c] = a;
            for (int o = 0; o < c; o++) again += copies[o] == a;
            chance *= (counts[a] + prior + again) / (sum + c);
        }
        if (g->ploidy == 2 && copies[0] != copies[1]) chance *= 2;
        e->simulated[locus * e->draws + d] = (float)sow_log(chance);
    }
}

static void exclude_cell(void *context, int64_t i) {
    const exclusion *e = context;
    const sow_genotypes *g = e->f->g;
    double own = 0, sums[256];
    int below = 0;
    for (int64_t l = 0; l < g->loci; l++) own += locus_likelihood(e->f, i, l, e->k, e->labels[i] == e->k);
    for (int first = 0; first < e->draws; first += 256) {
        int count = e->draws - first < 256 ? e->draws - first : 256;
        memset(sums, 0, sizeof sums);
        for (int64_t l = 0; l < g->loci; l++) {
            bool typed = true;
            for (int c = 0; c < g->ploidy && typed; c++) typed = sow_genotype_row(g, i, c)[l] != 0;
            if (!typed) continue; /* half-typed loci are rare: they count for the individual and not for the draws */
            const float *row = e->simulated + l * e->draws + first;
            for (int d = 0; d < count; d++) sums[d] += row[d];
        }
        for (int d = 0; d < count; d++) below += sums[d] <= own;
    }
    e->p[i * e->f->classes + e->k] = (double)below / e->draws;
}

sow_status sow_exclusion(const sow_genotypes *g, const int32_t *labels, int32_t classes, int draws, uint64_t seed,
                         sow_arena *arena, double *p) {
    frequencies f;
    int64_t *learn, known = 0, size;
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW_RAW(arena, learn, g->individuals));
    for (int64_t i = 0; i < g->individuals; i++)
        if (labels[i] >= 0) learn[known++] = i;
    SOW_TRY(count_copies(g, labels, classes, learn, known, arena, &f));
    exclusion e = {.f = &f, .labels = labels, .draws = draws, .seed = seed, .p = p};
    SOW_TRY(sow_multiply(g->loci, draws, &size));
    SOW_TRY(SOW_NEW_RAW(arena, e.simulated, size));
    for (e.k = 0; e.k < classes; e.k++) {
        sow_cells(g->loci, simulate_cell, &e);
        sow_cells(g->individuals, exclude_cell, &e);
        SOW_TRY(sow_check_interrupt());
        sow_progress("exclusion", e.k + 1, classes);
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}
