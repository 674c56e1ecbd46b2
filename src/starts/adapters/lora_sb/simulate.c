/* LoRA-SB against other adapter starts: one tuning of the study. */
#include "starts/adapters/lora_sb/simulate.h"

#include <math.h>
#include <string.h>

#include "sow/json.h"

const sow_option lora_sb_simulate_options[] = {
    SOW_OPTION_CHOICE("adapter", "sb", "sb|sb-r0|sb-raw|lora|rslora|pissa|olora|lora-xs|core-random|full",
                      "what is tuned; sb-r0: sb's subspaces with R = 0; sb-raw: without the sign; full: everything"),
    SOW_OPTION_INT("samples", "200", 1, 1e9, "sb: for the gradient"),
    SOW_OPTION_FLAG("planted", "a planted problem instead of data sets"),
    TUNING_OPTIONS,
    {0},
};

/* ---- arms ---- */

/* What is tuned. */
typedef struct arm {
    bool full, sb;             /* full: the whole network; sb: the method or one of its controls */
    sow_adapter_start start;   /* neither */
    sow_lora_sb_config config; /* sb; eta is the rate's */
} arm;

typedef struct simulation {
    sow_call *call;
    tuning t;
    arm arm;
    sow_feed *samples; /* for sb's gradient */
    sow_part part;     /* of images: which */
    sow_texts *rest, *drawn;
} simulation;

static sow_status arm_of(const sow_call *call, arm *out) {
    const char *name = sow_text(call, "adapter");
    *out = (arm){.full = !strcmp(name, "full"), .sb = !strncmp(name, "sb", 2)};
    out->config = (sow_lora_sb_config){
        .rank = sow_int(call, "rank"),
        .first_step = !strcmp(name, "sb-raw") ? SOW_FIRST_STEP_SGD : SOW_FIRST_STEP_ADAM,
        .zero_core = !strcmp(name, "sb-r0"),
        .seed = (uint64_t)sow_int(call, "seed"),
    };
    return out->full || out->sb ? SOW_OK : sow_adapter_start_parse(name, &out->start);
}

/* The adapter of an arm that is tuned with this first rate; NULL for full. */
static sow_status make_adapter(simulation *s, double eta, sow_adapter **out, sow_lora_sb_report *report) {
    sow_lora_sb_config config = s->arm.config;
    *out = NULL;
    if (s->arm.full) return SOW_OK;
    config.eta = eta;
    if (s->arm.sb) return sow_lora_sb(&config, &s->t.sites, s->samples, s->call->arena, out, report);
    return sow_adapter_make(s->arm.start, &s->t.sites, config.rank, (double)config.rank, config.seed, out);
}

/* How many numbers training everything changes. */
static int64_t numbers(const sow_state *state) {
    int64_t count = 0;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (e->role != SOW_ROLE_BUFFER) count += sow_count(e->value);
    }
    return count;
}

/* Training examples in a row, each seed has its own; texts at random. */
static sow_status choose_samples(simulation *s) {
    int64_t want = sow_int(s->call, "samples"), seed = sow_int(s->call, "seed");
    tuning *t = &s->t;
    if (t->model) {
        int64_t all = t->data->train.count;
        s->part = t->data->train;
        if (want < all) s->part.index += seed * want % (all - want), s->part.count = want;
        return sow_feed_network(t->model, t->data, &s->part, &(sow_feed_options){.batch = 100}, &s->samples);
    }
    if (want < t->train->count) SOW_TRY(sow_texts_split(t->train, want, (uint64_t)seed + 1, &s->rest, &s->drawn));
    return sow_feed_texts(t->base.lm, s->drawn ? s->drawn : t->train, &(sow_feed_options){.batch = 4}, &s->samples);
}

/* ---- identities, measured ---- */

/* ||dW - B R A||^2 of a layer, from its gradient. */
static sow_status residual(sow_arena *arena, const sow_lora_sb_config *config, const sow_adapter_layer *l,
                           double *out) {
    sow_tensor g, br;
    sow_entry *e = l->site->weight;
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){l->out, l->in}, &g));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){l->out, l->rank}, &br));
    sow_first_update(config->first_step, config->eta, l->site->by_inputs ? sow_transpose(e->grad) : e->grad, g);
    for (int64_t i = 0; i < l->out * l->rank; i++)
        sow_put(br, i, sow_at(l->b->value, i) * sow_at(l->core->value, i % l->rank * (l->rank + 1)));
    *out = 0;
    for (int64_t i = 0; i < l->out; i++)
        for (int64_t j = 0; j < l->in; j++) {
            double x = sow_at(g, i * l->in + j);
            for (int64_t k = 0; k < l->rank; k++) x -= sow_at(br, i * l->rank + k) * sow_at(l->a->value, k * l->in + j);
            *out += x * x;
        }
    return SOW_OK;
}

/* The largest gap, over the layers, between the share of dW that B R A holds and that which its singular values claim. */
static sow_status energy_error(const tuning *t, const sow_lora_sb_config *config, sow_feed *samples,
                               const sow_adapter *a, const sow_lora_sb_energy *energy, double *worst) {
    sow_state *state = t->state;
    double loss;
    for (int64_t i = 0; i < a->count; i++) a->layers[i].site->weight->trainable = true;
    SOW_TRY(sow_state_add_gradients(state));
    sow_fresh_gradients(state);
    sow_status status = sow_feed_gradients(samples, &loss);
    sow_state_train(state, false);
    SOW_TRY(status);
    *worst = 0;
    for (int64_t i = 0; i < a->count; i++) {
        double left;
        SOW_TRY(residual(t->arena, config, &a->layers[i], &left));
        double held = 1 - left / energy[i].total;
        *worst = fmax(*worst, fabs(held - energy[i].captured[energy[i].rank - 1]));
    }
    return SOW_OK;
}

static sow_status logits_with(tuning *t, sow_adapter *a, sow_tensor *out) {
    sow_tape *tape;
    sow_batches *batches;
    sow_tensor inputs, labels;
    SOW_TRY(sow_batches_new(t->data, &t->data->test, 64, 0, false, SOW_AUGMENT_NONE, &batches));
    sow_status status = sow_tape_new(&tape);
    if (status == SOW_OK) {
        status = sow_adapter_attach(a, tape);
        if (status == SOW_OK) status = sow_batches_at(batches, 0, &inputs, &labels);
        if (status == SOW_OK) {
            sow_var y = t->model->forward(tape, t->model->state, t->model, sow_constant(tape, inputs));
            status = sow_tape_status(tape);
            if (status == SOW_OK) status = sow_tensor_like(t->arena, sow_value(y), out);
            if (status == SOW_OK) status = sow_copy(*out, sow_value(y));
        }
        sow_tape_free(tape);
    }
    sow_batches_free(batches);
    return status;
}

/* The largest change of a logit when B R becomes plain LoRA's B. */
static sow_status export_error(tuning *t, sow_adapter *a, double *worst) {
    sow_adapter *plain;
    sow_tensor own, folded;
    SOW_TRY(sow_adapter_plain(a, &plain));
    sow_status status = logits_with(t, a, &own);
    if (status == SOW_OK) status = logits_with(t, plain, &folded);
    *worst = 0;
    for (int64_t i = 0; status == SOW_OK && i < sow_count(own); i++)
        *worst = fmax(*worst, fabs(sow_at(own, i) - sow_at(folded, i)));
    sow_adapter_free(plain);
    return status;
}

/* ---- tunings ---- */

static sow_status check_identities(simulation *s, double eta, sow_adapter *a, const sow_lora_sb_energy *energy) {
    double energies, exported;
    sow_lora_sb_config config = s->arm.config;
    config.eta = eta;
    SOW_TRY(energy_error(&s->t, &config, s->samples, a, energy, &energies));
    SOW_TRY(export_error(&s->t, a, &exported));
    SOW_TRY(sow_put_real(s->call->result, "energy_error", energies));
    return sow_put_real(s->call->result, "export_error", exported);
}

/* sb's start depends on the rate: each rate has an adapter of its own. */
static sow_status tune_at(simulation *s, const tuning_recipe *all, int i, tuning_outcome *out) {
    tuning_recipe recipe = *all;
    int64_t warmup = (int64_t)(all->warmup * (double)all->steps);
    double eta = all->rates[i] / (double)(warmup > 0 ? warmup : 1);
    sow_adapter *adapter;
    sow_lora_sb_report report;
    int best;
    recipe.rates[0] = all->rates[i];
    recipe.rate_count = 1;
    SOW_TRY(make_adapter(s, eta, &adapter, &report));
    sow_status status = SOW_OK;
    if (i == 0 && s->arm.sb && !s->arm.config.zero_core && s->t.model)
        status = check_identities(s, eta, adapter, report.layers);
    int64_t trained = adapter ? sow_adapter_trained(adapter) : numbers(s->t.state);
    if (status == SOW_OK) status = tuning_run(&s->t, adapter, &recipe, out, &best);
    if (adapter) sow_adapter_unshift(adapter);
    sow_adapter_free(adapter);
    return status == SOW_OK ? sow_put_count(s->call->result, "trained", trained) : status;
}

static sow_status run(simulation *s) {
    tuning_recipe recipe;
    tuning_outcome *outcomes;
    int best = 0;
    SOW_TRY(arm_of(s->call, &s->arm));
    SOW_TRY(sow_flag(s->call, "planted") ? lora_sb_plant(s->call, &s->t) : tuning_open(s->call, &s->t));
    SOW_TRY(choose_samples(s));
    SOW_TRY(tuning_recipe_of(s->call, &recipe));
    SOW_TRY(SOW_NEW(s->call->arena, outcomes, recipe.rate_count));
    for (int i = 0; i < recipe.rate_count; i++) {
        SOW_TRY(tune_at(s, &recipe, i, &outcomes[i]));
        if (outcomes[i].validation_loss < outcomes[best].validation_loss) best = i;
    }
    return tuning_report(s->call, outcomes, recipe.rate_count, best);
}

sow_status lora_sb_simulate(sow_call *call) {
    simulation s = {.call = call};
    if (sow_flag(call, "pretrain-only")) return tuning_write_base(call);
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    sow_status status = run(&s);
    sow_feed_free(s.samples);
    sow_texts_free(s.rest);
    sow_texts_free(s.drawn);
    tuning_close(&s.t);
    return status == SOW_OK ? tuning_write(call) : status;
}
