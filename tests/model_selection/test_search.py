"""Choice of a model by information criteria, its paths, and what it refuses."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emlearn import HMMEM, GaussianMixtureEM
from emlearn.datasets import load_airquality, load_earthquakes, load_old_faithful
from emlearn.em import Batches, LatentModel, LatentPair
from emlearn.em.information import leave_one_out
from emlearn.families import Poisson, PoissonParams
from emlearn.latent import MixtureWeights
from emlearn.model_selection import InformationCriterionSearch

FAITHFUL, IRIS = load_old_faithful().data, load_iris().data
SHAPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]


def search(grid, estimator=None, **settings):
    estimator = GaussianMixtureEM(random_state=0) if estimator is None else estimator
    return InformationCriterionSearch(estimator, grid, **settings)


def test_faithful():
    found = search({"n_components": [1, 2, 3, 4], "covariance_type": ["full", "tied", "diag"]}).fit(FAITHFUL)
    assert found.best_params_ == {"n_components": 3, "covariance_type": "tied"}
    assert -found.best_score_ == pytest.approx(2314.2957, abs=1e-3)
    results, best = found.cv_results_, found.best_estimator_
    assert results["rank"][found.best_index_] == 1
    assert sorted(results["rank"]) == list(range(1, 13))
    assert best.bic(FAITHFUL) == pytest.approx(results["bic"][found.best_index_])
    assert best.aic(FAITHFUL) == pytest.approx(results["aic"][found.best_index_])
    assert best.icl(FAITHFUL) == pytest.approx(results["icl"][found.best_index_])
    np.testing.assert_array_equal(found.predict(FAITHFUL), best.predict(FAITHFUL))
    assert found.score(FAITHFUL) == best.score(FAITHFUL)


def test_iris():
    found = search({"n_components": [1, 2, 3], "covariance_type": ["full"]}).fit(IRIS)
    assert found.best_params_["n_components"] == 2
    assert -found.best_score_ == pytest.approx(574.0178, abs=1e-3)


DATA = {
    "faithful": FAITHFUL,
    "iris": IRIS,
    "wine": load_wine().data[:, :4],
    "gaps": load_airquality().data[:, :4],
    **{f"draw {i}": np.random.RandomState(i).normal(size=(80, 2)) ** (1 + i % 3) for i in range(6)},
}


def never_falls(found):
    results = found.cv_results_
    for shape in set(results["param_covariance_type"]):
        # Components of a few rows stand as high as luck has it: such fits are left out of the choice.
        of_shape = (results["param_covariance_type"] == shape) & results["believable"]
        rises = np.diff(results["log_likelihood"][of_shape])
        assert (rises > -0.01).all(), (shape, rises)


def test_the_likelihood_does_not_fall_as_components_are_added():
    never_falls(search({"n_components": range(1, 6), "covariance_type": ["tied", "diag"]}).fit(FAITHFUL))
    gaps = search([{}, {"n_components": [4, 2, 7]}]).fit(FAITHFUL).cv_results_["log_likelihood"][[0, 2, 1, 3]]
    assert (np.diff(gaps) > 0).all()


def test_fewer_components_bear_a_fit_out():
    # Of nine full components the fit of most evidence is lower than that of eight.
    found = search({"n_components": range(1, 10)}).fit(FAITHFUL)
    assert (np.diff(found.cv_results_["log_likelihood"]) > -0.01).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", DATA)
def test_the_likelihood_never_falls(name):
    never_falls(search({"n_components": range(1, 10), "covariance_type": SHAPES}).fit(DATA[name]))


@pytest.mark.slow
def test_noise_is_one_component():
    grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied", "diag"]}
    picked = [
        search(grid).fit(np.random.RandomState(seed).normal(size=(200, 2))).best_params_["n_components"]
        for seed in range(20)
    ]
    assert picked.count(1) >= 19


def test_sequences():
    y = load_earthquakes().data
    found = search({"n_components": [1, 2, 3, 4]}, HMMEM(emission="poisson", random_state=0)).fit(y)
    expected = [-391.91892817, -341.87870101, -328.52748338]
    np.testing.assert_allclose(found.cv_results_["log_likelihood"][:3], expected, atol=1e-3)
    assert found.cv_results_["log_likelihood"][3] >= expected[2]
    assert found.best_params_ == {"n_components": 2}
    halves = search({"n_components": [1, 2]}, HMMEM(emission="poisson", random_state=0)).fit(
        y, lengths=[57, 50]
    )
    assert halves.best_estimator_.n_sequences_ == 2


def test_pipelines():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(FAITHFUL, columns=["eruptions", "waiting"])
    steps = make_pipeline(StandardScaler(), GaussianMixtureEM(random_state=0))
    found = search({"gaussianmixtureem__n_components": [1, 2, 3]}, steps).fit(frame)
    plain = search({"n_components": [1, 2, 3]}).fit(StandardScaler().fit_transform(FAITHFUL))
    np.testing.assert_allclose(found.cv_results_["bic"], plain.cv_results_["bic"], atol=1e-3)
    assert found.predict(frame).shape == (272,)
    with pytest.raises(ValueError, match="param_grid changes standardscaler__with_mean"):
        search({"standardscaler__with_mean": [True, False]}, steps).fit(frame)


def test_other_criteria():
    def n_parameters(estimator, X, y):
        return estimator.n_parameters_

    grid = {"n_components": [1, 2, 3]}
    assert search(grid, criterion=n_parameters).fit(FAITHFUL).best_params_ == {"n_components": 1}
    for criterion in ("aic", "icl", "sabic", "loo"):
        found = search(grid, criterion=criterion).fit(FAITHFUL)
        assert found.best_params_["n_components"] in (2, 3)
        assert found.best_score_ == -found.cv_results_[criterion].min()
    # As far from the likelihood as there are parameters, roughly.
    gap = found.cv_results_["loo"] + 2 * found.cv_results_["log_likelihood"]
    np.testing.assert_allclose(gap, 2 * found.cv_results_["n_parameters"], rtol=0.35)


def test_leaving_one_out_is_an_m_step_without_the_row():
    x, weight = np.array([0, 1, 1, 2, 5, 7, 9, 4.0])[:, None], np.array([1.0, 2, 1, 3, 1, 1, 2, 0])
    model = LatentModel(MixtureWeights(), Poisson())
    params = LatentPair(np.array([0.4, 0.6]), PoissonParams(np.array([[1.0], [6.0]])))
    joint = np.log(params.latent) + x * np.log(params.family.rates.ravel()) - params.family.rates.ravel()
    resp = np.exp(joint - np.logaddexp(*joint.T)[:, None])
    total = 0.0
    for i in range(8):
        rest = weight.copy()
        rest[i] -= 1
        if rest[i] >= 0:
            counts = rest @ resp
            rates = (rest * x[:, 0]) @ resp / counts
            terms = np.log(counts / counts.sum()) + x[i] * np.log(rates) - rates
            total += weight[i] * (
                np.logaddexp(*terms) - np.log(np.array([1, 1, 1, 2, 120, 5040, 362880, 24])[i])
            )
    assert leave_one_out(model, params, Batches(x, weight)) == pytest.approx(total)


@pytest.mark.slow
def test_results_do_not_depend_on_n_jobs():
    grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "diag"]}
    one, two = (search(grid, n_jobs=n).fit(IRIS).cv_results_["log_likelihood"] for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-10)


def test_what_is_wrong_is_named():
    grid = {"n_components": [1, 2]}
    with pytest.raises(ValueError, match="has no likelihood to compare"):
        search(grid, LinearRegression()).fit(FAITHFUL)
    with pytest.raises(ValueError, match="criterion='dic' is none of bic, aic, icl, sabic, loo"):
        search(grid, criterion="dic").fit(FAITHFUL)
    with pytest.raises(ValueError, match="criterion='icl' is of clusters"):
        search(grid, HMMEM(), criterion="icl").fit(FAITHFUL)
    with pytest.raises(ValueError, match="None of 2 candidates could be fitted"):
        search(grid).fit(np.full((3, 2), np.inf))
    with pytest.warns(UserWarning, match=r"1 of 2 candidates could not be fitted. The first: n_components=5"):
        found = search({"n_components": [1, 5]}).fit(FAITHFUL[:4])
    assert np.isnan(found.cv_results_["bic"][1])
    assert found.best_params_ == {"n_components": 1}
    with pytest.raises(NotFittedError):
        search(grid).predict(FAITHFUL)
    with pytest.raises(AttributeError, match="refit=False keeps no fit"):
        search(grid, refit=False).fit(FAITHFUL).predict(FAITHFUL)
