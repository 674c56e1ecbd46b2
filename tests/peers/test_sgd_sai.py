"""sgd-sai, sgdm and dampening against their formulas in PyTorch: scales of the first gradient and weights after some steps, for a vision
transformer (which so is compared too) on full batches."""
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import tap

SOW = os.environ.get("SOW", "build/sow")
STEPS = 6
folder = tempfile.mkdtemp()
ARCH = ["--arch", "vit:2-16-2-4", "--data", f"{folder}/x.npy,{folder}/y.npy"]
REST = ["--normalisation", "none", "--val", 0]


def sow(*arguments):
    done = subprocess.run([SOW, *map(str, arguments), "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(d), nn.LayerNorm(d), heads
        self.attn = nn.ModuleDict({"qkv": nn.Linear(d, 3 * d), "proj": nn.Linear(d, d)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(d, 4 * d), "fc2": nn.Linear(4 * d, d)})

    def forward(self, x):
        n, p, d = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).reshape(n, p, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.attn["proj"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, p, d))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, channels, size, patch, d, depth, heads, classes):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, d, patch, patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2, d))
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


rng = np.random.default_rng(1)
x, y = rng.standard_normal((96, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 96)
np.save(f"{folder}/x.npy", x)
np.save(f"{folder}/y.npy", y)
sow("classic", "--arch", "vit:2-16-2-4", "--input", "3x8x8", "--classes", 5, "--scheme", "normal:sd=0.2", "--seed", 4, "-o", f"{folder}/start.safetensors")
x, y = torch.tensor(x, dtype=torch.float64), torch.tensor(y)


def fresh():
    net = ViT(3, 8, 2, 16, 2, 4, 5).double()
    net.load_state_dict(load_file(f"{folder}/start.safetensors"))
    return net


def gradients(net):
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    return {n: p.grad for n, p in net.named_parameters()}


def ratio(g):
    if g.numel() == 1 or g.norm() == 0:
        return 1.0
    return float(g.norm() / (g.std() + 1e-8))


def reference(lr, scales, decay, momentum=0.9):
    """The authors' update in f64: the first momentum is the gradient; the decay is decoupled and not scaled."""
    net, m = fresh(), {}
    for step in range(STEPS):
        grads = gradients(net)
        if scales is None:
            scales = {n: ratio(g) for n, g in grads.items()}
        with torch.no_grad():
            for n, p in net.named_parameters():
                m[n] = grads[n].clone() if step == 0 else momentum * m[n] + (1 - momentum) * grads[n]
                p.mul_(1 - lr * decay).sub_(lr * scales[n] * m[n])
    return net.state_dict(), scales


def trained(*options):
    with tempfile.TemporaryDirectory() as out:
        sow("train", *ARCH, *REST, "--test", f"{folder}/x.npy,{folder}/y.npy", "--start", f"{folder}/start.safetensors", "--batch", 96,
            "--steps", STEPS, "--evaluate-every", 0, *options, "-o", f"{out}/run")
        return load_file(f"{out}/run/final.safetensors")


def compare(ours, theirs):
    start = load_file(f"{folder}/start.safetensors")
    for name, value in theirs.items():
        moved = (value - start[name].double()).norm()
        apart = (ours[name].double() - value).norm()
        assert apart < 2e-4 * moved + 1e-6, f"{name}: {apart:.3g} apart after a way of {moved:.3g}"


def scales_are_those_of_the_formula():
    sow("sgd-sai", *ARCH, *REST, "--start", f"{folder}/start.safetensors", "--batch", 80, "--seed", 2, "-o", f"{folder}/s.json")
    sow("sgd-sai", "--arch", "vit:2-16-2-4", "--data", f"{folder}/x.npy,{folder}/y.npy", "--normalisation", "none", "--val", 0, "--start",
        f"{folder}/start.safetensors", "--batch", 80, "--seed", 2, "--batches", 1, "--normalise", "max", "-o", f"{folder}/m.json")
    raw, normed = ({r["name"]: r for r in json.load(open(f"{folder}/{f}.json"))["scales"]} for f in "sm")
    largest = max(r["g"] for r in raw.values())
    assert len(raw) == len(list(fresh().named_parameters()))
    for name, r in raw.items():
        assert abs(normed[name]["scale"] - r["g"] / largest) < 1e-9
        identity = (r["norm"] / r["sd"]) ** 2 * (1 - r["n"] * r["mean"] ** 2 / r["norm"] ** 2)
        assert abs(identity / (r["n"] - 1) - 1) < 1e-4, name
        assert abs(r["g"] - r["norm"] / (r["sd"] + 1e-8)) < 1e-9 * r["g"], name


def the_optimiser_takes_the_authors_steps():
    expected, scales = reference(0.005, None, 0.1)
    compare(trained("--optimizer", "sgd-sai", "--lr", 0.005, "--weight-decay", 0.1), expected)
    assert max(scales.values()) > 20 and min(scales.values()) < 5


def normed_by_the_largest():
    _, scales = reference(0.005, None, 0)
    largest = max(scales.values())
    expected, _ = reference(0.2, {n: g / largest for n, g in scales.items()}, 0.1)
    compare(trained("--optimizer", "sgd-sai", "--scale-norm", "max", "--lr", 0.2, "--weight-decay", 0.1), expected)


def without_momentum():
    expected, _ = reference(0.005, None, 0, momentum=0)
    compare(trained("--optimizer", "sgd-sai", "--lr", 0.005, "--momentum", 0), expected)


def averaged_momentum_is_damped_sgd():
    net = fresh()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9, dampening=0.9)
    for _ in range(STEPS):
        gradients(net)
        optimizer.step()
    compare(trained("--optimizer", "sgdm", "--lr", 0.3), net.state_dict())


def dampening_is_that_of_torch():
    net = fresh()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.8, dampening=0.3, weight_decay=0.01)
    for _ in range(STEPS):
        gradients(net)
        optimizer.step()
    compare(trained("--optimizer", "sgd", "--lr", 0.2, "--momentum", 0.8, "--dampening", 0.3, "--weight-decay", 0.01), net.state_dict())


def clipping_is_that_of_torch():
    net = fresh()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.003, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(STEPS):
        gradients(net)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
    ours = trained("--optimizer", "adamw", "--lr", 0.003, "--beta2", 0.95, "--weight-decay", 0.1, "--clip", 0.5)
    for name, value in net.state_dict().items():
        if not name.endswith("attn.qkv.bias"):  # the keys' bias has no gradient but rounding, which Adam makes large
            assert (ours[name].double() - value).abs().max() < 2e-3, name


TESTS = [scales_are_those_of_the_formula, the_optimiser_takes_the_authors_steps, normed_by_the_largest, without_momentum,
         averaged_momentum_is_damped_sgd, dampening_is_that_of_torch, clipping_is_that_of_torch]

tap.run(TESTS)
