/* One reader a format: files in, data sets out. */
#ifndef SOW_DATA_READERS_H
#define SOW_DATA_READERS_H

#include "sow/data.h"

/* What a reader found. Data sets belong to the caller, after failures too. */
typedef struct sow_found {
    sow_dataset *train, *test;       /* test NULL: the format has none */
    sow_normalisation normalisation; /* the format's default */
    int64_t validation;              /* the source's own default, -1: none of its own */
} sow_found;

/* `classes`, if not NULL, is a set whose class names (or numbers) the labels must have: the training part of a test part
 * that was named apart. Errors name file and place. */
sow_status sow_read_idx_folder(const char *folder, sow_found *found);
sow_status sow_read_cifar_folder(const char *folder, sow_found *found);
sow_status sow_read_image_folder(const char *folder, const sow_dataset *classes, sow_found *found);
sow_status sow_read_npy_pair(const char *paths, sow_found *found);
sow_status sow_read_csv(const char *path, const char *label, const sow_dataset *classes, sow_found *found);
/* Card 07's toy task: 4,000 examples for training and validation, 4,000 for the test. */
sow_status sow_make_relmlp(uint64_t seed, sow_found *found);

/* Whether a folder's names are those of the format. */
bool sow_is_idx_folder(char *const *names, int64_t count);
bool sow_is_cifar_folder(char *const *names, int64_t count);

/* An empty data set of its own arena: inputs [count, C, H, W] and labels, not filled. Sizes are checked. */
sow_status sow_dataset_new(int64_t count, sow_geometry geometry, sow_dtype dtype, sow_dataset **out);

enum { SOW_FOLDER_NAMES_MAX = 10000000, SOW_CLASSES_MAX = 1000000 };

#endif
