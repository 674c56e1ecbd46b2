/* Probabilistic partitive partitioning as a command, after Sultan 2020 (arXiv 2003.04372). */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/npy.h"
#include "sow/run.h"
#include "starts/groups/ppp/output.h"

/* ---- options ---- */

#define DATA                                                                                \
    {                                                                                       \
        "data", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL,                                   \
            "rows to group: CSV (plain or gzip), .npy, word vectors (.vec) or safetensors", \
            SOW_OPTION_POSITIONAL | SOW_OPTION_REQUIRED                                     \
    }
#define TENSOR SOW_OPTION_TEXT("tensor", NULL, "safetensors: which matrix; default: the only one")
#define ID SOW_OPTION_LIST("id", "CSV: column, by name or number from 0, that is carried along and not grouped by")
#define TRUTH SOW_OPTION_TEXT("truth", NULL, "CSV: column with known classes, to compare with")
#define FITTING                                                                                                       \
    SOW_OPTION_CHOICE("scale", "auto", "auto|none|zscore", "columns in units of their standard deviations"),          \
        SOW_OPTION_TEXT("pca", "auto", "principal axes to work on: a number, 0 for the columns themselves, or auto"), \
        {"k", 0, SOW_TYPE_INT, NULL, 1, 65536, NULL, NULL, "number of clusters, if it is known; default: found", 0},  \
        SOW_OPTION_REAL("agreement", "0.7", 0, 1, "share of rows on which k-means and mixture must agree"),           \
        SOW_OPTION_REAL("confidence", "0.95", 0, 1, "responsibility from which a row belongs to the core"),           \
        SOW_OPTION_REAL("bic-margin", "0", 0, 1e12, "by how much the BIC must fall"),                                 \
        SOW_OPTION_INT("min-leaf", "0", 0, 1e12, "rows of the smallest cluster; 0: 5 (columns + 1), at least 2 %"),   \
        SOW_OPTION_CHOICE("covariance", "full", "full|tied|diag|spherical", "shape of the Gaussians"),                \
        SOW_OPTION_CHOICE("start", "k-means++", "k-means++|random|pca|variance",                                      \
                          "of each k-means; pca and variance need no random numbers"),                                \
        SOW_OPTION_CHOICE("test", "bic", "bic|agreement|anderson", "what must hold for a split beside agreement"),    \
        SOW_OPTION_INT("restarts", "8", 1, 1000, "starts of each k-means"),                                           \
        SOW_OPTION_INT("flat", "6", 0, 32, "where a split in two is refused, try up to so many parts; 0: not"),       \
        SOW_OPTION_CHOICE("variant", "tree", "tree|flat", "flat: one split in up to --flat parts"),                   \
        SOW_OPTION_FLAG("reenter", "look for clusters among the rows outside of all cores, too"),                     \
        SOW_OPTION_CHOICE("assign", "gauss", "gauss|nearest", "where rows outside of the cores go"),                  \
        SOW_OPTION_INT("sample", "-1", -1, 1e12,                                                                      \
                       "above so many rows starts compete on a part of them; 0: never, -1: chosen by the columns"),   \
        SOW_OPTION_SEED

static const sow_option fit_options[] = {
    DATA,
    TENSOR,
    ID,
    TRUTH,
    FITTING,
    {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "folder; default: the data's name with .ppp",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option assign_options[] = {
    DATA,
    TENSOR,
    ID,
    {"model", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL, "folder that `sow ppp` wrote", SOW_OPTION_REQUIRED},
    SOW_OPTION_CHOICE("assign", "gauss", "gauss|nearest", "to the likeliest Gaussian or the nearest centroid"),
    {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "labels (CSV); default: the data's name with .labels.csv",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option repeat_options[] = {
    DATA,
    TENSOR,
    ID,
    TRUTH,
    SOW_OPTION_INT("runs", "20", 2, 1000, "independent starts, with the seeds --seed, --seed + 1, ..."),
    FITTING,
    {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "JSON file with the matrix of agreements; default: none",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_FORCE,
    {0},
};

static int choice_of(const char *value, const char *const *names) {
    int i = 0;
    while (strcmp(names[i], value) != 0) i++; /* the option table knows no others */
    return i;
}

static sow_ppp_config config_of(const sow_call *call) {
    static const char *const covariances[] = {"full", "tied", "diag", "spherical"};
    static const char *const starts[] = {"k-means++", "random", "pca", "variance"};
    static const char *const tests[] = {"bic", "agreement", "anderson"};
    return (sow_ppp_config){.agreement = sow_real(call, "agreement"),
                            .confidence = sow_real(call, "confidence"),
                            .bic_margin = sow_real(call, "bic-margin"),
                            .min_leaf = sow_int(call, "min-leaf"),
                            .covariance = (sow_covariance)choice_of(sow_text(call, "covariance"), covariances),
                            .start = (sow_kmeans_start)choice_of(sow_text(call, "start"), starts),
                            .test = (sow_ppp_test)choice_of(sow_text(call, "test"), tests),
                            .restarts = (int)sow_int(call, "restarts"),
                            .clusters = (int)sow_int(call, "k"),
                            .flat = (int)sow_int(call, "flat"),
                            .only_flat = !strcmp(sow_text(call, "variant"), "flat"),
                            .reenter = sow_flag(call, "reenter"),
                            .nearest = !strcmp(sow_text(call, "assign"), "nearest"),
                            .sample = sow_int(call, "sample"),
                            .seed = (uint64_t)sow_int(call, "seed")};
}

/* ---- what all actions begin with ---- */

typedef struct job {
    sow_call *call;
    ppp_input input;
    sow_rows values, rows; /* as stored, and as the view shows them */
    ppp_view view;
    sow_ppp_config config;
    sow_ppp model;
    const char *out;
    bool silent; /* another rank writes */
} job;

static sow_status no_memory(void) {
    return sow_fail(SOW_E_MEMORY, "out of memory");
}

/* "data.csv" and ".ppp" give "data.ppp". */
static const char *beside(sow_call *call, const char *path, const char *ending) {
    const char *name = sow_path_name(path), *dot = strchr(name, '.');
    int length = dot && dot > name ? (int)(dot - name) : (int)strlen(name);
    return sow_arena_format(call->arena, "%.*s%s", length, name, ending);
}

static sow_status find_out(job *j, const char *ending) {
    j->out = sow_text(j->call, "out");
    if (!j->out && ending) j->out = beside(j->call, sow_text(j->call, "data"), ending);
    if (!j->out) return ending ? SOW_E_MEMORY : SOW_OK;
    return sow_check_output(j->call, j->out);
}

static sow_status read_axes(const sow_call *call, int *out) {
    const char *text = sow_text(call, "pca");
    char *end;
    *out = -1;
    if (!strcmp(text, "auto")) return SOW_OK;
    long long axes = strtoll(text, &end, 10);
    if (*text == 0 || *end || axes < 0 || axes > 65536)
        return sow_fail(SOW_E_ARGUMENT, "--pca '%s': expected a number from 0 or auto", text);
    *out = (int)axes;
    return SOW_OK;
}

static void explain_view(const job *j) {
    const sow_call *call = j->call;
    const ppp_view *v = &j->view;
    if (v->zscore && !strcmp(sow_text(call, "scale"), "auto"))
        sow_note(
            "columns are scaled to unit variance: one of them has most of the variance (--scale none leaves them)");
    if (v->pca && !strcmp(sow_text(call, "pca"), "auto"))
        sow_note("%d principal axes of %" PRId64 " columns, %.0f %% of the variance: %s (--pca 0 takes the columns)",
                 v->pca, v->inputs, 100 * v->kept,
                 v->inputs > 50 ? "Gaussians of so many columns need very many rows"
                                : "too few rows for Gaussians of all columns");
    if (v->constant)
        sow_warn("%s: %" PRId64 " column%s without variance", j->input.path, v->constant, v->constant > 1 ? "s" : "");
    if (v->inputs > j->values.count)
        sow_warn("%s: fewer rows (%" PRId64 ") than columns (%" PRId64 ")", j->input.path, j->values.count, v->inputs);
}

static sow_status open_data(job *j) {
    sow_call *call = j->call;
    int axes;
    char *text;
    ppp_input_options o = {
        .tensor = sow_text(call, "tensor"), .ids = sow_list(call, "id"), .truth = sow_text(call, "truth")};
    SOW_TRY(read_axes(call, &axes));
    SOW_TRY(ppp_input_open(call->arena, sow_text(call, "data"), &o, &j->input));
    SOW_TRY(sow_rows_of(j->input.values, &j->values));
    j->values.mapped = j->input.mapped;
    if (sow_int(call, "k") > j->values.count)
        return sow_fail(SOW_E_ARGUMENT, "--k %" PRId64 ": %s has %" PRId64 " rows", sow_int(call, "k"), j->input.path,
                        j->values.count);
    if (axes > j->values.width)
        return sow_fail(SOW_E_ARGUMENT, "--pca %d: %s has %" PRId64 " columns of numbers", axes, j->input.path,
                        j->values.width);
    sow_status status = ppp_view_make(&j->values, sow_text(call, "scale"), axes, call->arena, &j->view);
    if (status != SOW_OK) return sow_fail_in(status, "%s", j->input.path);
    explain_view(j);
    sow_resolve(call, "scale", j->view.zscore ? "zscore" : "none");
    if (!(text = sow_arena_format(call->arena, "%d", j->view.pca))) return SOW_E_MEMORY;
    sow_resolve(call, "pca", text);
    j->rows = ppp_view_of(&j->values, &j->view);
    j->config = config_of(call);
    return SOW_OK;
}

static sow_status set(sow_call *call, const char *key, json_t *value) {
    return json_object_set_new(call->result, key, value) ? no_memory() : SOW_OK;
}

static sow_status describe_data(job *j) {
    SOW_TRY(set(j->call, "rows", json_integer(j->values.count)));
    SOW_TRY(set(j->call, "columns", json_integer(j->view.inputs)));
    SOW_TRY(set(j->call, "scale", json_string(j->view.zscore ? "zscore" : "none")));
    return j->view.pca ? set(j->call, "axes", json_integer(j->view.pca)) : SOW_OK;
}

/* ---- ppp fit ---- */

/* Where the method is the wrong tool. */
static void warn(const job *j) {
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

static sow_status compare_with_truth(job *j) {
    const sow_ppp *p = &j->model;
    int32_t *cores;
    double rand, information, rand_core;
    if (!j->input.truth) return SOW_OK;
    SOW_TRY(SOW_NEW(j->call->arena, cores, p->count));
    for (int64_t i = 0; i < p->count; i++) cores[i] = p->core[i] ? p->labels[i] : -1;
    SOW_TRY(sow_adjusted_rand(p->labels, j->input.truth, p->count, &rand));
    SOW_TRY(sow_adjusted_rand(cores, j->input.truth, p->count, &rand_core));
    SOW_TRY(sow_normalised_information(p->labels, j->input.truth, p->count, &information));
    SOW_TRY(set(j->call, "adjusted_rand_to_truth", json_real(rand)));
    SOW_TRY(set(j->call, "adjusted_rand_on_core", json_real(rand_core)));
    return set(j->call, "normalised_information_to_truth", json_real(information));
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

static sow_status write_tree(job *j, const char *path, json_t *tree, json_t *clusters) {
    char *text;
    json_t *columns = json_array();
    for (int64_t c = 0; j->input.columns && c < j->view.inputs; c++)
        json_array_append_new(columns, json_string(j->input.columns[c]));
    json_t *all = json_pack("{s:i, s:I, s:I, s:f, s:o, s:O, s:O}", "clusters", j->model.clusters, "rows",
                            (json_int_t)j->model.count, "min_leaf", (json_int_t)j->model.min_leaf, "core",
                            (double)j->model.core_count / (double)j->model.count, "columns", columns, "sizes", clusters,
                            "nodes", tree);
    sow_status status = all ? sow_json_text(j->call->arena, all, SOW_JSON_PRETTY, &text) : no_memory();
    if (status == SOW_OK) status = sow_write_file(path, text, strlen(text));
    json_decref(all);
    return status;
}

/* Responsibilities of all clusters for all rows, in pieces: they may be many. */
static sow_status write_memberships(job *j, const char *path) {
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

static sow_status write_folder(job *j, json_t *tree, json_t *clusters) {
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

static sow_status report_fit(job *j) {
    static const char *const shown[] = {"node",    "parent",    "rows",    "tried",    "agreement",
                                        "bic_one", "bic_parts", "cluster", "decision", NULL};
    sow_call *call = j->call;
    json_t *clusters = ppp_cluster_rows(&j->model), *tree = ppp_tree_rows(&j->model);
    sow_status status = clusters && tree ? SOW_OK : no_memory();
    if (status == SOW_OK) status = describe_data(j);
    if (status == SOW_OK) status = set(call, "clusters", json_integer(j->model.clusters));
    if (status == SOW_OK) status = set(call, "core", json_real((double)j->model.core_count / (double)j->model.count));
    if (status == SOW_OK) status = compare_with_truth(j);
    if (status == SOW_OK) status = set(call, "sizes", json_incref(clusters));
    if (status == SOW_OK) status = set(call, "tree", call->json ? json_incref(tree) : only(tree, shown));
    if (status == SOW_OK) status = write_folder(j, tree, clusters);
    json_decref(clusters);
    json_decref(tree);
    SOW_TRY(status);
    const char *next = sow_arena_format(call->arena, "sow ppp repeat %s", sow_text(call, "data"));
    return next ? set(call, "next", json_string(next)) : SOW_E_MEMORY;
}

static sow_status fit(job *j) {
    if (!j->silent) SOW_TRY(find_out(j, ".ppp"));
    SOW_TRY(open_data(j));
    j->config.progress = true;
    sow_status status = sow_ppp_fit(&j->rows, &j->config, j->call->arena, &j->model);
    if (status != SOW_OK) return sow_fail_in(status, "%s", j->input.path);
    warn(j);
    return SOW_OK;
}

/* Under mpirun each rank adds up its blocks of the rows; all find the same, and the first one writes it. */
static sow_status run_fit(sow_call *call) {
    job j = {.call = call};
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

/* ---- ppp assign ---- */

/* The names of the columns that the model was made of: NULL-terminated, NULL where it knows none. */
static sow_status model_columns(sow_arena *arena, const char *folder, int64_t inputs, const char *const **out) {
    const char *path = sow_path_join(arena, folder, "tree.json"), **names;
    char *text;
    size_t size;
    json_t *tree;
    *out = NULL;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(arena, path, (size_t)1 << 28, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 16}, &tree));
    const json_t *columns = json_object_get(tree, "columns");
    sow_status status = SOW_OK;
    if (json_array_size(columns) > 0) {
        if ((int64_t)json_array_size(columns) != inputs)
            status = sow_fail(SOW_E_FORMAT, "%s: %zu column names for %lld columns", path, json_array_size(columns),
                              (long long)inputs);
        if (status == SOW_OK) status = SOW_NEW(arena, names, inputs + 1);
        for (int64_t i = 0; status == SOW_OK && i < inputs; i++) {
            const char *name = json_string_value(json_array_get(columns, (size_t)i));
            if (!name) status = sow_fail(SOW_E_FORMAT, "%s: a column name is no text", path);
            else if (!(names[i] = sow_arena_copy(arena, name))) status = SOW_E_MEMORY;
        }
        if (status == SOW_OK) *out = names;
    }
    json_decref(tree);
    return status;
}

static sow_status assign_rows(job *j) {
    sow_call *call = j->call;
    int32_t *labels;
    double *confidence, *mean;
    int64_t n = j->values.count, *sizes;
    SOW_TRY(SOW_NEW(call->arena, mean, j->values.width));
    SOW_TRY(SOW_NEW(call->arena, labels, n));
    SOW_TRY(SOW_NEW(call->arena, confidence, n));
    SOW_TRY(SOW_NEW(call->arena, sizes, j->model.clusters));
    bool nearest = !strcmp(sow_text(call, "assign"), "nearest");
    sow_status status = sow_rows_moments(&j->values, mean, NULL); /* every value is finite */
    if (status != SOW_OK) return sow_fail_in(status, "%s", j->input.path);
    SOW_TRY(sow_ppp_assign(&j->model, &j->rows, nearest, labels, confidence, NULL));
    for (int64_t i = 0; i < n; i++) sizes[labels[i]]++;
    SOW_TRY(ppp_write_labels(j->out, &j->input, labels, NULL, confidence));
    json_t *rows = json_array();
    for (int k = 0; k < j->model.clusters; k++)
        json_array_append_new(rows, json_pack("{s:i, s:I}", "cluster", k, "rows", (json_int_t)sizes[k]));
    SOW_TRY(set(call, "rows", json_integer(n)));
    SOW_TRY(set(call, "sizes", rows));
    return sow_wrote(call, j->out);
}

static sow_status assign(job *j) {
    sow_call *call = j->call;
    const char *folder = sow_text(call, "model"), *path = sow_path_join(call->arena, folder, "model.safetensors");
    ppp_input_options o = {.tensor = sow_text(call, "tensor"), .ids = sow_list(call, "id")};
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(find_out(j, ".labels.csv"));
    SOW_TRY(ppp_model_load(call->arena, path, &j->model, &j->view));
    SOW_TRY(model_columns(call->arena, folder, j->view.inputs, &o.wanted));
    SOW_TRY(ppp_input_open(call->arena, sow_text(call, "data"), &o, &j->input));
    if (j->input.values.shape[1] != j->view.inputs)
        return sow_fail(SOW_E_SHAPE, "%s: %lld columns of numbers, the model was made of %lld", j->input.path,
                        (long long)j->input.values.shape[1], (long long)j->view.inputs);
    if (j->input.values.shape[0] < 1) return sow_fail(SOW_E_SHAPE, "%s: no rows", j->input.path);
    SOW_TRY(sow_rows_of(j->input.values, &j->values));
    j->values.mapped = j->input.mapped;
    j->rows = ppp_view_of(&j->values, &j->view);
    return assign_rows(j);
}

static sow_status run_assign(sow_call *call) {
    job j = {.call = call};
    sow_status status = assign(&j);
    ppp_input_close(&j.input);
    return status;
}

/* ---- ppp repeat ---- */

/* What the runs found. */
typedef struct runs {
    int count;
    int32_t **labels, **cores, **kmeans; /* [count][rows] */
    int *clusters;
    double *core, *to_truth; /* [count] */
} runs;

static sow_status run_once(job *j, runs *r, int i) {
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

static sow_status report_group(job *j, const char *what, int32_t *const *labels, int count, json_t *rows, json_t *all) {
    double mean, least;
    json_t *matrix = json_array();
    sow_status status = compare_runs(labels, count, j->rows.count, matrix, &mean, &least);
    if (status == SOW_OK)
        json_array_append_new(rows,
                              json_pack("{s:s, s:f, s:f}", "labels", what, "mean_adjusted_rand", mean, "least", least));
    json_object_set_new(all, what, matrix);
    return status;
}

static sow_status report_runs(job *j, const runs *r) {
    sow_call *call = j->call;
    json_t *rows = json_array(), *all = json_object(), *each = json_array();
    sow_status status = rows && all && each ? SOW_OK : no_memory();
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
    if (status == SOW_OK) status = describe_data(j);
    if (status == SOW_OK) status = set(call, "runs", json_incref(each));
    if (status == SOW_OK) status = set(call, "repeatability", json_incref(rows));
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

static sow_status repeat(job *j) {
    sow_call *call = j->call;
    runs r = {.count = (int)sow_int(call, "runs")};
    SOW_TRY(find_out(j, NULL));
    SOW_TRY(open_data(j));
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

static sow_status run_repeat(sow_call *call) {
    job j = {.call = call};
    sow_status status = repeat(&j);
    ppp_input_close(&j.input);
    return status;
}

static const sow_action actions[] = {
    {"fit", "find clusters and the rows that surely belong to them", fit_options, run_fit,
     "sow ppp data.csv -o clusters/", SOW_ACTION_COMPUTES | SOW_ACTION_TOGETHER},
    {"assign", "labels of new rows", assign_options, run_assign, "sow ppp assign --model clusters/ new.csv",
     SOW_ACTION_COMPUTES},
    {"repeat", "does the answer depend on the start?", repeat_options, run_repeat, "sow ppp repeat data.csv --runs 20",
     SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_method_ppp = {
    .name = "ppp",
    .family = "groups",
    .summary = "clusters that do not depend on the random start, and their number",
    .paper = "after Sultan 2020, arXiv 2003.04372 (procedure reconstructed)",
    .actions = actions,
    .study = "ppp",
};
