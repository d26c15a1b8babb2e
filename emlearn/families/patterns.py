"""Which entries of a batch are missing: observations grouped by pattern, patterns by how many they lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch, IntArray

FloatArray = NDArray[np.float64]


class PatternGroup(NamedTuple):
    """Patterns that lack the same number c of entries, and the observations that have them."""

    missing: NDArray[np.int32]  # (c, p) features that each pattern lacks, rising
    columns: IntArray  # (m',) of the batch, pattern by pattern
    pattern: IntArray  # (m',) which pattern each column has


class Places(NamedTuple):
    """Where all groups find what is theirs, one group after another."""

    entries: IntArray  # of the missing entries, in an array (d, m) laid flat
    pairs: IntArray  # of the pairs of features that each pattern lacks, in a matrix (d, d) laid flat

    @property
    def size(self) -> int:
        """How many numbers it takes to remember this."""
        return self.entries.size + self.pairs.size


@dataclass(frozen=True)
class Gaps:
    """What is missing of a batch."""

    missing: NDArray[np.bool_]  # (d, m)
    groups: tuple[PatternGroup, ...]  # of observations that lack something, but not all
    empty: IntArray  # columns of which all is missing
    n_observed: IntArray  # (m,)

    @property
    def size(self) -> int:
        """How many numbers of 64 bits it takes to remember this."""
        arrays = [self.missing, self.empty, self.n_observed]
        arrays += [array for group in self.groups for array in group]
        return sum(array.nbytes for array in arrays) // 8

    def places(self) -> Places:
        """Where missing entries, and pairs of them, stand."""
        d, m = self.missing.shape
        entries, pairs = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
        for missing, columns, pattern in self.groups:
            entries.append((missing[:, pattern] * np.intp(m) + columns).ravel())
            pairs.append((missing[:, None] * np.intp(d) + missing).ravel())
        return Places(np.concatenate(entries), np.concatenate(pairs))


def find_gaps(batch: Batch) -> Gaps | None:
    """The batch's missing entries; None where there are none."""

    def find() -> Gaps | None:
        if not np.isnan(batch.x.sum()):  # a cheap first look
            return None
        missing = np.isnan(batch.x)
        return _group(missing) if missing.any() else None

    return batch.once("gaps", find)


def group_columns(missing: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Columns of ``missing`` (d, m) in an order that puts equal ones together, and where each kind begins.

    The second array has one entry more, m. Columns that lack fewer entries come first.
    """
    n_missing = missing.sum(axis=0)
    _, kind = np.unique(_keys(missing), return_inverse=True)
    order = np.lexsort((kind.ravel(), n_missing))
    kind = kind.ravel()[order]
    return order, np.concatenate([[0], np.flatnonzero(np.diff(kind)) + 1, [len(order)]])


def _group(missing: NDArray[np.bool_]) -> Gaps:
    d = len(missing)
    order, bounds = group_columns(missing)
    first = order[bounds[:-1]]
    n_missing = missing[:, first].sum(axis=0)
    sizes, starts = np.unique(n_missing, return_index=True)
    ends = np.append(starts[1:], len(first))
    pattern = np.repeat(np.arange(len(first)), np.diff(bounds))
    groups = []
    for c, start, end in zip(sizes.tolist(), starts, ends, strict=True):
        if 0 < c < d:
            own = slice(bounds[start], bounds[end])
            kinds = np.ascontiguousarray(missing[:, first[start:end]].T)
            lacks = np.nonzero(kinds)[1].reshape(-1, c).T
            groups.append(
                PatternGroup(np.ascontiguousarray(lacks, dtype=np.int32), order[own], pattern[own] - start)
            )
    empty = order[bounds[starts[-1]] :] if sizes[-1] == d else order[:0]
    return Gaps(missing, tuple(groups), empty, d - missing.sum(axis=0))


def _keys(missing: NDArray[np.bool_]) -> NDArray[Any]:
    """One key per column, equal where the same entries are missing."""
    packed = np.packbits(missing, axis=0)
    n_bytes = 8 if len(packed) <= 8 else len(packed)
    keys = np.zeros((missing.shape[1], n_bytes), dtype=np.uint8)
    keys[:, : len(packed)] = packed.T
    return keys.view(np.uint64 if n_bytes == 8 else np.dtype((np.void, n_bytes))).ravel()
