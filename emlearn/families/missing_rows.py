"""Steps at which nothing was observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine, Batch, IntArray
from emlearn.em.model import Observed
from emlearn.em.trees import leaves
from emlearn.families.base import Emission, FloatArray, numeric


@dataclass(frozen=True)
class WithGaps:
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
        n_components = len(next(leaves(params)))

        def observe(batch: Batch) -> Observed:
            present = _present(batch)
            if present is None:
                return inner(batch)
            if not present.size:
                return _unseen(inner(_stand_in(batch)), n_components, batch.x.shape[1])
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
            return self.family.start(_stand_in(batch), np.zeros((len(resp), 1)))
        return self.family.start(batch.part("present", present), resp.take(present, axis=1), rng)

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations as points for clustering, (f, m), the missing ones in the middle of the others."""
        present = _present(batch)
        if present is None:
            return self.family.embedding(batch)
        part = batch.part("present", present) if present.size else _stand_in(batch)
        points = self.family.embedding(part)
        middle = np.average(points, axis=1, weights=part.weight if part.total_weight else None)
        out = np.empty((len(points), batch.x.shape[1]))
        out[...] = middle[:, None]
        if present.size:
            out[:, present] = points
        return out

    # From here on, the family itself.

    @property
    def support(self) -> str:
        """What the observations must be, in words."""
        return self.family.support

    @property
    def marginalises(self) -> bool:
        """Whether entries of an observation may be missing."""
        return self.family.marginalises

    @property
    def spaces(self) -> Any:
        return self.family.spaces

    def maximize(self, totals: Any, params: Any) -> Any:
        """Parameters from Σ r T(x)."""
        return self.family.maximize(totals, params)

    def shortened(self, totals: Any, params: Any, failed: Any) -> Any:
        """A shorter step than ``failed``; None where `maximize` is exact."""
        return self.family.shortened(totals, params, failed)

    def log_prior(self, params: Any) -> float:
        """Log prior of the parameters; 0 for maximum likelihood."""
        return self.family.log_prior(params)

    def movable(self, params: Any) -> NDArray[np.bool_] | None:
        """Coordinates that extrapolation may move; None for all."""
        return self.family.movable(params)

    def admits(self, params: Any) -> bool:
        """Whether the parameters obey the family's constraints."""
        return self.family.admits(params)

    @property
    def rounding(self) -> float:
        """Relative error that floating point may leave in a sum of log-densities."""
        return self.family.rounding

    def is_spurious(self, params: Any) -> bool:
        """Whether a component rests on a constraint that keeps the likelihood bounded."""
        return self.family.is_spurious(params)

    def handicap(self, params: Any) -> float:
        """Nats by which a fit here must be better than others, for what it may owe to luck."""
        return self.family.handicap(params)

    def n_parameters(self, params: Any) -> int:
        """Number of free parameters."""
        return self.family.n_parameters(params)

    def sample(self, params: Any, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d); none is missing."""
        return self.family.sample(params, labels, rng)

    def in_units(self, params: Any, units: Affine) -> Any:
        """Parameters of the data before it was brought to ``units``."""
        return self.family.in_units(params, units)

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) the family has a density for; NaN counts as possible."""
        return self.family.is_possible(x, params)

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        """Parameters with the components in another order."""
        return self.family.reorder(params, order)

    def fields(self, params: Any, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the parameters by name, the axis of components in the shape ``lead``."""
        return self.family.fields(params, lead)

    def with_means(self, params: Any, means: FloatArray) -> Any:
        """Parameters with the means (K, d) moved, all else as it is."""
        return self.family.with_means(params, means)

    def nearest_legal(self, params: Any) -> Any:
        """Parameters brought within the family's constraints."""
        return self.family.nearest_legal(params)

    # Properties, so that `hasattr` is true where it is of the family itself.

    @property
    def mean(self) -> Callable[[Any], FloatArray]:
        """Mean of each component, (K, d), as a function of the parameters."""
        return numeric(self.family).mean

    @property
    def covariance(self) -> Callable[[Any], FloatArray]:
        """Covariance matrix of each component, (K, d, d), as a function of the parameters."""
        return numeric(self.family).covariance


def _present(batch: Batch) -> IntArray | None:
    """Which columns of the batch are not NaN throughout; None for all."""

    def find() -> IntArray | None:
        if not np.isnan(batch.x.sum()):  # a cheap first look
            return None
        present = np.flatnonzero(~np.isnan(batch.x).all(axis=0))
        return None if present.size == batch.x.shape[1] else present

    return batch.once("present columns", find)


def _stand_in(batch: Batch) -> Batch:
    """A batch of one observation without weight, for families that know no empty batch."""
    return Batch(np.zeros((len(batch.x), 1)), np.zeros(1))


def _unseen(stand_in: Observed, n_components: int, m: int) -> Observed:
    """What is seen of a batch in which all is missing."""
    none = np.zeros((n_components, 1))
    return Observed(np.zeros((n_components, m)), 0.0, lambda resp: stand_in.totals(none), lambda: 0.0)
