"""Multiple imputation: Rubin's rules, and the meta-estimator that averages over completed data."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
)
from sklearn.metrics import accuracy_score, r2_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import EMImputer, MultipleImputation, pool
from emlearn._sklearn_compat import CallbackSupportMixin
from tests.helpers.estimators import FRAMES, SKLEARN_IS_RECENT
from tests.helpers.pace import some_slow

ESTIMATES = [1.0, 1.4, 0.7, 1.2, 0.9]
ERRORS = [0.50, 0.55, 0.48, 0.52, 0.51]


def incomplete(n=120, d=4, missing=0.2, seed=0):
    """Correlated features with holes, and a target that is linear in them."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, d)) + rng.normal(size=(n, 1))
    y = X @ np.arange(1.0, d + 1) + rng.normal(size=n)
    return np.where(rng.uniform(size=X.shape) < missing, np.nan, X), y


def multiple(estimator=None, **kwargs):
    estimator = LinearRegression() if estimator is None else estimator
    return MultipleImputation(estimator, **{"n_imputations": 4, "random_state": 0, **kwargs})


class Recorder(LinearRegression):
    """Keeps the completed data that it is fitted to."""

    def fit(self, X, y, sample_weight=None):
        self.X_ = X
        return super().fit(X, y, sample_weight)


class RecorderOfClasses(KNeighborsClassifier):
    """The same, of classes."""

    def fit(self, X, y):
        self.X_ = X
        return super().fit(X, y)


# -- pool --------------------------------------------------------------------------------------------------


def test_pool_known_values():
    pooled = pool(ESTIMATES, ERRORS)
    assert pooled.estimate == pytest.approx(1.04, rel=1e-14)
    assert pooled.standard_error == pytest.approx(0.591844574192, rel=1e-11)
    assert pooled.df == pytest.approx(63.9561718897, rel=1e-11)
    assert pool(ESTIMATES, ERRORS, df_complete=27).df == pytest.approx(14.5875083301, rel=1e-11)


def test_pool_follows_the_formulas():
    q, se = np.array(ESTIMATES), np.array(ERRORS)
    W, B = (se**2).mean(), q.var(ddof=1)
    r = 1.2 * B / W
    pooled = pool(q, se)
    df = 4 * (1 + 1 / r) ** 2
    expected = (q.mean(), np.sqrt(W + 1.2 * B), df, W, B, r, (r + 2 / (df + 3)) / (r + 1), 5)
    np.testing.assert_allclose(pooled, expected, rtol=1e-13)
    assert all(type(value) is float for value in pooled[:-1])
    assert type(pooled.n_imputations) is int


@pytest.mark.parametrize("df_complete", [None, 27])
def test_interval_and_pvalue_say_the_same(df_complete):
    pooled = pool(ESTIMATES, ERRORS, df_complete)
    lower, upper = pooled.interval(0.9)
    assert type(lower) is type(upper) is type(pooled.pvalue()) is float
    half = stats.t(pooled.df).ppf(0.95) * pooled.standard_error
    np.testing.assert_allclose((lower, upper), (1.04 - half, 1.04 + half))
    assert pooled.pvalue(lower) == pytest.approx(0.1)
    assert pooled.pvalue(null=upper) == pytest.approx(0.1)
    assert pooled.pvalue(1.04) == pytest.approx(1.0)


@pytest.mark.parametrize("df_complete", [None, 30.0, np.array([[5.0], [30.0], [np.inf]])])
def test_pool_of_arrays_is_that_of_each_element(df_complete):
    rng = np.random.RandomState(0)
    q, se = rng.normal(size=(6, 3, 2)), rng.uniform(size=(6, 3, 2))
    pooled = pool(q, se, df_complete)
    each = np.broadcast_to(np.nan if df_complete is None else df_complete, (3, 2))
    lower, upper = pooled.interval()
    for i, j in np.ndindex(3, 2):
        alone = pool(q[:, i, j], se[:, i, j], None if df_complete is None else each[i, j])
        np.testing.assert_allclose([value[i, j] for value in pooled[:-1]], alone[:-1])
        np.testing.assert_allclose((lower[i, j], upper[i, j]), alone.interval())
        assert pooled.pvalue()[i, j] == pytest.approx(alone.pvalue())


@pytest.mark.parametrize(
    "kind", [list, lambda a: list(map(list, a)), pd.DataFrame, lambda a: [pd.Series(row) for row in a], iter]
)
def test_pool_reads_what_analyses_give(kind):
    rng = np.random.RandomState(0)
    q, se = rng.normal(size=(5, 3)), rng.uniform(size=(5, 3))
    np.testing.assert_array_equal(pool(kind(q), kind(se))[:-1], pool(q, se)[:-1])


def test_complete_degrees_of_freedom_bound_the_pooled():
    for df_complete in (0.5, 3, 100, 1e6):
        assert pool(ESTIMATES, ERRORS, df_complete).df < df_complete
    assert pool(ESTIMATES, ERRORS, np.inf).df == pool(ESTIMATES, ERRORS).df
    assert pool(ESTIMATES, ERRORS, 1e12).df == pytest.approx(pool(ESTIMATES, ERRORS).df)


def test_pool_of_equal_estimates_is_the_complete_analysis():
    pooled = pool([0.1] * 3, [0.2] * 3)  # whose mean, summed, is not 0.1
    assert pooled.estimate == 0.1
    assert pooled.between == pooled.relative_increase == pooled.fraction_missing_information == 0
    assert pooled.df == np.inf
    np.testing.assert_allclose(pooled.interval(), stats.norm(0.1, 0.2).interval(0.95))
    assert pool([0.1] * 3, [0.2] * 3, 10).df == pytest.approx(11 / 13 * 10)


def test_pool_without_standard_errors():
    pooled = pool([1.0, 2.0], [0.0, 0.0])
    assert (pooled.df, pooled.relative_increase, pooled.fraction_missing_information) == (1, np.inf, 1)
    assert np.isfinite(pooled.interval()).all()
    nothing = pool([1.0, 2.0], [0.0, 0.0], df_complete=10)  # the limit of the formula
    assert nothing.df == 0
    assert nothing.interval() == (-np.inf, np.inf)
    assert nothing.pvalue() == 1
    certain = pool([1.0, 1.0], [0.0, 0.0])
    assert certain.interval() == (1.0, 1.0)
    assert (certain.pvalue(1.0), certain.pvalue(2.0)) == (1.0, 0.0)
    assert not np.isnan(certain[:-1]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0, 2.0, 3.0]), r"shape \(2,\), but standard_errors \(3,\)"),
        (([1.0], [1.0]), "estimates has shape .* two imputations"),
        ((1.0, 1.0), "estimates"),
        (([1.0, 2.0], [1.0, -2.0]), "standard_errors has -2"),
        (([1.0, 2.0], [1.0, np.inf]), "standard_errors contains infinity at 1"),
        (([1.0, np.nan], [1.0, 1.0]), "estimates contains NaN at 1"),
        (([[1.0], [1.0, 2.0]], [1.0, 1.0]), "estimates must be an array"),
        (([1.0, 2.0], [1.0, 1.0], 0), "df_complete=0"),
        (([1.0, 2.0], [1.0, 1.0], np.nan), "df_complete=nan"),
        (([1.0, 2.0], [1.0, 1.0], [3.0, 4.0]), "df_complete has shape"),
    ],
)
def test_pool_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pool(*arguments)


@pytest.mark.parametrize("coverage", [0, 1, 95, "0.95"])
def test_interval_refuses(coverage):
    with pytest.raises(ValueError, match="coverage"):
        pool(ESTIMATES, ERRORS).interval(coverage)


# -- coverage ----------------------------------------------------------------------------------------------


def coverage_of_a_mean(n_replications, n_imputations, n=200):
    """How often the interval for a mean of 0 holds it, where large values tend to be missing: y depends on x,
    and whether it is missing too. After multiple imputation, and after imputation of the mean.
    """
    hits = np.zeros(2)
    for seed in range(n_replications):
        rng = np.random.RandomState(seed)
        x = rng.normal(size=n)
        y = x + rng.normal(size=n)
        y[rng.uniform(size=n) < 1 / (1 + np.exp(-x))] = np.nan
        data = np.column_stack([x, y])
        completed = [Z[:, 1] for Z in EMImputer(random_state=seed).fit(data).sample(data, n_imputations)]
        pooled = pool(np.mean(completed, axis=1), stats.sem(completed, axis=1), df_complete=n - 1)
        filled = SimpleImputer().fit_transform(data)[:, 1]
        single = stats.t(n - 1, filled.mean(), stats.sem(filled)).interval(0.95)
        hits += [lower < 0 < upper for lower, upper in (pooled.interval(), single)]
    return hits / n_replications


@pytest.mark.parametrize("n", some_slow([20, 40, 100], [20]))
def test_interval_covers(n):
    multiple_imputation, single = coverage_of_a_mean(n, 5)
    assert multiple_imputation >= stats.binom(n, 0.95).ppf(0.005) / n
    assert single < 0.2


@pytest.mark.slow
def test_interval_covers_as_often_as_it_says():
    multiple_imputation, single = coverage_of_a_mean(300, 10)
    assert 0.93 <= multiple_imputation <= 0.97
    assert single < 0.1


# -- scikit-learn's contract -------------------------------------------------------------------------------


@parametrize_with_checks([MultipleImputation(LogisticRegression(), n_imputations=3)])
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        MultipleImputation(Ridge(), n_imputations=3),
        MultipleImputation(RidgeClassifier(), n_imputations=3),
    ]
)
def test_sklearn_checks_of_votes(estimator, check):
    check(estimator)


def test_is_what_its_estimator_is():
    assert is_regressor(multiple())
    assert not is_classifier(multiple())
    assert is_classifier(multiple(LogisticRegression()))
    assert not hasattr(multiple(), "predict_proba")
    assert not hasattr(multiple(RidgeClassifier()), "predict_proba")
    assert hasattr(multiple(LogisticRegression()), "predict_proba")


def test_clone_and_nested_parameters():
    model = multiple(Ridge(), imputer=EMImputer(ridge=3.0))
    model.set_params(estimator__alpha=5.0, imputer__max_iter=50)
    copied = clone(model)
    assert copied.estimator.alpha == 5.0
    assert copied.imputer.get_params() == model.imputer.get_params()
    assert copied.estimator is not model.estimator


def test_fit_leaves_what_was_given_alone():
    X, y = incomplete()
    X.flags.writeable = y.flags.writeable = False
    ridge, imputer = Ridge(), EMImputer()
    multiple(ridge, imputer=imputer).fit(X, y)
    assert not hasattr(ridge, "coef_")
    assert not hasattr(imputer, "mean_")
    assert imputer.random_state is None


def test_grid_search():
    X, y = incomplete()
    grid = {"estimator__alpha": [0.1, 1000.0], "imputer__ridge": [1.0]}
    search = GridSearchCV(multiple(Ridge(), imputer=EMImputer()), grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_["estimator__alpha"] == 0.1


def test_pickle():
    X, y = incomplete()
    model = multiple().fit(pd.DataFrame(X, columns=list("abcd")), y)
    again = pickle.loads(pickle.dumps(model))
    frame = pd.DataFrame(X, columns=list("abcd"))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))


# -- fit and prediction ------------------------------------------------------------------------------------


def test_prediction_is_the_mean_over_models_and_their_imputers():
    X, y = incomplete()
    model = multiple().fit(X, y)
    pairs = list(zip(model.imputers_, model.estimators_, strict=True))
    assert len(pairs) == 4
    expected = np.mean([inner.predict(imputer.transform(X)) for imputer, inner in pairs], axis=0)
    np.testing.assert_allclose(model.predict(X), expected)
    assert model.score(X, y) == r2_score(y, expected)


def test_each_model_has_parameters_of_its_own():
    X, y = incomplete()
    model = multiple().fit(X, y)
    means = np.array([imputer.mean_ for imputer in model.imputers_])
    assert (means.std(axis=0) > 0).all()
    assert not any(imputer.sample_posterior for imputer in model.imputers_)
    coefs = np.array([inner.coef_ for inner in model.estimators_])
    assert (coefs.std(axis=0) > 0).all()
    np.testing.assert_allclose(model.coef_, coefs.mean(axis=0))
    np.testing.assert_allclose(model.coef_between_std_, coefs.std(axis=0, ddof=1))
    assert model.intercept_ == pytest.approx(np.mean([inner.intercept_ for inner in model.estimators_]))


def test_prediction_depends_neither_on_chance_nor_on_other_rows():
    X, y = incomplete()
    model = multiple(random_state=None).fit(X, y)
    predicted = model.predict(X)
    np.testing.assert_array_equal(model.predict(X), predicted)
    alone = np.concatenate([model.predict(row[None]) for row in X[:20]])
    np.testing.assert_allclose(alone, predicted[:20], rtol=1e-10)


def test_random_state_determines_everything_and_threads_nothing():
    X, y = incomplete()
    model = multiple(RandomForestRegressor(n_estimators=3)).fit(X, y)
    again = clone(model).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))
    seeds = [inner.random_state for inner in model.estimators_]
    assert len(set(seeds)) == 4
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert not np.allclose(model.predict(X), other.predict(X))


def test_seeds_reach_nested_estimators():
    X, y = incomplete()
    inner = make_pipeline(StandardScaler(), RandomForestRegressor(n_estimators=2))
    fitted = multiple(inner).fit(X, y).estimators_
    assert len({pipe[-1].random_state for pipe in fitted}) == 4


def test_imputer_keeps_its_own_random_state():
    X, y = incomplete()
    assert multiple(imputer=EMImputer(random_state=7)).fit(X, y).imputer_.random_state == 7
    assert isinstance(multiple().fit(X, y).imputer_.random_state, int)


def test_complete_data_need_no_imputation():
    X, y = incomplete(missing=0.0)
    model, alone = multiple().fit(X, y), LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.predict(X), alone.predict(X))
    np.testing.assert_allclose(model.coef_, alone.coef_)
    np.testing.assert_allclose(model.coef_between_std_, 0, atol=1e-12)
    assert np.isfinite(model.predict(incomplete()[0])).all()


def test_several_targets():
    X, y = incomplete()
    Y = np.column_stack([y, -2 * y])
    model = multiple().fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.coef_.shape == (2, 4)
    np.testing.assert_allclose(model.predict(X)[:, 0], multiple().fit(X, y).predict(X))


def test_classes_are_strings():
    X, y = incomplete()
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [-3, 3])]
    model = multiple(LogisticRegression()).fit(X, labels)
    np.testing.assert_array_equal(model.classes_, ["high", "low", "middle"])
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X), model.classes_[proba.argmax(axis=1)])
    assert model.score(X, labels) == accuracy_score(labels, model.predict(X)) > 0.6
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)


def test_majority_of_votes_and_the_first_of_equals():
    X, y = incomplete()
    labels = np.where(y > 0, "up", "down")
    model = multiple(Perceptron(), n_imputations=2).fit(X, labels)
    pairs = zip(model.imputers_, model.estimators_, strict=True)
    first, second = (inner.predict(imputer.transform(X)) for imputer, inner in pairs)
    assert (first != second).any()
    np.testing.assert_array_equal(model.predict(X), np.where((first == "up") & (second == "up"), "up", "down"))
    assert not hasattr(model, "predict_proba")


@pytest.mark.parametrize(
    "frame",
    FRAMES,
)
def test_data_frames(frame):
    X, y = incomplete()
    named = frame({name: X[:, j] for j, name in enumerate("abcd")})
    model = multiple(make_pipeline(StandardScaler(), LinearRegression())).fit(named, y)
    np.testing.assert_array_equal(model.feature_names_in_, list("abcd"))
    for inner in (*model.imputers_, *model.estimators_):
        np.testing.assert_array_equal(inner.feature_names_in_, list("abcd"))
    plain = multiple(make_pipeline(StandardScaler(), LinearRegression())).fit(X, y)
    np.testing.assert_allclose(model.predict(named), plain.predict(X))
    with pytest.warns(UserWarning, match="valid feature names") as caught:
        model.predict(X)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="fitted without feature names") as caught:
        plain.predict(named)
    assert len(caught) == 1
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(named[["b", "a", "c", "d"]])


def test_the_estimator_may_choose_columns_by_name():
    X, y = incomplete()
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X)) + 1000)
    target = pd.Series(y, index=frame.index)
    chosen = make_pipeline(make_column_transformer((StandardScaler(), ["c", "d"])), LinearRegression())
    model = multiple(chosen).fit(frame, target)
    assert all(inner[-1].coef_.shape == (2,) for inner in model.estimators_)
    assert model.score(frame, target) > 0.5


def test_pandas_missing_values():
    X, y = incomplete()
    frame = pd.DataFrame(X, columns=list("abcd"))
    nullable = frame.convert_dtypes()
    assert nullable.isna().to_numpy().any()
    np.testing.assert_allclose(
        multiple().fit(nullable, y).predict(nullable), multiple().fit(frame, y).predict(frame)
    )


def test_weights():
    X, y = incomplete(missing=0.0)
    weight = np.arange(len(X)) % 3
    weighted = multiple().fit(X, y, sample_weight=weight)
    repeated = LinearRegression().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_)
    np.testing.assert_allclose(weighted.imputer_.mean_, np.average(X, axis=0, weights=weight))
    assert weighted.score(X, y, sample_weight=weight) == pytest.approx(
        repeated.score(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    )


def test_other_markers_and_indicators():
    X, y = incomplete()
    marked = np.where(np.isnan(X), -999.0, X)
    model = multiple(imputer=EMImputer(missing_values=-999.0, add_indicator=True)).fit(marked, y)
    same = multiple(imputer=EMImputer(add_indicator=True)).fit(X, y)
    assert model.coef_.shape == (8,)
    np.testing.assert_allclose(model.predict(marked), same.predict(X))
    frame = pd.DataFrame(X, columns=list("abcd"))
    by_name = multiple(imputer=EMImputer(add_indicator=True)).fit(frame, y)
    assert by_name.estimators_[0].feature_names_in_[-1] == "missingindicator_d"
    np.testing.assert_allclose(by_name.predict(frame), same.predict(X))


def test_mixtures_and_limits():
    X, y = incomplete()
    imputer = EMImputer(n_components=2, n_init=2, min_value=-1.0)
    model = multiple(imputer=imputer).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert (model.imputers_[0].transform(X)[np.isnan(X)] >= -1).all()


def test_single_precision_stays():
    X, y = incomplete()
    model = multiple(Ridge()).fit(X.astype(np.float32), y.astype(np.float32))
    assert model.estimators_[0].coef_.dtype == np.float32


def test_warnings_come_once():
    X, y = incomplete()
    X[:, 1], X[:, 2] = 3.0, np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = multiple().fit(X, y)
        model.predict(X)
    assert len(caught) == 2
    assert "constant" in "".join(str(warning.message) for warning in caught)
    assert model.coef_.shape == (3,)


def test_coefficients_only_where_all_models_have_them():
    X, y = incomplete()
    model = multiple(KNeighborsRegressor())
    assert not hasattr(model, "coef_")
    model.fit(X, y)
    for name in ("coef_", "intercept_", "coef_between_std_", "classes_"):
        assert not hasattr(model, name)
    assert hasattr(model.set_params(estimator=Lasso()).fit(X, y), "coef_")
    assert not hasattr(model.set_params(estimator=KNeighborsRegressor()).fit(X, y), "coef_")


# -- imputation with the target ----------------------------------------------------------------------------


@pytest.mark.slow
def test_coefficients_are_not_drawn_towards_zero():
    rng = np.random.RandomState(0)
    mixing = np.linalg.cholesky(0.5 * np.ones((4, 4)) + 0.5 * np.eye(4)).T
    coefs = []
    for seed in range(10):
        X = rng.normal(size=(500, 4)) @ mixing
        y = X.sum(axis=1) + rng.normal(size=500)
        X[rng.uniform(size=X.shape) < 0.3] = np.nan
        coefs.append(multiple(random_state=seed).fit(X, y).coef_)
    assert np.mean(coefs) == pytest.approx(1.0, abs=0.03)  # 0.89 where imputation does not see y


def test_draws_go_with_classes():
    X, y = incomplete(n=400, missing=0.4)
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [-3, 3])]
    model = multiple(RecorderOfClasses()).fit(X, labels)
    completed = np.mean([inner.X_ for inner in model.estimators_], axis=0)
    gone = np.isnan(X[:, 3])
    means = [completed[gone & (labels == label), 3].mean() for label in ("low", "middle", "high")]
    assert means[0] + 0.5 < means[1] < means[2] - 0.5


IMPUTERS = [
    {},
    {"covariance_type": "factor", "n_factors": 2},
    {"n_components": 2, "n_init": 4},
    {"n_components": 2, "n_init": 4, "covariance_type": "tied"},
    {"n_components": 2, "n_init": 4, "covariance_type": "tied_diag"},
]


@pytest.mark.parametrize("given", some_slow(IMPUTERS, [IMPUTERS[0], IMPUTERS[1], IMPUTERS[4]]))
def test_prediction_integrates_the_target_out(given):
    X, y = incomplete()
    alone = multiple(imputer=EMImputer(**given, random_state=0)).fit(X, y).imputer_
    joint = EMImputer(**given, random_state=0).fit(np.column_stack([X, y]))
    expected = joint.transform(np.column_stack([X, np.full_like(y, np.nan)]))[:, :4]
    np.testing.assert_allclose(alone.transform(X), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(alone.mean_, joint.mean_[:4], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(alone.covariance_, joint.covariance_[:4, :4], rtol=1e-3, atol=1e-3)
    assert alone.n_features_in_ == len(alone.missing_fraction_) == 4


@pytest.mark.parametrize(("scale", "shift"), [(1e250, 0.0), (1e-250, 0.0), (-3.0, 0.0), (1.0, 1e6)])
def test_units_of_the_target_do_not_matter(scale, shift):
    X, y = incomplete()
    y *= np.sign(scale)  # which way the target points is chance
    model = multiple(KNeighborsRegressor()).fit(X, y)
    other = multiple(KNeighborsRegressor()).fit(X, np.abs(scale) * y + shift)
    for one, two in zip(model.imputers_, other.imputers_, strict=True):
        np.testing.assert_allclose(two.mean_, one.mean_, rtol=1e-7)
    np.testing.assert_allclose((other.predict(X) - shift) / np.abs(scale), model.predict(X), rtol=1e-5)


def test_a_target_without_variation_tells_nothing():
    X, y = incomplete()
    for constant in (0.0, 0.1, -1e100):
        np.testing.assert_allclose(multiple().fit(X, np.full_like(y, constant)).predict(X), constant)
    model = multiple(KNeighborsClassifier()).fit(X, np.full(len(X), "only"))
    assert set(model.predict(X)) == {"only"}
    np.testing.assert_allclose(model.imputer_.mean_, EMImputer().fit(X).mean_)


def test_targets_may_depend_on_each_other():
    X, y = incomplete()
    kind = np.eye(3)[np.digitize(y, [-3, 3])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = multiple(imputer=EMImputer(ridge=0)).fit(X, kind)
    np.testing.assert_allclose(model.predict(X).sum(axis=1), 1)
    classes = multiple(KNeighborsClassifier(), imputer=EMImputer(ridge=0)).fit(X, kind.argmax(axis=1))
    np.testing.assert_allclose(classes.imputer_.covariance_, model.imputer_.covariance_, rtol=1e-3)


def test_rows_without_weight_count_for_nothing():
    X, y = incomplete()
    weight = np.where(y > 0, 0.0, 1.0 + (np.arange(len(y)) % 2))
    np.testing.assert_allclose(
        multiple().fit(X, y, sample_weight=weight).imputer_.mean_,
        multiple()
        .fit(np.repeat(X, weight.astype(int), axis=0), np.repeat(y, weight.astype(int)))
        .imputer_.mean_,
    )
    labels = np.where(y > 0, "none", np.where(y > -3, "some", "many"))
    model = multiple(LogisticRegression()).fit(X, labels, sample_weight=weight)
    assert len(model.classes_) == 3
    y[y > 0] = 1.0
    weight = np.where(y == 1.0, 1.0, 0.0)
    np.testing.assert_allclose(multiple().fit(X, y, sample_weight=weight).predict(X), 1)


@pytest.mark.parametrize("marker", some_slow([0, -1, 1], [-1]))
def test_marker_in_the_target_marks_nothing(marker):
    X, y = incomplete()
    y = np.where(y > 0, 1.0, -1.0) * (np.arange(len(y)) % 3 > 0)
    marked = np.where(np.isnan(X), marker, X)
    imputer = EMImputer(missing_values=marker, add_indicator=True)
    for estimator, target in ((Recorder(), y), (LogisticRegression(), y), (LogisticRegression(), y > 0)):
        model = multiple(estimator, imputer=imputer).fit(marked, target)
        same = multiple(estimator, imputer=EMImputer(add_indicator=True)).fit(X, target)
        np.testing.assert_array_equal(model.coef_, same.coef_)
        np.testing.assert_array_equal(model.predict(marked), same.predict(X))
    assert model.imputer_.missing_values == model.imputers_[0].missing_values == marker


@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize("frame", [None, pd.DataFrame, pl.DataFrame])
@pytest.mark.filterwarnings("ignore:X has")
def test_models_get_the_columns_of_X(frame, add_indicator, keep_empty_features):
    X, y = incomplete()
    X[:, 1], X[::2, 2], X[1::2, 2], X[:, 3] = np.nan, 7.0, np.nan, np.nan_to_num(X[:, 3])
    given = X
    if frame is pl.DataFrame and not SKLEARN_IS_RECENT:
        pytest.skip("older scikit-learn takes no names from polars 2")
    if frame is not None:
        given = frame({name: X[:, j] for j, name in enumerate(["y", "b", "x4", "column 4"])})
    imputer = EMImputer(add_indicator=add_indicator, keep_empty_features=keep_empty_features)
    model = multiple(Recorder(), imputer=imputer).fit(given, np.column_stack([y, y**2]))
    filled = EMImputer(add_indicator=add_indicator, keep_empty_features=keep_empty_features).fit(X)
    expected = filled.transform(X)
    for inner in model.estimators_:
        known = ~np.isnan(X[:, 0])
        np.testing.assert_array_equal(np.asarray(inner.X_)[known], expected[known])
        assert np.shape(inner.X_) == expected.shape
        if frame is not None:
            assert isinstance(inner.X_, frame)
            names = filled.get_feature_names_out(["y", "b", "x4", "column 4"])
            np.testing.assert_array_equal(inner.feature_names_in_, names)
    assert model.predict(given).shape == (len(X), 2)
    assert model.imputers_[0].transform(given).shape == expected.shape


def test_limits_are_of_X():
    X, y = incomplete()
    most = np.array([np.inf, 0.5, 0.0, np.inf])
    for limits in ({"min_value": -0.5}, {"min_value": np.full(4, -0.5), "max_value": most}):
        model = multiple(Recorder(), imputer=EMImputer(**limits)).fit(X, y)
        for imputer, inner in zip(model.imputers_, model.estimators_, strict=True):
            for completed in (inner.X_, imputer.transform(X)):
                imputed = np.where(np.isnan(X), completed, 0)
                assert (imputed >= -0.5).all()
                assert "max_value" not in limits or (imputed <= most).all()
    for wrong in (np.full(3, -0.5), np.full(5, -0.5)):
        with pytest.raises(ValueError, match=r"each of the 4 features"):
            multiple(imputer=EMImputer(min_value=wrong)).fit(X, y)


def test_output_set_elsewhere_changes_nothing():
    X, y = incomplete()
    expected = multiple(Recorder()).fit(X, y)
    with config_context(transform_output="pandas"):
        globally = multiple(Recorder()).fit(X, y)
        predicted = globally.predict(X)
    own = multiple(Recorder(), imputer=EMImputer(add_indicator=False).set_output(transform="pandas")).fit(X, y)
    for model in (globally, own):
        assert isinstance(model.estimators_[0].X_, np.ndarray)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(predicted, expected.predict(X))


def test_index_of_a_frame_stays():
    X, y = incomplete()
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X)) + 1000)
    completed = multiple(Recorder()).fit(frame, y).estimators_[0].X_
    pd.testing.assert_index_equal(completed.index, frame.index)


@pytest.mark.parametrize("named", [False, True])
def test_warnings_name_columns_of_X(named):
    X, _ = incomplete()
    X[:, 0], X[:, 1] = 3.0, np.nan
    y = np.nan_to_num(X[:, 2])
    first, second, third = ("'y'", "'b'", "'c'") if named else "012"
    given = pd.DataFrame(X, columns=["y", "b", "c", "d"]) if named else X
    with pytest.warns() as caught:
        multiple(imputer=EMImputer(ridge=0)).fit(given, np.column_stack([y, np.full_like(y, 2.0)]))
    messages = "\n".join(str(warning.message) for warning in caught)
    assert f"X has column {second} without any entry" in messages
    assert f"X has column {first} constant" in messages
    assert f"singular along column {third}, y:" in messages
    assert len(caught) == 3


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (multiple(imputer=SimpleImputer()), "'imputer' parameter .*EMImputer' or None"),
        (multiple(n_imputations=1), "n_imputations"),
        (multiple(StandardScaler()), "neither a regressor nor a classifier"),
        (multiple(GaussianMixture()), "neither a regressor nor a classifier"),
        (multiple(Ridge), "neither a regressor nor a classifier"),
        (multiple("ridge"), "neither a regressor nor a classifier"),
        (multiple(LogisticRegression()), "continuous"),
    ],
)
def test_refuses(model, message):
    X, y = incomplete()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_refuses_weights_that_the_estimator_does_not_take():
    X, y = incomplete()
    for estimator in (KNeighborsRegressor(), make_pipeline(Ridge())):
        with pytest.raises(ValueError, match=f"{type(estimator).__name__}.fit does not take it"):
            multiple(estimator).fit(X, y, sample_weight=np.ones(len(X)))


def test_refuses_X_without_entries():
    X, y = incomplete()
    for keep_empty_features in (False, True):
        with pytest.raises(ValueError, match="Every entry of X is missing"):
            multiple(imputer=EMImputer(keep_empty_features=keep_empty_features)).fit(np.full_like(X, np.nan), y)


def test_infinity_is_named():
    X, y = incomplete()
    X[7, 2] = np.inf
    with pytest.raises(ValueError, match="infinity in column 2, row 7"):
        multiple().fit(X, y)
    with pytest.raises(ValueError, match="infinity in column 'c', row 7"):
        multiple().fit(pd.DataFrame(X, columns=list("abcd")), y)


def test_a_fit_that_fails_leaves_the_last():
    X, y = incomplete()
    model = multiple().fit(X, y)
    before = dict(model.__dict__)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X[:, :2], np.where(y > 0, np.nan, y))
    with pytest.raises(ValueError, match="does not take"):
        model.set_params(estimator=KNeighborsRegressor()).fit(X[:, :2], y, sample_weight=np.ones(len(X)))
    model.set_params(estimator=before["estimator"])
    assert model.__dict__ == before
    assert model.predict(X).shape == y.shape


def test_decision_function_is_the_mean():
    X, y = incomplete()
    model = multiple(SVC()).fit(X, y > 0)
    pairs = zip(model.imputers_, model.estimators_, strict=True)
    each = [fitted.decision_function(imputer.transform(X)) for imputer, fitted in pairs]
    np.testing.assert_allclose(model.decision_function(X), np.mean(each, axis=0))
    assert cross_val_score(multiple(SVC()), X, y > 0, scoring="roc_auc", cv=2).min() > 0.8
    assert not hasattr(multiple().fit(X, y), "decision_function")


def test_a_search_reaches_the_imputer_that_none_stands_for():
    X, y = incomplete()
    model = multiple().set_params(imputer__ridge=7.0)
    assert model.imputer.ridge == 7.0
    search = GridSearchCV(multiple(), {"imputer__ridge": [1.0, 100.0]}, cv=2).fit(X, y)
    assert search.best_estimator_.imputer_.ridge_ == search.best_params_["imputer__ridge"]
    with pytest.raises(ValueError, match="Invalid parameter 'rigde'"):
        multiple().set_params(imputer__rigde=1.0)


@pytest.mark.skipif(not hasattr(CallbackSupportMixin, "set_callbacks"), reason="scikit-learn < 1.9")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_hear_of_each_imputation(n_jobs):
    class Watch:
        def __init__(self):
            self.told = []

        def setup(self, estimator, context):
            self.told.append("setup")

        def teardown(self, estimator, context):
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator, context, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, **kwargs):
            self.told.append(f"{context.task_name} {context.task_id}")

    X, y = incomplete()
    watch = Watch()
    multiple(n_imputations=3, n_jobs=n_jobs).set_callbacks(watch).fit(X, y)
    assert watch.told[:2] == ["setup", "imputer 0"]
    assert sorted(watch.told[2:5]) == ["imputation 1", "imputation 2", "imputation 3"]
    assert watch.told[5:] == ["fit 0", "teardown"]
