/* sow replay: makes a file again from its passport and compares. */
#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "formats/json.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/safetensors.h"
#include "sow/sow.h"

enum { WORDS_MAX = 1024 };
static const double tolerance = 1e-3; /* on another instruction set: of a tensor's largest magnitude */

typedef struct replay {
    sow_call *call; /* the replay's own */
    sow_arena *arena;
    const char *path, *folder; /* the file, and where it lies */
    json_t *passport;
    const sow_method *method;
    const sow_action *action;
    const char *words[WORDS_MAX];
    int count;
    bool external; /* a trainer that is no part of Sow: no bits are promised */
    const char *output, *remade;
} replay;

static const char *member(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* ---- the passport ---- */

static sow_status read_passport(replay *r) {
    static const sow_json_limits limits = {.depth = 64};
    sow_safetensors *file;
    SOW_TRY(sow_safetensors_open(r->path, &file));
    const char *text = sow_safetensors_metadata(file, "sow");
    sow_status status = text ? sow_json_parse(r->path, text, strlen(text), limits, &r->passport)
                             : sow_fail(SOW_E_FORMAT, "%s: has no passport: it was not made by sow", r->path);
    sow_safetensors_close(file);
    return status;
}

static sow_status find_action(replay *r) {
    const char *method = member(r->passport, "method"), *action = member(r->passport, "action");
    if (!method || !action || !json_is_object(json_object_get(r->passport, "options")))
        return sow_fail(SOW_E_FORMAT, "%s: its passport lacks method, action or options", r->path);
    for (const sow_method *const *m = cli_methods; *m; m++) {
        if (strcmp((*m)->name, method) != 0) continue;
        for (const sow_action *a = (*m)->actions; a->name; a++) {
            if (strcmp(a->name, action) != 0) continue;
            r->method = *m;
            r->action = a;
            return SOW_OK;
        }
    }
    return sow_fail(SOW_E_NOT_FOUND, "%s: made by '%s %s', which this version of sow does not have", r->path, method,
                    action);
}

static sow_status add_word(replay *r, const char *word) {
    if (!word) return SOW_E_MEMORY;
    if (r->count == WORDS_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: its passport has more than %d options", r->path, WORDS_MAX);
    r->words[r->count++] = word;
    return SOW_OK;
}

/* ---- inputs ---- */

/* The path that the user gave by the nth --input OPTION=PATH (from 0: lists have several), or NULL. */
static const char *given_input(const replay *r, const char *option, int nth) {
    size_t length = strlen(option);
    for (const char *const *item = sow_list(r->call, "input"); *item; item++)
        if (strncmp(*item, option, length) == 0 && (*item)[length] == '=' && nth-- == 0) return *item + length + 1;
    return NULL;
}

/* Where an input may lie: beside the file, beside its folder, in the working folder. */
static const char *candidate(const replay *r, const char *name, int which) {
    static const char *const where[] = {"%s%s", "%s../%s", "%.0s%s"};
    return sow_arena_format(r->arena, where[which], r->folder, name);
}

/* A data set's name, or a folder of which only some files count: its hash is checked when it has been read. */
static sow_status locate_values(const replay *r, const char *name, const char **path) {
    for (int which = 0; which < 3; which++) {
        if (!(*path = candidate(r, name, which))) return SOW_E_MEMORY;
        if (sow_path_exists(*path)) return SOW_OK;
    }
    *path = name;
    return SOW_OK;
}

static sow_status locate_file(const replay *r, const char *option, const char *name, const char *sha256,
                              const char **path) {
    char hex[65];
    const char *other = NULL;
    for (int which = 0; which < 3; which++) {
        if (!(*path = candidate(r, name, which))) return SOW_E_MEMORY;
        if (!sow_path_exists(*path)) continue;
        SOW_TRY(sow_hash_input(*path, hex));
        if (strcmp(hex, sha256) == 0) return SOW_OK;
        other = *path;
    }
    if (other)
        return sow_fail(
            SOW_E_NOT_FOUND,
            "%s is not the %s it was made from: found SHA-256 %.12s.., expected %.12s..; add --input %s=PATH", other,
            name, hex, sha256, option);
    return sow_fail(SOW_E_NOT_FOUND, "%s: its input %s was not found beside it; add --input %s=PATH", r->path, name,
                    option);
}

static sow_status locate(const replay *r, const char *option, int nth, const json_t *input, const char **path) {
    const char *name = member(input, "name"), *sha256 = member(input, "sha256");
    char hex[65];
    if (!name || !sha256)
        return sow_fail(SOW_E_FORMAT, "%s: its passport has an input without name or sha256", r->path);
    bool values = json_is_true(json_object_get(input, "values"));
    *path = given_input(r, option, nth);
    if (!*path) return values ? locate_values(r, name, path) : locate_file(r, option, name, sha256, path);
    if (values) return SOW_OK;
    SOW_TRY(sow_hash_input(*path, hex));
    if (strcmp(hex, sha256) == 0) return SOW_OK;
    return sow_fail(SOW_E_FORMAT, "--input %s: %s has SHA-256 %.12s.., expected %.12s..", option, *path, hex, sha256);
}

/* The nth input of an option, from 0. */
static const json_t *input_of(const replay *r, const char *option, int nth) {
    size_t i;
    const json_t *input;
    json_array_foreach(json_object_get(r->passport, "inputs"), i, input) {
        const char *name = member(input, "option");
        if (name && strcmp(name, option) == 0 && nth-- == 0) return input;
    }
    return NULL;
}

/* ---- the command ---- */

/* A trainer's command is never taken from the file: the user must give it. */
static sow_status add_trainer(replay *r, const char *option, const json_t *recorded) {
    const char *command = sow_text(r->call, "train"), *text = json_string_value(recorded);
    if (!command)
        return sow_fail(
            SOW_E_ARGUMENT,
            "%s was trained by another program: %s\nif you trust it, add --train 'COMMAND'; its bits need not come out the same",
            r->path, text ? text : "?");
    r->external = true;
    return add_word(r, sow_arena_format(r->arena, "--%s=%s", option, command));
}

static sow_status add_value(replay *r, const char *option, const json_t *value) {
    char number[SOW_REAL_TEXT];
    if (json_is_true(value)) return add_word(r, sow_arena_format(r->arena, "--%s", option));
    if (json_is_integer(value))
        return add_word(r, sow_arena_format(r->arena, "--%s=%" JSON_INTEGER_FORMAT, option, json_integer_value(value)));
    if (json_is_real(value))
        return add_word(r,
                        sow_arena_format(r->arena, "--%s=%s", option, sow_real_text(json_real_value(value), number)));
    if (json_is_string(value))
        return add_word(r, sow_arena_format(r->arena, "--%s=%s", option, json_string_value(value)));
    return sow_fail(SOW_E_FORMAT, "%s: its passport has an option %s of no known type", r->path, option);
}

/* A value, or the nth of a list: where it is an input, the path at which that lies now. */
static sow_status add_item(replay *r, const char *name, int nth, const json_t *value) {
    const json_t *input = input_of(r, name, nth);
    const char *path;
    if (!input) return add_value(r, name, value);
    SOW_TRY(locate(r, name, nth, input, &path));
    return add_word(r, sow_arena_format(r->arena, "--%s=%s", name, path));
}

static sow_status add_option(replay *r, const char *name, const json_t *value) {
    const sow_option *row = r->action->options;
    size_t i;
    const json_t *item;
    while (row->name && strcmp(row->name, name) != 0) row++;
    if (!row->name || row->type == SOW_TYPE_OUTPUT || row->bits & SOW_OPTION_NO_PASSPORT)
        return sow_fail(SOW_E_FORMAT, "%s: its passport has an option %s that `sow %s` does not take", r->path, name,
                        r->method->name);
    if (row->bits & SOW_OPTION_COMMAND) return add_trainer(r, name, value);
    if (row->type == SOW_TYPE_PATH && !input_of(r, name, 0))
        return sow_fail(SOW_E_FORMAT, "%s: its passport has no SHA-256 for %s", r->path, name);
    if (!json_is_array(value)) return add_item(r, name, 0, value);
    json_array_foreach(value, i, item) SOW_TRY(add_item(r, name, (int)i, item));
    return SOW_OK;
}

/* "a/b" stays inside its folder. */
static bool stays_inside(const char *file) {
    return file[0] != '/' && strcmp(file, "..") != 0 && strncmp(file, "../", 3) != 0 && !strstr(file, "/..");
}

/* Where the action shall write, and which of its files is to be compared. */
static sow_status choose_output(replay *r, const char *scratch) {
    const char *file = member(r->passport, "file"), *kept = sow_text(r->call, "out");
    if (file && !stays_inside(file))
        return sow_fail(SOW_E_FORMAT, "%s: its passport names the file '%s'", r->path, file);
    bool is_folder = file && file[0] != '.';
    r->output = kept ? kept : sow_path_join(r->arena, scratch, is_folder ? "out" : "out.safetensors");
    if (!r->output) return SOW_E_MEMORY;
    size_t stem = strlen(r->output);
    if (stem > 12 && strcmp(r->output + stem - 12, ".safetensors") == 0) stem -= 12;
    if (!file) r->remade = r->output;
    else if (is_folder) r->remade = sow_path_join(r->arena, r->output, file);
    else r->remade = sow_arena_format(r->arena, "%.*s%s", (int)stem, r->output, file);
    return r->remade ? SOW_OK : SOW_E_MEMORY;
}

static sow_status build_command(replay *r, const char *scratch) {
    const char *name;
    const json_t *value;
    if (cli_has_actions(r->method)) SOW_TRY(add_word(r, r->action->name));
    json_object_foreach(json_object_get(r->passport, "options"), name, value) SOW_TRY(add_option(r, name, value));
    const char *line = sow_arena_format(r->arena, "sow %s", r->method->name);
    for (int i = 0; i < r->count && line; i++) line = sow_arena_format(r->arena, "%s %s", line, r->words[i]);
    if (!line) return SOW_E_MEMORY;
    sow_note("remaking by: %s", line);
    SOW_TRY(choose_output(r, scratch));
    SOW_TRY(add_word(r, "--out"));
    return add_word(r, r->output);
}

static sow_status run_again(replay *r) {
    sow_call inner = {.arena = r->arena};
    sow_status status = cli_parse(&inner, r->method, r->count, r->words);
    inner.threads = r->call->threads;
    inner.quiet = r->call->quiet;
    if (!status) status = cli_run(&inner);
    json_decref(inner.result);
    return status ? sow_fail_in(status == SOW_E_ARGUMENT ? SOW_E_FORMAT : status, "remaking %s", r->path) : SOW_OK;
}

/* ---- comparison ---- */

typedef struct difference {
    int64_t tensors, elements; /* that differ */
    double largest;            /* relative to the largest magnitude of its tensor */
    const char *name;          /* where it is largest */
    bool shapes;               /* names, shapes or types differ */
} difference;

static void compare_values(sow_tensor a, sow_tensor b, const char *name, difference *d) {
    int64_t n = sow_count(a), differing = 0;
    double scale = 0, gap = 0;
    bool known = a.dtype != SOW_C64 && a.dtype != SOW_F8_E4M3 && a.dtype != SOW_F8_E5M2;
    if (!known) gap = INFINITY;
    for (int64_t i = 0; known && i < n; i++) {
        double x = sow_at(a, i), y = sow_at(b, i);
        if (isfinite(x)) scale = fmax(scale, fabs(x));
        if (memcmp(&x, &y, sizeof x) == 0) continue;
        differing++;
        gap = isfinite(x - y) ? fmax(gap, fabs(x - y)) : INFINITY;
    }
    double relative = gap > 0 ? gap / fmax(scale, 1e-30) : 0;
    d->tensors++;
    d->elements += differing;
    if (d->name && relative <= d->largest) return;
    d->largest = relative;
    d->name = name;
}

static void compare_tensors(const sow_safetensors *a, const sow_safetensors *b, difference *d) {
    d->shapes = sow_safetensors_count(a) != sow_safetensors_count(b);
    for (int64_t i = 0; i < sow_safetensors_count(a); i++) {
        const char *name;
        sow_tensor x = sow_safetensors_tensor(a, i, &name), y;
        if (sow_safetensors_find(b, name, &y) || x.dtype != y.dtype || !sow_same_shape(x, y)) d->shapes = true;
        else if (memcmp(x.data, y.data, sow_bytes(x)) != 0) compare_values(x, y, name, d);
    }
}

/* The remade file's passport names other inputs: the likeliest reason for other values. */
static sow_status note_inputs(replay *r, const sow_safetensors *remade) {
    static const sow_json_limits limits = {.depth = 64};
    const char *text = sow_safetensors_metadata(remade, "sow");
    json_t *other = NULL;
    size_t i;
    const json_t *input;
    if (!text) return SOW_OK;
    SOW_TRY(sow_json_parse(r->remade, text, strlen(text), limits, &other));
    const char *before = NULL;
    int nth = 0;
    json_array_foreach(json_object_get(other, "inputs"), i, input) {
        const char *option = member(input, "option"), *now = member(input, "sha256");
        nth = option && before && strcmp(option, before) == 0 ? nth + 1 : 0; /* items of a list stand together */
        before = option;
        const char *then = option ? member(input_of(r, option, nth), "sha256") : NULL;
        if (then && now && strcmp(then, now) != 0)
            sow_warn("%s: other contents than it was made from: SHA-256 %.12s.. then, %.12s.. now", option, then, now);
    }
    json_decref(other);
    return SOW_OK;
}

/* What the comparison means: fails where the same bits were due, or where values lie further apart than the tolerance. */
static sow_status judge(replay *r, const difference *d) {
    const char *isa = member(r->passport, "isa");
    bool same = !d->shapes && d->tensors == 0, other_isa = !isa || strcmp(isa, sow_instruction_set()) != 0;
    SOW_TRY(sow_put_flag(r->call->result, "same_bits", same));
    if (same) return SOW_OK;
    if (d->shapes) return sow_fail(SOW_E_SHAPE, "%s: made again it has other tensors", r->path);
    SOW_TRY(sow_put_count(r->call->result, "tensors_that_differ", d->tensors));
    SOW_TRY(sow_put_count(r->call->result, "elements_that_differ", d->elements));
    SOW_TRY(sow_put_json(r->call->result, "largest_difference",
                         isfinite(d->largest) ? json_real(d->largest) : json_string("infinite")));
    if (r->external) {
        sow_note("another program trained it, so the same bits were not promised");
        return SOW_OK;
    }
    if (!other_isa)
        return sow_fail(
            SOW_E_NUMBER,
            "%s: made again it differs in %lld values of %lld tensors, most in %s (%.3g of the largest value)", r->path,
            (long long)d->elements, (long long)d->tensors, d->name, d->largest);
    sow_note("made on %s, compared on %s with a tolerance of %g of each tensor's largest value", isa ? isa : "?",
             sow_instruction_set(), tolerance);
    if (d->largest <= tolerance) return SOW_OK;
    return sow_fail(SOW_E_NUMBER, "%s: made on %s; made again on %s it differs by %.3g of the largest value in %s",
                    r->path, isa ? isa : "?", sow_instruction_set(), d->largest, d->name);
}

static sow_status compare(replay *r) {
    sow_safetensors *original, *remade = NULL;
    difference d = {0};
    SOW_TRY(sow_safetensors_open(r->path, &original));
    sow_status status = sow_safetensors_open(r->remade, &remade);
    if (!status) {
        compare_tensors(original, remade, &d);
        status = note_inputs(r, remade);
    }
    if (!status) status = judge(r, &d);
    sow_safetensors_close(remade);
    sow_safetensors_close(original);
    return status;
}

/* ---- the verb ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static sow_status replay_in(replay *r, const char *scratch) {
    SOW_TRY(sow_put_text(r->call->result, "file", r->path));
    SOW_TRY(read_passport(r));
    SOW_TRY(find_action(r));
    SOW_TRY(build_command(r, scratch));
    SOW_TRY(run_again(r));
    SOW_TRY(compare(r));
    if (sow_text(r->call, "out")) return sow_wrote(r->call, r->remade);
    return SOW_OK;
}

static sow_status run_replay(sow_call *call) {
    replay r = {.call = call, .arena = call->arena, .path = sow_text(call, "file")};
    const char *temporary = getenv("TMPDIR");
    if (sow_text(call, "out")) SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    char *scratch = sow_arena_format(call->arena, "%s/sow-replay.XXXXXX", temporary && *temporary ? temporary : "/tmp");
    r.folder = sow_arena_format(call->arena, "%.*s", (int)(sow_path_name(r.path) - r.path), r.path);
    if (!scratch || !r.folder) return SOW_E_MEMORY;
    if (!mkdtemp(scratch)) return sow_fail(SOW_E_IO, "%s: no temporary folder could be made", scratch);
    sow_status status = replay_in(&r, scratch);
    json_decref(r.passport);
    nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

static const sow_option options[] = {
    SOW_OPTION_FILE("file", "a file that sow made"),
    SOW_OPTION_LIST("input", "OPTION=PATH: where an input lies that is not beside the file"),
    SOW_OPTION_TEXT("train", NULL,
                    "the trainer's command, where another program trained the file; it is never taken from the file"),
    SOW_OPTION_OUTPUT_OR("keep what was made again here"),
    {0},
};

static const sow_action actions[] = {
    {"replay", "make a file again from its passport and compare", options, run_replay,
     "sow replay ticket/ticket.safetensors", SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_verb_replay = {
    .name = "replay",
    .family = "commands",
    .summary = "make a file again from its passport and compare it bit by bit",
    .actions = actions,
};
