/* Actions on files: prune, rewind, control, union. */
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/safetensors.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

sow_status ticket_prune_spec(const sow_call *call, const char *rates, sow_prune_spec *out) {
    *out = (sow_prune_spec){.global = sow_flag(call, "global"), .google = !strcmp(sow_text(call, "compat"), "google")};
    sow_status status = sow_prune_parse(call->arena, rates, out);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "--rate");
}

/* ---- prune ---- */

static sow_status report_pruned(sow_call *call, const sow_pruned *pruned, int64_t count) {
    json_t *rows = json_array();
    int64_t total = 0, kept = 0;
    SOW_TRY(sow_put_json(call->result, "tensors", rows));
    for (int64_t i = 0; i < count; i++) {
        total += pruned[i].count;
        kept += pruned[i].kept;
        double density = pruned[i].count ? (double)pruned[i].kept / (double)pruned[i].count : 1;
        json_t *row = json_pack("{s:s, s:f, s:I, s:I, s:I, s:f}", "tensor", pruned[i].name, "rate", pruned[i].rate,
                                "weights", (json_int_t)pruned[i].count, "before", (json_int_t)pruned[i].before, "kept",
                                (json_int_t)pruned[i].kept, "density", density);
        SOW_TRY(sow_append_json(rows, row));
    }
    SOW_TRY(sow_put_count(call->result, "kept", kept));
    return sow_put_real(call->result, "density", total ? (double)kept / (double)total : 1);
}

sow_status ticket_run_prune(sow_call *call) {
    const char *out = sow_text(call, "out"), *passport;
    sow_prune_spec spec;
    sow_pruned *pruned;
    int64_t count;
    SOW_TRY(ticket_prune_spec(call, sow_text(call, "rate"), &spec));
    SOW_TRY(sow_check_output(call, out));
    SOW_TRY(sow_passport(call, NULL, NULL, 0, &passport));
    SOW_TRY(sow_prune_file(call->arena, sow_text(call, "final"), sow_text(call, "mask"), &spec, out, passport, &pruned,
                           &count));
    SOW_TRY(report_pruned(call, pruned, count));
    SOW_TRY(sow_wrote(call, out));
    return sow_put_format(call->result, "next",
                          "sow lottery-ticket rewind --start THETA0.safetensors --mask %s -o START.safetensors", out);
}

/* ---- rewind ---- */

/* Checks and gives the two names that a masked start has. */
static sow_status start_paths(sow_call *call, const char **out, const char **mask) {
    *out = sow_text(call, "out");
    *mask = sow_mask_path(call->arena, *out);
    if (!*mask) return SOW_E_ARGUMENT;
    SOW_TRY(sow_check_output(call, *out));
    return sow_check_output(call, *mask);
}

sow_status ticket_run_rewind(sow_call *call) {
    const char *out, *mask, *passport, *mask_passport;
    SOW_TRY(start_paths(call, &out, &mask));
    SOW_TRY(sow_passport(call, NULL, NULL, 0, &passport));
    SOW_TRY(sow_passport(call, ".mask.safetensors", NULL, 0, &mask_passport));
    SOW_TRY(sow_mask_file(call->arena, sow_text(call, "start"), sow_text(call, "mask"), out, passport, mask_passport));
    SOW_TRY(sow_wrote(call, out));
    return sow_wrote(call, mask);
}

/* ---- control ---- */

int ticket_last_round(sow_arena *arena, const char *folder) {
    int last = -1;
    for (int k = 0; k < TICKET_ROUNDS_MAX; k++) {
        char *path = ticket_mask_file(arena, folder, k);
        if (!path || !sow_path_exists(path)) break;
        last = k;
    }
    return last;
}

char *ticket_mask_file(sow_arena *arena, const char *folder, int round) {
    return sow_arena_format(arena, "%s/mask_%02d.safetensors", folder, round);
}

sow_status ticket_start_file(sow_arena *arena, const char *folder, const char **out) {
    char **names;
    int64_t count;
    *out = sow_arena_format(arena, "%s/theta0.safetensors", folder);
    if (!sow_is_folder(folder))
        return sow_fail(SOW_E_NOT_FOUND, "%s: no such folder; expected a ticket made by `sow lottery-ticket find`",
                        folder);
    SOW_TRY(sow_list_folder(arena, folder, 100000, &names, &count));
    /* a ticket that was rewound starts from theta_K */
    for (int64_t i = 0; i < count && *out; i++)
        if (!strncmp(names[i], "theta_", 6)) *out = sow_arena_format(arena, "%s/%s", folder, names[i]);
    if (!*out) return SOW_E_MEMORY;
    if (!sow_path_exists(*out))
        return sow_fail(SOW_E_NOT_FOUND, "%s: holds no theta0.safetensors; expected a ticket's folder", folder);
    return SOW_OK;
}

sow_status ticket_open(sow_arena *arena, const char *folder, int round, ticket_files *out) {
    int last = ticket_last_round(arena, folder);
    SOW_TRY(ticket_start_file(arena, folder, &out->start));
    if (last < 0)
        return sow_fail(SOW_E_NOT_FOUND, "%s: holds no mask_00.safetensors; expected a ticket's folder", folder);
    if (round > last) return sow_fail(SOW_E_RANGE, "round %d: %s has rounds 0 to %d", round, folder, last);
    out->round = round < 0 ? last : round;
    out->mask = ticket_mask_file(arena, folder, out->round);
    if (!out->mask) return SOW_E_MEMORY;
    /* only these two files count, so that logs and stores in the folder do not change a passport */
    char hashes[2][65], *joined;
    SOW_TRY(sow_sha256_file(out->start, hashes[0]));
    SOW_TRY(sow_sha256_file(out->mask, hashes[1]));
    joined = sow_arena_format(arena, "%s%s", hashes[0], hashes[1]);
    char *name = sow_arena_copy(arena, folder);
    if (!joined || !name) return SOW_E_MEMORY;
    while (strlen(name) > 1 && name[strlen(name) - 1] == '/') name[strlen(name) - 1] = 0;
    out->input = (sow_input){.option = "ticket", .name = sow_path_name(name)};
    sow_sha256(joined, strlen(joined), out->input.sha256);
    return SOW_OK;
}

static sow_status control_of(sow_call *call, sow_control *out) {
    sow_scheme scheme;
    SOW_TRY(sow_control_parse(sow_text(call, "kind"), &out->kind));
    SOW_TRY(sow_scheme_parse(sow_text(call, "scheme"), &scheme));
    out->init = sow_init_defaults(scheme);
    if (out->kind == SOW_CONTROL_NOISE) sow_resolve(call, "c", "1");
    out->c = sow_text(call, "c") ? sow_real(call, "c") : 0;
    out->keep_signs = sow_flag(call, "keep-signs");
    out->seed = (uint64_t)sow_int(call, "seed");
    if (sow_given(call, "c") && out->kind != SOW_CONTROL_NOISE)
        return sow_fail(SOW_E_ARGUMENT, "--c is the size of --kind noise, not of %s", sow_text(call, "kind"));
    if (out->keep_signs && out->kind != SOW_CONTROL_RESAMPLE)
        return sow_fail(SOW_E_ARGUMENT, "--keep-signs belongs to --kind resample, not to %s", sow_text(call, "kind"));
    return SOW_OK;
}

static sow_status write_start(sow_call *call, const sow_state *start, const sow_mask *mask, const sow_input *input) {
    const char *out, *mask_out;
    SOW_TRY(start_paths(call, &out, &mask_out));
    SOW_TRY(sow_write_start(call, out, NULL, input, 1, start, mask));
    SOW_TRY(sow_wrote(call, out));
    return sow_wrote(call, mask_out);
}

sow_status ticket_run_control(sow_call *call) {
    ticket_files ticket;
    sow_control control;
    sow_mask mask, made;
    sow_state *theta0, *start;
    const char *out, *mask_out;
    SOW_TRY(control_of(call, &control));
    SOW_TRY(start_paths(call, &out, &mask_out));
    SOW_TRY(ticket_open(call->arena, sow_text(call, "ticket"),
                        sow_given(call, "round") ? (int)sow_int(call, "round") : -1, &ticket));
    SOW_TRY(sow_load_mask(call->arena, ticket.mask, &mask));
    SOW_TRY(sow_load_state(ticket.start, &theta0));
    sow_status status = sow_ticket_control(call->arena, &control, theta0, &mask, &start, &made);
    if (status == SOW_OK) status = write_start(call, start, &made, &ticket.input);
    if (status == SOW_OK) status = sow_put_count(call->result, "round", ticket.round);
    double density = (double)sow_mask_kept(&mask, theta0) / (double)sow_state_weights(theta0);
    if (status == SOW_OK) status = sow_put_real(call->result, "density", density);
    sow_state_free(start);
    sow_state_free(theta0);
    return status;
}

/* ---- union ---- */

sow_status ticket_run_union(sow_call *call) {
    const char *out = sow_text(call, "out"), *passport;
    sow_mask masks[2], joined;
    SOW_TRY(sow_check_output(call, out));
    SOW_TRY(sow_load_mask(call->arena, sow_text(call, "mask"), &masks[0]));
    SOW_TRY(sow_load_mask(call->arena, sow_text(call, "other"), &masks[1]));
    SOW_TRY(sow_mask_union(call->arena, masks, 2, &joined));
    SOW_TRY(sow_passport(call, NULL, NULL, 0, &passport));
    SOW_TRY(sow_save_mask(out, &joined, passport));
    int64_t kept = 0, total = 0;
    for (int64_t t = 0; t < joined.tensors; t++) kept += sow_bits_kept(&joined.bits[t]), total += joined.bits[t].count;
    SOW_TRY(sow_put_count(call->result, "kept", kept));
    SOW_TRY(sow_put_real(call->result, "density", total ? (double)kept / (double)total : 1));
    return sow_wrote(call, out);
}
