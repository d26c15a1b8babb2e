"""Latent classes: LatentClassEM beside StepMix, in one process, by turns.

    python benchmarks/latent_classes.py              # the table
    python benchmarks/latent_classes.py --rows 1000

fit
    LatentClassEM as it comes, against StepMix with as many random starts as reach the same likelihood, of
    1, 2, 4, ... at most 16.
restart
    Either by the number of its starts.

Ten binary items of three classes; seconds of one thread, the least of the repeats.
"""

import argparse
import time
import warnings

import numpy as np
from stepmix import StepMix
from threadpoolctl import threadpool_limits

from emlearn import LatentClassEM

LEAST_FIT, LEAST_RESTART = 10.0, 3.0  # ratios to reach
NEAR = 0.01  # nats within which likelihoods are the same


def data(n, seed=0):
    """Answers (n, 10) of three classes."""
    rng = np.random.RandomState(seed)
    probabilities = rng.uniform(0.1, 0.9, size=(3, 10))
    return (rng.uniform(size=(n, 10)) < probabilities[rng.randint(3, size=n)]).astype(float)


def timed(fit, repeats):
    """Least seconds, and what came of it."""
    best = np.inf
    for _ in range(repeats):
        begun = time.perf_counter()
        model = fit()
        best = min(best, time.perf_counter() - begun)
    return best, model


def peer(X, n_init, repeats):
    """Seconds and total log-likelihood of StepMix."""

    def fit():
        return StepMix(
            3, measurement="binary", n_init=n_init, abs_tol=1e-8, random_state=0, progress_bar=0, verbose=0
        ).fit(X)

    seconds, model = timed(fit, repeats)
    return seconds, model.score(X) * len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    for n in args.rows:
        X = data(n)
        own, model = timed(lambda X=X: LatentClassEM(3, random_state=0).fit(X), max(args.repeats, 3))
        n_starts, n_init = len(model.restarts_.starts), 1
        while True:
            seconds, reached = peer(X, n_init, args.repeats)
            if reached > model.log_likelihood_ - NEAR or n_init >= 16:
                break
            n_init *= 2
        fit, restart = seconds / own, (seconds / n_init) / (own / n_starts)
        print(
            f"{n:7d} rows: LatentClassEM {own:.3f} s, {n_starts} starts, {model.log_likelihood_:.3f}; StepMix "
            f"{seconds:.3f} s, {n_init} starts, {reached:.3f}; a fit {fit:.1f} times ({LEAST_FIT:g} wanted), a "
            f"restart {restart:.1f} times ({LEAST_RESTART:g} wanted)"
        )


if __name__ == "__main__":
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        main()
