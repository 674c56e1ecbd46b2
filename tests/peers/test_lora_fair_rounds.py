"""Federated rounds against plain NumPy written from the equations: local steps, merges with dense matrices, what the next round begins with.

Every training picture of the small federation is the same one and each batch is all of a client's data, so that no order matters: what a
client learns is a function of its domain alone, and can be computed here."""
import json
import os
import struct
import subprocess
import tempfile

import numpy as np

import tap

SOW = os.environ.get("SOW", "build/sow")
folder = tempfile.TemporaryDirectory()
here = folder.name
SIDE, CLASSES, HIDDEN, RANK, ALPHA = 12, 4, 16, 3, 6
LAYERS = ["fc1", "fc2"]
CLIENTS, ROUNDS, STEPS, COPIES = 4, 2, 6, 41  # 41: the first client has one picture more, so that weights differ
SIZES = np.array([11, 10, 10, 10])


# ---- files ----

def read_tensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    assert all(entry["dtype"] == "F32" for entry in header.values())
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"]).astype(float)
            for name, entry in header.items()}


def write_tensors(path, tensors):
    header, data = {}, b""
    for name, value in sorted(tensors.items()):
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [len(data), len(data) + 4 * value.size]}
        data += value.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def write_idx(path, array):
    with open(path, "wb") as file:
        file.write(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype("u1").tobytes())


def factors(path, layers=None):
    """A and B of every layer of a PEFT folder."""
    tensors = read_tensors(f"{path}/adapter_model.safetensors")
    layers = layers or LAYERS
    return {l: tuple(tensors[f"base_model.model.{l}.lora_{f}.weight"] for f in "AB") for l in layers}


def sow(*words, out):
    done = subprocess.run([SOW, "lora-fair", *map(str, words), "-o", f"{here}/{out}", "--quiet", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), f"{here}/{out}"


# ---- what domains show ----

def turned(x):
    """By 45 degrees about the centre, between the four nearest pixels."""
    c = (SIDE - 1) / 2
    y, x_ = np.meshgrid(np.arange(SIDE) - c, np.arange(SIDE) - c, indexing="ij")
    sy, sx = c + np.sqrt(.5) * (y - x_), c + np.sqrt(.5) * (y + x_)
    padded = np.pad(x, SIDE)
    fy, fx = np.floor(sy).astype(int), np.floor(sx).astype(int)
    at = lambda dy, dx: padded[fy + dy + SIDE, fx + dx + SIDE]
    return sum(at(dy, dx) * np.abs(1 - dy - (sy - fy)) * np.abs(1 - dx - (sx - fx)) for dy in (0, 1) for dx in (0, 1))


def blurred(x):
    padded = np.pad(x, 1)
    return sum(padded[dy:dy + SIDE, dx:dx + SIDE] for dy in range(3) for dx in range(3)) / 9


DOMAINS = [lambda x: x, turned, lambda x: 255 - x, blurred]


def shown(pictures, domain):
    """[n, pixels], as numbers from 0 to 1."""
    return np.rint([DOMAINS[domain](x.astype(float)) for x in pictures]).reshape(len(pictures), -1) / 255


# ---- the network, and a client's training ----

def forward(base, adapter, x):
    scale = ALPHA / RANK
    for layer in LAYERS:
        entered = x
        a, b = adapter[layer] if adapter else (0, 0)
        x = entered @ base[f"{layer}.weight"].T + base[f"{layer}.bias"]
        if adapter:
            x = x + scale * (entered @ a.T) @ b.T
        if layer != LAYERS[-1]:
            x = np.maximum(x, 0)
    return x


def gradients(base, adapter, x, label):
    """Of the mean cross-entropy with respect to A and B of the two layers."""
    scale = ALPHA / RANK
    (a1, b1), (a2, b2) = adapter["fc1"], adapter["fc2"]
    w2 = base["fc2.weight"] + scale * b2 @ a2
    h = np.maximum(x @ (base["fc1.weight"] + scale * b1 @ a1).T + base["fc1.bias"], 0)
    y = h @ w2.T + base["fc2.bias"]
    p = np.exp(y - y.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[:, label] -= 1
    d2 = p / len(x)
    d1 = (d2 @ w2) * (h > 0)
    return {"fc1": (scale * b1.T @ d1.T @ x, scale * d1.T @ x @ a1.T), "fc2": (scale * b2.T @ d2.T @ h, scale * d2.T @ h @ a2.T)}


def train(base, sent, x, label, kind, rate, frozen):
    """Local steps from what was sent, with a fresh optimiser."""
    adapter = {l: [f.copy() for f in sent[l]] for l in LAYERS}
    moments = {(l, i): [0, 0] for l in LAYERS for i in (0, 1)}
    for step in range(1, STEPS + 1):
        g = gradients(base, adapter, x, label)
        for (l, i), m in moments.items():
            if frozen and i == 0:
                continue
            if kind == "sgd":
                adapter[l][i] -= rate * g[l][i]
                continue
            m[0] = .9 * m[0] + .1 * g[l][i]
            m[1] = .999 * m[1] + .001 * g[l][i] ** 2
            adapter[l][i] -= rate * (m[0] / (1 - .9 ** step)) / (np.sqrt(m[1] / (1 - .999 ** step)) + 1e-8)
    return adapter


# ---- merges, from the equations, with dense matrices ----

def merge(kind, clients, weights, penalty=.01, ridge=.01, steps=1000, rate=.01):
    """A' and B' of one layer, clients being pairs (A, B); of flora: A = I and B = dW."""
    p = np.asarray(weights, float) / np.sum(weights)
    ideal = sum(q * b @ a for q, (a, b) in zip(p, clients))
    a, b = (sum(q * c[i] for q, c in zip(p, clients)) for i in (0, 1))
    if kind == "flora":
        return np.eye(a.shape[1]), ideal
    if kind == "flexlora":
        u, s, v = np.linalg.svd(ideal, full_matrices=False)
        r = len(a)
        return np.sqrt(s[:r])[:, None] * v[:r], u[:, :r] * np.sqrt(s[:r])
    if kind == "fair-ls":
        return a, b + (ideal - b @ a) @ a.T @ np.linalg.inv(a @ a.T + ridge * np.eye(len(a)))
    if kind == "fair":
        size, length = np.linalg.norm(b @ a), np.linalg.norm(ideal)
        d = np.zeros_like(b)
        for _ in range(steps):  # plain descent on 1 - cos((B/|BA| + D) A, dW) + penalty |D|^2
            product = (b / size + d) @ a
            n = np.linalg.norm(product)
            c = np.sum(product * ideal) / n / length
            d -= rate * ((-ideal / n / length + c * product / n ** 2) @ a.T + 2 * penalty * d)
        b = b + size * d
    return a, b


def near(found, expected, tolerance, what=""):
    error = np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30)
    assert error < tolerance, f"{what}: off by {error:.2g}"


# ---- the small federation ----

def federation():
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (SIDE, SIDE))
    tests = rng.integers(0, 256, (400, SIDE, SIDE))
    sizes = {"fc1": (HIDDEN, SIDE * SIDE), "fc2": (CLASSES, HIDDEN)}
    base = {f"{l}.weight": np.float32(rng.normal(0, 1.4 / np.sqrt(s[1]), s)).astype(float) for l, s in sizes.items()}
    base |= {f"{l}.bias": np.float32(rng.normal(0, .1, s[0])).astype(float) for l, s in sizes.items()}
    labels = forward(base, None, shown(tests, 0)).argmax(1)
    os.mkdir(f"{here}/data")
    write_idx(f"{here}/data/train-images-idx3-ubyte", np.repeat(picture[None], COPIES, 0))
    write_idx(f"{here}/data/train-labels-idx1-ubyte", np.full(COPIES, CLASSES - 1))
    write_idx(f"{here}/data/t10k-images-idx3-ubyte", tests)
    write_idx(f"{here}/data/t10k-labels-idx1-ubyte", labels)
    write_tensors(f"{here}/base.safetensors", base)
    return base, picture, tests, labels


def options(kind, optimizer, rate):
    return ["--data", f"{here}/data", "--arch", f"mlp:{SIDE * SIDE}-{HIDDEN}-{CLASSES}", "--start", f"{here}/base.safetensors", "--examples", 0,
            "--clients", CLIENTS, "--rounds", ROUNDS, "--local-steps", STEPS, "--batch", 1000, "--rank", RANK, "--alpha", ALPHA, "--seed", 4,
            "--kind", kind, "--stop", 0, "--optimizer", optimizer, "--local-lr", rate]


def accuracies(base, adapter):
    return [np.mean(forward(base, adapter, shown(tests, d)).argmax(1) == labels) for d in range(CLIENTS)]


def rounds_are_those_of_the_equations(kind, optimizer, rate):
    result, out = sow("run", *options(kind, optimizer, rate), out=f"{kind}-{optimizer}")
    own_base = dict(base)
    for r in range(ROUNDS):
        sent = factors(f"{out}/rounds/{r:03d}")
        if r == 0:
            assert all(np.all(b == 0) and np.any(a != 0) for a, b in sent.values())
        stored = read_tensors(f"{out}/rounds/{r:03d}/base.safetensors")
        for name, value in own_base.items():
            near(stored[name], value, 2e-6, f"base of round {r}")
        back = [factors(f"{out}/rounds/{r:03d}/client-{k:03d}") for k in range(CLIENTS)]
        for k in range(CLIENTS):
            own = train(own_base, sent, shown([picture], k), CLASSES - 1, optimizer, rate, kind == "ffa")
            for l in LAYERS:
                for i in (0, 1):
                    near(back[k][l][i], own[l][i], 2e-4, f"round {r}, client {k}, {l}, {'AB'[i]}")
        merged = {l: merge(kind, [c[l] for c in back], SIZES) for l in LAYERS}
        following = factors(f"{out}/rounds/{r + 1:03d}" if r + 1 < ROUNDS else out) if kind != "flora" or r + 1 < ROUNDS else None
        if kind == "flora":
            for l, (a, b) in merged.items():
                own_base[f"{l}.weight"] = own_base[f"{l}.weight"] + ALPHA / RANK * b @ a
            if following:
                assert all(np.all(following[l][1] == 0) and not np.allclose(following[l][0], sent[l][0]) for l in LAYERS)
            continue
        for l, (a, b) in merged.items():
            near(following[l][1] @ following[l][0], b @ a, 2e-6, f"product of round {r}, {l}")
            if kind != "flexlora":  # singular vectors have signs of their own
                near(following[l][0], a, 2e-6, f"A of round {r}, {l}")
    found = [row["accuracy"] for row in result["domains"]]
    expected = accuracies(own_base, None if kind == "flora" else factors(out))
    assert np.allclose(found, expected, atol=.006), f"accuracies {found}, expected {expected}"
    assert abs(result["accuracy"] - np.mean(expected)) < .004 and np.ptp(expected) > .02


def each_kind_of_round_is_that_of_the_equations():
    for kind in ("fedit", "fair", "fair-ls", "flexlora", "flora", "ffa"):
        rounds_are_those_of_the_equations(kind, "adam", .002)
    for kind in ("fedit", "fair"):
        rounds_are_those_of_the_equations(kind, "sgd", .01)


def the_centralised_arm_takes_as_many_steps_on_everyones_data():
    result, _ = sow("simulate", *options("fedit", "adam", .002), "--centralised", out="central.json")
    adapter = factors(f"{here}/fedit-adam/rounds/000")  # the same start
    x = np.concatenate([np.repeat(shown([picture], k), SIZES[k], 0) for k in range(CLIENTS)])
    for r in range(ROUNDS):
        adapter = train(base, adapter, x, CLASSES - 1, "adam", .002, False)
        expected = np.mean(accuracies(base, adapter))
        assert abs(result[f"accuracy_{r + 1}"] - expected) < .004, f"round {r}: {result[f'accuracy_{r + 1}']}, expected {expected}"


# ---- merges of factors as the study has them ----

def cosine_of(a, b, ideal):
    return np.sum(b @ a * ideal) / np.linalg.norm(b @ a) / np.linalg.norm(ideal)


def merges_of_trained_clients_are_those_of_dense_matrices():
    layers, six = ["fc1", "fc2", "fc3"], [f"client-{k:03d}" for k in range(6)]
    weights = [100, 250, 80, 120, 60, 90]
    for name, drift in (("adam", ["--optimizer", "adam", "--local-lr", .01, "--local-steps", 60]),
                        ("sgd", ["--optimizer", "sgd", "--local-lr", .03, "--local-steps", 40])):
        _, out = sow("run", "--data", "fashion-mnist", "--seed", 101, "--rounds", 2, "--test-examples", 50, *drift, out=f"study-{name}")
        for r in range(2):
            paths = [f"{out}/rounds/{r:03d}/{c}" for c in six]
            clients = [factors(p, layers) for p in paths]
            for kind, *more in (("fedit",), ("fair", 0), ("fair", .01), ("fair", .1), ("fair-ls",), ("flexlora",), ("flora",)):
                words = ["--kind", kind, "--stop", 0, "--weights", ",".join(map(str, weights))]
                words += ["--lambda", more[0]] if more else []
                _, merged = sow("merge", *paths, *words, out=f"merged-{name}-{r}-{kind}-{more}")
                found = factors(merged, layers)
                for l in layers:
                    a, b = merge(kind, [c[l] for c in clients], weights, *more)
                    near(found[l][1] @ found[l][0], b @ a, 1e-5, f"{name}, round {r}, {kind} {more}, {l}")
                    if kind.startswith("fair"):
                        near(found[l][1], b, 1e-5, f"{name}, round {r}, B of {kind} {more}, {l}")
                        ideal = merge("flora", [c[l] for c in clients], weights)[1]
                        plain = cosine_of(*merge("fedit", [c[l] for c in clients], weights), ideal)
                        assert cosine_of(*found[l], ideal) > plain, f"{kind} is no nearer than the average"


TESTS = [each_kind_of_round_is_that_of_the_equations, the_centralised_arm_takes_as_many_steps_on_everyones_data,
         merges_of_trained_clients_are_those_of_dense_matrices]

base, picture, tests, labels = federation()
tap.run(TESTS)
