"""The laws of Markov chains: against all paths one by one, and in logarithms where these are too many."""

import tracemalloc
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import optimize, stats

from emlearn.em import ACCELERATIONS, Batches, LatentModel, LatentPair, Observed, batches, fit_em
from emlearn.em.model import by_blocks
from emlearn.families import COVARIANCE_SHAPES, Gaussian, MissingRows, Poisson, PoissonParams
from emlearn.latent import _chain_numpy, markov_chain
from emlearn.latent.known import possible_states
from emlearn.latent.markov_chain import (
    ChainParams,
    ChainStats,
    MarkovChain,
    _fit_stationary,
    stationary_distribution,
)
from emlearn.testing import check_model
from tests.helpers.families import EACH_KIND_OF_FAMILY, FAMILIES, K
from tests.helpers.kernels import COMPILED, needs_compiled, on_both_kernels
from tests.helpers.pace import some_slow
from tests.helpers.trees import assert_same

INF, NAN = np.inf, np.nan
# -- what is tested: everything that a chain says about sequences whose log-densities are given ------------


class Inference(NamedTuple):
    """What follows from log-densities, in the order of the rows."""

    evidence: Any  # (n_sequences,)
    posterior: Any  # (n, K)
    first: Any  # (K,) weighted
    pairs: Any  # (K, K) weighted
    filtered: Any  # (n, K)
    predictive: Any  # (n,)


@dataclass
class Problem:
    start: Any
    transition: Any
    log_prob: Any  # (n, K)
    lengths: Any
    weight: Any = None
    labels: Any = None
    beta: float = 1.0

    @property
    def params(self):
        return ChainParams(np.array(self.start, dtype=float), np.array(self.transition, dtype=float))

    @property
    def weights(self):
        return np.ones(len(self.lengths)) if self.weight is None else self.weight

    def batches(self, **cut):
        """Batches whose observations are the log-densities themselves."""
        return Batches(self.log_prob, self.weight, lengths=self.lengths, labels=self.labels, **cut)

    def logs(self):
        """Tempered logarithms: of start and transition, and the log-densities of each sequence."""
        with np.errstate(divide="ignore"):
            start, transition = np.log(self.params.start), np.log(self.params.transition)
        log_prob = np.array(self.log_prob, dtype=float)
        if self.labels is not None:
            log_prob[~possible_states(self.labels, len(start)).T] = -INF
        beta = self.beta
        return beta * start, beta * transition, np.split(beta * log_prob, np.cumsum(self.lengths)[:-1])


def infer(problem, **cut):
    """All that the chain's passes say."""
    chain = MarkovChain()
    params, (n, K) = problem.params, np.shape(problem.log_prob)
    out = Inference(
        np.full(len(problem.lengths), NAN),
        np.full((n, K), NAN),
        np.zeros(K),
        np.zeros((K, K)),
        np.full((n, K), NAN),
        np.full(n, NAN),
    )
    total = 0.0
    for batch in problem.batches(**cut):
        resp, expected, evidence = chain.posterior(params, batch.x.copy(), batch, problem.beta)
        out.posterior[batch.rows] = (resp if batch.weight is None else resp / batch.weight).T
        out.first[:] += expected.first
        out.pairs[:] += expected.pairs
        total += evidence
        passed = chain.filter(params, batch.x.copy(), batch)
        out.filtered[batch.rows], out.predictive[batch.rows] = passed.filtered.T, passed.predictive
        for lane, sequence in enumerate(batch.sequences):
            out.evidence[sequence] = passed.predictive[batch.lanes.columns(lane)].sum()
    if problem.beta == 1.0:
        assert total == pytest.approx(problem.weights @ out.evidence, rel=1e-12, abs=1e-10)
        return out
    return out._replace(evidence=total)


def viterbi(problem, **cut):
    path = np.full(len(problem.log_prob), -1)
    log_joint = np.full(len(problem.lengths), NAN)
    for batch in problem.batches(**cut):
        path[batch.rows], log_joint[batch.sequences] = MarkovChain().viterbi(
            problem.params, batch.x.copy(), batch
        )
    return path, log_joint


def assert_inferred(found, expected, tol=1e-10):
    scale = 1 + np.abs(expected.predictive[np.isfinite(expected.predictive)]).max(initial=0.0)
    for name, a, b in zip(Inference._fields, found, expected, strict=True):
        if found.evidence is a or name == "predictive":
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-3 * tol * scale, err_msg=name)
        else:
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol, err_msg=name)


# -- references --------------------------------------------------------------------------------------------


def log_sum(terms, axis):
    top = terms.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(terms - top).sum(axis=axis)) + np.squeeze(top, axis)


def all_paths(K, T):
    return np.array(list(product(range(K), repeat=T)))


def log_joints(paths, log_start, log_transition, log_prob):
    steps = log_transition[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return log_start[paths[:, 0]] + steps + log_prob[np.arange(len(log_prob)), paths].sum(axis=1)


def enumerate_paths(problem):
    """`Inference` by the sum over all paths; one tempered evidence where the problem has a temperature."""
    log_start, log_transition, sequences = problem.logs()
    K = len(log_start)
    posterior, filtered, predictive, evidence = [], [], [], []
    first, pairs = np.zeros(K), np.zeros((K, K))
    for log_prob, weight in zip(sequences, problem.weights, strict=True):
        before = 0.0
        for t in range(1, len(log_prob) + 1):
            paths = all_paths(K, t)
            joint = log_joints(paths, log_start, log_transition, log_prob[:t])
            total = float(log_sum(joint, 0))
            share = np.exp(joint - total) if total > -INF else np.zeros(len(paths))
            filtered.append([share[paths[:, -1] == k].sum() for k in range(K)])
            predictive.append(total - before if total > -INF else -INF)
            before = total
        evidence.append(total)
        state = paths[:, :, None] == np.arange(K)
        posterior.extend(np.einsum("p,ptk->tk", share, state))
        first += weight * np.einsum("p,pk->k", share, state[:, 0])
        pairs += weight * np.einsum("p,pti,ptj->ij", share, state[:, :-1], state[:, 1:])
    evidence = np.array(evidence) / problem.beta
    if problem.beta != 1.0:
        evidence = evidence @ problem.weights
    return Inference(evidence, *map(np.array, (posterior, first, pairs, filtered, predictive)))


def in_logs(problem):
    """`Inference` by recursions in logarithms, all sequences at once."""
    log_start, log_transition, sequences = problem.logs()
    K, lengths = len(log_start), np.asarray(problem.lengths)
    n, T = len(lengths), max(lengths)
    log_prob = np.zeros((n, T, K))
    for own, rows in zip(log_prob, sequences, strict=True):
        own[: len(rows)] = rows
    alpha, step = np.empty((n, T, K)), np.empty((n, T))
    for t in range(T):
        prior = log_sum(alpha[:, t - 1, :, None] + log_transition, 1) if t else log_start
        alpha[:, t] = prior + log_prob[:, t]
        step[:, t] = log_sum(alpha[:, t], 1)
        alpha[:, t] -= np.where(np.isfinite(step[:, t]), step[:, t], 0.0)[:, None]
    exists = np.arange(T) < lengths[:, None]
    evidence = np.where(exists, step, 0.0).sum(axis=1)
    possible = evidence > -INF
    beta = np.zeros((n, T, K))
    pairs = np.zeros((K, K))
    weights = problem.weights * possible
    for t in range(T - 2, -1, -1):
        ahead = log_prob[:, t + 1] + beta[:, t + 1]
        ahead -= np.where(np.isfinite(step[:, t + 1]), step[:, t + 1], 0.0)[:, None]
        odds = log_transition + ahead[:, None, :]
        here = exists[:, t + 1]
        beta[:, t] = np.where(here[:, None], log_sum(odds, 2), 0.0)
        with np.errstate(over="ignore"):
            chances = np.exp(np.where((here & possible)[:, None, None], alpha[:, t, :, None] + odds, -INF))
        pairs += np.einsum("n,nij->ij", weights, chances)
    posterior = np.exp(np.where(possible[:, None, None], alpha + beta, -INF))
    first = weights @ posterior[:, 0]
    return Inference(evidence, posterior[exists], first, pairs, np.exp(alpha)[exists], step[exists])


# -- against all paths -------------------------------------------------------------------------------------


def random_problem(
    seed,
    K,
    n_sequences,
    longest,
    *,
    spread=1.0,
    holes=0.0,
    zeros="",
    known=0.0,
    sets=0.0,
    weighted=False,
    beta=1.0,
):
    """Random chain and log-densities.

    ``spread`` scales log-densities, ``holes`` is the share of them that is -inf, ``known`` that of labels,
    ``sets`` that of steps at which some states are not possible.
    """
    rng = np.random.RandomState(seed)
    start, transition = rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), size=K)
    if "left-right" in zeros:
        transition = np.triu(transition)
    if "mask" in zeros:
        circle = np.roll(np.eye(K, dtype=bool), 1, axis=1)
        transition *= (rng.uniform(size=(K, K)) < 0.6) | circle
    if "start" in zeros:
        start *= np.arange(K) == rng.randint(K)
    lengths = rng.randint(1, longest + 1, size=n_sequences)
    n = lengths.sum()
    log_prob = spread * rng.normal(size=(n, K))
    log_prob[rng.uniform(size=(n, K)) < holes] = -INF
    labels = np.where(rng.uniform(size=n) < known, rng.randint(K, size=n), -1) if known else None
    if sets:
        labels = (rng.uniform(size=(n, K)) < 0.5) | (np.arange(K) == rng.randint(K, size=(n, 1)))
        labels |= rng.uniform(size=(n, 1)) > sets
    return Problem(
        start / start.sum(),
        transition / transition.sum(axis=1, keepdims=True),
        log_prob,
        lengths,
        rng.uniform(0.5, 2.0, size=n_sequences) if weighted else None,
        labels,
        beta,
    )


SCENARIOS = {
    "plain": {},
    "weights": {"weighted": True},
    "labels": {"known": 0.4},
    "sets": {"sets": 0.6},
    "sets and zeros": {"sets": 0.3, "zeros": "mask", "spread": 1e3},
    "left-right": {"zeros": "left-right"},
    "mask": {"zeros": "mask"},
    "start zeros": {"zeros": "start"},
    "holes": {"holes": 0.2},
    "spread 1e3": {"spread": 1e3},
    "spread 1e5": {"spread": 1e5},
    "zeros everywhere": {"zeros": "mask start", "holes": 0.1, "spread": 1e3, "known": 0.1, "weighted": True},
    "annealed": {"beta": 0.3, "weighted": True},
    "annealed, hard": {"beta": 0.5, "zeros": "left-right start", "spread": 1e3, "holes": 0.1},
    "cooled": {"beta": 2.5, "zeros": "mask"},
}


@cache
def scenario(name, K):
    seed = 100 * list(SCENARIOS).index(name) + K
    n_sequences = {1: 1, 2: 20, 3: 11}[K]
    problem = random_problem(seed, K, n_sequences, 6 if K < 3 else 5, **SCENARIOS[name])
    return problem, enumerate_paths(problem)


@on_both_kernels
@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize("name", SCENARIOS)
def test_inference_is_the_sum_over_all_paths(name, K):
    problem, expected = scenario(name, K)
    if problem.beta == 1.0:
        assert_inferred(infer(problem), expected)
        return
    found = infer(problem)
    for part in ("evidence", "posterior", "first", "pairs"):
        np.testing.assert_allclose(getattr(found, part), getattr(expected, part), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SCENARIOS)
def test_reference_in_logs_is_the_sum_over_all_paths(name):
    problem, expected = scenario(name, 3)
    if problem.beta == 1.0:
        assert_inferred(in_logs(problem), expected)


@on_both_kernels
@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name, how in SCENARIOS.items() if "beta" not in how])
def test_viterbi_is_the_best_of_all_paths(name, K):
    problem, _ = scenario(name, K)
    log_start, log_transition, sequences = problem.logs()
    path, log_joint = viterbi(problem)
    parts = np.split(path, np.cumsum(problem.lengths)[:-1])
    for own, found, log_prob in zip(parts, log_joint, sequences, strict=True):
        best = log_joints(all_paths(K, len(own)), log_start, log_transition, log_prob).max()
        assert found == pytest.approx(best, rel=1e-13, abs=1e-12)
        assert log_joints(own[None], log_start, log_transition, log_prob)[0] == pytest.approx(best, rel=1e-13)


def test_of_equally_good_paths_viterbi_takes_the_first(kernel):
    """From the end: the first of the best last states, then of its best predecessors, and so on."""
    rng = np.random.RandomState(0)
    for case in range(40):
        K, lanes = 2 + case % 2, 1 + case % 3
        lengths = np.sort(rng.randint(1, 6, size=lanes))[::-1].astype(np.intp)
        log_start = -rng.randint(0, 2, size=K).astype(float)
        log_transition = -rng.randint(0, 2, size=(K, K)).astype(float)
        log_transition[rng.uniform(size=(K, K)) < 0.15] = -INF
        rows = [-rng.randint(0, 2, size=(T, K)).astype(float) for T in lengths]
        batch = next(iter(Batches(np.vstack(rows), lengths=lengths)))
        path = np.empty(lengths.sum(), dtype=np.intp)
        kernel.viterbi(batch.x.copy(), log_start, log_transition, batch.lanes.n_active, path)
        for lane, log_prob in enumerate(rows):
            paths = all_paths(K, len(log_prob))
            joint = log_joints(paths, log_start, log_transition, log_prob)
            if joint.max() > -INF:
                first = min(paths[joint == joint.max()].tolist(), key=lambda states: states[::-1])
                assert path[batch.lanes.columns(lane)].tolist() == first


@on_both_kernels
@pytest.mark.parametrize("name", ["plain", "mask", "holes", "labels", "spread 1e3", "zeros everywhere"])
def test_paths_are_drawn_from_the_posterior(name):
    problem, _ = scenario(name, 3)
    log_start, log_transition, sequences = problem.logs()
    evidence = enumerate_paths(problem).evidence
    chosen = max(np.flatnonzero(evidence > -INF), key=lambda i: (problem.lengths[i] < 5, problem.lengths[i]))
    other = np.zeros((3, 3))  # sequences of another length draw beside it
    n_draws = 2000
    T = problem.lengths[chosen]
    log_prob = np.vstack([*[sequences[chosen], other] * n_draws])
    repeated = Problem(problem.start, problem.transition, log_prob, [T, 3] * n_draws)
    batch = next(iter(repeated.batches(rows=10**6)))
    drawn = np.empty(len(log_prob), dtype=int)
    rng = np.random.RandomState(5)
    drawn[batch.rows] = MarkovChain().draw_paths(repeated.params, batch.x.copy(), batch, rng)
    codes = drawn.reshape(n_draws, T + 3)[:, :T] @ 3 ** np.arange(T)[::-1]
    joint = log_joints(all_paths(3, T), log_start, log_transition, sequences[chosen])
    expected = np.exp(joint - log_sum(joint, 0))
    counts = np.bincount(codes, minlength=len(expected))
    assert not counts[expected == 0].any()
    rare = expected * n_draws < 5
    pooled = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    excess = (pooled[0] - n_draws * pooled[1]) ** 2 / np.maximum(n_draws * pooled[1], 1.0)
    assert stats.chi2.sf(excess.sum(), df=len(excess)) > 1e-3


# -- densities of families ---------------------------------------------------------------------------------


# A step may be missing as a whole, whatever the family.
EMISSIONS = {
    name: example if example.takes_missing else replace(example, family=MissingRows(example.family))
    for name, example in FAMILIES.items()
}
CHAIN = ChainParams(np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.25, 0.75]]))


def emitted(name, lengths, missing=0.0):
    """Observations of sequences, some steps missing as a whole."""
    seen, rng, states = EMISSIONS[name], np.random.RandomState(1), []
    for T in lengths:
        states.append(int(rng.uniform() < CHAIN.start[1]))
        for _ in range(T - 1):
            states.append(int(rng.uniform() < CHAIN.transition[states[-1], 1]))
    X = seen.rows(rng, np.array(states))
    X[rng.uniform(size=len(X)) < missing] = NAN
    return X


@on_both_kernels
@pytest.mark.parametrize("name", some_slow(EMISSIONS, EACH_KIND_OF_FAMILY))
def test_likelihood_of_families_is_the_sum_over_all_paths(name):
    seen, lengths = EMISSIONS[name], [6, 1, 3, 5, 1, 2]
    X = emitted(name, lengths, missing=0.3)
    log_prob = np.array([[0.0 if np.isnan(x).all() else seen.log_density(x, k) for k in range(K)] for x in X])
    weight = np.array([1.0, 0.5, 2.0, 1.5, 3.0, 0.7])
    expected = enumerate_paths(Problem(*CHAIN, log_prob, lengths, weight))
    model = LatentModel(MarkovChain(), seen.family)
    found = Batches(X, weight, lengths=lengths).sum(model.expectation(LatentPair(CHAIN, seen.params)))
    assert found.log_likelihood == pytest.approx(expected.evidence @ weight, rel=1e-11)
    np.testing.assert_allclose(found.stats.latent.first, expected.first, atol=1e-10)
    np.testing.assert_allclose(found.stats.latent.pairs, expected.pairs, atol=1e-10)


# -- exact whatever underflows -----------------------------------------------------------------------------


def one_sequence(start, transition, log_prob):
    return Problem(np.array(start), np.array(transition), np.array(log_prob, dtype=float), [len(log_prob)])


def assert_exact(problem, tol=1e-9):
    found, expected = infer(problem), in_logs(problem)
    assert not any(np.isnan(part).any() for part in found)
    assert_inferred(found, expected, tol)


def returning(depth=1000.0, steps=100, pace=20.0, before=0, after=0):
    """State 0 is less probable by exp(-depth) at one step, and more by exp(pace) at each of those after."""
    log_prob = np.zeros((before + 1 + steps + after, 2))
    log_prob[before, 0] = -depth
    log_prob[before + 1 : before + 1 + steps, 1] = -pace
    return log_prob


LEFT_RIGHT = [[0.9, 0.1], [0.0, 1.0]]


@on_both_kernels
@pytest.mark.parametrize(("before", "after"), [(0, 0), (5, 0), (0, 7), (3, 3)])
def test_a_flushed_state_comes_back(before, after):
    problem = one_sequence([0.5, 0.5], LEFT_RIGHT, returning(before=before, after=after))
    assert in_logs(problem).posterior[before, 0] > 0.99
    assert_exact(problem)


@on_both_kernels
def test_paths_that_come_back_are_drawn():
    problem = one_sequence([0.5, 0.5], LEFT_RIGHT, returning())
    batch = next(iter(problem.batches()))
    path = MarkovChain().draw_paths(problem.params, batch.x.copy(), batch, np.random.RandomState(0))
    assert in_logs(problem).posterior[:90, 0].min() > 0.99
    assert not path[:90].any()


@on_both_kernels
def test_flushed_states_come_back_beside_others_that_do_not():
    rng = np.random.RandomState(0)
    parts = [returning(depth, 20, pace) for depth in (400.0, 470.0, 800.0) for pace in (0.1, 23.0, 40.0)]
    parts += [rng.normal(size=(T, 2)) for T in (1, 30, 7)]
    lengths = [len(part) for part in parts]
    weight = rng.uniform(0.5, 2.0, size=len(parts))
    labels = np.full(sum(lengths), -1)
    labels[5] = 1
    problem = Problem([0.5, 0.5], LEFT_RIGHT, np.vstack(parts), lengths, weight, labels)
    assert_exact(problem)
    for beta in (0.4, 2.0):
        problem.beta = beta
        expected, total = in_logs(problem), infer(problem)
        assert total.evidence == pytest.approx(weight @ expected.evidence / beta, rel=1e-12)
        np.testing.assert_allclose(total.posterior, expected.posterior, atol=1e-9)
        np.testing.assert_allclose(total.pairs, expected.pairs, atol=1e-9)


@on_both_kernels
@pytest.mark.parametrize("transition", [[[0.7, 0.3], [0.2, 0.8]], LEFT_RIGHT, [[0.0, 1.0], [1.0, 0.0]]])
@pytest.mark.parametrize("start", [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
@pytest.mark.parametrize("where", [0, 4, 9])
def test_an_outlier_of_500_sigma(where, start, transition):
    x = np.random.RandomState(0).normal(size=10)
    for outlier in (500.0, -500.0):
        x[where] = outlier
        assert_exact(one_sequence(start, transition, stats.norm([0.0, 3.0]).logpdf(x[:, None])))


TINY = {
    "tiny": ([0.5, 0.5], [[1.0, 1e-300], [1e-300, 1.0]]),
    "tiny start": ([1.0, 1e-300], [[0.5, 0.5], [0.5, 0.5]]),
    "tiny beside zero": ([1.0, 0.0], [[1.0, 1e-300], [0.0, 1.0]]),
    "denormal": ([1.0, 0.0], [[1.0, 1e-310], [0.5, 0.5]]),
    "denormal start": ([1.0, 5e-324], [[0.9, 0.1], [0.5, 0.5]]),
    "in two steps": ([1e-150, 1e-150, 1.0], [[0.5, 1e-200, 0.5], [0.3, 0.3, 0.4], [0.5, 0.0, 0.5]]),
}


@on_both_kernels
@pytest.mark.parametrize("name", TINY)
def test_tiny_probabilities(name):
    start, transition = TINY[name]
    K, rng = len(start), np.random.RandomState(0)
    steps = [[0.0] * K, [-INF, 0.0, -INF][:K], [-744.2, 0.0, -3.0][:K], [0.0, -700.0, -2000.0][:K]]
    steps += [[0.0, -1e4, 0.0][:K], [-1e4, 0.0, -1e4][:K]]
    parts = [np.array(chosen) for T in (1, 2, 3) for chosen in product(steps, repeat=T)]
    parts += [10 ** rng.uniform(0, 4) * rng.normal(size=(8, K)) for _ in range(10)]
    problem = Problem(np.array(start), np.array(transition), np.vstack(parts), [len(part) for part in parts])
    expected = in_logs(problem)
    assert_inferred(infer(problem), expected, 1e-9)
    assert_inferred(infer(problem, rows=1), expected, 1e-9)  # each alone


@on_both_kernels
def test_products_that_underflow_are_not_lost():
    start, transition = [1e-150, 0.0, 1.0], [[0.5, 1e-200, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    begin = [[0.0, -INF, 0.0]]
    assert_exact(one_sequence(start, transition, [*begin, [-INF, 0.0, -2000.0]]))
    assert_exact(one_sequence(start, transition, [*begin, [-INF, 0.0, 0.0], *[[0.0, 0.0, -20.0]] * 100]))
    start = [1e-150, 1e-150, 1.0]  # nothing is flushed before the last step
    transition[1] = [0.5, 0.0, 0.5]
    assert_exact(one_sequence(start, transition, [[0.0] * 3, [-INF, 0.0, -2000.0]]))


@on_both_kernels
def test_a_flushed_state_comes_back_by_tempering_alone():
    """Tempered rows sum to more than 1: many ways to go weigh more than one, and none is any less likely."""
    transition = np.full((11, 11), 0.1)
    transition[10] = transition[:, 10] = 0.0
    transition[10, 10] = 1.0
    log_prob = np.zeros((350, 11))
    log_prob[0, :10] = -5000.0
    problem = one_sequence(np.full(11, 1 / 11), transition, log_prob)
    problem.beta = 0.1
    expected, found = in_logs(problem), infer(problem)
    assert expected.posterior[0, 10] < 1e-9
    assert found.evidence == pytest.approx(expected.evidence[0] / problem.beta, rel=1e-12)
    np.testing.assert_allclose(found.posterior, expected.posterior, atol=1e-9)


@on_both_kernels
@pytest.mark.parametrize("where", [0, 2, 4])
@pytest.mark.parametrize("transition", [[[0.7, 0.3], [0.2, 0.8]], LEFT_RIGHT])
def test_what_is_impossible_has_log_density_minus_infinity(where, transition):
    log_prob = np.zeros((10, 2))
    log_prob[where] = -INF  # the first sequence, of two
    problem = Problem([0.4, 0.6], transition, log_prob, [5, 5])
    assert_exact(problem)
    found = infer(problem)
    assert found.evidence[0] == -INF
    assert found.evidence[1] == pytest.approx(0.0, abs=1e-14)
    assert not found.posterior[:5].any()
    assert viterbi(problem)[1][0] == -INF


@on_both_kernels
def test_a_path_that_structure_forbids_is_impossible():
    labels = np.array([1, -1, 0, 1, -1, 1])
    problem = Problem([0.4, 0.6], LEFT_RIGHT, np.zeros((6, 2)), [3, 3], labels=labels)
    assert infer(problem).evidence[0] == -INF
    assert_exact(problem)


@on_both_kernels
def test_an_impossible_sequence_without_weight_is_nothing():
    problem = Problem([1.0, 0.0], LEFT_RIGHT, np.array([[-INF, 0.0], [0.0, 0.0]]), [1, 1], np.array([0.0, 1.0]))
    batch = next(iter(problem.batches()))
    assert MarkovChain().posterior(problem.params, batch.x.copy(), batch)[2] == 0.0


def hard_problem(seed, n_sequences, longest):
    """Zeros, tiny probabilities, and log-densities of any size."""
    rng = np.random.RandomState(seed)
    K = rng.randint(2, 5)
    problem = random_problem(seed, K, n_sequences, longest)
    start, transition = problem.start, problem.transition
    if seed % 4:
        transition = transition * (rng.uniform(size=(K, K)) < rng.uniform(0.3, 1.0))
        transition[transition.sum(axis=1) == 0, 0] = 1.0
    if seed % 4 == 2:
        depth = rng.choice([0.0, 50.0, 150.0, 320.0], size=(K, K), p=[0.7, 0.1, 0.1, 0.1])
        transition = transition * 10**-depth
        transition[transition.sum(axis=1) == 0, 0] = 1.0
    if seed % 3 == 1:
        start = start * 10 ** -rng.choice([0.0, 80.0, 200.0, 310.0], size=K)
        start[rng.randint(K)] = 1.0
    if seed % 3 == 2:
        start = np.eye(K)[rng.randint(K)]
    log_prob = problem.log_prob * 10 ** rng.uniform(0, 4, size=(len(problem.log_prob), 1))
    if seed % 5 == 0:  # some states are worse most of the time: what was flushed has long to wait
        log_prob = -np.abs(log_prob) * (rng.uniform(size=log_prob.shape) < 0.3)
    if seed % 7 == 0:
        log_prob[rng.uniform(size=log_prob.shape) < 0.05] = -INF
    return Problem(
        start / start.sum(),
        transition / transition.sum(axis=1, keepdims=True),
        log_prob,
        problem.lengths,
        rng.uniform(0.5, 2.0, size=n_sequences),
    )


@cache
def hard_case(seed):
    problem = hard_problem(seed, 20, 60 if seed % 2 else 8)
    return problem, in_logs(problem)


def test_thousands_of_hard_sequences(kernel):
    for seed in range(150 if kernel is not _chain_numpy else 20):
        problem, expected = hard_case(seed)
        try:
            assert_inferred(infer(problem), expected, 1e-9)
        except AssertionError as broken:
            raise AssertionError(f"hard_problem({seed}): {broken}") from None


def with_zeros(name, lengths):
    """Chains with zeros, or tiny transitions in their place, and log-densities of states some sd apart."""
    rng = np.random.RandomState(0)
    K = {"cycle": 20, "banded": 10}.get(name, 5)
    places = np.arange(K)
    transition = {
        "left-right": 0.5 * np.eye(K) + 0.5 * np.eye(K, k=1),
        "cycle": np.roll(np.eye(K), 1, axis=1),
    }.get(name, 1.0 * (np.abs(places[:, None] - places) <= 1))
    if name.startswith("1e-"):
        transition = np.where(transition > 0, transition, float(name))
    transition /= transition.sum(axis=1, keepdims=True)
    steps = [np.arange(T) if name == "cycle" else np.arange(T) * 4 // T for T in lengths]
    states = np.concatenate([rng.randint(K) + moved for moved in steps])
    states = states % K if name == "cycle" else np.minimum(states, K - 1)
    sd = 2.0 if name == "cycle" else 0.2
    x = states[:, None] + sd * rng.normal(size=(len(states), 1))
    return Problem(np.full(K, 1 / K), transition, stats.norm(places, sd).logpdf(x), lengths)


@on_both_kernels
@pytest.mark.parametrize("name", some_slow(["left-right", "cycle", "banded", "1e-120", "1e-300"], ["1e-120"]))
def test_long_chains_with_zeros(name):
    problem = with_zeros(name, [1_200, 900, 180])  # side by side, and then one alone
    batch = next(iter(problem.batches(rows=10**6)))
    assert MarkovChain().filter(problem.params, batch.x.copy(), batch).far is not None
    found, expected = infer(problem, rows=10**6), in_logs(problem)
    assert_inferred(found, expected, 1e-9)
    np.testing.assert_allclose(found.pairs, expected.pairs, rtol=1e-9, atol=1e-190)


def test_what_cannot_have_mattered_is_forgotten(kernel):
    """The screening of the compiled kernel spares short sequences; the twin has none."""
    problem = with_zeros("left-right", [60] * 30)
    batch = next(iter(problem.batches(rows=10**6)))
    passed = MarkovChain().filter(problem.params, batch.x.copy(), batch)
    assert passed.filtered.min() < 1e-200
    assert (passed.far is None) == (kernel is not _chain_numpy)
    assert_exact(problem)


def in_blocks(monkeypatch, shortest, longest):
    """The twin with steps of all sequences that are left in blocks side by side, whatever their number."""
    monkeypatch.setattr(markov_chain, "kernel", _chain_numpy)
    monkeypatch.setattr(_chain_numpy, "FEW_LANES", 1000)
    monkeypatch.setattr(_chain_numpy, "LONG", 2)
    monkeypatch.setattr(_chain_numpy, "SHORTEST_BLOCK", shortest)
    monkeypatch.setattr(_chain_numpy, "BLOCK", longest)
    monkeypatch.setattr(_chain_numpy, "BLOCK_OF_ZEROS", longest)


@pytest.mark.parametrize(("K", "length"), [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("name", [name for name, how in SCENARIOS.items() if "beta" not in how])
def test_steps_in_blocks_are_the_sum_over_all_paths(name, K, length, monkeypatch):
    in_blocks(monkeypatch, length, length)
    problem, expected = scenario(name, K)
    assert_inferred(infer(problem), expected)


@pytest.mark.parametrize("spread", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["none", "left-right", "cycle", "banded", "1e-120", "1e-300"])
def test_steps_in_blocks_are_steps_one_by_one(name, spread, monkeypatch):
    lengths, K = [700, 40, 333], 4
    rng = np.random.RandomState(0)
    zeros = "left-right" if name == "none" else name
    problem = with_zeros(zeros, lengths)
    if name == "none":
        problem = replace(problem, transition=rng.dirichlet(np.ones(K), size=K), start=np.full(K, 1 / K))
    log_prob = spread * rng.normal(size=(sum(lengths), len(problem.start)))
    problem = replace(problem, log_prob=log_prob, weight=np.array([1.0, 2.0, 0.5]))
    monkeypatch.setattr(markov_chain, "kernel", _chain_numpy)
    monkeypatch.setattr(_chain_numpy, "LONG", 10**9)
    one_by_one = infer(problem)
    in_blocks(monkeypatch, 16, 256)
    assert_inferred(infer(problem), one_by_one, tol=1e-9)


@pytest.mark.slow
def test_two_chains_that_never_meet_are_told_apart_a_million_steps_later(kernel):
    """The odds fall by one nat a step for half the time, and come back."""
    half = 500_000 if kernel is not _chain_numpy else 1_500
    log_prob = np.zeros((2 * half, 2))
    log_prob[:half, 0] = log_prob[half:, 1] = -1.0
    log_prob[-1, 0] = -0.5
    odds = np.exp(-0.5 + 1.0) * np.exp(-1.0)
    posterior = np.array([odds, 1.0]) / (odds + 1.0)
    found = infer(Problem([0.5, 0.5], np.eye(2), log_prob, [2 * half]))
    assert found.evidence[0] == pytest.approx(-half + np.log(0.5 * (1 + odds)), rel=1e-12)
    np.testing.assert_allclose(found.posterior, np.broadcast_to(posterior, (2 * half, 2)), rtol=1e-9)
    np.testing.assert_allclose(found.pairs, (2 * half - 1) * np.diag(posterior), rtol=1e-9)


@on_both_kernels
def test_powers_are_exact_whatever_their_size():
    """Odds of exp(-1e15) that come back: far beyond what a bound on rounding in logarithms would leave."""
    log_prob = np.array([[-(2.0**50), 0.0], [0.0, -(2.0**50)], [0.0, -1.0]])
    found = infer(Problem([0.5, 0.5], np.eye(2), log_prob, [3]))
    np.testing.assert_allclose(found.posterior[:, 1], 1 / (1 + np.e), rtol=1e-9)


def test_filtering_does_not_smooth(kernel, monkeypatch):
    only_forward = SimpleNamespace(forward=kernel.forward, as_numbers=kernel.as_numbers)
    monkeypatch.setattr(markov_chain, "kernel", only_forward)
    problem = with_zeros("cycle", [1_000])
    batch = next(iter(problem.batches()))
    passed = MarkovChain().filter(problem.params, batch.x.copy(), batch)
    assert passed.far is not None
    np.testing.assert_allclose(passed.filtered.sum(axis=0), 1.0, rtol=1e-12)


# -- long ones ---------------------------------------------------------------------------------------------


def periodic_evidence(params, period, n_periods):
    """Log-likelihood of log-densities (P, 2) that repeat, by squaring what one period does to the odds."""

    def joined(a, b):
        matrix = a[0] @ b[0]
        total = matrix.sum()
        return matrix / total, a[1] + b[1] + np.log(total)

    steps = [(params.transition * np.exp(row), 0.0) for row in period]
    power = reduce(joined, steps)
    total = reduce(joined, steps[1:], (np.diag(params.start * np.exp(period[0])), 0.0))
    rest = n_periods - 1
    while rest:
        if rest % 2:
            total = joined(total, power)
        power, rest = joined(power, power), rest // 2
    return float(np.log(total[0].sum()) + total[1])


def test_a_million_steps(kernel):
    n_periods = 100_000 if kernel is not _chain_numpy else 300
    period = np.random.RandomState(0).normal(size=(10, 2)) * 3
    for transition in (CHAIN.transition, np.array([[0.0, 1.0], [0.5, 0.5]])):
        params = CHAIN._replace(transition=transition)
        expected = periodic_evidence(params, period, n_periods)
        batch = next(iter(Batches(np.tile(period, (n_periods, 1)), lengths=[10 * n_periods])))
        resp, expectations, evidence = MarkovChain().posterior(params, batch.x.copy(), batch)
        assert evidence == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(resp.sum(axis=0), 1.0, atol=1e-9)
        assert expectations.pairs.sum() == pytest.approx(10 * n_periods - 1, rel=1e-9)
        path, _ = MarkovChain().viterbi(params, batch.x.copy(), batch)
        half = 10 * (n_periods // 2)
        np.testing.assert_array_equal(path[half : half + 10], path[half + 10 : half + 20])


@on_both_kernels
def test_one_state_is_exact():
    n = 2_000
    log_prob = 1e3 * np.random.RandomState(0).normal(size=(n, 1))
    found = infer(Problem([1.0], [[1.0]], log_prob, [n]))
    assert (found.posterior == 1.0).all()
    assert (found.predictive == log_prob[:, 0]).all()
    assert found.pairs[0, 0] == n - 1


def test_memory_has_no_room_for_all_pairs(kernel):
    K = 30
    T, lanes = (20_000, 1) if kernel is not _chain_numpy else (100, 60)
    problem = random_problem(0, K, 1, 1)
    log_prob = np.random.RandomState(0).normal(size=(T * lanes, K))
    batch = next(iter(Batches(log_prob, lengths=[T] * lanes, rows=T * lanes)))
    chain, x = MarkovChain(), batch.x.copy()
    tracemalloc.start()
    try:
        chain.posterior(problem.params, x, batch)
        chain.filter(problem.params, x, batch)
        chain.viterbi(problem.params, x, batch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * T * lanes * K * 8


@pytest.mark.parametrize("name", EMISSIONS)
def test_densities_by_blocks_of_a_long_sequence_are_those_of_the_whole(name, monkeypatch):
    seen, lengths = EMISSIONS[name], [60, 3]
    X = emitted(name, lengths, missing=0.1)
    weight = np.array([0.5, 2.0])
    model = LatentModel(MarkovChain(), seen.family)
    params = LatentPair(CHAIN, seen.params)
    whole = Batches(X, weight, lengths=lengths).sum(model.expectation(params))
    (batch,) = Batches(X, weight, lengths=lengths, rows=10**6)
    plain = seen.family.density(seen.params)(batch)
    monkeypatch.setattr(batches, "batch_rows", lambda floats: 7)
    (batch,) = Batches(X, weight, lengths=lengths, rows=10**6, keep_bytes=0)
    assert len(batch.blocks()) == 9
    by_block = by_blocks(seen.family.density(seen.params))(batch)
    np.testing.assert_allclose(
        by_block.log_prob + by_block.shared_log_prob(),
        plain.log_prob + plain.shared_log_prob(),
        rtol=1e-10,
        atol=1e-10,
    )
    found = Batches(X, weight, lengths=lengths, rows=10**6, keep_bytes=0).sum(model.expectation(params))
    assert_same(found, whole, rtol=1e-10)


def test_a_long_sequence_is_never_held_with_its_second_moments():
    n, d = 60_000, 10
    family = Gaussian(COVARIANCE_SHAPES["full"])
    params = family.start(
        next(iter(Batches(np.random.RandomState(0).normal(size=(500, d))))), np.full((2, 500), 0.5)
    )
    data = Batches(np.random.RandomState(0).normal(size=(n, d)), lengths=[n])
    e_step = LatentModel(MarkovChain(), family).expectation(LatentPair(CHAIN, params))
    tracemalloc.start()
    try:
        data.sum(e_step)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * n * (d + 12 * 2)


def test_results_stay_and_their_memory_serves_again(kernel):
    problem = random_problem(0, 3, 4, 30)
    batch = next(iter(Batches(problem.log_prob, lengths=problem.lengths)))
    chain = MarkovChain()

    def posterior(sign=1.0):
        return chain.posterior(problem.params, sign * batch.x, batch)[0]

    held = posterior()
    copy = held.copy()
    assert not np.allclose(posterior(-1.0), copy)  # another pass, while the first result is held
    assert (held == copy).all()
    place = posterior().ctypes.data
    assert posterior(-1.0).ctypes.data == place  # nobody holds it any more


# -- what must not matter ----------------------------------------------------------------------------------


def larger_problem(K, lanes, longest=40, **how):
    return random_problem(K, K, lanes, longest, weighted=True, **how)


LANES = (1, 2, 3, 5, 64, 65, 130, 7, 1, 63)


@needs_compiled
@pytest.mark.parametrize(
    ("K", "lanes", "how"),
    [
        *((K, lanes, {}) for K, lanes in zip(range(1, 21), LANES * 2, strict=True)),
        (33, 130, {}),
        (33, 1, {"spread": 100.0}),
        (7, 70, {"zeros": "left-right", "spread": 30.0}),
        (9, 3, {"zeros": "mask start", "spread": 200.0, "known": 0.1}),
        (5, 1, {"zeros": "mask", "spread": 300.0, "holes": 0.1}),
    ],
)
def test_kernels_agree(K, lanes, how, monkeypatch):
    problem = larger_problem(K, lanes, longest=60 if lanes < 10 else 15, **how)
    outcomes = []
    for one in (COMPILED, _chain_numpy):
        monkeypatch.setattr(markov_chain, "kernel", one)
        batch = next(iter(problem.batches(rows=10**6)))
        rng = np.random.RandomState(0)
        path = MarkovChain().draw_paths(problem.params, batch.x.copy(), batch, rng)
        outcomes.append((infer(problem, rows=10**6), *viterbi(problem), path))
    (first, path, log_joint, draw), (second, other_path, other_joint, other_draw) = outcomes
    for name, a, b in zip(Inference._fields, first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13, err_msg=name)
    np.testing.assert_array_equal(path, other_path)
    np.testing.assert_array_equal(draw, other_draw)
    np.testing.assert_allclose(log_joint, other_joint, rtol=1e-14)


@dataclass(frozen=True)
class Given:
    """A family whose observations are the log-densities themselves."""

    spaces: Any = field(default=())

    def density(self, params):
        return lambda batch: Observed(batch.x.copy(), 0.0, lambda resp: resp.sum(axis=1), lambda: 0.0)


def e_step(problem, **cut):
    model = LatentModel(MarkovChain(), Given())
    return problem.batches(**cut).sum(model.expectation(LatentPair(problem.params, ())))


@on_both_kernels
@pytest.mark.parametrize("how", [{}, {"zeros": "mask", "spread": 300.0, "known": 0.1}])
def test_neither_cuts_nor_threads_nor_order_matter(how):
    problem = larger_problem(3, 40, longest=20, **how)
    if how:
        possible = infer(problem).evidence > -INF  # 0 · inf is no number to compare
        rows = np.repeat(possible, problem.lengths)
        problem.log_prob, problem.labels = problem.log_prob[rows], problem.labels[rows]
        problem.lengths, problem.weight = problem.lengths[possible], problem.weight[possible]
    assert len(problem.lengths) > 10
    whole = e_step(problem, rows=10**6)
    for rows in (1, 7, 50):
        assert_same(e_step(problem, rows=rows), whole, rtol=1e-11)
        assert_same(e_step(problem, rows=rows, n_threads=2), e_step(problem, rows=rows), rtol=0)
    apart = infer(problem, rows=1)
    assert_inferred(apart, infer(problem, rows=10**6), 1e-11)
    starts = np.cumsum(problem.lengths) - problem.lengths
    order = np.random.RandomState(0).permutation(len(starts))
    moved = np.concatenate([np.arange(starts[i], starts[i] + problem.lengths[i]) for i in order])
    labels = None if problem.labels is None else problem.labels[moved]
    shuffled = Problem(
        problem.start,
        problem.transition,
        problem.log_prob[moved],
        problem.lengths[order],
        problem.weight[order],
        labels,
    )
    assert_same(e_step(shuffled), whole, rtol=1e-11)
    np.testing.assert_allclose(infer(shuffled).posterior, apart.posterior[moved], atol=1e-11)


@on_both_kernels
def test_weight_2_is_the_sequence_twice_and_0_not_at_all():
    problem = random_problem(0, 3, 9, 8)
    times = np.arange(9) % 3
    weighted = Problem(*problem.params, problem.log_prob, problem.lengths, times * 1.0)
    sequences = np.split(problem.log_prob, np.cumsum(problem.lengths)[:-1])
    chosen = np.repeat(np.arange(9), times)
    repeated = Problem(*problem.params, np.vstack([sequences[i] for i in chosen]), problem.lengths[chosen])
    found, expected = e_step(weighted), e_step(repeated)
    assert_same(found[:2], expected[:2], rtol=1e-11)


# -- M-step ------------------------------------------------------------------------------------------------


def softmax_rows(vector, shape):
    logits = vector.reshape(shape)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def random_stats(seed, K=3):
    rng = np.random.RandomState(seed)
    return ChainStats(10 * rng.dirichlet(np.ones(K)), 50 * rng.dirichlet(np.ones(K), size=K)), ChainParams(
        rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), size=K)
    )


@pytest.mark.parametrize("stationary", [False, True])
def test_rows_of_transitions_sum_to_1(stationary):
    for seed in range(20):
        expected, params = random_stats(seed, K=1 + seed % 8)
        new = MarkovChain(stationary=stationary).maximize(expected, params)
        np.testing.assert_allclose(new.transition.sum(axis=1), 1.0, rtol=0, atol=1e-12)
        assert new.start.sum() == pytest.approx(1.0, abs=1e-12)
        if stationary:
            np.testing.assert_allclose(new.start @ new.transition, new.start, atol=1e-12)


def test_a_state_never_visited_keeps_its_row():
    expected, params = random_stats(0)
    expected.pairs[1] = 0.0
    new = MarkovChain().maximize(expected, params)
    np.testing.assert_allclose(new.transition[1], params.transition[1], rtol=1e-15)
    nothing = ChainStats(np.zeros(3), np.zeros((3, 3)))
    assert_same(MarkovChain().maximize(nothing, params), params, rtol=1e-15)


@pytest.mark.parametrize("concentration", [1.0, 2.5, "matrix"])
def test_m_step_maximises_the_posterior(concentration):
    """log prior + Q has its maximum there: no step to any side gains."""
    expected, params = random_stats(1)
    if concentration == "matrix":
        concentration = 1.0 + np.arange(9.0).reshape(3, 3)
    chain = MarkovChain(start_concentration=np.array([1.0, 2.0, 4.0]), concentration=concentration)
    new = chain.maximize(expected, params)

    def objective(vector):
        there = ChainParams(softmax_rows(vector[:3], (3,)), softmax_rows(vector[3:], (3, 3)))
        q = expected.first @ np.log(there.start) + (expected.pairs * np.log(there.transition)).sum()
        return q + chain.log_prior(there)

    at = np.log(np.concatenate([new.start, new.transition.ravel()]))
    slopes = [(objective(at + h) - objective(at - h)) / 2e-5 for h in 1e-5 * np.eye(12)]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-6)


def test_prior_leaves_structural_zeros_alone():
    params = ChainParams(np.array([1.0, 0.0]), np.array(LEFT_RIGHT))
    chain = MarkovChain(concentration=3.0, start_concentration=2.0)
    new = chain.maximize(ChainStats(np.array([4.0, 0.0]), np.array([[5.0, 2.0], [0.0, 3.0]])), params)
    np.testing.assert_allclose(new.transition, [[7 / 11, 4 / 11], [0.0, 1.0]])
    np.testing.assert_array_equal(new.start, [1.0, 0.0])
    assert np.isfinite(chain.log_prior(params))


def stationary_value(transition, first, counts):
    return (counts * np.log(transition)).sum() + first @ np.log(stationary_distribution(transition))


@pytest.mark.parametrize("dominance", [0.1, 1.0, 100.0], ids=["few first", "as many", "first dominate"])
@pytest.mark.parametrize("K", some_slow([2, 3, 4], [2, 3]))
def test_stationary_m_step_is_what_an_optimiser_finds(K, dominance, monkeypatch):
    if dominance > 1:  # then steps are many; those that are left are for the next M-step
        monkeypatch.setattr(markov_chain, "STATIONARY_STEPS", 20_000)
    for seed in range(2):
        rng = np.random.RandomState(10 * K + seed)
        counts = rng.gamma(1.0, size=(K, K)) * 20 + 0.1
        first = rng.gamma(1.0, size=K) * 20 * dominance
        here = rng.dirichlet(np.ones(K), size=K)
        found = _fit_stationary(first, counts, here)
        value, size = stationary_value(found, first, counts), counts.sum() + first.sum()
        assert value >= stationary_value(here, first, counts)

        def loss(vector, first=first, counts=counts, size=size):
            return -stationary_value(softmax_rows(vector, counts.shape), first, counts) / size

        at = np.log(np.maximum(found, 1e-200)).ravel()
        slopes = [(loss(at + h) - loss(at - h)) / 2e-5 for h in 1e-5 * np.eye(K * K)]
        np.testing.assert_allclose(slopes, 0.0, atol=1e-5)
        best = optimize.minimize(loss, np.log(here).ravel(), method="BFGS", options={"gtol": 1e-7})
        assert value / size >= -best.fun - 1e-8


@pytest.mark.parametrize("seed", range(3))
def test_stationary_steps_never_lower_the_objective(seed, monkeypatch):
    rng = np.random.RandomState(seed)
    counts, first = rng.gamma(0.3, size=(3, 3)) * 20 + 1e-3, rng.gamma(0.3, size=3) * 200
    here, values = rng.dirichlet(np.ones(3), size=3), []
    for steps in range(12):
        monkeypatch.setattr(markov_chain, "STATIONARY_STEPS", steps)
        values.append(stationary_value(_fit_stationary(first, counts, here), first, counts))
    assert (np.diff(values) >= -1e-12 * np.abs(values[0])).all()


@pytest.mark.parametrize("even", [False, True])
def test_stationary_m_step_of_two_separate_blocks(even):
    """Each is fitted on its own, as hardly any first states are counted."""
    for seed in range(4):
        rng = np.random.RandomState(seed)
        counts, here = np.zeros((4, 4)), np.zeros((4, 4))
        for block in (slice(2), slice(2, 4)):
            counts[block, block] = rng.gamma(1.0, size=(2, 2)) * 20
            here[block, block] = 0.5 if even else rng.dirichlet(np.ones(2), size=2)
        found = _fit_stationary(np.full(4, 1e-9), counts, here)
        np.testing.assert_allclose(found, counts / counts.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("K", [1, 2, 5, 12])
def test_stationary_distribution_is_the_eigenvector(K):
    transition = np.random.RandomState(K).dirichlet(np.ones(K) * 0.3, size=K)
    values, vectors = np.linalg.eig(transition.T)
    vector = vectors[:, np.argmax(values.real)].real
    np.testing.assert_allclose(stationary_distribution(transition), vector / vector.sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("transition", "start", "expected"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], None, [0.5, 0.5]),
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], None, [1 / 3] * 3),
        (LEFT_RIGHT, None, [0.0, 1.0]),
        ([[1.0, 0.0], [0.1, 0.9]], None, [1.0, 0.0]),
        (np.eye(3), None, [1 / 3] * 3),
        (np.eye(3), [0.2, 0.0, 0.8], [0.2, 0.0, 0.8]),
        # from the first state half goes to each end; one end is a pair that swaps for ever
        ([[0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [1, 0, 0, 0], [0, 0.5, 0.25, 0.25]),
        ([[0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [0, 1, 0, 0], [0, 1, 0, 0]),
    ],
)
def test_stationary_distribution_of_periodic_and_reducible_chains(transition, start, expected):
    start = None if start is None else np.array(start, dtype=float)
    found = stationary_distribution(np.array(transition, dtype=float), start)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("out", "back"), [(1e-14, 3e-14), (1e-14, 0.5), (1e-300, 2e-300), (0.5, 1e-14)])
def test_stationary_distribution_of_a_nearly_reducible_chain(out, back):
    transition = np.array([[1 - out, out], [back, 1 - back]])
    share = np.array([back, out]) / (out + back)
    np.testing.assert_allclose(stationary_distribution(transition), share, rtol=1e-14)


# -- fits --------------------------------------------------------------------------------------------------

LENGTHS = [20, 1, 13, 30, 2, 7]


def fit_problem(name, chain, **given):
    seen = EMISSIONS[name]
    X = emitted(name, LENGTHS, missing=0.1)
    model = LatentModel(chain, seen.family)
    return model, Batches(X, lengths=LENGTHS, **given), seen.params


CHAINS = {
    "free": (MarkovChain(), {}),
    "weighted": (MarkovChain(), {"weight": np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.5])}),
    "fixed start": (MarkovChain(fixed_start=True), {}),
    "stationary": (MarkovChain(stationary=True), {}),
    "prior": (MarkovChain(concentration=3.0, start_concentration=2.0), {}),
    "labelled": (MarkovChain(), {"labels": np.where(np.arange(73) % 9 == 4, 1, -1)}),
}


@pytest.mark.parametrize(
    ("how", "name"),
    [*((how, "poisson") for how in CHAINS), ("labelled", "product")],
)
def test_laws_of_em(how, name):
    chain, given = CHAINS[how]
    model, data, params = fit_problem(name, chain, **given)
    check_model(model, LatentPair(CHAIN, params), data)


@pytest.mark.parametrize("law", ["union", "batches", "weights", "row_order"])
def test_laws_of_independent_rows_refuse_batches(law):
    model, data, params = fit_problem("poisson", MarkovChain())
    with pytest.raises(ValueError, match="rows that are independent"):
        check_model(model, LatentPair(CHAIN, params), data, laws=[law])


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_fixed_start_and_zeros_are_kept(acceleration):
    start, transition = np.array([0.3, 0.2, 0.5]), np.array([[0.6, 0.4, 0.0], [0.0, 0.5, 0.5], [0.3, 0.0, 0.7]])
    X = emitted("poisson", LENGTHS)
    rates = PoissonParams(np.array([[0.5, 3.0], [2.0, 2.0], [4.0, 1.0]]))
    for chain in (MarkovChain(fixed_start=True), MarkovChain(concentration=2.0), MarkovChain(stationary=True)):
        begin = LatentPair(ChainParams(start * (1.0, 1.0, chain.fixed_start), transition), rates)
        if not chain.fixed_start:
            begin = begin._replace(latent=begin.latent._replace(start=np.array([0.6, 0.4, 0.0])))
        fit = fit_em(
            LatentModel(chain, Poisson()), begin, Batches(X, lengths=LENGTHS), acceleration=acceleration
        )
        assert fit.n_iter > 3
        found = fit.params.latent
        assert ((found.transition > 0) <= (transition > 0)).all()
        if chain.fixed_start:
            assert (found.start == start).all()
        elif not chain.stationary:
            assert found.start[2] == 0.0
