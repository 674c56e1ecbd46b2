"""Files of the safetensors library load in Sow and Sow's load there, with the same bits, for every dtype."""
import ctypes
import json
import os
import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tap

library_path = os.environ.get("SOW_LIBRARY") or pathlib.Path(os.environ.get("SOW", "build/sow")).parent / "libsow.so"
sow = ctypes.CDLL(str(library_path))
sow.sow_message.restype = ctypes.c_char_p
sow.sow_load_state.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
sow.sow_save_state.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p]
sow.sow_state_free.argtypes = [ctypes.c_void_p]

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]


def through_sow(source, target, passport=None):
    """Sow reads `source` (a file or folder) and writes `target`."""
    state = ctypes.c_void_p()
    for status in (sow.sow_load_state(os.fsencode(source), ctypes.byref(state)),
                   sow.sow_save_state(os.fsencode(target), state, passport and passport.encode())):
        if status != 0:
            raise RuntimeError(sow.sow_message().decode())
    sow.sow_state_free(state)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and torch.equal(bits(a[k]), bits(b[k])) for k in a)


def some_tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for i, dtype in enumerate(DTYPES):
        for shape in ((), (3,), (2, 5), (0, 4), (2, 1, 3, 2)):
            count = torch.Size(shape).numel() * dtype.itemsize
            raw = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), dtype=torch.uint8, generator=generator)
            tensors[f"layer.{i}.{dtype}.{len(shape)}"] = raw.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
    return tensors


def every_dtype_survives_the_round_trip():
    tensors = some_tensors(1)
    save_file(tensors, "theirs.safetensors", metadata={"format": "pt"})
    through_sow("theirs.safetensors", "ours.safetensors", '{"seed":7}')
    assert same(load_file("ours.safetensors"), tensors)
    with safe_open("ours.safetensors", "pt") as file:
        assert json.loads(file.metadata()["sow"]) == {"seed": 7} and file.metadata()["format"] == "pt"


def tensors_of_mixed_dtypes_can_be_opened_one_by_one():
    tensors = {"a": torch.zeros(3, dtype=torch.uint8), "b": torch.ones(5), "c": torch.tensor(9), "d": torch.zeros(1, dtype=torch.bfloat16)}
    save_file(tensors, "theirs.safetensors")
    through_sow("theirs.safetensors", "ours.safetensors")
    with safe_open("ours.safetensors", "pt") as file:
        assert same({k: file.get_tensor(k) for k in file.keys()}, tensors)


def shards_are_one_state():
    tensors = some_tensors(2)
    folder = pathlib.Path("sharded")
    folder.mkdir()
    names = sorted(tensors)
    shards = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"metadata": {"total_size": 0}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    through_sow(folder, "ours.safetensors")
    assert same(load_file("ours.safetensors"), tensors)


def a_module_takes_the_file_back():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.Flatten(), torch.nn.Linear(5, 3))
    save_file(model.state_dict(), "theirs.safetensors")
    through_sow("theirs.safetensors", "ours.safetensors")
    model.load_state_dict(load_file("ours.safetensors"), strict=True)


TESTS = [every_dtype_survives_the_round_trip, tensors_of_mixed_dtypes_can_be_opened_one_by_one, shards_are_one_state, a_module_takes_the_file_back]

tap.run(TESTS)
