"""Components that rows are supposed to be in, where a fit starts; and regimes that are known."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from emlearn import (
    MarkovSwitchingRegression,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)

N = 300


def two_lines(noise=0.4):
    rng = np.random.default_rng(0)
    X, second = rng.normal(size=(N, 1)), rng.uniform(size=N) < 0.3
    return X, np.where(second, 1 + 2 * X[:, 0], -1 - X[:, 0]) + noise * rng.normal(size=N), second.astype(int)


@pytest.mark.parametrize("form", ["some labels", "probabilities", "groups", "zero inflation"])
def test_a_fit_starts_at_labels_and_keeps_their_numbers(form):
    X, y, second = two_lines()
    kwargs, beside = {"random_state": 0, "tol": 1e-7}, {}
    labels = np.where(np.arange(N) % 4 == 0, 1 - second, -1)  # the smaller is the first one
    if form == "probabilities":
        labels = np.where(second[:, None] == [1, 0], 0.9, 0.1)
    if form == "groups":
        beside["groups"] = np.random.default_rng(1).permutation(np.repeat(np.arange(N // 3), 3))
        order = np.argsort(beside["groups"], kind="stable")
        second = np.empty(N, dtype=int)
        second[order] = np.repeat(np.arange(N // 3) % 3 == 0, 3)
        y = np.where(second, 1 + 2 * X[:, 0], -1 - X[:, 0]) + np.random.default_rng(2).normal(size=N)
        labels = 1 - second
    if form == "zero inflation":
        y = np.where(
            np.arange(N) % 5 == 0, 0, np.random.default_rng(3).poisson(np.exp(1 + 0.5 * second * X[:, 0]))
        )
        kwargs |= {"family": "poisson", "zero_inflated": True}
    before = labels.copy()
    model = MixtureOfLinearRegressions(2, **kwargs)
    given, raced = model.fit(X, y, start_labels=labels, **beside), MixtureOfLinearRegressions(2, **kwargs)
    raced.fit(X, y, **beside)
    np.testing.assert_array_equal(labels, before)
    assert [start.kind for start in given.restarts_.starts] == ["given"]
    assert given.log_likelihood_ == pytest.approx(raced.log_likelihood_, abs=1e-4)
    if form != "zero inflation":  # of which the two are hardly apart
        assert given.coef_[0, 0] > 1
        assert given.weights_[0] < given.weights_[1]
        np.testing.assert_allclose(given.coef_[::-1], raced.coef_, atol=1e-4)


@pytest.mark.filterwarnings("ignore:EM stopped short")
def test_labels_that_no_race_would_find():
    """Where a fit begins it stays: with no iteration it is the regressions of the labels themselves."""
    X, y, _ = two_lines()
    labels = (X[:, 0] > 0).astype(int)
    start = MixtureOfExperts(2, max_iter=0, random_state=0).fit(X, y, start_labels=labels)
    for k in range(2):
        slope, constant = np.polyfit(X[labels == k, 0], y[labels == k], 1)
        np.testing.assert_allclose([start.coef_[k, 0], start.intercept_[k]], [slope, constant], rtol=1e-6)
    classes = MixtureOfExpertsClassifier(2, random_state=0).fit(X, y > 0, start_labels=labels)
    assert classes.gate_coef_[0, 0] < classes.gate_coef_[1, 0]


def test_bad_labels_are_named():
    X, y, _ = two_lines()
    for labels, match in (
        (np.zeros(5), r"start_labels has shape \(5,\); expected \(300,\), or \(300, 2\)"),
        (np.where(np.arange(N) == 7, 2, np.arange(N) % 2), "start_labels of row 7 are neither"),
        (np.where(np.arange(N) == 7, np.nan, 0), "start_labels"),
        (np.zeros((N, 2)), "start_labels of row 0 are neither"),
        (np.zeros(N), "give component 1 no row"),
    ):
        with pytest.raises(ValueError, match=match):
            MixtureOfLinearRegressions(2).fit(X, y, start_labels=labels)
    with pytest.raises(ValueError, match="X comes in pieces"):
        MixtureOfLinearRegressions(2).fit([X, X], np.r_[y, y], start_labels=np.zeros(2 * N))


@pytest.mark.filterwarnings("ignore:EM stopped short")
def test_known_regimes_hold():
    rng = np.random.default_rng(4)
    regime = np.repeat([1, 0, 1], 30)
    X = rng.normal(size=(90, 1))
    y = np.where(regime, 1 + X[:, 0], -X[:, 0]) + rng.normal(size=90)
    known = np.where(rng.uniform(size=90) < 0.3, 1 - regime, -1)  # the numbers are the user's
    fit = MarkovSwitchingRegression(2, random_state=0).fit(X, y, state_labels=known)
    assert fit.coef_[0, 0] > fit.coef_[1, 0]
    # Of responses and labels together, by summing over all paths through the labels.
    some = slice(26, 34)
    again = fit.set_params(max_iter=0, warm_start=True).fit(X[some], y[some], state_labels=known[some])
    log_prob = stats.norm.logpdf(y[some, None], X[some] @ again.coef_.T + again.intercept_, again.sigma_)
    total = []
    for path in product(*([k] if k >= 0 else [0, 1] for k in known[some])):
        with np.errstate(divide="ignore"):
            steps = np.log(again.startprob_[path[0]]) + np.log(again.transmat_[path[:-1], path[1:]]).sum()
        total.append(steps + log_prob[np.arange(8), path].sum())
    assert again.log_likelihood_ == pytest.approx(logsumexp(total), rel=1e-9)
    with pytest.raises(ValueError, match="state_labels"):
        fit.fit(X, y, state_labels=np.full(90, 2))
