"""What tests of estimators have in common."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.exceptions import ConvergenceWarning

SKLEARN_IS_RECENT = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9)
POLARS_HAS_NAMES = pytest.mark.skipif(
    not SKLEARN_IS_RECENT, reason="older scikit-learn takes no names from polars 2"
)
FRAMES = [pd.DataFrame, pytest.param(pl.DataFrame, marks=POLARS_HAS_NAMES)]


def fit_and_messages(estimator, *data, categories=(ConvergenceWarning,), **kwargs):
    """A fit, and what it warned of: of these categories, and pointing at the line that fits."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(*data, **kwargs)
    assert {warning.category for warning in caught} <= set(categories), [str(w.message) for w in caught]
    assert {warning.filename for warning in caught} <= {__file__}, "a warning points elsewhere than at fit"
    return estimator, [str(warning.message) for warning in caught]


class Interrupt:
    """A callback that interrupts the first iteration, as Ctrl-C would."""

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        raise KeyboardInterrupt


# Weights for n rows, and what is said of them.
BAD_WEIGHTS = {
    "negative": (lambda n: np.where(np.arange(n) == 4, -1.0, 1.0), "negative values, the first for row 4"),
    "zero": (lambda n: np.zeros(n), "zero for every row"),
    "short": (lambda n: np.ones(n - 1), r"shape \({short},\), but X has {n} rows"),
    "2d": (lambda n: np.ones((n, 2)), r"shape \({n}, 2\)|1D"),
    "nan": (lambda n: np.full(n, np.nan), "NaN"),
    "inf": (lambda n: np.full(n, np.inf), "infinity"),
}


def refuses_weights(call, n, name):
    """``call(sample_weight=...)`` says what is wrong with these weights."""
    weight, message = BAD_WEIGHTS[name]
    with pytest.raises(ValueError, match=message.format(n=n, short=n - 1)):
        call(sample_weight=weight(n))
