/* SVG text as a PNG file. */
#ifndef SOW_REPORT_PIXELS_H
#define SOW_REPORT_PIXELS_H

#include "sow/status.h"

/* Twice the drawing's size. SOW_E_UNSUPPORTED without librsvg; SOW_E_FORMAT if it is no SVG. */
sow_status pixels_write(const char *path, const char *svg);

#endif
