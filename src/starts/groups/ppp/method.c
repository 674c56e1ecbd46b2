/* Probabilistic partitive partitioning as a command, after Sultan 2020 (arXiv 2003.04372): options and actions. */
#include "starts/groups/ppp/job.h"

#define DATA SOW_OPTION_FILE("data", "rows to group: CSV (plain or gzip), .npy, word vectors (.vec) or safetensors")
#define TENSOR SOW_OPTION_TEXT("tensor", NULL, "safetensors: which matrix; default: the only one")
#define ID SOW_OPTION_LIST("id", "CSV: column, by name or number from 0, that is carried along and not grouped by")
#define TRUTH SOW_OPTION_TEXT("truth", NULL, "CSV: column with known classes, to compare with")
#define FITTING                                                                                                       \
    SOW_OPTION_CHOICE("scale", "auto", "auto|none|zscore", "columns in units of their standard deviations"),          \
        SOW_OPTION_TEXT("pca", "auto", "principal axes to work on: a number, 0 for the columns themselves, or auto"), \
        SOW_OPTION_INT("k", NULL, 1, 65536, "number of clusters, if it is known; default: found"),                    \
        SOW_OPTION_REAL("agreement", "0.7", 0, 1, "share of rows on which k-means and mixture must agree"),           \
        SOW_OPTION_REAL("confidence", "0.95", 0, 1, "responsibility from which a row belongs to the core"),           \
        SOW_OPTION_REAL("bic-margin", "0", 0, 1e12, "by how much the BIC must fall"),                                 \
        SOW_OPTION_INT("min-leaf", "0", 0, 1e12, "rows of the smallest cluster; 0: 5 (columns + 1), at least 2 %"),   \
        SOW_OPTION_CHOICE("covariance", "full", "full|tied|diag|spherical", "shape of the Gaussians"),                \
        SOW_OPTION_CHOICE("start", "k-means++", "k-means++|random|pca|variance",                                      \
                          "of each k-means; pca and variance need no random numbers"),                                \
        SOW_OPTION_CHOICE("test", "bic", "bic|agreement|anderson", "what must hold for a split beside agreement"),    \
        SOW_OPTION_INT("restarts", "8", 1, 1000, "starts of each k-means"),                                           \
        SOW_OPTION_INT("flat", "6", 0, 32, "where a split in two is refused, try up to so many parts; 0: not"),       \
        SOW_OPTION_CHOICE("variant", "tree", "tree|flat", "flat: one split in up to --flat parts"),                   \
        SOW_OPTION_FLAG("reenter", "look for clusters among the rows outside of all cores, too"),                     \
        SOW_OPTION_CHOICE("assign", "gauss", "gauss|nearest", "where rows outside of the cores go"),                  \
        SOW_OPTION_INT("sample", "-1", -1, 1e12,                                                                      \
                       "above so many rows starts compete on a part of them; 0: never, -1: chosen by the columns"),   \
        SOW_OPTION_SEED

static const sow_option fit_options[] = {
    DATA,
    TENSOR,
    ID,
    TRUTH,
    FITTING,
    SOW_OPTION_OUTPUT_OR("folder; default: the data's name with .ppp"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option assign_options[] = {
    DATA,
    TENSOR,
    ID,
    {"model", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL, "folder that `sow ppp` wrote", SOW_OPTION_REQUIRED},
    SOW_OPTION_CHOICE("assign", "gauss", "gauss|nearest", "to the likeliest Gaussian or the nearest centroid"),
    SOW_OPTION_OUTPUT_OR("labels (CSV); default: the data's name with .labels.csv"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option repeat_options[] = {
    DATA,
    TENSOR,
    ID,
    TRUTH,
    SOW_OPTION_INT("runs", "20", 2, 1000, "independent starts, with the seeds --seed, --seed + 1, ..."),
    FITTING,
    SOW_OPTION_OUTPUT_OR("JSON file with the matrix of agreements; default: none"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_action actions[] = {
    {"fit", "find clusters and the rows that surely belong to them", fit_options, ppp_run_fit,
     "sow ppp data.csv -o clusters/", SOW_ACTION_COMPUTES | SOW_ACTION_TOGETHER},
    {"assign", "labels of new rows", assign_options, ppp_run_assign, "sow ppp assign --model clusters/ new.csv",
     SOW_ACTION_COMPUTES},
    {"repeat", "does the answer depend on the start?", repeat_options, ppp_run_repeat,
     "sow ppp repeat data.csv --runs 20", SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_method_ppp = {
    .name = "ppp",
    .family = "groups",
    .summary = "clusters that do not depend on the random start, and their number",
    .paper = "after Sultan 2020, arXiv 2003.04372 (procedure reconstructed)",
    .actions = actions,
    .study = "ppp",
};
