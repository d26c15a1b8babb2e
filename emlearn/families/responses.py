"""Distributions of a response given its linear predictor: what a generalised linear model is made of.

A response knows its density, and the two derivatives by the linear predictor η that a Newton step needs. All
three have the canonical link, for which expected and observed information are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]


class Likelihood(NamedTuple):
    """Log-densities of responses, and what a Newton step in η needs, for K components."""

    log_prob: FloatArray  # (K, m), up to `Response.base_measure`
    error: FloatArray  # (K, m) y − mean: dispersion times the derivative of log_prob by η
    curvature: FloatArray | None  # (K, m) dispersion times minus the second one; None for 1


class Response(Protocol):
    """Distribution of a response with linear predictor η and dispersion φ.

    The response of each observation is a column of ``y``, (c, m).
    """

    support: str  # what a response must be, in words
    has_dispersion: bool  # whether φ is to be estimated; else it is 1

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

    def distribution(self, eta: FloatArray, dispersion: FloatArray) -> Any:
        """The frozen distribution of scipy."""
        ...


class Normal:
    """A number, normal with mean η and variance φ."""

    support = "finite numbers"
    has_dispersion = True

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

    def distribution(self, eta: FloatArray, dispersion: FloatArray) -> Any:
        return stats.norm(eta, np.sqrt(dispersion))


class Counts:
    """A count, Poisson with mean exp η."""

    support = "the counts 0, 1, 2, ..."
    has_dispersion = False

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        rate = self.mean(eta)
        return Likelihood(y[0] * eta - rate, y[0] - rate, rate)

    def base_measure(self, y: FloatArray) -> FloatArray:
        return -special.gammaln(y[0] + 1.0)

    def linear(self, y: FloatArray) -> FloatArray:
        return np.log(y[0] + 0.5)

    def mean(self, eta: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):  # an overlong step is refused by its objective
            return np.exp(eta)

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return self.mean(eta)

    def distribution(self, eta: FloatArray, dispersion: FloatArray) -> Any:
        return stats.poisson(self.mean(eta))


class Successes:
    """Successes of one trial, 0 or 1; or with a second row their number beside that of trials. Mean expit η."""

    support = "0 or 1, or two columns: successes and failures"
    has_dispersion = False

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        trials = y[1] if len(y) == 2 else 1.0
        tail = np.exp(-np.abs(eta))
        log_prob = np.log1p(tail)
        log_prob += np.maximum(eta, 0.0)
        log_prob *= -trials
        log_prob += y[0] * eta
        mean = np.where(eta >= 0, 1.0, tail)
        tail += 1.0
        mean /= tail
        curvature = mean * (1.0 - mean) * trials
        mean *= trials
        return Likelihood(log_prob, y[0] - mean, curvature)

    def base_measure(self, y: FloatArray) -> FloatArray | float:
        if len(y) == 1:
            return 0.0
        successes, trials = y
        return -special.betaln(successes + 1.0, trials - successes + 1.0) - np.log1p(trials)

    def linear(self, y: FloatArray) -> FloatArray:
        trials = y[1] if len(y) == 2 else 1.0
        return np.log((y[0] + 0.5) / (trials - y[0] + 0.5))

    def mean(self, eta: FloatArray) -> FloatArray:
        return special.expit(eta)

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        mean = self.mean(eta)
        return mean * (1.0 - mean)

    def distribution(self, eta: FloatArray, dispersion: FloatArray) -> Any:
        return stats.bernoulli(self.mean(eta))


RESPONSES: dict[str, Response] = {"gaussian": Normal(), "poisson": Counts(), "binomial": Successes()}
