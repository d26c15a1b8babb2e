"""Fits side by side are the fits that they would be one by one."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

from emlearn import GaussianMixtureEM
from emlearn.em import Batch, Batches, LatentModel, LatentPair, Start, cool, fit_em, race
from emlearn.em import restarts as engine
from emlearn.em.annealing import cool_each
from emlearn.em.fit import fit_each
from emlearn.em.stack import Alone, SideBySide, can_stack, n_together, stack_of
from emlearn.em.trees import leaves
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    Categorical,
    Gaussian,
    MultivariateStudentT,
    Poisson,
    Product,
)
from emlearn.families.base import Held
from emlearn.families.missing_rows import MissingRows
from emlearn.families.regression import Regression, RegressionParams
from emlearn.families.responses import Normal
from emlearn.latent import MarkovChain, MixtureWeights
from emlearn.latent.variational import DirichletWeights
from emlearn.mixture._starts import MANY_DISTANCES, kmeans_labels
from tests.helpers.pace import some_slow

IRIS = load_iris().data
IRIS = (IRIS - IRIS.mean(axis=0)) / IRIS.std(axis=0)
K = 3


def gaussian(shape):
    return Gaussian(COVARIANCE_SHAPES[shape], 1e-6)


def counts(rng, n=80):
    return rng.poisson(rng.choice([2.0, 9.0, 20.0], size=(n, 1)), size=(n, 2)).astype(float)


def with_gaps(X, share, rng):
    X = X.copy()
    X[rng.uniform(size=X.shape) < share] = np.nan
    X[:3] = np.nan  # and rows of which nothing is seen
    return X


def problems():
    rng = np.random.RandomState(0)
    bits = (rng.uniform(size=(90, 5)) < rng.choice([0.2, 0.8], size=(90, 1))).astype(float)
    missing = IRIS.copy()
    missing[rng.uniform(size=len(missing)) < 0.2] = np.nan
    some = {shape: (gaussian(shape), IRIS) for shape in ("full", "tied", "diag", "spherical", "tied_diag")}
    some |= {
        f"{shape}, gaps": (gaussian(shape), with_gaps(IRIS, 0.2, rng)) for shape in ("full", "diag", "tied")
    }
    some["student"] = MultivariateStudentT(gaussian("full")), IRIS
    some["student, shared"] = MultivariateStudentT(gaussian("tied"), "shared"), with_gaps(IRIS, 0.2, rng)
    some["Poisson"] = Poisson(), counts(rng)
    some["Bernoulli"] = Bernoulli(), bits
    some["categorical"] = Categorical((2,) * 5), bits
    mixed = np.hstack([IRIS[:80], counts(rng)])
    some["product"] = Product((((0, 1, 2, 3), gaussian("full")), ((4, 5), Poisson()))), mixed
    some["held"] = Held(gaussian("full"), ("covariances",)), IRIS
    lines = np.column_stack([np.ones(len(IRIS)), IRIS[:, :2], IRIS[:, 3] + 0.1 * rng.normal(size=len(IRIS))])
    some["regressions"] = Regression(Normal(), 3, least_ratio=0.05), lines
    some["missing rows"] = MissingRows(gaussian("full")), missing
    return some


PROBLEMS = problems()


def starts_of(model, X, weight, n, seed=0):
    rng = np.random.RandomState(seed)
    batch = Batch(np.ascontiguousarray(X.T), weight)
    return [model.start(batch, rng.dirichlet(np.full(K, 0.3), size=len(X)).T * weight) for _ in range(n)]


def assert_same(tree, other, rtol=1e-9):
    for one, two in zip(leaves(tree), leaves(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_steps_side_by_side_are_those_of_each(name):
    family, X = PROBLEMS[name]
    weight = np.random.RandomState(1).uniform(0.5, 2.0, size=len(X))
    model, data = LatentModel(MixtureWeights(), family), Batches(X, weight, rows=60)
    starts = starts_of(model, X, weight, 5)
    stack = stack_of(model)
    assert isinstance(stack, SideBySide)
    params = stack.of_sets(starts)
    e_steps = data.sum(stack.expectation(params, 0))
    images = stack.maximize(e_steps.stats, params)
    vectors = stack.flatten(images)
    moved = stack.unflatten(1.01 * vectors, images)
    for row, own in enumerate(starts):
        assert_same(stack.one(params, row), own, rtol=0)
        e_step = data.sum(model.expectation(own))
        image = model.maximize(e_step.stats, own)
        assert e_steps.log_likelihood[row] == pytest.approx(e_step.log_likelihood, rel=1e-12)
        assert_same(stack.one(e_steps.stats, row), e_step.stats)
        assert_same(stack.one(images, row), image)
        np.testing.assert_allclose(vectors[row], model.flatten(image), rtol=1e-9, atol=1e-9)
        assert_same(stack.one(moved, row), model.unflatten(1.01 * model.flatten(image), image))


@pytest.mark.parametrize("shape", ["full", "diag", "tied"])
def test_what_rests_on_the_floor_does_so_in_its_own_fit(shape):
    X = IRIS.copy()
    model = LatentModel(MixtureWeights(), gaussian(shape))
    weight = np.ones(len(X))
    starts = starts_of(model, X, weight, 4)
    low = starts[2].family.covariances.copy()
    low[0] *= 1e-9
    starts[2] = LatentPair(starts[2].latent, starts[2].family._replace(covariances=low))
    stack = stack_of(model)
    rests = stack.resting(stack.of_sets(starts))
    for row, own in enumerate(starts):
        expected = model.resting(own)
        assert (expected is not None) == (row == 2)
        np.testing.assert_array_equal(rests[row], False if expected is None else expected)


def test_ratios_of_noise_bind_the_regressions_of_a_fit():
    family, X = PROBLEMS["regressions"]
    model = LatentModel(MixtureWeights(), family)
    coef = np.random.RandomState(0).normal(size=(4, K, 3))
    noise = np.array([[1.0, 0.5, 0.2], [1.0, 0.05, 0.5], [0.01, 0.2, 0.1], [1.0, 1.0, 1.0]])
    equal = np.full(K, 1 / K)
    starts = [LatentPair(equal, RegressionParams(c, s)) for c, s in zip(coef, noise, strict=True)]
    stack = stack_of(model)
    rests = stack.resting(stack.of_sets(starts))
    for row, own in enumerate(starts):
        expected = model.resting(own)
        assert (expected is not None) == (row in (1, 2))
        np.testing.assert_array_equal(rests[row], False if expected is None else expected)
    together = stack.of_sets(starts)
    model = replace(model, family=replace(family, least_ratio=0.9))
    stack = stack_of(model)
    images = stack.maximize(Batches(X).sum(stack.expectation(together, 0)).stats, together)
    bound = [stack.one(images, row).family.dispersion for row in range(4)]
    for own, dispersion in zip(starts, bound, strict=True):
        alone = model.maximize(Batches(X).sum(model.expectation(own)).stats, own)
        np.testing.assert_allclose(dispersion, alone.family.dispersion, rtol=1e-9)
    assert any(d.min() == pytest.approx(0.9 * d.max()) for d in bound)


def test_sets_are_taken_put_and_joined():
    model = LatentModel(MixtureWeights(), gaussian("tied"))
    starts = starts_of(model, IRIS, np.ones(len(IRIS)), 5)
    stack = stack_of(model)
    params = stack.of_sets(starts)
    some = stack.take(params, np.array([3, 1]))
    for tree, order in (
        (some, [3, 1]),
        (stack.put(params, np.array([0, 4]), some), [3, 1, 2, 3, 1]),
        (stack.join(some, params, some), [3, 1, 0, 1, 2, 3, 4, 3, 1]),
    ):
        for row, number in enumerate(order):
            assert_same(stack.one(tree, row), starts[number], rtol=0)
    nothing = np.array([], dtype=np.intp)
    assert_same(stack.put(params, nothing, stack.take(params, nothing)), params, rtol=0)
    broken = stack.unflatten(np.where(np.arange(5) == 2, np.nan, 1.0)[:, None] * stack.flatten(params), params)
    assert stack.are_finite(broken) == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("latent", "family", "settings"),
    [
        (MixtureWeights(), gaussian("VEI"), {}),
        (MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"], ridge=1.0), {}),
        (DirichletWeights(1.0), gaussian("full"), {}),
        (MarkovChain(), gaussian("full"), {}),
        (MixtureWeights(), Regression(Normal(), 2, shared_dispersion=True), {}),
        (MixtureWeights(), gaussian("full"), {"assignment": "hard"}),
        (MixtureWeights(), gaussian("full"), {"assignment": "sampled"}),
    ],
)
def test_what_cannot_be_stacked_goes_alone(latent, family, settings):
    model = LatentModel(latent, family, **settings)
    assert not can_stack(model)
    assert isinstance(stack_of(model), Alone)
    assert n_together(model, Batches(IRIS)) == 1


def test_few_rows_go_together_and_many_do_not():
    model = LatentModel(MixtureWeights(), gaussian("full"))
    assert n_together(model, Batches(IRIS)) > 40
    assert n_together(model, Batches(np.zeros((50_000, 4)))) == 1
    assert Batches(IRIS, lengths=[100, 50]).n_together == 1


@pytest.mark.parametrize(
    ("name", "acceleration"),
    some_slow(
        product(
            ["full", "tied", "diag, gaps", "Poisson", "held", "regressions"],
            ["auto", "squarem", "secant", "none"],
        ),
        3,
    ),
)
def test_fits_side_by_side_are_those_of_each(name, acceleration):
    family, X = PROBLEMS[name]
    weight = np.random.RandomState(1).uniform(0.5, 2.0, size=len(X))
    model = LatentModel(MixtureWeights(1.5), family)
    starts, data = starts_of(model, X, weight, 6), Batches(X, weight)
    settings = {"acceleration": acceleration, "max_iter": 40}
    for own, fit in zip(starts, fit_each(model, starts, data, **settings), strict=True):
        alone = fit_em(model, own, data, **settings)
        assert (fit.n_iter, fit.reason, fit.extrapolated) == (alone.n_iter, alone.reason, alone.extrapolated)
        np.testing.assert_allclose(fit.history, alone.history, rtol=0, atol=1e-6)
        assert_same(fit.params, alone.params, rtol=1e-5)
        assert fit.gap == pytest.approx(alone.gap, rel=1e-2, abs=1e-9)
        for steps, of_alone in zip(fit.secants._seen[-1], alone.secants._seen[-1], strict=True):
            np.testing.assert_allclose(steps, of_alone, rtol=0, atol=1e-5)


def test_cooled_side_by_side_as_alone():
    model = LatentModel(MixtureWeights(), gaussian("full"))
    starts, data = starts_of(model, IRIS, np.ones(len(IRIS)), 4), Batches(IRIS)
    for seed in (None, 3):
        cooled = cool_each(model, starts, data, (0.3, 0.7), seed=seed)
        for own, params in zip(starts, cooled, strict=True):
            assert_same(params, cool(model, own, data, (0.3, 0.7), seed=seed), rtol=1e-7)


def bad(start):
    """Parameters with a matrix that is none."""
    covariances = start.family.covariances.copy()
    covariances[0] = -np.eye(covariances.shape[1])
    return LatentPair(start.latent, start.family._replace(covariances=covariances))


def test_what_fails_fails_alone():
    model = LatentModel(MixtureWeights(), gaussian("full"))
    starts, data = starts_of(model, IRIS, np.ones(len(IRIS)), 5), Batches(IRIS)
    starts[1] = bad(starts[1])
    starts[3] = LatentPair(np.array([np.nan, 0.5, 0.5]), starts[3].family)
    fits = fit_each(model, starts, data)
    assert isinstance(fits[1], np.linalg.LinAlgError)
    assert "nan at the starting parameters" in str(fits[3])
    for row in (0, 2, 4):
        assert fits[row].objective == pytest.approx(fit_em(model, starts[row], data).objective, abs=1e-9)


# -- the race --------------------------------------------------------------------------------------------


def told(restarts):
    return [(s.kind, s.status, s.n_iter, s.message, s.n_reseeded) for s in restarts.starts]


def assert_same_race(result, other):
    assert told(result.restarts) == told(other.restarts)
    assert result.restarts[1:] == pytest.approx(other.restarts[1:])
    assert result.best.objective == pytest.approx(other.best.objective, abs=1e-9)
    assert_same(result.best.params, other.best.params, rtol=1e-6)
    for one, two in zip(result.restarts.starts, other.restarts.starts, strict=True):
        np.testing.assert_allclose(one.history, two.history, rtol=0, atol=1e-6)
        assert one.evidence == pytest.approx(two.evidence, abs=1e-6)
        assert one.limit == pytest.approx(two.limit, abs=1e-4)


def raced(monkeypatch, size, model, starts, data, **settings):
    monkeypatch.setattr(engine, "n_together", lambda model, data: size)
    return race(model, starts, data, **settings)


@pytest.mark.parametrize(
    ("name", "size", "n_jobs"),
    some_slow(product(["full", "tied", "diag, gaps", "regressions"], [2, 7, 100], [1, 2]), 5),
)
def test_the_race_does_not_depend_on_the_stack(monkeypatch, name, size, n_jobs):
    family, X = PROBLEMS[name]
    weight = np.random.RandomState(1).uniform(0.5, 2.0, size=len(X))
    model, data = LatentModel(MixtureWeights(), family), Batches(X, weight)
    starts = [Start(f"{i}", lambda p=p: p) for i, p in enumerate(starts_of(model, X, weight, 14))]
    alone = raced(monkeypatch, 1, model, starts, data)
    assert_same_race(raced(monkeypatch, size, model, starts, data, n_jobs=n_jobs), alone)


def test_lost_components_are_placed_anew_in_the_stack(monkeypatch):
    model, data = LatentModel(MixtureWeights(), gaussian("full")), Batches(IRIS)
    params = starts_of(model, IRIS, np.ones(len(IRIS)), 9)
    others = starts_of(model, IRIS, np.ones(len(IRIS)), 9, seed=5)

    def racing(size):
        left = {i: 1 + i % 2 for i in range(0, 9, 3)}  # how often each asks for another place

        def reseed(i):
            def anew(_):
                left[i] = left.get(i, 0) - 1
                return others[i] if left[i] >= 0 else None

            return anew

        starts = [Start(f"{i}", lambda p=p: p, reseed(i)) for i, p in enumerate(params)]
        return raced(monkeypatch, size, model, starts, data)

    alone, together = racing(1), racing(100)
    assert {s.n_reseeded for s in alone.restarts.starts} == {0, 1, 2}
    assert_same_race(together, alone)


def test_starts_that_fail_leave_the_stack(monkeypatch):
    model, data = LatentModel(MixtureWeights(), gaussian("full")), Batches(IRIS)
    params = starts_of(model, IRIS, np.ones(len(IRIS)), 8)
    params[0], params[5] = bad(params[0]), bad(params[5])

    def cannot():
        raise ValueError("no such start")

    starts = [Start("x", cannot if i == 2 else lambda p=p: p) for i, p in enumerate(params)]
    alone = raced(monkeypatch, 1, model, starts, data)
    failed = [i for i, start in enumerate(alone.restarts.starts) if start.status == "failed"]
    assert failed == [0, 2, 5]
    assert_same_race(raced(monkeypatch, 100, model, starts, data), alone)


def test_a_report_hears_of_each_start_and_may_end_it(monkeypatch):
    model, data = LatentModel(MixtureWeights(), gaussian("full")), Batches(IRIS)
    params = starts_of(model, IRIS, np.ones(len(IRIS)), 12)
    starts = [Start("x", lambda p=p: p) for p in params]

    def heard(size):
        steps = {}

        def report(number, kind, iterate, on_part):
            assert kind == "x"
            assert not on_part
            assert np.isfinite(iterate.params.family.means).all()
            assert iterate.stats is not None
            steps.setdefault(number, []).append(iterate.objective)
            return number == 1 and len(steps[1]) == 4

        return raced(monkeypatch, size, model, starts, data, report=report), steps

    (alone, steps), (together, steps_together) = heard(1), heard(100)
    assert_same_race(together, alone)
    assert len(steps[1]) == 4
    assert steps.keys() == steps_together.keys() == set(range(len(alone.restarts.starts)))
    for number, objectives in steps.items():
        np.testing.assert_allclose(steps_together[number], objectives, rtol=0, atol=1e-6)


def test_starts_that_run_ahead_are_not_told_of(monkeypatch):
    """Those after the first wave begin before it is known that they are wanted."""
    model, data = LatentModel(MixtureWeights(), gaussian("full")), Batches(IRIS)
    begun = []

    def make(i, params):
        return lambda: begun.append(i) or params

    params = [starts_of(model, IRIS, np.ones(len(IRIS)), 1, seed=i % 4)[0] for i in range(40)]
    starts = [Start("x", make(i, p)) for i, p in enumerate(params)]
    result = raced(monkeypatch, 100, model, starts, data)
    n_told = len(result.restarts.starts)
    assert 7 < n_told < 40
    assert len(begun) == 40
    assert_same_race(result, raced(monkeypatch, 1, model, starts, data))


@pytest.mark.parametrize("shape", ["full", "tied", "spherical"])
def test_a_fit_is_the_same_one_by_one(monkeypatch, shape):
    X = load_iris().data
    mixture = GaussianMixtureEM(3, covariance_type=shape, n_init=14, random_state=0)
    together = mixture.fit(X)
    restarts, means = together.restarts_, together.means_
    monkeypatch.setattr(engine, "n_together", lambda model, data: 1)
    mixture.fit(X)
    assert told(restarts) == told(mixture.restarts_)
    np.testing.assert_allclose(means, mixture.means_, rtol=1e-6)


# -- what serves it --------------------------------------------------------------------------------------


def test_only_components_that_need_it_are_whitened():
    model = LatentModel(MixtureWeights(), gaussian("full"))
    (start,) = starts_of(model, IRIS, np.ones(len(IRIS)), 1)
    covariances = start.family.covariances.copy()
    covariances[1] *= 1e-6
    tight = start.family._replace(covariances=covariances)
    batch = Batch(np.ascontiguousarray(IRIS.T))
    form = model.family._linearise(tight)
    assert form.cancel(30.0).tolist() == [False, True, False]
    seen, exact = model.family.density(tight)(batch), model.family._observe_whitened(tight, form, batch)
    np.testing.assert_allclose(seen.log_prob, exact.log_prob, rtol=1e-9)
    resp = np.random.RandomState(0).dirichlet(np.ones(K), size=len(IRIS)).T
    assert_same(seen.totals(resp), exact.totals(resp))


@pytest.mark.parametrize("n_clusters", [2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_kmeans_of_all_starts_is_that_of_scikit_learn(n_clusters, weighted):
    rng = np.random.RandomState(0)
    weight = rng.uniform(0.2, 3.0, size=len(IRIS)) if weighted else np.ones(len(IRIS))
    seeds = range(12)
    assert len(IRIS) * n_clusters * len(seeds) < MANY_DISTANCES
    labels = kmeans_labels(IRIS, weight, n_clusters, [np.random.RandomState(seed) for seed in seeds])
    for seed, own in zip(seeds, labels, strict=True):
        kmeans = KMeans(n_clusters, n_init=1, max_iter=20, random_state=seed)
        np.testing.assert_array_equal(own, kmeans.fit_predict(IRIS, sample_weight=weight))


def test_kmeans_of_rows_that_are_few():
    """More clusters than places: scikit-learn says what becomes of those that lose their rows."""
    rows = np.repeat([[0.0], [1.0]], 5, axis=0)
    labels = kmeans_labels(rows, np.ones(10), 3, [np.random.RandomState(seed) for seed in range(4)])
    for own in labels:
        assert len(own) == 10
        assert own[0] != own[-1]


def test_an_annealed_model_stacks_too():
    model = replace(LatentModel(MixtureWeights(), gaussian("full")), beta=0.5)
    starts, data = starts_of(model, IRIS, np.ones(len(IRIS)), 3), Batches(IRIS)
    stack = stack_of(model)
    e_steps = data.sum(stack.expectation(stack.of_sets(starts), 0))
    for row, own in enumerate(starts):
        alone = data.sum(model.expectation(own)).log_likelihood
        assert e_steps.log_likelihood[row] == pytest.approx(alone, rel=1e-12)
