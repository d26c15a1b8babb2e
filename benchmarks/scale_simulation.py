"""What a fit costs when its rows lie on many machines: measured here on two processes, foretold for more.

    python benchmarks/scale_simulation.py                  # everything
    python benchmarks/scale_simulation.py bytes rounds     # some parts

Parts:

bytes
    What travels in an iteration: a pickled E-step function out, pickled statistics back; the M-step.
rounds
    What a round of tasks costs on a `dask.distributed.LocalCluster` of two processes of one thread, when the
    tasks do nothing: one for each block, these with a tree, one for each worker thread.
runs
    Iterations on real rows on that cluster, beside what the model of an iteration says of them.
plan
    What the model says of 10 to 10,000 threads, for 1e9 and 1e11 rows, and where a tree of sums pays.

Tables are reStructuredText. Run on an idle machine: client, scheduler and workers share its cores.
"""

import argparse
import functools
import itertools
import os
import pickle
import time
from typing import NamedTuple

import dask
import numpy as np
from distributed import Client, LocalCluster, wait
from distributed.protocol import pickle as on_the_wire
from gaussian_mixture import Mixture, progress, rst_table, title

from emlearn.em import Batches, LatentModel, LatentPair, one_blas_thread
from emlearn.em.trees import add
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights

N_WORKERS = 2
THREADS = (10, 100, 1000, 10_000)
SIZES = ((2, 3), (10, 10), (50, 20), (100, 20))  # (d, K)
OF_ROUNDS = (10, 5)  # of what the empty rounds carry

# What is assumed of the machines of the plan.
BANDWIDTH = 1.25e9  # bytes a second: the client's and the scheduler's network of 10 Gbit/s
SLOW_SHARE, SLOWNESS = 0.01, 2.0  # one thread in a hundred takes twice as long
PROCESS = 16  # threads of a worker process that share one task
FAN = 32  # results that a node of a tree adds up


def problem(d, K, shape="full"):
    """A model and parameters of the size of those of a fit."""
    mixture = Mixture.random(d, K, seed=0)
    structure = COVARIANCE_SHAPES[shape]
    covariances = structure.of_dense(mixture.covariances)
    params = LatentPair(mixture.weights, GaussianParams(mixture.means, covariances))
    return LatentModel(MixtureWeights(), Gaussian(structure)), params, mixture


def best(function, n=7):
    """Least seconds of n calls."""
    seconds = []
    for _ in range(n):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def kilobytes(n):
    return f"{n / 1e3:,.1f}"


# -- what travels ----------------------------------------------------------------------------------------


class Load(NamedTuple):
    """What an iteration sends and does outside of its E-steps."""

    out: int  # bytes of the pickled E-step function
    back: int  # bytes of the pickled statistics of a block
    pickle: float  # seconds to pickle the function
    receive: float  # seconds to unpickle the statistics of a block and add them
    m_step: float  # seconds of the M-step and of the E-step's preparation

    def beyond(self, other):
        """The seconds that this costs more than another, of which the overhead of a task was measured."""
        more = {name: max(getattr(self, name) - getattr(other, name), 0.0) for name in ("pickle", "receive")}
        return self._replace(**more)

    @classmethod
    def of(cls, d, K, shape="full"):
        model, params, mixture = problem(d, K, shape)
        rows = mixture.rows(max(20 * d, 1000), np.random.default_rng(1))
        with one_blas_thread():
            function = model.expectation(params)
            result = Batches(rows).sum(function)
            m_step = best(lambda: model.expectation(model.maximize(result.stats, params)))
        fresh = model.expectation(params)  # one that has not been called carries nothing it remembers
        back = pickle.dumps(result, protocol=5)
        return cls(
            len(on_the_wire.dumps(fresh)),
            len(back),
            best(lambda: on_the_wire.dumps(fresh)),
            best(lambda: add(result, pickle.loads(back))),
            m_step,
        )


def part_bytes():
    title("What travels in an iteration")
    rows = []
    for shape, (d, K) in itertools.product(("full", "diag"), SIZES):
        load = Load.of(d, K, shape)
        sent = f"{1000 * load.out / 1e6:,.1f} / {1000 * load.back / 1e6:,.1f}"
        rows.append(
            [shape, str(d), str(K), kilobytes(load.out), kilobytes(load.back), sent]
            + [f"{1e6 * t:,.0f}" for t in (load.pickle, load.receive, load.m_step)]
        )
    columns = ["shape", "d", "K", "out, kB", "back, kB", "1000 tasks, MB out / back"]
    print(rst_table([*columns, "pickle, µs", "unpickle and add, µs", "M-step, µs"], rows))


# -- what a round costs ----------------------------------------------------------------------------------


def keep(value):
    return value


def together(*values):
    return values


def answer(block, function):
    """What a block would send back, without the work."""
    return block


def answers(blocks, function):
    return [answer(block, function) for block in blocks]


def cut(rows):
    return Batches(rows)


def sum_of(block, function):
    with one_blas_thread():
        return block.sum(function)


def sums_of(blocks, function):
    with one_blas_thread():
        return [block.sum(function) for block in blocks]


def added(*values):
    return functools.reduce(add, values)


class Held:
    """Blocks that live on the workers, to be asked one by one or all of a worker thread at once."""

    def __init__(self, client, make, arguments, one, many):
        self.client, self.one, self.many = client, one, many
        self.blocks = [client.submit(make, argument, pure=False) for argument in arguments]
        wait(self.blocks)
        where = client.who_has(self.blocks)
        by_worker = {}
        for i, block in enumerate(self.blocks):
            by_worker.setdefault(sorted(where[block.key])[0], []).append(i)
        self.groups = [
            (mine, client.submit(together, *[self.blocks[i] for i in mine], workers=[worker], pure=False))
            for worker, mine in by_worker.items()
        ]
        wait([group for _, group in self.groups])

    def by_block(self, function):
        """One task a block."""
        asked = [self.client.submit(self.one, block, function, pure=False) for block in self.blocks]
        return functools.reduce(add, self.client.gather(asked))

    def by_tree(self, function, fan=8):
        """One task a block, added up on the workers in a tree."""
        asked = [self.client.submit(self.one, block, function, pure=False) for block in self.blocks]
        while len(asked) > 1:
            lots = [asked[i : i + fan] for i in range(0, len(asked), fan)]
            asked = [self.client.submit(added, *lot, pure=False) for lot in lots]
        return asked[0].result()

    def by_thread(self, function):
        """One task a worker thread; blocks come back one by one and are added in their order."""
        asked = [self.client.submit(self.many, group, function, pure=False) for _, group in self.groups]
        results = [None] * len(self.blocks)
        for (mine, _), answered in zip(self.groups, self.client.gather(asked), strict=True):
            for i, result in zip(mine, answered, strict=True):
                results[i] = result
        return functools.reduce(add, results)


def cpu_and_memory():
    """Seconds of processor that this process has used, and bytes it holds."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return time.process_time(), pages * os.sysconf("SC_PAGE_SIZE")


def rounds_of(client, ask, n):
    """Seconds of the fastest of n rounds; processor seconds a round of client and scheduler, of workers."""
    ask()
    workers = sum(cpu for cpu, _ in client.run(cpu_and_memory).values())
    here, seconds = time.process_time(), best(ask, n)
    here = time.process_time() - here
    workers = sum(cpu for cpu, _ in client.run(cpu_and_memory).values()) - workers
    return seconds, here / n, workers / n


def line(n, seconds):
    """What a round costs, and each of its parts, from the smallest and the largest of n parts."""
    part = (seconds[-1] - seconds[0]) / (n[-1] - n[0])
    return max(seconds[0] - n[0] * part, 0.0), part


class Overhead(NamedTuple):
    """Seconds that tasks cost beside their work."""

    round: float  # a round, whatever its tasks
    task: float  # each task, when nothing else holds it up
    result: float  # each further block whose statistics come back in the same task


def measure_rounds(client, blocks, n_rounds):
    """Table of empty rounds, and what a task costs."""
    model, params, mixture = problem(*OF_ROUNDS)
    function = model.expectation(params)
    result = Batches(mixture.rows(1000, np.random.default_rng(1))).sum(function)
    rows, seconds = [], {"block": [], "thread": []}
    for n in blocks:
        held = Held(client, keep, [result] * n, answer, answers)
        reports = [
            rounds_of(client, functools.partial(way, function), max(2, min(n_rounds, 400 // n)))
            for way in (held.by_block, held.by_tree, held.by_thread)
        ]
        (block, here, workers), (tree, *_), (thread, *_) = reports
        seconds["block"].append(block)
        seconds["thread"].append(thread)
        processor = f"{1e3 * here / n:.2f} + {1e3 * workers / n:.2f}"
        times = [f"{1e3 * t:.1f}" for t in (block, tree, thread)]
        rows.append([f"{n:,}", times[0], f"{1e3 * block / n:.2f}", processor, *times[1:]])
        progress(f"{n} blocks: {', '.join(times)} ms")
        del held
    start, task = line(blocks, seconds["block"])
    grouped, per_result = line(blocks, seconds["thread"])
    columns = [
        "blocks",
        "a task a block, ms",
        "a task, ms",
        "of processor: client and scheduler + workers",
    ]
    print(rst_table([*columns, "and a tree of 8, ms", "a task a thread, ms"], rows))
    print(
        f"\nA task a block: {1e3 * start:.1f} ms and {1e3 * task:.2f} ms a task. A task a thread: "
        f"{1e3 * grouped:.1f} ms and {1e6 * per_result:.0f} µs a block."
    )
    return Overhead(max(grouped - N_WORKERS * task, 0.0), task, per_result)


# -- the model of an iteration ---------------------------------------------------------------------------


class Round(NamedTuple):
    """One iteration, as the model sees it."""

    seconds: float
    scheduler: float  # seconds of it in which client and scheduler are busy


def iteration(work, thread_of, overhead, load, blocks_a_task=1, bandwidth=BANDWIDTH):
    """Seconds of an iteration: tasks are handed out one after another, done, and taken in one after another.

    Client and scheduler are one server. Half of a task's overhead is spent when it is handed out, with the
    bytes of the function; half when it is done, with the bytes of its statistics, which are added to the sum.

    Parameters
    ----------
    work : ndarray of shape (n_tasks,)
        Seconds of each task.
    thread_of : ndarray of int of shape (n_tasks,)
        The thread that does it; a thread does one after another.
    overhead : Overhead
    load : Load
    blocks_a_task : int
        Blocks whose statistics come back from each task, one by one.
    bandwidth : float
        Bytes a second.
    """
    out = overhead.task / 2 + load.pickle + load.out / bandwidth
    results = load.back / bandwidth + load.receive
    back = overhead.task / 2 + blocks_a_task * results + (blocks_a_task - 1) * overhead.result
    free = np.zeros(thread_of.max() + 1)
    done = np.empty(len(work))
    for i, (seconds, thread) in enumerate(zip(work, thread_of, strict=True)):
        free[thread] = done[i] = max(free[thread], (i + 1) * out) + seconds
    clock = len(work) * out
    for at in np.sort(done):
        clock = max(clock, at) + back
    busy = len(work) * (out + back) + load.m_step + overhead.round
    return Round(clock + load.m_step + overhead.round, busy)


def measure_work(rows, function, rows_a_block):
    """Seconds a row of an E-step on one core, of data cut as finely as the blocks are."""
    n = max(min(200_000 // rows_a_block, len(rows) // rows_a_block), 1)
    blocks = [Batches(rows[i * rows_a_block : (i + 1) * rows_a_block]) for i in range(n)]
    with one_blas_thread():
        sums_of(blocks, function)  # what is kept is kept by now
        return best(lambda: sums_of(blocks, function), 5) / (n * rows_a_block)


def part_runs(client, overhead, blocks, n_rows, n_rounds):
    d, K = 10, 10
    title(f"Iterations of {n_rows:,} x {d}, K = {K}, full, on two processes of one thread")
    model, params, mixture = problem(d, K)
    rows = mixture.rows(n_rows, np.random.default_rng(2))
    function = model.expectation(params)
    local = (
        Load.of(d, K).beyond(Load.of(*OF_ROUNDS))._replace(out=0, back=0)
    )  # nothing goes over a network here
    table = []
    for n in blocks:
        size = n_rows // n
        work = measure_work(rows, function, size)
        before = max(memory for _, memory in client.run(cpu_and_memory).values())
        pieces = [client.scatter(rows[i * size : (i + 1) * size]) for i in range(n)]
        held = Held(client, cut, pieces, sum_of, sums_of)
        by_block = rounds_of(client, lambda held=held: held.by_block(function), n_rounds)[0]
        by_thread = rounds_of(client, lambda held=held: held.by_thread(function), n_rounds)[0]
        grown = max(memory for _, memory in client.run(cpu_and_memory).values()) - before
        tasks = np.arange(n) % N_WORKERS
        says_block = iteration(np.full(n, work * size), tasks, overhead, local).seconds
        share = np.full(N_WORKERS, work * size * n / N_WORKERS)
        says_thread = iteration(share, np.arange(N_WORKERS), overhead, local, n // N_WORKERS).seconds
        cells = [1e3 * t for t in (by_block, says_block, by_thread, says_thread)]
        shown = [f"{c:.0f}" for c in cells]
        progress(f"{n} blocks: {', '.join(shown)} ms")
        table.append([f"{n:,}", f"{1e9 * work:.0f}", *shown, f"{max(grown, 0) / 1e6:.0f}"])
        del held, pieces
    columns = ["blocks", "ns a row", "a task a block, ms", "model, ms", "a task a thread, ms", "model, ms"]
    print(rst_table([*columns, "worker grew by, MB"], table))


# -- what the model says of more -------------------------------------------------------------------------


def slowed(work, n):
    """The work of n equal tasks, of which a hundredth part, if that is one at all, falls to slow threads."""
    seconds = np.full(n, work)
    seconds[: int(SLOW_SHARE * n)] *= SLOWNESS
    return seconds


def part_plan(overhead, work):
    loads = {size: Load.of(*size).beyond(Load.of(*OF_ROUNDS)) for size in work}
    for n_rows in (10**9, 10**11):
        for d, K in loads:
            title(f"{n_rows:.0e} rows of {d} features, K = {K}, full: one iteration")
            load, table = loads[d, K], []
            for threads in THREADS:
                alone = work[d, K] * n_rows / threads
                each = np.arange(threads)
                plain = iteration(np.full(threads, alone), each, overhead, load)
                slow = iteration(slowed(alone, threads), each, overhead, load).seconds
                n = -(-threads // PROCESS)  # processes, whose threads share one task
                shared = iteration(np.full(n, alone), np.arange(n), overhead, load).seconds
                seconds = [f"{t:,.2f}" for t in (alone, plain.scheduler, plain.seconds, slow, shared)]
                seconds.insert(3, f"{alone / plain.seconds:.0%}")
                sent = f"{threads * load.out / 1e6:,.1f} / {threads * load.back / 1e6:,.1f}"
                table.append([f"{threads:,}", *seconds, sent, f"{8e-9 * d * n_rows / threads:,.2f}"])
            columns = ["threads", "E-step of a thread, s", "client and scheduler, s", "iteration, s", "busy"]
            columns += ["with slow threads, s", f"a task for {PROCESS} threads, s", "MB out / back"]
            print(rst_table([*columns, "rows of a thread, GB"], table))
            turns = np.sqrt(
                work[d, K] * n_rows / (overhead.task + load.out / BANDWIDTH + load.back / BANDWIDTH)
            )
            print(
                f"\nFastest at about {turns:,.0f} threads; where {PROCESS} share a task, at about "
                f"{turns * PROCESS**0.5:,.0f}."
            )
    trees(overhead)
    print(
        f"\nA task {1e3 * overhead.task:.2f} ms, {BANDWIDTH / 1e9:g} GB/s, one thread in {1 / SLOW_SHARE:.0f} "
        f"{SLOWNESS:g} times as slow; an E-step takes "
        + " and ".join(
            f"{1e9 * seconds:.0f} ns a row ({d} features, K = {K})" for (d, K), seconds in work.items()
        )
        + "."
    )


def trees(overhead):
    """Where a tree of sums costs less than the client's own adding."""
    title(f"Results of 1000 tasks: added by the client, or by a tree of {FAN}")
    table = []
    for d, K in SIZES:
        load = Load.of(d, K)
        one = load.back / BANDWIDTH + load.receive
        direct, nodes, level, depth = 1000 * one, 0, 1000, 0
        while level > 1:
            level, depth = -(-level // FAN), depth + 1
            nodes += level
        tree = nodes * overhead.task + depth * FAN * one
        table.append([str(d), str(K), kilobytes(load.back), f"{1e3 * direct:.0f}", f"{1e3 * tree:.0f}"])
    print(rst_table(["d", "K", "back, kB", "client, ms", "tree, ms"], table))


def work_of(d, K):
    """Seconds a row on one core."""
    model, params, mixture = problem(d, K)
    rows = mixture.rows(200_000, np.random.default_rng(3))
    return measure_work(rows, model.expectation(params), 200_000)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("bytes", "rounds", "runs", "plan")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}; all if none is named")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the runs")
    parser.add_argument("--rounds", type=int, default=15, help="most rounds to take the fastest of")
    parser.add_argument(
        "--blocks", type=int, nargs="+", default=[10, 50, 200, 1000], help="blocks, at least two"
    )
    given = "in the plan, in place of what is measured here"
    parser.add_argument("--task", type=float, help=f"milliseconds a task {given}")
    parser.add_argument("--row", type=float, nargs=2, help=f"nanoseconds a row of each size {given}")
    options = parser.parse_args()
    wanted = options.parts or parts
    if unknown := set(wanted) - set(parts):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, dask {dask.__version__}")
    if "bytes" in wanted:
        part_bytes()
    overhead = None if options.task is None else Overhead(0.0, options.task / 1e3, 0.0)
    if {"rounds", "runs"} & set(wanted) or ("plan" in wanted and overhead is None):
        with (
            LocalCluster(
                n_workers=N_WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            title("Rounds of tasks that do nothing, two processes of one thread")
            measured = measure_rounds(client, options.blocks, options.rounds)
            if "runs" in wanted:
                part_runs(client, measured, options.blocks, options.rows, max(3, options.rounds // 3))
        overhead = overhead or measured
    if "plan" in wanted:
        sizes = ((10, 10), (50, 20))
        given = options.row and dict(zip(sizes, (1e-9 * ns for ns in options.row), strict=True))
        part_plan(overhead, given or {size: work_of(*size) for size in sizes})


if __name__ == "__main__":
    main()
