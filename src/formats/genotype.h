/* What the readers of genotypes share: text by lines and words, and alleles numbered as they come. */
#ifndef SOW_FORMATS_GENOTYPE_H
#define SOW_FORMATS_GENOTYPE_H

#include "sow/genotype.h"

/* A piece of text. */
typedef struct word {
    const char *text;
    int64_t size;
} word;

/* Text that is left, and the number of the line that was read last. */
typedef struct lines {
    const char *place, *at, *end;
    int64_t number;
} lines;

/* The whole file, unpacked where it is gzip; no zero bytes. At most 4 GB. */
sow_status genotype_text(sow_arena *arena, const char *path, lines *out);
/* The next line that is not blank, without its end. */
bool next_line(lines *from, word *line);
/* The next word of a line, between white space. */
bool next_word(word *line, word *out);
/* The part before `separator`, which is taken off; the rest where there is none. False when nothing is left. */
bool next_field(word *line, char separator, word *out);
int64_t count_words(word line);
bool word_is(word w, const char *text); /* case matters */
/* A whole number from 0 to 10^9, else -1. */
int64_t word_number(word w);
char *word_copy(sow_arena *arena, word w);
word word_trim(word w);
/* A word for messages: at most 40 bytes, unprintable ones as '?'. */
enum { WORD_SHOWN = 48 };
const char *word_shown(word w, char buffer[WORD_SHOWN]);

/* Genotypes as they are filled in. */
typedef struct genotype_builder {
    sow_arena *arena;
    const char *place, *missing; /* a further missing allele */
    sow_genotypes *out;
    word *labels;  /* [individuals] of populations; size 0: not known */
    word **names;  /* [loci] of alleles so far */
    int32_t *room; /* [loci] */
    bool simple;   /* all alleles have one letter or digit */
} genotype_builder;

/* Tables for this many individuals, all alleles missing. `cells`: an upper limit that the file's size sets. */
sow_status genotype_begin(genotype_builder *b, sow_arena *arena, const char *place, const sow_genotype_options *options,
                          int64_t individuals, int64_t loci, int ploidy, int64_t cells, sow_genotypes *out);
/* Sets one allele from its text. */
sow_status genotype_set(genotype_builder *b, int64_t individual, int copy, int64_t locus, word allele, int64_t line);
bool genotype_is_missing(const genotype_builder *b, word allele);
/* Sorts populations, takes labels from options->populations, checks ids, settles the marker. */
sow_status genotype_finish(genotype_builder *b, const sow_genotype_options *options);

/* The readers; text was read by genotype_text. */
sow_status structure_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out);
sow_status genepop_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out);
sow_status fstat_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out);
sow_status vcf_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out);
sow_status fasta_read(sow_arena *arena, lines text, const sow_genotype_options *options, sow_genotypes *out);
/* PLINK's three files; bed: the first one's bytes. */
sow_status plink_read(sow_arena *arena, const char *path, const sow_genotype_options *options, sow_genotypes *out);
sow_status plink_parse(sow_arena *arena, const char *path, const uint8_t *bed, size_t size, lines bim, lines fam,
                       const sow_genotype_options *options, sow_genotypes *out);
sow_status nexus_distances(sow_arena *arena, lines text, sow_distances *out);
sow_status phylip_distances(sow_arena *arena, lines text, sow_distances *out);

#endif
