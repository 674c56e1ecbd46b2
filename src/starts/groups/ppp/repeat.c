/* sow ppp repeat: does the answer depend on the start? */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "starts/groups/ppp/job.h"

/* What the runs found. */
typedef struct runs {
    int count;
    int32_t **labels, **cores, **kmeans; /* [count][rows] */
    int *clusters;
    double *core, *to_truth; /* [count] */
} runs;

static sow_status run_once(ppp_job *j, runs *r, int i) {
    sow_arena *scratch;
    int64_t n = j->rows.count;
    sow_kmeans_config k = sow_kmeans_defaults();
    sow_kmeans km;
    j->config.seed = (uint64_t)sow_int(j->call, "seed") + (uint64_t)i;
    SOW_TRY(SOW_NEW(j->call->arena, r->labels[i], n));
    SOW_TRY(SOW_NEW(j->call->arena, r->cores[i], n));
    SOW_TRY(SOW_NEW(j->call->arena, r->kmeans[i], n));
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = sow_ppp_fit(&j->rows, &j->config, scratch, &j->model);
    if (status == SOW_OK) {
        const sow_ppp *p = &j->model;
        memcpy(r->labels[i], p->labels, (size_t)n * sizeof *p->labels);
        for (int64_t row = 0; row < n; row++) r->cores[i][row] = p->core[row] ? p->labels[row] : -1;
        r->clusters[i] = p->clusters;
        r->core[i] = (double)p->core_count / (double)n;
        k.clusters = p->clusters;
        k.start = SOW_KMEANS_RANDOM;
        k.restarts = 1;
        k.sample = 0;
        k.seed = j->config.seed;
        status = sow_kmeans_fit(&j->rows, &k, scratch, &km, r->kmeans[i]);
    }
    if (status == SOW_OK && j->input.truth)
        status = sow_adjusted_rand(r->labels[i], j->input.truth, n, &r->to_truth[i]);
    sow_arena_free(scratch);
    return status;
}

/* Mean and least adjusted Rand index over all pairs of runs; pairs into `matrix` (may be NULL). */
static sow_status compare_runs(int32_t *const *labels, int count, int64_t n, json_t *matrix, double *mean,
                               double *least) {
    double sum = 0;
    *least = 1;
    for (int a = 0; a < count; a++) {
        json_t *row = json_array();
        for (int b = 0; b < count; b++) {
            double index = 1;
            if (a != b) {
                sow_status status = sow_adjusted_rand(labels[a], labels[b], n, &index);
                if (status != SOW_OK) {
                    json_decref(row);
                    return status;
                }
            }
            json_array_append_new(row, json_real(index));
            if (b > a) sum += index;
            *least = fmin(*least, index);
        }
        if (matrix) json_array_append_new(matrix, row);
        else json_decref(row);
    }
    *mean = sum / (count * (count - 1) / 2.0);
    return SOW_OK;
}

static sow_status report_group(ppp_job *j, const char *what, int32_t *const *labels, int count, json_t *rows,
                               json_t *all) {
    double mean, least;
    json_t *matrix = json_array();
    sow_status status = compare_runs(labels, count, j->rows.count, matrix, &mean, &least);
    if (status == SOW_OK)
        json_array_append_new(rows,
                              json_pack("{s:s, s:f, s:f}", "labels", what, "mean_adjusted_rand", mean, "least", least));
    json_object_set_new(all, what, matrix);
    return status;
}

static sow_status report_runs(ppp_job *j, const runs *r) {
    sow_call *call = j->call;
    json_t *rows = json_array(), *all = json_object(), *each = json_array();
    sow_status status = rows && all && each ? SOW_OK : ppp_no_memory();
    for (int i = 0; i < r->count; i++) {
        json_t *row = json_pack("{s:I, s:i, s:f}", "seed", (json_int_t)(sow_int(call, "seed") + i), "clusters",
                                r->clusters[i], "core", r->core[i]);
        if (j->input.truth) json_object_set_new(row, "adjusted_rand_to_truth", json_real(r->to_truth[i]));
        json_array_append_new(each, row);
    }
    if (status == SOW_OK) status = report_group(j, "ppp, all rows", r->labels, r->count, rows, all);
    if (status == SOW_OK) status = report_group(j, "ppp, rows in both cores", r->cores, r->count, rows, all);
    if (status == SOW_OK)
        status = report_group(j, "k-means, one random start, same number of clusters", r->kmeans, r->count, rows, all);
    if (status == SOW_OK) status = ppp_describe_data(j);
    if (status == SOW_OK) status = sow_put_json(call->result, "runs", json_incref(each));
    if (status == SOW_OK) status = sow_put_json(call->result, "repeatability", json_incref(rows));
    if (status == SOW_OK && j->out) {
        char *text;
        json_object_set(all, "runs", each);
        json_object_set(all, "repeatability", rows);
        status = sow_json_text(call->arena, all, SOW_JSON_PRETTY, &text);
        if (status == SOW_OK) status = sow_write_file(j->out, text, strlen(text));
        if (status == SOW_OK) status = sow_wrote(call, j->out);
    }
    json_decref(all);
    json_decref(each);
    json_decref(rows);
    return status;
}

static sow_status repeat(ppp_job *j) {
    sow_call *call = j->call;
    runs r = {.count = (int)sow_int(call, "runs")};
    SOW_TRY(ppp_find_out(j, NULL));
    SOW_TRY(ppp_open_data(j));
    if (j->config.start == SOW_KMEANS_PCA || j->config.start == SOW_KMEANS_VARIANCE)
        sow_note("--start %s uses no random numbers: all runs are equal by construction", sow_text(call, "start"));
    SOW_TRY(SOW_NEW(call->arena, r.labels, r.count));
    SOW_TRY(SOW_NEW(call->arena, r.cores, r.count));
    SOW_TRY(SOW_NEW(call->arena, r.kmeans, r.count));
    SOW_TRY(SOW_NEW(call->arena, r.clusters, r.count));
    SOW_TRY(SOW_NEW(call->arena, r.core, r.count));
    SOW_TRY(SOW_NEW(call->arena, r.to_truth, r.count));
    for (int i = 0; i < r.count; i++) {
        sow_status status = run_once(j, &r, i);
        if (status != SOW_OK) return sow_fail_in(status, "%s", j->input.path);
        sow_progress("runs", i + 1, r.count);
    }
    return report_runs(j, &r);
}

sow_status ppp_run_repeat(sow_call *call) {
    ppp_job j = {.call = call};
    sow_status status = repeat(&j);
    ppp_input_close(&j.input);
    return status;
}
