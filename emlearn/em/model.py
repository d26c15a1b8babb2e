r"""What the engine asks of a model: two functions, and the additive statistics that pass between them.

EM maximises :math:`\log p(x; \theta) + \log p(\theta)` where part of the model, z, is hidden. The E-step
adds up expected sufficient statistics under :math:`p(z \mid x; \theta)`; the M-step turns the sums into new
parameters. The sums are all that the M-step sees, so data can be cut, spread and streamed at will.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Real, flatten, unflatten
from emlearn.em.trees import Tree, leaves, tree_map

FloatArray = NDArray[np.float64]


class EStep(NamedTuple):
    """Result of an E-step. Every field is additive: the E-step of A ∪ B is that of A plus that of B."""

    stats: Tree  # expected sufficient statistics
    log_likelihood: float  # Σ weight · log p(x), nats
    weight: float  # Σ weight


class EMModel:
    """Base of every model. A model of your own needs `expectation` and `maximize`.

    Models hold neither data nor state. Parameters and statistics are NamedTuples of arrays or floats.

    Attributes
    ----------
    spaces : NamedTuple of spaces or None
        For each parameter the space it lives in (`emlearn.em.spaces`), in a tuple of the parameters' form.
        None: all are unconstrained.
    """

    spaces: Any = None

    @property
    def rounding(self) -> float:
        """Relative error that floating point may leave in a sum of log-likelihoods."""
        return 1e-10

    def expectation(self, params: Any) -> Callable[[Batch], EStep]:
        """E-step at ``params``, as a function of a batch.

        What depends on the parameters alone is computed here, once.
        """
        raise NotImplementedError

    def maximize(self, stats: Any, params: Any) -> Any:
        """M-step: new parameters from summed statistics.

        The old ``params`` serve partial (GEM) steps and components that no observation supports.
        """
        raise NotImplementedError

    def shortened(self, stats: Any, params: Any, failed: Any) -> Any:
        """What to take for ``failed``, an M-step that lowered the objective; None where there is nothing else.

        For partial M-steps (GEM), as one Newton step is: asked for again and again, the answers must in the
        end come so close to ``params``, or be so safe, that the objective does not fall.
        """
        return None

    def log_prior(self, params: Any) -> float:
        """Log prior density of the parameters, up to a constant; 0 for maximum likelihood."""
        return 0.0

    def movable(self, params: Any) -> NDArray[np.bool_] | None:
        """Which coordinates may be extrapolated; None for all."""
        return None

    def admits(self, params: Any) -> bool:
        """Whether an extrapolated point is a legal one."""
        return all(np.all(np.isfinite(leaf)) for leaf in leaves(params))

    def is_spurious(self, params: Any) -> bool:
        """Whether the likelihood here owes its height to a constraint and not to the data."""
        return False

    def handicap(self, params: Any) -> float:
        """Nats by which a fit here must be better than others, for what it may owe to luck."""
        return 0.0

    def flatten(self, params: Any) -> FloatArray:
        """Unconstrained coordinates of the parameters."""
        return flatten(self._spaces(params), params)

    def unflatten(self, vector: FloatArray, like: Any) -> Any:
        """Parameters of the shape of ``like`` at unconstrained coordinates."""
        return unflatten(self._spaces(like), vector, like)

    def _spaces(self, params: Any) -> Tree:
        return self.spaces if self.spaces is not None else tree_map(lambda _: Real(), params)


class Observed(NamedTuple):
    """A family's view of one batch at given parameters."""

    log_prob: FloatArray  # (K, m) log p(x | k), up to a term that all components share
    shared: float  # Σ weight · (that term)
    totals: Callable[[FloatArray], Tree]  # weighted resp (K, m) -> Σ resp · T(x), per component
    shared_log_prob: Callable[[], FloatArray | float]  # that term per observation (m,), or a constant


class Family(Protocol):
    """Densities of what is seen, one for each of K components."""

    spaces: Any

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        ...

    def maximize(self, totals: Any, params: Any) -> Any:
        """Parameters from Σ r T(x)."""
        ...

    def shortened(self, totals: Any, params: Any, failed: Any) -> Any:
        """A shorter step than ``failed``, which lowered the objective; None where `maximize` is exact."""
        ...

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        """Parameters from weighted responsibilities (K, m), where there are none yet.

        With ``rng`` a family that responsibilities do not determine draws what they leave open.
        """
        ...

    def log_prior(self, params: Any) -> float: ...

    def movable(self, params: Any) -> Any: ...

    def admits(self, params: Any) -> bool: ...

    @property
    def rounding(self) -> float: ...

    def is_spurious(self, params: Any) -> bool: ...

    def handicap(self, params: Any) -> float: ...


class LatentStructure(Protocol):
    """What is hidden, and how it is distributed."""

    spaces: Any

    def posterior(
        self, params: Any, log_prob: FloatArray, batch: Batch, beta: float
    ) -> tuple[FloatArray, Tree, float]:
        """Weighted responsibilities (K, m), statistics, and Σ weight · log evidence.

        ``log_prob`` may be overwritten. ``beta`` multiplies the joint log-probabilities; the evidence is
        then :math:`\\beta^{-1} \\log \\sum_k e^{\\beta \\log p(x, k)}`, the objective of annealed EM.
        """
        ...

    def start(self, batch: Batch, resp: FloatArray) -> Any:
        """Parameters from weighted responsibilities (K, m)."""
        ...

    def maximize(self, stats: Any, params: Any) -> Any: ...

    def shortened(self, stats: Any, params: Any, failed: Any) -> Any: ...

    def log_prior(self, params: Any) -> float: ...


class LatentPair(NamedTuple):
    """Something of the latent structure beside the same thing of the family."""

    latent: Any
    family: Any


@dataclass(frozen=True)
class LatentModel(EMModel):
    """A latent structure times a family of densities.

    Parameters
    ----------
    latent : LatentStructure
        Mixture weights, Markov chain, ...
    family : Family
        Gaussian, Poisson, ...
    beta : float, default=1.0
        Inverse temperature of deterministic annealing (Ueda & Nakano, 1998): below 1 the posterior is
        flattened. ``dataclasses.replace(model, beta=0.5)`` is the annealed model.
    """

    latent: LatentStructure
    family: Family
    beta: float = 1.0

    @property
    def spaces(self) -> Any:
        return LatentPair(self.latent.spaces, self.family.spaces)

    @property
    def rounding(self) -> float:
        return self.family.rounding

    def expectation(self, params: LatentPair) -> Callable[[Batch], EStep]:
        density = self.family.density(params.family)

        def e_step(batch: Batch) -> EStep:
            seen = density(batch)
            resp, latent_stats, evidence = self.latent.posterior(params.latent, seen.log_prob, batch, self.beta)
            stats = LatentPair(latent_stats, seen.totals(resp))
            return EStep(stats, evidence + seen.shared, batch.total_weight)

        return e_step

    def maximize(self, stats: LatentPair, params: LatentPair) -> LatentPair:
        return LatentPair(
            self.latent.maximize(stats.latent, params.latent),
            self.family.maximize(stats.family, params.family),
        )

    def shortened(self, stats: LatentPair, params: LatentPair, failed: LatentPair) -> Any:
        latent = self.latent.shortened(stats.latent, params.latent, failed.latent)
        family = self.family.shortened(stats.family, params.family, failed.family)
        if latent is None and family is None:
            return None
        return LatentPair(
            failed.latent if latent is None else latent, failed.family if family is None else family
        )

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> LatentPair:
        """Starting parameters from weighted responsibilities (K, m); ``rng`` as in `Family.start`."""
        return LatentPair(self.latent.start(batch, resp), self.family.start(batch, resp, rng))

    def log_prior(self, params: LatentPair) -> float:
        return self.latent.log_prior(params.latent) + self.family.log_prior(params.family)

    def movable(self, params: LatentPair) -> NDArray[np.bool_] | None:
        moving = self.family.movable(params.family)
        if moving is None:
            return None
        fixed = flatten(self.latent.spaces, params.latent).size
        return np.concatenate([np.ones(fixed, dtype=bool), moving])

    def admits(self, params: LatentPair) -> bool:
        return super().admits(params) and self.family.admits(params.family)

    def is_spurious(self, params: LatentPair) -> bool:
        return self.family.is_spurious(params.family)

    def handicap(self, params: LatentPair) -> float:
        return self.family.handicap(params.family)
