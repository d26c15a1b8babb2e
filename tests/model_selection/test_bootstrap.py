"""Bootstrap of estimates, tests by simulation and stability of clusters."""

import numpy as np
import pytest
from scipy import stats

from emlearn import HMMEM, EMImputer, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn.datasets import load_earthquakes, load_npreg, load_old_faithful
from emlearn.model_selection import bootstrap, bootstrap_lrt, stability

FAITHFUL = load_old_faithful().data


def mixture(K=2, **settings):
    return GaussianMixtureEM(K, random_state=0, **settings)


@pytest.fixture(scope="module")
def faithful():
    return mixture().fit(FAITHFUL)


@pytest.mark.parametrize("kind", ["weights", "parametric"])
def test_standard_errors_are_those_of_the_information(faithful, kind):
    found = bootstrap(faithful, FAITHFUL, n=200, kind=kind, random_state=0)
    expected = faithful.infer(FAITHFUL)
    assert found.labels == expected.labels
    np.testing.assert_allclose(found.estimates, expected.estimates, rtol=1e-12)
    for name in ("weights_", "means_"):
        np.testing.assert_allclose(found.standard_errors[name], expected.standard_errors[name], rtol=0.2)
    for how in ("percentile", "bca"):
        low, high = found.confidence_intervals(kind=how)["means_"]
        wald_low, wald_high = expected.confidence_intervals()["means_"]
        width = wald_high - wald_low
        assert (np.abs(low - wald_low) < 0.25 * width).all()
        assert (np.abs(high - wald_high) < 0.25 * width).all()


def test_intervals_of_a_variance_lean_as_far_as_efron_says():
    # For the variance of normal rows both corrections are known: z0 and a.
    x = np.random.RandomState(0).normal(size=(60, 1))
    found = bootstrap(mixture(1).fit(x), x, n=2, random_state=0)
    centred = (x - x.mean()).ravel() ** 2
    influence = centred - centred.mean()
    expected = np.sum(influence**3) / (6 * np.sum(influence**2) ** 1.5)
    place = found.labels.index("covariances_[0, 0, 0]")
    assert found._acceleration[place] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_draws_do_not_depend_on_n_jobs(faithful):
    one, two = (bootstrap(faithful, FAITHFUL, n=12, random_state=3, n_jobs=k).replicates for k in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-10)


def test_components_stay_next_to_their_likes(faithful):
    found = bootstrap(faithful, FAITHFUL, n=30, random_state=0)
    place = [found.labels.index(f"means_[{k}, 1]") for k in range(2)]
    assert (found.replicates[:, place[0]] > found.replicates[:, place[1]] + 10).all()


def test_weights_and_gaps():
    X = FAITHFUL.copy()
    X[::7, 0] = np.nan
    weight = 1.0 + np.arange(272) % 2
    model = EMImputer(ridge=0).fit(X, sample_weight=weight)
    found = bootstrap(model, X, n=100, sample_weight=weight, random_state=0)
    # Rows of weight 2 are drawn together: 272 rows, and not 408, tell of the means.
    expected = model.standard_errors(X, sample_weight=weight, kind="robust")["mean_"]
    np.testing.assert_allclose(found.standard_errors["mean_"], expected, rtol=0.25)
    drawn = bootstrap(mixture(1).fit(X), X, n=3, kind="parametric", random_state=0)
    assert np.isfinite(drawn.replicates).all()


def test_sequences():
    y = load_earthquakes().data
    model = HMMEM(2, emission="poisson", random_state=0).fit(y)
    for kind in ("blocks", "parametric"):
        found = bootstrap(model, y, n=20, kind=kind, random_state=0)
        assert found.replicates.shape == (20, len(found.labels))
        assert np.isfinite(found.replicates).all()
    with pytest.raises(ValueError, match="There is one sequence"):
        bootstrap(model, y, n=2)
    several = HMMEM(2, emission="poisson", random_state=0).fit(y, lengths=[20] * 5 + [7])
    assert bootstrap(several, y, lengths=[20] * 5 + [7], n=5, random_state=0).n_failed == 0


def test_one_component_or_two(faithful):
    test = bootstrap_lrt(mixture(1), mixture(2, n_init=2), FAITHFUL, n=9, random_state=0)
    assert test.statistic == pytest.approx(319.06557, abs=1e-3)
    assert test.pvalue == 0.1  # (1 + 0) / (1 + 9)
    assert len(test.replicates) == 9


def test_several_components_more():
    shown = np.repeat([0.0, 8.0, 20.0], 20)[:, None] + np.random.RandomState(0).normal(size=(60, 1))
    test = bootstrap_lrt(mixture(1), mixture(3, n_init=1), shown, n=3, random_state=0)
    expected = mixture(3).fit(shown).log_likelihood_ - mixture(1).fit(shown).log_likelihood_
    assert test.statistic == pytest.approx(2 * expected, abs=0.02)
    assert test.pvalue == 0.25  # (1 + 0) / (1 + 3)


@pytest.mark.slow
def test_ten_exceedances_are_enough():
    noise = np.random.RandomState(2).normal(size=(60, 1))
    one = bootstrap_lrt(mixture(1, n_init=1), mixture(2, n_init=1), noise, n=99, random_state=0)
    assert len(one.replicates) < 99  # ten exceedances come sooner
    assert one.pvalue == 10 / len(one.replicates)
    assert np.count_nonzero(one.replicates >= one.statistic) == 10
    assert one.smaller.n_components == 1


def test_stability(faithful):
    found = stability(faithful, FAITHFUL, n=5, random_state=0)
    assert (found.jaccard > 0.95).all()
    assert found.adjusted_rand > 0.95
    noise = np.random.RandomState(0).normal(size=(100, 2))
    assert stability(mixture(3).fit(noise), noise, n=5, random_state=0).jaccard.max() < 0.85
    npreg = load_npreg()
    X = np.column_stack([npreg.data, npreg.data**2])
    lines = MixtureOfLinearRegressions(2, n_init=2, random_state=0).fit(X, npreg.yn)
    assert (stability(lines, X, npreg.yn, n=3, random_state=0).jaccard > 0.8).all()
    y = load_earthquakes().data
    with pytest.raises(ValueError, match="here rows belong together"):
        stability(HMMEM(2, emission="poisson", random_state=0).fit(y), y)


def test_other_data_are_told(faithful):
    for kind in ("weights", "parametric"):
        with pytest.warns(UserWarning, match="These are not the data of the fit"):
            bootstrap(faithful, FAITHFUL[:200], n=2, kind=kind, random_state=0)


def test_what_is_wrong_is_named(faithful):
    with pytest.raises(ValueError, match="kind='jackknife' is none of weights, parametric, blocks"):
        bootstrap(faithful, FAITHFUL, kind="jackknife")
    with pytest.raises(ValueError, match="kind='blocks' is of sequences"):
        bootstrap(faithful, FAITHFUL, kind="blocks")
    with pytest.raises(ValueError, match="block_length is of kind='blocks'"):
        bootstrap(faithful, FAITHFUL, block_length=3)
    with pytest.raises(ValueError, match="n=0 must be a whole number"):
        bootstrap(faithful, FAITHFUL, n=0)
    with pytest.raises(ValueError, match="larger has n_components=1, smaller 2: change places"):
        bootstrap_lrt(mixture(2), mixture(1), FAITHFUL)
    with pytest.raises(ValueError, match="larger has 8 parameters, no more than the 11 of smaller"):
        bootstrap_lrt(mixture(2), mixture(2, covariance_type="tied"), FAITHFUL)
    with pytest.raises(ValueError, match="smaller is a GaussianMixtureEM, larger a HMMEM"):
        bootstrap_lrt(mixture(1), HMMEM(2), FAITHFUL)
    found = bootstrap(faithful, FAITHFUL, n=2, random_state=0)
    with pytest.raises(ValueError, match="kind='basic' is neither"):
        found.confidence_intervals(kind="basic")
    with pytest.raises(ValueError, match="level=0 must lie"):
        found.confidence_intervals(0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of noise, two components
def test_the_test_has_its_size_and_power():
    tied = {"covariance_type": "tied", "n_init": 1}

    def rejected(n_tests, apart):
        shift = (np.arange(50) % 2)[:, None] * apart
        rows = [np.random.RandomState(i).normal(size=(50, 1)) + shift for i in range(n_tests)]
        tests = [
            bootstrap_lrt(mixture(1, **tied), mixture(2, **tied), X, n=19, random_state=i)
            for i, X in enumerate(rows)
        ]
        return sum(test.pvalue <= 0.05 for test in tests)

    assert stats.binomtest(rejected(80, 0.0), 80, 0.05).pvalue > 0.003  # within three standard errors
    assert rejected(10, 4.0) >= 8
