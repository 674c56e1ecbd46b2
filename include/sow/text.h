/* Small helpers for words that people type. */
#ifndef SOW_TEXT_H
#define SOW_TEXT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The candidate most like `word`, for "did you mean": fewest insertions, deletions, replacements and swaps of
 * neighbours (optimal string alignment), case aside; the first on ties. NULL when none is near: more than a
 * third of the longer word would change (one change is always allowed in words of two letters or more). Candidates that
 * are NULL are skipped. Words over 63 bytes are near only if equal. Cost: length of word times sum of lengths. */
const char *sow_nearest(const char *word, const char *const *candidates, int count);

/* Whether a name ends so, "x.csv" in ".csv"; to the letter, or with upper and lower case alike (ASCII). */
bool sow_ends_with(const char *text, const char *end);
/* The same, case aside. */
bool sow_ends_with_any_case(const char *text, const char *end);

#ifdef __cplusplus
}
#endif
#endif
