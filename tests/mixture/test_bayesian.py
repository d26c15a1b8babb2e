"""Bayesian mixtures: known answers, laws, predictive densities, streaming, and manners of an estimator."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.mixture import BayesianGaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import BayesianGaussianMixtureEM, GaussianMixtureEM, match_components
from emlearn.datasets import load_old_faithful
from emlearn.em import ACCELERATIONS
from emlearn.mixture import MixturePosterior
from tests.helpers.estimators import BAD_WEIGHTS, FRAMES, fit_and_messages, refuses_weights
from tests.helpers.pace import some_slow

SHAPES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
KINDS = ("dirichlet_process", "dirichlet_distribution", "pitman_yor")
SHAPES_AND_KINDS = [(shape, kind) for shape in SHAPES for kind in KINDS]
MANY = pytest.mark.filterwarnings("ignore:.*starts ended at.*:sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    return load_old_faithful().data


@pytest.fixture(scope="module")
def Z(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def mixture(n_components=2, **kwargs):
    kwargs = {"random_state": 0, "n_init": 2, **kwargs}
    if kwargs.get("weight_concentration_prior_type") == "pitman_yor":
        kwargs.setdefault("discount_prior", 0.2)
    return BayesianGaussianMixtureEM(n_components, **kwargs)


def with_gaps(X, share=0.15, seed=0):
    X = np.where(np.random.RandomState(seed).uniform(size=X.shape) < share, np.nan, X)
    X[0] = np.nan
    return X


# -- known answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "evidence"),
    [("full", -559.7764046515), ("diag", -784.3453655852), ("spherical", -782.1673274082)],
)
def test_bound_of_one_component_is_the_evidence(shape, evidence, Z):
    kind = "dirichlet_distribution"
    one = mixture(1, covariance_type=shape, degrees_of_freedom_prior=4, weight_concentration_prior_type=kind)
    assert one.fit(Z).lower_bound_ == pytest.approx(evidence, abs=1e-8)


@MANY
@pytest.mark.parametrize(
    ("kwargs", "bound"),
    some_slow(
        [
            ({"weight_concentration_prior_type": "dirichlet_distribution"}, -439.7096675590),
            ({}, -435.5385630504),
            ({"weight_concentration_prior": 1.0}, -438.3116467023),
            (
                {
                    "weight_concentration_prior": 1.0,
                    "weight_concentration_prior_type": "pitman_yor",
                    "discount_prior": 0.3,
                },
                -441.4944991404,
            ),
        ],
        4,
    ),
)
def test_known_bounds_of_faithful(kwargs, bound, X, Z):
    fit = mixture(6, n_init=5, tol=1e-9, **kwargs).fit(Z)
    assert fit.lower_bound_ == pytest.approx(bound, abs=1e-8)
    assert fit.n_effective_components_ == 2
    raw = mixture(6, n_init=5, tol=1e-9, **kwargs).fit(X)
    assert raw.lower_bound_ == pytest.approx(bound - 744.8032645550, abs=1e-7)
    np.testing.assert_allclose(raw.means_, fit.means_ * X.std(axis=0) + X.mean(axis=0), rtol=1e-4)


@MANY
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "concentration", "bound"), [(KINDS[1], 0.1, -441.5608009594), (KINDS[0], 1.0, -439.4900672748)]
)
def test_known_bounds_of_iris(kind, concentration, bound):
    """That of the Dirichlet distribution is 4.2 nats above the best of 30 random starts with all components."""
    from sklearn.datasets import load_iris

    X = load_iris().data
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    for seed in range(3):
        fit = mixture(
            8,
            n_init=40,
            tol=1e-6,
            random_state=seed,
            weight_concentration_prior_type=kind,
            weight_concentration_prior=concentration,
        ).fit(Z)
        assert fit.lower_bound_ == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_as_scikit_learn_from_the_same_responsibilities(kind, X):
    """Of two components its order of sticks is ours, and its full covariances are right."""
    labels = np.where(X[:, 0] < 3, 1, 0)
    theirs = BayesianGaussianMixture(
        n_components=2, weight_concentration_prior_type=kind, tol=1e-13, max_iter=2000, reg_covar=0
    )
    theirs._initialize_parameters = lambda X, random_state, xp=None: theirs._initialize(X, np.eye(2)[labels])
    theirs.fit(X)
    ours = mixture(2, init_params=labels, tol=1e-12, weight_concentration_prior_type=kind).fit(X)
    for name in (
        "weights_",
        "means_",
        "covariances_",
        "precisions_",
        "precisions_cholesky_",
        "weight_concentration_",
        "mean_precision_",
        "degrees_of_freedom_",
        "weight_concentration_prior_",
        "mean_precision_prior_",
        "mean_prior_",
        "degrees_of_freedom_prior_",
        "covariance_prior_",
    ):
        here, there = getattr(ours, name), getattr(theirs, name)
        assert np.shape(here) == np.shape(there), name
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_maximum_likelihood_where_data_outweigh_the_prior(shape, X):
    plain = GaussianMixtureEM(2, covariance_type=shape, random_state=0, n_init=2, tol=1e-9).fit(X)
    heavy = mixture(2, covariance_type=shape, tol=1e-3).fit(X, sample_weight=np.full(len(X), 1e6))
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(heavy, name), getattr(plain, name), rtol=1e-4)
    assert heavy.score(X) == pytest.approx(plain.score(X), abs=1e-6)


# -- laws ------------------------------------------------------------------------------------------------------

CASES = [
    (shape, kind, weighted, gaps)
    for shape in SHAPES
    for kind in KINDS
    for weighted in (False, True)
    for gaps in (False, True)
]


@MANY
@pytest.mark.parametrize(("shape", "kind", "weighted", "gaps"), some_slow(CASES, 17))
def test_the_bound_never_falls(shape, kind, weighted, gaps, X):
    X = with_gaps(X[::3]) if gaps else X[::3]
    weight = np.random.RandomState(1).choice([0.5, 1.0, 3.0], len(X)) if weighted else None
    reached = []
    for acceleration in ACCELERATIONS:
        fit = mixture(
            4,
            covariance_type=shape,
            weight_concentration_prior_type=kind,
            acceleration=acceleration,
            init_params=np.arange(len(X)) % 4,
            max_iter=10_000,
        ).fit(X, sample_weight=weight)
        bounds = np.array(fit.lower_bounds_)
        assert (np.diff(bounds) >= -1e-9 * np.abs(bounds[1:])).all()
        assert fit.lower_bound_ == bounds[-1]
        assert fit.converged_
        assert np.isfinite(fit.score_samples(X)).all()
        np.testing.assert_allclose(fit.predict_proba(X).sum(axis=1), 1.0)
        reached.append(fit.lower_bound_)
    assert len(reached) == len(ACCELERATIONS)


@pytest.mark.parametrize("shape", SHAPES)
def test_units_do_not_matter(shape, X):
    times = np.array([3.0, 3.0]) if "spherical" in shape else np.array([1e-3, 250.0])
    here = mixture(3, covariance_type=shape, tol=1e-8, init_params=np.arange(272) % 3).fit(X)
    there = mixture(3, covariance_type=shape, tol=1e-8, init_params=np.arange(272) % 3).fit(X * times - 5)
    volume = len(X) * np.log(times).sum()
    assert there.lower_bound_ == pytest.approx(here.lower_bound_ - volume, abs=1e-6)
    np.testing.assert_allclose(there.means_, here.means_ * times - 5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_count_rows(kind, X):
    times = np.arange(len(X)) % 3
    weighted = mixture(3, weight_concentration_prior_type=kind).fit(X, sample_weight=times)
    repeated = mixture(3, weight_concentration_prior_type=kind).fit(np.repeat(X, times, axis=0))
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-9)
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-6)
    np.testing.assert_allclose(weighted.covariance_prior_, repeated.covariance_prior_, rtol=1e-9)


def test_the_bound_is_below_the_evidence_of_one_component_less(X):
    """Bounds compare numbers of components: of faithful two are best."""
    bounds = [mixture(K, weight_concentration_prior_type=KINDS[1]).fit(X).lower_bound_ for K in (1, 2, 3)]
    assert np.argmax(bounds) == 1


@MANY
def test_empty_components_are_as_the_prior_has_them(X):
    fit = mixture(6, weight_concentration_prior=1e-3).fit(X)
    assert fit.n_effective_components_ == 2
    assert (np.diff(fit.weights_) <= 0).all()
    np.testing.assert_allclose(fit.means_[2:], np.tile(fit.mean_prior_, (4, 1)), rtol=1e-3)
    np.testing.assert_allclose(fit.degrees_of_freedom_[2:], 2.0, rtol=1e-3)
    np.testing.assert_allclose(fit.mean_precision_[2:], 1.0, rtol=1e-3)
    assert fit.weights_.sum() == pytest.approx(1.0)
    # And as many or as few of them make next to no difference.
    fewer = mixture(3, weight_concentration_prior=1e-3).fit(X)
    assert fewer.lower_bound_ == pytest.approx(fit.lower_bound_, abs=1e-4)
    np.testing.assert_allclose(fewer.score_samples(X), fit.score_samples(X), atol=1e-4)


# -- after the fit ---------------------------------------------------------------------------------------------


@MANY
@pytest.mark.parametrize(("shape", "kind"), some_slow(SHAPES_AND_KINDS, 7))
def test_predictive_density_integrates_to_one(shape, kind, X):
    eruptions = X[::8, :1]
    fit = mixture(3, covariance_type=shape, weight_concentration_prior_type=kind).fit(eruptions)

    angles = np.pi * ((np.arange(4000) + 0.5) / 4000 - 0.5)  # at x = 3 + tan even Cauchy's tails are bounded
    density = np.exp(fit.score_samples((3 + np.tan(angles))[:, None]))
    total = np.mean(np.pi * density / np.cos(angles) ** 2)
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_predictive_density(kind, X):
    fit = mixture(2, weight_concentration_prior_type=kind, weight_concentration_prior=5.0).fit(X[::10])
    drawn, labels = fit.sample(40_000)
    assert set(labels) == {0, 1} | ({-1} if kind != KINDS[1] else set())
    edges = np.quantile(X[:, 0], [0, 0.25, 0.5, 0.75, 1])
    grid = np.linspace(edges[0], edges[-1], 400)
    nan = np.full_like(grid, np.nan)
    density = np.exp(fit.score_samples(np.column_stack([grid, nan])))  # of the first feature alone
    within = (drawn[:, 0] > edges[0]) & (drawn[:, 0] < edges[-1])
    assert within.mean() == pytest.approx(np.trapezoid(density, grid), abs=0.01)


@MANY
def test_labels_and_probabilities_of_rows(X):
    fit = mixture(4).fit(X)
    resp = fit.predict_proba(X)
    assert resp.shape == (272, 4)
    np.testing.assert_array_equal(fit.predict(X), resp.argmax(axis=1))
    assert fit.score(X) == pytest.approx(fit.score_samples(X).mean())
    assert not np.array_equal(fit.predict(X[:9]), fit.reorder([1, 0, 2, 3]).predict(X[:9]))


@pytest.mark.parametrize("kind", KINDS)
def test_reorder_keeps_the_density(kind, X):
    fit = mixture(3, weight_concentration_prior_type=kind).fit(X)
    again = (
        mixture(3, weight_concentration_prior_type=kind, prior=fit.posterior_).fit(X[:50])
        if (kind != KINDS[1])
        else fit
    )
    before, means = again.score_samples(X), again.means_
    again.reorder([2, 0, 1])
    np.testing.assert_allclose(again.score_samples(X), before, rtol=1e-12)
    np.testing.assert_array_equal(again.means_, means[[2, 0, 1]])
    np.testing.assert_array_equal(match_components(fit, fit), [0, 1, 2])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("kind", "concentration"), [(KINDS[0], 1e-6), (KINDS[0], 1.0), (KINDS[2], 1.0)])
def test_empty_components_are_left_out(kind, concentration, X):
    """At no change of the bound where they hold nothing, and else by about the rows that they hold."""
    fit = mixture(
        6, tol=1e-9, weight_concentration_prior_type=kind, weight_concentration_prior=concentration
    ).fit(X)
    fewer = fit.without_empty()
    assert fewer.n_components == fewer.n_effective_components_ == fit.n_effective_components_ == 2
    assert fit.n_components == len(fit.means_) == 6
    held = fit.posterior_.weights[2:].sum()
    np.testing.assert_allclose(fewer.score_samples(X), fit.score_samples(X), atol=1e-9 + 0.1 * held)
    bound = fewer.set_params(warm_start=True, max_iter=0).fit(X).lower_bound_
    assert bound == pytest.approx(fit.lower_bound_ - held, abs=1e-9 + 0.1 * held)
    if concentration < 1:
        assert held < 1e-12


@MANY
def test_without_empty_keeps_what_was_learnt_before(X):
    whole = mixture(3).fit(X)
    later = mixture(3, prior=whole.posterior_).fit(X[:50])
    fewer = later.without_empty(least=60.0)
    assert fewer.n_components == len(fewer.prior.weights) == 2
    np.testing.assert_array_equal(fewer.mean_prior_, later.mean_prior_[:2])
    again = clone(fewer).fit(X[:50])
    np.testing.assert_allclose(again.means_, fewer.means_, rtol=1e-3)
    assert len(later.without_empty(least=1e9).means_) == 1
    with pytest.raises(ValueError, match="least=-1 must be a number of rows"):
        later.without_empty(least=-1)
    with pytest.raises(ValueError, match="Weights with a Dirichlet distribution are those of n_components"):
        mixture(3, weight_concentration_prior_type=KINDS[1]).fit(X).without_empty()


@MANY
@pytest.mark.parametrize("shape", SHAPES)
def test_marginal_has_the_density_of_rows_with_the_rest_missing(shape, X):
    frame = FRAMES[0]({"eruptions": X[:, 0], "waiting": X[:, 1]})
    fit = mixture(3, covariance_type=shape, init_params=np.arange(272) % 3).fit(frame)
    part = fit.marginal(["waiting"])
    rest_missing = np.column_stack([np.full(len(X), np.nan), X[:, 1]])
    there = fit.score_samples(FRAMES[0]({"eruptions": rest_missing[:, 0], "waiting": rest_missing[:, 1]}))
    np.testing.assert_allclose(part.score_samples(FRAMES[0]({"waiting": X[:, 1]})), there, rtol=1e-10)
    np.testing.assert_array_equal(part.feature_names_in_, ["waiting"])
    np.testing.assert_array_equal(part.means_, fit.means_[:, 1:])
    np.testing.assert_allclose(part.predict_proba(FRAMES[0]({"waiting": X[:, 1]})).sum(axis=1), 1.0)


# -- one batch after another -----------------------------------------------------------------------------------

PRIORS = {"mean_prior": [3.0, 70.0], "mean_precision_prior": 0.5, "degrees_of_freedom_prior": 4.0}
COVARIANCES = {
    "full": [[1.0, 2.0], [2.0, 100.0]],
    "tied": [[1.0, 2.0], [2.0, 100.0]],
    "diag": [1.0, 100.0],
    "tied_diag": [1.0, 100.0],
    "spherical": 50.0,
    "tied_spherical": 50.0,
}


@pytest.mark.parametrize(("shape", "kind"), some_slow(SHAPES_AND_KINDS, 4))
def test_batches_one_after_another_equal_the_whole(shape, kind, X):
    one = mixture(1, covariance_type=shape, weight_concentration_prior_type=kind, tol=1e-9)
    whole = clone(one).set_params(**PRIORS, covariance_prior=COVARIANCES[shape]).fit(X)
    part = clone(one).set_params(**PRIORS, covariance_prior=COVARIANCES[shape]).fit(X[:20])
    total = part.lower_bound_
    for rows in (X[20:21], X[21:200], X[200:]):
        part = clone(one).set_params(prior=part.posterior_).fit(rows)
        total += part.lower_bound_
    assert total == pytest.approx(whole.lower_bound_, rel=1e-10)
    for name in ("means_", "covariances_", "mean_precision_", "degrees_of_freedom_"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name), rtol=1e-10)
    np.testing.assert_allclose(part.score_samples(X), whole.score_samples(X), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_two_components_learnt_from_batches(kind, X):
    """Not the same as all at once, since rows stay where they were put, but close."""
    whole = mixture(
        2, weight_concentration_prior_type=kind, **PRIORS, covariance_prior=COVARIANCES["full"]
    ).fit(X)
    part = clone(whole).fit(X[:100])
    nothing = dict.fromkeys([*PRIORS, "covariance_prior"])
    for rows in (X[100:200], X[200:]):
        part = clone(whole).set_params(**nothing, prior=part.posterior_).fit(rows)
        assert isinstance(part.posterior_, MixturePosterior)
    np.testing.assert_allclose(part.means_, whole.means_, rtol=0.02)
    np.testing.assert_allclose(part.mean_precision_, whole.mean_precision_, atol=2)
    assert part.mean_prior_.shape == (2, 2)


# -- manners ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([BayesianGaussianMixtureEM()])
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        BayesianGaussianMixtureEM(2, n_init=2),
        *(
            BayesianGaussianMixtureEM(2, covariance_type=shape, n_init=2, weight_concentration_prior_type=kind)
            for shape, kind in zip(SHAPES[1:], 2 * KINDS, strict=False)
        ),
    ]
)
def test_sklearn_checks_of_other_settings(estimator, check):
    check(estimator)


@MANY
def test_grid_search_pickle_and_clone(X):
    search = GridSearchCV(mixture(), {"n_components": [1, 2], "covariance_type": ["full", "diag"]}, cv=3).fit(X)
    assert search.best_params_["n_components"] == 2
    fit = search.best_estimator_
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.score_samples(X), fit.score_samples(X))
    np.testing.assert_array_equal(again.posterior_.components.scatter, fit.posterior_.components.scatter)
    assert clone(fit).get_params() == fit.get_params()
    assert repr(mixture(3)) == "BayesianGaussianMixtureEM(n_components=3, n_init=2, random_state=0)"


def test_parameters_cannot_be_set(X):
    fit = mixture().fit(X)
    with pytest.raises(AttributeError, match=r"means_ cannot be set.*give priors.*see reorder"):
        fit.means_ = fit.means_ + 1


def test_parameters_set_after_a_fit_do_not_touch_it(X):
    fit = mixture().fit(X)
    there = mixture().fit(X).reorder([1, 0])
    fit.set_params(covariance_type="diag", prior=fit.posterior_).reorder([1, 0])
    np.testing.assert_array_equal(fit.covariance_prior_, there.covariance_prior_)
    np.testing.assert_array_equal(fit.precisions_, there.precisions_)


@pytest.mark.parametrize("frame", FRAMES)
def test_data_frames(frame, X):
    table = frame({"eruptions": X[:, 0], "waiting": X[:, 1]})
    fit = mixture().fit(table)
    np.testing.assert_array_equal(fit.feature_names_in_, ["eruptions", "waiting"])
    np.testing.assert_allclose(fit.score_samples(table), mixture().fit(X).score_samples(X), rtol=1e-9)


def test_warm_start_goes_on(X):
    fit = mixture(3, max_iter=5, acceleration="none", warm_start=True, init_params=np.arange(272) % 3)
    fit, messages = fit_and_messages(fit, X)
    assert "short of tol" in messages[0]
    bound = fit.lower_bound_
    fit.set_params(max_iter=1000).fit(X)
    assert fit.lower_bounds_[0] == pytest.approx(bound, abs=1e-8)
    assert fit.converged_


def test_constant_columns_are_told(X):
    fit, messages = fit_and_messages(mixture(), np.column_stack([X, np.ones(272)]))
    assert any("constant" in message for message in messages)
    assert np.isfinite(fit.lower_bound_)
    assert np.isfinite(fit.score_samples(np.column_stack([X, np.ones(272)]))).all()


def test_float32_stays(X):
    fit = mixture().fit(X.astype(np.float32))
    assert fit.means_.dtype == fit.covariances_.dtype == fit.weight_concentration_[0].dtype == np.float32


@pytest.mark.slow
def test_many_rows_race_on_a_part():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60_000, 2)) + 6 * rng.randint(3, size=(60_000, 1))
    fit = mixture(5, n_init=6).fit(X)
    assert fit.n_effective_components_ == 3
    assert any(start.on_part for start in fit.restarts_.starts)
    np.testing.assert_allclose(np.sort(fit.means_[:3, 0]), [0, 6, 12], atol=0.05)


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"degrees_of_freedom_prior": 1.0}, "degrees_of_freedom_prior=1.0 must be more than 1"),
        ({"degrees_of_freedom_prior": -1.0}, "degrees_of_freedom_prior"),
        ({"mean_precision_prior": 0.0}, "mean_precision_prior"),
        ({"weight_concentration_prior": -1.0}, "weight_concentration_prior"),
        ({"weight_concentration_prior_type": "dirichlet"}, "weight_concentration_prior_type"),
        ({"discount_prior": 0.5}, "discount_prior=0.5 is for weight_concentration_prior_type='pitman_yor'"),
        ({"discount_prior": 1.0, "weight_concentration_prior_type": "pitman_yor"}, "discount_prior"),
        ({"mean_prior": [1.0, 2.0, 3.0]}, r"mean_prior has shape \(3,\); expected \(2,\)"),
        ({"mean_prior": [1.0, np.nan]}, "mean_prior contains NaN"),
        ({"covariance_prior": [[1.0, 2.0], [2.0, 1.0]]}, "covariance_prior must be positive definite"),
        ({"covariance_prior": [[1.0, 2.0], [0.0, 9.0]]}, "covariance_prior must be symmetric"),
        ({"covariance_prior": [1.0, 2.0]}, r"covariance_prior has shape \(2,\); expected \(2, 2\)"),
        (
            {"covariance_prior": -1.0, "covariance_type": "spherical"},
            "covariance_prior must be positive definite",
        ),
        ({"covariance_type": "VEE"}, "covariance_type"),
        ({"covariance_type": "factor"}, "covariance_type"),
        ({"n_components": 300}, "n_components=300 needs at least as many distinct rows"),
        ({"init_params": np.zeros(272)}, "init_params as labels must hold n_components=2"),
        ({"prior": 3}, "prior"),
    ],
)
def test_bad_priors_are_named(kwargs, message, X):
    with pytest.raises(ValueError, match=message):
        mixture(**kwargs).fit(X)


EXTREMES = {
    "mean": ({"mean_prior": [1e300, 1e300]}, "mean_prior has column 0 at .* from the mean of X"),
    "mean of two": ({"mean_prior": [3.0, 1e12]}, r"mean_prior has column 1 at .* standard deviations"),
    "mean of diag": ({"mean_prior": [1e300, 70.0], "covariance_type": "diag"}, "mean_prior has column 0"),
    "dof": (
        {"degrees_of_freedom_prior": 1e20},
        r"degrees_of_freedom_prior=1e\+20 is worth .* at most 2.72e\+07",
    ),
    "concentration": (
        {"weight_concentration_prior": 1e14, "weight_concentration_prior_type": KINDS[1]},
        r"weight_concentration_prior=1e\+14 is worth so many rows that the 272 of X",
    ),
    "narrow": (
        {"covariance_prior": [1e-310, 1.0], "covariance_type": "diag"},
        "covariance_prior has variances",
    ),
    "wide": (
        {"covariance_prior": 1e308 * np.eye(2)},
        "covariance_prior has variances .* beyond floating point",
    ),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_priors_are_named(name, X):
    """And nothing is warned of before: warnings are errors here."""
    kwargs, message = EXTREMES[name]
    with pytest.raises(ValueError, match=message):
        mixture(**kwargs).fit(X)


@MANY
@pytest.mark.parametrize(
    "kwargs",
    [
        {"mean_prior": [1e6, 1e6]},
        {"mean_prior": [1e8, 1e8], "mean_precision_prior": 1e-10},
        {"mean_prior": [1e8, 1e8], "covariance_prior": 1e12 * np.eye(2)},
        {"mean_prior": [1e90, 1e90], "covariance_type": "spherical"},
        {"mean_precision_prior": 1e300},
        {"degrees_of_freedom_prior": 1e6},
        {"weight_concentration_prior": 1e300},
        {"weight_concentration_prior": 1e6, "weight_concentration_prior_type": KINDS[1]},
        {"covariance_prior": 1e290 * np.eye(2)},
        {"covariance_prior": 1e-290 * np.eye(2)},
    ],
    ids=str,
)
def test_strong_priors_are_followed(kwargs, X):
    fit = mixture(**kwargs).fit(X)
    assert fit.converged_
    assert np.isfinite(fit.score_samples(X)).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_codes_for_missing_values_are_told(weighted):
    X = np.random.RandomState(0).normal(size=(300, 2))
    X[7, 1], X[9, 1] = -99999, -88888
    weight = np.where(np.arange(300) == 7, 0.0, 1.0) if weighted else None
    fit, messages = fit_and_messages(mixture(), X, sample_weight=weight, categories=(UserWarning,))
    expected = "column 1 is -88888 in row 9, " if weighted else "column 1 is -99999 in row 7, "
    assert [expected in message for message in messages] == [True]
    assert "Replace codes for missing values by NaN, or give mean_prior and covariance_prior" in messages[0]
    X[[7, 9], 1] = np.nan
    assert mixture().fit(X).covariance_prior_[1, 1] < 2 < 1e5 < fit.covariance_prior_[1, 1]


@pytest.mark.parametrize("code", [-99.0, -999.0])
def test_one_value_that_makes_the_prior_is_told(code):
    X = np.random.RandomState(0).normal(size=(300, 2))
    X[7, 1] = code
    _, messages = fit_and_messages(mixture(), X, categories=(UserWarning,))
    assert len(messages) == 1
    assert f"column 1 is {code:g} in row 7, " in messages[0]
    X[7, 1] = np.nan
    _, without = fit_and_messages(mixture(), X, categories=(UserWarning,))
    assert not without


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("distance", [10.0, 50.0])
def test_clusters_that_are_apart_are_not_told(share, distance):
    X = np.random.RandomState(0).normal(size=(300, 2))
    X[: int(300 * share)] += distance
    _, messages = fit_and_messages(mixture(), X, categories=(UserWarning,))
    assert not messages


@MANY
def test_codes_matter_to_the_default_prior_alone():
    X = np.random.RandomState(0).normal(size=(300, 2))
    apart = np.where(np.arange(300)[:, None] < 150, X, X + 90)
    assert not fit_and_messages(mixture(), apart)[1]
    X[7, 1] = -99999
    fit = mixture(mean_prior=np.zeros(2), covariance_prior=np.eye(2)).fit(X)
    mixture(prior=fit.posterior_).fit(X)
    np.testing.assert_allclose(fit.means_[0], np.delete(X, 7, axis=0).mean(axis=0), atol=0.01)


def test_priors_of_another_kind_are_refused(X):
    posterior = mixture(2).fit(X).posterior_
    for kwargs, message in (
        ({"n_components": 3}, "prior has 2 weights, but n_components=3: set n_components=2"),
        ({"covariance_type": "diag"}, "prior is of another kind.*posterior_ of a fit of that covariance_type"),
        ({"weight_concentration_prior_type": KINDS[1]}, "prior has weights of a process, which mean"),
        ({"mean_prior": [1.0, 2.0]}, "prior says all that mean_prior would"),
        ({"init_params": np.arange(len(X)) % 2}, "prior says where components begin, as init_params does"),
        (
            {"weight_concentration_prior_type": KINDS[1], "weight_concentration_prior": 1.0},
            "prior says all that weight_concentration_prior would",
        ),
        ({"prior": posterior._replace(weights=np.array([1.0, -1.0]))}, "prior has negative weights"),
        (
            {"prior": posterior._replace(weights=np.array([1.0, np.nan]))},
            "prior has weights that are not finite",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            mixture(**{"n_components": 2, "prior": posterior, **kwargs}).fit(X)
    with pytest.raises(ValueError, match=r"prior is of another kind.*posterior_ of a fit .* same features"):
        mixture(2, prior=posterior).fit(X[:, :1])
    dirichlet = mixture(2, weight_concentration_prior_type=KINDS[1]).fit(X)
    for kind in (KINDS[0], KINDS[2]):
        with pytest.raises(ValueError, match="prior has weights of a distribution, which mean"):
            mixture(2, weight_concentration_prior_type=kind, prior=dirichlet.posterior_).fit(X)
    for given, advice in (
        (dirichlet, "give its `posterior_`"),
        (tuple(posterior), "give a fit's"),
    ):
        with pytest.raises(ValueError, match=f"prior must be a MixturePosterior, .*: {advice}"):
            mixture(2, prior=given).fit(X)
    components = posterior.components._replace(means=np.full((2, 2), np.nan))
    for part, message in (
        ({"components": components}, "prior has components that are not finite"),
        ({"weights": np.array([1.0, np.inf])}, "prior has weights that are not finite"),
        ({"weights": -posterior.weights}, "prior has negative weights"),
    ):
        with pytest.raises(ValueError, match=message):
            mixture(2, prior=posterior._replace(**part)).fit(X)


@pytest.mark.parametrize("n_samples", [0, 2.5, "3"])
def test_bad_numbers_of_draws(n_samples, X):
    with pytest.raises(ValueError, match=f"n_samples={n_samples!r}: ask for one at least, a whole number"):
        mixture(1).fit(X).sample(n_samples)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights(name, X):
    refuses_weights(lambda **kwargs: mixture().fit(X, **kwargs), len(X), name)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of max_iter=0
@pytest.mark.parametrize("seed", range(12))
def test_one_start_alone_has_all_components(seed):
    """One of fewer components could not find the others."""
    rng = np.random.RandomState(seed)
    X = np.repeat([[0.0], [20.0], [40.0]], 40, axis=0) + rng.normal(size=(120, 1))
    fitted = BayesianGaussianMixtureEM(3, n_init=1, max_iter=0, init_params="kmeans", random_state=seed).fit(X)
    assert fitted.restarts_.starts[0].kind == "kmeans"
    assert fitted.n_effective_components_ == 3
