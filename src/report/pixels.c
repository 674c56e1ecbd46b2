/* SVG text as a PNG file, through librsvg and cairo. They are loaded when they are needed: every command would start
 * more slowly otherwise, and cells are commands. */
#include "report/pixels.h"

#ifdef SOW_HAVE_RSVG

#include <dlfcn.h>
#include <librsvg/rsvg.h>
#include <stdbool.h>
#include <string.h>

#include "sow/file.h"

#define LIBRARY "librsvg-2.so.2"
enum { ZOOM = 2 };

/* The functions in use; cairo's and GObject's are found through librsvg, which is linked with them. */
#define FUNCTIONS(each)                                                                                              \
    each(rsvg_handle_new_from_data) each(rsvg_handle_get_intrinsic_size_in_pixels) each(rsvg_handle_render_document) \
        each(cairo_image_surface_create) each(cairo_create) each(cairo_status) each(cairo_destroy)                   \
            each(cairo_surface_write_to_png_stream) each(cairo_surface_destroy) each(g_object_unref)

typedef struct painter {
#define MEMBER(name) __typeof__(&name) name##_;
    FUNCTIONS(MEMBER)
} painter;

static sow_status load(const char *path, painter *p) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL); /* stays: GLib cannot be unloaded */
    bool whole = library != NULL;
    void *symbol;
#define FIND(name)                                   \
    symbol = library ? dlsym(library, #name) : NULL; \
    whole = whole && symbol;                         \
    memcpy(&p->name##_, &symbol, sizeof symbol);
    FUNCTIONS(FIND)
    if (whole) return SOW_OK;
    return sow_fail(SOW_E_UNSUPPORTED, "%s: PNG needs %s (package librsvg2-2); .svg works", path, LIBRARY);
}

static cairo_status_t put(void *writer, const unsigned char *data, unsigned int length) {
    return sow_writer_put(writer, data, length) ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

static sow_status draw(const painter *p, const char *path, RsvgHandle *handle, cairo_surface_t **surface) {
    double width, height;
    if (!p->rsvg_handle_get_intrinsic_size_in_pixels_(handle, &width, &height))
        return sow_fail(SOW_E_FORMAT, "%s: the drawing has no size", path);
    *surface = p->cairo_image_surface_create_(CAIRO_FORMAT_ARGB32, (int)(ZOOM * width), (int)(ZOOM * height));
    cairo_t *cairo = p->cairo_create_(*surface);
    RsvgRectangle all = {0, 0, ZOOM * width, ZOOM * height};
    gboolean drawn = p->rsvg_handle_render_document_(handle, cairo, &all, NULL);
    bool ok = drawn && p->cairo_status_(cairo) == CAIRO_STATUS_SUCCESS;
    p->cairo_destroy_(cairo);
    return ok ? SOW_OK : sow_fail(SOW_E_FORMAT, "%s: the drawing cannot be turned into pixels", path);
}

sow_status pixels_write(const char *path, const char *svg) {
    painter p;
    sow_writer *writer = NULL;
    cairo_surface_t *surface = NULL;
    SOW_TRY(load(path, &p));
    RsvgHandle *handle = p.rsvg_handle_new_from_data_((const guint8 *)svg, strlen(svg), NULL);
    if (!handle) return sow_fail(SOW_E_FORMAT, "%s: the drawing is no SVG", path);
    sow_status status = draw(&p, path, handle, &surface);
    if (!status) status = sow_writer_open(path, &writer);
    if (!status && p.cairo_surface_write_to_png_stream_(surface, put, writer) != CAIRO_STATUS_SUCCESS)
        status = sow_fail(SOW_E_IO, "%s: the pixels cannot be written", path);
    if (surface) p.cairo_surface_destroy_(surface);
    p.g_object_unref_(handle);
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
