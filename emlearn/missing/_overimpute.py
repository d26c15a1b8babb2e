"""How well imputation restores what was observed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state

from emlearn._input.mixed_table import MixedTable, find_categories
from emlearn._input.tables import as_numpy
from emlearn._typing import RandomState
from emlearn._warn import warn
from emlearn.missing._ampute import with_gaps
from emlearn.missing._patterns import _count, _read


class Overimputed(NamedTuple):
    """Observed entries, and what an imputer makes of them where they are hidden; made by `overimpute`.

    Attributes
    ----------
    rows, columns : ndarray of int of shape (m,)
        Where the m observed entries are, row by row.
    observed : ndarray of shape (m,)
        Their values; of categories codes, which ``categories`` explains.
    imputed : ndarray of shape (m,)
        What is imputed in their place.
    lower, upper : ndarray of shape (m,)
        Limits of the intervals; NaN for categories without order.
    nominal : float
        Share of the entries that the intervals should hold.
    feature_names : list of d str
        Names of the features; "x0", "x1", ... where X has none.
    categories : dict of int -> ndarray
        Levels of each feature that holds categories, by code.
    coverage : float
        Share of the entries that they do hold, of those that have one.
    rmse : ndarray of shape (d,)
        Root mean square of ``imputed - observed`` of each feature, in its units; NaN for categories.
    accuracy : ndarray of shape (d,)
        Share of the entries of each feature of categories that are imputed right; NaN for numbers.
    """

    rows: NDArray[np.intp]  # (m,)
    columns: NDArray[np.intp]  # (m,)
    observed: NDArray[Any]  # (m,)
    imputed: NDArray[Any]  # (m,)
    lower: NDArray[Any]  # (m,)
    upper: NDArray[Any]  # (m,)
    nominal: float
    feature_names: list[str]
    categories: Mapping[int, NDArray[Any]] = MappingProxyType({})

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which entries their intervals hold, (m,)."""
        return (self.lower <= self.observed) & (self.observed <= self.upper)

    @property
    def coverage(self) -> float:
        """Share of the entries that their intervals hold."""
        return float(self.inside[~np.isnan(self.lower)].mean())

    @property
    def rmse(self) -> NDArray[np.float64]:
        """Root mean square error of each feature, in its units, (d,)."""
        return np.sqrt(self._mean((self.imputed - self.observed) ** 2, of_categories=False))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of the entries of each feature of categories that are imputed right, (d,)."""
        return self._mean(self.imputed == self.observed, of_categories=True)

    def _mean(self, values, of_categories):
        """Mean of each feature of categories, or of the others, (d,); NaN elsewhere."""
        d = len(self.feature_names)
        mean = np.bincount(self.columns, values, minlength=d) / np.bincount(self.columns, minlength=d)
        return np.where(np.isin(np.arange(d), list(self.categories)) == of_categories, mean, np.nan)

    def __repr__(self):
        def listed(values):
            pairs = zip(self.feature_names, values, strict=True)
            return ", ".join(f"{name}: {value:.4g}" for name, value in pairs if not np.isnan(value))

        n = np.count_nonzero(~np.isnan(self.lower))
        parts = [f"rmse {listed(self.rmse)}"] if listed(self.rmse) else []
        parts += [f"accuracy {listed(self.accuracy)}"] if self.categories else []
        if n:
            share = f"{self.coverage:.1%} of {_count(n, 'entry', 'entries')}"
            parts.insert(0, f"{share} in their {self.nominal:.0%} intervals")
        return f"<Overimputed: {'; '.join(parts)}>"


def overimpute(
    imputer: Any,
    X: Any,
    *,
    coverage: float = 0.95,
    n_folds: int = 5,
    sample_weight: ArrayLike | None = None,
    random_state: RandomState = None,
) -> Overimputed:
    """Hide what was observed and impute it, to see how far imputations and their intervals can be trusted.

    Parameters
    ----------
    imputer : estimator
        With ``fit``, ``transform`` and ``predict_interval(X, coverage=...)``, which returns lower and upper
        limits, each (n, d). It is cloned, not fitted.
    X : array-like of shape (n, d)
        Rows are observations; NaN, None, and pandas' NA and NaT are missing entries. The imputer is given an
        array, or a DataFrame if X is one of pandas or polars. Categories are those that `EMImputer` would take.
    coverage : float, default=0.95
        Share of the entries that the intervals should hold, between 0 and 1.
    n_folds : int, default=5
        Number of folds that the observed entries of each column are dealt into at random. Each fold is hidden
        from a fit of its own.
    sample_weight : array-like of shape (n,), default=None
        How often each row counts, passed to ``fit``. The result counts every entry once.
    random_state : int, RandomState instance or None, default=None
        Determines the folds. What is random in the imputer is a matter of its own parameters.

    Returns
    -------
    result : Overimputed
        ``rows``, ``columns``, ``observed``, ``imputed``, ``lower`` and ``upper`` of each observed entry, their
        ``coverage``, and the ``rmse`` of each feature, or its ``accuracy`` if it holds categories.

    Raises
    ------
    ValueError
        If the imputer lacks one of the methods, or marks missing entries by another value than NaN; if X has
        infinite entries, columns that are neither numbers nor categories, or a column with fewer than two
        entries; if ``n_folds`` is less than 2 or more than the observed entries; if ``coverage`` is not between
        0 and 1.

    Warns
    -----
    UserWarning, ConvergenceWarning
        What the fits warn of, of each kind the first, with the number of folds.

    Notes
    -----
    In each fold 1 / ``n_folds`` of the entries are hidden on top of those that are missing, so the errors are
    a little larger than those of the imputer fitted to all of X. With more folds they are less so. They are
    errors at entries that were observed: those at the gaps may be larger if the gaps are not at random.

    References
    ----------
    J. Honaker, G. King and M. Blackwell (2011), Amelia II: a program for missing data, Journal of Statistical
    Software 45 (7), section 4.

    Examples
    --------
    >>> from emlearn import EMImputer
    >>> from emlearn.datasets import load_airquality
    >>> from emlearn.missing import overimpute
    >>> result = overimpute(EMImputer(), load_airquality().data[:, :4], random_state=0)
    >>> result.rmse.shape
    (4,)
    >>> bool(0.9 < result.coverage < 1)
    True
    """
    lacking = [name for name in ("fit", "transform", "predict_interval") if not hasattr(imputer, name)]
    if lacking:
        raise ValueError(
            f"overimpute needs an imputer with fit, transform and predict_interval(X, coverage=...); "
            f"{type(imputer).__name__} has no {' and no '.join(lacking)}."
        )
    marker = getattr(imputer, "missing_values", np.nan)
    if isinstance(marker, (Real, str)) and marker == marker:
        raise ValueError(
            f"missing_values={marker!r}: overimpute hides entries as NaN. Mark what is missing in X as NaN, "
            "and leave missing_values of the imputer at NaN."
        )
    if not (isinstance(coverage, Real) and 0 < coverage < 1):
        raise ValueError(f"coverage={coverage!r} is not between 0 and 1.")
    given = as_numpy(X)
    categories = find_categories(given, getattr(imputer, "categorical", "from_dtype"))
    table = MixedTable([given], categories) if categories else None
    X, names = _read(given if table is None else table.coded(given))
    observed = ~np.isnan(X)
    fold = _deal(observed, names, n_folds, check_random_state(random_state))
    imputed, lower, upper = (np.full(X.shape, np.nan) for _ in range(3))
    fit_params = {} if sample_weight is None else {"sample_weight": sample_weight}
    imputer = clone(imputer)
    for name in ("sample_posterior", "add_indicator"):  # means are asked for, of the features alone
        if name in imputer.get_params():
            imputer.set_params(**{name: False})
    said = []
    for k in range(n_folds):
        hidden = fold == k
        part = with_gaps(given, hidden, X if table is None else None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = clone(imputer).fit(part, **fit_params)
            filled, *limits = fitted.transform(part), *fitted.predict_interval(part, coverage=coverage)
        said += {warning.category: (k, warning) for warning in reversed(caught)}.values()
        if table is not None and np.shape(filled) == X.shape:
            filled = table.coded(as_numpy(filled))
        answers = (np.asarray(answer, dtype=np.float64) for answer in (filled, *limits))
        for target, answer in zip((imputed, lower, upper), answers, strict=True):
            if answer.shape != X.shape:
                raise ValueError(
                    f"{type(imputer).__name__} answers with shape {answer.shape} where X has {X.shape}: it "
                    "must keep the columns of X and add none."
                )
            target[hidden] = answer[hidden]
    _pass_on(said, n_folds)
    rows, columns = np.nonzero(observed)
    values = (array[observed] for array in (X, imputed, lower, upper))
    levels = {} if table is None else table.levels
    return Overimputed(rows, columns, *values, float(coverage), names, levels)


def _pass_on(said, n_folds):
    """Warn of what fits of folds have warned of: pairs (fold, warning), of each fold one of a kind."""
    for category in dict.fromkeys(warning.category for _, warning in said):
        folds = [(fold, warning) for fold, warning in said if warning.category is category]
        fold, first = folds[0]
        warn(f"In {len(folds)} of {n_folds} folds, first in fold {fold}: {first.message}", category)


def _deal(observed, names, n_folds, rng):
    """Number of the fold of each observed entry, -1 for missing ones, (n, d).

    The entries of each column are dealt in turn, so that no fold can take all of a column.
    """
    if not (isinstance(n_folds, Integral) and n_folds >= 2):
        raise ValueError(f"n_folds={n_folds!r}: give 2 or more, or nothing is left to fit.")
    counts = observed.sum(axis=0)
    if counts.sum() < n_folds:
        raise ValueError(f"n_folds={n_folds}, but X has {counts.sum()} observed entries only.")
    if counts.min() < 2:
        j = int(np.argmin(counts))
        raise ValueError(
            f"X has {_count(counts[j], 'observed value')} in column {names[j]!r}: hiding would leave it empty. "
            "Leave this column out."
        )
    fold = np.full(observed.shape, -1)
    dealt = 0
    for j, count in enumerate(counts):
        fold[rng.permutation(np.flatnonzero(observed[:, j])), j] = (dealt + np.arange(count)) % n_folds
        dealt += count
    return fold
