"""Event files of Sow are read by TensorBoard: every scalar, in order, with its tag and step."""
import ctypes
import os
import pathlib

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import tap

library_path = os.environ.get("SOW_LIBRARY") or pathlib.Path(os.environ.get("SOW", "build/sow")).parent / "libsow.so"
sow = ctypes.CDLL(str(library_path))
sow.sow_message.restype = ctypes.c_char_p
sow.sow_events_open.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
sow.sow_events_scalar.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_double]
sow.sow_events_close.argtypes = [ctypes.c_void_p]


def check(status):
    if status != 0:
        raise RuntimeError(sow.sow_message().decode())


def write(folder, rows):
    events = ctypes.c_void_p()
    check(sow.sow_events_open(folder.encode(), ctypes.byref(events)))
    for tag, step, value in rows:
        check(sow.sow_events_scalar(events, tag.encode(), step, value))
    check(sow.sow_events_close(events))


def every_scalar_is_read_back():
    rng = np.random.default_rng(1)
    curves = {"loss": rng.normal(size=2000), "val/accuracy é": rng.uniform(size=300), "edge": np.array([1e-30, -3e38, 0.1])}
    write("run", [(tag, 10 * i, v) for tag, values in curves.items() for i, v in enumerate(values)])
    accumulator = EventAccumulator("run", size_guidance={"scalars": 0})
    accumulator.Reload()
    assert sorted(accumulator.Tags()["scalars"]) == sorted(curves), accumulator.Tags()
    for tag, values in curves.items():
        found = accumulator.Scalars(tag)
        assert [e.step for e in found] == [10 * i for i in range(len(values))], tag
        assert np.array_equal(np.float32([e.value for e in found]), np.float32(values)), tag


def large_steps_survive():
    write("steps", [("t", step, 1.0) for step in (0, 127, 128, 2**31, 2**62)])
    accumulator = EventAccumulator("steps")
    accumulator.Reload()
    assert [e.step for e in accumulator.Scalars("t")] == [0, 127, 128, 2**31, 2**62]


def equal_curves_give_equal_files():
    rows = [("loss", i, 1.0 / (i + 1)) for i in range(50)]
    write("a", rows)
    write("b", rows)
    name = "events.out.tfevents.0.sow"
    assert pathlib.Path("a", name).read_bytes() == pathlib.Path("b", name).read_bytes()


def a_damaged_file_is_noticed_by_the_reader():
    write("damaged", [("loss", i, 0.5) for i in range(10)])
    path = pathlib.Path("damaged/events.out.tfevents.0.sow")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    try:
        read = len(list(EventFileLoader(str(path)).Load()))
    except Exception:
        return
    assert read < 11, "the sums are not checked, so this test proves nothing"


TESTS = [every_scalar_is_read_back, large_steps_survive, equal_curves_give_equal_files, a_damaged_file_is_noticed_by_the_reader]

tap.run(TESTS)
