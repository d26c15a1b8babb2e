r"""Covariance structures whose components share a part of their form, by mclust's letters.

Of the volume λ, the shape A (diagonal, of determinant 1) and the orientation D of
:math:`\Sigma = \lambda D A D^\top` a letter each says whether components have it equal (E), have their own (V),
or, of the orientation, that it is that of the axes (I). Where all is equal, or all their own, the structure is
one of `emlearn.families.covariance`.

M-steps of VEI and VEE take what is shared and what is not in turns, each given the other, from the covariances
before: the likelihood rises at every turn, on the floor too. That of EVI finds the root of a derivative: where
the floor binds, turns could come to rest short of the maximum. A component without weight keeps what is its
own, as far as the floor allows, and binds no other.

Where each component has axes of its own, those of greatest likelihood are the eigenvectors of its scatter,
whatever the volumes and shapes: along them EEV, VEV and EVV are EEI, VEI and EVI. Where all have the same axes,
EVE and VVE are EVI and VVI along them; axes, given variances, and variances, given axes, are taken in turns.

References
----------
Celeux & Govaert (1995), Gaussian parsimonious clustering models, Pattern Recognition 28.
Flury & Gautschi (1986), An algorithm for simultaneous orthogonal transformation of several positive definite
symmetric matrices to nearly diagonal form, SIAM J. Sci. Stat. Comput. 7.
Browne & McNicholas (2014), Estimating common principal components in high dimensions, Advances in Data Analysis
and Classification 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, linear_sum_assignment

from emlearn.em.spaces import Positive, PositiveDefinite
from emlearn.families.covariance import Diagonal, FloatArray, Full, Spherical, Structure

# Matrices are brought to common axes by no more sweeps than this, until no axis turns by more than the angle:
# those that have common axes are there after two or three.
MAX_SWEEPS = 4
SMALL_TURN = 1e-8
# Turns of an M-step end where nothing changes by more than this, relatively, or after so many: with part of an
# M-step EM rises as well.
TURN_TOL = 1e-9
MAX_TURNS = 40
# Variances of a matrix that are less than this times its largest are lost in rounding.
HELD = 1e-10
MAX_AXES_TURNS = 8  # a turn of axes costs more
TINY = float(np.finfo(np.float64).tiny)


class Multiples:
    """Stacks of which each is a positive multiple of the first; coordinates of the first, then logarithms.

    Parameters
    ----------
    first : Space
        Where the first one lives.
    fixed : ndarray of shape (d, f), default=None
        Directions in which the smallest multiple is not to be moved.
    """

    def __init__(self, first: Any, fixed: FloatArray | None = None):
        self._first = first
        self._fixed = fixed

    def to_vector(self, value: Any) -> FloatArray:
        return np.concatenate([self._first.to_vector(value[:1]), np.log(_multiples(value))[1:]])

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        n_own = self._first.n_coordinates(like[:1])
        with np.errstate(over="ignore", invalid="ignore"):  # an overlong step is refused
            multiples = np.exp(np.append(0.0, vector[n_own:]))
            first = self._first.from_vector(vector[:n_own], like[:1])
            if self._fixed is not None:
                first = self._with_fixed(first, like[:1], _multiples(like).min() / multiples.min())
            return multiples.reshape(-1, *[1] * (np.ndim(like) - 1)) * first

    def _with_fixed(self, first: FloatArray, like: FloatArray, growth: float) -> FloatArray:
        """The first one, along what is fixed as large as the smallest multiple's being what it was demands."""
        assert self._fixed is not None
        onto = self._fixed @ self._fixed.T
        if first.ndim == 2:
            return np.where(np.diag(onto) > 0.5, growth * like, first)
        off = np.eye(len(onto)) - onto
        kept: FloatArray = off @ first @ off + growth * (onto @ like @ onto)
        return kept

    def n_coordinates(self, like: Any) -> int:
        return int(self._first.n_coordinates(like[:1])) + len(like) - 1


class EqualProducts:
    """Positive numbers (K, d), rows of one product; coordinates are the mean logarithm, and what is off it."""

    def to_vector(self, value: Any) -> FloatArray:
        logs = np.log(value)
        level = logs.mean()
        return np.append(level, logs[:, :-1] - level)

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        K, d = np.shape(like)
        off = vector[1:].reshape(K, d - 1)
        with np.errstate(over="ignore"):  # an overlong step is refused
            return np.exp(vector[0] + np.column_stack([off, -off.sum(axis=1)]))

    def n_coordinates(self, like: Any) -> int:
        K, d = np.shape(like)
        return K * (d - 1) + 1


class Nearest:
    """Arrays of some form; coordinates are those in a larger space, from which the form nearest is taken.

    They are more than the form has dimensions, and none of them singles out an axis or its sign.

    Parameters
    ----------
    around : Space
        The larger space.
    project : callable
        From an array of the larger space to one of the form, which stays as it is.
    """

    def __init__(self, around: Any, project: Callable[[FloatArray], FloatArray]):
        self._around = around
        self._project = project
        self.to_vector = around.to_vector
        self.n_coordinates = around.n_coordinates

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        value = self._around.from_vector(vector, like)
        return self._project(value) if np.isfinite(value).all() else value  # an overlong step is refused


class _SharedForm(Structure):
    """What these structures have in common: a matrix for each component, none free of the others."""

    conjugate = False

    def side_by_side(self, n_fits: int) -> None:
        """None: what components share is found for one fit at a time."""
        return None

    def __post_init__(self) -> None:
        if self.shared:
            raise ValueError(f"{type(self).__name__} shares what it shares: shared=True is for others.")

    def coordinates_of(self, matrices: NDArray[np.bool_], n_coordinates: int) -> NDArray[np.bool_]:
        return np.full(n_coordinates, matrices.any())

    def _project(self, covariance: FloatArray) -> FloatArray:
        """Covariances of the form, near to these."""
        K, d = covariance.shape[:2]
        return self.maximize(self._products_of(covariance), np.ones(K), covariance, d, TINY)

    def has_form(self, covariance: FloatArray) -> bool:
        nearest = self._project(covariance)
        return np.allclose(nearest, covariance, rtol=1e-6, atol=1e-9 * np.abs(covariance).max())

    def nearest(self, covariance: FloatArray, floor: float) -> FloatArray:
        # That of greatest likelihood for data with these covariances, components weighing alike.
        K, d = covariance.shape[:2]
        products = self._products_of(self.raise_to(covariance, floor))
        return self.maximize(products, np.ones(K), self.identity(K, d), d, floor)

    def least_rows(self, d: int) -> int:
        return 2

    def _products_of(self, covariance: FloatArray) -> FloatArray:
        """The mean products (K, F2) of data with these covariances."""
        raise NotImplementedError


@dataclass(frozen=True)
class EqualShape(_SharedForm, Diagonal):
    r"""VEI: variances :math:`\lambda_k a_j`, (K, d); uncorrelated features, of one shape and any volume."""

    @property
    def pooled(self) -> Structure:
        return Diagonal(shared=True)

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        some = weight > 0
        own = np.exp(np.log(kept).mean(axis=1))
        volume = own[some]
        for _ in range(MAX_TURNS):
            shape = (products[some] / volume[:, None]).sum(axis=0) / weight.sum()
            shape = np.maximum(shape, floor / volume.min())
            before = volume
            volume = np.maximum((products[some] / shape).mean(axis=1) / weight[some], floor / shape.min())
            if np.abs(volume / before - 1).max() < TURN_TOL:
                break
        every = np.maximum(own / np.exp(np.log(shape).mean()), floor / shape.min())
        every[some] = volume
        return every[:, None] * shape

    def n_free(self, n_components: int, d: int) -> int:
        return n_components + d - 1

    def space(self, forced: FloatArray | None = None) -> Any:
        return Multiples(Positive(), forced)

    def _products_of(self, covariance: FloatArray) -> FloatArray:
        return covariance


@dataclass(frozen=True)
class EqualVolume(_SharedForm, Diagonal):
    r"""EVI: variances :math:`\lambda a_{kj}`, (K, d); uncorrelated features, of one volume and any shape."""

    @property
    def pooled(self) -> Structure:
        return Diagonal(shared=True)

    @property
    def of_some(self) -> Structure:
        return Diagonal()

    own_volumes = False

    def of_one_volume(self, of_components: FloatArray) -> FloatArray:
        return np.full(len(of_components), of_components.sum())

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        some = weight > 0
        products = np.maximum(products, TINY)  # of one row, say
        volume = _shared_volume(products[some], weight[some], floor)
        shape = np.where(some[:, None], products, kept)
        return np.maximum(volume * _of_product_1(shape, floor / volume), floor)

    def n_free(self, n_components: int, d: int) -> int:
        return n_components * (d - 1) + 1

    def space(self, forced: FloatArray | None = None) -> Any:
        return EqualProducts()

    def _products_of(self, covariance: FloatArray) -> FloatArray:
        return covariance


def _shared_volume(products: FloatArray, weight: FloatArray, floor: float) -> float:
    """The volume of greatest likelihood where each has the shape of greatest likelihood at that volume.

    The derivative by its logarithm vanishes where the free variances, products over divisors, add up to so many
    divisors as there is weight: that is a root of what falls with the volume.
    """

    def excess(log_volume: float) -> float:
        divisors = _divisors(products, floor / np.exp(log_volume))
        return float(np.log(divisors.sum()) - log_volume - np.log(weight.sum()))

    free = float(_divisors(products, 0.0).sum() / weight.sum())
    least = float(np.log(max(free, floor)))
    if excess(least) <= 1e-14:
        return float(np.exp(least))
    most = np.log(np.maximum(products / weight[:, None], floor)).mean(axis=1).max() + 1e-9
    return float(np.exp(brentq(excess, least, most, xtol=1e-15, rtol=1e-14)))


def _divisors(products: FloatArray, least: float) -> FloatArray:
    """What positive rows (K, d) are divided by to be of product 1, raised to ``least`` where below, (K, 1)."""
    logs = -np.sort(-np.log(products), axis=1)
    if least == 0.0:
        return np.exp(logs.mean(axis=1, keepdims=True))
    n_free = np.arange(1, logs.shape[1] + 1)
    # Where the m largest are free and the others at the least, the free ones are divided by exp(level).
    level = (np.cumsum(logs, axis=1) + (logs.shape[1] - n_free) * np.log(least)) / n_free
    m = np.maximum(np.sum(logs - level >= np.log(least), axis=1, keepdims=True), 1)
    return np.exp(np.take_along_axis(level, m - 1, axis=1))


def _of_product_1(products: FloatArray, least: float) -> FloatArray:
    """Rows in proportion to positive products (K, d), of product 1 each, but no less than ``least``."""
    return np.maximum(products / _divisors(products, least), least)


@dataclass(frozen=True)
class EqualForm(_SharedForm, Full):
    r"""VEE: covariances :math:`\lambda_k C`, (K, d, d); one shape and orientation, of any volume."""

    @property
    def pooled(self) -> Structure:
        return Full(shared=True)

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        some = weight > 0
        scatter = Full().covariance(products[some], d)
        own = np.exp(np.linalg.slogdet(kept)[1] / d)
        volume = own[some]
        for _ in range(MAX_TURNS):
            form = (scatter / volume[:, None, None]).sum(axis=0, keepdims=True) / weight.sum()
            form = self.raise_to(form, floor / volume.min())
            values, vectors = np.linalg.eigh(form[0])
            values = np.maximum(
                values, np.finfo(np.float64).eps * values[-1]
            )  # rounding may make them negative
            traces = np.einsum("id,kij,jd->kd", vectors, scatter, vectors) @ (1.0 / values)
            before = volume
            volume = np.maximum(traces / (d * weight[some]), floor / values[0])
            if np.abs(volume / before - 1).max() < TURN_TOL:
                break
        every = np.maximum(own / np.exp(np.log(values).mean()), floor / values[0])
        every[some] = volume
        return every[:, None, None] * form

    def n_free(self, n_components: int, d: int) -> int:
        return n_components + d * (d + 1) // 2 - 1

    def space(self, forced: FloatArray | None = None) -> Any:
        return Multiples(PositiveDefinite(), forced)

    def _products_of(self, covariance: FloatArray) -> FloatArray:
        rows, columns = np.triu_indices(covariance.shape[1])
        return covariance[:, rows, columns]


def _multiples(value: FloatArray) -> FloatArray:
    """How many times the first each of a stack is, where they are multiples of one another, (K,)."""
    entries = value.reshape(len(value), -1)
    multiples: FloatArray = entries[:, 0] / entries[0, 0]
    return multiples


@dataclass(frozen=True)
class _Oriented(_SharedForm, Full):
    """Covariances (K, d, d) that have a form of uncorrelated features along axes of some orientation.

    Parameters
    ----------
    along : Structure, default=Diagonal()
        What variances along the axes, (K, d), have in common.
    """

    along: Structure = field(default_factory=Diagonal)

    @property
    def pooled(self) -> Structure:
        return Full(shared=True)

    @property
    def of_some(self) -> Structure:
        return Full()

    @property
    def own_volumes(self) -> bool:
        return self.along.own_volumes

    def of_one_volume(self, of_components: FloatArray) -> FloatArray:
        return self.along.of_one_volume(of_components)

    @property
    def _of_any_scale(self) -> bool:
        """Whether matrices of this form keep it where features are scaled one by one."""
        return False

    def units(self, variances: FloatArray) -> FloatArray:
        # Else one unit for all features: angles and proportions would not stay.
        return super().units(variances) if self._of_any_scale else Spherical().units(variances)

    def floors(self, floor: float, hidden: FloatArray) -> tuple[float, FloatArray | None]:
        if self._of_any_scale:
            return super().floors(floor, hidden)
        return max(floor, float(hidden.min())), None  # that of a coarse feature may be more than a fine one's

    def space(self, forced: FloatArray | None = None) -> Any:
        return Nearest(PositiveDefinite(forced), self._project)

    def _variances(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, floor: float
    ) -> FloatArray:
        """Variances along axes (K, d), of greatest likelihood."""
        K, d = products.shape
        pool = self.along.pool
        found = self.along.maximize(pool(np.maximum(products, 0.0)), pool(weight), kept, d, floor)
        return np.broadcast_to(found, (K, d))

    def _products_of(self, covariance: FloatArray) -> FloatArray:
        rows, columns = np.triu_indices(covariance.shape[1])
        return covariance[:, rows, columns]


@dataclass(frozen=True)
class OwnAxes(_Oriented):
    """EEV, VEV, EVV: each component has axes of its own, along which they are EEI, VEI or EVI."""

    @property
    def _of_any_scale(self) -> bool:
        return isinstance(self.along, EqualVolume)  # volumes that are equal stay so

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        scatter = Full().covariance(products, d)
        scatter[weight <= 0] = kept[weight <= 0]
        values, axes = np.linalg.eigh(scatter)
        before = np.asarray(np.linalg.eigvalsh(kept), dtype=np.float64)
        variances = self._variances(values * (weight > 0)[:, None], weight, before, floor)
        return _along(axes, variances) if _can_be_held(variances) else kept

    def least_rows(self, d: int) -> int:
        return d + 1 if isinstance(self.along, EqualVolume) else 2

    def n_free(self, n_components: int, d: int) -> int:
        return self.along.n_free(n_components, d) + n_components * d * (d - 1) // 2


@dataclass(frozen=True)
class CommonAxes(_Oriented):
    """EVE, VVE: all components have the same axes, along which they are EVI or VVI."""

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        some = weight > 0
        scatter = Full().covariance(products, d)

        def likelihood(variances: FloatArray, within: FloatArray) -> float:
            parts = weight[some, None] * np.log(variances[some]) + _diagonals(within)[some] / variances[some]
            return -float(parts.sum())

        # From the axes before, than which none are to be worse, and from the best by another measure.
        axes = _common_axes(kept)
        before = _diagonals(axes.T @ kept @ axes)
        others = _common_axes(scatter[some] / weight[some, None, None])
        others = others[:, linear_sum_assignment(-np.abs(axes.T @ others))[1]]
        tries = []
        for start in (axes, others):
            within = start.T @ scatter @ start
            variances = self._variances(_diagonals(within), weight, before, floor)
            tries.append((likelihood(variances, within), start, within, variances))
        better = tries[1][0] > tries[0][0] + TURN_TOL * abs(tries[0][0])
        _, axes, within, variances = tries[int(better)]
        for _ in range(MAX_AXES_TURNS if d > 1 else 0):
            axes, within, _ = _sweep(axes, within, _angles_given(1.0 / variances, some))
            last = variances
            variances = self._variances(_diagonals(within), weight, before, floor)
            if np.abs(variances / last - 1).max() < TURN_TOL:
                break
        return _along(axes, variances) if _can_be_held(variances) else kept

    def n_free(self, n_components: int, d: int) -> int:
        return self.along.n_free(n_components, d) + d * (d - 1) // 2

    def _project(self, covariance: FloatArray) -> FloatArray:
        axes = _common_axes(covariance)  # smooth, and at once; their likelihood does not matter
        variances = _diagonals(axes.T @ covariance @ axes)
        return _along(axes, self._variances(variances, np.ones(len(variances)), variances, TINY))


def _along(axes: FloatArray, variances: FloatArray) -> FloatArray:
    """Covariances with variances (K, d) along axes, columns of (K, d, d) or of one (d, d)."""
    covariance = (axes * variances[:, None, :]) @ axes.swapaxes(-1, -2)
    return np.asarray(0.5 * (covariance + covariance.swapaxes(1, 2)))


def _can_be_held(variances: FloatArray) -> bool:
    """Whether matrices with these variances (K, d) keep the least of them, in spite of rounding of the largest.

    Where volumes are equal, a component that is flat has a length that makes up for it. An M-step then leaves
    covariances as they were, which does not lower the likelihood.
    """
    return bool((variances.min(axis=1) >= HELD * variances.max(axis=1)).all())


def _diagonals(matrices: FloatArray) -> FloatArray:
    return np.diagonal(matrices, axis1=1, axis2=2)


@cache
def _rounds(d: int) -> list[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """All pairs of d axes, in rounds of disjoint ones as of a tournament."""
    even = d + d % 2
    seats, rounds = np.arange(even), []
    for _ in range(even - 1):
        p, q = seats[: even // 2], seats[: even // 2 - 1 : -1]
        plays = (p < d) & (q < d)
        rounds.append((np.minimum(p, q)[plays], np.maximum(p, q)[plays]))
        seats = np.concatenate([seats[:1], np.roll(seats[1:], 1)])
    return rounds


# From matrices (K, d, d) along axes to the angles by which pairs (p, q) of axes are to turn.
_Angles = Callable[[FloatArray, NDArray[np.int_], NDArray[np.int_]], FloatArray]


def _sweep(axes: FloatArray, matrices: FloatArray, angles: _Angles) -> tuple[FloatArray, FloatArray, float]:
    """Axes (d, d) turned once in the plane of every pair, matrices (K, d, d) along them, the largest angle."""
    axes, matrices, largest = axes.copy(), matrices.copy(), 0.0
    for p, q in _rounds(len(axes)):
        angle = angles(matrices, p, q)
        cos, sin = np.cos(angle), np.sin(angle)
        for array in (axes, matrices, matrices.swapaxes(1, 2)):
            at_p, at_q = array[..., p], array[..., q]
            array[..., p] = cos * at_p + sin * at_q
            array[..., q] = cos * at_q - sin * at_p
        largest = max(largest, float(np.abs(angle).max()))
    return axes, matrices, largest


def _angles_given(precision: FloatArray, some: NDArray[np.bool_]) -> _Angles:
    """Angles of greatest likelihood for scatters of some, given precisions (K, d) along the axes."""

    def angles(scatter: FloatArray, p: NDArray[np.int_], q: NDArray[np.int_]) -> FloatArray:
        gain = (precision[:, p] - precision[:, q])[some]
        across = np.sum(gain * scatter[:, p, q][some], axis=0)
        apart = 0.5 * np.sum(gain * (scatter[:, p, p] - scatter[:, q, q])[some], axis=0)
        return np.asarray(0.5 * np.arctan2(-across, 0.0 - apart))

    return angles


def _angles_least_squares(matrices: FloatArray, p: NDArray[np.int_], q: NDArray[np.int_]) -> FloatArray:
    """Angles that leave the least sum of squares off the diagonals."""
    apart, across = matrices[:, p, p] - matrices[:, q, q], 2 * matrices[:, p, q]
    return np.asarray(
        0.25 * np.arctan2(2 * np.sum(apart * across, axis=0), np.sum(apart**2 - across**2, axis=0))
    )


def _common_axes(matrices: FloatArray) -> FloatArray:
    """Axes (d, d) along which matrices (K, d, d) are most nearly diagonal: exactly so, where they can be."""
    size = np.trace(matrices, axis1=1, axis2=2)[:, None, None]
    matrices = matrices / np.where(size > 0, size, 1.0)
    axes = np.linalg.eigh(matrices.sum(axis=0))[1]
    matrices = axes.T @ matrices @ axes
    for _ in range(MAX_SWEEPS if len(axes) > 1 else 0):
        axes, matrices, largest = _sweep(axes, matrices, _angles_least_squares)
        if largest < SMALL_TURN:
            break
    return axes
