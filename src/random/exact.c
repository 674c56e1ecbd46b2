/* The public logarithm, sine and cosine with the same bits everywhere: special values and range reduction. */
#include <float.h>
#include <math.h>

#include "exact.h"
#include "sow/random.h"

double sow_log(double x) {
    if (!(x > 0.0)) return x == 0.0 ? -INFINITY : NAN;
    if (x > DBL_MAX) return x;
    if (x < DBL_MIN) return exact_log_f64(x * 0x1p54) - 54.0 * 0.69314718055994530942;
    return exact_log_f64(x);
}

/* x minus `multiple` times pi/2, as a sum of two doubles. pi/2 is cut into pieces of 33 bits, so that products
 * with a multiple under 2^20 are exact (fdlibm's e_rem_pio2). */
static double reduce(double x, double multiple, double *low) {
    static const double piece[3] = {1.57079632673412561417e+00, 6.07710050630396597660e-11, 2.02226624871116645580e-21};
    static const double rest[3] = {6.07710050650619224932e-11, 2.02226624879595063154e-21, 8.47842766036889956997e-32};
    double remainder = x - multiple * piece[0];
    double correction = multiple * rest[0];
    double high = remainder - correction;
    /* Each further piece is needed only where the leading bits cancel. */
    for (int k = 1; k < 3 && !(fabs(high) > fabs(x) * (k == 1 ? 0x1p-16 : 0x1p-49)); k++) {
        double before = remainder;
        double product = multiple * piece[k];
        remainder = before - product;
        correction = multiple * rest[k] - ((before - remainder) - product);
        high = remainder - correction;
    }
    *low = (remainder - high) - correction;
    return high;
}

void sow_sincos(double x, double *sine, double *cosine) {
    if (!(fabs(x) <= SOW_SINCOS_LIMIT)) {
        *sine = *cosine = NAN;
        return;
    }
    double multiple = (x * (2.0 / 3.14159265358979323846) + 0x1.8p52) - 0x1.8p52; /* to the nearest integer */
    double low;
    double angle = reduce(x, multiple, &low);
    double s = exact_sine_f64(angle, low);
    double c = exact_cosine_f64(angle, low);
    unsigned quadrant = (unsigned)(int)multiple & 3u;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}
