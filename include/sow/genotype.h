/* Genotypes of individuals: read from the formats of population genetics, compared, summarised, generated. */
#ifndef SOW_GENOTYPE_H
#define SOW_GENOTYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"
#include "sow/random.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_marker { SOW_MARKER_AUTO, SOW_MARKER_SNP, SOW_MARKER_STR, SOW_MARKER_SEQUENCE } sow_marker;

enum { SOW_PLOIDY_MAX = 8, SOW_ALLELES_MAX = 4096 };

/* Genotypes in an arena. Alleles are numbered from 1 at each locus, in order of appearance; 0 is missing. */
typedef struct sow_genotypes {
    const char *format; /* "STRUCTURE", "VCF" ... */
    int64_t individuals, loci;
    int ploidy;
    sow_marker marker;
    const char **ids;         /* [individuals], all different */
    int32_t *population;      /* [individuals]; -1: not known */
    const char **populations; /* [population_count], sorted bytewise */
    int32_t population_count;
    int8_t *flag;             /* [individuals] 1: learn from it, 0: predict it; NULL: the file does not say */
    const char **locus;       /* [loci] names, NULL: none */
    uint16_t *alleles;        /* [individuals][ploidy][loci] */
    int32_t *allele_count;    /* [loci] */
} sow_genotypes;

typedef struct sow_genotype_options {
    const char *format;      /* "structure", "myc", "genepop", "fstat", "vcf", "plink", "fasta"; NULL: by name and content */
    const char *populations; /* file of labels, one a line in the order of individuals, or "id label"; NULL: none */
    const char *missing;     /* a further allele that means missing; NULL: none */
    sow_marker marker;       /* AUTO: SNP where no locus has more than four alleles, of one letter or digit each */
    int ploidy;              /* lines an individual in STRUCTURE and .myc; 0: as many as follow with one id */
    int skip_columns;        /* between flag and loci in STRUCTURE; -1: columns of one value unlike any allele */
} sow_genotype_options;

/* Reads genotypes, plain or gzip. STRUCTURE and .myc: id, population, flag, loci (-9, 000, N: missing); Genepop; FSTAT; VCF
 * (phased or not, any number of alleles); PLINK .bed with .bim and .fam beside it; aligned FASTA (A, C, G, T, all else missing).
 * Errors name file, line and column: SOW_E_FORMAT (ragged tables, ids that differ within an individual, samples that come
 * twice, unknown alleles), SOW_E_RANGE, SOW_E_NOT_FOUND. Cost: the file's size. */
sow_status sow_genotypes_read(sow_arena *arena, const char *path, const sow_genotype_options *options, sow_genotypes *out);
/* Options: no populations, all else detected. */
sow_genotype_options sow_genotype_defaults(void);

/* Populations of individuals from a file of labels (as sow_genotype_options has it): labels [count], and the sorted names. */
sow_status sow_labels_read(sow_arena *arena, const char *path, const char *const *ids, int64_t count, int32_t *labels,
                           const char ***populations, int32_t *population_count);

static inline const uint16_t *sow_genotype_row(const sow_genotypes *g, int64_t individual, int copy) {
    return g->alleles + (individual * g->ploidy + copy) * g->loci;
}

/* The individuals with index[0..count), in that order; loci and populations stay. */
sow_status sow_genotypes_pick(const sow_genotypes *g, const int64_t *index, int64_t count, sow_arena *arena,
                              sow_genotypes *out);

/* ---- distances ---- */

typedef enum sow_genotype_distance {
    SOW_DISTANCE_AUTO,         /* Jukes-Cantor for SNP and sequence, Hamming for STR */
    SOW_DISTANCE_JUKES_CANTOR, /* -3/4 ln(1 - 4p/3), p: share of compared alleles that differ; 100 where saturated */
    SOW_DISTANCE_HAMMING,      /* p, copy by copy in file order; 0 where none can be compared */
    SOW_DISTANCE_IBS,          /* 1 - shared / ploidy a locus, whatever the order of copies */
} sow_genotype_distance;

typedef struct sow_distance_notes {
    int64_t saturated, empty; /* pairs with 1 - 4p/3 <= 0, and pairs without a locus in common */
    double largest;           /* of those that are not saturated */
} sow_distance_notes;

/* Distances of all pairs over loci[0..count) (NULL: all), symmetric, [individuals, individuals]. first_copy_only: as the
 * published program, which by mistake compares the first copy of diploids alone. Cost: individuals^2 * loci * ploidy / 2
 * comparisons, vectorised. Errors: SOW_E_MEMORY, SOW_E_INTERRUPTED. */
sow_status sow_genotype_distances(const sow_genotypes *g, sow_genotype_distance kind, const int64_t *loci, int64_t count,
                                  bool first_copy_only, double *distances, sow_distance_notes *notes);

/* ---- populations ---- */

typedef struct sow_population_summary {
    int64_t samples;
    double missing;       /* share of alleles */
    double heterozygosity; /* expected, unbiased, mean over loci; NaN: fewer than two alleles seen anywhere */
    double observed;       /* share of heterozygous individuals, mean over loci; NaN for haploids */
    double fst;            /* mean of the pairwise values; NaN for a single population */
} sow_population_summary;

/* Sizes, missing data, heterozygosity and Hudson's F_ST (Bhatia et al. 2013, ratio of averages over loci) of all
 * populations; pairs [k, k] may be NULL. Individuals without population count nowhere. Cost: a read, and k^2 alleles. */
sow_status sow_genotype_summary(const sow_genotypes *g, sow_arena *arena, sow_population_summary *populations,
                                double *pairs);

/* ---- generated genotypes: populations that drifted apart (Balding and Nichols 1995), with inbreeding and linkage ---- */

typedef struct sow_genotype_model {
    int populations, each; /* individuals of each */
    int64_t loci;          /* biallelic */
    double fst;            /* F: p_k ~ Beta(p (1 - F) / F, (1 - p) (1 - F) / F), p ~ U(.05, .95) */
    double inbreeding;     /* chance that both alleles are one draw */
    double linkage;        /* chance that a locus copies the first of its block */
    int block;             /* consecutive loci */
    uint64_t seed;
} sow_genotype_model;
/* Draws genotypes of that model; in the arena. Cost: individuals times loci. */
sow_status sow_genotypes_generate(const sow_genotype_model *model, sow_arena *arena, sow_genotypes *out);

/* ---- distance matrices in files ---- */

typedef struct sow_distances {
    int64_t count;
    double *values;     /* [count, count] */
    const char **names; /* [count], all different; "1", "2" ... where the file has none */
} sow_distances;

/* .npy; CSV or TSV (with or without names in the first row and column); NEXUS Distances block (triangle=both, lower, upper);
 * PHYLIP (square or lower). SOW_E_FORMAT with line and column: not square, not numbers. */
sow_status sow_distances_read(sow_arena *arena, const char *path, sow_distances *out);

#ifdef __cplusplus
}
#endif
#endif
