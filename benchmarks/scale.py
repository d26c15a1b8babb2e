"""Data that arrive in pieces, lie in files, or on many machines.

    python benchmarks/scale.py stream                      # one part
    python benchmarks/scale.py stream --quick              # on small sizes, to try the script
    python benchmarks/scale.py parquet --rows 1_000_000    # on a smaller machine

Parts:

stream
    `partial_fit` of a Gaussian mixture: how many nats a row it ends short of the maximum of all rows after one
    pass of 200,000 x 6, K = 4, with a race on the first rows; in batches of 100, 500 and 2000.
parquet
    A fit from a Parquet file beside the same fit in memory, 20,000,000 x 10, K = 10: time, and peak memory.
sample
    Time until a fit to 2,000,000 x 10, K = 10, is close to its maximum: from the start on all rows, or on
    20,000 of them first.
dask
    A fit to 5,000,000 x 10 in 50 blocks, K = 10, on two workers of one thread beside the same by two threads
    in memory; and what a pass over 10, 50, 200 and 1,000 blocks costs that does nothing.

Tables are reStructuredText. Times that are compared are taken by turns; run on an idle machine.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
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

from emlearn import GaussianMixtureEM
from emlearn.em import (
    Batches,
    LatentModel,
    LatentPair,
    em_iterates,
    fit_em,
    from_parquet,
    one_blas_thread,
    to_parquet,
)
from emlearn.em.stopping import AitkenStop
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights

# -- stream ----------------------------------------------------------------------------------------------

STREAM_TARGET = 5e-4  # nats a row
STREAM_BATCHES = (100, 500, 2000)
D, K = 6, 4


def separated(seed):
    """Components that hardly overlap."""
    mixture = Mixture.random(D, K, seed)
    return mixture._replace(means=3.0 * mixture.means)


CASES = {"overlapping": lambda seed: Mixture.random(D, K, seed), "separated": separated}


def run_stream(args):
    title("Stream")
    n, seeds = (20_000, 1) if args.quick else (200_000, args.seeds)
    # A race on fewer rows, as partial_fit does by itself, and one on the first batch of 5000.
    rows = []
    for case, make in CASES.items():
        for first in (0, 5000):
            gaps = {size: [] for size in STREAM_BATCHES}
            seconds = {size: [] for size in STREAM_BATCHES}
            alone = []
            for seed in range(args.seed, args.seed + seeds):
                progress(f"stream: {case}, first {first or 'as they come'}, seed {seed}")
                X = make(seed).rows(n, np.random.default_rng(seed))
                best = raced = None
                for size in STREAM_BATCHES:
                    mixture = GaussianMixtureEM(K, random_state=0)
                    begin = time.perf_counter()
                    with without_convergence_warnings():
                        if first:
                            mixture.partial_fit(X[:first])
                            raced = mixture.score(X) if raced is None else raced
                        for start in range(first, n, size):
                            mixture.partial_fit(X[start : start + size])
                    seconds[size].append(time.perf_counter() - begin)
                    if best is None:  # of the maximum that the stream is at
                        data = Batches(X, units=mixture._units, n_threads=2)
                        fit = fit_em(mixture._model, mixture._params, data, tol=1e-2)
                        best = fit.log_likelihood / n - np.log(mixture._units.scale).sum()
                    gaps[size].append(best - mixture.score(X))
                    progress(f"    batches of {size}: {gaps[size][-1]:.1e} short, {seconds[size][-1]:.1f} s")
                alone += [] if raced is None else [best - raced]
            largest = max(max(values) for values in gaps.values())
            rows.append(
                [
                    case,
                    str(first or "as they come"),
                    f"{np.mean(alone):.1e}" if alone else "",
                    *(f"{np.mean(gaps[size]):.1e}" for size in STREAM_BATCHES),
                    f"{largest:.1e}",
                    f"below {STREAM_TARGET:g}",
                    verdict(largest < STREAM_TARGET),
                    " / ".join(f"{1e6 * np.mean(seconds[size]) / n:.1f}" for size in STREAM_BATCHES),
                ]
            )
    n_parameters = K - 1 + K * D + K * D * (D + 1) // 2
    print(
        f"Nats a row short of the maximum of all {n} rows after one pass, mean over {seeds} seed(s). The best\n"
        f"estimate from other rows, as many, would be {n_parameters / (2 * n):.1e} short.\n"
    )
    columns = [
        "components", "first batch", "race alone", *(f"batches of {size}" for size in STREAM_BATCHES),
        "largest", "target", "verdict", "us a row",
    ]  # fmt: skip
    print(rst_table(columns, rows), flush=True)


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


def timed_twice(function):
    """Seconds that a call takes, seconds that processors work on it, and its result."""
    begin = time.process_time()
    seconds, result = timed(function)
    return seconds, time.process_time() - begin, result


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
    n = args.rows or (200_000 if args.quick else 20_000_000)
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
            of_file, file_work, fitted = timed_twice(lambda: fit_of(from_parquet(path), args))
            progress(f"parquet: repeat {repeat}, in memory")
            in_memory, work, same = timed_twice(lambda: fit_of(X, args))
            ratios.append(of_file / in_memory)
            lines.append([
                f"{of_file:.1f}", f"{in_memory:.1f}", f"{ratios[-1]:.2f}", f"{file_work:.1f}", f"{work:.1f}",
                f"{abs(fitted.lower_bound_ - same.lower_bound_):.1e}",
            ])  # fmt: skip
    print(
        f"{n:,} × {d}, K = {K}, full, GaussianMixtureEM with n_init=2 and max_iter={args.max_iter}, "
        f"{args.threads} thread(s); a\nParquet file of {size:.0f} MB:\n"
    )
    columns = ["file, s", "in memory, s", "ratio", "file, CPU s", "in memory, CPU s", "difference, nats a row"]
    print(rst_table(columns, lines))
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
    d, K, n = 10, 10, args.rows or (60_000 if args.quick else 2_000_000)
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


# -- on a cluster ----------------------------------------------------------------------------------------

DASK_TARGET = 1.3  # time on two workers over that of two threads
ROUND_TARGET = 20.0  # ms of a pass over 50 blocks that does nothing
DASK_BLOCKS = 50
ROUNDS_OF = (10, 50, 200, 1_000)  # blocks
ROWS_OF_ROUNDS = 5_000  # in each block, so that none are joined


def block_of_mixture(number, n, d, K, seed):
    """Rows that a worker can make for itself."""
    return Mixture.random(d, K, seed=d + K).rows(n, np.random.default_rng([seed, number]))


def nothing(batch):
    """What an E-step with K = 10, d = 10 sends back, without the E-step."""
    return np.zeros((10, 66))


def nothing_of_a_block(block):
    return np.zeros((10, 66))


def two_workers():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
    return cluster, Client(cluster)


def round_time(call, repeats):
    """Least and median ms of a call, and ms that client and scheduler, which are this process, work in it."""
    began = time.process_time()
    times = sorted(timed(call)[0] for _ in range(repeats))
    worked = (time.process_time() - began) / repeats
    return 1e3 * times[0], 1e3 * times[len(times) // 2], 1e3 * worked


def round_times(client, n_blocks, repeats):
    """`round_time` of a pass that does nothing, grouped by threads, and as a task for each block."""
    from dask import delayed
    from distributed import wait

    from emlearn.dask import OnDask

    progress(f"dask: rounds of {n_blocks} blocks")
    blocks = client.compute([delayed(np.zeros)((ROWS_OF_ROUNDS, 2)) for _ in range(n_blocks)])
    wait(blocks)
    data = OnDask(blocks)
    data.sum(nothing)
    grouped = round_time(lambda: data.sum(nothing), repeats)
    alone = round_time(lambda: client.gather(client.map(nothing_of_a_block, blocks, pure=False)), 3)
    progress(f"dask: {grouped}, {alone}")
    return grouped, alone


def run_dask(args):
    title("On a cluster")
    cluster, client = two_workers()
    with cluster, client:
        if args.only != "fit":
            print_rounds(client, args)
        if args.only != "rounds":
            print_fits(client, args)


def print_rounds(client, args):
    rows = []
    for n_blocks in ROUNDS_OF:
        grouped, alone = round_times(client, n_blocks, 10 * args.repeats)
        is_target = n_blocks == DASK_BLOCKS
        rows.append([
            f"{n_blocks:,}", *[f"{ms:.1f}" for ms in grouped], *[f"{ms:.0f}" for ms in alone],
            f"{alone[0] / n_blocks:.2f}",
            f"below {ROUND_TARGET:g}" if is_target else "",
            verdict(grouped[0] < ROUND_TARGET) if is_target else "",
        ])  # fmt: skip
    print(
        "A pass that does nothing and brings 10 × 66 numbers a block, two workers of one thread; ms, least and "
        f"median of\n{10 * args.repeats}, and what client and scheduler work. Load of the machine "
        f"{os.getloadavg()[0]:.1f}:\n"
    )
    columns = [
        "blocks", "by thread", "median", "worked", "by block", "median", "worked", "a task", "target",
        "verdict",
    ]  # fmt: skip
    print(rst_table(columns, rows), flush=True)


def print_fits(client, args):
    import dask.array as da
    from dask import delayed
    from distributed import wait

    n, n_features, n_components = args.rows or (500_000 if args.quick else 5_000_000), 10, 10
    n_block = n // DASK_BLOCKS
    progress(f"dask: {n} x {n_features}")
    parts = [
        delayed(block_of_mixture)(i, n_block, n_features, n_components, args.seed) for i in range(DASK_BLOCKS)
    ]
    X = da.concatenate([da.from_delayed(part, (n_block, n_features), float) for part in parts])
    there = client.persist(X)
    wait(there)
    here = np.concatenate(
        [block_of_mixture(i, n_block, n_features, n_components, args.seed) for i in range(DASK_BLOCKS)]
    )
    settings = {"n_init": 2, "max_iter": args.max_iter, "random_state": args.seed, "n_jobs": 2}
    lines, ratios = [], []
    with without_convergence_warnings():
        for turn in range(args.repeats):
            progress(f"dask: turn {turn + 1} of {args.repeats}")
            first, on_cluster = timed(lambda: GaussianMixtureEM(n_components, **settings).fit(there))
            second, in_memory = timed(lambda: GaussianMixtureEM(n_components, **settings).fit(here))
            apart = np.abs(on_cluster.means_ - in_memory.means_).max()
            ratios.append(first / second)
            progress(f"dask: {first:.1f} s on the cluster, {second:.1f} s in memory")
            lines.append([
                f"{first:.1f}", f"{second:.1f}", f"{ratios[-1]:.2f}",
                f"{on_cluster.n_iter_} and {in_memory.n_iter_}", f"{apart:.0e}",
            ])  # fmt: skip
    print(
        f"\n{DASK_BLOCKS * n_block:,} × {n_features} in {DASK_BLOCKS} blocks, K = {n_components}, full, "
        f"max_iter={args.max_iter}; two workers of one thread, and two\nthreads in memory. Load "
        f"{os.getloadavg()[0]:.1f}:\n"
    )
    print(rst_table(["cluster, s", "memory, s", "ratio", "iterations", "means apart"], lines))
    middle = sorted(ratios)[len(ratios) // 2]
    print(f"\nMedian ratio {middle:.2f}, target at most {DASK_TARGET:g}: {verdict(middle <= DASK_TARGET)}")


# -- command line ----------------------------------------------------------------------------------------

PARTS = {"stream": run_stream, "parquet": run_parquet, "sample": run_sample, "dask": run_dask}
OF_ROWS = ("parquet", "sample", "dask")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, run in PARTS.items():
        part = parts.add_parser(name)
        part.set_defaults(run=run)
        part.add_argument("--quick", action="store_true", help="small sizes: to try the script")
        part.add_argument("--seed", type=int, default=0, help="the first, of data; default 0")
        part.add_argument("--seeds", type=int, default=2, help="how many; default 2")
        if name in OF_ROWS:
            part.add_argument("--rows", type=int, help="how many; default: as above")
            part.add_argument("--threads", type=int, default=1, help="that share the rows; default 1")
        if name == "dask":
            part.add_argument("--only", choices=["rounds", "fit"], help="one of the two")
        if name in ("parquet", "dask"):
            part.add_argument("--repeats", type=int, default=3, help="how often times are taken; default 3")
            part.add_argument("--max-iter", type=int, default=10, help="iterations of a fit; default 10")
        if name == "parquet":
            part.add_argument("--directory", help="where the file goes; default: the system's for such files")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
