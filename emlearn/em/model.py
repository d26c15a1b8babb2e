r"""What the engine asks of a model: two functions, and the additive statistics that pass between them.

EM maximises :math:`\log p(x; \theta) + \log p(\theta)` where part of the model, z, is hidden. The E-step
adds up expected sufficient statistics under :math:`p(z \mid x; \theta)`; the M-step turns the sums into new
parameters. The sums are all that the M-step sees, so data can be cut, spread and streamed at will.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.parametric import Composite, Parametric
from emlearn.em.spaces import Real, flatten, unflatten
from emlearn.em.trees import Tree, add, tree_map

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# What the M-step sees of a posterior.
ASSIGNMENTS = ("soft", "hard", "sampled")


class EStep(NamedTuple):
    """Result of an E-step. Every field is additive: the E-step of A ∪ B is that of A plus that of B."""

    stats: Tree  # expected sufficient statistics
    log_likelihood: float  # Σ weight · log p(x), nats
    weight: float  # Σ weight


class EMModel(Parametric):
    """Base of every model. A model of your own needs `expectation` and `maximize`.

    Models hold neither data nor state. Parameters and statistics are NamedTuples of arrays or floats.

    Attributes
    ----------
    spaces : NamedTuple of spaces or None
        For each parameter the space it lives in (`emlearn.em.spaces`), in a tuple of the parameters' form.
        None: all are unconstrained.
    """

    spaces: Any = None

    def expectation(self, params: Any) -> Callable[[Batch], EStep]:
        """E-step at ``params``, as a function of a batch.

        What depends on the parameters alone is computed here, once.
        """
        raise NotImplementedError

    @property
    def is_random(self) -> bool:
        """Whether its E-step draws: iterates are then a Markov chain, which neither climbs nor ends."""
        return False

    def at(self, iteration: int) -> EMModel:
        """The model of an iteration, 0 at the start: what draws must draw anew in each."""
        return self

    def sample(self, params: Any, rows: FloatArray, rng: np.random.RandomState) -> FloatArray | None:
        """Rows drawn anew, (n, d): as many as ``rows``, (n, d), with what is given as it stands there.

        `emlearn.testing.check_model` compares the likelihood with it. None where a model does not draw.
        """
        return None

    def maximize(self, stats: Any, params: Any) -> Any:
        """M-step: new parameters from summed statistics.

        The old ``params`` serve partial (GEM) steps and components that no observation supports.
        """
        raise NotImplementedError

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


class Family(Parametric):
    """Densities of what is seen, one for each of K components.

    One of your own needs `density`, `maximize`, `start`, ``spaces``; bases in `emlearn.families` ask for less.

    Attributes
    ----------
    takes_sparse : bool
        Whether batches may be sparse, of which ``x`` is a `scipy.sparse.csc_array`.
    """

    takes_sparse: bool = False

    def side_by_side(self, n_fits: int) -> Family | None:
        """The family of the components of so many fits, side by side as if of one; see `emlearn.em.stack`.

        Components stand in the order of their numbers, those of the same number in the order of the fits; and
        so does, along the first axis, what an array of parameters or totals has for each of them, or for all
        of a fit. The family itself will do, where components know nothing of one another, and there is no
        prior. None where there is no such family.
        """
        return None

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        raise NotImplementedError

    def maximize(self, totals: Any, params: Any) -> Any:
        """Parameters from Σ r T(x)."""
        raise NotImplementedError

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        """Parameters from weighted responsibilities (K, m), where there are none yet.

        With ``rng`` a family that responsibilities do not determine draws what they leave open.
        """
        raise NotImplementedError


class LatentStructure(Parametric):
    """What is hidden, and how it is distributed. One of your own needs all that stands here, and ``spaces``.

    Attributes
    ----------
    stacked : LatentStructure or None
        The same for S sets of parameters, of shape (S, ...), and for log-densities (K·S, m), those of the first
        component under all sets before those of the second: it normalises set by set, and has evidence of shape
        (S,). None where there is no such thing; see `emlearn.em.stack`.
    """

    stacked: LatentStructure | None = None

    def posterior(
        self, params: Any, log_prob: FloatArray, batch: Batch, beta: float = 1.0
    ) -> tuple[FloatArray, Tree, float]:
        """Weighted responsibilities (K, m), statistics, and Σ weight · log evidence.

        ``log_prob`` may be overwritten. ``beta`` multiplies the joint log-probabilities; the evidence is
        then :math:`\\beta^{-1} \\log \\sum_k e^{\\beta \\log p(x, k)}`, the objective of annealed EM.
        """
        raise NotImplementedError

    def log_evidence(self, params: Any, log_prob: FloatArray, batch: Batch) -> FloatArray:
        """Log evidence of each unit of a batch, (u,): of an observation, or of those that share what is hidden.

        Only for `emlearn.em.scores`. ``log_prob`` may be overwritten.
        """
        raise NotImplementedError

    def unit_weight(self, batch: Batch) -> FloatArray | None:
        """Weight of each unit of a batch, (u,); None where all have weight 1."""
        if batch.weight is None or batch.lanes is None:
            return batch.weight
        return batch.weight[: len(batch.lanes.lengths)]

    def most_probable(self, params: Any, log_prob: FloatArray, batch: Batch) -> IntArray:
        """Most probable component of each observation, of all in a batch together, (m,).

        Only for `LatentModel` with ``assignment="hard"``. ``log_prob`` may be overwritten.
        """
        raise NotImplementedError

    def draw(
        self, params: Any, log_prob: FloatArray, batch: Batch, uniform: FloatArray
    ) -> tuple[IntArray, float]:
        """Components drawn from their posterior (m,), by uniform numbers (m,), and Σ weight · log evidence.

        Only for `LatentModel` with ``assignment="sampled"``. ``log_prob`` may be overwritten.
        """
        raise NotImplementedError

    def sample_labels(self, params: Any, batch: Batch, rng: np.random.RandomState) -> IntArray | None:
        """Components drawn for the observations of a batch before these are seen, (m,); None for none.

        Of the observations it may look at what is given with them.
        """
        return None

    def start(self, batch: Batch, resp: FloatArray) -> Any:
        """Parameters from weighted responsibilities (K, m)."""
        raise NotImplementedError

    def maximize(self, stats: Any, params: Any) -> Any:
        """Parameters from expected statistics."""
        raise NotImplementedError

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        """Parameters with the components in another order."""
        return tree_map(lambda leaf: leaf[order], params)


class LatentPair(NamedTuple):
    """Something of the latent structure beside the same thing of the family."""

    latent: Any
    family: Any


@dataclass(frozen=True)
class LatentModel(Composite, EMModel):
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
    assignment : {"soft", "hard", "sampled"}, default="soft"
        What the M-step sees of the posterior: responsibilities (EM); the most probable components, for chains
        paths (classification EM: Celeux & Govaert, 1992), which climbs the likelihood of what is seen and
        hidden together; or components drawn from it (stochastic EM: Celeux & Diebolt, 1985), which is a Markov
        chain. The log-likelihood of its E-step is that of what is seen.
    seed : int, default=0
        Of the draws. Those of an observation depend on this, on the iteration and on its place in the data.
    iteration : int, default=0
        Which iteration it is; see `at`.
    """

    latent: LatentStructure
    family: Family
    beta: float = 1.0
    assignment: str = "soft"
    seed: int = 0
    iteration: int = 0

    def __post_init__(self) -> None:
        if self.assignment not in ASSIGNMENTS:
            raise ValueError(f"assignment={self.assignment!r} is none of {', '.join(ASSIGNMENTS)}.")

    @property
    def is_random(self) -> bool:
        return self.assignment == "sampled"

    def at(self, iteration: int) -> LatentModel:
        return replace(self, iteration=iteration) if self.is_random else self

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.latent, self.family

    @property
    def is_density(self) -> bool:  # type: ignore[override]
        return super().is_density and self.beta == 1 and self.assignment == "soft"

    def sample(self, params: LatentPair, rows: FloatArray, rng: np.random.RandomState) -> FloatArray | None:
        draw = getattr(self.family, "sample", None)
        batch = Batch(np.ascontiguousarray(rows.T))
        labels = self.latent.sample_labels(params.latent, batch, rng)
        if draw is None or labels is None:
            return None
        try:
            drawn: FloatArray = draw(params.family, labels, rng)
        except NotImplementedError:
            return None
        return np.where(np.isnan(drawn), rows, drawn)  # what is given is not drawn

    @cached_property
    def spaces(self) -> Any:
        return LatentPair(self.latent.spaces, self.family.spaces)

    def expectation(self, params: LatentPair) -> Callable[[Batch], EStep]:
        density = by_blocks(self.family.density(params.family))

        def e_step(batch: Batch) -> EStep:
            if batch.is_sparse and not self.family.takes_sparse:
                raise ValueError(
                    f"{type(self.family).__name__} takes no sparse rows: give them as an array, by toarray()."
                )
            seen = density(batch)
            of_draws = self._assign(params.latent, seen.log_prob, batch)
            resp, latent_stats, evidence = self.latent.posterior(params.latent, seen.log_prob, batch, self.beta)
            stats = LatentPair(latent_stats, seen.totals(resp))
            evidence = evidence if of_draws is None else of_draws
            return EStep(stats, evidence + seen.shared, batch.total_weight)

        return e_step

    def log_density(self, params: LatentPair) -> Callable[[Batch], FloatArray]:
        """Log-density of each unit, (u,), as a function of a batch: of an observation, a sequence, a group."""
        density = by_blocks(self.family.density(params.family))

        def of_units(batch: Batch) -> FloatArray:
            seen = density(batch)
            log_prob = seen.log_prob + seen.shared_log_prob()
            return self.latent.log_evidence(params.latent, log_prob, batch)

        return of_units

    def _assign(self, params: Any, log_prob: FloatArray, batch: Batch) -> float | None:
        """Leave no component possible but one, chosen or drawn; for draws Σ weight · log evidence before that.

        What is known for certain has responsibilities of 0 and 1, and the evidence that is left is the
        probability of what is seen and hidden together: latent structures need not know of assignments.
        """
        if self.assignment == "soft":
            return None
        evidence = None
        if self.is_random:
            uniform = uniform_of(batch, self.seed, self.iteration)
            labels, evidence = self.latent.draw(params, log_prob.copy(), batch, uniform)
        else:
            labels = self.latent.most_probable(params, log_prob.copy(), batch)
        np.putmask(log_prob, labels != np.arange(len(log_prob))[:, None], -np.inf)
        return evidence

    def maximize(self, stats: LatentPair, params: LatentPair) -> LatentPair:
        return LatentPair(
            self.latent.maximize(stats.latent, params.latent),
            self.family.maximize(stats.family, params.family),
        )

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> LatentPair:
        """Starting parameters from weighted responsibilities (K, m); ``rng`` as in `Family.start`."""
        return LatentPair(self.latent.start(batch, resp), self.family.start(batch, resp, rng))


def by_blocks(density: Callable[[Batch], Observed]) -> Callable[[Batch], Observed]:
    """The same densities, of which a batch that is one long sequence is shown some columns at a time.

    What a family works on is then in cache, and need not be held for the whole sequence.
    """

    def observe(batch: Batch) -> Observed:
        blocks = batch.blocks()
        if blocks is None:
            return density(batch)
        log_prob, seen = None, []
        for columns, block in blocks:
            of_block = density(block)
            if log_prob is None:
                log_prob = np.empty((len(of_block.log_prob), batch.x.shape[1]))
            log_prob[:, columns] = of_block.log_prob
            seen.append((columns, of_block._replace(log_prob=None)))  # type: ignore[arg-type]

        def totals(resp: FloatArray) -> Tree:
            return reduce(add, (of_block.totals(resp[:, columns]) for columns, of_block in seen))

        def shared_log_prob() -> FloatArray:
            terms = np.empty(batch.x.shape[1])
            for columns, of_block in seen:
                terms[columns] = of_block.shared_log_prob()
            return terms

        return Observed(log_prob, sum(of_block.shared for _, of_block in seen), totals, shared_log_prob)  # type: ignore[arg-type]

    return observe


def uniform_of(batch: Batch, seed: int, iteration: int) -> FloatArray:
    """A uniform number in [0, 1) for each observation, (m,), however the data are cut into batches.

    The output of SplitMix64 (Steele, Lea & Flood, 2014) at the place of the observation in the data.
    """
    if batch.rows is None:
        places = np.arange(batch.x.shape[1])
    elif isinstance(batch.rows, slice):
        places = np.arange(batch.rows.start, batch.rows.stop)
    else:
        places = batch.rows
    (key,) = np.random.SeedSequence((seed, iteration)).generate_state(1, np.uint64)
    bits = key + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(11)) * 2.0**-53
