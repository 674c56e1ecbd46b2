/* Which weights a round removes: exact selection of the smallest magnitudes by radix, in memory or over a mapped file. */
#include <math.h>
#include <string.h>

#include "nn/prune.h"
#include "sow/log.h"

/* Magnitudes of non-negative IEEE numbers order as their bits do, so a key is the bits without the sign: of f32 for F32,
 * F16 and BF16 (exact), of f64 where a tensor in the pool is F64. */
enum { DIGIT_BITS = 16, BUCKETS = 1 << DIGIT_BITS };
static const uint64_t narrow_infinity = 0x7f800000u, wide_infinity = UINT64_C(0x7ff0000000000000);

sow_status prune_check_type(const char *name, sow_tensor values) {
    if (sow_dtype_is_real(values.dtype)) return SOW_OK;
    return sow_fail(SOW_E_TYPE, "tensor '%s' is %s, expected F64, F32, F16 or BF16 weights", name,
                    sow_dtype_name(values.dtype));
}

static inline uint64_t key_of_float(float value, bool wide) {
    if (wide) {
        double d = value;
        uint64_t bits;
        memcpy(&bits, &d, sizeof bits);
        return bits & ~(UINT64_C(1) << 63);
    }
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffffu;
}

static void read_keys(const prune_source *s, int64_t first, int64_t n, uint64_t *keys) {
    const void *data = s->values.data;
    switch (s->values.dtype) {
    case SOW_F64:
        memcpy(keys, (const double *)data + first, (size_t)n * sizeof *keys);
        for (int64_t i = 0; i < n; i++) keys[i] &= ~(UINT64_C(1) << 63);
        break;
    case SOW_F32:
        for (int64_t i = 0; i < n; i++) keys[i] = key_of_float(((const float *)data)[first + i], s->wide);
        break;
    case SOW_F16:
        for (int64_t i = 0; i < n; i++)
            keys[i] = key_of_float(sow_half_to_float(((const uint16_t *)data)[first + i]), s->wide);
        break;
    default: /* BF16: the types were checked */
        for (int64_t i = 0; i < n; i++)
            keys[i] = key_of_float(sow_bf16_to_float(((const uint16_t *)data)[first + i]), s->wide);
    }
}

static inline bool alive(const prune_source *s, int64_t i) {
    if (s->bits) return sow_bit(s->bits, i);
    return !s->keep || s->keep[i];
}

static int64_t chunk_size(const prune_source *s, int64_t first) {
    int64_t left = sow_count(s->values) - first;
    return left < PRUNE_CHUNK ? left : PRUNE_CHUNK;
}

/* Survivors of a source; refuses numbers that have no magnitude. */
static sow_status count_survivors(prune_source *s) {
    uint64_t keys[PRUNE_CHUNK], infinity = s->wide ? wide_infinity : narrow_infinity;
    int64_t total = sow_count(s->values);
    s->before = 0;
    for (int64_t first = 0; first < total; first += PRUNE_CHUNK) {
        int64_t n = chunk_size(s, first);
        read_keys(s, first, n, keys);
        for (int64_t i = 0; i < n; i++) {
            if (keys[i] >= infinity)
                return sow_fail(SOW_E_NUMBER, "tensor '%s': element %lld is %s, expected finite weights", s->name,
                                (long long)(first + i), keys[i] == infinity ? "infinite" : "NaN");
            s->before += alive(s, first + i);
        }
    }
    return SOW_OK;
}

/* Histogram of the digit at `shift` over survivors whose higher digits equal `prefix`. */
static void count_digits(const prune_source *s, int shift, uint64_t prefix, int64_t *buckets) {
    uint64_t keys[PRUNE_CHUNK];
    int64_t total = sow_count(s->values);
    for (int64_t first = 0; first < total; first += PRUNE_CHUNK) {
        int64_t n = chunk_size(s, first);
        read_keys(s, first, n, keys);
        for (int64_t i = 0; i < n; i++) {
            /* two shifts, since one by 64 is undefined */
            if (keys[i] >> shift >> DIGIT_BITS == prefix && alive(s, first + i))
                buckets[keys[i] >> shift & (BUCKETS - 1)]++;
        }
    }
}

/* Key of the survivor number `rank` (from 0) in ascending order, and its rank among equal keys. */
static uint64_t select_key(const prune_source *sources, int64_t count, int64_t rank, int64_t *buckets,
                           int64_t *rank_among_equals) {
    uint64_t prefix = 0;
    for (int shift = sources->wide ? 48 : 16; shift >= 0; shift -= DIGIT_BITS) {
        memset(buckets, 0, BUCKETS * sizeof *buckets);
        for (int64_t s = 0; s < count; s++) count_digits(&sources[s], shift, prefix, buckets);
        uint64_t digit = 0;
        while (rank >= buckets[digit]) rank -= buckets[digit++];
        prefix = prefix << DIGIT_BITS | digit;
    }
    *rank_among_equals = rank;
    return prefix;
}

/* round_half_even as Python's round() and NumPy's, independent of the rounding mode's name. */
static int64_t round_half_even(double x) {
    double low = floor(x), rest = x - low;
    if (rest > 0.5 || (rest == 0.5 && fmod(low, 2) != 0)) low += 1;
    return (int64_t)low;
}

/* Threshold of one pool: all sources share it. */
static void select_pool(prune_source *sources, int64_t count, bool google, int64_t *buckets) {
    int64_t survivors = 0, remove, equals = 0, ties;
    for (int64_t s = 0; s < count; s++) survivors += sources[s].before;
    double rate = sources->rate;
    remove = google ? round_half_even(rate * (double)survivors) + 1 : (int64_t)floor(rate * (double)survivors + 0.5);
    if (remove > survivors) remove = survivors;
    uint64_t threshold = 0;
    if (remove > 0) threshold = select_key(sources, count, remove - 1, buckets, &equals);
    ties = remove == 0 ? 0 : google ? INT64_MAX : equals + 1;
    for (int64_t s = 0; s < count; s++) {
        sources[s].threshold = threshold;
        sources[s].ties = ties; /* of the pool: settle deals them out */
    }
}

/* Counts what a source keeps and how many of the pool's ties it uses; spares its largest weight if nothing would be left. */
static void settle(prune_source *s, int64_t *ties_left) {
    uint64_t keys[PRUNE_CHUNK], largest = 0;
    int64_t total = sow_count(s->values), equal = 0, above = 0, last_largest = -1;
    for (int64_t first = 0; first < total; first += PRUNE_CHUNK) {
        int64_t n = chunk_size(s, first);
        read_keys(s, first, n, keys);
        for (int64_t i = 0; i < n; i++) {
            if (!alive(s, first + i)) continue;
            equal += keys[i] == s->threshold;
            above += keys[i] > s->threshold;
            if (keys[i] >= largest) largest = keys[i], last_largest = first + i;
        }
    }
    s->ties = equal < *ties_left ? equal : *ties_left;
    if (*ties_left != INT64_MAX) *ties_left -= s->ties;
    s->kept = above + equal - s->ties;
    s->spared = -1;
    if (s->kept == 0 && s->before > 0) {
        s->spared = last_largest;
        s->kept = 1;
        sow_warn("tensor '%s' would lose its last weights: its largest one is kept", s->name);
    }
}

sow_status prune_select(sow_arena *arena, prune_source *sources, int64_t count, bool global, bool google) {
    sow_mark mark = sow_arena_mark(arena);
    int64_t *buckets;
    SOW_TRY(SOW_NEW_RAW(arena, buckets, BUCKETS));
    bool wide = false;
    for (int64_t s = 0; s < count; s++) wide |= sources[s].values.dtype == SOW_F64;
    for (int64_t s = 0; s < count; s++) {
        sources[s].wide = global ? wide : sources[s].values.dtype == SOW_F64;
        SOW_TRY(count_survivors(&sources[s]));
    }
    int64_t pool = global ? count : 1;
    for (int64_t first = 0; first < count; first += pool) {
        SOW_TRY(sow_check_interrupt());
        select_pool(sources + first, pool, google, buckets);
        int64_t ties_left = sources[first].ties;
        for (int64_t s = first; s < first + pool; s++) settle(&sources[s], &ties_left);
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

void prune_keep(const prune_source *s, int64_t first, int64_t n, int64_t *ties_seen, uint8_t *keep) {
    uint64_t keys[PRUNE_CHUNK];
    for (int64_t done = 0; done < n; done += PRUNE_CHUNK) {
        int64_t part = n - done < PRUNE_CHUNK ? n - done : PRUNE_CHUNK;
        read_keys(s, first + done, part, keys);
        for (int64_t i = 0; i < part; i++) {
            int64_t at = first + done + i;
            bool keeps = alive(s, at) && keys[i] >= s->threshold;
            if (keeps && keys[i] == s->threshold && *ties_seen < s->ties) {
                keeps = false;
                ++*ties_seen;
            }
            keep[done + i] = keeps || at == s->spared;
        }
    }
}
