/* sow sgd-sai: the table of learning-rate scales, measured before the first step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

enum { ROWS_SHOWN = 10 };

static const sow_option options[] = {
    SOW_OPTION_TEXT("model", NULL,
                    "language model: a Hugging Face folder, a GGUF file, or a name that `sow fetch` lists"),
    SOW_OPTION_TEXT(
        "arch", NULL,
        "or a network: lenet300, resnet20, vit:4-96-4-3 ... (sow list --arch all), gpt:WIDTH-LAYERS-HEADS-CONTEXT on bytes"),
    SOW_OPTION_PATH(
        "data", NULL,
        "texts for --model (text, JSON lines, TSV), a data set as for `sow train`, or a text or folder of texts for gpt"),
    SAI_SUBJECT_OPTIONS,
    SOW_OPTION_INT("batches", "1", 1, 1e6, "batches that are measured; the paper: 1"),
    SOW_OPTION_CHOICE("average", "gradient", "gradient|scale",
                      "of several batches: g of the mean gradient, or the mean of g"),
    SOW_OPTION_CHOICE("blocks", "tensor", "tensor|qkv|head|row", "what has a scale of its own; the paper: tensor"),
    SOW_OPTION_CHOICE("normalise", "none", "none|max|mean",
                      "what scales are divided by: none as in the authors' package, max as in the paper's Algorithm 1"),
    SOW_OPTION_FLAG("sqrt-n",
                    "roots of the blocks' sizes instead of the gradient: what the measured ones are compared with"),
    SOW_OPTION_OUTPUT("the table (JSON); a CSV and a plot (SVG) are written beside it"),
    SOW_OPTION_FORCE,
    {0},
};

/* ---- what was found ---- */

static double distance(const sow_scale_row *r) {
    return r->gsnr.kind == SOW_GSNR_DEAD ? INFINITY : fabs(log(r->gsnr.g / sqrt((double)r->gsnr.n)));
}

static int by_distance(const void *a, const void *b) {
    const sow_scale_row *x = *(const sow_scale_row *const *)a, *y = *(const sow_scale_row *const *)b;
    double p = distance(x), q = distance(y);
    if (p != q) return p < q ? 1 : -1;
    return (x > y) - (x < y);
}

static json_t *row_json(const sow_scale_row *r) {
    char shape[SOW_SHAPE_TEXT], name[512];
    double root = sqrt((double)r->gsnr.n);
    snprintf(name, sizeof name, r->parts > 1 ? "%s, block %lld" : "%s", r->name, (long long)r->block);
    json_t *row = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f}", "block", name, "shape",
                            sow_shape_text(r->shape, shape), "n", (json_int_t)r->gsnr.n, "g", r->gsnr.g, "sqrt(n)",
                            root, "ratio", r->gsnr.g / root, "scale", r->scale);
    if (r->gsnr.kind != SOW_GSNR_MEASURED)
        json_object_set_new(row, "note", json_string(sow_gsnr_kind_text(r->gsnr.kind)));
    return row;
}

/* The blocks that are farthest from sqrt(n). */
static sow_status report_rows(sow_call *call, const sow_scales *scales) {
    const sow_scale_row **order;
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "farthest_from_sqrt_n", rows));
    SOW_TRY(SOW_NEW(call->arena, order, scales->count));
    for (int64_t i = 0; i < scales->count; i++) order[i] = &scales->rows[i];
    qsort(order, (size_t)scales->count, sizeof *order, by_distance);
    for (int64_t i = 0; i < scales->count && i < ROWS_SHOWN; i++) SOW_TRY(sow_append_json(rows, row_json(order[i])));
    return SOW_OK;
}

/* Of LoRA's start: A has no gradient while B is 0. */
static const char of_dead[] =
    "no gradient in these batches: their scale is 1, where the package's formula gives 0, with which they "
    "would never move; of --sqrt-n they get a root like all others";

/* What measuring adds to the roots of sizes; NULL when memory is short. */
static const char *meaning_of(sow_arena *arena, const sow_sai_summary *s) {
    double share = s->weights > 0 ? 100.0 * (double)s->weights_off / (double)s->weights : 0;
    const char *others = s->dead > 0 ? " but those of dead blocks" : "";
    if (s->blocks_off == 0)
        return sow_arena_format(arena, "every scale%s is within 2 %% of sqrt(n): measuring adds nothing here%s", others,
                                s->dead > 0 ? ", except that dead blocks hardly move"
                                            : ", --sqrt-n trains nearly the same");
    return sow_arena_format(arena, "%lld of %lld blocks, %.2g %% of the weights, are more than 2 %% from sqrt(n)%s",
                            (long long)s->blocks_off, (long long)s->blocks, share,
                            share < 1 && s->dead == 0
                                ? ": for all others measuring adds nothing, and --sqrt-n trains nearly the same"
                                : "");
}

static sow_status report_meaning(sow_call *call, const sow_scales *scales) {
    sow_sai_summary s = sow_sai_summarise(scales);
    SOW_TRY(sow_put_count(call->result, "blocks", scales->count));
    SOW_TRY(sow_put_real(call->result, "largest_g", scales->largest));
    if (s.blocks > 0) {
        SOW_TRY(sow_put_real(call->result, "least_ratio_to_sqrt_n", s.least));
        SOW_TRY(sow_put_real(call->result, "most_ratio_to_sqrt_n", s.most));
    }
    if (s.dead > 0) {
        SOW_TRY(sow_put_count(call->result, "dead_blocks", s.dead));
        SOW_TRY(sow_put_text(call->result, "dead", of_dead));
    }
    if (s.constant > 0) SOW_TRY(sow_put_count(call->result, "constant_blocks", s.constant));
    if (s.tiny > 0) SOW_TRY(sow_put_count(call->result, "blocks_with_tiny_gradients", s.tiny));
    const char *text = meaning_of(call->arena, &s);
    if (!text) return SOW_E_MEMORY;
    return sow_put_text(call->result, "meaning", text);
}

static sow_status report(const sai_subject *s, const sow_scales *scales) {
    sow_call *call = s->call;
    SOW_TRY(sow_put_text(call->result, "model", s->model_name));
    SOW_TRY(sow_put_text(call->result, "data", s->data_name));
    if (!sow_flag(call, "sqrt-n")) SOW_TRY(report_rows(call, scales));
    SOW_TRY(report_meaning(call, scales));
    SOW_TRY(
        sow_put_format(call->result, "conversion",
                       "lr of --normalise max is lr of none times %.6g, its weight decay that of none divided by it",
                       scales->largest));
    return sow_put_format(call->result, "next", "sow train --optimizer sgd-sai --scales %s ...", sow_text(call, "out"));
}

/* ---- the action ---- */

static sow_status check_outputs(sow_call *call) {
    const char *path = sow_text(call, "out");
    static const char *const endings[] = {".csv", ".svg"};
    SOW_TRY(sow_check_output(call, path));
    for (int i = 0; i < 2; i++) {
        const char *beside = sai_beside(call->arena, path, endings[i]);
        if (!beside) return SOW_E_MEMORY;
        SOW_TRY(sow_check_output(call, beside));
    }
    return SOW_OK;
}

static sow_status measure(sai_subject *s, sow_scales *scales) {
    sow_call *call = s->call;
    sow_sgd_sai_config config = {.adapter = s->adapter,
                                 .batches = sow_int(call, "batches"),
                                 .mean_of_scales = strcmp(sow_text(call, "average"), "scale") == 0};
    SOW_TRY(sow_block_kind_parse(sow_text(call, "blocks"), &config.blocks.kind));
    SOW_TRY(sow_scale_norm_parse(sow_text(call, "normalise"), &config.norm));
    config.blocks.heads = s->heads, config.blocks.kv_heads = s->kv_heads;
    if (config.blocks.kind == SOW_BLOCKS_HEAD && config.blocks.heads == 0)
        return sow_fail(SOW_E_ARGUMENT, "--blocks head: %s has no attention heads", s->model_name);
    if (sow_flag(call, "sqrt-n")) return sow_scales_sqrt_n(call->arena, s->state, &config.blocks, config.norm, scales);
    return sow_sgd_sai(&config, s->train, call->arena, scales);
}

static sow_status run(sow_call *call) {
    sai_subject s = {.call = call};
    sow_scales scales;
    SOW_TRY(check_outputs(call));
    const char *model = sow_text(call, "model");
    if (!model == !sow_text(call, "arch"))
        return sow_fail(SOW_E_ARGUMENT, model ? "--model and --arch exclude each other"
                                              : "missing --model, a language model, or --arch, a network");
    sow_status status = sai_open(call, &s);
    if (!status) status = measure(&s, &scales);
    if (!status) status = sai_write(&s, &scales, sow_text(call, "out"));
    if (!status) status = report(&s, &scales);
    sai_close(&s);
    return status;
}

static const sow_action actions[] = {
    {"measure", "the scale of every block of weights, from the first gradient", options, run,
     "sow sgd-sai --model smollm2 --data train.jsonl -o scales.json", SOW_ACTION_COMPUTES},
    {"simulate", "train a small model by any optimiser: what the study runs", sai_simulate_options, sai_simulate,
     "sow sgd-sai simulate --optimizer sgd-sai --lr 0.01 --clip 1 --seed 1", SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_method_sgd_sai = {
    .name = "sgd-sai",
    .family = "steps",
    .summary = "a fixed learning rate for each block of weights, measured before the first step",
    .paper = "Xu et al. 2024, arXiv 2412.11768",
    .actions = actions,
    .study = "sgd-sai",
};
