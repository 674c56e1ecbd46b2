/* Tokenizers: byte-level and character BPE, WordPiece, Unigram, from tokenizer.json and from GGUF files. */
#ifndef SOW_TOKENIZER_H
#define SOW_TOKENIZER_H

#include "sow/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Holds a cache of words: one thread at a time. */
typedef struct sow_tokenizer sow_tokenizer;

/* Opens a tokenizer.json, a GGUF file, or a folder with either. Parts that are not known are refused by name
 * (SOW_E_UNSUPPORTED); ids, merges and sizes are checked (SOW_E_FORMAT). Limits: 256 MiB, 4 million tokens of 64 KiB. */
sow_status sow_tokenizer_open(const char *path, sow_tokenizer **out);
/* Writes what transformers' AutoTokenizer opens into a folder that exists: copies of a Hugging Face folder's files, or
 * tokenizer.json and tokenizer_config.json (with the chat template) of a GGUF file. SOW_E_UNSUPPORTED: a GGUF file whose
 * tokenizer is not byte-level BPE. */
sow_status sow_tokenizer_export(const char *path, const char *folder);
/* NULL is allowed. */
void sow_tokenizer_free(sow_tokenizer *tokenizer);

enum {
    SOW_ENCODE_SPECIAL = 1, /* add what the post-processor adds: [CLS], <s> .. */
    SOW_ENCODE_OFFSETS = 2, /* fill in first and last */
    SOW_ENCODE_REPLACE = 4, /* U+FFFD for each ill-formed part; without it that is SOW_E_FORMAT with the byte's place */
};
typedef struct sow_encoding {
    int32_t *ids;
    int32_t *first,
        *last; /* the characters (code points) of the text that a token stands for, half open; NULL: not asked for */
    int64_t count;
} sow_encoding;
/* The ids of a text, in the arena. Cost: linear for usual texts; n log n in the longest piece without a break. */
sow_status sow_encode(sow_tokenizer *tokenizer, sow_arena *arena, const char *text, size_t size, unsigned flags,
                      sow_encoding *out);

/* A piece of a text in which special tokens are given by their ids, and stay text where users wrote them. */
typedef struct sow_text_part {
    sow_span text;
    int32_t token; /* -1: the text */
} sow_text_part;
/* The ids of texts and tokens in a row (chats: the roles' tokens, what people said). ends: [count], how many ids there are
 * up to and with each part. Offsets count the characters of the part that an id belongs to. */
sow_status sow_encode_parts(sow_tokenizer *tokenizer, sow_arena *arena, const sow_text_part *parts, int64_t count,
                            unsigned flags, sow_encoding *out, int64_t *ends);

/* Token sequences, packed one behind the other; none sees another, positions restart. */
typedef struct sow_tokens {
    const int32_t *ids;   /* [start[sequences]] */
    const int64_t *start; /* [sequences + 1], beginning with 0 */
    int64_t sequences;
} sow_tokens;

/* The text of ids, ended by a zero byte, in the arena; ill-formed bytes become U+FFFD. SOW_E_RANGE: an id outside. */
sow_status sow_decode(const sow_tokenizer *tokenizer, sow_arena *arena, const int32_t *ids, int64_t count,
                      bool skip_special, char **text, size_t *size);

/* One more than the largest id. */
int64_t sow_tokenizer_size(const sow_tokenizer *tokenizer);
/* The id of exactly this token as the vocabulary writes it, -1: none. */
int32_t sow_token_id(const sow_tokenizer *tokenizer, const char *token, size_t size);
/* A token's bytes (byte-level ones as raw bytes); text NULL: no such id. */
sow_span sow_token_text(const sow_tokenizer *tokenizer, int32_t id);
/* Whether decoding may leave it out: [CLS], <|im_end|> .. */
bool sow_token_is_special(const sow_tokenizer *tokenizer, int32_t id);

#ifdef __cplusplus
}
#endif
#endif
