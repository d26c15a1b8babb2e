"""Shares, angles and waiting counts: beta, von Mises and geometric distributions, beyond the registry."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import betaln, digamma

from emlearn import HMMEM
from emlearn.families import Beta, BetaParams, Geometric, Sketch, VonMises, VonMisesParams
from emlearn.families.independent import MOST_NARROW
from tests.helpers.families import FAMILIES, K, batch_of

WORDS = {"beta": "beta", "von_mises": "angles", "geometric": "geometric"}


@pytest.mark.parametrize("word", WORDS)
def test_states_are_found(word):
    rng, example = np.random.RandomState(0), FAMILIES[WORDS[word]]
    states = np.cumsum(rng.uniform(size=600) < 0.04) % K
    X = example.rows(rng, states)
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    fit = HMMEM(K, emission=word, random_state=0).fit(X)
    agree = np.mean(fit.predict(X) == states)
    assert max(agree, 1 - agree) > 0.8
    truth = HMMEM.from_parameters(
        [0.5, 0.5], [[0.96, 0.04], [0.04, 0.96]], emission=word, **example.family.fields(example.params, (K,))
    )
    apart = fit._divergence(truth)
    assert min(np.trace(apart), np.trace(apart[::-1])) < 0.03


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.02), (0.3, 40.0), (1.0, 1.0), (7.0, 3e4), (2e5, 3e5)])
def test_maximum_of_shares_is_exact(a, b):
    """Averages of the two logarithms are those of the distribution."""
    both = digamma(a + b)
    found = Beta().estimate(np.array([[digamma(a) - both]]), np.array([[digamma(b) - both]]))
    np.testing.assert_allclose([found.alphas.item(), found.betas.item()], [a, b], rtol=1e-7)


def test_maximum_of_shares_on_the_bound():
    """There is none higher where α + β is as large as may be."""
    x = np.array([0.2, 0.20001])
    logs = np.log(x).mean(), np.log1p(-x).mean()
    found = Beta().estimate(*(np.array([[v]]) for v in logs))
    a = found.alphas.item()
    assert a + found.betas.item() == pytest.approx(MOST_NARROW)

    def height(a):
        return a * logs[0] + (MOST_NARROW - a) * logs[1] - betaln(a, MOST_NARROW - a)

    assert height(a) > max(height(a + 5.0), height(a - 5.0))
    assert Beta().resting(found).tolist() == [True, True]
    assert Beta().mean(found).item() == pytest.approx(x.mean(), rel=1e-5)


def test_maximum_of_angles_is_scipys():
    angles = stats.vonmises(3.0, loc=2.9).rvs(300, random_state=0)
    found = VonMises().start(batch_of(angles[:, None]), np.ones((1, 300)))
    kappa, loc, _ = stats.vonmises.fit(angles, fscale=1)
    assert found.concentrations.item() == pytest.approx(kappa, rel=1e-6)
    assert np.cos(found.angles.item() - loc) == pytest.approx(1.0)


def test_a_turn_does_not_matter():
    """Angles from 0 to 2π are those from -π to π, and a state may lie at half a turn."""
    rng = np.random.RandomState(0)
    states = np.cumsum(rng.uniform(size=300) < 0.05) % K
    X = np.where(states, 0.1, np.pi)[:, None] + 0.5 * rng.normal(size=(300, 1))
    wound, other = np.mod(X, 2 * np.pi), np.mod(X + np.pi, 2 * np.pi) - np.pi
    fits = [HMMEM(K, emission="von_mises", random_state=0).fit(Y) for Y in (wound, other)]
    assert fits[0].log_likelihood_ == pytest.approx(fits[1].log_likelihood_, abs=1e-4)
    assert np.mean(fits[0].predict(wound) == fits[0].predict(other)) == 1.0
    for fit in fits:
        assert (np.abs(fit.angles_) <= np.pi).all()
        np.testing.assert_allclose(np.sort(np.cos(fit.angles_[:, 0])), [-1, 1], atol=0.05)


def test_angles_do_not_leap_at_half_a_turn():
    params = VonMisesParams(np.array([[3.1]]), np.array([[1.0]]))
    totals = VonMises().density(params)(batch_of([[-3.1], [-3.0]])).totals(np.ones((1, 2)))
    new = VonMises().maximize(totals, params)
    assert new.angles.item() == pytest.approx(2 * np.pi - 3.05)
    assert VonMises().in_units(new, None).angles.item() == pytest.approx(-3.05)


@pytest.mark.parametrize(
    ("word", "value", "support"),
    [
        ("beta", 1.0, "numbers between 0 and 1, both excluded"),
        ("beta", 0.0, "numbers between 0 and 1, both excluded"),
        ("von_mises", 90.0, "angles in radians, from -2π to 2π"),
        ("geometric", -1.0, "the counts 0, 1, 2"),
        ("geometric", 0.5, "the counts 0, 1, 2"),
    ],
)
def test_what_is_impossible_is_named(word, value, support):
    X = FAMILIES[WORDS[word]].rows(np.random.RandomState(0), np.arange(20) % K)
    X[7, 1] = value
    with pytest.raises(ValueError, match=f"X is {value:g} in column 1, .* step 7: not one of {support}"):
        HMMEM(K, emission=word).fit(X)


@pytest.mark.parametrize("family", [Beta(), VonMises()])
def test_recorded_steps_are_no_components(family):
    """Percents, or hundredths of a radian, repeat: no component is narrower than half a step."""
    X = np.round(np.random.RandomState(0).beta(3.0, 4.0, size=(400, 1)), 2)
    bound = family.bound_to(Sketch(batch_of(X), X.max(axis=0), len(X), len(X), ("x0",)))
    at_one_value = (X[:, 0] == 0.4) * 1.0
    params = bound.start(batch_of(X), np.stack([at_one_value, 1.0 - at_one_value]))
    drawn = bound.sample(params, np.zeros(2000, dtype=int), np.random.RandomState(0))
    assert drawn.std() == pytest.approx(0.005, rel=0.1)
    assert bound.resting(params).tolist() == [family == Beta(), False, True, False]
    assert np.isfinite(bound.handicap(params, np.ones((2, 4)) * 30.0))


def test_equal_angles_rest_at_the_largest_concentration():
    fit = HMMEM(1, emission="von_mises").fit(np.full((10, 1), 1.25))
    assert (fit.concentrations_.item(), fit.angles_.item()) == (MOST_NARROW, pytest.approx(1.25))


@pytest.mark.parametrize("name", ["angles", "beta"])
def test_distance_is_minus_the_log_of_the_overlap(name):
    family = FAMILIES[name].family
    params = type(FAMILIES[name].params)(*(own[:, :1] for own in FAMILIES[name].params))
    ends = (-np.pi, np.pi) if name == "angles" else (0.0, 1.0)

    def root(x):
        seen = family.density(params)(batch_of([[x]]))
        return np.exp(0.5 * (seen.log_prob + seen.shared_log_prob()).sum())

    overlap = quad(root, *ends, epsabs=1e-11)[0]
    assert family.divergence(params, family, params)[0, 1] == pytest.approx(-np.log(overlap), rel=1e-6)


def test_distance_of_counts_is_minus_the_log_of_their_overlap():
    params = Geometric().from_fields({"probabilities": [[0.2], [1.0]]}, (K,))
    assert Geometric().divergence(params, Geometric(), params)[0, 1] == pytest.approx(-0.5 * np.log(0.2))


def test_a_sure_success_forbids_other_counts():
    params = Geometric().from_fields({"probabilities": [[1.0], [0.5]]}, (K,))
    log_prob = Geometric().density(params)(batch_of([[0.0], [3.0]])).log_prob
    np.testing.assert_allclose(log_prob, [[0.0, -np.inf], [np.log(0.5), 4 * np.log(0.5)]])
    assert not Geometric().is_possible(np.array([[3.0]]), Geometric().reorder(params, np.array([0]))).any()


def test_means_to_start_from():
    params = BetaParams(np.array([[2.0]]), np.array([[6.0]]))
    moved = Beta().with_means(params, np.array([[0.5]]))
    assert (moved.alphas.item(), moved.betas.item()) == (4.0, 4.0)
    with pytest.raises(ValueError, match="Means to start from must lie between 0 and 1"):
        Beta().with_means(params, np.array([[1.5]]))
    angles = VonMises().with_means(VonMisesParams(np.zeros((1, 1)), np.ones((1, 1))), np.array([[4.0]]))
    assert angles.angles.item() == pytest.approx(4.0 - 2 * np.pi)


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match=r"probabilities must be no more than 1; the largest is 1\.5"):
        Geometric().from_fields({"probabilities": [[1.5]]}, (1,))
    with pytest.raises(ValueError, match="betas must be positive; the least is 0"):
        Beta().from_fields({"alphas": [[1.5]], "betas": [[0.0]]}, (1,))
