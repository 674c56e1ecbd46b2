/* sow lm generate: continues a prompt or answers a chat, word by word on a terminal. */
#include <string.h>
#include <unistd.h>

#include "cli/lm.h"
#include "sow/chat.h"
#include "sow/generate.h"
#include "sow/json.h"
#include "sow/log.h"

typedef struct speaker {
    sow_arena *arena;
    bool terminal; /* control characters must not act there */
} speaker;

static sow_status say(void *user, const char *text, size_t size) {
    const speaker *s = user;
    sow_mark mark = sow_arena_mark(s->arena);
    char *copy = s->terminal ? sow_arena_format(s->arena, "%.*s", (int)size, text) : NULL;
    if (copy) cli_print_safely(stdout, copy);
    else fwrite(text, 1, size, stdout);
    sow_arena_release(s->arena, mark);
    return fflush(stdout) ? sow_fail(SOW_E_IO, "standard output: writing failed") : SOW_OK;
}

/* The prompt's tokens: as they are, or as a chat of the model's own form; a system's words or a template ask for a chat too. */
static sow_status encode_prompt(cli_lm *m, sow_encoding *out, int32_t *end) {
    sow_call *call = m->call;
    const char *system = sow_text(call, "system"), *form = sow_text(call, "chat-template"),
               *given = sow_text(call, "prompt");
    sow_span prompt = {given, strlen(given)};
    const sow_chat *chat;
    *end = -1;
    if (!strcmp(given, "-")) SOW_TRY(cli_read_text(call->arena, given, &prompt));
    if (!sow_flag(call, "chat") && !system && !form)
        return sow_encode(m->tokenizer, call->arena, prompt.text, prompt.size, cli_encode_flags(call), out);
    SOW_TRY(sow_lm_chat(sow_text(call, "model"), form, &chat));
    sow_chat_message messages[2] = {{"system", {system, system ? strlen(system) : 0}}, {"user", prompt}};
    *end = sow_chat_end(chat, m->tokenizer);
    return sow_chat_encode(chat, m->tokenizer, call->arena, messages + !system, system ? 2 : 1, true, out, NULL);
}

static sow_generation read_options(const sow_call *call, int32_t end) {
    return (sow_generation){.sampling = {.temperature = sow_real(call, "temperature"),
                                         .top_k = sow_int(call, "top-k"),
                                         .top_p = sow_real(call, "top-p"),
                                         .repeat_penalty = sow_real(call, "repeat-penalty"),
                                         .seed = (uint64_t)sow_int(call, "seed")},
                            .max_tokens = sow_int(call, "max-tokens"),
                            .end = end,
                            .stops = sow_list(call, "stop")};
}

static sow_status add_result(sow_call *call, const sow_generated *g, int64_t prompt) {
    json_t *r = call->result, *ids = json_array();
    SOW_TRY(sow_put_json(r, "text", json_stringn(g->text, g->size)));
    SOW_TRY(sow_put_json(r, "ids", ids));
    for (int64_t i = 0; i < g->count; i++) SOW_TRY(sow_append_json(ids, json_integer(g->ids[i])));
    SOW_TRY(sow_put_count(r, "prompt_tokens", prompt));
    SOW_TRY(sow_put_count(r, "tokens", g->count));
    SOW_TRY(sow_put_text(r, "stop", sow_stop_name(g->stop)));
    SOW_TRY(sow_put_real(r, "first_seconds", g->first_seconds));
    return sow_put_real(r, "seconds", g->seconds);
}

static sow_status generate(cli_lm *m) {
    sow_call *call = m->call;
    sow_encoding prompt;
    sow_generated out;
    int32_t end;
    SOW_TRY(encode_prompt(m, &prompt, &end));
    sow_generation how = read_options(call, end);
    speaker s = {call->arena, isatty(STDOUT_FILENO)};
    if (!call->json) how.say = say, how.user = &s;
    SOW_TRY(sow_lm_generate(m->tape, m->lm, m->tokenizer, call->arena, prompt.ids, prompt.count, &how, &out));
    if (call->json) return add_result(call, &out, prompt.count);
    putchar('\n');
    double rest = out.seconds - out.first_seconds;
    sow_note("%lld tokens behind %lld of the prompt; the first after %.2f s, %.1f a second then; stopped by %s",
             (long long)out.count, (long long)prompt.count, out.first_seconds,
             rest > 0 && out.count > 1 ? (double)(out.count - 1) / rest : 0.0, sow_stop_name(out.stop));
    return SOW_OK;
}

sow_status cli_lm_generate(sow_call *call) {
    cli_lm m;
    sow_status status = cli_lm_open(call, &m);
    if (status == SOW_OK) status = generate(&m);
    cli_lm_close(&m);
    return status;
}

const sow_option cli_lm_generate_options[] = {
    CLI_LM_MODEL,
    {"prompt", 'p', SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL, "the text to go on from; -: standard input",
     SOW_OPTION_REQUIRED},
    SOW_OPTION_FLAG("chat", "the prompt is what a user says: answer it, in the model's own form of chats"),
    SOW_OPTION_TEXT("system", NULL, "what the system says before (a chat)"),
    SOW_OPTION_TEXT("chat-template", NULL,
                    "form of the chat: chatml, llama3, gemma, zephyr, smollm2 or none; default: the model's own"),
    SOW_OPTION_INT("max-tokens", "256", 1, 1 << 24, "tokens at most"),
    SOW_OPTION_REAL("temperature", "0", 0, 100,
                    "0: always the likeliest token; 1: as the model says; above: more varied"),
    SOW_OPTION_INT("top-k", "0", 0, 1 << 24, "draw among the k likeliest only; 0: all"),
    SOW_OPTION_REAL("top-p", "1", 0, 1, "draw among the likeliest that together reach p only"),
    SOW_OPTION_REAL("repeat-penalty", "1", 0.01, 100, "above 1: tokens that were seen become less likely"),
    SOW_OPTION_SEED,
    SOW_OPTION_LIST("stop", "a text that ends the answer; several times for several"),
    CLI_LM_ADAPTER,
    CLI_LM_TOKENIZER,
    CLI_LM_INVALID,
    {0},
};
