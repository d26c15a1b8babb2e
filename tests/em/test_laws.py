"""The laws of EM, for every model."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from emlearn import GaussianMixtureEM
from emlearn.em import Affine, Batch, Batches, EMModel, EStep, LatentModel, LatentPair
from emlearn.em.spaces import Counts, Positive, PositiveDefinite, Probability, Real, Simplex
from emlearn.em.trees import leaves
from emlearn.families import COVARIANCE_SHAPES, Gaussian, gaussian
from emlearn.latent import MixtureWeights
from emlearn.testing import check_density, check_model, check_monotone
from tests.helpers.families import EACH_KIND_OF_FAMILY, FAMILIES, K, gaussian_rows, problem
from tests.helpers.pace import some_slow
from tests.helpers.trees import assert_same

PLAIN = [name for name, example in FAMILIES.items() if example.maximum]
GAUSSIANS = [name for name in PLAIN if name.startswith("gaussian")]


def e_step(model, params, data, weight=None, **cut):
    return Batches(data, weight, **cut).sum(model.expectation(params))


class HastyMStep(LatentModel):
    def maximize(self, stats, params):
        new = super().maximize(stats, params)
        return new._replace(family=new.family._replace(rates=1.2 * new.family.rates))


class ConstantPerBatch(LatentModel):
    def expectation(self, params):
        e_step = super().expectation(params)
        return lambda batch: e_step(batch)._replace(weight=1.0 + batch.total_weight)


class ForgetsWeights(LatentModel):
    def expectation(self, params):
        e_step = super().expectation(params)
        return lambda batch: e_step(Batch(batch.x))


class KnowsNeighbours(LatentModel):
    def expectation(self, params):
        e_step = super().expectation(params)
        return lambda batch: e_step(Batch(np.cumsum(batch.x, axis=1), batch.weight))


class HalfLogs(LatentModel):
    def unflatten(self, vector, like):
        return super().unflatten(vector / 2, like)


class WrongMaximum(LatentModel):
    """Climbs the likelihood and calls it the posterior."""

    def log_prior(self, params):
        return -5 * float(np.sum(params.family.rates))


class Multiple(LatentModel):
    """Reports a multiple of the log-likelihood, which has the same maximum and the same steps."""

    factor = 2.0

    def expectation(self, params):
        e_step = super().expectation(params)

        def times(batch):
            once = e_step(batch)
            return once._replace(log_likelihood=self.factor * once.log_likelihood)

        return times


class Half(Multiple):
    factor = 0.5


class Unnormalised(LatentModel):
    """Forgets e^-rate, and has no maximum; the law sees it before."""

    def expectation(self, params):
        e_step = super().expectation(params)
        return lambda batch: e_step(batch)._replace(
            log_likelihood=e_step(batch).log_likelihood + batch.total_weight * float(params.family.rates.sum())
        )


class WithoutSpaces(LatentModel):
    spaces = None


class WeightsWithoutSpace(LatentModel):
    @property
    def spaces(self):
        return LatentPair(Real(), self.family.spaces)


@pytest.mark.parametrize(
    ("broken", "laws"),
    [
        (HalfLogs, {"flatten"}),
        (Multiple, {"density"}),
        (Half, {"density"}),
        (Unnormalised, {"density"}),
        (WithoutSpaces, {"spaces"}),
        (WeightsWithoutSpace, {"spaces"}),
        (ConstantPerBatch, {"union"}),
        (ForgetsWeights, {"weights"}),
        (KnowsNeighbours, {"union"}),
        (HastyMStep, {"monotone"}),
        (WrongMaximum, {"monotone", "gradient"}),
    ],
)
def test_broken_models_break_a_law(broken, laws):
    model, params, data = problem("poisson")
    with pytest.raises(AssertionError, match=rf"Law '({'|'.join(laws)})': .*\d"):
        check_model(broken(model.latent, model.family), params, data)


class OneColumn(EMModel):
    """A density of one column that draws nothing, or a multiple of it."""

    def __init__(self, log_density, factor=1.0):
        self.log_density, self.factor = log_density, factor

    def expectation(self, params):
        def e_step(batch):
            values = self.factor * self.log_density(batch.x[0], *params)
            return EStep(batch.total_weight, batch.sum(values), batch.total_weight)

        return e_step


POINTS = np.random.RandomState(0).uniform(0.01, 0.99, size=(30, 1))
COUNTS = np.arange(30.0)[:, None] % 5
ONE_COLUMN = {
    "normal": (stats.norm.logpdf, (3.0, 0.2), POINTS),
    "narrow": (
        lambda x, a: np.logaddexp(stats.norm.logpdf(x, a, 1e-3), stats.norm.logpdf(x)) - np.log(2),
        (0.5,),
        POINTS,
    ),
    "cauchy": (stats.cauchy.logpdf, (0.0, 5.0), POINTS),
    "exponential": (stats.expon.logpdf, (0.0, 2.0), POINTS),
    "lognormal": (lambda x, s: stats.lognorm.logpdf(x, s), (0.7,), POINTS * 1e4),
    "weibull": (lambda x, c: np.log(c) + (c - 1) * np.log(x) - x**c, (0.6,), POINTS),
    "beta": (stats.beta.logpdf, (0.8, 3.0), POINTS),
    "zeros and more": (
        lambda x, p: np.where(x == 0, np.log(p), np.log1p(-p) + stats.expon.logpdf(x)),
        (0.3,),
        np.maximum(POINTS - 0.4, 0),
    ),
    "poisson": (stats.poisson.logpmf, (2.5,), COUNTS),
    "from 1": (stats.geom.logpmf, (0.3,), COUNTS + 1),
    "whole numbers": (stats.skellam.logpmf, (2.0, 1.0), COUNTS - 2),
    "codes": (lambda x, p: np.log(np.array([p, 1 - p])[x.astype(int)]), (0.2,), COUNTS % 2),
    "whole-numbered measurements": (stats.norm.logpdf, (2.0, 0.05), COUNTS),
}


@pytest.mark.parametrize("name", some_slow(ONE_COLUMN, ["normal", "exponential", "zeros and more", "codes"]))
def test_densities_of_one_column_are_integrated(name):
    log_density, params, x = ONE_COLUMN[name]
    check_density(OneColumn(log_density), params, x)
    for factor in (0.5, 2.0):
        with pytest.raises(AssertionError, match=r"Law 'density': the density of a row sums up to .*\d over"):
            check_density(OneColumn(log_density, factor), params, x)


def test_what_the_law_of_densities_cannot_know_it_leaves():
    """Other models of several columns, and bounds."""

    class Bound(OneColumn):
        is_density = False

    check_density(Bound(stats.norm.logpdf, 2.0), (0.0, 1.0), POINTS)
    check_density(OneColumn(stats.norm.logpdf, 2.0), (0.0, 1.0), np.hstack([POINTS, POINTS]))
    annealed, params, data = problem("poisson")
    check_density(replace(annealed, beta=0.5), params, data)


def test_a_space_that_is_missing_is_named():
    model, params, data = problem("poisson")
    without = WithoutSpaces(model.latent, model.family)
    with pytest.raises(
        AssertionError, match=r"coordinate \d of the flat parameters \(.*\) at -.*say in which space"
    ):
        check_model(without, params, data)


@pytest.mark.parametrize("family", some_slow(FAMILIES, EACH_KIND_OF_FAMILY))
def test_annealed_objective_is_monotone(family):
    model, params, data = problem(family)
    check_monotone(replace(model, beta=0.5), params, data)


def joint_log_densities(family, X):
    """The model of the example with these weights, and log p(k, x) of each row and component."""
    example, weights = FAMILIES[family], np.array([0.3, 0.7])
    joint = np.array([[np.log(weights[k]) + example.log_density(x, k) for k in range(K)] for x in X])
    return LatentModel(MixtureWeights(), example.family), LatentPair(weights, example.params), joint


@pytest.mark.parametrize("family", FAMILIES)
def test_annealed_objective_is_the_tempered_evidence(family):
    _, _, (X, _) = problem(family, n=12)
    model, params, joint = joint_log_densities(family, X)
    tempered = logsumexp(0.5 * joint, axis=1).sum() / 0.5
    assert e_step(replace(model, beta=0.5), params, X).log_likelihood == pytest.approx(tempered, abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihood_is_the_sum_over_all_labelings(family):
    _, _, (X, _) = problem(family, n=12)
    X = X[-5:]  # the first may be missing
    model, params, joint = joint_log_densities(family, X)
    paths = np.array(list(product(range(K), repeat=len(X))))
    labelings = joint[np.arange(len(X)), paths].sum(axis=1)
    found = e_step(model, params, X)
    assert found.log_likelihood == pytest.approx(logsumexp(labelings), abs=1e-10)
    posterior = np.exp(labelings - logsumexp(labelings))
    assert found.stats.latent[0] == pytest.approx(posterior @ (paths == 0).sum(axis=1), abs=1e-10)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("covariance_type", COVARIANCE_SHAPES)
def test_gaussian_density_integrates_to_one(covariance_type, d):
    X = gaussian_rows(np.random.RandomState(0), np.arange(80) % K, d) * [2.0, 0.5][:d] + 3
    mixture = GaussianMixtureEM(2, covariance_type=covariance_type, n_init=2, random_state=0).fit(X)
    reach = 8 * X.std(axis=0).max()
    axes = [np.linspace(x.min() - reach, x.max() + reach, 400) for x in X.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(mixture.score_samples(grid)).sum() * cell == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("family", GAUSSIANS)
def test_paths_give_the_same_numbers(family, offset, monkeypatch):
    model, params, (X, w) = problem(family)
    X = X + offset
    params = params._replace(family=params.family._replace(means=params.family.means + offset))

    def outcome():
        seen = model.family.density(params.family)(Batch(X.T.copy(), w))
        return e_step(model, params, X, w), seen.log_prob + seen.shared_log_prob()

    monkeypatch.setattr(gaussian, "CANCELLATION", np.inf)
    quadratic = outcome()
    monkeypatch.setattr(gaussian, "ROOTS_FROM", 1)
    monkeypatch.setattr(gaussian, "ROOTS_RATIO", 0)
    if model.family._takes_roots(*params.family.means.shape):
        with monkeypatch.context() as without:
            without.delattr(Gaussian, "_observe_quadratic")
            assert_same(quadratic, outcome(), rtol=1e-9)
    monkeypatch.setattr(gaussian, "CANCELLATION", -1.0)
    monkeypatch.delattr(Gaussian, "_observe_quadratic")
    monkeypatch.delattr(Gaussian, "_observe_by_roots")
    assert_same(quadratic, outcome(), rtol=1e-9)


class Passes:
    """An iterable that starts afresh each time."""

    def __init__(self, items):
        self._items = items

    def __iter__(self):
        return iter(self._items)


@pytest.mark.parametrize("family", some_slow(PLAIN, PLAIN[::3]))
@pytest.mark.parametrize("weighted", [False, True], ids=["bare", "weighted"])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("source", ["list", "iterable", "function", "memmap", "float32", "fortran"])
def test_every_source_gives_the_sums_of_the_array(family, weighted, n_threads, source, tmp_path):
    model, params, (X, w) = problem(family, weighted=weighted)
    X = X.astype(np.float32).astype(np.float64)  # both precisions hold the same numbers
    bounds = [(0, 1), (1, 30), (30, 60)]
    items = [X[a:b] if w is None else (X[a:b], w[a:b]) for a, b in bounds]
    expected = e_step(model, params, X, w)
    if source == "memmap":
        file = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
        file[:] = X
    arrays = {
        "memmap": lambda: (file, w),
        "float32": lambda: (X.astype(np.float32), w),
        "fortran": lambda: (np.asfortranarray(X), w),
    }
    streams = {"list": items, "iterable": Passes(items), "function": lambda: iter(items)}
    data, weight = arrays[source]() if source in arrays else (streams[source], None)
    found = e_step(model, params, data, weight, rows=7, n_threads=n_threads)
    assert_same(found, expected)


def test_units_are_applied_batch_by_batch():
    X = np.arange(12.0).reshape(6, 2)
    units = Affine(np.array([1.0, 2.0]), np.array([2.0, 5.0]))
    rows = np.vstack([batch.x.T for batch in Batches(X, units=units, rows=4)])
    np.testing.assert_allclose(rows, (X - units.shift) / units.scale)


def test_the_inverse_of_units_leads_back():
    units = Affine(np.array([1.0, -2.0]), np.array([2.0, 0.5]))
    X = np.arange(12.0).reshape(6, 2)
    there = np.vstack([batch.x.T for batch in Batches(X, units=units)])
    back = np.vstack([batch.x.T for batch in Batches(there, units=units.inverse)])
    np.testing.assert_allclose(back, X, rtol=1e-14, atol=1e-14)


def test_a_batch_tells_functions_and_keys_apart():
    batch = Batch(np.arange(6.0).reshape(2, 3))

    def total():
        return batch.x.sum()

    def largest():
        return batch.x.max()

    assert batch.once("same key", total) == 15.0
    assert batch.once("same key", largest) == 5.0
    assert batch.part("same key", slice(2)).x.shape == (2, 2)
    assert [batch.once(power, lambda power=power: 2**power) for power in (1, 2, 1)] == [2, 4, 2]


@pytest.mark.parametrize("room", [0.0, 4.0])
def test_a_batch_remembers_what_is_small_and_what_there_is_room_for(room):
    x = np.zeros((4, 100))
    batch = Batch(x, None, {}, room)
    for n_features in (2, 4):
        kept = n_features == 2 or room > 0
        arrays = [batch.once(n_features, lambda n=n_features: 2 * x[:n]) for _ in range(2)]
        parts = [batch.part(n_features, slice(None), slice(n_features)) for _ in range(2)]
        assert (arrays[0] is arrays[1]) == kept
        assert (parts[0] is parts[1]) == kept


def test_one_shot_iterators_are_refused():
    with pytest.raises(ValueError, match="one-shot iterator"):
        Batches(iter([np.zeros((3, 2))]))
    with pytest.raises(ValueError, match="one-shot iterator"):
        Batches(x for x in [np.zeros((3, 2))])


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        Batches(lambda: iter([])).sum(lambda batch: batch.total_weight)


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (Real(), np.array([[1.0, -2.0]])),
        (Counts(), np.array([[3.0, 0.0], [1.0, 2.0]])),
        (Counts(np.array([0.5, 2.0])), np.array([0.5, 12.0])),
        (Positive(), np.array([1e-12, 0.0, 3.0])),
        (Probability(), np.array([0.25, 0.0, 1.0])),
        (Simplex(), np.array([[0.2, 0.0, 0.8], [1.0, 0.0, 0.0]])),
        (PositiveDefinite(), np.array([[[2.0, 0.5], [0.5, 1.0]], [[1e-6, 0.0], [0.0, 1e6]]])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_space_round_trip(space, value):
    vector = space.to_vector(value)
    assert vector.shape == (space.n_coordinates(value),)
    np.testing.assert_allclose(space.from_vector(vector, value), value, rtol=1e-12)
    there = np.random.RandomState(0).normal(size=vector.shape)
    back = space.to_vector(space.from_vector(there, value))
    if isinstance(space, Simplex):  # coordinates up to signs and a common factor
        length = np.linalg.norm(there.reshape(value.shape), axis=1, keepdims=True)
        there = np.ravel(np.abs(there.reshape(value.shape)) / length)
    if isinstance(space, Counts):  # the same, and the length is that of the value
        there = np.abs(there) * np.linalg.norm(vector) / np.linalg.norm(there)
    if isinstance(space, Probability):  # angles up to the symmetries of the circle
        there = np.arcsin(np.abs(np.sin(there)))
    np.testing.assert_allclose(back, there, rtol=1e-9)


def test_counts_keep_their_total():
    """However far coordinates are, as extrapolation may lead there."""
    value = np.array([1.5, 0.5, 8.0])
    space = Counts(0.5)
    far = space.from_vector(1e8 * np.array([1.0, -2.0, 3.0]), value)
    np.testing.assert_allclose(far, 0.5 + 8.5 * np.array([1.0, 4.0, 9.0]) / 14.0)
    nothing = np.array([0.5, 0.5])
    np.testing.assert_array_equal(space.from_vector(space.to_vector(nothing), nothing), nothing)


@pytest.mark.parametrize("family", PLAIN)
def test_sample_follows_the_density(family):
    """A fit to a large sample from the parameters finds them again, to sampling error."""
    model, params, _ = problem(family)
    rng = np.random.RandomState(0)
    labels = np.arange(20_000) % K
    X = model.family.sample(params.family, labels, rng)
    known = (labels == np.arange(K)[:, None]).astype(float)
    found = model.family.start(Batch(X.T.copy()), known)
    for a, b in zip(leaves(found), leaves(params.family), strict=True):
        np.testing.assert_allclose(a, b, atol=0.04 * max(1.0, np.abs(b).max()))
