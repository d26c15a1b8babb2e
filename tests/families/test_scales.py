"""Scales of observations, compiled and in NumPy."""

import numpy as np
import pytest
from scipy.special import digamma
from scipy.stats import t

from emlearn.families import _scales_numpy, student_t

KERNELS = pytest.mark.parametrize(
    "kernel", dict.fromkeys((_scales_numpy, student_t.kernel)), ids=lambda kernel: kernel.NAME
)
SIZES = [(1, 1), (3, 63), (2, 64), (5, 1000)]  # strips are of 64 columns


def some_lengths(K, m):
    """−½ δ, from next to nothing to far away, and ν."""
    rng = np.random.default_rng(0)
    return -0.5 * rng.chisquare(3, size=(K, m)) * 10.0 ** rng.integers(-9, 9, size=(K, m)), rng.gamma(
        2, 5, size=K
    )


@KERNELS
@pytest.mark.parametrize(("K", "m"), SIZES)
def test_log_densities_are_those_of_one_dimension(kernel, K, m):
    half, nu = some_lengths(K, m)
    shape, constant = 0.5 * (nu + 1)[:, None], t.logpdf(0.0, nu)[:, None]
    each, whole = np.empty((K, m)), np.ones((K, m))
    for given in ((shape, constant), (shape * whole, constant * whole)):
        kernel.log_densities(half, 1 / nu, *given, each)
        expected = t.logpdf(np.sqrt(-2 * half), nu[:, None])
        np.testing.assert_allclose(each, expected, rtol=1e-13, atol=1e-13)


@KERNELS
@pytest.mark.parametrize(("K", "m"), SIZES)
def test_expected_scales(kernel, K, m):
    half, nu = some_lengths(K, m)
    resp = np.random.default_rng(1).uniform(size=(K, m))
    factor, stretch = 1 + 3 / nu[:, None], 1 - 2 * half / nu[:, None]
    for given in (factor, factor * np.ones((K, m))):
        scaled, weight, of_logs = np.empty((K, m)), np.empty(K), np.empty(K)
        kernel.expect(half, 1 / nu, given, resp, scaled, weight, of_logs)
        np.testing.assert_allclose(scaled, resp * factor / stretch, rtol=1e-13)
        np.testing.assert_allclose(weight, resp.sum(axis=1), rtol=1e-13)
        np.testing.assert_allclose(of_logs, (resp * np.log(stretch)).sum(axis=1), rtol=1e-13, atol=1e-13)


@KERNELS
def test_what_is_no_length_shows(kernel):
    half, resp = np.zeros((1, 70)), np.ones((1, 70))
    half[0, 68] = np.nan
    log_prob, scaled = np.empty((1, 70)), np.empty((1, 70))
    kernel.log_densities(half, np.ones(1), np.ones((1, 1)), np.ones((1, 1)), log_prob)
    kernel.expect(half, np.ones(1), np.ones((1, 1)), resp, scaled, np.empty(1), np.empty(1))
    for found in (log_prob, scaled):
        np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(half[0]))


@KERNELS
def test_shapes_of_gamma_distributions(kernel):
    shapes = np.geomspace(0.05, 5e5, 400)
    found = np.empty(400)
    kernel.gamma_shapes(np.log(shapes) - digamma(shapes), student_t.SHAPE_STEPS, found)
    np.testing.assert_allclose(found, shapes, rtol=1e-8)
    np.testing.assert_allclose(found[shapes < 200], shapes[shapes < 200], rtol=1e-11)
