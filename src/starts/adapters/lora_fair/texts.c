/* Federations on texts: one language model, an adapter of it in rounds; clients have a file each, or shares of one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "starts/adapters/lora_fair/rounds.h"

/* Held out of a client's sequences unless --held-out says: a tenth, but not more than an evaluation is worth. */
enum { HELD_OUT_SHARE = 10, HELD_OUT_MAX = 32, EVALUATION_SEQUENCES = 8 };

/* ---- options ---- */

static const char *const of_images[] = {"data",          "arch",     "start", "examples", "pretrain", "pretrain-epochs",
                                        "test-examples", "partition"};

sow_status fair_text_options(sow_call *call) {
    const char *const *files = sow_list(call, "texts");
    int64_t count = 0;
    for (size_t i = 0; i < sizeof of_images / sizeof *of_images; i++) {
        if (sow_given(call, of_images[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to images, not to --model", of_images[i]);
        sow_resolve(call, of_images[i], NULL);
    }
    if (!strcmp(sow_text(call, "kind"), "flora"))
        return sow_fail(SOW_E_ARGUMENT, "--kind flora changes the base in every round: take it for images, or merge "
                                        "folders by `sow lora-fair merge --kind flora`");
    while (files[count]) count++;
    if (count == 0) return sow_fail(SOW_E_ARGUMENT, "--model needs texts: a file for each client, or one for all");
    if (count > 1) {
        if (sow_given(call, "clients") && sow_int(call, "clients") != count)
            return sow_fail(SOW_E_ARGUMENT, "--clients %lld, but there are %lld files of texts, one a client",
                            (long long)sow_int(call, "clients"), (long long)count);
        const char *clients = sow_arena_format(call->arena, "%lld", (long long)count);
        if (!clients) return SOW_E_MEMORY;
        sow_resolve(call, "clients", clients);
    }
    sow_resolve(call, "batch", "4");
    sow_resolve(call, "local-steps", "20");
    if (!strncmp(sow_text(call, "optimizer"), "adam", 4)) sow_resolve(call, "local-lr", "0.0005");
    return SOW_OK;
}

sow_status fair_without_texts(sow_call *call) {
    if (*sow_list(call, "texts"))
        return sow_fail(SOW_E_ARGUMENT, "%s: texts need --model, a language model", *sow_list(call, "texts"));
    if (sow_given(call, "held-out")) return sow_fail(SOW_E_ARGUMENT, "--held-out belongs to --model");
    sow_resolve(call, "held-out", NULL);
    return base_without_texts(call);
}

/* ---- who has what ---- */

/* Client k gets every K-th sequence of a random order. */
static sow_status take_share(fair_world *w, const sow_texts *all, const int64_t *order, int64_t client,
                             sow_texts **out) {
    int64_t *index, count = 0;
    SOW_TRY(SOW_NEW(w->arena, index, all->count / w->clients + 1));
    for (int64_t i = client; i < all->count; i += w->clients) index[count++] = order[i];
    return sow_texts_take(all, index, count, out);
}

static sow_status share_one_file(fair_world *w, const sow_texts *all, sow_texts **whole) {
    int64_t *order;
    sow_rng rng;
    if (all->count < 2 * w->clients)
        return sow_fail(SOW_E_RANGE, "%s: %lld sequences are too few for %lld clients", all->name,
                        (long long)all->count, (long long)w->clients);
    SOW_TRY(SOW_NEW(w->arena, order, all->count));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, w->seed));
    sow_rng_at(&rng, "lora-fair texts", "");
    sow_rng_permutation(&rng, order, all->count);
    for (int64_t k = 0; k < w->clients; k++) SOW_TRY(take_share(w, all, order, k, &whole[k]));
    return SOW_OK;
}

/* One client's sequences: those to train on, those to be scored on. */
static sow_status split(sow_call *call, fair_world *w, int64_t client, const sow_texts *whole) {
    int64_t held = sow_int(call, "held-out"), usual = whole->count / HELD_OUT_SHARE;
    if (held == 0) held = usual < 1 ? 1 : usual > HELD_OUT_MAX ? HELD_OUT_MAX : usual;
    sow_status status = sow_texts_split(whole, held, w->seed, &w->kept[client], &w->held[client]);
    if (status != SOW_OK) return sow_fail_in(status, "client %lld", (long long)client + 1);
    w->size[client] = w->kept[client]->count;
    return SOW_OK;
}

static sow_status name_client(fair_world *w, const sow_texts *whole, int64_t client, bool own) {
    w->names[client] = own ? sow_arena_copy(w->arena, whole->name)
                           : sow_arena_format(w->arena, "share %lld of %s", (long long)client + 1, whole->name);
    return w->names[client] ? SOW_OK : SOW_E_MEMORY;
}

static sow_status add_input(fair_world *w, const sow_texts *texts) {
    const char *name = sow_arena_copy(w->arena, texts->name);
    if (!name) return SOW_E_MEMORY;
    w->inputs[w->input_count++] = sow_input_of("texts", name, texts->sha256);
    return SOW_OK;
}

static sow_status share_out(sow_call *call, fair_world *w, sow_texts *const *files, int64_t count, sow_texts **whole) {
    bool own = count > 1 || w->clients == 1;
    for (int64_t i = 0; i < count; i++) SOW_TRY(add_input(w, files[i]));
    if (!own) SOW_TRY(share_one_file(w, files[0], whole));
    for (int64_t k = 0; k < w->clients; k++) {
        const sow_texts *texts = own ? files[k] : whole[k];
        SOW_TRY(name_client(w, own ? texts : files[0], k, own));
        SOW_TRY(split(call, w, k, texts));
    }
    return SOW_OK;
}

static sow_status open_texts(sow_call *call, fair_world *w) {
    const char *const *paths = sow_list(call, "texts");
    int64_t count = 0;
    sow_texts **files, **whole;
    while (paths[count]) count++;
    SOW_TRY(SOW_NEW(w->arena, w->inputs, count + 1));
    SOW_TRY(SOW_NEW(w->arena, files, count));
    SOW_TRY(SOW_NEW(w->arena, whole, w->clients));
    w->inputs[w->input_count++] = w->base.inputs[0];
    sow_status status = SOW_OK;
    for (int64_t i = 0; status == SOW_OK && i < count; i++)
        status = base_texts_open(call, &w->base, paths[i], &files[i]);
    if (status == SOW_OK) status = share_out(call, w, files, count, whole);
    for (int64_t i = 0; i < count; i++) sow_texts_free(files[i]);
    for (int64_t k = 0; k < w->clients; k++) sow_texts_free(whole[k]);
    return status;
}

sow_status fair_open_texts(sow_call *call, fair_world *w) {
    SOW_TRY(base_lm_open(call, sow_lm_open, &w->base));
    sow_state_train(w->base.lm->state, false);
    SOW_TRY(sow_lm_sites(w->arena, w->base.lm, &w->base.all));
    SOW_TRY(sow_choose_sites(w->arena, &w->base.all, sow_text(call, "targets"), &w->sites));
    SOW_TRY(SOW_NEW(w->arena, w->size, w->clients));
    SOW_TRY(SOW_NEW(w->arena, w->names, w->clients));
    SOW_TRY(SOW_NEW(w->arena, w->kept, w->clients));
    SOW_TRY(SOW_NEW(w->arena, w->held, w->clients));
    w->test_count = (int)w->clients;
    return open_texts(call, w);
}

void fair_close_texts(fair_world *w) {
    for (int64_t k = 0; w->kept && w->held && k < w->clients; k++) {
        sow_texts_free(w->kept[k]);
        sow_texts_free(w->held[k]);
    }
    base_model_close(&w->base);
}

/* ---- use ---- */

void fair_describe(const fair_world *w, sow_adapter *adapter) {
    if (!w->base.lm) return;
    adapter->targets = base_targets(adapter->arena, &w->base.all, &w->sites);
    adapter->base = w->base.folder;
    adapter->task = "CAUSAL_LM";
}

sow_status fair_text_loss(fair_world *w, sow_tape *tape, int client, double *loss) {
    sow_feed *feed;
    sow_tally sum;
    const sow_feed_options order = {.batch = EVALUATION_SEQUENCES};
    SOW_TRY(sow_feed_texts(w->base.lm, w->held[client], &order, &feed));
    sow_status status = sow_feed_evaluate(feed, tape, &sum);
    sow_feed_free(feed);
    if (status == SOW_OK) *loss = sum.loss / sum.examples;
    return status;
}

/* Gradients and moments of the adapter, what is sent and kept of it; one batch's states; a frozen weight has no gradient. */
void fair_say_costs(const fair_world *w, int64_t rounds) {
    int64_t trained = 0, scored = 0, longest = 0, ranks = 0;
    double steps = (double)(rounds * w->local_steps), tokens = 0;
    for (int64_t i = 0; i < w->sites.count; i++) {
        trained += w->rank * (w->sites.at[i].in + w->sites.at[i].out);
        ranks += w->rank;
    }
    for (int64_t k = 0; k < w->clients; k++) {
        const sow_texts *t = w->kept[k];
        tokens += steps * (double)w->batch * (double)t->start[t->count] / (double)t->count;
        scored += w->held[k]->start[w->held[k]->count];
        longest = t->longest > longest ? t->longest : longest;
    }
    double seconds = base_seconds(&w->base, (int64_t)tokens) * 2 / 3 +
                     base_seconds(&w->base, (rounds + 1) * scored) / 3;
    double bytes = (double)base_bytes(&w->base, w->batch * longest) + 4.0 * (double)(w->batch * longest * ranks) +
                   16.0 * (double)trained;
    sow_note(
        "%lld clients, %lld rounds of %lld steps of %lld sequences; %lld numbers are trained: about %.0f %s, and at "
        "most %.1f GiB for each client that trains, and for this process",
        (long long)w->clients, (long long)rounds, (long long)w->local_steps, (long long)w->batch, (long long)trained,
        seconds < 120 ? seconds : seconds / 60, seconds < 120 ? "seconds" : "minutes", bytes / 0x1p30);
}
