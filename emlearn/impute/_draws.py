"""Draws: of parameters by the Bayesian bootstrap, and of missing entries given the others."""

from __future__ import annotations

import copy

import numpy as np

from emlearn.em import Batches
from emlearn.em.fit import climb


def redrawn(imputer, Z, weight, seed):
    """A copy of a fitted imputer with parameters drawn anew, which draws what it imputes.

    EM goes on from the fit under random weights of the rows (Rubin's Bayesian bootstrap).

    Parameters
    ----------
    imputer : EMImputer
    Z : ndarray of shape (n, d')
        The rows of the fit, those of their features that are modelled.
    weight : ndarray of shape (n,) or None
    seed : int

    Returns
    -------
    drawn : EMImputer
    """
    rng = np.random.RandomState(seed)
    drawn = copy.copy(imputer)
    drawn.set_params(sample_posterior=True, random_state=rng.randint(np.iinfo(np.int32).max), n_jobs=1)
    if not len(imputer._features):
        return drawn
    # Gamma variates: those of a row of weight 2 are the sum of those of the row twice.
    shares = rng.standard_exponential(len(Z)) if weight is None else rng.standard_gamma(weight)
    total = len(Z) if weight is None else weight.sum()
    if not shares.any():
        raise ValueError(
            f"sample_weight sums to {total:g}: a weight says how often a row counts, and all of these are "
            "less than one row. Give larger weights."
        )
    shares *= total / shares.sum()
    model, units = imputer._model, imputer._units
    alone = len(imputer.weights_) == 1
    data = Batches(Z, shares)
    fit = climb(
        model,
        imputer._params,
        drawn._data_of_one(model, data, units) if alone else drawn._cut(data, model, units),
        tol=imputer.tol,
        max_iter=imputer.max_iter,
        acceleration=imputer.acceleration,
    )
    drawn._take(model, fit.params, units)
    return drawn


def draw(imputer, X, rng):
    """Draws of the missing entries that are modelled, row by row.

    Parameters
    ----------
    imputer : EMImputer
    X : ndarray of shape (n, d)
        In the user's units.
    rng : RandomState

    Returns
    -------
    values : ndarray of shape (cells,)
    """
    Z = imputer._modelled(X)
    incomplete = np.flatnonzero(np.isnan(Z).any(axis=1))
    if not len(incomplete):
        return np.empty(0)
    Z = Z[incomplete].astype(np.float64)
    resp = np.concatenate(imputer._complete(Z, lambda done, resp, *_: resp.T))
    return _draw_rows(imputer, Z, resp, rng)[np.isnan(Z)]


def _draw_rows(imputer, Z, resp, rng):
    """Rows Z with their missing entries drawn given the observed.

    A row drawn whole misses its own conditional mean by as much as a draw given what is observed misses
    that one (Matheron's rule), so that no conditional covariance is ever factored; and means being linear
    in what is observed, one of the difference serves.
    """
    labels = (resp.cumsum(axis=1) < rng.uniform(size=(len(Z), 1))).sum(axis=1)
    labels = np.minimum(labels, resp.shape[1] - 1)
    whole = imputer._model.family.sample(imputer._params.family, labels, rng)
    whole = whole * imputer._units.scale + imputer._units.shift
    centre = imputer.means_[:, imputer._features][labels]
    off = _conditional_mean(imputer, Z - whole + centre, labels) - centre
    return np.where(np.isnan(Z), whole + off, Z)


def _conditional_mean(imputer, Z, labels):
    """Rows Z with missing entries at their means in the component that each row belongs to."""
    family, units = imputer._params.family, imputer._units
    mean = np.empty_like(Z)
    for k in np.unique(labels):
        alone = np.ones(1), imputer._model.family.reorder(family, np.array([k]))
        of_k = imputer._complete(Z[labels == k], lambda done, *_: done.mean(0).T, alone)
        mean[labels == k] = np.concatenate(of_k) * units.scale + units.shift
    return mean
