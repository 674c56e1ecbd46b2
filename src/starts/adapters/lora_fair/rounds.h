/* Federated rounds, on images and on texts: who has what, one client's training, one round after the other. */
#ifndef SOW_STARTS_ADAPTERS_LORA_FAIR_ROUNDS_H
#define SOW_STARTS_ADAPTERS_LORA_FAIR_ROUNDS_H

#include "nn/lm/base_model.h"
#include "sow/optim.h"
#include "starts/adapters/lora_fair/lora_fair.h"

enum { FAIR_DOMAINS = 6, FAIR_CLIENTS_MAX = 1000 };

/* Everything before the first round. */
typedef struct fair_world {
    sow_arena *arena; /* of the call */
    sow_data *source;
    sow_model *model; /* the base; FLoRA's rounds change it */
    sow_sites sites;
    int64_t clients, rank, batch, local_steps;
    double alpha, local_lr;
    sow_optimizer_kind optimizer;
    uint64_t seed;
    bool domains;     /* client k sees domain k mod 6; else all see images as they are */
    double dirichlet; /* concentration of labels over clients; 0: as they come */
    int64_t *order;   /* training examples in random order: first those of the base, then those of the clients */
    int64_t base_count, client_count;
    int64_t **index; /* [clients][size] examples of the source's training set */
    int64_t *size;   /* [clients] */
    double *weight;  /* [clients], of any sum */
    sow_data *tests; /* [FAIR_DOMAINS, or 1] test images of each domain */
    int test_count;
    bool freeze_a; /* FFA-LoRA: A stays at its start */
    bool planted;  /* no images: fair_plant */
    /* a language model instead, with texts of clients; its base.lm NULL: images */
    base_model base;
    const char **names;       /* [clients] */
    sow_texts **kept, **held; /* [clients], to train and to score on */
    sow_input *inputs;        /* for passports */
    int input_count;
} fair_world;

/* Options of `run` and `client` on texts. */
#define FAIR_TEXT_OPTIONS                                                                                         \
    {"texts",                                                                                                     \
     0,                                                                                                           \
     SOW_TYPE_LIST,                                                                                               \
     NULL,                                                                                                        \
     0,                                                                                                           \
     0,                                                                                                           \
     NULL,                                                                                                        \
     NULL,                                                                                                        \
     "with --model: a file of texts for each client, or one that --clients share: JSON lines, TSV or plain text", \
     SOW_OPTION_POSITIONAL},                                                                                      \
        SOW_OPTION_TEXT("model", NULL,                                                                            \
                        "rounds on texts: a Hugging Face folder, a GGUF file, or a name that `sow fetch` lists"), \
        SOW_OPTION_INT("held-out", "0", 0, 1e9,                                                                   \
                       "--model: sequences of each client to be scored on; 0: a tenth, at most 32"),              \
        BASE_TEXT_OPTIONS("512")

/* Options that say who has what and how clients train. */
#define FAIR_WORLD_OPTIONS                                                                                            \
    SOW_OPTION_PATH("data", "mnist", "data set of images, as for `sow train`: mnist, fashion-mnist, a folder"),       \
        SOW_OPTION_TEXT("arch", "mlp:784-128-128-10", "network that is adapted (sow list --arch all)"),               \
        SOW_OPTION_PATH("start", NULL, "its weights (safetensors); default: trained here on plain images first"),     \
        SOW_OPTION_INT("examples", "10000", 0, 1e9, "training examples in use, at random; 0: all"),                   \
        SOW_OPTION_INT("pretrain", "4000", 0, 1e9, "of them for the base, kept from the clients; with --start none"), \
        SOW_OPTION_INT("pretrain-epochs", "1", 1, 10000, "passes over them"),                                         \
        SOW_OPTION_INT("test-examples", "2000", 1, 1e9, "test images, seen in every domain"),                         \
        SOW_OPTION_INT("clients", "6", 1, FAIR_CLIENTS_MAX, "how many take part"),                                    \
        SOW_OPTION_TEXT("partition", "domain",                                                                        \
                        "iid; domain: client k sees plain, rotated, inverted, blurred, shifted or noisy images; "     \
                        "dirichlet:A: labels unevenly shared, the smaller A the more; domain+dirichlet:A"),           \
        SOW_OPTION_CHOICE("weights", "size", "size|uniform",                                                          \
                          "how much a client counts: by its examples, or all alike"),                                 \
        SOW_OPTION_INT("rank", "8", 1, 4096, "of the adapters"),                                                      \
        SOW_OPTION_REAL("alpha", "0", 0, 1e6, "their scale times the rank; 0: the rank"),                             \
        SOW_OPTION_TEXT("targets", "all", "layers that are adapted, like fc1,fc2"),                                   \
        SOW_OPTION_INT("rounds", "6", 1, 100000, "of local training and merging"),                                    \
        SOW_OPTION_COUNT("local-steps", "60", 1, 1e9, "steps", "of each client in a round"),                          \
        SOW_OPTION_COUNT("batch", "64", 1, 1e6, "examples", "a local step"),                                          \
        SOW_OPTION_CHOICE("optimizer", "adam", "adam|sgd|adamw|sgdm", "of the clients, begun anew in every round"),   \
        SOW_OPTION_REAL("local-lr", NULL, 1e-12, 1e6, "its learning rate; default 0.003, for sgd and sgdm 0.1"),      \
        SOW_OPTION_SEED

/* Reads the options, opens the data, shares it out, and gets the base: from `base` (NULL: trained here). */
sow_status fair_world_open(sow_call *call, const char *base, fair_world *out);
/* The card's calibration: no images, and no --partition but dirichlet:A. */
sow_status fair_planted_open(sow_call *call, fair_world *out);
/* --model and the texts of `run` and `client`. */
sow_status fair_texts_open(sow_call *call, fair_world *out);
void fair_world_close(fair_world *w);
/* Data of one client, of all of them together, and the test images of each domain (into w->tests). In the world's arena. */
sow_status fair_client_data(fair_world *w, int64_t client, sow_data *out);
sow_status fair_all_data(fair_world *w, sow_data *out);
sow_status fair_make_tests(fair_world *w);
/* Parts of a world of texts: what their options stand for, and refusing them without --model; the model, its sites, who has what. */
sow_status fair_text_options(sow_call *call);
sow_status fair_without_texts(sow_call *call);
sow_status fair_open_texts(sow_call *call, fair_world *w);
void fair_close_texts(fair_world *w);
/* Base, task and targets of a language model's adapter; nothing for images. */
void fair_describe(const fair_world *w, sow_adapter *adapter);
/* Mean loss a token of a client's held-out texts. */
sow_status fair_text_loss(fair_world *w, sow_tape *tape, int client, double *loss);
/* A note on time and memory. */
void fair_say_costs(const fair_world *w, int64_t rounds);
/* Parts of a planted world: base, source, who has what; data; tests. */
sow_status fair_plant(fair_world *w);
sow_status fair_planted_data(fair_world *w, int64_t first, int64_t clients, sow_data *out);
sow_status fair_planted_tests(fair_world *w);
/* Gamma(a, 1). */
double fair_gamma(sow_rng *rng, double a);
/* Example `i` of the source's images as a domain shows it: [channels, height, width] bytes. */
void fair_show(const fair_world *w, const sow_dataset *set, int64_t i, int domain, uint8_t *out);
const char *fair_domain_name(int domain);

/* The start of round 0, and of FLoRA's rounds: random A, B = 0. */
sow_status fair_fresh_adapter(fair_world *w, int64_t round, sow_adapter **out);
/* One client's training in a round, from the adapter's values, in place. times: batches are as many times larger. data: NULL for
 * texts. */
sow_status fair_train(fair_world *w, sow_adapter *adapter, const sow_data *data, int64_t round, int64_t client,
                      int64_t steps, int64_t times);
/* Mean accuracy over the domains' test images, or mean loss a token over the clients' held-out texts; each one's own in
 * score[w->test_count] unless NULL. adapter NULL: the base. */
sow_status fair_score(fair_world *w, sow_adapter *adapter, double *score, double *mean);

typedef struct fair_round {
    double score;
    fair_summary summary;
} fair_round;
/* After the clients of a round are done: the adapter that the next one begins with. FLoRA's stack goes into the base instead. In:
 * *global, and what became of it at each client; out: the next *global, the old one is freed. *merged: what the merge itself
 * gave (FLoRA: the stack), which is *global otherwise. */
sow_status fair_end_round(fair_world *w, const sow_fair_config *config, sow_adapter *const *trained, int64_t round,
                          sow_adapter **global, sow_adapter **merged, sow_fair_layer **layers);

#endif
