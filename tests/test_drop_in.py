"""Manners that users of scikit-learn and hmmlearn count on, of all estimators."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone

from emlearn import (
    HMMEM,
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn._sklearn_compat import CallbackSupportMixin

ESTIMATORS = [
    GaussianMixtureEM(2, n_init=2, random_state=0),
    BayesianGaussianMixtureEM(2, n_init=2, random_state=0),
    HMMEM(2, n_init=2, random_state=0),
    EMImputer(n_components=2, n_init=2, random_state=0),
    MixtureOfLinearRegressions(2, n_init=2, random_state=0),
    MixtureOfExperts(2, n_init=2, random_state=0),
]
OF_ROWS = [estimator for estimator in ESTIMATORS if not isinstance(estimator, EMImputer)]


def name_of(estimator):
    return type(estimator).__name__


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    return np.r_[rng.normal(size=(60, 2)), rng.normal(5.0, 1.0, size=(60, 2))]


@pytest.fixture(scope="module")
def y(X):
    return 2 * X[:, 0] + np.random.RandomState(1).normal(size=len(X))


def takes_y(estimator):
    return isinstance(estimator, (MixtureOfLinearRegressions, MixtureOfExperts))


def fitted(estimator, X, y, **params):
    estimator = clone(estimator).set_params(**params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y) if takes_y(estimator) else estimator.fit(X)


# -- ends of fits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_no_tolerance_goes_on_until_nothing_can_be_told(estimator, X, y):
    short = fitted(estimator, X, y, tol=0, max_iter=2)
    assert not short.converged_
    assert short.n_iter_ == 2
    whole = fitted(estimator, X, y, tol=0, max_iter=20_000)
    assert whole.converged_
    assert whole.lower_bounds_[-1] >= fitted(estimator, X, y).lower_bounds_[-1] - 1e-4


@pytest.mark.parametrize("tol", [-1e-3, np.nan, "0"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_bad_tolerances_are_refused(estimator, tol, X, y):
    with pytest.raises(ValueError, match="tol"):
        clone(estimator).set_params(tol=tol).fit(X, y)


@pytest.mark.skipif(not hasattr(CallbackSupportMixin, "set_callbacks"), reason="scikit-learn < 1.9")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_callbacks_are_given_what_would_be_returned_here(estimator, X, y):
    class Watch:
        def __init__(self):
            self.seen = []

        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if fitted_estimator is not None:
                self.seen.append(fitted_estimator)

    watch = Watch()
    watched = clone(estimator).set_params(n_init=1).set_callbacks(watch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched.fit(X, y) if takes_y(watched) else watched.fit(X)
    assert len(watch.seen) > 1
    last = watch.seen[-1]
    assert last is not watched
    by_row = "predict" if hasattr(watched, "predict") else "transform"
    first, end, after = (getattr(one, by_row)(X) for one in (watch.seen[0], last, watched))
    assert np.shape(first) == np.shape(end) == np.shape(after)
    given = (X, y) if takes_y(watched) else (X,)
    np.testing.assert_allclose(last.score_samples(*given), watched.score_samples(*given), rtol=1e-9)


# -- rows that lie far off ---------------------------------------------------------------------------------


FAR = [1e60, 1e153, 1e160, 1e200, 1e300, np.finfo(np.float64).max]


def row_by_row(model, rows):
    """Probabilities of the components of each row alone."""
    if isinstance(model, HMMEM):
        return np.vstack(list(model.predict_proba(list(rows[:, None]))))
    return model.predict_proba(rows)


@pytest.fixture(scope="module", params=OF_ROWS, ids=name_of)
def model(request, X, y):
    return fitted(request.param, X, y)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", FAR)
def test_rows_that_lie_far_off_have_a_source(model, size, X, y):
    rows = size * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.5], [0.0, 1.0]])
    near = X[:2]
    if takes_y(model):
        proba = model.component_proba(np.r_[rows, near], np.r_[0.0, size, -size, 1.0, y[:2]])
        alone = model.component_proba(near, y[:2])
        of_rows = model.score_samples(rows, np.zeros(4))
    else:
        proba, alone = (row_by_row(model, part) for part in (np.r_[rows, near], near))
        of_rows = model.score_samples(rows)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_allclose(proba[4:], alone, rtol=1e-12)
    typical = model.score_samples(X, y) if takes_y(model) else model.score_samples(X)
    assert (of_rows < typical.min()).all()
    if isinstance(model, GaussianMixtureEM) and size >= 1e160:
        assert np.isneginf(of_rows).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", FAR)
def test_entries_that_lie_far_off_do_not_make_others_nan(size, X, y):
    model = fitted(ESTIMATORS[3], np.where(np.random.RandomState(2).uniform(size=X.shape) < 0.1, np.nan, X), y)
    rows = np.array([[size, np.nan], [np.nan, -size], [size, size], X[0]])
    assert np.isfinite(model.transform(rows)).all()
    score = model.score_samples(rows)
    assert not np.isnan(score).any()
    assert (score[:3] < score[3]).all()
    assert not np.isnan(model.score(rows))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("missing", [False, True])
def test_predictive_densities_of_far_rows(covariance_type, missing, X):
    """Student's t, in closed form for one component, however far off."""
    model = BayesianGaussianMixtureEM(
        1, covariance_type=covariance_type, weight_concentration_prior_type="dirichlet_distribution"
    ).fit(X)
    for size in (1e1, 1e4, 1e8, 1e12, 1e60, 1e130):
        rows = size * np.array([[1.0, 1.0], [1.0, -0.7]])
        if missing:
            rows[:, 1] = np.nan
        found = model.score_samples(rows)
        slope = (found - model.score_samples(rows / 10)) / np.log(10)
        if covariance_type in ("full", "tied") and not missing and size > 1e3:
            np.testing.assert_allclose(slope, -(np.ravel(model.degrees_of_freedom_)[0] + 1), rtol=1e-3)
        assert (slope < -1).all()


# -- labels to start from ----------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[1, 2], [10, 20], [-1.0, 0.5], ["b", "c"], [True, False][::-1]])
@pytest.mark.parametrize("make", [GaussianMixtureEM, BayesianGaussianMixtureEM])
def test_labels_to_start_from_may_be_any(make, names, X):
    codes = np.repeat([0, 1], 60)
    expected = make(2, init_params=codes, random_state=0).fit(X)
    given = np.array(names)[codes]
    for labels in (given, given.astype(object), given.tolist()):
        model = make(2, init_params=labels, random_state=0).fit(X)
        np.testing.assert_array_equal(model.means_, expected.means_)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(120), "n_components=2 different"),
        (np.arange(120) % 3, "but holds 3"),
        (np.r_[np.nan, np.ones(119)], "NaN"),
    ],
)
def test_labels_to_start_from_are_as_many_as_components(labels, message, X):
    with pytest.raises(ValueError, match=message):
        GaussianMixtureEM(2, init_params=labels).fit(X)


# -- draws -------------------------------------------------------------------------------------------------


def draws(model, X, **params):
    if isinstance(model, EMImputer):
        gaps = X.copy()
        gaps[::7, 0] = np.nan
        model = fitted(model, gaps, None)
        return np.array(model.sample(gaps, 2, **params))
    return model.sample(X, **params)[0] if takes_y(model) else model.sample(5, **params)[0]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_draws_of_another_seed(estimator, X, y):
    model = fitted(estimator, X, y)
    first = draws(model, X)
    np.testing.assert_array_equal(draws(model, X), first)
    other = draws(model, X, random_state=5)
    assert not np.array_equal(other, first)
    np.testing.assert_array_equal(draws(model, X, random_state=5), other)
    assert not np.array_equal(*[draws(model, X, random_state=rng) for rng in [np.random.RandomState(5)] * 2])


@pytest.fixture
def chain():
    known = {"means": [[0.0], [9.0]], "covariances": [1.0, 1.0], "covariance_type": "spherical"}
    return HMMEM.from_parameters([1.0, 0.0], [[0.9, 0.1], [0.3, 0.7]], **known)


def test_sequences_of_given_lengths_and_first_states(chain):
    sequences, states = chain.sample([3, 1, 5], random_state=0)
    assert [len(rows) for rows in sequences] == [len(path) for path in states] == [3, 1, 5]
    assert all(path[0] == 0 for path in states)
    _, states = chain.sample([3, 1, 5], currstate=[1, 0, 1], random_state=0)
    assert [path[0] for path in states] == [1, 0, 1]
    rows, states = chain.sample(20_000, currstate=1, random_state=0)
    assert states[0] == 1
    assert len(rows) == 20_000
    moves = np.mean(states[1:][states[:-1] == 1] == 0)
    assert moves == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 4000) ** 0.5)
    assert len(chain.sample(4, 3)[0]) == 3
    assert np.shape(chain.sample(4)[0]) == (4, 1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_samples": [2, 0]}, "at least one step"),
        ({"n_samples": 2.5}, "at least one step"),
        ({"n_samples": []}, "at least one step"),
        ({"n_samples": [2, 3], "n_sequences": 3}, "2 lengths"),
        ({"n_sequences": 0}, "at least one step"),
        ({"currstate": 2}, "0 to 1"),
        ({"currstate": -1}, "0 to 1"),
        ({"currstate": 0.5}, "0 to 1"),
        ({"currstate": [0, 1]}, r"shape \(2,\)"),
        ({"currstate": "one"}, "currstate"),
    ],
)
def test_bad_sizes_and_states_of_draws_are_named(asked, message, chain):
    with pytest.raises(ValueError, match=message):
        chain.sample(**asked)


# -- the rest ----------------------------------------------------------------------------------------------


def test_states_of_what_was_fitted(X):
    sequences = [X[:50], X[50:]]
    for given in (X, sequences):
        states = clone(ESTIMATORS[2]).fit_predict(given)
        expected = clone(ESTIMATORS[2]).fit(given).predict(given)
        for mine, theirs in zip(states, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_logarithms_of_classes(X):
    classes = np.where(X[:, 0] + X[:, 1] + np.random.RandomState(0).normal(size=len(X)) > 5, "yes", "no")
    model = MixtureOfExpertsClassifier(2, n_init=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, classes)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    lazy = model.predict_log_proba([X[:50], X[50:]])
    np.testing.assert_array_equal(np.vstack(list(lazy)), model.predict_log_proba(X))


@pytest.mark.parametrize("scale", [1e-30, 1e25, 1e30])
@pytest.mark.parametrize("estimator", ESTIMATORS[:3], ids=name_of)
def test_single_precision_is_left_where_it_does_not_reach(estimator, scale, X, y):
    small = (X * scale).astype(np.float32)
    model, expected = fitted(estimator, small, y), fitted(estimator, small.astype(np.float64), y)
    np.testing.assert_allclose(model.covariances_, expected.covariances_, rtol=1e-5)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-5, atol=1e-5 * scale)


def test_what_is_given_may_lack_entries(X):
    rng = np.random.RandomState(3)
    rows = np.c_[X, X @ [1.0, -0.5] + 0.3 * rng.normal(size=len(X)), rng.normal(size=len(X))]
    model = GaussianMixtureEM(2, random_state=0).fit(rows)
    known = rows[:6, [3, 0, 2]].copy()
    whole = model.conditional(known, [3, 0, 2])
    known[1, 0] = known[2, 1] = known[3, :2] = known[4] = np.nan
    found = model.conditional(known, [3, 0, 2])
    assert found.covariances.shape == (6, 2, 1, 1)
    for row in (0, 5):
        np.testing.assert_allclose(found.means[row], whole.means[row])
        np.testing.assert_allclose(found.covariances[row], whole.covariances)
        np.testing.assert_allclose(found.weights[row], whole.weights[row])
    for row, columns, places in ((1, [0, 2], [1, 2]), (2, [3, 2], [0, 2]), (3, [2], [2])):
        less = model.marginal([1, *sorted(columns)])
        order = np.argsort(columns)
        alone = less.conditional(known[[row]][:, np.array(places)[order]], np.arange(1, 1 + len(columns)))
        np.testing.assert_allclose(found.means[row], alone.means[0])
        np.testing.assert_allclose(found.covariances[row], alone.covariances)
    np.testing.assert_allclose(found.weights[4], model.weights_)
    np.testing.assert_allclose(found.means[4][:, 0], model.means_[:, 1])
    expected = np.einsum("nk,nkq->nq", found.weights, found.means)
    np.testing.assert_allclose(found.mean(), expected)


def test_states_of_estimators_have_keys_that_are_texts_or_numbers(X):
    """Formats that hold no code, such as skops, write dicts as JSON."""
    counts = np.c_[X[:, 0], np.abs(X[:, 1]).round()]
    model = HMMEM(2, emission={0: "gaussian", 1: "poisson"}, n_init=2, random_state=0).fit(counts)

    def keys(value):
        if isinstance(value, dict):
            yield from value
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        for part in parts:
            yield from keys(part)

    assert all(isinstance(key, (str, int, float)) for key in keys(model.__getstate__()))
    for again in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):
        assert list(again.emission_params_) == [(0,), (1,)]
        np.testing.assert_array_equal(again.predict(counts), model.predict(counts))
