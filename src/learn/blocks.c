/* Rows read a chunk at a time, and sums over a fixed power of two of blocks added as a pairwise tree. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clones.h"
#include "learn/learn.h"
#include "sow/log.h"
#include "sow/threads.h"

enum { BLOCKS_MAX = 64, BLOCK_ROWS = 2048, INPUT_TILE = 8, AHEAD = 16, BY_ROW = 4, SHARED_ROWS = 16384 };
static const size_t sums_bytes_max = (size_t)256 << 20; /* of all blocks; above it they run in groups */

sow_status sow_rows_of(sow_tensor data, sow_rows *out) {
    char text[SOW_SHAPE_TEXT];
    if (data.rank != 2 || data.shape[1] < 1)
        return sow_fail(SOW_E_SHAPE, "rows have shape %s, expected [rows, columns]", sow_shape_text(data, text));
    if (data.dtype == SOW_BOOL || data.dtype >= SOW_C64)
        return sow_fail(SOW_E_TYPE, "rows are %s, expected real numbers", sow_dtype_name(data.dtype));
    *out = (sow_rows){.data = data, .count = data.shape[0], .width = data.shape[1]};
    return SOW_OK;
}

/* ---- one chunk, by columns ---- */

/* Chosen rows lie apart: the processor does not guess where the next ones are. */
static inline void prefetch_rows(const char *data, int64_t row_bytes, const int64_t *index, int64_t count,
                                 int64_t bytes) {
    for (int64_t k = 0; k < count; k++)
        for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(data + index[k] * row_bytes + b);
}

/* Rows with values side by side become columns, eight rows at a time. index NULL: rows from `first` on. */
#define TURN(name, type)                                                                                     \
    SOW_CLONES static void name(const type *data, int64_t row_stride, const int64_t *index, int64_t first,   \
                                int64_t columns, int64_t count, double *restrict out, int64_t stride) {      \
        int64_t i = 0, size = (int64_t)sizeof(type);                                                         \
        for (; i + 8 <= count; i += 8) {                                                                     \
            const type *row[8];                                                                              \
            if (index && i + AHEAD + 8 <= count)                                                             \
                prefetch_rows((const char *)data, row_stride *size, index + i + AHEAD, 8, columns * size);   \
            for (int k = 0; k < 8; k++) row[k] = data + (index ? index[i + k] : first + i + k) * row_stride; \
            for (int64_t j = 0; j < columns; j++)                                                            \
                for (int k = 0; k < 8; k++) out[j * stride + i + k] = row[k][j];                             \
        }                                                                                                    \
        for (; i < count; i++)                                                                               \
            for (int64_t j = 0; j < columns; j++)                                                            \
                out[j * stride + i] = data[(index ? index[i] : first + i) * row_stride + j];                 \
    }
TURN(turn_f64, double)
TURN(turn_f32, float)

/* The chosen rows' stored values in columns [column, column + columns). */
static void raw_columns(const sow_rows *rows, int64_t first, int64_t count, int64_t column, int64_t columns,
                        double *out, int64_t stride) {
    const sow_tensor *t = &rows->data;
    int64_t rs = t->stride[0], cs = t->stride[1];
    const int64_t *index = rows->index ? rows->index + first : NULL;
    if (cs == 1 && t->dtype == SOW_F64) {
        turn_f64((const double *)t->data + column, rs, index, first, columns, count, out, stride);
    } else if (cs == 1 && t->dtype == SOW_F32) {
        turn_f32((const float *)t->data + column, rs, index, first, columns, count, out, stride);
    } else if (t->dtype == SOW_F64) {
        for (int64_t j = 0; j < columns; j++) {
            const double *from = (const double *)t->data + (column + j) * cs;
            if (!index && rs == 1) memcpy(out + j * stride, from + first, (size_t)count * sizeof *out);
            else
                for (int64_t i = 0; i < count; i++) out[j * stride + i] = from[(index ? index[i] : first + i) * rs];
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < columns; j++)
                out[j * stride + i] = sow_at(*t, (index ? index[i] : first + i) * t->shape[1] + column + j);
    }
}

/* out += map (x - shift) for the inputs [column, column + columns). */
SOW_CLONES static void project(const double *restrict x, int64_t columns, int64_t count, const double *map,
                               int64_t inputs, int64_t width, double *restrict out, int64_t stride) {
    for (int64_t q = 0; q < width; q++)
        for (int64_t j = 0; j < columns; j++) {
            double m = map[q * inputs + j];
            for (int64_t i = 0; i < count; i++) out[q * stride + i] += m * x[j * SOW_CHUNK + i];
        }
}

static void standardise(const sow_rows *rows, int64_t column, int64_t columns, int64_t count, double *x,
                        int64_t stride) {
    for (int64_t j = 0; j < columns; j++) {
        double shift = rows->shift ? rows->shift[column + j] : 0, scale = rows->scale ? rows->scale[column + j] : 1;
        for (int64_t i = 0; i < count; i++) x[j * stride + i] = (x[j * stride + i] - shift) * scale;
    }
}

void sow_rows_chunk(const sow_rows *rows, int64_t first, int64_t count, double *out, int64_t stride) {
    int64_t inputs = rows->data.shape[1];
    if (count <= 0) return;
    if (!rows->map) {
        raw_columns(rows, first, count, 0, inputs, out, stride);
        if (rows->shift || rows->scale) standardise(rows, 0, inputs, count, out, stride);
        return;
    }
    double tile[INPUT_TILE * SOW_CHUNK];
    for (int64_t q = 0; q < rows->width; q++) memset(out + q * stride, 0, (size_t)count * sizeof *out);
    for (int64_t j = 0; j < inputs; j += INPUT_TILE) {
        int64_t columns = inputs - j < INPUT_TILE ? inputs - j : INPUT_TILE;
        raw_columns(rows, first, count, j, columns, tile, SOW_CHUNK);
        if (rows->shift) standardise(rows, j, columns, count, tile, SOW_CHUNK);
        project(tile, columns, count, rows->map + j, inputs, rows->width, out, stride);
    }
}

/* Pages of a mapped file that were read for rows [first, last) are given back: they come again from the system's cache. */
static void give_back(const sow_rows *rows, int64_t first, int64_t last) {
    const sow_tensor *t = &rows->data;
    int64_t a = rows->index ? rows->index[first] : first, b = (rows->index ? rows->index[last - 1] : last - 1) + 1;
    if (!rows->mapped || t->stride[0] < t->stride[1]) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), size = sow_dtype_size(t->dtype);
    uintptr_t begin = ((uintptr_t)t->data + (uintptr_t)(a * t->stride[0]) * size + page - 1) / page * page,
              end = ((uintptr_t)t->data + (uintptr_t)(b * t->stride[0]) * size) / page * page;
    if (end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* ---- some of the rows ---- */

/* A number that looks random for each i (SplitMix64's last step): evenly taken rows would alias with an order in the table. */
static uint64_t scatter(uint64_t i) {
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ i >> 30) * 0xbf58476d1ce4e5b9u;
    i = (i ^ i >> 27) * 0x94d049bb133111ebu;
    return i ^ i >> 31;
}

sow_status sow_rows_sample(const sow_rows *rows, int64_t most, sow_arena *arena, sow_rows *out, int64_t **numbers) {
    int64_t n = rows->count < most ? rows->count : most, *index;
    double *values;
    if (numbers) SOW_TRY(SOW_NEW_RAW(arena, *numbers, n));
    SOW_TRY(SOW_NEW_RAW(arena, index, n));
    SOW_TRY(SOW_NEW_RAW(arena, values, n * rows->width));
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (int64_t)((__int128)i * rows->count / n), next = (int64_t)((__int128)(i + 1) * rows->count / n);
        row += (int64_t)(scatter((uint64_t)i) % (uint64_t)(next - row));
        if (numbers) (*numbers)[i] = row;
        index[i] = rows->index ? rows->index[row] : row;
    }
    sow_rows chosen = *rows;
    chosen.index = index;
    chosen.count = n;
    for (int64_t i = 0; i < n; i += SOW_CHUNK) { /* columns n apart: chunks of it are copied, not turned */
        int64_t count = n - i < SOW_CHUNK ? n - i : SOW_CHUNK;
        sow_rows_chunk(&chosen, i, count, values + i, n);
        give_back(&chosen, i, i + count);
    }
    sow_tensor t = SOW_TENSOR(values, SOW_F64, n, rows->width);
    t.stride[0] = 1;
    t.stride[1] = n;
    return sow_rows_of(t, out);
}

sow_rows sow_rows_slice(const sow_rows *rows, int64_t first, int64_t count) {
    sow_rows part = *rows;
    part.count = count;
    if (rows->index) part.index = rows->index + first;
    else part.data = sow_slice(rows->data, 0, first, count);
    return part;
}

/* ---- blocks ---- */

int64_t sow_block_count(int64_t count) {
    int64_t blocks = 1;
    while (blocks < BLOCKS_MAX && count / (2 * blocks) >= BLOCK_ROWS) blocks *= 2;
    return blocks;
}

int64_t sow_block_first(int64_t count, int64_t b) {
    int64_t blocks = sow_block_count(count), size = count / blocks, rest = count % blocks;
    return b * size + (b < rest ? b : rest);
}

typedef struct pass {
    const sow_rows *rows;
    const sow_block_work *work;
    double *sums, *buffers; /* [blocks in flight, sums], [cells in flight, buffer] */
    int64_t buffer, begin;
} pass;

static void run_block(void *context, int64_t cell) {
    const pass *p = context;
    int64_t block = p->begin + cell, first = sow_block_first(p->rows->count, block),
            last = sow_block_first(p->rows->count, block + 1);
    double *x = p->buffers + cell * p->buffer, *sums = p->sums ? p->sums + cell * p->work->sums : NULL;
    if (sow_interrupted()) return;
    for (int64_t i = first; i < last; i += SOW_CHUNK) {
        int64_t count = last - i < SOW_CHUNK ? last - i : SOW_CHUNK;
        sow_rows_chunk(p->rows, i, count, x, LEARN_STRIDE);
        learn_pad(x, p->rows->width, count);
        p->work->chunk(p->work->context, i, count, x, sums, x + p->rows->width * LEARN_STRIDE);
    }
    if (last > first) give_back(p->rows, first, last);
}

/* Adds `count` (a power of two) groups of sums into the first, neighbours first. */
static void add_tree(double *sums, int64_t count, int64_t size) {
    for (int64_t step = 1; step < count; step *= 2)
        for (int64_t i = 0; i + step < count; i += 2 * step)
            for (int64_t j = 0; j < size; j++) sums[i * size + j] += sums[(i + step) * size + j];
}

/* Blocks first .. first + blocks (an aligned power of two of them) into total. */
static sow_status run_blocks(const sow_rows *rows, const sow_block_work *work, int64_t first, int64_t blocks,
                             double *total) {
    int64_t size = work->sums, together = blocks, levels = 0;
    pass p = {.rows = rows, .work = work, .buffer = rows->width * LEARN_STRIDE + work->scratch};
    /* Large sums: groups of blocks one after another; a group's subtree, then the tree of groups. */
    while (together > 1 && (size_t)together * (size_t)(size + p.buffer) * sizeof(double) > sums_bytes_max)
        together /= 2;
    int64_t groups = blocks / together, numbers;
    SOW_TRY(sow_multiply(together, p.buffer + size, &numbers));
    SOW_TRY(sow_add_sizes(numbers, 8 * size, &numbers)); /* a carry for each level of at most 64 groups */
    p.buffers = sow_reallocate(NULL, (size_t)numbers * sizeof(double));
    if (!p.buffers) return SOW_E_MEMORY;
    double *carries = p.buffers + together * (p.buffer + size);
    p.sums = size ? p.buffers + together * p.buffer : NULL;
    for (int64_t g = 0; g < groups && !sow_interrupted(); g++) {
        p.begin = first + g * together;
        if (size) memset(p.sums, 0, (size_t)(together * size) * sizeof(double));
        sow_cells(together, run_block, &p);
        if (size) add_tree(p.sums, together, size);
        for (levels = 0; size && (g >> levels & 1); levels++) /* a binary counter of finished subtrees */
            for (int64_t j = 0; j < size; j++) p.sums[j] = carries[levels * size + j] + p.sums[j];
        if (size) memcpy(carries + levels * size, p.sums, (size_t)size * sizeof(double));
    }
    if (size) memcpy(total, p.sums, (size_t)size * sizeof(double));
    sow_release(p.buffers);
    return sow_check_interrupt();
}

/* ---- blocks of several processes ---- */

static sow_sharing sharing = {.count = 1};

void sow_share_blocks(const sow_sharing *with) {
    sharing = with ? *with : (sow_sharing){.count = 1};
}

/* A part: the sums of its blocks' subtree, then what is known by row, in room for the longest part. */
typedef struct parts {
    const sow_rows *rows;
    const sow_block_work *work;
    int64_t blocks; /* of each part */
    int64_t most;   /* rows of the longest part */
    size_t bytes;
} parts;

static void copy_rows(const parts *p, int part, unsigned char *bytes, bool out) {
    int64_t first = sow_block_first(p->rows->count, part * p->blocks),
            count = sow_block_first(p->rows->count, (part + 1) * p->blocks) - first;
    unsigned char *at = bytes + (size_t)p->work->sums * sizeof(double);
    for (int i = 0; i < BY_ROW; i++) {
        if (!p->work->by_row[i].data) continue;
        size_t size = (size_t)p->work->by_row[i].size, used = (size_t)count * size;
        unsigned char *own = (unsigned char *)p->work->by_row[i].data + (size_t)first * size;
        if (out) memcpy(at, own, used);
        else memcpy(own, at, used);
        at += (size_t)p->most * size;
    }
}

static sow_status share(parts *p, int senders, unsigned char *mine, unsigned char *all, double *total) {
    int64_t size = p->work->sums;
    if (sharing.rank < senders) {
        SOW_TRY(run_blocks(p->rows, p->work, sharing.rank * p->blocks, p->blocks, (double *)(void *)mine));
        copy_rows(p, sharing.rank, mine, true);
    }
    SOW_TRY(sharing.exchange(sharing.user, senders, mine, p->bytes, all));
    for (int r = 0; r < senders; r++)
        if (r != sharing.rank) copy_rows(p, r, all + (size_t)r * p->bytes, false);
    if (size == 0) return SOW_OK;
    for (int r = 0; r < senders; r++) /* side by side, as add_tree wants them */
        memmove(all + (size_t)(r * size) * sizeof(double), all + (size_t)r * p->bytes, (size_t)size * sizeof(double));
    add_tree((double *)(void *)all, senders, size);
    memcpy(total, all, (size_t)size * sizeof(double));
    return SOW_OK;
}

sow_status sow_blocks(const sow_rows *rows, const sow_block_work *work, double *total) {
    int64_t blocks = sow_block_count(rows->count), bytes = work->sums * (int64_t)sizeof(double);
    int senders = 1;
    while (2 * senders <= sharing.count && 2 * senders <= blocks) senders *= 2;
    if (senders == 1 || rows->count < SHARED_ROWS) return run_blocks(rows, work, 0, blocks, total);
    parts p = {.rows = rows, .work = work, .blocks = blocks / senders, .most = rows->count / senders + blocks};
    for (int i = 0; i < BY_ROW; i++)
        if (work->by_row[i].data) bytes += p.most * work->by_row[i].size;
    p.bytes = (size_t)(bytes + 7) / 8 * 8;
    unsigned char *room = sow_reallocate(NULL, p.bytes * (size_t)(senders + 1));
    if (!room) return SOW_E_MEMORY;
    memset(room, 0, p.bytes); /* no bytes of the heap are sent */
    sow_status status = share(&p, senders, room, room + p.bytes, total);
    sow_release(room);
    return status;
}

/* ---- moments ---- */

typedef struct moments {
    int64_t width;
    const double *origin;
    bool products; /* of all pairs of columns, else squares alone */
} moments;

/* sums: of the columns, then of their squares or products, all about the origin. */
static void sum_moments(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const moments *m = context;
    (void)first;
    for (int64_t j = 0; j < m->width; j++) {
        double *centred = scratch + j * LEARN_STRIDE;
        for (int64_t i = 0; i < count; i++) centred[i] = x[j * LEARN_STRIDE + i] - m->origin[j];
        sums[j] += learn_sum(centred, count);
        if (!m->products) sums[m->width + j] += learn_dot(centred, centred, count);
    }
    if (!m->products) return;
    learn_pad(scratch, m->width, count);
    learn_products(scratch, scratch, m->width, count, sums + m->width);
}

/* The mean of a few rows spread over all; of equal rows exactly their value. row: [width] of scratch. */
static void find_origin(const sow_rows *rows, double *origin, double *sum, double *row) {
    int64_t d = rows->width, few = rows->count < SOW_CHUNK ? rows->count : SOW_CHUNK;
    sow_rows_chunk(rows, 0, 1, origin, 1);
    memset(sum, 0, (size_t)d * sizeof *sum);
    for (int64_t i = 1; i < few; i++) {
        sow_rows_chunk(rows, (int64_t)((__int128)i * rows->count / few), 1, row, 1);
        for (int64_t j = 0; j < d; j++) sum[j] += row[j] - origin[j];
    }
    for (int64_t j = 0; j < d; j++) origin[j] += sum[j] / (double)few;
}

/* The first row with a value that is not finite. */
static sow_status name_bad_row(const sow_rows *rows) {
    for (int64_t i = 0; i < rows->count; i++) {
        int64_t row = rows->index ? rows->index[i] : i;
        for (int64_t j = 0; j < rows->data.shape[1]; j++)
            if (!isfinite(sow_at(rows->data, row * rows->data.shape[1] + j)))
                return sow_fail(SOW_E_NUMBER, "row %lld, column %lld is not a finite number", (long long)row,
                                (long long)j);
    }
    return sow_fail(SOW_E_NUMBER, "the rows' values are too large to be added up");
}

/* second: [width] variances or [width, width] products about the mean, divided by the count; or NULL. */
static sow_status collect(const sow_rows *rows, bool products, double *room, double *mean, double *second) {
    int64_t d = rows->width, size = products ? d * d : d;
    double *origin = room, *sums = room + d, n = (double)rows->count;
    moments m = {.width = d, .origin = origin, .products = products};
    find_origin(rows, origin, sums, mean);
    SOW_TRY(sow_blocks(rows, &(sow_block_work){sum_moments, &m, d + size, d * LEARN_STRIDE}, sums));
    for (int64_t j = 0; j < d; j++) {
        sums[j] /= n;
        mean[j] = origin[j] + sums[j];
        if (!isfinite(mean[j])) return name_bad_row(rows);
    }
    for (int64_t a = 0; second && a < d; a++)
        for (int64_t b = products ? 0 : a; b <= a; b++) {
            int64_t at = products ? a * d + b : a;
            double value = sums[d + at] / n - sums[a] * sums[b];
            if (!isfinite(value)) return name_bad_row(rows);
            if (a == b && value < 0) value = 0;
            second[at] = value;
            if (products) second[b * d + a] = value;
        }
    return SOW_OK;
}

static sow_status measure(const sow_rows *rows, bool products, double *mean, double *second) {
    int64_t d = rows->width, numbers;
    if (rows->count < 1) return sow_fail(SOW_E_SHAPE, "no rows");
    SOW_TRY(sow_multiply(d, products ? d + 2 : 3, &numbers));
    double *room = sow_reallocate(NULL, (size_t)numbers * sizeof *room);
    if (!room) return SOW_E_MEMORY;
    sow_status status = collect(rows, products, room, mean, second);
    sow_release(room);
    return status;
}

sow_status sow_rows_moments(const sow_rows *rows, double *mean, double *covariance) {
    return measure(rows, covariance != NULL, mean, covariance);
}

sow_status sow_rows_variances(const sow_rows *rows, double *mean, double *variance) {
    return measure(rows, false, mean, variance);
}
