/* Command lines by option table: words in, checked values out. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/method.h"
#include "sow/text.h"

enum { SEEDS_MAX = 100000, NAMES_MAX = 128 };

const sow_option sow_common_options[] = {
    {"threads", 0, SOW_TYPE_INT, "0", 0, 1024, NULL, NULL, "threads to compute with; 0 means one per core",
     SOW_OPTION_NO_PASSPORT},
    {"json", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "print the result as one JSON object", SOW_OPTION_NO_PASSPORT},
    {"quiet", 'q', SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "no progress and no notes on stderr", SOW_OPTION_NO_PASSPORT},
    {"help", 'h', SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "show the options and stop", SOW_OPTION_NO_PASSPORT},
    {0},
};

/* ---- values ---- */

/* Reads "1:5,9"; with `seeds` NULL it only checks and counts. */
static sow_status read_seeds(const char *text, uint64_t *seeds, int *count) {
    static const char expected[] = "seeds like 1:5,9";
    const char *at = text;
    *count = 0;
    for (;;) {
        uint64_t ends[2];
        for (int k = 0; k < 2; k++) {
            char *behind;
            errno = 0;
            if (*at < '0' || *at > '9') return sow_fail(SOW_E_ARGUMENT, "found '%s', expected %s", text, expected);
            ends[k] = strtoull(at, &behind, 10);
            if (errno || ends[k] > UINT64_C(9007199254740991))
                return sow_fail(SOW_E_ARGUMENT, "found '%s', expected seeds below 2^53", text);
            at = behind;
            if (k == 0 && *at != ':') {
                ends[1] = ends[0];
                break;
            }
            if (k == 0) at++;
        }
        if (ends[1] < ends[0]) return sow_fail(SOW_E_ARGUMENT, "found '%s', expected ranges from low to high", text);
        if (ends[1] - ends[0] >= (uint64_t)(SEEDS_MAX - *count))
            return sow_fail(SOW_E_ARGUMENT, "found '%s', expected at most %d seeds", text, SEEDS_MAX);
        for (uint64_t s = ends[0]; s <= ends[1]; s++, ++*count)
            if (seeds) seeds[*count] = s;
        if (*at == 0) return SOW_OK;
        if (*at++ != ',') return sow_fail(SOW_E_ARGUMENT, "found '%s', expected %s", text, expected);
    }
}

sow_status sow_seeds_parse(sow_arena *arena, const char *text, uint64_t **seeds, int *count) {
    SOW_TRY(read_seeds(text, NULL, count));
    SOW_TRY(SOW_NEW(arena, *seeds, *count));
    return read_seeds(text, *seeds, count);
}

/* "an integer from 1 to 4096", or what else the row allows. */
static const char *range_text(const sow_option *option, char text[128]) {
    const char *kind = option->type == SOW_TYPE_INT ? "an integer" : "a number";
    int digits = option->type == SOW_TYPE_INT ? 16 : 6;
    if (option->low == option->high) snprintf(text, 128, "%s", kind);
    else if (isinf(option->high)) snprintf(text, 128, "%s of at least %.*g", kind, digits, option->low);
    else snprintf(text, 128, "%s from %.*g to %.*g", kind, digits, option->low, digits, option->high);
    return text;
}

static sow_status check_number(const sow_option *option, const char *text) {
    char *behind, expected[128];
    double value;
    errno = 0;
    if (option->type == SOW_TYPE_INT) value = (double)strtoll(text, &behind, 10);
    else value = strtod(text, &behind);
    bool inside = option->low == option->high || (value >= option->low && value <= option->high);
    if (behind == text || *behind || (errno == ERANGE && fabs(value) > 1) || !isfinite(value) || !inside)
        return sow_fail(SOW_E_ARGUMENT, "found '%s', expected %s", text, range_text(option, expected));
    return SOW_OK;
}

static sow_status check_choice(const sow_option *option, const char *text) {
    char words[1024], listed[1024];
    const char *names[NAMES_MAX];
    int count = 0;
    size_t length = 0;
    snprintf(words, sizeof words, "%s", option->choices);
    listed[0] = 0;
    for (char *rest = words, *word; (word = strsep(&rest, "|")) && count < NAMES_MAX; count++) {
        if (strcmp(word, text) == 0) return SOW_OK;
        names[count] = word;
        int more = snprintf(listed + length, sizeof listed - length, "%s%s", count ? ", " : "", word);
        length += length + (size_t)more < sizeof listed ? (size_t)more : 0;
    }
    const char *near = sow_nearest(text, names, count);
    if (near) return sow_fail(SOW_E_ARGUMENT, "found '%s', expected one of %s; did you mean %s?", text, listed, near);
    return sow_fail(SOW_E_ARGUMENT, "found '%s', expected one of %s", text, listed);
}

static sow_status check_value(const sow_option *option, const char *text) {
    int count;
    switch (option->type) {
    case SOW_TYPE_INT:
    case SOW_TYPE_REAL: return check_number(option, text);
    case SOW_TYPE_CHOICE: return check_choice(option, text);
    case SOW_TYPE_SEEDS: return read_seeds(text, NULL, &count);
    case SOW_TYPE_PATH:
    case SOW_TYPE_OUTPUT: return *text ? SOW_OK : sow_fail(SOW_E_ARGUMENT, "found an empty path");
    case SOW_TYPE_FLAG:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) return SOW_OK;
        return sow_fail(SOW_E_ARGUMENT, "found '%s', expected nothing, true or false", text);
    case SOW_TYPE_TEXT:
    case SOW_TYPE_LIST: return SOW_OK;
    }
    return SOW_OK;
}

/* ---- words ---- */

typedef struct reader {
    sow_call *call;
    const char *const *words;
    int count, next;
    bool ended; /* "--" was seen */
} reader;

static int option_count(const sow_option *table) {
    int n = 0;
    while (table[n].name) n++;
    return n;
}

/* The row called by `name` (its length given) or by `letter`; NULL if there is none. */
static const sow_option *find(const sow_option *table, const char *name, size_t length, char letter) {
    for (; table->name; table++) {
        if (letter && table->letter == letter) return table;
        if (!letter && strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
    }
    return NULL;
}

static sow_status unknown(const reader *line, const char *word, size_t length) {
    const char *names[NAMES_MAX];
    int count = 0;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    const sow_option *tables[] = {line->call->action->options, sow_common_options};
    for (int k = 0; k < 2; k++)
        for (const sow_option *row = tables[k]; row->name && count < NAMES_MAX; row++) names[count++] = row->name;
    const char *near = sow_nearest(name, names, count);
    if (near) return sow_fail(SOW_E_ARGUMENT, "unknown option --%s; did you mean --%s?", name, near);
    return sow_fail(SOW_E_ARGUMENT, "unknown option --%s; --help lists them", name);
}

static void keep_common(sow_call *call, const sow_option *option, const char *value) {
    bool on = strcmp(value, "true") == 0;
    if (strcmp(option->name, "threads") == 0) call->threads = (int)strtol(value, NULL, 10);
    if (strcmp(option->name, "json") == 0) call->json = on;
    if (strcmp(option->name, "quiet") == 0) call->quiet = on;
    if (strcmp(option->name, "help") == 0) call->help = on;
}

/* Appends to a NULL-terminated list. Lists are short: copying each time is simplest. */
static sow_status append(sow_arena *arena, const char ***list, const char *value) {
    int n = 0;
    while (*list && (*list)[n]) n++;
    const char **longer;
    SOW_TRY(SOW_NEW(arena, longer, n + 2));
    for (int i = 0; i < n; i++) longer[i] = (*list)[i];
    longer[n] = value;
    *list = longer;
    return SOW_OK;
}

static sow_status keep(sow_call *call, const sow_option *option, const char *value) {
    sow_status status = check_value(option, value);
    if (status) return sow_fail_in(status, "--%s", option->name);
    const sow_option *own = call->action->options;
    if (option < own || option >= own + option_count(own)) {
        keep_common(call, option, value);
        return SOW_OK;
    }
    int i = (int)(option - own);
    if (call->given[i] && option->type != SOW_TYPE_LIST)
        return sow_fail(SOW_E_ARGUMENT, "--%s is given twice", option->name);
    call->given[i] = true;
    if (option->type == SOW_TYPE_LIST) return append(call->arena, &call->lists[i], value);
    call->values[i] = option->type == SOW_TYPE_FLAG && strcmp(value, "false") == 0 ? NULL : value;
    return SOW_OK;
}

/* The value of an option: behind its '=', or the next word; a flag's is "true". */
static sow_status value_of(reader *line, const sow_option *option, const char *attached, const char **value) {
    *value = attached ? attached : "true";
    if (attached || option->type == SOW_TYPE_FLAG) return SOW_OK;
    const char *next = line->next < line->count ? line->words[line->next] : NULL;
    if (!next) return sow_fail(SOW_E_ARGUMENT, "--%s needs a value: %s", option->name, option->help);
    if (strncmp(next, "--", 2) == 0)
        return sow_fail(SOW_E_ARGUMENT, "--%s needs a value, found %s (write --%s=%s if that is meant)", option->name,
                        next, option->name, next);
    *value = next;
    line->next++;
    return SOW_OK;
}

static sow_status take_option(reader *line, const char *word) {
    const sow_option *own = line->call->action->options, *option;
    const char *name = word + 2, *attached = NULL, *value;
    if (word[1] == '-') {
        const char *equals = strchr(name, '=');
        size_t length = equals ? (size_t)(equals - name) : strlen(name);
        option = find(own, name, length, 0);
        if (!option) option = find(sow_common_options, name, length, 0);
        if (!option) return unknown(line, name, length);
        if (equals) attached = equals + 1;
    } else {
        option = find(own, NULL, 0, word[1]);
        if (!option) option = find(sow_common_options, NULL, 0, word[1]);
        if (!option) return sow_fail(SOW_E_ARGUMENT, "unknown option %s; --help lists them", word);
        if (word[2]) attached = word + 2 + (word[2] == '=');
    }
    SOW_TRY(value_of(line, option, attached, &value));
    return keep(line->call, option, value);
}

static sow_status take_argument(reader *line, const char *word) {
    const sow_call *call = line->call;
    for (int i = 0; call->action->options[i].name; i++) {
        const sow_option *option = &call->action->options[i];
        if (!(option->bits & SOW_OPTION_POSITIONAL) || (call->given[i] && option->type != SOW_TYPE_LIST)) continue;
        return keep(line->call, option, word);
    }
    return sow_fail(SOW_E_ARGUMENT, "unexpected argument '%s'", word);
}

static sow_status finish(sow_call *call) {
    const sow_option *missing = NULL;
    for (int i = 0; call->action->options[i].name; i++) {
        const sow_option *option = &call->action->options[i];
        if (option->initial && !call->given[i]) {
            sow_status status = check_value(option, option->initial);
            if (status) return sow_fail_in(status, "default of --%s", option->name);
            call->values[i] = option->initial;
        }
        if ((option->bits & SOW_OPTION_REQUIRED) && !call->given[i] && !missing) missing = option;
    }
    if (!missing || call->help) return SOW_OK;
    if (missing->bits & SOW_OPTION_POSITIONAL) return sow_fail(SOW_E_ARGUMENT, "missing argument: %s", missing->help);
    if (missing->letter)
        return sow_fail(SOW_E_ARGUMENT, "missing -%c (--%s): %s", missing->letter, missing->name, missing->help);
    return sow_fail(SOW_E_ARGUMENT, "missing --%s: %s", missing->name, missing->help);
}

sow_status sow_parse(sow_call *call, int count, const char *const *words) {
    reader line = {.call = call, .words = words, .count = count};
    int options = option_count(call->action->options);
    SOW_TRY(SOW_NEW(call->arena, call->values, options));
    SOW_TRY(SOW_NEW(call->arena, call->lists, options));
    SOW_TRY(SOW_NEW(call->arena, call->given, options));
    while (line.next < count) {
        const char *word = words[line.next++];
        if (!line.ended && strcmp(word, "--") == 0) line.ended = true;
        else if (!line.ended && word[0] == '-' && word[1]) SOW_TRY(take_option(&line, word));
        else SOW_TRY(take_argument(&line, word));
    }
    return finish(call);
}

/* ---- what actions ask ---- */

static int index_of(const sow_call *call, const char *name) {
    const sow_option *table = call->action->options, *row = find(table, name, strlen(name), 0);
    if (!row) abort(); /* the action's code asks for an option that its table lacks */
    return (int)(row - table);
}

bool sow_given(const sow_call *call, const char *option) {
    return call->given[index_of(call, option)];
}

bool sow_flag(const sow_call *call, const char *option) {
    return call->values[index_of(call, option)] != NULL;
}

int64_t sow_int(const sow_call *call, const char *option) {
    const char *text = call->values[index_of(call, option)];
    return text ? strtoll(text, NULL, 10) : 0;
}

double sow_real(const sow_call *call, const char *option) {
    const char *text = call->values[index_of(call, option)];
    return text ? strtod(text, NULL) : 0;
}

const char *sow_text(const sow_call *call, const char *option) {
    return call->values[index_of(call, option)];
}

void sow_resolve(sow_call *call, const char *option, const char *value) {
    int i = index_of(call, option);
    if (!call->given[i]) call->values[i] = value;
}

const char *const *sow_list(const sow_call *call, const char *option) {
    static const char *const none[] = {NULL};
    const char **list = call->lists[index_of(call, option)];
    return list ? (const char *const *)list : none;
}

sow_status sow_seeds(const sow_call *call, const char *option, uint64_t **seeds, int *count) {
    const char *text = sow_text(call, option);
    *seeds = NULL;
    *count = 0;
    return text ? sow_seeds_parse(call->arena, text, seeds, count) : SOW_OK;
}

/* ---- outputs ---- */

static bool is_on(const sow_call *call, const char *flag) {
    return find(call->action->options, flag, strlen(flag), 0) && sow_flag(call, flag);
}

sow_status sow_check_output(const sow_call *call, const char *path) {
    if (!sow_path_exists(path) || is_on(call, "force") || is_on(call, "resume")) return SOW_OK;
    bool can_resume = find(call->action->options, "resume", strlen("resume"), 0) != NULL;
    return sow_fail(SOW_E_EXISTS, "%s exists already; choose another output or add --force%s", path,
                    can_resume ? " or --resume" : "");
}

sow_status sow_wrote(sow_call *call, const char *path) {
    if (!call->result && !(call->result = json_object())) return sow_fail(SOW_E_MEMORY, "out of memory");
    json_t *files = json_object_get(call->result, "files");
    if (!files) {
        files = json_array();
        if (json_object_set_new(call->result, "files", files)) return sow_fail(SOW_E_MEMORY, "out of memory");
    }
    json_t *name = json_string(path);
    if (!name) name = json_string("(a name that is not UTF-8)");
    return json_array_append_new(files, name) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

sow_status sow_wrote_in(sow_call *call, const char *folder, const char *name) {
    const char *path = sow_path_join(call->arena, folder, name);
    return path ? sow_wrote(call, path) : SOW_E_MEMORY;
}
