/* Split networks as NEXUS files that SplitsTree opens (Huson and Bryant 2006). */
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "starts/groups/mycorrhiza/network.h"

/* A name in quotes, those within it doubled. */
static void put_name(sow_writer *out, const char *name) {
    sow_writer_put(out, "'", 1);
    for (const char *c = name; *c; c++) {
        if (*c == '\'') sow_writer_put(out, "'", 1);
        sow_writer_put(out, *c >= 0 && *c < ' ' ? "_" : c, 1);
    }
    sow_writer_put(out, "'", 1);
}

sow_status sow_network_write(const char *path, const sow_network *network, const char *const *names) {
    sow_writer *out;
    char number[SOW_REAL_TEXT];
    int64_t n = network->taxa;
    SOW_TRY(sow_writer_open(path, &out));
    sow_writer_printf(out, "#nexus\n\nBEGIN Taxa;\nDIMENSIONS ntax=%lld;\nTAXLABELS\n", (long long)n);
    for (int64_t t = 0; t < n; t++) {
        sow_writer_printf(out, "[%lld] ", (long long)t + 1);
        put_name(out, names[t]);
        sow_writer_put(out, "\n", 1);
    }
    sow_writer_printf(out, ";\nEND; [Taxa]\n\nBEGIN Splits;\nDIMENSIONS ntax=%lld nsplits=%lld;\n", (long long)n,
                      (long long)network->count);
    sow_writer_printf(out,
                      "FORMAT labels=no weights=yes confidences=no intervals=no;\nPROPERTIES fit=%.6f cyclic;\nCYCLE",
                      network->fit);
    for (int64_t i = 0; i < n; i++) sow_writer_printf(out, " %lld", (long long)network->circle[i] + 1);
    sow_writer_printf(out, ";\nMATRIX\n");
    for (int64_t s = 0; s < network->count; s++) {
        sow_split split = network->splits[s];
        sow_writer_printf(out, "[%lld, size=%lld] \t %s \t", (long long)s + 1, (long long)(split.last - split.first),
                          sow_real_text(split.weight, number));
        for (int64_t t = 0; t < n; t++)
            if (sow_split_has(network, split, t)) sow_writer_printf(out, " %lld", (long long)t + 1);
        sow_writer_printf(out, ",\n");
    }
    sow_writer_printf(out, ";\nEND; [Splits]\n");
    return sow_writer_commit(out);
}
