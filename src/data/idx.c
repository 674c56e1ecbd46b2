/* A folder of IDX files: MNIST, Fashion-MNIST and all that take their names, plain or gzip. */
#include <inttypes.h>
#include <string.h>

#include "data/readers.h"
#include "formats/idx.h"
#include "sow/file.h"

/* "train-images-idx3-ubyte", "t10k-labels.idx1-ubyte.gz", "emnist-letters-test-images-idx3-ubyte" ... */
static bool is_idx_name(const char *name, const char *part, const char *kind) {
    const char *idx = strstr(name, "idx");
    if (!idx || !strstr(name, kind)) return false;
    bool test = strstr(name, "t10k") || strstr(name, "test");
    return strcmp(part, "test") == 0 ? test : !test && strstr(name, "train");
}

/* The file of that part and kind; plain wins over gzip (names are sorted, so it comes first). NULL if absent. */
static const char *find_name(char *const *names, int64_t count, const char *part, const char *kind) {
    for (int64_t i = 0; i < count; i++)
        if (is_idx_name(names[i], part, kind)) return names[i];
    return NULL;
}

bool sow_is_idx_folder(char *const *names, int64_t count) {
    return find_name(names, count, "train", "images") != NULL;
}

static sow_status check_images(const char *path, sow_tensor images) {
    char shape[SOW_SHAPE_TEXT];
    if (images.dtype != SOW_U8 || (images.rank != 3 && images.rank != 4))
        return sow_fail(SOW_E_FORMAT, "%s: holds %s of %s, expected U8 images [count, height, width]", path, sow_shape_text(images, shape),
                        sow_dtype_name(images.dtype));
    if (sow_count(images) == 0) return sow_fail(SOW_E_FORMAT, "%s: holds no image: %s", path, sow_shape_text(images, shape));
    return SOW_OK;
}

static sow_status check_labels(const char *path, sow_tensor labels, int64_t count) {
    char shape[SOW_SHAPE_TEXT];
    if (labels.dtype != SOW_U8 && labels.dtype != SOW_I8 && labels.dtype != SOW_I16 && labels.dtype != SOW_I32)
        return sow_fail(SOW_E_FORMAT, "%s: labels of %s, expected integers", path, sow_dtype_name(labels.dtype));
    if (labels.rank != 1 || labels.shape[0] != count)
        return sow_fail(SOW_E_FORMAT, "%s: labels %s, expected [%" PRId64 "] as there are images", path, sow_shape_text(labels, shape), count);
    for (int64_t i = 0; i < count; i++) {
        double label = sow_at(labels, i);
        if (label < 0 || label >= SOW_CLASSES_MAX) return sow_fail(SOW_E_FORMAT, "%s: label %.0f of example %" PRId64 ", expected 0 or more", path, label, i);
    }
    return SOW_OK;
}

/* The images stay where they were read: in the set's own arena. */
static sow_status fill_part(sow_dataset *set, const char *images_path, const char *labels_path) {
    sow_tensor images, labels;
    SOW_TRY(sow_idx_read(set->arena, images_path, &images));
    SOW_TRY(check_images(images_path, images));
    SOW_TRY(sow_idx_read(set->arena, labels_path, &labels));
    SOW_TRY(check_labels(labels_path, labels, images.shape[0]));
    bool planes = images.rank == 4;
    set->count = images.shape[0];
    set->geometry = (sow_geometry){.channels = planes ? images.shape[1] : 1, .height = images.shape[1 + planes], .width = images.shape[2 + planes]};
    set->inputs = SOW_TENSOR(images.data, SOW_U8, set->count, set->geometry.channels, set->geometry.height, set->geometry.width);
    SOW_TRY(SOW_NEW_RAW(set->arena, set->labels, set->count));
    for (int64_t i = 0; i < set->count; i++) {
        set->labels[i] = (int32_t)sow_at(labels, i);
        if (set->labels[i] >= set->geometry.classes) set->geometry.classes = set->labels[i] + 1;
    }
    return SOW_OK;
}

/* Reads one part if its images are there. */
static sow_status read_part(const char *folder, char *const *names, int64_t count, const char *part, sow_arena *scratch, sow_dataset **out) {
    const char *images = find_name(names, count, part, "images"), *labels = find_name(names, count, part, "labels");
    if (!images && !labels) return SOW_OK;
    if (!images || !labels)
        return sow_fail(SOW_E_NOT_FOUND, "%s: holds %s, but no %s for it", folder, images ? images : labels, images ? "labels" : "images");
    char *images_path = sow_path_join(scratch, folder, images), *labels_path = sow_path_join(scratch, folder, labels);
    if (!images_path || !labels_path) return SOW_E_MEMORY;
    SOW_TRY(sow_dataset_new(0, (sow_geometry){0}, SOW_U8, out));
    return fill_part(*out, images_path, labels_path);
}

static sow_status read_parts(const char *folder, sow_arena *scratch, sow_found *found) {
    char **names;
    int64_t count;
    SOW_TRY(sow_list_folder(scratch, folder, SOW_FOLDER_NAMES_MAX, &names, &count));
    SOW_TRY(read_part(folder, names, count, "train", scratch, &found->train));
    SOW_TRY(read_part(folder, names, count, "test", scratch, &found->test));
    if (found->train) return SOW_OK;
    return sow_fail(SOW_E_NOT_FOUND, "%s: no train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz)", folder);
}

sow_status sow_read_idx_folder(const char *folder, sow_found *found) {
    sow_arena *scratch;
    found->normalisation = SOW_NORMALISE_UNIT;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = read_parts(folder, scratch, found);
    sow_arena_free(scratch);
    return status;
}
