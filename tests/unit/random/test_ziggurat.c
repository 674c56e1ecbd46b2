/* Tables of the ziggurat: layers of one area, and NumPy's bits. */
#include "check.h"

#include <math.h>

#include "random/ziggurat.h"

static void every_layer_has_the_same_area(void **state) {
    const ziggurat_tables *z = ziggurat();
    const double area = 0.00492867323397465493; /* r exp(-r^2/2) + sqrt(pi/2) erfc(r/sqrt 2), r = 3.6541528853610088 */
    for (int i = 1; i < 256; i++)
        assert_near(z->width[i] * 0x1p52 * (z->height[i - 1] - z->height[i]), area, i == 1 ? 1e-13 : 1e-15);
    assert_near(z->width[0] * 0x1p52 * z->height[255], area, 1e-15); /* the block that stands for the tail */
    assert_near(z->width[255] * 0x1p52, 3.6541528853610088, 0);
}

static void shares_and_heights_are_those_of_the_widths(void **state) {
    const ziggurat_tables *z = ziggurat();
    for (int i = 1; i < 256; i++) {
        double x = z->width[i] * 0x1p52;
        assert_near(z->height[i], exp(-0.5 * x * x), 2e-16);
        if (i > 1) assert_near((double)z->inside[i] * 0x1p-52, z->width[i - 1] / z->width[i], 0x1p-52);
    }
    assert_int_equal(z->inside[1], 0); /* the top layer has nothing wholly under the density */
}

/* Of numpy/random/src/distributions/ziggurat_constants.h: little-endian ki_double, wi_double, fi_double one after another. */
static void tables_have_numpys_bits(void **state) {
    const ziggurat_tables *z = ziggurat();
    unsigned char bytes[3 * 256 * 8];
    char hex[65];
    memcpy(bytes, z->inside, 2048);
    memcpy(bytes + 2048, z->width, 2048);
    memcpy(bytes + 4096, z->height, 2048);
    sow_sha256(bytes, sizeof bytes, hex);
    assert_string_equal(hex, "d46841a090f638a74c6bd112345fe681089be798d725b251129f062cad5521a3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_has_the_same_area),
        cmocka_unit_test(shares_and_heights_are_those_of_the_widths),
        cmocka_unit_test(tables_have_numpys_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
