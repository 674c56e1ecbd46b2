/* Vega inside a page: Debian's files are modules that each reset the global `vega`, so each is wrapped into a function
 * of its own and asks for the others by name (PROVE.md, section 5). */
#include <string.h>

#include "report/page.h"
#include "sow/file.h"

#define VEGA_FOLDER "/usr/share/javascript/vega"
enum { MODULE_MAX = 4 << 20 };

/* What drawing needs; vega-selections, as it is asked for, lies in the file vega-selection. */
static const char *const modules[] = {"vega-util",       "vega-time",       "vega-format",     "vega-loader",
                                      "vega-dataflow",   "vega-scale",      "vega-canvas",     "vega-scenegraph",
                                      "vega-statistics", "vega-expression", "vega-selections", "vega-event-selector",
                                      "vega-functions",  "vega-runtime",    "vega-transforms", "vega-view-transforms",
                                      "vega-encode",     "vega-regression", "vega-label",      "vega-parser",
                                      "vega-view",       "vega-interpreter"};

/* The line that points debuggers to a file that is not there. */
static size_t without_source_map(const char *text, size_t size) {
    static const char line[] = "\n//# sourceMappingURL=";
    for (size_t i = size; i-- > 0;)
        if (size - i >= sizeof line && memcmp(text + i, line, sizeof line - 1) == 0) return i + 1;
    return size;
}

static sow_status put_module(writing *w, const char *name) {
    char *text;
    size_t size, length = strlen(name);
    bool plural = strcmp(name, "vega-selections") == 0;
    char *path = sow_arena_format(w->arena, VEGA_FOLDER "/%.*s.min.js", (int)length - plural, name);
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(w->arena, path, MODULE_MAX, &text, &size));
    if (strstr(text, "</script") || strlen(text) != size)
        return sow_fail(SOW_E_FORMAT, "%s: cannot stand inside a page", path);
    writing_format(w, "M[\"%s\"]=function(exports,module,require){", name);
    writing_bytes(w, text, without_source_map(text, size));
    writing_put(w, "\n};\n");
    return SOW_OK;
}

sow_status page_script(sow_arena *arena, const char **script) {
    writing w = {.arena = arena};
    *script = "";
    if (!sow_path_exists(VEGA_FOLDER "/vega-view.min.js")) return SOW_OK;
    writing_put(&w, "(function(){var M={},made={};function need(name){if(!made[name]){var m={exports:{}};made[name]=m;"
                    "M[name].call(window,m.exports,m,need);}return made[name].exports;}\n");
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) SOW_TRY(put_module(&w, modules[i]));
    writing_put(
        &w, "Object.assign(need(\"vega-dataflow\").transforms,need(\"vega-transforms\"),need(\"vega-view-transforms\"),"
            "need(\"vega-encode\"),need(\"vega-regression\"),need(\"vega-label\"));\n"
            "window.sowVega={View:need(\"vega-view\").View,parse:need(\"vega-parser\").parse,"
            "Warn:need(\"vega-util\").Warn,expressionInterpreter:need(\"vega-interpreter\").expressionInterpreter};"
            "})();\n");
    writing_put(&w, page_program);
    return writing_end(&w, script);
}
