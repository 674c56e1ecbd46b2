/* Inside of tokenizers: pieces of text go through normalisers, are split by pre-tokenizers, and become ids by a model. */
#ifndef SOW_FORMATS_TOKENIZER_TOK_H
#define SOW_FORMATS_TOKENIZER_TOK_H

#include <jansson.h>

#include "sow/tokenizer.h"

/* ---- text ---- */

/* Bytes of UTF-8 (byte-level pieces too), and for each byte the characters of the original it came from; from and to are
 * NULL where offsets are not wanted. */
typedef struct tok_piece {
    const uint8_t *bytes;
    const int32_t *from, *to;
    int64_t size;
    int32_t id; /* of an added token, -1: text */
    bool first; /* begins the whole text */
} tok_piece;

typedef struct tok_pieces {
    tok_piece *at;
    int64_t count, room;
} tok_pieces;
sow_status tok_add(sow_arena *arena, tok_pieces *list, tok_piece piece);
/* [first, last) of a piece as a piece. */
tok_piece tok_slice(const tok_piece *piece, int64_t first, int64_t last);

/* Text under construction. */
typedef struct tok_text {
    sow_arena *arena;
    bool offsets;
    uint8_t *bytes;
    int32_t *from, *to;
    int64_t size, room;
} tok_text;
sow_status tok_make_room(tok_text *text, int64_t bytes);
sow_status tok_put(tok_text *text, int32_t character, int32_t from, int32_t to);
sow_status tok_put_bytes(tok_text *text, const void *bytes, int64_t size, int32_t from, int32_t to);
/* Well-formed text: U+FFFD for each maximal ill-formed part, or, with `place`, SOW_E_FORMAT and its byte. */
sow_status tok_repair(tok_text *out, sow_span in, int64_t *place);
/* The finished text as a piece, otherwise like `like`. */
tok_piece tok_finish(const tok_text *text, const tok_piece *like);

/* The character at byte i and its length in *bytes; text is well-formed, or a byte stands for itself. */
int32_t tok_character(const tok_piece *piece, int64_t i, int64_t *bytes);

/* Unicode: categories as letters, numbers, marks, punctuation (that of Unicode 8); White_Space. */
bool tok_is_space(int32_t c);
bool tok_is_letter(int32_t c);
bool tok_is_number(int32_t c);
bool tok_is_mark(int32_t c);
bool tok_is_punctuation(int32_t c);
bool tok_is_word(int32_t c);
/* What became so after Unicode 8. */
bool tok_is_later_punctuation(int32_t c);
bool tok_is_later_mark(int32_t c);
bool tok_is_later_format(int32_t c);

/* ---- tables ---- */

/* Text to id, by open addressing; keys are not copied. */
typedef struct tok_table {
    struct tok_slot {
        const uint8_t *key;
        uint32_t size, hash;
        int32_t id;
    } * slots;
    int64_t mask;
} tok_table;
uint32_t tok_hash(const void *key, int64_t size);
/* The same byte by byte: FNV-1a. */
#define TOK_HASH_START 2166136261u
static inline uint32_t tok_hash_byte(uint32_t hash, uint8_t byte) {
    return (hash ^ byte) * 16777619u;
}
sow_status tok_table_new(sow_arena *arena, int64_t count, tok_table *out);
/* The first id of a key stays; false if it was there. */
bool tok_table_put(tok_table *table, const void *key, int64_t size, int32_t id);
int32_t tok_table_find(const tok_table *table, const void *key, int64_t size); /* -1: absent */
int32_t tok_table_find_hashed(const tok_table *table, const void *key, int64_t size, uint32_t hash);

/* ---- steps ---- */

/* Pre-tokenizers whose words are found by hand, without pieces in between. */
enum tok_scan {
    TOK_SCAN_NONE,
    TOK_SCAN_GPT2,
    TOK_SCAN_DIGITS, /* each number for itself, GPT-2's between: SmolLM2 */
    TOK_SCAN_LLAMA3, /* numbers in threes */
    TOK_SCAN_QWEN2,  /* numbers one by one */
    TOK_SCAN_BERT,
};

typedef struct tok_step tok_step;
struct tok_step {
    /* A normaliser or a decoder fills `out`; a pre-tokenizer adds pieces. Only the one that fits is set. */
    sow_status (*normalise)(const tok_step *step, const tok_piece *in, tok_text *out);
    sow_status (*split)(const tok_step *step, sow_arena *arena, const tok_piece *in, tok_pieces *out);
    sow_status (*decode)(const tok_step *step, sow_arena *arena, sow_span *tokens, int64_t *count);
    bool flag, flag2, invert;
    bool each_number, no_step; /* of a pre-tokenizer: it isolates numbers one by one, it changes nothing */
    int kind, behaviour, number, number2;
    sow_span text, text2;
    enum tok_scan scan;   /* of a pre-tokenizer: the scanner that does the same */
    void *pattern;        /* compiled, of PCRE2 */
    const uint32_t *trie; /* Precompiled */
    int64_t trie_size;
    tok_step *next;
};

enum tok_behaviour { TOK_REMOVED, TOK_ISOLATED, TOK_WITH_PREVIOUS, TOK_WITH_NEXT, TOK_CONTIGUOUS };
enum tok_form { TOK_NFC, TOK_NFD, TOK_NFKC, TOK_NFKD };

/* Moves *at over what belongs to no word, and returns the end of the word there; *at: nothing is left. */
int64_t tok_scan_word(enum tok_scan scan, const tok_piece *piece, int64_t *at);
/* The scanner that does what a pattern says in Unicode, where each match is a piece. */
enum tok_scan tok_scan_of_pattern(const char *pattern);
/* The scanner that does what the steps say. */
enum tok_scan tok_scan_of_steps(const tok_step *list);

/* From a JSON part: SOW_E_UNSUPPORTED names a type that is not known. Steps are appended to *list. */
sow_status tok_read_normaliser(sow_arena *arena, const json_t *json, tok_step **list);
sow_status tok_read_splitter(sow_arena *arena, const json_t *json, tok_step **list);
sow_status tok_read_decoder(sow_arena *arena, const json_t *json, tok_step **list);
tok_step *tok_append(sow_arena *arena, tok_step **list); /* NULL: memory is short */
void tok_free_steps(tok_step *list);                     /* the patterns in it */

/* The steps that GGUF files name instead of describing. */
sow_status tok_add_bert_normaliser(sow_arena *arena, bool lowercase, tok_step **list);
sow_status tok_add_bert_splitter(sow_arena *arena, tok_step **list);
sow_status tok_add_byte_level(sow_arena *arena, bool prefix_space, bool regex, tok_step **list);
sow_status tok_add_digits(sow_arena *arena, bool individual, tok_step **list);
sow_status tok_add_metaspace(sow_arena *arena, int scheme, bool split, tok_step **list);
sow_status tok_add_pattern(sow_arena *arena, const char *pattern, int behaviour, bool invert, tok_step **list);
sow_status tok_add_decoder(sow_arena *arena, const char *type, tok_step **list);
enum tok_scheme { TOK_NEVER, TOK_FIRST, TOK_ALWAYS };

/* ---- models ---- */

enum tok_kind { TOK_BPE, TOK_SCORED /* merges by score: sentencepiece */, TOK_WORDPIECE, TOK_UNIGRAM };

typedef struct tok_merge {
    int32_t left, right, made;
    int32_t rank;
} tok_merge;

typedef struct tok_model {
    enum tok_kind kind;
    tok_table words;   /* bytes to id */
    tok_table inner;   /* WordPiece: without the continuing prefix */
    tok_merge *merges; /* by hash of (left, right); made -1: free */
    int64_t merge_mask;
    uint64_t *merge_map;  /* which pairs may be there */
    const double *scores; /* Unigram, scored */
    const int32_t *rank;  /* scored: place in the order of scores, the highest first */
    double least;         /* of the scores */
    int64_t longest;      /* token, in bytes */
    int64_t longest_word; /* WordPiece: characters; more is unknown */
    int32_t unknown;      /* -1: none */
    int32_t byte[256];    /* <0xXX>, -1: none */
    int32_t single[256];  /* the token of this one byte */
    bool byte_fallback, fuse_unknown, whole_first /* ignore_merges */, byte_level;
} tok_model;

/* Ids of one piece with the end (in bytes) of each, appended. */
typedef struct tok_ids {
    int32_t *id, *end, *begin;
    int64_t count, room;
} tok_ids;
sow_status tok_add_id(sow_arena *arena, tok_ids *list, int32_t id, int64_t begin, int64_t end);
sow_status tok_run_model(const tok_model *model, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out);
sow_status tok_run_bpe(const tok_model *model, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out);
sow_status tok_run_wordpiece(const tok_model *model, sow_arena *arena, const uint8_t *bytes, int64_t size,
                             tok_ids *out);
sow_status tok_run_unigram(const tok_model *model, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out);
sow_status tok_merges_new(sow_arena *arena, int64_t count, tok_model *model);
bool tok_merge_put(tok_model *model, tok_merge merge);
sow_status tok_rank_scores(sow_arena *arena, int64_t count, tok_model *model);

/* ---- the whole ---- */

typedef struct tok_added {
    const uint8_t *text;
    int64_t size;
    int32_t id;
    bool special, normalised, left_strip, right_strip, single_word;
} tok_added;

/* The ids of a short word: a line of the processor's cache. */
typedef struct tok_cached {
    uint64_t key[3]; /* the bytes, then zeros */
    int32_t ids[9];
    uint8_t size; /* of the word; 0: free */
    uint8_t count;
} tok_cached;
enum { TOK_CACHE_BITS_FEW = 8, TOK_CACHE_BITS = 15, TOK_CACHE_WORD = 24, TOK_CACHE_IDS = 9 };

struct sow_tokenizer {
    sow_arena *arena;
    sow_span *tokens; /* by id; text NULL: none */
    bool *special;
    int64_t size;
    tok_added *added;
    int64_t added_count;
    tok_table added_table[2];    /* raw, and on normalised text */
    uint8_t added_first[2][256]; /* whether an added token begins with this byte */
    int64_t added_longest[2];
    tok_step *normalisers, *splitters, *decoders;
    enum tok_scan scan; /* what the splitters do together, if it is known */
    tok_model model;
    int32_t before[8], after[8]; /* added by the post-processor */
    int before_count, after_count;
    tok_cached *cache;
    int cache_bits; /* log of its places */
    int64_t new_words;
    sow_arena *scratch;
};

/* A text on its way to ids. */
typedef struct tok_call {
    sow_tokenizer *t;
    sow_arena *arena, *result;
    bool offsets, literal; /* literal: special tokens in the text stay text */
    sow_encoding *out;
    int64_t room;
} tok_call;
sow_status tok_put_id(tok_call *call, int32_t id, int32_t first, int32_t last);
/* Bytes [begin, end) of a piece through the model, or from the cache of words. */
sow_status tok_put_word(tok_call *call, const tok_piece *piece, int64_t begin, int64_t end);

sow_status tok_load_json(sow_tokenizer *t, const char *path);
sow_status tok_load_gguf(sow_tokenizer *t, const char *path);
/* Builds the tables of added tokens; normalised contents go through the normalisers first. */
sow_status tok_index_added(sow_tokenizer *t);
/* Runs the normalisers over a piece. */
sow_status tok_normalise(const sow_tokenizer *t, sow_arena *arena, const tok_piece *in, tok_piece *out);
/* Splits a piece at added tokens of one kind; literal: special ones stay text. */
sow_status tok_split_added(const sow_tokenizer *t, sow_arena *arena, int normalised, bool literal, const tok_piece *in,
                           tok_pieces *out);

/* A byte-level token in the alphabet of printable characters as raw bytes; false if a character is not of it. */
bool tok_from_alphabet(const uint8_t *text, int64_t size, uint8_t *out, int64_t *out_size);

#endif
