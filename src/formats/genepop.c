/* Genepop: a title, names of loci, then blocks of individuals that a line "Pop" opens (Raymond and Rousset 1995). */
#include <string.h>
#include <strings.h>

#include "formats/genotype.h"

typedef struct shape {
    word *names; /* of the loci */
    int64_t loci, individuals, blocks;
    int64_t cells;
} shape;

static bool is_pop(word line) {
    return line.size == 3 && strncasecmp(line.text, "pop", 3) == 0;
}

/* Names stand one a line or with commas between them. */
static sow_status read_names(sow_arena *arena, lines *text, shape *s) {
    lines ahead = *text;
    word line, name;
    int64_t room = 0;
    while (next_line(&ahead, &line) && !is_pop(line)) {
        word rest = line;
        while (next_field(&rest, ',', &name)) room++;
    }
    SOW_TRY(SOW_NEW(arena, s->names, room));
    while (next_line(text, &line) && !is_pop(line))
        while (next_field(&line, ',', &name)) {
            name = word_trim(name);
            if (name.size > 0) s->names[s->loci++] = name;
        }
    if (text->at >= text->end) return sow_fail(SOW_E_FORMAT, "%s: no line 'Pop' behind the names of loci", text->place);
    return SOW_OK;
}

/* "id , 0101 0203": the id, and the genotypes behind the comma. */
static sow_status split_individual(const lines *text, word line, word *id, word *genotypes) {
    char shown[WORD_SHOWN];
    if (!memchr(line.text, ',', (size_t)line.size))
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: no comma behind the id in '%s'", text->place,
                        (long long)text->number, word_shown(line, shown));
    next_field(&line, ',', id);
    *id = word_trim(*id);
    *genotypes = line;
    return SOW_OK;
}

/* 2 x 2 or 2 x 3 digits, or 2 or 3 for haploids; zeros are missing. */
static sow_status read_genotype(genotype_builder *b, int64_t individual, int64_t locus, word w, int64_t line) {
    char shown[WORD_SHOWN];
    int ploidy = b->out->ploidy;
    int64_t digits = w.size / ploidy;
    if (word_number((word){w.text, w.size < 9 ? w.size : 0}) < 0 || w.size % ploidy != 0 || digits < 2 || digits > 3)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld, locus %lld: '%s', expected %s digits", b->place, (long long)line,
                        (long long)locus + 1, word_shown(w, shown), ploidy == 2 ? "4 or 6" : "2 or 3");
    for (int copy = 0; copy < ploidy; copy++) {
        word allele = {w.text + copy * digits, digits};
        if (word_number(allele) != 0) SOW_TRY(genotype_set(b, individual, copy, locus, allele, line));
    }
    return SOW_OK;
}

/* Individuals of a block are numbered where ids come twice: many files repeat one id, the population's. */
static sow_status read_block(genotype_builder *b, lines *text, const shape *s, int64_t *individual, int64_t block) {
    lines ahead = *text;
    word line, id, genotypes, last = {0};
    sow_genotypes *g = b->out;
    int64_t first = *individual;
    while (next_line(&ahead, &line) && !is_pop(line)) {
        int64_t i = (*individual)++;
        word w;
        SOW_TRY(split_individual(&ahead, line, &id, &genotypes));
        int64_t words = count_words(genotypes);
        if (words != s->loci)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld has %lld genotypes, expected %lld, one a locus", b->place,
                            (long long)ahead.number, (long long)words, (long long)s->loci);
        for (int64_t l = 0; next_word(&genotypes, &w); l++) SOW_TRY(read_genotype(b, i, l, w, ahead.number));
        bool again = i > first && id.size == last.size && memcmp(id.text, last.text, (size_t)id.size) == 0;
        const char *name = id.size ? word_copy(b->arena, id) : "";
        if (name && (again || !*name))
            name = sow_arena_format(b->arena, "%.200s_%lld", *name ? name : "individual", (long long)i + 1);
        if (!name) return SOW_E_MEMORY;
        g->ids[i] = name;
        last = id;
    }
    *text = ahead;
    char *label = sow_arena_format(b->arena, "pop%02lld", (long long)block);
    if (!label) return SOW_E_MEMORY;
    for (int64_t i = first; i < *individual; i++) b->labels[i] = (word){label, (int64_t)strlen(label)};
    return SOW_OK;
}

sow_status genepop_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out) {
    shape s = {0};
    genotype_builder b;
    word line, id, genotypes, w = {0};
    int64_t cells = text.end - text.at, individual = 0, block = 0;
    if (!next_line(&text, &line)) return sow_fail(SOW_E_FORMAT, "%s: empty", text.place);
    SOW_TRY(read_names(arena, &text, &s));
    lines ahead = text;
    while (next_line(&ahead, &line)) {
        if (is_pop(line)) continue;
        if (s.individuals++ > 0) continue;
        SOW_TRY(split_individual(&ahead, line, &id, &genotypes));
        next_word(&genotypes, &w);
    }
    int ploidy = options->ploidy ? options->ploidy : w.size > 3 ? 2 : 1;
    if (ploidy > 2) return sow_fail(SOW_E_ARGUMENT, "%s: Genepop holds one or two copies, not %d", text.place, ploidy);
    SOW_TRY(genotype_begin(&b, arena, text.place, options, s.individuals, s.loci, ploidy, cells, out));
    SOW_TRY(SOW_NEW(arena, out->locus, s.loci));
    for (int64_t l = 0; l < s.loci; l++)
        if (!(out->locus[l] = word_copy(arena, s.names[l]))) return SOW_E_MEMORY;
    while (text.at < text.end) SOW_TRY(read_block(&b, &text, &s, &individual, ++block));
    return genotype_finish(&b, options);
}
