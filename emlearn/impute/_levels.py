"""Which level a missing category has, by the joint distribution of its indicators and all else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import linalg, special

from emlearn.families import FactorGaussian
from emlearn.families.patterns import group_columns

LEAST = 1e-12  # least eigenvalue of a conditional covariance, relative to the variances of indicators


def with_levels(imputer, X, filled=None, rng=None):
    """Rows with a level for each category without order that they lack, as indicators.

    Parameters
    ----------
    imputer : EMImputer
    X : ndarray of shape (n, D)
        As the imputer reads it.
    filled : ndarray of shape (n, D), default=None
        Where the levels are written, the most probable given X. None: a copy of X.
    rng : RandomState, default=None
        Levels are drawn, each given what is observed and the categories before it.

    Returns
    -------
    filled : ndarray of shape (n, D)
    """
    if filled is None:
        filled = X.copy() if imputer._nominal else X
    for category in imputer._nominal:
        rows = np.flatnonzero(np.isnan(X[:, category.at[0]]))
        if not len(rows) or len(category.labels) < 2:
            continue
        likely = level_probabilities(imputer, X[rows] if rng is None else filled[rows], category)
        if rng is None:
            level = likely.argmax(axis=1)
        else:
            level = (likely.cumsum(axis=1) < rng.uniform(size=(len(rows), 1))).sum(axis=1)
            level = np.minimum(level, len(category.labels) - 1)
        filled[np.ix_(rows, category.at)] = level[:, None] == category.indicated
    return filled


def level_probabilities(imputer, X, category):
    """Probabilities of the levels of a category that rows lack, given what they have, (n, L).

    By Bayes' rule, as in discriminant analysis: a level counts by its share, times the density of what a row
    has, given the indicators of this level. The means of indicators themselves would be no probabilities, and
    hide levels between others.
    """
    levels = np.arange(len(category.labels))
    share = category.shares(imputer.means_[:, category.at])  # (K, L)
    levels = np.flatnonzero((share > 0).any(axis=0))
    indicators = (levels[:, None] == category.indicated).astype(np.float64)
    densities = _by_engine if isinstance(imputer._model.family, FactorGaussian) else _by_pattern
    with np.errstate(divide="ignore"):
        log_share = np.log(np.clip(share[:, levels], 0.0, None))
    score = special.logsumexp(densities(imputer, X, category.at, indicators) + log_share.T, axis=2)
    score = np.where(np.isfinite(score), score, -1e300)  # which a row far off may have of all
    likely = np.zeros((len(X), len(category.labels)))
    likely[:, levels] = np.exp(score - score.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def _by_pattern(imputer, X, at, indicators):
    """Log of weight times density of what rows have, given each level's indicators, (n, L, K).

    Up to a constant of each row. It is the density of the indicators given the row, over that of the indicators
    alone: one factorisation for each pattern of missing entries serves all levels.
    """
    features = imputer._features
    modelled = np.isin(at, features)
    at, indicators = at[modelled], indicators[:, modelled]
    order, bounds = group_columns(np.isnan(X[:, features]).T)
    out = np.zeros((len(X), len(indicators), len(imputer.weights_)))
    for k, (mean, covariance) in enumerate(zip(imputer.means_, imputer.covariances_, strict=True)):
        prior = covariance[np.ix_(at, at)]
        of_level = _log_normal(indicators - mean[at], prior, prior)
        for first, end in pairwise(bounds):
            rows = order[first:end]
            o = features[~np.isnan(X[rows[0], features])]
            slopes = _slopes(covariance[np.ix_(o, o)], covariance[np.ix_(o, at)])
            expected = mean[at] + (X[np.ix_(rows, o)] - mean[o]) @ slopes
            rest = prior - covariance[np.ix_(at, o)] @ slopes
            out[rows, :, k] = _log_normal(indicators - expected[:, None], rest, prior) - of_level
    return out + _log_density(imputer, X)[:, None] if len(imputer.weights_) > 1 else out


def _slopes(covariance, beside):
    """Slopes of a regression, of covariances of what it is on, which may be singular."""
    scale = np.sqrt(np.diag(covariance))
    correlations = covariance / np.outer(scale, scale)
    try:
        factor = linalg.cho_factor(correlations)
        slopes = linalg.cho_solve(factor, beside / scale[:, None])
    except linalg.LinAlgError:
        slopes = linalg.pinvh(correlations) @ (beside / scale[:, None])
    return slopes / scale[:, None]


def _log_normal(x, covariance, prior):
    """Log-density of rows x (..., b), of a covariance that is not less than a tiny share of another."""
    scale = np.sqrt(np.diag(prior))
    values, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    values = np.maximum(values, LEAST)
    return -0.5 * (((x / scale) @ axes) ** 2 / values).sum(axis=-1) - 0.5 * np.log(values).sum()


def _by_engine(imputer, X, at, indicators):
    """The same of factors, whose covariances are not to be made."""
    rows, alone = X.copy(), np.full((1, X.shape[1]), np.nan)
    out = np.empty((len(X), len(indicators), len(imputer.weights_)))
    with np.errstate(divide="ignore"):
        log_weights = np.log(imputer.weights_)
    for level, codes in enumerate(indicators):
        rows[:, at] = alone[:, at] = codes
        of_level = _log_density(imputer, alone)
        given = np.where(np.isfinite(of_level), _log_density(imputer, rows) - of_level, -np.inf)
        out[:, level] = given + log_weights
    return out


def _log_density(imputer, X):
    """Log-density of rows in each component, times its weight, in the units of the fit, (n, K)."""

    def of_batch(done, resp, log_density, missing):
        with np.errstate(divide="ignore"):
            return (np.log(resp) + log_density).T

    return np.concatenate(imputer._complete(imputer._modelled(X), of_batch))
