"""Gaussian mixtures: emlearn beside scikit-learn, in one process, by turns.

    python benchmarks/gaussian_mixture.py                      # everything; takes a good while
    python benchmarks/gaussian_mixture.py iteration --quick    # one part, on small sizes

Parts:

iteration
    Time of one EM iteration: same data, same start, same number of iterations, same log-likelihood.
quality
    Time to a good fit: `GaussianMixtureEM` as it comes against ten thorough starts of `GaussianMixture`.
shapes
    Time of an iteration for mclust's fourteen shapes, beside "full" and beside scikit-learn where it has them.
few
    Time of a fit of fewer rows than columns.
memory
    Peak memory of a fit, on an array and on a memory-mapped file.
import
    What `import emlearn` adds to `import sklearn.mixture`.

Tables are reStructuredText. Every ratio is scikit-learn's time over emlearn's. Run on an idle machine.
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
import sklearn
from robust import blobs, seconds_per_step
from sklearn.datasets import load_digits, load_iris, load_sample_image, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import GaussianMixtureEM
from emlearn.datasets import load_cdnow, load_old_faithful
from emlearn.em import Affine, Batches, LatentModel, LatentPair, em_iterates, one_blas_thread
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams, gaussian_family
from emlearn.latent import MixtureWeights

MB = 1e6

# -- what the parts share --------------------------------------------------------------------------------


def rst_table(columns, rows):
    """A simple table; cells are strings already."""
    cells = [columns, *rows]
    widths = [max(len(row[j]) for row in cells) for j in range(len(columns))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def title(text):
    print(f"\n{text}\n{'-' * len(text)}\n", flush=True)


def verdict(met):
    return "met" if met else "MISSED"


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values))))


def progress(text):
    print(text, file=sys.stderr, flush=True)


@contextmanager
def without_convergence_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def timed(function):
    """Seconds that a call takes, and its result."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


class Mixture(NamedTuple):
    """A mixture to draw data from."""

    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, d)
    covariances: np.ndarray  # (K, d, d)

    @classmethod
    def random(cls, d, K, seed):
        """Components that overlap well, and as well in many dimensions as in few."""
        rng = np.random.default_rng(seed)
        weights = rng.dirichlet(np.full(K, 10.0))
        means = rng.standard_normal((K, d)) * 4.0 / np.sqrt(d)
        axes = np.linalg.qr(rng.standard_normal((K, d, d)))[0]
        variances = rng.uniform(0.4, 1.6, size=(K, 1, d))
        return cls(weights, means, (axes * variances) @ axes.swapaxes(1, 2))

    def rows(self, n, rng):
        """n observations (n, d)."""
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        X = rng.standard_normal((n, self.means.shape[1]))
        roots = np.linalg.cholesky(self.covariances)
        for k, root in enumerate(roots):
            X[labels == k] = self.means[k] + X[labels == k] @ root.T
        return X

    def start(self, covariance_type, rng):
        """A start nearby, as scikit-learn takes it: weights, means and precisions."""
        K, d = self.means.shape
        means = self.means + 0.2 * rng.standard_normal((K, d))
        weights = self.weights + 1.0 / K
        covariances = 1.3 * self.covariances
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        precisions = {
            "full": lambda: np.linalg.inv(covariances),
            "tied": lambda: np.linalg.inv(covariances.mean(axis=0)),
            "diag": lambda: 1.0 / variances,
            "spherical": lambda: 1.0 / variances.mean(axis=1),
        }[covariance_type]()
        return weights / weights.sum(), means, precisions


# -- time of an iteration --------------------------------------------------------------------------------

GRID = [  # n, d, K
    (100_000, 2, 3),
    (100_000, 2, 10),
    (100_000, 10, 10),
    (50_000, 20, 16),
    (20_000, 50, 20),
    (10_000, 100, 8),
]
QUICK_GRID = [(5_000, 2, 3), (5_000, 10, 4), (2_000, 50, 3)]
SHAPES = ["full", "tied", "diag", "spherical"]
LEAST_RATIO = 1.2  # in any cell
SAME_LIKELIHOOD = 1e-8  # relative
FIRST = 2  # iterations whose time, with that of all set-up, is taken off


def iteration_target(shape, d):
    """The ratio to reach."""
    if shape == "full":
        return 10.0 if d <= 10 else 4.0 if d <= 20 else 2.0
    return 4.0 if d <= 10 else LEAST_RATIO


class Rivals:
    """EM by both libraries from one start on the same data, for a given number of iterations."""

    def __init__(self, X, mixture, covariance_type, n_threads, rng):
        self._X, self._n_threads = X, n_threads
        d = X.shape[1]
        K = len(mixture.weights)
        weights, means, precisions = mixture.start(covariance_type, rng)
        self._sklearn = {
            "n_components": K,
            "covariance_type": covariance_type,
            "tol": 0.0,
            "reg_covar": 0.0,  # scikit-learn adds it to diagonals, which is not maximum likelihood
            "weights_init": weights,
            "means_init": means,
            "precisions_init": precisions,
        }
        # As GaussianMixtureEM.fit does it: standardised features, batches that fit the cache.
        structure = COVARIANCE_SHAPES[covariance_type]
        self._units = Affine(X.mean(axis=0), structure.units(X.var(axis=0)))
        self._floats_per_row = Gaussian(structure).floats_per_row(K, d)
        stack = structure.identity(K, d).shape
        covariances = structure.invert(precisions.reshape(stack))
        family = GaussianParams(
            (means - self._units.shift) / self._units.scale,
            structure.rescale(covariances, 1 / self._units.scale),
        )
        self._start = LatentPair(weights, family)
        self._model = LatentModel(MixtureWeights(), Gaussian(structure))

    def sklearn(self, n_iter):
        """The mixture that scikit-learn has after so many iterations."""
        mixture = GaussianMixture(max_iter=n_iter, **self._sklearn)
        with threadpool_limits(self._n_threads), without_convergence_warnings():
            return mixture.fit(self._X)

    def emlearn(self, n_iter):
        """The last iterate of emlearn after so many iterations."""
        data = Batches(
            self._X,
            floats_per_row=self._floats_per_row,
            units=self._units,
            n_threads=self._n_threads,
        )
        iterates = em_iterates(self._model, self._start, data, tol=1e-300, max_iter=n_iter, acceleration="none")
        with one_blas_thread():
            for done, iterate in enumerate(iterates):  # noqa: B007
                pass
        if done != n_iter:
            raise RuntimeError(f"emlearn stopped after {done} of {n_iter} iterations.")
        return iterate

    def likelihoods(self, n_iter):
        """Log-likelihood after so many M-steps: scikit-learn's and emlearn's."""
        n = len(self._X)
        log_scale = np.log(self._units.scale).sum()
        theirs = self.sklearn(n_iter).score(self._X) * n
        return theirs, self.emlearn(n_iter).log_likelihood - n * log_scale


def iteration_times(rivals, seconds, repeats):
    """Seconds per iteration of scikit-learn and of emlearn, and the number of iterations timed.

    A fit of 2 iterations is taken off a fit of 2 + more, the best of some repeats each.
    """
    some = timed(lambda: rivals.sklearn(FIRST))[0]
    each = (timed(lambda: rivals.sklearn(FIRST + 2))[0] - some) / 2
    more = int(np.clip(seconds / max(each, 1e-6), 5, 50))
    rivals.emlearn(FIRST)
    calls = [(fit, n_iter) for n_iter in (FIRST, FIRST + more) for fit in (rivals.sklearn, rivals.emlearn)]
    times = np.array([[timed(lambda f=f, n=n: f(n))[0] for f, n in calls] for _ in range(repeats)])
    best = times.min(axis=0)
    each = (best[2:] - best[:2]) / more
    theirs, ours = np.where(each > 0, each, np.nan)  # not a time: too noisy a machine
    return theirs, ours, more


class IterationCell(NamedTuple):
    """A row of the table."""

    shape: str
    size: tuple[int, int, int]  # n, d, K
    n_iter: int
    theirs: float  # seconds
    ours: float  # seconds
    difference: float  # of the log-likelihoods, relative

    @property
    def ratio(self):
        return self.theirs / self.ours

    @property
    def target(self):
        return iteration_target(self.shape, self.size[1])

    def row(self):
        notes = [] if self.ratio >= self.target else ["below target"]
        notes += [] if self.ratio >= LEAST_RATIO else [f"below {LEAST_RATIO}"]
        notes += [] if self.difference <= SAME_LIKELIHOOD else ["NOT THE SAME LIKELIHOOD"]
        n, d, K = self.size
        numbers = [f"{1e3 * self.theirs:.2f}", f"{1e3 * self.ours:.2f}", f"{self.ratio:.1f}"]
        target = f"{self.target:g}"
        return [
            self.shape, f"{n:,}", str(d), str(K), str(self.n_iter), *numbers, target,
            f"{self.difference:.0e}", ", ".join(notes) or "met",
        ]  # fmt: skip


ITERATION_COLUMNS = [
    "shape", "n", "d", "K", "iterations", "scikit-learn, ms", "emlearn, ms", "ratio", "target",
    "likelihood, relative difference", "note",
]  # fmt: skip


def run_iteration(args):
    title("Time of one EM iteration")
    grid = QUICK_GRID if args.quick else GRID
    seconds, repeats = (0.05, args.repeats or 2) if args.quick else (1.0, args.repeats or 5)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for n_threads in (1, 2):
        if n_threads > available:
            print("Two cores: skipped, there is only one.")
            continue
        cells = []
        for n, d, K in grid:
            mixture = Mixture.random(d, K, seed=d + K)
            X = mixture.rows(n, np.random.default_rng(args.seed))
            for shape in args.shapes or SHAPES:
                progress(f"iteration: {n} x {d}, K={K}, {shape}, {n_threads} core(s)")
                rivals = Rivals(X, mixture, shape, n_threads, np.random.default_rng(args.seed + 1))
                theirs, ours, n_iter = iteration_times(rivals, seconds, repeats)
                one, other = rivals.likelihoods(FIRST + n_iter)
                difference = abs(one - other) / abs(one)
                cells.append(IterationCell(shape, (n, d, K), n_iter, theirs, ours, difference))
        cores = "One core" if n_threads == 1 else "Two cores"
        print(f"{cores} each, best of {repeats}:\n")
        cells.sort(key=lambda cell: SHAPES.index(cell.shape))
        print(rst_table(ITERATION_COLUMNS, [cell.row() for cell in cells]))
        print(f"\n{cores}, summary:\n")
        print(iteration_summary(cells), flush=True)
        print()


def iteration_summary(cells):
    """Ratios against targets, by shape and by number of features."""
    groups = {}
    for cell in cells:
        d = cell.size[1]
        features = "d ≤ 10" if d <= 10 else "10 < d ≤ 20" if d <= 20 else "d > 20"
        groups.setdefault((cell.shape, features), []).append(cell)
    rows = []
    for (shape, features), members in groups.items():
        ratios = [cell.ratio for cell in members]
        target = members[0].target
        rows.append([
            f"{shape}, {features}", f"{geometric_mean(ratios):.1f}", f"{np.min(ratios):.1f}",
            f"{target:g}", verdict(np.min(ratios) >= target),
        ])  # fmt: skip
    lowest = np.min([cell.ratio for cell in cells])
    mean = geometric_mean([cell.ratio for cell in cells])
    rows.append(["all cells", f"{mean:.1f}", f"{lowest:.1f}", str(LEAST_RATIO), verdict(lowest >= LEAST_RATIO)])
    worst = max(cell.difference for cell in cells)
    table = rst_table(["cells", "geometric mean", "lowest ratio", "target", "verdict"], rows)
    return (
        f"{table}\n\nLargest relative difference of log-likelihoods: {worst:.1e} "
        f"(target at most {SAME_LIKELIHOOD:.0e}: {verdict(worst <= SAME_LIKELIHOOD)})"
    )


# -- time to quality -------------------------------------------------------------------------------------

QUALITY_TARGET = 5.0
SAME_NATS = 1e-3  # log-likelihoods no further apart than this, in all, are the same
SKLEARN_REG = 1e-6  # what scikit-learn adds to variances, by default, in squared units of the data


def customer_features():
    """Log total spend, orders per month and items per order, of customers who came back, (11659, 3)."""
    cdnow = load_cdnow()
    spend, n_orders, n_items = cdnow.data.T
    days = (np.datetime64("1998-07-01") - cdnow.first_purchase) / np.timedelta64(1, "D")
    features = np.column_stack([spend, n_orders / (days / 30.4375), n_items / n_orders])
    return np.log(features[n_orders >= 2])


def synthetic(n, d, K):
    return Mixture.random(d, K, seed=d + K).rows(n, np.random.default_rng(0))


def pixels():
    """The colours of a photograph, one row per pixel."""
    return load_sample_image("china.jpg").reshape(-1, 3).astype(np.float64)


QUALITY_SETS = {  # name: rows, K
    "CDNOW customers": (customer_features, 3),
    "iris": (lambda: load_iris().data, 3),
    "digits, 10 principal components": (
        lambda: PCA(10, svd_solver="full").fit_transform(load_digits().data),
        10,
    ),
    "pixels of a photograph": (pixels, 5),
    "synthetic, overlapping": (lambda: synthetic(20_000, 5, 8), 8),
    "synthetic, overlapping ": (lambda: synthetic(50_000, 10, 10), 10),
}
TINY_SETS = {
    "Old Faithful": (lambda: load_old_faithful().data, 2),
    "wine": (lambda: load_wine().data, 3),
}
QUICK_QUALITY_SETS = {
    "iris": QUALITY_SETS["iris"],
    "Old Faithful": TINY_SETS["Old Faithful"],
    "synthetic, small": (lambda: synthetic(1_000, 3, 3), 3),
}


def is_degenerate(covariances, X):
    """Whether a component has collapsed.

    Half or more of its least variance is what scikit-learn adds, or it is a millionth of the data's.
    """
    sd = X.std(axis=0)
    relative = np.linalg.eigvalsh(covariances / np.outer(sd, sd)).min()
    return np.linalg.eigvalsh(covariances).min() <= 2 * SKLEARN_REG or relative <= 1.01e-6


def run_quality(args):
    title("Time to quality")
    sets = QUICK_QUALITY_SETS if args.quick else {**QUALITY_SETS, **TINY_SETS}
    seeds = range(args.seed, args.seed + (args.repeats or (1 if args.quick else 3)))
    n_threads = args.threads
    rows, ratios, differences = [], [], []
    # Neither pays for what is loaded at a first fit.
    few = synthetic(200, 2, 2)
    with without_convergence_warnings():
        GaussianMixtureEM(2, random_state=0).fit(few)
        GaussianMixture(2, random_state=0).fit(few)
    for name, (load, K) in sets.items():
        X = load()
        n, d = X.shape
        runs, notes = [], set()
        for seed in seeds:
            progress(f"quality: {name}, seed {seed}")
            ours = GaussianMixtureEM(K, random_state=seed, n_jobs=n_threads)
            theirs = GaussianMixture(K, n_init=10, tol=1e-8, max_iter=10_000, random_state=seed)
            with threadpool_limits(n_threads), without_convergence_warnings():
                our_time = timed(lambda ours=ours, X=X: ours.fit(X))[0]
                their_time = timed(lambda theirs=theirs, X=X: theirs.fit(X))[0]
                runs.append((our_time, their_time, ours.score(X) * n, theirs.score(X) * n))
            for name_of, fitted in (("scikit-learn", theirs), ("emlearn", ours)):
                if is_degenerate(fitted.covariances_, X):
                    notes.add(f"{name_of}'s is degenerate")
                if not fitted.converged_:
                    notes.add(f"{name_of} did not converge")
        times = np.array(runs)
        our_time, their_time, our_value, their_value = np.median(times, axis=0)
        ratio = float(np.median(times[:, 1] / times[:, 0]))
        worst = float((times[:, 2] - times[:, 3]).min())
        if worst < -SAME_NATS:
            notes.add("emlearn's is lower")
        ratios.append(ratio)
        differences.append(worst)
        rows.append([
            name, f"{n:,}", str(d), str(K), f"{their_value:.3f}", f"{our_value:.3f}", f"{worst:+.4f}",
            f"{their_time:.3f}", f"{our_time:.3f}", f"{ratio:.1f}", ", ".join(sorted(notes)) or "–",
        ])  # fmt: skip
    columns = [
        "data", "n", "d", "K", "scikit-learn, nats", "emlearn, nats", "least difference",
        "scikit-learn, s", "emlearn, s", "ratio", "note",
    ]  # fmt: skip
    print(
        "GaussianMixtureEM(K) against GaussianMixture(K, n_init=10, tol=1e-8, max_iter=10000), full "
        f"covariances,\n{n_threads} core(s) each; medians over {len(seeds)} seed(s), and over these the "
        "least of emlearn's\nlog-likelihood minus scikit-learn's:\n"
    )
    print(rst_table(columns, rows))
    counted = len(sets) if args.quick else len(QUALITY_SETS)
    mean, lowest = geometric_mean(ratios[:counted]), min(differences)
    print("\nSummary:\n")
    summary = [
        [f"time, geometric mean of the first {counted} ratios", f"{mean:.1f}", f"at least {QUALITY_TARGET:g}",
         verdict(mean >= QUALITY_TARGET)],
        ["time, geometric mean of all ratios", f"{geometric_mean(ratios):.1f}", "–", "–"],
        ["log-likelihood, least difference", f"{lowest:+.4f} nats", f"at least -{SAME_NATS:g} nats",
         verdict(lowest >= -SAME_NATS)],
    ]  # fmt: skip
    print(rst_table(["what", "reached", "target", "verdict"], summary), flush=True)


# -- memory ----------------------------------------------------------------------------------------------

ARRAY_TARGET = 64  # MB above the input
FILE_TARGET = 500  # MB in all
CHUNK_ROWS = 10_000  # small, so that what making the data takes and leaves behind does not count


HAS_PROC = Path("/proc/self/status").exists()


def memory(field):
    """Of /proc/self/status, in MB: VmRSS, VmHWM (its peak), RssAnon (what is not a mapped file)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / MB
    raise KeyError(field)


def resident():
    """Resident memory of this process now and at its peak, MB; where there is no /proc, the peak for both.

    getrusage's ru_maxrss is the second choice: it begins with the peak of the parent process.
    """
    if HAS_PROC:
        return memory("VmRSS"), memory("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB,) * 2


def chunks(n, d, K, seed):
    """Rows of a mixture, some at a time, and the number of the first."""
    mixture = Mixture.random(d, K, seed=d + K)
    rng = np.random.default_rng(seed)
    for start in range(0, n, CHUNK_ROWS):
        yield start, mixture.rows(min(CHUNK_ROWS, n - start), rng)


def small_fit(d):
    """A fit with starts of every kind, so that nothing is left to be loaded."""
    _, rows = next(chunks(1_000, d, 2, seed=0))
    with without_convergence_warnings():
        GaussianMixtureEM(2, max_iter=5, random_state=0).fit(rows)


def fit_array(n, d, K, max_iter, seed):
    """Memory before a fit to an array and at its peak, MB, and seconds of the fit. For a fresh process."""
    small_fit(d)
    X = np.empty((n, d))
    for start, rows in chunks(n, d, K, seed):
        X[start : start + len(rows)] = rows
    before = resident()[0]
    with without_convergence_warnings():
        mixture = GaussianMixtureEM(K, max_iter=max_iter, random_state=0)
        seconds, _ = timed(lambda: mixture.fit(X))
    return before, resident()[1], seconds


def fit_file(path, n, d, K, max_iter):
    """Peak of anonymous and of all resident memory in a fit to a file, MB, and seconds. For a fresh process."""
    small_fit(d)
    X = np.memmap(path, mode="r", dtype=np.float64, shape=(n, d))
    anonymous, done = [memory("RssAnon")], threading.Event()

    def watch():
        while not done.wait(0.002):
            anonymous[0] = max(anonymous[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with without_convergence_warnings():
        mixture = GaussianMixtureEM(K, max_iter=max_iter, random_state=0)
        seconds, _ = timed(lambda: mixture.fit(X))
    done.set()
    watcher.join()
    return anonymous[0], resident()[1], seconds


def in_fresh_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run_memory(args):
    title("Memory")
    n, d, K, max_iter = 200_000 if args.quick else 2_000_000, 10, 10, 20
    progress(f"memory: array of {n} x {d}")
    before, peak, seconds = in_fresh_process(fit_array, n, d, K, max_iter, args.seed)
    above = peak - before
    print(f"{n:,} × {d} array ({8 * n * d / MB:.0f} MB), K = {K}, full, defaults but max_iter={max_iter}:\n")
    columns = ["resident before, MB", "peak, MB", "above the input, MB", "target", "verdict", "fit, s"]
    row = [
        f"{before:.1f}", f"{peak:.1f}", f"{above:.1f}", f"below {ARRAY_TARGET}",
        verdict(above < ARRAY_TARGET), f"{seconds:.1f}",
    ]  # fmt: skip
    print(rst_table(columns, [row]), flush=True)

    n, max_iter = 2_500_000 if args.quick else 50_000_000, 3
    size = 8 * n * d
    print(
        f"\n{n:,} × {d} memory-mapped file ({size / MB:.0f} MB), K = {K}, full, defaults but "
        f"max_iter={max_iter}:\n"
    )
    if not HAS_PROC:
        print("Skipped: needs Linux's /proc.")
        return
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        free = shutil.disk_usage(directory).free
        if free < 1.5 * size:
            print(f"Skipped: {free / MB:.0f} MB free, {1.5 * size / MB:.0f} MB needed (--directory).")
            return
        progress(f"memory: file of {n} x {d}")
        path = Path(directory) / "rows.f64"
        with path.open("wb") as file:
            for _, rows in chunks(n, d, K, args.seed):
                rows.tofile(file)
        anonymous, peak, seconds = in_fresh_process(fit_file, str(path), n, d, K, max_iter)
    columns = ["peak RssAnon, MB", "target", "verdict", "peak VmHWM, MB", "fit, s"]
    row = [
        f"{anonymous:.1f}", f"below {FILE_TARGET}", verdict(anonymous < FILE_TARGET), f"{peak:.1f}",
        f"{seconds:.1f}",
    ]  # fmt: skip
    print(rst_table(columns, [row]))
    print(
        "\nRssAnon is what the process holds itself, the interpreter included; VmHWM counts pages of the "
        "file\nthat the system keeps in memory as long as nothing else wants it.",
        flush=True,
    )


# -- few rows --------------------------------------------------------------------------------------------

FEW_ROWS = ((60, 100), (60, 200), (40, 500))
FEW_TARGET = 3.0  # times scikit-learn's n_init=10


def few_rows(n, d, seed):
    rng = np.random.RandomState(seed)
    mixing = np.eye(d) + 0.5 * rng.normal(size=(d, d)) / np.sqrt(d)
    return rng.normal(size=(n, d)) @ mixing + rng.normal(size=(3, d))[rng.randint(3, size=n)]


def processor_time(function):
    begin = time.process_time()
    function()
    return time.process_time() - begin


def run_few(args):
    title("Fewer rows than columns: default fits, full covariances, processor time on one thread")
    ratios, rows = [], []
    for n, d in FEW_ROWS[: 1 if args.quick else None]:
        X = few_rows(n, d, args.seed)
        for K in (2, 3):
            theirs, ours = [], []
            with without_convergence_warnings():
                for _ in range(args.repeats or (1 if args.quick else 3)):
                    other = GaussianMixture(K, n_init=10, random_state=args.seed)
                    mixture = GaussianMixtureEM(K, random_state=args.seed)
                    theirs.append(processor_time(partial(other.fit, X)))
                    ours.append(processor_time(partial(mixture.fit, X)))
            ratios.append(np.median(ours) / np.median(theirs))
            rows.append(
                [f"{n} × {d}", str(K), f"{np.median(theirs):.2f}", f"{np.median(ours):.2f}",
                 f"{ratios[-1]:.1f}", f"{other.lower_bound_ * n:.0f}", f"{mixture.log_likelihood_:.0f}"]
            )  # fmt: skip
    columns = [
        "data",
        "K",
        "scikit-learn n_init=10, s",
        "emlearn, s",
        "times",
        "log-likelihood",
        "log-likelihood",
    ]
    print(rst_table(columns, rows))
    mean = geometric_mean(ratios)
    print(f"\nGeometric mean {mean:.1f}, target {FEW_TARGET:g}: {verdict(mean <= FEW_TARGET)}", flush=True)


# -- fourteen shapes -------------------------------------------------------------------------------------

SHAPE_SIZES = [(500, 5, 3), (10_000, 5, 3), (100_000, 10, 3)]
IN_SKLEARN = {"VII": "spherical", "VVI": "diag", "EEE": "tied", "VVV": "full"}
FOURTEEN = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]


def sklearn_step(X, labels, K, shape):
    """Seconds of an iteration of scikit-learn's: what twenty more take."""
    centres = np.array([X[labels == k].mean(axis=0) for k in range(K)])
    least = {}
    for n_iter in (2, 22):
        rival = GaussianMixture(
            K, covariance_type=shape, tol=0.0, reg_covar=0.0, max_iter=n_iter, means_init=centres,
            init_params="random", random_state=0,
        )  # fmt: skip
        least[n_iter] = min(processor_time(partial(rival.fit, X)) for _ in range(5))
    return (least[22] - least[2]) / 20


def run_shapes(args):
    title("Fourteen shapes: processor time of an iteration on one thread, ms, and relative to VVV")
    times = {name: [] for name in FOURTEEN}
    theirs = {name: [] for name in IN_SKLEARN}
    sizes = SHAPE_SIZES[: 1 if args.quick else None]
    with one_blas_thread(), without_convergence_warnings():
        for n, d, K in sizes:
            X, labels = blobs(n, d, K)
            for name in FOURTEEN:
                times[name].append(1e3 * seconds_per_step(gaussian_family(name), X, labels, K))
            for name, shape in IN_SKLEARN.items():
                theirs[name].append(1e3 * sklearn_step(X, labels, K, shape))
            progress(f"{n} x {d}")
    rows = []
    for name in FOURTEEN:
        row = [name]
        for i in range(len(sizes)):
            own = times[name][i]
            row += [f"{own:.3f}", f"{own / times['VVV'][i]:.2f}"]
            row.append(f"{theirs[name][i]:.3f}" if name in theirs else "")
        rows.append(row)
    columns = ["shape"]
    for n, d, K in sizes:
        columns += [f"{n} × {d}, K = {K}", "of VVV", "scikit-learn"]
    print(rst_table(columns, rows), flush=True)


# -- import ----------------------------------------------------------------------------------------------

IMPORT_TARGET = 0.1  # seconds
IMPORT_CODE = """
import time
begin = time.perf_counter()
import sklearn.mixture
middle = time.perf_counter()
import emlearn
print(middle - begin, time.perf_counter() - middle)
"""


def run_import(args):
    title("Import")
    repeats = args.repeats or (3 if args.quick else 7)
    root = str(Path(emlearn.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", IMPORT_CODE]
    times = []
    for _ in range(1 + repeats):  # the first one may compile
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
        )
        times.append([float(word) for word in answer.stdout.split()])
    theirs, ours = np.median(times[1:], axis=0)
    print(f"Median over {repeats} processes:\n")
    columns = ["import sklearn.mixture, s", "import emlearn after it, s", "target", "verdict"]
    row = [f"{theirs:.3f}", f"{ours:.3f}", f"below {IMPORT_TARGET:g}", verdict(ours < IMPORT_TARGET)]
    print(rst_table(columns, [row]), flush=True)


# -- command line ----------------------------------------------------------------------------------------

PARTS = {
    "iteration": run_iteration,
    "quality": run_quality,
    "memory": run_memory,
    "shapes": run_shapes,
    "few": run_few,
    "import": run_import,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: to try the script")
    parser.add_argument("--repeats", type=int, help="repeats (iteration, import) or seeds (quality)")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="covariance shapes (iteration)")
    parser.add_argument("--threads", type=int, default=1, help="cores for each library (quality); default 1")
    parser.add_argument("--directory", help="where the large file goes (memory); default: the system's")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the starts; default 0")
    args = parser.parse_args()
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    print(
        f"emlearn {emlearn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__},\nPython {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} core(s)",
        flush=True,
    )
    for part in args.parts or PARTS:
        PARTS[part](args)


if __name__ == "__main__":
    main()
