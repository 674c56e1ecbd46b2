/* What an experiment writes before it trains: its folder with the store, the starts of its cells. */
#include <unistd.h>

#include "sow/file.h"
#include "sow/safetensors.h"
#include "sow/trainer.h"

static sow_status forget_store(sow_arena *arena, const char *folder) {
    static const char *const names[] = {"sow.db", "sow.db-wal", "sow.db-shm"};
    for (int i = 0; i < 3; i++) {
        const char *path = sow_path_join(arena, folder, names[i]);
        if (!path) return SOW_E_MEMORY;
        unlink(path);
    }
    return SOW_OK;
}

sow_status sow_experiment_open(sow_call *call, const char *folder, const char *plan, const char **absolute,
                               sow_store **store) {
    if (sow_flag(call, "force") && !sow_flag(call, "resume")) SOW_TRY(forget_store(call->arena, folder));
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(sow_path_absolute(call->arena, folder, absolute));
    return sow_store_open(folder, plan, store);
}

sow_status sow_write_start(const sow_call *call, const char *path, const char *file, const sow_input *extra, int count,
                           const sow_state *start, const sow_mask *mask) {
    const char *passport, *mask_passport, *mask_path = sow_mask_path(call->arena, path),
                                          *mask_file = file ? sow_mask_path(call->arena, file) : ".mask.safetensors";
    if (!mask_path || !mask_file) return SOW_E_ARGUMENT;
    SOW_TRY(sow_passport(call, file, extra, count, &passport));
    SOW_TRY(sow_passport(call, mask_file, extra, count, &mask_passport));
    SOW_TRY(sow_save_mask(mask_path, mask, mask_passport));
    return sow_save_state(path, start, passport);
}

sow_status sow_trial_in(sow_arena *arena, const char *absolute, sow_trial *trial) {
    trial->folder = absolute;
    trial->init = sow_path_join(arena, absolute, "start.safetensors");
    trial->mask = sow_path_join(arena, absolute, "start.mask.safetensors");
    trial->out = sow_path_join(arena, absolute, "final.safetensors");
    return trial->init && trial->mask && trial->out ? SOW_OK : SOW_E_MEMORY;
}
