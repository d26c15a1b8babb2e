"""What a type checker makes of imputation, of what is missing and of pictures. Checked by mypy, not run."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import emlearn
from emlearn import (
    HMMEM,
    EMImputer,
    MultipleImputation,
    ampute,
    little_mcar_test,
    missing_patterns,
    overimpute,
    pool,
)
from emlearn.datasets import load_airquality
from emlearn.display import ConvergenceDisplay, HMMDisplay, MissingPatternDisplay, OverimputeDisplay
from emlearn.impute import Pooled
from emlearn.missing import LittleTest, MissingPatterns, Overimputed

Floats = NDArray[np.float64]
Array = NDArray[Any]


def imputer(X: Floats) -> None:
    model = EMImputer(missing_values=-1, min_value=[0.0, -np.inf], random_state=0)
    assert_type(model.fit(X), EMImputer)
    assert_type(model.sample(X), list[Any])
    assert_type(model.sample(X, 5, lazy=True), Iterator[Any])
    assert_type(model.predict_interval(X, coverage=0.9), tuple[Array, Array])
    assert_type(model.covariance_, Floats)
    assert_type(model.score(X), float)
    assert_type(model.mean_, Array)


def multiple(X: Floats, y: list[float], regressor: object) -> None:
    model = MultipleImputation(regressor, 10, imputer=EMImputer())
    assert_type(model.fit(X, y), MultipleImputation)
    assert_type(model.predict(X), Array)
    assert_type(model.predict_proba(X), Floats)
    assert_type(model.imputers_, list[EMImputer])
    assert_type(pool(y, y), Pooled)
    assert_type(pool(y, y, df_complete=10).pvalue(), float | Floats)


def missing(X: Floats) -> None:
    patterns = missing_patterns(ampute(load_airquality().data, "mar", columns=["Ozone"]))
    assert_type(patterns, MissingPatterns)
    assert_type(patterns.observed, NDArray[np.bool_])
    assert_type(little_mcar_test(X), LittleTest)
    assert_type(little_mcar_test(X).pvalue, float)
    assert_type(overimpute(EMImputer(), X), Overimputed)
    assert_type(overimpute(EMImputer(), X).rmse, Floats)
    emlearn.show_versions()


def pictures(X: Floats, model: HMMEM) -> None:
    assert_type(HMMDisplay.from_estimator(model, X, line_kwargs={"lw": 2}), HMMDisplay)
    assert_type(ConvergenceDisplay.from_estimator(model).plot(legend=False), ConvergenceDisplay)
    assert_type(MissingPatternDisplay.from_data(X), MissingPatternDisplay)
    assert_type(OverimputeDisplay.from_estimator(EMImputer(), X, n_folds=3), OverimputeDisplay)


def mistakes(X: Floats) -> None:
    """Each of these is an error: an ignore that is not needed is one, too."""
    EMImputer(2)  # type: ignore[call-arg]
    ampute(X, "random")  # type: ignore[arg-type]
    MultipleImputation(EMImputer(), imputer="em")  # type: ignore[arg-type]
    print(little_mcar_test(X).p_value)  # type: ignore[attr-defined]
