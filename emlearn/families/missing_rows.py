"""Steps at which nothing was observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlearn.em.batches import Batch, IntArray
from emlearn.em.model import Observed
from emlearn.em.trees import leaves
from emlearn.families.base import Emission, FloatArray, WrappedFamily


@dataclass(frozen=True)
class MissingRows(WrappedFamily):
    """A family that may miss whole observations: columns of the batch that are NaN throughout.

    A missing observation has the density 1 under every component and adds nothing to the statistics. The
    family itself sees the others alone.

    Parameters
    ----------
    family : Emission
        The family of what is observed.
    """

    family: Emission

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        inner = self.family.density(params)
        n_components = len(leaves(params)[0])

        def observe(batch: Batch) -> Observed:
            present = _present(batch)
            if present is None:
                return inner(batch)
            if not present.size:
                return _unseen(inner(self._stand_in(batch)), n_components, batch.x.shape[1])
            seen = inner(batch.part("present", present))
            log_prob = np.zeros((n_components, batch.x.shape[1]))
            log_prob[:, present] = seen.log_prob

            def shared_log_prob() -> FloatArray:
                shared = np.zeros(batch.x.shape[1])
                shared[present] = seen.shared_log_prob()
                return shared

            return Observed(
                log_prob,
                seen.shared,
                lambda resp: seen.totals(resp.take(present, axis=1)),
                shared_log_prob,
            )

        return observe

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        """Parameters from weighted responsibilities (K, m)."""
        present = _present(batch)
        if present is None:
            return self.family.start(batch, resp, rng)
        if not present.size:
            return self.family.start(self._stand_in(batch), np.zeros((len(resp), 1)))
        return self.family.start(batch.part("present", present), resp.take(present, axis=1), rng)

    def _stand_in(self, batch: Batch) -> Batch:
        """A batch of one observation without weight, for families that know no empty batch."""
        missing = np.nan if self.family.marginalises else 0.0
        return Batch(np.full((len(batch.x), 1), missing), np.zeros(1))

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations as points for clustering, (f, m), the missing ones in the middle of the others."""
        present = _present(batch)
        if present is None:
            return self.family.embedding(batch)
        part = batch.part("present", present) if present.size else self._stand_in(batch)
        points = self.family.embedding(part)
        middle = np.average(points, axis=1, weights=part.weight if part.total_weight else None)
        out = np.empty((len(points), batch.x.shape[1]))
        out[...] = middle[:, None]
        if present.size:
            out[:, present] = points
        return out


def _present(batch: Batch) -> IntArray | None:
    """Which columns of the batch are not NaN throughout; None for all."""

    def find() -> IntArray | None:
        if not np.isnan(batch.x.sum()):  # a cheap first look
            return None
        present = np.flatnonzero(~np.isnan(batch.x).all(axis=0))
        return None if present.size == batch.x.shape[1] else present

    return batch.once("present columns", find)


def _unseen(stand_in: Observed, n_components: int, m: int) -> Observed:
    """What is seen of a batch in which all is missing."""
    none = np.zeros((n_components, 1))
    return Observed(np.zeros((n_components, m)), 0.0, lambda resp: stand_in.totals(none), lambda: 0.0)
