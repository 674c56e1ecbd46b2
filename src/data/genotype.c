/* Genotypes: individuals picked, populations summarised, populations generated. */
#include "sow/genotype.h"

#include <math.h>
#include <string.h>

sow_status sow_genotypes_pick(const sow_genotypes *g, const int64_t *index, int64_t count, sow_arena *arena,
                              sow_genotypes *out) {
    size_t row = (size_t)(g->ploidy * g->loci) * sizeof *g->alleles;
    *out = *g;
    out->individuals = count;
    SOW_TRY(SOW_NEW(arena, out->ids, count));
    SOW_TRY(SOW_NEW(arena, out->population, count));
    SOW_TRY(SOW_NEW_RAW(arena, out->alleles, count * g->ploidy * g->loci));
    if (g->flag) SOW_TRY(SOW_NEW(arena, out->flag, count));
    for (int64_t i = 0; i < count; i++) {
        out->ids[i] = g->ids[index[i]];
        out->population[i] = g->population[index[i]];
        if (g->flag) out->flag[i] = g->flag[index[i]];
        memcpy(out->alleles + i * g->ploidy * g->loci, sow_genotype_row(g, index[i], 0), row);
    }
    return SOW_OK;
}

/* ---- summaries ---- */

/* Copies of each allele [populations][alleles] at one locus, and their sums. */
static void count_alleles(const sow_genotypes *g, int64_t locus, int64_t alleles, double *counts, double *sums) {
    memset(counts, 0, (size_t)(g->population_count * alleles) * sizeof *counts);
    memset(sums, 0, (size_t)g->population_count * sizeof *sums);
    for (int64_t i = 0; i < g->individuals; i++) {
        int32_t k = g->population[i];
        for (int c = 0; k >= 0 && c < g->ploidy; c++) {
            uint16_t allele = sow_genotype_row(g, i, c)[locus];
            if (allele) counts[k * alleles + allele - 1]++, sums[k]++;
        }
    }
}

typedef struct diversity {
    double *within, *between; /* [k, k] sums over loci, of Hudson's F_ST */
    double *expected, *observed;
    int64_t *loci, *typed, *heterozygous; /* [k]; typed: individuals without a missing copy, over loci */
} diversity;

/* Share of pairs of different alleles: within a population (unbiased) and between two. */
static void add_locus(const sow_genotypes *g, int64_t alleles, const double *counts, const double *sums, diversity *d) {
    int32_t k = g->population_count;
    for (int32_t a = 0; a < k; a++) {
        if (sums[a] < 2) continue;
        double same_a = 0;
        for (int64_t x = 0; x < alleles; x++) same_a += counts[a * alleles + x] * (counts[a * alleles + x] - 1);
        double own = 1 - same_a / (sums[a] * (sums[a] - 1));
        d->expected[a] += own, d->loci[a]++;
        for (int32_t b = 0; b < k; b++) {
            if (a == b || sums[b] < 2) continue;
            double same = 0;
            for (int64_t x = 0; x < alleles; x++) same += counts[a * alleles + x] * counts[b * alleles + x];
            d->within[a * k + b] += own / 2, d->within[b * k + a] += own / 2;
            d->between[a * k + b] += 1 - same / (sums[a] * sums[b]);
        }
    }
}

static void count_heterozygotes(const sow_genotypes *g, diversity *d) {
    for (int64_t i = 0; i < g->individuals; i++) {
        int32_t k = g->population[i];
        for (int64_t l = 0; k >= 0 && l < g->loci; l++) {
            uint16_t first = sow_genotype_row(g, i, 0)[l];
            bool typed = first != 0, differs = false;
            for (int c = 1; c < g->ploidy; c++) {
                uint16_t other = sow_genotype_row(g, i, c)[l];
                typed = typed && other != 0, differs = differs || other != first;
            }
            d->typed[k] += typed, d->heterozygous[k] += typed && differs;
        }
    }
}

sow_status sow_genotype_summary(const sow_genotypes *g, sow_arena *arena, sow_population_summary *populations,
                                double *pairs) {
    int32_t k = g->population_count, most = 1;
    double *counts, *sums;
    diversity d;
    sow_mark mark = sow_arena_mark(arena);
    for (int64_t l = 0; l < g->loci; l++) most = g->allele_count[l] > most ? g->allele_count[l] : most;
    SOW_TRY(SOW_NEW(arena, counts, (int64_t)k * most));
    SOW_TRY(SOW_NEW(arena, sums, k));
    SOW_TRY(SOW_NEW(arena, d.within, (int64_t)k * k));
    SOW_TRY(SOW_NEW(arena, d.between, (int64_t)k * k));
    SOW_TRY(SOW_NEW(arena, d.expected, k));
    SOW_TRY(SOW_NEW(arena, d.loci, 3 * k));
    d.typed = d.loci + k, d.heterozygous = d.typed + k;
    memset(populations, 0, (size_t)k * sizeof *populations);
    for (int64_t i = 0; i < g->individuals; i++) {
        const uint16_t *row = sow_genotype_row(g, i, 0);
        if (g->population[i] < 0) continue;
        sow_population_summary *p = &populations[g->population[i]];
        p->samples++;
        for (int64_t c = 0; c < g->loci * g->ploidy; c++) p->missing += row[c] == 0;
    }
    for (int64_t l = 0; l < g->loci; l++) {
        int64_t alleles = g->allele_count[l] > 0 ? g->allele_count[l] : 1;
        count_alleles(g, l, alleles, counts, sums);
        add_locus(g, alleles, counts, sums, &d);
    }
    count_heterozygotes(g, &d);
    for (int32_t a = 0; a < k; a++) {
        sow_population_summary *p = &populations[a];
        double sum = 0;
        p->missing /= (double)(p->samples * g->loci * g->ploidy);
        p->heterozygosity = d.loci[a] ? d.expected[a] / (double)d.loci[a] : NAN;
        p->observed = g->ploidy > 1 && d.typed[a] ? (double)d.heterozygous[a] / (double)d.typed[a] : NAN;
        for (int32_t b = 0; b < k; b++) {
            double between = d.between[a * k + b];
            double fst = a == b ? 0 : between > 0 ? 1 - d.within[a * k + b] / between : NAN;
            if (pairs) pairs[a * k + b] = fst;
            if (a != b) sum += fst;
        }
        p->fst = k > 1 ? sum / (k - 1) : NAN;
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

/* ---- generated populations ---- */

/* Gamma(shape, 1): Marsaglia and Tsang 2000; below 1 by Gamma(shape + 1) u^(1 / shape). */
static double draw_gamma(sow_rng *rng, double shape) {
    double boost = 1, u[2], z;
    if (shape < 1) {
        sow_rng_uniform_f64(rng, u, 1, 0, 1);
        boost = exp(sow_log(1 - u[0]) / shape);
        shape += 1;
    }
    double d = shape - 1. / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        sow_rng_normal_f64(rng, &z, 1, 0, 1);
        sow_rng_uniform_f64(rng, u, 1, 0, 1);
        double v = 1 + c * z;
        if (v <= 0) continue;
        v = v * v * v;
        if (sow_log(1 - u[0]) < .5 * z * z + d - d * v + d * sow_log(v)) return boost * d * v;
    }
}

static double draw_beta(sow_rng *rng, double a, double b) {
    double x = draw_gamma(rng, a), y = draw_gamma(rng, b);
    return x + y > 0 ? x / (x + y) : a / (a + b);
}

/* One individual: each block's first locus may be copied, both alleles at once, by those behind it. */
static void draw_individual(const sow_genotype_model *m, sow_rng *rng, const double *frequency, uint16_t *first,
                            uint16_t *second) {
    for (int64_t l = 0; l < m->loci; l++) {
        double u[4];
        int64_t lead = m->block > 1 ? l / m->block * m->block : l;
        sow_rng_uniform_f64(rng, u, 4, 0, 1);
        if (lead != l && u[0] < m->linkage) {
            first[l] = first[lead], second[l] = second[lead];
            continue;
        }
        first[l] = u[1] < frequency[l] ? 2 : 1;
        second[l] = u[2] < m->inbreeding ? first[l] : u[3] < frequency[l] ? 2 : 1;
    }
}

sow_status sow_genotypes_generate(const sow_genotype_model *m, sow_arena *arena, sow_genotypes *out) {
    sow_rng rng;
    double *ancestral, *frequency;
    int64_t n = (int64_t)m->populations * m->each;
    if (m->populations < 1 || m->each < 1 || m->loci < 1 || !(m->fst > 0 && m->fst < 1))
        return sow_fail(SOW_E_RANGE, "genotypes: %d populations of %d with %lld loci and F %g", m->populations, m->each,
                        (long long)m->loci, m->fst);
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, m->seed));
    *out = (sow_genotypes){.format = "generated",
                           .individuals = n,
                           .loci = m->loci,
                           .ploidy = 2,
                           .marker = SOW_MARKER_SNP,
                           .population_count = m->populations};
    SOW_TRY(SOW_NEW(arena, out->ids, n));
    SOW_TRY(SOW_NEW(arena, out->population, n));
    SOW_TRY(SOW_NEW(arena, out->populations, m->populations));
    SOW_TRY(SOW_NEW(arena, out->alleles, n * 2 * m->loci));
    SOW_TRY(SOW_NEW(arena, out->allele_count, m->loci));
    SOW_TRY(SOW_NEW(arena, ancestral, m->loci));
    SOW_TRY(SOW_NEW(arena, frequency, m->loci));
    sow_rng_at(&rng, "genotypes", "ancestral");
    sow_rng_uniform_f64(&rng, ancestral, m->loci, .05, .95);
    for (int64_t l = 0; l < m->loci; l++) out->allele_count[l] = 2;
    for (int k = 0; k < m->populations; k++) {
        double spread = (1 - m->fst) / m->fst;
        if (!(out->populations[k] = sow_arena_format(arena, "pop%02d", k + 1))) return SOW_E_MEMORY;
        sow_rng_at_index(&rng, "genotypes of population", (uint64_t)k);
        for (int64_t l = 0; l < m->loci; l++)
            frequency[l] = draw_beta(&rng, ancestral[l] * spread, (1 - ancestral[l]) * spread);
        for (int64_t i = (int64_t)k * m->each; i < (int64_t)(k + 1) * m->each; i++) {
            uint16_t *row = out->alleles + i * 2 * m->loci;
            if (!(out->ids[i] = sow_arena_format(arena, "i%05lld", (long long)i + 1))) return SOW_E_MEMORY;
            out->population[i] = k;
            draw_individual(m, &rng, frequency, row, row + m->loci);
        }
    }
    return SOW_OK;
}
