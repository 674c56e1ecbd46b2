/* The data of `sow mycorrhiza` as they were asked for. */
#include "starts/groups/mycorrhiza/job.h"

#include <string.h>
#include <strings.h>

#include "sow/json.h"
#include "sow/log.h"

static bool is_distances(const char *path) {
    static const char *const ends[] = {".npy", ".csv", ".tsv", ".nex", ".nxs", ".nexus", ".phy", ".phylip", ".dist"};
    size_t size = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (size > end && strcasecmp(path + size - end, ends[i]) == 0) return true;
    }
    return false;
}

/* ---- options ---- */

static bool has_option(const sow_call *call, const char *name) {
    for (const sow_option *o = call->action->options; o->name; o++)
        if (strcmp(o->name, name) == 0) return true;
    return false;
}

static void read_config(mycorrhiza_job *job) {
    const sow_call *call = job->call;
    sow_mycorrhiza_config *c = &job->config;
    *c = sow_mycorrhiza_defaults();
    if (has_option(call, "order"))
        c->net.reduction = strcmp(sow_text(call, "order"), "st4") == 0 ? SOW_REDUCE_SPLITSTREE4 : SOW_REDUCE_SYMMETRIC;
    if (has_option(call, "tolerance")) {
        const char *solver = sow_text(call, "solver"), *weights = sow_text(call, "weights");
        c->net.power = strcmp(weights, "fm1") == 0 ? 1 : strcmp(weights, "fm2") == 0 ? 2 : 0;
        c->net.sparsity = sow_real(call, "sparsity");
        c->net.tolerance = sow_real(call, "tolerance");
        c->net.threshold = sow_real(call, "threshold");
        c->net.solver = strcmp(solver, "exact") == 0 ? SOW_SPLITS_EXACT
                        : strcmp(solver, "cg") == 0  ? SOW_SPLITS_CG
                                                     : SOW_SPLITS_AUTO;
    }
    const char *distance = sow_text(call, "distance");
    c->distance = strcmp(distance, "jc") == 0        ? SOW_DISTANCE_JUKES_CANTOR
                  : strcmp(distance, "hamming") == 0 ? SOW_DISTANCE_HAMMING
                  : strcmp(distance, "ibs") == 0     ? SOW_DISTANCE_IBS
                                                     : SOW_DISTANCE_AUTO;
    c->first_copy_only = strcmp(sow_text(call, "alleles"), "first") == 0;
    c->cap = sow_real(call, "cap");
    c->seed = (uint64_t)sow_int(call, "seed");
    if (!has_option(call, "trees")) return;
    c->trees = (int)sow_int(call, "trees");
    c->partitions = (int)sow_int(call, "partitions");
    c->loci = sow_int(call, "loci");
    c->drop_trivial = !sow_flag(call, "keep-trivial");
}

static sow_status read_genotypes(mycorrhiza_job *job) {
    sow_call *call = job->call;
    sow_genotype_options o = sow_genotype_defaults();
    const char *marker = sow_text(call, "marker"), *format = sow_text(call, "format");
    o.format = strcmp(format, "auto") == 0 ? NULL : format;
    o.populations = has_option(call, "pop") ? sow_text(call, "pop") : NULL;
    o.missing = sow_text(call, "missing");
    o.marker = strcmp(marker, "snp") == 0        ? SOW_MARKER_SNP
               : strcmp(marker, "str") == 0      ? SOW_MARKER_STR
               : strcmp(marker, "sequence") == 0 ? SOW_MARKER_SEQUENCE
                                                 : SOW_MARKER_AUTO;
    o.ploidy = (int)sow_int(call, "ploidy");
    o.skip_columns = (int)sow_int(call, "skip-columns");
    return sow_genotypes_read(call->arena, sow_text(call, "data"), &o, &job->genotypes);
}

/* Individuals with too little data distort the whole network. */
static sow_status drop_missing(mycorrhiza_job *job) {
    sow_genotypes *g = &job->genotypes;
    double most = sow_real(job->call, "max-missing");
    int64_t *kept, count = 0, cells = g->loci * g->ploidy;
    if (most >= 1) return SOW_OK;
    SOW_TRY(SOW_NEW(job->call->arena, kept, g->individuals));
    for (int64_t i = 0; i < g->individuals; i++) {
        const uint16_t *row = sow_genotype_row(g, i, 0);
        int64_t missing = 0;
        for (int64_t c = 0; c < cells; c++) missing += row[c] == 0;
        if ((double)missing <= most * (double)cells) kept[count++] = i;
    }
    int64_t dropped = g->individuals - count;
    if (count < 2) return sow_fail(SOW_E_RANGE, "--max-missing %g leaves %lld individuals", most, (long long)count);
    if (dropped > 0)
        sow_note("%lld individuals miss more than %g of their alleles and are left out", (long long)dropped, most);
    SOW_TRY(sow_put_count(job->call->result, "left_out", dropped));
    return sow_genotypes_pick(g, kept, count, job->call->arena, g);
}

/* Labels for distances: a file as for genotypes, read by way of a table of one locus. */
static sow_status label_distances(mycorrhiza_job *job) {
    sow_call *call = job->call;
    int64_t n = job->distances.count;
    job->count = n, job->ids = job->distances.names;
    SOW_TRY(SOW_NEW(call->arena, job->labels, n));
    for (int64_t i = 0; i < n; i++) job->labels[i] = -1;
    const char *path = has_option(call, "pop") ? sow_text(call, "pop") : NULL;
    if (!path) return SOW_OK;
    return sow_labels_read(call->arena, path, job->ids, n, job->labels, &job->populations, &job->population_count);
}

static sow_status describe(mycorrhiza_job *job) {
    static const char *const markers[] = {"auto", "SNP", "STR", "sequence"};
    const sow_genotypes *g = &job->genotypes;
    sow_call *call = job->call;
    SOW_TRY(sow_put_count(call->result, "individuals", job->count));
    SOW_TRY(sow_put_count(call->result, "populations", job->population_count));
    if (g->individuals == 0) return SOW_OK;
    SOW_TRY(sow_put_count(call->result, "loci", g->loci));
    sow_note("%s: %s, %lld individuals of %d %s, %lld loci (%s), %d populations", sow_text(call, "data"), g->format,
             (long long)g->individuals, g->ploidy, g->ploidy == 1 ? "copy" : "copies", (long long)g->loci,
             markers[g->marker], job->population_count);
    return SOW_OK;
}

sow_status mycorrhiza_load(mycorrhiza_job *job, sow_call *call) {
    const char *path = sow_text(call, "data");
    *job = (mycorrhiza_job){.call = call};
    read_config(job);
    if (is_distances(path) && strcmp(sow_text(call, "format"), "auto") == 0) {
        SOW_TRY(sow_distances_read(call->arena, path, &job->distances));
        SOW_TRY(label_distances(job));
        return describe(job);
    }
    SOW_TRY(read_genotypes(job));
    SOW_TRY(drop_missing(job));
    job->count = job->genotypes.individuals, job->ids = job->genotypes.ids;
    job->labels = job->genotypes.population;
    job->populations = job->genotypes.populations, job->population_count = job->genotypes.population_count;
    return describe(job);
}

/* ---- who is learned from ---- */

sow_status mycorrhiza_split(mycorrhiza_job *job) {
    sow_arena *arena = job->call->arena;
    const int8_t *flag = job->genotypes.flag;
    bool mixed = false;
    if (job->population_count < 2)
        return sow_fail(SOW_E_ARGUMENT, "%s: %d population, expected two at least (--pop FILE, one label a line)",
                        sow_text(job->call, "data"), job->population_count);
    SOW_TRY(SOW_NEW(arena, job->learn, job->count));
    SOW_TRY(SOW_NEW(arena, job->predict, job->count));
    for (int64_t i = 1; flag && i < job->count; i++) mixed = mixed || flag[i] != flag[0];
    for (int64_t i = 0; i < job->count; i++) {
        bool known = job->labels[i] >= 0 && (!mixed || flag[i]);
        if (known) job->learn[job->learn_count++] = i;
        else job->predict[job->predict_count++] = i;
    }
    int64_t *sizes;
    SOW_TRY(SOW_NEW(arena, sizes, job->population_count));
    for (int64_t i = 0; i < job->learn_count; i++) sizes[job->labels[job->learn[i]]]++;
    for (int32_t k = 0; k < job->population_count; k++) {
        if (sizes[k] == 1)
            return sow_fail(SOW_E_RANGE, "population '%s' has one individual, expected two at least",
                            job->populations[k]);
        if (sizes[k] == 0) sow_warn("population '%s' has nobody to learn from", job->populations[k]);
    }
    return SOW_OK;
}

sow_status mycorrhiza_prepare(const mycorrhiza_job *job, sow_individuals **out) {
    sow_arena *arena = job->call->arena;
    if (job->genotypes.individuals > 0) return sow_individuals_of(&job->genotypes, &job->config, arena, out);
    return sow_individuals_apart(job->count, job->distances.values, &job->config, arena, out);
}
