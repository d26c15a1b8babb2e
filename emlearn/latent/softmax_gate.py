"""Independent hidden labels whose probabilities depend on features: the gate of mixtures of experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert, solve

from emlearn.em.algebra import weighted_gram, whitener
from emlearn.em.batches import Affine, Batch
from emlearn.em.spaces import Real
from emlearn.latent.known import exclude
from emlearn.latent.mixture_weights import WeightsByRow, posterior_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A component starts with no less than this share of the observations, even if it has none.
LEAST_SHARE = 1e-6
# Times that a Newton step is halved before a safe one is taken.
N_HALVES = 4
# The least that the curvature is taken for, relative to its bound.
FLAT = 1e-10


class GateStats(NamedTuple):
    """Sums over the observations, with z = (1, features)."""

    gradient: FloatArray  # (K, q + 1) Σ (resp − π) z
    curvature: FloatArray  # (K (K − 1) / 2, q + 1, q + 1) Σ π_k π_l z zᵀ of each pair k < l
    gram: FloatArray  # (q + 1, q + 1) Σ z zᵀ


@dataclass(frozen=True)
class SoftmaxGate(WeightsByRow):
    r"""Each observation belongs to component k with a probability that its features tell.

    .. math:: \pi_k(x) = \frac{e^{a_k + g_k \cdot x}}{\sum_l e^{a_l + g_l \cdot x}}

    The gate of mixtures of experts (Jacobs, Jordan, Nowlan & Hinton, 1991; Jordan & Jacobs, 1994). The
    parameters are an array (K, q + 1), the intercepts :math:`a_k` first and the slopes :math:`g_k` after them.
    Only differences between components matter: each column sums to 0, so that none is singled out.

    The M-step is one Newton step on the expected log-likelihood, which is concave; `shortened` has a step that
    is safe from anywhere.

    Parameters
    ----------
    columns : tuple of int
        The rows of ``batch.x`` that the gate sees.
    ridge : float, default=0.0
        Penalty :math:`\frac12 \text{ridge} \sum_k \lVert g_k \rVert^2` on the slopes. Without it they run to
        infinity where features tell components apart without error.
    units : Affine, default=None
        The gate sees (x − shift) / scale of its columns, where these are not in units of their spread.
    """

    columns: tuple[int, ...]
    ridge: float = 0.0
    units: Affine | None = None
    spaces = Real()

    def log_weights(self, params: FloatArray, batch: Batch) -> FloatArray:
        """Log-probability of each component before its density is seen, (K, m)."""
        scores = params @ self._features(batch)
        scores -= scores.max(axis=0)
        scores -= np.log(np.exp(scores).sum(axis=0))
        return scores

    def posterior(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, GateStats, float]:
        """Weighted responsibilities (in place of ``log_prob``), statistics, Σ weight · log evidence."""
        weights = self.log_weights(params, batch)
        log_prob += weights
        exclude(log_prob, batch)
        resp, log_evidence = posterior_of(log_prob, beta)
        np.exp(weights, out=weights)
        first, second = _pairs(len(params))
        both = weights[first] * weights[second]
        if batch.weight is not None:
            resp *= batch.weight
            weights *= batch.weight
            both *= batch.weight
        z = self._features(batch)
        weighted = z if batch.weight is None else z * batch.weight
        gram = batch.once(("gate gram", self.columns), lambda: weighted @ z.T)
        stats = GateStats((resp - weights) @ z.T, weighted_gram(both, z), gram)
        return resp, stats, batch.sum(log_evidence)

    def _features(self, batch: Batch) -> FloatArray:
        """z: the constant 1 and the features of the gate, (q + 1, m)."""

        def gather() -> FloatArray:
            z = np.empty((len(self.columns) + 1, batch.x.shape[1]))
            z[0], z[1:] = 1.0, batch.x[list(self.columns)]
            if self.units is not None:
                z[1:] -= self.units.shift[:, None]
                z[1:] /= self.units.scale[:, None]
            return z

        return batch.once(("gate features", self.columns), gather)

    def even(self, n_components: int) -> FloatArray:
        """Parameters by which all components are as probable, whatever the features."""
        return np.zeros((n_components, len(self.columns) + 1))

    def start(self, batch: Batch, resp: FloatArray) -> FloatArray:
        """Parameters from weighted responsibilities (K, m): their shares, whatever the features."""
        params = np.zeros((len(resp), len(self.columns) + 1))
        counts = resp.sum(axis=1)
        shares = np.log(np.maximum(counts / counts.sum(), LEAST_SHARE))
        params[:, 0] = shares - shares.mean()
        return params

    def maximize(self, stats: GateStats, params: FloatArray) -> FloatArray:
        """One Newton step."""
        return self._step(stats, params, safe=False)

    def recentred(self, stats: GateStats, old: FloatArray, new: FloatArray) -> GateStats:
        # As far as the curvature stays what it was.
        first, second = _pairs(len(new))
        step = new - old
        bend = np.einsum("pij,pj->pi", stats.curvature, step[first] - step[second])
        gradient = stats.gradient.copy()
        np.subtract.at(gradient, first, bend)
        np.add.at(gradient, second, bend)
        return stats._replace(gradient=gradient)

    def shortened(self, stats: GateStats, params: FloatArray, attempt: int) -> FloatArray | None:
        """Half the Newton step, a quarter, ...; at last one that cannot fall (Böhning, 1992).

        That one takes the curvature for its bound.
        """
        if attempt <= N_HALVES:
            return params + 0.5**attempt * (self.maximize(stats, params) - params)
        return self._step(stats, params, safe=True) if attempt == N_HALVES + 1 else None

    def _step(self, stats: GateStats, params: FloatArray, *, safe: bool) -> FloatArray:
        """One step up the penalised expected log-likelihood, in coordinates where Böhning's bound is 1."""
        basis = _contrasts(len(params))
        position = basis.T @ params
        penalty = np.full(params.shape[1], self.ridge)
        penalty[0] = 0.0
        bound = 0.5 * stats.gram + np.diag(penalty)
        units = whitener(bound)
        step = (basis.T @ stats.gradient - penalty * position) @ units
        if not safe and step.size:
            first, second = _pairs(len(params))
            contrast = basis[first] - basis[second]
            of_pairs = np.einsum("pi,pj->ijp", contrast, contrast)
            blocks = np.tensordot(of_pairs, units.T @ stats.curvature @ units, axes=1)
            curvature = blocks.swapaxes(1, 2).reshape(step.size, step.size)
            curvature += np.kron(np.eye(len(step)), (units.T * penalty) @ units)
            step = _solve(curvature, step.ravel()).reshape(step.shape)
        return basis @ (position + step @ units.T)

    def expected_log_joint(self, stats: GateStats, new: FloatArray, old: FloatArray) -> float | None:
        there = self.recentred(stats, old, new)  # the slope half-way, by which a parabola rises
        return float(0.5 * np.sum((stats.gradient + there.gradient) * (new - old)))

    def moved(self, params: FloatArray, columns: Sequence[int]) -> tuple[SoftmaxGate, FloatArray]:
        """The gate and its parameters where the rows of ``batch.x`` that it sees have other places."""
        order = np.argsort(columns)
        units = None if self.units is None else Affine(*(part[order] for part in self.units))
        slopes = params[:, 1:][:, order]
        moved = replace(self, columns=tuple(int(columns[i]) for i in order), units=units)
        return moved, np.column_stack([params[:, 0], slopes])

    def log_prior(self, params: FloatArray) -> float:
        """Log of the normal density that the ridge amounts to, up to a constant."""
        return -0.5 * self.ridge * float(np.sum(params[:, 1:] ** 2))

    def for_share(self, share: float) -> SoftmaxGate:
        """The gate for a share of the data, on which the penalty weighs as much less."""
        return replace(self, ridge=share * self.ridge)

    def in_units(self, params: FloatArray, units: Affine) -> FloatArray:
        """Parameters for the rows of ``batch.x`` before they were brought to ``units``."""
        shift, scale = self._units_before(units)
        slopes = params[:, 1:] / scale
        return np.column_stack([params[:, 0] - slopes @ shift, slopes])

    def from_units(self, params: FloatArray, units: Affine) -> FloatArray:
        """The inverse of `in_units`."""
        shift, scale = self._units_before(units)
        return np.column_stack([params[:, 0] + params[:, 1:] @ shift, params[:, 1:] * scale])

    def _units_before(self, units: Affine) -> Affine:
        shift, scale = (part[list(self.columns)] for part in units)
        if self.units is None:
            return Affine(shift, scale)
        return Affine(shift + scale * self.units.shift, scale * self.units.scale)

    def floats_per_row(self, n_components: int) -> int:
        """How many numbers an E-step works on per observation, beside those of the densities."""
        n_pairs = n_components * (n_components - 1) // 2
        return (n_pairs + 1) * (len(self.columns) + 1) + 4 * n_components

    def n_parameters(self, params: FloatArray) -> int:
        """Number of free parameters."""
        return (len(params) - 1) * params.shape[1]


@cache
def _pairs(n_components: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and second of each pair of components."""
    return np.triu_indices(n_components, 1)


@cache
def _contrasts(n_components: int) -> FloatArray:
    """Orthonormal basis (K, K − 1) of what sums to 0 over components."""
    return np.ascontiguousarray(helmert(n_components).T, dtype=np.float64)


def _solve(curvature: FloatArray, gradient: FloatArray) -> FloatArray:
    """Newton step, as if no curvature were less than ``FLAT``."""
    try:
        np.linalg.cholesky(curvature - FLAT * np.eye(len(curvature)))
        return solve(curvature, gradient, assume_a="pos")
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(curvature)
        return vectors @ (vectors.T @ gradient / np.maximum(values, FLAT))
