"""Fits of fewer rows than features are those in all features."""

import numpy as np
import pytest

from emlearn import GaussianMixtureEM
from emlearn.em import Batch, Batches
from emlearn.families import COVARIANCE_TYPES, gaussian_family
from emlearn.families.few_rows import FewRows
from emlearn.mixture._base import ENOUGH_OF_LUCK

FULL = {"full", "tied", "VVV", "EEE"}
pytestmark = pytest.mark.filterwarnings("ignore")  # so few rows are warned of


def few_rows(n=14, d=24, seed=0):
    rng = np.random.RandomState(seed)
    labels = rng.randint(2, size=n)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 9 * rng.normal(size=(2, d))[labels] + 5


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_densities_and_steps_are_those_of_all_features(covariance_type):
    x = few_rows().T
    x -= x.mean(axis=1, keepdims=True)
    x /= x.std(axis=1, keepdims=True)
    mixture = GaussianMixtureEM(2, covariance_type=covariance_type)
    mixture.n_features_in_ = len(x)
    n = x.shape[1]
    family = mixture._bound(
        gaussian_family(covariance_type, floor=1e-6), Batch(x), mixture._moments(Batches(x.T)), n
    )
    few = FewRows.of(family, Batch(x), n)
    assert few.basis.shape == (24, 13)
    resp = np.random.RandomState(1).dirichlet([1, 1], size=n).T
    coordinates = Batch(np.ascontiguousarray(few.rows(x.T).T))
    params, inside = family.start(Batch(x), resp), few.family.start(coordinates, resp)
    lifted = few.params(inside)
    np.testing.assert_allclose(lifted.means, params.means, atol=1e-12)
    np.testing.assert_allclose(lifted.covariances, params.covariances, atol=1e-12)
    here = few.family.density(inside)(coordinates)
    there = family.density(params)(Batch(x))
    np.testing.assert_allclose(
        here.log_prob + here.shared_log_prob() - few.log_volume,
        there.log_prob + there.shared_log_prob(),
        rtol=1e-7,
    )
    assert family.n_forced == few.family.n_forced + 24 - 13
    assert family.handicap(params, there.totals(resp)) == pytest.approx(
        few.family.handicap(inside, here.totals(resp)), rel=1e-6
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_a_fit_is_that_in_all_features(covariance_type, weighted, monkeypatch):
    X = few_rows()
    weight = 1.0 + np.arange(len(X)) % 3 if weighted else None

    def fitted():
        mixture = GaussianMixtureEM(
            2, covariance_type=covariance_type, n_init=5, ranking="likelihood", random_state=0
        )
        return mixture.fit(X, sample_weight=weight)

    in_few = fitted()
    monkeypatch.setattr(GaussianMixtureEM, "_few_rows", lambda self, family, sample: None)
    in_all = fitted()
    assert in_few.log_likelihood_ == pytest.approx(in_all.log_likelihood_, rel=1e-7)
    assert in_few.log_likelihood_ == pytest.approx(
        in_few.score(X, sample_weight=weight) * np.sum(np.ones(len(X)) if weight is None else weight), rel=1e-7
    )
    np.testing.assert_allclose(in_few.weights_, in_all.weights_, atol=1e-10)
    np.testing.assert_allclose(in_few.means_, in_all.means_, rtol=1e-9)
    scale = np.abs(in_all.covariances_).max()
    np.testing.assert_allclose(in_few.covariances_, in_all.covariances_, atol=1e-11 * scale)
    assert [start.kind for start in in_few.restarts_.starts] == [
        start.kind for start in in_all.restarts_.starts
    ]
    highest = [max(start.log_likelihood for start in fit.restarts_.starts) for fit in (in_few, in_all)]
    assert highest[0] == pytest.approx(highest[1], rel=1e-7)


def test_a_stream_goes_on_in_all_features(monkeypatch):
    X, later = few_rows(), few_rows(seed=1)

    def streamed():
        mixture = GaussianMixtureEM(1, random_state=0).fit(X)
        return mixture.partial_fit(later)

    in_few = streamed()
    monkeypatch.setattr(GaussianMixtureEM, "_few_rows", lambda self, family, sample: None)
    in_all = streamed()
    np.testing.assert_allclose(in_few.means_, in_all.means_, rtol=1e-8)
    np.testing.assert_allclose(in_few.covariances_, in_all.covariances_, rtol=1e-6, atol=1e-8)


def test_a_warm_start_goes_on_from_a_fit_of_few_rows():
    X = few_rows()
    mixture = GaussianMixtureEM(2, n_init=3, random_state=0).fit(X)
    again = mixture.set_params(warm_start=True)
    before = mixture.log_likelihood_
    assert again.fit(X).log_likelihood_ == pytest.approx(before, rel=1e-7)


def test_where_no_start_can_have_evidence_there_is_one_of_each_kind():
    X = few_rows()
    starts = GaussianMixtureEM(2, random_state=0).fit(X).restarts_.starts
    assert len(starts) == ENOUGH_OF_LUCK
    assert all(start.evidence == -np.inf for start in starts)
    assert len({start.kind for start in starts}) == 7
    # The likelihood, if that is what counts, may tell starts apart; so may the evidence of a shared matrix.
    assert (
        len(GaussianMixtureEM(2, ranking="likelihood", n_init=12, random_state=0).fit(X).restarts_.starts) == 12
    )
    tied = GaussianMixtureEM(2, covariance_type="tied", random_state=0).fit(X).restarts_.starts
    assert any(np.isfinite(start.evidence) for start in tied)


@pytest.mark.parametrize("covariance_type", sorted(set(COVARIANCE_TYPES) - FULL))
def test_other_forms_are_fitted_in_all_features(covariance_type):
    x = few_rows().T
    family = gaussian_family(covariance_type, floor=1e-6, n_factors=1)
    mixture = GaussianMixtureEM(2, covariance_type=covariance_type)
    sample = type("Sample", (), {"is_whole": True, "batch": Batch(x), "size": x.shape[1]})
    assert mixture._few_rows(family, sample) is None


def test_what_users_give_is_looked_at_in_all_features():
    X = few_rows()
    means = X[:2]
    mixture = GaussianMixtureEM(2, means_init=means, max_iter=0, random_state=0).fit(X)
    np.testing.assert_allclose(mixture.means_, means, rtol=1e-9)
    labels = np.arange(len(X)) % 2
    by_labels = GaussianMixtureEM(2, init_params=labels, max_iter=0, random_state=0).fit(X)
    np.testing.assert_allclose(by_labels.means_[0], X[::2].mean(axis=0), rtol=1e-8)
    holes = X.copy()
    holes[0, 0] = np.nan
    assert np.isfinite(GaussianMixtureEM(2, n_init=2, random_state=0).fit(holes).log_likelihood_)
