/* Which cell may start next: a heap of ready cells over the graph of needs. */
#include "run/order.h"

static sow_status check_needs(const sow_cell *cells, int count, int64_t *total) {
    *total = 0;
    for (int c = 0; c < count; c++) {
        for (int n = 0; n < cells[c].need_count; n++)
            if (cells[c].needs[n] < 0 || cells[c].needs[n] >= c)
                return sow_fail(SOW_E_ARGUMENT, "cell %d (%s): needs cell %d, expected an earlier one", c,
                                cells[c].stage, cells[c].needs[n]);
        *total += cells[c].need_count;
    }
    return SOW_OK;
}

sow_status sow_order_new(sow_arena *arena, const sow_cell *cells, int count, sow_order *o) {
    int64_t total;
    SOW_TRY(check_needs(cells, count, &total));
    *o = (sow_order){.count = count};
    SOW_TRY(SOW_NEW(arena, o->waiting, count));
    SOW_TRY(SOW_NEW(arena, o->first, count + 2));
    SOW_TRY(SOW_NEW(arena, o->dependents, total));
    SOW_TRY(SOW_NEW(arena, o->heap, count));
    SOW_TRY(SOW_NEW(arena, o->stack, count));
    for (int c = 0; c < count; c++) {
        o->waiting[c] = cells[c].need_count;
        for (int n = 0; n < cells[c].need_count; n++) o->first[cells[c].needs[n] + 2]++;
    }
    for (int c = 0; c < count; c++) o->first[c + 2] += o->first[c + 1];
    /* Filling moves first[c+1] from the start of c's dependents to their end, which is where c+1's begin. */
    for (int c = 0; c < count; c++)
        for (int n = 0; n < cells[c].need_count; n++) o->dependents[o->first[cells[c].needs[n] + 1]++] = c;
    return SOW_OK;
}

void sow_order_push(sow_order *o, int cell) {
    int at = o->ready++;
    while (at > 0 && o->heap[(at - 1) / 2] > cell) {
        o->heap[at] = o->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    o->heap[at] = cell;
}

int sow_order_pop(sow_order *o) {
    if (o->ready == 0) return -1;
    int top = o->heap[0], last = o->heap[--o->ready], at = 0;
    for (int child; (child = 2 * at + 1) < o->ready; at = child) {
        if (child + 1 < o->ready && o->heap[child + 1] < o->heap[child]) child++;
        if (o->heap[child] >= last) break;
        o->heap[at] = o->heap[child];
    }
    o->heap[at] = last;
    return top;
}

void sow_order_done(sow_order *o, int cell) {
    for (int d = o->first[cell]; d < o->first[cell + 1]; d++)
        if (--o->waiting[o->dependents[d]] == 0) sow_order_push(o, o->dependents[d]);
}

int sow_order_dependents(sow_order *o, int cell, const int **list) {
    int found = 0;
    for (int next = 0, from = cell;; from = o->stack[next++]) {
        for (int d = o->first[from]; d < o->first[from + 1]; d++) {
            int dependent = o->dependents[d];
            if (o->waiting[dependent] < 0) continue;
            o->waiting[dependent] = -1; /* found: it enters the stack once */
            o->stack[found++] = dependent;
        }
        if (next == found) break;
    }
    *list = o->stack;
    return found;
}
