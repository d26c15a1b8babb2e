"""Mixtures of factor analysers, and their missing entries."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import FactorAnalysis

from emlearn.em import ACCELERATIONS, Affine, LatentModel, LatentPair, fit_em
from emlearn.em.spaces import flatten, unflatten
from emlearn.em.trees import add, leaves
from emlearn.families import FactorGaussian, FactorParams, MissingRows, MixtureOf, factor
from emlearn.latent import MixtureWeights
from emlearn.testing import check_model
from tests.helpers.families import batch_of, observe, with_holes
from tests.helpers.pace import ALL_BUT_DENSITY, some_slow
from tests.helpers.trees import assert_same

# Fits are cut short here on purpose.

NAN = np.nan
D, Q = 8, 2


def is_legal(family, params):
    """Whether no noise is below the floor, up to what exp(log x) may lose."""
    return (params.noise >= family.floor * (1 - 1e-12)).all()


def factor_rows(rng, n, d=D, q=Q, n_components=1, noise=0.8):
    """Rows of a factor model, standardised; with two components, of two."""
    loadings = rng.uniform(0.4, 1.0, size=(n_components, q, d)) * rng.choice([-1.0, 1.0], (n_components, q, d))
    X = noise * rng.uniform(0.5, 1.5, size=d) * rng.normal(size=(n, d))
    for k in range(n_components):
        own = np.arange(n) % n_components == k
        X[own] += rng.normal(size=(own.sum(), q)) @ loadings[k] + 2.5 * k * (-1.0) ** np.arange(d)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def random_params(rng, K=2, d=D, q=Q):
    return FactorParams(rng.normal(size=(K, d)), rng.normal(size=(K, d, q)), rng.uniform(0.2, 1.5, size=(K, d)))


def problem(n_components=2, ridge=0.0, share=0.2, n=150, d=D, q=Q, **settings):
    """Model, rough parameters and data."""
    rng = np.random.RandomState(5)
    X = factor_rows(rng, n, d, q, n_components)
    if share:
        X = with_holes(X, rng, share)
    family = FactorGaussian(q, ridge=ridge, **settings)
    model = LatentModel(MixtureWeights(), family)
    truth = np.arange(n) % n_components == np.arange(n_components)[:, None]
    resp = 0.6 * truth + 0.4 * rng.dirichlet(np.ones(n_components), size=n).T
    weight = rng.uniform(0.5, 2.0, size=n)
    return model, model.start(batch_of(X), resp), (X, weight)


def one_component(X, q, n_iter=500, **settings):
    family = FactorGaussian(q, **settings)
    model = LatentModel(MixtureWeights(), family)
    start = model.start(batch_of(X), np.ones((1, len(X))))
    return model, fit_em(model, start, X, tol=1e-6, max_iter=n_iter)


def assert_rises(model, params, data, n_iter=60, acceleration="none"):
    """The objective never falls, beyond rounding; a warning that it did is an error here."""
    fit = fit_em(model, params, data, tol=1e-12, max_iter=n_iter, acceleration=acceleration)
    for before, after in pairwise(fit.history):
        assert after >= before - 1e-11 * (abs(after) + 100)
    assert all(np.isfinite(leaf).all() for leaf in leaves(fit.params))
    return fit


# The laws.


@pytest.mark.parametrize(
    ("n_components", "share", "ridge"), some_slow(product([1, 2], [0.0, 0.2], [0.0, 1.0]), 5)
)
def test_laws(n_components, share, ridge):
    check_model(*problem(n_components, ridge, share), laws=ALL_BUT_DENSITY)


@pytest.mark.parametrize("q", some_slow([0, 1, D, D + 2], [0, D]))
def test_laws_with_any_number_of_factors(q):
    model, params, data = problem(1, 1.0, q=q)
    check_model(model, params, data, laws=ALL_BUT_DENSITY)


def test_laws_of_wrapped_families():
    """What wraps a family takes this one as it takes all."""
    model, params, (X, w) = problem(share=0.0)
    X[:9] = NAN
    laws = [law for law in ALL_BUT_DENSITY if law not in ("acceleration", "gradient")]
    check_model(replace(model, family=MissingRows(model.family)), params, (X, w), laws=laws)
    double = LatentModel(MixtureWeights(), MixtureOf(FactorGaussian(1, ridge=1.0), 2))
    resp = np.random.RandomState(0).dirichlet(np.ones(2), size=len(X)).T
    check_model(double, double.start(batch_of(X), resp), (X, w), laws=laws[:-2])


@pytest.mark.parametrize(
    ("seed", "ridge", "acceleration"), some_slow(product(range(3), [0.0, 0.3, 20.0], ACCELERATIONS), 5)
)
def test_random_problems_rise(seed, ridge, acceleration):
    rng = np.random.RandomState(seed)
    d, q, n = rng.randint(2, 9), rng.randint(1, 4), rng.randint(5, 40)
    X = with_holes(rng.standard_t(3, size=(n, d)), rng, rng.uniform(0, 0.6), 1)
    model = LatentModel(MixtureWeights(), FactorGaussian(q, ridge=ridge))
    params = LatentPair(np.full(2, 0.5), random_params(rng, 2, d, q))
    assert_rises(model, params, (X, rng.uniform(0.1, 3.0, size=n)), acceleration=acceleration)


def test_one_step_rises_from_anywhere():
    rng = np.random.RandomState(0)
    for trial in range(60):
        d, q, n = rng.randint(1, 7), rng.randint(0, 5), rng.randint(1, 12)
        model = LatentModel(MixtureWeights(), FactorGaussian(q, ridge=[0.0, 0.5, 30.0][trial % 3]))
        X = with_holes(rng.normal(size=(n, d)), rng, 0.4, 0)
        params = LatentPair(np.array([0.3, 0.7]), random_params(rng, 2, d, q))
        assert_rises(model, params, X, n_iter=3)


# Densities, totals and completions from first principles.


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_missing_entries_are_integrated_out(share):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(30, D))
    X = with_holes(X, rng, share) if share else X
    X[7:11] = X[6]  # the same pattern more than once
    family, p = FactorGaussian(Q), random_params(rng)
    seen, completed = observe(family, p, X), family.completion(p)(batch_of(X))
    assert seen.shared == 0.0
    assert not np.any(seen.shared_log_prob())
    np.testing.assert_array_equal(completed.log_prob, seen.log_prob)
    for k, (mean, cov) in enumerate(zip(p.means, family.covariance(p), strict=True)):
        means, variances = completed.mean(k), completed.variance(k)
        for i, x in enumerate(X):
            o = ~np.isnan(x)
            expected = stats.multivariate_normal(mean[o], cov[np.ix_(o, o)]).logpdf(x[o]) if o.any() else 0.0
            assert seen.log_prob[k, i] == pytest.approx(expected, abs=1e-11)
            slopes = cov[np.ix_(~o, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
            filled, spread = x.copy(), np.zeros(D)
            filled[~o] = mean[~o] + slopes @ (x - mean)[o]
            spread[~o] = np.diag(cov[np.ix_(~o, ~o)] - slopes @ cov[np.ix_(o, ~o)])
            np.testing.assert_allclose(means[:, i], filled, atol=1e-12)
            np.testing.assert_allclose(variances[:, i], spread, atol=1e-12)
            np.testing.assert_array_equal(means[o, i], x[o])


def test_completion_does_not_write_to_the_batch():
    rng = np.random.RandomState(0)
    family, p = FactorGaussian(Q), random_params(rng)
    for X in (rng.normal(size=(6, D)), with_holes(rng.normal(size=(6, D)), rng, 0.2)):
        batch = batch_of(X)
        complete = family.completion(p)(batch)
        before = complete.mean(0).copy()
        complete.mean(0)[...] = 99.0
        complete.variance(0)[...] = 99.0
        complete.log_prob[...] = 99.0
        np.testing.assert_array_equal(batch.x, X.T)
        np.testing.assert_array_equal(complete.mean(0), before)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_totals_from_first_principles(share):
    rng = np.random.RandomState(1)
    X = rng.normal(size=(20, D))
    X = with_holes(X, rng, share) if share else X
    family, p = FactorGaussian(Q), random_params(rng)
    resp = rng.uniform(0.1, 2.0, size=(2, 20))
    rows, columns = np.triu_indices(Q + 1)
    latent, products = np.zeros((2, 6)), np.zeros((2, D, 6))
    cross, squares = np.zeros((2, D, Q + 1)), np.zeros((2, D))
    for k in range(2):
        for x, r in zip(X, resp[k], strict=True):
            o = ~np.isnan(x)
            centred, own = np.where(o, x - p.means[k], 0.0), p.loadings[k] * o[:, None]
            cov = np.linalg.inv(np.eye(Q) + own.T @ (own / p.noise[k][:, None]))
            zeta = np.append(cov @ own.T @ (centred / p.noise[k]), 1.0)
            moment = np.outer(zeta, zeta)
            moment[:Q, :Q] += cov
            latent[k] += r * o.any() * moment[rows, columns]
            products[k] += r * o[:, None] * moment[rows, columns]
            cross[k] += r * np.outer(centred, zeta)
            squares[k] += r * centred**2
    assert_same(observe(family, p, X).totals(resp), (latent, products, cross, squares), rtol=1e-12)


def test_few_patterns_and_many_are_the_same():
    """Rows that share patterns, each pattern once, and rows without any in common: three ways to add up."""
    rng = np.random.RandomState(0)
    masks = rng.uniform(size=(4, D)) < 0.3
    masks[0] = False
    masks[3] = True
    X = np.where(masks[rng.randint(4, size=40)], NAN, rng.normal(size=(40, D)))
    family, p = FactorGaussian(Q), random_params(rng)
    resp = rng.dirichlet(np.ones(2), size=40).T
    together = observe(family, p, X)
    alone = [observe(family, p, X[[i]]) for i in range(40)]
    assert_same(together.log_prob, np.hstack([one.log_prob for one in alone]), rtol=1e-13)
    total = None
    for i, one in enumerate(alone):
        part = one.totals(resp[:, [i]])
        total = part if total is None else add(total, part)
    assert_same(together.totals(resp), total, rtol=1e-13)
    alike = X[np.isnan(X).sum(axis=1) == masks[1].sum()]
    assert_same(
        observe(family, p, alike).log_prob,
        np.hstack([observe(family, p, row[None]).log_prob for row in alike]),
        rtol=1e-13,
    )


def test_precision_far_from_the_origin():
    """Moments are about the means: a shift of the data shifts the fit and changes nothing else."""
    rng = np.random.RandomState(0)
    X = with_holes(factor_rows(rng, 80), rng, 0.2)
    near, far = (one_component(X + shift, Q)[1] for shift in (0.0, 2.0**20))
    assert far.log_likelihood == pytest.approx(near.log_likelihood, abs=1e-5)
    assert_same(far.params.family.noise, near.params.family.noise, rtol=1e-3)


def test_prior_is_that_of_pseudo_observations():
    family, p = FactorGaussian(Q, ridge=1.7), random_params(np.random.RandomState(0))
    cov = family.covariance(p)
    traces = np.trace(np.linalg.inv(cov), axis1=1, axis2=2)
    expected = -1.7 / 2 * (np.linalg.slogdet(cov)[1] + traces).sum()
    assert family.log_prior(p) == pytest.approx(expected, rel=1e-12)
    assert FactorGaussian(Q).log_prior(p) == 0.0


def test_prior_is_worth_as_many_rows():
    """On complete data of one component the prior is that many rows of covariance 1 about the mean."""
    rng = np.random.RandomState(0)
    X = factor_rows(rng, 40)
    ridge = 8.0
    corners = np.vstack([np.eye(D), -np.eye(D)]) * np.sqrt(D)  # covariance 1, mean 0
    _, fit = one_component(X, Q, ridge=ridge)
    both = np.vstack([X - X.mean(axis=0), corners])
    weight = np.append(np.ones(40), np.full(2 * D, ridge / (2 * D)))
    model = LatentModel(MixtureWeights(), FactorGaussian(Q))
    start = model.start(batch_of(both), weight[None])
    again = fit_em(model, start, (both, weight), tol=1e-6)
    found, expected = (FactorGaussian(Q).covariance(f.params.family)[0] for f in (fit, again))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(fit.params.family.means[0], X.mean(axis=0), atol=1e-8)


# Fits.


@pytest.mark.parametrize(("n", "d", "q"), [(200, 8, 2), (60, 12, 3), (30, 50, 2)])
def test_fit_is_that_of_factor_analysis(n, d, q):
    X = factor_rows(np.random.RandomState(0), n, d, q)
    model, fit = one_component(X, q, n_iter=20_000)
    other = FactorAnalysis(q, tol=1e-10, max_iter=100_000, svd_method="lapack").fit(X)
    assert fit.converged
    assert fit.log_likelihood >= n * other.score(X) - 1e-3
    p = FactorParams(other.mean_[None], other.components_.T[None], other.noise_variance_[None])
    assert observe(model.family, p, X).log_prob.sum() == pytest.approx(n * other.score(X))


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_wide_data_rise(ridge):
    rng = np.random.RandomState(0)
    X = with_holes(factor_rows(rng, 40, 90, 3), rng, 0.1, 1)
    model = LatentModel(MixtureWeights(), FactorGaussian(3, ridge=ridge))
    start = model.start(batch_of(X), np.ones((1, len(X))))
    for acceleration in ACCELERATIONS:
        assert_rises(model, start, X, n_iter=30, acceleration=acceleration)


def test_nothing_is_as_large_as_a_covariance_matrix():
    d, n, q = 3000, 20, 3
    rng = np.random.RandomState(0)
    X = with_holes(factor_rows(rng, n, d, q), rng, 0.1, 0)
    model = LatentModel(MixtureWeights(), FactorGaussian(q, ridge=1.0))
    tracemalloc.start()
    start = model.start(batch_of(X), np.ones((1, n)))
    fit_em(model, start, X, max_iter=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * d * d / 4


def test_wide_data_take_few_steps():
    """The factors' scale is estimated beside the loadings; without that plain EM takes 1,600 steps here."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 200))
    X += 0.7 * rng.uniform(0.5, 1.5, size=200) * rng.normal(size=X.shape)
    X = with_holes((X - X.mean(axis=0)) / X.std(axis=0), rng, 0.1)
    model = LatentModel(MixtureWeights(), FactorGaussian(5))
    fit = fit_em(model, model.start(batch_of(X), np.ones((1, 300))), X, acceleration="none")
    assert fit.converged
    assert fit.n_iter <= 20


def test_heywood_case_rises_and_is_not_spurious():
    """One feature that the factors explain to the end: its noise rests on the floor."""
    rng = np.random.RandomState(2)
    z = rng.normal(size=(100, 1))
    X = 0.6 * z + rng.normal(size=(100, 6))
    X[:, 0] = z[:, 0]
    for acceleration in ACCELERATIONS:
        model = LatentModel(MixtureWeights(), FactorGaussian(1, floor=0.02))
        start = model.start(batch_of(X), np.ones((1, 100)))
        fit = assert_rises(model, start, X, n_iter=300, acceleration=acceleration)
        p = fit.params.family
        resting = p.noise[0] <= 0.02 * (1 + 1e-6)
        np.testing.assert_array_equal(resting, [True] + 5 * [False])
        mask = model.family.resting(p)
        assert mask.shape == flatten(model.family.spaces, p).shape
        np.testing.assert_array_equal(np.flatnonzero(mask), [12])
        assert is_legal(model.family, p)
        assert not model.family.on_floor(p).any()


def test_a_floor_is_legal_by_way_of_its_coordinate():
    """The coordinate is the logarithm, and the way back may lose the last digits."""
    p = random_params(np.random.RandomState(0))
    for floor in 10.0 ** -np.linspace(0.1, 12, 50):
        family = FactorGaussian(Q, floor=floor)
        resting = p._replace(noise=np.full_like(p.noise, floor))
        back = unflatten(family.spaces, flatten(family.spaces, resting), resting)
        assert is_legal(family, back)
        np.testing.assert_array_equal(family.resting(back), family.resting(resting))


def test_on_floor_is_more_floors_than_factors():
    p = random_params(np.random.RandomState(0), K=2, d=5, q=2)
    family = FactorGaussian(2, floor=1e-3)
    assert family.resting(p) is None
    for n_resting in range(5):
        noise = p.noise.copy()
        noise[1, :n_resting] = 1e-3
        np.testing.assert_array_equal(family.on_floor(p._replace(noise=noise)), [False, n_resting > 2])
    low = p._replace(noise=0.5e-3 * np.ones_like(p.noise))
    assert family.resting(low)[-low.noise.size :].all()
    assert is_legal(family, family.nearest_legal(low))
    assert family.rounding == 1e-10
    assert FactorGaussian(2, floor=1e-9).rounding > 1e-10


def test_collinear_features_rest_on_the_floor():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6))  # rank 2, and no noise at all
    model = LatentModel(MixtureWeights(), FactorGaussian(2))
    for share in (0.0, 0.2):
        data = with_holes(X, rng, share, 0)
        start = model.start(batch_of(data), np.ones((1, 50)))
        fit = assert_rises(model, start, data, n_iter=100, acceleration="auto")
        assert model.family.on_floor(fit.params.family).all()


# What there is nothing to learn from.


def test_rows_of_nothing_change_nothing():
    model, params, (X, _) = problem()
    rng = np.random.RandomState(0)
    nothing = np.full((4, D), NAN)
    resp = rng.dirichlet(np.ones(2), size=len(X)).T
    seen, more = (observe(model.family, params.family, rows) for rows in (X, np.vstack([X, nothing])))
    np.testing.assert_array_equal(more.log_prob[:, len(X) :], 0.0)
    assert_same(more.totals(np.hstack([resp, np.ones((2, 4))])), seen.totals(resp), rtol=1e-13)
    alone = observe(model.family, params.family, nothing)
    np.testing.assert_array_equal(alone.log_prob, 0.0)
    total = alone.totals(np.ones((2, 4)))
    assert not any(np.any(leaf) for leaf in leaves(total))
    for family in (model.family, FactorGaussian(Q, ridge=1.0)):
        assert_same(family.maximize(total, params.family), params.family, rtol=0)
    start = model.family.start(batch_of(nothing), np.ones((2, 4)))
    assert all(np.isfinite(leaf).all() for leaf in leaves(start))
    assert is_legal(model.family, start)
    np.testing.assert_array_equal(model.family.embedding(batch_of(nothing)), 0.0)
    grown = model.family.start(batch_of(np.vstack([X, nothing])), np.hstack([resp, np.ones((2, 4))]))
    assert_same(grown, model.family.start(batch_of(X), resp), rtol=1e-9)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_component_without_weight_keeps_its_parameters(ridge):
    model, params, (X, _) = problem(ridge=ridge)
    resp = np.zeros((2, len(X)))
    resp[1] = 1.0
    p = params.family
    new = model.family.maximize(observe(model.family, p, X).totals(resp), p)
    for before, after in zip(p, new, strict=True):
        np.testing.assert_array_equal(after[0], before[0])
        assert np.isfinite(after).all()
        assert (after[1] != before[1]).any()


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_weights_of_any_size(ridge):
    """Without a prior an M-step knows only the ratios of weights, down to next to nothing."""
    model, params, (X, _) = problem(ridge=ridge)
    seen = observe(model.family, params.family, X)
    resp = np.random.RandomState(0).dirichlet(np.ones(2), size=len(X)).T
    tiny = resp * np.array([[1.0], [1e-90]])
    new, other = (model.family.maximize(seen.totals(r), params.family) for r in (resp, tiny))
    assert all(np.isfinite(leaf).all() for leaf in other)
    if ridge == 0.0:
        assert_same(other, new, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-8, 1e8, 1e12])
def test_data_of_any_size_stay_finite(scale):
    X = with_holes(factor_rows(np.random.RandomState(0), 30), np.random.RandomState(1), 0.2) * scale
    family = FactorGaussian(4, floor=1e-9)
    p = family.start(batch_of(X), np.ones((1, 30)))
    for _ in range(5):
        seen = observe(family, p, X)
        assert np.isfinite(seen.log_prob).all()
        p = family.maximize(seen.totals(np.ones((1, 30))), p)
        assert all(np.isfinite(leaf).all() for leaf in p)
        assert is_legal(family, p)


def test_factors_beyond_the_digits():
    """Matrices that rounding makes singular: factors that are alike, and known exactly."""
    X = np.random.RandomState(0).normal(size=(20, 3))
    X[1:, 1] = NAN  # one value: the variance of the factor there is that which is left unknown
    for q in (1, 2):
        p = FactorParams(np.zeros((1, 3)), np.full((1, 3, q), 1.0), np.full((1, 3), 1e-18))
        family = FactorGaussian(q, floor=1e-18)
        seen = observe(family, p, X)
        assert np.isfinite(seen.log_prob).all()
        new = family.maximize(seen.totals(np.ones((1, 20))), p)
        assert all(np.isfinite(leaf).all() for leaf in new)


@pytest.mark.parametrize("ridge", some_slow([0.0, 1.0], [0.0]))
def test_feature_never_seen(ridge):
    model, params, (X, w) = problem(ridge=ridge)
    X[:, 1] = NAN
    start = model.start(batch_of(X), np.random.RandomState(0).dirichlet(np.ones(2), size=len(X)).T)
    for first in (start, params):
        fit = assert_rises(model, first, (X, w), n_iter=500, acceleration="auto")
        p, before = fit.params.family, first.family
        np.testing.assert_array_equal(p.means[:, 1], before.means[:, 1])
        if ridge == 0.0:
            np.testing.assert_array_equal(p.loadings[:, 1], before.loadings[:, 1])
            np.testing.assert_allclose(p.noise[:, 1], before.noise[:, 1], rtol=1e-12)
        else:  # the prior knows it: uncorrelated, variance 1
            assert np.abs(p.loadings[:, 1]).max() < 0.05
            assert np.abs(p.noise[:, 1] - 1).max() < 0.05
    # Seen by some other component alone.
    resp = np.zeros((2, len(X)))
    resp[0, ::2], resp[1, 1::2] = 1.0, 1.0
    X[::2, 2] = NAN
    new = model.family.maximize(observe(model.family, start.family, X).totals(resp), start.family)
    assert new.means[0, 2] == start.family.means[0, 2]
    assert new.means[1, 2] != start.family.means[1, 2]


def test_feature_seen_once():
    """One value of a feature: its noise falls to the floor, and nothing breaks."""
    model, params, (X, w) = problem(1)
    X[:, 1] = NAN
    X[20, 1] = 0.7
    fit = assert_rises(model, params, (X, w), n_iter=50, acceleration="auto")
    assert fit.params.family.noise[0, 1] == pytest.approx(1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_rows_than_factors(n):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, 6))
    for ridge in (0.0, 2.0):
        model = LatentModel(MixtureWeights(), FactorGaussian(4, ridge=ridge))
        start = model.start(batch_of(X), np.ones((1, n)))
        assert is_legal(model.family, start.family)
        assert (np.abs(start.family.loadings).max(axis=1) > 0).all()  # a zero factor would stay zero
        assert_rises(model, start, X, n_iter=20, acceleration="auto")


def test_more_factors_than_features():
    X = factor_rows(np.random.RandomState(0), 30, 3, 1)
    _, fit = one_component(X, 7)
    full = stats.multivariate_normal(X.mean(axis=0), np.cov(X.T, bias=True)).logpdf(X).sum()
    assert fit.log_likelihood == pytest.approx(full, abs=1e-4)
    p = fit.params.family
    assert FactorGaussian(7).n_parameters(p) == 3 + 6


def test_no_factors_are_independent_features():
    rng = np.random.RandomState(0)
    X = with_holes(factor_rows(rng, 50), rng, 0.2)
    _, fit = one_component(X, 0)
    p = fit.params.family
    assert p.loadings.shape == (1, D, 0)
    np.testing.assert_allclose(p.means[0], np.nanmean(X, axis=0))
    np.testing.assert_allclose(p.noise[0], np.nanvar(X, axis=0))
    assert FactorGaussian(0).n_parameters(p) == 2 * D


# Starts and symmetries.


@pytest.mark.parametrize(("n", "d", "q"), [(40, 5, 2), (12, 30, 3), (4, 30, 6), (30, 2, 3)])
def test_start_and_embedding_know_neither_order_nor_repetition(n, d, q):
    rng = np.random.RandomState(1)
    X = with_holes(factor_rows(rng, n, d, 2), rng, 0.1, 1)
    family = FactorGaussian(q)
    times = rng.randint(1, 3, size=n)
    resp = rng.dirichlet(np.ones(2), size=n).T
    order = rng.permutation(times.sum())
    again = np.repeat(np.arange(n), times)[order]
    weighted, repeated = batch_of(X, times.astype(float)), batch_of(X[again])
    np.testing.assert_allclose(family.embedding(repeated), family.embedding(weighted)[:, again], atol=1e-12)
    first = family.start(weighted, resp * times)
    assert_same(family.start(repeated, resp[:, again]), first, rtol=1e-9)
    assert_same(family.start(weighted, resp * times), first, rtol=0)
    assert is_legal(family, first)
    turned = family.start(batch_of(X[:, ::-1]), resp * times)
    assert_same(family.covariance(turned), family.covariance(first)[:, ::-1, ::-1], rtol=1e-9)


def test_start_of_large_data_is_the_same_up_to_rounding(monkeypatch):
    rng = np.random.RandomState(0)
    for n, d in ((60, 20), (20, 60)):
        X = factor_rows(rng, n, d, 3, noise=0.05)
        family, resp = FactorGaussian(3), np.ones((1, n))
        exact = family.start(batch_of(X), resp)
        with monkeypatch.context() as patch:
            patch.setattr(factor, "EXACT_SIDE", 5)
            drawn = family.start(batch_of(X), resp)
            turned = family.start(batch_of(X[::-1]), resp)
        assert_same(drawn, exact, rtol=1e-6)
        assert_same(turned, drawn, rtol=1e-9)


def test_start_with_equal_directions():
    """Features alike but for the sign: rounding decides nowhere which of the entries is the largest."""
    rng = np.random.RandomState(0)
    family, resp = FactorGaussian(3), np.ones((1, 21))
    for _ in range(20):
        x, y = rng.normal(size=(2, 21, 1))
        X = np.hstack([x + y, 3 * y, x - y, -x, -3 * y])
        first = family.start(batch_of(X), resp)
        assert_same(family.start(batch_of(X[rng.permutation(21)]), resp), first, rtol=1e-9)


def test_start_with_equal_noise():
    """Standardised features that few rows explain: nor which of them takes a factor that is left over."""
    rng = np.random.RandomState(0)
    family, resp = FactorGaussian(6), np.ones((1, 5))
    for _ in range(20):
        X = rng.normal(size=(5, 30))
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        first = family.start(batch_of(X), resp)
        assert_same(family.start(batch_of(X[rng.permutation(5)]), resp), first, rtol=1e-9)


def test_start_of_constant_features():
    X = np.random.RandomState(0).normal(size=(20, 4))
    X[:, 2] = 1.5
    p = FactorGaussian(2).start(batch_of(X), np.ones((1, 20)))
    assert p.noise[0, 2] == 1e-6
    np.testing.assert_allclose(p.loadings[0, 2], 0.0, atol=1e-12)
    constant = FactorGaussian(2).start(batch_of(np.ones((5, 3))), np.ones((1, 5)))
    assert all(np.isfinite(leaf).all() for leaf in leaves(constant))


def test_order_of_features_does_not_matter():
    model, params, (X, _) = problem()
    order = np.random.RandomState(0).permutation(D)
    turned = params._replace(family=model.family.marginal(params.family, order))
    fit, again = fit_em(model, params, X), fit_em(model, turned, X[:, order])
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-4)
    assert_same(again.params.family.means, fit.params.family.means[:, order], rtol=1e-3)


def test_rotation_of_the_factors_does_not_matter():
    """An M-step of turned loadings is the turned M-step: zero loadings aside, no axis is special."""
    model, params, (X, _) = problem(ridge=1.0)
    turn = np.linalg.qr(np.random.RandomState(0).normal(size=(Q, Q)))[0]
    p = params.family
    turned = p._replace(loadings=p.loadings @ turn)
    resp = np.random.RandomState(0).dirichlet(np.ones(2), size=len(X)).T
    seen, again = observe(model.family, p, X), observe(model.family, turned, X)
    assert_same(again.log_prob, seen.log_prob, rtol=1e-12)
    new, other = model.family.maximize(seen.totals(resp), p), model.family.maximize(again.totals(resp), turned)
    assert_same(other.means, new.means, rtol=1e-10)
    assert_same(model.family.covariance(other), model.family.covariance(new), rtol=1e-10)


# What else a family offers.


def test_units():
    rng = np.random.RandomState(0)
    units = Affine(rng.normal(size=D), rng.uniform(0.5, 3.0, size=D))
    family, p = FactorGaussian(Q), random_params(rng)
    X = rng.normal(size=(10, D))
    there = observe(family, family.in_units(p, units), X * units.scale + units.shift).log_prob
    assert_same(there + np.log(units.scale).sum(), observe(family, p, X).log_prob)


def test_sample_has_the_moments():
    rng = np.random.RandomState(0)
    family, p = FactorGaussian(Q), random_params(rng)
    labels = np.arange(80_000) % 2
    X = family.sample(p, labels, np.random.RandomState(1))
    assert X.shape == (80_000, D)
    for k in range(2):
        np.testing.assert_allclose(X[labels == k].mean(axis=0), family.mean(p)[k], atol=0.06)
        np.testing.assert_allclose(np.cov(X[labels == k].T), family.covariance(p)[k], atol=0.15)


def test_small_methods():
    rng = np.random.RandomState(0)
    family, p = FactorGaussian(Q), random_params(rng)
    assert family.marginalises
    assert family.n_parameters(p) == 2 * (D + (D * Q - 1) + D)
    swapped = family.reorder(p, np.array([1, 0]))
    np.testing.assert_array_equal(swapped.loadings[0], p.loadings[1])
    named = family.fields(p, (1, 2))
    assert {name: value.shape for name, value in named.items()} == {
        "means": (1, 2, D),
        "covariances": (1, 2, D, D),
        "loadings": (1, 2, D, Q),
        "noise": (1, 2, D),
    }
    assert not np.shares_memory(named["noise"], p.noise)
    moved = family.with_means(p, np.zeros((2, D)))
    assert not moved.means.any()
    assert moved.loadings is p.loadings
    part = family.marginal(p, np.array([3, 1]))
    np.testing.assert_allclose(family.covariance(part), family.covariance(p)[:, [3, 1]][:, :, [3, 1]])
    X = np.array([[1.0, 2.0], [NAN, 4.0], [4.0, NAN]])
    points = family.embedding(batch_of(X, np.array([3.0, 1.0, 1.0])))
    np.testing.assert_allclose(points, [[1.0, 1.75, 4.0], [2.0, 4.0, 2.5]])
    complete = batch_of(X[:1])
    assert family.embedding(complete) is complete.x
    assert family.floats_per_row(2, 100) >= 400
    assert family.is_possible(X.T).all()
