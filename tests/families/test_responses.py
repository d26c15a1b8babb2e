"""Responses of regressions: densities, derivatives, quantiles and draws; laws of those with a dispersion."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from emlearn import (
    MarkovSwitchingRegression,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.em import LatentModel
from emlearn.families import RESPONSES, Classes, ClassRegression, Regression, RegressionParams, StudentT
from emlearn.families.regression import LEAST_DISPERSION
from emlearn.families.responses import Counts
from emlearn.latent import MixtureWeights, SoftmaxGate
from emlearn.testing import check_model
from tests.helpers.estimators import fit_and_messages
from tests.helpers.families import batch_of
from tests.helpers.pace import some_slow

ETA, PHI = np.array([-1.2, 0.3, 1.7]), np.array([0.3, 1.0, 2.5])
# As scipy has them, from a linear predictor and a dispersion.
SCIPY = {
    "gaussian": lambda eta, phi: stats.norm(eta, np.sqrt(phi)),
    "poisson": lambda eta, phi: stats.poisson(np.exp(eta)),
    "binomial": lambda eta, phi: stats.bernoulli(1 / (1 + np.exp(-eta))),
    "student_t": lambda eta, phi: stats.t(4.0, eta, np.sqrt(phi)),
    "negative_binomial": lambda eta, phi: stats.nbinom(1 / phi, 1 / (1 + phi * np.exp(eta))),
    "gamma": lambda eta, phi: stats.gamma(1 / phi, scale=phi * np.exp(eta)),
}
NEW = ("student_t", "negative_binomial", "gamma")
LINKED = ("negative_binomial", "gamma")
every_response = pytest.mark.parametrize("name", SCIPY)
every_new = pytest.mark.parametrize("name", NEW)


def observe(name, y, eta, phi):
    """Log-density with all terms, error and curvature, (m,)."""
    response = RESPONSES[name]
    seen = response.observe(np.atleast_2d(eta), np.atleast_2d(y), np.atleast_2d(phi).T)
    return seen.log_prob[0] + response.base_measure(np.atleast_2d(y)), seen.error[0], seen.curvature


def some_y(name, n=40, seed=0):
    """Responses from the middle of the parameters."""
    return SCIPY[name](ETA[1], PHI[1]).rvs(size=n, random_state=seed).astype(float)


def test_every_word_is_tested():
    assert set(SCIPY) == set(RESPONSES)


@every_response
def test_density_and_quantiles_are_those_of_scipy(name):
    response, frozen, y = RESPONSES[name], SCIPY[name], some_y(name)
    for eta, phi in zip(ETA, PHI, strict=True):
        other = frozen(eta, phi)
        log_density = getattr(other, "logpmf" if response.is_discrete else "logpdf")(y)
        np.testing.assert_allclose(observe(name, y, np.full(40, eta), phi)[0], log_density, atol=1e-11)
        etas = np.full(40, eta)
        np.testing.assert_allclose(response.cumulative(y, etas, phi), other.cdf(y), atol=1e-12)
        q = np.array([0.01, 0.3, 0.5, 0.9, 0.999])
        np.testing.assert_allclose(response.quantile(q, np.full(5, eta), phi), other.ppf(q), rtol=1e-9)
        np.testing.assert_allclose(response.mean(np.array([eta])), other.mean(), rtol=1e-12)
        np.testing.assert_allclose(response.variance(np.array([eta]), phi), other.var(), rtol=1e-12)


@every_response
def test_draws_are_of_the_distribution(name):
    response, n = RESPONSES[name], 4000
    drawn = response.draw(np.full(n, ETA[1]), np.full(n, PHI[0]), np.random.RandomState(0))
    q = np.linspace(0.1, 0.9, 9)
    bounds = SCIPY[name](ETA[1], PHI[0]).ppf(q)
    below = np.mean(drawn[:, None] <= bounds, axis=0)
    np.testing.assert_allclose(below, SCIPY[name](ETA[1], PHI[0]).cdf(bounds), atol=0.03)


@every_response
@pytest.mark.parametrize("phi", [1e-6, 0.049, 0.051, 1.0, 30.0])
def test_derivatives(name, phi):
    """By the linear predictor; and by the dispersion's logarithm, where that is not told by least squares."""
    response, y = RESPONSES[name], some_y(name)
    phi = phi if response.has_dispersion else 1.0
    eta, step = np.full(40, 0.4), 1e-5 * min(1.0, np.sqrt(phi))
    scale = phi if response.scales else 1.0
    high, low = (observe(name, y, eta + sign * step, phi) for sign in (1, -1))
    _, error, curvature = observe(name, y, eta, phi)
    slope = (high[0] - low[0]) / (2 * step)
    np.testing.assert_allclose(error / scale, slope, rtol=2e-4, atol=1e-5 * np.abs(slope).max())
    if name != "student_t":  # whose curvature is that of the normal density that touches it from below
        bend = -(high[1] - low[1]) / (2 * step)
        expected = np.ones(40) if curvature is None else curvature[0]
        np.testing.assert_allclose(expected, bend, rtol=1e-4, atol=1e-5 * np.abs(bend).max())
    if name in LINKED:
        at = {}
        for sign in (-1, 0, 1):
            moved = np.atleast_2d(phi * np.exp(sign * 1e-4))
            at[sign] = (
                observe(name, y, eta, moved[0, 0])[0],
                *response.by_dispersion(eta[None], y[None], moved),
            )
        slope, bend = ((at[1][i] - at[-1][i]) / 2e-4 for i in (0, 1))
        tops = np.abs(at[0][1]).max(), np.abs(at[0][2]).max()
        np.testing.assert_allclose(at[0][1][0], slope, rtol=1e-4, atol=1e-4 * tops[0] + 1e-9 / min(phi, 1))
        np.testing.assert_allclose(at[0][2], bend, rtol=1e-4, atol=1e-5 * tops[1])


def rows(name, n=120, seed=0):
    """Design, response of two components, and offset; responsibilities that know a part of them; weights."""
    rng = np.random.RandomState(seed)
    design = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    labels = (rng.uniform(size=n) < 1 / (1 + np.exp(-1.5 * design[:, 1]))).astype(int)
    offset = 0.2 * rng.normal(size=n)
    eta = (design * np.array([[1.5, 0.6, -0.3], [0.2, -0.7, 0.5]])[labels]).sum(axis=1)
    y = SCIPY[name](eta, np.array([0.2, 0.4])[labels]).rvs(random_state=rng).astype(float)
    resp = 0.7 * (labels == np.arange(2)[:, None]) + 0.15
    return np.column_stack([design, y, offset]), resp, rng.uniform(0.5, 2.0, size=n)


OPTIONS = {
    "plain": {},
    "shared dispersion": {"shared_dispersion": True},
    "all": {"penalty": (0.0, 0.7, 2.0), "shared": (0, 2), "least_ratio": 0.01},
}


CASES = [
    *((name, options, False) for name in NEW for options in OPTIONS),
    *((name, "plain", True) for name in NEW),
]
QUICK = [("negative_binomial", "plain", False), ("gamma", "all", False)]


@pytest.mark.parametrize(("name", "options", "gated"), some_slow(CASES, QUICK))
def test_laws(name, options, gated):
    table, resp, weight = rows(name)
    family = Regression(RESPONSES[name], 3, has_offset=True, **OPTIONS[options])
    model = LatentModel(SoftmaxGate((1,), ridge=0.01) if gated else MixtureWeights(), family)
    check_model(model, model.start(batch_of(table, weight), resp * weight), (table, weight))


def log_density(name, y, eta, phi):
    frozen = SCIPY[name](eta, phi)
    return frozen.logpmf(y) if RESPONSES[name].is_discrete else frozen.logpdf(y)


@every_new
def test_one_component_is_the_optimum(name):
    table, _, weight = rows(name)
    design, y, offset = table[:, :3], table[:, 3], table[:, 4]
    model = MixtureOfLinearRegressions(1, family=name, tol=1e-10)
    model.fit(design[:, 1:], y, sample_weight=weight, offset=offset)

    def loss(x):
        return -weight @ log_density(name, y, design @ x[:3] + offset, np.exp(x[3]))

    found = optimize.minimize(loss, np.r_[0.5, 0.0, 0.0, -1.0], method="BFGS", options={"gtol": 1e-7})
    assert model.log_likelihood_ == pytest.approx(-found.fun, abs=1e-7)
    assert model.converged_
    coef = np.r_[model.intercept_, model.coef_[0]]
    np.testing.assert_allclose(coef, found.x[:3], atol=1e-4)
    noise = model.sigma_[0] ** 2 if name == "student_t" else model.dispersion_[0]
    assert noise == pytest.approx(np.exp(found.x[3]), rel=1e-4)


@pytest.mark.slow  # it takes seconds to import
def test_one_component_is_the_model_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    for name in LINKED:
        table, _, _ = rows(name)
        design, y = table[:, :3], table[:, 3]
        model = MixtureOfLinearRegressions(1, family=name, tol=1e-10).fit(design[:, 1:], y)
        coef = np.r_[model.intercept_, model.coef_[0]]
        if name == "gamma":  # whose coefficients do not depend on the dispersion
            family = sm.families.Gamma(sm.families.links.Log())
        else:
            family = sm.families.NegativeBinomial(alpha=model.dispersion_[0])
        fit = sm.GLM(y, design, family=family).fit(tol=1e-12)
        np.testing.assert_allclose(coef, fit.params, rtol=1e-6)
        llf = fit.model.family.loglike(y, fit.mu, scale=model.dispersion_[0] if name == "gamma" else 1.0)
        assert model.log_likelihood_ == pytest.approx(llf, abs=1e-6)
        if name != "gamma":
            both = sm.NegativeBinomial(y, design).fit(disp=False, maxiter=200)
            assert model.log_likelihood_ == pytest.approx(both.llf, abs=1e-5)


@every_new
def test_components_are_found(name):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(600, 1)), rng.uniform(size=600) < 0.4
    eta = np.where(labels, 3 - X[:, 0], 1 + X[:, 0])
    y = SCIPY[name](eta, 0.05).rvs(random_state=rng)
    model, messages = fit_and_messages(MixtureOfLinearRegressions(2, family=name, random_state=0), X, y)
    assert not messages
    np.testing.assert_allclose(model.coef_, [[1.0], [-1.0]], atol=0.15)
    np.testing.assert_allclose(model.intercept_, [1.0, 3.0], atol=0.15)
    noise = "sigma_" if name == "student_t" else "dispersion_"
    expected = np.sqrt(0.05) if name == "student_t" else 0.05
    np.testing.assert_allclose(getattr(model, noise), expected, rtol=0.7)
    assert hasattr(model, "sigma_") == (name == "student_t")
    assert model.n_parameters_ == 4 + 2 + 1
    # The same of known parameters.
    made = MixtureOfLinearRegressions.from_parameters(
        model.coef_, model.intercept_, weights=model.weights_, family=name,
        **{noise[:-1]: getattr(model, noise)},
    )  # fmt: skip
    np.testing.assert_allclose(made.score_samples(X, y), model.score_samples(X, y), rtol=1e-9)
    interval = model.predict_interval(X, 0.8)
    assert np.mean((interval[:, 0] <= y) & (y <= interval[:, 1])) == pytest.approx(0.8, abs=0.08)
    drawn, _ = model.sample(X, random_state=0)
    assert RESPONSES[name].is_possible(drawn[:, None]).all()
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, model.predict(X))
    assert (std > 0).all()


@pytest.mark.parametrize("name", some_slow(NEW, ["gamma"]))
def test_experts_and_regimes_know_them_too(name):
    rng = np.random.default_rng(1)
    X, regimes = rng.normal(size=(200, 1)), np.arange(200) // 40 % 2
    y = SCIPY[name](np.where(regimes, 3 - X[:, 0], 1 + X[:, 0]), 0.05).rvs(random_state=rng)
    switching = MarkovSwitchingRegression(2, family=name, n_init=4, random_state=0).fit(X, y)
    assert np.mean(switching.decode(X, y)[0] == regimes) > 0.97
    assert switching.score(X, y) == pytest.approx(switching.lower_bound_)
    ahead = switching.predict_next(X, y, [[0.0]])
    variance = (
        ahead.std[0] ** 2
        - ahead.regime_proba[0] @ (switching.predict_components([[0.0]])[0] - ahead.mean[0]) ** 2
    )
    assert variance > 0
    experts = MixtureOfExperts(2, family=name, alpha=0.1, gate_alpha=1.0, n_init=4, random_state=0)
    experts.fit(np.column_stack([X, regimes]), y)
    assert np.mean(experts.component_proba(np.column_stack([X, regimes])).argmax(axis=1) == regimes) > 0.95


def test_counts_without_overdispersion_are_poisson():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1))
    y = rng.binomial(12, 1 / (1 + np.exp(-X[:, 0])))  # which vary less
    both = MixtureOfLinearRegressions(1, family="negative_binomial", max_iter=200).fit(X, y)
    poisson = MixtureOfLinearRegressions(1, family="poisson").fit(X, y)
    assert both.converged_
    assert both.dispersion_[0] == pytest.approx(LEAST_DISPERSION)
    assert both.log_likelihood_ == pytest.approx(poisson.log_likelihood_, abs=1e-4)
    np.testing.assert_allclose(both.coef_, poisson.coef_, atol=1e-5)


def test_outliers_hardly_move_t():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1))
    y = 1 + 2 * X[:, 0] + 0.3 * rng.normal(size=200)
    y[:10] += 1000 * rng.normal(size=10)
    model = MixtureOfLinearRegressions(1, family=StudentT(df=2)).fit(X, y)
    assert model.coef_[0, 0] == pytest.approx(2.0, abs=0.1)
    assert model.family.df == 2
    assert np.isinf(model.predict(X, return_std=True)[1]).all()
    far = np.sinh(np.linspace(-12.0, 12.0, 4001))
    area = integrate.trapezoid(np.exp(model.score_samples(np.zeros((4001, 1)), far)), far)
    assert area == pytest.approx(1.0, abs=1e-4)


def test_streams_of_counts():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 1))
    y = stats.nbinom(2.0, 1 / (1 + 0.5 * np.exp(1 + X[:, 0]))).rvs(random_state=rng)
    model = MixtureOfLinearRegressions(1, family="negative_binomial", random_state=0)
    for part in np.split(np.arange(6000), 12):
        model.partial_fit(X[part], y[part])
    whole = MixtureOfLinearRegressions(1, family="negative_binomial").fit(X, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, atol=0.02)
    np.testing.assert_allclose(model.dispersion_, whole.dispersion_, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        ({"family": "gamma"}, [1.0, 0.0, 2.0], "must be positive numbers, but is 0.0 in row 1"),
        ({"family": "negative_binomial"}, [1.0, 2.5, 2.0], r"must be the counts 0, 1, 2 and so on, but is 2.5"),
        ({"family": "normal"}, [1.0, 2.0, 3.0], "family"),
    ],
)
def test_bad_responses(settings, y, message):
    with pytest.raises(ValueError, match=message):
        MixtureOfLinearRegressions(1, **settings).fit([[1.0], [2.0], [4.0]], y)


def test_bad_parameters():
    known = {"coef": [[1.0], [2.0]], "weights": [0.5, 0.5]}
    make = MixtureOfLinearRegressions.from_parameters
    with pytest.raises(ValueError, match="degrees of freedom must be positive"):
        StudentT(df=0)
    with pytest.raises(ValueError, match="dispersion must be given"):
        make(**known, family="gamma")
    with pytest.raises(ValueError, match="dispersion must be positive"):
        make(**known, family="gamma", dispersion=[1.0, 0.0])
    with pytest.raises(ValueError, match="sigma is for normal noise"):
        make(**known, family="gamma", sigma=[1.0, 1.0])
    with pytest.raises(ValueError, match="dispersion is for counts and gamma"):
        make(**known, sigma=[1.0, 1.0], dispersion=[1.0, 1.0])


# -- classes -----------------------------------------------------------------------------------------------


def classes(n=150, seed=0):
    """Design, classes 0 to 2 that two multinomial regressions tell, and the regression of each row."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.uniform(-2, 2, size=n), rng.normal(size=n)])
    kinds = (rng.uniform(size=n) < expit(4 * X[:, 0])).astype(int)
    slope = np.where(kinds, -3.0, 3.0) * X[:, 1]
    proba = softmax(np.stack([np.where(kinds, 2.0, -2.0), slope, -slope], axis=1), axis=1)
    return X, (rng.uniform(size=(n, 1)) > proba.cumsum(axis=1)[:, :-1]).sum(axis=1), kinds


@pytest.mark.parametrize(
    "options",
    some_slow([{}, {"shared": (2,)}, {"penalty": (0.0, 0.7, 2.0)}], [{"penalty": (0.0, 0.7, 2.0)}]),
)
def test_laws_of_classes(options):
    X, codes, kinds = classes()
    table = np.column_stack([np.ones(len(X)), X, codes])
    plain = Regression(RESPONSES["binomial"], 3, **({"penalty": (0.0, 0.1, 0.1)} | options))
    family = ClassRegression.of(plain, Classes(3))
    model = LatentModel(SoftmaxGate((1,), ridge=0.1), family)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(X))
    resp = (0.7 * (kinds == np.arange(2)[:, None]) + 0.15) * weight
    params = model.start(batch_of(table, weight), resp)
    check_model(model, params, (table, weight))
    n_shared = len(options.get("shared", ()))
    assert family.n_parameters(params.family) == 2 * 2 * (3 - n_shared) + 2 * n_shared


def test_score_and_gram_of_classes_are_derivatives():
    X, codes, _ = classes(40)
    batch = batch_of(np.column_stack([np.ones(40), X, codes]))
    family = ClassRegression.of(Regression(RESPONSES["binomial"], 3), Classes(3))
    rng = np.random.default_rng(0)
    coef, resp = rng.normal(size=(2, 6)), rng.uniform(size=(2, 40))

    def at(step):
        params = RegressionParams(coef + step, np.ones(1))
        seen = family.density(params)(batch)
        return (resp * seen.log_prob).sum(axis=1), seen.totals(resp)

    here = at(0.0)[1]
    for j in range(6):
        step = 1e-5 * (np.arange(6) == j)
        (high, after), (low, before) = at(step), at(-step)
        np.testing.assert_allclose((high - low) / 2e-5, here.score[:, j], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose((before.score - after.score) / 2e-5, here.gram[:, j], rtol=1e-6, atol=1e-7)


def test_one_expert_is_multinomial_logistic_regression():
    X, codes, _ = classes()
    names = np.array(["ash", "beech", "oak"])[codes]
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=len(X))
    model = MixtureOfExpertsClassifier(1, alpha=0.5, tol=1e-10).fit(X, names, sample_weight=weight)
    known = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(X, names, sample_weight=weight)
    np.testing.assert_allclose(model.predict_proba(X), known.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(model.coef_[0], known.coef_, atol=1e-4)
    np.testing.assert_allclose(model.coef_.sum(axis=1), 0.0, atol=1e-12)
    assert model.coef_.shape == (1, 3, 2)
    assert model.intercept_.shape == (1, 3)
    assert model.n_parameters_ == 6
    assert (model.predict(X) == known.predict(X)).all()


def test_experts_of_three_classes():
    X, codes, _ = classes(300)
    names = np.array(["ash", "beech", "oak"])[codes]
    model = MixtureOfExpertsClassifier(2, gate_alpha=0.01, n_init=4, random_state=0).fit(X, names)
    assert model.score(X, names) > LogisticRegression().fit(X, names).score(X, names) + 0.15
    truth = MixtureOfExpertsClassifier.from_parameters(
        [[[0, 0], [0, 3], [0, -3]], [[0, 0], [0, -3], [0, 3]]], [[-2, 0, 0], [2, 0, 0]], classes=model.classes_,
        gate_coef=[[-2, 0], [2, 0]], gate_intercept=[0, 0], gate_alpha=0.01, warm_start=True,
    )  # fmt: skip
    assert model.lower_bounds_[-1] > truth.fit(X, names).lower_bounds_[-1] - 1e-6
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    of_each = model.predict_components(X)
    assert of_each.shape == (300, 2, 3)
    np.testing.assert_allclose(np.einsum("nk,nkc->nc", model.component_proba(X), of_each), proba)
    density = np.exp(model.score_samples(X, names))
    np.testing.assert_allclose(density, proba[np.arange(300), codes], rtol=1e-9)
    assert model.score_samples(X, names).sum() == pytest.approx(model.log_likelihood_)
    drawn, _ = model.sample(np.repeat(X[:1], 4000, axis=0), random_state=0)
    shares = [np.mean(drawn == name) for name in model.classes_]
    np.testing.assert_allclose(shares, proba[0], atol=0.03)
    made = MixtureOfExpertsClassifier.from_parameters(
        model.coef_ + 1.0, model.intercept_, gate_coef=model.gate_coef_, classes=model.classes_,
        gate_intercept=model.gate_intercept_,
    )  # fmt: skip
    np.testing.assert_allclose(made.predict_proba(X), proba)  # a constant for all classes says nothing
    np.testing.assert_allclose(made.coef_, model.coef_, atol=1e-12)
    turned = made.reorder([1, 0])
    np.testing.assert_allclose(turned.coef_, model.coef_[::-1], atol=1e-12)
    np.testing.assert_allclose(turned.predict_proba(X), proba)
    model.set_params(warm_start=True).fit(X, names)
    assert model.n_iter_ < 6
    # In other units, in which the ridge is another: it is on coefficients per unit.
    model.set_params(alpha=100.0, warm_start=False).fit(10 * X - 3, names)
    np.testing.assert_allclose(model.predict_proba(10 * X - 3), proba, atol=1e-3)


def test_bad_input_of_three_classes():
    X, codes, _ = classes(30)
    with pytest.raises(ValueError, match="offset is for two classes, but there are 3"):
        MixtureOfExpertsClassifier().fit(X, codes, offset=np.ones(30))
    gate = {"gate_coef": np.zeros((2, 2)), "gate_intercept": np.zeros(2)}
    with pytest.raises(ValueError, match=r"coef has shape \(2, 2\); expected \(K, 3, d\)"):
        MixtureOfExpertsClassifier.from_parameters(np.zeros((2, 2)), classes=[0, 1, 2], **gate)
    with pytest.raises(ValueError, match="give the classes, two at least"):
        MixtureOfExpertsClassifier.from_parameters(np.zeros((2, 2)), classes=[1], **gate)


class OwnCounts(Counts):
    name = "own"


def test_a_response_may_be_a_users_own():
    rng = np.random.RandomState(0)
    X, labels = rng.normal(size=(200, 1)), np.arange(200) % 2
    y = rng.poisson(np.exp(np.where(labels, 2.0 + 0.5 * X[:, 0], -0.5 * X[:, 0])))
    own, theirs = (
        MixtureOfLinearRegressions(2, family=f, random_state=0).fit(X, y) for f in (OwnCounts(), "poisson")
    )
    np.testing.assert_array_equal(own.coef_, theirs.coef_)
    with pytest.raises(ValueError, match="With family='own' y must be the counts"):
        own.fit(X, y + 0.5)
