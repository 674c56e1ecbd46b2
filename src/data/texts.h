/* Texts under construction: samples of any format become sequences and labels. */
#ifndef SOW_DATA_TEXTS_H
#define SOW_DATA_TEXTS_H

#include "sow/file.h"
#include "sow/texts.h"

typedef struct texts_builder {
    const sow_texts_options *options;
    sow_tokenizer *tokenizer;
    sow_arena *arena, *scratch; /* scratch: emptied after each sample */
    const char *path;
    const char *format; /* what was found, with the layout of it */
    int64_t length;
    int32_t *ids, *labels;
    int64_t *start, *line;
    int64_t count, samples, cut, left_out;
    int64_t token_room, sequence_room;
} texts_builder;

bool texts_is_full(const texts_builder *b);

/* A sample each; `at` is its line, for messages. SOW_E_FORMAT without the place: the reader adds it. */
sow_status texts_add_chat(texts_builder *b, int64_t at, const sow_chat_message *messages, int64_t count);
/* joined: the completion follows the prompt as it stands; else a line's end is put between. */
sow_status texts_add_pair(texts_builder *b, int64_t at, sow_span prompt, sow_span completion, bool joined);
sow_status texts_add_text(texts_builder *b, int64_t at, sow_span text);
/* One document cut into sequences that continue each other. */
sow_status texts_add_document(texts_builder *b, sow_span text);

/* How pairs are written: "" or ", as chatml chats". */
const char *texts_layout(const texts_builder *b);

/* The readers of whole files. */
sow_status texts_read_json(texts_builder *b, sow_span file);
sow_status texts_read_tsv(texts_builder *b, sow_span file);

/* The next line of the rest, without its end; false: there is none. */
bool texts_next_line(sow_span *rest, sow_span *line);

#endif
