"""The laws that every family obeys: each test runs over the whole registry in tests/helpers/families.py."""

import numpy as np
import pytest

from emlearn.em import Affine, Batches, LatentModel, LatentPair, fit_em
from emlearn.em.spaces import Directions, Simplex, flatten, unflatten
from emlearn.em.trees import leaves
from emlearn.families.shared_forms import Nearest
from emlearn.latent import ChainParams, MarkovChain, MixtureWeights
from emlearn.testing import check_model
from tests.helpers.families import EACH_KIND_OF_FAMILY, FAMILIES, K, batch_of, log_density, problem
from tests.helpers.pace import ALL_BUT_DENSITY, some_slow
from tests.helpers.trees import assert_same

every_family = pytest.mark.parametrize("name", FAMILIES)
each_kind_of_family = pytest.mark.parametrize("name", some_slow(FAMILIES, EACH_KIND_OF_FAMILY))
COMPLETE = [name for name, example in FAMILIES.items() if not example.takes_missing]
CHAIN = ChainParams(np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.25, 0.75]]))
LENGTHS = [20, 1, 13, 17, 2, 7]


def rows_of(name, n=60, seed=0):
    return FAMILIES[name].rows(np.random.RandomState(seed), np.arange(n) % K)


# -- EM ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", some_slow(FAMILIES, EACH_KIND_OF_FAMILY[::2]))
def test_laws_of_em(name):
    check_model(*problem(name))


@pytest.mark.parametrize("law", ALL_BUT_DENSITY)
@pytest.mark.parametrize("name", some_slow(COMPLETE, set(COMPLETE) & set(EACH_KIND_OF_FAMILY)))
def test_laws_of_em_with_a_prior(name, law):
    check_model(*problem(name, MixtureWeights(2.0)), laws=[law])


# An M-step of many small steps takes a chain seconds.
IN_A_CHAIN = [name for name in EACH_KIND_OF_FAMILY if "negative binomial" not in name]


@pytest.mark.parametrize(
    "name",
    some_slow([name for i, name in enumerate(FAMILIES) if i % 2 == 0 or name in IN_A_CHAIN], IN_A_CHAIN[::3]),
)
def test_laws_of_em_in_a_chain(name):
    rows, params, (X, _) = problem(name)
    model = LatentModel(MarkovChain(), rows.family)
    weight = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.5])
    check_model(model, LatentPair(CHAIN, params.family), Batches(X, weight, lengths=LENGTHS))


def recentred(name):
    """A family, totals about two places, the first of which is then told about the second, and the places."""
    example, rng = FAMILIES[name], np.random.RandomState(4)
    family, old, batch = example.family, example.params, batch_of(rows_of(name))
    resp = rng.dirichlet(np.full(K, 0.5), size=60).T
    drawn = rng.dirichlet(np.ones(K), size=60).T  # responsibilities of other parameters
    new = family.maximize(family.density(old)(batch).totals(drawn), old)
    totals, there = (family.density(place)(batch).totals(resp) for place in (old, new))
    return family, totals, there, old, new


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "ridge factor"])
def test_m_step_does_not_depend_on_what_statistics_are_about(name):
    """But that of factors with a prior, of which the expected factors are those of the parameters."""
    family, totals, _, old, new = recentred(name)
    assert_same(
        family.maximize(family.recentred(totals, old, new), new), family.maximize(totals, old), rtol=1e-8
    )


# Where something is hidden beside the component, what is expected of it is that of other parameters.
HIDES = ("factor", "student", "incomplete", "ridge", "mixture", "negative")


@pytest.mark.parametrize(
    "name", [name for name in COMPLETE if not any(kind in name for kind in HIDES) and name != "product"]
)
def test_statistics_can_be_told_about_other_parameters(name):
    family, totals, there, old, new = recentred(name)
    assert_same(family.recentred(totals, old, new), there, rtol=1e-9)


@every_family
def test_recentred_statistics_lead_back(name):
    family, totals, _, old, new = recentred(name)
    again = family.recentred(family.recentred(totals, old, new), new, old)
    assert_same(again, totals, rtol=1e-9)


# -- densities ---------------------------------------------------------------------------------------------


@each_kind_of_family
def test_density_from_first_principles(name):
    example, X = FAMILIES[name], rows_of(name)
    expected = [[example.log_density(x, k) for x in X] for k in range(K)]
    np.testing.assert_allclose(log_density(example.family, example.params, X), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name, example in FAMILIES.items() if example.support is not None])
def test_density_adds_up_to_one(name):
    """Over the support; of densities on the line, of any number of columns, over a fine grid."""
    example = FAMILIES[name]
    family, params, support, cell = example.family, example.params, example.support, 1.0
    if isinstance(support, str):
        first = rows_of(name)[:, :1]
        params = family.start(batch_of(first), (np.arange(len(first)) % K == np.arange(K)[:, None]) * 1.0)
        cell = 1e-3
        support = np.arange(-12, 12, cell)[:, None]
    total = np.exp(log_density(family, params, support)).sum(axis=1) * cell
    np.testing.assert_allclose(total, 1.0, atol=1e-9)


@every_family
def test_samples_have_the_density(name):
    """In all that moments and first principles can tell."""
    family, params = FAMILIES[name].family, FAMILIES[name].params
    labels = np.arange(40_000) % K
    X = family.sample(params, labels, np.random.RandomState(0))
    assert X.dtype == np.float64
    assert family.is_possible(X.T, params).all()
    if hasattr(family, "mean"):
        mean, covariance = family.mean(params), family.covariance(params)
        for k in range(K):
            own, known = X[labels == k], ~np.isnan(mean[k])
            error = np.sqrt(np.diag(covariance[k]) / len(own))[known]
            assert (np.abs(own.mean(axis=0) - mean[k])[known] < 5 * error).all()
            scale = np.sqrt(np.diag(covariance[k])[known])
            found = np.atleast_2d(np.cov(own.T))[np.ix_(known, known)]
            expected = covariance[k][np.ix_(known, known)]
            np.testing.assert_allclose(
                found / scale / scale[:, None], expected / scale / scale[:, None], atol=0.06
            )
    # The mean of log p(x) is the same over these rows and over those that the registry draws on its own,
    # where entries are not missing, nor totals any.
    if (
        name in COMPLETE
        and name not in ("binomial pairs", "multinomial of any total")
        and not name.startswith("gaussian")
        and "gaussians" not in name
    ):
        own = np.choose(labels, log_density(family, params, X))
        others = FAMILIES[name].rows(np.random.RandomState(1), labels[:8000])
        other = np.choose(labels[:8000], log_density(family, params, others))
        assert abs(own.mean() - other.mean()) < 5 * own.std() / np.sqrt(len(other))


# -- parameters --------------------------------------------------------------------------------------------


@every_family
def test_coordinates_lead_back(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    assert_same(unflatten(family.spaces, flatten(family.spaces, params), params), params, rtol=1e-12)


@every_family
def test_free_parameters_are_the_coordinates(name):
    """But for probabilities and directions, of which one follows from others, and nearest forms."""
    family, params = FAMILIES[name].family, FAMILIES[name].params
    n = flatten(family.spaces, params).size
    for space, value in zip(leaves(family.spaces), leaves(params), strict=True):
        n -= value[..., 0].size if isinstance(space, Simplex | Directions) else 0
        if isinstance(space, Nearest):
            vector = space.to_vector(value)
            moves = 1e-5 * np.eye(vector.size)
            slopes = [
                space.from_vector(vector + m, value) - space.from_vector(vector - m, value) for m in moves
            ]
            n -= vector.size - np.linalg.matrix_rank(np.reshape(slopes, (vector.size, -1)), tol=1e-11)
    assert family.n_parameters(params) == n


@every_family
def test_parameters_are_legal(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    assert_same(family.nearest_legal(params), params, rtol=1e-12)


@every_family
def test_components_can_change_places(name):
    family, params, X = FAMILIES[name].family, FAMILIES[name].params, rows_of(name)
    turned = family.reorder(params, np.array([1, 0]))
    assert_same(log_density(family, turned, X), log_density(family, params, X)[::-1], rtol=1e-12)
    once = family.reorder(params, np.array([1]))
    assert_same(log_density(family, once, X), log_density(family, params, X)[1:], rtol=1e-12)


@every_family
def test_units_of_numbers_do_not_matter(name):
    """Counts and codes have none, nor what is positive or a direction."""
    family, params, X = FAMILIES[name].family, FAMILIES[name].params, rows_of(name)
    d = X.shape[1]
    numbers = ~np.isnan(family.units(np.ones(d)))
    scale = 2.0 if "spherical" in name else np.linspace(2, 0.3, d)  # one variance is one unit
    units = Affine(np.where(numbers, np.linspace(-3, 5, d), 0.0), np.where(numbers, scale, 1.0))
    there = log_density(family, family.in_units(params, units), X * units.scale + units.shift)
    assert_same(there + ~np.isnan(X) @ np.log(units.scale), log_density(family, params, X), rtol=1e-9)


def arrays_in(fields):
    if isinstance(fields, np.ndarray | np.generic):
        return [np.asarray(fields)]
    return [
        array for part in (fields.values() if isinstance(fields, dict) else fields) for array in arrays_in(part)
    ]


@every_family
def test_fields_are_copies_of_all_parameters(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    fields = family.fields(params, (K,))
    assert isinstance(fields, dict)
    found = arrays_in(fields)
    for leaf in leaves(params):
        assert any(np.array_equal(np.ravel(array), np.ravel(leaf)) for array in found)
    before = [leaf.copy() for leaf in leaves(params)]
    for array in found:
        if array.flags.writeable:  # a number is not
            array[...] = 7.0
    for leaf, kept in zip(leaves(params), before, strict=True):
        np.testing.assert_array_equal(leaf, kept)


@pytest.mark.parametrize("name", [name for name, example in FAMILIES.items() if example.maximum])
def test_one_component_has_a_closed_form(name):
    model, _, (X, weight) = problem(name)
    fit = fit_em(model, model.start(batch_of(X[:30]), np.ones((1, 30))), (X, weight))
    assert_same(fit.params.family, FAMILIES[name].maximum(X, weight), rtol=1e-7)
