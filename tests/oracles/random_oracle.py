"""Writes random.h: what PyTorch and NumPy drew for the calls below. Run it with both installed, on AVX2 or AVX-512."""
import itertools
import math
import warnings

import numpy as np
import torch

warnings.simplefilter("ignore")
DTYPES = {"f32": (np.float32, torch.float32), "f64": (np.float64, torch.float64)}


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


rows = []


def row(kind, seed, call, dtype, n, parameters, values, exact):
    """`exact`: no function of the C library decides a bit, so the hash of all bytes must agree anywhere."""
    values = np.ascontiguousarray(values)
    parameters = [*parameters, 0, 0, 0, 0][:4]
    digest = f"0x{fnv1a(values.tobytes()):016x}u" if exact else "0"
    samples = ", ".join(float(values[i]).hex() for i in (0, n // 3, n - 1)) if n else "0, 0, 0"
    text = ", ".join("INFINITY" if p == math.inf else "-INFINITY" if p == -math.inf else repr(float(p))
                     for p in parameters)
    rows.append(f'    {{{kind}, {seed}u, "{call} {dtype}", {n}, {{{text}}}, {{{samples}}}, {digest}}},')


def torch_rows():
    for seed in (0, 42, 2**32 + 7, 2**64 - 1):
        torch.manual_seed(seed if seed < 2**63 else seed - 2**64)
        for n, dtype in itertools.product((1, 3, 15, 16, 17, 33, 100, 1000), DTYPES):
            tensor = torch.empty(n, dtype=DTYPES[dtype][1])
            row("SOW_RNG_TORCH_CPU", seed, "uniform", dtype, n, (-0.3, 0.7), tensor.uniform_(-0.3, 0.7).numpy(), True)
            row("SOW_RNG_TORCH_CPU", seed, "normal", dtype, n, (0.5, 0.02), tensor.normal_(0.5, 0.02).numpy(),
                dtype == "f32" and n >= 16)
    torch.manual_seed(4)
    values = torch.empty(60000)
    row("SOW_RNG_TORCH_CPU", 4, "normal", "f32", 60000, (0, 1), values.normal_(0, 1).numpy(), True)
    row("SOW_RNG_TORCH_CPU", 4, "uniform", "f32", 60000, (-1e-3, 1e3), values.uniform_(-1e-3, 1e3).numpy(), True)
    for low, high in ((-2, 2), (-0.1, 0.3), (0.3, math.inf), (-7, -2)):
        torch.manual_seed(3)
        for n, dtype in itertools.product((2, 100), DTYPES):
            tensor = torch.nn.init.trunc_normal_(torch.empty(n, dtype=DTYPES[dtype][1]), 0, 1, low, high)
            row("SOW_RNG_TORCH_CPU", 3, "truncated", dtype, n, (0, 1, low, high), tensor.numpy(), False)
    torch.manual_seed(9)
    for bound in (1, 10, 2**28 - 1, 2**28, 2**40 + 9, 2**53):
        row("SOW_RNG_TORCH_CPU", 9, "below", "f64", 1, (bound,),
            torch.randint(0, bound, (1,)).numpy().astype(np.float64), True)
    for n in (1, 2, 30, 1000):
        row("SOW_RNG_TORCH_CPU", 9, "permutation", "f64", n, (), torch.randperm(n).numpy().astype(np.float64), True)


def numpy_rows():
    for seed in (0, 42, 2**32 - 1):
        legacy = np.random.RandomState(seed)
        for n in (1, 7, 1000):
            row("SOW_RNG_NUMPY", seed, "uniform", "f64", n, (-0.3, 0.7), legacy.uniform(-0.3, 0.7, n), True)
            row("SOW_RNG_NUMPY", seed, "normal", "f64", n, (0.5, 2), legacy.normal(0.5, 2, n), False)
            row("SOW_RNG_NUMPY", seed, "normal", "f32", n, (0.5, 2), legacy.normal(0.5, 2, n).astype(np.float32), False)
            row("SOW_RNG_NUMPY", seed, "permutation", "f64", n, (), legacy.permutation(n).astype(np.float64), True)
        for bound in (1, 2, 10, 2**32, 2**40 + 9, 2**53):
            row("SOW_RNG_NUMPY", seed, "below", "f64", 1, (bound,), np.array([legacy.randint(bound)], float), True)
    for seed in (0, 42, 2**32 + 7, 2**64 - 1):
        modern = np.random.default_rng(seed)
        for n in (1, 7, 1000):
            row("SOW_RNG_PCG64", seed, "uniform", "f64", n, (-0.3, 0.7), modern.uniform(-0.3, 0.7, n), True)
            row("SOW_RNG_PCG64", seed, "uniform", "f32", n, (0, 1), modern.random(n, dtype=np.float32), True)
            row("SOW_RNG_PCG64", seed, "normal", "f64", n, (0.5, 2), modern.normal(0.5, 2, n), False)
            row("SOW_RNG_PCG64", seed, "normal", "f32", n, (0, 1), modern.standard_normal(n, dtype=np.float32), False)
            row("SOW_RNG_PCG64", seed, "permutation", "f64", n, (), modern.permutation(n).astype(np.float64), True)
        for bound in (1, 2, 10, 2**32, 2**40 + 9, 2**53):
            row("SOW_RNG_PCG64", seed, "below", "f64", 1, (bound,), np.array([modern.integers(bound)], float), True)


torch_rows()
numpy_rows()
print(f"""/* What PyTorch {torch.__version__.split('+')[0]} (AVX2) and NumPy {np.__version__} drew; written by random_oracle.py.
 * Rows of one kind and seed that follow each other are calls on one generator. */
#include <math.h>
#include <stdint.h>

#include "sow/random.h"

typedef struct random_oracle {{
    sow_rng_kind kind;
    uint64_t seed;
    const char *call; /* and dtype; integers are compared as f64 */
    int64_t n;
    double parameters[4];
    double samples[3]; /* numbers 0, n/3 and n-1 */
    uint64_t hash;     /* FNV-1a of all bytes; 0 where functions of the C library take part */
}} random_oracle;

/* clang-format off */
static const random_oracle random_oracles[] = {{""")
print("\n".join(rows))
print("};")
