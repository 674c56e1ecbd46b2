/* Pre-tokenizers of tokenizer.json: where a text is cut before a model sees it. */
#include <string.h>

#include "formats/tokenizer/read.h"

/* ---- matches become pieces ---- */

typedef struct splitter {
    sow_arena *arena;
    const tok_piece *in;
    tok_pieces *out;
    int64_t start; /* of the pieces of this call */
    int behaviour;
    bool invert, previous;
} splitter;

static sow_status add_range(splitter *s, int64_t first, int64_t last) {
    return last > first ? tok_add(s->arena, s->out, tok_slice(s->in, first, last)) : SOW_OK;
}

static tok_piece *latest(splitter *s) {
    return s->out->count > s->start ? &s->out->at[s->out->count - 1] : NULL;
}

/* One range, a match or what lies between matches, in order. WITH_NEXT: a match begins the piece of what follows it, unless
 * that is another match; so what is no match joins a match right before it. */
static sow_status add_segment(splitter *s, int64_t first, int64_t last, bool match) {
    if (last == first) return SOW_OK;
    tok_piece *before = latest(s);
    match = match != s->invert;
    bool previous = s->previous;
    s->previous = match;
    if (s->behaviour == TOK_REMOVED && match) return SOW_OK;
    bool joins = (s->behaviour == TOK_WITH_PREVIOUS && match && !previous) ||
                 (s->behaviour == TOK_WITH_NEXT && !match && previous) ||
                 (s->behaviour == TOK_CONTIGUOUS && match == previous);
    if (joins && before) {
        before->size += last - first;
        return SOW_OK;
    }
    return add_range(s, first, last);
}

/* Characters of a class as matches, each for itself or runs of them together. */
static sow_status split_class(sow_arena *arena, const tok_piece *in, tok_pieces *out, bool (*is)(int32_t),
                              int behaviour, bool invert) {
    splitter s = {arena, in, out, out->count, behaviour, invert, false};
    int64_t gap = 0, n;
    for (int64_t i = 0; i < in->size; i += n) {
        if (!is(tok_character(in, i, &n))) continue;
        SOW_TRY(add_segment(&s, gap, i, false));
        SOW_TRY(add_segment(&s, i, i + n, true));
        gap = i + n;
    }
    return gap < in->size ? add_segment(&s, gap, in->size, false) : SOW_OK;
}

static sow_status split_pattern(const tok_step *step, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    splitter s = {arena, in, out, out->count, step->behaviour, step->invert, false};
    int64_t gap = 0, at = 0, first, last, n;
    while (at < in->size && tok_match(step, in, at, &first, &last)) {
        if (first > gap) SOW_TRY(add_segment(&s, gap, first, false));
        if (last > first) SOW_TRY(add_segment(&s, first, last, true));
        gap = last > first ? last : first;
        at = last;
        if (last == first && at < in->size) tok_character(in, at, &n), at += n;
    }
    return gap < in->size ? add_segment(&s, gap, in->size, false) : SOW_OK;
}

/* ---- scanners: patterns that are known ---- */

static sow_status split_scanned(const tok_step *s, sow_arena *arena, const tok_piece *p, tok_pieces *out) {
    for (int64_t at = 0, end; at < p->size; at = end) {
        end = tok_scan_word(s->scan, p, &at);
        if (end > at) SOW_TRY(tok_add(arena, out, tok_slice(p, at, end)));
    }
    return SOW_OK;
}

/* A pattern each match of which is a piece: by its scanner, if it has one. */
static bool is_scanned(const char *pattern, tok_step *s) {
    if (s->behaviour != TOK_ISOLATED || s->invert || !pattern) return false;
    s->scan = tok_scan_of_pattern(pattern);
    if (s->scan) s->split = split_scanned;
    return s->scan;
}

/* ---- byte level ---- */

static sow_status split_byte_level(const tok_step *s, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    tok_piece p = *in;
    if (s->flag && p.size > 0 && p.bytes[0] != ' ') {
        tok_text text = {.arena = arena, .offsets = in->from != NULL};
        SOW_TRY(tok_put_bytes(&text, " ", 1, in->from ? in->from[0] : 0, in->from ? in->from[0] : 0));
        for (int64_t i = 0; i < in->size; i++)
            SOW_TRY(tok_put_bytes(&text, in->bytes + i, 1, in->from ? in->from[i] : 0, in->to ? in->to[i] : 0));
        p = tok_finish(&text, in);
    }
    if (!s->flag2) return p.size > 0 ? tok_add(arena, out, p) : SOW_OK;
    return split_scanned(&(tok_step){.scan = TOK_SCAN_GPT2}, arena, &p, out);
}

/* prefix: a space is put before every text; pattern: GPT-2's. */
static tok_step byte_level(bool prefix, bool pattern) {
    return (tok_step){.split = split_byte_level,
                      .flag = prefix,
                      .flag2 = pattern,
                      .no_step = !prefix && !pattern,
                      .scan = !prefix && pattern ? TOK_SCAN_GPT2 : TOK_SCAN_NONE};
}

/* ---- the others ---- */

static sow_status split_digits(const tok_step *s, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    return split_class(arena, in, out, tok_is_number, s->flag ? TOK_ISOLATED : TOK_CONTIGUOUS, false);
}

static sow_status split_punctuation(const tok_step *s, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    return split_class(arena, in, out, tok_is_punctuation, s->behaviour, false);
}

static sow_status split_spaces(const tok_step *s, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    (void)s;
    return split_class(arena, in, out, tok_is_space, TOK_REMOVED, false);
}

static bool is_mark_of_speech(int32_t c) {
    return !tok_is_word(c) && !tok_is_space(c);
}

/* \w+|[^\w\s]+ */
static sow_status split_words(const tok_step *s, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    tok_pieces words = {0};
    SOW_TRY(split_spaces(s, arena, in, &words));
    for (int64_t i = 0; i < words.count; i++)
        SOW_TRY(split_class(arena, &words.at[i], out, is_mark_of_speech, TOK_CONTIGUOUS, false));
    return SOW_OK;
}

static sow_status split_metaspace(const tok_step *s, sow_arena *arena, const tok_piece *in, tok_pieces *out) {
    static const char mark[] = "\xE2\x96\x81";
    const char *with = s->text.text ? s->text.text : mark;
    int64_t size = s->text.text ? (int64_t)s->text.size : 3;
    tok_text text = {.arena = arena, .offsets = in->from != NULL};
    bool begins = in->size > 0 && (in->bytes[0] == ' ' || (in->size >= size && !memcmp(in->bytes, with, (size_t)size)));
    bool prepend = in->size > 0 && !begins && (s->kind == TOK_ALWAYS || (s->kind == TOK_FIRST && in->first));
    if (prepend) SOW_TRY(tok_put_bytes(&text, with, size, in->from ? in->from[0] : 0, in->from ? in->from[0] : 0));
    for (int64_t i = 0; i < in->size; i++) {
        bool space = in->bytes[i] == ' ';
        SOW_TRY(tok_put_bytes(&text, space ? (const void *)with : in->bytes + i, space ? size : 1,
                              in->from ? in->from[i] : 0, in->to ? in->to[i] : 0));
    }
    if (text.size == 0) return SOW_OK;
    tok_piece p = tok_finish(&text, in);
    tok_step pattern = {.text = {with, (size_t)size}, .behaviour = TOK_WITH_NEXT};
    return s->flag ? split_pattern(&pattern, arena, &p, out) : tok_add(arena, out, p);
}

/* ---- reading ---- */

static sow_status read_behaviour(const json_t *json, tok_step *s, int initial) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = json_string_value(json_object_get(json, "behavior"));
    s->behaviour = initial;
    for (int i = 0; name && i < 5; i++)
        if (!strcmp(name, names[i])) {
            s->behaviour = i;
            return SOW_OK;
        }
    return name || initial < 0 ? sow_fail(SOW_E_FORMAT, "pre_tokenizer: behavior: found %.40s", name ? name : "nothing")
                               : SOW_OK;
}

static sow_status read_metaspace(sow_arena *arena, const json_t *json, tok_step *s) {
    const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
    s->kind = tok_flag(json, "add_prefix_space", true) ? TOK_ALWAYS : TOK_NEVER;
    if (scheme) s->kind = !strcmp(scheme, "always") ? TOK_ALWAYS : !strcmp(scheme, "first") ? TOK_FIRST : TOK_NEVER;
    s->flag = tok_flag(json, "split", true);
    s->split = split_metaspace;
    return json_object_get(json, "replacement") ? tok_string(arena, json, "replacement", &s->text) : SOW_OK;
}

static sow_status read_one(sow_arena *arena, const char *type, const json_t *json, tok_step *s) {
    if (!strcmp(type, "ByteLevel")) {
        *s = byte_level(tok_flag(json, "add_prefix_space", true), tok_flag(json, "use_regex", true));
    } else if (!strcmp(type, "Digits")) {
        s->flag = s->each_number = tok_flag(json, "individual_digits", false);
        s->split = split_digits;
    } else if (!strcmp(type, "Split")) {
        s->invert = tok_flag(json, "invert", false);
        s->split = split_pattern;
        SOW_TRY(read_behaviour(json, s, -1));
        const json_t *pattern = json_object_get(json, "pattern");
        return is_scanned(json_string_value(json_object_get(pattern, "Regex")), s)
                   ? SOW_OK
                   : tok_read_pattern(arena, pattern, s);
    } else if (!strcmp(type, "Metaspace")) return read_metaspace(arena, json, s);
    else if (!strcmp(type, "Punctuation")) {
        s->split = split_punctuation;
        return read_behaviour(json, s, TOK_ISOLATED);
    } else if (!strcmp(type, "Whitespace")) s->split = split_words;
    else if (!strcmp(type, "WhitespaceSplit")) s->split = split_spaces;
    else if (!strcmp(type, "BertPreTokenizer")) s->split = split_scanned, s->scan = TOK_SCAN_BERT;
    else return sow_fail(SOW_E_UNSUPPORTED, "pre_tokenizer %.60s is not supported", type);
    return SOW_OK;
}

sow_status tok_read_splitter(sow_arena *arena, const json_t *json, tok_step **list) {
    return tok_read_parts(arena, json, "pretokenizers", "pre_tokenizer", read_one, list);
}

/* ---- steps that GGUF files name ---- */

static sow_status append(sow_arena *arena, tok_step step, tok_step **list) {
    tok_step *s = tok_append(arena, list);
    if (!s) return SOW_E_MEMORY;
    *s = step;
    return SOW_OK;
}

sow_status tok_add_bert_splitter(sow_arena *arena, tok_step **list) {
    return append(arena, (tok_step){.split = split_scanned, .scan = TOK_SCAN_BERT}, list);
}

sow_status tok_add_byte_level(sow_arena *arena, bool prefix_space, bool regex, tok_step **list) {
    return append(arena, byte_level(prefix_space, regex), list);
}

sow_status tok_add_digits(sow_arena *arena, bool individual, tok_step **list) {
    return append(arena, (tok_step){.split = split_digits, .flag = individual, .each_number = individual}, list);
}

sow_status tok_add_metaspace(sow_arena *arena, int scheme, bool split, tok_step **list) {
    return append(arena, (tok_step){.split = split_metaspace, .kind = scheme, .flag = split}, list);
}

sow_status tok_add_pattern(sow_arena *arena, const char *pattern, int behaviour, bool invert, tok_step **list) {
    tok_step *s = tok_append(arena, list);
    if (!s) return SOW_E_MEMORY;
    *s = (tok_step){.split = split_pattern, .behaviour = behaviour, .invert = invert};
    return is_scanned(pattern, s) ? SOW_OK : tok_compile(pattern, s);
}
