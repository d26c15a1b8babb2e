"""Mixtures of sparse rows: those of the same rows as an array, in the memory of what is held."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize

from emlearn import MixtureEM
from emlearn.model_selection import InformationCriterionSearch
from tests.em.test_sparse import documents
from tests.helpers.trees import assert_same

WORDS = {"multinomial": 1.1, "bernoulli": 1.5, "poisson": None, "von_mises_fisher": None}


def setting(word, **params):
    """A mixture with a prior where there is one, rows, weights and the kinds of the rows."""
    X, kinds = documents()
    X = np.minimum(X, 1.0) if word == "bernoulli" else X
    X[:2, 0], X[2] = 1.0, 0.0
    if word == "von_mises_fisher":
        X[2, 0] = 1.0
        X = normalize(X)
    weight = np.random.RandomState(1).randint(1, 4, size=len(X)).astype(float)
    return MixtureEM(2, emission=word, emission_prior=WORDS[word], random_state=0, **params), X, weight, kinds


@pytest.mark.parametrize("word", WORDS)
def test_fit_is_that_of_the_array(word):
    mixture, X, weight, kinds = setting(word, tol=1e-8)
    rows = sparse.csr_matrix(X if word == "von_mises_fisher" else X.astype(np.int32))
    before = rows.copy()
    mixture.set_params(init_params=kinds)
    dense, of_sparse = (clone(mixture).fit(given, sample_weight=weight) for given in (X, rows))
    assert (rows != before).nnz == 0
    assert of_sparse.lower_bound_ == pytest.approx(dense.lower_bound_, rel=1e-10)
    assert_same(of_sparse.emission_params_, dense.emission_params_, rtol=1e-6)
    for other in (rows, rows.tocsc(), sparse.coo_array(rows)):
        for method in ("predict", "predict_proba", "score_samples"):
            expected = getattr(of_sparse, method)(X)
            np.testing.assert_allclose(getattr(of_sparse, method)(other), expected, rtol=1e-10, atol=1e-12)
    for criterion in ("score", "aic", "bic", "icl"):
        expected = getattr(of_sparse, criterion)(X, sample_weight=weight)
        assert getattr(of_sparse, criterion)(rows, sample_weight=weight) == pytest.approx(expected, rel=1e-10)
    assert of_sparse.sample(3)[0].shape == (3, X.shape[1])


@pytest.mark.parametrize("word", WORDS)
def test_race_finds_what_it_finds_in_the_array(word):
    mixture, X, _, _ = setting(word, tol=1e-8)
    rows = sparse.csr_array(X)
    dense, of_sparse = clone(mixture).fit(X), clone(mixture).fit(rows)
    assert of_sparse.lower_bound_ == pytest.approx(dense.lower_bound_, rel=1e-6)
    kinds = [[start.kind for start in fit.restarts_.starts[:7]] for fit in (dense, of_sparse)]
    assert kinds[0] == kinds[1]


def test_neither_order_nor_repetition_matters():
    mixture, X, weight, _ = setting("multinomial", n_init=8)
    counts = weight.astype(int)
    order = np.random.RandomState(3).permutation(counts.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = clone(mixture).fit(sparse.csr_array(X), sample_weight=weight)
        repeated = clone(mixture).fit(sparse.csr_array(np.repeat(X, counts, axis=0)[order]))
        twice = sparse.csr_array(X)
        twice = sparse.csr_array(
            (
                np.append(twice.data, 0.0),
                np.append(twice.indices, 29),
                np.append(twice.indptr[:-1], twice.nnz + 1),
            ),
            shape=X.shape,
        )  # a 0 that is held
        with_zero = clone(mixture).fit(twice, sample_weight=weight)
    assert_same(repeated.emission_params_, weighted.emission_params_, rtol=1e-8)
    assert_same(with_zero.emission_params_, weighted.emission_params_, rtol=1e-8)


def test_labels_of_all_rows_are_naive_bayes():
    mixture, X, _, kinds = setting("multinomial")
    rows = sparse.csr_array(X)
    peer = MultinomialNB(alpha=0.1).fit(rows, kinds)
    mixture.fit(rows, labels=kinds)
    np.testing.assert_allclose(mixture.probabilities_, np.exp(peer.feature_log_prob_), rtol=1e-10)
    np.testing.assert_allclose(mixture.weights_, np.exp(peer.class_log_prior_), rtol=1e-10)
    np.testing.assert_allclose(mixture.predict_proba(rows), peer.predict_proba(rows), rtol=1e-8, atol=1e-300)


def test_some_labels():
    mixture, X, _, kinds = setting("poisson")
    labels = np.where(np.arange(len(X)) < 12, kinds, -1)
    dense, of_sparse = (clone(mixture).fit(given, labels=labels) for given in (X, sparse.csr_array(X)))
    assert of_sparse.lower_bound_ == pytest.approx(dense.lower_bound_, rel=1e-6)


@pytest.mark.parametrize("word", ["multinomial", "bernoulli", "poisson"])
def test_what_was_never_seen_is_told_as_of_the_array(word):
    mixture, X, _, kinds = setting(word)
    mixture.set_params(emission_prior=None, init_params=kinds)
    X[:, 3], X[:, 5] = 0.0, 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture.fit(X)
    new = np.minimum(X, 1.0)
    new[7, 3], new[4, 5], new[9, 3] = 1.0, 0.0, 1.0
    said = []
    for given in (new, sparse.csr_array(new)):
        with pytest.warns(UserWarning, match="never seen in fit") as caught:
            scores = mixture.score_samples(given)
        said.append((str(caught[0].message), scores))
    assert said[0][0] == said[1][0]
    np.testing.assert_allclose(said[1][1], said[0][1], rtol=1e-10)


def test_searches_and_pipelines():
    texts = ["red apple", "green apple", "red pear pear", "fast car", "slow car car", "fast train"] * 3
    mixture = MixtureEM(2, emission="multinomial", emission_prior=1.1, n_init=4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = make_pipeline(CountVectorizer(), clone(mixture)).fit(texts).predict(texts)
        rows = CountVectorizer().fit_transform(texts)
        grid = GridSearchCV(clone(mixture), {"n_components": [1, 2]}, cv=3).fit(rows)
        search = InformationCriterionSearch(clone(mixture), {"n_components": [1, 2, 3]}).fit(rows)
    assert len(set(groups[[0, 1, 2]])) == len(set(groups[[3, 4, 5]])) == 1
    assert groups[0] != groups[3]
    assert grid.best_params_["n_components"] == 2
    assert search.predict(rows).shape == (len(texts),)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "emission='gaussian' takes no sparse input: give X.toarray"),
        ({"emission": "categorical"}, "emission='categorical' takes no sparse"),
        ({"emission": {0: "poisson", 1: "poisson"}}, "emission={0: .* takes no sparse"),
        ({"emission": "poisson", "gate": [0]}, "a mixture with a gate takes no sparse"),
    ],
)
def test_emissions_that_take_none_say_so(params, said):
    mixture = MixtureEM(2, **params)
    with pytest.raises(ValueError, match=said):
        mixture.fit(sparse.csr_array(np.array([[1.0, 0.0], [0.0, 2.0]])))
    assert not mixture.__sklearn_tags__().input_tags.sparse
    assert not hasattr(mixture, "n_features_in_")


def test_refusals_and_tags():
    mixture, X, _, _ = setting("poisson")
    rows = sparse.csr_array(X)
    assert mixture.__sklearn_tags__().input_tags.sparse
    with pytest.raises(ValueError, match="partial_fit takes arrays"):
        mixture.partial_fit(rows)
    with pytest.raises(ValueError, match="Piece 0 of X: it is sparse"):
        mixture.fit([rows, rows])
    rows.data[0] = 0.5
    with pytest.raises(ValueError, match=r"X is 0\.5 in column .*, row 0: not one of the counts"):
        mixture.fit(rows)


def test_no_array_of_the_rows_is_made():
    """2,000 rows of 20,000 columns would be an array of 320 MB, and one of bool 40 MB."""
    rng = np.random.default_rng(0)
    rows = sparse.random_array((2000, 20_000), density=1e-3, rng=rng, format="csr")
    rows.data = np.ceil(3 * rows.data)
    mixture = MixtureEM(2, emission="multinomial", emission_prior=1.1, n_init=3, max_iter=5, random_state=0)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mixture.fit(rows).score(rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * 2**20
