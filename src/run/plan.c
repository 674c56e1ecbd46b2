/* The identity of a plan, and where two plans part. */
#include "run/plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"

sow_status sow_plan_canonical(sow_arena *arena, const char *json, const char **canonical, char id[65]) {
    json_error_t error;
    errno = 0; /* jansson does not always say that memory was short */
    json_t *plan = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (!plan && errno == ENOMEM) return sow_fail(SOW_E_MEMORY, "plan: out of memory");
    if (!plan) return sow_fail(SOW_E_ARGUMENT, "plan: line %d: %s", error.line, error.text);
    bool object = json_is_object(plan);
    char *text = json_dumps(plan, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(plan);
    *canonical = text ? sow_arena_copy(arena, text) : NULL;
    free(text);
    if (!object) return sow_fail(SOW_E_ARGUMENT, "plan: expected a JSON object, found another value");
    if (!*canonical) return sow_fail(SOW_E_MEMORY, "plan: out of memory");
    sow_sha256(*canonical, strlen(*canonical), id);
    return SOW_OK;
}

/* The first member, by sorted name, in which two objects differ. */
static const char *differing_key(const json_t *a, const json_t *b) {
    const char *first = NULL, *key;
    json_t *value;
    const json_t *both[] = {a, b};
    for (int i = 0; i < 2; i++) json_object_foreach((json_t *)(uintptr_t)both[i], key, value) {
            if (json_equal(value, json_object_get(both[1 - i], key))) continue;
            if (!first || strcmp(key, first) < 0) first = key;
        }
    return first;
}

static size_t differing_index(const json_t *a, const json_t *b) {
    size_t i = 0;
    while (i < json_array_size(a) && json_equal(json_array_get(a, i), json_array_get(b, i))) i++;
    return i;
}

static void show(const json_t *value, char *text, size_t size) {
    char *dumped = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    snprintf(text, size, "%s", dumped ? dumped : "nothing");
    if (dumped && strlen(dumped) >= size) memcpy(text + size - 4, "...", 4);
    free(dumped);
}

/* Walks down both plans at once to the first difference. */
static void descend(const json_t **a, const json_t **b, char *place, size_t size) {
    size_t used = 0;
    place[0] = 0;
    for (;;) {
        int length = 0;
        if (used + 1 >= size) return;
        if (json_is_object(*a) && json_is_object(*b)) {
            const char *key = differing_key(*a, *b);
            if (!key) return;
            length = snprintf(place + used, size - used, "%s%s", used ? "." : "", key);
            *a = json_object_get(*a, key), *b = json_object_get(*b, key);
        } else if (json_is_array(*a) && json_is_array(*b)) {
            size_t index = differing_index(*a, *b);
            if (index == json_array_size(*a) && index == json_array_size(*b)) return;
            length = snprintf(place + used, size - used, "[%zu]", index);
            *a = json_array_get(*a, index), *b = json_array_get(*b, index);
        } else return;
        used += (size_t)length;
    }
}

sow_status sow_plan_difference(const char *path, const char *found, const char *expected) {
    json_t *theirs = json_loads(found, 0, NULL), *ours = json_loads(expected, 0, NULL);
    const json_t *a = theirs, *b = ours;
    char place[512], found_text[256], expected_text[256];
    descend(&a, &b, place, sizeof place);
    show(a, found_text, sizeof found_text);
    show(b, expected_text, sizeof expected_text);
    json_decref(theirs);
    json_decref(ours);
    return sow_fail(SOW_E_EXISTS, "%s: belongs to another plan: %s: found %s, expected %s; use another folder", path,
                    *place ? place : "plan", found_text, expected_text);
}
