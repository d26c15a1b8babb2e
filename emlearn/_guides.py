"""Starts for one fit from another one, of one component fewer or more."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD

from emlearn.em import Batch, LatentPair, Start
from emlearn.em.model import by_blocks
from emlearn.families.missing_rows import MissingRows
from emlearn.families.mixture_of import principal, slices

# How much of a component's cut in two a start keeps that is to be next to as high as before.
HARDLY = 0.05
# Pairs of components, the closest ones, that are tried as one.
MOST_PAIRS = 3
# Directions in which sparse points spread most, among which is that in which a component does.
DIRECTIONS = 10


def split(fitted: Any, plan: Any, more: int = 1) -> list[Start]:
    """Each component in turn cut in two, and the largest after it, until there are so many more."""
    return _cut_up("split", fitted, plan, 1.0, more)


def same(fitted: Any, plan: Any) -> list[Start]:
    """The components as they are, for a fit of another form."""
    share = _shares(fitted, plan)
    return [] if share is None else [Start("same", partial(_start, plan, share))]


def doubled(fitted: Any, plan: Any, more: int = 1) -> list[Start]:
    """Each component in turn next to its like, from where the likelihood cannot but rise."""
    return _cut_up("doubled", fitted, plan, HARDLY, more)


def _cut_up(kind, fitted, plan, strength, more):
    share = _shares(fitted, plan)
    if share is None:
        return []
    points, starts = _points(plan), []
    for k in range(len(share)):
        cut = _cut(share, points, k, strength)
        for _ in range(more - 1):
            cut = _cut(cut, points, int(cut.sum(axis=1).argmax()), strength)
        starts.append(Start(kind, partial(_start, plan, cut)))
    return starts


def merged(fitted: Any, plan: Any) -> list[Start]:
    """The closest components taken as one."""
    share = _shares(fitted, plan)
    if share is None or len(share) < 2:
        return []
    try:
        apart = fitted._divergence(fitted)
    except NotImplementedError:
        return []
    first, second = np.triu_indices(len(share), 1)
    starts = []
    for place in np.argsort(apart[first, second], kind="stable")[:MOST_PAIRS]:
        i, j = first[place], second[place]
        whole = np.delete(share, j, axis=0)
        whole[i] = share[i] + share[j]
        starts.append(Start("merged", partial(_start, plan, whole)))
    return starts


def _shares(fitted, plan):
    """Weighted responsibilities (K, m) of the fit for the rows that starts of a plan are made from."""
    if plan.rows is None or fitted._model is None or len(fitted._units.shift) != len(plan.units.shift):
        return None
    rows = plan.rows
    if not (
        np.array_equal(fitted._units.shift, plan.units.shift)
        and np.array_equal(fitted._units.scale, plan.units.scale)
    ):
        n = len(plan.units.shift)
        x = rows.x.copy()
        of_user = x[:n] * plan.units.scale[:, None] + plan.units.shift[:, None]
        x[:n] = (of_user - fitted._units.shift[:, None]) / fitted._units.scale[:, None]
        rows = Batch(x, rows.weight, lanes=rows.lanes)
    model, params = fitted._model, fitted._params
    family = model.family
    if isinstance(plan.model.family, MissingRows) and not isinstance(family, MissingRows):
        family = MissingRows(family)
    seen = by_blocks(family.density(params.family))(rows)
    return model.latent.posterior(params.latent, seen.log_prob, rows)[0].copy()


def _points(plan):
    try:
        points = plan.model.family.embedding(plan.rows)
    except NotImplementedError:
        return plan.rows.x
    if not plan.rows.is_sparse:
        return points
    if points.shape[0] <= DIRECTIONS:
        return points.toarray()
    return TruncatedSVD(DIRECTIONS, random_state=0).fit_transform(points.T).T


def _cut(share, points, k, strength):
    """Shares in which a component is cut across where it spreads most, more or less."""
    own = share[k]
    cut = 0.5 + strength * (slices(points, own, principal(points, own)[0], 2) - 0.5)
    return np.vstack([share[:k], own * cut, share[k + 1 :]])


def _start(plan, share):
    start: LatentPair = plan.model.start(plan.rows, share, np.random.RandomState(0))
    return start
