"""k-means, Gaussian mixtures, scores and the files of `sow ppp` against scikit-learn."""
import csv, ctypes, os, subprocess, sys
import numpy as np
from safetensors.numpy import load_file
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.mixture import GaussianMixture

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap
from engine import Tensor, check, describe, sow

P, I64, INT, REAL, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double, ctypes.c_bool
SOW = os.environ.get("SOW", "build/sow")
SHAPES = ["full", "tied", "diag", "spherical"]


class Rows(ctypes.Structure):
    _fields_ = [("data", Tensor), ("index", P), ("count", I64), ("width", I64), ("shift", P), ("scale", P), ("map", P), ("mapped", FLAG)]


class KMeansConfig(ctypes.Structure):
    _fields_ = [("clusters", INT), ("start", INT), ("restarts", INT), ("rounds", INT), ("trial_rounds", INT), ("tolerance", REAL),
                ("sample", I64), ("seed", ctypes.c_uint64), ("number", ctypes.c_uint64), ("initial", P)]


class KMeansResult(ctypes.Structure):
    _fields_ = [("clusters", INT), ("width", I64), ("centroids", ctypes.POINTER(REAL)), ("sizes", ctypes.POINTER(I64)), ("sse", REAL),
                ("trace", P), ("rounds", INT), ("settled", FLAG)]


class Mixture(ctypes.Structure):
    _fields_ = [("components", INT), ("width", I64), ("covariance", INT), ("weights", ctypes.POINTER(REAL)), ("means", ctypes.POINTER(REAL)),
                ("covariances", ctypes.POINTER(REAL)), ("whiten", P), ("log_scale", P), ("log_likelihood", REAL), ("rounds", INT),
                ("settled", FLAG), ("hopeless", FLAG)]


class MixtureConfig(ctypes.Structure):
    _fields_ = [("covariance", INT), ("rounds", INT), ("tolerance", REAL), ("floor", REAL), ("sample", I64), ("target", REAL), ("trace", P),
                ("initial", P), ("component", P), ("responsibility", P)]


class Membership(ctypes.Structure):
    _fields_ = [("component", P), ("responsibility", P), ("log_density", P), ("all", P)]


sow.sow_kmeans_defaults.restype = KMeansConfig
sow.sow_mixture_defaults.restype = MixtureConfig
sow.sow_rows_of.argtypes = [Tensor, P]
sow.sow_mixture_assign.argtypes = [P, P, Membership, P]
for name in ("sow_adjusted_rand", "sow_normalised_information"):
    getattr(sow, name).argtypes = [P, P, I64, P]
sow.sow_silhouette.argtypes = [P, P, I64, P]
arena = P()
sow.sow_arena_new(ctypes.byref(arena))


def some_groups(n=600, d=4, k=3, gap=3.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    x = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
    x[:, :2] += gap * np.stack([np.cos(truth * 2.1), np.sin(truth * 2.1)], axis=1)
    return np.ascontiguousarray(x), truth.astype(np.int32)


def rows_of(x):
    rows = Rows()
    check(sow.sow_rows_of(describe(x), ctypes.byref(rows)))
    return rows


def array(pointer, *shape):
    return np.ctypeslib.as_array(pointer, shape).copy()


def kmeans_from_the_same_centroids_ends_in_the_same_place():
    for seed in range(5):
        x, _ = some_groups(seed=seed)
        start = x[:3].copy()
        theirs = KMeans(3, init=start, n_init=1, tol=0, algorithm="lloyd").fit(x)
        config, found, labels = sow.sow_kmeans_defaults(), KMeansResult(), np.zeros(len(x), np.int32)
        config.clusters, config.tolerance, config.rounds, config.initial = 3, 0, 300, start.ctypes.data
        check(sow.sow_kmeans_fit(ctypes.byref(rows_of(x)), ctypes.byref(config), arena, ctypes.byref(found), P(labels.ctypes.data)))
        centroids = array(found.centroids, 3, 4)
        order = np.lexsort(theirs.cluster_centers_.T[::-1])
        assert np.allclose(centroids, theirs.cluster_centers_[order], rtol=0, atol=1e-12)
        assert abs(found.sse - theirs.inertia_) < 1e-9 * theirs.inertia_
        assert (order[labels] == theirs.labels_).all()


def hard_start(x, labels, shape):
    """Parameters of the first maximisation from a partition, as scikit-learn wants them."""
    k, d = labels.max() + 1, x.shape[1]
    weights = np.bincount(labels) / len(x)
    means = np.stack([x[labels == c].mean(0) for c in range(k)])
    full = np.stack([np.cov(x[labels == c].T, bias=True) for c in range(k)])
    if shape == "full": return weights, means, np.linalg.inv(full)
    if shape == "tied": return weights, means, np.linalg.inv(np.tensordot(weights, full, 1))
    diag = np.stack([np.diag(c) for c in full])
    return weights, means, 1 / diag if shape == "diag" else 1 / diag.mean(1)


def fit_mixture(x, labels, shape, floor=0.0):
    config, found = sow.sow_mixture_defaults(), Mixture()
    config.covariance, config.tolerance, config.floor, config.rounds, config.sample = SHAPES.index(shape), 1e-13, floor, 2000, 0
    check(sow.sow_mixture_fit(ctypes.byref(rows_of(x)), int(labels.max()) + 1, P(labels.ctypes.data), ctypes.byref(config), arena, ctypes.byref(found)))
    return found


def mixtures_from_the_same_partition_end_in_the_same_place():
    for shape in SHAPES:
        x, truth = some_groups(seed=3)
        labels = np.where(np.arange(len(x)) % 7 == 0, (truth + 1) % 3, truth).astype(np.int32)
        w, m, p = hard_start(x, labels, shape)
        theirs = GaussianMixture(3, covariance_type=shape, reg_covar=0, tol=1e-13, max_iter=2000, weights_init=w, means_init=m, precisions_init=p).fit(x)
        ours = fit_mixture(x, labels, shape)
        assert np.allclose(array(ours.weights, 3), theirs.weights_, atol=1e-5), shape
        assert np.allclose(array(ours.means, 3, 4), theirs.means_, atol=1e-4), shape
        assert np.allclose(array(ours.covariances, *theirs.covariances_.shape), theirs.covariances_, atol=1e-4), shape
        assert abs(ours.log_likelihood - theirs.score(x) * len(x)) < 1e-6 * len(x), shape


def densities_responsibilities_and_bic_are_the_same():
    for shape in SHAPES:
        x, truth = some_groups(seed=5)
        ours = fit_mixture(x, truth, shape)
        theirs = GaussianMixture(3, covariance_type=shape)
        theirs.weights_, theirs.means_ = array(ours.weights, 3), array(ours.means, 3, 4)
        size = {"full": (3, 4, 4), "tied": (4, 4), "diag": (3, 4), "spherical": (3,)}[shape]
        theirs.covariances_ = array(ours.covariances, *size)
        if shape == "full": theirs.precisions_cholesky_ = np.stack([np.linalg.inv(np.linalg.cholesky(c)).T for c in theirs.covariances_])
        elif shape == "tied": theirs.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(theirs.covariances_)).T
        else: theirs.precisions_cholesky_ = 1 / np.sqrt(theirs.covariances_)
        density, every, total = np.zeros(len(x)), np.zeros((len(x), 3)), REAL()
        check(sow.sow_mixture_assign(ctypes.byref(ours), ctypes.byref(rows_of(x)), Membership(log_density=density.ctypes.data, all=every.ctypes.data), ctypes.byref(total)))
        assert np.allclose(density, theirs.score_samples(x), rtol=0, atol=1e-10), shape
        assert np.allclose(every, theirs.predict_proba(x), rtol=0, atol=1e-12), shape
        sow.sow_bic.restype = REAL
        sow.sow_bic.argtypes = [REAL, I64, I64]
        sow.sow_mixture_parameters.restype, sow.sow_mixture_parameters.argtypes = I64, [INT, I64, INT]
        bic = sow.sow_bic(total.value, sow.sow_mixture_parameters(3, 4, SHAPES.index(shape)), len(x))
        assert abs(bic - theirs.bic(x)) < 1e-6, shape


def scores_are_the_same():
    rng, value = np.random.default_rng(8), REAL()
    for n, a_groups, b_groups in ((50, 3, 4), (1000, 10, 7), (300, 200, 250), (40, 1, 5)):
        a, b = (rng.integers(0, g, n).astype(np.int32) for g in (a_groups, b_groups))
        check(sow.sow_adjusted_rand(a.ctypes.data, b.ctypes.data, n, ctypes.byref(value)))
        assert abs(value.value - adjusted_rand_score(a, b)) < 1e-12
        check(sow.sow_normalised_information(a.ctypes.data, b.ctypes.data, n, ctypes.byref(value)))
        assert abs(value.value - normalized_mutual_info_score(a, b)) < 1e-12
    x, truth = some_groups(seed=9)
    check(sow.sow_silhouette(ctypes.byref(rows_of(x)), truth.ctypes.data, 0, ctypes.byref(value)))
    assert abs(value.value - silhouette_score(x, truth)) < 1e-12


def files_of_the_command_serve_scikit_learn():
    x, truth = some_groups(n=900, gap=8.0, seed=11)
    np.save("x.npy", x)
    subprocess.run([SOW, "ppp", "x.npy", "--scale", "none", "--pca", "0", "-o", "out/", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    centroids, members = np.load("out/centroids.npy"), np.load("out/memberships.npy")
    assert centroids.shape == (3, 4) and members.shape == (900, 3)
    assert np.allclose(members.sum(1), 1, rtol=0, atol=1e-12)
    from_ours = KMeans(3, init=centroids, n_init=1).fit(x)
    best = KMeans(3, n_init=10, random_state=0).fit(x)
    assert abs(from_ours.inertia_ / best.inertia_ - 1) < 1e-6
    with open("out/labels.csv") as f:
        labels = np.array([int(row["cluster"]) for row in csv.DictReader(f)])
    assert adjusted_rand_score(labels, truth) > 0.98
    model = load_file("out/model.safetensors")
    theirs = GaussianMixture(3, reg_covar=0)
    theirs.weights_, theirs.means_, theirs.covariances_ = model["weights"], model["means"], model["covariances.full"]
    theirs.precisions_cholesky_ = np.stack([np.linalg.inv(np.linalg.cholesky(c)).T for c in theirs.covariances_])
    assert np.allclose(theirs.predict_proba(x), members, rtol=0, atol=1e-10)


TESTS = [kmeans_from_the_same_centroids_ends_in_the_same_place, mixtures_from_the_same_partition_end_in_the_same_place,
         densities_responsibilities_and_bic_are_the_same, scores_are_the_same, files_of_the_command_serve_scikit_learn]

tap.run(TESTS)
