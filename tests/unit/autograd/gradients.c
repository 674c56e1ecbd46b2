/* Gradient checks of operators. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "autograd/gradients.h"
#include "sow/file.h"
#include "sow/threads.h"

#define OK(call)                                                                  \
    do {                                                                          \
        if ((call) != SOW_OK) fail_msg("%s: %s", #call, sow_message());           \
    } while (0)

/* An irregular number in (-1, 1), a multiple of 2^-12. */
static double irregular(uint64_t i) {
    uint64_t h = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 29;
    h *= UINT64_C(0xBF58476D1CE4E5B9);
    return (double)((int64_t)(h >> 51) - 4096) / 4096 + 0x1p-13;
}

sow_state *state_of(const char *const *entries, int count) {
    sow_state *s;
    OK(sow_state_new(&s));
    for (int e = 0; e < count; e++) {
        int64_t shape[SOW_RANK_MAX];
        int rank = 0;
        size_t length = strcspn(entries[e], ":=");
        char name[64] = {0}, *at;
        memcpy(name, entries[e], length);
        for (at = (char *)(uintptr_t)entries[e] + length; *at;) shape[rank++] = strtoll(at + 1, &at, 10);
        sow_entry *entry;
        OK(sow_state_add(s, name, SOW_F64, rank, shape, &entry));
        entry->trainable = entries[e][length] == ':';
        if (!entry->trainable) entry->role = SOW_ROLE_BUFFER;
        for (int64_t i = 0; i < sow_count(entry->value); i++) sow_put(entry->value, i, irregular((uint64_t)(i + 1000 * e)));
    }
    return s;
}

/* The same values in another type. */
static sow_state *in_type(const sow_state *from, sow_dtype dtype) {
    sow_state *s;
    OK(sow_state_new(&s));
    for (int64_t i = 0; i < sow_state_count(from); i++) {
        sow_entry *a = sow_state_entry(from, i), *b;
        OK(sow_state_add(s, a->name, a->value.dtype == SOW_F64 ? dtype : a->value.dtype, a->value.rank, a->value.shape, &b));
        b->role = a->role;
        b->trainable = a->trainable;
        OK(sow_copy(b->value, a->value));
    }
    OK(sow_state_add_gradients(s));
    return s;
}

typedef struct operator {
    operator_under_test build;
    const void *user;
    sow_var output;
} operator;

/* sum of y * irregular coefficients: every output has a gradient of its own. */
static sow_var loss_of(void *user, sow_tape *t, sow_state *s) {
    operator *o = user;
    sow_var y = o->build(t, s, o->user);
    if (!y) return NULL;
    o->output = sow_keep(y);
    sow_entry *coefficients = sow_state_find(s, "(coefficients)");
    if (!coefficients) {
        OK(sow_state_add(s, "(coefficients)", sow_value(y).dtype, sow_value(y).rank, sow_value(y).shape, &coefficients));
        coefficients->trainable = false;
        for (int64_t i = 0; i < sow_count(coefficients->value); i++) sow_put(coefficients->value, i, irregular((uint64_t)i + 77777));
    }
    return sow_sum(t, sow_mul(t, y, sow_parameter(t, coefficients)));
}

/* Buffers change in training mode: every evaluation starts from the same ones. */
static double run(operator *o, sow_state *state, const sow_state *buffers, bool training, bool backward) {
    for (int64_t i = 0; i < sow_state_count(buffers); i++) {
        sow_entry *from = sow_state_entry(buffers, i);
        if (from->role == SOW_ROLE_BUFFER) OK(sow_copy(sow_state_find(state, from->name)->value, from->value));
    }
    sow_tape *t;
    OK(sow_tape_new(&t));
    sow_tape_train(t, training);
    sow_fresh_gradients(state);
    sow_var loss = loss_of(o, t, state);
    OK(sow_tape_status(t));
    double value = sow_scalar(loss);
    if (backward) OK(sow_tape_backward(t, loss));
    sow_tape_free(t);
    return value;
}

static double largest(sow_tensor t) {
    double most = 0;
    for (int64_t i = 0; i < sow_count(t); i++) most = fmax(most, fabs(sow_at(t, i)));
    return most;
}

static void check_differences(const char *what, operator *o, sow_state *s, const sow_state *start, bool training) {
    run(o, s, start, training, true);
    for (int64_t e = 0; e < sow_state_count(s); e++) {
        sow_entry *entry = sow_state_entry(s, e);
        if (!entry->trainable) continue;
        double scale = fmax(1e-2, largest(entry->grad));
        int64_t count = sow_count(entry->value), step = count / 200 + 1;
        for (int64_t i = 0; i < count; i += step) {
            double value = sow_at(entry->value, i), h = 1e-6;
            sow_put(entry->value, i, value + h);
            double above = run(o, s, start, training, false);
            sow_put(entry->value, i, value - h);
            double below = run(o, s, start, training, false), expected = (above - below) / (2 * h);
            sow_put(entry->value, i, value);
            if (!(fabs(sow_at(entry->grad, i) - expected) <= 1e-7 * scale))
                fail_msg("%s: gradient of %s[%lld] is %.9g, differences give %.9g", what, entry->name, (long long)i, sow_at(entry->grad, i), expected);
        }
    }
}

static void check_f32(const char *what, operator *o, sow_state *f64, const sow_state *start, bool training, double tolerance) {
    sow_state *f32 = in_type(start, SOW_F32);
    double a = run(o, f64, start, training, true), b = run(o, f32, start, training, true);
    if (!(fabs(a - b) <= tolerance * fmax(1, fabs(a)) * 4)) fail_msg("%s: f32 gives %.9g, f64 %.9g", what, b, a);
    for (int64_t e = 0; e < sow_state_count(start); e++) {
        sow_entry *x = sow_state_entry(f64, e), *y = sow_state_entry(f32, e);
        sow_tensor p = x->trainable ? x->grad : x->value, q = x->trainable ? y->grad : y->value;
        double scale = fmax(1e-2, largest(p));
        for (int64_t i = 0; i < sow_count(p); i++)
            if (!(fabs(sow_at(p, i) - sow_at(q, i)) <= tolerance * scale))
                fail_msg("%s: %s[%lld] is %.9g in f32, %.9g in f64", what, x->name, (long long)i, sow_at(q, i), sow_at(p, i));
    }
    sow_state_free(f32);
}

void fingerprint(operator_under_test build, const void *user, const sow_state *state, bool training, int threads, char hex[65]) {
    operator o = {build, user, NULL};
    sow_state *f32 = in_type(state, SOW_F32);
    int before = sow_threads();
    sow_set_threads(threads);
    double loss = run(&o, f32, state, training, true);
    sow_set_threads(before);
    char all[65 * 32];
    size_t used = 64;
    sow_sha256(&loss, sizeof loss, all);
    for (int64_t e = 0; e < sow_state_count(state); e++, used += 64) {
        sow_entry *entry = sow_state_entry(f32, e);
        sow_tensor t = entry->trainable ? entry->grad : entry->value;
        sow_sha256(t.data, sow_bytes(t), all + used);
    }
    sow_sha256(all, used, hex);
    sow_state_free(f32);
}

void check_operator(const char *what, operator_under_test build, const void *user, sow_state *state, bool training, double tolerance) {
    operator o = {build, user, NULL};
    sow_state *f64 = in_type(state, SOW_F64);
    check_differences(what, &o, f64, state, training);
    check_f32(what, &o, f64, state, training, tolerance);
    sow_state_free(f64);
    char one[65], two[65], four[65];
    fingerprint(build, user, state, training, 1, one);
    fingerprint(build, user, state, training, 2, two);
    fingerprint(build, user, state, training, 4, four);
    if (strcmp(one, two) != 0 || strcmp(one, four) != 0) fail_msg("%s: bits depend on threads: %s, %s, %s", what, one, two, four);
}
