"""Regressions that switch: every path counted, published fits, laws, and bad input."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import HMMEM, MarkovSwitchingRegression
from emlearn.datasets import load_earthquakes, load_fed_funds
from tests.helpers.estimators import fit_and_messages
from tests.helpers.pace import some_slow

START, TRANSMAT = [0.6, 0.4], [[0.8, 0.2], [0.3, 0.7]]
COEF, INTERCEPT, SIGMA = [[1.0, -0.5], [-0.7, 0.2]], [0.3, -0.4], [0.5, 1.2]
FAMILIES = ("gaussian", "poisson", "binomial")


def known(family="gaussian", **settings):
    sigma = SIGMA if family == "gaussian" else None
    return MarkovSwitchingRegression.from_parameters(
        COEF, INTERCEPT, startprob=START, transmat=TRANSMAT, sigma=sigma, family=family, **settings
    )


def log_density(family, y, eta):
    """Log-densities (n, K), of a missing response 0."""
    y = np.asarray(y, dtype=float)[:, None]
    missing, y = np.isnan(y), np.nan_to_num(y)
    log = {
        "gaussian": lambda: stats.norm.logpdf(y, eta, SIGMA),
        "poisson": lambda: stats.poisson.logpmf(y, np.exp(eta)),
        "binomial": lambda: stats.bernoulli.logpmf(y, expit(eta)),
    }[family]()
    return np.where(missing, 0.0, log)


def series(n, seed=0, **settings):
    X = np.random.default_rng(seed).normal(size=(n, 2))
    return X, *known(**settings).sample(X, random_state=seed)


def switching(n=240, seed=0):
    """A series of one feature with two regimes that last, and the regimes."""
    rng = np.random.default_rng(seed)
    regimes = np.cumsum(rng.uniform(size=n) < 0.04) % 2
    X = rng.normal(size=(n, 1))
    return X, np.where(regimes, 2 - X[:, 0], 1 + X[:, 0]) + 0.4 * rng.normal(size=n), regimes


@pytest.mark.parametrize("family", FAMILIES)
def test_every_path_counted(family):
    X, y, _ = series(5, family=family)
    y = y.astype(float)
    y[2] = np.nan
    offset = np.linspace(-0.3, 0.4, 5)
    model = known(family)
    eta = X @ np.transpose(COEF) + INTERCEPT + offset[:, None]
    density = log_density(family, y, eta)
    paths = np.array(list(product(range(2), repeat=5)))
    log_path = np.log(START)[paths[:, 0]] + np.log(TRANSMAT)[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    joint = log_path + density[np.arange(5), paths].sum(axis=1)
    weight = np.exp(joint - logsumexp(joint))
    smoothed = np.stack([(weight[:, None] * (paths == k)).sum(axis=0) for k in range(2)], axis=1)
    score = model.score_samples(X, y, offset=offset)
    assert score.sum() == pytest.approx(logsumexp(joint), abs=1e-10)
    assert score[2] == pytest.approx(0.0, abs=1e-12)
    assert model.score(X, y, offset=offset) == pytest.approx(logsumexp(joint) / 4, abs=1e-10)
    np.testing.assert_allclose(model.predict_proba(X, y, offset=offset), smoothed, atol=1e-10)
    filtered = model.filter_proba(X, y, offset=offset)
    np.testing.assert_allclose(filtered[-1], smoothed[-1], atol=1e-10)
    upto = model.predict_proba(X[:3], y[:3], offset=offset[:3])
    np.testing.assert_allclose(filtered[2], upto[-1], atol=1e-10)
    regimes, log_joint = model.decode(X, y, offset=offset)
    np.testing.assert_array_equal(regimes, paths[joint.argmax()])
    assert log_joint == pytest.approx([joint.max()], abs=1e-10)
    means = {"gaussian": eta, "poisson": np.exp(eta), "binomial": expit(eta)}[family]
    np.testing.assert_allclose(model.predict_components(X, offset=offset), means)
    variance = {"gaussian": np.square(SIGMA), "poisson": means, "binomial": means * (1 - means)}[family]
    mean, std = model.predict(X, y, return_std=True, offset=offset)
    np.testing.assert_allclose(mean, (smoothed * means).sum(axis=1), atol=1e-10)
    second = (smoothed * (variance + means**2)).sum(axis=1)
    np.testing.assert_allclose(std, np.sqrt(second - mean**2), atol=1e-10)
    # Before anything is observed, and after the end.
    prior = np.stack([START @ np.linalg.matrix_power(TRANSMAT, t) for t in range(5)])
    np.testing.assert_allclose(model.predict_proba(X), prior)
    np.testing.assert_allclose(model.predict(X, offset=offset), (prior * means).sum(axis=1))
    ahead = model.predict_next(X[:3], y[:3], X[3:], offset=offset[:3], offset_next=offset[3:])
    np.testing.assert_allclose(ahead.regime_proba, [upto[-1] @ TRANSMAT, upto[-1] @ TRANSMAT @ TRANSMAT])
    np.testing.assert_allclose(ahead.mean, (ahead.regime_proba * means[3:]).sum(axis=1))


def test_criteria():
    X, y, _ = series(30)
    model = known()
    log_likelihood = model.score(X, y) * 30
    assert model.n_parameters_ == 6 + 2 + 2 + 1
    assert model.aic(X, y) == pytest.approx(-2 * log_likelihood + 22)
    assert model.bic(X, y) == pytest.approx(-2 * log_likelihood + 11 * np.log(30))
    assert model.icl(X, y) == pytest.approx(-2 * model.decode(X, y)[1][0] + 11 * np.log(30))


# Log-likelihoods as Stata's mswitch prints them, of the steady state as start.
STATA = {
    "constant": (1, 0, False, -508.63592),
    "one lag": (1, 1, False, -264.71069),
    "a rule": (3, 4, False, -229.25614),
}


@pytest.mark.parametrize("name", some_slow(list(STATA), ["one lag"]))
def test_published_fits(name):
    kind, skipped, own_noise, published = STATA[name]
    rates = load_fed_funds()
    y = rates.target[skipped:]
    columns = [np.ones(len(y))]
    if skipped:
        columns.append(rates.target[skipped - 1 : -1])
    if kind == 3:
        columns += [rates.data[4:, 1], rates.data[4:, 0]]
    model = MarkovSwitchingRegression(
        2, fit_intercept=False, shared_variance=not own_noise, startprob="stationary", random_state=0
    )
    model.fit(np.column_stack(columns), y)
    assert model.log_likelihood_ == pytest.approx(published, abs=1e-4)
    assert model.converged_


@pytest.mark.slow  # it takes seconds to import
def test_statsmodels_has_the_same_likelihood_and_arrives_no_higher():
    regression = pytest.importorskip("statsmodels.tsa.regime_switching.markov_regression")
    rates = load_fed_funds().target
    X, y = rates[:-1, None], rates[1:]
    other = regression.MarkovRegression(y, k_regimes=2, exog=X, switching_variance=True)
    fit = other.fit(disp=False)
    found = dict(zip(other.param_names, fit.params, strict=True))
    same = MarkovSwitchingRegression.from_parameters(
        [[found[f"x1[{k}]"]] for k in range(2)],
        [found[f"const[{k}]"] for k in range(2)],
        startprob="stationary",
        transmat=fit.regime_transition[:, :, 0].T,
        sigma=np.sqrt([found[f"sigma2[{k}]"] for k in range(2)]),
    )
    assert same.score(X, y) * len(y) == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(same.predict_proba(X, y), fit.smoothed_marginal_probabilities, atol=1e-8)
    np.testing.assert_allclose(same.filter_proba(X, y), fit.filtered_marginal_probabilities, atol=1e-8)
    np.testing.assert_allclose(same.predict(X, y), fit.predict(probabilities="smoothed"), atol=1e-8)
    model = MarkovSwitchingRegression(2, startprob="stationary", random_state=0).fit(X, y)
    assert model.log_likelihood_ >= fit.llf - 1e-4


def test_without_features_it_is_a_hidden_markov_model():
    counts = load_earthquakes().data
    settings = {"tol": 1e-9, "random_state": 0}
    model = MarkovSwitchingRegression(2, family="poisson", fit_intercept=False, **settings)
    model.fit(np.ones_like(counts), counts[:, 0])
    hmm = HMMEM(2, emission="poisson", **settings).fit(counts)
    assert model.log_likelihood_ == pytest.approx(hmm.log_likelihood_, abs=1e-7)
    np.testing.assert_allclose(np.exp(model.coef_), hmm.rates_, rtol=1e-4)
    np.testing.assert_allclose(model.transmat_, hmm.transmat_, atol=1e-4)
    assert model.n_parameters_ == hmm.n_parameters_


def test_one_regime_is_one_regression():
    X, y, _ = switching()
    model, line = MarkovSwitchingRegression(1).fit(X, y), LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_[0], line.coef_)
    np.testing.assert_allclose(model.predict(X), line.predict(X))


def test_a_fit_finds_the_regimes_and_its_attributes_agree():
    X, y, regimes = switching()
    model, messages = fit_and_messages(MarkovSwitchingRegression(2, random_state=0), X, y)
    assert not messages
    np.testing.assert_allclose(model.coef_, [[1.0], [-1.0]], atol=0.15)
    assert np.mean(model.decode(X, y)[0] == regimes) > 0.97
    assert model.score(X, y) == pytest.approx(model.lower_bound_)
    assert model.score(X, y) * len(y) == pytest.approx(model.log_likelihood_)
    assert (np.diff(model.lower_bounds_) > -1e-10).all()
    again = clone(model).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(again.coef_, model.coef_)
    # From other units, and in another order.
    scaled = clone(model).fit(100 * X + 3, 7 * y - 2)
    np.testing.assert_allclose(scaled.coef_, 0.07 * model.coef_, rtol=1e-4)
    turned = clone(model).fit(X, y).reorder([1, 0])
    np.testing.assert_array_equal(turned.transmat_, model.transmat_[::-1, ::-1])
    np.testing.assert_allclose(turned.predict(X, y), model.predict(X, y))


def test_sequences_come_in_every_way():
    X, y, _ = switching(90)
    lengths = [40, 20, 30]
    cuts = np.cumsum(lengths)[:-1]
    groups = np.repeat(["b", "a", "c"], lengths)
    model = MarkovSwitchingRegression(2, n_init=3, random_state=0)
    of_list = clone(model).fit(np.split(X, cuts), np.split(y, cuts))
    of_frames = clone(model).fit([pd.DataFrame(x, columns=["x"]) for x in np.split(X, cuts)], np.split(y, cuts))
    of_lengths = clone(model).fit(X, y, lengths=lengths)
    of_groups = clone(model).fit(X, y, groups=groups)
    for other in (of_frames, of_lengths, of_groups):
        assert other.log_likelihood_ == of_list.log_likelihood_
        np.testing.assert_array_equal(other.coef_, of_list.coef_)
        assert other.n_sequences_ == 3
    proba = of_list.predict_proba(np.split(X, cuts), np.split(y, cuts))
    assert [len(part) for part in proba] == lengths
    # Steps of the three by turns.
    order = np.argsort(np.concatenate(list(map(np.arange, lengths))), kind="stable")
    with_groups = of_groups.predict_proba(X[order], y[order], groups=groups[order])
    np.testing.assert_allclose(with_groups, np.concatenate(proba)[order])
    ahead = of_list.predict_next(np.split(X, cuts), np.split(y, cuts), [[0.0], [1.0]])
    assert ahead.mean.shape == ahead.std.shape == (3, 2)
    np.testing.assert_allclose(ahead.regime_proba[:, 0], [part[-1] @ of_list.transmat_ for part in proba])
    weighted = clone(model).fit(X, y, sample_weight=[2, 1, 0], lengths=lengths)
    twice = clone(model).fit(np.r_[X[:40], X[:60]], np.r_[y[:40], y[:60]], lengths=[40, 40, 20])
    np.testing.assert_allclose(weighted.coef_, twice.coef_, rtol=1e-6)
    assert weighted.log_likelihood_ == pytest.approx(twice.log_likelihood_, abs=1e-4)
    drawn, regimes = of_list.sample(np.split(X, cuts), random_state=0)
    assert [len(part) for part in drawn] == [len(part) for part in regimes] == lengths


def test_missing_responses_are_steps_without_an_observation():
    X, y, regimes = switching()
    gaps = np.random.default_rng(1).uniform(size=len(y)) < 0.2
    y = np.where(gaps, np.nan, y)
    model = MarkovSwitchingRegression(2, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, [[1.0], [-1.0]], atol=0.2)
    assert model.score(X, y) * (~gaps).sum() == pytest.approx(model.log_likelihood_)
    assert np.isfinite(model.predict(X, y)).all()
    assert np.mean(model.decode(X, y)[0] == regimes) > 0.95
    # What stands beside a missing response is not looked at.
    moved = np.where(gaps[:, None], 1e6, X)
    np.testing.assert_allclose(clone(model).fit(moved, y).coef_, model.coef_, rtol=1e-8)


def test_chain_and_coefficients_as_asked():
    X, y, _ = switching(160)
    ones = np.column_stack([np.ones(len(X)), X])
    settings = {"n_init": 4, "random_state": 0}
    shared = MarkovSwitchingRegression(2, fit_intercept=False, shared_coef=[0], **settings).fit(ones, y)
    assert shared.coef_[0, 0] == shared.coef_[1, 0]
    one_way = MarkovSwitchingRegression(4, transition="left-right", **settings).fit(X, y)
    assert (np.tril(one_way.transmat_, -1) == 0).all()
    assert (np.diff(one_way.decode(X, y)[0]) >= 0).all()
    fixed = MarkovSwitchingRegression(2, startprob=[0.2, 0.8], transition=[[0.5, 0.5], [0.0, 1.0]], **settings)
    fixed.fit(X, y)
    np.testing.assert_array_equal(fixed.startprob_, [0.2, 0.8])
    assert fixed.transmat_[1, 0] == 0
    sticky = MarkovSwitchingRegression(2, stickiness=50.0, **settings).fit(X, y)
    free = MarkovSwitchingRegression(2, **settings).fit(X, y)
    assert np.diag(sticky.transmat_).min() > np.diag(free.transmat_).min()
    hard = MarkovSwitchingRegression(2, assignment="hard", **settings).fit(X, y)
    assert hard.lower_bounds_[-1] * len(y) == pytest.approx(hard.decode(X, y)[1][0], abs=1e-6)


def test_a_warm_start_goes_on():
    X, y, _ = switching()
    model = MarkovSwitchingRegression(2, warm_start=True, max_iter=3, n_init=2, random_state=0)
    with pytest.warns(match="max_iter"):
        first = model.fit(X, y).log_likelihood_
    model.set_params(max_iter=500).fit(X, y)
    assert model.log_likelihood_ > first
    assert [start.kind for start in model.restarts_.starts] == ["warm"]
    with pytest.raises(ValueError, match="n_components"):
        model.set_params(n_components=3).fit(X, y)


def test_number_of_regimes_by_search():
    X, y, _ = switching(120)
    groups = np.repeat(range(6), 20)
    search = GridSearchCV(
        MarkovSwitchingRegression(n_init=2, random_state=0), {"n_components": [1, 2]}, cv=GroupKFold(3)
    )
    search.fit(X, y, groups=groups)
    assert search.best_params_ == {"n_components": 2}


BAD = {
    "y is None": ({"y": None}, "requires y to be passed"),
    "y short": ({"y": np.zeros(7)}, "inconsistent numbers of samples"),
    "y infinite": ({"y": np.full(8, np.inf)}, "infinity in row 0"),
    "y all missing": ({"y": np.full(8, np.nan)}, "y has nothing but NaN"),
    "X missing": ({"X": np.full((8, 1), np.nan)}, "NaN"),
    "counts": ({"family": "poisson", "y": np.full(8, 0.5)}, "must be the counts 0, 1, 2"),
    "offset": ({"offset": np.zeros(3)}, r"offset has shape \(3,\)"),
    "two marks": ({"lengths": [8], "groups": np.zeros(8)}, "drop lengths"),
    "weights in a sequence": ({"sample_weight": np.arange(1, 9)}, "a weight counts whole sequences"),
    "more regimes than rows": ({"n_components": 9}, "n_components=9 needs at least as many responses"),
    "a wrong chain": ({"startprob": [0.5, 0.6]}, "startprob must sum to 1"),
    "no way out": ({"transition": [[False, False], [True, True]]}, "forbids every way out of state 0"),
    "list and array": (
        {"X": [np.zeros((4, 1))] * 2, "y": np.zeros(8)},
        "y has 8 entries, but X has 2 sequences",
    ),
    "lists unlike": (
        {"X": [np.zeros((4, 1))] * 2, "y": [np.zeros(4), np.zeros(3)]},
        r"y\[1\] has shape \(3,\), but sequence 1 has 4 rows",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_leaves_no_trace(name):
    given, message = BAD[name]
    call = {"X": np.arange(8.0)[:, None], "y": np.arange(8.0)} | given
    settings = {key: call.pop(key) for key in list(call) if key in MarkovSwitchingRegression().get_params()}
    model = MarkovSwitchingRegression(**settings)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(**call)
    assert vars(model) == before


def test_bad_input_after_the_fit():
    X, y, _ = series(6)
    model = known()
    with pytest.raises(ValueError, match="y is None: regimes are known by"):
        model.filter_proba(X, None)
    with pytest.raises(ValueError, match=r"X_next has shape \(2, 1\); expected \(n_steps, 2\)"):
        model.predict_next(X, y, [[1.0], [2.0]])
    with pytest.raises(ValueError, match="startprob='free'"):
        MarkovSwitchingRegression.from_parameters([[1.0]], startprob="free", transmat=[[1.0]], sigma=[1.0])
    with pytest.raises(AttributeError, match="cannot be set"):
        model.transmat_ = TRANSMAT


EXPECTED_FAILURES = {
    "check_methods_sample_order_invariance": "rows are steps of a sequence",
    "check_methods_subset_invariance": "rows are steps of a sequence",
    "check_regressors_no_decision_function": "predict_proba is of the hidden regimes",
    "check_sample_weight_equivalence_on_dense_data": "the rows form one sequence, which has one weight",
    "check_sample_weights_not_overwritten": "the rows form one sequence, which has one weight",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny and constant data
@parametrize_with_checks(
    [MarkovSwitchingRegression(n_init=2, random_state=0)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_sklearn_checks(estimator, check):
    check(estimator)
