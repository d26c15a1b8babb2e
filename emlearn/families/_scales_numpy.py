"""Scales of observations in NumPy: oracle of the compiled ones, and what runs where these are not built."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, zeta

from emlearn.em.batches import FloatArray

NAME = "NumPy"


def log_densities(
    half: FloatArray, rate: FloatArray, shape: FloatArray, constant: FloatArray, log_prob: FloatArray
) -> None:
    """Log-densities of Student's t.

    Parameters
    ----------
    half : ndarray of shape (K, m)
        −½ δ, the squared Mahalanobis lengths.
    rate : ndarray of shape (K,)
        1 / ν.
    shape, constant : ndarray of shape (K, m) or (K, 1)
        ½ (ν + d), and the log-density where δ is 0.
    log_prob : ndarray of shape (K, m)
        Output.
    """
    np.log(_stretch(half, rate), out=log_prob)
    log_prob *= -shape
    log_prob += constant


def expect(
    half: FloatArray,
    rate: FloatArray,
    factor: FloatArray,
    resp: FloatArray,
    scaled: FloatArray,
    weight: FloatArray,
    of_logs: FloatArray,
) -> None:
    """Sums of what is expected of the scales.

    Parameters
    ----------
    half : ndarray of shape (K, m)
    rate : ndarray of shape (K,)
    factor : ndarray of shape (K, m) or (K, 1)
        1 + d / ν.
    resp : ndarray of shape (K, m)
    scaled : ndarray of shape (K, m)
        Output: r times the expected scale.
    weight, of_logs : ndarray of shape (K,)
        Output: Σ r, and Σ r log(1 + δ / ν).
    """
    stretch = _stretch(half, rate)
    np.multiply(resp, factor, out=scaled)
    scaled /= stretch
    resp.sum(axis=1, out=weight)
    np.einsum("km,km->k", resp, np.log(stretch, out=stretch), out=of_logs)


def _stretch(half: FloatArray, rate: FloatArray) -> FloatArray:
    """1 + δ / ν."""
    stretch = half * (-2.0 * rate[:, None])
    stretch += 1.0
    return stretch


def gamma_shapes(excess: FloatArray, n_steps: int, shapes: FloatArray) -> None:
    """Shapes a of Gamma distributions of which log a − ψ(a) is ``excess``, by Newton steps in 1 / a."""
    a = (3 - excess + np.sqrt((excess - 3) ** 2 + 24 * excess)) / (12 * excess)
    for _ in range(n_steps):
        a = 1.0 / (1.0 / a + (np.log(a) - digamma(a) - excess) / (a * (1.0 - a * zeta(2.0, a))))
    shapes[...] = a
