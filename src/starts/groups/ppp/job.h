/* What the actions of `sow ppp` share: the table as it was asked for, and what was found in it. */
#ifndef SOW_STARTS_GROUPS_PPP_JOB_H
#define SOW_STARTS_GROUPS_PPP_JOB_H

#include "sow/method.h"
#include "starts/groups/ppp/model.h"

typedef struct ppp_job {
    sow_call *call;
    ppp_input input;
    sow_rows values, rows; /* as stored, and as the view shows them */
    ppp_view view;
    sow_ppp_config config;
    sow_ppp model;
    const char *out;
    bool silent; /* another rank writes */
} ppp_job;

/* The output's path into job->out: --out, else the data's name with this ending (NULL: none then). SOW_E_EXISTS: it is there
 * already. */
sow_status ppp_find_out(ppp_job *job, const char *ending);
/* Opens the table, makes and explains its view, reads the configuration. ppp_input_close(&job->input) in any case. */
sow_status ppp_open_data(ppp_job *job);

/* Adds rows, columns, scale and axes. */
sow_status ppp_describe_data(ppp_job *job);
sow_status ppp_no_memory(void);

/* The actions. */
sow_status ppp_run_fit(sow_call *call);
sow_status ppp_run_assign(sow_call *call);
sow_status ppp_run_repeat(sow_call *call);

#endif
