"""Standard errors, choice of models and bootstrap: what they cost, in one process.

    python benchmarks/inference.py               # all tables
    python benchmarks/inference.py --only errors

errors
    E-steps that standard errors take, in multiples of the free coordinates, and their time beside the fit's.
search
    `InformationCriterionSearch` over K = 1 … 9 by six shapes on Old Faithful, against the same grid of
    scikit-learn's `GaussianMixture` with ten starts, and the log-likelihoods that each finds: as it comes,
    which stops at gains of .001 a row, and to the tolerance of the other comparisons here, 1e-8.
bootstrap
    999 refits of two components to Old Faithful.

Times are CPU seconds of one thread; of the search and the bootstrap also wall seconds with two processes.
"""

import argparse
import time
import warnings

import numpy as np
from gaussian_mixture import progress, rst_table, title, verdict
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from emlearn import HMMEM, EMImputer, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn.datasets import load_airquality, load_earthquakes, load_npreg, load_old_faithful
from emlearn.em import Batches
from emlearn.model_selection import InformationCriterionSearch, bootstrap

SHAPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
OF_SKLEARN = ["full", "tied", "diag", "spherical"]  # it has no others
MOST_STEPS, MOST_SEARCH, LEAST_RATIO, MOST_BOOTSTRAP = 3.0, 3.0, 5.0, 5.0


def cpu_seconds(function):
    begun = time.process_time()
    found = function()
    return time.process_time() - begun, found


def table(columns, rows):
    print(rst_table(columns, [list(map(str, row)) for row in rows]))


def of_errors():
    npreg = load_npreg()
    X = np.column_stack([npreg.data[:, 0], npreg.data[:, 0] ** 2])
    yield "Old Faithful, full, K=2", GaussianMixtureEM(2, random_state=0), (load_old_faithful().data,)
    yield "iris, full, K=3", GaussianMixtureEM(3, random_state=0), (load_iris().data,)
    quakes = HMMEM(3, emission="poisson", random_state=0)
    yield "earthquakes, Poisson, K=3", quakes, (load_earthquakes().data,)
    yield "air quality, gaps", EMImputer(), (load_airquality().data,)
    yield "npreg, two parabolas", MixtureOfLinearRegressions(2, random_state=0), (X, npreg.yn)


def errors():
    title("Standard errors")
    rows, steps = [], [0]
    plain = Batches.sum

    def counted(self, function):
        steps[0] += "e_step" in getattr(function, "__name__", "")
        return plain(self, function)

    for name, model, data in of_errors():
        progress(name)
        fit, _ = cpu_seconds(lambda model=model, data=data: model.fit(*data))
        steps[0], Batches.sum = 0, counted
        try:
            taken, found = cpu_seconds(lambda model=model, data=data: model.infer(*data))
        finally:
            Batches.sum = plain
        free = int(found._information.free.sum())
        share = steps[0] / free
        rows.append([name, free, steps[0], f"{share:.2f}", verdict(share <= MOST_STEPS), f"{1e3 * taken:.0f}"])
        rows[-1].append(f"{1e3 * fit:.0f}")
    heads = ["data", "coordinates", "E-steps", "each", f"target {MOST_STEPS:g}", "errors, ms", "fit, ms"]
    table(heads, rows)


def search():
    title("A grid by BIC")
    X = load_old_faithful().data
    grid = {"n_components": list(range(1, 10)), "covariance_type": SHAPES}

    def make(n_jobs=None):
        return InformationCriterionSearch(GaussianMixtureEM(random_state=0), grid, n_jobs=n_jobs)

    make(2).fit(X)  # processes that are there already
    begun = time.perf_counter()
    make(2).fit(X)
    wall = time.perf_counter() - begun
    ours, found = cpu_seconds(lambda: make().fit(X))

    def theirs(**how):
        return {
            (shape, K): len(X)
            * GaussianMixture(K, covariance_type=shape, n_init=10, random_state=0, **how).fit(X).score(X)
            for shape in OF_SKLEARN
            for K in grid["n_components"]
        }

    results = found.cv_results_
    own = {
        (p["covariance_type"], p["n_components"]): ll
        for p, ll in zip(results["params"], results["log_likelihood"], strict=True)
    }
    rows = [
        ["wall seconds, two processes", f"{wall:.2f}", f"{MOST_SEARCH:g}", verdict(wall < MOST_SEARCH)],
        ["CPU seconds, 54 candidates", f"{ours:.2f}", "", ""],
    ]
    for name, how in (("as it comes", {}), ("tol=1e-8", {"tol": 1e-8, "max_iter": 10_000})):
        progress(f"scikit-learn, {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            seconds, heights = cpu_seconds(lambda how=how: theirs(**how))
        ratio = seconds / ours * len(SHAPES) / len(OF_SKLEARN)
        falls = sum(
            heights[shape, K] > heights[shape, K + 1] + 0.01 for shape in OF_SKLEARN for K in range(1, 9)
        )
        lower = sum(own[key] < height - 0.01 for key, height in heights.items())
        higher = sum(own[key] > height + 0.01 for key, height in heights.items())
        rows += [
            [f"scikit-learn {name}, 36 candidates", f"{seconds:.2f}", "", ""],
            ["ratio of times a candidate", f"{ratio:.2f}", f"{LEAST_RATIO:g}", verdict(ratio >= LEAST_RATIO)],
            ["emlearn's likelihood is higher", f"{higher} of 36", "", ""],
            ["it is lower", f"{lower} of 36", "", ""],
            ["scikit-learn's falls as K grows", f"{falls} times", "", ""],
        ]
    table(["what", "value", "target", "verdict"], rows)


def boot():
    title("999 replicates")
    X = load_old_faithful().data
    model = GaussianMixtureEM(2, random_state=0).fit(X)
    bootstrap(model, X, n=20, random_state=0, n_jobs=2)  # processes that are there already
    begun = time.perf_counter()
    bootstrap(model, X, n=999, random_state=0, n_jobs=2)
    wall = time.perf_counter() - begun
    seconds, _ = cpu_seconds(lambda: bootstrap(model, X, n=999, random_state=0))
    table(
        ["what", "seconds", "target", "verdict"],
        [
            ["wall, two processes", f"{wall:.2f}", f"{MOST_BOOTSTRAP:g}", verdict(wall < MOST_BOOTSTRAP)],
            ["CPU, one process", f"{seconds:.2f}", "", ""],
        ],
    )


SECTIONS = {"errors": errors, "search": search, "bootstrap": boot}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    only = parser.parse_args().only
    with threadpool_limits(1):
        for name in only:
            SECTIONS[name]()


if __name__ == "__main__":
    main()
