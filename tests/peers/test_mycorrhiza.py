"""Split networks agree with phangorn (R), and forests with scikit-learn."""
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

sow_path = pathlib.Path(os.environ.get("SOW", "build/sow"))
library = ctypes.CDLL(str(os.environ.get("SOW_LIBRARY") or sow_path.parent / "libsow.so"))
library.sow_message.restype = ctypes.c_char_p
failed = 0


def test(name, good, why=""):
    global failed
    print(("ok - " if good else "not ok - ") + name + (f"\n#   {why}" if not good else ""), flush=True)
    failed += not good


# ---- split networks ----

def split_key(side, taxa):
    """A split by the side without the first taxon."""
    side = frozenset(side)
    return side if 0 not in side else frozenset(range(taxa)) - side


def ours(distances, folder):
    taxa, splits = len(distances), {}
    table, out = folder / "d.csv", folder / "s.nex"
    np.savetxt(table, distances, delimiter=",", fmt="%.17g")
    answer = subprocess.run([sow_path, "mycorrhiza", "network", table, "-o", out, "--force", "--json", "--tolerance", "1e-12"], check=True, capture_output=True, text=True)
    for line in out.read_text().split("MATRIX\n")[1].split(";")[0].strip().split("\n"):
        head, weight, members = line.rstrip(",").split("\t")
        splits[split_key([int(m) - 1 for m in members.split()], taxa)] = float(weight)
    return splits, json.loads(answer.stdout)["fit"]


PHANGORN = """suppressMessages(library(phangorn))
d <- as.matrix(read.csv(commandArgs(TRUE)[1], header = FALSE)); n <- nrow(d); dimnames(d) <- list(seq_len(n), seq_len(n))
splits <- as.splits(neighborNet(as.dist(d))); labels <- as.integer(attr(splits, "labels")); w <- attr(splits, "weights")
for (i in seq_along(w)) cat(sprintf("%.12f", w[i]), labels[splits[[i]]], "\\n")"""


def theirs(folder):
    script, splits = folder / "net.R", {}
    script.write_text(PHANGORN)
    answer = subprocess.run(["Rscript", script, folder / "d.csv"], check=True, capture_output=True, text=True)
    taxa = len((folder / "d.csv").read_text().split("\n")) - 1
    for line in answer.stdout.strip().split("\n"):
        weight, *members = line.split()
        key = split_key([int(m) - 1 for m in members], taxa)
        splits[key] = splits.get(key, 0) + float(weight)
    return splits


def fit_of(splits, distances):
    taxa, fitted = len(distances), np.zeros_like(distances)
    for side, weight in splits.items():
        inside = np.isin(np.arange(taxa), list(side))
        fitted += weight * (inside[:, None] != inside[None, :])
    return 100 * (1 - ((fitted - distances) ** 2).sum() / (distances ** 2).sum())


def circular(taxa, seed, noise):
    rng = np.random.default_rng(seed)
    order, d = rng.permutation(taxa), np.zeros((taxa, taxa))
    for i in range(taxa):
        for j in range(i + 1, taxa):
            inside = np.isin(np.arange(taxa), order[i:j])
            d += rng.uniform() * (inside[:, None] != inside[None, :])
    scale = np.triu(1 + noise * rng.normal(size=d.shape), 1)
    return d * (scale + scale.T)


def networks():
    installed = shutil.which("Rscript") and subprocess.run(["Rscript", "-e", "library(phangorn)"], capture_output=True).returncode == 0
    if not installed:
        print("ok - split networks of phangorn # SKIP r-cran-phangorn is not installed")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for seed in range(3):
            d = circular(8 + seed, seed, 0)
            mine, fit = ours(d, folder)
            other = {k: w for k, w in theirs(folder).items() if w > 1e-6}
            gap = max(abs(mine.get(k, 0) - other.get(k, 0)) for k in mine.keys() | other.keys())
            test(f"exactly circular distances of {8 + seed} taxa have the same splits and weights", gap < 1e-5, f"largest difference {gap}")
        for seed in range(3, 6):
            d = circular(12, seed, .05)
            mine, fit = ours(d, folder)
            other = theirs(folder)
            test(f"our fit is the one that our splits have (seed {seed})", abs(fit_of(mine, d) - fit) < 1e-6, f"{fit_of(mine, d)} {fit}")
            # phangorn's circle may be another, since its ordering is its own; where it is ours, weights must be equal
            same = mine.keys() == {k for k, w in other.items() if w > 1e-6}
            gap = max(abs(mine.get(k, 0) - other.get(k, 0)) for k in mine.keys() | other.keys()) if same else 0
            test(f"with noise: as good a fit, and equal weights where the circles agree (seed {seed})",
                 gap < 1e-4 and fit >= fit_of(other, d) - .2, f"fit {fit} and {fit_of(other, d)}, difference {gap}")


# ---- forests ----

class Features(ctypes.Structure):
    _fields_ = [("samples", ctypes.c_int64), ("count", ctypes.c_int64), ("bits", ctypes.c_void_p), ("values", ctypes.c_void_p)]


class Config(ctypes.Structure):
    _fields_ = [("trees", ctypes.c_int), ("bootstrap", ctypes.c_bool), ("tried", ctypes.c_int64), ("seed", ctypes.c_uint64)]


def our_forest(x, labels, probe, trees, bootstrap, tried, seed):
    """x [samples, features] of numbers; probabilities of the rows of probe."""
    arena, forest = ctypes.c_void_p(), ctypes.c_void_p()
    classes = int(labels.max()) + 1
    out = np.zeros((len(probe), classes))
    of_x, of_probe = (np.ascontiguousarray(m.T, dtype=np.float64) for m in (x, probe))
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    fit = Features(len(x), x.shape[1], None, of_x.ctypes.data)
    ask = Features(len(probe), x.shape[1], None, of_probe.ctypes.data)
    library.sow_arena_new(ctypes.byref(arena))
    status = library.sow_forest_fit(ctypes.byref(fit), labels.ctypes.data_as(ctypes.c_void_p), ctypes.c_int32(classes), None, ctypes.c_int64(0),
                                    ctypes.byref(Config(trees, bootstrap, tried, seed)), arena, ctypes.byref(forest))
    status = status or library.sow_forest_predict(forest, ctypes.byref(ask), None, ctypes.c_int64(0), out.ctypes.data_as(ctypes.c_void_p))
    if status:
        raise RuntimeError(library.sow_message().decode())
    library.sow_arena_free(arena)
    return out


def forests():
    from sklearn.datasets import load_iris, load_wine
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier
    for name, (x, y) in (("iris", load_iris(return_X_y=True)), ("wine", load_wine(return_X_y=True))):
        x = np.round(x.astype(np.float32).astype(np.float64), 3)
        learn, probe = np.arange(len(x)) % 3 > 0, np.arange(len(x)) % 3 == 0
        # all features at every node: trees differ by ties alone
        mine = our_forest(x[learn], y[learn], x[probe], 1, False, x.shape[1], 0).argmax(1)
        agree = [(DecisionTreeClassifier(random_state=s).fit(x[learn], y[learn]).predict(x[probe]) == mine).mean() for s in range(20)]
        test(f"{name}: a plain tree predicts as scikit-learn's does, up to ties", max(agree) >= .98, f"agreement at most {max(agree)}")
        # forests: mean probabilities over seeds are estimates of one expectation
        ours_all = np.mean([our_forest(x[learn], y[learn], x[probe], 60, True, 0, s) for s in range(20)], 0)
        theirs_all = np.mean([RandomForestClassifier(60, random_state=s).fit(x[learn], y[learn]).predict_proba(x[probe]) for s in range(20)], 0)
        gap = np.abs(ours_all - theirs_all).max()
        # 1,200 trees on each side: five standard errors of a share are at most 5 sqrt(2 * .25 / 1200) = .10
        test(f"{name}: 1,200 trees have scikit-learn's probabilities", gap < .10 and np.abs(ours_all - theirs_all).mean() < .012, f"largest difference {gap}")
    rng = np.random.default_rng(1)
    x, y = (rng.uniform(size=(300, 40)) < .02 + .5 * (np.arange(40) % 5 == 0)).astype(float), np.arange(300) % 2
    x[:, :2] = np.abs(y[:, None] - (rng.uniform(size=(300, 2)) < .3))
    ours_all = np.mean([our_forest(x[:200], y[:200], x[200:], 60, True, 0, s) for s in range(20)], 0)
    theirs_all = np.mean([RandomForestClassifier(60, random_state=s).fit(x[:200], y[:200]).predict_proba(x[200:]) for s in range(20)], 0)
    gap = np.abs(ours_all - theirs_all)
    test("rare yes-or-no features, many constant at a node: the same probabilities", gap.max() < .10 and gap.mean() < .02, f"largest {gap.max()}, mean {gap.mean()}")


networks()
try:
    import sklearn  # noqa: F401
except ImportError:
    print("ok - forests of scikit-learn # SKIP scikit-learn is not installed")
else:
    forests()
sys.exit(failed > 0)
