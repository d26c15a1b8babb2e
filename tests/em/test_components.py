"""Responsibilities and random starts of latent models of any kind."""

import numpy as np
import pytest
from scipy.special import logsumexp

from emlearn.em import Batches, LatentModel, LatentPair, race, random_starts, responsibilities
from emlearn.em.trees import leaves
from emlearn.families import Poisson, PoissonParams
from emlearn.latent import ChainParams, Grouped, MarkovChain, MixtureWeights
from tests.helpers.families import FAMILIES, K, problem
from tests.helpers.pace import some_slow

MODEL = LatentModel(MixtureWeights(), Poisson())
PARAMS = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [5.0]])))
X = np.random.default_rng(0).poisson(3.0, size=(50, 1)).astype(float)


def by_hand(x):
    rates = PARAMS.family.rates[:, 0]
    joint = np.log(PARAMS.latent) + x * np.log(rates) - rates
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.tolist(),
        (X, np.arange(50.0)),  # one row has no weight
        Batches(X, rows=7, n_threads=2),
        [X[:20], X[20:]],
        lambda: iter([(X[:20], None), (X[20:], np.ones(30))]),
    ],
    ids=["array", "list", "weights", "batches", "pieces", "stream"],
)
def test_responsibilities_are_bayes(data):
    found = responsibilities(MODEL, PARAMS, data)
    np.testing.assert_allclose(found, by_hand(X), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_responsibilities_of_any_family(family):
    model, params, (rows, _) = problem(family)
    example = FAMILIES[family]
    params = params._replace(family=example.params)
    joint = np.array([[np.log(params.latent[k]) + example.log_density(x, k) for k in range(K)] for x in rows])
    found = responsibilities(model, params, rows)
    assert found.shape == (len(rows), K)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(found, np.exp(joint - logsumexp(joint, axis=1, keepdims=True)), atol=1e-9)


def test_rows_of_sequences_keep_their_order():
    chain = LatentModel(MarkovChain(), Poisson())
    params = LatentPair(ChainParams(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.2, 0.8]])), PARAMS.family)
    lengths = [5, 30, 15]
    together = responsibilities(chain, params, Batches(X, lengths=lengths))
    ends = np.cumsum(lengths)
    for start, end in zip(ends - lengths, ends, strict=True):
        alone = responsibilities(chain, params, Batches(X[start:end], lengths=[end - start]))
        np.testing.assert_allclose(together[start:end], alone, atol=1e-12)


def test_rows_of_a_group_are_one():
    grouped = LatentModel(Grouped(MixtureWeights()), Poisson())
    weight = np.ones(50)
    weight[3] = 0.0
    found = responsibilities(grouped, PARAMS, Batches(X, weight, lengths=[10] * 5))
    log_density = X * np.log(PARAMS.family.rates[:, 0]) - PARAMS.family.rates[:, 0]
    joint = np.log(PARAMS.latent) + (log_density * weight[:, None]).reshape(5, 10, 2).sum(axis=1)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(found, np.repeat(expected, 10, axis=0), atol=1e-12)


@pytest.mark.parametrize("family", some_slow(FAMILIES, ["gaussian full", "poisson", "categorical", "product"]))
def test_random_starts_lead_somewhere(family):
    model, _, (rows, weight) = problem(family)
    starts = random_starts(model, (rows, weight), K, n_starts=6, random_state=0)
    assert [start.kind for start in starts] == ["random"] * 6
    made = [np.concatenate([np.ravel(leaf) for leaf in leaves(start.make())]) for start in starts]
    assert len({tuple(one) for one in made}) == 6
    result = race(model, starts, (rows, weight), ranking="likelihood")
    assert np.isfinite(result.best.objective)


def test_random_starts_find_clusters_and_states():
    rng = np.random.default_rng(1)
    states = np.repeat([0, 1, 2, 0, 2], 60)
    counts = rng.poisson(np.array([1.0, 8.0, 25.0])[states])[:, None].astype(float)
    for latent in (MixtureWeights(), MarkovChain()):
        model = LatentModel(latent, Poisson())
        data = Batches(counts, lengths=[100, 200]) if isinstance(latent, MarkovChain) else counts
        best = race(model, random_starts(model, data, 3, random_state=0), data).best
        np.testing.assert_allclose(np.sort(best.params.family.rates[:, 0]), [1, 8, 25], rtol=0.15)
        assert (responsibilities(model, best.params, data).max(axis=1) > 0.9).mean() > 0.9


def test_random_starts_are_drawn_from_rows_with_weight():
    weight = np.zeros(50)
    weight[:4] = 1.0
    rows = X.copy()
    rows[4:] = 1e6
    for start in random_starts(MODEL, (rows, weight), 2, n_starts=5, random_state=0):
        assert start.make().family.rates.max() < 20


def test_the_same_seed_gives_the_same_starts():
    one, two = (random_starts(MODEL, X, 2, n_starts=3, random_state=5) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.make().family.rates, b.make().family.rates)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 0}, "n_components=0 must be a positive integer"),
        ({"n_components": 2.5}, r"n_components=2\.5 must be"),
        ({"n_components": 2, "n_starts": 0}, "n_starts=0 must be a positive integer"),
        ({"n_components": 51}, "n_components=51 needs as many rows, but 50 have weight"),
    ],
)
def test_what_random_starts_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_starts(MODEL, X, **arguments)
