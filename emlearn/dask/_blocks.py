"""Rows as they were given, block by block: what is read of them, what is refused, and what is joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from emlearn._input.arrays import check_weight
from emlearn._input.columns import list_names
from emlearn._input.tables import FLOATS, Named, as_numpy, is_frame, read_table, refuse_entries
from emlearn.dask._collections import futures_in_order, is_array, is_dask, is_delayed, is_frame_of_dask
from emlearn.em import SideBySide

# Blocks are joined with those that follow them as long as they have no more rows than this together: a block
# costs a tenth of a millisecond a pass, in which a core takes a few hundred rows.
JOINED_ROWS = 4096
HEAD_ROWS = 100  # of the first block, by which others are checked
NO_ROWS = "X has no rows: 0 sample(s) while a minimum of 1 is required."
# Columns that no conversion makes numbers of.
NO_NUMBERS = ("category", "string", "str", "datetime", "timedelta", "period", "interval")


class Blocks(NamedTuple):
    """What was given: collections of Dask, or lists with an entry for each block."""

    X: Any
    beside: list[Any]  # the weights first
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, X: Any, *beside: Any) -> Blocks:
        check_rows(X)
        names = tuple(map(str, X.columns)) if is_frame_of_dask(X) else None
        return cls(X, [cut_like(X, other) for other in beside], names)

    def delayed(self) -> list[Any]:
        """Each block as one delayed object, a `Raw` one or a bad one."""
        from dask import delayed

        as_numbers = delayed(_as_numbers, pure=False)
        places, sources = self._sources()
        blocks = [part if isinstance(part, list) else list(np.ravel(part.to_delayed())) for part in sources]
        check_same_number(blocks)
        return [
            as_numbers(number, self.names, places, *parts)
            for number, parts in enumerate(zip(*blocks, strict=True))
        ]

    def submitted(self, client: Any) -> list[Any]:
        """The same as futures."""
        places, blocks = self._sources()
        # One graph for all blocks of a collection: one for each block would take the square of their number.
        arrays = [i for i, part in enumerate(blocks) if is_array(part)]
        if arrays:  # together, for what they share
            for i, persisted in zip(arrays, client.persist([blocks[i] for i in arrays]), strict=True):
                blocks[i] = futures_in_order(persisted)
        for i, part in enumerate(blocks):
            if not isinstance(part, list):
                blocks[i] = futures_in_order(client.persist(part))
            elif is_delayed(part[0]):
                blocks[i] = client.compute(part)
        check_same_number(blocks)
        n = len(blocks[0])
        return client.map(_as_numbers, range(n), [self.names] * n, [places] * n, *blocks, pure=False)

    def _sources(self) -> tuple[list[list[int]], list[Any]]:
        """Collections and lists of blocks, and which of all parts each has.

        Frames are bundled, since Dask may read the partitions of a file together, but then of all of them.
        """
        parts = [self.X, *self.beside]
        frames = [i for i, part in enumerate(parts) if hasattr(part, "map_partitions") and not is_array(part)]
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


def check_same_number(blocks: list[list[Any]]) -> None:
    if len({len(part) for part in blocks}) > 1:
        raise ValueError(
            f"X and what stands beside it have {', '.join(str(len(part)) for part in blocks)} blocks: give all "
            "in the same blocks, of one kind of collection."
        )


def check_rows(X: Any) -> None:
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
    if not is_array(X):
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


def cut_like(X: Any, other: Any) -> Any:
    """What stands beside X, in its blocks."""
    n_blocks = len(X) if isinstance(X, list) else X.npartitions
    chunks = X.chunks[0] if is_array(X) else (np.nan,)
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
    if is_array(other):
        if other.ndim == 2 and other.numblocks[1] > 1:
            other = other.rechunk({1: -1})
        if known and not np.isnan(other.shape[0]) and other.chunks[0] != chunks:
            _check_length(other.shape[0], sum(chunks))
            other = other.rechunk({0: chunks})
    return list(other) if isinstance(other, tuple) else other


def _check_length(length: int, n_rows: int) -> None:
    if length != n_rows:
        raise ValueError(f"X has {n_rows} rows, but beside it stands what has {length}.")


class Raw(NamedTuple):
    """A block as numbers, of which none was looked at."""

    X: NDArray[Any]  # (m, d), float64 or float32
    beside: tuple[Any, ...]  # of the same length each, a number, or None
    names: tuple[str, ...] | None

    def head(self) -> Raw:
        """Its first rows."""
        beside = [part if np.ndim(part) == 0 else part[:HEAD_ROWS] for part in self.beside]
        return Raw(self.X[:HEAD_ROWS], tuple(beside), self.names)

    def read(self, read: Callable[..., tuple[Any, Any]], first: bool) -> Block:
        """The block as what is fitted sees it."""
        rows = self.X if self.names is None else Named(self.X, self.names)
        return Block(*read(rows, *self.beside, first=first)[:2])


class Bad(NamedTuple):
    """What is wrong with a block; without a number the message says where it is."""

    number: int | None
    message: str

    def refuse(self) -> None:
        raise ValueError(self.message if self.number is None else f"Block {self.number} of X: {self.message}")


class Block(NamedTuple):
    """Rows that lie together, and how often each counts; of sequences how often each of those does."""

    rows: NDArray[Any] | SideBySide
    weight: NDArray[np.float64] | None
    lengths: NDArray[np.intp] | None = None  # of the sequences that rows make up

    @property
    def n_bytes(self) -> int:
        n_columns = self.rows.shape[1] + (self.weight is not None)
        return int(self.rows.shape[0] * n_columns * 8)


def _as_numbers(
    number: int, names: tuple[str, ...] | None, places: list[list[int]], *sources: Any
) -> Raw | Bad:
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
            return Raw(np.empty((0, 0), dtype=np.float32), others, names)
        rows = check_array(read_table(X), dtype=FLOATS, ensure_all_finite=False, input_name="X")
        return Raw(rows, others, names)
    except (TypeError, ValueError) as error:
        return Bad(number, str(error))


def read_plainly(X: Any, weight: Any, *beside: Any, first: bool | None) -> tuple[Any, Any]:
    """What is asked of rows of which nothing is known."""
    names = X.names if isinstance(X, Named) else None
    rows = X.rows if isinstance(X, Named) else X
    refuse_entries(rows, names)
    beside = tuple(part for part in beside if part is not None)
    return SideBySide(rows, *beside) if beside else rows, check_weight(weight, len(rows), of_all=False)


def joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    rows = np.concatenate([block.rows[:] for block in blocks])
    if blocks[0].weight is None:
        return Block(rows, None)
    return Block(rows, np.concatenate([block.weight for block in blocks if block.weight is not None]))


def together(items: Iterable[tuple[Any, int]], most: int) -> Iterator[list[Any]]:
    """Runs of items that are joined, from pairs (item, number of its rows).

    Empty ones are left out; small ones go with those that follow, as long as all have at ``most`` so many rows.
    """
    run: list[Any] = []
    n_rows = 0
    for item, length in items:
        if not length:
            continue
        if run and n_rows + length > most:
            yield run
            run, n_rows = [], 0
        run.append(item)
        n_rows += length
    if run:
        yield run


def check_width(number: int, width: int, first: int) -> None:
    if width != first:
        raise ValueError(f"Block {number} of X has {width} features, but the first has {first}.")


def read_head(head: Raw, number: int, read: Callable[..., tuple[Any, Any]]) -> None:
    try:
        head.read(read, first=True)
    except ValueError as error:
        raise ValueError(f"Block {number} of X: {error}") from error


def read_block(number: int, raw: Raw, read: Callable[..., tuple[Any, Any]]) -> Block | Bad:
    try:
        return raw.read(read, first=False)
    except (TypeError, ValueError) as error:
        return Bad(number, str(error))


class ComputedHere:
    """Pairs (rows, weights), computed in this process, block after block, each time they are passed over."""

    def __init__(self, blocks: Blocks, read: Callable[..., tuple[Any, Any]]):
        self._blocks, self._read = blocks, read

    def read_first(self) -> None:
        """Read some rows of the first block that has any, by which the others are checked."""
        for number, block in self._computed():
            read_head(block.head(), number, self._read)
            return
        raise ValueError(NO_ROWS)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for run in together(self._read_blocks(), JOINED_ROWS):
            yield tuple(joined(run))[:2]

    def _read_blocks(self) -> Iterator[tuple[Block, int]]:
        width = 0
        for number, raw in self._computed():
            width = width or raw.X.shape[1]
            check_width(number, raw.X.shape[1], width)
            block = read_block(number, raw, self._read)
            if isinstance(block, Bad):
                block.refuse()
            yield block, len(raw.X)

    def _computed(self) -> Iterator[tuple[int, Raw]]:
        import dask

        for number, delayed in enumerate(self._blocks.delayed()):
            (block,) = dask.compute(delayed)
            if isinstance(block, Bad):
                block.refuse()
            if len(block.X):
                yield number, block
