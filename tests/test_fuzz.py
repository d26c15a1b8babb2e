"""Fits of all kinds of odd data raise no warning of NumPy, no error but ValueError, and predict no NaN."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from emlearn import (
    HMMEM,
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.em import MonotonicityWarning

N_FITS = 5_000
N_PARTS = 25

SHAPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
MORE_SHAPES = [*SHAPES, "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "factor"]


def some_rows(rng):
    """Rows (n, d) as they come: few, tied, constant, collinear, of odd scales, with outliers."""
    n, d = int(rng.choice([1, 2, 3, 5, 8, 20, 60])), int(rng.choice([1, 1, 2, 3, 6]))
    X = rng.normal(size=(n, d)) + rng.choice([0.0, 3.0]) * rng.randint(3, size=(n, 1))
    what = rng.choice(
        ["plain", "integers", "constant", "collinear", "same rows", "outlier", "binary", "sorted"]
    )
    if what == "integers":
        X = X.round()
    elif what == "constant":
        X[:, rng.randint(d)] = rng.choice([0.0, 1e-300, 7.0, 1e200])
    elif what == "collinear":
        X[:, -1] = X[:, 0]
    elif what == "same rows":
        X = X[rng.randint(max(1, n // 3), size=n)]
    elif what == "outlier":
        X[rng.randint(n)] *= rng.choice([1e3, 1e8])
    elif what == "binary":
        X = (X > 0).astype(float)
    elif what == "sorted":
        X.sort(axis=0)
    with np.errstate(over="ignore"):
        X = X * 10.0 ** rng.choice([0, 0, 0, -8, 8, -130, 130]) + rng.choice([0.0, 0.0, 1e6])
    return X.astype(np.float32) if rng.uniform() < 0.15 and np.abs(X).max() < 1e30 else X


def some_weights(rng, n):
    if rng.uniform() < 0.6:
        return None
    weight = rng.choice([1.0, 0.0, 1e-300, 1e200, 0.3], size=n) if rng.uniform() < 0.5 else rng.uniform(size=n)
    return weight * rng.choice([1.0, 1e-100, 1e3])


def with_gaps(rng, X):
    if rng.uniform() < 0.5:
        return X
    return np.where(rng.uniform(size=X.shape) < rng.choice([0.05, 0.5]), np.nan, X)


def counts_of(rng, n, kind):
    if kind == "poisson":
        return rng.poisson(rng.choice([0.01, 2.0, 1e4]), size=n).astype(float)
    return rng.choice([0.0, 1.0, 1e-8, 1e8]) * rng.normal(size=n) + rng.choice([0.0, 1e5])


def some_fit(rng):
    """An estimator, what it is fitted to, and what is asked of it afterwards."""
    X, K = some_rows(rng), int(rng.choice([1, 2, 3]))
    common = {
        "n_components": K,
        "n_init": int(rng.choice([1, 2])),
        "max_iter": int(rng.choice([0, 1, 5, 15])),
        "random_state": int(rng.randint(10)),
    }
    weight = some_weights(rng, len(X))
    kind = rng.choice(["mixture", "bayes", "chain", "imputer", "lines", "experts", "classes"])
    if kind == "mixture":
        model = GaussianMixtureEM(covariance_type=rng.choice(MORE_SHAPES), **common)
        return model, (with_gaps(rng, X), None, weight), ["predict_proba", "score_samples"]
    if kind == "bayes":
        process = rng.choice(["dirichlet_process", "dirichlet_distribution", "pitman_yor"])
        model = BayesianGaussianMixtureEM(
            covariance_type=rng.choice(SHAPES), weight_concentration_prior_type=process, **common
        )
        counts = None if weight is None else np.clip(weight, 0.0, 1e30)
        return model, (with_gaps(rng, X), None, counts), ["predict_proba", "score_samples"]
    if kind == "chain":
        emission = rng.choice(["gaussian", "gaussian", "poisson", "categorical", "bernoulli"])
        if emission != "gaussian":
            with np.errstate(invalid="ignore"):
                X = np.abs(rng.poisson(2, size=X.shape).astype(float))
            X = (X > 1).astype(float) if emission == "bernoulli" else X
        shape = {"covariance_type": rng.choice(SHAPES)} if emission == "gaussian" else {}
        model = HMMEM(emission=emission, **shape, **common)
        return model, (with_gaps(rng, X), None, None), ["predict_proba", "filter_proba", "predict"]
    if kind == "imputer":
        model = EMImputer(covariance_type=rng.choice(MORE_SHAPES), **common)
        return model, (with_gaps(rng, X), None, weight), ["transform", "score_samples"]
    if kind == "classes":
        y = rng.randint(2, size=len(X))
        return MixtureOfExpertsClassifier(**common), (X, y, weight), ["predict_proba", "predict_log_proba"]
    family = rng.choice(["gaussian", "poisson"])
    make = MixtureOfLinearRegressions if kind == "lines" else MixtureOfExperts
    alpha = rng.choice([0.0, 1.0, 1e200 if weight is None else 1e20])
    model = make(family=family, alpha=alpha, **common)
    return model, (X, counts_of(rng, len(X), family), weight), ["predict"]


def check(seed):
    rng = np.random.RandomState(seed)
    model, (X, y, weight), questions = some_fit(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", MonotonicityWarning)
        try:
            model.fit(X, y, sample_weight=weight)
        except np.linalg.LinAlgError as error:  # a ValueError, but none of ours
            raise AssertionError(error) from error
        except ValueError:
            return False
        for question in questions:
            answer = getattr(model, question)(X)
            if question != "score_samples":
                assert not np.isnan(answer).any(), question
    return True


@pytest.mark.slow
@pytest.mark.parametrize("part", range(N_PARTS))
def test_odd_data(part):
    n_fitted = 0
    for seed in range(part * N_FITS // N_PARTS, (part + 1) * N_FITS // N_PARTS):
        try:
            n_fitted += check(seed)
        except Exception as error:
            raise AssertionError(f"check({seed}) fails: {error!r}") from error
    assert n_fitted > N_FITS // N_PARTS // 3
