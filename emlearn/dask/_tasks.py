"""What is done on the workers: a thread holds some blocks, and makes one result of each."""

from __future__ import annotations

import ctypes
import os
import pickle
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn._input.sequences import Part
from emlearn._version import __version__
from emlearn.dask._blocks import HEAD_ROWS, Bad, Block, Raw, joined, read_block
from emlearn.dask._sequences import n_steps, sequences_of
from emlearn.em import Batches, one_blas_thread

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


class Group(tuple[Any, ...]):
    """What a thread of a worker holds. Its size is what the scheduler asks before it would move it."""

    def __sizeof__(self) -> int:
        return sum(block.n_bytes for block in self) + 1024


class Cuts(tuple[Any, ...]):
    """The blocks of a group, cut. They hold the group's rows, and would take these along."""

    n_bytes: int

    def __sizeof__(self) -> int:
        return self.n_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return _cuts_again, (tuple(self), self.n_bytes)


def _cuts_again(cuts: Iterable[Batches], n_bytes: int) -> Cuts:
    again = Cuts(cuts)
    again.n_bytes = n_bytes
    return again


def shapes_of(*blocks: Raw | Bad) -> tuple[list[Any], str]:
    """Shapes of blocks, or what is wrong with them, and who says so."""
    return [block if isinstance(block, Bad) else block.X.shape for block in blocks], __version__


def lengths_of(*blocks: Any) -> tuple[list[list[int]], str]:
    """Lengths of the sequences of blocks, 0 of what has none, and who says so."""
    return [[n_steps(sequence) for sequence in sequences_of(block)] for block in blocks], __version__


def head_of(block: Raw) -> Raw:
    return block.head()


def first_steps(block: Any) -> Any:
    """Those of the first sequence."""
    first = sequences_of(block)[0]
    return first[:HEAD_ROWS] if n_steps(first) else first


def read_group(pickled: bytes, runs: list[list[int]], *raw: Raw) -> Group:
    """Blocks that a thread will hold, read, and joined run by run; one that is bad stands for its run."""
    read = pickle.loads(pickled)
    waiting, group = iter(raw), []
    with one_blas_thread_here():
        for run in runs:
            blocks = [read_block(number, next(waiting), read) for number in run]
            bad = [block for block in blocks if isinstance(block, Bad)]
            group.append(bad[0] if bad else joined(blocks))
    return Group(group)


def read_sequence_group(
    pickled: bytes, parts: list[tuple[int, int, NDArray[np.float64] | None]], *raw: Any
) -> Group:
    """Sequences that a thread will hold; of each run its number of blocks, its first sequence, its weights."""
    read = pickle.loads(pickled)
    waiting = iter(raw)
    group: list[Block | Bad] = []
    with one_blas_thread_here():
        for n_blocks, first, weight in parts:
            sequences = [one for _ in range(n_blocks) for one in sequences_of(next(waiting))]
            try:
                group.append(Block(*read(Part(sequences, first), weight, first=False)))
            except (TypeError, ValueError) as error:
                group.append(Bad(None, str(error)))
    return Group(group)


def seen_of(group: Group) -> list[Any]:
    """Of each block its number of features, type and whether it has weights, or what is wrong with it."""
    return [
        block
        if isinstance(block, Bad)
        else (block.rows.shape[1], getattr(block.rows, "dtype", np.dtype(np.float64)), block.weight is not None)
        for block in group
    ]


def cut_group(group: Group, firsts: list[tuple[int, int]], keep_bytes: float, settings: dict[str, Any]) -> Cuts:
    n_rows = sum(len(block.rows) for block in group)
    cuts = [
        Batches(
            block.rows,
            block.weight,
            lengths=block.lengths,
            first_row=first_row,
            first_sequence=first_sequence,
            keep_bytes=keep_bytes * len(block.rows) / n_rows,
            **settings,
        )
        for block, (first_row, first_sequence) in zip(group, firsts, strict=True)
    ]
    return _cuts_again(cuts, group.__sizeof__())


# What goes back is one string of bytes: of many small arrays each would be a message of its own.


def sum_blocks(cuts: Cuts, pickled: bytes) -> bytes:
    function = pickle.loads(pickled)
    with one_blas_thread_here():
        return as_bytes([batches.sum(function) for batches in cuts])


def fold_blocks(cuts: Cuts, pickled: bytes) -> bytes:
    function, join = pickle.loads(pickled)
    with one_blas_thread_here():
        return as_bytes([reduce(join, batches.map(function)) for batches in cuts])


def map_blocks(cuts: Cuts, pickled: bytes) -> bytes:
    function = pickle.loads(pickled)
    with one_blas_thread_here():
        return as_bytes([list(batches.map(function)) for batches in cuts])


def take_rows(
    group: Group, wanted: list[NDArray[np.intp]], columns: NDArray[np.intp] | None
) -> list[NDArray[Any]]:
    taken = [block.rows[rows] for block, rows in zip(group, wanted, strict=True)]
    return taken if columns is None else [rows[:, columns] for rows in taken]


def weights_of_group(group: Group) -> list[NDArray[np.float64]]:
    """Of each block the weights of its rows."""
    return [
        block.weight if block.lengths is None else np.repeat(block.weight, block.lengths) for block in group
    ]


def as_bytes(what: Any) -> bytes:
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
def one_blas_thread_here() -> Iterator[None]:
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
