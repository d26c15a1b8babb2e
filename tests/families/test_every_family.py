"""The laws that every family obeys: each test runs over the whole registry in tests/helpers/families.py."""

import numpy as np
import pytest

from emlearn.em import Batches, LatentModel, LatentPair, fit_em
from emlearn.em.spaces import flatten, unflatten
from emlearn.families import Poisson, PoissonParams
from emlearn.latent import ChainParams, MarkovChain, MixtureWeights
from emlearn.testing import FAMILY_LAWS, check_family, check_model
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


@pytest.mark.parametrize("law", FAMILY_LAWS)
@every_family
def test_laws_of_families(name, law):
    check_family(FAMILIES[name].family, FAMILIES[name].params, rows_of(name), laws=[law])


BROKEN = {
    "n_parameters": {"n_parameters": lambda self, params: 1},
    "nearest_legal": {"nearest_legal": lambda self, params: PoissonParams(params.rates * 1.001)},
    "reorder": {"reorder": lambda self, params, order: PoissonParams(params.rates[: len(order)])},
    "units": {"units": lambda self, variances: np.sqrt(variances)},
    "fields": {"fields": lambda self, params, lead: params._asdict()},
    "sample": {"sample": lambda self, params, labels, rng: 2.0 * rng.poisson(params.rates[labels] / 2)},
    "marginal": {"marginal": lambda self, params, columns: PoissonParams(params.rates[:, columns - 1])},
}


@pytest.mark.parametrize("law", FAMILY_LAWS)
def test_a_law_that_is_broken_is_seen(law):
    family = type("Broken", (Poisson,), BROKEN[law])()
    with pytest.raises(AssertionError, match=rf"Law '{law}'"):
        check_family(family, FAMILIES["poisson"].params, rows_of("poisson"))


# Of which entries are missing, or totals any: the registry draws other rows.
OTHER_ROWS = ("binomial pairs", "multinomial of any total")
DRAWN_ALIKE = [name for name in COMPLETE if name not in OTHER_ROWS and "gaussian" not in name]


@pytest.mark.parametrize("name", DRAWN_ALIKE)
def test_samples_have_the_density(name):
    """The mean of log p(x) is the same over rows that the registry draws on its own."""
    family, params, labels = FAMILIES[name].family, FAMILIES[name].params, np.arange(8000) % K
    own, other = (
        np.choose(labels, log_density(family, params, X))
        for X in (
            family.sample(params, labels, np.random.RandomState(0)),
            FAMILIES[name].rows(np.random.RandomState(1), labels),
        )
    )
    assert abs(own.mean() - other.mean()) < 5 * own.std() * np.sqrt(2 / len(labels))


# -- parameters --------------------------------------------------------------------------------------------


@every_family
def test_coordinates_lead_back(name):
    family, params = FAMILIES[name].family, FAMILIES[name].params
    assert_same(unflatten(family.spaces, flatten(family.spaces, params), params), params, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name, example in FAMILIES.items() if example.maximum])
def test_one_component_has_a_closed_form(name):
    model, _, (X, weight) = problem(name)
    fit = fit_em(model, model.start(batch_of(X[:30]), np.ones((1, 30))), (X, weight))
    assert_same(fit.params.family, FAMILIES[name].maximum(X, weight), rtol=1e-7)
