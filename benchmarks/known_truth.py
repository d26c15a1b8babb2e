"""How often defaults are right: clusters, hidden states and regressions whose labels are known.

    python benchmarks/known_truth.py                                    # 200 draws of each; takes a while
    python benchmarks/known_truth.py --part mixtures --first 1000 --number 60 --jobs 2

Data are drawn at random, from well apart to overlapping. Figures are adjusted Rand indices between the labels
of the draw and those of a fit, beside other fits of the same data, and beside the fit that starts from the true
labels: what maximum likelihood can know.

Parts:

mixtures
    Gaussian mixtures of 2 to 5 components in 1 to 8 features: `GaussianMixtureEM`, scikit-learn's
    `GaussianMixture`.
chains
    Hidden Markov models of 2 to 4 states that last or do not: `HMMEM` and, where it is installed, hmmlearn.
regressions
    Mixtures of 2 or 3 linear regressions on 1 to 3 features: `MixtureOfLinearRegressions`.

Tables are reStructuredText.
"""

import argparse
import logging
import os
import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import sklearn
from gaussian_mixture import progress, rst_table, title, verdict, without_convergence_warnings
from joblib import Parallel, delayed
from regression import Lines
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import HMMEM, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn.em import Batch, LatentModel, fit_em
from emlearn.families import RESPONSES, Regression
from emlearn.latent import MixtureWeights

try:
    from hmmlearn.hmm import GaussianHMM
except ImportError:
    GaussianHMM = None

MUCH = 0.05  # a difference of two ARI that counts
SHORT_OF_TRUTH = 0.012  # that the mean ARI may be below that of fits from the true labels
SAME_NATS = 0.05
N_OTHER_STARTS = 10  # that other libraries get

# -- draws -----------------------------------------------------------------------------------------------


class Draw(NamedTuple):
    """Data, the labels behind them, and how many there are."""

    X: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,)
    K: int
    y: np.ndarray | None = None  # (n,) responses

    def words(self):
        return f"n={len(self.X)}, d={self.X.shape[1]}, K={self.K}"


def log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def blobs(rng, labels, K, d, spread):
    """Gaussian rows (n, d) about K centres that lie ``spread`` apart in each feature, round or stretched."""
    centres = spread * rng.normal(size=(K, d))
    stretch = rng.choice([0.0, 0.5, 1.0], size=K)
    inner = rng.choice([0.3, 1.0], size=K)
    X = np.sqrt(inner)[labels, None] * rng.normal(size=(len(labels), d))
    for k in range(K):
        here = labels == k
        root = stretch[k] * rng.normal(size=(d, d)) / np.sqrt(d)
        X[here] += centres[k] + rng.normal(size=(here.sum(), d)) @ root.T
    return X


def enough_of_each(draw_labels, K, least):
    """Labels of which each occurs often enough for a component to be told from them."""
    while True:
        labels = draw_labels()
        if np.bincount(labels, minlength=K).min() >= least:
            return labels


def draw_mixture(seed):
    rng = np.random.default_rng([1, seed])
    K, d = int(rng.integers(2, 6)), int(rng.integers(1, 9))
    n = max(round(log_uniform(rng, 60, 1200)), 6 * K * d + 40)
    labels = enough_of_each(lambda: rng.choice(K, size=n, p=rng.dirichlet(np.full(K, 4.0))), K, d + 2)
    return Draw(blobs(rng, labels, K, d, log_uniform(rng, 1.2, 3.6)), labels, K)


def draw_chain(seed):
    rng = np.random.default_rng([2, seed])
    K, d, T = int(rng.integers(2, 5)), int(rng.integers(1, 4)), round(log_uniform(rng, 200, 2000))

    def draw_states():
        stay = rng.uniform(0.85, 0.98, size=K) if rng.uniform() < 0.6 else rng.uniform(0.1, 0.7, size=K)
        leave = rng.dirichlet(np.ones(K), size=K) * (1 - np.eye(K))
        transition = np.diag(stay) + (1 - stay)[:, None] * leave / leave.sum(axis=1, keepdims=True)
        states = np.empty(T, dtype=np.intp)
        states[0] = rng.integers(K)
        bounds = transition.cumsum(axis=1)[:, :-1]
        for t, level in enumerate(rng.uniform(size=T - 1), start=1):
            states[t] = (bounds[states[t - 1]] <= level).sum()
        return states

    states = enough_of_each(draw_states, K, 2 * (d + 2))
    return Draw(blobs(rng, states, K, d, log_uniform(rng, 0.9, 3.0)), states, K)


def draw_regressions(seed):
    rng = np.random.default_rng([3, seed])
    K, d, n = int(rng.integers(2, 4)), int(rng.integers(1, 4)), round(log_uniform(rng, 80, 1200))
    apart = log_uniform(rng, 1.5, 10.0)
    coef = rng.normal(size=(K, 1 + d)) * apart / np.sqrt(2 * (1 + d))
    sigma = np.ones(K) if rng.uniform() < 0.5 else np.exp(rng.uniform(np.log(0.15), 0.0, size=K))
    while True:
        X, y, labels = Lines(rng.dirichlet(np.full(K, 5.0)), coef, sigma).rows(n, rng)
        if np.bincount(labels, minlength=K).min() >= 2 * (d + 2):
            return Draw(X, labels, K, y)


# -- fits ------------------------------------------------------------------------------------------------
# Of each draw: ARI by fit and by decoding; log-likelihoods of the default and of the fit from the truth.

MIXTURE_FITS = (
    "GaussianMixtureEM",
    "GaussianMixture",
    f"GaussianMixture, n_init={N_OTHER_STARTS}",
    "from the true labels",
)


def fit_mixtures(seed):
    X, labels, K, _ = draw_mixture(seed)
    fits = [
        GaussianMixtureEM(K, random_state=seed),
        GaussianMixture(K, random_state=seed),
        GaussianMixture(K, n_init=N_OTHER_STARTS, random_state=seed),
        GaussianMixtureEM(K, init_params=labels, random_state=seed),
    ]
    ari = [[adjusted_rand_score(labels, fit.fit(X).predict(X))] for fit in fits]
    return ari, (fits[0].log_likelihood_, fits[-1].log_likelihood_)


CHAIN_FITS = ("HMMEM", "GaussianHMM", f"GaussianHMM, best of {N_OTHER_STARTS}", "from the true states")


def by_hmmlearn(X, K, seed, **settings):
    """A fitted model and its log-likelihood; None and -inf where a state has collapsed."""
    model = GaussianHMM(K, covariance_type="full", random_state=seed, implementation="scaling", **settings)
    try:
        value = model.fit(X).score(X)
    except (ValueError, np.linalg.LinAlgError):
        return None, -np.inf
    return (model, value) if np.isfinite(value) else (None, -np.inf)


def fit_chains(seed):
    X, states, K, _ = draw_chain(seed)
    default = HMMEM(K, random_state=seed).fit(X)
    # With every state known the fit is one M-step; EM then goes on from there, told nothing. The priors are
    # there for the M-step alone: a probability that is 0 stays 0.
    truth = HMMEM(K, n_init=1, startprob_prior=1.1, transmat_prior=1.1, random_state=seed)
    truth.fit(X, state_labels=states)
    truth.set_params(warm_start=True, startprob_prior=None, transmat_prior=None).fit(X)
    others = [None, None]
    if GaussianHMM is not None:
        logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
        patient = [by_hmmlearn(X, K, N_OTHER_STARTS * seed + i, n_iter=100) for i in range(N_OTHER_STARTS)]
        others = [by_hmmlearn(X, K, seed)[0], max(patient, key=lambda pair: pair[1])[0]]
    ari = [
        [np.nan, np.nan]
        if fit is None
        else [
            adjusted_rand_score(states, fit.predict(X)),
            adjusted_rand_score(states, fit.predict_proba(X).argmax(axis=1)),
        ]
        for fit in (default, *others, truth)
    ]
    return ari, (default.log_likelihood_, truth.log_likelihood_)


REGRESSION_FITS = ("MixtureOfLinearRegressions", "one start", "from the true labels")


def regressions_from(labels, X, y, K):
    """Components (n,) that EM finds from given ones, and the log-likelihood."""
    resp = (labels == np.arange(K)[:, None]).astype(np.float64)
    features = (X - X.mean(axis=0)) / X.std(axis=0)
    rows = np.column_stack([np.ones(len(X)), features, (y - y.mean()) / y.std()])
    family = Regression(RESPONSES["gaussian"], 1 + X.shape[1], least_ratio=1e-3)
    model, batch = LatentModel(MixtureWeights(), family), Batch(np.ascontiguousarray(rows.T))
    fit = fit_em(model, model.start(batch, resp), rows)
    density = family.density(fit.params.family)(batch)
    joint = np.log(fit.params.latent)[:, None] + density.log_prob
    return joint.argmax(axis=0), fit.log_likelihood - len(y) * np.log(y.std())


def fit_regressions(seed):
    X, labels, K, y = draw_regressions(seed)
    fits = [
        MixtureOfLinearRegressions(K, random_state=seed).fit(X, y),
        MixtureOfLinearRegressions(K, n_init=1, random_state=seed).fit(X, y),
    ]
    components, value = regressions_from(labels, X, y, K)
    found = [*(fit.component_proba(X, y).argmax(axis=1) for fit in fits), components]
    return [[adjusted_rand_score(labels, some)] for some in found], (fits[0].log_likelihood_, value)


# -- tables ----------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Draws of one kind, and the fits that are compared on them."""

    what: str
    draw: Callable[[int], Draw]
    fit: Callable[[int], tuple]
    fits: tuple[str, ...]  # ours as it comes first, that from the truth last
    decodings: tuple[str, ...]
    rival: int | None  # of the fits, the one to be matched


PARTS = {
    "mixtures": Part("Gaussian mixtures", draw_mixture, fit_mixtures, MIXTURE_FITS, ("",), 2),
    "chains": Part(
        "Hidden Markov models",
        draw_chain,
        fit_chains,
        CHAIN_FITS,
        ("most probable path", "most probable state of each step"),
        None if GaussianHMM is None else 2,
    ),
    "regressions": Part(
        "Mixtures of linear regressions", draw_regressions, fit_regressions, REGRESSION_FITS, ("",), None
    ),
}


def alone(fit, seed):
    """What a fit of a draw gives, in one thread and without warnings."""
    with threadpool_limits(1), without_convergence_warnings(), np.errstate(all="ignore"):
        return fit(seed)


def comparison(ari, names):
    """A row for each fit: its mean ARI, and how the first one stands beside it, draw by draw."""
    rows = []
    for name, of_fit in zip(names, ari.T, strict=True):
        known = np.isfinite(of_fit)
        if not known.any():
            continue
        more = ari[known, 0] - of_fit[known]
        row = [name, f"{of_fit[known].mean():.3f}"]
        if name == names[0]:
            row += ["–"] * 4
        else:
            error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else np.nan
            row += [
                f"{more.mean():+.3f}", f"{error:.3f}", str(np.count_nonzero(more < -MUCH)),
                str(np.count_nonzero(more > MUCH)),
            ]  # fmt: skip
        rows.append([*row, str(np.count_nonzero(~known))])
    return rst_table(
        ["fit", "mean ARI", "ours less it", "standard error", "ours worse", "ours better", "failed"], rows
    )


def by_difficulty(ari, names):
    """Mean ARI of each fit where the labels can be found well, in part, or hardly."""
    truth = ari[:, -1]
    there = [j for j in range(len(names)) if np.isfinite(ari[:, j]).any()]
    rows = []
    for low, high in ((0.9, np.inf), (0.6, 0.9), (-np.inf, 0.6)):
        here = (truth >= low) & (truth < high)
        label = f"at least {low}" if np.isinf(high) else f"{low} to {high}" if low > 0 else f"below {high}"
        means = [f"{np.nanmean(ari[here, j]):.3f}" if here.any() else "–" for j in there]
        rows.append([label, str(here.sum()), *means])
    return rst_table(["ARI from the truth", "draws", *(names[j] for j in there)], rows)


def targets(ari, part):
    ours, truth = ari[:, 0].mean(), ari[:, -1].mean()
    rows = [[
        "mean ARI, below that from the truth", f"{truth - ours:.3f}", f"at most {SHORT_OF_TRUTH}",
        verdict(truth - ours <= SHORT_OF_TRUTH),
    ]]  # fmt: skip
    if part.rival is not None:
        name, theirs = part.fits[part.rival], ari[:, part.rival]
        known = np.isfinite(theirs)
        more = ari[known, 0] - theirs[known]
        worse, better = np.count_nonzero(more < -MUCH), np.count_nonzero(more > MUCH)
        rows += [
            [f"mean ARI, beyond {name}", f"{more.mean():+.4f}", "at least 0", verdict(more.mean() >= 0)],
            [f"draws worse than {name}", str(worse), f"fewer than better, {better}",
             verdict(worse < better or worse == better == 0)],
        ]  # fmt: skip
    return rst_table(["what", "reached", "target", "verdict"], rows)


def list_worst(ari, part, seeds, number):
    """The draws that fall shortest of the better of the fits beside ours."""
    short = np.nanmax(ari[:, 1:], axis=1) - ari[:, 0]
    rows = [
        [str(seeds[i]), part.draw(seeds[i]).words(), *(f"{value:.3f}" for value in ari[i])]
        for i in np.argsort(-short)[:number]
    ]
    print(f"\nThe {len(rows)} draws that fall shortest:\n\n{rst_table(['draw', 'size', *part.fits], rows)}")


def run_part(part, args):
    title(part.what)
    begin = time.perf_counter()
    seeds = range(args.first, args.first + args.number)
    answers = Parallel(n_jobs=args.jobs)(delayed(alone)(part.fit, seed) for seed in seeds)
    every_ari = np.array([ari for ari, _ in answers])  # (draws, fits, decodings)
    values = np.array([pair for _, pair in answers])
    print(
        f"{len(seeds)} draws, from {args.first}. Ours worse, better: draws whose ARI is lower, higher than "
        f"that of the fit in the row by more than {MUCH}."
    )
    for j, decoding in enumerate(part.decodings):
        ari = every_ari[:, :, j]
        heading = f"\n{decoding[:1].upper()}{decoding[1:]}:\n" if decoding else ""
        print(f"{heading}\n{comparison(ari, part.fits)}\n\n{by_difficulty(ari, part.fits)}")
        print(f"\n{targets(ari, part)}")
        if args.worst:
            list_worst(ari, part, seeds, args.worst)
    less = values[:, 0] - values[:, 1]
    print(
        f"\nLog-likelihood as it comes lower than from the truth, by more than {SAME_NATS} nats: "
        f"{np.count_nonzero(less < -SAME_NATS)} draws; higher: {np.count_nonzero(less > SAME_NATS)}.",
        flush=True,
    )
    progress(f"{part.what}: {time.perf_counter() - begin:.0f} s")


# -- command line ----------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, help="these parts; default: all")
    parser.add_argument("--first", type=int, default=0, help="number of the first draw; default 0")
    parser.add_argument("--number", type=int, default=200, help="of draws; default 200")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default 1")
    parser.add_argument("--worst", type=int, default=0, help="list so many draws that fall shortest; default 0")
    args = parser.parse_args()
    print(
        f"emlearn {emlearn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__},\n"
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} core(s)",
        flush=True,
    )
    for name in args.part or PARTS:
        run_part(PARTS[name], args)


if __name__ == "__main__":
    main()
