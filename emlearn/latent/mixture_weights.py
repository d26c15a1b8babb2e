"""Independent hidden labels with fixed probabilities: the latent structure of finite mixtures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from emlearn.em.batches import Batch, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.model import LatentStructure
from emlearn.em.spaces import Fixed, Simplex
from emlearn.latent import exponentials
from emlearn.latent.known import exclude, possible_states

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


class _IndependentLabels(LatentStructure):
    """Labels that are independent of one another, given what their probabilities depend on."""

    def log_weights(self, params: FloatArray, batch: Batch) -> FloatArray:
        """Log-probability of each component before its density is seen, (K, m) or (K, 1)."""
        raise NotImplementedError

    def resp(self, params: FloatArray, log_prob: FloatArray, batch: Batch) -> tuple[FloatArray, FloatArray]:
        """Posterior probabilities (K, m), in place of ``log_prob``, and log evidence (m,)."""
        log_prob += self.log_weights(params, batch)
        exclude(log_prob, batch)
        return posterior_of(log_prob)

    def log_evidence(self, params: FloatArray, log_prob: FloatArray, batch: Batch) -> FloatArray:
        """Log evidence of each observation, (m,)."""
        return self.resp(params, log_prob, batch)[1]

    def most_probable(self, params: FloatArray, log_prob: FloatArray, batch: Batch) -> IntArray:
        """Most probable component of each observation, (m,)."""
        log_prob += self.log_weights(params, batch)
        exclude(log_prob, batch)
        return log_prob.argmax(axis=0)

    def draw(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch, uniform: FloatArray
    ) -> tuple[IntArray, float]:
        """Components drawn from their posterior (m,), and Σ weight · log evidence."""
        resp, log_evidence = self.resp(params, log_prob, batch)
        return drawn_from(resp, uniform), batch.sum(log_evidence)


@dataclass(frozen=True)
class MixtureWeights(_IndependentLabels):
    r"""Each observation belongs to component k with probability :math:`w_k`, independently.

    The parameters are the weights, an array of shape (K,); the statistics are the expected counts (K,).

    Parameters
    ----------
    concentration : float, default=1.0
        Concentration of a symmetric Dirichlet prior on the weights, at least 1; 1 is maximum likelihood.
    """

    concentration: float = 1.0
    spaces = Simplex()

    @property
    def stacked(self) -> StackedWeights | None:  # type: ignore[override]
        # A subclass may mean something else by its parameters.
        return StackedWeights(self.concentration) if type(self) is MixtureWeights else None

    def posterior(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray, float]:
        """Weighted responsibilities (in place of ``log_prob``), expected counts, Σ weight · log evidence."""
        resp, log_evidence = self.resp(params, log_prob, batch, beta)
        if batch.weight is not None:
            resp *= batch.weight
        return resp, resp.sum(axis=1), batch.sum(log_evidence)

    def log_weights(self, params: FloatArray, batch: Batch | None = None) -> FloatArray:
        """Log-probability of each component before its density is seen, (K, 1)."""
        with np.errstate(divide="ignore"):  # weight 0 is log-weight -inf
            return np.log(params)[:, None]

    def resp(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch | None = None, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        """Posterior probabilities (K, m), in place of ``log_prob``, and log evidence (m,)."""
        exclude(log_prob, batch)
        log_weights = self.log_weights(params)[:, 0] if len(params) > 1 else None
        return posterior_of(log_prob, beta, log_weights)

    def sample_labels(self, params: FloatArray, batch: Batch, rng: np.random.RandomState) -> IntArray:
        """Components drawn for the observations of a batch before these are seen, (m,)."""
        return rng.choice(len(params), size=batch.x.shape[1:], p=params)

    def even(self, n_components: int) -> FloatArray:
        """Parameters by which all components are as probable."""
        return np.full(n_components, 1.0 / n_components)

    def start(self, batch: Batch, resp: FloatArray) -> FloatArray:
        return self.maximize(resp.sum(axis=1))

    def maximize(self, stats: FloatArray, params: FloatArray | None = None) -> FloatArray:
        counts = stats + (self.concentration - 1.0)
        return counts / counts.sum()

    def expected_log_joint(self, stats: FloatArray, new: FloatArray, old: FloatArray) -> float | None:
        return float(xlogy(stats, new).sum())

    def log_prior(self, params: FloatArray) -> float:
        if self.concentration == 1.0:
            return 0.0
        return float((self.concentration - 1.0) * np.log(params).sum())

    def for_share(self, share: float) -> MixtureWeights:
        """The same for a share of the data."""
        return self

    def floats_per_row(self, n_components: int) -> int:
        """How many numbers an E-step works on per observation, beside those of the densities."""
        return 2 * n_components

    def n_parameters(self, params: FloatArray) -> int:
        """Number of free parameters."""
        return len(params) - 1


@dataclass(frozen=True)
class HeldWeights(MixtureWeights):
    """Mixture weights that stay where they are."""

    spaces = Fixed()  # type: ignore[assignment]

    def maximize(self, stats: FloatArray, params: FloatArray | None = None) -> FloatArray:
        return super().maximize(stats) if params is None else params

    def n_parameters(self, params: FloatArray) -> int:
        return 0


class WeightsByRow(_IndependentLabels):
    """Base of labels whose probabilities are each row's own: a subclass states `log_weights`."""

    def log_weights(self, params: FloatArray, batch: Batch) -> FloatArray:
        """Log-probability of each component before its density is seen, (K, m), which may be written to."""
        raise NotImplementedError

    def shares(self, params: FloatArray, data: Data) -> FloatArray:
        """Means (K,) of the probabilities of the components over the rows of data."""

        def of_batch(batch: Batch) -> FloatArray:
            weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
            return np.exp(self.log_weights(params, batch)) @ weight

        with one_blas_thread():
            total: FloatArray = data.sum(of_batch)
        return total / total.sum()

    def sample_labels(self, params: FloatArray, batch: Batch, rng: np.random.RandomState) -> IntArray:
        """Components drawn for the observations of a batch by what they depend on, (m,)."""
        return drawn_from(np.exp(self.log_weights(params, batch)), rng.uniform(size=batch.x.shape[1:]))


@dataclass(frozen=True)
class StackedWeights(LatentStructure):
    """Mixture weights of S fits side by side: parameters and statistics of shape (S, K).

    The log-densities (K·S, m) of K components, those of the first under all fits before those of the second,
    are those of S·m observations.

    Parameters
    ----------
    concentration : float, default=1.0
        As of `MixtureWeights`.
    """

    concentration: float = 1.0
    spaces = Simplex()

    def posterior(  # type: ignore[override]
        self, params: FloatArray, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weighted responsibilities (K·S, m), expected counts (S, K), Σ weight · log evidence (S,)."""
        S, K = params.shape[:2]
        joint = log_prob.reshape(K, S, -1)
        if (labels := batch.labels) is not None:
            joint += np.where(possible_states(labels, K), 0.0, -np.inf)[:, None]
        if K > 1:
            joint += self._log_weights(params, batch)
        resp, log_evidence = posterior_of(joint.reshape(K, -1), beta)
        resp, log_evidence = resp.reshape(K, S, -1), log_evidence.reshape(S, -1)
        if batch.weight is None:
            total = log_evidence.sum(axis=1)
        else:
            resp *= batch.weight
            total = log_evidence @ batch.weight
        return resp.reshape(K * S, -1), self._counts(resp, batch), total

    def _log_weights(self, params: FloatArray, batch: Batch) -> FloatArray:
        """Log-probabilities before densities are seen, (K, S, m) or of its form."""
        with np.errstate(divide="ignore"):  # weight 0 is log-weight -inf
            return np.log(params.T)[:, :, None]

    def _counts(self, resp: FloatArray, batch: Batch) -> FloatArray:
        """Statistics from weighted responsibilities (K, S, m)."""
        return resp.sum(axis=2).T

    def maximize(self, stats: FloatArray, params: FloatArray | None = None) -> FloatArray:
        counts = stats + (self.concentration - 1.0)
        return counts / counts.sum(axis=1, keepdims=True)

    def log_prior(self, params: FloatArray) -> FloatArray:  # type: ignore[override]
        if self.concentration == 1.0:
            return np.zeros(len(params))
        with np.errstate(divide="ignore"):
            prior: FloatArray = (self.concentration - 1.0) * np.log(params).sum(axis=1)
        return prior


def posterior_of(
    log_prob: FloatArray, beta: float = 1.0, log_weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    r"""Posterior probabilities (K, m), in place of log-probabilities (K, m), and log evidence (m,).

    Joint log-probabilities are ``log_prob`` and ``log_weights`` (K,), where these are given. The evidence is
    :math:`\beta^{-1} \log \sum_k e^{\beta \, \text{joint}_k}`.
    """
    K = len(log_prob)
    if log_weights is None:
        log_weights = np.zeros(K)
    if K == 1:
        log_evidence = log_prob[0] + log_weights
        log_prob[...] = log_evidence > -np.inf
        return log_prob, log_evidence
    if beta != 1.0:
        log_prob *= beta
        log_weights = log_weights * beta
    log_evidence = exponentials.posterior(log_prob, log_weights)
    if beta != 1.0:
        log_evidence /= beta
    return log_prob, log_evidence


def drawn_from(resp: FloatArray, uniform: FloatArray) -> IntArray:
    """A component for each column of probabilities (K, m), by uniform numbers (m,) in [0, 1)."""
    cumulative = np.cumsum(resp, axis=0)
    # Never as much as the sum: what lies beyond it has probability 0.
    level = np.minimum(uniform * cumulative[-1], np.nextafter(cumulative[-1], 0.0))
    return np.minimum((cumulative <= level).sum(axis=0), len(resp) - 1)
