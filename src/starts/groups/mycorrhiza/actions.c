/* The actions of `sow mycorrhiza`. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/npy.h"
#include "sow/stats.h"
#include "starts/groups/mycorrhiza/draw.h"
#include "starts/groups/mycorrhiza/job.h"

/* What one assigner made of the individuals. */
typedef struct outcome {
    double *probabilities; /* [count, populations] */
    double *hits;          /* [count]; NaN: label not known */
    double accuracy, low, high;
    int64_t scored;
} outcome;

/* ---- the assignment ---- */

/* Clopper and Pearson's 95 % interval, of individuals; hits may be shares of repeats. */
static void score(const mycorrhiza_job *job, outcome *o) {
    double sum = 0;
    o->scored = 0;
    for (int64_t i = 0; i < job->count; i++)
        if (!isnan(o->hits[i])) sum += o->hits[i], o->scored++;
    double n = (double)o->scored;
    o->accuracy = o->scored ? sum / n : NAN;
    o->low = sum > 0 ? sow_beta_quantile(.025, sum, n - sum + 1) : 0;
    o->high = sum < n ? sow_beta_quantile(.975, sum + 1, n - sum) : 1;
}

static sow_status by_flags(const mycorrhiza_job *job, const sow_individuals *individuals, sow_assigner assigner,
                           bool outside, outcome *o) {
    int32_t classes = job->population_count;
    sow_arena *arena = job->call->arena;
    double *own;
    SOW_TRY(SOW_NEW(arena, own, job->predict_count * classes));
    if (outside)
        SOW_TRY(sow_assign_outside(&job->genotypes, &job->config, job->labels, classes, job->learn, job->learn_count,
                                   job->predict, job->predict_count, arena, own));
    else
        SOW_TRY(sow_assign(individuals, assigner, job->labels, classes, job->learn, job->learn_count, job->predict,
                           job->predict_count, job->config.seed, arena, own));
    for (int64_t i = 0; i < job->count; i++) o->hits[i] = NAN;
    for (int64_t i = 0; i < job->learn_count; i++)
        o->probabilities[job->learn[i] * classes + job->labels[job->learn[i]]] = 1;
    for (int64_t i = 0; i < job->predict_count; i++) {
        int64_t who = job->predict[i];
        memcpy(o->probabilities + who * classes, own + i * classes, (size_t)classes * sizeof *own);
        if (job->labels[who] >= 0) o->hits[who] = sow_best_class(own + i * classes, classes) == job->labels[who];
    }
    return SOW_OK;
}

static sow_status assign(const mycorrhiza_job *job, const sow_individuals *individuals, sow_assigner assigner,
                         bool outside, outcome *o) {
    sow_arena *arena = job->call->arena;
    int repeats = (int)sow_int(job->call, "repeats");
    double *accuracy;
    SOW_TRY(SOW_NEW(arena, o->probabilities, job->count * job->population_count));
    SOW_TRY(SOW_NEW(arena, o->hits, job->count));
    SOW_TRY(SOW_NEW(arena, accuracy, repeats));
    if (job->predict_count > 0) SOW_TRY(by_flags(job, individuals, assigner, outside, o));
    else
        SOW_TRY(sow_assign_cross(individuals, assigner, job->labels, job->population_count,
                                 (int)sow_int(job->call, "folds"), repeats, job->config.seed, arena, o->probabilities,
                                 o->hits, accuracy));
    score(job, o);
    return SOW_OK;
}

/* ---- files ---- */

typedef struct output {
    const mycorrhiza_job *job;
    const char *folder;
} output;

static sow_status begin(const output *o, const char *name, sow_writer **out, const char **path) {
    if (!(*path = sow_path_join(o->job->call->arena, o->folder, name))) return SOW_E_MEMORY;
    return sow_writer_open(*path, out);
}

static sow_status end(const output *o, sow_writer *out, const char *path) {
    SOW_TRY(sow_writer_commit(out));
    return sow_wrote(o->job->call, path);
}

static sow_status write_mixture(const output *o, const outcome *found) {
    const mycorrhiza_job *job = o->job;
    int32_t classes = job->population_count;
    char number[SOW_REAL_TEXT];
    const char *path;
    sow_writer *out;
    SOW_TRY(begin(o, "Q.tsv", &out, &path));
    sow_writer_printf(out, "samples");
    for (int32_t k = 0; k < classes; k++) sow_writer_printf(out, "\t%.500s", job->populations[k]);
    for (int64_t i = 0; i < job->count; i++) {
        sow_writer_printf(out, "\n%.500s", job->ids[i]);
        for (int32_t k = 0; k < classes; k++)
            sow_writer_printf(out, "\t%s", sow_real_text(found->probabilities[i * classes + k], number));
    }
    sow_writer_printf(out, "\n");
    return end(o, out, path);
}

/* id, label, assigned, probability, share of repeats assigned rightly, chance under the likeliest population. */
static sow_status write_assignment(const output *o, const outcome *found, const double *exclusion) {
    const mycorrhiza_job *job = o->job;
    int32_t classes = job->population_count;
    const char *path;
    sow_writer *out;
    int64_t excluded = 0;
    SOW_TRY(begin(o, "assignment.tsv", &out, &path));
    sow_writer_printf(out, "sample\tlabel\tassigned\tprobability\tright%s\n",
                      exclusion ? "\tp_assigned\tp_largest\tnone_of_these" : "");
    for (int64_t i = 0; i < job->count; i++) {
        const double *row = found->probabilities + i * classes;
        int32_t best = sow_best_class(row, classes);
        sow_writer_printf(out, "%.500s\t%.500s\t%.500s\t%.6g\t", job->ids[i],
                          job->labels[i] < 0 ? "" : job->populations[job->labels[i]], job->populations[best],
                          row[best]);
        if (!isnan(found->hits[i])) sow_writer_printf(out, "%.6g", found->hits[i]);
        if (exclusion) {
            double largest = 0;
            for (int32_t k = 0; k < classes; k++) largest = fmax(largest, exclusion[i * classes + k]);
            sow_writer_printf(out, "\t%.6g\t%.6g\t%s", exclusion[i * classes + best], largest,
                              largest < .01 ? "yes" : "no");
            excluded += largest < .01;
        }
        sow_writer_printf(out, "\n");
    }
    if (exclusion) SOW_TRY(sow_put_count(job->call->result, "excluded_everywhere", excluded));
    return end(o, out, path);
}

/* Accuracy, then true and assigned population of each individual: the layout of the published program. */
static sow_status write_accuracy(const output *o, const outcome *found) {
    const mycorrhiza_job *job = o->job;
    const char *path;
    sow_writer *out;
    SOW_TRY(begin(o, "acc.tsv", &out, &path));
    sow_writer_printf(out, "accuracy\t%.6g\nsample\ttrue\tassigned\n", found->accuracy);
    for (int64_t i = 0; i < job->count; i++) {
        if (isnan(found->hits[i])) continue;
        int32_t best = sow_best_class(found->probabilities + i * job->population_count, job->population_count);
        sow_writer_printf(out, "%.500s\t%.500s\t%.500s\n", job->ids[i], job->populations[job->labels[i]],
                          job->populations[best]);
    }
    return end(o, out, path);
}

/* Rows: labels; columns: assigned, by the mean probabilities. */
static sow_status write_confusion(const output *o, const outcome *found) {
    const mycorrhiza_job *job = o->job;
    int32_t classes = job->population_count;
    const char *path;
    sow_writer *out;
    int64_t *table;
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(job->call->result, "confusion", rows));
    SOW_TRY(SOW_NEW(job->call->arena, table, (int64_t)classes * classes));
    for (int64_t i = 0; i < job->count; i++)
        if (!isnan(found->hits[i]))
            table[job->labels[i] * classes + sow_best_class(found->probabilities + i * classes, classes)]++;
    SOW_TRY(begin(o, "confusion.tsv", &out, &path));
    sow_writer_printf(out, "label");
    for (int32_t k = 0; k < classes; k++) sow_writer_printf(out, "\t%.500s", job->populations[k]);
    sow_writer_printf(out, "\n");
    for (int32_t a = 0; a < classes; a++) {
        json_t *row = json_object();
        if (!row || json_object_set_new(row, "label", json_string(job->populations[a]))) {
            sow_writer_abort(out);
            return sow_fail(SOW_E_MEMORY, "out of memory");
        }
        sow_writer_printf(out, "%.500s", job->populations[a]);
        for (int32_t b = 0; b < classes; b++) {
            sow_writer_printf(out, "\t%lld", (long long)table[a * classes + b]);
            json_object_set_new(row, job->populations[b], json_integer(table[a * classes + b]));
        }
        sow_writer_printf(out, "\n");
        json_array_append_new(rows, row);
    }
    return end(o, out, path);
}

static sow_status write_populations(const output *o) {
    const mycorrhiza_job *job = o->job;
    int32_t classes = job->population_count;
    sow_population_summary *summary;
    double *pairs;
    const char *path;
    sow_writer *out;
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(job->call->result, "population", rows));
    SOW_TRY(SOW_NEW(job->call->arena, summary, classes));
    SOW_TRY(SOW_NEW(job->call->arena, pairs, (int64_t)classes * classes));
    SOW_TRY(sow_genotype_summary(&job->genotypes, job->call->arena, summary, pairs));
    SOW_TRY(begin(o, "populations.tsv", &out, &path));
    sow_writer_printf(out, "population\tsamples\tmissing\texpected_heterozygosity\tobserved_heterozygosity\tfst");
    for (int32_t k = 0; k < classes; k++) sow_writer_printf(out, "\tfst_%.500s", job->populations[k]);
    for (int32_t k = 0; k < classes; k++) {
        const sow_population_summary *s = &summary[k];
        sow_writer_printf(out, "\n%.500s\t%lld\t%.6g\t%.6g\t%.6g\t%.6g", job->populations[k], (long long)s->samples,
                          s->missing, s->heterozygosity, s->observed, s->fst);
        for (int32_t b = 0; b < classes; b++) sow_writer_printf(out, "\t%.6g", pairs[k * classes + b]);
        json_array_append_new(rows, json_pack("{s:s,s:I,s:f,s:o,s:o,s:o}", "population", job->populations[k], "samples",
                                              (json_int_t)s->samples, "missing", s->missing, "expected_heterozygosity",
                                              sow_json_real(s->heterozygosity), "observed_heterozygosity",
                                              sow_json_real(s->observed), "fst", sow_json_real(s->fst)));
    }
    sow_writer_printf(out, "\n");
    return end(o, out, path);
}

/* A drawing in both forms; pixels only where this build can make them. */
static sow_status write_drawing(const output *o, const char *stem, const sow_network *network, const outcome *found) {
    const mycorrhiza_job *job = o->job;
    static const char *const endings[] = {"svg", "png"};
    for (int e = 0; e < 2; e++) {
        const char *name = sow_arena_format(job->call->arena, "%s.%s", stem, endings[e]);
        const char *path = name ? sow_path_join(job->call->arena, o->folder, name) : NULL;
        if (!path) return SOW_E_MEMORY;
        sow_mark mark = sow_arena_mark(job->call->arena);
        sow_status status = network
                                ? draw_network(path, network, job->ids, job->population_count > 0 ? job->labels : NULL,
                                               job->populations, job->population_count, job->call->arena)
                                : draw_mixture(path, found->probabilities, job->count, job->labels, job->populations,
                                               job->population_count, job->call->arena);
        sow_arena_release(job->call->arena, mark);
        if (status == SOW_E_UNSUPPORTED && e == 1) return SOW_OK;
        if (status == SOW_E_RANGE) return SOW_OK; /* nothing to draw */
        SOW_TRY(status);
        SOW_TRY(sow_wrote(job->call, path));
    }
    return SOW_OK;
}

static sow_status write_networks(const output *o, const sow_individuals *individuals) {
    const mycorrhiza_job *job = o->job;
    int parts = sow_individuals_parts(individuals);
    for (int p = 0; p < parts; p++) {
        const char *name = parts == 1 ? "splits.nex" : sow_arena_format(job->call->arena, "splits_%02d.nex", p + 1);
        const char *path = name ? sow_path_join(job->call->arena, o->folder, name) : NULL;
        if (!path) return SOW_E_MEMORY;
        SOW_TRY(sow_network_write(path, sow_individuals_network(individuals, p), job->ids));
        SOW_TRY(sow_wrote(job->call, path));
    }
    return write_drawing(o, "network", sow_individuals_network(individuals, 0), NULL);
}

/* ---- assign ---- */

static sow_status report_outcome(const mycorrhiza_job *job, const sow_individuals *individuals, const outcome *o) {
    sow_call *call = job->call;
    int parts = sow_individuals_parts(individuals);
    double fit = 0;
    int64_t splits = 0;
    for (int p = 0; p < parts; p++) {
        fit += sow_individuals_network(individuals, p)->fit / parts;
        splits += sow_individuals_network(individuals, p)->count;
    }
    SOW_TRY(sow_put_count(call->result, "splits", splits));
    SOW_TRY(sow_put_real(call->result, "fit", fit));
    SOW_TRY(sow_put_text(call->result, "how",
                         job->predict_count ? "learned from the labelled, predicted the others"
                                            : "stratified cross-validation"));
    SOW_TRY(sow_put_count(call->result, "scored", o->scored));
    SOW_TRY(sow_put_real(call->result, "accuracy", o->accuracy));
    if (o->scored == 0) return SOW_OK;
    return sow_put_json(call->result, "interval", json_pack("[f,f]", o->low, o->high));
}

/* A warning where the plain frequency test does clearly better on the same folds. */
static sow_status check_tool(const mycorrhiza_job *job, const sow_individuals *individuals, const outcome *o) {
    outcome plain;
    if (job->genotypes.individuals == 0 || o->scored == 0) return SOW_OK;
    SOW_TRY(assign(job, individuals, SOW_ASSIGN_FREQUENCY, false, &plain));
    SOW_TRY(sow_put_real(job->call->result, "frequency_test_accuracy", plain.accuracy));
    if (plain.accuracy > o->accuracy + .02)
        sow_warn(
            "a plain allele-frequency test assigns %.1f %% rightly, this method %.1f %%: see `sow mycorrhiza compare`",
            100 * plain.accuracy, 100 * o->accuracy);
    return SOW_OK;
}

sow_status mycorrhiza_assign(sow_call *call) {
    mycorrhiza_job job;
    sow_individuals *individuals;
    outcome found;
    double *exclusion = NULL;
    const char *folder = sow_text(call, "out");
    SOW_TRY(sow_check_output(call, folder));
    SOW_TRY(mycorrhiza_load(&job, call));
    SOW_TRY(mycorrhiza_split(&job));
    bool outside = sow_flag(call, "inductive");
    if (outside && (job.predict_count == 0 || job.genotypes.individuals == 0))
        return sow_fail(SOW_E_ARGUMENT, "--inductive needs genotypes of individuals to predict: flags 0 and 1, or "
                                        "individuals without a population");
    SOW_TRY(mycorrhiza_prepare(&job, &individuals));
    SOW_TRY(assign(&job, individuals, SOW_ASSIGN_NETWORK, outside, &found));
    if (job.genotypes.individuals > 0 && sow_int(call, "draws") > 0) {
        int32_t *known;
        SOW_TRY(SOW_NEW(call->arena, known, job.count));
        for (int64_t i = 0; i < job.count; i++) known[i] = -1;
        for (int64_t i = 0; i < job.learn_count; i++) known[job.learn[i]] = job.labels[job.learn[i]];
        SOW_TRY(SOW_NEW(call->arena, exclusion, job.count * job.population_count));
        SOW_TRY(sow_exclusion(&job.genotypes, known, job.population_count, (int)sow_int(call, "draws"), job.config.seed,
                              call->arena, exclusion));
    }
    output o = {&job, folder};
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(write_mixture(&o, &found));
    SOW_TRY(write_assignment(&o, &found, exclusion));
    if (job.genotypes.individuals > 0) SOW_TRY(write_populations(&o));
    if (found.scored > 0) {
        SOW_TRY(write_accuracy(&o, &found));
        SOW_TRY(write_confusion(&o, &found));
    }
    SOW_TRY(write_networks(&o, individuals));
    SOW_TRY(write_drawing(&o, "mixture", NULL, &found));
    SOW_TRY(report_outcome(&job, individuals, &found));
    return check_tool(&job, individuals, &found);
}

/* ---- compare ---- */

/* 95 % t interval of the mean difference to the paper's method, over individuals. */
static sow_status difference(const outcome *a, const outcome *b, int64_t n, sow_arena *arena, double *mean, double *low,
                             double *high) {
    double *d;
    int64_t count = 0;
    SOW_TRY(SOW_NEW(arena, d, n));
    *mean = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(a->hits[i])) d[count] = a->hits[i] - b->hits[i], *mean += d[count++];
    *mean /= (double)(count > 0 ? count : 1);
    return sow_t_interval(d, (int)count, .05, low, high);
}

sow_status mycorrhiza_compare(sow_call *call) {
    mycorrhiza_job job;
    sow_individuals *individuals;
    outcome found[SOW_ASSIGNERS];
    json_t *rows = json_array();
    int best = 0;
    SOW_TRY(mycorrhiza_load(&job, call));
    SOW_TRY(mycorrhiza_split(&job));
    SOW_TRY(mycorrhiza_prepare(&job, &individuals));
    SOW_TRY(sow_put_json(call->result, "methods", rows));
    for (int a = 0; a < SOW_ASSIGNERS; a++) {
        bool alleles = a == SOW_ASSIGN_FREQUENCY || a == SOW_ASSIGN_ADMIXTURE;
        if (alleles && job.genotypes.individuals == 0) continue;
        SOW_TRY(assign(&job, individuals, (sow_assigner)a, false, &found[a]));
        const outcome *o = &found[a];
        if (o->scored < 2)
            return sow_fail(SOW_E_ARGUMENT, "nobody to predict has a known population: nothing to compare");
        if (o->accuracy > found[best].accuracy) best = a;
        json_t *row = json_pack("{s:s,s:f,s:f,s:f}", "method", sow_assigner_name((sow_assigner)a), "accuracy",
                                o->accuracy, "low", o->low, "high", o->high);
        SOW_TRY(sow_append_json(rows, row));
        if (a > 0) {
            double mean, low, high;
            SOW_TRY(difference(o, &found[0], job.count, call->arena, &mean, &low, &high));
            SOW_TRY(sow_put_real(row, "less_mycorrhiza", mean));
            SOW_TRY(sow_put_real(row, "from", low));
            SOW_TRY(sow_put_real(row, "to", high));
        }
    }
    return sow_put_text(call->result, "best", sow_assigner_name((sow_assigner)best));
}

/* ---- network and distances ---- */

static const char *dot(const char *path) {
    const char *end = strrchr(path, '.');
    return end ? end : "";
}

sow_status mycorrhiza_network(sow_call *call) {
    mycorrhiza_job job;
    sow_individuals *individuals;
    const char *out = sow_text(call, "out"), *plot = sow_text(call, "plot");
    SOW_TRY(sow_check_output(call, out));
    if (plot) SOW_TRY(sow_check_output(call, plot));
    SOW_TRY(mycorrhiza_load(&job, call));
    double start = sow_seconds();
    SOW_TRY(mycorrhiza_prepare(&job, &individuals));
    double seconds = sow_seconds() - start;
    const sow_network *network = sow_individuals_network(individuals, 0);
    SOW_TRY(sow_network_write(out, network, job.ids));
    SOW_TRY(sow_wrote(call, out));
    if (plot) {
        SOW_TRY(draw_network(plot, network, job.ids, job.population_count ? job.labels : NULL, job.populations,
                             job.population_count, call->arena));
        SOW_TRY(sow_wrote(call, plot));
    }
    if (!network->settled) sow_warn("the split weights are not optimal yet: raise --tolerance or take --solver cg");
    SOW_TRY(sow_put_count(call->result, "splits", network->count));
    SOW_TRY(sow_put_real(call->result, "fit", network->fit));
    SOW_TRY(sow_put_real(call->result, "residual", network->residual));
    SOW_TRY(sow_put_real(call->result, "optimality", network->violation));
    return sow_put_real(call->result, "seconds", seconds);
}

static sow_status write_csv(const char *path, const mycorrhiza_job *job, const double *d, const char *separator) {
    sow_writer *out;
    char number[SOW_REAL_TEXT];
    SOW_TRY(sow_writer_open(path, &out));
    sow_writer_printf(out, "sample");
    for (int64_t i = 0; i < job->count; i++) sow_writer_printf(out, "%s%.500s", separator, job->ids[i]);
    for (int64_t i = 0; i < job->count; i++) {
        sow_writer_printf(out, "\n%.500s", job->ids[i]);
        for (int64_t j = 0; j < job->count; j++)
            sow_writer_printf(out, "%s%s", separator, sow_real_text(d[i * job->count + j], number));
    }
    sow_writer_printf(out, "\n");
    return sow_writer_commit(out);
}

sow_status mycorrhiza_distances(sow_call *call) {
    mycorrhiza_job job;
    sow_distance_notes notes = {0};
    const char *out = sow_text(call, "out"), *end = dot(out);
    double *d, largest = 0;
    SOW_TRY(sow_check_output(call, out));
    SOW_TRY(mycorrhiza_load(&job, call));
    if (job.genotypes.individuals == 0)
        return sow_fail(SOW_E_ARGUMENT, "%s holds distances already", sow_text(call, "data"));
    SOW_TRY(SOW_NEW(call->arena, d, job.count * job.count));
    SOW_TRY(
        sow_genotype_distances(&job.genotypes, job.config.distance, NULL, 0, job.config.first_copy_only, d, &notes));
    for (int64_t i = 0; i < job.count * job.count; i++) {
        if (job.config.cap > 0 && notes.largest > 0 && d[i] >= 100) d[i] = job.config.cap * notes.largest;
        largest = fmax(largest, d[i]);
    }
    if (strcasecmp(end, ".csv") == 0 || strcasecmp(end, ".tsv") == 0)
        SOW_TRY(write_csv(out, &job, d, strcasecmp(end, ".csv") == 0 ? "," : "\t"));
    else if (strcasecmp(end, ".npy") == 0) SOW_TRY(sow_npy_write(out, SOW_TENSOR(d, SOW_F64, job.count, job.count)));
    else return sow_fail(SOW_E_ARGUMENT, "%s: expected an ending .npy, .csv or .tsv", out);
    SOW_TRY(sow_wrote(call, out));
    SOW_TRY(sow_put_real(call->result, "largest", largest));
    SOW_TRY(sow_put_count(call->result, "saturated", notes.saturated));
    SOW_TRY(sow_put_count(call->result, "without_common_locus", notes.empty));
    return sow_put_text(call->result, "next", "sow mycorrhiza network DISTANCES -o splits.nex");
}
