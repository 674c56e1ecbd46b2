/* A small GPT-2 on the bytes of a text: the model of the study. gpt:WIDTH-LAYERS-HEADS-CONTEXT. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sow/file.h"
#include "sow/init.h"
#include "sow/lm.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

enum {
    CHUNK = 1024 /* bytes; each tenth is held out */,
    CHUNKS_MIN = 20,
    FILES_MAX = 1000,
    HELD_CHUNKS = 4 /* a batch */
};
static const size_t bytes_max = (size_t)64 << 20;
static const char *const usual = "/usr/share/common-licenses"; /* Debian's base-files: about 240 kB of English */

typedef struct letters {
    sow_feed train, validation;
    sow_lm *lm;
    const int32_t *ids;                             /* of every byte of the text */
    int64_t *learn, *held, learn_count, held_count; /* first bytes of chunks */
    int64_t context, batch, vocabulary;
    int32_t *batch_ids, *batch_labels;
    int64_t *batch_start;
    sow_rng rng;
} letters;

/* ---- the text ---- */

/* Files of a folder one behind the other, in the order of their names; links are left out. */
static sow_status read_folder(sow_arena *arena, const char *folder, char **text, size_t *size) {
    char **names, *part;
    int64_t count;
    size_t read;
    *size = 0;
    SOW_TRY(sow_list_folder(arena, folder, FILES_MAX, &names, &count));
    SOW_TRY(SOW_NEW_RAW(arena, *text, bytes_max + 1));
    for (int64_t i = 0; i < count; i++) {
        struct stat info;
        char *path = sow_path_join(arena, folder, names[i]);
        if (!path) return SOW_E_MEMORY;
        if (lstat(path, &info) || !S_ISREG(info.st_mode)) continue;
        SOW_TRY(sow_read_file(arena, path, bytes_max - *size, &part, &read));
        memcpy(*text + *size, part, read);
        *size += read;
    }
    return SOW_OK;
}

static sow_status read_text(sai_subject *s, letters *l) {
    sow_call *call = s->call;
    char *text;
    size_t size;
    int32_t id_of[256], *ids;
    sow_resolve(call, "data", usual);
    const char *path = sow_text(call, "data");
    s->data_name = sow_path_name(path);
    SOW_TRY(sow_is_folder(path) ? read_folder(call->arena, path, &text, &size)
                                : sow_read_file(call->arena, path, bytes_max, &text, &size));
    if (size < (size_t)CHUNK * CHUNKS_MIN)
        return sow_fail(SOW_E_RANGE, "%s: %zu bytes of text, expected at least %d", path, size, CHUNK * CHUNKS_MIN);
    sow_sha256(text, size, s->data_sha256);
    for (int b = 0; b < 256; b++) id_of[b] = memchr(text, b, size) ? (int32_t)l->vocabulary++ : -1;
    SOW_TRY(SOW_NEW_RAW(call->arena, ids, size));
    for (size_t i = 0; i < size; i++) ids[i] = id_of[(unsigned char)text[i]];
    l->ids = ids;
    int64_t chunks = (int64_t)size / CHUNK;
    SOW_TRY(SOW_NEW(call->arena, l->learn, chunks));
    SOW_TRY(SOW_NEW(call->arena, l->held, chunks));
    for (int64_t c = 0; c < chunks; c++) {
        if (c % 10 == 9) l->held[l->held_count++] = c * CHUNK;
        else l->learn[l->learn_count++] = c * CHUNK;
    }
    return SOW_OK;
}

/* ---- batches ---- */

/* Puts the sequence that begins at a byte behind those that are there. */
static void put(letters *l, int64_t sequence, int64_t first) {
    memcpy(l->batch_ids + sequence * l->context, l->ids + first, (size_t)l->context * sizeof *l->ids);
    memcpy(l->batch_labels + sequence * l->context, l->ids + first + 1, (size_t)l->context * sizeof *l->ids);
    l->batch_start[sequence + 1] = (sequence + 1) * l->context;
}

/* The loss of the sequences that are there. */
static sow_var loss_of(letters *l, sow_tape *t, int64_t sequences, double divisor, sow_tally *tally) {
    const sow_tokens tokens = {l->batch_ids, l->batch_start, sequences};
    int64_t count = sequences * l->context;
    if (divisor <= 0) divisor = (double)count;
    sow_var loss = sow_lm_loss(t, l->lm, &tokens, SOW_TENSOR(l->batch_labels, SOW_I32, count), divisor);
    if (!loss) return NULL;
    tally->examples += (double)count;
    tally->loss += divisor * sow_scalar(loss);
    tally->correct = NAN;
    return loss;
}

static sow_var train_loss(sow_feed *feed, sow_tape *t, int64_t batch, double divisor, sow_tally *tally) {
    letters *l = feed->own;
    sow_rng_at_index(&l->rng, "letters", (uint64_t)batch);
    for (int64_t i = 0; i < l->batch; i++) {
        int64_t chunk = l->learn[sow_rng_below(&l->rng, (uint64_t)l->learn_count)];
        put(l, i, chunk + (int64_t)sow_rng_below(&l->rng, (uint64_t)(CHUNK - l->context)));
    }
    return loss_of(l, t, l->batch, divisor, tally);
}

static double train_counted(sow_feed *feed, int64_t first, int64_t count) {
    const letters *l = feed->own;
    (void)first;
    return (double)(count * l->batch * l->context);
}

/* Held-out chunks of a batch: the last one has fewer. */
static int64_t held_chunks(const letters *l, int64_t batch) {
    int64_t left = l->held_count - batch * HELD_CHUNKS;
    return left < HELD_CHUNKS ? left : HELD_CHUNKS;
}

static sow_var held_loss(sow_feed *feed, sow_tape *t, int64_t batch, double divisor, sow_tally *tally) {
    letters *l = feed->own;
    int64_t each = (CHUNK - 1) / l->context, sequences = 0;
    for (int64_t c = 0; c < held_chunks(l, batch); c++)
        for (int64_t i = 0; i < each; i++) put(l, sequences++, l->held[batch * HELD_CHUNKS + c] + i * l->context);
    return loss_of(l, t, sequences, divisor, tally);
}

static double held_counted(sow_feed *feed, int64_t first, int64_t count) {
    const letters *l = feed->own;
    int64_t chunks = 0;
    for (int64_t b = first; b < first + count; b++) chunks += held_chunks(l, b);
    return (double)(chunks * ((CHUNK - 1) / l->context) * l->context);
}

static void open_feeds(letters *l) {
    static const sow_feed_kind train = {.loss = train_loss, .counted = train_counted},
                               held = {.loss = held_loss, .counted = held_counted};
    l->train = (sow_feed){.kind = &train, .state = l->lm->state, .own = l};
    l->validation = (sow_feed){
        .kind = &held, .state = l->lm->state, .batches = (l->held_count + HELD_CHUNKS - 1) / HELD_CHUNKS, .own = l};
}

/* ---- the model ---- */

static sow_status configure(const char *arch, int64_t vocabulary, sow_lm_config *out) {
    long long width, layers, heads, context;
    int end = 0;
    if (sscanf(arch, "gpt:%lld-%lld-%lld-%lld%n", &width, &layers, &heads, &context, &end) != 4 || arch[end] ||
        width < 1 || width > 4096 || layers < 1 || layers > 64 || heads < 1 || width % heads || context < 2 ||
        context > CHUNK / 2)
        return sow_fail(SOW_E_ARGUMENT,
                        "--arch '%s': expected gpt:WIDTH-LAYERS-HEADS-CONTEXT, as in gpt:64-2-4-64: a width of at most "
                        "4096 that the heads divide, at most 64 layers, a context from 2 to %d",
                        arch, CHUNK / 2);
    *out = (sow_lm_config){.family = SOW_LM_GPT2,
                           .vocabulary = vocabulary,
                           .hidden = width,
                           .inner = 4 * width,
                           .layers = layers,
                           .heads = heads,
                           .kv_heads = heads,
                           .head_size = width / heads,
                           .positions = context,
                           .epsilon = 1e-5,
                           .activation = SOW_GELU_TANH,
                           .qkv_bias = true,
                           .bias = true,
                           .tied = true,
                           .begin = -1,
                           .pad = -1};
    return SOW_OK;
}

static sow_status make_room(sow_arena *arena, letters *l) {
    int64_t held = HELD_CHUNKS * ((CHUNK - 1) / l->context), most = held > l->batch ? held : l->batch;
    SOW_TRY(SOW_NEW(arena, l->batch_ids, most * l->context));
    SOW_TRY(SOW_NEW(arena, l->batch_labels, most * l->context));
    return SOW_NEW(arena, l->batch_start, most + 1);
}

sow_status sai_open_letters(sai_subject *s) {
    sow_call *call = s->call;
    sow_lm_config config;
    letters *l;
    SOW_TRY(SOW_NEW(call->arena, l, 1));
    s->model_name = sow_text(call, "arch");
    SOW_TRY(configure(s->model_name, 1, &config)); /* before the text is read */
    SOW_TRY(read_text(s, l));
    SOW_TRY(configure(s->model_name, l->vocabulary, &config));
    SOW_TRY(sow_lm_declare(&config, SOW_F32, &l->lm));
    s->letters = l->lm;
    s->state = l->lm->state;
    s->heads = config.heads;
    sow_resolve(call, "batch", "16");
    l->batch = sow_int(call, "batch");
    l->context = config.positions;
    SOW_TRY(make_room(call->arena, l));
    SOW_TRY(sow_rng_seed(&l->rng, SOW_RNG_SOW, (uint64_t)sow_int(call, "seed")));
    open_feeds(l);
    s->train = &l->train;
    s->validation = &l->validation;
    return sai_fill_start(s, "normal:sd=0.02");
}
