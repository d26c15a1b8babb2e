"""Observations in groups that share what is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.model import LatentStructure
from emlearn.em.parametric import Wrapper

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True)
class Grouped(Wrapper, LatentStructure):
    r"""All observations of a group belong to the same component.

    Groups are the sequences of a batch (`Lanes`); order within them does not matter. A group counts once,
    whatever the weights of its observations, which say how often each of *them* counts:

    .. math:: \sum_g \log \sum_k \pi_k(x_g) \prod_{i \in g} p(y_i \mid x_i, k)^{w_i}

    Parameters
    ----------
    latent : LatentStructure
        How groups are distributed over components. Of the features it sees those of the first of each group.
    """

    latent: Any

    @property
    def _parts(self) -> tuple[Any, ...]:
        return (self.latent,)

    def posterior(
        self, params: Any, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, Any, float]:
        """Weighted responsibilities (K, m), statistics of the groups, Σ log evidence."""
        of_groups = self._of_groups(log_prob, batch)
        resp, stats, evidence = self.latent.posterior(params, of_groups, groups_of(batch), beta)
        np.take(resp, lanes_of(batch), axis=1, out=log_prob)
        if batch.weight is not None:
            log_prob *= batch.weight
        return log_prob, stats, evidence

    def log_evidence(self, params: Any, log_prob: FloatArray, batch: Batch) -> FloatArray:
        """Log evidence of each group, (n_groups,)."""
        evidence: FloatArray = self.latent.log_evidence(
            params, self._of_groups(log_prob, batch), groups_of(batch)
        )
        return evidence

    def unit_weight(self, batch: Batch) -> FloatArray | None:
        return groups_of(batch).weight

    def most_probable(self, params: Any, log_prob: FloatArray, batch: Batch) -> IntArray:
        """Most probable component of the group of each observation, (m,)."""
        of_groups = self._of_groups(log_prob, batch)
        return self.latent.most_probable(params, of_groups, groups_of(batch))[lanes_of(batch)]

    def draw(
        self, params: Any, log_prob: FloatArray, batch: Batch, uniform: FloatArray
    ) -> tuple[IntArray, float]:
        """Components of groups drawn from their posterior, for each observation (m,), and Σ log evidence."""
        of_groups = self._of_groups(log_prob, batch)
        of_first = uniform[: of_groups.shape[1]]
        labels, evidence = self.latent.draw(params, of_groups, groups_of(batch), of_first)
        return labels[lanes_of(batch)], evidence

    @staticmethod
    def _of_groups(log_prob: FloatArray, batch: Batch) -> FloatArray:
        """Log-densities of the groups (K, n_groups) from those of observations (K, m), overwritten."""
        if batch.weight is not None:
            with np.errstate(invalid="ignore"):  # -inf without weight is nothing
                log_prob *= batch.weight
            log_prob[:, batch.weight == 0] = 0.0
        return sum_lanes(log_prob, batch)

    def log_weights(self, params: Any, batch: Batch) -> FloatArray:
        """Log prior probabilities of the components, (K, m) or (K, 1), row by row."""
        weights: FloatArray = self.latent.log_weights(params, batch)
        return weights

    def start(self, batch: Batch, resp: FloatArray) -> Any:
        """Parameters from weighted responsibilities (K, m)."""
        groups = groups_of(batch)
        shares = sum_lanes(resp, batch)
        total = shares.sum(axis=0)
        shares /= np.where(total > 0, total, 1.0)
        return self.latent.start(groups, shares if groups.weight is None else shares * groups.weight)

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        """Parameters with the components in another order."""
        return self.latent.reorder(params, order)

    def for_share(self, share: float) -> Grouped:
        """The same for a share of the data, on which penalties weigh as much less."""
        return Grouped(self.latent.for_share(share))

    def floats_per_row(self, n_components: int) -> int:
        """How many numbers an E-step works on per observation, beside those of the densities."""
        return 2 * n_components + int(self.latent.floats_per_row(n_components))

    def n_parameters(self, params: Any) -> int:
        return int(self.latent.n_parameters(params))


def lanes_of(batch: Batch) -> NDArray[np.intp]:
    """Group of each column of a batch, (m,)."""
    assert batch.lanes is not None
    lanes = batch.lanes
    lane: NDArray[np.intp] = batch.once("lanes", lambda: lanes.places()[1])
    return lane


def sum_lanes(values: FloatArray, batch: Batch) -> FloatArray:
    """Sums over groups, (K, n_groups), of values (K, m)."""
    lane = lanes_of(batch)
    return np.stack([np.bincount(lane, row) for row in values])


def groups_of(batch: Batch) -> Batch:
    """The first observation of each group, of weight 1 if any observation of the group has weight."""
    assert batch.lanes is not None
    groups = batch.part("groups", slice(len(batch.lanes.lengths)))
    weight = batch.weight
    if weight is not None:
        groups.weight = batch.once(
            "groups with weight", lambda: (np.bincount(lanes_of(batch), weight) > 0).astype(np.float64)
        )
    return groups
