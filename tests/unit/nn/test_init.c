/* Initialisations: PyTorch's recorded bits, defining properties, every refusal, rules and roles. */
#include <math.h>

#include "check.h"
#include "oracles/init.h"

enum { LARGEST = 4096 };

static sow_init scheme_of(const char *text) {
    sow_init init;
    OK(sow_init_parse(text, &init));
    return init;
}

static sow_rng seeded(sow_rng_kind kind, uint64_t seed) {
    sow_rng rng;
    OK(sow_rng_seed(&rng, kind, seed));
    return rng;
}

static sow_status fill(sow_rng *rng, const char *text, sow_tensor t) {
    sow_init init = scheme_of(text);
    return sow_init_tensor(rng, "w", SOW_ROLE_WEIGHT, &init, 0, t);
}

static uint64_t hash_of(sow_tensor t) {
    const uint8_t *bytes = t.data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sow_bytes(t); i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static void compare(const char *what, sow_tensor t, const double samples[3], uint64_t hash, double tolerance) {
    int64_t n = sow_count(t), at[3] = {0, n / 3, n - 1};
    for (int k = 0; k < 3; k++)
        if (!(fabs(sow_at(t, at[k]) - samples[k]) <= tolerance))
            fail_msg("%s: number %lld is %a, expected %a", what, (long long)at[k], sow_at(t, at[k]), samples[k]);
    if (hash && hash_of(t) != hash)
        fail_msg("%s: the bytes hash to 0x%016llx, expected 0x%016llx", what, (unsigned long long)hash_of(t),
                 (unsigned long long)hash);
}

/* ---- PyTorch ---- */

static void schemes_give_pytorchs_bits(void **state) {
    double memory[LARGEST];
    sow_rng rng = {0};
    for (size_t i = 0; i < sizeof init_oracles / sizeof *init_oracles; i++) {
        const struct init_oracle *o = &init_oracles[i];
        if (i == 0 || o->seed != o[-1].seed || o->dtype != o[-1].dtype) rng = seeded(SOW_RNG_TORCH_CPU, o->seed);
        sow_tensor t = sow_tensor_of(memory, o->dtype, o->rank, o->shape);
        OK(fill(&rng, o->text, t));
        /* the C library may be off by a unit in the last place; LAPACK's f32 by more */
        bool f32 = o->dtype == SOW_F32, orthogonal = !strncmp(o->text, "orthogonal", 10);
        compare(o->text, t, o->samples, o->hash, f32 ? (orthogonal ? 2e-6 : 3e-7) : 1e-14);
    }
}

static void modules_start_as_pytorchs(void **state) {
    const int count = sizeof module_oracles / sizeof *module_oracles;
    sow_init init = scheme_of("torch-default");
    for (int first = 0, end; first < count; first = end) {
        sow_state *s;
        sow_rng rng = seeded(SOW_RNG_TORCH_CPU, 7);
        OK(sow_state_new(&s));
        for (end = first; end < count && !strcmp(module_oracles[end].network, module_oracles[first].network); end++) {
            const struct module_oracle *o = &module_oracles[end];
            sow_entry *entry;
            OK(sow_state_add(s, o->tensor, o->dtype, o->rank, o->shape, &entry));
            sow_fill(entry->value, 5);
        }
        OK(sow_init_state(&rng, s, &init, NULL, 0));
        for (int i = first; i < end; i++)
            compare(module_oracles[i].tensor, sow_state_entry(s, i - first)->value, module_oracles[i].samples,
                    module_oracles[i].hash, 3e-7);
        sow_state_free(s);
    }
}

static void gains_are_pytorchs(void **state) {
    double gain;
    for (size_t i = 0; i < sizeof gain_oracles / sizeof *gain_oracles; i++) {
        OK(sow_gain(gain_oracles[i].nonlinearity, gain_oracles[i].parameter, &gain));
        assert_true(gain == gain_oracles[i].gain);
    }
    FAILS(sow_gain("softplus", 0, &gain), SOW_E_ARGUMENT, "softplus");
}

static void fans_count_the_filters_extent(void **state) {
    double in, out;
    OK(sow_fans(SOW_TENSOR(NULL, SOW_F32, 300, 784), &in, &out));
    assert_true(in == 784 && out == 300);
    OK(sow_fans(SOW_TENSOR(NULL, SOW_F32, 64, 16, 3, 5), &in, &out)); /* groups show in the second extent */
    assert_true(in == 16 * 15 && out == 64 * 15);
    FAILS(sow_fans(SOW_TENSOR(NULL, SOW_F32, 10), &in, &out), SOW_E_SHAPE, "[10]");
}

/* ---- properties ---- */

static void moments(sow_tensor t, double *mean, double *sd, double *largest) {
    double sum = 0, squares = 0;
    int64_t n = sow_count(t);
    *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = sow_at(t, i);
        sum += x, squares += x * x;
        *largest = fmax(*largest, fabs(x));
    }
    *mean = sum / (double)n;
    *sd = sqrt(squares / (double)n - *mean * *mean);
}

static void tensorflows_schemes_have_their_variance(void **state) {
    float *memory = test_malloc(300 * 784 * sizeof *memory);
    sow_tensor t = SOW_TENSOR(memory, SOW_F32, 300, 784);
    sow_rng rng = seeded(SOW_RNG_SOW, 1);
    double mean, sd, largest;
    OK(fill(&rng, "variance-scaling:scale=2", t)); /* He normal of Keras */
    moments(t, &mean, &sd, &largest);
    assert_near(sd, sqrt(2.0 / 784), 2e-4);
    assert_near(largest, 2 * sqrt(2.0 / 784) / .87962566103423978, 1e-4);
    OK(fill(&rng, "variance-scaling:mode=fan_avg,distribution=uniform", t)); /* Glorot uniform */
    moments(t, &mean, &sd, &largest);
    assert_near(sd, sqrt(2.0 / 1084), 2e-4);
    assert_near(largest, sqrt(6.0 / 1084), 1e-5);
    OK(fill(&rng, "variance-scaling:mode=fan_out,distribution=untruncated_normal", t));
    moments(t, &mean, &sd, &largest);
    assert_near(sd, sqrt(1.0 / 300), 3e-4);
    /* TF1's xavier_initializer(uniform=False): sd widened by sqrt(1.3), cut at two of them. The sd that is left is 0.8796 of it. */
    OK(fill(&rng, "glorot-truncated", t));
    moments(t, &mean, &sd, &largest);
    assert_near(largest, 2 * sqrt(1.3 * 2 / 1084), 1e-4);
    assert_near(sd, .87962566 * sqrt(1.3 * 2 / 1084), 2e-4);
    assert_near(mean, 0, 3e-4);
    test_free(memory);
}

static void tensorflow_takes_a_vectors_length_for_both_fans(void **state) {
    float memory[1000];
    sow_rng rng = seeded(SOW_RNG_SOW, 1);
    double mean, sd, largest;
    OK(fill(&rng, "variance-scaling:distribution=uniform", SOW_TENSOR(memory, SOW_F32, 1000)));
    moments(SOW_TENSOR(memory, SOW_F32, 1000), &mean, &sd, &largest);
    assert_near(largest, sqrt(3.0 / 1000), 1e-3);
    assert_near(sd, sqrt(1.0 / 1000), 1e-3);
}

/* Rows (or, of a tall matrix, columns) of the flattened tensor have length `gain` and right angles. */
static void assert_orthogonal(sow_tensor t, double gain, double tolerance) {
    int64_t rows = t.shape[0], columns = sow_count(t) / rows, vectors = rows < columns ? rows : columns,
            length = rows < columns ? columns : rows;
    for (int64_t a = 0; a < vectors; a++)
        for (int64_t b = 0; b <= a; b++) {
            double dot = 0;
            for (int64_t i = 0; i < length; i++)
                dot += rows < columns ? sow_at(t, a * columns + i) * sow_at(t, b * columns + i)
                                      : sow_at(t, i * columns + a) * sow_at(t, i * columns + b);
            assert_near(dot, a == b ? gain * gain : 0, tolerance);
        }
}

static void orthogonal_matrices_are_orthogonal_in_every_shape_and_layout(void **state) {
    const int64_t shapes[][4] = {{1, 1, 1, 1},  {20, 20, 1, 1}, {30, 7, 1, 1},
                                 {7, 30, 1, 1}, {8, 4, 3, 3},   {40, 2, 3, 3}};
    double memory[LARGEST], other[LARGEST];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int variant = 0; variant < 4; variant++) {
            sow_dtype dtype = variant & 1 ? SOW_F32 : SOW_F64;
            sow_tensor t = sow_tensor_of(memory, dtype, 4, shapes[s]),
                       turned = sow_tensor_of(other, dtype, 4,
                                              (int64_t[]){shapes[s][3], shapes[s][2], shapes[s][1], shapes[s][0]});
            turned = sow_permute(turned, (int[]){3, 2, 1, 0});
            sow_rng rng = seeded(SOW_RNG_SOW, 9);
            OK(fill(&rng, "orthogonal:gain=1.5", t));
            assert_orthogonal(t, 1.5, dtype == SOW_F32 ? 1e-6 : 1e-13);
            OK(fill(&rng, "orthogonal:gain=1.5", turned));
            for (int64_t i = 0; i < sow_count(t); i++) assert_true(sow_at(t, i) == sow_at(turned, i));
        }
}

static void delta_orthogonal_filters_are_orthogonal_at_their_centre(void **state) {
    float memory[8 * 5 * 3 * 3];
    sow_tensor t = SOW_TENSOR(memory, SOW_F32, 8, 5, 3, 3);
    sow_rng rng = seeded(SOW_RNG_SOW, 2);
    OK(fill(&rng, "delta-orthogonal:gain=2", t));
    for (int64_t i = 0; i < sow_count(t); i++)
        if (i % 9 != 4) assert_true(memory[i] == 0);
    sow_tensor centre = sow_slice(sow_slice(t, 2, 1, 1), 3, 1, 1);
    assert_orthogonal(centre, 2, 1e-5);
    FAILS(fill(&rng, "delta-orthogonal", SOW_TENSOR(memory, SOW_F32, 5, 8, 3, 3)), SOW_E_SHAPE, "output channels");
    FAILS(fill(&rng, "delta-orthogonal", SOW_TENSOR(memory, SOW_F32, 8, 5)), SOW_E_SHAPE, "take orthogonal");
}

static void eye_and_dirac_keep_what_goes_in(void **state) {
    float memory[6 * 2 * 3 * 2];
    sow_tensor matrix = SOW_TENSOR(memory, SOW_F32, 3, 5), filter = SOW_TENSOR(memory, SOW_F32, 6, 2, 3, 2);
    sow_rng rng = seeded(SOW_RNG_SOW, 2);
    OK(fill(&rng, "eye", matrix));
    for (int64_t i = 0; i < 15; i++) assert_true(memory[i] == (i / 5 == i % 5));
    OK(fill(&rng, "dirac:groups=3", filter));
    for (int64_t i = 0; i < sow_count(filter); i++) {
        /* output o of each group of two takes input o at row 1, column 1 */
        bool one = i / 12 % 2 == i / 6 % 2 && i / 2 % 3 == 1 && i % 2 == 1;
        assert_true(memory[i] == one);
    }
    FAILS(fill(&rng, "dirac:groups=4", filter), SOW_E_SHAPE, "6 output channels do not divide into 4 groups");
    FAILS(fill(&rng, "dirac", matrix), SOW_E_SHAPE,
          "'w' is [3, 5], expected a convolution's weight of 3 to 5 dimensions; take eye");
    FAILS(fill(&rng, "eye", filter), SOW_E_SHAPE, "take dirac");
}

static void sparse_columns_have_exactly_so_many_zeros(void **state) {
    float memory[20 * 9];
    for (int kind = 0; kind < 4; kind++) {
        sow_rng rng = seeded((sow_rng_kind)kind, 5);
        OK(fill(&rng, "sparse:sparsity=0.61,sd=1", SOW_TENSOR(memory, SOW_F32, 20, 9)));
        for (int column = 0; column < 9; column++) {
            int zeros = 0;
            for (int row = 0; row < 20; row++) zeros += memory[row * 9 + column] == 0;
            assert_int_equal(zeros, 13); /* ceil(0.61 * 20) */
        }
    }
}

static void numbers_depend_on_name_and_seed_alone(void **state) {
    float first[64], again[64], other[64], longer[128];
    sow_init init = scheme_of("normal");
    sow_rng rng = seeded(SOW_RNG_SOW, 3);
    OK(sow_init_tensor(&rng, "a", SOW_ROLE_WEIGHT, &init, 0, SOW_TENSOR(first, SOW_F32, 8, 8)));
    OK(sow_init_tensor(&rng, "b", SOW_ROLE_WEIGHT, &init, 0, SOW_TENSOR(other, SOW_F32, 64)));
    OK(sow_init_tensor(&rng, "a", SOW_ROLE_WEIGHT, &init, 0, SOW_TENSOR(again, SOW_F32, 64)));
    OK(sow_init_tensor(&rng, "a", SOW_ROLE_WEIGHT, &init, 0, SOW_TENSOR(longer, SOW_F32, 128)));
    assert_memory_equal(first, again, sizeof first);
    assert_memory_equal(first, longer, sizeof first);
    assert_true(memcmp(first, other, sizeof first) != 0);
}

static void layouts_and_small_dtypes_take_the_same_numbers(void **state) {
    float rows[35], columns[35];
    uint16_t bf16[35], f16[35];
    sow_rng rng = seeded(SOW_RNG_TORCH_CPU, 3), same = rng, third = rng, fourth = rng;
    sow_tensor t = SOW_TENSOR(rows, SOW_F32, 5, 7), turned = sow_transpose(SOW_TENSOR(columns, SOW_F32, 7, 5));
    OK(fill(&rng, "kaiming-normal", t));
    OK(fill(&same, "kaiming-normal", turned));
    OK(fill(&third, "kaiming-normal", SOW_TENSOR(bf16, SOW_BF16, 5, 7)));
    OK(fill(&fourth, "kaiming-normal", SOW_TENSOR(f16, SOW_F16, 5, 7)));
    for (int i = 0; i < 35; i++) {
        assert_true(sow_at(turned, i) == (double)rows[i]);
        assert_int_equal(bf16[i], sow_float_to_bf16(rows[i]));
        assert_int_equal(f16[i], sow_float_to_half(rows[i]));
    }
}

static void empty_tensors_are_left_alone(void **state) {
    sow_rng rng = seeded(SOW_RNG_TORCH_CPU, 3), before = rng;
    const char *const all[] = {"normal", "xavier-normal",    "kaiming-uniform", "orthogonal", "sparse:sparsity=0.5",
                               "eye",    "truncated-normal", "torch-default"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) OK(fill(&rng, all[i], SOW_TENSOR(NULL, SOW_F32, 0, 5)));
    assert_memory_equal(&rng, &before, sizeof rng);
}

/* ---- refusals ---- */

static void what_does_not_fit_is_refused(void **state) {
    double memory[16];
    sow_rng rng = seeded(SOW_RNG_SOW, 3);
    sow_tensor vector = SOW_TENSOR(memory, SOW_F32, 4), matrix = SOW_TENSOR(memory, SOW_F32, 2, 2);
    sow_init init;
    FAILS(fill(&rng, "kaiming-normal", vector), SOW_E_SHAPE,
          "kaiming-normal: 'w' is [4], expected a weight of 2 dimensions or more; take normal or zeros");
    FAILS(fill(&rng, "orthogonal", vector), SOW_E_SHAPE, "[4]");
    FAILS(fill(&rng, "sparse:sparsity=0.5", vector), SOW_E_SHAPE, "matrix");
    FAILS(fill(&rng, "sparse", matrix), SOW_E_RANGE, "no sparsity");
    FAILS(fill(&rng, "sparse:sparsity=1.5", matrix), SOW_E_RANGE, "1.5");
    FAILS(fill(&rng, "normal:sd=-1", vector), SOW_E_RANGE, "-1");
    FAILS(fill(&rng, "uniform:low=2", vector), SOW_E_RANGE, "low <= high");
    FAILS(fill(&rng, "uniform:low=-3e38,high=3e38", vector), SOW_E_RANGE, "bounds");
    FAILS(fill(&rng, "truncated-normal:low=2,high=2", vector), SOW_E_RANGE, "'w'");
    FAILS(fill(&rng, "variance-scaling:scale=0", matrix), SOW_E_RANGE, "scale");
    FAILS(fill(&rng, "kaiming-uniform:mode=fan_avg", matrix), SOW_E_RANGE, "fan_avg");
    FAILS(fill(&rng, "normal", SOW_TENSOR(memory, SOW_I32, 4)), SOW_E_TYPE, "I32");
    FAILS(fill(&rng, "zeros", SOW_TENSOR(memory, SOW_F8_E4M3, 4)), SOW_E_TYPE, "F8_E4M3");
    FAILS(fill(&rng, "constant:value=1e6", SOW_TENSOR(memory, SOW_F16, 4)), SOW_E_NUMBER,
          "constant gives values beyond F16: w: element 0 is inf");
    init = sow_init_defaults(SOW_INIT_NORMAL);
    init.mean = INFINITY;
    FAILS(sow_init_tensor(&rng, "w", SOW_ROLE_WEIGHT, &init, 0, vector), SOW_E_RANGE, "finite");
    init = sow_init_defaults(SOW_INIT_CONSTANT);
    init.value = NAN;
    FAILS(sow_init_tensor(&rng, "w", SOW_ROLE_WEIGHT, &init, 0, vector), SOW_E_RANGE, "finite");
}

static void texts_go_both_ways(void **state) {
    const char *const texts[] = {"kaiming-uniform",
                                 "normal:sd=0.02",
                                 "normal:mean=0.1,sd=0.2",
                                 "uniform:low=-0.0357142857142857,high=3",
                                 "keep",
                                 "kaiming-normal:slope=0.2,mode=fan_out,nonlinearity=tanh",
                                 "variance-scaling:scale=2,mode=fan_avg,distribution=uniform",
                                 "dirac:groups=4",
                                 "sparse:sparsity=0.9",
                                 "constant:value=-1e-30",
                                 "truncated-normal:low=-1,high=1"};
    char text[SOW_INIT_TEXT];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sow_init init = scheme_of(texts[i]);
        assert_string_equal(sow_init_text(&init, text), texts[i]);
    }
    for (int s = 0; s < SOW_INIT_SCHEMES; s++) assert_int_equal(scheme_of(sow_scheme_name((sow_scheme)s)).scheme, s);
    assert_int_equal(scheme_of("kaiming_uniform_").scheme, SOW_INIT_KAIMING_UNIFORM);
    assert_int_equal(scheme_of("trunc_normal_").scheme, SOW_INIT_TRUNCATED_NORMAL);
    assert_int_equal(scheme_of("Glorot_Uniform").scheme, SOW_INIT_XAVIER_UNIFORM);
}

static void wrong_texts_get_the_nearest_right_one(void **state) {
    sow_init init;
    FAILS(sow_init_parse("kaimng-uniform", &init), SOW_E_ARGUMENT, "did you mean kaiming-uniform?");
    FAILS(sow_init_parse("magic", &init), SOW_E_ARGUMENT, "expected one of uniform, normal");
    FAILS(sow_init_parse("normal:gain=2", &init), SOW_E_ARGUMENT, "normal has no parameter 'gain'; it has mean, sd");
    FAILS(sow_init_parse("ones:value=2", &init), SOW_E_ARGUMENT, "it has no parameters");
    FAILS(sow_init_parse("normal:sd", &init), SOW_E_ARGUMENT, "found 'sd', expected parameter=value");
    FAILS(sow_init_parse("normal:sd=0.02,", &init), SOW_E_ARGUMENT, "expected parameter=value");
    FAILS(sow_init_parse("normal:sd=nan", &init), SOW_E_ARGUMENT, "finite");
    FAILS(sow_init_parse("normal:sd=0.02x", &init), SOW_E_ARGUMENT, "0.02x");
    FAILS(sow_init_parse("kaiming-normal:mode=fanout", &init), SOW_E_ARGUMENT, "did you mean fan_out?");
    FAILS(sow_init_parse("dirac:groups=0", &init), SOW_E_ARGUMENT, "at least 1");
    char endless[1000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    FAILS(sow_init_parse(endless, &init), SOW_E_ARGUMENT, "no initialisation");
}

/* ---- states ---- */

static const struct {
    const char *name;
    sow_dtype dtype;
    int rank;
} tensors[] = {{"embed.weight", SOW_F32, 2},
               {"conv1.weight", SOW_F32, 4},
               {"bn1.weight", SOW_F32, 1},
               {"bn1.bias", SOW_F32, 1},
               {"bn1.running_mean", SOW_F32, 1},
               {"bn1.running_var", SOW_F32, 1},
               {"bn1.num_batches_tracked", SOW_I64, 0},
               {"fc1.weight", SOW_F32, 2},
               {"fc1.bias", SOW_F32, 1},
               {"scale", SOW_F32, 1},
               {"inv_freq", SOW_F32, 1},
               {"qweight", SOW_I32, 2}};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static sow_state *example_state(void) {
    sow_state *s;
    OK(sow_state_new(&s));
    for (int i = 0; i < TENSORS; i++)
        OK(sow_state_add(s, tensors[i].name, tensors[i].dtype, tensors[i].rank, (int64_t[]){4, 3, 3, 3}, NULL));
    return s;
}

static void assert_choices(const char *by_default, const sow_init_rule *rules, int count,
                           const char *const expected[TENSORS]) {
    sow_state *s = example_state();
    sow_init init = scheme_of(by_default);
    sow_init_choice choices[TENSORS];
    char text[SOW_INIT_TEXT];
    OK(sow_init_choose(s, &init, rules, count, choices));
    for (int i = 0; i < TENSORS; i++)
        if (strcmp(sow_init_text(&choices[i].init, text), expected[i]))
            fail_msg("%s: %s gets %s, expected %s", by_default, tensors[i].name, text, expected[i]);
    sow_state_free(s);
}

static void the_default_goes_by_role(void **state) {
    assert_choices("kaiming-normal", NULL, 0,
                   (const char *const[]){"normal", "kaiming-normal", "ones", "zeros", "zeros", "ones", "zeros",
                                         "kaiming-normal", "zeros", "keep", "keep", "keep"});
    assert_choices("normal:sd=0.02", NULL, 0,
                   (const char *const[]){"normal:sd=0.02", "normal:sd=0.02", "ones", "zeros", "zeros", "ones", "zeros",
                                         "normal:sd=0.02", "zeros", "keep", "keep", "keep"});
    assert_choices("torch-default", NULL, 0,
                   (const char *const[]){"torch-default", "torch-default", "ones", "zeros", "zeros", "ones", "zeros",
                                         "torch-default", "torch-default", "keep", "keep", "keep"});
    assert_choices("keep", NULL, 0,
                   (const char *const[]){"keep", "keep", "keep", "keep", "keep", "keep", "keep", "keep", "keep", "keep",
                                         "keep", "keep"});
}

static void the_first_rule_that_matches_the_whole_name_wins(void **state) {
    sow_init_rule rules[] = {{"fc1[.]weight", scheme_of("orthogonal"), false},
                             {"fc.*|conv1.*", scheme_of("xavier-normal"), false},
                             {".*bias", scheme_of("ones"), false}};
    /* fc1.bias matches xavier-normal, which needs two dimensions: it gets what biases get */
    assert_choices("keep", rules, 3,
                   (const char *const[]){"keep", "xavier-normal", "keep", "ones", "keep", "keep", "keep", "orthogonal",
                                         "zeros", "keep", "keep", "keep"});
    sow_init_rule roles = {"bn1.*|fc1.*", scheme_of("normal:sd=3"), true};
    assert_choices("keep", &roles, 1,
                   (const char *const[]){"keep", "keep", "ones", "zeros", "zeros", "ones", "zeros", "normal:sd=3",
                                         "zeros", "keep", "keep", "keep"});
}

static void patterns_fit_from_behind_a_dot(void **state) {
    sow_init_rule rules[] = {{"running_m.*", scheme_of("ones"), false}, {"weight", scheme_of("normal:sd=3"), true}};
    assert_choices("keep", rules, 2,
                   (const char *const[]){"normal:sd=3", "normal:sd=3", "ones", "keep", "ones", "keep", "keep", "normal:sd=3",
                                         "keep", "keep", "keep", "keep"});
}

static void a_bias_knows_its_weight(void **state) {
    sow_state *s = example_state();
    sow_init init = scheme_of("torch-default");
    sow_init_choice choices[TENSORS];
    OK(sow_init_choose(s, &init, NULL, 0, choices));
    assert_true(choices[8].weight_fan_in == 3);
    sow_state_free(s);
}

static void wrong_patterns_get_the_nearest_remedy(void **state) {
    sow_state *s = example_state();
    sow_init init = scheme_of("keep");
    sow_init_choice choices[TENSORS];
    const struct {
        const char *pattern, *message;
    } wrong[] = {{"fc1", "it occurs in 2, such as fc1.weight: write 'fc1.*'"},
                 {"unning.*", "it occurs in 2, such as bn1.running_mean: write '.*unning.*'"},
                 {"^running.*", "there are 12"},
                 {"c1.*", "it occurs in 2, such as fc1.weight: write '.*c1.*'"},
                 {"fc1.weigth", "did you mean fc1.weight?"},
                 {"decoder.*", "there are 12, such as embed.weight and qweight"},
                 {"fc1.(weight", "no extended regular expression"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sow_init_rule rule = {wrong[i].pattern, init, false};
        FAILS(sow_init_choose(s, &init, &rule, 1, choices), SOW_E_ARGUMENT, wrong[i].message);
    }
    char endless[2000];
    memset(endless, '(', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    sow_init_rule rule = {endless, init, false};
    FAILS(sow_init_choose(s, &init, &rule, 1, choices), SOW_E_ARGUMENT, "over 1000 bytes");
    sow_state_free(s);
}

static void quantised_weights_are_not_skipped_in_silence(void **state) {
    sow_state *s;
    sow_rng rng = seeded(SOW_RNG_SOW, 1);
    sow_init init = scheme_of("kaiming-normal");
    OK(sow_state_new(&s));
    OK(sow_state_add(s, "fc.weight", SOW_F8_E4M3, 2, (int64_t[]){4, 4}, NULL));
    FAILS(sow_init_state(&rng, s, &init, NULL, 0), SOW_E_TYPE, "'fc.weight' is F8_E4M3");
    sow_state_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemes_give_pytorchs_bits),
        cmocka_unit_test(modules_start_as_pytorchs),
        cmocka_unit_test(gains_are_pytorchs),
        cmocka_unit_test(fans_count_the_filters_extent),
        cmocka_unit_test(tensorflows_schemes_have_their_variance),
        cmocka_unit_test(tensorflow_takes_a_vectors_length_for_both_fans),
        cmocka_unit_test(orthogonal_matrices_are_orthogonal_in_every_shape_and_layout),
        cmocka_unit_test(delta_orthogonal_filters_are_orthogonal_at_their_centre),
        cmocka_unit_test(eye_and_dirac_keep_what_goes_in),
        cmocka_unit_test(sparse_columns_have_exactly_so_many_zeros),
        cmocka_unit_test(numbers_depend_on_name_and_seed_alone),
        cmocka_unit_test(layouts_and_small_dtypes_take_the_same_numbers),
        cmocka_unit_test(empty_tensors_are_left_alone),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(texts_go_both_ways),
        cmocka_unit_test(wrong_texts_get_the_nearest_right_one),
        cmocka_unit_test(the_default_goes_by_role),
        cmocka_unit_test(the_first_rule_that_matches_the_whole_name_wins),
        cmocka_unit_test(patterns_fit_from_behind_a_dot),
        cmocka_unit_test(a_bias_knows_its_weight),
        cmocka_unit_test(wrong_patterns_get_the_nearest_remedy),
        cmocka_unit_test(quantised_weights_are_not_skipped_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
