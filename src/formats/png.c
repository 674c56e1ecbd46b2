/* PNG through libpng. */
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "formats/image.h"
#include "sow/file.h"

enum { CHUNK_BYTES_MAX = 8 << 20, CHUNKS_MAX = 1000 };
/* Deflate unpacks to at most 1,032 times its size, and a pixel has at least one bit. */
enum { PIXELS_PER_BYTE = 8 * 1032 };

bool sow_is_png(const uint8_t *data, size_t size) {
    return size >= 8 && png_sig_cmp(data, 0, 8) == 0;
}

/* What libpng's callbacks and the code behind setjmp share: it lives in the caller, so longjmp loses nothing. */
typedef struct png {
    sow_arena *arena;
    const char *place;
    const uint8_t *data;
    size_t size, at;
    sow_writer *writer;
    jmp_buf failed;
    char reason[128];
    bool no_memory;
    png_structp handle;
    png_infop info, end;
    uint8_t *pixels, **rows;
    int64_t width, height;
    int channels;
} png;

static void on_error(png_structp handle, png_const_charp text) {
    png *p = png_get_error_ptr(handle);
    strncpy(p->reason, text, sizeof p->reason - 1);
    longjmp(p->failed, 1);
}

static void on_warning(png_structp handle, png_const_charp text) {
    (void)handle;
    (void)text;
}

static png_voidp take(png_structp handle, png_alloc_size_t size) {
    png *p = png_get_mem_ptr(handle);
    void *memory = sow_reallocate(NULL, size ? size : 1);
    if (!memory) p->no_memory = true;
    return memory;
}

static void give_back(png_structp handle, png_voidp memory) {
    (void)handle;
    sow_release(memory);
}

static void read_bytes(png_structp handle, png_bytep out, size_t wanted) {
    png *p = png_get_io_ptr(handle);
    if (wanted > p->size - p->at) png_error(handle, "the file ends early (truncated?)");
    memcpy(out, p->data + p->at, wanted);
    p->at += wanted;
}

static sow_status failure(const png *p) {
    if (p->no_memory) return sow_fail(SOW_E_MEMORY, "%s: out of memory for a PNG image", p->place);
    return sow_fail(SOW_E_FORMAT, "%s: byte %zu: damaged PNG: %s", p->place, p->at, p->reason);
}

/* Everything becomes 8-bit grey or RGB. */
static void ask_for_pixels(png *p) {
    png_byte colour = png_get_color_type(p->handle, p->info), depth = png_get_bit_depth(p->handle, p->info);
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(p->handle);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(p->handle);
    if (depth == 16) png_set_scale_16(p->handle);
    png_set_strip_alpha(p->handle);
    if (p->channels == 3) png_set_gray_to_rgb(p->handle);
    png_set_interlace_handling(p->handle);
    png_read_update_info(p->handle, p->info);
}

static sow_status read_start(png *p) {
    if (setjmp(p->failed)) return failure(p);
    png_set_read_fn(p->handle, p, read_bytes);
    png_set_user_limits(p->handle, SOW_IMAGE_SIDE_MAX, SOW_IMAGE_SIDE_MAX);
    png_set_chunk_malloc_max(p->handle, CHUNK_BYTES_MAX);
    png_set_chunk_cache_max(p->handle, CHUNKS_MAX);
    png_read_info(p->handle, p->info);
    p->width = png_get_image_width(p->handle, p->info);
    p->height = png_get_image_height(p->handle, p->info);
    return SOW_OK;
}

static sow_status read_pixels(png *p) {
    if (setjmp(p->failed)) return failure(p);
    ask_for_pixels(p);
    if (png_get_rowbytes(p->handle, p->info) != (size_t)(p->width * p->channels)) png_error(p->handle, "rows of another size than declared");
    png_read_image(p->handle, p->rows);
    png_read_end(p->handle, NULL);
    return SOW_OK;
}

static sow_status decode(png *p, int channels, sow_tensor *out) {
    SOW_TRY(read_start(p));
    SOW_TRY(sow_image_check(p->place, p->width, p->height, p->size, PIXELS_PER_BYTE));
    int stored = png_get_color_type(p->handle, p->info) & (PNG_COLOR_MASK_COLOR | PNG_COLOR_MASK_PALETTE) ? 3 : 1;
    SOW_TRY(sow_image_channels(p->place, stored, channels, &p->channels));
    sow_arena *scratch;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = SOW_NEW_RAW(scratch, p->pixels, p->height * p->width * p->channels);
    if (status == SOW_OK) status = SOW_NEW_RAW(scratch, p->rows, p->height);
    if (status == SOW_OK) {
        for (int64_t y = 0; y < p->height; y++) p->rows[y] = p->pixels + y * p->width * p->channels;
        status = read_pixels(p);
    }
    if (status == SOW_OK) status = sow_image_planes(p->arena, p->pixels, p->channels, p->height, p->width, out);
    sow_arena_free(scratch);
    return status;
}

sow_status sow_png_decode(sow_arena *arena, const char *place, const uint8_t *data, size_t size, int channels, sow_tensor *out) {
    png p = {.arena = arena, .place = place, .data = data, .size = size};
    p.handle = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &p, on_error, on_warning, &p, take, give_back);
    p.info = p.handle ? png_create_info_struct(p.handle) : NULL;
    sow_status status = p.info ? decode(&p, channels, out) : sow_fail(SOW_E_MEMORY, "%s: out of memory for a PNG image", place);
    png_destroy_read_struct(&p.handle, &p.info, NULL);
    return status;
}

/* ---- writing ---- */

static void write_bytes(png_structp handle, png_bytep data, size_t size) {
    png *p = png_get_io_ptr(handle);
    if (sow_writer_put(p->writer, data, size) != SOW_OK) png_error(handle, "cannot be written"); /* the writer keeps the reason */
}

static void flush_nothing(png_structp handle) {
    (void)handle;
}

static sow_status encode(png *p) {
    if (setjmp(p->failed)) return failure(p);
    png_set_write_fn(p->handle, p, write_bytes, flush_nothing);
    png_set_IHDR(p->handle, p->info, (png_uint_32)p->width, (png_uint_32)p->height, 8, p->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(p->handle, p->info);
    png_write_image(p->handle, p->rows);
    png_write_end(p->handle, NULL);
    return SOW_OK;
}

/* [C, H, W] with any strides becomes rows of interleaved pixels. */
static sow_status interleave(png *p, sow_tensor image) {
    SOW_TRY(SOW_NEW_RAW(p->arena, p->pixels, p->height * p->width * p->channels));
    SOW_TRY(SOW_NEW_RAW(p->arena, p->rows, p->height));
    sow_tensor rows = SOW_TENSOR(p->pixels, SOW_U8, p->height, p->width, p->channels);
    SOW_TRY(sow_copy(sow_permute(rows, (int[]){2, 0, 1}), image));
    for (int64_t y = 0; y < p->height; y++) p->rows[y] = p->pixels + y * p->width * p->channels;
    return SOW_OK;
}

static sow_status write_image(png *p, const char *path, sow_tensor image) {
    SOW_TRY(interleave(p, image));
    p->handle = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, p, on_error, on_warning, p, take, give_back);
    p->info = p->handle ? png_create_info_struct(p->handle) : NULL;
    sow_status status = p->info ? sow_writer_open(path, &p->writer) : sow_fail(SOW_E_MEMORY, "%s: out of memory for a PNG image", path);
    if (status == SOW_OK) {
        status = encode(p);
        if (status == SOW_OK) status = sow_writer_commit(p->writer);
        else sow_writer_abort(p->writer);
    }
    png_destroy_write_struct(&p->handle, &p->info);
    return status;
}

sow_status sow_image_write(const char *path, sow_tensor image) {
    char shape[SOW_SHAPE_TEXT];
    if (image.dtype != SOW_U8 || image.rank != 3 || (image.shape[0] != 1 && image.shape[0] != 3))
        return sow_fail(SOW_E_SHAPE, "%s: an image of %s %s, expected U8 [1 or 3, height, width]", path, sow_dtype_name(image.dtype), sow_shape_text(image, shape));
    SOW_TRY(sow_image_check(path, image.shape[2], image.shape[1], SIZE_MAX / 2, 1));
    png p = {.place = path, .channels = (int)image.shape[0], .height = image.shape[1], .width = image.shape[2]};
    SOW_TRY(sow_arena_new(&p.arena));
    sow_status status = write_image(&p, path, image);
    sow_arena_free(p.arena);
    return status;
}
