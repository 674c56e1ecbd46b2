/* Clients of simulated federations: their images, domains and labels; the network that they adapt. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/init.h"
#include "sow/log.h"
#include "sow/safetensors.h"
#include "starts/adapters/lora_fair/rounds.h"

enum { PRETRAIN_BATCH = 64, REDRAWS = 1000, LEAST_EXAMPLES = 8 };

/* ---- domains ---- */

static const char *const domain_names[FAIR_DOMAINS] = {"plain", "rotated", "inverted", "blurred", "shifted", "noisy"};

const char *fair_domain_name(int domain) {
    return domain_names[domain];
}

typedef struct plane {
    const uint8_t *pixels;
    int64_t height, width;
} plane;

static double pixel(plane p, int64_t y, int64_t x) {
    return y < 0 || x < 0 || y >= p.height || x >= p.width ? 0 : p.pixels[y * p.width + x];
}

static uint8_t to_byte(double value) {
    return (uint8_t)lrint(fmin(255, fmax(0, value)));
}

/* By 45 degrees about the centre, bilinear. */
static void rotate(plane p, uint8_t *out) {
    double cy = 0.5 * (double)(p.height - 1), cx = 0.5 * (double)(p.width - 1);
    for (int64_t y = 0; y < p.height; y++)
        for (int64_t x = 0; x < p.width; x++) {
            double dy = (double)y - cy, dx = (double)x - cx, sy = cy + M_SQRT1_2 * (dy - dx),
                   sx = cx + M_SQRT1_2 * (dy + dx), fy = sy - floor(sy), fx = sx - floor(sx);
            int64_t y0 = (int64_t)floor(sy), x0 = (int64_t)floor(sx);
            out[y * p.width + x] = to_byte((1 - fy) * ((1 - fx) * pixel(p, y0, x0) + fx * pixel(p, y0, x0 + 1)) +
                                           fy * ((1 - fx) * pixel(p, y0 + 1, x0) + fx * pixel(p, y0 + 1, x0 + 1)));
        }
}

/* Mean of 3 x 3. */
static void blur(plane p, uint8_t *out) {
    for (int64_t y = 0; y < p.height; y++)
        for (int64_t x = 0; x < p.width; x++) {
            double sum = 0;
            for (int64_t dy = -1; dy <= 1; dy++)
                for (int64_t dx = -1; dx <= 1; dx++) sum += pixel(p, y + dy, x + dx);
            out[y * p.width + x] = to_byte(sum / 9);
        }
}

static void shift(plane p, int64_t dy, int64_t dx, uint8_t *out) {
    for (int64_t y = 0; y < p.height; y++)
        for (int64_t x = 0; x < p.width; x++) out[y * p.width + x] = (uint8_t)pixel(p, y + dy, x + dx);
}

/* Gaussian, of half the range, cut at black and white. */
static void add_noise(plane p, sow_rng *rng, uint8_t *out) {
    for (int64_t i = 0; i < p.height * p.width; i++) {
        double noise;
        sow_rng_normal_f64(rng, &noise, 1, 0, 127.5);
        out[i] = to_byte(p.pixels[i] + noise);
    }
}

/* What is random about an example depends on the seed and its place alone. */
void fair_show(const fair_world *w, const sow_dataset *set, int64_t i, int domain, uint8_t *out) {
    const sow_geometry *g = &set->geometry;
    int64_t size = g->height * g->width;
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, w->seed);
    sow_rng_at_index(&rng, set == w->source->test_set ? "lora-fair test image" : "lora-fair image", (uint64_t)i);
    int64_t dy = (int64_t)sow_rng_below(&rng, 9) - 4, dx = (int64_t)sow_rng_below(&rng, 9) - 4;
    for (int64_t c = 0; c < g->channels; c++, out += size) {
        plane p = {(const uint8_t *)set->inputs.data + (i * g->channels + c) * size, g->height, g->width};
        switch (domain) {
        case 1: rotate(p, out); break;
        case 2:
            for (int64_t k = 0; k < size; k++) out[k] = (uint8_t)(255 - p.pixels[k]);
            break;
        case 3: blur(p, out); break;
        case 4: shift(p, dy, dx, out); break;
        case 5: add_noise(p, &rng, out); break;
        default: memcpy(out, p.pixels, (size_t)size);
        }
    }
}

/* ---- data sets of clients ---- */

/* `count` examples of a part of the source, each as its domain shows it. */
typedef struct gathering {
    const sow_dataset *from;
    sow_dataset *set;
    int64_t filled;
} gathering;

static sow_status begin_data(fair_world *w, const sow_dataset *from, int64_t count, sow_data *out, gathering *g) {
    const sow_geometry *geometry = &w->source->geometry;
    int64_t values = geometry->channels * geometry->height * geometry->width, bytes;
    uint8_t *pixels;
    SOW_TRY(sow_multiply(count, values, &bytes));
    SOW_TRY(SOW_NEW(w->arena, g->set, 1));
    SOW_TRY(SOW_NEW_RAW(w->arena, pixels, bytes));
    *g->set = (sow_dataset){
        .arena = w->arena,
        .count = count,
        .geometry = *geometry,
        .inputs = SOW_TENSOR(pixels, SOW_U8, count, geometry->channels, geometry->height, geometry->width)};
    SOW_TRY(SOW_NEW(w->arena, g->set->labels, count));
    *out = *w->source;
    out->train_set = out->test_set = g->set;
    out->train = out->validation = out->test = (sow_part){.set = g->set};
    SOW_TRY(SOW_NEW(w->arena, out->train.index, count));
    for (int64_t i = 0; i < count; i++) out->train.index[i] = i;
    g->from = from, g->filled = 0;
    return SOW_OK;
}

static void add_examples(const fair_world *w, gathering *g, const int64_t *index, int64_t count, int domain) {
    int64_t values = sow_count(g->set->inputs) / g->set->count;
    for (int64_t i = 0; i < count; i++, g->filled++) {
        fair_show(w, g->from, index[i], domain, (uint8_t *)g->set->inputs.data + g->filled * values);
        g->set->labels[g->filled] = g->from->labels[index[i]];
    }
}

static int domain_of(const fair_world *w, int64_t client) {
    return w->domains ? (int)(client % FAIR_DOMAINS) : 0;
}

sow_status fair_client_data(fair_world *w, int64_t client, sow_data *out) {
    gathering g;
    if (w->planted) return fair_planted_data(w, client, 1, out);
    SOW_TRY(begin_data(w, w->source->train_set, w->size[client], out, &g));
    add_examples(w, &g, w->index[client], w->size[client], domain_of(w, client));
    out->train.count = g.filled;
    return SOW_OK;
}

sow_status fair_all_data(fair_world *w, sow_data *out) {
    gathering g;
    if (w->planted) return fair_planted_data(w, 0, w->clients, out);
    SOW_TRY(begin_data(w, w->source->train_set, w->client_count, out, &g));
    for (int64_t k = 0; k < w->clients; k++) add_examples(w, &g, w->index[k], w->size[k], domain_of(w, k));
    out->train.count = g.filled;
    return SOW_OK;
}

sow_status fair_make_tests(fair_world *w) {
    const sow_part *test = &w->source->test;
    if (w->planted) return fair_planted_tests(w);
    w->test_count = !w->domains ? 1 : w->clients < FAIR_DOMAINS ? (int)w->clients : FAIR_DOMAINS;
    SOW_TRY(SOW_NEW(w->arena, w->tests, w->test_count));
    for (int d = 0; d < w->test_count; d++) {
        gathering g;
        SOW_TRY(begin_data(w, test->set, test->count, &w->tests[d], &g));
        add_examples(w, &g, test->index, test->count, d);
        w->tests[d].test = (sow_part){.set = g.set, .count = g.filled, .index = w->tests[d].train.index};
    }
    return SOW_OK;
}

/* ---- who gets what ---- */

/* Marsaglia and Tsang 2000; a < 1 through a + 1. */
double fair_gamma(sow_rng *rng, double a) {
    double u, z, boost = 1;
    if (a < 1) {
        sow_rng_uniform_f64(rng, &u, 1, 0, 1);
        boost = pow(1 - u, 1 / a);
        a += 1;
    }
    for (double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);;) {
        sow_rng_normal_f64(rng, &z, 1, 0, 1);
        sow_rng_uniform_f64(rng, &u, 1, 0, 1);
        double v = pow(1 + c * z, 3);
        if (v > 0 && log(1 - u) < 0.5 * z * z + d - d * v + d * log(v)) return boost * d * v;
    }
}

/* Of each class a share that is drawn anew for every client. owner: [client_count]. */
static void draw_owners(const fair_world *w, sow_rng *rng, double *share, int64_t *owner) {
    const int32_t *labels = w->source->train_set->labels;
    const int64_t *examples = w->order + w->base_count;
    for (int64_t c = 0; c < w->source->geometry.classes; c++) {
        double sum = 0, total = 0;
        int64_t members = 0, seen = 0, k = 0;
        for (int64_t i = 0; i < w->clients; i++) sum += share[i] = fair_gamma(rng, w->dirichlet);
        for (int64_t i = 0; i < w->client_count; i++) members += labels[examples[i]] == c;
        for (int64_t i = 0; i < w->client_count; i++) {
            if (labels[examples[i]] != c) continue;
            while (k < w->clients - 1 && (double)seen >= (total + share[k]) / sum * (double)members)
                total += share[k++];
            owner[i] = k;
            seen++;
        }
    }
}

static bool all_have_enough(const fair_world *w, const int64_t *owner) {
    memset(w->size, 0, (size_t)w->clients * sizeof *w->size);
    for (int64_t i = 0; i < w->client_count; i++) w->size[owner[i]]++;
    for (int64_t k = 0; k < w->clients; k++)
        if (w->size[k] < LEAST_EXAMPLES) return false;
    return true;
}

static sow_status choose_owners(const fair_world *w, int64_t *owner) {
    sow_rng rng;
    double *share;
    SOW_TRY(SOW_NEW(w->arena, share, w->clients));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, w->seed));
    for (int draw = 0; draw < REDRAWS; draw++) {
        sow_rng_at_index(&rng, "lora-fair partition", (uint64_t)draw);
        if (w->dirichlet > 0) draw_owners(w, &rng, share, owner);
        else
            for (int64_t i = 0; i < w->client_count; i++) owner[i] = i % w->clients;
        if (all_have_enough(w, owner)) return SOW_OK;
        if (w->dirichlet == 0) break;
    }
    return sow_fail(SOW_E_RANGE,
                    "%lld examples leave some of %lld clients with less than %d: take fewer clients, more "
                    "--examples, or a larger concentration",
                    (long long)w->client_count, (long long)w->clients, LEAST_EXAMPLES);
}

static sow_status share_out(fair_world *w) {
    int64_t *owner;
    SOW_TRY(SOW_NEW(w->arena, owner, w->client_count + 1));
    SOW_TRY(SOW_NEW(w->arena, w->size, w->clients));
    SOW_TRY(SOW_NEW(w->arena, w->index, w->clients));
    SOW_TRY(choose_owners(w, owner));
    for (int64_t k = 0; k < w->clients; k++) {
        SOW_TRY(SOW_NEW(w->arena, w->index[k], w->size[k]));
        for (int64_t i = 0, n = 0; i < w->client_count; i++)
            if (owner[i] == k) w->index[k][n++] = w->order[w->base_count + i];
    }
    return SOW_OK;
}

static sow_status parse_partition(fair_world *w, const char *text) {
    const char *at = text;
    if (!strcmp(text, "iid")) return SOW_OK;
    if (!strncmp(at, "domain", 6)) w->domains = true, at += 6;
    if (w->domains && *at == 0) return SOW_OK;
    if (w->domains && *at == '+') at++;
    if (!strncmp(at, "dirichlet:", 10)) {
        char *end;
        w->dirichlet = strtod(at + 10, &end);
        if (end != at + 10 && *end == 0 && w->dirichlet >= 1e-3 && w->dirichlet <= 1e6) return SOW_OK;
    }
    return sow_fail(SOW_E_ARGUMENT,
                    "--partition '%s': expected iid, domain, dirichlet:A or domain+dirichlet:A, with A like 0.3", text);
}

/* ---- the base ---- */

static sow_status pretrain(const fair_world *w, int64_t epochs) {
    sow_rng rng;
    sow_init init = sow_init_defaults(SOW_INIT_TORCH_DEFAULT);
    sow_data data = *w->source;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, w->seed));
    SOW_TRY(sow_init_state(&rng, w->model->state, &init, NULL, 0));
    if (w->base_count < PRETRAIN_BATCH) return SOW_OK;
    data.train = (sow_part){.set = w->source->train_set, .count = w->base_count, .index = w->order};
    data.validation.count = data.test.count = 0;
    sow_training training = {.steps = epochs * (w->base_count / PRETRAIN_BATCH),
                             .batch = PRETRAIN_BATCH,
                             .optimizer = {.kind = SOW_ADAM, .rate = 1e-3},
                             .seed = w->seed};
    return sow_train(w->arena, &training, w->model, &data);
}

static sow_status open_base(sow_call *call, const char *base, fair_world *w) {
    const char *arch = sow_text(call, "arch");
    sow_status status = sow_model_new(arch, &w->source->geometry, &w->model);
    if (status != SOW_OK) return status == SOW_E_NOT_FOUND ? sow_fail_in(SOW_E_ARGUMENT, "--arch") : status;
    return base ? sow_load_into(base, w->model->state) : pretrain(w, sow_int(call, "pretrain-epochs"));
}

/* ---- all of it ---- */

static sow_status read_options(sow_call *call, fair_world *w) {
    SOW_TRY(sow_optimizer_parse(sow_text(call, "optimizer"), &w->optimizer));
    bool sgd = w->optimizer == SOW_SGD || w->optimizer == SOW_SGDM;
    if (!sow_text(call, "local-lr")) sow_resolve(call, "local-lr", sgd ? "0.1" : "0.003");
    *w = (fair_world){.arena = call->arena,
                      .clients = sow_int(call, "clients"),
                      .rank = sow_int(call, "rank"),
                      .batch = sow_int(call, "batch"),
                      .local_steps = sow_int(call, "local-steps"),
                      .alpha = sow_real(call, "alpha"),
                      .local_lr = strtod(sow_text(call, "local-lr"), NULL),
                      .optimizer = w->optimizer,
                      .seed = (uint64_t)sow_int(call, "seed")};
    if (w->alpha == 0) w->alpha = (double)w->rank;
    return sow_text(call, "partition") ? parse_partition(w, sow_text(call, "partition")) : SOW_OK;
}

/* The first examples of a random order are the base's. */
static sow_status split(sow_call *call, fair_world *w) {
    const sow_part *train = &w->source->train;
    int64_t *places;
    sow_rng rng;
    bool trained_here = !sow_text(call, "start");
    if (w->source->train_set->inputs.dtype != SOW_U8)
        return sow_fail(SOW_E_UNSUPPORTED, "%s: holds no images; rounds are simulated on images alone",
                        w->source->name);
    w->base_count = trained_here ? sow_int(call, "pretrain") : 0;
    w->client_count = train->count - w->base_count;
    if (w->client_count < w->clients * LEAST_EXAMPLES)
        return sow_fail(SOW_E_RANGE,
                        "%lld training examples, of which --pretrain takes %lld, are too few for %lld clients",
                        (long long)train->count, (long long)w->base_count, (long long)w->clients);
    SOW_TRY(SOW_NEW(w->arena, w->order, train->count));
    SOW_TRY(SOW_NEW(w->arena, places, train->count));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, w->seed));
    sow_rng_at(&rng, "lora-fair split", "");
    sow_rng_permutation(&rng, places, train->count);
    for (int64_t i = 0; i < train->count; i++) w->order[i] = train->index[places[i]];
    return SOW_OK;
}

static sow_status open_images(sow_call *call, const char *base, fair_world *w) {
    sow_data_options options = {.limit = sow_int(call, "examples")};
    int64_t tests = sow_int(call, "test-examples");
    SOW_TRY(sow_data_open(sow_text(call, "data"), &options, &w->source));
    if (w->source->test.count > tests) w->source->test.count = tests;
    SOW_TRY(split(call, w));
    SOW_TRY(share_out(w));
    return open_base(call, base, w);
}

enum subject { IMAGES, PLANTED, TEXTS };

static sow_status open_subject(sow_call *call, const char *base, enum subject subject, fair_world *w) {
    sow_sites all;
    if (subject == TEXTS) return fair_open_texts(call, w);
    SOW_TRY(subject == PLANTED ? fair_plant(w) : open_images(call, base, w));
    sow_state_train(w->model->state, false);
    SOW_TRY(sow_model_sites(w->arena, w->model, &all));
    SOW_TRY(sow_choose_sites(w->arena, &all, sow_text(call, "targets"), &w->sites));
    SOW_TRY(SOW_NEW(w->arena, w->inputs, 1));
    w->inputs[w->input_count++] = sow_input_of("data", w->source->name, w->source->sha256);
    return SOW_OK;
}

static sow_status open_world(sow_call *call, const char *base, enum subject subject, fair_world *w) {
    bool uniform = !strcmp(sow_text(call, "weights"), "uniform");
    SOW_TRY(open_subject(call, base, subject, w));
    SOW_TRY(SOW_NEW(w->arena, w->weight, w->clients));
    for (int64_t k = 0; k < w->clients; k++) w->weight[k] = uniform ? 1 : (double)w->size[k];
    return SOW_OK;
}

static sow_status open_of(sow_call *call, const char *base, enum subject subject, fair_world *w) {
    sow_fair_kind kind;
    *w = (fair_world){0};
    if (subject == TEXTS) SOW_TRY(fair_text_options(call));
    SOW_TRY(read_options(call, w));
    SOW_TRY(sow_fair_kind_parse(sow_text(call, "kind"), &kind));
    w->freeze_a = kind == SOW_FAIR_FFA;
    w->planted = subject == PLANTED;
    sow_status status = open_world(call, base, subject, w);
    if (status != SOW_OK) fair_world_close(w);
    return status;
}

sow_status fair_world_open(sow_call *call, const char *base, fair_world *w) {
    return open_of(call, base, IMAGES, w);
}

sow_status fair_planted_open(sow_call *call, fair_world *w) {
    return open_of(call, NULL, PLANTED, w);
}

sow_status fair_texts_open(sow_call *call, fair_world *w) {
    return open_of(call, NULL, TEXTS, w);
}

void fair_world_close(fair_world *w) {
    fair_close_texts(w);
    sow_model_free(w->model);
    sow_data_free(w->source);
    w->model = NULL, w->source = NULL;
}
