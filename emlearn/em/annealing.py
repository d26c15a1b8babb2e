"""Deterministic annealing: EM on a posterior that is flattened at first, and less and less.

References
----------
Ueda & Nakano (1998), Deterministic annealing EM algorithm, Neural Networks 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from emlearn.em.fit import fit_em
from emlearn.em.model import LatentModel


def cool(
    model: LatentModel, params: Any, data: Any, betas: Sequence[float], n_steps: int = 5, tol: float = 1e-4
) -> Any:
    """Parameters after a few steps of EM at each of some inverse temperatures, one after another.

    Whatever the model assigns, the posterior is soft while it is warm. Steps are few and plain: where it is so
    hot that components melt into one, many would leave nothing by which they part again.

    Parameters
    ----------
    model : LatentModel
    params : LatentPair
        Where to start.
    data : array-like, pair (rows, weights), iterable of arrays, or Batches
        What `emlearn.em.fit_em` takes.
    betas : sequence of float
        Inverse temperatures, rising.
    n_steps : int, default=5
        Most steps at each.
    tol : float, default=1e-4
        As of `emlearn.em.fit_em`.

    Returns
    -------
    params : LatentPair
    """
    for beta in betas:
        warm = replace(model, beta=beta, assignment="soft")
        params = fit_em(warm, params, data, tol=tol, max_iter=n_steps, acceleration="none").params
    return params
