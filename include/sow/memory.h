/* Regions of memory freed as one, and the one allocator behind them. */
#ifndef SOW_MEMORY_H
#define SOW_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "sow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A growing region; not thread-safe. */
typedef struct sow_arena sow_arena;

/* A place in an arena to go back to. */
typedef struct sow_mark {
    void *chunk;
    size_t used;
} sow_mark;

/* An empty arena. Errors: SOW_E_MEMORY. Cost: one small allocation. */
sow_status sow_arena_new(sow_arena **out);

/* Frees everything taken from the arena, and the arena. NULL is allowed. */
void sow_arena_free(sow_arena *arena);

/* Zeroed memory for `count` objects of `size` bytes, aligned to 64 bytes; NULL, with a message kept, when
 * memory is short or count*size overflows. `count` 0 gives a valid pointer. Cost: a bump, plus the zeroing. */
void *sow_arena_take(sow_arena *arena, size_t count, size_t size);

/* The same without zeroing: for buffers that are filled at once. */
void *sow_arena_take_raw(sow_arena *arena, size_t count, size_t size);

/* The place reached so far, and the way back to it: what was taken since is free again (chunks are kept). */
sow_mark sow_arena_mark(const sow_arena *arena);
/* Goes back to a mark: what was taken since is free again; chunks are kept for the next use. */
void sow_arena_release(sow_arena *arena, sow_mark mark);

/* Copies of a string and of a formatted string, in the arena; NULL when memory is short. */
char *sow_arena_copy(sow_arena *arena, const char *text);
/* A formatted string in the arena; NULL when memory is short. */
char *sow_arena_format(sow_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes `count` zeroed objects of *pointer's type: `SOW_TRY(SOW_NEW(arena, rows, n));`. */
#define SOW_NEW(arena, pointer, count) \
    (((pointer) = sow_arena_take((arena), (size_t)(count), sizeof *(pointer))) ? SOW_OK : SOW_E_MEMORY)
#define SOW_NEW_RAW(arena, pointer, count) \
    (((pointer) = sow_arena_take_raw((arena), (size_t)(count), sizeof *(pointer))) ? SOW_OK : SOW_E_MEMORY)

/* A zeroed object in an arena of its own, freed with it: `SOW_TRY(SOW_OWN(arena, object));`. */
#define SOW_OWN(arena, object) \
    (((object) = sow_arena_own(&(arena), sizeof *(object))) ? SOW_OK : SOW_E_MEMORY)
/* The object; NULL, and nothing is left, when memory is short. */
void *sow_arena_own(sow_arena **arena, size_t size);

/* Memory that lives outside arenas (growing tables, buffers handed to libraries). Every allocation of Sow's
 * own code comes through sow_reallocate (arenas too), so that tests can count allocations and make each fail.
 * size 0 frees and returns NULL. NULL, with a message kept, when memory is short. */
void *sow_reallocate(void *pointer, size_t size);
/* Frees what sow_reallocate gave; NULL is allowed. */
void sow_release(void *pointer);

/* Number of successful sow_reallocate calls of this process so far: a steady training step adds none. */
uint64_t sow_allocation_count(void);

/* a*b and a+b for sizes from outside: SOW_E_RANGE where the result would overflow int64_t or be negative. */
sow_status sow_multiply(int64_t a, int64_t b, int64_t *out);
/* a + b with the same check. */
sow_status sow_add_sizes(int64_t a, int64_t b, int64_t *out);

#ifdef __cplusplus
}
#endif
#endif
