"""Where a parameter lives, and its unconstrained coordinates.

Extrapolation and numerical differentiation need a plain vector in which every value is allowed. A model
names the space of each parameter; these few classes translate.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emlearn.em.matrices import from_log_cholesky, log_cholesky
from emlearn.em.trees import Tree, leaves, tree_map

FloatArray = NDArray[np.float64]


# What is less of an axis than this lies in the span of those before it.
NO_STEP = 1e-7


class Space(Protocol):
    """A set of arrays with unconstrained coordinates."""

    def to_vector(self, value: Any) -> FloatArray:
        """Coordinates of ``value``, flat."""
        ...

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        """Value of the shape of ``like`` at these coordinates."""
        ...

    def n_coordinates(self, like: Any) -> int:
        """Length of the vector for a value of the shape of ``like``."""
        ...


class _Entrywise:
    def n_coordinates(self, like: Any) -> int:
        return int(np.size(like))


class Real(_Entrywise):
    """All arrays of real numbers; coordinates are the entries."""

    def to_vector(self, value: Any) -> FloatArray:
        return np.array(value, dtype=np.float64).ravel()

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        return vector.reshape(np.shape(like))


class SharedColumns:
    """Real matrices in which some columns are constant: their coordinates are there once, after all others."""

    def __init__(self, columns: tuple[int, ...]):
        self._shared = np.array(columns, dtype=np.intp)

    def _own(self, like: Any) -> NDArray[np.intp]:
        return np.setdiff1d(np.arange(np.shape(like)[1]), self._shared)

    def to_vector(self, value: Any) -> FloatArray:
        return np.concatenate([np.ravel(value[:, self._own(value)]), value[0, self._shared]])

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        own = self._own(like)
        value = np.empty(np.shape(like))
        n_own = len(value) * len(own)
        value[:, own] = vector[:n_own].reshape(len(value), len(own))
        value[:, self._shared] = vector[n_own:]
        return value

    def n_coordinates(self, like: Any) -> int:
        return int(np.size(like)) - (len(like) - 1) * len(self._shared)


class Fixed:
    """What is not to be moved: no coordinates."""

    def to_vector(self, value: Any) -> FloatArray:
        return np.empty(0)

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        return like

    def n_coordinates(self, like: Any) -> int:
        return 0


class Positive(_Entrywise):
    """Arrays of positive numbers; coordinates are logarithms."""

    def to_vector(self, value: Any) -> FloatArray:
        # Zero, on the boundary, has the coordinate -inf; a variance below has no density, which is told there.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(np.ravel(value))

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        with np.errstate(over="ignore"):  # an overlong step is refused by its objective
            return np.exp(vector).reshape(np.shape(like))


class Simplex(_Entrywise):
    """Probabilities along an axis; coordinates are their square roots, normalised on the way back.

    Distances between square roots are those of Fisher's information, and a probability that tends to 0 does
    so in finite distance: logarithms would walk off to -inf at an even pace and mislead extrapolation. One
    coordinate more than the dimension, and none of them singled out: a zero anywhere stays a zero.

    Parameters
    ----------
    axis : int, default=-1
        Along which they sum to 1.
    """

    def __init__(self, axis: int = -1):
        self._axis = axis

    def to_vector(self, value: Any) -> FloatArray:
        return np.sqrt(np.ravel(value))

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        squares = vector.reshape(np.shape(like)) ** 2
        return squares / squares.sum(axis=self._axis, keepdims=True)


class Directions(_Entrywise):
    """Unit vectors along the last axis; coordinates are their entries, normalised on the way back.

    One coordinate more than the dimension, and none of them singled out.
    """

    def to_vector(self, value: Any) -> FloatArray:
        return np.array(value, dtype=np.float64).ravel()

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        entries = vector.reshape(np.shape(like))
        return entries / np.linalg.norm(entries, axis=-1, keepdims=True)


class Counts(_Entrywise):
    """Expected counts on top of those of a prior; coordinates are their square roots.

    A total that EM does not change is kept on the way back: the counts are scaled to that of ``like``. In
    logarithms a count that tends to 0, or a step that is too long, would run off by orders of magnitude.

    Parameters
    ----------
    prior : float or ndarray, default=0.0
        What every value is at least.
    """

    def __init__(self, prior: float | FloatArray = 0.0):
        self._prior = prior

    def to_vector(self, value: Any) -> FloatArray:
        return np.sqrt(np.maximum(np.ravel(value - self._prior), 0.0))

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        squares = vector.reshape(np.shape(like)) ** 2
        total = squares.sum()
        return self._prior + squares * (np.sum(like - self._prior) / total if total > 0 else 1.0)


class Probability(_Entrywise):
    """Numbers between 0 and 1; coordinates are angles θ with p = sin² θ.

    A probability p is a simplex of p and 1 − p, whose square roots are a point on the unit circle: the angle
    is where on it. Distances are again those of Fisher's information, and a probability that tends to 0 or
    1 does so in finite distance, where logits would walk off to infinity.
    """

    def to_vector(self, value: Any) -> FloatArray:
        p = np.ravel(value).astype(np.float64)
        return np.arctan2(np.sqrt(p), np.sqrt(1.0 - p))  # arcsin √p, but as exact near 1 as near 0

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        return (np.sin(vector) ** 2).reshape(np.shape(like))


def _beside(directions: FloatArray) -> FloatArray:
    """Orthonormal basis (d, d − f) of what is orthogonal to ``directions`` (d, f): axes, as far as they are."""
    basis = directions
    for axis in np.eye(len(directions)):
        for _ in range(2):  # once more, for what rounding left
            axis = axis - basis @ (axis @ basis)
        length = np.linalg.norm(axis)
        if length > NO_STEP:
            basis = np.column_stack([basis, axis / length])
    return np.ascontiguousarray(basis[:, directions.shape[1] :])


class PositiveDefinite:
    """Stacks of symmetric positive definite matrices; coordinates are log-Cholesky factors.

    Parameters
    ----------
    fixed : ndarray of shape (d, f), default=None
        Orthonormal eigenvectors of every matrix that are not to be moved: they have no coordinates.
    """

    def __init__(self, fixed: FloatArray | None = None):
        self._rest = None if fixed is None else _beside(fixed)  # (d, d − f)

    def to_vector(self, value: Any) -> FloatArray:
        return self._coordinates(value if self._rest is None else self._rest.T @ value @ self._rest)

    def _coordinates(self, value: FloatArray) -> FloatArray:
        return log_cholesky(value).ravel()

    def from_vector(self, vector: FloatArray, like: Any) -> Any:
        if self._rest is None:
            return self._matrices(vector, np.shape(like))
        inside = self._rest.T @ like @ self._rest
        change = self._matrices(vector, inside.shape) - inside
        return like + self._rest @ change @ self._rest.T

    def _matrices(self, vector: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        d = shape[-1]
        if not d:  # nothing is free
            return np.empty(shape)
        return from_log_cholesky(vector.reshape(-1, d * (d + 1) // 2), d)

    def n_coordinates(self, like: Any) -> int:
        n_matrices = int(np.prod(np.shape(like)[:-2]))
        d = np.shape(like)[-1] if self._rest is None else self._rest.shape[1]
        return n_matrices * d * (d + 1) // 2


def n_coordinates(spaces: Tree, params: Tree) -> int:
    """Number of coordinates of a tree of parameters."""
    pairs = zip(leaves(spaces), leaves(params), strict=True)
    return sum(space.n_coordinates(value) for space, value in pairs)


def flatten(spaces: Tree, params: Tree) -> FloatArray:
    """Coordinates of a tree of parameters as one vector."""
    pairs = zip(leaves(spaces), leaves(params), strict=True)
    return np.concatenate([space.to_vector(value) for space, value in pairs])


def unflatten(spaces: Tree, vector: FloatArray, like: Tree) -> Tree:
    """Parameters of the shape of ``like`` at the coordinates ``vector``."""
    start = 0

    def take(space: Space, value: Any) -> Any:
        nonlocal start
        part = vector[start : start + space.n_coordinates(value)]
        start += part.size
        return space.from_vector(part, value)

    return tree_map(take, spaces, like)
