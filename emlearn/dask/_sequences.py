"""Sequences as they were given, in blocks of whole ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn._input.sequences import read_lengths
from emlearn.dask._blocks import together
from emlearn.dask._collections import (
    delayed_blocks,
    futures_in_order,
    is_array,
    is_bag,
    is_frame_of_dask,
)

# Sequences, which go through a batch side by side, are joined up to as many steps as the largest batch takes.
JOINED_STEPS = 16_384
NO_SEQUENCES = "X holds no sequences: give at least one."


def sequence_blocks(X: Any, lengths: Any = None) -> SequenceBlocks:
    """What was given, as blocks of whole sequences.

    Parameters
    ----------
    X : bag, list of delayed objects or futures, list of dask arrays (T_i, d), or dask array (n, d)
        A sequence is an entry of a bag, or one of a list. A dask array holds the rows of all.
    lengths : array-like of int of shape (n_sequences,), default=None
        Lengths of the sequences of an array, one after the other. None: it is one.
    """
    from dask import delayed

    if is_bag(X):
        return SequenceBlocks(X, _of_partition)
    whole = delayed(_itself, pure=False)
    if isinstance(X, (list, tuple)):
        return SequenceBlocks([whole(one) if is_array(one) else one for one in X])
    if not is_array(X):
        kind = "DataFrame" if is_frame_of_dask(X) else type(X).__name__
        raise ValueError(
            f"X is a {kind} of Dask, which does not say where sequences begin: give a bag of sequences, a list "
            "of delayed ones, or a dask array with lengths, as by X.to_dask_array(lengths=True)."
        )
    if X.ndim != 2:
        raise ValueError(f"X must have rows of features, (n, d), but has shape {X.shape}. Reshape your data.")
    if lengths is None:
        return SequenceBlocks([whole(X)])
    if np.isnan(X.shape[0]):
        raise ValueError(
            "X is of Dask with blocks of unknown lengths, which cannot be cut where sequences begin: give "
            "X.compute_chunk_sizes(), or a list of delayed sequences."
        )
    lengths = read_lengths(lengths, X.shape[0])
    parts = sequences_of_chunks(X.chunks[0], lengths)
    rows = X.rechunk({0: tuple(int(part.sum()) for part in parts), 1: -1})
    return SequenceBlocks(rows, of_rows, parts)


def sequences_of_chunks(chunks: Sequence[int], lengths: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Lengths of the sequences that end in each chunk of rows, where any do."""
    ends = np.cumsum(lengths)
    cuts = 1 + np.unique(np.searchsorted(ends, np.cumsum(chunks)[np.cumsum(chunks) > 0]))
    return [part for part in np.split(lengths, cuts[cuts < len(lengths)]) if len(part)]


class SequenceBlocks(NamedTuple):
    """What was given, as blocks of whole sequences."""

    source: Any  # collection, or list of sequences
    make: Callable[..., Several] | None = None  # of a block, and of what is beside it; None of a sequence
    beside: list[NDArray[np.intp]] | None = None

    def delayed(self) -> list[Any]:
        """Each block as one delayed object, a sequence or `Several`."""
        from dask import delayed

        blocks = delayed_blocks(self.source)
        if self.make is None:
            return blocks
        make = delayed(self.make, pure=False)
        return [make(*parts) for parts in zip(blocks, *self._beside(), strict=True)]

    def computed(self) -> Iterator[Several]:
        """Sequences, computed in this process block after block."""
        import dask

        for block in self.delayed():
            yield sequences_of(*dask.compute(block))

    def submitted(self, client: Any) -> list[Any]:
        """The same as futures."""
        if self.make is None:  # delayed objects, futures, or some of each
            return list(client.compute(self.source))
        blocks = futures_in_order(client.persist(self.source))
        return list(client.map(self.make, blocks, *self._beside(), pure=False))

    def _beside(self) -> list[list[NDArray[np.intp]]]:
        return [] if self.beside is None else [self.beside]


def _itself(X: Any) -> Any:
    return X


def _of_partition(partition: Any) -> Several:
    return Several(partition)


def of_rows(rows: NDArray[Any], lengths: NDArray[np.intp]) -> Several:
    return Several(np.split(rows, np.cumsum(lengths)[:-1]))


class Several(list[Any]):
    """Sequences of a block, of which none was looked at."""


def sequences_of(block: Any) -> Several:
    return block if isinstance(block, Several) else Several([block])


def n_steps(sequence: Any) -> int:
    try:
        return len(sequence)
    except TypeError:
        return 0


def size_of(sequences: Iterable[Any]) -> int:
    """Number of steps; one without any counts as one, so that it is read, and refused, and not left out."""
    return sum(max(n_steps(sequence), 1) for sequence in sequences)


def joined_sequences(items: Iterable[tuple[Any, int]]) -> Iterator[list[Any]]:
    """Runs of sequences, or of lists of them, that are joined, from pairs (item, number of its steps)."""
    return together(items, JOINED_STEPS)


def weights_of_all(weight: Any, n_sequences: int) -> NDArray[np.float64] | None:
    """A weight for each sequence, from a number, an array of weights that were read, or None."""
    if weight is None or np.ndim(weight) == 0:
        return None if weight is None else np.full(n_sequences, float(weight))
    if weight.shape != (n_sequences,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, but X has {n_sequences} sequences: give one weight per "
            "sequence."
        )
    return np.asarray(weight)
