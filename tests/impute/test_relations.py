"""Linear relations that hold exactly: EMImputer imputes by them, and its draws keep them."""

import numpy as np
import pytest

from emlearn import EMImputer
from emlearn.datasets import load_airquality
from emlearn.em import Affine
from emlearn.impute._relations import find_relations


def tables():
    rng = np.random.default_rng(15)
    a, b = rng.normal(50, 10, 100), rng.normal(30, 5, 100)
    yield "a total", np.c_[a, b, a + b], [[1, 1, -1]]
    W = rng.normal(size=(200, 5)) * [1, 10, 100, 1, 1] + 1e4
    W = np.c_[W, W[:, 1], 3 - 2 * W[:, 0], W[:, 2] + W[:, 3]]
    yield "copies and sums", W, [[0, 1, 0, 0, 0, -1, 0, 0], [2, 0, 0, 0, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0, 0, -1]]
    W = np.c_[rng.normal(size=(150, 3)), np.eye(4)[rng.integers(4, size=150)]]
    yield "indicators", W, [[0, 0, 0, 1, 1, 1, 1]]
    W = rng.normal(size=(150, 25))
    W = np.c_[W, W[:, 0] + W[:, 1] + W[:, 2]]
    yield "in no complete row", W, [[1, 1, 1] + 22 * [0] + [-1]]


@pytest.mark.parametrize(
    ("name", "whole", "relations"), list(tables()), ids=lambda x: x if type(x) is str else ""
)
@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"n_components": 2, "n_init": 2, "max_iter": 30, "tol": 1.0}, marks=pytest.mark.slow)],
    ids=len,
)
def test_relations_are_kept(name, whole, relations, settings):
    relations = np.array(relations, dtype=np.float64)
    gone = np.random.default_rng(0).uniform(size=whole.shape) < (0.15 if name != "in no complete row" else 0.3)
    X, spread = np.where(gone, np.nan, whole), whole.std(axis=0)
    imputer = EMImputer(random_state=0, **settings)
    imputer.fit(X)
    filled, std, (lower, upper) = imputer.transform(X), imputer.conditional_std(X), imputer.predict_interval(X)
    constants = whole[0] @ relations.T
    for completed in (filled, *imputer.sample(X, 2)):
        np.testing.assert_allclose(completed @ relations.T, np.tile(constants, (len(X), 1)), atol=1e-9)
    certain = np.zeros_like(gone)
    for relation in relations:
        involved = relation != 0
        alone = gone & involved & ((gone & involved).sum(axis=1) == 1)[:, None]
        certain |= alone
    assert certain.sum() > 5
    assert np.abs((filled - whole) / spread)[certain].max() < 1e-6
    assert (std / spread)[certain].max() < 1e-6
    assert ((upper - lower) / spread)[certain].max() < 1e-6


def test_what_is_known_of_a_sum_narrows_its_parts():
    """Two parts of a known total: their deviations are opposite, and smaller than without the total."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(300, 2))
    X = np.c_[W, W.sum(axis=1)]
    X[:40, :2] = np.nan
    imputer = EMImputer(random_state=0).fit(X)
    std = imputer.conditional_std(X)[:40, :2]
    np.testing.assert_allclose(std, np.sqrt(0.5), rtol=0.15)  # of one of two independent parts, given the sum
    draws = np.array(imputer.sample(X, 50))[:, :40, :2]
    np.testing.assert_allclose(draws.sum(axis=2), np.tile(X[:40, 2], (50, 1)), atol=1e-9)
    assert 0.55 < draws.std(axis=0).mean() < 0.85


def test_no_relation_is_made_up():
    """Few rows, ties and strong but inexact relations are none."""
    rng = np.random.default_rng(0)
    near = rng.normal(size=(100, 2))
    for X in (
        rng.normal(size=(8, 12)),
        rng.integers(2, size=(12, 6)).astype(float),
        np.c_[near, near.sum(axis=1) + 1e-5 * rng.normal(size=100)],
        load_airquality().data[:, :4],
    ):
        units = Affine(np.nanmean(X, axis=0), np.nanstd(X, axis=0))
        d = X.shape[1]
        assert find_relations(X, units, np.arange(d), d, lambda d=d: np.ones((d, d))) is None


def test_a_stream_that_breaks_a_relation_forgets_it():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(6000, 2))
    X = np.c_[W, W.sum(axis=1)]
    row = np.array([[1.0, np.nan, 3.0]])
    imputer = EMImputer(random_state=0).partial_fit(X)
    assert imputer.transform(row)[0, 1] == pytest.approx(2.0, abs=1e-9)
    imputer.partial_fit(X[:50] + np.array([0.0, 0.0, 5.0]))
    assert imputer.transform(row)[0, 1] != pytest.approx(2.0, abs=1e-6)
