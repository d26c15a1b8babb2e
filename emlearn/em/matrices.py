"""Algebra of many small symmetric matrices, by what is fastest; see `emlearn.em._matrices_numpy`.

To call NumPy costs more than what it computes of small matrices.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em import _matrices_numpy
from emlearn.em.compiled import compiled_or

FloatArray = NDArray[np.float64]

kernel: Any = compiled_or(_matrices_numpy)


def _fitting(d: int) -> Any:
    """What is faster for matrices of a size: large ones are LAPACK's."""
    return kernel if d <= kernel.LARGEST else _matrices_numpy


def _plain(array: FloatArray) -> FloatArray:
    return np.ascontiguousarray(array, dtype=np.float64)


def are_above(matrices: FloatArray, floor: float) -> NDArray[np.bool_]:
    """Which matrices (C, d, d) have no eigenvalue that is ``floor`` or less, (C,)."""
    above = np.empty(len(matrices), dtype=np.bool_)
    _fitting(matrices.shape[-1]).are_above(_plain(matrices), floor, above.view(np.uint8))
    return above


def inverse_roots(matrices: FloatArray) -> FloatArray:
    """Upper triangular W (C, d, d) with inverses W Wᵀ."""
    roots = np.empty(matrices.shape)
    _fitting(matrices.shape[-1]).inverse_roots(_plain(matrices), roots)
    return roots


def natural(roots: FloatArray, means: FloatArray, *, quadratic: bool) -> FloatArray:
    """Coefficients (K, F) of normal log-densities on 1, x and, if asked for, products with i ≤ j.

    ``roots`` are `inverse_roots` (C, d, d) of the covariances, of the K densities by turns.
    """
    K, d = means.shape
    coefficients = np.empty((K, 1 + d + (d * (d + 1) // 2 if quadratic else 0)))
    _fitting(d).natural(_plain(roots), _plain(means), quadratic, coefficients)
    return coefficients


def products(a: FloatArray, b: FloatArray) -> FloatArray:
    """Symmetrised products of the rows of a and b, both (K, d), with i ≤ j, (K, d (d + 1) / 2)."""
    K, d = a.shape
    out = np.empty((K, d * (d + 1) // 2))
    _fitting(d).products(_plain(a), _plain(b), out)
    return out


def log_cholesky(matrices: FloatArray) -> FloatArray:
    """Lower triangles of Cholesky factors, with logarithms on the diagonal, (C, d (d + 1) / 2)."""
    C, d, _ = matrices.shape
    coordinates = np.empty((C, d * (d + 1) // 2))
    _fitting(d).log_cholesky(_plain(matrices), coordinates)
    return coordinates


def from_log_cholesky(coordinates: FloatArray, d: int) -> FloatArray:
    """Matrices (C, d, d) with these coordinates (C, d (d + 1) / 2)."""
    matrices = np.empty((len(coordinates), d, d))
    _fitting(d).from_log_cholesky(_plain(coordinates), matrices)
    return matrices


def sweep(
    axes: FloatArray, matrices: FloatArray, precision: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, float]:
    """Axes (d, d) turned once in the plane of every pair, matrices (K, d, d) along them, the largest angle.

    Angles are those of least Σ tr(precision · matrix), for given precisions (K, d) along the axes; without them
    those of the least sum of squares off the diagonals.
    """
    axes, matrices = np.array(axes, order="C"), np.array(matrices, order="C")
    none = axes[:0] if precision is None else _plain(precision)
    return axes, matrices, kernel.sweep(axes, matrices, none, _pairs(len(axes)))


@cache
def _pairs(d: int) -> NDArray[np.intp]:
    return np.ascontiguousarray(np.concatenate(_matrices_numpy.rounds(d), axis=1))
