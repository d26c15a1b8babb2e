"""Time and memory of fits in two checkouts, turn by turn: before and after a change.

    python benchmarks/before_after.py OLD_CHECKOUT [NEW_CHECKOUT]

Each checkout has a process of its own; its compiled kernel must have been built (``python setup.py build_ext
--inplace``). Old and new take turns, so that what else the machine does hits both alike. Printed are the ratios
new / old of the least and of the median time, and of the memory that a fit takes at its peak.
"""

import os
import statistics
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

REPEATS = 7


def jobs():
    """Name -> function that fits."""
    import numpy as np
    from sklearn.datasets import load_iris

    from emlearn import (
        HMMEM,
        EMImputer,
        GaussianMixtureEM,
        MixtureOfExperts,
        MixtureOfLinearRegressions,
        MultipleImputation,
    )
    from emlearn.datasets import (
        load_airquality,
        load_earthquakes,
        load_old_faithful,
        load_tone_perception,
    )

    rng = np.random.RandomState(0)

    def clusters(n, d, K, spread=3.0):
        centres = spread * rng.normal(size=(K, d))
        return centres[rng.randint(K, size=n)] + rng.normal(size=(n, d))

    iris, faithful = load_iris().data, load_old_faithful().data
    wide, tall, plane = clusters(2_000, 60, 4), clusters(60_000, 10, 5), clusters(100_000, 2, 3)
    gaps = np.where(rng.uniform(size=(20_000, 10)) < 0.15, np.nan, clusters(20_000, 10, 2))
    few_gaps = gaps[:2_000]
    quakes = load_earthquakes().data
    states = rng.randint(4, size=(50, 10)).repeat(10, axis=1)
    many = [3.0 * own[:, None] + rng.normal(size=(100, 2)) for own in states]
    counts = rng.poisson(3.0 + 5.0 * (np.arange(20_000) // 200 % 2))[:, None]
    air, tones = load_airquality().data, load_tone_perception()
    x = rng.normal(size=(20_000, 3))
    lines = np.where(rng.uniform(size=20_000) < 0.5, x[:, 0] + 2, x[:, 1] - 2) + 0.5 * rng.normal(size=20_000)
    events = rng.poisson(np.exp(np.where(rng.uniform(size=5_000) < 0.5, 0.5, 1.5) + 0.3 * x[:5_000, 0]))
    gmm = {"random_state": 0}
    return {
        "mixture, iris, K=3": lambda: GaussianMixtureEM(3, **gmm).fit(iris),
        "mixture, Old Faithful, K=2": lambda: GaussianMixtureEM(2, **gmm).fit(faithful),
        "mixture, Old Faithful, tied, K=3": lambda: GaussianMixtureEM(3, covariance_type="tied", **gmm).fit(
            faithful
        ),
        "mixture, 60,000 x 10, K=5": lambda: GaussianMixtureEM(5, n_init=3, **gmm).fit(tall),
        "mixture, 100,000 x 2, diag, K=3": lambda: GaussianMixtureEM(
            3, covariance_type="diag", n_init=3, **gmm
        ).fit(plane),
        "mixture, 60,000 x 10, tied, K=5": lambda: GaussianMixtureEM(
            5, covariance_type="tied", n_init=3, **gmm
        ).fit(tall),
        "mixture, 2,000 x 60, K=4": lambda: GaussianMixtureEM(4, n_init=3, **gmm).fit(wide),
        "mixture, gaps, 2,000 x 10, K=2": lambda: GaussianMixtureEM(2, n_init=3, **gmm).fit(few_gaps),
        "chain, earthquakes, K=3": lambda: HMMEM(3, emission="poisson", n_init=10, **gmm).fit(quakes),
        "chain, 50 x 100 x 2, K=4": lambda: HMMEM(4, n_init=5, **gmm).fit(many),
        "chain, 20,000 counts, K=2": lambda: HMMEM(2, emission="poisson", n_init=3, **gmm).fit(counts),
        "imputer, airquality": lambda: EMImputer().fit_transform(air),
        "imputer, 20,000 x 10": lambda: EMImputer().fit_transform(gaps),
        "imputer, factors, 2,000 x 10": lambda: EMImputer(covariance_type="factor", n_factors=3).fit(few_gaps),
        "imputer, two components": lambda: EMImputer(n_components=2, n_init=3, **gmm).fit(few_gaps),
        "multiple imputation, airquality": lambda: MultipleImputation(_least_squares(), **gmm).fit(
            air[:, 1:], np.nan_to_num(air[:, 0])
        ),
        "regressions, tones, K=2": lambda: MixtureOfLinearRegressions(2, n_init=10, **gmm).fit(
            tones.data, tones.target
        ),
        "regressions, 20,000 x 3, K=2": lambda: MixtureOfLinearRegressions(2, n_init=3, **gmm).fit(x, lines),
        "regressions, Poisson, 5,000 x 3, K=2": lambda: MixtureOfLinearRegressions(
            2, family="poisson", n_init=3, **gmm
        ).fit(x[:5_000], events),
        "experts, tones, K=2": lambda: MixtureOfExperts(2, n_init=10, **gmm).fit(tones.data, tones.target),
    }


def _least_squares():
    from sklearn.linear_model import LinearRegression

    return LinearRegression()


def serve():
    """Run what standard input names: seconds of a fit, or the peak of its memory in MB."""
    warnings.simplefilter("ignore")
    known = jobs()
    print(len(known), flush=True)
    for line in sys.stdin:
        what, name = line.rstrip("\n").split(" ", 1)
        if what == "memory":
            tracemalloc.start()
            known[name]()
            figure = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
        else:
            start = time.perf_counter()
            known[name]()
            figure = time.perf_counter() - start
        print(figure, flush=True)


def main(old, new):
    processes = []
    for checkout in (old, new):
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        environment = {**os.environ, "PYTHONPATH": str(Path(checkout).resolve())}
        processes.append(
            subprocess.Popen(
                command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )

    def ask(process, request):
        process.stdin.write(request + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    for process in processes:
        process.stdout.readline()
    print(f"{'':40}{'old s':>8}{'new s':>8}{'least':>8}{'median':>8}{'memory':>8}")
    ratios = []
    for name in jobs():
        times = [[], []]
        for repeat in range(REPEATS + 1):
            for side in (0, 1) if repeat % 2 else (1, 0):
                seconds = ask(processes[side], f"time {name}")
                if repeat:  # the first one warms up
                    times[side].append(seconds)
        memory = [ask(process, f"memory {name}") for process in processes]
        least = min(times[1]) / min(times[0])
        middle = statistics.median(times[1]) / statistics.median(times[0])
        ratios.append(least)
        seconds = f"{min(times[0]):8.3f}{min(times[1]):8.3f}"
        print(f"{name:40}{seconds}{least:8.2f}{middle:8.2f}{memory[1] / memory[0]:8.2f}", flush=True)
    print(f"{'geometric mean':56}{statistics.geometric_mean(ratios):8.2f}")
    for process in processes:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ".")
