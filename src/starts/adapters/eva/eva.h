/* What the files of EVA share. */
#ifndef SOW_STARTS_ADAPTERS_EVA_H
#define SOW_STARTS_ADAPTERS_EVA_H

#include "sow/adapters.h"
#include "sow/linalg.h"

/* Components that are followed in a layer with `in` inputs: round(r rho), at most `in`. */
int64_t eva_components(const sow_eva_config *config, double rho, int64_t in);

/* What enters the first of the sites that share it, and what is known of it. */
typedef struct eva_hook {
    int64_t site, count; /* count: components */
    bool active;         /* wants more rows */
    bool settled;
    sow_ipca *ipca;
    sow_gram *gram;
    sow_components now; /* count 0: nothing is known yet */
    sow_arena *look;    /* gram: where `now` lies */
    double captured;    /* gram: share of the variance of the leading components that those of the look before hold */
    int64_t batches;
    /* rows of the batch that wait to be taken */
    float *x;
    int64_t rows;
    sow_status status;
    char message[300]; /* of a failure in a worker */
} eva_hook;

/* ---- eva_watch.c: from forward passes to hooks ---- */

typedef struct eva_watch {
    const sow_sites *sites;
    eva_hook *hooks;
    int64_t hook_count, next; /* next: the hook that is expected first */
    const sow_feed *feed;     /* whose `keep` says which rows count */
    sow_arena *waiting;       /* rows that wait */
    sow_mark empty;
    int64_t *queue, queued;
    sow_arena **scratch; /* one a worker */
    int workers;
    int64_t most_rows; /* of a batch, for messages */
} eva_watch;
sow_status eva_watch_open(eva_watch *w, const sow_sites *sites, const sow_feed *feed, eva_hook *hooks, int64_t count,
                          sow_arena *arena);
void eva_watch_close(eva_watch *w);
/* The tap: rows that count are copied where the site is an active hook's. */
sow_var eva_watch_site(void *user, sow_tape *tape, const char *name, sow_var x, sow_var y);
/* Takes all rows that wait. */
sow_status eva_watch_flush(eva_watch *w);
/* Runs a piece of work for each hook, on all threads; the first failure is returned. */
sow_status eva_for_hooks(eva_watch *w, sow_status (*work)(void *user, eva_hook *hook, sow_arena *scratch), void *user);

/* ---- eva_method.c, eva_report.c, eva_simulate.c ---- */

extern const sow_option eva_simulate_options[];
sow_status eva_simulate(sow_call *call);
/* --rank, --rho, --tau .. as a configuration. */
void eva_config(const sow_call *call, sow_eva_config *out);
/* Tables, chart and files of the report, into the folder; the result's scalars. */
sow_status eva_write_report(sow_call *call, const sow_eva_config *config, const sow_eva_report *report,
                            const char *folder);
/* README.md's text, in the arena; NULL: memory is short. */
const char *eva_card(const sow_call *call, const sow_eva_config *config, const sow_eva_report *report, const char *base,
                     const char *data);

#endif
