"""GaussianMixtureEM as an estimator."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import emlearn
from emlearn import GaussianMixtureEM, _pace, match_components
from emlearn.datasets import load_old_faithful
from emlearn.families import COVARIANCE_SHAPES
from tests.helpers.estimators import FRAMES, SKLEARN_IS_RECENT
from tests.helpers.families import MATRICES, n_of_covariances
from tests.helpers.pace import EACH_KIND, some_slow

SHAPES = list(COVARIANCE_SHAPES)


@pytest.fixture(scope="module")
def X():
    return load_old_faithful().data


def blobs(n=150, d=3, seed=0):
    rng = np.random.RandomState(seed)
    centres = 4 * np.vstack([np.zeros(d), np.eye(d)[:2]])
    return centres[rng.choice(3, size=n, p=[0.5, 0.3, 0.2])] + rng.normal(size=(n, d)) * np.linspace(0.5, 1, d)


def mixture(n_components=2, **kwargs):
    return GaussianMixtureEM(n_components, **{"random_state": 0, "n_init": 5, **kwargs})


def dense_covariances(fitted):
    """Covariances as (K, d, d), whatever their shape."""
    K, d = fitted.means_.shape
    c = fitted.covariances_
    match fitted.covariance_type:
        case "tied":
            return np.broadcast_to(c, (K, d, d))
        case shape if shape in MATRICES:
            return c
        case "diag" | "VEI" | "EVI":
            return np.array([np.diag(v) for v in c])
        case "tied_diag":
            return np.broadcast_to(np.diag(c), (K, d, d))
        case _:
            return np.broadcast_to(c, K)[:, None, None] * np.eye(d)


def joint_density(fitted, X):
    """w_k p(x | k), (n, K), from the attributes and SciPy alone."""
    terms = zip(fitted.weights_, fitted.means_, dense_covariances(fitted), strict=True)
    densities = [w * stats.multivariate_normal(mean, c).pdf(X).reshape(len(X)) for w, mean, c in terms]
    return np.column_stack(densities)


def same_fit(a, b, rtol=1e-8):
    np.testing.assert_allclose(a.weights_, b.weights_, rtol=rtol)
    np.testing.assert_allclose(a.means_, b.means_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(a.covariances_, b.covariances_, rtol=rtol, atol=rtol)


# -- scikit-learn's contract -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny and constant data
@parametrize_with_checks([GaussianMixtureEM(), GaussianMixtureEM(2, n_init=4)])
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        # The checks have more columns than rows: from random rows EM with one full matrix creeps along the
        # floor, and where it stops is chance.
        GaussianMixtureEM(2, covariance_type="tied", n_init=2, init_params="kmeans"),
        *(GaussianMixtureEM(2, covariance_type=shape, n_init=2) for shape in SHAPES[2:]),
        GaussianMixtureEM(2, init_params="kmeans", acceleration="none", n_init=2),
    ]
)
def test_sklearn_checks_of_other_settings(estimator, check):
    check(estimator)


def test_repr_and_clone_keep_parameters():
    estimator = GaussianMixtureEM(3, covariance_type="tied", tol=1e-3)
    assert repr(estimator) == "GaussianMixtureEM(covariance_type='tied', n_components=3, tol=0.001)"
    assert clone(estimator).get_params() == estimator.get_params()


def test_refit_and_set_params_forget_the_last_fit(X):
    once = mixture(3).fit(X)
    again = mixture(2).fit(X[:100]).set_params(n_components=3).fit(X)
    same_fit(once, again, rtol=1e-12)


def test_inputs_stay_as_they_were(X):
    weight, labels = np.linspace(0.0, 2.0, len(X)), np.arange(len(X)) % 2
    given = {"means_init": X[:2].copy(), "weights_init": np.array([0.3, 0.7]), "init_params": labels}
    copies = X.copy(), weight.copy(), {name: value.copy() for name, value in given.items()}
    for array in (X, weight, *given.values()):
        array.flags.writeable = False
    try:
        fitted = mixture(**given).fit(X, sample_weight=weight)
    finally:
        X.flags.writeable = True
    fitted.predict(X)
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(weight, copies[1])
    for name, value in copies[2].items():
        assert getattr(fitted, name) is given[name]
        np.testing.assert_array_equal(given[name], value)


def test_pickle_carries_the_version(X):
    fitted = mixture().fit(X)
    state = fitted.__getstate__()
    assert state["_emlearn_version"] == emlearn.__version__
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(X), fitted.score_samples(X))
    with pytest.warns(UserWarning, match=r"pickled by emlearn 0\.0\.0 "):
        GaussianMixtureEM().__setstate__({**state, "_emlearn_version": "0.0.0"})


# -- likelihood and predictions ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", some_slow(SHAPES, EACH_KIND))
def test_attributes_define_the_density(X, shape):
    fitted = mixture(3, covariance_type=shape).fit(X)
    joint = joint_density(fitted, X)
    np.testing.assert_allclose(fitted.score_samples(X), np.log(joint.sum(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(fitted.predict_proba(X), joint / joint.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_array_equal(fitted.predict(X), joint.argmax(axis=1))
    whitener = fitted.precisions_cholesky_
    if shape in MATRICES:
        precision = whitener @ np.swapaxes(whitener, -1, -2)
        np.testing.assert_allclose(precision, np.linalg.inv(fitted.covariances_), rtol=1e-8)
        np.testing.assert_array_equal(whitener, np.triu(whitener))
    else:
        np.testing.assert_allclose(whitener**2 * fitted.covariances_, 1.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_score_is_the_reported_likelihood(X, weighted):
    weight = np.linspace(0.5, 2.0, len(X)) if weighted else None
    fitted = mixture(3).fit(X, sample_weight=weight)
    total = float(len(X) if weight is None else weight.sum())
    assert fitted.score(X, sample_weight=weight) == pytest.approx(fitted.lower_bound_, rel=1e-12)
    assert fitted.lower_bounds_[-1] == pytest.approx(fitted.lower_bound_, rel=1e-12)
    assert fitted.log_likelihood_ == pytest.approx(fitted.lower_bound_ * total, rel=1e-12)
    assert np.all(np.diff(fitted.lower_bounds_) > -1e-10)
    assert len(fitted.extrapolated_) == len(fitted.lower_bounds_) == fitted.n_iter_ + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_information_criteria(X, shape):
    fitted = mixture(2, covariance_type=shape).fit(X)
    d, K, n = 2, 2, len(X)
    p = (K - 1) + K * d + n_of_covariances(shape, K, d)
    log_likelihood = fitted.score_samples(X).sum()
    resp = fitted.predict_proba(X)
    entropy = -np.sum(resp * np.log(np.maximum(resp, 1e-300)))
    assert fitted.n_parameters_ == p
    assert fitted.aic(X) == pytest.approx(2 * p - 2 * log_likelihood)
    assert fitted.bic(X) == pytest.approx(p * np.log(n) - 2 * log_likelihood)
    assert fitted.icl(X) == pytest.approx(fitted.bic(X) + 2 * entropy)
    twice = np.full(n, 2.0)
    for criterion in (fitted.aic, fitted.bic, fitted.icl):
        assert criterion(X, sample_weight=twice) == pytest.approx(criterion(np.vstack([X, X])))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_component_is_the_closed_form(X, shape):
    fitted = mixture(1, covariance_type=shape).fit(X)
    covariance = np.cov(X.T, ddof=0)
    if shape in ("diag", "tied_diag", "VEI", "EVI"):
        covariance = np.diag(np.diag(covariance))
    elif shape.endswith("spherical"):
        covariance = np.eye(2) * np.trace(covariance) / 2
    np.testing.assert_allclose(fitted.means_[0], X.mean(axis=0))
    np.testing.assert_allclose(dense_covariances(fitted)[0], covariance, atol=1e-10)
    assert len(fitted.restarts_.starts) == 1


def test_sample_has_the_moments_of_the_mixture(X):
    for shape in SHAPES:
        fitted = mixture(2, covariance_type=shape).fit(X)
        rows, labels = fitted.sample(40_000)
        np.testing.assert_allclose(np.bincount(labels) / len(labels), fitted.weights_, atol=0.01)
        for k, covariance in enumerate(dense_covariances(fitted)):
            scale = np.sqrt(np.diag(covariance))
            own = rows[labels == k]
            np.testing.assert_allclose((own.mean(axis=0) - fitted.means_[k]) / scale, 0, atol=0.04)
            error = (np.cov(own.T) - covariance) / np.outer(scale, scale)
            np.testing.assert_allclose(error, 0, atol=0.05)
    np.testing.assert_array_equal(fitted.sample(5)[0], fitted.sample(5)[0])
    with pytest.raises(ValueError, match="n_samples=0"):
        fitted.sample(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_marginal_integrates_the_other_features_out(shape):
    fitted = mixture(3, covariance_type=shape).fit(blobs())
    part = fitted.marginal([2, 0])
    rows = blobs(20, seed=1)[:, [2, 0]]
    terms = zip(fitted.weights_, fitted.means_[:, [2, 0]], dense_covariances(fitted), strict=True)
    density = sum(w * stats.multivariate_normal(m, c[np.ix_([2, 0], [2, 0])]).pdf(rows) for w, m, c in terms)
    np.testing.assert_allclose(part.score_samples(rows), np.log(density), rtol=1e-9)
    assert part.n_features_in_ == 2
    sampled, _ = part.sample(10)
    assert sampled.shape == (10, 2)
    assert part.bic(rows) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_conditional_is_joint_over_marginal(shape):
    fitted = mixture(3, covariance_type=shape).fit(blobs())
    known = blobs(6, seed=2)[:, [2, 0]]
    given = fitted.conditional(known, columns=[2, 0])
    axis = np.linspace(-8, 12, 4001)
    for i, (z, x) in enumerate(known):
        line = np.column_stack([np.full_like(axis, x), axis, np.full_like(axis, z)])
        joint = joint_density(fitted, line).sum(axis=1)
        density = joint / (joint.sum() * (axis[1] - axis[0]))
        terms = zip(given.weights[i], given.means[i, :, 0], given.covariances[:, 0, 0], strict=True)
        expected = sum(w * stats.norm(m, np.sqrt(v)).pdf(axis) for w, m, v in terms)
        np.testing.assert_allclose(expected, density, atol=1e-6 * density.max())
    np.testing.assert_allclose(given.mean()[:, 0], (given.weights * given.means[:, :, 0]).sum(axis=1))


def test_conditional_of_one_gaussian_is_linear_regression(X):
    given = mixture(1).fit(X).conditional(X[:, :1], columns=[0])
    design = np.column_stack([np.ones(len(X)), X[:, 0]])
    fitted_values = design @ np.linalg.lstsq(design, X[:, 1], rcond=None)[0]
    np.testing.assert_allclose(given.mean()[:, 0], fitted_values)
    assert given.covariances[0, 0, 0] == pytest.approx(np.mean((X[:, 1] - fitted_values) ** 2))


def test_columns_by_name(X):
    fitted = mixture().fit(pd.DataFrame(X, columns=["eruptions", "waiting"]))
    part = fitted.marginal(["waiting"])
    assert list(part.feature_names_in_) == ["waiting"]
    np.testing.assert_array_equal(part.means_, fitted.marginal([-1]).means_)
    known = pd.DataFrame({"eruptions": [2.0]})
    by_name, by_number = (fitted.conditional(known, columns=[column]) for column in ("eruptions", 0))
    np.testing.assert_array_equal(by_name.mean(), by_number.mean())
    for columns, message in [(["x"], "columns names 'x',"), ([2], "columns names 2,"), ([0, 0], "twice")]:
        with pytest.raises(ValueError, match=message):
            fitted.marginal(columns)
    with pytest.raises(ValueError, match="all features"):
        fitted.conditional(X[:3], columns=[0, 1])


# -- what must not matter ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", some_slow(SHAPES, EACH_KIND))
def test_weights_are_repetition(X, shape):
    times = np.random.RandomState(1).randint(4, size=len(X))
    weighted = mixture(3, covariance_type=shape).fit(X, sample_weight=times)
    repeated = mixture(3, covariance_type=shape).fit(np.repeat(X, times, axis=0))
    same_fit(weighted, repeated)
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, abs=1e-8)


@pytest.mark.parametrize("shape", some_slow(SHAPES, EACH_KIND))
def test_row_order_does_not_matter(X, shape):
    order = np.random.RandomState(1).permutation(len(X))
    there = mixture(3, covariance_type=shape).fit(X)
    shuffled = mixture(3, covariance_type=shape).fit(X[order])
    same_fit(there, shuffled)
    np.testing.assert_array_equal(there.predict(X)[order], shuffled.predict(X[order]))


def test_feature_order_does_not_matter():
    X = blobs()
    there = mixture(3, n_init=30, tol=1e-8).fit(X)
    turned = mixture(3, n_init=30, tol=1e-8).fit(X[:, [2, 0, 1]])
    np.testing.assert_allclose(turned.means_, there.means_[:, [2, 0, 1]], atol=1e-4)
    assert turned.log_likelihood_ == pytest.approx(there.log_likelihood_, abs=1e-6)


def test_components_are_sorted_by_weight():
    X = blobs(600)
    for seed in range(4):
        fitted = mixture(3, random_state=seed).fit(X)
        assert np.all(np.diff(fitted.weights_) < 0)
        np.testing.assert_allclose(fitted.means_[:, 0], [0, 4, 0], atol=0.5)
        counts = np.bincount(fitted.predict(X))
        np.testing.assert_allclose(counts / len(X), fitted.weights_, atol=0.03)


MAPS = [(1e-8, 0), (1e8, 0), (-3, 5)]
FAR_MAPS = [(1, 1e4), (1, 1e8), (1e-8, 1), (1e8, 1e8)]  # float32 cannot hold the rows apart there


@pytest.mark.parametrize(
    ("shape", "dtype", "scale", "offset"),
    some_slow(
        [
            (shape, dtype, *by)
            for shape in SHAPES
            for dtype, maps in ((np.float64, MAPS + FAR_MAPS), (np.float32, MAPS))
            for by in maps
        ],
        7,
    ),
)
def test_affine_equivariance(X, shape, dtype, scale, offset):
    # Numbers that the shift does not round, so that both fits see the same data: multiples of 2^-6 ...
    rows = np.round(X * 64) / 64
    moved = (scale * rows + offset).astype(dtype)
    n, d = X.shape
    before, after = (mixture(2, covariance_type=shape, tol=1e-8).fit(data) for data in (rows, moved))
    np.testing.assert_array_equal(before.predict(rows), after.predict(moved))
    change = n * d * np.log(abs(scale))
    assert after.log_likelihood_ + change == pytest.approx(
        before.log_likelihood_, abs=1e-2 if dtype is np.float32 else 1e-4
    )
    rtol = 1e-3 if dtype is np.float32 else 1e-6
    means = (after.means_ - offset) / scale
    np.testing.assert_allclose(means, before.means_, rtol=max(rtol, 1e-15 * abs(offset / scale)))
    np.testing.assert_allclose(after.covariances_ / scale**2, before.covariances_, rtol=10 * rtol, atol=rtol)


def test_each_feature_has_its_own_unit(X):
    a, b = np.array([1e-8, -1e8]), np.array([3.0, 1e8])
    rows = np.round(X * 64) / 64
    before, after = mixture(3).fit(rows), mixture(3).fit(a * rows + b * np.abs(a))
    np.testing.assert_array_equal(before.predict(rows), after.predict(a * rows + b * np.abs(a)))
    shift = len(X) * np.log(np.abs(a)).sum()
    assert after.log_likelihood_ + shift == pytest.approx(before.log_likelihood_, abs=1e-4)


def test_float32_in_float32_out(X):
    single, double = mixture(3).fit(X.astype(np.float32)), mixture(3).fit(X)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert getattr(single, name).dtype == np.float32
    assert single.sample(3)[0].dtype == np.float32
    np.testing.assert_array_equal(single.predict(X.astype(np.float32)), double.predict(X))


@pytest.mark.parametrize("n", [150, 30_000])
def test_n_jobs_does_not_change_the_result(n):
    X = blobs(n)
    one, two = (mixture(3, n_init=3, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2))
    same_fit(one, two, rtol=1e-13)
    assert one.log_likelihood_ == two.log_likelihood_
    assert one.restarts_ == two.restarts_


def test_large_data_finish_on_all_rows():
    X = blobs(30_000)
    fitted = mixture(3, n_init=3).fit(X)
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_, rel=1e-12)
    other = mixture(3, n_init=3, random_state=7).fit(X)
    assert other.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=1e-3)


def test_memory_mapped_data(X, tmp_path):
    file = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
    file[:] = X
    same_fit(mixture().fit(file), mixture().fit(X), rtol=1e-13)


@pytest.mark.parametrize("acceleration", ["auto", "squarem", "secant", "none"])
def test_every_acceleration_reaches_the_same_maximum(X, acceleration):
    fitted = mixture(2, acceleration=acceleration).fit(X)
    assert fitted.converged_
    assert fitted.log_likelihood_ == pytest.approx(-1130.26396018, abs=1e-3)
    assert acceleration != "none" or not any(fitted.extrapolated_)


# -- starting values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["auto", "kmeans", "k-means++", "random", "random_from_data"])
def test_init_params_words(X, words):
    fitted = mixture(2, init_params=words, n_init=10).fit(X)
    assert fitted.log_likelihood_ == pytest.approx(-1130.26396018, abs=1e-3)
    kinds = {start.kind for start in fitted.restarts_.starts}
    assert kinds == {words} if words != "auto" else len(kinds) > 3


def test_init_params_labels_responsibilities_and_callable(X):
    labels = (X[:, 0] > 3).astype(int)
    resp = np.eye(2)[labels]
    calls = []

    def call(rows, n_components, random_state):
        calls.append((rows.shape, n_components))
        return (rows[:, 0] > 3).astype(int)

    fits = [mixture(init_params=init, n_init=2).fit(X) for init in (labels, labels.tolist(), resp, call)]
    fits[3].reorder(match_components(fits[0], fits[3]))  # of several answers none fixes the order
    for fitted in fits:
        same_fit(fits[0], fitted)
        assert {start.kind for start in fitted.restarts_.starts} == {"given"}
    assert calls == [((272, 2), 2)] * 2


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.zeros(272, int), r"must hold n_components=2 different"),
        (np.zeros(5, int), r"shape \(5,\); expected one label per row, \(272,\)"),
        (np.full((272, 3), 1 / 3), r"shape \(272, 3\)"),
        (np.full((272, 2), 0.7), "sum 1"),
        (np.eye(2)[np.zeros(272, int)], "no row to component 1"),
    ],
)
def test_bad_init_params(X, init, message):
    with pytest.raises(ValueError, match=message):
        mixture(init_params=init).fit(X)


@pytest.mark.parametrize("shape", some_slow(SHAPES, EACH_KIND))
def test_given_parameters_start_the_fit(X, shape):
    """A fit from a fit's parameters begins where that fit ended, in the user's units."""
    done = mixture(2, covariance_type=shape, tol=1e-8).fit(X)
    precisions = np.linalg.inv(done.covariances_) if shape in MATRICES else 1 / done.covariances_
    given = {"weights_init": done.weights_, "means_init": done.means_, "precisions_init": precisions}
    again = mixture(2, covariance_type=shape, **given).fit(X)
    assert [start.kind for start in again.restarts_.starts] == ["given"]
    assert again.lower_bounds_[0] == pytest.approx(done.lower_bound_, rel=1e-9)
    for name in given:
        part = mixture(2, covariance_type=shape, **{name: given[name]}).fit(X)
        assert part.log_likelihood_ == pytest.approx(done.log_likelihood_, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights_init": [0.5, 0.6]}, "sum 1.1"),
        ({"weights_init": [1.5, -0.5]}, "non-negative"),
        ({"weights_init": [1.0]}, r"shape \(1,\); expected \(2,\)"),
        ({"means_init": [[0.0, 0.0]]}, r"expected \(2, 2\)"),
        ({"means_init": [[0.0, np.nan], [0.0, 1.0]]}, "NaN"),
        ({"precisions_init": [np.eye(2), -np.eye(2)]}, "positive definite"),
        ({"precisions_init": [[[1, 2], [0, 1]]] * 2}, "symmetric"),
    ],
)
def test_bad_given_parameters(X, given, message):
    with pytest.raises(ValueError, match=message):
        mixture(**given).fit(X)


def test_warm_start(X):
    fitted = mixture(2, warm_start=True).fit(X)
    before = fitted.log_likelihood_
    fitted.fit(X)
    assert [start.kind for start in fitted.restarts_.starts] == ["warm"]
    assert fitted.n_iter_ <= 4
    assert fitted.log_likelihood_ >= before - 1e-9
    last = pickle.loads(pickle.dumps(fitted))
    moved = fitted.fit(1.01 * X)  # the last parameters are carried over in the user's units
    assert moved.lower_bounds_[0] == pytest.approx(last.score(1.01 * X))
    with pytest.raises(ValueError, match="another n_components"):
        fitted.set_params(n_components=3).fit(X)


# -- company -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [np.asarray, pd.DataFrame, pl.DataFrame], ids=["numpy", "pandas", "polars"])
def test_grid_search_in_a_pipeline(frame):
    data = blobs()
    X = data if frame is np.asarray else frame(dict(zip("abc", data.T, strict=True)))
    weight = np.ones(len(data))
    grid = {
        "gaussianmixtureem__n_components": [1, 3],
        "gaussianmixtureem__covariance_type": ["full", "diag"],
    }
    # Before 1.9, scikit-learn's Pipeline.score does not route weights in a search.
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = mixture(n_init=2).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        search = GridSearchCV(make_pipeline(scaler, estimator), grid, cv=3)
        search.fit(X, **({"sample_weight": weight} if SKLEARN_IS_RECENT else {}))
    assert search.best_params_["gaussianmixtureem__n_components"] == 3
    assert set(search.predict(X)) == {0, 1, 2}
    plain = GridSearchCV(make_pipeline(StandardScaler(), mixture(n_init=2)), grid, cv=3)
    plain.fit(X, np.zeros(len(data)))  # y is ignored
    np.testing.assert_allclose(plain.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])


@pytest.mark.parametrize(
    "frame",
    FRAMES,
)
def test_frames_give_names(X, frame):
    data = frame({"eruptions": X[:, 0], "waiting": X[:, 1]})
    fitted = mixture().fit(data)
    assert list(fitted.feature_names_in_) == ["eruptions", "waiting"]
    same_fit(fitted, mixture().fit(X))
    np.testing.assert_array_equal(fitted.predict(data), mixture().fit_predict(X))


def test_frame_with_integers_and_score_of_a_routed_weight(X):
    frame = pd.DataFrame({"a": (X[:, 0] * 10).astype(int), "b": X[:, 1].astype(int)})
    assert np.isfinite(mixture().fit(frame).score(frame))


# -- progress ----------------------------------------------------------------------------------------------


class Recorder:
    """A callback that writes down what it sees."""

    def __init__(self, stop_after=np.inf):
        self.begun, self.ended, self.stop_after = [], [], stop_after
        self.up = 0

    def setup(self, estimator, context):
        self.up += 1

    def teardown(self, estimator, context):
        self.up -= 1

    @staticmethod
    def path(context):
        names = []
        while context is not None:
            names.append(context.task_name)
            context = context.parent
        return tuple(names[::-1])

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(self.path(context))

    def on_fit_task_end(self, estimator, context):
        self.ended.append(self.path(context))
        return len(self.ended) > self.stop_after


def test_callbacks_see_fit_start_iteration(X):
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    fitted = mixture(2, n_init=3, init_params="kmeans").set_callbacks(recorder).fit(X)
    assert recorder.up == 0
    assert recorder.begun[0] == recorder.ended[-1] == ("fit",)
    assert sorted(recorder.begun) == sorted(recorder.ended)
    starts = [path for path in recorder.begun if len(path) == 2]
    iterations = [path for path in recorder.begun if len(path) == 3]
    assert starts == [("fit", "start (kmeans)")] * len(fitted.restarts_.starts)
    assert {path[2] for path in iterations} == {"iteration"}
    assert len(iterations) == sum(len(start.history) for start in fitted.restarts_.starts)
    assert not [name for name in vars(fitted) if "callback_fit" in name]


def test_callbacks_leave_the_result_alone(X):
    pytest.importorskip("sklearn.callback")
    same_fit(mixture().fit(X), mixture().set_callbacks(Recorder()).fit(X), rtol=1e-13)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_callbacks_can_stop_a_fit(X):
    pytest.importorskip("sklearn.callback")
    fitted = mixture(2).set_callbacks(Recorder(stop_after=0)).fit(X)
    assert fitted.n_iter_ <= 1
    assert not fitted.converged_


def test_progress_bar(X):
    pytest.importorskip("rich")
    callback = pytest.importorskip("sklearn.callback")
    fitted = mixture(2).set_callbacks(callback.ProgressBar()).fit(X)
    assert fitted.converged_


def test_verbose(X, capsys):
    mixture(2, n_init=3).fit(X)
    assert capsys.readouterr().out == ""
    mixture(2, n_init=3, verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 4
    assert "s] start 0 (tied): " in lines[0]
    assert " starts at the best of " in lines[-1]
    mixture(2, n_init=3, verbose=2).fit(X)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > len(lines) + 20
    assert "rows/s" not in printed  # passes are short


def test_verbose_tells_how_fast_rows_are_gone_through(X, capsys, monkeypatch):
    monkeypatch.setattr(_pace, "LONG_PASS", 0.0)
    mixture(2, means_init=[X.min(axis=0), X.max(axis=0)], acceleration="none", verbose=2).fit(X)
    first, second, third, *_, last, _, _ = capsys.readouterr().out.splitlines()
    assert "rows/s" not in first  # there was no pass before it to be timed
    assert re.search(r"objective -[\d.]+; (\d\.\d M|[\d,]+) rows/s$", second)
    assert re.search(r" rows/s, about [\d.e-]+ s left$", third)  # a rate takes two steps
    assert re.search(r" rows/s, about [\d.e-]+ s left$", last)
    mixture(2, n_init=3, verbose=2).fit(X)
    printed = capsys.readouterr().out
    assert "rows/s" in printed
    assert " left" not in printed  # of one of several starts


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_fits_of_one_iteration_that_go_on_from_each_other_converge(X, covariance_type):
    tol = 1e-5
    mixture = GaussianMixtureEM(
        2, covariance_type=covariance_type, max_iter=1, warm_start=True, tol=tol, random_state=0
    )
    values = []
    for _ in range(200):
        values.append(mixture.fit(X).log_likelihood_)
        if mixture.converged_:
            break
    assert mixture.converged_
    assert mixture.n_iter_ <= 1
    assert np.all(np.diff(values) >= -1e-9)
    limit = GaussianMixtureEM(2, covariance_type=covariance_type, tol=1e-10, random_state=0).fit(X)
    assert limit.log_likelihood_ - values[-1] < 2 * tol
    assert len(values) > 2  # a large gain is no end, whatever it promises


def test_a_start_that_broke_off_does_not_stand_for_those_that_arrived():
    """On its way up the first has a smaller handicap, and so for a while more evidence."""
    rng = np.random.RandomState(8)
    X = np.vstack([rng.normal(0, 1, (100, 2)), rng.normal(1.6, 1, (100, 2))])
    mixture = GaussianMixtureEM(2, acceleration="none", max_iter=300, random_state=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of what is unseen
        fit = mixture.fit(X)
    assert any(start.n_iter == 300 for start in fit.restarts_.starts)  # one did break off
    assert fit.converged_
    assert fit.gap_ < mixture.tol
