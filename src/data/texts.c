/* Texts to train on: samples become sequences with labels; the file is opened, the parts are taken. */
#include "data/texts.h"

#include <string.h>

#include "sow/log.h"
#include "sow/random.h"
#include "sow/text.h"

enum { LENGTH = 512, LENGTH_MAX = 1 << 24 };

/* ---- growing ---- */

static sow_status grow(sow_arena *arena, void *list, int64_t used, int64_t *room, int64_t wanted, size_t size) {
    void **pointer = list, *larger;
    if (wanted <= *room) return SOW_OK;
    int64_t to = *room < 512 ? 1024 : 2 * *room;
    if (to < wanted) to = wanted;
    larger = sow_arena_take_raw(arena, (size_t)to, size);
    if (!larger) return SOW_E_MEMORY;
    if (used > 0) memcpy(larger, *pointer, (size_t)used * size);
    *pointer = larger;
    *room = to;
    return SOW_OK;
}

static sow_status make_room(texts_builder *b, int64_t tokens) {
    int64_t used = b->count > 0 ? b->start[b->count] : 0, sequences = b->sequence_room, room = b->token_room;
    int64_t wanted = b->count + 2, same = sequences;
    SOW_TRY(grow(b->arena, &b->line, b->count, &same, wanted, sizeof *b->line));
    SOW_TRY(grow(b->arena, &b->start, b->count + (b->count > 0), &sequences, wanted, sizeof *b->start));
    b->sequence_room = sequences;
    same = room;
    SOW_TRY(grow(b->arena, &b->ids, used, &same, used + tokens, sizeof *b->ids));
    SOW_TRY(grow(b->arena, &b->labels, used, &room, used + tokens, sizeof *b->labels));
    b->token_room = room;
    if (b->count == 0) b->start[0] = 0;
    return SOW_OK;
}

/* ids[i] with label labels[i], `n` of them; left out where nothing counts. */
static sow_status add_sequence(texts_builder *b, int64_t at, const int32_t *ids, const int32_t *labels, int64_t n) {
    int64_t counted = 0;
    for (int64_t i = 0; i < n; i++) counted += labels[i] >= 0;
    if (counted == 0) {
        b->left_out++;
        return SOW_OK;
    }
    SOW_TRY(make_room(b, n));
    int64_t begin = b->start[b->count];
    memcpy(b->ids + begin, ids, (size_t)n * sizeof *ids);
    memcpy(b->labels + begin, labels, (size_t)n * sizeof *labels);
    b->line[b->count] = at;
    b->start[++b->count] = begin + n;
    return SOW_OK;
}

bool texts_is_full(const texts_builder *b) {
    return b->options->limit > 0 && b->samples >= b->options->limit;
}

/* ---- samples ---- */

/* mine[i]: token i counts as something to be predicted; NULL: all do. The first cannot be. */
static sow_status add_sample(texts_builder *b, int64_t at, const sow_encoding *e, const uint8_t *mine) {
    int32_t *labels;
    int64_t n = e->count < b->length ? e->count : b->length;
    if (b->options->loss_on_all) mine = NULL;
    b->samples++;
    b->cut += e->count > n;
    SOW_TRY(SOW_NEW_RAW(b->scratch, labels, n + 1));
    for (int64_t i = 0; i < n; i++) labels[i] = i + 1 < n && (!mine || mine[i + 1]) ? e->ids[i + 1] : -1;
    return add_sequence(b, at, e->ids, labels, n);
}

sow_status texts_add_chat(texts_builder *b, int64_t at, const sow_chat_message *messages, int64_t count) {
    sow_encoding e;
    uint8_t *mine;
    sow_mark mark = sow_arena_mark(b->scratch);
    if (!b->options->chat)
        return sow_fail(SOW_E_UNSUPPORTED, "chats, but no template for them; --chat-template NAME gives one");
    sow_status status = sow_chat_encode(b->options->chat, b->tokenizer, b->scratch, messages, count, false, &e, &mine);
    if (status == SOW_OK) status = add_sample(b, at, &e, mine);
    sow_arena_release(b->scratch, mark);
    return status;
}

static bool pairs_are_chats(const texts_builder *b) {
    return b->options->chat && strcmp(sow_chat_name(b->options->chat), "none");
}

const char *texts_layout(const texts_builder *b) {
    const char *name = pairs_are_chats(b) ? sow_chat_name(b->options->chat) : NULL;
    return name ? sow_arena_format(b->arena, ", as %s chats", name) : "";
}

/* The parts in a row and the end token; the first `quiet` parts do not count. */
static sow_status add_parts(texts_builder *b, int64_t at, const sow_text_part *parts, int64_t count, int64_t quiet) {
    sow_encoding e;
    int64_t ends[4];
    int32_t *ids, end = b->options->end;
    uint8_t *mine;
    SOW_TRY(sow_encode_parts(b->tokenizer, b->scratch, parts, count, SOW_ENCODE_SPECIAL, &e, ends));
    SOW_TRY(SOW_NEW_RAW(b->scratch, ids, e.count + 1));
    SOW_TRY(SOW_NEW(b->scratch, mine, e.count + 1));
    if (e.count > 0) memcpy(ids, e.ids, (size_t)e.count * sizeof *ids);
    bool ended = end < 0 || (e.count > 0 && ids[e.count - 1] == end); /* some tokenizers add it themselves */
    if (!ended) ids[e.count++] = end;
    e.ids = ids;
    for (int64_t i = quiet > 0 ? ends[quiet - 1] : 0; i < e.count; i++) mine[i] = 1;
    return add_sample(b, at, &e, mine);
}

static bool ends_in_space(sow_span text) {
    return text.size == 0 || strchr(" \t\r\n", text.text[text.size - 1]);
}

sow_status texts_add_pair(texts_builder *b, int64_t at, sow_span prompt, sow_span completion, bool joined) {
    sow_mark mark = sow_arena_mark(b->scratch);
    sow_status status;
    if (completion.size == 0) return sow_fail(SOW_E_FORMAT, "an empty completion");
    if (pairs_are_chats(b)) {
        sow_chat_message turns[2] = {{"user", prompt}, {"assistant", completion}};
        return texts_add_chat(b, at, turns, 2);
    }
    sow_text_part parts[2] = {{prompt, -1}, {completion, -1}};
    if (!joined && !ends_in_space(prompt)) {
        char *text = sow_arena_take_raw(b->scratch, prompt.size + 1, 1);
        if (!text) return SOW_E_MEMORY;
        memcpy(text, prompt.text, prompt.size);
        text[prompt.size] = '\n';
        parts[0].text = (sow_span){text, prompt.size + 1};
    }
    status = add_parts(b, at, parts, 2, 1);
    sow_arena_release(b->scratch, mark);
    return status;
}

sow_status texts_add_text(texts_builder *b, int64_t at, sow_span text) {
    sow_mark mark = sow_arena_mark(b->scratch);
    if (text.size == 0) return sow_fail(SOW_E_FORMAT, "an empty text");
    sow_status status = add_parts(b, at, &(sow_text_part){text, -1}, 1, 0);
    sow_arena_release(b->scratch, mark);
    return status;
}

/* ---- one document ---- */

bool texts_next_line(sow_span *rest, sow_span *line) {
    if (rest->size == 0) return false;
    const char *stop = memchr(rest->text, '\n', rest->size);
    size_t n = stop ? (size_t)(stop - rest->text) : rest->size, taken = n + (stop != NULL);
    *line = (sow_span){rest->text, n > 0 && rest->text[n - 1] == '\r' ? n - 1 : n};
    *rest = (sow_span){rest->text + taken, rest->size - taken};
    return true;
}

/* The first line that the tokenizer refuses: the whole document's message has only a byte. */
static sow_status blame_line(texts_builder *b, sow_span text, sow_status status) {
    sow_span line;
    for (int64_t number = 1; status == SOW_E_FORMAT && texts_next_line(&text, &line); number++) {
        sow_encoding e;
        sow_mark mark = sow_arena_mark(b->scratch);
        sow_status found = sow_encode(b->tokenizer, b->scratch, line.text, line.size, 0, &e);
        sow_arena_release(b->scratch, mark);
        if (found != SOW_OK) return sow_fail_in(found, "line %lld", (long long)number);
    }
    return status;
}

sow_status texts_add_document(texts_builder *b, sow_span text) {
    sow_encoding e;
    int64_t *ends, limit = b->options->limit;
    sow_status status;
    SOW_TRY(SOW_NEW(b->scratch, ends, 1));
    b->format = "plain text";
    status = sow_encode_parts(b->tokenizer, b->scratch, &(sow_text_part){text, -1}, 1, SOW_ENCODE_SPECIAL, &e, ends);
    if (status != SOW_OK) return blame_line(b, text, status);
    b->samples += e.count == 1;
    for (int64_t at = 0; at + 1 < e.count && (limit == 0 || b->count < limit); at += b->length) {
        int64_t n = e.count - 1 - at < b->length ? e.count - 1 - at : b->length;
        b->samples++;
        SOW_TRY(add_sequence(b, 1, e.ids + at, e.ids + at + 1, n)); /* each row's label is the token behind it */
    }
    return SOW_OK;
}

/* ---- a file ---- */

static bool has_ending(const char *path, const char *const *ends) {
    for (; *ends; ends++)
        if (sow_ends_with_any_case(path, *ends)) return true;
    return false;
}

/* By its name, or an object on its first line. */
static bool is_json_lines(const char *path, sow_span file) {
    static const char *const ends[] = {".jsonl", ".ndjson", ".json", NULL};
    size_t i = 0;
    while (i < file.size && strchr(" \t\r\n", file.text[i])) i++;
    return has_ending(path, ends) || (i + 1 < file.size && file.text[i] == '{' && strchr("\"} \t", file.text[i + 1]));
}

static sow_status read_file(texts_builder *b, sow_span file) {
    static const char *const tables[] = {".tsv", ".tab", NULL};
    bool named = b->options->prompt_field || b->options->completion_field;
    if (file.size >= 3 && !memcmp(file.text, "\xEF\xBB\xBF", 3)) file.text += 3, file.size -= 3; /* byte order mark */
    if (is_json_lines(b->path, file)) return texts_read_json(b, file);
    if (has_ending(b->path, tables)) return texts_read_tsv(b, file);
    if (named) return sow_fail(SOW_E_ARGUMENT, "fields are named, but this is plain text, not JSON lines or .tsv");
    return texts_add_document(b, file);
}

static sow_status check(const texts_builder *b) {
    const sow_texts_options *o = b->options;
    if (b->samples == 0) return sow_fail(SOW_E_FORMAT, "no text in it");
    if (b->count == 0 && b->left_out > 0)
        return sow_fail(SOW_E_FORMAT,
                        "nothing to learn: within %lld tokens none of %lld samples has a token that counts; a longer "
                        "length%s may help",
                        (long long)b->length, (long long)b->samples,
                        o->loss_on_all ? "" : ", or the loss on all tokens,");
    return b->count > 0 ? SOW_OK : sow_fail(SOW_E_FORMAT, "nothing to learn: a single token");
}

/* Counts over the finished arrays. */
static void measure(sow_texts *t) {
    for (int64_t i = 0; i < t->count; i++)
        if (t->start[i + 1] - t->start[i] > t->longest) t->longest = t->start[i + 1] - t->start[i];
    for (int64_t i = 0; i < t->start[t->count]; i++) t->counted += t->labels[i] >= 0;
}

static sow_status new_texts(sow_texts **out) {
    sow_arena *arena;
    SOW_TRY(SOW_OWN(arena, *out));
    (*out)->arena = arena;
    return SOW_OK;
}

static sow_status fill(sow_texts *t, texts_builder *b) {
    sow_map map;
    b->arena = t->arena;
    SOW_TRY(sow_map_open(b->path, &map));
    sow_sha256(map.data ? (const char *)map.data : "", map.size, t->sha256);
    sow_status status = sow_arena_new(&b->scratch);
    if (status == SOW_OK) status = read_file(b, (sow_span){(const char *)map.data, map.size});
    if (status == SOW_OK) status = check(b);
    if (status != SOW_OK) sow_fail_in(status, "%s", b->path);
    sow_arena_free(b->scratch);
    sow_map_close(&map);
    SOW_TRY(status);
    t->name = sow_arena_copy(t->arena, sow_path_name(b->path));
    t->format = sow_arena_copy(t->arena, b->format);
    t->ids = b->ids, t->labels = b->labels, t->start = b->start, t->line = b->line, t->count = b->count;
    t->cut = b->cut, t->left_out = b->left_out;
    measure(t);
    return t->name && t->format ? SOW_OK : SOW_E_MEMORY;
}

sow_status sow_texts_open(const char *path, const sow_texts_options *options, sow_tokenizer *tokenizer,
                          sow_texts **out) {
    texts_builder b = {.options = options,
                       .tokenizer = tokenizer,
                       .path = path,
                       .length = options->length > 0 ? options->length : LENGTH};
    sow_texts *t;
    if (b.length < 2 || b.length > LENGTH_MAX)
        return sow_fail(SOW_E_RANGE, "sequences of %lld tokens, expected 2 to %d", (long long)b.length, LENGTH_MAX);
    SOW_TRY(new_texts(&t));
    sow_status status = fill(t, &b);
    if (status == SOW_OK) *out = t;
    else sow_texts_free(t);
    return status;
}

void sow_texts_free(sow_texts *texts) {
    if (texts) sow_arena_free(texts->arena);
}

/* ---- parts ---- */

static sow_status copy_some(const sow_texts *from, const int64_t *index, int64_t count, sow_texts *to) {
    int64_t tokens = 0, *start, *line;
    int32_t *ids, *labels;
    for (int64_t i = 0; i < count; i++) tokens += from->start[index[i] + 1] - from->start[index[i]];
    SOW_TRY(SOW_NEW(to->arena, start, count + 1));
    SOW_TRY(SOW_NEW(to->arena, line, count));
    SOW_TRY(SOW_NEW_RAW(to->arena, ids, tokens));
    SOW_TRY(SOW_NEW_RAW(to->arena, labels, tokens));
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = from->start[index[i]], n = from->start[index[i] + 1] - begin;
        memcpy(ids + start[i], from->ids + begin, (size_t)n * sizeof *ids);
        memcpy(labels + start[i], from->labels + begin, (size_t)n * sizeof *labels);
        line[i] = from->line[index[i]];
        start[i + 1] = start[i] + n;
    }
    to->name = sow_arena_copy(to->arena, from->name);
    to->format = sow_arena_copy(to->arena, from->format);
    to->ids = ids, to->labels = labels, to->start = start, to->line = line, to->count = count;
    memcpy(to->sha256, from->sha256, sizeof to->sha256);
    measure(to);
    return to->name && to->format ? SOW_OK : SOW_E_MEMORY;
}

sow_status sow_texts_take(const sow_texts *texts, const int64_t *index, int64_t count, sow_texts **out) {
    sow_texts *t;
    if (count < 1) return sow_fail(SOW_E_ARGUMENT, "%s: no sequence is taken", texts->name);
    SOW_TRY(new_texts(&t));
    sow_status status = copy_some(texts, index, count, t);
    if (status == SOW_OK) *out = t;
    else sow_texts_free(t);
    return status;
}

static sow_status split(const sow_texts *texts, sow_arena *arena, int64_t held_out, uint64_t seed, sow_texts **kept,
                        sow_texts **held) {
    int64_t *order, *index, n = 0;
    uint8_t *out;
    sow_rng rng;
    SOW_TRY(SOW_NEW(arena, order, texts->count));
    SOW_TRY(SOW_NEW(arena, index, texts->count));
    SOW_TRY(SOW_NEW(arena, out, texts->count));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_at(&rng, "split", "");
    sow_rng_permutation(&rng, order, texts->count);
    for (int64_t i = 0; i < held_out; i++) out[order[i]] = 1;
    for (int64_t i = 0; i < texts->count; i++)
        if (!out[i]) index[n++] = i;
    for (int64_t i = 0; i < texts->count; i++)
        if (out[i]) index[n++] = i;
    SOW_TRY(sow_texts_take(texts, index, texts->count - held_out, kept));
    sow_status status = sow_texts_take(texts, index + texts->count - held_out, held_out, held);
    if (status != SOW_OK) sow_texts_free(*kept);
    return status;
}

sow_status sow_texts_split(const sow_texts *texts, int64_t held_out, uint64_t seed, sow_texts **kept,
                           sow_texts **held) {
    sow_arena *arena;
    if (held_out < 1 || held_out >= texts->count)
        return sow_fail(SOW_E_RANGE, "%s: %lld of %lld sequences for validation, expected at least one on both sides",
                        texts->name, (long long)held_out, (long long)texts->count);
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = split(texts, arena, held_out, seed, kept, held);
    sow_arena_free(arena);
    return status;
}
