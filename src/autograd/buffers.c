/* A pool of tensor buffers, kept in lists by exact size; a request takes a buffer up to a quarter larger. */
#include "autograd/buffers.h"

#include <stdint.h>
#include <string.h>

#include "sow/memory.h"

enum { ALIGNMENT = 64 };

/* Lies in the 64 bytes before the buffer. */
typedef struct block {
    struct block *next_free, *next_all;
    void *allocation;
    size_t size;
} block;

typedef struct size_list {
    size_t size;
    block *free;
} size_list;

struct sow_buffers {
    size_list *lists; /* sorted by size */
    size_t count, capacity;
    block *all;
    size_t total, used, most; /* bytes: of all buffers, of those that are taken, and the most that ever were */
};

sow_buffers *sow_buffers_new(void) {
    sow_buffers *pool = sow_reallocate(NULL, sizeof *pool);
    if (pool) *pool = (sow_buffers){0};
    return pool;
}

void sow_buffers_free(sow_buffers *pool) {
    if (!pool) return;
    for (block *b = pool->all; b;) {
        block *next = b->next_all;
        sow_release(b->allocation);
        b = next;
    }
    sow_release(pool->lists);
    sow_release(pool);
}

/* Index of the first list whose size is at least `size`. */
static size_t first_list(const sow_buffers *pool, size_t size) {
    size_t low = 0, high = pool->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pool->lists[middle].size < size) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void unlink_block(sow_buffers *pool, const block *b) {
    block **link = &pool->all;
    while (*link != b) link = &(*link)->next_all;
    *link = b->next_all;
}

/* Batches of changing sizes leave buffers of sizes that do not come again: free ones, largest first, go back to the system where
 * the pool would grow beyond twice what was ever in use at once. Steps of one size never get there. */
static void shrink(sow_buffers *pool, size_t size) {
    for (size_t i = pool->count; i-- > 0;)
        while (pool->lists[i].free && pool->total + size > 2 * pool->most) {
            block *b = pool->lists[i].free;
            pool->lists[i].free = b->next_free;
            pool->total -= b->size;
            unlink_block(pool, b);
            sow_release(b->allocation);
        }
}

static void *new_block(sow_buffers *pool, size_t size) {
    shrink(pool, size);
    size_t at = first_list(pool, size);
    if (at == pool->count || pool->lists[at].size != size) {
        if (pool->count == pool->capacity) {
            size_t capacity = pool->capacity ? 2 * pool->capacity : 32;
            size_list *lists = sow_reallocate(pool->lists, capacity * sizeof *lists);
            if (!lists) return NULL;
            pool->lists = lists;
            pool->capacity = capacity;
        }
        memmove(pool->lists + at + 1, pool->lists + at, (pool->count - at) * sizeof *pool->lists);
        pool->lists[at] = (size_list){.size = size};
        pool->count++;
    }
    uint8_t *allocation = sow_reallocate(NULL, size + 2 * ALIGNMENT);
    if (!allocation) return NULL;
    uintptr_t data = ((uintptr_t)allocation + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block *b = (block *)(data - ALIGNMENT);
    *b = (block){.next_all = pool->all, .allocation = allocation, .size = size};
    pool->all = b;
    pool->total += size;
    return (void *)data;
}

static void count_used(sow_buffers *pool, size_t size) {
    pool->used += size;
    if (pool->used > pool->most) pool->most = pool->used;
}

void *sow_buffers_take(sow_buffers *pool, size_t bytes) {
    _Static_assert(sizeof(block) <= ALIGNMENT, "a block's head fits before its buffer");
    size_t size = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size < bytes || size > SIZE_MAX / 4) {
        sow_fail(SOW_E_MEMORY, "out of memory: a buffer of %zu bytes was asked for", bytes);
        return NULL;
    }
    if (size == 0) size = ALIGNMENT;
    for (size_t i = first_list(pool, size); i < pool->count && pool->lists[i].size <= size + size / 4; i++) {
        block *b = pool->lists[i].free;
        if (!b) continue;
        pool->lists[i].free = b->next_free;
        count_used(pool, b->size);
        return (uint8_t *)b + ALIGNMENT;
    }
    count_used(pool, size);
    void *buffer = new_block(pool, size);
    if (!buffer) pool->used -= size;
    return buffer;
}

void sow_buffers_give(sow_buffers *pool, void *buffer) {
    if (!buffer) return;
    block *b = (block *)((uint8_t *)buffer - ALIGNMENT);
    pool->used -= b->size;
    size_list *list = &pool->lists[first_list(pool, b->size)];
    b->next_free = list->free;
    list->free = b;
}
