"""What the height of a likelihood may owe to luck: handicaps, steps that hide variances, spreads."""

from dataclasses import replace

import numpy as np
import pytest

from emlearn._sample import near_spread
from emlearn.em import ACCELERATIONS, Affine, LatentModel, fit_em
from emlearn.families import (
    COVARIANCE_SHAPES,
    FactorGaussian,
    FactorParams,
    Gaussian,
    MissingRows,
    MixtureOf,
    MixtureParams,
    Poisson,
    PoissonParams,
    Product,
    evidence,
)
from emlearn.families.base import Sketch
from emlearn.families.gaussian import FLOOR_SLACK
from emlearn.latent import MixtureWeights
from tests.helpers.families import FAMILIES, ONE_UNIT, batch_of, observe

# Fits are cut short here on purpose.

NAN = np.nan
SHARED = ("tied", "tied_diag", "tied_spherical")
every_shape = pytest.mark.parametrize("shape", COVARIANCE_SHAPES)


def sketch_of(X, weight=None, size=None):
    names = tuple(f"x{j}" for j in range(X.shape[1]))
    return Sketch(batch_of(X, weight), np.nanmax(X, axis=0), len(X), len(X) if size is None else size, names)


def handicap_of(covariances, weight, least=0, d=None):
    """The formula, in dense matrices (K, d, d) behind which there are so many rows."""
    if min(weight) < least:
        return np.inf
    within = np.average(covariances, axis=0, weights=weight)
    total = 0.0
    for covariance, n in zip(covariances, weight, strict=True):
        unlike = np.trace(np.linalg.solve(within, covariance) + np.linalg.solve(covariance, within)) / 2
        total += min(unlike - len(within), luck_of(len(within) if d is None else d, n))
    return total


def luck_of(d, n):
    return 3 * (d + 2) * np.log(1 + n)


def blobs(n=120, d=3, seed=0):
    """Rows of two clusters, and responsibilities that know of them."""
    rng = np.random.RandomState(seed)
    labels = np.arange(n) % 3 == 0
    X = (
        rng.normal(size=(n, d))
        @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
        * np.where(labels, 0.3, 1.0)[:, None]
    )
    X[labels] += 1.5
    return X, 0.05 + 0.9 * (labels == [[False], [True]])


def fitted(family, X, resp):
    """Parameters after a step, and statistics there."""
    params = family.start(batch_of(X), resp)
    return params, observe(family, params, X).totals(resp)


# -- Gaussians ---------------------------------------------------------------------------------------------


@every_shape
def test_handicap_of_gaussians(shape):
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES[shape])
    params, totals = fitted(family, X, resp)
    expected = handicap_of(family.covariance(params), totals.weight)
    assert family.handicap(params, totals) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (expected > 0.01) == (shape not in SHARED)
    if shape not in (*SHARED, "EVI"):  # where one can be thinner than another
        parts = np.array([1.0, 1e-8])
        tight = params._replace(covariances=(params.covariances.T * parts).T)
        most = luck_of(3, totals.weight).sum()
        assert luck_of(3, totals.weight[1]) < family.handicap(tight, totals) <= most * (1 + 1e-12)
        expected = handicap_of(family.covariance(tight), totals.weight)
        assert family.handicap(tight, totals) == pytest.approx(expected, rel=1e-6)
    one = family.start(batch_of(X), np.ones((1, len(X))))
    assert family.handicap(one, observe(family, one, X).totals(np.ones((1, len(X))))) == 0.0


@every_shape
def test_all_as_thin_costs_nothing(shape):
    """Tight clusters far apart are no luck, however near to singular."""
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES[shape])
    params, totals = fitted(family, X, resp)
    tight = params._replace(covariances=1e-6 * params.covariances)
    expected = family.handicap(params, totals)
    assert family.handicap(tight, totals) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    alike = params._replace(covariances=np.repeat(params.covariances[:1], len(params.covariances), axis=0))
    assert family.handicap(alike, totals) == pytest.approx(0.0, abs=1e-9)


@every_shape
def test_a_handicap_is_no_less_than_none(shape):
    rng = np.random.RandomState(0)
    family = Gaussian(COVARIANCE_SHAPES[shape])
    for _ in range(20):
        X = rng.normal(size=(60, 3))
        found = family.handicap(*fitted(family, X, rng.dirichlet(np.full(4, 0.3), size=60).T))
        assert found >= -1e-9


def test_spread_of_what_is_constant_or_never_seen_is_1():
    X = np.column_stack([np.full(5, 3.0), np.full(5, NAN), [1.0, 2.0, 3.0, NAN, NAN]])
    np.testing.assert_allclose(evidence.spread(batch_of(X)), [1.0, 1.0, 2 / 3])
    np.testing.assert_allclose(evidence.spread(batch_of(X, np.array([1.0, 0, 1, 1, 1]))), [1.0, 1.0, 1.0])


@every_shape
def test_handicap_knows_no_units(shape):
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(X))
    params, totals = fitted(family, X, resp)
    scale = np.full(3, 7.0) if shape.endswith("spherical") else np.array([0.01, 5.0, 300.0])
    units = Affine(np.array([3.0, -1.0, 0.0]), scale)
    there = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(X * scale + units.shift))
    found = there.handicap(family.in_units(params, units), totals)
    assert found == pytest.approx(family.handicap(params, totals), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shape", ["full", "tied"])
def test_handicap_knows_no_axes(shape):
    """Turned, sheared and stretched, the components are as unlike as they were."""
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES[shape])
    found = [
        family.handicap(*fitted(family, rows, resp))
        for rows in (X, X @ np.random.RandomState(1).normal(size=(3, 3)))
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-9, abs=1e-9)


@every_shape
def test_handicap_knows_no_order(shape):
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES[shape])
    params, totals = fitted(family, X, resp)
    columns, order = np.array([2, 0, 1]), np.array([1, 0])
    again = family.handicap(*fitted(family, X[:, columns], resp))
    expected = family.handicap(params, totals)
    whole_steps = shape not in ("EVE", "VVE")  # of these an M-step ends on the way, and ways differ
    assert again == pytest.approx(expected, rel=1e-9 if whole_steps else 1e-3, abs=1e-12)
    swapped = totals._replace(weight=totals.weight[order])
    assert family.handicap(family.reorder(params, order), swapped) == pytest.approx(expected, rel=1e-12)


@every_shape
def test_few_rows_earn_nothing(shape):
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES[shape])
    params, totals = fitted(family, X, resp)
    least = {"full": 4, "EVV": 4}.get(shape, 2)
    for few in (least - 0.01, 0.5, 0.0):
        for weight in ([120 - few, few], [few, 120 - few]):
            found = family.handicap(params, totals._replace(weight=np.array(weight)))
            assert found == (0.0 if shape in SHARED else np.inf)
    enough = np.array([120.0 - least, least])
    expected = handicap_of(family.covariance(params), enough)
    found = family.handicap(params, totals._replace(weight=enough))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "family", [Gaussian(COVARIANCE_SHAPES["full"]), FactorGaussian(2)], ids=["full", "factor"]
)
def test_with_a_prior_few_rows_are_no_luck_but_one_is(family):
    X, resp = blobs()
    few = [np.array([117.5, 2.5]), np.array([118.5, 1.5])]
    for ridge, spurious in ((0.0, [True, True]), (1.0, [False, True])):
        prior = replace(family, ridge=ridge)
        params, totals = fitted(prior, X, resp)

        def with_weight(weight, totals=totals):
            if hasattr(totals, "weight"):
                return totals._replace(weight=weight)
            latent = totals.latent.copy()
            latent[:, -1] = weight
            return totals._replace(latent=latent)

        assert [bool(np.isinf(prior.handicap(params, with_weight(w)))) for w in few] == spurious


@pytest.mark.parametrize("shape", ["full", "tied", "diag", "spherical", "VEI", "EVI", "VEE"])
def test_fewer_rows_than_the_least_are_singular(shape):
    """... and with as many no more than that they need not be: each matrix that is no one else's."""
    rng, d = np.random.RandomState(0), 3
    structure = COVARIANCE_SHAPES[shape]
    least, plenty = structure.least_rows(d), rng.normal(size=(20, d))
    for n, singular in ((least - 1, shape not in SHARED), (least, False)):
        X = np.vstack([plenty, 2 + rng.normal(size=(n, d))])
        resp = np.repeat(np.eye(2), [20, n], axis=1)
        family = Gaussian(structure, floor=1e-12)
        lowest = np.linalg.eigvalsh(family.covariance(family.start(batch_of(X), resp))[1])[0]
        if shape not in ("EVI",) or not singular:  # of which the volume is everyone's
            assert (lowest < 1e-9) == singular


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_a_weight_counts_as_that_many_rows(weight):
    X, resp = blobs()
    family = Gaussian(COVARIANCE_SHAPES["full"])
    apart = family.start(batch_of(X), resp)
    apart = apart._replace(covariances=apart.covariances * np.array([1.0, 1e-9])[:, None, None])
    heavy = observe(family, apart, X, np.full(len(X), weight)).totals(weight * resp)
    expected = handicap_of(family.covariance(apart), weight * resp.sum(axis=1))
    assert expected > luck_of(3, weight * resp[1].sum())
    assert family.handicap(apart, heavy) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", ["full", "tied", "diag", "tied_diag", "VEI", "VEE"])
def test_a_constant_neither_costs_nor_earns(shape):
    """Whatever two features cost, they cost beside a constant: capped, infinite or neither."""
    X, resp = blobs(d=2)
    wide = np.column_stack([X[:, 0], np.full(len(X), 5.0), X[:, 1]])
    narrow = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(X))
    family = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(wide))
    assert family.forced_columns() == (1,)
    params, totals = fitted(family, wide, resp)
    for share in (1.0, 1e-4):
        first_tight = np.where(np.arange(len(params.covariances)) == 0, share, 1.0)
        there = params._replace(covariances=(params.covariances.T * first_tight).T)
        here = narrow.of_moments(params.means[:, [0, 2]], family.covariance(there)[:, [[0], [2]], [0, 2]])
        for weight in (totals.weight, np.array([117.0, 3.0]), np.array([118.5, 1.5])):
            of_wide, of_narrow = (t._replace(weight=weight) for t in (totals, fitted(narrow, X, resp)[1]))
            expected = pytest.approx(narrow.handicap(here, of_narrow), rel=1e-9, abs=1e-12)
            assert family.handicap(there, of_wide) == expected


@pytest.mark.parametrize("shape", ["full", "tied"])
def test_what_is_collinear_neither_costs_nor_earns(shape):
    X, resp = blobs()
    wide = np.column_stack([X, X @ [1.0, -2.0, 0.5]])
    family = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(wide))
    assert family.n_forced == 1
    params, totals = fitted(family, wide, resp)
    basis = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)[2][:3].T  # where there are rows at all
    expected = handicap_of(basis.T @ family.covariance(params) @ basis, totals.weight)
    assert family.handicap(params, totals) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    alone = Gaussian(COVARIANCE_SHAPES[shape])  # in whatever coordinates these are
    assert expected == pytest.approx(alone.handicap(*fitted(alone, X, resp)), rel=1e-6, abs=1e-9)


# -- factors -----------------------------------------------------------------------------------------------


def factor_params(rng, n_components=2, d=5, q=2):
    means, noise = rng.normal(size=(n_components, d)), rng.uniform(0.1, 0.6, size=(n_components, d))
    return FactorParams(means, 0.5 * rng.normal(size=(n_components, d, q)), noise)


@pytest.mark.parametrize("q", [0, 1, 2, 5, 7])
def test_handicap_of_factors(q):
    rng = np.random.RandomState(0)
    X, resp = rng.normal(size=(80, 5)), rng.dirichlet(np.ones(2), size=80).T
    params, family = factor_params(rng, q=q), FactorGaussian(q)
    totals = observe(family, params, X).totals(resp)
    weight = resp.sum(axis=1)
    expected = handicap_of(family.covariance(params), weight)
    assert 0.1 < expected < luck_of(5, weight).sum()
    assert family.handicap(params, totals) == pytest.approx(expected, rel=1e-9)
    moved = family.in_units(params, Affine(np.zeros(5), np.array([0.1, 2.0, 30.0, 1.0, 5.0])))
    assert family.handicap(moved, totals) == pytest.approx(expected, rel=1e-9)
    turn = np.linalg.qr(rng.normal(size=(q, q)))[0]  # of the factors
    turned = params._replace(loadings=params.loadings @ turn)
    assert family.handicap(turned, totals) == pytest.approx(expected, rel=1e-9)
    tight = params._replace(noise=1e-6 * params.noise, loadings=1e-3 * params.loadings)
    assert family.handicap(tight, totals) == pytest.approx(expected, rel=1e-6)  # as unlike as before
    first_tight = tight._replace(
        noise=np.vstack([params.noise[:1], tight.noise[1:]]),
        loadings=np.concatenate([params.loadings[:1], tight.loadings[1:]]),
    )
    expected = handicap_of(family.covariance(first_tight), weight)
    assert expected > luck_of(5, weight[1])
    assert family.handicap(first_tight, totals) == pytest.approx(expected, rel=1e-6)
    least = min(q + 2, 6)
    for weight, is_enough in ((least, True), (least - 0.01, False)):
        latent = totals.latent.copy()
        latent[:, -1] = 80 - weight, weight
        assert np.isfinite(family.handicap(params, totals._replace(latent=latent))) == is_enough
    alone = FactorParams(*(leaf[:1] for leaf in tight))
    assert family.handicap(alone, observe(family, alone, X).totals(np.ones((1, 80)))) == 0.0


@pytest.mark.parametrize("d", [1, 4])
def test_a_constant_neither_costs_nor_earns_beside_factors(d):
    rng = np.random.RandomState(0)
    X, resp = rng.normal(size=(80, d)), rng.dirichlet(np.ones(2), size=80).T
    wide = np.column_stack([X[:, :1], np.full(80, 5.0), X[:, 1:]])
    narrow, family = (FactorGaussian(1).bound_to(sketch_of(rows)) for rows in (X, wide))
    assert family.forced == (1,)
    params, totals = fitted(family, wide, resp)
    kept = np.setdiff1d(np.arange(d + 1), [1])
    here = family.marginal(params, kept)
    of_narrow = observe(narrow, here, X).totals(resp)
    found = family.handicap(params, totals)
    assert found == pytest.approx(narrow.handicap(here, of_narrow), rel=1e-6)
    assert found == pytest.approx(handicap_of(narrow.covariance(here), resp.sum(axis=1)), rel=1e-6)


# -- families made of families -----------------------------------------------------------------------------


def test_a_product_costs_what_its_parts_do():
    X, resp = blobs()
    counts = np.random.RandomState(1).poisson(3, size=len(X))
    parts = (
        ((0, 2), MissingRows(Gaussian(COVARIANCE_SHAPES["full"]))),
        ((1,), Gaussian(COVARIANCE_SHAPES["diag"])),
    )
    family = Product((*parts, ((3,), Poisson())))
    wide = np.column_stack([X, counts])
    params, totals = fitted(family, wide, resp)
    each = [part.handicap(p, t) for part, p, t in zip(family.families, params, totals, strict=True)]
    assert family.handicap(params, totals) == pytest.approx(sum(each))
    expected = [
        handicap_of(part.covariance(p), resp.sum(axis=1)) for (_, part), p in zip(parts, params, strict=False)
    ]
    assert each == pytest.approx([*expected, 0.0])
    few = (totals[0]._replace(weight=np.array([118.0, 2.0])), *totals[1:])
    assert family.handicap(params, few) == np.inf


def test_every_member_of_a_mixture_counts():
    example = FAMILIES["mixture of gaussians"]
    X = example.rows(np.random.RandomState(0), np.arange(80) % 2)
    family, params = example.family, example.params
    totals = observe(family, params, X).totals(np.tile([[0.5], [0.5]], 80))
    expected = handicap_of(family.family.covariance(params.members), totals.members.weight)
    assert family.handicap(params, totals) == pytest.approx(expected)
    assert len(params.members.means) == 4
    few = totals._replace(members=totals.members._replace(weight=np.array([30.0, 20.0, 28.0, 2.0])))
    assert family.handicap(params, few) == np.inf
    counts = MixtureOf(Poisson(), 2)
    of_counts = MixtureParams(params.weights, PoissonParams(np.ones((4, 2))))
    assert (
        counts.handicap(of_counts, observe(counts, of_counts, np.ones((9, 2))).totals(np.ones((2, 9)))) == 0.0
    )


def test_which_components_rest_on_a_floor():
    gaussian, tied = (Gaussian(COVARIANCE_SHAPES[shape], floor=0.1) for shape in ("diag", "tied_diag"))
    low, high = [0.1, 2.0], [1.0, 1.0]
    of_low = gaussian.of_moments(np.zeros((3, 2)), np.array([np.diag(v) for v in (high, low, high)]))
    of_high = gaussian.of_moments(np.zeros((3, 2)), np.array([np.diag(v) for v in (high, high, low)]))
    assert gaussian.on_floor(of_low).tolist() == [False, True, False]
    assert Product((((0, 1), gaussian), ((2, 3), gaussian))).on_floor((of_low, of_high)).tolist() == [
        False,
        True,
        True,
    ]
    counts = PoissonParams(np.ones((3, 1)))
    assert not Poisson().on_floor(counts).any()
    family = Product((((0,), Poisson()), ((1, 2), MissingRows(gaussian))))
    assert family.on_floor((counts, of_low)).tolist() == [False, True, False]
    members = gaussian.of_moments(np.zeros((4, 2)), np.array([np.diag(v) for v in (high, low, high, high)]))
    mixed = MixtureParams(np.full((2, 2), 0.5), members)
    assert MixtureOf(gaussian, 2).on_floor(mixed).tolist() == [True, False]
    shared = tied.of_moments(np.zeros((4, 2)), np.array([np.diag(low)] * 4))
    assert tied.on_floor(shared).tolist() == [True]
    assert MixtureOf(tied, 2).on_floor(MixtureParams(mixed.weights, shared)).tolist() == [True, True]
    both = Product((((0, 1), tied), ((2, 3), gaussian))).on_floor((shared, members))
    assert both.tolist() == [True] * 4


# -- steps that hide variances -----------------------------------------------------------------------------


def hidden(column, size=None, weight=None):
    return evidence.hidden(batch_of(np.asarray(column, dtype=float)[:, None], weight),
                           len(column) if size is None else size)[0]  # fmt: skip


RNG = np.random.RandomState(0)
NORMAL = RNG.normal(size=400)
COLUMNS = {
    "integers": (RNG.poisson(6, size=300), 0.25),
    "even integers": (2.0 * RNG.poisson(6, size=300) + 1, 1.0),
    "ratings": (RNG.randint(1, 6, size=60), 0.25),
    "a scale without its middle": (RNG.choice([1.0, 2, 4, 5, 8], size=60), 0.25),
    "tenths": (np.round(NORMAL, 1), 0.0025),
    "hundredths of few rows": (np.round(NORMAL[:50], 2), 0.0),  # next to no value repeats
    "tiny steps": (1e-6 * RNG.poisson(6, size=300), 2.5e-13),
    "standardised": ((RNG.poisson(6, size=300) - 6.1) / 2.7, 0.25 / 2.7**2),
    "gaps": (np.where(RNG.uniform(size=300) < 0.3, NAN, RNG.poisson(6, size=300)), 0.25),
    "gaps, and few of two values": (np.where(np.arange(100) < 18, np.arange(100) % 2, NAN), 0.0),
    "gaps, and enough of two values": (np.where(np.arange(100) < 20, np.arange(100) % 2, NAN), 0.25),
    "real numbers": (NORMAL, 0.0),
    "real numbers, most of them 0": (np.where(np.arange(400) % 4, 0.0, NORMAL), 0.0),
    "each real number thrice": (np.repeat(NORMAL, 3), 0.0),
    "steps lost in rounding": (1e9 + 1e-7 * RNG.poisson(6, size=300), 0.0),
    "constant": (np.full(50, 7.0), 0.0),
    "nothing": (np.full(50, NAN), 0.0),
    "one value and nothing": (np.where(np.arange(50) % 2, 3.0, NAN), 0.0),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_steps_hide(name):
    column, expected = COLUMNS[name]
    assert hidden(column) == pytest.approx(expected, rel=1e-6, abs=1e-20)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_two_values_hide_all_their_variance(share):
    """With a variance of δ²/4 no split of them gains anything, and no more than that is hidden."""
    column = 3.0 * (np.arange(100) < 100 * share) - 1
    assert hidden(column) == pytest.approx(9 * share * (1 - share), rel=1e-12)
    assert hidden(column[::6]) == 0.0  # which few rows say little of
    weight = np.where(column > 0, 3.0, 1.0)
    p = 3 * share / (3 * share + 1 - share)
    assert hidden(column, weight=weight) == pytest.approx(9 * min(0.25, p * (1 - p)), rel=1e-12)


def test_merged_rows_stand_for_more():
    """Rows that are alike count once in a sketch, which says how many observations it stands for."""
    values, counts = np.unique(RNG.poisson(6, size=300), return_counts=True)
    assert hidden(values, weight=counts.astype(float)) == 0.0
    assert hidden(values, size=300, weight=counts.astype(float)) == 0.25
    assert hidden(values[:4], size=39) == 0.0  # of less than five values each has to repeat ten times
    assert hidden(values[:4], size=40) > 0.0
    assert hidden(values[:5], size=10) == 0.25


def test_features_hide_one_by_one():
    columns = [COLUMNS[name][0][:60] for name in ("integers", "real numbers", "ratings", "tenths", "gaps")]
    X = np.column_stack(columns)
    np.testing.assert_allclose(evidence.hidden(batch_of(X), 60), [hidden(column) for column in columns])


def rounded(n=200, seed=0):
    """A count, a real number and a rating, of two clusters; and a start."""
    rng = np.random.RandomState(seed)
    labels = np.arange(n) % 2
    X = np.column_stack(
        [
            rng.poisson(np.where(labels, 8, 2)),
            rng.normal(size=n) + labels,
            1.0 + rng.binomial(4, 0.3 + 0.4 * labels),
        ]
    )
    return X, 0.2 + 0.6 * (labels == [[0], [1]])


@every_shape
def test_m_steps_rise_where_steps_hide_variances(shape):
    X, resp = rounded()
    family = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(X))
    if shape.endswith("spherical"):
        assert family.hidden is None
        assert family.floor == pytest.approx(0.5 / 3)
        floors = np.full(3, family.floor)
    elif shape in ONE_UNIT:  # no direction is to be narrower than the finest feature allows: a real number
        assert family.hidden is None
        assert family.floor == 1e-6
        floors = np.full(3, 1e-6)
    else:
        np.testing.assert_allclose(family.hidden, [0.25, 0.0, 0.25])
        floors = np.array([0.25, 1e-6, 0.25])
    model = LatentModel(MixtureWeights(), family)
    # One cluster of rows that agree but for the real number: it would have no variance in the others.
    tight = np.vstack([X, np.column_stack([np.full(20, 30.0), np.linspace(-1, 1, 20), np.full(20, 5.0)])])
    both = np.hstack([resp, np.full((2, 20), 0.01)])
    three = np.vstack([both, np.r_[np.full(200, 1e-3), np.full(20, 0.98)]])
    for acceleration in ("none", "auto"):
        for rows, share in ((X, resp), (tight, three)):
            fit = fit_em(
                model, model.start(batch_of(rows), share), rows, acceleration=acceleration, max_iter=25
            )
            assert (np.diff(fit.history) >= -1e-9 * abs(fit.objective)).all()
            scaled = family.covariance(fit.params.family) / np.sqrt(np.outer(floors, floors))
            assert np.linalg.eigvalsh(scaled).min() >= 1 - 2 * FLOOR_SLACK
    if shape not in (*SHARED, *ONE_UNIT, "EVI", "spherical"):
        assert np.linalg.eigvalsh(scaled[2])[0] == pytest.approx(1.0, rel=1e-5)
        assert family.on_floor(fit.params.family)[2]
        assert model.resting(fit.params) is not None


@pytest.mark.parametrize("shape", ["full", "diag"])
def test_the_m_step_is_the_best_above_the_floors(shape):
    """No covariance above the floors has a higher expected likelihood, near or far."""
    X, resp = rounded()
    X[:, 0] = np.where(np.arange(200) % 20 == 0, 1.0, 0.0) + X[:, 0] * (np.arange(200) % 2)
    family = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(X))
    resp = np.eye(2)[:, np.arange(200) % 2]
    params = family.start(batch_of(X), resp)
    floors = np.maximum(family.hidden, family.floor)
    dense = family.covariance(params)[0]
    by_floor = np.linalg.eigvalsh(dense / np.sqrt(np.outer(floors, floors)))
    assert by_floor[0] == pytest.approx(1.0, rel=1e-6)
    assert by_floor[1] > 1.1
    own = X[::2]
    scatter = (own - own.mean(axis=0)).T @ (own - own.mean(axis=0)) / len(own)

    def value(covariance):
        return -np.linalg.slogdet(covariance)[1] - np.trace(np.linalg.solve(covariance, scatter))

    rng, root = np.random.RandomState(0), np.sqrt(floors)
    for size in np.repeat([1e-3, 0.03, 1.0], 20):
        step = size * rng.normal(size=(3, 3))
        step = np.diag(np.diag(step)) if shape == "diag" else step + step.T
        values, vectors = np.linalg.eigh((dense + step) / np.outer(root, root))
        legal = (vectors * np.maximum(values, 1.0)) @ vectors.T * np.outer(root, root)
        assert value(legal) <= value(dense) + 1e-9


@every_shape
def test_where_nothing_is_hidden_all_is_as_it_was(shape):
    X, resp = blobs()
    plain = Gaussian(COVARIANCE_SHAPES[shape])
    bound = plain.bound_to(sketch_of(X))
    assert bound.hidden is None
    assert bound.floor == plain.floor
    a, b = (fit_em(model, model.start(batch_of(X), resp), X, max_iter=20)
            for model in (LatentModel(MixtureWeights(), family) for family in (plain, bound)))  # fmt: skip
    assert a.history == b.history
    if shape.endswith("spherical"):
        return  # a sphere has one floor, and no other path
    nothing = replace(bound, hidden=np.zeros(3))
    for one, other in zip(plain.start(batch_of(X), resp), nothing.start(batch_of(X), resp), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@every_shape
def test_legal_covariances_near_to_others_are_above_every_floor(shape):
    X, resp = rounded()
    family = Gaussian(COVARIANCE_SHAPES[shape]).bound_to(sketch_of(X))
    params = family.start(batch_of(X), resp)
    share = 1e-8 if shape in ONE_UNIT else 1e-4  # of these the floor is lower
    legal = family.nearest_legal(params._replace(covariances=share * params.covariances))
    floors = np.full(3, family.floor) if family.hidden is None else np.maximum(family.hidden, family.floor)
    scaled = family.covariance(legal) / np.sqrt(np.outer(floors, floors))
    assert np.linalg.eigvalsh(scaled).min() == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose(
        family.nearest_legal(legal).covariances, legal.covariances, rtol=1e-6, atol=1e-15
    )
    assert family.nearest_legal(params).covariances == pytest.approx(params.covariances, rel=1e-6)


def test_what_is_forced_hides_nothing():
    """A constant beside integers has the floor that it is forced to."""
    X = np.column_stack([rounded()[0], np.full(200, 4.0)])
    family = Gaussian(COVARIANCE_SHAPES["diag"]).bound_to(sketch_of(X))
    assert family.forced_columns() == (3,)
    np.testing.assert_allclose(family.hidden, [0.25, 0.0, 0.25, 0.0])
    copied = np.column_stack([X[:, :3], X[:, 0]])
    family = Gaussian(COVARIANCE_SHAPES["full"]).bound_to(sketch_of(copied))
    assert family.forced_columns() == (0, 3)
    np.testing.assert_allclose(family.hidden, [0.0, 0.0, 0.25, 0.0])


def test_noise_of_factors_is_above_what_steps_hide():
    X, resp = rounded()
    family = FactorGaussian(1).bound_to(sketch_of(np.column_stack([X, np.zeros(200)])))
    np.testing.assert_allclose(family.hidden, [0.25, 0.0, 0.25, 0.0])
    family = FactorGaussian(1).bound_to(sketch_of(X))
    model = LatentModel(MixtureWeights(), family)
    floors = np.array([0.25, 1e-6, 0.25])
    for acceleration in ACCELERATIONS:
        fit = fit_em(model, model.start(batch_of(X), resp), X, acceleration=acceleration, max_iter=50)
        assert (np.diff(fit.history) >= -1e-9 * abs(fit.objective)).all()
        assert (fit.params.family.noise >= floors * (1 - 1e-12)).all()
    low = fit.params.family._replace(noise=np.full((2, 3), 1e-9))
    np.testing.assert_array_equal(family.nearest_legal(low).noise, [floors, floors])
    assert family.on_floor(family.nearest_legal(low)).all()


# -- how densely rows lie ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_near_spread_of_a_normal_sample_is_about_its_sd(seed):
    x = 7.0 + 3.0 * np.random.RandomState(seed).normal(size=(3000, 1))
    found = near_spread(x, np.ones(3000))
    assert found.shape == (1,)
    assert found[0] == pytest.approx(3.0, rel=0.12)
    assert near_spread(1e-3 * x, np.ones(3000))[0] == pytest.approx(1e-3 * found[0], rel=1e-9)  # in their units


def test_near_spread_knows_of_no_sentinels_nor_of_clusters_far_apart():
    rng = np.random.RandomState(0)
    x = rng.normal(size=(2000, 1))
    alone = near_spread(x, np.ones(2000))[0]
    for share in (0.02, 0.2, 0.45):
        with_sentinels = x.copy()
        with_sentinels[: int(2000 * share)] = -99999.0
        assert near_spread(with_sentinels, np.ones(2000))[0] < 2.5 * alone
    for n_clusters in (2, 3, 5):
        apart = x + 1e5 * (np.arange(2000) % n_clusters)[:, None]
        assert 0.5 * alone < near_spread(apart, np.ones(2000))[0] < 1.1 * n_clusters * alone
        assert x.std() < 1e-4 * apart.std()


def test_near_spread_of_weights_features_and_gaps():
    rng = np.random.RandomState(0)
    values = np.round(rng.normal(size=2000), 3)
    distinct, counts = np.unique(values, return_counts=True)
    merged = near_spread(distinct[:, None], counts.astype(float))
    np.testing.assert_allclose(merged, near_spread(values[:, None], np.ones(2000)), rtol=0.05)
    np.testing.assert_allclose(near_spread(distinct[:, None], 0.25 * counts), merged, rtol=1e-9)
    gaps = np.column_stack(
        [values, np.where(np.arange(2000) % 2, NAN, values), np.full(2000, NAN), np.ones(2000)]
    )
    found = near_spread(gaps, np.ones(2000))
    np.testing.assert_allclose(found[1], found[0], rtol=0.1)
    assert found[2] == found[3] == np.inf  # of which nothing can be said
    unseen = np.vstack([gaps[:, :1], np.full((500, 1), 1e9)])  # rows without weight
    np.testing.assert_array_equal(near_spread(unseen, np.repeat([1.0, 0.0], [2000, 500])), found[:1])
