"""What users get when things go wrong: an answer or a message that says what to do."""

from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from emlearn import BayesianGaussianMixtureEM, GaussianMixtureEM
from emlearn.datasets import load_old_faithful
from emlearn.em import Batch, LatentModel, MonotonicityWarning, Start, fit_em, race
from emlearn.families import COVARIANCE_SHAPES, Categorical, Gaussian, Poisson
from emlearn.latent import MixtureWeights
from tests.helpers.estimators import BAD_WEIGHTS, Interrupt, fit_and_messages, refuses_weights
from tests.helpers.families import MATRICES
from tests.helpers.pace import some_slow

SHAPES = list(COVARIANCE_SHAPES)
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "log_likelihood_")


@pytest.fixture
def X():
    return load_old_faithful().data.copy()


def mixture(n_components=2, **kwargs):
    return GaussianMixtureEM(n_components, **{"random_state": 0, "n_init": 5, **kwargs})


def assert_finite(fitted, X):
    for name in ATTRIBUTES:
        assert np.isfinite(getattr(fitted, name)).all(), name
    assert fitted.weights_.sum() == pytest.approx(1.0)
    assert np.isfinite(fitted.score_samples(X)).all()
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1.0)


# -- entries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "kind"), [(np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("method", ["fit", "predict", "score"])
def test_non_finite_entries_are_named(X, value, kind, method):
    estimator = mixture() if method == "fit" else mixture().fit(X)
    X[7, 1] = value
    with pytest.raises(ValueError, match=f"contains {kind} in column 1, row 7"):
        getattr(estimator, method)(X)
    frame = pd.DataFrame(X, columns=["eruptions", "waiting"])
    estimator = mixture() if method == "fit" else mixture().fit(frame.drop(7))
    with pytest.raises(ValueError, match=f"contains {kind} in column 'waiting', row 7"):
        getattr(estimator, method)(frame)


@pytest.mark.parametrize("kind", [GaussianMixtureEM, BayesianGaussianMixtureEM])
@pytest.mark.parametrize("n_samples", [0, 2.5, "a", None, True])
def test_numbers_of_samples_are_named(X, kind, n_samples):
    with pytest.raises(ValueError, match=rf"n_samples={n_samples!r}: ask for one at least, a whole number"):
        kind(2, n_init=2, random_state=0).fit(X).sample(n_samples)


def test_too_few_rows(X):
    with pytest.raises(ValueError, match=r"n_components=5 .*n_samples=3 rows.* 3 of them distinct"):
        mixture(5).fit(X[:3])


def test_too_few_distinct_rows():
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], 20, axis=0)
    with pytest.raises(ValueError, match=r"n_components=3 .*n_samples=40 rows.* 2 of them distinct"):
        mixture(3).fit(X)


def test_rows_without_weight_do_not_count(X):
    weight = np.zeros(len(X))
    weight[:2] = 1
    with pytest.raises(ValueError, match=r"n_samples=2 rows"):
        mixture(3).fit(X, sample_weight=weight)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
@pytest.mark.parametrize("method", ["fit", "score", "bic"])
def test_bad_weights(X, name, method):
    estimator = mixture() if method == "fit" else mixture().fit(X)
    refuses_weights(partial(getattr(estimator, method), X), len(X), name)


# -- data that force covariances onto the floor ------------------------------------------------------------


def constant_column(X):
    return np.column_stack([X, np.full(len(X), 7.0)]), ["column 2"]


def duplicated_column(X):
    noise = np.random.RandomState(0).normal(size=len(X))
    return np.column_stack([X[:, 0], noise, X[:, 0]]), ["column 0", "column 2"]


def wide(X):
    return np.random.RandomState(0).normal(size=(30, 50)), ["column 0", "30 distinct rows", "50 columns"]


@pytest.mark.parametrize("make", [constant_column, duplicated_column, wide])
@pytest.mark.parametrize("n_components", [1, 2])
def test_degenerate_data_are_fitted_with_one_warning(X, make, n_components):
    data, names = make(X)
    fitted, messages = fit_and_messages(mixture(n_components), data)
    assert_finite(fitted, data)
    assert len(messages) == 1, messages
    assert all(name in messages[0] for name in names)
    assert "column 1" not in messages[0] or make is wide


def test_degenerate_columns_by_name(X):
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "still": 1.0})
    _, messages = fit_and_messages(mixture(), frame)
    assert "'still'" in messages[0]
    assert "'a'" not in messages[0]


def test_degenerate_columns_do_not_change_the_rest(X):
    fitted, _ = fit_and_messages(mixture(), constant_column(X)[0])
    np.testing.assert_allclose(fitted.means_[:, :2], mixture().fit(X).means_, rtol=1e-4)


# -- starts ------------------------------------------------------------------------------------------------


def test_a_collapsed_start_is_recorded_and_loses(X):
    X = np.vstack([X, np.full((2, 2), 20.0) + 1e-9 * np.arange(4).reshape(2, 2)])
    labels = np.zeros(len(X), int)
    labels[-2:] = 1
    spurious, good = labels, (X[:, 0] > 3).astype(int)
    answers = iter([spurious, good, spurious])
    fitted, messages = fit_and_messages(mixture(init_params=lambda *_: next(answers), n_init=3), X)
    status = [start.status for start in fitted.restarts_.starts]
    assert status == ["spurious", "best", "spurious"]
    assert fitted.restarts_.starts[0].log_likelihood > fitted.log_likelihood_
    assert fitted.restarts_.starts[0].evidence == -np.inf
    assert fitted.restarts_.starts[1].status == "best"
    assert not messages
    assert_finite(fitted, X)


def test_a_failed_start_is_recorded():
    counts = np.arange(10.0)[:, None]
    model = LatentModel(MixtureWeights(), Poisson())
    resp = np.random.RandomState(0).dirichlet(np.ones(2), size=10).T

    def fails():
        raise np.linalg.LinAlgError("not today")

    good = Start("good", lambda: model.start(Batch(counts.T), resp))
    record = race(model, [Start("bad", fails), good, good], counts).restarts
    assert record.starts[0].status == "failed"
    assert "not today" in record.starts[0].message
    assert record.starts[0].n_iter == 0
    with pytest.raises(ValueError, match=r"All 2 starts failed.*not today"):
        race(model, [Start("bad", fails)] * 2, counts)


def test_programming_errors_in_a_start_are_not_swallowed(X):
    with pytest.raises(ZeroDivisionError):
        mixture(init_params=lambda *_: 1 / 0).fit(X)


def test_all_starts_collapse(X):
    X = X[:8]
    fitted, messages = fit_and_messages(mixture(6), X)
    assert_finite(fitted, X)
    assert {start.status for start in fitted.restarts_.starts} <= {"best", "spurious", "failed"}
    (message,) = [m for m in messages if "so few rows" in m]
    assert message.startswith("Every start ended with a component of so few rows that it fits them")
    for change in ("n_components", "covariance_type", "outlier"):
        assert change in message


def test_max_iter_reached(X):
    fitted, (message,) = fit_and_messages(mixture(3, max_iter=2, init_params="random"), X)
    assert not fitted.converged_
    assert "at max_iter=2" in message
    gap = f"a projected {fitted.gap_:.3g}" if np.isfinite(fitted.gap_) else "an unknown number of"
    assert f"with {gap} nats still to be gained" in message
    assert "max_iter" in message


@pytest.mark.parametrize("shape", SHAPES)
def test_component_without_support_keeps_its_parameters(X, shape):
    far = {"means_init": [[3.5, 70.0], [1e6, -1e6]], "weights_init": [0.5, 0.5]}
    precisions = np.linalg.inv(np.cov(X.T)) if shape in MATRICES else 1.0
    precisions = {
        "full": [precisions] * 2,
        "tied": precisions,
        "diag": np.ones((2, 2)),
        "spherical": np.ones(2),
        "tied_diag": np.ones(2),
        "tied_spherical": 1.0,
        "VEI": np.ones((2, 2)),
        "EVI": np.ones((2, 2)),
    }.get(shape, [precisions] * 2)
    estimator = mixture(covariance_type=shape, precisions_init=precisions, **far)
    fitted, messages = fit_and_messages(estimator, X)
    assert_finite(fitted, X)
    np.testing.assert_allclose(fitted.weights_, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(fitted.means_[1], [1e6, -1e6], rtol=1e-9)
    assert any("No row supports components [1]" in message for message in messages), messages
    assert np.all(fitted.predict(X) == 0)


@pytest.mark.parametrize("family", [Gaussian(COVARIANCE_SHAPES["full"]), Poisson(), Categorical((8, 8))])
def test_m_step_of_an_empty_component(family):
    X = np.random.RandomState(0).poisson(3.0, size=(30, 2)).clip(0, 7).astype(float)
    resp = np.vstack([np.full(30, 0.6), np.full(30, 0.4)])
    model = LatentModel(MixtureWeights(), family)
    params = model.start(Batch(X.T.copy()), resp)
    params = params._replace(latent=np.array([1.0, 0.0]))
    fit = fit_em(model, params, X)

    def second(tree):
        return [second(branch) for branch in tree] if isinstance(tree, tuple) else np.asarray(tree[1]).tolist()

    assert second(fit.params.family) == second(params.family)
    assert fit.params.latent.tolist() == [1.0, 0.0]
    assert np.isfinite(fit.log_likelihood)


# -- Ctrl-C and order of calls -----------------------------------------------------------------------------


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupted_fit_changes_nothing(X):
    fresh = mixture(init_params=interrupt)
    before = dict(vars(fresh))
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X)
    assert vars(fresh) == before

    fitted = mixture().fit(X)
    proba, before = fitted.predict_proba(X), dict(vars(fitted))
    fitted.init_params = interrupt
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(pd.DataFrame({"other": X[:, 0]}))
    assert vars(fitted) == {**before, "init_params": interrupt}
    np.testing.assert_array_equal(fitted.predict_proba(X), proba)


def test_an_interrupted_iteration_changes_nothing(X):
    pytest.importorskip("sklearn.callback")

    estimator = mixture().set_callbacks(Interrupt())
    before = dict(vars(estimator))
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert vars(estimator) == before


def test_before_fit_and_on_other_columns(X):
    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic", "icl"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(mixture(), method)(X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        mixture().sample()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        mixture().marginal([0])
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixtureEM is expecting 2"):
        mixture().fit(X).predict(X[:, :1])
    frame = pd.DataFrame(X, columns=["a", "b"])
    with pytest.raises(ValueError, match="feature names should match"):
        mixture().fit(frame).predict(frame.rename(columns={"a": "c"}))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_components", 0),
        ("n_components", 2.5),
        ("covariance_type", "round"),
        ("tol", -1.0),
        ("max_iter", -1),
        ("reg_covar", -1.0),
        ("n_init", 0),
        ("init_params", "guess"),
        ("acceleration", "warp"),
        ("assignment", "firm"),
        ("annealing", "slow"),
        ("annealing", 0.5),
        ("n_jobs", "all"),
        ("warm_start", "yes"),
    ],
)
def test_parameters_are_checked_at_fit(X, parameter, value):
    estimator = GaussianMixtureEM().set_params(**{parameter: value})
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter"):
        estimator.fit(X)


def test_a_falling_objective_warns():
    class Wrong(LatentModel):
        def maximize(self, stats, params):
            new = super().maximize(stats, params)
            return new._replace(latent=new.latent[::-1])

    counts = np.array([0.0, 1, 0, 2, 9, 8, 9])[:, None]
    model = Wrong(MixtureWeights(), Poisson())
    params = model.start(Batch(counts.T), np.array([counts[:, 0] < 3, counts[:, 0] > 3]) * 1.0)
    with pytest.warns(MonotonicityWarning, match=r"fell by .* in iteration \d"):
        fit = fit_em(model, params, counts)
    assert not fit.converged


def test_a_start_of_no_likelihood_is_refused():
    model = LatentModel(MixtureWeights(), Poisson())
    params = model.start(Batch(np.ones((1, 4))), np.full((2, 4), 0.5))
    with pytest.raises(ValueError, match="objective is nan at the starting parameters"):
        fit_em(model, params._replace(latent=np.array([np.nan, 0.5])), np.ones((4, 1)))


# -- robustness --------------------------------------------------------------------------------------------


ROBUST = {
    "40 x 3, K = 6": (lambda rng: rng.normal(size=(40, 3)), 6),
    "a fifth duplicated": (lambda rng: rng.normal(size=(100, 2))[np.arange(120) % 100], 3),
    "one row many times": (lambda rng: np.vstack([rng.normal(size=(60, 2)), np.ones((40, 2))]), 3),
    "a constant column": (lambda rng: np.column_stack([rng.normal(size=(80, 2)), np.ones(80)]), 3),
    "all constant": (lambda rng: np.ones((20, 2)), 1),
    "more columns than rows": (lambda rng: rng.normal(size=(30, 50)), 2),
    "integers with ties": (lambda rng: rng.poisson(2.0, size=(120, 2)), 3),
    "0 and 1": (lambda rng: rng.randint(2, size=(100, 3)), 3),
    "heavy tails": (lambda rng: rng.standard_cauchy(size=(150, 2)) ** 3, 3),
    "as many as rows": (lambda rng: rng.normal(size=(8, 2)), 8),
    "one column": (lambda rng: rng.normal(size=(50, 1)), 4),
}


@pytest.mark.parametrize(("case", "shape"), some_slow(product(ROBUST, SHAPES), 23))
def test_hard_data_give_a_fit(case, shape):
    make, n_components = ROBUST[case]
    X = make(np.random.RandomState(0))
    fitted, _ = fit_and_messages(mixture(n_components, covariance_type=shape, n_init=6), X)
    assert_finite(fitted, X)
    assert np.isfinite(fitted.sample(10)[0]).all()
