"""Fewer rows that are worth as much to one Gaussian, pattern by pattern.

The log-likelihood of a Gaussian, and the expected statistics of an E-step, are quadratic in the observed
entries of a row. Of rows with the same entries missing they depend only on total weight, mean and scatter, and
p + 1 weighted points have these too, where p features are observed: an E-step then costs by the number of
patterns, not of rows.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.linalg import helmert

from emlearn._sample import in_units
from emlearn.families.patterns import group_columns

CHUNK_ROWS = 65_536
# A pattern is worth summing up if it has this many times more rows than points, ...
WORTH = 1.5
# ... and data if no more than this share of the rows is left.
WORTH_OF_ALL = 0.8


def sigma_points(data, units):
    """Weighted rows with the same moments, pattern by pattern; None where there would not be many fewer.

    Parameters
    ----------
    data : Data
        Rows in the user's units, NaN where an entry is missing.
    units : Affine
        The engine's units.

    Returns
    -------
    rows : ndarray of shape (m, d)
        In the engine's units. Rows without entries or weight are left out.
    weight : ndarray of shape (m,)
    """
    parts, n_left, n_seen = [], 0, 0
    for n_here, n_rows, points in data.recut(units=units, rows=CHUNK_ROWS).map(_summed_up):
        n_left += n_here
        n_seen += n_rows
        if n_left > WORTH_OF_ALL * n_seen:
            return None
        parts.append(points)
    for i, part in enumerate(parts):
        if isinstance(part, _LeftThere):  # of the few that others make up for
            rows = in_units(data.take(np.arange(part.places.start, part.places.stop)), units)
            parts[i] = _Patterns.of(rows, part.weight).sum_up()
    rows, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Patterns.of(rows, weight).sum_up() if len(parts) > 1 else (rows, weight)


class _LeftThere(NamedTuple):
    """Rows that stay where they are, since summing them up would leave most."""

    places: slice  # in the data
    weight: np.ndarray | None  # (m,)


def _summed_up(batch):
    """About how many rows and points a batch comes to, how many rows it has, and the rows and points."""
    rows = np.ascontiguousarray(batch.x.T)
    patterns = _Patterns.of(rows, batch.weight)
    n_left = patterns.n_left
    if n_left > WORTH_OF_ALL * len(rows) and isinstance(batch.rows, slice):
        return n_left, len(rows), _LeftThere(batch.rows, batch.weight)
    return n_left, len(rows), patterns.sum_up()


class _Patterns(NamedTuple):
    """Rows in the order of their patterns."""

    rows: np.ndarray  # (n, d)
    weight: np.ndarray  # (n,)
    bounds: np.ndarray  # (P + 1,) where each pattern begins
    n_points: np.ndarray  # (P,) points that do for it; 1 for that of nothing

    @classmethod
    def of(cls, rows, weight):
        weight = np.ones(len(rows)) if weight is None else weight
        rows, weight = rows[weight > 0], weight[weight > 0]
        missing = np.isnan(rows)
        order, bounds = group_columns(missing.T)
        n_points = 1 + np.count_nonzero(~missing[order[bounds[:-1]]], axis=1)
        return cls(rows[order], weight[order], bounds, n_points)

    @property
    def summed(self):
        """Which patterns are worth summing up, (P,)."""
        return np.diff(self.bounds) >= WORTH * self.n_points

    @property
    def n_left(self):
        """How many rows and points there will be, about."""
        return np.where(self.summed, self.n_points, np.diff(self.bounds)).sum()

    def sum_up(self):
        """Rows and points, and their weights."""
        kept_rows, kept_weight = [self.rows[:0]], [self.weight[:0]]
        for (start, stop), n_points, summed in zip(
            pairwise(self.bounds.tolist()), self.n_points.tolist(), self.summed, strict=True
        ):
            if n_points == 1:
                continue
            x, w = self.rows[start:stop], self.weight[start:stop]
            if summed:
                x, w = _points(x, w, n_points)
            kept_rows.append(x)
            kept_weight.append(w)
        return np.concatenate(kept_rows), np.concatenate(kept_weight)


def _points(rows, weight, n_points):
    """Points with the total weight, mean and scatter of rows of one pattern."""
    observed = np.flatnonzero(~np.isnan(rows[0]))
    x, total = rows[:, observed], weight.sum()
    mean = weight @ x / total
    x -= mean
    values, vectors = np.linalg.eigh((x.T * weight) @ x)
    root = vectors * np.sqrt(np.maximum(values, 0.0) * (n_points / total))
    points = np.full((n_points, rows.shape[1]), np.nan)
    points[:, observed] = mean + (root @ _simplex(n_points)).T
    return points, np.full(n_points, total / n_points)


@cache
def _simplex(n_points):
    """Corners of a simplex about the origin (n_points − 1, n_points), rows orthonormal."""
    return helmert(n_points)
