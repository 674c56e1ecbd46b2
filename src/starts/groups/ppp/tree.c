/* Probabilistic partitive partitioning, after Sultan 2020 (arXiv 2003.04372): the tree of splits and its leaves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/linalg.h"
#include "sow/log.h"
#include "starts/groups/ppp/ppp.h"

/* Rows of a node with at most so many numbers are copied together: they are read a few hundred times. */
enum { NODES_MAX = 65536, PIECE = 4096, COPIED_NUMBERS = 4 << 20 };

/* A node that waits: its rows, and the split that was tried on them. */
typedef struct waiting {
    int64_t *index; /* numbers of rows in the whole; NULL: all */
    ppp_trial trial;
    int64_t count;
    bool open; /* it may still be split */
} waiting;

typedef struct growth {
    const sow_rows *rows;
    const sow_ppp_config *config;
    sow_arena *arena;
    sow_ppp *out;
    waiting *waiting; /* [capacity] by node */
    int capacity;
    int leaves;
    int32_t *leaf_of; /* [count] node whose core a row is in, -1: in none */
} growth;

/* ---- nodes ---- */

static sow_status add_node(growth *g, int parent, int64_t *index, int64_t count, int *out) {
    sow_ppp *p = g->out;
    if (p->node_count == NODES_MAX) return sow_fail(SOW_E_RANGE, "ppp: more than %d nodes", NODES_MAX);
    if (p->node_count == g->capacity) {
        int larger = g->capacity ? 2 * g->capacity : 64;
        sow_ppp_node *nodes;
        waiting *waits;
        SOW_TRY(SOW_NEW(g->arena, nodes, larger));
        if (!(waits = sow_reallocate(g->waiting, (size_t)larger * sizeof *waits))) return SOW_E_MEMORY;
        g->waiting = waits;
        memset(waits + g->capacity, 0, (size_t)(larger - g->capacity) * sizeof *waits);
        if (p->nodes) memcpy(nodes, p->nodes, (size_t)p->node_count * sizeof *nodes);
        p->nodes = nodes;
        g->capacity = larger;
    }
    *out = p->node_count++;
    p->nodes[*out] = (sow_ppp_node){.parent = parent,
                                    .depth = parent < 0 ? 0 : p->nodes[parent].depth + 1,
                                    .child = -1,
                                    .size = count,
                                    .sse = NAN,
                                    .sse_parts = NAN,
                                    .agreement = NAN,
                                    .bic_one = NAN,
                                    .bic_parts = NAN,
                                    .anderson = NAN,
                                    .cluster = -1};
    g->waiting[*out] = (waiting){.index = index, .count = count};
    return SOW_OK;
}

static sow_rows rows_of(const growth *g, int node, int64_t *buffer) {
    const waiting *w = &g->waiting[node];
    sow_rows rows = *g->rows;
    rows.count = w->count;
    if (!w->index) return rows;
    rows.index = w->index;
    if (!g->rows->index) return rows;
    for (int64_t i = 0; i < w->count; i++) buffer[i] = g->rows->index[w->index[i]];
    rows.index = buffer;
    return rows;
}

/* Fills the node's evidence: what a split would be worth. */
static sow_status examine(growth *g, int number) {
    sow_ppp_node *node = &g->out->nodes[number];
    waiting *w = &g->waiting[number];
    const sow_ppp_config *c = g->config;
    int64_t *buffer = NULL;
    bool last_level = c->only_flat && node->parent >= 0;
    if (last_level || node->size < 2 * g->out->min_leaf) {
        node->decision = last_level ? "leaf: of a flat split" : "leaf: too few rows to split";
        return SOW_OK;
    }
    if (w->index && g->rows->index && !(buffer = sow_reallocate(NULL, (size_t)node->size * sizeof *buffer)))
        return SOW_E_MEMORY;
    ppp_node_rows rows = {rows_of(g, number, buffer), g->out->min_leaf, (uint64_t)number};
    int most = c->flat;
    if (c->clusters > 0 && c->clusters - g->leaves + 1 < most) most = c->clusters - g->leaves + 1;
    sow_arena *scratch;
    sow_status status = sow_arena_new(&scratch);
    if (status == SOW_OK && rows.rows.index && node->size * rows.rows.width <= COPIED_NUMBERS)
        status = sow_rows_sample(&rows.rows, node->size, scratch, &rows.rows, NULL);
    if (status == SOW_OK) {
        status = ppp_one_gaussian(&rows, c, &node->bic_one, &node->sse);
        if (status == SOW_E_NUMBER) { /* equal rows: nothing to split */
            node->decision = "leaf: all rows equal";
            status = SOW_OK;
        } else if (status == SOW_OK) {
            status = ppp_try(&rows, c, node->bic_one, most, scratch, &w->trial);
            w->open = status == SOW_OK;
        }
    }
    if (status == SOW_OK && w->open) {
        int32_t *part = sow_reallocate(NULL, (size_t)node->size * sizeof *part);
        if (part) memcpy(part, w->trial.part, (size_t)node->size * sizeof *part);
        else status = SOW_E_MEMORY, w->open = false;
        w->trial.part = part;
        node->tried = w->trial.parts;
        node->smallest = w->trial.smallest;
        node->sse_parts = w->trial.sse;
        node->agreement = w->trial.agreement;
        node->bic_parts = w->trial.bic;
        node->anderson = w->trial.anderson;
        if (!w->trial.accepted && !(node->decision = sow_arena_format(g->arena, "leaf: %s", w->trial.why)))
            status = SOW_E_MEMORY;
    }
    sow_arena_free(scratch);
    sow_release(buffer);
    return status;
}

static void forget(growth *g, int node) {
    waiting *w = &g->waiting[node];
    sow_release(w->index);
    if (w->open) sow_release(w->trial.part);
    w->index = NULL;
    w->open = false;
}

/* ---- splitting ---- */

/* Gives each part the rows on which k-means and mixture agree; the others stay outside of all cores. */
static sow_status split(growth *g, int number) {
    waiting w = g->waiting[number];
    int parts = w.trial.parts, first = -1;
    int64_t sizes[64] = {0}, *index[64];
    for (int64_t i = 0; i < w.count; i++)
        if (w.trial.part[i] >= 0) sizes[w.trial.part[i]]++;
    for (int k = 0; k < parts; k++) {
        int child;
        if (!(index[k] = sow_reallocate(NULL, (size_t)(sizes[k] + 1) * sizeof *index[k]))) return SOW_E_MEMORY;
        sow_status status = add_node(g, number, index[k], sizes[k], &child);
        if (status != SOW_OK) {
            sow_release(index[k]);
            return status;
        }
        if (k == 0) first = child;
        sizes[k] = 0;
    }
    for (int64_t i = 0; i < w.count; i++) {
        int32_t part = w.trial.part[i];
        int64_t row = w.index ? w.index[i] : i;
        if (part >= 0) index[part][sizes[part]++] = row;
        g->leaf_of[row] = part >= 0 ? first + part : -1;
    }
    sow_ppp_node *node = &g->out->nodes[number];
    node->child = first;
    node->parts = parts;
    node->core = w.trial.core;
    node->forced = !w.trial.accepted;
    node->decision = sow_arena_format(g->arena, "split in %d%s%s", parts, node->forced ? " against the evidence: " : "",
                                      node->forced ? w.trial.why : "");
    if (!node->decision) return SOW_E_MEMORY;
    g->leaves += parts - 1;
    forget(g, number);
    for (int k = 0; k < parts; k++) SOW_TRY(examine(g, first + k));
    return SOW_OK;
}

/* Of the leaves that may be split the one with the largest fall of the BIC; accepted ones first. -1: none. */
static int choose(const growth *g, bool forced) {
    int best = -1;
    double most = -INFINITY;
    for (int i = 0; i < g->out->node_count; i++) {
        const waiting *w = &g->waiting[i];
        if (!w->open || w->trial.accepted == forced) continue;
        if (g->config->clusters > 0 && g->leaves + w->trial.parts - 1 > g->config->clusters) continue;
        if (forced && w->trial.core < w->trial.parts) continue; /* nothing to split into */
        double fall = isnan(w->trial.bic) ? -INFINITY : g->out->nodes[i].bic_one - w->trial.bic;
        if (best < 0 || fall > most) best = i, most = fall;
    }
    return best;
}

static void report_progress(growth *g) {
    int64_t open = 0;
    if (!g->config->progress) return;
    for (int i = 0; i < g->out->node_count; i++)
        if (g->waiting[i].open && g->waiting[i].trial.accepted) open += g->waiting[i].count;
    sow_progress("rows settled", g->rows->count - open, g->rows->count);
}

static sow_status grow(growth *g, int root) {
    SOW_TRY(examine(g, root));
    for (;;) {
        int next = -1;
        report_progress(g);
        if (g->config->clusters == 0 || g->leaves < g->config->clusters) next = choose(g, false);
        if (next < 0 && g->leaves < g->config->clusters) next = choose(g, true);
        if (next < 0) break;
        SOW_TRY(split(g, next));
    }
    if (g->config->clusters > 0)
        for (int i = 0; i < g->out->node_count; i++)
            if (g->waiting[i].open && g->waiting[i].trial.accepted)
                g->out->nodes[i].decision = "leaf: the told number of clusters is reached";
    return SOW_OK;
}

/* Rows outside of all cores, once more. Their tree counts only if it has a split. */
static sow_status reenter(growth *g) {
    int64_t count = 0, *index;
    int root;
    for (int64_t i = 0; i < g->rows->count; i++) count += g->leaf_of[i] < 0;
    if (count < 2 * g->out->min_leaf) return SOW_OK;
    if (!(index = sow_reallocate(NULL, (size_t)count * sizeof *index))) return SOW_E_MEMORY;
    count = 0;
    for (int64_t i = 0; i < g->rows->count; i++)
        if (g->leaf_of[i] < 0) index[count++] = i;
    sow_status status = add_node(g, -1, index, count, &root);
    if (status != SOW_OK) {
        sow_release(index);
        return status;
    }
    g->leaves++;
    SOW_TRY(grow(g, root));
    if (g->out->nodes[root].child < 0) {
        g->leaves--;
        g->out->nodes[root].decision = "outside of all cores: no split was found";
        g->out->nodes[root].cluster = -2;
    }
    return SOW_OK;
}

/* ---- clusters ---- */

typedef struct place {
    int node;
    double position;
    int64_t size;
} place;

static int by_place(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    return x->node - y->node;
}

/* Means of the leaves' cores, by node number; their sizes. */
typedef struct core_sums {
    const int32_t *leaf_of;
    const int *slot; /* by node */
    int64_t width;
    int slots;
} core_sums;

static void sum_cores(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const core_sums *c = context;
    (void)scratch;
    for (int64_t i = 0; i < count; i++) {
        int node = c->leaf_of[first + i];
        if (node < 0) continue;
        double *own = sums + c->slot[node] * (c->width + 1);
        own[c->width]++;
        for (int64_t j = 0; j < c->width; j++) own[j] += x[j * (SOW_CHUNK + 8) + i];
    }
}

/* Numbers the leaves along the first principal axis, so that equal partitions have equal labels. */
static sow_status number_leaves(growth *g, sow_arena *scratch, int *slot) {
    sow_ppp *p = g->out;
    int64_t d = p->width;
    double *mean, *covariance, *values, *axes, *sums;
    place *places;
    SOW_TRY(SOW_NEW(scratch, mean, d));
    SOW_TRY(SOW_NEW(scratch, covariance, d * d));
    SOW_TRY(SOW_NEW(scratch, values, d));
    SOW_TRY(SOW_NEW(scratch, axes, d * d));
    SOW_TRY(SOW_NEW(scratch, places, p->node_count));
    p->clusters = 0;
    for (int i = 0; i < p->node_count; i++)
        if (p->nodes[i].child < 0 && p->nodes[i].cluster != -2) slot[i] = p->clusters++;
    SOW_TRY(SOW_NEW(scratch, sums, p->clusters * (d + 1)));
    SOW_TRY(SOW_NEW(g->arena, p->centroids, p->clusters * d));
    core_sums c = {g->leaf_of, slot, d, p->clusters};
    SOW_TRY(sow_blocks(g->rows, &(sow_block_work){sum_cores, &c, p->clusters * (d + 1), 0}, sums));
    SOW_TRY(sow_rows_moments(g->rows, mean, covariance));
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(covariance, SOW_F64, d, d), SOW_TENSOR(values, SOW_F64, d),
                                sow_transpose(SOW_TENSOR(axes, SOW_F64, d, d))));
    for (int i = 0; i < p->node_count; i++) {
        if (p->nodes[i].child >= 0 || p->nodes[i].cluster == -2) continue;
        double *own = sums + slot[i] * (d + 1);
        place *at = &places[slot[i]];
        *at = (place){.node = i, .size = p->nodes[i].size};
        for (int64_t j = 0; j < d; j++) {
            own[j] /= own[d];
            at->position += axes[j] * (own[j] - mean[j]);
        }
    }
    qsort(places, (size_t)p->clusters, sizeof *places, by_place);
    for (int k = 0; k < p->clusters; k++) {
        p->nodes[places[k].node].cluster = k;
        memcpy(p->centroids + k * d, sums + slot[places[k].node] * (d + 1), (size_t)d * sizeof(double));
    }
    return SOW_OK;
}

/* Gaussians of the cores: one maximisation from the cores' labels. */
static sow_status describe_leaves(growth *g, sow_arena *scratch) {
    sow_ppp *p = g->out;
    int64_t *index, count = 0;
    int32_t *labels;
    sow_mixture_config c = sow_mixture_defaults();
    SOW_TRY(SOW_NEW_RAW(scratch, index, p->core_count));
    SOW_TRY(SOW_NEW_RAW(scratch, labels, p->core_count));
    for (int64_t i = 0; i < p->count; i++) {
        if (!p->core[i]) continue;
        index[count] = g->rows->index ? g->rows->index[i] : i;
        labels[count++] = p->labels[i];
    }
    sow_rows cores = *g->rows;
    cores.index = index;
    cores.count = count;
    c.covariance = g->config->covariance;
    c.sample = 0;
    c.rounds = 0;
    return sow_mixture_fit(&cores, p->clusters, labels, &c, g->arena, &p->leaves);
}

static sow_status label_rows(growth *g) {
    sow_ppp *p = g->out;
    SOW_TRY(SOW_NEW(g->arena, p->labels, p->count));
    SOW_TRY(SOW_NEW(g->arena, p->core, p->count));
    SOW_TRY(SOW_NEW(g->arena, p->confidence, p->count));
    SOW_TRY(SOW_NEW(g->arena, p->sizes, p->clusters));
    SOW_TRY(SOW_NEW(g->arena, p->core_sizes, p->clusters));
    p->core_count = 0;
    for (int64_t i = 0; i < p->count; i++) {
        int leaf = g->leaf_of[i];
        p->core[i] = leaf >= 0;
        p->labels[i] = leaf >= 0 ? p->nodes[leaf].cluster : -1;
        if (leaf >= 0) p->core_sizes[p->labels[i]]++, p->core_count++;
    }
    return SOW_OK;
}

/* Labels outside of the cores, and everybody's confidence. */
static sow_status assign_rest(growth *g, sow_arena *scratch) {
    sow_ppp *p = g->out;
    double *all;
    int32_t *likeliest;
    SOW_TRY(SOW_NEW_RAW(scratch, all, PIECE * p->clusters));
    SOW_TRY(SOW_NEW_RAW(scratch, likeliest, PIECE));
    for (int64_t first = 0; first < p->count; first += PIECE) {
        int64_t count = p->count - first < PIECE ? p->count - first : PIECE;
        sow_rows piece = sow_rows_slice(g->rows, first, count);
        SOW_TRY(sow_ppp_assign(p, &piece, g->config->nearest, likeliest, NULL, all));
        for (int64_t i = 0; i < count; i++) {
            int32_t *label = &p->labels[first + i];
            if (*label < 0) *label = likeliest[i];
            p->confidence[first + i] = all[i * p->clusters + *label];
            p->sizes[*label]++;
        }
    }
    return SOW_OK;
}

static sow_status finish(growth *g) {
    sow_arena *scratch;
    int *slot;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = SOW_NEW(scratch, slot, g->out->node_count);
    if (status == SOW_OK) status = number_leaves(g, scratch, slot);
    if (status == SOW_OK) status = label_rows(g);
    if (status == SOW_OK) status = describe_leaves(g, scratch);
    if (status == SOW_OK) status = assign_rest(g, scratch);
    sow_arena_free(scratch);
    return status;
}

/* ---- the whole ---- */

static sow_status check(const sow_rows *rows, const sow_ppp_config *c) {
    if (rows->count < 2) return sow_fail(SOW_E_RANGE, "ppp: %lld rows, expected two or more", (long long)rows->count);
    if (c->clusters > rows->count)
        return sow_fail(SOW_E_RANGE, "ppp: %d clusters of %lld rows", c->clusters, (long long)rows->count);
    if (c->flat > 32 || c->flat < 0) return sow_fail(SOW_E_RANGE, "ppp: %d parts at once, expected 0 to 32", c->flat);
    if (!(c->agreement >= 0 && c->agreement <= 1) || !(c->confidence >= 0 && c->confidence <= 1))
        return sow_fail(SOW_E_RANGE, "ppp: agreement and confidence lie between 0 and 1");
    return SOW_OK;
}

sow_status sow_ppp_fit(const sow_rows *rows, const sow_ppp_config *config, sow_arena *arena, sow_ppp *out) {
    sow_ppp_config own = *config;
    growth g = {.rows = rows, .config = &own, .arena = arena, .out = out, .leaves = 1};
    int root;
    if (own.sample < 0) { /* 16 rows a parameter of a full covariance */
        own.sample = 8 * (rows->width + 1) * (rows->width + 2);
        if (own.sample < 8192) own.sample = 8192;
    }
    SOW_TRY(check(rows, config));
    *out = (sow_ppp){.count = rows->count, .width = rows->width, .min_leaf = config->min_leaf};
    if (out->min_leaf == 0) {
        out->min_leaf = 5 * (rows->width + 1);
        int64_t share = (rows->count + 49) / 50;
        if (share > out->min_leaf) out->min_leaf = share;
    }
    double *mean;
    SOW_TRY(SOW_NEW(arena, mean, rows->width));
    SOW_TRY(sow_rows_moments(rows, mean, NULL)); /* every value is finite */
    SOW_TRY(SOW_NEW(arena, g.leaf_of, rows->count));
    sow_status status = add_node(&g, -1, NULL, rows->count, &root);
    if (status == SOW_OK) status = grow(&g, root);
    if (status == SOW_OK && config->reenter) status = reenter(&g);
    if (status == SOW_OK) status = finish(&g);
    for (int i = 0; i < out->node_count; i++) forget(&g, i);
    sow_release(g.waiting);
    return status;
}

/* ---- new rows ---- */

sow_status sow_ppp_assign(const sow_ppp *model, const sow_rows *rows, bool nearest, int32_t *labels, double *confidence,
                          double *all) {
    sow_membership wanted = {.component = labels, .responsibility = confidence, .all = all};
    SOW_TRY(sow_mixture_assign(&model->leaves, rows, wanted, NULL));
    if (!nearest || !labels) return SOW_OK;
    sow_kmeans centroids = {.clusters = model->clusters, .width = model->width, .centroids = model->centroids};
    return sow_kmeans_assign(&centroids, rows, labels, NULL);
}
