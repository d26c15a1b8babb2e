"""Features that are given with observations, and are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Fixed
from emlearn.families.base import Emission, FloatArray


class CovariatesParams(NamedTuple):
    """Parameters of K components: there are none."""

    nothing: FloatArray  # (K, 0)


@dataclass(frozen=True)
class Covariates(Emission):
    """Features without a density: the part of a product for what a gate sees.

    Whatever they are, their log-density is 0 under every component, and they say nothing of any parameter.
    """

    support = "finite numbers"
    marginalises = True
    is_by_feature = True
    observes = "nothing"
    spaces = CovariatesParams(Fixed())  # type: ignore[arg-type]

    def side_by_side(self, n_fits: int) -> Covariates:
        return self

    def density(self, params: CovariatesParams) -> Callable[[Batch], Observed]:
        """Log-densities of 0, as a function of a batch."""
        nothing = np.zeros((len(params.nothing), 1))
        return lambda batch: Observed(nothing, 0.0, lambda resp: params.nothing, lambda: 0.0)

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> CovariatesParams:
        return CovariatesParams(np.empty((len(resp), 0)))

    def maximize(self, totals: FloatArray, params: CovariatesParams) -> CovariatesParams:
        return params

    def expected_log_joint(self, stats: FloatArray, new: Any, old: Any) -> float:
        return 0.0

    def n_parameters(self, params: CovariatesParams) -> int:
        return 0

    def embedding(self, batch: Batch) -> FloatArray:
        return np.empty((0, batch.x.shape[1]))

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> CovariatesParams:
        return CovariatesParams(np.empty((*lead, 0)))

    def divergence(self, params: CovariatesParams, other: Emission, others: Any) -> FloatArray:
        return np.zeros((len(params.nothing), len(others.nothing)))

    def sample(
        self, params: CovariatesParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """NaN: what is given is not drawn; of one column, whatever their number."""
        return np.full((len(labels), 1), np.nan)

    def marginal(self, params: CovariatesParams, columns: NDArray[np.int_]) -> CovariatesParams:
        return params
