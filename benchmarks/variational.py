"""Bayesian mixtures of Gaussians: emlearn beside scikit-learn, in one process, by turns.

    python benchmarks/variational.py                      # everything; takes a good while
    python benchmarks/variational.py iteration --quick    # one part, on small sizes

Parts:

iteration
    Least time of one iteration, that of the bound included: same data, same priors, same responsibilities to
    start from, same number of iterations, same posterior means. As users have them, BLAS with all cores for
    scikit-learn and `n_jobs=None` for emlearn, and with one core each.
quality
    Time to scikit-learn's best bound of some starts, with the same priors. By single starts of either: of N
    starts h reach it, so that the first does, on the mean over all orders, after (N + 1) / (h + 1); to where
    none does this is a lower limit. And emlearn as it comes, race and stopping rule and all, beside as many
    starts of scikit-learn as reach it in 19 of 20 fits. Bounds are exact ones, computed by emlearn from the
    responsibilities of either; within 0.01 nats they are the same. scikit-learn has a tolerance of 1e-4 nats.

Tables are reStructuredText. Every ratio is scikit-learn's time over emlearn's. Run on an idle machine.
"""

import argparse
import os
import time
import warnings
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from gaussian_mixture import (
    Mixture,
    customer_features,
    geometric_mean,
    progress,
    rst_table,
    synthetic,
    timed,
    title,
    verdict,
    without_convergence_warnings,
)
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.mixture import BayesianGaussianMixture
from threadpoolctl import threadpool_limits

from emlearn import BayesianGaussianMixtureEM
from emlearn.datasets import load_old_faithful
from emlearn.em import Affine, Batch, Batches, LatentModel, MonotonicityWarning, em_iterates, one_blas_thread
from emlearn.families import COVARIANCE_SHAPES, Gaussian, NormalWishart, VariationalGaussian
from emlearn.latent import DirichletWeights

GRID = [(20_000, 2, 3), (20_000, 2, 10), (20_000, 10, 3), (20_000, 10, 10), (5_000, 50, 3), (5_000, 50, 10)]
QUICK_GRID = [(2_000, 2, 3), (1_000, 10, 5), (500, 50, 3)]
N_ITER = 12
SAME_MEANS = 1e-6  # in standard deviations
SAME_NATS = 0.01
QUALITY_TARGET = 5.0


def iteration_target(d):
    """The ratio to reach."""
    return 10.0 if d <= 10 else 3.0


# -- time of an iteration --------------------------------------------------------------------------------


class Rivals:
    """Both libraries from the same responsibilities; each gives its means and how long iterations took."""

    def __init__(self, X, labels, n_iter):
        self._X, self._n_iter = X, n_iter
        self._resp = np.eye(int(labels.max()) + 1)[labels]

    def sklearn(self):
        model = BayesianGaussianMixture(
            n_components=self._resp.shape[1],
            weight_concentration_prior_type="dirichlet_distribution",  # no order of sticks to differ by
            tol=0.0,
            max_iter=self._n_iter,
            reg_covar=0.0,
        )
        model._initialize_parameters = lambda X, random_state, xp=None: model._initialize(X, self._resp)
        begins, e_step = [], model._e_step

        def timed_e_step(X, **kwargs):
            begins.append(time.perf_counter())
            return e_step(X, **kwargs)

        model._e_step = timed_e_step
        fit = model.fit(self._X)
        return fit.means_, np.diff(begins[:-1])  # the last is for labels, after the fit

    def emlearn(self):
        X, K = self._X, self._resp.shape[1]
        d = X.shape[1]
        units = Affine(X.mean(axis=0), X.std(axis=0))
        standardised = (X - units.shift) / units.scale
        scatter = np.atleast_2d(np.cov(standardised.T))
        prior = NormalWishart(np.zeros((1, d)), np.ones(1), np.array([float(d)]), scatter[None])
        family = VariationalGaussian(Gaussian(COVARIANCE_SHAPES["full"]), prior)
        model = LatentModel(DirichletWeights(1.0 / K), family)
        start = model.start(Batch(np.ascontiguousarray(standardised.T)), self._resp.T.copy())
        data = Batches(X, units=units, floats_per_row=family.floats_per_row(K, d))
        begins = []
        with one_blas_thread():
            for iterate in em_iterates(model, start, data, 1e-300, self._n_iter - 1, acceleration="none"):  # noqa: B007
                begins.append(time.perf_counter())
        last = model.maximize(iterate.stats, iterate.params)
        return family.in_units(last.family, units).means, np.diff(begins)


class IterationCell(NamedTuple):
    """A row of the table."""

    size: tuple[int, int, int]  # n, d, K
    theirs: float  # seconds
    ours: float  # seconds
    difference: float  # of the means, in standard deviations

    @property
    def ratio(self):
        return self.theirs / self.ours

    def row(self):
        n, d, K = self.size
        target = iteration_target(d)
        note = verdict(self.ratio >= target) if self.difference <= SAME_MEANS else "NOT THE SAME MEANS"
        return [
            f"{n:,}", str(d), str(K), f"{1e3 * self.theirs:.2f}", f"{1e3 * self.ours:.2f}",
            f"{self.ratio:.1f}", f"{target:g}", f"{self.difference:.0e}", note,
        ]  # fmt: skip


def iteration_cell(n, d, K, seed, repeats):
    """Times of one iteration, the least of all in some fits of each by turns: what the machine can do."""
    mixture, rng = Mixture.random(d, K, seed=d + K), np.random.default_rng(seed)
    X = mixture.rows(n, rng)
    nearest = ((X[:, None, :] - mixture.means) ** 2).sum(axis=2).argmin(axis=1)
    rivals = Rivals(X, np.where(rng.random(n) < 0.3, rng.integers(K, size=n), nearest), N_ITER)
    best = np.full(2, np.inf)
    for _ in range(repeats):
        (one, theirs), (other, ours) = rivals.sklearn(), rivals.emlearn()
        best = np.minimum(best, [theirs.min(), ours.min()])
    difference = np.abs((one - other) / X.std(axis=0)).max()
    return IterationCell((n, d, K), *best, float(difference))


def run_iteration(args):
    title("Time of one iteration")
    repeats = args.repeats or (3 if args.quick else 9)
    grid = QUICK_GRID if args.quick else GRID
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    columns = [
        "n", "d", "K", "scikit-learn, ms", "emlearn, ms", "ratio", "target",
        "means, difference in sd", "note",
    ]  # fmt: skip
    settings = {
        f"As they come: BLAS may take {n_cores} core(s), emlearn has n_jobs=None": nullcontext,
        "One core each": lambda: threadpool_limits(1),
    }
    if args.one_core:
        del settings[next(iter(settings))]
    for name, limit in settings.items():
        cells = []
        for n, d, K in grid:
            progress(f"iteration: {n} x {d}, K={K}, {name}")
            with limit():
                cells.append(iteration_cell(n, d, K, args.seed, repeats))
        print(f"{name}; best of {repeats}:\n")
        print(rst_table(columns, [cell.row() for cell in cells]), flush=True)
        by_d = {d: geometric_mean([cell.ratio for cell in cells if cell.size[1] == d]) for _, d, _ in grid}
        print("\nGeometric means: " + ", ".join(f"{ratio:.1f} at d = {d}" for d, ratio in by_d.items()) + "\n")


# -- time to the best bound ------------------------------------------------------------------------------


def standardised(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


SETS = {  # name: rows, K
    "Old Faithful": (lambda: load_old_faithful().data, 6),
    "iris": (lambda: standardised(load_iris().data), 8),
    "wine": (lambda: standardised(load_wine().data), 6),
    "digits, 5 principal components": (
        lambda: PCA(5, svd_solver="full").fit_transform(load_digits().data),
        12,
    ),
    "CDNOW customers": (lambda: customer_features()[::4], 6),
    "synthetic, overlapping": (lambda: synthetic(2_000, 3, 4), 8),
}
QUICK_SETS = ("Old Faithful", "iris")


def exact_bound(X, K, resp):
    """The bound, with all constants, at the posterior that responsibilities lead to."""
    return BayesianGaussianMixtureEM(K, init_params=resp, max_iter=0).fit(X).lower_bound_


class Search(NamedTuple):
    """Single starts of one library."""

    bounds: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, start, n_starts, seconds):
        """As many starts as there is time for; ``start(seed)`` gives its bound and time."""
        runs = []
        while len(runs) < n_starts and sum(took for _, took in runs) < seconds:
            runs.append(start(len(runs)))
        return cls(*np.array(runs).T)

    def hits(self, bound):
        return int(np.sum(self.bounds >= bound - SAME_NATS))

    def seconds_to(self, bound):
        """Mean time until the first start that reaches a bound; a lower limit, where none does."""
        return (len(self.bounds) + 1) / (self.hits(bound) + 1) * self.times.mean()

    def seconds_surely(self, bound):
        """Time of as many starts as are needed for one that reaches a bound in 19 of 20 fits."""
        share = self.hits(bound) / len(self.bounds)
        return self.times.mean() * (1.0 if share == 1 else max(1.0, np.log(0.05) / np.log1p(-share)))


def run_quality(args):
    title("Time to scikit-learn's best bound")
    n_starts, seconds = (6, 5.0) if args.quick else (40, 15.0)
    seeds = range(args.seed, args.seed + (args.repeats or (1 if args.quick else 3)))
    rows, ratios = [], []
    for name in QUICK_SETS if args.quick else SETS:
        load, K = SETS[name]
        X = load()
        progress(f"quality: {name}")
        BayesianGaussianMixtureEM(2, n_init=1, max_iter=1).fit(X)  # what is loaded at a first fit

        def ours(seed, X=X, K=K, **kwargs):
            took, fit = timed(lambda: BayesianGaussianMixtureEM(K, random_state=seed, **kwargs).fit(X))
            return fit.lower_bound_, took

        def theirs(seed, X=X, K=K):
            model = BayesianGaussianMixture(n_components=K, tol=1e-4, max_iter=10_000, random_state=seed)
            took, fit = timed(lambda: model.fit(X))
            return exact_bound(X, K, fit.predict_proba(X)), took

        their = Search.of(theirs, n_starts, seconds)
        best = their.bounds.max()
        our = Search.of(lambda seed: ours(seed, n_init=1), n_starts, seconds)
        raced = np.array([ours(seed) for seed in seeds])
        found = their.seconds_to(best) / our.seconds_to(best)
        sure = their.seconds_surely(best) / np.median(raced[:, 1])
        ratios.append((found, sure))
        reached = raced[:, 0].min() >= best - SAME_NATS
        rows.append([
            f"{name}, {X.shape[0]:,} × {X.shape[1]}", str(K), f"{best:.2f}", f"{raced[:, 0].min() - best:+.2f}",
            f"{their.hits(best)} of {len(their.bounds)}", f"{our.hits(best)} of {len(our.bounds)}",
            f"{their.seconds_to(best):.2f}", f"{our.seconds_to(best):.2f}", f"{found:.1f}",
            f"{their.seconds_surely(best):.2f}", f"{np.median(raced[:, 1]):.2f}", f"{sure:.1f}",
            verdict(reached and min(found, sure) >= QUALITY_TARGET),
        ])  # fmt: skip
        progress("; ".join(rows[-1]))
    columns = [
        "data", "K", "its best", "our worst race, beside it", "its starts there", "ours", "it, s", "ours, s",
        "ratio", "it surely, s", "our race, s", "ratio", f"{QUALITY_TARGET:g} in both",
    ]  # fmt: skip
    print(rst_table(columns, rows))
    found, sure = (geometric_mean(of_sets) for of_sets in zip(*ratios, strict=True))
    print(f"\nGeometric means: {found:.1f} by single starts, {sure:.1f} by races of {len(seeds)} seed(s).")


PARTS = {"iteration": run_iteration, "quality": run_quality}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: to try the script")
    parser.add_argument("--repeats", type=int, help="repeats (iteration) or seeds (quality)")
    parser.add_argument("--one-core", action="store_true", help="no times with all cores")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the starts; default 0")
    args = parser.parse_args()
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    begin = time.perf_counter()
    with without_convergence_warnings(), warnings.catch_warnings():
        warnings.simplefilter("error", MonotonicityWarning)
        for part in args.parts or PARTS:
            with threadpool_limits(1) if args.one_core else nullcontext():
                PARTS[part](args)
    progress(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
