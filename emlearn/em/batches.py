"""How data is cut into batches, and how a function is mapped over the batches and summed.

The cut depends on the data and the model alone, never on the number of threads, and sums are taken in
order: results are the same to the last bit however many threads share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from functools import cache, cached_property, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from emlearn.em.data import Data, sum_of
from emlearn.em.trees import Tree

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A batch and what an E-step makes of it should stay in cache. Measured: from 2 to 8 MB there is little
# between them, at 1 MB the cost of calling NumPy shows, and beyond 16 MB memory does.
CACHE_BYTES = 4 * 2**20
# Data up to this size is kept as ready batches (float64, features first) between iterations.
KEEP_BYTES = 16 * 2**20
# Threads take blocks of batches. Few enough that their partial sums are small, enough to share evenly.
MAX_BLOCKS = 64


# In standard deviations: squares of more overflow, and small variances need some room too.
FARTHEST = 1e140
# Lower than the log-density of any row that lies nearer, and higher than that of any that lies there.
LOG_DENSITY_OF_FAR = -1e250


class Affine(NamedTuple):
    """The map from the user's units to the engine's: (x − shift) / scale, per feature."""

    shift: FloatArray  # (d,)
    scale: FloatArray  # (d,)

    @property
    def bounded(self) -> Affine:
        """The same for rows of any size: those that lie farther than numbers go have a source too."""
        return Bounded(self.shift, self.scale)

    @property
    def inverse(self) -> Affine:
        """The map back, from the engine's units to the user's."""
        return Affine(-self.shift / self.scale, 1 / self.scale)


class Bounded(Affine):
    """The same map, in which entries farther than ``FARTHEST`` from 0 count as lying there."""

    __slots__ = ()


def far_as_impossible(log_density: FloatArray) -> FloatArray:
    """Log-densities, of data whose units are `Affine.bounded`; -inf where no number would hold them."""
    return np.where(log_density < LOG_DENSITY_OF_FAR, -np.inf, log_density)


class SideBySide:
    """Columns of several arrays as one table, of which no more is put together than the rows asked for.

    Parameters
    ----------
    *parts : ndarrays of shape (n, ...)
        Arrays of rows, side by side.
    order : ndarray of int of shape (n,), default=None
        Row i of the table is row ``order[i]`` of the parts.
    """

    def __init__(self, *parts: NDArray[Any], order: IntArray | None = None):
        self._parts = [part if part.ndim == 2 else part[:, None] for part in parts]
        self._order = order
        n = len(parts[0]) if order is None else len(order)
        self.shape = (n, sum(part.shape[1] for part in self._parts))
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | IntArray) -> FloatArray:
        if self._order is not None:
            rows = self._order[rows]
        taken = [part[rows] for part in self._parts]
        columns = np.empty((self.shape[1], len(taken[0])))  # features first, as batches want them
        np.concatenate([part.T for part in taken], out=columns)
        return columns.T


class Lanes(NamedTuple):
    """How the columns of a batch hold sequences: side by side, the longest first, step after step.

    The first steps of all sequences come first, then the second steps of all that have one, and so on:
    what happens to all sequences at a step is a contiguous run of columns.
    """

    lengths: IntArray  # (n_lanes,) steps of each sequence, not increasing
    n_active: IntArray  # (T,) sequences that have a step t, not increasing
    starts: IntArray  # (T,) first column of step t; the column of a lane at t is starts[t] + lane

    @classmethod
    def of(cls, lengths: IntArray) -> Lanes:
        """Lanes for sequences of these lengths, which must not increase."""
        n_active = np.repeat(np.arange(len(lengths), 0, -1), np.diff(lengths[::-1], prepend=0))
        return cls(lengths, n_active, np.cumsum(n_active) - n_active)

    def places(self) -> tuple[IntArray, IntArray]:
        """Step and lane of each column."""
        steps = np.repeat(np.arange(len(self.n_active)), self.n_active)
        return steps, np.arange(len(steps)) - np.repeat(self.starts, self.n_active)

    def columns(self, lane: int) -> IntArray:
        """Columns of one sequence, in order of time."""
        return self.starts[: self.lengths[lane]] + lane


class Batch:
    """Some observations, features first: what a model sees of the data at a time.

    What depends on the batch alone, `once` and `part` remember between iterations, by one rule: a result is
    kept if it is at most half as large as the batch, or if its like for all the data fits into 16 MB. Anything
    else is made again at each pass, as data that are too large to be kept are read again.

    Attributes
    ----------
    x : ndarray or sparse array of shape (d, m)
        One column per observation; of sparse data a `scipy.sparse.csc_array`.
    weight : ndarray of shape (m,) or None
        Weight of each observation; None means all 1.
    lanes : Lanes or None
        How the columns make up sequences, where they do.
    rows : ndarray of int of shape (m,), slice or None
        Which row of the data each column is; None where that is not known.
    sequences : ndarray of int of shape (n_lanes,) or None
        Which sequence of the data each lane is.
    labels : ndarray of int of shape (m,), of bool of shape (m, K), or None
        What is known of the hidden states, -1 where nothing is; None means nothing anywhere.
    is_block : bool
        Whether this is a part of a batch that is too large for cache: what a family makes of it is better made
        twice than held.
    """

    __slots__ = ("_memo", "_room", "is_block", "labels", "lanes", "rows", "sequences", "weight", "x")

    def __init__(
        self,
        x: FloatArray,
        weight: FloatArray | None = None,
        memo: dict[Any, Any] | None = None,
        room: float = 0.0,
        *,
        lanes: Lanes | None = None,
        rows: IntArray | slice | None = None,
        sequences: IntArray | None = None,
        labels: IntArray | None = None,
    ):
        self.x = x
        self.weight = weight
        self.lanes = lanes
        self.rows = rows
        self.sequences = sequences
        self.labels = labels
        self.is_block = False
        self._memo = {} if memo is None else memo
        self._room = room

    @property
    def is_sparse(self) -> bool:
        """Whether only entries that are not 0 are held; see `Family.takes_sparse`."""
        return sparse.issparse(self.x)

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        if self.weight is None:
            return float(self.x.shape[1])
        return float(self.once("total_weight", self.weight.sum))

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What ``compute`` makes of this batch, remembered between iterations as memory allows.

        The key says what the result depends on beside the batch, and which it is where one function asks for
        several. The function that asks belongs to the key: no two need agree on their keys.
        """
        return self._remembered((compute.__module__, compute.__qualname__, key), compute)

    def part(self, key: Any, columns: Any, features: Any = slice(None)) -> Batch:
        """Some of the observations and features as a batch of their own, remembered like what is made `once`.

        The key says which: whoever uses the same means the same ones. The part is of independent observations:
        it knows of no sequences and no labels.
        """
        return self._remembered((Batch, key), lambda: self._cut(columns, features))

    def mapped(self, key: Any, function: Callable[[FloatArray], FloatArray]) -> Batch:
        """The same observations, independent ones, with entries that are a function of these; as of `part`."""
        return self._remembered((Batch, key), lambda: self._like(function(self.x), self.weight))

    def blocks(self) -> list[tuple[slice, Batch]] | None:
        """Columns of a batch that one long sequence makes much too large, in runs; None of any other.

        Where second moments of all the data may be remembered there is nothing to save.
        """
        if self.lanes is None:
            return None
        d, m = self.x.shape
        second = d * (d + 3) // 2
        size = batch_rows(4 * d + second)
        if m < 2 * size or second < self._room:
            return None
        runs = [slice(start, min(start + size, m)) for start in range(0, m, size)]
        memos = self.once("memos of blocks", lambda: [{} for _ in runs])
        blocks = []
        for run, memo in zip(runs, memos, strict=True):
            weight = None if self.weight is None else self.weight[run]
            block = Batch(self.x[:, run], weight, memo, self._room)
            block.is_block = True
            blocks.append((run, block))
        return blocks

    def _remembered(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key in self._memo:
            return self._memo[key]
        result = compute()
        size = result.x.size if isinstance(result, Batch) else np.size(result)
        if size <= max(self._room * self.x.shape[1], self.x.size / 2):
            self._memo[key] = result
        return result

    def _cut(self, columns: Any, features: Any) -> Batch:
        both = not (isinstance(features, slice) or isinstance(columns, slice))
        x = self.x[np.ix_(features, columns)] if both else self.x[features][:, columns]
        weight = None if self.weight is None else self.weight[columns]
        return self._like(x if self.is_sparse else np.ascontiguousarray(x), weight)

    def _like(self, x: FloatArray, weight: FloatArray | None) -> Batch:
        batch = Batch(x, weight, {}, self._room)
        batch.is_block = self.is_block
        return batch

    def sum(self, values: FloatArray | float) -> float:
        """Weighted sum of one value per observation (m,), or of a constant."""
        if np.ndim(values) == 0:
            return float(values) * self.total_weight
        return float(np.sum(values) if self.weight is None else np.dot(values, self.weight))


class Batches(Data):
    """Data as a sequence of batches that can be passed over again and again.

    Parameters
    ----------
    source : array-like of shape (n, d), or iterable of such arrays
        An array (memory-mapped arrays are read batch by batch and never held whole), a sparse one of
        `scipy.sparse`, of which batches are sparse too, arrays `SideBySide`, or anything that gives a fresh
        iterator over arrays of rows each time it is iterated, or a function without arguments that returns such
        an iterator. Items may be pairs (rows, weights), or of whole sequences (rows, weights, lengths); weights
        may be None.
    weight : array-like of shape (n,), default=None
        Weight of each row, with an array as ``source``. With ``lengths`` one for each sequence will do,
        shape (n_sequences,).
    lengths : array-like of int of shape (n_sequences,), default=None
        The rows are sequences of these lengths, one after the other. Sequences are never cut: a batch holds
        some of them as `Lanes`, the longest first.
    labels : array-like of int of shape (n,), or of bool of shape (n, K), default=None
        What is known of the hidden states of rows, -1 where nothing is.
    rows : int, default=None
        Rows per batch. None: as many as keep ``floats_per_row`` numbers each within 4 MB, at least 512.
    floats_per_row : int, default=None
        How many numbers a model works on per row. None: four times the features. Of sparse data it is four
        times what is held, whatever this says.
    units : Affine, default=None
        Batches hold (x − shift) / scale. Sparse data have no other units than their own.
    columns : ndarray of int of shape (d,), default=None
        The features that are meant, of those that there are. None: all.
    n_threads : int, default=1
        Threads that share the batches of an array.
    first_row, first_sequence : int, default=0
        Which row, and which sequence, the first one is, of an array that is a part of the data.
    keep_bytes : float, default=16 MB
        What may be kept between passes: ready batches, and what depends on the data alone.
    """

    def __init__(
        self,
        source: Any,
        weight: Any = None,
        *,
        lengths: Any = None,
        labels: Any = None,
        rows: int | None = None,
        floats_per_row: int | None = None,
        units: Affine | None = None,
        columns: IntArray | None = None,
        n_threads: int = 1,
        first_row: int = 0,
        first_sequence: int = 0,
        keep_bytes: float = KEEP_BYTES,
    ):
        self._given = source, weight, lengths, labels
        self._columns = columns
        self._cut_settings = _Cut(rows, floats_per_row, units, columns, keep_bytes)
        self._first = first_row, first_sequence
        self._n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None
        self._source = _FromFunction(source) if callable(source) else source
        if isinstance(source, Iterator):
            raise ValueError(
                "The data is a one-shot iterator, but EM passes over the data many times. Pass a function "
                "that returns a new iterator, or an object whose __iter__ starts afresh."
            )
        self._whole: _CutArray | None = None
        self._lengths = None if lengths is None else np.asarray(lengths, dtype=np.intp)
        if isinstance(getattr(source, "n_rows", None), int):
            self._shape = source.n_rows, source.n_features if columns is None else len(columns)
        if not _comes_in_pieces(self._source):
            self._whole = self._cut(source, weight, lengths, labels, self._first)
        elif weight is not None:
            raise ValueError("With an iterable of arrays, give weights as pairs (rows, weights).")
        elif lengths is not None:
            raise ValueError("With an iterable of sequences, give lengths in tuples (rows, weights, lengths).")

    def _cut(
        self, X: Any, weight: Any, lengths: Any, labels: Any, first: tuple[int, int], *, once: bool = False
    ) -> _CutArray:
        if sparse.issparse(X):
            if lengths is not None:
                raise ValueError("Sequences cannot be sparse: give their rows as an array, by toarray().")
            return _CutSparse(X, weight, self._cut_settings, first[0], labels=labels, once=once)
        if lengths is None:
            return _CutArray(X, weight, self._cut_settings, first[0], labels=labels, once=once)
        return _CutSequences(X, weight, lengths, labels, self._cut_settings, first, once=once)

    def _items(self) -> Generator[_CutArray, None, None]:
        if self._whole is not None:
            yield self._whole
            return
        first_row = first_sequence = d = 0
        found: list[IntArray] = []
        for item in self._source:
            X, weight, *rest = item if isinstance(item, tuple) else (item, None)
            first = first_row, first_sequence
            piece = self._cut(X, weight, rest[0] if rest else None, None, first, once=True)
            first_row, d = first_row + piece.n_rows, piece.n_features
            if isinstance(piece, _CutSequences):
                first_sequence += len(piece.lengths)
                found.append(piece.lengths)
            yield piece
        self._lengths = np.concatenate(found) if found else None
        known = vars(self).setdefault("_shape", (first_row, d))
        if first_row != known[0]:
            raise ValueError(
                f"The data had {known[0]} rows, but {first_row} when read again: it must stay as it is."
            )

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """Numbers of rows and features; of pieces known once they were passed over."""
        if self._whole is not None:
            return self._whole.n_rows, self._whole.n_features
        for _ in self._items():  # which tells at its end
            pass
        shape: tuple[int, int] = vars(self)["_shape"]
        return shape

    @property
    def n_rows(self) -> int:
        return self._shape[0]

    @property
    def n_features(self) -> int:
        return self._shape[1]

    @property
    def is_sparse(self) -> bool:
        return isinstance(self._whole, _CutSparse)

    @property
    def lengths(self) -> IntArray | None:
        """Lengths of the sequences that rows make up, one after the other, (n_sequences,); None of none."""
        _ = self._shape  # of pieces both are known once they were passed over
        return self._lengths

    @property
    def n_together(self) -> int:
        """How many times the data would fit into two batches: fits share the data and their statistics."""
        whole = self._whole
        if whole is None or self.lengths is not None or not whole.n_rows:
            return 1
        return max(2 * whole.rows // whole.n_rows, 1)

    @property
    def in_memory(self) -> bool:
        """Whether all rows are held as an array, and none is read from a file."""
        X = None if self._whole is None else self._whole._X
        return isinstance(X, np.ndarray) and not isinstance(X, np.memmap)

    def weights(self) -> FloatArray | None:
        """Weight of each row, (n_rows,); None where all are 1."""
        return super().weights() if self._whole is None else self._whole.row_weight

    def take(self, positions: IntArray) -> NDArray[Any]:
        """The rows at these positions, which do not decrease, (m, n_features), not in any units.

        Those of sparse data are a ``csr_array``. Of data in pieces no more are read than hold the positions.
        """
        taken, first = [], 0
        for piece in self._items():
            n_before, n_here = np.searchsorted(positions, [first, first + piece.n_rows])
            taken.append(piece.take(positions[n_before:n_here] - first))
            first += piece.n_rows
            if n_here == len(positions):
                break
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def recut(
        self,
        *,
        units: Affine | None = None,
        columns: IntArray | None = None,
        rows: int | None = None,
        floats_per_row: int | None = None,
        n_threads: int = 1,
    ) -> Batches:
        """The same rows, or some ``columns`` of them, in other units and another cut."""
        source, weight, lengths, labels = self._given
        if self._columns is not None:
            columns = self._columns if columns is None else self._columns[columns]
        again = Batches(
            source,
            weight,
            lengths=lengths,
            labels=labels,
            rows=rows,
            floats_per_row=floats_per_row,
            units=units,
            columns=columns,
            n_threads=n_threads,
        )
        if self._whole is None and "_shape" in vars(self):  # do not count again
            n, d = self._shape
            again._shape = n, d if columns is None else len(columns)
            again._lengths = self._lengths
        return again

    def in_the_place_of(self, rows: NDArray[Any], weight: Any = None, lengths: Any = None) -> Batches:
        """Other rows, in the user's units, for those of this data: in the same units and cut."""
        cut = self._cut_settings
        return Batches(
            rows,
            weight,
            lengths=lengths,
            units=cut.units,
            floats_per_row=cut.floats_per_row,
            n_threads=self._n_threads,
        )

    def __iter__(self) -> Iterator[Batch]:
        for array in self._items():
            for block in array.blocks:
                yield from array.batches(block)

    def map(self, function: Callable[[Batch], Any]) -> Iterator[Any]:
        """``function`` of each batch, in order; threads share the work block by block."""
        for array in self._items():
            yield from self._map_array(function, array)

    def fold(self, function: Callable[[Batch], Any], join: Callable[[Any, Any], Any]) -> Any:
        """What ``join`` makes, in order, of ``function`` of all batches of a piece, and then of the pieces."""
        with closing(self._items()) as arrays:
            folded = (reduce(join, self._map_array(function, array)) for array in arrays if array.n_rows)
            return reduce(join, folded)

    def _map_array(self, function: Callable[[Batch], Any], array: _CutArray) -> Iterator[Any]:
        def block_results(array: _CutArray, block: range) -> list[Any]:
            with intended_underflow():
                return [function(batch) for batch in array.batches(block)]

        for results in self._map_blocks(block_results, array):
            yield from results

    def sum(self, function: Callable[[Batch], Tree]) -> Tree:
        """Sum of ``function`` over all batches, of each piece of the data first, then of the pieces."""
        if self._whole is not None and self._whole.n_batches == 1:
            (batch,) = self._whole.batches(self._whole.blocks[0])
            with intended_underflow():
                return function(batch)

        def block_sum(array: _CutArray, block: range) -> Tree:
            with intended_underflow():
                return sum_of(map(function, array.batches(block)))

        with closing(self._items()) as arrays:  # or a traceback would hold what reads ahead
            return sum_of(sum_of(self._map_blocks(block_sum, array)) for array in arrays if array.n_rows)

    def _map_blocks(self, function: Callable[[_CutArray, range], Any], array: _CutArray) -> Iterator[Any]:
        if self._n_threads == 1 or len(array.blocks) == 1:
            for block in array.blocks:
                yield function(array, block)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._n_threads)
        waiting = [self._pool.submit(function, array, block) for block in array.blocks]
        try:
            for future in waiting:
                yield future.result()
        finally:  # after Ctrl-C or an error, do not start the rest
            for future in waiting:
                future.cancel()


def _comes_in_pieces(source: Any) -> bool:
    """Whether the source is an iterable of arrays, or of pairs (rows, weights), and not an array itself."""
    if hasattr(source, "shape") or hasattr(source, "__array__"):
        return False
    if isinstance(source, (list, tuple)):
        return any(isinstance(item, tuple) or np.ndim(item) == 2 for item in source)
    return isinstance(source, Iterable)


class _FromFunction:
    """A function that returns an iterator, as an iterable."""

    def __init__(self, function: Callable[[], Iterator[Any]]):
        self._function = function

    def __iter__(self) -> Iterator[Any]:
        return iter(self._function())


class _Cut(NamedTuple):
    """How arrays are cut into batches, and what of them."""

    rows: int | None
    floats_per_row: int | None
    units: Affine | None
    columns: IntArray | None
    keep_bytes: float


class _CutArray:
    """An array cut into batches, the batches grouped into blocks."""

    def __init__(
        self, X: Any, weight: Any, cut: _Cut, first_row: int = 0, *, labels: Any = None, once: bool = False
    ):
        self._first_row = first_row  # its place in the data, where they come in pieces
        self._labels = None if labels is None else np.asarray(labels)
        self._X = self._as_rows(X)
        if self._X.ndim != 2:
            raise ValueError(f"Data must be rows of features, (n, d), but have shape {self._X.shape}.")
        self._columns, self._units = cut.columns, cut.units
        n = self.n_rows
        self.weight = None if weight is None else np.asarray(weight, dtype=np.float64)
        self.rows = cut.rows or batch_rows(cut.floats_per_row or 4 * self._numbers_per_row)
        self.n_batches = n_batches = self._n_batches()
        self._memos: list[dict[Any, Any]] = [{} for _ in range(n_batches)]
        # Numbers per row that may be kept; a piece is passed over once, and made again.
        self._room = 0.0 if once else cut.keep_bytes / (8 * max(n, 1))
        self._kept: dict[int, Batch] = {}
        n_blocks = min(MAX_BLOCKS, n_batches)
        bounds = [i * n_batches // n_blocks for i in range(n_blocks + 1)] if n_batches else [0]
        self.blocks = [range(a, b) for a, b in pairwise(bounds)]

    def _as_rows(self, X: Any) -> Any:
        X = X if isinstance(X, (np.ndarray, SideBySide)) else np.asarray(X)
        return X[:, None] if X.ndim == 1 else X

    @property
    def _numbers_per_row(self) -> int:
        """How many numbers a batch holds of each row, about."""
        return self.n_features

    @property
    def n_rows(self) -> int:
        return int(self._X.shape[0])

    @property
    def n_features(self) -> int:
        return int(self._X.shape[1]) if self._columns is None else len(self._columns)

    @property
    def row_weight(self) -> FloatArray | None:
        return self.weight

    def take(self, positions: IntArray) -> NDArray[Any]:
        rows = self._X[positions]
        return rows if self._columns is None else rows[:, self._columns]

    def batches(self, block: range) -> Iterator[Batch]:
        keep = self._room >= self._numbers_per_row
        for i in block:
            batch = self._kept.get(i)
            if batch is None:
                batch = self._batch(i)
                if keep:
                    self._kept[i] = batch
            yield batch

    def _n_batches(self) -> int:
        n = self.n_rows
        if self.weight is not None and self.weight.shape != (n,):
            raise ValueError(f"There are {n} rows, but weights of shape {self.weight.shape}.")
        self._check_labels()
        return -(-n // self.rows)

    def _check_labels(self) -> None:
        if self._labels is not None and len(self._labels) != self.n_rows:
            raise ValueError(f"There are {self.n_rows} rows, but labels of shape {self._labels.shape}.")

    def _batch(self, i: int) -> Batch:
        rows = slice(i * self.rows, (i + 1) * self.rows)
        weight = None if self.weight is None else self.weight[rows]
        last = min(rows.stop, self.n_rows)
        places = slice(self._first_row + rows.start, self._first_row + last)
        return Batch(
            self._features_first(self._slice(rows)),
            weight,
            self._memos[i],
            self._room,
            rows=places,
            labels=None if self._labels is None else self._labels[rows],
        )

    def _slice(self, rows: slice) -> Any:
        return self._X[rows]

    def _features_first(self, rows: NDArray[Any]) -> FloatArray:
        if self._columns is not None:
            rows = rows[:, self._columns]
        x = np.empty((rows.shape[1], rows.shape[0]))
        if self._units is None:
            x[...] = rows.T
            return x
        with np.errstate(over="ignore"):
            np.subtract(rows.T, self._units.shift[:, None], out=x)
        x /= self._units.scale[:, None]
        if isinstance(self._units, Bounded):
            np.clip(x, -FARTHEST, FARTHEST, out=x)
        return x


class _CutSparse(_CutArray):
    """A sparse array, of which batches are sparse too, and cut by what is held."""

    def __init__(self, X: Any, weight: Any, cut: _Cut, *args: Any, **kwargs: Any):
        super().__init__(X, weight, cut._replace(floats_per_row=None), *args, **kwargs)

    def _as_rows(self, X: Any) -> Any:
        rows = sparse.csr_array(X)
        if not rows.has_canonical_format:  # entries that are there twice add up
            rows = rows.copy()
            rows.sum_duplicates()
        return rows

    @property
    def _numbers_per_row(self) -> int:
        return int(1.5 * self._X.nnz / max(self.n_rows, 1)) + 1  # a value, and half as many bytes of its place

    def take(self, positions: IntArray) -> Any:
        if np.array_equal(positions, np.arange(self.n_rows)) and self._columns is None:
            return self._X
        return super().take(positions)

    def _slice(self, rows: slice) -> Any:
        X, starts = self._X, self._X.indptr[rows.start : rows.stop + 1]
        held = slice(starts[0], starts[-1])
        parts = X.data[held], X.indices[held], starts - starts[0]
        return _sharing(sparse.csr_array, parts, (len(starts) - 1, X.shape[1]))

    def _features_first(self, rows: Any) -> Any:
        units = self._units
        if units is not None and (np.any(units.shift) or np.any(units.scale != 1)):
            raise ValueError("Sparse data have no other units than their own: moved, no entry would be 0.")
        chosen = rows if self._columns is None else rows[:, self._columns]
        parts = chosen.data.astype(np.float64, copy=False), chosen.indices, chosen.indptr
        return _sharing(sparse.csc_array, parts, chosen.shape[::-1])


def _sharing(kind: Any, parts: tuple[Any, Any, Any], shape: tuple[int, int]) -> Any:
    """A sparse array of data, indices and indptr that are a part of another's: scipy would copy them."""
    array = kind(shape, dtype=parts[0].dtype)
    array.data, array.indices, array.indptr = parts
    return array


class _CutSequences(_CutArray):
    """Sequences, the longest first, batch by batch side by side."""

    def __init__(
        self,
        X: Any,
        weight: Any,
        lengths: Any,
        labels: Any,
        cut: _Cut,
        first: tuple[int, int] = (0, 0),
        *,
        once: bool = False,
    ):
        self.lengths = np.asarray(lengths, dtype=np.intp)
        self._first_sequence = first[1]
        super().__init__(X, weight, cut, first[0], labels=labels, once=once)

    @property
    def row_weight(self) -> FloatArray | None:
        if self.weight is None or self.weight.shape != self.lengths.shape:
            return self.weight
        return np.repeat(self.weight, self.lengths)

    def _n_batches(self) -> int:
        lengths, n = self.lengths, len(self._X)
        if len(lengths) and (lengths.min() < 1 or lengths.sum() != n):
            raise ValueError(f"Lengths of sequences must be positive and sum to {n}, the number of rows.")
        if self.weight is not None and self.weight.shape not in (lengths.shape, (n,)):
            raise ValueError(
                f"There are {n} rows in {len(lengths)} sequences, but weights of shape {self.weight.shape}."
            )
        self._check_labels()
        self._order = np.argsort(-lengths, kind="stable")
        self._first = np.cumsum(lengths) - lengths  # row at which each sequence begins
        if not len(lengths):
            self._bounds = np.zeros(1, dtype=np.intp)
            return 0
        # A sequence opens a batch where those before have filled theirs.
        number = (np.cumsum(lengths[self._order]) - lengths[self._order]) // self.rows
        opens = np.flatnonzero(np.diff(number, prepend=-1))
        self._bounds = np.append(opens, len(lengths))
        return len(opens)

    def _batch(self, i: int) -> Batch:
        chosen = self._order[self._bounds[i] : self._bounds[i + 1]]
        lanes = Lanes.of(self.lengths[chosen])
        first = self._first[chosen]
        rows: IntArray | slice
        if len(chosen) == 1:  # as they stand, without a copy
            rows, lane = slice(int(first[0]), int(first[0] + lanes.lengths[0])), np.zeros_like(lanes.starts)
        else:
            steps, lane = lanes.places()
            rows = first[lane] + steps
        weight = self.weight
        if weight is not None:
            weight = weight[chosen][lane] if weight.shape == self.lengths.shape else weight[rows]
        begin = self._first_row
        shifted = slice(begin + rows.start, begin + rows.stop) if isinstance(rows, slice) else begin + rows
        return Batch(
            self._features_first(self._X[rows]),
            weight,
            self._memos[i],
            self._room,
            lanes=lanes,
            rows=shifted,
            labels=None if self._labels is None else self._labels[rows],
            sequences=self._first_sequence + chosen,
        )


def batch_rows(floats_per_row: int) -> int:
    """Rows per batch such that ``floats_per_row`` numbers for each stay in cache."""
    return min(max(CACHE_BYTES // (8 * floats_per_row), 512), 16384)


def as_data(data: Any) -> Data:
    """``data`` itself if it is `Data` already, else `Batches` of it; a pair is (rows, weights)."""
    if isinstance(data, Data):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return Batches(data[0], data[1])
    return Batches(data)


@cache
def _threadpools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def intended_underflow() -> np.errstate:
    """What a user may have made an error of is meant here: posterior probabilities of 0, and no finite value.

    What overflows is refused where it matters, in words: units, starts, steps too far.
    """
    return np.errstate(under="ignore", over="ignore")


def one_blas_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread: batches are too small to share, and threads go over batches instead."""
    limiter: AbstractContextManager[Any] = _threadpools().limit(limits=1, user_api="blas")
    return limiter


def one_thread() -> AbstractContextManager[Any]:
    """Hold OpenMP to one thread too, in the calling thread: for other libraries' loops over small data."""
    limiter: AbstractContextManager[Any] = _threadpools().limit(limits=1)
    return limiter
