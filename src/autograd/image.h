/* Batches of images as convolution, normalisation and pooling see them: dense memory, channels last. */
#ifndef SOW_AUTOGRAD_IMAGE_H
#define SOW_AUTOGRAD_IMAGE_H

#include "autograd/op.h"

/* True when [N, C, H, W] lies in memory as [N, H, W, C] without gaps. */
bool sow_is_channels_last(sow_tensor x);
/* x itself if it lies so, else a recorded copy that does. x: [N, C, H, W]. */
sow_var sow_channels_last(sow_tape *t, sow_var x);

#endif
