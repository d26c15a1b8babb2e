"""Independent counts with more zeros than Poisson counts have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

from emlearn.em.batches import Batch
from emlearn.em.spaces import Positive, Probability
from emlearn.families import tails
from emlearn.families.base import (
    ExponentialFamily,
    FloatArray,
    counted,
    diagonal,
    filled,
    log_factorials,
    read_field,
    take_fields,
)
from emlearn.families.poisson import anscombe

POLISH = 3  # Newton steps after Lambert's W, which has half the digits where rates are small


class ZeroInflatedPoissonParams(NamedTuple):
    """Parameters of K components over d counts."""

    rates: FloatArray  # (K, d) expected counts of what counts at all
    inflations: FloatArray  # (K, d) shares of those that are 0 for good


@dataclass(frozen=True)
class ZeroInflatedPoisson(ExponentialFamily):
    r"""Counts that are 0 for good with probability π, else Poisson, independent given the component.

    :math:`p(0) = \pi + (1 - \pi) e^{-\lambda}` and :math:`p(x) = (1 - \pi) e^{-\lambda} \lambda^x / x!`
    for others (Lambert, 1992). With T(x) = (1, [x = 0], x, [x > 0]) this is an exponential family in p(0) and
    λ: counts above 0 tell λ, and their share the other, unless that asks for fewer zeros than a Poisson
    distribution has; then π is 0. The M-step is exact. Missing entries, NaN, are left out.

    References
    ----------
    Lambert (1992), Zero-inflated Poisson regression, Technometrics 34.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> from emlearn.families import ZeroInflatedPoisson
    >>> counts = [[0], [7], [9], [0], [8], [0], [6], [7], [0], [9]]
    >>> model = HMMEM(1, emission=ZeroInflatedPoisson()).fit(counts)
    >>> print(f"{model.rates_[0, 0]:.3f} {model.inflations_[0, 0]:.3f}")
    7.663 0.400
    """

    support = "the counts 0, 1, 2 and so on"
    marginalises = True
    is_by_feature = True
    observes = "counts"

    @property
    def spaces(self) -> Any:
        return ZeroInflatedPoissonParams(Positive(), Probability())  # type: ignore[arg-type]

    def statistics(self, batch: Batch) -> FloatArray:
        x = batch.x
        return np.vstack([counted(batch), x == 0, filled(batch), x > 0])

    def base_measure(self, batch: Batch) -> FloatArray:
        return -log_factorials(batch)

    def natural(self, params: ZeroInflatedPoissonParams) -> FloatArray:
        rates, inflations = params
        with np.errstate(divide="ignore"):  # what is certain leaves no other value
            log_zero = np.log(inflations + (1.0 - inflations) * np.exp(-rates))
            log_rates, log_positive = np.log(rates), np.log1p(-inflations) - rates
        return np.hstack([np.zeros((len(rates), 1)), log_zero, log_rates, log_positive])

    def maximize(
        self, totals: FloatArray, params: ZeroInflatedPoissonParams | None = None
    ) -> ZeroInflatedPoissonParams:
        zeros, sums, positives = np.split(totals[:, 1:], 3, axis=1)
        weight = zeros + positives
        some, any_positive = weight > 0, positives > 0
        total = np.where(some, weight, 1.0)
        rates = _rate_above_zero(np.where(any_positive, sums / np.where(any_positive, positives, 1.0), 1.0))
        with np.errstate(divide="ignore", invalid="ignore"):  # where all that count are 1 the rate is 0
            inflations = 1.0 - positives / total / -np.expm1(-rates)
        fewer = ~(inflations > 0)
        rates = np.where(fewer, sums / total, rates)
        inflations = np.where(fewer, 0.0, inflations)
        rates = np.where(any_positive, rates, 0.0)  # of nothing but zeros any share may be for good
        kept = (0.0, 0.0) if params is None else params
        return ZeroInflatedPoissonParams(
            np.where(some, rates, kept[0]), np.where(some & any_positive, inflations, kept[1])
        )

    def is_possible(self, x: FloatArray, params: ZeroInflatedPoissonParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts; NaN counts as possible."""
        possible = (x >= 0) & (x == np.floor(x))
        if params is not None:
            rates, inflations = params
            some = np.any((rates > 0) & (inflations < 1), axis=0, keepdims=True)
            possible &= (x == 0) | some.T
        return possible | np.isnan(x)

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts; NaN counts as one."""
        return self.is_possible(x)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> ZeroInflatedPoissonParams:
        rates, inflations = take_fields(self, named, ("rates", "inflations"))
        rates = read_field("rates", rates, (*lead, None))
        inflations = read_field("inflations", inflations, rates.shape)
        if (rates < 0).any():
            raise ValueError(f"rates must not be negative; the least is {rates.min():.6g}.")
        if ((inflations < 0) | (inflations > 1)).any():
            raise ValueError("inflations, shares of zeros, must lie between 0 and 1.")
        d = rates.shape[-1]
        return ZeroInflatedPoissonParams(rates.reshape(-1, d), inflations.reshape(-1, d))

    def with_means(self, params: ZeroInflatedPoissonParams, means: FloatArray) -> ZeroInflatedPoissonParams:
        """Rates at which counts have these means (K, d), zeros for good among them."""
        if not (means > 0).all():
            raise ValueError(f"Means to start from must be positive; the least is {means.min():.6g}.")
        inflations = np.minimum(params.inflations, 0.9)
        return ZeroInflatedPoissonParams(means / (1.0 - inflations), inflations)

    def n_parameters(self, params: ZeroInflatedPoissonParams) -> int:
        """Number of free parameters."""
        return params.rates.size + params.inflations.size

    def tails(self, params: ZeroInflatedPoissonParams, x: FloatArray) -> FloatArray:
        rates, inflations = params.rates[:, :, None], params.inflations[:, :, None]
        of_counts = (1.0 - inflations) * tails.poisson(x, rates)
        of_zeros = tails.of_counts(x, np.ones_like, np.zeros_like)[:, None]
        return of_counts + inflations * of_zeros

    def mean(self, params: ZeroInflatedPoissonParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return (1.0 - params.inflations) * params.rates

    def covariance(self, params: ZeroInflatedPoissonParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return diagonal(self.mean(params) * (1.0 + params.inflations * params.rates))

    def embedding(self, batch: Batch) -> FloatArray:
        """Counts on a scale where their variance is about 1, were they Poisson (Anscombe, 1948), (d, m)."""
        return anscombe(batch)

    def sample(
        self, params: ZeroInflatedPoissonParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        counts_at_all = rng.uniform(size=(len(labels), params.rates.shape[1])) >= params.inflations[labels]
        return (rng.poisson(params.rates[labels]) * counts_at_all).astype(np.float64)


def _rate_above_zero(mean: FloatArray) -> FloatArray:
    """The rate λ at which Poisson counts above 0 have this mean: λ / (1 − exp(−λ)); 0 for a mean of 1."""
    mean = np.maximum(mean, 1.0)
    rate = np.maximum(mean + lambertw(-mean * np.exp(-mean)).real, 0.0)
    for _ in range(POLISH):
        slope = 1.0 - mean * np.exp(-rate)
        excess = rate + mean * np.expm1(-rate)
        rate = np.where(slope > 0, np.maximum(rate - excess / np.where(slope > 0, slope, 1.0), 0.0), rate)
    return np.where(mean > 1.0, rate, 0.0)
