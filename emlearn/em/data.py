"""What the engine, and whoever uses it, may ask of data, wherever they lie."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.trees import Tree, add

if TYPE_CHECKING:
    from emlearn.em.batches import Affine, Batch


class Data:
    """Rows of features, with or without weights, that are seen a batch at a time.

    `Batches` holds what can be read here. Data of your own, which lie elsewhere, need `n_rows`, `n_features`,
    `map`, `take` and `recut`.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    n_features : int
        Number of features.
    """

    @property
    def n_rows(self) -> int:
        raise NotImplementedError

    @property
    def n_features(self) -> int:
        raise NotImplementedError

    @property
    def is_sparse(self) -> bool:
        """Whether of rows in memory only entries that are not 0 are held."""
        return False

    @property
    def lengths(self) -> NDArray[np.intp] | None:
        """Lengths of the sequences that rows make up, one after the other, (n_sequences,); None of none."""
        return None

    def map(self, function: Callable[[Batch], Any]) -> Iterator[Any]:
        """``function`` of each batch, in the order of the rows."""
        raise NotImplementedError

    def take(self, positions: NDArray[np.intp]) -> NDArray[Any]:
        """The rows at these positions, which do not decrease, (m, n_features), not in any units."""
        raise NotImplementedError

    def recut(
        self,
        *,
        units: Affine | None = None,
        columns: NDArray[np.intp] | None = None,
        rows: int | None = None,
        floats_per_row: int | None = None,
        n_threads: int = 1,
    ) -> Data:
        """The same rows, or some ``columns`` of them, in other units and another cut, as of `Batches`."""
        raise NotImplementedError

    def described(self) -> str:
        """Where the data lie, in a line for who waits; empty if they are here."""
        return ""

    def sum(self, function: Callable[[Batch], Tree]) -> Tree:
        """Sum of ``function`` over all batches."""
        return sum_of(self.map(function))

    def fold(self, function: Callable[[Batch], Any], join: Callable[[Any, Any], Any]) -> Any:
        """What ``join`` makes, two at a time and in order, of what ``function`` makes of all batches.

        How they are put into brackets must not matter: what lies in blocks is joined block by block first.
        """
        return functools.reduce(join, self.map(function))

    @property
    def n_together(self) -> int:
        """With how many fits at once a pass over the data stays in cache; see `emlearn.em.stack`."""
        return 1

    def weights(self) -> NDArray[np.float64] | None:
        """Weight of each row, (n_rows,); None where all are 1."""
        parts = list(self.map(_weights_of))
        if all(weight is None for weight, _, _ in parts):
            return None
        weights, first = np.ones(self.n_rows), 0
        for weight, places, m in parts:
            if weight is not None:
                weights[slice(first, first + m) if places is None else places] = weight
            first += m
        return weights


def sum_of(parts: Iterator[Tree]) -> Tree:
    """Sum of some trees, in their order.

    Raises
    ------
    ValueError
        If there is none.
    """
    total = None
    for part in parts:
        total = part if total is None else add(total, part)
    if total is None:
        raise ValueError("The data holds no rows.")
    return total


def _weights_of(batch: Batch) -> tuple[NDArray[np.float64] | None, Any, int]:
    return batch.weight, batch.rows, batch.x.shape[1]
