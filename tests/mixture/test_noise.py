"""A component without parameters, for what lies far from all others."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from emlearn import GaussianMixtureEM, MixtureEM
from emlearn.datasets import load_old_faithful
from emlearn.em import LatentModel
from emlearn.em.batches import Batches
from emlearn.families import COVARIANCE_SHAPES, Gaussian
from emlearn.families.with_noise import UniformBox, WithNoise
from emlearn.latent import MixtureWeights
from emlearn.model_selection import InformationCriterionSearch
from emlearn.testing import check_model
from tests.helpers.families import gaussian_rows, with_holes
from tests.helpers.pace import some_slow

CLEAN = np.asarray(load_old_faithful().data, dtype=float)


def with_uniform_rows(n=60):
    rng = np.random.RandomState(0)
    columns = [rng.uniform(x.min(), x.max(), n) for x in CLEAN.T]
    return np.vstack([CLEAN, np.column_stack(columns)])


X = with_uniform_rows()


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixtureEM(2, noise=True, random_state=0).fit(X)


def test_maximum_of_old_faithful_among_noise(fitted):
    """The value of an EM of its own, in units of the clean data's standard deviations."""
    volume = len(X) * np.log(CLEAN.std(axis=0)).sum()
    assert fitted.log_likelihood_ + volume == pytest.approx(-597.66, abs=5e-3)
    clean = GaussianMixtureEM(2, random_state=0).fit(CLEAN)
    off = np.abs(fitted.means_ - clean.means_)
    assert (off < [0.06, 0.3]).all()
    assert fitted.weights_[2] == pytest.approx(60 / 332, abs=0.09)
    without = GaussianMixtureEM(2, random_state=0).fit(X)
    assert (np.abs(without.means_ - clean.means_).max(axis=0) > [0.1, 2.0]).all()


def test_it_is_one_component_more(fitted):
    assert fitted.weights_.shape == (3,)
    assert fitted.means_.shape == (2, 2)
    assert fitted.n_parameters_ == 12  # with its weight
    resp = fitted.predict_proba(X)
    np.testing.assert_allclose(resp.sum(axis=1), 1.0)
    np.testing.assert_allclose(resp.mean(axis=0), fitted.weights_, atol=1e-3)
    assert set(fitted.predict(X)) == {0, 1, 2}
    assert fitted.bic(X) == pytest.approx(-2 * fitted.log_likelihood_ + 12 * np.log(len(X)), rel=1e-10)
    parts = fitted.weights_[:2] @ [
        np.exp(GaussianMixtureEM.from_parameters([1.0], m[None], c[None]).score_samples(X))
        for m, c in zip(fitted.means_, fitted.covariances_, strict=True)
    ]
    whole = np.log(parts + fitted.weights_[2] / np.ptp(X, axis=0).prod())
    np.testing.assert_allclose(fitted.score_samples(X), whole, rtol=1e-9)


def test_far_rows_are_noise_beyond_the_box_too(fitted):
    assert fitted.predict([[1e3, -1e5]]) == 2
    assert fitted.is_outlier([[1e3, -1e5], [4.3, 80.0]]).tolist() == [True, False]
    drawn, labels = fitted.sample(4000, random_state=0)
    noise = drawn[labels == 2]
    assert len(noise) / 4000 == pytest.approx(fitted.weights_[2], abs=0.03)
    assert (noise >= X.min(axis=0)).all()
    assert (noise <= X.max(axis=0)).all()


def test_a_given_density_is_that_of_rows_in_their_units(fitted):
    box = np.log(np.ptp(X, axis=0))

    def log_density(rows):
        assert rows.shape[1] == 2
        return -(~np.isnan(rows) @ box)

    given = GaussianMixtureEM(2, noise=log_density, random_state=0).fit(X)
    np.testing.assert_allclose(given.weights_, fitted.weights_, rtol=1e-9)
    assert given.log_likelihood_ == pytest.approx(fitted.log_likelihood_, rel=1e-12)
    with pytest.raises(ValueError, match="tells densities and no draws"):
        given.sample(100)
    with pytest.raises(ValueError, match="does not tell its density in some"):
        given.marginal([0])


def test_units_order_weights_and_repeats_do_not_matter(fitted):
    rng = np.random.RandomState(1)
    order = rng.permutation(len(X))
    scale = np.array([1e-3, 40.0])
    other = GaussianMixtureEM(2, noise=True, random_state=0).fit(X[order] * scale + 7)
    np.testing.assert_allclose(other.means_, fitted.means_ * scale + 7, rtol=1e-3)
    np.testing.assert_allclose(other.weights_, fitted.weights_, atol=1e-4)
    weight = rng.randint(0, 3, size=len(X)).astype(float)
    weighted = GaussianMixtureEM(2, noise=True, random_state=0).fit(X, sample_weight=weight)
    repeated = GaussianMixtureEM(2, noise=True, random_state=0).fit(np.repeat(X, weight.astype(int), axis=0))
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-6)
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, abs=1e-4)


def test_missing_entries_leave_the_box_of_the_others(fitted):
    holes = X.copy()
    holes[::4, 0] = np.nan
    holes[1::9] = np.nan
    model = GaussianMixtureEM(2, noise=True, random_state=0).fit(holes)
    np.testing.assert_allclose(model.means_, fitted.means_, rtol=0.02)
    nothing = model.predict_proba([[np.nan, np.nan]])
    np.testing.assert_allclose(nothing[0], model.weights_, rtol=1e-12)
    flags = model.is_outlier(holes, share=0.1)
    assert 0.02 < flags.mean() < 0.25
    assert not flags[1::9].any()


@pytest.mark.parametrize(
    "shape", some_slow(["full", "tied", "diag", "tied_spherical", "VEE"], ["full", "tied"])
)
def test_laws_of_em(shape):
    rng = np.random.RandomState(3)
    labels = np.arange(60) % 2
    rows = with_holes(gaussian_rows(rng, labels), rng, 0.1)
    rows[5] = 9.0
    family = Gaussian(COVARIANCE_SHAPES[shape]).beside_others()
    model = LatentModel(MixtureWeights(), WithNoise(family, UniformBox(np.full(3, -6.0), np.full(3, 9.0))))
    resp = 0.4 * (labels == np.arange(2)[:, None]) + 0.2 * rng.dirichlet(np.ones(2), size=60).T
    resp = np.vstack([resp, 1 - resp.sum(axis=0)])
    params = model.start(next(iter(Batches(rows))), resp)
    check_model(model, params, (rows, rng.uniform(0.5, 2.0, size=60)))


def test_several_fits_side_by_side_are_those_alone():
    one = GaussianMixtureEM(2, noise=True, random_state=0, n_init=8, covariance_type="diag").fit(X)
    assert one.restarts_.n_best > 1
    again = clone(one).set_params(n_jobs=2).fit(X)
    np.testing.assert_array_equal(one.means_, again.means_)


def test_standard_errors_know_of_it(fitted):
    errors = fitted.standard_errors(X)
    assert errors["weights_"].shape == (3,)
    assert (errors["weights_"] > 0).all()
    assert np.isfinite(errors["means_"]).all()


def test_one_component_and_noise():
    rng = np.random.RandomState(0)
    rows = np.vstack([rng.normal(size=(200, 2)) * 0.3, rng.uniform(-10, 10, size=(100, 2))])
    model = GaussianMixtureEM(1, noise=True, random_state=0).fit(rows)
    assert model.weights_[1] == pytest.approx(1 / 3, abs=0.05)
    assert np.abs(model.means_).max() < 0.1


def test_it_stays_last(fitted):
    model = pickle.loads(pickle.dumps(fitted)).reorder([1, 0, 2])
    np.testing.assert_array_equal(model.means_, fitted.means_[::-1])
    assert model.weights_[2] == fitted.weights_[2]
    with pytest.raises(ValueError, match="moves the noise, which is component 2"):
        model.reorder([2, 1, 0])
    warm = clone(fitted).set_params(warm_start=True).fit(X).fit(X)
    assert warm.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=1e-3)


def test_mixtures_of_any_columns_have_it(fitted):
    same = MixtureEM(2, noise=True, random_state=0).fit(X)
    np.testing.assert_allclose(same.weights_, fitted.weights_, rtol=1e-9)
    assert same.n_parameters_ == 12
    robust = MixtureEM(2, emission={0: "gaussian", 1: "student_t"}, noise=True, random_state=0).fit(X)
    assert robust.weights_.shape == (3,)
    assert robust.emission_params_[1,].df.shape == (2,)
    counts = np.column_stack([X, np.random.RandomState(0).poisson(3, size=len(X))])
    kinds = {0: "gaussian", 1: "gaussian", 2: "poisson"}
    with pytest.raises(ValueError, match=r"column 2 has counts or categories, or .*: give noise a function"):
        MixtureEM(2, emission=kinds, noise=True, random_state=0).fit(counts)
    box = np.log(np.ptp(counts, axis=0) + np.eye(3)[2]).sum()
    given = MixtureEM(2, emission=kinds, noise=lambda rows: np.full(len(rows), -box), random_state=0).fit(
        counts
    )
    assert given.weights_[2] == pytest.approx(fitted.weights_[2], abs=0.1)
    gated = MixtureEM(2, emission={0: "gaussian", 1: "gaussian"}, gate=[2], noise=True, random_state=0).fit(
        counts
    )
    assert gated.gate_coef_.shape == (3, 1)
    part, rows = same.marginal([0]), np.column_stack([X[:, 0], np.full(len(X), np.nan)])
    np.testing.assert_allclose(part.score_samples(X[:, :1]), same.score_samples(rows), rtol=1e-9)
    with pytest.raises(ValueError, match="labels are of components, of which noise is none"):
        same.fit(X, labels=np.arange(len(X)) % 2)


def test_it_may_be_told_how_much_there_is():
    places = {"means_init": [[4.3, 80], [2, 54]], "weights_init": [0.5, 0.3, 0.2]}
    for kind in (GaussianMixtureEM, MixtureEM):
        model = kind(2, noise=True, random_state=0, **places, max_iter=0)
        with pytest.warns(ConvergenceWarning):
            np.testing.assert_allclose(model.fit(X).weights_, [0.5, 0.3, 0.2])
        with pytest.raises(ValueError, match=r"weights_init has shape \(3,\); expected \(2,\)"):
            kind(2, random_state=0, **places).fit(X)


def test_a_marginal_has_its_noise(fitted):
    part = fitted.marginal([1])
    np.testing.assert_array_equal(part.weights_, fitted.weights_)
    rows = np.column_stack([np.full(50, np.nan), np.linspace(40, 100, 50)])
    np.testing.assert_allclose(part.score_samples(rows[:, 1:]), fitted.score_samples(rows), rtol=1e-9)
    with pytest.raises(ValueError, match="Noise has no moments given some columns"):
        fitted.conditional([[4.0]], [0])


def test_searches_by_criteria_and_streams():
    model = GaussianMixtureEM(noise=True, random_state=0)
    search = InformationCriterionSearch(model, {"n_components": [1, 2, 3]})
    assert search.fit(X).best_params_["n_components"] == 2
    stream = GaussianMixtureEM(2, noise=True, random_state=0)
    for part in np.array_split(np.random.RandomState(0).permutation(X), 2):
        stream.partial_fit(part)
    assert stream.weights_.shape == (3,)


def test_outliers_without_noise():
    model = GaussianMixtureEM(2, random_state=0).fit(CLEAN)
    np.testing.assert_array_equal(model.outlier_scores(CLEAN), -model.score_samples(CLEAN))
    assert 0.01 < model.is_outlier(CLEAN, share=0.05).mean() < 0.1
    assert model.is_outlier([[3.0, 30.0]], share=0.01)
    with pytest.raises(ValueError, match="share must be given where a fit has no noise"):
        model.is_outlier(CLEAN)
    with pytest.raises(ValueError, match="share=1 must be between 0 and 1"):
        model.is_outlier(CLEAN, share=1)


@pytest.mark.parametrize(
    ("rows", "noise", "message"),
    [
        (np.column_stack([CLEAN, np.ones(len(CLEAN))]), True, "all entries of column 2 are alike"),
        (CLEAN, lambda rows: 0.0, r"noise gives an array of shape \(\)"),
        (CLEAN, lambda rows: np.full(len(rows), np.nan), "noise gives NaN or infinity"),
        (CLEAN, "uniform", "noise"),
    ],
)
@pytest.mark.filterwarnings("ignore:X is constant")
def test_mistakes_are_named(rows, noise, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixtureEM(2, noise=noise, random_state=0).fit(rows)
