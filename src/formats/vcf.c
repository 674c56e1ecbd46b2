/* VCF: genotypes of called variants, phased or not, with any number of alleles (Danecek et al. 2011). */
#include <string.h>

#include "formats/genotype.h"

enum { FIXED = 9 }; /* columns before the samples */

/* The line "#CHROM ..." and the number of variants behind it. */
static sow_status read_head(lines *text, word *header, int64_t *variants) {
    word line;
    do {
        if (!next_line(text, &line)) return sow_fail(SOW_E_FORMAT, "%s: no line that begins with #CHROM", text->place);
    } while (line.size < 6 || memcmp(line.text, "#CHROM", 6) != 0);
    *header = line;
    lines ahead = *text;
    *variants = 0;
    while (next_line(&ahead, &line)) *variants += line.text[0] != '#';
    return SOW_OK;
}

static int64_t count_fields(word line) {
    int64_t count = 0;
    for (word w; next_field(&line, '\t', &w);) count++;
    return count;
}

/* Copies in a genotype: 0/1 has two, 1 has one. */
static int copies_of(word genotype) {
    int copies = 1;
    for (int64_t c = 0; c < genotype.size; c++) copies += genotype.text[c] == '/' || genotype.text[c] == '|';
    return copies;
}

/* Where GT stands in FORMAT: the first by the standard. */
static bool has_genotypes(word format) {
    word first;
    return next_field(&format, ':', &first) && word_is(first, "GT");
}

static sow_status read_call(genotype_builder *b, int64_t sample, int64_t locus, word call, int64_t alleles,
                            int64_t line) {
    word genotype = {call.text, 0}, rest = call, allele;
    char shown[WORD_SHOWN];
    next_field(&rest, ':', &genotype);
    int copies = copies_of(genotype), copy = 0;
    bool all_missing = word_is(genotype, ".");
    /* one copy beside two, as on a man's X: the other is missing */
    if (copies > b->out->ploidy)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld, sample %lld: '%s' has %d copies, expected at most %d", b->place,
                        (long long)line, (long long)sample + 1, word_shown(genotype, shown), copies, b->out->ploidy);
    for (word left = genotype; !all_missing && copy < copies; copy++) {
        int64_t size = 0;
        while (size < left.size && left.text[size] != '/' && left.text[size] != '|') size++;
        allele = (word){left.text, size};
        left.text += size + (size < left.size), left.size -= size + (size < left.size);
        if (word_is(allele, ".")) continue;
        int64_t number = word_number(allele);
        if (number < 0 || number > alleles)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld, sample %lld: '%s', expected alleles 0 to %lld", b->place,
                            (long long)line, (long long)sample + 1, word_shown(genotype, shown), (long long)alleles);
        SOW_TRY(genotype_set(b, sample, copy, locus, allele, line));
    }
    return SOW_OK;
}

static sow_status read_variant(genotype_builder *b, word line, int64_t locus, int64_t number) {
    sow_genotypes *g = b->out;
    word fixed[FIXED], call, w;
    int64_t fields = count_fields(line), alternatives = 0;
    if (fields != FIXED + g->individuals)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld has %lld columns, expected %lld", b->place, (long long)number,
                        (long long)fields, (long long)(FIXED + g->individuals));
    for (int c = 0; c < FIXED; c++) next_field(&line, '\t', &fixed[c]);
    for (word rest = fixed[4]; next_field(&rest, ',', &w);) alternatives += !word_is(w, ".");
    if (!has_genotypes(fixed[8]))
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: FORMAT does not begin with GT", b->place, (long long)number);
    for (int64_t i = 0; next_field(&line, '\t', &call); i++)
        SOW_TRY(read_call(b, i, locus, word_trim(call), alternatives, number));
    g->locus[locus] = word_is(fixed[2], ".")
                          ? sow_arena_format(b->arena, "%.*s:%.*s", (int)(fixed[0].size < 200 ? fixed[0].size : 200),
                                             fixed[0].text, (int)(fixed[1].size < 20 ? fixed[1].size : 20),
                                             fixed[1].text)
                          : word_copy(b->arena, fixed[2]);
    return g->locus[locus] ? SOW_OK : SOW_E_MEMORY;
}

/* The largest number of copies in the first variant. */
static int find_ploidy(lines text) {
    word line, w;
    int most = 1;
    do {
        if (!next_line(&text, &line)) return 1;
    } while (line.text[0] == '#');
    for (int64_t c = 0; next_field(&line, '\t', &w); c++) {
        word genotype = {0};
        next_field(&w, ':', &genotype);
        int copies = c < FIXED ? 1 : copies_of(genotype);
        most = copies > most ? copies : most;
    }
    return most;
}

sow_status vcf_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out) {
    genotype_builder b;
    word header, line, w;
    int64_t cells = text.end - text.at, variants;
    sow_genotype_options settled = *options;
    SOW_TRY(read_head(&text, &header, &variants));
    int64_t samples = count_fields(header) - FIXED;
    if (samples < 1)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld names no samples", text.place, (long long)text.number);
    int ploidy = find_ploidy(text);
    if (ploidy > SOW_PLOIDY_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: genotypes of %d copies, expected at most %d", text.place, ploidy,
                        SOW_PLOIDY_MAX);
    if (settled.marker == SOW_MARKER_AUTO) settled.marker = SOW_MARKER_SNP;
    SOW_TRY(genotype_begin(&b, arena, text.place, &settled, samples, variants, ploidy, cells, out));
    SOW_TRY(SOW_NEW(arena, out->locus, variants));
    for (int64_t c = 0; next_field(&header, '\t', &w); c++)
        if (c >= FIXED && !(out->ids[c - FIXED] = word_copy(arena, word_trim(w)))) return SOW_E_MEMORY;
    for (int64_t v = 0; next_line(&text, &line);) {
        if (line.text[0] == '#') continue;
        SOW_TRY(read_variant(&b, line, v++, text.number));
    }
    return genotype_finish(&b, &settled);
}
