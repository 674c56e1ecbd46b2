/* How a sequence of errors falls: exponentially, by a power of the step, or no more. */
#include <math.h>

#include "sow/factors.h"

typedef struct line {
    double slope, r2;
} line;

/* Least squares of ln e against x(t), t from 1. */
static line fit(const double *e, int64_t first, int64_t last, bool logarithmic) {
    double n = (double)(last - first + 1), sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0;
    for (int64_t t = first; t <= last; t++) {
        double x = logarithmic ? log((double)t + 1) : (double)t, y = log(e[t]);
        sx += x, sy += y;
    }
    double mx = sx / n, my = sy / n;
    for (int64_t t = first; t <= last; t++) {
        double x = (logarithmic ? log((double)t + 1) : (double)t) - mx, y = log(e[t]) - my;
        sxx += x * x, sxy += x * y, syy += y * y;
    }
    if (sxx == 0 || syy == 0) return (line){0, 0};
    return (line){sxy / sxx, sxy * sxy / (sxx * syy)};
}

sow_decay_fit sow_decay_of(const double *e, int64_t n, int64_t from, double floor) {
    sow_decay_fit out = {.first = from};
    while (out.first < n && !(e[out.first] <= 1e-2 * e[0])) out.first++;
    out.last = out.first;
    while (out.last + 1 < n && e[out.last + 1] > floor && e[out.last + 1] > 0) out.last++;
    if (out.last - out.first < 20 || e[out.first] <= floor) return out;
    out.first += (out.last - out.first) / 3;
    int64_t third = out.last - (out.last - out.first) / 2;
    if (log(e[third] / e[out.last]) < 0.02) { /* it has stopped: what fell before is fitted */
        out.kind = SOW_DECAY_FLOOR;
        double end = e[out.last];
        out.first = from;
        while (e[out.first] > 1e-2 * e[0]) out.first++;
        while (out.last > out.first && e[out.last - 1] < 3 * end) out.last--;
        if (out.last - out.first < 5) return out;
    }
    line linear = fit(e, out.first, out.last, false), power = fit(e, out.first, out.last, true);
    out.rate = -linear.slope;
    out.r2_linear = linear.r2;
    out.slope = power.slope;
    out.r2_power = power.r2;
    if (out.kind == SOW_DECAY_UNKNOWN) out.kind = linear.r2 >= power.r2 ? SOW_DECAY_LINEAR : SOW_DECAY_POWER;
    return out;
}
