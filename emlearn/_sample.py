"""What a race looks at: the distinct rows of the data, or of an even part of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from scipy import sparse

from emlearn.em import Batch, Batches

# Rows that a race looks at; more, where a model has many parameters.
SAMPLE_ROWS = 20_000
# Share of all weight in the windows that tell how densely rows lie, and their median width where rows are
# normal.
WINDOW, NORMAL_WINDOW = 0.05, 0.16
# A lone start is fitted to the part first where there are this many times more data: it costs next to nothing,
# and what it leaves to be done on all data is a few steps.
WORTH_A_PART = 20


@dataclass(frozen=True)
class Sample:
    """Distinct rows of the data, or of a part of it, with their weights, in the engine's units.

    Rows are in lexicographic order, sparse ones in that of digests of what they hold, equal ones merged and
    those without weight left out.
    """

    rows: np.ndarray  # (m, d), or a csr_array
    weight: np.ndarray  # (m,)
    positions: np.ndarray  # which rows of the data were drawn, before any were sorted or merged
    counts: np.ndarray  # how often each of them counts
    is_whole: bool  # whether no row with weight is left out
    labels: np.ndarray | None = field(default=None, kw_only=True)  # (m,) or (m, K), what is known of components

    @classmethod
    def of(cls, rows, units, drawn, n_rows, labels=None):
        """Rows that `draw_evenly` has drawn, of so many with weight, in the user's units, and labels."""
        positions, counts = drawn
        if sparse.issparse(rows):
            return cls._of_sparse(rows, drawn, n_rows, labels)
        rows, d = in_units(rows, units), rows.shape[1]
        if labels is not None:  # rows are alike if they are known to be
            rows = np.column_stack([rows, labels])
        order = np.argsort(rows[:, 0], kind="stable")
        first = rows[order, 0]
        if np.any(first[1:] == first[:-1]) or np.isnan(first[-1]):
            order = np.lexsort(rows.T[::-1])
        rows = rows[order]
        new = np.ones(len(rows), dtype=bool)
        differ = rows[1:] != rows[:-1]
        if np.isnan(rows).any():  # two that are missing are alike
            differ &= ~(np.isnan(rows[1:]) & np.isnan(rows[:-1]))
        new[1:] = differ.any(axis=1)
        starts = np.flatnonzero(new)
        merged = np.add.reduceat(counts[order], starts)
        kept, labels = rows[starts][merged > 0], None if labels is None else labels[:0]
        if labels is not None:
            labels = kept[:, d:].astype(labels.dtype).reshape(-1, *labels.shape[1:])
        is_whole = len(positions) == n_rows
        return cls(kept[:, :d], merged[merged > 0], positions, counts, is_whole, labels=labels)

    @classmethod
    def _of_sparse(cls, rows, drawn, n_rows, labels):
        """The same of sparse rows, which have no units but their own."""
        positions, counts = drawn
        known = None if labels is None else np.asarray(labels, dtype=np.float64).reshape(len(positions), -1)
        # Digests, since what the rows hold would be as much again as they are.
        held, places = {}, np.empty(len(positions), dtype=np.intp)
        for i, (start, stop) in enumerate(pairwise(rows.indptr)):
            digest = blake2b(rows.indices[start:stop].astype("<i8"), digest_size=16)
            digest.update(rows.data[start:stop])
            if known is not None:
                digest.update(known[i])
            places[i] = held.setdefault(digest.digest(), i)
        merged = np.bincount(places, counts, minlength=len(positions))
        first = np.array([i for _, i in sorted(held.items()) if merged[i] > 0], dtype=np.intp)
        labels = None if labels is None else labels[first]
        return cls(rows[first], merged[first], positions, counts, len(positions) == n_rows, labels=labels)

    @property
    def unit(self):
        """Weight that counts as one row."""
        return unit_of(self.counts.sum(), len(self.positions))

    @property
    def size(self):
        """How many rows these are, with those that were merged."""
        return self.counts.sum() / self.unit

    @cached_property
    def batch(self):
        """The whole sample as one batch."""
        return Batch(features_first(self.rows), self.weight, labels=self.labels)

    @cached_property
    def points(self):
        """The rows with missing entries at the mean of the others, for what knows no missing ones, (m, d)."""
        present = ~np.isnan(self.rows)
        if present.all():
            return self.rows
        total = self.weight @ present
        mean = self.weight @ np.where(present, self.rows, 0.0) / np.where(total > 0, total, 1.0)
        return np.where(present, self.rows, mean)

    @cached_property
    def covariance(self):
        """Covariance matrix of the points, (d, d)."""
        centred = self.points - np.average(self.points, axis=0, weights=self.weight)
        return (centred.T * self.weight) @ centred / self.weight.sum()

    def draw(self, size, rng):
        """Indices of ``size`` different rows drawn in proportion to weight."""
        weight = self.weight.copy()
        drawn = np.empty(size, dtype=np.int_)
        for i in range(size):
            cumulative = np.cumsum(weight)
            index = np.searchsorted(cumulative, rng.uniform() * cumulative[-1], side="right")
            drawn[i] = min(index, np.flatnonzero(weight)[-1])
            weight[drawn[i]] = 0.0
        return drawn

    def batches(self, floats_per_row):
        """The sample as data for the engine."""
        return Batches(self.rows, self.weight, floats_per_row=floats_per_row, labels=self.labels)


def ground(sample, starts, everything, *, merged=True, **cut):
    """Data for the engine, and the part of them to race on; None where that is all, or not worth it.

    Parameters
    ----------
    sample : Sample
        Rows, or sequences, to start from.
    starts : list of Start
    everything : callable
        Makes data of all rows, of which the sample is a part.
    merged : bool, default=True
        Whether equal rows may be one row of their weight; where components are drawn, each draws its own.
    **cut
        How data are cut into batches, for either.
    """
    part = sample.batches(**cut)
    if sample.is_whole:
        return part if merged else everything(**cut), None
    whole = everything(**cut)
    alone = len(starts) == 1
    if alone and (starts[0].kind == "warm" or whole.n_rows < WORTH_A_PART * part.n_rows):
        return whole, None
    return whole, part


def portfolio(make, kinds, n_init, rng):
    """``n_init`` starts of some kinds by turns."""
    seeds = rng.randint(np.iinfo(np.int32).max, size=n_init)
    return [make(kinds[i % len(kinds)], seed) for i, seed in enumerate(seeds)]


def unit_of(total, n):
    """Weight that counts as one observation: 1, or less where n of them have a total weight below n."""
    return min(1.0, float(total) / n) if n and total > 0 else 1.0


def near_spread(rows, counts):
    """Standard deviation of each feature as far as most rows can tell from those around them, (d,).

    The width of windows that hold a twentieth of all weight, in the median over windows of some width, relative
    to that of a normal density. Clusters that are far apart, and sentinels such as -99999, do not add to it.

    Parameters
    ----------
    rows : ndarray or csr_array of shape (m, d)
    counts : ndarray of shape (m,)
        How often each row counts.
    """
    if sparse.issparse(rows):  # which stay in their own units
        return np.full(rows.shape[1], np.inf)
    spread = np.full(rows.shape[1], np.inf)
    for j, column in enumerate(np.asarray(rows, dtype=np.float64).T):
        present = np.flatnonzero(~np.isnan(column) & (counts > 0))
        order = present[np.argsort(column[present], kind="stable")]
        x, weight = column[order], counts[order]
        reached = np.cumsum(weight)
        if not len(x):
            continue
        # The window that begins with a row ends with the first one that makes it full.
        ends = np.searchsorted(reached, reached - weight + WINDOW * reached[-1], side="left")
        ends = np.maximum(ends, np.arange(len(x)) + 1)
        whole = ends < len(x)
        width, weight = x[ends[whole]] - x[whole], weight[whole]
        some = width > 0
        if some.any():
            by_width = np.argsort(width[some], kind="stable")
            half = np.cumsum(weight[some][by_width])
            spread[j] = width[some][by_width][np.searchsorted(half, half[-1] / 2)] / NORMAL_WINDOW
    return spread


def in_units(X, units):
    """Rows in the engine's units, as float64; sparse ones as they are."""
    if sparse.issparse(X):
        return X
    return (np.asarray(X, dtype=np.float64) - units.shift) / units.scale


def features_first(rows):
    """Rows as a batch holds them."""
    return rows.T if sparse.issparse(rows) else np.ascontiguousarray(rows.T)


def draw_from(data, moments, size, rng):
    """`draw_evenly` of the rows of data, of which the moments are known."""
    return draw_evenly(data.n_rows, data.weights() if moments.has_weights else None, size, rng)


def draw_with_known(n, weight, labels, size, rng):
    """`draw_evenly`, in which up to half of the sample is for rows of which something is known.

    Parameters
    ----------
    n, weight, size, rng
        As of `draw_evenly`.
    labels : ndarray of shape (n,) or (n, K), or None
        Negative, or all true, where nothing is known.
    """
    n_counted = n if weight is None else np.count_nonzero(weight)
    if labels is None or n_counted <= size:
        return draw_evenly(n, weight, size, rng)
    known = labels >= 0 if labels.ndim == 1 else ~labels.all(axis=1)
    weight = np.ones(n) if weight is None else weight
    n_known = min(size // 2, np.count_nonzero(known & (weight > 0)))
    parts = []
    for own, n_own in ((known, n_known), (~known, size - n_known)):
        of_own = np.where(own, weight, 0.0)
        if of_own.any():
            positions, counts = draw_evenly(n, of_own, n_own, rng)
            parts.append((positions, counts * (of_own.sum() / counts.sum())))
    positions, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(positions)
    return positions[order], counts[order] * (len(positions) / counts.sum())


def draw_evenly(n, weight, size, rng):
    """Indices of about ``size`` of the rows with weight, and how often each counts.

    All of them where there are no more than ``size``. Else rows that weigh more than a ``size``-th of the
    whole are in, and of the others one is drawn from each of as many equal strata of the cumulative weights,
    in the order of the rows.
    """
    if weight is None:
        if n <= size:
            return np.arange(n), np.ones(n)
        levels = (np.arange(size) + rng.uniform(size=size)) / size
        positions = np.unique((levels * n).astype(np.int_))
        return positions, np.ones(len(positions))
    if np.count_nonzero(weight) <= size:
        positions = np.flatnonzero(weight)
        return positions, weight[positions]
    heavy = np.flatnonzero(weight > weight.sum() / size)
    light = weight.copy()
    light[heavy] = 0.0
    levels = (np.arange(size) + rng.uniform(size=size)) / size * light.sum()
    drawn = np.minimum(np.searchsorted(np.cumsum(light), levels, side="right"), np.flatnonzero(light)[-1])
    positions, counts = np.unique(drawn, return_counts=True)
    positions = np.concatenate([positions, heavy])
    counts = np.concatenate([counts * (light.sum() / size), weight[heavy]])
    order = np.argsort(positions)
    return positions[order], counts[order] * (size / weight.sum())
