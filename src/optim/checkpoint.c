/* Checkpoints: "model.*" weights, "optimizer.*" moments, and "training.*" for the rest. */
#include "optim/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "sow/safetensors.h"

enum { CURVE_COLUMNS = sizeof(sow_evaluation) / sizeof(double) };
_Static_assert(sizeof(sow_evaluation) == 7 * sizeof(double), "an evaluation is seven 64-bit numbers");

/* The hash of given scales, "measured" where there are none; NULL: memory is short. */
static const char *scales_identity(sow_arena *arena, const sow_scales *scales) {
    char hex[65] = "measured";
    for (int64_t i = 0; scales && i < scales->count; i++) {
        const sow_scale_row *r = &scales->rows[i];
        const char *text = sow_arena_format(arena, "%s|%s|%lld|%a", hex, r->name, (long long)r->block, r->scale);
        if (!text) return NULL;
        sow_sha256(text, strlen(text), hex);
    }
    return sow_arena_copy(arena, hex);
}

/* All that must be equal for a checkpoint to belong to this training, as one line of text. */
static const char *identity(sow_arena *arena, const sow_training *t, const sow_task *task) {
    const sow_optimizer_config *o = &t->optimizer;
    char hex[65];
    char *text = sow_arena_format(arena, "%s|%lld|%lld|%lld|%lld|%d|%d|%a|%a|%d|%a|%a|%a|%a|%d|%lld|%a|%a|%u|%llu|%a",
                                  task->identity ? task->identity : "", (long long)task->parts, (long long)t->steps,
                                  (long long)t->batch, (long long)t->evaluate_every, t->test_at_best, (int)o->kind, o->rate, o->momentum, o->nesterov,
                                  o->beta1, o->beta2, o->epsilon, o->weight_decay, (int)t->schedule.kind, (long long)t->schedule.warmup,
                                  t->schedule.factor, t->schedule.minimum, t->augmentation, (unsigned long long)t->seed, t->clip);
    const char *scales = scales_identity(arena, o->scales);
    if (text && scales)
        text = sow_arena_format(arena, "%s|%a|%d|%d|%lld|%lld|%d|%s", text, o->dampening, o->coupled, (int)o->blocks.kind,
                                (long long)o->blocks.heads, (long long)o->blocks.kv_heads, (int)o->normalise, scales);
    if (!scales) return NULL;
    for (int i = 0; text && i < t->schedule.count; i++) text = sow_arena_format(arena, "%s|%lld", text, (long long)t->schedule.milestones[i]);
    if (!text) return NULL;
    sow_sha256(text, strlen(text), hex);
    return sow_arena_copy(arena, hex);
}

static char *checkpoint_path(sow_arena *arena, const sow_training *t) {
    return sow_path_join(arena, t->folder, "checkpoint.safetensors");
}

static sow_status add_all(sow_arena *arena, sow_state *file, const char *prefix, const sow_state *from) {
    for (int64_t i = 0; i < sow_state_count(from); i++) {
        const sow_entry *e = sow_state_entry(from, i);
        const char *name = sow_arena_format(arena, "%s.%s", prefix, e->name);
        if (!name) return SOW_E_MEMORY;
        SOW_TRY(sow_state_add_view(file, name, e->value, NULL));
    }
    return SOW_OK;
}

static sow_status describe(sow_arena *arena, const sow_training *t, const sow_task *task, sow_optimizer *o, sow_place *place, const char *id, sow_state *file) {
    SOW_TRY(add_all(arena, file, "model", task->state));
    SOW_TRY(add_all(arena, file, "optimizer", sow_optimizer_moments(o)));
    SOW_TRY(sow_state_add_view(file, "training.step", SOW_TENSOR(&place->step, SOW_I64, 1), NULL));
    SOW_TRY(sow_state_add_view(file, "training.since", SOW_TENSOR(&place->since, SOW_F64, 4), NULL));
    SOW_TRY(sow_state_add_view(file, "training.identity", SOW_TENSOR((void *)(uintptr_t)id, SOW_U8, 64), NULL));
    /* step is an integer of 64 bits: the curve is kept as raw words */
    return sow_state_add_view(file, "training.curve", SOW_TENSOR(t->curve, SOW_I64, t->evaluations, CURVE_COLUMNS), NULL);
}

sow_status sow_checkpoint_write(sow_arena *arena, const sow_training *t, const sow_task *task, sow_optimizer *o, const sow_place *place) {
    sow_mark mark = sow_arena_mark(arena);
    sow_place copy = *place;
    const char *id = identity(arena, t, task), *path = checkpoint_path(arena, t);
    sow_state *file = NULL;
    sow_status status = id && path ? sow_state_new(&file) : SOW_E_MEMORY;
    if (status == SOW_OK) status = describe(arena, t, task, o, &copy, id, file);
    if (status == SOW_OK) status = sow_save_state(path, file, NULL);
    sow_state_free(file);
    sow_arena_release(arena, mark);
    return status;
}

static sow_status find(const sow_state *file, const char *name, sow_dtype dtype, int64_t count, sow_tensor *out) {
    const sow_entry *e = sow_state_find(file, name);
    if (!e || e->value.dtype != dtype || (count >= 0 && sow_count(e->value) != count))
        return sow_fail(SOW_E_FORMAT, "'%s' is missing or misshapen, so this is no checkpoint of this training", name);
    *out = e->value;
    return SOW_OK;
}

static sow_status read_all(sow_arena *arena, const sow_state *file, const char *prefix, sow_state *into) {
    for (int64_t i = 0; i < sow_state_count(into); i++) {
        sow_entry *e = sow_state_entry(into, i);
        sow_tensor value;
        const char *name = sow_arena_format(arena, "%s.%s", prefix, e->name);
        if (!name) return SOW_E_MEMORY;
        SOW_TRY(find(file, name, e->value.dtype, sow_count(e->value), &value));
        SOW_TRY(sow_copy(e->value, value));
    }
    return SOW_OK;
}

static sow_status restore(sow_arena *arena, sow_training *t, const sow_task *task, sow_optimizer *o, sow_place *place, const sow_state *file, const char *id) {
    sow_tensor value;
    SOW_TRY(find(file, "training.identity", SOW_U8, 64, &value));
    if (memcmp(value.data, id, 64)) return sow_fail(SOW_E_FORMAT, "it belongs to a training with other settings; remove it or use another folder");
    SOW_TRY(find(file, "training.step", SOW_I64, 1, &value));
    memcpy(&place->step, value.data, sizeof place->step);
    SOW_TRY(find(file, "training.since", SOW_F64, 4, &value));
    memcpy(&place->since, value.data, 4 * sizeof(double)); /* and `best` */
    SOW_TRY(find(file, "training.curve", SOW_I64, -1, &value));
    int64_t rows = sow_count(value) / CURVE_COLUMNS, room = t->evaluations; /* room was put there by the caller */
    if (place->step < 0 || place->step > t->steps || rows < 1 || rows > room) return sow_fail(SOW_E_FORMAT, "step %lld with %lld evaluations is out of range", (long long)place->step, (long long)rows);
    memcpy(t->curve, value.data, (size_t)rows * sizeof *t->curve);
    t->evaluations = rows;
    SOW_TRY(read_all(arena, file, "model", task->state));
    SOW_TRY(read_all(arena, file, "optimizer", sow_optimizer_moments(o)));
    sow_optimizer_set_steps(o, place->step);
    return SOW_OK;
}

sow_status sow_checkpoint_read(sow_arena *arena, sow_training *t, const sow_task *task, sow_optimizer *o, sow_place *place, bool *found) {
    const char *id = identity(arena, t, task), *path = checkpoint_path(arena, t);
    if (!id || !path) return SOW_E_MEMORY;
    *found = sow_path_exists(path);
    if (!*found) return SOW_OK;
    sow_state *file;
    SOW_TRY(sow_load_state(path, &file));
    sow_status status = restore(arena, t, task, o, place, file, id);
    sow_state_free(file);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}
