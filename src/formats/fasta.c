/* Aligned FASTA: each site is a locus, each sequence a haploid individual; what is not A, C, G or T is missing. */
#include <string.h>

#include "formats/genotype.h"

static sow_status count_sites(lines text, int64_t *individuals, int64_t *sites) {
    word line, name = {0};
    int64_t size = 0;
    char shown[WORD_SHOWN];
    *individuals = *sites = 0;
    for (bool more = true; more;) {
        more = next_line(&text, &line);
        if (more && line.text[0] != '>') {
            if (*individuals == 0)
                return sow_fail(SOW_E_FORMAT, "%s: line %lld: expected '>' and a name", text.place,
                                (long long)text.number);
            for (int64_t c = 0; c < line.size; c++) size += line.text[c] != ' ' && line.text[c] != '\t';
            continue;
        }
        if (*individuals == 1) *sites = size;
        if (*individuals > 0 && size != *sites)
            return sow_fail(SOW_E_FORMAT, "%s: '%s' has %lld sites, expected %lld as the first: an alignment is needed",
                            text.place, word_shown(name, shown), (long long)size, (long long)*sites);
        if (more) name = word_trim((word){line.text + 1, line.size - 1}), (*individuals)++;
        size = 0;
    }
    return SOW_OK;
}

static word upper_base(char c) {
    static const char bases[] = "ACGT";
    char up = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
    const char *found = up == 'U' ? bases + 3 : up ? strchr(bases, up) : NULL;
    return (word){found, found ? 1 : 0};
}

sow_status fasta_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out) {
    genotype_builder b;
    sow_genotype_options settled = *options;
    int64_t individuals, sites, i = -1, site = 0;
    word line;
    SOW_TRY(count_sites(text, &individuals, &sites));
    if (settled.marker == SOW_MARKER_AUTO) settled.marker = SOW_MARKER_SEQUENCE;
    SOW_TRY(genotype_begin(&b, arena, text.place, &settled, individuals, sites, 1, text.end - text.at, out));
    while (next_line(&text, &line)) {
        if (line.text[0] == '>') {
            word rest = {line.text + 1, line.size - 1}, id;
            if (!next_word(&rest, &id))
                return sow_fail(SOW_E_FORMAT, "%s: line %lld: a sequence without a name", text.place,
                                (long long)text.number);
            i++, site = 0;
            if (!(out->ids[i] = word_copy(arena, id))) return SOW_E_MEMORY;
            continue;
        }
        for (int64_t c = 0; c < line.size; c++) {
            if (line.text[c] == ' ' || line.text[c] == '\t') continue;
            word base = upper_base(line.text[c]);
            if (base.size) SOW_TRY(genotype_set(&b, i, 0, site, base, text.number));
            site++;
        }
    }
    return genotype_finish(&b, &settled);
}
