/* PNG and JPEG: pixels come out as they went in, and damaged images are refused. */
#include "check.h"

#include <math.h>
#include <jpeglib.h>
#include <png.h>

static sow_arena *arena;

static int set_up(void **unused) {
    return make_test_folder() == 0 && sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int tear_down(void **unused) {
    sow_arena_free(arena);
    return 0;
}

/* A PNG of any kind written by libpng itself: `rows` are its own packed rows. */
static size_t png_bytes(uint8_t *out, size_t room, int width, int height, int depth, int colour, int interlace, const uint8_t *rows, size_t stride) {
    char *memory = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&memory, &size);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, colour, interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[4] = {{1, 2, 3}, {10, 20, 30}, {100, 110, 120}, {200, 210, 220}};
        png_byte alpha[2] = {0, 128};
        png_set_PLTE(png, info, palette, 4);
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_bytep pointers[16];
    for (int y = 0; y < height; y++) pointers[y] = (png_bytep)(uintptr_t)(rows + (size_t)y * stride);
    png_set_rows(png, info, pointers);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(file);
    assert_true(size <= room);
    memcpy(out, memory, size);
    free(memory);
    return size;
}

static sow_tensor decoded(const uint8_t *bytes, size_t size, int channels) {
    sow_tensor t;
    if (sow_image_decode(arena, "test.png", bytes, size, channels, &t) != SOW_OK) fail_msg("%s", sow_message());
    return t;
}

static void check_values(sow_tensor t, int channels, const int *expected) {
    assert_int_equal(t.dtype, SOW_U8);
    assert_int_equal(t.shape[0], channels);
    for (int64_t i = 0; i < sow_count(t); i++)
        if (((uint8_t *)t.data)[i] != expected[i]) fail_msg("value %d is %d, expected %d", (int)i, ((uint8_t *)t.data)[i], expected[i]);
}

static void every_kind_of_png_becomes_grey_or_rgb_planes(void **unused) {
    uint8_t b[4096];
    size_t n = png_bytes(b, sizeof b, 2, 2, 8, PNG_COLOR_TYPE_RGB, 0, (const uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 6);
    check_values(decoded(b, n, 0), 3, (int[]){1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12});
    n = png_bytes(b, sizeof b, 2, 1, 8, PNG_COLOR_TYPE_RGBA, 0, (const uint8_t[]){1, 2, 3, 0, 4, 5, 6, 128}, 8);
    check_values(decoded(b, n, 0), 3, (int[]){1, 4, 2, 5, 3, 6});
    n = png_bytes(b, sizeof b, 2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, (const uint8_t[]){9, 0, 8, 255}, 4);
    check_values(decoded(b, n, 0), 1, (int[]){9, 8});
    check_values(decoded(b, n, 3), 3, (int[]){9, 8, 9, 8, 9, 8});
    n = png_bytes(b, sizeof b, 8, 1, 1, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){0xa5}, 1);
    check_values(decoded(b, n, 0), 1, (int[]){255, 0, 255, 0, 0, 255, 0, 255});
    n = png_bytes(b, sizeof b, 2, 1, 16, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){0xff, 0xff, 0x00, 0xff}, 4);
    check_values(decoded(b, n, 0), 1, (int[]){255, 1}); /* scaled and rounded, not cut */
    n = png_bytes(b, sizeof b, 4, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, (const uint8_t[]){0x1b}, 1);
    check_values(decoded(b, n, 0), 3, (int[]){1, 10, 100, 200, 2, 20, 110, 210, 3, 30, 120, 220});
    uint8_t rows[64];
    int expected[64];
    for (int i = 0; i < 64; i++) rows[i] = (uint8_t)i, expected[i] = i;
    n = png_bytes(b, sizeof b, 8, 8, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_ADAM7, rows, 8);
    check_values(decoded(b, n, 0), 1, expected);
}

static void written_images_come_back(void **unused) {
    uint8_t pixels[3 * 5 * 7];
    for (int i = 0; i < 105; i++) pixels[i] = (uint8_t)(i * 37);
    for (int channels = 1; channels <= 3; channels += 2) {
        sow_tensor t, image = SOW_TENSOR(pixels, SOW_U8, channels, 5, 7);
        assert_int_equal(sow_image_write(in_folder("w.png"), image), SOW_OK);
        assert_int_equal(sow_image_read(arena, in_folder("w.png"), 0, &t), SOW_OK);
        assert_memory_equal(t.data, pixels, (size_t)channels * 35);
    }
    assert_int_equal(sow_image_write(in_folder("w2.png"), SOW_TENSOR(pixels, SOW_U8, 2, 5, 7)), SOW_E_SHAPE);
    assert_false(sow_path_exists(in_folder("w2.png")));
}

/* A smooth JPEG of that many colours by libjpeg itself. */
static size_t jpeg_bytes(uint8_t *out, size_t room, int channels, bool progressive) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *memory = NULL;
    unsigned long size = 0;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &memory, &size);
    c.image_width = 16, c.image_height = 24, c.input_components = channels;
    c.in_color_space = channels == 4 ? JCS_CMYK : channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 95, TRUE);
    if (progressive) jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < 24; y++) {
        uint8_t row[16 * 4];
        for (int x = 0; x < 16 * channels; x++) row[x] = (uint8_t)(8 * y + 20 * (x % channels));
        JSAMPROW rows[] = {row};
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    assert_true(size <= room);
    memcpy(out, memory, size);
    free(memory);
    return size;
}

static void jpegs_of_grey_and_colour_are_read(void **unused) {
    uint8_t b[8192];
    for (int channels = 1; channels <= 3; channels += 2)
        for (int progressive = 0; progressive < 2; progressive++) {
            sow_tensor t = decoded(b, jpeg_bytes(b, sizeof b, channels, progressive), 0);
            assert_int_equal(t.shape[0], channels);
            assert_int_equal(t.shape[1], 24);
            assert_int_equal(t.shape[2], 16);
            for (int c = 0; c < channels; c++)
                for (int y = 0; y < 24; y++) assert_in_range(((uint8_t *)t.data)[c * 384 + y * 16 + 5] + 6 - 8 * y - 20 * c, 0, 12);
        }
    sow_tensor t = decoded(b, jpeg_bytes(b, sizeof b, 1, false), 3);
    assert_int_equal(t.shape[0], 3);
    assert_memory_equal(t.data, (uint8_t *)t.data + 384, 384);
}

static void refused(const uint8_t *bytes, size_t size, int channels, sow_status expected, const char *says) {
    sow_tensor t;
    sow_status status = sow_image_decode(arena, "bad.img", bytes, size, channels, &t);
    if (status == SOW_OK) fail_msg("accepted: %s", says);
    if (strncmp(sow_message(), "bad.img: ", 9) != 0 || !strstr(sow_message(), says)) fail_msg("\"%s\" does not say \"%s\"", sow_message(), says);
    assert_int_equal(status, expected);
}

static void truncated_images_are_refused_at_every_length(void **unused) {
    uint8_t b[8192];
    size_t n = png_bytes(b, sizeof b, 2, 2, 8, PNG_COLOR_TYPE_RGB, 0, (const uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 6);
    for (size_t cut = 0; cut < n; cut++) refused(b, cut, 0, SOW_E_FORMAT, cut < 8 ? "neither PNG nor JPEG" : "damaged PNG");
    n = jpeg_bytes(b, sizeof b, 3, false);
    for (size_t cut = 3; cut < n; cut++) refused(b, cut, 0, SOW_E_FORMAT, "");
    n = jpeg_bytes(b, sizeof b, 3, true);
    for (size_t cut = 3; cut < n; cut++) refused(b, cut, 0, SOW_E_FORMAT, "");
}

static void a_wrong_checksum_is_refused(void **unused) {
    uint8_t b[4096];
    size_t n = png_bytes(b, sizeof b, 2, 1, 8, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){1, 2}, 2);
    b[n - 12 - 6] ^= 1; /* inside of IDAT */
    refused(b, n, 0, SOW_E_FORMAT, "damaged PNG");
}

/* An IHDR that promises 65,535 x 65,535 pixels, its CRC right, costs nothing. */
static void huge_images_are_refused_before_memory_is_taken(void **unused) {
    uint8_t b[4096];
    size_t n = png_bytes(b, sizeof b, 2, 1, 8, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){1, 2}, 2);
    for (int limit = 0; limit < 2; limit++) {
        uint32_t side = limit ? 16000 : 65535;
        for (int i = 0; i < 2; i++) b[16 + 4 * i] = 0, b[17 + 4 * i] = 0, b[18 + 4 * i] = (uint8_t)(side >> 8), b[19 + 4 * i] = (uint8_t)side;
        uint32_t crc = 0xffffffff;
        for (int i = 12; i < 29; i++) {
            crc ^= b[i];
            for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        crc = ~crc;
        for (int i = 0; i < 4; i++) b[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
        refused(b, n, 0, limit ? SOW_E_FORMAT : SOW_E_RANGE, limit ? "16000 x 16000 pixels cannot be in" : "65535 x 65535 pixels, at most");
    }
}

static void unwanted_kinds_are_refused(void **unused) {
    uint8_t b[8192];
    size_t n = png_bytes(b, sizeof b, 2, 1, 8, PNG_COLOR_TYPE_RGB, 0, (const uint8_t[]){1, 2, 3, 4, 5, 6}, 6);
    refused(b, n, 1, SOW_E_TYPE, "a colour image, expected grey");
    refused(b, jpeg_bytes(b, sizeof b, 3, false), 1, SOW_E_TYPE, "a colour image, expected grey");
    refused(b, jpeg_bytes(b, sizeof b, 4, false), 0, SOW_E_FORMAT, "CMYK");
    refused((const uint8_t *)"GIF89a..........", 16, 0, SOW_E_FORMAT, "neither PNG nor JPEG");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_png_becomes_grey_or_rgb_planes),
        cmocka_unit_test(written_images_come_back),
        cmocka_unit_test(jpegs_of_grey_and_colour_are_read),
        cmocka_unit_test(truncated_images_are_refused_at_every_length),
        cmocka_unit_test(a_wrong_checksum_is_refused),
        cmocka_unit_test(huge_images_are_refused_before_memory_is_taken),
        cmocka_unit_test(unwanted_kinds_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
