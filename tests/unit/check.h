/* What unit tests share: cmocka, and failing with Sow's own message. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sow/sow.h"

/* The call must succeed; otherwise its message is shown. */
#define OK(call)                                                            \
    do {                                                                    \
        sow_status ok_status_ = (call);                                     \
        if (ok_status_ != SOW_OK) fail_msg("%s: %s", #call, sow_message()); \
    } while (0)

/* The call must fail with that status, and its message must contain the text. */
#define FAILS(call, status, text)                                                                          \
    do {                                                                                                   \
        assert_int_equal((call), (status));                                                                \
        if (!strstr(sow_message(), (text))) fail_msg("message '%s' lacks '%s'", sow_message(), (text));     \
    } while (0)

static inline void assert_near(double found, double expected, double tolerance) {
    double gap = found > expected ? found - expected : expected - found;
    if (!(gap <= tolerance)) fail_msg("found %.17g, expected %.17g within %g", found, expected, tolerance);
}

#endif
