/* Texts to train on: files of people's formats as sequences of tokens with labels, and batches of them. */
#ifndef SOW_TEXTS_H
#define SOW_TEXTS_H

#include "sow/chat.h"
#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sow_texts_options {
    int64_t length; /* tokens of a sequence at most; 0: 512. Longer samples are cut, plain text goes on in the next */
    const sow_chat *chat; /* how chats are written, and pairs of question and answer; NULL: pairs as plain text, chats
                                 are refused */
    int32_t end;          /* token behind a text or a plain completion (sow_lm_config.ends[0]); -1: none */
    const char *prompt_field; /* names in JSON lines or in a TSV header; NULL: those that are known */
    const char *completion_field;
    bool loss_on_all; /* prompts too, not only what is to be answered */
    int64_t limit;    /* samples taken at most, from the first on; 0: all */
} sow_texts_options;

/* Sequences packed one behind the other, like sow_tokens. Owns its memory. */
typedef struct sow_texts {
    sow_arena *arena;
    const char *name;      /* of the file, without its folder */
    const char *format;    /* what was found: "JSON lines of question and answer, as smollm2 chats" */
    const int32_t *ids;    /* [start[count]] */
    const int32_t *labels; /* the token that should follow each; -1: does not count */
    const int64_t *start;  /* [count + 1] */
    const int64_t *line;   /* [count], where each begins in the file, from 1 */
    int64_t count;
    int64_t counted;  /* labels that count */
    int64_t longest;  /* tokens of the longest sequence */
    int64_t cut;      /* samples that were longer than the length */
    int64_t left_out; /* samples of which nothing that counts was left */
    char sha256[65];  /* of the file */
} sow_texts;

/* Reads a file and tokenises it. By its beginning it is
 *   JSON lines   {"messages":[{"role","content"}..]}, {"conversations":[{"from","value"}..]}, {"prompt","completion"},
 *                {"prompt","response"}, {"question","answer"}, {"instruction","input","output"} (input may be missing),
 *                {"instruction","instances":[{"input","output"}..]}, {"text"}, or the named fields
 *   .tsv         two columns, or a header line with the names of the fields
 *   plain text   anything else: one document, cut into sequences, each token predicted once
 * Labels count for what the assistant says with the token that ends it, for completions with the end token, and for all of
 * a text. Prompt and completion in plain text follow each other as they stand; other pairs have a line's end between them.
 * Errors name file and line: SOW_E_FORMAT for ill-formed JSON or UTF-8, fields that are missing or empty, unknown roles,
 * a file without text, or nothing that counts; SOW_E_UNSUPPORTED for chats without a template. Cost: about 20 bytes of
 * memory a token beside the mapped file. */
sow_status sow_texts_open(const char *path, const sow_texts_options *options, sow_tokenizer *tokenizer,
                          sow_texts **out);
/* NULL is allowed. */
void sow_texts_free(sow_texts *texts);

/* Some of the sequences as texts of their own (copied): a part for validation, a client's share. SOW_E_ARGUMENT: none of
 * them. `index` is trusted. */
sow_status sow_texts_take(const sow_texts *texts, const int64_t *index, int64_t count, sow_texts **out);
/* Splits at random, by the stream ("split", "") of `seed`: `held_out` sequences into *held, the others into *kept, both in
 * the order of the file. SOW_E_RANGE: one of them would be empty. */
sow_status sow_texts_split(const sow_texts *texts, int64_t held_out, uint64_t seed, sow_texts **kept, sow_texts **held);
/* Batches of `size` sequences: a fresh permutation each epoch from the stream ("shuffle", epoch) of `seed`; the short batch at
 * the end of an epoch is left out; without shuffling the order is the file's, and the short batch is there. */
typedef struct sow_text_batches sow_text_batches;
/* `texts` must outlive the batches. SOW_E_RANGE: an epoch has no whole batch. */
sow_status sow_text_batches_new(const sow_texts *texts, int64_t size, uint64_t seed, bool shuffle,
                                sow_text_batches **out);
/* NULL is allowed. */
void sow_text_batches_free(sow_text_batches *batches);
/* Batches of an epoch. */
int64_t sow_text_batches_per_epoch(const sow_text_batches *batches);
/* Batch `number` (from 0, over all epochs; random access): tokens and labels (I32 [tokens], for sow_lm_loss), valid until the
 * next call. Allocates nothing. */
sow_status sow_text_batches_at(sow_text_batches *batches, int64_t number, sow_tokens *tokens, sow_tensor *labels);
/* How many labels count in batches [first, first + count): what the loss of a step of micro-batches is divided by. */
int64_t sow_text_batches_counted(sow_text_batches *batches, int64_t first, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
