"""Small data: a fit as it comes beside scikit-learn, in one process, by turns.

    python benchmarks/small_data.py              # all tables
    python benchmarks/small_data.py --repeats 3 --seeds 3

fit
    `GaussianMixtureEM` as it comes, against `GaussianMixture` with ten starts and as it comes.
search
    `GridSearchCV` of 24 candidates by 5 folds on iris, of either as it comes and of ten starts of scikit-learn.
chains
    `HMMEM` as it comes on the earthquakes, against ten patient starts of hmmlearn (1000 iterations, to 1e-6).
regressions
    `MixtureOfLinearRegressions` as it comes on the tone data, against thirty random starts of EM as one writes
    it down, each until less than 1e-6 nats are to come.

Times are CPU seconds of one thread, the least of the repeats, so that what else the machine does counts as
little as can be; each is the mean over seeds. Tables are reStructuredText, ratios scikit-learn's time over
emlearn's.
"""

import argparse
import logging
import time

import numpy as np
from gaussian_mixture import (
    Mixture,
    geometric_mean,
    progress,
    rst_table,
    title,
    verdict,
    without_convergence_warnings,
)
from regression import reference_em
from sklearn.datasets import load_iris, load_wine
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from emlearn import HMMEM, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn.datasets import load_earthquakes, load_old_faithful, load_tone_perception

LEAST_MEAN, LEAST = 1.5, 1.0  # ratios to reach: in the geometric mean, and on any data
LEAST_CHAINS, LEAST_REGRESSIONS = 3.0, 5.0
CANDIDATES = {"n_components": [1, 2, 3, 4, 5, 6], "covariance_type": ["full", "tied", "diag", "spherical"]}


def problems():
    """Name -> rows and number of components."""
    like_thyroid = Mixture.random(5, 3, seed=0).rows(215, np.random.default_rng(1))
    return {
        "iris": (load_iris().data, 3),
        "Old Faithful": (np.asarray(load_old_faithful().data, dtype=float), 2),
        "wine": (load_wine().data, 3),
        "215 × 5": (like_thyroid, 3),
    }


def cpu_seconds(function):
    begin = time.process_time()
    function()
    return time.process_time() - begin


def by_turns(functions, repeats):
    """Least CPU seconds of each function, which all take their turns."""
    times = [[cpu_seconds(function) for function in functions] for _ in range(repeats)]
    return np.min(times, axis=0)


def fit_table(n_seeds, repeats):
    title("A fit as it comes")
    rows, ratios = [], []
    for name, (X, K) in problems().items():
        progress(name)
        times = np.zeros(3)
        for seed in range(n_seeds):
            ways = (
                GaussianMixtureEM(K, random_state=seed),
                GaussianMixture(K, n_init=10, random_state=seed),
                GaussianMixture(K, random_state=seed),
            )
            times += by_turns([lambda way=way, X=X: way.fit(X) for way in ways], repeats) / n_seeds
        ours, ten, one = times
        ratios.append(ten / ours)
        rows.append([name, *(f"{1e3 * t:.1f}" for t in times), f"{ten / ours:.2f}", f"{one / ours:.2f}"])
    columns = ["data", "emlearn, ms", "ten starts, ms", "as it comes, ms", "ratio to ten", "ratio to one"]
    print(rst_table(columns, rows))
    mean = geometric_mean(ratios)
    print(f"\nGeometric mean to ten starts {mean:.2f}: {verdict(mean >= LEAST_MEAN and min(ratios) >= LEAST)}.")


def search_table(repeats):
    title("A search over 24 candidates by 5 folds")
    X = load_iris().data[np.random.RandomState(0).permutation(150)]
    ways = {
        "emlearn": GaussianMixtureEM(random_state=0),
        "scikit-learn, ten starts": GaussianMixture(n_init=10, random_state=0),
        "scikit-learn": GaussianMixture(random_state=0),
    }
    searches = [GridSearchCV(way, CANDIDATES, cv=5) for way in ways.values()]
    times = by_turns([lambda search=search: search.fit(X) for search in searches], repeats)
    rows = [
        [name, f"{seconds:.2f}", f"{seconds / times[0]:.2f}", f"{search.best_score_:.4f}"]
        for (name, search, seconds) in zip(ways, searches, times, strict=True)
    ]
    print(rst_table(["search", "CPU s", "ratio", "best score"], rows))
    print(f"\nAt least as fast as ten starts: {verdict(times[1] >= times[0])}.")


def row_of(name, times, heights):
    """A row of two ways: milliseconds, ratio, and log-likelihoods."""
    ours, theirs = 1e3 * times
    return [
        name,
        f"{ours:.1f}",
        f"{theirs:.1f}",
        f"{theirs / ours:.2f}",
        *(f"{height:.4f}" for height in heights),
    ]


def table_of(theirs, problems, repeats, seeds, least):
    """A table of problems: name -> what makes our fit and the other one of a seed, as functions to a height."""
    rows = []
    for name, ways in problems.items():
        progress(name)
        heights = np.full((len(seeds), 2), -np.inf)

        def run(way, seed, which, heights=heights):
            heights[seed, which] = way(seed)

        times = np.mean(
            [
                by_turns([lambda s=seed, w=way, i=i: run(w, s, i) for i, way in enumerate(ways)], repeats)
                for seed in seeds
            ],
            axis=0,
        )
        rows.append(row_of(name, times, heights.max(axis=0)))
    print(rst_table(["data", "emlearn, ms", f"{theirs}, ms", "ratio", "emlearn", theirs], rows))
    print(f"\nAt least {least:g} on each: {verdict(all(float(row[3]) >= least for row in rows))}.")


def chain_table(n_seeds, repeats):
    from hmmlearn.hmm import PoissonHMM

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    X = load_earthquakes().data

    def problem(K):
        def patient(seed):
            fits = (PoissonHMM(K, random_state=10 * seed + i, n_iter=1000, tol=1e-6).fit(X) for i in range(10))
            return max(fit.score(X) for fit in fits)

        return lambda seed: HMMEM(K, emission="poisson", random_state=seed).fit(X).score(X) * len(X), patient

    title("A chain as it comes")
    both = {f"earthquakes, K={K}": problem(K) for K in (2, 3)}
    table_of("ten of hmmlearn", both, repeats, range(n_seeds), LEAST_CHAINS)


def regression_table(n_seeds, repeats):
    tones = load_tone_perception()
    X, y = np.asarray(tones.data, dtype=float), np.asarray(tones.target, dtype=float)

    def problem(K):
        def written_out(seed):
            rng = np.random.RandomState(seed)
            starts = (rng.dirichlet(np.ones(K), size=len(y)).T for _ in range(30))
            return max(reference_em(X, y, resp).history[-1] for resp in starts)

        def ours(seed):
            return MixtureOfLinearRegressions(K, random_state=seed).fit(X, y).log_likelihood_

        return ours, written_out

    title("Regressions as they come")
    both = {f"tone data, K={K}": problem(K) for K in (2, 3)}
    table_of("thirty written out", both, repeats, range(n_seeds), LEAST_REGRESSIONS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["fit", "search", "chains", "regressions"]
    parser.add_argument("part", nargs="?", choices=parts)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    chosen = [arguments.part] if arguments.part else parts
    with threadpool_limits(1), without_convergence_warnings():
        if "fit" in chosen:
            fit_table(arguments.seeds, arguments.repeats)
        if "search" in chosen:
            search_table(min(arguments.repeats, 2))
        if "chains" in chosen:
            chain_table(arguments.seeds, arguments.repeats)
        if "regressions" in chosen:
            regression_table(arguments.seeds, min(arguments.repeats, 2))


if __name__ == "__main__":
    main()
