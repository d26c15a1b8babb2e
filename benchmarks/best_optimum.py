"""How surely a fit as it comes finds the best optimum, and with how many E-steps, in one checkout or in two.

    python benchmarks/best_optimum.py [OTHER_CHECKOUT] [--seeds 100] [--only iris wine]

Data are those of published maxima, and others that are known to have many. With another checkout (before a
change) both fit the same seed at the same time, each in a process of its own, so that what else the machine
does hits both alike; compiled kernels must have been built (``python setup.py build_ext --inplace``).

best
    Share of seeds whose log-likelihood is no more than 0.01 nats below the published maximum or, where none is
    known, the highest that any seed returned, in either checkout.
same
    Share of seeds that return the fit which is returned most often: log-likelihoods within 0.01 nats. Where
    fits are ranked by evidence, one of lower likelihood may be returned on purpose; this says how surely.
top
    Share of seeds whose evidence is within 0.01 nats of the highest, where a checkout records evidence.
E-steps
    Of all starts in sum, as `restarts_` records them: `n_iter` and the first one, since components were last
    placed anew.
all
    Every E-step that was begun, those on the way to a start and those of refused guesses included.

Tables are reStructuredText.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

SAME_NATS = 0.01
TABLES = Path(__file__).resolve().parents[1] / "tests" / "data"


def problems():
    """Name -> published maximum, or None, and a function of the seed that fits."""
    import numpy as np
    from sklearn.datasets import load_iris, load_wine

    from emlearn import HMMEM, EMImputer, GaussianMixtureEM, MixtureOfExperts, MixtureOfLinearRegressions
    from emlearn.datasets import (
        load_airquality,
        load_earthquakes,
        load_npreg,
        load_old_faithful,
        load_tone_perception,
    )

    def table(name, columns):
        return np.genfromtxt(TABLES / f"{name}.csv", delimiter=",", skip_header=1, usecols=columns, ndmin=2)

    iris, wine, faithful = load_iris().data, load_wine().data, load_old_faithful().data
    quakes, air, tones, npreg = (
        load_earthquakes().data,
        load_airquality().data,
        load_tone_perception(),
        load_npreg(),
    )
    diabetes = table("reaven_miller_diabetes", (1, 2, 3))
    speed = np.split(table("speed", (0,)), [168, 302])  # three sessions
    square = np.hstack([npreg.data, npreg.data**2])

    def mixture(X, K, shape="full"):
        return lambda seed: GaussianMixtureEM(K, covariance_type=shape, random_state=seed).fit(X)

    def chain(X, K, **settings):
        return lambda seed: HMMEM(K, random_state=seed, **settings).fit(X)

    def regressions(X, y, kind=MixtureOfLinearRegressions, **settings):
        return lambda seed: kind(random_state=seed, **settings).fit(X, y)

    counts = {"emission": "poisson"}
    return {
        "iris, full, K=3": (-180.18547713, mixture(iris, 3)),
        "iris, tied, K=3": (-256.35404313, mixture(iris, 3, "tied")),
        "iris, diag, K=3": (None, mixture(iris, 3, "diag")),  # published is a lower one
        "iris, spherical, K=3": (-384.31409506, mixture(iris, 3, "spherical")),
        "Old Faithful, full, K=2": (-1130.26396018, mixture(faithful, 2)),
        "Old Faithful, full, K=3": (None, mixture(faithful, 3)),
        "Old Faithful, tied, K=3": (-1126.31592782, mixture(faithful, 3, "tied")),
        "diabetes, full, K=3": (-2303.49184316, mixture(diabetes, 3)),
        "wine, full, K=3": (None, mixture(wine, 3)),
        "wine, diag, K=3": (None, mixture(wine, 3, "diag")),
        "wine, tied, K=3": (None, mixture(wine, 3, "tied")),
        "airquality, gaps, full, K=2": (None, mixture(air, 2)),
        "chain, earthquakes, K=2": (-341.87870101, chain(quakes, 2, **counts)),
        "chain, earthquakes, K=3": (-328.52748338, chain(quakes, 3, **counts)),
        "chain, earthquakes, K=4": (None, chain(quakes, 4, **counts)),  # published is a lower one
        "chain, earthquakes, stationary, K=3": (
            -329.460276,
            chain(quakes, 3, startprob="stationary", **counts),
        ),
        "chain, speed, K=2": (-84.34171428, chain(speed, 2)),
        "chain, speed, K=3": (-55.10972861, chain(speed, 3)),
        "chain, Old Faithful, K=2": (None, chain(faithful, 2)),
        "chain, Old Faithful, K=3": (None, chain(faithful, 3)),
        "chain, Old Faithful, gmm, K=2": (None, chain(faithful, 2, emission="gmm")),
        "regressions, tones, K=2": (141.198402, regressions(tones.data, tones.target)),
        "regressions, tones, K=3": (None, regressions(tones.data, tones.target, n_components=3)),
        "regressions, npreg, normal, K=2": (-642.532014, regressions(square, npreg.yn)),
        "regressions, npreg, Poisson, K=2": (-440.640294, regressions(npreg.data, npreg.yp, family="poisson")),
        "experts, tones, K=2": (142.848014, regressions(tones.data, tones.target, MixtureOfExperts)),
        "imputer, airquality, K=2": (
            None,
            lambda seed: EMImputer(n_components=2, random_state=seed).fit(air[:, :4]),
        ),
    }


# -- in the checkout's process ---------------------------------------------------------------------------


def count_expectations():
    """A list to which every E-step that begins adds an entry."""
    from emlearn.em import LatentModel

    begun, expectation = [], LatentModel.expectation

    def counting(model, params):
        begun.append(None)
        return expectation(model, params)

    LatentModel.expectation = counting
    return begun


def evidence_of(restarts):
    """Evidence of the start that won; None where none is recorded."""
    best = next((start for start in restarts.starts if start.status == "best"), None)
    evidence = getattr(best, "evidence", None)
    return None if evidence is None else float(evidence)


def serve():
    """Fit what standard input names, a line of JSON for each; the answers are lines of JSON too."""
    warnings.simplefilter("ignore")
    known, begun = problems(), count_expectations()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever prints must not come between
    known[next(iter(known))][1](0)  # pays for what is loaded at a first fit
    for line in sys.stdin:
        name, seed = json.loads(line)
        begun.clear()
        begin = time.perf_counter()
        fitted = known[name][1](seed)
        seconds = time.perf_counter() - begin
        steps = sum(start.n_iter + 1 for start in fitted.restarts_.starts)
        fit = {
            "value": float(fitted.log_likelihood_),
            "evidence": evidence_of(fitted.restarts_),
            "steps": steps,
            "all": len(begun),
            "seconds": seconds,
            "converged": bool(fitted.converged_),
        }
        print(json.dumps(fit), file=answers, flush=True)


class Checkout:
    """A process that fits with the package of a checkout, asked and answered line by line."""

    def __init__(self, place):
        place = Path(place).resolve()
        if not (place / "emlearn" / "__init__.py").exists():
            raise SystemExit(f"{place} is no checkout: it has no emlearn.")
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--serve"],
            cwd=place,
            env={**os.environ, **one_thread, "PYTHONPATH": str(place)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name, seed):
        self._process.stdin.write(json.dumps([name, seed]) + "\n")
        self._process.stdin.flush()

    def answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("A checkout's process has died; what it said stands above.")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


# -- figures ---------------------------------------------------------------------------------------------


def most_common(values):
    """The value that most others lie near, the highest of those that are as common."""
    return max(values, key=lambda value: (sum(abs(other - value) <= SAME_NATS for other in values), value))


def share(values, least):
    return sum(value >= least - SAME_NATS for value in values) / len(values)


class Figures:
    """What a checkout's fits of a problem come to."""

    def __init__(self, fits, best):
        values = [fit["value"] for fit in fits]
        evidence = [fit["evidence"] for fit in fits]
        self.common = most_common(values)
        self.highest = max(values)
        self.best = share(values, best)
        self.same = sum(abs(value - self.common) <= SAME_NATS for value in values) / len(values)
        self.top = None if None in evidence else share(evidence, max(evidence))
        self.median_steps = statistics.median(fit["steps"] for fit in fits)
        self.mean_steps = statistics.fmean(fit["steps"] for fit in fits)
        self.mean_all = statistics.fmean(fit["all"] for fit in fits)
        self.seconds = statistics.fmean(fit["seconds"] for fit in fits)
        self.unconverged = sum(not fit["converged"] for fit in fits)

    def row(self):
        return [
            f"{self.highest:.3f}", f"{self.common:.3f}", f"{self.best:.2f}", f"{self.same:.2f}",
            "–" if self.top is None else f"{self.top:.2f}", f"{self.median_steps:.0f}",
            f"{self.mean_steps:.0f}", f"{self.mean_all:.0f}", f"{self.seconds:.3f}", str(self.unconverged),
        ]  # fmt: skip


COLUMNS = [
    "highest, nats", "most often, nats", "best", "same", "top", "E-steps, median", "mean", "all, mean", "s",
    "not converged",
]  # fmt: skip


def measure(name, published, checkouts, seeds):
    """Figures of each checkout."""
    fits = [[] for _ in checkouts]
    for seed in seeds:
        for checkout in checkouts:
            checkout.ask(name, seed)
        for checkout, own in zip(checkouts, fits, strict=True):
            own.append(checkout.answer())
    best = max(fit["value"] for own in fits for fit in own) if published is None else published
    return [Figures(own, best) for own in fits]


def compare(every):
    """New beside old, in sum."""
    from gaussian_mixture import geometric_mean, rst_table, verdict

    def ratio(figure):
        return geometric_mean([getattr(new, figure) / getattr(old, figure) for old, new in every.values()])

    rows = [
        [f"{what}, new / old, geometric mean", f"{ratio(figure):.3f}", bar, met]
        for what, figure, bar, met in (
            ("E-steps, mean", "mean_steps", "at most 1", verdict(ratio("mean_steps") <= 1)),
            ("E-steps, median", "median_steps", "–", "–"),
            ("E-steps, all", "mean_all", "at most 1", verdict(ratio("mean_all") <= 1)),
            ("seconds", "seconds", "–", "–"),
        )
    ]
    for what in ("best", "same"):
        old, new = (statistics.fmean(getattr(pair[i], what) for pair in every.values()) for i in (0, 1))
        rows.append([f"{what}, mean", f"{old:.3f} -> {new:.3f}", "not lower", verdict(new >= old)])
        lower = [name for name, pair in every.items() if getattr(pair[1], what) < getattr(pair[0], what)]
        rows.append([f"{what}, problems where it is lower", str(len(lower)), "–", "; ".join(lower) or "–"])
    print(f"\n{rst_table(['what', 'reached', 'target', 'verdict'], rows)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", nargs="?", help="another checkout, from before a change")
    parser.add_argument("--seeds", type=int, default=100, help="number of seeds; default 100")
    parser.add_argument("--first", type=int, default=0, help="the first of them; default 0")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="problems with one of these in their names")
    args = parser.parse_args()
    from gaussian_mixture import progress, rst_table

    here = Path(__file__).resolve().parents[1]
    chosen = {
        name: published
        for name, (published, _) in problems().items()
        if not args.only or any(word in name for word in args.only)
    }
    if not chosen:
        parser.error("no problem's name has any of these words")
    names = ["old", "new"] if args.other else [""]
    checkouts = [Checkout(place) for place in ([args.other, here] if args.other else [here])]
    rows, every = [], {}
    for name, published in chosen.items():
        begin = time.perf_counter()
        every[name] = measure(name, published, checkouts, range(args.first, args.first + args.seeds))
        for which, figures in zip(names, every[name], strict=True):
            rows.append([name, *([which] if which else []), *figures.row()])
        if args.other:
            old, new = every[name]
            rows[-2].append("")
            rows[-1].append(f"{new.mean_steps / old.mean_steps:.2f}")
        progress(f"{name}: {time.perf_counter() - begin:.0f} s")
    for checkout in checkouts:
        checkout.close()
    columns = [
        "problem",
        *(["checkout"] if args.other else []),
        *COLUMNS,
        *(["new / old"] if args.other else []),
    ]
    print(f"{args.seeds} seeds, from {args.first}:\n\n{rst_table(columns, rows)}")
    if args.other:
        compare(every)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main()
