/* Manual pages, shell completion and the documentation's option tables, made from the method table. */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"
#include "sow/file.h"
#include "sow/sow.h"

enum { PAGE_BYTES_MAX = 4 << 20 };

/* ---- roff ---- */

/* Text in roff: backslashes doubled, hyphens as such, no line that begins a request. */
static void put_roff(sow_writer *w, const char *text) {
    for (bool fresh = true; *text; text++) {
        if (*text == '\\') sow_writer_printf(w, "\\e");
        else if (*text == '-') sow_writer_printf(w, "\\-");
        else if (fresh && (*text == '.' || *text == '\'')) sow_writer_printf(w, "\\&%c", *text);
        else sow_writer_put(w, text, 1);
        fresh = *text == '\n';
    }
}

static void put_heading(sow_writer *w, const char *name, const char *summary) {
    char title[128];
    size_t i = 0;
    for (; name[i] && i < sizeof title - 1; i++) title[i] = (char)toupper((unsigned char)name[i]);
    title[i] = 0;
    sow_writer_printf(w, ".TH \"%s\" 1 \"\" \"Sow %s\" \"Sow\"\n.SH NAME\n", title, SOW_VERSION);
    put_roff(w, name);
    sow_writer_printf(w, " \\- ");
    put_roff(w, summary);
    sow_writer_printf(w, "\n");
}

static void put_option(sow_writer *w, const sow_option *option) {
    char text[512];
    sow_writer_printf(w, ".TP\n.B ");
    put_roff(w, cli_option_text(option, text));
    sow_writer_printf(w, "\n");
    put_roff(w, option->help);
    if (*cli_option_facts(option, text)) {
        sow_writer_printf(w, " (");
        put_roff(w, text);
        sow_writer_printf(w, ")");
    }
    sow_writer_printf(w, "\n");
}

static void put_synopsis(sow_writer *w, const sow_method *method) {
    sow_writer_printf(w, ".SH SYNOPSIS\n");
    for (const sow_action *a = method->actions; a->name; a++) {
        sow_writer_printf(w, "%s.B sow ", a == method->actions ? "" : ".br\n");
        put_roff(w, method->name);
        if (cli_has_actions(method)) {
            sow_writer_printf(w, " ");
            put_roff(w, a->name);
        }
        sow_writer_printf(w, "\n");
        for (const sow_option *o = a->options; o->name; o++) {
            char text[256];
            bool required = o->bits & SOW_OPTION_REQUIRED;
            if (!required && !(o->bits & SOW_OPTION_POSITIONAL)) continue;
            put_roff(w, required ? "" : "[");
            put_roff(w, cli_option_text(o, text));
            put_roff(w, required ? "\n" : "]\n");
        }
        sow_writer_printf(w, "[options]\n");
    }
}

static sow_status write_page(sow_call *call, const char *folder, const sow_method *method) {
    sow_writer *w;
    char *name = sow_arena_format(call->arena, "sow-%s", method->name);
    char *path = name ? sow_arena_format(call->arena, "%s/%s.1", folder, name) : NULL;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &w));
    put_heading(w, name, method->summary);
    put_synopsis(w, method);
    for (const sow_action *a = method->actions; a->name; a++) {
        sow_writer_printf(w, ".SH %s\n", cli_has_actions(method) ? "ACTION" : "OPTIONS");
        if (cli_has_actions(method)) {
            sow_writer_printf(w, ".B ");
            put_roff(w, a->name);
            sow_writer_printf(w, "\n.PP\n");
            put_roff(w, a->summary);
            sow_writer_printf(w, "\n");
        }
        for (const sow_option *o = a->options; o->name; o++) put_option(w, o);
        if (!a->example) continue;
        sow_writer_printf(w, ".PP\nExample:\n.PP\n.nf\n");
        put_roff(w, a->example);
        sow_writer_printf(w, "\n.fi\n");
    }
    sow_writer_printf(w, ".SH COMMON OPTIONS\n");
    for (const sow_option *o = sow_common_options; o->name; o++) put_option(w, o);
    if (method->paper) {
        sow_writer_printf(w, ".SH PAPER\n");
        put_roff(w, method->paper);
        sow_writer_printf(w, "\n");
    }
    sow_writer_printf(w, ".SH SEE ALSO\n.BR sow (1)\n");
    SOW_TRY(sow_writer_commit(w));
    return sow_wrote(call, path);
}

static sow_status write_overview(sow_call *call, const char *folder) {
    static const char *const statuses[][2] = {{"0", "done"},
                                              {"1", "failed"},
                                              {"2", "wrong command or plan"},
                                              {"3", "a study or race is not confirmed, or not decided"},
                                              {"130", "interrupted"}};
    sow_writer *w;
    char *path = sow_path_join(call->arena, folder, "sow.1");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &w));
    put_heading(w, "sow", "make, measure and prove starting points of learning runs");
    sow_writer_printf(w, ".SH SYNOPSIS\n.B sow\n.I command\n[options]\n.SH COMMANDS\n");
    for (const sow_method *const *m = cli_methods; *m; m++) {
        if ((*m)->actions->bits & SOW_ACTION_HIDDEN) continue;
        sow_writer_printf(w, ".TP\n.BR ");
        char *page = sow_arena_format(call->arena, "sow-%s", (*m)->name);
        if (page) put_roff(w, page);
        sow_writer_printf(w, " (1)\n");
        put_roff(w, (*m)->summary);
        sow_writer_printf(w, "\n");
    }
    sow_writer_printf(w, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        sow_writer_printf(w, ".TP\n.B %s\n%s\n", statuses[i][0], statuses[i][1]);
    SOW_TRY(sow_writer_commit(w));
    return sow_wrote(call, path);
}

static sow_status run_man(sow_call *call) {
    const char *folder = sow_text(call, "out");
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(write_overview(call, folder));
    for (const sow_method *const *m = cli_methods; *m; m++)
        if (!((*m)->actions->bits & SOW_ACTION_HIDDEN)) SOW_TRY(write_page(call, folder, *m));
    return SOW_OK;
}

static const sow_option man_options[] = {SOW_OPTION_OUTPUT("folder for sow.1 and sow-COMMAND.1"), {0}};
static const sow_action man_actions[] = {{"man", "write the manual pages", man_options, run_man, "sow man -o man1/", 0},
                                         {0}};
const sow_method sow_verb_man = {
    .name = "man", .family = "commands", .summary = "write the manual pages", .actions = man_actions};

/* ---- completion ---- */

static void print_words(const sow_method *method) {
    printf("    %s) words='", method->name);
    if (cli_has_actions(method))
        for (const sow_action *a = method->actions; a->name; a++) printf("%s ", a->name);
    for (const sow_action *a = method->actions; a->name; a++)
        for (const sow_option *o = a->options; o->name; o++)
            if (!(o->bits & SOW_OPTION_POSITIONAL)) printf("--%s ", o->name);
    for (const sow_option *o = sow_common_options; o->name; o++) printf("--%s%s", o->name, o[1].name ? " " : "'");
    puts(" ;;");
}

/* Words for the value of an option, where they are few: `--kind` of any method that has it. */
static void print_choices(void) {
    for (const sow_method *const *m = cli_methods; *m; m++)
        for (const sow_action *a = (*m)->actions; a->name; a++)
            for (const sow_option *o = a->options; o->name; o++) {
                if (o->type != SOW_TYPE_CHOICE) continue;
                printf("    %s:--%s) choices='", (*m)->name, o->name);
                for (const char *c = o->choices; *c; c++) putchar(*c == '|' ? ' ' : *c);
                puts("' ;;");
            }
}

static sow_status run_completion(sow_call *call) {
    (void)call;
    fputs(
        "# bash completion for sow\n_sow() {\n  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words='' choices=''\n"
        "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '",
        stdout);
    for (const sow_method *const *m = cli_methods; *m; m++)
        if (!((*m)->actions->bits & SOW_ACTION_HIDDEN)) printf("%s ", (*m)->name);
    fputs("--version --help' -- \"$current\"))\n    return\n  fi\n  case ${COMP_WORDS[1]}:$before in\n", stdout);
    print_choices();
    fputs("  esac\n  if [ -n \"$choices\" ]; then COMPREPLY=($(compgen -W \"$choices\" -- \"$current\")); return; fi\n"
          "  case ${COMP_WORDS[1]} in\n",
          stdout);
    for (const sow_method *const *m = cli_methods; *m; m++)
        if (!((*m)->actions->bits & SOW_ACTION_HIDDEN)) print_words(*m);
    fputs(
        "  esac\n  case $current in\n    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n"
        "    *) COMPREPLY=($([ \"$COMP_CWORD\" -eq 2 ] && compgen -W \"${words%%--*}\" -- \"$current\") $(compgen -f -- \"$current\")) ;;\n  esac\n}\n"
        "complete -o filenames -F _sow sow\n",
        stdout);
    return SOW_OK;
}

static const sow_option completion_options[] = {
    {"shell", 0, SOW_TYPE_CHOICE, "bash", 0, 0, "bash", NULL, "the shell", SOW_OPTION_POSITIONAL},
    {0},
};
static const sow_action completion_actions[] = {
    {"completion", "print the shell's completion script", completion_options, run_completion,
     "sow completion bash >/etc/bash_completion.d/sow", 0},
    {0},
};
const sow_method sow_verb_completion = {.name = "completion",
                                        .family = "commands",
                                        .summary = "print the completion script for bash",
                                        .actions = completion_actions};

/* ---- option tables in docs/methods ---- */

/* Appends to a text in the arena. */
static sow_status append(sow_arena *arena, char **text, const char *more) {
    *text = sow_arena_format(arena, "%s%s", *text, more);
    return *text ? SOW_OK : SOW_E_MEMORY;
}

/* A table cell of Markdown: bars would end it. */
static sow_status append_cell(sow_arena *arena, char **text, const char *cell) {
    char *escaped = sow_arena_take(arena, 2 * strlen(cell) + 1, 1), *to = escaped;
    if (!escaped) return SOW_E_MEMORY;
    for (; *cell; cell++) {
        if (*cell == '|') *to++ = '\\';
        *to++ = *cell;
    }
    return append(arena, text, escaped);
}

static sow_status append_table(sow_arena *arena, char **text, const sow_method *method, const sow_action *action) {
    char buffer[512];
    char *title = cli_has_actions(method)
                      ? sow_arena_format(arena, "\n### `sow %s %s`: %s\n", method->name, action->name, action->summary)
                      : sow_arena_copy(arena, "");
    if (!title) return SOW_E_MEMORY;
    SOW_TRY(append(arena, text, title));
    SOW_TRY(append(arena, text, "\n| option | what it does | values |\n|---|---|---|\n"));
    for (const sow_option *o = action->options; o->name; o++) {
        SOW_TRY(append(arena, text, "| `"));
        SOW_TRY(append_cell(arena, text, cli_option_text(o, buffer)));
        SOW_TRY(append(arena, text, "` | "));
        SOW_TRY(append_cell(arena, text, o->help));
        SOW_TRY(append(arena, text, " | "));
        SOW_TRY(append_cell(arena, text, cli_option_facts(o, buffer)));
        SOW_TRY(append(arena, text, " |\n"));
    }
    if (!action->example) return SOW_OK;
    char *example = sow_arena_format(arena, "\n    %s\n", action->example);
    return example ? append(arena, text, example) : SOW_E_MEMORY;
}

/* Replaces what stands between the markers of a page; `changed` tells whether anything did. */
static sow_status update_page(sow_arena *arena, const char *path, const sow_method *method, bool write, bool *changed) {
    static const char begin[] = "<!-- options: begin -->\n", end[] = "<!-- options: end -->";
    char *page, *text;
    size_t size;
    SOW_TRY(sow_read_file(arena, path, PAGE_BYTES_MAX, &page, &size));
    char *first = strstr(page, begin), *last = first ? strstr(first, end) : NULL;
    if (!last)
        return sow_fail(SOW_E_FORMAT, "%s: expected the lines '%.*s' and '%s'", path, (int)strlen(begin) - 1, begin,
                        end);
    text = sow_arena_format(arena, "%.*s", (int)(first - page + (long)strlen(begin)), page);
    if (!text) return SOW_E_MEMORY;
    for (const sow_action *a = method->actions; a->name; a++) SOW_TRY(append_table(arena, &text, method, a));
    SOW_TRY(append(arena, &text, "\n"));
    SOW_TRY(append(arena, &text, last));
    *changed = strcmp(text, page) != 0;
    return *changed && write ? sow_write_file(path, text, strlen(text)) : SOW_OK;
}

static sow_status run_docs(sow_call *call) {
    const char *folder = sow_text(call, "out");
    bool check = sow_flag(call, "check"), changed;
    for (const sow_method *const *m = cli_methods; *m; m++) {
        if (!(*m)->paper) continue;
        char *path = sow_arena_format(call->arena, "%s/%s.md", folder, (*m)->name);
        if (!path) return SOW_E_MEMORY;
        SOW_TRY(update_page(call->arena, path, *m, !check, &changed));
        if (changed && check)
            return sow_fail(SOW_E_FORMAT, "%s: its option tables are old; run `sow docs -o %s`", path, folder);
        if (changed) SOW_TRY(sow_wrote(call, path));
    }
    return SOW_OK;
}

static const sow_option docs_options[] = {
    {"out", 'o', SOW_TYPE_OUTPUT, "docs/methods", 0, 0, NULL, NULL, "folder of the methods' pages",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_FLAG("check", "change nothing; fail where a table is old"),
    {0},
};
static const sow_action docs_actions[] = {
    {"docs", "renew the option tables of the methods' pages", docs_options, run_docs, NULL, SOW_ACTION_HIDDEN},
    {0},
};
const sow_method sow_verb_docs = {.name = "docs",
                                  .family = "commands",
                                  .summary = "renew the option tables in docs/methods",
                                  .actions = docs_actions};
