"""Thin components that must be found, and spikes that must lose.

    python benchmarks/thin_components.py [--seeds 5] [--draw 0] [--jobs 2]
    python benchmarks/thin_components.py --only chain ratings      # lines with one of these words

A component that holds many rows may lie on one value, in a line, or be tight beside a wide spread: however
thin, it is there. A spike on a lone row, on a rating that many chose, or on a few rows that lie in a plane by
chance, is not, and lifts the likelihood all the same.

Each line is a set of data and an estimator as it comes, fitted from several seeds. It says "MISS" where the
labels agree with the true ones less well than they must on any seed (adjusted Rand index), or where any seed
returns a spike and must not. Beside it stand scikit-learn's GaussianMixture or, where it is installed,
hmmlearn's GaussianHMM of the same shape. ``--draw`` draws other data of the same kinds.
"""

import argparse
import logging
import platform
import statistics
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sklearn
from gaussian_mixture import progress, title, without_convergence_warnings
from joblib import Parallel, delayed
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import HMMEM, EMImputer, GaussianMixtureEM, MixtureOfLinearRegressions

try:
    from hmmlearn.hmm import GaussianHMM
except ImportError:
    GaussianHMM = None

THIN = 1e-4  # variance of a spike, relative to the spread of the bulk of a feature
FEW = 0.01  # share of the rows, ...
LONE = 1.5  # or number of them, that make no component
THIN_NOISE = 1 / 400  # ratio of two variances of noise that are alike in truth

# -- fits ------------------------------------------------------------------------------------------------


class Data(NamedTuple):
    """Rows, and the labels behind them if they are to be found; responses of regressions."""

    X: np.ndarray  # (n, d)
    labels: np.ndarray | None = None  # (n,)
    y: np.ndarray | None = None  # (n,)


class Found(NamedTuple):
    """What a fit says."""

    labels: np.ndarray | None  # (n,)
    has_spike: bool


def spread(X):
    """Of the bulk of each feature: neither a far value nor a heap of ties sets it."""
    low, high = np.nanquantile(X, [0.25, 0.75], axis=0)
    sd = np.nanstd(X, axis=0)
    return np.where(high > low, np.minimum((high - low) / 1.349, sd), sd)


def is_spike(covariances, shape, shares, X):
    """Whether a component is far thinner than the data, or holds next to no rows."""
    scale = spread(X)
    if shape in ("full", "tied"):
        least = np.linalg.eigvalsh(covariances / np.outer(scale, scale)).min()
    else:
        variances = covariances if shape == "diag" else np.asarray(covariances)[..., None]
        least = (variances / scale**2).min()
    return bool(least < THIN or shares.min() < max(FEW, LONE / len(X)))


def most_probable(weights, means, covariances, X):
    """The most probable component of each row, by the entries that are there."""
    joint = np.empty((len(X), len(weights)))
    there = ~np.isnan(X)
    for pattern in np.unique(there, axis=0):
        rows = (there == pattern).all(axis=1)
        for k, (weight, mean, covariance) in enumerate(zip(weights, means, covariances, strict=True)):
            part = covariance[np.ix_(pattern, pattern)]
            error = X[np.ix_(rows, pattern)] - mean[pattern]
            distance = np.einsum("ij,ij->i", error, np.linalg.solve(part, error.T).T)
            joint[rows, k] = np.log(weight) - 0.5 * (distance + np.linalg.slogdet(part)[1])
    return joint.argmax(axis=1)


@dataclass(frozen=True)
class Mixture:
    """Gaussian mixtures of K components."""

    K: int
    shape: str = "full"

    def __str__(self):
        return f"mixture, {self.shape}, K={self.K}"

    def ours(self, data, seed):
        return self._found(GaussianMixtureEM(self.K, covariance_type=self.shape, random_state=seed), data.X)

    def from_truth(self, data):
        """ARI of the fit that starts from the true labels."""
        given = {"init_params": data.labels, "random_state": 0}
        fit = GaussianMixtureEM(self.K, covariance_type=self.shape, **given)
        return adjusted_rand_score(data.labels, fit.fit(data.X).predict(data.X))

    def theirs(self, data, seed):
        return self._found(GaussianMixture(self.K, covariance_type=self.shape, random_state=seed), data.X)

    def _found(self, mixture, X):
        labels = mixture.fit(X).predict(X)
        return Found(labels, is_spike(mixture.covariances_, self.shape, mixture.weights_, X))


@dataclass(frozen=True)
class Chain:
    """Hidden Markov models of K states."""

    K: int
    shape: str = "full"
    emission: Any = "gaussian"
    knows: int | None = None  # a state all of whose steps are told

    def __str__(self):
        what = "each column its own" if isinstance(self.emission, dict) else self.emission
        known = "" if self.knows is None else f", state {self.knows} known"
        return f"chain, {what}, {self.shape}, K={self.K}{known}"

    def ours(self, data, seed):
        X, labels = data.X, None
        if self.knows is not None:
            labels = np.where(data.labels == self.knows, self.knows, -1)
        model = HMMEM(self.K, emission=self.emission, covariance_type=self.shape, random_state=seed)
        states = model.fit(X, state_labels=labels).predict(X)
        shares = np.bincount(states, minlength=self.K) / len(X)
        if self.emission == "gmm":
            shares = shares[:, None] * model.weights_
        spike = not isinstance(self.emission, dict) and is_spike(model.covariances_, self.shape, shares, X)
        return Found(states, spike)

    def theirs(self, data, seed):
        if GaussianHMM is None or self.emission != "gaussian" or self.knows is not None:
            return None
        logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
        model = GaussianHMM(self.K, covariance_type=self.shape, n_iter=100, random_state=seed)
        try:
            states = model.fit(data.X).predict(data.X)
        except (ValueError, np.linalg.LinAlgError):  # a state has collapsed
            return None
        shares = np.bincount(states, minlength=self.K) / len(states)
        shape = "full" if self.shape in ("diag", "spherical", "tied") else self.shape  # it gives matrices
        return Found(states, is_spike(model.covars_, shape, shares, data.X))


@dataclass(frozen=True)
class Imputer:
    """Imputation by a mixture of K components."""

    K: int

    def __str__(self):
        return f"imputer, K={self.K}"

    def ours(self, data, seed):
        model = EMImputer(n_components=self.K, random_state=seed).fit(data.X)
        labels = most_probable(model.weights_, model.means_, model.covariances_, data.X)
        return Found(labels, is_spike(model.covariances_, "full", model.weights_, data.X))

    def theirs(self, data, seed):
        return None


@dataclass(frozen=True)
class Regressions:
    """Mixtures of K linear regressions."""

    K: int

    def __str__(self):
        return f"regressions, K={self.K}"

    def ours(self, data, seed):
        model = MixtureOfLinearRegressions(self.K, random_state=seed).fit(data.X, data.y)
        few = max(0.03, (data.X.shape[1] + 2.5) / len(data.X))  # as many rows always lie on a plane
        noise = model.sigma_**2
        spike = noise.min() < THIN_NOISE * noise.max() or model.weights_.min() < few
        return Found(model.component_proba(data.X, data.y).argmax(axis=1), bool(spike))

    def theirs(self, data, seed):
        return None


# -- data ------------------------------------------------------------------------------------------------


def stack(*parts):
    """Parts (n_k, d) or (n_k,) one after the other, each with a label."""
    columns = [np.reshape(part, (len(part), -1)).astype(float) for part in parts]
    return Data(np.vstack(columns), np.repeat(np.arange(len(parts)), [len(part) for part in parts]))


def in_time(rng, stay, *parts):
    """A chain that visits parts (T, d) or (T,), and stays where it is with the probability ``stay``."""
    columns = np.stack([np.reshape(part, (len(part), -1)) for part in parts]).astype(float)
    K, T, _ = columns.shape
    states = np.empty(T, dtype=np.intp)
    states[0] = 0
    for t, stays in enumerate(rng.uniform(size=T - 1) < stay, start=1):
        states[t] = states[t - 1] if stays else (states[t - 1] + rng.integers(1, K)) % K
    return Data(columns[states, np.arange(T)], states)


def with_gaps(rng, data, share=0.1):
    """A share of the entries missing, never those of a whole row."""
    missing = rng.uniform(size=data.X.shape) < share
    missing[missing.all(axis=1), 0] = False
    return data._replace(X=np.where(missing, np.nan, data.X))


def near(rng, n, values, jitter):
    """Rows (n, d) at one place, but for a jitter."""
    return np.asarray(values, dtype=float) + jitter * rng.normal(size=(n, len(values)))


def machine(rng, jitter=0.0, n=200):
    """A machine that is off, runs low or runs high, and its power."""
    return near(rng, n, [0.0], 60 * jitter), rng.normal(10, 3, n), rng.normal(50, 5, n)


def machine_and_heat(rng, jitter=0.0, n=150):
    """The same, with a temperature that tells of the state too."""
    power = machine(rng, jitter, n)
    heat = rng.normal(20, 3, n), rng.normal(32, 4, n), rng.normal(55, 5, n)
    return [np.column_stack(pair) for pair in zip(power, heat, strict=True)]


def zeros_and_two(rng, share, n=600):
    n_zeros = round(share * n)
    rest = (n - n_zeros) // 2
    return np.zeros(n_zeros), rng.normal(5, 1, rest), rng.normal(12, 1.5, rest)


def lines_and_blob(rng, jitter=0.0):
    a, b = rng.uniform(-3, 3, (2, 150))
    lines = np.c_[a, 2 * a + 1], np.c_[b, -b - 2]
    noisy = [line + 12 * jitter * rng.normal(size=line.shape) for line in lines]
    return *noisy, rng.normal([6, -6], 0.7, (150, 2))


def parallel_lines(rng, jitter=0.0):
    a, b = rng.uniform(-3, 3, (2, 200))
    return np.c_[a, 2 * a + 1 + 12 * jitter * rng.normal(size=200)], np.c_[
        b, 2 * b + 3 + 12 * jitter * rng.normal(size=200)
    ]


def plane_and_blob(rng, jitter=0.0):
    a, b = rng.uniform(-3, 3, (2, 250))
    plane = np.c_[a, b, a - b + 10 * jitter * rng.normal(size=250)]
    return plane, rng.normal([0, 0, 2], 1.5, (250, 3))


def sentinels(rng, value, n, d=1):
    """Two clusters, and rows that a code for "unknown" stands for: in all columns, or in the first of two."""
    usual = rng.normal(0, 1, (400, d)), rng.normal(10, 1, (400, d))
    codes = np.full((n, 1), float(value)) if d == 1 else np.c_[np.full(n, float(value)), rng.normal(5, 1, n)]
    return *usual, codes


def places(rng, centres, noise, n=150):
    return [centre + noise * rng.normal(size=(n, 2)) for centre in np.asarray(centres, dtype=float)]


DEGREES = [[48.2, 11.5], [48.29, 11.84]]
METRES = [[691_000.0, 5_334_000.0], [694_500.0, 5_336_200.0], [690_200.0, 5_339_900.0]]


def bursts(rng, n_bursts, n=200):
    """Time stamps of bursts of ten minutes, a week apart."""
    return [1.7e9 + 7 * 86400 * i + rng.uniform(0, 600, n) for i in range(n_bursts)]


def beside_binary(rng, n_columns, chances=(0.5, 0.5), n=600, apart=3.0):
    """Two clusters in two normal features, and columns of 0 and 1 that tell of them or do not."""
    labels = rng.integers(2, size=n)
    ones = rng.uniform(size=(n, n_columns)) < np.asarray(chances)[labels, None]
    plain = rng.normal(size=(n, 2))
    plain[:, 0] += apart * labels
    return Data(np.c_[ones, plain].astype(float), labels)


def all_binary(rng, n_columns=6, n=500):
    labels = rng.integers(2, size=n)
    return Data((rng.uniform(size=(n, n_columns)) < np.where(labels, 0.9, 0.1)[:, None]).astype(float), labels)


def round_clusters(rng, K, d, n, apart):
    """Round clusters that overlap, in more features than they need."""
    labels = rng.integers(K, size=n)
    return Data(rng.normal(size=(n, d)) + apart * np.eye(K, d, k=-1)[labels], labels)


def shares_of_three(rng):
    """Shares that sum to 1: every component lies in a plane."""
    return rng.dirichlet([20, 5, 5], 200), rng.dirichlet([5, 6, 20], 200)


def ratings(rng, n_columns, most=5, n=600, stay=None):
    """Answers from 1 to ``most``, of two opinions."""
    low, high = (1 + q * (most - 1) for q in (0.2, 0.8))
    answers = [rng.normal(mean, 0.2 * (most - 1), (n, n_columns)) for mean in (low, high)]
    data = in_time(rng, 0.5 if stay is None else stay, *answers)
    return data._replace(X=np.clip(np.round(data.X), 1, most))


def and_outlier(rng, value, d=1, stay=0.5, n=400):
    """Two clusters and one lone row, which counts to none."""
    data = in_time(rng, stay, rng.normal(0, 1, (n, d)), rng.normal(5, 1, (n, d)))
    at = rng.integers(n // 4, 3 * n // 4)
    return Data(np.insert(data.X, at, value, axis=0), np.insert(data.labels, at, -1))


def rounded(rng, means, sds, step=1.0, n=600, stay=0.5):
    parts = [rng.normal(mean, sd, n) for mean, sd in zip(means, sds, strict=True)]
    data = in_time(rng, stay, *parts)
    return data._replace(X=step * np.round(data.X / step))


def two_groups(rng, n, d, apart, step=0.0):
    labels = rng.integers(2, size=n)
    X = rng.normal(size=(n, d)) + apart * labels[:, None] * np.eye(d)[0]
    return Data(step * np.round(X / step) if step else X, labels)


def noise(rng, n, d):
    return Data(rng.normal(size=(n, d)))


def with_copies(rng):
    """Noise in which one row stands twice."""
    X = rng.normal(size=(80, 2))
    return Data(np.r_[X, X[:1]])


def regression_lines(rng, n_exact, n_noisy, jitter=0.0, slope=2.0, zero=False):
    """Responses that follow one line all but exactly, the others another one with noise."""
    x = rng.uniform(-3, 3, n_exact + n_noisy)
    labels = (np.arange(len(x)) >= n_exact).astype(np.intp)
    exact = 0 * x if zero else slope * x + 1
    y = np.where(
        labels == 0, exact + 14 * jitter * rng.normal(size=len(x)), 4 - 0.5 * x + rng.normal(size=len(x))
    )
    return Data(x[:, None], labels, y)


def two_exact_lines(rng, jitter=0.0):
    x = rng.uniform(-3, 3, 300)
    labels = rng.integers(2, size=300)
    y = np.where(labels, 2 * x + 1, -x) + 10 * jitter * rng.normal(size=300)
    return Data(x[:, None], labels, y)


def two_noisy_lines(rng, n=400, step=0.0, clip=None):
    x = rng.uniform(-3, 3, n)
    labels = rng.integers(2, size=n)
    y = np.where(labels, 3 + 0.8 * x, -2 - 0.5 * x) + rng.normal(size=n)
    if clip is not None:
        y = np.clip(np.round(3 + 0.5 * y), *clip)
    return Data(x[:, None], labels, step * np.round(y / step) if step else y)


def collinear_by_chance(rng, n_exact, n=300):
    """Two noisy lines, and a few rows that lie on a third one."""
    data = two_noisy_lines(rng, n)
    x = rng.uniform(-3, 3, n_exact)
    return Data(
        np.r_[data.X, x[:, None]], np.r_[data.labels, np.full(n_exact, -1)], np.r_[data.y, 1.3 * x + 0.2]
    )


def outlier_in_response(rng):
    data = two_noisy_lines(rng)
    data.y[0] = 25.0
    data.labels[0] = -1
    return data


def regression_noise(rng, n, d):
    return Data(rng.normal(size=(n, d)), None, rng.normal(size=n))


# -- cases -----------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """Data that a model must read rightly."""

    name: str
    make: Callable[[np.random.Generator], Data]
    models: tuple
    least: float | None = None  # ARI that every seed must reach
    no_spike: bool = False
    less_than_truth: float | None = None  # by which it may fall short of a mixture's from the true labels


ALL_SHAPES = ("full", "diag", "spherical", "tied")


def mixtures(K, *shapes):
    return tuple(Mixture(K, shape) for shape in shapes or ("full",))


def stacked(parts, *args):
    return lambda rng: stack(*parts(rng, *args))


def gappy(parts, *args):
    return lambda rng: with_gaps(rng, stack(*parts(rng, *args)))


DOCSTRING = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]], dtype=float)
JITTERS = {"": 0.0, ", jitter 1e-3 of the range": 1e-3, ", jitter 1e-5 of the range": 1e-5}


def to_be_found():
    """Cases whose thin components are there."""
    yield Case(
        "six rows of scikit-learn's docstring",
        lambda rng: Data(DOCSTRING, np.repeat([0, 1], 3)),
        mixtures(2, "full", "diag"),
        1.0,
    )
    for n in (2, 3):
        yield Case(f"time stamps of {n} bursts", stacked(bursts, n), mixtures(n, *ALL_SHAPES), 1.0)
    yield Case("time stamps of 2 bursts", lambda rng: stack(*bursts(rng, 2)), (Chain(2),), 1.0)
    yield Case(
        "N(0, .005) and N(10, .005)",
        lambda rng: stack(rng.normal(0, 0.005, 200), rng.normal(10, 0.005, 200)),
        (*mixtures(2, *ALL_SHAPES), Chain(2)),
        1.0,
    )
    for share in (0.4, 0.15):
        yield Case(
            f"{share:.0%} zeros, N(5, 1), N(12, 1.5)",
            stacked(zeros_and_two, share),
            (*mixtures(3, "full", "diag"), Chain(3)),
            0.93,
        )
    yield Case(
        "15% zeros in N(8, 2.5)",
        lambda rng: stack(np.zeros(90), rng.normal(8, 2.5, 510)),
        mixtures(2),
        0.95,
    )
    yield Case(
        "two values, 0 and 100, in N(50, 12)",
        lambda rng: stack(np.zeros(150), np.full(150, 100.0), rng.normal(50, 12, 300)),
        (*mixtures(3, "full", "diag"), Chain(3)),
        0.97,
    )
    for words, jitter in JITTERS.items():
        yield Case(f"off, low, high{words}", stacked(machine, jitter), (*mixtures(3), Chain(3)), 0.97)
        yield Case(
            f"off, low, high by turns{words}",
            lambda rng, jitter=jitter: in_time(rng, 0.9, *machine(rng, jitter, 400)),
            (Chain(3), *([Chain(3, knows=0)] if not jitter else [])),
            0.97,
        )
        yield Case(
            f"off, low, high, and a temperature{words}",
            stacked(machine_and_heat, jitter),
            (*mixtures(3, "full", "diag"), Chain(3), Chain(3, "diag")),
            0.97,
        )
        yield Case(
            f"off, low, high, and a temperature, gaps{words}",
            gappy(machine_and_heat, jitter),
            (Imputer(3),),
            0.9,
        )
        yield Case(f"two lines and a blob{words}", stacked(lines_and_blob, jitter), mixtures(3), 0.9)
        yield Case(
            f"two parallel lines{words}", stacked(parallel_lines, jitter), mixtures(2, "full", "tied"), 0.95
        )
        yield Case(f"a plane and a blob{words}", stacked(plane_and_blob, jitter), mixtures(2), 0.9)
        yield Case(
            f"a line with and one without noise{words}",
            lambda rng, jitter=jitter: regression_lines(rng, 150, 250, jitter),
            (Regressions(2),),
            0.85,
        )
        yield Case(
            f"12 % of the rows on a line{words}",
            lambda rng, jitter=jitter: regression_lines(rng, 48, 352, jitter),
            (Regressions(2),),
            0.7,
        )
        yield Case(
            f"two lines without noise{words}",
            lambda rng, jitter=jitter: two_exact_lines(rng, jitter),
            (Regressions(2),),
            0.95,
        )
    yield Case(
        "responses of 40 % of the rows are 0",
        lambda rng: regression_lines(rng, 160, 240, zero=True),
        (Regressions(2),),
        0.9,
    )
    yield Case(
        "a line with and one without noise, beside noise, gaps", gappy(lines_and_blob, 1e-3), (Imputer(3),), 0.8
    )
    yield Case(
        "zeros in both columns, and two blobs",
        lambda rng: stack(np.zeros((150, 2)), rng.normal(3, 1, (200, 2)), rng.normal([9, 3], 1, (200, 2))),
        (*mixtures(3, "full", "diag", "spherical"), Chain(3)),
        0.93,
    )
    yield Case(
        "200 copies of one record, in a cloud",
        lambda rng: stack(np.tile([1.0, 5.0, -2.0], (200, 1)), rng.normal([1, 5, -2], 1, (400, 3))),
        mixtures(2, "full", "diag", "spherical"),
        0.95,
    )
    for d in (1, 2):
        yield Case(
            f"a tight cluster in a wide one, {d} feature(s)",
            lambda rng, d=d: stack(rng.normal(0, 0.01, (150, d)), rng.normal(0, 3, (300, d))),
            mixtures(2, "full", "diag", "spherical"),
            0.95,
        )
    yield Case(
        "a tight cluster in a wide one, gaps",
        lambda rng: with_gaps(rng, stack(rng.normal(0, 0.01, (150, 2)), rng.normal(0, 3, (300, 2)))),
        (Imputer(2),),
        0.8,
    )
    yield Case("shares that sum to 1", stacked(shares_of_three), mixtures(2, "full", "diag"), 0.9)
    for value, n in ((-99_999, 3), (-999, 20), (1e9, 10)):
        yield Case(
            f"{n} entries of {value:g} beside two clusters",
            stacked(sentinels, value, n),
            (*mixtures(3, "full", "diag", "spherical"), Chain(3)),
            0.99,
        )
        yield Case(
            f"{n + 5} entries of {value:g} in one of two columns",
            stacked(sentinels, value, n + 5, 2),
            mixtures(3, "full", "diag"),
            0.99,
        )
    yield Case(
        "two places 25 km apart, 3 m of noise (degrees)",
        stacked(places, DEGREES, 3e-5),
        (*mixtures(2, *ALL_SHAPES), Chain(2)),
        1.0,
    )
    yield Case(
        "three places some km apart, 3 m of noise (metres)",
        stacked(places, METRES, 3.0),
        (*mixtures(3, *ALL_SHAPES), Chain(3)),
        1.0,
    )
    yield Case(
        "three places some km apart, 3 m of noise, gaps", gappy(places, METRES, 3.0), (Imputer(3),), 0.95
    )
    yield Case(
        "power with zeros and counts",
        lambda rng: in_time(
            rng,
            0.9,
            np.c_[np.zeros(400), rng.poisson(1, 400)],
            np.c_[rng.normal(10, 3, 400), rng.poisson(4, 400)],
            np.c_[rng.normal(50, 5, 400), rng.poisson(9, 400)],
        ),
        (Chain(3, emission={0: "gaussian", 1: "poisson"}),),
        0.97,
    )
    yield Case(
        "a state of zeros and N(5, 1), one of N(12, 1) and N(20, 1)",
        lambda rng: in_time(
            rng,
            0.95,
            np.where(rng.uniform(size=400) < 0.5, 0.0, rng.normal(5, 1, 400)),
            np.where(rng.uniform(size=400) < 0.5, 12.0, 20.0) + rng.normal(size=400),
        ),
        (Chain(2, emission="gmm"),),
        0.95,
    )
    for words, n_columns, chances, least in (
        # One that tells may well be taken for the clusters, but nothing may be lost beside it.
        ("a binary column", 1, (0.5, 0.5), 0.6),
        ("three binary columns", 3, (0.5, 0.5), 0.6),
        ("a binary column that tells", 1, (0.15, 0.85), 0.4),
        ("three binary columns that tell", 3, (0.15, 0.85), 0.45),
    ):
        yield Case(
            f"{words} beside two normal ones",
            lambda rng, args=(n_columns, chances): beside_binary(rng, *args),
            mixtures(2, "full", "diag"),
            least,
        )
    yield Case("six binary columns", all_binary, mixtures(2, "full", "diag"), 0.8)


def to_lose():
    """Cases in which no spike may be returned."""
    both = "full", "diag"
    yield Case("ratings, one column", lambda rng: ratings(rng, 1), mixtures(2), None, True)
    yield Case("ratings, two columns", lambda rng: ratings(rng, 2), mixtures(2, *both), 0.6, True)
    yield Case("ratings, five columns", lambda rng: ratings(rng, 5), mixtures(2, *both), 0.8, True)
    yield Case("ratings 1 to 10, two columns", lambda rng: ratings(rng, 2, 10), mixtures(2, *both), 0.6, True)
    yield Case("ratings in time", lambda rng: ratings(rng, 1, stay=0.9), (Chain(2),), 0.6, True)
    yield Case(
        "ratings in time, two columns",
        lambda rng: ratings(rng, 2, stay=0.9),
        (Chain(2), Chain(2, "diag")),
        0.8,
        True,
    )
    yield Case(
        "ratings 1 to 10 in time",
        lambda rng: ratings(rng, 1, 10, stay=0.95),
        (Chain(2, emission="gmm"),),
        None,
        True,
    )
    yield Case("ratings, gaps", lambda rng: with_gaps(rng, ratings(rng, 3)), (Imputer(2),), 0.6, True)
    for value, least in ((15.0, 0.85), (40.0, 0.55)):
        yield Case(
            f"two clusters and one row at {value:g}",
            lambda rng, value=value: and_outlier(rng, value),
            (*mixtures(2), Chain(2)),
            least,
            True,
        )
        yield Case(
            f"two clusters and one row at {value:g}, two features",
            lambda rng, value=value: and_outlier(rng, value, 2),
            mixtures(2, *both),
            least,
            True,
        )
    yield Case(
        "two clusters and one row at 40, two features, gaps",
        lambda rng: with_gaps(rng, and_outlier(rng, 40.0, 2)),
        (Imputer(2),),
        0.55,
        True,
    )
    yield Case(
        "two clusters in time and one step at 40",
        lambda rng: and_outlier(rng, 40.0, stay=0.95),
        (Chain(2), Chain(2, emission="gmm")),
        None,
        True,
    )
    # Here the spike is none on the floor: a nearly singular component of a few per cent of the rows.
    for which in "abc":
        for K, d, n, apart in ((3, 5, 500, 3.3), (2, 7, 250, 3.5), (2, 5, 60, 4.0)):
            yield Case(
                f"{K} round clusters of {n} rows in {d} features, {which}",
                lambda rng, args=(K, d, n, apart): round_clusters(rng, *args),
                mixtures(K),
                no_spike=True,
                less_than_truth=0.1,
            )
    yield Case(
        "sixty rows, five features, gaps",
        lambda rng: with_gaps(rng, two_groups(rng, 60, 5, 3.0)),
        (Imputer(2),),
        None,
        True,
    )
    yield Case("thirty rows of noise, three features", lambda rng: noise(rng, 30, 3), mixtures(2), None, True)
    yield Case("100 rows of noise, four features", lambda rng: noise(rng, 100, 4), mixtures(2), None, True)
    yield Case(
        "200 steps of noise, two features", lambda rng: noise(rng, 200, 2), (Chain(2), Chain(3)), None, True
    )
    yield Case("noise with one row twice", with_copies, mixtures(2, *both), None, True)
    yield Case(
        "integers about 7, 14 and 30",
        lambda rng: rounded(rng, [7, 14, 30], [1.5, 2, 3]),
        mixtures(3),
        0.8,
        True,
    )
    yield Case(
        "integers about 7, 14 and 30 in time",
        lambda rng: rounded(rng, [7, 14, 30], [1.5, 2, 3], stay=0.9),
        (Chain(3),),
        0.9,
        True,
    )
    yield Case("ages about 25 and 60", lambda rng: rounded(rng, [25, 60], [6, 10]), mixtures(2), 0.85, True)
    yield Case(
        "tenths, two groups, four features",
        lambda rng: two_groups(rng, 150, 4, 4.0, step=0.1),
        mixtures(2, *both),
        0.75,
        True,
    )
    yield Case(
        "counts about 2 and 12",
        lambda rng: in_time(rng, 0.5, rng.poisson(2, 600), rng.poisson(12, 600)),
        mixtures(2),
        0.7,
        True,
    )
    yield Case(
        "responses from 1 to 5",
        lambda rng: two_noisy_lines(rng, clip=(1, 5)),
        (Regressions(2),),
        None,
        True,
    )
    yield Case(
        "responses are integers", lambda rng: two_noisy_lines(rng, step=1.0), (Regressions(2),), 0.7, True
    )
    for n in (4, 6):
        yield Case(
            f"{n} rows on a line by chance",
            lambda rng, n=n: collinear_by_chance(rng, n),
            (Regressions(2),),
            0.7,
            True,
        )
    yield Case("one response at 25", outlier_in_response, (Regressions(2),), 0.6, True)
    yield Case("forty rows of noise", lambda rng: regression_noise(rng, 40, 1), (Regressions(2),), None, True)
    yield Case("eighty rows of noise", lambda rng: regression_noise(rng, 80, 3), (Regressions(2),), None, True)


# -- what comes of them ----------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """A line of the answer."""

    name: str
    model: str
    least: float | None
    no_spike: bool
    ours: list[Found | None]  # labels replaced by their ARI
    theirs: list[Found | None]

    def misses(self):
        """What is not as it must be, in words."""
        if self.least is not None and min(found.labels for found in self.ours) < self.least:
            yield "labels"
        if self.no_spike and any(found.has_spike for found in self.ours):
            yield "spike"

    def line(self):
        misses = ", ".join(self.misses())
        bar = "" if self.least is None else f" (at least {self.least:.2g})"
        return (
            f"{'MISS' if misses else 'ok  '} {self.name}; {self.model}: {self._figures(self.ours, bar)}"
            f"; {self._rival()} {self._figures(self.theirs)}" + (f"  <- {misses}" if misses else "")
        )

    def _rival(self):
        return "hmmlearn" if self.model.startswith("chain") else "scikit-learn"

    def _figures(self, every, bar=""):
        known = [found for found in every if found is not None]
        if not known:
            return "–"
        words = []
        if known[0].labels is not None:
            ari = [found.labels for found in known]
            words.append(f"ARI {min(ari):.2f}, median {statistics.median(ari):.2f}{bar}")
        if self.no_spike:
            words.append(f"spikes {sum(found.has_spike for found in known)} of {len(known)}")
        if len(known) < len(every):
            words.append(f"failed {len(every) - len(known)}")
        return ", ".join(words)


def try_out(case, model, draw, seeds):
    """Fit a model to a case from every seed."""
    rng = np.random.default_rng([draw, zlib.crc32(case.name.encode())])
    data = case.make(rng)
    ours, theirs, least = [], [], case.least
    with threadpool_limits(1), without_convergence_warnings(), np.errstate(all="ignore"):
        if case.less_than_truth is not None:
            least = model.from_truth(data) - case.less_than_truth
        for seed in seeds:
            for fit, found in ((model.ours, ours), (model.theirs, theirs)):
                result = fit(data, seed)
                found.append(None if result is None else judged(result, data))
    return Outcome(case.name, str(model), least, case.no_spike, ours, theirs)


def judged(found, data):
    """Labels replaced by how well they agree with the true ones, lone rows apart."""
    if data.labels is None:
        return found._replace(labels=None)
    here = data.labels >= 0
    return found._replace(labels=adjusted_rand_score(data.labels[here], found.labels[here]))


def run(cases, heading, args):
    """Print a line for each; the outcomes."""
    title(heading)
    tasks = [
        (case, model)
        for case in cases
        for model in case.models
        if not args.only or any(word in f"{case.name}; {model}" for word in args.only)
    ]
    parallel = Parallel(n_jobs=args.jobs, return_as="generator")
    outcomes = []
    for outcome in parallel(delayed(try_out)(*task, args.draw, range(args.seeds)) for task in tasks):
        outcomes.append(outcome)
        if not args.misses or any(outcome.misses()):
            print(outcome.line(), flush=True)
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds; default 5")
    parser.add_argument("--draw", type=int, default=0, help="which draw of the data; default 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default 1")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="lines with one of these words")
    parser.add_argument("--misses", action="store_true", help="print the misses alone")
    args = parser.parse_args()
    print(
        f"emlearn {emlearn.__version__}, scikit-learn {sklearn.__version__}, "
        f"Python {platform.python_version()}; {args.seeds} seeds, draw {args.draw}.\n"
        "ARI: the least of all seeds, and the median.",
        flush=True,
    )
    begin = time.perf_counter()
    found = run(to_be_found(), "Thin components that must be found", args)
    lost = run(to_lose(), "Spikes that must lose", args)
    misses = [sum(any(outcome.misses()) for outcome in some) for some in (found, lost)]
    print(
        f"\n{sum(misses)} misses: {misses[0]} of {len(found)} lines where a thin component must be found, "
        f"{misses[1]} of {len(lost)} where spikes must lose."
    )
    progress(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
