"""Mixtures of regressions and of experts in company: what users hand over, and what they are told."""

import pickle
import re
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse, stats
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import MixtureOfExperts, MixtureOfExpertsClassifier, MixtureOfLinearRegressions
from emlearn.families import RESPONSES
from emlearn.regression import _starts as module
from tests.helpers.estimators import POLARS_HAS_NAMES, Interrupt, fit_and_messages
from tests.helpers.pace import some_slow

ESTIMATORS = [MixtureOfLinearRegressions, MixtureOfExperts, MixtureOfExpertsClassifier]
REGRESSORS = ESTIMATORS[:2]
N = 120


def make(kind=MixtureOfLinearRegressions, n_components=2, **kwargs):
    """An estimator; of classes with penalties, since few rows are soon separated."""
    penalties = {"alpha": 1.0, "gate_alpha": 1.0} if kind is MixtureOfExpertsClassifier else {}
    return kind(n_components, **{"random_state": 0, "n_init": 4, **penalties, **kwargs})


def data(n=N, seed=0):
    """Rows of two features and a response of two lines, a third feature that says little."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    y = np.where(X[:, 1] + 0.5 * rng.normal(size=n) > 0, 1 + 2 * X[:, 0], -1 - X[:, 0])
    return X, y + 0.3 * rng.normal(size=n)


def target(kind, y):
    return np.where(y > 0, "up", "down") if kind is MixtureOfExpertsClassifier else y


def problem(kind):
    X, y = data()
    return X, target(kind, y)


def counts(X, seed=0):
    rng = np.random.RandomState(seed)
    first = X[:, 1] + rng.normal(size=len(X)) > 0
    return rng.poisson(np.exp(np.where(first, 2.0 + 0.3 * X[:, 0], -0.3 * X[:, 0]))).astype(float)


def messages_of(estimator, X, y, **kwargs):
    _, messages = fit_and_messages(estimator, X, y, **kwargs)
    assert_finite(estimator, X, y, kwargs.get("offset"))
    return messages


def assert_finite(fitted, X, y, offset=None):
    names = ("coef_", "intercept_", "weights_", "sigma_", "gate_coef_", "gate_intercept_", "log_likelihood_")
    for name in names:
        assert np.isfinite(getattr(fitted, name, 0.0)).all(), name
    assert fitted.weights_.sum() == pytest.approx(1.0)
    assert np.isfinite(fitted.score_samples(X, y, offset=offset)).all()
    proba = fitted.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    if not hasattr(fitted, "classes_"):
        assert all(np.isfinite(part).all() for part in fitted.predict(X, return_std=True))
        assert np.isfinite(fitted.predict_quantiles(X, [0.1, 0.9])).all()


def same_fit(a, b, rtol=1e-7):
    for name in ("weights_", "coef_", "intercept_", "sigma_", "gate_coef_", "gate_intercept_"):
        if hasattr(a, name):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol, err_msg=name)


# -- scikit-learn's contract -------------------------------------------------------------------------------

Y_IS_NEEDED = "score_samples takes y too; both laws are tested below, of all methods"
EXPECTED_FAILURES = {
    "check_methods_sample_order_invariance": Y_IS_NEEDED,
    "check_methods_subset_invariance": Y_IS_NEEDED,
}
OF_REGRESSORS = {"check_regressors_no_decision_function": "predict_proba is of the hidden components"}


def expected_failures(estimator):
    return EXPECTED_FAILURES | ({} if isinstance(estimator, MixtureOfExpertsClassifier) else OF_REGRESSORS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny and constant data
@parametrize_with_checks(
    [
        *(kind(n_init=2, random_state=0) for kind in REGRESSORS),
        # Most classes are apart there, which takes time, and a gate that runs away amplifies rounding.
        MixtureOfExpertsClassifier(n_init=1, gate_alpha=1.0, random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [MixtureOfLinearRegressions(2, alpha=0.1, shared_variance=True, n_init=2, random_state=0)],
    expected_failed_checks=expected_failures,
)
def test_sklearn_checks_of_other_settings(estimator, check):
    check(estimator)


def outcomes(fitted, X, y, offset):
    """What every method says of each row."""
    found = {
        "predict": fitted.predict(X, offset=offset),
        "predict_proba": fitted.predict_proba(X, offset=offset),
        "predict_components": fitted.predict_components(X, offset=offset),
        "score_samples": fitted.score_samples(X, y, offset=offset),
        "component_proba": fitted.component_proba(X, offset=offset),
        "component_proba of y": fitted.component_proba(X, y, offset=offset),
    }
    if not hasattr(fitted, "classes_"):
        found["std"] = fitted.predict(X, return_std=True, offset=offset)[1]
        found["predict_proba of y"] = fitted.predict_proba(X, y, offset=offset)
        found["predict_quantiles"] = fitted.predict_quantiles(X, [0.1, 0.5], offset=offset)
        found["predict_quantile"] = fitted.predict_quantiles(X, 0.7, offset=offset)
        found["predict_interval"] = fitted.predict_interval(X, 0.9, offset=offset)
    return found


@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_methods_know_neither_order_nor_company(kind, with_offset):
    X, y = problem(kind)
    offset = 0.2 * X[:, 2] if with_offset else None
    fitted = make(kind).fit(X, y, offset=offset)
    whole = outcomes(fitted, X, y, offset)
    order = np.random.RandomState(0).permutation(N)
    shuffled = outcomes(fitted, X[order], y[order], None if offset is None else offset[order])
    rows = [slice(i, i + 7) for i in range(0, N, 7)]
    parts = [outcomes(fitted, X[r], y[r], None if offset is None else offset[r]) for r in rows]
    for name, found in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        assert len(found) == N, name
        if found.dtype.kind == "U":
            np.testing.assert_array_equal(shuffled[name], found[order], err_msg=name)
            np.testing.assert_array_equal(joined, found, err_msg=name)
        else:
            np.testing.assert_allclose(shuffled[name], found[order], rtol=1e-10, atol=1e-12, err_msg=name)
            np.testing.assert_allclose(joined, found, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_groups_know_neither_order_nor_company(kind):
    X, y = problem(kind)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    groups = np.repeat(np.arange(30), 4)
    gate = {} if kind is MixtureOfLinearRegressions else {"gate_features": [1]}
    fitted = make(kind, **gate).fit(X, y, groups=groups)
    whole = fitted.score_samples(X, y, groups=groups)
    assert whole.shape == (30,)
    assert whole.sum() == pytest.approx(fitted.log_likelihood_)
    half = fitted.score_samples(X[:60], y[:60], groups=groups[:60])
    np.testing.assert_allclose(half, whole[:15], rtol=1e-10)
    order = np.random.RandomState(0).permutation(N)
    _, first = np.unique(groups[order], return_index=True)
    by_appearance = groups[order][np.sort(first)]
    shuffled = fitted.score_samples(X[order], y[order], groups=groups[order])
    np.testing.assert_allclose(shuffled, whole[by_appearance], rtol=1e-10)
    of_rows = fitted.component_proba(X, y, groups=groups)
    np.testing.assert_allclose(of_rows, np.repeat(of_rows[::4], 4, axis=0))
    shuffled = fitted.component_proba(X[order], y[order], groups=groups[order])
    np.testing.assert_allclose(shuffled, of_rows[order], rtol=1e-9)
    if not hasattr(fitted, "classes_"):
        np.testing.assert_array_equal(fitted.predict_proba(X, y, groups=groups), of_rows)
    same_fit(fitted, make(kind, **gate).fit(X[order], y[order], groups=groups[order]), rtol=1e-5)


# -- bad input ---------------------------------------------------------------------------------------------


def refused(estimator, X, y, message, error=ValueError, **kwargs):
    """Check that ``fit`` refuses, says why, and leaves the estimator as it was, fitted or not."""
    X_before, y_before = data()
    by_family = {"poisson": counts(X_before), "binomial": 1.0 * (X_before[:, 0] + y_before > 0)}
    y_before = by_family.get(getattr(estimator, "family", None), target(type(estimator), y_before))
    if isinstance(estimator, MixtureOfExpertsClassifier):
        y_before = target(type(estimator), data()[1])
    fresh, fitted = clone(estimator), clone(estimator).set_params(n_components=1, alpha=1.0)
    fitted.fit(X_before, y_before)
    fitted.set_params(n_components=estimator.n_components, alpha=estimator.alpha)
    for before in (fresh, fitted):
        state = dict(vars(before))
        with pytest.raises(error, match=message):
            before.fit(X, y, **kwargs)
        assert vars(before) == state


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize(
    ("family", "value", "message"),
    [
        ("poisson", -1.0, r"family='poisson' y must be the counts 0, 1, 2 and so on, but is -1\.0 in row 7"),
        ("poisson", 1.5, r"must be the counts .* but is 1\.5 in row 7"),
        ("binomial", 2.0, r"y must be 0 or 1, or counts in two columns.* but is 2\.0 in row 7"),
        ("binomial", -1.0, r"but is -1\.0 in row 7"),
        ("binomial", 0.5, r"but is 0\.5 in row 7"),
        ("gaussian", np.nan, r"Input y contains NaN in row 7.*Leave out rows without a response"),
        ("poisson", np.inf, r"Input y contains infinity in row 7"),
        ("binomial", np.nan, r"Input y contains NaN in row 7"),
    ],
)
def test_impossible_responses(kind, family, value, message):
    X, _ = data()
    y = (np.arange(N) % 2).astype(float)
    fitted = make(kind, 1, family=family).fit(X, y)
    y[7] = value
    refused(make(kind, family=family), X, y, message)
    for method in (fitted.score_samples, fitted.predict_proba, fitted.bic):
        with pytest.raises(ValueError, match=message):
            method(X, y)


def test_impossible_trials():
    X, _ = data()
    y = np.column_stack([np.arange(N) % 3, np.arange(N) % 4]).astype(float)
    for value in (-1.0, 0.5):
        bad = y.copy()
        bad[4, 1] = value
        refused(make(family="binomial"), X, bad, rf"but is \[1\.0, {value}\] in row 4")
    bad = y.copy()
    bad[4, 0] = np.nan
    refused(make(family="binomial"), X, bad, "Input y contains NaN in row 4")


@pytest.mark.parametrize("family", ["student_t", "poisson"])
def test_two_columns_of_other_families(family):
    X, _ = data()
    refused(make(family=family), X, np.ones((N, 2)), r"y should be a 1d array, got .* \(120, 2\)")
    refused(make(family="binomial"), X, np.ones((N, 3)), r"y should be a 1d array")


def test_classes():
    X, y = data()
    labels = np.where(y > 0, "up", "down")
    fitted = make(MixtureOfExpertsClassifier, n_init=1).fit(X, labels)
    for method in (fitted.score_samples, fitted.component_proba, fitted.bic):
        with pytest.raises(ValueError, match=r"y has the class .*'sideways'.* in row 5; .*\['down', 'up'\]"):
            method(X, np.where(np.arange(N) == 5, "sideways", labels))
    estimator = make(MixtureOfExpertsClassifier)
    refused(estimator, X, np.full(N, "up"), "y has only one class, 'up': a classifier needs two")
    refused(estimator, X, y, "[Uu]nknown label type")


@pytest.mark.parametrize("value", [np.nan, None, pd.NA])
def test_a_missing_class_among_texts(value):
    X, labels = problem(MixtureOfExpertsClassifier)
    fitted = make(MixtureOfExpertsClassifier, n_init=1).fit(X, labels)
    y = labels.astype(object)
    y[3] = value
    message = r"Input y contains NaN in row 3\. Leave out rows without a class"
    refused(make(MixtureOfExpertsClassifier), X, y, message)
    refused(make(MixtureOfExpertsClassifier), pd.DataFrame(X), pd.Series(y), message)
    for method in (fitted.score_samples, fitted.component_proba, fitted.bic):
        with pytest.raises(ValueError, match=message):
            method(X, y)


@pytest.mark.parametrize("others", [["down", "up"], ["up"]])
def test_a_missing_class_in_a_list(others):
    X, _ = data()
    y = [others[i % len(others)] for i in range(N)]
    y[3] = np.nan
    with pytest.raises(ValueError, match="Input y contains NaN in row 3"):
        make(MixtureOfExpertsClassifier, n_init=1).fit(X, y)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_a_class_that_is_not_finite(value, name):
    X, y = data()
    with pytest.raises(ValueError, match=f"Input y contains {name} in row 3"):
        make(MixtureOfExpertsClassifier).fit(X, np.where(np.arange(N) == 3, value, y > 0))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_lengths_that_differ(kind):
    X, y = problem(kind)
    estimator, fitted = make(kind), make(kind, n_init=1).fit(X, y)
    refused(estimator, X, y[:-1], "inconsistent numbers of samples: .120, 119")
    refused(estimator, X, y, r"offset has shape \(119,\), but X has 120 rows", offset=np.zeros(N - 1))
    refused(estimator, X, y, r"offset must be an array, but is 1\.0", offset=1.0)
    for shape in ((1,), (N, 2), (1, N)):
        message = rf"offset has shape {re.escape(str(shape))}, but X has 120 rows: give one number for each row"
        refused(estimator, X, y, message, offset=np.zeros(shape))
        with pytest.raises(ValueError, match=message):
            fitted.predict(X, offset=np.zeros(shape))
    refused(estimator, X, y, r"groups has shape \(119,\), but X has 120 rows", groups=np.zeros(N - 1))
    refused(estimator, X, y, r"sample_weight has shape \(119,\), but X has 120", sample_weight=np.ones(N - 1))
    negative = 1.0 - 2 * (np.arange(N) == 4)
    refused(estimator, X, y, "negative values, the first for row 4", sample_weight=negative)
    refused(estimator, X, y, "zero for every row", sample_weight=np.zeros(N))
    refused(estimator, X, y, "NaN", sample_weight=np.full(N, np.nan))
    for call, message in [
        (lambda: fitted.predict(X, offset=np.zeros(5)), r"offset has shape \(5,\)"),
        (lambda: fitted.predict_components(X, offset=np.zeros(5)), r"offset has shape \(5,\)"),
        (lambda: fitted.sample(X, offset=np.zeros(5)), r"offset has shape \(5,\)"),
        (lambda: fitted.score_samples(X, y[:5]), "inconsistent numbers of samples"),
        (lambda: fitted.score_samples(X, y, groups=np.zeros(5)), r"groups has shape \(5,\)"),
        (lambda: fitted.bic(X, y, np.ones(5)), r"sample_weight has shape \(5,\)"),
        (lambda: fitted.score(X, y[:5]), "inconsistent numbers of samples"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_missing_and_infinite_entries(kind):
    X, y = problem(kind)
    fitted = make(kind, n_init=1).fit(X, y)
    for value, what in ((np.nan, r"NaN in {}, row 7.*EMImputer"), (np.inf, r"infinity in {}, row 7")):
        bad = X.copy()
        bad[7, 2] = value
        refused(make(kind), bad, y, what.format("column 2"))
        refused(make(kind), pd.DataFrame(bad, columns=list("abc")), y, what.format("column 'c'"))
        for method in (fitted.predict, fitted.predict_proba, fitted.predict_components, fitted.sample):
            with pytest.raises(ValueError, match=what.format("column 2")):
                method(bad)
        offset = np.where(np.arange(N) == 7, value, 0.0)
        message = f"offset is {value} in row 7. Leave out rows without one, as where exposure is 0"
        refused(make(kind), X, y, message, offset=offset)
        with pytest.raises(ValueError, match=message):
            fitted.predict(X, offset=offset)
    groups = np.array([*["a"] * 60, *["b"] * 59, None], dtype=object)
    refused(make(kind), X, y, "group of row 119 is missing", groups=groups)
    refused(make(kind), X, y, "group of row 2 is missing", groups=np.where(np.arange(N) == 2, np.nan, 1.0))


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("parameter", ["shared_coef", "gate_features"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([5], r"names 5, which is no feature; X has 3"),
        ([-4], r"names -4, which is no feature"),
        (["a"], r"names 'a', which is no feature; the features have no names, use numbers"),
        ([0, 0], r"names a feature twice: \[0, 0\]|names a feature twice"),
        ([0, -3], r"names a feature twice"),
        ([1.5], r"names 1\.5, which is no feature"),
        ([True, False], r"is a mask of 2, but X has 3 features"),
    ],
)
def test_columns_that_do_not_exist(kind, parameter, columns, message):
    if parameter not in kind().get_params():
        pytest.skip("no gate")
    X, y = problem(kind)
    with pytest.raises(ValueError, match=f"{parameter} {message}"):
        make(kind, **{parameter: columns}).fit(X, y)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match=rf"{parameter} names 'd'.*\['a', 'b', 'c'\]"):
        make(kind, **{parameter: "d"}).fit(frame, y)


@pytest.mark.parametrize("kind", ESTIMATORS[1:])
def test_gate_that_varies_within_groups(kind):
    X, y = problem(kind)
    groups = np.repeat(np.arange(30), 4)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    refused(make(kind), X, y, "gate sees column 0, which varies within groups.*gate_features", groups=groups)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match="gate sees column 'c', which varies"):
        make(kind, gate_features=["b", "c"]).fit(frame, y, groups=groups)
    make(kind, gate_features=["b"]).fit(frame, y, groups=groups)
    order = np.random.RandomState(0).permutation(N)
    make(kind, gate_features=["b"]).fit(frame.iloc[order], y[order], groups=groups[order])


@pytest.mark.parametrize("kind", ESTIMATORS[1:])
def test_a_gate_must_not_vary_within_groups_after_the_fit_either(kind):
    X, y = problem(kind)
    groups = np.repeat(np.arange(30), 4)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    fitted = make(kind, n_init=1, gate_features=[1]).fit(X, y, groups=groups)
    bad, message = X.copy(), "gate sees column 1, which varies within groups"
    bad[5, 1] += 1.0
    methods = [fitted.score_samples, fitted.component_proba, fitted.aic, fitted.bic, fitted.icl]
    for method in methods + ([] if hasattr(fitted, "classes_") else [fitted.predict_proba]):
        method(X, y, groups=groups)
        with pytest.raises(ValueError, match=message):
            method(bad, y, groups=groups)
    # A row of no weight is absent, here as at fit.
    weight = 1.0 * (np.arange(N) != 5)
    kept = weight > 0
    there = make(kind, n_init=1, gate_features=[1]).fit(bad, y, weight, groups=groups)
    same_fit(there, make(kind, n_init=1, gate_features=[1]).fit(X[kept], y[kept], groups=groups[kept]))
    for method in (there.aic, there.bic, there.icl):
        found = method(bad, y, weight, groups=groups)
        assert found == pytest.approx(method(X[kept], y[kept], groups=groups[kept]), rel=1e-12)


def test_too_few_groups_or_rows():
    X, y = data()
    refused(make(n_components=3), X, y, "n_components=3 .*groups, but there are 2", groups=np.arange(N) % 2)
    refused(make(n_components=5), X[:3], y[:3], r"n_components=5 .*n_samples=3 rows.* 3 of them distinct")


@pytest.mark.parametrize("kind", REGRESSORS)
def test_quantiles_and_coverage(kind):
    X, y = data()
    fitted = make(kind, n_init=1).fit(X, y)
    for q in (0.0, 1.0, -0.1, [0.5, 2.0], np.nan, [[0.5]]):
        with pytest.raises(ValueError, match=r"quantiles are for probabilities between 0 and 1"):
            fitted.predict_quantiles(X, q)
    for coverage in (0.0, 1.0, 95, -1, np.nan):
        with pytest.raises(ValueError, match=f"coverage={coverage}: give a probability between 0 and 1"):
            fitted.predict_interval(X, coverage)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_groups_without_y(kind):
    X, y = problem(kind)
    fitted = make(kind, n_init=1).fit(X, y)
    for method in [fitted.component_proba] + ([] if hasattr(fitted, "classes_") else [fitted.predict_proba]):
        with pytest.raises(ValueError, match="groups say nothing without y"):
            method(X, groups=np.arange(N))


BAD_PARAMETERS = {
    "n_components": [0, 2.5, "two"],
    "family": ["tweedie", None],
    "fit_intercept": ["yes", 2],
    "alpha": [-1.0, "auto", None],
    "shared_coef": [1.5],
    "shared_variance": ["yes"],
    "min_variance_ratio": [1.0, -0.1],
    "forgetting": [1.0, -0.1, None],
    "zero_inflated": ["yes", None],
    "noise": ["yes", 0.1],
    "expert_features": [0.5],
    "gate_features": [1.5],
    "gate_alpha": [-1.0, None],
    "tol": [-1e-3],
    "max_iter": [-1, 1.5],
    "n_init": [0, 2.5],
    "ranking": ["bayes", None],
    "acceleration": ["warp", None],
    "assignment": ["firm", None, True],
    "annealing": ["slow", 0.5, None],
    "warm_start": ["yes"],
    "n_jobs": ["all"],
    "random_state": ["zero"],
    "verbose": [-1],
}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_parameters_are_checked_at_fit(kind):
    X, y = problem(kind)
    assert set(kind().get_params()) <= set(BAD_PARAMETERS)
    for parameter in kind().get_params():
        for value in BAD_PARAMETERS[parameter]:
            estimator = kind().set_params(**{parameter: value})
            with pytest.raises(ValueError, match=f"The '{parameter}' parameter of {kind.__name__}"):
                estimator.fit(X, y)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_other_forms_of_X_and_y(kind):
    X, y = problem(kind)
    estimator, fitted = make(kind), make(kind, n_init=1).fit(X, y)
    refused(estimator, sparse.csr_matrix(X), y, "[Ss]parse", (TypeError, ValueError))
    text = pd.DataFrame({"a": X[:, 0], "b": "red"})
    refused(estimator, text, y, r"no numbers in columns \['b'\]")
    refused(estimator, X[:, 0], y, "Expected 2D array")
    refused(estimator, X, None, "requires y to be passed, but the target y is None")
    refused(estimator, np.empty((0, 3)), np.empty(0), "0 sample")
    refused(estimator, np.empty((N, 0)), y, "0 feature")
    with pytest.raises(ValueError, match=f"X has 2 features, but {kind.__name__} is expecting 3"):
        fitted.predict(X[:, :2])
    frame = pd.DataFrame(X, columns=list("abc"))
    with pytest.raises(ValueError, match="feature names should match"):
        make(kind, n_init=1).fit(frame, y).predict(frame.rename(columns={"a": "z"}))
    for name in ("predict", "predict_proba", "predict_components", "sample"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(make(kind), name)(X)
    for name in ("score", "score_samples", "aic", "bic", "icl"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(make(kind), name)(X, y)


def test_text_as_y_of_a_regressor():
    X, y = data()
    labels = np.where(y > 0, "up", "down")
    message = r"y must be an array of numbers, but holds '(up|down)'\. For classes "
    for family in ("gaussian", "poisson", "binomial"):
        for text in (labels, labels.tolist(), labels.astype(object), pd.Series(labels)):
            refused(make(family=family), X, text, message + "see MixtureOfExpertsClassifier")


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize("unit", ["datetime64[D]", "datetime64[ns]", "timedelta64[s]"])
def test_dates_are_no_responses(kind, unit):
    X, y = data()
    dates = np.arange(N).astype(unit)
    for values in (dates, pd.Series(dates)):
        refused(make(kind), X, values, "y must be an array of numbers, but holds dates")
        refused(make(kind), X, y, "offset must be an array of numbers, but holds dates", offset=values)
    refused(make(kind), X, y, "offset must be an array of numbers, but holds 'one'", offset=np.full(N, "one"))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_offset_may_be_a_column(kind):
    X, y = problem(kind)
    offset = 0.1 * X[:, 2]
    row = make(kind, n_init=1).fit(X, y, offset=offset)
    warns = pytest.warns(sklearn.exceptions.DataConversionWarning, match="column-vector")
    with warns:
        column = make(kind, n_init=1).fit(X, y, offset=offset[:, None])
    same_fit(row, column, rtol=0)
    with warns:
        found = row.predict_components(X, offset=pd.DataFrame({"offset": offset}))
    np.testing.assert_array_equal(found, row.predict_components(X, offset=offset))


@pytest.mark.parametrize("none", [[], (), np.array([], dtype=int)], ids=["list", "tuple", "array"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_no_columns_are_none(kind, none):
    X, y = problem(kind)
    same_fit(make(kind, n_init=1, shared_coef=none).fit(X, y), make(kind, n_init=1).fit(X, y), rtol=0)
    if kind is MixtureOfLinearRegressions:
        return
    groups = np.repeat(np.arange(30), 4)
    fitted = make(kind, gate_features=none, tol=1e-10).fit(X, y)
    assert fitted.gate_features_.shape == (0,)
    assert fitted.gate_coef_.shape == (2, 0)
    np.testing.assert_allclose(fitted.component_proba(X), np.tile(fitted.weights_, (N, 1)))
    make(kind, n_init=1, gate_features=none).fit(X, y, groups=groups)  # nothing can vary within groups
    if kind is MixtureOfExperts:
        plain = make(MixtureOfLinearRegressions, tol=1e-10).fit(X, y)
    else:
        plain = make(MixtureOfLinearRegressions, family="binomial", alpha=1.0, tol=1e-10).fit(X, y == "up")
    assert fitted.lower_bounds_[-1] == pytest.approx(plain.lower_bounds_[-1], abs=1e-9)
    assert fitted.n_parameters_ == plain.n_parameters_
    for name in ("coef_", "intercept_", "weights_"):
        np.testing.assert_allclose(getattr(fitted, name), getattr(plain, name), atol=1e-4)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_input_stays_as_it_was(kind):
    X, y = problem(kind)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    given = {
        "sample_weight": np.linspace(0.0, 2.0, N),
        "offset": 0.1 * X[:, 2],
        "groups": np.arange(N) // 4,
    }
    columns = np.array([1])
    arrays = [X, y, columns, *given.values()]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    gate = {} if kind is MixtureOfLinearRegressions else {"gate_features": columns}
    make(kind, shared_coef=columns, **gate).fit(X, y, **given)
    for fitted in (
        make(kind, shared_coef=columns, **gate).fit(X, y, given["sample_weight"], offset=given["offset"]),
        make(kind, alpha=1.0, **gate).fit(X, y, given["sample_weight"], offset=given["offset"]),
    ):
        outcomes(fitted, X, y, given["offset"])
        fitted.score_samples(X, y, groups=given["groups"], offset=given["offset"])
        fitted.icl(X, y, given["sample_weight"], groups=given["groups"], offset=given["offset"])
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# -- what is told of a fit ---------------------------------------------------------------------------------

LEAST_NORM = "are not determined: these columns are constant or linear combinations"


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("family", ["gaussian", "poisson", "binomial"])
@pytest.mark.parametrize("seed", range(2))
def test_ordinary_data_give_no_warning(kind, family, seed):
    X, y = data(seed=seed)
    if kind is MixtureOfExpertsClassifier:
        if family != "binomial":
            pytest.skip("classes are binomial")
        y = y + np.random.RandomState(1).normal(size=N) > 0
        assert messages_of(make(kind), X, y) == []
        assert messages_of(make(kind, 1, alpha=0.0), X, y) == []
        return
    y = {"gaussian": y, "poisson": counts(X, seed), "binomial": 1.0 * (X[:, 2] ** 2 + y > 1.0)}[family]
    if family == "binomial":
        y[np.random.RandomState(2).uniform(size=N) < 0.2] = 1.0
        assert messages_of(make(kind, 1), X, y) == []
        return
    assert messages_of(make(kind), X, y) == []


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(
    ("more", "names"),
    [
        (lambda X: X[:, 0], "0, 3"),
        (lambda X: np.full(len(X), 7.0), "3"),
        (lambda X: np.zeros(len(X)), "3"),
        (lambda X: X[:, 0] - 2 * X[:, 2], "0, 2, 3"),
        (lambda X: np.eye(3)[np.arange(len(X)) % 3], "3, 4, 5"),
    ],
    ids=["duplicate", "constant", "zeros", "combination", "one-hot"],
)
def test_columns_that_determine_one_another(kind, more, names):
    X, y = data()
    y = y + 2 * np.random.RandomState(1).normal(size=N) * (kind is MixtureOfExpertsClassifier)
    wide = np.column_stack([X, more(X)])
    y = target(kind, y)
    (message,) = messages_of(make(kind, 1, alpha=0.0), wide, y)
    word = "columns" if "," in names else "column"
    assert message.startswith(f"The coefficients of {word} {names} {LEAST_NORM}")
    frame = pd.DataFrame(wide, columns=[f"x{j}" for j in range(wide.shape[1])])
    named = re.sub(r"\d", r"'x\g<0>'", names)
    with pytest.warns(ConvergenceWarning, match=f"The coefficients of {word} {named} {LEAST_NORM}"):
        make(kind, 1, alpha=0.0).fit(frame, y)
    # A penalty determines them.
    assert messages_of(make(kind, 1, alpha=0.1), wide, y) == []
    # Predictions are those without the extra columns, where these say nothing new.
    if "5" not in names:
        few = make(kind, 1, alpha=0.0).fit(X, y)
        with pytest.warns(ConvergenceWarning, match=LEAST_NORM):
            many = make(kind, 1, alpha=0.0).fit(wide, y)
        np.testing.assert_allclose(many.predict_proba(wide), few.predict_proba(X), rtol=1e-6)
        if kind is not MixtureOfExpertsClassifier:
            np.testing.assert_allclose(many.predict(wide), few.predict(X), rtol=1e-6, atol=1e-8)


def test_collinear_columns_of_several_components():
    X, y = data()
    for more in (X[:, :1], np.full((N, 1), 3.0)):
        few = make().fit(X, y)
        with pytest.warns(ConvergenceWarning, match=LEAST_NORM):
            many = make().fit(np.column_stack([X, more]), y)
        assert many.log_likelihood_ == pytest.approx(few.log_likelihood_, abs=1e-3)


def test_one_hot_without_intercept_is_determined():
    X, y = data()
    wide = np.column_stack([X, np.eye(3)[np.arange(N) % 3]])
    assert messages_of(make(fit_intercept=False), wide, y) == []
    assert messages_of(make(fit_intercept=False), np.column_stack([X, np.full(N, 7.0)]), y) == []


@pytest.mark.parametrize("kind", REGRESSORS)
def test_more_columns_than_rows(kind):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(10, 12)), rng.normal(size=10)
    messages = messages_of(make(kind), X, y)
    assert any(LEAST_NORM in message for message in messages)
    assert any("Fewer rows than coefficients (13) support components 0, 1" in message for message in messages)
    assert any("The fit leaves no noise: sigma_ is the least" in message for message in messages)
    assert not any(LEAST_NORM in message for message in messages_of(make(kind, alpha=1.0), X, y))
    alone = make(kind, 1)
    messages_of(alone, X, y)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    least = np.linalg.pinv(Z) @ (y - y.mean())
    np.testing.assert_allclose(alone.coef_[0] * X.std(axis=0), least, atol=1e-6)


def test_a_warning_of_many_columns_is_short():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(50, 500)), rng.normal(size=50)
    (message,) = [text for text in messages_of(make(n_components=1), X, y) if LEAST_NORM in text]
    assert len(message) < 500
    assert "of columns 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 490 more are not determined: " in message
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(500)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(n_components=1).fit(frame, y)
    (message,) = [str(warning.message) for warning in caught if LEAST_NORM in str(warning.message)]
    assert "of columns 'x0', 'x1', " in message
    assert ", 'x9' and 490 more are not determined: " in message
    assert "'x10'" not in message


def test_a_warning_of_many_components_is_short():
    X, _ = data()
    estimator = make(n_components=12, n_init=1, family="poisson")
    messages = messages_of(estimator, X, np.zeros(N))
    (message,) = [text for text in messages if "run away" in text]
    assert "Coefficients of components 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more run away" in message
    eleven = messages_of(make(n_components=11, n_init=1, family="poisson"), X, np.zeros(N))
    assert any("7, 8, 9 and 1 more run away" in text for text in eleven)
    ten = messages_of(make(n_components=10, n_init=1, family="poisson"), X, np.zeros(N))
    assert any("components 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 run away" in text for text in ten)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("shape", [(10, 12), (10, 10), (8, 20)])
def test_penalties_tell_components_apart_where_rows_are_few(kind, shape):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=shape), rng.normal(size=shape[0])
    fitted = make(kind, alpha=0.1)
    messages_of(fitted, X, target(kind, y))
    assert len(fitted.restarts_.starts) >= 4
    assert np.abs(np.diff(fitted.coef_, axis=0)).max() > 0.01
    assert len(make(kind, 1, alpha=0.1).fit(X, target(kind, y)).restarts_.starts) == 1


@pytest.mark.parametrize("kind", REGRESSORS)
def test_fewer_rows_than_coefficients_in_components(kind):
    rng = np.random.RandomState(0)
    messages = messages_of(make(kind, 3), rng.normal(size=(20, 8)), rng.normal(size=20))
    assert any("Fewer rows than coefficients (9) support" in message for message in messages), messages
    assert any("Reduce n_components, or set alpha > 0" in message for message in messages)


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize(
    "response",
    [lambda X: np.full(len(X), 3.0), lambda X: np.zeros(len(X)), lambda X: 1 + X @ [1.0, 2.0, -1.0]],
    ids=["constant", "zero", "linear"],
)
def test_responses_without_noise(kind, n_components, response):
    X, _ = data()
    y = response(X)
    estimator = make(kind, n_components)
    messages = messages_of(estimator, X, y)
    assert any("The fit leaves no noise" in message for message in messages), messages
    assert any("constant or exactly linear" in message for message in messages)
    np.testing.assert_allclose(estimator.predict(X), y, atol=1e-5)
    assert (estimator.sigma_ < 1e-4).all()


@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_component_without_noise(kind):
    X, y = data()
    y = np.where(np.arange(N) % 2, 3.0, y)
    estimator = make(kind, n_init=30)
    messages = messages_of(estimator, X, y)
    still = int(np.argmin(estimator.sigma_))
    start = f"The noise of component {still} is as small as min_variance_ratio=0.001 allows"
    assert any(message.startswith(start) for message in messages), messages
    assert any("shared_variance=True" in message for message in messages)
    np.testing.assert_allclose(estimator.coef_[still], 0.0, atol=0.02)
    assert estimator.intercept_[still] == pytest.approx(3.0, abs=0.02)
    assert estimator.sigma_.min() == pytest.approx(np.sqrt(1e-3) * estimator.sigma_.max())
    assert estimator.weights_[still] > 0.4
    assert messages_of(make(kind, shared_variance=True), X, y) == []


def crossing():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, 2))
    return X, np.where(np.arange(N) % 2, 1 + 2 * X[:, 0], -3 - X[:, 0])


def test_lines_without_noise_are_found_by_many_starts():
    X, y = crossing()
    estimator = make(n_init=30)
    messages = messages_of(estimator, X, y)
    assert any("no noise" in message for message in messages)
    np.testing.assert_allclose(np.sort(estimator.coef_[:, 0]), [-1.0, 2.0], atol=1e-3)


def test_lines_with_hardly_any_noise_are_found():
    X, y = crossing()
    estimator = make(n_init=30)
    assert messages_of(estimator, X, y + 1e-5 * np.random.RandomState(1).normal(size=N)) == []
    np.testing.assert_allclose(np.sort(estimator.coef_[:, 0]), [-1.0, 2.0], atol=1e-3)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_too_many_components(kind):
    X, y = data(30)
    messages = messages_of(make(kind, 10), X, y)
    assert any("components" in message.lower() and "Reduce n_components" in message for message in messages)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_gate_that_separates(noise):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, 2))
    y = np.where(X[:, 0] > 0, 6 + 2 * X[:, 0], -3 - X[:, 0]) + noise * rng.normal(size=N)
    messages = messages_of(make(MixtureOfExperts), X, y)
    assert any("gate tells the components apart without error" in message for message in messages), messages
    assert any("gate_alpha=0.0001" in message for message in messages)
    assert messages_of(make(MixtureOfExperts, gate_alpha=100.0), X, y + 0.3 * rng.normal(size=N)) == []


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_experts_that_separate(kind):
    X, _ = data()
    family = {} if kind is MixtureOfExpertsClassifier else {"family": "binomial"}
    y = 1.0 * (X[:, 0] > 0)
    messages = messages_of(make(kind, alpha=0.0, **family), X, y)
    assert any("Coefficients of components 0, 1 run away to infinity" in message for message in messages)
    advice = "responses are alike. Set alpha > 0, which bounds slopes, or reduce n_components."
    assert any(message.endswith(advice) for message in messages)
    penalised = messages_of(make(kind, alpha=1.0, **family), X, y)
    assert not any("run away to infinity" in message for message in penalised)
    assert messages_of(make(kind, 1, alpha=1.0, **family), X, y) == []


@pytest.mark.parametrize("seed", some_slow(range(3), [0]))
def test_few_rows_apart_give_no_warning_of_the_engine(seed):
    X = np.column_stack([np.repeat([1, 2, 3], 4), np.tile([1, 2, 3, 4], 3)])
    y = np.array([1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2])
    for alpha in (0.0, 1.0):
        messages = messages_of(MixtureOfExpertsClassifier(alpha=alpha, n_init=2, random_state=seed), X, y)
        assert any("run away to infinity" in message for message in messages) == (alpha == 0.0)


def test_a_classifier_has_nothing_to_do_with_noise():
    fitted = make(MixtureOfExpertsClassifier, n_init=1).fit(*problem(MixtureOfExpertsClassifier))
    for name in ("family", "shared_variance", "min_variance_ratio", "sigma_"):
        assert not hasattr(fitted, name)
        assert name not in fitted.get_params()
    assert {kind: kind().alpha for kind in ESTIMATORS} == dict(zip(ESTIMATORS, (0.0, 0.0, 1.0), strict=True))


def test_one_component_of_a_classifier_is_logistic_regression_by_default():
    X, y = problem(MixtureOfExpertsClassifier)
    known = LogisticRegression(tol=1e-10).fit(X, y)
    one = MixtureOfExpertsClassifier(1, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(one.coef_, known.coef_, rtol=1e-5)
    np.testing.assert_allclose(one.predict_proba(X), known.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize(("family", "value"), [("poisson", 0.0), ("binomial", 0.0), ("binomial", 1.0)])
def test_responses_all_at_the_edge(kind, family, value):
    X, _ = data()
    estimator = make(kind, family=family)
    messages = messages_of(estimator, X, np.full(N, value))
    assert any("run away to infinity" in message for message in messages)
    np.testing.assert_allclose(estimator.predict(X), value, atol=1e-3)


def test_advice_is_not_to_do_what_was_done():
    X, _ = data()
    assert messages_of(make(n_components=1, family="poisson", alpha=1.0), X, np.zeros(N)) == []


@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e3, 1e6, 1e9, 1e11, 1e13, 1e60])
def test_quantiles_of_counts_at_any_rate(rate):
    response, levels = RESPONSES["poisson"], np.linspace(0.01, 0.99, 30)
    found = response.quantile(levels, np.full(30, np.log(rate)), np.ones(30))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    normal = rate + ndtri(levels) * np.sqrt(rate)
    np.testing.assert_allclose(found, normal, rtol=1e-10, atol=2.0 + ndtri(0.99) ** 2)


@pytest.mark.parametrize("rate", [1e3, 1e12, 1e30, 1e65])
def test_draws_of_counts_at_any_rate(rate):
    drawn = RESPONSES["poisson"].draw(np.full(4000, np.log(rate)), np.ones(4000), np.random.RandomState(0))
    assert (drawn == np.floor(drawn)).all()
    assert drawn.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate / 4000), rel=1e-13)
    if rate < 1e30:  # beyond, the spread is lost in rounding
        assert drawn.std() == pytest.approx(np.sqrt(rate), rel=0.05)


def test_estimators_draw_counts_at_any_rate():
    X, _ = data()
    fitted = make(n_components=1, family="poisson").fit(X, counts(X))
    drawn, _ = fitted.sample(X, offset=np.full(N, np.log(1e15)))
    np.testing.assert_allclose(drawn, fitted.predict(X, offset=np.full(N, np.log(1e15))), rtol=1e-4)


@pytest.mark.parametrize("rate", [1.0, 1e4, 1e12])
def test_quantiles_of_counts_take_no_time(rate, monkeypatch):
    asked = []
    ppf = stats.poisson.ppf
    monkeypatch.setattr(stats.poisson, "ppf", lambda q, mu: asked.append(np.max(mu)) or ppf(q, mu))
    RESPONSES["poisson"].quantile(np.array([0.5]), np.log([rate]), np.ones(1))
    assert max(asked, default=0.0) < 1e8  # 0.2 ms for one number


@pytest.mark.parametrize("kind", some_slow(REGRESSORS, [MixtureOfExperts]))
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_many_quantiles_at_once(kind, family):
    X, y = data()
    fitted = make(kind, n_init=1, family=family).fit(X, counts(X) if family == "poisson" else y)
    levels = np.linspace(0.01, 0.99, 99)
    wide = np.tile(X, (10, 1))  # more than one batch
    found = fitted.predict_quantiles(wide, levels)
    assert found.shape == (len(wide), 99)
    assert (np.diff(found, axis=1) >= 0).all()
    for j in (0, 49, 98):
        np.testing.assert_allclose(found[:N, j], fitted.predict_quantiles(X, levels[j]), rtol=1e-9)


@pytest.mark.parametrize("kind", some_slow(REGRESSORS, [MixtureOfExperts]))
@pytest.mark.parametrize("case", ["ordinary", "two ones", "an outlier", "offsets"])
def test_predictions_of_hard_counts_are_finite(kind, case):
    rng = np.random.RandomState(0)
    X, offset = rng.normal(size=(N, 2)), None
    y = {
        "ordinary": rng.poisson(3.0, size=N) * 1.0,
        "two ones": 1.0 * (np.arange(N) < 2),
        "an outlier": np.r_[np.zeros(N - 1), 1e6],
        "offsets": np.arange(N) % 5 * 1.0,
    }[case]
    if case == "offsets":
        offset = np.linspace(-30, 30, N)
    messages_of(make(kind, family="poisson"), X, y, offset=offset)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_max_iter_reached(kind):
    X, y = problem(kind)
    for max_iter in (1, 2, 5):  # of the second regressions have no idea
        estimator = make(kind, max_iter=max_iter, acceleration="none")
        messages = messages_of(estimator, X, y)
        gap = f"a projected {estimator.gap_:.3g}" if np.isfinite(estimator.gap_) else "an unknown number of"
        assert messages[-1] == (
            f"EM stopped short of tol=0.0001, at max_iter={max_iter}, with {gap} nats still to be gained. "
            "Increase max_iter, or reduce n_components."
        )
        assert estimator.n_iter_ <= max_iter
        assert not estimator.converged_


# -- frames ------------------------------------------------------------------------------------------------


POLARS = pytest.param(
    pl.DataFrame,
    pl.Series,
    marks=POLARS_HAS_NAMES,
    id="polars",
)


@pytest.mark.parametrize(("frame", "series"), [pytest.param(pd.DataFrame, pd.Series, id="pandas"), POLARS])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_frames_and_series(kind, frame, series):
    X, y = problem(kind)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    given = {
        "sample_weight": np.linspace(0.5, 2.0, N),
        "offset": 0.1 * X[:, 2],
        "groups": np.array([f"g{i // 4}" for i in range(N)]),
    }
    table = frame(dict(zip(["one", "two", "three"], X.T, strict=True)))
    as_series = {name: series(value.tolist()) for name, value in given.items()}
    named, numbers = {"shared_coef": ["three"]}, {"shared_coef": [2]}
    if kind is not MixtureOfLinearRegressions:
        named["gate_features"], numbers["gate_features"] = "two", 1
    fitted = make(kind, **named).fit(table, series(y.tolist()), **as_series)
    assert list(fitted.feature_names_in_) == ["one", "two", "three"]
    assert fitted.n_features_in_ == 3
    plain = make(kind, **numbers).fit(X, y, **given)
    same_fit(fitted, plain, rtol=1e-10)
    np.testing.assert_array_equal(
        fitted.predict(table, offset=as_series["offset"]), plain.predict(X, offset=given["offset"])
    )
    weight = as_series.pop("sample_weight")
    np.testing.assert_allclose(
        fitted.score_samples(table, series(y.tolist()), **as_series),
        plain.score_samples(X, y, groups=given["groups"], offset=given["offset"]),
    )
    score = fitted.score(table, series(y.tolist()), sample_weight=weight, offset=as_series["offset"])
    assert score == pytest.approx(plain.score(X, y, given["sample_weight"], offset=given["offset"]))


def test_a_series_whose_index_is_shuffled_goes_by_position():
    X, y = data()
    index = np.random.RandomState(0).permutation(N)
    frame = pd.DataFrame(X, index=index, columns=list("abc"))
    fitted = make().fit(frame, pd.Series(y), sample_weight=pd.Series(np.linspace(1, 2, N), index=index[::-1]))
    same_fit(fitted, make().fit(X, y, sample_weight=np.linspace(1, 2, N)), rtol=1e-12)


def test_two_columns_of_a_frame_as_trials():
    X, _ = data()
    rng = np.random.RandomState(0)
    trials = rng.randint(1, 9, size=N)
    successes = rng.binomial(trials, np.where(np.arange(N) % 2, 0.2, 0.8))
    frame = pd.DataFrame({"won": successes, "lost": trials - successes})
    fitted = make(family="binomial").fit(X, frame)
    same_fit(fitted, make(family="binomial").fit(X, frame.to_numpy()), rtol=1e-12)
    assert fitted.score(X, frame) == pytest.approx(fitted.score(X, frame.to_numpy()))
    for method in (fitted.bic, fitted.score_samples, fitted.predict_proba):
        np.testing.assert_allclose(method(X, frame), method(X, frame.to_numpy()))


def test_a_column_vector_as_y_warns_as_in_scikit_learn():
    X, y = data()
    with pytest.warns(sklearn.exceptions.DataConversionWarning, match="column-vector y"):
        fitted = make().fit(X, y[:, None])
    same_fit(fitted, make().fit(X, y), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, object])
def test_types_of_numbers(dtype):
    X, y = data()
    X, y = np.round(4 * X), np.round(8 * y)
    fitted = make().fit(X.astype(dtype), y.astype(dtype))
    same_fit(fitted, make().fit(X, y), rtol=1e-6)


@pytest.mark.parametrize("labels", [["down", "up"], [3, 7], [False, True], [-1.0, 1.0]])
def test_classes_of_any_kind(labels):
    X, y = data()
    y = np.array(labels)[((y + np.random.RandomState(1).normal(size=N)) > 0).astype(int)]
    fitted = make(MixtureOfExpertsClassifier).fit(X, y)
    assert fitted.classes_.tolist() == labels
    assert fitted.classes_.dtype == y.dtype
    predicted = fitted.predict(X)
    assert predicted.dtype == y.dtype
    assert set(predicted) <= set(labels)
    np.testing.assert_array_equal(predicted, fitted.classes_[fitted.predict_proba(X).argmax(axis=1)])
    assert fitted.score(X, y) == pytest.approx(np.mean(predicted == y))
    drawn, _ = fitted.sample(X)
    assert set(drawn) == set(labels)
    assert drawn.dtype == y.dtype
    assert fitted.score_samples(X, y).sum() == pytest.approx(fitted.log_likelihood_)
    chance = fitted.predict_proba(X)[np.arange(N), (y == labels[1]).astype(int)]
    np.testing.assert_allclose(np.exp(fitted.score_samples(X, y)), chance)


# -- the race ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_starts_are_drawn_until_few_maxima_are_unseen(kind):
    X, y = data(200)
    y = target(kind, y)
    for n_init in (1, 2, 6):  # too few to tell
        assert len(make(kind, n_init=n_init).fit(X, y).restarts_.starts) == n_init
    restarts = make(kind, n_init=200).fit(X, y).restarts_
    n, w = len(restarts.starts), restarts.n_maxima
    assert 7 <= n < 200
    assert restarts.unseen <= 0.05
    assert w >= 1
    counted = sum(start.status in ("best", "finished", "dropped") for start in restarts.starts)
    assert restarts.unseen == pytest.approx(w * (w + 1) / (counted * (counted - 1)))


def test_starts_that_agree_need_no_others():
    restarts = make(n_init=30).fit(*data(400)).restarts_
    assert (restarts.n_best, restarts.n_maxima, len(restarts.starts)) == (7, 1, 7)
    assert restarts.unseen == pytest.approx(2 / 42)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_components_that_differ_in_their_noise_alone(kind):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 2))
    noise = np.where(rng.uniform(size=300) < 0.5, 0.1, 1.0)
    y = X @ [1.0, 2.0] + noise * rng.normal(size=300)
    plain, fitted = (
        make(kind, fit_intercept=False, shared_coef=[0, 1], acceleration=acceleration).fit(X, y)
        for acceleration in ("none", "auto")
    )
    assert plain.n_parameters_ == 2 + 2 + (1 if kind is MixtureOfLinearRegressions else 3)
    np.testing.assert_allclose(np.sort(plain.sigma_), [0.1, 1.0], rtol=0.15)
    assert all(start.status != "failed" for start in fitted.restarts_.starts)
    assert fitted.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-3)


# -- company -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pipeline(kind):
    X, y = data()[0], noisy(kind)
    expert = make(kind, n_init=1, alpha=1.0)
    pipeline = make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler(), expert)
    pipeline.fit(X, y)
    assert pipeline[-1].coef_.shape == (2, 9)
    assert pipeline.predict(X).shape == (N,)
    assert pipeline.score(X, y) > 0.1
    frame = pd.DataFrame(X, columns=list("abc"))
    named = clone(pipeline).set_output(transform="pandas").fit(frame, y)
    assert list(named[-1].feature_names_in_) == list(named[:-1].get_feature_names_out())
    with pytest.warns(ConvergenceWarning, match="coefficients of column 0 are not determined"):
        make_pipeline(PolynomialFeatures(2), make(kind, 1, alpha=0.0)).fit(X, noisy(kind))


def noisy(kind):
    """A response that nothing separates."""
    noise = np.random.RandomState(5).normal(size=N) * (kind is MixtureOfExpertsClassifier)
    return target(kind, data()[1] + 2 * noise)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # 80 rows are soon separated
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_grid_search_without_a_scorer(kind):
    X, y = data()[0], noisy(kind)
    gate = {} if kind is MixtureOfLinearRegressions else {"gate_alpha": 1.0}
    estimator = make(kind, n_init=1, **gate)
    search = GridSearchCV(estimator, {"n_components": [1, 2], "alpha": [1.0, 10.0]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    by_hand = cross_val_score(clone(estimator).set_params(**search.best_params_), X, y, cv=2)
    assert search.best_score_ == pytest.approx(by_hand.mean())
    assert search.predict(X).shape == (N,)


@pytest.mark.parametrize("kind", some_slow(ESTIMATORS, [MixtureOfLinearRegressions]))
def test_metadata_routing(kind):
    X, y = problem(kind)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    groups, weight, offset = np.repeat(np.arange(30), 4), np.linspace(0.5, 2.0, N), 0.1 * X[:, 2]
    gate = {} if kind is MixtureOfLinearRegressions else {"gate_features": [1]}
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = (
            make(kind, n_init=2, **gate)
            .set_fit_request(sample_weight=True, groups=True, offset=True)
            .set_score_request(sample_weight=True, offset=True)
        )
        search = GridSearchCV(estimator, {"alpha": [0.1, 10.0]}, cv=GroupKFold(3))
        search.fit(X, y, sample_weight=weight, groups=groups, offset=offset)
    expected = []
    for train, test in GroupKFold(3).split(X, y, groups):
        fold = clone(search.best_estimator_).fit(
            X[train], y[train], weight[train], groups=groups[train], offset=offset[train]
        )
        expected.append(fold.score(X[test], y[test], weight[test], offset=offset[test]))
    assert search.best_score_ == pytest.approx(np.mean(expected))
    whole = make(kind, n_init=2, **gate, **search.best_params_).fit(X, y, weight, groups=groups, offset=offset)
    same_fit(search.best_estimator_, whole, rtol=1e-10)


def test_requests_of_each_method():
    with sklearn.config_context(enable_metadata_routing=True):
        for kind in ESTIMATORS:
            requests = kind().get_metadata_routing()
            of_fit = {"sample_weight": None, "groups": None, "offset": True, "start_labels": None}
            assert requests.fit.requests == of_fit
            assert requests.score.requests == {"sample_weight": None, "offset": True}
            assert requests.predict.requests["offset"] is True
            assert requests.predict_proba.requests["offset"] is True
            # What else these take is not handed over unless it is asked for.
            others = {**requests.predict.requests, **requests.predict_proba.requests}
            assert {name for name, request in others.items() if request} == {"offset"}


@pytest.mark.parametrize("kind", some_slow(ESTIMATORS, [MixtureOfLinearRegressions]))
def test_an_offset_arrives_by_default_and_groups_if_asked_for(kind):
    X, y = data()[0], noisy(kind)
    X[:, 1] = np.repeat(X[:30, 1], 4)
    groups, offset = np.repeat(np.arange(30), 4), 0.3 * X[:, 2]
    gate = {} if kind is MixtureOfLinearRegressions else {"gate_features": [1]}
    estimator = make(kind, n_init=2, alpha=1.0, **gate)
    splits = list(GroupKFold(3).split(X, y, groups))
    folds, asked_for = [], []
    for train, _ in splits:
        given = {"X": X[train], "y": y[train], "offset": offset[train]}
        folds.append(clone(estimator).fit(**given))
        asked_for.append(clone(estimator).fit(**given, groups=groups[train]))
    with sklearn.config_context(enable_metadata_routing=True):
        # Groups are of those who cross-validate by them, or of the fit too.
        params = {"groups": groups, "offset": offset}
        refusing = clone(estimator).set_fit_request(groups=False)
        asking = clone(estimator).set_fit_request(groups=True)
        scores = cross_val_score(refusing, X, y, cv=GroupKFold(3), params=params)
        scores_of_groups = cross_val_score(asking, X, y, cv=GroupKFold(3), params=params)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="groups"):
            cross_val_score(estimator, X, y, cv=GroupKFold(3), params=params)
        pipeline = make_pipeline(StandardScaler(), asking).fit(X, y, groups=groups, offset=offset)
        of_pipeline = pipeline.predict(X, offset=offset)
        proba = pipeline.predict_proba(X, offset=offset)
    scaled = StandardScaler().fit_transform(X)
    whole = clone(estimator).fit(scaled, y, groups=groups, offset=offset)
    np.testing.assert_array_equal(of_pipeline, whole.predict(scaled, offset=offset))
    np.testing.assert_array_equal(proba, whole.predict_proba(scaled, offset=offset))
    for found, fits in ((scores, folds), (scores_of_groups, asked_for)):
        for fold, (_, test), score in zip(fits, splits, found, strict=True):
            assert score == pytest.approx(fold.score(X[test], y[test], offset=offset[test]))
            without = fold.score(X[test], y[test], offset=np.zeros(len(test)))
            assert score != without or kind is MixtureOfExpertsClassifier


@pytest.mark.parametrize("kind", some_slow(ESTIMATORS, [MixtureOfExperts]))
def test_cross_val_predict(kind):
    X, y = problem(kind)
    found = cross_val_predict(make(kind, n_init=2), X, y, cv=3)
    assert found.shape == (N,)
    assert found.dtype.kind == ("U" if kind is MixtureOfExpertsClassifier else "f")
    if kind is MixtureOfExpertsClassifier:  # of regressors it asks for classes_
        proba = cross_val_predict(make(kind, n_init=2), X, y, cv=3, method="predict_proba")
        np.testing.assert_array_equal(np.array(["down", "up"])[proba.argmax(axis=1)], found)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_clone_pickle_and_joblib(kind, tmp_path):
    X, y = problem(kind)
    fitted = make(kind).fit(X, y, offset=0.1 * X[:, 0], groups=None)
    offset = 0.2 * X[:, 1]
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "coef_")
    joblib.dump(fitted, tmp_path / "fitted")
    for again in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "fitted")):
        same_fit(again, fitted, rtol=0)
        np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
        found = again.score_samples(X, y, offset=offset)
        np.testing.assert_array_equal(found, fitted.score_samples(X, y, offset=offset))
    grouped = make().fit(*data(), groups=np.arange(N) // 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(grouped)).predict(X), grouped.predict(X))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_set_params_and_refit_forget_the_last_fit(kind):
    X, y = problem(kind)
    once = make(kind, 1).fit(X, y)
    again = make(kind, 2).fit(X[:80], y[:80]).set_params(n_components=1).fit(X, y)
    same_fit(once, again, rtol=0)
    assert set(vars(once)) == set(vars(again))


def test_refit_with_another_family_leaves_no_sigma():
    X, y = data()
    fitted = make(n_components=1).fit(X, y)
    fitted.set_params(family="poisson").fit(X, counts(X))
    assert not hasattr(fitted, "sigma_")


def test_refit_with_arrays_leaves_no_names():
    X, y = data()
    fitted = make().fit(pd.DataFrame(X, columns=list("abc")), y).fit(X, y)
    assert not hasattr(fitted, "feature_names_in_")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_warm_start(kind):
    X, y = problem(kind)
    fitted = make(kind, alpha=0.1, warm_start=True).fit(X, y)
    before, n_iter = fitted.log_likelihood_, fitted.n_iter_
    fitted.fit(X, y)
    assert [start.kind for start in fitted.restarts_.starts] == ["warm"]
    assert fitted.n_iter_ < n_iter
    assert fitted.log_likelihood_ == pytest.approx(before, abs=1e-3)
    last = pickle.loads(pickle.dumps(fitted))
    moved = fitted.fit(1.01 * X + 0.02, y)  # the last parameters are carried over in the user's units
    assert moved.converged_
    state = dict(vars(fitted))
    with pytest.raises(ValueError, match="another n_components"):
        fitted.set_params(n_components=3).fit(X, y)
    assert vars(fitted) == {**state, "n_components": 3}
    with pytest.raises(ValueError, match="other features"):
        last.fit(X[:, :2], y)
    if kind is not MixtureOfLinearRegressions:
        with pytest.raises(ValueError, match="other features"):
            last.set_params(gate_features=[0]).fit(X, y)
    if kind is not MixtureOfExpertsClassifier:
        with pytest.raises(ValueError, match="family or kind of variance"):
            last.set_params(shared_variance=True).fit(X, y)


def test_warm_start_begins_where_the_last_fit_ended():
    X, y = data()
    for kind in REGRESSORS:
        fitted = make(kind, warm_start=True).fit(X, y)
        last = pickle.loads(pickle.dumps(fitted))
        X2, y2 = 2 * X[:90] - 1, 5 * y[:90] + 3
        fitted.fit(X2, y2)
        ridge = 0.0
        if kind is MixtureOfExperts:
            ridge = 0.5 * last.gate_alpha * ((last.gate_coef_ * X2.std(axis=0)) ** 2).sum()
        there = (last.score_samples(X2, y2).sum() - ridge) / 90
        assert fitted.lower_bounds_[0] == pytest.approx(there, rel=1e-7)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(
    "options",
    [
        {"shared_coef": [0]},
        {"shared_coef": [0, 1, 2]},
        {"min_variance_ratio": 0.1},
        {"min_variance_ratio": 0.9, "shared_coef": [1]},
        {"fit_intercept": False},
    ],
    ids=str,
)
def test_warm_starts_are_legal_or_refused(kind, options):
    X, y = problem(kind)
    if kind is not MixtureOfExpertsClassifier:  # noise that differs
        y = y + np.where(X[:, 1] > 0, 0.0, 2.0) * np.random.RandomState(1).normal(size=N)
    elif "min_variance_ratio" in options:
        pytest.skip("classes have no noise")
    fitted = make(kind, warm_start=True).fit(X, y).set_params(**options)
    if "fit_intercept" in options:
        with pytest.raises(ValueError, match="warm_start=True continues the last fit, but"):
            fitted.fit(X, y)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it may rest on the ratio
        fitted.fit(X, y)
    assert [start.kind for start in fitted.restarts_.starts] == ["warm"]
    assert np.ptp(fitted.coef_[:, options.get("shared_coef", [])], axis=0).sum() == 0.0
    assert np.diff(fitted.lower_bounds_).min() > -1e-10
    ratio = options.get("min_variance_ratio", 0.0)
    if ratio:
        assert fitted.sigma_.min() ** 2 >= ratio * fitted.sigma_.max() ** 2 * (1 - 1e-12)


def test_verbose(capsys):
    X, y = data()
    make().fit(X, y)
    assert capsys.readouterr().out == ""
    make(verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert "s] start 0 (random): " in lines[0]
    assert "s] MixtureOfLinearRegressions: <Restarts: " in lines[-1]
    assert " starts at the best of " in lines[-1]
    make(verbose=2).fit(X, y)
    assert len(capsys.readouterr().out.splitlines()) > len(lines) + 20


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_interrupted_fit_changes_nothing(kind, monkeypatch):
    X, y = problem(kind)
    fresh, fitted = make(kind), make(kind).fit(X, y)
    expected = fitted.predict_proba(X)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.RegressionStarts, "_random", interrupt)
    for estimator in (fresh, fitted):
        before = dict(vars(estimator))
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(pd.DataFrame(X[:60, :2], columns=["a", "b"]), y[:60])
        assert vars(estimator) == before
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_an_interrupted_iteration_changes_nothing():
    pytest.importorskip("sklearn.callback")

    estimator = make().set_callbacks(Interrupt())
    before = dict(vars(estimator))
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(*data())
    assert vars(estimator) == before


def test_transformed_target():
    X, y = data()
    fitted = TransformedTargetRegressor(make(), func=np.arcsinh, inverse_func=np.sinh).fit(X, y)
    np.testing.assert_allclose(fitted.predict(X), np.sinh(make().fit(X, np.arcsinh(y)).predict(X)))


def test_bagging():
    X, y = data()
    fitted = BaggingRegressor(make(n_init=2), n_estimators=4, random_state=0).fit(X, y)
    assert np.isfinite(fitted.predict(X)).all()
    members = np.mean([member.predict(X) for member in fitted.estimators_], axis=0)
    np.testing.assert_allclose(fitted.predict(X), members)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # classes apart in one feature
def test_one_vs_rest():
    X, _ = data()
    y = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    fitted = OneVsRestClassifier(make(MixtureOfExpertsClassifier, 2, alpha=0.1, n_init=2)).fit(X, y)
    assert fitted.score(X, y) > 0.85
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1.0)


def test_repr_and_tags():
    expected = "MixtureOfLinearRegressions(alpha=1.0, n_components=3)"
    assert repr(MixtureOfLinearRegressions(3, alpha=1.0)) == expected
    for kind in ESTIMATORS:
        tags = sklearn.utils.get_tags(kind())
        assert tags.target_tags.required
        assert tags.estimator_type == ("classifier" if kind is MixtureOfExpertsClassifier else "regressor")
        assert not tags.input_tags.allow_nan
        assert not tags.input_tags.sparse
