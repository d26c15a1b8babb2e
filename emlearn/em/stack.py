"""Parameters of several fits of one model side by side: what the loop of EM does its arithmetic on.

Fits of small data cost what it costs to call NumPy, not what it computes. S sets of the parameters of K
components are therefore held as S·K components of one family, and S·K log-densities, totals and M-steps are one
call each. All that the loop asks is answered here for S sets at once; of a model whose components cannot stand
side by side S is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.data import Data
from emlearn.em.model import EMModel, EStep, Family, LatentModel, LatentPair
from emlearn.em.spaces import FloatArray
from emlearn.em.trees import Tree, leaves, tree_map

BoolArray = NDArray[np.bool_]
Rows = NDArray[np.intp]


class Stack(Protocol):
    """What the loop asks of a model, of S sets of parameters at once; they and statistics are stacked trees."""

    model: EMModel

    def of_sets(self, params: Sequence[Any]) -> Tree:
        """Sets of parameters, stacked."""
        ...

    def one(self, stacked: Tree, row: int) -> Any:
        """Parameters or statistics of one set."""
        ...

    def take(self, stacked: Tree, rows: Rows) -> Tree:
        """Some of the sets."""
        ...

    def put(self, stacked: Tree, rows: Rows, others: Tree) -> Tree:
        """The sets with those of some rows in the place of what stood there."""
        ...

    def join(self, *stacked: Tree) -> Tree:
        """The sets of some stacks, one after the other."""
        ...

    def expectation(self, params: Tree, number: int) -> Callable[[Batch], EStep]:
        """E-step of all sets, its log-likelihood of shape (S,); the number of the iteration is for one set."""
        ...

    def log_prior(self, params: Tree) -> list[float]:
        """Log prior density of each set."""
        ...

    def maximize(self, stats: Tree, params: Tree) -> Tree:
        """M-step of all sets."""
        ...

    def flatten(self, params: Tree) -> FloatArray:
        """Coordinates of each set, (S, D)."""
        ...

    def unflatten(self, vectors: FloatArray, like: Tree) -> Tree:
        """Sets of parameters at coordinates (S, D)."""
        ...

    def resting(self, params: Tree) -> BoolArray | None:
        """Which coordinates rest on a constraint, (S, D); None for none."""
        ...

    def are_finite(self, params: Tree) -> list[bool]:
        """Which sets are finite throughout."""
        ...


def stack_of(model: EMModel, *, many: bool = True) -> Stack:
    """What holds ``many`` sets of a model's parameters, if it can; else one."""
    return SideBySide(model) if many and can_stack(model) else Alone(model)


def can_stack(model: EMModel) -> bool:
    """Whether several sets of a model's parameters can stand side by side."""
    return (
        type(model) is LatentModel
        and model.assignment == "soft"
        and model.family.side_by_side(2) is not None
        and model.latent.stacked is not None
    )


def n_together(model: EMModel, data: Data) -> int:
    """How many fits of a model are best held side by side."""
    return data.n_together if can_stack(model) else 1


class Alone:
    """One set of parameters, of any model."""

    def __init__(self, model: EMModel):
        self.model = model

    def of_sets(self, params: Sequence[Any]) -> Tree:
        (one,) = params
        return one

    def one(self, stacked: Tree, row: int) -> Any:
        return stacked

    def take(self, stacked: Tree, rows: Rows) -> Tree:
        return stacked

    def put(self, stacked: Tree, rows: Rows, others: Tree) -> Tree:
        return others if len(rows) else stacked

    def join(self, *stacked: Tree) -> Tree:
        (one,) = stacked
        return one

    def expectation(self, params: Tree, number: int) -> Callable[[Batch], EStep]:
        return self.model.at(number).expectation(params)

    def log_prior(self, params: Tree) -> list[float]:
        return [self.model.log_prior(params)]

    def maximize(self, stats: Tree, params: Tree) -> Tree:
        return self.model.maximize(stats, params)

    def flatten(self, params: Tree) -> FloatArray:
        return self.model.flatten(params)[None]

    def unflatten(self, vectors: FloatArray, like: Tree) -> Tree:
        return self.model.unflatten(vectors[0], like)

    def resting(self, params: Tree) -> BoolArray | None:
        resting = self.model.resting(params)
        return None if resting is None else resting[None]

    def are_finite(self, params: Tree) -> list[bool]:
        return [all(np.isfinite(leaf).all() for leaf in leaves(params))]


class SideBySide:
    """S sets of parameters as one of S·K components, component by component: those of the first component of
    all sets, then those of the second.

    A latent structure that can be `stacked` normalises set by set. Its arrays have the sets as their first
    axis, (S, ...), and those of the family the components, (K·S, ...).
    """

    def __init__(self, model: EMModel):
        self.model = model
        of_latent = cast(LatentModel, model)
        stacked = of_latent.latent.stacked
        if stacked is None:
            raise ValueError(f"{type(of_latent.latent).__name__} cannot be stacked.")
        self._latent = stacked
        self._family: Family = of_latent.family
        self._spaces = leaves(stacked.spaces), leaves(self._family.spaces)
        self._models: dict[int, LatentModel] = {}

    def _of(self, params: Tree) -> LatentModel:
        """The model of as many fits as there are sets."""
        S = _n_sets(params)
        if S not in self._models:
            family = self._family.side_by_side(S)
            if family is None:
                raise ValueError(f"Components of {type(self._family).__name__} cannot stand side by side.")
            self._models[S] = replace(cast(LatentModel, self.model), latent=self._latent, family=family)
        return self._models[S]

    def of_sets(self, params: Sequence[Any]) -> Tree:
        return LatentPair(
            tree_map(lambda *parts: np.stack(parts), *(one.latent for one in params)),
            tree_map(
                lambda *parts: _flat(np.stack(parts, axis=1)),
                *(one.family for one in params),
            ),
        )

    def one(self, stacked: Tree, row: int) -> Any:
        S = _n_sets(stacked)
        return LatentPair(
            tree_map(lambda leaf: leaf[row], stacked.latent),
            tree_map(lambda leaf: _by_component(leaf, S)[:, row], stacked.family),
        )

    def take(self, stacked: Tree, rows: Rows) -> Tree:
        S = _n_sets(stacked)
        return LatentPair(
            tree_map(lambda leaf: leaf[rows], stacked.latent),
            tree_map(lambda leaf: _flat(_by_component(leaf, S)[:, rows]), stacked.family),
        )

    def put(self, stacked: Tree, rows: Rows, others: Tree) -> Tree:
        S, n_others = _n_sets(stacked), len(rows)
        if n_others == S:
            return others
        if not n_others:
            return stacked

        def of_latent(leaf: FloatArray, other: FloatArray) -> FloatArray:
            leaf = leaf.copy()
            leaf[rows] = other
            return leaf

        def of_family(leaf: FloatArray, other: FloatArray) -> FloatArray:
            leaf = leaf.copy()
            _by_component(leaf, S)[:, rows] = _by_component(other, n_others)
            return leaf

        return LatentPair(
            tree_map(of_latent, stacked.latent, others.latent),
            tree_map(of_family, stacked.family, others.family),
        )

    def join(self, *stacked: Tree) -> Tree:
        sizes = [_n_sets(some) for some in stacked]

        def of_family(*parts: FloatArray) -> FloatArray:
            each = [_by_component(part, S) for part, S in zip(parts, sizes, strict=True)]
            return _flat(np.concatenate(each, axis=1))

        return LatentPair(
            tree_map(lambda *parts: np.concatenate(parts), *(some.latent for some in stacked)),
            tree_map(of_family, *(some.family for some in stacked)),
        )

    def expectation(self, params: Tree, number: int) -> Callable[[Batch], EStep]:
        return self._of(params).expectation(params)

    def log_prior(self, params: Tree) -> list[float]:
        prior: list[float] = np.asarray(self._latent.log_prior(params.latent)).tolist()
        return prior  # families that stack have none

    def maximize(self, stats: Tree, params: Tree) -> Tree:
        return self._of(params).maximize(stats, params)

    def flatten(self, params: Tree) -> FloatArray:
        S = _n_sets(params)
        return np.concatenate(
            [_set_by_set(space.to_vector(leaf), n, S) for space, leaf, n in self._leaves(params)], axis=1
        )

    def unflatten(self, vectors: FloatArray, like: Tree) -> Tree:
        S = _n_sets(like)
        values, start = [], 0
        for space, leaf, n in self._leaves(like):
            stop = start + space.n_coordinates(leaf) // S
            part = vectors[:, start:stop]
            if n:
                part = part.reshape(S, n, -1).swapaxes(0, 1)
            values.append(space.from_vector(part.ravel(), leaf))
            start = stop
        each = iter(values)
        return tree_map(lambda _: next(each), like)

    def resting(self, params: Tree) -> BoolArray | None:
        resting = self._of(params).family.resting(params.family)
        if resting is None:
            return None
        S = _n_sets(params)
        by_set, start = [], 0
        for space, leaf, n in self._leaves(params):
            size = space.n_coordinates(leaf)
            if n:
                by_set.append(_set_by_set(resting[start : start + size], n, S))
                start += size
            else:
                by_set.append(np.zeros((S, size // S), dtype=bool))
        return np.concatenate(by_set, axis=1)

    def are_finite(self, params: Tree) -> list[bool]:
        S = _n_sets(params)
        finite = np.ones(S, dtype=bool)
        for leaf in leaves(params.latent):
            finite &= np.isfinite(leaf).reshape(S, -1).all(axis=1)
        for leaf in leaves(params.family):
            finite &= np.isfinite(leaf).reshape(len(leaf) // S, S, -1).all(axis=(0, 2))
        answers: list[bool] = finite.tolist()
        return answers

    def _leaves(self, params: Tree) -> Iterator[tuple[Any, Any, int]]:
        """Spaces with their values, in the order of the coordinates, and how many rows of a value are a set's.

        Of what is hidden, whose arrays have sets as their first axis, that is 0.
        """
        S = _n_sets(params)
        of_latent, of_family = self._spaces
        for space, leaf in zip(of_latent, leaves(params.latent), strict=True):
            yield space, leaf, 0
        for space, leaf in zip(of_family, leaves(params.family), strict=True):
            yield space, leaf, len(leaf) // S


def _n_sets(stacked: Tree) -> int:
    """How many sets are stacked."""
    first = stacked.latent
    while isinstance(first, tuple):
        first = first[0]
    return len(first)


def _by_component(leaf: FloatArray, S: int) -> FloatArray:
    """An array of the family's by components and sets, (K, S, ...)."""
    return leaf.reshape(len(leaf) // S, S, *leaf.shape[1:])


def _flat(leaf: FloatArray) -> FloatArray:
    """An array by components and sets as the family has it."""
    return leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])


def _set_by_set(values: NDArray[Any], n: int, S: int) -> NDArray[Any]:
    """Coordinates (S, D) of one array; ``n`` as in `SideBySide._leaves`."""
    by_set = values.reshape(n, S, values.size // (n * S)).swapaxes(0, 1) if n else values
    return by_set.reshape(S, values.size // S)
