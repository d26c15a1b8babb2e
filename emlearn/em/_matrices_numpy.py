"""Small symmetric matrices in NumPy: oracle of the compiled functions, and what runs where these are not built.

Matrices are of shape (C, d, d).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

FloatArray = NDArray[np.float64]

NAME = "NumPy"
LARGEST = 2**31  # of size, that is taken


def are_above(matrices: FloatArray, floor: float, above: NDArray[np.bool_]) -> None:
    """Which matrices have no eigenvalue that is ``floor`` or less, into ``above`` (C,)."""
    lowered = matrices - floor * np.eye(matrices.shape[-1])
    try:  # cheap where, as usual, that is all of them
        np.linalg.cholesky(lowered)
        above[:] = True
    except np.linalg.LinAlgError:
        above[:] = np.linalg.eigvalsh(lowered)[:, 0] > 0.0


def inverse_roots(matrices: FloatArray, roots: FloatArray) -> None:
    """Upper triangular W with inverses :math:`W W^\\top`, into ``roots`` (C, d, d).

    Raises
    ------
    LinAlgError
        If a matrix is not positive definite.
    """
    if not roots.size:  # LAPACK complains of no columns
        return
    for root, lower in zip(roots, np.linalg.cholesky(matrices), strict=True):
        # dtrtri(A, lower=1) inverts A; the upper triangle of cholesky's result is zero already.
        root[...] = dtrtri(lower, lower=1)[0].T


def natural(roots: FloatArray, means: FloatArray, quadratic: bool, coefficients: FloatArray) -> None:
    """Coefficients of normal log-densities on 1, x and, if asked for, products x_i x_j with i ≤ j.

    Parameters
    ----------
    roots : ndarray of shape (C, d, d)
        `inverse_roots` of the covariances, of the densities by turns.
    means : ndarray of shape (K, d)
    quadratic : bool
        Whether to give those on products.
    coefficients : ndarray of shape (K, F)
        Output.
    """
    K, d = means.shape
    each = roots[np.arange(K) % len(roots)]
    white = each.swapaxes(1, 2) @ means[:, :, None]
    log_det = np.log(np.diagonal(each, axis1=1, axis2=2)).sum(axis=1)
    coefficients[:, 0] = log_det - 0.5 * d * np.log(2 * np.pi) - 0.5 * (white[:, :, 0] ** 2).sum(axis=1)
    coefficients[:, 1 : d + 1] = (each @ white)[:, :, 0]
    if quadratic:
        rows, columns = np.triu_indices(d)
        precisions = each @ each.swapaxes(1, 2)
        coefficients[:, d + 1 :] = precisions[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)


def products(a: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """Symmetrised products of the rows of a and b, both (K, d), with i ≤ j, into ``out`` (K, d (d + 1) / 2)."""
    rows, columns = np.triu_indices(a.shape[1])
    np.multiply(a.take(rows, axis=1), b.take(columns, axis=1), out=out)
    out += a.take(columns, axis=1) * b.take(rows, axis=1)
    out *= 0.5


def log_cholesky(matrices: FloatArray, coordinates: FloatArray) -> None:
    """Lower triangles of Cholesky factors, with logarithms on the diagonal, into ``coordinates`` (C, T).

    Raises
    ------
    LinAlgError
        If a matrix is not positive definite.
    """
    factors = np.linalg.cholesky(matrices)
    rows, columns = np.tril_indices(matrices.shape[-1])
    coordinates[...] = factors[:, rows, columns]
    diagonal = rows == columns
    coordinates[:, diagonal] = np.log(coordinates[:, diagonal])


def from_log_cholesky(coordinates: FloatArray, matrices: FloatArray) -> None:
    """Matrices that have these coordinates, into ``matrices`` (C, d, d)."""
    rows, columns = np.tril_indices(matrices.shape[-1])
    factors = np.zeros_like(matrices)
    with np.errstate(over="ignore", invalid="ignore"):
        factors[:, rows, columns] = np.where(rows == columns, np.exp(coordinates), coordinates)
        np.matmul(factors, factors.swapaxes(1, 2), out=matrices)


@cache
def rounds(d: int) -> list[NDArray[np.intp]]:
    """All pairs of d axes, (2, n), in rounds of disjoint ones as of a tournament."""
    even = d + d % 2
    seats, found = np.arange(even), []
    for _ in range(even - 1):
        pairs = np.sort([seats[: even // 2], seats[: even // 2 - 1 : -1]], axis=0)
        found.append(pairs[:, pairs[1] < d])
        seats = np.concatenate([seats[:1], np.roll(seats[1:], 1)])
    return found


def sweep(axes: FloatArray, matrices: FloatArray, precision: FloatArray, pairs: NDArray[np.intp]) -> float:
    """Axes turned once in the plane of every pair, in place; the largest angle.

    Parameters
    ----------
    axes : ndarray of shape (d, d)
    matrices : ndarray of shape (K, d, d)
        Along the axes.
    precision : ndarray of shape (K, d) or (0, d)
        Angles are those of least Σ tr(precision · matrix), for precisions along the axes, or where there are
        none those of the least sum of squares off the diagonals.
    pairs : ndarray of shape (2, d (d - 1) / 2)
        `rounds`, one after the other.
    """
    largest = 0.0
    for p, q in rounds(len(axes)):
        apart, across = matrices[:, p, p] - matrices[:, q, q], matrices[:, p, q]
        if len(precision):
            gain = precision[:, p] - precision[:, q]
            # From 0, or of what is -0 the angle would be half a turn.
            angle = 0.5 * np.arctan2(
                0.0 - np.sum(gain * across, axis=0), 0.0 - 0.5 * np.sum(gain * apart, axis=0)
            )
        else:
            across = 2 * across
            angle = 0.25 * np.arctan2(
                2 * np.sum(apart * across, axis=0), np.sum((apart - across) * (apart + across), axis=0)
            )
        cos, sin = np.cos(angle), np.sin(angle)
        for array in (axes, matrices, matrices.swapaxes(1, 2)):
            at_p, at_q = array[..., p], array[..., q]
            array[..., p] = cos * at_p + sin * at_q
            array[..., q] = cos * at_q - sin * at_p
        largest = max(largest, float(np.abs(angle).max(initial=0.0)))
    return largest
