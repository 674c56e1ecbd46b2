/* The lines of a trainer: records among them, bad ones, and what is only log. */
#ifndef SOW_RUN_RECORDS_H
#define SOW_RUN_RECORDS_H

#include <stdbool.h>

#include "sow/run.h"

enum { SOW_LINE_LIMIT = 65536, SOW_BAD_LINES = 100 };

typedef struct sow_reader {
    const char *who; /* the cell, for messages */
    /* Each number of each record, in the order of the line; the metric's name is valid during the call. */
    sow_status (*record)(void *user, const sow_record *record);
    /* After the numbers of a line: true when no later ones are wanted. May be NULL. */
    bool (*enough)(void *user, int64_t step);
    /* Each line that is no record, with its newline. */
    void (*log)(void *user, const char *text, size_t size);
    void *user;
    /* state: zero at the start */
    char *line; /* SOW_LINE_LIMIT + 1 bytes, from sow_reader_open */
    size_t used;
    bool too_long;        /* skipping the rest of a long line */
    bool full;            /* it was enough: the rest is not read */
    int64_t lines, steps; /* lines seen; greatest step so far, -1 before the first */
    int bad;
} sow_reader;

sow_status sow_reader_open(sow_reader *reader);
void sow_reader_close(sow_reader *reader);

/* Takes bytes as they come; size 0: the end (a last line without newline counts). Bad records are warned of and
 * skipped. SOW_E_NUMBER: a value is not finite (the run diverged). SOW_E_TRAINER: 100 bad lines, or a step below an
 * earlier one. */
sow_status sow_reader_feed(sow_reader *reader, const char *data, size_t size);

#endif
