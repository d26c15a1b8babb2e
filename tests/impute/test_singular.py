"""Exactly dependent columns, few rows and many gaps: EMImputer fits and draws, whatever the ridge."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from emlearn import EMImputer


def dependent(seed):
    """A small random table: sums, copies, one-hot columns, constants, few rows, ties, or all of these."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(4, 30)), int(rng.integers(1, 5))
    Z = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, size=d) + rng.choice([0, 10, 1e4])
    one_hot = np.eye(3)[rng.integers(3, size=n)]
    kinds = [
        lambda: np.c_[Z, Z.sum(axis=1)],
        lambda: np.c_[Z, Z[:, :1], 3 - 2 * Z[:, -1:]],
        lambda: np.c_[Z, one_hot],
        lambda: np.c_[Z, np.full((n, 2), 7.0)],
        lambda: rng.normal(size=(5, 7)),
        lambda: np.round(Z / Z.std(axis=0)),
        lambda: np.c_[Z, Z @ rng.normal(size=(d, d)), one_hot],
    ]
    Z = kinds[seed % len(kinds)]()
    X = np.where(rng.uniform(size=Z.shape) < rng.choice([0.05, 0.3, 0.6]), np.nan, Z)
    X[0, 0] = Z[0, 0]
    return X


@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 312), marks=pytest.mark.slow)], ids=len)
def test_dependent_tables_fit_and_draw(seeds):
    for seed in seeds:
        X, ridge = dependent(seed), (0.0, "auto")[seed // 7 % 2]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="X has|No row has", category=UserWarning)
            imputer = EMImputer(ridge=ridge, tol=0.1, max_iter=40, random_state=0).fit(X)
            results = [*imputer.sample(X, 1), imputer.transform(X)]
        assert all(np.isfinite(result).all() for result in results), seed
        assert not np.isnan(imputer.predict_interval(X)).any(), seed
        assert not np.isinf(imputer.fraction_missing_information_), seed


@pytest.mark.parametrize("n_components", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_plain_rows_near_a_singular_limit(n_components):
    """With 40 % missing of 25 × 6 the likelihood often has no maximum: nothing falls on the way."""
    for seed in range(4 // n_components):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(25, 6))
        X[rng.uniform(size=X.shape) < 0.4] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)
            kwargs = {"n_components": n_components, "n_init": 2, "max_iter": 100, "random_state": 0}
            imputer = EMImputer(ridge=0, **kwargs).fit(X)
        assert np.linalg.cond(imputer.covariance_) < 1e8
