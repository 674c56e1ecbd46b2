/* The nearest of several known words: optimal string alignment distance. */
#include "sow/text.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

enum { LONGEST = 63 };

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Rows i-2, i-1 and i of the usual table, in turn. */
static int distance(const char *a, int a_length, const char *b, int b_length) {
    int rows[3][LONGEST + 1];
    for (int j = 0; j <= b_length; j++) rows[0][j] = j;
    for (int i = 1; i <= a_length; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            row[j] = least(above[j - 1] + !same_letter(a[i - 1], b[j - 1]), least(above[j], row[j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]);
            if (swapped) row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

const char *sow_nearest(const char *word, const char *const *candidates, int count) {
    const char *best = NULL;
    int best_distance = 0;
    size_t length = strlen(word);
    for (int c = 0; c < count; c++) {
        if (!candidates[c]) continue;
        if (!strcmp(word, candidates[c])) return candidates[c];
        size_t other = strlen(candidates[c]), longer = other > length ? other : length;
        if (longer > LONGEST || length < 2) continue;
        int changes = distance(word, (int)length, candidates[c], (int)other);
        int allowed = longer < 6 ? 1 : (int)longer / 3;
        if (changes <= allowed && (!best || changes < best_distance)) best = candidates[c], best_distance = changes;
    }
    return best;
}
