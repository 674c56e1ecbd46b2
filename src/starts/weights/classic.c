/* The standard initialisations as a command: Glorot and Bengio 2010, He et al. 2015 (arXiv 1502.01852), Saxe et al. 2014 (arXiv
 * 1312.6120), Martens 2010, Mishkin and Matas 2016 (arXiv 1511.06422), Xiao et al. 2018 (arXiv 1806.05393). */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/method.h"
#include "sow/safetensors.h"
#include "starts/weights/classic.h"

enum { ROWS_SHOWN = 40, ORDER_BYTES = 64 << 20 };

#define PARAMETER(name, help) \
    { name, 0, SOW_TYPE_REAL, NULL, 0, 0, NULL, NULL, help, 0 }
static const sow_option options[] = {
    SOW_OPTION_TEXT("arch", NULL,
                    "network to start: lenet300, conv2, resnet20, mlp:784-300-100-10 ... (sow list --arch all)"),
    SOW_OPTION_PATH("like", NULL,
                    "safetensors file, index or folder whose names, shapes and dtypes the start takes over"),
    SOW_OPTION_TEXT(
        "scheme", NULL,
        "of all weights that no rule names: uniform, normal, truncated-normal, constant, ones, zeros, eye, dirac, xavier-uniform, "
        "xavier-normal, kaiming-uniform, kaiming-normal, orthogonal, sparse, torch-default, variance-scaling, glorot-truncated, "
        "delta-orthogonal, lsuv (needs --data) or keep; default torch-default, and keep where --rule or --only choose from --like"),
    SOW_OPTION_LIST(
        "rule",
        "REGEX=SCHEME[:parameter=value,...] for tensors whose name matches, whole or from behind a dot, like '.*bias=zeros' or 'fc1.*=orthogonal:gain=1.4'; the first rule that matches wins"),
    SOW_OPTION_LIST("only", "REGEX: initialise what matches with --scheme and keep the rest of --like"),
    PARAMETER("gain", "xavier, orthogonal, delta-orthogonal: factor; default 1"),
    SOW_OPTION_CHOICE("mode", NULL, "fan_in|fan_out|fan_avg",
                      "kaiming, variance-scaling: what the variance divides by; default fan_in"),
    SOW_OPTION_TEXT("nonlinearity", NULL,
                    "kaiming: relu, leaky_relu, tanh, sigmoid, selu, linear ...; default leaky_relu"),
    PARAMETER("slope", "kaiming: negative slope of leaky_relu; default 0"),
    PARAMETER("low", "uniform, truncated-normal: lower bound; default 0 and -2"),
    PARAMETER("high", "uniform, truncated-normal: upper bound; default 1 and 2"),
    PARAMETER("mean", "normal, truncated-normal: mean; default 0"),
    PARAMETER("sd", "normal, truncated-normal, sparse: standard deviation; default 1, sparse 0.01"),
    PARAMETER("value", "constant: the value; default 0"),
    SOW_OPTION_REAL("sparsity", NULL, 0, 1, "sparse: fraction of zeros in a column"),
    PARAMETER("scale", "variance-scaling: factor of the variance; default 1"),
    SOW_OPTION_CHOICE("distribution", NULL, "truncated_normal|untruncated_normal|uniform",
                      "variance-scaling: default truncated_normal"),
    SOW_OPTION_INT("groups", NULL, 1, 1 << 20, "dirac: groups of the convolution; default 1"),
    SOW_OPTION_SEED,
    SOW_OPTION_CHOICE("rng", "sow", "sow|torch-cpu|numpy|pcg64",
                      "random numbers: own streams by tensor name, or those of torch.manual_seed, "
                      "numpy.random.RandomState, numpy.random.default_rng"),
    SOW_OPTION_PATH("order", NULL,
                    "text file, a name a line: order in which one stream is drawn (torch-cpu, numpy, pcg64)"),
    SOW_OPTION_TEXT("input", NULL, "--arch: input as CxHxW; default: that of --data, or of the architecture's paper"),
    SOW_OPTION_INT("classes", NULL, 1, 1e6,
                   "--arch: number of classes; default: that of --data, or of the architecture's paper"),
    SOW_OPTION_PATH("data", NULL,
                    "--arch: data set whose sizes the network takes, and from which lsuv draws its batch"),
    SOW_OPTION_COUNT("batch", NULL, 2, 1 << 20, "examples", "lsuv: size of the batch; default 256"),
    SOW_OPTION_REAL("tolerance", NULL, 1e-6, 1, "lsuv: how far an output's variance may stay from 1; default 0.1"),
    SOW_OPTION_OUTPUT("the start (safetensors)"),
    SOW_OPTION_FORCE,
    {0},
};

/* One run of the command. */
typedef struct job {
    sow_call *call;
    sow_classic_config config;
    bool lsuv;
    sow_model *model; /* of --arch */
    sow_data *data;
    sow_filled *report;
    int64_t count;
    sow_lsuv_layer *layers;
    int64_t layer_count;
} job;

/* ---- schemes and rules ---- */

/* --scheme, with the parameters that have options of their own. */
static sow_status read_scheme(job *j, sow_init *out) {
    static const char *const parameters[] = {"gain", "mode",  "nonlinearity", "slope", "low",          "high",  "mean",
                                             "sd",   "value", "sparsity",     "scale", "distribution", "groups"};
    sow_call *call = j->call;
    bool chosen = *sow_list(call, "rule") || *sow_list(call, "only"), like = sow_text(call, "like") != NULL;
    sow_resolve(call, "scheme", like && chosen && !*sow_list(call, "only") ? "keep" : "torch-default");
    j->lsuv = !strcmp(sow_text(call, "scheme"), "lsuv");
    sow_status status = sow_init_parse(j->lsuv ? "orthogonal" : sow_text(call, "scheme"), out);
    if (status != SOW_OK) return sow_fail_in(status, "--scheme");
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        if (!sow_given(call, parameters[i])) continue;
        status = sow_init_set(out, parameters[i], sow_text(call, parameters[i]));
        if (status != SOW_OK) return sow_fail_in(status, "--%s", parameters[i]);
    }
    return SOW_OK;
}

/* Patterns may hold '=': the scheme begins behind the first one that a known scheme follows. */
static sow_status read_rule(sow_arena *arena, const char *text, sow_init_rule *out) {
    const char *split = NULL;
    sow_scheme scheme;
    for (const char *at = strchr(text, '='); at; at = strchr(at + 1, '=')) {
        char *word = sow_arena_format(arena, "%.*s", (int)strcspn(at + 1, ":"), at + 1);
        if (!word) return SOW_E_MEMORY;
        if (!split) split = at;
        if (sow_scheme_parse(word, &scheme) != SOW_OK) continue;
        split = at;
        break;
    }
    if (!split || split == text)
        return sow_fail(SOW_E_ARGUMENT, "--rule '%s': expected REGEX=SCHEME, like '.*bias=zeros'", text);
    char *pattern = sow_arena_format(arena, "%.*s", (int)(split - text), text);
    if (!pattern) return SOW_E_MEMORY;
    *out = (sow_init_rule){.pattern = pattern};
    sow_status status = sow_init_parse(split + 1, &out->init);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "--rule '%s'", text);
}

/* --only turns --scheme into rules of its own and keeps the rest. */
static sow_status read_rules(job *j) {
    sow_call *call = j->call;
    const char *const *rule = sow_list(call, "rule"), *const *only = sow_list(call, "only");
    int count = 0, most = 0;
    sow_init_rule *rules;
    for (int i = 0; rule[i]; i++) most++;
    for (int i = 0; only[i]; i++) most++;
    SOW_TRY(SOW_NEW(call->arena, rules, most + 1));
    for (int i = 0; rule[i]; i++) SOW_TRY(read_rule(call->arena, rule[i], &rules[count++]));
    SOW_TRY(read_scheme(j, &j->config.by_default));
    for (int i = 0; only[i]; i++)
        rules[count++] = (sow_init_rule){.pattern = only[i], .init = j->config.by_default, .by_role = true};
    if (*only) j->config.by_default = sow_init_defaults(SOW_INIT_KEEP);
    j->config.rules = rules;
    j->config.rule_count = count;
    return SOW_OK;
}

/* --order: names, one a line; empty lines do not count. */
static sow_status read_order(job *j) {
    sow_call *call = j->call;
    const char *path = sow_text(call, "order"), **names;
    char *text;
    size_t size;
    int64_t lines = 1;
    if (!path) return SOW_OK;
    if (j->config.rng == SOW_RNG_SOW)
        return sow_fail(SOW_E_ARGUMENT, "--order does nothing for --rng sow, whose numbers depend on names alone");
    SOW_TRY(sow_read_file(call->arena, path, ORDER_BYTES, &text, &size));
    if (strlen(text) != size) return sow_fail(SOW_E_FORMAT, "%s: holds a zero byte, expected names, one a line", path);
    for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
    SOW_TRY(SOW_NEW(call->arena, names, lines));
    for (char *rest = text, *line; (line = strsep(&rest, "\r\n"));)
        if (*line) names[j->config.order_count++] = line;
    j->config.order = names;
    return SOW_OK;
}

static sow_status check_options(const job *j) {
    const sow_call *call = j->call;
    const char *arch = sow_text(call, "arch"), *like = sow_text(call, "like");
    static const char *const of_arch[] = {"input", "classes", "data"}, *const of_lsuv[] = {"batch", "tolerance"};
    if (!arch == !like)
        return sow_fail(SOW_E_ARGUMENT, arch ? "--arch and --like exclude each other"
                                             : "missing --arch, a network's name, or --like, a file of weights");
    for (size_t i = 0; i < 3; i++)
        if (like && sow_given(call, of_arch[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to --arch, not to --like", of_arch[i]);
    for (size_t i = 0; i < 2; i++)
        if (!j->lsuv && sow_given(call, of_lsuv[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to --scheme lsuv", of_lsuv[i]);
    if (j->lsuv && !sow_text(call, "data"))
        return sow_fail(SOW_E_ARGUMENT, "--scheme lsuv needs --arch and --data: it measures outputs on real examples");
    if (!like && *sow_list(call, "only"))
        return sow_fail(SOW_E_ARGUMENT,
                        "--only keeps the rest of --like; a network made by --arch has nothing to keep");
    return SOW_OK;
}

/* ---- the two ways ---- */

static sow_status open_model(job *j) {
    sow_call *call = j->call;
    sow_geometry geometry;
    sow_status status = sow_geometry_parse(sow_text(call, "input"), sow_int(call, "classes"), &geometry);
    if (status != SOW_OK) return sow_fail_in(status, "--input");
    if (sow_text(call, "data")) {
        SOW_TRY(sow_data_open(sow_text(call, "data"), &(sow_data_options){.validation = -1}, &j->data));
        const sow_geometry *g = &j->data->geometry;
        bool fits = geometry.channels == 0 ||
                    (geometry.channels == g->channels && geometry.height == g->height && geometry.width == g->width);
        if (!fits || (geometry.classes && geometry.classes != g->classes))
            return sow_fail(
                SOW_E_SHAPE,
                "%s has inputs of %lldx%lldx%lld and %lld classes, which is not what --input and --classes ask for",
                j->data->name, (long long)g->channels, (long long)g->height, (long long)g->width,
                (long long)g->classes);
        geometry = *g;
    }
    return sow_model_new(sow_text(call, "arch"), &geometry, &j->model);
}

/* Scales what classic has filled, and measures it anew. */
static sow_status settle_variances(job *j) {
    sow_call *call = j->call;
    sow_resolve(call, "batch", "256");
    sow_resolve(call, "tolerance", "0.1");
    sow_lsuv_config config = {.batch = sow_int(call, "batch"),
                              .tolerance = sow_real(call, "tolerance"),
                              .rounds = 10,
                              .seed = j->config.seed};
    SOW_TRY(sow_lsuv(&config, j->model, j->data, call->arena, &j->layers, &j->layer_count));
    for (int64_t i = 0; i < sow_state_count(j->model->state); i++) {
        const sow_entry *entry = sow_state_entry(j->model->state, i);
        SOW_TRY(classic_measure(entry->name, entry->value, &j->report[i].mean, &j->report[i].sd));
    }
    return SOW_OK;
}

static sow_status start_network(job *j) {
    sow_call *call = j->call;
    const char *passport;
    sow_input data;
    SOW_TRY(open_model(j));
    SOW_TRY(sow_classic(&j->config, j->model->state, call->arena, &j->report));
    if (j->lsuv) SOW_TRY(settle_variances(j));
    if (j->data) data = sow_input_of("data", j->data->name, j->data->sha256);
    SOW_TRY(sow_passport(call, NULL, &data, j->data != NULL, &passport));
    j->count = sow_state_count(j->model->state);
    return sow_save_state(sow_text(call, "out"), j->model->state, passport);
}

static sow_status start_file(job *j) {
    const char *passport;
    SOW_TRY(sow_passport(j->call, NULL, NULL, 0, &passport));
    return sow_classic_file(&j->config, sow_text(j->call, "like"), sow_text(j->call, "out"), passport, j->call->arena,
                            &j->report, &j->count);
}

/* ---- the result ---- */

static sow_status report_tensors(job *j) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(j->call->result, "tensors", rows));
    for (int64_t i = 0; i < j->count; i++) {
        const sow_filled *f = &j->report[i];
        char shape[SOW_SHAPE_TEXT], scheme[SOW_INIT_TEXT];
        json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "tensor", f->name, "shape",
                                sow_shape_text(f->shape, shape), "dtype", sow_dtype_name(f->shape.dtype), "scheme",
                                sow_init_text(&f->init, scheme), "mean", sow_json_real(f->mean), "sd",
                                sow_json_real(f->sd));
        SOW_TRY(sow_append_json(rows, row));
    }
    return SOW_OK;
}

/* One row a scheme: for people, where there are many tensors. */
static sow_status report_schemes(job *j) {
    json_t *rows = json_array(), *by_scheme = json_object();
    sow_status status = sow_put_json(j->call->result, "schemes", rows);
    for (int64_t i = 0; status == SOW_OK && i < j->count; i++) {
        char scheme[SOW_INIT_TEXT];
        sow_init_text(&j->report[i].init, scheme);
        json_t *row = json_object_get(by_scheme, scheme);
        if (!row) {
            row = json_pack("{s:s, s:i, s:i, s:s, s:s}", "scheme", scheme, "tensors", 0, "elements", 0, "first",
                            j->report[i].name, "last", "");
            status = sow_put_json(by_scheme, scheme, json_incref(row));
            if (!status) status = sow_append_json(rows, row);
        }
        int64_t tensors = json_integer_value(json_object_get(row, "tensors")),
                elements = json_integer_value(json_object_get(row, "elements"));
        if (!status) status = sow_put_count(row, "tensors", tensors + 1);
        if (!status) status = sow_put_count(row, "elements", elements + sow_count(j->report[i].shape));
        if (!status) status = sow_put_text(row, "last", j->report[i].name);
    }
    json_decref(by_scheme);
    return status;
}

static sow_status report_layers(job *j) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(j->call->result, "variances", rows));
    for (int64_t i = 0; i < j->layer_count; i++) {
        const sow_lsuv_layer *l = &j->layers[i];
        SOW_TRY(sow_append_json(
            rows, json_pack("{s:s, s:f, s:f}", "layer", l->site, "before", l->before, "after", l->after)));
    }
    return SOW_OK;
}

static sow_status report_all(job *j) {
    sow_call *call = j->call;
    int64_t filled = 0, elements = 0;
    for (int64_t i = 0; i < j->count; i++) {
        if (j->report[i].init.scheme == SOW_INIT_KEEP) continue;
        filled++;
        elements += sow_count(j->report[i].shape);
    }
    SOW_TRY(sow_put_count(call->result, "initialised", filled));
    SOW_TRY(sow_put_count(call->result, "kept", j->count - filled));
    SOW_TRY(sow_put_count(call->result, "elements", elements));
    SOW_TRY(call->json || j->count <= ROWS_SHOWN ? report_tensors(j) : report_schemes(j));
    if (j->layer_count > 0) SOW_TRY(report_layers(j));
    SOW_TRY(sow_wrote(call, sow_text(call, "out")));
    const char *arch = sow_text(call, "arch"), *out = sow_text(call, "out"), *data = sow_text(call, "data");
    if (!arch) return sow_put_format(call->result, "next", "sow inspect %s", out);
    return sow_put_format(call->result, "next", "sow train --arch %s --data %s --start %s --steps 1000 -o run/", arch,
                          data ? data : "fashion-mnist", out);
}

static sow_status run(sow_call *call) {
    job j = {.call = call, .config = {.seed = (uint64_t)sow_int(call, "seed")}};
    SOW_TRY(sow_rng_kind_parse(sow_text(call, "rng"), &j.config.rng));
    SOW_TRY(read_rules(&j));
    SOW_TRY(check_options(&j));
    SOW_TRY(read_order(&j));
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    sow_status status = sow_text(call, "arch") ? start_network(&j) : start_file(&j);
    if (status == SOW_OK) status = report_all(&j);
    sow_model_free(j.model);
    if (j.data) sow_data_free(j.data);
    return status;
}

static const sow_action actions[] = {
    {"make", "write a start", options, run,
     "sow classic --like model.safetensors --only 'classifier.*' --scheme kaiming-normal -o start.safetensors", 0},
    {0},
};

const sow_method sow_method_classic = {
    .name = "classic",
    .family = "weights",
    .summary = "every standard initialisation, of a network or of the layers of a checkpoint",
    .paper =
        "Glorot and Bengio 2010; He et al. 2015; Saxe et al. 2014; Martens 2010; Mishkin and Matas 2016; Xiao et al. 2018",
    .actions = actions,
};
