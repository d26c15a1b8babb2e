"""What a cluster may lose in mid-fit: workers, scattered rows, the scheduler; and who would rather not wait."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import dask.array as da
import dask.bag
import numpy as np
import pytest
from dask import delayed
from distributed import Client, LocalCluster

from emlearn import HMMEM, GaussianMixtureEM
from emlearn.dask import OnDask
from emlearn.em import Batches

LENGTHS = (10_500, 11_000, 10_200)
SETTINGS = {"n_init": 2, "max_iter": 12, "random_state": 0, "tol": 1e-8}

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:Sending large graph:UserWarning",
)


def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((sum(LENGTHS), 3)) + 2.0 * rng.integers(0, 2, sum(LENGTHS))[:, None]


def pieces(X):
    return np.split(X, np.cumsum(LENGTHS)[:-1])


def kill_a_worker(client, holds=None):
    """End a process by its id as the system would that runs out of memory."""
    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    worker = workers[0] if holds is None else sorted(client.who_has([holds])[holds.key])[0]
    os.kill(client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)


def at_sum(monkeypatch, number, strike):
    """Have something happen before the sum of this number; a list of what sums were made."""
    made, sums = [], OnDask.sum

    def struck(self, function):
        made.append(function)
        if len(made) == number:
            strike()
        return sums(self, function)

    monkeypatch.setattr(OnDask, "sum", struck)
    return made


@pytest.mark.slow
def test_a_worker_that_dies_in_mid_fit_changes_nothing(monkeypatch):
    X = rows()
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=True, **settings) as cluster, Client(cluster) as client:
        made = at_sum(monkeypatch, 4, lambda: kill_a_worker(client))
        there = GaussianMixtureEM(2, **SETTINGS).fit(da.from_array(X, chunks=(LENGTHS, 3)))
    here = GaussianMixtureEM(2, **SETTINGS).fit(pieces(X))
    assert len(made) > 6
    assert there.lower_bounds_ == here.lower_bounds_
    np.testing.assert_array_equal(there.means_, here.means_)
    np.testing.assert_array_equal(there.covariances_, here.covariances_)


def chain(seed):
    rng = np.random.default_rng(seed)
    state = np.cumsum(rng.random(400) < 0.05) % 2
    return rng.standard_normal((400, 2)) + 3.0 * state[:, None]


@pytest.mark.slow
def test_a_worker_that_dies_in_mid_fit_of_sequences_changes_nothing(monkeypatch):
    """Neither of a bag, whose partitions are blocks, nor of a list, whose sequences were joined."""
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    monkeypatch.setattr("emlearn.dask._sequences.JOINED_STEPS", 4000)
    given = {
        "bag": lambda: dask.bag.from_delayed([delayed(map)(chain, range(i, i + 11)) for i in range(0, 66, 11)]),
        "list": lambda: [delayed(chain)(i) for i in range(66)],
    }
    made, there = {}, {}
    with LocalCluster(processes=True, **settings) as cluster, Client(cluster) as client:
        for kind, make in given.items():
            with monkeypatch.context() as patch:
                made[kind] = at_sum(patch, 3, lambda: kill_a_worker(client))
                there[kind] = HMMEM(2, **SETTINGS).fit(make())
    chains = [chain(i) for i in range(66)]
    for kind, size in (("bag", 11), ("list", 10)):
        here = HMMEM(2, **SETTINGS).fit([chains[i : i + size] for i in range(0, 66, size)])
        assert len(made[kind]) > 4
        assert there[kind].lower_bounds_ == here.lower_bounds_
        np.testing.assert_array_equal(there[kind].means_, here.means_)
        np.testing.assert_array_equal(there[kind].transmat_, here.transmat_)


@pytest.mark.slow
def test_scattered_rows_that_are_lost(monkeypatch):
    X = rows()
    fitted = GaussianMixtureEM(2, **SETTINGS).fit(X[:100])
    before = pickle.dumps(fitted)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=True, **settings) as cluster, Client(cluster) as client:
        futures = client.scatter(pieces(X))
        at_sum(monkeypatch, 3, lambda: kill_a_worker(client, holds=futures[0]))
        with pytest.raises(RuntimeError, match=r"lost.*give a collection with a recipe"):
            fitted.fit(futures)
    assert pickle.dumps(fitted) == before


@pytest.mark.slow
def test_a_scheduler_that_goes_away(monkeypatch, tmp_path):
    X = rows()
    fitted = GaussianMixtureEM(2, **SETTINGS).fit(X[:100])
    before = pickle.dumps(fitted)
    where = str(tmp_path / "scheduler.json")
    run = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": os.getcwd()}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", where], **run
    )
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "10"]
    worker = subprocess.Popen([*dask, "worker", "--scheduler-file", where, *options], **run)
    struck = []

    def strike():
        struck.append(time.perf_counter())
        scheduler.kill()

    try:
        while not os.path.exists(where):
            time.sleep(0.1)
        with Client(scheduler_file=where, timeout=30) as client:
            client.wait_for_workers(1, timeout=60)
            at_sum(monkeypatch, 3, strike)
            with pytest.raises(ConnectionError, match=r"scheduler at tcp://.* is lost"):
                fitted.fit(da.from_array(X, chunks=(LENGTHS, 3)))
            assert time.perf_counter() - struck[0] < 10
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
    assert pickle.dumps(fitted) == before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of this system go to processes")
def test_who_interrupts_a_fit_need_not_wait(client):
    data = OnDask([delayed(np.ones)((5000, 2)) for _ in range(2)])

    def long(batch):
        time.sleep(2.0)
        return 0.0

    began = time.perf_counter()
    timer = threading.Timer(0.3, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        data.sum(long)
    assert time.perf_counter() - began < 1.5
    left = client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
    assert not any(key.startswith("sum_blocks") for key in left)
    assert data.sum(_rows_of) == Batches(np.ones((10_000, 2))).sum(_rows_of)  # and all is where it was


def _rows_of(batch):
    return batch.x.shape[1]
