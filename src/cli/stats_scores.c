/* Scores by arm and seed, from a table that came from anywhere. */
#include "cli/stats_scores.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sow/table.h"

/* ---- columns ---- */

sow_status cli_columns_parse(sow_arena *arena, const char *text, cli_columns *out) {
    static const char expected[] = "expected like arm=model,seed=seed,score=val_acc";
    char *words = sow_arena_copy(arena, text), *rest, *word;
    *out = (cli_columns){0};
    if (!words) return SOW_E_MEMORY;
    for (word = strtok_r(words, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        char *name = strchr(word, '=');
        if (!name || !name[1]) return sow_fail(SOW_E_ARGUMENT, "--columns: found '%.60s', %s", word, expected);
        *name++ = 0;
        const char **column = !strcmp(word, "arm")     ? &out->arm
                              : !strcmp(word, "seed")  ? &out->seed
                              : !strcmp(word, "score") ? &out->score
                                                       : NULL;
        if (!column) return sow_fail(SOW_E_ARGUMENT, "--columns: no role '%.60s', %s", word, expected);
        if (*column) return sow_fail(SOW_E_ARGUMENT, "--columns: %s is given twice", word);
        *column = name;
    }
    return SOW_OK;
}

/* The column a role stands in: the one that was named, else the one of the role's own name, case aside. */
static sow_status find_column(sow_arena *arena, const sow_table *t, const char *role, const char *named, int64_t *out) {
    const char *wanted = named ? named : role, *all = "";
    *out = sow_table_column(t, wanted);
    for (int64_t c = 0; *out < 0 && !named && t->names && c < t->columns; c++)
        if (strcasecmp(t->names[c], role) == 0) *out = c;
    if (*out >= 0) return SOW_OK;
    if (!t->names)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: no names of columns, expected a header with arm, seed, score",
                        t->path, (long long)t->lines[0]);
    for (int64_t c = 0; c < t->columns && c < 12 && all; c++)
        all = sow_arena_format(arena, "%s%s%.40s", all, c ? ", " : "", t->names[c]);
    if (!all) return SOW_E_MEMORY;
    return sow_fail(SOW_E_FORMAT, "%s: no column '%.60s' among %s%s; --columns %s=NAME says which it is", t->path,
                    wanted, all, t->columns > 12 ? " ..." : "", role);
}

/* ---- keys ---- */

/* A seed as a number, NaN if it is a word or too large to be told from its neighbours. */
static double seed_number(const char *text) {
    char *end;
    double value = strtod(text, &end);
    return *text && *end == 0 && fabs(value) < 9007199254740992.0 ? value : NAN;
}

static bool same_key(const char *a, const char *b, bool seeds) {
    return strcmp(a, b) == 0 || (seeds && seed_number(a) == seed_number(b)); /* spreadsheets make 3.0 of 3 */
}

/* Index of a key, added if it is new; -1: there are `limit` others. */
static int find_key(const char **keys, int *count, int limit, const char *key, bool seeds) {
    for (int i = 0; i < *count; i++)
        if (same_key(keys[i], key, seeds)) return i;
    if (*count == limit) return -1;
    keys[*count] = key;
    return (*count)++;
}

/* ---- rows ---- */

/* While rows are read: a grid of [CLI_ARMS_MAX][CLI_SEEDS_MAX]. */
typedef struct grid {
    const sow_table *table;
    int64_t arm, seed, score; /* columns */
    const char **arms, **seeds;
    int arm_count, seed_count;
    double *scores;
    int64_t *lines; /* where a score stands, 0: nowhere */
} grid;

/* A score; NaN for a run that failed: an empty cell, nan, inf, or None, as data frames write it. */
static sow_status read_score(const grid *g, int64_t row, double *out) {
    const char *text = sow_table_cell(g->table, row, g->score);
    char *end;
    *out = NAN;
    if (!*text || !strcasecmp(text, "none") || !strcasecmp(text, "null") || !strcasecmp(text, "na")) return SOW_OK;
    double value = strtod(text, &end);
    if (*end || end == text)
        return sow_fail(SOW_E_FORMAT,
                        "%s: line %lld, column %lld (%.60s): \"%.60s\" is not a number; a run that failed is written "
                        "as nan or left empty",
                        g->table->path, (long long)g->table->lines[row], (long long)g->score + 1,
                        g->table->names[g->score], text);
    if (isfinite(value)) *out = value;
    return SOW_OK;
}

static sow_status read_row(grid *g, int64_t row) {
    const sow_table *t = g->table;
    const char *arm = sow_table_cell(t, row, g->arm), *seed = sow_table_cell(t, row, g->seed);
    long long line = t->lines[row];
    if (!*arm || !*seed)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: the %s is empty", t->path, line, *arm ? "seed" : "arm");
    int a = find_key(g->arms, &g->arm_count, CLI_ARMS_MAX, arm, false);
    if (a < 0) return sow_fail(SOW_E_RANGE, "%s: line %lld: more than %d arms", t->path, line, CLI_ARMS_MAX);
    int s = find_key(g->seeds, &g->seed_count, CLI_SEEDS_MAX, seed, true);
    if (s < 0) return sow_fail(SOW_E_RANGE, "%s: line %lld: more than %d seeds", t->path, line, CLI_SEEDS_MAX);
    int64_t *known = &g->lines[a * CLI_SEEDS_MAX + s];
    if (*known)
        return sow_fail(SOW_E_FORMAT,
                        "%s: line %lld: arm '%.60s', seed %.60s comes again, first in line %lld; "
                        "expected one row for each arm and seed",
                        t->path, line, arm, seed, (long long)*known);
    *known = line;
    return read_score(g, row, &g->scores[a * CLI_SEEDS_MAX + s]);
}

/* ---- the grid in order ---- */

/* Indices of seeds: ascending if all are numbers, so that the order of rows changes nothing; else as they appear. */
static void order_seeds(const grid *g, int *order) {
    bool numbers = true;
    for (int s = 0; s < g->seed_count; s++) order[s] = s, numbers &= !isnan(seed_number(g->seeds[s]));
    for (int i = 1; numbers && i < g->seed_count; i++) {
        int moved = order[i], j = i;
        for (; j > 0 && seed_number(g->seeds[order[j - 1]]) > seed_number(g->seeds[moved]); j--)
            order[j] = order[j - 1];
        order[j] = moved;
    }
}

/* Whether all arms have the seed; *arm is the first that has not. */
static bool is_whole(const grid *g, int seed, int *arm) {
    for (*arm = 0; *arm < g->arm_count; ++*arm)
        if (!g->lines[*arm * CLI_SEEDS_MAX + seed]) return false;
    return true;
}

/* Seeds that are kept, in order; their number in *count. */
static sow_status choose_seeds(const grid *g, cli_missing missing, int *order, int *count) {
    int arm;
    order_seeds(g, order);
    *count = 0;
    for (int i = 0; i < g->seed_count; i++) {
        int seed = order[i];
        if (is_whole(g, seed, &arm) || missing == CLI_MISSING_FAILED) {
            order[(*count)++] = seed;
        } else if (missing == CLI_MISSING_ERROR) {
            return sow_fail(SOW_E_FORMAT,
                            "%s: no row for arm '%.60s', seed %.60s, which other arms have; --missing "
                            "failed counts it as a failed run, --missing leave-out drops the seed",
                            g->table->path, g->arms[arm], g->seeds[seed]);
        }
    }
    if (*count == 0) return sow_fail(SOW_E_FORMAT, "%s: no seed that all %d arms have", g->table->path, g->arm_count);
    return SOW_OK;
}

static sow_status put_in_order(sow_arena *arena, const grid *g, cli_missing missing, cli_scores *out) {
    int order[CLI_SEEDS_MAX], n;
    SOW_TRY(choose_seeds(g, missing, order, &n));
    *out = (cli_scores){.arms = g->arms, .arm_count = g->arm_count, .seed_count = n, .left_out = g->seed_count - n};
    SOW_TRY(SOW_NEW(arena, out->seeds, n));
    SOW_TRY(SOW_NEW(arena, out->scores, g->arm_count * n));
    SOW_TRY(SOW_NEW(arena, out->failed, g->arm_count * n));
    for (int s = 0; s < n; s++) out->seeds[s] = g->seeds[order[s]];
    for (int a = 0; a < g->arm_count; a++) {
        for (int s = 0; s < n; s++) {
            int from = a * CLI_SEEDS_MAX + order[s];
            out->scores[a * n + s] = g->lines[from] ? g->scores[from] : NAN;
            out->failed[a * n + s] = isnan(out->scores[a * n + s]);
        }
    }
    return SOW_OK;
}

sow_status cli_scores_read(sow_arena *arena, const char *path, const cli_columns *columns, cli_missing missing,
                           cli_scores *out) {
    sow_table table;
    grid g = {.table = &table};
    SOW_TRY(sow_table_read(arena, path, &table));
    SOW_TRY(find_column(arena, &table, "arm", columns->arm, &g.arm));
    SOW_TRY(find_column(arena, &table, "seed", columns->seed, &g.seed));
    SOW_TRY(find_column(arena, &table, "score", columns->score, &g.score));
    SOW_TRY(SOW_NEW(arena, g.arms, CLI_ARMS_MAX));
    SOW_TRY(SOW_NEW(arena, g.seeds, CLI_SEEDS_MAX));
    SOW_TRY(SOW_NEW(arena, g.scores, CLI_ARMS_MAX * CLI_SEEDS_MAX));
    SOW_TRY(SOW_NEW(arena, g.lines, CLI_ARMS_MAX * CLI_SEEDS_MAX));
    for (int64_t row = 0; row < table.rows; row++) SOW_TRY(read_row(&g, row));
    if (g.arm_count < 2)
        return sow_fail(SOW_E_FORMAT, "%s: %d arm%s, expected at least two", path, g.arm_count,
                        g.arm_count == 1 ? "" : "s");
    return put_in_order(arena, &g, missing, out);
}
