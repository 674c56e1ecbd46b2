/* Arenas, and the one allocator that all of Sow's own code uses. */
#include "sow/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

enum { ALIGNMENT = 64, FIRST_CHUNK = 4096 - 64, LARGEST_CHUNK = 16 << 20 };

static _Atomic uint64_t allocation_count;

void *sow_reallocate(void *pointer, size_t size) {
    if (size == 0) {
        free(pointer);
        return NULL;
    }
    void *grown = sow_fault(SOW_FAULT_ALLOC) ? NULL : realloc(pointer, size);
    if (!grown) {
        sow_fail(SOW_E_MEMORY, "out of memory: %zu bytes were refused", size);
        return NULL;
    }
    atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed);
    return grown;
}

void sow_release(void *pointer) {
    free(pointer);
}

uint64_t sow_allocation_count(void) {
    return atomic_load_explicit(&allocation_count, memory_order_relaxed);
}

typedef struct chunk {
    struct chunk *previous;
    uint8_t *data; /* aligned start inside this allocation */
    size_t size;
} chunk;

struct sow_arena {
    chunk *top;
    size_t used;      /* of the top chunk */
    chunk *spare;     /* chunks given back by release, kept for the next use */
    size_t next_size; /* of the next chunk */
};

sow_status sow_arena_new(sow_arena **out) {
    sow_arena *arena = sow_reallocate(NULL, sizeof *arena);
    if (!arena) return SOW_E_MEMORY;
    *arena = (sow_arena){.next_size = FIRST_CHUNK};
    *out = arena;
    return SOW_OK;
}

static void free_chunks(chunk *c) {
    while (c) {
        chunk *previous = c->previous;
        sow_release(c);
        c = previous;
    }
}

void sow_arena_free(sow_arena *arena) {
    if (!arena) return;
    free_chunks(arena->top);
    free_chunks(arena->spare);
    sow_release(arena);
}

/* A chunk of at least `size` bytes on top: a spare one that is large enough, else a new one. */
static bool push_chunk(sow_arena *arena, size_t size) {
    for (chunk **link = &arena->spare; *link; link = &(*link)->previous) {
        chunk *c = *link;
        if (c->size < size) continue;
        *link = c->previous;
        c->previous = arena->top;
        arena->top = c;
        arena->used = 0;
        return true;
    }
    size_t want = size > arena->next_size ? size : arena->next_size;
    if (want > SIZE_MAX - sizeof(chunk) - ALIGNMENT) {
        sow_fail(SOW_E_MEMORY, "out of memory: %zu bytes were asked for", size);
        return false;
    }
    chunk *c = sow_reallocate(NULL, sizeof *c + ALIGNMENT + want);
    if (!c) return false;
    uintptr_t start = (uintptr_t)(c + 1);
    *c = (chunk){.previous = arena->top, .data = (uint8_t *)((start + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT), .size = want};
    arena->top = c;
    arena->used = 0;
    if (arena->next_size < LARGEST_CHUNK) arena->next_size *= 2;
    return true;
}

void *sow_arena_take_raw(sow_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        sow_fail(SOW_E_MEMORY, "out of memory: %zu objects of %zu bytes were asked for", count, size);
        return NULL;
    }
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT;
    if (!arena->top || arena->top->size - arena->used < bytes)
        if (!push_chunk(arena, bytes)) return NULL;
    void *taken = arena->top->data + arena->used;
    arena->used += bytes;
    return taken;
}

void *sow_arena_take(sow_arena *arena, size_t count, size_t size) {
    void *taken = sow_arena_take_raw(arena, count, size);
    if (taken) memset(taken, 0, count * size);
    return taken;
}

sow_mark sow_arena_mark(const sow_arena *arena) {
    return (sow_mark){.chunk = arena->top, .used = arena->used};
}

void sow_arena_release(sow_arena *arena, sow_mark mark) {
    while (arena->top != mark.chunk) {
        chunk *c = arena->top;
        arena->top = c->previous;
        c->previous = arena->spare;
        arena->spare = c;
    }
    arena->used = mark.used;
}

void *sow_arena_own(sow_arena **arena, size_t size) {
    if (sow_arena_new(arena) != SOW_OK) return NULL;
    void *object = sow_arena_take(*arena, 1, size);
    if (!object) sow_arena_free(*arena);
    return object;
}

char *sow_arena_copy(sow_arena *arena, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = sow_arena_take_raw(arena, size, 1);
    return copy ? memcpy(copy, text, size) : NULL;
}

char *sow_arena_format(sow_arena *arena, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : sow_arena_take_raw(arena, (size_t)length + 1, 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

sow_status sow_multiply(int64_t a, int64_t b, int64_t *out) {
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, out)) return sow_fail(SOW_E_RANGE, "size %lld x %lld is out of range", (long long)a, (long long)b);
    return SOW_OK;
}

sow_status sow_add_sizes(int64_t a, int64_t b, int64_t *out) {
    if (a < 0 || b < 0 || __builtin_add_overflow(a, b, out)) return sow_fail(SOW_E_RANGE, "size %lld + %lld is out of range", (long long)a, (long long)b);
    return SOW_OK;
}
