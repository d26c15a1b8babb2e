"""Imputation: emlearn beside scikit-learn, in one process, by turns, on one core.

    python benchmarks/imputation.py                          # everything; takes several minutes
    python benchmarks/imputation.py --only speed --quick     # one part, on small sizes

Parts:

speed
    `EMImputer` against `IterativeImputer`, both as they come: seconds, and error at entries that were hidden.
large
    The same on many rows and on many features, and memory of a fit with more features than rows.
accuracy
    Error at hidden entries beside the mean, nearest neighbours and `IterativeImputer`, on real data.
mixed
    Tables with categories beside numbers: categories imputed right, error of numbers, time, beside the most
    frequent level and the mean, and `IterativeImputer` with random forests on codes.
convergence
    E-steps that each way of extrapolation takes.
coverage
    How often intervals of hidden entries, and of a mean, hold the true value.
few_rows
    The same of few rows of normal data, and how often quantiles of draws do.

Tables are reStructuredText. Every ratio is scikit-learn's time over emlearn's. Entries are hidden by
`emlearn.ampute`, completely at random unless it says otherwise. Run on an idle machine.
"""

import argparse
import os
import platform
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
import sklearn
from gaussian_mixture import (
    MB,
    geometric_mean,
    in_fresh_process,
    progress,
    resident,
    rst_table,
    timed,
    title,
    verdict,
)
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import EMImputer, ampute, pool
from emlearn.datasets import load_airquality
from emlearn.em import ACCELERATIONS, LatentModel, LatentPair, fit_em
from emlearn.families import COVARIANCE_SHAPES, GaussianParams, IncompleteGaussian
from emlearn.latent import MixtureWeights

# -- what the parts share --------------------------------------------------------------------------------

MISSVALS = Path(__file__).resolve().parents[1] / "tests" / "data" / "missvals.csv"
REAL = {
    "breast cancer": lambda: load_breast_cancer().data,
    "diabetes": lambda: load_diabetes().data,
    "wine": lambda: load_wine().data,
    "iris": lambda: load_iris().data,
}


def correlated(n, d):
    """Rows of a normal distribution whose features are correlated, (n, d)."""
    rng = np.random.RandomState(0)
    A = rng.randn(d, d) / np.sqrt(d) + 0.5 * np.eye(d)
    return rng.randn(n, d) @ A


def factors(n, d, q=10):
    """Rows of q factors and as much noise again, (n, d)."""
    rng = np.random.RandomState(0)
    loadings = rng.randn(q, d) / np.sqrt(q)
    return rng.randn(n, q) @ loadings + rng.randn(n, d)


def percent(share):
    return f"{100 * share:g} %"


class Hidden(NamedTuple):
    """Data of which some entries are hidden."""

    name: str
    whole: np.ndarray  # (n, d)
    X: np.ndarray  # (n, d), with NaN

    @classmethod
    def of(cls, name, whole, share, seed, mechanism="mcar"):
        return cls(name, whole, ampute(whole, mechanism, share, random_state=seed))

    @property
    def where(self):
        return np.isnan(self.X)

    def rmse(self, imputed, unit=None):
        """Root mean square error at hidden entries, in standard deviations of each feature by default."""
        unit = self.whole.std(axis=0) if unit is None else unit
        return float(np.sqrt(np.mean(((imputed - self.whole) / unit)[self.where] ** 2)))


def peer_fit(peer, X):
    """What `IterativeImputer` makes of X, and whether it says that it converged; other warnings are shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        imputed = peer.fit_transform(X)
    others = [warning for warning in caught if not issubclass(warning.category, ConvergenceWarning)]
    for warning in others:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return imputed, len(others) == len(caught)


def warm_up():
    """Neither pays for what is loaded at a first fit."""
    hidden = Hidden.of("", correlated(200, 4), 0.1, 0)
    EMImputer().fit_transform(hidden.X)
    peer_fit(IterativeImputer(), hidden.X)


# -- time ------------------------------------------------------------------------------------------------

SPEED_TARGET = 10.0  # geometric mean of the ratios
ERROR_TARGET = 1.001  # emlearn's error over scikit-learn's, in any cell
LONG = 20.0  # seconds after which scikit-learn is not run again


class Duel(NamedTuple):
    """A row of the table."""

    hidden: Hidden
    share: float
    theirs: float  # seconds
    ours: float  # seconds
    runs: tuple[int, int]  # scikit-learn's, emlearn's
    errors: tuple[float, float]  # in standard deviations
    converged: bool  # scikit-learn's
    n_iter: tuple[int, int]

    @property
    def ratio(self):
        return self.theirs / self.ours

    @property
    def error_ratio(self):
        return self.errors[1] / self.errors[0]

    def row(self):
        n, d = self.hidden.X.shape
        return [
            self.hidden.name, f"{n:,} × {d}", percent(self.share), f"{self.theirs:.3f}", f"{self.ours:.4f}",
            f"{self.ratio:.1f}", f"{self.errors[0]:.4f}", f"{self.errors[1]:.4f}",
            f"{'yes' if self.converged else 'no'}, {self.n_iter[0]}", str(self.n_iter[1]),
            f"{self.runs[0]}, {self.runs[1]}",
        ]  # fmt: skip


DUEL_COLUMNS = [
    "data", "n × d", "missing", "IterativeImputer, s", "EMImputer, s", "ratio", "its RMSE", "EMImputer's RMSE",
    "it converged, rounds", "EM iterations", "runs",
]  # fmt: skip


def fight(hidden, share, repeats):
    """Both imputers by turns, the best of several runs each; scikit-learn's stop after `LONG` seconds."""
    progress(f"{hidden.name}, {hidden.X.shape[0]} x {hidden.X.shape[1]}, {percent(share)}")
    ours, theirs = [], []
    for _ in range(repeats):
        our_imputer, their_imputer = EMImputer(), IterativeImputer()
        seconds, our_X = timed(lambda imputer=our_imputer: imputer.fit_transform(hidden.X))
        ours.append(seconds)
        if sum(theirs) < LONG:
            seconds, (their_X, converged) = timed(lambda imputer=their_imputer: peer_fit(imputer, hidden.X))
            theirs.append(seconds)
            n_rounds = their_imputer.n_iter_
    return Duel(
        hidden,
        share,
        min(theirs),
        min(ours),
        (len(theirs), len(ours)),
        (hidden.rmse(their_X), hidden.rmse(our_X)),
        converged,
        (n_rounds, our_imputer.n_iter_),
    )


def run_speed(args):
    title("Imputation, time")
    repeats = args.repeats or (2 if args.quick else 5)
    n = 2_000 if args.quick else 20_000
    sets = {
        "correlated": correlated(n, 10),
        "correlated ": correlated(n, 20),
        "breast cancer": load_breast_cancer().data,
    }
    warm_up()
    duels = [
        fight(Hidden.of(name, whole, share, args.seed), share, repeats)
        for name, whole in sets.items()
        for share in (0.1, 0.2)
    ]
    print(
        f"EMImputer() against IterativeImputer(), fit_transform, one core each, best of {repeats} by turns "
        f"(of IterativeImputer\nas many as begin within {LONG:g} s). RMSE at hidden entries, in standard "
        f"deviations of the feature. Targets: ratio of at\nleast {SPEED_TARGET:g} in the geometric mean of "
        "these cells, and no greater RMSE in any:\n"
    )
    print(rst_table(DUEL_COLUMNS, [duel.row() for duel in duels]))
    mean, lowest = geometric_mean([duel.ratio for duel in duels]), min(duel.ratio for duel in duels)
    worst = max(duel.error_ratio for duel in duels)
    print("\nSummary:\n")
    summary = [
        [f"time, geometric mean of the {len(duels)} ratios", f"{mean:.1f}", f"at least {SPEED_TARGET:g}",
         verdict(mean >= SPEED_TARGET)],
        ["time, lowest ratio", f"{lowest:.1f}", "–", "–"],
        ["EMImputer's RMSE over IterativeImputer's, highest", f"{worst:.4f}", f"at most {ERROR_TARGET:g}",
         verdict(worst <= ERROR_TARGET)],
    ]  # fmt: skip
    print(rst_table(["what", "reached", "target", "verdict"], summary), flush=True)


# -- large data ------------------------------------------------------------------------------------------

MANY_ROWS_TARGET = 1.0  # seconds
WIDE_TARGET = 5.0  # ratio
FACTOR_TARGET = 1_000.0  # MB above the input


def fit_factors(n, d, seed):
    """Memory before a fit to wide data and at its peak, MB, seconds, errors, E-steps. For a fresh process."""
    with threadpool_limits(1):
        small = Hidden.of("", factors(50, 60), 0.1, seed)
        EMImputer(covariance_type="factor", tol=1.0).fit_transform(small.X)
        hidden = Hidden.of("factors", factors(n, d), 0.1, seed)
        imputer = EMImputer(covariance_type="factor", n_factors=10)
        before = resident()
        seconds, imputed = timed(lambda: imputer.fit_transform(hidden.X))
        peak = resident()[1]
    by_mean = hidden.rmse(np.where(hidden.where, np.nanmean(hidden.X, axis=0), hidden.X))
    return before, peak, seconds, by_mean, hidden.rmse(imputed), imputer.n_iter_


def run_large(args):
    title("Imputation, large data")
    warm_up()
    n, wide = (10_000, (500, 50)) if args.quick else (100_000, (2_000, 200))
    many = fight(Hidden.of("many rows", correlated(n, 20), 0.1, args.seed), 0.1, args.repeats or 3)
    few = fight(Hidden.of("many features", correlated(*wide), 0.1, args.seed), 0.1, 1)
    print(
        f"EMImputer() against IterativeImputer(), as above; best of {args.repeats or 3}, of "
        "IterativeImputer only as many as begin\n"
        f"within {LONG:g} s; one of many features. Targets: many rows below {MANY_ROWS_TARGET:g} s; "
        f"many features a ratio of at least {WIDE_TARGET:g}:\n"
    )
    print(rst_table(DUEL_COLUMNS, [many.row(), few.row()]))
    print("\nSummary:\n")
    summary = [
        ["many rows, EMImputer", f"{many.ours:.3f} s", f"below {MANY_ROWS_TARGET:g} s",
         verdict(many.ours < MANY_ROWS_TARGET)],
        ["many features, ratio", f"{few.ratio:.1f}", f"at least {WIDE_TARGET:g}",
         verdict(few.ratio >= WIDE_TARGET)],
    ]  # fmt: skip
    print(rst_table(["what", "reached", "target", "verdict"], summary), flush=True)

    n, d = (200, 400) if args.quick else (1_000, 2_000)
    progress(f"factors, {n} x {d}")
    (before, peak_before), peak, seconds, by_mean, by_factors, n_iter = in_fresh_process(
        fit_factors, n, d, args.seed
    )
    above = peak - before
    print(
        f'\nEMImputer(covariance_type="factor", n_factors=10), fit_transform, {n:,} × {d:,} '
        f"({8 * n * d / MB:.0f} MB), 10 % missing, rows of ten factors\nand as much noise, in a process of "
        f"its own. Target: less than {FACTOR_TARGET:g} MB above the input:\n"
    )
    columns = [
        "resident before, MB", "peak before, MB", "peak, MB", "above the input, MB", "target", "verdict", "s",
        "EM iterations", "RMSE", "RMSE of the mean",
    ]  # fmt: skip
    row = [
        f"{before:.0f}", f"{peak_before:.0f}", f"{peak:.0f}", f"{above:.0f}", f"below {FACTOR_TARGET:g}",
        verdict(above < FACTOR_TARGET), f"{seconds:.2f}", str(n_iter), f"{by_factors:.4f}", f"{by_mean:.4f}",
    ]  # fmt: skip
    print(rst_table(columns, [row]), flush=True)


# -- accuracy --------------------------------------------------------------------------------------------

SEARCHED = {"n_components": [1, 2, 3], "ridge": [0.3, 1.0, 3.0, 10.0]}


def search(seed):
    """Number of components and ridge of the greatest cross-validated likelihood."""
    folds = KFold(3, shuffle=True, random_state=seed)  # rows of iris and wine are in the order of their kinds
    return GridSearchCV(EMImputer(n_init=3, random_state=seed), SEARCHED, cv=folds)


METHODS = {
    "mean": lambda seed: SimpleImputer(),
    "KNNImputer": lambda seed: KNNImputer(),
    "IterativeImputer": lambda seed: IterativeImputer(),
    "EMImputer": lambda seed: EMImputer(),
    "EMImputer, chosen": search,
}


def run_accuracy(args):
    title("Imputation, accuracy")
    seeds = range(args.seed, args.seed + (args.repeats or (2 if args.quick else 5)))
    sets = ["wine", "iris"] if args.quick else list(REAL)
    rows, searches = [], []
    times, wins, unfinished = dict.fromkeys(METHODS, 0.0), Counter(), 0
    for name in sets:
        whole = REAL[name]()
        whole = (whole - whole.min(axis=0)) / np.ptp(whole, axis=0)
        errors = {method: [] for method in METHODS}
        chosen = Counter()
        for seed in seeds:
            progress(f"accuracy: {name}, seed {seed}")
            hidden = Hidden.of(name, whole, 0.2, seed)
            for method, make in METHODS.items():
                imputer = make(seed)
                begin = time.perf_counter()
                if method == "IterativeImputer":
                    imputed, converged = peer_fit(imputer, hidden.X)
                    unfinished += not converged
                else:
                    imputed = imputer.fit(hidden.X).transform(hidden.X)
                times[method] += time.perf_counter() - begin
                errors[method].append(hidden.rmse(imputed, unit=1.0))
                if method == "EMImputer, chosen":
                    best = imputer.best_params_
                    chosen[f"{best['n_components']}, {best['ridge']:g}"] += 1
        means = {method: np.mean(values) for method, values in errors.items()}
        best = min(means, key=means.get)
        wins[best] += 1
        cells = [
            f"{'**' * (method == best)}{means[method]:.4f}{'**' * (method == best)} ± {np.std(values):.4f}"
            for method, values in errors.items()
        ]
        n, d = whole.shape
        rows.append([f"{name}, {n} × {d}", *cells])
        searches.append("; ".join(f"{pair} ({count})" for pair, count in chosen.most_common()))
    print(
        f"RMSE at hidden entries, 20 % missing, features scaled to 0 … 1: mean and standard deviation over "
        f"{len(seeds)} seeds; the\nbest is bold. The last column has n_components and ridge chosen by "
        "GridSearchCV, by likelihood, from n_components\n1, 2, 3 and ridge 0.3, 1, 3, 10 (three folds of "
        "shuffled rows, n_init=3); all else is as it comes:\n"
    )
    print(rst_table(["data", *METHODS], rows))
    print("\nBest, seconds in all:\n")
    print(rst_table(["method", "best", "s"], [[m, str(wins[m]), f"{times[m]:.2f}"] for m in METHODS]))
    print(f"\nIterativeImputer did not converge in {unfinished} of {len(sets) * len(seeds)} fits.")
    print("\nChosen n_components and ridge (number of seeds):\n")
    print(rst_table(["data", "chosen"], [list(pair) for pair in zip(sets, searches, strict=True)]), flush=True)


# -- categories ------------------------------------------------------------------------------------------


def of_factors(n, seed=0):
    """A table whose columns depend on two hidden factors: eight levels, four ordered ones, two, and numbers."""
    rng = np.random.RandomState(seed)
    f = rng.randn(n, 2)
    towns = rng.randn(8, 2) * 1.5
    distance = ((f[:, None] - towns) ** 2).sum(axis=2) + rng.gumbel(size=(n, 8))
    columns = {f"x{j}": f @ rng.randn(2) + 0.5 * rng.randn(n) for j in range(4)}
    columns["town"] = distance.argmin(axis=1)
    columns["size"] = np.digitize(f[:, 0] + 0.5 * rng.randn(n), [-1, 0, 1])
    columns["smokes"] = (f[:, 1] + 0.5 * rng.randn(n) > 0.3).astype(int)
    return columns, ["town", "smokes"], ["size"]


def of_sklearn(load, kind):
    """A table of scikit-learn with its classes as a category."""
    data = load()
    columns = dict(zip(data.feature_names, data.data.T, strict=True))
    return {**columns, kind: data.target}, [kind], []


def of_diabetes():
    data = load_diabetes()
    columns = dict(zip(data.feature_names, data.data.T, strict=True))
    columns["sex"] = (columns["sex"] > 0).astype(int)
    return columns, ["sex"], []


MIXED = {
    "iris": lambda: of_sklearn(load_iris, "species"),
    "wine": lambda: of_sklearn(load_wine, "cultivar"),
    "diabetes": of_diabetes,
    "factors": lambda: of_factors(1000),
}


def by_type(codes, names, nominal, ordered):
    """A table of codes and numbers as a frame with the types that its columns have."""
    import pandas as pd

    frame = pd.DataFrame(codes, columns=names)
    for name in (*nominal, *ordered):
        levels = pd.CategoricalDtype([f"level {k}" for k in range(10)], ordered=name in ordered)
        kept = (
            pd.Series(frame[name], dtype="Int64").astype(object).map(lambda k: f"level {k}", na_action="ignore")
        )
        frame[name] = kept.astype(levels)
    return frame


def codes_of(frame, categories):
    """The same as codes and numbers."""
    return np.column_stack([frame[c].cat.codes if c in categories else frame[c] for c in frame]).astype(float)


def most_frequent(X, codes):
    filled = SimpleImputer().fit_transform(X)
    filled[:, codes] = SimpleImputer(strategy="most_frequent").fit_transform(X[:, codes])
    return filled


def forests(X, codes, seed):
    """Random forests by turns on codes, rounded, as is often done."""
    forest = RandomForestRegressor(random_state=seed)
    filled, _ = peer_fit(IterativeImputer(forest, random_state=seed), X)
    filled[:, codes] = np.rint(filled[:, codes])
    return filled


def run_mixed(args):
    title("Imputation, categories")
    seeds = range(args.seed, args.seed + (args.repeats or (1 if args.quick else 3)))
    rows = []
    for name in ["iris", "factors"] if args.quick else list(MIXED):
        columns, nominal, ordered = MIXED[name]()
        names, whole = list(columns), np.column_stack(list(columns.values())).astype(float)
        categories = [*nominal, *ordered]
        codes = [names.index(category) for category in categories]
        numbers = np.setdiff1d(np.arange(len(names)), codes)

        def of_em(X, codes, seed, names=names, nominal=nominal, ordered=ordered):
            frame = by_type(X, names, nominal, ordered)
            return codes_of(EMImputer().fit_transform(frame), [*nominal, *ordered])

        methods = {
            "most frequent, mean": lambda X, codes, seed: most_frequent(X, codes),
            "IterativeImputer(RandomForest)": forests,
            "EMImputer": of_em,
        }
        for method, work in methods.items():
            right, errors, seconds = [], [], 0.0
            for seed in seeds:
                progress(f"mixed: {name}, {method}, seed {seed}")
                hidden = Hidden.of(name, whole, 0.2, seed)
                begin = time.process_time()
                filled = work(hidden.X.copy(), codes, seed)
                seconds += time.process_time() - begin
                gone = hidden.where
                right.append(np.mean((filled == whole)[:, codes][gone[:, codes]]))
                off = ((filled - whole) / whole.std(axis=0))[:, numbers]
                errors.append(np.sqrt(np.mean(off[gone[:, numbers]] ** 2)))
            n, d = whole.shape
            cells = [f"{np.mean(right):.3f}", f"{np.mean(errors):.3f}", f"{seconds / len(seeds):.2f}"]
            rows.append([f"{name}, {n} × {d}", f"{len(codes)}", method, *cells])
    print(
        "20 % missing, completely at random: share of hidden categories that are imputed right, RMSE of hidden "
        "numbers in\nstandard deviations, seconds of processor time of one fit and imputation; means over "
        f"{len(seeds)} seeds:\n"
    )
    print(rst_table(["data", "categories", "method", "right", "RMSE", "s"], rows), flush=True)


# -- convergence -----------------------------------------------------------------------------------------

NEVER = 200_000  # E-steps; no fit comes near


def run_convergence(args):
    title("Imputation, convergence")
    breast = Hidden.of("", load_breast_cancer().data, 0.2, args.seed).X
    problems = {
        "missvals, 13 × 5": (np.genfromtxt(MISSVALS, delimiter=",", skip_header=1), 0.0),
        "air quality, 153 × 4": (load_airquality().data[:, :4], 0.0),
        "breast cancer, 569 × 30, 20 %": (breast, 0.0),
        "breast cancer, 569 × 30, 20 %, ridge=1": (breast, 1.0),
    }
    if args.quick:
        del problems["breast cancer, 569 × 30, 20 %"]
    ways = ["none", "squarem", "secant", "auto"]
    if set(ways) != set(ACCELERATIONS):
        raise AssertionError(f"Other ways of extrapolation than these: {list(ACCELERATIONS)}.")
    rows = []
    for name, (X, ridge) in problems.items():
        progress(f"convergence: {name}")
        scale = np.nanstd(X, axis=0)
        Z = (X - np.nanmean(X, axis=0)) / scale
        volume = np.count_nonzero(~np.isnan(X), axis=0) @ np.log(scale)
        d = X.shape[1]
        start = LatentPair(np.ones(1), GaussianParams(np.zeros((1, d)), np.eye(d)[None]))
        steps, fits = [], []
        for way in ways:
            model = LatentModel(MixtureWeights(), IncompleteGaussian(COVARIANCE_SHAPES["full"], ridge=ridge))
            evaluations = 0

            def counting(params, model=model):
                nonlocal evaluations
                evaluations += 1
                return type(model).expectation(model, params)

            object.__setattr__(model, "expectation", counting)  # refused guesses count too
            fit = fit_em(model, start, Z, acceleration=way, tol=1e-9, max_iter=NEVER)
            steps.append(f"{evaluations - 1:,}{'' if fit.converged else ' (not converged)'}")
            fits.append(fit)
        spread = np.ptp([fit.objective for fit in fits])
        rows.append([name, *steps, f"{fits[0].log_likelihood - volume:.6f}", f"{spread:.0e}"])
    print(
        "E-steps of one Gaussian, after the first, from uncorrelated features to tol=1e-9, by each way of "
        "extrapolation; maximum\nlikelihood unless a ridge is named. The log-likelihood is that of plain EM, "
        "in the units of the data, and the\nspread the difference between the highest and the lowest objective "
        "of the four, in nats:\n"
    )
    print(rst_table(["data", *ways, "log-likelihood, nats", "spread"], rows), flush=True)


# -- coverage --------------------------------------------------------------------------------------------

COVERAGE = 0.95


def covered_cells(args):
    """Share of hidden entries within their intervals, a row for each kind of data."""
    n = 1_000 if args.quick else 10_000
    sets = {
        f"correlated, {n:,} × 10": (correlated(n, 10), [1]),
        "air quality, 111 × 4": (complete_rows(load_airquality().data[:, :4]), [1, 2]),
        **{f"{name}, {len(load())} × {load().shape[1]}": (load(), [1, 2]) for name, load in REAL.items()},
    }
    rows = []
    for name, (whole, numbers) in sets.items():
        for K in numbers:
            progress(f"coverage: {name}, K={K}")
            inside, width, count = 0, 0.0, 0
            for seed in range(args.seed, args.seed + (2 if args.quick else 5)):
                hidden = Hidden.of(name, whole, 0.2, seed)
                imputer = EMImputer(n_components=K, n_init=5, random_state=seed).fit(hidden.X)
                lower, upper = imputer.predict_interval(hidden.X, COVERAGE)
                within = (lower <= whole) & (whole <= upper)
                inside += within[hidden.where].sum()
                width += ((upper - lower) / whole.std(axis=0))[hidden.where].sum()
                count += hidden.where.sum()
            rows.append([name, str(K), f"{count:,}", f"{100 * inside / count:.1f} %", f"{width / count:.2f}"])
    return rows


# Rows, features, correlations, share that is missing, data sets. Intervals were tuned on those above the line.
FEW_ROWS = [
    (25, 4, "0.5", 0.2, 16),
    (25, 4, "random", 0.2, 16),
    (48, 8, "0.5", 0.2, 8),
    (48, 8, "random", 0.2, 8),
    (50, 10, "0.5", 0.2, 8),
    (50, 10, "random", 0.2, 8),
    (100, 10, "0.5", 0.2, 4),
    (100, 10, "random", 0.2, 4),
    (80, 60, "three factors", 0.2, 2),
    (500, 20, "0.5", 0.2, 1),
    (500, 20, "random", 0.2, 1),
    # --
    (60, 6, "random", 0.3, 8),
    (60, 6, "0.9", 0.3, 8),
    (40, 12, "random", 0.2, 8),
    (40, 12, "0.9", 0.2, 8),
    (30, 5, "0.9", 0.2, 16),
]
N_DRAWS = 50


def random_normal(n, d, kind, rng):
    """Rows of correlated normal features."""
    if kind == "three factors":
        return rng.randn(n, 3) @ rng.randn(3, d) + rng.randn(n, d)
    if kind == "random":
        return rng.randn(n, d) @ (rng.randn(d, d) / np.sqrt(d) + 0.5 * np.eye(d))
    alike = float(kind)
    return np.sqrt(alike) * rng.randn(n, 1) + np.sqrt(1 - alike) * rng.randn(n, d)


def run_few_rows(args):
    """Share of hidden entries within intervals and quantiles of draws, a row for each setting."""
    title("Imputation, few rows")
    tails = [0.5 - 0.5 * COVERAGE, 0.5 + 0.5 * COVERAGE]
    rows = []
    for n, d, kind, share, count in FEW_ROWS[:2] if args.quick else FEW_ROWS:
        progress(f"coverage: {n} × {d}, {kind}")
        held = {"predict_interval": [], "posterior": [], "bootstrap": []}
        count = 2 if args.quick else count * (args.repeats or 1)
        for seed in range(args.seed, args.seed + count):
            rng = np.random.RandomState(seed)
            whole = random_normal(n, d, kind, rng)
            gone = rng.uniform(size=whole.shape) < share
            X = np.where(gone, np.nan, whole)
            imputer = EMImputer(random_state=seed).fit(X)
            limits = {"predict_interval": imputer.predict_interval(X, COVERAGE)}
            for method in ("posterior", "bootstrap"):
                drawn = np.stack([Z[gone] for Z in imputer.sample(X, N_DRAWS, method=method)])
                low, high = np.full((2, *X.shape), np.nan)
                low[gone], high[gone] = np.quantile(drawn, tails, axis=0, method="weibull")
                limits[method] = low, high
            for method, (low, high) in limits.items():
                held[method].append(np.mean(((low <= whole) & (whole <= high))[gone]))
        shares = [
            f"{100 * np.mean(values):.1f} ± {100 * np.std(values) / np.sqrt(len(values)):.1f} %"
            for values in held.values()
        ]
        rows.append([f"{n} × {d}", kind, percent(share), str(len(held["posterior"])), *shares])
    print(
        f"Share of hidden entries of normal data within their {percent(COVERAGE)} interval "
        "(EMImputer.predict_interval) and between the\n"
        f"quantiles of {N_DRAWS} draws (EMImputer.sample), means over data sets ± their standard errors. "
        "Features have one\ncorrelation, random covariances, or three factors and noise:\n"
    )
    columns = ["rows × features", "correlations", "missing", "data sets", "predict_interval"]
    print(rst_table([*columns, "sample, posterior", "sample, bootstrap"], rows), flush=True)


def complete_rows(X):
    return X[~np.isnan(X).any(axis=1)]


def interval_of_mean(x):
    """Confidence interval of a mean, of what is there of it."""
    x = x[~np.isnan(x)]
    width = stats.t.ppf(0.5 + 0.5 * COVERAGE, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - width, x.mean() + width


def pooled_interval(X, column, seed, method):
    """The same by multiple imputation."""
    completed = EMImputer(random_state=seed).fit(X).sample(X, n_imputations=20, method=method)
    values = np.stack([Z[:, column] for Z in completed])
    errors = values.std(axis=1, ddof=1) / np.sqrt(len(X))
    return pool(values.mean(axis=1), errors, df_complete=len(X) - 1).interval(COVERAGE)


def covered_means(args):
    """Share of intervals that hold the mean of a feature with entries missing at random; a row per method."""
    n, d = 200, 3
    covariance = 0.4 * np.eye(d) + 0.6
    replications = 20 if args.quick else 200
    methods = {
        "complete data": lambda whole, X, seed: interval_of_mean(whole[:, -1]),
        "available rows": lambda whole, X, seed: interval_of_mean(X[:, -1]),
        "mean imputation": lambda whole, X, seed: interval_of_mean(SimpleImputer().fit_transform(X)[:, -1]),
        "EMImputer, one imputation": lambda whole, X, seed: interval_of_mean(
            EMImputer().fit_transform(X)[:, -1]
        ),
        "EMImputer.sample, posterior": lambda whole, X, seed: pooled_interval(X, -1, seed, "posterior"),
        "EMImputer.sample, bootstrap": lambda whole, X, seed: pooled_interval(X, -1, seed, "bootstrap"),
    }
    progress(f"coverage: a mean, {replications} times")
    limits = {method: [] for method in methods}
    for seed in range(args.seed, args.seed + replications):
        rng = np.random.RandomState(seed)
        whole = rng.multivariate_normal(np.zeros(d), covariance, size=n)
        X = ampute(whole, "mar", 0.4, columns=[d - 1], random_state=rng)
        for method, interval in methods.items():
            limits[method].append(interval(whole, X, seed))
    rows = []
    for method, pairs in limits.items():
        lower, upper = np.array(pairs).T
        inside = np.mean((lower <= 0) & (upper >= 0))
        bias = np.mean(lower + upper) / 2
        rows.append([method, f"{100 * inside:.1f} %", f"{np.mean(upper - lower):.3f}", f"{bias:+.3f}"])
    return n, replications, rows


def run_coverage(args):
    title("Imputation, coverage")
    cells = covered_cells(args)
    print(
        f"Share of hidden entries, 20 % of all, within their {percent(COVERAGE)} interval "
        "(EMImputer.predict_interval), and the mean width\nof the interval in standard deviations of the "
        f"feature, over {2 if args.quick else 5} seeds:\n"
    )
    print(rst_table(["data", "components", "hidden entries", "within", "width"], cells))
    n, replications, rows = covered_means(args)
    error = 100 * np.sqrt(COVERAGE * (1 - COVERAGE) / replications)
    print(
        f"\n{percent(COVERAGE)} interval of the mean of a feature, 40 % missing at random, {n} rows of three "
        f"normal features (correlations 0.6,\nmean 0, variance 1), {replications} replications. A share of "
        f"{percent(COVERAGE)} has a standard error of {error:.1f} percent:\n"
    )
    print(rst_table(["interval", "holds the mean", "mean width", "bias of its middle"], rows), flush=True)


# -- command line ----------------------------------------------------------------------------------------

PARTS = {
    "speed": run_speed,
    "large": run_large,
    "accuracy": run_accuracy,
    "mixed": run_mixed,
    "convergence": run_convergence,
    "coverage": run_coverage,
    "few_rows": run_few_rows,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: to try the script")
    parser.add_argument(
        "--repeats",
        type=int,
        help="repeats (speed, large), seeds (accuracy), or times as many data sets (few_rows)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the gaps and the starts; default 0")
    args = parser.parse_args()
    print(
        f"emlearn {emlearn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__},\nPython {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} core(s)",
        flush=True,
    )
    with threadpool_limits(1):
        for part in args.only or PARTS:
            begin = time.perf_counter()
            PARTS[part](args)
            progress(f"{part}: {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
