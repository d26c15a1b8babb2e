"""Residuals on a normal scale, whatever the distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.float64]


class PseudoResiduals(NamedTuple):
    """Where observations lie in the distributions that a model gives them, as quantiles of the standard normal.

    If the model holds, numbers give independent standard normal values, `low`, `mid` and `high` all the same. A
    count has a probability of its own and with it a segment from `low` to `high`, of which `mid` is the value
    in the middle of its probability.

    Attributes
    ----------
    low, mid, high : ndarray
        Of one shape; NaN where nothing is observed, and for categories, which have no order.
    """

    low: Any
    mid: Any
    high: Any


def residuals_of(shares: FloatArray, tails: FloatArray) -> PseudoResiduals:
    """Pseudo-residuals (..., m) by probabilities (K, m) of components and their tails (4, K, ..., m)."""
    less, up_to, from_there, beyond = np.einsum("km,tk...m->t...m", shares, tails)
    middle = _normal(0.5 * (less + up_to), 0.5 * (from_there + beyond))
    return PseudoResiduals(_normal(less, from_there), middle, _normal(up_to, beyond))


def _normal(below: FloatArray, above: FloatArray) -> FloatArray:
    """Quantiles of the standard normal with these probabilities on either side, by the smaller one."""
    quantiles: FloatArray = np.where(below <= above, ndtri(below), -ndtri(above))
    return quantiles
