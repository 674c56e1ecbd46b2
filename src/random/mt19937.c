/* Mersenne Twister MT19937: Matsumoto and Nishimura 1998, doi 10.1145/272991.272995. */
#include "exact.h"
#include "internal.h"

enum { WORDS = 624, SHIFT = 397 };

/* init_genrand of the authors' 2002 code; the first word drawn makes the first block. */
void mt19937_seed(sow_rng *rng, uint32_t seed) {
    rng->state[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++)
        rng->state[i] = 1812433253u * (rng->state[i - 1] ^ (rng->state[i - 1] >> 30)) + i;
    rng->next = WORDS;
}

EXACT_INLINE uint32_t twist(uint32_t here, uint32_t after) {
    return (((here & 0x80000000u) | (after & 0x7fffffffu)) >> 1) ^ (0x9908b0dfu & (0u - (after & 1u)));
}

EXACT_INLINE void next_block_body(uint32_t *state) {
    for (int i = 0; i < WORDS - SHIFT; i++) state[i] = state[i + SHIFT] ^ twist(state[i], state[i + 1]);
    for (int i = WORDS - SHIFT; i < WORDS - 1; i++) state[i] = state[i + SHIFT - WORDS] ^ twist(state[i], state[i + 1]);
    state[WORDS - 1] = state[SHIFT - 1] ^ twist(state[WORDS - 1], state[0]);
}
RANDOM_KERNEL(next_block, (uint32_t * state), (state))

EXACT_INLINE uint32_t temper(uint32_t y) {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

EXACT_INLINE void temper_words_body(const uint32_t *restrict state, uint32_t *restrict out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = temper(state[i]);
}
RANDOM_KERNEL(temper_words, (const uint32_t *restrict state, uint32_t *restrict out, int64_t n), (state, out, n))

uint32_t mt19937_word(sow_rng *rng) {
    if (rng->next == WORDS) {
        next_block(rng->state);
        rng->next = 0;
    }
    return temper(rng->state[rng->next++]);
}

void mt19937_words(sow_rng *rng, uint32_t *out, int64_t n) {
    while (n > 0) {
        if (rng->next == WORDS) {
            next_block(rng->state);
            rng->next = 0;
        }
        int64_t take = WORDS - rng->next < n ? WORDS - rng->next : n;
        temper_words(rng->state + rng->next, out, take);
        rng->next += (int32_t)take;
        out += take;
        n -= take;
    }
}
