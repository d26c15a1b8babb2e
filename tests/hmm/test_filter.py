"""Filtering on line gives what one pass over the whole gives."""

import copy
import pickle
import warnings

import numpy as np
import pytest

from emlearn import HMMEM

KINDS = {
    "gaussian": ({}, 2),
    "diag": ({"covariance_type": "diag"}, 3),
    "poisson": ({"emission": "poisson"}, 1),
    "mixed": ({"emission": {0: "gaussian", 1: "poisson", 2: "bernoulli"}}, 3),
    "ergodic by turns": ({"transition": "left-right"}, 1),
    "variational": ({"inference": "variational", "emission": "poisson"}, 1),
    "fixed start": ({"startprob": "uniform"}, 2),
    "stationary": ({"startprob": "stationary"}, 1),
}


def rows_of(kind, n=120):
    rng = np.random.RandomState(0)
    state = np.repeat(rng.randint(3, size=n // 10), 10)
    d = KINDS[kind][1]
    if "poisson" in kind or kind == "variational":
        return rng.poisson([1.0, 5.0, 12.0], size=(n, 3))[np.arange(n), state][:, None].astype(float)
    X = 3.0 * state[:, None] + rng.normal(size=(n, d))
    if kind == "mixed":
        X[:, 1], X[:, 2] = rng.poisson(1 + 3 * state), rng.uniform(size=n) < 0.3 * state
    return X


@pytest.fixture(scope="module", params=KINDS)
def model_and_rows(request):
    X = rows_of(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return HMMEM(3, n_init=2, random_state=0, **KINDS[request.param][0]).fit(X), X


@pytest.mark.parametrize("gaps", [False, True])
def test_steps_one_by_one_are_one_pass(model_and_rows, gaps):
    model, X = model_and_rows
    if gaps:
        X = X.copy()
        X[::5] = np.nan
    following = model.filter()
    proba = np.array([following.update(x).state_proba for x in X])
    np.testing.assert_allclose(proba, model.filter_proba(X), rtol=1e-12, atol=1e-12)
    assert following.log_likelihood == pytest.approx(model.log_likelihood(X)[0], rel=1e-12)
    assert following.n_steps == len(X)
    for mine, theirs in zip(following.predict_next(4), model.predict_next(X, 4), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_before_the_first_step(model_and_rows):
    model, X = model_and_rows
    following = model.filter()
    np.testing.assert_allclose(following.state_proba, model.startprob_, atol=1e-12)
    first = following.predict_next(2).state_proba
    np.testing.assert_allclose(first, [model.startprob_, model.startprob_ @ model.transmat_], atol=1e-12)
    before = following.update(X[0]).state_proba
    np.testing.assert_array_equal(following.update(X[1]).reset().update(X[0]).state_proba, before)
    assert following.n_steps == 1


def test_a_filter_goes_on_after_it_was_kept(model_and_rows):
    model, X = model_and_rows
    following = model.filter()
    for x in X[:50]:
        following.update(x)
    others = pickle.loads(pickle.dumps(following)), copy.copy(following), copy.deepcopy(following)
    for x in X[50:60]:
        following.update(x)
    for other in others:
        assert other.n_steps == 50
        for x in X[50:60]:
            other.update(x)
        np.testing.assert_array_equal(other.state_proba, following.state_proba)
        assert other.log_likelihood == following.log_likelihood


def test_a_refit_changes_no_filter_that_was_made_before():
    X = rows_of("gaussian")
    model = HMMEM(2, n_init=2, random_state=0).fit(X)
    following, expected = model.filter(), model.filter_proba(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_params(n_components=3).fit(-X)
    np.testing.assert_allclose(np.array([following.update(x).state_proba for x in X]), expected, atol=1e-12)
    assert following.predict_next().state_proba.shape == (1, 2)


def test_states_that_come_to_matter_much_later():
    """An outlier of 500 standard deviations that only a state makes that cannot be reached in one step."""
    known = {"means": [[0.0], [1.0], [500.0]], "covariances": [1.0, 1.0, 1.0], "covariance_type": "spherical"}
    transmat = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1e-120, 0.0, 1 - 1e-120]]
    model = HMMEM.from_parameters([1.0, 0.0, 0.0], transmat, **known)
    X = np.r_[0.0, 500.0, 500.0, 0.0, 500.0, 1.0, np.zeros(30), 500.0][:, None]
    following = model.filter()
    proba = np.array([following.update(x).state_proba for x in X])
    np.testing.assert_allclose(proba, model.filter_proba(X), rtol=1e-9, atol=1e-14)
    assert following.log_likelihood == pytest.approx(model.log_likelihood(X)[0], rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e60, 1e200, np.finfo(float).max])
def test_steps_that_lie_far_off(size):
    X = rows_of("gaussian")
    model = HMMEM(2, n_init=2, random_state=0).fit(X)
    following = model.filter()
    for x in (X[0], [size, -size], X[1]):
        assert following.update(x).state_proba.sum() == pytest.approx(1.0)
    assert following.log_likelihood < -1e100


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0], r"shape \(1,\) at step 1, but the model has 2 features"),
        ([[1.0, 2.0], [3.0, 4.0]], "2 features"),
        (["a", 1.0], "step 1 must hold 2 numbers"),
        ([np.inf, 1.0], "infinity in column 0, step 1"),
        ([1.0, 2.5], "2.5 in column 1, step 1"),
        ([1.0, -1.0], "-1 in column 1, step 1"),
        (None, "2"),
    ],
)
def test_bad_steps_are_named_and_change_nothing(x, message):
    model = HMMEM.from_parameters(
        [0.5, 0.5],
        [[0.9, 0.1], [0.1, 0.9]],
        emission={0: "gaussian", 1: "poisson"},
        emission_params={
            0: {"means": [[0.0], [3.0]], "covariances": [[[1.0]], [[1.0]]]},
            1: {"rates": [[1.0], [5.0]]},
        },
    )
    following = model.filter().update([0.0, 1])
    before = following.state_proba, following.log_likelihood, following.n_steps
    with pytest.raises(ValueError, match=message):
        following.update(x)
    np.testing.assert_array_equal(following.state_proba, before[0])
    assert (following.log_likelihood, following.n_steps) == before[1:]


@pytest.mark.parametrize("n_steps", [0, 1.5, True])
def test_bad_numbers_of_steps(n_steps):
    model = HMMEM(2, n_init=2, random_state=0).fit(rows_of("gaussian"))
    with pytest.raises(ValueError, match="at least one step"):
        model.filter().predict_next(n_steps)
