"""Know your gaps: which entries are missing, whether at random, and how well imputation restores them."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state

from emlearn.base import find_bad_entry
from emlearn.families.patterns import group_columns
from emlearn.mixture import GaussianMixtureEM
from emlearn.tables import is_frame, like, only_numbers, shorten

__all__ = [
    "LittleTest",
    "MissingPatterns",
    "Overimputed",
    "ampute",
    "little_mcar_test",
    "missing_patterns",
    "overimpute",
]

MECHANISMS = ("mcar", "mar", "mnar")
SLOPE = 2.0  # of the log-odds of a gap, per standard deviation of what it depends on
SINGULAR = 1e-7  # least eigenvalue of a matrix of correlations that can be told from 0
SHOWN_PATTERNS, SHOWN_WIDTH = 20, 100  # of a table in print


# -- reading -------------------------------------------------------------------------------------------------


def _read(X):
    """Rows as float64, NaN where an entry is missing, and the names of the features ("x0", ... without)."""
    names = [str(name) for name in X.columns] if is_frame(X) else None
    X = check_array(only_numbers(X), dtype=np.float64, ensure_all_finite=False)
    names = _names(X.shape[1]) if names is None else names
    bad = find_bad_entry(X)
    if bad is not None:
        raise ValueError(
            f"X contains infinity in column {names[bad[1]]!r}, row {bad[0]}. Remove or replace it."
        )
    return X, names


def _names(d):
    return [f"x{i}" for i in range(d)]


def _column_numbers(columns, names):
    """Numbers of features from numbers or names."""
    columns = np.atleast_1d(np.asarray(columns)).tolist()
    if not columns:
        raise ValueError("columns names no feature.")
    numbers = []
    for column in columns:
        if isinstance(column, str) and column in names:
            numbers.append(names.index(column))
        elif type(column) is int and -len(names) <= column < len(names):
            numbers.append(column % len(names))
        else:
            raise ValueError(
                f"columns: there is no feature {column!r}; the features are {names}, counted from 0."
            )
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"columns names a feature twice: {columns}.")
    return np.array(numbers)


def _patterns_of(observed):
    """Distinct rows (P, d) of ``observed``, their counts, and which of them each row is."""
    rows, bounds = group_columns(~observed.T)
    patterns, counts = observed[rows[bounds[:-1]]], np.diff(bounds)
    missing = ~patterns
    # The last key counts most: fewest missing, then most rows, then gaps in the later features.
    order = np.lexsort((*missing.T[::-1], -counts, missing.sum(axis=1)))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    which = np.empty_like(rows)
    which[rows] = np.repeat(place, counts)
    return patterns[order], counts[order], which


# -- patterns ------------------------------------------------------------------------------------------------


class MissingPatterns(NamedTuple):
    """Patterns of missing entries, those with the fewest first, then those of the most rows.

    Made by `missing_patterns`. Printed, it is a table: a line for each pattern with its number of rows,
    and below each feature how many of its entries are missing.

    Attributes
    ----------
    observed : ndarray of bool of shape (P, d)
        Which features each pattern has.
    counts : ndarray of int of shape (P,)
        Number of rows of each pattern.
    n_missing : ndarray of int of shape (d,)
        Number of missing entries of each feature.
    feature_names : list of d str
        Names of the features; "x0", "x1", ... where X has none.
    """

    observed: np.ndarray  # (P, d)
    counts: np.ndarray  # (P,)
    n_missing: np.ndarray  # (d,)
    feature_names: list[str]

    def to_frame(self):
        """The patterns as a table of pandas.

        Returns
        -------
        frame : DataFrame of shape (P, d + 2)
            ``n_rows``, a column of bool for each feature (True where it is observed), and ``n_missing``,
            the number of features that the pattern lacks.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> from emlearn.missing import missing_patterns
        >>> missing_patterns([[1.0, None], [2.0, 5.0], [3.0, 6.0]]).to_frame()
           n_rows    x0     x1  n_missing
        0       2  True   True          0
        1       1  True  False          1
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas, which is not installed.") from error
        frame = pd.DataFrame(self.observed, columns=self.feature_names)
        frame.insert(0, "n_rows", self.counts, allow_duplicates=True)
        lacking = np.count_nonzero(~self.observed, axis=1)
        frame.insert(frame.shape[1], "n_missing", lacking, allow_duplicates=True)
        return frame

    def largest(self, n_patterns):
        """Numbers of the patterns of the most rows.

        Parameters
        ----------
        n_patterns : int
            How many, at most.

        Returns
        -------
        numbers : ndarray of int
            In the order of the patterns.
        """
        return np.sort(np.argsort(-self.counts, kind="stable")[:n_patterns])

    def __repr__(self):
        n, P, d = self.counts.sum(), len(self.counts), len(self.feature_names)
        total = self.n_missing.sum()
        head = f"{_count(n, 'row')}, {_count(P, 'pattern')}, {total} of {n * d} entries missing"
        head += f" ({total / (n * d):.1%})" if total else ""
        rows = self.largest(SHOWN_PATTERNS)
        names = [shorten(name, 12) for name in self.feature_names]
        totals = [str(m) for m in self.n_missing]
        widths = np.array([max(len(name), len(m), 2) for name, m in zip(names, totals, strict=True)])
        margin = max(4, len(str(self.counts.max())))
        room = SHOWN_WIDTH - margin - len("  missing")
        # Where not all features fit, those with the most gaps are of interest.
        by_interest = np.argsort(-self.n_missing, kind="stable")
        fitting = np.count_nonzero(np.cumsum(widths[by_interest] + 2) <= room)
        shown = np.sort(by_interest[:fitting])

        def line(lead, cells):
            cells = [f"{cell:>{widths[j]}}" for j, cell in zip(shown, cells, strict=True)]
            return "  ".join([f"{lead:>{margin}}", *cells])

        lines = [head, line("rows", [names[j] for j in shown])]
        lines += [line(self.counts[p], ["." if self.observed[p, j] else "NA" for j in shown]) for p in rows]
        lines.append(line("", self.n_missing[shown]) + "  missing")
        if len(rows) < P:
            left = _count(n - self.counts[rows].sum(), "row")
            lines.append(f"and {_count(P - len(rows), 'other pattern')} of {left}")
        if len(shown) < d:
            lines.append(
                f"and {_count(d - len(shown), 'more feature')}, "
                f"{total - self.n_missing[shown].sum()} of their entries missing"
            )
        return "\n".join(lines)


def _count(number, noun, nouns=None):
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def missing_patterns(X):
    """Which entries are missing together, and in how many rows.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows are observations; NaN, None and pandas' NA are missing entries.

    Returns
    -------
    patterns : MissingPatterns
        ``observed`` (P, d), ``counts`` (P,), ``n_missing`` (d,) and ``feature_names``.

    Raises
    ------
    ValueError
        If X has infinite entries, or columns that are no numbers.

    Examples
    --------
    >>> from emlearn.datasets import load_airquality
    >>> from emlearn.missing import missing_patterns
    >>> airquality = load_airquality(as_frame=True).frame
    >>> missing_patterns(airquality)
    153 rows, 4 patterns, 44 of 918 entries missing (4.8%)
    rows  Ozone  Solar.R  Wind  Temp  Month  Day
     111      .        .     .     .      .    .
      35     NA        .     .     .      .    .
       5      .       NA     .     .      .    .
       2     NA       NA     .     .      .    .
             37        7     0     0      0    0  missing
    """
    X, names = _read(X)
    observed = ~np.isnan(X)
    patterns, counts, _ = _patterns_of(observed)
    return MissingPatterns(patterns, counts, np.count_nonzero(~observed, axis=0), names)


# -- Little's test -------------------------------------------------------------------------------------------


class LittleTest(NamedTuple):
    """Result of `little_mcar_test`."""

    statistic: float  # d²
    df: int  # degrees of freedom
    pvalue: float
    n_patterns: int  # P, patterns that observe anything


def little_mcar_test(X):
    r"""Little's test of whether entries are missing completely at random (MCAR).

    A small p-value speaks against MCAR: the means of what is observed differ between patterns of missing
    entries by more than chance explains. A large one does not prove it. Nor can any test tell from the
    data alone whether gaps depend on the very values that they hide.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows are observations; NaN, None and pandas' NA are missing entries. Rows without any entry are
        left out.

    Returns
    -------
    test : LittleTest
        ``statistic``, its degrees of freedom ``df``, the ``pvalue``, and the number of patterns
        ``n_patterns``.

    Raises
    ------
    ValueError
        If X has infinite entries or columns that are no numbers; if nothing is missing; if there is one
        column only, one without entries, one that is constant, or two that are never observed together;
        if there are fewer than two patterns; if the covariance matrix is singular.

    Warns
    -----
    ConvergenceWarning
        If the maximum of the likelihood was not reached.

    Notes
    -----
    Of P patterns let pattern p have :math:`n_p` rows, which observe the :math:`d_p` features :math:`o`,
    with mean :math:`\bar x_{p}`. The statistic is

    .. math:: d^2 = \sum_p n_p (\bar x_p - \hat\mu_o)^\top \hat\Sigma_{oo}^{-1} (\bar x_p - \hat\mu_o),

    where :math:`\hat\mu, \hat\Sigma` maximise the normal likelihood of the incomplete rows. Under MCAR it is
    for large n distributed as :math:`\chi^2` with :math:`\sum_p d_p - d` degrees of freedom, whatever the
    distribution of the rows. Patterns of few rows make that a rough approximation.

    :math:`\hat\Sigma` is the maximum-likelihood estimate (divisor n, not n - 1). Some programs use the
    unbiased one of complete data, which makes the statistic smaller by the factor (n - 1) / n.

    References
    ----------
    R. J. A. Little (1988), A test of missing completely at random for multivariate data with missing values,
    Journal of the American Statistical Association 83, 1198-1202.

    Examples
    --------
    >>> from emlearn.datasets import load_airquality
    >>> from emlearn.missing import little_mcar_test
    >>> test = little_mcar_test(load_airquality().data)
    >>> print(f"chi2({test.df}) = {test.statistic:.4f}, p = {test.pvalue:.5f}")
    chi2(14) = 35.1062, p = 0.00142
    """
    X, names = _read(X)
    observed = ~np.isnan(X)
    _refuse_untestable(X, observed, names)
    rows = observed.any(axis=1)
    X, observed = X[rows], observed[rows]
    patterns, counts, which = _patterns_of(observed)
    if len(patterns) < 2:
        raise ValueError(
            "X has one pattern of missing entries, besides rows without any entry: there is nothing to compare."
        )
    _refuse_strangers(patterns, names)
    # The test does not depend on the units; standardised columns are safest in floating point.
    X = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0)
    mean, covariance = _normal_fit(X, names)
    totals = np.zeros(patterns.shape)
    np.add.at(totals, which, np.where(observed, X, 0.0))
    statistic = 0.0
    for o, n_p, total in zip(patterns, counts, totals, strict=True):
        offset = total[o] / n_p - mean[o]
        statistic += n_p * offset @ np.linalg.solve(covariance[np.ix_(o, o)], offset)
    df = int(patterns.sum()) - X.shape[1]
    return LittleTest(float(statistic), df, float(stats.chi2.sf(statistic, df)), len(patterns))


def _refuse_untestable(X, observed, names):
    if X.shape[1] < 2:
        raise ValueError(f"X has one column only, {names[0]!r}: Little's test compares patterns of several.")
    empty = ~observed.any(axis=0)
    if empty.any():
        name = names[np.argmax(empty)]
        raise ValueError(f"X has nothing but missing entries in column {name!r}: leave it out.")
    if observed.all():
        raise ValueError("X has no missing entries: there is nothing to test.")
    spread = np.nanmax(X, axis=0) - np.nanmin(X, axis=0)
    constant = spread <= 4 * np.finfo(np.float64).eps * np.nanmax(np.abs(X), axis=0)
    if constant.any():
        raise ValueError(f"X is constant in column {names[np.argmax(constant)]!r}: leave it out.")


def _refuse_strangers(patterns, names):
    """Refuse pairs of features that no row has both of: the likelihood says nothing of their correlation."""
    together = patterns.T.astype(np.int64) @ patterns
    if (together == 0).any():
        i, j = np.argwhere(together == 0)[0]
        raise ValueError(
            f"X has no row with both {names[i]!r} and {names[j]!r}: their covariance cannot be estimated. "
            "Leave one of them out."
        )


def _normal_fit(X, names):
    """Maximum-likelihood mean and covariance of incomplete rows."""
    normal = GaussianMixtureEM(1, tol=1e-12, max_iter=10_000, reg_covar=1e-9, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        normal.fit(X)
    covariance = normal.covariances_[0]
    sd = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    if values[0] < SINGULAR:
        weight = np.abs(vectors[:, 0])
        involved = [names[j] for j in np.flatnonzero(weight > 0.05 * weight.max())]
        raise ValueError(
            f"The covariance matrix of X is singular: columns {involved} depend on one another linearly, or X "
            f"has too few rows, {len(X)}, for {len(names)} columns. Leave columns out."
        )
    if not normal.converged_:
        warnings.warn(
            f"EM stopped after {normal.n_iter_} iterations, short of the maximum of the likelihood by a "
            f"projected {normal.gap_:.3g} nats: the statistic is approximate.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return normal.means_[0], covariance


# -- amputation ----------------------------------------------------------------------------------------------


def ampute(X, mechanism="mcar", proportion=0.2, *, columns=None, random_state=None):
    r"""Remove entries by a known mechanism, to try out methods for missing data.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows are observations, d > 1. Entries that are missing already stay missing.
    mechanism : {"mcar", "mar", "mnar"}, default="mcar"
        What the probability of a gap depends on. "mcar", missing completely at random: on nothing. "mar",
        missing at random: on the columns that stay complete, all those not in ``columns``. "mnar", missing
        not at random: on the value itself that is removed.
    proportion : float, default=0.2
        Share of the entries of ``columns`` to remove, between 0 and 1; the mean of the probabilities.
    columns : int, str, or sequence of them, default=None
        Columns that lose entries, by number or name. By default all; for "mar" the last half of them,
        rounded down, but at least one.
    random_state : int, RandomState instance or None, default=None
        Determines which entries are removed.

    Returns
    -------
    X : ndarray of float64 of shape (n, d)
        A copy with NaN in the new gaps. A DataFrame of pandas or polars if X is one.

    Raises
    ------
    ValueError
        If X has infinite entries, columns that are no numbers, or one column only; if there is no such
        mechanism or column; if ``proportion`` is not between 0 and 1; if "mar" leaves no column complete.

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
    X, names = _read(X)
    n, d = X.shape
    if mechanism not in MECHANISMS:
        raise ValueError(f"mechanism={mechanism!r} is not one of {list(MECHANISMS)}.")
    if not (isinstance(proportion, Real) and 0 < proportion < 1):
        raise ValueError(f"proportion={proportion!r} is not between 0 and 1.")
    if d < 2:
        raise ValueError(f"X has one column only, {names[0]!r}: a row with a gap would have no entry left.")
    if columns is None:
        columns = np.arange(d - max(1, d // 2), d) if mechanism == "mar" else np.arange(d)
    else:
        columns = np.sort(_column_numbers(columns, names))
    rng = check_random_state(random_state)
    probability = _gap_probabilities(X, mechanism, proportion, columns)
    observed = ~np.isnan(X)
    lost = np.zeros((n, d), dtype=bool)
    lost[:, columns] = rng.uniform(size=probability.shape) < probability
    lost &= observed
    # One of the entries that a row lost is put back where nothing else is left.
    bare = np.flatnonzero(lost.any(axis=1) & ~(observed & ~lost).any(axis=1))
    back = np.where(lost[bare], rng.uniform(size=(len(bare), d)), -1.0).argmax(axis=1)
    lost[bare, back] = False
    return like(given, np.where(lost, np.nan, X))


def _gap_probabilities(X, mechanism, proportion, columns):
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
        total = _standardised(X[:, complete]).sum(axis=1, keepdims=True)
        z = np.repeat(_standardised(total), len(columns), axis=1)
    for j, column in enumerate(columns):
        present = ~np.isnan(X[:, column])
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


# -- overimputation ------------------------------------------------------------------------------------------


class Overimputed(NamedTuple):
    """Observed entries, and what an imputer makes of them where they are hidden; made by `overimpute`.

    Attributes
    ----------
    rows, columns : ndarray of int of shape (m,)
        Where the m observed entries are, row by row.
    observed : ndarray of shape (m,)
        Their values.
    imputed : ndarray of shape (m,)
        What is imputed in their place.
    lower, upper : ndarray of shape (m,)
        Limits of the intervals.
    nominal : float
        Share of the entries that the intervals should hold.
    feature_names : list of d str
        Names of the features; "x0", "x1", ... where X has none.
    coverage : float
        Share of the entries that they do hold.
    rmse : ndarray of shape (d,)
        Root mean square of ``imputed - observed`` of each feature, in its units.
    """

    rows: np.ndarray  # (m,)
    columns: np.ndarray  # (m,)
    observed: np.ndarray  # (m,)
    imputed: np.ndarray  # (m,)
    lower: np.ndarray  # (m,)
    upper: np.ndarray  # (m,)
    nominal: float
    feature_names: list[str]

    @property
    def inside(self):
        """Which entries their intervals hold, (m,)."""
        return (self.lower <= self.observed) & (self.observed <= self.upper)

    @property
    def coverage(self):
        """Share of the entries that their intervals hold."""
        return float(self.inside.mean())

    @property
    def rmse(self):
        """Root mean square error of each feature, in its units, (d,)."""
        error, d = self.imputed - self.observed, len(self.feature_names)
        total = np.bincount(self.columns, error**2, minlength=d)
        return np.sqrt(total / np.bincount(self.columns, minlength=d))

    def __repr__(self):
        errors = ", ".join(f"{n}: {e:.4g}" for n, e in zip(self.feature_names, self.rmse, strict=True))
        return (
            f"<Overimputed: {self.coverage:.1%} of {_count(len(self.observed), 'entry', 'entries')} "
            f"in their {self.nominal:.0%} intervals; rmse {errors}>"
        )


def overimpute(imputer, X, *, coverage=0.95, n_folds=5, sample_weight=None, random_state=None):
    """Hide what was observed and impute it, to see how far imputations and their intervals can be trusted.

    Parameters
    ----------
    imputer : estimator
        With ``fit``, ``transform`` and ``predict_interval(X, coverage=...)``, which returns lower and upper
        limits, each (n, d). It is cloned, not fitted.
    X : array-like of shape (n, d)
        Rows are observations; NaN, None and pandas' NA are missing entries. The imputer is given an array,
        or a DataFrame if X is one of pandas or polars.
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
        ``coverage``, and the ``rmse`` of each feature.

    Raises
    ------
    ValueError
        If the imputer lacks one of the methods, or marks missing entries by another value than NaN; if X has
        infinite entries, columns that are no numbers, or a column with fewer than two entries; if ``n_folds``
        is less than 2 or more than the observed entries; if ``coverage`` is not between 0 and 1.

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
    given = X
    X, names = _read(X)
    observed = ~np.isnan(X)
    fold = _deal(observed, names, n_folds, check_random_state(random_state))
    imputed, lower, upper = (np.full(X.shape, np.nan) for _ in range(3))
    fit_params = {} if sample_weight is None else {"sample_weight": sample_weight}
    imputer = clone(imputer)
    if "sample_posterior" in imputer.get_params():  # means are asked for, not draws
        imputer.set_params(sample_posterior=False)
    for k in range(n_folds):
        hidden = fold == k
        part = like(given, np.where(hidden, np.nan, X))
        fitted = clone(imputer).fit(part, **fit_params)
        answers = fitted.transform(part), *fitted.predict_interval(part, coverage=coverage)
        for target, answer in zip((imputed, lower, upper), map(np.asarray, answers), strict=True):
            if answer.shape != X.shape:
                raise ValueError(
                    f"{type(imputer).__name__} answers with shape {answer.shape} where X has {X.shape}: it "
                    "must keep the columns of X and add none."
                )
            target[hidden] = answer[hidden]
    rows, columns = np.nonzero(observed)
    values = (array[observed] for array in (X, imputed, lower, upper))
    return Overimputed(rows, columns, *values, float(coverage), names)


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
