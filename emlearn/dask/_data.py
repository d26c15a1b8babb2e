"""Rows on the workers of a cluster as data for EM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.dask._blocks import Blocks, ComputedHere, read_plainly
from emlearn.dask._collections import current_client
from emlearn.dask._held import Held, HeldSequences
from emlearn.dask._sequences import sequence_blocks
from emlearn.dask._tasks import (
    as_bytes,
    cut_group,
    fold_blocks,
    map_blocks,
    sum_blocks,
    take_rows,
    weights_of_group,
)
from emlearn.em import Affine, Batch, Batches, Data
from emlearn.em.data import sum_of


def read_on_dask(read: Callable[..., tuple[Any, Any]], X: Any, weight: Any = None, *beside: Any) -> Data:
    """Rows on the workers of the current cluster; where there is none, rows that are computed as they are read.

    Parameters are those of `emlearn._input.pieces.read_data`. What is read is checked where it lies.
    """
    if current_client() is not None:
        return OnDask(X, weight, *beside, read=read)
    computed = ComputedHere(Blocks.of(list(X) if isinstance(X, tuple) else X, weight, *beside), read)
    computed.read_first()
    return Batches(computed)


def read_sequences_on_dask(
    read: Callable[..., tuple[Any, Any, Any]], X: Any, weight: Any = None, lengths: Any = None
) -> OnDask | None:
    """Sequences on the workers of the current cluster; None where there is none.

    Parameters
    ----------
    read : callable
        ``read(part, weight, first)`` checks some of the sequences, a `Part`, and gives rows, weights, lengths.
    X, lengths
        As of `sequence_blocks`.
    weight : ndarray of shape (n_sequences,), number or None
        How often each sequence counts.
    """
    client = current_client()
    if client is None:
        return None
    held = HeldSequences(client, weight)
    held.read(sequence_blocks(X, lengths), read)
    data = OnDask.__new__(OnDask)
    data._cut_of(held, None, None, None, None)
    return data


class OnDask(Data):
    """Rows that stay on the workers of a Dask cluster.

    Blocks that are small are joined with those that follow them, up to 4096 rows; empty ones are left out.

    Parameters
    ----------
    X : dask array (n, d), dask DataFrame, or list of delayed arrays or futures, (m, d) each
        Rows are observations. An array must not be cut along its features; its chunks may be of unknown sizes.
    weight : dask array or Series of shape (n,), or list of delayed arrays, default=None
        How often each row counts.
    *beside : dask collections of shape (n,) or (n, k), or lists of delayed arrays
        Further columns in blocks of the same rows: a response, an offset.
    read : callable, default=None
        ``read(X, weight, *beside, first)`` checks a block on its worker, and gives rows and weights; before, it
        is called here with ``first=True`` and some rows of the first block. None: X must have no infinity.
    client : distributed.Client, default=None
        None: the current one.
    units : Affine, default=None
        Batches hold (x − shift) / scale.
    columns : ndarray of int, default=None
        The columns that are meant, of X and of what stands beside it. None: all.
    rows, floats_per_row : int, default=None
        How blocks are cut into batches, as in `emlearn.em.Batches`.

    Attributes
    ----------
    block_lengths : ndarray of int of shape (n_blocks,)
        Rows of each block, after small ones were joined.
    dtype : dtype
        float32 if all blocks of X are, else float64.

    Raises
    ------
    ValueError
        If chunks lie along features, columns hold no numbers, an entry is infinite, or blocks do not match.
    RuntimeError
        If blocks are lost with a worker and cannot be computed again.
    ConnectionError
        If the scheduler has gone.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from emlearn.dask import OnDask
    >>> with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
    ...     data = OnDask(da.ones((10_000, 3), chunks=(5_000, 3)))
    ...     print(data.n_rows, data.n_features, data.sum(lambda batch: batch.x.sum()))
    10000 3 30000.0
    """

    def __init__(
        self,
        X: Any,
        weight: Any = None,
        *beside: Any,
        read: Callable[..., tuple[Any, Any]] | None = None,
        client: Any = None,
        units: Affine | None = None,
        columns: NDArray[np.intp] | None = None,
        rows: int | None = None,
        floats_per_row: int | None = None,
    ):
        client = current_client() if client is None else client
        if client is None:
            raise ValueError("There is no cluster: make a distributed.Client first.")
        held = Held(client)
        held.read(
            Blocks.of(list(X) if isinstance(X, tuple) else X, weight, *beside),
            read_plainly if read is None else read,
        )
        self._cut_of(held, columns, units, rows, floats_per_row)

    def _cut_of(
        self,
        held: Held,
        columns: NDArray[np.intp] | None,
        units: Affine | None,
        rows: int | None,
        floats_per_row: int | None,
    ) -> None:
        self._held, self._columns = held, columns
        settings = {"columns": columns, "units": units, "rows": rows, "floats_per_row": floats_per_row}
        n_groups = len(held.groups)
        self._cuts = held.tasks(cut_group, held.groups, held.firsts, held.keep_bytes, [settings] * n_groups)

    @property
    def n_rows(self) -> int:
        return int(self._held.lengths.sum())

    @property
    def n_features(self) -> int:
        return self._held.n_features if self._columns is None else len(self._columns)

    @property
    def lengths(self) -> NDArray[np.intp] | None:
        """Lengths of the sequences that rows make up, one after the other, (n_sequences,); None of none."""
        return self._held.sequence_lengths

    @property
    def block_lengths(self) -> NDArray[np.intp]:
        return self._held.lengths

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._held.dtype

    def map(self, function: Callable[[Batch], Any]) -> Iterator[Any]:
        """``function`` of each batch, in the order of the rows."""
        for results in self._each_block(map_blocks, function):
            yield from results

    def sum(self, function: Callable[[Batch], Any]) -> Any:
        """Sum of ``function`` over the batches of each block, and of these over the blocks in their order."""
        return sum_of(iter(self._each_block(sum_blocks, function)))

    def fold(self, function: Callable[[Batch], Any], join: Callable[[Any, Any], Any]) -> Any:
        """What ``join`` makes, two at a time and in order, of what ``function`` makes of all batches."""
        return reduce(join, self._each_block(fold_blocks, (function, join)))

    def _each_block(self, task: Callable[..., Any], what: Any) -> list[Any]:
        """What a task makes of each block; functions are pickled once, and each thread has one task."""
        return self._held.in_order(task, self._cuts, [as_bytes(what)] * len(self._cuts))

    def take(self, positions: NDArray[np.intp]) -> NDArray[Any]:
        """The rows at these positions, which do not decrease, (m, n_features), not in any units."""
        bounds = np.searchsorted(positions, np.append(self._held.starts, self.n_rows))
        wanted = [
            [positions[bounds[i] : bounds[i + 1]] - self._held.starts[i] for i in places]
            for places in self._held.places
        ]
        taken = self._held.in_order(take_rows, self._held.groups, wanted, [self._columns] * len(wanted))
        return np.concatenate([part for part in taken if len(part)] or taken[:1])

    def weights(self) -> NDArray[np.float64] | None:
        """Weight of each row, (n_rows,); None where all are 1."""
        if not self._held.is_weighted:
            return None
        return np.concatenate(self._held.in_order(weights_of_group, self._held.groups))

    def recut(
        self,
        *,
        units: Affine | None = None,
        columns: NDArray[np.intp] | None = None,
        rows: int | None = None,
        floats_per_row: int | None = None,
        n_threads: int = 1,
    ) -> OnDask:
        """The same rows, or some ``columns`` of them, in other units and another cut; they stay where they are.

        ``n_threads`` is of this machine, and has no say: on a worker all of its threads share the work.
        """
        if self._columns is not None:
            columns = self._columns if columns is None else self._columns[columns]
        other = OnDask.__new__(OnDask)
        other._cut_of(self._held, columns, units, rows, floats_per_row)
        return other

    def described(self) -> str:
        """Where the data lie, in a line: rows, blocks, workers, and where the dashboard is."""
        held = self._held
        n_workers, n_threads = len(set(held.workers)), len(held.groups)
        dashboard = held.client.dashboard_link
        return (
            f"{self.n_rows} rows in {len(held.lengths)} blocks on {n_threads} threads of {n_workers} workers"
            + (f", dashboard at {dashboard}" if dashboard else "")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Elsewhere, (self.n_rows, self.n_features)


class Elsewhere(Data):
    """What is left of `OnDask` in a pickle, which neither cluster nor rows go into."""

    def __init__(self, n_rows: int, n_features: int):
        self._shape = n_rows, n_features

    @property
    def n_rows(self) -> int:
        return self._shape[0]

    @property
    def n_features(self) -> int:
        return self._shape[1]

    def map(self, function: Callable[[Batch], Any]) -> Iterator[Any]:
        raise RuntimeError("Data on a cluster do not go into a pickle, nor into what is mapped over them.")

    def take(self, positions: NDArray[np.intp]) -> NDArray[Any]:
        return self.map(len)  # type: ignore[return-value]

    def recut(self, **cut: Any) -> Data:
        return self.map(len)  # type: ignore[return-value]
