/* Assignment of genotypes by split networks: Georges-Filteau, Hamelin and Blanchette 2020, arXiv 2010.09483. */
#include "starts/groups/mycorrhiza/job.h"

#define DATA         \
    SOW_OPTION_FILE( \
        "data",      \
        "genotypes (STRUCTURE, .myc, Genepop, FSTAT, VCF, PLINK .bed, FASTA) or distances (.npy, CSV, NEXUS, PHYLIP)")
#define POP SOW_OPTION_PATH("pop", NULL, "labels, one a line in the order of individuals, or an id and a label a line")
#define READING                                                                                                \
    SOW_OPTION_CHOICE("format", "auto", "auto|structure|myc|genepop|fstat|vcf|plink|fasta",                    \
                      "format of the genotypes; auto: by name and content"),                                   \
        SOW_OPTION_CHOICE("marker", "auto", "auto|snp|str|sequence",                                           \
                          "kind of loci; auto: SNP with up to four one-letter alleles a locus"),               \
        SOW_OPTION_INT("ploidy", "0", 0, 8, "lines an individual (STRUCTURE); 0: those with one id"),          \
        SOW_OPTION_INT("skip-columns", "-1", -1, 64, "columns between flag and loci (STRUCTURE); -1: detect"), \
        SOW_OPTION_TEXT("missing", NULL, "a further allele that means missing, beside -9, 000 and N"),         \
        SOW_OPTION_REAL("max-missing", "1", 0, 1, "leave out individuals that miss more than this share of alleles")
#define MEASURING                                                                                                    \
    SOW_OPTION_CHOICE("distance", "auto", "auto|jc|hamming|ibs",                                                     \
                      "jc: Jukes-Cantor; hamming: share of alleles that differ; ibs: alleles not shared, unphased"), \
        SOW_OPTION_CHOICE("alleles", "both", "both|first", "first: only the first copy, as the published program"),  \
        SOW_OPTION_REAL("cap", "0", 0, 100, "saturated distances become this times the largest other; 0: 100")
#define ORDER SOW_OPTION_CHOICE("order", "sym", "sym|st4", "circle: symmetric reduction, or that of SplitsTree4")
#define LEARNING                                                                                                \
    SOW_OPTION_INT("partitions", "1", 1, 100000, "parts of the shuffled loci, a network and a forest each"),    \
        SOW_OPTION_INT("loci", "0", 0, 2147483647, "use so many loci, drawn at random; 0: all"),                \
        SOW_OPTION_INT("trees", "60", 1, 100000, "of each forest"),                                             \
        SOW_OPTION_FLAG("keep-trivial", "splits of one individual stay features, as in the published program"), \
        SOW_OPTION_INT("folds", "5", 2, 1000, "of the cross-validation where all individuals are labelled"),    \
        SOW_OPTION_INT("repeats", "5", 1, 1000, "of the cross-validation"), SOW_OPTION_SEED

static const sow_option assign_options[] = {
    DATA,
    POP,
    SOW_OPTION_OUTPUT("folder for Q.tsv, assignment.tsv, confusion.tsv, populations.tsv, splits.nex and drawings"),
    READING,
    MEASURING,
    ORDER,
    LEARNING,
    SOW_OPTION_FLAG("inductive", "individuals to predict stay out of the network and are placed beside it one by one"),
    SOW_OPTION_INT("draws", "1000", 0, 1000000, "simulated genotypes a population for the exclusion p-values; 0: none"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option compare_options[] = {DATA, POP, READING, MEASURING, ORDER, LEARNING, {0}};

static const sow_option network_options[] = {
    DATA,
    POP,
    SOW_OPTION_OUTPUT("NEXUS file with the splits, for SplitsTree"),
    {"plot", 0, SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "drawing of the network, .svg or .png",
     SOW_OPTION_NO_PASSPORT},
    READING,
    MEASURING,
    ORDER,
    SOW_OPTION_CHOICE("solver", "auto", "auto|exact|cg",
                      "of the weights: exact: Cholesky factors; cg: conjugate gradients, for little noise"),
    SOW_OPTION_CHOICE("weights", "ols", "ols|fm1|fm2",
                      "of pairs in the least squares: 1, 1/d, 1/d^2; all but ols are solved by cg"),
    SOW_OPTION_REAL("sparsity", "0", 0, 0.999999,
                    "fewer splits: each costs this share of what the most wanted one gains (L1); solved by cg"),
    SOW_OPTION_REAL("tolerance", "1e-7", 0, 1, "projected gradient at the end, relative to that at zero weights"),
    SOW_OPTION_REAL("threshold", "1e-6", 0, 1e300, "splits above this weight are kept"),
    SOW_OPTION_SEED,
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option distance_options[] = {
    DATA, SOW_OPTION_OUTPUT(".npy, .csv or .tsv"), READING, MEASURING, SOW_OPTION_SEED, SOW_OPTION_FORCE, {0},
};

static const sow_action actions[] = {
    {"assign", "say which population each individual is from", assign_options, mycorrhiza_assign,
     "sow mycorrhiza gipsy.str --pop gipsy.pop -o out/", SOW_ACTION_COMPUTES},
    {"compare", "the paper's method beside four others, on your data", compare_options, mycorrhiza_compare,
     "sow mycorrhiza compare nancycats.str", SOW_ACTION_COMPUTES},
    {"network", "Neighbor-Net: circle and weighted splits", network_options, mycorrhiza_network,
     "sow mycorrhiza network D.npy -o splits.nex --plot network.svg", SOW_ACTION_COMPUTES},
    {"distances", "distances of genotypes", distance_options, mycorrhiza_distances,
     "sow mycorrhiza distances gipsy.str -o D.npy", SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_method_mycorrhiza = {
    .name = "mycorrhiza",
    .family = "groups",
    .summary = "populations of genotyped individuals, from a split network of all of them",
    .paper = "Georges-Filteau, Hamelin and Blanchette 2020, Bioinformatics 36:212, arXiv 2010.09483",
    .actions = actions,
};
