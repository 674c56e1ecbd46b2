/* Pre-tokenizers that most models use, as scanners by hand: what the patterns and steps say, word by word. */
#include <string.h>

#include "formats/tokenizer/tok.h"

/* ---- classes and runs ---- */

enum { OTHER, LETTER, NUMBER, SPACE, FAR /* not ASCII: not known by its first byte */ };

static const uint8_t class_of_byte[256] = {[9 ... 13] = SPACE,     [' '] = SPACE,          ['0' ... '9'] = NUMBER,
                                           ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER, [128 ... 255] = FAR};

static int class_of(int32_t c) {
    if (c < 128) return class_of_byte[c];
    return tok_is_letter(c) ? LETTER : tok_is_number(c) ? NUMBER : tok_is_space(c) ? SPACE : OTHER;
}

static int class_at(const tok_piece *p, int64_t at, int64_t *n) {
    return class_of(tok_character(p, at, n));
}

/* Where a run of one class ends. */
static int64_t run_end(const tok_piece *p, int64_t at, int class) {
    for (int64_t n;; at += n) {
        while (at < p->size && class_of_byte[p->bytes[at]] == class) at++;
        if (at == p->size || p->bytes[at] < 128 || class_at(p, at, &n) != class) return at;
    }
}

static int64_t last_character(const tok_piece *p, int64_t at, int64_t end) {
    for (end--; end > at && (p->bytes[end] & 0xC0) == 0x80;) end--;
    return end;
}

/* \s+(?!\S)|\s+ : a run of spaces but for its last one, which goes with the word behind it. */
static int64_t spaces_end(const tok_piece *p, int64_t at, int64_t end) {
    int64_t last = last_character(p, at, end);
    return end == p->size || last == at ? end : last;
}

/* ---- GPT-2: '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ---- */

static int64_t contraction(const uint8_t *p, int64_t left) {
    if (left < 2 || p[0] != '\'') return 0;
    if (p[1] == 's' || p[1] == 'd' || p[1] == 'm' || p[1] == 't') return 2;
    if (left < 3) return 0;
    return (p[1] == 'l' && p[2] == 'l') || (p[1] == 'v' && p[2] == 'e') || (p[1] == 'r' && p[2] == 'e') ? 3 : 0;
}

/* digits: numbers stand alone, and the text ends before each of them. */
static int64_t gpt2_end(const tok_piece *p, int64_t at, bool digits) {
    int64_t n, skip = contraction(p->bytes + at, p->size - at);
    if (skip) return at + skip;
    int64_t word = p->bytes[at] == ' ' ? at + 1 : at;
    if (word == p->size) return word;
    int class = class_at(p, word, &n);
    if (digits && class == NUMBER) return word > at ? word : at + n;
    if (class != SPACE) return run_end(p, word, class);
    int64_t end = run_end(p, word, SPACE);
    return digits && end < p->size && class_at(p, end, &n) == NUMBER ? end : spaces_end(p, at, end);
}

/* ---- Llama 3: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
 *      \s+(?!\S)|\s+ ---- */

static bool is_break(uint8_t byte) {
    return byte == '\r' || byte == '\n';
}

/* U+017F is an s, too, where case does not matter. */
static int64_t contraction_of_any_case(const uint8_t *p, int64_t left) {
    if (left < 2 || p[0] != '\'') return 0;
    uint8_t a = p[1] | 32, b = left > 2 ? p[2] | 32 : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (left > 2 && p[1] == 0xC5 && p[2] == 0xBF) return 3;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

static int64_t numbers_end(const tok_piece *p, int64_t at, int most) {
    for (int64_t n; most > 0 && at < p->size && class_at(p, at, &n) == NUMBER; most--) at += n;
    return at;
}

/* \s*[\r\n]+ ends behind the last line break of a run of spaces. */
static int64_t breaks_end(const tok_piece *p, int64_t at) {
    int64_t end = run_end(p, at, SPACE);
    for (int64_t i = end; i > at; i--)
        if (is_break(p->bytes[i - 1])) return i;
    return spaces_end(p, at, end);
}

static int64_t llama3_end(const tok_piece *p, int64_t at, int numbers) {
    int64_t n, next, skip = contraction_of_any_case(p->bytes + at, p->size - at);
    if (skip) return at + skip;
    int class = class_at(p, at, &n);
    if (class == LETTER) return run_end(p, at + n, LETTER);
    if (class == NUMBER) return numbers_end(p, at, numbers);
    int after = at + n < p->size ? class_at(p, at + n, &next) : SPACE;
    if (after == LETTER && !is_break(p->bytes[at])) return run_end(p, at + n, LETTER);
    if (class == SPACE && !(p->bytes[at] == ' ' && after == OTHER)) return breaks_end(p, at);
    int64_t end = run_end(p, at + n, OTHER);
    while (end < p->size && is_break(p->bytes[end])) end++;
    return end;
}

/* ---- BERT: split at spaces, punctuation for itself ---- */

enum { WORD, MARK = 5 };

static const uint8_t bert_class[256] = {[9 ... 13] = SPACE, [' '] = SPACE,      [33 ... 47] = MARK,
                                        [58 ... 64] = MARK, [91 ... 96] = MARK, [123 ... 126] = MARK,
                                        [128 ... 255] = FAR};

static int bert_class_at(const tok_piece *p, int64_t at, int64_t *n) {
    *n = 1;
    if (p->bytes[at] < 128) return bert_class[p->bytes[at]];
    int32_t c = tok_character(p, at, n);
    return tok_is_space(c) ? SPACE : tok_is_punctuation(c) ? MARK : WORD;
}

static int64_t bert_end(const tok_piece *p, int64_t *at) {
    int64_t i = *at, n = 0;
    int class = SPACE;
    while (i < p->size && (class = bert_class_at(p, i, &n)) == SPACE) i += n;
    *at = i;
    if (i == p->size) return i;
    i += n;
    if (class == MARK) return i;
    for (;; i += n) {
        while (i < p->size && bert_class[p->bytes[i]] == WORD) i++;
        if (i == p->size || p->bytes[i] < 128 || bert_class_at(p, i, &n) != WORD) return i;
    }
}

/* ---- the calls ---- */

int64_t tok_scan_word(enum tok_scan scan, const tok_piece *p, int64_t *at) {
    switch (scan) {
    case TOK_SCAN_GPT2: return gpt2_end(p, *at, false);
    case TOK_SCAN_DIGITS: return gpt2_end(p, *at, true);
    case TOK_SCAN_LLAMA3: return llama3_end(p, *at, 3);
    case TOK_SCAN_QWEN2: return llama3_end(p, *at, 1);
    case TOK_SCAN_BERT: return bert_end(p, at);
    default: return p->size;
    }
}

enum tok_scan tok_scan_of_pattern(const char *pattern) {
    static const struct {
        enum tok_scan scan;
        const char *pattern;
    } known[] = {
        {TOK_SCAN_GPT2, "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
        {TOK_SCAN_GPT2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
        {TOK_SCAN_LLAMA3, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"
                          "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
        {TOK_SCAN_QWEN2, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"
                         "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(pattern, known[i].pattern)) return known[i].scan;
    return TOK_SCAN_NONE;
}

enum tok_scan tok_scan_of_steps(const tok_step *s) {
    if (!s) return TOK_SCAN_NONE;
    if (!s->next) return s->scan;
    if (s->next->next) return TOK_SCAN_NONE;
    if (s->each_number && s->next->scan == TOK_SCAN_GPT2) return TOK_SCAN_DIGITS;
    return s->next->no_step ? s->scan : TOK_SCAN_NONE;
}
