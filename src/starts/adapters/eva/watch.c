/* EVA: what enters the layers, gathered from forward passes and handed on, several layers at a time. */
#include <string.h>

#include "sow/threads.h"
#include "starts/adapters/eva/eva.h"

enum { TOGETHER = 8 }; /* hooks whose rows wait for each other: two layers of a transformer */

sow_status eva_watch_open(eva_watch *w, const sow_sites *sites, const sow_feed *feed, eva_hook *hooks, int64_t count,
                          sow_arena *arena) {
    *w = (eva_watch){.sites = sites, .feed = feed, .hooks = hooks, .hook_count = count, .workers = sow_threads()};
    SOW_TRY(SOW_NEW(arena, w->queue, TOGETHER));
    SOW_TRY(SOW_NEW(arena, w->scratch, w->workers));
    SOW_TRY(sow_arena_new(&w->waiting));
    w->empty = sow_arena_mark(w->waiting);
    for (int i = 0; i < w->workers; i++) SOW_TRY(sow_arena_new(&w->scratch[i]));
    return SOW_OK;
}

void eva_watch_close(eva_watch *w) {
    for (int i = 0; w->scratch && i < w->workers; i++) sow_arena_free(w->scratch[i]);
    sow_arena_free(w->waiting);
}

/* ---- gathering ---- */

static eva_hook *find_hook(eva_watch *w, const char *name) {
    for (int64_t i = 0; i < w->hook_count; i++) {
        int64_t at = (w->next + i) % w->hook_count;
        if (strcmp(w->sites->at[w->hooks[at].site].name, name) != 0) continue;
        w->next = at + 1;
        return &w->hooks[at];
    }
    return NULL;
}

/* x: [.., in], any layout, F32 or F64. */
static sow_status gather(eva_watch *w, eva_hook *hook, sow_tensor x) {
    int64_t in = x.shape[x.rank - 1], rows = sow_count(x) / in, kept = 0;
    float *all;
    SOW_TRY(SOW_NEW_RAW(w->waiting, all, rows * in));
    sow_tensor to = sow_tensor_of(all, SOW_F32, x.rank, x.shape);
    SOW_TRY(sow_copy(to, x));
    for (int64_t r = 0; r < rows; r++) {
        if (w->feed->keep && !w->feed->keep[r]) continue;
        if (kept < r) memcpy(all + kept * in, all + r * in, (size_t)in * sizeof *all);
        kept++;
    }
    hook->x = all;
    hook->rows = kept;
    if (kept > w->most_rows) w->most_rows = kept;
    w->queue[w->queued++] = hook - w->hooks;
    return w->queued == TOGETHER ? eva_watch_flush(w) : SOW_OK;
}

sow_var eva_watch_site(void *user, sow_tape *tape, const char *name, sow_var x, sow_var y) {
    eva_watch *w = user;
    if (x == y || !x) return y;
    eva_hook *hook = find_hook(w, name);
    if (!hook || !hook->active) return y;
    sow_status status = gather(w, hook, sow_value(x));
    return status == SOW_OK ? y : sow_tape_fail(tape, status);
}

/* ---- work on hooks ---- */

typedef struct cells {
    eva_watch *watch;
    const int64_t *index; /* NULL: all hooks */
    sow_status (*work)(void *user, eva_hook *hook, sow_arena *scratch);
    void *user;
} cells;

static void work_on(void *context, int64_t i) {
    const cells *c = context;
    eva_hook *hook = &c->watch->hooks[c->index ? c->index[i] : i];
    hook->status = c->work(c->user, hook, c->watch->scratch[sow_worker()]);
    if (hook->status != SOW_OK) snprintf(hook->message, sizeof hook->message, "%s", sow_message());
}

static sow_status run_cells(cells *c, int64_t count) {
    sow_cells(count, work_on, c);
    for (int64_t i = 0; i < count; i++) {
        const eva_hook *hook = &c->watch->hooks[c->index ? c->index[i] : i];
        if (hook->status != SOW_OK)
            return sow_fail(hook->status, "%s: %s", c->watch->sites->at[hook->site].module, hook->message);
    }
    return SOW_OK;
}

sow_status eva_for_hooks(eva_watch *w, sow_status (*work)(void *user, eva_hook *hook, sow_arena *scratch), void *user) {
    cells c = {.watch = w, .work = work, .user = user};
    return run_cells(&c, w->hook_count);
}

static sow_status take(void *user, eva_hook *hook, sow_arena *scratch) {
    (void)user;
    bool taken = true;
    if (hook->gram) SOW_TRY(sow_gram_add(hook->gram, hook->x, hook->rows, scratch));
    else SOW_TRY(sow_ipca_add(hook->ipca, hook->x, hook->rows, scratch, &taken));
    if (hook->ipca) hook->now = sow_ipca_components(hook->ipca);
    hook->batches += taken && hook->rows > 0;
    return SOW_OK;
}

sow_status eva_watch_flush(eva_watch *w) {
    cells c = {.watch = w, .index = w->queue, .work = take};
    sow_status status = run_cells(&c, w->queued);
    w->queued = 0;
    sow_arena_release(w->waiting, w->empty);
    return status;
}
