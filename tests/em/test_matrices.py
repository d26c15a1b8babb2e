"""Algebra of many small matrices: compiled, and its twin."""

import itertools

import numpy as np
import pytest

from emlearn.em import _matrices_numpy, matrices

COMPILED = matrices.kernel  # unless it is not built, or the environment asks for the twin
needs_compiled = pytest.mark.skipif(COMPILED is _matrices_numpy, reason="the compiled kernel is not in use")
KERNELS = [
    pytest.param(_matrices_numpy, id="NumPy"),
    pytest.param(COMPILED, id="compiled", marks=needs_compiled),
]
SIZES = [1, 2, 4, 13, 32, 40]  # the last is LAPACK's, whatever the kernel


@pytest.fixture(params=KERNELS)
def kernel(request, monkeypatch):
    monkeypatch.setattr(matrices, "kernel", request.param)


@pytest.fixture(params=SIZES)
def covariances(request):
    d = request.param
    A = np.random.RandomState(d).normal(size=(7, d, d + 3))
    return A @ A.swapaxes(1, 2) / d


@pytest.mark.usefixtures("kernel")
def test_roots_are_of_the_inverses(covariances):
    roots = matrices.inverse_roots(covariances)
    np.testing.assert_array_equal(np.tril(roots, -1), 0.0)
    np.testing.assert_allclose(roots @ roots.swapaxes(1, 2), np.linalg.inv(covariances), rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("kernel")
def test_coordinates_of_matrices_and_back(covariances):
    d = covariances.shape[1]
    coordinates = matrices.log_cholesky(covariances)
    factors = np.linalg.cholesky(covariances)
    diagonal = np.arange(d)
    factors[:, diagonal, diagonal] = np.log(factors[:, diagonal, diagonal])
    np.testing.assert_allclose(coordinates, factors[:, *np.tril_indices(d)], rtol=1e-9, atol=1e-11)
    again = matrices.from_log_cholesky(coordinates, d)
    np.testing.assert_allclose(again, covariances, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("kernel")
def test_eigenvalues_above_a_floor(covariances):
    least = np.linalg.eigvalsh(covariances)[:, 0]
    floor = np.median(least)
    np.testing.assert_array_equal(matrices.are_above(covariances, 0.999 * floor), least > 0.999 * floor)
    assert matrices.are_above(covariances, 0.999 * least.min()).all()


@pytest.mark.usefixtures("kernel")
def test_log_densities_are_linear_in_products(covariances):
    d = covariances.shape[1]
    rng = np.random.RandomState(0)
    means, x = rng.normal(size=(14, d)), rng.normal(size=(5, d))
    both = [np.ones((5, 1)), x, matrices.products(x, x)]
    roots = matrices.inverse_roots(covariances)
    found = np.concatenate(both, axis=1) @ matrices.natural(roots, means, quadratic=True).T
    for k, mean in enumerate(means):
        covariance = covariances[k % 7]
        length = np.sum((x - mean) * np.linalg.solve(covariance, (x - mean).T).T, axis=1)
        expected = -0.5 * (length + np.linalg.slogdet(covariance)[1] + d * np.log(2 * np.pi))
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-7, atol=1e-7)
    linear = matrices.natural(roots, means, quadratic=False)
    np.testing.assert_array_equal(linear, matrices.natural(roots, means, quadratic=True)[:, : d + 1])


@pytest.mark.usefixtures("kernel")
def test_products_are_symmetrised():
    a, b = np.random.RandomState(0).normal(size=(2, 6, 3))
    outer = a[:, :, None] * b[:, None, :]
    expected = 0.5 * (outer + outer.swapaxes(1, 2))[:, *np.triu_indices(3)]
    np.testing.assert_allclose(matrices.products(a, b[:, ::1]), expected, rtol=1e-14)
    np.testing.assert_allclose(matrices.products(a, np.asfortranarray(b)), expected, rtol=1e-14)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("broken", [-1.0, 0.0])
def test_what_is_not_positive_definite_is_refused(broken):
    some = np.tile(np.eye(3), (4, 1, 1))
    some[2, 1, 1] = broken
    for function in (matrices.inverse_roots, matrices.log_cholesky):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            function(some)
    assert matrices.are_above(some, 0.0).tolist() == [True, True, False, True]


@pytest.mark.parametrize("d", [1, 2, 5, 13])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.usefixtures("kernel")
def test_a_sweep_turns_axes_to_what_is_better(d, given):
    rng = np.random.RandomState(d)
    A = rng.normal(size=(3, d, d))
    A = A @ A.swapaxes(1, 2)
    precision = rng.gamma(1.0, size=(3, d)) if given else None
    before = np.linalg.qr(rng.normal(size=(d, d)))[0]
    start = before.T @ A @ before

    def loss(along):
        if given:
            return np.sum(precision * np.diagonal(along, axis1=1, axis2=2))
        return np.sum(along**2) - np.sum(np.diagonal(along, axis1=1, axis2=2) ** 2)

    axes, along, largest = matrices.sweep(before, start, precision)
    np.testing.assert_allclose(axes @ axes.T, np.eye(d), atol=1e-13)
    np.testing.assert_allclose(axes.T @ A @ axes, along, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(before.T @ A @ before, start)  # as they were
    assert loss(along) < loss(start) or d == 1
    for _ in range(500):
        axes, along, largest = matrices.sweep(axes, along, precision)
        if largest < 1e-9:
            break
    # No turn in any plane is better.
    for p, q in itertools.islice(itertools.combinations(range(d), 2), 10):
        for angle in (-1e-3, 1e-3, 0.3):
            turn = np.eye(d)
            turn[[p, p, q, q], [p, q, p, q]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
            assert loss(turn.T @ along @ turn) > loss(along)


@needs_compiled
@pytest.mark.parametrize("precise", [False, True])
def test_sweeps_of_both_kernels_are_the_same(precise, monkeypatch):
    rng = np.random.RandomState(0)
    A = rng.normal(size=(4, 6, 6))
    A, precision = A @ A.swapaxes(1, 2), rng.gamma(1.0, size=(4, 6)) if precise else None
    A[0] = np.eye(6)  # of which no angle is the best
    found = []
    for kernel in (_matrices_numpy, COMPILED):
        monkeypatch.setattr(matrices, "kernel", kernel)
        found.append(matrices.sweep(np.eye(6), A, precision))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
