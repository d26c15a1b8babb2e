"""Mixtures of regressions and of experts as estimators: their laws, and published fits."""

import copy
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize, stats
from scipy.special import expit, logsumexp, softmax
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import accuracy_score, r2_score

import emlearn.em.restarts
from emlearn import MixtureOfExperts, MixtureOfExpertsClassifier, MixtureOfLinearRegressions, match_components
from emlearn._sample import Sample, draw_evenly
from emlearn.datasets import load_npreg, load_tone_perception
from emlearn.em import Affine, LatentModel, LatentPair, Start, race
from emlearn.families import RESPONSES, Regression
from emlearn.latent import MixtureWeights
from emlearn.regression._starts import GATED_PORTFOLIO, PORTFOLIO, RegressionStarts
from tests.helpers.pace import some_slow

# Kinds of responses; "trials" are binomial with two columns, "classes" those of the classifier.
CASES = [
    (MixtureOfLinearRegressions, "gaussian"),
    (MixtureOfLinearRegressions, "poisson"),
    (MixtureOfLinearRegressions, "trials"),
    (MixtureOfExperts, "gaussian"),
    (MixtureOfExperts, "poisson"),
    (MixtureOfExperts, "trials"),
    (MixtureOfExpertsClassifier, "classes"),
]
REGRESSORS = CASES[:-1]
UNGATED, GATED = CASES[:3], CASES[3:]
NAMES = ("weights_", "coef_", "intercept_", "sigma_", "gate_coef_", "gate_intercept_", "log_likelihood_")

every_case = pytest.mark.parametrize(("cls", "kind"), some_slow(CASES, [CASES[i] for i in (0, 4, 6)]))
# Where there are many fits: those of the classifier take the longest.
every_case_at_length = pytest.mark.parametrize(("cls", "kind"), some_slow(CASES, [CASES[0], CASES[4]]))
every_regressor = pytest.mark.parametrize(("cls", "kind"), REGRESSORS)


def make(cls, kind, n_components=2, **kwargs):
    """An estimator that goes to the very top; of classes with penalties, since they are soon separated."""
    more = {"alpha": 1.0, "gate_alpha": 1.0} if kind == "classes" else {"family": family_of(kind)}
    return cls(n_components, **{"random_state": 0, "n_init": 5, "tol": 1e-12, **more, **kwargs})


def family_of(kind):
    return "binomial" if kind in ("trials", "classes") else kind


def data(kind, n=160, seed=0, offset=0.0, lengths=None):
    """Rows of two features, the responses of two components, and the component of each row.

    The first feature, which says which component is likely, is constant within groups of ``lengths``.
    """
    rng = np.random.RandomState(seed)
    lengths = np.ones(n, dtype=int) if lengths is None else np.asarray(lengths)
    n = lengths.sum()
    X = np.repeat(rng.normal(size=len(lengths)), lengths)[:, None] * [1, 0] + rng.normal(size=(n, 2)) * [0, 1]
    X = np.round(64 * X) / 64
    first = np.cumsum(lengths) - lengths
    labels = np.repeat((rng.uniform(size=len(lengths)) < expit(1.5 * X[first, 0])).astype(int), lengths)
    eta = np.where(labels, 0.3 + 0.5 * X[:, 0] - 0.9 * X[:, 1], -0.2 - 0.3 * X[:, 0] + 0.8 * X[:, 1]) + offset
    if kind == "gaussian":
        y = np.round((eta + np.where(labels, 0.3, 0.5) * rng.normal(size=n)) * 1024) / 1024
    elif kind == "poisson":
        y = rng.poisson(np.exp(1 + eta))
    else:
        trials = rng.randint(1, 12, size=n) if kind == "trials" else np.ones(n, dtype=int)
        y = rng.binomial(trials, expit(3 * eta))
        y = np.column_stack([y, trials - y]) if kind == "trials" else np.array(["no", "yes"])[y]
    return X, y, labels


LENGTHS = np.tile([1, 4, 2, 3], 14)


def grouped(kind, seed=0):
    """Rows in groups, shuffled, so that groups are not together; and estimators' gate sees what is constant."""
    X, y, _ = data(kind, seed=seed, lengths=LENGTHS)
    order = np.random.RandomState(7).permutation(len(X))
    names = np.random.RandomState(8).permutation(len(LENGTHS))
    return X[order], y[order], np.repeat(names, LENGTHS)[order]


def see_groups(cls):
    return {} if cls is MixtureOfLinearRegressions else {"gate_features": [0]}


def same_fit(a, b, rtol=1e-6, names=NAMES):
    for name in names:
        if hasattr(a, name):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol, err_msg=name)


# -- the model from its attributes and SciPy ---------------------------------------------------------------


def prior_of(fitted, X):
    if not hasattr(fitted, "gate_coef_"):
        return np.broadcast_to(fitted.weights_, (len(X), len(fitted.weights_)))
    return softmax(fitted.gate_intercept_ + X[:, fitted.gate_features_] @ fitted.gate_coef_.T, axis=1)


def distributions(fitted, X, offset=0.0, trials=1):
    """Frozen distributions of responses, (n, K) of them at once."""
    eta = fitted.intercept_ + X @ fitted.coef_.T + np.reshape(offset, (-1, 1))
    family = getattr(fitted, "family", "binomial")  # of a classifier
    if family == "gaussian":
        return stats.norm(eta, fitted.sigma_)
    if family == "poisson":
        return stats.poisson(np.exp(eta))
    return stats.binom(np.reshape(trials, (-1, 1)), expit(eta))


def log_joint(fitted, X, y, offset=0.0):
    """log π_k(x) p(y | x, k), (n, K)."""
    if hasattr(fitted, "sigma_"):
        density = distributions(fitted, X, offset).logpdf(y[:, None])
    elif np.ndim(y) == 2:
        density = distributions(fitted, X, offset, y.sum(axis=1)).logpmf(y[:, :1])
    else:
        codes = y == "yes" if y.dtype.kind == "U" else y
        density = distributions(fitted, X, offset).logpmf(codes[:, None])
    return np.log(prior_of(fitted, X)), density


def log_likelihood(fitted, X, y, weight=None, groups=None, offset=0.0):
    """The definition, group by group."""
    weight = np.ones(len(X)) if weight is None else weight
    prior, density = log_joint(fitted, X, y, offset)
    if groups is None:
        return weight @ logsumexp(prior + density, axis=1)
    total = 0.0
    for group in np.unique(groups[weight > 0]):
        rows = np.flatnonzero(groups == group)
        total += logsumexp(prior[rows[0]] + sum(weight[i] * density[i] for i in rows))
    return total


def objective(fitted, X, *args, weight=None, **kwargs):
    """Log-likelihood less penalties."""
    value = log_likelihood(fitted, X, *args, weight=weight, **kwargs)
    noise = getattr(fitted, "sigma_", np.ones(len(fitted.coef_)))
    squares = fitted.coef_**2 / noise[:, None] ** 2
    if fitted.shared_coef is not None:  # each of the copies bears its share
        squares[:, fitted.shared_coef] /= len(squares)
    value -= 0.5 * fitted.alpha * np.sum(squares)
    if hasattr(fitted, "gate_coef_"):
        spread = np.sqrt(np.cov(X.T, aweights=weight, ddof=0).diagonal())[fitted.gate_features_]
        value -= 0.5 * fitted.gate_alpha * np.sum((fitted.gate_coef_ * spread) ** 2)
    return value


# -- published fits ----------------------------------------------------------------------------------------


def npreg(response):
    bunch = load_npreg()
    squares = [bunch.data**2] if response == "yn" else []
    return np.hstack([bunch.data, *squares]), bunch[response]


def tones():
    bunch = load_tone_perception()
    return bunch.data, bunch.target


# Data, estimator, log-likelihood and, component by component: weight, intercept and coefficients, sigma.
SEEDS = some_slow([range(1), range(1, 20)], [range(1)])
PUBLISHED = {
    "npreg normal": (
        lambda: npreg("yn"),
        MixtureOfLinearRegressions(),
        -642.532014,
        [(0.5060, (14.7129, 9.84844, -0.96853), 3.45093), (0.4940, (-0.20857, 4.81449, 0.03654), 3.44440)],
    ),
    "npreg poisson": (
        lambda: npreg("yp"),
        MixtureOfLinearRegressions(family="poisson"),
        -440.640294,
        [(0.53813, (1.86431, -0.16192), None), (0.46187, (1.24733, 0.06471), None)],
    ),
    "tones": (
        tones,
        MixtureOfLinearRegressions(),
        141.198402,
        [(0.69772, (1.91638, 0.04255), 0.046192), (0.30228, (-0.01927, 0.99230), 0.132834)],
    ),
}


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name, seeds):
    load, estimator, value, components = PUBLISHED[name]
    X, y = load()
    for seed in seeds:
        fitted = estimator.set_params(random_state=seed).fit(X, y)
        assert fitted.converged_
        assert fitted.log_likelihood_ == pytest.approx(value, abs=1e-3)
        for k, (weight, coef, sigma) in enumerate(components):
            # A gain of 1e-4 nats, the default tol, is 0.014 standard errors.
            assert fitted.weights_[k] == pytest.approx(weight, abs=2e-3)
            np.testing.assert_allclose(np.r_[fitted.intercept_[k], fitted.coef_[k]], coef, atol=2e-3)
            assert sigma is None or fitted.sigma_[k] == pytest.approx(sigma, abs=1e-3)
    limit = clone(estimator).set_params(tol=1e-10).fit(X, y)
    assert limit.log_likelihood_ == pytest.approx(value, abs=1e-6)
    for k, (weight, coef, sigma) in enumerate(components):
        assert limit.weights_[k] == pytest.approx(weight, abs=2e-5)
        np.testing.assert_allclose(np.r_[limit.intercept_[k], limit.coef_[k]], coef, atol=6e-5)
        assert sigma is None or limit.sigma_[k] == pytest.approx(sigma, abs=2e-5)


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_published_gate(seeds):
    X, y = tones()
    for seed in seeds:
        fitted = MixtureOfExperts(random_state=seed).fit(X, y)
        assert fitted.log_likelihood_ == pytest.approx(142.848014, abs=1e-3)
        np.testing.assert_allclose(np.diff(fitted.gate_intercept_), -2.679, atol=0.02)  # at the default stop
        fitted.set_params(warm_start=True, tol=1e-8).fit(X, y)
        # The ridge takes a little from the slope.
        np.testing.assert_allclose(np.diff(fitted.gate_intercept_), -2.679, atol=3e-3)
        np.testing.assert_allclose(np.diff(fitted.gate_coef_[:, 0]), 0.792, atol=1e-3)


def test_the_least_ratio_keeps_a_higher_optimum_out(monkeypatch):
    """It follows few rows closely: what `min_variance_ratio` is for, and evidence against it."""
    X, y = tones()
    monkeypatch.setattr(emlearn.em.restarts, "UNSEEN", 1e-9)  # one start in a hundred leads there
    free = MixtureOfLinearRegressions(n_init=100, min_variance_ratio=1e-6, random_state=3)
    highest = clone(free).set_params(ranking="likelihood").fit(X, y)
    assert highest.log_likelihood_ == pytest.approx(145.4168, abs=1e-3)
    assert highest.sigma_.min() == pytest.approx(0.0046, abs=1e-4)
    assert free.fit(X, y).log_likelihood_ == pytest.approx(141.198402, abs=1e-3)
    bounded = MixtureOfLinearRegressions(n_init=100, random_state=0).fit(X, y)
    assert bounded.log_likelihood_ == pytest.approx(141.198402, abs=1e-3)


# -- one component is a regression of scikit-learn's -------------------------------------------------------


def of_sklearn(kind, alpha, weight, fit_intercept):
    """What one component should be equal to."""
    if kind == "gaussian":
        kind_of = Ridge(alpha) if alpha else LinearRegression()
        return kind_of.set_params(fit_intercept=fit_intercept)
    if kind == "poisson":
        return PoissonRegressor(
            alpha=alpha / weight.sum(), solver="newton-cholesky", tol=1e-10, fit_intercept=fit_intercept
        )
    return LogisticRegression(
        C=1 / max(alpha, 1e-12), solver="newton-cholesky", tol=1e-10, fit_intercept=fit_intercept
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize(
    ("cls", "kind"),
    [
        (MixtureOfLinearRegressions, "gaussian"),
        (MixtureOfExperts, "poisson"),
        (MixtureOfLinearRegressions, "binomial"),
        (MixtureOfExpertsClassifier, "classes"),
    ],
)
def test_one_component(cls, kind, alpha, weighted, fit_intercept):
    X, y, _ = data("classes" if kind == "binomial" else kind)
    y = (y == "yes") * 1 if kind == "binomial" else y
    X = X * [5.0, 0.1] + [10.0, -0.3]
    weight = np.random.RandomState(0).uniform(0, 3, size=len(X)) if weighted else np.ones(len(X))
    known = of_sklearn(kind, alpha, weight, fit_intercept).fit(X, y, sample_weight=weight)
    one = make(cls, kind, 1, alpha=alpha, fit_intercept=fit_intercept)
    one.fit(X, y, sample_weight=weight if weighted else None)
    np.testing.assert_allclose(one.coef_, np.reshape(known.coef_, (1, -1)), rtol=1e-6)
    np.testing.assert_allclose(one.intercept_, known.intercept_, rtol=1e-6)
    np.testing.assert_allclose(one.weights_, [1.0])
    if kind == "classes":
        np.testing.assert_allclose(one.predict_proba(X), known.predict_proba(X), atol=1e-6)
    elif kind == "binomial":
        np.testing.assert_allclose(one.predict(X), known.predict_proba(X)[:, 1], atol=1e-6)
    else:
        np.testing.assert_allclose(one.predict(X), known.predict(X), rtol=1e-6)
    if kind == "gaussian":
        ridge = alpha * np.sum(known.coef_**2)
        residual = y - known.predict(X)
        assert one.sigma_[0] ** 2 == pytest.approx((weight @ residual**2 + ridge) / weight.sum(), rel=1e-6)
    assert len(one.restarts_.starts) == 1


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "classes"])
def test_one_component_of_features_far_off_and_of_any_scale(kind):
    X, y, _ = data(kind)
    scale, shift = np.array([2.0**-20, 2.0**20]), np.array([1.0, 2.0**30])
    known = of_sklearn(kind, 0.0, np.ones(len(X)), True).fit(X, y)
    cls = MixtureOfExpertsClassifier if kind == "classes" else MixtureOfLinearRegressions
    one = make(cls, kind, 1, alpha=0.0).fit(X * scale + shift, y)
    np.testing.assert_allclose(one.coef_ * scale, np.reshape(known.coef_, (1, -1)), rtol=1e-6)
    proba = kind == "classes"
    predicted = one.predict_proba(X * scale + shift) if proba else one.predict(X * scale + shift)
    np.testing.assert_allclose(predicted, known.predict_proba(X) if proba else known.predict(X), rtol=1e-6)


@pytest.mark.parametrize("cls", [MixtureOfLinearRegressions, MixtureOfExperts])
def test_two_columns_are_groups_of_single_trials(cls):
    X, y, _ = data("trials")
    rows = np.repeat(np.arange(len(X)), y.sum(axis=1))
    single = np.concatenate([np.repeat([1, 0], counts) for counts in y])
    for K in (1, 2):
        both = make(cls, "trials", K).fit(X, y)
        alone = make(cls, "trials", K, n_init=10).fit(X[rows], single, groups=rows)
        same_fit(both, alone, 1e-5, ("coef_", "intercept_", "gate_coef_", "gate_intercept_"))
        ways = stats.binom(y.sum(axis=1), 0.5).logpmf(y[:, 0]).sum() + y.sum() * np.log(2)
        assert both.log_likelihood_ == pytest.approx(alone.log_likelihood_ + ways, abs=1e-6)


# -- the likelihood and what follows from it ---------------------------------------------------------------


@pytest.mark.parametrize("offset", [False, True])
@every_case
def test_attributes_define_the_density(cls, kind, offset):
    offset = 0.3 * np.random.RandomState(1).normal(size=160) if offset else None
    known = 0.0 if offset is None else offset
    X, y, _ = data(kind, offset=known)
    fitted = make(cls, kind).fit(X, y, offset=offset)
    joint = sum(log_joint(fitted, X, y, known))
    np.testing.assert_allclose(fitted.score_samples(X, y, offset=offset), logsumexp(joint, axis=1), rtol=1e-9)
    np.testing.assert_allclose(fitted.component_proba(X, y, offset=offset), softmax(joint, axis=1), atol=1e-9)
    prior = fitted.component_proba(X, offset=offset)
    np.testing.assert_allclose(prior, prior_of(fitted, X), atol=1e-9)
    np.testing.assert_allclose(prior.sum(axis=1), 1.0, rtol=1e-12)
    means = distributions(fitted, X, known).mean()
    np.testing.assert_allclose(fitted.predict_components(X, offset=offset), means, rtol=1e-9, atol=1e-12)
    if kind == "classes":
        second = (prior * means).sum(axis=1)
        np.testing.assert_allclose(
            fitted.predict_proba(X, offset=offset), np.column_stack([1 - second, second]), atol=1e-9
        )
        predicted = fitted.predict(X, offset=offset)
        np.testing.assert_array_equal(predicted, np.where(second > 0.5, "yes", "no"))
        assert fitted.score(X, y, offset=offset) == accuracy_score(y, predicted)
        return
    predicted, std = fitted.predict(X, return_std=True, offset=offset)
    np.testing.assert_allclose(predicted, (prior * means).sum(axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(predicted, fitted.predict(X, offset=offset))
    square = (prior * (distributions(fitted, X, known).var() + means**2)).sum(axis=1) - predicted**2
    np.testing.assert_allclose(std, np.sqrt(square), rtol=1e-7)
    weight = np.linspace(0.5, 2, len(X))
    trials = y.sum(axis=1) if kind == "trials" else 1
    r2 = r2_score(y[:, 0] / trials if kind == "trials" else y, predicted, sample_weight=weight * trials)
    assert fitted.score(X, y, weight, offset=offset) == pytest.approx(r2, rel=1e-9)


@every_case_at_length
def test_density_integrates_to_one(cls, kind):
    X, y, _ = data(kind)
    fitted = make(cls, kind).fit(X, y)
    for x in X[:3]:
        match kind:
            case "gaussian":

                def density(value, x=x):
                    return np.exp(fitted.score_samples([x], [value]))[0]

                total = integrate.quad(density, -12, 12, limit=200, points=fitted.predict_components([x])[0])[0]
            case "poisson":
                total = np.exp(fitted.score_samples(np.tile(x, (400, 1)), np.arange(400))).sum()
            case "trials":
                outcomes = np.column_stack([np.arange(8), 7 - np.arange(8)])
                total = np.exp(fitted.score_samples(np.tile(x, (8, 1)), outcomes)).sum()
            case _:
                total = np.exp(fitted.score_samples([x, x], ["no", "yes"])).sum()
        assert total == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("with_groups", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@every_case_at_length
def test_likelihood_and_information_criteria_by_hand(cls, kind, weighted, with_groups):
    X, y, groups = grouped(kind)
    rng = np.random.RandomState(1)
    weight = rng.randint(4, size=len(X)) * rng.uniform(size=len(X)) if weighted else None
    if weighted:
        weight[groups == groups[0]] = 0.0
    offset = 0.3 * rng.normal(size=len(X)) if with_groups else np.zeros(len(X))
    groups = groups if with_groups else None
    given = {"sample_weight": weight, "groups": groups, "offset": offset if with_groups else None}
    fitted = make(cls, kind, **see_groups(cls)).fit(X, y, **given)
    value = log_likelihood(fitted, X, y, weight, groups, offset)
    size = len(X) if weight is None else weight.sum()
    assert fitted.log_likelihood_ == pytest.approx(value, rel=1e-9)
    assert fitted.lower_bound_ == pytest.approx(value / size, rel=1e-9)
    penalised = objective(fitted, X, y, weight=weight, groups=groups, offset=offset)
    assert fitted.lower_bounds_[-1] * size == pytest.approx(penalised, rel=1e-9)
    assert np.all(np.diff(fitted.lower_bounds_) > -1e-10)
    assert len(fitted.extrapolated_) == len(fitted.lower_bounds_) == fitted.n_iter_ + 1
    prior, density = log_joint(fitted, X, y, offset)
    scale = np.ones(len(X)) if weight is None else weight
    if groups is None:
        entropy = scale @ stats.entropy(softmax(prior + density, axis=1), axis=1)
    else:
        rows = [np.flatnonzero(groups == group) for group in np.unique(groups[scale > 0])]
        resp = softmax([prior[r[0]] + scale[r] @ density[r] for r in rows], axis=1)
        entropy = stats.entropy(resp, axis=1).sum()
    p = fitted.n_parameters_
    assert fitted.aic(X, y, **given) == pytest.approx(2 * p - 2 * value)
    assert fitted.bic(X, y, **given) == pytest.approx(p * np.log(size) - 2 * value)
    assert fitted.icl(X, y, **given) == pytest.approx(p * np.log(size) - 2 * value + 2 * entropy)
    if not weighted:
        del given["sample_weight"]
        assert fitted.score_samples(X, y, **given).sum() == pytest.approx(fitted.log_likelihood_)


@pytest.mark.parametrize(
    ("cls", "kind", "options", "expected"),
    [
        (MixtureOfLinearRegressions, "gaussian", {}, 2 + 3 * 2 + 3 + 3),
        (MixtureOfLinearRegressions, "gaussian", {"shared_variance": True}, 2 + 3 * 2 + 3 + 1),
        (MixtureOfLinearRegressions, "gaussian", {"shared_coef": [1]}, 2 + 3 + 1 + 3 + 3),
        (MixtureOfLinearRegressions, "gaussian", {"fit_intercept": False}, 2 + 3 * 2 + 3),
        (MixtureOfLinearRegressions, "poisson", {}, 2 + 3 * 3),
        (MixtureOfLinearRegressions, "trials", {"shared_coef": [0, 1]}, 2 + 2 + 3),
        (MixtureOfExperts, "gaussian", {}, 2 * 3 + 3 * 3 + 3),
        (MixtureOfExperts, "poisson", {"gate_features": [0]}, 2 * 2 + 3 * 3),
        (MixtureOfExpertsClassifier, "classes", {"shared_coef": [0]}, 2 * 3 + 1 + 3 + 3),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # three components are too many
def test_number_of_parameters(cls, kind, options, expected):
    X, y, _ = data(kind)
    assert make(cls, kind, 3, n_init=1, tol=1.0, **options).fit(X, y).n_parameters_ == expected


OPTIONS = ["plain", "penalty", "shared", "variance", "origin", "groups"]


@pytest.mark.parametrize(
    ("cls", "kind", "option"), some_slow([(*case, option) for case, option in product(CASES, OPTIONS)], 5)
)
def test_the_fit_is_a_maximum(cls, kind, option):
    """By differences of the objective as documented, of every free coordinate in the user's units."""
    X, y, groups = grouped(kind)
    scale = np.array([0.5, 4.0])
    X = X * scale + (0.5 if option == "origin" else 0.0)
    weight = np.random.RandomState(2).uniform(0.5, 2.0, size=len(X))
    options = {
        "penalty": {"alpha": 2.0, "gate_alpha": 0.5},
        "shared": {"alpha": 1.5, "shared_coef": [0]},
        "variance": {"alpha": 1.5, "shared_coef": [0], "shared_variance": True},
        "origin": {"alpha": 1.5, "fit_intercept": False, "gate_alpha": 0.5},
    }.get(option, {})
    if kind != "gaussian":
        options.pop("shared_variance", None)
    given = {"sample_weight": weight, "groups": groups if option == "groups" else None}
    if option == "groups":
        options |= see_groups(cls)
    if cls is MixtureOfLinearRegressions:
        options.pop("gate_alpha", None)
    fitted = make(cls, kind, tol=1e-12, **options).fit(X, y, **given)
    names = ["coef_", *(["intercept_"] if fitted.fit_intercept else [])]
    names += ["gate_coef_", "gate_intercept_"] if hasattr(fitted, "gate_coef_") else ["weights_"]
    names += ["sigma_"] if kind == "gaussian" else []
    for name in names:
        for place in np.ndindex(getattr(fitted, name).shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = copy.copy(fitted)
                part = getattr(fitted, name).copy()
                if name == "coef_":
                    column = place[1]
                    unit = step / scale[column]
                    whole = fitted.shared_coef is not None and column in fitted.shared_coef
                    part[:, column] += unit * (whole | (np.arange(2) == place[0]))
                elif name == "sigma_":
                    part *= np.exp(step * (fitted.shared_variance | (np.arange(2) == place[0])))
                elif name == "weights_":
                    part[place] *= np.exp(step)
                    part /= part.sum()
                else:
                    part[place] += step / (scale[place[1]] if len(place) == 2 else 1.0)
                vars(moved)[name] = part  # for the objective above alone
                values.append(objective(moved, X, y, weight=weight, groups=given["groups"]))
            assert (values[0] - values[1]) / 2e-5 == pytest.approx(0.0, abs=1e-4), (name, place)


# -- gates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "trials"])
def test_a_gate_held_flat_is_none(kind):
    X, y, _ = data(kind)
    flat = make(MixtureOfExperts, kind, gate_alpha=1e8).fit(X, y)
    without = make(MixtureOfLinearRegressions, kind).fit(X, y)
    np.testing.assert_allclose(flat.gate_coef_, 0.0, atol=1e-5)
    assert flat.log_likelihood_ == pytest.approx(without.log_likelihood_, abs=1e-4)
    np.testing.assert_allclose(flat.predict(X), without.predict(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(flat.weights_, without.weights_, atol=1e-5)


@pytest.mark.parametrize(("cls", "kind"), some_slow(GATED, GATED[:2]))
def test_gates(cls, kind):
    X, y, _ = data(kind)
    fitted = make(cls, kind, gate_features=[1]).fit(X, y)
    assert fitted.gate_coef_.shape == (2, 1)
    np.testing.assert_array_equal(fitted.gate_features_, [1])
    for part in (fitted.gate_coef_, fitted.gate_intercept_):
        np.testing.assert_allclose(part.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(fitted.weights_, fitted.component_proba(X).mean(axis=0))
    named = make(cls, kind, gate_features=["b"]).fit(pd.DataFrame(X, columns=["a", "b"]), y)
    same_fit(fitted, named, 1e-12)
    nested = [make(cls, kind, gate_features=which, gate_alpha=1e-4).fit(X, y) for which in ([1], [0, 1])]
    assert nested[0].lower_bounds_[-1] <= nested[1].lower_bounds_[-1] + 1e-9


@pytest.mark.parametrize("far", [1e3, 1e7])
def test_gates_far_from_the_origin(far):
    """Without intercepts the design is not centred, but what the gate sees is."""
    X, y, _ = data("gaussian")
    X = np.column_stack([X, X[:, 0] + far])  # experts see the same whatever the gate does
    near, there = (
        make(MixtureOfExperts, "gaussian", fit_intercept=False, gate_features=[j]).fit(X, y) for j in (0, 2)
    )
    assert there.converged_
    same_fit(near, there, 1e-5, ("weights_", "gate_coef_", "sigma_", "log_likelihood_"))
    np.testing.assert_allclose(there.component_proba(X), near.component_proba(X), atol=1e-5)
    np.testing.assert_allclose(there.component_proba(X), prior_of(there, X), atol=1e-7)


# -- groups ------------------------------------------------------------------------------------------------


@every_case_at_length
def test_groups_of_one_row_are_none(cls, kind):
    X, y, _ = data(kind)
    groups = np.random.RandomState(0).permutation(len(X))
    there = make(cls, kind).fit(X, y, groups=groups)
    alone = make(cls, kind).fit(X, y)
    same_fit(there, alone)
    np.testing.assert_allclose(
        there.score_samples(X, y, groups=groups), alone.score_samples(X, y), rtol=1e-6, atol=1e-6
    )


@every_case
def test_rows_of_a_group_share_their_component(cls, kind):
    X, y, groups = grouped(kind)
    fitted = make(cls, kind, **see_groups(cls)).fit(X, y, groups=groups)
    proba = fitted.component_proba(X, y, groups=groups)
    prior, density = log_joint(fitted, X, y)
    for group in np.unique(groups):
        rows = groups == group
        expected = softmax(prior[rows][0] + density[rows].sum(axis=0))
        np.testing.assert_allclose(proba[rows], np.tile(expected, (rows.sum(), 1)), atol=1e-9)
    _, first = np.unique(groups, return_index=True)
    in_order = groups[np.sort(first)]
    expected = [logsumexp(prior[groups == g][0] + density[groups == g].sum(axis=0)) for g in in_order]
    np.testing.assert_allclose(fitted.score_samples(X, y, groups=groups), expected, rtol=1e-9)
    alone = fitted.score_samples(X, y, groups=np.arange(len(X)))
    np.testing.assert_allclose(alone, logsumexp(prior + density, axis=1), rtol=1e-9)
    if cls is MixtureOfLinearRegressions:  # shares of groups, not of rows
        per_group = proba[np.sort(first)]
        np.testing.assert_allclose(fitted.weights_, per_group.mean(axis=0), atol=1e-5)


@every_case
def test_names_and_order_of_groups_do_not_matter(cls, kind):
    X, y, groups = grouped(kind)
    order = np.random.RandomState(3).permutation(len(X))
    there = make(cls, kind, **see_groups(cls)).fit(X, y, groups=groups)
    named = np.array([f"g{(7 * g) % 101}" for g in groups])
    same_fit(there, make(cls, kind, **see_groups(cls)).fit(X[order], y[order], groups=named[order]))


def test_the_component_of_a_group_is_found():
    """Rows alone say little, groups much."""
    X, y, labels = data("classes", lengths=np.full(80, 12), seed=3)
    groups = np.repeat(np.arange(80), 12)
    fitted = MixtureOfExpertsClassifier(random_state=0, gate_features=[0]).fit(X, y, groups=groups)
    found = fitted.component_proba(X, y, groups=groups).argmax(axis=1)
    assert max(np.mean(found == labels), np.mean(found != labels)) > 0.95


# -- what must not matter ----------------------------------------------------------------------------------


@pytest.mark.parametrize("with_groups", [False, True])
@every_case
def test_weights_are_repetition(cls, kind, with_groups):
    X, y, groups = grouped(kind)
    times = np.random.RandomState(1).randint(4, size=len(X))
    if not with_groups:
        groups = None
    rows = np.repeat(np.arange(len(X)), times)
    options = see_groups(cls)
    weighted = make(cls, kind, **options).fit(X, y, sample_weight=times, groups=groups)
    repeated = make(cls, kind, **options).fit(X[rows], y[rows], groups=None if groups is None else groups[rows])
    same_fit(weighted, repeated)
    np.testing.assert_allclose(weighted.component_proba(X), repeated.component_proba(X), atol=1e-6)


@pytest.mark.parametrize("with_groups", [False, True])
@every_case_at_length
def test_rows_without_weight_are_absent(cls, kind, with_groups):
    X, y, groups = grouped(kind)
    X = X.copy()
    weight = np.random.RandomState(1).uniform(0.5, 2, size=len(X))
    absent = (groups < 5) | (np.arange(len(X)) % 9 == 0)
    weight[absent] = 0.0
    X[absent, 1] = 1e6  # whatever they hold
    groups = groups if with_groups else None
    options = see_groups(cls)
    there = make(cls, kind, **options).fit(X, y, sample_weight=weight, groups=groups)
    kept = ~absent
    gone = make(cls, kind, **options)
    gone.fit(X[kept], y[kept], sample_weight=weight[kept], groups=None if groups is None else groups[kept])
    same_fit(there, gone)


@every_case_at_length
def test_the_unit_of_weights_does_not_matter(cls, kind):
    X, y, _ = data(kind)
    weight = np.random.RandomState(1).uniform(0.5, 2, size=len(X))
    penalties = {"alpha": 1.0, "gate_alpha": 1.0} if kind == "classes" else {}

    def fit(unit):
        scaled = {name: unit * value for name, value in penalties.items()}
        if cls is not MixtureOfLinearRegressions:
            scaled["gate_alpha"] = unit * penalties.get("gate_alpha", 1e-4)
        return make(cls, kind, tol=1e-9 * unit, **scaled).fit(X, y, sample_weight=unit * weight)

    before, after = fit(1.0), fit(1000.0)
    same_fit(before, after, 1e-5, NAMES[:-1])
    assert after.log_likelihood_ == pytest.approx(1000 * before.log_likelihood_, rel=1e-7)


@every_case_at_length
def test_row_order_does_not_matter(cls, kind):
    X, y, _ = data(kind)
    order = np.random.RandomState(1).permutation(len(X))
    there, shuffled = make(cls, kind).fit(X, y), make(cls, kind).fit(X[order], y[order])
    same_fit(there, shuffled)
    np.testing.assert_allclose(there.predict_components(X), shuffled.predict_components(X), rtol=1e-6)


@every_case_at_length
def test_feature_order_does_not_matter(cls, kind):
    X, y, _ = data(kind)
    there, turned = (make(cls, kind, n_init=10).fit(data, y) for data in (X, X[:, ::-1]))
    same_fit(there, turned, 1e-5, ("intercept_", "weights_", "log_likelihood_"))
    np.testing.assert_allclose(turned.coef_, there.coef_[:, ::-1], atol=1e-5)


@every_case
def test_components_are_sorted_by_weight(cls, kind):
    X, y, _ = data(kind, n=200, seed=1)
    for seed in range(4):
        fitted = make(cls, kind, n_init=1, tol=1e-4, random_state=seed).fit(X, y)
        assert np.all(np.diff(fitted.weights_) < 0)
        assert fitted.weights_.sum() == pytest.approx(1.0)


@every_case_at_length
def test_results_are_those_of_the_seed(cls, kind):
    X, y, _ = data(kind)
    fits = [make(cls, kind, n_jobs=n_jobs).fit(X, y) for n_jobs in (None, None, 2)]
    for name in NAMES:
        for a, b in pairwise(fits):
            np.testing.assert_array_equal(getattr(a, name, 0), getattr(b, name, 0))
    for a, b in zip(fits[0].sample(X), fits[1].sample(X), strict=True):
        np.testing.assert_array_equal(a, b)
    again = fits[0].fit(X, y)
    np.testing.assert_array_equal(again.coef_, fits[1].coef_)


# Powers of two, and rows that are multiples of 2^-6, so that nothing is rounded.
MAPS = [(2.0**-20, 0.0), (2.0**20, 2.0**20), (-1.0, 2.0**20), (2.0**-20, 2.0**8), (2.0**10, -(2.0**30))]


@pytest.mark.parametrize(
    ("cls", "kind", "scale", "shift"), some_slow([(*case, *by) for case, by in product(CASES, MAPS)], 4)
)
def test_units_of_features_do_not_matter(cls, kind, scale, shift):
    """Of each its own; with a ridge, which has a unit too, of all the same."""
    X, y, _ = data(kind)
    scale = scale if kind == "classes" else np.array([1.0, scale])
    moved = scale * X + [0.0, shift]
    before = make(cls, kind).fit(X, y)
    after = make(cls, kind, **({"alpha": scale**2} if kind == "classes" else {})).fit(moved, y)
    assert after.log_likelihood_ == pytest.approx(before.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(after.coef_ * scale, before.coef_, rtol=1e-5, atol=1e-6)
    means = [fitted.predict_components(rows) for fitted, rows in ((before, X), (after, moved))]
    np.testing.assert_allclose(*means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.component_proba(moved, y), before.component_proba(X, y), atol=1e-5)


@pytest.mark.parametrize(
    ("cls", "scale", "shift"),
    some_slow([(cls, *by) for cls, by in product([MixtureOfLinearRegressions, MixtureOfExperts], MAPS)], 3),
)
def test_the_unit_of_the_response_does_not_matter(cls, scale, shift):
    X, y, _ = data("gaussian")
    for options in ({}, {"alpha": 2.0, "shared_coef": [0]}):
        before, after = (make(cls, "gaussian", **options).fit(X, target) for target in (y, scale * y + shift))
        change = len(X) * np.log(abs(scale))
        assert after.log_likelihood_ + change == pytest.approx(before.log_likelihood_, abs=1e-6)
        np.testing.assert_allclose(after.coef_ / scale, before.coef_, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after.sigma_ / abs(scale), before.sigma_, rtol=1e-5)
        means = (after.predict_components(X) - shift) / scale
        np.testing.assert_allclose(means, before.predict_components(X), rtol=1e-5, atol=1e-6)
        resp = [fitted.predict_proba(X, target) for fitted, target in ((before, y), (after, scale * y + shift))]
        np.testing.assert_allclose(*resp, atol=1e-5)


@every_case_at_length
def test_a_ridge_does_not_know_the_origin(cls, kind):
    X, y, _ = data(kind)
    before, after = (make(cls, kind, alpha=3.0).fit(rows, y) for rows in (X, X + 2.0**20))
    same_fit(before, after, 1e-5, ("coef_", "sigma_", "gate_coef_", "weights_", "log_likelihood_"))


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
@every_case_at_length
def test_units_without_intercept(cls, kind, scale):
    X, y, _ = data(kind)
    before = make(cls, kind, fit_intercept=False, alpha=1.0).fit(X, y)
    after = make(cls, kind, fit_intercept=False, alpha=scale**2).fit(scale * X, y)
    assert after.log_likelihood_ == pytest.approx(before.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(after.coef_ * scale, before.coef_, atol=1e-5)
    np.testing.assert_array_equal(after.intercept_, 0.0)


# -- offsets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e7])
@pytest.mark.parametrize("cls", [MixtureOfLinearRegressions, MixtureOfExperts])
def test_an_offset_of_normal_responses_is_taken_off(cls, spread):
    X, y, _ = data("gaussian")
    offset = np.round(spread * np.random.RandomState(1).normal(size=len(X)))
    there = make(cls, "gaussian").fit(X, y + offset, offset=offset)
    taken = make(cls, "gaussian").fit(X, y)
    same_fit(there, taken)
    np.testing.assert_allclose(there.predict(X, offset=offset) - offset, taken.predict(X), atol=1e-6)
    np.testing.assert_allclose(there.predict(X), taken.predict(X), atol=1e-6)
    one, other = there.predict_interval(X, offset=offset) - offset[:, None], taken.predict_interval(X)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_exposure():
    X, _, _ = data("poisson")
    rng = np.random.RandomState(1)
    exposure = rng.uniform(0.1, 30, size=len(X))
    y = rng.poisson(exposure * np.exp(0.5 + 0.6 * X[:, 0] - 0.2 * X[:, 1]))
    known = PoissonRegressor(alpha=0.0, solver="newton-cholesky", tol=1e-10)
    known.fit(X, y / exposure, sample_weight=exposure)
    one = make(MixtureOfLinearRegressions, "poisson", 1).fit(X, y, offset=np.log(exposure))
    np.testing.assert_allclose(one.coef_[0], known.coef_, rtol=1e-6)
    np.testing.assert_allclose(one.intercept_[0], known.intercept_, rtol=1e-6)
    np.testing.assert_allclose(one.predict(X), known.predict(X), rtol=1e-6)
    np.testing.assert_allclose(one.predict(X, offset=np.log(exposure)), exposure * known.predict(X), rtol=1e-6)


@every_case_at_length
def test_a_constant_offset_goes_into_the_intercept(cls, kind):
    X, y, _ = data(kind)
    plain = make(cls, kind).fit(X, y)
    shifted = make(cls, kind).fit(X, y, offset=np.full(len(X), 2.5))
    same_fit(plain, shifted, 1e-5, ("weights_", "coef_", "sigma_", "gate_coef_", "log_likelihood_"))
    np.testing.assert_allclose(shifted.intercept_ + 2.5, plain.intercept_, atol=1e-5)
    given = {"offset": np.full(len(X), 2.5)}
    np.testing.assert_allclose(
        shifted.predict_components(X, **given), plain.predict_components(X), rtol=1e-5, atol=1e-6
    )


@every_case_at_length
def test_a_feature_of_known_coefficient_is_an_offset(cls, kind):
    """With a coefficient that all share, and that is found: its share of the predictor may be an offset."""
    X, y, _ = data(kind)
    options = {} if cls is MixtureOfLinearRegressions else {"gate_features": [-1]}
    whole = make(cls, kind, shared_coef=[0], **options).fit(X, y)
    part = make(cls, kind, **options).fit(X[:, 1:], y, offset=whole.coef_[0, 0] * X[:, 0])
    np.testing.assert_allclose(part.coef_[:, 0], whole.coef_[:, 1], atol=1e-4)
    assert part.log_likelihood_ == pytest.approx(whole.log_likelihood_, abs=1e-6)


# -- nested models -----------------------------------------------------------------------------------------


@every_case_at_length
def test_nested_models(cls, kind):
    X, y, _ = data(kind, seed=2)
    free = make(cls, kind, n_init=10).fit(X, y)
    shared = make(cls, kind, n_init=10, shared_coef=[0]).fit(X, y)
    assert shared.lower_bounds_[-1] <= free.lower_bounds_[-1] + 1e-9
    assert np.ptp(shared.coef_[:, 0]) == 0.0
    assert np.ptp(shared.coef_[:, 1]) > 0.0
    named = make(cls, kind, n_init=10, shared_coef=["a"]).fit(pd.DataFrame(X, columns=["a", "b"]), y)
    same_fit(shared, named, 1e-12)
    if kind == "gaussian":
        alike = make(cls, kind, n_init=10, shared_variance=True).fit(X, y)
        assert alike.lower_bounds_[-1] <= free.lower_bounds_[-1] + 1e-9
        assert np.ptp(alike.sigma_) == 0.0
        assert np.ptp(free.sigma_) > 0.0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # three components are too many
@every_case_at_length
def test_more_components_explain_no_less(cls, kind):
    X, y, _ = data(kind)
    penalty = {"gate_alpha": 1.0} if cls is not MixtureOfLinearRegressions else {}
    values = [make(cls, kind, K, tol=1e-6, n_init=10, **penalty).fit(X, y).lower_bounds_[-1] for K in (1, 2, 3)]
    assert np.all(np.diff(values) > -1e-8)


@pytest.mark.parametrize(
    ("kind", "cls", "fit_intercept"),
    some_slow(
        product(
            ["gaussian", "poisson", "trials"], [MixtureOfLinearRegressions, MixtureOfExperts], [True, False]
        ),
        5,
    ),
)
def test_a_shared_coefficient_pays_once(cls, kind, fit_intercept):
    """Components that share all are one; where each had an intercept, so far as a penalty holds them."""
    X, y, _ = data(kind)
    X = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    options = {"alpha": 50.0, "fit_intercept": False, "shared_coef": np.arange(X.shape[1])}
    more = {"shared_variance": True} if kind == "gaussian" else {}
    gate = {"gate_features": []} if cls is MixtureOfExperts else {}
    one = make(cls, kind, 1, **{**options, "shared_coef": None}, **gate).fit(X, y)
    for K in (2, 3):
        several = make(cls, kind, K, **options, **more, **gate).fit(X, y)
        assert several.lower_bounds_[-1] == pytest.approx(one.lower_bounds_[-1], abs=1e-9)
        np.testing.assert_allclose(several.coef_, np.tile(one.coef_, (K, 1)), atol=1e-6)
        if kind == "gaussian":
            np.testing.assert_allclose(several.sigma_, np.repeat(one.sigma_, K), rtol=1e-6)
        assert several.log_likelihood_ == pytest.approx(one.log_likelihood_, abs=1e-5)


# -- predictions -------------------------------------------------------------------------------------------


@every_regressor
def test_draws_have_the_moments_and_quantiles_of_predictions(cls, kind):
    X, y, _ = data(kind)
    fitted = make(cls, kind).fit(X, y)
    n = 40_000
    for x in X[:3]:
        drawn, components = fitted.sample(np.tile(x, (n, 1)))
        mean, std = (part[0] for part in fitted.predict([x], return_std=True))
        assert drawn.mean() == pytest.approx(mean, abs=5 * std / np.sqrt(n))
        assert drawn.std() == pytest.approx(std, rel=0.05)
        shares = np.bincount(components, minlength=2) / n
        np.testing.assert_allclose(shares, fitted.predict_proba([x])[0], atol=0.015)
        for k, centre in enumerate(fitted.predict_components([x])[0]):
            own = drawn[components == k]
            assert len(own) < 100 or own.mean() == pytest.approx(centre, abs=5 * own.std() / np.sqrt(len(own)))
        for coverage in (0.5, 0.9):
            low, high = fitted.predict_interval([x], coverage)[0]
            inside = np.mean((drawn >= low) & (drawn <= high))
            if kind == "gaussian":
                assert inside == pytest.approx(coverage, abs=0.015)
            else:
                assert inside > coverage - 0.015


def test_draws_of_classes():
    X, y, _ = data("classes")
    fitted = make(MixtureOfExpertsClassifier, "classes").fit(X, y)
    drawn, components = fitted.sample(np.tile(X[0], (40_000, 1)))
    assert np.mean(drawn == "yes") == pytest.approx(fitted.predict_proba(X[:1])[0, 1], abs=0.015)
    assert np.mean(components) == pytest.approx(fitted.component_proba(X[:1])[0, 1], abs=0.015)
    of_second = fitted.predict_components(X[:1])[0, 1]
    assert np.mean(drawn[components == 1] == "yes") == pytest.approx(of_second, abs=0.02)


LEVELS = np.array([1e-6, 0.025, 0.3, 0.5, 0.77, 0.975, 1 - 1e-6])


@every_regressor
def test_quantiles_invert_the_distribution(cls, kind):
    offset = 0.3 * np.random.RandomState(1).normal(size=160)
    X, y, _ = data(kind, offset=offset)
    fitted = make(cls, kind).fit(X, y, offset=offset)
    found = fitted.predict_quantiles(X, LEVELS, offset=offset)
    assert found.shape == (len(X), len(LEVELS))
    assert np.all(np.diff(found, axis=1) >= 0)
    np.testing.assert_array_equal(fitted.predict_quantiles(X, 0.3, offset=offset), found[:, 2])
    np.testing.assert_allclose(fitted.predict_interval(X, offset=offset), found[:, [1, 5]], rtol=1e-12)
    for i in range(0, len(X), 20):
        prior = prior_of(fitted, X[i : i + 1])
        each = distributions(fitted, X[i : i + 1], offset[i])

        def cdf(value, prior=prior, each=each):
            return float((prior * each.cdf(value)).sum())

        for j, level in enumerate(LEVELS):
            if kind == "gaussian":
                root = optimize.brentq(lambda value, p=level, cdf=cdf: cdf(value) - p, -30, 30, xtol=1e-12)
                assert found[i, j] == pytest.approx(root, abs=1e-8)
            else:
                assert found[i, j] == next(value for value in range(1000) if cdf(value) >= level)


def test_quantiles_where_nearly_no_one_is_between():
    """Components far apart: the distribution is flat between them."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(100, 1))
    y = np.where(np.arange(100) % 2, 1e4, -1e4) + X[:, 0] + rng.normal(size=100)
    fitted = make(MixtureOfLinearRegressions, "gaussian").fit(X, y)
    low, high = fitted.predict_quantiles([[0.0]], [0.499, 0.501])[0]
    assert low == pytest.approx(-1e4, abs=10)
    assert high == pytest.approx(1e4, abs=10)


# -- starts ------------------------------------------------------------------------------------------------

STARTS = sorted(set(PORTFOLIO + GATED_PORTFOLIO))


@pytest.mark.parametrize(
    ("cls", "kind", "with_groups", "start"),
    some_slow([(*case, *more) for case, *more in product(CASES, [False, True], STARTS)], 5),
)
def test_every_start_alone(cls, kind, with_groups, start, monkeypatch):
    monkeypatch.setattr(cls, "_portfolio", (start,))
    X, y, groups = grouped(kind)
    weight = np.random.RandomState(0).uniform(0, 2, size=len(X))
    options = {} if kind == "classes" else {"alpha": 0.1}
    fitted = make(cls, kind, n_init=3, tol=1e-4, **options, **see_groups(cls))
    fitted.fit(X, y, sample_weight=weight, groups=groups if with_groups else None)
    kinds = {run.kind for run in fitted.restarts_.starts}
    assert kinds == {start}
    assert not any(run.message for run in fitted.restarts_.starts)
    assert [run.status for run in fitted.restarts_.starts].count("best") == 1
    assert np.isfinite(fitted.log_likelihood_)


@every_case_at_length
def test_starts_take_turns(cls, kind):
    X, y, _ = data(kind)
    portfolio = PORTFOLIO if cls is MixtureOfLinearRegressions else GATED_PORTFOLIO
    fitted = make(cls, kind, n_init=12, tol=1e-4).fit(X, y)
    kinds = [run.kind for run in fitted.restarts_.starts]
    assert 7 <= len(kinds) <= 12
    assert kinds == [portfolio[i % len(portfolio)] for i in range(len(kinds))]


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "trials"])
def test_lost_components_are_placed_anew(kind):
    X, y, _ = data(kind)
    y = y if y.ndim == 2 else y[:, None]
    response = RESPONSES[family_of(kind)]
    table = np.column_stack([np.ones(len(X)), X, response.encode(y.astype(float))])
    model = LatentModel(MixtureWeights(), Regression(response, 3, least_ratio=1e-3))
    nothing = Affine(np.zeros(table.shape[1]), np.ones(table.shape[1]))
    drawn = draw_evenly(len(table), None, 1000, np.random.RandomState(0))
    sample = Sample.of(table[drawn[0]], nothing, drawn, len(table))
    starts = RegressionStarts(model, 2, sample, 50)
    lost = LatentPair(np.array([1.0, 0.0]), starts.everything().family)

    def run(*some):
        return race(model, some, (sample.rows, sample.weight), tol=1e-8)

    found = run(*(starts.start("random", seed) for seed in range(5))).best.log_likelihood
    alone = run(Start("lost", lambda: lost))
    assert alone.restarts.starts[0].n_reseeded == 0
    assert alone.best.log_likelihood < found - 10.0
    again = run(*(Start("lost", lambda: lost, starts.start("random", seed).reseed) for seed in range(5)))
    assert all(start.n_reseeded > 0 for start in again.restarts.starts)
    assert all(start.limit > alone.best.log_likelihood + 1.0 for start in again.restarts.starts)
    assert again.best.log_likelihood == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("start", STARTS)
def test_starts_do_not_know_the_order_of_rows(start):
    X, y, _ = data("gaussian")
    table = np.column_stack([np.ones(len(X)), X, y])
    order = np.random.RandomState(1).permutation(len(X))
    model = LatentModel(MixtureWeights(), Regression(RESPONSES["gaussian"], 3))
    nothing = Affine(np.zeros(4), np.ones(4))

    def params(rows):
        drawn = draw_evenly(len(rows), None, 1000, np.random.RandomState(0))
        sample = Sample.of(rows[drawn[0]], nothing, drawn, len(rows))
        return RegressionStarts(model, 2, sample, 50).start(start, 5).make()

    a, b = params(table), params(table[order])
    np.testing.assert_allclose(a.family.coef, b.family.coef, rtol=1e-9)
    np.testing.assert_allclose(a.latent, b.latent, rtol=1e-9)


# -- warm starts -------------------------------------------------------------------------------------------


@every_case_at_length
def test_warm_start(cls, kind):
    X, y, _ = data(kind)
    fitted = make(cls, kind, warm_start=True).fit(X, y)
    before = copy.copy(fitted)
    fitted.fit(X, y)
    assert [start.kind for start in fitted.restarts_.starts] == ["warm"]
    assert fitted.lower_bounds_[0] == pytest.approx(before.lower_bounds_[-1], abs=1e-9)
    same_fit(before, fitted, 1e-5)
    # The last parameters are carried over in the user's units.
    moved = copy.copy(before).fit(1.01 * X + 0.01, y)
    assert moved.lower_bounds_[0] * len(X) == pytest.approx(objective(before, 1.01 * X + 0.01, y), abs=1e-2)
    if kind != "classes":
        assert moved.lower_bounds_[0] * len(X) == pytest.approx(
            log_likelihood(before, 1.01 * X + 0.01, y), abs=1e-2
        )


# -- large and other data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "kind"), some_slow([CASES[1], CASES[3], CASES[6]], [CASES[1]]))
def test_more_rows_than_the_race_looks_at(cls, kind):
    X, y, _ = data(kind, n=30_000)
    fitted = make(cls, kind, n_init=2, tol=1e-4).fit(X, y)
    assert fitted.converged_
    assert fitted.log_likelihood_ == pytest.approx(log_likelihood(fitted, X, y), rel=1e-10)
    both = make(cls, kind, n_init=2, tol=1e-4, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(both.coef_, fitted.coef_)
    value = fitted.lower_bounds_[-1]
    fitted.set_params(warm_start=True, tol=1e-8).fit(X, y)
    assert fitted.lower_bounds_[-1] * len(X) == pytest.approx(value * len(X), abs=1e-3)
    if kind != "classes":  # of which two maxima are within 3 nats
        elsewhere = make(cls, kind, n_init=5, tol=1e-4).fit(*data(kind, n=3000)[:2])
        elsewhere.set_params(warm_start=True, tol=1e-8).fit(X, y)
        elsewhere.reorder(match_components(fitted, elsewhere))  # each kept the order of its first fit
        same_fit(elsewhere, fitted, 1e-4)


@pytest.mark.parametrize(
    ("n_components", "options"),
    [
        (3, {"n_init": 2}),
        (1, {}),
        (3, {"n_init": 1}),
        (3, {"n_init": 2, "warm_start": True}),
    ],
    ids=["race", "one component", "one start", "warm start"],
)
@pytest.mark.parametrize(
    "cls", some_slow([MixtureOfLinearRegressions, MixtureOfExperts], [MixtureOfLinearRegressions])
)
def test_penalties_of_more_rows_than_the_race_looks_at(cls, n_components, options):
    rng = np.random.RandomState(0)
    n = 40_000
    X, labels = rng.normal(size=(n, 2)), rng.randint(3, size=n)
    truth = np.array([[0.8, 0.0, 1.5], [0.0, -0.8, -1.5], [-0.5, 0.5, 0.0]])[labels]
    y = (truth * np.column_stack([X, np.ones(n)])).sum(axis=1) + 0.2 * rng.normal(size=n)
    fitted = cls(n_components, alpha=300.0, tol=1e-8, random_state=0, **options).fit(X, y)
    if "warm_start" in options:
        fitted.set_params(alpha=3000.0).fit(X, y)
    if n_components > 1:
        assert fitted.weights_.min() > 0.3
        assert not any(start.n_reseeded for start in fitted.restarts_.starts)
    # Of all rows, each component is a ridge regression.
    resp = fitted.component_proba(X, y)
    for k in range(n_components):
        known = Ridge(fitted.alpha).fit(X, y, sample_weight=resp[:, k])
        np.testing.assert_allclose(fitted.coef_[k], known.coef_, atol=1e-5)
        np.testing.assert_allclose(fitted.intercept_[k], known.intercept_, atol=1e-5)
    assert fitted.lower_bounds_[-1] * n == pytest.approx(objective(fitted, X, y), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_more_grouped_rows_than_the_race_looks_at(weighted):
    lengths = np.tile([1, 4, 2, 3], 3000)
    X, y, _ = data("gaussian", lengths=lengths)
    groups = np.repeat(np.arange(len(lengths)), lengths)
    weight = np.random.RandomState(0).randint(3, size=len(X)) if weighted else None
    fitted = make(MixtureOfExperts, "gaussian", n_init=2, tol=1e-4, gate_features=[0])
    fitted.fit(X, y, sample_weight=weight, groups=groups)
    value = fitted.log_likelihood_
    prior, density = log_joint(fitted, X, y)
    scaled = density if weight is None else density * weight[:, None]
    first = np.cumsum(lengths) - lengths
    evidence = logsumexp(np.add.reduceat(scaled, first) + prior[first], axis=1)
    assert value == pytest.approx(evidence.sum(), rel=1e-9)
    fitted.set_params(warm_start=True, tol=1e-8).fit(X, y, sample_weight=weight, groups=groups)
    assert fitted.log_likelihood_ == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("absent", [False, True])
def test_few_groups_among_more_rows_than_the_race_looks_at(absent):
    """Since they are large, or since others have no weight."""
    lengths = np.r_[[30] * 3, [3] * 20_000] if absent else np.full(3, 15_000)
    X, y, labels = data("gaussian", lengths=lengths, seed=1)
    groups = np.repeat(np.arange(len(lengths)), lengths)
    weight = (groups < 3).astype(float)
    fitted = make(MixtureOfLinearRegressions, "gaussian", tol=1e-4)
    fitted.fit(X, y, sample_weight=weight, groups=groups)
    np.testing.assert_allclose(fitted.weights_, [2 / 3, 1 / 3], atol=1e-6)
    found = fitted.predict_proba(X, y, groups=groups).argmax(axis=1)
    assert len(np.unique(2 * found[groups < 3] + labels[groups < 3])) == 2


@every_case
def test_float32_and_memory_maps(cls, kind, tmp_path):
    X, y, _ = data(kind)
    there = make(cls, kind, n_init=1).fit(X, y)
    same_fit(there, make(cls, kind, n_init=1).fit(X.astype(np.float32), y))
    np.testing.assert_allclose(there.predict_components(X.astype(np.float32)), there.predict_components(X))
    np.save(tmp_path / "X.npy", X)
    same_fit(there, make(cls, kind, n_init=1).fit(np.load(tmp_path / "X.npy", mmap_mode="r"), y), 1e-12)
    same_fit(there, make(cls, kind, n_init=1).fit(np.asfortranarray(X), y), 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_regressions_that_live_in_different_places_are_found(seed):
    """All but k-means starts, and one in six of the elemental ones, end at two lines through both clouds."""
    rng = np.random.RandomState(seed)
    labels = (rng.uniform(size=600) < 0.7).astype(int)
    X = np.array([[-3.0, 0.0], [2.0, 2.0]])[labels] + rng.normal(size=(600, 2))
    y = np.where(labels, 1.0 + 2 * X[:, 0], -1.0 - X[:, 1]) + 0.3 * rng.normal(size=600)
    fit = MixtureOfLinearRegressions(2, random_state=seed).fit(X, y)
    np.testing.assert_allclose(fit.sigma_, 0.3, atol=0.05)
    np.testing.assert_allclose(fit.coef_[np.argmax(fit.weights_)], [2.0, 0.0], atol=0.1)
