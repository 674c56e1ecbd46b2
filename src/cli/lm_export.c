/* sow lm export: a model as a Hugging Face folder, from GGUF too. */
#include <string.h>

#include "cli/lm.h"
#include "sow/file.h"
#include "sow/log.h"

static sow_status write_card(const sow_call *call, const char *folder, const char *source, const sow_lm *lm,
                             const char *how) {
    const char *path = sow_path_join(call->arena, folder, "README.md"), *name = sow_path_name(source);
    const char *text = sow_arena_format(
        call->arena,
        "# %s\n\nWritten by `sow %s %s` from `%s` as %s, %lld layers of width %lld. %s The passport is in the header of\n"
        "`model.safetensors`.\n",
        name, call->method->name, call->action->name, name, strcmp(sow_text(call, "dtype"), "f32") ? "BF16" : "F32",
        (long long)lm->config.layers, (long long)lm->config.hidden, how);
    return path && text ? sow_write_file(path, text, strlen(text)) : SOW_E_MEMORY;
}

/* The model's configuration comes last: without it the folder is none. */
sow_status cli_lm_write(sow_call *call, const sow_lm *lm, const char *how) {
    const char *folder = sow_text(call, "out"), *passport, *tokenizer = sow_text(call, "tokenizer"), *source;
    sow_input input;
    SOW_TRY(sow_lm_locate(call->arena, sow_text(call, "model"), &source));
    SOW_TRY(sow_lm_input(call->arena, sow_text(call, "model"), &input));
    SOW_TRY(sow_passport(call, "model.safetensors", &input, 1, &passport));
    SOW_TRY(sow_make_folder(folder));
    if (tokenizer) {
        char *text;
        size_t size;
        const char *target = sow_path_join(call->arena, folder, "tokenizer.json");
        SOW_TRY(sow_read_file(call->arena, tokenizer, (size_t)256 << 20, &text, &size));
        SOW_TRY(target ? sow_write_file(target, text, size) : SOW_E_MEMORY);
    } else SOW_TRY(sow_tokenizer_export(source, folder));
    SOW_TRY(write_card(call, folder, source, lm, how));
    SOW_TRY(sow_lm_write(lm, folder, strcmp(sow_text(call, "dtype"), "f32") ? SOW_BF16 : SOW_F32, passport));
    return sow_wrote(call, folder);
}

sow_status cli_lm_export(sow_call *call) {
    sow_lm *lm;
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    SOW_TRY(sow_lm_open_frozen(sow_text(call, "model"), &lm));
    sow_status status = cli_lm_write(call, lm,
                                     "Weights that were quantised are the floats that\ntheir blocks stand for: nothing "
                                     "was trained or changed.");
    sow_lm_free(lm);
    return status;
}

const sow_option cli_lm_export_options[] = {
    CLI_LM_MODEL,     SOW_OPTION_CHOICE("dtype", "f32", "f32|bf16", "type of the weights in the folder"),
    CLI_LM_TOKENIZER, SOW_OPTION_OUTPUT("a Hugging Face folder"),
    SOW_OPTION_FORCE, {0},
};
