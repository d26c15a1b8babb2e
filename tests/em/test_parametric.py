"""What has parameters, what is made of parts that have, and how such a composite answers for them."""

from typing import NamedTuple

import numpy as np
import pytest

from emlearn.em import Batch, EMModel, LatentModel, LatentPair, Positive, Real, Simplex
from emlearn.em.parametric import Composite, Leaf, Parametric, Wrapper
from emlearn.families import FactorGaussian, Gaussian, MissingRows, MixtureOf, Poisson, PoissonParams, Product
from emlearn.families.covariance import Full
from emlearn.latent import MarkovChain, MixtureWeights, SoftmaxGate


class Pair(NamedTuple):
    a: np.ndarray
    b: np.ndarray


class Part(Parametric):
    """A part of n reals with so many shorter steps, which says what it is told to."""

    def __init__(self, n_attempts=0, resting=None, flat=None, handicap=0.0, prior=0.0, rounding=1e-10):
        self.spaces = Real()
        self._n_attempts = n_attempts
        self._resting, self._flat, self._handicap, self._prior = resting, flat, handicap, prior
        self._rounding = rounding

    rounding = property(lambda self: self._rounding)

    def maximize(self, stats, params):
        return params + stats

    def shortened(self, stats, params, attempt):
        return params + 0.5**attempt * stats if attempt <= self._n_attempts else None

    def log_prior(self, params):
        return self._prior

    def resting(self, params):
        return None if self._resting is None else np.array(self._resting)

    def handicap(self, params, stats):
        return self._handicap * np.sum(params * stats)

    def without_flat(self, params):
        return None if self._flat is None else lambda direction: self._flat * direction


class Both(Composite):
    def __init__(self, *parts):
        self._two = parts

    _parts = property(lambda self: self._two)
    spaces = property(lambda self: Pair(*(part.spaces for part in self._two)))

    def maximize(self, stats, params):
        return Pair(*(part.maximize(s, p) for part, s, p in self._each(stats, params)))


class Alone(Wrapper):
    def __init__(self, part):
        self._part = part

    _parts = property(lambda self: (self._part,))


PARAMS = Pair(np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0]))
STATS = Pair(np.array([8.0, 8.0]), np.array([16.0, 16.0, 16.0]))


@pytest.mark.parametrize("n_attempts", [(0, 0), (3, 0), (0, 2), (1, 4), (3, 3), (2, 5)])
def test_a_part_without_a_shorter_step_stays_at_its_last(n_attempts):
    both = Both(*(Part(n) for n in n_attempts))
    for attempt in range(1, max(n_attempts) + 1):
        found = both.shortened(STATS, PARAMS, attempt)
        assert isinstance(found, Pair)
        for p, s, new, n in zip(PARAMS, STATS, found, n_attempts, strict=True):
            np.testing.assert_array_equal(new, p + 0.5 ** min(attempt, n) * s)
    assert both.shortened(STATS, PARAMS, max(n_attempts) + 1) is None


def test_masks_and_directions_stand_in_the_order_of_coordinates():
    for resting in (
        (None, None),
        ([True, False], None),
        (None, [False, True, True]),
        ([False, True], [True] * 3),
    ):
        found = Both(*(Part(resting=r) for r in resting)).resting(PARAMS)
        if resting == (None, None):
            assert found is None
            continue
        expected = [r or [False] * len(p) for r, p in zip(resting, PARAMS, strict=True)]
        np.testing.assert_array_equal(found, np.concatenate(expected))
        assert found.dtype == bool
    direction = np.arange(1.0, 6.0)
    for flat in ((None, None), (0.0, None), (None, 0.5), (0.0, 0.5)):
        found = Both(*(Part(flat=f) for f in flat)).without_flat(PARAMS)
        if flat == (None, None):
            assert found is None
            continue
        factors = np.repeat([1.0 if f is None else f for f in flat], [2, 3])
        np.testing.assert_array_equal(found(direction), factors * direction)


def test_priors_and_handicaps_add_and_the_coarsest_rounding_counts():
    both = Both(Part(handicap=1.5, prior=-2.0, rounding=1e-8), Part(handicap=2.0, prior=0.5))
    of_parts = [np.sum(p * s) for p, s in zip(PARAMS, STATS, strict=True)]
    assert both.handicap(PARAMS, STATS) == 1.5 * of_parts[0] + 2.0 * of_parts[1]  # each sees what is its own
    assert both.log_prior(PARAMS) == -1.5
    assert both.rounding == 1e-8
    assert Both(Part(handicap=np.inf), Part(handicap=2.0)).handicap(PARAMS, STATS) == np.inf


def test_a_wrapper_answers_as_its_part():
    part = Part(2, [True, False], 0.5, 1.5, -2.0, 1e-8)
    alone, (params, _), (stats, _) = Alone(part), PARAMS, STATS
    assert alone.spaces is part.spaces
    np.testing.assert_array_equal(alone.maximize(stats, params), params + stats)
    for attempt in (1, 2):
        np.testing.assert_array_equal(alone.shortened(stats, params, attempt), params + 0.5**attempt * stats)
    assert alone.shortened(stats, params, 3) is None
    np.testing.assert_array_equal(alone.resting(params), [True, False])
    np.testing.assert_array_equal(alone.without_flat(params)(np.ones(2)), [0.5, 0.5])
    assert alone.handicap(params, stats) == 1.5 * np.sum(params * stats)
    assert (alone.log_prior(params), alone.rounding) == (-2.0, 1e-8)


def test_composites_of_composites():
    inner = Both(Part(1, resting=[True, False]), Part(3))
    outer = Both(inner, Part(2, flat=0.0))
    params, stats = Pair(PARAMS, np.zeros(2)), Pair(STATS, np.ones(2))
    for attempt, of_parts in ((1, (1, 1, 1)), (2, (1, 2, 2)), (3, (1, 3, 2))):
        found = outer.shortened(stats, params, attempt)
        np.testing.assert_array_equal(found.a.a, PARAMS.a + 0.5 ** of_parts[0] * STATS.a)
        np.testing.assert_array_equal(found.a.b, PARAMS.b + 0.5 ** of_parts[1] * STATS.b)
        np.testing.assert_array_equal(found.b, 0.5 ** of_parts[2] * np.ones(2))
    assert outer.shortened(stats, params, 4) is None
    np.testing.assert_array_equal(outer.resting(params), [True] + 6 * [False])
    np.testing.assert_array_equal(outer.without_flat(params)(np.ones(7)), [1.0] * 5 + [0.0] * 2)


HOOKS = {
    *("is_density", "rounding", "log_prior", "handicap", "shortened", "resting", "recentred", "without_flat"),
    "expected_log_joint",
}


@pytest.mark.parametrize(
    "thing",
    [Parametric(), Leaf(Simplex()), EMModel(), Poisson(), MixtureWeights()],
    ids=lambda thing: type(thing).__name__,
)
def test_the_simplest_answers(thing):
    assert thing.is_density
    assert thing.rounding == 1e-10
    assert thing.log_prior(np.ones(2)) == 0.0
    assert thing.handicap(None, None) == 0.0
    assert thing.shortened(None, None, 1) is None
    assert thing.resting(None) is None
    assert thing.without_flat(None) is None
    if type(thing) in (Parametric, EMModel):
        assert thing.expected_log_joint(None, None, None) is None
    if isinstance(thing, Leaf):
        assert isinstance(thing.spaces, Simplex)


@pytest.mark.parametrize(
    "thing",
    [
        LatentModel(MixtureWeights(), MissingRows(Gaussian(Full()))),
        LatentModel(MarkovChain(), MixtureOf(Gaussian(Full()), 2)),
        LatentModel(SoftmaxGate((0,)), Product((((0,), Poisson()), ((1,), FactorGaussian(1))))),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_every_hook_there_is_is_a_composites(thing):
    """A hook that a composite did not hand on would answer for none of the parts."""
    hooks = [name for name in vars(Parametric) if not name.startswith("_") and name != "spaces"]
    assert set(hooks) == HOOKS
    assert all(hook in vars(Composite) for hook in hooks)
    assert all(isinstance(part, Parametric) for part in (thing, *thing._parts))


def test_what_is_expected_adds_up_over_parts():
    model = LatentModel(MixtureWeights(), Poisson())
    params = LatentPair(np.array([0.4, 0.6]), PoissonParams(np.array([[1.0], [4.0]])))
    x = np.array([0.0, 1.0, 3.0, 7.0])
    stats = model.expectation(params)(Batch(x[None])).stats
    joint = np.log(params.latent[:, None]) + np.log(params.family.rates) * x - params.family.rates
    resp = np.exp(joint - np.logaddexp(*joint))
    assert model.expected_log_joint(stats, params, params) == pytest.approx(np.sum(resp * joint))
    inner = Both(Part(1), Part(2))  # of which one part does not know
    assert inner.expected_log_joint(STATS, PARAMS, PARAMS) is None


def test_a_model_answers_for_its_family():
    model = LatentModel(MixtureWeights(), FactorGaussian(1, floor=0.1))
    rng = np.random.RandomState(0)
    family = model.family.start(*_rows(rng))
    params = LatentPair(
        np.array([0.4, 0.6]), family._replace(noise=np.array([[0.1, 0.5, 0.5], [0.1, 0.1, 0.5]]))
    )
    resting = model.resting(params)
    assert resting.shape == model.flatten(params).shape
    np.testing.assert_array_equal(np.flatnonzero(resting), resting.size - 6 + np.array([0, 3, 4]))
    stats = model.expectation(params)(_rows(rng)[0]).stats
    assert model.handicap(params, stats) == model.family.handicap(params.family, stats.family) > 0
    few = stats.family._replace(latent=stats.family.latent * [[1.0], [2.9 / stats.family.latent[1, -1]]])
    assert model.handicap(params, stats._replace(family=few)) == np.inf  # of one factor 3 rows are the least
    direction = rng.normal(size=resting.size)
    left = model.without_flat(params)(direction)
    np.testing.assert_array_equal(left[:2], direction[:2])
    assert isinstance(model.spaces.family.noise, Positive)


def _rows(rng):
    return Batch(rng.normal(size=(3, 30)), None), rng.dirichlet(np.ones(2), size=30).T
