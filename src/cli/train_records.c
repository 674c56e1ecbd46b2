/* What trainings of all kinds say and write: records, the curve, the report. */
#include <math.h>
#include <string.h>

#include "cli/train.h"
#include "sow/file.h"
#include "sow/json.h"

/* The evaluation's numbers by the names that records, tables and reports use; NaN: not measured. */
typedef struct number {
    const char *name;
    double value;
} number;
enum { NUMBERS = 6 };
static void numbers_of(const sow_evaluation *e, number out[NUMBERS]) {
    const number all[NUMBERS] = {{"train_loss", e->train_loss},    {"train_accuracy", e->train_accuracy},
                                 {"val_loss", e->validation_loss}, {"val_accuracy", e->validation_accuracy},
                                 {"test_loss", e->test_loss},      {"test_accuracy", e->test_accuracy}};
    memcpy(out, all, sizeof all);
}

sow_status cli_train_print(const sow_evaluation *evaluation) {
    number numbers[NUMBERS];
    char text[SOW_REAL_TEXT];
    numbers_of(evaluation, numbers);
    printf("{\"step\":%lld", (long long)evaluation->step);
    for (int i = 0; i < NUMBERS; i++)
        if (!isnan(numbers[i].value)) printf(",\"%s\":%s", numbers[i].name, sow_real_text(numbers[i].value, text));
    puts("}");
    return fflush(stdout) ? sow_fail(SOW_E_IO, "standard output: the reader of the records is gone") : SOW_OK;
}

sow_status cli_train_curve(sow_call *call, const char *folder, const sow_training *training) {
    sow_writer *writer;
    char *path = sow_path_join(call->arena, folder, "curve.csv"), text[SOW_REAL_TEXT];
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_printf(writer, "step,train_loss,train_accuracy,val_loss,val_accuracy,test_loss,test_accuracy\n");
    for (int64_t i = 0; i < training->evaluations; i++) {
        number numbers[NUMBERS];
        numbers_of(&training->curve[i], numbers);
        sow_writer_printf(writer, "%lld", (long long)training->curve[i].step);
        for (int k = 0; k < NUMBERS; k++)
            sow_writer_printf(writer, ",%s", isnan(numbers[k].value) ? "" : sow_real_text(numbers[k].value, text));
        sow_writer_printf(writer, "\n");
    }
    SOW_TRY(sow_writer_commit(writer));
    return sow_wrote(call, path);
}

json_t *cli_train_json(const sow_evaluation *e) {
    number numbers[NUMBERS];
    json_t *object = json_pack("{s:I}", "step", (json_int_t)e->step);
    numbers_of(e, numbers);
    for (int i = 0; i < NUMBERS; i++)
        if (isfinite(numbers[i].value)) json_object_set_new(object, numbers[i].name, json_real(numbers[i].value));
    return object;
}

sow_status cli_train_report(sow_call *call, const char *folder, const char *passport) {
    char *path = sow_path_join(call->arena, folder, "run.json"), *text;
    json_t *report = json_deep_copy(call->result);
    bool failed = json_object_set_new(report, "passport", json_loads(passport, 0, NULL)) != 0 || !path;
    json_object_del(report, "files");
    sow_status status = failed ? sow_fail(SOW_E_MEMORY, "out of memory")
                               : sow_json_text(call->arena, report, SOW_JSON_PRETTY, &text);
    json_decref(report);
    if (!status) status = sow_write_file(path, text, strlen(text));
    return status ? status : sow_wrote(call, path);
}

void cli_train_diverged(const sow_training *t) {
    if (t->evaluations == 0) return;
    printf("{\"step\":%lld,\"train_loss\":NaN}\n", (long long)t->curve[t->evaluations - 1].step);
    fflush(stdout);
}
