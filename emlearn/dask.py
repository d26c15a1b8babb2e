"""Rows that lie on the workers of a Dask cluster: data for EM, and predictions that stay lazy.

Blocks are computed once and stay on their workers, cut into batches. Parameters go out and sums of statistics
come back, one for each block; they are added in the order of the blocks, so that a fit is to the last bit that
of the same blocks in memory. Dask itself is imported when there is a collection of it, and not before.
"""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from emlearn._input.arrays import check_weight
from emlearn._input.columns import list_names
from emlearn._input.tables import FLOATS, Named, as_numpy, is_frame, read_table, refuse_entries
from emlearn._version import __version__
from emlearn.em import Affine, Batch, Batches, Data, SideBySide, one_blas_thread
from emlearn.em.batches import KEEP_BYTES
from emlearn.em.data import sum_of

__all__ = ["OnDask"]

# Blocks are joined with those that follow them as long as they have no more rows than this together: a block
# costs a tenth of a millisecond a pass, in which a core takes a few hundred rows.
JOINED_ROWS = 4096
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
HEAD_ROWS = 100  # of the first block, by which others are checked
# Columns that no conversion makes numbers of.
NO_ROWS = "X has no rows: 0 sample(s) while a minimum of 1 is required."
NO_NUMBERS = ("category", "string", "str", "datetime", "timedelta", "period", "interval")


def is_dask(X: Any) -> bool:
    """Whether X is a collection of Dask, a delayed object or a future, or a list of some."""
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and is_dask(X[0])
    kind = type(X)
    package, _, rest = kind.__module__.partition(".")
    if package == "distributed" or (package == "dask" and rest.startswith("delayed")):
        return True
    return hasattr(kind, "__dask_graph__") and hasattr(kind, "to_delayed")


def is_frame_of_dask(X: Any) -> bool:
    """Whether X is a data frame of Dask."""
    return is_dask(X) and hasattr(type(X), "map_partitions") and hasattr(type(X), "columns")


def current_client() -> Any:
    """The client of a cluster that Dask would compute on here; None where it computes in this process."""
    import dask

    scheduler = getattr(dask.base.get_scheduler(), "__self__", None)
    return scheduler if hasattr(scheduler, "scheduler_info") else None


def read_on_dask(read: Callable[..., tuple[Any, Any]], X: Any, weight: Any = None, *beside: Any) -> Data:
    """Rows on the workers of the current cluster; where there is none, rows that are computed as they are read.

    Parameters are those of `emlearn._input.pieces.read_data`. What is read is checked where it lies.
    """
    if current_client() is not None:
        return OnDask(X, weight, *beside, read=read)
    computed = _ComputedHere(_Blocks.of(list(X) if isinstance(X, tuple) else X, weight, *beside), read)
    computed.read_first()
    return Batches(computed)


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
        held = _Held(client)
        held.read(
            _Blocks.of(list(X) if isinstance(X, tuple) else X, weight, *beside),
            _read_plainly if read is None else read,
        )
        self._cut_of(held, columns, units, rows, floats_per_row)

    def _cut_of(
        self,
        held: _Held,
        columns: NDArray[np.intp] | None,
        units: Affine | None,
        rows: int | None,
        floats_per_row: int | None,
    ) -> None:
        self._held, self._columns = held, columns
        settings = {"columns": columns, "units": units, "rows": rows, "floats_per_row": floats_per_row}
        n_groups = len(held.groups)
        self._cuts = held.tasks(_cut, held.groups, held.first_rows, held.keep_bytes, [settings] * n_groups)

    @property
    def n_rows(self) -> int:
        return int(self._held.lengths.sum())

    @property
    def n_features(self) -> int:
        return self._held.n_features if self._columns is None else len(self._columns)

    @property
    def block_lengths(self) -> NDArray[np.intp]:
        return self._held.lengths

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._held.dtype

    def map(self, function: Callable[[Batch], Any]) -> Iterator[Any]:
        """``function`` of each batch, in the order of the rows."""
        for results in self._each_block(_map, function):
            yield from results

    def sum(self, function: Callable[[Batch], Any]) -> Any:
        """Sum of ``function`` over the batches of each block, and of these over the blocks in their order."""
        return sum_of(iter(self._each_block(_sum, function)))

    def fold(self, function: Callable[[Batch], Any], join: Callable[[Any, Any], Any]) -> Any:
        """What ``join`` makes, two at a time and in order, of what ``function`` makes of all batches."""
        return reduce(join, self._each_block(_fold, (function, join)))

    def _each_block(self, task: Callable[..., Any], what: Any) -> list[Any]:
        """What a task makes of each block; functions are pickled once, and each thread has one task."""
        return self._held.in_order(task, self._cuts, [_pickled(what)] * len(self._cuts))

    def take(self, positions: NDArray[np.intp]) -> NDArray[Any]:
        """The rows at these positions, which do not decrease, (m, n_features), not in any units."""
        bounds = np.searchsorted(positions, np.append(self._held.starts, self.n_rows))
        wanted = [
            [positions[bounds[i] : bounds[i + 1]] - self._held.starts[i] for i in places]
            for places in self._held.places
        ]
        taken = self._held.in_order(_take, self._held.groups, wanted, [self._columns] * len(wanted))
        return np.concatenate([part for part in taken if len(part)] or taken[:1])

    def weights(self) -> NDArray[np.float64] | None:
        """Weight of each row, (n_rows,); None where all are 1."""
        if not self._held.is_weighted:
            return None
        return np.concatenate(self._held.in_order(_weights, self._held.groups))

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
        return _Elsewhere, (self.n_rows, self.n_features)


class _Elsewhere(Data):
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


# -- what was given, block by block --------------------------------------------------------------------------


class _Blocks(NamedTuple):
    """What was given: collections of Dask, or lists with an entry for each block."""

    X: Any
    beside: list[Any]  # the weights first
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, X: Any, *beside: Any) -> _Blocks:
        _check_rows(X)
        names = tuple(map(str, X.columns)) if is_frame_of_dask(X) else None
        return cls(X, [_cut_like(X, other) for other in beside], names)

    def delayed(self) -> list[Any]:
        """Each block as one delayed object, a `_Raw` one or a bad one."""
        from dask import delayed

        as_numbers = delayed(_as_numbers, pure=False)
        places, sources = self._sources()
        blocks = [part if isinstance(part, list) else list(np.ravel(part.to_delayed())) for part in sources]
        _check_same_number(blocks)
        return [
            as_numbers(number, self.names, places, *parts)
            for number, parts in enumerate(zip(*blocks, strict=True))
        ]

    def submitted(self, client: Any) -> list[Any]:
        """The same as futures."""
        places, blocks = self._sources()
        # One graph for all blocks of a collection: one for each block would take the square of their number.
        arrays = [i for i, part in enumerate(blocks) if _is_array(part)]
        if arrays:  # together, for what they share
            for i, persisted in zip(arrays, client.persist([blocks[i] for i in arrays]), strict=True):
                blocks[i] = _futures_of(persisted)
        for i, part in enumerate(blocks):
            if not isinstance(part, list):
                blocks[i] = _futures_of(client.persist(part))
            elif _is_delayed(part[0]):
                blocks[i] = client.compute(part)
        _check_same_number(blocks)
        n = len(blocks[0])
        return client.map(_as_numbers, range(n), [self.names] * n, [places] * n, *blocks, pure=False)

    def _sources(self) -> tuple[list[list[int]], list[Any]]:
        """Collections and lists of blocks, and which of all parts each has.

        Frames are bundled, since Dask may read the partitions of a file together, but then of all of them.
        """
        parts = [self.X, *self.beside]
        frames = [i for i, part in enumerate(parts) if hasattr(part, "map_partitions") and not _is_array(part)]
        others = [i for i in range(len(parts)) if i not in frames]
        places, sources = [[i] for i in others], [parts[i] for i in others]
        if len(frames) == 1:
            places.append(frames)
            sources.append(parts[frames[0]])
        elif frames:
            first, *rest = [parts[i] for i in frames]
            places.append(frames)
            sources.append(first.map_partitions(_bundle, *rest, meta=first._meta))
        return places, sources


def _bundle(*parts: Any) -> tuple[Any, ...]:
    return parts


def _check_same_number(blocks: list[list[Any]]) -> None:
    if len({len(part) for part in blocks}) > 1:
        raise ValueError(
            f"X and what stands beside it have {', '.join(str(len(part)) for part in blocks)} blocks: give all "
            "in the same blocks, of one kind of collection."
        )


def _is_array(X: Any) -> bool:
    return hasattr(X, "numblocks")


def _delayed_blocks(X: Any) -> list[Any]:
    return X if isinstance(X, list) else list(np.ravel(X.to_delayed()))


def _futures_of(persisted: Any) -> list[Any]:
    """Futures of the blocks of a collection, in their order: keys are (name, number of the block, ...)."""
    from distributed import futures_of

    return sorted(futures_of(persisted), key=lambda future: future.key[1])


def _is_delayed(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "dask"


def _check_rows(X: Any) -> None:
    """Refuse what has no rows in blocks, or columns that hold no numbers."""
    if isinstance(X, list):
        return
    if is_frame_of_dask(X):
        bad = [
            f"{name!r} ({dtype})"
            for name, dtype in zip(X.columns, X.dtypes, strict=True)
            if str(dtype).startswith(NO_NUMBERS)
        ]
        if bad:
            raise ValueError(
                f"X has entries that are no numbers in columns [{', '.join(bad)}]. Leave these out or encode "
                "them, for example with scikit-learn's ColumnTransformer."
            )
        return
    if not _is_array(X):
        raise ValueError(
            f"X is a {type(X).__module__}.{type(X).__name__}: give a dask array or DataFrame, or a list of "
            "delayed arrays."
        )
    if X.ndim != 2:
        raise ValueError(f"X must have rows of features, (n, d), but has shape {X.shape}. Reshape your data.")
    if X.numblocks[1] > 1:
        raise ValueError(
            f"X is cut along its features, into {X.numblocks[1]} chunks: give X.rechunk({{1: -1}}), so that "
            "each block has whole rows."
        )


def _cut_like(X: Any, other: Any) -> Any:
    """What stands beside X, in its blocks."""
    n_blocks = len(X) if isinstance(X, list) else X.npartitions
    chunks = X.chunks[0] if _is_array(X) else (np.nan,)
    known = not np.isnan(chunks).any()
    if not is_dask(other):
        if other is None or np.ndim(other) == 0:
            return [other] * n_blocks
        if not known:
            raise ValueError(
                f"X is of Dask with blocks of unknown lengths, but beside it stands a {type(other).__name__}: "
                "give that as a collection of Dask in the same blocks, or X with known ones, as by "
                "X.compute_chunk_sizes() or X.to_dask_array(lengths=True)."
            )
        values = np.asarray(other)
        _check_length(len(values), sum(chunks))
        return list(np.split(values, np.cumsum(chunks)[:-1]))
    if _is_array(other):
        if other.ndim == 2 and other.numblocks[1] > 1:
            other = other.rechunk({1: -1})
        if known and not np.isnan(other.shape[0]) and other.chunks[0] != chunks:
            _check_length(other.shape[0], sum(chunks))
            other = other.rechunk({0: chunks})
    return list(other) if isinstance(other, tuple) else other


def _check_length(length: int, n_rows: int) -> None:
    if length != n_rows:
        raise ValueError(f"X has {n_rows} rows, but beside it stands what has {length}.")


class _Raw(NamedTuple):
    """A block as numbers, of which none was looked at."""

    X: NDArray[Any]  # (m, d), float64 or float32
    beside: tuple[Any, ...]  # of the same length each, a number, or None
    names: tuple[str, ...] | None

    def head(self) -> _Raw:
        """Its first rows."""
        beside = [part if np.ndim(part) == 0 else part[:HEAD_ROWS] for part in self.beside]
        return _Raw(self.X[:HEAD_ROWS], tuple(beside), self.names)

    def read(self, read: Callable[..., tuple[Any, Any]], first: bool) -> _Block:
        """The block as what is fitted sees it."""
        rows = self.X if self.names is None else Named(self.X, self.names)
        return _Block(*read(rows, *self.beside, first=first)[:2])


class _Bad(NamedTuple):
    """What is wrong with a block."""

    number: int
    message: str

    def refuse(self) -> None:
        raise ValueError(f"Block {self.number} of X: {self.message}")


class _Block(NamedTuple):
    """Rows that lie together, and how often each counts."""

    rows: NDArray[Any] | SideBySide
    weight: NDArray[np.float64] | None

    @property
    def n_bytes(self) -> int:
        n_columns = self.rows.shape[1] + (self.weight is not None)
        return int(self.rows.shape[0] * n_columns * 8)


def _as_numbers(
    number: int, names: tuple[str, ...] | None, places: list[list[int]], *sources: Any
) -> _Raw | _Bad:
    """A block as arrays, or what is wrong with it; of its parts each source has those in some places."""
    by_place = {}
    for some, source in zip(places, sources, strict=True):
        by_place.update(zip(some, source if len(some) > 1 else [source], strict=True))
    X, *beside = [by_place[i] for i in sorted(by_place)]
    try:
        if getattr(X, "ndim", 2) != 2:
            raise ValueError(f"has the shape {X.shape} instead of (n_rows, n_features).")
        if names is not None and is_frame(X) and tuple(map(str, X.columns)) != names:
            raise ValueError(
                f"has the columns {list_names([*map(str, X.columns)])}, but X has {list_names(list(names))}."
            )
        others = tuple(part if part is None or np.ndim(part) == 0 else as_numpy(part) for part in beside)
        for part in others:
            if np.ndim(part) and len(part) != len(X):
                raise ValueError(f"has {len(X)} rows, but beside them stands what has {len(part)} here.")
        others = tuple(np.asarray(part) if is_frame(part) or np.ndim(part) else part for part in others)
        if not len(X):
            return _Raw(np.empty((0, 0), dtype=np.float32), others, names)
        rows = check_array(read_table(X), dtype=FLOATS, ensure_all_finite=False, input_name="X")
        return _Raw(rows, others, names)
    except (TypeError, ValueError) as error:
        return _Bad(number, str(error))


def _read_plainly(X: Any, weight: Any, *beside: Any, first: bool | None) -> tuple[Any, Any]:
    """What is asked of rows of which nothing is known."""
    names = X.names if isinstance(X, Named) else None
    rows = X.rows if isinstance(X, Named) else X
    refuse_entries(rows, names)
    beside = tuple(part for part in beside if part is not None)
    return SideBySide(rows, *beside) if beside else rows, check_weight(weight, len(rows), of_all=False)


def _joined(blocks: Sequence[_Block]) -> _Block:
    if len(blocks) == 1:
        return blocks[0]
    rows = np.concatenate([block.rows[:] for block in blocks])
    if blocks[0].weight is None:
        return _Block(rows, None)
    return _Block(rows, np.concatenate([block.weight for block in blocks if block.weight is not None]))


def _runs(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of blocks that are joined: empty ones are left out, small ones go with those that follow."""
    runs: list[list[int]] = []
    n_rows = 0
    for number, length in enumerate(lengths):
        if not length:
            continue
        if runs and n_rows + length <= JOINED_ROWS:
            runs[-1].append(number)
            n_rows += length
        else:
            runs.append([number])
            n_rows = length
    return runs


def _check_width(number: int, width: int, first: int) -> None:
    if width != first:
        raise ValueError(f"Block {number} of X has {width} features, but the first has {first}.")


# -- without a cluster ---------------------------------------------------------------------------------------


class _ComputedHere:
    """Pairs (rows, weights), computed in this process, block after block, each time they are passed over."""

    def __init__(self, blocks: _Blocks, read: Callable[..., tuple[Any, Any]]):
        self._blocks, self._read = blocks, read

    def read_first(self) -> None:
        """Read some rows of the first block that has any, by which the others are checked."""
        for number, block in self._computed():
            _read_head(block.head(), number, self._read)
            return
        raise ValueError(NO_ROWS)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        run: list[_Block] = []
        n_rows, width = 0, 0
        for number, raw in self._computed():
            width = width or raw.X.shape[1]
            _check_width(number, raw.X.shape[1], width)
            block = _read_block(number, raw, self._read)
            if isinstance(block, _Bad):
                block.refuse()
            if run and n_rows + len(raw.X) > JOINED_ROWS:
                yield tuple(_joined(run))
                run, n_rows = [], 0
            run.append(block)
            n_rows += len(raw.X)
        if run:
            yield tuple(_joined(run))

    def _computed(self) -> Iterator[tuple[int, _Raw]]:
        import dask

        for number, delayed in enumerate(self._blocks.delayed()):
            (block,) = dask.compute(delayed)
            if isinstance(block, _Bad):
                block.refuse()
            if len(block.X):
                yield number, block


def _read_head(head: _Raw, number: int, read: Callable[..., tuple[Any, Any]]) -> None:
    try:
        head.read(read, first=True)
    except ValueError as error:
        raise ValueError(f"Block {number} of X: {error}") from error


def _read_block(number: int, raw: _Raw, read: Callable[..., tuple[Any, Any]]) -> _Block | _Bad:
    try:
        return raw.read(read, first=False)
    except (TypeError, ValueError) as error:
        return _Bad(number, str(error))


# -- on the workers ------------------------------------------------------------------------------------------


class _Group(tuple[Any, ...]):
    """What a thread of a worker holds. Its size is what the scheduler asks before it would move it."""

    def __sizeof__(self) -> int:
        return sum(block.n_bytes for block in self) + 1024


class _Cuts(tuple[Any, ...]):
    """The blocks of a group, cut. They hold the group's rows, and would take these along."""

    n_bytes: int

    def __sizeof__(self) -> int:
        return self.n_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return _cuts_again, (tuple(self), self.n_bytes)


def _cuts_again(cuts: Iterable[Batches], n_bytes: int) -> _Cuts:
    again = _Cuts(cuts)
    again.n_bytes = n_bytes
    return again


def _shapes(*blocks: _Raw | _Bad) -> tuple[list[tuple[int, int] | _Bad], str]:
    """Shapes of blocks, or what is wrong with them, and who says so."""
    return [block if isinstance(block, _Bad) else block.X.shape for block in blocks], __version__


def _head(block: _Raw) -> _Raw:
    return block.head()


def _read_group(pickled: bytes, runs: list[list[int]], *raw: _Raw) -> _Group:
    """Blocks that a thread will hold, read, and joined run by run; one that is bad stands for its run."""
    read = pickle.loads(pickled)
    waiting, group = iter(raw), []
    with _one_blas_thread_here():
        for run in runs:
            blocks = [_read_block(number, next(waiting), read) for number in run]
            bad = [block for block in blocks if isinstance(block, _Bad)]
            group.append(bad[0] if bad else _joined(blocks))
    return _Group(group)


def _seen(group: _Group) -> list[Any]:
    """Of each block its number of features, type and whether it has weights, or what is wrong with it."""
    return [
        block
        if isinstance(block, _Bad)
        else (block.rows.shape[1], getattr(block.rows, "dtype", np.dtype(np.float64)), block.weight is not None)
        for block in group
    ]


def _cut(group: _Group, first_rows: list[int], keep_bytes: float, settings: dict[str, Any]) -> _Cuts:
    n_rows = sum(len(block.rows) for block in group)
    cuts = [
        Batches(
            block.rows,
            block.weight,
            first_row=first_row,
            keep_bytes=keep_bytes * len(block.rows) / n_rows,
            **settings,
        )
        for block, first_row in zip(group, first_rows, strict=True)
    ]
    return _cuts_again(cuts, group.__sizeof__())


# What goes back is one string of bytes: of many small arrays each would be a message of its own.


def _sum(cuts: _Cuts, pickled: bytes) -> bytes:
    function = pickle.loads(pickled)
    with _one_blas_thread_here():
        return _pickled([batches.sum(function) for batches in cuts])


def _fold(cuts: _Cuts, pickled: bytes) -> bytes:
    function, join = pickle.loads(pickled)
    with _one_blas_thread_here():
        return _pickled([reduce(join, batches.map(function)) for batches in cuts])


def _map(cuts: _Cuts, pickled: bytes) -> bytes:
    function = pickle.loads(pickled)
    with _one_blas_thread_here():
        return _pickled([list(batches.map(function)) for batches in cuts])


def _take(
    group: _Group, wanted: list[NDArray[np.intp]], columns: NDArray[np.intp] | None
) -> list[NDArray[Any]]:
    taken = [block.rows[rows] for block, rows in zip(group, wanted, strict=True)]
    return taken if columns is None else [rows[:, columns] for rows in taken]


def _weights(group: _Group) -> list[NDArray[np.float64]]:
    return [block.weight for block in group]


def _pickled(what: Any) -> bytes:
    """Functions, or results, as bytes: pickled once and not once a task, and one message."""
    from distributed.protocol.pickle import dumps

    return bytes(dumps(what))


@cache
def _keep_freed_memory() -> None:
    """Have the C library of a worker use freed memory again, as it does elsewhere.

    Dask has its workers give all of it back to the system at once. An E-step makes and frees arrays of some
    hundred kB batch by batch, and having their pages made anew each time took half of its time. The bounds are
    those that glibc ends at when it is left alone.
    """
    from distributed import get_worker

    try:
        under_nanny = get_worker().nanny is not None
    except ValueError:  # no worker's thread
        return
    if (
        under_nanny
        and "MALLOC_TRIM_THRESHOLD_" in os.environ
        and hasattr(library := ctypes.CDLL(None), "mallopt")
    ):
        library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)


_limiting = threading.Lock()
_limited: list[Any] = []  # the limit that holds, once for each task that wants it


@contextmanager
def _one_blas_thread_here() -> Iterator[None]:
    """`one_blas_thread` for threads that come and go in any order: the last one lifts the limit."""
    _keep_freed_memory()
    with _limiting:
        if not _limited:
            limit = one_blas_thread()
            limit.__enter__()
        else:
            limit = _limited[-1]
        _limited.append(limit)
    try:
        yield
    finally:
        with _limiting:
            limit = _limited.pop()
            if not _limited:
                limit.__exit__(None, None, None)


class _Held:
    """Blocks on their workers, one group for each thread: what all cuts of the same rows share.

    Attributes
    ----------
    client : distributed.Client
    groups : list of Future
        Of `_Group`.
    workers : list of str
        Address of the worker of each group.
    places : list of list of int
        Which blocks each group has.
    lengths, starts : ndarray of int of shape (n_blocks,)
        Rows of each block, and the first of them.
    """

    def __init__(self, client: Any):
        self.client = client

    def read(self, blocks: _Blocks, read: Callable[..., tuple[Any, Any]]) -> None:
        """Have all blocks computed, and read where they are."""
        with self._spoken():
            raw = blocks.submitted(self.client)
            try:
                lengths = self._check_shapes(raw)
                first = int(np.argmax(np.array(lengths) > 0))
                _read_head(self.client.submit(_head, raw[first], pure=False).result(), first, read)
                self._read_in_groups(raw, _runs(lengths), lengths, read)
            except BaseException:  # Ctrl-C among others: what has not begun does not
                self._cancel(raw)
                raise

    def _check_shapes(self, raw: list[Any]) -> list[int]:
        """Lengths of blocks; each worker is asked once."""
        shapes: list[Any] = [None] * len(raw)
        by_worker = self._by_worker(raw)
        asked = [self._at(worker, _shapes, *[raw[i] for i in numbers]) for worker, numbers in by_worker.items()]
        for (worker, numbers), (found, version) in zip(
            by_worker.items(), self.client.gather(asked), strict=True
        ):
            if version != __version__:
                raise RuntimeError(
                    f"The worker at {worker} has emlearn {version}, but here it is {__version__}: install the "
                    "same on all."
                )
            for i, shape in zip(numbers, found, strict=True):
                shapes[i] = shape
        for shape in shapes:
            if isinstance(shape, _Bad):
                shape.refuse()
        filled = [(number, width) for number, (n_rows, width) in enumerate(shapes) if n_rows]
        if not filled:
            raise ValueError(NO_ROWS)
        for number, width in filled:
            _check_width(number, width, filled[0][1])
        return [n_rows for n_rows, _ in shapes]

    def _by_worker(self, futures: list[Any]) -> dict[str | None, list[int]]:
        """Which of some futures lie where, once they are computed."""
        from distributed import wait

        wait(futures)
        for future in futures:
            if future.status != "finished":
                future.result()  # which says why not
        lie = self.client.who_has(futures)
        by_worker: dict[str | None, list[int]] = {}
        for i, future in enumerate(futures):
            holders = sorted(lie.get(future.key, ()))  # none, if it was lost just now: then anywhere will do
            by_worker.setdefault(holders[0] if holders else None, []).append(i)
        return by_worker

    def _at(self, worker: str | None, task: Callable[..., Any], *arguments: Any) -> Any:
        """A task at a worker, or at any if that one has gone."""
        where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        return self.client.submit(task, *arguments, pure=False, **where)

    def _read_in_groups(
        self, raw: list[Any], runs: list[list[int]], lengths: list[int], read: Callable[..., tuple[Any, Any]]
    ) -> None:
        """Read blocks, run by run; each thread has its share of what lies on its worker."""
        self.lengths = np.array([sum(lengths[i] for i in run) for run in runs], dtype=np.intp)
        self.starts = np.cumsum(self.lengths) - self.lengths
        n_threads = self.client.nthreads()
        self.workers, self.places, of_group = [], [], []
        for worker, numbers in self._by_worker([raw[run[0]] for run in runs]).items():
            shares: list[list[int]] = [[] for _ in range(min(n_threads.get(worker, 1), len(numbers)))]
            for i in sorted(numbers, key=lambda i: -self.lengths[i]):  # the largest first, to the idlest
                min(shares, key=lambda share: self.lengths[share].sum()).append(i)
            for share in shares:
                self.workers.append(worker)
                self.places.append(sorted(share))
                of_group.append(len(shares))
        self.keep_bytes = [KEEP_BYTES / n for n in of_group]  # of a worker's budget
        self.first_rows = [self.starts[places].tolist() for places in self.places]
        pickled = _pickled(read)
        self.groups = []
        for worker, places in zip(self.workers, self.places, strict=True):
            mine = [runs[i] for i in places]
            blocks = [raw[number] for run in mine for number in run]
            self.groups.append(self._at(worker, _read_group, pickled, mine, *blocks))
        seen = self.in_order(_seen, self.groups)
        for one in seen:
            if isinstance(one, _Bad):
                one.refuse()
        self.n_features = seen[0][0]
        self.dtype = np.result_type(*{dtype for _, dtype, _ in seen})
        self.is_weighted = seen[0][2]

    def tasks(self, task: Callable[..., Any], groups: list[Any], *arguments: Sequence[Any]) -> list[Any]:
        """A task for each group, with its part of the arguments."""
        with self._spoken():
            return self.client.map(task, groups, *arguments, pure=False)

    def in_order(self, task: Callable[..., Any], groups: list[Any], *arguments: Sequence[Any]) -> list[Any]:
        """What a task makes of each block, in their order; a task gives a list for the blocks of its group."""
        results: list[Any] = [None] * len(self.lengths)
        with self._spoken():
            futures = self.client.map(task, groups, *arguments, pure=False)
            try:
                gathered = self.client.gather(futures)
            except BaseException:  # Ctrl-C among others: what has not begun does not
                self._cancel(futures)
                raise
        for places, group in zip(self.places, gathered, strict=True):
            made = pickle.loads(group) if isinstance(group, bytes) else group
            for i, result in zip(places, made, strict=True):
                results[i] = result
        return results

    def _cancel(self, futures: list[Any]) -> None:
        if self.client.status == "running":
            with suppress(Exception):
                self.client.cancel(futures)

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """Errors of the cluster in words that say what to do."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.client import ClosedClientError
        from distributed.comm import CommClosedError

        try:
            yield
        except KilledWorker as error:
            raise RuntimeError(
                f"Workers died over and over at the same task ({error.task}), most likely for want of memory. "
                "Blocks stay on the workers while a model is fitted: give smaller blocks, more workers, or "
                "workers with more memory."
            ) from error
        except (CancelledError, ClosedClientError, OSError) as error:
            gone = isinstance(error, (ClosedClientError, CommClosedError)) or "scheduler" in _reason(error)
            if gone or self.client.status != "running":
                raise ConnectionError(
                    f"The connection to the scheduler at {self._address} is lost. The estimator is as it was: "
                    "make a new Client, and fit again."
                ) from error
            if isinstance(error, CancelledError):
                raise RuntimeError(
                    f"Blocks of X are lost, and cannot be computed again ({_reason(error)}). If they were "
                    "scattered, or are futures of arrays that were, they went with their worker: give a "
                    "collection with a recipe, as from_parquet, from_zarr or from_delayed make it."
                ) from error
            raise

    @property
    def _address(self) -> str:
        scheduler = getattr(self.client, "scheduler", None)
        return str(getattr(scheduler, "address", "?"))


def _reason(error: BaseException) -> str:
    """Why futures are cancelled, in Dask's words."""
    groups = getattr(error, "error_groups", ())
    return str(groups[0].reason if groups else getattr(error, "reason", ""))


# -- predictions that stay lazy ------------------------------------------------------------------------------


def lazily(
    estimator: Any,
    method: str,
    X: Any,
    by_row: dict[str, Any] | None = None,
    others: dict[str, Any] | None = None,
) -> Any:
    """What a method of an estimator makes of each block of X, computed when it is asked for.

    The estimator counts as it is now, whatever it is fitted to before the result is computed. It is one task of
    the graph, and travels once to each worker.

    Parameters
    ----------
    estimator : estimator instance
        Fitted.
    method : str
        Takes rows, and gives as many.
    X : dask array, dask DataFrame or list of delayed
    by_row : dict, default=None
        Arguments of the method that stand beside X, row by row.
    others : dict, default=None
        Its other arguments.

    Returns
    -------
    result : dask array, or list of delayed arrays
        In the chunks of X. A dask DataFrame where the method makes frames of frames; a tuple where it gives
        one.
    """
    from dask import delayed

    X = list(X) if isinstance(X, tuple) else X
    _check_rows(X)
    now = copy.copy(estimator)
    vars(now).pop("_skl_callbacks", None)  # which may hold what cannot travel
    beside = {name: part for name, part in (by_row or {}).items() if part is not None}
    settings = {
        "estimator": delayed(now, traverse=False, pure=False),
        "method": method,
        "names": list(beside),
        "others": others or {},
    }
    cut = [_cut_like(X, part) for part in beside.values()]
    if isinstance(X, list):
        apply = delayed(_apply, pure=False)
        return [apply(*parts, **settings) for parts in _block_by_block([X, *cut])]
    few = _few_rows(X)
    sample = _apply(few, *[np.ones(len(few)) for _ in cut], **{**settings, "estimator": now})
    if isinstance(sample, tuple):  # each is made for itself
        return tuple(_made_of_blocks(X, cut, part, {**settings, "item": i}) for i, part in enumerate(sample))
    return _made_of_blocks(X, cut, sample, settings)


def _made_of_blocks(X: Any, cut: list[Any], sample: Any, settings: dict[str, Any]) -> Any:
    """A collection of what `_apply` makes of blocks, of X and beside it; a sample says what that is."""
    settings = {**settings, "empty": sample[:0]}
    if is_frame_of_dask(X) and not any(isinstance(part, list) or _is_array(part) for part in cut):
        return X.map_partitions(_apply, *cut, meta=sample[:0], **settings)
    if cut or sample.ndim > 2:
        return _side_by_side(X, cut, sample, settings)
    shape = {"drop_axis": 1} if sample.ndim == 1 else {"chunks": (X.chunks[0], sample.shape[1:])}
    return X.map_blocks(_apply, dtype=sample.dtype, meta=sample[:0], **shape, **settings)


def _side_by_side(X: Any, cut: list[Any], sample: NDArray[Any], settings: dict[str, Any]) -> Any:
    """The method of blocks of X with what stands beside them."""
    import dask.array as da
    from dask import delayed

    apply, blocks = delayed(_apply, pure=False), _block_by_block([X, *cut])
    lengths = X.chunks[0] if _is_array(X) else [np.nan] * len(blocks)
    parts = [
        da.from_delayed(apply(*parts, **settings), (n_rows, *sample.shape[1:]), meta=np.asarray(sample)[:0])
        for n_rows, parts in zip(lengths, blocks, strict=True)
    ]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def _block_by_block(parts: list[Any]) -> list[tuple[Any, ...]]:
    """Blocks of collections or lists, side by side."""
    blocks = [_delayed_blocks(part) for part in parts]
    _check_same_number(blocks)
    return list(zip(*blocks, strict=True))


def _few_rows(X: Any) -> Any:
    """Rows that could be of X, without computing any."""
    if is_frame_of_dask(X):
        return X._meta_nonempty
    return np.zeros((2, X.shape[1]), dtype=X.dtype)


def _apply(
    block: Any,
    *beside: Any,
    estimator: Any,
    method: str,
    names: list[str],
    others: dict[str, Any],
    item: int | None = None,
    empty: Any = None,
) -> Any:
    """A method of one block; of an empty one, of which no estimator need know, ``empty``."""
    if empty is not None and not len(block):
        return empty
    with _one_blas_thread_here():
        made = getattr(estimator, method)(block, **dict(zip(names, beside, strict=True)), **others)
    return made if item is None else made[item]


def each_block(function: Callable[..., Any], X: Any, *beside: Any) -> Iterator[Any]:
    """What a function makes of each block that has rows, and of what stands beside it, in their order."""
    import dask
    from dask import delayed

    X = list(X) if isinstance(X, tuple) else X
    _check_rows(X)
    # Whatever the function knows, an estimator among others, travels once.
    of_block, known = delayed(_call, pure=False), delayed(function, traverse=False, pure=False)
    parts = [X, *(_cut_like(X, part) for part in beside)]
    made = dask.compute(*[of_block(known, *mine) for mine in _block_by_block(parts)])
    return (result for (result,) in filter(None, made))


def _call(function: Callable[..., Any], block: Any, *beside: Any) -> tuple[Any, ...]:
    if not len(block):
        return ()
    with _one_blas_thread_here():
        return (function(block, *beside),)


def computed(collection: Any) -> Iterator[Any]:
    """Blocks of a collection, in this process, in their order."""
    import dask

    blocks = list(collection) if isinstance(collection, (list, tuple)) else collection
    return iter(dask.compute(*_delayed_blocks(blocks)))
