"""Distributions of a response given its linear predictor: what a generalised linear model is made of.

A response knows its density, and the two derivatives by the linear predictor η that a Newton step needs. All
three have the canonical link, for which expected and observed information are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]


# No rate is this large, in logarithms: beyond, an overlong Newton step would make 0 · inf of it.
LARGEST = 150.0
# Counts of this rate are normal, to within a count or two.
NORMAL = 1e7


class Likelihood(NamedTuple):
    """Log-densities of responses, and what a Newton step in η needs, for K components."""

    log_prob: FloatArray  # (K, m), up to `Response.base_measure`
    error: FloatArray  # (K, m) y − mean: dispersion times the derivative of log_prob by η
    curvature: FloatArray | None  # (K, m) dispersion times minus the second one; None for 1


class Response(Protocol):
    """Distribution of a response with linear predictor η and dispersion φ.

    The response of each observation is a column of ``y``, (c, m).
    """

    name: str
    support: str  # what a response must be, in words
    has_dispersion: bool  # whether φ is to be estimated; else it is 1
    has_unit: bool  # whether responses are measured about their predictor: y and η in one unit, φ in its square
    is_discrete: bool
    n_columns: int  # most columns that y may have

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        """Which responses (n, c), as a user gives them, have a density."""
        ...

    def encode(self, y: FloatArray) -> FloatArray:
        """Responses (n, c) as the other methods take them, rows for columns."""
        ...

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        """Densities of y at linear predictors (K, m), dispersions (K, 1)."""
        ...

    def base_measure(self, y: FloatArray) -> FloatArray | float:
        """The part of the log-density that depends on y alone, (m,) or a number."""
        ...

    def linear(self, y: FloatArray) -> FloatArray:
        """Roughly the linear predictor that would explain y best, (m,)."""
        ...

    def mean(self, eta: FloatArray) -> FloatArray:
        """Mean response."""
        ...

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Variance of the response."""
        ...

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Probability of a response of y or less."""
        ...

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Least response with a cumulative probability of q or more."""
        ...

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        """One response for each η."""
        ...


class _AsGiven:
    """Responses that need no recoding."""

    def encode(self, y: FloatArray) -> FloatArray:
        return y


@dataclass(frozen=True)
class Normal(_AsGiven):
    """A number, normal with mean η and variance φ."""

    name = "gaussian"
    support = "finite numbers"
    has_dispersion = True
    has_unit = True
    is_discrete = False
    n_columns = 1

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        return np.ones(len(y), dtype=bool)

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        error = y[0] - eta
        log_prob = error * error
        log_prob *= -0.5 / dispersion
        log_prob -= 0.5 * np.log(2 * np.pi * dispersion)
        return Likelihood(log_prob, error, None)

    def base_measure(self, y: FloatArray) -> float:
        return 0.0

    def linear(self, y: FloatArray) -> FloatArray:
        return y[0]

    def mean(self, eta: FloatArray) -> FloatArray:
        return eta

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return np.broadcast_to(dispersion, eta.shape)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.ndtr((y - eta) / np.sqrt(dispersion))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return eta + special.ndtri(q) * np.sqrt(dispersion)

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        return rng.normal(eta, np.sqrt(dispersion))


@dataclass(frozen=True)
class Counts(_AsGiven):
    """A count, Poisson with mean exp η."""

    name = "poisson"
    support = "the counts 0, 1, 2, ..."
    has_dispersion = False
    has_unit = False
    is_discrete = True
    n_columns = 1

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        return ((y >= 0) & (y == np.floor(y))).all(axis=1)

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        # About the rate that explains each count best: large counts would lose the digits of small differences.
        near = np.maximum(y[0], 1.0)
        away = np.minimum(eta, LARGEST) - np.log(near)
        excess = near * np.expm1(away)
        return Likelihood(y[0] * away - excess, y[0] - near - excess, near + excess)

    def base_measure(self, y: FloatArray) -> FloatArray:
        near = np.maximum(y[0], 1.0)
        return y[0] * np.log(near) - near - special.gammaln(y[0] + 1.0)

    def linear(self, y: FloatArray) -> FloatArray:
        return np.log(y[0] + 0.5)

    def mean(self, eta: FloatArray) -> FloatArray:
        return np.exp(np.minimum(eta, LARGEST))

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return self.mean(eta)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.pdtr(np.maximum(np.floor(y), -1.0), self.mean(eta))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        rate, q = np.broadcast_arrays(self.mean(eta), q)
        found = np.floor(rate + special.ndtri(q) * np.sqrt(rate))
        some = rate < NORMAL
        if some.any():
            found[some] = stats.poisson.ppf(q[some], rate[some])
        return found

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        rate = self.mean(eta)
        some = rng.poisson(np.minimum(rate, NORMAL)).astype(np.float64)
        return np.where(rate < NORMAL, some, np.floor(rng.normal(rate, np.sqrt(rate))))


@dataclass(frozen=True)
class Successes:
    """Successes of one trial, 0 or 1; or with a second row their number beside that of trials. Mean expit η."""

    name = "binomial"
    support = "0 or 1, or counts in two columns: successes and failures"
    has_dispersion = False
    has_unit = False
    is_discrete = True
    n_columns = 2

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        if y.shape[1] == 1:
            return ((y == 0) | (y == 1)).all(axis=1)
        return ((y >= 0) & (y == np.floor(y))).all(axis=1)

    def encode(self, y: FloatArray) -> FloatArray:
        return y if y.shape[1] == 1 else np.column_stack([y[:, 0], y.sum(axis=1)])

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        # About a probability near to what explains each row best, as for counts.
        trials, best = self._trials(y), self._best(y)
        away = eta - self.linear(y)
        # log(1 + e^η) less the same at the best, which never overflows.
        excess = np.maximum(away, 0.0) + np.log1p(
            np.where(away > 0, 1.0 - best, best) * np.expm1(-np.abs(away))
        )
        mean = special.expit(eta)
        curvature = trials * mean * special.expit(-eta)
        return Likelihood(y[0] * away - trials * excess, y[0] - trials * mean, curvature)

    def base_measure(self, y: FloatArray) -> FloatArray:
        trials, best = self._trials(y), self._best(y)
        successes = y[0]
        ways = -special.betaln(successes + 1.0, trials - successes + 1.0) - np.log1p(trials)
        return ways + successes * np.log(best) + (trials - successes) * np.log1p(-best)

    def linear(self, y: FloatArray) -> FloatArray:
        best = self._best(y)
        return np.log(best / (1.0 - best))

    @staticmethod
    def _trials(y: FloatArray) -> FloatArray | float:
        return y[1] if len(y) == 2 else 1.0

    def _best(self, y: FloatArray) -> FloatArray:
        """Probability that about explains each row best, not 0 or 1."""
        return (y[0] + 0.5) / (self._trials(y) + 1.0)

    def mean(self, eta: FloatArray) -> FloatArray:
        return special.expit(eta)

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        mean = self.mean(eta)
        return mean * (1.0 - mean)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return stats.bernoulli.cdf(y, self.mean(eta))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return stats.bernoulli.ppf(q, self.mean(eta))

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        return rng.binomial(1, self.mean(eta)).astype(np.float64)


_ALL: tuple[Response, ...] = (Normal(), Counts(), Successes())
RESPONSES = {response.name: response for response in _ALL}
