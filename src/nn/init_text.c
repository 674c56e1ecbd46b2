/* Initialisations as text: "kaiming-uniform", "normal:mean=0,sd=0.02". */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/init.h"
#include "sow/text.h"

enum { WORD = 64, NAMES = SOW_INIT_SCHEMES + 8 };

/* Names that other houses use. */
static const struct {
    const char *name;
    sow_scheme scheme;
} aliases[] = {{"he-uniform", SOW_INIT_KAIMING_UNIFORM},
               {"he-normal", SOW_INIT_KAIMING_NORMAL},
               {"glorot-uniform", SOW_INIT_XAVIER_UNIFORM},
               {"glorot-normal", SOW_INIT_XAVIER_NORMAL},
               {"trunc-normal", SOW_INIT_TRUNCATED_NORMAL}};
enum { ALIASES = sizeof aliases / sizeof *aliases };

const char *sow_scheme_name(sow_scheme scheme) {
    return (unsigned)scheme < SOW_INIT_SCHEMES ? init_facts_of[scheme].name : "unknown";
}

/* "Kaiming_Uniform_" as "kaiming-uniform". */
static void plain_spelling(const char *name, char out[WORD]) {
    size_t n = 0;
    for (; name[n] && n < WORD - 1; n++)
        out[n] = name[n] == '_' ? '-' : name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 32) : name[n];
    while (n > 0 && out[n - 1] == '-') n--;
    out[n] = 0;
}

sow_status sow_scheme_parse(const char *name, sow_scheme *out) {
    const char *names[NAMES];
    char plain[WORD];
    int count = 0;
    plain_spelling(name, plain);
    for (; count < SOW_INIT_SCHEMES; count++) names[count] = init_facts_of[count].name;
    for (int i = 0; i < ALIASES; i++) names[count++] = aliases[i].name;
    for (int i = 0; i < count; i++)
        if (!strcmp(plain, names[i])) {
            *out = i < SOW_INIT_SCHEMES ? (sow_scheme)i : aliases[i - SOW_INIT_SCHEMES].scheme;
            return SOW_OK;
        }
    const char *near = sow_nearest(plain, names, count);
    if (near) return sow_fail(SOW_E_ARGUMENT, "no initialisation '%s'; did you mean %s?", name, near);
    char list[512] = "";
    for (size_t i = 0, used = 0; i < SOW_INIT_SCHEMES; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    return sow_fail(SOW_E_ARGUMENT, "no initialisation '%s'; expected one of %s", name, list);
}

/* ---- parameters ---- */

static const struct {
    const char *name;
    unsigned bit;
    size_t offset;
} numbers[] = {
    {"low", INIT_LOW, offsetof(sow_init, low)},       {"high", INIT_HIGH, offsetof(sow_init, high)},
    {"mean", INIT_MEAN, offsetof(sow_init, mean)},    {"sd", INIT_SD, offsetof(sow_init, sd)},
    {"value", INIT_VALUE, offsetof(sow_init, value)}, {"gain", INIT_GAIN, offsetof(sow_init, gain)},
    {"slope", INIT_SLOPE, offsetof(sow_init, slope)}, {"sparsity", INIT_SPARSITY, offsetof(sow_init, sparsity)},
    {"scale", INIT_SCALE, offsetof(sow_init, scale)}};
enum { NUMBERS = sizeof numbers / sizeof *numbers };
static const char *const modes[] = {"fan_in", "fan_out", "fan_avg"};
static const char *const distributions[] = {"truncated_normal", "untruncated_normal", "uniform"};
static const char *const nonlinearities[] = {"linear",
                                             "sigmoid",
                                             "tanh",
                                             "relu",
                                             "leaky_relu",
                                             "selu",
                                             "conv1d",
                                             "conv2d",
                                             "conv3d",
                                             "conv_transpose1d",
                                             "conv_transpose2d",
                                             "conv_transpose3d"};
static const struct {
    const char *name;
    unsigned bit;
    const char *const *words;
    int count;
} choices[] = {{"mode", INIT_MODE, modes, 3},
               {"distribution", INIT_DISTRIBUTION, distributions, 3},
               {"nonlinearity", INIT_NONLINEARITY, nonlinearities, sizeof nonlinearities / sizeof *nonlinearities}};
enum { CHOICES = sizeof choices / sizeof *choices };

static double *number_of(sow_init *init, int i) {
    return (double *)((char *)init + numbers[i].offset);
}

/* The parameters that a scheme has, for messages: "mean, sd". */
static void list_parameters(sow_scheme scheme, char text[160]) {
    unsigned has = init_facts_of[scheme].parameters;
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < NUMBERS; i++)
        if (has & numbers[i].bit)
            used += (size_t)snprintf(text + used, 160 - used, "%s%s", used ? ", " : "", numbers[i].name);
    for (int i = 0; i < CHOICES; i++)
        if (has & choices[i].bit)
            used += (size_t)snprintf(text + used, 160 - used, "%s%s", used ? ", " : "", choices[i].name);
    if (has & INIT_GROUPS) snprintf(text + used, 160 - used, "groups");
    if (!has) snprintf(text, 160, "no parameters");
}

static sow_status set_number(const char *name, const char *value, double *out) {
    char *behind;
    double number = strtod(value, &behind);
    if (behind == value || *behind || !isfinite(number))
        return sow_fail(SOW_E_ARGUMENT, "%s '%s': expected a finite number", name, value);
    *out = number;
    return SOW_OK;
}

static sow_status set_choice(sow_init *init, int i, const char *value) {
    char list[256] = "";
    size_t used = 0;
    for (int k = 0; k < choices[i].count; k++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", choices[i].words[k]);
        if (strcmp(value, choices[i].words[k])) continue;
        if (choices[i].bit == INIT_MODE) init->mode = (sow_fan)k;
        else if (choices[i].bit == INIT_DISTRIBUTION) init->distribution = choices[i].words[k];
        else init->nonlinearity = choices[i].words[k];
        return SOW_OK;
    }
    const char *near = sow_nearest(value, choices[i].words, choices[i].count);
    if (near) return sow_fail(SOW_E_ARGUMENT, "%s '%s': did you mean %s?", choices[i].name, value, near);
    return sow_fail(SOW_E_ARGUMENT, "%s '%s': expected one of %s", choices[i].name, value, list);
}

static sow_status set_groups(sow_init *init, const char *value) {
    char *behind;
    errno = 0;
    long long groups = strtoll(value, &behind, 10);
    if (behind == value || *behind || errno || groups < 1)
        return sow_fail(SOW_E_ARGUMENT, "groups '%s': expected an integer of at least 1", value);
    init->groups = groups;
    return SOW_OK;
}

sow_status sow_init_set(sow_init *init, const char *parameter, const char *value) {
    unsigned has = init_facts_of[init->scheme].parameters;
    for (int i = 0; i < NUMBERS; i++)
        if ((has & numbers[i].bit) && !strcmp(parameter, numbers[i].name))
            return set_number(parameter, value, number_of(init, i));
    for (int i = 0; i < CHOICES; i++)
        if ((has & choices[i].bit) && !strcmp(parameter, choices[i].name)) return set_choice(init, i, value);
    if ((has & INIT_GROUPS) && !strcmp(parameter, "groups")) return set_groups(init, value);
    char list[160];
    list_parameters(init->scheme, list);
    return sow_fail(SOW_E_ARGUMENT, "%s has no parameter '%s'; it has %s", sow_scheme_name(init->scheme), parameter,
                    list);
}

/* ---- whole texts ---- */

/* Copies text up to one of `ends` or its end; returns what stands behind, NULL if the word is too long. */
static const char *take_word(const char *text, const char *ends, char word[WORD]) {
    size_t n = strcspn(text, ends);
    if (n >= WORD) return NULL;
    memcpy(word, text, n);
    word[n] = 0;
    return text + n;
}

sow_status sow_init_parse(const char *text, sow_init *out) {
    char name[WORD], value[WORD];
    sow_scheme scheme;
    const char *at = take_word(text, ":", name);
    if (!at) return sow_fail(SOW_E_ARGUMENT, "no initialisation '%.80s'", text);
    SOW_TRY(sow_scheme_parse(name, &scheme));
    *out = sow_init_defaults(scheme);
    while (*at) {
        const char *pair = at + 1;
        at = take_word(pair, "=,", name);
        if (!at || *at != '=' || !(at = take_word(at + 1, ",", value)))
            return sow_fail(SOW_E_ARGUMENT, "initialisation '%s': found '%.80s', expected parameter=value", text, pair);
        sow_status status = sow_init_set(out, name, value);
        if (status != SOW_OK) return sow_fail_in(status, "initialisation '%s'", text);
    }
    return SOW_OK;
}

char *sow_init_text(const sow_init *init, char text[SOW_INIT_TEXT]) {
    sow_init own = *init, usual = sow_init_defaults(init->scheme);
    unsigned has = init_facts_of[init->scheme].parameters;
    size_t used = (size_t)snprintf(text, SOW_INIT_TEXT, "%s", sow_scheme_name(init->scheme)), name_end = used;
#define ADD(...) used += (size_t)snprintf(text + used, SOW_INIT_TEXT - used, __VA_ARGS__)
    for (int i = 0; i < NUMBERS; i++) {
        double value = *number_of(&own, i), normal = *number_of(&usual, i);
        if (!(has & numbers[i].bit) || value == normal || isnan(value)) continue;
        char digits[32];
        for (int precision = 6; precision <= 17; precision++) { /* the shortest that reads back as the same number */
            snprintf(digits, sizeof digits, "%.*g", precision, value);
            if (strtod(digits, NULL) == value) break;
        }
        ADD("%c%s=%s", used == name_end ? ':' : ',', numbers[i].name, digits);
    }
    if ((has & INIT_MODE) && own.mode != usual.mode) ADD("%cmode=%s", used == name_end ? ':' : ',', modes[own.mode]);
    if ((has & INIT_NONLINEARITY) && strcmp(own.nonlinearity, usual.nonlinearity))
        ADD("%cnonlinearity=%s", used == name_end ? ':' : ',', own.nonlinearity);
    if ((has & INIT_DISTRIBUTION) && strcmp(own.distribution, usual.distribution))
        ADD("%cdistribution=%s", used == name_end ? ':' : ',', own.distribution);
    if ((has & INIT_GROUPS) && own.groups > 1)
        ADD("%cgroups=%lld", used == name_end ? ':' : ',', (long long)own.groups);
#undef ADD
    return text;
}
