r"""Covariance structures: what a Gaussian family needs to know of the form of its covariance matrices.

A structure works on stacks: C matrices, where C is the number of components, or 1 when they share one.
Second moments are held as *products*, the distinct entries that the structure uses: the upper triangle of
a full matrix, the diagonal, or the trace. A *whitener* W is a square root of the precision matrix,
:math:`\Sigma^{-1} = W W^\top`; it is what scikit-learn calls ``precisions_cholesky_``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

from emlearn.em.spaces import Positive, PositiveDefinite

FloatArray = NDArray[np.float64]

TRIANGLE_BLOCK = 25  # narrower blocks skip more zeros, wider ones make better use of BLAS


class Structure(Protocol):
    """Form of a covariance matrix of d features."""

    space: Any

    def n_products(self, d: int) -> int:
        """Number of distinct products, F2; also the number of free parameters of one matrix."""
        ...

    def squares(self, x: FloatArray) -> FloatArray:
        """Products of each column of x (d, m) with itself, (F2, m)."""
        ...

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Symmetrised products of the rows of a and b, both (K, d), as (K, F2)."""
        ...

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        """Σ weight · squares over the columns of x (d, m), as (F2,)."""
        ...

    def covariance(self, mean_products: FloatArray, d: int, floor: float) -> FloatArray:
        """Covariances (C, ...) from mean products (C, F2), eigenvalues at least ``floor``.

        Raising the eigenvalues of the unconstrained maximum to the floor gives the constrained maximum.
        """
        ...

    def raise_to(self, covariance: FloatArray, floor: float) -> FloatArray:
        """Covariances with eigenvalues below ``floor`` raised to it."""
        ...

    def invert(self, precision: FloatArray) -> FloatArray:
        """Covariances from precisions."""
        ...

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        """How many eigenvalues of each matrix rest on the floor or lie below, (C,)."""
        ...

    def whitener(self, covariance: FloatArray) -> FloatArray:
        """W with Σ⁻¹ = W Wᵀ, of the shape of ``covariance``."""
        ...

    def log_det(self, whitener: FloatArray, d: int) -> FloatArray:
        """log |W|, (C,)."""
        ...

    def coefficients(self, whitener: FloatArray, d: int) -> FloatArray:
        """Coefficients (C, F2) of −½ xᵀ Σ⁻¹ x on the squares of x."""
        ...

    def apply_precision(self, whitener: FloatArray, means: FloatArray) -> FloatArray:
        """Σ⁻¹ μ for each row of means (K, d)."""
        ...

    def distance(self, whitener: FloatArray, centred: FloatArray) -> FloatArray:
        """Squared Mahalanobis lengths (m,) of the columns of ``centred`` (d, m), for one matrix."""
        ...

    def write_squares(self, x: FloatArray, out: FloatArray) -> None:
        """`squares` into an array that is there already."""
        ...

    def units(self, variances: FloatArray) -> FloatArray:
        """Scale of each feature that this structure can be freed of, from their variances (d,)."""
        ...

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        """Covariances of features multiplied by ``scale`` (d,)."""
        ...

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        """Covariances as full matrices (C, d, d)."""
        ...

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        """Covariances of some of the features."""
        ...

    def extend(
        self,
        covariance: FloatArray,
        known: NDArray[np.int_],
        d: int,
        weight: FloatArray,
        first: FloatArray,
        second: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Expected moments of all d features from moments of the ``known``, all about the means.

        Given ``covariance``, the unknown features are a linear function of the known plus noise: sums of
        moments (K, p) and (C, F2) over observations of total weight (C,) become sums (K, d) and (C, F2)
        without a look at the observations.
        """
        ...

    def identity(self, n: int, d: int) -> FloatArray:
        """A stack of n identity matrices."""
        ...


@cache
def _triangle(d: int) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """Rows and columns of the upper triangle, and where each entry (i, j) stands in it, (d, d)."""
    rows, columns = np.triu_indices(d)
    where = np.empty((d, d), dtype=np.int_)
    where[rows, columns] = where[columns, rows] = np.arange(rows.size)
    return rows, columns, where


@dataclass(frozen=True)
class Full:
    """Any covariance matrix, (C, d, d). Of one feature it is a number, and no algebra is needed."""

    space = PositiveDefinite()

    def n_products(self, d: int) -> int:
        return d * (d + 1) // 2

    def squares(self, x: FloatArray) -> FloatArray:
        d, m = x.shape
        out = np.empty((self.n_products(d), m))
        self.write_squares(x, out)
        return out

    def write_squares(self, x: FloatArray, out: FloatArray) -> None:
        """`squares` into an array that is there already."""
        start = 0
        for i in range(len(x)):
            stop = start + len(x) - i
            np.multiply(x[i], x[i:], out=out[start:stop])
            start = stop

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        if a.shape[1] == 1:
            return a * b
        rows, columns, _ = _triangle(a.shape[1])
        products = a.take(rows, axis=1) * b.take(columns, axis=1)
        products += a.take(columns, axis=1) * b.take(rows, axis=1)
        products *= 0.5
        return products

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        # NumPy hands a product of a matrix with its own transpose to syrk, at half the work.
        root = x if weight is None else x * np.sqrt(weight)
        rows, columns, _ = _triangle(x.shape[0])
        return (root @ root.T)[rows, columns]

    def covariance(self, mean_products: FloatArray, d: int, floor: float) -> FloatArray:
        return self.raise_to(mean_products[:, _triangle(d)[2]], floor)

    def raise_to(self, covariance: FloatArray, floor: float) -> FloatArray:
        if not self.n_at_floor(covariance, floor).any():
            return covariance
        values, vectors = np.linalg.eigh(covariance)
        raised = (vectors * np.maximum(values, floor)[:, None, :]) @ vectors.swapaxes(1, 2)
        low = values[:, 0] < floor
        return np.where(low[:, None, None], 0.5 * (raised + raised.swapaxes(1, 2)), covariance)

    def invert(self, precision: FloatArray) -> FloatArray:
        covariance = np.linalg.inv(precision)
        return 0.5 * (covariance + covariance.swapaxes(1, 2))

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        d = covariance.shape[-1]
        if d == 1:
            return (covariance[:, 0, 0] <= floor).astype(np.int_)
        try:  # cheap where, as usual, no eigenvalue is that low
            np.linalg.cholesky(covariance - floor * np.eye(d))
            return np.zeros(len(covariance), dtype=np.int_)
        except np.linalg.LinAlgError:
            return np.sum(np.linalg.eigvalsh(covariance) <= floor, axis=1)

    def whitener(self, covariance: FloatArray) -> FloatArray:
        if covariance.shape[-1] == 1:
            return 1.0 / np.sqrt(covariance)
        # dtrtri(A, lower=1) inverts A; the upper triangle of cholesky's result is zero already.
        inverses = [dtrtri(L, lower=1)[0] for L in np.linalg.cholesky(covariance)]
        return np.array(inverses).swapaxes(1, 2)

    def log_det(self, whitener: FloatArray, d: int) -> FloatArray:
        if d == 1:
            return np.log(whitener[:, 0, 0])
        return np.log(np.diagonal(whitener, axis1=1, axis2=2)).sum(axis=1)

    def coefficients(self, whitener: FloatArray, d: int) -> FloatArray:
        if d == 1:
            return -0.5 * whitener[:, 0] ** 2
        precision = whitener @ whitener.swapaxes(1, 2)
        rows, columns, _ = _triangle(d)
        return precision[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)

    def apply_precision(self, whitener: FloatArray, means: FloatArray) -> FloatArray:
        if means.shape[1] == 1:
            return whitener[:, 0] ** 2 * means
        return (whitener @ (whitener.swapaxes(1, 2) @ means[:, :, None]))[:, :, 0]

    def distance(self, whitener: FloatArray, centred: FloatArray) -> FloatArray:
        # The whitener is upper triangular: in blocks of columns, most of its zeros are not multiplied.
        d, m = centred.shape
        distance = np.zeros(m)
        for start in range(0, d, TRIANGLE_BLOCK):
            stop = min(start + TRIANGLE_BLOCK, d)
            white = whitener[:stop, start:stop].T @ centred[:stop]
            distance += np.einsum("im,im->m", white, white)
        return distance

    def units(self, variances: FloatArray) -> FloatArray:
        return np.sqrt(variances)

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        return covariance * np.outer(scale, scale)

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        return covariance

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        return covariance[:, columns[:, None], columns]

    def extend(
        self,
        covariance: FloatArray,
        known: NDArray[np.int_],
        d: int,
        weight: FloatArray,
        first: FloatArray,
        second: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        unknown = np.delete(np.arange(d), known)
        cross = covariance[:, known[:, None], unknown]
        slopes = np.linalg.solve(self.marginal(covariance, known), cross).swapaxes(1, 2)
        lift = np.zeros((len(covariance), d, len(known)))
        lift[:, known, np.arange(len(known))] = 1.0
        lift[:, unknown] = slopes
        full = lift @ second[:, _triangle(len(known))[2]] @ lift.swapaxes(1, 2)
        noise = self.marginal(covariance, unknown) - slopes @ cross
        full[:, unknown[:, None], unknown] += weight[:, None, None] * noise
        rows, columns, _ = _triangle(d)
        return (lift @ first[:, :, None])[:, :, 0], full[:, rows, columns]

    def identity(self, n: int, d: int) -> FloatArray:
        return np.tile(np.eye(d), (n, 1, 1))


class _Uncorrelated:
    """What structures without correlations share; their arrays are variances, their whiteners 1 / sd."""

    space = Positive()

    def write_squares(self, x: FloatArray, out: FloatArray) -> None:
        out[...] = self.squares(x)

    def squares(self, x: FloatArray) -> FloatArray:
        raise NotImplementedError

    def raise_to(self, covariance: FloatArray, floor: float) -> FloatArray:
        return np.maximum(covariance, floor)

    def invert(self, precision: FloatArray) -> FloatArray:
        return 1.0 / precision

    def whitener(self, covariance: FloatArray) -> FloatArray:
        return 1.0 / np.sqrt(covariance)


def _at_zero(first: FloatArray, known: NDArray[np.int_], d: int) -> FloatArray:
    """First moments about the means with those of the other features, uncorrelated, added: 0."""
    extended = np.zeros((len(first), d))
    extended[:, known] = first
    return extended


@dataclass(frozen=True)
class Diagonal(_Uncorrelated):
    """Uncorrelated features, each with its variance, (C, d)."""

    def n_products(self, d: int) -> int:
        return d

    def squares(self, x: FloatArray) -> FloatArray:
        return x * x

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return a * b

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        if weight is None:
            return np.einsum("im,im->i", x, x)
        return (x * x) @ weight

    def covariance(self, mean_products: FloatArray, d: int, floor: float) -> FloatArray:
        return np.maximum(mean_products, floor)

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        return np.sum(covariance <= floor, axis=1)

    def log_det(self, whitener: FloatArray, d: int) -> FloatArray:
        return np.log(whitener).sum(axis=1)

    def coefficients(self, whitener: FloatArray, d: int) -> FloatArray:
        return -0.5 * whitener**2

    def apply_precision(self, whitener: FloatArray, means: FloatArray) -> FloatArray:
        return whitener**2 * means

    def distance(self, whitener: FloatArray, centred: FloatArray) -> FloatArray:
        white = whitener[:, None] * centred
        return np.einsum("im,im->m", white, white)

    def units(self, variances: FloatArray) -> FloatArray:
        return np.sqrt(variances)

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        return covariance * scale**2

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        return covariance[:, :, None] * np.eye(d)

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        return covariance[:, columns]

    def extend(
        self,
        covariance: FloatArray,
        known: NDArray[np.int_],
        d: int,
        weight: FloatArray,
        first: FloatArray,
        second: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        full = weight[:, None] * covariance
        full[:, known] = second
        return _at_zero(first, known, d), full

    def identity(self, n: int, d: int) -> FloatArray:
        return np.ones((n, d))


@dataclass(frozen=True)
class Spherical(_Uncorrelated):
    """Uncorrelated features of one variance, (C,)."""

    def n_products(self, d: int) -> int:
        return 1

    def squares(self, x: FloatArray) -> FloatArray:
        return np.einsum("im,im->m", x, x)[None, :]

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return np.einsum("ki,ki->k", a, b)[:, None]

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        squares = self.squares(x)
        return squares.sum(axis=1) if weight is None else squares @ weight

    def covariance(self, mean_products: FloatArray, d: int, floor: float) -> FloatArray:
        return np.maximum(mean_products[:, 0] / d, floor)

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        return (covariance <= floor).astype(np.int_)

    def log_det(self, whitener: FloatArray, d: int) -> FloatArray:
        return d * np.log(whitener)

    def coefficients(self, whitener: FloatArray, d: int) -> FloatArray:
        return -0.5 * whitener[:, None] ** 2

    def apply_precision(self, whitener: FloatArray, means: FloatArray) -> FloatArray:
        return whitener[:, None] ** 2 * means

    def distance(self, whitener: FloatArray, centred: FloatArray) -> FloatArray:
        return np.einsum("im,im->m", centred, centred) * whitener**2

    def units(self, variances: FloatArray) -> FloatArray:
        # One unit for all features: scaling them one by one would not keep the sphere a sphere.
        return np.full_like(variances, np.sqrt(variances.mean()))

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        return covariance * scale[0] ** 2

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        return covariance[:, None, None] * np.eye(d)

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        return covariance

    def extend(
        self,
        covariance: FloatArray,
        known: NDArray[np.int_],
        d: int,
        weight: FloatArray,
        first: FloatArray,
        second: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        n_unknown = d - len(known)
        return _at_zero(first, known, d), second + n_unknown * (weight * covariance)[:, None]

    def identity(self, n: int, d: int) -> FloatArray:
        return np.ones(n)
