"""Sparse rows: the same numbers as of dense ones, in the memory of what is held."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.naive_bayes import BernoulliNB, MultinomialNB

from emlearn.em import Affine, Batches, LatentModel, LatentPair, fit_em
from emlearn.families import (
    Bernoulli,
    BernoulliParams,
    Gaussian,
    MissingRows,
    Multinomial,
    MultinomialParams,
    Poisson,
    Product,
    Sketch,
)
from emlearn.families.covariance import Diagonal
from emlearn.latent import MixtureWeights
from tests.helpers.families import K, batch_of
from tests.helpers.trees import assert_same


def documents(n=60, d=30, seed=0):
    """Counts of words in documents of two kinds, most of them 0, and the kinds."""
    rng = np.random.RandomState(seed)
    kinds = np.arange(n) % K
    rates = rng.gamma(0.2, size=(K, d))
    return rng.poisson(rates[kinds]).astype(float), kinds


FAMILIES = {
    "multinomial": Multinomial(),
    "multinomial with a prior": Multinomial(concentration=1.5),
    "bernoulli": Bernoulli(),
    "poisson": Poisson(),
    "steps that may be missing": MissingRows(Poisson()),
}


def setting(name):
    """Model, parameters to start from, rows and weights."""
    X, kinds = documents()
    if name == "bernoulli":
        X = np.minimum(X, 1.0)
    family = FAMILIES[name]
    model = LatentModel(MixtureWeights(), family)
    resp = 0.3 + 0.4 * (kinds == np.arange(K)[:, None])
    return model, model.start(batch_of(X), resp), X, np.random.RandomState(1).uniform(0.5, 2.0, size=len(X))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_e_step_is_that_of_dense_rows(name, form):
    model, params, X, weight = setting(name)
    expected = Batches(X, weight).sum(model.expectation(params))
    given = form(X.astype(np.int32))
    for settings in ({}, {"rows": 7, "n_threads": 2}):
        assert_same(Batches(given, weight, **settings).sum(model.expectation(params)), expected, rtol=1e-12)
    assert given.dtype == np.int32
    assert_same(given.toarray(), X)
    again = model.family.start(next(iter(Batches(given, weight))), np.full((K, len(X)), 0.5))
    assert_same(again, model.family.start(batch_of(X, weight), np.full((K, len(X)), 0.5)), rtol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_fit_is_that_of_dense_rows(name):
    model, params, X, weight = setting(name)
    dense, of_sparse = (fit_em(model, params, (rows, weight)) for rows in (X, sparse.csr_array(X)))
    assert of_sparse.n_iter == dense.n_iter
    assert of_sparse.log_likelihood == pytest.approx(dense.log_likelihood, rel=1e-11)
    assert_same(of_sparse.params, dense.params, rtol=1e-7)


@pytest.mark.parametrize("family", [Multinomial(), Bernoulli()])
def test_what_is_impossible_is_impossible(family):
    """Probabilities of 0 and 1 forbid entries that are held, and such as are not."""
    p = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    params = (MultinomialParams if isinstance(family, Multinomial) else BernoulliParams)(p)
    X = np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]])
    dense, of_sparse = (
        family.density(params)(batch).log_prob
        for batch in (batch_of(X), next(iter(Batches(sparse.csr_array(X)))))
    )
    assert np.isneginf(dense).any()
    np.testing.assert_allclose(of_sparse, dense, rtol=1e-12)


@pytest.mark.parametrize("family", [Multinomial(), Bernoulli(), Poisson()])
def test_points_lie_as_far_apart_as_of_dense_rows(family):
    X, _ = documents()
    X = np.minimum(X, 1.0)
    dense = family.embedding(batch_of(X))
    points = family.embedding(next(iter(Batches(sparse.csr_array(X)))))
    assert sparse.issparse(points)
    distances = [np.linalg.norm(own[:, :, None] - own[:, None], axis=0) for own in (dense, points.toarray())]
    assert_same(*distances, rtol=1e-12)


def test_entries_given_twice_add_up():
    twice = sparse.csr_array((np.ones(4), [0, 0, 1, 1], [0, 3, 4]), shape=(2, 3))
    model, params, _, _ = setting("multinomial")
    params = model.start(batch_of(twice.toarray()), np.full((K, 2), 0.5))
    found = Batches(twice).sum(model.expectation(params))
    assert_same(found, Batches(twice.toarray()).sum(model.expectation(params)), rtol=1e-12)
    assert twice.nnz == 4


def test_some_columns_and_rows():
    X, _ = documents()
    data = Batches(sparse.csr_array(X), rows=16)
    assert (data.n_rows, data.n_features) == X.shape
    some = data.recut(columns=np.array([4, 2, 9]))
    assert_same(np.hstack([batch.x.toarray() for batch in some]), X[:, [4, 2, 9]].T)
    assert_same(data.take(np.array([3, 3, 50])).toarray(), X[[3, 3, 50]])
    as_they_are = Affine(np.zeros(X.shape[1]), np.ones(X.shape[1]))
    assert_same(next(iter(data.recut(units=as_they_are, rows=100))).x.toarray(), X.T)
    with pytest.raises(ValueError, match="no other units than their own"):
        list(data.recut(units=Affine(np.ones(X.shape[1]), np.ones(X.shape[1]))))


def test_bound_to_sparse_rows():
    X, _ = documents()
    found, expected = (
        Multinomial().bound_to(Sketch(batch, X.max(axis=0), 60, 60.0, ())).typical
        for batch in (next(iter(Batches(sparse.csr_array(X)))), batch_of(X))
    )
    assert found == expected > 1


@pytest.mark.parametrize(
    "family", [Gaussian(Diagonal()), Multinomial(3), Product((((0,), Poisson()), ((1,), Poisson())))]
)
def test_families_that_take_none_say_so(family):
    X = sparse.csr_array(np.array([[1.0, 2.0], [0.0, 3.0]]))
    model = LatentModel(MixtureWeights(), family)
    params = model.start(batch_of(X.toarray()), np.full((K, 2), 0.5))
    with pytest.raises(ValueError, match=f"{type(family).__name__} takes no sparse rows: .* toarray"):
        fit_em(model, params, X)


def test_sequences_are_not_sparse():
    with pytest.raises(ValueError, match="Sequences cannot be sparse"):
        Batches(sparse.csr_array(np.eye(4)), lengths=[2, 2])


def test_no_more_is_held_than_what_is_given():
    """Of 4,000 rows of 50,000 columns a dense batch of 512 would be 200 MB, all of them 1.6 GB."""
    X = sparse.random_array((4000, 50_000), density=1e-3, rng=np.random.default_rng(0), format="csr")
    X.data = np.ceil(3 * X.data)
    size = X.data.nbytes + X.indices.nbytes
    model = LatentModel(MixtureWeights(), Multinomial())
    p = np.random.RandomState(0).dirichlet(np.ones(50_000), size=K)
    data = Batches(X)
    tracemalloc.start()
    try:
        data.sum(model.expectation(LatentPair(np.full(K, 0.5), MultinomialParams(p))))
        data.sum(model.expectation(LatentPair(np.full(K, 0.5), MultinomialParams(p))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * size + 10 * p.nbytes


# Naive Bayes is the corner of known components: its smoothing is a prior, and its posterior the E-step.

CLASSIFIERS = {
    "multinomial": (MultinomialNB, Multinomial(concentration=2.0), 1.0),
    "multinomial, little smoothing": (MultinomialNB, Multinomial(concentration=1.1), 0.1),
    "bernoulli": (BernoulliNB, Bernoulli(ones=2.0, zeros=2.0), 1.0),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_known_components_are_naive_bayes(name):
    classifier, family, alpha = CLASSIFIERS[name]
    X, kinds = documents()
    X = sparse.csr_array(np.minimum(X, 1.0) if name == "bernoulli" else X)
    peer = classifier(alpha=alpha).fit(X, kinds)
    batch = next(iter(Batches(X)))
    labels = (kinds == np.arange(K)[:, None]) * 1.0
    params = LatentPair(np.exp(peer.class_log_prior_), family.start(batch, labels))
    np.testing.assert_allclose(np.log(params.family.probabilities), peer.feature_log_prob_, rtol=1e-10)
    log_prob = family.density(params.family)(batch).log_prob
    resp = MixtureWeights().posterior(params.latent, log_prob, batch)[0]
    np.testing.assert_allclose(resp.T, peer.predict_proba(X), rtol=1e-9, atol=1e-300)


def test_batches_are_no_copies():
    X = sparse.random_array((5000, 30), density=0.2, format="csr", rng=np.random.default_rng(0))
    batches = list(Batches(X, rows=600))
    assert len(batches) == 9
    assert all(np.shares_memory(batch.x.data, X.data) for batch in batches)
    assert all(np.shares_memory(batch.x.indices, X.indices) for batch in batches)
    np.testing.assert_array_equal(np.hstack([batch.x.toarray() for batch in batches]).T, X.toarray())
