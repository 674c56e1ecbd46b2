/* Tables of text: CSV and its kin. */
#ifndef SOW_TABLE_H
#define SOW_TABLE_H

#include <stdbool.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All cells as text, in an arena. */
typedef struct sow_table {
    const char *path;
    int64_t rows, columns;
    const char **names;   /* of the columns; NULL: the file has no header line */
    const char **cells;   /* row-major, quotes resolved, spaces around unquoted cells taken off */
    int64_t *lines;       /* of each row, counted from 1 */
} sow_table;

/* Reads comma, semicolon or tab separated text, plain or gzip (RFC 4180 quotes; LF or CRLF; a byte order mark is skipped; the
 * separator is the commonest of the first line). The first line is a header when some cell of it is no number above
 * one that is, or when none of its cells is a number and they differ. Errors: SOW_E_FORMAT with line and column: open quotes, rows
 * of another length, NUL bytes. Cost: about ten bytes of memory per byte of one-letter cells. */
sow_status sow_table_read(sow_arena *arena, const char *path, sow_table *out);
/* The same from memory; `place` begins the messages. */
sow_status sow_table_parse(sow_arena *arena, const char *place, const char *text, size_t size, sow_table *out);

/* Column by name, -1 if absent. */
int64_t sow_table_column(const sow_table *table, const char *name);
static inline const char *sow_table_cell(const sow_table *table, int64_t row, int64_t column) {
    return table->cells[row * table->columns + column];
}
/* A cell as a finite number. SOW_E_FORMAT naming file, line, column and text. */
sow_status sow_table_number(const sow_table *table, int64_t row, int64_t column, double *out);

#ifdef __cplusplus
}
#endif
#endif
