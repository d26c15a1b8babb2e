"""Many rows: from a file, and by a sample first.

    python benchmarks/scale.py parquet                     # one part; takes a good while
    python benchmarks/scale.py parquet --rows 1_000_000    # on a smaller machine

Parts:

parquet
    A fit from a Parquet file beside the same fit in memory: time, and the peak of memory.
sample
    Time until a fit is close to its maximum: from the start on all rows, or on 20,000 of them first.

Tables are reStructuredText. Times that are compared are taken by turns; run on an idle machine.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
from gaussian_mixture import (
    MB,
    Mixture,
    in_fresh_process,
    progress,
    resident,
    rst_table,
    small_fit,
    timed,
    title,
    verdict,
    without_convergence_warnings,
)
from sklearn.cluster import KMeans

import emlearn
from emlearn import GaussianMixtureEM
from emlearn.em import (
    Batches,
    LatentModel,
    LatentPair,
    em_iterates,
    from_parquet,
    one_blas_thread,
    to_parquet,
)
from emlearn.em.stopping import AitkenStop
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights

FULL = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"]))
SAMPLE_ROWS = 20_000


def kmeans_start(X, K, seed):
    """Parameters of the clusters that k-means finds in some rows."""
    with one_blas_thread():
        labels = KMeans(K, n_init=1, random_state=seed).fit_predict(X)
    clusters = [X[labels == k] for k in range(K)]
    family = GaussianParams(
        np.array([cluster.mean(axis=0) for cluster in clusters]),
        np.array([np.cov(cluster.T, bias=True) for cluster in clusters]),
    )
    return LatentPair(np.bincount(labels, minlength=K) / len(X), family)


def batches_of(source, n_threads):
    return Batches(source, floats_per_row=FULL.family.floats_per_row(10, 10), n_threads=n_threads)


# -- from a file -----------------------------------------------------------------------------------------

FILE_RATIO = 1.5
FILE_MEMORY = 500  # MB above the interpreter
FILE_SIZE = 10, 10  # d, K
DRAWN_ROWS = 60_000  # of which a file is made, at a time
GROUP_ROWS = 1_000_000


def write_rows(path, n, d, K, seed):
    mixture, rng = Mixture.random(d, K, seed=d + K), np.random.default_rng(seed)

    def pieces():
        for start in range(0, n, GROUP_ROWS):
            m = min(GROUP_ROWS, n - start)
            yield np.concatenate([
                mixture.rows(min(DRAWN_ROWS, m - first), rng) for first in range(0, m, DRAWN_ROWS)
            ])  # fmt: skip

    to_parquet(path, pieces())


def fit_of(source, args):
    """The fit whose time is taken, with few iterations: a fit to its end has more of them, of the same kind."""
    mixture = GaussianMixtureEM(
        FILE_SIZE[1], n_init=2, max_iter=args.max_iter, random_state=0, n_jobs=args.threads
    )
    with without_convergence_warnings():
        return mixture.fit(source)


def memory_of_file(path, args):
    """Memory before a fit to a file and at its peak, MB. For a fresh process."""
    small_fit(FILE_SIZE[0])
    next(iter(from_parquet(path)))  # so that nothing is left to be loaded
    before = resident()[0]
    fit_of(from_parquet(path), args)
    return before, resident()[1]


def run_parquet(args):
    title("From a file")
    d, K = FILE_SIZE
    n = args.rows or 20_000_000
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        path = str(Path(directory) / "rows.parquet")
        progress(f"parquet: writing {n:,} x {d}")
        write_rows(path, n, d, K, args.seed)
        size = os.path.getsize(path) / MB
        progress("parquet: memory")
        before, peak = in_fresh_process(memory_of_file, path, args)
        X = np.empty((n, d))
        first = 0
        for piece in from_parquet(path):
            X[first : first + len(piece)] = piece
            first += len(piece)
        lines, ratios = [], []
        for repeat in range(args.repeats):
            progress(f"parquet: repeat {repeat}, file")
            of_file, fitted = timed(lambda: fit_of(from_parquet(path), args))
            progress(f"parquet: repeat {repeat}, in memory")
            in_memory, same = timed(lambda: fit_of(X, args))
            ratios.append(of_file / in_memory)
            lines.append([
                f"{of_file:.1f}", f"{in_memory:.1f}", f"{ratios[-1]:.2f}",
                f"{abs(fitted.lower_bound_ - same.lower_bound_):.1e}",
            ])  # fmt: skip
    print(
        f"{n:,} × {d}, K = {K}, full, GaussianMixtureEM with n_init=2 and max_iter={args.max_iter}, "
        f"{args.threads} thread(s); a\nParquet file of {size:.0f} MB:\n"
    )
    print(rst_table(["file, s", "in memory, s", "ratio", "difference, nats a row"], lines))
    ratio = float(np.median(ratios))
    print("\nSummary:\n")
    summary = [
        ["time, median ratio", f"{ratio:.2f}", f"at most {FILE_RATIO:g}", verdict(ratio <= FILE_RATIO)],
        ["memory above the interpreter's, MB", f"{peak - before:.0f}", f"below {FILE_MEMORY}",
         verdict(peak - before < FILE_MEMORY)],
    ]  # fmt: skip
    print(rst_table(["what", "reached", "target", "verdict"], summary), flush=True)


# -- a sample first --------------------------------------------------------------------------------------

SOONER = 3.0  # on a plateau
CLOSE = 1e-3  # nats a row
SAMPLE_CASES = {  # name: separation, seed of the mixture, whether there is a plateau
    "overlapping, separation 1.3": (1.3, 4, True),
    "separation 1": (1.0, 1, False),
    "separation 2": (2.0, 2, False),
}


def overlapping(d, K, separation, seed):
    """A mixture whose means are so many standard deviations from the middle, in each direction."""
    mixture = Mixture.random(d, K, seed)
    return mixture._replace(means=separation * np.random.default_rng(seed + 1).standard_normal((K, d)))


def path_of(start, data, began, tol=0.1):
    """Seconds since ``began`` and objectives of a fit to its end, and the parameters there."""
    stop, path = AitkenStop(tol), []
    with one_blas_thread():
        for iterate in em_iterates(FULL, start, data, tol=tol):
            path.append((time.perf_counter() - began, iterate.objective))
            if stop(iterate):
                break
    return path, iterate.params


def seconds_until(path, objective):
    return next((seconds for seconds, reached in path if reached >= objective), np.inf)


def run_sample(args):
    title("A sample first")
    d, K, n = 10, 10, args.rows or 2_000_000
    lines, met = [], []
    for name, (separation, seed, is_plateau) in SAMPLE_CASES.items():
        rng = np.random.default_rng(args.seed)
        mixture = overlapping(d, K, separation, seed)
        X = np.empty((n, d))
        for first in range(0, n, DRAWN_ROWS):
            X[first : first + DRAWN_ROWS] = mixture.rows(min(DRAWN_ROWS, n - first), rng)
        start = kmeans_start(X[:SAMPLE_ROWS], K, args.seed)
        data = batches_of(X, args.threads)
        progress(f"sample: {name}, all rows")
        plain, _ = path_of(start, data, time.perf_counter())
        progress(f"sample: {name}, some rows first")
        began = time.perf_counter()
        sample = X[np.sort(rng.choice(n, SAMPLE_ROWS, replace=False))]
        _, there = path_of(start, batches_of(sample, args.threads), began)
        first_s = time.perf_counter() - began
        nested, _ = path_of(there, data, began)
        best = max(plain[-1][1], nested[-1][1])
        seconds = [seconds_until(path, best - CLOSE * n) for path in (plain, nested)]
        passes = [1 + sum(value < best - CLOSE * n for _, value in path) for path in (plain, nested)]
        ratio, target = seconds[0] / seconds[1], SOONER if is_plateau else 1.0
        met.append(ratio >= target)
        lines.append([
            name, f"{seconds[0]:.1f}", str(passes[0]), f"{seconds[1]:.1f}", f"{first_s:.1f}", str(passes[1]),
            f"{ratio:.1f}", f"{target:g}", verdict(met[-1]),
            f"{(nested[-1][1] - plain[-1][1]) / n:+.1e}",
        ])  # fmt: skip
    print(
        f"{n:,} × {d}, K = {K}, full, accelerated, from one start by k-means, {args.threads} thread(s); until "
        f"{CLOSE:g} nats\na row below the best that either reached. On all rows from the beginning, or on "
        f"{SAMPLE_ROWS:,} of them to the end\nfirst:\n"
    )
    columns = [
        "data", "all, s", "passes", "sample first, s", "of which on it, s", "passes of all", "ratio", "target",
        "verdict", "end minus end, nats a row",
    ]  # fmt: skip
    print(rst_table(columns, lines), flush=True)


# -- command line ----------------------------------------------------------------------------------------

PARTS = {"parquet": run_parquet, "sample": run_sample}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in PARTS:
        command = parts.add_parser(part)
        command.add_argument("--rows", type=int, help="how many; default: as in the table of the documentation")
        command.add_argument("--repeats", type=int, default=3, help="how often times are taken; default 3")
        command.add_argument("--threads", type=int, default=1, help="that share the rows; default 1")
        command.add_argument("--max-iter", type=int, default=10, help="iterations of fits to files; default 10")
        command.add_argument("--directory", help="where files go; default: the system's for temporary ones")
        command.add_argument("--seed", type=int, default=0, help="of the data and the starts; default 0")
    args = parser.parse_args()
    print(
        f"emlearn {emlearn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__},\n"
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} core(s)",
        flush=True,
    )
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
