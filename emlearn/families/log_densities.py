"""Log-densities that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.families.base import FloatArray
from emlearn.families.covariates import Covariates, CovariatesParams


@dataclass(frozen=True)
class LogDensities(Covariates):
    """Features that are the log-densities of something else under each component, one for each.

    What it was is known already, and has no parameters to estimate: measurements of an earlier step, or a
    classification with known errors.
    """

    support = "log-densities"
    observes = "numbers"
    is_by_feature = False

    def side_by_side(self, n_fits: int) -> None:  # type: ignore[override]
        """None: a row has densities under the components of one fit."""
        return None

    def density(self, params: CovariatesParams) -> Callable[[Batch], Observed]:
        """What stands there, as a function of a batch."""
        # A copy, since posteriors are computed in place.
        return lambda batch: Observed(batch.x.copy(), 0.0, lambda resp: params.nothing, lambda: 0.0)

    def embedding(self, batch: Batch) -> FloatArray:
        return np.exp(batch.x)
