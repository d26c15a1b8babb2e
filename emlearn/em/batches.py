"""How data is cut into batches, and how a function is mapped over the batches and summed.

The cut depends on the data and the model alone, never on the number of threads, and sums are taken in
order: results are the same to the last bit however many threads share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.trees import Tree, add

FloatArray = NDArray[np.float64]

# A batch and what an E-step makes of it should stay in cache. Measured: from 2 to 8 MB there is little
# between them, at 1 MB the cost of calling NumPy shows, and beyond 16 MB memory does.
CACHE_BYTES = 4 * 2**20
# Data up to this size is kept as ready batches (float64, features first) between iterations.
KEEP_BYTES = 16 * 2**20
# Threads take blocks of batches. Few enough that their partial sums are small, enough to share evenly.
MAX_BLOCKS = 64


class Affine(NamedTuple):
    """The map from the user's units to the engine's: (x − shift) / scale, per feature."""

    shift: FloatArray  # (d,)
    scale: FloatArray  # (d,)


class Batch:
    """Some observations, features first: what a model sees of the data at a time.

    Attributes
    ----------
    x : ndarray of shape (d, m)
        One column per observation.
    weight : ndarray of shape (m,) or None
        Weight of each observation; None means all 1.
    """

    __slots__ = ("_memo", "_room", "weight", "x")

    def __init__(
        self,
        x: FloatArray,
        weight: FloatArray | None = None,
        memo: dict[Any, Any] | None = None,
        room: float = 0.0,
    ):
        self.x = x
        self.weight = weight
        self._memo = {} if memo is None else memo
        self._room = room

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        if self.weight is None:
            return float(self.x.shape[1])
        return float(self.once("total_weight", self.weight.sum))

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What depends on this batch alone: computed at the first call, remembered between iterations.

        Results about as large as the batch itself are remembered only where memory allows.
        """
        if key in self._memo:
            return self._memo[key]
        result = compute()
        if np.size(result) <= max(self._room * self.x.shape[1], self.x.size / 2):
            self._memo[key] = result
        return result

    def sum(self, values: FloatArray | float) -> float:
        """Weighted sum of one value per observation (m,), or of a constant."""
        if np.ndim(values) == 0:
            return float(values) * self.total_weight
        return float(np.sum(values) if self.weight is None else np.dot(values, self.weight))


class Batches:
    """Data as a sequence of batches that can be passed over again and again.

    Parameters
    ----------
    source : array-like of shape (n, d), or iterable of such arrays
        An array (memory-mapped arrays are read batch by batch and never held whole), or anything that
        gives a fresh iterator over arrays of rows each time it is iterated, or a function without
        arguments that returns such an iterator. Items may be pairs (rows, weights).
    weight : array-like of shape (n,), default=None
        Weight of each row, with an array as ``source``.
    rows : int, default=None
        Rows per batch. None: as many as keep ``floats_per_row`` numbers each within 4 MB, at least 512.
    floats_per_row : int, default=None
        How many numbers a model works on per row. None: four times the features.
    units : Affine, default=None
        Batches hold (x − shift) / scale.
    n_threads : int, default=1
        Threads that share the batches of an array.
    """

    def __init__(
        self,
        source: Any,
        weight: Any = None,
        *,
        rows: int | None = None,
        floats_per_row: int | None = None,
        units: Affine | None = None,
        n_threads: int = 1,
    ):
        self._units = units
        self._rows = rows
        self._floats_per_row = floats_per_row
        self._n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None
        self._source = _FromFunction(source) if callable(source) else source
        if isinstance(source, Iterator):
            raise ValueError(
                "The data is a one-shot iterator, but EM passes over the data many times. Pass a function "
                "that returns a new iterator, or an object whose __iter__ starts afresh."
            )
        self._whole = None if _comes_in_pieces(self._source) else self._cut(source, weight)
        if self._whole is None and weight is not None:
            raise ValueError("With an iterable of arrays, give weights as pairs (rows, weights).")

    def _cut(self, X: Any, weight: Any) -> _CutArray:
        return _CutArray(X, weight, self._rows, self._floats_per_row, self._units)

    def _items(self) -> Iterator[_CutArray]:
        if self._whole is not None:
            yield self._whole
            return
        for item in self._source:
            X, weight = item if isinstance(item, tuple) else (item, None)
            yield self._cut(X, weight)

    def __iter__(self) -> Iterator[Batch]:
        for array in self._items():
            for block in array.blocks:
                yield from array.batches(block)

    def map(self, function: Callable[[Batch], Any]) -> Iterator[Any]:
        """``function`` of each batch, in order; threads share the work block by block."""

        def block_results(array: _CutArray, block: range) -> list[Any]:
            return [function(batch) for batch in array.batches(block)]

        for results in self._map_blocks(block_results):
            yield from results

    def sum(self, function: Callable[[Batch], Tree]) -> Tree:
        """Sum of ``function`` over all batches."""

        def block_sum(array: _CutArray, block: range) -> Tree:
            total = None
            for batch in array.batches(block):
                part = function(batch)
                total = part if total is None else add(total, part)
            return total

        total = None
        for part in self._map_blocks(block_sum):
            total = part if total is None else add(total, part)
        if total is None:
            raise ValueError("The data holds no rows.")
        return total

    def _map_blocks(self, function: Callable[[_CutArray, range], Any]) -> Iterator[Any]:
        for array in self._items():
            if self._n_threads == 1 or len(array.blocks) == 1:
                for block in array.blocks:
                    yield function(array, block)
                continue
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


class _CutArray:
    """An array cut into batches, the batches grouped into blocks."""

    def __init__(
        self,
        X: Any,
        weight: Any,
        rows: int | None,
        floats_per_row: int | None,
        units: Affine | None,
    ):
        self._X = X if isinstance(X, np.ndarray) else np.asarray(X)
        if self._X.ndim == 1:
            self._X = self._X[:, None]
        if self._X.ndim != 2:
            raise ValueError(f"Data must be rows of features, (n, d), but have shape {self._X.shape}.")
        n, d = self._X.shape
        self._weight = None if weight is None else np.asarray(weight, dtype=np.float64)
        if self._weight is not None and self._weight.shape != (n,):
            raise ValueError(f"There are {n} rows, but weights of shape {self._weight.shape}.")
        self._units = units
        self._rows = rows or batch_rows(floats_per_row or 4 * d)
        n_batches = -(-n // self._rows)
        self._memos: list[dict[Any, Any]] = [{} for _ in range(n_batches)]
        self._room = KEEP_BYTES / (8 * max(n, 1))  # numbers per row that may be kept
        self._kept: dict[int, FloatArray] = {}
        n_blocks = min(MAX_BLOCKS, n_batches)
        bounds = [i * n_batches // n_blocks for i in range(n_blocks + 1)] if n_batches else [0]
        self.blocks = [range(a, b) for a, b in pairwise(bounds)]

    def batches(self, block: range) -> Iterator[Batch]:
        keep = self._room >= self._X.shape[1]
        for i in block:
            rows = slice(i * self._rows, (i + 1) * self._rows)
            x = self._kept.get(i)
            if x is None:
                x = self._features_first(self._X[rows])
                if keep:
                    self._kept[i] = x
            weight = None if self._weight is None else self._weight[rows]
            yield Batch(x, weight, self._memos[i], self._room)

    def _features_first(self, rows: NDArray[Any]) -> FloatArray:
        x = np.empty((rows.shape[1], rows.shape[0]))
        if self._units is None:
            x[...] = rows.T
            return x
        np.subtract(rows.T, self._units.shift[:, None], out=x)
        x /= self._units.scale[:, None]
        return x


def batch_rows(floats_per_row: int) -> int:
    """Rows per batch such that ``floats_per_row`` numbers for each stay in cache."""
    return int(np.clip(CACHE_BYTES // (8 * floats_per_row), 512, 16384))


def as_batches(data: Any) -> Batches:
    """``data`` itself if it is `Batches` already, else `Batches` of it; a pair is (rows, weights)."""
    if isinstance(data, Batches):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return Batches(data[0], data[1])
    return Batches(data)


@cache
def _threadpools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread: batches are too small to share, and threads go over batches instead."""
    limiter: AbstractContextManager[Any] = _threadpools().limit(limits=1, user_api="blas")
    return limiter


def one_thread() -> AbstractContextManager[Any]:
    """Hold OpenMP to one thread too, in the calling thread: for other libraries' loops over small data."""
    limiter: AbstractContextManager[Any] = _threadpools().limit(limits=1)
    return limiter
