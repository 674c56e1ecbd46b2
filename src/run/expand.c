/* Command lines with placeholders: {name} becomes a quoted value, {{ a brace (PROVE.md, section 1). */
#include "sow/run.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "sow/text.h"

static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

/* Length of `text` between single quotes: a quote inside becomes '\'' . */
static size_t quoted_length(const char *text) {
    size_t length = 2;
    for (; *text; text++) length += *text == '\'' ? 4 : 1;
    return length;
}

static char *put_quoted(char *to, const char *text) {
    *to++ = '\'';
    for (; *text; text++) {
        if (*text == '\'') to = (char *)memcpy(to, "'\\''", 4) + 4;
        else *to++ = *text;
    }
    *to++ = '\'';
    return to;
}

static const sow_variable *find(const sow_variable *variables, int count, const char *name, size_t length) {
    for (int i = 0; i < count; i++)
        if (strlen(variables[i].name) == length && !memcmp(variables[i].name, name, length)) return &variables[i];
    return NULL;
}

static sow_status unknown(sow_arena *arena, const sow_variable *variables, int count, const char *name, size_t length) {
    const char **names, *near;
    char *word = sow_arena_format(arena, "%.*s", (int)(length < 64 ? length : 64), name);
    SOW_TRY(SOW_NEW(arena, names, count));
    for (int i = 0; i < count; i++) names[i] = variables[i].name;
    if (!word) return SOW_E_MEMORY;
    near = sow_nearest(word, names, count);
    if (near)
        return sow_fail(SOW_E_ARGUMENT, "command: unknown placeholder {%s}, did you mean {%s}? ({{ is a brace)", word,
                        near);
    return sow_fail(SOW_E_ARGUMENT, "command: unknown placeholder {%s} ({{ is a brace)", word);
}

/* What stands at an opening brace: "{{" (variable stays NULL, length 2) or {name}. A brace that opens neither is the
 * shell's own, such as ${HOME} and { cmd; }: it stays (length 1). */
static sow_status at_brace(sow_arena *arena, const char *text, const sow_variable *variables, int count,
                           const sow_variable **variable, size_t *length) {
    size_t end = 1;
    *variable = NULL;
    *length = text[1] == '{' ? 2 : 1;
    if (text[1] == '{') return SOW_OK;
    while (is_name(text[end])) end++;
    if (end == 1 || text[end] != '}') return SOW_OK;
    *variable = find(variables, count, text + 1, end - 1);
    *length = end + 1;
    return *variable ? SOW_OK : unknown(arena, variables, count, text + 1, end - 1);
}

static size_t length_of(const sow_variable *variable, bool quoted) {
    if (!variable) return 1;
    return quoted ? quoted_length(variable->value) : strlen(variable->value);
}

static char *put(char *to, const char *value, bool quoted) {
    return quoted ? put_quoted(to, value) : stpcpy(to, value);
}

static sow_status expand(sow_arena *arena, const char *command, const sow_variable *variables, int count, bool quoted,
                         char **out) {
    const sow_variable *variable;
    char *to = NULL;
    size_t size = 1, length;
    for (int writing = 0; writing < 2; writing++) {
        for (const char *at = command; *at; at += length) {
            variable = NULL, length = 1;
            bool shells_own = at > command && at[-1] == '$'; /* ${name} */
            if (*at == '{' && !shells_own) SOW_TRY(at_brace(arena, at, variables, count, &variable, &length));
            if (!writing) size += length_of(variable, quoted);
            else if (variable) to = put(to, variable->value, quoted);
            else *to++ = *at;
        }
        if (!writing) SOW_TRY(SOW_NEW(arena, to, size));
        if (!writing) *out = to;
    }
    return SOW_OK;
}

sow_status sow_expand(sow_arena *arena, const char *command, const sow_variable *variables, int count, char **out) {
    return expand(arena, command, variables, count, true, out);
}

sow_status sow_expand_path(sow_arena *arena, const char *path, const sow_variable *variables, int count, char **out) {
    return expand(arena, path, variables, count, false, out);
}

bool sow_uses(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *at = text; at && (at = strchr(at, '{')); at++) {
        if (at[1] == '{') at++; /* {{ is a brace */
        else if (!strncmp(at + 1, name, length) && at[1 + length] == '}' && (at == text || at[-1] != '$')) return true;
    }
    return false;
}
