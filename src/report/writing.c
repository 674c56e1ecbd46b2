/* Text that grows in an arena; escaping for XML and HTML. */
#include "report/writing.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- growing ---- */

static bool make_room(writing *w, size_t more) {
    if (w->failed) return false;
    if (w->length + more + 1 <= w->capacity) return true;
    size_t capacity = w->capacity ? 2 * w->capacity : 4096;
    while (capacity < w->length + more + 1) capacity *= 2;
    char *larger = sow_arena_take_raw(w->arena, capacity, 1);
    if (!larger) {
        w->failed = true;
        return false;
    }
    if (w->length) memcpy(larger, w->data, w->length);
    w->data = larger;
    w->capacity = capacity;
    return true;
}

void writing_bytes(writing *w, const char *bytes, size_t length) {
    if (!make_room(w, length)) return;
    memcpy(w->data + w->length, bytes, length);
    w->length += length;
}

void writing_put(writing *w, const char *text) {
    writing_bytes(w, text, strlen(text));
}

void writing_format(writing *w, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0) w->failed = true;
    else if (make_room(w, (size_t)length)) {
        vsnprintf(w->data + w->length, (size_t)length + 1, format, again);
        w->length += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

sow_status writing_end(writing *w, const char **text) {
    if (!make_room(w, 0)) return SOW_E_MEMORY;
    w->data[w->length] = 0;
    *text = w->data;
    return SOW_OK;
}

/* ---- characters ---- */

static bool continues(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

int utf8_length(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    if (c[0] < 0x20) return c[0] == '\t' || c[0] == '\n';
    if (c[0] < 0x80) return c[0] != 0x7f;
    if (c[0] >= 0xc2 && c[0] < 0xe0) return continues(c[1]) && (c[0] != 0xc2 || c[1] >= 0xa0) ? 2 : 0; /* no C1 */
    if ((c[0] & 0xf0) == 0xe0) {
        if (!continues(c[1]) || !continues(c[2])) return 0;
        if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] >= 0xa0)) return 0; /* too long, surrogates */
        return c[0] == 0xef && c[1] == 0xbf && c[2] >= 0xbe ? 0 : 3;                   /* U+FFFE, U+FFFF */
    }
    if (c[0] < 0xf0 || c[0] > 0xf4 || !continues(c[1]) || !continues(c[2]) || !continues(c[3])) return 0;
    return (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] >= 0x90) ? 0 : 4;
}

void writing_escaped(writing *w, const char *text) {
    while (*text) {
        int length = utf8_length(text);
        switch (length == 1 ? *text : 0) {
        case '<': writing_put(w, "&lt;"); break;
        case '>': writing_put(w, "&gt;"); break;
        case '&': writing_put(w, "&amp;"); break;
        case '"': writing_put(w, "&quot;"); break;
        case '\'': writing_put(w, "&#39;"); break;
        default:
            if (length) writing_bytes(w, text, (size_t)length);
            else writing_put(w, "\xef\xbf\xbd");
        }
        text += length ? length : 1;
    }
}

void writing_pixel(writing *w, double value) {
    double tenths = round(value * 10);
    if (fmod(tenths, 10) == 0) writing_format(w, "%.0f", tenths == 0 ? 0.0 : tenths / 10);
    else writing_format(w, "%.1f", tenths / 10);
}
