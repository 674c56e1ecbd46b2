/* What the readers of genotypes share; which reader a file needs. */
#include "formats/genotype.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/source.h"
#include "sow/file.h"
#include "sow/log.h"

enum { FILE_MAX = 0x7fffffff };

/* ---- text ---- */

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* How long the content of gzip will be is not known before: counted once, then unpacked. */
static sow_status unpack(sow_arena *arena, const char *path, sow_map map, char **text, size_t *size) {
    char scratch[16384];
    size_t got = 1;
    for (int pass = 0; pass < 2; pass++) {
        sow_source source;
        sow_status status = sow_source_begin(&source, path, map.data, map.size, SOW_GZIP);
        size_t done = 0;
        got = 1;
        while (status == SOW_OK && got > 0) {
            size_t want = pass ? *size - done : sizeof scratch;
            if (want == 0) break;
            status = sow_source_read(&source, pass ? *text + done : scratch, want, &got);
            done += got;
            if (done > FILE_MAX) status = sow_fail(SOW_E_RANGE, "%s: unpacks to more than 2 GB", path);
        }
        sow_source_end(&source);
        SOW_TRY(status);
        if (pass == 0) {
            *size = done;
            if (!(*text = sow_arena_take_raw(arena, done + 1, 1))) return SOW_E_MEMORY;
        }
    }
    return SOW_OK;
}

sow_status genotype_text(sow_arena *arena, const char *path, lines *out) {
    char *text;
    size_t size;
    sow_map map;
    SOW_TRY(sow_map_open(path, &map));
    bool packed = map.size > 0 && sow_coding_of(map.data, map.size) == SOW_GZIP;
    sow_status status = packed ? unpack(arena, path, map, &text, &size) : SOW_OK;
    sow_map_close(&map);
    SOW_TRY(status);
    if (!packed) SOW_TRY(sow_read_file(arena, path, FILE_MAX, &text, &size));
    if (memchr(text, 0, size)) return sow_fail(SOW_E_FORMAT, "%s: holds zero bytes, expected text", path);
    *out = (lines){path, text, text + size, 0};
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) out->at += 3;
    return SOW_OK;
}

word word_trim(word w) {
    while (w.size > 0 && is_space(*w.text)) w.text++, w.size--;
    while (w.size > 0 && is_space(w.text[w.size - 1])) w.size--;
    return w;
}

bool next_line(lines *from, word *line) {
    while (from->at < from->end) {
        const char *end = from->at;
        while (end < from->end && *end != '\n' && *end != '\r') end++;
        *line = word_trim((word){from->at, end - from->at});
        from->at = end + (end < from->end) + (end + 1 < from->end && end[0] == '\r' && end[1] == '\n');
        from->number++;
        if (line->size > 0) return true;
    }
    return false;
}

bool next_word(word *line, word *out) {
    while (line->size > 0 && is_space(*line->text)) line->text++, line->size--;
    *out = (word){line->text, 0};
    while (line->size > 0 && !is_space(*line->text)) line->text++, line->size--, out->size++;
    return out->size > 0;
}

bool next_field(word *line, char separator, word *out) {
    if (line->size <= 0) return false;
    const char *at = memchr(line->text, separator, (size_t)line->size);
    int64_t size = at ? at - line->text : line->size;
    *out = (word){line->text, size};
    line->text += size + (at != NULL), line->size -= size + (at != NULL);
    return true;
}

int64_t count_words(word line) {
    int64_t count = 0;
    for (word w; next_word(&line, &w);) count++;
    return count;
}

bool word_is(word w, const char *text) {
    return (int64_t)strlen(text) == w.size && memcmp(w.text, text, (size_t)w.size) == 0;
}

int64_t word_number(word w) {
    int64_t value = 0;
    if (w.size < 1 || w.size > 10) return -1;
    for (int64_t i = 0; i < w.size; i++) {
        if (w.text[i] < '0' || w.text[i] > '9') return -1;
        value = 10 * value + (w.text[i] - '0');
    }
    return value <= 1000000000 ? value : -1;
}

char *word_copy(sow_arena *arena, word w) {
    char *copy = sow_arena_take_raw(arena, (size_t)w.size + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, w.text, (size_t)w.size);
    copy[w.size] = 0;
    return copy;
}

const char *word_shown(word w, char buffer[WORD_SHOWN]) {
    int64_t size = w.size < 40 ? w.size : 40;
    for (int64_t i = 0; i < size; i++) buffer[i] = w.text[i] >= ' ' && w.text[i] < 127 ? w.text[i] : '?';
    for (int dot = 0; w.size > 40 && dot < 3; dot++) buffer[size++] = '.';
    buffer[size] = 0;
    return buffer;
}

/* ---- alleles ---- */

sow_status genotype_begin(genotype_builder *b, sow_arena *arena, const char *place, const sow_genotype_options *options,
                          int64_t individuals, int64_t loci, int ploidy, int64_t cells, sow_genotypes *out) {
    int64_t count;
    *b = (genotype_builder){.arena = arena, .place = place, .missing = options->missing, .out = out, .simple = true};
    *out = (sow_genotypes){.individuals = individuals, .loci = loci, .ploidy = ploidy, .marker = options->marker};
    if (individuals < 1) return sow_fail(SOW_E_FORMAT, "%s: no individuals", place);
    if (loci < 1) return sow_fail(SOW_E_FORMAT, "%s: no loci", place);
    SOW_TRY(sow_multiply(individuals, loci, &count));
    SOW_TRY(sow_multiply(count, ploidy, &count));
    if (count > cells)
        return sow_fail(SOW_E_FORMAT, "%s: %lld individuals with %lld loci are more than the file can hold", place,
                        (long long)individuals, (long long)loci);
    SOW_TRY(SOW_NEW(arena, out->ids, individuals));
    SOW_TRY(SOW_NEW(arena, out->population, individuals));
    SOW_TRY(SOW_NEW(arena, out->alleles, count));
    SOW_TRY(SOW_NEW(arena, out->allele_count, loci));
    SOW_TRY(SOW_NEW(arena, b->labels, individuals));
    SOW_TRY(SOW_NEW(arena, b->names, loci));
    return SOW_NEW(arena, b->room, loci);
}

bool genotype_is_missing(const genotype_builder *b, word allele) {
    return word_is(allele, "-9") || word_is(allele, "000") || word_is(allele, "N") || word_is(allele, "n") ||
           (b->missing && word_is(allele, b->missing));
}

sow_status genotype_set(genotype_builder *b, int64_t individual, int copy, int64_t locus, word allele, int64_t line) {
    sow_genotypes *g = b->out;
    word *names = b->names[locus];
    int32_t count = g->allele_count[locus], code = 0;
    char shown[WORD_SHOWN];
    if (genotype_is_missing(b, allele)) return SOW_OK;
    while (code < count &&
           (names[code].size != allele.size || memcmp(names[code].text, allele.text, (size_t)allele.size) != 0))
        code++;
    if (code == count) {
        if (count == SOW_ALLELES_MAX)
            return sow_fail(SOW_E_RANGE, "%s: line %lld: '%s' is allele %d of locus %lld, expected at most %d",
                            b->place, (long long)line, word_shown(allele, shown), count + 1, (long long)locus + 1,
                            count);
        if (count == b->room[locus]) {
            int32_t room = count ? 2 * count : 2;
            SOW_TRY(SOW_NEW(b->arena, names, room));
            if (count) memcpy(names, b->names[locus], (size_t)count * sizeof *names);
            b->names[locus] = names, b->room[locus] = room;
        }
        names[g->allele_count[locus]++] = allele;
        if (allele.size != 1) b->simple = false;
    }
    g->alleles[(individual * g->ploidy + copy) * g->loci + locus] = (uint16_t)(code + 1);
    return SOW_OK;
}

/* ---- populations ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef struct named {
    const char *id;
    int64_t index;
} named;

static int by_id(const void *a, const void *b) {
    const named *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* Individuals sorted by id; none may come twice. */
static sow_status sort_ids(const genotype_builder *b, named **out) {
    const sow_genotypes *g = b->out;
    named *sorted;
    char shown[WORD_SHOWN];
    SOW_TRY(SOW_NEW(b->arena, sorted, g->individuals));
    for (int64_t i = 0; i < g->individuals; i++) sorted[i] = (named){g->ids[i], i};
    qsort(sorted, (size_t)g->individuals, sizeof *sorted, by_id);
    for (int64_t i = 1; i < g->individuals; i++)
        if (strcmp(sorted[i].id, sorted[i - 1].id) == 0)
            return sow_fail(SOW_E_FORMAT, "%s: '%s' is individual %lld and %lld, expected each id once", b->place,
                            word_shown((word){sorted[i].id, (int64_t)strlen(sorted[i].id)}, shown),
                            (long long)sorted[i - 1].index + 1, (long long)sorted[i].index + 1);
    *out = sorted;
    return SOW_OK;
}

/* A file of labels: one a line in the order of individuals, or an id and a label a line. */
static sow_status read_labels(genotype_builder *b, const char *path, const named *sorted) {
    const sow_genotypes *g = b->out;
    lines text;
    word line, first, second;
    char shown[WORD_SHOWN];
    int64_t count = 0;
    SOW_TRY(genotype_text(b->arena, path, &text));
    for (; next_line(&text, &line); count++) {
        int64_t words = count_words(line), at = count;
        next_word(&line, &first);
        if (words == 2) {
            next_word(&line, &second);
            char *id = word_copy(b->arena, first);
            if (!id) return SOW_E_MEMORY;
            const named key = {id, -1};
            int64_t low = 0, high = g->individuals;
            while (low < high) {
                int64_t middle = low + (high - low) / 2;
                if (by_id(&sorted[middle], &key) < 0) low = middle + 1;
                else high = middle;
            }
            if (low == g->individuals || strcmp(sorted[low].id, id) != 0)
                return sow_fail(SOW_E_FORMAT, "%s: line %lld: no individual '%s' in %s", path, (long long)text.number,
                                word_shown(first, shown), b->place);
            at = sorted[low].index, first = second;
        } else if (words > 2)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld has %lld words, expected a label, or an id and a label", path,
                            (long long)text.number, (long long)words);
        else if (at >= g->individuals) continue;
        b->labels[at] = first;
    }
    if (count > g->individuals)
        sow_warn("%s: %lld labels for %lld individuals: the last ones are not used", path, (long long)count,
                 (long long)g->individuals);
    if (count < g->individuals)
        return sow_fail(SOW_E_FORMAT, "%s: %lld labels for %lld individuals", path, (long long)count,
                        (long long)g->individuals);
    return SOW_OK;
}

/* Distinct labels, sorted, and each individual's number among them. */
static sow_status number_populations(genotype_builder *b) {
    sow_genotypes *g = b->out;
    const char **names, **own;
    int64_t known = 0, count = 0;
    SOW_TRY(SOW_NEW(b->arena, names, g->individuals));
    SOW_TRY(SOW_NEW(b->arena, own, g->individuals));
    for (int64_t i = 0; i < g->individuals; i++) {
        if (b->labels[i].size == 0) continue;
        if (!(own[i] = word_copy(b->arena, b->labels[i]))) return SOW_E_MEMORY;
        names[known++] = own[i];
    }
    qsort(names, (size_t)known, sizeof *names, by_text);
    for (int64_t i = 0; i < known; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) names[count++] = names[i];
    for (int64_t i = 0; i < g->individuals; i++) {
        g->population[i] = -1;
        if (!own[i]) continue;
        const char **found = bsearch(&own[i], names, (size_t)count, sizeof *names, by_text);
        g->population[i] = (int32_t)(found - names);
    }
    g->populations = names, g->population_count = (int32_t)count;
    return SOW_OK;
}

sow_status genotype_finish(genotype_builder *b, const sow_genotype_options *options) {
    sow_genotypes *g = b->out;
    named *sorted;
    int64_t individuals = g->individuals;
    SOW_TRY(sort_ids(b, &sorted));
    if (options->populations) SOW_TRY(read_labels(b, options->populations, sorted));
    SOW_TRY(number_populations(b));
    if (g->marker == SOW_MARKER_AUTO) {
        int32_t most = 0;
        for (int64_t l = 0; l < g->loci; l++) most = g->allele_count[l] > most ? g->allele_count[l] : most;
        g->marker = b->simple && most <= 4 ? SOW_MARKER_SNP : SOW_MARKER_STR;
    }
    for (int64_t i = 0; i < individuals; i++) {
        bool any = false;
        const uint16_t *row = sow_genotype_row(g, i, 0);
        for (int64_t l = 0; l < g->loci * g->ploidy && !any; l++) any = row[l] != 0;
        if (!any) return sow_fail(SOW_E_FORMAT, "%s: '%s' has no allele at any locus", b->place, g->ids[i]);
    }
    return SOW_OK;
}

sow_status sow_labels_read(sow_arena *arena, const char *path, const char *const *ids, int64_t count, int32_t *labels,
                           const char ***populations, int32_t *population_count) {
    sow_genotypes g = {.individuals = count, .population = labels};
    genotype_builder b = {.arena = arena, .place = path, .out = &g};
    named *sorted;
    SOW_TRY(SOW_NEW(arena, g.ids, count));
    SOW_TRY(SOW_NEW(arena, b.labels, count));
    memcpy(g.ids, ids, (size_t)count * sizeof *ids);
    SOW_TRY(sort_ids(&b, &sorted));
    SOW_TRY(read_labels(&b, path, sorted));
    SOW_TRY(number_populations(&b));
    *populations = g.populations, *population_count = g.population_count;
    return SOW_OK;
}

/* ---- which reader ---- */

static bool ends_with(const char *path, const char *end) {
    size_t size = strlen(path), tail = strlen(end);
    if (size > 3 && strcasecmp(path + size - 3, ".gz") == 0) size -= 3;
    return size >= tail && strncasecmp(path + size - tail, end, tail) == 0;
}

/* A line that is "Pop" opens every block of Genepop. */
static bool has_pop_line(lines text) {
    word line;
    for (int i = 0; i < 100000 && next_line(&text, &line); i++)
        if (line.size == 3 && strncasecmp(line.text, "pop", 3) == 0) return true;
    return false;
}

static const char *format_of(const char *path, lines text) {
    static const struct {
        const char *end, *format;
    } endings[] = {{".myc", "structure"},   {".str", "structure"}, {".stru", "structure"}, {".gen", "genepop"},
                   {".genepop", "genepop"}, {".dat", "fstat"},     {".vcf", "vcf"},        {".fa", "fasta"},
                   {".fas", "fasta"},       {".fasta", "fasta"},   {".aln", "fasta"}};
    word line;
    lines peek = text;
    if (next_line(&peek, &line)) {
        if (line.size > 12 && memcmp(line.text, "##fileformat", 12) == 0) return "vcf";
        if (line.text[0] == '>') return "fasta";
    }
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_with(path, endings[i].end)) return endings[i].format;
    return has_pop_line(text) ? "genepop" : "structure";
}

sow_genotype_options sow_genotype_defaults(void) {
    return (sow_genotype_options){.skip_columns = -1};
}

sow_status sow_genotypes_read(sow_arena *arena, const char *path, const sow_genotype_options *options,
                              sow_genotypes *out) {
    static const struct {
        const char *name, *shown;
        sow_status (*read)(sow_arena *, lines, const sow_genotype_options *, sow_genotypes *);
    } readers[] = {{"structure", "STRUCTURE", structure_read},
                   {"myc", "STRUCTURE", structure_read},
                   {"genepop", "Genepop", genepop_read},
                   {"fstat", "FSTAT", fstat_read},
                   {"vcf", "VCF", vcf_read},
                   {"fasta", "FASTA", fasta_read}};
    lines text;
    const char *format = options->format;
    if ((format && strcmp(format, "plink") == 0) || (!format && ends_with(path, ".bed"))) {
        SOW_TRY(plink_read(arena, path, options, out));
        out->format = "PLINK";
        return SOW_OK;
    }
    SOW_TRY(genotype_text(arena, path, &text));
    if (!format) format = format_of(path, text);
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        if (strcmp(readers[i].name, format) != 0) continue;
        SOW_TRY(readers[i].read(arena, text, options, out));
        out->format = readers[i].shown;
        return SOW_OK;
    }
    return sow_fail(SOW_E_ARGUMENT, "no format '%s'", format);
}
