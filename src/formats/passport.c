/* Passports: what determined the values of a file, as sorted JSON. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/method.h"
#include "sow/safetensors.h"
#include "sow/sow.h"

enum {
    FOLDER_FILES_MAX = 100000,
    FOLDER_DEPTH_MAX = 16,
    GRANDPARENTS_MAX = 16384 /* bytes of a parent that keeps its parents */
};

/* The hash of an input, kept so that a call that writes many files reads its inputs once. */
struct sow_hashed {
    const char *path;
    char sha256[65];
    struct sow_hashed *next;
};

static sow_status no_memory(void) {
    return sow_fail(SOW_E_MEMORY, "out of memory");
}

/* ---- hashes of inputs ---- */

/* A folder's files, by a stack of the folders still to be listed. */
typedef struct walk {
    sow_arena *arena;
    const char **folders; /* relative to the root; "" is the root */
    int *depths;
    int64_t waiting, files;
} walk;

/* Hashes one folder level into `lines`: "path SHA-256" of each file, in bytewise order; folders found go on the stack. */
static sow_status hash_level(walk *w, const char *root, json_t *lines) {
    const char *below = w->folders[--w->waiting];
    int depth = w->depths[w->waiting];
    const char *folder = *below ? sow_path_join(w->arena, root, below) : root;
    char **names, hex[65];
    int64_t count;
    if (!folder) return SOW_E_MEMORY;
    SOW_TRY(sow_list_folder(w->arena, folder, FOLDER_FILES_MAX, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        if (names[i][0] == '.') continue;
        char *path = sow_path_join(w->arena, folder, names[i]);
        char *relative = *below ? sow_path_join(w->arena, below, names[i]) : names[i];
        if (!path || !relative) return SOW_E_MEMORY;
        if (++w->files > FOLDER_FILES_MAX)
            return sow_fail(SOW_E_RANGE, "%s: more than %d files", root, FOLDER_FILES_MAX);
        if (sow_is_folder(path)) {
            if (depth == FOLDER_DEPTH_MAX)
                return sow_fail(SOW_E_RANGE, "%s: nested more than %d deep", path, FOLDER_DEPTH_MAX);
            w->folders[w->waiting] = relative;
            w->depths[w->waiting++] = depth + 1;
            continue;
        }
        SOW_TRY(sow_sha256_file(path, hex));
        if (json_object_set_new(lines, relative, json_string(hex))) return no_memory();
    }
    return SOW_OK;
}

/* A folder's hash is that of the sorted object {path: SHA-256} of its files, hidden ones left out. */
static sow_status hash_folder(const char *root, char hex[65]) {
    walk w = {0};
    char *text;
    SOW_TRY(sow_arena_new(&w.arena));
    json_t *lines = json_object();
    sow_status status = lines ? SOW_OK : no_memory();
    if (!status) status = SOW_NEW(w.arena, w.folders, FOLDER_FILES_MAX + 1);
    if (!status) status = SOW_NEW(w.arena, w.depths, FOLDER_FILES_MAX + 1);
    if (!status) w.folders[w.waiting++] = "";
    while (!status && w.waiting > 0) status = hash_level(&w, root, lines);
    if (!status) status = sow_json_text(w.arena, lines, SOW_JSON_SORTED, &text);
    if (!status) sow_sha256(text, strlen(text), hex);
    json_decref(lines);
    sow_arena_free(w.arena);
    return status;
}

sow_status sow_hash_input(const char *path, char hex[65]) {
    return sow_is_folder(path) ? hash_folder(path, hex) : sow_sha256_file(path, hex);
}

/* `call` is const for its users; the hashes kept are a cache. */
static sow_status hash_once(const sow_call *call, const char *path, char hex[65]) {
    for (const struct sow_hashed *h = call->hashed; h; h = h->next) {
        if (strcmp(h->path, path) != 0) continue;
        memcpy(hex, h->sha256, sizeof h->sha256);
        return SOW_OK;
    }
    struct sow_hashed *fresh;
    SOW_TRY(SOW_NEW(call->arena, fresh, 1));
    SOW_TRY(sow_hash_input(path, fresh->sha256));
    fresh->path = path;
    fresh->next = call->hashed;
    ((sow_call *)call)->hashed = fresh;
    memcpy(hex, fresh->sha256, sizeof fresh->sha256);
    return SOW_OK;
}

/* The last component of a path, without slashes behind it; of "." and "..", the folder's own name. */
static sow_status base_name(sow_arena *arena, const char *path, char **name) {
    char resolved[PATH_MAX];
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    char *trimmed = sow_arena_format(arena, "%.*s", (int)length, path);
    if (!trimmed) return SOW_E_MEMORY;
    *name = (char *)sow_path_name(trimmed);
    bool is_dots = strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0;
    if (is_dots && realpath(path, resolved)) *name = sow_arena_copy(arena, sow_path_name(resolved));
    return *name ? SOW_OK : SOW_E_MEMORY;
}

/* ---- parts of the passport ---- */

/* The extra input number `nth` of an option, from 0; NULL if there are fewer. */
sow_input sow_input_of(const char *option, const char *name, const char sha256[65]) {
    sow_input input = {.option = option, .name = name};
    memcpy(input.sha256, sha256, sizeof input.sha256);
    return input;
}

static const sow_input *find_extra(const sow_input *extra, int count, const char *option, int nth) {
    for (int i = 0; i < count; i++)
        if (strcmp(extra[i].option, option) == 0 && nth-- == 0) return &extra[i];
    return NULL;
}

/* A list as typed; where its items are inputs, by their names. */
static sow_status list_value(const sow_call *call, int i, const sow_input *extra, int count, json_t **value) {
    if (!call->lists[i]) return SOW_OK;
    if (!(*value = json_array())) return no_memory();
    for (int k = 0; call->lists[i][k]; k++) {
        const sow_input *input = find_extra(extra, count, call->action->options[i].name, k);
        if (json_array_append_new(*value, json_string(input ? input->name : call->lists[i][k]))) return no_memory();
    }
    return SOW_OK;
}

/* The value of option row i as JSON; NULL where it is absent or a flag that is off. */
static sow_status option_value(const sow_call *call, int i, const sow_input *extra, json_t **value) {
    const sow_option *option = &call->action->options[i];
    const char *text = call->values[i];
    char *name;
    *value = NULL;
    if (!text) return SOW_OK;
    if (extra) {
        *value = json_string(extra->name);
    } else if (option->type == SOW_TYPE_PATH) {
        SOW_TRY(base_name(call->arena, text, &name));
        *value = json_string(name);
    } else if (option->type == SOW_TYPE_INT) {
        *value = json_integer(strtoll(text, NULL, 10));
    } else if (option->type == SOW_TYPE_REAL) {
        *value = json_real(strtod(text, NULL));
    } else if (option->type == SOW_TYPE_FLAG) {
        *value = json_true();
    } else {
        *value = json_string(text);
    }
    return *value ? SOW_OK : sow_fail(SOW_E_FORMAT, "--%s: not UTF-8", option->name);
}

static sow_status add_options(const sow_call *call, const sow_input *extra, int count, json_t *passport) {
    json_t *options = json_object(), *value;
    if (json_object_set_new(passport, "options", options)) return no_memory();
    for (int i = 0; call->action->options[i].name; i++) {
        const sow_option *option = &call->action->options[i];
        if (option->bits & SOW_OPTION_NO_PASSPORT || option->type == SOW_TYPE_OUTPUT) continue;
        value = NULL;
        sow_status status = option->type == SOW_TYPE_LIST
                                ? list_value(call, i, extra, count, &value)
                                : option_value(call, i, find_extra(extra, count, option->name, 0), &value);
        if (status) {
            json_decref(value);
            return status;
        }
        if (value && json_object_set_new(options, option->name, value)) return no_memory();
    }
    return SOW_OK;
}

/* The passport in a safetensors file, as an object; *out NULL where there is none. */
static sow_status read_passport(const char *path, json_t **out) {
    static const sow_json_limits limits = {.depth = 64};
    sow_safetensors *file;
    *out = NULL;
    size_t length = strlen(path);
    if (length < 12 || strcmp(path + length - 12, ".safetensors") != 0) return SOW_OK;
    SOW_TRY(sow_safetensors_open(path, &file));
    const char *text = sow_safetensors_metadata(file, "sow");
    if (text && (sow_json_parse(path, text, strlen(text), limits, out) || !json_is_object(*out))) {
        json_decref(*out); /* another program's: no parent of ours */
        *out = NULL;
    }
    if (*out && strlen(text) > GRANDPARENTS_MAX) json_object_del(*out, "parents");
    sow_safetensors_close(file);
    return SOW_OK;
}

static sow_status add_input(json_t *inputs, const char *option, const char *name, const char *sha256, bool of_values) {
    json_t *input = json_pack("{s:s,s:s,s:s}", "option", option, "name", name, "sha256", sha256);
    if (!input) return sow_fail(SOW_E_FORMAT, "--%s: the name is not UTF-8", option);
    if (of_values && json_object_set_new(input, "values", json_true())) {
        json_decref(input);
        return no_memory();
    }
    return json_array_append_new(inputs, input) ? no_memory() : SOW_OK;
}

static sow_status add_inputs(const sow_call *call, const sow_input *extra, int count, json_t *passport) {
    json_t *inputs = json_array(), *parents = json_array(), *parent;
    char hex[65], *name;
    if (json_object_set_new(passport, "inputs", inputs) | json_object_set_new(passport, "parents", parents))
        return no_memory();
    for (int i = 0; call->action->options[i].name; i++) {
        const sow_option *option = &call->action->options[i];
        const char *path = call->values[i];
        bool counts = option->type == SOW_TYPE_PATH && path && !(option->bits & SOW_OPTION_NO_PASSPORT);
        if (!counts || find_extra(extra, count, option->name, 0)) continue;
        SOW_TRY(hash_once(call, path, hex));
        SOW_TRY(base_name(call->arena, path, &name));
        SOW_TRY(add_input(inputs, option->name, name, hex, false));
        SOW_TRY(read_passport(path, &parent));
        if (parent && json_array_append_new(parents, parent)) return no_memory();
    }
    for (int i = 0; i < count; i++) SOW_TRY(add_input(inputs, extra[i].option, extra[i].name, extra[i].sha256, true));
    return SOW_OK;
}

static sow_status fill(const sow_call *call, const char *file, const sow_input *extra, int count, json_t *passport,
                       const char **out) {
    char *text;
    if (json_object_set_new(passport, "sow", json_string(SOW_VERSION)) ||
        json_object_set_new(passport, "method", json_string(call->method->name)) ||
        json_object_set_new(passport, "action", json_string(call->action->name)) ||
        (file && json_object_set_new(passport, "file", json_string(file))) ||
        json_object_set_new(passport, "isa", json_string(sow_instruction_set())))
        return no_memory();
    SOW_TRY(add_options(call, extra, count, passport));
    SOW_TRY(add_inputs(call, extra, count, passport));
    SOW_TRY(sow_json_text(call->arena, passport, SOW_JSON_SORTED, &text));
    *out = text;
    return SOW_OK;
}

sow_status sow_passport(const sow_call *call, const char *file, const sow_input *extra, int count, const char **out) {
    json_t *passport = json_object();
    sow_status status = passport ? fill(call, file, extra, count, passport, out) : no_memory();
    json_decref(passport);
    return status;
}
