/* Rounds of federated tuning: local training, merging, what the next round begins with. Whole federations in one process. */
#include "starts/adapters/lora_fair/rounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/safetensors.h"

/* ---- parts of a round ---- */

/* A number below 2^31 of (purpose, at), so that no two trainings see batches in one order. */
static uint64_t derived_seed(uint64_t seed, const char *purpose, int64_t at) {
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, seed);
    sow_rng_at_index(&rng, purpose, (uint64_t)at);
    return sow_rng_below(&rng, UINT64_C(1) << 31);
}

sow_status fair_fresh_adapter(fair_world *w, int64_t round, sow_adapter **out) {
    uint64_t seed = round == 0 ? w->seed : derived_seed(w->seed, "lora-fair fresh", round);
    SOW_TRY(sow_adapter_make(SOW_START_LORA, &w->sites, w->rank, w->alpha, seed, out));
    for (int64_t i = 0; w->freeze_a && i < (*out)->count; i++) (*out)->layers[i].a->trainable = false;
    fair_describe(w, *out);
    return SOW_OK;
}

static sow_status attach(void *user, sow_tape *tape) {
    return user ? sow_adapter_attach(user, tape) : SOW_OK;
}

static sow_status train(fair_world *w, sow_adapter *adapter, const sow_data *data, int64_t client,
                        sow_training *training) {
    sow_task task = {.state = adapter->state, .identity = "", .open = attach, .user = adapter};
    const sow_feed_options order = {.batch = training->batch, .seed = training->seed, .shuffle = true};
    SOW_TRY(w->base.lm ? sow_feed_texts(w->base.lm, w->kept[client], &order, &task.train)
                       : sow_feed_network(w->model, data, &data->train, &order, &task.train));
    sow_status status = sow_train_task(w->arena, training, &task);
    sow_feed_free(task.train);
    return status;
}

sow_status fair_train(fair_world *w, sow_adapter *adapter, const sow_data *data, int64_t round, int64_t client,
                      int64_t steps, int64_t times) {
    sow_mark mark = sow_arena_mark(w->arena);
    int64_t batch = w->batch * times, count = w->base.lm ? w->kept[client]->count : data->train.count;
    sow_training training = {.steps = steps,
                             .batch = batch < count ? batch : count,
                             .optimizer = {.kind = w->optimizer, .rate = w->local_lr},
                             .seed = derived_seed(w->seed, "lora-fair client", round * FAIR_CLIENTS_MAX + client)};
    if (w->optimizer == SOW_SGDM) training.optimizer.momentum = 0.9;
    sow_status status = train(w, adapter, data, client, &training);
    sow_arena_release(w->arena, mark);
    if (status == SOW_OK) return SOW_OK;
    return sow_fail_in(status, "round %lld, client %lld", (long long)round + 1, (long long)client + 1);
}

static sow_status score_one(fair_world *w, sow_tape *tape, int at, double *score) {
    double loss;
    if (w->base.lm) return fair_text_loss(w, tape, at, score);
    return sow_evaluate(tape, w->model, &w->tests[at], &w->tests[at].test, &loss, score);
}

sow_status fair_score(fair_world *w, sow_adapter *adapter, double *score, double *mean) {
    sow_tape *tape;
    double found;
    *mean = 0;
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = attach(adapter, tape);
    for (int i = 0; status == SOW_OK && i < w->test_count; i++) {
        status = score_one(w, tape, i, &found);
        *mean += found / w->test_count;
        if (score) score[i] = found;
    }
    sow_tape_free(tape);
    return status;
}

/* FLoRA: the stack goes into the base, and clients begin anew. */
static sow_status restart(fair_world *w, sow_adapter *stack, int64_t round, sow_adapter **global) {
    SOW_TRY(sow_adapter_bind(stack, &w->sites));
    SOW_TRY(sow_adapter_merge(stack));
    return fair_fresh_adapter(w, round + 1, global);
}

sow_status fair_end_round(fair_world *w, const sow_fair_config *config, sow_adapter *const *trained, int64_t round,
                          sow_adapter **global, sow_adapter **merged, sow_fair_layer **layers) {
    SOW_TRY(
        sow_fair_merge(config, (const sow_adapter *const *)trained, w->weight, w->clients, w->arena, merged, layers));
    sow_adapter *next = *merged;
    sow_status status = config->kind == SOW_FAIR_FLORA ? restart(w, *merged, round, &next)
                                                       : sow_adapter_bind(next, &w->sites);
    for (int64_t i = 0; status == SOW_OK && w->freeze_a && i < next->count; i++) next->layers[i].a->trainable = false;
    if (status != SOW_OK) {
        sow_adapter_free(*merged);
        return status;
    }
    sow_adapter_free(*global);
    *global = next;
    return SOW_OK;
}

/* ---- a federation in one process ---- */

const sow_option fair_simulate_options[] = {
    FAIR_WORLD_OPTIONS,
    FAIR_SOLVER_OPTIONS,
    SOW_OPTION_PATH("base", NULL, "the base's weights, instead of training them"),
    SOW_OPTION_FLAG("write-base", "train and write the base alone"),
    SOW_OPTION_FLAG("planted", "a planted problem instead of images"),
    SOW_OPTION_FLAG("centralised", "all clients' data in one place, batches as many times larger: the ceiling"),
    SOW_OPTION_OUTPUT_OR("summary as a JSON file"),
    SOW_OPTION_FORCE,
    {0},
};

typedef struct simulation {
    sow_call *call;
    fair_world world;
    sow_fair_config config;
    sow_data *data;        /* [clients] */
    sow_adapter **trained; /* [clients] */
    sow_adapter *global;
    fair_round *rounds;
    int64_t count;
} simulation;

/* A client's own copy of what it was sent. */
static sow_status copy_adapter(fair_world *w, const sow_adapter *from, sow_adapter **out) {
    SOW_TRY(sow_adapter_plain(from, out));
    sow_status status = sow_adapter_bind(*out, &w->sites);
    for (int64_t i = 0; w->freeze_a && i < (*out)->count; i++) (*out)->layers[i].a->trainable = false;
    if (status != SOW_OK) sow_adapter_free(*out);
    return status;
}

static sow_status one_round(simulation *s, int64_t round) {
    fair_world *w = &s->world;
    sow_adapter *merged = NULL;
    sow_fair_layer *layers;
    for (int64_t k = 0; k < w->clients; k++) {
        SOW_TRY(sow_check_interrupt());
        SOW_TRY(copy_adapter(w, s->global, &s->trained[k]));
        SOW_TRY(fair_train(w, s->trained[k], &s->data[k], round, k, w->local_steps, 1));
    }
    sow_mark mark = sow_arena_mark(w->arena);
    SOW_TRY(fair_end_round(w, &s->config, s->trained, round, &s->global, &merged, &layers));
    s->rounds[round].summary = fair_summarise(layers, merged->count);
    sow_arena_release(w->arena, mark);
    if (merged != s->global) sow_adapter_free(merged);
    for (int64_t k = 0; k < w->clients; k++) sow_adapter_free(s->trained[k]), s->trained[k] = NULL;
    return fair_score(w, s->global, NULL, &s->rounds[round].score);
}

static sow_status federate(simulation *s) {
    fair_world *w = &s->world;
    SOW_TRY(SOW_NEW(w->arena, s->data, w->clients));
    SOW_TRY(SOW_NEW(w->arena, s->trained, w->clients));
    for (int64_t k = 0; k < w->clients; k++) SOW_TRY(fair_client_data(w, k, &s->data[k]));
    for (int64_t round = 0; round < s->count; round++) SOW_TRY(one_round(s, round));
    return SOW_OK;
}

/* As many steps as a client takes, on the batches of all of them. */
static sow_status train_centrally(simulation *s) {
    fair_world *w = &s->world;
    sow_data all;
    SOW_TRY(fair_all_data(w, &all));
    for (int64_t round = 0; round < s->count; round++) {
        SOW_TRY(fair_train(w, s->global, &all, round, 0, w->local_steps, w->clients));
        s->rounds[round].summary = (fair_summary){.cosine_before = 1, .cosine_after = 1};
        SOW_TRY(fair_score(w, s->global, NULL, &s->rounds[round].score));
    }
    return SOW_OK;
}

/* accuracy, accuracy_1 ...; cosines and biases, means over the rounds. */
static sow_status report(simulation *s, double base) {
    sow_call *call = s->call;
    double n = (double)s->count, before = 0, after = 0, bias = 0, bias_after = 0, growth = 0;
    bool never_below = true;
    SOW_TRY(sow_put_real(call->result, "base_accuracy", base));
    SOW_TRY(sow_put_real(call->result, "accuracy", s->rounds[s->count - 1].score));
    for (int64_t i = 0; i < s->count; i++) {
        const fair_summary *m = &s->rounds[i].summary;
        const char *key = sow_arena_format(call->arena, "accuracy_%lld", (long long)i + 1);
        if (!key) return SOW_E_MEMORY;
        SOW_TRY(sow_put_real(call->result, key, s->rounds[i].score));
        before += m->cosine_before / n, after += m->cosine_after / n;
        bias += m->bias_before / n, bias_after += m->bias_after / n;
        growth += m->growth / n;
        never_below &= m->cosine_after >= m->cosine_before;
    }
    SOW_TRY(sow_put_real(call->result, "first_cosine", s->rounds[0].summary.cosine_before));
    SOW_TRY(sow_put_real(call->result, "cosine_before", before));
    SOW_TRY(sow_put_real(call->result, "cosine_after", after));
    SOW_TRY(sow_put_real(call->result, "bias_before", bias));
    SOW_TRY(sow_put_real(call->result, "bias_after", bias_after));
    SOW_TRY(sow_put_real(call->result, "growth", growth));
    return sow_put_count(call->result, "cosine_never_below", never_below);
}

static sow_status write_result(sow_call *call) {
    const char *out = sow_text(call, "out");
    char *text;
    if (!out) return SOW_OK;
    SOW_TRY(sow_check_output(call, out));
    SOW_TRY(sow_json_text(call->arena, call->result, SOW_JSON_SORTED | SOW_JSON_PRETTY, &text));
    return sow_write_file(out, text, strlen(text));
}

/* A federation that diverged has no accuracy, which is a result: a search of rates goes on without it. */
static sow_status report_end(simulation *s, sow_status status, double base) {
    if (status != SOW_OK && status != SOW_E_NUMBER) return status;
    if (status == SOW_OK) SOW_TRY(report(s, base));
    else {
        sow_warn("diverged: %s", sow_message());
        SOW_TRY(sow_put_text(s->call->result, "diverged", sow_message()));
    }
    return write_result(s->call);
}

static sow_status simulate(simulation *s) {
    double base;
    fair_world *w = &s->world;
    SOW_TRY(SOW_NEW(w->arena, s->rounds, s->count));
    SOW_TRY(fair_make_tests(w));
    SOW_TRY(fair_score(w, NULL, NULL, &base));
    SOW_TRY(fair_fresh_adapter(w, 0, &s->global));
    return report_end(s, sow_flag(s->call, "centralised") ? train_centrally(s) : federate(s), base);
}

sow_status fair_simulate(sow_call *call) {
    simulation s = {.call = call, .count = sow_int(call, "rounds")};
    SOW_TRY(fair_config_of(call, &s.config));
    const char *base = sow_text(call, sow_text(call, "base") ? "base" : "start");
    SOW_TRY(sow_flag(call, "planted") ? fair_planted_open(call, &s.world) : fair_world_open(call, base, &s.world));
    sow_status status = SOW_OK;
    if (sow_flag(call, "write-base")) {
        const char *out = sow_text(call, "out");
        status = out ? sow_save_state(out, s.world.model->state, NULL)
                     : sow_fail(SOW_E_ARGUMENT, "--write-base needs --out");
    } else status = simulate(&s);
    for (int64_t k = 0; s.trained && k < s.world.clients; k++) sow_adapter_free(s.trained[k]);
    sow_adapter_free(s.global);
    fair_world_close(&s.world);
    return status;
}
