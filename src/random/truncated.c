/* Truncated normals: which proposal accepts often on a given interval (Robert 1995, arXiv 0907.4010). */
#include <math.h>

#include "internal.h"

/* Every branch accepts at least a third of its proposals, however narrow or far out the interval is. */
random_truncation random_truncation_of(double mean, double sd, double low, double high) {
    const double far = 1e150; /* its square is finite; bounds beyond are met by the final clamp */
    random_truncation t = {.mean = mean, .sd = sd};
    t.a = fmax(-far, fmin(far, (low - mean) / sd));
    t.b = fmax(-far, fmin(far, (high - mean) / sd));
    if (t.b <= 0.0) { /* to the left of the mean: mirrored */
        double a = t.a;
        t.a = -t.b;
        t.b = -a;
        t.sd = -sd;
    }
    if (t.a <= 0.0) {
        t.proposal = t.b - t.a < 2.0 ? PROPOSE_UNIFORM : PROPOSE_NORMAL;
        return t;
    }
    t.peak = t.a;
    t.rate = 0.5 * (t.a + sqrt(t.a * t.a + 4.0));
    t.proposal = (t.b - t.a) * t.rate < 1.0 ? PROPOSE_UNIFORM : PROPOSE_EXPONENTIAL;
    return t;
}

bool random_truncation_propose(const random_truncation *t, double u1, double u2, double *out) {
    double z, log_acceptance;
    if (t->proposal == PROPOSE_UNIFORM) {
        z = t->a + u1 * (t->b - t->a);
        log_acceptance = 0.5 * (t->peak - z) * (t->peak + z);
    } else {
        z = t->a - sow_log(u1) / t->rate;
        if (z > t->b) return false;
        log_acceptance = -0.5 * (z - t->rate) * (z - t->rate);
    }
    *out = t->mean + t->sd * z;
    return sow_log(u2) <= log_acceptance;
}

/* Moves a uniform of [0, 1) off zero, whose logarithm would propose infinity. */
static double open_unit(double u) {
    return u > 0.0 ? u : 0x1p-54;
}

double random_truncation_draw(const random_truncation *t, sow_rng *rng, const random_methods *methods, double low,
                              double high) {
    double x, u[2];
    if (t->proposal == PROPOSE_NORMAL) {
        do methods->normal_f64(rng, &x, 1, t->mean, fabs(t->sd));
        while (x < low || x > high);
        return x;
    }
    do methods->uniform_f64(rng, u, 2, 0.0, 1.0);
    while (!random_truncation_propose(t, open_unit(u[0]), open_unit(u[1]), &x));
    return fmax(low, fmin(high, x)); /* rounding may step over a bound */
}
