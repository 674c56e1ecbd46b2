/* The built-in trainer as a command line: this program, run again. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "sow/run.h"

sow_status sow_own_program(sow_arena *arena, const char **path) {
    char text[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", text, sizeof text - 1);
    if (length <= 0) return sow_fail(SOW_E_IO, "/proc/self/exe cannot be read, so sow cannot start itself again");
    text[length] = 0;
    *path = sow_arena_copy(arena, text);
    return *path ? SOW_OK : SOW_E_MEMORY;
}

/* Braces doubled, so that the text comes out of sow_expand as it is. */
static char *double_braces(sow_arena *arena, const char *text) {
    char *doubled = sow_arena_take(arena, 2 * strlen(text) + 1, 1), *to = doubled;
    for (const char *c = text; doubled && *c; c++) {
        if (*c == '{') *to++ = '{';
        *to++ = *c;
    }
    return doubled;
}

sow_status sow_builtin_trainer(sow_arena *arena, const sow_variable *options, int count, unsigned files,
                               char **command) {
    sow_variable *quoted;
    char *text, *template = sow_arena_copy(arena, "exec {program} train");
    SOW_TRY(SOW_NEW(arena, quoted, count + 1));
    quoted[0].name = "program";
    SOW_TRY(sow_own_program(arena, &quoted[0].value));
    for (int i = 0; i < count && template; i++) {
        quoted[i + 1] = options[i];
        if (!strcmp(options[i].value, "false")) continue;
        template = !strcmp(options[i].value, "true")
                       ? sow_arena_format(arena, "%s --%s", template, options[i].name)
                       : sow_arena_format(arena, "%s --%s={%s}", template, options[i].name, options[i].name);
    }
    if (!template) return SOW_E_MEMORY;
    SOW_TRY(sow_expand(arena, template, quoted, count + 1, &text));
    text = double_braces(arena, text);
    *command = text ? sow_arena_format(arena, "%s%s%s --seed {seed} --out-state {out} --records --quiet --force", text,
                                       files & SOW_BUILTIN_INIT ? " --start {init}" : "",
                                       files & SOW_BUILTIN_MASK ? " --mask {mask}" : "")
                    : NULL;
    return *command ? SOW_OK : SOW_E_MEMORY;
}
