"""The rate at which EM converges."""

import numpy as np
import pytest

from emlearn.em import Affine, Batches, LatentModel, LatentPair, em_iterates, em_rate, fit_em
from emlearn.families import (
    COVARIANCE_SHAPES,
    FactorGaussian,
    FactorParams,
    GaussianParams,
    IncompleteGaussian,
    Poisson,
    PoissonParams,
)
from emlearn.latent import MixtureWeights
from tests.helpers.data import read_table


def gaussian(name, n_columns):
    X = read_table(name, n_columns)
    units = Affine(np.nanmean(X, axis=0), np.nanstd(X, axis=0))
    model = LatentModel(MixtureWeights(), IncompleteGaussian(COVARIANCE_SHAPES["full"], floor=1e-9))
    d = X.shape[1]
    start = LatentPair(np.ones(1), GaussianParams(np.zeros((1, d)), np.eye(d)[None]))
    return model, start, Batches(X, units=units)


def deaths():
    days = np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    start = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    return LatentModel(MixtureWeights(), Poisson()), start, Batches(np.arange(10.0)[:, None], days)


@pytest.mark.parametrize(
    ("problem", "n_steps"),
    [
        (lambda: gaussian("apple", 2), 20),
        (lambda: gaussian("missvals", 5), 250),
        (lambda: gaussian("airquality", 4), 18),
        (deaths, 900),
    ],
    ids=["apple", "missvals", "airquality", "deaths"],
)
def test_plain_steps_shrink_at_this_rate(problem, n_steps):
    model, start, data = problem()
    steps = [
        model.flatten(iterate.params)
        for iterate in em_iterates(model, start, data, 0.0, n_steps, acceleration="none")
    ]
    u, v = np.diff(steps[-3:], axis=0)
    best = fit_em(model, start, data, tol=1e-11, max_iter=3000)
    rate = em_rate(model, best.params, data, tol=1e-5)
    assert rate == pytest.approx(np.linalg.norm(v) / np.linalg.norm(u), abs=4e-3)


def test_where_nothing_is_missing_it_is_zero():
    X = np.random.RandomState(0).normal(size=(50, 3))
    model = LatentModel(MixtureWeights(), IncompleteGaussian(COVARIANCE_SHAPES["full"]))
    params = LatentPair(np.ones(1), GaussianParams(X.mean(axis=0)[None], np.cov(X.T, ddof=0)[None]))
    assert em_rate(model, params, X) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("acceleration", ["auto", "secant", "none"])
def test_the_steps_of_a_fit_tell_the_rate(acceleration):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8))
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    model = LatentModel(MixtureWeights(), IncompleteGaussian(COVARIANCE_SHAPES["full"]))
    start = LatentPair(np.ones(1), GaussianParams(np.zeros((1, 8)), 8 * np.eye(8)[None]))
    fit = fit_em(model, start, X, acceleration=acceleration)
    assert fit.secants.rate == pytest.approx(em_rate(model, fit.params, X, tol=1e-5), abs=0.03)
    best = fit_em(model, fit.params, X, tol=1e-12)
    whole = model.start(next(iter(Batches(np.nan_to_num(X)))), np.ones((1, 500)))
    assert best.converged
    assert fit_em(model, whole, np.nan_to_num(X)).secants.rate == pytest.approx(0.0, abs=1e-6)


def test_turns_of_factors_do_not_count():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 20)) + rng.normal(size=(300, 20))
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    model = LatentModel(MixtureWeights(), FactorGaussian(3))
    factors = FactorParams(np.zeros((1, 20)), rng.normal(size=(1, 20, 3)), np.ones((1, 20)))
    start = LatentPair(np.ones(1), factors)
    best = fit_em(model, start, X, tol=1e-8)
    here, loadings = model.flatten(best.params), best.params.family.loadings[0]

    without_turns = model.without_flat(best.params)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        turn = np.zeros_like(loadings)
        turn[:, a], turn[:, b] = loadings[:, b], -loadings[:, a]
        turn = np.concatenate([np.zeros(21), turn.ravel(), np.zeros(20)])
        turned = model.unflatten(here + 1e-6 * turn, best.params)
        likelihood = Batches(X).sum(model.expectation(turned)).log_likelihood
        assert likelihood == pytest.approx(best.log_likelihood, rel=1e-12)
        np.testing.assert_allclose(without_turns(turn), 0.0, atol=1e-12)
        other = rng.normal(size=here.size)
        assert without_turns(other) @ turn == pytest.approx(0.0, abs=1e-9)
        np.testing.assert_allclose(without_turns(without_turns(other)), without_turns(other))
    assert em_rate(model, best.params, X) < 0.9


def test_factors_without_loadings_turn_nothing():
    """Of three factors two have none, up to rounding: dividing by their size went to infinity."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 1)) @ rng.normal(size=(1, 3)) + rng.normal(size=(60, 3))
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    loadings = np.c_[rng.normal(size=3), 1e-170 * rng.normal(size=(3, 2))][None]
    model = LatentModel(MixtureWeights(), FactorGaussian(3))
    params = LatentPair(np.ones(1), FactorParams(np.zeros((1, 3)), loadings, np.ones((1, 3))))
    assert 0.1 < em_rate(model, params, X) < 1


def test_steps_to_what_is_no_number_tell_no_rate():
    class Broken(Poisson):
        def maximize(self, totals, params):
            return PoissonParams(np.full_like(params.rates, np.nan))

    params = LatentPair(np.array([0.5, 0.5]), PoissonParams(np.array([[1.0], [2.0]])))
    assert np.isnan(em_rate(LatentModel(MixtureWeights(), Broken()), params, np.arange(5.0)[:, None]))
