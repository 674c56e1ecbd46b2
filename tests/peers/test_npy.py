"""NumPy's .npy and .npz are read by Sow, and Sow's by NumPy, with the same bits."""
import ctypes
import os
import pathlib

import numpy as np

import tap

library_path = os.environ.get("SOW_LIBRARY") or pathlib.Path(os.environ.get("SOW", "build/sow")).parent / "libsow.so"
sow = ctypes.CDLL(str(library_path))


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_int),
                ("shape", ctypes.c_int64 * 8), ("stride", ctypes.c_int64 * 8)]


POINTER, TEXT = ctypes.c_void_p, ctypes.c_char_p
sow.sow_message.restype = TEXT
sow.sow_arena_new.argtypes = [POINTER]
sow.sow_npy_read.argtypes = [POINTER, TEXT, POINTER]
sow.sow_npy_write.argtypes = [TEXT, Tensor]
sow.sow_npz_open.argtypes = [TEXT, POINTER]
sow.sow_npz_read.argtypes = [POINTER, POINTER, TEXT, POINTER]
sow.sow_npz_write.argtypes = [TEXT, ctypes.c_int64, POINTER, POINTER, ctypes.c_bool]
sow.sow_npz_close.argtypes = [POINTER]

arena = ctypes.c_void_p()
sow.sow_arena_new(ctypes.byref(arena))
TYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8"]
SHAPES = [(), (5,), (2, 3), (0, 4), (3, 1, 4, 2)]


def check(status):
    if status != 0:
        raise RuntimeError(sow.sow_message().decode())


def some_arrays(seed):
    rng = np.random.default_rng(seed)
    for kind in TYPES:
        for shape in SHAPES:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            raw = rng.integers(0, 2 if kind == "?" else 256, size, dtype=np.uint8)
            yield raw.view(kind).reshape(shape) if size else np.zeros(shape, kind)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def npy_of_every_type_order_and_version_survives():
    for array in some_arrays(1):
        for variant in (array, np.array(array, order="F"), array.astype(array.dtype.newbyteorder(">"))):
            for version in ((1, 0), (2, 0), (3, 0)):
                with open("theirs.npy", "wb") as file:
                    np.lib.format.write_array(file, variant, version=version)
                tensor = Tensor()
                check(sow.sow_npy_read(arena, b"theirs.npy", ctypes.byref(tensor)))
                check(sow.sow_npy_write(b"ours.npy", tensor))
                assert same(np.load("ours.npy"), array), (array.dtype, array.shape)


def read_npz(path, names):
    npz, tensors = ctypes.c_void_p(), (Tensor * len(names))()
    check(sow.sow_npz_open(path, ctypes.byref(npz)))
    for i, name in enumerate(names):
        check(sow.sow_npz_read(npz, arena, name.encode(), ctypes.byref(tensors, i * ctypes.sizeof(Tensor))))
    sow.sow_npz_close(npz)
    return tensors


def npz_stored_and_compressed_survives():
    arrays = {f"array {i}": array for i, array in enumerate(some_arrays(2))}
    for save in (np.savez, np.savez_compressed):
        save("theirs.npz", **arrays)
        tensors = read_npz(b"theirs.npz", arrays)
        names = (TEXT * len(arrays))(*(name.encode() for name in arrays))
        for compress in (False, True):
            check(sow.sow_npz_write(b"ours.npz", len(arrays), names, tensors, compress))
            with np.load("ours.npz") as back:
                assert list(back) == list(arrays)
                assert all(same(back[name], array) for name, array in arrays.items())


def pickled_objects_are_refused():
    np.save("objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert sow.sow_npy_read(arena, b"objects.npy", ctypes.byref(Tensor())) != 0
    assert b"dtype '|O'" in sow.sow_message()


TESTS = [npy_of_every_type_order_and_version_survives, npz_stored_and_compressed_survives, pickled_objects_are_refused]

tap.run(TESTS)
