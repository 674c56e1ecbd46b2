/* The table of architectures, and models made from it. */
#include <stdlib.h>
#include <string.h>

#include "nn/models/models.h"
#include "sow/text.h"

enum { WIDTHS_MAX = 32, WIDTH_MAX = 1 << 24 };

static const sow_architecture table[] = {
    {"lenet300", "LeNet-300-100: 784-300-100-10, fully connected", {1, 28, 28, 10}, sow_mlp_forward, false},
    {"conv2", "Conv-2: 64-64 filters, pool, 256-256-10", {3, 32, 32, 10}, sow_conv2_forward, false},
    {"conv4", "Conv-4: Conv-2's filters, 128-128, pool, 256-256-10", {3, 32, 32, 10}, sow_conv4_forward, false},
    {"conv6", "Conv-6: Conv-4's filters, 256-256, pool, 256-256-10", {3, 32, 32, 10}, sow_conv6_forward, false},
    {"resnet8", "ResNet-8: ResNet-20 with one block a stage", {3, 32, 32, 10}, sow_resnet8_forward, true},
    {"resnet20", "ResNet-20 for small images, 1x1 convolutions as shortcuts", {3, 32, 32, 10}, sow_resnet20_forward, true},
    {"vgg19", "VGG-19 with batch norm for small images, one dense layer", {3, 32, 32, 10}, sow_vgg19_forward, true},
    {"vit:PATCH-WIDTH-DEPTH-HEADS", "vision transformer: vit:4-96-4-3 has patches of 4x4, width 96, 4 blocks of 3 heads", {3, 32, 32, 10}, sow_vit_forward, false},
    {"mlp:WIDTHS", "fully connected with the given widths: mlp:784-300-100-10", {0}, sow_mlp_forward, false},
};
enum { ARCHITECTURES = sizeof table / sizeof *table };

const sow_architecture *sow_architectures(int *count) {
    *count = ARCHITECTURES;
    return table;
}

static sow_status find(const char *arch, const sow_architecture **out) {
    const char *names[ARCHITECTURES];
    const char *colon = strchr(arch, ':'); /* "mlp:WIDTHS" is found by what stands before it */
    size_t prefix = colon ? (size_t)(colon - arch) + 1 : 0;
    for (int i = 0; i < ARCHITECTURES; i++) {
        names[i] = table[i].name;
        *out = &table[i];
        if (strcmp(arch, table[i].name) == 0 || (prefix && strncmp(table[i].name, arch, prefix) == 0)) return SOW_OK;
    }
    const char *nearest = sow_nearest(arch, names, ARCHITECTURES);
    if (nearest) return sow_fail(SOW_E_NOT_FOUND, "no architecture '%s'; did you mean %s?", arch, nearest);
    return sow_fail(SOW_E_NOT_FOUND, "no architecture '%s'; there are lenet300, conv2, conv4, conv6, resnet8, resnet20, vgg19, vit:PATCH-WIDTH-DEPTH-HEADS and mlp:WIDTHS", arch);
}

/* "784-300-100-10" into widths. `example` is for messages. */
static sow_status parse_numbers(sow_model *m, const char *text, const char *example, int *count) {
    *count = 0;
    for (const char *at = text;; at++) {
        char *end;
        long long width = *at >= '0' && *at <= '9' ? strtoll(at, &end, 10) : 0;
        if (width < 1 || width > WIDTH_MAX || (*end != '-' && *end != 0))
            return sow_fail(SOW_E_ARGUMENT, "architecture '%s': at '%.20s', expected widths from 1 to %d with '-' between them, as in %s",
                            m->arch, at, WIDTH_MAX, example);
        if (*count == WIDTHS_MAX) return sow_fail(SOW_E_ARGUMENT, "architecture '%s': more than %d widths", m->arch, WIDTHS_MAX);
        m->widths[(*count)++] = width;
        if (*end == 0) return SOW_OK;
        at = end;
    }
}

/* Layers are one fewer than widths. */
static sow_status parse_widths(sow_model *m, const char *text) {
    int count;
    SOW_TRY(parse_numbers(m, text, "mlp:784-300-100-10", &count));
    if (count < 2) return sow_fail(SOW_E_ARGUMENT, "architecture '%s': expected at least two widths, input and output", m->arch);
    m->layers = count - 1;
    return SOW_OK;
}

enum { VIT_DEPTH_MAX = 512 };

/* Patch, width, depth, heads. */
static sow_status parse_vit(sow_model *m, const char *text) {
    int count;
    const sow_geometry *g = &m->geometry;
    const int64_t *v = m->widths;
    SOW_TRY(parse_numbers(m, text, "vit:4-96-4-3", &count));
    if (count != 4) return sow_fail(SOW_E_ARGUMENT, "architecture '%s': expected four numbers, patch, width, depth and heads, as in vit:4-96-4-3", m->arch);
    if (v[1] % v[3]) return sow_fail(SOW_E_ARGUMENT, "architecture '%s': a width of %lld is no multiple of %lld heads", m->arch, (long long)v[1], (long long)v[3]);
    if (v[2] > VIT_DEPTH_MAX || v[1] > WIDTH_MAX / 4) return sow_fail(SOW_E_ARGUMENT, "architecture '%s': expected a depth of at most %d and a width of at most %d", m->arch, VIT_DEPTH_MAX, WIDTH_MAX / 4);
    if (g->height % v[0] || g->width % v[0])
        return sow_fail(SOW_E_SHAPE, "%s: patches of %lldx%lld do not cover images of %lldx%lldx%lld", m->arch, (long long)v[0], (long long)v[0],
                        (long long)g->channels, (long long)g->height, (long long)g->width);
    return SOW_OK;
}

static void set_widths(sow_model *m, int count, const int64_t *widths) {
    memcpy(m->widths, widths, (size_t)count * sizeof *widths);
    m->layers = count - 1;
}

/* What the caller gives, and the architecture's own where it gives zero. */
static sow_geometry merge(sow_geometry own, const sow_geometry *given) {
    if (!given) return own;
    if (given->channels > 0) own.channels = given->channels;
    if (given->height > 0) own.height = given->height;
    if (given->width > 0) own.width = given->width;
    if (given->classes > 0) own.classes = given->classes;
    return own;
}

static sow_status check_dense(sow_model *m) {
    const sow_geometry *g = &m->geometry;
    int64_t pixels, inputs;
    SOW_TRY(sow_multiply(g->height, g->width, &pixels));
    SOW_TRY(sow_multiply(g->channels, pixels, &inputs));
    if (inputs != m->widths[0])
        return sow_fail(SOW_E_SHAPE, "%s takes %lld inputs, the data have %lldx%lldx%lld = %lld", m->arch, (long long)m->widths[0],
                        (long long)g->channels, (long long)g->height, (long long)g->width, (long long)inputs);
    if (g->classes != m->widths[m->layers])
        return sow_fail(SOW_E_SHAPE, "%s has %lld outputs, the data have %lld classes", m->arch, (long long)m->widths[m->layers],
                        (long long)g->classes);
    return SOW_OK;
}

/* Images must survive the network's halvings. */
static sow_status check_image(const sow_model *m, const sow_architecture *a) {
    int64_t least = a->forward == sow_conv2_forward ? 2 : a->forward == sow_conv4_forward ? 4 : a->forward == sow_conv6_forward ? 8
                  : a->forward == sow_vgg19_forward ? 16 : 1;
    const sow_geometry *g = &m->geometry;
    if (g->height >= least && g->width >= least) return SOW_OK;
    return sow_fail(SOW_E_SHAPE, "%s needs images of at least %lldx%lld, the data have %lldx%lldx%lld", m->arch, (long long)least,
                    (long long)least, (long long)g->channels, (long long)g->height, (long long)g->width);
}

static sow_status settle_geometry(sow_model *m, const sow_architecture *a, const sow_geometry *given) {
    m->geometry = merge(a->geometry, given);
    if (a->forward == sow_vit_forward) return parse_vit(m, m->arch + 4);
    if (a->forward != sow_mlp_forward) return check_image(m, a);
    if (strncmp(m->arch, "mlp:", 4) == 0) {
        SOW_TRY(parse_widths(m, m->arch + 4));
        m->geometry = merge((sow_geometry){given && given->height * given->width > 0 ? 1 : m->widths[0], 1, 1, m->widths[m->layers]}, given);
    } else set_widths(m, 4, (int64_t[]){784, 300, 100, m->geometry.classes});
    return check_dense(m);
}

/* Runs the forward function on shapes alone over the open state, so that it declares its parameters. */
static sow_status declare(sow_model *m) {
    sow_tape *t;
    SOW_TRY(sow_tape_new(&t));
    sow_tape_dry(t, true);
    sow_state_open(m->state, true);
    const sow_geometry *g = &m->geometry;
    m->forward(t, m->state, m, sow_constant(t, SOW_TENSOR(NULL, SOW_F32, 2, g->channels, g->height, g->width)));
    sow_state_open(m->state, false);
    sow_status status = sow_tape_status(t);
    sow_tape_free(t);
    return status;
}

static sow_status build(sow_model *m, const char *arch, const sow_geometry *geometry) {
    const sow_architecture *a;
    SOW_TRY(find(arch, &a));
    SOW_TRY(sow_state_new(&m->state));
    m->arch = sow_arena_copy(sow_state_arena(m->state), arch);
    if (!m->arch) return SOW_E_MEMORY;
    m->forward = a->forward;
    SOW_TRY(settle_geometry(m, a, geometry));
    sow_status status = declare(m);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", arch);
}

sow_status sow_model_new(const char *arch, const sow_geometry *geometry, sow_model **out) {
    sow_model *m = sow_reallocate(NULL, sizeof *m);
    if (!m) return SOW_E_MEMORY;
    *m = (sow_model){0};
    sow_status status = build(m, arch, geometry);
    if (status != SOW_OK) {
        sow_model_free(m);
        return status;
    }
    *out = m;
    return SOW_OK;
}

void sow_model_free(sow_model *m) {
    if (!m) return;
    sow_state_free(m->state);
    sow_release(m);
}
