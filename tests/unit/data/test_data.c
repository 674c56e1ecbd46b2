/* Data sets: what opens, how it is split, what is refused. */
#include "check.h"

#include <math.h>
#include <zlib.h>

static int set_up(void **unused) {
    if (make_test_folder()) return -1;
    setenv("SOW_DATA", test_folder, 1);
    return 0;
}

static void write_file(const char *path, const void *bytes, size_t size) {
    assert_int_equal(sow_write_file(path, bytes, size), SOW_OK);
}

static sow_data *opened(const char *name, const sow_data_options *options) {
    sow_data *data;
    if (sow_data_open(name, options, &data) != SOW_OK) fail_msg("%s", sow_message());
    return data;
}

static void refused(const char *name, const sow_data_options *options, sow_status expected, const char *says) {
    sow_data *data;
    sow_status status = sow_data_open(name, options, &data);
    if (status == SOW_OK) fail_msg("accepted: %s", says);
    if (!strstr(sow_message(), says)) fail_msg("\"%s\" does not say \"%s\"", sow_message(), says);
    assert_int_equal(status, expected);
    assert_null(data);
}

/* ---- IDX ---- */

/* IDX of bytes: `rank` sizes and as many values as they need, counted up from `first`. */
static size_t idx(uint8_t *out, int rank, const int *sizes, int first) {
    size_t at = 0, count = 1;
    out[at++] = 0, out[at++] = 0, out[at++] = 8, out[at++] = (uint8_t)rank;
    for (int i = 0; i < rank; i++) {
        for (int b = 3; b >= 0; b--) out[at++] = (uint8_t)(sizes[i] >> 8 * b);
        count *= (size_t)sizes[i];
    }
    for (size_t i = 0; i < count; i++) out[at++] = (uint8_t)(first + (int)i);
    return at;
}

static void idx_folder(const char *name, int train, int test) {
    uint8_t bytes[65536], labels[4096] = {0};
    sow_make_folder(in_folder(name));
    char path[600];
    for (int part = 0; part < 2; part++) {
        int count = part ? test : train;
        size_t size = idx(bytes, 3, (int[]){count, 2, 3}, 0);
        snprintf(path, sizeof path, "%s/%s/%s-images-idx3-ubyte", test_folder, name, part ? "t10k" : "train");
        write_file(path, bytes, size);
        size = idx(labels, 1, (int[]){count}, 0);
        for (int i = 0; i < count; i++) labels[size - (size_t)count + (size_t)i] = (uint8_t)(i % 4);
        snprintf(path, sizeof path, "%s/%s/%s-labels-idx1-ubyte.gz", test_folder, name, part ? "t10k" : "train");
        gzFile file = gzopen(path, "wb");
        gzwrite(file, labels, (unsigned)size);
        gzclose(file);
    }
}

static void idx_folders_open_plain_and_gzip(void **unused) {
    idx_folder("small", 40, 8);
    sow_data *data = opened(in_folder("small/"), NULL);
    assert_string_equal(data->name, "small");
    assert_int_equal(data->train.count, 36); /* a tenth is for validation */
    assert_int_equal(data->validation.count, 4);
    assert_int_equal(data->test.count, 8);
    assert_int_equal(data->geometry.height, 2);
    assert_int_equal(data->geometry.width, 3);
    assert_int_equal(data->geometry.classes, 4);
    assert_int_equal(data->normalisation, SOW_NORMALISE_UNIT);
    const uint8_t *pixels = data->train_set->inputs.data;
    assert_int_equal(pixels[6 * 3 + 1], 19); /* example 3, second pixel */
    assert_int_equal(data->train_set->labels[7], 3);
    sow_data_free(data);
}

static void parts_are_disjoint_and_whole_and_keyed_by_the_data_seed(void **unused) {
    int seen[40] = {0}, moved = 0;
    sow_data *a = opened(in_folder("small"), &(sow_data_options){.validation = 10}), *b = opened(in_folder("small"), &(sow_data_options){.validation = 10});
    sow_data *c = opened(in_folder("small"), &(sow_data_options){.validation = 10, .data_seed = 1});
    for (int64_t i = 0; i < a->train.count; i++) seen[a->train.index[i]]++;
    for (int64_t i = 0; i < a->validation.count; i++) seen[a->validation.index[i]]++, moved += a->validation.index[i] != c->validation.index[i];
    for (int i = 0; i < 40; i++) assert_int_equal(seen[i], 1);
    assert_true(moved > 0);
    assert_memory_equal(a->train.index, b->train.index, (size_t)a->train.count * 8);
    assert_string_equal(a->sha256, b->sha256);
    assert_string_not_equal(a->sha256, c->sha256);
    sow_data_free(a);
    sow_data_free(b);
    sow_data_free(c);
}

static void a_limit_takes_a_subset_and_leaves_validation_and_test_alone(void **unused) {
    sow_data *all = opened(in_folder("small"), &(sow_data_options){.validation = 10});
    sow_data *few = opened(in_folder("small"), &(sow_data_options){.validation = 10, .limit = 5});
    assert_int_equal(few->train.count, 5);
    assert_memory_equal(few->validation.index, all->validation.index, 80);
    for (int i = 0, j = 0; i < 5; i++) {
        while (j < all->train.count && all->train.index[j] != few->train.index[i]) j++;
        assert_true(j < all->train.count);
    }
    refused(in_folder("small"), &(sow_data_options){.validation = 40}, SOW_E_RANGE, "none is left for training");
    sow_data_free(all);
    sow_data_free(few);
}

static void a_test_part_that_is_split_off_is_disjoint_too(void **unused) {
    char text[2048] = "x,label\n";
    int seen[40] = {0};
    for (int i = 0; i < 40; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%d,%d\n", i, i % 3);
    write_file(in_folder("forty.csv"), text, strlen(text));
    sow_data *data = opened(in_folder("forty.csv"), &(sow_data_options){.validation = 7});
    const sow_part *parts[] = {&data->train, &data->validation, &data->test};
    const int counts[] = {29, 7, 4};
    for (int p = 0; p < 3; p++) {
        assert_int_equal(parts[p]->count, counts[p]);
        assert_ptr_equal(parts[p]->set, data->train_set);
        for (int64_t i = 0; i < parts[p]->count; i++) seen[parts[p]->index[i]]++;
    }
    for (int i = 0; i < 40; i++) assert_int_equal(seen[i], 1);
    assert_null(data->test_set);
    sow_data_free(data);
}

static void bad_idx_files_are_refused(void **unused) {
    uint8_t bytes[64] = {0};
    idx_folder("bad", 4, 2);
    const char *images = in_folder("bad/train-images-idx3-ubyte"), *labels = in_folder("bad/train-labels-idx1-ubyte");
    char path[600];
    snprintf(path, sizeof path, "%s/bad", test_folder);
    size_t size = idx(bytes, 3, (int[]){4, 2, 3}, 0);
    write_file(images, bytes, size - 1);
    refused(path, NULL, SOW_E_FORMAT, "declares 24 bytes of values, the file cannot hold more than 23");
    write_file(images, bytes, size + 1);
    refused(path, NULL, SOW_E_FORMAT, "bytes behind the end");
    write_file(images, bytes, 10);
    refused(path, NULL, SOW_E_FORMAT, "sizes: 12 bytes expected, 6 found");
    bytes[2] = 7;
    write_file(images, bytes, size);
    refused(path, NULL, SOW_E_FORMAT, "IDX type code 07");
    bytes[2] = 8, bytes[3] = 200;
    write_file(images, bytes, size);
    refused(path, NULL, SOW_E_FORMAT, "200 dimensions");
    memset(bytes + 4, 0xff, 12);
    bytes[3] = 3;
    write_file(images, bytes, size);
    refused(path, NULL, SOW_E_FORMAT, "train-images-idx3-ubyte");
    size = idx(bytes, 3, (int[]){4, 2, 3}, 0);
    write_file(images, bytes, size);
    size = idx(bytes, 1, (int[]){3}, 0);
    write_file(labels, bytes, size);
    refused(path, NULL, SOW_E_FORMAT, "labels [3], expected [4]");
    unlink(in_folder("bad/train-labels-idx1-ubyte"));
    unlink(in_folder("bad/train-labels-idx1-ubyte.gz"));
    refused(path, NULL, SOW_E_NOT_FOUND, "but no labels for it");
}

/* A member that stops early, and one whose checksum is wrong. */
static void damaged_gzip_is_refused(void **unused) {
    idx_folder("gz", 4, 2);
    sow_arena *arena;
    char *bytes, path[600];
    size_t size;
    const char *labels = in_folder("gz/train-labels-idx1-ubyte.gz");
    snprintf(path, sizeof path, "%s/gz", test_folder);
    assert_int_equal(sow_arena_new(&arena), SOW_OK);
    assert_int_equal(sow_read_file(arena, labels, 4096, &bytes, &size), SOW_OK);
    write_file(labels, bytes, size - 12);
    refused(path, NULL, SOW_E_FORMAT, "ends early");
    bytes[size - 6] ^= 1;
    write_file(labels, bytes, size);
    refused(path, NULL, SOW_E_FORMAT, "damaged compressed data");
    sow_arena_free(arena);
}

static void unknown_names_are_refused(void **unused) {
    refused("no-such-data", NULL, SOW_E_NOT_FOUND, "no known data set of that name");
    refused("synthetic:other", NULL, SOW_E_ARGUMENT, "there is synthetic:relmlp");
    refused("synthetic:relmlp:x", NULL, SOW_E_ARGUMENT, "the seed is not a number");
    refused("synthetic:relmlpx", NULL, SOW_E_ARGUMENT, "synthetic:relmlp:SEED");
    refused("a.npy,", NULL, SOW_E_NOT_FOUND, "a.npy,");
    refused("synthetic:relmlp", &(sow_data_options){.normalisation = "half"}, SOW_E_ARGUMENT, "expected unit, channel, row or none");
    write_file(in_folder("text.txt"), "x", 1);
    refused(in_folder("text.txt"), NULL, SOW_E_FORMAT, "not known as data");
    sow_make_folder(in_folder("empty"));
    refused(in_folder("empty"), NULL, SOW_E_NOT_FOUND, "no folders of images");
}

/* ---- synthetic ---- */

static void relmlp_is_the_task_of_the_card(void **unused) {
    sow_data *data = opened("synthetic:relmlp", &(sow_data_options){.validation = -1}), *same = opened("synthetic:relmlp:0", NULL), *other = opened("synthetic:relmlp:1", NULL);
    assert_int_equal(data->train.count, 3000);
    assert_int_equal(data->validation.count, 1000);
    assert_int_equal(data->test.count, 4000);
    assert_int_equal(data->geometry.channels, 64);
    assert_int_equal(data->geometry.classes, 5);
    assert_string_equal(data->sha256, same->sha256);
    assert_string_not_equal(data->sha256, other->sha256);
    assert_string_equal(data->sha256, "60f61e1f0c943940b52d9c9baccbfbd7eb4fe9e07fcc3b8732e89ff2f5ec747e"); /* values never change */
    double sum = 0, squares = 0;
    int counts[5] = {0};
    const float *x = data->test_set->inputs.data;
    for (int i = 0; i < 4000 * 64; i++) sum += (double)x[i], squares += (double)x[i] * (double)x[i];
    assert_true(fabs(sum / 256000) < 0.01 && fabs(squares / 256000 - 1) < 0.02); /* 5 and 7 standard errors */
    for (int i = 0; i < 4000; i++) counts[data->test_set->labels[i]]++;
    for (int c = 0; c < 5; c++) assert_true(counts[c] > 200); /* columns are standardised: no class is rare */
    sow_data_free(data);
    sow_data_free(same);
    sow_data_free(other);
}

/* The labels follow from the first 16 inputs: a nearest-centroid guess from those beats one from the other 48 by far. */
static void relmlp_labels_depend_on_the_first_sixteen_inputs(void **unused) {
    sow_data *data = opened("synthetic:relmlp", NULL);
    double centre[5][64] = {{0}}, n[5] = {0};
    int right[2] = {0};
    const float *x = data->train_set->inputs.data, *z = data->test_set->inputs.data;
    for (int i = 0; i < 4000; i++) {
        int c = data->train_set->labels[i];
        n[c]++;
        for (int j = 0; j < 64; j++) centre[c][j] += (double)x[i * 64 + j];
    }
    for (int i = 0; i < 4000; i++)
        for (int which = 0; which < 2; which++) {
            int best = 0;
            double best_distance = INFINITY;
            for (int c = 0; c < 5; c++) {
                double distance = 0;
                for (int j = which ? 16 : 0; j < (which ? 64 : 16); j++) distance += pow((double)z[i * 64 + j] - centre[c][j] / n[c], 2);
                if (distance < best_distance) best_distance = distance, best = c;
            }
            right[which] += best == data->test_set->labels[i];
        }
    assert_true(right[0] > 1800);                     /* of 4,000; chance is 800 */
    assert_true(right[1] > 500 && right[1] < 1200);
    sow_data_free(data);
}

/* ---- CSV and npy ---- */

static void csv_takes_label_columns_by_name_and_maps_classes(void **unused) {
    static const char text[] = "x,species,y\n1,rose,2\n3,lily,4\n5,rose,6\n7,\"iris, blue\",8\n9,lily,1e1\n0,rose,0\n";
    write_file(in_folder("flowers.csv"), text, sizeof text - 1);
    sow_data *data = opened(in_folder("flowers.csv"), &(sow_data_options){.label = "species"});
    assert_int_equal(data->geometry.channels, 2);
    assert_int_equal(data->geometry.classes, 3);
    assert_string_equal(data->train_set->class_names[0], "iris, blue");
    assert_string_equal(data->train_set->class_names[2], "rose");
    assert_int_equal(data->train_set->labels[0], 2);
    assert_int_equal(data->train_set->labels[3], 0);
    assert_true(sow_at(data->train_set->inputs, 9) == 10);
    assert_int_equal(data->test.count, 1); /* split off */
    sow_data_free(data);
    refused(in_folder("flowers.csv"), &(sow_data_options){.label = "colour"}, SOW_E_NOT_FOUND, "no column \"colour\"");
    refused(in_folder("flowers.csv"), NULL, SOW_E_FORMAT, "line 2, column 2 (species): \"rose\" is not a finite number");
    write_file(in_folder("t.csv"), "x,species,y\n1,tulip,2\n", 22);
    refused(in_folder("flowers.csv"), &(sow_data_options){.label = "species", .test = in_folder("t.csv")}, SOW_E_FORMAT, "label \"tulip\" is not a class");
    write_file(in_folder("t.csv"), "x,species,y\n1,lily,2\n", 21);
    data = opened(in_folder("flowers.csv"), &(sow_data_options){.label = "species", .test = in_folder("t.csv")});
    assert_int_equal(data->test.count, 1);
    assert_int_equal(data->test_set->labels[0], 1);
    sow_data_free(data);
}

static void npy_pairs_open_as_tables_and_images(void **unused) {
    float x[6][2] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}, {11, 12}};
    int64_t y[6] = {0, 1, 2, 0, 1, 2};
    uint8_t images[6 * 4] = {0};
    char pair[2048];
    for (int i = 0; i < 24; i++) images[i] = (uint8_t)(10 * i);
    assert_int_equal(sow_npy_write(in_folder("x.npy"), SOW_TENSOR(x, SOW_F32, 6, 2)), SOW_OK);
    assert_int_equal(sow_npy_write(in_folder("y.npy"), SOW_TENSOR(y, SOW_I64, 6)), SOW_OK);
    assert_int_equal(sow_npy_write(in_folder("i.npy"), SOW_TENSOR(images, SOW_U8, 6, 2, 2)), SOW_OK);
    snprintf(pair, sizeof pair, "%s,%s", in_folder("x.npy"), in_folder("y.npy"));
    sow_data *data = opened(pair, NULL);
    assert_string_equal(data->name, "x.npy,y.npy");
    assert_int_equal(data->geometry.channels, 2);
    assert_int_equal(data->geometry.classes, 3);
    assert_int_equal(data->train_set->inputs.dtype, SOW_F32);
    sow_data_free(data);
    snprintf(pair, sizeof pair, "%s,%s", in_folder("i.npy"), in_folder("y.npy"));
    data = opened(pair, NULL);
    assert_int_equal(data->train_set->inputs.dtype, SOW_U8);
    assert_int_equal(data->geometry.height, 2);
    sow_data_free(data);
    x[3][1] = NAN;
    assert_int_equal(sow_npy_write(in_folder("x.npy"), SOW_TENSOR(x, SOW_F32, 6, 2)), SOW_OK);
    snprintf(pair, sizeof pair, "%s,%s", in_folder("x.npy"), in_folder("y.npy"));
    refused(pair, NULL, SOW_E_NUMBER, "x.npy");
    snprintf(pair, sizeof pair, "%s,%s", in_folder("i.npy"), in_folder("x.npy"));
    refused(pair, NULL, SOW_E_SHAPE, "labels [6, 2], expected [6]");
}

/* ---- folders of images ---- */

static void image(const char *path, int channels, int height, int width, int value) {
    uint8_t pixels[3 * 64];
    memset(pixels, value, sizeof pixels);
    pixels[0] = 1;
    assert_int_equal(sow_image_write(path, SOW_TENSOR(pixels, SOW_U8, channels, height, width)), SOW_OK);
}

static void image_folders_have_a_class_a_folder(void **unused) {
    static const char *const folders[] = {"photos/train/dog", "photos/train/cat", "photos/test/dog"};
    for (int i = 0; i < 3; i++) {
        char path[700];
        sow_make_folder(in_folder(folders[i]));
        for (int j = 0; j < 4; j++) {
            snprintf(path, sizeof path, "%s/%s/%d.png", test_folder, folders[i], j);
            image(path, j == 3 ? 1 : 3, 4, 6, 50 * i + j);
        }
    }
    sow_data *data = opened(in_folder("photos"), &(sow_data_options){.validation = 0});
    assert_int_equal(data->train.count, 8);
    assert_int_equal(data->test.count, 4);
    assert_string_equal(data->train_set->class_names[0], "cat");
    assert_int_equal(data->train_set->labels[7], 1);
    assert_int_equal(data->test_set->labels[0], 1); /* dog, though the only class there */
    assert_int_equal(data->normalisation, SOW_NORMALISE_CHANNEL);
    assert_int_equal(data->geometry.channels, 3);
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += (1 + 23.0 * (i < 4 ? 50 + i : i - 4)) / 24 / 255 / 8;
    assert_true(fabs((double)data->mean[0] - sum) < 1e-6);
    sow_data_free(data);
    sow_make_folder(in_folder("photos/test/bird"));
    image(in_folder("photos/test/bird/1.png"), 3, 4, 6, 9);
    refused(in_folder("photos"), NULL, SOW_E_FORMAT, "class \"bird\" is not in the training part");
    image(in_folder("photos/train/cat/9.png"), 3, 6, 4, 9);
    refused(in_folder("photos"), NULL, SOW_E_SHAPE, "9.png: 4 x 6 pixels, expected 6 x 4");
    write_file(in_folder("photos/train/cat/9.png"), "\x89PNG\r\n\x1a\n", 8);
    refused(in_folder("photos"), NULL, SOW_E_FORMAT, "9.png");
}

static void cifar_batches_open(void **unused) {
    enum { RECORD = 3073 };
    static uint8_t records[4 * RECORD];
    char path[600];
    sow_make_folder(in_folder("cifar"));
    for (int i = 0; i < 4; i++) {
        records[i * RECORD] = (uint8_t)(i + 6);
        memset(records + i * RECORD + 1, 10 * i, RECORD - 1);
    }
    for (int i = 1; i <= 5; i++) {
        snprintf(path, sizeof path, "%s/cifar/data_batch_%d.bin", test_folder, i);
        write_file(path, records, 4 * RECORD);
    }
    write_file(in_folder("cifar/test_batch.bin"), records, 2 * RECORD);
    sow_data *data = opened(in_folder("cifar"), &(sow_data_options){.validation = 0});
    assert_int_equal(data->train.count, 20);
    assert_int_equal(data->test.count, 2);
    assert_int_equal(data->geometry.classes, 10);
    assert_int_equal(data->train_set->labels[5], 7);
    assert_true(fabs((double)data->mean[2] - 15.0 / 255) < 1e-6);
    assert_true(fabs((double)data->sd[2] - sqrt(125) / 255) < 1e-6);
    sow_data_free(data);
    write_file(in_folder("cifar/data_batch_3.bin"), records, 4 * RECORD - 1);
    refused(in_folder("cifar"), NULL, SOW_E_FORMAT, "data_batch_3.bin: 12291 bytes, expected records of 3073");
    records[RECORD] = 10;
    write_file(in_folder("cifar/data_batch_3.bin"), records, 4 * RECORD);
    refused(in_folder("cifar"), NULL, SOW_E_FORMAT, "label 10 of record 1, expected 0 to 9");
}

static void fashion_mnist_opens_where_the_package_is_installed(void **unused) {
    if (!sow_is_folder("/usr/share/datasets/fashion-mnist")) skip();
    sow_data *data = opened("fashion-mnist", &(sow_data_options){.validation = -1});
    assert_int_equal(data->train.count, 55000);
    assert_int_equal(data->validation.count, 5000);
    assert_int_equal(data->test.count, 10000);
    assert_int_equal(data->geometry.classes, 10);
    assert_int_equal(data->train_set->labels[0], 9); /* an ankle boot */
    sow_data_free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_folders_open_plain_and_gzip),
        cmocka_unit_test(parts_are_disjoint_and_whole_and_keyed_by_the_data_seed),
        cmocka_unit_test(a_limit_takes_a_subset_and_leaves_validation_and_test_alone),
        cmocka_unit_test(a_test_part_that_is_split_off_is_disjoint_too),
        cmocka_unit_test(bad_idx_files_are_refused),
        cmocka_unit_test(damaged_gzip_is_refused),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(relmlp_is_the_task_of_the_card),
        cmocka_unit_test(relmlp_labels_depend_on_the_first_sixteen_inputs),
        cmocka_unit_test(csv_takes_label_columns_by_name_and_maps_classes),
        cmocka_unit_test(npy_pairs_open_as_tables_and_images),
        cmocka_unit_test(image_folders_have_a_class_a_folder),
        cmocka_unit_test(cifar_batches_open),
        cmocka_unit_test(fashion_mnist_opens_where_the_package_is_installed),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
