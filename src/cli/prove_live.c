/* The live table of a race: one line an arm, redrawn in place; messages go above it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/prove.h"
#include "sow/log.h"

enum { NAME_WIDTH = 24, ROWS_MAX = 40 };
static const double redraw_seconds = 0.1;

static struct {
    int rows; /* on the screen */
    bool quiet;
    double began, drawn;
    int first_done; /* cells that an earlier run had done */
} live;

const char *cli_arm_state(const sow_outcome *o, int arm, char text[48]) {
    const sow_standing *s = &o->standings[arm];
    bool decided = strcmp(s->verdict, "not decided") != 0;
    if (decided) return s->verdict;
    for (int i = 0; i < o->decision_count; i++)
        if (o->decisions[i].arm == arm && !strcmp(o->decisions[i].what, "halved")) return "halved";
    if (s->spoiled) return "not decided (failures)";
    if (s->dropped) snprintf(text, 48, "dropped at %d", s->dropped);
    else snprintf(text, 48, "%s", o->over ? "not decided" : "racing");
    return text;
}

static void erase(void) {
    if (live.rows > 0) fprintf(stderr, "\033[%dA\033[J", live.rows);
    live.rows = 0;
}

static void print_message(void *user, sow_log_level level, const char *text) {
    (void)user;
    if (live.quiet && level == SOW_LOG_NOTE) return;
    erase();
    if (level == SOW_LOG_WARNING) fputs("warning: ", stderr);
    cli_print_safely(stderr, text);
    fputc('\n', stderr);
}

/* ---- lines ---- */

static void print_name(const char *name, bool leads) {
    char cut[NAME_WIDTH + 1];
    snprintf(cut, sizeof cut, "%s", name);
    size_t end = strlen(cut); /* never half a letter */
    while (end > 0 && ((unsigned char)name[end] & 0xc0) == 0x80) end--;
    cut[end] = 0;
    fputs(leads ? "* " : "  ", stderr);
    cli_print_safely(stderr, cut);
    int letters = 0;
    for (const char *c = cut; *c; c++) letters += ((unsigned char)*c & 0xc0) != 0x80;
    fprintf(stderr, "%*s", NAME_WIDTH - letters, "");
}

static void print_number(double value, int width) {
    if (isnan(value)) fprintf(stderr, " %*s", width, "-");
    else fprintf(stderr, " %*.4g", width, value);
}

static void print_arm(const sow_outcome *o, int arm) {
    const sow_standing *s = &o->standings[arm];
    const sow_progress_of_arm *p = &o->progress[arm];
    char state[48], cells[32];
    print_name(o->plan->arms[arm].name, arm == o->leader);
    snprintf(cells, sizeof cells, "%d/%d%s", p->done + p->failed, p->planned, p->running ? "+" : "");
    fprintf(stderr, " %9s", cells);
    print_number(s->mean, 10);
    print_number(s->effect, 10);
    print_number(s->low, 10);
    print_number(s->high, 10);
    fprintf(stderr, "  %s", cli_arm_state(o, arm, state));
    if (p->failed) fprintf(stderr, ", %d failed", p->failed);
    fputs("\033[K\n", stderr);
    live.rows++;
}

/* At the pace of this run, to the end of all that may still run; the race often ends before. */
static void print_left(int ended, int planned, double now) {
    double elapsed = now - live.began;
    if (ended <= live.first_done || elapsed < 2 || ended >= planned) return;
    int left = (int)(elapsed * (planned - ended) / (ended - live.first_done) + 0.5);
    fprintf(stderr, ", %d:%02d left at most", left / 60, left % 60);
}

static void print_head(const sow_outcome *o, double now) {
    int ended = 0, planned = 0;
    for (int a = 0; a < o->plan->arm_count; a++) {
        ended += o->progress[a].done + o->progress[a].failed;
        planned += o->progress[a].planned;
    }
    if (live.began == 0) live.began = now, live.first_done = ended;
    fprintf(stderr, "%s: %d of %d seeds judged, %d of %d cells, %d running", o->plan->name, o->looked,
            o->plan->seeds.last, ended, planned, o->running);
    print_left(ended, planned, now);
    fprintf(stderr, "\033[K\n  %-*s %9s %10s %10s %10s %10s  state\033[K\n", NAME_WIDTH, "arm", "cells", "mean",
            "effect", "low", "high");
    live.rows += 2;
}

void cli_live_draw(void *user, const sow_outcome *o) {
    (void)user;
    double now = sow_seconds();
    if (now - live.drawn < redraw_seconds && !o->over) return;
    live.drawn = now;
    int before = live.rows;
    if (before > 0) fprintf(stderr, "\033[%dA", before);
    live.rows = 0;
    print_head(o, now);
    for (int a = 0; a < o->plan->arm_count && a < ROWS_MAX; a++) print_arm(o, a);
    fflush(stderr);
}

void cli_live_begin(bool quiet) {
    live.rows = 0;
    live.quiet = quiet;
    live.began = live.drawn = 0;
    sow_log_to(&(sow_log_sink){.message = print_message});
}

/* The result follows, which has the same numbers: the table goes. */
void cli_live_end(void) {
    erase();
    fflush(stderr);
    cli_log(live.quiet);
}
