/* FSTAT: "populations loci largest-allele digits", names of loci, then a population and its genotypes a line (Goudet 1995). */
#include <string.h>

#include "formats/genotype.h"

typedef struct head {
    int64_t populations, loci, largest, digits;
} head;

static sow_status read_head(lines *text, head *h) {
    int64_t *fields[] = {&h->populations, &h->loci, &h->largest, &h->digits};
    char shown[WORD_SHOWN];
    word line, w;
    if (!next_line(text, &line)) return sow_fail(SOW_E_FORMAT, "%s: empty", text->place);
    for (int i = 0; i < 4; i++)
        if (!next_word(&line, &w) || (*fields[i] = word_number(w)) < 1)
            return sow_fail(SOW_E_FORMAT,
                            "%s: line %lld: '%s', expected numbers of populations, loci, largest allele and digits",
                            text->place, (long long)text->number, word_shown(w, shown));
    if (h->digits > 3)
        return sow_fail(SOW_E_FORMAT, "%s: alleles of %lld digits, expected 1 to 3", text->place, (long long)h->digits);
    return SOW_OK;
}

/* One number of 2 x digits, of which leading zeros may be left out: 102 is 01 and 02. 0: missing. */
static sow_status read_genotype(genotype_builder *b, const head *h, int64_t individual, int64_t locus, word w,
                                int64_t line) {
    static const int64_t base[] = {1, 10, 100, 1000};
    char shown[WORD_SHOWN];
    int64_t number = word_number((word){w.text, w.size <= 2 * h->digits ? w.size : 0});
    int64_t copies[2] = {number / base[h->digits], number % base[h->digits]};
    if (number < 0 || copies[0] > h->largest || copies[1] > h->largest)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld, locus %lld: '%s', expected two alleles of %lld digits up to %lld",
                        b->place, (long long)line, (long long)locus + 1, word_shown(w, shown), (long long)h->digits,
                        (long long)h->largest);
    for (int copy = 0; copy < 2; copy++) {
        if (copies[copy] == 0) continue;
        char *text = sow_arena_format(b->arena, "%lld", (long long)copies[copy]);
        if (!text) return SOW_E_MEMORY;
        SOW_TRY(genotype_set(b, individual, copy, locus, (word){text, (int64_t)strlen(text)}, line));
    }
    return SOW_OK;
}

sow_status fstat_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out) {
    head h;
    genotype_builder b;
    word line, w;
    int64_t cells = text.end - text.at, individuals = 0;
    char shown[WORD_SHOWN];
    SOW_TRY(read_head(&text, &h));
    lines ahead = text;
    while (next_line(&ahead, &line)) individuals++;
    if (individuals <= h.loci)
        return sow_fail(SOW_E_FORMAT, "%s: %lld lines behind the first, expected %lld names of loci and individuals",
                        text.place, (long long)individuals, (long long)h.loci);
    SOW_TRY(genotype_begin(&b, arena, text.place, options, individuals - h.loci, h.loci, 2, cells, out));
    SOW_TRY(SOW_NEW(arena, out->locus, h.loci));
    for (int64_t l = 0; l < h.loci; l++) {
        next_line(&text, &line);
        if (!(out->locus[l] = word_copy(arena, line))) return SOW_E_MEMORY;
    }
    for (int64_t i = 0; next_line(&text, &line); i++) {
        next_word(&line, &b.labels[i]);
        int64_t words = count_words(line), population = word_number(b.labels[i]);
        if (words != h.loci)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld has %lld genotypes, expected %lld, one a locus", text.place,
                            (long long)text.number, (long long)words, (long long)h.loci);
        if (population < 1 || population > h.populations)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld: population '%s', expected 1 to %lld", text.place,
                            (long long)text.number, word_shown(b.labels[i], shown), (long long)h.populations);
        for (int64_t l = 0; next_word(&line, &w); l++) SOW_TRY(read_genotype(&b, &h, i, l, w, text.number));
        if (!(out->ids[i] = sow_arena_format(arena, "%lld", (long long)i + 1))) return SOW_E_MEMORY;
    }
    return genotype_finish(&b, options);
}
