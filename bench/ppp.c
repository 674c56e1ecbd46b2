/* Times the partition of a table: `ppp DATA.npy THREADS` prints one JSON line with seconds, clusters, rows in cores and
 * the peak of memory. The file is mapped, not read. */
#include <stdio.h>
#include <stdlib.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"


int main(int count, char **words) {
    sow_arena *arena;
    sow_map map;
    sow_tensor values;
    sow_rows rows;
    sow_ppp found;
    sow_ppp_config config = sow_ppp_defaults();
    if (count < 3) return 2;
    sow_set_threads(atoi(words[2]));
    OK(sow_arena_new(&arena));
    OK(sow_npy_map(words[1], &map, &values));
    OK(sow_rows_of(values, &rows));
    rows.mapped = true;
    double begin = sow_seconds();
    OK(sow_ppp_fit(&rows, &config, arena, &found));
    printf("{\"seconds\": %.6f, \"clusters\": %d, \"core\": %lld, \"peak_mib\": %.1f}\n", sow_seconds() - begin,
           found.clusters, (long long)found.core_count, peak_mib());
    sow_arena_free(arena);
    sow_map_close(&map);
    return 0;
}
