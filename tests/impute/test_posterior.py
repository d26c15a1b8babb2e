"""Draws of parameters from their posterior: textbook distributions, exact relations, bad input."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone

from emlearn import EMImputer, pool
from emlearn.impute._draws import redraws
from emlearn.impute._posterior import FORGOTTEN, MOST_STEPS, n_steps, why_not

SURE = 1e-3  # of p-values that are looked at, of fixed seeds


def drawn_parameters(X, n_draws=200, weight=None, **params):
    """Means (m, d) and covariances (m, d, d) that are drawn, and the fit."""
    fitted = EMImputer(tol=1e-8, **params).fit(X, sample_weight=weight)
    make = redraws(fitted, X, weight, "posterior")
    drawn = [make(seed) for seed in range(n_draws)]
    return np.array([one.mean_ for one in drawn]), np.array([one.covariance_ for one in drawn]), fitted


def looks_like(values, distribution):
    return stats.kstest(values, distribution.cdf).pvalue > SURE


@pytest.mark.parametrize("ridge", [0.0, 3.0])
def test_one_feature(ridge):
    """The mean has a t distribution, the variance an inverse chi-squared one; rows without it say nothing."""
    rng = np.random.default_rng(0)
    x = 100 + 10 * rng.normal(size=12)
    X = np.r_[x, np.full(8, np.nan)][:, None]
    means, covariances, _ = drawn_parameters(X, ridge=ridge)
    dof = len(x) + ridge + 1 if ridge else len(x) - 1
    scatter = x.var() * (len(x) + ridge)
    assert looks_like(scatter / covariances[:, 0, 0], stats.chi2(dof))
    scale = np.sqrt(scatter / dof / len(x))
    assert looks_like((means[:, 0] - x.mean()) / scale, stats.t(dof))


def test_complete_rows():
    """Normal and inverse Wishart, of any direction, without a chain."""
    rng = np.random.default_rng(0)
    n, ridge = 15, 2.0
    X = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 3)) * [1.0, 100.0, 0.01]
    means, covariances, fitted = drawn_parameters(X, ridge=ridge, covariance_type="tied")
    scatter = fitted.covariance_ * (n + ridge)  # the ridge's share included
    dof = n + ridge + 3
    a = rng.normal(size=3) / X.std(axis=0)
    # The precision is Wishart: along any direction in the metric of the scatter it is chi-squared.
    precisions = np.linalg.inv(covariances)
    b = scatter @ a
    assert looks_like(np.einsum("i,mij,j->m", b, precisions, b) / (a @ scatter @ a), stats.chi2(dof))
    # Of a marginal variance two features are integrated out.
    assert looks_like(a @ scatter @ a / (covariances @ a @ a), stats.chi2(dof - 2))
    off = means - X.mean(axis=0)
    squared = n * np.einsum("mi,mij,mj->m", off, precisions, off)
    assert looks_like(squared, stats.chi2(3))


def test_monotone_gaps():
    """y missing in half of the rows: of x the posterior is that of all, of y given x that of the others."""
    rng = np.random.default_rng(0)
    n, m = 30, 15
    x = rng.normal(size=n)
    y = 2 + 3 * x + rng.normal(size=n)
    X = np.column_stack([x, np.where(np.arange(n) < m, y, np.nan)])
    means, covariances, _ = drawn_parameters(X, ridge=0.0)
    line = stats.linregress(x[:m], y[:m])
    rss = np.sum((y - line.intercept - line.slope * x)[:m] ** 2)
    slopes = covariances[:, 0, 1] / covariances[:, 0, 0]
    residual = covariances[:, 1, 1] - slopes * covariances[:, 0, 1]
    # |Sigma|^(-3/2) is sigma_xx^(-1/2) sigma_yy.x^(-3/2) in terms of the regression.
    assert looks_like(n * x.var() / covariances[:, 0, 0], stats.chi2(n - 2))
    assert looks_like(rss / residual, stats.chi2(m - 1))
    scale = np.sqrt(rss / (m - 1) / (m * x[:m].var()))
    assert looks_like((slopes - line.slope) / scale, stats.t(m - 1))
    assert looks_like((means[:, 0] - x.mean()) / np.sqrt(x.var() / (n - 2)), stats.t(n - 2))


def gappy(n, d, seed=0, share=0.25):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    X[rng.uniform(size=X.shape) < share] = np.nan
    return X


def test_a_row_that_counts_twice_is_two_rows():
    """Weights and repetition give the same distribution, and a row of weight 0 is none."""
    X = gappy(20, 2, share=0.15)
    weight = np.tile([3.0, 0.0, 1.0, 2.0], 5)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    means, covariances, _ = drawn_parameters(X, n_draws=100, weight=weight, ridge=1.0)
    others, spreads, _ = drawn_parameters(repeated, n_draws=100, ridge=1.0)
    for j in range(2):
        for one, other in ((means[:, j], others[:, j]), (covariances[:, j, j], spreads[:, j, j])):
            assert stats.ks_2samp(one, other, method="asymp").pvalue > SURE
        assert means[:, j].std() == pytest.approx(others[:, j].std(), rel=0.3)


def test_units_threads_and_laziness_do_not_matter():
    X = gappy(30, 4)
    fitted = EMImputer(random_state=0, tol=1e-8).fit(X)
    completed = fitted.sample(X, 4, method="posterior")
    for one, other in zip(completed, fitted.sample(X, 4, method="posterior", lazy=True), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(completed, clone(fitted).set_params(n_jobs=2).fit(X).sample(X, 4), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    scale, shift = np.array([1e4, 1.0, 1e-4, 7.0]), np.array([0.0, 1e3, 0.0, -5.0])
    scaled = EMImputer(random_state=0, tol=1e-8).fit(X * scale + shift)
    for one, other in zip(completed, scaled.sample(X * scale + shift, 4), strict=True):
        np.testing.assert_allclose((other - shift) / scale, one, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(completed[0], fitted.sample(X, 1, method="bootstrap")[0])
    assert not np.array_equal(completed[0], fitted.sample(X, 1, random_state=1)[0])


def test_relations_and_categories_are_kept():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(60, 2))
    X = np.column_stack([parts, parts.sum(axis=1), parts[:, 0] + rng.normal(size=60)])
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    for ridge in ("auto", 1e-4):
        for Z in EMImputer(ridge=ridge, random_state=0).fit(X).sample(X, 3, method="posterior"):
            np.testing.assert_allclose(Z[:, 0] + Z[:, 1], Z[:, 2], atol=1e-8)
    group = pd.Categorical.from_codes(rng.integers(-1, 3, size=60), ["a", "b", "c"])
    frame = pd.DataFrame({"x": X[:, 3], "group": group})
    fitted = EMImputer(random_state=0).fit(frame)
    first, second = fitted.sample(frame, 2, method="posterior")
    assert first["group"].dtype == frame["group"].dtype
    assert not first.isna().any(axis=None)
    there = frame["group"].notna()
    assert (first["group"][there] == frame["group"][there]).all()
    assert (first["group"] != second["group"]).any()


def test_rows_of_nothing_and_constants():
    """Rows without entries, and features that do not vary, take no part and are completed."""
    X = np.column_stack([gappy(25, 2), np.full(25, 3.0)])
    X[:3] = np.nan
    with pytest.warns(UserWarning, match="constant"):
        fitted = EMImputer(random_state=0).fit(X)
    (Z,) = fitted.sample(X, 1, method="posterior")
    assert not np.isnan(Z).any()
    np.testing.assert_array_equal(Z[:, 2], 3.0)
    ones = np.ones((5, 2))
    ones[0, 0] = np.nan
    with pytest.warns(UserWarning, match="constant"):
        alone = EMImputer().fit(ones)
    np.testing.assert_array_equal(alone.sample(ones, 1, method="posterior")[0], 1.0)


def test_steps_of_a_chain():
    """So many that hardly anything of the start is left."""
    for rate in (0.1, 0.5, 0.9, 0.97):
        assert rate ** n_steps(rate) <= FORGOTTEN < rate ** (n_steps(rate) - 1)
    assert n_steps(0.0) == 1
    assert n_steps(np.nan) == n_steps(1.0) == MOST_STEPS


def test_where_there_is_none():
    """Named errors where it is asked for, else the bootstrap."""
    X = gappy(40, 3)
    cases = [
        ({"n_components": 2, "n_init": 2}, None, "2 components"),
        ({"covariance_type": "factor", "n_factors": 1}, None, "'factor' is neither"),
        ({"covariance_type": "diag"}, None, "'diag' is neither"),
        ({}, np.full(40, 1.5), "not whole"),
    ]
    for params, weight, reason in cases:
        fitted = EMImputer(random_state=0, **params).fit(X, sample_weight=weight)
        with pytest.raises(ValueError, match=f"{reason}.*Use 'bootstrap'"):
            fitted.sample(X, 2, sample_weight=weight, method="posterior")
        np.testing.assert_array_equal(
            fitted.sample(X, 2, sample_weight=weight),
            fitted.sample(X, 2, sample_weight=weight, method="bootstrap"),
        )
    few = gappy(8, 5, share=0.4)
    fitted = EMImputer(random_state=0, ridge=1e-3).fit(few)
    assert len(fitted.sample(few, 2, method="posterior")) == 2
    with pytest.raises(ValueError, match="method='gibbs' is none of 'auto', 'posterior', 'bootstrap'"):
        fitted.sample(few, 2, method="gibbs")


def test_rows_that_tell_too_little():
    """Without a ridge few rows leave the covariance open; and weights make no more rows than can be drawn."""
    few = gappy(9, 7, share=0.3)
    fitted = EMImputer(random_state=0, ridge=1.0).fit(few)
    assert why_not(fitted, few, None) is None
    bare = EMImputer.from_parameters(np.zeros(7), np.eye(7), ridge=0.0)
    assert "of 7 features, which with ridge=0 is too few" in why_not(bare, few, None)
    assert why_not(bare, gappy(30, 7), None) is None
    assert "so many rows" in why_not(bare, few, np.full(9, 1e6))


def least_squares(Z):
    """Coefficients of the first column on the others, and their standard errors."""
    A, y = np.column_stack([np.ones(len(Z)), Z[:, 1:]]), Z[:, 0]
    inverse = np.linalg.inv(A.T @ A)
    coef = inverse @ A.T @ y
    return coef, np.sqrt(np.sum((y - A @ coef) ** 2) / (len(Z) - A.shape[1]) * np.diag(inverse))


@pytest.mark.slow
def test_pooled_intervals_of_few_rows():
    """95 % intervals of regressions and of a mean hold near to that with 30 rows, a fourth of it missing."""
    truth, n = np.array([1.0, 1.0, -0.5]), 30
    held, of_means = [], []
    for seed in range(200):
        rng = np.random.RandomState(seed)
        x = rng.randn(n, 2) @ [[1.0, 0.5], [0.0, 0.8]]
        whole = np.column_stack([truth[0] + x @ truth[1:] + rng.randn(n), x])
        X = np.where(rng.uniform(size=whole.shape) < 0.25, np.nan, whole)
        completed = EMImputer(random_state=seed).fit(X).sample(X, 20, method="posterior")
        lower, upper = pool(*zip(*map(least_squares, completed), strict=True), df_complete=n - 3).interval()
        held.append((lower <= truth) & (truth <= upper))
        errors = [Z[:, 0].std(ddof=1) / np.sqrt(n) for Z in completed]
        lower, upper = pool([Z[:, 0].mean() for Z in completed], errors, df_complete=n - 1).interval()
        of_means.append(lower <= truth[0] <= upper)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(held, axis=0).min() >= 0.93
    assert 0.92 <= np.mean(of_means) <= 0.99
