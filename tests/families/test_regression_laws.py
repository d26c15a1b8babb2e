"""Laws of regressions as a family, of groups, of tables side by side, and of M-steps that may be shortened."""

import warnings
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from emlearn import MixtureOfExperts, MixtureOfExpertsClassifier, MixtureOfLinearRegressions
from emlearn.em import (
    Affine,
    Batches,
    EMModel,
    EStep,
    LatentModel,
    LatentPair,
    MonotonicityWarning,
    SideBySide,
    Start,
    fit_em,
    race,
)
from emlearn.em.algebra import solve, spectrum, weighted_gram
from emlearn.em.restarts import MAX_RESEEDED, SLOWEST
from emlearn.em.spaces import SharedColumns
from emlearn.em.trees import leaves
from emlearn.families import RESPONSES, Poisson, PoissonParams, Regression, RegressionParams
from emlearn.families.regression import LONGEST, RegressionTotals
from emlearn.latent import Grouped, MixtureWeights, SoftmaxGate
from emlearn.testing import check_model, check_monotone
from tests.helpers.families import batch_of
from tests.helpers.pace import some_slow
from tests.helpers.trees import assert_same

K = 2
P = 3  # columns of the design: the constant and two features
GATE = SoftmaxGate((1,), ridge=0.01)
COEF = np.array([[0.6, 0.9, -0.3], [-0.4, -0.7, 0.5]])
LATENTS = {
    "weights": MixtureWeights(),
    "gate": GATE,
    "grouped weights": Grouped(MixtureWeights()),
    "grouped gate": Grouped(GATE),
}
KINDS = ("gaussian", "poisson", "binomial", "trials")
OPTIONS = {
    "plain": {},
    "penalty": {"penalty": (0.0, 0.7, 2.0)},
    "shared": {"shared": (2,)},
    "shared dispersion": {"shared_dispersion": True},
    "ratio": {"least_ratio": 0.01},
    "offset": {"has_offset": True},
    "all": {"penalty": (0.0, 0.7, 2.0), "shared": (0, 2), "least_ratio": 0.01, "has_offset": True},
}
CASES = [
    (latent, kind, options)
    for latent, kind, options in product(LATENTS, KINDS, OPTIONS)
    if (kind == "gaussian" or options not in ("shared dispersion", "ratio"))
    and (latent in ("weights", "grouped gate") or options in ("plain", "all"))
]
# Single trials tell little of where they come from: EM takes a thousand steps, and 14 from several trials.
QUICK = [case for case in CASES if case[1] != "binomial" or case[2] in ("penalty", "offset")]


def regression(kind, **options):
    return Regression(RESPONSES["binomial" if kind == "trials" else kind], P, **options)


def responses(kind, eta, sigma, rng):
    """Rows of the response, (c, n)."""
    n = len(eta)
    if kind == "gaussian":
        return (eta + sigma * rng.normal(size=n))[None]
    if kind == "poisson":
        return rng.poisson(np.exp(1.0 + eta))[None].astype(float)
    trials = np.ones(n, dtype=int) if kind == "binomial" else rng.randint(1, 12, size=n)
    successes = rng.binomial(trials, 1 / (1 + np.exp(-1.5 * eta)))
    return np.vstack([successes] if kind == "binomial" else [successes, trials]).astype(float)


def rows(kind, has_offset=False, lengths=None, n=60, seed=0):
    """Rows of design, response and perhaps offset, their components, and weights."""
    rng = np.random.RandomState(seed)
    lengths = np.ones(n, dtype=int) if lengths is None else np.asarray(lengths)
    features = rng.normal(size=(n, 2))
    features[:, 0] = np.repeat(features[: len(lengths), 0], lengths)  # what a gate sees
    chance = 1 / (1 + np.exp(-1.5 * features[np.cumsum(lengths) - lengths, 0]))
    labels = np.repeat((rng.uniform(size=len(lengths)) < chance).astype(int), lengths)
    design = np.column_stack([np.ones(n), features])
    offset = 0.3 * rng.normal(size=n)
    eta = (design * COEF[labels]).sum(axis=1) + has_offset * offset
    y = responses(kind, eta, np.array([0.3, 0.6])[labels], rng)
    X = np.column_stack([design, y.T, *([offset] if has_offset else [])])
    return X, labels, rng.uniform(0.5, 2.0, size=n)


def problem(latent, kind, **options):
    """Model, rough parameters and data."""
    latent = LATENTS[latent]
    grouped = isinstance(latent, Grouped)
    lengths = np.tile([1, 4, 2, 3], 6) if grouped else None
    X, labels, weight = rows(kind, options.get("has_offset", False), lengths)
    model = LatentModel(latent, regression(kind, **options))
    resp = 0.7 * (labels == np.arange(K)[:, None]) + 0.3 / K
    if not grouped:
        return model, model.start(batch_of(X, weight), resp * weight), (X, weight)
    data = Batches(X, weight, lengths=lengths, rows=len(X) + 1)
    (batch,) = data
    return model, model.start(batch, (resp * weight)[:, batch.rows]), data


def row_log_density(kind, x, coef, dispersion, has_offset=False):
    """Log-density of the response of one row, from first principles."""
    eta = x[:P] @ coef + (x[-1] if has_offset else 0.0)
    if kind == "gaussian":
        return stats.norm(eta, np.sqrt(dispersion)).logpdf(x[P])
    if kind == "poisson":
        return stats.poisson(np.exp(eta)).logpmf(x[P])
    return stats.binom(x[P + 1] if kind == "trials" else 1, 1 / (1 + np.exp(-eta))).logpmf(x[P])


def some_params(kind, rng, K=K):
    dispersion = rng.uniform(0.3, 1.5, size=K) if kind == "gaussian" else np.ones(1)
    return RegressionParams(0.5 * rng.normal(size=(K, P)), dispersion)


def dispersion_of(params, k):
    return params.dispersion[min(k, len(params.dispersion) - 1)]


# -- the laws of EM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("latent", "kind", "options"), some_slow(CASES, QUICK[::4]))
def test_laws(latent, kind, options):
    model, params, data = problem(latent, kind, **OPTIONS[options])
    check_model(model, params, data)
    if model.family.shared:
        for end in (params, fit_em(model, params, data).params):
            coef = end.family.coef[:, list(model.family.shared)]
            np.testing.assert_array_equal(coef[0], coef[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent", ["weights", "grouped gate"])
def test_laws_of_regressions_that_share_all(latent, kind):
    """Components differ in their noise alone, or not at all."""
    model, params, data = problem(latent, kind, shared=(0, 1, 2), penalty=(0.0, 0.7, 2.0))
    check_model(model, params, data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent", LATENTS)
def test_annealed_objective_is_monotone(latent, kind):
    model, params, data = problem(latent, kind, penalty=(0.0, 0.1, 0.1))
    check_monotone(replace(model, beta=0.5), params, data)


@pytest.mark.parametrize("latent", ["weights", "gate"])
def test_laws_where_the_least_ratio_binds(latent):
    model, params, data = problem(latent, "gaussian", least_ratio=0.8)
    check_model(model, params, data)
    fit = fit_em(model, params, data)
    assert fit.converged
    least, most = np.sort(fit.params.family.dispersion)
    assert least == pytest.approx(0.8 * most, rel=1e-12)
    stats = model.expectation(fit.params)(batch_of(*data)).stats
    expected = handicap_of_ratios(fit.params.family.dispersion, stats.family.weight, P)
    assert 0 < model.handicap(fit.params, stats) == pytest.approx(expected)


@pytest.mark.parametrize("columns", [(), (0,), (2,), (0, 3), (3, 0), (0, 1, 2, 3)])
@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_shared_columns_round_trip(columns, n_rows):
    space, rng = SharedColumns(columns), np.random.RandomState(0)
    value = rng.normal(size=(n_rows, 4))
    value[:, list(columns)] = rng.normal(size=len(columns))
    vector = space.to_vector(value)
    n_own = n_rows * (4 - len(columns))
    assert vector.shape == (space.n_coordinates(value),) == (n_own + len(columns),)
    np.testing.assert_array_equal(space.from_vector(vector, np.zeros((n_rows, 4))), value)
    elsewhere = rng.normal(size=vector.size)
    there = space.from_vector(elsewhere, value)
    np.testing.assert_array_equal(space.to_vector(there), elsewhere)
    np.testing.assert_array_equal(there[:, list(columns)], np.tile(elsewhere[n_own:], (n_rows, 1)))
    assert value.shape == there.shape
    there[:] = 0.0  # neither is a view of the other
    np.testing.assert_array_equal(space.to_vector(value), vector)


@pytest.mark.parametrize("shared", [(), (2,), (0, 2), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("resting", [[0], [1], [0, 2], []])
def test_what_may_be_extrapolated(shared, resting):
    """All but what determines the regressions whose dispersions rest on a bound, and dispersions."""
    family = regression("gaussian", shared=shared, least_ratio=0.01)
    params = some_params("gaussian", np.random.RandomState(0), K=3)
    params.coef[:, list(shared)] = params.coef[0, list(shared)]
    params.dispersion[resting] = 0.01 * params.dispersion.max()
    params.dispersion[np.setdiff1d(range(3), resting)[-1]] = params.dispersion.max()
    params.dispersion[resting] = 0.01 * params.dispersion.max()
    np.testing.assert_array_equal(np.flatnonzero(family.at_bound(params)), resting)
    model = LatentModel(MixtureWeights(), family)
    pair = LatentPair(np.full(3, 1 / 3), params)
    vector, rests = model.flatten(pair), model.resting(pair)
    assert vector.size == 3 + 3 * P - 2 * len(shared) + 3
    assert model.family.n_parameters(params) == vector.size - 3
    if not resting:
        assert rests is None
        return
    assert rests.shape == vector.shape
    assert not rests[:3].any()
    for i in range(3, vector.size):
        there = model.unflatten(vector + 0.1 * (np.arange(vector.size) == i), pair).family
        moved = (there.coef != params.coef).any(axis=1)
        moved |= ~np.isclose(there.dispersion, params.dispersion, rtol=1e-12)
        assert moved.any()
        is_dispersion = i >= vector.size - 3
        assert rests[i] == (is_dispersion or moved[resting].any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent", ["grouped weights", "grouped gate"])
def test_laws_of_rows_hold_for_groups(latent, kind):
    model, params, data = problem(latent, kind, has_offset=True)
    X, _, weight = rows(kind, True, np.tile([1, 4, 2, 3], 6))
    lengths = np.tile([1, 4, 2, 3], 6)
    whole = data.sum(model.expectation(params))
    for n_threads in (1, 2):
        cut = Batches(X, weight, lengths=lengths, rows=7, n_threads=n_threads)
        assert_same(cut.sum(model.expectation(params)), whole)
    order = np.random.RandomState(0).permutation(24)
    first = np.cumsum(lengths) - lengths
    shuffled = np.concatenate([np.arange(first[g], first[g] + lengths[g])[::-1] for g in order])
    back = Batches(X[shuffled], weight[shuffled], lengths=lengths[order])
    assert_same(back.sum(model.expectation(params)), whole)
    parts = [(slice(20), slice(8)), (slice(20, None), slice(8, None))]
    sums = [Batches(X[a], weight[a], lengths=lengths[b]).sum(model.expectation(params)) for a, b in parts]
    for total, one, other in zip(*map(leaves, (whole, *sums)), strict=True):
        np.testing.assert_allclose(one + other, total, rtol=1e-10, atol=1e-10)
    # A row of weight 2 is the row twice, in its group.
    twice = Batches(np.repeat(X, 2, axis=0), np.repeat(weight, 2) / 2, lengths=2 * lengths)
    assert_same(twice.sum(model.expectation(params)), whole)


# -- densities and sums ------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_offset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_density_from_first_principles(kind, has_offset):
    X, _, weight = rows(kind, has_offset)
    params = some_params(kind, np.random.RandomState(1))
    family = regression(kind, has_offset=has_offset)
    seen = family.density(params)(batch_of(X, weight))
    base = np.broadcast_to(seen.shared_log_prob(), len(X))
    expected = [
        [row_log_density(kind, x, params.coef[k], dispersion_of(params, k), has_offset) for x in X]
        for k in range(K)
    ]
    np.testing.assert_allclose(seen.log_prob + base, expected, rtol=1e-10, atol=1e-10)
    assert seen.shared == pytest.approx(weight @ base, abs=1e-10)


@pytest.mark.parametrize("eta", [-800.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 700.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_logistic_density_far_out(eta, y):
    response = RESPONSES["binomial"]
    seen = response.observe(np.array([[eta]]), np.array([[y]]), np.ones((1, 1)))
    log_prob = seen.log_prob[0, 0] + response.base_measure(np.array([[y]]))[0]
    expected = -np.logaddexp(0.0, -eta if y else eta)
    assert log_prob == pytest.approx(expected, rel=1e-14)
    assert np.isfinite(seen.curvature).all()
    assert seen.error[0, 0] == pytest.approx(expit(-eta) if y else -expit(eta), rel=1e-12)


@pytest.mark.parametrize("has_offset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_totals_from_loops(kind, has_offset):
    X, _, _ = rows(kind, has_offset, n=25)
    params = some_params(kind, np.random.RandomState(1))
    resp = np.random.RandomState(2).uniform(size=(K, 25))
    totals = regression(kind, has_offset=has_offset).density(params)(batch_of(X)).totals(resp)
    for k in range(K):
        weight, gram, score, squares = 0.0, np.zeros((P, P)), np.zeros(P), 0.0
        for r, x in zip(resp[k], X, strict=True):
            z, eta = x[:P], x[:P] @ params.coef[k] + (x[-1] if has_offset else 0.0)
            if kind == "gaussian":
                mean, curvature = eta, 1.0
            elif kind == "poisson":
                mean = curvature = np.exp(eta)
            else:
                trials, p = (x[P + 1] if kind == "trials" else 1), 1 / (1 + np.exp(-eta))
                mean, curvature = trials * p, trials * p * (1 - p)
            weight += r
            gram += r * curvature * np.outer(z, z)
            score += r * z * (x[P] - mean)
            squares += r * (x[P] - mean) ** 2 * (kind == "gaussian")
        assert totals.weight[k] == pytest.approx(weight)
        np.testing.assert_allclose(totals.gram[k], gram, rtol=1e-11)
        np.testing.assert_allclose(totals.score[k], score, rtol=1e-10, atol=1e-12)
        assert totals.squares[k] == pytest.approx(squares, abs=1e-12)
    np.testing.assert_allclose(totals.design, sum(np.outer(x[:P], x[:P]) for x in X))


@pytest.mark.parametrize("kind", KINDS)
def test_the_design_is_weighted_as_the_rows_are(kind):
    X, labels, weight = rows(kind)
    batch, family = batch_of(X, weight), regression(kind)
    resp = weight * (labels == np.arange(K)[:, None])
    expected = (X[:, :P] * weight[:, None]).T @ X[:, :P]
    for params in (family.start(batch, resp), some_params(kind, np.random.RandomState(0))):
        np.testing.assert_allclose(family.density(params)(batch).totals(resp).design, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_score_and_gram_are_the_derivatives(kind):
    X, _, _ = rows(kind, has_offset=True)
    batch, family = batch_of(X), regression(kind, has_offset=True)
    params = some_params(kind, np.random.RandomState(1))
    resp = np.random.RandomState(2).uniform(size=(K, len(X)))
    here = family.density(params)(batch).totals(resp)

    def at(j, step):
        moved = params._replace(coef=params.coef + step * (np.arange(P) == j))
        seen = family.density(moved)(batch)
        return (resp * seen.log_prob).sum(axis=1) * params.dispersion, seen.totals(resp).score

    step = 1e-5
    for j in range(P):
        (ahead, score_ahead), (behind, score_behind) = at(j, step), at(j, -step)
        np.testing.assert_allclose((ahead - behind) / (2 * step), here.score[:, j], rtol=1e-6, atol=1e-6)
        bend = -(score_ahead - score_behind) / (2 * step)
        np.testing.assert_allclose(bend, here.gram[:, j], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent", ["grouped weights", "grouped gate"])
def test_groups_are_the_sum_over_all_labelings(latent, kind):
    lengths, n = np.array([2, 1, 3, 2]), 8
    X, _, weight = rows(kind, True, lengths, n)
    rng = np.random.RandomState(4)
    family_params = some_params(kind, rng)
    gate = np.array([[0.4, 0.9], [-0.4, -0.9]])
    params = LatentPair(np.array([0.3, 0.7]) if "weights" in latent else gate, family_params)
    model = LatentModel(LATENTS[latent], regression(kind, has_offset=True))
    group = np.repeat(np.arange(4), lengths)
    joint = []
    for labels in product(range(K), repeat=4):
        value = 0.0
        for g, k in enumerate(labels):
            scores = gate[:, 0] + gate[:, 1] * X[group == g][0, 1]
            value += np.log(params.latent[k]) if "weights" in latent else scores[k] - logsumexp(scores)
        for x, w, g in zip(X, weight, group, strict=True):
            k = labels[g]
            value += w * row_log_density(kind, x, family_params.coef[k], dispersion_of(family_params, k), True)
        joint.append(value)
    for cut in ({}, {"rows": 2}):
        found = Batches(X, weight, lengths=lengths, **cut).sum(model.expectation(params))
        assert found.log_likelihood == pytest.approx(logsumexp(joint), abs=1e-9)
        posterior = np.exp(joint - logsumexp(joint))
        resp = np.array([[posterior @ [labels[g] == k for labels in product(range(K), repeat=4)]
                          for g in range(4)] for k in range(K)])  # fmt: skip
        np.testing.assert_allclose(found.stats.family.weight, (resp[:, group] * weight).sum(axis=1), rtol=1e-9)
        if "weights" in latent:
            np.testing.assert_allclose(found.stats.latent, resp.sum(axis=1), rtol=1e-9)
        errors = [[x[P] - mean_of(kind, x, family_params.coef[k], True) for x in X] for k in range(K)]
        expected = np.einsum("kn,kn,nj->kj", resp[:, group] * weight, errors, X[:, :P])
        np.testing.assert_allclose(found.stats.family.score, expected, rtol=1e-8, atol=1e-9)


def mean_of(kind, x, coef, has_offset):
    eta = x[:P] @ coef + (x[-1] if has_offset else 0.0)
    if kind == "gaussian":
        return eta
    if kind == "poisson":
        return np.exp(eta)
    return (x[P + 1] if kind == "trials" else 1.0) / (1 + np.exp(-eta))


@pytest.mark.parametrize("latent", ["grouped weights", "grouped gate"])
def test_groups_of_one_row_are_rows(latent):
    X = rows("gaussian")[0]
    model, _, _ = problem(latent, "gaussian")
    params = LatentPair(
        np.array([0.3, 0.7]) if "weights" in latent else np.array([[0.4, 0.9], [-0.4, -0.9]]),
        some_params("gaussian", np.random.RandomState(0)),
    )
    alone = replace(model, latent=model.latent.latent)
    grouped = Batches(X, lengths=np.ones(len(X), dtype=int)).sum(model.expectation(params))
    assert_same(grouped, Batches(X).sum(alone.expectation(params)))


@pytest.mark.parametrize("latent", ["grouped weights", "grouped gate"])
def test_a_group_without_weight_is_absent(latent):
    lengths = np.array([4, 3, 2, 6])
    X, _, weight = rows("gaussian", lengths=lengths, n=15)
    weight[4:7] = 0.0
    kept = weight > 0
    model, params, _ = problem(latent, "gaussian")
    with_it = Batches(X, weight, lengths=lengths).sum(model.expectation(params))
    without = Batches(X[kept], weight[kept], lengths=[4, 2, 6]).sum(model.expectation(params))
    assert_same(with_it, without)


# -- M-steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [(), (0.0, 0.7, 2.0)], ids=["plain", "ridge"])
def test_m_step_of_normal_responses_is_weighted_least_squares(penalty):
    X, _, _ = rows("gaussian", has_offset=True)
    family = regression("gaussian", has_offset=True, penalty=penalty)
    rng = np.random.RandomState(3)
    resp = rng.uniform(size=(K, len(X)))
    z, y = X[:, :P], X[:, P] - X[:, -1]
    ridge = np.diag(np.sqrt(penalty or np.zeros(P)))
    for params in (some_params("gaussian", rng), RegressionParams(50 * np.ones((K, P)), np.array([9.0, 1e-3]))):
        new = family.maximize(family.density(params)(batch_of(X)).totals(resp), params)
        for k in range(K):
            root = np.sqrt(resp[k])
            system = np.vstack([root[:, None] * z, ridge])
            coef = np.linalg.lstsq(system, np.r_[root * y, np.zeros(P)], rcond=None)[0]
            np.testing.assert_allclose(new.coef[k], coef, rtol=1e-8, atol=1e-10)
            squares = resp[k] @ (y - z @ coef) ** 2 + coef**2 @ np.diag(ridge) ** 2
            assert new.dispersion[k] == pytest.approx(squares / resp[k].sum(), rel=1e-8)
        assert family.shortened(None, params, 1) is None


def test_shared_dispersion_is_the_pooled_one():
    X, _, _ = rows("gaussian")
    rng = np.random.RandomState(3)
    resp, params = rng.uniform(size=(K, len(X))), some_params("gaussian", rng)
    family = regression("gaussian", shared_dispersion=True)
    own = regression("gaussian")
    totals = own.density(params)(batch_of(X)).totals(resp)
    pooled = family.maximize(totals, params._replace(dispersion=np.ones(1))).dispersion
    dispersion = own.maximize(totals, params).dispersion
    assert pooled == pytest.approx([np.average(dispersion, weights=resp.sum(axis=1))])


def test_shared_coefficients_solve_one_system():
    X, _, _ = rows("gaussian")
    rng = np.random.RandomState(3)
    resp, params = rng.uniform(size=(K, len(X))), some_params("gaussian", rng)
    params.coef[:, 2] = params.coef[0, 2]
    family = regression("gaussian", shared=(2,))
    new = family.maximize(family.density(params)(batch_of(X)).totals(resp), params)
    z, y = X[:, :P], X[:, P]
    stacked, right = [], []
    for k in range(K):  # coefficients 0 and 1 of each component, and one 2 of both
        part = np.zeros((len(X), 2 * K + 1))
        part[:, 2 * k : 2 * k + 2], part[:, -1] = z[:, :2], z[:, 2]
        root = np.sqrt(resp[k] / params.dispersion[k])
        stacked.append(root[:, None] * part)
        right.append(root * y)
    coef = np.linalg.lstsq(np.vstack(stacked), np.concatenate(right), rcond=None)[0]
    np.testing.assert_allclose(new.coef, [[*coef[:2], coef[-1]], [*coef[2:4], coef[-1]]], rtol=1e-9)
    for k in range(K):
        squares = resp[k] @ (y - z @ new.coef[k]) ** 2
        assert new.dispersion[k] == pytest.approx(squares / resp[k].sum(), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [(), (2,)])
def test_an_empty_component_keeps_its_parameters(kind, shared):
    X, _, _ = rows(kind)
    params = some_params(kind, np.random.RandomState(3))
    params.coef[:, list(shared)] = 0.1
    resp = np.vstack([np.ones(len(X)), np.zeros(len(X))])
    family = regression(kind, shared=shared)
    new = family.maximize(family.density(params)(batch_of(X)).totals(resp), params)
    own = np.setdiff1d(np.arange(P), shared)
    np.testing.assert_allclose(new.coef[1, own], params.coef[1, own], rtol=1e-13 if shared else 0)
    assert dispersion_of(new, 1) == dispersion_of(params, 1)
    assert np.isfinite(new.coef).all()


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_dispersions_are_the_constrained_maximum(seed, ratio):
    rng = np.random.RandomState(seed)
    n_components = rng.randint(2, 5)
    weight = rng.uniform(0.5, 30.0, size=n_components)
    squares = weight * np.exp(2.0 * rng.normal(size=n_components))
    if seed == 0:
        squares[0] = 0.0
    found = replace(regression("gaussian"), least_ratio=ratio)._dispersion(squares, weight)
    assert found.min() >= ratio * found.max() * (1 - 1e-12)

    def cost(dispersion):
        return (weight * np.log(dispersion) + squares / dispersion).sum(axis=-1)

    free = np.maximum(squares / weight, 1e-12)
    # Given the least of them, each is as close to its own optimum as the bounds let it.
    least = np.exp(np.linspace(np.log(free.min()), np.log(free.max()), 40_001))[:, None]
    grid = np.clip(free, least, least / ratio)
    assert cost(found) <= cost(grid).min() + 1e-9 * abs(cost(found))
    # And of any legal dispersions none is better.
    centre = np.exp(rng.uniform(np.log(found.min() / 3), np.log(3 * found.max()), size=(20_000, 1)))
    anywhere = centre * ratio ** rng.uniform(size=(20_000, n_components))
    assert cost(found) <= cost(anywhere).min()


def test_dispersions_of_components_without_weight_do_not_count():
    family = replace(regression("gaussian"), least_ratio=0.5)
    found = family._dispersion(np.array([1.0, 0.0, 8.0]), np.array([4.0, 0.0, 2.0]))
    pair = family._dispersion(np.array([1.0, 8.0]), np.array([4.0, 2.0]))
    np.testing.assert_allclose(found[[0, 2]], pair)


@pytest.mark.parametrize("kind", ["poisson", "binomial", "trials"])
def test_newton_step_squares_the_error(kind):
    X, _, _ = rows(kind)
    family, batch = regression(kind), batch_of(X)
    resp = np.random.RandomState(2).uniform(size=(K, len(X)))

    def step(params):
        return family.maximize(family.density(params)(batch).totals(resp), params)

    best = family.start(batch, resp)
    for _ in range(30):
        best = step(best)
    errors = []
    params = best._replace(coef=best.coef + 0.05)
    for _ in range(3):
        errors.append(np.abs(params.coef - best.coef).max())
        params = step(params)
    assert errors[1] < 3 * errors[0] ** 2
    assert errors[2] < 3 * errors[1] ** 2 + 1e-14


FAR = {"poisson": -5.0, "binomial": 7.0, "trials": 7.0}  # from there Newton's step is very long


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("shared", [(), (2,)])
def test_steps_that_change_predictors_too_much_are_cut(kind, shared):
    X, labels, weight = rows(kind)
    family, batch = regression(kind, shared=shared), batch_of(X, weight)
    resp = weight * (0.8 * (labels == np.arange(K)[:, None]) + 0.1)

    def rms(step):
        return np.sqrt(np.average((step @ X[:, :P].T) ** 2, weights=weight, axis=1))

    near = family.start(batch, resp)
    for params in (near, near._replace(coef=near.coef + np.outer([0.0, FAR[kind]], [1.0, 0.0, 0.0]))):
        totals = family.density(params)(batch).totals(resp)
        whole = family._newton_step(totals, params)
        factor = np.minimum(LONGEST / rms(whole), 1.0)
        if shared:  # or what is shared would differ
            factor[:] = factor.min()
        new = family.maximize(totals, params)
        np.testing.assert_allclose(new.coef - params.coef, factor[:, None] * whole, rtol=1e-9, atol=1e-12)
        assert (rms(new.coef - params.coef) <= LONGEST * (1 + 1e-12)).all()
        assert (factor.min() < 0.9) == (params is not near)


@pytest.mark.parametrize("kind", ["poisson", "binomial", "trials"])
@pytest.mark.parametrize("eta", [-1e3, 1e3, 1e6])
def test_predictors_beyond_reason_give_finite_sums(kind, eta):
    X, _, _ = rows(kind)
    family, batch = regression(kind), batch_of(X)
    params = RegressionParams(np.array([[eta, 0.0, 0.0], [0.0, eta, -eta]]), np.ones(1))
    seen = family.density(params)(batch)
    totals = seen.totals(np.full((K, len(X)), 1.0 / K))
    assert np.isfinite(seen.log_prob).all()
    assert all(np.isfinite(part).all() for part in totals)
    assert np.isfinite(family.maximize(totals, params).coef).all()


@pytest.mark.parametrize("kind", ["poisson", "binomial", "trials"])
def test_shortened_is_half_the_step(kind):
    rng = np.random.RandomState(0)
    X, _, _ = rows(kind)
    family, params = regression(kind), some_params(kind, rng)
    totals = family.density(params)(batch_of(X)).totals(rng.uniform(size=(K, len(X))))
    step = family.maximize(totals, params).coef - params.coef
    assert np.abs(step).max() > 1e-3
    for attempt in range(1, 8):
        shorter = family.shortened(totals, params, attempt)
        np.testing.assert_allclose(shorter.coef - params.coef, 0.5**attempt * step, rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(shorter.dispersion, params.dispersion)


@pytest.mark.parametrize("shared", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0])
def test_nearest_legal(shared, ratio):
    family = regression("gaussian", shared=shared, least_ratio=ratio)
    before = np.array([2.0, 1e-3, 0.0])
    params = some_params("gaussian", np.random.RandomState(0), K=3)._replace(dispersion=before)
    coef = params.coef.copy()
    legal = family.nearest_legal(params)
    own = np.setdiff1d(np.arange(P), shared)
    np.testing.assert_array_equal(legal.coef[:, own], coef[:, own])
    np.testing.assert_allclose(legal.coef[:, list(shared)], np.tile(coef[:, list(shared)].mean(axis=0), (3, 1)))
    assert np.ptp(legal.coef[:, list(shared)], axis=0).sum() == 0.0
    np.testing.assert_array_equal(legal.dispersion, np.maximum(before, max(2.0 * ratio, family.floor)))
    again = family.nearest_legal(legal)
    np.testing.assert_allclose(again.coef, legal.coef, rtol=1e-15)
    np.testing.assert_array_equal(again.dispersion, legal.dispersion)
    np.testing.assert_array_equal(params.coef, coef)  # the old ones stay


@pytest.mark.parametrize("kind", KINDS)
def test_units_change_no_density(kind):
    """Parameters of standardised data, told in the user's units, give the same linear predictors."""
    X, _, _ = rows(kind)
    params = some_params(kind, np.random.RandomState(1))
    family = regression(kind)
    of_y = (0.4, 2.5) if kind == "gaussian" else (0.0, 1.0)
    units = Affine(np.array([0.0, 1.0, -3.0, of_y[0]]), np.array([1.0, 2.0, 0.1, of_y[1]]))
    rest = X.shape[1] - 4
    whole = Affine(np.r_[units.shift, np.zeros(rest)], np.r_[units.scale, np.ones(rest)])
    inside = (X - whole.shift) / whole.scale
    seen = family.density(params)(batch_of(inside)).log_prob - np.log(of_y[1])
    outside = family.density(family.in_units(params, units))(batch_of(X)).log_prob
    np.testing.assert_allclose(outside, seen, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [18, 20, 22, 24, 26])
@pytest.mark.parametrize("latent", ["weights", "gate"])
def test_counts_of_any_size_keep_their_digits(latent, size):
    rng = np.random.RandomState(0)
    z = np.column_stack([np.ones(300), rng.normal(size=(300, 2))])
    labels = rng.randint(2, size=300)
    eta = (z * np.array([[size, 0.01, 0.0], [size - 0.3, -0.01, 0.005]])[labels]).sum(axis=1)
    check_converges(latent, "poisson", z, rng.poisson(np.exp(eta))[:, None], labels)


@pytest.mark.parametrize("trials", [1e5, 1e7, 1e9, 2e9])
@pytest.mark.parametrize("latent", ["weights", "gate"])
def test_trials_of_any_number_keep_their_digits(latent, trials):
    rng = np.random.RandomState(0)
    z = np.column_stack([np.ones(300), rng.normal(size=(300, 2))])
    labels = rng.randint(2, size=300)
    chance = expit((z * np.array([[1.0, 0.01, 0.0], [-0.3, -0.01, 0.005]])[labels]).sum(axis=1))
    successes = rng.binomial(int(trials), chance)
    check_converges(latent, "trials", z, np.column_stack([successes, np.full(300, trials)]), labels)


def check_converges(latent, kind, z, y, labels):
    """From near and from rough starts, without a fall that rounding would make."""
    model, X = LatentModel(LATENTS[latent], regression(kind)), np.column_stack([z, y.astype(float)])
    for doubt in (0.02, 0.3):
        start = model.start(batch_of(X), (1 - doubt) * (labels == np.arange(K)[:, None]) + doubt / K)
        with warnings.catch_warnings():
            warnings.simplefilter("error", MonotonicityWarning)
            fit = fit_em(model, start, X)
        assert fit.converged
        counts = model.expectation(fit.params)(batch_of(X)).stats.family.weight
        np.testing.assert_allclose(np.sort(counts), np.sort(np.bincount(labels)), atol=1e-3)


@pytest.mark.parametrize("y", [1e3, 1e8, 1e11])
def test_differences_of_counts_keep_their_digits(y):
    response, step = RESPONSES["poisson"], 1e-3 / np.sqrt(y)
    eta = np.log(y) + step * np.array([[0.0], [1.0]])
    here, ahead = response.observe(eta, np.array([[y]]), np.ones(1)).log_prob[:, 0]
    assert ahead - here == pytest.approx(-0.5e-6, rel=1e-3, abs=y * 4e-16)
    # The whole of a density is none the worse.
    base = response.base_measure(np.array([[y]]))[0]
    assert here + base == pytest.approx(stats.norm.logpdf(0, scale=np.sqrt(y)), abs=1 / y + 1e-14 * y)


# -- the handicap ------------------------------------------------------------------------------------------


def handicap_of_ratios(dispersion, weight, n_own):
    """What components cost whose noise is unlike that of all, in plain numbers."""
    of_all = np.average(dispersion, weights=weight)
    return sum(
        min((one / of_all + of_all / one) / 2 - 1, 3 * (n_own + 2) * np.log(1 + n))
        for one, n in zip(dispersion, weight, strict=True)
    )


def totals_of(family, weight):
    """Statistics of which the handicap is to know no more than how many rows are whose."""
    n_components = len(weight)
    zero = np.zeros((P, P))
    score, squares = np.zeros((n_components, P)), np.zeros(n_components)
    return RegressionTotals(
        np.array(weight, dtype=float), zero, np.tile(zero, (n_components, 1, 1)), score, squares
    )


@pytest.mark.parametrize("shared", [(), (2,), (0, 1, 2)])
@pytest.mark.parametrize("least_ratio", [0.0, 1e-3])
@pytest.mark.parametrize(
    "dispersion",
    [
        [1.0, 1.0, 1.0],
        [1.0, 0.5, 0.02],
        [0.02, 2.0, 0.02],
        [1e-12, 1e-12, 1e-12],  # all on the floor: nobody gains on the others
        [1.0, 1e-3, 1e-3],  # on the least ratio
        [1e-12, 1.0, 1e-6],
    ],
)
def test_handicap_of_dispersions(dispersion, least_ratio, shared):
    family = regression("gaussian", least_ratio=least_ratio, shared=shared)
    params = RegressionParams(np.zeros((3, P)), np.array(dispersion))
    totals = totals_of(family, [40.0, 50.0, 30.0])
    expected = handicap_of_ratios(dispersion, totals.weight, P - len(shared))
    assert family.handicap(params, totals) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert (expected == 0.0) == (len(set(dispersion)) == 1)
    assert np.isfinite(expected)
    # Neither units of the response, nor the order of components.
    larger = params._replace(dispersion=7.0 * params.dispersion)
    assert family.handicap(larger, totals) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    order = np.array([2, 0, 1])
    turned = totals._replace(weight=totals.weight[order])
    assert family.handicap(family.reorder(params, order), turned) == pytest.approx(expected, abs=1e-12)
    model = LatentModel(MixtureWeights(), family)
    pair, stats = LatentPair(np.full(3, 1 / 3), params), LatentPair(totals.weight, totals)
    assert model.handicap(pair, stats) == family.handicap(params, totals)


def test_handicap_of_shared_dispersions_and_of_one_component():
    one = RegressionParams(np.zeros((1, P)), np.array([1e-12]))
    assert regression("gaussian").handicap(one, totals_of(regression("gaussian"), [2.0])) == 0.0
    family = regression("gaussian", shared_dispersion=True)
    tied = RegressionParams(np.zeros((3, P)), np.array([1e-12]))
    assert family.handicap(tied, totals_of(family, [90.0, 0.5, 29.5])) == 0.0


@pytest.mark.parametrize("shared", [(), (2,), (0, 1, 2)])
@pytest.mark.parametrize("penalty", [(), (0.0, 0.7, 2.0)])
def test_with_fewer_rows_than_coefficients_all_is_luck(shared, penalty):
    """As many rows as coefficients are always fitted exactly; a penalty sees to it that they are not."""
    family = regression("gaussian", shared=shared, penalty=penalty)
    params = RegressionParams(np.zeros((2, P)), np.array([1.0, 0.5]))
    least = 1 if penalty else P - len(shared) + 1
    assert family.handicap(params, totals_of(family, [100 - least, least])) == pytest.approx(
        handicap_of_ratios([1.0, 0.5], [100 - least, least], P - len(shared))
    )
    for weight in ([100.01 - least, least - 0.01], [least - 0.01, 100.01 - least], [100.0, 0.0]):
        assert family.handicap(params, totals_of(family, weight)) == np.inf


def test_an_empty_component_makes_no_other_rest():
    X, labels, _ = rows("gaussian")
    family = regression("gaussian", least_ratio=1e-3)
    resp = np.vstack([labels == 0, labels == 1, np.zeros(len(X))]).astype(float)
    params = RegressionParams(np.zeros((3, P)), np.array([1.0, 1.0, 1e4]))
    totals = family.density(params)(batch_of(X)).totals(resp)
    params = family.maximize(totals, params)
    assert params.dispersion[:2].min() > 0.1 * params.dispersion[:2].max()
    assert not family.at_bound(params)[:2].any()
    assert family.handicap(params, totals) == np.inf  # nothing is known of it


@pytest.mark.parametrize("kind", ["poisson", "binomial"])
def test_responses_without_dispersion_have_no_handicap(kind):
    family = regression(kind)
    params = RegressionParams(np.zeros((3, P)), np.ones(1))
    assert family.handicap(params, totals_of(family, [50.0, 0.0, 9.0])) == 0.0
    params = poissons(1.0, 2.0)
    assert POISSONS.handicap(params, POISSONS.expectation(params)(batch_of(COUNTS)).stats) == 0.0
    assert EMModel().handicap(None, None) == 0.0


def noisy_line_and_exact_one(n_exact, ratio=1e-3):
    """A model, rows of a noisy line and some of an exact one, a start that tells these apart and one not."""
    rng = np.random.RandomState(0)
    x = rng.uniform(-1, 1, size=60 + n_exact)
    y = np.r_[x[:60] + rng.normal(size=60), 1.5 - 0.5 * x[60:]]
    model = LatentModel(MixtureWeights(), Regression(RESPONSES["gaussian"], 2, least_ratio=ratio))
    exact = RegressionParams(np.array([[0.0, 1.0], [1.5, -0.5]]), np.array([1.0, ratio]))
    one = RegressionParams(np.array([[0.0, 1.0], [0.0, 1.0]]), np.ones(2))  # and EM never parts them
    starts = {"exact": LatentPair(np.array([0.9, 0.1]), exact), "one": LatentPair(np.full(2, 0.5), one)}
    return model, np.column_stack([np.ones_like(x), x, y]), starts


def handicap_at(model, params, X):
    return model.handicap(params, model.expectation(params)(batch_of(X)).stats)


@pytest.mark.parametrize(
    ("n_exact", "winner"), [(4, "one"), (10, "one"), (12, "one"), (20, "exact"), (40, "exact")]
)
@pytest.mark.parametrize("sampled", [False, True])
def test_the_handicap_decides(n_exact, winner, sampled):
    model, X, starts = noisy_line_and_exact_one(n_exact)
    fits = {kind: fit_em(model, params, X) for kind, params in starts.items()}
    gain = fits["exact"].objective - fits["one"].objective
    weight = model.expectation(fits["exact"].params)(batch_of(X)).stats.family.weight
    handicap = handicap_of_ratios(fits["exact"].params.family.dispersion, weight, 2)
    assert handicap > 3 * 4 * np.log(1 + weight[1])  # of a place and a noise in two coefficients
    assert gain > 5  # in any case the likelihood is higher where dispersions rest
    assert (gain > handicap) == (winner == "exact")
    handicaps = {"exact": handicap, "one": 0.0}
    for kind, fit in fits.items():
        assert handicap_at(model, fit.params, X) == pytest.approx(handicaps[kind], abs=1e-9)
    for kinds in (("exact", "one"), ("one", "exact"), ("exact", "exact", "one")):
        some = [Start(kind, lambda kind=kind: starts[kind]) for kind in kinds]
        result = race(model, some, X, sample=X if sampled else None)
        record = result.restarts
        assert result.best.objective == pytest.approx(fits[winner].objective, abs=1e-3)
        assert record.n_best == kinds.count(winner)
        assert record.n_maxima == 2
        assert [start.kind for start in record.starts if start.status == "best"] == [winner]
        for start in record.starts:  # told as they are, and not called spurious
            assert start.status in ("best", "finished", "dropped")
            assert start.limit == pytest.approx(fits[start.kind].objective, abs=1e-2)
            assert start.log_likelihood - start.evidence == pytest.approx(handicaps[start.kind], abs=1e-6)
        highest = race(model, some, X, sample=X if sampled else None, ranking="likelihood")
        assert highest.best.objective == pytest.approx(fits["exact"].objective, abs=1e-3)


def test_all_on_the_floor_wins_without_a_handicap():
    """Exact lines are the better fit, and no luck."""
    rng = np.random.RandomState(0)
    x = rng.uniform(-1, 1, size=60)
    y = np.where(np.arange(60) % 2, 1 + 2 * x, -1 - x)
    X = np.column_stack([np.ones(60), x, y])
    model = LatentModel(MixtureWeights(), Regression(RESPONSES["gaussian"], 2, least_ratio=1e-3))
    lines = np.array([[1.0, 2.0], [-1.0, -1.0]])
    some = [
        Start("equal", lambda: LatentPair(np.full(2, 0.5), RegressionParams(np.ones((2, 2)), np.ones(2)))),
        Start("lines", lambda: LatentPair(np.full(2, 0.5), RegressionParams(lines + 0.1, np.full(2, 0.1)))),
    ]
    best = race(model, some, X).best
    np.testing.assert_allclose(best.params.family.coef, lines, atol=1e-5)
    assert model.family.at_bound(best.params.family).all()
    assert handicap_at(model, best.params, X) == 0.0


# -- algebra -----------------------------------------------------------------------------------------------


def singular(rng, p=5, rank=3, scale=None):
    """A positive semidefinite matrix of some rank, with diagonal 1 or ``scale`` squared."""
    factor = rng.normal(size=(p, rank))
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    factor *= 1.0 if scale is None else scale[:, None]
    return factor @ factor.T


@pytest.mark.parametrize("seed", range(4))
def test_solutions_of_singular_systems_have_least_norm(seed):
    rng = np.random.RandomState(seed)
    grams = np.array([singular(rng) for _ in range(3)])
    rights = np.einsum("kij,kj->ki", grams, rng.normal(size=(3, 5)))
    found = solve(grams, rights)
    for gram, right, solution in zip(grams, rights, found, strict=True):
        np.testing.assert_allclose(solution, np.linalg.pinv(gram, rcond=1e-10) @ right, atol=1e-9)
    np.testing.assert_allclose(solve(grams[0], rights[0]), found[0], rtol=1e-13)


def test_the_norm_is_that_of_columns_of_one_size():
    rng = np.random.RandomState(0)
    size = np.array([1e-6, 0.1, 1.0, 30.0, 1e7])
    gram = singular(rng, scale=size)
    right = gram @ (rng.normal(size=5) / size)
    solution = solve(gram, right)
    np.testing.assert_allclose((gram @ solution) / size, right / size, atol=1e-9)
    scaled = np.linalg.pinv(gram / np.outer(size, size), rcond=1e-10) @ (right / size)
    np.testing.assert_allclose(solution * size, scaled, atol=1e-9)
    np.testing.assert_allclose(spectrum(gram)[2], size)


def test_absent_columns_get_nothing():
    gram = np.diag([2.0, 0.0, 4.0])
    np.testing.assert_allclose(solve(gram, np.array([2.0, 0.0, 1.0])), [1.0, 0.0, 0.25])
    np.testing.assert_array_equal(solve(np.zeros((2, 2)), np.zeros(2)), [0.0, 0.0])


def test_regular_systems_are_solved():
    rng = np.random.RandomState(0)
    z = rng.normal(size=(6, 40)) * np.logspace(-4, 4, 6)[:, None]
    grams = weighted_gram(rng.uniform(size=(2, 40)), z)
    truth = rng.normal(size=(2, 6)) / np.logspace(-4, 4, 6)
    np.testing.assert_allclose(solve(grams, np.einsum("kij,kj->ki", grams, truth)), truth, rtol=1e-9)


def test_weighted_gram_from_loops():
    rng = np.random.RandomState(0)
    weight, z = rng.uniform(size=(2, 7)), rng.normal(size=(3, 7))
    expected = [sum(w * np.outer(v, v) for w, v in zip(row, z.T, strict=True)) for row in weight]
    np.testing.assert_allclose(weighted_gram(weight, z), expected)


# -- tables side by side -----------------------------------------------------------------------------------


def parts_of(kind, tmp_path, n=37):
    rng = np.random.RandomState(0)
    first, second, third = rng.normal(size=(n, 2)), rng.normal(size=(n, 3)), rng.normal(size=n)
    if kind == "float32":
        second = second.astype(np.float32)
    elif kind == "memmap":
        file = np.memmap(tmp_path / "part", dtype=np.float64, mode="w+", shape=second.shape)
        file[:] = second
        second = file
    elif kind == "fortran":
        second = np.asfortranarray(second)
    elif kind == "broadcast":
        first = np.broadcast_to(1.0, (n, 1))
    return first, second, third


ROWS = [
    slice(None), slice(5, 20), slice(30, 99), slice(3, 3), slice(None, None, 3), np.array([4, 4, 0, 36]),
    np.array([], dtype=int),
]  # fmt: skip


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["plain", "float32", "memmap", "fortran", "broadcast"])
def test_side_by_side_is_hstack(kind, ordered, tmp_path):
    parts = parts_of(kind, tmp_path)
    order = np.random.RandomState(1).permutation(37)[:30] if ordered else None
    table = SideBySide(*parts, order=order)
    whole = np.column_stack(parts)[slice(None) if order is None else order]
    assert table.shape == whole.shape
    assert len(table) == len(whole)
    assert table.ndim == 2
    for chosen in ROWS:
        if isinstance(chosen, np.ndarray):
            chosen = chosen[chosen < len(whole)]
        taken = table[chosen]
        assert taken.dtype == np.float64
        np.testing.assert_array_equal(taken, whole[chosen])
        taken[...] = 0.0  # a copy
    np.testing.assert_array_equal(table[:], whole)


@pytest.mark.parametrize("lengths", [None, [10, 3, 17, 7]])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["plain", "float32", "memmap"])
def test_side_by_side_in_batches(kind, ordered, lengths, tmp_path):
    parts = parts_of(kind, tmp_path)
    order = np.random.RandomState(1).permutation(37) if ordered else None
    whole = np.column_stack(parts)[slice(None) if order is None else order]
    units = Affine(np.linspace(-1, 1, 6), np.linspace(0.5, 4, 6))
    weight = np.random.RandomState(2).uniform(size=37)
    found = Batches(SideBySide(*parts, order=order), weight, lengths=lengths, rows=8, units=units)
    expected = Batches(whole, weight, lengths=lengths, rows=8, units=units)
    for batch, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(batch.x, other.x)
        np.testing.assert_array_equal(batch.weight, other.weight)
    if lengths is None:
        stacked = np.hstack([batch.x for batch in found]).T
        np.testing.assert_allclose(stacked, (whole - units.shift) / units.scale)


@pytest.mark.parametrize("lengths", [[10, 3, 17, 7], [1] * 37, [37]])
@pytest.mark.parametrize("size", [4, 100])
def test_sequences_with_weights_of_rows(lengths, size):
    X, weight = np.arange(37.0)[:, None], np.random.RandomState(0).uniform(size=37)
    seen = []
    for batch in Batches(X, weight, lengths=lengths, rows=size):
        np.testing.assert_array_equal(batch.weight, weight[batch.x[0].astype(int)])
        assert batch.total_weight == pytest.approx(batch.weight.sum())
        seen += batch.x[0].tolist()
    assert sorted(seen) == list(range(37))


def test_weights_of_neither_rows_nor_sequences_are_refused():
    with pytest.raises(ValueError, match=r"37 rows in 3 sequences, but weights of shape \(4,\)"):
        Batches(np.zeros((37, 1)), np.ones(4), lengths=[10, 20, 7])


# -- the engine: M-steps that may be shortened -------------------------------------------------------------


class Mean(NamedTuple):
    mean: np.ndarray  # (1,)


class Leap(EMModel):
    """The mean of normal rows of variance 1, by steps that are too long."""

    def __init__(self, factor=lambda error: 40.0):
        self.factor = factor

    def expectation(self, params):
        def e_step(batch):
            error = batch.x[0] - params.mean[0]
            log_prob = -0.5 * (error**2 + np.log(2 * np.pi))
            return EStep(np.array([batch.sum(batch.x[0]), batch.total_weight]), batch.sum(log_prob),
                         batch.total_weight)  # fmt: skip

        return e_step

    def maximize(self, stats, params):
        error = stats[0] / stats[1] - params.mean
        return Mean(params.mean + self.factor(error) * error)


class ShortenedLeap(Leap):
    def shortened(self, stats, params, attempt):
        step = self.maximize(stats, params).mean - params.mean
        return Mean(params.mean + 0.5**attempt * step)


class StubbornLeap(Leap):
    asked = last = 0

    def shortened(self, stats, params, attempt):
        self.asked += 1
        assert attempt in (1, self.last + 1)
        self.last = attempt
        return self.maximize(stats, params)


X_OF_LEAPS = np.random.RandomState(0).normal(3.0, 1.0, size=(50, 1))


FACTORS = {
    "by half": lambda error: 1.5,
    "twice and more": lambda error: 2.5,
    "far": lambda error: 1 + 10 * error**2,
    "very far": lambda error: 1 + 1e5 * error**2,
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("acceleration", ["none", "squarem", "secant", "auto"])
def test_an_overshooting_m_step_is_shortened(factor, acceleration):
    model = ShortenedLeap(FACTORS[factor])
    fit = fit_em(model, Mean(np.zeros(1)), X_OF_LEAPS, acceleration=acceleration)
    assert fit.converged
    assert fit.params.mean[0] == pytest.approx(X_OF_LEAPS.mean(), abs=2e-3)
    assert (np.diff(fit.history) >= -1e-11 * (abs(fit.objective) + 50)).all()
    check_monotone(model, Mean(np.zeros(1)), X_OF_LEAPS)


def test_an_m_step_that_overshoots_at_the_maximum_is_shortened():
    check_monotone(ShortenedLeap(), Mean(np.zeros(1)), X_OF_LEAPS)


def test_an_overshooting_m_step_that_cannot_be_shortened_warns():
    with pytest.warns(MonotonicityWarning, match="objective fell by"):
        fit = fit_em(Leap(), Mean(np.zeros(1)), X_OF_LEAPS)
    assert not fit.converged


def test_shortening_ends():
    model = StubbornLeap()
    with pytest.warns(MonotonicityWarning, match="objective fell by"):
        fit_em(model, Mean(np.zeros(1)), X_OF_LEAPS)
    assert 1 < model.asked <= 30


def far_poisson(coef):
    rng = np.random.RandomState(0)
    x = rng.normal(size=80)
    y = rng.poisson(np.where(np.arange(80) % 2, np.exp(3.0 + 0.5 * x), np.exp(1.0 - 0.5 * x)))
    X = np.column_stack([np.ones(80), x, y])
    model = LatentModel(MixtureWeights(), Regression(RESPONSES["poisson"], 2))
    return model, LatentPair(np.array([0.5, 0.5]), RegressionParams(np.array(coef), np.ones(1))), X


@pytest.mark.parametrize(
    "coef",
    [
        pytest.param([[-5.0, 0.0], [2.0, 0.0]], id="low"),  # one component far too low: its step is e^5 long
        pytest.param([[-5.0, 0.0], [-6.0, 0.0]], id="both low"),
        pytest.param([[8.0, 0.0], [2.0, 0.0]], id="high"),  # one far too high: it comes down by 1 at a time
        pytest.param([[8.0, 3.0], [9.0, -3.0]], id="both high"),
    ],
)
def test_far_overshoot_of_newton_rises(coef):
    model, params, X = far_poisson(coef)
    for acceleration in ("none", "auto"):
        fit = fit_em(model, params, X, acceleration=acceleration)
        assert fit.converged
        assert np.isfinite(fit.history).all()
        assert (np.diff(fit.history) >= -1e-10 * (abs(fit.objective) + 80)).all()
    check_monotone(model, params, X)


@pytest.mark.parametrize(
    "coef", [[[-5.0, 0.0], [-6.0, 0.0]], [[8.0, 3.0], [9.0, -3.0]], [[-12.0, 0.0], [-13.0, 0.0]]]
)
def test_far_starts_arrive_where_near_ones_do(coef):
    model, params, X = far_poisson(coef)
    near = fit_em(model, far_poisson([[1.2, -0.4], [2.9, 0.4]])[1], X)
    assert fit_em(model, params, X).objective == pytest.approx(near.objective, abs=1e-3)


# -- the engine: starts that place components anew ---------------------------------------------------------

COUNTS = np.repeat(np.arange(10.0), [16, 27, 27, 18, 11, 6, 3, 1, 1, 1])[:, None]
POISSONS = LatentModel(MixtureWeights(), Poisson())


def poissons(a, b):
    return LatentPair(np.array([0.4, 0.6]), PoissonParams(np.array([[a], [b]])))


def starts_with(reseed, n=6):
    return [Start("some", lambda i=i: poissons(1.0 + 0.1 * i, 3.0), reseed) for i in range(n)]


def test_reseed_that_answers_none_changes_nothing():
    asked = []
    result = race(POISSONS, starts_with(lambda params: asked.append(params)), COUNTS)
    plain = race(POISSONS, starts_with(None), COUNTS)
    assert result.best.history == plain.best.history
    assert [start.n_reseeded for start in result.restarts.starts] == [0] * 6
    assert len(asked) >= 6  # after each stage of each start
    assert all(isinstance(params, LatentPair) for params in asked)


def test_reseed_is_asked_after_each_stage():
    asked = [0]

    def reseed(params):
        asked[0] += 1

    race(POISSONS, [Start("one", lambda: poissons(1.0, 3.0), reseed)], COUNTS)
    assert asked[0] == 2  # after the first steps, and at the end


def test_reseed_at_most_a_few_times():
    asked = []

    def reseed(params):
        asked.append(params)
        return poissons(0.5 + 0.2 * len(asked), 4.0)

    result = race(POISSONS, [Start("one", lambda: poissons(1.0, 3.0), reseed)], COUNTS)
    (start,) = result.restarts.starts
    assert MAX_RESEEDED == 3
    assert len(asked) == start.n_reseeded == 3
    assert result.best.converged
    # The history is that since it was last reseeded.
    there = fit_em(POISSONS, poissons(1.1, 4.0), COUNTS)
    assert result.best.history[0] == pytest.approx(there.history[0])
    assert start.history == result.best.history


def test_a_race_on_a_sample_may_have_a_model_of_its_own():
    """Half of all rows, and half the penalty: what wins there is fitted to all rows with all of it."""
    X, labels, _ = rows("gaussian", n=200)
    families = (regression("gaussian", penalty=3 * (ridge,)) for ridge in (40.0, 20.0))
    model, half = (LatentModel(MixtureWeights(), family) for family in families)
    resp = 0.8 * (labels == np.arange(K)[:, None]) + 0.1
    starts = [Start("near", lambda: model.start(batch_of(X), resp)) for _ in range(2)]
    result = race(model, starts, X, sample=X[::2], sample_model=half, tol=1e-10)
    alone = fit_em(model, starts[0].make(), X, tol=1e-10)
    assert result.best.objective == pytest.approx(alone.objective, abs=1e-8)
    of_half = fit_em(half, starts[0].make(), X[::2], tol=1e-10)
    assert result.restarts.starts[0].limit == pytest.approx(of_half.objective, abs=1e-8)


# -- the race: what is projected -----------------------------------------------------------------------------


def hard_data(name):
    """An estimator, and rows and responses that do not make its race easy."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(600, 3))
    logit = np.where(X[:, 0] > 0.2, 2 + 3 * X[:, 1], -1 - 2 * X[:, 1] + X[:, 2]) + 0.5 * rng.normal(size=600)
    match name:
        case "classes":
            return MixtureOfExpertsClassifier(alpha=0.0), X, rng.uniform(size=600) < expit(logit)
        case "classes apart":
            return MixtureOfExpertsClassifier(alpha=0.0), X, logit > 0
        case "few rows":
            return MixtureOfExperts(family="binomial"), X[:60], (logit > 0)[:60]
        case "regressions":
            return MixtureOfLinearRegressions(3, shared_variance=True), X[:80], logit[:80]
        case "experts":
            return MixtureOfExperts(3, shared_variance=True), X[:150], logit[:150]
        case _:
            y = rng.poisson(np.exp(logit[:150] / 3))
            return MixtureOfLinearRegressions(3, family="poisson"), X[:150], y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # some run away
@pytest.mark.parametrize("seed", some_slow(range(2), [0]))
@pytest.mark.parametrize(
    "name",
    some_slow(
        ["classes", "classes apart", "few rows", "regressions", "experts", "counts"],
        ["classes apart", "counts"],
    ),
)
def test_no_start_stands_higher_than_the_winner(name, seed):
    estimator, X, y = hard_data(name)
    fitted = estimator.set_params(random_state=seed).fit(X, y)
    starts = fitted.restarts_.starts
    (best,) = (start for start in starts if start.status == "best")
    sound = [start for start in starts if start.status in ("finished", "dropped")]
    # Within 0.01 nats fits are the same. There is no handicap where variances are shared or none.
    assert best.log_likelihood >= max(start.log_likelihood for start in sound) - 0.011
    if name == "classes":
        assert fitted.log_likelihood_ == pytest.approx(-228.91, abs=0.01)
    # No rate beyond the slowest is believed.
    for start in starts:
        if start.status != "failed" and len(start.history) > 4:
            most = np.max(np.diff(start.history[-4:])) * SLOWEST / (1 - SLOWEST)
            assert start.limit - start.log_likelihood <= most * (1 + 1e-9) + 1e-9


def test_reseed_recovers_a_lost_component():
    lost = LatentPair(np.array([1.0, 0.0]), PoissonParams(np.array([[2.0], [9.0]])))

    def reseed(params):
        return poissons(1.0, 3.0) if params.latent.min() < 1e-9 else None

    result = race(POISSONS, [Start("lost", lambda: lost, reseed)], COUNTS)
    assert result.restarts.starts[0].n_reseeded == 1
    good = fit_em(POISSONS, poissons(1.0, 3.0), COUNTS)
    assert result.best.objective == pytest.approx(good.objective, abs=1e-3)


def test_a_reseed_that_fails_is_a_start_that_fails():
    def reseed(params):
        raise np.linalg.LinAlgError("not here")

    starts = [*starts_with(reseed, 1), *starts_with(None, 2)]
    record = race(POISSONS, starts, COUNTS).restarts.starts
    assert record[0].status == "failed"
    assert "not here" in record[0].message


# -- statistics about other parameters ---------------------------------------------------------------------


def two_places(kind, size, **options):
    """A family, and totals with the same responsibilities at two places that are ``size`` apart."""
    X, _, _ = rows(kind, options.get("has_offset", False))
    family, rng = regression(kind, **options), np.random.RandomState(1)
    old = RegressionParams(COEF, np.array([0.2, 0.5]) if kind == "gaussian" else np.ones(1))
    new = old._replace(coef=COEF + size * rng.normal(size=COEF.shape))
    resp = rng.dirichlet(np.ones(K), size=len(X)).T
    here, there = (family.density(place)(batch_of(X)).totals(resp) for place in (old, new))
    return family.recentred(here, old, new), there


@pytest.mark.parametrize("options", ["plain", "penalty", "shared", "offset"])
def test_statistics_of_normal_noise_can_be_told_about_other_parameters(options):
    assert_same(*two_places("gaussian", 1.0, **OPTIONS[options]), rtol=1e-9)


@pytest.mark.parametrize("kind", ["poisson", "trials"])
def test_scores_elsewhere_are_told_to_first_order(kind):
    """Half as far away the error is a quarter."""
    errors = []
    for size in (1e-3, 5e-4):
        told, there = two_places(kind, size)
        errors.append(np.abs(told.score - there.score).max())
    assert 3.5 < errors[0] / errors[1] < 4.5
