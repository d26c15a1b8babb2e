"""Variational hidden Markov models: emlearn beside hmmlearn, in one process, by turns, on one core.

    python benchmarks/variational_hmm.py                       # everything; some minutes
    python benchmarks/variational_hmm.py iteration --quick     # one part, on small sizes

Parts:

iteration
    Time of one iteration of variational Bayes: same data, same priors, same start, same number of iterations,
    same bound and posterior.
states
    How many states are found in data that were drawn from some, and the time of the fit: hmmlearn as it comes,
    and with as many starts as emlearn raced.

Needs hmmlearn. Tables are reStructuredText. Every ratio is hmmlearn's time over emlearn's. Run on an idle
machine.
"""

import argparse
import logging
import os
import platform
from typing import NamedTuple

import hmmlearn
import numpy as np
from gaussian_mixture import (
    geometric_mean,
    progress,
    rst_table,
    timed,
    title,
    verdict,
    without_convergence_warnings,
)
from hmm import Size
from hmmlearn.vhmm import VariationalGaussianHMM
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import HMMEM
from emlearn.em import Affine, Batches, LatentModel, em_iterates, one_blas_thread
from emlearn.families import COVARIANCE_SHAPES, Gaussian, MissingRows, NormalWishart, VariationalGaussian
from emlearn.latent import DirichletChain, markov_chain

TARGET = 10.0
SAME_BOUND = 1e-9  # relative
SAME_POSTERIOR = 1e-7  # relative to the largest
GRID = [
    *(Size(50, 100, d, K) for d in (1, 4) for K in (2, 4, 8, 16)),
    *(Size(1_000, 20, d, 8) for d in (1, 4)),
    *(Size(1, 20_000, d, 4) for d in (1, 10)),
]
QUICK_GRID = [Size(50, 100, 1, 4), Size(10, 50, 4, 8), Size(1, 2_000, 2, 4)]


# -- time of an iteration --------------------------------------------------------------------------------


class Rivals:
    """Variational Bayes by both libraries from one posterior, for a given number of iterations."""

    def __init__(self, size, seed):
        self._size, rng = size, np.random.default_rng(seed)
        truth = size.chain()
        self._X = truth.rows(size.n_sequences, size.T, rng)
        K, d = size.K, size.d
        # As HMMEM.fit does it: standardised features, batches that fit the cache.
        structure = COVARIANCE_SHAPES["full"]
        self._units = Affine(self._X.mean(axis=0), structure.units(self._X.var(axis=0)))
        self._prior = NormalWishart(np.zeros((1, d)), np.ones(1), np.array([float(d)]), np.eye(d)[None])
        self._family = VariationalGaussian(Gaussian(structure), self._prior)
        chain = DirichletChain(start_concentration=1 / K, concentration=1 / K)
        self._model = LatentModel(chain, MissingRows(self._family))
        (whole,) = Batches(self._X, lengths=size.lengths, units=self._units, rows=len(self._X))
        means = (truth.means - self._units.shift) / self._units.scale
        distances = ((whole.x[None] - means[:, :, None]) ** 2).sum(axis=1)
        near = distances.argmin(axis=0) == np.arange(K)[:, None]
        self._start = self._model.start(whole, 0.9 * near + 0.1 / K)

    def hmmlearn(self, implementation, n_iter):
        """The model that hmmlearn has after so many E-steps, each with an M-step."""
        K, raw = self._size.K, self._family.in_units
        chain, own = self._start.latent, raw(self._start.family, self._units)
        prior = raw(self._family.unseen(K), self._units)
        model = VariationalGaussianHMM(
            K, covariance_type="full", implementation=implementation, n_iter=n_iter, tol=-np.inf
        )
        model._init = lambda X, lengths: None  # would cluster the rows ten times
        model.n_features = self._size.d
        given = {
            "startprob": (np.full(K, 1 / K), chain.start),
            "transmat": (np.full((K, K), 1 / K), chain.transition),
            "means": (prior.means, own.means),
            "beta": (prior.precision, own.precision),
            "dof": (prior.dof, own.dof),
            "scale": (prior.scatter, own.scatter),
        }
        for name, (before, after) in given.items():
            setattr(model, f"{name}_prior_", before.copy())
            setattr(model, f"{name}_posterior_", after.copy())
        return model.fit(self._X, self._size.lengths)

    def emlearn(self, n_iter):
        """The last iterate of emlearn after so many E-steps, each with an M-step."""
        floats_per_row = 5 * self._size.K + self._size.d * (self._size.d + 3) // 2
        data = Batches(self._X, lengths=self._size.lengths, units=self._units, floats_per_row=floats_per_row)
        iterates = em_iterates(
            self._model, self._start, data, tol=1e-300, max_iter=n_iter - 1, acceleration="none"
        )
        with one_blas_thread():
            for done, iterate in enumerate(iterates, start=1):  # noqa: B007
                pass
        if done != n_iter:
            raise RuntimeError(f"emlearn stopped after {done} of {n_iter} E-steps.")
        return iterate

    def differences(self, implementation, n_iter):
        """Relative differences of bounds and of posteriors."""
        theirs = self.hmmlearn(implementation, n_iter)
        # Their densities lack the constant of a normal one.
        volume = len(self._X) * np.log(self._units.scale).sum() + 0.5 * self._X.size * np.log(2 * np.pi)
        reported = theirs.monitor_.history[-1] - 0.5 * self._X.size * np.log(2 * np.pi)
        ours = self.emlearn(n_iter).objective - len(self._X) * np.log(self._units.scale).sum()
        chain, own = self.emlearn(n_iter + 1).params  # after as many M-steps as theirs
        own = self._family.in_units(own, self._units)
        pairs = [
            (chain.start, theirs.startprob_posterior_),
            (chain.transition, theirs.transmat_posterior_),
            (own.means, theirs.means_posterior_),
            (own.precision, theirs.beta_posterior_),
            (own.dof, theirs.dof_posterior_),
            (own.scatter, theirs.scale_posterior_),
        ]
        posterior = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
        return abs(ours - reported) / max(abs(ours), abs(volume)), posterior


class Cell(NamedTuple):
    """Times of an iteration, in seconds, and differences."""

    size: Size
    n_iter: int
    times: dict  # rival -> seconds
    bound: float
    posterior: float

    def ratio(self, implementation):
        return self.times[implementation] / self.times["emlearn"]

    def row(self):
        notes = [] if min(self.ratio("scaling"), self.ratio("log")) >= TARGET else ["below target"]
        notes += [] if self.bound <= SAME_BOUND else ["NOT THE SAME BOUND"]
        notes += [] if self.posterior <= SAME_POSTERIOR else ["NOT THE SAME POSTERIOR"]
        return [
            *self.size.words(), str(self.n_iter),
            *(f"{1e3 * self.times[name]:.3f}" for name in ("scaling", "log", "emlearn")),
            *(f"{self.ratio(name):.1f}" for name in ("scaling", "log")), f"{TARGET:g}",
            f"{self.bound:.0e}", f"{self.posterior:.0e}", ", ".join(notes) or "met",
        ]  # fmt: skip


COLUMNS = [
    "sequences", "d", "K", "iterations", "scaling, ms", "log, ms", "emlearn, ms", "ratio to scaling",
    "ratio to log", "target", "bound, relative difference", "posterior, relative difference", "note",
]  # fmt: skip


def time_cell(size, repeats, seed):
    rivals, n_iter = Rivals(size, seed), 20 if size.T <= 1_000 and size.n_sequences <= 100 else 5
    calls = {
        "scaling": lambda: rivals.hmmlearn("scaling", n_iter),
        "emlearn": lambda: rivals.emlearn(n_iter),
        "log": lambda: rivals.hmmlearn("log", n_iter),
    }
    rivals.emlearn(2)
    best = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, fit in calls.items():
            best[name] = min(best[name], timed(fit)[0] / n_iter)
    differences = [rivals.differences(name, n_iter) for name in ("scaling", "log")]
    return Cell(size, n_iter, best, *np.max(differences, axis=0))


def run_iteration(args):
    title("Time of one iteration of variational Bayes")
    cells = []
    for size in QUICK_GRID if args.quick else GRID:
        progress(f"iteration: {' '.join(size.words())}")
        cells.append(time_cell(size, args.repeats or (2 if args.quick else 5), args.seed))
    print(
        "Full covariances, one core each. Time of a whole call, with all set-up but hmmlearn's k-means, by the "
        "number of\niterations:\n"
    )
    print(rst_table(COLUMNS, [cell.row() for cell in cells]))
    rows = []
    for name in ("scaling", "log"):
        ratios = [cell.ratio(name) for cell in cells]
        rows.append([
            name, f"{geometric_mean(ratios):.1f}", f"{min(ratios):.1f}", f"{TARGET:g}",
            verdict(min(ratios) >= TARGET),
        ])  # fmt: skip
    print("\nSummary:\n")
    columns = ["implementation", "geometric mean", "lowest ratio", "target", "verdict"]
    print(rst_table(columns, rows), flush=True)
    for cell in cells:
        if not (cell.bound <= SAME_BOUND and cell.posterior <= SAME_POSTERIOR):
            raise AssertionError(f"Not the same fit: {cell.size}, {cell.bound}, {cell.posterior}.")


# -- how many states -------------------------------------------------------------------------------------

ALLOWED = 8  # states that may be


def used_states(counts, prior):
    """How many states have more than half a transition into them, of a posterior's counts (K, K)."""
    return int(np.sum(counts.sum(axis=0) - prior * len(counts) > 0.5))


class States(NamedTuple):
    """What a fit found."""

    n_used: float
    bound: float
    seconds: float


def found_by_emlearn(X, lengths, prior, seed):
    """The fit of a race, and of how many starts."""
    model = HMMEM(ALLOWED, inference="variational", emission_prior=prior, random_state=seed)
    seconds, fit = timed(lambda: model.fit(X, lengths=lengths))
    return States(fit.n_effective_components_, fit.lower_bound_, seconds), len(fit.restarts_.starts)


def found_by_hmmlearn(X, lengths, prior, seeds):
    """The best of one fit for each seed."""

    def fit(seed):
        model = VariationalGaussianHMM(
            ALLOWED,
            covariance_type="full",
            n_iter=1000,
            random_state=seed,
            scale_prior=np.array(ALLOWED * [prior["scale"]]),
        ).fit(X, lengths)
        # Their densities lack the constant of a normal one.
        bound = model.monitor_.history[-1] - 0.5 * X.size * np.log(2 * np.pi)
        return used_states(model.transmat_posterior_, 1 / ALLOWED), bound

    seconds, fits = timed(lambda: [fit(seed) for seed in seeds])
    return States(*max(fits, key=lambda found: found[1]), seconds)


def run_states(args):
    title("How many states")
    print(
        f"Five sequences of 100 steps in K states, of {ALLOWED} that are allowed, same priors. Median over "
        "seeds of the\nstates that hold more than half a step, of what the bound lacks to the best, and of "
        "the time:\n"
    )
    rows, n_seeds = [], args.repeats or (2 if args.quick else 5)
    for K, d in [(2, 2), (3, 2), (4, 4)][: 1 if args.quick else 3]:
        progress(f"states: {K}")
        size, found = Size(5, 100, d, K), {}
        for seed in range(n_seeds):
            X, lengths = size.chain().rows(5, 100, np.random.default_rng(seed)), size.lengths
            prior = {"beta": 1.0, "dof": float(d), "scale": np.cov(X.T)}
            ours, n_starts = found_by_emlearn(X, lengths, prior, seed)
            results = {
                "emlearn": ours,
                "hmmlearn": found_by_hmmlearn(X, lengths, prior, [seed]),
                "hmmlearn, as many starts": found_by_hmmlearn(X, lengths, prior, range(n_starts)),
            }
            best = max(result.bound for result in results.values())
            for name, result in results.items():
                found.setdefault(name, []).append(result._replace(bound=best - result.bound))
        for name, values in found.items():
            n_used, lacks, seconds = np.median(values, axis=0)
            rows.append([str(K), str(d), name, f"{n_used:g}", f"{lacks:.2f}", f"{seconds:.2f}"])
    print(rst_table(["K", "d", "fit", "states", "bound lacks, nats", "seconds"], rows), flush=True)


# -- command line ----------------------------------------------------------------------------------------

PARTS = {"iteration": run_iteration, "states": run_states}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: to try the script")
    parser.add_argument("--repeats", type=int, help="repeats (iteration) or seeds (states)")
    parser.add_argument("--seed", type=int, default=0, help="of the data; default 0")
    args = parser.parse_args()
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    print(
        f"emlearn {emlearn.__version__} ({markov_chain.kernel.NAME} kernel), hmmlearn {hmmlearn.__version__}, "
        f"NumPy {np.__version__},\nPython {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} core(s)",
        flush=True,
    )
    with threadpool_limits(1), without_convergence_warnings():
        for part in args.parts or PARTS:
            PARTS[part](args)


if __name__ == "__main__":
    main()
