"""Mixture weights of several groups of observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from emlearn.em.batches import Batch
from emlearn.em.spaces import Simplex
from emlearn.latent.known import exclude
from emlearn.latent.mixture_weights import StackedWeights, WeightsByRow, posterior_of

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class WeightsByGroup(WeightsByRow):
    r"""Each observation belongs to component k with probability :math:`w_{kg}`, where g is its group.

    The parameters are the weights, an array of shape (K, G) whose columns sum to 1; the statistics are the
    expected counts (K, G).

    Parameters
    ----------
    column : int
        The row of ``batch.x`` that says to which group an observation belongs.
    levels : tuple of float
        What stands there, for each group, in ascending order.
    """

    column: int
    levels: tuple[float, ...]
    spaces = Simplex(axis=-2)

    @property
    def stacked(self) -> StackedByGroup:  # type: ignore[override]
        return StackedByGroup(group=self)

    def membership(self, batch: Batch) -> FloatArray:
        """Which group each observation belongs to, as indicators (G, m)."""

        def find() -> FloatArray:
            return (batch.x[self.column] == np.array(self.levels)[:, None]).astype(np.float64)

        found: FloatArray = batch.once(("membership", self.column, self.levels), find)
        return found

    def log_weights(self, params: FloatArray, batch: Batch) -> FloatArray:
        """Log-probability of each component before its density is seen, (K, m)."""
        with np.errstate(divide="ignore"):  # weight 0 is log-weight -inf
            return np.log(params @ self.membership(batch))

    def posterior(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray, float]:
        """Weighted responsibilities (in place of ``log_prob``), expected counts, Σ weight · log evidence."""
        log_prob += self.log_weights(params, batch)
        exclude(log_prob, batch)
        resp, log_evidence = posterior_of(log_prob, beta)
        if batch.weight is not None:
            resp *= batch.weight
        return resp, resp @ self.membership(batch).T, batch.sum(log_evidence)

    def even(self, n_components: int) -> FloatArray:
        """Parameters by which all components are as probable."""
        return np.full((n_components, len(self.levels)), 1.0 / n_components)

    def start(self, batch: Batch, resp: FloatArray) -> FloatArray:
        return self.maximize(resp @ self.membership(batch).T, self.even(len(resp)))

    def maximize(self, stats: FloatArray, params: FloatArray) -> FloatArray:
        total = stats.sum(axis=-2, keepdims=True)
        return np.where(total > 0, stats / np.where(total > 0, total, 1.0), params)

    def expected_log_joint(self, stats: FloatArray, new: FloatArray, old: FloatArray) -> float:
        return float(xlogy(stats, new).sum())

    def for_share(self, share: float) -> WeightsByGroup:
        """The same for a share of the data."""
        return self

    def floats_per_row(self, n_components: int) -> int:
        """How many numbers an E-step works on per observation, beside those of the densities."""
        return 3 * n_components + len(self.levels)

    def n_parameters(self, params: FloatArray) -> int:
        """Number of free parameters."""
        return (len(params) - 1) * len(self.levels)


@dataclass(frozen=True, kw_only=True)
class StackedByGroup(StackedWeights):
    """Weights by group of S fits side by side: parameters and statistics of shape (S, K, G)."""

    group: WeightsByGroup
    spaces = Simplex(axis=-2)

    def _log_weights(self, params: FloatArray, batch: Batch) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(params.swapaxes(0, 1) @ self.group.membership(batch))

    def _counts(self, resp: FloatArray, batch: Batch) -> FloatArray:
        return (resp @ self.group.membership(batch).T).swapaxes(0, 1)

    def maximize(self, stats: FloatArray, params: FloatArray) -> FloatArray:  # type: ignore[override]
        return self.group.maximize(stats, params)
