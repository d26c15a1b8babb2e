r"""What the height of a likelihood may owe to luck.

The likelihood of a Gaussian mixture is unbounded, and well below infinity it rewards components that are nearly
singular for no better reason than that a few observations happen to lie in a plane. A component that is unlike
the others because many observations say so earns as much by each of them. Fits are therefore ranked by their
*evidence*, the log-likelihood less a handicap for each component,

.. math:: h_k = \min\left(\tfrac12 \operatorname{tr}(\Sigma_k W^{-1} + W \Sigma_k^{-1}) - d, \;
    3 (d + 2) \log(1 + n_k)\right), \qquad W = \sum_k \frac{n_k}{n} \Sigma_k .

The first part is the symmetric divergence (Jeffreys, 1946) of the component's covariance from that within all
components: nothing where these are alike, and the same in all units. The second is what d + 2 parameters, of
place and of shape, can be worth by luck; n_k observations lie behind them. Components that are held up by
fewer observations than always fit exactly earn nothing at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.families.base import available_mean

FloatArray = NDArray[np.float64]

# How many times ½ log n a parameter can be worth by luck.
WORTH = 6.0
# A feature is recorded in steps where values repeat, and are multiples of a step. That says something where
# they are several, or repeat often.
SEVERAL, OFTEN = 5, 10
# Number of observations that is as good as none.
NOTHING = 1e-6


def handicap(divergence: FloatArray, weight: FloatArray, d: int, least: int) -> float:
    """Nats that components must be better by.

    Parameters
    ----------
    divergence : ndarray of shape (K,)
        Of each component from all of them, in nats.
    weight : ndarray of shape (K,)
        Number of observations behind each component.
    d : int
        Number of features.
    least : int
        With fewer observations than this a component is singular, whatever they are.
    """
    if (weight < least - NOTHING).any():
        return float("inf")
    return float(np.minimum(divergence, luck(d, weight)).sum())


def luck(d: int, n: Any) -> Any:
    """Nats that a component can be worth by luck, in ``d`` features of ``n`` observations."""
    return 0.5 * WORTH * (d + 2) * np.log1p(n)


def divergence(ratio: FloatArray) -> FloatArray:
    """Symmetric divergence, in nats, of normal distributions whose variances have this ratio."""
    return 0.5 * (ratio + 1 / ratio) - 1


def spread(batch: Batch) -> FloatArray:
    """Variance of each feature over the observations that have it, 1 where it has none, (d,)."""
    weight = np.ones((1, batch.x.shape[1])) if batch.weight is None else batch.weight[None, :]
    centred = batch.x - available_mean(batch.x, weight, 0.0).T
    variance: FloatArray = available_mean(centred**2, weight, 0.0)[0]
    return np.where(variance > 0, variance, 1.0)


def hidden(batch: Batch, size: float) -> FloatArray:
    """Least variance that the steps allow in which a feature is recorded; 0 where there are none, (d,).

    What was rounded to a step δ may be off by δ/2, and a component is not known to be narrower than that: that
    many observations share a value says nothing there. With a variance of δ²/4 no split of a column of two
    values, equally frequent, gains anything. Among real numbers, where values are no multiples of a step, ties
    do say something.

    Parameters
    ----------
    batch : Batch
        Observations.
    size : float
        How many observations these stand for.
    """
    variance = np.zeros(len(batch.x))
    every = spread(batch)
    share = size / batch.x.shape[1]  # rows are merged
    for j, x in enumerate(batch.x):
        values = np.unique(x[~np.isnan(x)])
        repeats = np.count_nonzero(~np.isnan(x)) * share / max(len(values), 1)
        if len(values) < 2 or repeats < (2 if len(values) >= SEVERAL else OFTEN):
            continue
        gaps = np.diff(values)
        step = gaps.min()
        n_steps = gaps / step
        exact = 1e-6 + 8 * np.finfo(np.float64).eps * np.abs(values).max() / step
        if exact < 0.1 and np.abs(n_steps - np.round(n_steps)).max() <= exact:
            variance[j] = min(step**2 / 4, every[j])
    return variance
