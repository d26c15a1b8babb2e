"""Families are made of parameters by name, say how far components are apart, and may hold parameters fixed."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment

from emlearn.em import Batch, LatentModel, LatentPair, fit_em
from emlearn.em.trees import leaves, tree_map
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    Categorical,
    Emission,
    FactorGaussian,
    Gaussian,
    GaussianParams,
    MissingRows,
    MixtureOf,
    Poisson,
    Product,
    gaussian_family,
)
from emlearn.families.base import gaussian_divergence
from emlearn.latent import MixtureWeights
from emlearn.testing import check_model
from tests.helpers.families import FAMILIES, K, batch_of, problem
from tests.helpers.pace import ALL_BUT_DENSITY, some_slow
from tests.helpers.trees import assert_same

every_family = pytest.mark.parametrize("name", FAMILIES)
FULL = Gaussian(COVARIANCE_SHAPES["full"])


@every_family
def test_made_of_what_it_publishes(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    made = family.from_fields(family.fields(params, (K,)), (K,))
    assert [leaf.shape for leaf in leaves(made)] == [leaf.shape for leaf in leaves(params)]
    assert family.with_parameters(made) == family
    assert_same(tree_map(np.asarray, made), params)


def test_a_family_takes_its_sizes_from_parameters():
    assert Categorical().with_parameters(FAMILIES["categorical"].params) == Categorical((2, 3))
    assert MixtureOf(FULL, 7).with_parameters(FAMILIES["mixture of gaussians"].params).n_components == 2
    assert FactorGaussian(9).with_parameters(FAMILIES["factor"].params).n_factors == 1
    assert MissingRows(Categorical()).with_parameters(FAMILIES["categorical"].params).family.n_categories


@every_family
def test_distances_tell_components_apart(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    own = family.divergence(params, family, params)
    np.testing.assert_allclose(np.diagonal(own), 0.0, atol=1e-9)
    np.testing.assert_allclose(own, own.T, rtol=1e-9)
    assert own[0, 1] > 1e-2
    moved = family.reorder(params, np.array([1, 0]))
    assert linear_sum_assignment(family.divergence(params, family, moved))[1].tolist() == [1, 0]


def test_distance_of_gaussians_is_minus_the_log_of_their_overlap():
    means, spreads = np.array([[0.0], [2.0]]), np.array([[[1.0]], [[4.0]]])

    def root(x, k):
        variance = spreads[k, 0, 0]
        return np.exp(-((x - means[k, 0]) ** 2) / (4 * variance)) / (2 * np.pi * variance) ** 0.25

    overlap = quad(lambda x: root(x, 0) * root(x, 1), -30, 30)[0]
    found = gaussian_divergence(means, spreads, means, spreads)
    assert found[0, 1] == pytest.approx(-np.log(overlap), rel=1e-6)
    far = gaussian_divergence(means * 1e3 + 1e6, spreads * 1e6, means * 1e3 + 1e6, spreads * 1e6)
    np.testing.assert_allclose(far, found, rtol=1e-9, atol=1e-12)  # no unit of measurement matters


@pytest.mark.parametrize(
    ("family", "table"),
    [
        (Poisson(), {"rates": [[1.5], [6.0]]}),
        (Bernoulli(), {"probabilities": [[0.2], [0.7]]}),
        (Categorical(), {"probabilities": [[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]]}),
    ],
)
def test_distance_of_counts_is_minus_the_log_of_their_overlap(family, table):
    params = family.from_fields(table, (K,))
    family = family.with_parameters(params)
    support = np.arange({"Poisson": 60, "Bernoulli": 2, "Categorical": 3}[type(family).__name__], dtype=float)
    seen = family.density(params)(Batch(support[None]))
    p = np.exp(seen.log_prob + seen.shared_log_prob())
    expected = -np.log(np.sqrt(p[0] * p[1]).sum())
    assert family.divergence(params, family, params)[0, 1] == pytest.approx(expected, rel=1e-9)


def test_forms_of_covariance_are_compared_by_their_moments():
    params = FAMILIES["gaussian full"].params
    tied = FAMILIES["gaussian tied"]
    distances = FULL.divergence(params, MissingRows(tied.family), tied.params)
    assert linear_sum_assignment(distances)[1].tolist() == [0, 1]
    mixture = FAMILIES["mixture of gaussians"]
    assert mixture.family.divergence(mixture.params, FULL, params).shape == (2, 2)
    assert FULL.divergence(params, mixture.family, mixture.params).shape == (2, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("poisson", "bernoulli"),
        ("gaussian full", "poisson"),
        ("categorical", "gaussian full"),
        ("product", "poisson"),
    ],
)
def test_unlike_families_are_not_compared(one, other):
    one, other = FAMILIES[one], FAMILIES[other]
    for a, b in ((one, other), (other, one)):
        with pytest.raises(ValueError, match=f"{type(a.family).__name__} cannot be compared with those of"):
            a.family.divergence(a.params, MissingRows(b.family), b.params)


def test_another_number_of_columns_is_not_compared():
    small = FULL.from_fields({"means": [[0.0], [1.0]], "covariances": np.ones((2, 1, 1))}, (2,))
    with pytest.raises(ValueError, match="cannot be compared"):
        FULL.divergence(FAMILIES["gaussian full"].params, FULL, small)


COVARIANCES = np.tile(np.eye(2), (2, 1, 1))
BAD_FIELDS = {
    "no covariances": ("full", {"means": np.zeros((2, 2))}, "covariances must be given"),
    "other name": ("full", {"means": np.zeros((2, 2)), "rates": 1.0}, "rates is no parameter here"),
    "shape": (
        "full",
        {"means": np.zeros((2, 2)), "covariances": np.eye(2)},
        r"shape \(2, 2\); expected \(2, 2, 2\)",
    ),
    "components": (
        "full",
        {"means": np.zeros((3, 2)), "covariances": COVARIANCES},
        r"means has shape \(3, 2\)",
    ),
    "words": (
        "full",
        {"means": [["a", "b"]] * 2, "covariances": COVARIANCES},
        "means must be an array of numbers",
    ),
    "NaN": ("full", {"means": np.full((2, 2), np.nan), "covariances": COVARIANCES}, "means holds NaN"),
    "indefinite": (
        "full",
        {"means": np.zeros((2, 2)), "covariances": COVARIANCES * [[[1]], [[-1]]]},
        r"covariances\[1\] must be positive definite, but its least eigenvalue is -1",
    ),
    "asymmetric": (
        "tied",
        {"means": np.zeros((2, 2)), "covariances": [[1.0, 0.5], [0.0, 1.0]]},
        "covariances must be symmetric",
    ),
    "zero variance": (
        "diag",
        {"means": np.zeros((2, 2)), "covariances": [[1.0, 1.0], [1.0, 0.0]]},
        "least eigenvalue",
    ),
    "shape not shared": (
        "VEI",
        {"means": np.zeros((2, 2)), "covariances": [[1.0, 1.0], [1.0, 3.0]]},
        "not of the form that the components of EqualShape share",
    ),
    "volume not shared": (
        "EVI",
        {"means": np.zeros((2, 2)), "covariances": [[1.0, 1.0], [1.0, 3.0]]},
        "EqualVolume share",
    ),
    "form not shared": (
        "VEE",
        {"means": np.zeros((2, 2)), "covariances": [np.eye(2), [[1.0, 0.5], [0.5, 1.0]]]},
        "EqualForm share",
    ),
    "no noise": (
        "factor",
        {"means": np.zeros((2, 2)), "loadings": np.ones((2, 2, 1)), "noise": np.zeros((2, 2))},
        "noise must be positive",
    ),
    "other covariances": (
        "factor",
        {
            "means": np.zeros((2, 2)),
            "loadings": np.ones((2, 2, 1)),
            "noise": np.ones((2, 2)),
            "covariances": COVARIANCES,
        },
        "covariances are not loadings",
    ),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_bad_covariances_are_named(name):
    covariance_type, named, message = BAD_FIELDS[name]
    with pytest.raises(ValueError, match=message):
        gaussian_family(covariance_type, n_factors=1).from_fields(named, (2,))


@pytest.mark.parametrize(
    ("family", "named", "message"),
    [
        (Poisson(), {"rates": [[1.0], [-2.0]]}, "rates must not be negative; the least is -2"),
        (
            Poisson(),
            {"lambdas": [[1.0], [2.0]]},
            "lambdas is no parameter here: the parameters of Poisson are rates",
        ),
        (Bernoulli(), {"probabilities": [[0.5], [1.5]]}, "between 0 and 1"),
        (Categorical(), {"probabilities": [[0.5, 0.6], [0.5, 0.5]]}, "must sum to 1, but a row sums to 1.1"),
        (Categorical(), {"probabilities": [[1.5, -0.5], [0.5, 0.5]]}, "its least entry is -0.5"),
        (
            Categorical(),
            {"probabilities": ([[1.0], [1.0]], [[0.5, 0.5], [0.5, 0.4]])},
            r"probabilities\[1\] must sum to 1",
        ),
        (Categorical((2, 2)), {"probabilities": [np.full((2, 2), 0.5)]}, "arrays for 1 columns"),
        (MixtureOf(Poisson(), 2), {"rates": np.ones((2, 2, 1))}, "weights must be given"),
        (MixtureOf(Poisson(), 2), {"weights": [[1.0, 1.0]] * 2, "rates": np.ones((2, 2, 1))}, "sum to 1"),
        (
            MixtureOf(Poisson(), 2),
            {"weights": [[0.5, 0.5]] * 2, "rates": np.ones((2, 3, 1))},
            "rates has shape",
        ),
        (Product((((0,), Poisson()), ((1,), Poisson()))), {"parts": ({"rates": [[1.0]]},)}, "parts are 1"),
    ],
)
def test_bad_parameters_are_named(family, named, message):
    with pytest.raises(ValueError, match=message):
        family.from_fields(named, (2,))


class Own(Emission):
    """A family that states nothing of names."""


def test_a_family_of_ones_own_says_what_it_lacks():
    with pytest.raises(ValueError, match="Own states no `from_fields`"):
        Own().from_fields({}, (2,))
    with pytest.raises(ValueError, match="Own cannot be compared"):
        Own().divergence(None, Own(), None)
    with pytest.raises(ValueError, match="Own has no M-step for covariances alone"):
        Own().held(("means",), FAMILIES["gaussian full"].params)


# What is held, and whether it can be.
HELD = [
    ("gaussian full", ("means",)),
    ("gaussian tied", ("means",)),
    ("gaussian VEE", ("covariances",)),
    ("gaussian EVI", ("means",)),
    ("incomplete diag", ("means",)),
    ("incomplete full", ("means",)),
    ("incomplete full", ("covariances",)),
    ("ridge VEI", ("means",)),
    ("mixture of gaussians", ("weights",)),
    ("mixture of gaussians", ("means",)),
    ("mixture of gaussians", ("weights", "covariances")),
    ("mixture of poissons", ("rates",)),
    ("incomplete gamma", ("shapes",)),
    ("directions", ("concentrations",)),
    ("incomplete angles", ("concentrations",)),
]


@pytest.mark.parametrize(
    ("name", "held"), some_slow(HELD, HELD[::3]), ids=lambda x: x if isinstance(x, str) else "+".join(x)
)
def test_laws_of_em_hold_where_parameters_are_held(name, held):
    model, rough, data = problem(name)
    free = model.family
    family = free.held(held, rough.family)
    model = LatentModel(model.latent, family)
    check_model(model, rough, data, laws=ALL_BUT_DENSITY)
    fit = fit_em(model, rough, data)
    before, after = (family.fields(params.family, (K,)) for params in (rough, fit.params))
    for part in before:
        moved = not np.array_equal(before[part], after[part])
        assert moved == (part not in held), part
    n_held = sum(np.size(before[part]) for part in held if part != "weights")
    n_held += before["weights"].size - K if "weights" in held else 0
    if "covariances" not in held:  # which share, or are symmetric
        assert free.n_parameters(rough.family) - family.n_parameters(rough.family) == n_held
    assert len(model.flatten(rough)) <= len(LatentModel(model.latent, free).flatten(rough)) - n_held // 2


@pytest.mark.parametrize(
    "name",
    ["poisson", "bernoulli", "categorical", "factor", "gaussian spherical", "gamma", "directions", "beta"],
)
def test_all_may_be_held(name):
    model, rough, data = problem(name)
    names = tuple(rough.family._fields)
    family = model.family.held(names, rough.family)
    model = LatentModel(model.latent, family)
    fit = fit_em(model, rough, data)
    assert_same(fit.params.family, rough.family, rtol=0)
    assert family.n_parameters(rough.family) == 0
    assert fit.log_likelihood > -np.inf
    assert np.all(np.diff(fit.history) >= -1e-9)


def test_factors_are_held_together_or_not_at_all():
    example = FAMILIES["factor"]
    with pytest.raises(ValueError, match="FactorGaussian has no M-step for means and noise alone"):
        example.family.held(("loadings",), example.params)


def test_held_covariances_are_no_handicap():
    params = GaussianParams(np.array([[-1.0], [1.0]]), np.array([[[1e-9]], [[2e-8]]]))
    X = np.linspace(-1.0, 1.0, 40)[:, None]
    stats = FULL.density(params)(batch_of(X)).totals(np.full((2, 40), 0.5))
    few = stats._replace(weight=np.array([39.0, 1.0]))
    most = FULL.handicap(params, stats)
    assert most > 1.0
    assert FULL.handicap(params, few) == np.inf
    held = FULL.held(("covariances",), params)
    assert held.handicap(params, stats) == held.handicap(params, few) == 0.0
    assert held.on_floor(params).tolist() == [True, True]
    assert held.resting(params) is None
    assert held.nearest_legal(params) is not params
    assert_same(held.nearest_legal(params), params, rtol=0)
    only_means = FULL.held(("means",), params)
    assert only_means.handicap(params, stats) == pytest.approx(most)
    assert only_means.handicap(params, few) == np.inf
    assert only_means.resting(params).tolist() == [True, True]  # of the variances


def test_maximum_with_means_held_is_about_these_means():
    X = np.array([[1.0], [2.0], [6.0]])
    params = GaussianParams(np.array([[1.0]]), np.array([[[1.0]]]))
    model = LatentModel(MixtureWeights(), FULL.held(("means",), params))
    fit = fit_em(model, LatentPair(np.ones(1), params), X)
    assert fit.params.family.covariances.item() == pytest.approx(np.mean((X - 1.0) ** 2))
