"""Which level a missing category has, by the joint distribution of its indicators and all else."""

from __future__ import annotations

import numpy as np
from scipy import special


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
    with np.errstate(divide="ignore"):
        log_share = np.log(np.clip(category.shares(imputer.means_[:, category.at]), 0.0, None))
    log_share += np.log(imputer.weights_)[:, None]  # (K, L)
    score = np.full((len(X), len(levels)), -np.inf)
    rows, alone = X.copy(), np.full((1, X.shape[1]), np.nan)
    for level in np.flatnonzero(np.isfinite(log_share).any(axis=0)):
        rows[:, category.at] = alone[:, category.at] = level == category.indicated
        of_level = _log_density(imputer, alone)
        given = np.where(np.isfinite(of_level), _log_density(imputer, rows) - of_level, -np.inf)
        score[:, level] = special.logsumexp(given + log_share[:, level], axis=1)
    score = np.where(np.isfinite(score), score, -1e300)  # which a row far off may have of all
    likely = np.exp(score - score.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def _log_density(imputer, X):
    """Log-density of rows in each component, times its weight, in the units of the fit, (n, K)."""

    def of_batch(done, resp, log_density, missing):
        with np.errstate(divide="ignore"):
            return (np.log(resp) + log_density).T

    return np.concatenate(imputer._complete(imputer._modelled(X), of_batch))
