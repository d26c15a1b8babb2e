"""What an earlier step knows of classes, for steps after it: classifications and their errors."""

from __future__ import annotations

import numpy as np

from emlearn.em import Batch
from emlearn.em.spaces import flatten


def assigned(resp, how):
    """Classes that rows are assigned to, (n, K): "modal" ones, or all in proportion to responsibilities."""
    if how == "proportional":
        return resp
    return (resp.argmax(axis=1)[:, None] == np.arange(resp.shape[1])).astype(np.float64)


def classification_errors(resp, assignments, weight):
    """Probability (K, K) that a row of the class of a row of this is assigned to that of a column."""
    weighted = resp.T * weight
    return weighted @ assignments / weighted.sum(axis=1)[:, None]


def one_m_step(family, params, x, resp):
    """Parameters by one M-step, at responsibilities (K, n) of which some may be negative."""
    return family.maximize(family.density(params)(Batch(x)).totals(resp), params)


def is_closed_form(family, params, x, resp):
    """Whether an M-step ends where it should: another one, at the same responsibilities, changes nothing."""
    once = one_m_step(family, params, x, resp)
    twice = one_m_step(family, once, x, resp)
    first, second = (flatten(family.spaces, own) for own in (once, twice))
    return np.allclose(first, second, rtol=1e-6, atol=1e-8, equal_nan=True)


def is_legal(family, params):
    """Whether parameters are of their spaces and off every floor: no negative probability or variance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        try:
            inside = not np.isnan(flatten(family.spaces, params)).any()
        except np.linalg.LinAlgError:
            return False
    return inside and not family.on_floor(params).any()
