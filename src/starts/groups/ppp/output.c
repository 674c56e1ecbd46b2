/* Labels, tree and plot of a partition. */
#include "starts/groups/ppp/output.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/linalg.h"
#include "sow/report.h"

enum { POINTS_MAX = 3000, COLOURS = 24 };

/* ---- labels ---- */

/* A cell as RFC 4180 has it. */
static void put_cell(sow_writer *w, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        sow_writer_put(w, text, strlen(text));
        return;
    }
    sow_writer_put(w, "\"", 1);
    for (const char *c = text; *c; c++) sow_writer_put(w, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    sow_writer_put(w, "\"", 1);
}

sow_status ppp_write_labels(const char *path, const ppp_input *input, const int32_t *labels, const uint8_t *core,
                            const double *confidence) {
    sow_writer *w;
    SOW_TRY(sow_writer_open(path, &w));
    for (int c = 0; c < input->id_count; c++) {
        put_cell(w, input->id_names[c]);
        sow_writer_put(w, ",", 1);
    }
    sow_writer_printf(w, "%scluster,%sconfidence\n", input->id_count ? "" : "row,", core ? "core," : "");
    for (int64_t i = 0; i < input->values.shape[0]; i++) { /* a failed write shows at the commit */
        for (int c = 0; c < input->id_count; c++) {
            put_cell(w, input->ids[i * input->id_count + c]);
            sow_writer_put(w, ",", 1);
        }
        if (!input->id_count) sow_writer_printf(w, "%" PRId64 ",", i);
        if (core) sow_writer_printf(w, "%d,%d,%.6f\n", labels[i], core[i], confidence[i]);
        else sow_writer_printf(w, "%d,%.6f\n", labels[i], confidence[i]);
    }
    return sow_writer_commit(w);
}

/* ---- tables ---- */

json_t *ppp_cluster_rows(const sow_ppp *p) {
    json_t *rows = json_array();
    double *sure = sow_reallocate(NULL, (size_t)(p->clusters + 1) * sizeof *sure);
    if (!sure || !rows) {
        sow_release(sure);
        json_decref(rows);
        return NULL;
    }
    memset(sure, 0, (size_t)(p->clusters + 1) * sizeof *sure);
    for (int64_t i = 0; i < p->count; i++) sure[p->labels[i]] += p->confidence[i];
    for (int k = 0; k < p->clusters; k++)
        json_array_append_new(rows, json_pack("{s:i, s:I, s:I, s:f}", "cluster", k, "rows", (json_int_t)p->sizes[k],
                                              "core", (json_int_t)p->core_sizes[k], "confidence",
                                              p->sizes[k] ? sure[k] / (double)p->sizes[k] : 0.0));
    sow_release(sure);
    return rows;
}

json_t *ppp_tree_rows(const sow_ppp *p) {
    json_t *rows = json_array();
    for (int i = 0; i < p->node_count; i++) {
        const sow_ppp_node *n = &p->nodes[i];
        json_t *row = json_pack(
            "{s:i, s:o, s:I, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "node", i, "parent",
            n->parent < 0 ? json_null() : json_integer(n->parent), "rows", (json_int_t)n->size, "core",
            (json_int_t)n->core, "tried", n->tried, "agreement", sow_json_real(n->agreement), "bic_one",
            sow_json_real(n->bic_one), "bic_parts", sow_json_real(n->bic_parts), "anderson", sow_json_real(n->anderson),
            "sse", sow_json_real(n->sse), "sse_parts", sow_json_real(n->sse_parts), "cluster",
            n->cluster >= 0 ? json_integer(n->cluster) : json_null(), "decision", n->decision ? n->decision : "");
        if (json_array_append_new(rows, row)) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}

/* ---- the plot ---- */

typedef struct drawing {
    int64_t count;
    double *x, *y; /* [count] places, sorted by series */
    sow_series series[COLOURS + 2];
    int series_count;
    double kept;
} drawing;

/* Rows of the sample that `wanted` chooses become the next series. */
static void add_series(drawing *d, const char *name, const double *x, const double *y, const int *group, int64_t n,
                       int wanted, int64_t *at) {
    int64_t first = *at;
    for (int64_t i = 0; i < n; i++)
        if (group[i] == wanted) d->x[*at] = x[i], d->y[(*at)++] = y[i];
    if (*at == first) return;
    d->series[d->series_count++] = (sow_series){
        .name = name, .drawing = SOW_DRAW_POINTS, .x = d->x + first, .y = d->y + first, .count = *at - first};
}

/* Places of a sample on its first two principal axes; one column: the value and 0. */
static sow_status place(const sow_rows *rows, sow_arena *arena, double **x, double **y, double *kept) {
    int64_t w = rows->width, n = rows->count;
    double *mean, *covariance, *values, *axes, total = 0;
    SOW_TRY(SOW_NEW(arena, mean, w));
    SOW_TRY(SOW_NEW(arena, covariance, w * w));
    SOW_TRY(SOW_NEW(arena, values, w));
    SOW_TRY(SOW_NEW(arena, axes, w * w));
    SOW_TRY(SOW_NEW(arena, *x, n));
    SOW_TRY(SOW_NEW(arena, *y, n));
    SOW_TRY(sow_rows_moments(rows, mean, covariance));
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(covariance, SOW_F64, w, w), SOW_TENSOR(values, SOW_F64, w),
                                sow_transpose(SOW_TENSOR(axes, SOW_F64, w, w))));
    const double *data = rows->data.data; /* by columns */
    for (int64_t j = 0; j < w; j++) {
        total += fmax(values[j], 0);
        for (int64_t i = 0; i < n; i++) {
            double gap = data[j * n + i] - mean[j];
            (*x)[i] += axes[j] * gap;
            if (w > 1) (*y)[i] += axes[w + j] * gap;
        }
    }
    *kept = total > 0 ? (fmax(values[0], 0) + (w > 1 ? fmax(values[1], 0) : 0)) / total : 1;
    return SOW_OK;
}

static sow_status draw(const sow_rows *rows, const sow_ppp *p, sow_arena *arena, drawing *d) {
    sow_rows sample;
    int64_t *numbers, at = 0;
    double *x, *y;
    int *group;
    SOW_TRY(sow_rows_sample(rows, POINTS_MAX, arena, &sample, &numbers));
    SOW_TRY(place(&sample, arena, &x, &y, &d->kept));
    d->count = sample.count;
    SOW_TRY(SOW_NEW(arena, d->x, d->count));
    SOW_TRY(SOW_NEW(arena, d->y, d->count));
    SOW_TRY(SOW_NEW(arena, group, d->count));
    for (int64_t i = 0; i < d->count; i++) {
        int label = p->labels[numbers[i]];
        group[i] = !p->core[numbers[i]] ? -1 : label < COLOURS ? label : COLOURS;
    }
    add_series(d, "between", x, y, group, d->count, -1, &at);
    for (int k = 0; k < COLOURS && k < p->clusters; k++) {
        const char *name = sow_arena_format(arena, "%d", k);
        if (!name) return SOW_E_MEMORY;
        add_series(d, name, x, y, group, d->count, k, &at);
    }
    add_series(d, "others", x, y, group, d->count, COLOURS, &at);
    return SOW_OK;
}

sow_status ppp_write_plot(const char *path, const sow_rows *rows, const sow_ppp *p, const char *title) {
    sow_arena *arena;
    drawing d = {0};
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = draw(rows, p, arena, &d);
    const char *says = sow_arena_format(arena,
                                        "%d clusters of %" PRId64 " rows, %" PRId64 " of them in cores; %" PRId64
                                        " rows drawn on two axes that hold %.0f %% of the variance",
                                        p->clusters, p->count, p->core_count, d.count, 100 * d.kept);
    if (status == SOW_OK && !says) status = SOW_E_MEMORY;
    if (status == SOW_OK)
        status = sow_plot_write(path, &(sow_plot){.title = title,
                                                  .says = says,
                                                  .x = {.label = "first principal axis"},
                                                  .y = {.label = rows->width > 1 ? "second principal axis" : ""},
                                                  .series = d.series,
                                                  .count = d.series_count});
    sow_arena_free(arena);
    return status;
}

/* ---- centroids in the values' units ---- */

typedef struct core_means {
    const sow_ppp *p;
    int64_t width;
} core_means;

static void add_means(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const core_means *m = context;
    (void)scratch;
    for (int64_t i = 0; i < count; i++) {
        if (!m->p->core[first + i]) continue;
        double *own = sums + m->p->labels[first + i] * m->width;
        for (int64_t j = 0; j < m->width; j++) own[j] += x[j * (SOW_CHUNK + 8) + i];
    }
}

sow_status ppp_input_centroids(const sow_rows *values, const sow_ppp *p, double *out) {
    core_means m = {p, values->width};
    SOW_TRY(sow_blocks(values, &(sow_block_work){add_means, &m, p->clusters * values->width, 0}, out));
    for (int k = 0; k < p->clusters; k++)
        for (int64_t j = 0; j < values->width; j++) out[k * values->width + j] /= (double)p->core_sizes[k];
    return SOW_OK;
}
