/* Language models and text encoders: Llama (and Qwen 2), Gemma 3, GPT-2 and BERT, from Hugging Face folders and GGUF files. */
#ifndef SOW_LM_H
#define SOW_LM_H

#include <jansson.h>

#include "sow/chat.h"
#include "sow/method.h"
#include "sow/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_lm_family { SOW_LM_LLAMA, SOW_LM_GEMMA3, SOW_LM_GPT2, SOW_LM_BERT } sow_lm_family;

enum { SOW_LM_LAYERS_MAX = 512, SOW_LM_ENDS_MAX = 8, SOW_LM_DIVISORS_MAX = 512 };

/* Rotary positions: the base, and how its frequencies are stretched for longer contexts. */
typedef struct sow_rope {
    double theta;
    enum { SOW_ROPE_DEFAULT, SOW_ROPE_LINEAR, SOW_ROPE_LLAMA3, SOW_ROPE_DIVISORS } type;
    double factor, low, high, original;  /* linear: factor; llama3: all */
    float divisors[SOW_LM_DIVISORS_MAX]; /* one a frequency: GGUF's form of llama3 */
} sow_rope;

/* What config.json or GGUF's keys say, under one set of names. */
typedef struct sow_lm_config {
    sow_lm_family family;
    int64_t vocabulary, hidden, inner, layers, heads, kv_heads, head_size, positions,
        types;      /* types: BERT's segments */
    double epsilon; /* of the norms */
    sow_activation activation;
    bool qkv_bias, bias, tied; /* bias: all linear sites */
    sow_rope rope, local_rope; /* local: Gemma's sliding layers */
    double query_scalar;       /* scores are scaled by its inverse root; 0: the head size */
    int64_t window;            /* of sliding layers */
    bool sliding[SOW_LM_LAYERS_MAX];
    int32_t begin, pad, ends[SOW_LM_ENDS_MAX]; /* token ids, -1: none */
    int end_count;
} sow_lm_config;

/* Reads a config.json that was parsed. Every field the forward pass depends on must be known: SOW_E_UNSUPPORTED or
 * SOW_E_FORMAT names the field and its value. Sizes are bounded before anything is allocated. */
sow_status sow_lm_configure(const json_t *config, sow_lm_config *out);

/* Whether sizes fit each other: heads, head size, layers. */
sow_status sow_lm_check_sizes(const sow_lm_config *config);

/* The d/2 frequencies of a rope, radians a position (Su et al. 2021; llama3: Dubey et al. 2024). */
void sow_rope_frequencies(const sow_rope *rope, int64_t head_size, double *out);

typedef struct sow_lm {
    sow_lm_config config;
    sow_state *state;                /* names and orientation of the file; tied heads once */
    struct lm_frozen *frozen;        /* matrices that stay in their file (sow_lm_open_frozen); NULL: all are in the state */
    struct sow_lm_cache *cache;      /* while sow_lm_extend runs (sow/generate.h) */
    const char *prefix;              /* of all names: "transformer.", "bert." or "" */
    sow_tensor rotary, local_rotary; /* grown as longer sequences come */
    bool recompute;                  /* layer by layer in backward: a third more time for a fraction of the memory */
    int64_t layer_limit;             /* passes end behind so many layers, for those who only watch the first; 0: all */
    int32_t *position;               /* room for the positions of a batch */
    int64_t position_room;
    sow_arena *arena;
} sow_lm;

/* Takes over the state (also on failure) and checks by a dry forward pass that every tensor is there, in the right
 * shape, in F32 or F64: else one message naming the first that is not. Tensors that no family uses are left out. */
sow_status sow_lm_new(const sow_lm_config *config, sow_state *state, sow_lm **out);
/* A fresh model: all tensors declared, zeros and ones; fill it with sow_init. */
sow_status sow_lm_declare(const sow_lm_config *config, sow_dtype dtype, sow_lm **out);
/* Opens a Hugging Face folder (config.json, model.safetensors, sharded too) or a GGUF file; weights become F32 copies. */
sow_status sow_lm_open(const char *path, sow_lm **out);
/* The same for passes that train none of the model's weights: matrices stay mapped as the file stores them, quantised too, and
 * are made into floats where they are used; the rest (norms, biases, positions) are F32 copies in the state, not trainable.
 * Names, sites and taps are those of sow_lm_open; gradients flow through. Opening reads next to nothing. A file larger than
 * half of the memory is given back layer by layer. */
sow_status sow_lm_open_frozen(const char *path, sow_lm **out);
/* The tokenizer that belongs to the model at `path`, as sow_lm_open finds it. */
sow_status sow_lm_tokenizer(const char *path, sow_tokenizer **out);
/* The chat template called `name`, or, NULL, the one of the model at `path` (sow_chat_find). */
sow_status sow_lm_chat(const char *path, const char *name, const sow_chat **out);
/* Writes config.json, generation_config.json and model.safetensors (F32 or BF16) into a folder that exists, as transformers'
 * from_pretrained opens them; a tied head is left out. Errors: of files; SOW_E_UNSUPPORTED: positions that config.json
 * cannot describe. Cost: one pass over the weights, a block of rows at a time. */
sow_status sow_lm_write(const sow_lm *lm, const char *folder, sow_dtype dtype, const char *passport);
/* Where the model's files are: a Hugging Face folder or a GGUF file, as sow_lm_open finds them; in the arena. */
sow_status sow_lm_locate(sow_arena *arena, const char *path, const char **out);
/* The model at `path` as a passport's input "model": its files' hash, under the name as it was typed. Cost: one read. */
sow_status sow_lm_input(sow_arena *arena, const char *path, sow_input *out);
/* Frees the model and its state; NULL is allowed. */
void sow_lm_free(sow_lm *lm);

/* States behind the last norm, [tokens, hidden]; the memory of `tokens` outlives the recording. Sites (linear layers,
 * "embed", "layers.I") are tapped under the names of their modules. SOW_E_RANGE: a sequence longer than the model's
 * positions, an id outside the vocabulary. */
sow_var sow_lm_states(sow_tape *t, sow_lm *lm, const sow_tokens *tokens);
/* The same from given input embeddings [tokens, hidden] instead of ids (before Gemma's scale). */
sow_var sow_lm_states_from(sow_tape *t, sow_lm *lm, sow_var embedded, const sow_tokens *tokens);
/* Scores of the next token, [rows, vocabulary], for rows of states. */
sow_var sow_lm_logits(sow_tape *t, sow_lm *lm, sow_var states);
/* Cross-entropy of the next tokens: labels[i] is the token that should follow row i, -1 is not counted (sow_head_loss). */
sow_var sow_lm_loss(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_tensor labels, double divisor);

/* GGUF's word for the architecture: "llama", "qwen2" ... */
const char *sow_lm_architecture(const sow_lm_config *config);
/* A linear module's name in GGUF files: "blk.3.attn_q"; NULL: it has none. In the arena. */
const char *sow_lm_gguf_module(sow_arena *arena, const sow_lm_config *config, const char *module);
/* Which row of a weight [rows, in] stands as row `row` in a file: llama's q and k are reordered there. */
int64_t sow_lm_gguf_row(const sow_lm_config *config, const char *module, int64_t rows, int64_t row);

/* Sentence vectors: the mean of each sequence's states, divided by its length (or 1e-12); out: F32 [sequences, hidden].
 * Nothing is recorded: the tape is reset. */
sow_status sow_lm_embed(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, float *out);

/* The sum of -log p of the counted labels, and how many they are (labels as for sow_lm_loss). The tape is reset. */
sow_status sow_lm_score(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_tensor labels, double *sum,
                        int64_t *counted);

#ifdef __cplusplus
}
#endif
#endif
