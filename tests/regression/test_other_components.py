"""Components that are no regressions: zero inflation, and uniform noise."""

import csv
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit, gammaln, log_expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from emlearn import MixtureOfExperts, MixtureOfLinearRegressions, match_components
from emlearn.em import LatentModel, LatentPair
from emlearn.families import RESPONSES, Regression, RegressionAnd, RegressionParams, UniformNoise, ZeroMass
from emlearn.latent import MixtureWeights
from emlearn.testing import check_model
from tests.helpers.pace import some_slow

N = 300
TIGHT = {"tol": 1e-9, "n_init": 3, "random_state": 0}


def inflated(n=N):
    """Counts that the first feature explains, of which the second says how likely they are to be none."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, n))
    none = rng.uniform(size=n) < expit(-1 + 1.5 * w)
    return np.c_[x, w], np.where(none, 0, rng.poisson(np.exp(0.5 + 0.6 * x)))


def table(name):
    with open(Path(__file__).parents[1] / "data" / name) as lines:
        return list(csv.DictReader(lines))


def test_fish_that_sas_counts():
    """PROC FMM's catch: minus twice the log-likelihood, and its estimates, to the digits that are printed."""
    rows = table("catch.csv")
    age = np.array([[float(row["age"]) * (row["gender"] == which) for which in "FM"] for row in rows])
    count = [float(row["count"]) for row in rows]
    fit = MixtureOfLinearRegressions(1, family="poisson", zero_inflated=True, **TIGHT).fit(age, count)
    assert -2 * fit.log_likelihood_ == pytest.approx(145.611, abs=5e-4)
    np.testing.assert_allclose(fit.intercept_, [-3.5215], atol=5e-5)
    np.testing.assert_allclose(fit.coef_, [[0.1216, 0.1056]], atol=5e-5)
    np.testing.assert_allclose(fit.weights_, [0.6972, 0.3028], atol=5e-5)


def test_articles_of_biochemists():
    """pscl's zeroinfl(art ~ .), with every feature in the gate: the published log-likelihood and estimates."""
    rows = [list(map(float, row.values())) for row in table("biochemists.csv")]
    y, *features = np.transpose(rows)
    fit = MixtureOfExperts(1, family="poisson", zero_inflated=True, gate_alpha=0, **TIGHT)
    fit.fit(np.transpose(features), y)
    assert fit.log_likelihood_ == pytest.approx(-1604.773, abs=5e-4)
    np.testing.assert_allclose(fit.intercept_, [0.640839], atol=1e-4)
    expected = [-0.209144, 0.103750, -0.143320, -0.006166, 0.018098]
    np.testing.assert_allclose(fit.coef_[0], expected, atol=1e-4)
    gate = np.r_[fit.gate_intercept_[1] - fit.gate_intercept_[0], fit.gate_coef_[1] - fit.gate_coef_[0]]
    expected = [-0.577060, 0.109752, -0.354018, 0.217095, 0.001275, -0.134114]
    np.testing.assert_allclose(gate, expected, atol=2e-3)


def top(negative, start):
    """The greatest likelihood, by a general optimiser."""
    return -optimize.minimize(negative, start, method="BFGS").fun


@pytest.mark.parametrize("gated", [False, True])
def test_zero_inflated_counts(gated):
    X, y = inflated()
    x, w = X.T
    if gated:
        fit = MixtureOfExperts(1, family="poisson", zero_inflated=True, expert_features=[0], gate_features=[1])
        fit.set_params(gate_alpha=0.0, **TIGHT).fit(X, y)
    else:
        fit = MixtureOfLinearRegressions(1, family="poisson", zero_inflated=True, **TIGHT).fit(X[:, :1], y)

    def negative(p):
        counts = y * (p[0] + p[1] * x) - np.exp(p[0] + p[1] * x) - gammaln(y + 1)
        none = p[2] + p[3] * w if gated else p[2]
        zero = np.where(y == 0, log_expit(none), -np.inf)
        return -np.logaddexp(log_expit(-none) + counts, zero).sum()

    n_parameters = 4 if gated else 3
    assert fit.n_parameters_ == n_parameters
    assert fit.log_likelihood_ == pytest.approx(top(negative, np.zeros(n_parameters)), abs=1e-6)
    assert fit.coef_.shape == (1, 1)
    assert fit.weights_.shape == (2,)
    Z = X if gated else X[:, :1]
    resp = fit.predict_proba(Z, y)
    np.testing.assert_array_equal(resp[y > 0], np.tile([1.0, 0.0], (np.sum(y > 0), 1)))
    means, prior = fit.predict_components(Z), fit.predict_proba(Z)
    np.testing.assert_array_equal(means[:, 1], 0.0)
    np.testing.assert_allclose(fit.predict(Z), prior[:, 0] * means[:, 0], rtol=1e-12)
    mean, std = fit.predict(Z, return_std=True)
    second = prior[:, 0] * (means[:, 0] + means[:, 0] ** 2)
    np.testing.assert_allclose(std**2, second - mean**2, rtol=1e-9)
    quantiles = fit.predict_quantiles(Z, [0.2, 0.7])
    for q, found in zip([0.2, 0.7], quantiles.T, strict=True):
        at = prior[:, 0] * stats.poisson.cdf(found, means[:, 0]) + prior[:, 1]
        below = prior[:, 0] * stats.poisson.cdf(found - 1, means[:, 0]) + prior[:, 1] * (found > 0)
        assert (at >= q - 1e-12).all()
        assert (below < q).all()
    drawn, labels = fit.sample(np.repeat(Z, 20, axis=0))
    assert (drawn[labels == 1] == 0).all()
    assert drawn.mean() == pytest.approx(mean.mean(), rel=0.05)


def test_zero_inflated_successes_in_groups_and_a_second_regression():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 4)
    kind = rng.choice(3, size=60, p=[0.5, 0.3, 0.2])[groups]
    x = rng.normal(size=240)
    chance = np.select([kind == 0, kind == 1], [expit(1 + x), expit(-1 - 2 * x)], 0.0)
    successes = rng.binomial(8, chance)
    y = np.c_[successes, 8 - successes]
    fit = MixtureOfLinearRegressions(2, family="binomial", zero_inflated=True, random_state=0)
    fit.fit(x[:, None], y, groups=groups)
    np.testing.assert_allclose(fit.coef_[:, 0], [1, -2], atol=0.4)
    resp = fit.predict_proba(x[:, None], y, groups=groups)
    assert np.mean(resp.argmax(axis=1) == kind) > 0.97
    assert fit.n_parameters_ == 4 + 2
    known = MixtureOfLinearRegressions.from_parameters(
        fit.coef_, fit.intercept_, weights=fit.weights_, family="binomial", zero_inflated=True
    )
    for other in (known, pickle.loads(pickle.dumps(fit))):
        np.testing.assert_allclose(other.score_samples(x[:, None], y, groups=groups).sum(), fit.log_likelihood_)
        assert match_components(fit, other).tolist() == [0, 1, 2]
    swapped = clone(fit).fit(x[:, None], y, groups=groups).reorder([1, 0, 2])
    assert match_components(fit, swapped).tolist() == [1, 0, 2]
    with pytest.raises(
        ValueError, match="moves what is no regression: the last of 3 components are zero inflation"
    ):
        fit.reorder([2, 0, 1])


@pytest.mark.parametrize("n_components", some_slow([1, 2], [1]))
def test_uniform_noise(n_components):
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    line = np.where(rng.uniform(size=N) < 0.6 - 0.6 * (n_components == 1), 1 - x, 3 + 2 * x)
    y = np.where(rng.uniform(size=N) < 0.1, rng.uniform(-40, 60, size=N), line + 0.3 * rng.normal(size=N))
    fit = MixtureOfLinearRegressions(n_components, noise=True, **TIGHT).fit(x[:, None], y)
    uniform = -np.log(np.ptp(y))

    def negative(p):
        coef, log_sigma, odds = (
            p[: 2 * n_components].reshape(-1, 2),
            p[2 * n_components],
            p[2 * n_components + 1 :],
        )
        weights = np.r_[0.0, odds] - np.logaddexp.reduce(np.r_[0.0, odds])
        densities = [
            stats.norm.logpdf(y, a + b * x, np.exp(log_sigma)) + w
            for (a, b), w in zip(coef, weights[:-1], strict=True)
        ]
        return -np.logaddexp.reduce([*densities, np.full(N, uniform + weights[-1])], axis=0).sum()

    if n_components == 2:  # one parameter fewer, for the same optimiser
        fit.set_params(shared_variance=True).fit(x[:, None], y)
    start = [3, 2, -1, -2.0] if n_components == 1 else [1, -1, 3, 2, -1, 0, -2.0]
    assert fit.log_likelihood_ == pytest.approx(top(negative, np.array(start)), abs=1e-5)
    assert fit.n_parameters_ == len(start)
    assert fit.weights_[-1] == pytest.approx(0.1, abs=0.04)
    np.testing.assert_allclose(fit.sigma_, 0.3, atol=0.05)
    assert fit.predict_proba([[0.0]], [40.0])[0, -1] == pytest.approx(1.0)
    assert fit.predict_components([[0.0]])[0, -1] == pytest.approx((y.min() + y.max()) / 2)
    inside = fit.predict_interval(x[:, None], 0.8)
    assert np.mean((y > inside[:, 0]) & (y < inside[:, 1])) == pytest.approx(0.8, abs=0.07)
    # In other units it is the same fit.
    there = clone(fit).fit(x[:, None] / 7, 1000 * y + 5)
    np.testing.assert_allclose(there.weights_, fit.weights_, rtol=1e-5)
    np.testing.assert_allclose(there.coef_, 7000 * fit.coef_, rtol=1e-4)
    again = clone(fit).set_params(warm_start=True).fit(x[:, None], y)
    assert again.fit(x[1:, None], y[1:]).n_iter_ < 100


LAWFUL = [("poisson", ZeroMass()), ("gaussian", UniformNoise(-3.0, 4.0))]


@pytest.mark.parametrize(("kind", "other"), some_slow(LAWFUL, LAWFUL[:1]))
def test_the_family_obeys_the_laws(kind, other):
    rng = np.random.default_rng(3)
    x = rng.normal(size=60)
    y = rng.poisson(np.exp(0.4 * x)) if kind == "poisson" else np.clip(x + rng.normal(size=60), -3, 4)
    family = RegressionAnd.of(Regression(RESPONSES[kind], 2), (other,))
    noise = np.ones(2 if kind == "gaussian" else 1)
    params = LatentPair(np.array([0.5, 0.3, 0.2]), RegressionParams(np.array([[0.3, 0.1], [-0.5, 0.6]]), noise))
    check_model(LatentModel(MixtureWeights(), family), params, np.c_[np.ones(60), x, y])


def test_a_component_without_counts_is_named():
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    y = np.where(rng.uniform(size=N) < 0.3, 0, rng.poisson(np.exp(3 + 0.4 * x)))
    with pytest.warns(
        ConvergenceWarning, match=r"^Component 1 never has a count: zero inflation, .* one component"
    ):
        plain = MixtureOfLinearRegressions(2, family="poisson", alpha=1.0, random_state=0).fit(x[:, None], y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = MixtureOfLinearRegressions(1, family="poisson", zero_inflated=True, alpha=1.0).fit(x[:, None], y)
    assert fit.weights_ == pytest.approx(plain.weights_, abs=1e-3)
    more = 1 + rng.poisson(np.exp(1 + x))  # nobody has none
    more[0] = 0
    with pytest.warns(
        ConvergenceWarning, match="component 1, which is zero inflation: set zero_inflated=False"
    ):
        MixtureOfLinearRegressions(1, family="poisson", zero_inflated=True).fit(x[:, None], 5 * more)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"zero_inflated": True}, [0.0, 1.0, 2.0], "zero_inflated=True is for counts and successes"),
        ({"zero_inflated": True, "family": "poisson"}, [3, 1, 2], "but no response is 0: the least is 1"),
        ({"noise": True, "family": "poisson"}, [0, 1, 2], "noise=True is a uniform component for numbers"),
        ({"noise": True}, [1.0, 1.0, 1.0], "but all responses are alike"),
    ],
)
def test_other_components_that_cannot_be(options, y, message):
    mixture = MixtureOfLinearRegressions(1, **options)
    with pytest.raises(ValueError, match=message):
        mixture.fit([[0.0], [1.0], [3.0]], y)
    with pytest.raises(ValueError, match="partial_fit knows regressions alone"):
        mixture.partial_fit([[0.0], [1.0], [3.0]], y)
    if options == {"noise": True}:
        with pytest.raises(ValueError, match="the range of the responses, which parameters do not tell"):
            MixtureOfLinearRegressions.from_parameters([[1.0]], weights=[0.9, 0.1], sigma=[1.0], noise=True)
