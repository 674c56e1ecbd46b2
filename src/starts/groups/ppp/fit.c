/* sow ppp fit: clusters of a table, the evidence, and the files. */
#include <inttypes.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "sow/npy.h"
#include "sow/run.h"
#include "starts/groups/ppp/job.h"
#include "starts/groups/ppp/output.h"

/* Where the method is the wrong tool. */
static void warn(const ppp_job *j) {
    const sow_ppp *p = &j->model;
    const sow_ppp_node *root = &p->nodes[0];
    int64_t outside = p->count - p->core_count;
    if (p->clusters == 1 && root->tried == 0)
        sow_warn("%s: %" PRId64 " rows are too few to look for clusters of at least %" PRId64
                 " rows; fewer axes (--pca) or "
                 "--min-leaf allow smaller ones",
                 j->input.path, p->count, p->min_leaf);
    else if (p->clusters == 1)
        sow_warn("%s: no split stands: the rows look like one group (%s)%s", j->input.path,
                 root->decision + strlen("leaf: "),
                 root->smallest * 20 < p->count ? "; a few rows far from all others hide the rest: look for outliers"
                                                : "");
    if (j->config.clusters > p->clusters)
        sow_warn("only %d of the %d clusters that were asked for: the rest would have fewer than %" PRId64
                 " rows or no core",
                 p->clusters, j->config.clusters, p->min_leaf);
    for (int i = 0; i < p->node_count; i++)
        if (p->nodes[i].forced) {
            sow_warn("some splits were made against the evidence, to reach %d clusters", p->clusters);
            break;
        }
    if (outside > p->count / 5)
        sow_warn("clusters overlap: %.0f %% of the rows lie between them; their labels are guesses",
                 100.0 * (double)outside / (double)p->count);
}

static sow_status compare_with_truth(ppp_job *j) {
    const sow_ppp *p = &j->model;
    int32_t *cores;
    double rand, information, rand_core;
    if (!j->input.truth) return SOW_OK;
    SOW_TRY(SOW_NEW(j->call->arena, cores, p->count));
    for (int64_t i = 0; i < p->count; i++) cores[i] = p->core[i] ? p->labels[i] : -1;
    SOW_TRY(sow_adjusted_rand(p->labels, j->input.truth, p->count, &rand));
    SOW_TRY(sow_adjusted_rand(cores, j->input.truth, p->count, &rand_core));
    SOW_TRY(sow_normalised_information(p->labels, j->input.truth, p->count, &information));
    SOW_TRY(sow_put_real(j->call->result, "adjusted_rand_to_truth", rand));
    SOW_TRY(sow_put_real(j->call->result, "adjusted_rand_on_core", rand_core));
    return sow_put_real(j->call->result, "normalised_information_to_truth", information);
}

/* Rows of `rows` with only these keys: what people see. */
static json_t *only(const json_t *rows, const char *const *keys) {
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_object();
        for (int k = 0; keys[k]; k++) json_object_set(row, keys[k], json_object_get(json_array_get(rows, i), keys[k]));
        json_array_append_new(out, row);
    }
    return out;
}

static sow_status write_tree(ppp_job *j, const char *path, json_t *tree, json_t *clusters) {
    char *text;
    json_t *columns = json_array();
    for (int64_t c = 0; j->input.columns && c < j->view.inputs; c++)
        json_array_append_new(columns, json_string(j->input.columns[c]));
    json_t *all = json_pack("{s:i, s:I, s:I, s:f, s:o, s:O, s:O}", "clusters", j->model.clusters, "rows",
                            (json_int_t)j->model.count, "min_leaf", (json_int_t)j->model.min_leaf, "core",
                            (double)j->model.core_count / (double)j->model.count, "columns", columns, "sizes", clusters,
                            "nodes", tree);
    sow_status status = all ? sow_json_text(j->call->arena, all, SOW_JSON_PRETTY, &text) : ppp_no_memory();
    if (status == SOW_OK) status = sow_write_file(path, text, strlen(text));
    json_decref(all);
    return status;
}

/* Responsibilities of all clusters for all rows, in pieces: they may be many. */
static sow_status write_memberships(ppp_job *j, const char *path) {
    const sow_ppp *p = &j->model;
    double *all;
    enum { PIECE = 4096 };
    SOW_TRY(SOW_NEW_RAW(j->call->arena, all, p->count * p->clusters));
    for (int64_t first = 0; first < p->count; first += PIECE) {
        int64_t count = p->count - first < PIECE ? p->count - first : PIECE;
        sow_rows piece = sow_rows_slice(&j->rows, first, count);
        SOW_TRY(sow_ppp_assign(p, &piece, false, NULL, NULL, all + first * p->clusters));
    }
    return sow_npy_write(path, SOW_TENSOR(all, SOW_F64, p->count, p->clusters));
}

static sow_status write_folder(ppp_job *j, json_t *tree, json_t *clusters) {
    static const char *const names[] = {"labels.csv",    "tree.json",         "memberships.npy",
                                        "centroids.npy", "model.safetensors", "plot.svg"};
    enum { LABELS, TREE, MEMBERSHIPS, CENTROIDS, MODEL, PLOT, FILES };
    const char *paths[FILES], *passport;
    sow_call *call = j->call;
    double *centroids;
    const char *title = sow_arena_format(call->arena, "%s: %d clusters", sow_path_name(j->input.path),
                                         j->model.clusters);
    if (!title) return SOW_E_MEMORY;
    for (int i = 0; i < FILES; i++)
        if (!(paths[i] = sow_path_join(call->arena, j->out, names[i]))) return SOW_E_MEMORY;
    SOW_TRY(SOW_NEW(call->arena, centroids, j->model.clusters * j->view.inputs));
    SOW_TRY(ppp_input_centroids(&j->values, &j->model, centroids));
    SOW_TRY(sow_passport(call, names[MODEL], NULL, 0, &passport));
    SOW_TRY(sow_make_folder(j->out));
    SOW_TRY(ppp_write_labels(paths[LABELS], &j->input, j->model.labels, j->model.core, j->model.confidence));
    SOW_TRY(write_tree(j, paths[TREE], tree, clusters));
    SOW_TRY(write_memberships(j, paths[MEMBERSHIPS]));
    SOW_TRY(sow_npy_write(paths[CENTROIDS], SOW_TENSOR(centroids, SOW_F64, j->model.clusters, j->view.inputs)));
    SOW_TRY(ppp_model_save(paths[MODEL], &j->model, &j->view, centroids, passport));
    SOW_TRY(ppp_write_plot(paths[PLOT], &j->rows, &j->model, title));
    for (int i = 0; i < FILES; i++) SOW_TRY(sow_wrote(call, paths[i]));
    return SOW_OK;
}

static sow_status report_fit(ppp_job *j) {
    static const char *const shown[] = {"node",    "parent",    "rows",    "tried",    "agreement",
                                        "bic_one", "bic_parts", "cluster", "decision", NULL};
    sow_call *call = j->call;
    json_t *clusters = ppp_cluster_rows(&j->model), *tree = ppp_tree_rows(&j->model);
    sow_status status = clusters && tree ? SOW_OK : ppp_no_memory();
    if (status == SOW_OK) status = ppp_describe_data(j);
    if (status == SOW_OK) status = sow_put_count(call->result, "clusters", j->model.clusters);
    if (status == SOW_OK)
        status = sow_put_real(call->result, "core", (double)j->model.core_count / (double)j->model.count);
    if (status == SOW_OK) status = compare_with_truth(j);
    if (status == SOW_OK) status = sow_put_json(call->result, "sizes", json_incref(clusters));
    if (status == SOW_OK)
        status = sow_put_json(call->result, "tree", call->json ? json_incref(tree) : only(tree, shown));
    if (status == SOW_OK) status = write_folder(j, tree, clusters);
    json_decref(clusters);
    json_decref(tree);
    SOW_TRY(status);
    return sow_put_format(call->result, "next", "sow ppp repeat %s", sow_text(call, "data"));
}

static sow_status fit(ppp_job *j) {
    if (!j->silent) SOW_TRY(ppp_find_out(j, ".ppp"));
    SOW_TRY(ppp_open_data(j));
    j->config.progress = true;
    sow_status status = sow_ppp_fit(&j->rows, &j->config, j->call->arena, &j->model);
    if (status != SOW_OK) return sow_fail_in(status, "%s", j->input.path);
    warn(j);
    return SOW_OK;
}

/* Under mpirun each rank adds up its blocks of the rows; all find the same, and the first one writes it. */
sow_status ppp_run_fit(sow_call *call) {
    ppp_job j = {.call = call};
    sow_sharing sharing = {.exchange = sow_together_exchange};
    SOW_TRY(sow_together_join(&sharing.rank, &sharing.count));
    j.silent = sharing.rank > 0;
    sow_share_blocks(&sharing);
    sow_status status = fit(&j);
    sow_share_blocks(NULL);
    if (status == SOW_OK && !j.silent) status = report_fit(&j);
    ppp_input_close(&j.input);
    return status;
}
