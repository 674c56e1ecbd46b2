/* Initialisation of whole states: what each tensor gets, by rule and by role. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/pattern.h"
#include "nn/init.h"
#include "sow/log.h"
#include "sow/text.h"

static const char *last_word(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static bool is_bias_name(const char *name) {
    return strstr(last_word(name), "bias") || !strcmp(last_word(name), "beta");
}

/* The entry beside `entry` in the same module: "fc1.weight" for "fc1.bias" and "weight". */
static const sow_entry *sibling(const sow_state *state, const sow_entry *entry, const char *word, const char *suffix) {
    char name[1024];
    int prefix = (int)(last_word(entry->name) - entry->name);
    int n = snprintf(name, sizeof name, "%.*s%s%s", prefix, entry->name, word, suffix);
    return n > 0 && (size_t)n < sizeof name ? sow_state_find(state, name) : NULL;
}

/* ---- PyTorch's modules ---- */

/* RNN, LSTM and GRU draw all from U(-1/sqrt(hidden), 1/sqrt(hidden)); weight_hh ends in hidden columns, with a projection
 * weight_hr does. */
static bool recurrent(const sow_state *state, const sow_entry *entry, sow_init *out) {
    static const char *const words[] = {"weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"};
    const char *last = last_word(entry->name), *suffix = NULL;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(last, words[i], strlen(words[i]))) suffix = last + strlen(words[i]);
    if (!suffix || (*suffix && strncmp(suffix, "_l", 2))) return false;
    const sow_entry *hidden = sibling(state, entry, "weight_hr", suffix);
    if (!hidden) hidden = sibling(state, entry, "weight_hh", suffix);
    if (!hidden || hidden->value.rank != 2 || hidden->value.shape[1] < 1) return false;
    *out = sow_init_defaults(SOW_INIT_UNIFORM);
    out->high = 1 / sqrt((double)hidden->value.shape[1]);
    out->low = -out->high;
    return true;
}

static bool attention(const sow_state *state, const sow_entry *entry, sow_init *out) {
    static const char *const projections[] = {"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"};
    const char *last = last_word(entry->name);
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++)
        if (!strcmp(last, projections[i])) return *out = sow_init_defaults(SOW_INIT_XAVIER_UNIFORM), true;
    if (!strcmp(last, "bias_k") || !strcmp(last, "bias_v"))
        return *out = sow_init_defaults(SOW_INIT_XAVIER_NORMAL), true;
    char outer[1024]; /* "attn.in_proj_bias" for "attn.out_proj.bias" */
    size_t prefix = strlen(entry->name);
    bool out_bias = prefix >= 13 && !strcmp(entry->name + prefix - 13, "out_proj.bias") && prefix < sizeof outer;
    if (out_bias) snprintf(outer, sizeof outer, "%.*sin_proj_bias", (int)prefix - 13, entry->name);
    if (strcmp(last, "in_proj_bias") && !(out_bias && sow_state_find(state, outer))) return false;
    *out = sow_init_defaults(SOW_INIT_ZEROS);
    return true;
}

/* Bare parameters of vision transformers, for which PyTorch has no module: as timm fills them. */
static bool positions(const sow_entry *entry, sow_init *out) {
    const char *last = last_word(entry->name);
    if (strcmp(last, "pos_embed") && strcmp(last, "cls_token")) return false;
    *out = sow_init_defaults(SOW_INIT_TRUNCATED_NORMAL);
    out->sd = 0.02;
    return true;
}

/* What stands in for torch-default where it is no matter of one tensor alone. */
static void choose_module(const sow_state *state, const sow_entry *entry, sow_init_choice *choice) {
    double fan_out;
    if (choice->init.scheme != SOW_INIT_TORCH_DEFAULT || recurrent(state, entry, &choice->init) ||
        attention(state, entry, &choice->init) || positions(entry, &choice->init))
        return;
    if (entry->role != SOW_ROLE_BIAS) return;
    const sow_entry *weight = sibling(state, entry, "weight", "");
    if (weight && weight->value.rank >= 2 && weight->role == SOW_ROLE_WEIGHT)
        sow_fans(weight->value, &choice->weight_fan_in, &fan_out);
}

/* ---- by role ---- */

static bool known_buffer(const char *name) {
    const char *last = last_word(name);
    return !strcmp(last, "running_mean") || !strcmp(last, "running_var") || !strcmp(last, "num_batches_tracked");
}

static bool shapeless(sow_scheme scheme) {
    return scheme == SOW_INIT_UNIFORM || scheme == SOW_INIT_NORMAL || scheme == SOW_INIT_TRUNCATED_NORMAL;
}

static sow_init by_role(const sow_entry *entry, const sow_init *init) {
    const sow_init keep = sow_init_defaults(SOW_INIT_KEEP), zeros = sow_init_defaults(SOW_INIT_ZEROS),
                   ones = sow_init_defaults(SOW_INIT_ONES);
    bool module = init->scheme == SOW_INIT_TORCH_DEFAULT,
         integer = entry->value.dtype >= SOW_I64 && entry->value.dtype <= SOW_BOOL;
    if (init->scheme == SOW_INIT_KEEP) return keep;
    if (entry->role == SOW_ROLE_BUFFER) {
        if (!known_buffer(entry->name)) return keep;
        return strcmp(last_word(entry->name), "running_var") ? zeros : ones;
    }
    if (integer) return keep;
    switch (entry->role) {
    case SOW_ROLE_BIAS:
        if (!is_bias_name(entry->name)) return keep;
        return module ? *init : zeros;
    case SOW_ROLE_NORM: return is_bias_name(entry->name) ? zeros : ones;
    case SOW_ROLE_EMBEDDING: return module || shapeless(init->scheme) ? *init : sow_init_defaults(SOW_INIT_NORMAL);
    default: return entry->value.rank < 2 ? keep : *init;
    }
}

/* A rule's scheme as written, but for biases and norm parameters that it cannot fill. */
static sow_init by_rule(const sow_entry *entry, const sow_init_rule *rule) {
    bool small = entry->value.rank < init_facts_of[rule->init.scheme].least;
    bool side = entry->role == SOW_ROLE_BIAS || entry->role == SOW_ROLE_NORM || entry->role == SOW_ROLE_BUFFER;
    return rule->by_role || (small && side) ? by_role(entry, &rule->init) : rule->init;
}

/* ---- patterns ---- */

/* A pattern that occurs inside names was meant to match them: what to write instead. */
static sow_status occurs_inside(const sow_state *state, const regex_t *compiled, const char *pattern) {
    int64_t inside = 0, from_start = 0, to_end = 0;
    const char *example = NULL;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const char *name = sow_state_entry(state, i)->name;
        regmatch_t match;
        if (regexec(compiled, name, 1, &match, 0)) continue;
        inside++;
        from_start += match.rm_so == 0;
        to_end += name[match.rm_eo] == 0;
        if (!example) example = name;
    }
    if (!inside) return SOW_OK;
    return sow_fail(
        SOW_E_ARGUMENT, "no tensor's name, or its end behind a dot, matches '%s'; it occurs in %lld, such as %s: write '%s%s%s'", pattern,
        (long long)inside, example, from_start == inside ? "" : ".*", pattern, to_end == inside ? "" : ".*");
}

static sow_status nothing_matches(const sow_state *state, const regex_t *compiled, const char *pattern) {
    int64_t count = sow_state_count(state);
    SOW_TRY(occurs_inside(state, compiled, pattern));
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    const char **names = sow_arena_take(arena, (size_t)count + 1, sizeof *names), *near = NULL;
    for (int64_t i = 0; names && i < count; i++) names[i] = sow_state_entry(state, i)->name;
    if (names) near = sow_nearest(pattern, names, (int)count);
    sow_arena_free(arena);
    if (near) return sow_fail(SOW_E_ARGUMENT, "no tensor is named '%s'; did you mean %s?", pattern, near);
    if (count == 0) return sow_fail(SOW_E_ARGUMENT, "no tensor is named '%s': there are none", pattern);
    return sow_fail(SOW_E_ARGUMENT, "no tensor is named '%s'; there are %lld, such as %s and %s", pattern,
                    (long long)count, sow_state_entry(state, 0)->name, sow_state_entry(state, count - 1)->name);
}

/* Gives the tensors that no earlier rule took to rule number r. */
static sow_status apply_rule(const sow_state *state, const sow_init_rule *rules, int r, sow_init_choice *choices) {
    regex_t compiled;
    SOW_TRY(sow_pattern_compile(rules[r].pattern, &compiled));
    int64_t matched = 0, taken = 0;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *entry = sow_state_entry(state, i);
        if (!sow_pattern_fits(&compiled, entry->name)) continue;
        matched++;
        if (choices[i].rule >= 0) continue;
        taken++;
        choices[i].rule = r;
        choices[i].init = by_rule(entry, &rules[r]);
    }
    sow_status status = matched ? SOW_OK : nothing_matches(state, &compiled, rules[r].pattern);
    regfree(&compiled);
    if (matched && !taken) sow_warn("rule '%s' does nothing: earlier rules take all its tensors", rules[r].pattern);
    return status;
}

sow_status sow_init_choose(const sow_state *state, const sow_init *by_default, const sow_init_rule *rules, int count,
                           sow_init_choice *choices) {
    int64_t tensors = sow_state_count(state);
    for (int64_t i = 0; i < tensors; i++)
        choices[i] = (sow_init_choice){.init = by_role(sow_state_entry(state, i), by_default), .rule = -1};
    for (int r = 0; r < count; r++) SOW_TRY(apply_rule(state, rules, r, choices));
    for (int64_t i = 0; i < tensors; i++) choose_module(state, sow_state_entry(state, i), &choices[i]);
    return SOW_OK;
}

static sow_status fill_all(sow_rng *rng, sow_state *state, const sow_init_choice *choices) {
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *entry = sow_state_entry(state, i);
        SOW_TRY(
            sow_init_tensor(rng, entry->name, entry->role, &choices[i].init, choices[i].weight_fan_in, entry->value));
    }
    return SOW_OK;
}

sow_status sow_init_state(sow_rng *rng, sow_state *state, const sow_init *by_default, const sow_init_rule *rules,
                          int count) {
    sow_init_choice *choices = sow_reallocate(NULL, ((size_t)sow_state_count(state) + 1) * sizeof *choices);
    if (!choices) return SOW_E_MEMORY;
    sow_status status = sow_init_choose(state, by_default, rules, count, choices);
    if (status == SOW_OK) status = fill_all(rng, state, choices);
    sow_release(choices);
    return status;
}
