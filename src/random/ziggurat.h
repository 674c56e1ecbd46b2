/* Tables of the ziggurat with 256 layers that NumPy's Generator draws normals with. */
#ifndef SOW_RANDOM_ZIGGURAT_H
#define SOW_RANDOM_ZIGGURAT_H

#include <stdint.h>

extern const uint64_t ziggurat_inside[256];
extern const double ziggurat_width[256], ziggurat_height[256];

#define ZIGGURAT_TAIL 3.6541528853610087963519472518          /* where the tail begins */
#define ZIGGURAT_TAIL_INVERSE 0.27366123732975827203338247596 /* and one over it */

#endif
