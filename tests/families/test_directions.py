"""Directions: Bessel functions, concentrations and unit vectors, beyond what the registry checks."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln, ive

from emlearn import HMMEM
from emlearn.em import LatentModel, fit_em
from emlearn.families import VonMisesFisher, VonMisesFisherParams
from emlearn.families.bessel import LARGE_ORDER, bessel_ratio, concentration_of, log_bessel
from emlearn.families.von_mises_fisher import MOST_CONCENTRATION
from emlearn.latent import MixtureWeights
from tests.helpers.families import CONCENTRATIONS, DIRECTIONS, FAMILIES, K, batch_of

FAMILY = VonMisesFisher()
ARGUMENTS = np.array([1e-3, 0.1, 1.0, 7.0, 40.0, 300.0, 1e4, 9e5])


@pytest.mark.parametrize("order", [30.0, 33.5, 49.0, 80.0])
def test_bessel_functions_of_large_orders_are_scipys_where_these_are_there(order):
    assert order >= LARGE_ORDER
    x = ARGUMENTS[ive(order + 1, ARGUMENTS) > 1e-290]
    np.testing.assert_allclose(log_bessel(order, x), np.log(ive(order, x)) + x, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(bessel_ratio(order, x), ive(order + 1, x) / ive(order, x), rtol=1e-12)


@pytest.mark.parametrize("order", [0.0, 0.5, 12.0, 29.5, 31.0, 499.0, 5000.0])
def test_bessel_functions_obey_their_recurrence(order):
    """I_{ν-1} − I_{ν+1} = 2ν/x I_ν, at all sizes of x, and what is known of small and large ones."""
    x, nu = np.array([1e-12, 1e-7, 1e-5, 0.3, 20.0, 1e3, 1e8, 1e10, 1e30]), order + 1.0
    here, above = bessel_ratio(order, x), bessel_ratio(nu, x)
    np.testing.assert_allclose(1.0 / here, 2 * nu / x + above, rtol=1e-9)
    error = log_bessel(nu, x) - log_bessel(order, x) - np.log(here)
    assert (np.abs(error) <= 1e-9 + 1e-15 * x).all()
    leading = order * np.log(0.5 * x[0]) - gammaln(order + 1)
    assert log_bessel(order, x[:1]).item() == pytest.approx(leading, rel=1e-13, abs=1e-12)


@pytest.mark.parametrize("d", [2, 3, 10, 61, 63, 1000, 4000])
def test_concentrations_are_exact(d):
    x = np.array([1e-4, 0.5, 30.0, 900.0, 2e4])
    found = concentration_of(0.5 * d - 1, bessel_ratio(0.5 * d - 1, x), 1e-6, 1e6)
    np.testing.assert_allclose(found, x, rtol=1e-9)
    ends = concentration_of(0.5 * d - 1, np.array([0.0, 1.0]), 1e-6, 1e6)
    np.testing.assert_allclose(ends, [1e-6, 1e6], rtol=0)


@pytest.mark.parametrize(("d", "kappa"), [(2, 3.0), (5, 0.2), (100, 40.0), (1000, 10.0), (1000, 5000.0)])
def test_density_adds_up_to_one(d, kappa):
    """By the integral over the angle with μ: the surface of the sphere there goes as its sine to d − 2."""
    params = VonMisesFisherParams(np.eye(1, d), np.array([kappa]))
    constant = FAMILY.natural(params)[0, 0]
    log_surface = np.log(2) + 0.5 * (d - 1) * np.log(np.pi) - gammaln(0.5 * (d - 1))

    def density(angle):
        return np.exp(constant + kappa * np.cos(angle) + (d - 2) * np.log(np.sin(angle)) + log_surface)

    mode = np.arctan2(np.sqrt(max(d - 2, 1e-9)), kappa)
    total = quad(density, 0, np.pi, points=[mode], limit=400, epsabs=1e-10)[0]
    assert total == pytest.approx(1.0, abs=1e-8)


def test_of_the_circle_it_is_von_mises():
    angles = np.linspace(-3, 3, 7)
    X = np.column_stack([np.cos(angles), np.sin(angles)])
    params = VonMisesFisherParams(np.array([[np.cos(0.4), np.sin(0.4)]]), np.array([2.5]))
    found = FAMILY.density(params)(batch_of(X)).log_prob[0]
    np.testing.assert_allclose(found, stats.vonmises(2.5, loc=0.4).logpdf(angles), rtol=1e-12)


def test_maximum_is_scipys():
    X = stats.vonmises_fisher(DIRECTIONS[1], 12.0).rvs(200, random_state=0)
    found = FAMILY.start(batch_of(X), np.ones((1, 200)))
    direction, kappa = stats.vonmises_fisher.fit(X)
    np.testing.assert_allclose(found.directions[0], direction, rtol=1e-10)
    assert found.concentrations.item() == pytest.approx(kappa, rel=1e-6)


def test_states_are_found_and_steps_may_be_missing():
    rng = np.random.RandomState(0)
    states = np.cumsum(rng.uniform(size=400) < 0.05) % K
    X = FAMILIES["directions"].rows(rng, states)
    X[rng.uniform(size=400) < 0.1] = np.nan
    fit = HMMEM(K, emission="von_mises_fisher", random_state=0).fit(X)
    agree = np.mean(fit.predict(X) == states)
    assert max(agree, 1 - agree) > 0.9
    order = np.argsort(DIRECTIONS[:, 0])
    np.testing.assert_allclose(fit.directions_, DIRECTIONS[order], atol=0.1)
    np.testing.assert_allclose(fit.concentrations_, CONCENTRATIONS[order], rtol=0.2)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="a step is missing as a whole or not at all"):
        fit.predict(X)


def test_a_thousand_dimensions():
    """Two groups whose directions hardly overlap with any row: cosines are .2."""
    rng, d, n = np.random.RandomState(0), 1000, 200
    true = VonMisesFisherParams(np.linalg.qr(rng.normal(size=(d, K)))[0].T.copy(), np.array([200.0, 250.0]))
    labels = np.arange(n) % K
    X = FAMILY.sample(true, labels, rng)
    model = LatentModel(MixtureWeights(), FAMILY)
    start = model.start(batch_of(X), 0.5 + 0.05 * np.where(labels == np.arange(K)[:, None], 1, -1))
    fit = fit_em(model, start, X)
    assert fit.converged
    assert (np.sum(fit.params.family.directions * true.directions, axis=1) > 0.85).all()
    # The mean of a hundred rows fits them better than the truth does, by what d parameters can.
    np.testing.assert_allclose(fit.params.family.concentrations, true.concentrations, rtol=0.25)
    moments = FAMILY.mean(true), FAMILY.covariance(true)
    np.testing.assert_allclose(
        moments[0] @ true.directions.T, np.diag(np.linalg.norm(moments[0], axis=1)), atol=1e-12
    )
    np.testing.assert_allclose(np.trace(moments[1], axis1=1, axis2=2), 1 - (moments[0] ** 2).sum(axis=1))


def test_equal_rows_rest_at_the_largest_concentration():
    X = np.tile([[0.6, 0.8]], (10, 1))
    fit = HMMEM(1, emission="von_mises_fisher").fit(X)
    assert fit.concentrations_.item() == MOST_CONCENTRATION
    np.testing.assert_allclose(fit.directions_, X[:1])
    assert FAMILY.resting(fit._params.family).tolist() == [False, False, True]


def test_a_lone_row_is_no_component():
    X = FAMILIES["directions"].rows(np.random.RandomState(0), np.zeros(40, dtype=int))
    for share, expected in ((np.full((2, 40), 0.5), 0.0), (np.eye(1, 40) == [[1], [0]], np.inf)):
        totals = share @ FAMILY.statistics(batch_of(X)).T
        assert FAMILY.handicap(FAMILY.maximize(totals), totals) == pytest.approx(expected)


def test_rows_of_another_length_are_named():
    X = FAMILIES["directions"].rows(np.random.RandomState(0), np.arange(20) % K)
    X[4] *= 2
    with pytest.raises(ValueError, match=r"step 4: not one of unit vectors \(divide each row by its length"):
        HMMEM(K, emission="von_mises_fisher").fit(X)
    with pytest.raises(ValueError, match="needs the 2 or more columns of a unit vector"):
        HMMEM(K, emission="von_mises_fisher").fit(np.ones((9, 1)))
    bad = {"directions": [[1.0, 1.0]], "concentrations": [1.0]}
    with pytest.raises(ValueError, match=r"directions must have the length 1, but one has 1.41421"):
        FAMILY.from_fields(bad, (1,))
    with pytest.raises(ValueError, match="concentrations must be positive; the least is -1"):
        FAMILY.from_fields({"directions": [[1.0, 0.0]], "concentrations": [-1.0]}, (1,))


def test_single_precision_is_length_enough():
    X = FAMILIES["directions"].rows(np.random.RandomState(0), np.arange(20) % K).astype(np.float32)
    assert FAMILY.is_possible(X.T.astype(np.float64)).all()


def test_distance_is_minus_the_log_of_the_overlap():
    params = VonMisesFisherParams(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([2.0, 5.0]))

    def root(angle):
        seen = FAMILY.density(params)(batch_of([[np.cos(angle), np.sin(angle)]]))
        return np.exp(0.5 * seen.log_prob.sum())

    overlap = quad(root, -np.pi, np.pi)[0]
    assert FAMILY.divergence(params, FAMILY, params)[0, 1] == pytest.approx(-np.log(overlap), rel=1e-9)
    opposite = VonMisesFisherParams(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([3.0, 3.0]))
    expected = -np.log(1 / (np.exp(log_bessel(0.0, np.array(3.0)))))
    assert FAMILY.divergence(opposite, FAMILY, opposite)[0, 1] == pytest.approx(expected, rel=1e-9)
