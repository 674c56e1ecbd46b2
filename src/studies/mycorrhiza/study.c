/* The Mycorrhiza study: Georges-Filteau et al. 2020. Split networks with forests against principal components, an
 * allele-frequency test and others: on populations generated with more and less drift, inbreeding and linkage, on cats
 * (nancycats), and on gypsy moths where the files are given. */
#include <math.h>
#include <string.h>

#include "sow/data.h"
#include "sow/file.h"
#include "sow/groups.h"
#include "sow/log.h"
#include "studies/seeds.h"

enum { FOLDS = 5 };

/* The files of a run; NULL: not there, and not asked. */
typedef struct files {
    const char *cats, *mice, *moths;
} files;

/* One run of cross-validation with one assigner. */
static sow_status cross(const sow_individuals *individuals, const sow_genotypes *g, sow_assigner assigner,
                        uint64_t seed, sow_arena *arena, double *accuracy) {
    double *probabilities, *hits;
    SOW_TRY(SOW_NEW(arena, probabilities, g->individuals * g->population_count));
    SOW_TRY(SOW_NEW(arena, hits, g->individuals));
    return sow_assign_cross(individuals, assigner, g->population, g->population_count, FOLDS, 1, seed, arena,
                            probabilities, hits, accuracy);
}

/* Accuracy of an assigner becomes the score of "NAME where". */
static sow_status score_one(sow_study_call *call, const sow_individuals *individuals, const sow_genotypes *g,
                            sow_assigner assigner, uint64_t seed, const char *where, const char *metric,
                            sow_arena *arena, double *accuracy) {
    const char *arm = sow_arena_format(call->arena, "%s %s", sow_assigner_name(assigner), where);
    if (!arm) return SOW_E_MEMORY;
    SOW_TRY(cross(individuals, g, assigner, seed, arena, accuracy));
    return sow_study_score(call, arm, metric, seed, *accuracy);
}

/* ---- generated populations ---- */

typedef struct departure {
    double inbreeding, linkage;
    const char *name, *metric;
} departure;
static const departure departures[] = {{0, 0, "f=0 r=0", "accuracy, f=0 r=0"},
                                       {.5, 0, "f=.5 r=0", "accuracy, f=.5 r=0"},
                                       {.8, .9, "f=.8 r=.9", "accuracy, f=.8 r=.9"}};
static const struct {
    double fst;
    const char *name, *gap;
} drifts[] = {{.02, "F=.02", "gap to the frequency test, F=.02"},
              {.05, "F=.05", "gap to the frequency test, F=.05"},
              {.15, "F=.15", "gap to the frequency test, F=.15"}};

/* All assigners of the scale at one point of the grid, and the gap to the frequency test. */
static sow_status grid_point(sow_study_call *call, int drift, const departure *d, uint64_t seed, sow_arena *arena) {
    static const sow_assigner small[] = {SOW_ASSIGN_NETWORK, SOW_ASSIGN_PCA, SOW_ASSIGN_FREQUENCY},
                              more[] = {SOW_ASSIGN_NEIGHBOURS, SOW_ASSIGN_ADMIXTURE};
    sow_genotype_model model = {.populations = 5,
                                .each = 20,
                                .loci = 300,
                                .fst = drifts[drift].fst,
                                .inbreeding = d->inbreeding,
                                .linkage = d->linkage,
                                .block = 10,
                                .seed = seed};
    sow_mycorrhiza_config config = sow_mycorrhiza_defaults();
    sow_individuals *individuals;
    sow_genotypes g;
    double accuracy[3], other;
    config.distance = SOW_DISTANCE_IBS, config.seed = seed;
    SOW_TRY(sow_genotypes_generate(&model, arena, &g));
    SOW_TRY(sow_individuals_of(&g, &config, arena, &individuals));
    for (int a = 0; a < 3; a++)
        SOW_TRY(score_one(call, individuals, &g, small[a], seed, drifts[drift].name, d->metric, arena, &accuracy[a]));
    for (int a = 0; a < 2 && call->scale == SOW_SCALE_FULL; a++)
        SOW_TRY(score_one(call, individuals, &g, more[a], seed, drifts[drift].name, d->metric, arena, &other));
    return sow_study_score(call, d->name, drifts[drift].gap, seed, accuracy[2] - accuracy[0]);
}

static sow_status run_grid(sow_study_call *call, uint64_t seed, sow_arena *arena) {
    for (int drift = 0; drift < 3; drift++)
        for (int d = 0; d < 3; d++) {
            sow_mark mark = sow_arena_mark(arena);
            SOW_TRY(sow_check_interrupt());
            SOW_TRY(grid_point(call, drift, &departures[d], seed, arena));
            sow_arena_release(arena, mark);
            sow_progress("generated populations", drift * 3 + d + 1, 9);
        }
    return SOW_OK;
}

/* ---- real data ---- */

/* A file of that name in the folder given by --data; NULL: not there. */
static const char *given_file(const sow_study_call *call, const char *name) {
    if (!call->data) return NULL;
    const char *path = sow_is_folder(call->data) ? sow_path_join(call->arena, call->data, name) : call->data;
    return path && strcmp(sow_path_name(path), name) == 0 && sow_path_exists(path) ? path : NULL;
}

/* The same, or where `sow fetch NAME` puts it; warns when it is nowhere. */
static sow_status find_file(const sow_study_call *call, const char *name, const char *file, const char *without,
                            const char **out) {
    char *folder;
    *out = given_file(call, file);
    if (*out) return SOW_OK;
    if (sow_data_locate(call->arena, name, &folder) == SOW_OK) {
        if (!(*out = sow_path_join(call->arena, folder, file))) return SOW_E_MEMORY;
        if (sow_path_exists(*out)) return SOW_OK;
        *out = NULL;
    }
    sow_warn("%s is not here (\"sow fetch %s\", or --data FOLDER): %s", file, name, without);
    return SOW_OK;
}

/* Cats in 17 colonies, 9 microsatellites: one network of all loci against one for each locus. */
static sow_status run_cats(sow_study_call *call, const char *path, uint64_t seed, sow_arena *arena) {
    sow_genotype_options options = sow_genotype_defaults();
    sow_genotypes g;
    double accuracy;
    SOW_TRY(sow_genotypes_read(arena, path, &options, &g));
    for (int parts = 1; parts <= 9; parts += 8) {
        sow_mark mark = sow_arena_mark(arena);
        sow_mycorrhiza_config config = sow_mycorrhiza_defaults();
        sow_individuals *individuals;
        const char *where = parts == 1 ? "P=1" : "P=9", *metric = "accuracy, nancycats";
        config.partitions = parts, config.seed = seed;
        SOW_TRY(sow_individuals_of(&g, &config, arena, &individuals));
        for (int a = 0; a < (parts == 1 ? SOW_ASSIGNERS : SOW_ASSIGN_FREQUENCY); a++)
            SOW_TRY(score_one(call, individuals, &g, (sow_assigner)a, seed, where, metric, arena, &accuracy));
        sow_arena_release(arena, mark);
        sow_progress("cats", 1 + (parts > 1), 2);
    }
    return SOW_OK;
}

/* Fifteen mice: how well a network fits their sequences, by both reductions. Nobody claims a figure: it is reported. */
static sow_status run_mice(sow_study_call *call, const char *path, uint64_t seed, sow_arena *arena) {
    static const char *const arms[] = {"symmetric reduction", "SplitsTree4's reduction"};
    sow_genotype_options options = sow_genotype_defaults();
    sow_genotypes g;
    SOW_TRY(sow_genotypes_read(arena, path, &options, &g));
    for (int r = 0; r < 2; r++) {
        sow_mycorrhiza_config config = sow_mycorrhiza_defaults();
        sow_individuals *individuals;
        config.net.reduction = r == 0 ? SOW_REDUCE_SYMMETRIC : SOW_REDUCE_SPLITSTREE4;
        SOW_TRY(sow_individuals_of(&g, &config, arena, &individuals));
        const sow_network *network = sow_individuals_network(individuals, 0);
        SOW_TRY(sow_study_score(call, arms[r], "fit of the woodmice in %", seed, network->fit));
        SOW_TRY(sow_study_score(call, arms[r], "splits of the woodmice", seed, (double)network->count));
    }
    return SOW_OK;
}

/* Gypsy moths of 8 populations: few loci drawn at random are enough. */
static sow_status run_moths(sow_study_call *call, const char *path, uint64_t seed, sow_arena *arena) {
    static const struct {
        int64_t loci;
        const char *name;
    } draws[] = {{50, "m=50"}, {100, "m=100"}, {200, "m=200"}, {0, "all loci"}};
    sow_genotype_options options = sow_genotype_defaults();
    sow_genotypes g;
    double accuracy;
    options.populations = given_file(call, "gipsy.pop");
    SOW_TRY(sow_genotypes_read(arena, path, &options, &g));
    for (int m = 0; m < 4; m++) {
        sow_mark mark = sow_arena_mark(arena);
        sow_mycorrhiza_config config = sow_mycorrhiza_defaults();
        sow_individuals *individuals;
        config.loci = draws[m].loci, config.seed = seed;
        SOW_TRY(sow_individuals_of(&g, &config, arena, &individuals));
        for (int a = 0; a < SOW_ASSIGNERS; a++)
            SOW_TRY(score_one(call, individuals, &g, (sow_assigner)a, seed, draws[m].name, "accuracy, gypsy moth",
                              arena, &accuracy));
        sow_arena_release(arena, mark);
        sow_progress("moths", m + 1, 4);
    }
    return SOW_OK;
}

/* ---- smoke: well separated populations, and the worked example ---- */

static sow_status run_smoke(sow_study_call *call, uint64_t seed, sow_arena *arena) {
    static const double distances[] = {0,   8.5, 7.5, 3,   7.5, 5,    8.5, 0,   13,   9.5, 11,   5.5,
                                       7.5, 13,  0,   8.5, 4,   10.5, 3,   9.5, 8.5,  0,   8.5,  6,
                                       7.5, 11,  4,   8.5, 0,   10.5, 5,   5.5, 10.5, 6,   10.5, 0};
    sow_neighbornet_config net = sow_neighbornet_defaults();
    sow_genotype_model model = {.populations = 4, .each = 12, .loci = 200, .fst = .3, .block = 1, .seed = seed};
    sow_mycorrhiza_config config = sow_mycorrhiza_defaults();
    sow_individuals *individuals;
    sow_genotypes g;
    sow_network network;
    double accuracy;
    config.seed = seed;
    SOW_TRY(sow_genotypes_generate(&model, arena, &g));
    SOW_TRY(sow_individuals_of(&g, &config, arena, &individuals));
    SOW_TRY(score_one(call, individuals, &g, SOW_ASSIGN_NETWORK, seed, "F=.3", "accuracy", arena, &accuracy));
    SOW_TRY(score_one(call, individuals, &g, SOW_ASSIGN_FREQUENCY, seed, "F=.3", "accuracy", arena, &accuracy));
    SOW_TRY(sow_neighbornet(6, distances, &net, arena, &network));
    return sow_study_score(call, "worked example", "residual", seed, network.residual);
}

/* ---- full: time against the number of individuals ---- */

/* Growth exponent between 250 and 1,000 individuals of 200 loci, and seconds at 1,000 and 2,000. */
static sow_status run_times(sow_study_call *call, uint64_t seed, sow_arena *arena) {
    static const int each[] = {50, 200, 400};
    static const char *const arms[] = {"n=250", "n=1000", "n=2000"};
    double seconds[3];
    for (int i = 0; i < 3; i++) {
        sow_mark mark = sow_arena_mark(arena);
        sow_genotype_model model = {
            .populations = 5, .each = each[i], .loci = 200, .fst = .1, .block = 1, .seed = seed};
        sow_mycorrhiza_config config = sow_mycorrhiza_defaults();
        sow_individuals *individuals;
        sow_genotypes g;
        SOW_TRY(sow_genotypes_generate(&model, arena, &g));
        double start = sow_seconds();
        SOW_TRY(sow_individuals_of(&g, &config, arena, &individuals));
        seconds[i] = sow_seconds() - start;
        SOW_TRY(sow_study_score(call, arms[i], "seconds", seed, seconds[i]));
        sow_arena_release(arena, mark);
    }
    return sow_study_score(call, "network", "growth exponent", seed, log(seconds[1] / seconds[0]) / log(4));
}

/* ---- clauses: the margins of the specification, fixed before any run with the study's seeds ---- */

static const sow_clause smoke_clauses[] = {
    SOW_AT_LEAST("well separated populations are told apart", "mycorrhiza F=.3", NULL, "accuracy", SOW_MEAN_DIFFERENCE,
                 .95),
    SOW_AT_MOST("exactly circular distances are fitted exactly", "worked example", NULL, "residual",
                SOW_MEAN_DIFFERENCE, 1e-9),
};

#define RISES(low, high, metric)                                                                                \
    SOW_AT_LEAST("accuracy rises from " low " to " high " (" metric ")", "mycorrhiza " high, "mycorrhiza " low, \
                 metric, SOW_MEAN_DIFFERENCE, 0)
#define ABOVE_COMPONENTS(level)                                                                                        \
    SOW_AT_LEAST("inbred and linked, " level ": above principal components", "mycorrhiza " level, "pca+forest " level, \
                 "accuracy, f=.8 r=.9", SOW_MEAN_DIFFERENCE, .05)
#define LEAD_SHRINKS(level)                                                                              \
    SOW_AT_LEAST("the frequency test's lead shrinks out of equilibrium, " level, "f=0 r=0", "f=.8 r=.9", \
                 "gap to the frequency test, " level, SOW_MEAN_DIFFERENCE, 1e-9)
#define SMALL_CLAUSES                                                                                         \
    RISES("F=.02", "F=.05", "accuracy, f=0 r=0"), RISES("F=.05", "F=.15", "accuracy, f=0 r=0"),               \
        RISES("F=.02", "F=.05", "accuracy, f=.5 r=0"), RISES("F=.05", "F=.15", "accuracy, f=.5 r=0"),         \
        RISES("F=.02", "F=.05", "accuracy, f=.8 r=.9"), RISES("F=.05", "F=.15", "accuracy, f=.8 r=.9"),       \
        ABOVE_COMPONENTS("F=.02"), ABOVE_COMPONENTS("F=.05"), LEAD_SHRINKS("F=.02"), LEAD_SHRINKS("F=.05"),   \
        SOW_AT_LEAST("cats: a network for each locus above one of all", "mycorrhiza P=9", "mycorrhiza P=1",   \
                     "accuracy, nancycats", SOW_MEAN_DIFFERENCE, .03),                                        \
        SOW_AT_LEAST("cats: above principal components with one network", "mycorrhiza P=1", "pca+forest P=1", \
                     "accuracy, nancycats", SOW_MEAN_DIFFERENCE, .02)
#define MOTH(m, value) \
    SOW_AT_LEAST("moths: " m " are enough", "mycorrhiza " m, NULL, "accuracy, gypsy moth", SOW_MEAN_DIFFERENCE, value)
#define MOTH_CLAUSES MOTH("m=50", .93), MOTH("m=100", .95), MOTH("m=200", .97), MOTH("all loci", .98)
#define TIME_CLAUSE                                                                                    \
    SOW_AT_MOST("time grows about as the cube of the individuals", "network", NULL, "growth exponent", \
                SOW_MEAN_DIFFERENCE, 3.1)

static const sow_clause small_clauses[] = {SMALL_CLAUSES}, moth_clauses[] = {SMALL_CLAUSES, MOTH_CLAUSES},
                        full_clauses[] = {SMALL_CLAUSES, TIME_CLAUSE},
                        full_moth_clauses[] = {SMALL_CLAUSES, TIME_CLAUSE, MOTH_CLAUSES};

static sow_status run_parts(sow_study_call *call, uint64_t seed, const files *f, sow_arena *arena) {
    if (call->scale == SOW_SCALE_SMOKE) return run_smoke(call, seed, arena);
    SOW_TRY(run_grid(call, seed, arena));
    if (f->cats) SOW_TRY(run_cats(call, f->cats, seed, arena));
    if (f->mice) SOW_TRY(run_mice(call, f->mice, seed, arena));
    if (f->moths) SOW_TRY(run_moths(call, f->moths, seed, arena));
    return call->scale == SOW_SCALE_FULL ? run_times(call, seed, arena) : SOW_OK;
}

static sow_status run_seed(sow_study_call *call, uint64_t seed, void *user) {
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = run_parts(call, seed, user, arena);
    sow_arena_free(arena);
    return status;
}

static sow_status find_files(const sow_study_call *call, files *f) {
    if (call->scale == SOW_SCALE_SMOKE) return SOW_OK;
    f->moths = given_file(call, "gipsy.str");
    SOW_TRY(find_file(call, "nancycats", "nancycats.str", "its clauses stay undecided", &f->cats));
    return find_file(call, "woodmouse", "woodmouse.fasta", "its figures are left out", &f->mice);
}

static sow_status run(sow_study_call *call) {
    static const char *const scales[] = {"smoke", "small", "full"};
    files f = {0};
    call->claim =
        "Split networks with a forest assign better than principal components, most of all out of equilibrium; "
        "partitions help on microsatellites";
    SOW_TRY(find_files(call, &f));
    bool full = call->scale == SOW_SCALE_FULL;
    if (call->scale == SOW_SCALE_SMOKE) SOW_DECIDES(call, smoke_clauses);
    else if (full && f.moths) SOW_DECIDES(call, full_moth_clauses);
    else if (full) SOW_DECIDES(call, full_clauses);
    else if (f.moths) SOW_DECIDES(call, moth_clauses);
    else SOW_DECIDES(call, small_clauses);
    const char *plan = sow_arena_format(call->arena, "mycorrhiza 1, %s%s%s%s", scales[call->scale],
                                        f.cats ? ", nancycats" : "", f.mice ? ", woodmouse" : "",
                                        f.moths ? ", gypsy moth" : "");
    if (!plan) return SOW_E_MEMORY;
    for (int s = 0; s < call->seed_count; s++) SOW_TRY(study_seed(call, call->seeds[s], plan, run_seed, &f));
    return SOW_OK;
}

const sow_study sow_study_mycorrhiza = {
    .name = "mycorrhiza",
    .method = "mycorrhiza",
    .paper = "Georges-Filteau, Hamelin and Blanchette 2020, arXiv 2010.09483",
    .summary = "split networks and forests against principal components and a frequency test",
    .seeds = {"1:3", "1:5", "1:20"},
    .time = {"1 second", "2 minutes", "20 minutes"},
    .data_help =
        "a folder with gipsy.str and gipsy.pop; nancycats.str and woodmouse.fasta, too, where sow fetch did not bring them",
    .run = run,
};
