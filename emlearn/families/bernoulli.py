"""Independent variables that are 0 or 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Probability
from emlearn.families.base import (
    LEAST_OVERLAP,
    Emission,
    ExponentialFamily,
    FloatArray,
    diagonal,
    mean_or_kept,
    read_field,
    take_fields,
)


class BernoulliParams(NamedTuple):
    """Parameters of K components over d variables."""

    probabilities: FloatArray  # (K, d) of a 1


@dataclass(frozen=True)
class Bernoulli(ExponentialFamily):
    r"""Variables that are 0 or 1, independent given the component.

    T(x) = (1, x), natural parameters the log-odds, A = −Σ log(1 − p).
    """

    support = "0 and 1"

    @property
    def spaces(self) -> Any:
        return BernoulliParams(Probability())  # type: ignore[arg-type]

    def side_by_side(self, n_fits: int) -> Bernoulli:
        return self

    def statistics(self, batch: Batch) -> FloatArray:
        return np.vstack([np.ones(batch.x.shape[1]), batch.x])

    def natural(self, params: BernoulliParams) -> FloatArray:
        # The smallest number's log stands in for -inf: in a matrix product, 0 · inf is NaN.
        log_tiny = np.log(np.finfo(np.float64).tiny)
        with np.errstate(divide="ignore"):  # log 0, replaced
            log_p = np.maximum(np.log(params.probabilities), log_tiny)
            log_q = np.maximum(np.log1p(-params.probabilities), log_tiny)
        return np.column_stack([log_q.sum(axis=1), log_p - log_q])

    def maximize(self, totals: FloatArray, params: BernoulliParams | None = None) -> BernoulliParams:
        kept = None if params is None else params.probabilities
        share = mean_or_kept(totals[:, 1:], totals[:, 0], kept)
        return BernoulliParams(np.minimum(share, 1.0))  # two sums of the same numbers may differ in rounding

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
