/* What the actions of `sow ppp` begin with: the options' configuration, the table, its view. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "starts/groups/ppp/job.h"

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

sow_status ppp_no_memory(void) {
    return sow_fail(SOW_E_MEMORY, "out of memory");
}

/* "data.csv" and ".ppp" give "data.ppp". */
static const char *beside(sow_call *call, const char *path, const char *ending) {
    const char *name = sow_path_name(path), *dot = strchr(name, '.');
    int length = dot && dot > name ? (int)(dot - name) : (int)strlen(name);
    return sow_arena_format(call->arena, "%.*s%s", length, name, ending);
}

sow_status ppp_find_out(ppp_job *j, const char *ending) {
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

static void explain_view(const ppp_job *j) {
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

sow_status ppp_open_data(ppp_job *j) {
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

sow_status ppp_describe_data(ppp_job *j) {
    SOW_TRY(sow_put_count(j->call->result, "rows", j->values.count));
    SOW_TRY(sow_put_count(j->call->result, "columns", j->view.inputs));
    SOW_TRY(sow_put_text(j->call->result, "scale", j->view.zscore ? "zscore" : "none"));
    return j->view.pca ? sow_put_count(j->call->result, "axes", j->view.pca) : SOW_OK;
}
