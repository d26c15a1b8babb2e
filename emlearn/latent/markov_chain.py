"""Hidden states that follow a Markov chain: the latent structure of hidden Markov models."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from emlearn.em.batches import Batch, FloatArray, IntArray, Lanes
from emlearn.em.compiled import compiled_or
from emlearn.em.model import LatentStructure
from emlearn.em.spaces import Fixed, Simplex
from emlearn.latent import _chain_numpy, exponentials
from emlearn.latent.known import exclude

# Workspaces up to this size are kept: 32 MB.
WORKSPACE_FLOATS = 2**22
# A stationary start has no closed M-step; its steps end where none gains more than this, relatively.
STATIONARY_TOL = 1e-13
STATIONARY_STEPS = 100


kernel: Any = compiled_or(_chain_numpy)


class ChainParams(NamedTuple):
    """Parameters of a chain of K states."""

    start: FloatArray  # (K,) distribution of the first state
    transition: FloatArray  # (K, K) from row to column; rows sum to 1


class ChainStats(NamedTuple):
    """Expected numbers of states and transitions."""

    first: FloatArray  # (K,) first states
    pairs: FloatArray  # (K, K) transitions


class Filtered(NamedTuple):
    """What a pass forward leaves."""

    filtered: FloatArray  # (K, m) p(state | what was seen so far); mantissas at steps of `far`
    predictive: FloatArray  # (m,) log p(x | what was seen before); with a temperature, divided by it
    density: FloatArray  # (K, m) densities, shifted
    scale: FloatArray  # (m,)
    transition: FloatArray  # (K, K)
    far: _chain_numpy.Far | None  # steps that were done in numbers of any size


@dataclass(frozen=True, eq=False)
class MarkovChain(LatentStructure):
    r"""The first state is drawn from :math:`\pi`, each next one from a row of the transition matrix A.

    The E-step is the forward–backward algorithm, scaled step by step instead of in logarithms: log-densities
    are shifted by their maximum over states. A step that underflows, and with zeros in A one after which a
    state that is possible is out of range of floating point, is done again in numbers with a power of their
    own, and so are the next ones until all are in range. Expected transitions are one product,
    :math:`\xi = A \circ (\alpha \tilde\beta^\top)`; nothing of size T × K × K is made.

    Parameters
    ----------
    fixed_start : bool, default=False
        Keep the distribution of the first state as it is.
    stationary : bool, default=False
        The first state has the stationary distribution of A.
    allowed : ndarray of bool of shape (K, K), default=None
        Transitions that starting values may have; EM keeps zeros. None: all.
    start_concentration : float or ndarray of shape (K,), default=1.0
        Concentration of a Dirichlet prior on the distribution of the first state, at least 1.
    concentration : float or ndarray of shape (K, K), default=1.0
        Concentrations of Dirichlet priors on the rows of A, at least 1; 1 is maximum likelihood.
    fixed_transition : bool, default=False
        Keep the transition matrix as it is.

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), Annals of Mathematical Statistics 41. Rabiner (1989), Proceedings of
    the IEEE 77.
    """

    fixed_start: bool = False
    stationary: bool = False
    allowed: NDArray[np.bool_] | None = None
    start_concentration: float | FloatArray = 1.0
    concentration: float | FloatArray = 1.0
    fixed_transition: bool = False

    @property
    def spaces(self) -> Any:
        free_start = not (self.fixed_start or self.stationary)
        transition = Fixed() if self.fixed_transition else Simplex()
        return ChainParams(Simplex() if free_start else Fixed(), transition)  # type: ignore[arg-type]

    # -- E-step ------------------------------------------------------------------------------------------

    def posterior(
        self, params: ChainParams, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, ChainStats, float]:
        """Weighted posterior (K, m), expected transitions, Σ weight · log evidence."""
        lanes = _lanes(batch)
        log_prob = np.ascontiguousarray(log_prob, dtype=np.float64)
        passed = self._forward(params, log_prob, batch, beta)
        # Once there are densities nobody looks at their logarithms again: their memory serves.
        resp, ahead, transition = passed.density, log_prob, passed.transition
        far_pairs = kernel.backward(
            resp, transition, lanes.n_active, passed.filtered, passed.scale, ahead, passed.far, batch.weight
        )
        predictive = passed.predictive
        if batch.weight is not None:
            resp *= batch.weight
            ahead *= batch.weight
            predictive = np.where(batch.weight > 0, predictive, 0.0)  # without weight, -inf is nothing
        pairs = transition * (passed.filtered @ ahead.T)
        if far_pairs is not None:
            pairs += far_pairs
        first = resp[:, : len(lanes.lengths)].sum(axis=1)
        return resp, ChainStats(first, pairs), batch.sum(predictive)

    def filter(self, params: ChainParams, log_prob: FloatArray, batch: Batch) -> Filtered:
        """Pass forward: filtered probabilities and one-step predictive log-densities."""
        passed = self._forward(params, np.ascontiguousarray(log_prob, dtype=np.float64), batch, 1.0)
        if passed.far is not None:
            kernel.as_numbers(passed.filtered, passed.far)
        return passed

    def log_evidence(self, params: ChainParams, log_prob: FloatArray, batch: Batch) -> FloatArray:
        """Log evidence of each sequence, (n_lanes,)."""
        lane = _lanes(batch).places()[1]
        predictive = self.filter(params, log_prob, batch).predictive
        return np.bincount(lane, predictive).astype(np.float64)

    def viterbi(self, params: ChainParams, log_prob: FloatArray, batch: Batch) -> tuple[IntArray, FloatArray]:
        """Most probable path (m,), and its log joint probability with what was seen, (n_lanes,)."""
        log_prob = np.ascontiguousarray(log_prob, dtype=np.float64)
        exclude(log_prob, batch)
        lanes = _lanes(batch)
        path = np.empty(log_prob.shape[1], dtype=np.intp)
        with np.errstate(divide="ignore"):  # log 0 forbids
            log_start, log_transition = map(np.log, self._probabilities(params, len(log_prob)))
        log_joint = kernel.viterbi(log_prob, log_start, log_transition, lanes.n_active, path)
        return path, log_joint

    def draw_paths(
        self, params: ChainParams, log_prob: FloatArray, batch: Batch, rng: np.random.RandomState
    ) -> IntArray:
        """A draw from the posterior of the paths, (m,)."""
        return self.draw(params, log_prob, batch, rng.uniform(size=(log_prob.shape[1],)))[0]

    def most_probable(self, params: ChainParams, log_prob: FloatArray, batch: Batch) -> IntArray:
        """Most probable path, (m,)."""
        return self.viterbi(params, log_prob, batch)[0]

    def draw(
        self, params: ChainParams, log_prob: FloatArray, batch: Batch, uniform: FloatArray
    ) -> tuple[IntArray, float]:
        """A draw from the posterior of the paths (m,), by uniform numbers (m,), and Σ weight · log evidence."""
        lanes = _lanes(batch)
        passed = self._forward(params, np.ascontiguousarray(log_prob, dtype=np.float64), batch, 1.0)
        path = np.empty(len(passed.predictive), dtype=np.intp)
        predictive = passed.predictive
        if batch.weight is not None:
            predictive = np.where(batch.weight > 0, predictive, 0.0)  # without weight, -inf is nothing
        kernel.draw_paths(passed.filtered, passed.transition, lanes.n_active, uniform, path, passed.far)
        return path, batch.sum(predictive)

    def _forward(self, params: ChainParams, log_prob: FloatArray, batch: Batch, beta: float) -> Filtered:
        lanes = _lanes(batch)
        exclude(log_prob, batch)
        K, m = log_prob.shape
        start, transition = self._probabilities(params, K)
        if beta != 1.0:
            log_prob *= beta
            start, transition = start**beta, transition**beta
        density, filtered = _workspace.lend(K, m)
        predictive, scale = np.empty(m), np.empty(m)
        # An observation that is impossible in every state has NaN here, and the kernel makes it 0.
        exponentials.densities(log_prob, predictive, density)
        far = kernel.forward(log_prob, density, start, transition, lanes.n_active, filtered, scale, predictive)
        exponentials.add_logs(scale, predictive)
        if beta != 1.0:
            predictive /= beta
        return Filtered(filtered, predictive, density, scale, transition, far)

    def _probabilities(self, params: ChainParams, n_states: int) -> tuple[FloatArray, FloatArray]:
        """Start (K,) and transition (K, K) as the kernel reads them, which does not look at their shapes."""
        start = np.ascontiguousarray(self.start_of(params), dtype=np.float64)
        transition = np.ascontiguousarray(params.transition, dtype=np.float64)
        if start.shape != (n_states,) or transition.shape != (n_states, n_states):
            raise ValueError(f"The chain has {len(transition)} states, but there are densities of {n_states}.")
        return start, transition

    # -- M-step ------------------------------------------------------------------------------------------

    def start_of(self, params: ChainParams) -> FloatArray:
        """Distribution of the first state."""
        return stationary_distribution(params.transition) if self.stationary else params.start

    def start(self, batch: Batch, resp: FloatArray) -> ChainParams:
        """Parameters from weighted responsibilities (K, m), no allowed transition impossible."""
        K = len(resp)
        first, pairs = counts_of(batch, resp)
        allowed = np.ones((K, K)) if self.allowed is None else self.allowed.astype(np.float64)
        pairs = (pairs + 1e-3 * pairs.sum() / K**2 + 1e-300) * allowed
        transition = pairs / pairs.sum(axis=1, keepdims=True)
        even = allowed / allowed.sum(axis=1, keepdims=True)
        start = 0.9 * first / first.sum() + 0.1 / K
        return ChainParams(start, 0.95 * transition + 0.05 * even)

    def maximize(self, stats: ChainStats, params: ChainParams) -> ChainParams:
        if self.stationary and self.fixed_transition:
            return params
        counts = _with_prior(stats.pairs, self.concentration, params.transition)
        if self.stationary:
            transition = _fit_stationary(stats.first, counts, params.transition)
            return ChainParams(stationary_distribution(transition), transition)
        transition = params.transition if self.fixed_transition else _normalised(counts, params.transition)
        if self.fixed_start:
            return ChainParams(params.start, transition)
        first = _with_prior(stats.first, self.start_concentration, params.start)
        return ChainParams(_normalised(first, params.start), transition)

    def reorder(self, params: ChainParams, order: NDArray[np.int_]) -> ChainParams:
        """Parameters with the states in another order."""
        return ChainParams(params.start[order], params.transition[np.ix_(order, order)])

    def expected_log_joint(self, stats: ChainStats, new: ChainParams, old: ChainParams) -> float | None:
        return float(xlogy(stats.first, self.start_of(new)).sum() + xlogy(stats.pairs, new.transition).sum())

    def log_prior(self, params: ChainParams) -> float:
        value = 0.0 if self.fixed_transition else _log_dirichlet(self.concentration, params.transition)
        if not (self.fixed_start or self.stationary):
            value += _log_dirichlet(self.start_concentration, params.start)
        return value

    def n_parameters(self, params: ChainParams) -> int:
        """Number of free parameters: what is fixed or forbidden does not count."""
        K = len(params.start)
        free_start = 0 if self.fixed_start or self.stationary else K - 1
        if self.fixed_transition:
            return free_start
        n_allowed = K * K if self.allowed is None else int(np.count_nonzero(self.allowed))
        return free_start + n_allowed - K


def counts_of(batch: Batch, resp: FloatArray) -> ChainStats:
    """First states and transitions as weighted responsibilities (K, m) have them, neighbours independent."""
    n_active = _lanes(batch).n_active
    later = np.arange(n_active[0], resp.shape[1])
    before = later - np.repeat(n_active[:-1], n_active[1:])
    weight = 1.0 if batch.weight is None else np.maximum(batch.weight[later], np.finfo(np.float64).tiny)
    return ChainStats(resp[:, : n_active[0]].sum(axis=1), resp[:, before] @ (resp[:, later] / weight).T)


def _lanes(batch: Batch) -> Lanes:
    if batch.lanes is None:
        raise ValueError("A Markov chain needs sequences: give Batches their lengths.")
    return batch.lanes


class _Workspace(threading.local):
    """Memory that each thread uses again: fresh pages for every E-step would cost as much as the E-step.

    What was lent comes back when nobody holds any of the arrays made of it any more; as long as somebody does,
    the next to ask gets fresh memory. So results stay what they are, however long they are held.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0)
        self._lent: Callable[[], FloatArray | None] = lambda: None  # what was lent last; None once it is back

    def lend(self, K: int, m: int) -> FloatArray:
        """Two arrays of shape (K, m)."""
        width = m + 8 + (-m) % 8  # rows that do not all start at the same place of the cache's pages
        size = 2 * K * width
        if size > WORKSPACE_FLOATS:
            lent = np.empty(size)
        else:
            if size > len(self._memory) or self._lent() is not None:
                self._memory = np.empty(size)
            # Views of this array refer to it, not to the memory behind it: it lives as long as any of them.
            lent = np.frombuffer(self._memory.data, count=size)
            self._lent = weakref.ref(lent)
        return lent.reshape(2, K, width)[:, :, :m]


_workspace = _Workspace()


def _with_prior(counts: FloatArray, concentration: float | FloatArray, probabilities: FloatArray) -> FloatArray:
    """Counts with those of a Dirichlet prior; zeros of the structure get none."""
    if isinstance(concentration, float) and concentration == 1.0:
        return counts
    return counts + (concentration - 1.0) * (probabilities > 0)


def _normalised(counts: FloatArray, kept: FloatArray) -> FloatArray:
    """Rows divided by their sums; a row that nothing supports is kept as it is."""
    total = counts.sum(axis=-1, keepdims=True)
    if total.min() > 0:
        return counts / total
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), kept)


def _log_dirichlet(concentration: float | FloatArray, probabilities: FloatArray) -> float:
    """Log density up to a constant; zeros of the structure take no part."""
    if isinstance(concentration, float) and concentration == 1.0:
        return 0.0
    possible = probabilities > 0
    excess = np.broadcast_to(concentration, probabilities.shape)[possible] - 1.0
    return float(excess @ np.log(probabilities[possible]))


def stationary_distribution(transition: FloatArray, start: FloatArray | None = None) -> FloatArray:
    """Distribution that the chain keeps.

    By the algorithm of Grassmann, Taksar & Heyman (1985), which subtracts nothing. Where not every state
    leads to every other, the share of time in each state in the long run from ``start`` (default uniform).

    Parameters
    ----------
    transition : ndarray of shape (K, K)
    start : ndarray of shape (K,), default=None

    Returns
    -------
    distribution : ndarray of shape (K,)
    """
    share = _share_of_time(transition)
    if share is not None:
        return share
    K = len(transition)
    return (np.full(K, 1.0 / K) if start is None else start) @ _long_run(transition)


def _share_of_time(transition: FloatArray) -> FloatArray | None:
    """The stationary distribution; None where a state is met that leads to none before it."""
    K = len(transition)
    reduced = transition.copy()
    for k in range(K - 1, 0, -1):
        leaving = reduced[k, :k].sum()
        if not leaving > 0:
            return None
        reduced[:k, k] /= leaving
        reduced[:k, :k] += reduced[:k, k, None] * reduced[k, :k]
    share = np.ones(K)
    for k in range(1, K):
        share[k] = share[:k] @ reduced[:k, k]
    return share / share.sum()


def _long_run(transition: FloatArray) -> FloatArray:
    """Share of time in each state (column) from each start (row)."""
    # A lazy chain has the same long run and no period; 60 squarings are 10^18 steps.
    power = 0.5 * (transition + np.eye(len(transition)))
    for _ in range(60):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return power


def _fit_stationary(first: FloatArray, counts: FloatArray, transition: FloatArray) -> FloatArray:
    r"""Maximise :math:`\sum f_k \log \delta_k(A) + \sum n_{ij} \log A_{ij}` with δ stationary under A.

    At the maximum :math:`A_{ij} \propto n_{ij} + A_{ij} \delta_i g_j` with
    :math:`g = Z (f / \delta)`, Z the fundamental matrix. Iterating that, each step no longer than raises the
    objective, takes few steps, as first states are few beside transitions.
    """

    def look(A: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Objective, stationary distribution, and share of time in each state from each start, or from any."""
        only = _share_of_time(A)
        limit = _long_run(A) if only is None else only
        share = limit.mean(axis=0) if only is None else only
        return float(xlogy(counts, A).sum() + xlogy(first, share).sum()), share, limit

    here = transition
    value, share, limit = look(here)
    least, gained, unit = STATIONARY_TOL * (counts.sum() + first.sum()), 0.0, np.eye(len(here))
    for _ in range(STATIONARY_STEPS):
        fundamental = unit - here + limit
        try:
            gain = np.linalg.solve(fundamental, first / np.maximum(share, np.finfo(np.float64).tiny))
        except np.linalg.LinAlgError:
            return here
        # A constant in g changes nothing at the maximum; the least one keeps all counts positive.
        target = _normalised(counts + here * share[:, None] * (gain - gain.min()), here)
        step = 1.0
        while True:
            there = here + step * (target - here)
            new, share, limit = look(there)
            if new >= value:
                break
            step *= 0.5
            if step < 1e-6:
                return here
        here, last, gained, value = there, gained, new - value, new
        if gained <= least or gained**2 <= least * last:  # what is to come, as gains shrink at an even pace
            break
    return here
