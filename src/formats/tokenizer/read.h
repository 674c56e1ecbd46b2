/* Reading the parts of tokenizer.json. */
#ifndef SOW_FORMATS_TOKENIZER_READ_H
#define SOW_FORMATS_TOKENIZER_READ_H

#include "formats/tokenizer/tok.h"

bool tok_flag(const json_t *json, const char *name, bool initial);
/* A string of the object, copied; SOW_E_FORMAT if it is none. */
sow_status tok_string(sow_arena *arena, const json_t *json, const char *name, sow_span *out);
sow_status tok_base64(sow_arena *arena, const char *text, uint8_t **bytes, int64_t *size);

/* {"String": ".."} or {"Regex": ".."} into step->text or step->pattern. */
sow_status tok_read_pattern(sow_arena *arena, const json_t *json, tok_step *step);
sow_status tok_compile(const char *pattern, tok_step *step);
/* The next match from byte `at` on. */
bool tok_match(const tok_step *step, const tok_piece *piece, int64_t at, int64_t *first, int64_t *last);

/* A part: null (nothing), one type, or a Sequence of them under `key`. */
sow_status tok_read_parts(sow_arena *arena, const json_t *json, const char *key, const char *what,
                          sow_status (*read)(sow_arena *arena, const char *type, const json_t *json, tok_step *step),
                          tok_step **list);

/* How Llama 3 and Qwen 2 cut texts. */
extern const char tok_llama3_pattern[], tok_qwen2_pattern[];

/* What the two kinds of files share: the byte tokens, WordPiece's inner tokens, a merge of two texts. */
void tok_find_bytes(tok_model *model);
sow_status tok_index_inner(sow_tokenizer *t, const char *prefix);
sow_status tok_add_merge(sow_tokenizer *t, int64_t rank, sow_span left, sow_span right);

#endif
