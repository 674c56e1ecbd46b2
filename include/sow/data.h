/* Data sets of labelled examples, their splits, and batches that depend on (seed, epoch, index) alone. */
#ifndef SOW_DATA_H
#define SOW_DATA_H

#include "sow/random.h"
#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What goes in and comes out of an image or table classifier. */
typedef struct sow_geometry {
    int64_t channels, height, width; /* a table of f features is f x 1 x 1 */
    int64_t classes;
} sow_geometry;

/* "3x32x32" and a number of classes (0: not given) into a geometry; text NULL: zeros. SOW_E_ARGUMENT. */
sow_status sow_geometry_parse(const char *text, int64_t classes, sow_geometry *out);

/* Examples with class labels; owns its memory. */
typedef struct sow_dataset {
    sow_arena *arena;
    int64_t count;
    sow_geometry geometry;
    sow_tensor inputs;        /* [count, C, H, W]: U8 row-major for images, F32 for tables and npy */
    int32_t *labels;          /* 0..classes-1 */
    const char **class_names; /* or NULL */
} sow_dataset;
/* Frees the set and its memory; NULL is allowed. */
void sow_dataset_free(sow_dataset *set);

/* How stored values become network inputs. */
typedef enum sow_normalisation {
    SOW_NORMALISE_UNIT,     /* pixels / 255; tables unchanged: the default of IDX and table data */
    SOW_NORMALISE_CHANNEL,  /* (pixels/255 - mean) / sd per channel, measured on the training part: default of CIFAR and ImageFolder */
    SOW_NORMALISE_ROW,      /* each example divided by its own L2 norm (Frankle's code) */
    SOW_NORMALISE_NONE,
} sow_normalisation;

typedef struct sow_data_options {
    const char *test;       /* where the test part lies, NULL: as the format has it, else a tenth is split off */
    int64_t limit;          /* use at most this many training examples (a random subset keyed by data_seed); 0: all */
    int64_t validation;     /* examples split off for validation; -1: 5,000 or a tenth, whichever is less (relmlp: 1,000) */
    uint64_t data_seed;     /* keys subset and split */
    const char *label;      /* CSV: label column, NULL: "label", "class", "target" or the last */
    const char *normalisation; /* "unit", "channel", "row", "none"; NULL: the format's default */
} sow_data_options;

/* Training, validation and test parts: numbers of examples of a data set, in rising order. */
typedef struct sow_part {
    const sow_dataset *set;
    int64_t count;
    int64_t *index;
} sow_part;

typedef struct sow_data {
    sow_arena *arena;
    char *name;             /* as given: "fashion-mnist", "photos" (never an absolute path) */
    sow_dataset *train_set, *test_set; /* test_set NULL: the test part is of train_set */
    sow_part train, validation, test;
    sow_geometry geometry;
    sow_normalisation normalisation;
    float mean[16], sd[16]; /* per channel, of unit pixels; 0 and 1 unless SOW_NORMALISE_CHANNEL */
    char sha256[65];        /* of all values and labels used, for the passport */
} sow_data;

/* Opens NAME-OR-PATH: "fashion-mnist", "mnist" (packages or the cache of `sow fetch`), "synthetic:relmlp[:SEED]"
 * (card 07's toy task), a folder of IDX files (plain or gzip), of CIFAR-10/100 binary batches, an ImageFolder
 * (train/ and test/ or val/ below it, or classes directly) of PNG or JPEG, a pair "x.npy,y.npy", or a CSV with a
 * label column. Errors name file and place. Cost: reads all of it. */
sow_status sow_data_open(const char *name, const sow_data_options *options, sow_data **out);
/* Frees the data and both its sets; NULL is allowed. */
void sow_data_free(sow_data *data);
/* Where known data sets may lie: $SOW_DATA, the cache, the system's package folders. Path in the arena, or
 * SOW_E_NOT_FOUND saying how to get it. */
sow_status sow_data_locate(sow_arena *arena, const char *name, char **folder);

typedef enum sow_augmentation { SOW_AUGMENT_NONE = 0, SOW_AUGMENT_FLIP = 1, SOW_AUGMENT_CROP = 2 } sow_augmentation; /* bits */

/* Batches of a part. Order: a fresh permutation each epoch from stream ("shuffle", epoch) of `seed`; the last
 * short batch of an epoch is dropped in training and kept in evaluation. Augmentation of example i in epoch e is a
 * function of (seed, e, i): crop after padding by 4 pixels of value 0 (before normalisation), then horizontal flip with
 * probability 1/2. In steady state nothing is allocated. */
typedef struct sow_batches sow_batches;
/* Batches of `part`; it must outlive them. SOW_E_RANGE, SOW_E_MEMORY. */
sow_status sow_batches_new(const sow_data *data, const sow_part *part, int64_t batch, uint64_t seed, bool shuffle,
                           unsigned augmentation, sow_batches **out);
/* NULL is allowed. */
void sow_batches_free(sow_batches *batches);
/* Batches a pass over the part has (training: the short last one is dropped). */
int64_t sow_batches_per_epoch(const sow_batches *batches);
/* Batch number `b` (0-based, over all epochs): inputs F32 [n, C, H, W] (channels-last memory when C > 1), labels I32
 * [n]. The tensors are valid until the next call. Random access: a resumed run sees the same batches. */
sow_status sow_batches_at(sow_batches *batches, int64_t b, sow_tensor *inputs, sow_tensor *labels);

#ifdef __cplusplus
}
#endif
#endif
