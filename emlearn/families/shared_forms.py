r"""Covariance structures whose components share a part of their form, by mclust's letters.

Of the volume λ, the shape A (diagonal, of determinant 1) and the orientation D of
:math:`\Sigma = \lambda D A D^\top` a letter each says whether components have it equal (E), have their own (V),
or, of the orientation, that it is that of the axes (I). Where all is equal, or all their own, the structure is
one of `emlearn.families.covariance`.

M-steps take what is shared and what is not in turns, each given the other, from the covariances before: the
likelihood rises at every turn, on the floor too.

References
----------
Celeux & Govaert (1995), Gaussian parsimonious clustering models, Pattern Recognition 28.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.spaces import Positive, PositiveDefinite
from emlearn.families.covariance import Diagonal, FloatArray, Full, Structure

# Turns of an M-step end where nothing changes by more than this, relatively.
TURN_TOL = 1e-13
MAX_TURNS = 200


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


class _SharedForm(Structure):
    """What these structures have in common: a matrix for each component, none free of the others."""

    def coordinates_of(self, matrices: NDArray[np.bool_], n_coordinates: int) -> NDArray[np.bool_]:
        return np.full(n_coordinates, matrices.any())

    def nearest(self, covariance: FloatArray, floor: float) -> FloatArray:
        # That of greatest likelihood for data with these covariances, components weighing alike.
        K, d = covariance.shape[:2]
        products = self._products_of(self.raise_to(covariance, floor))
        return self.maximize(products, np.ones(K), self.identity(K, d), d, floor)

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
        volume = np.exp(np.log(kept).mean(axis=1))
        for _ in range(MAX_TURNS):
            shape = (products[some] / volume[some, None]).sum(axis=0) / weight.sum()
            shape = np.maximum(shape, floor / volume.min())
            before = volume.copy()
            volume[some] = np.maximum((products[some] / shape).mean(axis=1) / weight[some], floor / shape.min())
            if np.abs(volume / before - 1).max() < TURN_TOL:
                break
        return volume[:, None] * shape

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

    def maximize(
        self, products: FloatArray, weight: FloatArray, kept: FloatArray, d: int, floor: float
    ) -> FloatArray:
        some = weight > 0
        volume = float(np.exp(np.log(kept[0]).mean()))
        shape = kept / np.exp(np.log(kept).mean(axis=1, keepdims=True))
        for _ in range(MAX_TURNS):
            shape[some] = _of_product_1(products[some], floor / volume)
            before = volume
            volume = float((products[some] / shape[some]).sum() / (d * weight.sum()))
            volume = max(volume, floor / float(shape.min()))
            if abs(volume / before - 1) < TURN_TOL:
                break
        return volume * shape

    def n_free(self, n_components: int, d: int) -> int:
        return n_components * (d - 1) + 1

    def space(self, forced: FloatArray | None = None) -> Any:
        return EqualProducts()

    def _products_of(self, covariance: FloatArray) -> FloatArray:
        return covariance


def _of_product_1(products: FloatArray, least: float) -> FloatArray:
    """Rows in proportion to products (K, d), of product 1 each, but no less than ``least``."""
    d = products.shape[1]
    order = np.argsort(-products, axis=1)
    logs = np.log(np.maximum(np.take_along_axis(products, order, axis=1), np.finfo(np.float64).tiny))
    n_free = np.arange(1, d + 1)
    # Where the m largest are free and the others at the least, the free ones are divided by exp(level).
    level = (np.cumsum(logs, axis=1) + (d - n_free) * np.log(least)) / n_free
    m = np.maximum(np.sum(logs - level >= np.log(least), axis=1, keepdims=True), 1)
    sizes = np.exp(logs - np.take_along_axis(level, m - 1, axis=1))
    shape = np.empty_like(products)
    np.put_along_axis(shape, order, np.where(n_free <= m, sizes, least), axis=1)
    return np.maximum(shape, least)


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
        volume = _multiples(kept)
        for _ in range(MAX_TURNS):
            form = (scatter / volume[some, None, None]).sum(axis=0, keepdims=True) / weight.sum()
            form = self.raise_to(form, floor / volume.min())
            values, vectors = np.linalg.eigh(form[0])
            traces = np.einsum("id,kij,jd->kd", vectors, scatter, vectors) @ (1.0 / values)
            before = volume.copy()
            volume[some] = np.maximum(traces / (d * weight[some]), floor / values[0])
            if np.abs(volume / before - 1).max() < TURN_TOL:
                break
        return volume[:, None, None] * form

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
