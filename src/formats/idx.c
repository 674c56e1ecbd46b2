/* IDX, the format of MNIST and its kin: a magic number, big-endian sizes, values row-major; plain or gzip. */
#include "formats/idx.h"

#include <inttypes.h>

#include "formats/bytes.h"
#include "formats/source.h"
#include "sow/file.h"

static sow_status read_type(const char *path, const uint8_t magic[4], sow_dtype *dtype) {
    static const struct {
        uint8_t code;
        sow_dtype dtype;
    } types[] = {{0x08, SOW_U8}, {0x09, SOW_I8}, {0x0b, SOW_I16}, {0x0c, SOW_I32}, {0x0d, SOW_F32}, {0x0e, SOW_F64}};
    if (magic[0] != 0 || magic[1] != 0)
        return sow_fail(SOW_E_FORMAT, "%s: begins with bytes %02x %02x, an IDX file with 00 00", path, magic[0], magic[1]);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == magic[2]) {
            *dtype = types[i].dtype;
            return SOW_OK;
        }
    return sow_fail(SOW_E_FORMAT, "%s: IDX type code %02x, expected 08, 09 or 0b to 0e", path, magic[2]);
}

static sow_status read_values(sow_arena *arena, sow_source *source, sow_tensor *out) {
    uint8_t magic[4], sizes[4 * SOW_RANK_MAX];
    int64_t shape[SOW_RANK_MAX], count, bytes;
    sow_dtype dtype;
    const char *path = source->place;
    SOW_TRY(sow_source_need(source, magic, 4, "magic number"));
    SOW_TRY(read_type(path, magic, &dtype));
    int rank = magic[3];
    if (rank < 1 || rank > SOW_RANK_MAX) return sow_fail(SOW_E_FORMAT, "%s: %d dimensions, expected 1 to %d", path, rank, SOW_RANK_MAX);
    SOW_TRY(sow_source_need(source, sizes, 4 * (size_t)rank, "sizes"));
    for (int i = 0; i < rank; i++) {
        const uint8_t *s = sizes + 4 * i;
        shape[i] = (int64_t)((uint32_t)s[0] << 24 | (uint32_t)s[1] << 16 | (uint32_t)s[2] << 8 | s[3]);
    }
    sow_status status = sow_shape_count(rank, shape, &count);
    if (status == SOW_OK) status = sow_multiply(count, (int64_t)sow_dtype_size(dtype), &bytes);
    if (status != SOW_OK) return sow_fail_in(SOW_E_FORMAT, "%s: declared sizes", path);
    if ((uint64_t)bytes > sow_source_bound(source))
        return sow_fail(SOW_E_FORMAT, "%s: declares %" PRId64 " bytes of values, the file cannot hold more than %" PRIu64 " (truncated?)", path,
                        bytes, sow_source_bound(source));
    void *values = sow_arena_take_raw(arena, (size_t)bytes, 1);
    if (!values) return SOW_E_MEMORY;
    SOW_TRY(sow_source_need(source, values, (size_t)bytes, "values"));
    SOW_TRY(sow_source_finish(source));
    sow_reverse_bytes(values, count, sow_dtype_size(dtype));
    *out = sow_tensor_of(values, dtype, rank, shape);
    return SOW_OK;
}

sow_status sow_idx_read(sow_arena *arena, const char *path, sow_tensor *out) {
    sow_map map;
    sow_source source;
    SOW_TRY(sow_map_open(path, &map));
    sow_status status = sow_source_begin(&source, path, map.data, map.size, sow_coding_of(map.data, map.size));
    if (status == SOW_OK) status = read_values(arena, &source, out);
    sow_source_end(&source);
    sow_map_close(&map);
    return status;
}
