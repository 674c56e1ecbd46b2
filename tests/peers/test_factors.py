"""subgm and matrix-gd take the same steps as the published iterations written in NumPy; their files are read by safetensors."""
import os
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file

import tap

SOW = os.environ.get("SOW", "build/sow")


def sow(*arguments):
    subprocess.run([SOW, *map(str, arguments), "--quiet"], check=True, capture_output=True)


def problem(folder, method, *options):
    sow(method, "simulate", "--n1", 12, "--truth-rank", 2, "--m", 200, "--seed", 5, "--save", folder, *options)
    return np.load(f"{folder}/A.npy").reshape(200, 12, 12), np.load(f"{folder}/y.npy"), np.load(f"{folder}/truth.npy")


def subgm_takes_the_steps_of_the_paper():
    with tempfile.TemporaryDirectory() as folder:
        a, y, truth = problem(f"{folder}/p", "subgm", "--outliers", 0.1)
        sow("subgm", f"{folder}/p/y.npy", "--operator", f"dense:{folder}/p/A.npy", "--rank", 2, "--scale-init", "one", "--qnorm", "fro",
            "--alpha", 1e-3, "--eta", 0.2, "--rho", 0.97, "--steps", 60, "-o", f"{folder}/fit")
        symmetric = (a + a.transpose(0, 2, 1)) / 2
        values, vectors = np.linalg.eigh(np.tensordot(np.sign(y), symmetric, 1) / len(y))
        u = 1e-3 * vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0))
        for t in range(60):
            q = np.tensordot(np.sign(np.tensordot(a, u @ u.T) - y), symmetric, 1) / len(y)
            u = u - 0.2 * 0.97 ** t / np.linalg.norm(q) * q @ u
        np.testing.assert_allclose(np.load(f"{folder}/fit/recovered.npy"), u @ u.T, rtol=0, atol=1e-10 * np.linalg.norm(u @ u.T))


def matrix_gd_takes_the_steps_of_the_paper():
    with tempfile.TemporaryDirectory() as folder:
        a, y, truth = problem(f"{folder}/p", "matrix-gd", "--rank", 3, "--steps", 5)
        fit = lambda steps: (sow("matrix-gd", f"{folder}/p/y.npy", "--operator", f"dense:{folder}/p/A.npy", "--rank", 3, "--units", "absolute",
                                 "--steps", steps, "-o", f"{folder}/{steps}"), load_file(f"{folder}/{steps}/factors.safetensors"))[1]
        first, last = fit(1), fit(40)
        f, g = first["F"], first["G"]
        for t in range(39):
            e = np.tensordot(np.tensordot(a, f @ g.T) - y, a, 1) / len(y)
            f, g = f - 0.1 * e @ g, g - 0.1 * e.T @ f
        np.testing.assert_allclose(last["F"], f, rtol=0, atol=1e-11)
        np.testing.assert_allclose(last["G"], g, rtol=0, atol=1e-11)
        np.testing.assert_allclose(np.load(f"{folder}/40/recovered.npy"), f @ g.T, rtol=0, atol=1e-11)
        np.testing.assert_allclose(last["singular_values"], np.linalg.svd(f @ g.T, compute_uv=False)[:3], rtol=1e-9)


TESTS = [subgm_takes_the_steps_of_the_paper, matrix_gd_takes_the_steps_of_the_paper]

tap.run(TESTS)
