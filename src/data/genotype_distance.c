/* Distances of genotypes: Jukes and Cantor 1969, Hamming, identity by state. */
#include <math.h>
#include <string.h>

#include "base/clones.h"
#include "sow/genotype.h"
#include "sow/log.h"
#include "sow/threads.h"

enum { RUN = 4096 };                          /* loci a piece: counts of a piece fit 16 bits */
static const double saturated_distance = 100; /* as SplitsTree4 */

typedef struct work {
    const uint16_t *alleles; /* [individuals][copies][count] of the chosen loci */
    int64_t individuals, count;
    int copies;
    sow_genotype_distance kind;
    double *distances, *largest;
    int64_t *saturated, *empty; /* [individuals] */
} work;

/* Alleles that both have, and those that differ among them. */
SOW_CLONES static void compare(const uint16_t *restrict a, const uint16_t *restrict b, int64_t count, int64_t *compared,
                               int64_t *differ) {
    for (int64_t first = 0; first < count; first += RUN) {
        int64_t end = first + RUN < count ? first + RUN : count;
        uint16_t both = 0, unlike = 0;
        for (int64_t l = first; l < end; l++) {
            uint16_t here = (uint16_t)((a[l] != 0) & (b[l] != 0));
            both = (uint16_t)(both + here);
            unlike = (uint16_t)(unlike + (here & (a[l] != b[l])));
        }
        *compared += both;
        *differ += unlike;
    }
}

/* Alleles shared at a locus, as multisets; -1: a copy is missing. */
static int shared(const uint16_t *a, const uint16_t *b, int copies, int64_t count) {
    bool used[SOW_PLOIDY_MAX] = {0};
    int found = 0;
    for (int i = 0; i < copies; i++) {
        if (a[i * count] == 0 || b[i * count] == 0) return -1;
        for (int j = 0; j < copies; j++)
            if (!used[j] && a[i * count] == b[j * count]) {
                used[j] = true, found++;
                break;
            }
    }
    return found;
}

SOW_CLONES static void compare_pairs(const uint16_t *restrict a0, const uint16_t *restrict a1,
                                     const uint16_t *restrict b0, const uint16_t *restrict b1, int64_t count,
                                     int64_t *compared, int64_t *differ) {
    for (int64_t first = 0; first < count; first += RUN) {
        int64_t end = first + RUN < count ? first + RUN : count;
        uint16_t both = 0, alike = 0;
        for (int64_t l = first; l < end; l++) {
            uint16_t here = (uint16_t)((a0[l] != 0) & (a1[l] != 0) & (b0[l] != 0) & (b1[l] != 0));
            uint16_t straight = (uint16_t)((a0[l] == b0[l]) + (a1[l] == b1[l]));
            uint16_t crossed = (uint16_t)((a0[l] == b1[l]) + (a1[l] == b0[l]));
            both = (uint16_t)(both + here);
            alike = (uint16_t)(alike + here * (straight > crossed ? straight : crossed));
        }
        *compared += 2 * (int64_t)both;
        *differ += 2 * (int64_t)both - alike;
    }
}

static void compare_sets(const work *w, const uint16_t *a, const uint16_t *b, int64_t *compared, int64_t *differ) {
    if (w->copies == 2) {
        compare_pairs(a, a + w->count, b, b + w->count, w->count, compared, differ);
        return;
    }
    for (int64_t l = 0; l < w->count; l++) {
        int alike = shared(a + l, b + l, w->copies, w->count);
        if (alike < 0) continue;
        *compared += w->copies;
        *differ += w->copies - alike;
    }
}

static double distance(const work *w, int64_t i, int64_t compared, int64_t differ) {
    double p = compared ? (double)differ / (double)compared : 0;
    if (compared == 0) w->empty[i]++;
    if (w->kind != SOW_DISTANCE_JUKES_CANTOR) return p;
    double left = 1 - 4 * p / 3;
    if (compared == 0) return saturated_distance;
    if (left <= 0) {
        w->saturated[i]++;
        return saturated_distance;
    }
    double d = p > 0 ? -.75 * log(left) : 0;
    if (d > w->largest[i]) w->largest[i] = d;
    return d;
}

static void row_cell(void *context, int64_t i) {
    const work *w = context;
    int64_t width = w->copies * w->count;
    if (sow_interrupted()) return;
    for (int64_t j = 0; j < i; j++) {
        int64_t compared = 0, differ = 0;
        const uint16_t *a = w->alleles + i * width, *b = w->alleles + j * width;
        if (w->kind == SOW_DISTANCE_IBS) compare_sets(w, a, b, &compared, &differ);
        else compare(a, b, width, &compared, &differ);
        w->distances[i * w->individuals + j] = distance(w, i, compared, differ);
    }
}

/* The chosen loci side by side. */
static sow_status gather(const sow_genotypes *g, const int64_t *loci, int64_t count, int copies, uint16_t **out) {
    int64_t cells;
    SOW_TRY(sow_multiply(g->individuals * copies, count, &cells));
    uint16_t *alleles = sow_reallocate(NULL, (size_t)(cells > 0 ? cells : 1) * sizeof *alleles);
    if (!alleles) return SOW_E_MEMORY;
    for (int64_t i = 0; i < g->individuals; i++)
        for (int c = 0; c < copies; c++) {
            const uint16_t *from = sow_genotype_row(g, i, c);
            uint16_t *to = alleles + (i * copies + c) * count;
            for (int64_t l = 0; l < count; l++) to[l] = from[loci ? loci[l] : l];
        }
    *out = alleles;
    return SOW_OK;
}

sow_status sow_genotype_distances(const sow_genotypes *g, sow_genotype_distance kind, const int64_t *loci,
                                  int64_t count, bool first_copy_only, double *distances, sow_distance_notes *notes) {
    int64_t n = g->individuals, *counts = sow_reallocate(NULL, (size_t)n * 2 * sizeof *counts);
    double *largest = sow_reallocate(NULL, (size_t)n * sizeof *largest);
    uint16_t *alleles = NULL;
    work w = {.individuals = n, .count = loci ? count : g->loci, .copies = first_copy_only ? 1 : g->ploidy};
    sow_status status = counts && largest ? gather(g, loci, w.count, w.copies, &alleles) : SOW_E_MEMORY;
    if (kind == SOW_DISTANCE_AUTO)
        kind = g->marker == SOW_MARKER_STR ? SOW_DISTANCE_HAMMING : SOW_DISTANCE_JUKES_CANTOR;
    if (status == SOW_OK) {
        w.kind = kind, w.alleles = alleles, w.distances = distances, w.largest = largest, w.saturated = counts;
        w.empty = counts + n;
        memset(counts, 0, (size_t)n * 2 * sizeof *counts);
        for (int64_t i = 0; i < n; i++) largest[i] = 0;
        sow_cells(n, row_cell, &w);
        *notes = (sow_distance_notes){0};
        for (int64_t i = 0; i < n; i++) {
            distances[i * n + i] = 0;
            for (int64_t j = 0; j < i; j++) distances[j * n + i] = distances[i * n + j];
            notes->saturated += w.saturated[i], notes->empty += w.empty[i];
            notes->largest = fmax(notes->largest, largest[i]);
        }
        status = sow_check_interrupt();
    }
    sow_release(alleles);
    sow_release(largest);
    sow_release(counts);
    return status;
}
