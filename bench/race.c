/* Races over scores from a file, judged as `sow prove` judges them: for bench/race_peers.py.
 * usage: race FILE REFERENCE (doubles: races, arms, seeds, then scores [race][arm][seed]). Prints one JSON line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sow/file.h"
#include "sow/prove.h"

typedef struct tally {
    double cells, lost, other, dropped, claimed, seconds;
} tally;

/* Seconds of the processor, so that a busy machine does not matter. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void count(const sow_judgement *found, int arms, tally *t) {
    bool dropped = false, claimed = false;
    for (int a = 0; a < arms; a++) {
        const sow_standing *s = &found->standings[a];
        t->cells += s->n;
        dropped |= s->dropped > 0;
        claimed |= !strcmp(s->verdict, "confirmed") || !strcmp(s->verdict, "not confirmed");
    }
    t->dropped += dropped;
    t->claimed += claimed;
    t->lost += found->standings[arms - 1].dropped > 0; /* the last arm is the best one */
    t->other += found->leader != arms - 1;
}

static sow_status judge_all(sow_arena *arena, const double *scores, int races, const sow_plan *plan, tally *t) {
    sow_judge *judge;
    unsigned char *ended;
    int cells = plan->arm_count * plan->seeds.last;
    SOW_TRY(SOW_NEW(arena, ended, cells));
    memset(ended, SOW_SCORED, (size_t)cells);
    SOW_TRY(sow_judge_new(plan, &judge));
    sow_status status = SOW_OK;
    double start = now();
    for (int r = 0; r < races && status == SOW_OK; r++) {
        sow_mark mark = sow_arena_mark(arena);
        sow_scores known = {.values = scores + (int64_t)r * cells, .ended = ended};
        sow_judgement found;
        status = sow_judge_race(judge, arena, &known, false, &found);
        if (status == SOW_OK) count(&found, plan->arm_count, t);
        sow_arena_release(arena, mark);
    }
    t->seconds = now() - start;
    sow_judge_free(judge);
    return status;
}

static sow_status run(sow_arena *arena, const char *path, int reference) {
    char *data;
    size_t size;
    sow_plan_arm arms[64];
    tally t = {0};
    SOW_TRY(sow_read_file(arena, path, (size_t)1 << 30, &data, &size));
    const double *head = (const double *)(void *)data;
    if (size < 24 || !(head[0] >= 1 && head[1] >= 2 && head[1] <= 64 && head[2] >= 6 && head[2] <= 128) ||
        (double)size != 8 * (3 + head[0] * head[1] * head[2]) || reference < 0 || reference >= head[1])
        return sow_fail(SOW_E_FORMAT, "%s: not a file of scores", path);
    int races = (int)head[0];
    sow_plan plan = {
        .name = "peers", .arms = arms, .arm_count = (int)head[1], .reference = reference, .metric.name = "score"};
    for (int a = 0; a < plan.arm_count; a++) arms[a] = (sow_plan_arm){.name = "arm"};
    plan.seeds.first = 6, plan.seeds.every = 1, plan.seeds.last = (int)head[2];
    plan.test.alpha = 0.05, plan.test.sides = 2;
    plan.race.alpha = 0.1;
    SOW_TRY(judge_all(arena, head + 3, races, &plan, &t));
    printf(
        "{\"races\": %d, \"cells\": %.6g, \"lost\": %.6g, \"other\": %.6g, \"dropped\": %.6g, \"claimed\": %.6g, \"seconds\": %.6g}\n",
        races, t.cells / races, t.lost / races, t.other / races, t.dropped / races, t.claimed / races,
        t.seconds / races);
    return SOW_OK;
}

int main(int argc, char **argv) {
    sow_arena *arena;
    if (argc != 3 || sow_arena_new(&arena) != SOW_OK) {
        fprintf(stderr, "usage: race FILE REFERENCE\n");
        return 2;
    }
    sow_status status = run(arena, argv[1], atoi(argv[2]));
    if (status != SOW_OK) fprintf(stderr, "race: %s\n", sow_message());
    sow_arena_free(arena);
    return status != SOW_OK;
}
