/* What unit tests share: cmocka, failing with Sow's own message, a folder of their own. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* ---- a folder of the test program's own ---- */

static char test_folder[512];

/* For a group's set-up: 0, or -1 if it cannot be made. The runner removes it with TMPDIR. */
static inline int make_test_folder(void) {
    const char *parent = getenv("TMPDIR");
    snprintf(test_folder, sizeof test_folder, "%s/test-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(test_folder) ? 0 : -1;
}

/* The path of a name in that folder. The last eight that were asked for stay valid. */
static inline const char *in_folder(const char *name) {
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ & 7];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder, name);
    return path;
}

#endif
