/* Tables of the ziggurat with 256 layers that NumPy's Generator draws normals with. */
#ifndef SOW_RANDOM_ZIGGURAT_H
#define SOW_RANDOM_ZIGGURAT_H

#include <stdint.h>

/* Layer 0 is the tail. */
typedef struct ziggurat_tables {
    uint64_t inside[256]; /* 2^52 times the share of a layer that lies wholly under the density */
    double width[256];    /* of a layer, over 2^52 */
    double height[256];   /* the density exp(-x^2/2) at the right end of a layer */
} ziggurat_tables;

/* Made at the first call, in about a millisecond. */
const ziggurat_tables *ziggurat(void);

#define ZIGGURAT_TAIL 3.6541528853610087963519472518          /* where the tail begins */
#define ZIGGURAT_TAIL_INVERSE 0.27366123732975827203338247596 /* and one over it */

#endif
