r"""Regressions beside components of another kind: a point mass at zero, a uniform distribution.

The first K components are regressions, those after them have no parameters: what they say of a response is
known.
With one regression and a point mass this is zero-inflated regression (Lambert, 1992); a uniform component takes
what is far from every regression (Banfield & Raftery, 1993).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.families import tails
from emlearn.families.base import Emission, FloatArray
from emlearn.families.regression import Regression, RegressionParams
from emlearn.families.responses import Response


class Other(Protocol):
    """A component that is no regression."""

    parameter: str  # of the estimators that have it
    kind: str  # in words

    def log_density(self, y: FloatArray) -> FloatArray:
        """Log-density of responses (c, m), (m,)."""
        ...

    def claim(self, y: FloatArray) -> FloatArray:
        """Share of each response that it begins with, (m,)."""
        ...

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance."""
        ...

    def cumulative(self, y: FloatArray) -> FloatArray:
        """Probability of y or less."""
        ...

    def tails(self, y: FloatArray) -> FloatArray:
        """P(Y < y), P(Y <= y), P(Y >= y) and P(Y > y), (4, m), of responses (c, m)."""
        ...

    def quantile(self, q: FloatArray) -> FloatArray:
        """Least response with a cumulative probability of q or more."""
        ...

    def draw(self, size: int, rng: np.random.RandomState) -> FloatArray:
        """So many responses."""
        ...


@dataclass(frozen=True)
class ZeroMass:
    """All responses are 0."""

    parameter = "zero_inflated"
    kind = "zero inflation"

    def log_density(self, y: FloatArray) -> FloatArray:
        return np.where(y[0] == 0, 0.0, -np.inf)

    def claim(self, y: FloatArray) -> FloatArray:
        return np.where(y[0] == 0, 0.5, 0.0)

    @property
    def moments(self) -> tuple[float, float]:
        return 0.0, 0.0

    def cumulative(self, y: FloatArray) -> FloatArray:
        return np.where(np.asarray(y) >= 0, 1.0, 0.0)

    def tails(self, y: FloatArray) -> FloatArray:
        return tails.of_counts(y[0], np.ones_like, np.zeros_like)

    def quantile(self, q: FloatArray) -> FloatArray:
        return np.zeros(np.shape(q))

    def draw(self, size: int, rng: np.random.RandomState) -> FloatArray:
        return np.zeros(size)


@dataclass(frozen=True)
class UniformNoise:
    """Responses are anywhere in a range.

    Parameters
    ----------
    low, high : float
        Its ends, in the unit of the responses.
    """

    low: float = field(compare=False)
    high: float = field(compare=False)

    parameter = "noise"
    kind = "uniform noise"

    def log_density(self, y: FloatArray) -> FloatArray:
        slack = 1e-9 * (self.high - self.low)  # of units
        inside = (y[0] >= self.low - slack) & (y[0] <= self.high + slack)
        return np.where(inside, -np.log(self.high - self.low), -np.inf)

    def claim(self, y: FloatArray) -> FloatArray:
        return np.full(y.shape[1], 0.1)

    @property
    def moments(self) -> tuple[float, float]:
        return 0.5 * (self.low + self.high), (self.high - self.low) ** 2 / 12

    def cumulative(self, y: FloatArray) -> FloatArray:
        share: FloatArray = np.clip((np.asarray(y) - self.low) / (self.high - self.low), 0.0, 1.0)
        return share

    def tails(self, y: FloatArray) -> FloatArray:
        share = self.cumulative(y[0])
        return tails.of_numbers(share, 1.0 - share)

    def quantile(self, q: FloatArray) -> FloatArray:
        return self.low + np.asarray(q) * (self.high - self.low)

    def draw(self, size: int, rng: np.random.RandomState) -> FloatArray:
        return rng.uniform(self.low, self.high, size)


@dataclass(frozen=True)
class Predictive:
    """What a response is of each component, the regressions first: arrays (K, ...) become (K + J, ...)."""

    response: Response
    others: tuple[Other, ...]

    @property
    def is_discrete(self) -> bool:
        """Whether responses are counts."""
        return self.response.is_discrete

    def _and(self, own: FloatArray, of_others: list[Any]) -> FloatArray:
        shape = own.shape[1:]
        return np.concatenate([own, *(np.broadcast_to(part, shape)[None] for part in of_others)])

    def mean(self, eta: FloatArray) -> FloatArray:
        """Mean responses."""
        return self._and(self.response.mean(eta), [other.moments[0] for other in self.others])

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Variances of responses."""
        own = self.response.variance(eta, dispersion)
        return self._and(own, [other.moments[1] for other in self.others])

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Probabilities of y or less."""
        own = self.response.cumulative(y, eta, dispersion)
        return self._and(own, [other.cumulative(y) for other in self.others])

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """P(Y < y), P(Y <= y), P(Y >= y) and P(Y > y) of responses (c, m)."""
        own = self.response.tails(y, eta, dispersion)
        return np.concatenate([own, *(other.tails(y)[:, None] for other in self.others)], axis=1)

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Least responses with a cumulative probability of q or more."""
        own = self.response.quantile(q, eta, dispersion)
        return self._and(own, [other.quantile(q[0]) for other in self.others])


@dataclass(frozen=True)
class RegressionAnd(Regression):
    """Regressions beside components that are none.

    Parameters
    ----------
    others : tuple of Other, default=()
        The components after the regressions. Parameters are those of the regressions alone.

    Examples
    --------
    A third of all counts are 0 whatever the feature says:

    >>> import numpy as np
    >>> from emlearn.em import Batches, LatentModel, fit_em
    >>> from emlearn.families import RESPONSES, Regression, RegressionAnd, ZeroMass
    >>> from emlearn.latent import MixtureWeights
    >>> rng = np.random.RandomState(0)
    >>> x = rng.normal(size=2000)
    >>> y = np.where(rng.uniform(size=2000) < 1 / 3, 0, rng.poisson(np.exp(1 + 0.5 * x)))
    >>> family = RegressionAnd.of(Regression(RESPONSES["poisson"], n_columns=2), (ZeroMass(),))
    >>> model, data = LatentModel(MixtureWeights(), family), Batches(np.column_stack([np.ones(2000), x, y]))
    >>> start = model.start(next(iter(data)), np.full((2, 2000), 0.5))
    >>> fit = fit_em(model, start, data).params
    >>> fit.latent.round(1), fit.family.coef.round(1)
    (array([0.7, 0.3]), array([[1. , 0.5]]))
    """

    others: tuple[Other, ...] = ()

    @classmethod
    def of(cls, family: Regression, others: tuple[Other, ...]) -> RegressionAnd:
        """The regressions of a family, and others beside them."""
        return cls(**{part.name: getattr(family, part.name) for part in fields(Regression)}, others=others)

    def side_by_side(self, n_fits: int) -> Regression | None:
        return None

    def density(self, params: RegressionParams) -> Callable[[Batch], Observed]:
        of_regressions, K = super().density(params), len(params.coef)

        def observe(batch: Batch) -> Observed:
            seen, y = of_regressions(batch), self.split(batch)[1]

            def known() -> FloatArray:
                return np.stack([other.log_density(y) - self.response.base_measure(y) for other in self.others])

            log_prob = np.concatenate([seen.log_prob, batch.once("others", known)])
            return seen._replace(log_prob=log_prob, totals=lambda resp: seen.totals(resp[:K]))

        return observe

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> RegressionParams:
        """Parameters from weighted responsibilities of all components (K + J, m), or of a lone regression."""
        K = max(len(resp) - len(self.others), 1)
        return super().start(batch, resp[:K], rng)

    def with_others(self, batch: Batch, resp: FloatArray) -> FloatArray:
        """Weighted responsibilities (K + J, m) from those of the regressions, (K, m)."""
        y = self.split(batch)[1]
        claims = np.stack([other.claim(y) for other in self.others])
        return np.concatenate([resp * (1.0 - claims.sum(axis=0)), claims * resp.sum(axis=0)])

    @property
    def predictive(self) -> Predictive:
        return Predictive(self.response, self.others)

    def in_place(self, order: NDArray[np.int_]) -> NDArray[np.int_]:
        """The order of the regressions, from one of all components, in which the others must stay last."""
        K = len(order) - len(self.others)
        if not np.array_equal(order[K:], np.arange(K, len(order))):
            kinds = " and ".join(other.kind for other in self.others)
            raise ValueError(
                f"order={order.tolist()} moves what is no regression: the last of {len(order)} components are "
                f"{kinds}, and stay there."
            )
        return order[:K]

    def reorder(self, params: RegressionParams, order: NDArray[np.int_]) -> RegressionParams:
        return super().reorder(params, self.in_place(order))

    def divergence(self, params: RegressionParams, other: Emission, others: Any) -> FloatArray:
        """Distances of the regressions; what is none is next to its like."""
        if not isinstance(other, RegressionAnd) or other.others != self.others:
            raise self.unlike(other)
        own = super().divergence(params, replace(other, others=()), others)
        K, J = len(own), len(self.others)
        distance = np.full((K + J, K + J), 1.0 + (K + 1) * max(float(own.max(initial=0.0)), 1.0))
        distance[:K, :K] = own
        distance[K:, K:][np.diag_indices(J)] = 0.0
        return distance


def others_of(family: Any) -> tuple[Other, ...]:
    """The components of a family that are no regressions."""
    return family.others if isinstance(family, RegressionAnd) else ()
