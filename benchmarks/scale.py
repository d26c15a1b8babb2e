"""Data that arrive in pieces, lie in files, or on many machines.

    python benchmarks/scale.py stream              # one part
    python benchmarks/scale.py stream --quick      # on small sizes, to try the script

Parts:

stream
    `partial_fit` of a Gaussian mixture: how many nats a row it ends short of the maximum of all rows after one
    pass of 200,000 x 6, K = 4, with a race on the first rows; in batches of 100, 500 and 2000.

Tables are reStructuredText. Run on an idle machine.
"""

import argparse
import time

import numpy as np
from gaussian_mixture import Mixture, progress, rst_table, title, verdict, without_convergence_warnings

from emlearn import GaussianMixtureEM
from emlearn.em import Batches, fit_em

# -- stream ----------------------------------------------------------------------------------------------

STREAM_TARGET = 5e-4  # nats a row
STREAM_BATCHES = (100, 500, 2000)
D, K = 6, 4


def separated(seed):
    """Components that hardly overlap."""
    mixture = Mixture.random(D, K, seed)
    return mixture._replace(means=3.0 * mixture.means)


CASES = {"overlapping": lambda seed: Mixture.random(D, K, seed), "separated": separated}


def run_stream(args):
    title("Stream")
    n, seeds = (20_000, 1) if args.quick else (200_000, args.seeds)
    # A race on fewer rows, as partial_fit does by itself, and one on the first batch of 5000.
    rows = []
    for case, make in CASES.items():
        for first in (0, 5000):
            gaps = {size: [] for size in STREAM_BATCHES}
            seconds = {size: [] for size in STREAM_BATCHES}
            alone = []
            for seed in range(args.seed, args.seed + seeds):
                progress(f"stream: {case}, first {first or 'as they come'}, seed {seed}")
                X = make(seed).rows(n, np.random.default_rng(seed))
                best = raced = None
                for size in STREAM_BATCHES:
                    mixture = GaussianMixtureEM(K, random_state=0)
                    begin = time.perf_counter()
                    with without_convergence_warnings():
                        if first:
                            mixture.partial_fit(X[:first])
                            raced = mixture.score(X) if raced is None else raced
                        for start in range(first, n, size):
                            mixture.partial_fit(X[start : start + size])
                    seconds[size].append(time.perf_counter() - begin)
                    if best is None:  # of the maximum that the stream is at
                        data = Batches(X, units=mixture._units, n_threads=2)
                        fit = fit_em(mixture._model, mixture._params, data, tol=1e-2)
                        best = fit.log_likelihood / n - np.log(mixture._units.scale).sum()
                    gaps[size].append(best - mixture.score(X))
                    progress(f"    batches of {size}: {gaps[size][-1]:.1e} short, {seconds[size][-1]:.1f} s")
                alone += [] if raced is None else [best - raced]
            largest = max(max(values) for values in gaps.values())
            rows.append(
                [
                    case,
                    str(first or "as they come"),
                    f"{np.mean(alone):.1e}" if alone else "",
                    *(f"{np.mean(gaps[size]):.1e}" for size in STREAM_BATCHES),
                    f"{largest:.1e}",
                    f"below {STREAM_TARGET:g}",
                    verdict(largest < STREAM_TARGET),
                    " / ".join(f"{1e6 * np.mean(seconds[size]) / n:.1f}" for size in STREAM_BATCHES),
                ]
            )
    n_parameters = K - 1 + K * D + K * D * (D + 1) // 2
    print(
        f"Nats a row short of the maximum of all {n} rows after one pass, mean over {seeds} seed(s). The best\n"
        f"estimate from other rows, as many, would be {n_parameters / (2 * n):.1e} short.\n"
    )
    columns = [
        "components", "first batch", "race alone", *(f"batches of {size}" for size in STREAM_BATCHES),
        "largest", "target", "verdict", "us a row",
    ]  # fmt: skip
    print(rst_table(columns, rows), flush=True)


# -- command line ----------------------------------------------------------------------------------------

PARTS = {"stream": run_stream}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, run in PARTS.items():
        part = parts.add_parser(name)
        part.set_defaults(run=run)
        part.add_argument("--quick", action="store_true", help="small sizes: to try the script")
        part.add_argument("--seed", type=int, default=0, help="the first, of data; default 0")
        part.add_argument("--seeds", type=int, default=2, help="how many; default 2")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
