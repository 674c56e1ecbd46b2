"""scikit-learn's side of the benchmark of ppp, in a process of its own: `ppp_peer.py DATA.npy told|scan` prints one JSON line.

told: KMeans with ten starts and GaussianMixture, told the number (six). scan: KMeans and GaussianMixture for k = 1 .. 12,
the number by BIC. `make DATA.npy ROWS` plants six unit Gaussians in 32 columns, centres at least 4 apart."""
import json, sys, time
import numpy as np


def plant(path, rows):
    rng = np.random.default_rng(7)
    centres = []
    while len(centres) < 6:
        c = rng.uniform(0, 4 * (6 ** (1 / 32) + 1), 32)
        if all(np.linalg.norm(c - o) >= 4 for o in centres):
            centres.append(c)
    x = rng.normal(size=(rows, 32))
    x += np.array(centres)[np.arange(rows) % 6]
    np.save(path, x)


def main():
    if sys.argv[1] == "make":
        return plant(sys.argv[2], int(sys.argv[3]))
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture
    x = np.load(sys.argv[1])
    begin = time.perf_counter()
    if sys.argv[2] == "told":
        KMeans(6, n_init=10, random_state=1).fit(x)
        GaussianMixture(6, random_state=1).fit(x)
        clusters = 6
    else:
        found = {}
        for k in range(1, 13):
            KMeans(k, n_init=10, random_state=1).fit(x)
            found[k] = GaussianMixture(k, random_state=1).fit(x).bic(x)
        clusters = min(found, key=found.get)
    seconds = time.perf_counter() - begin
    with open("/proc/self/status") as f:
        peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds, "clusters": clusters, "peak_mib": peak}))


main()
