"""Mixtures of some features given others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.families.base import conditional_moments


class ConditionalMixture(NamedTuple):
    """Mixture of some features given others, per row."""

    weights: NDArray[np.float64]  # (n, K)
    means: NDArray[np.float64]  # (n, K, q)
    covariances: NDArray[
        np.float64
    ]  # (K, q, q), the same for every row; (n, K, q, q) where entries are missing

    def mean(self) -> NDArray[np.float64]:
        """Mean of the mixture for each row, of shape (n, q): the regression of the features on the others."""
        return np.einsum("nk,nkq->nq", self.weights, self.means)


class MixedConditional(NamedTuple):
    """Mixture of some columns of any kind given others, per row; q of them remain."""

    weights: NDArray[np.float64]  # (n, K)
    means: NDArray[np.float64]  # (n, K, q), NaN for categories
    covariances: NDArray[np.float64]  # (K, q, q) or (n, K, q, q), as of `ConditionalMixture`
    probabilities: dict[
        int, NDArray[np.float64]
    ]  # by the number of each column of categories, (K, n_categories)

    def mean(self) -> NDArray[np.float64]:
        """Mean of the mixture for each row, of shape (n, q); NaN for categories."""
        return np.einsum("nk,nkq->nq", self.weights, self.means)

    def proba(self, column: int) -> NDArray[np.float64]:
        """Probabilities of the categories of a column for each row, of shape (n, n_categories)."""
        return self.weights @ self.probabilities[column]


def moments_given(means, covariances, known, z):
    """Moments as of `conditional_moments`, the covariances for each row where entries of z are missing."""
    missing = np.isnan(z)
    if not missing.any():
        return conditional_moments(means, covariances, known, z)
    others = np.setdiff1d(np.arange(means.shape[1]), known)
    K, n, q = len(means), len(z), len(others)
    of_rows = np.empty((n, K, q)), np.empty((n, K, q, q))
    patterns, which = np.unique(missing, axis=0, return_inverse=True)
    for number, lacks in enumerate(patterns):
        rows, there = which.ravel() == number, known[~lacks]
        kept = np.sort(np.append(there, others))
        part = means[:, kept], covariances[:, kept[:, None], kept]
        found = conditional_moments(*part, np.searchsorted(kept, there), z[rows][:, ~lacks])
        for whole, values in zip(of_rows, found, strict=True):
            whole[rows] = values
    return of_rows
