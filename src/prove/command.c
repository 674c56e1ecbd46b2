/* What a cell runs: the command that makes its start, where there is one, and its trainer (PROVE.md, section 1). */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "prove/run.h"
#include "sow/file.h"

char *prove_cell_folder(sow_arena *arena, const char *folder, const sow_plan *plan, int arm, uint64_t seed) {
    char slug[33];
    size_t n = 0;
    for (const char *c = plan->arms[arm].name; *c && n < sizeof slug - 1; c++)
        slug[n++] = isalnum((unsigned char)*c) || *c == '.' ? *c : '-';
    slug[n] = 0;
    return sow_arena_format(arena, "%s/cells/%02d-%s/seed-%llu", folder, arm, slug, (unsigned long long)seed);
}

typedef struct files {
    const char *init, *mask, *out; /* "": none */
    bool made, beside;             /* init is made by a command; a mask may lie beside it then */
} files;

static sow_status named_file(prove_run *run, sow_arena *arena, const sow_plan_arm *arm, const char *text, uint64_t seed,
                             const char **out) {
    char *path;
    *out = "";
    if (!text) return SOW_OK;
    SOW_TRY(plan_path(arena, arm, text, seed, &path));
    *out = sow_path_join(arena, run->here, path);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

/* Where the start, mask and result of a cell lie; those of an earlier attempt are taken away. */
static sow_status find_files(prove_run *run, sow_arena *arena, const sow_cell *cell, files *f) {
    const sow_plan_arm *arm = &run->plan->arms[cell->arm];
    f->made = arm->make != NULL;
    f->out = sow_path_join(arena, cell->folder, "final.safetensors");
    SOW_TRY(named_file(run, arena, arm, arm->init, cell->seed, &f->init));
    SOW_TRY(named_file(run, arena, arm, arm->mask, cell->seed, &f->mask));
    if (f->made) f->init = sow_path_join(arena, cell->folder, "start.safetensors");
    if (!f->out || !f->init) return SOW_E_MEMORY;
    unlink(f->out);
    if (!f->made) return SOW_OK;
    char *beside = sow_path_join(arena, cell->folder, "start.mask.safetensors");
    if (!beside) return SOW_E_MEMORY;
    f->beside = !arm->mask;
    if (f->beside) f->mask = beside;
    unlink(f->init);
    unlink(beside);
    return SOW_OK;
}

static sow_status variables_of(prove_run *run, sow_arena *arena, const sow_cell *cell, const files *f,
                               sow_variable **out, int *count) {
    const sow_plan_arm *arm = &run->plan->arms[cell->arm];
    const sow_variable own[] = {
        {"init", f->init},
        {"mask", f->mask},
        {"out", f->out},
        {"seed", sow_arena_format(arena, "%llu", (unsigned long long)cell->seed)},
        {"steps", sow_arena_format(arena, "%lld", (long long)run->plan->steps)},
        {"arm", arm->name},
        {"dir", cell->folder},
    };
    int own_count = sizeof own / sizeof *own;
    SOW_TRY(SOW_NEW(arena, *out, own_count + arm->variable_count));
    memcpy(*out, own, sizeof own);
    if (!own[3].value || !own[4].value) return SOW_E_MEMORY;
    for (int i = 0; i < arm->variable_count; i++) (*out)[own_count + i] = arm->variables[i];
    *count = own_count + arm->variable_count;
    return SOW_OK;
}

/* `sow train` with the arm's variables as options. */
static sow_status builtin(prove_run *run, sow_arena *arena, const sow_plan_arm *arm, const files *f, const char **out) {
    char *trainer;
    unsigned given = (*f->init ? SOW_BUILTIN_INIT : 0) | (*f->mask && !f->beside ? SOW_BUILTIN_MASK : 0);
    SOW_TRY(sow_builtin_trainer(arena, arm->variables, arm->variable_count, given, &trainer));
    *out = sow_arena_format(arena, "%s --steps {steps} --threads %d", trainer, run->plan->threads);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

/* {mask} as the shell's own variable: whether there is one is known only once the start is made. */
static char *mask_from_shell(sow_arena *arena, const char *text) {
    char *out = sow_arena_take(arena, strlen(text) * 3 + 1, 1), *to = out;
    for (const char *c = text; out && *c;) {
        if (c[0] == '{' && c[1] == '{') *to++ = *c++, *to++ = *c++;
        else if (!strncmp(c, "{mask}", 6)) to = stpcpy(to, "\"$SOW_MASK\""), c += 6;
        else *to++ = *c++;
    }
    return out;
}

/* Lines before the trainer's: the start is made, and what that prints goes to the log. */
static sow_status making(sow_arena *arena, const sow_plan_arm *arm, const files *f, const sow_variable *variables,
                         int count, const char **out) {
    const char *program;
    char *made, *head;
    *out = "";
    if (!arm->make) return SOW_OK;
    SOW_TRY(sow_own_program(arena, &program));
    SOW_TRY(sow_expand(arena, arm->make, variables, count, &made));
    const sow_variable paths[] = {{"program", program}, {"made", f->init}, {"beside", f->mask}};
    SOW_TRY(
        sow_expand(arena,
                   "SOW_MASK={beside}\n[ -e {made} ] || { echo 'the command in make wrote no start' >&2; exit 1; }\n"
                   "[ -e \"$SOW_MASK\" ] || SOW_MASK=\n",
                   paths, 3, &head));
    char *quoted;
    SOW_TRY(sow_expand(arena, "{program}", paths, 1, &quoted));
    *out = sow_arena_format(arena, "%s %s >&2 || exit 1\n%s", quoted, made, head);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

sow_status prove_command(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    prove_run *run = user;
    const sow_plan_arm *arm = &run->plan->arms[cell->arm];
    files f = {0};
    sow_variable *variables;
    int count;
    const char *train = run->plan->train, *make;
    char *expanded;
    SOW_TRY(find_files(run, arena, cell, &f));
    SOW_TRY(variables_of(run, arena, cell, &f, &variables, &count));
    SOW_TRY(making(arena, arm, &f, variables, count, &make));
    if (!train) SOW_TRY(builtin(run, arena, arm, &f, &train));
    if (f.beside && !(train = mask_from_shell(arena, train))) return SOW_E_MEMORY;
    SOW_TRY(sow_expand(arena, train, variables, count, &expanded));
    *command = sow_arena_format(arena, "%s%s", make, expanded);
    return *command ? SOW_OK : SOW_E_MEMORY;
}
