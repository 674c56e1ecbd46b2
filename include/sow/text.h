/* Small helpers for words that people type. */
#ifndef SOW_TEXT_H
#define SOW_TEXT_H

#ifdef __cplusplus
extern "C" {
#endif

/* The candidate most like `word`, for "did you mean": fewest insertions, deletions, replacements and swaps of
 * neighbours (optimal string alignment), case aside; the first on ties. NULL when none is near: more than a
 * third of the longer word would change (one change is always allowed in words of two letters or more). Candidates that
 * are NULL are skipped. Words over 63 bytes are near only if equal. Cost: length of word times sum of lengths. */
const char *sow_nearest(const char *word, const char *const *candidates, int count);

#ifdef __cplusplus
}
#endif
#endif
