/* Models that lie: configurations, GGUF keys, weights and tokens that do not fit are refused in one line, and nothing large is
 * allocated for what a header claims. */
#include "gguf_draft.h"

#include <jansson.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "sow/gguf.h"

static json_t *models;

static json_t *config_of(const char *family) {
    return json_deep_copy(json_object_get(json_object_get(json_object_get(models, "tiny_models"), family), "config"));
}

/* ---- config.json ---- */

static void check_refused(json_t *config, const char *message) {
    sow_lm_config out;
    if (sow_lm_configure(config, &out) == SOW_OK) fail_msg("accepted, expected '%s'", message);
    if (!strstr(sow_message(), message)) fail_msg("found '%s', expected '%s'", sow_message(), message);
    json_decref(config);
}

static void every_field_that_is_missing_is_named(void **state) {
    static const struct {
        const char *family, *fields[8];
    } required[] = {
        {"llama",
         {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}},
        {"gemma3_text",
         {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}},
        {"gpt2", {"model_type", "vocab_size", "n_embd", "n_layer", "n_head"}},
        {"bert",
         {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}}};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        for (size_t k = 0; k < 8 && required[i].fields[k]; k++) {
            char message[128];
            json_t *config = config_of(required[i].family);
            if (json_object_del(config, required[i].fields[k]))
                fail_msg("%s has no %s", required[i].family, required[i].fields[k]);
            snprintf(message, sizeof message, "%s: found nothing, expected", required[i].fields[k]);
            check_refused(config, message);
        }
}

static void absurd_fields_are_named_with_what_was_found(void **state) {
    static const struct {
        const char *family, *field, *json, *message;
    } wrong[] = {
        {"llama", "num_hidden_layers", "0", "num_hidden_layers: found 0"},
        {"llama", "num_hidden_layers", "-5", "num_hidden_layers: found -5"},
        {"llama", "num_attention_heads", "0", "num_attention_heads: found 0"},
        {"llama", "num_key_value_heads", "0", "num_key_value_heads: found 0"},
        {"llama", "head_dim", "20000000", "head_dim: found 20000000"},
        {"llama", "head_dim", "3", "head size 3 is odd"},
        {"llama", "hidden_size", "1.5", "hidden_size: found 1.5"},
        {"llama", "hidden_size", "[16]", "hidden_size: found another type"},
        {"llama", "attention_bias", "\"yes\"", "attention_bias: found yes, expected true or false"},
        {"llama", "use_sliding_window", "true", "use_sliding_window: found true"},
        {"llama", "eos_token_id", "[1, -3]", "eos_token_id: found another type, expected token ids"},
        {"llama", "bos_token_id", "1e300", "bos_token_id: found 1e+300, expected a token id"},
        {"gemma3_text", "sliding_window_pattern", "0", "sliding_window_pattern: found 0"},
        {"gemma3_text", "sliding_window", "0", "sliding_window: found 0"},
        {"gemma3_text", "layer_types", "[\"sliding_attention\"]", "layer_types"},
        {"gemma3_text", "final_logit_softcapping", "30", "final_logit_softcapping: found 30, expected null"},
        {"gpt2", "n_head", "0", "n_head: found 0"},
        {"gpt2", "n_head", "7", "does not divide into 7 heads"},
        {"gpt2", "scale_attn_weights", "false", "scale_attn_weights: found false"},
        {"bert", "num_attention_heads", "3", "head_dim: found nothing"},
        {"bert", "position_embedding_type", "\"relative_key\"", "position_embedding_type: found relative_key"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *config = config_of(wrong[i].family);
        json_object_set_new(config, wrong[i].field, json_loads(wrong[i].json, JSON_DECODE_ANY, NULL));
        check_refused(config, wrong[i].message);
    }
}

/* ---- memory ---- */

/* Opens a model in a process that may take 64 MiB more than it has: what that process exits with. */
static int open_in_little_memory(const char *path, sow_status expected, const char *message) {
    pid_t child = fork();
    if (child == 0) {
#ifndef SOW_SANITIZE /* the sanitizers map terabytes */
        FILE *f = fopen("/proc/self/statm", "r");
        long pages = 0;
        if (!f || fscanf(f, "%ld", &pages) != 1) _exit(9);
        fclose(f);
        rlim_t limit = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
        setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit});
#endif
        sow_lm *lm;
        sow_status status = sow_lm_open(path, &lm);
        bool good = status == expected && strstr(sow_message(), message);
        if (!good) fprintf(stderr, "found %d '%s', expected '%s'\n", status, sow_message(), message);
        _exit(good ? 0 : 1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 100 + WTERMSIG(how);
}

/* A folder whose configuration claims sizes, with the weights of nothing. */
static const char *folder_that_claims(const char *name, json_int_t layers, json_int_t width, json_int_t vocabulary) {
    const char *folder = in_folder(name),
               *tensor = "{\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    char path[1100], file[256] = {0};
    json_t *config = config_of("llama");
    json_object_set_new(config, "num_hidden_layers", json_integer(layers));
    json_object_set_new(config, "hidden_size", json_integer(width));
    json_object_set_new(config, "intermediate_size", json_integer(width));
    json_object_set_new(config, "vocab_size", json_integer(vocabulary));
    OK(sow_make_folder(folder));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
    uint64_t size = strlen(tensor);
    memcpy(file, &size, 8);
    memcpy(file + 8, tensor, size);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    OK(sow_write_file(path, file, 8 + size + 4));
    return folder;
}

static void claims_of_a_folder_allocate_nothing(void **state) {
    assert_int_equal(open_in_little_memory(folder_that_claims("layers", 1000000, 16, 64), SOW_E_RANGE,
                                           "1000000 layers, expected at most 512"),
                     0);
    assert_int_equal(open_in_little_memory(folder_that_claims("tokens", 2, 16, 1000000000000), SOW_E_FORMAT,
                                           "vocab_size: found 1000000000000"),
                     0);
    assert_int_equal(
        open_in_little_memory(folder_that_claims("wide", 512, 1 << 24, 1 << 24), SOW_E_NOT_FOUND, "model."), 0);
}

/* A llama of GGUF keys with one small matrix. */
static const char *gguf_that_claims(uint32_t layers, uint32_t width, uint32_t heads, uint64_t columns) {
    draft d = {.size = 0};
    const char *path = in_folder("claims.gguf");
    float epsilon = 1e-5f;
    put(&d, "GGUF", 4), put_u32(&d, 3), put_u64(&d, 1), put_u64(&d, 7);
    put_text(&d, "general.architecture"), put_u32(&d, 8), put_text(&d, "llama");
    put_key_u32(&d, "llama.block_count", layers);
    put_key_u32(&d, "llama.embedding_length", width);
    put_key_u32(&d, "llama.feed_forward_length", width);
    put_key_u32(&d, "llama.attention.head_count", heads);
    put_key_u32(&d, "llama.context_length", 128);
    put_text(&d, "llama.attention.layer_norm_rms_epsilon"), put_u32(&d, 6), put(&d, &epsilon, 4);
    put_text(&d, "token_embd.weight"), put_u32(&d, 2), put_u64(&d, columns), put_u64(&d, 4), put_u32(&d, 0),
        put_u64(&d, 0);
    while (d.size % 32) put(&d, "", 1);
    for (int i = 0; i < 256; i++) put(&d, "", 1);
    OK(sow_write_file(path, d.bytes, d.size));
    return path;
}

static void claims_of_a_gguf_file_allocate_nothing(void **state) {
    assert_int_equal(open_in_little_memory(gguf_that_claims(1000000, 16, 4, 16), SOW_E_RANGE, "1000000 layers"), 0);
    assert_int_equal(open_in_little_memory(gguf_that_claims(2, 1u << 31, 4, 16), SOW_E_FORMAT,
                                           "key llama.embedding_length: found 2147483648"),
                     0);
    assert_int_equal(
        open_in_little_memory(gguf_that_claims(2, 16, 0, 16), SOW_E_FORMAT, "key llama.attention.head_count: found 0"),
        0);
    assert_int_equal(open_in_little_memory(gguf_that_claims(2, 16, 4, 250000000000), SOW_E_FORMAT, "token_embd.weight"),
                     0);
    assert_int_equal(
        open_in_little_memory(gguf_that_claims(512, 1u << 24, 4, 16), SOW_E_SHAPE, "model.embed_tokens.weight"), 0);
}

/* ---- tokens ---- */

static void tokens_that_do_not_fit_the_model_are_refused(void **state) {
    static const int32_t good[] = {1, 2, 3}, below[] = {1, -2, 3}, long_row[4096];
    static int32_t none[] = {-1, -1, -1};
    static const int64_t three[] = {0, 3}, many[] = {0, 4096};
    sow_lm_config config;
    sow_lm *lm;
    sow_tape *t;
    double sum;
    int64_t counted;
    json_t *json = config_of("llama");
    int32_t beyond[] = {1, 2, (int32_t)json_integer_value(json_object_get(json, "vocab_size"))};
    OK(sow_lm_configure(json, &config));
    OK(sow_lm_declare(&config, SOW_F32, &lm));
    OK(sow_tape_new(&t));
    sow_lm_states(t, lm, &(sow_tokens){beyond, three, 1});
    FAILS(sow_tape_status(t), SOW_E_RANGE, "16");
    sow_tape_reset(t);
    sow_lm_states(t, lm, &(sow_tokens){below, three, 1});
    FAILS(sow_tape_status(t), SOW_E_RANGE, "-2");
    sow_tape_reset(t);
    sow_lm_states(t, lm, &(sow_tokens){long_row, many, 1});
    FAILS(sow_tape_status(t), SOW_E_RANGE, "4096");
    sow_tape_reset(t);
    sow_lm_loss(t, lm, &(sow_tokens){good, three, 1}, SOW_TENSOR(none, SOW_I32, 3), 0);
    FAILS(sow_tape_status(t), SOW_E_RANGE, "label");
    sow_tape_reset(t);
    OK(sow_lm_score(t, lm, &(sow_tokens){good, three, 1}, SOW_TENSOR(none, SOW_I32, 3), &sum, &counted));
    assert_int_equal(counted, 0);
    sow_tape_free(t);
    sow_lm_free(lm);
    json_decref(json);
}

static int set_up(void **state) {
    models = json_load_file("tests/oracles/smollm2.json", 0, NULL);
    return models ? make_test_folder() : -1;
}

static int tear_down(void **state) {
    json_decref(models);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_that_is_missing_is_named),
        cmocka_unit_test(absurd_fields_are_named_with_what_was_found),
        cmocka_unit_test(claims_of_a_folder_allocate_nothing),
        cmocka_unit_test(claims_of_a_gguf_file_allocate_nothing),
        cmocka_unit_test(tokens_that_do_not_fit_the_model_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
