/* PLINK's .bed, .bim and .fam: two bits a genotype, variant by variant (Purcell et al. 2007). */
#include <string.h>

#include "formats/genotype.h"
#include "sow/file.h"

static int64_t count_lines(lines text) {
    int64_t count = 0;
    for (word line; next_line(&text, &line);) count++;
    return count;
}

/* .fam: family, individual, father, mother, sex, phenotype. The family stands for the population. */
static sow_status read_individuals(genotype_builder *b, lines text) {
    word line, family;
    for (int64_t i = 0; next_line(&text, &line); i++) {
        word id;
        if (count_words(line) < 2)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld: expected a family and an individual", text.place,
                            (long long)text.number);
        next_word(&line, &family);
        next_word(&line, &id);
        if (!word_is(family, "0")) b->labels[i] = family;
        if (!(b->out->ids[i] = word_copy(b->arena, id))) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

/* .bim: chromosome, name, centimorgans, position, allele 1, allele 2. */
static sow_status read_variants(genotype_builder *b, const uint8_t *bed, lines text) {
    static const int first[4] = {0, -1, 0, 1}, second[4] = {0, -1, 1, 1}; /* allele 1 / 1, missing, 1 / 2, 2 / 2 */
    int64_t individuals = b->out->individuals, bytes = (individuals + 3) / 4;
    word line, w[6];
    for (int64_t v = 0; next_line(&text, &line); v++) {
        if (count_words(line) < 6)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld: expected six columns", text.place, (long long)text.number);
        for (int c = 0; c < 6; c++) next_word(&line, &w[c]);
        if (!(b->out->locus[v] = word_copy(b->arena, w[1]))) return SOW_E_MEMORY;
        for (int64_t i = 0; i < individuals; i++) {
            int code = bed[3 + v * bytes + i / 4] >> (2 * (i % 4)) & 3;
            if (first[code] < 0) continue;
            SOW_TRY(genotype_set(b, i, 0, v, w[4 + first[code]], text.number));
            SOW_TRY(genotype_set(b, i, 1, v, w[4 + second[code]], text.number));
        }
    }
    return SOW_OK;
}

sow_status plink_parse(sow_arena *arena, const char *path, const uint8_t *bed, size_t size, lines bim, lines fam,
                       const sow_genotype_options *options, sow_genotypes *out) {
    genotype_builder b;
    sow_genotype_options settled = *options;
    int64_t individuals = count_lines(fam), variants = count_lines(bim), bytes;
    if (size < 3 || bed[0] != 0x6c || bed[1] != 0x1b)
        return sow_fail(SOW_E_FORMAT, "%s: does not begin as a .bed file of PLINK", path);
    if (bed[2] != 1)
        return sow_fail(SOW_E_UNSUPPORTED, "%s: stored individual by individual; plink --make-bed turns it", path);
    SOW_TRY(sow_multiply(variants, (individuals + 3) / 4, &bytes));
    if ((uint64_t)bytes + 3 != size)
        return sow_fail(SOW_E_FORMAT, "%s: %zu bytes, expected %lld for %lld variants of %lld individuals", path, size,
                        (long long)bytes + 3, (long long)variants, (long long)individuals);
    if (settled.marker == SOW_MARKER_AUTO) settled.marker = SOW_MARKER_SNP;
    SOW_TRY(genotype_begin(&b, arena, path, &settled, individuals, variants, 2, (int64_t)size * 8, out));
    SOW_TRY(SOW_NEW(arena, out->locus, variants));
    SOW_TRY(read_individuals(&b, fam));
    SOW_TRY(read_variants(&b, bed, bim));
    return genotype_finish(&b, &settled);
}

sow_status plink_read(sow_arena *arena, const char *path, const sow_genotype_options *options, sow_genotypes *out) {
    size_t stem = strlen(path);
    if (stem > 4 && strcmp(path + stem - 4, ".bed") == 0) stem -= 4;
    char *bim_path = sow_arena_format(arena, "%.*s.bim", (int)stem, path);
    char *fam_path = sow_arena_format(arena, "%.*s.fam", (int)stem, path);
    lines bim, fam;
    sow_map bed;
    if (!bim_path || !fam_path) return SOW_E_MEMORY;
    SOW_TRY(genotype_text(arena, bim_path, &bim));
    SOW_TRY(genotype_text(arena, fam_path, &fam));
    SOW_TRY(sow_map_open(path, &bed));
    sow_status status = plink_parse(arena, path, bed.data, bed.size, bim, fam, options, out);
    sow_map_close(&bed);
    return status;
}
