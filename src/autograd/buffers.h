/* A pool of tensor buffers: what one step gives back, the next one takes, so a steady step allocates nothing. */
#ifndef SOW_AUTOGRAD_BUFFERS_H
#define SOW_AUTOGRAD_BUFFERS_H

#include <stddef.h>

typedef struct sow_buffers sow_buffers;

sow_buffers *sow_buffers_new(void); /* NULL when memory is short */
void sow_buffers_free(sow_buffers *pool);
/* An uninitialised buffer of at least `bytes`, aligned to 64 bytes; NULL, with a message, when memory is short. */
void *sow_buffers_take(sow_buffers *pool, size_t bytes);
void sow_buffers_give(sow_buffers *pool, void *buffer); /* NULL is allowed */

#endif
