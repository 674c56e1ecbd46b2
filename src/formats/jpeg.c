/* JPEG through libjpeg-turbo. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "formats/image.h"

/* Progressive files may hold any number of scans over all pixels: honest ones have about ten. */
enum { SCANS_MAX = 500 };
/* A block of 64 pixels costs at least a bit or so; runs of empty blocks in progressive scans cost next to nothing. */
enum { PIXELS_PER_BYTE = 1 << 16 };
enum { MEMORY_MAX = 1 << 30 };

bool sow_is_jpeg(const uint8_t *data, size_t size) {
    return size >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff;
}

/* What libjpeg's callbacks and the code behind setjmp share: it lives in the caller, so longjmp loses nothing. */
typedef struct jpeg {
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    sow_arena *arena;
    const char *place;
    const uint8_t *data;
    size_t size;
    jmp_buf failed;
    char reason[JMSG_LENGTH_MAX];
    bool no_memory;
    uint8_t *pixels;
    int channels;
} jpeg;

static void fail(jpeg *j, const char *reason) {
    snprintf(j->reason, sizeof j->reason, "%s", reason);
    longjmp(j->failed, 1);
}

static void on_error(j_common_ptr common) {
    jpeg *j = common->client_data;
    j->no_memory = common->err->msg_code == JERR_OUT_OF_MEMORY;
    common->err->format_message(common, j->reason);
    longjmp(j->failed, 1);
}

/* libjpeg fills what is missing with grey and only warns: that is damage. Other warnings are harmless. */
static void on_message(j_common_ptr common, int level) {
    int code = common->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE)) on_error(common);
}

static void on_progress(j_common_ptr common) {
    jpeg *j = common->client_data;
    if (common->is_decompressor && j->decoder.input_scan_number > SCANS_MAX) fail(j, "too many scans");
}

static sow_status failure(const jpeg *j) {
    if (j->no_memory) return sow_fail(SOW_E_MEMORY, "%s: out of memory for a JPEG image", j->place);
    size_t at = j->decoder.src && j->decoder.src->bytes_in_buffer <= j->size ? j->size - j->decoder.src->bytes_in_buffer : 0;
    return sow_fail(SOW_E_FORMAT, "%s: byte %zu: damaged JPEG: %s", j->place, at, j->reason);
}

static sow_status read_start(jpeg *j) {
    if (setjmp(j->failed)) return failure(j);
    jpeg_create_decompress(&j->decoder);
    j->decoder.mem->max_memory_to_use = MEMORY_MAX;
    j->decoder.progress = &j->progress;
    jpeg_mem_src(&j->decoder, j->data, j->size);
    jpeg_read_header(&j->decoder, TRUE);
    J_COLOR_SPACE space = j->decoder.jpeg_color_space;
    if (space != JCS_GRAYSCALE && space != JCS_YCbCr && space != JCS_RGB) fail(j, "four colours (CMYK), expected grey or RGB");
    return SOW_OK;
}

static sow_status read_pixels(jpeg *j) {
    if (setjmp(j->failed)) return failure(j);
    j->decoder.out_color_space = j->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_start_decompress(&j->decoder);
    size_t stride = (size_t)j->decoder.output_width * (size_t)j->channels;
    if (j->decoder.output_components != j->channels) fail(j, "another number of colours than declared");
    while (j->decoder.output_scanline < j->decoder.output_height) {
        JSAMPROW row = j->pixels + j->decoder.output_scanline * stride;
        jpeg_read_scanlines(&j->decoder, &row, 1);
    }
    jpeg_finish_decompress(&j->decoder);
    return SOW_OK;
}

static sow_status decode(jpeg *j, int channels, sow_tensor *out) {
    SOW_TRY(read_start(j));
    int64_t width = j->decoder.image_width, height = j->decoder.image_height;
    SOW_TRY(sow_image_check(j->place, width, height, j->size, PIXELS_PER_BYTE));
    SOW_TRY(sow_image_channels(j->place, j->decoder.jpeg_color_space == JCS_GRAYSCALE ? 1 : 3, channels, &j->channels));
    sow_arena *scratch;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = SOW_NEW_RAW(scratch, j->pixels, width * height * j->channels);
    if (status == SOW_OK) status = read_pixels(j);
    if (status == SOW_OK) status = sow_image_planes(j->arena, j->pixels, j->channels, height, width, out);
    sow_arena_free(scratch);
    return status;
}

sow_status sow_jpeg_decode(sow_arena *arena, const char *place, const uint8_t *data, size_t size, int channels, sow_tensor *out) {
    jpeg j = {.arena = arena, .place = place, .data = data, .size = size};
    j.decoder.err = jpeg_std_error(&j.errors);
    j.decoder.client_data = &j;
    j.errors.error_exit = on_error;
    j.errors.emit_message = on_message;
    j.progress.progress_monitor = on_progress;
    sow_status status = decode(&j, channels, out);
    jpeg_destroy_decompress(&j.decoder);
    return status;
}
