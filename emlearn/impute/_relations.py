"""Linear relations that hold exactly: sums and their parts, copies, indicators of one category.

What they say of a missing entry they say for certain. They are found where all that is involved is observed in
more rows than could be so by chance, and imputations are conditioned on them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.linalg import qr

from emlearn.families.patterns import group_columns

# Residuals of a relation, in standard deviations of its features, that are rounding.
EXACT = 1e-9
# A relation of k features holds by more than chance in so many rows more than k; where the features have hardly
# more than k different rows, in so many.
MORE_ROWS, MORE_TIES = 2, 20
# Coefficients, of standardised features, that are rounding; and those of a regression that are worth a look.
NO_SHARE, SHARE = 1e-6, 0.03


class Relations(NamedTuple):
    """``coefficients @ x == constants`` of each row, one relation to a line."""

    coefficients: np.ndarray  # (f, d) of all columns
    constants: np.ndarray  # (f,)
    tolerance: np.ndarray  # (f,)
    dependent: np.ndarray  # (f,) a column that each gives by the others

    def within(self, columns, d):
        """Those of some of the first d columns alone."""
        others = np.setdiff1d(np.arange(self.coefficients.shape[1]), columns)
        own = (self.coefficients[:, others] == 0).all(axis=1)
        return Relations(self.coefficients[own][:, :d], *(part[own] for part in self[1:]))

    def kept_by(self, X):
        """Those that hold in all rows of X that have what is involved."""
        gone = np.isnan(X)
        residual = np.abs(np.where(gone, 0.0, X) @ self.coefficients.T - self.constants)
        known = ~(gone @ (self.coefficients.T != 0))
        holds = (~known | (residual <= self.tolerance)).all(axis=0)
        return Relations(*(part[holds] for part in self))


def find_relations(rows, units, columns, d, precision_of):
    """Relations that hold in rows; None where there are none.

    Parameters
    ----------
    rows : ndarray of shape (m, d')
        Some rows of the features, in the user's units.
    units : Affine
        That free them of units.
    columns : ndarray of shape (d',)
        Which columns of the data they are.
    d : int
        How many columns there are.
    precision_of : callable
        Gives a precision matrix (d', d'), about: what to look at where few rows are complete.
    """
    Z = (rows.astype(np.float64) - units.shift) / units.scale
    eps = np.finfo(rows.dtype).eps if rows.dtype.kind == "f" else np.finfo(np.float64).eps
    rounding = EXACT + 64 * eps * (1 + np.abs(units.shift / units.scale))
    there = ~np.isnan(Z)
    width = Z.shape[1]
    if width < 2:
        return None
    sets = [np.arange(width)]
    if there.all(axis=1).sum() < width + MORE_ROWS:
        precision = precision_of()
        slopes = np.abs(precision / np.diag(precision)[:, None])
        sets = [_nearest(own, there) for own in slopes]
    found, dependent = np.empty((0, width)), []
    for own in sets:
        for relation, column in _of_set(Z, there, own, rounding):
            more = np.vstack([found, relation])
            if column not in dependent and np.linalg.matrix_rank(more, tol=NO_SHARE) == len(more):
                found, dependent = more, [*dependent, column]
    if not dependent:
        return None
    known = ~(~there @ (found.T != 0))
    residual = np.where(there, Z, 0.0) @ found.T
    constants = np.array([np.median(own[seen]) for own, seen in zip(residual.T, known.T, strict=True)])
    tolerance = np.abs(found) @ rounding
    coefficients = np.zeros((len(found), d))
    coefficients[:, columns] = found / units.scale
    return Relations(
        coefficients,
        constants + (found / units.scale) @ units.shift,
        tolerance,
        columns[np.array(dependent)],
    )


def _nearest(slopes, there):
    """Features with the largest slopes, as many as enough rows have all of."""
    order = np.argsort(-slopes, kind="stable")
    together = np.logical_and.accumulate(there[:, order], axis=1).sum(axis=0)
    worth = (slopes[order] > SHARE) & (together >= np.arange(1, len(order) + 1) + MORE_ROWS)
    return np.sort(order[np.logical_and.accumulate(worth)])


def _of_set(Z, there, own, rounding):
    """Relations among some of the features, each with a feature that it gives by the others."""
    rows = there[:, own].all(axis=1)
    if len(own) < 2 or rows.sum() < len(own) + MORE_ROWS:
        return
    centred = Z[np.ix_(rows, own)]
    centred = centred - centred.mean(axis=0)
    nothing = np.sqrt(len(centred)) * rounding[own].max() * np.sqrt(len(own))
    if _all_longer(centred, nothing):
        return
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    null = axes[size <= nothing]
    if not len(null):
        return
    pivots = qr(null, mode="r", pivoting=True)[1][: len(null)]
    for relation, pivot in zip(np.linalg.solve(null[:, pivots], null), pivots, strict=True):
        involved = np.flatnonzero(np.abs(relation) > NO_SHARE)
        support = own[involved]
        if len(support) < 2:
            continue
        whole = np.zeros(Z.shape[1])
        whole[support] = relation[involved]
        known = there[:, support].all(axis=1)
        seen = Z[np.ix_(known, support)]
        residual = seen @ relation[involved]
        n_distinct = len(np.unique(seen, axis=0))
        enough = len(support) + (MORE_ROWS if n_distinct > len(support) + MORE_ROWS else MORE_TIES)
        if len(seen) >= enough and np.ptp(residual) <= 2 * np.abs(whole) @ rounding:
            yield whole, own[pivot]


def _all_longer(centred, nothing):
    """Whether all singular values are plainly larger, told by what is much faster than to find them."""
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] -= 4 * nothing**2 + 1e-12 * np.trace(gram)
    try:
        np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return False
    return True


def condition(X, values, relations, covariance, scale, columns):
    """Means, or draws, of missing entries given the relations too, and what is left of deviations.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        NaN where an entry is missing.
    values : ndarray of shape (cells,)
        For the missing entries of ``columns``, row by row.
    relations : Relations
    covariance : ndarray of shape (d', d')
        Of the features of these columns, positive definite.
    scale : ndarray of shape (d',)
        Units of these features in which they have a variance of about 1.

    Returns
    -------
    values, shares : ndarray of shape (cells,)
    """
    part = X[:, columns].astype(np.float64)
    missing = np.isnan(part)
    filled = part.copy()
    filled[missing] = values
    shares = np.ones(part.shape)
    coefficients = relations.coefficients[:, columns]
    precision = np.linalg.inv(covariance / np.outer(scale, scale))
    order, bounds = group_columns(missing.T)
    for start, stop in pairwise(bounds.tolist()):
        rows = order[start:stop]
        gone = np.flatnonzero(missing[rows[0]])
        involved = np.flatnonzero((coefficients[:, gone] != 0).any(axis=1))
        if not len(involved):
            continue
        own = np.linalg.inv(precision[np.ix_(gone, gone)])
        slopes = coefficients[np.ix_(involved, gone)] * scale[gone]
        gain = own @ slopes.T @ np.linalg.pinv(slopes @ own @ slopes.T, rcond=1e-11, hermitian=True)
        for _ in range(3):  # what rounding has left the first time
            off = relations.constants[involved] - filled[rows] @ coefficients[involved].T
            filled[np.ix_(rows, gone)] += (off @ gain.T) * scale[gone]
        left = 1 - np.einsum("ci,ic->c", gain, slopes @ own) / np.diag(own)
        shares[np.ix_(rows, gone)] = np.sqrt(np.where(left > NO_SHARE, left, 0.0))
    return filled[missing], shares[missing]
