/* The study's plots: means over seeds, with least and most, of every arm against the share of the weights left. */
#include <math.h>

#include "sow/file.h"
#include "sow/sparsity.h"
#include "studies/lottery_ticket/cells.h"

enum { ARMS_MAX = 8 };

/* One arm's rounds that every seed has. */
typedef struct rounds {
    int64_t count;
    double *percent, *mean, *low, *high;
} rounds;

static sow_status new_rounds(sow_arena *arena, int most, rounds *out) {
    *out = (rounds){0};
    SOW_TRY(SOW_NEW(arena, out->percent, most));
    SOW_TRY(SOW_NEW(arena, out->mean, most));
    SOW_TRY(SOW_NEW(arena, out->low, most));
    return SOW_NEW(arena, out->high, most);
}

/* Adds the round's scores, if every seed has one. */
static void add_round(const sow_study_call *call, const char *arm, const char *metric, double percent, rounds *out) {
    double sum = 0, low = INFINITY, high = -INFINITY;
    for (int s = 0; s < call->seed_count; s++) {
        double x = sow_study_scored(call, arm, metric, call->seeds[s]);
        if (!isfinite(x)) return;
        sum += x;
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    int64_t i = out->count++;
    out->percent[i] = percent;
    out->mean[i] = sum / call->seed_count;
    out->low[i] = low;
    out->high[i] = high;
}

/* Curves of one metric; those of arms without a round are left out. */
static sow_status curves_of(const sow_study_call *call, const ticket_part *p, const char *const *arms, int arm_count,
                            const double *percent, const char *metric, sow_curve *curves, int *count) {
    *count = 0;
    for (int a = 0; a < arm_count; a++) {
        const char *arm = sow_arena_format(call->arena, "%s%s", arms[a], p->suffix);
        rounds found;
        if (!arm) return SOW_E_MEMORY;
        SOW_TRY(new_rounds(call->arena, p->rounds + 1, &found));
        for (int k = 0; k <= p->rounds; k++) {
            const char *name = sow_arena_format(call->arena, "%s at round %d", metric, k);
            if (!name) return SOW_E_MEMORY;
            add_round(call, arm, name, percent[k], &found);
        }
        bool spread = call->seed_count > 1;
        if (found.count > 0)
            curves[(*count)++] = (sow_curve){.name = arms[a],
                                             .count = found.count,
                                             .x = found.percent,
                                             .y = found.mean,
                                             .low = spread ? found.low : NULL,
                                             .high = spread ? found.high : NULL};
    }
    return SOW_OK;
}

sow_status ticket_plot_part(const sow_study_call *call, const ticket_part *p, const char *const *arms, int arm_count,
                            const double *percent) {
    const char *const metrics[] = {"accuracy", "early stop"}, *const files[] = {"accuracy", "early_stop"},
                      *const titles[] = {"Accuracy at the early stop", "When validation loss is least"},
                      *const labels[] = {"test accuracy", "early stop [steps]"};
    for (int m = 0; m < 2; m++) {
        sow_curve curves[ARMS_MAX];
        int count;
        bool written;
        SOW_TRY(
            curves_of(call, p, arms, arm_count < ARMS_MAX ? arm_count : ARMS_MAX, percent, metrics[m], curves, &count));
        if (count == 0) continue;
        const char *title = sow_arena_format(call->arena, "%s, %s%s", titles[m], p->arch, p->suffix),
                   *path = sow_arena_format(call->arena, "%s/%s%s.svg", call->folder, p->name, files[m]);
        if (!title || !path) return SOW_E_MEMORY;
        const sow_curves plot = sow_lottery_curves(title, labels[m], curves, count, curves[0].y[0]);
        SOW_TRY(sow_curves_write(call->arena, &plot, path, &written));
    }
    return SOW_OK;
}
