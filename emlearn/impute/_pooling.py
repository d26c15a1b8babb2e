"""Results of many completed data sets in one: Rubin's rules."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from emlearn._input.arrays import read_array
from emlearn._input.columns import find_columns, list_names

SINGULAR = 1e-12  # least eigenvalue of a matrix of correlations that can be told from 0


class PooledWaldTest(NamedTuple):
    """Test of several parameters at once, of `Pooled.wald`."""

    statistic: float  # D1
    df_num: int  # number of parameters
    df_denom: float  # degrees of freedom of the denominator
    pvalue: float
    relative_increase: float  # of the variance, by what is missing; mean over parameters


class _Values(NamedTuple):
    estimate: Any
    standard_error: Any
    df: Any
    within: Any
    between: Any
    relative_increase: Any
    fraction_missing_information: Any
    n_imputations: int


class Pooled(_Values):
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
    within_covariance, between_covariance : ndarray of shape (p, p), or None
        Mean of the covariance matrices, and covariance of the estimates, where covariances are given. They are
        no part of the tuple.
    """

    within_covariance: NDArray[np.float64] | None = None
    between_covariance: NDArray[np.float64] | None = None
    _df_complete: Any = None
    _of_correlations = False

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
            Infinite where `df` is 0. Of correlations by Fisher's z.
        """
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise ValueError(f"coverage={coverage}: give a probability between 0 and 1.")
        with np.errstate(invalid="ignore"):
            quantile = stats.t.ppf(0.5 + 0.5 * coverage, self.df)
            centre, error = self._normal()
            width = np.where(np.isnan(quantile), np.inf, quantile * error)
        limits = centre - width, centre + width
        lower, upper = map(np.tanh, limits) if self._of_correlations else limits
        return _like(self.estimate, lower), _like(self.estimate, upper)

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
        hypothetical = np.asarray(null, dtype=np.float64)
        if self._of_correlations:
            if (np.abs(hypothetical) >= 1).any():
                raise ValueError(f"null={null}: correlations lie between -1 and 1.")
            hypothetical = np.arctanh(hypothetical)
        centre, error = self._normal()
        distance = np.abs(centre - hypothetical)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2.0 * stats.t.sf(distance / error, self.df)
        return _like(self.estimate, np.where((distance == 0) | (np.asarray(self.df) == 0), 1.0, p))

    def wald(self, parameters: Any = None, null: ArrayLike = 0.0) -> PooledWaldTest:
        r"""Test that several parameters have given values at once: Wald's test, pooled (D1).

        Parameters
        ----------
        parameters : int, str, or sequence of them, default=None
            Which parameters, by number or name; all by default.
        null : float or array-like of shape (k,), default=0.0
            Their values by the hypothesis.

        Returns
        -------
        test : PooledWaldTest
            Named tuple of the ``statistic``, its degrees of freedom ``df_num``, k, and ``df_denom``, the
            ``pvalue`` by the F distribution, and the ``relative_increase``.

        Raises
        ------
        ValueError
            If estimates were pooled without covariances, there is no such parameter, or the covariance of these
            is singular.

        Notes
        -----
        With :math:`\bar U` the mean of the covariances and B the covariance of the estimates, of mean
        :math:`\bar Q`, the statistic is
        :math:`(\bar Q - Q_0)^\top ((1 + r) \bar U)^{-1} (\bar Q - Q_0) / k`, where
        :math:`r = (1 + 1/m) \operatorname{tr}(B \bar U^{-1}) / k` supposes that what is missing matters to all
        parameters alike. With `df_complete` the degrees of freedom are Reiter's.

        References
        ----------
        Li, Raghunathan & Rubin (1991), Large-sample significance levels from multiply imputed data using
        moment-based statistics and an F reference distribution, J. Am. Stat. Assoc. 86. Reiter (2007),
        Small-sample degrees of freedom for multi-component significance tests with multiple imputation for
        missing data, Biometrika 94.

        Examples
        --------
        >>> from emlearn import pool
        >>> slopes = [[1.0, 0.2], [1.4, 0.1], [0.8, 0.4]]
        >>> covariances = [[[0.25, 0.1], [0.1, 0.16]], [[0.22, 0.1], [0.1, 0.19]], [[0.24, 0.12], [0.12, 0.15]]]
        >>> test = pool(slopes, covariances=covariances).wald()
        >>> print(f"F({test.df_num}, {test.df_denom:.1f}) = {test.statistic:.2f}, p = {test.pvalue:.3f}")
        F(2, 17.1) = 1.55, p = 0.241
        """
        if self.within_covariance is None or self.between_covariance is None:
            raise ValueError(
                "wald needs the covariances of the estimates: pool(estimates, covariances=...), or pool fitted "
                "results, which have them."
            )
        which = np.arange(np.size(self.estimate))
        if parameters is not None:
            index = getattr(self.estimate, "index", None)
            names = None if index is None else [str(name) for name in index]
            which = find_columns(parameters, names, len(which), "parameters")
        k, m = len(which), self.n_imputations
        try:
            beyond = np.asarray(self.estimate)[which] - np.broadcast_to(np.asarray(null, dtype=np.float64), k)
        except ValueError:
            raise ValueError(f"null has shape {np.shape(null)}, but {k} parameters are tested.") from None
        within, between = (c[np.ix_(which, which)] for c in (self.within_covariance, self.between_covariance))
        spread = np.sqrt(np.diag(within))
        if not spread.all() or np.linalg.eigvalsh(within / np.outer(spread, spread))[0] < SINGULAR:
            raise ValueError("The covariance of these parameters is singular: test fewer of them.")
        increase = (1.0 + 1.0 / m) * np.trace(np.linalg.solve(within, between)) / k
        statistic = beyond @ np.linalg.solve(within, beyond) / (k * (1.0 + increase))
        df = _df_of_wald(k, m, increase, None if self._df_complete is None else np.min(self._df_complete))
        return PooledWaldTest(float(statistic), k, df, float(stats.f.sf(statistic, k, df)), float(increase))

    def to_frame(self, coverage: float = 0.95) -> Any:
        """The results as a table of pandas, a row for each parameter.

        Parameters
        ----------
        coverage : float, default=0.95
            Of the intervals.

        Returns
        -------
        frame : DataFrame of shape (p, 7)
            ``estimate``, ``standard_error``, ``df``, ``pvalue`` (of 0), ``lower`` and ``upper`` limits, and
            ``fraction_missing_information``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas, which is not installed.") from error
        lower, upper = self.interval(coverage)
        columns = {
            "estimate": self.estimate,
            "standard_error": self.standard_error,
            "df": self.df,
            "pvalue": self.pvalue(),
            "lower": lower,
            "upper": upper,
            "fraction_missing_information": self.fraction_missing_information,
        }
        index = getattr(self.estimate, "index", None)
        return pd.DataFrame({name: np.ravel(value) for name, value in columns.items()}, index=index)

    def _normal(self):
        """Estimate and standard error where the distribution is Student's: of correlations, Fisher's z."""
        if not self._of_correlations:
            return self.estimate, self.standard_error
        return np.arctanh(self.estimate), self.standard_error / (1.0 - self.estimate**2)


def pool(
    estimates: Any,
    standard_errors: Any = None,
    df_complete: ArrayLike | None = None,
    *,
    covariances: Any = None,
    n_rows: ArrayLike | None = None,
) -> Pooled:
    r"""Pool the results of the same analysis of m completed data sets, by Rubin's rules.

    Parameters
    ----------
    estimates : array-like of shape (m,) or (m, p...), or list of m fitted results
        One estimate, or array of estimates, for each data set; two at least. Series of pandas are put in the
        order of the first, by their names, which results keep. Fitted results are those of statsmodels, or
        others with ``params`` and ``bse``, and bring all that is needed with them.
    standard_errors : array-like of the same shape, default=None
        Their standard errors, each as if its data set had been complete all along.
    df_complete : float or array-like of shape (p...), default=None
        Degrees of freedom that the analysis has on complete data, such as n - 1 for a mean and n - p for
        regression coefficients. With it the degrees of freedom are those of Barnard & Rubin, which never
        exceed it; None assumes large data, or takes those of fitted results by which these use Student's t.
    covariances : array-like of shape (m, p, p), default=None
        Covariance matrix of each array of p estimates, in place of standard errors; `Pooled.wald` needs them.
    n_rows : float or array-like of shape (p...), default=None
        If estimates are correlations, the number of rows that each was computed from, less the number of
        variables that were held constant: they are pooled by Fisher's z, :math:`\operatorname{artanh} r`, whose
        standard error is :math:`1 / \sqrt{n - 3}`. Standard errors are not needed then.

    Returns
    -------
    pooled : Pooled
        Named tuple of `estimate`, `standard_error`, `df`, `within`, `between`, `relative_increase`,
        `fraction_missing_information` and `n_imputations`, with methods ``interval(coverage)``,
        ``pvalue(null)``, ``wald(parameters, null)`` and ``to_frame()``. Of correlations `within` and `between`
        are variances of Fisher's z.

    Raises
    ------
    ValueError
        If there are fewer than two estimates, or they are those of one fit; if shapes or names differ, anything
        is not finite, a standard error or variance is negative, a covariance is not symmetric, a correlation is
        not between -1 and 1, or `df_complete` is not positive; if errors are given in two ways, or none.

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
    if _is_fitted(estimates):
        raise ValueError(
            f"estimates is one fitted result, a {type(estimates).__name__}: give a list of them, one for each "
            "completed data set."
        )
    if isinstance(estimates, (list, tuple)) and estimates and all(map(_is_fitted, estimates)):
        if standard_errors is not None or covariances is not None or n_rows is not None:
            raise ValueError("Fitted results bring their errors with them: give nothing else but df_complete.")
        estimates, standard_errors, covariances, df_complete = _of_fitted(estimates, df_complete)
    ways = {"standard_errors": standard_errors, "covariances": covariances, "n_rows": n_rows}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        what = f"{' and '.join(given)} are given" if given else "estimates have no errors"
        raise ValueError(f"{what}: give one of {', '.join(ways)}.")
    example = _names_of(estimates)
    estimates = _stack(_in_order(estimates, example), "estimates")
    m = len(estimates)
    if covariances is not None:
        matrices = _stack_covariances(_in_order(covariances, example, of_matrices=True), estimates.shape)
        errors = np.sqrt(matrices.diagonal(axis1=1, axis2=2))
    elif n_rows is not None:
        estimates, errors = _by_fisher(estimates, n_rows)
    else:
        errors = _stack(_in_order(standard_errors, example), "standard_errors")
    if estimates.shape != errors.shape:
        raise ValueError(
            f"estimates have shape {estimates.shape}, but standard_errors {errors.shape}: give one for each."
        )
    if (errors < 0).any():
        raise ValueError(f"standard_errors has {errors[errors < 0][0]:g}: they cannot be negative.")
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
    error = np.sqrt(total)
    if n_rows is not None:
        estimate = np.tanh(estimate)
        error = error * (1.0 - estimate**2)
    values = (estimate, error, df, within, between, increase, fraction)
    pooled = Pooled(*(_like(example, value) for value in values), n_imputations=m)
    pooled._df_complete, pooled._of_correlations = df_complete, n_rows is not None
    if covariances is not None:
        pooled.within_covariance = matrices.mean(axis=0)
        pooled.between_covariance = np.atleast_2d(np.cov(beyond, rowvar=False))
    return pooled


def _is_fitted(result):
    return hasattr(result, "params") and hasattr(result, "bse")


def _of_fitted(results, df_complete):
    """Estimates, standard errors or covariances, and degrees of freedom of fitted results."""
    estimates = [result.params for result in results]
    if df_complete is None and all(getattr(result, "use_t", False) for result in results):
        df_complete = min(result.df_resid for result in results)
    if np.ndim(estimates[0]) == 1 and all(hasattr(result, "cov_params") for result in results):
        return estimates, None, [result.cov_params() for result in results], df_complete
    return estimates, [result.bse for result in results], None, df_complete


def _names_of(values):
    """A Series with the names of the estimates; None where they have none."""
    if hasattr(values, "iloc"):
        if np.ndim(values) == 2:  # a row for each data set
            return values.iloc[0]
        if not all(isinstance(label, (int, np.integer)) for label in values.index):
            listed = list_names(list(values.index))
            raise ValueError(
                f"estimates is one Series of named parameters, {listed}, as of one fit: "
                "give a list of them, one for each completed data set. Where these are estimates of one "
                "parameter, give their to_numpy()."
            )
        return None
    if isinstance(values, (list, tuple)) and values and all(hasattr(value, "iloc") for value in values):
        return values[0] if np.ndim(values[0]) == 1 else None
    return None


def _in_order(values, example, of_matrices=False):
    """Series of a list, or columns of a frame, in the order of names that another Series has."""
    if example is None:
        return values
    names = example.index

    def sorted_out(value, axes):
        if not hasattr(value, "iloc"):
            return value
        for axis in axes:
            own = value.axes[axis]
            if len(own) != len(names) or set(own) != set(names):
                raise ValueError(
                    f"Parameters differ in their names: {list_names(list(own))} and {list_names(list(names))}."
                )
            value = value.reindex(names, axis=axis) if own.is_unique else value
        return value

    if hasattr(values, "iloc"):
        return sorted_out(values, [1])
    return [sorted_out(value, [0, 1] if of_matrices else [0]) for value in values]


def _stack_covariances(covariances, shape):
    """Covariance matrices of m analyses, (m, p, p)."""
    matrices = _stack(covariances, "covariances")
    if len(shape) != 2:
        raise ValueError(f"covariances are of vectors of estimates, (m, p), but estimates have shape {shape}.")
    expected = (*shape, shape[1])
    if matrices.shape != expected:
        raise ValueError(f"covariances have shape {matrices.shape}; expected {expected}, a matrix for each.")
    variances = matrices.diagonal(axis1=1, axis2=2)
    if (variances < 0).any():
        raise ValueError(f"covariances has a variance of {variances[variances < 0][0]:g}: negative.")
    if not np.allclose(matrices, matrices.transpose(0, 2, 1), rtol=1e-6, atol=1e-9 * np.abs(matrices).max()):
        raise ValueError("covariances holds a matrix that is not symmetric.")
    return matrices


def _by_fisher(correlations, n_rows):
    """Fisher's z of correlations, and their standard errors."""
    beyond = correlations[np.abs(correlations) >= 1]
    if beyond.size:
        raise ValueError(f"estimates has {beyond[0]:g}, which is no correlation between -1 and 1.")
    n_rows = read_array("n_rows", n_rows, shapes=[(), correlations.shape[1:]], finite=True)
    if (n_rows <= 3).any():
        raise ValueError(f"n_rows={n_rows.min():g}: the error of a correlation needs more than 3 rows.")
    return np.arctanh(correlations), np.broadcast_to(1.0 / np.sqrt(n_rows - 3.0), correlations.shape)


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


def _df_of_wald(k, m, increase, df_complete):
    """Degrees of freedom of the denominator of D1, for k parameters of m analyses."""
    t = k * (m - 1)
    if df_complete is None or np.isinf(df_complete):
        if increase == 0:
            return np.inf
        if t > 4:
            return float(4 + (t - 4) * (1 + (1 - 2 / t) / increase) ** 2)
        return float(0.5 * t * (1 + 1 / k) * (1 + 1 / increase) ** 2)
    complete = df_complete * (df_complete + 1) / (df_complete + 3)
    if t <= 4:  # where Reiter's are not defined; at most those of complete data
        return float(min(complete, _df_of_wald(k, m, increase, None)))
    a = increase * t / (t - 2)
    rest = complete - 4 * (1 + a)
    if rest <= 0:
        return float(min(complete, _df_of_wald(k, m, increase, None), 4.0))
    share = a**2 * (complete - 2 * (1 + a)) / ((1 + a) ** 2 * rest)
    return float(4 + 1 / (1 / rest + share / (t - 4)))


def _like(example, value):
    """Values as a Series with the names of another, a float in place of an array without dimensions."""
    if hasattr(example, "iloc"):
        return type(example)(np.asarray(value), index=example.index)
    return float(value) if np.ndim(value) == 0 else value
