"""Components keep the order that they were given, can be put in another, and are matched between models."""

import copy
import pickle
import warnings
from itertools import permutations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from emlearn import (
    HMMEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
    match_components,
)
from emlearn.families import Poisson

IRIS, SPECIES = load_iris(return_X_y=True)
MEANS = np.array([IRIS[k == SPECIES].mean(axis=0) for k in range(3)])
RNG = np.random.RandomState(0)
STATES = np.repeat([0, 1, 0, 2, 1, 2, 0, 1], 25)
STEPS = np.column_stack(
    [
        RNG.normal(4.0 * STATES, 1.0),
        RNG.poisson(1.0 + 5.0 * STATES),
        (STATES + RNG.randint(2, size=200)) % 3,
        RNG.uniform(size=200) < 0.1 + 0.4 * STATES,
    ]
)
ROWS = RNG.normal(size=(150, 2)) * [1.0, 10.0] + [5.0, 100.0]
SIDE = RNG.randint(2, size=150)
LINES = np.where(SIDE, 1.0 + 0.5 * ROWS[:, 0], 3.0 - 0.2 * ROWS[:, 0] + 0.02 * ROWS[:, 1])
Y = LINES + 0.1 * RNG.normal(size=150)
COUNTS = RNG.poisson(np.exp(LINES / 2))
CLASSES = np.where(RNG.uniform(size=150) < 1 / (1 + np.exp(4.5 - LINES)), "yes", "no")
GAPS = np.where(RNG.uniform(size=IRIS.shape) < 0.1, np.nan, IRIS)
ALL_KINDS = {0: "gaussian", 1: "poisson", 2: "categorical", 3: "bernoulli"}


def quick(cls, n_components, **settings):
    settings = {"n_init": 3, "random_state": 0, **settings}
    return cls(n_components=n_components, **settings)


# An estimator, and what it is fitted to.
FITS = {
    "mixture": (quick(GaussianMixtureEM, 3), (IRIS,)),
    "mixture tied": (quick(GaussianMixtureEM, 3, covariance_type="tied"), (IRIS,)),
    "mixture factor": (quick(GaussianMixtureEM, 2, covariance_type="factor", n_factors=1), (IRIS,)),
    "hmm": (quick(HMMEM, 3), (STEPS[:, :1],)),
    "hmm gmm": (quick(HMMEM, 3, emission="gmm"), (STEPS[:, :1],)),
    "hmm poisson": (quick(HMMEM, 3, emission="poisson"), (STEPS[:, [1]],)),
    "hmm categorical": (quick(HMMEM, 3, emission="categorical"), (STEPS[:, [2]],)),
    "hmm dict": (quick(HMMEM, 3, emission=ALL_KINDS, startprob="stationary"), (STEPS,)),
    "imputer": (quick(EMImputer, 3), (GAPS,)),
    "lines": (quick(MixtureOfLinearRegressions, 2), (ROWS, Y)),
    "lines shared": (quick(MixtureOfLinearRegressions, 2, shared_coef=[1], shared_variance=True), (ROWS, Y)),
    "counts": (quick(MixtureOfLinearRegressions, 2, family="poisson"), (ROWS, COUNTS)),
    "experts": (quick(MixtureOfExperts, 2, gate_features=[0]), (ROWS, Y)),
    "classifier": (quick(MixtureOfExpertsClassifier, 2), (ROWS, CLASSES)),
}


def by_component(model, data):
    """What a model says of components, the last axis theirs; or the one before, of a transition matrix."""
    if hasattr(model, "component_proba"):
        return [model.component_proba(*data), model.component_proba(data[0]), model.weights_[None]]
    if isinstance(model, EMImputer):
        return [model.weights_[None], model.means_.T, model.covariances_.T]
    return [model.predict_proba(*data)]


def likelihood(model, data):
    return model.score_samples(*data)


@pytest.fixture(scope="module", params=FITS)
def fitted(request):
    estimator, data = FITS[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # few starts, and what they end at is no matter here
        return clone(estimator).fit(*data), data


def test_reorder_changes_nothing_but_places(fitted):
    model, data = fitted
    K = model.n_components
    order = np.roll(np.arange(K), 1)
    moved = copy.deepcopy(model)
    assert moved.reorder(order) is moved
    np.testing.assert_allclose(likelihood(moved, data), likelihood(model, data), rtol=1e-10, atol=1e-10)
    assert moved.n_parameters_ == model.n_parameters_
    assert moved.log_likelihood_ == model.log_likelihood_
    for here, there in zip(by_component(model, data), by_component(moved, data), strict=True):
        np.testing.assert_allclose(there, here[..., order], rtol=1e-9, atol=1e-12)
    if isinstance(model, HMMEM):
        np.testing.assert_array_equal(moved.transmat_, model.transmat_[np.ix_(order, order)])
        np.testing.assert_allclose(moved.startprob_, model.startprob_[order], rtol=1e-12, atol=1e-15)
    back = moved.reorder(np.argsort(order))
    np.testing.assert_allclose(by_component(back, data)[0], by_component(model, data)[0], rtol=1e-12)


def test_every_permutation_is_found(fitted):
    model, _ = fitted
    for order in permutations(range(model.n_components)):
        moved = pickle.loads(pickle.dumps(model)).reorder(order)
        found = match_components(model, moved)
        assert found.dtype.kind == "i"
        assert np.asarray(order)[found].tolist() == list(range(model.n_components))


@pytest.mark.parametrize("order", [[0], [0, 0], [0, 2], [0.5, 1], [1, 2], [[0, 1]], "ab", [0, np.nan]])
def test_wrong_orders(order):
    model = GaussianMixtureEM.from_parameters([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]])
    with pytest.raises(ValueError, match="order"):
        model.reorder(order)
    assert model.means_.tolist() == [[0.0], [1.0]]


def test_reorder_needs_a_fit():
    with pytest.raises(NotFittedError):
        HMMEM().reorder([0, 1])


# -- which order a fit has ----------------------------------------------------------------------------------


def agreement(model):
    return np.mean(model.predict(IRIS) == SPECIES)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_given_means_keep_their_order(order):
    """The case of the issue: scikit-learn's .967."""
    model = GaussianMixtureEM(3, means_init=MEANS[order]).fit(IRIS)
    assert np.mean(np.asarray(order)[model.predict(IRIS)] == SPECIES) > 0.96
    assert model.log_likelihood_ == pytest.approx(-180.185, abs=0.01)


@pytest.mark.parametrize(
    "covariance_type", ["full", "tied", "diag", "spherical", "VEI", "EVI", "VEE", "factor"]
)
def test_given_means_keep_their_order_in_every_form(covariance_type):
    model = GaussianMixtureEM(3, means_init=MEANS, covariance_type=covariance_type, n_factors=2).fit(IRIS)
    assert agreement(model) > 0.85


def test_labels_and_responsibilities_keep_their_order():
    resp = np.eye(3)[SPECIES] * 0.8 + 0.2 / 3
    for init in (SPECIES, resp, lambda X, K, rng: (X[:, 2] > 2.5).astype(int) + (X[:, 2] > 4.8)):
        n_init = 1 if callable(init) else 30
        assert agreement(GaussianMixtureEM(3, init_params=init, n_init=n_init).fit(IRIS)) > 0.9


def test_precisions_that_differ_keep_their_order():
    rng = np.random.RandomState(1)
    X = np.r_[rng.normal(0.0, 0.2, 300), rng.normal(0.0, 3.0, 500)][:, None]
    for precisions in ([[[25.0]], [[0.1]]], [[[0.1]], [[25.0]]]):
        model = GaussianMixtureEM(2, precisions_init=precisions, n_init=5, random_state=0).fit(X)
        assert (model.covariances_.ravel().argsort() == np.ravel(precisions).argsort()[::-1]).all()


def test_races_are_sorted_by_weight():
    alike = np.tile(np.linalg.inv(np.cov(IRIS.T)), (3, 1, 1))
    for settings in ({}, {"precisions_init": alike}, {"n_init": 1}, {"weights_init": [0.1, 0.2, 0.7]}):
        settings = {"n_init": 3, "random_state": 2, **settings}
        weights = GaussianMixtureEM(3, **settings).fit(IRIS).weights_
        assert np.all(np.diff(weights) <= 1e-9), settings
    init = lambda X, K, rng: rng.permutation(np.arange(len(X)) % K)  # noqa: E731
    weights = GaussianMixtureEM(3, init_params=init, n_init=4, random_state=0).fit(IRIS).weights_
    assert np.all(np.diff(weights) <= 1e-9)


def test_a_walk_forward_keeps_the_volatile_regime():
    """Means of returns cross again and again; the state of great variance is the one it was."""
    rng = np.random.RandomState(1)
    volatile = np.repeat(rng.randint(2, size=40), 15)
    returns = rng.normal(0.0, np.where(volatile, 3.0, 0.7))[:, None]
    model = HMMEM(2, n_init=5, random_state=0, warm_start=True)
    first = model.fit(returns[:200]).covariances_.ravel().argsort()
    crossed = set()
    for begin in range(20, 400, 20):
        before = copy.deepcopy(model)
        model.fit(returns[begin : begin + 200])
        assert (model.covariances_.ravel().argsort() == first).all()
        assert match_components(before, model).tolist() == [0, 1]
        crossed.add(bool(model.means_[0, 0] < model.means_[1, 0]))
    assert crossed == {True, False}, "means never crossed: the test shows nothing"


def test_a_bootstrap_of_refits_has_sensible_standard_errors():
    rng = np.random.RandomState(0)
    X, side = rng.normal(size=(200, 1)), np.arange(200) % 2
    y = np.where(side, 1.0, -1.0) * X[:, 0] + 0.3 * rng.normal(size=200)
    model = MixtureOfLinearRegressions(2, n_init=5, random_state=0, warm_start=True).fit(X, y)
    slopes = []
    for _ in range(30):
        rows = rng.randint(200, size=200)
        slopes.append(model.fit(X[rows], y[rows]).coef_.ravel().copy())
    assert np.std(slopes, axis=0).max() < 0.1
    # The weights cross: by these they would have been sorted.
    model = MixtureOfExperts(2, n_init=5, random_state=0, warm_start=True).fit(X, y)
    before = model.coef_.ravel().copy()
    model.reorder([1, 0]).fit(X, y)
    np.testing.assert_allclose(model.coef_.ravel(), before[::-1], rtol=1e-3)
    np.testing.assert_allclose(model.weights_, model.component_proba(X).mean(axis=0), rtol=1e-9)


# -- what cannot be matched ---------------------------------------------------------------------------------

ONE = GaussianMixtureEM.from_parameters([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]])
CHAIN = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
STATES_OF_ONE = HMMEM.from_parameters(*CHAIN, means=[[0.0], [1.0]], covariances=[[[1.0]], [[1.0]]])
RATES = HMMEM.from_parameters(*CHAIN, emission="poisson", rates=[[1.0], [2.0]])
LINE = {"weights": [0.5, 0.5], "sigma": [1.0, 1.0]}
UNLIKE = {
    "kind": (ONE, STATES_OF_ONE, "reference is a GaussianMixtureEM, but other is a HMMEM"),
    "no estimator": (ONE, np.eye(2), "(?s)other=.* is no estimator with components"),
    "a class": (GaussianMixtureEM, ONE, "reference=.* is no estimator with components"),
    "not fitted": (ONE, GaussianMixtureEM(2), "other=GaussianMixtureEM.* is not fitted"),
    "components": (
        ONE,
        GaussianMixtureEM.from_parameters([1.0], [[0.0]], [[[1.0]]]),
        "reference has 2 components, but other has 1",
    ),
    "features": (
        ONE,
        GaussianMixtureEM.from_parameters([0.5, 0.5], np.eye(2), [np.eye(2)] * 2),
        "reference has 1 features, but other has 2",
    ),
    "names": (
        *(
            GaussianMixtureEM.from_parameters([1.0], [[0.0]], [[[1.0]]], feature_names=[name])
            for name in ("height", "weight")
        ),
        r"features \['height'\], but other has \['weight'\]",
    ),
    "emission": (STATES_OF_ONE, RATES, "Gaussian cannot be compared with those of Poisson"),
    "response": (
        MixtureOfLinearRegressions.from_parameters([[1.0], [2.0]], **LINE),
        MixtureOfLinearRegressions.from_parameters([[1.0], [2.0]], weights=[0.5, 0.5], family="poisson"),
        "Regression cannot be compared with those of Regression",
    ),
    "intercept": (
        MixtureOfLinearRegressions.from_parameters([[1.0], [2.0]], **LINE),
        MixtureOfLinearRegressions.from_parameters([[1.0], [2.0]], fit_intercept=False, **LINE),
        "fit_intercept is True in one, False in the other",
    ),
    "empty feature": (
        EMImputer.from_parameters([0.0, 1.0], np.eye(2)),
        EMImputer.from_parameters([0.0, np.nan], np.eye(2)),
        "constant or empty in one of the fits",
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_models_are_named(name):
    reference, other, message = UNLIKE[name]
    with pytest.raises(ValueError, match=message):
        match_components(reference, other)


def test_models_of_other_forms_are_matched():
    full = GaussianMixtureEM(3, n_init=3, random_state=0).fit(IRIS)
    diag = GaussianMixtureEM(3, means_init=full.means_[[2, 0, 1]], covariance_type="diag").fit(IRIS)
    assert match_components(full, diag).tolist() == [1, 2, 0]
    one_family = HMMEM.from_parameters(*CHAIN, emission=Poisson(), rates=[[2.0], [1.0]])
    assert match_components(RATES, one_family).tolist() == [1, 0]


def test_parameters_by_hand_are_matched_to_a_fit_in_the_units_of_the_fit():
    """Of a feature with a spread of 100 a slope of .01 counts as much as one of 1 of a feature with 1."""
    estimator, data = FITS["lines"]
    fit = clone(estimator).fit(*data)
    near = MixtureOfLinearRegressions.from_parameters(
        fit.coef_[::-1] * 1.02, fit.intercept_[::-1], weights=fit.weights_[::-1], sigma=fit.sigma_
    )
    assert match_components(fit, near).tolist() == match_components(near, fit).tolist() == [1, 0]


def test_what_does_not_vary_has_one_component():
    X = np.ones((5, 2))
    with pytest.warns(UserWarning, match="constant"):
        one, other = (EMImputer().fit(X) for _ in range(2))
    assert match_components(one, other.reorder([0])).tolist() == [0]
