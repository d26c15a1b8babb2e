"""Latent classes: LatentClassEM beside StepMix, in one process, by turns.

    python benchmarks/latent_classes.py              # the table
    python benchmarks/latent_classes.py --rows 1000 --starts 20

fit
    LatentClassEM as it comes, against StepMix with as many random starts as it takes for 95 % of its fits to
    reach the same likelihood: told by the share p of single starts that do, log 0.05 / log(1 - p).
lucky
    The same against a single one of them, as if it were known beforehand which.
restart
    Either by the number of its starts.

Ten binary items of three classes; seconds of one thread, the median of five fits and of all single starts.
"""

import argparse
import math
import time
import warnings

import numpy as np
from stepmix import StepMix
from threadpoolctl import threadpool_limits

from emlearn import LatentClassEM

LEAST_FIT, LEAST_RESTART = 10.0, 3.0  # ratios to reach
NEAR = 0.1  # nats within which likelihoods are the same


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


def peer(X, seed):
    """Seconds and total log-likelihood of one start of StepMix."""

    def fit():
        return StepMix(
            3, measurement="binary", n_init=1, abs_tol=1e-8, random_state=seed, progress_bar=0, verbose=0
        ).fit(X)

    seconds, model = timed(fit, 1)
    return seconds, model.score(X) * len(X)


def n_needed(share):
    """Starts after which 95 % of fits have one of those of which there is this share."""
    if share in (0.0, 1.0):
        return math.inf if share == 0.0 else 1
    return math.ceil(math.log(0.05) / math.log(1.0 - share))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--starts", type=int, nargs="+", default=[20, 5], help="of StepMix, for each of these")
    args = parser.parse_args()
    print("   rows  of             starts  seconds   log-lik.  reached       fit     lucky   restart")
    for n, n_starts in zip(args.rows, args.starts, strict=True):
        X = data(n)
        own = [timed(lambda s=s, X=X: LatentClassEM(3, random_state=s).fit(X), 1) for s in range(5)]
        one = [peer(X, seed) for seed in range(n_starts)]
        best = max(model.log_likelihood_ for _, model in own)
        reached = np.mean([height > best - NEAR for _, height in one])
        seconds, theirs = (float(np.median([first for first, _ in found])) for found in (own, one))
        own_starts = float(np.median([len(model.restarts_.starts) for _, model in own]))
        also = np.mean([model.log_likelihood_ > best - NEAR for _, model in own])
        needed = n_needed(reached)
        ratios = needed * theirs / seconds, theirs / seconds, theirs / (seconds / own_starts)
        shown = "".join(f"{ratio:9.1f}x" for ratio in ratios)
        print(f"{n:7d}  LatentClassEM  {own_starts:6.0f}  {seconds:7.3f}  {best:9.2f}  {also:7.0%} {shown}")
        print(f"{n:7d}  StepMix        {1:6d}  {theirs:7.3f}  {max(h for _, h in one):9.2f}  {reached:7.0%}")
        print(f"         StepMix needs {needed} starts; ", end="")
        for what, ratio, least in (("a fit", ratios[0], LEAST_FIT), ("a restart", ratios[2], LEAST_RESTART)):
            print(f"{least:g} {what}: {'reached' if ratio >= least else 'MISSED'} ", end="")
        print()


if __name__ == "__main__":
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        main()
