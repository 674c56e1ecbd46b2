/* Chats as tokens: a fixed table of templates, known by their SHA-256. No template language is run. */
#include "sow/chat.h"

#include <string.h>

#include "formats/json.h"
#include "formats/tokenizer/tok.h"
#include "sow/file.h"
#include "sow/text.h"

enum { KNOWN_MAX = 3, TEMPLATE_BYTES = 64 << 20, CONFIG_DEPTH = 64 };

/* A message is: open, role, close, gap, content, end, after; open, close and end are tokens. */
struct sow_chat {
    const char *name;
    const char *begin; /* of the whole text; NULL: what the tokenizer adds */
    const char *open, *before_role, *close, *gap, *end, *after;
    const char *assistant; /* what that role is called */
    const char *system;    /* said first where a chat begins without; NULL: nothing */
    bool trim;             /* white space around contents goes */
    bool fold_system;      /* the system's words begin the first message of the user, and turns alternate */
    const char *known[KNOWN_MAX];
};

#define CHATML .open = "<|im_start|>", .gap = "\n", .end = "<|im_end|>", .after = "\n", .assistant = "assistant"

/* `known`: SHA-256 of published templates, "\n" written out as a line's end, white space at the end taken off. */
static const struct sow_chat table[] = {
    {.name = "chatml",
     CHATML,
     .known = {"153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3",
               "58c1a1f04baa7adaeaba1f90267c3d57d9396f0c1f0129bdde9e76d3c6784af7"}},
    {.name = "llama3",
     .begin = "<|begin_of_text|>",
     .open = "<|start_header_id|>",
     .close = "<|end_header_id|>",
     .gap = "\n\n",
     .end = "<|eot_id|>",
     .after = "",
     .assistant = "assistant",
     .trim = true,
     .known = {"b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2",
               "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122",
               "47d5a7b4840c2ff2dfa0828b2465a654bef3a6cdfe032e5e105f395e4ceee812"}},
    {.name = "gemma",
     .begin = "<bos>",
     .open = "<start_of_turn>",
     .gap = "\n",
     .end = "<end_of_turn>",
     .after = "\n",
     .assistant = "model",
     .trim = true,
     .fold_system = true,
     .known = {"ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6",
               "8d9e3a3c114fb2053ec500184677af4f7e5f8ec2582443cd535834e68b3ade29"}},
    {.name = "zephyr",
     .before_role = "<|",
     .gap = "|>\n",
     .end = "</s>",
     .after = "\n",
     .assistant = "assistant",
     .known = {"66291cf0045c2425a3a667cf3cbb7af2b11f09e025c02f97245323ab79119362"}},
    {.name = "smollm2",
     CHATML,
     .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
     .known = {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"}},
    {.name = "none", .after = "\n"},
};
enum { TEMPLATES = sizeof table / sizeof *table };

#define OFFER "--chat-template chatml|llama3|gemma|zephyr|smollm2|none chooses one"

/* ---- which template ---- */

/* The template's text: "\n" in quotes is the same as a line's end there, and published copies differ in it. */
static void fingerprint(char *text, size_t size, char hex[65]) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        bool escaped = text[i] == '\\' && i + 1 < size && text[i + 1] == 'n';
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n') continue;
        text[n++] = escaped ? '\n' : text[i];
        i += escaped;
    }
    while (n > 0 && strchr(" \t\r\n", text[n - 1])) n--;
    sow_sha256(text, n, hex);
}

static sow_status recognise(const char *place, char *text, size_t size, const sow_chat **out) {
    char hex[65];
    fingerprint(text, size, hex);
    for (int i = 0; i < TEMPLATES; i++)
        for (int k = 0; k < KNOWN_MAX && table[i].known[k]; k++)
            if (!strcmp(table[i].known[k], hex)) {
                *out = &table[i];
                return SOW_OK;
            }
    return sow_fail(SOW_E_UNSUPPORTED, "%s: a chat template that Sow does not know (SHA-256 %.12s...); " OFFER, place,
                    hex);
}

/* "chat_template" of a tokenizer_config.json: a text, or a list of named ones, of which "default" is meant. */
static sow_status template_of_config(sow_arena *arena, const char *path, char **text, size_t *size) {
    char *data;
    size_t bytes, i;
    json_t *json, *item;
    SOW_TRY(sow_read_file(arena, path, TEMPLATE_BYTES, &data, &bytes));
    SOW_TRY(sow_json_parse(path, data, bytes, (sow_json_limits){.depth = CONFIG_DEPTH}, &json));
    const json_t *found = json_object_get(json, "chat_template");
    json_array_foreach(found, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && !strcmp(name, "default")) {
            found = json_object_get(item, "template");
            break;
        }
    }
    sow_status status = SOW_OK;
    *size = json_string_length(found);
    *text = NULL;
    if (json_is_string(found) && !(*text = sow_arena_copy(arena, json_string_value(found)))) status = SOW_E_MEMORY;
    json_decref(json);
    return status;
}

static sow_status template_of_gguf(sow_arena *arena, const char *path, char **text, size_t *size) {
    sow_gguf *file;
    sow_span found = {0};
    sow_status status = SOW_OK;
    SOW_TRY(sow_gguf_open(path, &file));
    *text = NULL;
    if (sow_gguf_text(file, "tokenizer.chat_template", &found, &status) && status == SOW_OK) {
        if (SOW_NEW_RAW(arena, *text, found.size + 1) != SOW_OK) status = SOW_E_MEMORY;
        else memcpy(*text, found.text, *size = found.size);
    }
    sow_gguf_close(file);
    return status;
}

/* The file of a folder that holds the template, NULL: none. */
static sow_status locate(sow_arena *arena, const char *path, const char **out) {
    static const char *const places[] = {"chat_template.jinja", "tokenizer_config.json"};
    *out = path;
    if (!sow_is_folder(path)) return SOW_OK;
    for (int i = 0; i < 2; i++) {
        if (!(*out = sow_path_join(arena, path, places[i]))) return SOW_E_MEMORY;
        if (sow_path_exists(*out)) return SOW_OK;
    }
    return sow_gguf_in_folder(arena, path, out);
}

static sow_status find_in(sow_arena *arena, const char *path, const sow_chat **out) {
    const char *place;
    char *text = NULL;
    size_t size = 0;
    if (!path || !sow_path_exists(path)) return sow_fail(SOW_E_NOT_FOUND, "%s: no such model", path ? path : "(none)");
    SOW_TRY(locate(arena, path, &place));
    if (place && sow_ends_with(place, ".jinja")) SOW_TRY(sow_read_file(arena, place, TEMPLATE_BYTES, &text, &size));
    else if (place && sow_ends_with(place, ".json")) SOW_TRY(template_of_config(arena, place, &text, &size));
    else if (place) SOW_TRY(template_of_gguf(arena, place, &text, &size));
    if (!text) return sow_fail(SOW_E_UNSUPPORTED, "%s: no chat template in it; " OFFER, path);
    return recognise(place, text, size, out);
}

sow_status sow_chat_find(const char *path, const char *name, const sow_chat **out) {
    sow_arena *arena;
    for (int i = 0; i < TEMPLATES && name; i++)
        if (!strcmp(table[i].name, name)) {
            *out = &table[i];
            return SOW_OK;
        }
    if (name) return sow_fail(SOW_E_ARGUMENT, "no chat template is called '%s'; " OFFER, name);
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = find_in(arena, path, out);
    sow_arena_free(arena);
    return status;
}

const char *sow_chat_name(const sow_chat *chat) {
    return chat->name;
}

int32_t sow_chat_end(const sow_chat *chat, const sow_tokenizer *t) {
    return chat->end ? sow_token_id(t, chat->end, strlen(chat->end)) : -1;
}

/* ---- a chat under construction ---- */

/* Texts between two tokens are one part, as the reference sees them: roles and contents may merge with line ends. */
typedef struct chat_text {
    const sow_chat *chat;
    sow_tokenizer *tokenizer;
    sow_arena *arena;
    char *text;
    size_t used;
    sow_text_part *parts;
    size_t *own; /* a part's bytes before the assistant's own words; SIZE_MAX: none of its */
    int64_t count;
    bool cut; /* what comes next begins a part */
} chat_text;

static void add_part(chat_text *c, int32_t token) {
    c->own[c->count] = SIZE_MAX;
    c->parts[c->count++] = (sow_text_part){.text = {c->text + c->used, 0}, .token = token};
    c->cut = token >= 0;
}

static sow_status put_token(chat_text *c, const char *token) {
    if (!token) return SOW_OK;
    int32_t id = sow_token_id(c->tokenizer, token, strlen(token));
    if (id < 0)
        return sow_fail(SOW_E_UNSUPPORTED, "chat template %s: the tokenizer has no token %s; " OFFER, c->chat->name,
                        token);
    add_part(c, id);
    return SOW_OK;
}

static void put_text(chat_text *c, const char *text, size_t size) {
    if (size == 0) return;
    if (c->count == 0 || c->cut) add_part(c, -1);
    memcpy(c->text + c->used, text, size);
    c->used += size;
    c->parts[c->count - 1].text.size += size;
}

static void put_word(chat_text *c, const char *text) {
    if (text) put_text(c, text, strlen(text));
}

static sow_status put_header(chat_text *c, const char *role) {
    if (!c->chat->assistant) return SOW_OK; /* none */
    SOW_TRY(put_token(c, c->chat->open));
    put_word(c, c->chat->before_role);
    put_word(c, strcmp(role, "assistant") ? role : c->chat->assistant);
    SOW_TRY(put_token(c, c->chat->close));
    put_word(c, c->chat->gap);
    return SOW_OK;
}

/* Python's str.strip: Unicode's white space and the four separators of ASCII. */
static bool is_stripped(int32_t c) {
    return tok_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

static sow_span trimmed(sow_span text) {
    tok_piece p = {.bytes = (const uint8_t *)text.text, .size = (int64_t)text.size};
    int64_t first = 0, last = p.size, n;
    while (first < last && is_stripped(tok_character(&p, first, &n))) first += n;
    while (last > first) {
        int64_t at = last - 1;
        while (at > first && (p.bytes[at] & 0xC0) == 0x80) at--;
        if (!is_stripped(tok_character(&p, at, &n))) break;
        last = at;
    }
    return (sow_span){text.text + first, (size_t)(last - first)};
}

/* The assistant's words begin here. */
static void mark_own(chat_text *c) {
    if (c->count == 0 || c->cut) add_part(c, -1);
    c->own[c->count - 1] = c->parts[c->count - 1].text.size;
}

static sow_status put_message(chat_text *c, const sow_chat_message *m, sow_span prefix) {
    bool assistant = !strcmp(m->role, "assistant"), plain = !c->chat->end;
    if (plain && c->count > 0) put_word(c, c->chat->after);
    SOW_TRY(put_header(c, m->role));
    put_text(c, prefix.text, prefix.size);
    if (prefix.size > 0) put_word(c, "\n\n");
    if (plain && assistant) c->cut = true;
    if (assistant) mark_own(c);
    sow_span content = c->chat->trim ? trimmed(m->content) : m->content;
    put_text(c, content.text, content.size);
    if (plain) c->cut = c->cut || assistant;
    else {
        SOW_TRY(put_token(c, c->chat->end));
        put_word(c, c->chat->after);
    }
    return SOW_OK;
}

static sow_status check_roles(const sow_chat *chat, const sow_chat_message *messages, int64_t count) {
    int64_t first = count > 0 && !strcmp(messages[0].role, "system"), turn = 0;
    if (count == 0) return sow_fail(SOW_E_FORMAT, "a chat without messages");
    for (int64_t i = 0; i < count; i++) {
        const char *role = messages[i].role;
        bool system = !strcmp(role, "system"), user = !strcmp(role, "user");
        if (!system && !user && strcmp(role, "assistant"))
            return sow_fail(SOW_E_FORMAT, "message %lld: role '%s', expected system, user or assistant",
                            (long long)i + 1, role);
        if (!chat->fold_system || i < first) continue;
        if (system || user != (turn++ % 2 == 0))
            return sow_fail(SOW_E_FORMAT, "message %lld: role '%s', but %s needs turns of user, assistant, user ...",
                            (long long)i + 1, role, chat->name);
    }
    if (chat->fold_system && first == count)
        return sow_fail(SOW_E_FORMAT, "a chat of a system message alone; %s needs one of the user", chat->name);
    return SOW_OK;
}

/* Room for every message: its content and up to 64 bytes around it, five parts. */
static sow_status make_room(chat_text *c, const sow_chat_message *messages, int64_t count) {
    int64_t size = 256, parts;
    for (int64_t i = 0; i < count; i++) {
        SOW_TRY(sow_add_sizes(size, 64, &size));
        SOW_TRY(sow_add_sizes(size, (int64_t)messages[i].content.size, &size));
    }
    SOW_TRY(sow_multiply(count + 3, 6, &parts));
    SOW_TRY(SOW_NEW_RAW(c->arena, c->text, size));
    SOW_TRY(SOW_NEW(c->arena, c->parts, parts));
    return SOW_NEW(c->arena, c->own, parts);
}

static sow_status build(chat_text *c, const sow_chat_message *messages, int64_t count, bool open_reply) {
    const sow_chat *chat = c->chat;
    sow_span prefix = {0};
    bool system = !strcmp(messages[0].role, "system");
    if (chat->begin) SOW_TRY(put_token(c, chat->begin));
    for (int i = 0; i < c->tokenizer->before_count && !chat->begin; i++) add_part(c, c->tokenizer->before[i]);
    if (chat->system && !system) {
        sow_chat_message said = {"system", {chat->system, strlen(chat->system)}};
        SOW_TRY(put_message(c, &said, prefix));
    }
    if (chat->fold_system && system) prefix = messages[0].content;
    for (int64_t i = chat->fold_system && system; i < count; i++) {
        SOW_TRY(put_message(c, &messages[i], prefix));
        prefix = (sow_span){0};
    }
    return open_reply ? put_header(c, "assistant") : SOW_OK;
}

/* ---- whose tokens ---- */

/* How many of a part's ids come before the assistant's words. Where header and words merged into one token, it is not the
 * assistant's: nobody who has read the header would write it. Headers are ASCII: bytes are characters. */
static sow_status before_own(chat_text *c, int64_t part, const int32_t *ids, int64_t count, int64_t *out) {
    int64_t ends[2], n, skip = part > 0; /* a token before it: the part does not begin the text */
    sow_text_part alone[2] = {{.token = 0}, c->parts[part]}, *from = alone + 1 - skip;
    sow_encoding e;
    alone[1].text.size = c->own[part];
    SOW_TRY(sow_encode_parts(c->tokenizer, c->arena, from, 1 + skip, 0, &e, ends));
    n = e.count - skip;
    if (n == 0 || (n <= count && !memcmp(e.ids + skip, ids, (size_t)n * sizeof *ids))) {
        *out = n; /* the usual case, and cached */
        return SOW_OK;
    }
    alone[1].text.size = c->parts[part].text.size;
    SOW_TRY(sow_encode_parts(c->tokenizer, c->arena, from, 1 + skip, SOW_ENCODE_OFFSETS, &e, ends));
    for (n = skip; n < e.count && e.first[n] < (int64_t)c->own[part]; n++) continue;
    *out = n - skip;
    return SOW_OK;
}

static sow_status mark_mine(chat_text *c, const sow_encoding *e, const int64_t *ends, uint8_t *mine) {
    for (int64_t p = 0; p < c->count; p++) {
        int64_t begin = p > 0 ? ends[p - 1] : 0, skipped;
        if (c->own[p] == SIZE_MAX) continue;
        SOW_TRY(before_own(c, p, e->ids + begin, ends[p] - begin, &skipped));
        bool ended = p + 1 < c->count && c->parts[p + 1].token >= 0;
        for (int64_t i = begin + skipped; i < ends[p] + ended; i++) mine[i] = 1;
    }
    return SOW_OK;
}

static sow_status encode(chat_text *c, sow_arena *arena, sow_encoding *out, uint8_t **mine) {
    int64_t *ends;
    SOW_TRY(SOW_NEW(c->arena, ends, c->count + 1));
    SOW_TRY(sow_encode_parts(c->tokenizer, arena, c->parts, c->count, 0, out, ends));
    if (!mine) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, *mine, out->count + 1));
    return mark_mine(c, out, ends, *mine);
}

sow_status sow_chat_encode(const sow_chat *chat, sow_tokenizer *tokenizer, sow_arena *arena,
                           const sow_chat_message *messages, int64_t count, bool open_reply, sow_encoding *out,
                           uint8_t **mine) {
    chat_text c = {.chat = chat, .tokenizer = tokenizer};
    SOW_TRY(check_roles(chat, messages, count));
    SOW_TRY(sow_arena_new(&c.arena));
    sow_status status = make_room(&c, messages, count);
    if (status == SOW_OK) status = build(&c, messages, count, open_reply);
    if (status == SOW_OK) status = encode(&c, arena, out, mine);
    sow_arena_free(c.arena);
    return status;
}
