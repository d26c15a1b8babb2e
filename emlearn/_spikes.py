"""What a component is made of that rests on the floor of its covariance, in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emlearn.em import one_blas_thread
from emlearn.em.model import by_blocks
from emlearn.em.trees import tree_map
from emlearn.families.evidence import NOTHING

SHOWN = 3  # components that are described; more are counted
ALIKE = 1e-9  # difference between values that are the same, in standard units


def spikes(estimator, plan, component, rows):
    """Sentences on the components of a fit that are as narrow as its floor lets them be.

    Parameters
    ----------
    estimator : EMMixin
        Fitted.
    plan : Plan
        What it was fitted by.
    component, rows : str
        What its components and observations are called.

    Yields
    ------
    sentence : str
    """
    params, best = estimator._params, next(s for s in estimator.restarts_.starts if s.status == "best")
    narrow = plan.model.family.on_floor(params.family)
    if _is_luck(plan, params, best):
        yield from _of_few(estimator, plan, component, rows)
    elif len(narrow) < estimator.n_components:
        if narrow.any():
            yield f"The covariance that all {component}s share rests on the floor{_follows(estimator)}"
    elif narrow.any():
        which = np.flatnonzero(narrow)
        made_of = _contents(plan, params, which[:SHOWN])
        words = [
            f"{component} {k} holds {_described(estimator, plan, made, rows)}" for k, made in made_of.items()
        ]
        if len(which) > SHOWN:
            words.append(f"and {len(which) - SHOWN} more {component}s are like that")
        text = "; ".join(words)
        rest = "Its covariance rests" if len(which) == 1 else "Their covariances rest"
        yield f"{text[0].upper()}{text[1:]}. {rest} on the floor{_follows(estimator)}"


def _is_luck(plan, params, best):
    """Whether some component has too few rows to tell anything; what a part said need not hold of all."""
    if np.isfinite(best.evidence) or not best.on_part:
        return not np.isfinite(best.evidence)
    with one_blas_thread():
        stats = plan.data.sum(plan.model.expectation(params)).stats
    return np.isinf(plan.model.handicap(params, tree_map(lambda leaf: leaf / plan.unit, stats)))


def _follows(estimator):
    return (
        f", set by reg_covar={estimator.reg_covar} or half the step in which values are recorded: how high the "
        "density is there, and the log-likelihood with it, follows from that floor."
    )


def _of_few(estimator, plan, component, rows):
    """That the fit has components of too few rows to tell anything; not of empty ones, which are told of."""
    made_of = _contents(plan, estimator._params, range(estimator.n_components))
    if any(made.number < NOTHING for made in made_of.values()):
        return
    few = [k for k, made in made_of.items() if made.number < estimator.n_features_in_ + 1]
    where = "".join(
        f"{': ' if i == 0 else '; '}{component} {k} holds {_size(made_of[k], rows)}"
        for i, k in enumerate(few[:SHOWN])
    )
    which = "Every start ended with" if estimator.ranking == "evidence" else "The likelihood is highest with"
    yield (
        f"{which} a {component} of so few {rows} that it fits them whatever they are{where}. Reduce "
        "n_components or choose a simpler covariance_type; if there is an outlier, remove it."
    )


class _Contents(NamedTuple):
    """What a component holds."""

    share: float  # of all weight
    number: float  # of observations
    least: np.ndarray  # (d,) least value of each feature, in the user's units; infinite where it has none
    most: np.ndarray  # (d,) largest


def _contents(plan, params, which):
    """What some components hold, by their number."""
    family, latent = plan.model.family, plan.model.latent
    density = by_blocks(family.density(params.family))

    def of_batch(batch):
        resp = latent.posterior(params.latent, density(batch).log_prob, batch)[0]
        labels = resp.argmax(axis=0)
        ends = np.full((2, len(which), batch.x.shape[0]), [[[np.inf]], [[-np.inf]]])
        if batch.is_sparse:  # counts, which rest on no floor
            return resp.sum(axis=1), ends
        for i, k in enumerate(which):
            x = batch.x[:, (labels == k) & (resp[k] > 0)]
            ends[0, i] = np.fmin.reduce(x, axis=1, initial=np.inf)
            ends[1, i] = np.fmax.reduce(x, axis=1, initial=-np.inf)
        return resp.sum(axis=1), ends

    with one_blas_thread():
        weight, ends = zip(*plan.data.map(of_batch), strict=True)
    weight, (scale, shift) = np.sum(weight, axis=0), (plan.units.scale, plan.units.shift)
    least = np.min([end[0] for end in ends], axis=0) * scale + shift
    most = np.max([end[1] for end in ends], axis=0) * scale + shift
    return {
        k: _Contents(weight[k] / weight.sum(), weight[k] / plan.unit, least[i], most[i])
        for i, k in enumerate(which)
    }


def _size(made, rows):
    share = f"{100 * made.share:.2g}" if made.share < 0.01 else f"{100 * made.share:.0f}"
    return f"{share} % of the {rows} ({made.number:.0f})"


def _described(estimator, plan, made, rows):
    seen = np.isfinite(made.least)
    alike = seen & (made.most - made.least <= ALIKE * plan.units.scale)
    if seen.any() and alike[seen].all():
        values = [f"{value:.6g}" for value in made.least[seen]]
        value = values[0] if len(values) == 1 else f"({', '.join(values)})"
        return f"{_size(made, rows)}, all equal to {value}"
    if alike.any():
        names = [f"{estimator._column_name(int(j))} = {made.least[j]:.6g}" for j in np.flatnonzero(alike)]
        return f"{_size(made, rows)}, all with {', '.join(names[:SHOWN])}"
    return f"{_size(made, rows)}, so close together, or so close to a line or a plane"
