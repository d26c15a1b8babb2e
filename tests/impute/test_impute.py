"""EMImputer: the laws of the fit, of what it imputes, and the conventions of scikit-learn's imputers."""

import datetime
import pickle
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import stats
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import emlearn
from emlearn import EMImputer, MultipleImputation
from emlearn.em import Batches
from emlearn.families import COVARIANCE_SHAPES
from emlearn.impute._draws import redraws
from tests.helpers.data import read_table
from tests.helpers.estimators import BAD_WEIGHTS, SKLEARN_IS_RECENT, fit_and_messages, refuses_weights
from tests.helpers.families import MATRICES, ONE_UNIT, n_of_covariances
from tests.helpers.pace import EACH_KIND, some_slow

SHAPES = [*COVARIANCE_SHAPES, "factor"]
PER_FEATURE = [
    shape for shape in SHAPES if "spherical" not in shape and shape not in ONE_UNIT
]  # forms that units do not change
FITTED = ("weights_", "means_", "covariances_", "mean_", "covariance_", "missing_fraction_", "ridge_")
every_form = pytest.mark.parametrize(("covariance_type", "n_components"), some_slow(product(SHAPES, [1, 2]), 3))
RESULTS = (*FITTED, "log_likelihood_", "lower_bounds_", "n_iter_", "fraction_missing_information_", "gap_")
# Older scikit-learn takes no names from polars 2.
nan = np.nan

APPLE_WORMS = [60.19480519, 60.19480519, 59.18181818, 58.16883117, 56.14285714, 54.11688312]
APPLE_COVARIANCE = [[89.53395062, -90.6967292], [-90.6967292, 114.69495512]]
MISSVALS_MEAN = [6.65516585, 49.96525912, 11.76923077, 27.04708904, 95.42307692]
MISSVALS_X4 = [0.87981044, 37.90798786, 19.90475789]
MISSVALS_X1_X2_X4 = [
    [12.89066517, 65.83907269, 14.45370153],
    [-0.46860339, 48.19624217, 20.83105699],
    [9.98979451, 68.08445949, 8.18886537],
    [10.10529972, 62.42859421, 15.44597748],
]
AIRQUALITY_MEAN = [41.87117302, 184.84680625, 9.95751634, 77.88235294]
AIRQUALITY_COVARIANCE = [
    [1044.01864306, 942.52984181, -64.63592769, 209.56350283],
    [942.52984181, 8090.70166121, -17.33538034, 238.07331133],
    [-64.63592769, -17.33538034, 12.33041736, -15.17231834],
    [209.56350283, 238.07331133, -15.17231834, 89.00576701],
]


@pytest.fixture(scope="module")
def apple():
    return read_table("apple", 2)


@pytest.fixture(scope="module")
def missvals():
    return read_table("missvals", 5)


@pytest.fixture(scope="module")
def airquality():
    return read_table("airquality", 4)


def holes(X, share=0.2, seed=1):
    """X without a share of its entries, none of the first row."""
    gone = np.random.RandomState(seed).uniform(size=X.shape) < share
    gone[0] = False
    return np.where(gone, nan, X)


@pytest.fixture
def X():
    """Two groups, each of one factor and noise, a fifth of the entries missing, and a row of nothing."""
    rng = np.random.RandomState(0)
    loadings = np.array([[1.0, 0.8, -0.6, 0.9], [0.7, -0.5, 0.9, 0.8]])
    group = np.arange(120) >= 70
    X = rng.normal(size=(120, 1)) * loadings[group * 1] + 0.6 * rng.normal(size=(120, 4))
    X = holes(X + 4.0 * group[:, None] + np.array([0.0, 10.0, -20.0, 5.0]))
    X[5] = nan
    return X


def imputer(n_components=1, **kwargs):
    return EMImputer(n_components=n_components, **{"random_state": 0, "n_init": 3, "n_factors": 1, **kwargs})


def quietly(estimator, X, *categories, **kwargs):
    return fit_and_messages(estimator, X, categories=categories, **kwargs)


def given(row, weights, means, covariances):
    """Log-density, responsibilities, conditional means and covariances of one row, by the textbook."""
    o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
    joint, centres, spreads = np.log(weights), [], []
    for k, (mean, c) in enumerate(zip(means, covariances, strict=True)):
        if len(o):
            joint[k] += stats.multivariate_normal(mean[o], c[np.ix_(o, o)]).logpdf(row[o])
        slope = np.linalg.solve(c[np.ix_(o, o)], c[np.ix_(o, m)]).T
        centres.append(mean[m] + slope @ (row[o] - mean[o]))
        spreads.append(c[np.ix_(m, m)] - slope @ c[np.ix_(o, m)])
    return logsumexp(joint), np.exp(joint - logsumexp(joint)), np.array(centres), np.array(spreads)


def conditional(fitted, row):
    return given(row, fitted.weights_, fitted.means_, fitted.covariances_)


def objective(X, ridge, tied, weights, means, covariances):
    """Log-likelihood plus log prior, as the docstring states it."""
    D = np.diag(np.nanvar(X, axis=0))
    log_likelihood = sum(given(row, weights, means, covariances)[0] for row in X)
    ours = covariances[:1] if tied else covariances
    prior = [np.linalg.slogdet(c)[1] + np.trace(np.linalg.solve(c, D)) for c in ours]
    return log_likelihood - 0.5 * ridge * np.sum(prior)


def assert_same_fit(a, b, rtol=1e-8, names=FITTED):
    for name in names:
        one, other = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        size = np.nanmax(np.abs(other), initial=0.0)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * size, err_msg=name)


def assert_observed_kept(X, filled):
    np.testing.assert_array_equal(np.where(np.isnan(X), 0, filled), np.where(np.isnan(X), 0, X))
    assert np.isfinite(filled).all()


# -- published values --------------------------------------------------------------------------------------


def test_apple_crop(apple):
    fitted = EMImputer(ridge=0, tol=1e-10).fit(apple)
    np.testing.assert_allclose(fitted.mean_, [14.72222222, 49.33333333], rtol=1e-7)
    np.testing.assert_allclose(fitted.covariance_, APPLE_COVARIANCE, rtol=1e-7)
    assert fitted.log_likelihood_ == pytest.approx(-101.7856321278, abs=1e-8)
    np.testing.assert_allclose(fitted.transform(apple)[12:, 1], APPLE_WORMS, rtol=1e-7)


def test_missvals(missvals):
    fitted = EMImputer(ridge=0, tol=1e-10).fit(missvals)
    np.testing.assert_allclose(fitted.mean_, MISSVALS_MEAN, rtol=1e-5)
    assert fitted.log_likelihood_ == pytest.approx(-132.9252504451, abs=1e-8)
    filled = fitted.transform(missvals)
    np.testing.assert_allclose(filled[6:9, 3], MISSVALS_X4, atol=1e-4)
    np.testing.assert_allclose(filled[9:, [0, 1, 3]], MISSVALS_X1_X2_X4, atol=1e-4)


def test_airquality(airquality):
    fitted = EMImputer(ridge=0, tol=1e-10).fit(airquality)
    np.testing.assert_allclose(fitted.mean_, AIRQUALITY_MEAN, rtol=1e-7)
    np.testing.assert_allclose(fitted.covariance_, AIRQUALITY_COVARIANCE, rtol=1e-6)
    assert fitted.log_likelihood_ == pytest.approx(-2326.6973827983, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "d", "best"),
    [
        ("apple", 2, -101.7856321278),
        ("missvals", 5, -132.9252504451),
        ("airquality", 4, -2326.6973827983),
    ],
)
@pytest.mark.parametrize("acceleration", ["auto", "squarem", "secant", "none"])
def test_the_default_tolerance_holds(name, d, best, acceleration):
    fitted = EMImputer(ridge=0, acceleration=acceleration).fit(read_table(name, d))
    assert fitted.converged_
    assert best - 1e-3 < fitted.log_likelihood_ < best + 1e-6


@pytest.mark.parametrize("seed", some_slow([0, 1], [0]))
def test_all_seeds_find_the_same_mixture(airquality, seed):
    """The value was found by every seed of 0 to 19 (below) and by 200 starts."""
    fitted = EMImputer(n_components=2, random_state=seed).fit(airquality)
    assert fitted.lower_bounds_[-1] * 568 == pytest.approx(-2283.4234, abs=1e-3)


# Seeds of twelve that end below the best maximum, where few starts lead to it: of VEE one in fifteen. Waves
# stop when a twentieth of all starts is expected to be unseen. When thirty starts raced, and thirty more where
# few agreed, it was 0, 2 and 0. Of factors, two maxima differ by .03 nats of evidence. Of VVE two seeds end
# 8.5 nats higher, at a fit that has less evidence: none of their starts leads to the other.
MISSES = {"tied": 1, "VEE": 3, "factor": 1, "VVE": 2}


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", SHAPES)
def test_seeds_agree(airquality, covariance_type):
    kwargs = {"n_components": 2, "covariance_type": covariance_type, "n_factors": 1}
    fits = [EMImputer(**kwargs, random_state=seed).fit(airquality) for seed in range(12)]
    objectives = np.array([fit.lower_bounds_[-1] * 568 for fit in fits])
    highest = objectives[
        np.argmax([next(s.evidence for s in f.restarts_.starts if s.status == "best") for f in fits])
    ]
    assert np.count_nonzero(np.abs(objectives - highest) > 1e-3) <= MISSES.get(covariance_type, 0)
    if covariance_type == "VEE":
        assert highest == pytest.approx(-2311.8776, abs=1e-3)


# -- closed forms ------------------------------------------------------------------------------------------


def test_complete_data_take_one_step():
    complete = np.random.RandomState(3).normal(size=(50, 3)) @ np.diag([1, 5, 20.0]) + 3
    fitted = imputer(ridge=0).fit(complete)
    np.testing.assert_allclose(fitted.mean_, complete.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.covariance_, np.cov(complete.T, ddof=0), rtol=1e-10, atol=1e-10)
    assert fitted.n_iter_ <= 3
    assert fitted.fraction_missing_information_ == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_array_equal(fitted.transform(complete), complete)
    np.testing.assert_array_equal(fitted.missing_fraction_, 0.0)
    assert fitted.n_parameters_ == 9


@pytest.mark.parametrize("ridge", [0.5, 1.0, 30.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_that_many_rows_of_uncorrelated_features(ridge, weighted):
    rng = np.random.RandomState(0)
    complete = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3))
    weight = rng.uniform(0.5, 2, size=40) if weighted else np.ones(40)
    S, n = np.cov(complete.T, ddof=0, aweights=weight), weight.sum()
    expected = (n * S + ridge * np.diag(np.diag(S))) / (n + ridge)
    fitted = imputer(ridge=ridge).fit(complete, sample_weight=weight if weighted else None)
    np.testing.assert_allclose(fitted.covariance_, expected, rtol=1e-9)
    assert fitted.ridge_ == ridge


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied_diag", "tied_spherical"])
def test_without_correlations_ml_is_that_of_available_entries(X, covariance_type):
    fitted = imputer(ridge=0, covariance_type=covariance_type, tol=1e-12).fit(X)
    np.testing.assert_allclose(fitted.mean_, np.nanmean(X, axis=0), rtol=1e-6)
    variance = np.nanvar(X, axis=0)
    if "spherical" in covariance_type:
        variance = np.full(4, np.average(variance, weights=(~np.isnan(X)).sum(axis=0)))
    np.testing.assert_allclose(fitted.covariance_, np.diag(variance), rtol=1e-5)
    filled = fitted.transform(X)
    np.testing.assert_allclose(filled[np.isnan(X)], np.broadcast_to(fitted.mean_, X.shape)[np.isnan(X)])


def test_a_monotone_pattern_is_a_chain_of_regressions():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + [1, 2, 3, 4]
    for j, n in enumerate((60, 45, 30, 20)):
        X[n:, j] = nan
    mean, covariance = np.zeros(4), np.zeros((4, 4))
    for j in range(4):
        rows = X[~np.isnan(X[:, j])]
        design = np.column_stack([np.ones(len(rows)), rows[:, :j]])
        beta = np.linalg.lstsq(design, rows[:, j])[0]
        mean[j] = beta[0] + beta[1:] @ mean[:j]
        covariance[j, :j] = covariance[:j, j] = covariance[:j, :j] @ beta[1:]
        residual = np.mean((rows[:, j] - design @ beta) ** 2)
        covariance[j, j] = residual + beta[1:] @ covariance[:j, :j] @ beta[1:]
    fitted = imputer(ridge=0, tol=1e-11).fit(X)
    np.testing.assert_allclose(fitted.mean_, mean, rtol=1e-5)
    np.testing.assert_allclose(fitted.covariance_, covariance, rtol=1e-5, atol=1e-6)


# -- the model that was fitted -----------------------------------------------------------------------------


@every_form
def test_imputations_by_the_textbook(X, covariance_type, n_components):
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    filled, std, log_density = fitted.transform(X), fitted.conditional_std(X), fitted.score_samples(X)
    lower, upper = fitted.predict_interval(X, coverage=0.8)
    assert_observed_kept(X, filled)
    for i in [*range(12), *range(100, 110)]:
        log_likelihood, resp, means, covariances = conditional(fitted, X[i])
        m = np.isnan(X[i])
        assert log_density[i] == pytest.approx(log_likelihood, abs=1e-8)
        mean = resp @ means
        variance = resp @ np.diagonal(covariances, axis1=1, axis2=2) + resp @ (means - mean) ** 2
        np.testing.assert_allclose(filled[i, m], mean, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(std[i, m], np.sqrt(variance), rtol=1e-7)
        for limit, p in ((lower, 0.1), (upper, 0.9)):
            np.testing.assert_array_equal(limit[i, ~m], X[i, ~m])
            each = stats.norm(means, np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)))
            reached = resp @ each.cdf(limit[i, m])
            if n_components == 1 and fitted._model.family.has_correlations:  # wider, as test_intervals says
                assert ((reached < p) == (p < 0.5)).all()
                np.testing.assert_allclose(reached, p, atol=0.01)
            else:
                np.testing.assert_allclose(reached, p, atol=1e-8)
    assert (std[~np.isnan(X)] == 0).all()


@every_form
def test_covariances_have_the_form_that_was_asked_for(X, covariance_type, n_components):
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    c, K = fitted.covariances_, n_components
    assert c.shape == (K, 4, 4)
    if "tied" in covariance_type:
        np.testing.assert_array_equal(c, c[[0] * K])
    off = c[:, ~np.eye(4, dtype=bool)]
    uncorrelated = covariance_type not in (*MATRICES, "factor")
    assert (off == 0).all() if uncorrelated else (off != 0).all()
    centred = fitted.means_ - fitted.mean_
    between = np.einsum("k,ki,kj->ij", fitted.weights_, centred, centred)
    np.testing.assert_allclose(fitted.covariance_, np.tensordot(fitted.weights_, c, 1) + between)
    np.testing.assert_allclose(fitted.mean_, fitted.weights_ @ fitted.means_)
    n_free = 8 * K if covariance_type == "factor" else n_of_covariances(covariance_type, K, 4)
    assert fitted.n_parameters_ == K - 1 + 4 * K + n_free


@pytest.mark.parametrize(
    ("n_components", "covariance_type", "ridge"), some_slow(product([1, 2], PER_FEATURE, [0.0, 3.0]), 7)
)
def test_nothing_is_gained_by_moving_parameters(X, covariance_type, n_components, ridge):
    X, tied = X[::2], "tied" in covariance_type
    fitted = imputer(n_components, ridge=ridge, covariance_type=covariance_type, tol=1e-8, max_iter=20_000)
    fitted.fit(X)
    weights, means, covariances = fitted.weights_, fitted.means_, fitted.covariances_

    def value(weights=weights, means=means, covariances=covariances):
        return objective(X, ridge, tied, weights, means, covariances)

    best = value()
    scale = np.nanstd(X, axis=0)
    assert best - objective(X, 0.0, tied, weights, means, covariances) == pytest.approx(
        best - fitted.log_likelihood_, abs=1e-7
    )
    D = np.log(np.nanvar(X, axis=0)).sum() * (1 if tied else n_components)
    entries = np.count_nonzero(~np.isnan(X))
    assert fitted.lower_bounds_[-1] * entries == pytest.approx(best + 0.5 * ridge * D, abs=1e-6)
    rng = np.random.RandomState(0)
    for _ in range(2):
        move = 1e-3 * rng.normal(size=means.shape) * scale
        assert value(means=means + move) < best
        assert value(means=means - move) < best
        stretch = np.diag(np.exp(1e-3 * rng.normal(size=4)))  # keeps the form of all of these
        assert value(covariances=stretch @ covariances @ stretch) < best
        inverse = np.linalg.inv(stretch)
        assert value(covariances=inverse @ covariances @ inverse) < best
    if n_components == 2:
        for step in (-0.01, 0.01):
            assert value(weights=weights + np.array([step, -step])) < best
    if covariance_type in ("full", "tied"):
        turn = rng.normal(size=(4, 4)) * 1e-3
        for sign in (1, -1):
            root = np.eye(4) + sign * turn
            assert value(covariances=root @ covariances @ root.T) < best


@every_form
def test_score_is_the_reported_likelihood(X, covariance_type, n_components):
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    entries = np.count_nonzero(~np.isnan(X))
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_, abs=1e-10)
    assert fitted.lower_bound_ == pytest.approx(fitted.log_likelihood_ / entries, rel=1e-12)
    assert fitted.score_samples(X).sum() == pytest.approx(fitted.log_likelihood_, abs=1e-8)
    assert fitted.score_samples(X)[5] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(fitted.lower_bounds_) >= -1e-9).all()
    assert len(fitted.lower_bounds_) == len(fitted.extrapolated_)
    assert fitted.converged_
    np.testing.assert_allclose(fitted.missing_fraction_, np.isnan(X).mean(axis=0))


def test_score_with_weights(X):
    weight = np.random.RandomState(0).randint(0, 4, size=len(X))
    fitted = imputer(2).fit(X, sample_weight=weight)
    repeated = np.repeat(X, weight, axis=0)
    assert fitted.score(X, sample_weight=weight) == pytest.approx(fitted.lower_bound_, abs=1e-10)
    assert fitted.score(repeated) == pytest.approx(fitted.lower_bound_, abs=1e-10)
    with pytest.raises(ValueError, match="missing: there is nothing to score"):
        fitted.score(np.full((2, 4), nan))


# -- laws --------------------------------------------------------------------------------------------------


@every_form
def test_weight_is_repetition(X, covariance_type, n_components):
    times = np.random.RandomState(1).randint(0, 3, size=len(X))
    kwargs = {"covariance_type": covariance_type, "tol": 1e-8, "max_iter": 10_000}
    weighted = imputer(n_components, **kwargs).fit(X, sample_weight=times)
    repeated = imputer(n_components, **kwargs).fit(np.repeat(X, times, axis=0))
    assert weighted.lower_bounds_[-1] == pytest.approx(repeated.lower_bounds_[-1], abs=1e-8)
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(weighted.missing_fraction_, repeated.missing_fraction_, atol=1e-12)
    rate = repeated.fraction_missing_information_
    assert weighted.fraction_missing_information_ == pytest.approx(rate, abs=5e-3)


def test_rows_without_weight_are_absent(X):
    weight = np.ones(len(X))
    weight[40:60] = 0
    X[40:60] *= 1e3
    X[40:60, 2] = nan  # elsewhere as well
    with_them = imputer(ridge=0, tol=1e-10).fit(X, sample_weight=weight)
    assert_same_fit(with_them, imputer(ridge=0, tol=1e-10).fit(np.delete(X, np.s_[40:60], axis=0)), rtol=1e-7)


def test_the_missing_share_of_a_complete_column_is_0_with_weights(X):
    X[:, 1] = np.nan_to_num(X[:, 1])
    for seed in range(5):
        weight = np.random.RandomState(seed).uniform(size=len(X))
        fraction = imputer().fit(X, sample_weight=weight).missing_fraction_
        assert fraction[1] == pytest.approx(0.0, abs=1e-15)
        assert (fraction >= 0).all()


@every_form
def test_order_does_not_matter(X, covariance_type, n_components):
    rng = np.random.RandomState(1)
    rows, columns = rng.permutation(len(X)), np.array([2, 0, 3, 1])
    kwargs = {"covariance_type": covariance_type, "tol": 1e-8, "max_iter": 10_000}
    if covariance_type in ONE_UNIT:
        kwargs["ridge"] = 0.8  # that by default is rounded, and may be on an edge
    expected = imputer(n_components, **kwargs).fit(X)
    shuffled = imputer(n_components, **kwargs).fit(X[rows])
    assert_same_fit(shuffled, expected, rtol=1e-4)
    turned = imputer(n_components, **kwargs).fit(X[:, columns])
    assert turned.lower_bounds_[-1] == pytest.approx(expected.lower_bounds_[-1], abs=1e-8)
    np.testing.assert_allclose(
        turned.transform(X[:, columns]), expected.transform(X)[:, columns], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("covariance_type", "n_components", "ridge"), some_slow(product(PER_FEATURE, [1, 2], [0.0, 1.0]), 3)
)
def test_units_do_not_matter(X, covariance_type, n_components, ridge):
    a, b = np.array([1e-6, 1.0, 1e6, 1e3]), np.array([1.0, -1e6, 1e6, 0.0])
    kwargs = {"covariance_type": covariance_type, "ridge": ridge, "tol": 1e-8, "max_iter": 10_000}
    plain = imputer(n_components, **kwargs).fit(X)
    other = imputer(n_components, **kwargs).fit(a * X + b)
    volume = np.count_nonzero(~np.isnan(X), axis=0) @ np.log(a)
    assert other.log_likelihood_ + volume == pytest.approx(plain.log_likelihood_, abs=1e-4)
    np.testing.assert_allclose((other.transform(a * X + b) - b) / a, plain.transform(X), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(other.conditional_std(a * X + b) / a, plain.conditional_std(X), rtol=1e-4)
    assert other.fraction_missing_information_ == pytest.approx(plain.fraction_missing_information_, abs=5e-3)


@pytest.mark.parametrize("covariance_type", ["spherical", "tied_spherical"])
def test_one_unit_of_all_features_does_not_matter(X, covariance_type):
    plain = imputer(2, covariance_type=covariance_type, tol=1e-8).fit(X)
    other = imputer(2, covariance_type=covariance_type, tol=1e-8).fit(1e-3 * X + 5)
    back = (other.transform(1e-3 * X + 5) - 5) * 1e3
    np.testing.assert_allclose(back, plain.transform(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_a_huge_offset(X, offset):
    plain, far = imputer(ridge=0).fit(X), imputer(ridge=0).fit(X + offset)
    back = far.transform(X + offset) - offset
    np.testing.assert_allclose(back, plain.transform(X), atol=1e-3)
    assert far.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-3)


@pytest.mark.parametrize("covariance_type", ["full", "factor"])
@pytest.mark.parametrize("n_components", [1, 2])
def test_single_precision(X, covariance_type, n_components):
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    single = imputer(n_components, covariance_type=covariance_type).fit(X.astype(np.float32))
    filled = single.transform(X.astype(np.float32))
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, fitted.transform(X), rtol=1e-4, atol=1e-3)
    assert single.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=1e-3)
    assert single.conditional_std(X.astype(np.float32)).dtype == np.float32
    assert {limit.dtype for limit in single.predict_interval(X.astype(np.float32))} == {np.dtype(np.float32)}


@every_form
def test_a_row_is_imputed_by_itself(X, covariance_type, n_components):
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    alone = np.vstack([fitted.transform(row[None]) for row in X[:30]])
    np.testing.assert_allclose(alone, fitted.transform(X)[:30], rtol=1e-12, atol=1e-12)
    std = np.vstack([fitted.conditional_std(row[None]) for row in X[:30]])
    np.testing.assert_allclose(std, fitted.conditional_std(X)[:30], rtol=1e-12)


@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("covariance_type", ["full", "factor"])
def test_threads_do_not_matter(X, covariance_type, n_components):
    one = imputer(n_components, covariance_type=covariance_type).fit(X)
    two = imputer(n_components, covariance_type=covariance_type, n_jobs=2).fit(X)
    assert_same_fit(two, one, rtol=1e-12, names=RESULTS)
    np.testing.assert_array_equal(two.transform(X), one.transform(X))


def test_many_rows_in_batches_and_threads():
    rng = np.random.RandomState(0)
    root = rng.normal(size=(6, 6))
    X = holes(rng.normal(size=(60_000, 6)) @ root, 0.3)
    one, two = imputer(ridge=0).fit(X), imputer(ridge=0, n_jobs=2).fit(X)
    assert_same_fit(two, one, rtol=1e-10)
    np.testing.assert_allclose(one.covariance_, root.T @ root, atol=0.15)
    np.testing.assert_allclose(two.transform(X)[::1000], one.transform(X[::1000]), rtol=1e-8, atol=1e-8)
    assert one.score(X) == pytest.approx(one.lower_bound_, abs=1e-10)


# -- estimators --------------------------------------------------------------------------------------------


def test_fit_and_transform_change_nothing_that_they_are_given(X):
    weight, low, high = np.linspace(0.5, 1, len(X)), np.full(4, -50.0), np.full(4, 50.0)
    copies = [array.copy() for array in (X, weight, low, high)]
    for array in (X, weight, low, high):
        array.flags.writeable = False
    fitted = imputer(2, min_value=low, max_value=high, add_indicator=True).fit(X, sample_weight=weight)
    for method in ("transform", "conditional_std", "predict_interval", "score_samples", "score"):
        getattr(fitted, method)(X)
    fitted.sample(X, 2, sample_weight=weight)
    for array, copied in zip((X, weight, low, high), copies, strict=True):
        np.testing.assert_array_equal(array, copied)
    assert fitted.min_value is low
    marked = np.nan_to_num(X, nan=-1.0)
    before = marked.copy()
    filled = imputer(missing_values=-1).fit_transform(marked)
    np.testing.assert_array_equal(marked, before)
    complete = imputer().fit(X).transform(filled)
    complete[0] = 99.0
    assert (filled[0] != 99.0).all()


def test_refit_clone_and_set_params_are_exact(X):
    once = imputer(2).fit(X)
    again = imputer(3, covariance_type="factor").fit(X[:60]).set_params(**imputer(2).get_params()).fit(X)
    assert_same_fit(again, once, rtol=0, names=RESULTS)
    assert_same_fit(once.fit(X), again, rtol=0, names=RESULTS)
    assert_same_fit(clone(once).fit(X), again, rtol=0, names=RESULTS)
    assert_same_fit(clone(once).fit(X, y=np.ones(len(X))), again, rtol=0, names=RESULTS)
    assert repr(EMImputer(ridge=2.0)) == "EMImputer(ridge=2.0)"


@pytest.mark.parametrize("marker", [nan, None, pd.NA, -1, np.float64(nan), float("nan")])
def test_markers_survive_clone_and_pickle(X, marker):
    data = np.nan_to_num(X, nan=-1) if isinstance(marker, int) else X
    fitted = clone(EMImputer(missing_values=marker)).fit(data)
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.transform(data), EMImputer().fit_transform(X))


def test_pickle_carries_the_version(X):
    fitted = imputer(2, add_indicator=True, sample_posterior=True).fit(X)
    assert fitted.__getstate__()["_emlearn_version"] == emlearn.__version__
    copied = pickle.loads(pickle.dumps(fitted))
    assert_same_fit(copied, fitted, rtol=0, names=RESULTS)
    np.testing.assert_array_equal(copied.transform(X), fitted.transform(X))
    for a, b in zip(copied.sample(X, 2), fitted.sample(X, 2), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("add_indicator", [False, True])
def test_frames_in_and_out(X, add_indicator):
    expected = imputer(add_indicator=add_indicator).fit_transform(X)
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X)) + 7)
    names = [*"abcd", *(f"missingindicator_{c}" for c in "abcd" if add_indicator)]
    fitted = imputer(add_indicator=add_indicator).set_output(transform="pandas").fit(frame)
    out = fitted.transform(frame)
    assert list(out.columns) == names == list(fitted.get_feature_names_out())
    assert out.index.equals(frame.index)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    out = fitted.set_output(transform="polars").transform(frame)
    assert isinstance(out, pl.DataFrame)
    assert out.columns == names
    np.testing.assert_allclose(out.to_numpy(), expected, rtol=1e-12)
    fitted.set_output(transform="default")
    assert isinstance(fitted.transform(frame), np.ndarray)
    assert all(isinstance(out, np.ndarray) for out in fitted.predict_interval(frame))


def test_samples_are_frames_where_transform_gives_them(X):
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = imputer().set_output(transform="pandas").fit(frame)
    assert all(isinstance(out, pd.DataFrame) for out in fitted.sample(frame, 2))
    assert isinstance(next(fitted.sample(frame, 2, lazy=True)), pd.DataFrame)


def test_names_out(X):
    fitted = imputer(add_indicator=True).fit(X)
    assert list(fitted.get_feature_names_out())[::4] == ["x0", "missingindicator_x0"]
    assert list(fitted.get_feature_names_out(list("abcd")))[3:5] == ["d", "missingindicator_a"]
    with pytest.raises(ValueError, match="input_features"):
        fitted.get_feature_names_out(list("ab"))


WHOLE = np.array([[1, 2.5, 3], [nan, 1, 4], [5, nan, 2], [2, 4, nan], [3, 3, 3], [nan, 2, 7], [8, 1, 0]])


def object_rows(X):
    rows = X.astype(object)
    rows[np.isnan(X)] = None
    return rows


KINDS = {
    "lists": lambda X: X.tolist(),
    "lists with None": lambda X: object_rows(X).tolist(),
    "objects with None": object_rows,
    "objects with NaN": lambda X: X.astype(object),
    "Fortran order": np.asfortranarray,
    "nullable": lambda X: pd.DataFrame(X, columns=list("abc")).convert_dtypes(),
    "Float64": lambda X: pd.DataFrame(X, columns=list("abc")).astype("Float64"),
    "Int64 and float": lambda X: pd.DataFrame(X, columns=list("abc")).astype({"a": "Int64", "c": "Int64"}),
    "frame of objects": lambda X: pd.DataFrame(object_rows(X), columns=list("abc")),
    "pandas.NA in objects": lambda X: pd.DataFrame(X, columns=list("abc")).astype("Float64").astype(object),
    "polars": lambda X: pl.DataFrame(object_rows(X).tolist(), schema=list("abc"), orient="row"),
    "polars integers": lambda X: pl.DataFrame(X, schema=list("abc")).fill_nan(None).cast({"a": pl.Int32}),
    "polars NaN": lambda X: pl.DataFrame(X, schema=list("abc")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table(kind):
    expected = imputer().fit_transform(WHOLE)
    data = KINDS[kind](WHOLE)
    fitted = imputer().fit(data)
    np.testing.assert_array_equal(fitted.transform(data), expected)
    assert fitted.score(data) == imputer().fit(WHOLE).score(WHOLE)
    np.testing.assert_array_equal(fitted.sample(data, 2), imputer().fit(WHOLE).sample(WHOLE, 2))
    if hasattr(data, "columns") and (SKLEARN_IS_RECENT or not kind.startswith("polars")):
        assert list(fitted.feature_names_in_) == ["a", "b", "c"]


def test_memory_maps(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(imputer(2).fit(mapped).transform(mapped), imputer(2).fit_transform(X))


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, lambda columns: pd.DataFrame(columns).astype({"town": "category"})]
)
def test_text_is_refused_by_name(make):
    frame = make({"size": [1.0, 2.0, None], "town": ["a", "b", "c"], "note": ["x", None, "z"]})
    with pytest.raises(ValueError, match=r"town.*note.*ColumnTransformer"):
        imputer(categorical=None).fit(frame)
    numbers = make({"size": [1.0, 2.0, None], "town": [1.0, 5.0, 3.0], "note": [1.0, 2.0, 0.0]})
    with pytest.raises(ValueError, match=r"town.*note.*ColumnTransformer"):
        imputer(categorical=None).fit(numbers).transform(frame)


# -- scikit-learn ------------------------------------------------------------------------------------------


ALLOWED = (":sklearn.exceptions.ConvergenceWarning", "X has column:UserWarning", "No row has both:UserWarning")


def on_tiny_and_constant_data(test):
    """Such data have scikit-learn's checks."""
    for warning in ALLOWED:
        test = pytest.mark.filterwarnings(f"ignore:{warning}")(test)
    return test


@on_tiny_and_constant_data
@parametrize_with_checks([EMImputer(), EMImputer(sample_posterior=True, random_state=0)])
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@on_tiny_and_constant_data
@parametrize_with_checks(
    [EMImputer(n_components=2, n_init=2), EMImputer(covariance_type="factor", n_factors=2)]
)
def test_sklearn_checks_of_other_settings(estimator, check):
    check(estimator)


MARKED = np.array([[nan, 1, 5, nan, 1], [2, nan, 1, nan, 2], [6, 3, nan, nan, 3], [1, 2, 9, nan, 4]])
EMPTY = pytest.mark.filterwarnings("ignore:X has column .* without any entry:UserWarning")


@EMPTY
@pytest.mark.parametrize("marker", [nan, -1, 0])
def test_indicators_mark_what_was_missing(marker):
    X = np.where(np.isnan(MARKED), marker, MARKED)
    fitted = imputer(missing_values=marker, add_indicator=True)
    out = fitted.fit_transform(X)
    assert out.shape == (4, 8)
    np.testing.assert_array_equal(out[:, 4:], np.isnan(MARKED)[:, :4])
    np.testing.assert_array_equal(fitted.indicator_.features_, [0, 1, 2, 3])
    plain = imputer(missing_values=marker)
    np.testing.assert_array_equal(out[:, :4], plain.fit_transform(X))
    assert plain.indicator_ is None


@EMPTY
@pytest.mark.parametrize("add_indicator", [False, True])
def test_nullable_integers(add_indicator):
    expected = imputer(add_indicator=add_indicator).fit_transform(MARKED)
    frame = pd.DataFrame(MARKED, dtype="Int16", columns=list("abcde"))
    np.testing.assert_allclose(imputer(add_indicator=add_indicator).fit_transform(frame), expected)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("add_indicator", [False, True])
def test_names_of_what_is_kept(keep, add_indicator):
    frame = pd.DataFrame(MARKED, columns=list("abcde"))
    fitted = imputer(keep_empty_features=keep, add_indicator=add_indicator)
    said = "filled with 0" if keep else "left out of the output"
    with pytest.warns(UserWarning, match=f"X has column 'd' without any entry: {said}"):
        fitted.fit(frame)
    names = [*("abcde" if keep else "abce"), *(f"missingindicator_{c}" for c in "abcd" if add_indicator)]
    assert list(fitted.get_feature_names_out()) == names
    out = fitted.set_output(transform="pandas").transform(frame)
    assert list(out.columns) == names
    if keep:
        assert (out["d"] == 0).all()


@pytest.mark.parametrize("keep", [False, True])
def test_empty_columns(keep):
    X = np.array([[nan, 1], [nan, 2], [nan, 3.0]])
    fitted = imputer(keep_empty_features=keep)
    with pytest.warns(UserWarning, match="column 0 without any entry"):
        out = fitted.fit_transform(X)
    np.testing.assert_array_equal(out, [[0, 1], [0, 2], [0, 3]] if keep else [[1], [2], [3]])
    np.testing.assert_array_equal(fitted.transform(X), out)
    later = fitted.transform([[7.0, nan]])  # an entry after all
    np.testing.assert_allclose(later, [[7, 2]] if keep else [[2]])
    assert [limit.shape for limit in fitted.predict_interval(X)] == [out.shape] * 2
    assert fitted.conditional_std(X).shape == out.shape
    assert (fitted.conditional_std(X) == 0).all()
    np.testing.assert_array_equal(np.isnan(fitted.mean_), [True, False])
    np.testing.assert_array_equal(np.isnan(fitted.covariance_), [[True, True], [True, False]])
    np.testing.assert_array_equal(fitted.missing_fraction_, [1, 0])
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_)
    assert [Z.shape for Z in fitted.sample(X, 2)] == [out.shape] * 2


@pytest.mark.parametrize("later", [nan, 1.0])
def test_indicators_are_those_of_fit(later):
    fitted = imputer(add_indicator=True).fit([[0, nan], [1, 2], [2, 3.0]])
    out = fitted.transform([[0, later], [1, 2]])
    assert out.shape == (2, 3)
    np.testing.assert_array_equal(out[:, 2], [np.isnan(later), 0])
    out = fitted.transform([[nan, 2.0], [nan, nan]])  # new at transform: no column more
    assert out.shape == (2, 3)
    np.testing.assert_array_equal(out[:, 2], [0, 1])
    assert np.isfinite(out).all()


def test_a_missing_entry_in_a_column_that_was_complete():
    fitted = imputer(add_indicator=True).fit([[1.0], [2.0]])
    np.testing.assert_allclose(fitted.transform([[3.0], [nan]]), [[3.0], [1.5]])


@pytest.mark.filterwarnings("ignore:X has column:UserWarning")
@pytest.mark.parametrize("marker", [nan, -1, 0])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_round_trips(X, marker, keep, empty):
    X = np.abs(X) + 1
    if empty:
        X[:, 2] = nan
    X = np.where(np.isnan(X), marker, X)
    fitted = imputer(missing_values=marker, keep_empty_features=keep, add_indicator=True)
    there = fitted.fit_transform(X)
    np.testing.assert_array_equal(fitted.inverse_transform(there), X)
    np.testing.assert_array_equal(fitted.inverse_transform(there.astype(np.float32)), X.astype(np.float32))
    frame = fitted.set_output(transform="pandas").transform(X)
    np.testing.assert_array_equal(fitted.inverse_transform(frame), X)


def test_round_trips_without_what_they_need(X):
    fitted = imputer().fit(X)
    with pytest.raises(ValueError, match="add_indicator=True"):
        fitted.inverse_transform(X)
    fitted = imputer(add_indicator=True).fit(X)
    with pytest.raises(ValueError, match=r"X has shape \(120, 4\).*4 features and 4 indicators"):
        fitted.inverse_transform(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sample_posterior", [False, True])
@pytest.mark.parametrize("add_indicator", [False, True])
def test_precision_is_kept(X, dtype, sample_posterior, add_indicator):
    out = imputer(sample_posterior=sample_posterior, add_indicator=add_indicator).fit_transform(X.astype(dtype))
    assert out.dtype == dtype
    assert_observed_kept(X.astype(dtype), out[:, :4])


def test_integers_and_booleans_become_floats():
    assert imputer().fit_transform([[1, 2], [3, 5], [4, 4]]).dtype == np.float64
    assert imputer().fit_transform(np.array([[True, False], [False, False], [True, True]])).dtype == np.float64


def test_integers_with_a_marker():
    X = np.array([[1, 2], [3, -1], [4, 4], [2, 1], [-1, 3]])
    out = imputer(missing_values=-1).fit_transform(X)
    np.testing.assert_array_equal(out, imputer().fit_transform(np.where(X == -1, nan, X)))


@pytest.mark.parametrize("ridges", some_slow([[1], [0.1, 1, 10]], [[1]]), ids=str)
def test_grids_need_no_scorer(airquality, ridges):
    grid = [
        {"ridge": ridges, "n_components": [1, 2], "covariance_type": ["full", "tied_diag"]},
        {"n_factors": [1, 2], "covariance_type": ["factor"]},
    ]
    search = GridSearchCV(imputer(), grid, cv=KFold(3, shuffle=True, random_state=0)).fit(airquality)
    assert search.best_params_["n_components"] == 2
    assert search.best_params_["covariance_type"] == "full"
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_pipelines(X):
    y = EMImputer().fit_transform(X).sum(axis=1)
    model = make_pipeline(imputer(), StandardScaler(), Ridge())
    folds = KFold(4, shuffle=True, random_state=0)
    assert cross_val_score(model, X, y, cv=folds).min() > 0.9
    grid = {"emimputer__ridge": [0.5, 2], "ridge__alpha": [1, 2]}
    assert GridSearchCV(model, grid, cv=folds).fit(X, y).best_score_ > 0.9


def test_column_transformers(X):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(town=np.arange(len(X)) % 3)
    columns = make_column_transformer((imputer(), list("abd")), (OneHotEncoder(), ["town"]))
    out = columns.fit_transform(frame)
    assert out.shape == (len(X), 6)
    np.testing.assert_array_equal(out[:, :3], imputer().fit_transform(X[:, [0, 1, 3]]))
    assert list(columns.get_feature_names_out())[:2] == ["emimputer__a", "emimputer__b"]
    kept = ColumnTransformer([("fill", imputer(), ["a", "c"])]).set_output(transform="pandas")
    assert list(kept.fit_transform(frame).columns) == ["fill__a", "fill__c"]


def test_weights_are_routed(X):
    weight = np.linspace(0.5, 2.0, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = imputer().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"ridge": [1.0, 2.0]}, cv=3).fit(X, sample_weight=weight)
        pipe = make_pipeline(model).fit(X, sample_weight=weight)
    assert search.best_estimator_.score(X) != imputer(ridge=search.best_params_["ridge"]).fit(X).score(X)
    assert_same_fit(pipe[0], imputer().fit(X, sample_weight=weight), rtol=0)
    out = imputer().fit_transform(X, sample_weight=weight)
    np.testing.assert_array_equal(out, pipe[0].transform(X))


def test_progress(X, capsys):
    imputer(2, verbose=2).fit(X)
    said = capsys.readouterr().out
    assert "EMImputer: " in said
    assert "start 0 (" in said


# -- hard data ---------------------------------------------------------------------------------------------


def assert_usable(fitted, X, X_fit=None):
    """Whatever the fit: everything that it says is a number."""
    entries = np.asarray(X)
    assert_observed_kept(entries, np.asarray(fitted.transform(X)))
    lower, upper = fitted.predict_interval(X)
    assert (lower <= upper).all()
    assert (fitted.conditional_std(X) >= 0).all()
    assert np.isfinite(fitted.score_samples(X)).all()
    assert np.isfinite([fitted.score(X), fitted.log_likelihood_, fitted.lower_bound_]).all()
    assert 0 <= fitted.fraction_missing_information_ <= 1
    assert np.isfinite(fitted.covariance_).all()
    for filled in fitted.sample(X, 2, X_fit=X_fit):
        assert_observed_kept(entries, filled)


@every_form
def test_a_row_of_nothing_is_imputed_by_the_mean(X, covariance_type, n_components):
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    np.testing.assert_allclose(fitted.transform(X[[5]])[0], fitted.mean_, rtol=1e-9)
    std = np.sqrt(np.diagonal(fitted.covariance_))
    np.testing.assert_allclose(fitted.conditional_std(X[[5]])[0], std, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", some_slow(SHAPES, [*EACH_KIND, "factor"]))
def test_rows_of_nothing_change_no_estimate(X, covariance_type):
    more = np.vstack([X, np.full((200, 4), nan)])
    kwargs = {"covariance_type": covariance_type, "tol": 1e-8, "ridge": 2.0}
    a, b = imputer(**kwargs).fit(more), imputer(**kwargs).fit(X)
    np.testing.assert_allclose(a.mean_, b.mean_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(a.covariance_, b.covariance_, rtol=1e-3, atol=1e-3)


@every_form
def test_one_feature(covariance_type, n_components):
    X = np.r_[np.random.RandomState(0).normal(size=30), nan, np.arange(8, 12.0)][:, None]
    fitted = imputer(n_components, covariance_type=covariance_type).fit(X)
    assert_usable(fitted, X)
    assert fitted.transform(X)[30, 0] == pytest.approx(np.nanmean(X), abs=1e-3)
    assert fitted.conditional_std(X)[30, 0] == pytest.approx(
        np.nanstd(X), rel=1e-3 if n_components == 1 else 0.2
    )


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_one_row(ridge):
    fitted, (message,) = quietly(imputer(ridge=ridge), [[1.0, 5.0]], UserWarning)
    assert "column 0, column 1 constant: filled with that value" in message
    X = np.array([[nan, 2.0], [nan, nan]])
    np.testing.assert_array_equal(fitted.transform(X), [[1, 2], [1, 5]])
    assert_usable(fitted, X, X_fit=[[1.0, 5.0]])
    fitted, messages = quietly(imputer(ridge=ridge), [[1.0, nan]], UserWarning)
    assert ["without any entry" in message for message in messages] == [True, False]
    np.testing.assert_array_equal(fitted.transform([[nan, nan]]), [[1.0]])


@pytest.mark.parametrize("covariance_type", ["full", "factor"])
@pytest.mark.parametrize("n_components", [1, 2])
def test_more_columns_than_rows(covariance_type, n_components):
    rng = np.random.RandomState(0)
    X = holes(rng.normal(size=(15, 1)) * np.ones(30) + 0.3 * rng.normal(size=(15, 30)))
    for ridge, advice in ((1.0, "Leave ridge at 'auto'"), ("auto", "Try covariance_type='factor'")):
        estimator = imputer(n_components, covariance_type=covariance_type, ridge=ridge)
        fitted, messages = quietly(estimator, X, ConvergenceWarning)
        too_few = "There are 0.73 observed entries for each parameter of a full covariance of 30 features"
        expected = 1 if covariance_type in ("full", "tied") else 0
        assert len(messages) == sum(too_few in message for message in messages) == expected
        assert sum(advice in message for message in messages) == expected
        assert (fitted.ridge_ == 1.0) == (ridge == 1.0 or n_components == 2 or covariance_type == "factor")
    assert_usable(fitted, X)


@pytest.mark.slow
def test_more_columns_than_rows_without_ridge():
    X = holes(np.random.RandomState(0).normal(size=(8, 12)))
    frame = pd.DataFrame(X, columns=list("abcdefghijkl"))
    fitted, messages = quietly(imputer(ridge=0), frame, ConvergenceWarning, UserWarning)
    (singular,) = [message for message in messages if "singular" in message]
    assert "With ridge=0 the covariance is singular along column 'a'" in singular
    assert "and 2 more" in singular
    assert 0 < fitted.ridge_ <= 1e-3
    assert f"ridge={fitted.ridge_:.3g}" in singular
    assert_usable(fitted, frame)


@pytest.mark.parametrize("n_components", [1, 2])
def test_without_ridge_two_rows_of_a_mixture_are_no_component(n_components):
    """The likelihood of a mixture has no bound where a component shrinks to a row."""
    rng = np.random.RandomState(0)
    X = holes(np.vstack([rng.normal(size=(40, 2)), [[20.0, 20.0], [20.0, 20.0]]]))
    fitted, _ = quietly(imputer(n_components, ridge=0), X, ConvergenceWarning)
    assert_usable(fitted, X)


@pytest.mark.parametrize(("value", "covariance_type"), some_slow(product([0.0, 0.1, 7.0, 1e9], SHAPES), 3))
def test_constant_columns(X, covariance_type, value):
    more = np.insert(X, 1, value, axis=1)
    more[3:9, 1] = nan
    kwargs = {"covariance_type": covariance_type, "ridge": 0.5}
    fitted, (message,) = quietly(imputer(**kwargs), more, UserWarning)
    assert message == "X has column 1 constant: filled with that value, of no use for the others."
    filled = fitted.transform(more)
    assert (filled[:, 1] == value).all()
    np.testing.assert_allclose(np.delete(filled, 1, axis=1), imputer(**kwargs).fit_transform(X), atol=1e-10)
    assert (fitted.conditional_std(more)[:, 1] == 0).all()
    lower, upper = fitted.predict_interval(more)
    assert (lower[:, 1] == value).all()
    assert (upper[:, 1] == value).all()
    assert (fitted.covariance_[1] == 0).all()
    assert fitted.mean_[1] == value
    assert fitted.score(more) == pytest.approx(fitted.lower_bound_)
    assert fitted.transform([[nan, 3.0, nan, nan, nan]])[0, 1] == 3.0
    for drawn in fitted.sample(more, 2):
        assert (drawn[:, 1] == value).all()
    assert_usable(fitted, more)


def test_everything_constant():
    X = np.tile([1.0, 2.0, 0.1], (6, 1))
    X[2, 1] = X[3, 2] = X[4] = nan
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for n_components in (1, 2):
        fitted, (message,) = quietly(imputer(n_components), frame, UserWarning)
        assert "column 'a', column 'b', column 'c' constant" in message
        np.testing.assert_array_equal(fitted.transform(frame), np.tile([1.0, 2.0, 0.1], (6, 1)))
        assert_usable(fitted, frame)
        assert fitted.n_parameters_ == 0
        assert fitted.converged_


def test_duplicated_columns(X):
    X = np.column_stack([X, np.random.RandomState(0).normal(size=len(X)), X[:, 0]])
    X[3, 5] = 7.0
    X[3, 0] = nan
    X[4, 0] = X[4, 5] = nan
    fitted, (message,) = quietly(imputer(ridge=0), X, ConvergenceWarning)
    assert "singular along column 0, column 5: linearly dependent" in message
    assert fitted.ridge_ > 0
    assert fitted.transform(X)[3, 0] == pytest.approx(7.0, abs=1e-3)
    assert_usable(fitted, X)
    fitted, messages = quietly(imputer(ridge=1.0), X)
    assert not messages
    assert fitted.ridge_ == 1
    assert fitted.transform(X)[3, 0] == pytest.approx(7.0, abs=0.5)
    assert_usable(fitted, X)


@pytest.mark.parametrize("covariance_type", some_slow(SHAPES, ["diag", "tied_spherical", "VEI", "factor"]))
def test_a_mixture_of_duplicated_columns(X, covariance_type):
    X = np.hstack([X, X])
    X[3] = [nan, 1.0, nan, nan, 4.0, nan, nan, nan]
    fitted, _ = quietly(imputer(2, ridge=0, covariance_type=covariance_type), X, ConvergenceWarning)
    assert_usable(fitted, X)
    fitted, _ = quietly(imputer(2, covariance_type=covariance_type), X, ConvergenceWarning)
    assert_usable(fitted, X)


def strangers():
    X = np.random.RandomState(0).normal(size=(60, 3)) @ np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1.0]])
    X[:30, 0] = nan
    X[30:, 2] = nan
    return X


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_features_that_never_meet(covariance_type):
    frame = pd.DataFrame(strangers(), columns=["a", "b", "c"])
    fitted, messages = quietly(imputer(covariance_type=covariance_type), frame, UserWarning)
    (message,) = messages
    assert message.startswith("No row has both column 'a' and column 'c': their correlation cannot be learnt")
    assert_usable(fitted, frame)
    frame.iloc[0, 0] = 1.0
    assert not quietly(imputer(covariance_type=covariance_type), frame)[1]


def test_features_that_meet_only_in_rows_without_weight():
    X = np.vstack([strangers(), [[1.0, 2.0, 3.0]]])
    assert not quietly(imputer(), X)[1]
    weight = np.r_[np.ones(60), 0.0]
    assert quietly(imputer(), X, UserWarning, sample_weight=weight)[1][0].startswith("No row has both column 0")


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied_diag"])
def test_features_that_never_meet_do_not_matter_without_correlations(covariance_type):
    assert not quietly(imputer(covariance_type=covariance_type), strangers())[1]


@pytest.mark.parametrize("covariance_type", some_slow(SHAPES, [*EACH_KIND, "factor"]))
def test_one_complete_row_only(covariance_type):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 1)) + 0.5 * rng.normal(size=(40, 3))
    X[np.arange(1, 40), np.arange(1, 40) % 3] = nan
    fitted, messages = quietly(imputer(covariance_type=covariance_type), X)
    assert not messages
    assert_usable(fitted, X)


@every_form
def test_nine_tenths_missing(covariance_type, n_components):
    rng = np.random.RandomState(0)
    X = holes(rng.normal(size=(300, 1)) + rng.normal(size=(300, 6)), 0.9)
    fitted, _ = quietly(
        imputer(n_components, covariance_type=covariance_type, ridge=1.0), X, ConvergenceWarning
    )
    assert_usable(fitted, X)
    if n_components == 1 and covariance_type in ("full", "tied"):
        assert fitted.fraction_missing_information_ > 0.85


def test_columns_that_were_complete_at_fit(X):
    complete = EMImputer().fit_transform(X)
    fitted = imputer().fit(complete)
    assert_usable(fitted, X, X_fit=complete)
    np.testing.assert_allclose(fitted.transform(X[[5]])[0], complete.mean(axis=0))


@pytest.mark.parametrize("covariance_type", some_slow(SHAPES, [*EACH_KIND, "factor"]))
def test_a_huge_offset_of_every_form(X, covariance_type):
    X = X + 1e7
    assert_usable(imputer(2, covariance_type=covariance_type).fit(X), X)


def test_more_components_than_rows():
    X = np.repeat([[0.0, 1.0], [2.0, nan], [3.0, 1.0]], 5, axis=0)
    with pytest.raises(ValueError, match=r"n_components=4 .*n_samples=15 rows.* 3 of them distinct"):
        imputer(4).fit(X)


def test_max_iter(missvals):
    fitted, (message,) = quietly(imputer(ridge=0, max_iter=1), missvals, ConvergenceWarning)
    assert not fitted.converged_
    assert fitted.n_iter_ == 1
    assert f"at max_iter=1, with a projected {fitted.gap_:.3g} nats still to be gained" in message
    fitted, (message,) = quietly(imputer(ridge=0, max_iter=12), missvals, ConvergenceWarning)
    assert f"at max_iter=12, with a projected {fitted.gap_:.3g} nats" in message
    gap = -132.9252504451 - fitted.log_likelihood_
    assert gap / 10 < fitted.gap_ < gap * 10
    assert "raise ridge" in message


# -- bad input ---------------------------------------------------------------------------------------------


METHODS = ("fit", "transform", "conditional_std", "predict_interval", "score_samples", "score", "sample")


@pytest.mark.parametrize(("value", "kind"), [(np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("method", METHODS)
def test_infinity_is_named(X, method, value, kind):
    estimator = imputer() if method == "fit" else imputer().fit(X)
    bad = X.copy()
    bad[7, 1] = value
    with pytest.raises(ValueError, match=f"contains {kind} in column 1, row 7"):
        getattr(estimator, method)(bad)
    frame = pd.DataFrame(bad, columns=list("abcd"))
    estimator = imputer() if method == "fit" else imputer().fit(frame.drop(7))
    with pytest.raises(ValueError, match=f"contains {kind} in column 'b', row 7"):
        getattr(estimator, method)(frame)


@pytest.mark.parametrize("method", METHODS)
def test_one_marker_at_a_time(X, method):
    marked = np.nan_to_num(X, nan=-1.0)
    estimator = imputer(missing_values=-1)
    estimator = estimator if method == "fit" else estimator.fit(marked)
    marked[7, 2] = nan
    with pytest.raises(ValueError, match="contains NaN in column 2, row 7, but missing_values=-1"):
        getattr(estimator, method)(marked)


@pytest.mark.parametrize("marker", ["?", "nan", [0], np.array([0.0, 1.0])])
def test_a_marker_is_a_number(X, marker):
    with pytest.raises(ValueError, match="missing_values"):
        imputer(missing_values=marker).fit(np.nan_to_num(X))


@pytest.mark.parametrize("marker", [-999.99, np.float64(-999.99), np.float32(-999.99)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_markers_of_another_precision(X, marker, dtype):
    """What reads as the marker is missing, and none of it is taken for data."""
    marked = np.where(np.isnan(X), dtype(marker), X).astype(dtype)
    np.testing.assert_allclose(
        imputer(missing_values=marker).fit(marked).missing_fraction_, np.isnan(X).mean(axis=0)
    )


@pytest.mark.parametrize("n_components", [1, 2])
def test_nothing_at_all(n_components):
    with pytest.raises(ValueError, match="Every entry of X is missing"):
        imputer(n_components).fit(np.full((5, 2), nan))
    X = np.array([[nan, nan], [1.0, 2.0]])
    with pytest.raises(ValueError, match="Every entry of X is missing"):
        imputer(n_components).fit(X, sample_weight=[1, 0])


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_value": 2, "max_value": 1}, "min_value=2 is above max_value=1 for column 'a'"),
        ({"min_value": [0, 0, 5, 0], "max_value": 3}, "min_value=5 is above max_value=3 for column 'c'"),
        ({"max_value": [1, 2, 3]}, r"max_value has shape \(3,\).*each of the 4 features"),
        ({"min_value": np.zeros((1, 4))}, r"min_value has shape \(1, 4\)"),
        ({"min_value": []}, r"min_value has shape \(0,\)"),
        ({"min_value": [0, nan, 0, 0]}, "min_value holds NaN"),
        ({"max_value": nan}, "max_value holds NaN"),
        ({"min_value": "low"}, "The 'min_value' parameter"),
        ({"max_value": "high"}, "max_value"),
        ({"max_value": ["high"] * 4}, "max_value"),
    ],
)
def test_limits_are_checked(X, limits, message):
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.raises(ValueError, match=message):
        imputer(**limits).fit(frame)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_components", 0),
        ("n_components", 1.5),
        ("covariance_type", "round"),
        ("n_factors", 0),
        ("ridge", -1.0),
        ("ridge", nan),
        ("ridge", np.inf),
        ("tol", -1.0),
        ("max_iter", -1),
        ("n_init", 0),
        ("sample_posterior", "yes"),
        ("add_indicator", 1.5),
        ("keep_empty_features", None),
        ("acceleration", "warp"),
        ("n_jobs", "all"),
        ("random_state", "luck"),
    ],
)
def test_parameters_are_checked_at_fit(X, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter"):
        imputer().set_params(**{parameter: value}).fit(X)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
@pytest.mark.parametrize("method", ["fit", "score", "sample"])
def test_bad_weights(X, name, method):
    estimator = imputer() if method == "fit" else imputer().fit(X)
    refuses_weights(partial(getattr(estimator, method), X), len(X), name)


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 95, nan, "0.9", None])
def test_coverage_is_a_probability(X, coverage):
    with pytest.raises(ValueError, match=r"coverage=.*between 0 and 1"):
        imputer().fit(X).predict_interval(X, coverage=coverage)


@pytest.mark.parametrize("n_imputations", [0, -1, 2.5, None, "many"])
@pytest.mark.parametrize("lazy", [False, True])
def test_ask_for_one_imputation_at_least(X, n_imputations, lazy):
    with pytest.raises(ValueError, match=r"n_imputations=.*one at least"):
        imputer().fit(X).sample(X, n_imputations, lazy=lazy)


@pytest.mark.parametrize("units", [1e-9, 1.0, 1e9])
def test_parameters_are_drawn_from_the_rows_of_the_fit(X, units):
    X = (X - np.nanmean(X, axis=0)) * units
    fitted = imputer().fit(X)
    for other in (X[:100], X[[5]], 2 * X + units):
        with pytest.raises(ValueError, match=r"X is not what the imputer was fitted to.*X_fit"):
            fitted.sample(other, 2)
        with pytest.raises(ValueError, match=r"X_fit is not what the imputer was fitted to"):
            fitted.sample(X, 2, X_fit=other)
        assert fitted.sample(other, 2, X_fit=X)[0].shape == other.shape
    with pytest.raises(ValueError, match="not what the imputer was fitted to"):
        fitted.sample(X, 2, sample_weight=np.linspace(0, 1, len(X)))
    order = np.random.RandomState(0).permutation(len(X))
    assert len(fitted.sample(X[order], 2)) == 2


@pytest.mark.parametrize("method", [*METHODS[1:], "inverse_transform"])
def test_before_fit_and_on_other_columns(X, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(imputer(), method)(X)
    if method == "inverse_transform":
        return
    with pytest.raises(ValueError, match="X has 3 features, but EMImputer is expecting 4"):
        getattr(imputer().fit(X), method)(X[:, :3])
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.raises(ValueError, match="feature names should match"):
        getattr(imputer().fit(frame), method)(frame.rename(columns={"a": "z"}))


@pytest.mark.parametrize("name", ["covariance_", "covariances_"])
def test_covariances_before_fit(name):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(imputer(), name)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        imputer().get_feature_names_out()


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({}, np.array([[np.inf, 1.0, 2.0]])),
        ({}, np.full((3, 5), nan)),
        ({"n_components": 9}, np.arange(12.0).reshape(3, 4)),
        ({"max_value": [1.0]}, None),
        ({"ridge": -1.0}, None),
        ({"max_iter": 1, "n_components": 2}, None),  # a warning, which is an error here
        ({"add_indicator": True, "random_state": "luck"}, None),
    ],
)
def test_a_fit_that_fails_changes_nothing(X, change, bad):
    fitted = imputer(add_indicator=True).fit(X)
    expected = fitted.transform(X)
    fitted.set_params(**change)
    before = dict(vars(fitted))
    with pytest.raises((ValueError, ConvergenceWarning)):
        fitted.fit(X if bad is None else bad)
    assert vars(fitted) == before
    fitted.set_params(**imputer(add_indicator=True).get_params())
    np.testing.assert_array_equal(fitted.transform(X), expected)


# -- draws -------------------------------------------------------------------------------------------------


def test_draws_are_not_means(X):
    means, fitted = imputer().fit_transform(X), imputer(sample_posterior=True).fit(X)
    drawn = fitted.transform(X)
    assert_observed_kept(X, drawn)
    assert (drawn[np.isnan(X)] != means[np.isnan(X)]).all()
    np.testing.assert_array_equal(fitted.transform(X), drawn)
    np.testing.assert_array_equal(clone(fitted).fit_transform(X), drawn)
    other = clone(fitted).set_params(random_state=1).fit_transform(X)
    assert (other[np.isnan(X)] != drawn[np.isnan(X)]).all()
    state = imputer(sample_posterior=True, random_state=np.random.RandomState(0)).fit(X)
    assert (state.transform(X) != state.transform(X)).any()


@pytest.mark.parametrize("covariance_type", SHAPES)
def test_moments_of_draws(X, covariance_type):
    """Of three entries that are missing from one row, correlations included."""
    fitted = imputer(covariance_type=covariance_type, sample_posterior=True).fit(X)
    row = np.array([nan, 11.0, nan, nan])
    draws = fitted.transform(np.tile(row, (20_000, 1)))[:, [0, 2, 3]]
    _, _, (mean,), (covariance,) = conditional(fitted, row)
    std = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / std, 0, atol=0.03)
    np.testing.assert_allclose((np.cov(draws.T) - covariance) / np.outer(std, std), 0, atol=0.05)
    assert stats.kstest((draws[:, 0] - mean[0]) / std[0], "norm").pvalue > 1e-3


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "factor"])
def test_draws_from_a_mixture(X, covariance_type):
    fitted = imputer(2, covariance_type=covariance_type, sample_posterior=True).fit(X)
    middle = np.array([nan, fitted.means_[:, 1].mean(), nan, nan])
    for row in (np.full(4, nan), middle):
        _, resp, means, covariances = conditional(fitted, row)
        assert 0.02 < resp[0] < 0.98
        m = np.flatnonzero(np.isnan(row))
        draws = fitted.transform(np.tile(row, (20_000, 1)))[:, m]
        mean = resp @ means
        covariance = np.tensordot(resp, covariances, 1) + np.einsum("k,ki,kj", resp, means - mean, means - mean)
        std = np.sqrt(np.diagonal(covariance))
        np.testing.assert_allclose((draws.mean(axis=0) - mean) / std, 0, atol=0.03)
        np.testing.assert_allclose((np.cov(draws.T) - covariance) / np.outer(std, std), 0, atol=0.05)
        each = [stats.norm(means[k, 0], np.sqrt(covariances[k, 0, 0])) for k in range(2)]
        test = stats.kstest(draws[:, 0], lambda x: resp @ np.array([one.cdf(x) for one in each]))  # noqa: B023
        assert test.pvalue > 1e-3


@pytest.mark.parametrize("units", [1.0, 1e-5])
def test_draws_beyond_limits_are_brought_to_them(X, units):
    X = X * units
    row = np.array([nan, 11.0 * units, nan, nan])
    _, _, (mean,), (covariance,) = conditional(imputer().fit(X), row)
    std = np.sqrt(np.diagonal(covariance))
    low, high = mean[0] - 0.5 * std[0], mean[0] + 1.5 * std[0]
    limits = {"min_value": [low, -np.inf, -np.inf, -np.inf], "max_value": [high, np.inf, np.inf, np.inf]}
    fitted = imputer(sample_posterior=True, **limits).fit(X)
    draws = fitted.transform(np.tile(row, (20_000, 1)))[:, [0, 2, 3]]
    assert draws[:, 0].min() >= low
    assert draws[:, 0].max() <= high
    inside = draws[(low < draws[:, 0]) & (draws[:, 0] < high), 0]
    assert stats.kstest((inside - mean[0]) / std[0], stats.truncnorm(-0.5, 1.5).cdf).pvalue > 1e-3
    assert np.mean(draws[:, 0] == low) == pytest.approx(stats.norm.cdf(-0.5), abs=0.015)
    assert draws[:, 1].mean() == pytest.approx(mean[1], abs=0.03 * std[1])  # that of what has no limits stays
    interval = imputer(**limits).fit(X).predict_interval(row[None], coverage=0.9)
    quantiles = np.quantile(draws, [0.05, 0.95], axis=0)
    for limit, quantile in zip(interval, quantiles, strict=True):
        np.testing.assert_allclose(limit[0, [0, 2, 3]], quantile, atol=0.05 * std.max())


@pytest.mark.parametrize("sample_posterior", [False, True])
@pytest.mark.parametrize("n_components", [1, 2])
def test_limits_hold_for_all_that_is_imputed(X, n_components, sample_posterior):
    low, high = np.array([-0.5, -np.inf, -21.0, 5.5]), np.array([0.5, 10.0, np.inf, 5.5])
    fitted = imputer(n_components, sample_posterior=sample_posterior, min_value=low, max_value=high).fit(X)
    missing = np.isnan(X)
    for out in (fitted.transform(X), *fitted.predict_interval(X), *fitted.sample(X, 2)):
        assert_observed_kept(X, out)
        assert (out >= low)[missing].all()
        assert (out <= high)[missing].all()
    single = clone(fitted).set_params(min_value=0.1, max_value=0.1).fit(X.astype(np.float32))
    assert (single.transform(X.astype(np.float32))[missing] == np.float32(0.1)).all()


@EMPTY
def test_limits_are_of_the_columns_of_X():
    X = np.random.RandomState(0).normal(size=(30, 3))
    X[:, 0] = nan
    X[:5, 2] = nan
    for keep in (False, True):
        fitted = imputer(min_value=[4.0, -np.inf, 2.0], keep_empty_features=keep).fit(X)
        assert (fitted.transform(X)[:5, -1] == 2.0).all()
        lower, upper = fitted.predict_interval(X)
        assert (lower[:5, -1] == 2.0).all()
        assert (upper[:5, -1] >= 2.0).all()


def test_the_sample_is_a_list_or_comes_one_at_a_time(X):
    fitted = imputer(2).fit(X)
    completed = fitted.sample(X)
    assert isinstance(completed, list)
    assert len(completed) == 20
    for one, other in zip(completed, fitted.sample(X, lazy=True), strict=True):
        np.testing.assert_array_equal(one, other)
        assert_observed_kept(X, one)
    lazy = fitted.sample(X, 3, lazy=True)
    assert iter(lazy) is lazy
    for one, other in zip(completed, fitted.sample(X, 3), strict=False):
        np.testing.assert_array_equal(one, other)
    many = clone(fitted).set_params(n_jobs=2).fit(X).sample(X, 3)
    np.testing.assert_allclose(many, completed[:3], rtol=1e-12)
    assert len({one[np.isnan(X)][0] for one in completed}) == 20


@pytest.mark.parametrize("covariance_type", some_slow(SHAPES, [*EACH_KIND, "factor"]))
def test_a_sample_leaves_the_fit_as_it_was(X, covariance_type):
    fitted = imputer(2, covariance_type=covariance_type, add_indicator=True).fit(X)
    before, params = dict(vars(fitted)), fitted.get_params()
    assert [one.shape for one in fitted.sample(X, 2)] == [(120, 8)] * 2
    assert vars(fitted) == before
    assert fitted.get_params() == params
    assert not fitted.sample_posterior


def test_new_rows_are_sampled_with_the_rows_of_the_fit(X):
    fitted = imputer().fit(X)
    row = np.array([[nan, 11.0, nan, nan]])
    draws = np.array(fitted.sample(row, 50, X_fit=X))
    assert draws.shape == (50, 1, 4)
    assert (draws[:, 0, 1] == 11.0).all()
    at_once = fitted.sample(np.vstack([X, row]), 2, X_fit=X)
    np.testing.assert_array_equal(at_once[0][:-1][~np.isnan(X)], X[~np.isnan(X)])


@pytest.mark.parametrize("n_draws", some_slow([40, 150], [40]))
def test_weights_of_a_sample(X, n_draws):
    """Weight 0 is absence there as well, and weights of one are none."""
    weight = np.ones(len(X))
    weight[60:] = 0
    fitted = imputer().fit(X, sample_weight=weight)
    absent = imputer().fit(X[:60])
    row = np.array([[nan, 11.0, nan, nan]])
    draws = np.array(fitted.sample(row, n_draws, X_fit=X, sample_weight=weight))[:, 0]
    others = np.array(absent.sample(row, n_draws, X_fit=X[:60]))[:, 0]
    for j in (0, 2, 3):
        assert stats.ks_2samp(draws[:, j], others[:, j], method="asymp").pvalue > 1e-3


@pytest.mark.slow
def test_the_parameters_are_drawn_as_well():
    """Between imputations the mean of a feature varies by as much as it does not know for want of entries."""
    X = holes(np.random.RandomState(0).normal(size=(40, 2)), 0.5)
    fitted = imputer(ridge=0.1).fit(X)
    drawn = [Z.mean(axis=0) for Z in fitted.sample(X, 200)]
    fixed = imputer(ridge=0.1, sample_posterior=True, random_state=np.random.RandomState(0)).fit(X)
    only = [fixed.transform(X).mean(axis=0) for _ in range(200)]
    assert (np.var(drawn, axis=0) > 1.3 * np.var(only, axis=0)).all()
    complete = np.random.RandomState(0).normal(size=(40, 2))
    for one in imputer().fit(complete).sample(complete, 3):
        np.testing.assert_array_equal(one, complete)


def test_the_bootstrap_has_the_spread_of_the_mean():
    """The mean of rows under random weights has the variance of the mean: that of a row of nothing is it."""
    X = np.random.RandomState(0).normal(size=(100, 2))
    fitted = imputer(ridge=0).fit(X)
    means = [redraws(fitted, X, None, "bootstrap")(seed).mean_ for seed in range(400)]
    np.testing.assert_allclose(np.mean(means, axis=0), X.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(np.std(means, axis=0), X.std(axis=0) / 10, rtol=0.15)


def test_intervals_hold_what_they_say():
    held = {0.5: [], 0.95: []}
    for seed in range(10):
        rng = np.random.RandomState(seed)
        complete = rng.normal(size=(500, 4)) + rng.normal(size=(500, 1)) @ rng.normal(size=(1, 4))
        X = holes(complete, 0.2, seed=seed + 100)
        fitted = imputer().fit(X)
        for coverage, hits in held.items():
            lower, upper = fitted.predict_interval(X, coverage=coverage)
            hits.extend(((lower <= complete) & (complete <= upper))[np.isnan(X)])
    assert 0.93 < np.mean(held[0.95]) < 0.97
    assert 0.47 < np.mean(held[0.5]) < 0.53


# -- missing information -----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_SHAPES)
def test_no_information_is_missing_from_complete_data(covariance_type):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3))
    fitted = imputer(covariance_type=covariance_type).fit(X)
    assert fitted.fraction_missing_information_ == pytest.approx(0.0, abs=1e-4)


def eigenvalues_of_the_em_map(fitted, X):
    """All of them, from central differences of EM steps."""
    model, params = fitted._model, fitted._params
    data, here = fitted._cut(Batches(X), model, fitted._units), model.flatten(params)
    moving = np.isfinite(here)
    resting = model.resting(params)
    moving &= True if resting is None else ~resting

    def image(vector):
        at = model.unflatten(vector, params)
        return model.flatten(model.maximize(data.sum(model.expectation(at)).stats, at))

    steps = 1e-5 * np.eye(len(here))[moving]
    map_ = np.array([(image(here + step) - image(here - step))[moving] for step in steps]).T / 2e-5
    return np.sort(np.linalg.eigvals(map_).real)[::-1]


@every_form
def test_missing_information_is_the_largest_eigenvalue(X, airquality, covariance_type, n_components):
    for data in (X, airquality):
        kwargs = {"covariance_type": covariance_type, "tol": 1e-8, "max_iter": 20_000}
        fitted = imputer(n_components, **kwargs).fit(data)
        expected = eigenvalues_of_the_em_map(fitted, data)[0]
        assert fitted.fraction_missing_information_ == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("missing", "n_factors"), some_slow(product([0.0, 0.2], [1, 2]), [(0.0, 2), (0.2, 1)]))
def test_factors_are_missing_information(n_factors, missing):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 6)) + 0.7 * rng.normal(size=(200, 6))
    kwargs = {"covariance_type": "factor", "n_factors": n_factors}
    fitted = imputer(acceleration="none", tol=1e-8, max_iter=20_000, **kwargs).fit(holes(X, missing))
    gains = np.diff(fitted.lower_bounds_) * 1200
    late = gains[(gains > 1e-7) & (gains < 1e-3)]
    assert fitted.fraction_missing_information_ == pytest.approx((late[-1] / late[-3]) ** 0.25, abs=0.02)


@pytest.mark.slow
def test_the_rate_of_slow_factors():
    """The noise of a feature that one factor explains nearly wholly moves slowly: little is known of it."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3))
    kwargs = {"covariance_type": "factor", "n_factors": 1}
    fitted, _ = quietly(imputer(max_iter=3000, acceleration="none", **kwargs), X, ConvergenceWarning)
    assert not fitted.converged_  # in 3,000 iterations
    assert fitted.fraction_missing_information_ > 0.99


@pytest.mark.parametrize(
    "acceleration",
    [
        "squarem",
        *(
            pytest.param(
                acceleration,
                # Rounding decides: of X times 1 ± 1e-15 one fit in five says it converged, .005 nats too low.
                marks=pytest.mark.xfail(
                    strict=False, reason="a noise creeps to its floor at ever slower rates"
                ),
            )
            for acceleration in ("auto", "secant")
        ),
    ],
)
def test_converged_factors_are_within_the_tolerance(acceleration):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3))
    kwargs = {"covariance_type": "factor", "n_factors": 1, "ridge": 0, "acceleration": acceleration}
    fitted, _ = quietly(imputer(**kwargs), X, ConvergenceWarning)
    if fitted.converged_:
        assert fitted.log_likelihood_ > -274.2540 - 1e-3


@pytest.mark.parametrize(("name", "d"), [("apple", 2), ("missvals", 5)])
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_em_converges_by_the_missing_information(name, d, ridge):
    """Gains shrink by the square of the rate."""
    X = read_table(name, d)
    fitted = EMImputer(ridge=ridge, acceleration="none", tol=1e-9).fit(X)
    gains = np.diff(fitted.lower_bounds_) * np.count_nonzero(~np.isnan(X))
    late = gains[gains > 1e-6]
    rate = (late[-1] / late[-2]) ** 0.5
    assert fitted.fraction_missing_information_ == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_missing_information_of_one_incomplete_feature(seed, apple):
    """The regression on what is complete is learnt from complete rows, whose share of the moments is known."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 2))
    X[rng.permutation(50)[: 10 + 10 * seed], 1] = nan
    for data in (X, apple):
        design = np.column_stack([np.ones(len(data)), data[:, 0]])
        gone = design[np.isnan(data[:, 1])]
        shares = np.linalg.eigvals(np.linalg.solve(design.T @ design, gone.T @ gone)).real
        expected = max(shares.max(), len(gone) / len(data))
        fitted = imputer(ridge=0, tol=1e-9).fit(data)
        assert fitted.fraction_missing_information_ == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("covariance_type", ["diag", "tied_diag"])
def test_missing_information_without_correlations_is_the_missing_share(X, covariance_type):
    """Rows without any entry count for nothing."""
    fitted = imputer(ridge=0, covariance_type=covariance_type, tol=1e-9).fit(X)
    expected = np.isnan(np.delete(X, 5, axis=0)).mean(axis=0).max()
    assert fitted.fraction_missing_information_ == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n_factors", [2, 3, 10])
def test_more_factors_than_features_tell_apart_are_a_full_covariance(X, airquality, n_factors):
    """They have no more parameters, and what they say twice over is not missing information."""
    for data in (X, airquality):
        full = imputer(tol=1e-8, ridge=1.0).fit(data)
        many = imputer(covariance_type="factor", n_factors=n_factors, tol=1e-8, ridge=1.0).fit(data)
        assert many.n_parameters_ == full.n_parameters_
        if n_factors > 2:
            assert many.log_likelihood_ == pytest.approx(full.log_likelihood_, abs=1e-2)
        assert many.fraction_missing_information_ < 0.999


# -- what an early user and a reviewer found ---------------------------------------------------------------


def test_weights_may_be_small(X):
    weight = np.full(len(X), 1e-3)
    fitted = imputer(ridge=0).fit(X, sample_weight=weight)
    assert fitted.score(X, sample_weight=weight) == pytest.approx(fitted.lower_bound_, rel=1e-9)


def test_threads_keep_the_settings_of_scikit_learn(X):
    with config_context(transform_output="pandas"):
        for n_jobs in (None, 2):
            fitted = imputer(n_jobs=n_jobs).fit(X)
            assert all(isinstance(completed, pd.DataFrame) for completed in fitted.sample(X, 2))


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_indicators_in_every_container(X, container):
    fitted = imputer(add_indicator=True)
    expected = fitted.fit_transform(X)
    frame = fitted.set_output(transform=container).fit_transform(pd.DataFrame(X, columns=list("abcd")))
    assert type(frame).__module__.partition(".")[0] == container
    np.testing.assert_allclose(frame.to_numpy(), expected, rtol=1e-10)


def test_limits_act_when_rows_are_imputed(X):
    fitted = imputer().fit(X)
    high = np.nanmax(X) + 1
    assert (fitted.set_params(min_value=high).transform(X)[np.isnan(X)] == high).all()
    with pytest.raises(ValueError, match=r"max_value has shape \(1,\)"):
        fitted.set_params(max_value=[high + 1]).transform(X)


def test_an_indicator_asked_for_after_fit_is_refused(X):
    fitted = imputer().fit(X).set_params(add_indicator=True)
    assert fitted.transform(X).shape == X.shape
    with pytest.raises(ValueError, match="set add_indicator=True, fit"):
        fitted.inverse_transform(X)


def test_lazy_draws_are_of_the_fit_that_was_asked(X):
    fitted = imputer().fit(X)
    expected = fitted.sample(X, 2)
    lazy = fitted.sample(X, 2, lazy=True)
    first = next(lazy)
    fitted.set_params(n_components=2).fit(X[:30])
    np.testing.assert_array_equal(first, expected[0])
    np.testing.assert_array_equal(next(lazy), expected[1])


def test_the_number_of_components_of_a_fit_stays(X):
    fitted = imputer(2).fit(X)
    expected = fitted.sample(X, 1)[0]
    np.testing.assert_array_equal(fitted.set_params(n_components=1).sample(X, 1)[0], expected)


def test_weights_of_next_to_nothing_draw_no_parameters(X):
    weight = np.full(len(X), 1e-6)
    fitted = imputer(ridge=0).fit(X, sample_weight=weight)
    with pytest.raises(ValueError, match="less than one row"):
        fitted.sample(X, 1, sample_weight=weight)


@pytest.mark.parametrize("n_components", [1, 2])
def test_rows_stay_rows_in_memory(X, n_components):
    fitted = imputer(n_components).fit(X)
    assert all(Z.flags.c_contiguous for Z in (fitted.transform(X), fitted.conditional_std(X)))
    assert all(limit.flags.c_contiguous for limit in fitted.predict_interval(X))


def test_the_imputer_of_a_multiple_imputation_asks_for_its_rows(X):
    model = MultipleImputation(Ridge(), n_imputations=2).fit(X, np.arange(len(X)))
    with pytest.raises(ValueError, match="not what the imputer was fitted to"):
        model.imputer_.sample(X)


def test_masks_dates_and_decimals(X):
    masked = np.ma.masked_invalid(X)
    masked.data[np.isnan(X)] = -99.0
    np.testing.assert_array_equal(imputer().fit_transform(masked), imputer().fit_transform(X))
    day = datetime.date(2020, 1, 1)
    for table in (
        pl.DataFrame({"a": [1.0, None, 3.0], "day": [day] * 3}),
        pd.DataFrame({"a": [1.0, nan, 3.0], "day": pd.to_datetime([day] * 3)}),
    ):
        with pytest.raises(ValueError, match=r"no numbers in columns \['day'\]"):
            imputer().fit(table)
    for table in ([[1.0, day], [2.0, day]], np.full((2, 2), np.datetime64("2020-01-01"))):
        with pytest.raises(ValueError, match="no numbers in columns"):
            imputer().fit(table)
    decimals = pl.DataFrame(X[:, :2], orient="row").fill_nan(None).cast(pl.Decimal(20, 10))
    np.testing.assert_allclose(imputer().fit_transform(decimals), imputer().fit_transform(X[:, :2]), rtol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of a constant feature, and of pairs that no row has
def test_columns_of_next_to_no_entries():
    """All fits that are under way had their M-step shortened at once: none went on plainly."""
    rng = np.random.RandomState(0)
    X = np.where(rng.uniform(size=(100, 10)) < 0.1, rng.choice([-1.0, 1.0], size=(100, 10)), np.nan)
    X[:, 0] = 1.0
    filled = EMImputer(ridge=0, random_state=0).fit_transform(X)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])


@pytest.mark.parametrize(("none", "limits"), [("min_value", (-np.inf, 2.0)), ("max_value", (1.5, np.inf))])
def test_none_is_no_limit(none, limits):
    X = np.array([[1.0, 2.0], [2.0, 4.1], [3.0, 5.9], [4.0, np.nan], [np.nan, 0.5], [np.nan, 9.0]])
    given = {"ridge": 1.0, **dict(zip(("min_value", "max_value"), limits, strict=True))}
    filled = EMImputer(**given).fit_transform(X)
    np.testing.assert_array_equal(EMImputer(**given | {none: None}).fit_transform(X), filled)
    assert not np.array_equal(EMImputer(ridge=1.0).fit_transform(X), filled)
