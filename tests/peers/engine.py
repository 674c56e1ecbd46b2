"""Sow's tape, operators and models from Python, for the tests beside this file: thin ctypes over libsow.so."""
import ctypes
import os
import pathlib

import numpy as np

library_path = os.environ.get("SOW_LIBRARY") or pathlib.Path(os.environ.get("SOW", "build/sow")).parent / "libsow.so"
sow = ctypes.CDLL(str(library_path))
P, I64, REAL, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_bool
NUMPY = {0: np.float64, 1: np.float32, 4: np.int64, 5: np.int32}


class Tensor(ctypes.Structure):
    _fields_ = [("data", P), ("dtype", ctypes.c_int), ("rank", ctypes.c_int), ("shape", I64 * 8), ("stride", I64 * 8)]

    def view(self):
        """The memory itself as an array, in logical order."""
        dtype = np.dtype(NUMPY[self.dtype])
        extent = 1 + sum((self.shape[d] - 1) * self.stride[d] for d in range(self.rank))
        flat = np.ctypeslib.as_array(ctypes.cast(self.data, ctypes.POINTER(ctypes.c_char)), (extent * dtype.itemsize,)).view(dtype)
        return np.lib.stride_tricks.as_strided(flat, [self.shape[d] for d in range(self.rank)],
                                               [self.stride[d] * dtype.itemsize for d in range(self.rank)])


class Entry(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("group", ctypes.c_char_p), ("role", ctypes.c_int), ("trainable", FLAG),
                ("value", Tensor), ("grad", Tensor), ("mask", Tensor), ("grad_written", FLAG), ("node", P), ("recording", ctypes.c_uint64)]


class Conv(ctypes.Structure):
    _fields_ = [("stride", I64), ("padding", I64), ("dilation", I64), ("groups", I64)]


class Norm(ctypes.Structure):
    _fields_ = [("epsilon", REAL), ("momentum", REAL), ("relu", FLAG)]


class Geometry(ctypes.Structure):
    _fields_ = [("channels", I64), ("height", I64), ("width", I64), ("classes", I64)]


class Tokens(ctypes.Structure):
    _fields_ = [("ids", P), ("start", P), ("sequences", I64)]


class Sites(ctypes.Structure):
    _fields_ = [("at", P), ("count", I64)]


FORWARD = ctypes.CFUNCTYPE(P, P, P, P, P)


class Model(ctypes.Structure):
    _fields_ = [("arch", ctypes.c_char_p), ("geometry", Geometry), ("forward", FORWARD), ("widths", I64 * 32), ("layers", ctypes.c_int),
                ("dropout", REAL), ("state", P)]


def declare(name, result, *arguments):
    function = getattr(sow, name)
    function.restype, function.argtypes = result, arguments


declare("sow_message", ctypes.c_char_p)
declare("sow_set_threads", None, ctypes.c_int)
declare("sow_tape_new", ctypes.c_int, P)
for name in ("sow_tape_free", "sow_tape_reset", "sow_state_free", "sow_model_free", "sow_fresh_gradients"):
    declare(name, None, P)
declare("sow_tape_train", None, P, FLAG)
declare("sow_tape_status", ctypes.c_int, P)
declare("sow_tape_backward", ctypes.c_int, P, P)
declare("sow_tape_backward_from", ctypes.c_int, P, P, Tensor)
declare("sow_leaf", P, P, Tensor)
declare("sow_constant", P, P, Tensor)
declare("sow_value", Tensor, P)
declare("sow_gradient", Tensor, P)
declare("sow_scalar", REAL, P)
declare("sow_keep", P, P)
declare("sow_state_new", ctypes.c_int, P)
declare("sow_state_add", ctypes.c_int, P, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, P, P)
declare("sow_state_count", I64, P)
declare("sow_state_entry", ctypes.POINTER(Entry), P, I64)
declare("sow_state_add_gradients", ctypes.c_int, P)
declare("sow_model_new", ctypes.c_int, ctypes.c_char_p, P, P)
declare("sow_conv2d", P, P, P, P, P, Conv)
declare("sow_batch_norm", P, P, P, P, P, P, P, P, P, Norm)
declare("sow_layer_norm", P, P, P, P, P, REAL)
for name in ("sow_max_pool2d", "sow_avg_pool2d"):
    declare(name, P, P, P, I64, I64, I64)
for name in ("sow_global_avg_pool2d", "sow_relu", "sow_sigmoid", "sow_tanh", "sow_exp", "sow_log_of", "sow_square"):
    declare(name, P, P, P)
declare("sow_gelu", P, P, P, FLAG)
for name in ("sow_matmul", "sow_add", "sow_sub", "sow_mul", "sow_mean_squared_error"):
    declare(name, P, P, P, P)
declare("sow_linear", P, P, P, P, P)
declare("sow_softmax_cross_entropy", P, P, P, Tensor)


def check(status):
    if status != 0:
        raise RuntimeError(sow.sow_message().decode())


def made(function, *arguments):
    """What a function of Sow's writes to its last argument."""
    out = P()
    check(function(*arguments, ctypes.byref(out)))
    return out


def describe(array):
    """A numpy array, of any layout, as a sow_tensor over its memory."""
    kind = {np.dtype(v): k for k, v in NUMPY.items()}[array.dtype]
    t = Tensor(data=array.ctypes.data, dtype=kind, rank=array.ndim)
    for d in range(array.ndim):
        t.shape[d], t.stride[d] = array.shape[d], array.strides[d] // array.itemsize
    return t


class Tape:
    """One recording; keeps the arrays it views alive."""

    def __init__(self, training=True):
        self.pointer, self.arrays, self.states = P(), [], []
        check(sow.sow_tape_new(ctypes.byref(self.pointer)))
        sow.sow_tape_train(self.pointer, training)

    def leaf(self, array):
        self.arrays.append(array)
        return sow.sow_leaf(self.pointer, describe(array))

    def constant(self, array):
        self.arrays.append(array)
        return sow.sow_constant(self.pointer, describe(array))

    def buffer(self, array):
        """An entry of a state of its own, for running statistics."""
        state, entry = P(), ctypes.POINTER(Entry)()
        check(sow.sow_state_new(ctypes.byref(state)))
        self.states.append(state)
        described = describe(array)
        check(sow.sow_state_add(state, b"buffer", described.dtype, described.rank, described.shape, ctypes.byref(entry)))
        entry.contents.value.view()[...] = array
        return entry

    def call(self, name, *arguments):
        result = getattr(sow, name)(self.pointer, *arguments)
        check(sow.sow_tape_status(self.pointer))
        return result

    def value(self, var):
        return sow.sow_value(var).view().copy()

    def gradient(self, var):
        return sow.sow_gradient(var).view().copy()

    def backward(self, output, gradient):
        sow.sow_keep(output)
        check(sow.sow_tape_backward_from(self.pointer, output, describe(gradient)))

    def free(self):
        sow.sow_tape_free(self.pointer)
        for state in self.states:
            sow.sow_state_free(state)


class Network:
    """A model by name and geometry, its entries by name."""

    def __init__(self, arch, geometry):
        self.model = ctypes.POINTER(Model)()
        check(sow.sow_model_new(arch.encode(), ctypes.byref(Geometry(*geometry)), ctypes.byref(self.model)))
        self.state = self.model.contents.state
        entries = (sow.sow_state_entry(self.state, i).contents for i in range(sow.sow_state_count(self.state)))
        self.entries = {e.name.decode(): e for e in entries}
        check(sow.sow_state_add_gradients(self.state))

    def load(self, tensors):
        """Values by name; the names must be exactly the model's."""
        assert set(tensors) == set(self.entries), set(tensors) ^ set(self.entries)
        for name, value in tensors.items():
            self.entries[name].value.view()[...] = value

    def step(self, x, labels, training=True):
        """Logits, loss and gradients by name of one batch."""
        tape = Tape(training)
        sow.sow_fresh_gradients(self.state)
        logits = sow.sow_keep(self.model.contents.forward(tape.pointer, self.state, self.model, tape.constant(x)))
        check(sow.sow_tape_status(tape.pointer))
        loss = tape.call("sow_softmax_cross_entropy", logits, describe(labels))
        value, out = sow.sow_scalar(loss), tape.value(logits)
        check(sow.sow_tape_backward(tape.pointer, loss))
        tape.free()
        return out, value, {n: e.grad.view().copy() for n, e in self.entries.items() if e.trainable}

    def values(self):
        return {n: e.value.view().copy() for n, e in self.entries.items()}

    def free(self):
        sow.sow_model_free(self.model)
