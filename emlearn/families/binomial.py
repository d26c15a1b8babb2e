"""Independent numbers of successes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emlearn.em.batches import Batch
from emlearn.em.spaces import Probability
from emlearn.families import tails
from emlearn.families.base import (
    LEAST_OVERLAP,
    Emission,
    ExponentialFamily,
    FloatArray,
    Sketch,
    available_mean,
    counted,
    diagonal,
    one_concentration,
    read_field,
    read_prior,
    take_fields,
)
from emlearn.families.bernoulli import log_beta, share_of


class BinomialParams(NamedTuple):
    """Parameters of K components over q numbers of successes."""

    probabilities: FloatArray  # (K, q) of a success


@dataclass(frozen=True)
class Binomial(ExponentialFamily):
    r"""Numbers of successes in so many trials, independent given the component.

    T(x) = (1, x, n − x), natural parameters 0, log p and log(1 − p). Missing entries, NaN, are left out.

    Parameters
    ----------
    trials : int, tuple of int or None, default=None
        Number of trials, n: one for all columns, or of each. None: it differs from row to row, and the second
        half of the columns has it. Of two columns the first then counts successes and the second trials.
    ones, zeros : float, default=1.0
        Beta prior of every probability, at least 1: with 1 and 1 a fit is one of maximum likelihood.
    typical : tuple of int, default=()
        Trials that `sample`, `mean` and `covariance` speak of where rows have their own: bound to data the
        median of each; empty is 1.

    Examples
    --------
    Days on which an ad was shown so many times, and clicked on:

    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> from emlearn.families import Binomial
    >>> shown = [20, 30, 25, 20, 40, 30, 20, 25, 30, 20]
    >>> clicks = [2, 3, 3, 1, 4, 15, 9, 13, 14, 11]
    >>> model = HMMEM(2, emission=Binomial(), random_state=0).fit(np.column_stack([clicks, shown]))
    >>> model.probabilities_.round(2)
    array([[0.1],
           [0.5]])
    """

    trials: int | tuple[int, ...] | None = None
    ones: float = 1.0
    zeros: float = 1.0
    typical: tuple[int, ...] = field(default=(), repr=False)

    marginalises = True
    observes = "counts"
    prior_names = ("ones", "zeros")

    def __post_init__(self) -> None:
        given = () if self.trials is None else np.atleast_1d(self.trials)
        for n in given:
            if not (n >= 1 and n == int(n)):
                raise ValueError(f"trials={self.trials!r} must hold integers of 1 or more.")

    @property
    def support(self) -> str:  # type: ignore[override]
        """What the observations must be, in words."""
        if self.trials is None:
            return (
                "the counts 0, 1, 2 and so on of successes, in the later columns of trials, no fewer than these"
            )
        most = int(np.max(self.trials))
        uneven = " (fewer in some columns)" if np.min(self.trials) < most else ""
        return f"the counts 0 to {most} of successes in as many trials{uneven}"

    @property
    def spaces(self) -> Any:
        return BinomialParams(Probability())  # type: ignore[arg-type]

    def bound_to(self, sketch: Sketch) -> Binomial:
        """The family that knows how many trials there usually are."""
        d = len(sketch.most)
        if self.trials is None:
            if d % 2:
                raise ValueError(
                    f"emission={self} needs as many columns of trials as of successes, but X has {d} for it: "
                    "give Binomial(trials=...) if their number does not change."
                )
            return replace(self, typical=tuple(int(np.median(sketch.seen(j))) for j in range(d // 2, d)))
        if np.ndim(self.trials) and np.size(self.trials) != d:
            raise ValueError(f"emission={self} is for {np.size(self.trials)} columns, but X has {d} for it.")
        return self

    def _split(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Successes and trials, (q, m) each."""
        if self.trials is None:
            return x[: len(x) // 2], x[len(x) // 2 :]
        trials = np.broadcast_to(np.atleast_1d(self.trials), (len(x),)).astype(np.float64)
        return x, np.broadcast_to(trials[:, None], x.shape)

    def _counts(self, batch: Batch) -> tuple[FloatArray, FloatArray]:
        """Successes and failures, (q, m) each; 0 where either of successes and trials is missing."""
        x, n = self._split(batch.x)
        missing = np.isnan(x) | np.isnan(n)
        if not missing.any():
            return x, n - x
        return np.where(missing, 0.0, x), np.where(missing, 0.0, n - x)

    def statistics(self, batch: Batch) -> FloatArray:
        return np.vstack([counted(batch), *self._counts(batch)])

    def base_measure(self, batch: Batch) -> FloatArray:
        x, rest = self._counts(batch)
        return np.asarray((gammaln(x + rest + 1.0) - gammaln(x + 1.0) - gammaln(rest + 1.0)).sum(axis=0))

    def natural(self, params: BinomialParams) -> FloatArray:
        p = params.probabilities
        with np.errstate(divide="ignore"):  # what is certain leaves no other value
            return np.hstack([np.zeros((len(p), 1)), np.log(p), np.log1p(-p)])

    def maximize(self, totals: FloatArray, params: BinomialParams | None = None) -> BinomialParams:
        q = totals.shape[1] // 2
        kept = None if params is None else params.probabilities
        return BinomialParams(share_of(totals[:, 1 : 1 + q], totals[:, 1 + q :], self.ones, self.zeros, kept))

    def log_prior(self, params: BinomialParams) -> float:
        return log_beta(params.probabilities, self.ones, self.zeros)

    def with_prior(self, named: Mapping[str, Any]) -> Binomial:
        ones, zeros = read_prior(self, named)
        return replace(self, ones=one_concentration("ones", ones), zeros=one_concentration("zeros", zeros))

    def is_possible(self, x: FloatArray, params: BinomialParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts, of successes no more than trials; NaN counts as possible."""
        count = (x >= 0) & (x == np.floor(x))
        successes, trials = self._split(x)
        fits = (successes <= trials) | np.isnan(trials) | np.isnan(successes)
        if params is not None:
            never = (params.probabilities.max(axis=0) == 0)[:, None]
            always = (params.probabilities.min(axis=0) == 1)[:, None]
            fits &= ~((never & (successes > 0)) | (always & (successes < trials)))
        count[: len(fits)] &= fits
        return count | np.isnan(x)

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """The same: more successes than trials are a mistake."""
        return self.is_possible(x)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> BinomialParams:
        (probabilities,) = take_fields(self, named, ("probabilities",))
        probabilities = read_field("probabilities", probabilities, (*lead, None))
        if ((probabilities < 0) | (probabilities > 1)).any():
            raise ValueError("probabilities of a success must lie between 0 and 1.")
        return BinomialParams(probabilities.reshape(-1, probabilities.shape[-1]))

    def _usual(self, q: int) -> FloatArray:
        """Numbers of trials, (q,)."""
        trials = self.trials if self.trials is not None else (self.typical or 1)
        return np.broadcast_to(np.asarray(trials, dtype=np.float64), (q,))

    def divergence(self, params: BinomialParams, other: Emission, others: Any) -> FloatArray:
        p = params.probabilities
        if not isinstance(others, BinomialParams) or others.probabilities.shape[1] != p.shape[1]:
            raise self.unlike(other)
        p, q = p[:, None], others.probabilities[None]
        overlap = np.sqrt(p * q) + np.sqrt((1.0 - p) * (1.0 - q))
        return np.asarray(-np.log(np.clip(overlap, LEAST_OVERLAP, 1.0)) @ self._usual(p.shape[2]))

    def with_means(self, params: BinomialParams, means: FloatArray) -> BinomialParams:
        """Probabilities that numbers of successes (K, q) have on average, of their trials."""
        successes, trials = (part.T for part in self._split(means.T))
        with np.errstate(divide="ignore", invalid="ignore"):  # refused
            probabilities = successes / trials
        if not ((probabilities > 0) & (probabilities < 1)).all():
            raise ValueError("Numbers of successes to start from must lie between 0 and those of trials.")
        return BinomialParams(probabilities)

    def n_parameters(self, params: BinomialParams) -> int:
        """Number of free parameters."""
        return params.probabilities.size

    def tails(self, params: BinomialParams, x: FloatArray) -> FloatArray:
        successes, trials = self._split(x)
        out = np.full((4, len(params.probabilities), *x.shape), np.nan)  # trials that are columns have none
        out[:, :, : len(successes)] = tails.binomial(successes, trials, params.probabilities[:, :, None])
        return out

    def mean(self, params: BinomialParams) -> FloatArray:
        """Mean of each component, (K, d), of usual numbers of trials; of these, where they differ, NaN."""
        return self._beside_trials(self._usual(params.probabilities.shape[1]) * params.probabilities)

    def _beside_trials(self, values: FloatArray) -> FloatArray:
        """Values (K, q) of successes, and NaN of trials that are columns, of which nothing is said."""
        return values if self.trials is not None else np.hstack([values, np.full_like(values, np.nan)])

    def covariance(self, params: BinomialParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d), of usual numbers of trials; of these NaN."""
        p = params.probabilities
        variance = self._beside_trials(self._usual(p.shape[1]) * p * (1.0 - p))
        covariance = diagonal(np.nan_to_num(variance))
        unknown = np.isnan(variance)
        covariance[unknown[:, :, None] | unknown[:, None]] = np.nan
        return covariance

    def embedding(self, batch: Batch) -> FloatArray:
        """Shares on a scale where their variance is about 1 (Anscombe, 1948), (q, m)."""
        x, rest = self._counts(batch)
        n = x + rest
        points = 2.0 * np.sqrt(n + 0.5) * np.arcsin(np.sqrt((x + 0.375) / (n + 0.75)))
        missing = np.isnan(batch.x[: len(x)]) | (n == 0)
        if missing.any():
            weight = np.ones(x.shape[1]) if batch.weight is None else batch.weight
            middle = available_mean(np.where(missing, np.nan, points), weight[None], 0.0)
            points = np.where(missing, middle.T, points)
        return points

    def sample(
        self, params: BinomialParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        p = params.probabilities[labels]
        n = np.broadcast_to(self._usual(p.shape[1]), p.shape)
        successes = rng.binomial(n.astype(np.intp), p).astype(np.float64)
        return successes if self.trials is not None else np.hstack([successes, n])
