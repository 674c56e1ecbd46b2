/* Tables of the ziggurat with 256 layers (Marsaglia and Tsang 2000), equal in every bit to those that NumPy stores.
 *
 * The layers have equal area v; the one at the bottom holds the tail beyond r. From its right end x_255 = r each layer
 * gives the next above it: f(x_i) = f(x_{i+1}) + v / x_{i+1}, where f(x) = exp(-x^2/2). NumPy's tables came of that in
 * double precision with exponentials and logarithms that were rounded correctly, but for one: f(x_38) was rounded up.
 * So are these, from exactly rounded operations alone, on every processor. */
#include "ziggurat.h"

#include <math.h>
#include <pthread.h>

#include "exact.h"
#include "sow/random.h"

/* The unevaluated sum of a double and a much smaller one: 106 bits. */
typedef struct pair {
    double high, low;
} pair;

static pair sum(double a, double b) {
    double high = a + b, part = high - a;
    return (pair){high, (a - (high - part)) + (b - part)};
}

/* Dekker's product: each factor is cut into halves of 26 bits, whose products are exact. */
static pair product(double a, double b) {
    const double cut = 0x1p27 + 1;
    double ta = cut * a, tb = cut * b, a1 = ta - (ta - a), b1 = tb - (tb - b), a2 = a - a1, b2 = b - b1, high = a * b;
    return (pair){high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2};
}

static pair plus(pair a, double b) {
    pair s = sum(a.high, b);
    return sum(s.high, s.low + a.low);
}

static pair times(pair a, pair b) {
    pair p = product(a.high, b.high);
    return sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}

/* exp(x), |x| < 8, to about 100 bits: 256 roots of it by Taylor's series, then eight squares. */
static pair exponential(double x) {
    pair y = {x / 256, 0}, e = {1, 0};
    for (int n = 14; n > 0; n--) { /* Horner: 1 + y/n (1 + y/(n+1) (...)) */
        pair share = times(e, y);
        double q = share.high / n;
        pair back = product(q, n);
        e = plus(sum(q, ((share.high - back.high) - back.low + share.low) / n), 1);
    }
    for (int i = 0; i < 8; i++) e = times(e, e);
    return e;
}

/* log(x) to the nearest: what is left of x after exp of a first guess is 1 + d, and d is tiny. */
static double logarithm(double x) {
    double guess = sow_log(x);
    pair rest = plus(times(exponential(-guess), (pair){x, 0}), -1);
    return guess + rest.high;
}

static ziggurat_tables tables;

static void make_tables(void) {
    const double area = 0.0049286732339746519, two52 = 0x1p52; /* area: v, its last two bits NumPy's */
    double right = ZIGGURAT_TAIL, height = exponential(-0.5 * right * right).high, bottom = area / height;
    tables.inside[0] = (uint64_t)rint(right / bottom * two52);
    tables.width[0] = bottom / two52; /* of a block as large as the tail and what lies beside it */
    tables.height[0] = 1;
    for (int i = 255; i > 0; i--) {
        tables.width[i] = right / two52;
        tables.height[i] = height;
        double above = sqrt(-2 * logarithm(area / right + height));
        tables.inside[i] = i == 1 ? 0 : (uint64_t)rint(above / right * two52);
        right = above;
        height = exponential(-0.5 * right * right).high;
        if (i - 1 == 38) height = nextafter(height, 1);
    }
}

const ziggurat_tables *ziggurat(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
    return &tables;
}
