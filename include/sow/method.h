/* A method as the command sees it: a name, a paper, actions, and one option table from which help, manual pages,
 * completion and the documentation are made. */
#ifndef SOW_METHOD_H
#define SOW_METHOD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_option_type {
    SOW_TYPE_FLAG, SOW_TYPE_INT, SOW_TYPE_REAL, SOW_TYPE_TEXT, SOW_TYPE_CHOICE, SOW_TYPE_PATH /* an input file or folder */,
    SOW_TYPE_OUTPUT /* a path that is written */, SOW_TYPE_LIST /* may be given several times */, SOW_TYPE_SEEDS /* 1:5,9 */
} sow_option_type;

typedef enum sow_option_bits {
    SOW_OPTION_REQUIRED = 1,
    SOW_OPTION_NO_PASSPORT = 2, /* does not determine values: threads, outputs, verbosity */
    SOW_OPTION_POSITIONAL = 4,  /* an argument without its --name; a LIST takes all that are left */
    SOW_OPTION_COMMAND = 8,     /* a shell command (--train): `sow replay` never takes it from a file */
} sow_option_bits;

/* One option. `initial` is the default as a user would type it, NULL for none. */
typedef struct sow_option {
    const char *name;    /* "rank": --rank */
    char letter;         /* 'o' for -o, 0 for none */
    sow_option_type type;
    const char *initial;
    double low, high;    /* INT and REAL: inclusive range */
    const char *choices; /* CHOICE: "reset|continued" */
    const char *unit;    /* "steps", "examples", or NULL */
    const char *help;
    unsigned bits;
} sow_option;

#define SOW_OPTION_FLAG(name, help) {name, 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, help, 0}
#define SOW_OPTION_INT(name, initial, low, high, help) {name, 0, SOW_TYPE_INT, initial, low, high, NULL, NULL, help, 0}
#define SOW_OPTION_COUNT(name, initial, low, high, unit, help) {name, 0, SOW_TYPE_INT, initial, low, high, NULL, unit, help, 0}
#define SOW_OPTION_REAL(name, initial, low, high, help) {name, 0, SOW_TYPE_REAL, initial, low, high, NULL, NULL, help, 0}
#define SOW_OPTION_TEXT(name, initial, help) {name, 0, SOW_TYPE_TEXT, initial, 0, 0, NULL, NULL, help, 0}
#define SOW_OPTION_CHOICE(name, initial, choices, help) {name, 0, SOW_TYPE_CHOICE, initial, 0, 0, choices, NULL, help, 0}
#define SOW_OPTION_PATH(name, initial, help) {name, 0, SOW_TYPE_PATH, initial, 0, 0, NULL, NULL, help, 0}
#define SOW_OPTION_FILE(name, help) {name, 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL, help, SOW_OPTION_POSITIONAL | SOW_OPTION_REQUIRED}
#define SOW_OPTION_LIST(name, help) {name, 0, SOW_TYPE_LIST, NULL, 0, 0, NULL, NULL, help, 0}
#define SOW_OPTION_OUTPUT(help) {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, help, SOW_OPTION_REQUIRED | SOW_OPTION_NO_PASSPORT}
#define SOW_OPTION_OUTPUT_OR(help) {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, help, SOW_OPTION_NO_PASSPORT} /* none: what `help` says */
#define SOW_OPTION_SEED {"seed", 0, SOW_TYPE_INT, "0", 0, 9007199254740991.0, NULL, NULL, "random seed", 0}
#define SOW_OPTION_FORCE {"force", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "overwrite an existing output", SOW_OPTION_NO_PASSPORT}
#define SOW_OPTION_RESUME {"resume", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "go on where an interrupted run stopped", SOW_OPTION_NO_PASSPORT}
#define SOW_OPTION_SLOTS {"slots", 0, SOW_TYPE_INT, "0", 0, 1024, NULL, "trainings", "side by side; 0: one per core", SOW_OPTION_NO_PASSPORT}
/* Every command also has --json, --quiet, --threads, --help; the command adds them. */

/* One call of an action: parsed options in, a result out. Actions never print: what they say goes to `result`
 * (a JSON object: scalars become lines, arrays of objects become tables, "files" the list of what was written, and
 * "next" a line on what to try next), messages go to sow_note. */
typedef struct sow_call {
    const struct sow_method *method;
    const struct sow_action *action;
    const char **values;      /* by option index: text as typed or the default; NULL: absent */
    const char ***lists;      /* LIST: NULL-terminated */
    bool *given;              /* by option index: typed by the user */
    bool json, quiet, help;   /* the common options */
    int threads;              /* 0: one per core */
    sow_arena *arena;         /* lives as long as the call */
    json_t *result;
    int exit_status;          /* 0 unless set: 3 for not confirmed */
    struct sow_hashed *hashed; /* inputs hashed so far, for later passports of this call */
} sow_call;

/* Option values by name; the types were checked before. A name that the action's table lacks is a programming error
 * and aborts. */

/* Whether the user typed the option. */
bool sow_given(const sow_call *call, const char *option);
/* Whether a flag is on. */
bool sow_flag(const sow_call *call, const char *option);
/* An INT, 0 where it is absent (ask sow_text whether it is). */
int64_t sow_int(const sow_call *call, const char *option);
/* A REAL, 0 where it is absent. */
double sow_real(const sow_call *call, const char *option);
/* The text of any option but a LIST, as typed or its default; NULL where it is absent. */
const char *sow_text(const sow_call *call, const char *option);
/* The values of a LIST, ending with NULL; never NULL itself. */
const char *const *sow_list(const sow_call *call, const char *option);
/* Says what an option stands for that the user left open: from now on it has this value (NULL: none) in place of the
 * table's default, so that the passport shows what was used. An option that the user gave stays. `value` must live as
 * long as the call. */
void sow_resolve(sow_call *call, const char *option, const char *value);
/* The seeds of a SEEDS option, in the order typed, in the call's arena; count 0 where it is absent. Errors:
 * SOW_E_MEMORY. */
sow_status sow_seeds(const sow_call *call, const char *option, uint64_t **seeds, int *count);

typedef struct sow_action {
    const char *name, *summary;
    const sow_option *options; /* ends with a row of zeros */
    sow_status (*run)(sow_call *call);
    const char *example;       /* one command line for help and manual, or NULL */
    unsigned bits;
} sow_action;

typedef enum sow_action_bits {
    SOW_ACTION_COMPUTES = 1, /* trains or otherwise keeps several threads busy: the command tunes OpenMP's barriers first */
    SOW_ACTION_HIDDEN = 2,   /* not in help, manual, completion and list */
    SOW_ACTION_TOGETHER = 4, /* under mpirun every rank runs it, and they share its sums (sow_together_join) */
} sow_action_bits;

typedef struct sow_method {
    const char *name, *family, *summary;
    const char *paper;         /* citation, NULL for verbs */
    const sow_action *actions; /* the default one first; ends with a row of zeros */
    const char *study;         /* name of its study, or NULL */
} sow_method;

/* ---- command lines (src/base/options.c) ---- */

/* --json, --quiet, --threads, --help: a table that ends with a row of zeros. */
extern const sow_option sow_common_options[];

/* Parses the words behind the method's name into `call` (whose arena, method and action are set): `--name value`,
 * `--name=value`, `-o value`, flags, arguments; `--` ends the options. Defaults are filled in, types, ranges and
 * required options checked (not under --help). SOW_E_ARGUMENT with a one-line answer that names the option, what was found, what was expected,
 * and for an unknown option the nearest right one. */
sow_status sow_parse(sow_call *call, int count, const char *const *words);
/* "1:5,9" means 1, 2, 3, 4, 5, 9; "42" one seed. At most 100,000. Errors: SOW_E_ARGUMENT. */
sow_status sow_seeds_parse(sow_arena *arena, const char *text, uint64_t **seeds, int *count);

/* ---- outputs ---- */

/* SOW_E_EXISTS if the path exists and the call has neither --force nor --resume. */
sow_status sow_check_output(const sow_call *call, const char *path);
/* Adds a file to the result's "files". */
sow_status sow_wrote(sow_call *call, const char *path);
/* The same for FOLDER/NAME. */
sow_status sow_wrote_in(sow_call *call, const char *folder, const char *name);

/* ---- passports (src/formats/passport.c) ---- */

/* An input that determined the values: a file by its base name and SHA-256. */
typedef struct sow_input {
    const char *option, *name;
    char sha256[65];
} sow_input;
/* One whose sum is known; `name` must live as long as it. */
sow_input sow_input_of(const char *option, const char *name, const char sha256[65]);

/* SHA-256 as passports have it: of a file's bytes; of a folder, of the sorted JSON object {path: SHA-256} of its files. */
sow_status sow_hash_input(const char *path, char hex[65]);

/* The passport's JSON text, keys sorted, in the call's arena: {"sow":version,"method":..,"action":..,"file":..,
 * "options":{resolved, without absent ones, flags that are off and SOW_OPTION_NO_PASSPORT; paths by base name},"isa":..,
 * "inputs":[{"option","name","sha256","values":true for extra ones}],"parents":[passports of inputs that have one]}.
 * `file` says which of the action's outputs this is: its path within the output folder ("round_03/final.safetensors"),
 * or, beside an output file X.safetensors, what replaces the ending (".mask.safetensors"); NULL: the output itself.
 * Inputs are the PATH options given (files: hashed; folders: by their sorted files) and `extra` ones (data
 * sets, folders of which only some files count): an extra one stands for the option of its name, which is not hashed then.
 * Errors: unreadable inputs. */
sow_status sow_passport(const sow_call *call, const char *file, const sow_input *extra, int count, const char **out);

#ifdef __cplusplus
}
#endif
#endif
