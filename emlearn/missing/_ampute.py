"""Gaps made on purpose, to see what imputation makes of them."""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special
from sklearn.utils import check_random_state

from emlearn._input.columns import find_columns
from emlearn._input.tables import as_numpy, is_frame, like
from emlearn._typing import RandomState
from emlearn.missing._patterns import _read_any

MECHANISMS = ("mcar", "mar", "mnar")
SLOPE = 2.0  # of the log-odds of a gap, per standard deviation of what it depends on


def ampute(
    X: Any,
    mechanism: Literal["mcar", "mar", "mnar"] = "mcar",
    proportion: float = 0.2,
    *,
    columns: ArrayLike | None = None,
    random_state: RandomState = None,
) -> Any:
    r"""Remove entries by a known mechanism, to try out methods for missing data.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows are observations, d > 1. Entries that are missing already stay missing. Columns may hold anything:
        numbers, texts, categories, dates.
    mechanism : {"mcar", "mar", "mnar"}, default="mcar"
        What the probability of a gap depends on. "mcar", missing completely at random: on nothing. "mar",
        missing at random: on the columns of numbers that stay complete, all those not in ``columns``. "mnar",
        missing not at random: on the value itself that is removed, a number.
    proportion : float, default=0.2
        Share of the entries of ``columns`` to remove, between 0 and 1; the mean of the probabilities.
    columns : int, str, or sequence of them, default=None
        Columns that lose entries, by number or name. By default all; for "mar" the last half of them,
        rounded down, but at least one; for "mnar" those of numbers.
    random_state : int, RandomState instance or None, default=None
        Determines which entries are removed.

    Returns
    -------
    X : ndarray of float64 of shape (n, d)
        A copy with NaN in the new gaps. A DataFrame of pandas or polars if X is one. Of a table that holds
        other things than numbers an array of objects, or a frame with the types of its columns where these
        have gaps.

    Raises
    ------
    ValueError
        If X has infinite entries, or one column only; if there is no such mechanism or column; if
        ``proportion`` is not between 0 and 1; if "mar" leaves no column of numbers complete, or "mnar" is to
        remove what is no number.

    Notes
    -----
    For "mar" and "mnar" the probability of a gap is :math:`1 / (1 + e^{-(a + 2 z)})`. For "mnar" z is the
    standardised value of the entry. For "mar" it is the sum of the standardised columns that stay complete,
    standardised again, where an entry that was missing before counts as the mean. So larger values make gaps
    more probable: a standard deviation multiplies their odds by :math:`e^2 \approx 7.4`. For each column a
    is such that the mean probability of its entries is ``proportion``. Given these probabilities the entries
    are removed independently.

    A row is never left without any entry: where all would be gone, one of those just removed, drawn at random,
    is put back. So with a large ``proportion`` of few columns less is missing.

    References
    ----------
    D. B. Rubin (1976), Inference and missing data, Biometrika 63, 581-592. R. M. Schouten, P. Lugtig and
    G. Vink (2018), Generating missing values for simulation purposes: a multivariate amputation procedure,
    Journal of Statistical Computation and Simulation 88, 2909-2930.

    Examples
    --------
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.missing import ampute, missing_patterns
    >>> X = load_old_faithful().data
    >>> missing_patterns(ampute(X, "mar", 0.3, random_state=0))
    272 rows, 2 patterns, 87 of 544 entries missing (16.0%)
    rows  x0  x1
     185   .   .
      87   .  NA
           0  87  missing
    """
    given = X
    X, observed, is_number, names = _read_any(X)
    n, d = X.shape
    if mechanism not in MECHANISMS:
        raise ValueError(f"mechanism={mechanism!r} is not one of {list(MECHANISMS)}.")
    if not (isinstance(proportion, Real) and 0 < proportion < 1):
        raise ValueError(f"proportion={proportion!r} is not between 0 and 1.")
    if d < 2:
        raise ValueError(f"X has one column only, {names[0]!r}: a row with a gap would have no entry left.")
    if columns is None:
        columns = np.arange(d - max(1, d // 2), d) if mechanism == "mar" else np.arange(d)
        columns = columns[is_number] if mechanism == "mnar" else columns
    else:
        columns = np.sort(find_columns(columns, names, d))
    if mechanism == "mnar" and not is_number[columns].all():
        name = names[columns[np.argmin(is_number[columns])]]
        raise ValueError(
            f"mechanism='mnar' depends on the value that is removed, but column {name!r} holds no numbers: "
            "name others in columns, or encode it."
        )
    rng = check_random_state(random_state)
    probability = _gap_probabilities(X, is_number, mechanism, proportion, columns)
    lost = np.zeros((n, d), dtype=bool)
    lost[:, columns] = rng.uniform(size=probability.shape) < probability
    lost &= observed
    # One of the entries that a row lost is put back where nothing else is left.
    bare = np.flatnonzero(lost.any(axis=1) & ~(observed & ~lost).any(axis=1))
    back = np.where(lost[bare], rng.uniform(size=(len(bare), d)), -1.0).argmax(axis=1)
    lost[bare, back] = False
    return with_gaps(given, lost, X if is_number.all() else None)


def with_gaps(given, lost, values=None):
    """A table without the entries that are ``lost`` (n, d); ``values`` are its numbers, if that is all."""
    if values is not None:
        return like(given, np.where(lost, np.nan, values))
    given = as_numpy(given)
    if not is_frame(given):
        out = given.astype(object)
        out[lost] = np.nan
        return out
    if hasattr(given, "iloc"):
        out = given.copy()
        for j in np.flatnonzero(lost.any(axis=0)):
            out.isetitem(j, given.iloc[:, j].mask(lost[:, j]))
        return out
    pl, columns = sys.modules["polars"], []
    for j in np.flatnonzero(lost.any(axis=0)).tolist():
        column = given[:, j]
        columns.append(
            column.zip_with(pl.Series(~lost[:, j]), pl.Series([None] * len(given), dtype=column.dtype))
        )
    return given.with_columns(columns)


def _gap_probabilities(X, is_number, mechanism, proportion, columns):
    """Probability of a gap at each entry of ``columns``, (n, q)."""
    if mechanism == "mcar":
        return np.full((len(X), len(columns)), float(proportion))
    if mechanism == "mnar":
        z = _standardised(X[:, columns])
    else:
        complete = np.setdiff1d(np.arange(X.shape[1]), columns)
        if not len(complete):
            raise ValueError(
                "mechanism='mar' needs a column that stays complete, but columns names all of them: gaps "
                "depend on the others."
            )
        complete = complete[is_number[complete]]
        if not len(complete):
            raise ValueError(
                "mechanism='mar' needs a column of numbers that stays complete, but what is not in columns "
                "holds none: encode one."
            )
        total = _standardised(X[:, complete]).sum(axis=1, keepdims=True)
        z = np.repeat(_standardised(total), len(columns), axis=1)
    for j, column in enumerate(columns):
        present = ~np.isnan(X[:, column]) if is_number[column] else np.ones(len(X), dtype=bool)
        if present.any():
            z[:, j] = special.expit(_intercept(z[present, j], proportion) + SLOPE * z[:, j])
    return z


def _standardised(X):
    """Columns of mean 0 and variance 1, or 0 if they are constant; 0 where an entry is missing."""
    present = ~np.isnan(X)
    n = np.maximum(present.sum(axis=0), 1)
    offset = np.where(present, X - np.where(present, X, 0.0).sum(axis=0) / n, 0.0)
    sd = np.sqrt((offset**2).sum(axis=0) / n)
    tiny = 4 * np.finfo(np.float64).eps * np.abs(np.where(present, X, 0.0)).max(axis=0)
    return np.where(sd > tiny, offset / np.where(sd > tiny, sd, 1.0), 0.0)


def _intercept(z, proportion):
    """The intercept at which the mean probability is ``proportion``."""
    middle, reach = special.logit(proportion), SLOPE * np.abs(z).max() + 1
    return optimize.brentq(
        lambda a: special.expit(a + SLOPE * z).mean() - proportion, middle - reach, middle + reach
    )
