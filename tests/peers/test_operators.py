"""Values and gradients of the operators against PyTorch, in f32 (1e-4 relative) and f64 (1e-10)."""
import sys

import numpy as np
import torch
import torch.nn.functional as F

from engine import Conv, Norm, Tape, describe, sow

TOLERANCE = {np.float32: 1e-4, np.float64: 1e-10}
results = []


def agree(a, b, dtype):
    a, b = np.asarray(a, np.float64), np.asarray(b.detach(), np.float64)
    return a.shape == b.shape and np.abs(a - b).max(initial=0) <= TOLERANCE[dtype] * max(np.abs(b).max(initial=0), 1e-3)


def report(name, good):
    results.append(good)
    print("ok" if good else "not ok", len(results), "-", name, flush=True)


def arrays(shapes, dtype, seed, channels_last):
    random = np.random.default_rng(seed)
    made = [random.standard_normal(s).astype(dtype) for s in shapes]
    if channels_last:
        made[0] = np.ascontiguousarray(made[0].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return made


def compare(name, shapes, ours, theirs, training=True):
    """ours(tape, leaves) and theirs(tensors) give the output; every operand's gradient is compared."""
    for dtype in (np.float32, np.float64):
        for channels_last in ((False, True) if len(shapes[0]) == 4 else (False,)):
            operands = arrays(shapes, dtype, len(results), channels_last)
            tape = Tape(training)
            leaves = [tape.leaf(a) for a in operands]
            y = ours(tape, leaves)
            value = tape.value(y)
            tensors = [torch.tensor(a, requires_grad=True) for a in operands]
            expected = theirs(tensors)
            upstream = np.random.default_rng(1).standard_normal(value.shape).astype(dtype)
            tape.backward(y, upstream)
            expected.backward(torch.tensor(upstream))
            good = agree(value, expected, dtype) and all(agree(tape.gradient(a), b.grad, dtype) for a, b in zip(leaves, tensors))
            tape.free()
            report(f"{name} {dtype.__name__}{' channels last' if channels_last else ''}", good)


def convolutions():
    for x, w, bias, stride, padding, dilation, groups in (
            ((4, 3, 32, 32), (16, 3, 3, 3), True, 1, 1, 1, 1), ((8, 16, 16, 16), (32, 16, 3, 3), False, 2, 1, 1, 1),
            ((8, 16, 9, 7), (32, 16, 1, 1), False, 2, 0, 1, 1), ((3, 6, 14, 14), (16, 6, 5, 5), True, 1, 0, 1, 1),
            ((2, 12, 11, 13), (8, 3, 3, 3), True, 1, 2, 2, 4), ((5, 16, 10, 10), (16, 1, 3, 3), False, 1, 1, 1, 16),
            ((20, 64, 8, 8), (64, 64, 3, 3), True, 1, 1, 1, 1), ((2, 24, 12, 12), (10, 24, 3, 3), True, 3, 1, 1, 1),
            ((1, 1, 28, 28), (6, 1, 5, 5), True, 1, 2, 1, 1), ((9, 512, 2, 2), (512, 512, 3, 3), True, 1, 1, 1, 1)):
        shapes = [x, w]
        shapes += [(w[0],)] if bias else []
        compare(f"conv2d {x} * {w}, stride {stride}, padding {padding}, dilation {dilation}, groups {groups}", shapes,
                lambda t, v: t.call("sow_conv2d", v[0], v[1], v[2] if bias else None, Conv(stride, padding, dilation, groups)),
                lambda v: F.conv2d(v[0], v[1], v[2] if bias else None, stride, padding, dilation, groups))


def batch_norms():
    for shape in ((6, 16, 5, 5), (4, 37, 3, 2), (30, 20)):
        for training in (True, False):
            for relu, skip in ((False, False), (True, False), (False, True), (True, True)):
                channels = (shape[1],)
                random = np.random.default_rng(3)
                mean, variance = random.standard_normal(channels), random.uniform(0.5, 2, channels)
                kept = {}

                def ours(t, v):
                    dtype = t.arrays[0].dtype
                    kept["entries"] = [t.buffer(mean.astype(dtype)), t.buffer(variance.astype(dtype)), t.buffer(np.array(0))]
                    y = t.call("sow_batch_norm", *v[:3], v[3] if skip else None, *kept["entries"], Norm(0, 0, relu))
                    kept["running"] = [e.contents.value.view().copy() for e in kept["entries"]]
                    return y

                def theirs(v):
                    dtype = v[0].dtype
                    running = [torch.tensor(mean, dtype=dtype), torch.tensor(variance, dtype=dtype)]
                    y = F.batch_norm(v[0], *running, v[1], v[2], training, 0.1, 1e-5)
                    ran = kept["running"]
                    numpy_dtype = np.float32 if dtype == torch.float32 else np.float64
                    report(f"running statistics of {shape}, training {training}",
                           agree(ran[0], running[0], numpy_dtype) and agree(ran[1], running[1], numpy_dtype) and ran[2] == int(training))
                    y = y + v[3] if skip else y
                    return torch.relu(y) if relu else y

                compare(f"batch_norm {shape}, training {training}, relu {relu}, skip {skip}",
                        [shape, channels, channels] + ([shape] if skip else []), ours, theirs, training)


def others():
    for shape in ((7, 33), (2, 5, 64)):
        d = shape[-1]
        compare(f"layer_norm {shape}", [shape, (d,), (d,)], lambda t, v: t.call("sow_layer_norm", *v, 1e-5),
                lambda v: F.layer_norm(v[0], (d,), v[1], v[2], 1e-5))
    for size, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 1, 1)):
        compare(f"max_pool2d {size} {stride} {padding}", [(3, 10, 9, 8)], lambda t, v: t.call("sow_max_pool2d", v[0], size, stride, padding),
                lambda v: F.max_pool2d(v[0], size, stride, padding))
        compare(f"avg_pool2d {size} {stride} {padding}", [(3, 10, 9, 8)], lambda t, v: t.call("sow_avg_pool2d", v[0], size, stride, padding),
                lambda v: F.avg_pool2d(v[0], size, stride, padding, count_include_pad=False))
    compare("global_avg_pool2d", [(3, 70, 9, 8)], lambda t, v: t.call("sow_global_avg_pool2d", v[0]), lambda v: v[0].mean((2, 3)))
    compare("linear", [(9, 31), (17, 31), (17,)], lambda t, v: t.call("sow_linear", *v), lambda v: F.linear(*v))
    compare("matmul", [(2, 5, 7), (2, 7, 4)], lambda t, v: t.call("sow_matmul", *v), lambda v: v[0] @ v[1])
    for name, theirs in (("sow_relu", torch.relu), ("sow_sigmoid", torch.sigmoid), ("sow_tanh", torch.tanh), ("sow_exp", torch.exp), ("sow_square", torch.square)):
        compare(name[4:], [(33, 65)], lambda t, v: t.call(name, v[0]), lambda v: theirs(v[0]))
    for tanh_form in (False, True):
        compare(f"gelu, tanh form {tanh_form}", [(33, 65)], lambda t, v: t.call("sow_gelu", v[0], tanh_form),
                lambda v: F.gelu(v[0], approximate="tanh" if tanh_form else "none"))
    labels = np.array([3, 0, -1, 9, 9, 2], np.int32)
    compare("softmax_cross_entropy with a label left out", [(6, 10)], lambda t, v: t.call("sow_softmax_cross_entropy", v[0], describe(labels)),
            lambda v: F.cross_entropy(v[0], torch.tensor(labels, dtype=torch.long), ignore_index=-1))


sow.sow_set_threads(2)
convolutions()
batch_norms()
others()
sys.exit(not all(results))
