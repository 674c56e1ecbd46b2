/* Word vectors as text: the .vec files of fastText and word2vec. */
#ifndef SOW_VECTORS_H
#define SOW_VECTORS_H

#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Words and their vectors, in the file's order, in an arena. */
typedef struct sow_word_vectors {
    int64_t count;
    const char **words;
    sow_tensor vectors; /* F64 [count, width] */
} sow_word_vectors;

/* Reads PATH: a first line "count width", then a line a word: the word, a space, width numbers. Words may hold any bytes
 * but spaces and line ends. Errors: SOW_E_FORMAT with the line: a header that is none, or that promises more than the
 * file can hold; fewer or more lines or numbers than declared; a number that is not finite. Cost: one pass. */
sow_status sow_word_vectors_read(sow_arena *arena, const char *path, sow_word_vectors *out);
/* The same from memory; `place` begins the messages. */
sow_status sow_word_vectors_parse(sow_arena *arena, const char *place, const char *text, size_t size,
                                  sow_word_vectors *out);

#ifdef __cplusplus
}
#endif
#endif
