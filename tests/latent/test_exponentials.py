"""Posterior probabilities from logarithms, compiled and in NumPy."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

from emlearn.latent import _exponentials_numpy, exponentials
from emlearn.latent.mixture_weights import posterior_of
from tests.helpers.kernels import EXPONENTIALS, needs_compiled, on_both_kernels

SIZES = [(2, 1), (3, 63), (2, 64), (10, 65), (40, 1000)]  # strips are of 64 columns


def some_logs(K, m, seed=0):
    """Log-probabilities near and far from one another."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(K, m)) * rng.choice([1e-9, 1.0, 30.0, 300.0], size=(1, m)) - 50.0


@on_both_kernels
@pytest.mark.parametrize(("K", "m"), SIZES)
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_posterior_is_softmax(K, m, beta):
    log_prob, log_weights = some_logs(K, m), np.linspace(-3.0, 0.0, K)
    joint = beta * (log_prob + log_weights[:, None])
    given = log_prob.copy()
    resp, evidence = posterior_of(given, beta, log_weights)
    assert resp is given
    np.testing.assert_allclose(resp, softmax(joint, axis=0), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(evidence, logsumexp(joint, axis=0) / beta, rtol=1e-14, atol=1e-14)


@on_both_kernels
@pytest.mark.parametrize(("K", "m"), SIZES)
def test_densities_are_relative_to_the_largest(K, m):
    log_prob = some_logs(K, m)
    shift, wide = np.empty(m), np.full((K, m + 3), np.inf)
    exponentials.densities(log_prob, shift, wide[:, :m])
    np.testing.assert_array_equal(shift, log_prob.max(axis=0))
    np.testing.assert_allclose(wide[:, :m], np.exp(log_prob - shift), rtol=1e-14, atol=1e-300)
    assert np.isinf(wide[:, m:]).all()


@on_both_kernels
def test_certainty_is_exact():
    resp, evidence = posterior_of(np.array([[-7.0, -np.inf, -1e300], [-np.inf, 3.0, 0.0]]))
    np.testing.assert_array_equal(resp, [[1, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(evidence, [-7.0, 3.0, 0.0])


@on_both_kernels
def test_equal_columns_are_equal_wherever_they_stand():
    log_prob = np.repeat(some_logs(5, 1, seed=2), 131, axis=1)
    resp, evidence = posterior_of(log_prob)
    assert (resp == resp[:, :1]).all()
    assert (evidence == evidence[0]).all()


@on_both_kernels
@pytest.mark.parametrize("column", [[np.nan, -np.inf], [np.nan, 0.0], [0.0, np.nan], [np.inf, 0.0]])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_probability_shows(column):
    joint = np.zeros((2, 70))
    joint[:, 68] = column
    resp, evidence = posterior_of(joint)
    bad = np.arange(70) == 68
    np.testing.assert_array_equal(np.isnan(resp).all(axis=0), bad)
    np.testing.assert_array_equal(np.isnan(evidence), bad)


@on_both_kernels
@pytest.mark.parametrize("n", [3, 70])
def test_where_nothing_is_possible_nothing_is_probable(n):
    joint = np.zeros((2, n))
    joint[:, n - 2] = -np.inf
    resp, evidence = posterior_of(joint.copy())
    bad = np.arange(n) == n - 2
    np.testing.assert_array_equal(resp, np.where(bad, 0.0, 0.5) * np.ones((2, 1)))
    np.testing.assert_array_equal(np.isneginf(evidence), bad)
    np.testing.assert_allclose(evidence[~bad], np.log(2.0), rtol=1e-15)
    resp, evidence = posterior_of(joint[:1].copy())
    np.testing.assert_array_equal(resp[0], ~bad)
    np.testing.assert_array_equal(np.isneginf(evidence), bad)


@on_both_kernels
@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a.astype(np.float32), lambda a: a[:, ::2]])
def test_arrays_of_any_kind_will_do(change):
    given = change(some_logs(4, 50))
    expected = softmax(given.astype(np.float64), axis=0)
    resp, _ = posterior_of(given)
    np.testing.assert_allclose(resp, expected, rtol=1e-4, atol=1e-6)


@needs_compiled
def test_compiled_is_as_exact_as_numpy():
    assert EXPONENTIALS["compiled"] is not _exponentials_numpy
    steps = np.linspace(-707.0, 0.0, 200_000)
    log_prob = np.vstack([steps, np.zeros_like(steps)])
    shift, density = np.empty(len(steps)), np.empty_like(log_prob)
    EXPONENTIALS["compiled"].densities(log_prob, shift, density)
    np.testing.assert_allclose(density[0], np.exp(steps), rtol=3e-16)
    evidence = np.empty(len(steps))
    EXPONENTIALS["compiled"].posterior(log_prob, np.zeros(2), evidence)
    np.testing.assert_allclose(evidence, np.logaddexp(steps, 0.0), rtol=4e-16, atol=3e-16)
    np.testing.assert_allclose(log_prob[0], np.exp(log_softmax([steps, 0 * steps], axis=0)[0]), rtol=2e-13)
