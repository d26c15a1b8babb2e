"""Stepwise EM: laws of a step, and streams that it must follow."""

from dataclasses import replace

import numpy as np
import pytest

from emlearn.em import Batch, Batches, EMModel, EStep, LatentModel, LatentPair, fit_em, fit_em_online
from emlearn.em.online import Stepwise
from emlearn.em.trees import leaves, tree_map
from emlearn.families import (
    COVARIANCE_SHAPES,
    RESPONSES,
    Gaussian,
    GaussianParams,
    Poisson,
    PoissonParams,
    Regression,
    RegressionParams,
)
from emlearn.latent import ChainParams, MarkovChain, MixtureWeights, SoftmaxGate
from tests.helpers.families import EACH_KIND_OF_FAMILY, problem
from tests.helpers.trees import assert_same

FULL = Gaussian(COVARIANCE_SHAPES["full"])
START = LatentPair(np.array([0.5, 0.5]), GaussianParams(np.array([[-1.0], [1.0]]), np.ones((2, 1, 1))))
TRUTH = np.array([-2.0, 2.0])


def two_normals(n, seed=0, shift=0.0):
    rng = np.random.RandomState(seed)
    return (TRUTH[(rng.uniform(size=n) < 0.7).astype(int)] + shift + rng.normal(size=n))[:, None]


def normals(concentration=1.0):
    return LatentModel(MixtureWeights(concentration), FULL)


# -- laws of a step ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH_KIND_OF_FAMILY)
def test_first_item_is_a_step_of_em(name):
    model, params, (X, weight) = problem(name)
    result = fit_em_online(model, params, [(X, weight)], hold=0.0)
    e_step = Batches(X, weight).sum(model.expectation(params))
    assert_same(result.params, model.maximize(e_step.stats, params), rtol=1e-9)
    assert result.log_likelihood == pytest.approx(e_step.log_likelihood, rel=1e-12)
    assert result.weight == pytest.approx(weight.sum(), rel=1e-12)


@pytest.mark.parametrize("name", EACH_KIND_OF_FAMILY)
def test_fit_is_where_its_own_data_leave_it(name):
    """A maximum is a fixed point, whatever the step: statistics of the E-step there are those it has."""
    model, params, data = problem(name)
    fit = fit_em(model, params, data, tol=1e-12, max_iter=20_000)
    stats = tree_map(lambda leaf: leaf / fit.weight, fit.stats)
    state = Stepwise(model, fit.params, stats, time=100.0, weight=fit.weight)
    _, after = state.saw(Batches(*data).sum)
    # The weight counts twice where there is a prior, and moves the fit by as much as it says.
    prior = "ridge" in name
    assert_same(after.params, fit.params, rtol=0.05 if prior else 1e-4)


def test_held_parameters_gather_statistics_of_all():
    """No M-step before so many rows: that of the first step is of all of them, alike."""
    X, model = two_normals(90), normals()
    result = fit_em_online(model, START, np.array_split(X, 5), hold=89.5)
    assert_same(
        result.params, model.maximize(Batches(X).sum(model.expectation(START)).stats, START), rtol=1e-10
    )
    early = fit_em_online(model, START, np.array_split(X, 5), hold=1e3)
    assert_same(early.params, START, rtol=0)


@pytest.mark.parametrize("forgetting", [0.0, 1e-4, 0.01])
@pytest.mark.parametrize("kappa", [0.6, 0.9, 1.0])
def test_steps_do_not_depend_on_the_cut(kappa, forgetting):
    whole = Stepwise(None, None, time=300.0, weight=200.0, kappa=kappa, forgetting=forgetting)
    first = replace(whole, time=1000.0, weight=whole._weight_after(700.0))
    assert whole.kept(2000.0) == pytest.approx(whole.kept(700.0) * first.kept(1300.0), rel=1e-12)
    assert whole._weight_after(2000.0) == pytest.approx(first._weight_after(1300.0), rel=1e-12)
    # As products of steps row by row, and of shares row by row, of which the larger counts.
    steps = np.maximum(np.arange(300.5, 2300.0) ** -kappa, forgetting)
    assert whole.kept(2000.0) == pytest.approx(np.prod(1 - steps), rel=0.05)
    if forgetting:
        assert replace(whole, time=1e9).kept(7.0) == pytest.approx((1 - forgetting) ** 7, rel=1e-9)
        assert whole._weight_after(1e7) == pytest.approx(1 / forgetting, rel=0.01)


def test_average_has_the_step_one_over_t():
    state = Stepwise(None, None, time=300.0, kappa=1.0)
    assert state.kept(100.0) == pytest.approx(0.75, rel=1e-12)


@pytest.mark.parametrize("forgetting", [0.0, 0.001])
def test_weight_of_two_is_a_row_twice(forgetting):
    X = two_normals(3000)
    once = fit_em_online(
        normals(), START, [(x, np.full(len(x), 2.0)) for x in np.array_split(X, 6)], forgetting=forgetting
    )
    twice = fit_em_online(
        normals(), START, [np.repeat(x, 2, axis=0) for x in np.array_split(X, 6)], forgetting=forgetting
    )
    assert_same(once.params, twice.params, rtol=1e-10)
    assert once.log_likelihood == pytest.approx(twice.log_likelihood, rel=1e-12)


def test_rows_without_weight_do_nothing():
    X = two_normals(600)
    none = (np.full((50, 1), 7.0), np.zeros(50))
    pieces = np.array_split(X, 3)
    with_none = fit_em_online(normals(), START, [pieces[0], none, *pieces[1:]])
    assert_same(with_none.params, fit_em_online(normals(), START, pieces).params, rtol=0)
    assert np.isnan(with_none.history[1])


def test_prior_weighs_what_it_should():
    """A prior worth 500 rows beside 2000 that were seen, not beside those of the last item."""
    X = two_normals(2000)
    result = fit_em_online(normals(501.0), START, np.array_split(X, 20), kappa=1.0)
    counts = 2000 * result.stats.latent + 500.0
    np.testing.assert_allclose(result.params.latent, counts / counts.sum(), rtol=1e-12)
    assert abs(result.params.latent[0] - 0.3) > 0.03  # as without one it is not


# -- partial M-steps ---------------------------------------------------------------------------------------


def counts_of_a_regression(n, seed=0):
    rng = np.random.RandomState(seed)
    x = rng.normal(size=n)
    return np.column_stack([np.ones(n), x, rng.poisson(np.exp(1.0 + 0.7 * x))])


@pytest.mark.parametrize("far", [-6.0, -2.0, 2.0, 3.0])
def test_newton_steps_of_a_stream_do_not_overshoot(far):
    model = LatentModel(MixtureWeights(), Regression(RESPONSES["poisson"], 2))
    start = LatentPair(np.ones(1), RegressionParams(np.array([[far, -2.0]]), np.ones(1)))
    seen = []
    result = fit_em_online(
        model, start, (counts_of_a_regression(500, seed) for seed in range(60)), kappa=0.6, callback=seen.append
    )
    rises = np.diff([step.log_likelihood for step in seen])
    assert rises[:3].max() > -0.5, "the first steps lead away"
    np.testing.assert_allclose(result.params.family.coef, [[1.0, 0.7]], atol=0.03)


class Overshoots(EMModel):
    """A mean, of which the M-step goes ten times as far as it should; shorter steps are fine."""

    def expectation(self, params):
        def e_step(batch):
            off = batch.x[0] - params
            return EStep(batch.sum(off), float(-0.5 * batch.sum(off**2)), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return params + 10.0 * stats / self.n

    def shortened(self, stats, params, attempt):
        return params + 10.0 * 0.5**attempt * stats / self.n

    def recentred(self, stats, old, new):
        return stats - (new - old)

    n = 100.0


def test_m_step_that_new_rows_speak_against_is_shortened():
    X = np.random.RandomState(0).normal(size=(100, 1)) + 5.0
    result = fit_em_online(Overshoots(), 0.0, [X])
    assert 5.0 < result.params < 10.0  # a quarter of the step is not yet short enough, an eighth is
    plain = Batches(X).sum(Overshoots().expectation(0.0))
    there = Batches(X).sum(Overshoots().expectation(result.params))
    assert there.log_likelihood > plain.log_likelihood


def test_gate_of_a_stream():
    rng = np.random.RandomState(0)
    gate = SoftmaxGate((0,), ridge=1e-3)

    def rows():
        x = rng.normal(size=1000)
        label = rng.uniform(size=1000) < 1 / (1 + np.exp(-1.0 - 2.0 * x))
        return np.column_stack([np.ones(1000), x, np.where(label, 2 + x, -2 - x) + 0.5 * rng.normal(size=1000)])

    model = LatentModel(replace(gate, columns=(1,)), Regression(RESPONSES["gaussian"], 2))
    start = LatentPair(np.zeros((2, 2)), RegressionParams(np.array([[-1.0, 0], [1.0, 0]]), np.ones(2)))
    result = fit_em_online(model, start, (rows() for _ in range(60)))
    slopes = result.params.latent[1] - result.params.latent[0]
    np.testing.assert_allclose(slopes, [1.0, 2.0], atol=0.15)
    np.testing.assert_allclose(result.params.family.coef, [[-2, -1], [2, 1]], atol=0.03)


# -- streams -----------------------------------------------------------------------------------------------


def test_stream_comes_near_to_the_maximum():
    X, model = two_normals(40_000), normals()
    best = fit_em(model, START, X).log_likelihood / len(X)
    for n_items in (40, 400):  # in whatever cut
        result = fit_em_online(model, START, np.array_split(X, n_items))
        gap = best - Batches(X).sum(model.expectation(result.params)).log_likelihood / len(X)
        assert 0 <= gap < 5e-4
        assert result.n_items == len(result.history) == n_items


def test_one_shot_generator_of_everything_there_is():
    X, weight = two_normals(4000), np.random.RandomState(0).uniform(0.5, 2.0, size=4000)
    cuts = [slice(i, i + 500) for i in range(0, 4000, 500)]
    arrays = fit_em_online(normals(), START, ((X[cut], weight[cut]) for cut in cuts))
    batch = fit_em_online(normals(), START, iter([Batch(X[cut].T.copy(), weight[cut]) for cut in cuts]))
    whole = fit_em_online(normals(), START, Batches(X, weight, rows=500))  # which is a stream of batches
    as_batches = fit_em_online(normals(), START, (Batches(X[cut], weight[cut], rows=64) for cut in cuts))
    for other in (batch, whole):
        assert_same(other.params, arrays.params, rtol=0)
    assert_same(as_batches.params, arrays.params, rtol=1e-10)


def test_chain_is_recovered_from_a_stream_of_sequences():
    rng, transition = np.random.RandomState(0), np.array([[0.9, 0.1], [0.3, 0.7]])

    def sequences(n=20, length=100):
        states = np.zeros((n, length), dtype=int)
        for t in range(1, length):
            states[:, t] = rng.uniform(size=n) > transition[states[:, t - 1], 0]
        return (TRUTH[states] + rng.normal(size=states.shape)).reshape(-1, 1)

    model = LatentModel(MarkovChain(), FULL)
    start = LatentPair(ChainParams(np.array([0.5, 0.5]), np.full((2, 2), 0.5)), START.family)
    items = (Batches(sequences(), lengths=np.full(20, 100)) for _ in range(25))
    result = fit_em_online(model, start, items)
    np.testing.assert_allclose(result.params.latent.transition, transition, atol=0.02)
    np.testing.assert_allclose(result.params.family.means.ravel(), TRUTH, atol=0.05)


def test_missing_entries():
    rng = np.random.RandomState(0)
    root = np.linalg.cholesky(np.array([[1.0, 0.6], [0.6, 2.0]]))

    def rows():
        X = rng.normal(size=(1000, 2)) @ root.T + [3.0, -1.0]
        return np.where(rng.uniform(size=X.shape) < 0.3, np.nan, X)

    start = LatentPair(np.ones(1), GaussianParams(np.zeros((1, 2)), np.eye(2)[None]))
    result = fit_em_online(LatentModel(MixtureWeights(), FULL), start, (rows() for _ in range(60)))
    np.testing.assert_allclose(result.params.family.means, [[3.0, -1.0]], atol=0.05)
    np.testing.assert_allclose(result.params.family.covariances, [root @ root.T], atol=0.06)


def test_drift_is_followed_where_the_past_is_forgotten():
    """Of a drift of 2 standard deviations a mean over all falls short by far."""
    items = [two_normals(500, seed, shift=2.0 * seed / 100) for seed in range(100)]
    short = {}
    for forgetting in (0.0, 0.002):
        result = fit_em_online(normals(), START, items, forgetting=forgetting)
        short[forgetting] = (TRUTH + 2.0 - result.params.family.means.ravel()).mean()
    assert abs(short[0.002]) < 0.08 < 0.3 < short[0.0]


def test_callback_ends_it():
    seen = []
    endless = (two_normals(100, seed) for seed in range(10**9))
    result = fit_em_online(normals(), START, endless, callback=lambda step: seen.append(step) or len(seen) == 5)
    assert result.n_items == 5
    assert seen[-1].weight == 500
    assert_same(seen[-1].params, result.params, rtol=0)


def test_nothing_that_was_given_is_changed():
    X = two_normals(500)
    kept, before = X.copy(), tree_map(np.copy, START)
    fit_em_online(normals(), START, [X, X])
    np.testing.assert_array_equal(X, kept)
    for now, then in zip(leaves(START), leaves(before), strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("stream", "options", "message"),
    [
        ([np.zeros((3, 1))], {"kappa": 0.5}, r"kappa=0.5 must lie in \(.5, 1\]"),
        ([np.zeros((3, 1))], {"forgetting": 1.0}, r"forgetting=1.0 must lie in \[0, 1\)"),
        ([np.zeros((3, 1))], {"t0": -1.0}, "t0=-1.0 must be a number of observations"),
        ([np.zeros((3, 1))], {"hold": np.nan}, "hold=nan must be a number of observations"),
        (np.zeros((3, 1)), {}, "The stream is one array: give its pieces"),
        ([], {}, "The stream holds no rows"),
        ([np.zeros((0, 1))], {}, "The stream holds no rows"),
        (
            [np.zeros((3, 1)), np.zeros((3, 2))],
            {},
            "Item 1 of the stream has 2 features, but those before have 1",
        ),
        ([np.full((3, 1), 1e200)], {}, "The log-likelihood of new rows is -inf at the parameters"),
    ],
)
def test_bad_input_is_named(stream, options, message):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        fit_em_online(normals(), START, stream, **options)


def test_counts_without_moments():
    """Statistics that are about nothing need no hook."""
    rng = np.random.RandomState(0)
    start = LatentPair(np.array([0.5, 0.5]), PoissonParams(np.array([[2.0], [5.0]])))
    stream = (rng.poisson(np.where(rng.uniform(size=(500, 1)) < 0.3, 1.0, 8.0)) for _ in range(100))
    result = fit_em_online(LatentModel(MixtureWeights(), Poisson()), start, stream)
    np.testing.assert_allclose(result.params.family.rates.ravel(), [1.0, 8.0], atol=0.1)
    np.testing.assert_allclose(result.params.latent, [0.3, 0.7], atol=0.02)
