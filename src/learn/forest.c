/* Random forests (Breiman 2001): bootstrap, Gini impurity, features drawn at each node as scikit-learn draws them. */
#include "sow/forest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/random.h"
#include "sow/threads.h"

enum { DRAWS = 512 };

typedef struct tree_node {
    int64_t feature; /* -1: a leaf */
    int64_t left;    /* yes-or-no: bit 0; numbers: <= threshold. The right one follows it */
    double threshold;
    int64_t shares; /* of a leaf: where its classes stand */
} tree_node;

typedef struct grown_tree {
    tree_node *nodes;
    double *shares; /* [leaves][classes] */
    int64_t count, leaves;
} grown_tree;

struct sow_forest {
    int trees;
    int32_t classes;
    int64_t features;
    bool packed;
    grown_tree *tree;
};

typedef struct fitting {
    const sow_features *features;
    const int32_t *labels;
    const int64_t *chosen;
    int64_t chosen_count, tried;
    int32_t classes;
    const sow_forest_config *config;
    grown_tree *tree;   /* [trees] */
    sow_arena **arenas; /* [trees]: trees grow side by side */
    sow_status *status; /* [trees] */
} fitting;

/* A sample that a tree has drawn, and how often. */
typedef struct drawn_sample {
    int64_t sample;
    int32_t label, weight;
} drawn_sample;

typedef struct weighed {
    double value;
    int32_t label;
    int32_t weight;
} weighed;

/* One tree at work. */
typedef struct growth {
    const fitting *f;
    drawn_sample *samples; /* [distinct] in the order of nodes */
    int64_t *counts;       /* [classes] of bits, at the node and on one side */
    int64_t *order;        /* [features] a permutation of features, known constants first */
    int64_t *constant;     /* [features] those known to be constant on the way here, in the order found */
    double *total, *left;  /* [classes] */
    weighed *sorted;       /* [distinct], for numbers */
    int64_t squares;       /* sum of squared counts at the node */
    sow_rng rng;
    double uniform[DRAWS];
    int drawn;
} growth;

typedef struct pending {
    int64_t node, first, end, constants;
} pending;

static int64_t below(growth *g, int64_t bound) {
    if (g->drawn == DRAWS) {
        sow_rng_uniform_f64(&g->rng, g->uniform, DRAWS, 0, 1);
        g->drawn = 0;
    }
    int64_t number = (int64_t)(g->uniform[g->drawn++] * (double)bound);
    return number < bound ? number : bound - 1;
}

static bool bit_of(const sow_features *x, int64_t feature, int64_t sample) {
    return x->bits[feature * sow_feature_words(x->samples) + sample / 64] >> (sample % 64) & 1;
}

/* Sum of squared class weights over a side's weight: the two sides' sum is largest where impurity is least. */
static double purity(const double *counts, const double *total, int32_t classes, bool rest, double weight) {
    double squares = 0;
    for (int32_t c = 0; c < classes; c++) {
        double count = rest ? total[c] - counts[c] : counts[c];
        squares += count * count;
    }
    return squares / weight;
}

/* ---- one feature at one node: its best purity and threshold; false where it is constant there ---- */

/* With counts L of one side and T of both, the other side's squares are T^2 - 2 T L + L^2: all exact integers. */
static bool try_bit(growth *g, int64_t feature, int64_t first, int64_t end, double weight, double *best) {
    const fitting *f = g->f;
    const uint64_t *row = f->features->bits + feature * sow_feature_words(f->features->samples);
    const int64_t *total = g->counts;
    int64_t *side = g->counts + f->classes, ones = 0, squares = 0, products = 0;
    memset(side, 0, (size_t)f->classes * sizeof *side);
    for (int64_t i = first; i < end; i++) {
        const drawn_sample *d = &g->samples[i];
        int64_t here = (int64_t)(row[d->sample / 64] >> (d->sample % 64) & 1) * d->weight;
        squares += here * (2 * side[d->label] + here);
        products += here * total[d->label];
        side[d->label] += here;
        ones += here;
    }
    if (ones == 0 || ones == (int64_t)weight) return false;
    *best = (double)squares / (double)ones + (double)(g->squares - 2 * products + squares) / (weight - (double)ones);
    return true;
}

static int by_value(const void *a, const void *b) {
    const weighed *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static bool try_number(growth *g, int64_t feature, int64_t first, int64_t end, double weight, double *best,
                       double *threshold) {
    const fitting *f = g->f;
    const double *row = f->features->values + feature * f->features->samples;
    int64_t count = end - first;
    double passed = 0;
    for (int64_t i = 0; i < count; i++) {
        const drawn_sample *d = &g->samples[first + i];
        g->sorted[i] = (weighed){row[d->sample], d->label, d->weight};
    }
    qsort(g->sorted, (size_t)count, sizeof *g->sorted, by_value);
    if (g->sorted[0].value == g->sorted[count - 1].value) return false;
    memset(g->left, 0, (size_t)f->classes * sizeof *g->left);
    *best = -INFINITY;
    for (int64_t i = 0; i + 1 < count; i++) {
        double low = g->sorted[i].value, high = g->sorted[i + 1].value;
        g->left[g->sorted[i].label] += g->sorted[i].weight;
        passed += g->sorted[i].weight;
        if (low == high) continue;
        double here = purity(g->left, g->total, f->classes, false, passed) +
                      purity(g->left, g->total, f->classes, true, weight - passed);
        if (here <= *best) continue;
        *best = here;
        *threshold = low / 2 + high / 2;
        if (*threshold == high) *threshold = low;
    }
    return true;
}

/* ---- a node ---- */

static void swap(int64_t *x, int64_t a, int64_t b) {
    int64_t kept = x[a];
    x[a] = x[b], x[b] = kept;
}

/* The best of the features drawn, as scikit-learn draws them: order holds the features known to be constant here, then
 * those that turned out to be, then the rest; what was drawn and splits goes to the end. */
static int64_t best_feature(growth *g, const pending *p, double weight, double *threshold, int64_t *constants) {
    const fitting *f = g->f;
    int64_t count = f->features->count, rest = count, known = p->constants, found = 0, drawn_known = 0, visited = 0;
    int64_t chosen = -1;
    double best = -INFINITY;
    while (rest > known + found && (visited < f->tried || visited <= found + drawn_known)) {
        visited++;
        int64_t at = drawn_known + below(g, rest - found - drawn_known);
        if (at < known) {
            swap(g->order, drawn_known++, at);
            continue;
        }
        at += found;
        int64_t feature = g->order[at];
        double here = 0, middle = 0;
        bool splits = f->features->bits ? try_bit(g, feature, p->first, p->end, weight, &here)
                                        : try_number(g, feature, p->first, p->end, weight, &here, &middle);
        if (!splits) {
            swap(g->order, at, known + found++);
            continue;
        }
        swap(g->order, at, --rest);
        if (here > best) best = here, chosen = feature, *threshold = middle;
    }
    memcpy(g->order, g->constant, (size_t)known * sizeof *g->order); /* drawing has mixed them with their neighbours */
    memcpy(g->constant + known, g->order + known, (size_t)found * sizeof *g->order);
    *constants = known + found;
    return chosen;
}

/* Samples of the left side come first. */
static int64_t part(growth *g, const pending *p, int64_t feature, double threshold) {
    const sow_features *x = g->f->features;
    int64_t middle = p->first;
    for (int64_t i = p->first; i < p->end; i++) {
        drawn_sample d = g->samples[i];
        bool right = x->bits ? bit_of(x, feature, d.sample) : x->values[feature * x->samples + d.sample] > threshold;
        if (right) continue;
        g->samples[i] = g->samples[middle];
        g->samples[middle++] = d;
    }
    return middle;
}

static double weigh(growth *g, const pending *p, bool *pure) {
    const fitting *f = g->f;
    double weight = 0;
    int32_t present = 0;
    memset(g->total, 0, (size_t)f->classes * sizeof *g->total);
    for (int64_t i = p->first; i < p->end; i++) {
        g->total[g->samples[i].label] += g->samples[i].weight;
        weight += g->samples[i].weight;
    }
    g->squares = 0;
    for (int32_t c = 0; c < f->classes; c++) {
        g->counts[c] = (int64_t)g->total[c];
        g->squares += g->counts[c] * g->counts[c];
        present += g->total[c] > 0;
    }
    *pure = present <= 1;
    return weight;
}

static void make_leaf(growth *g, grown_tree *tree, tree_node *node, double weight) {
    *node = (tree_node){.feature = -1, .shares = tree->leaves * g->f->classes};
    for (int32_t c = 0; c < g->f->classes; c++) tree->shares[node->shares + c] = g->total[c] / weight;
    tree->leaves++;
}

/* Depth first, so that what a node knows to be constant still stands in front when its second child's turn comes. */
static void grow(growth *g, grown_tree *tree, pending *stack, int64_t distinct) {
    int64_t waiting = 0;
    tree->count = 1;
    stack[waiting++] = (pending){0, 0, distinct, 0};
    while (waiting > 0) {
        pending p = stack[--waiting];
        bool pure;
        double weight = weigh(g, &p, &pure), threshold = 0;
        int64_t constants = p.constants;
        int64_t feature = pure ? -1 : best_feature(g, &p, weight, &threshold, &constants);
        if (feature < 0) {
            make_leaf(g, tree, &tree->nodes[p.node], weight);
            continue;
        }
        int64_t middle = part(g, &p, feature, threshold), children = tree->count;
        tree->count += 2;
        tree->nodes[p.node] = (tree_node){.feature = feature, .left = children, .threshold = threshold};
        stack[waiting++] = (pending){children + 1, middle, p.end, constants};
        stack[waiting++] = (pending){children, p.first, middle, constants};
    }
}

/* The tree's samples, each once, with the number of times it was drawn. times: [chosen_count] zeros. */
static int64_t draw_samples(growth *g, int32_t *times) {
    const fitting *f = g->f;
    int64_t distinct = 0;
    for (int64_t i = 0; i < f->chosen_count; i++) times[f->config->bootstrap ? below(g, f->chosen_count) : i]++;
    for (int64_t i = 0; i < f->chosen_count; i++) {
        int64_t s = f->chosen ? f->chosen[i] : i;
        if (times[i] > 0) g->samples[distinct++] = (drawn_sample){s, f->labels[s], times[i]};
    }
    return distinct;
}

static sow_status grow_tree(const fitting *f, int64_t t) {
    sow_arena *arena = f->arenas[t];
    growth g = {.f = f, .drawn = DRAWS};
    pending *stack;
    grown_tree tree = {0}, *out = &f->tree[t];
    int32_t *times;
    int64_t m = f->features->count;
    SOW_TRY(sow_rng_seed(&g.rng, SOW_RNG_SOW, f->config->seed));
    sow_rng_at_index(&g.rng, "forest", (uint64_t)t);
    SOW_TRY(SOW_NEW_RAW(arena, g.samples, f->chosen_count));
    SOW_TRY(SOW_NEW(arena, times, f->chosen_count));
    SOW_TRY(SOW_NEW_RAW(arena, g.counts, 2 * f->classes));
    SOW_TRY(SOW_NEW_RAW(arena, g.order, 2 * m));
    g.constant = g.order + m;
    SOW_TRY(SOW_NEW_RAW(arena, g.total, 2 * f->classes));
    g.left = g.total + f->classes;
    if (!f->features->bits) SOW_TRY(SOW_NEW_RAW(arena, g.sorted, f->chosen_count));
    for (int64_t i = 0; i < m; i++) g.order[i] = i;
    int64_t distinct = draw_samples(&g, times);
    SOW_TRY(SOW_NEW_RAW(arena, tree.nodes, 2 * distinct));
    SOW_TRY(SOW_NEW_RAW(arena, tree.shares, distinct * f->classes));
    SOW_TRY(SOW_NEW_RAW(arena, stack, distinct + 1));
    grow(&g, &tree, stack, distinct);
    *out = tree;
    return SOW_OK;
}

static void tree_cell(void *context, int64_t t) {
    fitting *f = context;
    f->status[t] = grow_tree(f, t);
}

/* ---- the forest ---- */

sow_forest_config sow_forest_defaults(void) {
    return (sow_forest_config){.trees = 60, .bootstrap = true};
}

static sow_status check(const fitting *f) {
    const sow_features *x = f->features;
    if (f->chosen_count < 1 || f->config->trees < 1)
        return sow_fail(SOW_E_RANGE, "forest: %lld samples and %d trees, expected one at least",
                        (long long)f->chosen_count, f->config->trees);
    for (int64_t i = 0; i < f->chosen_count; i++) {
        int64_t s = f->chosen ? f->chosen[i] : i;
        if (s < 0 || s >= x->samples || f->labels[s] < 0 || f->labels[s] >= f->classes)
            return sow_fail(SOW_E_RANGE, "forest: sample %lld has no label from 0 to %d", (long long)s, f->classes - 1);
        for (int64_t j = 0; !x->bits && j < x->count; j++)
            if (!isfinite(x->values[j * x->samples + s]))
                return sow_fail(SOW_E_NUMBER, "forest: feature %lld of sample %lld is not finite", (long long)j,
                                (long long)s);
    }
    return SOW_OK;
}

/* The tree moves from where it grew to the forest's arena. */
static sow_status keep(sow_arena *arena, const fitting *f, sow_forest *forest) {
    for (int t = 0; t < forest->trees; t++) {
        grown_tree from = f->tree[t], *to = &forest->tree[t];
        *to = from;
        SOW_TRY(SOW_NEW_RAW(arena, to->nodes, from.count));
        SOW_TRY(SOW_NEW_RAW(arena, to->shares, from.leaves * f->classes));
        memcpy(to->nodes, from.nodes, (size_t)from.count * sizeof *to->nodes);
        memcpy(to->shares, from.shares, (size_t)(from.leaves * f->classes) * sizeof *to->shares);
    }
    return SOW_OK;
}

sow_status sow_forest_fit(const sow_features *features, const int32_t *labels, int32_t classes, const int64_t *chosen,
                          int64_t chosen_count, const sow_forest_config *config, sow_arena *arena, sow_forest **out) {
    int trees = config->trees;
    fitting f = {features, labels, chosen, chosen ? chosen_count : features->samples, config->tried, classes, config,
                 NULL,     NULL,   NULL};
    sow_forest *forest;
    if (f.tried < 1) f.tried = (int64_t)sqrt((double)features->count);
    if (f.tried < 1) f.tried = 1;
    SOW_TRY(check(&f));
    SOW_TRY(SOW_NEW(arena, forest, 1));
    *forest = (sow_forest){trees, classes, features->count, features->bits != NULL, NULL};
    SOW_TRY(SOW_NEW(arena, forest->tree, trees));
    SOW_TRY(SOW_NEW(arena, f.tree, trees));
    SOW_TRY(SOW_NEW(arena, f.arenas, trees));
    SOW_TRY(SOW_NEW(arena, f.status, trees));
    sow_status status = SOW_OK;
    for (int t = 0; t < trees && !status; t++) status = sow_arena_new(&f.arenas[t]);
    if (!status) sow_cells(trees, tree_cell, &f);
    for (int t = 0; t < trees && !status; t++)
        if (f.status[t])
            status = f.status[t] == SOW_E_MEMORY ? sow_fail(SOW_E_MEMORY, "forest: out of memory") : f.status[t];
    if (!status) status = keep(arena, &f, forest);
    for (int t = 0; t < trees; t++) sow_arena_free(f.arenas[t]);
    *out = forest;
    return status;
}

/* ---- prediction ---- */

typedef struct predicting {
    const sow_forest *forest;
    const sow_features *features;
    const int64_t *chosen;
    int64_t count;
    double *probabilities;
} predicting;

enum { SAMPLES_A_CELL = 64 };

static void predict_cell(void *context, int64_t cell) {
    const predicting *p = context;
    const sow_forest *forest = p->forest;
    const sow_features *x = p->features;
    int64_t first = cell * SAMPLES_A_CELL, end = first + SAMPLES_A_CELL < p->count ? first + SAMPLES_A_CELL : p->count;
    memset(p->probabilities + first * forest->classes, 0, (size_t)((end - first) * forest->classes) * sizeof(double));
    for (int t = 0; t < forest->trees; t++)
        for (int64_t i = first; i < end; i++) {
            int64_t s = p->chosen ? p->chosen[i] : i;
            const tree_node *nodes = forest->tree[t].nodes, *node = nodes;
            while (node->feature >= 0) {
                bool right = x->bits ? bit_of(x, node->feature, s)
                                     : x->values[node->feature * x->samples + s] > node->threshold;
                node = nodes + node->left + right;
            }
            const double *shares = forest->tree[t].shares + node->shares;
            for (int32_t c = 0; c < forest->classes; c++) p->probabilities[i * forest->classes + c] += shares[c];
        }
    for (int64_t i = first * forest->classes; i < end * forest->classes; i++) p->probabilities[i] /= forest->trees;
}

sow_status sow_forest_predict(const sow_forest *forest, const sow_features *features, const int64_t *chosen,
                              int64_t count, double *probabilities) {
    if (features->count != forest->features || (features->bits != NULL) != forest->packed)
        return sow_fail(SOW_E_SHAPE, "forest: %lld features, expected the %lld that it was grown on",
                        (long long)features->count, (long long)forest->features);
    predicting p = {forest, features, chosen, chosen ? count : features->samples, probabilities};
    sow_cells(sow_cells_for(p.count, SAMPLES_A_CELL), predict_cell, &p);
    return SOW_OK;
}

int64_t sow_forest_nodes(const sow_forest *forest) {
    int64_t count = 0;
    for (int t = 0; t < forest->trees; t++) count += forest->tree[t].count;
    return count;
}
