r"""Latent structures whose parameters are distributions of probabilities: variational Bayes.

As in `emlearn.families.variational`: expected logarithms stand in the place of logarithms, the M-step adds
expected counts to the prior's, and `log_prior` is minus the divergence from the prior.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from emlearn.em.batches import Batch
from emlearn.em.dirichlet import beta_divergence, dirichlet_divergence, expected_logs
from emlearn.em.spaces import Counts, Fixed
from emlearn.latent.known import exclude
from emlearn.latent.markov_chain import ChainParams, ChainStats, MarkovChain, counts_of
from emlearn.latent.mixture_weights import MixtureWeights, posterior_of

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DirichletWeights(MixtureWeights):
    r"""Mixture weights that have a Dirichlet distribution.

    The parameters are those of the posterior, an array of shape (K,).

    Parameters
    ----------
    concentration : float or ndarray of shape (K,), default=1.0
        Prior: how many observations of each component it is worth. Below 1 it favours few components.

    Raises
    ------
    ValueError
        If a concentration is not positive.
    """

    is_density = False  # but a bound on one

    concentration: float | FloatArray = 1.0  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not (np.asarray(self.concentration) > 0).all():
            raise ValueError(f"concentration must be positive; the least is {np.min(self.concentration):.6g}.")

    @property
    def spaces(self) -> Any:  # type: ignore[override]
        return Counts(self.concentration)

    def log_weights(self, params: FloatArray, batch: Batch | None = None) -> FloatArray:
        """Expected log-weight of each component, (K, 1)."""
        return expected_logs(params)[:, None]

    def resp(
        self, params: FloatArray, log_prob: FloatArray, batch: Batch | None = None, beta: float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        """Posterior probabilities (K, m), in place of ``log_prob``, and their bound on log evidence, (m,)."""
        exclude(log_prob, batch)
        return posterior_of(log_prob, beta, self.log_weights(params)[:, 0])

    def maximize(self, stats: FloatArray, params: FloatArray | None = None) -> FloatArray:
        return np.asarray(self.concentration + stats)

    def log_prior(self, params: FloatArray) -> float:
        """Minus the Kullback-Leibler divergence of the posterior from the prior, in nats."""
        return -float(dirichlet_divergence(params, np.asarray(self.concentration)))

    def mean(self, params: FloatArray) -> FloatArray:
        """Expected weights, (K,)."""
        return np.asarray(params / params.sum())

    def counts(self, params: FloatArray) -> FloatArray:
        """Expected number of observations of each component, (K,), without the prior's."""
        return np.asarray(params - self.concentration)

    def unseen(self, params: FloatArray) -> float:
        """Expected weight of components never seen."""
        return 0.0

    def before(self, n_components: int) -> FloatArray:
        """The prior in the form of parameters, (K,)."""
        return np.array(np.broadcast_to(self.concentration, n_components), dtype=np.float64)

    def reordered(self, order: NDArray[np.int_]) -> DirichletWeights:
        """The same prior, of components in another order."""
        if np.ndim(self.concentration) == 0:
            return self
        return replace(self, concentration=np.asarray(self.concentration)[order])


class Sticks(NamedTuple):
    """Beta distributions of what each component breaks off what those before it left, first to last."""

    order: NDArray[np.intp]  # (K,) the component of each stick
    prior: tuple[FloatArray, FloatArray]
    posterior: tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class StickBreaking(DirichletWeights):
    r"""Mixture weights of a Dirichlet or Pitman-Yor process: sticks, each broken off what is left.

    :math:`w_k = v_k \prod_{j<k} (1 - v_j)` with :math:`v_k \sim \mathrm{Beta}(1 - \delta, \alpha + k \delta)`.
    There are more components than the K that are fitted, of which none was seen: weights sum to less than 1.
    Sticks are taken in the order of their size, the largest first, which is where the bound is highest; in
    another order the prior does little. The parameters are the expected counts of components, (K,).

    Parameters
    ----------
    concentration : float, default=1.0
        α. Larger ones expect more components: about α log n of n observations where δ is 0.
    discount : float, default=0.0
        δ, from 0 (Dirichlet process) to below 1. Larger ones expect more small components, about
        :math:`n^\delta` in all.
    seen : ndarray of shape (K,), default=None
        Expected counts from data seen before. The order of sticks is then theirs.

    Raises
    ------
    ValueError
        If the discount is not in [0, 1), the concentration not above its negative, or a count negative.

    References
    ----------
    Blei & Jordan (2006), Variational inference for Dirichlet process mixtures, Bayesian Analysis 1. Kurihara,
    Welling & Teh (2007), Collapsed variational Dirichlet process mixture models, IJCAI. Pitman & Yor (1997),
    The two-parameter Poisson-Dirichlet distribution, Annals of Probability 25.
    """

    concentration: float = 1.0
    discount: float = 0.0
    seen: FloatArray | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount={self.discount:.6g} must be at least 0 and below 1.")
        if not self.concentration > -self.discount:
            raise ValueError(
                f"concentration={self.concentration:.6g} must be more than {0 - self.discount:.6g}."
            )
        if self.seen is not None and not (self.seen >= 0).all():
            raise ValueError(f"seen must hold counts, but the least is {self.seen.min():.6g}.")

    @property
    def spaces(self) -> Any:  # type: ignore[override]
        return Counts(0.0 if self.seen is None else self.seen)

    def sticks(self, params: FloatArray) -> Sticks:
        """Prior and posterior of the sticks, in their order."""
        before = np.zeros_like(params) if self.seen is None else self.seen
        order = np.argsort(-(params if self.seen is None else before), kind="stable")
        rank = np.arange(1, len(params) + 1)

        def of_counts(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
            own = counts[order]
            later = np.append(np.cumsum(own[:0:-1])[::-1], 0.0)
            return 1 - self.discount + own, self.concentration + rank * self.discount + later

        return Sticks(order, of_counts(before), of_counts(params))

    def log_weights(self, params: FloatArray, batch: Batch | None = None) -> FloatArray:
        order, _, (a, b) = self.sticks(params)
        both = digamma(a + b)
        left = np.append(0.0, np.cumsum(digamma(b) - both)[:-1])
        logs = np.empty(len(order))
        logs[order] = digamma(a) - both + left
        return logs[:, None]

    def maximize(self, stats: FloatArray, params: FloatArray | None = None) -> FloatArray:
        return stats if self.seen is None else self.seen + stats

    def log_prior(self, params: FloatArray) -> float:
        _, prior, posterior = self.sticks(params)
        return -float(beta_divergence(*posterior, *prior).sum())

    def mean(self, params: FloatArray) -> FloatArray:
        """Expected weights, (K,); they sum to less than 1, the rest being of components never seen."""
        order, _, (a, b) = self.sticks(params)
        left = np.append(1.0, np.cumprod(b / (a + b))[:-1])
        weights = np.empty(len(order))
        weights[order] = a / (a + b) * left
        return weights

    def counts(self, params: FloatArray) -> FloatArray:
        return params if self.seen is None else params - self.seen

    def unseen(self, params: FloatArray) -> float:
        _, _, (a, b) = self.sticks(params)
        return float(np.prod(b / (a + b)))

    def before(self, n_components: int) -> FloatArray:
        return np.zeros(n_components) if self.seen is None else self.seen

    def reordered(self, order: NDArray[np.int_]) -> StickBreaking:
        return self if self.seen is None else replace(self, seen=self.seen[order])


@dataclass(frozen=True, eq=False)
class DirichletChain(MarkovChain):
    r"""A Markov chain whose start and rows of transitions have Dirichlet distributions.

    The parameters are those of the posterior, in the form of `ChainParams`: counts, of which each row of
    transitions has those of its own. Where a prior count is 0 the transition is impossible.

    Parameters
    ----------
    fixed_start : bool, default=False
        The first state's probabilities are known, and have no distribution: ``start_concentration`` holds them.
    start_concentration : float or ndarray of shape (K,), default=1.0
        Prior of the first state: how many sequences that begin with each it is worth.
    concentration : float or ndarray of shape (K, K), default=1.0
        Prior of the rows: how many transitions of each kind it is worth. 0 forbids one.

    Raises
    ------
    ValueError
        If a concentration is negative, a row forbids all, known probabilities do not sum to 1, or the chain is
        to be stationary or to keep its transitions as they are: that has no conjugate prior.
    """

    is_density = False  # but a bound on one

    def __post_init__(self) -> None:
        for name in ("stationary", "fixed_transition"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}=True has no conjugate prior: leave it out, or fit by maximum likelihood with "
                    "MarkovChain."
                )
        if self.allowed is not None:
            raise ValueError("allowed is not for this chain: a concentration of 0 forbids a transition.")
        for name in ("start_concentration", "concentration"):
            given = np.asarray(getattr(self, name))
            if not (given >= 0).all() or not np.atleast_1d(given).sum(axis=-1).min() > 0:
                raise ValueError(
                    f"{name} must not be negative, and in each row some of it positive; the least is "
                    f"{given.min():.6g}."
                )
        if self.fixed_start and not np.isclose(np.sum(self.start_concentration), 1.0):
            raise ValueError(
                "With fixed_start=True start_concentration holds the probabilities of the first state, but "
                f"they sum to {np.sum(self.start_concentration):.6g}."
            )

    @property
    def spaces(self) -> Any:
        start = Fixed() if self.fixed_start else Counts(self.start_concentration)
        return ChainParams(start, Counts(self.concentration))  # type: ignore[arg-type]

    def geometric_mean(self, params: ChainParams) -> ChainParams:
        """Exponentials of the expected log-probabilities, which sum to less than 1 where they are not known."""
        transition = np.exp(expected_logs(params.transition))
        return ChainParams(
            params.start if self.fixed_start else np.exp(expected_logs(params.start)), transition
        )

    def _probabilities(self, params: ChainParams, n_states: int) -> tuple[FloatArray, FloatArray]:
        return super()._probabilities(self.geometric_mean(params), n_states)

    def start_of(self, params: ChainParams) -> FloatArray:
        return params.start

    def start(self, batch: Batch, resp: FloatArray) -> ChainParams:
        """Parameters from weighted responsibilities (K, m), neighbours taken for independent."""
        counts = counts_of(batch, resp)
        possible = self._possible(len(resp))
        return self.maximize(ChainStats(*(np.where(p, n, 0.0) for p, n in zip(possible, counts, strict=True))))

    def _possible(self, n_states: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which states may be first, and which transitions there may be."""
        return (
            np.broadcast_to(self.start_concentration, n_states) > 0,
            np.broadcast_to(self.concentration, (n_states, n_states)) > 0,
        )

    def resting(self, params: ChainParams) -> NDArray[np.bool_] | None:
        possible = self._possible(len(params.start))[self.fixed_start :]
        impossible = ~np.concatenate([part.ravel() for part in possible])
        return impossible if impossible.any() else None

    def maximize(self, stats: ChainStats, params: ChainParams | None = None) -> ChainParams:
        first = np.zeros_like(stats.first) if self.fixed_start else stats.first
        return ChainParams(self.start_concentration + first, self.concentration + stats.pairs)

    def log_prior(self, params: ChainParams) -> float:
        """Minus the Kullback-Leibler divergence of the posterior from the prior, in nats."""
        value = -float(dirichlet_divergence(params.transition, np.asarray(self.concentration)).sum())
        if not self.fixed_start:
            value -= float(dirichlet_divergence(params.start, np.asarray(self.start_concentration)))
        return value

    def mean(self, params: ChainParams) -> ChainParams:
        """Expected probabilities, as a chain of known parameters has them."""
        return ChainParams(*(part / part.sum(axis=-1, keepdims=True) for part in params))

    def before(self, n_states: int) -> ChainParams:
        """The prior in the form of parameters."""

        def whole(concentration: float | FloatArray, shape: tuple[int, ...]) -> FloatArray:
            return np.array(np.broadcast_to(concentration, shape), dtype=np.float64)

        return ChainParams(
            whole(self.start_concentration, (n_states,)), whole(self.concentration, (n_states, n_states))
        )

    def counts(self, params: ChainParams) -> FloatArray:
        """Expected number of steps in each state, (K,), without the prior's; no more, if starts are known."""
        before = self.before(len(params.start))
        pairs = params.transition - before.transition
        if self.fixed_start:  # of first steps it is known only where they led
            return np.maximum(pairs.sum(axis=0), pairs.sum(axis=1))
        return np.asarray(params.start - before.start + pairs.sum(axis=0))

    def n_parameters(self, params: ChainParams) -> int:
        """Number of free probabilities: what is known or the prior forbids does not count."""
        possible = self._possible(len(params.start))[self.fixed_start :]
        return sum(int(np.count_nonzero(p)) - (1 if p.ndim == 1 else len(p)) for p in possible)

    def reordered(self, order: NDArray[np.int_]) -> DirichletChain:
        """The same prior, of states in another order."""
        before = self.reorder(self.before(len(order)), order)
        return replace(self, start_concentration=before.start, concentration=before.transition)
