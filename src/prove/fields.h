/* Reading the members of a JSON object that people wrote: types, ranges, unknown keys, each with its place. */
#ifndef SOW_PROVE_FIELDS_H
#define SOW_PROVE_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

/* An object and where it stands; `object` NULL: absent, every member has its default. */
typedef struct fields {
    sow_arena *arena;
    const char *path, *place; /* "plan.json", "seeds"; place "" at the top */
    const json_t *object;
} fields;

/* All of these fail with SOW_E_ARGUMENT "PATH: PLACE: found X, expected Y" and leave *out alone where the key is absent. */
sow_status fields_open(const fields *parent, const char *key, const char *const *known, fields *out);
sow_status fields_check_keys(const fields *f, const char *const *known);
sow_status fields_int(const fields *f, const char *key, int64_t low, int64_t high, int64_t *out);
/* `low` and `high` are allowed unless `open`. */
sow_status fields_real(const fields *f, const char *key, double low, double high, bool open, double *out);
sow_status fields_text(const fields *f, const char *key, const char **out);
sow_status fields_bool(const fields *f, const char *key, bool *out);
/* The index of the word among `words`, which end with NULL. */
sow_status fields_choice(const fields *f, const char *key, const char *const *words, int *out);
/* A NULL-terminated list of texts (numbers are taken as texts). */
sow_status fields_texts(const fields *f, const char *key, int most, const char *const **out);
/* A value that may be typed as text, number or true/false, as text. */
sow_status fields_as_text(const fields *f, const char *key, const json_t *value, const char **out);

/* "seeds.max" of "seeds" and "max"; NULL when memory is short. */
const char *fields_place(const fields *f, const char *key);
/* Fails for the member `key`; `value` NULL: it is missing. */
sow_status fields_wrong(const fields *f, const char *key, const json_t *value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
const json_t *fields_get(const fields *f, const char *key);

#endif
