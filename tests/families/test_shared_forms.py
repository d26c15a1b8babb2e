"""Covariances that share a part of their form: VEI, EVI, VEE, EVE, VVE, EEV, VEV and EVV."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_iris

from emlearn import GaussianMixtureEM
from emlearn.datasets import load_old_faithful
from emlearn.em import ACCELERATIONS, Affine, Batch, LatentModel, em_iterates, fit_em
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.families.base import Sketch
from emlearn.latent import MixtureWeights
from emlearn.model_selection import InformationCriterionSearch
from tests.helpers.families import ONE_UNIT, SHARING_A_PART
from tests.helpers.pace import some_slow

FORMS = list(SHARING_A_PART)
# Of axes that all components share the likelihood may have several maxima.
COMMON_AXES = ["EVE", "VVE"]
ONE_MAXIMUM = [name for name in FORMS if name not in COMMON_AXES]
NEAREST = ["EVE", "VVE", "EEV", "VEV", "EVV"]  # has more coordinates than dimensions
OF_ANY_SCALE = [name for name in FORMS if name not in ONE_UNIT]
ROTATES = ["VEE", "EVE", "VVE", "EEV", "VEV", "EVV"]
K, D = 3, 3


def batch_of(X, weight=None):
    return Batch(np.ascontiguousarray(np.transpose(X)), weight)


def scatters(rng, n_components=K, d=D):
    """Sums of products of some components, dense, and their weights."""
    weight = rng.uniform(5, 40, size=n_components)
    roots = rng.normal(size=(n_components, d, d)) * rng.uniform(0.2, 2, size=(n_components, 1, d))
    return weight[:, None, None] * (roots @ roots.swapaxes(1, 2) + 0.05 * np.eye(d)), weight


def products_of(structure, dense):
    """The same as products."""
    return np.array([structure.moment(np.linalg.cholesky(matrix), None) for matrix in dense])


def expected(structure, covariance, dense, weight):
    """Expected log-likelihood, up to a constant."""
    matrices = structure.dense(covariance, dense.shape[1])
    log_det = np.linalg.slogdet(matrices)[1]
    traces = np.trace(np.linalg.solve(matrices, dense), axis1=1, axis2=2)
    return -0.5 * float(np.sum(weight * log_det + traces))


def least_eigenvalue(structure, covariance, d=D):
    return np.linalg.eigvalsh(structure.dense(covariance, d)).min()


def step(name, seed, floor, n_components=K, d=D):
    """M-steps on the same statistics, as one may be partial: structure, statistics, and where they arrive."""
    structure = COVARIANCE_SHAPES[name]
    dense, weight = scatters(np.random.RandomState(seed), n_components, d)
    found = structure.nearest(structure.identity(n_components, d), floor)
    for _ in range(30 if name in COMMON_AXES else 5):
        before, found = found, structure.maximize(products_of(structure, dense), weight, found, d, floor)
        rise = expected(structure, found, dense, weight) - expected(structure, before, dense, weight)
        assert rise >= -1e-9 * abs(expected(structure, before, dense, weight))
    return structure, dense, weight, found


# -- M-steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "seed"), some_slow(product(FORMS, range(4)), 5))
def test_m_step_is_the_maximum(name, seed):
    structure, dense, weight, found = step(name, seed, 1e-9)
    space, like = structure.space(), found if name in COMMON_AXES else structure.identity(K, D)

    def loss(vector):
        return -expected(structure, space.from_vector(vector, like), dense, weight)

    best = minimize(loss, space.to_vector(like), method="BFGS", options={"gtol": 1e-7})
    assert -expected(structure, found, dense, weight) <= best.fun + 1e-9 * abs(best.fun)
    np.testing.assert_allclose(found, space.from_vector(best.x, like), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "floor"), some_slow(product(FORMS, [0.5, 0.8, 2.0]), 2))
def test_m_step_on_the_floor_is_the_maximum(name, floor):
    """Nothing legal beside it is better: constraints are convex, and so is the loss, along geodesics."""
    n_binding = 0
    for seed in range(4):
        structure, dense, weight, found = step(name, seed, floor)
        assert least_eigenvalue(structure, found) >= floor * (1 - 1e-9)
        n_binding += least_eigenvalue(structure, found) <= floor * (1 + 1e-9)
        space, rng = structure.space(), np.random.RandomState(seed)
        vector, there = space.to_vector(found), expected(structure, found, dense, weight)
        for scale in (1e-1, 1e-2, 1e-3, 1e-4):
            others = [
                space.from_vector(vector + scale * rng.normal(size=vector.size), found) for _ in range(25)
            ]
            least = [least_eigenvalue(structure, other) for other in others]
            legal = [other * max(1.0, floor / low) for other, low in zip(others, least, strict=True)]
            legal += [structure.nearest(other, floor) for other in others[:2]]
            for other in legal:
                assert least_eigenvalue(structure, other) >= floor * (1 - 1e-9)
                assert expected(structure, other, dense, weight) <= there + 1e-8 * abs(there)
    assert n_binding


@pytest.mark.parametrize("floor", [1e-9, 0.3])
@pytest.mark.parametrize("name", ONE_MAXIMUM)
def test_m_step_does_not_depend_on_where_it_starts(name, floor):
    structure, dense, weight, found = step(name, 1, floor)
    products = products_of(structure, dense)
    for seed in range(3):
        other = structure.nearest(step(name, 5 + seed, floor)[3], floor)
        again = structure.maximize(products, weight, other, D, floor)
        np.testing.assert_allclose(again, found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FORMS)
def test_number_of_free_parameters_is_the_rank(name):
    structure = COVARIANCE_SHAPES[name]
    for n_components, d in ((1, 3), (3, 1), (2, 2), (3, 4)):
        found = step(name, 0, 1e-9, n_components, d)[3]
        space = structure.space()
        vector = space.to_vector(found)
        n_free = structure.n_free(n_components, d)
        assert vector.size == space.n_coordinates(found) >= n_free
        assert vector.size == n_free or name in NEAREST
        moves = 1e-5 * np.eye(vector.size)
        slopes = [space.from_vector(vector + m, found) - space.from_vector(vector - m, found) for m in moves]
        assert np.linalg.matrix_rank(np.reshape(slopes, (vector.size, -1)) / 2e-5, tol=1e-6) == n_free
        np.testing.assert_allclose(space.from_vector(vector, found), found, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", FORMS)
def test_forms_are_what_their_letters_say(name):
    structure, _, _, found = step(name, 2, 1e-9)
    values, axes = np.linalg.eigh(structure.dense(found, D))
    volumes = np.exp(np.log(values).mean(axis=1, keepdims=True))
    shapes = found / volumes if found.ndim == 2 else values / volumes
    assert (np.ptp(volumes) < 1e-9) == (name[0] == "E")
    assert (np.ptp(shapes, axis=0).max() < 1e-9) == (name[1] == "E")
    along_axes_of_first = axes[0].T @ structure.dense(found, D) @ axes[0]
    off = along_axes_of_first - np.eye(D) * along_axes_of_first
    assert (np.abs(off).max() < 1e-9) == (name[2] != "V")
    assert (found.ndim == 2) == (name[2] == "I")


@pytest.mark.parametrize("name", FORMS)
def test_m_step_of_single_rows_has_the_form(name):
    """Components without any scatter, or less than none by rounding, beside one that has some."""
    structure, (dense, weight) = COVARIANCE_SHAPES[name], scatters(np.random.RandomState(0))
    products = products_of(structure, dense)
    for nothing in (0.0, -1e-17):
        for last in (products[2], nothing):
            products[:2], products[2] = nothing, last
            found = structure.maximize(products, weight, structure.identity(K, D), D, 1e-6)
            space = structure.space()
            again = space.from_vector(space.to_vector(found), found)
            np.testing.assert_allclose(again, found, rtol=1e-9, atol=1e-12 * np.abs(found).max())
            assert least_eigenvalue(structure, found) >= 1e-6 * (1 - 1e-6)


@pytest.mark.parametrize("floor", [1e-9, 0.3])
@pytest.mark.parametrize("name", FORMS)
def test_a_component_without_weight_keeps_what_is_its_own(name, floor):
    structure, dense, weight, before = step(name, 0, floor)
    dense, weight = dense.copy(), weight.copy()
    dense[1], weight[1] = 0.0, 0.0
    after = structure.maximize(products_of_some(structure, dense, weight), weight, before, D, floor)
    volumes = [np.linalg.det(structure.dense(c, D)) ** (1 / D) for c in (before, after)]
    values, axes = zip(*(np.linalg.eigh(structure.dense(c, D)) for c in (before, after)), strict=True)
    on_floor = structure.n_at_floor(after, floor * (1 + 1e-9))[1] > 0
    if name[0] == "E":
        assert volumes[1][1] == pytest.approx(volumes[1][0])
    else:
        assert on_floor or volumes[1][1] == pytest.approx(volumes[0][1], rel=1e-9)
    if name[1] == "E":
        assert values[1][1] / volumes[1][1] == pytest.approx(values[1][0] / volumes[1][0])
    else:
        assert on_floor or values[1][1] / volumes[1][1] == pytest.approx(values[0][1] / volumes[0][1], rel=1e-9)
    if name[2] == "V":
        np.testing.assert_allclose(np.abs(np.sum(axes[0][1] * axes[1][1], axis=0)), 1.0, rtol=1e-9)
    assert structure.has_form(after)
    assert floor > 1e-3 or not on_floor
    # The others are as they would be without it.
    some = weight > 0
    others = structure.maximize(products_of(structure, dense[some]), weight[some], before[some], D, floor)
    exact = 1e-6 if name in COMMON_AXES else 1e-9  # up to rounding of the axes that are begun from
    np.testing.assert_allclose(after[some], others, rtol=exact, atol=exact * others.max())
    assert least_eigenvalue(structure, after) >= floor * (1 - 1e-9)


def products_of_some(structure, dense, weight):
    products = np.zeros((len(weight), structure.n_products(dense.shape[1])))
    products[weight > 0] = products_of(structure, dense[weight > 0])
    return products


@pytest.mark.parametrize("floor", [1e-9, 0.1, 0.5])
@pytest.mark.parametrize("name", FORMS)
def test_nearest_is_legal_and_leaves_what_is(name, floor):
    structure = COVARIANCE_SHAPES[name]
    rng = np.random.RandomState(0)
    dense = scatters(rng)[0] / 20
    given = np.diagonal(dense, axis1=1, axis2=2).copy() if name.endswith("I") else dense
    before = given.copy()
    legal = structure.nearest(given, floor)
    np.testing.assert_array_equal(given, before)
    assert least_eigenvalue(structure, legal) >= floor * (1 - 1e-9)
    space = structure.space()
    np.testing.assert_allclose(
        space.from_vector(space.to_vector(legal), legal), legal, rtol=1e-9, atol=1e-12
    )  # of the form
    np.testing.assert_allclose(structure.nearest(legal, floor), legal, rtol=1e-7, atol=1e-10)


# -- the family --------------------------------------------------------------------------------------------


def rows(n=90, d=3, seed=0):
    rng = np.random.RandomState(seed)
    centres = 2.5 * np.array([[-1.0, 0.0, 0.5], [1.0, 1.0, -0.5]])[:, :d]
    return centres[np.arange(n) % 2] + rng.normal(size=(n, d)) * np.where(np.arange(n) % 2, 1.0, 0.6)[:, None]


def problem(name):
    X, rng = rows(), np.random.RandomState(1)
    resp = 0.4 * rng.dirichlet(np.ones(2), size=len(X)).T + 0.6 * (np.arange(len(X)) % 2 == [[0], [1]])
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[name]))
    return model, model.start(batch_of(X), resp), (X, rng.uniform(0.5, 2.0, size=len(X)))


@pytest.mark.parametrize("name", FORMS)
def test_order_units_and_marginals(name):
    model, params, (X, _) = problem(name)
    family, p = model.family, params.family

    def log_density(q, x):
        seen = family.density(q)(batch_of(x))
        return seen.log_prob + seen.shared_log_prob()

    order = np.array([1, 0])
    np.testing.assert_allclose(log_density(family.reorder(p, order), X), log_density(p, X)[order])
    scale = np.array([0.2, 5.0, 40.0]) if name in OF_ANY_SCALE else np.full(3, 5.0)
    units = Affine(np.array([3.0, -1.0, 0.0]), scale)
    there = log_density(family.in_units(p, units), X * units.scale + units.shift)
    np.testing.assert_allclose(there + np.log(units.scale).sum(), log_density(p, X), rtol=1e-9)
    columns = np.array([2, 0])
    marginal = Gaussian(family.structure.of_some).covariance(family.marginal(p, columns))
    np.testing.assert_allclose(marginal, family.covariance(p)[:, columns[:, None], columns])
    assert family.n_parameters(p) == 2 * D + family.structure.n_free(2, D)


@pytest.mark.parametrize("name", FORMS)
def test_a_fit_does_not_depend_on_units(name):
    """Units of the features: what the letters say is of the data in any of them."""
    model, params, (X, weight) = problem(name)
    scale = np.array([0.5, 3.0, 4.0]) if name in OF_ANY_SCALE else np.full(3, 4.0)
    units = Affine(np.array([3.0, -1.0, 0.0]), scale)
    fit = fit_em(model, params, (X, weight), tol=1e-8)
    there = params._replace(family=model.family.in_units(params.family, units))
    again = fit_em(model, there, (X * units.scale + units.shift, weight), tol=1e-8)
    log_scales = weight.sum() * np.log(units.scale).sum()
    assert again.log_likelihood + log_scales == pytest.approx(fit.log_likelihood, abs=1e-4)


@pytest.mark.parametrize("name", ROTATES)
def test_a_fit_does_not_depend_on_axes(name):
    model, params, (X, weight) = problem(name)
    turn = np.linalg.qr(np.random.RandomState(2).normal(size=(D, D)))[0]
    means, covariances = params.family
    there = params._replace(family=GaussianParams(means @ turn.T, turn @ covariances @ turn.T))
    fit, again = (fit_em(model, p, (x, weight), tol=1e-8) for p, x in ((params, X), (there, X @ turn.T)))
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-5)


# -- nesting -----------------------------------------------------------------------------------------------

LETTERS = {
    "EII": "tied_spherical", "VII": "spherical", "EEI": "tied_diag", "VVI": "diag",
    "EEE": "tied", "VVV": "full",
}  # fmt: skip
NESTED = [
    ("EII", "VII"), ("EII", "EEI"), ("VII", "VEI"), ("EEI", "VEI"), ("EEI", "EVI"), ("VEI", "VVI"),
    ("EVI", "VVI"), ("EEI", "EEE"), ("VEI", "VEE"), ("EEE", "VEE"), ("VEE", "VVV"), ("VVI", "VVV"),
    ("EVI", "EVE"), ("EEE", "EVE"), ("EVE", "VVE"), ("VVI", "VVE"), ("VEE", "VVE"), ("VVE", "VVV"),
    ("EEE", "EEV"), ("EEV", "VEV"), ("VEE", "VEV"), ("VEV", "VVV"), ("EEV", "EVV"), ("EVE", "EVV"),
    ("EVV", "VVV"),
]  # fmt: skip


def data_named(name):
    X = load_old_faithful().data if name == "old faithful" else load_iris().data
    return (X - X.mean(axis=0)) / X.std(axis=0), 3


@cache
def best_fit(letters, data):
    """The best of fits from the smaller models' parameters, and from three random partitions."""
    X, n_components = data_named(data)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[LETTERS.get(letters, letters)]))
    batch, d = batch_of(X), X.shape[1]
    starts = [converted(model, best_fit(small, data).params, d) for small, large in NESTED if large == letters]
    if not starts:
        labels = np.argmin(((X[:, None] - X[[0, 60, 140]]) ** 2).sum(axis=2), axis=1)
        starts.append(model.start(batch, 1.0 * (labels == np.arange(n_components)[:, None])))
    fits = [fit_em(model, start, X, tol=1e-6, max_iter=5000) for start in starts]
    return max(fits, key=lambda fit: fit.log_likelihood)


def converted(model, params, d):
    """Parameters of a smaller model as those of a larger one, the same distribution."""
    n_components = len(params.latent)
    dense = params.family.covariances
    if dense.ndim == 1:
        dense = np.repeat(dense[:, None], d, axis=1)
    if dense.ndim == 2:
        dense = dense[:, :, None] * np.eye(d)
    structure = model.family.structure
    if not structure.shared:
        dense = np.broadcast_to(dense, (n_components, d, d))
    form = structure.identity(n_components, d).ndim
    flat = {1: dense[:, 0, 0], 2: np.diagonal(dense, axis1=1, axis2=2), 3: dense}[form]
    return params._replace(family=GaussianParams(params.family.means, flat.copy()))


@pytest.mark.parametrize("data", ["old faithful", "iris"])
@pytest.mark.parametrize(("small", "large"), NESTED)
def test_likelihoods_nest(small, large, data):
    X, _ = data_named(data)
    low, high = best_fit(small, data), best_fit(large, data)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[LETTERS.get(large, large)]))
    start = converted(model, low.params, X.shape[1])
    there = model.expectation(start)(batch_of(X)).log_likelihood
    assert there == pytest.approx(low.log_likelihood, rel=1e-10)  # the smaller model is one of the larger
    assert model.family.n_parameters(start.family) > Gaussian(
        COVARIANCE_SHAPES[LETTERS.get(small, small)]
    ).n_parameters(low.params.family)
    assert high.log_likelihood >= low.log_likelihood - 1e-9 * abs(low.log_likelihood)


def test_where_the_letters_say_the_same():
    """One component has no other to differ from, and one feature no shape."""
    X = rows()
    one = {
        name: fit_em(
            (model := LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[name]))),
            model.start(batch_of(X), np.ones((1, len(X)))),
            X,
        ).log_likelihood
        for name in COVARIANCE_SHAPES
    }
    for name in FORMS:
        same = "diag" if name.endswith("I") else "full"
        assert one[name] == pytest.approx(one[same], rel=1e-12)
    resp = 0.2 + 0.6 * (np.arange(len(X)) % 2 == [[0], [1]])
    of_feature = {}
    for name in COVARIANCE_SHAPES:
        model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[name]))
        fit = fit_em(model, model.start(batch_of(X[:, :1]), resp), X[:, :1], tol=1e-8)
        of_feature[name] = fit.log_likelihood
    for name in FORMS:
        same = "tied" if name.startswith("E") else "full"
        assert of_feature[name] == pytest.approx(of_feature[same], abs=1e-6)


# -- published values, and direct optimisation ---------------------------------------------------------------


@pytest.mark.slow
def test_mclust_chooses_among_all_shapes_of_iris():
    """VEV with two components, as `Mclust(iris[, 1:4])` of mclust prints it, but for the sign of BIC."""
    X, fourteen = load_iris().data, [*LETTERS, *FORMS]
    grid = {"n_components": [1, 2, 3], "covariance_type": fourteen}
    search = InformationCriterionSearch(GaussianMixtureEM(random_state=0), grid, criterion="bic").fit(X)
    assert len(fourteen) == 14
    assert search.best_params_ == {"n_components": 2, "covariance_type": "VEV"}
    assert search.best_estimator_.log_likelihood_ == pytest.approx(-215.7259, abs=1e-4)
    assert search.best_estimator_.bic(X) == pytest.approx(561.7285, abs=1e-3)


@pytest.mark.parametrize("name", some_slow(NEAREST, ["VVE", "EEV"]))
def test_no_direct_step_gains_beside_a_fit(name):
    X, _ = data_named("old faithful")
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[name]))
    resp = 0.1 + 0.8 * ((X[:, 0] > 0) == [[True], [False]])
    params = fit_em(model, model.start(batch_of(X), resp), X, tol=1e-9, max_iter=5000).params
    vector = model.flatten(params)

    def loss(step):
        return -model.expectation(model.unflatten(vector + step, params))(batch_of(X)).log_likelihood

    best = minimize(loss, np.zeros(vector.size), method="BFGS")
    assert loss(np.zeros(vector.size)) - best.fun < 1e-6
    aside = loss(0.05 * np.random.RandomState(0).normal(size=vector.size))
    assert aside > best.fun + 1e-3  # it is no plateau


# -- what the data force onto the floor --------------------------------------------------------------------

EXTRA = {
    "constant": lambda X: np.column_stack([X, np.full(len(X), 0.0)]),
    "collinear": lambda X: np.column_stack([X, X[:, 0] + X[:, 1]]),
}
#: Shapes that the data force, for each: the diagonal ones know nothing of a sum.
FORCED = [
    *(("constant", name) for name in ("full", "tied", "diag", "tied_diag", "VEI", "VEE")),
    *(("collinear", name) for name in ("full", "tied")),
]


def blobs(n=200, seed=0):
    rng = np.random.RandomState(seed)
    centres = 1.1 * np.array([[-1.0, 0.5], [1.0, -0.5]])
    sizes = np.where(np.arange(n) % 3 == 0, 1.0, 0.6)[:, None]
    return centres[(np.arange(n) % 3 == 0).astype(int)] + rng.normal(size=(n, 2)) * sizes * [1.0, 0.7]


def bound_model(name, X):
    family = Gaussian(COVARIANCE_SHAPES[name])
    batch = batch_of(X)
    names = tuple(f"x{j}" for j in range(X.shape[1]))
    family = family.bound_to(Sketch(batch, X.max(axis=0), len(X), len(X), names))
    return LatentModel(MixtureWeights(), family)


def handicap_at(model, params, X):
    return model.handicap(params, model.expectation(params)(batch_of(X)).stats)


def start_of(model, X):
    labels = np.arange(len(X)) % 3 == 0
    return model.start(batch_of(X), 0.35 + 0.3 * (labels == [[False], [True]]))


@pytest.mark.parametrize(("extra", "name"), some_slow(FORCED, 3))
def test_what_data_force_costs_no_iterations(extra, name):
    X = blobs()
    wide = EXTRA[extra](X)
    without, bound = bound_model(name, X), bound_model(name, wide)
    assert without.family.forced is None
    assert without.family.forced_columns() == ()
    assert bound.family.n_forced == 1
    assert bound.family.forced_columns() == ((2,) if extra == "constant" else (0, 1, 2))
    for acceleration in ACCELERATIONS:
        plain = fit_em(without, start_of(without, X), X, tol=1e-6, acceleration=acceleration)
        fit = fit_em(bound, start_of(bound, wide), wide, tol=1e-6, acceleration=acceleration)
        assert plain.converged
        assert fit.converged
        assert any(fit.extrapolated) == any(plain.extrapolated) == (acceleration != "none")
        assert bound.resting(fit.params) is None
        assert not bound.family.on_floor(fit.params.family).any()
        if extra == "constant":  # it earns nothing, and costs nothing
            of_two = fit.params.family
            of_two = without.family.marginal(of_two, np.arange(2))
            stats = bound.expectation(fit.params)(batch_of(wide)).stats
            here = without.family.handicap(of_two, stats.family)
            assert handicap_at(bound, fit.params, wide) == pytest.approx(here, rel=1e-6)
            assert (here > 1e-6) == (not name.startswith("tied"))
        if name.startswith("V"):
            continue  # what is forced takes part in volumes that differ: that is another model
        if extra == "constant" or acceleration == "none":
            assert fit.n_iter == pytest.approx(plain.n_iter, rel=0.2)
        np.testing.assert_allclose(fit.params.family.means[:, :2], plain.params.family.means, atol=1e-2)


@pytest.mark.parametrize("name", ["full", "tied"])
def test_extrapolation_along_other_directions_is_as_good(name):
    """Coordinates beside a collinear column are of other directions. One data set would be a matter of luck."""
    totals = dict.fromkeys([*ACCELERATIONS, *(f"{a} without" for a in ACCELERATIONS)], 0)
    for seed in range(5):
        X = blobs(seed=seed)
        wide = EXTRA["collinear"](X)
        without, bound = bound_model(name, X), bound_model(name, wide)
        for acceleration in ACCELERATIONS:
            settings = {"tol": 1e-6, "acceleration": acceleration}
            totals[acceleration] += fit_em(bound, start_of(bound, wide), wide, **settings).n_iter
            totals[f"{acceleration} without"] += fit_em(without, start_of(without, X), X, **settings).n_iter
    for acceleration in ACCELERATIONS:
        n, plain = totals[acceleration], totals[f"{acceleration} without"]
        assert n < 0.8 * totals["none without"] or n <= 1.2 * plain, (acceleration, totals)


@pytest.mark.parametrize("name", ["EVI", "spherical", "tied_spherical"])
def test_a_constant_column_where_volume_is_shared(name):
    """Where a constant takes part in the volume the model is another one: it is fitted, and rises."""
    wide = EXTRA["constant"](blobs())
    bound = bound_model(name, wide)
    assert bound.family.n_forced == (name == "EVI")
    for acceleration in ACCELERATIONS:
        fit = fit_em(bound, start_of(bound, wide), wide, tol=1e-6, acceleration=acceleration)
        assert fit.converged
        assert (np.diff(fit.history) >= -1e-8 * abs(fit.objective)).all()
        assert not bound.family.on_floor(fit.params.family).any()
        handicap = handicap_at(bound, fit.params, wide)
        assert handicap == 0.0 if name.startswith("tied") else 0.0 < handicap < np.inf
        assert any(fit.extrapolated) == (acceleration != "none")


@pytest.mark.parametrize(("extra", "name"), [*FORCED, ("constant", "EVI"), ("constant", "spherical")])
def test_extrapolated_points_are_legal(extra, name):
    wide = EXTRA[extra](blobs())
    bound = bound_model(name, wide)
    floor, n_extrapolated = bound.family.floor, 0
    for acceleration in ACCELERATIONS:
        start = start_of(bound, wide)
        for iterate in em_iterates(bound, start, wide, max_iter=15, acceleration=acceleration):
            least = np.linalg.eigvalsh(bound.family.covariance(iterate.params.family)).min()
            assert least >= floor * (1 - 2e-6)
            n_extrapolated += iterate.extrapolated
    assert n_extrapolated


@pytest.mark.parametrize(("extra", "name"), [*FORCED, ("collinear", "VEE"), ("constant", "EVI")])
def test_coordinates_leave_what_is_forced(extra, name):
    """From any coordinates the matrices come back with the floor where the data force it."""
    wide = EXTRA[extra](blobs())
    bound = bound_model(name, wide)
    params = start_of(bound, wide)
    vector, free = bound.flatten(params), bound_model(name, wide)
    there = bound.unflatten(vector, params)
    np.testing.assert_allclose(free.family.covariance(there.family), bound.family.covariance(params.family),
                               rtol=1e-9, atol=1e-12)  # fmt: skip
    if name in ("EVI", "diag", "tied_diag"):
        return  # logarithms: what stays does so along any line through points where it does
    rng = np.random.RandomState(0)
    for _ in range(5):
        moved = bound.unflatten(vector + 0.3 * rng.normal(size=vector.size), params)
        matrices = bound.family.covariance(moved.family)
        along = np.einsum("if,kij,jf->kf", bound.family.forced, matrices, bound.family.forced)
        assert along.min() == pytest.approx(bound.family.floor, rel=1e-6)
        assert bound.resting(moved) is None


@pytest.mark.parametrize("name", ["full", "diag"])
@pytest.mark.parametrize("extra", ["constant", "collinear"])
def test_a_collapse_is_found_out_beside_what_is_forced(extra, name):
    X = np.vstack([blobs(), [[9.0, -9.0]]])
    wide = EXTRA[extra](X)
    bound = bound_model(name, wide)
    resp = np.zeros((2, len(X)))
    resp[0, :-1], resp[1, -1] = 1.0, 1.0
    params = bound.start(batch_of(wide), resp)
    stats = bound.family.density(params.family)(batch_of(wide)).totals(resp)
    assert bound.family.handicap(params.family, stats) == np.inf
    rests = bound.resting(params)
    assert rests.shape == bound.flatten(params).shape
    assert not rests[: 2 + 3].any()  # neither weights nor the other component's mean
    assert rests[5:8].all()
    np.testing.assert_array_equal(bound.family.on_floor(params.family), [False, True])


@pytest.mark.parametrize("name", ["full", "tied", "diag", "VEI", "EVI", "VEE", "spherical"])
@pytest.mark.parametrize("extra", ["constant", "collinear"])
def test_estimator_with_what_is_forced(extra, name):
    X = blobs()
    settings = {"covariance_type": name, "random_state": 0, "n_init": 1}
    plain = GaussianMixtureEM(2, **settings).fit(X)
    told = name in ("full", "tied", "VEE") or (extra == "constant" and name != "spherical")
    if told:
        with pytest.warns(UserWarning, match="constant or linearly dependent"):
            wide = GaussianMixtureEM(2, **settings).fit(EXTRA[extra](X))
    else:
        wide = GaussianMixtureEM(2, **settings).fit(EXTRA[extra](X))
    assert wide.converged_
    if told and name in ("full", "tied", "diag"):
        assert wide.n_iter_ <= 1.2 * plain.n_iter_ + 1 or extra == "collinear"
        assert np.mean(plain.predict(X) == wide.predict(EXTRA[extra](X))) > 0.99
