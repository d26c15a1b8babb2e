"""Independent hidden labels with fixed probabilities: the latent structure of finite mixtures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Simplex

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MixtureWeights:
    r"""Each observation belongs to component k with probability :math:`w_k`, independently.

    The parameters are the weights, an array of shape (K,); the statistics are the expected counts (K,).

    Parameters
    ----------
    concentration : float, default=1.0
        Concentration of a symmetric Dirichlet prior on the weights, at least 1; 1 is maximum likelihood.
    """

    concentration: float = 1.0
    spaces = Simplex()

    def posterior(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray, float]:
        """Weighted responsibilities (in place of ``log_prob``), expected counts, Σ weight · log evidence."""
        resp, log_evidence = self.resp(params, log_prob, beta)
        if batch.weight is not None:
            resp *= batch.weight
        return resp, resp.sum(axis=1), batch.sum(log_evidence)

    def resp(
        self, params: FloatArray, log_prob: FloatArray, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        """Posterior probabilities (K, m), in place of ``log_prob``, and log evidence (m,)."""
        if len(params) == 1:
            log_evidence = log_prob[0].copy()
            log_prob[...] = 1.0
            return log_prob, log_evidence
        with np.errstate(divide="ignore"):  # weight 0 is log-weight -inf
            log_prob += np.log(params)[:, None]
        if beta != 1.0:
            log_prob *= beta
        shift = log_prob.max(axis=0)
        log_prob -= shift
        np.exp(log_prob, out=log_prob)
        total = log_prob.sum(axis=0)
        log_prob /= total
        np.log(total, out=total)
        total += shift
        if beta != 1.0:
            total /= beta
        return log_prob, total

    def start(self, batch: Batch, resp: FloatArray) -> FloatArray:
        return self.maximize(resp.sum(axis=1))

    def maximize(self, stats: FloatArray, params: FloatArray | None = None) -> FloatArray:
        counts = stats + (self.concentration - 1.0)
        return counts / counts.sum()

    def log_prior(self, params: FloatArray) -> float:
        if self.concentration == 1.0:
            return 0.0
        return float((self.concentration - 1.0) * np.log(params).sum())
