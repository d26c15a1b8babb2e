"""Little's test of whether entries are missing completely at random."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from emlearn.missing._patterns import _patterns_of, _read
from emlearn.mixture import GaussianMixtureEM

SINGULAR = 1e-7  # least eigenvalue of a matrix of correlations that can be told from 0


class LittleTest(NamedTuple):
    """Result of `little_mcar_test`."""

    statistic: float  # d²
    df: int  # degrees of freedom
    pvalue: float
    n_patterns: int  # P, patterns that observe anything


def little_mcar_test(X: Any) -> LittleTest:
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
