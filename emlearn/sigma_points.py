"""Fewer rows that are worth as much to one Gaussian, pattern by pattern.

The log-likelihood of a Gaussian, and the expected statistics of an E-step, are quadratic in the observed
entries of a row. Of rows with the same entries missing they depend only on total weight, mean and scatter, and
p + 1 weighted points have these too, where p features are observed: an E-step then costs by the number of
patterns, not of rows.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from scipy.linalg import helmert

from emlearn.families.patterns import group_columns
from emlearn.starts import in_units

CHUNK_ROWS = 65_536
# A pattern is worth summing up if it has this many times more rows than points, ...
WORTH = 1.5
# ... and data if no more than this share of the rows is left.
WORTH_OF_ALL = 0.8


def sigma_points(X, weight, units):
    """Weighted rows with the same moments, pattern by pattern; None where there would not be many fewer.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows in the user's units, NaN where an entry is missing.
    weight : ndarray of shape (n,) or None
    units : Affine
        The engine's units.

    Returns
    -------
    rows : ndarray of shape (m, d)
        In the engine's units. Rows without entries or weight are left out.
    weight : ndarray of shape (m,)
    """
    parts, n_seen = [], 0
    for start in range(0, len(X), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        rows = in_units(X[chunk], units)
        parts.append(_sum_up(rows, np.ones(len(rows)) if weight is None else weight[chunk]))
        n_seen += len(rows)
        if sum(len(rows) for rows, _ in parts) > WORTH_OF_ALL * n_seen:
            return None
    rows, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _sum_up(rows, weight) if len(parts) > 1 else (rows, weight)


def _sum_up(rows, weight):
    rows, weight = rows[weight > 0], weight[weight > 0]
    order, bounds = group_columns(np.isnan(rows.T))
    rows, weight = rows[order], weight[order]
    kept_rows, kept_weight = [rows[:0]], [weight[:0]]
    for start, stop in pairwise(bounds.tolist()):
        x, w = rows[start:stop], weight[start:stop]
        observed = np.flatnonzero(~np.isnan(x[0]))
        n_points = len(observed) + 1
        if n_points == 1:
            continue
        if len(x) < WORTH * n_points:
            kept_rows.append(x)
            kept_weight.append(w)
            continue
        total = w.sum()
        x = x[:, observed]
        mean = w @ x / total
        x -= mean
        values, vectors = np.linalg.eigh((x.T * w) @ x)
        root = vectors * np.sqrt(np.maximum(values, 0.0) * (n_points / total))
        points = np.full((n_points, rows.shape[1]), np.nan)
        points[:, observed] = mean + (root @ _simplex(n_points)).T
        kept_rows.append(points)
        kept_weight.append(np.full(n_points, total / n_points))
    return np.concatenate(kept_rows), np.concatenate(kept_weight)


@cache
def _simplex(n_points):
    """Corners of a simplex about the origin (n_points − 1, n_points), rows orthonormal."""
    return helmert(n_points)
