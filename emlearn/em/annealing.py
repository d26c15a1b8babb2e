"""Deterministic annealing: EM on a posterior that is flattened at first, and less and less.

References
----------
Ueda & Nakano (1998), Deterministic annealing EM algorithm, Neural Networks 11. Rose (1998), Deterministic
annealing for clustering, compression, classification, regression, and related optimization problems, Proc.
IEEE 86.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emlearn.em.batches import Batch, as_data
from emlearn.em.data import Data
from emlearn.em.fit import fit_each
from emlearn.em.model import FloatArray, LatentModel, uniform_of

# By how much log-odds of components are shaken, at most, to either side.
SHAKE = 1.0


def cool(
    model: LatentModel,
    params: Any,
    data: Any,
    betas: Sequence[float],
    n_steps: int = 5,
    seed: int | None = None,
) -> Any:
    """Parameters after a few steps of EM at each of some inverse temperatures, one after another.

    Whatever the model assigns, the posterior is soft while it is warm. Where it is hot components melt into
    one, and the more steps they take the less is left by which they could part again. With a seed they are
    shaken after each temperature (Rose, 1998): responsibilities of one step are those of log-odds with noise.

    Parameters
    ----------
    model : LatentModel
    params : LatentPair
        Where to start.
    data : array-like, pair (rows, weights), iterable of arrays, or Data
        What `emlearn.em.fit_em` takes.
    betas : sequence of float
        Inverse temperatures, rising.
    n_steps : int, default=5
        Most steps at each.
    seed : int, default=None
        Of the noise; None for none.

    Returns
    -------
    params : LatentPair
    """
    (cooled,) = cool_each(model, [params], data, betas, n_steps, seed)
    if isinstance(cooled, Exception):
        raise cooled
    return cooled


def cool_each(
    model: LatentModel,
    params: Sequence[Any],
    data: Any,
    betas: Sequence[float],
    n_steps: int = 5,
    seed: int | None = None,
) -> list[Any]:
    """Each of several sets of parameters as `cool` leaves it, or what went wrong; side by side if possible."""
    batches = as_data(data)
    cooled = list(params)
    for number, (beta, next_beta) in enumerate(zip(betas, [*betas[1:], 1.0], strict=True)):
        warm = replace(model, beta=beta, assignment="soft")
        tol = 1e-4 if seed is None else np.finfo(np.float64).tiny  # close to a saddle they only seem to arrive
        sound = [i for i, one in enumerate(cooled) if not isinstance(one, Exception)]
        starts = [cooled[i] for i in sound]
        fits = fit_each(warm, starts, batches, tol=tol, max_iter=n_steps, acceleration="none")
        for i, fit in zip(sound, fits, strict=True):
            cooled[i] = fit if isinstance(fit, Exception) else fit.params
            if seed is not None and not isinstance(fit, Exception):
                shaking = _Shaken(model.latent, model.family, next_beta, seed=seed + number)
                cooled[i] = _shaken(shaking, fit.params, batches)
    return cooled


class _Shaken(LatentModel):
    """A model whose log-odds have noise."""

    def _assign(self, params: Any, log_prob: FloatArray, batch: Batch) -> None:
        for component, row in enumerate(log_prob):
            row += SHAKE * (2.0 * uniform_of(batch, self.seed, component) - 1.0)


def _shaken(model: LatentModel, params: Any, batches: Data) -> Any:
    """Parameters after one step."""
    return model.maximize(batches.sum(model.expectation(params)).stats, params)
