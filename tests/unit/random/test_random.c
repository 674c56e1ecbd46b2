/* Random streams: frozen numbers, PyTorch's and NumPy's recorded ones, and what the distributions promise. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oracles/random.h"
#include "sow/random.h"

enum { MANY = 100000 };
static float many_f32[MANY];
static double many_f64[MANY];

static uint64_t hash_of(const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static sow_rng seeded(sow_rng_kind kind, uint64_t seed) {
    sow_rng rng;
    assert_int_equal(sow_rng_seed(&rng, kind, seed), SOW_OK);
    return rng;
}

static sow_rng at(uint64_t seed, const char *purpose, const char *name) {
    sow_rng rng = seeded(SOW_RNG_SOW, seed);
    sow_rng_at(&rng, purpose, name);
    return rng;
}

/* ---- Philox and names ---- */

static void philox_gives_the_known_answers_of_random123(void **state) {
    static const uint32_t cases[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
         0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        sow_philox(cases[i], cases[i] + 4, out);
        assert_memory_equal(out, cases[i] + 6, sizeof out);
    }
}

static void uniform_numbers_are_the_blocks_of_the_stream(void **state) {
    const uint64_t seed = 0x0123456789abcdefu;
    sow_rng rng = at(seed, "init", "fc1.weight");
    rng.index = 0xfffffffau; /* the counter's carry lies inside the fill */
    const sow_rng start = rng;
    float narrow[203];
    double wide[101];
    sow_rng_uniform_f32(&rng, narrow, 203, 0.0, 1.0);
    assert_int_equal(rng.index - start.index, 51);
    rng = start;
    sow_rng_uniform_f64(&rng, wide, 101, 0.0, 1.0);
    assert_int_equal(rng.index - start.index, 51);
    for (uint64_t i = 0; i < 203; i++) {
        uint64_t block = start.index + i / 4;
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)start.stream,
                                     (uint32_t)(start.stream >> 32)};
        const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
        uint32_t word[4];
        sow_philox(counter, key, word);
        assert_true(narrow[i] == (float)(word[i % 4] >> 8) / 16777216.0f);
        if (i % 4 == 0 && i / 2 + 1 < 101) {
            uint64_t first = (uint64_t)(word[0] >> 5) << 26 | word[1] >> 6;
            uint64_t second = (uint64_t)(word[2] >> 5) << 26 | word[3] >> 6;
            assert_true(wide[i / 2] == (double)first * 0x1p-53);
            assert_true(wide[i / 2 + 1] == (double)second * 0x1p-53);
        }
    }
}

static void streams_are_named_by_fnv1a_of_purpose_zero_name(void **state) {
    sow_rng rng = at(1, "init", "fc1.weight");
    assert_true(rng.stream == hash_of("init\0fc1.weight", 15));
    assert_true(rng.stream == 0xe42bae9c81a46361u);
    assert_true(at(1, "a", "bc").stream != at(1, "ab", "c").stream);
    assert_true(at(1, "", "").stream == seeded(SOW_RNG_SOW, 1).stream);
    sow_rng_at_index(&rng, "shuffle", 12);
    assert_true(rng.stream == at(1, "shuffle", "12").stream && rng.index == 0);
    sow_rng_at_index(&rng, "shuffle", UINT64_MAX);
    assert_true(rng.stream == at(1, "shuffle", "18446744073709551615").stream);
    sow_rng_at_index(&rng, "shuffle", 0);
    assert_true(rng.stream == at(1, "shuffle", "0").stream);
}

static void other_kinds_have_one_stream(void **state) {
    for (int kind = SOW_RNG_TORCH_CPU; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 4), same = rng;
        sow_rng_at(&rng, "init", "bias");
        sow_rng_at_index(&rng, "shuffle", 3);
        assert_memory_equal(&rng, &same, sizeof rng);
    }
}

static void kinds_have_names(void **state) {
    static const char *const names[] = {"sow", "torch-cpu", "numpy", "pcg64"};
    sow_rng_kind kind;
    for (int k = 0; k < 4; k++) {
        assert_string_equal(sow_rng_kind_name((sow_rng_kind)k), names[k]);
        assert_int_equal(sow_rng_kind_parse(names[k], &kind), SOW_OK);
        assert_int_equal(kind, k);
    }
    assert_int_equal(sow_rng_kind_parse("torch", &kind), SOW_E_NOT_FOUND);
    assert_non_null(strstr(sow_message(), "torch-cpu"));
}

/* ---- frozen numbers: a change here breaks every start that was ever made ---- */

static void assert_frozen(const char *what, const void *data, size_t size, uint64_t expected) {
    uint64_t hash = hash_of(data, size);
    if (hash != expected)
        fail_msg("%s: 0x%016llx instead of 0x%016llx", what, (unsigned long long)hash, (unsigned long long)expected);
}

static void sow_streams_are_frozen(void **state) {
    float f[1003];
    double d[1003];
    int64_t order[1003];
    sow_rng rng = at(7, "init", "fc1.weight");
    sow_rng_uniform_f32(&rng, f, 1003, -0.3, 0.7);
    assert_true(f[0] == -0x1.006acp-6f && f[1002] == 0x1.df6c3p-4f);
    assert_frozen("uniform f32", f, sizeof f, 0x58a0df753808f102u);
    sow_rng_normal_f32(&rng, f, 1003, 0.5, 0.02);
    assert_true(f[0] == 0x1.f55102p-2f && f[1002] == 0x1.f02dd6p-2f);
    assert_frozen("normal f32", f, sizeof f, 0x6ff1a7f63c15d3c2u);
    sow_rng_uniform_f64(&rng, d, 1003, -0.3, 0.7);
    assert_true(d[0] == 0x1.32ae17717cd86p-1 && d[1002] == 0x1.cbfc2efd0b705p-2);
    assert_frozen("uniform f64", d, sizeof d, 0xf9d328cf73821baeu);
    sow_rng_normal_f64(&rng, d, 1003, 0.5, 0.02);
    assert_true(d[0] == 0x1.f08a6cab9e1dap-2 && d[1002] == 0x1.0d21f1d26ea7dp-1);
    assert_frozen("normal f64", d, sizeof d, 0xb92d4e17c0f4f445u);
    assert_int_equal(sow_rng_truncated_f32(&rng, f, 1003, 0, 1, -2, 2), SOW_OK);
    assert_frozen("truncated f32", f, sizeof f, 0xd4cccdcd14daf4a5u);
    assert_int_equal(sow_rng_truncated_f64(&rng, d, 1003, 0, 1, -2, 2), SOW_OK);
    assert_frozen("truncated f64", d, sizeof d, 0xfe5a77271faecb02u);
    assert_int_equal(sow_rng_truncated_f32(&rng, f, 1003, 0, 1, -1, 0.5), SOW_OK);
    assert_frozen("narrow truncated f32", f, sizeof f, 0x16b3ad9c6b319b5du);
    assert_int_equal(sow_rng_truncated_f64(&rng, d, 1003, 0, 1, -INFINITY, -3), SOW_OK);
    assert_frozen("tail f64", d, sizeof d, 0x5b5c3f6ac0e12d35u);
    sow_rng_permutation(&rng, order, 1003);
    assert_frozen("permutation", order, sizeof order, 0x2849cca6f70d6067u);
    for (int i = 0; i < 1003; i++) order[i] = (int64_t)sow_rng_below(&rng, i % 2 ? 1000 : UINT64_C(1) << 62);
    assert_frozen("below", order, sizeof order, 0xd0b3564d3dd2134fu);
    assert_int_equal(rng.index, 4266);
}

static void logarithm_and_sines_are_frozen(void **state) {
    for (int i = 0; i < MANY; i++) many_f64[i] = sow_log((i + 1) * 0x1p-12);
    assert_frozen("logarithm", many_f64, sizeof many_f64, 0x7ba0c004c609d77cu);
    for (int i = 0; i < MANY / 2; i++) sow_sincos((i - 20000) * 0.37, &many_f64[2 * i], &many_f64[2 * i + 1]);
    assert_frozen("sine and cosine", many_f64, sizeof many_f64, 0x866350f8fa76197au);
}

/* ---- the peers' recorded numbers ---- */

static void draw(sow_rng *rng, const random_oracle *oracle, double *out, uint64_t *hash) {
    const double *p = oracle->parameters;
    const bool f64 = strstr(oracle->call, "f64") != NULL;
    const int64_t n = oracle->n;
    static float f[MANY];
    static int64_t order[MANY];
    if (strncmp(oracle->call, "uniform", 7) == 0 && f64) sow_rng_uniform_f64(rng, out, n, p[0], p[1]);
    else if (strncmp(oracle->call, "uniform", 7) == 0) sow_rng_uniform_f32(rng, f, n, p[0], p[1]);
    else if (strncmp(oracle->call, "normal", 6) == 0 && f64) sow_rng_normal_f64(rng, out, n, p[0], p[1]);
    else if (strncmp(oracle->call, "normal", 6) == 0) sow_rng_normal_f32(rng, f, n, p[0], p[1]);
    else if (strncmp(oracle->call, "truncated", 9) == 0 && f64)
        assert_int_equal(sow_rng_truncated_f64(rng, out, n, p[0], p[1], p[2], p[3]), SOW_OK);
    else if (strncmp(oracle->call, "truncated", 9) == 0)
        assert_int_equal(sow_rng_truncated_f32(rng, f, n, p[0], p[1], p[2], p[3]), SOW_OK);
    else if (strncmp(oracle->call, "below", 5) == 0) out[0] = (double)sow_rng_below(rng, (uint64_t)p[0]);
    else {
        sow_rng_permutation(rng, order, n);
        for (int64_t i = 0; i < n; i++) out[i] = (double)order[i];
    }
    *hash = f64 ? hash_of(out, (size_t)n * sizeof *out) : hash_of(f, (size_t)n * sizeof *f);
    if (!f64)
        for (int64_t i = 0; i < n; i++) out[i] = f[i];
}

/* Exact where no function of the C library decides a bit; otherwise within two units in the last place. */
static void compare_with_oracles(sow_rng_kind kind) {
    const random_oracle *before = NULL;
    sow_rng rng;
    static double out[MANY];
    int compared = 0;
    for (size_t i = 0; i < sizeof random_oracles / sizeof *random_oracles; i++) {
        const random_oracle *oracle = &random_oracles[i];
        uint64_t hash;
        if (oracle->kind != kind) continue;
        bool continues = before != NULL && before->seed == oracle->seed &&
                         (strncmp(oracle->call, "truncated", 9) != 0 ||
                          memcmp(before->parameters, oracle->parameters, sizeof oracle->parameters) == 0);
        if (!continues) rng = seeded(kind, oracle->seed);
        before = oracle;
        draw(&rng, oracle, out, &hash);
        compared++;
        if (oracle->hash != 0 && hash != oracle->hash)
            fail_msg("%s, seed %llu, n %lld: other bits", oracle->call, (unsigned long long)oracle->seed,
                     (long long)oracle->n);
        const int64_t places[3] = {0, oracle->n / 3, oracle->n - 1};
        for (int k = 0; k < 3; k++) {
            double expected = oracle->samples[k], found = out[places[k]];
            double unit = strstr(oracle->call, "f64") ? DBL_EPSILON : FLT_EPSILON;
            double scale = fmax(fabs(expected), oracle->parameters[1] * 0.01); /* sums may cancel */
            double tolerance = oracle->hash != 0 ? 0.0 : 2.0 * unit * scale;
            if (!(fabs(found - expected) <= tolerance))
                fail_msg("%s, seed %llu, n %lld, number %lld: %a instead of %a", oracle->call,
                         (unsigned long long)oracle->seed, (long long)oracle->n, (long long)places[k], found, expected);
        }
    }
    assert_true(compared > 30);
}

static void torch_cpu_draws_what_pytorch_drew(void **state) {
    compare_with_oracles(SOW_RNG_TORCH_CPU);
}

static void numpy_draws_what_random_state_drew(void **state) {
    compare_with_oracles(SOW_RNG_NUMPY);
}

static void pcg64_draws_what_default_rng_drew(void **state) {
    compare_with_oracles(SOW_RNG_PCG64);
}

static void torch_second_normal_crosses_calls_and_dtypes(void **state) {
    sow_rng pairs = seeded(SOW_RNG_TORCH_CPU, 5), single = pairs;
    double both[2], first, third[16];
    float second;
    sow_rng_normal_f64(&pairs, both, 2, 0, 1);
    sow_rng_normal_f64(&single, &first, 1, 0, 1);
    sow_rng_uniform_f64(&single, third, 16, 0, 1); /* other calls leave the cache alone */
    sow_rng_normal_f64(&single, third, 16, 0, 1);
    sow_rng_normal_f32(&single, &second, 1, 0, 1);
    assert_true(first == both[0] && second == (float)both[1]);
}

static void torch_seeds_count_by_their_lower_32_bits(void **state) {
    float x[20], y[20];
    sow_rng a = seeded(SOW_RNG_TORCH_CPU, 7), b = seeded(SOW_RNG_TORCH_CPU, 7 + (UINT64_C(1) << 32));
    sow_rng_normal_f32(&a, x, 20, 0, 1);
    sow_rng_normal_f32(&b, y, 20, 0, 1);
    assert_memory_equal(x, y, sizeof x);
}

static void numpy_legacy_takes_seeds_of_32_bits(void **state) {
    sow_rng rng;
    assert_int_equal(sow_rng_seed(&rng, SOW_RNG_NUMPY, UINT32_MAX), SOW_OK);
    assert_int_equal(sow_rng_seed(&rng, SOW_RNG_NUMPY, UINT64_C(1) << 32), SOW_E_RANGE);
    assert_non_null(strstr(sow_message(), "4294967296"));
}

/* ---- fills ---- */

/* One fill of n numbers, as f64, by a number: uniform, normal, three kinds of truncation, in both dtypes. */
enum { FILLS = 10 };
static void fill(sow_rng *rng, int which, double *out, int64_t n) {
    static const double bounds[3][2] = {{-1.5, 2.5}, {-0.5, 0.2}, {1.5, INFINITY}};
    static float f[300];
    const double *b = bounds[which / 2 >= 2 ? which / 2 - 2 : 0];
    switch (which) {
    case 0: sow_rng_uniform_f32(rng, f, n, -0.1, 0.3); break;
    case 1: sow_rng_uniform_f64(rng, out, n, -0.1, 0.3); break;
    case 2: sow_rng_normal_f32(rng, f, n, 1.0, 0.3); break;
    case 3: sow_rng_normal_f64(rng, out, n, 1.0, 0.3); break;
    default:
        assert_int_equal(which % 2 ? sow_rng_truncated_f64(rng, out, n, 0, 1, b[0], b[1])
                                   : sow_rng_truncated_f32(rng, f, n, 0, 1, b[0], b[1]),
                         SOW_OK);
    }
    if (which % 2 == 0)
        for (int64_t i = 0; i < n; i++) out[i] = f[i];
}

static void the_first_k_numbers_of_a_fill_are_a_fill_of_k(void **state) {
    for (int which = 0; which < FILLS; which++) {
        double whole[200], part[200];
        sow_rng rng = at(3, "noise", "x");
        fill(&rng, which, whole, 200);
        for (int64_t k = 0; k <= 200; k++) {
            rng = at(3, "noise", "x");
            fill(&rng, which, part, k);
            assert_memory_equal(part, whole, (size_t)k * sizeof *part);
        }
    }
}

static void fills_of_whole_blocks_join(void **state) {
    for (int which = 0; which < FILLS; which++) {
        double whole[200], parts[200];
        sow_rng rng = at(3, "noise", "x");
        fill(&rng, which, whole, 200);
        const uint64_t end = rng.index;
        for (int64_t cut = 0; cut <= 200; cut += 4) {
            rng = at(3, "noise", "x");
            fill(&rng, which, parts, cut);
            fill(&rng, which, parts + cut, 200 - cut);
            assert_memory_equal(parts, whole, sizeof whole);
            assert_int_equal(rng.index, end);
        }
    }
}

static void a_fill_of_none_writes_and_draws_nothing(void **state) {
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 11), untouched = rng;
        double guard = 42.0;
        int64_t order = 42;
        for (int which = 0; which < FILLS; which++) {
            if (kind == SOW_RNG_TORCH_CPU && which >= 8) continue; /* PyTorch refuses infinite uniform proposals */
            fill(&rng, which, &guard, 0);
        }
        sow_rng_permutation(&rng, &order, 0);
        assert_true(guard == 42.0 && order == 42);
        assert_memory_equal(&rng, &untouched, sizeof rng);
    }
}

static void uniform_stays_below_its_open_bound(void **state) {
    /* 1 and the next number: half of all sums round up to the bound. */
    const double next_f32 = nextafterf(1.0f, 2.0f), next_f64 = nextafter(1.0, 2.0);
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_TORCH_CPU; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 2);
        sow_rng_uniform_f32(&rng, many_f32, 1000, 1.0, next_f32);
        sow_rng_uniform_f64(&rng, many_f64, 1000, 1.0, next_f64);
        for (int i = 0; i < 1000; i++) assert_true(many_f32[i] == 1.0f && many_f64[i] == 1.0);
    }
}

static void equal_bounds_and_no_deviation_give_the_number(void **state) {
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 2);
        float f[40];
        double d[40];
        sow_rng_uniform_f32(&rng, f, 20, 0.3, 0.3);
        sow_rng_normal_f32(&rng, f + 20, 20, 0.3, 0.0);
        sow_rng_uniform_f64(&rng, d, 20, -7.0, -7.0);
        sow_rng_normal_f64(&rng, d + 20, 20, -7.0, 0.0);
        for (int i = 0; i < 40; i++) assert_true(f[i] == 0.3f && d[i] == -7.0);
    }
}

static void truncated_refuses_empty_intervals(void **state) {
    static const double refused[][4] = {
        {0, 1, 1, 1},    {0, 1, 2, 1},   {0, 0, -1, 1},   {0, -1, -1, 1},       {NAN, 1, -1, 1},
        {0, NAN, -1, 1}, {0, 1, NAN, 1}, {0, 1, -1, NAN}, {INFINITY, 1, -1, 1}, {0, 1, INFINITY, INFINITY},
    };
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 2), untouched = rng;
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
            const double *r = refused[i];
            assert_int_equal(sow_rng_truncated_f32(&rng, many_f32, 10, r[0], r[1], r[2], r[3]), SOW_E_RANGE);
            assert_int_equal(sow_rng_truncated_f64(&rng, many_f64, 10, r[0], r[1], r[2], r[3]), SOW_E_RANGE);
        }
        assert_memory_equal(&rng, &untouched, sizeof rng);
    }
    sow_rng rng = seeded(SOW_RNG_TORCH_CPU, 1); /* PyTorch would draw for ever */
    assert_int_equal(sow_rng_truncated_f32(&rng, many_f32, 10, 0, 1, 5, 1e30), SOW_E_RANGE);
    assert_int_equal(sow_rng_truncated_f64(&rng, many_f64, 10, 0, 1, 5, INFINITY), SOW_E_RANGE);
}

static void truncated_ends_on_any_interval(void **state) {
    static const double hard[][4] = {
        {0, 1, 40, INFINITY}, {0, 1, -INFINITY, -40}, {0, 1e-300, 1, 2},     {1e20, 1, 1, 2},   {0, 1, 1, 1.0000001},
        {0, 1e300, -1, 1},    {5, 1e-10, 5, 6},       {0, 1, -1e308, 1e308}, {3, 1, 10, 1e308},
    };
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        if (kind == SOW_RNG_TORCH_CPU) continue; /* its algorithm is PyTorch's */
        sow_rng rng = seeded((sow_rng_kind)kind, 2);
        for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
            const double *h = hard[i];
            assert_int_equal(sow_rng_truncated_f32(&rng, many_f32, 200, h[0], h[1], h[2], h[3]), SOW_OK);
            assert_int_equal(sow_rng_truncated_f64(&rng, many_f64, 200, h[0], h[1], h[2], h[3]), SOW_OK);
            for (int k = 0; k < 200; k++) {
                assert_true(many_f32[k] >= (float)h[2] && many_f32[k] <= (float)h[3]);
                assert_true(many_f64[k] >= h[2] && many_f64[k] <= h[3]);
            }
        }
        /* N(0, 1) beyond 40: an exponential of rate 40 to within a thousandth, mean 40.025 */
        assert_int_equal(sow_rng_truncated_f64(&rng, many_f64, MANY, 0, 1, 40, INFINITY), SOW_OK);
        double sum = 0;
        for (int k = 0; k < MANY; k++) sum += many_f64[k] - 40.0;
        assert_true(fabs(sum / MANY - 0.024984) < 5e-4);
    }
}

/* ---- distributions: about 150 comparisons on fixed seeds, limits (1 in 10^5 each) that right generators pass
 * together 998 times in 1,000 ---- */

#define KOLMOGOROV_LIMIT (2.47 / sqrt(MANY))
#define SIGMAS 4.42

static double normal_cdf(double x) {
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: the largest distance to the distribution function of N(0,1) kept in [low, high]. */
static void assert_truncated_normal(double *x, double low, double high) {
    double below = normal_cdf(low), mass = normal_cdf(high) - below, distance = 0;
    bool mirrored = low > 0; /* the upper tail without cancellation */
    if (mirrored) mass = normal_cdf(-low) - normal_cdf(-high);
    qsort(x, MANY, sizeof *x, by_size);
    for (int i = 0; i < MANY; i++) {
        double f = mirrored ? (normal_cdf(-low) - normal_cdf(-x[i])) / mass : (normal_cdf(x[i]) - below) / mass;
        distance = fmax(distance, fmax(f - (double)i / MANY, (i + 1.0) / MANY - f));
    }
    if (distance >= KOLMOGOROV_LIMIT) fail_msg("distance %g, expected below %g", distance, KOLMOGOROV_LIMIT);
}

static void from_f32(void) {
    for (int i = 0; i < MANY; i++) many_f64[i] = many_f32[i];
}

static void assert_moments(double mean, double variance) {
    double sum = 0, squares = 0, lagged = 0;
    for (int i = 0; i < MANY; i++) sum += many_f64[i] - mean;
    for (int i = 0; i < MANY; i++) squares += (many_f64[i] - mean) * (many_f64[i] - mean);
    for (int i = 1; i < MANY; i++) lagged += (many_f64[i] - mean) * (many_f64[i - 1] - mean);
    assert_true(fabs(sum / MANY) < SIGMAS * sqrt(variance / MANY));
    assert_true(fabs(squares / MANY / variance - 1.0) < SIGMAS * sqrt(2.0 / MANY));
    assert_true(fabs(lagged / MANY / variance) < SIGMAS / sqrt(MANY));
}

/* 12.9 numbers are expected beyond either end, where the ziggurat has its tail. Sorted numbers. */
static void assert_tails(void) {
    int low = 0, high = 0;
    while (many_f64[low] < -3.6541528853610088) low++;
    while (many_f64[MANY - 1 - high] > 3.6541528853610088) high++;
    assert_in_range(low, 1, 33);
    assert_in_range(high, 1, 33);
}

static void normals_are_normal(void **state) {
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 20);
        sow_rng_normal_f32(&rng, many_f32, MANY, 0, 1);
        from_f32();
        assert_moments(0, 1);
        assert_truncated_normal(many_f64, -INFINITY, INFINITY);
        assert_tails();
        sow_rng_normal_f64(&rng, many_f64, MANY, 0, 1);
        assert_moments(0, 1);
        assert_truncated_normal(many_f64, -INFINITY, INFINITY);
        assert_tails();
    }
}

static void uniforms_are_uniform(void **state) {
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 22);
        for (int dtype = 0; dtype < 2; dtype++) {
            double distance = 0;
            if (dtype == 0) {
                sow_rng_uniform_f32(&rng, many_f32, MANY, 0, 1);
                from_f32();
            } else {
                sow_rng_uniform_f64(&rng, many_f64, MANY, 0, 1);
            }
            assert_moments(0.5, 1.0 / 12);
            qsort(many_f64, MANY, sizeof *many_f64, by_size);
            for (int i = 0; i < MANY; i++)
                distance = fmax(distance, fmax(many_f64[i] - (double)i / MANY, (i + 1.0) / MANY - many_f64[i]));
            assert_true(distance < KOLMOGOROV_LIMIT);
            assert_true(many_f64[0] >= 0.0 && many_f64[MANY - 1] < 1.0);
        }
    }
}

/* Each way of proposing: normals, uniforms around the mean and beside it, exponentials, and their mirror images. */
static void truncated_normals_are_truncated_normals(void **state) {
    static const double bounds[][2] = {{-2, 2},   {-2, 0},  {-0.7, 0.4},   {-3, INFINITY},  {0.5, 0.9},
                                       {1.2, 40}, {2, 6},   {1, INFINITY}, {-INFINITY, -2}, {-1.1, -0.9},
                                       {-9, -1},  {2, 2.6}, {0, 3},        {3.5, INFINITY}, {-INFINITY, 1}};
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 24);
        for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
            double low = bounds[i][0], high = bounds[i][1];
            double inside = normal_cdf(high) - normal_cdf(low);
            if (kind == SOW_RNG_TORCH_CPU && inside <= 0.3 && !(high - low < 10)) continue; /* as above */
            assert_int_equal(sow_rng_truncated_f32(&rng, many_f32, MANY, 0, 1, low, high), SOW_OK);
            from_f32();
            assert_truncated_normal(many_f64, low, high);
            assert_int_equal(sow_rng_truncated_f64(&rng, many_f64, MANY, 3, 0.5, 3 + 0.5 * low, 3 + 0.5 * high),
                             SOW_OK);
            for (int k = 0; k < MANY; k++) many_f64[k] = (many_f64[k] - 3) / 0.5;
            assert_truncated_normal(many_f64, low, high);
        }
    }
}

static void integers_below_a_bound_are_uniform(void **state) {
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 26);
        int64_t counts[10] = {0};
        double chi_square = 0;
        for (int i = 0; i < MANY; i++) {
            uint64_t x = sow_rng_below(&rng, 10);
            assert_true(x < 10);
            counts[x]++;
        }
        for (int k = 0; k < 10; k++) chi_square += pow((double)counts[k] - MANY / 10, 2) / (MANY / 10);
        assert_true(chi_square < 39.3); /* 9 degrees of freedom */
        /* Three quarters of 2^64: without rejection, some thirds would come twice as often (PyTorch: so it is). */
        int64_t first_third = 0, multiples = 0;
        for (int i = 0; i < MANY; i++) {
            uint64_t x = sow_rng_below(&rng, UINT64_C(3) << 62);
            first_third += x < UINT64_C(1) << 62;
            multiples += x % 3 == 0;
        }
        if (kind != SOW_RNG_TORCH_CPU) {
            assert_true(fabs((double)first_third - MANY / 3.0) < SIGMAS * sqrt(MANY * 2.0 / 9));
            assert_true(fabs((double)multiples - MANY / 3.0) < SIGMAS * sqrt(MANY * 2.0 / 9));
        }
        for (int i = 0; i < 100; i++) assert_int_equal(sow_rng_below(&rng, 1), 0);
    }
}

static void every_order_is_as_likely(void **state) {
    for (int kind = SOW_RNG_SOW; kind <= SOW_RNG_PCG64; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 28);
        int64_t counts[256] = {0}, order[4];
        double chi_square = 0;
        for (int i = 0; i < 24000; i++) {
            sow_rng_permutation(&rng, order, 4);
            counts[order[0] | order[1] << 2 | order[2] << 4 | order[3] << 6]++;
        }
        int seen = 0;
        for (int k = 0; k < 256; k++) {
            if (counts[k] == 0) continue;
            seen++;
            chi_square += pow((double)counts[k] - 1000, 2) / 1000;
        }
        assert_int_equal(seen, 24);
        assert_true(chi_square < 66.0); /* 23 degrees of freedom */
    }
}

/* ---- logarithm, sine, cosine ---- */

static double error_in_units(double found, long double exact) {
    double nearest = (double)exact;
    double unit = nextafter(fabs(nearest), INFINITY) - fabs(nearest);
    return (double)(fabsl((long double)found - exact) / (long double)unit);
}

static void logarithm_and_sines_are_within_one_unit(void **state) {
    sow_rng rng = at(1, "test", "arguments");
    double worst[3] = {0}, u[2], s, c;
    for (int i = 0; i < 300000; i++) {
        sow_rng_uniform_f64(&rng, u, 2, 0, 1);
        double x = ldexp(u[0] + 0x1p-53, i % 3 ? 0 : (int)(u[1] * 2000) - 1020);
        worst[0] = fmax(worst[0], error_in_units(sow_log(x), logl((long double)x)));
        double angle = (u[1] * 2 - 1) * (i % 3 == 0 ? SOW_SINCOS_LIMIT : i % 3 == 1 ? 4.0 : 0x1p-10);
        sow_sincos(angle, &s, &c);
        worst[1] = fmax(worst[1], error_in_units(s, sinl((long double)angle)));
        worst[2] = fmax(worst[2], error_in_units(c, cosl((long double)angle)));
    }
    for (int k = 0; k <= 667543; k++) { /* zeros: what is left of an argument is its distance to k pi/2 */
        double angle = k * 1.57079632679489661923;
        sow_sincos(angle, &s, &c);
        worst[1] = fmax(worst[1], error_in_units(s, sinl((long double)angle)));
        worst[2] = fmax(worst[2], error_in_units(c, cosl((long double)angle)));
    }
    for (int k = 0; k < 3; k++)
        if (!(worst[k] < 1.0)) fail_msg("function %d is %g units in the last place off", k, worst[k]);
}

static void logarithm_and_sines_know_special_values(void **state) {
    double s, c;
    assert_true(sow_log(1.0) == 0.0);
    assert_true(sow_log(0.0) == -INFINITY && sow_log(-0.0) == -INFINITY);
    assert_true(sow_log(INFINITY) == INFINITY);
    assert_true(isnan(sow_log(-1.0)) && isnan(sow_log(NAN)) && isnan(sow_log(-INFINITY)));
    assert_true(error_in_units(sow_log(DBL_TRUE_MIN), logl(DBL_TRUE_MIN)) < 1.0);
    sow_sincos(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
    static const double refused[] = {INFINITY, -INFINITY, NAN, 0x1.00001p20, -1e300};
    for (int i = 0; i < 5; i++) {
        sow_sincos(refused[i], &s, &c);
        assert_true(isnan(s) && isnan(c));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers_of_random123),
        cmocka_unit_test(uniform_numbers_are_the_blocks_of_the_stream),
        cmocka_unit_test(streams_are_named_by_fnv1a_of_purpose_zero_name),
        cmocka_unit_test(other_kinds_have_one_stream),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(sow_streams_are_frozen),
        cmocka_unit_test(logarithm_and_sines_are_frozen),
        cmocka_unit_test(torch_cpu_draws_what_pytorch_drew),
        cmocka_unit_test(numpy_draws_what_random_state_drew),
        cmocka_unit_test(pcg64_draws_what_default_rng_drew),
        cmocka_unit_test(torch_second_normal_crosses_calls_and_dtypes),
        cmocka_unit_test(torch_seeds_count_by_their_lower_32_bits),
        cmocka_unit_test(numpy_legacy_takes_seeds_of_32_bits),
        cmocka_unit_test(the_first_k_numbers_of_a_fill_are_a_fill_of_k),
        cmocka_unit_test(fills_of_whole_blocks_join),
        cmocka_unit_test(a_fill_of_none_writes_and_draws_nothing),
        cmocka_unit_test(uniform_stays_below_its_open_bound),
        cmocka_unit_test(equal_bounds_and_no_deviation_give_the_number),
        cmocka_unit_test(truncated_refuses_empty_intervals),
        cmocka_unit_test(truncated_ends_on_any_interval),
        cmocka_unit_test(normals_are_normal),
        cmocka_unit_test(uniforms_are_uniform),
        cmocka_unit_test(truncated_normals_are_truncated_normals),
        cmocka_unit_test(integers_below_a_bound_are_uniform),
        cmocka_unit_test(every_order_is_as_likely),
        cmocka_unit_test(logarithm_and_sines_are_within_one_unit),
        cmocka_unit_test(logarithm_and_sines_know_special_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
