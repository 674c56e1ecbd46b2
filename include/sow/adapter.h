/* Low-rank adapters (LoRA: Hu et al. 2021, arXiv 2106.09685) on the linear layers of any model, and PEFT folders. */
#ifndef SOW_ADAPTER_H
#define SOW_ADAPTER_H

#include "sow/lm.h"
#include "sow/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- sites: the linear layers that a forward pass calls ---- */

typedef struct sow_site {
    const char *module; /* its path as PEFT has it: "model.layers.0.self_attn.q_proj" */
    const char *name;   /* what the tape's taps call it: the same, or without an outermost "transformer." */
    sow_entry *weight;  /* [out, in]; [in, out] where by_inputs; NULL: kept elsewhere (quantised) */
    sow_entry *bias;    /* [out] or NULL */
    int64_t in, out;
    bool by_inputs; /* GPT-2's Conv1D */
    int64_t shares; /* index of the first site with the same input: its own if none stands before */
} sow_site;
typedef struct sow_sites {
    sow_site *at;
    int64_t count;
} sow_sites;

/* The sites in the order of the forward pass, by one dry pass; in the arena, valid as long as the model. */
sow_status sow_lm_sites(sow_arena *arena, sow_lm *lm, sow_sites *out);
/* The same of an image or table network. */
sow_status sow_model_sites(sow_arena *arena, sow_model *model, sow_sites *out);
/* Those whose path is one of `targets` ("q_proj,v_proj", full paths too) or ends with "." and one of them; NULL or "all": all.
 * `shares` is counted anew. SOW_E_NOT_FOUND: a target matches nothing; names near ones. */
sow_status sow_choose_sites(sow_arena *arena, const sow_sites *all, const char *targets, sow_sites *out);

/* ---- adapters ---- */

/* One layer: y = W x + scale B (R) A x; DoRA: its rows are brought to the length of `magnitude` (Liu et al. 2024, arXiv
 * 2402.09353). Entries lie in the adapter's state and are F32, row-major. */
typedef struct sow_adapter_layer {
    const char *module; /* as in sow_site */
    int64_t in, out, rank;
    double alpha, scale;  /* scale: alpha / rank; rsLoRA: alpha / sqrt(rank) */
    sow_entry *a, *b;     /* [rank, in], [out, rank] */
    sow_entry *core;      /* R [rank, rank]: LoRA-XS, LoRA-SB; else NULL */
    sow_entry *magnitude; /* [out]: DoRA; else NULL */
    sow_tensor a0,
        b0; /* F32 copies of the start where the base was shifted by it (PiSSA, OLoRA); data NULL: it was not */
    const sow_site *site; /* of the model it is bound to (sow_adapter_bind) */
} sow_adapter_layer;

/* A module that is trained whole (PEFT's modules_to_save): its weight and bias in place of the base's. */
typedef struct sow_adapter_whole {
    const char *module;
    sow_entry *weight, *bias; /* bias NULL: none */
    const sow_site *site;
} sow_adapter_whole;

typedef struct sow_adapter {
    sow_state *state; /* "MODULE.lora_A.weight", ".lora_B.weight", ".lora_R.weight", ".lora_magnitude_vector" */
    sow_arena *arena; /* the state's */
    sow_adapter_layer *layers;
    int64_t count, room;
    sow_adapter_whole *wholes;
    int64_t whole_count, whole_room;
    int64_t rank; /* PEFT's r and lora_alpha: what layers have unless patterns say otherwise */
    double alpha;
    bool rslora;
    const char *base; /* base_model_name_or_path, NULL: none */
    const char *task; /* "CAUSAL_LM", "FEATURE_EXTRACTION" or NULL */
    const char
        *targets;    /* suffixes that stand for exactly these layers, "q_proj,v_proj"; NULL: folders list full paths */
    bool by_inputs;  /* GPT-2's layers: fan_in_fan_out */
    int64_t next;    /* where the next site is looked for first */
} sow_adapter;

/* An adapter without layers; rank and alpha are the folder's usual ones. */
sow_status sow_adapter_new(int64_t rank, double alpha, bool rslora, sow_adapter **out);
/* Frees it and its state; NULL is allowed. */
void sow_adapter_free(sow_adapter *adapter);
typedef enum sow_adapter_parts { SOW_ADAPTER_LORA, SOW_ADAPTER_CORE, SOW_ADAPTER_DORA } sow_adapter_parts;
/* Adds a layer with A = B = 0 (core, magnitude: 0) on a site, bound to it. alpha < 0: such that all layers have the same
 * scale as one of the usual rank (PEFT's alpha_pattern then says so). The layer's address is valid until the next one is
 * added. SOW_E_RANGE: rank below 1. */
sow_status sow_adapter_add(sow_adapter *adapter, const sow_site *site, int64_t rank, double alpha,
                           sow_adapter_parts parts, sow_adapter_layer **out);
/* Adds a module that is trained whole, beginning with the base's own weight and bias. */
sow_status sow_adapter_add_whole(sow_adapter *adapter, const sow_site *site);

/* ---- usual starts ---- */

typedef enum sow_adapter_start {
    SOW_START_LORA,        /* A Kaiming-uniform with a = sqrt 5, B = 0 */
    SOW_START_RSLORA,      /* the same, scale alpha / sqrt(rank): Kalajdzievski 2023, arXiv 2312.03732 */
    SOW_START_DORA,        /* the same, magnitude = lengths of W's rows */
    SOW_START_ORTHONORMAL, /* A random with orthonormal rows, B = 0 */
    SOW_START_PISSA, /* A = sqrt(S/s) V^T, B = U sqrt(S/s) of W's leading singular triples; the base loses s B A: Meng et al.
                              2024, arXiv 2404.02948 */
    SOW_START_OLORA, /* B, A: leading columns and rows of W = Q R; the base loses s B A: Buyukakyuz 2024, arXiv 2406.01775 */
    SOW_START_XS,          /* B = U, A = S V^T frozen, R normal with sd 1e-5: Balazy et al. 2024, arXiv 2405.17604 */
    SOW_START_CORE_RANDOM, /* B, A random orthonormal, frozen, R = 0: a control */
    SOW_STARTS
} sow_adapter_start;
/* "lora", "rslora", "dora", "orthonormal", "pissa", "olora", "lora-xs", "core-random"; SOW_E_ARGUMENT with the nearest. */
sow_status sow_adapter_start_parse(const char *name, sow_adapter_start *out);
/* The name that sow_adapter_start_parse reads. */
const char *sow_adapter_start_name(sow_adapter_start start);
/* An adapter of that start on all given sites, bound to them. Streams of the seed: ("adapter", MODULE). PiSSA and OLoRA shift the
 * base's weights at once (sow_adapter_unshift gives them back). Ranks above a site's smaller side are cut to it. Cost: PiSSA, XS:
 * a randomised SVD a site. */
sow_status sow_adapter_make(sow_adapter_start start, const sow_sites *sites, int64_t rank, double alpha, uint64_t seed,
                            sow_adapter **out);
/* Adds s B0 A0 back to the base's weights, to rounding. */
void sow_adapter_unshift(sow_adapter *adapter);

/* ---- use ---- */

/* Finds each layer's site by path (an outermost "transformer." may be missing on either side). SOW_E_SHAPE lists the first three
 * layers that the model lacks or has in another shape: the adapter belongs to another base model. The sites outlive it. */
sow_status sow_adapter_bind(sow_adapter *adapter, const sow_sites *sites);
/* Taps the tape so that each bound site gives y + scale B R A x. Trainable entries get gradients. */
sow_status sow_adapter_attach(sow_adapter *adapter, sow_tape *tape);
/* W += scale B R A for each bound site, DoRA and whole modules too; the adapter is not to be attached afterwards.
 * SOW_E_UNSUPPORTED: the weights are kept quantised. Cost: 2 in out rank FLOP a layer. */
sow_status sow_adapter_merge(sow_adapter *adapter);
/* Any kind but DoRA as plain LoRA against the original base: a core goes into B, shifted starts double the rank. */
sow_status sow_adapter_plain(const sow_adapter *adapter, sow_adapter **out);
/* Plain LoRA of another rank (0: each layer keeps its own) and alpha (NAN: kept): the same update where the rank does not fall, else
 * the nearest of that rank in each layer; *lost is the share of |update|^2 that went. Alphas of layers become the folder's. */
sow_status sow_adapter_convert(const sow_adapter *adapter, int64_t rank, double alpha, sow_adapter **out, double *lost);
/* |scale B R A|_F, in r-space; NAN: memory is short. */
double sow_adapter_norm(const sow_adapter_layer *layer);
/* Numbers that training changes. */
int64_t sow_adapter_trained(const sow_adapter *adapter);

/* ---- PEFT folders ---- */

/* Reads adapter_config.json and adapter_model.safetensors, checked: ranks against r and rank_pattern, alphas, pairs, shapes; a
 * tensor that is no part of an adapter, rank 0, or another peft_type is refused by name. lora_sb.safetensors beside them
 * gives the core form (as_lora: it is not looked at). Official LoRA-SB folders (lora_latent_mapping) too. */
sow_status sow_adapter_read(const char *folder, bool as_lora, sow_adapter **out);
/* Writes the folder's three files: config, tensors with the passport, README.md with `card` (Markdown, how it was made). Plain LoRA and
 * DoRA as they are; others through sow_adapter_plain, cores also as lora_sb.safetensors. The folder exists. Where the passport has a
 * "file", each file's passport names itself. */
sow_status sow_adapter_write(const sow_adapter *adapter, const char *folder, const char *passport, const char *card);

#ifdef __cplusplus
}
#endif
#endif
