"""Mixtures of every word for numbers, shares, angles and directions, and where rows hardly differ."""

import numpy as np
import pytest

from emlearn import GaussianMixtureEM, MixtureEM
from emlearn.em import Affine
from tests.helpers.families import FAMILIES, K

WORDS = {
    "gamma": "gamma",
    "exponential": "exponential",
    "lognormal": "log-normal",
    "beta": "beta",
    "von_mises": "angles",
    "von_mises_fisher": "directions",
    "geometric": "geometric",
}


def rows(word, n, rng, share=0.1):
    """Rows of two components by turns, of which some entries, or directions as a whole, are missing."""
    X = FAMILIES[WORDS[word]].rows(rng, np.arange(n) % K)
    missing = rng.uniform(size=(n, 1) if word == "von_mises_fisher" else X.shape) < share
    return np.where(missing, np.nan, X)


@pytest.mark.parametrize("word", WORDS)
def test_components_are_found(word):
    X = rows(word, 2000, np.random.RandomState(0))
    fit = MixtureEM(K, emission=word, random_state=0).fit(X)
    example = FAMILIES[WORDS[word]]
    apart = fit._model.family.divergence(fit._params.family, example.family, example.params)
    assert min(np.trace(apart), np.trace(apart[::-1])) < 0.05
    assert fit._model.family.is_possible(fit.sample(50)[0].T).all()
    errors = fit.standard_errors(X)
    assert all(np.isfinite(errors[name]).all() for name in errors)
    assert fit.n_parameters_ == 1 + example.family.n_parameters(example.params)


@pytest.mark.parametrize("word", WORDS)
def test_rows_that_are_equal_are_no_trouble(word):
    """Components as narrow as may be cancel digits, and a constant has logarithms that are rounded."""
    rng = np.random.RandomState(1)
    X = rows(word, 1, rng, 0.0).repeat(20, axis=0)
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    if word == "von_mises_fisher":
        X[np.isnan(X).any(axis=1)] = np.nan
    model = MixtureEM(1, emission=word, random_state=0)
    if word == "lognormal":
        with pytest.warns(UserWarning, match="constant or linearly dependent"):
            fit = model.fit(X)
    else:
        fit = model.fit(X)
    assert np.isfinite(fit.log_likelihood_)
    mean, family = np.nanmean(X, axis=0), fit._model.family
    if family.has_moments:
        found = family.mean(fit._params.family)[0]
        np.testing.assert_allclose(found, mean, rtol=2e-2 if word == "beta" else 1e-3, atol=1e-3)


def test_two_components_of_equal_rows_do_not_fall():
    """Nor are rows clustered that differ in nothing but what is missing."""
    for word in ("gamma", "beta", "von_mises"):
        for seed in range(4):
            X = rows(word, 1, np.random.RandomState(seed), 0.0).repeat(30, axis=0)
            X[:10, 0] = X[10:15, 1] = np.nan
            fit = MixtureEM(2, emission=word, random_state=0, n_init=6).fit(X)
            assert fit.restarts_.n_best > 1


def test_what_cannot_move_has_no_standard_error():
    X = np.full((20, 2), 3.0)
    with pytest.warns(UserWarning, match="constant"):
        fit = GaussianMixtureEM(1).fit(X)
    assert fit.standard_errors(X)["covariances_"].shape == (1, 2, 2)
    assert fit._model.family.in_units(fit._params.family, Affine(np.zeros(2), np.ones(2))).means.shape == (1, 2)
