"""Distributions of probabilities: what latent structures and families alike need of Dirichlet and Beta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, gammaln

FloatArray = NDArray[np.float64]


def expected_logs(counts: FloatArray) -> FloatArray:
    """Expected logarithms of probabilities that have Dirichlet distributions along the last axis.

    A count of 0 is of what is impossible: -inf.
    """
    some = counts > 0
    logs = digamma(np.where(some, counts, 1.0)) - digamma(counts.sum(axis=-1, keepdims=True))
    return np.where(some, logs, -np.inf)


def dirichlet_divergence(counts: FloatArray, prior: FloatArray) -> FloatArray:
    """Kullback-Leibler divergences of Dirichlet distributions along the last axis from others, in nats.

    What is impossible in both, with counts of 0, takes no part.
    """
    prior = np.broadcast_to(prior, counts.shape)
    some = counts > 0
    a, a0 = (counts, prior) if some.all() else (np.where(some, counts, 1.0), np.where(some, prior, 1.0))
    own = gammaln(a0) - gammaln(a) + (a - a0) * digamma(a)
    total, total0 = counts.sum(axis=-1), prior.sum(axis=-1)
    of_totals = gammaln(total) - gammaln(total0) - (total - total0) * digamma(total)
    return np.asarray(own.sum(axis=-1) + of_totals)


def beta_divergence(a: FloatArray, b: FloatArray, a0: FloatArray, b0: FloatArray) -> FloatArray:
    """Kullback-Leibler divergences of Beta distributions of parameters a, b from those of a0, b0, in nats."""
    both = digamma(a + b)
    of_logs = (a - a0) * (digamma(a) - both) + (b - b0) * (digamma(b) - both)
    return np.asarray(betaln(a0, b0) - betaln(a, b) + of_logs)
