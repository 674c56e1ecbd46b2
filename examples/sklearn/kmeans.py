#!/usr/bin/env python3
"""k-means of scikit-learn's digits from two kinds of seeds, as a trainer for `sow prove` (README.md).

Half of the images, drawn by the seed, are clustered into ten; what is printed is the mean squared distance of the
other half to its nearest center, after each of Lloyd's steps.
"""
import argparse
import json

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.datasets import load_digits

K = 10


def partitive_seeds(x, seed):
    """Seeds by repeated halving, as partitive methods such as PPP (Sultan 2020) make partitions: the part with the
    largest sum of squares is cut in two by the best of eight 2-means, until there are ten."""
    parts = [x]
    while len(parts) < K:
        spread = [((part - part.mean(0)) ** 2).sum() if len(part) > 1 else 0 for part in parts]
        part = parts.pop(int(np.argmax(spread)))
        labels = KMeans(2, n_init=8, random_state=seed).fit_predict(part)
        parts += [part[labels == 0], part[labels == 1]]
    return np.stack([part.mean(0) for part in parts])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--start", choices=["k-means++", "partitive"], required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    x = load_digits().data
    order = np.random.default_rng(args.seed).permutation(len(x))  # the same halves for both arms of a seed
    train, other = x[order[: len(x) // 2]], x[order[len(x) // 2 :]]
    if args.start == "partitive":
        centers = partitive_seeds(train, args.seed)
    else:
        centers, _ = kmeans_plusplus(train, K, random_state=args.seed)
    for step in range(args.steps + 1):
        distances = ((other[:, None] - centers) ** 2).sum(2)
        print(json.dumps({"step": step, "distortion": distances.min(1).mean()}), flush=True)
        centers = KMeans(K, init=centers, n_init=1, max_iter=1, tol=0).fit(train).cluster_centers_


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore")  # one step is not meant to converge
    main()
