"""Pseudo-residuals: by enumeration of all hidden paths, by draws of the model, and by closed forms."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats

from emlearn import HMMEM, MarkovSwitchingRegression, MixtureOfLinearRegressions
from emlearn.datasets import load_npreg
from emlearn.families import RESPONSES, Emission
from emlearn.families.regression_and import UniformNoise, ZeroMass
from tests.helpers.families import EACH_KIND_OF_FAMILY, FAMILIES
from tests.helpers.pace import some_slow

START, TRANSITION = np.array([0.6, 0.3, 0.1]), np.array([[0.8, 0.2, 0.0], [0.1, 0.7, 0.2], [0.0, 0.4, 0.6]])
NPREG = load_npreg()


def of_normal(below, above):
    return stats.norm.ppf(below) if below < above else -stats.norm.ppf(above)


def by_enumeration(density, tails, T, kind):
    """Residuals (T, 3) from densities (T, K) and tails (4, T, K) of what is observed."""
    out = np.empty((T, 3))
    for t in range(T):
        share = np.zeros(3)
        for path in product(range(3), repeat=T):
            p = START[path[0]] * np.prod([TRANSITION[pair] for pair in pairwise(path)])
            others = range(t) if kind == "forecast" else [s for s in range(T) if s != t]
            share[path[t]] += p * np.prod([density[s, path[s]] for s in others])
        less, up_to, from_there, beyond = tails[:, t] @ (share / share.sum())
        middle = of_normal((less + up_to) / 2, (from_there + beyond) / 2)
        out[t] = of_normal(less, from_there), middle, of_normal(up_to, beyond)
    return out


@pytest.mark.parametrize("kind", ["ordinary", "forecast"])
def test_of_counts_given_the_other_steps(kind):
    rates = np.array([3.0, 10.0, 30.0])
    model = HMMEM.from_parameters(START, TRANSITION, emission="poisson", rates=rates[:, None])
    sequences = [np.array([2.0, 12, 95, 9, 4]), np.array([28.0, np.nan, 11])]  # no state makes 95
    found = model.pseudo_residuals([x[:, None] for x in sequences], kind=kind)
    for place, x in enumerate(sequences):
        counts = x[:, None]
        density = np.where(np.isnan(counts), 1.0, stats.poisson.pmf(counts, rates))
        law = stats.poisson(rates)
        tails = np.array([law.cdf(counts - 1), law.cdf(counts), law.sf(counts - 1), law.sf(counts)])
        expected = by_enumeration(density, tails, len(x), kind)
        expected[np.isnan(x)] = np.nan
        here = np.column_stack([values[place] for values in found])
        np.testing.assert_allclose(here, expected, rtol=1e-9, atol=1e-12)
    assert found.mid[0][2, 0] > 8.5  # 1 less a probability tells of none beyond 8.3


@pytest.mark.parametrize("kind", ["ordinary", "forecast"])
def test_of_regressions_that_switch(kind):
    coef, intercept, sigma = (
        np.array([[1.0], [-1.0], [0.5]]),
        np.array([0.0, 4.0, 9.0]),
        np.array([0.5, 1.0, 2.0]),
    )
    model = MarkovSwitchingRegression.from_parameters(
        coef, intercept, sigma=sigma, startprob=START, transmat=TRANSITION
    )
    X, y, offset = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.3, 3.9, 9.0, 25.0]), np.arange(4) / 8
    law = stats.norm((X * coef[:, 0] + intercept) + offset[:, None], sigma)
    below, above = law.cdf(y[:, None]), law.sf(y[:, None])
    expected = by_enumeration(law.pdf(y[:, None]), np.array([below, below, above, above]), 4, kind)
    found = model.pseudo_residuals(X, y, kind=kind, offset=offset)
    np.testing.assert_allclose(np.column_stack(found), expected, rtol=1e-9, atol=1e-12)
    y[1] = np.nan
    assert np.isnan(model.pseudo_residuals(X, y, kind=kind).mid).tolist() == [False, True, False, False]


def are_uniform(tails, seed):
    """Whether places between the tails (4, n), drawn within the jumps, are uniform."""
    less, up_to, from_there, beyond = tails
    np.testing.assert_allclose([less + from_there, up_to + beyond], 1.0, atol=1e-12)
    place = less + np.random.RandomState(seed).uniform(size=len(less)) * (up_to - less)
    return stats.kstest(place, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("name", some_slow(FAMILIES, EACH_KIND_OF_FAMILY))
def test_tails_of_families_are_those_of_their_draws(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    labels = np.repeat([0, 1], 1000)
    drawn = family.sample(params, labels, np.random.RandomState(1)).T
    tails = family.tails(params, drawn)
    assert tails.shape == (4, 2, *drawn.shape)
    for j, entries in enumerate(drawn):
        for k in (0, 1):
            own = tails[:, k, j, labels == k]
            some = own[:, ~np.isnan(own).any(axis=0)]
            if some.size:  # not of codes, nor of what is missing
                assert are_uniform(some, 2), (j, k)
        assert np.isnan(tails[:, :, j, np.isnan(entries)]).all()


@pytest.mark.parametrize("response", RESPONSES)
def test_tails_of_responses_are_those_of_their_draws(response):
    response, rng = RESPONSES[response], np.random.RandomState(0)
    eta, dispersion = np.repeat([[0.3], [1.2]], 1500, axis=1), np.array([[0.7], [0.2]])
    drawn = response.draw(eta, dispersion, rng)
    for k in (0, 1):
        assert are_uniform(response.tails(drawn[k : k + 1], eta, dispersion)[:, k], 1)
    for other in (ZeroMass(), UniformNoise(-2.0, 3.0)):
        assert are_uniform(other.tails(other.draw(1500, rng)[None]), 1)


def test_successes_of_many_trials():
    y = np.array([[0.0, 3.0, 7.0], [7.0, 7.0, 7.0]])
    tails = RESPONSES["binomial"].tails(y, np.full((1, 3), 0.4), np.ones((1, 1)))
    law = stats.binom(7, 1 / (1 + np.exp(-0.4)))
    k = np.array([0, 3, 7])
    np.testing.assert_allclose(tails[:, 0], [law.cdf(k - 1), law.cdf(k), law.sf(k - 1), law.sf(k)], atol=1e-15)


def test_of_one_regression_they_are_residuals_over_the_noise():
    model = MixtureOfLinearRegressions(1).fit(NPREG.data, NPREG.yn)
    found = model.pseudo_residuals(NPREG.data, NPREG.yn)
    expected = (NPREG.yn - model.predict(NPREG.data)) / model.sigma_[0]
    for values in found:
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        MixtureOfLinearRegressions(2, family="poisson", zero_inflated=True, random_state=0),
        MixtureOfLinearRegressions(2, noise=True, random_state=0),
    ],
    ids=["zeros", "noise"],
)
def test_of_mixtures_they_are_normal_if_the_model_is_right(model):
    y = NPREG.yp if model.zero_inflated else NPREG.yn
    y = np.where(np.arange(200) % 5, y, 0 if model.zero_inflated else np.linspace(-200, 200, 200))
    model.fit(NPREG.data, y)
    X = np.repeat(NPREG.data, 5, axis=0)
    low, mid, high = model.pseudo_residuals(X, model.sample(X, random_state=1)[0])
    assert (low <= mid).all()
    assert (mid <= high).all()
    ends = stats.norm.cdf(low), stats.norm.cdf(high)
    assert are_uniform(np.array([*ends, 1 - ends[0], 1 - ends[1]]), 2)


def test_columns_of_codes_have_none():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.normal(size=60), rng.randint(3, size=60)])
    model = HMMEM(2, emission={0: "gaussian", 1: "categorical"}, random_state=0).fit(X)
    assert np.isnan(model.pseudo_residuals(X).mid).all(axis=0).tolist() == [False, True]
    with pytest.raises(ValueError, match="kind='smoothed' is neither 'ordinary' nor 'forecast'"):
        model.pseudo_residuals(X, kind="smoothed")
    codes = HMMEM(2, emission="categorical", random_state=0).fit(X[:, 1:])
    with pytest.raises(ValueError, match="nothing but categories"):
        codes.pseudo_residuals(X[:, 1:])


def test_a_family_without_tails_is_named():
    class Mine(Emission):
        pass

    with pytest.raises(ValueError, match="Mine states no `tails`"):
        Mine().tails(None, np.zeros((1, 1)))


@pytest.mark.parametrize("kind", [MixtureOfLinearRegressions, MarkovSwitchingRegression])
def test_several_responses_have_residuals_each(kind):
    """Those of one response among several are those of a fit whose other responses nobody looks at."""
    rng = np.random.RandomState(0)
    X, z = rng.normal(size=(200, 1)), np.repeat([0, 1], 100)
    Y = np.column_stack([X[:, 0] + 4 * z, 2 - X[:, 0] - 3 * z]) + 0.3 * rng.normal(size=(200, 2))
    fit = kind(2, random_state=0).fit(X, Y)
    both = fit.pseudo_residuals(X, Y).mid
    assert both.shape == (200, 2)
    assert stats.kstest(both[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(both[:, 1], "norm").pvalue > 0.01
    swapped = kind(2, random_state=0).fit(X, Y[:, ::-1]).pseudo_residuals(X, Y[:, ::-1]).mid
    np.testing.assert_allclose(swapped, both[:, ::-1], atol=1e-3)
