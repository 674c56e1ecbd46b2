"""Streams torch-cpu, numpy and pcg64 against live PyTorch and NumPy: equal in every bit, call after call."""
import ctypes
import itertools
import math
import os
import pathlib
import sys
import time
import warnings

import numpy as np
import torch

library_path = os.environ.get("SOW_LIBRARY") or pathlib.Path(os.environ.get("SOW", "build/sow")).parent / "libsow.so"
sow = ctypes.CDLL(str(library_path))
REAL, SIZE, WORD, POINTER = ctypes.c_double, ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p
sow.sow_rng_seed.argtypes = [POINTER, ctypes.c_int, WORD]
sow.sow_message.restype = ctypes.c_char_p
for dtype in ("f32", "f64"):
    for name in ("uniform", "normal"):
        getattr(sow, f"sow_rng_{name}_{dtype}").argtypes = [POINTER, POINTER, SIZE, REAL, REAL]
    getattr(sow, f"sow_rng_truncated_{dtype}").argtypes = [POINTER, POINTER, SIZE, REAL, REAL, REAL, REAL]
sow.sow_rng_below.argtypes, sow.sow_rng_below.restype = [POINTER, WORD], WORD
sow.sow_rng_permutation.argtypes = [POINTER, POINTER, SIZE]

KINDS = {"sow": 0, "torch-cpu": 1, "numpy": 2, "pcg64": 3}
SUFFIX = {np.float32: "f32", np.float64: "f64"}
TORCH = {np.float32: torch.float32, np.float64: torch.float64}


class Stream:
    """A generator of libsow."""

    def __init__(self, kind, seed):
        self.state = ctypes.create_string_buffer(4096)
        status = sow.sow_rng_seed(self.state, KINDS[kind], seed)
        if status != 0:
            raise ValueError(sow.sow_message().decode())

    def fill(self, name, dtype, n, *parameters):
        out = np.empty(n, dtype)
        status = getattr(sow, f"sow_rng_{name}_{SUFFIX[dtype]}")(self.state, out.ctypes.data, n, *parameters)
        if name == "truncated" and status != 0:
            raise ValueError(sow.sow_message().decode())
        return out

    def below(self, bound):
        return sow.sow_rng_below(self.state, bound)

    def permutation(self, n):
        out = np.empty(n, np.int64)
        sow.sow_rng_permutation(self.state, out.ctypes.data, n)
        return out


counts, failures = {}, {}


def same(what, ours, theirs):
    """Equal in every bit; counts the numbers compared."""
    ours, theirs = np.atleast_1d(ours), np.atleast_1d(theirs)
    group = what.split(":")[0]
    counts[group] = counts.get(group, 0) + ours.size
    if ours.tobytes() != theirs.astype(ours.dtype, copy=False).tobytes():
        wrong = np.flatnonzero(ours != theirs)
        first = wrong[0] if wrong.size else 0
        failures.setdefault(group, f"{what}: {wrong.size} of {ours.size} differ, first at {first}: "
                                   f"{ours[first]!r} instead of {theirs[first]!r}")


SIZES = [*range(0, 42), 63, 64, 65, 100, 127, 1000, 1023, 1025, 4099, 300 * 784]
SEEDS = [0, 1, 7, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**53 + 1, 2**63, 2**64 - 1]
RANGES = [(0.0, 1.0), (-1.0, 1.0), (-0.0357142857, 0.0357142857), (2.0, 2.0), (-1e-30, 3e5), (0.1, 0.7)]
MOMENTS = [(0.0, 1.0), (0.0, 0.02), (3.0, 0.1), (-1e3, 1e-4), (1.5, 0.0), (0.1, 123.456)]


def torch_fills():
    for seed in SEEDS:
        for dtype in SUFFIX:
            torch.manual_seed(seed if seed < 2**63 else seed - 2**64)
            stream = Stream("torch-cpu", seed)
            for n, (low, high) in itertools.product(SIZES, RANGES[:2] if n_is_large(seed) else RANGES):
                same(f"torch uniform {SUFFIX[dtype]}: seed {seed}, n {n}, {low}, {high}",
                     stream.fill("uniform", dtype, n, low, high),
                     torch.empty(n, dtype=TORCH[dtype]).uniform_(low, high).numpy())
            for n, (mean, sd) in itertools.product(SIZES, MOMENTS[:2] if n_is_large(seed) else MOMENTS):
                same(f"torch normal {SUFFIX[dtype]}: seed {seed}, n {n}, {mean}, {sd}",
                     stream.fill("normal", dtype, n, mean, sd),
                     torch.empty(n, dtype=TORCH[dtype]).normal_(mean, sd).numpy())


def n_is_large(seed):
    return seed not in (0, 42, 2**32 + 7)


def torch_caches():
    """Mixed dtypes and sizes in one stream: the second normal of a pair crosses calls and dtypes."""
    chooser = np.random.default_rng(3)
    torch.manual_seed(99)
    stream = Stream("torch-cpu", 99)
    for call in range(3000):
        n, dtype = int(chooser.integers(0, 40)), (np.float32, np.float64)[chooser.integers(2)]
        name = ("uniform", "normal")[chooser.integers(2)]
        tensor = torch.empty(n, dtype=TORCH[dtype])
        same(f"torch mixed: call {call}, {name} {SUFFIX[dtype]} {n}", stream.fill(name, dtype, n, 0.25, 1.5),
             getattr(tensor, name + "_")(0.25, 1.5).numpy())


def torch_modules():
    """Tensor after tensor under one seed, as modules make them."""
    torch.manual_seed(5)
    stream = Stream("torch-cpu", 5)
    for fan_in, fan_out in ((784, 300), (300, 100), (100, 10), (3, 2)):
        layer = torch.nn.Linear(fan_in, fan_out)
        for parameter in (layer.weight, layer.bias):
            if parameter is layer.weight:
                gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))
                bound = math.sqrt(3.0) * (gain / math.sqrt(fan_in))
            else:
                bound = 1 / math.sqrt(fan_in)
            same("torch Linear: default start", stream.fill("uniform", np.float32, parameter.numel(), -bound, bound),
                 parameter.detach().numpy().ravel())


def torch_truncated():
    shapes = [(0, 1, -2, 2), (0, 0.02, -2, 2), (0, 1, -1, 1), (0.5, 2, -0.3, 9), (0, 1, 1.5, 3), (0, 1, -0.1, 0.3),
              (0, 1, 2, 2.5), (1, 0.5, -7, -0.2), (0, 1, 0.3, math.inf), (0, 1, -math.inf, 0.1), (0, 1, -5, -1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed, dtype, (mean, sd, low, high) in itertools.product((0, 42, 2**40 + 3), SUFFIX, shapes):
            torch.manual_seed(seed)
            stream = Stream("torch-cpu", seed)
            for n in (0, 1, 2, 7, 15, 16, 17, 33, 100, 4097, 60000):
                tensor = torch.empty(n, dtype=TORCH[dtype])
                torch.nn.init.trunc_normal_(tensor, mean, sd, low, high)
                same(f"torch truncated {SUFFIX[dtype]}: seed {seed}, n {n}, {mean}, {sd}, {low}, {high}",
                     stream.fill("truncated", dtype, n, mean, sd, low, high), tensor.numpy())


def torch_integers():
    torch.manual_seed(11)
    stream = Stream("torch-cpu", 11)
    for bound in (1, 2, 3, 10, 1000, 2**28 - 1, 2**28, 2**28 + 1, 2**31, 2**32 - 1, 2**32, 2**40 + 9, 2**63 - 1):
        for _ in range(200):
            same(f"torch randint: {bound}", np.uint64(stream.below(bound)),
                 np.uint64(torch.randint(0, bound, (1,)).item()))
    for n in (0, 1, 2, 3, 15, 16, 100, 784, 60000, 1000003):
        same(f"torch randperm: {n}", stream.permutation(n), torch.randperm(n).numpy())
    weights = torch.empty(30, 17)
    torch.nn.init.sparse_(weights, 0.4, 0.05)
    ours = stream.fill("normal", np.float32, 30 * 17, 0, 0.05).reshape(30, 17)
    for column in range(17):
        ours[stream.permutation(30)[:math.ceil(0.4 * 30)], column] = 0
    same("torch sparse_: 30 x 17", ours, weights.numpy())


def torch_large_permutation():
    """From 2^32 / 20 elements on PyTorch shuffles another way; takes 4 GB and a minute."""
    n = (2**32 - 1) // 20
    for size in (n - 1, n):
        torch.manual_seed(8)
        same(f"torch large randperm: {size}", Stream("torch-cpu", 8).permutation(size), torch.randperm(size).numpy())


def numpy_legacy():
    for seed in (0, 1, 42, 2**31, 2**32 - 1):
        theirs, stream = np.random.RandomState(seed), Stream("numpy", seed)
        for n in SIZES:
            same("numpy random_sample: f64", stream.fill("uniform", np.float64, n, 0, 1), theirs.random_sample(n))
            same("numpy standard_normal: f64", stream.fill("normal", np.float64, n, 0, 1), theirs.standard_normal(n))
        for low, high in RANGES:
            same("numpy uniform: f64", stream.fill("uniform", np.float64, 999, low, high),
                 theirs.uniform(low, high, 999))
            same("numpy uniform: f32", stream.fill("uniform", np.float32, 999, low, high),
                 theirs.uniform(low, high, 999).astype(np.float32))
        for mean, sd in MOMENTS:
            same("numpy normal: f64", stream.fill("normal", np.float64, 999, mean, sd), theirs.normal(mean, sd, 999))
            same("numpy normal: f32", stream.fill("normal", np.float32, 999, mean, sd),
                 theirs.normal(mean, sd, 999).astype(np.float32))
        integers(stream, lambda bound: theirs.randint(bound) if bound <= 2**63 else theirs.randint(bound, dtype=np.uint64),
                 "numpy randint")
        for n in (0, 1, 2, 3, 100, 60000):
            same(f"numpy permutation: {n}", stream.permutation(n), theirs.permutation(n))


def integers(stream, draw, what):
    for bound in (1, 2, 3, 7, 256, 1000, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 9, 2**63, 2**64 - 1):
        for _ in range(100):
            same(f"{what}: {bound}", np.uint64(stream.below(bound)), np.uint64(draw(bound)))


def numpy_generator():
    for seed in (*SEEDS, 2**48 + 5):
        theirs, stream = np.random.default_rng(seed), Stream("pcg64", seed)
        for n in SIZES:
            same("pcg64 random: f64", stream.fill("uniform", np.float64, n, 0, 1), theirs.random(n))
            same("pcg64 random: f32", stream.fill("uniform", np.float32, n, 0, 1), theirs.random(n, dtype=np.float32))
            same("pcg64 standard_normal: f64", stream.fill("normal", np.float64, n, 0, 1), theirs.standard_normal(n))
            same("pcg64 standard_normal: f32", stream.fill("normal", np.float32, n, 0, 1),
                 theirs.standard_normal(n, dtype=np.float32))
        for low, high in RANGES:
            same("pcg64 uniform: f64", stream.fill("uniform", np.float64, 999, low, high),
                 theirs.uniform(low, high, 999))
        for mean, sd in MOMENTS:
            same("pcg64 normal: f64", stream.fill("normal", np.float64, 999, mean, sd), theirs.normal(mean, sd, 999))
        integers(stream, lambda bound: theirs.integers(bound, dtype=np.uint64 if bound > 2**63 else np.int64),
                 "pcg64 integers")
        for n in (0, 1, 2, 3, 100, 60000):
            same(f"pcg64 permutation: {n}", stream.permutation(n), theirs.permutation(n))


def pcg64_tails():
    """Millions of normals reach every layer of the ziggurat and its tail."""
    for dtype in SUFFIX:
        theirs, stream = np.random.default_rng(17), Stream("pcg64", 17)
        same(f"pcg64 tails {SUFFIX[dtype]}", stream.fill("normal", dtype, 20_000_000, 0, 1),
             theirs.standard_normal(20_000_000, dtype=dtype))


def speed():
    """Millions of numbers a second, one thread each, medians of interleaved runs."""
    torch.set_num_threads(1)
    n, stream = 300 * 784, {kind: Stream(kind, 1) for kind in KINDS}
    generator, legacy = np.random.default_rng(1), np.random.RandomState(1)
    for dtype in SUFFIX:
        tensor, out = torch.empty(n, dtype=TORCH[dtype]), np.empty(n, dtype)
        for name in ("uniform", "normal"):
            function = getattr(sow, f"sow_rng_{name}_{SUFFIX[dtype]}")
            runs = {kind: (lambda s=s: function(s.state, out.ctypes.data, n, 0.0, 1.0)) for kind, s in stream.items()}
            runs["PyTorch"] = lambda: getattr(tensor, name + "_")(0.0, 1.0)
            draw = generator.random if name == "uniform" else generator.standard_normal
            runs["Generator"] = lambda: draw(n, dtype=dtype)
            old = legacy.random_sample if name == "uniform" else legacy.standard_normal
            runs["RandomState"] = lambda: old(n)
            times = {label: [] for label in runs}
            for _ in range(41):
                for label, run in runs.items():
                    start = time.perf_counter()
                    run()
                    times[label].append(time.perf_counter() - start)
            print(f"# {name} {SUFFIX[dtype]}, M/s: " + ", ".join(
                f"{label} {n / sorted(t)[len(t) // 2] / 1e6:.0f}" for label, t in times.items()))


checks = [torch_fills, torch_caches, torch_modules, torch_truncated, torch_integers, numpy_legacy, numpy_generator,
          pcg64_tails]
if os.environ.get("LONG"):
    checks.append(torch_large_permutation)
for check in checks:
    check()
speed()
print(f"1..{len(counts)}")
for number, (group, count) in enumerate(sorted(counts.items()), 1):
    if group in failures:
        print(f"not ok {number} - {failures[group]}")
    else:
        print(f"ok {number} - {group}: {count} numbers equal in every bit")
sys.exit(1 if failures else 0)
