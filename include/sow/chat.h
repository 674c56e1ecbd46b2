/* Chats: what people and assistants said, as the tokens that a language model was trained on. */
#ifndef SOW_CHAT_H
#define SOW_CHAT_H

#include "sow/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How one family of models writes a chat: ChatML, Llama 3, Gemma, Zephyr; of a fixed table, valid for ever. */
typedef struct sow_chat sow_chat;

typedef struct sow_chat_message {
    const char *role; /* "system", "user", "assistant" */
    sow_span content;
} sow_chat_message;

/* The template called `name` (chatml, llama3, gemma, zephyr, smollm2: ChatML with SmolLM2's own system message, none: the
 * contents as they are, a line each); or, `name` NULL, the one that belongs to the model at `path`, known by the
 * SHA-256 of the template in its chat_template.jinja, tokenizer_config.json or GGUF file. SOW_E_ARGUMENT: no such name;
 * SOW_E_UNSUPPORTED: no template there, or one that is not in the table. See sow_lm_chat for names of fetched models. */
sow_status sow_chat_find(const char *path, const char *name, const sow_chat **out);
/* "chatml" ... */
const char *sow_chat_name(const sow_chat *chat);
/* The token that ends an assistant's words; -1: none (template none), or the tokenizer lacks it. */
int32_t sow_chat_end(const sow_chat *chat, const sow_tokenizer *tokenizer);

/* The ids of a chat, as transformers' apply_chat_template gives them, in the arena; it begins with one begin token where the
 * template or the tokenizer wants one. open_reply: the assistant's turn begins at the end. mine: [out->count], 1 for
 * tokens that the assistant wrote, with the one that ends its message; NULL: not asked for. Special tokens in contents
 * stay text. SOW_E_FORMAT: a role that the template does not know or at the wrong place, contents that are not UTF-8;
 * SOW_E_UNSUPPORTED: the tokenizer lacks one of the template's tokens. */
sow_status sow_chat_encode(const sow_chat *chat, sow_tokenizer *tokenizer, sow_arena *arena,
                           const sow_chat_message *messages, int64_t count, bool open_reply, sow_encoding *out,
                           uint8_t **mine);

#ifdef __cplusplus
}
#endif
#endif
