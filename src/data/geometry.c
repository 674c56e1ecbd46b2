/* Sizes of inputs as people write them: 3x32x32. */
#include <stdlib.h>

#include "sow/data.h"

sow_status sow_geometry_parse(const char *text, int64_t classes, sow_geometry *out) {
    const char *at = text;
    int64_t sizes[3] = {0};
    for (int d = 0; text && d < 3; d++) {
        char *behind;
        bool digit = *at >= '0' && *at <= '9';
        sizes[d] = strtoll(at, &behind, 10);
        bool ended = *behind == (d < 2 ? 'x' : 0);
        if (!digit || !ended || sizes[d] < 1 || sizes[d] > 1 << 20)
            return sow_fail(SOW_E_ARGUMENT, "found '%s', expected channels x height x width like 3x32x32", text);
        at = behind + 1;
    }
    *out = (sow_geometry){.channels = sizes[0], .height = sizes[1], .width = sizes[2], .classes = classes};
    return SOW_OK;
}
