"""More rows than the race looks at: it runs on a sample, and what is found there is fitted to all."""

import numpy as np
import pytest

from emlearn import GaussianMixtureEM
from emlearn._sample import SAMPLE_ROWS
from emlearn.em import LatentModel, LatentPair, Start, race
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights

N = 3 * (SAMPLE_ROWS // 2)


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    return np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 6.0]], N // 3, axis=0) + rng.normal(size=(N, 2))


def mixture(**kwargs):
    return GaussianMixtureEM(3, **{"random_state": 0, "n_init": 5, **kwargs})


def test_race_on_a_sample_finds_the_maximum_of_all(X):
    found = mixture().fit(X)
    truth = mixture(init_params=np.repeat([0, 1, 2], N // 3)).fit(X)
    assert found.converged_
    assert found.log_likelihood_ == pytest.approx(truth.log_likelihood_, abs=1e-3)
    assert found.score(X) == pytest.approx(found.lower_bound_, rel=1e-12)


def test_threads_change_nothing(X):
    one, two = mixture().fit(X), mixture(n_jobs=2).fit(X)
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_memory_map_gives_the_same(X, tmp_path):
    X.tofile(tmp_path / "rows")
    rows = np.memmap(tmp_path / "rows", mode="r", dtype=np.float64, shape=X.shape)
    np.testing.assert_array_equal(mixture().fit(rows).means_, mixture().fit(X).means_)


def test_weight_zero_is_absence(X):
    kept = np.sort(np.random.RandomState(1).choice(N, 600, replace=False))
    weight = np.zeros(N)
    weight[kept] = 1.0
    weighted, alone = mixture().fit(X, sample_weight=weight), mixture().fit(X[kept])
    np.testing.assert_allclose(weighted.means_, alone.means_, rtol=1e-10)
    assert weighted.n_iter_ == alone.n_iter_


def test_one_heavy_row_does_not_hide_the_others(X):
    weight = np.ones(N)
    weight[7] = 0.2 * N
    fitted = mixture(covariance_type="spherical").fit(X, sample_weight=weight)
    assert fitted.converged_
    weight[7] = 1e9
    GaussianMixtureEM().fit(X, sample_weight=weight)  # a single component: no warning, no error


@pytest.mark.parametrize("scale", [1e-20, 1e-110, 1e110])
def test_scale_of_the_weights_does_not_matter(X, scale):
    some = X[:: N // 300]
    plain = mixture(max_iter=3, tol=1e-300, init_params=np.arange(len(some)) % 3)
    with pytest.warns(match="max_iter=3"):
        plain.fit(some)
    scaled = mixture(max_iter=3, tol=1e-300, init_params=np.arange(len(some)) % 3)
    with pytest.warns(match="max_iter=3"):
        scaled.fit(some, sample_weight=np.full(len(some), scale))
    np.testing.assert_allclose(scaled.means_, plain.means_, rtol=1e-9)


def test_warm_start_goes_on_where_it_was(X):
    fitted = mixture(warm_start=True).fit(X)
    reached = fitted.log_likelihood_
    fitted.fit(X)
    assert fitted.lower_bounds_[0] * N == pytest.approx(reached, abs=1e-5)
    assert fitted.log_likelihood_ >= reached - 1e-6


def test_rare_label_is_not_lost(X):
    labels = np.repeat([0, 1], N // 2)
    labels[:3] = 2
    assert mixture(init_params=labels).fit(X).weights_.min() > 0


def test_single_start_stays_single(X):
    assert len(mixture(n_init=1).fit(X[:300]).restarts_.starts) == 1


def test_record_names_the_start_that_was_returned():
    """The winner on the sample need not be the winner on all data."""
    rng = np.random.RandomState(0)
    left, right = rng.normal(-4, 1, size=(300, 1)), rng.normal(4, 1, size=(300, 1))
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["tied_spherical"]))

    def pair(kind, centre):
        family = GaussianParams(np.array([[centre - 0.5], [centre + 0.5]]), np.array([1.0]))
        return Start(kind, lambda: LatentPair(np.array([0.5, 0.5]), family))

    starts = [pair("left", -4.0), pair("right", 4.0)]
    data = np.vstack([left, right, right + 0.1])
    result = race(model, starts, data, sample=np.vstack([left, right[:20]]))
    (best,) = [start for start in result.restarts.starts if start.status == "best"]
    alone = race(model, [start for start in starts if start.kind == best.kind], data)
    assert result.best.log_likelihood == pytest.approx(alone.best.log_likelihood, abs=0.1)


def test_nothing_to_race():
    with pytest.raises(ValueError, match="no start to race"):
        race(LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"])), [], np.ones((3, 1)))
