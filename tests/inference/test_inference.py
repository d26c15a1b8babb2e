"""Standard errors against known values, second differences, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from emlearn import HMMEM, BayesianGaussianMixtureEM, EMImputer, GaussianMixtureEM
from emlearn.datasets import load_airquality, load_earthquakes, load_old_faithful
from emlearn.em import Batches, LatentModel, LatentPair, fit_em
from emlearn.em.information import _by_second_differences, _Coordinates, observed_information, scores, spectrum
from emlearn.families import COVARIANCE_SHAPES, Poisson, PoissonParams
from emlearn.inference import posterior_predictive_check
from emlearn.latent import MarkovChain, MixtureWeights
from emlearn.latent.markov_chain import ChainParams
from tests.helpers.families import EACH_KIND_OF_FAMILY, FAMILIES, ONE_UNIT, problem
from tests.helpers.pace import some_slow

FAITHFUL = load_old_faithful().data


def mixture(K=2, **settings):
    return GaussianMixtureEM(K, **{"random_state": 0, "tol": 1e-9, "max_iter": 5000} | settings)


@pytest.fixture(scope="module")
def faithful():
    return mixture().fit(FAITHFUL)


# -- known values ------------------------------------------------------------------------------------------


def test_faithful(faithful):
    found = faithful.standard_errors(FAITHFUL)
    np.testing.assert_allclose(found["weights_"], 0.02908911, rtol=1e-6)
    np.testing.assert_allclose(found["means_"], [[0.03140314, 0.45618602], [0.02710835, 0.59187377]], rtol=2e-6)
    expected = [[0.01887187, 0.21041777, 3.92514376], [0.01057496, 0.16600166, 4.85472218]]
    np.testing.assert_allclose(found["covariances_"][:, [0, 0, 1], [0, 1, 1]], expected, rtol=1e-6)


def test_earthquakes():
    y = load_earthquakes().data
    model = HMMEM(2, emission="poisson", random_state=0, tol=1e-9, max_iter=5000).fit(y)
    found = model.infer(y)
    np.testing.assert_allclose(found.standard_errors["rates_"].ravel(), [0.717184, 1.382455], rtol=1e-5)
    np.testing.assert_allclose(
        found.standard_errors["transmat_"][[0, 1], [1, 0]], [0.037623, 0.063609], rtol=2e-5
    )
    # The sequence begins in the first state for certain.
    assert found.fixed == ["startprob_[0]", "startprob_[1]"]
    assert np.isnan(found.standard_errors["startprob_"]).all()


def test_airquality():
    X = load_airquality().data[:, :4]
    model = EMImputer(ridge=0, tol=1e-9, max_iter=5000).fit(X)
    expected = [2.7824979, 7.4283724, 0.2838855, 0.7627169]
    np.testing.assert_allclose(model.standard_errors(X)["mean_"], expected, rtol=1e-6)


def test_london_deaths():
    data = np.arange(10)[:, None], np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    model = LatentModel(MixtureWeights(), Poisson())
    start = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    params = fit_em(model, start, data, tol=1e-11).params
    values, directions = spectrum(observed_information(model, params, data).observed)
    # Coordinates are the roots a, b of the weights, which are a² / (a² + b²), and the logarithms of rates.
    (a, b), rates = np.sqrt(params.latent), params.family.rates.ravel()
    slopes = np.array([[2 * a * b**2, -2 * a**2 * b, 0, 0], [0, 0, rates[0], 0], [0, 0, 0, rates[1]]])
    error = np.sqrt((((slopes @ directions) ** 2) / values).sum(axis=1))
    np.testing.assert_allclose(error, [0.194684, 0.350030, 0.250478], rtol=1e-5)


# -- laws --------------------------------------------------------------------------------------------------

MODELS = [(name, latent) for name in FAMILIES for latent in ("weights", "chain")]
KEPT = [(name, "weights" if i % 2 else "chain") for i, name in enumerate(EACH_KIND_OF_FAMILY[::6])]


@pytest.mark.parametrize(("name", "latent"), some_slow(MODELS, KEPT))
def test_information_is_minus_the_second_difference(name, latent):
    model, params, (X, weight) = problem(name)
    data = Batches(X, weight)
    if latent == "chain":
        model = LatentModel(MarkovChain(), model.family)
        params = LatentPair(
            ChainParams(np.array([0.6, 0.4]), np.array([[0.8, 0.2], [0.3, 0.7]])), params.family
        )
        data = Batches(X, [1.0, 2.0, 0.5], lengths=[20, 33, 7])
    for _ in range(3):  # away from the start, not yet at a maximum
        params = model.maximize(data.sum(model.expectation(params)).stats, params)
    found = observed_information(model, params, data)
    at = _Coordinates(model, found.params, found.free)
    expected, slope = _by_second_differences(at, data)
    size = np.abs(expected).max()
    np.testing.assert_allclose(found.observed, expected, rtol=0, atol=3e-5 * size)
    np.testing.assert_allclose(found.score, slope, rtol=0, atol=1e-5 * size)


def test_scores_of_units_add_up(faithful):
    data = faithful._seen_again(FAITHFUL, sample_weight=np.arange(272) % 3).data
    found = observed_information(faithful._model, faithful._params, data)
    slopes, weight = scores(faithful._model, found.params, data, found.free)
    np.testing.assert_allclose(weight @ slopes, found.score, rtol=0, atol=1e-4)
    assert np.abs(found.score).max() > 1  # these weights are not those of the fit


@pytest.mark.parametrize("shape", some_slow(COVARIANCE_SHAPES, ["full", "tied", "VEI"]))
def test_units_do_not_matter(shape):
    X = load_iris().data[:, :2]
    A, b = np.array([2.0, 1e-3]), np.array([-5.0, 40.0])
    here = mixture(covariance_type=shape, means_init=[[5.0, 3.4], [6.3, 2.9]]).fit(X)
    there = mixture(covariance_type=shape, means_init=np.array([[5.0, 3.4], [6.3, 2.9]]) * A + b).fit(X * A + b)
    if "spherical" in shape or shape in ONE_UNIT:
        A = np.full(2, 2.0)
        there = mixture(covariance_type=shape, means_init=np.array([[5.0, 3.4], [6.3, 2.9]]) * A).fit(X * A)
        b = np.zeros(2)
    here, there = here.standard_errors(X), there.standard_errors(X * A + b)
    np.testing.assert_allclose(there["means_"], here["means_"] * A, rtol=1e-4)
    np.testing.assert_allclose(there["weights_"], here["weights_"], rtol=1e-4)


def test_weights_are_repetition(faithful):
    X, times = FAITHFUL, 1 + np.arange(272) % 2
    start = {"means_init": faithful.means_, "weights_init": faithful.weights_}
    weighted, repeated = (
        mixture(**start).fit(X, sample_weight=times),
        mixture(**start).fit(np.repeat(X, times, axis=0)),
    )
    for kind in ("observed", "opg"):
        expected = repeated.standard_errors(np.repeat(X, times, axis=0), kind=kind)["means_"]
        np.testing.assert_allclose(
            weighted.standard_errors(X, sample_weight=times, kind=kind)["means_"], expected, rtol=1e-4
        )


def test_sandwiches(faithful):
    robust = faithful.standard_errors(FAITHFUL, kind="robust")["means_"]
    alone = faithful.standard_errors(FAITHFUL, kind="robust", groups=np.arange(272))["means_"]
    np.testing.assert_allclose(alone, robust, rtol=1e-10)
    np.testing.assert_allclose(robust, faithful.standard_errors(FAITHFUL)["means_"], rtol=0.15)
    # The same rows twice, told so, are worth no more than once.
    twice, groups = np.repeat(FAITHFUL, 2, axis=0), np.repeat(np.arange(272), 2)
    model = mixture(means_init=faithful.means_).fit(twice)
    again = model.standard_errors(twice, kind="robust", groups=groups)["means_"]
    np.testing.assert_allclose(again, robust, rtol=1e-4)


def test_one_normal_has_the_errors_of_the_textbook():
    x = np.random.RandomState(0).normal(3.0, 2.0, size=(50, 1))
    model = mixture(1).fit(x)
    variance = x.var()
    found = model.standard_errors(x)
    assert found["means_"][0, 0] == pytest.approx(np.sqrt(variance / 50), rel=1e-6)
    assert found["covariances_"][0, 0, 0] == pytest.approx(variance * np.sqrt(2 / 50), rel=1e-6)
    # ½ n log(1 + (m − x̄)² / s²) is half the quantile at the ends of the profile's interval.
    half = np.sqrt(variance * np.expm1(stats.chi2.ppf(0.95, 1) / 50))
    low, high = model.profile_likelihood("means_[0, 0]", x)
    np.testing.assert_allclose([low, high], [x.mean() - half, x.mean() + half], rtol=1e-4)
    low, high = model.profile_likelihood(lambda e: e.covariances_[0, 0, 0], x)
    for end in (low, high):
        ratio = variance / end
        assert 50 * (ratio - 1 - np.log(ratio)) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-3)


def test_functions_and_tests_of_estimates(faithful):
    found = faithful.infer(FAITHFUL)
    apart = found.function_se(lambda e: e.means_[0] - e.means_[1])
    R = np.zeros((2, len(found.labels)))
    for i in range(2):
        R[i, found.labels.index(f"means_[0, {i}]")], R[i, found.labels.index(f"means_[1, {i}]")] = 1, -1
    np.testing.assert_allclose(apart.covariance, R @ found.covariance @ R.T, rtol=1e-5)
    test = found.wald_test(R)
    distance = faithful.means_[0] - faithful.means_[1]
    assert test.statistic == pytest.approx(distance @ np.linalg.solve(apart.covariance, distance), rel=1e-6)
    assert (test.df, test.pvalue < 1e-100) == (2, True)
    assert found.wald_test(R, distance).pvalue == pytest.approx(1.0)
    assert found.wald_test(np.vstack([R, R])).df == 2  # said twice
    scale = found.function_se(lambda e: np.sqrt(e.covariances_[0, 0, 0]))
    half = faithful.standard_errors(FAITHFUL)["covariances_"][0, 0, 0] / (2 * scale.value)
    assert scale.standard_error == pytest.approx(half, rel=1e-6)


def test_intervals_stay_where_parameters_do(faithful):
    for level in (0.5, 0.999999):
        found = faithful.confidence_intervals(FAITHFUL, level=level)
        low, high = found["weights_"]
        assert (low > 0).all()
        assert (high < 1).all()
        low, high = found["covariances_"]
        assert (np.diagonal(low, axis1=1, axis2=2) > 0).all()
        for name, (low, high) in found.items():
            assert (low < getattr(faithful, name)).all()
            assert (high > getattr(faithful, name)).all()


def test_turns_of_factors_are_not_estimable():
    X = load_iris().data
    model = mixture(1, covariance_type="factor", n_factors=2).fit(X)
    found = model.infer(X)
    assert {label.split("[")[0] for label in found.not_estimable} == {"loadings_"}
    assert np.isnan(found.standard_errors["loadings_"]).all()
    of_matrix = found.function_se(lambda e: e.loadings_[0] @ e.loadings_[0].T)
    assert np.isfinite(of_matrix.standard_error).all()


def test_summary(faithful):
    names = ["duration of the eruption", "waiting"]
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(FAITHFUL, columns=names)
    summary = mixture(means_init=faithful.means_).fit(frame).summary(frame)
    text = str(summary)
    assert max(map(len, text.splitlines())) <= 80
    for told in ("log-likelihood: -1130.26", "AIC", "BIC", "SABIC", "ICL", "entropy", "[0, wai", "79.97"):
        assert told in text
    table = summary.to_frame()
    assert table.loc["means_[0, waiting]", "std err"] == pytest.approx(0.456186, rel=1e-5)
    assert "0.4562" in summary.to_latex()
    assert "<td>means_[0, waiting]</td>" in summary._repr_html_()


def test_what_a_model_does_not_make_is_found(faithful):
    def kurtosis(X):
        return stats.kurtosis(X[:, 0])

    one = mixture(1).fit(FAITHFUL)
    found = posterior_predictive_check(one, FAITHFUL, statistic=kurtosis, n=99, random_state=0)
    assert (found.observed, found.pvalue) == (stats.kurtosis(FAITHFUL[:, 0]), 0.02)  # 2 (1 + 0) / (1 + 99)
    assert posterior_predictive_check(faithful, FAITHFUL, statistic=kurtosis, n=99, random_state=0).pvalue > 0.1
    with pytest.raises(ValueError, match="A EMImputer does not draw"):
        posterior_predictive_check(EMImputer().fit(FAITHFUL), FAITHFUL, statistic=kurtosis)
    with pytest.raises(ValueError, match="n=0 must be"):
        posterior_predictive_check(one, FAITHFUL, statistic=kurtosis, n=0)


# -- bad input ---------------------------------------------------------------------------------------------


def test_what_is_wrong_is_named(faithful):
    with pytest.raises(NotFittedError):
        mixture().standard_errors(FAITHFUL)
    with pytest.raises(ValueError, match="kind='sandwich' is none of observed, opg, robust"):
        faithful.standard_errors(FAITHFUL, kind="sandwich")
    with pytest.raises(ValueError, match="offset is nothing that a GaussianMixtureEM is fitted to"):
        faithful.standard_errors(FAITHFUL, offset=np.zeros(272))
    with pytest.raises(ValueError, match=r"groups say which rows depend .* kind='robust'"):
        faithful.standard_errors(FAITHFUL, groups=np.arange(272))
    with pytest.raises(ValueError, match=r"groups has shape \(3,\), but X has 272 rows"):
        faithful.standard_errors(FAITHFUL, groups=np.arange(3), kind="robust")
    with pytest.raises(ValueError, match="level=2"):
        faithful.confidence_intervals(FAITHFUL, level=2)
    with pytest.raises(ValueError, match=r"R has shape \(1, 3\), but there are 14 estimates"):
        faithful.wald_test(FAITHFUL, R=[1, 0, 0])
    with pytest.raises(ValueError, match="'mean' is none of the labels"):
        faithful.profile_likelihood("mean", FAITHFUL)
    with pytest.raises(ValueError, match="profile one of them at a time"):
        faithful.profile_likelihood(lambda e: e.means_, FAITHFUL)
    for other in (BayesianGaussianMixtureEM(2, random_state=0), mixture(assignment="hard")):
        with pytest.raises(ValueError, match="no maximum of a likelihood"):
            other.fit(FAITHFUL).standard_errors(FAITHFUL)


def test_an_estimate_that_is_fixed_cannot_be_tested():
    y = load_earthquakes().data
    found = HMMEM(2, emission="poisson", random_state=0).fit(y).infer(y)
    R = np.zeros(len(found.labels))
    R[0] = 1
    with pytest.raises(ValueError, match=r"R names startprob_\[0\], which has no standard error"):
        found.wald_test(R)


def test_other_data_and_fits_that_have_not_arrived_are_told(faithful):
    with pytest.warns(UserWarning, match="These are not the data of the fit: their log-likelihood is"):
        faithful.standard_errors(FAITHFUL[:200])
    with pytest.warns(UserWarning, match="These are not the data of the fit"):  # as many rows, about as likely
        faithful.standard_errors(np.vstack([FAITHFUL[:271], FAITHFUL[:1]]))
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        short = mixture(max_iter=1, n_init=1).fit(FAITHFUL + 0.0)
    with pytest.warns(UserWarning, match="not at a maximum: some .* nats are to be gained"):
        short.standard_errors(FAITHFUL)


# -- simulation --------------------------------------------------------------------------------------------


def holds(found, truth, name):
    low, high = found[name]
    true = getattr(truth, name)
    return ((low <= true) & (true <= high)).ravel()


@pytest.mark.slow
def test_intervals_of_a_mixture_hold():
    rng, n, hits = np.random.RandomState(0), 500, []
    truth = GaussianMixtureEM.from_parameters(
        weights=[0.6, 0.4], means=[[0.0, 0.0], [3.0, 1.0]], covariances=[np.eye(2), [[1.0, 0.5], [0.5, 2.0]]]
    )
    for _ in range(600):
        X, _ = truth.sample(n, random_state=rng)
        start = {"weights_init": truth.weights_, "means_init": truth.means_}
        fit = mixture(**start, tol=1e-4).fit(X)
        found = fit.confidence_intervals(X)
        hits.append(np.concatenate([holds(found, truth, name) for name in ("weights_", "means_")]))
    share = np.mean(hits, axis=0)
    assert (share >= 0.93).all()
    assert (share <= 0.97).all()


@pytest.mark.slow
def test_intervals_of_transitions_hold():
    rng = np.random.RandomState(1)
    truth = HMMEM.from_parameters(
        startprob=[0.5, 0.5],
        transmat=[[0.9, 0.1], [0.2, 0.8]],
        means=[[0.0], [2.0]],
        covariances=[[[1.0]], [[1.0]]],
    )
    hits = []
    for _ in range(400):
        X, _ = truth.sample(500, random_state=rng)
        fit = HMMEM(2, means_init=truth.means_, transmat_init=truth.transmat_).fit(X)
        found = fit.confidence_intervals(X)
        hits.append(np.concatenate([holds(found, truth, name) for name in ("transmat_", "means_")]))
    assert 0.93 < np.mean(hits) < 0.97
