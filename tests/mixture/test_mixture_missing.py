"""GaussianMixtureEM from rows with missing entries."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emlearn import GaussianMixtureEM
from emlearn.families import COVARIANCE_SHAPES
from tests.helpers.data import read_table
from tests.helpers.pace import EACH_KIND, some_slow

SHAPES = some_slow(COVARIANCE_SHAPES, EACH_KIND)


@pytest.fixture
def X():
    rng = np.random.RandomState(0)
    X = np.vstack([rng.normal(size=(70, 3)), rng.normal(size=(50, 3)) @ np.diag([1, 2, 0.5]) + 4.0])
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    X[5] = np.nan
    return X


def mixture(n_components=2, **kwargs):
    return GaussianMixtureEM(n_components, **{"random_state": 0, "n_init": 6, **kwargs})


def dense(fitted, k):
    """Covariance matrix of a component."""
    c, d = fitted.covariances_, fitted.n_features_in_
    shape = fitted.covariance_type
    if not shape.startswith("tied"):
        c = c[k]
    return c if c.ndim == 2 else np.eye(d) * c


@pytest.mark.parametrize("covariance_type", SHAPES)
def test_densities_are_those_of_the_entries_that_are_there(X, covariance_type):
    fitted = mixture(covariance_type=covariance_type).fit(X)
    for row, resp, log_density in zip(
        X[::5], fitted.predict_proba(X[::5]), fitted.score_samples(X[::5]), strict=True
    ):
        o = np.flatnonzero(~np.isnan(row))
        joint = np.log(fitted.weights_)
        if len(o):
            joint = joint + [
                multivariate_normal(fitted.means_[k, o], dense(fitted, k)[np.ix_(o, o)]).logpdf(row[o])
                for k in range(2)
            ]
        assert log_density == pytest.approx(logsumexp(joint), abs=1e-9)
        np.testing.assert_allclose(resp, np.exp(joint - logsumexp(joint)), atol=1e-9)
    assert fitted.converged_
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_, abs=1e-10)
    assert fitted.score_samples(X).sum() == pytest.approx(fitted.log_likelihood_, abs=1e-8)
    assert (np.diff(fitted.lower_bounds_) >= -1e-9).all()


@pytest.mark.parametrize("covariance_type", SHAPES)
def test_the_gradient_vanishes(X, covariance_type):
    """Nothing is gained by moving the means: what is missing is not taken for what was imputed."""
    fitted = mixture(covariance_type=covariance_type, tol=1e-9).fit(X)
    best = fitted.log_likelihood_
    for k in range(2):
        for j in range(3):
            for step in (-0.01, 0.01):
                family = fitted._params.family
                means = family.means.copy()
                means[k, j] += step
                fitted._params = fitted._params._replace(family=family._replace(means=means))
                assert fitted.score_samples(X).sum() < best
                fitted._params = fitted._params._replace(family=family)


def test_one_component_is_the_published_maximum():
    rows = read_table("airquality", 4)
    fitted = GaussianMixtureEM(1, reg_covar=1e-9, tol=1e-8).fit(rows)
    assert fitted.log_likelihood_ == pytest.approx(-2326.6973827983, abs=1e-5)
    np.testing.assert_allclose(
        fitted.means_[0], [41.87117302, 184.84680625, 9.95751634, 77.88235294], rtol=1e-4
    )
    assert fitted.covariances_[0, 1, 1] == pytest.approx(8090.70166121, rel=1e-3)


@pytest.mark.parametrize("covariance_type", some_slow(COVARIANCE_SHAPES, set(EACH_KIND) - {"tied"}))
def test_laws(X, covariance_type):
    fitted = mixture(covariance_type=covariance_type).fit(X)
    rng = np.random.RandomState(1)
    order = rng.permutation(len(X))
    shuffled = mixture(covariance_type=covariance_type).fit(X[order])
    np.testing.assert_allclose(shuffled.means_, fitted.means_, rtol=1e-6)
    times = rng.randint(0, 3, size=len(X))
    weighted = mixture(covariance_type=covariance_type).fit(X, sample_weight=times)
    repeated = mixture(covariance_type=covariance_type).fit(np.repeat(X, times, axis=0))
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-6)
    scaled = mixture(covariance_type=covariance_type).fit(1e-3 * X + 1e5)
    present = np.count_nonzero(~np.isnan(X))
    assert scaled.log_likelihood_ - present * np.log(1e3) == pytest.approx(fitted.log_likelihood_, abs=1e-3)
    np.testing.assert_array_equal(scaled.predict(1e-3 * X + 1e5), fitted.predict(X))


def test_what_is_not_missing_is_not_changed_by_what_could_be(X):
    complete = np.nan_to_num(X, nan=1.0)
    fitted = mixture().fit(complete)
    first = fitted.score_samples(complete)
    holes = complete.copy()
    holes[::2, 1] = np.nan
    np.testing.assert_allclose(fitted.score_samples(holes)[1::2], first[1::2], rtol=1e-12)
    assert fitted.predict(holes).shape == (len(X),)


def test_a_row_of_nothing_belongs_by_the_weights(X):
    fitted = mixture().fit(X)
    np.testing.assert_allclose(fitted.predict_proba(X[[5]])[0], fitted.weights_)
    assert fitted.score_samples(X[[5]])[0] == pytest.approx(0.0, abs=1e-12)


def test_rows_of_nothing_change_no_estimate(X):
    more = np.vstack([X, np.full((60, 3), np.nan)])
    np.testing.assert_allclose(mixture(tol=1e-8).fit(more).means_, mixture(tol=1e-8).fit(X).means_, rtol=1e-4)


def test_a_column_of_nothing_is_refused(X):
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match="nothing but NaN in column 1"):
        mixture().fit(X)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match="nothing but NaN in column 'b'"):
        mixture().fit(frame)


def test_frames_grids_memory_maps_and_threads(X, tmp_path):
    expected = mixture().fit(X)
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).convert_dtypes()  # with pandas.NA
    np.testing.assert_allclose(mixture().fit(frame).means_, expected.means_, rtol=1e-9)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(mixture().fit(mapped).means_, expected.means_)
    np.testing.assert_array_equal(mixture(n_jobs=2).fit(X).means_, expected.means_)
    pipeline = make_pipeline(StandardScaler(), mixture())
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, {"gaussianmixtureem__n_components": [1, 2]}, cv=folds).fit(X)
    assert search.best_params_ == {"gaussianmixtureem__n_components": 2}


def test_more_rows_than_the_race_looks_at():
    rng = np.random.RandomState(0)
    X = np.vstack([rng.normal(size=(15_000, 2)), rng.normal(size=(10_000, 2)) + 5.0])
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    fitted = mixture().fit(X)
    assert fitted.weights_[0] == pytest.approx(0.6, abs=0.02)
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_, abs=1e-10)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_kind_of_start(X, init_params):
    assert mixture(init_params=init_params).fit(X).converged_


def test_marginals_and_conditionals_of_a_fit_with_gaps(X):
    fitted = mixture().fit(X)
    part = fitted.marginal([0, 2])
    np.testing.assert_allclose(part.means_, fitted.means_[:, [0, 2]])
    known = fitted.conditional(X[~np.isnan(X[:, :2]).any(axis=1)][:, :2], [0, 1])
    assert np.isfinite(known.mean()).all()
