/* Folders of images: CIFAR's binary batches and ImageFolder (one folder a class). */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "data/readers.h"
#include "sow/file.h"
#include "sow/image.h"
#include "sow/log.h"

/* ---- CIFAR-10 and CIFAR-100 ---- */

enum { CIFAR_SIDE = 32, CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE };

static bool has_name(char *const *names, int64_t count, const char *name) {
    for (int64_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

bool sow_is_cifar_folder(char *const *names, int64_t count) {
    return has_name(names, count, "data_batch_1.bin") || has_name(names, count, "train.bin");
}

/* Copies the records of one mapped file: label bytes (of CIFAR-100 the second is the fine label), then the pixels. */
static sow_status copy_records(const char *path, const sow_map *map, int label_bytes, int64_t at, sow_dataset *set) {
    size_t record = (size_t)(label_bytes + CIFAR_PIXELS);
    for (size_t i = 0; i < map->size / record; i++, at++) {
        const uint8_t *from = map->data + i * record;
        int label = from[label_bytes - 1];
        if (label >= set->geometry.classes)
            return sow_fail(SOW_E_FORMAT, "%s: label %d of record %zu, expected 0 to %" PRId64, path, label, i, set->geometry.classes - 1);
        set->labels[at] = label;
        memcpy((uint8_t *)set->inputs.data + at * CIFAR_PIXELS, from + label_bytes, CIFAR_PIXELS);
    }
    return SOW_OK;
}

/* The files of one part: opened, measured, then copied into one set. */
static sow_status read_cifar_files(char *const *paths, int count, int label_bytes, sow_map *maps, sow_dataset **out) {
    size_t record = (size_t)(label_bytes + CIFAR_PIXELS), total = 0;
    for (int i = 0; i < count; i++) {
        SOW_TRY(sow_map_open(paths[i], &maps[i]));
        if (maps[i].size == 0 || maps[i].size % record != 0)
            return sow_fail(SOW_E_FORMAT, "%s: %zu bytes, expected records of %zu bytes (truncated?)", paths[i], maps[i].size, record);
        total += maps[i].size / record;
    }
    sow_geometry geometry = {.channels = 3, .height = CIFAR_SIDE, .width = CIFAR_SIDE, .classes = label_bytes == 1 ? 10 : 100};
    SOW_TRY(sow_dataset_new((int64_t)total, geometry, SOW_U8, out));
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        SOW_TRY(copy_records(paths[i], &maps[i], label_bytes, at, *out));
        at += (int64_t)(maps[i].size / record);
    }
    return SOW_OK;
}

static sow_status read_cifar_part(const char *folder, const char *const *names, int count, int label_bytes, sow_arena *scratch, sow_dataset **out) {
    char *paths[5];
    sow_map maps[5] = {0};
    for (int i = 0; i < count; i++)
        if (!(paths[i] = sow_path_join(scratch, folder, names[i]))) return SOW_E_MEMORY;
    sow_status status = read_cifar_files(paths, count, label_bytes, maps, out);
    for (int i = 0; i < count; i++) sow_map_close(&maps[i]);
    return status;
}

static sow_status read_cifar(const char *folder, sow_arena *scratch, sow_found *found) {
    static const char *const ten[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"};
    char *hundred = sow_path_join(scratch, folder, "train.bin");
    if (!hundred) return SOW_E_MEMORY;
    if (sow_path_exists(hundred)) {
        SOW_TRY(read_cifar_part(folder, (const char *[]){"train.bin"}, 1, 2, scratch, &found->train));
        return read_cifar_part(folder, (const char *[]){"test.bin"}, 1, 2, scratch, &found->test);
    }
    SOW_TRY(read_cifar_part(folder, ten, 5, 1, scratch, &found->train));
    return read_cifar_part(folder, (const char *[]){"test_batch.bin"}, 1, 1, scratch, &found->test);
}

sow_status sow_read_cifar_folder(const char *folder, sow_found *found) {
    sow_arena *scratch;
    found->normalisation = SOW_NORMALISE_CHANNEL;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = read_cifar(folder, scratch, found);
    sow_arena_free(scratch);
    return status;
}

/* ---- ImageFolder ---- */

static bool is_image_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

typedef struct picture {
    const char *path;
    int32_t label;
} picture;

/* The folders below `folder` that hold images, sorted, are the classes. */
static sow_status list_classes(sow_arena *arena, const char *folder, const char ***classes, int64_t *count) {
    char **names;
    int64_t n;
    *count = 0;
    SOW_TRY(sow_list_folder(arena, folder, SOW_FOLDER_NAMES_MAX, &names, &n));
    SOW_TRY(SOW_NEW(arena, *classes, n));
    for (int64_t i = 0; i < n; i++) {
        char *path = sow_path_join(arena, folder, names[i]);
        if (!path) return SOW_E_MEMORY;
        if (names[i][0] != '.' && sow_is_folder(path)) (*classes)[(*count)++] = names[i];
    }
    if (*count > 0) return SOW_OK;
    return sow_fail(SOW_E_NOT_FOUND, "%s: not known as data: no IDX files, no CIFAR batches and no folders of images", folder);
}

static sow_status list_pictures(sow_arena *arena, const char *folder, const char **classes, int64_t class_count, picture **out, int64_t *count) {
    int64_t capacity = 1024;
    picture *list;
    *count = 0;
    SOW_TRY(SOW_NEW(arena, list, capacity));
    for (int64_t c = 0; c < class_count; c++) {
        char **names, *path = sow_path_join(arena, folder, classes[c]);
        int64_t n, before = *count;
        if (!path) return SOW_E_MEMORY;
        SOW_TRY(sow_list_folder(arena, path, SOW_FOLDER_NAMES_MAX, &names, &n));
        for (int64_t i = 0; i < n; i++) {
            if (!is_image_name(names[i])) continue;
            if (*count == capacity) {
                picture *larger;
                SOW_TRY(SOW_NEW(arena, larger, 2 * capacity));
                memcpy(larger, list, (size_t)capacity * sizeof *list);
                list = larger;
                capacity *= 2;
            }
            list[*count] = (picture){.path = sow_path_join(arena, path, names[i]), .label = (int32_t)c};
            if (!list[(*count)++].path) return SOW_E_MEMORY;
        }
        if (*count == before) return sow_fail(SOW_E_NOT_FOUND, "%s: holds no .png, .jpg or .jpeg", path);
    }
    *out = list;
    return SOW_OK;
}

/* All images must have the first one's size: nothing is scaled or cropped silently. Grey ones among colour become colour. */
static sow_status decode_all(sow_arena *arena, const picture *pictures, int64_t count, int64_t classes, sow_dataset **out) {
    sow_geometry g = {.classes = classes};
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; i++) {
        sow_mark mark = sow_arena_mark(arena);
        sow_tensor image;
        SOW_TRY(sow_image_read(arena, pictures[i].path, i == 0 ? 0 : (int)g.channels, &image));
        if (i == 0) {
            g.channels = image.shape[0], g.height = image.shape[1], g.width = image.shape[2];
            bytes = g.channels * g.height * g.width;
            SOW_TRY(sow_dataset_new(count, g, SOW_U8, out));
        } else if (image.shape[1] != g.height || image.shape[2] != g.width) {
            return sow_fail(SOW_E_SHAPE, "%s: %" PRId64 " x %" PRId64 " pixels, expected %" PRId64 " x %" PRId64 " as in %s", pictures[i].path,
                            image.shape[2], image.shape[1], g.width, g.height, pictures[0].path);
        }
        memcpy((uint8_t *)(*out)->inputs.data + i * bytes, image.data, (size_t)bytes);
        (*out)->labels[i] = pictures[i].label;
        sow_arena_release(arena, mark);
        sow_progress("reading images", i + 1, count);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

/* The numbers that the classes of a test part have in the training part. */
static sow_status number_classes(const char *folder, const char **classes, int64_t count, const sow_dataset *like, int32_t *numbers) {
    for (int64_t c = 0; c < count; c++) {
        int64_t k = 0;
        while (k < like->geometry.classes && (!like->class_names || strcmp(like->class_names[k], classes[c]) != 0)) k++;
        if (k == like->geometry.classes) return sow_fail(SOW_E_FORMAT, "%s: class \"%s\" is not in the training part", folder, classes[c]);
        numbers[c] = (int32_t)k;
    }
    return SOW_OK;
}

/* One part: classes by folder, numbered in the order of their names or as in `like`. */
static sow_status read_part(const char *folder, const sow_dataset *like, sow_arena *arena, sow_dataset **out) {
    const char **classes;
    picture *pictures;
    int32_t *numbers;
    int64_t class_count, count;
    SOW_TRY(list_classes(arena, folder, &classes, &class_count));
    SOW_TRY(list_pictures(arena, folder, classes, class_count, &pictures, &count));
    SOW_TRY(SOW_NEW(arena, numbers, class_count));
    if (like) SOW_TRY(number_classes(folder, classes, class_count, like, numbers));
    for (int64_t i = 0; like && i < count; i++) pictures[i].label = numbers[pictures[i].label];
    SOW_TRY(decode_all(arena, pictures, count, like ? like->geometry.classes : class_count, out));
    if (like) return SOW_OK;
    SOW_TRY(SOW_NEW((*out)->arena, (*out)->class_names, class_count));
    for (int64_t c = 0; c < class_count; c++)
        if (!((*out)->class_names[c] = sow_arena_copy((*out)->arena, classes[c]))) return SOW_E_MEMORY;
    return SOW_OK;
}

/* train/ beside test/, val/ or valid/, else the classes directly. */
static sow_status read_folder(const char *folder, const sow_dataset *classes, sow_arena *arena, sow_found *found) {
    static const char *const tests[] = {"test", "val", "valid", "validation"};
    char *train = sow_path_join(arena, folder, "train"), *test = NULL;
    if (!train) return SOW_E_MEMORY;
    if (!sow_is_folder(train)) return read_part(folder, classes, arena, &found->train);
    SOW_TRY(read_part(train, classes, arena, &found->train));
    for (int i = 0; i < 4 && !test; i++) {
        if (!(test = sow_path_join(arena, folder, tests[i]))) return SOW_E_MEMORY;
        if (!sow_is_folder(test)) test = NULL;
    }
    return test ? read_part(test, classes ? classes : found->train, arena, &found->test) : SOW_OK;
}

sow_status sow_read_image_folder(const char *folder, const sow_dataset *classes, sow_found *found) {
    sow_arena *arena;
    found->normalisation = SOW_NORMALISE_CHANNEL;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = read_folder(folder, classes, arena, found);
    sow_arena_free(arena);
    return status;
}
