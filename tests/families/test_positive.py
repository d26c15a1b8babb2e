"""Positive numbers: gamma, exponential and log-normal distributions, beyond what the registry checks."""

import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import digamma
from sklearn.exceptions import ConvergenceWarning

from emlearn import HMMEM
from emlearn.families import Exponential, FactorGaussian, Gamma, GammaParams, LogNormal, Sketch
from emlearn.families.gamma import log_less_digamma
from emlearn.families.independent import MOST_NARROW
from tests.helpers.families import FAMILIES, K, batch_of

WORDS = {"gamma": "gamma", "exponential": "exponential", "lognormal": "log-normal"}


def sequence(name, n=400, seed=0):
    """Observations of two states that last, a tenth of them missing, and the states."""
    rng = np.random.RandomState(seed)
    states = np.cumsum(rng.uniform(size=n) < 0.05) % K
    X = FAMILIES[name].rows(rng, states)
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    return X, states


@pytest.mark.parametrize("word", WORDS)
def test_states_are_found(word):
    X, states = sequence(WORDS[word])
    model = HMMEM(K, emission=word, random_state=0).fit(X)
    agree = np.mean(model.predict(X) == states)
    assert max(agree, 1 - agree) > 0.85
    true = FAMILIES[WORDS[word]]
    expected = true.family.mean(true.params)
    found = model._model.family.mean(model._params.family)
    order = np.argsort(expected[:, 0])
    np.testing.assert_allclose(found, expected[order], rtol=0.25)


@pytest.mark.parametrize("word", WORDS)
def test_unit_of_measurement_does_not_matter(word):
    X, _ = sequence(WORDS[word], 150)
    fit, scaled = (HMMEM(K, emission=word, random_state=0).fit(Y) for Y in (X, X * 1e-9))
    n = np.count_nonzero(~np.isnan(X))
    assert scaled.log_likelihood_ == pytest.approx(fit.log_likelihood_ + n * np.log(1e9), abs=1e-4)
    found, expected = (m._model.family.mean(m._params.family) for m in (scaled, fit))
    np.testing.assert_allclose(found * 1e9, expected, rtol=1e-3)


def test_maximum_of_gammas_is_that_of_an_optimiser():
    rng = np.random.RandomState(0)
    x, weight = rng.gamma(2.5, 4.0, size=80), rng.uniform(0.5, 2.0, size=80)
    found = Gamma().start(batch_of(x[:, None]), weight[None])

    def loss(v):
        return -weight @ stats.gamma(np.exp(v[0]), scale=np.exp(-v[1])).logpdf(x)

    best = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    np.testing.assert_allclose([found.shapes.item(), found.rates.item()], np.exp(best.x), rtol=1e-6)


@pytest.mark.parametrize("shape", [1e-3, 0.2, 1.0, 19.0, 21.0, 1e4, 9e5])
def test_shapes_are_exact(shape):
    gap = np.log(shape) - digamma(shape) if shape < 100 else log_less_digamma(np.array(shape))[0]
    found = Gamma().estimate(np.ones((1, 1)), -np.full((1, 1), gap)).shapes.item()
    assert found == pytest.approx(shape, rel=1e-9)


def test_equal_numbers_rest_at_the_largest_shape():
    X = np.full((20, 1), 3.0)
    fit = HMMEM(1, emission="gamma").fit(X)
    assert fit.shapes_.item() == MOST_NARROW
    assert fit.shapes_.item() / fit.rates_.item() == pytest.approx(3.0)
    assert Gamma().resting(fit._params.family).tolist() == [True, False]


def test_a_lone_number_is_no_gamma_component():
    """Its likelihood would have no bound; by its evidence it is nothing."""
    rng = np.random.RandomState(1)
    X = rng.gamma(2.0, size=(60, 1))
    resp = np.full((2, 60), 0.5)
    alone = np.zeros((2, 60))
    alone[0, 0], alone[1, 1:] = 1.0, 1.0
    family, T = Gamma(), Gamma().statistics(batch_of(X))
    for share, expected in ((resp, 0.0), (alone, np.inf)):
        totals = np.hstack([share @ T.T, share.sum(axis=1, keepdims=True)])
        assert family.handicap(family.maximize(totals), totals) == pytest.approx(expected)


@pytest.mark.parametrize("word", WORDS)
def test_what_is_not_positive_is_named(word):
    X, _ = sequence(WORDS[word], 30)
    X[7, 1] = 0.0
    with pytest.raises(ValueError, match="X is 0 in column 1, sequence 0, step 7: not one of positive numbers"):
        HMMEM(K, emission=word).fit(X)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_log_normal_is_gaussian_in_logarithms(covariance_type):
    X, _ = sequence("log-normal", 200)
    options = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-8}
    fit = HMMEM(K, emission="lognormal", **options).fit(X)
    of_logs = HMMEM(K, **options).fit(np.log(X))
    assert fit.log_likelihood_ == pytest.approx(of_logs.log_likelihood_ - np.nansum(np.log(X)), abs=1e-6)
    np.testing.assert_allclose(fit.log_means_, of_logs.means_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fit.log_covariances_, of_logs.covariances_, rtol=1e-4, atol=1e-4)
    again = HMMEM.from_parameters(
        fit.startprob_,
        fit.transmat_,
        emission="lognormal",
        covariance_type=covariance_type,
        log_means=fit.log_means_,
        log_covariances=fit.log_covariances_,
    )
    assert again.score(X) == pytest.approx(fit.score(X), rel=1e-9)


def test_a_floor_of_logarithms_follows_their_spread():
    """Amounts that differ by a thousandth are as well told apart as any."""
    rng = np.random.RandomState(0)
    labels = np.arange(200) // 20 % K
    noise = rng.normal(size=200)
    X = (100.0 * np.exp(1e-5 * (3.0 * labels + noise)))[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = HMMEM(K, emission="lognormal", random_state=0).fit(X)
    assert np.mean(fit.predict(X) == labels) > 0.9
    np.testing.assert_allclose(np.diff(fit.log_means_[:, 0]), 3e-5, rtol=0.1)


@pytest.mark.parametrize("family", [Gamma(), LogNormal()])
def test_recorded_steps_are_no_components(family):
    """Prices rounded to a whole number repeat: no component is narrower than half a step."""
    X = np.round(np.exp(np.random.RandomState(0).normal(3.0, 0.4, size=(300, 1))))
    batch = batch_of(X)
    bound = family.bound_to(Sketch(batch, X.max(axis=0), len(X), len(X), ("x0",)))
    at_one_value = (X[:, 0] == 20.0) * 1.0
    params = bound.start(batch, np.stack([at_one_value, 1.0 - at_one_value]))
    assert np.sqrt(family.covariance(params)[0, 0, 0]) == pytest.approx(0.5, rel=0.1)
    assert bound.resting(params).tolist()[0 if family == Gamma() else 2]


def test_factors_of_logarithms_are_refused():
    with pytest.raises(ValueError, match="take another covariance_type"):
        HMMEM(K, emission="lognormal", covariance_type="factor").fit(sequence("log-normal", 30)[0])
    with pytest.raises(ValueError, match="FactorGaussian"):
        LogNormal(FactorGaussian(1))


@pytest.mark.parametrize("name", ["gamma", "exponential", "log-normal"])
def test_distance_is_minus_the_log_of_the_overlap(name):
    example = FAMILIES[name]
    resp = (np.arange(60) % K == np.arange(K)[:, None]) * 1.0
    X = example.rows(np.random.RandomState(0), np.arange(60) % K)[:, :1]
    params = example.family.start(batch_of(X), resp)

    def root(x):
        seen = example.family.density(params)(batch_of([[x]]))
        return np.exp(0.5 * (seen.log_prob + seen.shared_log_prob()).sum())

    overlap = quad(lambda t: root(np.exp(t)) * np.exp(t), -30, 6, epsabs=1e-11)[0]
    found = example.family.divergence(params, example.family, params)[0, 1]
    assert found == pytest.approx(-np.log(overlap), rel=1e-6)


def test_unlike_positive_families_are_not_compared():
    gamma, exponential = FAMILIES["gamma"], FAMILIES["exponential"]
    with pytest.raises(ValueError, match="Gamma cannot be compared with those of Exponential"):
        gamma.family.divergence(gamma.params, exponential.family, exponential.params)
    normal = FAMILIES["gaussian full"]
    with pytest.raises(ValueError, match="LogNormal cannot be compared with those of Gaussian"):
        FAMILIES["log-normal"].family.divergence(FAMILIES["log-normal"].params, normal.family, normal.params)


def test_means_to_start_from():
    X, _ = sequence("gamma")
    means = [[3.0, 4.0], [9.0, 4.5]]
    for word in WORDS:
        with pytest.warns(ConvergenceWarning, match="at max_iter=0"):
            fit = HMMEM(K, emission=word, means_init=means, max_iter=0).fit(X)
        np.testing.assert_allclose(fit._model.family.mean(fit._params.family), means)
        with pytest.raises(ValueError, match="Means to start from must be positive; the least is -1"):
            HMMEM(K, emission=word, means_init=[[3.0, 4.0], [-1.0, 2.0]]).fit(X)


def test_wider_components_have_the_same_mean():
    factors = np.array([1.0, 4.0])
    for name in ("gamma", "log-normal"):
        family, params = FAMILIES[name].family, FAMILIES[name].params
        wide = family.widened(params, factors)
        assert family.divergence(params, family, wide)[0, 0] == pytest.approx(0.0, abs=1e-12)
        assert family.divergence(params, family, wide)[1, 1] > 0.01
    gamma = GammaParams(np.array([[2.0]]), np.array([[1.0]]))
    wide = Gamma().widened(gamma, np.array([4.0]))
    assert Gamma().variance(wide).item() == pytest.approx(4 * Gamma().variance(gamma).item())
    assert Gamma().mean(wide).item() == pytest.approx(2.0)


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match="shapes must be positive; the least is -1"):
        Gamma().from_fields({"shapes": [[-1.0]], "rates": [[1.0]]}, (1,))
    with pytest.raises(ValueError, match=r"rates has shape \(1, 2\); expected \(1, 1\)"):
        Gamma().from_fields({"shapes": [[1.0]], "rates": [[1.0, 2.0]]}, (1,))
    with pytest.raises(ValueError, match="scales is no parameter here: the parameters of Expon"):
        Exponential().from_fields({"scales": [[1.0]]}, (1,))
    with pytest.raises(ValueError, match="log_covariances must be given"):
        LogNormal().from_fields({"log_means": [[0.0]]}, (1,))
