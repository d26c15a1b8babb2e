"""Variational Bayes: bounds against evidence in closed form, by enumeration, and against known answers."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.mixture import BayesianGaussianMixture

from emlearn.datasets import load_earthquakes, load_old_faithful
from emlearn.em import Batch, Batches, LatentModel, LatentPair, fit_em
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    BetaProbabilities,
    Categorical,
    DirichletProbabilities,
    GammaRates,
    Gaussian,
    NormalWishart,
    Poisson,
    VariationalBernoulli,
    VariationalCategorical,
    VariationalGaussian,
    VariationalPoisson,
)
from emlearn.latent import DirichletChain, DirichletWeights, MixtureWeights, StickBreaking
from emlearn.testing import LAWS, check_model
from tests.helpers.pace import some_slow

SHAPES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
WEIGHTS = {
    "Dirichlet": DirichletWeights(0.5),
    "one each": DirichletWeights(np.array([0.5, 1.0, 3.0])),
    "Dirichlet process": StickBreaking(0.7),
    "Pitman-Yor": StickBreaking(0.5, 0.3),
    "seen before": StickBreaking(0.5, 0.3, np.array([1.0, 5.0, 0.5])),
}


def scatter_of(shape, X):
    """Covariance of the rows, in a form."""
    d = X.shape[1]
    scatter = np.cov(X.T).reshape(1, d, d)
    if "diag" in shape:
        scatter = np.diagonal(scatter, axis1=1, axis2=2)
    return np.trace(scatter, axis1=1, axis2=2) / d if "spherical" in shape else scatter


def gaussian(shape, X, dof=None):
    """A family with the priors that scikit-learn has by default."""
    d = X.shape[1]
    prior = NormalWishart(X.mean(axis=0)[None], np.ones(1), np.array([float(dof or d)]), scatter_of(shape, X))
    return VariationalGaussian(Gaussian(COVARIANCE_SHAPES[shape]), prior)


def batch_of(X, weight=None):
    return Batch(np.ascontiguousarray(X.T), weight)


def fit(model, X, labels, K, weight=None, **kwargs):
    """A fit from labels of rows."""
    resp = (labels == np.arange(K)[:, None]) * (1.0 if weight is None else weight)
    return fit_em(model, model.start(batch_of(X, weight), resp), Batches(X, weight), **{"tol": 1e-10, **kwargs})


def standardised(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


@pytest.fixture(scope="module")
def faithful():
    return load_old_faithful().data


def conjugates(rng, d=2, n=50):
    """Families that count, with rows."""
    rates = GammaRates(np.full((1, d), 1.5), np.full((1, 1), 0.5))
    shares = BetaProbabilities(np.full((1, d), 0.5), np.full((1, d), 2.0))
    codes = DirichletProbabilities((np.full((1, 3), 0.5), np.array([[1.0, 2.0]])))
    kind = rng.randint(3, size=(n, 1))
    return {
        "Poisson": (VariationalPoisson(Poisson(), rates), rng.poisson([1, 2], (n, d)) + 4.0 * kind),
        "Bernoulli": (VariationalBernoulli(Bernoulli(), shares), 1.0 * (rng.uniform(size=(n, d)) < kind / 2)),
        "Categorical": (
            VariationalCategorical(Categorical(), codes),
            np.column_stack([np.minimum(rng.poisson(kind[:, 0]), 2), kind[:, 0] > 1]).astype(float),
        ),
    }


COUNTING = tuple(conjugates(np.random.RandomState(0)))


# -- one component: the bound is the evidence -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "evidence"),
    [("full", -559.7764046515), ("diag", -784.3453655852), ("spherical", -782.1673274082)],
)
@pytest.mark.parametrize("tied", ["", "tied"])
def test_known_evidence_of_one_component(shape, evidence, tied, faithful):
    shape = {"tiedfull": "tied"}.get(tied + shape, tied + ("_" if tied else "") + shape)
    Z = standardised(faithful)
    model = LatentModel(DirichletWeights(1.0), gaussian(shape, Z, dof=4))
    assert fit(model, Z, np.zeros(len(Z)), 1).objective == pytest.approx(evidence, abs=1e-8)


def chain_of_predictives(family, X):
    """Log evidence: each row's predictive density given those before."""
    total, params = 0.0, family.prior
    for row in X:
        batch = batch_of(row[None])
        total += family.predictive(params)(batch)[0, 0]
        params = family.maximize(
            family.density(params)(batch).totals(np.ones((1, 1))), params
        )  # from no rows but this
        family = type(family)(*family_parts(family, params))
    return total


def family_parts(family, prior):
    return (family.gaussian if isinstance(family, VariationalGaussian) else family.family), prior


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_evidence_is_the_chain_of_predictive_densities(shape, d):
    X = np.random.RandomState(0).normal(size=(12, d)) * np.arange(1, d + 1) + 3
    family = gaussian(shape, X, dof=d + 0.5)
    family = VariationalGaussian(family.gaussian, family.prior._replace(means=np.full((1, d), 1.0)))
    bound = fit(LatentModel(DirichletWeights(), family), X, np.zeros(len(X)), 1).objective
    assert bound == pytest.approx(chain_of_predictives(family, X), abs=1e-8)


@pytest.mark.parametrize("name", COUNTING)
def test_evidence_of_counts_is_the_chain_of_predictive_probabilities(name):
    family, X = conjugates(np.random.RandomState(0))[name]
    bound = fit(LatentModel(DirichletWeights(), family), X, np.zeros(len(X)), 1).objective
    assert bound == pytest.approx(chain_of_predictives(family, X), abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_one_after_another_equal_the_whole(shape, faithful):
    family = gaussian(shape, faithful)
    whole = fit(LatentModel(DirichletWeights(), family), faithful, np.zeros(272), 1)
    total, part = 0.0, family
    for rows in np.split(faithful, [10, 11, 200]):
        result = fit(LatentModel(DirichletWeights(), part), rows, np.zeros(len(rows)), 1)
        total += result.objective
        part = VariationalGaussian(family.gaussian, result.params.family)
    assert total == pytest.approx(whole.objective, rel=1e-10)
    for there, here in zip(whole.params.family, part.prior, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-10)


# -- known answers ---------------------------------------------------------------------------------------------

OF_FAITHFUL = [
    (DirichletWeights(1 / 6), -439.7096675590),
    (StickBreaking(1 / 6), -435.5385630504),
    (StickBreaking(1.0), -438.3116467023),
    (StickBreaking(1.0, 0.3), -441.4944991404),
]


@pytest.mark.parametrize(("weights", "bound"), OF_FAITHFUL, ids=lambda value: str(value)[:30])
def test_known_bounds_of_faithful(weights, bound, faithful):
    Z = standardised(faithful)
    labels = np.where(faithful[:, 0] < 3, 0, 1)
    result = fit(LatentModel(weights, gaussian("full", Z)), Z, labels, 6)
    assert result.objective == pytest.approx(bound, abs=1e-8)
    if isinstance(weights, StickBreaking):
        assert 0.99 < weights.mean(result.params.latent).sum() < 1
    else:
        expected = np.sort(weights.mean(result.params.latent))[-2:]
        np.testing.assert_allclose(expected, [0.35655259, 0.64100201], atol=1e-6)


def test_bound_in_other_units(faithful):
    labels = np.where(faithful[:, 0] < 3, 0, 1)
    result = fit(LatentModel(DirichletWeights(1 / 6), gaussian("full", faithful)), faithful, labels, 6)
    assert result.objective == pytest.approx(-1184.5129321140, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "bound"), [(DirichletWeights(0.1), -445.7363009049), (StickBreaking(1.0), -439.4900672748)]
)
def test_known_bounds_of_iris(weights, bound):
    Z = standardised(load_iris().data)
    model, rng, best = LatentModel(weights, gaussian("full", Z)), np.random.RandomState(0), -np.inf
    for _ in range(60):
        near = ((Z[:, None] - Z[rng.choice(len(Z), 8, replace=False)]) ** 2).sum(axis=2).argmin(axis=1)
        best = max(best, fit(model, Z, near, 8, max_iter=10_000).objective)
    assert best >= bound - 1e-8


@pytest.mark.parametrize(
    ("n_states", "bound"), [(1, -395.8188410493), (2, -354.3078343296), (3, -352.2770082544)]
)
def test_known_bounds_of_earthquakes(n_states, bound):
    counts = np.asarray(load_earthquakes().data, dtype=float).reshape(-1, 1)
    prior = GammaRates(np.ones((1, 1)), np.full((1, 1), 0.05))
    model = LatentModel(DirichletChain(), VariationalPoisson(Poisson(), prior))
    data = Batches(counts, lengths=[len(counts)])
    batch = next(iter(data))
    levels = np.quantile(counts, np.arange(1, n_states) / n_states)
    resp = 0.8 * (np.searchsorted(levels, batch.x[0]) == np.arange(n_states)[:, None]) + 0.2 / n_states
    result = fit_em(model, model.start(batch, resp), data, tol=1e-10)
    assert result.objective == pytest.approx(bound, abs=1e-8)


# -- below the evidence ----------------------------------------------------------------------------------------


def evidence_of_labels(family, X, labels, K):
    """Log evidence of the rows of each component, alone."""
    return sum(
        fit(LatentModel(DirichletWeights(), family), X[labels == k], np.zeros(np.sum(labels == k)), 1).objective
        for k in range(K)
        if (labels == k).any()
    )


@pytest.mark.parametrize("n", [6, pytest.param(9, marks=pytest.mark.slow)])
def test_bound_is_below_the_evidence_by_enumeration(n):
    """All labelings of a few rows; as many as there are orders of components have the same bound."""
    rng = np.random.RandomState(1)
    X = np.sort(np.append(rng.normal(-9, 1, n // 2), rng.normal(9, 1, n - n // 2)))[:, None]
    prior = NormalWishart(np.zeros((1, 1)), np.array([0.01]), np.array([6.0]), np.array([[[6.0]]]))
    family = VariationalGaussian(Gaussian(COVARIANCE_SHAPES["full"]), prior)
    logs = []
    for labels in product((0, 1), repeat=n):
        labels = np.array(labels)
        # Of labels the Dirichlet's evidence is its chain of predictive probabilities.
        codes = VariationalCategorical(Categorical(), DirichletProbabilities((np.ones((1, 2)),)))
        of_labels = fit(LatentModel(DirichletWeights(), codes), labels[:, None], np.zeros(n), 1).objective
        logs.append(of_labels + evidence_of_labels(family, X, labels, 2))
    evidence = logsumexp(logs)
    bound = fit(LatentModel(DirichletWeights(1.0), family), X, (X[:, 0] > 0).astype(int), 2).objective
    assert bound + np.log(2) <= evidence
    assert bound + np.log(2) > evidence - 0.1


# -- laws ------------------------------------------------------------------------------------------------------


def gaussian_problem(shape, weights, gaps, weighted):
    rng = np.random.RandomState(3)
    labels = np.arange(45) % 3
    X = rng.normal(size=(45, 2)) + 4 * np.array([[0, 0], [1, 0], [0, 1]])[labels]
    family = gaussian(shape, X)
    if gaps:
        X[rng.uniform(size=X.shape) < 0.15] = np.nan
        X[:2] = np.nan
    weight = rng.choice([0.5, 1.0, 2.0], len(X)) if weighted else np.ones(len(X))
    model = LatentModel(WEIGHTS[weights], family)
    start = model.start(batch_of(X, weight), (labels == np.arange(3)[:, None]) * weight)
    return model, start, (X, weight)


CASES = list(product(SHAPES, WEIGHTS, [False, True], [False, True]))[::3]


@pytest.mark.parametrize(("shape", "weights", "gaps", "weighted"), some_slow(CASES, 8))
def test_laws_of_gaussians(shape, weights, gaps, weighted):
    """Among them that the bound never falls, however accelerated, and that its gradient vanishes at the end."""
    model, start, (X, weight) = gaussian_problem(shape, weights, gaps, weighted)
    check_model(model, start, (X, weight))


@pytest.mark.parametrize("shape", SHAPES)
def test_prior_of_each_component(shape):
    """The posterior of some rows as prior of others, component by component."""
    model, start, (X, weight) = gaussian_problem(shape, "Dirichlet", gaps=True, weighted=True)
    first = fit_em(model, start, (X, weight)).params
    then = LatentModel(DirichletWeights(first.latent), VariationalGaussian(model.family.gaussian, first.family))
    check_model(then, first, (X + 0.2, weight), laws=["monotone", "reported", "gradient", "flatten"])


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", COUNTING)
def test_laws_of_counts(name, law):
    family, X = conjugates(np.random.RandomState(1))[name]
    model = LatentModel(StickBreaking(0.5), family)
    start = model.start(batch_of(X), np.random.RandomState(0).dirichlet(np.ones(2), len(X)).T)
    check_model(model, start, X, laws=[law])


@pytest.mark.parametrize("forbidden", [False, True])
def test_laws_of_chains(forbidden):
    rng = np.random.RandomState(0)
    states = np.repeat([0, 1, 2, 0, 1, 2], 8)
    X = rng.poisson(np.array([1.0, 5.0, 12.0])[states])[:, None].astype(float)
    prior = GammaRates(np.ones((1, 1)), np.full((1, 1), 0.1))
    concentration = np.full((3, 3), 0.5)
    if forbidden:
        concentration[0, 2] = concentration[2, 1] = 0.0
    chain = DirichletChain(start_concentration=0.5, concentration=concentration)
    model = LatentModel(chain, VariationalPoisson(Poisson(), prior))
    data = Batches(X, np.array([1.0, 2.0, 0.5]), lengths=[20, 20, 8])
    batch = next(iter(data))
    resp = 0.8 * (states[batch.rows] == np.arange(3)[:, None]) + 0.2 / 3
    start = model.start(batch, resp * batch.weight)
    check_model(model, start, data)
    mean = chain.mean(fit_em(model, start, data).params.latent)
    np.testing.assert_allclose(mean.transition.sum(axis=1), 1.0)
    assert (mean.transition[concentration == 0] == 0).all()


def test_annealed_bound_is_monotone():
    model, start, data = gaussian_problem("full", "Dirichlet process", gaps=False, weighted=False)
    check_model(LatentModel(model.latent, model.family, beta=0.4), start, data, laws=["monotone", "gradient"])


# -- against others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dirichlet_distribution", "dirichlet_process"])
def test_as_scikit_learn_where_that_is_right(kind, faithful):
    """Same priors, same responsibilities: its full covariances are right."""
    labels = np.where(faithful[:, 0] < 3, 1, 0)
    theirs = BayesianGaussianMixture(
        n_components=2, weight_concentration_prior_type=kind, tol=1e-13, max_iter=2000, reg_covar=0
    )
    theirs._initialize_parameters = lambda X, random_state, xp=None: theirs._initialize(X, np.eye(2)[labels])
    theirs.fit(faithful)
    weights = DirichletWeights(0.5) if "distribution" in kind else StickBreaking(0.5)
    params = fit(LatentModel(weights, gaussian("full", faithful)), faithful, labels, 2, tol=1e-12).params
    np.testing.assert_allclose(params.family.means, theirs.means_, rtol=1e-6)
    np.testing.assert_allclose(params.family.dof, theirs.degrees_of_freedom_, rtol=1e-6)
    np.testing.assert_allclose(params.family.precision, theirs.mean_precision_, rtol=1e-6)
    covariances = params.family.scatter / params.family.dof[:, None, None]
    np.testing.assert_allclose(covariances, theirs.covariances_, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_maximum_likelihood_where_data_outweigh_the_prior(shape, faithful):
    Z, labels = standardised(faithful), np.where(faithful[:, 0] < 3, 1, 0)
    plain = fit(LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[shape], 1e-9)), Z, labels, 2).params
    off = []
    for size in (1e3, 1e6):
        model = LatentModel(DirichletWeights(1.0), gaussian(shape, Z))
        params = fit(model, Z, labels, 2, weight=np.full(len(Z), size), tol=1e-6).params
        means, covariances = model.family.plug_in(params.family)
        off.append(
            max(
                np.abs(model.latent.mean(params.latent) - plain.latent).max(),
                np.abs(means - plain.family.means).max(),
                np.abs(covariances - plain.family.covariances).max(),
            )
        )
    assert off[0] < 1e-3
    assert off[1] < 3e-6


# -- sticks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discount", [0.0, 0.4])
def test_the_order_of_sizes_is_the_best_of_all_orders(discount):
    rng = np.random.RandomState(0)
    for _ in range(5):
        counts = rng.gamma(0.5, 30, size=4)

        class InOrder(StickBreaking):
            def sticks(self, params, order=None):
                before = StickBreaking(self.concentration, self.discount, self.rank).sticks(params)
                prior = StickBreaking(self.concentration, self.discount).sticks(np.zeros(4)).prior
                return before._replace(prior=prior)

        weights = StickBreaking(0.8, discount)
        bounds = []
        for rank in permutations(range(1, 5)):
            other = InOrder(0.8, discount)
            object.__setattr__(other, "rank", 1e-9 * np.array(rank, dtype=float))
            bounds.append(other.log_prior(counts) + counts @ other.log_weights(counts)[:, 0])
        sorted_bound = weights.log_prior(counts) + counts @ weights.log_weights(counts)[:, 0]
        assert sorted_bound == pytest.approx(max(bounds), abs=1e-7)
        assert max(bounds) > min(bounds) + 1


@pytest.mark.parametrize("discount", [0.0, 0.4])
def test_empty_sticks_can_be_dropped(discount):
    weights, counts = StickBreaking(0.8, discount), np.array([3.0, 0.0, 9.0, 0.0])
    some = counts[[0, 2]]
    assert weights.log_prior(some) == pytest.approx(weights.log_prior(counts), abs=1e-14)
    np.testing.assert_allclose(weights.log_weights(some), weights.log_weights(counts)[[0, 2]], atol=1e-14)
    np.testing.assert_allclose(weights.mean(some), weights.mean(counts)[[0, 2]], atol=1e-14)


def test_expected_weights_by_drawing():
    rng, counts = np.random.RandomState(0), np.array([3.0, 9.0, 0.5])
    weights = StickBreaking(0.8, 0.2)
    order, _, (a, b) = weights.sticks(counts)
    sticks = rng.beta(a, b, size=(200_000, 3))
    left = np.cumprod(1 - sticks, axis=1)
    drawn = np.empty_like(sticks)
    drawn[:, order] = sticks * np.column_stack([np.ones(len(left)), left[:, :-1]])
    np.testing.assert_allclose(weights.mean(counts), drawn.mean(axis=0), atol=3e-3)
    np.testing.assert_allclose(weights.log_weights(counts)[:, 0], np.log(drawn).mean(axis=0), atol=3e-2)


# -- predictive densities --------------------------------------------------------------------------------------


def posterior_of(shape, d, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(9, d)) * np.arange(1, d + 1)
    family = gaussian(shape, X)
    return family, family.start(batch_of(X), rng.dirichlet(np.ones(2), 9).T)


@pytest.mark.parametrize("shape", SHAPES)
def test_predictive_density_integrates_to_one(shape):
    family, params = posterior_of(shape, 1)
    predict = family.predictive(params)
    for k in range(2):
        total = quad(lambda x, k=k: np.exp(predict(Batch(np.array([[x]])))[k, 0]), -np.inf, np.inf, limit=200)[
            0
        ]
        assert total == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_predictive_density_of_what_is_observed(shape):
    """Missing entries integrated out, by a sum over a grid."""
    family, params = posterior_of(shape, 2)
    predict = family.predictive(params)
    x = np.tan(np.linspace(-np.pi / 2, np.pi / 2, 4001)[1:-1])
    step = np.pi / 4000 * (1 + x**2)
    both = predict(Batch(np.array([np.full_like(x, 0.7), x])))
    alone = predict(Batch(np.array([[0.7, np.nan], [np.nan, np.nan]])))
    np.testing.assert_allclose(np.exp(both) @ step, np.exp(alone[:, 0]), rtol=1e-6)
    np.testing.assert_allclose(alone[:, 1], 0.0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_follow_the_predictive_density(shape):
    """In the mean of its logarithm, which exists whatever the tails, and in quartiles."""
    family, params = posterior_of(shape, 2)
    labels = np.repeat([0, 1], 20_000)
    drawn = family.sample(params, labels, np.random.RandomState(0))
    np.testing.assert_array_equal(drawn.shape, (40_000, 2))
    own = family.predictive(params)(batch_of(drawn))
    # E p(x)/q(x) = 1 for draws of q.
    other = np.exp(own[1] - own[0])[labels == 0]
    assert other.mean() == pytest.approx(1.0, abs=5 * other.std() / np.sqrt(len(other)) + 0.01)
    medians = [np.median(drawn[labels == k], axis=0) for k in range(2)]
    np.testing.assert_allclose(medians, params.means, atol=0.1)


@pytest.mark.parametrize("name", COUNTING)
def test_predictive_probabilities_sum_to_one(name):
    family, X = conjugates(np.random.RandomState(0))[name]
    params = family.start(batch_of(X), np.random.RandomState(0).dirichlet(np.ones(2), len(X)).T)
    values = {"Poisson": range(200), "Bernoulli": range(2)}.get(name)
    grid = product(values, values) if values else product(range(3), range(2))
    total = np.exp(family.predictive(params)(batch_of(np.array(list(grid), dtype=float)))).sum(axis=1)
    np.testing.assert_allclose(total, 1.0, rtol=1e-9)


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        ("full", {"dof": np.ones(1)}, "degrees of freedom must be more than 1"),
        ("diag", {"dof": np.zeros(1)}, "degrees of freedom must be more than 0"),
        ("full", {"precision": np.zeros(1)}, "precision of the prior's mean must be positive, but is 0"),
        ("full", {"scatter": np.array([[[1.0, 2.0], [2.0, 1.0]]])}, "scatter must be positive definite"),
        ("spherical", {"scatter": np.array([-1.0])}, "scatter must be positive definite"),
    ],
)
def test_what_is_no_prior_is_refused(shape, change, message):
    family = gaussian(shape, np.random.RandomState(0).normal(size=(9, 2)))
    with pytest.raises(ValueError, match=message):
        VariationalGaussian(family.gaussian, family.prior._replace(**change))


def test_forms_without_a_conjugate_prior_are_refused():
    family = gaussian("full", np.random.RandomState(0).normal(size=(9, 2)))
    with pytest.raises(ValueError, match="EqualForm covariances have no conjugate prior"):
        VariationalGaussian(Gaussian(COVARIANCE_SHAPES["VEE"]), family.prior)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DirichletWeights(0.0), "concentration must be positive; the least is 0"),
        (lambda: DirichletWeights(np.array([1.0, -2.0])), "the least is -2"),
        (lambda: StickBreaking(-0.5), "concentration=-0.5 must be more than 0"),
        (lambda: StickBreaking(-0.5, 0.3), "concentration=-0.5 must be more than -0.3"),
        (lambda: StickBreaking(1.0, 1.0), "discount=1 must be at least 0 and below 1"),
        (lambda: StickBreaking(1.0, seen=np.array([-1.0])), "seen must hold counts"),
        (lambda: DirichletChain(stationary=True), "stationary=True has no conjugate prior"),
        (lambda: DirichletChain(fixed_transition=True), "fixed_transition=True has no conjugate prior"),
        (lambda: DirichletChain(fixed_start=True, start_concentration=np.ones(2)), "but they sum to 2"),
        (lambda: DirichletChain(concentration=-1.0), "concentration must not be negative"),
        (lambda: DirichletChain(concentration=np.eye(2) - np.eye(2)), "in each row some of it positive"),
        (lambda: DirichletChain(allowed=np.ones((2, 2), dtype=bool)), "a concentration of 0 forbids"),
        (
            lambda: VariationalPoisson(Poisson(), GammaRates(np.zeros((1, 1)), np.ones((1, 1)))),
            "prior of Poisson must count more than 0",
        ),
        (
            lambda: VariationalCategorical(Categorical((2,)), DirichletProbabilities((np.ones((1, 3)),))),
            "of \\(3,\\) categories",
        ),
    ],
)
def test_priors_that_are_none_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_in_other_units(faithful):
    """As many nats as the volume of the units, and the same components."""
    Z, labels = standardised(faithful), np.where(faithful[:, 0] < 3, 1, 0)
    here = fit(LatentModel(StickBreaking(1.0), gaussian("full", Z)), Z, labels, 2)
    there = fit(LatentModel(StickBreaking(1.0), gaussian("full", faithful)), faithful, labels, 2)
    volume = len(Z) * np.log(faithful.std(axis=0)).sum()
    assert there.objective == pytest.approx(here.objective - volume, abs=1e-7)
    np.testing.assert_allclose(there.params.latent, here.params.latent, rtol=1e-6)
    assert isinstance(here.params, LatentPair)


@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_can_be_told_about_other_parameters(shape):
    X = standardised(load_old_faithful().data)
    family, rng = gaussian(shape, X), np.random.RandomState(0)
    resp, drawn = (rng.dirichlet(np.ones(2), size=len(X)).T for _ in range(2))
    old, new = family.start(batch_of(X), resp), family.start(batch_of(X), drawn)
    here, there = (family.density(place)(batch_of(X)).totals(resp) for place in (old, new))
    for told, expected in zip(family.recentred(here, old, new), there, strict=True):
        np.testing.assert_allclose(told, expected, rtol=1e-9, atol=1e-9)
