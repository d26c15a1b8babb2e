"""Weighted cross-products, and systems of equations that may lack directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Eigenvalues of a cross-product matrix, its diagonal scaled to 1, below which a direction counts as absent.
NO_DIRECTION = 1e-12
# Shares of a column's squares that the columns before leave of it, above which no direction can be absent.
CERTAIN = 1e-6


def weighted_gram(weight: FloatArray, z: FloatArray) -> FloatArray:
    """Σ w z zᵀ (K, p, p) for weights (K, m) of the columns of z (p, m): one product for all K."""
    K, (p, m) = len(weight), z.shape
    return ((weight[:, None, :] * z).reshape(K * p, m) @ z.T).reshape(K, p, p)


def spectrum(gram: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Eigenvalues, eigenvectors and sizes: of matrices (..., p, p) scaled to a diagonal of 1 by their sizes."""
    size = np.sqrt(np.einsum("...ii->...i", gram))
    size = np.where(size > 0, size, 1.0)
    # Sizes one by one: their product may be out of range where the quotient is not.
    values, vectors = np.linalg.eigh(gram / size[..., :, None] / size[..., None, :])
    return values, vectors, size


def solve(gram: FloatArray, right: FloatArray) -> FloatArray:
    """Solutions (..., p) of symmetric positive semidefinite systems (..., p, p).

    Where there are many, the one of least norm, in units in which the diagonal is 1.
    """
    try:
        pivots = np.einsum("...ii->...i", np.linalg.cholesky(gram)) ** 2
        if (pivots > CERTAIN * np.einsum("...ii->...i", gram)).all():
            return np.asarray(np.linalg.solve(gram, right[..., None])[..., 0], dtype=np.float64)
    except np.linalg.LinAlgError:
        pass
    values, vectors, size = spectrum(gram)
    told = values > NO_DIRECTION
    along = np.einsum("...ji,...j->...i", vectors, right / size)
    along = np.where(told, along / np.where(told, values, 1.0), 0.0)
    solution: FloatArray = np.einsum("...ij,...j->...i", vectors, along) / size
    return solution


def whitener(gram: FloatArray) -> FloatArray:
    """W (p, r) with Wᵀ A W = 1, of a symmetric positive semidefinite A (p, p) of rank r."""
    values, vectors, size = spectrum(gram)
    told = values > NO_DIRECTION
    white: FloatArray = vectors[:, told] / np.sqrt(values[told]) / size[:, None]
    return white
