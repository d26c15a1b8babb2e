"""Intervals of EMImputer that include what the fit does not know."""

import numpy as np
import pytest
from scipy import stats

from emlearn import EMImputer


def test_complete_rows_by_the_formula():
    """Without gaps at fit, the t distribution of a regression with ridge rows, term by term."""
    rng = np.random.default_rng(0)
    n, d, ridge = 30, 4, 3.0
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * [1.0, 10.0, 0.1, 5.0]
    fitted = EMImputer(ridge=ridge).fit(X)
    row = X[:1] + 0.5
    row[0, 1] = np.nan
    unit = X.std(axis=0)
    covariance, x = fitted.covariance_ / np.outer(unit, unit), ((row[0] - fitted.mean_) / unit)[[0, 2, 3]]
    own = np.ix_([0, 2, 3], [0, 2, 3])
    slopes = np.linalg.solve(covariance[own], covariance[[0, 2, 3], 1])
    variance = covariance[1, 1] - slopes @ covariance[[0, 2, 3], 1]
    y = np.linalg.solve(covariance[own], x)
    noise = 1 - ridge * (1 + slopes @ slopes) / ((n + ridge) * variance)
    leverage = y @ (covariance[own] - ridge / (n + ridge) * np.eye(3)) @ y / (n + ridge)
    scale = np.sqrt((n + ridge) / (n + ridge + 1) * variance * (1 + 1 / n + noise * leverage))
    expected = unit[1] * (slopes @ x + scale * stats.t(n + ridge + 1).ppf([0.05, 0.95])) + fitted.mean_[1]
    limits = np.array(fitted.predict_interval(row, coverage=0.9))[:, 0, 1]
    np.testing.assert_allclose(limits, expected, rtol=1e-6)


def test_rows_without_the_entry_tell_nothing_of_it():
    """A regression on complete columns, the response missing in half of the rows, is that of the other half."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3))
    X[30:, 2] = np.nan
    lost, n = EMImputer(ridge=0.0).fit(X)._lost
    fitted = EMImputer(ridge=0.0).fit(X)
    unit = np.nanstd(X, axis=0)
    covariance = fitted.covariance_ / np.outer(unit, unit)
    residual = np.r_[-np.linalg.solve(covariance[:2, :2], covariance[:2, 2]), 1.0]
    told = n - residual @ lost @ residual / (residual @ covariance @ residual)
    assert told == pytest.approx(30, rel=1e-6)


def test_units_weights_and_pieces_do_not_matter():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4))
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    widths = np.diff(EMImputer(tol=1e-8).fit(X).predict_interval(X), axis=0)[0]
    scale = np.array([1e3, 1.0, 1e-3, 7.0])
    scaled = np.diff(EMImputer(tol=1e-8).fit(X * scale).predict_interval(X * scale), axis=0)[0]
    np.testing.assert_allclose(scaled / scale, widths, rtol=1e-3, atol=1e-9)
    weight = np.full(40, 2.0)
    weighted = EMImputer(tol=1e-8, ridge=1.0).fit(X, sample_weight=weight)
    twice = EMImputer(tol=1e-8, ridge=1.0).fit(np.repeat(X, 2, axis=0))
    np.testing.assert_allclose(weighted.predict_interval(X), twice.predict_interval(X), rtol=1e-4)


SIZES = {(50, 10): 30, (48, 8): 30, (100, 10): 15, (25, 4): 100, (80, 60): 5, (500, 20): 2}


@pytest.mark.slow
@pytest.mark.parametrize(("size", "replications"), SIZES.items(), ids=str)
@pytest.mark.parametrize("kind", ["random", "alike"])
def test_coverage(size, replications, kind):
    """95 % intervals hold 93.5 to 97.5 % of hidden entries, whatever rows per feature."""
    (n, d), inside = size, []
    for seed in range(replications):
        rng = np.random.RandomState(seed)
        if kind == "alike":
            whole = np.sqrt(0.6) * rng.randn(n, 1) + np.sqrt(0.4) * rng.randn(n, d)
        elif d == 60:
            whole = rng.randn(n, 3) @ rng.randn(3, d) + rng.randn(n, d)
        else:
            whole = rng.randn(n, d) @ (rng.randn(d, d) / np.sqrt(d) + 0.5 * np.eye(d))
        gone = rng.uniform(size=whole.shape) < 0.2
        X = np.where(gone, np.nan, whole)
        lower, upper = EMImputer().fit(X).predict_interval(X)
        inside.extend(((lower <= whole) & (whole <= upper))[gone])
    assert 0.935 < np.mean(inside) < 0.975


def test_one_entry_tells_no_interval():
    X = np.random.default_rng(0).normal(size=(20, 3))
    X[1:, 2] = np.nan
    with pytest.warns(UserWarning, match="column 2 constant"):
        fitted = EMImputer(min_value=[-np.inf, -np.inf, -5.0]).fit(X)
    lower, upper = fitted.predict_interval(X)
    assert lower[0, 2] == upper[0, 2] == X[0, 2]
    assert (lower[1:, 2] == -5.0).all()
    assert (upper[1:, 2] == np.inf).all()
