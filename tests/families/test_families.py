"""Families of densities for hidden Markov models, and their missing entries."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from emlearn.em import Affine, Batch, Batches, LatentModel, fit_em
from emlearn.em.spaces import flatten
from emlearn.em.trees import leaves
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    BernoulliParams,
    Categorical,
    CategoricalParams,
    Gaussian,
    IncompleteGaussian,
    MissingRows,
    MixtureOf,
    MixtureParams,
    Poisson,
    PoissonParams,
    Product,
    gaussian,
)
from emlearn.families.covariance import Full
from emlearn.families.patterns import find_gaps
from emlearn.latent import MixtureWeights
from tests.helpers.data import read_table
from tests.helpers.families import (
    FAMILIES,
    FULL,
    NAN,
    SHARING_A_PART,
    K,
    batch_of,
    binary_rows,
    four_rows,
    gaussian_rows,
    log_density,
    observe,
    poisson_rows,
    problem,
)
from tests.helpers.trees import assert_same


def dense(family, params, k):
    return family.covariance(params)[k]


@pytest.mark.parametrize("name", FAMILIES)
def test_shared_terms_add_up(name):
    model, params, (X, w) = problem(name)
    seen = observe(model.family, params.family, X, w)
    assert np.sum(seen.shared_log_prob() * w) == pytest.approx(seen.shared, abs=1e-9)
    assert np.isfinite(seen.log_prob).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_start_and_embedding_know_neither_order_nor_repetition(name):
    model, _, (X, _) = problem(name)
    family = model.family
    rng = np.random.RandomState(1)
    times = rng.randint(1, 3, size=len(X))
    resp = rng.dirichlet(np.ones(K), size=len(X)).T
    order = rng.permutation(times.sum())
    again = np.repeat(np.arange(len(X)), times)[order]
    weighted, repeated = batch_of(X, times.astype(float)), batch_of(X[again])
    points = family.embedding(weighted)
    assert np.isfinite(points).all()
    np.testing.assert_allclose(family.embedding(repeated), points[:, again], atol=1e-12)
    assert_same(family.start(weighted, resp * times), family.start(repeated, resp[:, again]), rtol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_component_without_weight_keeps_its_parameters(name):
    model, params, (X, _) = problem(name)
    family, p = model.family, params.family
    resp = np.zeros((K, len(X)))
    resp[1] = 1.0
    new = family.maximize(observe(family, p, X).totals(resp), p)
    for before, after in zip(leaves(p), leaves(new), strict=True):
        assert np.isfinite(after).all()
        of_matrices = name.endswith(SHARING_A_PART) and before is p[1]
        if len(before) != 1 and not of_matrices:  # tied covariances are everyone's, and so are parts of these
            own = len(before) // K
            np.testing.assert_array_equal(after[:own], before[:own])
    nothing = np.full_like(X, NAN)
    if FAMILIES[name].takes_missing:
        seen = observe(family, p, nothing)
        assert_same(seen.log_prob, np.zeros((K, len(X))))
        assert not np.any(seen.shared_log_prob())
        total = seen.totals(np.ones((K, len(X))) / K)
        assert all(not np.any(leaf) for leaf in leaves(total)) or isinstance(family, MixtureOf)
        assert_same(family.maximize(total, p), p)
        assert np.isfinite(family.embedding(batch_of(nothing))).all()
        assert all(np.isfinite(leaf).all() for leaf in leaves(family.start(batch_of(nothing), resp)))


@pytest.mark.parametrize("name", FAMILIES)
def test_resting_has_a_place_for_each_coordinate(name):
    model, params, _ = problem(name)
    family, p = model.family, params.family
    assert family.resting(p) is None
    assert not family.on_floor(p).any()
    assert family.rounding >= 1e-10
    assert (family.log_prior(p) == 0.0) == (not name.startswith("ridge"))
    at_floor = raise_floor(family)
    for there in (p, at_floor.nearest_legal(p)):  # beyond the floor, and on it
        resting = at_floor.resting(there)
        if resting is None:
            assert at_floor == family  # nothing in it has a floor
            assert not at_floor.on_floor(there).any()
            return
        assert resting.shape == flatten(family.spaces, p).shape
        assert resting.all() != (name == "product" or name.startswith("mixture"))
        assert at_floor.on_floor(there).all()


def raise_floor(family):
    """The family with the covariances so constrained that all of them rest on the floor."""
    if isinstance(family, Gaussian):
        return replace(family, floor=1e3)
    if isinstance(family, Product):
        return Product(tuple((columns, raise_floor(part)) for columns, part in family.parts))
    return replace(family, family=raise_floor(family.family)) if hasattr(family, "family") else family


# Gaussians with missing entries.


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("shape", COVARIANCE_SHAPES)
def test_missing_entries_are_integrated_out(shape, whitened, monkeypatch):
    monkeypatch.setattr(gaussian, "CANCELLATION", -1.0 if whitened else np.inf)
    model, params, (X, w) = problem(f"incomplete {shape}")
    family, p = model.family, params.family
    found = log_density(family, p, X)
    seen = observe(family, p, X, w)
    resp = w * np.random.RandomState(0).dirichlet(np.ones(K), size=len(X)).T
    first, second, weight = np.zeros((K, 3)), np.zeros((K, 3, 3)), np.zeros(K)
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        for k in range(K):
            if not o.any():
                assert found[k, i] == 0.0
                continue
            mean, cov = p.means[k], dense(family, p, k)
            expected = stats.multivariate_normal(mean[o], cov[np.ix_(o, o)]).logpdf(x[o])
            assert found[k, i] == pytest.approx(expected, abs=1e-11)
            centred, noise = np.where(o, x - mean, 0.0), np.zeros((3, 3))
            slopes = cov[np.ix_(~o, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
            centred[~o] = slopes @ centred[o]
            noise[np.ix_(~o, ~o)] = cov[np.ix_(~o, ~o)] - slopes @ cov[np.ix_(o, ~o)]
            weight[k] += resp[k, i]
            first[k] += resp[k, i] * centred
            second[k] += resp[k, i] * (np.outer(centred, centred) + noise)
    if family.structure.shared:
        second = second.sum(axis=0, keepdims=True)
    rows, columns = np.triu_indices(3)
    products = {3: np.diagonal(second, axis1=1, axis2=2), 1: np.trace(second, axis1=1, axis2=2)[:, None]}
    products[6] = second[:, rows, columns]
    totals = seen.totals(resp)
    assert_same(totals, (weight, first, products[totals.second.shape[1]]), rtol=1e-11)


@pytest.mark.parametrize("n_features", [1, 2, 12])
@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("shape", COVARIANCE_SHAPES)
def test_complete_data_are_a_gaussians(shape, n_components, n_features):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, n_features))
    resp = rng.dirichlet(np.ones(n_components), size=40).T
    families = [kind(COVARIANCE_SHAPES[shape]) for kind in (Gaussian, IncompleteGaussian)]
    starts = [family.start(batch_of(X), resp) for family in families]
    assert_same(*starts, rtol=0)
    seen = [observe(family, starts[0], X) for family in families]
    assert_same(seen[0].log_prob, seen[1].log_prob, rtol=0)
    assert_same(*(s.totals(resp) for s in seen), rtol=0)
    # Beside rows with gaps, which tell nothing, they take the other path and count the same.
    holes = observe(families[1], starts[0], np.vstack([X, np.full((3, n_features), NAN)]))
    gaps = np.full((n_components, 3), 1.0 / n_components)
    whole = (holes.log_prob + holes.shared_log_prob())[:, :40]
    assert_same(whole, seen[0].log_prob + seen[0].shared_log_prob(), rtol=1e-12)
    assert_same(holes.totals(np.hstack([resp, gaps])), seen[0].totals(resp), rtol=1e-12)


@pytest.mark.parametrize("shape", COVARIANCE_SHAPES)
def test_start_where_a_feature_is_never_seen(shape):
    """A component without values of a feature starts at everyone's, and one that no row has at 0."""
    X = np.array([[1.0, 2.0, NAN], [3.0, 4.0, NAN], [5.0, NAN, NAN], [6.0, NAN, NAN], [NAN, NAN, NAN]])
    family = IncompleteGaussian(COVARIANCE_SHAPES[shape])
    p = family.start(batch_of(X), np.array([[1.0, 1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(p.means, [[2.0, 3.0, 0.0], [5.5, 3.0, 0.0]])
    rounding = 1e-15 * np.abs(family.covariance(p)).max()
    assert np.linalg.eigvalsh(family.covariance(p)).min() >= family.floor * (1 - 1e-9) - rounding
    if shape in ("diag", "full"):
        np.testing.assert_allclose(family.covariance(p)[1], np.diag([0.25, 1.0, 1.0]))


@pytest.mark.parametrize("name", ["incomplete full", "ridge tied", "factor"])
def test_patterns_are_found_once(name, monkeypatch):
    model, params, (X, _) = problem(name)
    data = Batches(X)
    before = data.sum(model.expectation(params))

    def never(*args, **kwargs):
        raise AssertionError("found again")

    monkeypatch.setattr(np, "unique", never)
    monkeypatch.setattr(np, "isnan", never)
    assert_same(data.sum(model.expectation(params)), before, rtol=0)


def test_airquality():
    """The maximum is that of an independent optimiser."""
    X = read_table("airquality", 4)
    units = Affine(np.nanmean(X, axis=0), np.nanstd(X, axis=0))
    model = LatentModel(MixtureWeights(), IncompleteGaussian(FULL, floor=1e-9))
    data = Batches(X, units=units)
    start = model.start(next(iter(data)), np.ones((1, len(X))))
    fit = fit_em(model, start, data, tol=1e-10, max_iter=1000)
    params = model.family.in_units(fit.params.family, units)
    log_scales = (~np.isnan(X) * np.log(units.scale)).sum()
    assert fit.log_likelihood - log_scales == pytest.approx(-2326.6973827983, abs=1e-7)
    expected = [41.87117302, 184.84680625, 9.95751634, 77.88235294]
    np.testing.assert_allclose(params.means[0], expected, rtol=1e-6)
    np.testing.assert_allclose(np.diag(params.covariances[0])[:2], [1044.01864306, 8090.70166121], rtol=1e-5)


def test_order_of_features_does_not_matter():
    model, params, (X, _) = problem("incomplete full")
    order = np.array([2, 0, 1])
    turned = params._replace(family=model.family.marginal(params.family, order))
    fit, again = fit_em(model, params, X), fit_em(model, turned, X[:, order])
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-4)
    assert_same(again.params.family.means, fit.params.family.means[:, order], rtol=1e-3)


# Gaps, products and mixtures.


@pytest.mark.parametrize("name", ["gaps in poisson", "gaps in tied"])
def test_a_gap_is_a_row_left_out(name):
    model, params, (X, w) = problem(name)
    here = ~np.isnan(X).all(axis=1)
    resp = w * np.random.RandomState(0).dirichlet(np.ones(K), size=len(X)).T
    gaps = observe(model.family, params.family, X, w)
    rest = observe(model.family.family, params.family, X[here], w[here])
    assert_same(gaps.log_prob[:, here], rest.log_prob, rtol=1e-12)
    assert not gaps.log_prob[:, ~here].any()
    assert not gaps.shared_log_prob()[~here].any()
    assert_same(gaps.shared_log_prob()[here], rest.shared_log_prob() + np.zeros(here.sum()))
    assert gaps.shared == pytest.approx(rest.shared)
    assert_same(gaps.totals(resp), rest.totals(resp[:, here]))
    start = model.family.family.start(batch_of(X[here], w[here]), resp[:, here])
    assert_same(model.family.start(batch_of(X, w), resp), start)


def test_without_gaps_the_family_sees_the_batch_itself():
    class Witness(Poisson):
        def density(self, params):
            return lambda batch: batch

    batch = batch_of(poisson_rows(np.random.RandomState(0), np.arange(5) % K))
    assert MissingRows(Witness()).density(PoissonParams(np.ones((2, 2))))(batch) is batch


def test_product_is_the_sum_of_its_parts():
    model, params, (X, w) = problem("product")
    resp = w * np.random.RandomState(0).dirichlet(np.ones(K), size=len(X)).T
    seen = observe(model.family, params.family, X, w)
    parts = [
        observe(family, p, X[:, columns], w)
        for (columns, family), p in zip(model.family.parts, params.family, strict=True)
    ]
    assert_same(seen.log_prob, sum(part.log_prob for part in parts))
    assert_same(seen.totals(resp), tuple(part.totals(resp) for part in parts))
    family = Product((((0, 1), Poisson()), ((2,), Bernoulli())))
    X = np.column_stack([poisson_rows(np.random.RandomState(0), np.arange(30) % K), np.arange(30) % 2])
    p = family.start(batch_of(X), np.ones((1, 30)))
    separate = log_density(Poisson(), p[0], X[:, :2]) + log_density(Bernoulli(), p[1], X[:, 2:])
    assert_same(log_density(family, p, X), separate)


@pytest.mark.parametrize("columns", [((0, 1), (1,)), ((0,), (2,)), ((), ())])
def test_columns_of_a_product_belong_to_one_part(columns):
    with pytest.raises(ValueError, match="must belong to one part"):
        Product(tuple((part, Poisson()) for part in columns))


def test_mixture_of_one_is_the_family():
    inner, family = Gaussian(FULL), MixtureOf(Gaussian(FULL), 1)
    rng = np.random.RandomState(0)
    X, resp = gaussian_rows(rng, np.arange(30) % K), rng.dirichlet(np.ones(K), size=30).T
    p = family.start(batch_of(X), resp)
    assert_same(p, MixtureParams(np.ones((K, 1)), inner.start(batch_of(X), resp)), rtol=1e-12)
    found, expected = (observe(*pair, X) for pair in ((family, p), (inner, p.members)))
    assert_same(found.log_prob, expected.log_prob, rtol=1e-12)
    assert_same(found.totals(resp).members, expected.totals(resp), rtol=1e-12)
    assert family.n_parameters(p) == inner.n_parameters(p.members)


def test_mixture_is_the_sum_over_its_members():
    model, params, (X, _) = problem("mixture of gaussians")
    p = params.family
    members = log_density(model.family.family, p.members, X)
    joint = members + np.log(p.weights).reshape(-1, 1)
    assert_same(log_density(model.family, p, X), [logsumexp(joint[:2], axis=0), logsumexp(joint[2:], axis=0)])
    # Members of one state are those of a mixture with twice the components.
    resp = np.random.RandomState(0).dirichlet(np.ones(K), size=len(X)).T
    inner = np.exp(joint.reshape(2, 2, -1) - logsumexp(joint.reshape(2, 2, -1), axis=1, keepdims=True))
    inner = (inner * resp[:, None]).reshape(4, -1)
    totals = observe(model.family, p, X).totals(resp)
    assert_same(totals.weight, inner.sum(axis=1).reshape(2, 2))
    assert_same(totals.members, observe(model.family.family, p.members, X).totals(inner))
    assert model.family.n_parameters(p) == 2 + 4 * 5


def test_fit_of_a_mixture_finds_its_members():
    rng = np.random.RandomState(0)
    X = four_rows(rng, np.arange(200) % K)
    model = LatentModel(MixtureWeights(), MixtureOf(Gaussian(FULL), 2))
    truth = np.arange(200) % 2 == np.arange(K)[:, None]
    fit = fit_em(model, model.start(batch_of(X), 0.1 + 0.8 * truth), X)
    means = fit.params.family.members.means.reshape(2, 2, 2)
    means = np.take_along_axis(means, means[:, :, 1:].argsort(axis=1), axis=1)
    np.testing.assert_allclose(means[0], [[-1.0, -0.6], [-1.0, 0.6]], atol=0.15)
    np.testing.assert_allclose(means[1], [[1.0, -0.6], [1.0, 0.6]], atol=0.15)
    np.testing.assert_allclose(fit.params.family.weights, 0.5, atol=0.05)


@pytest.mark.parametrize("n_members", [2, 3])
@pytest.mark.parametrize("n_rows", [1, 30])
def test_members_start_apart_even_in_one_point(n_members, n_rows):
    """A state that begins with equal rows alone has members that differ all the same."""
    rng = np.random.RandomState(0)
    X = np.vstack([np.tile([0.0, 1.0], (n_rows, 1)), binary_rows(rng, np.arange(40) % K)[:, :2]])
    resp = np.zeros((3, len(X)))
    resp[0, :n_rows] = 1.0
    resp[1, n_rows:] = 1.0
    family = MixtureOf(Bernoulli(), n_members)
    p = family.start(batch_of(X), resp)
    members = p.members.probabilities.reshape(3, n_members, 2)
    assert (np.abs(np.diff(members, axis=1)).max(axis=2) > 1e-3).all()
    np.testing.assert_allclose(p.weights.sum(axis=1), 1.0)


# Moments and samples.


@pytest.mark.parametrize("probability", [0.0, 1e-300, 0.3, 1 - 1e-12, 1.0])
def test_bernoulli_at_the_edges(probability):
    p = BernoulliParams(np.array([[probability, 0.5]]))
    support = np.array(list(product([0.0, 1.0], repeat=2)))
    found = log_density(Bernoulli(), p, support)[0]
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-12)
    expected = stats.bernoulli.pmf(support, p.probabilities[0]).prod(axis=1)
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-12)
    np.testing.assert_array_equal(np.isneginf(found), expected == 0)


@pytest.mark.parametrize(
    ("family", "support"),
    [
        (Bernoulli(), product([0.0, 1.0], repeat=3)),
        (MixtureOf(Bernoulli(), 2), product([0.0, 1.0], repeat=3)),
        (MixtureOf(Poisson(), 3), product(range(60))),
        (Product((((1,), Poisson()), ((0,), Categorical((3,))))), product(range(3), range(60))),
    ],
)
def test_discrete_densities_sum_to_one(family, support):
    support = np.array(list(support), dtype=float)
    rng = np.random.RandomState(0)
    some = support[rng.randint(min(len(support), 20), size=50)]
    p = family.start(batch_of(some), rng.dirichlet(np.ones(K), size=50).T)
    np.testing.assert_allclose(np.exp(log_density(family, p, support)).sum(axis=1), 1.0, atol=1e-10)


def test_mixture_of_gaussians_integrates_to_one():
    model, params, _ = problem("mixture of gaussians")
    axis = np.linspace(-6, 6, 250)
    grid = np.array(list(product(axis, axis)))
    total = np.exp(log_density(model.family, params.family, grid)).sum(axis=1) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(total, 1.0, atol=1e-8)


# Where a parameter lies on its boundary; the interior is in test_every_family.py.
SAMPLED = {
    "poisson": (Poisson(), PoissonParams(np.array([[1.0, 4.0], [2.0, 0.0]]))),
    "bernoulli": (Bernoulli(), BernoulliParams(np.array([[0.1, 0.5], [1.0, 0.3]]))),
    "mixture": (
        MixtureOf(MissingRows(Poisson()), 2),
        MixtureParams(np.array([[0.2, 0.8], [1.0, 0.0]]), PoissonParams(np.array([[1.0, 9.0, 4.0, 1.0]]).T)),
    ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_have_the_moments(name):
    family, params = SAMPLED[name]
    labels = np.arange(40_000) % K
    X = family.sample(params, labels, np.random.RandomState(0))
    assert X.dtype == np.float64
    mean, covariance = family.mean(params), family.covariance(params)
    for k in range(K):
        own = X[labels == k]
        np.testing.assert_allclose(own.mean(axis=0), mean[k], atol=0.06)
        np.testing.assert_allclose(np.atleast_2d(np.cov(own.T)), covariance[k], atol=0.3)


def test_codes_have_no_moments():
    categorical = Categorical((2, 3))
    for family in (categorical, MissingRows(categorical), MixtureOf(categorical, 2)):
        assert not family.has_moments
    family = Product((((1,), MissingRows(Categorical((2,)))), ((0,), Poisson())))
    p = (CategoricalParams((np.array([[0.5, 0.5]]),)), PoissonParams(np.array([[3.0]])))
    assert family.has_moments
    np.testing.assert_array_equal(family.mean(p), [[3.0, NAN]])
    np.testing.assert_array_equal(family.covariance(p), [[[3.0, NAN], [NAN, NAN]]])
    assert family.n_parameters(p) == 2


def test_embeddings():
    X = np.array([[0.0, 1.0], [2.0, NAN], [1.0, 3.0]])
    weight = np.array([3.0, 1.0, 1.0])
    np.testing.assert_allclose(Gaussian(FULL).embedding(batch_of(X, weight)), [[0, 2, 1], [1, 1.5, 3]])
    counts = batch_of(X[:, :1])
    np.testing.assert_allclose(Poisson().embedding(counts), 2 * np.sqrt(X[:, :1].T + 3 / 8))
    np.testing.assert_allclose(Categorical((3,)).embedding(counts), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    gap = MissingRows(Bernoulli()).embedding(batch_of(X[:, 1:], weight))
    np.testing.assert_allclose(gap, [[1, 1.5, 3]])
    both = Product((((1,), MissingRows(Bernoulli())), ((0,), Poisson()))).embedding(batch_of(X, weight))
    np.testing.assert_allclose(both, np.vstack([gap, Poisson().embedding(counts)]))


def test_units_reach_the_parts():
    units = Affine(np.array([5.0, 0.0, -1.0]), np.array([2.0, 1.0, 3.0]))
    gaussian_part = MixtureOf(MissingRows(Gaussian(COVARIANCE_SHAPES["diag"])), 2)
    family = Product((((2, 0), gaussian_part), ((1,), MissingRows(Poisson()))))
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.normal(size=30), rng.poisson(3, size=30), rng.normal(size=30)])
    resp = rng.dirichlet(np.ones(K), size=30).T
    p = family.start(batch_of(X), resp)
    in_units = family.in_units(p, units)
    there = log_density(family, in_units, X * units.scale + units.shift)
    assert_same(there + np.log(units.scale).sum(), log_density(family, p, X))


def test_missing_entries_given_others_are_those_of_each_component_alone():
    rng = np.random.RandomState(0)
    x = rng.normal(size=(5, 30))
    x[rng.uniform(size=x.shape) < 0.5] = np.nan
    batch, structure = Batch(x), Full()
    gaps = find_gaps(batch)
    roots = rng.normal(size=(3, 5, 9))
    whiteners = structure.whitener(roots @ roots.swapaxes(1, 2))
    side_by_side = structure.all_given(whiteners, gaps, gaps.places())
    one_by_one = [structure.given(whitener, gaps, gaps.places()) for whitener in whiteners]
    share = rng.uniform(size=30)
    for ours, theirs in zip(side_by_side, one_by_one, strict=True):
        np.testing.assert_allclose(ours.log_det, theirs.log_det, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(ours.noise(share), theirs.noise(share), rtol=1e-12)
        np.testing.assert_allclose(ours.variance(), theirs.variance(), rtol=1e-12)
        filled, expected = np.nan_to_num(x), np.nan_to_num(x)
        np.testing.assert_allclose(ours.fill(filled, False), theirs.fill(expected, False), rtol=1e-10)
        np.testing.assert_allclose(filled, expected, rtol=1e-10, atol=1e-12)
