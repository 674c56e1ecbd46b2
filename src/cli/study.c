/* sow study: a paper's own experiment, with a verdict. */
#include <string.h>

#include "cli/cli.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"

/* Scales that come in parts. */
static sow_status list_parts(sow_call *call) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "parts", rows));
    for (const sow_study *const *s = cli_studies; *s; s++)
        for (const sow_study_part *p = (*s)->parts; p && p->name; p++) {
            json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:s*,s:s*}", "name", (*s)->name, "scale",
                                    sow_scale_name(p->scale), "part", p->name, "summary", p->summary, "time", p->time,
                                    "data", p->data);
            SOW_TRY(sow_append_json(rows, row));
        }
    return SOW_OK;
}

static sow_status list_studies(sow_call *call) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "studies", rows));
    for (const sow_study *const *s = cli_studies; *s; s++) {
        json_t *row = json_pack("{s:s,s:s,s:s*,s:s*,s:s*,s:s*}", "name", (*s)->name, "summary", (*s)->summary, "smoke",
                                (*s)->time[0], "small", (*s)->time[1], "full", (*s)->time[2], "data", (*s)->data_help);
        SOW_TRY(sow_append_json(rows, row));
    }
    return list_parts(call);
}

static sow_scale_kind scale_of(const char *name) {
    if (strcmp(name, "smoke") == 0) return SOW_SCALE_SMOKE;
    return strcmp(name, "small") == 0 ? SOW_SCALE_SMALL : SOW_SCALE_FULL;
}

/* Everything the study is asked for, from options and the study's own defaults. */
static sow_status set_up(sow_call *call, const sow_study *study, sow_study_call *out) {
    const char *scale = sow_text(call, "scale"), *folder = sow_text(call, "out");
    uint64_t *seeds;
    *out = (sow_study_call){.scale = scale_of(scale),
                            .data = sow_text(call, "data"),
                            .resume = sow_flag(call, "resume"),
                            .slots = (int)sow_int(call, "slots"),
                            .arena = call->arena};
    SOW_TRY(sow_study_find_part(call->arena, study, out->scale, sow_text(call, "part"), &out->part));
    const sow_study_part *part = out->part;
    if (part && part->data && !out->data)
        return sow_fail(SOW_E_ARGUMENT, "%s, part %s: missing --data, %s", study->name, part->name, part->data);
    const char *usual = part ? part->seeds : study->seeds[out->scale];
    SOW_TRY(sow_seeds_parse(call->arena, sow_given(call, "seeds") ? sow_text(call, "seeds") : usual, &seeds,
                            &out->seed_count));
    out->seeds = seeds;
    out->folder = folder ? folder
                         : sow_arena_format(call->arena, "study-%s-%s%s%s", study->name, scale, part ? "-" : "",
                                            part ? part->name : "");
    return out->folder ? SOW_OK : SOW_E_MEMORY;
}

/* The study's plots, by name. */
static sow_status list_plots(sow_call *call, const char *folder) {
    char **names;
    int64_t count;
    SOW_TRY(sow_list_folder(call->arena, folder, 10000, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        if (length < 4 || strcmp(names[i] + length - 4, ".svg")) continue;
        SOW_TRY(sow_wrote_in(call, folder, names[i]));
    }
    return SOW_OK;
}

/* The judgement becomes the result, and verdict.json in the folder. */
static sow_status conclude(sow_call *call, const sow_study *study, const sow_study_call *run) {
    json_t *verdict;
    char *text, *path = sow_path_join(call->arena, run->folder, "verdict.json");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_study_judge(call->arena, study, run, &verdict));
    const char *word = json_string_value(json_object_get(verdict, "verdict"));
    call->exit_status = word && strcmp(word, "confirmed") == 0 ? 0 : 3;
    sow_status status = json_object_update(call->result, verdict) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
    json_t *last = json_incref(json_object_get(call->result, "verdict")); /* people read the end first */
    json_decref(verdict);
    json_object_del(call->result, "verdict");
    if (!status && json_object_set_new(call->result, "verdict", last)) status = sow_fail(SOW_E_MEMORY, "out of memory");
    if (!status) status = sow_json_text(call->arena, call->result, SOW_JSON_PRETTY, &text);
    if (!status) status = sow_write_file(path, text, strlen(text));
    if (!status) status = sow_wrote(call, path);
    return status ? status : list_plots(call, run->folder);
}

static sow_status run_study(sow_call *call) {
    const char *name = sow_text(call, "name");
    const sow_study *study;
    sow_study_call run;
    if (!name) return list_studies(call);
    SOW_TRY(cli_find_study(name, &study));
    SOW_TRY(set_up(call, study, &run));
    if (!run.resume && sow_path_exists(run.folder))
        return sow_fail(SOW_E_EXISTS, "%s exists already; --resume goes on with it, -o DIR begins another", run.folder);
    SOW_TRY(sow_make_folder(run.folder));
    const char *time = run.part ? run.part->time : study->time[run.scale];
    if (time)
        sow_note("%s, %s: about %s on two cores, %d seeds, in %s", study->name,
                 run.part ? run.part->name : sow_text(call, "scale"), time, run.seed_count, run.folder);
    SOW_TRY(run.part ? run.part->run(&run) : study->run(&run));
    return conclude(call, study, &run);
}

static const sow_option options[] = {
    {"name", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL, "the study; none: list them", SOW_OPTION_POSITIONAL},
    SOW_OPTION_CHOICE("scale", "small", "smoke|small|full", "seconds, minutes or hours"),
    SOW_OPTION_TEXT("part", NULL, "where a scale comes in parts: one of those that `sow study` lists"),
    {"seeds", 0, SOW_TYPE_SEEDS, NULL, 0, 0, NULL, NULL, "like 1:5,9; default: the study's own", 0},
    SOW_OPTION_TEXT("data", NULL, "another data set, of those that the study knows"),
    SOW_OPTION_SLOTS,
    SOW_OPTION_OUTPUT_OR("folder; default study-NAME-SCALE or study-NAME-SCALE-PART"),
    SOW_OPTION_RESUME,
    {0},
};

static const sow_action actions[] = {
    {"study", "run a paper's experiment and judge it", options, run_study, "sow study lottery-ticket --scale small", 0},
    {0},
};

const sow_method sow_verb_study = {
    .name = "study",
    .family = "commands",
    .summary = "run a paper's own experiment; exit status 0 only if it is confirmed",
    .actions = actions,
};
