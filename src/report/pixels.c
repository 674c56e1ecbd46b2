/* SVG text as a PNG file, through librsvg and cairo. */
#include "report/pixels.h"

#ifdef SOW_HAVE_RSVG

#include <librsvg/rsvg.h>
#include <string.h>

#include "sow/file.h"

enum { ZOOM = 2 };

static cairo_status_t put(void *writer, const unsigned char *data, unsigned int length) {
    return sow_writer_put(writer, data, length) ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

static sow_status draw(const char *path, RsvgHandle *handle, cairo_surface_t **surface) {
    double width, height;
    if (!rsvg_handle_get_intrinsic_size_in_pixels(handle, &width, &height))
        return sow_fail(SOW_E_FORMAT, "%s: the drawing has no size", path);
    *surface = cairo_image_surface_create(CAIRO_FORMAT_ARGB32, (int)(ZOOM * width), (int)(ZOOM * height));
    cairo_t *cairo = cairo_create(*surface);
    RsvgRectangle all = {0, 0, ZOOM * width, ZOOM * height};
    gboolean drawn = rsvg_handle_render_document(handle, cairo, &all, NULL);
    bool ok = drawn && cairo_status(cairo) == CAIRO_STATUS_SUCCESS;
    cairo_destroy(cairo);
    return ok ? SOW_OK : sow_fail(SOW_E_FORMAT, "%s: the drawing cannot be turned into pixels", path);
}

sow_status pixels_write(const char *path, const char *svg) {
    sow_writer *writer = NULL;
    cairo_surface_t *surface = NULL;
    RsvgHandle *handle = rsvg_handle_new_from_data((const guint8 *)svg, strlen(svg), NULL);
    if (!handle) return sow_fail(SOW_E_FORMAT, "%s: the drawing is no SVG", path);
    sow_status status = draw(path, handle, &surface);
    if (!status) status = sow_writer_open(path, &writer);
    if (!status && cairo_surface_write_to_png_stream(surface, put, writer) != CAIRO_STATUS_SUCCESS)
        status = sow_fail(SOW_E_IO, "%s: the pixels cannot be written", path);
    if (surface) cairo_surface_destroy(surface);
    g_object_unref(handle);
    if (!status) return sow_writer_commit(writer);
    sow_writer_abort(writer);
    return status;
}

#else

sow_status pixels_write(const char *path, const char *svg) {
    return sow_fail(SOW_E_UNSUPPORTED, "%s: PNG needs librsvg when sow is built (package librsvg2-dev); .svg works",
                    path);
}

#endif
