/* Genotypes and distances from anywhere, in every text format and PLINK's bits: refused, or all alleles in range. The
 * first byte chooses the format. */
#include "fuzz_file.h"

#include <math.h>
#include <string.h>

#include "formats/genotype.h"

/* A copy with a zero byte behind it, as genotype_text gives it. */
static lines text_of(sow_arena *arena, const uint8_t *data, size_t size) {
    char *copy = sow_arena_take(arena, size + 1, 1);
    if (copy && size) memcpy(copy, data, size);
    return (lines){"fuzz", copy, copy ? copy + size : NULL, 0};
}

static void check_genotypes(const sow_genotypes *g) {
    for (int64_t i = 0; i < g->individuals; i++) {
        if (g->population[i] < -1 || g->population[i] >= g->population_count || !g->ids[i]) abort();
        for (int c = 0; c < g->ploidy; c++)
            for (int64_t l = 0; l < g->loci; l++)
                if (sow_genotype_row(g, i, c)[l] > g->allele_count[l]) abort();
    }
}

static void check_distances(const sow_distances *d) {
    for (int64_t i = 0; i < d->count; i++) {
        if (!d->names[i]) abort();
        for (int64_t j = 0; j < d->count; j++)
            if (!isfinite(d->values[i * d->count + j])) abort();
    }
}

/* .bed, .bim and .fam one behind another, between bytes 0xff. */
static sow_status read_plink(sow_arena *arena, const uint8_t *data, size_t size, sow_genotypes *g) {
    const sow_genotype_options options = sow_genotype_defaults();
    const uint8_t *first = memchr(data, 0xff, size);
    const uint8_t *second = first ? memchr(first + 1, 0xff, size - (size_t)(first + 1 - data)) : NULL;
    if (!second) return SOW_E_FORMAT;
    lines bim = text_of(arena, first + 1, (size_t)(second - first - 1));
    lines fam = text_of(arena, second + 1, size - (size_t)(second + 1 - data));
    return plink_parse(arena, "fuzz", data, (size_t)(first - data), bim, fam, &options, g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static sow_status (*const readers[])(sow_arena *, lines, const sow_genotype_options *, sow_genotypes *) = {
        structure_read, genepop_read, fstat_read, vcf_read, fasta_read};
    static sow_status (*const matrices[])(sow_arena *, lines, sow_distances *) = {nexus_distances, phylip_distances};
    const sow_genotype_options options = sow_genotype_defaults();
    sow_arena *arena;
    sow_genotypes g;
    sow_distances d = {0};
    if (size < 1 || sow_arena_new(&arena) != SOW_OK) return 0;
    int which = data[0] % 8;
    lines text = text_of(arena, data + 1, size - 1);
    if (which < 5 && readers[which](arena, text, &options, &g) == SOW_OK) check_genotypes(&g);
    if (which == 5 && read_plink(arena, data + 1, size - 1, &g) == SOW_OK) check_genotypes(&g);
    if (which > 5 && matrices[which - 6](arena, text, &d) == SOW_OK) check_distances(&d);
    sow_arena_free(arena);
    return 0;
}
