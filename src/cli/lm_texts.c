/* Texts from files, and models with their tokenizers, for `sow lm`. */
#include <string.h>

#include "cli/lm.h"
#include "sow/file.h"
#include "sow/log.h"
#include "sow/text.h"

static const size_t text_max = (size_t)1 << 30;

/* ---- texts ---- */

static sow_status json_text(sow_arena *arena, const char *path, int64_t number, sow_span line, sow_span *out) {
    json_error_t error;
    json_t *json = json_loadb(line.text, line.size, JSON_ALLOW_NUL, &error);
    const json_t *text = json_object_get(json, "text");
    if (!json_is_string(text)) {
        sow_status status = json ? sow_fail(SOW_E_FORMAT, "%s: line %lld: no \"text\" in it", path, (long long)number)
                                 : sow_fail(SOW_E_FORMAT, "%s: line %lld: %s", path, (long long)number, error.text);
        json_decref(json);
        return status;
    }
    size_t size = json_string_length(text);
    char *copy = sow_arena_take(arena, size + 1, 1);
    if (copy) memcpy(copy, json_string_value(text), size);
    json_decref(json);
    *out = (sow_span){copy, size};
    return copy ? SOW_OK : SOW_E_MEMORY;
}

static bool is_json(const char *path, sow_span line) {
    return (strlen(path) > 6 && sow_ends_with(path, ".jsonl")) ||
           (!strcmp(path, "-") && line.size > 0 && line.text[0] == '{');
}

sow_status cli_read_text(sow_arena *arena, const char *path, sow_span *out) {
    char *data;
    size_t size;
    SOW_TRY(sow_read_file(arena, strcmp(path, "-") ? path : "/dev/stdin", text_max, &data, &size));
    *out = (sow_span){data, size};
    return SOW_OK;
}

sow_status cli_read_lines(sow_arena *arena, const char *path, cli_lines *out) {
    sow_span whole;
    int64_t room = 1, number = 0;
    SOW_TRY(cli_read_text(arena, path, &whole));
    for (size_t i = 0; i < whole.size; i++) room += whole.text[i] == '\n';
    SOW_TRY(SOW_NEW_RAW(arena, out->at, room));
    out->count = 0;
    for (const char *at = whole.text, *end = whole.text + whole.size; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        sow_span line = {at, (size_t)(stop - at)};
        if (line.size > 0 && line.text[line.size - 1] == '\r') line.size--;
        number++;
        at = stop + 1;
        if (is_json(path, line)) {
            if (line.size == 0) continue;
            SOW_TRY(json_text(arena, path, number, line, &line));
        }
        out->at[out->count++] = line;
    }
    return SOW_OK;
}

/* ---- models ---- */

sow_status cli_open_tokenizer(const sow_call *call, sow_tokenizer **out) {
    const char *own = sow_text(call, "tokenizer");
    return own ? sow_tokenizer_open(own, out) : sow_lm_tokenizer(sow_text(call, "model"), out);
}

unsigned cli_encode_flags(const sow_call *call) {
    return SOW_ENCODE_SPECIAL | (strcmp(sow_text(call, "invalid"), "replace") ? 0 : SOW_ENCODE_REPLACE);
}

static bool has_option(const sow_call *call, const char *name) {
    for (const sow_option *o = call->action->options; o->name; o++)
        if (!strcmp(o->name, name)) return true;
    return false;
}

static sow_status read_adapter(cli_lm *m) {
    const char *folder = has_option(m->call, "adapter") ? sow_text(m->call, "adapter") : NULL;
    return folder ? sow_adapter_read(folder, false, &m->adapter) : SOW_OK;
}

/* DoRA measures the base's rows: it needs them as numbers. */
static bool stays_in_file(const sow_adapter *a) {
    return !a || a->count == 0 || !a->layers[0].magnitude;
}

static sow_status put_adapter(cli_lm *m) {
    sow_sites sites;
    if (!m->adapter) return SOW_OK;
    SOW_TRY(sow_lm_sites(m->call->arena, m->lm, &sites));
    sow_status status = sow_adapter_bind(m->adapter, &sites);
    if (status != SOW_OK) return sow_fail_in(status, "%s", sow_text(m->call, "adapter"));
    return sow_adapter_attach(m->adapter, m->tape);
}

sow_status cli_lm_open(sow_call *call, cli_lm *m) {
    const char *path = sow_text(call, "model");
    *m = (cli_lm){.call = call};
    SOW_TRY(read_adapter(m));
    SOW_TRY(stays_in_file(m->adapter) ? sow_lm_open_frozen(path, &m->lm) : sow_lm_open(path, &m->lm));
    SOW_TRY(cli_open_tokenizer(call, &m->tokenizer));
    if (sow_tokenizer_size(m->tokenizer) > m->lm->config.vocabulary)
        sow_warn("the tokenizer has %lld tokens, the model %lld", (long long)sow_tokenizer_size(m->tokenizer),
                 (long long)m->lm->config.vocabulary);
    SOW_TRY(sow_tape_new(&m->tape));
    return put_adapter(m);
}

void cli_lm_close(cli_lm *m) {
    sow_tape_free(m->tape);
    sow_adapter_free(m->adapter);
    sow_lm_free(m->lm);
    sow_tokenizer_free(m->tokenizer);
}
