"""A start for what a fit that was raced on a part of the data does not explain.

A part of many data shows next to nothing of what is rare in them. So once its winner is fitted to all, the
observations that it explains worst are gathered. If a component of their own could explain them better by more
than luck would, they get one, in the place of the component whose loss costs least.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from emlearn.em import Batch, Batches, LatentModel, LatentPair, Start
from emlearn.em.batches import intended_underflow
from emlearn.em.fit import climb
from emlearn.em.model import by_blocks
from emlearn.em.restarts import FAILURES
from emlearn.families.evidence import luck
from emlearn.latent import Grouped
from emlearn.latent.grouped import lanes_of

MOST_COLUMNS = 20_000  # that are gathered
MOST_ALONE = 4_000  # observations that are gathered, where each stands alone
PIECE = 50  # steps of a sequence that are gathered together
SHORT = 10  # iterations that tell which component can be spared


def worst_explained(
    model: LatentModel,
    some: Batch,
    data: Batches,
    part: Batches | None,
    unit: float,
    rng: np.random.RandomState,
    given: Callable[[Start], Start] | None = None,
) -> WorstExplained | None:
    """What makes the start after a race on a part of the data; None where that was no part."""
    if part is None:
        return None
    return WorstExplained(model, some, data, unit, int(rng.randint(np.iinfo(np.int32).max)), given)


class _Pieces(NamedTuple):
    """Columns of the data in pieces, the worst explained piece first."""

    x: np.ndarray  # (d, m)
    weight: np.ndarray  # (m,)
    labels: np.ndarray | None  # (m,)
    worth: np.ndarray  # (m,) log-density, for groups their mean
    lengths: np.ndarray  # (n_pieces,)


@dataclass(frozen=True)
class WorstExplained:
    """Makes the start.

    Parameters
    ----------
    model : LatentModel
        What is fitted.
    some : Batch
        Part of the data.
    data : Batches
        All of it.
    unit : float
        Weight of the data that counts as one observation.
    seed : int
        For families whose starts are drawn.
    given : callable, default=None
        ``given(start)`` is the start with what the user fixed.
    """

    model: LatentModel
    some: Batch
    data: Batches
    unit: float
    seed: int
    given: Callable[[Start], Start] | None = None

    def __call__(self, params: LatentPair) -> list[Start]:
        """The start, if there is something to be gained, after these parameters."""
        with intended_underflow():
            resp = self._resp(params, self.some).sum(axis=1)
            # What the part shows nothing of may be in the data all the same.
            least = 1 / self.some.x.shape[1]
            pieces, total = self._gather(params, np.log(np.maximum(resp / resp.sum(), least)))
            chosen = self._alone(pieces, total)
        if not chosen.any():
            return []
        # Made when it is run: what fails then is a start that failed, and not the fit.
        return [Start("worst explained", partial(self._make, params, *self._enriched(pieces, chosen, total)))]

    def _make(self, params: LatentPair, enriched: Batches, chosen: np.ndarray) -> LatentPair:
        """A few iterations of the start in the place of each component, and of these the best."""
        fits, errors = [], []
        for start in self._instead_of_each(params, next(iter(enriched)), chosen):
            try:
                fits.append(climb(self.model, start.make(), enriched, max_iter=SHORT))
            except FAILURES as error:
                errors.append(error)
        if not fits:
            raise errors[0]
        best: LatentPair = max(fits, key=lambda fit: fit.objective).params
        return best

    def _resp(self, params: LatentPair, batch: Batch) -> np.ndarray:
        """Weighted responsibilities, (K, m)."""
        log_prob = self.model.family.density(params.family)(batch).log_prob
        return self.model.latent.posterior(params.latent, log_prob, batch)[0]

    def _gather(self, params: LatentPair, log_shares: np.ndarray) -> tuple[_Pieces, float]:
        """The pieces of all data that are explained worst, and the weight of all data."""
        density = by_blocks(self.model.family.density(params.family))

        def of_batch(batch: Batch) -> tuple[_Pieces, float]:
            seen = density(batch)
            log_joint = seen.log_prob
            log_joint += log_shares[:, None]
            log_density = np.logaddexp.reduce(log_joint, axis=0) + seen.shared_log_prob()
            return self._worst(_pieces_of(batch, log_density, self._piece)), batch.total_weight

        def joined(one: tuple[_Pieces, float], other: tuple[_Pieces, float]) -> tuple[_Pieces, float]:
            return self._worst(_joined(one[0], other[0])), one[1] + other[1]

        return self.data.fold(of_batch, joined)

    @property
    def _piece(self) -> float:
        """How many columns are gathered together; a group is, whatever its size."""
        if isinstance(self.model.latent, Grouped):
            return np.inf
        return 1 if self.some.lanes is None else PIECE

    def _worst(self, pieces: _Pieces) -> _Pieces:
        """As many of the worst explained pieces as are to be gathered; those without weight are left out."""
        first = np.cumsum(pieces.lengths) - pieces.lengths
        worth = np.minimum.reduceat(np.where(pieces.weight > 0, pieces.worth, np.inf), first)
        order = np.argsort(worth, kind="stable")
        order = order[np.isfinite(worth[order])]
        most = MOST_ALONE if self._piece == 1 else MOST_COLUMNS
        order = order[: max(np.searchsorted(np.cumsum(pieces.lengths[order]), most, side="right"), 1)]
        return _taken(pieces, order)

    def _alone(self, pieces: _Pieces, total: float) -> np.ndarray:
        """Which columns a component of their own would explain better, by more than luck; perhaps none."""
        family = self.model.family
        order = np.argsort(np.where(pieces.weight > 0, pieces.worth, np.inf), kind="stable")
        most, chosen = luck(len(pieces.x), total / self.unit), np.zeros(len(order), dtype=bool)
        n_some = 4
        while n_some <= len(order):
            some = order[:n_some]
            weight = pieces.weight[some]
            batch = Batch(np.ascontiguousarray(pieces.x[:, some]), weight)
            gain = -np.inf
            with contextlib.suppress(*FAILURES):  # so few may have no fit of their own
                seen = family.density(family.start(batch, weight[None], self._rng))(batch)
                of_own = seen.log_prob[0] + seen.shared_log_prob() + np.log(weight.sum() / total)
                gain = weight @ (of_own - pieces.worth[some]) / self.unit
            if gain > most:
                most = gain
                chosen[:] = False
                chosen[some] = True
            n_some *= 2
        return chosen

    def _enriched(self, pieces: _Pieces, chosen: np.ndarray, total: float) -> tuple[Batches, np.ndarray]:
        """The part of the data, which stands for all, with the pieces; and which columns of it are chosen."""
        some = _pieces_of(self.some, np.zeros(self.some.x.shape[1]), np.inf)
        if not isinstance(self.model.latent, Grouped):  # a group counts once, whatever its weight
            some = some._replace(weight=some.weight * (total / some.weight.sum()))
        both = _joined(some, pieces)
        chosen = np.append(np.zeros(len(some.weight), dtype=bool), chosen)
        lengths = None if self.some.lanes is None else both.lengths
        data = Batches(both.x.T, both.weight, lengths=lengths, labels=both.labels, rows=len(both.weight))
        (batch,) = data
        chosen = chosen if batch.rows is None else chosen[batch.rows]
        return data, chosen if batch.labels is None else chosen & (batch.labels < 0)

    def _instead_of_each(self, params: LatentPair, batch: Batch, chosen: np.ndarray) -> Iterator[Start]:
        """For each component the start where the chosen columns have its place."""
        resp, weight = self._resp(params, batch), np.asarray(batch.weight)
        for k in range(len(resp)):
            others = resp.copy()
            others[k] = 0.0
            others[:, others.sum(axis=0) == 0] = 1.0  # as good as any
            others[k] = 0.0
            others /= others.sum(axis=0)  # which may be next to 0: no quotient with it is safe but this
            others *= weight
            others[:, chosen] = 0.0
            others[k, chosen] = weight[chosen]
            start = Start("worst explained", partial(self.model.start, batch, others, self._rng))
            yield start if self.given is None else self.given(start)

    @property
    def _rng(self) -> np.random.RandomState:
        return np.random.RandomState(self.seed)


def _pieces_of(batch: Batch, worth: np.ndarray, most: float) -> _Pieces:
    """A batch cut into pieces of at most so many columns, sequence by sequence."""
    weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
    if batch.lanes is None:
        lengths, order = np.ones(len(weight), dtype=np.intp), slice(None)
    else:
        lanes = batch.lanes
        order = np.concatenate([lanes.columns(lane) for lane in range(len(lanes.lengths))])
        if most < np.inf:
            whole, rest = np.divmod(lanes.lengths, int(most))
            each = [
                np.append(np.full(n, int(most)), [r] if r else []) for n, r in zip(whole, rest, strict=True)
            ]
            lengths = np.concatenate(each).astype(np.intp)
        else:
            lengths, lane = lanes.lengths, lanes_of(batch)
            total = np.maximum(np.bincount(lane, weight), np.finfo(np.float64).tiny)
            worth = (np.bincount(lane, worth * weight) / total)[lane]
    labels = None if batch.labels is None else batch.labels[order]
    return _Pieces(batch.x[:, order], weight[order], labels, worth[order], lengths)


def _joined(one: _Pieces, other: _Pieces) -> _Pieces:
    labels = None if one.labels is None or other.labels is None else np.append(one.labels, other.labels)
    return _Pieces(
        np.hstack([one.x, other.x]),
        np.append(one.weight, other.weight),
        labels,
        np.append(one.worth, other.worth),
        np.append(one.lengths, other.lengths),
    )


def _taken(pieces: _Pieces, chosen: np.ndarray) -> _Pieces:
    """Some of the pieces."""
    first = np.cumsum(pieces.lengths) - pieces.lengths
    lengths = pieces.lengths[chosen]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = np.repeat(first[chosen], lengths) + within
    labels = None if pieces.labels is None else pieces.labels[columns]
    return _Pieces(
        pieces.x[:, columns],
        pieces.weight[columns],
        labels,
        pieces.worth[columns],
        lengths,
    )
