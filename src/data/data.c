/* Opening data: which reader, the split into parts, channel statistics, the sum of what is used. */
#include "sow/data.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/readers.h"
#include "sow/file.h"
#include "sow/text.h"

enum { VALIDATION_MOST = 5000, TENTH = 10 };

/* ---- which reader ---- */

static sow_status read_folder(const char *folder, const sow_dataset *classes, sow_found *found) {
    sow_arena *scratch;
    char **names;
    int64_t count;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = sow_list_folder(scratch, folder, SOW_FOLDER_NAMES_MAX, &names, &count);
    if (status == SOW_OK) {
        if (sow_is_idx_folder(names, count)) status = sow_read_idx_folder(folder, found);
        else if (sow_is_cifar_folder(names, count)) status = sow_read_cifar_folder(folder, found);
        else status = sow_read_image_folder(folder, classes, found);
    }
    sow_arena_free(scratch);
    return status;
}

static sow_status read_synthetic(const char *name, sow_found *found) {
    const char *rest = name + strlen("synthetic:relmlp");
    uint64_t seed = 0;
    if (rest[0] == ':') {
        char *end;
        errno = 0;
        seed = strtoull(rest + 1, &end, 10);
        if (rest[1] < '0' || rest[1] > '9' || *end || errno) return sow_fail(SOW_E_ARGUMENT, "%s: the seed is not a number", name);
    } else if (rest[0] != 0) {
        return sow_fail(SOW_E_ARGUMENT, "%s: expected synthetic:relmlp or synthetic:relmlp:SEED", name);
    }
    return sow_make_relmlp(seed, found);
}

static sow_status read_any(const char *name, const char *label, const sow_dataset *classes, sow_arena *arena, sow_found *found) {
    found->validation = -1;
    if (strncmp(name, "synthetic:relmlp", 16) == 0) return read_synthetic(name, found);
    if (strncmp(name, "synthetic:", 10) == 0) return sow_fail(SOW_E_ARGUMENT, "%s: no such synthetic task; there is synthetic:relmlp", name);
    bool known = strcmp(name, "mnist") == 0 || strcmp(name, "fashion-mnist") == 0;
    if (!known && strchr(name, ',') && sow_ends_with_any_case(name, ".npy")) return sow_read_npy_pair(name, found);
    char *folder;
    if (known || !sow_path_exists(name)) {
        SOW_TRY(sow_data_locate(arena, name, &folder));
        return read_folder(folder, classes, found);
    }
    if (sow_is_folder(name)) return read_folder(name, classes, found);
    if (sow_ends_with_any_case(name, ".csv") || sow_ends_with_any_case(name, ".tsv") || sow_ends_with_any_case(name, ".csv.gz") || sow_ends_with_any_case(name, ".tsv.gz"))
        return sow_read_csv(name, label, classes, found);
    if (sow_ends_with_any_case(name, ".npy")) return sow_fail(SOW_E_ARGUMENT, "%s: give inputs and labels as a pair, x.npy,y.npy", name);
    return sow_fail(SOW_E_FORMAT, "%s: not a folder, a .csv or a pair of .npy files: not known as data", name);
}

/* ---- parts ---- */

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Numbers in rising order: which examples a part has is drawn, their order is not. */
static sow_status take_part(sow_data *data, const sow_dataset *set, const int64_t *drawn, int64_t count, sow_part *part) {
    part->set = set;
    part->count = count;
    SOW_TRY(SOW_NEW_RAW(data->arena, part->index, count));
    memcpy(part->index, drawn, (size_t)count * sizeof *drawn);
    qsort(part->index, (size_t)count, sizeof *part->index, by_number);
    return SOW_OK;
}

/* One random order of the examples serves all: the first are the test part (where the source has none), the next the
 * validation part, then come those for training; so a limit changes neither test nor validation part. */
static sow_status split(sow_data *data, const sow_data_options *options, int64_t own_validation) {
    int64_t count = data->train_set->count, tenth = count / TENTH;
    int64_t test = data->test_set ? 0 : tenth > 0 ? tenth : 1;
    int64_t validation = options->validation;
    if (validation < 0) validation = own_validation >= 0 ? own_validation : tenth < VALIDATION_MOST ? tenth : VALIDATION_MOST;
    int64_t training = count - test - validation;
    if (training < 1)
        return sow_fail(SOW_E_RANGE, "%s: of %" PRId64 " examples %" PRId64 " are for the test and %" PRId64 " for validation: none is left for training",
                        data->name, count, test, validation);
    if (options->limit > 0 && options->limit < training) training = options->limit;

    int64_t *order;
    SOW_TRY(SOW_NEW_RAW(data->arena, order, count));
    sow_rng rng;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, options->data_seed));
    sow_rng_at(&rng, "split", "");
    sow_rng_permutation(&rng, order, count);
    if (!data->test_set) SOW_TRY(take_part(data, data->train_set, order, test, &data->test));
    SOW_TRY(take_part(data, data->train_set, order + test, validation, &data->validation));
    SOW_TRY(take_part(data, data->train_set, order + test + validation, training, &data->train));
    if (!data->test_set) return SOW_OK;
    if (data->test_set->count > count) SOW_TRY(SOW_NEW_RAW(data->arena, order, data->test_set->count));
    for (int64_t i = 0; i < data->test_set->count; i++) order[i] = i;
    return take_part(data, data->test_set, order, data->test_set->count, &data->test);
}

/* ---- normalisation ---- */

static sow_status choose_normalisation(sow_data *data, const char *name, sow_normalisation own) {
    static const char *const names[] = {"unit", "channel", "row", "none"};
    data->normalisation = own;
    if (!name) return SOW_OK;
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            data->normalisation = (sow_normalisation)i;
            return SOW_OK;
        }
    return sow_fail(SOW_E_ARGUMENT, "normalisation \"%s\": expected unit, channel, row or none", name);
}

/* Mean and standard deviation of one channel over the training part. Sums of pixels are exact. */
static void channel_statistics(const sow_part *part, int64_t channel, double *mean, double *variance) {
    const sow_dataset *set = part->set;
    int64_t plane = set->geometry.height * set->geometry.width, step = plane * set->geometry.channels;
    double n = (double)part->count * (double)plane;
    if (set->inputs.dtype == SOW_U8) {
        uint64_t sum = 0, squares = 0;
        for (int64_t i = 0; i < part->count; i++) {
            const uint8_t *pixels = (const uint8_t *)set->inputs.data + part->index[i] * step + channel * plane;
            for (int64_t p = 0; p < plane; p++) sum += pixels[p], squares += (uint64_t)pixels[p] * pixels[p];
        }
        *mean = (double)sum / n / 255;
        *variance = (double)squares / n / 255 / 255 - *mean * *mean;
        return;
    }
    double sum = 0, squares = 0;
    const float *values = set->inputs.data;
    for (int64_t i = 0; i < part->count; i++)
        for (int64_t p = 0; p < plane; p++) sum += (double)values[part->index[i] * step + channel * plane + p];
    *mean = sum / n;
    for (int64_t i = 0; i < part->count; i++)
        for (int64_t p = 0; p < plane; p++) {
            double from_mean = (double)values[part->index[i] * step + channel * plane + p] - *mean;
            squares += from_mean * from_mean;
        }
    *variance = squares / n;
}

static sow_status measure_channels(sow_data *data) {
    int64_t channels = data->geometry.channels, most = sizeof data->mean / sizeof *data->mean;
    for (int64_t c = 0; c < most; c++) data->mean[c] = 0, data->sd[c] = 1;
    if (data->normalisation != SOW_NORMALISE_CHANNEL) return SOW_OK;
    if (channels > most)
        return sow_fail(SOW_E_ARGUMENT, "%s: normalisation by channel with %" PRId64 " channels, at most %" PRId64 " are possible", data->name, channels, most);
    for (int64_t c = 0; c < channels; c++) {
        double mean, variance;
        channel_statistics(&data->train, c, &mean, &variance);
        data->mean[c] = (float)mean;
        data->sd[c] = variance > 1e-12 ? (float)sqrt(variance) : 1; /* a constant channel becomes 0 */
    }
    return SOW_OK;
}

/* ---- the sum of what is used ---- */

static void hash_part(EVP_MD_CTX *hash, const sow_part *part) {
    const sow_dataset *set = part->set;
    size_t bytes = (size_t)(set->geometry.channels * set->geometry.height * set->geometry.width) * sow_dtype_size(set->inputs.dtype);
    EVP_DigestUpdate(hash, &part->count, sizeof part->count);
    for (int64_t i = 0; i < part->count; i++) {
        EVP_DigestUpdate(hash, (const uint8_t *)set->inputs.data + (size_t)part->index[i] * bytes, bytes);
        EVP_DigestUpdate(hash, &set->labels[part->index[i]], sizeof *set->labels);
    }
}

static sow_status hash_all(sow_data *data) {
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[32];
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    if (!hash) return sow_fail(SOW_E_MEMORY, "out of memory for SHA-256");
    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    EVP_DigestUpdate(hash, &data->geometry, sizeof data->geometry);
    hash_part(hash, &data->train);
    hash_part(hash, &data->validation);
    hash_part(hash, &data->test);
    EVP_DigestFinal_ex(hash, digest, NULL);
    EVP_MD_CTX_free(hash);
    for (int i = 0; i < 32; i++) data->sha256[2 * i] = digits[digest[i] >> 4], data->sha256[2 * i + 1] = digits[digest[i] & 15];
    return SOW_OK;
}

/* ---- opening ---- */

/* The base name, of both files of a pair: "photos/" gives "photos", "a/x.npy,b/y.npy" gives "x.npy,y.npy". */
static sow_status short_name(sow_arena *arena, const char *name, char **out) {
    char *copy = sow_arena_copy(arena, name);
    if (!copy) return SOW_E_MEMORY;
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--) copy[n - 1] = 0;
    char *comma = sow_ends_with_any_case(copy, ".npy") ? strchr(copy, ',') : NULL;
    if (comma) *comma = 0;
    *out = comma ? sow_arena_format(arena, "%s,%s", sow_path_name(copy), sow_path_name(comma + 1)) : sow_arena_copy(arena, sow_path_name(copy));
    return *out ? SOW_OK : SOW_E_MEMORY;
}

static sow_status join_geometry(sow_data *data) {
    data->geometry = data->train_set->geometry;
    if (!data->test_set) return SOW_OK;
    sow_geometry *a = &data->geometry, b = data->test_set->geometry;
    if (a->channels != b.channels || a->height != b.height || a->width != b.width)
        return sow_fail(SOW_E_SHAPE, "%s: the test part has examples of %" PRId64 "x%" PRId64 "x%" PRId64 ", the training part of %" PRId64 "x%" PRId64 "x%" PRId64,
                        data->name, b.channels, b.height, b.width, a->channels, a->height, a->width);
    if (data->test_set->inputs.dtype != data->train_set->inputs.dtype)
        return sow_fail(SOW_E_TYPE, "%s: the test part holds %s, the training part %s", data->name, sow_dtype_name(data->test_set->inputs.dtype),
                        sow_dtype_name(data->train_set->inputs.dtype));
    if (b.classes > a->classes) a->classes = b.classes;
    return SOW_OK;
}

/* The test part that --test names; what its own format calls the test part is not wanted. */
static sow_status read_test(sow_data *data, const sow_data_options *options) {
    sow_found found = {0};
    sow_status status = read_any(options->test, options->label, data->train_set, data->arena, &found);
    if (status == SOW_OK) {
        sow_dataset_free(data->test_set);
        data->test_set = found.train;
        found.train = NULL;
    }
    sow_dataset_free(found.train);
    sow_dataset_free(found.test);
    return status;
}

static sow_status open_into(sow_data *data, const char *name, const sow_data_options *options) {
    sow_found found = {0};
    SOW_TRY(short_name(data->arena, name, &data->name));
    sow_status status = read_any(name, options->label, NULL, data->arena, &found);
    data->train_set = found.train;
    data->test_set = found.test;
    SOW_TRY(status);
    if (options->test) SOW_TRY(read_test(data, options));
    SOW_TRY(join_geometry(data));
    SOW_TRY(choose_normalisation(data, options->normalisation, found.normalisation));
    SOW_TRY(split(data, options, found.validation));
    SOW_TRY(measure_channels(data));
    return hash_all(data);
}

sow_status sow_data_open(const char *name, const sow_data_options *options, sow_data **out) {
    static const sow_data_options defaults = {.validation = -1};
    sow_arena *arena;
    sow_data *data;
    *out = NULL;
    SOW_TRY(SOW_OWN(arena, data));
    data->arena = arena;
    sow_status status = open_into(data, name, options ? options : &defaults);
    if (status == SOW_OK) *out = data;
    else sow_data_free(data);
    return status;
}

void sow_data_free(sow_data *data) {
    if (!data) return;
    sow_dataset_free(data->train_set);
    sow_dataset_free(data->test_set);
    sow_arena_free(data->arena);
}
