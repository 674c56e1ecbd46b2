"""scikit-learn's side of the benchmark of forests: `mycorrhiza_peer.py FEATURES.csv` prints seconds of fit and predict, the
median of seven."""
import json, statistics, sys, time
import numpy as np
from sklearn.ensemble import RandomForestClassifier

table = np.loadtxt(sys.argv[1], delimiter=",")
labels, features = table[:, 0].astype(int), table[:, 1:]
times = []
for seed in range(7):
    begin = time.perf_counter()
    RandomForestClassifier(60, random_state=seed, n_jobs=int(sys.argv[2]) if len(sys.argv) > 2 else 1).fit(features, labels).predict_proba(features)
    times.append(time.perf_counter() - begin)
print(json.dumps({"seconds": statistics.median(times)}))
