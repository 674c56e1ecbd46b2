/* Help texts, made from the method table. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

enum { PAGE_WIDTH = 96, OPTION_COLUMN = 26 };

const char *cli_value_word(const sow_option *option) {
    switch (option->type) {
    case SOW_TYPE_FLAG: return "";
    case SOW_TYPE_INT: return "N";
    case SOW_TYPE_REAL: return "X";
    case SOW_TYPE_TEXT: return "TEXT";
    case SOW_TYPE_CHOICE: return "WORD";
    case SOW_TYPE_PATH: return "PATH";
    case SOW_TYPE_OUTPUT: return "PATH";
    case SOW_TYPE_LIST: return "TEXT";
    case SOW_TYPE_SEEDS: return "SEEDS";
    }
    return "";
}

/* The word for an argument without a name: its option's, in capitals. */
static const char *argument_word(const sow_option *option, char text[64]) {
    size_t i = 0;
    for (; option->name[i] && i < 63; i++) text[i] = (char)toupper((unsigned char)option->name[i]);
    text[i] = 0;
    return text;
}

char *cli_option_text(const sow_option *option, char text[256]) {
    char word[64];
    const char *value = cli_value_word(option);
    const char *more = option->type == SOW_TYPE_LIST ? " ..." : "";
    if (option->bits & SOW_OPTION_POSITIONAL) snprintf(text, 256, "%s%s", argument_word(option, word), more);
    else if (option->letter)
        snprintf(text, 256, "-%c, --%s%s%s", option->letter, option->name, *value ? " " : "", value);
    else snprintf(text, 256, "--%s%s%s%s", option->name, *value ? " " : "", value, more);
    return text;
}

static void add(char text[512], const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(char text[512], const char *format, ...) {
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, 512 - length, format, arguments);
    va_end(arguments);
}

/* "kaiming-uniform, xavier-normal" from "kaiming-uniform|xavier-normal" */
static void add_choices(char text[512], const char *choices) {
    for (const char *c = choices; *c; c++) add(text, *c == '|' ? ", " : "%c", *c);
}

char *cli_option_facts(const sow_option *option, char text[512]) {
    text[0] = 0;
    bool bounded = option->low < option->high,
         is_number = option->type == SOW_TYPE_INT || option->type == SOW_TYPE_REAL;
    bool open = isinf(option->high) || option->high >= 1e12;
    int digits = option->type == SOW_TYPE_INT ? 15 : 6;
    if (option->type == SOW_TYPE_CHOICE) add_choices(text, option->choices);
    if (is_number && bounded && open) add(text, "at least %.*g", digits, option->low);
    if (is_number && bounded && !open) add(text, "%.*g to %.*g", digits, option->low, digits, option->high);
    if (option->unit) add(text, "%s%s", *text ? " " : "", option->unit);
    if (option->type == SOW_TYPE_LIST && !(option->bits & SOW_OPTION_POSITIONAL))
        add(text, "%smay be repeated", *text ? "; " : "");
    if (option->bits & SOW_OPTION_REQUIRED) add(text, "%srequired", *text ? "; " : "");
    if (option->initial) add(text, "%sdefault %s", *text ? "; " : "", option->initial);
    return text;
}

/* Prints words of `text` from column `at` on, breaking lines before the page's edge and indenting them. */
static int print_wrapped(FILE *out, const char *text, int at, int indent) {
    while (*text) {
        size_t length = strcspn(text, " ");
        if (at > indent && at + 1 + (int)length > PAGE_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', out);
            at++;
        }
        fwrite(text, 1, length, out);
        at += (int)length;
        text += length;
        while (*text == ' ') text++;
    }
    return at;
}

static void print_option(FILE *out, const sow_option *option) {
    char name[256], facts[512], shown[520];
    int at = fprintf(out, "  %s", cli_option_text(option, name));
    if (at >= OPTION_COLUMN) at = fprintf(out, "\n") - 1;
    fprintf(out, "%*s", OPTION_COLUMN - at, "");
    at = print_wrapped(out, option->help, OPTION_COLUMN, OPTION_COLUMN);
    cli_option_facts(option, facts);
    snprintf(shown, sizeof shown, "(%s)", facts);
    if (*facts) print_wrapped(out, shown, at, OPTION_COLUMN);
    fputc('\n', out);
}

static void print_options(FILE *out, const sow_option *options) {
    for (; options->name; options++) print_option(out, options);
}

void cli_usage(FILE *out, const sow_method *method, const sow_action *action) {
    char text[256];
    fprintf(out, "sow %s", method->name);
    if (cli_has_actions(method)) fprintf(out, " %s", action->name);
    bool optional = false;
    for (const sow_option *o = action->options; o->name; o++)
        optional |= !(o->bits & (SOW_OPTION_REQUIRED | SOW_OPTION_POSITIONAL));
    if (optional) fputs(" [options]", out);
    for (const sow_option *o = action->options; o->name; o++) {
        bool required = o->bits & SOW_OPTION_REQUIRED;
        if (o->bits & SOW_OPTION_POSITIONAL) fprintf(out, required ? " %s" : " [%s]", cli_option_text(o, text));
        else if (required && o->letter) fprintf(out, " -%c %s", o->letter, cli_value_word(o));
        else if (required) fprintf(out, " --%s %s", o->name, cli_value_word(o));
    }
    fputc('\n', out);
}

static void print_action(FILE *out, const sow_method *method, const sow_action *action) {
    if (cli_has_actions(method)) {
        fprintf(out, "\nsow %s %s: ", method->name, action->name);
        print_wrapped(out, action->summary, 4, 4);
        fputc('\n', out);
    }
    fputs("usage: ", out);
    cli_usage(out, method, action);
    print_options(out, action->options);
    if (action->example) fprintf(out, "example: %s\n", action->example);
}

void cli_help(FILE *out, const sow_method *method, const sow_action *action) {
    fprintf(out, "sow %s: ", method->name);
    print_wrapped(out, method->summary, 4, 4);
    fputc('\n', out);
    if (method->paper) fprintf(out, "%s\n", method->paper);
    for (const sow_action *a = method->actions; a->name; a++)
        if (!action || a == action) print_action(out, method, a);
    fputs("\nevery command:\n", out);
    print_options(out, sow_common_options);
    if (method->study) fprintf(out, "its study: sow study %s\n", method->study);
}

void cli_help_overview(FILE *out) {
    const char *family = "";
    fputs("Sow makes, measures and proves starting points of learning runs.\n\nusage: sow COMMAND [options]\n", out);
    for (const sow_method *const *m = cli_methods; *m; m++) {
        if ((*m)->actions->bits & SOW_ACTION_HIDDEN) continue;
        if (strcmp(family, (*m)->family) != 0) fprintf(out, "\n%s\n", family = (*m)->family);
        int at = fprintf(out, "  %-18s ", (*m)->name);
        print_wrapped(out, (*m)->summary, at, 21);
        fputc('\n', out);
    }
    fputs("\nsow COMMAND --help shows its options; sow --version the libraries and the instruction set.\n", out);
}
