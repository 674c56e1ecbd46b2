#!/usr/bin/env python3
"""Lottery tickets against PyTorch: the same masks as torch.nn.utils.prune, files that load strictly, a PyTorch trainer under `find`."""
import os
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

SOW, ROOT = os.environ["SOW"], pathlib.Path(os.environ["SOW_ROOT"])


def check(name, holds, why=""):
    print(("ok - " if holds else "not ok - ") + name + (f"\n#   {why}" if why and not holds else ""))
    return holds


def sow(*words):
    done = subprocess.run([SOW, "lottery-ticket", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"not ok - sow lottery-ticket {' '.join(map(str, words))}\n# {done.stderr}")


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 20), nn.Linear(20, 5))


def torch_masks(model, amounts, over_all):
    """The masks of torch.nn.utils.prune after one call for each amount; it too counts survivors only."""
    layers = [m for m in model if hasattr(m, "weight") and not isinstance(m, nn.BatchNorm2d)]
    for amount in amounts:
        if over_all:
            prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=amount)
        else:
            for m in layers:
                prune.l1_unstructured(m, "weight", amount=amount)
    return {f"{i}.weight": m.weight_mask for i, m in enumerate(model) if hasattr(m, "weight_mask")}


def same_masks(over_all):
    model = network()
    save_file(model.state_dict(), "final.safetensors")
    options = ["--global"] if over_all else []
    sow("prune", "--final", "final.safetensors", "--rate", 0.3, *options, "-o", "m1.safetensors", "--force")
    sow("prune", "--final", "final.safetensors", "--mask", "m1.safetensors", "--rate", 0.3, *options, "-o", "m2.safetensors", "--force")
    theirs, ours = torch_masks(model, [0.3, 0.3], over_all), load_file("m2.safetensors")
    same = theirs.keys() == ours.keys() and all(torch.equal(theirs[n].to(torch.uint8), ours[n]) for n in theirs)
    return check(f"masks equal those of torch.nn.utils.prune, {'one threshold' if over_all else 'layer by layer'}", same)


def rewound_start_loads():
    model = network()
    theta0 = {n: t.clone() for n, t in model.state_dict().items()}
    save_file(theta0, "theta0.safetensors")
    sow("rewind", "--start", "theta0.safetensors", "--mask", "m2.safetensors", "-o", "start.safetensors", "--force")
    model.load_state_dict(load_file("start.safetensors"), strict=True)
    masks = load_file("start.mask.safetensors")
    whole = all(torch.equal(t, theta0[n] * masks[n] if n in masks else theta0[n]) for n, t in model.state_dict().items())
    return check("a rewound start loads strictly, and is mask times start", whole)


def pytorch_trainer_obeys():
    torch.manual_seed(1)
    layers = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    start = {f"{n}.weight": nn.init.xavier_normal_(torch.empty(s)) for n, s in layers.items()} | {f"{n}.bias": torch.zeros(s[0]) for n, s in layers.items()}
    save_file(start, "lenet.safetensors")
    trainer = f"{sys.executable} {ROOT}/examples/pytorch/train.py --init {{init}} --mask {{mask}} --out {{out}} --seed {{seed}} --steps {{steps}} --every 20"
    sow("find", "--start", "lenet.safetensors", "--train", trainer, "--steps", 60, "--rate", "fc[12].*=0.2,fc3.*=0.1", "--rounds", 2, "-o", "ticket", "-q")
    ticket, masks = load_file("ticket/ticket.safetensors"), load_file("ticket/ticket.mask.safetensors")
    kept = {n: int(m.sum()) for n, m in masks.items()}
    good = check("a PyTorch trainer finds a ticket", kept == {"fc1.weight": 150528, "fc2.weight": 19200, "fc3.weight": 810}, kept)
    good &= check("whose survivors are theta_0 bit for bit", all(torch.equal(t, start[n] * masks[n] if n in masks else start[n]) for n, t in ticket.items()))
    rows = pathlib.Path("ticket/rounds.csv").read_text().splitlines()
    return good & check("its records are in rounds.csv", float(rows[-1].split(",")[5]) > 0.4, rows[-1])


results = [same_masks(False), same_masks(True), rewound_start_loads(), pytorch_trainer_obeys()]
sys.exit(0 if all(results) else 1)
