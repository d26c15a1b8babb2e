"""Whether annealing finds what restarts miss: one start and a race, as they come and annealed.

    python benchmarks/annealing.py [--seeds 20] [--only grid "10 planes"]

best
    Share of seeds whose log-likelihood is no more than 0.01 nats below the highest that any fit of the data
    returned, in any column.
short
    Mean of what is lacking to it, in nats.
E-steps
    Of all starts on the whole data, those at other temperatures and on the way to a start included, per fit.
seconds
    Median time of a fit.

Fits of one start begin at random rows (mixtures), or as the first of the portfolio does. All are ranked by
likelihood, so that only the search is compared. Tables are reStructuredText.
"""

import argparse
import statistics
import time
import warnings

import numpy as np

from emlearn import HMMEM, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn.em import LatentModel

SAME_NATS = 0.01
SLOW = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SLOW_CHAIN = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def grid(rng, side, apart, n):
    """Rows about the points of a grid, with unit variance."""
    centres = apart * np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    return centres[rng.integers(side**2, size=n)] + rng.normal(size=(n, 2))


def uneven(rng, n):
    """Clusters of very different sizes and widths, in five dimensions."""
    shares = np.array([0.45, 0.25, 0.12, 0.08, 0.06, 0.04])
    labels = rng.choice(6, size=n, p=shares)
    centres, widths = 3.5 * rng.normal(size=(6, 5)), np.array([3.0, 1.5, 1.0, 1.0, 0.7, 0.5])
    return centres[labels] + widths[labels, None] * rng.normal(size=(n, 5))


def path(rng, n, K, stay):
    states = [0]
    for _ in range(n - 1):
        states.append(states[-1] if rng.uniform() < stay else rng.integers(K))
    return np.array(states)


def chain(rng, n, K, stay, apart):
    """A sequence of K states in two dimensions."""
    centres = apart * rng.normal(size=(K, 2))
    return centres[path(rng, n, K, stay)] + rng.normal(size=(n, 2))


def lines(rng, n, K, d, noise):
    """Responses of K regressions on d features."""
    X, coef = rng.normal(size=(n, d)), 2 * rng.normal(size=(K, d))
    return X, (X * coef[rng.integers(K, size=n)]).sum(axis=1) + noise * rng.normal(size=n)


def problems():
    """Name -> what it is, estimator and data."""
    rng = np.random.default_rng(0)
    same = {"ranking": "likelihood"}
    yield (
        "grid",
        "9 clusters on a grid, 4 sd apart, spherical",
        GaussianMixtureEM(9, covariance_type="tied_spherical", **same),
        (grid(rng, 3, 4, 450),),
    )
    yield (
        "large grid",
        "16 clusters on a grid, 3.5 sd apart, spherical",
        GaussianMixtureEM(16, covariance_type="tied_spherical", **same),
        (grid(rng, 4, 3.5, 800),),
    )
    yield "uneven", "6 clusters of 4 to 45 %, full", GaussianMixtureEM(6, **same), (uneven(rng, 800),)
    yield (
        "chain",
        "8 states in two dimensions, tied",
        HMMEM(8, covariance_type="tied", **same),
        (chain(rng, 800, 8, 0.8, 2.0),),
    )
    yield (
        "counts",
        "5 states of Poisson counts",
        HMMEM(5, emission="poisson", **same),
        (rng.poisson(np.array([1, 4, 9, 16, 25])[path(rng, 500, 5, 0.85)])[:, None],),
    )
    yield (
        "lines",
        "5 regressions on 2 features",
        MixtureOfLinearRegressions(5, shared_variance=True, **same),
        lines(rng, 400, 5, 2, 0.3),
    )
    yield (
        "planes",
        "6 regressions on 5 features",
        MixtureOfLinearRegressions(6, shared_variance=True, **same),
        lines(rng, 800, 6, 5, 0.5),
    )
    for K, d, n, noise in ((10, 4, 900, 0.4), (8, 8, 700, 1.0)):
        yield (
            f"{K} planes",
            f"{K} regressions on {d} features, {n} rows",
            MixtureOfLinearRegressions(K, shared_variance=True, **same),
            lines(np.random.default_rng(1), n, K, d, noise),
        )


def ways(estimator):
    """Name -> parameters."""
    slow = SLOW_CHAIN if isinstance(estimator, HMMEM) else SLOW
    one = {"n_init": 1}
    if isinstance(estimator, GaussianMixtureEM):
        one["init_params"] = "random_from_data"
    return {
        "one start": one,
        "one, annealed": one | {"annealing": True},
        "one, slowly": one | {"annealing": slow},
        "race": {},
        "race, annealed": {"annealing": True},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    n_steps = 0
    plain = LatentModel.expectation

    def counted(model, params):
        nonlocal n_steps
        n_steps += 1
        return plain(model, params)

    LatentModel.expectation = counted
    for name, what, estimator, data in problems():
        if args.only and name not in args.only:
            continue
        seen = {}
        for way, params in ways(estimator).items():
            rows = seen[way] = []
            for seed in range(args.seeds):
                n_steps, began = 0, time.perf_counter()
                estimator.set_params(n_init=40, annealing=False)
                if isinstance(estimator, GaussianMixtureEM):
                    estimator.set_params(init_params="auto")
                estimator.set_params(random_state=seed, **params).fit(*data)
                rows.append((estimator.log_likelihood_, n_steps, time.perf_counter() - began))
        best = max(row[0] for rows in seen.values() for row in rows)
        print(f"\n{name}: {what}; highest log-likelihood {best:.2f}, {args.seeds} seeds\n")
        line = "  ".join(["=" * 16, *["=" * 8] * 4])
        print(line)
        print(f"{'':16}  {'best':>8}  {'short':>8}  {'E-steps':>8}  {'seconds':>8}\n{line}")
        for way, rows in seen.items():
            found = sum(best - row[0] < SAME_NATS for row in rows) / len(rows)
            short = statistics.mean(best - row[0] for row in rows)
            steps = statistics.mean(row[1] for row in rows)
            seconds = statistics.median(row[2] for row in rows)
            print(f"{way:16}  {found:8.0%}  {short:8.2f}  {steps:8.0f}  {seconds:8.3f}")
        print(line, flush=True)


if __name__ == "__main__":
    main()
