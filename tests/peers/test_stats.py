"""Every statistic of sow/stats.h against rliable, SciPy and statsmodels on shared inputs: normal, heavy-tailed, skewed and
tied scores, fresh ones in every run."""
import ctypes
import itertools
import random
import sys
import warnings

import numpy as np
import scipy.stats as ss
from rliable import library, metrics
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from engine import FLAG, P, REAL, check, declare, sow

INT = ctypes.c_int
REALS = ctypes.POINTER(REAL)
STATISTIC = ctypes.CFUNCTYPE(REAL, REALS, INT)


class Summary(ctypes.Structure):
    _fields_ = [("n", INT)] + [(name, REAL) for name in ("mean", "median", "sd", "minimum", "maximum", "iqm")]


class Looks(ctypes.Structure):
    _fields_ = [("first", INT), ("every", INT), ("last", INT)]


for name in ("sow_beta_cdf", "sow_beta_quantile"):
    declare(name, REAL, REAL, REAL, REAL)
for name in ("sow_t_cdf", "sow_t_quantile", "sow_t_p", "sow_chi2_p", "sow_chi2_quantile"):
    declare(name, REAL, REAL, REAL)
declare("sow_summarise", INT, REALS, INT, P)
declare("sow_iqm_rliable", INT, REALS, INT, REALS)
declare("sow_improvement_paired", REAL, REALS, INT)
declare("sow_improvement", REAL, REALS, INT, REALS, INT)
for name in ("sow_optimality_gap", "sow_profile"):
    declare(name, REAL, REALS, INT, REAL)
declare("sow_bootstrap", INT, REALS, INT, INT, STATISTIC, INT, REAL, REALS, REALS)
declare("sow_sd_of_difference", REAL, REAL, REAL, REAL)
declare("sow_t_test", INT, REALS, INT, REALS, REALS)
declare("sow_t_interval", INT, REALS, INT, REAL, REALS, REALS)
declare("sow_t_power", REAL, INT, REAL, REAL, INT)
declare("sow_seeds_needed", INT, REAL, REAL, INT, REAL)
declare("sow_sd_limit", REAL, REAL, INT, REAL)
declare("sow_flip_new", INT, INT, P)
declare("sow_flip_free", None, P)
declare("sow_flip_test", INT, P, REALS, INT, Looks, REAL, P, P)
declare("sow_flip_p", REAL, P, REALS, INT, Looks, REAL)
declare("sow_flip_interval", None, P, REALS, INT, Looks, REAL, REALS, REALS)
declare("sow_bet", REAL, REALS, INT)
declare("sow_holm", INT, REALS, INT, REALS)
declare("sow_failure_bound", REAL, INT, INT, REAL)
declare("sow_friedman", INT, REALS, INT, INT, REAL, REALS, REALS, REALS, REALS)

seed = random.SystemRandom().randrange(2**32)
rng = np.random.default_rng(seed)


def reals(values):
    return np.ascontiguousarray(values, np.float64).ctypes.data_as(REALS)


def near(ours, theirs, tolerance=1e-10, what=""):
    if not np.allclose(ours, theirs, rtol=tolerance, atol=1e-14):
        raise AssertionError(f"{what} ours {ours!r}, peer's {theirs!r}")


def samples(sizes=(2, 3, 4, 5, 8, 13, 20, 101)):
    """Values of several kinds and sizes; the last kind has ties and zeros."""
    for n in sizes:
        yield rng.normal(0.9, 0.01, n)
        yield rng.standard_t(3, n)
        yield rng.lognormal(0, 1, n)
        yield rng.integers(-3, 4, n) / 4 + np.eye(1, n)[0] * 0.125


def summary(values):
    out = Summary()
    check(sow.sow_summarise(reals(values), len(values), ctypes.byref(out)))
    return out


# ---- distributions ----

def beta_t_and_chi_square_distributions_equal_scipy():
    for a, b in itertools.product((0.5, 1, 2.5, 10, 60), repeat=2):
        for x in (1e-9, 0.01, 0.3, 0.5, 0.9, 0.9999):
            near(sow.sow_beta_cdf(x, a, b), ss.beta.cdf(x, a, b), 1e-11, f"beta cdf {x} {a} {b}:")
        for p in (1e-6, 0.025, 0.5, 0.8, 0.95):
            near(sow.sow_beta_quantile(p, a, b), ss.beta.ppf(p, a, b), 1e-9, f"beta quantile {p} {a} {b}:")
    for df in (1, 2, 3, 7, 19, 127, 1000):
        for t in (-40, -3, -0.5, 0, 1e-4, 1, 2.5, 12):
            near(sow.sow_t_cdf(t, df), ss.t.cdf(t, df), 1e-11, f"t cdf {t} {df}:")
            near(sow.sow_t_p(t, df), 2 * ss.t.sf(abs(t), df), 1e-10, f"t p {t} {df}:")
        for p in (1e-6, 0.01, 0.4, 0.5, 0.975, 0.9999):
            near(sow.sow_t_quantile(p, df), ss.t.ppf(p, df), 1e-9, f"t quantile {p} {df}:")
        for x in (1e-3, 0.5, 1, 5, 30, 200):
            near(sow.sow_chi2_p(x, df), ss.chi2.sf(x, df), 1e-10, f"chi-square p {x} {df}:")
        for p in (1e-4, 0.2, 0.5, 0.95, 0.999):
            near(sow.sow_chi2_quantile(p, df), ss.chi2.ppf(p, df), 1e-9, f"chi-square quantile {p} {df}:")


# ---- estimates ----

def summaries_equal_numpy_and_a_trimmed_mean_of_four_copies():
    for values in samples():
        s = summary(values)
        theirs = [values.mean(), np.median(values), values.std(ddof=1), values.min(), values.max()]
        near([s.mean, s.median, s.sd, s.minimum, s.maximum], theirs)
        # a quarter of n values is a whole number of 4n values: no value is cut in part there
        near(s.iqm, ss.trim_mean(np.repeat(values, 4), 0.25))


def iqm_of_rliable_equals_rliable():
    for values in samples():
        out = REAL()
        check(sow.sow_iqm_rliable(reals(values), len(values), ctypes.byref(out)))
        near(out.value, metrics.aggregate_iqm(values[:, None]))


def improvement_gap_and_profile_equal_rliable():
    for x, y in itertools.pairwise(samples()):
        near(sow.sow_improvement(reals(x), len(x), reals(y), len(y)), metrics.probability_of_improvement(x[:, None], y[:, None]))
        goal, tau = float(np.median(y)), float(rng.choice(x))
        near(sow.sow_optimality_gap(reals(x), len(x), goal), metrics.aggregate_optimality_gap(x[:, None], goal))
        near(sow.sow_profile(reals(x), len(x), tau), library.run_score_deviation(x[:, None], tau))


def paired_improvement_is_the_unpaired_one_against_zero():
    for d in samples():
        near(sow.sow_improvement_paired(reals(d), len(d)), metrics.probability_of_improvement(d[:, None], np.zeros((1, 1))))


def the_bootstrap_agrees_with_scipy_within_its_noise():
    values = rng.normal(0.9, 0.01, (2, 30))
    mean = STATISTIC(lambda x, n: sum(x[:n]) / n)
    low, high = np.zeros(2), np.zeros(2)
    check(sow.sow_bootstrap(reals(values), 2, 30, mean, 10000, 0.95, reals(low), reals(high)))
    for a in range(2):
        theirs = ss.bootstrap((values[a],), np.mean, n_resamples=10000, method="percentile", rng=rng).confidence_interval
        error = values[a].std() / np.sqrt(30)
        near([low[a], high[a]], [theirs.low, theirs.high], 0.2 * error / abs(theirs.low))


def the_deviation_of_a_difference_is_that_of_the_differences():
    for x, y in zip(samples((5, 20)), samples((5, 20))):
        ours = sow.sow_sd_of_difference(x.std(ddof=1), y.std(ddof=1), np.corrcoef(x, y)[0, 1])
        near(ours, (x - y).std(ddof=1))


# ---- the t test and its power ----

def the_paired_t_test_and_its_interval_equal_scipy_and_statsmodels():
    for x, y in zip(samples(), samples()):
        d = x - y
        if d.std() == 0:
            continue
        t, p, low, high = (REAL() for _ in range(4))
        check(sow.sow_t_test(reals(d), len(d), ctypes.byref(t), ctypes.byref(p)))
        theirs = ss.ttest_rel(x, y)
        near([t.value, p.value], [theirs.statistic, theirs.pvalue])
        for alpha in (0.05, 0.05 / 7):
            check(sow.sow_t_interval(reals(d), len(d), alpha, ctypes.byref(low), ctypes.byref(high)))
            near([low.value, high.value], theirs.confidence_interval(1 - alpha), 1e-9)
            near([low.value, high.value], DescrStatsW(d).tconfint_mean(alpha), 1e-9)


def power_and_seeds_needed_equal_statsmodels():
    compared = 0
    for effect, alpha, sides in itertools.product((0.3, 0.5, 0.8, 1, 1.5), (0.05, 0.05 / 3, 0.01), (1, 2)):
        alternative = "two-sided" if sides == 2 else "larger"
        for n in (3, 5, 10, 20, 60):
            theirs = TTestPower().power(effect, n, alpha, alternative=alternative)
            if np.isfinite(theirs):  # statsmodels has none where the power is all but 1
                near(sow.sow_t_power(n, effect, alpha, sides), theirs, 2e-6, f"power {n} {effect} {alpha} {sides}:")
                compared += 1
        needed = sow.sow_seeds_needed(effect, alpha, sides, 0.8)
        power = [TTestPower().power(effect, n, alpha, alternative=alternative) for n in (needed - 1, needed)]
        assert power[0] < 0.8 <= power[1], (effect, alpha, sides, needed, power)
    assert compared > 120, compared


def the_limit_of_a_deviation_equals_the_chi_square_interval():
    for values in samples((3, 5, 20)):
        n, sd = len(values), values.std(ddof=1)
        near(sow.sow_sd_limit(sd, n, 0.8), sd * np.sqrt((n - 1) / ss.chi2.ppf(0.2, n - 1)), 1e-9)


# ---- the sign-flip test ----

class Flip:
    def __init__(self, seeds):
        self.pointer = P()
        check(sow.sow_flip_new(seeds, ctypes.byref(self.pointer)))

    def test(self, x, looks, a):
        return sow.sow_flip_test(self.pointer, reals(x), len(x), looks, a, None, None)

    def __del__(self):
        sow.sow_flip_free(self.pointer)


def one_look_gives_scipys_exact_permutation_p():
    for n in (5, 8, 12):
        flip = Flip(n)
        for d in samples((n,)):
            theirs = ss.permutation_test((d,), lambda x, axis: x.sum(axis), permutation_type="samples", alternative="greater",
                                         n_resamples=np.inf, vectorized=True).pvalue
            near(sow.sow_flip_p(flip.pointer, reals(d), n, Looks(n, 1, n), 0.025), theirs)


def first_rejection(x, seeds, first, every, a):
    """The specification, line by line, over all 2^seeds sign rows."""
    signs = 1 - 2 * ((np.arange(2**seeds)[:, None] >> np.arange(seeds)) & 1)
    alive, used = np.ones(2**seeds, bool), 0
    for k in range(1, len(x) + 1):
        if k != seeds and (k < first or (k - first) % every):
            continue
        free = int(np.floor(2**seeds * a * (k / seeds)**2 + 1e-9)) - used
        if free < 1:
            continue
        sums = signs[:, :k] @ x[:k]
        ordered = np.sort(sums[alive])[::-1]
        threshold = ordered[min(free, len(ordered) - 1)] + 1e-12 * np.abs(x[:k]).sum()
        dying = alive & (sums > threshold)
        if dying[0]:
            return k
        used += dying.sum()
        alive &= ~dying
    return 0


def many_looks_reject_where_the_specification_in_numpy_does():
    stopped = 0
    for seeds, first, every in ((8, 6, 1), (10, 6, 2), (12, 4, 3), (13, 7, 1)):
        flip = Flip(seeds)
        for a in (0.05, 0.025, 0.025 / 3):
            for x in samples((seeds,) * 4):
                x = x + 0.5 * x.std()
                ours, theirs = flip.test(x, Looks(first, every, seeds), a), first_rejection(x, seeds, first, every, a)
                assert ours == theirs, (seeds, first, every, a, x, ours, theirs)
                stopped += 0 < ours < seeds
    assert stopped > 10, "no early stop was compared"


def its_interval_holds_exactly_the_locations_that_are_not_rejected():
    flip, looks = Flip(10), Looks(6, 1, 10)
    for d in samples((10,) * 3):
        low, high = REAL(), REAL()
        sow.sow_flip_interval(flip.pointer, reals(d), 10, looks, 0.025, ctypes.byref(low), ctypes.byref(high))
        step = 1e-7 * (np.ptp(d) + 1e-9)
        assert first_rejection(d - (low.value - step), 10, 6, 1, 0.025) and not first_rejection(d - (low.value + step), 10, 6, 1, 0.025), d
        assert first_rejection(high.value + step - d, 10, 6, 1, 0.025) and not first_rejection(high.value - step - d, 10, 6, 1, 0.025), d


def bets_multiply_as_written():
    for d in samples():
        scale = np.sqrt(np.cumsum(d**2) / np.arange(1, len(d) + 1))
        ratio = np.divide(np.abs(d), scale, out=np.zeros(len(d)), where=scale > 0)
        wealth = np.mean([np.prod(1 + np.sign(d) * np.tanh(c * ratio)) for c in (0.5, 1, 2, 4)])
        near(sow.sow_bet(reals(d), len(d)), wealth)


# ---- several arms, failures, races ----

def holms_adjustment_equals_statsmodels():
    for m in (1, 2, 5, 20):
        p = np.round(rng.beta(0.5, 2, m), 2)
        adjusted = np.zeros(m)
        check(sow.sow_holm(reals(p), m, reals(adjusted)))
        near(adjusted, multipletests(p, method="holm")[1])


def failure_bounds_equal_statsmodels_and_scipy():
    for n in (1, 3, 5, 20, 128):
        for k in {0, 1, n // 2, n - 1, n}:
            bound = sow.sow_failure_bound(k, n, 0.95)
            near(bound, proportion_confint(k, n, 0.1, "beta")[1], 1e-9)
            near(bound, ss.binomtest(k, n).proportion_ci(0.9, "exact").high, 1e-9)


def friedmans_test_equals_scipy():
    for seeds, arms in ((5, 3), (10, 8), (20, 4)):
        for scores in (rng.normal(0, 1, (seeds, arms)), rng.integers(0, 4, (seeds, arms)).astype(float)):
            statistic, p, difference, ranks = REAL(), REAL(), REAL(), np.zeros(arms)
            check(sow.sow_friedman(reals(scores), seeds, arms, 0.05, ctypes.byref(statistic), ctypes.byref(p), reals(ranks),
                                   ctypes.byref(difference)))
            theirs = ss.friedmanchisquare(*scores.T)
            near([statistic.value, p.value], [theirs.statistic, theirs.pvalue])
            near(ranks, ss.rankdata(-scores, axis=1).sum(0))


TESTS = [value for name, value in list(globals().items()) if callable(value) and getattr(value, "__module__", "") == "__main__"
         and isinstance(value, type(near)) and name not in ("reals", "near", "samples", "summary", "first_rejection")]

warnings.simplefilter("error", RuntimeWarning)
print(f"# seed {seed}")
failures = 0
for number, test in enumerate(TESTS, 1):
    try:
        test()
        print(f"ok {number} - {test.__name__.replace('_', ' ')}")
    except Exception as error:
        failures += 1
        print(f"not ok {number} - {test.__name__.replace('_', ' ')}: {error!r}")
sys.exit(failures > 0)
