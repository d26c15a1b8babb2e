r"""Covariance structures: what a Gaussian family needs to know of the form of its covariance matrices.

A structure works on stacks: C matrices, where C is the number of components, or 1 when they share one.
Second moments are held as *products*, the distinct entries that the structure uses: the upper triangle of
a full matrix, the diagonal, or the trace. A *whitener* W is a square root of the precision matrix,
:math:`\Sigma^{-1} = W W^\top`; it is what scikit-learn calls ``precisions_cholesky_``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emlearn.em.matrices import are_above, inverse_roots, natural, products
from emlearn.em.spaces import Positive, PositiveDefinite
from emlearn.families import evidence
from emlearn.families.patterns import Gaps, PatternGroup, Places

if TYPE_CHECKING:
    from emlearn.families.gaussian import GaussianForm

FloatArray = NDArray[np.float64]

TRIANGLE_BLOCK = 25  # narrower blocks skip more zeros, wider ones make better use of BLAS
# Up to this size many small matrices are inverted side by side; LAPACK takes larger ones, or fewer than so many
# times their size, one by one.
SWEPT = 12
FEW = 4
# With no more numbers than this in the matrices of all components, theirs are inverted side by side too.
SIDE_BY_SIDE = 2**14
# With this many observations a pattern, its matrix multiplies them all at once.
SHARED = 8


@dataclass(frozen=True)
class Structure:
    """Form of the covariance matrices of K components over d features, and what of it they share.

    What is said of one matrix at a time is of C matrices, K or the one that all share.

    Parameters
    ----------
    shared : bool, default=False
        Whether all components have the same matrix.
    n_fits : int, default=1
        Of how many fits components stand side by side, where those of each have the same matrix: C is that.
    """

    shared: bool = False
    n_fits: int = field(default=1, compare=False)

    correlates = False  # whether each pair of features has an entry of its own
    by_feature = False  # whether each feature has an entry of its own, and there are no others
    conjugate = False  # whether the precisions have a conjugate prior: Wishart, or Gamma by entry

    def side_by_side(self, n_fits: int) -> Structure | None:
        """The structure of the components of so many fits, as of `emlearn.em.Family`; None for none."""
        return replace(self, n_fits=n_fits) if self.shared else self

    # -- what is shared ----------------------------------------------------------------------------------

    @property
    def pooled(self) -> Structure | None:
        """The structure in which components share what is a matrix each here; None where they do."""
        return None if self.shared else replace(self, shared=True)

    @property
    def of_some(self) -> Structure:
        """The structure of the covariances of some of the features."""
        return self

    def which(self, n_components: int) -> NDArray[np.int_]:
        """The matrix of each component, (K,)."""
        return np.arange(n_components) % self.n_fits if self.shared else np.arange(n_components)

    def pool(self, of_components: FloatArray) -> FloatArray:
        """Sums (C, ...) over the components that share a matrix."""
        if not self.shared:
            return of_components
        return of_components.reshape(-1, self.n_fits, *of_components.shape[1:]).sum(axis=0)

    @property
    def own_volumes(self) -> bool:
        """Whether the matrix of each component may be multiplied by a number of its own."""
        return not self.shared

    def of_one_volume(self, of_components: FloatArray) -> FloatArray:
        """For each component the sum (K,) over those whose matrices have the same volume."""
        return self.pool(of_components)[self.which(len(of_components))]

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        """Covariances of greatest likelihood, eigenvalues at least ``floor``.

        Raising the eigenvalues of the unconstrained maximum to the floor gives the constrained maximum.

        Parameters
        ----------
        products : ndarray of shape (C, F2)
            Σ r · products of x − μ.
        weight : ndarray of shape (C,)
            Σ r. What has no weight stays as it was.
        kept : ndarray of shape (C, ...)
            Covariances as they were, legal ones.
        d : int
        floor : float
        """
        empty = weight <= 0
        mean = products / np.where(empty, 1.0, weight)[:, None]
        covariance = self.raise_to(self.covariance(mean, d), floor)
        if empty.any():
            covariance[empty] = kept[empty]
        return covariance

    def nearest(self, covariance: FloatArray, floor: float) -> FloatArray:
        """Covariances of this structure, eigenvalues at least ``floor``, nearest to given ones."""
        return self.raise_to(covariance, floor)

    def least_rows(self, d: int) -> int:
        """With fewer observations than this of a component its matrix is singular, whatever they are."""
        return 1 if self.shared else 2

    def floors(self, floor: float, hidden: FloatArray) -> tuple[float, FloatArray | None]:
        """The floor, and those of features, (d,), that are higher; None where none is."""
        return floor, hidden if (hidden > floor).any() else None

    def n_free(self, n_components: int, d: int) -> int:
        """Number of free parameters."""
        return (1 if self.shared else n_components) * self.n_products(d)

    def space(self, forced: FloatArray | None = None) -> Any:
        """Where the covariances live; eigenvalues along the directions ``forced`` (d, f) are not to move."""
        raise NotImplementedError

    def coordinates_of(self, matrices: NDArray[np.bool_], n_coordinates: int) -> NDArray[np.bool_]:
        """Which coordinates in `space` some of the matrices, (C,), depend on."""
        return np.repeat(matrices, n_coordinates // len(matrices))

    # -- matrix by matrix --------------------------------------------------------------------------------

    def n_products(self, d: int) -> int:
        """Number of distinct products, F2; also the number of free parameters of one matrix."""
        raise NotImplementedError

    def squares(self, x: FloatArray) -> FloatArray:
        """Products of each column of x (d, m) with itself, (F2, m)."""
        raise NotImplementedError

    def write_squares(self, x: FloatArray, out: FloatArray) -> None:
        """`squares` into an array that is there already."""
        out[...] = self.squares(x)

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Symmetrised products of the rows of a and b, both (K, d), as (K, F2)."""
        raise NotImplementedError

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        """Σ weight · squares over the columns of x (d, m), as (F2,)."""
        raise NotImplementedError

    def covariance(self, mean_products: FloatArray, d: int) -> FloatArray:
        """Covariances of d features from mean products (C, F2)."""
        raise NotImplementedError

    def raise_to(self, covariance: FloatArray, floor: float) -> FloatArray:
        """Covariances with eigenvalues below ``floor`` raised to it."""
        raise NotImplementedError

    def invert(self, precision: FloatArray) -> FloatArray:
        """Covariances from precisions."""
        raise NotImplementedError

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        """How many eigenvalues of each matrix rest on the floor or lie below, (C,)."""
        raise NotImplementedError

    def reaches_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.bool_]:
        """Whether an eigenvalue of each matrix rests on the floor or lies below, (C,)."""
        return self.n_at_floor(covariance, floor) > 0

    def low_directions(self, covariance: FloatArray, d: int, floor: float) -> FloatArray:
        """Orthonormal directions (d, f) in which the first matrix is no larger than ``floor``."""
        values, vectors = np.linalg.eigh(self.dense(covariance[:1], d)[0])
        return np.asarray(vectors[:, values <= floor])

    def whitener(self, covariance: FloatArray) -> FloatArray:
        """W with Σ⁻¹ = W Wᵀ, of the shape of ``covariance``."""
        raise NotImplementedError

    def log_det(self, whitener: FloatArray, d: int) -> FloatArray:
        """Logarithm of the determinant of W, (C,)."""
        raise NotImplementedError

    def coefficients(self, whitener: FloatArray, d: int) -> FloatArray:
        """Coefficients (C, F2) of −½ xᵀ Σ⁻¹ x on the squares of x."""
        raise NotImplementedError

    def apply_precision(self, whitener: FloatArray, means: FloatArray) -> FloatArray:
        """Σ⁻¹ μ for each row of means (K, d)."""
        raise NotImplementedError

    def natural(self, form: GaussianForm) -> FloatArray:
        """Coefficients (K, F) of log-densities on 1, x and, where matrices are not shared, its squares."""
        own = [] if self.shared else [form.quadratic]
        return np.concatenate([form.at_zero[:, None], form.linear, *own], axis=1)

    def distance(self, whitener: FloatArray, centred: FloatArray) -> FloatArray:
        """Squared Mahalanobis lengths (m,) of the columns of ``centred`` (d, m), for one matrix."""
        raise NotImplementedError

    def units(self, variances: FloatArray) -> FloatArray:
        """Scale of each feature that this structure can be freed of, from their variances (d,)."""
        return np.sqrt(variances)

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        """Covariances of features multiplied by ``scale`` (d,)."""
        raise NotImplementedError

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        """Covariances as full matrices (C, d, d)."""
        raise NotImplementedError

    def divergence(self, covariance: FloatArray, share: FloatArray, d: int) -> FloatArray:
        """Symmetric divergence of each of K matrices from their mean, weighed by ``share``, in nats, (K,)."""
        raise NotImplementedError

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        """Covariances of some of the features."""
        raise NotImplementedError

    def given(self, whitener: FloatArray, gaps: Gaps, places: Places) -> Given:
        """What one matrix, by its whitener, says of missing entries given the others."""
        raise NotImplementedError

    def all_given(self, whiteners: FloatArray, gaps: Gaps, places: Places) -> list[Given]:
        """The same of each matrix of a stack."""
        return [self.given(whitener, gaps, places) for whitener in whiteners]

    def identity(self, n_components: int, d: int) -> FloatArray:
        """Identity matrices for so many components."""
        raise NotImplementedError

    # -- Wishart distributions of the precisions ---------------------------------------------------------

    def least_dof(self, d: int) -> int:
        """What the degrees of freedom must be more than."""
        return 0

    def n_pooled(self, d: int) -> int:
        """How many features tell of one entry."""
        return 1

    def gamma_shapes(self, dof: FloatArray, d: int) -> FloatArray:
        """Shapes (C, g) of independent Gamma variates, whose product is the determinant.

        Each counts once for each feature that it pools.
        """
        raise NotImplementedError

    def root(self, covariance: FloatArray) -> FloatArray:
        """R with Σ = R Rᵀ, of the shape of ``covariance``."""
        return np.sqrt(covariance)

    def traces(self, whitener: FloatArray, root: FloatArray, d: int) -> FloatArray:
        """Traces of R Rᵀ times the precisions, (C,), by the root of each matrix or of one that serves all."""
        raise NotImplementedError

    # -- from what a user gives --------------------------------------------------------------------------

    def refuse(self, covariance: FloatArray, d: int, name: str = "covariances") -> None:
        """Refuse covariances (C, ...) that are not symmetric and positive definite, or not of this form."""
        for k, matrix in enumerate(self.dense(covariance, d)):
            which = f"{name}[{k}]" if len(covariance) > 1 else name
            if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-12 * np.abs(matrix).max(initial=0.0)):
                raise ValueError(f"{which} must be symmetric, but is not.")
            try:
                np.linalg.cholesky(matrix)
            except np.linalg.LinAlgError:
                least = np.linalg.eigvalsh(matrix)[0]
                raise ValueError(
                    f"{which} must be positive definite, but its least eigenvalue is {least:.6g}."
                ) from None
        if not self.has_form(covariance):
            raise ValueError(f"{name} are not of the form that the components of {type(self).__name__} share.")

    def has_form(self, covariance: FloatArray) -> bool:
        """Whether positive definite matrices share what they have to."""
        return True

    def of_dense(self, matrices: FloatArray) -> FloatArray:
        """Covariances of this form nearest to matrices (K, d, d)."""
        d = matrices.shape[1]
        roots = np.linalg.cholesky(matrices)
        products = np.array([self.moment(root, None) for root in roots])
        weight = self.pool(np.ones(len(roots)))
        start = self.identity(len(roots), d)
        return self.maximize(self.pool(products), weight, start, d, np.finfo(np.float64).tiny)


class Given(Protocol):
    """Distribution of the missing entries of a batch given the others, for one covariance matrix."""

    log_det: FloatArray  # (m,) −½ log |Σ| of the observed features

    def fill(self, centred: FloatArray, precise: bool) -> FloatArray:
        """Squared Mahalanobis lengths (m,) of the observed entries of ``centred`` (d, m).

        The missing entries, any finite numbers before, are set to their conditional means. ``precise``
        forgoes a shortcut that loses digits where the matrix is nearly singular.
        """
        ...

    def noise(self, resp: FloatArray) -> FloatArray:
        """Σ resp · conditional covariance, as products (F2,)."""
        ...

    def variance(self) -> FloatArray:
        """Conditional variances of the missing entries, 0 elsewhere, (d, m)."""
        ...


@cache
def _triangle(d: int) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """Rows and columns of the upper triangle, and where each entry (i, j) stands in it, (d, d)."""
    rows, columns = np.triu_indices(d)
    where = np.empty((d, d), dtype=np.int_)
    where[rows, columns] = where[columns, rows] = np.arange(rows.size)
    return rows, columns, where


@dataclass(frozen=True)
class Full(Structure):
    """Any covariance matrix, (C, d, d). Of one feature it is a number, and no algebra is needed."""

    correlates = True
    conjugate = True

    def space(self, forced: FloatArray | None = None) -> Any:
        return PositiveDefinite(forced)

    def n_products(self, d: int) -> int:
        return d * (d + 1) // 2

    def squares(self, x: FloatArray) -> FloatArray:
        d, m = x.shape
        out = np.empty((self.n_products(d), m))
        self.write_squares(x, out)
        return out

    def write_squares(self, x: FloatArray, out: FloatArray) -> None:
        start = 0
        for i in range(len(x)):
            stop = start + len(x) - i
            np.multiply(x[i], x[i:], out=out[start:stop])
            start = stop

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return products(a, b)

    def least_rows(self, d: int) -> int:
        return 1 if self.shared else d + 1

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        # NumPy hands a product of a matrix with its own transpose to syrk, at half the work.
        root = x if weight is None else x * np.sqrt(weight)
        rows, columns, _ = _triangle(x.shape[0])
        return (root @ root.T)[rows, columns]

    def covariance(self, mean_products: FloatArray, d: int) -> FloatArray:
        return np.asarray(mean_products[:, _triangle(d)[2]])

    def raise_to(self, covariance: FloatArray, floor: float) -> FloatArray:
        at_floor = np.flatnonzero(self.n_at_floor(covariance, floor))
        if not len(at_floor):
            return covariance
        values, vectors = np.linalg.eigh(covariance[at_floor])
        raised = (vectors * np.maximum(values, floor)[:, None, :]) @ vectors.swapaxes(1, 2)
        low = values[:, 0] < floor
        covariance = covariance.copy()
        covariance[at_floor[low]] = 0.5 * (raised + raised.swapaxes(1, 2))[low]
        return covariance

    def invert(self, precision: FloatArray) -> FloatArray:
        covariance = np.linalg.inv(precision)
        return 0.5 * (covariance + covariance.swapaxes(1, 2))

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        n = np.zeros(len(covariance), dtype=np.int_)
        above = are_above(covariance, floor)  # cheap, and as usual true of all
        if not above.all():
            n[~above] = np.sum(np.linalg.eigvalsh(covariance[~above]) <= floor, axis=1)
        return n

    def reaches_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.bool_]:
        return ~are_above(covariance, floor)

    def whitener(self, covariance: FloatArray) -> FloatArray:
        return inverse_roots(covariance)

    def natural(self, form: GaussianForm) -> FloatArray:
        coefficients = natural(form.whitener, form.means, quadratic=not self.shared)
        coefficients[:, 0] += form.offset
        return coefficients

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

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        return covariance * (scale[:, None] * scale)

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        return covariance

    def divergence(self, covariance: FloatArray, share: FloatArray, d: int) -> FloatArray:
        mean = np.tensordot(share, covariance, axes=1)
        whitener, of_mean = self.whitener(covariance), self.whitener(mean[None])[0]
        there = np.sum(whitener * (mean @ whitener), axis=(1, 2))
        back = np.sum(of_mean * (covariance @ of_mean), axis=(1, 2))
        return 0.5 * (there + back) - d

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        return covariance[:, columns[:, None], columns]

    def given(self, whitener: FloatArray, gaps: Gaps, places: Places) -> Given:
        return _given_correlated(whitener[None], gaps, places)[0]

    def all_given(self, whiteners: FloatArray, gaps: Gaps, places: Places) -> list[Given]:
        if len(whiteners) * places.pairs.size > SIDE_BY_SIDE:
            return super().all_given(whiteners, gaps, places)
        return list(_given_correlated(whiteners, gaps, places))

    def identity(self, n_components: int, d: int) -> FloatArray:
        return np.tile(np.eye(d), (self.n_fits if self.shared else n_components, 1, 1))

    def least_dof(self, d: int) -> int:
        return d - 1

    def gamma_shapes(self, dof: FloatArray, d: int) -> FloatArray:
        return (dof[:, None] - np.arange(d)) / 2

    def root(self, covariance: FloatArray) -> FloatArray:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)

    def traces(self, whitener: FloatArray, root: FloatArray, d: int) -> FloatArray:
        white = whitener.swapaxes(1, 2) @ root
        return np.asarray(np.einsum("kij,kij->k", white, white))


class _GivenCorrelated:
    r"""Missing entries given the others, from the precision matrix P.

    The missing entries m given the observed have mean :math:`\mu_m - P_{mm}^{-1} P_{mo} (x_o - \mu_o)` and
    covariance :math:`P_{mm}^{-1}`, and :math:`\log |\Sigma_{oo}| = \log |\Sigma| + \log |P_{mm}|`: one product
    with P serves all observations, and patterns that lack the same number of entries are factored together.
    """

    def __init__(
        self,
        whitener: FloatArray,
        precision: FloatArray,
        inverses: FloatArray,
        log_det: FloatArray,
        gaps: Gaps,
        places: Places,
    ):
        self._whitener = whitener
        self._precision = precision
        self._inverses = inverses
        self.log_det = log_det
        self._gaps = gaps
        self._places = places

    def _of_groups(self) -> Iterator[tuple[PatternGroup, FloatArray]]:
        """Each group with its matrices (c, c, p)."""
        start = 0
        for group in self._gaps.groups:
            c, p = group.missing.shape
            yield group, self._inverses[start : start + c * c * p].reshape(c, c, p)
            start += c * c * p

    def fill(self, centred: FloatArray, precise: bool) -> FloatArray:
        centred[:, self._gaps.empty] = 0.0
        pull = self._precision @ centred
        distance = np.zeros(0) if precise else np.einsum("im,im->m", centred, pull)
        pull_of_missing = pull.take(self._places.entries)
        steps = np.empty_like(pull_of_missing)
        start = 0
        for group, inverses in self._of_groups():
            shape = len(inverses), len(group.columns)
            part = slice(start, start + shape[0] * shape[1])
            own, step = pull_of_missing[part].reshape(shape), steps[part].reshape(shape)
            _apply(inverses, own, group.pattern, out=step)
            if not precise:
                distance[group.columns] -= np.einsum("im,im->m", own, step)
            start = part.stop
        # From wherever they are, one Newton step brings the missing entries to their conditional means.
        centred.reshape(-1)[self._places.entries] -= steps
        # There the length of the whole is that of the observed, and an error enters by its square only.
        return Full().distance(self._whitener, centred) if precise else distance

    def noise(self, resp: FloatArray) -> FloatArray:
        d = len(self._whitener)
        weighted = np.empty_like(self._inverses)
        start = 0
        for group, inverses in self._of_groups():
            weight = np.bincount(group.pattern, resp[group.columns], inverses.shape[2])
            part = weighted[start : start + inverses.size].reshape(inverses.shape)
            np.multiply(inverses, weight, out=part)
            start += inverses.size
        rows, columns, _ = _triangle(d)
        total = np.bincount(self._places.pairs, weighted, d * d).astype(np.float64, copy=False)
        return total.reshape(d, d)[rows, columns]

    def variance(self) -> FloatArray:
        d, m = self._gaps.missing.shape
        variance = np.zeros(d * m)
        diagonals = [
            np.einsum("iip->ip", inverses)[:, group.pattern].ravel() for group, inverses in self._of_groups()
        ]
        variance[self._places.entries] = np.concatenate([np.empty(0), *diagonals])
        variance = variance.reshape(d, m)
        if self._gaps.empty.size:
            variance[:, self._gaps.empty] = np.diagonal(np.linalg.inv(self._precision))[:, None]
        return variance


def _given_correlated(whiteners: FloatArray, gaps: Gaps, places: Places) -> list[_GivenCorrelated]:
    """Of each matrix of a stack (C, d, d); the small ones of all of them are inverted side by side."""
    C, d, _ = whiteners.shape
    precision = whiteners @ whiteners.swapaxes(1, 2)
    inverses = precision.reshape(C, d * d).take(places.pairs, axis=1)
    log_det = np.empty((C, gaps.missing.shape[1]))
    log_det[...] = np.log(np.diagonal(whiteners, axis1=1, axis2=2)).sum(axis=1)[:, None]
    start = 0
    for group in gaps.groups:
        c, p = group.missing.shape
        part = inverses[:, start : start + c * c * p].reshape(C, c, c, p)
        matrices = part.transpose(1, 2, 0, 3).reshape(c, c, C * p)  # in place where C is 1
        log_pivots = _invert(matrices).reshape(C, p)
        if C > 1:
            part[...] = matrices.reshape(c, c, C, p).transpose(2, 0, 1, 3)
        log_det[:, group.columns] -= 0.5 * log_pivots[:, group.pattern]
        start += c * c * p
    log_det[:, gaps.empty] = 0.0
    return [
        _GivenCorrelated(*own, gaps, places)
        for own in zip(whiteners, precision, inverses, log_det, strict=True)
    ]


def _invert(matrices: FloatArray) -> FloatArray:
    """Invert positive definite matrices (c, c, p) along the last axis in place; their log-determinants (p,)."""
    c, _, p = matrices.shape
    if c > SWEPT or p < FEW * c:
        stack = matrices.transpose(2, 0, 1)
        pivots = np.diagonal(np.linalg.cholesky(stack), axis1=1, axis2=2).T ** 2
        matrices[...] = np.linalg.inv(stack).transpose(1, 2, 0)
        return np.log(pivots).sum(axis=0)
    pivots = np.empty(matrices.shape[1:])
    work = np.empty_like(matrices)
    for j in range(c):  # sweep after sweep, of all matrices at once
        pivot = pivots[j]
        pivot[...] = matrices[j, j]
        column = matrices[j].copy()
        row = column / pivot
        column[j] = 0.0
        np.divide(-1.0, pivot, out=row[j])
        np.multiply(column[:, None], row, out=work)
        matrices -= work
        matrices[j] = row
        matrices[:, j] = row
    np.negative(matrices, out=matrices)
    with np.errstate(over="ignore", divide="ignore"):  # one logarithm for all pivots, where that is in range
        log_det = np.log(pivots.prod(axis=0))
    return log_det if np.isfinite(log_det).all() else np.log(pivots).sum(axis=0)


def _apply(matrices: FloatArray, x: FloatArray, which: NDArray[np.intp], out: FloatArray) -> None:
    """Matrix ``which`` (m,) of those along the last axis, (c, c, p), times each column of x (c, m)."""
    p, m = matrices.shape[2], x.shape[1]
    if p == m:
        np.einsum("ijm,jm->im", matrices, x, out=out)
    elif m < SHARED * p:
        np.einsum("ijm,jm->im", matrices.take(which, axis=2), x, out=out)
    else:  # columns stand pattern by pattern
        bounds = np.searchsorted(which, np.arange(p + 1))
        for i, (start, stop) in enumerate(pairwise(bounds.tolist())):
            np.matmul(matrices[:, :, i], x[:, start:stop], out=out[:, start:stop])


class _GivenUncorrelated:
    """Missing entries given the others, where these say nothing of them."""

    def __init__(self, structure: Structure, whitener: FloatArray, gaps: Gaps):
        self._structure = structure
        self._whitener = whitener
        self._gaps = gaps
        each = np.broadcast_to(whitener, len(gaps.missing))
        self._variances = each**-2
        self.log_det = np.log(each) @ ~gaps.missing

    def fill(self, centred: FloatArray, precise: bool) -> FloatArray:
        np.copyto(centred, 0.0, where=self._gaps.missing)
        return self._structure.distance(self._whitener, centred)

    def noise(self, resp: FloatArray) -> FloatArray:
        each = self._variances * (self._gaps.missing @ resp)
        return self._structure.moment(np.diag(np.sqrt(each)), None)

    def variance(self) -> FloatArray:
        return self._gaps.missing * self._variances[:, None]


class _Uncorrelated(Structure):
    """What structures without correlations share; their arrays are variances, their whiteners 1 / sd."""

    def space(self, forced: FloatArray | None = None) -> Any:
        return Positive()

    def raise_to(self, covariance: FloatArray, floor: float) -> FloatArray:
        return np.maximum(covariance, floor)

    def invert(self, precision: FloatArray) -> FloatArray:
        return 1.0 / precision

    def whitener(self, covariance: FloatArray) -> FloatArray:
        if not (covariance > 0).all():  # as a Cholesky factor refuses what rounding has left
            raise np.linalg.LinAlgError("A variance is not positive.")
        return 1.0 / np.sqrt(covariance)

    def given(self, whitener: FloatArray, gaps: Gaps, places: Places) -> Given:
        return _GivenUncorrelated(self, whitener, gaps)


@dataclass(frozen=True)
class Diagonal(_Uncorrelated):
    """Uncorrelated features, each with its variance, (C, d)."""

    by_feature = True
    conjugate = True

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

    def covariance(self, mean_products: FloatArray, d: int) -> FloatArray:
        return mean_products

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

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        return covariance * scale**2

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        return covariance[:, :, None] * np.eye(d)

    def divergence(self, covariance: FloatArray, share: FloatArray, d: int) -> FloatArray:
        each: FloatArray = evidence.divergence(covariance / (share @ covariance)).sum(axis=1)
        return each

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        return covariance[:, columns]

    def identity(self, n_components: int, d: int) -> FloatArray:
        return np.ones((self.n_fits if self.shared else n_components, d))

    def gamma_shapes(self, dof: FloatArray, d: int) -> FloatArray:
        return np.repeat(dof[:, None] / 2, d, axis=1)

    def traces(self, whitener: FloatArray, root: FloatArray, d: int) -> FloatArray:
        return np.asarray(((whitener * root) ** 2).sum(axis=1))


@dataclass(frozen=True)
class Spherical(_Uncorrelated):
    """Uncorrelated features of one variance, (C,)."""

    conjugate = True

    def n_products(self, d: int) -> int:
        return 1

    def squares(self, x: FloatArray) -> FloatArray:
        return np.einsum("im,im->m", x, x)[None, :]

    def products(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return np.einsum("ki,ki->k", a, b)[:, None]

    def moment(self, x: FloatArray, weight: FloatArray | None) -> FloatArray:
        squares = self.squares(x)
        return squares.sum(axis=1) if weight is None else squares @ weight

    def covariance(self, mean_products: FloatArray, d: int) -> FloatArray:
        return mean_products[:, 0] / d

    def n_at_floor(self, covariance: FloatArray, floor: float) -> NDArray[np.int_]:
        return (covariance <= floor).astype(np.int_)  # a multiple of all, which goes there as one

    def log_det(self, whitener: FloatArray, d: int) -> FloatArray:
        return d * np.log(whitener)

    def coefficients(self, whitener: FloatArray, d: int) -> FloatArray:
        return -0.5 * whitener[:, None] ** 2

    def apply_precision(self, whitener: FloatArray, means: FloatArray) -> FloatArray:
        return whitener[:, None] ** 2 * means

    def distance(self, whitener: FloatArray, centred: FloatArray) -> FloatArray:
        return np.einsum("im,im->m", centred, centred) * whitener**2

    def floors(self, floor: float, hidden: FloatArray) -> tuple[float, FloatArray | None]:
        return max(floor, float(hidden.mean())), None

    def units(self, variances: FloatArray) -> FloatArray:
        # One unit for all features: scaling them one by one would not keep the sphere a sphere.
        return np.full_like(variances, np.sqrt(variances.mean()))

    def rescale(self, covariance: FloatArray, scale: FloatArray) -> FloatArray:
        return covariance * scale[0] ** 2

    def dense(self, covariance: FloatArray, d: int) -> FloatArray:
        return covariance[:, None, None] * np.eye(d)

    def divergence(self, covariance: FloatArray, share: FloatArray, d: int) -> FloatArray:
        return d * evidence.divergence(covariance / (share @ covariance))

    def marginal(self, covariance: FloatArray, columns: NDArray[np.int_]) -> FloatArray:
        return covariance

    def identity(self, n_components: int, d: int) -> FloatArray:
        return np.ones(self.n_fits if self.shared else n_components)

    def n_pooled(self, d: int) -> int:
        return d

    def gamma_shapes(self, dof: FloatArray, d: int) -> FloatArray:
        return dof[:, None] * d / 2

    def traces(self, whitener: FloatArray, root: FloatArray, d: int) -> FloatArray:
        return d * (whitener * root) ** 2
