"""Writes init.h: what torch.nn.init and PyTorch's modules gave for the calls below, one after another under one seed.
Run it with PyTorch installed, on AVX2 or AVX-512."""
import itertools
import math
import warnings

import numpy as np
import torch
from torch.nn import init

warnings.simplefilter("ignore")
DTYPES = {"SOW_F32": torch.float32, "SOW_F64": torch.float64}
SEEDS = (0, 42, 2**32 + 7)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


CALLS = [ # text, shape, the same in PyTorch, whether no function of the C library decides a bit (f32)
    ("uniform:low=-0.3,high=0.7", (5, 3), lambda t: init.uniform_(t, -0.3, 0.7), True),
    ("normal:mean=0.1,sd=0.02", (7,), lambda t: init.normal_(t, 0.1, 0.02), False),
    ("normal:mean=0.1,sd=0.02", (33,), lambda t: init.normal_(t, 0.1, 0.02), True),
    ("truncated-normal:sd=0.02,low=-0.03,high=0.03", (40, 3), lambda t: init.trunc_normal_(t, 0, 0.02, -0.03, 0.03), True),
    ("truncated-normal:low=1.5,high=3", (40,), lambda t: init.trunc_normal_(t, a=1.5, b=3), False),
    ("xavier-uniform:gain=1.6666666666666667", (30, 20), lambda t: init.xavier_uniform_(t, 5 / 3), True),
    ("xavier-normal", (8, 3, 3, 3), init.xavier_normal_, True),
    ("kaiming-uniform:slope=0.2", (30, 20), lambda t: init.kaiming_uniform_(t, 0.2), True),
    ("kaiming-normal:mode=fan_out,nonlinearity=relu", (8, 3, 3, 3), lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), True),
    ("kaiming-normal:nonlinearity=selu", (2, 3), lambda t: init.kaiming_normal_(t, nonlinearity="selu"), False),
    ("sparse:sparsity=0.7", (20, 9), lambda t: init.sparse_(t, 0.7), True),
    ("orthogonal:gain=2", (6, 20), lambda t: init.orthogonal_(t, 2), False),
    ("orthogonal", (12, 3, 1, 1), init.orthogonal_, False),
    ("eye", (3, 4), init.eye_, True),
    ("dirac:groups=2", (6, 2, 3, 3), lambda t: init.dirac_(t, 2), True),
    ("constant:value=0.3", (4,), lambda t: init.constant_(t, 0.3), True),
    ("normal", (1,), init.normal_, False),
]


def samples(values):
    flat = np.ascontiguousarray(values).ravel()
    return ", ".join(float(flat[i]).hex() for i in (0, flat.size // 3, flat.size - 1))


def call_rows():
    for seed, (kind, dtype) in itertools.product(SEEDS, DTYPES.items()):
        torch.manual_seed(seed)
        for text, shape, call, exact in CALLS:
            values = call(torch.empty(shape, dtype=dtype)).numpy()
            uniform = text.startswith(("uniform", "xavier-uniform", "kaiming-uniform", "eye", "dirac", "constant"))
            digest = f"0x{fnv1a(values.tobytes()):016x}u" if exact and (kind == "SOW_F32" or uniform) else "0"
            sizes = ", ".join(map(str, shape))
            yield f'    {{{seed}u, "{text}", {kind}, {len(shape)}, {{{sizes}}}, {{{samples(values)}}}, {digest}}},'


def module_rows():
    """LeNet-300-100's layers and a small convolutional net, as modules start."""
    from torch import nn
    makers = {
        "dense": lambda: nn.ModuleDict({"fc1": nn.Linear(20, 12), "fc2": nn.Linear(12, 3)}),
        "conv": lambda: nn.ModuleDict({"conv1": nn.Conv2d(3, 8, 3), "bn1": nn.BatchNorm2d(8), "conv2": nn.Conv2d(8, 4, 3, groups=2, bias=False),
                                       "embedding": nn.Embedding(5, 3), "fc": nn.Linear(4, 2), "rnn": nn.LSTM(3, 2)}),
    }
    for name, make in makers.items():
        torch.manual_seed(7)
        for tensor, value in make().state_dict().items():
            kind = {torch.float32: "SOW_F32", torch.int64: "SOW_I64"}[value.dtype]
            sizes = ", ".join(map(str, value.shape)) or "0"
            digest = "0" if tensor == "embedding.weight" else f"0x{fnv1a(value.numpy().tobytes()):016x}u"
            yield f'    {{"{name}", "{tensor}", {kind}, {value.dim()}, {{{sizes}}}, {{{samples(value.numpy())}}}, {digest}}},'


gains = [f'    {{"{name}", {parameter!r}, {float(init.calculate_gain(name, parameter)).hex()}}},'
         for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu") for parameter in (0.0, 0.2, math.sqrt(5))]
newline = "\n"
with open(__file__.replace("init_oracle.py", "init.h"), "w") as out:
    out.write(f"""/* What PyTorch {torch.__version__.split('+')[0]} gave; written by init_oracle.py. Rows of one seed and dtype, and of one
 * network, that follow each other were drawn one after another. */
#include <stdint.h>

#include "sow/tensor.h"

/* samples: numbers 0, n/3 and n-1; hash: FNV-1a of all bytes, 0 where functions of the C library or LAPACK take part. */
static const struct init_oracle {{
    uint64_t seed;
    const char *text;
    sow_dtype dtype;
    int rank;
    int64_t shape[4];
    double samples[3];
    uint64_t hash;
}} init_oracles[] = {{
{newline.join(call_rows())}
}};

/* Modules under the seed 7. */
static const struct module_oracle {{
    const char *network, *tensor;
    sow_dtype dtype;
    int rank;
    int64_t shape[4];
    double samples[3];
    uint64_t hash;
}} module_oracles[] = {{
{newline.join(module_rows())}
}};

static const struct gain_oracle {{
    const char *nonlinearity;
    double parameter, gain;
}} gain_oracles[] = {{
{newline.join(gains)}
}};
""")
