"""Rows that come whole, or in pieces that are read again at each pass: what users hand over, as data."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from emlearn._input.tables import Named, is_frame
from emlearn._typing import Method
from emlearn.dask._collections import computed, is_dask
from emlearn.dask._data import read_on_dask
from emlearn.dask._lazy import each_block, lazily
from emlearn.em import Batches, Data

NO_PIECES = (str, bytes, dict, set, frozenset, Named)


def comes_in_pieces(X: Any, n_dim: int = 2) -> bool:
    """Whether X is pieces of arrays with so many dimensions: a function or an iterable that gives them.

    In lists the first entry tells; it may be a pair (rows, weights). Collections of Dask are pieces.
    """
    if is_dask(X):
        return True
    if (
        isinstance(X, Named)
        or is_frame(X)
        or hasattr(X, "shape")
        or hasattr(X, "__array__")
        or isinstance(X, NO_PIECES)
    ):
        return False
    if isinstance(X, (list, tuple)):
        first = X[0] if X else None
        first = first[0] if isinstance(first, tuple) and len(first) == 2 else first
        return len(getattr(first, "shape", ())) == n_dim
    return callable(X) or isinstance(X, Iterable)


def read_data(read: Callable[..., tuple[Any, Any]], X: Any, weight: Any = None, *beside: Any) -> Data:
    """Data of the rows of X, whole or in pieces.

    Parameters
    ----------
    read : callable
        ``read(X, weight, *beside, first)`` checks a table, or a piece of it, and gives rows and weights; of a
        table perhaps lengths of groups of rows too. ``first`` says whether it is the first piece, by which
        others are checked; None: it is all there is.
    X : array-like of shape (n, d), or pieces of it
        Pieces may be pairs (rows, weights). Collections of Dask are read on their workers.
    weight, *beside
        What stands beside X: None, a number, an array of as many rows, or pieces of the same lengths.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError
        If pieces can be read but once, there are none, or ``read`` raises it; the message names the piece.
    """
    if not comes_in_pieces(X):
        rows, weight, *lengths = read(X, weight, *beside, first=None)
        return Batches(rows, weight, lengths=lengths[0] if lengths else None)
    if is_dask(X):
        return read_on_dask(read, X, weight, *beside)
    if any(isinstance(source, Iterator) for source in (X, weight, *beside)):
        raise ValueError(
            "X, or what stands beside it, is a generator or another iterator that can be read once, but a fit "
            "passes over the data many times. Give a function that returns a new one, a list of arrays, or an "
            "object whose __iter__ starts afresh."
        )
    pieces = Pieces(read, X, weight, *beside)
    pieces.read_first()
    return Batches(pieces)


class Pieces:
    """Rows and weights, piece by piece, checked whenever they are read.

    Parameters
    ----------
    read, X, weight, *beside
        As of `read_data`.
    """

    def __init__(self, read: Callable[..., tuple[Any, Any]], X: Any, weight: Any = None, *beside: Any):
        self._read = read
        self._X, self._beside = X, (weight, *beside)

    def read_first(self) -> None:
        """Read the first piece, by which the others are checked."""
        first = next(self._checked(first=True), None)
        if first is None:
            raise ValueError("X holds no rows: it has no piece that has any.")
        n_rows = getattr(self._X, "n_rows", None)
        if isinstance(n_rows, int):  # who reads a file need not count
            self.n_rows, self.n_features = n_rows, first[0].shape[1]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._checked(first=False)

    def _checked(self, first: bool) -> Iterator[tuple[Any, Any]]:
        for number, (rows, *beside) in enumerate(side_by_side(self._X, *self._beside)):
            try:
                yield tuple(self._read(rows, *beside, first=first))[:2]
            except ValueError as error:
                raise ValueError(f"Piece {number} of X: {error}") from error


def side_by_side(X: Any, *beside: Any) -> Iterator[tuple[Any, ...]]:
    """Pieces of X that have rows, with what of each of the others belongs to them.

    Weights, where rows come as pairs with them, take the place of the first of the others.
    """
    names = getattr(X, "feature_names", None)
    others = [_cut_like(part) for part in beside]
    for item in _fresh(X):
        rows, weight = item if isinstance(item, tuple) else (item, None)
        n = np.shape(rows)[0] if np.shape(rows) else 1
        mine = [cut(n) for cut in others]
        if weight is not None:
            if mine[0] is not None:
                raise ValueError(
                    "Pieces of X are pairs (rows, weights), and sample_weight is given too: drop one."
                )
            mine[0] = weight
        if n:
            yield (rows if names is None else Named(rows, names)), *mine
    for cut in others:
        if (more := cut(None)) is not None:
            raise ValueError(f"What stands beside X has {more} than X.")


def _fresh(source: Any) -> Iterator[Any]:
    if is_dask(source):
        return computed(source)
    return iter(source() if callable(source) else source)


def _cut_like(part: Any) -> Callable[[int | None], Any]:
    """Function of a number of rows that gives so many of what stands beside X; of None what is left over."""
    if comes_in_pieces(part, 1) or comes_in_pieces(part):
        pieces = _fresh(part)

        def next_piece(n: int | None) -> Any:
            piece = next(pieces, None)
            if n is None:
                return None if piece is None else "more pieces"
            if piece is None:
                raise ValueError("What stands beside X has fewer pieces than X.")
            return np.ravel(piece) if np.ndim(piece) == 2 and np.shape(piece)[1] == 1 else piece

        return next_piece
    if part is None or np.ndim(part) == 0:
        return lambda n: None if n is None else part
    first = 0

    def next_rows(n: int | None) -> Any:
        nonlocal first
        if n is None:
            return "more rows" if len(part) > first else None
        first += n
        return (part.iloc if hasattr(part, "iloc") else part)[first - n : first]

    return next_rows


class MappedPieces:
    """What a function makes of pieces, piece by piece, made anew whenever it is read."""

    def __init__(self, function: Callable[..., Any], X: Any, *beside: Any):
        self._function, self._X, self._beside = function, X, beside

    def __iter__(self) -> Iterator[Any]:
        for rows, _, *beside in side_by_side(self._X, None, *self._beside):  # weights do not matter here
            yield self._function(rows, *beside)


def piece_by_piece(*beside: str) -> Callable[[Method], Method]:
    """Decorate a method of rows: of pieces of them it gives an iterable of what it makes of each.

    Parameters
    ----------
    *beside : str
        Names of the arguments that stand beside X, row by row.
    """

    def decorate(method):
        signature = inspect.signature(method)

        @functools.wraps(method)
        def of_any(self, X, *args, **kwargs):
            if not comes_in_pieces(X):
                return method(self, X, *args, **kwargs)
            given = signature.bind(self, X, *args, **kwargs).arguments
            by_row = {name: given[name] for name in beside if name in given}
            others = {name: value for name, value in given.items() if name not in (*by_row, "self", "X")}
            if is_dask(X):
                return lazily(self, method.__name__, X, by_row, others)

            def of_piece(rows, *mine):
                return method(self, rows, **dict(zip(by_row, mine, strict=True)), **others)

            return MappedPieces(of_piece, X, *by_row.values())

        return of_any

    return decorate


def each_piece(function: Callable[..., Any], X: Any, *beside: Any) -> Iterator[Any]:
    """What a function makes of each piece and of what stands beside it, weights first; where the piece lies."""
    if is_dask(X):
        return each_block(function, X, *beside)
    return (function(rows, *mine) for rows, *mine in side_by_side(X, *beside))


def gathered(values: Any) -> Any:
    """Values of all rows, put together where they come in pieces."""
    if comes_in_pieces(values, 1) or comes_in_pieces(values):
        return np.concatenate([np.asarray(piece) for piece in _fresh(values)])
    return values
