"""Results of many completed data sets in one: Rubin's rules."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from emlearn._input.arrays import read_array


class Pooled(NamedTuple):
    """What m completed data sets say of a quantity, or of an array of them, of shape (p...).

    Attributes
    ----------
    estimate : float or ndarray of shape (p...)
        Mean of the estimates.
    standard_error : float or ndarray of shape (p...)
        Standard error of that mean, with the uncertainty of what is missing.
    df : float or ndarray of shape (p...)
        Degrees of freedom of its t distribution; infinite where all estimates are equal.
    within : float or ndarray of shape (p...)
        Mean of the squared standard errors, W.
    between : float or ndarray of shape (p...)
        Variance of the estimates, B.
    relative_increase : float or ndarray of shape (p...)
        r = (1 + 1/m) B / W, by which what is missing raises the variance; 0 where B = 0.
    fraction_missing_information : float or ndarray of shape (p...)
        Share of the information on the quantity that is missing, (r + 2 / (df + 3)) / (r + 1).
    n_imputations : int
        Number of completed data sets, m.
    """

    estimate: float | NDArray[np.float64]
    standard_error: float | NDArray[np.float64]
    df: float | NDArray[np.float64]
    within: float | NDArray[np.float64]
    between: float | NDArray[np.float64]
    relative_increase: float | NDArray[np.float64]
    fraction_missing_information: float | NDArray[np.float64]
    n_imputations: int

    def interval(
        self, coverage: float = 0.95
    ) -> tuple[float | NDArray[np.float64], float | NDArray[np.float64]]:
        """Confidence interval by Student's t distribution.

        Parameters
        ----------
        coverage : float, default=0.95
            Probability between 0 and 1; as much is left out on either side.

        Returns
        -------
        lower, upper : float or ndarray of shape (p...)
            Infinite where `df` is 0.
        """
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise ValueError(f"coverage={coverage}: give a probability between 0 and 1.")
        with np.errstate(invalid="ignore"):
            quantile = stats.t.ppf(0.5 + 0.5 * coverage, self.df)
            width = np.where(np.isnan(quantile), np.inf, quantile * self.standard_error)
        return _plain(self.estimate - width), _plain(self.estimate + width)

    def pvalue(self, null: ArrayLike = 0.0) -> float | NDArray[np.float64]:
        """Two-sided p-value of the hypothesis that the quantity is `null`, by Student's t distribution.

        Parameters
        ----------
        null : float or array-like of shape (p...), default=0.0
            Hypothetical value.

        Returns
        -------
        pvalue : float or ndarray of shape (p...)
            1 where `df` is 0, or the estimate is `null` itself.
        """
        distance = np.abs(self.estimate - np.asarray(null, dtype=np.float64))
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2.0 * stats.t.sf(distance / self.standard_error, self.df)
        return _plain(np.where((distance == 0) | (np.asarray(self.df) == 0), 1.0, p))


def pool(estimates: ArrayLike, standard_errors: ArrayLike, df_complete: ArrayLike | None = None) -> Pooled:
    r"""Pool the results of the same analysis of m completed data sets, by Rubin's rules.

    Parameters
    ----------
    estimates : array-like of shape (m,) or (m, p...)
        One estimate, or array of estimates, for each data set; two at least.
    standard_errors : array-like of the same shape
        Their standard errors, each as if its data set had been complete all along.
    df_complete : float or array-like of shape (p...), default=None
        Degrees of freedom that the analysis has on complete data, such as n - 1 for a mean and n - p for
        regression coefficients. With it the degrees of freedom are those of Barnard & Rubin, which never
        exceed it; None assumes large data.

    Returns
    -------
    pooled : Pooled
        Named tuple of `estimate`, `standard_error`, `df`, `within`, `between`, `relative_increase`,
        `fraction_missing_information` and `n_imputations`, with methods ``interval(coverage)`` and
        ``pvalue(null)``.

    Raises
    ------
    ValueError
        If there are fewer than two estimates, shapes differ, anything is not finite, a standard error is
        negative, or `df_complete` is not positive.

    See Also
    --------
    EMImputer.sample : Completes data many times.

    Notes
    -----
    With W the mean squared standard error and B the variance of the estimates, the squared standard error
    of their mean is T = W + (1 + 1/m) B, the last term being the share :math:`\gamma` of it. Degrees of
    freedom are :math:`\nu_m = (m - 1) / \gamma^2`, which is Rubin's :math:`(m - 1) (1 + 1/r)^2`. With
    `df_complete`, :math:`\nu`, they are :math:`1 / (1/\nu_m + 1/\nu_{obs})` where
    :math:`\nu_{obs} = \nu (\nu + 1) / (\nu + 3) \cdot (1 - \gamma)`: zero where all of T is due to what
    is missing.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys, Wiley. Barnard & Rubin (1999),
    Small-sample degrees of freedom with multiple imputation, Biometrika 86.

    Examples
    --------
    >>> from emlearn import pool
    >>> pooled = pool([1.0, 1.4, 0.7, 1.2, 0.9], [0.50, 0.55, 0.48, 0.52, 0.51], df_complete=27)
    >>> print(f"{pooled.estimate:.2f} +- {pooled.standard_error:.3f}, df {pooled.df:.1f}")
    1.04 +- 0.592, df 14.6
    >>> print("{:.2f} to {:.2f}".format(*pooled.interval()))
    -0.22 to 2.30
    """
    estimates = _stack(estimates, "estimates")
    errors = _stack(standard_errors, "standard_errors")
    if estimates.shape != errors.shape:
        raise ValueError(
            f"estimates have shape {estimates.shape}, but standard_errors {errors.shape}: give one for each."
        )
    if (errors < 0).any():
        raise ValueError(f"standard_errors has {errors[errors < 0][0]:g}: they cannot be negative.")
    m = len(estimates)
    # About the first, so that the variance of equal estimates is 0 to the last digit.
    beyond = estimates - estimates[0]
    estimate = estimates[0] + beyond.mean(axis=0)
    between = beyond.var(axis=0, ddof=1)
    within = np.mean(errors**2, axis=0)
    due = (1.0 + 1.0 / m) * between  # to what is missing
    total = within + due
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        increase = np.where(due > 0, due / within, 0.0)
        share = np.where(due > 0, due / total, 0.0)
        df = np.where(share > 0, (m - 1) / share**2, np.inf)
    if df_complete is not None:
        df = _barnard_rubin(df, share, df_complete)
    fraction = share + (1.0 - share) * 2.0 / (df + 3.0)
    values = (estimate, np.sqrt(total), df, within, between, increase, fraction)
    return Pooled(*map(_plain, values), n_imputations=m)


def _stack(values, name):
    """Values of m analyses as an array of finite floats, (m, p...)."""
    values = list(values) if np.iterable(values) and not hasattr(values, "shape") else values
    stacked = read_array(name, values, finite=True)
    if stacked.ndim == 0 or len(stacked) < 2:
        raise ValueError(f"{name} has shape {stacked.shape}: at least two imputations are needed to pool.")
    return stacked


def _barnard_rubin(df, share, df_complete):
    """Degrees of freedom that heed those of complete data; `df` are Rubin's, `share` is gamma."""
    complete = np.asarray(df_complete, dtype=np.float64)
    if not (complete > 0).all():
        raise ValueError(f"df_complete={df_complete}: degrees of freedom must be positive.")
    try:
        complete = np.broadcast_to(complete, df.shape)
    except ValueError:
        raise ValueError(
            f"df_complete has shape {complete.shape}, but one estimate {df.shape}: give a number, or one for "
            "each."
        ) from None
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = complete * (1.0 - 2.0 / (complete + 3.0)) * (1.0 - share)
        observed = np.where(np.isinf(complete), np.inf, observed)
        return 1.0 / (1.0 / df + 1.0 / observed)


def _plain(value):
    """A float in place of an array without dimensions."""
    return float(value) if np.ndim(value) == 0 else value
