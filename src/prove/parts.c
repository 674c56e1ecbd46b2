/* Scales of a study, and the parts that some of them come in. */
#include <string.h>

#include "sow/study.h"

const char *sow_scale_name(sow_scale_kind scale) {
    static const char *const names[] = {"smoke", "small", "full"};
    return names[scale];
}

/* "--part images --data PATH (about 1 hour; CIFAR-10), --part ..."; NULL when memory is short. */
static const char *describe(sow_arena *arena, const sow_study *study, sow_scale_kind scale) {
    const char *text = "";
    for (const sow_study_part *p = study->parts; p->name && text; p++)
        if (p->scale == scale)
            text = sow_arena_format(arena, "%s%s--part %s%s (%s%s%s)", text, *text ? ", " : "", p->name,
                                    p->data ? " --data PATH" : "", p->time, p->data ? "; " : "",
                                    p->data ? p->data : "");
    return text;
}

sow_status sow_study_find_part(sow_arena *arena, const sow_study *study, sow_scale_kind scale, const char *name,
                               const sow_study_part **out) {
    bool any = false;
    *out = NULL;
    for (const sow_study_part *p = study->parts; p && p->name; p++) {
        if (p->scale != scale) continue;
        any = true;
        if (name && !strcmp(p->name, name)) {
            *out = p;
            return SOW_OK;
        }
    }
    if (!any && !name) return SOW_OK;
    if (!any)
        return sow_fail(SOW_E_ARGUMENT, "--part: %s at scale %s does not come in parts", study->name,
                        sow_scale_name(scale));
    const char *parts = describe(arena, study, scale);
    if (!parts) return SOW_E_MEMORY;
    if (name)
        return sow_fail(SOW_E_ARGUMENT, "--part: %s at scale %s has no part '%s'; there are %s", study->name,
                        sow_scale_name(scale), name, parts);
    return sow_fail(SOW_E_ARGUMENT, "%s at scale %s comes in parts, each with a verdict of its own: %s", study->name,
                    sow_scale_name(scale), parts);
}
