"""Draws: of parameters, and of missing entries given the others."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np

from emlearn.em import Batches
from emlearn.em.fit import climb
from emlearn.impute._posterior import Posterior, why_not

METHODS = "auto", "posterior", "bootstrap"


def redraws(imputer, Z, weight, method):
    """What makes copies of a fitted imputer, with parameters drawn anew, that draw what they impute.

    Parameters
    ----------
    imputer : EMImputer
    Z : ndarray of shape (n, d')
        The rows of the fit, those of their features that are modelled.
    weight : ndarray of shape (n,) or None
    method : {"auto", "posterior", "bootstrap"}

    Returns
    -------
    redrawn : callable
        The copy that a seed makes.

    Raises
    ------
    ValueError
        If the posterior is asked for where it is not to be had.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is none of {', '.join(map(repr, METHODS))}.")
    reason = None if method == "bootstrap" else why_not(imputer, Z, weight)
    if method == "posterior" and reason is not None:
        raise ValueError(f"The posterior of this imputer cannot be drawn from: {reason}. Use 'bootstrap'.")
    if not len(imputer._features):
        draw_params = None
    elif method == "bootstrap" or reason is not None:
        draw_params = partial(_bootstrap, imputer, Z, weight)
    else:
        draw_params = Posterior(imputer, Z, weight).draw

    def redrawn(seed):
        rng = np.random.RandomState(seed)
        drawn = copy.copy(imputer)
        drawn.set_params(sample_posterior=True, random_state=rng.randint(np.iinfo(np.int32).max), n_jobs=1)
        if draw_params is not None:
            drawn._take(imputer._model, draw_params(rng), imputer._units)
        return drawn

    return redrawn


def _bootstrap(imputer, Z, weight, rng):
    """Parameters to which EM goes on from the fit under random weights of rows (Rubin's Bayesian bootstrap)."""
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
    data = Batches(Z, shares)
    alone = copy.copy(imputer).set_params(n_jobs=1)  # threads share the imputations
    fit = climb(
        model,
        imputer._params,
        alone._data_of_one(model, data, units)
        if len(imputer.weights_) == 1
        else alone._cut(data, model, units),
        tol=imputer.tol,
        max_iter=imputer.max_iter,
        acceleration=imputer.acceleration,
    )
    return fit.params


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
