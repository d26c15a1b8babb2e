"""Experts and gates that see different features."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize
from scipy.special import log_expit, log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emlearn import MixtureOfExperts, MixtureOfExpertsClassifier, match_components
from tests.helpers.pace import some_slow


def who_and_what(n=150):
    """The second feature says of which component a row is, the first what its response is."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(2, n))
    member = rng.uniform(size=n) < 1 / (1 + np.exp(-2 * w))
    y = np.where(member, 1 + 2 * x, -1 - x) + rng.normal(size=n)
    return pd.DataFrame({"x": x, "w": w}), y


def best_of(negative, n_parameters, starts=4):
    """The greatest likelihood that a general optimiser finds."""
    rng = np.random.default_rng(1)
    fits = [optimize.minimize(negative, rng.normal(size=n_parameters), method="BFGS") for _ in range(starts)]
    return -min(fit.fun for fit in fits)


def test_the_maximum_is_that_of_a_general_optimiser():
    X, y = who_and_what()
    x, w = X.to_numpy().T
    experts = MixtureOfExperts(
        2, expert_features=["x"], gate_features=["w"], gate_alpha=0.0, tol=1e-9, n_init=3, random_state=0
    ).fit(X, y)

    def negative(p):
        log_weights = log_softmax(np.c_[np.zeros(len(w)), p[0] + p[1] * w], axis=1)
        z = (y[:, None] - p[2:4] - np.outer(x, p[4:6])) / np.exp(p[6:])
        return -logsumexp(log_weights - 0.5 * z**2 - p[6:] - 0.5 * np.log(2 * np.pi), axis=1).sum()

    assert experts.n_parameters_ == 8
    assert experts.log_likelihood_ == pytest.approx(best_of(negative, 8), abs=1e-6)
    assert experts.coef_.shape == experts.gate_coef_.shape == (2, 1)
    assert experts.expert_features_.tolist() == [0]
    assert experts.gate_features_.tolist() == [1]


def test_classes_with_an_offset_and_intercepts_alone():
    """The latent class model with covariates, of a response with two classes in groups."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(150), 4)
    w = rng.normal(size=150)[groups]
    member = (rng.uniform(size=150) < 1 / (1 + np.exp(-1.5 * w[::4])))[groups]
    offset = rng.normal(size=600)
    y = rng.uniform(size=600) < 1 / (1 + np.exp(-np.where(member, 1.5, -1.5) - offset))
    classifier = MixtureOfExpertsClassifier(
        2, expert_features=[], gate_features=[0], gate_alpha=0.0, tol=1e-9, n_init=3, random_state=0
    ).fit(w[:, None], y, groups=groups, offset=offset)

    def negative(p):
        log_weights = log_softmax(np.c_[np.zeros(150), p[0] + p[1] * w[::4]], axis=1)
        eta = p[2:] + offset[:, None]
        density = log_expit(np.where(y[:, None], eta, -eta)).reshape(150, 4, 2).sum(axis=1)
        return -logsumexp(log_weights + density, axis=1).sum()

    assert classifier.coef_.shape == (2, 0)
    assert classifier.n_parameters_ == 4
    assert classifier.log_likelihood_ == pytest.approx(best_of(negative, 4, 3), abs=1e-6)
    eta = classifier.intercept_ + offset[:, None]
    prior = classifier.component_proba(w[:, None])
    expected = (prior / (1 + np.exp(-eta))).sum(axis=1)
    np.testing.assert_allclose(classifier.predict_proba(w[:, None], offset=offset)[:, 1], expected, rtol=1e-12)


@pytest.mark.parametrize("fit_intercept", some_slow([True, False], [True]))
def test_features_by_number_name_and_mask_in_any_order(fit_intercept):
    X, y = who_and_what()
    X = X.assign(v=X.x**2 + 3)
    options = {"fit_intercept": fit_intercept, "n_init": 2, "random_state": 0}
    ways = [["v", "x"], [2, 0], [-1, 0]]
    fits = [
        MixtureOfExperts(2, expert_features=way, gate_features=["x", "w"], **options).fit(X, y) for way in ways
    ]
    mask = MixtureOfExperts(2, expert_features=X.columns != "w", gate_features=[0, 1], **options).fit(X, y)
    for fit in fits:
        assert fit.expert_features_.tolist() == [2, 0]
        np.testing.assert_array_equal(fit.coef_, fits[0].coef_)
        np.testing.assert_allclose(fit.coef_, mask.coef_[:, ::-1], rtol=1e-6)
    means = mask.intercept_ + X[["x", "v"]].to_numpy() @ mask.coef_.T
    np.testing.assert_allclose(mask.predict_components(X), means, rtol=1e-10)
    known = MixtureOfExperts.from_parameters(
        fits[0].coef_,
        fits[0].intercept_,
        gate_coef=fits[0].gate_coef_,
        gate_intercept=fits[0].gate_intercept_,
        sigma=fits[0].sigma_,
        feature_names=list(X.columns),
        expert_features=["v", "x"],
        gate_features=["x", "w"],
        fit_intercept=fit_intercept,
    )
    np.testing.assert_allclose(known.score_samples(X, y), fits[0].score_samples(X, y), rtol=1e-9, atol=1e-9)
    assert match_components(fits[0], known).tolist() == [0, 1]


def test_ridge_shared_coefficients_units_and_warm_start():
    X, y = who_and_what()
    X = X.assign(z=np.random.default_rng(5).normal(size=len(X)))
    options = {"expert_features": ["z", "x"], "gate_features": ["w"], "shared_coef": ["z"]}
    options |= {"n_init": 2, "random_state": 0}
    experts = MixtureOfExperts(2, alpha=3.0, tol=1e-7, **options).fit(X, y)
    assert experts.coef_[0, 0] == experts.coef_[1, 0]
    assert experts.n_parameters_ == 1 + 2 + 2 + 2 + 2
    again = MixtureOfExperts(2, alpha=3.0, tol=1e-7, **options, warm_start=True).fit(X, y).fit(X, y)
    assert again.n_iter_ <= 5
    np.testing.assert_allclose(again.coef_, experts.coef_, rtol=1e-5, atol=1e-5)
    # What only the gate sees has no part in the ridge, whatever its unit.
    other = MixtureOfExperts(2, alpha=3.0, tol=1e-7, **options).fit(X.assign(w=1000 * X.w + 7), y)
    np.testing.assert_allclose(other.coef_, experts.coef_, rtol=1e-5, atol=1e-5)
    pipeline = make_pipeline(
        StandardScaler().set_output(transform="pandas"),
        MixtureOfExperts(2, tol=1e-7, **options),
    ).fit(X, y)
    plain = MixtureOfExperts(2, tol=1e-7, **options).fit(X, y)
    np.testing.assert_allclose(pipeline.predict(X), plain.predict(X), rtol=1e-4, atol=1e-4)


def test_experts_that_see_all_are_as_they_were():
    X, y = who_and_what(150)
    one, other = (
        MixtureOfExpertsClassifier(2, expert_features=seen, n_init=2, random_state=0).fit(X, y > 0)
        for seen in (None, [0, 1])
    )
    np.testing.assert_array_equal(one.coef_, other.coef_)
    model = LogisticRegression(C=1.0, tol=1e-8).fit(X[["w"]], y > 0)
    alone = MixtureOfExpertsClassifier(1, expert_features=["w"]).fit(X, y > 0)
    np.testing.assert_allclose(alone.predict_proba(X), model.predict_proba(X[["w"]]), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expert_features": ["age"]}, "expert_features names 'age', which is no feature; the features are"),
        ({"expert_features": [2]}, "expert_features names 2, which is no feature"),
        ({"expert_features": [0, 0]}, "expert_features names a feature twice"),
        ({"expert_features": [True]}, "expert_features is a mask of 1, but X has 2 features"),
        ({"expert_features": [], "fit_intercept": False}, "nothing is left of the experts"),
        ({"expert_features": ["x"], "shared_coef": ["w"]}, "shared_coef names column 'w', which experts do"),
    ],
)
def test_bad_expert_features(options, message):
    X, y = who_and_what(50)
    with pytest.raises(ValueError, match=message):
        MixtureOfExperts(2, **options).fit(X, y)


def test_known_experts_of_unknown_width():
    given = {"coef": [[1], [2]], "gate_coef": [[1], [-1]], "gate_intercept": [0, 0], "sigma": [1, 1]}
    with pytest.raises(ValueError, match="do not tell how many features there are: give feature_names"):
        MixtureOfExperts.from_parameters(**given, expert_features=[0], gate_features=[1])
    with pytest.raises(ValueError, match="experts see 2 of 2 features"):
        MixtureOfExperts.from_parameters(
            **given, expert_features=[0, 1], gate_features=[1], feature_names=["a", "b"]
        )
