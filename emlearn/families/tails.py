"""How far out observations are: probabilities on either side of them, component by component.

Both sides are kept, as 1 less the one tells nothing of the other beyond eight standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]


def of_numbers(below: FloatArray, above: FloatArray) -> FloatArray:
    """Tails (4, ...) of numbers that have a density: P(X < x), P(X <= x), P(X >= x), P(X > x)."""
    return np.stack([below, below, above, above])


def of_counts(
    x: FloatArray, cumulative: Callable[[FloatArray], FloatArray], survival: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Tails (4, ...) of counts, from P(X <= x) and P(X > x) for x of 0 and more."""
    x = np.asarray(x, dtype=np.float64)
    up_to, beyond = cumulative(x), survival(x)
    none, before = x < 1, np.maximum(x - 1, 0.0)
    return np.stack(
        [np.where(none, 0.0, cumulative(before)), up_to, np.where(none, 1.0, survival(before)), beyond]
    )


def normal(x: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Those of normal distributions."""
    z = (x - mean) / np.sqrt(variance)
    return of_numbers(special.ndtr(z), special.ndtr(-z))


def gamma(x: FloatArray, shape: FloatArray | float, rate: FloatArray) -> FloatArray:
    """Those of gamma distributions."""
    scaled = np.maximum(x, 0.0) * rate
    return of_numbers(special.gammainc(shape, scaled), special.gammaincc(shape, scaled))


def beta(x: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Those of beta distributions."""
    return of_numbers(special.betainc(a, b, x), special.betainc(b, a, 1.0 - x))


def poisson(x: FloatArray, rate: FloatArray) -> FloatArray:
    """Those of Poisson counts."""
    return of_counts(x, lambda n: special.gammaincc(n + 1, rate), lambda n: special.gammainc(n + 1, rate))


def binomial(x: FloatArray, trials: FloatArray | float, probability: FloatArray) -> FloatArray:
    """Those of numbers of successes."""
    law = stats.binom(trials, probability)
    return of_counts(x, law.cdf, law.sf)


def negative_binomial(x: FloatArray, rate: FloatArray, dispersion: FloatArray) -> FloatArray:
    """Those of counts of this mean and the variance rate (1 + dispersion · rate)."""
    law = stats.nbinom(1.0 / dispersion, 1.0 / (1.0 + dispersion * rate))
    return of_counts(x, law.cdf, law.sf)
