/* Neighbor-Net's circular ordering: Bryant and Moulton 2004; the symmetric reduction is that of Bryant and Huson 2023. */
#include <math.h>
#include <string.h>

#include "base/clones.h"
#include "sow/log.h"
#include "starts/groups/mycorrhiza/network.h"

/* Clusters of one or two active nodes, the ends of a growing path of taxa. A node is named by the taxon at that end, so a
 * reduction overwrites the rows of the two outer ends, and the taxa inside need no stack to come back from. */
typedef struct agglomeration {
    int64_t n, clusters;
    sow_reduction reduction;
    double *node;          /* [n, n] distances of active nodes */
    double *between;       /* [n, n] of clusters: means over their nodes, the diagonal 0 */
    double *sum;           /* [n] of a cluster's row of `between` */
    double *row;           /* [n] scratch */
    int64_t *first, *last; /* [n] ends of the clusters' paths; equal: one node */
    int64_t *next;         /* [n, 2] neighbours on the paths, -1: none yet */
} agglomeration;

static bool paired(const agglomeration *a, int64_t c) {
    return a->first[c] != a->last[c];
}

static void link_taxa(agglomeration *a, int64_t x, int64_t y) {
    a->next[2 * x + (a->next[2 * x] >= 0)] = y;
    a->next[2 * y + (a->next[2 * y] >= 0)] = x;
}

/* ---- which clusters: the neighbour-joining criterion over clusters ---- */

SOW_CLONES static double row_sum(const double *restrict row, int64_t count) {
    double part[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int k = 0; k < 8; k++) part[k] += row[i + k];
    for (; i < count; i++) part[0] += row[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

/* Least (m - 2) d(P, Q) - S(Q) over Q < count. */
SOW_CLONES static double row_least(const double *restrict row, const double *restrict sum, int64_t count,
                                   double factor) {
    double least[8];
    int64_t i = 0;
    for (int k = 0; k < 8; k++) least[k] = INFINITY;
    for (; i + 8 <= count; i += 8)
        for (int k = 0; k < 8; k++) {
            double q = factor * row[i + k] - sum[i + k];
            least[k] = q < least[k] ? q : least[k];
        }
    for (; i < count; i++) {
        double q = factor * row[i] - sum[i];
        least[0] = q < least[0] ? q : least[0];
    }
    for (int k = 1; k < 8; k++) least[0] = least[k] < least[0] ? least[k] : least[0];
    return least[0];
}

/* S(P) counts d(P, Q) too: without it the criterion is not neighbour joining's and true circles are missed. */
static void pick_clusters(const agglomeration *a, int64_t *p, int64_t *q) {
    int64_t m = a->clusters;
    double factor = (double)(m - 2), best = INFINITY;
    *p = 1, *q = 0;
    for (int64_t i = 0; i < m; i++) a->sum[i] = row_sum(a->between + i * a->n, m);
    for (int64_t i = 1; i < m; i++) {
        double least = row_least(a->between + i * a->n, a->sum, i, factor) - a->sum[i];
        if (least < best) best = least, *p = i;
    }
    const double *row = a->between + *p * a->n;
    best = INFINITY;
    for (int64_t j = 0; j < *p; j++) {
        double value = factor * row[j] - a->sum[j];
        if (value < best) best = value, *q = j;
    }
}

/* ---- which of their nodes ---- */

/* Mean distance of node z to the nodes of a cluster. */
static double to_cluster(const agglomeration *a, int64_t z, int64_t c) {
    const double *row = a->node + z * a->n;
    return paired(a, c) ? (row[a->first[c]] + row[a->last[c]]) / 2 : row[a->first[c]];
}

/* R(z): what z is from everything else once p and q fall apart into their nodes. */
static double isolation(const agglomeration *a, int64_t z, int64_t p, int64_t q) {
    double sum = 0;
    for (int64_t c = 0; c < a->clusters; c++) {
        if (c != p && c != q) sum += to_cluster(a, z, c);
        else sum += a->node[z * a->n + a->first[c]] + (paired(a, c) ? a->node[z * a->n + a->last[c]] : 0);
    }
    return sum;
}

static void pick_nodes(const agglomeration *a, int64_t p, int64_t q, int64_t *x, int64_t *y) {
    const int64_t of_p[2] = {a->first[p], a->last[p]}, of_q[2] = {a->first[q], a->last[q]};
    int np = 1 + paired(a, p), nq = 1 + paired(a, q);
    double from_p[2], from_q[2], best = INFINITY, factor = (double)(a->clusters + np + nq - 4);
    for (int i = 0; i < np; i++) from_p[i] = isolation(a, of_p[i], p, q);
    for (int i = 0; i < nq; i++) from_q[i] = isolation(a, of_q[i], p, q);
    *x = of_p[0], *y = of_q[0];
    for (int i = 0; i < np; i++)
        for (int j = 0; j < nq; j++) {
            double value = factor * a->node[of_p[i] * a->n + of_q[j]] - from_p[i] - from_q[j];
            if (value < best) best = value, *x = of_p[i], *y = of_q[j];
        }
}

/* ---- joining ---- */

/* Both rows of a node, once `row` holds what it is to all others. */
static void set_node(agglomeration *a, int64_t z, const double *row) {
    for (int64_t w = 0; w < a->n; w++) a->node[z * a->n + w] = a->node[w * a->n + z] = row[w];
    a->node[z * a->n + z] = 0;
}

/* The path of nodes end[0..count) becomes the two nodes at its ends, at these weights seen from the first end. */
static void reduce(agglomeration *a, const int64_t *end, const double *weight, int count, double apart) {
    int64_t n = a->n, u = end[0], v = end[count - 1];
    double *to_u = a->row, *to_v = a->row + n;
    for (int64_t w = 0; w < n; w++) {
        to_u[w] = to_v[w] = 0;
        for (int i = 0; i < count; i++) {
            to_u[w] += weight[i] * a->node[end[i] * n + w];
            to_v[w] += weight[count + i] * a->node[end[i] * n + w];
        }
    }
    to_u[v] = to_v[u] = apart;
    set_node(a, u, to_u);
    set_node(a, v, to_v);
    a->node[u * n + v] = a->node[v * n + u] = apart;
}

static void reduce_three(agglomeration *a, int64_t x, int64_t y, int64_t z) {
    static const double weight[] = {2. / 3, 1. / 3, 0, 0, 1. / 3, 2. / 3};
    const double *d = a->node;
    int64_t n = a->n;
    reduce(a, (int64_t[]){x, y, z}, weight, 3, (d[x * n + y] + d[x * n + z] + d[y * n + z]) / 3);
}

/* SplitsTree4 reduces three to two twice, from the first end, which makes the first end count more. */
static void reduce_four(agglomeration *a, int64_t x, int64_t y, int64_t z, int64_t t) {
    static const double even[] = {1. / 2, 1. / 3, 1. / 6, 0, 0, 1. / 6, 1. / 3, 1. / 2};
    static const double twice[] = {4. / 9, 3. / 9, 2. / 9, 0, 0, 1. / 9, 2. / 9, 6. / 9};
    const double *d = a->node;
    int64_t n = a->n, end[] = {x, y, z, t};
    if (a->reduction == SOW_REDUCE_SYMMETRIC) {
        double all = d[x * n + y] + d[x * n + z] + d[x * n + t] + d[y * n + z] + d[y * n + t] + d[z * n + t];
        reduce(a, end, even, 4, all / 6);
    } else {
        double uv = (d[x * n + y] + d[x * n + z] + d[y * n + z]) / 3;
        double ut = 2. / 3 * d[x * n + t] + 1. / 3 * d[y * n + t], vt = 1. / 3 * d[y * n + t] + 2. / 3 * d[z * n + t];
        reduce(a, end, twice, 4, (uv + ut + vt) / 3);
    }
}

static int64_t other_end(const agglomeration *a, int64_t c, int64_t node) {
    return a->first[c] == node ? a->last[c] : a->first[c];
}

/* Cluster q is gone: the last one takes its place. p has new distances. */
static void settle(agglomeration *a, int64_t p, int64_t q) {
    int64_t n = a->n, m = --a->clusters;
    if (q != m) {
        a->first[q] = a->first[m], a->last[q] = a->last[m];
        for (int64_t c = 0; c < m; c++) a->between[q * n + c] = a->between[c * n + q] = a->between[m * n + c];
        a->between[q * n + q] = 0;
    }
    for (int64_t c = 0; c < m; c++) {
        double mean = c == p ? 0 : (to_cluster(a, a->first[p], c) + to_cluster(a, a->last[p], c)) / 2;
        a->between[p * n + c] = a->between[c * n + p] = mean;
    }
}

static void join(agglomeration *a, int64_t p, int64_t q, int64_t x, int64_t y) {
    int64_t x_end = other_end(a, p, x), y_end = other_end(a, q, y);
    bool p_pair = x_end != x, q_pair = y_end != y;
    link_taxa(a, x, y);
    if (p_pair && q_pair) reduce_four(a, x_end, x, y, y_end);
    else if (p_pair) reduce_three(a, x_end, x, y);
    else if (q_pair) reduce_three(a, x, y, y_end);
    a->first[p] = x_end, a->last[p] = y_end;
    if (p == a->clusters - 1) { /* so that the last one, which fills the hole, is not the joined one */
        a->first[q] = x_end, a->last[q] = y_end;
        settle(a, q, p);
    } else settle(a, p, q);
}

/* ---- the end ---- */

/* Two paths or fewer remain: their ends are linked the shorter way round. */
static void close_circle(agglomeration *a) {
    int64_t n = a->n, p = a->first[0], pb = a->last[0];
    if (a->clusters == 1) {
        if (p != pb) link_taxa(a, p, pb);
        return;
    }
    int64_t q = a->first[1], qb = a->last[1];
    const double *d = a->node;
    if (p != pb && q != qb && !(d[p * n + q] + d[pb * n + qb] < d[p * n + qb] + d[pb * n + q])) {
        int64_t kept = q;
        q = qb, qb = kept;
    }
    link_taxa(a, p, q);
    if (p != pb || q != qb) link_taxa(a, pb, qb);
}

/* Reads the circle from taxon 0 on, in the direction of its smaller neighbour. */
static void read_circle(const agglomeration *a, int64_t *circle) {
    int64_t before = 0, at = a->next[0];
    if (a->next[1] >= 0 && a->next[1] < at) at = a->next[1];
    circle[0] = 0;
    for (int64_t i = 1; i < a->n; i++) {
        circle[i] = at;
        int64_t onward = a->next[2 * at] == before ? a->next[2 * at + 1] : a->next[2 * at];
        before = at, at = onward;
    }
}

sow_status network_circle(int64_t n, const double *distances, sow_reduction reduction, sow_arena *arena,
                          int64_t *circle) {
    agglomeration a = {.n = n, .clusters = n, .reduction = reduction};
    for (int64_t i = 0; i < n; i++) circle[i] = i;
    if (n <= 3) return SOW_OK;
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW_RAW(arena, a.node, n * n));
    SOW_TRY(SOW_NEW_RAW(arena, a.between, n * n));
    SOW_TRY(SOW_NEW(arena, a.sum, n));
    SOW_TRY(SOW_NEW(arena, a.row, 2 * n));
    SOW_TRY(SOW_NEW(arena, a.first, 2 * n));
    SOW_TRY(SOW_NEW_RAW(arena, a.next, 2 * n));
    a.last = a.first + n;
    memcpy(a.node, distances, (size_t)(n * n) * sizeof *distances);
    memcpy(a.between, distances, (size_t)(n * n) * sizeof *distances);
    for (int64_t i = 0; i < n; i++) a.first[i] = a.last[i] = i, a.next[2 * i] = a.next[2 * i + 1] = -1;
    int64_t active = n;
    while (active > 3 && a.clusters > 2) {
        int64_t p, q, x, y;
        SOW_TRY(sow_check_interrupt());
        pick_clusters(&a, &p, &q);
        pick_nodes(&a, p, q, &x, &y);
        active -= paired(&a, p) + paired(&a, q);
        join(&a, p, q, x, y);
        if (n >= 500) sow_progress("ordering", n - active, n);
    }
    close_circle(&a);
    read_circle(&a, circle);
    sow_arena_release(arena, mark);
    return SOW_OK;
}
