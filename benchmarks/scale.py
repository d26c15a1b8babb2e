"""Many rows: on a cluster of Dask.

    python benchmarks/scale.py dask                     # one part; takes a good while
    python benchmarks/scale.py dask --rows 500_000      # on a smaller machine

Parts:

dask
    A fit on two workers of one thread beside the same fit by two threads in memory, and what a pass over data
    costs that do nothing, by the number of blocks.

Tables are reStructuredText. Times that are compared are taken by turns; run on an idle machine.
"""

import argparse
import os
import platform
import time

import numpy as np
import sklearn
from gaussian_mixture import Mixture, progress, rst_table, timed, title, verdict, without_convergence_warnings

import emlearn
from emlearn import GaussianMixtureEM

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

    n, d, K = args.rows or 5_000_000, 10, 10
    n_block = n // DASK_BLOCKS
    progress(f"dask: {n} x {d}")
    parts = [delayed(block_of_mixture)(i, n_block, d, K, args.seed) for i in range(DASK_BLOCKS)]
    X = da.concatenate([da.from_delayed(part, (n_block, d), float) for part in parts])
    there = client.persist(X)
    wait(there)
    here = np.concatenate([block_of_mixture(i, n_block, d, K, args.seed) for i in range(DASK_BLOCKS)])
    settings = {"n_init": 2, "max_iter": args.iterations, "random_state": args.seed, "n_jobs": 2}
    lines, ratios = [], []
    with without_convergence_warnings():
        for turn in range(args.repeats):
            progress(f"dask: turn {turn + 1} of {args.repeats}")
            first, on_cluster = timed(lambda: GaussianMixtureEM(K, **settings).fit(there))
            second, in_memory = timed(lambda: GaussianMixtureEM(K, **settings).fit(here))
            apart = np.abs(on_cluster.means_ - in_memory.means_).max()
            ratios.append(first / second)
            progress(f"dask: {first:.1f} s on the cluster, {second:.1f} s in memory")
            lines.append([
                f"{first:.1f}", f"{second:.1f}", f"{ratios[-1]:.2f}",
                f"{on_cluster.n_iter_} and {in_memory.n_iter_}", f"{apart:.0e}",
            ])  # fmt: skip
    print(
        f"\n{DASK_BLOCKS * n_block:,} × {d} in {DASK_BLOCKS} blocks, K = {K}, full, "
        f"max_iter={args.iterations}; two workers of one thread, and two\nthreads in memory. Load "
        f"{os.getloadavg()[0]:.1f}:\n"
    )
    print(rst_table(["cluster, s", "memory, s", "ratio", "iterations", "means apart"], lines))
    middle = sorted(ratios)[len(ratios) // 2]
    print(f"\nMedian ratio {middle:.2f}, target at most {DASK_TARGET:g}: {verdict(middle <= DASK_TARGET)}")


# -- command line ----------------------------------------------------------------------------------------

PARTS = {"dask": run_dask}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in PARTS:
        command = parts.add_parser(part)
        command.add_argument("--rows", type=int, help="how many; default: as in the table of the documentation")
        command.add_argument("--repeats", type=int, default=3, help="how often times are taken; default 3")
        command.add_argument("--seed", type=int, default=0, help="of the data and the starts; default 0")
        if part == "dask":
            command.add_argument("--only", choices=["rounds", "fit"], help="one of the two")
            command.add_argument("--iterations", type=int, default=10, help="of each fit; default 10")
    args = parser.parse_args()
    print(
        f"emlearn {emlearn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__},\n"
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        flush=True,
    )
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
