"""Rows of one pattern as few points that are worth as much."""

import numpy as np
import pytest

from emlearn import EMImputer
from emlearn.em import Affine, Batches, LatentModel, LatentPair
from emlearn.em.trees import leaves
from emlearn.families import COVARIANCE_SHAPES, FactorGaussian, GaussianParams, IncompleteGaussian
from emlearn.families.factor import FactorParams
from emlearn.impute import _sigma_points as module
from emlearn.impute._sigma_points import sigma_points
from emlearn.latent import MixtureWeights

UNITS = Affine(np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0]))


@pytest.fixture
def X():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3)) + 5.0
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    X[:3] = np.nan
    return X


def models():
    rng = np.random.RandomState(1)
    root = rng.normal(size=(3, 3))
    mean = rng.normal(size=(1, 3))
    full = GaussianParams(mean, (root @ root.T + np.eye(3))[None])
    factor = FactorParams(mean, rng.normal(size=(1, 3, 2)), np.ones((1, 3)))
    yield IncompleteGaussian(COVARIANCE_SHAPES["full"]), full
    yield IncompleteGaussian(COVARIANCE_SHAPES["diag"]), GaussianParams(mean, np.ones((1, 3)))
    yield FactorGaussian(2), factor


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunk_rows", [50, 10_000])
def test_an_e_step_cannot_tell_points_from_rows(X, weighted, chunk_rows, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", chunk_rows)
    monkeypatch.setattr(module, "WORTH_OF_ALL", 2.0)
    weight = np.random.RandomState(2).randint(0, 3, size=len(X)).astype(float) if weighted else None
    rows, counts = sigma_points(Batches(X, weight), UNITS)
    assert len(rows) < 60
    some = ~np.isnan(X).all(axis=1)
    assert counts.sum() == pytest.approx(some.sum() if weight is None else weight[some].sum())
    for family, params in models():
        model = LatentModel(MixtureWeights(), family)
        e_step = model.expectation(LatentPair(np.ones(1), params))
        kept = None if weight is None else weight[some]
        whole = Batches(X[some], kept, units=UNITS).sum(e_step)
        points = Batches(rows, counts).sum(e_step)
        assert points.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-11)
        for a, b in zip(leaves(points.stats), leaves(whole.stats), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


def test_rows_that_share_no_pattern_stay_as_they_are(X):
    rng = np.random.RandomState(3)
    wide = rng.normal(size=(200, 40))
    wide[rng.uniform(size=wide.shape) < 0.2] = np.nan
    assert sigma_points(Batches(wide), Affine(np.zeros(40), np.ones(40))) is None


def test_collinear_rows_give_finite_points():
    X = np.outer(np.arange(50.0), [1.0, 2.0, 3.0])
    rows, counts = sigma_points(Batches(X), Affine(np.zeros(3), np.ones(3)))
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.average(rows, axis=0, weights=counts), X.mean(axis=0))
    np.testing.assert_allclose(np.cov(rows.T, aweights=counts, ddof=0), np.cov(X.T, ddof=0), rtol=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied_diag"])
def test_a_fit_to_points_is_the_fit_to_rows(X, covariance_type, monkeypatch):
    imputer = EMImputer(covariance_type=covariance_type, tol=1e-9)
    points = imputer.fit(X).transform(X)
    reported = imputer.log_likelihood_, imputer.score(X)
    monkeypatch.setattr(module, "WORTH_OF_ALL", -1.0)
    np.testing.assert_allclose(imputer.fit(X).transform(X), points, rtol=1e-5)
    assert (imputer.log_likelihood_, imputer.score(X)) == pytest.approx(reported, abs=1e-6)


def test_a_chunk_without_patterns_among_others_that_have_some(monkeypatch):
    """Its rows are taken at the end, and not at all where all chunks are like that."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 100)
    rng = np.random.RandomState(4)
    wide = rng.normal(size=(450, 8))
    wide[100:200][rng.uniform(size=(100, 8)) < 0.5] = np.nan
    data, taken, take = Batches(wide, np.ones(450)), [], Batches.take
    monkeypatch.setattr(Batches, "take", lambda self, rows: taken.extend(rows) or take(self, rows))
    rows, weight = sigma_points(data, Affine(np.zeros(8), np.ones(8)))
    assert taken == list(range(100, 200))
    some = ~np.isnan(wide).all(axis=1)
    assert weight.sum() == pytest.approx(some.sum())
    assert len(rows) < 120
    np.testing.assert_allclose(weight @ np.nan_to_num(rows), np.nan_to_num(wide).sum(axis=0), atol=1e-9)
    assert sigma_points(Batches(wide[100:200]), Affine(np.zeros(8), np.ones(8))) is None
    assert len(taken) == 100
