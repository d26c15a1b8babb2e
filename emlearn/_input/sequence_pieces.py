"""Sequences that come in pieces: of Dask, or read again at each pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from emlearn._input.arrays import read_weights, refuse_weights
from emlearn._input.pieces import comes_in_pieces
from emlearn._input.sequences import Part, is_grouped, n_dim_of
from emlearn._typing import Method
from emlearn.dask._collections import computed, is_dask
from emlearn.dask._data import read_sequences_on_dask
from emlearn.dask._lazy import Made, lazily_by_sequence
from emlearn.dask._sequences import (
    NO_SEQUENCES,
    Several,
    joined_sequences,
    sequence_blocks,
    size_of,
    weights_of_all,
)
from emlearn.em import Batches, Data, FileRows


def come_in_pieces(X: Any) -> bool:
    """Whether X is of Dask, a list of lists of sequences, or a function or an iterable that gives sequences."""
    if isinstance(X, Part) or is_grouped(X):
        return False
    if is_dask(X):
        return True
    if isinstance(X, (list, tuple)):
        first = next((item for item in X if not isinstance(item, (list, tuple)) or item), None)
        return first is not None and _is_list(first)
    return comes_in_pieces(X)


def _is_list(item: Any) -> bool:
    """Whether an entry holds sequences, perhaps none, and is not one."""
    if isinstance(item, np.ndarray):
        return item.ndim == 1 and item.dtype == object and len(item) > 0 and n_dim_of(item[0]) >= 2
    if isinstance(item, Several):
        return True
    return isinstance(item, (list, tuple)) and (not item or n_dim_of(item) >= 3)


def refuse_pieces(X: Any, what: str) -> None:
    """Refuse sequences in pieces, where ``what`` takes those in memory alone."""
    if come_in_pieces(X):
        of = "of Dask" if is_dask(X) else "in pieces"
        raise ValueError(
            f"X is {of}, but {what} takes sequences that are in memory: give a list of them, as compute() or "
            "list() makes it."
        )


def read_sequence_data(
    read: Callable[..., tuple[Any, Any, Any]], X: Any, weight: Any = None, **where: Any
) -> Data:
    """Data of sequences that come in pieces.

    Parameters
    ----------
    read : callable
        ``read(part, weight, first)`` checks some of the sequences, a `Part`, and gives their rows, their
        weights and lengths. ``first`` says whether they are the first, by which others are checked.
    X : of Dask, list of lists of sequences, or function or iterable that gives sequences or lists of them
    weight : number, array-like or dask collection of shape (n_sequences,), or None
    **where
        What else may say where sequences begin, by name: of a dask array ``lengths``, of others nothing.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError
        If there is no sequence, ``read`` raises it, there are more or fewer weights than sequences, or X can
        be read but once.
    """
    check_marks(X, where)
    lengths, weight = where.get("lengths"), _read_weights(weight)
    if is_dask(X):
        data = read_sequences_on_dask(read, X, weight, lengths)
        if data is not None:
            return data
        X = sequence_blocks(X, lengths).computed
    elif isinstance(X, Iterator):
        raise ValueError(
            "X is a generator or another iterator that can be read once, but a fit passes over the data many "
            "times. Give a function that returns a new one, a list of sequences, or an object whose __iter__ "
            "starts afresh."
        )
    pieces = _SequencePieces(read, X, weight)
    pieces.read_first()
    return Batches(pieces)


def check_marks(X: Any, where: dict[str, Any]) -> None:
    """Refuse what says where sequences begin, of what says so itself."""
    if isinstance(X, FileRows):
        raise ValueError(
            "X is rows of files, which do not say where sequences begin: give a function, or an object with "
            "__iter__, that gives the sequences one after another."
        )
    may = {"lengths"} if hasattr(type(X), "numblocks") else set()  # a dask array
    marks = [name for name, mark in where.items() if mark is not None and name not in may]
    if marks and may:
        raise ValueError(f"X is a dask array: give lengths in place of {' and '.join(marks)}.")
    if marks:
        raise ValueError(
            f"X holds one sequence per entry, which says already where each begins: drop {' and '.join(marks)}."
        )


def _read_weights(weight: Any) -> Any:
    if weight is None:
        return None
    if is_dask(weight):  # of sequences there are few
        weight = np.concatenate([np.ravel(part) for part in computed(weight)])
    read = read_weights(weight, 1)
    refuse_weights(read, "sequence")
    return float(read[0]) if np.ndim(weight) == 0 else read


class _SequencePieces:
    """Rows, weights and lengths of sequences that are read together, checked whenever they are read."""

    def __init__(self, read: Callable[..., tuple[Any, Any, Any]], X: Any, weight: Any):
        self._read, self._X, self._weight = read, X, weight

    def read_first(self) -> None:
        """Read the first sequence, by which the others are checked."""
        for sequences in _lists(self._X):
            if len(sequences):
                self._read(Part(list(sequences[:1])), None, first=True)
                return
        raise ValueError(NO_SEQUENCES)

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        first = 0
        each = ((list(sequences), size_of(sequences)) for sequences in _lists(self._X))
        for run in joined_sequences(each):
            sequences = [sequence for some in run for sequence in some]
            last = first + len(sequences)
            weight = self._weight
            if np.ndim(weight):
                weight = weight[first:last]
                if len(weight) < len(sequences):
                    self._refuse_weight(f"more than {last - 1}")
            else:
                weight = weights_of_all(weight, len(sequences))
            yield self._read(Part(sequences, first), weight, first=False)
            first = last
        if np.ndim(self._weight) and len(self._weight) > first:
            self._refuse_weight(str(first))

    def _refuse_weight(self, there: str) -> None:
        raise ValueError(
            f"sample_weight has shape {self._weight.shape}, but X has {there} sequences: give one weight per "
            "sequence."
        )


def _lists(X: Any) -> Iterator[Any]:
    """Items of X as lists of sequences."""
    items: Iterable[Any] = X() if callable(X) else X
    return (item if _is_list(item) else [item] for item in items)


class _MappedSequences:
    """What a method makes of each item of X, made anew whenever it is read."""

    def __init__(self, method: Callable[..., Any], X: Any):
        self._method, self._X = method, X

    def __iter__(self) -> Iterator[Any]:
        first = 0
        for item in self._X() if callable(self._X) else self._X:
            sequences = list(item) if _is_list(item) else [item]
            made = self._method(Part(sequences, first)) if sequences else np.empty(0, dtype=object)
            first += len(sequences)
            yield made if _is_list(item) else made[0]


def sequence_by_sequence(
    dtype: Any = np.float64, *, by_state: bool = False, by_step: bool = True
) -> Callable[[Method], Method]:
    """Decorate a method of sequences: of those in pieces it makes the same when that is asked for.

    Parameters
    ----------
    dtype : dtype
        Of what it makes.
    by_state : bool
        Whether it makes a number for each state.
    by_step : bool
        Whether for each step, or for each sequence.
    """

    def decorate(method):
        @functools.wraps(method)
        def of_any(self, X, *, groups=None, lengths=None, **others):
            if not come_in_pieces(X):
                return method(self, X, groups=groups, lengths=lengths, **others)
            check_marks(X, {"groups": groups, "lengths": lengths})
            shape = self._per_state()  # which refuses what is not fitted
            if is_dask(X):
                made = Made(dtype, shape if by_state else (), by_step)
                return lazily_by_sequence(self, method.__name__, X, lengths, made, others)
            return _MappedSequences(functools.partial(method, self, **others), X)

        return of_any

    return decorate
