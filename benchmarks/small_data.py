"""Small data: a fit as it comes beside scikit-learn, in one process, by turns.

    python benchmarks/small_data.py              # all tables
    python benchmarks/small_data.py --repeats 3 --seeds 3

fit
    `GaussianMixtureEM` as it comes, against `GaussianMixture` with ten starts and as it comes.
search
    `GridSearchCV` of 24 candidates by 5 folds on iris, of either as it comes and of ten starts of scikit-learn.

Times are CPU seconds of one thread, the least of the repeats, so that what else the machine does counts as
little as can be; each is the mean over seeds. Tables are reStructuredText, ratios scikit-learn's time over
emlearn's.
"""

import argparse
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
from sklearn.datasets import load_iris, load_wine
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from emlearn import GaussianMixtureEM
from emlearn.datasets import load_old_faithful

LEAST_MEAN, LEAST = 1.5, 1.0  # ratios to reach: in the geometric mean, and on any data
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["fit", "search"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with threadpool_limits(1), without_convergence_warnings():
        if arguments.part != "search":
            fit_table(arguments.seeds, arguments.repeats)
        if arguments.part != "fit":
            search_table(min(arguments.repeats, 2))


if __name__ == "__main__":
    main()
