"""Mixtures of regressions: emlearn beside EM written out in NumPy, and how surely it finds the best fit.

    python benchmarks/regression.py                          # everything; takes a good while
    python benchmarks/regression.py --only speed --quick     # one part, on small sizes

Parts:

speed
    Time to the same log-likelihood, from the same responsibilities, in one process, by turns.
optimum
    How often a fit as it comes finds the best maximum, with how many E-steps, beside a single start.
memory
    Peak memory of a fit to a million rows.
switching
    Regressions whose regime follows a Markov chain, beside statsmodels' MarkovRegression.

Tables are reStructuredText. Every ratio is the other's time over emlearn's. All on one core; run on an idle
machine.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy
import sklearn
from gaussian_mixture import (
    MB,
    SAME_NATS,
    geometric_mean,
    in_fresh_process,
    progress,
    resident,
    rst_table,
    timed,
    title,
    verdict,
    without_convergence_warnings,
)
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import (
    MarkovSwitchingRegression,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.datasets import load_fed_funds, load_npreg, load_tone_perception
from emlearn.em import Affine, Batches, LatentModel, SideBySide, fit_em
from emlearn.families import RESPONSES, Regression
from emlearn.families.base import unwrapped
from emlearn.latent import MixtureWeights

# -- what the parts share --------------------------------------------------------------------------------


class Lines(NamedTuple):
    """Linear regressions to draw rows from."""

    weights: np.ndarray  # (K,)
    coef: np.ndarray  # (K, 1 + d), the intercept first
    sigma: np.ndarray  # (K,)

    @classmethod
    def random(cls, d, K, separation, seed):
        """Regressions whose means lie ``separation`` standard deviations apart, typically, at a row."""
        rng = np.random.default_rng(seed)
        coef = rng.standard_normal((K, 1 + d)) * separation / np.sqrt(2 * (1 + d))
        return cls(rng.dirichlet(np.full(K, 20.0)), coef, rng.uniform(0.8, 1.2, size=K))

    def rows(self, n, rng):
        """Features (n, d), responses (n,), and the component of each row."""
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        X = rng.standard_normal((n, self.coef.shape[1] - 1))
        y = self.coef[labels, 0] + np.einsum("ij,ij->i", X, self.coef[labels, 1:])
        y += self.sigma[labels] * rng.standard_normal(n)
        return X, y, labels


# -- speed -----------------------------------------------------------------------------------------------

GRID = [(1_000, 3, 2), (100_000, 5, 3), (100_000, 20, 4)]  # n, d, K
QUICK_GRID = [(1_000, 3, 2), (5_000, 5, 3), (2_000, 20, 4)]
SPEED_TARGET = 5.0  # ratio, in each row
SEPARATION = 2.0  # such that plain EM takes some dozens of E-steps
KNOWN = 0.3  # what the responsibilities at the start tell of the component; the rest is random
LIMIT_NATS = 1e-6  # projected gain still to come where a limit is taken
MOST_STEPS = 5_000
LONG = 30.0  # seconds after which the loop is not run again


class Run(NamedTuple):
    """A fit, from responsibilities to a stop."""

    params: Any
    history: list[float]  # log-likelihoods
    n_steps: int  # E-steps

    @property
    def to_come(self):
        """What plain EM still gains if gains go on shrinking as they do, nats."""
        if len(self.history) < 3:
            return np.inf
        earlier, before, last = self.history[-3:]
        gains = before - earlier, last - before
        if gains[1] <= 0:  # lost in rounding
            return 0.0
        return gains[1] ** 2 / (gains[0] - gains[1]) if gains[0] > gains[1] else np.inf


def reference_em(X, y, resp, limit=np.inf, max_steps=MOST_STEPS):
    """EM for a mixture of linear regressions as one writes it down, from responsibilities (K, n).

    Weighted least squares by `np.linalg.lstsq`, component by component. It stops within `SAME_NATS` of
    ``limit``, after ``max_steps`` E-steps, or when less than `LIMIT_NATS` is to come.
    """
    design = np.column_stack([np.ones(len(X)), X])
    K = len(resp)
    coef, sigma, error = np.empty((K, design.shape[1])), np.empty(K), np.empty_like(resp)
    history = []
    while True:
        for k in range(K):
            root = np.sqrt(resp[k])
            coef[k] = np.linalg.lstsq(root[:, None] * design, root * y)[0]
            error[k] = y - design @ coef[k]
            sigma[k] = np.sqrt(resp[k] @ error[k] ** 2 / resp[k].sum())
        weights = resp.mean(axis=1)
        height = np.log(weights) - np.log(sigma) - 0.5 * np.log(2 * np.pi)
        log_prob = height[:, None] - 0.5 * (error / sigma[:, None]) ** 2
        top = log_prob.max(axis=0)
        resp = np.exp(log_prob - top)
        total = resp.sum(axis=0)
        resp /= total
        history.append(float((top + np.log(total)).sum()))
        run = Run((weights, coef, sigma), history, len(history))
        if history[-1] >= limit - SAME_NATS or run.to_come < LIMIT_NATS or run.n_steps >= max_steps:
            return run


def emlearn_em(X, y, resp, limit=np.inf):
    """The same by emlearn's engine, units and batches included."""
    n, d = X.shape
    K = len(resp)
    units = Affine(
        np.concatenate([[0.0], X.mean(axis=0), [y.mean()]]),
        np.concatenate([[1.0], X.std(axis=0), [y.std()]]),
    )
    log_volume = n * np.log(units.scale[-1])
    family = Regression(RESPONSES["gaussian"], d + 1, least_ratio=1e-3)
    model = LatentModel(MixtureWeights(), family)
    n_steps = 0

    def counting(params):
        nonlocal n_steps
        n_steps += 1
        return LatentModel.expectation(model, params)

    object.__setattr__(model, "expectation", counting)  # refused guesses count too
    table = SideBySide(np.broadcast_to(1.0, (n, 1)), X, y)
    whole = next(iter(Batches(table, rows=n, units=units)))
    data = Batches(table, floats_per_row=family.floats_per_row(K, d + 2), units=units)
    fit = fit_em(
        model,
        model.start(whole, resp),
        data,
        tol=LIMIT_NATS,
        max_iter=MOST_STEPS,
        callback=lambda iterate: iterate.log_likelihood - log_volume >= limit - SAME_NATS,
    )
    history = [value - log_volume for value in fit.history]
    return Run(fit.params, history, n_steps)


class Race(NamedTuple):
    """A row of the table."""

    size: tuple[int, int, int]  # n, d, K
    limits: tuple[float, float]  # the loop's, emlearn's
    n_steps: tuple[int, int]  # E-steps
    seconds: tuple[float, float]
    reached: tuple[float, float]  # log-likelihoods
    runs: tuple[int, int]

    @property
    def ratio(self):
        return self.seconds[0] / self.seconds[1]

    @property
    def is_fair(self):
        """Whether both came as near the better limit as they should."""
        return min(self.reached) >= max(self.limits) - SAME_NATS

    def row(self):
        n, d, K = self.size
        notes = [verdict(self.ratio >= SPEED_TARGET)]
        notes += [] if self.is_fair else ["NOT THE SAME MAXIMUM"]
        return [
            f"{n:,} × {d}", str(K), f"{max(self.limits):.3f}", f"{self.limits[1] - self.limits[0]:+.0e}",
            str(self.n_steps[0]), str(self.n_steps[1]), f"{self.seconds[0]:.4f}", f"{self.seconds[1]:.4f}",
            f"{self.ratio:.1f}", f"{self.runs[0]}, {self.runs[1]}", ", ".join(notes),
        ]  # fmt: skip


RACE_COLUMNS = [
    "n × d", "K", "limit, nats", "emlearn's less the loop's", "the loop's E-steps", "emlearn's E-steps",
    "the loop, s", "emlearn, s", "ratio", "runs", "verdict",
]  # fmt: skip


def run_race(n, d, K, args, repeats):
    """Both from the same responsibilities to the better of their limits, by turns, the best of some runs."""
    rng = np.random.default_rng(args.seed)
    X, y, labels = Lines.random(d, K, args.separation, seed=d + K).rows(n, rng)
    resp = KNOWN * (labels == np.arange(K)[:, None]) + (1 - KNOWN) * rng.dirichlet(np.ones(K), size=n).T
    loops = reference_em(X, y, resp)
    limits = loops.history[-1] + loops.to_come, emlearn_em(X, y, resp).history[-1]
    limit = max(limits)
    times = [], []
    reached = [0.0, 0.0]
    n_steps = [0, 0]
    for _ in range(repeats):
        for i, em in enumerate((reference_em, emlearn_em)):
            if sum(times[i]) < LONG:
                seconds, run = timed(lambda em=em: em(X, y, resp, limit))
                times[i].append(seconds)
                reached[i], n_steps[i] = run.history[-1], run.n_steps
    seconds = min(times[0]), min(times[1])
    runs = len(times[0]), len(times[1])
    return Race((n, d, K), limits, tuple(n_steps), seconds, tuple(reached), runs)


def run_speed(args):
    title("Mixtures of linear regressions, time")
    repeats = args.repeats or (2 if args.quick else 5)
    races = []
    for n, d, K in QUICK_GRID if args.quick else GRID:
        progress(f"speed: {n} x {d}, K={K}")
        races.append(run_race(n, d, K, args, repeats))
    print(
        "From the same responsibilities until the log-likelihood is within "
        f"{SAME_NATS:g} nats of the better of the limits that\nthe two run into; one core each, best of "
        f"{repeats} by turns (of the loop as many as begin within {LONG:g} s). The loop is\nweighted "
        "np.linalg.lstsq, component by component, and a posterior in logarithms. Means of components lie "
        f"{args.separation:g}\nstandard deviations apart. Target: a ratio of {SPEED_TARGET:g} in each row:\n"
    )
    print(rst_table(RACE_COLUMNS, [race.row() for race in races]))
    mean, lowest = geometric_mean([race.ratio for race in races]), min(race.ratio for race in races)
    print("\nSummary:\n")
    summary = [
        ["time, lowest ratio", f"{lowest:.1f}", f"at least {SPEED_TARGET:g}", verdict(lowest >= SPEED_TARGET)],
        ["time, geometric mean", f"{mean:.1f}", "–", "–"],
        ["rows in which both reach the same maximum", f"{sum(race.is_fair for race in races)}",
         f"{len(races)}", verdict(all(race.is_fair for race in races))],
    ]  # fmt: skip
    print(rst_table(["what", "reached", "target", "verdict"], summary), flush=True)


# -- optimum ---------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """Data and the model for them."""

    estimator: type
    settings: dict[str, Any]
    load: Callable[[], tuple]  # X, y, groups


def npreg(response, powers=(1,), groups=None):
    """The artificial data of R's flexmix, with powers of x as features."""
    rows = load_npreg()
    X = rows.data ** np.array(powers)
    return X, rows[response], None if groups is None else rows[groups]


def tones():
    rows = load_tone_perception()
    return rows.data, rows.target, None


def lines(n, weights, coef, sigma):
    return of_lines(n, Lines(np.array(weights), np.array(coef), np.array(sigma)))


def of_lines(n, regressions):
    X, y, _ = regressions.rows(n, np.random.default_rng(0))
    return X, y, None


def pieces(n):
    """A piecewise linear function, with jumps at -1 and 1."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=n)
    mean = np.select([x < -1, x < 1], [2 + x, 1 - 2 * x], 0.5 * x)
    return x[:, None], mean + 0.3 * rng.standard_normal(n), None


def logits(n):
    """Classes whose log-odds depend on two features, in ways that a third one tells."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    log_odds = np.where(X[:, 0] > 0.2, 2 + 3 * X[:, 1], -1 - 2 * X[:, 1] + X[:, 2])
    return X, rng.uniform(size=n) < 1 / (1 + np.exp(-log_odds)), None


Mixed, Experts = MixtureOfLinearRegressions, MixtureOfExperts
EQUAL = [1 / 3] * 3
TASKS = {
    "npreg, yn by x and x², K=2": Task(Mixed, {"n_components": 2}, lambda: npreg("yn", (1, 2))),
    "npreg, yp by x, K=2": Task(Mixed, {"n_components": 2, "family": "poisson"}, lambda: npreg("yp")),
    "npreg, yb by x, groups id2, K=2": Task(
        Mixed, {"n_components": 2, "family": "binomial"}, lambda: npreg("yb", groups="id2")
    ),
    "tones, K=2": Task(Mixed, {"n_components": 2}, tones),
    "tones, K=3": Task(Mixed, {"n_components": 3}, tones),
    "tones, K=2, gate": Task(Experts, {"n_components": 2}, tones),
    "crossing lines, K=3": Task(
        Mixed,
        {"n_components": 3},
        lambda: lines(300, EQUAL, [[0.0, 2.0], [1.0, -1.5], [-1.0, 0.3]], [0.4, 0.4, 0.4]),
    ),
    "parallel lines, K=4": Task(
        Mixed,
        {"n_components": 4},
        lambda: lines(600, [0.25] * 4, [[c, 1.0] for c in range(4)], [0.25] * 4),
    ),
    "five features, K=4": Task(
        Mixed, {"n_components": 4}, lambda: of_lines(1_000, Lines.random(5, 4, 3.0, seed=9))
    ),
    "unequal noise, K=3": Task(
        Mixed,
        {"n_components": 3},
        lambda: lines(600, EQUAL, [[0.0, 1.0], [1.0, -1.0], [0.0, 0.0]], [0.1, 0.5, 2.0]),
    ),
    "three pieces, K=3, gate": Task(Experts, {"n_components": 3}, lambda: pieces(400)),
    "two logits, K=2, gate": Task(MixtureOfExpertsClassifier, {"n_components": 2}, lambda: logits(600)),
}


class Fit(NamedTuple):
    """What came of a fit."""

    value: float  # objective less what it may owe to luck, nats
    rests: bool  # on the least ratio of variances
    n_steps: int  # iterations of all starts
    seconds: float

    @classmethod
    def of(cls, task, data, seed, **settings):
        X, y, groups = data
        estimator = task.estimator(**task.settings, **settings, random_state=seed)
        with without_convergence_warnings():
            seconds, _ = timed(lambda: estimator.fit(X, y, groups=groups))
        best = next(start for start in estimator.restarts_.starts if start.status == "best")
        handicap = best.log_likelihood - best.evidence
        rests = unwrapped(estimator._model.family).at_bound(estimator._params.family).any()
        steps = sum(start.n_iter for start in estimator.restarts_.starts)
        return cls(estimator.lower_bounds_[-1] * len(X) - handicap, bool(rests), steps, seconds)


def optimum_row(name, task, seeds):
    """Shares of seeds that reach the best value, as it comes and from one start, and what that takes."""
    data = task.load()
    n, d = data[0].shape
    fits = [Fit.of(task, data, seed) for seed in seeds]
    single = [Fit.of(task, data, seed, n_init=1) for seed in seeds]
    best = max(fit.value for fit in fits + single)
    resting = sum(fit.rests for fit in fits), sum(fit.rests for fit in single)
    steps = [fit.n_steps for fit in fits]
    short = max(best - fit.value for fit in fits)
    shares = [np.mean([fit.value >= best - SAME_NATS for fit in some]) for some in (fits, single)]
    row = [
        name, f"{n:,} × {d}", f"{best:.3f}", f"{shares[0]:.2f}", f"{short:.3f}", f"{np.median(steps):.0f}",
        f"{np.quantile(steps, 0.95):.0f}", f"{np.median([fit.seconds for fit in fits]):.3f}",
        f"{shares[1]:.2f}", f"{np.median([fit.n_steps for fit in single]):.0f}",
        f"{np.median([fit.seconds for fit in single]):.3f}", f"{resting[0]}, {resting[1]}",
    ]  # fmt: skip
    return row, shares[0]


def run_optimum(args):
    title("Mixtures of regressions, the best maximum")
    seeds = range(args.seed, args.seed + (args.repeats or (10 if args.quick else 100)))
    rows, shares = [], []
    for name, task in TASKS.items():
        begin = time.perf_counter()
        row, share = optimum_row(name, task, seeds)
        rows.append(row)
        shares.append(share)
        progress(f"optimum: {name}, {time.perf_counter() - begin:.0f} s")
    print(
        f"Fits as they come, and with n_init=1, over {len(seeds)} seeds. Reached: the share of seeds whose "
        "value, the log-likelihood\nless penalties and handicap, is within "
        f"{SAME_NATS:g} nats of the best of all these fits. Short: what the worst lacks.\nE-steps: of all "
        "starts in sum, of each since components were last placed anew. Resting: fits that rest on\n"
        "min_variance_ratio, as they come and from one start:\n"
    )
    columns = [
        "data", "n × d", "best, nats", "reached", "short, nats", "E-steps, median", "95 %", "s",
        "reached, one start", "its E-steps", "its s", "resting",
    ]  # fmt: skip
    print(rst_table(columns, rows))
    print(f"\nReached, mean: {np.mean(shares):.3f}; least: {min(shares):.2f}.", flush=True)


# -- memory ----------------------------------------------------------------------------------------------

MEMORY_TARGET = 64  # MB above the input
CHUNK_ROWS = 10_000  # small, so that what making the data takes and leaves behind does not count


def fit_rows(n, d, K, max_iter, seed):
    """Memory before a fit and at its peak, MB, seconds and E-steps of the fit. For a fresh process."""
    with threadpool_limits(1), without_convergence_warnings():
        regressions, rng = Lines.random(d, K, 3.0, seed=d + K), np.random.default_rng(seed)
        few = regressions.rows(1_000, rng)  # nothing is to be left to be loaded
        MixtureOfLinearRegressions(2, max_iter=5, random_state=0).fit(few[0], few[1])
        X, y = np.empty((n, d)), np.empty(n)
        for start in range(0, n, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, n)
            X[start:stop], y[start:stop], _ = regressions.rows(stop - start, rng)
        before = resident()
        mixture = MixtureOfLinearRegressions(K, max_iter=max_iter, random_state=0)
        seconds, _ = timed(lambda: mixture.fit(X, y))
        return before, resident()[1], seconds, mixture.n_iter_


def run_memory(args):
    title("Mixtures of linear regressions, memory")
    n, d, K, max_iter = 100_000 if args.quick else 1_000_000, 10, 4, 20
    progress(f"memory: {n} x {d}")
    (before, peak_before), peak, seconds, n_iter = in_fresh_process(fit_rows, n, d, K, max_iter, args.seed)
    above = peak - before
    print(
        f"{n:,} × {d} features and a response ({8 * n * (d + 1) / MB:.0f} MB), K = {K}, defaults but "
        f"max_iter={max_iter}, in a process of its own:\n"
    )
    columns = [
        "resident before, MB", "peak before, MB", "peak, MB", "above the input, MB", "target", "verdict",
        "fit, s", "iterations",
    ]  # fmt: skip
    row = [
        f"{before:.1f}", f"{peak_before:.1f}", f"{peak:.1f}", f"{above:.1f}", f"below {MEMORY_TARGET}",
        verdict(above < MEMORY_TARGET), f"{seconds:.1f}", str(n_iter),
    ]  # fmt: skip
    print(rst_table(columns, [row]), flush=True)


# -- switching -------------------------------------------------------------------------------------------

SWITCHING_TARGET = 10.0  # ratio, in each row, of one start each


def rates(rule=False):
    """The federal funds rate on its own past, and by a rule on inflation and output gap too."""
    data = load_fed_funds()
    skipped = 4 if rule else 1
    y = data.target[skipped:]
    X = data.target[skipped - 1 : -1, None]
    return (np.column_stack([X, data.data[skipped:]]) if rule else X), y


def regimes(n, d, K):
    """A series of regressions that last 30 steps on average."""
    rng = np.random.default_rng(n + K)
    regressions = Lines.random(d, K, 3.0, seed=d + K)
    moves = np.where(rng.uniform(size=n) < 1 / 30, rng.integers(1, max(K, 2), size=n), 0)
    path = np.cumsum(moves) % K
    X = rng.standard_normal((n, d))
    y = regressions.coef[path, 0] + np.einsum("ij,ij->i", X, regressions.coef[path, 1:])
    return X, y + regressions.sigma[path] * rng.standard_normal(n)


SWITCHING = {  # data, K, whether each regime has noise of its own
    "federal funds rate, one lag": (rates, 2, True),
    "federal funds rate, a rule": (lambda: rates(rule=True), 2, False),
    "1,000 × 2, K=2": (lambda: regimes(1_000, 2, 2), 2, True),
    "1,000 × 2, K=3": (lambda: regimes(1_000, 2, 3), 3, True),
    "10,000 × 2, K=2": (lambda: regimes(10_000, 2, 2), 2, True),
}
QUICK_SWITCHING = list(SWITCHING)[:3]


def switching_row(name, repeats, seed):
    """Statsmodels' fit, one start of emlearn and a fit as it comes, by turns, the best of some runs."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    load, K, own_noise = SWITCHING[name]
    X, y = load()
    design = np.column_stack([np.ones(len(y)), X])
    settings = {"fit_intercept": False, "shared_variance": not own_noise, "startprob": "stationary"}

    def other():
        return MarkovRegression(y, k_regimes=K, exog=X, switching_variance=own_noise).fit(disp=False).llf

    def ours(n_init):
        model = MarkovSwitchingRegression(K, n_init=n_init, random_state=seed, **settings)
        return model.fit(design, y).log_likelihood_

    seconds, reached = np.full(3, np.inf), np.empty(3)
    for repeat in range(repeats):
        for i, fit in enumerate((other, lambda: ours(1), lambda: ours(40))):
            if i or not repeat or seconds[0] < LONG:
                begin = time.process_time()
                reached[i] = fit()
                seconds[i] = min(seconds[i], time.process_time() - begin)
    ratios = seconds[0] / seconds[1:]
    notes = [verdict(ratios[0] >= SWITCHING_TARGET)]
    notes += ["ONE START ENDS LOWER"] if reached[1] < reached[0] - SAME_NATS else []
    notes += ["LOWER"] if reached[2] < reached[0] - SAME_NATS else []
    row = [name, *(f"{value:.3f}" for value in (*reached, *seconds)), *(f"{ratio:.1f}" for ratio in ratios)]
    return [*row, ", ".join(notes)], ratios


def run_switching(args):
    title("Regressions that switch, beside statsmodels")
    rows, ratios = [], []
    for name in QUICK_SWITCHING if args.quick else SWITCHING:
        progress(f"switching: {name}")
        with without_convergence_warnings():
            row, ratio = switching_row(name, args.repeats or (2 if args.quick else 3), args.seed)
        rows.append(row)
        ratios.append(ratio)
    print(
        "Statsmodels' fit() as it comes, which is one start of EM and then of BFGS; emlearn from one start; "
        "and emlearn as\nit comes, a race of 7 to 40 starts. Steady state as start. Seconds of processor time "
        f"of one thread. Target: one start\nagainst the other a ratio of {SWITCHING_TARGET:g} in each row, and "
        "no likelihood below statsmodels':\n"
    )
    columns = [
        "data", "statsmodels, nats", "one start", "as it comes", "statsmodels, s", "one start, s",
        "as it comes, s", "ratio, one start", "as it comes", "verdict",
    ]  # fmt: skip
    print(rst_table(columns, rows))
    mean = [geometric_mean(list(of_kind)) for of_kind in zip(*ratios, strict=True)]
    print(f"\nRatios, geometric mean: {mean[0]:.1f} from one start, {mean[1]:.1f} as it comes.", flush=True)


# -- command line ----------------------------------------------------------------------------------------

PARTS = {"speed": run_speed, "optimum": run_optimum, "memory": run_memory, "switching": run_switching}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: to try the script")
    parser.add_argument("--repeats", type=int, help="repeats (speed) or seeds (optimum)")
    parser.add_argument(
        "--separation", type=float, default=SEPARATION, help=f"of components (speed); default {SEPARATION:g}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the data (speed) and the starts; default 0")
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
