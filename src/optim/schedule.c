/* Learning-rate schedules: constant, multistep and cosine, after an optional linear warm-up. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/optim.h"

static sow_status wrong(const char *text) {
    return sow_fail(SOW_E_ARGUMENT, "schedule '%s': expected constant, multistep:STEP,STEP..[:FACTOR] or cosine[:MIN], optionally after warmup:STEPS+", text);
}

/* A number at *p, which moves behind it. */
static bool read_number(const char **p, double low, double high, double *out) {
    char *end;
    *out = strtod(*p, &end);
    bool good = end != *p && *out >= low && *out <= high;
    *p = end;
    return good;
}

static bool skip(const char **p, const char *word) {
    size_t n = strlen(word);
    if (strncmp(*p, word, n)) return false;
    *p += n;
    return true;
}

static bool read_milestones(const char **p, sow_schedule *s) {
    do {
        double step;
        if (s->count == (int)(sizeof s->milestones / sizeof *s->milestones) || !read_number(p, 1, 1e15, &step)) return false;
        s->milestones[s->count++] = (int64_t)step;
        if (s->count > 1 && s->milestones[s->count - 1] <= s->milestones[s->count - 2]) return false;
    } while (skip(p, ","));
    return true;
}

sow_status sow_schedule_parse(const char *text, sow_schedule *out) {
    sow_schedule s = {.factor = 0.1};
    const char *p = text;
    double number;
    if (skip(&p, "warmup:")) {
        if (!read_number(&p, 0, 1e15, &number) || !skip(&p, "+")) return wrong(text);
        s.warmup = (int64_t)number;
    }
    if (skip(&p, "constant")) s.kind = SOW_SCHEDULE_CONSTANT;
    else if (skip(&p, "multistep:")) {
        s.kind = SOW_SCHEDULE_MULTISTEP;
        if (!read_milestones(&p, &s) || (skip(&p, ":") && !read_number(&p, 0, 1e6, &s.factor))) return wrong(text);
    } else if (skip(&p, "cosine")) {
        s.kind = SOW_SCHEDULE_COSINE;
        if (skip(&p, ":") && !read_number(&p, 0, 1, &s.minimum)) return wrong(text);
    } else return wrong(text);
    if (*p) return wrong(text);
    *out = s;
    return SOW_OK;
}

double sow_schedule_at(const sow_schedule *s, int64_t step, int64_t steps) {
    if (step < s->warmup) return (double)(step + 1) / (double)s->warmup;
    double factor = 1;
    if (s->kind == SOW_SCHEDULE_MULTISTEP)
        for (int i = 0; i < s->count && step >= s->milestones[i]; i++) factor *= s->factor;
    if (s->kind == SOW_SCHEDULE_COSINE && steps > s->warmup) {
        double part = (double)(step - s->warmup) / (double)(steps - s->warmup);
        factor = s->minimum + (1 - s->minimum) * 0.5 * (1 + cos(3.14159265358979323846 * (part < 1 ? part : 1)));
    }
    return factor;
}
