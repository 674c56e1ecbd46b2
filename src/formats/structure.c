/* STRUCTURE and Mycorrhiza files: id, population, flag, columns that are skipped, loci; a line a copy of the genome. */
#include <string.h>

#include "formats/genotype.h"
#include "sow/log.h"

enum { HEAD = 3, SKIP_MAX = 64 };

typedef struct table {
    lines text;
    word *rows;       /* [count] lines with genotypes */
    int64_t *numbers; /* of those lines */
    int64_t count, columns;
    word header; /* names of the loci; size 0: none */
} table;

static bool same_word(word a, word b) {
    return a.size == b.size && memcmp(a.text, b.text, (size_t)a.size) == 0;
}

/* Lines of equal numbers of words, and a shorter first one with the names of the loci. */
static sow_status split_lines(sow_arena *arena, table *t) {
    lines text = t->text;
    word line;
    int64_t count = 0;
    while (next_line(&text, &line)) count++;
    if (count == 0) return sow_fail(SOW_E_FORMAT, "%s: empty", t->text.place);
    SOW_TRY(SOW_NEW(arena, t->rows, count));
    SOW_TRY(SOW_NEW(arena, t->numbers, count));
    for (text = t->text; next_line(&text, &line);) {
        int64_t words = count_words(line);
        if (t->count == 1 && words > t->columns && t->header.size == 0) {
            t->header = t->rows[0];
            t->count = 0;
        }
        if (t->count == 0) t->columns = words;
        if (words != t->columns)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld has %lld columns, expected %lld as line %lld", text.place,
                            (long long)text.number, (long long)words, (long long)t->columns, (long long)t->numbers[0]);
        t->rows[t->count] = line;
        t->numbers[t->count++] = text.number;
    }
    if (t->columns <= HEAD)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld has %lld columns, expected id, population, flag and loci",
                        text.place, (long long)t->numbers[0], (long long)t->columns);
    return SOW_OK;
}

/* Lines in a row that begin with the first line's id. */
static int find_ploidy(const table *t) {
    word first, other, line = t->rows[0];
    int run = 1;
    next_word(&line, &first);
    for (; run < t->count && run <= SOW_PLOIDY_MAX; run++) {
        line = t->rows[run];
        next_word(&line, &other);
        if (!same_word(first, other)) break;
    }
    return run;
}

/* Whether a column holds one value, and no column from `first` to the end has alleles as long: then it is no locus. */
static bool is_extra(const table *t, int64_t column, int64_t first) {
    word value = {0};
    for (int64_t r = 0; r < t->count; r++) {
        word line = t->rows[r], w;
        for (int64_t c = 0; next_word(&line, &w); c++) {
            if (c == column && r == 0) value = w;
            if (c == column && !same_word(w, value)) return false;
            if (c >= first && w.size == value.size && !word_is(w, "-9")) return false;
        }
    }
    return true;
}

/* Leading columns of one value; the columns behind them are the loci that must not have it. */
static int find_extra(const table *t) {
    int64_t constant = 0, most = t->columns - HEAD - 1 < SKIP_MAX ? t->columns - HEAD - 1 : SKIP_MAX;
    if (t->count < 2) return 0;
    while (constant < most) {
        word first = {0};
        bool same = true;
        for (int64_t r = 0; r < t->count && same; r++) {
            word line = t->rows[r], w;
            for (int64_t c = 0; c <= HEAD + constant; c++) next_word(&line, &w);
            if (r == 0) first = w;
            same = same_word(first, w);
        }
        if (!same) break;
        constant++;
    }
    int extra = 0;
    while (extra < constant && is_extra(t, HEAD + extra, HEAD + constant)) extra++;
    return extra;
}

static sow_status read_individual(genotype_builder *b, const table *t, int64_t i, int64_t first_locus) {
    char shown[WORD_SHOWN], other[WORD_SHOWN];
    sow_genotypes *g = b->out;
    word id = {0}, population = {0};
    for (int copy = 0; copy < g->ploidy; copy++) {
        word line = t->rows[i * g->ploidy + copy], w, label, flag;
        long long number = (long long)t->numbers[i * g->ploidy + copy];
        next_word(&line, &w);
        next_word(&line, &label);
        next_word(&line, &flag);
        if (copy == 0) id = w, population = label;
        if (!same_word(id, w))
            return sow_fail(SOW_E_FORMAT, "%s: line %lld begins with '%s', expected '%s' as copy %d of one individual",
                            b->place, number, word_shown(w, shown), word_shown(id, other), copy + 1);
        if (!same_word(population, label))
            return sow_fail(SOW_E_FORMAT, "%s: line %lld, column 2: '%s', but the line before has '%s'", b->place,
                            number, word_shown(label, shown), word_shown(population, other));
        if (!word_is(flag, "0") && !word_is(flag, "1"))
            return sow_fail(SOW_E_FORMAT, "%s: line %lld, column 3: '%s', expected the learning flag 0 or 1", b->place,
                            number, word_shown(flag, shown));
        g->flag[i] = word_is(flag, "1");
        for (int64_t c = HEAD; c < first_locus; c++) next_word(&line, &w);
        for (int64_t l = 0; next_word(&line, &w); l++) SOW_TRY(genotype_set(b, i, copy, l, w, number));
    }
    b->labels[i] = population;
    return (g->ids[i] = word_copy(b->arena, id)) ? SOW_OK : SOW_E_MEMORY;
}

static sow_status name_loci(genotype_builder *b, word header, int64_t skipped) {
    sow_genotypes *g = b->out;
    int64_t names = count_words(header), lead = names - g->loci;
    if (lead < 0 || lead > HEAD + skipped) return SOW_OK; /* names of something else */
    SOW_TRY(SOW_NEW(b->arena, g->locus, g->loci));
    for (word w; lead > 0; lead--) next_word(&header, &w);
    for (int64_t l = 0; l < g->loci; l++) {
        word w;
        next_word(&header, &w);
        if (!(g->locus[l] = word_copy(b->arena, w))) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

/* SNP codes 0 to 3: where 0 is an allele beside 1, 2 or 3. A microsatellite's 0 is missing. */
static void settle_zero(genotype_builder *b, const sow_genotype_options *options) {
    sow_genotypes *g = b->out;
    if (b->simple || options->marker == SOW_MARKER_SNP) return;
    for (int64_t l = 0; l < g->loci; l++) {
        int32_t zero = 0;
        for (int32_t a = 0; a < g->allele_count[l]; a++)
            if (word_is(b->names[l][a], "0")) zero = a + 1;
        if (!zero) continue;
        for (int64_t i = 0; i < g->individuals * g->ploidy; i++) {
            uint16_t *code = &g->alleles[i * g->loci + l];
            *code = (uint16_t)(*code == zero ? 0 : *code > zero ? *code - 1 : *code);
        }
        g->allele_count[l]--;
    }
}

sow_status structure_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out) {
    table t = {.text = text};
    genotype_builder b;
    SOW_TRY(split_lines(arena, &t));
    int ploidy = options->ploidy ? options->ploidy : find_ploidy(&t);
    if (ploidy > SOW_PLOIDY_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: more than %d lines with one id", text.place, SOW_PLOIDY_MAX);
    if (t.count % ploidy != 0)
        return sow_fail(SOW_E_FORMAT,
                        "%s: %lld lines of genotypes, expected a multiple of %d, the copies of an individual",
                        text.place, (long long)t.count, ploidy);
    int skipped = options->skip_columns >= 0 ? options->skip_columns : find_extra(&t);
    if (skipped >= t.columns - HEAD)
        return sow_fail(SOW_E_ARGUMENT, "%s has %lld columns behind the flag, %d of them skipped", text.place,
                        (long long)t.columns - HEAD, skipped);
    if (skipped > 0 && options->skip_columns < 0)
        sow_note(
            "%s: %d columns behind the flag hold one value each, unlike any allele, and are skipped (--skip-columns 0 "
            "reads them)",
            text.place, skipped);
    SOW_TRY(genotype_begin(&b, arena, text.place, options, t.count / ploidy, t.columns - HEAD - skipped, ploidy,
                           text.end - text.at, out));
    SOW_TRY(SOW_NEW(arena, out->flag, out->individuals));
    for (int64_t i = 0; i < out->individuals; i++) SOW_TRY(read_individual(&b, &t, i, HEAD + skipped));
    if (t.header.size) SOW_TRY(name_loci(&b, t.header, skipped));
    settle_zero(&b, options);
    return genotype_finish(&b, options);
}
