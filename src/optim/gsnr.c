/* The signal-to-noise ratio of gradients, block by block: Xu et al. 2024, arXiv 2412.11768, section 3. */
#include <math.h>
#include <string.h>

#include "optim/partition.h"
#include "sow/scales.h"
#include "sow/threads.h"

static const double EPSILON = 1e-8, CONSTANT = 1e-6, TINY = 100 * 1e-8;

/* ---- partitions ---- */

static const char *const kinds[] = {"tensor", "qkv", "head", "row"};

sow_status sow_block_kind_parse(const char *name, sow_block_kind *out) {
    for (int i = 0; i < 4; i++)
        if (!strcmp(kinds[i], name)) {
            *out = (sow_block_kind)i;
            return SOW_OK;
        }
    return sow_fail(SOW_E_ARGUMENT, "blocks '%s': expected tensor, qkv, head or row", name);
}

const char *sow_block_kind_name(sow_block_kind kind) {
    return kinds[kind];
}

/* Whether one of the words between dots (but the last, "weight" or "bias") is in a list that ends with NULL. torch names in_proj's
 * tensors in_proj_weight and in_proj_bias. */
static bool has_word(const char *name, const char *const *words) {
    for (const char *at = name; *at;) {
        size_t length = strcspn(at, ".");
        for (const char *const *w = words; *w; w++) {
            size_t n = strlen(*w);
            if (length >= n && !memcmp(at, *w, n) &&
                (length == n || !strncmp(at + n, "_weight", 7) || !strncmp(at + n, "_bias", 5)))
                return true;
        }
        at += length + (at[length] == '.');
    }
    return false;
}

sow_partition sow_partition_of(const sow_entry *e, const sow_scale_blocks *blocks) {
    static const char *const fused[] = {"c_attn", "qkv", "in_proj", "query_key_value", "Wqkv", NULL},
                             *const queries[] = {"q_proj", "query", NULL},
                             *const keys[] = {"k_proj", "v_proj", "key", "value", NULL},
                             *const by_inputs[] = {"c_attn", "c_proj", "c_fc", NULL};
    sow_partition p = {.dimension = e->value.rank == 2 && has_word(e->name, by_inputs), .parts = 1};
    int64_t heads = blocks->heads, kv_heads = blocks->kv_heads > 0 ? blocks->kv_heads : heads;
    if (e->value.rank == 0) return p;
    if (blocks->kind == SOW_BLOCKS_ROW && e->value.rank >= 2) p.parts = e->value.shape[p.dimension];
    if (blocks->kind == SOW_BLOCKS_QKV && has_word(e->name, fused)) p.parts = 3;
    if (blocks->kind == SOW_BLOCKS_HEAD && heads > 0) {
        if (has_word(e->name, fused)) p.parts = kv_heads == heads ? 3 * heads : 1;
        else if (has_word(e->name, queries)) p.parts = heads;
        else if (has_word(e->name, keys)) p.parts = kv_heads;
    }
    if (p.parts < 1 || e->value.shape[p.dimension] % p.parts) p.parts = 1;
    return p;
}

int64_t optim_run_of(sow_tensor t, sow_partition p) {
    return p.parts == 1 ? sow_count(t) : t.stride[p.dimension] * (t.shape[p.dimension] / p.parts);
}

/* ---- sums ---- */

/* Kept elements of a run: their number, sum and squares, or their squared distance from a mean. */
typedef struct sums {
    double n, sum, squares, deviations;
} sums;

typedef struct gradient {
    const float *g;
    const uint8_t *keep; /* NULL: all */
    int64_t count;
} gradient;

static void add_moments(const gradient *x, int64_t first, int64_t n, sums *out) {
    double sum = 0, squares = 0, kept = 0;
    for (int64_t i = first; i < first + n; i++) {
        double v = (double)x->g[i], keep = x->keep ? x->keep[i] : 1;
        kept += keep;
        sum += keep * v;
        squares += keep * v * v;
    }
    out->n += kept;
    out->sum += sum;
    out->squares += squares;
}

static void add_deviations(const gradient *x, int64_t first, int64_t n, double mean, sums *out) {
    double deviations = 0;
    for (int64_t i = first; i < first + n; i++) {
        double d = (double)x->g[i] - mean;
        deviations += (x->keep ? x->keep[i] : 1) * d * d;
    }
    out->deviations += deviations;
}

static sow_gsnr judge(const sums *s) {
    sow_gsnr out = {.n = (int64_t)s->n, .norm = sqrt(s->squares), .mean = s->n > 0 ? s->sum / s->n : 0};
    out.sd = s->n > 1 ? sqrt(s->deviations / (s->n - 1)) : 0;
    if (s->n < 2) out.kind = SOW_GSNR_SINGLE, out.g = isfinite(out.norm) ? 1 : out.norm;
    else if (out.norm == 0) out.kind = SOW_GSNR_DEAD, out.g = 1;
    else if (out.sd < CONSTANT * out.norm) out.kind = SOW_GSNR_CONSTANT, out.g = sqrt(s->n);
    else out.g = out.norm / (out.sd + EPSILON), out.kind = out.sd < TINY ? SOW_GSNR_TINY : SOW_GSNR_MEASURED;
    return out;
}

/* ---- a whole tensor: cells of a fixed number of pieces ---- */

enum { PIECES = 64 };

typedef struct whole {
    gradient x;
    int64_t grain;
    double mean;
    sums piece[PIECES];
} whole;

static int64_t piece_end(const whole *w, int64_t i) {
    return (i + 1) * w->grain < w->x.count ? (i + 1) * w->grain : w->x.count;
}

static void moments_cell(void *context, int64_t i) {
    whole *w = context;
    add_moments(&w->x, i * w->grain, piece_end(w, i) - i * w->grain, &w->piece[i]);
}

static void deviations_cell(void *context, int64_t i) {
    whole *w = context;
    add_deviations(&w->x, i * w->grain, piece_end(w, i) - i * w->grain, w->mean, &w->piece[i]);
}

static sow_gsnr measure_whole(gradient x) {
    whole w = {.x = x, .grain = x.count / PIECES + 1};
    int64_t pieces = (x.count + w.grain - 1) / w.grain;
    sums all = {0};
    sow_cells(pieces, moments_cell, &w);
    for (int64_t i = 0; i < pieces; i++) {
        all.n += w.piece[i].n;
        all.sum += w.piece[i].sum;
        all.squares += w.piece[i].squares;
    }
    w.mean = all.n > 0 ? all.sum / all.n : 0;
    sow_cells(pieces, deviations_cell, &w);
    for (int64_t i = 0; i < pieces; i++) all.deviations += w.piece[i].deviations;
    return judge(&all);
}

/* ---- parts: a cell each, which sees its runs of memory in order ---- */

typedef struct parted {
    gradient x;
    int64_t run, parts;
    sow_gsnr *out;
} parted;

static void part_cell(void *context, int64_t part) {
    const parted *p = context;
    sums s = {0};
    int64_t stride = p->run * p->parts;
    for (int64_t at = part * p->run; at < p->x.count; at += stride) add_moments(&p->x, at, p->run, &s);
    double mean = s.n > 0 ? s.sum / s.n : 0;
    for (int64_t at = part * p->run; at < p->x.count; at += stride) add_deviations(&p->x, at, p->run, mean, &s);
    p->out[part] = judge(&s);
}

void sow_gsnr_measure(sow_tensor g, sow_tensor mask, sow_partition partition, sow_gsnr *out) {
    gradient x = {.g = g.data, .keep = mask.data, .count = sow_count(g)};
    if (partition.parts == 1) {
        *out = measure_whole(x);
        return;
    }
    parted p = {.x = x, .run = optim_run_of(g, partition), .parts = partition.parts, .out = out};
    sow_cells(partition.parts, part_cell, &p);
}

const char *sow_gsnr_kind_text(sow_gsnr_kind kind) {
    static const char *const texts[] = {"", "single element", "dead", "constant", "tiny"};
    return texts[kind];
}
