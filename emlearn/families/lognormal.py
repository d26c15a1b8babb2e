"""Positive numbers whose logarithms are Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.families import evidence
from emlearn.families.base import Emission, FloatArray, Sketch, filled, middle, observed, take_fields, unwrapped
from emlearn.families.covariance import Diagonal
from emlearn.families.gaussian import Gaussian, GaussianParams, GaussianTotals
from emlearn.families.independent import positive_means

# Standard deviation of logarithms of equal numbers, relative to their size.
SAME = 8 * float(np.finfo(np.float64).eps)


class LogNormalParams(NamedTuple):
    """Parameters of K components over d columns."""

    log_means: FloatArray  # (K, d) of the logarithms
    log_covariances: FloatArray  # (C, d, d), (C, d) or (C,) of the logarithms; C is K, or 1 where all share one


@dataclass(frozen=True)
class LogNormal(Emission):
    r"""Positive numbers whose logarithms are Gaussian, with any covariance structure.

    .. math:: p(x) = \mathcal N(\log x \mid \mu, \Sigma) \prod_j \frac{1}{x_j}

    for :math:`\mu` and :math:`\Sigma` of the logarithms; with the Jacobian log-likelihoods are those of x, and
    compare with other families. The mean of x is :math:`\exp(\mu + \operatorname{diag} \Sigma / 2)`. scipy's
    parameters are ``s``, the root of :math:`\Sigma`, and ``scale``, :math:`e^\mu`. Missing entries, NaN, are
    integrated out.

    Parameters
    ----------
    gaussian : Gaussian, default=Gaussian(Diagonal())
        The family of the logarithms. Its floor is relative to their variances, once it is bound to data.
    relative_floor : float, default=1e-6
        What that floor was; `bound_to` sets it.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> amounts = np.exp(np.random.RandomState(0).normal(3.0, 0.5, size=(1000, 1)))
    >>> model = HMMEM(1, emission="lognormal").fit(amounts)
    >>> print(f"{model.log_means_[0, 0]:.2f} {model.log_covariances_[0, 0, 0]:.2f}")
    2.98 0.24
    """

    gaussian: Gaussian = field(default_factory=lambda: Gaussian(Diagonal()))
    relative_floor: float = field(default=1e-6, compare=False, repr=False)

    support = "positive numbers"
    marginalises = True
    floored = ("log_covariances",)

    def __post_init__(self) -> None:
        if not isinstance(self.gaussian, Gaussian):
            raise ValueError(
                f"The logarithms of log-normal numbers cannot be of {type(self.gaussian).__name__}: take "
                'another covariance_type than "factor".'
            )

    @property
    def spaces(self) -> Any:
        return LogNormalParams(*self.gaussian.spaces)

    def side_by_side(self, n_fits: int) -> LogNormal | None:
        gaussian = self.gaussian.side_by_side(n_fits)
        return None if gaussian is None else replace(self, gaussian=gaussian)

    @property
    def pooled(self) -> LogNormal | None:
        """The family in which components share what is a matrix each here; None where they do."""
        gaussian = self.gaussian.pooled
        return None if gaussian is None else replace(self, gaussian=gaussian)

    def size(self, d: int) -> int:
        """Number of parameters of a component of d features."""
        return self.gaussian.size(d)

    def floats_per_row(self, n_components: int, d: int) -> int:
        """How many numbers an E-step works on per observation."""
        return d + self.gaussian.floats_per_row(n_components, d)

    def bound_to(self, sketch: Sketch) -> LogNormal:
        """The family, knowing what the data force onto its floor, and in which steps they are recorded."""
        batch, floor = observed(sketch.some), self.gaussian.floor
        logs = _logs(batch)
        variance = evidence.spread(logs)
        same = SAME * np.maximum(np.abs(middle(logs)[:, 0]), 1.0)  # logarithms of equal numbers are rounded
        variance = np.where(variance <= same**2, 1.0, variance)
        # A step in x is less of one in log x the larger x is: here, at the mean.
        hidden = evidence.hidden(batch, sketch.size) / middle(batch)[:, 0] ** 2
        hidden = np.maximum(floor * variance, np.minimum(hidden, variance))
        bound = replace(self.gaussian, floor=floor * variance.min()).bound_within(logs, hidden)
        return replace(self, gaussian=bound, relative_floor=floor)

    def density(self, params: LogNormalParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        inner = self.gaussian.density(GaussianParams(*params))

        def observe(batch: Batch) -> Observed:
            seen = inner(_logs(batch))

            def shared_log_prob() -> FloatArray:
                return np.asarray(seen.shared_log_prob() + _log_jacobian(batch))

            shared = seen.shared + batch.once("jacobian", lambda: batch.sum(_log_jacobian(batch)))
            return Observed(seen.log_prob, shared, seen.totals, shared_log_prob)

        return observe

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> LogNormalParams:
        """Parameters from weighted responsibilities (K, m)."""
        return LogNormalParams(*self.gaussian.start(_logs(batch), resp, rng))

    def maximize(self, totals: GaussianTotals, params: LogNormalParams) -> LogNormalParams:
        """Parameters from Σ r T(log x)."""
        return LogNormalParams(*self.gaussian.maximize(totals, GaussianParams(*params)))

    def recentred(self, stats: GaussianTotals, old: LogNormalParams, new: LogNormalParams) -> GaussianTotals:
        return self.gaussian.recentred(stats, GaussianParams(*old), GaussianParams(*new))

    def expected_log_joint(
        self, stats: GaussianTotals, new: LogNormalParams, old: LogNormalParams
    ) -> float | None:
        return self.gaussian.expected_log_joint(stats, GaussianParams(*new), GaussianParams(*old))

    def resting(self, params: LogNormalParams) -> NDArray[np.bool_] | None:
        return self.gaussian.resting(GaussianParams(*params))

    @property
    def rounding(self) -> float:
        return replace(self.gaussian, floor=self.relative_floor).rounding

    def handicap(self, params: LogNormalParams, stats: GaussianTotals) -> float:
        return self.gaussian.handicap(GaussianParams(*params), stats)

    def forced_columns(self) -> tuple[int, ...]:
        return self.gaussian.forced_columns()

    def on_floor(self, params: LogNormalParams) -> NDArray[np.bool_]:
        return self.gaussian.on_floor(GaussianParams(*params))

    def nearest_legal(self, params: LogNormalParams) -> LogNormalParams:
        """Parameters with eigenvalues of the logarithms' covariances below the floor raised to it."""
        return LogNormalParams(*self.gaussian.nearest_legal(GaussianParams(*params)))

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are positive; NaN counts as possible."""
        return (x > 0) | np.isnan(x)

    def reorder(self, params: LogNormalParams, order: NDArray[np.int_]) -> LogNormalParams:
        """Parameters with the components in another order."""
        return LogNormalParams(*self.gaussian.reorder(GaussianParams(*params), order))

    def fields(self, params: LogNormalParams, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the logarithms' means (lead, d) and covariances, as of `Gaussian`."""
        named = self.gaussian.fields(GaussianParams(*params), lead)
        return {f"log_{name}": value for name, value in named.items()}

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> LogNormalParams:
        given = take_fields(self, named, LogNormalParams._fields)
        return LogNormalParams(
            *self.gaussian.from_fields(dict(zip(GaussianParams._fields, given, strict=True)), lead)
        )

    def divergence(self, params: LogNormalParams, other: Emission, others: Any) -> FloatArray:
        """Those of the logarithms: no change of scale changes an overlap."""
        if not isinstance(others, LogNormalParams) or others.log_means.shape[1] != params.log_means.shape[1]:
            raise self.unlike(other)
        there: Any = unwrapped(other)
        return self.gaussian.divergence(GaussianParams(*params), there.gaussian, GaussianParams(*others))

    def n_parameters(self, params: LogNormalParams) -> int:
        """Number of free parameters."""
        return self.gaussian.n_parameters(GaussianParams(*params))

    def tails(self, params: LogNormalParams, x: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):  # what is 0 is the least of all
            return self.gaussian.tails(GaussianParams(*params), np.log(x))

    def mean(self, params: LogNormalParams) -> FloatArray:
        """Mean of each component, (K, d), of x."""
        return np.asarray(np.exp(params.log_means + 0.5 * self._log_variances(params)))

    def covariance(self, params: LogNormalParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d), of x."""
        mean = self.mean(params)
        of_logs = self.gaussian.covariance(GaussianParams(*params))
        return np.asarray(mean[:, :, None] * mean[:, None] * np.expm1(of_logs))

    def _log_variances(self, params: LogNormalParams) -> FloatArray:
        return np.diagonal(self.gaussian.covariance(GaussianParams(*params)), axis1=1, axis2=2)

    def marginal(self, params: LogNormalParams, columns: NDArray[np.int_]) -> LogNormalParams:
        return LogNormalParams(*self.gaussian.marginal(GaussianParams(*params), columns))

    def of_some(self, columns: NDArray[np.int_]) -> LogNormal:
        return replace(self, gaussian=self.gaussian.of_some(columns))

    def with_means(self, params: LogNormalParams, means: FloatArray) -> LogNormalParams:
        """Parameters with the means (K, d) of x moved, the variances of the logarithms as they are."""
        log_means = np.log(positive_means(means)) - 0.5 * self._log_variances(params)
        return params._replace(log_means=log_means)

    def widened(self, params: LogNormalParams, factors: FloatArray) -> LogNormalParams:
        return LogNormalParams(*self.gaussian.widened(GaussianParams(*params), factors))

    def embedding(self, batch: Batch) -> FloatArray:
        """The logarithms, missing ones in the middle of the others, (d, m)."""
        return self.gaussian.embedding(_logs(batch))

    def sample(
        self, params: LogNormalParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        return np.exp(self.gaussian.sample(GaussianParams(*params), labels, rng))


def _logs(batch: Batch) -> Batch:
    return batch.mapped("logs", lambda x: np.log(np.where(x > 0, x, np.nan)))  # others are refused elsewhere


def _log_jacobian(batch: Batch) -> FloatArray:
    return np.asarray(-filled(_logs(batch)).sum(axis=0))
