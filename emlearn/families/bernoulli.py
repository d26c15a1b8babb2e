"""Independent variables that are 0 or 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Probability
from emlearn.families import tails
from emlearn.families.base import (
    LEAST_OVERLAP,
    Emission,
    ExponentialFamily,
    FloatArray,
    counted,
    diagonal,
    filled,
    has_gaps,
    linear_forms,
    mean_or_kept,
    middle,
    of_entries,
    one_concentration,
    read_field,
    read_prior,
    take_fields,
)


class BernoulliParams(NamedTuple):
    """Parameters of K components over d variables."""

    probabilities: FloatArray  # (K, d) of a 1


@dataclass(frozen=True)
class Bernoulli(ExponentialFamily):
    r"""Variables that are 0 or 1, independent given the component.

    T(x) = (1, x, which entries are there), natural parameters 0, the log-odds and log(1 − p). Missing entries,
    NaN, are left out.

    Parameters
    ----------
    ones, zeros : float, default=1.0
        Beta prior of every probability, at least 1: with 1 and 1 a fit is one of maximum likelihood.
    """

    ones: float = 1.0
    zeros: float = 1.0

    support = "0 and 1"
    marginalises = True
    is_by_feature = True
    observes = "counts"
    prior_names = ("ones", "zeros")
    counts_entries = True
    takes_sparse = True

    @property
    def spaces(self) -> Any:
        return BernoulliParams(Probability())  # type: ignore[arg-type]

    def side_by_side(self, n_fits: int) -> Bernoulli | None:
        return self if self.ones == self.zeros == 1 else None  # a prior is one of each fit

    def statistics(self, batch: Batch) -> Any:
        if not has_gaps(batch):
            return of_entries(batch)
        return np.vstack([counted(batch), filled(batch), ~np.isnan(batch.x)])

    def natural(self, params: BernoulliParams) -> FloatArray:
        p = params.probabilities
        # What is certain has the logarithm 0, and what is impossible then is left to `density`.
        log_p = np.log(np.where(p > 0, p, 1.0))
        log_q = np.log1p(-np.where(p < 1, p, 0.0))
        return np.hstack([np.zeros((len(p), 1)), log_p - log_q, log_q])

    def density(self, params: BernoulliParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        inner, p = super().density(params), params.probabilities
        if ((p > 0) & (p < 1)).all():
            return inner

        def observe(batch: Batch) -> Observed:
            seen = inner(batch)
            never, always = (p == 0).astype(np.float64), (p == 1).astype(np.float64)
            if batch.is_sparse:
                against = linear_forms(
                    np.hstack([always.sum(axis=1, keepdims=True), never - always]), of_entries(batch)
                )
            else:
                against = never @ (batch.x == 1) + always @ (batch.x == 0)
            np.putmask(seen.log_prob, against > 0, -np.inf)
            return seen

        return observe

    def maximize(self, totals: FloatArray, params: BernoulliParams | None = None) -> BernoulliParams:
        d = totals.shape[1] // 2
        ones, entries = totals[:, 1 : 1 + d], totals[:, 1 + d :]
        kept = None if params is None else params.probabilities
        return BernoulliParams(share_of(ones, np.maximum(entries - ones, 0.0), self.ones, self.zeros, kept))

    def log_prior(self, params: BernoulliParams) -> float:
        return log_beta(params.probabilities, self.ones, self.zeros)

    def embedding(self, batch: Batch) -> FloatArray:
        """The entries (d, m), missing ones in the middle of the others."""
        return filled(batch, middle(batch)) if has_gaps(batch) else batch.x

    def with_prior(self, named: Mapping[str, Any]) -> Bernoulli:
        ones, zeros = read_prior(self, named)
        return replace(self, ones=one_concentration("ones", ones), zeros=one_concentration("zeros", zeros))

    def is_possible(self, x: FloatArray, params: BernoulliParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are 0 or 1; NaN counts as possible."""
        may_be_1 = may_be_0 = np.ones((len(x), 1), dtype=bool)
        if params is not None:
            may_be_1 = (params.probabilities.max(axis=0) > 0)[:, None]
            may_be_0 = (params.probabilities.min(axis=0) < 1)[:, None]
        return ((x == 1) & may_be_1) | ((x == 0) & may_be_0) | np.isnan(x)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> BernoulliParams:
        (probabilities,) = take_fields(self, named, ("probabilities",))
        probabilities = read_field("probabilities", probabilities, (*lead, None))
        if ((probabilities < 0) | (probabilities > 1)).any():
            raise ValueError("probabilities of a 1 must lie between 0 and 1.")
        return BernoulliParams(probabilities.reshape(-1, probabilities.shape[-1]))

    def divergence(self, params: BernoulliParams, other: Emission, others: Any) -> FloatArray:
        p = params.probabilities
        if not isinstance(others, BernoulliParams) or others.probabilities.shape[1] != p.shape[1]:
            raise self.unlike(other)
        p, q = p[:, None], others.probabilities[None]
        overlap = np.sqrt(p * q) + np.sqrt((1.0 - p) * (1.0 - q))
        return -np.log(np.clip(overlap, LEAST_OVERLAP, 1.0)).sum(axis=2)

    def with_means(self, params: BernoulliParams, means: FloatArray) -> BernoulliParams:
        """Probabilities (K, d)."""
        if not ((means > 0) & (means < 1)).all():
            raise ValueError("Probabilities to start from must lie between 0 and 1.")
        return BernoulliParams(means)

    def n_parameters(self, params: BernoulliParams) -> int:
        """Number of free parameters."""
        return params.probabilities.size

    def tails(self, params: BernoulliParams, x: FloatArray) -> FloatArray:
        return tails.binomial(x, 1.0, params.probabilities[:, :, None])

    def mean(self, params: BernoulliParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.probabilities

    def covariance(self, params: BernoulliParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return diagonal(params.probabilities * (1.0 - params.probabilities))

    def sample(
        self, params: BernoulliParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        u = rng.uniform(size=(len(labels), params.probabilities.shape[1]))
        return (u < params.probabilities[labels]).astype(np.float64)


def share_of(ones: FloatArray, zeros: FloatArray, a: float, b: float, kept: FloatArray | None) -> FloatArray:
    """Shares (K, d) of ones with a Beta(a, b) prior, of which an estimate of 0 or 1 knows nothing."""
    if a == 1 and b == 1:
        return np.minimum(mean_or_kept(ones, ones + zeros, kept), 1.0)
    here = np.ones_like(ones) if kept is None else (kept > 0) & (kept < 1)
    ones = ones + (a - 1.0) * here
    return np.minimum(mean_or_kept(ones, ones + zeros + (b - 1.0) * here, kept), 1.0)


def log_beta(p: FloatArray, a: float, b: float) -> float:
    """Log-density of a Beta(a, b) prior up to a constant, summed over all p but 0 and 1."""
    if a == 1 and b == 1:
        return 0.0
    p = p[(p > 0) & (p < 1)]
    return float(((a - 1.0) * np.log(p) + (b - 1.0) * np.log1p(-p)).sum())
