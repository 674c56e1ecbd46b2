/* Training recipes of the paper (figure 2 and appendices G to I) and of its authors' code. */
#include "starts/sparsity/lottery_ticket/ticket.h"

#define ADAM(steps, lr, rate)                                                   \
    {                                                                           \
        {"steps", steps}, {"batch", "60"}, {"optimizer", "adam"}, {"lr", lr}, { \
            "rate", rate                                                        \
        }                                                                       \
    }
#define SGD(steps, batch)                                                                             \
    {                                                                                                 \
        {"steps", steps}, {"batch", batch}, {"optimizer", "sgd"}, {"lr", "0.1"}, {"momentum", "0.9"}, \
            {"weight-decay", "0.0001"}, {"augment", "flip,crop"}, {"rate", "conv=0.2"}, {             \
            "global", "true"                                                                          \
        }                                                                                             \
    }
#define GOOGLE                                                                                              \
    {                                                                                                       \
        {"steps", "50000"}, {"batch", "64"}, {"optimizer", "sgd"}, {"lr", "0.1"}, {"normalisation", "row"}, \
            {"val", "0"}, {                                                                                 \
            "rate", "fc=0.2,out=0.1"                                                                        \
        }                                                                                                   \
    }

static const sow_preset presets[] = {
    {"frankle2019", "lenet300", ADAM("50000", "0.0012", "fc=0.2,out=0.1"), {0}},
    {"frankle2019", "mlp:", ADAM("50000", "0.0012", "fc=0.2,out=0.1"), {0}},
    {"frankle2019", "conv2", ADAM("20000", "0.0002", "conv=0.1,fc=0.2,out=0.1"), {0}},
    {"frankle2019", "conv4", ADAM("25000", "0.0003", "conv=0.1,fc=0.2,out=0.1"), {0}},
    {"frankle2019", "conv6", ADAM("30000", "0.0003", "conv=0.15,fc=0.2,out=0.1"), {0}},
    {"frankle2019", "resnet20", SGD("30000", "128"), {2.0 / 3, 5.0 / 6}},
    {"frankle2019", "vgg19", SGD("112480", "64"), {0.5, 0.75}},
    {"google", "lenet300", GOOGLE, {0}},
    {"google", "mlp:", GOOGLE, {0}},
};

sow_status ticket_apply_preset(sow_call *call) {
    const sow_preset *found;
    SOW_TRY(sow_preset_apply(call, presets, sizeof presets / sizeof *presets, &found));
    if (found) sow_resolve(call, "evaluate-every", "100");
    else sow_resolve(call, "rate", "0.2");
    /* one threshold over all tensors belongs to the recipe's own rate */
    if (sow_given(call, "rate")) sow_resolve(call, "global", NULL);
    return SOW_OK;
}
