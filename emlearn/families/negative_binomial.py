"""Independent counts that vary more than Poisson counts do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, polygamma, xlogy

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Positive
from emlearn.families import tails
from emlearn.families.base import (
    Emission,
    FloatArray,
    Held,
    available_mean,
    diagonal,
    log_factorials,
    mean_or_kept,
    read_field,
    take_fields,
)
from emlearn.families.poisson import anscombe

# The dispersion rests here where counts vary no more than Poisson counts: what is less cannot be told from it.
LEAST_DISPERSION, MOST_DISPERSION = 1e-9, 1e6
# No M-step changes the logarithm of a dispersion by more.
LONGEST_STEP = 2.0
# From this size on differences of gamma functions are those of Stirling's series, which loses no digits.
LARGE = 20.0
SMALL = 0.01  # below, log(1 + t) - t is a series
FAR_BELOW = -0.5  # below, log(1 + t) is taken of the quotient that 1 + t is: t itself may be rounded to -1


class NegativeBinomialParams(NamedTuple):
    """Parameters of K components over d counts."""

    rates: FloatArray  # (K, d) expected counts μ
    dispersions: FloatArray  # (K, d) α: variances are μ + α μ²


class NegativeBinomialTotals(NamedTuple):
    """Σ r of what an M-step needs, at the parameters of the E-step."""

    weight: FloatArray  # (K, d) of entries that are there
    sums: FloatArray  # (K, d) Σ r x
    slope: FloatArray  # (K, d) derivative of the log-density by log α
    bend: FloatArray  # (K, d) second derivative
    place: FloatArray  # (K, d) log α


@dataclass(frozen=True)
class NegativeBinomial(Emission):
    r"""Negative binomial counts, independent given the component: Poisson counts whose rates vary.

    With mean μ and dispersion α the variance is :math:`\mu + \alpha \mu^2`, and

    .. math:: p(x) = \frac{\Gamma(x + 1/\alpha)}{\Gamma(1/\alpha) \, x!}
        \frac{(\alpha \mu)^x}{(1 + \alpha \mu)^{x + 1/\alpha}} .

    scipy's parameters are ``n = 1 / α`` and ``p = 1 / (1 + α μ)``. The mean of the M-step is exact; α, whose
    estimate does not depend on it (their information is diagonal), takes one Newton step in its logarithm,
    which the engine shortens where the likelihood would fall. Where counts vary no more than Poisson counts α
    tends to 0. Missing entries, NaN, are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> counts = np.random.RandomState(0).negative_binomial(2, 0.2, size=(400, 1))  # μ = 8, α = 1/2
    >>> model = HMMEM(1, emission="negative_binomial").fit(counts)
    >>> print(f"{model.rates_[0, 0]:.2f} {model.dispersions_[0, 0]:.2f}")
    8.28 0.52
    """

    support = "the counts 0, 1, 2 and so on"
    marginalises = True
    is_by_feature = True
    observes = "counts"

    @property
    def spaces(self) -> Any:
        return NegativeBinomialParams(Positive(), Positive())  # type: ignore[arg-type]

    def density(self, params: NegativeBinomialParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        rates, sizes = params.rates, 1.0 / params.dispersions

        def observe(batch: Batch) -> Observed:
            columns = [_Values.of(batch, j) for j in range(len(batch.x))]
            log_prob = np.zeros((len(rates), batch.x.shape[1]))
            for j, column in enumerate(columns):
                log_prob += column.spread(log_density(column.values, rates[:, [j]], sizes[:, [j]]))

            def totals(resp: FloatArray) -> NegativeBinomialTotals:
                out = np.empty((5, *rates.shape))
                for j, column in enumerate(columns):
                    counts = column.gather(resp)
                    slope, bend = derivatives(column.values, rates[:, [j]], sizes[:, [j]])
                    out[0, :, j], out[1, :, j] = counts.sum(axis=1), counts @ column.values
                    out[2, :, j], out[3, :, j] = (counts * slope).sum(axis=1), (counts * bend).sum(axis=1)
                out[4] = out[0] * np.log(params.dispersions)
                return NegativeBinomialTotals(*out)

            shared = batch.once("base", lambda: -batch.sum(log_factorials(batch)))
            return Observed(log_prob, shared, totals, lambda: -log_factorials(batch))

        return observe

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> NegativeBinomialParams:
        """Parameters from weighted responsibilities (K, m), by moments."""
        rates = available_mean(batch.x, resp, available_mean(batch.x, resp.sum(axis=0, keepdims=True), 0.0))
        squares = available_mean(batch.x**2, resp, 0.0)
        excess = squares - rates**2 - rates
        least = 0.05 / np.maximum(rates, 0.5)
        dispersions = np.maximum(excess / np.maximum(rates, 1e-3) ** 2, least)
        return self.nearest_legal(NegativeBinomialParams(rates, np.minimum(dispersions, 10.0)))

    def maximize(
        self, totals: NegativeBinomialTotals, params: NegativeBinomialParams
    ) -> NegativeBinomialParams:
        """Parameters from `NegativeBinomialTotals`."""
        return self._stepped(totals, params, 1.0)

    def shortened(
        self, stats: NegativeBinomialTotals, params: NegativeBinomialParams, attempt: int
    ) -> NegativeBinomialParams:
        """The means as they are best, and a part of the step of the dispersions."""
        return self._stepped(stats, params, 0.5**attempt)

    def _stepped(
        self, totals: NegativeBinomialTotals, params: NegativeBinomialParams, share: float
    ) -> NegativeBinomialParams:
        rates = mean_or_kept(totals.sums, totals.weight, params.rates)
        curved = totals.bend < 0
        newton = -totals.slope / np.where(curved, totals.bend, 1.0)
        step = np.where(curved, np.clip(newton, -LONGEST_STEP, LONGEST_STEP), np.sign(totals.slope))
        # With a rate of 0 nothing is known of the dispersion.
        known = (totals.weight > 0) & (rates > 0) & (step != 0)
        place = totals.place / np.where(known, totals.weight, 1.0)  # where the derivatives are from
        dispersions = np.exp(np.where(known, place + share * step, 0.0))
        dispersions = np.clip(dispersions, LEAST_DISPERSION, MOST_DISPERSION)
        return NegativeBinomialParams(rates, np.where(known, dispersions, params.dispersions))

    def expected_log_joint(
        self, stats: NegativeBinomialTotals, new: NegativeBinomialParams, old: NegativeBinomialParams
    ) -> float | None:
        """By the slopes, that of the dispersions being what it is at the ``old`` ones."""
        excess = stats.sums - stats.weight * old.rates  # over 1 + αμ the slope by log μ
        along = np.log(new.rates / old.rates) * excess / (1.0 + old.dispersions * old.rates)
        across = np.log(new.dispersions / old.dispersions) * stats.slope
        return float(along.sum() + across.sum())

    def resting(self, params: NegativeBinomialParams) -> NDArray[np.bool_] | None:
        """Coordinates of dispersions that rest at their least or most; None for none."""
        within = (params.dispersions > LEAST_DISPERSION) & (params.dispersions < MOST_DISPERSION)
        if within.all():
            return None
        return np.concatenate([np.zeros(params.rates.size, dtype=bool), ~within.ravel()])

    def nearest_legal(self, params: NegativeBinomialParams) -> NegativeBinomialParams:
        """Parameters with dispersions within their bounds."""
        return params._replace(dispersions=np.clip(params.dispersions, LEAST_DISPERSION, MOST_DISPERSION))

    def is_possible(self, x: FloatArray, params: NegativeBinomialParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts; NaN counts as possible."""
        possible = (x >= 0) & (x == np.floor(x))
        if params is not None:
            possible &= (x == 0) | (params.rates.max(axis=0) > 0)[:, None]
        return possible | np.isnan(x)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> NegativeBinomialParams:
        rates, dispersions = take_fields(self, named, ("rates", "dispersions"))
        rates = read_field("rates", rates, (*lead, None))
        dispersions = read_field("dispersions", dispersions, rates.shape)
        if (rates < 0).any():
            raise ValueError(f"rates must not be negative; the least is {rates.min():.6g}.")
        if not (dispersions > 0).all():
            raise ValueError(f"dispersions must be positive; the least is {dispersions.min():.6g}.")
        d = rates.shape[-1]
        return NegativeBinomialParams(rates.reshape(-1, d), dispersions.reshape(-1, d))

    def held(self, names: tuple[str, ...], params: NegativeBinomialParams) -> Emission:
        return Held(self, names)

    def n_held(self, params: NegativeBinomialParams, names: tuple[str, ...]) -> int:
        return sum(getattr(params, name).size for name in names)

    def with_means(self, params: NegativeBinomialParams, means: FloatArray) -> NegativeBinomialParams:
        """Rates (K, d)."""
        if not (means > 0).all():
            raise ValueError(f"Rates to start from must be positive; the least is {means.min():.6g}.")
        return params._replace(rates=means)

    def n_parameters(self, params: NegativeBinomialParams) -> int:
        """Number of free parameters."""
        return params.rates.size + params.dispersions.size

    def tails(self, params: NegativeBinomialParams, x: FloatArray) -> FloatArray:
        return tails.negative_binomial(x, params.rates[:, :, None], params.dispersions[:, :, None])

    def mean(self, params: NegativeBinomialParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.rates

    def covariance(self, params: NegativeBinomialParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return diagonal(params.rates * (1.0 + params.dispersions * params.rates))

    def embedding(self, batch: Batch) -> FloatArray:
        """Counts on a scale where their variance is about 1, were they Poisson (Anscombe, 1948), (d, m)."""
        return anscombe(batch)

    def sample(
        self, params: NegativeBinomialParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        dispersions = params.dispersions[labels]
        rates = params.rates[labels] * dispersions * rng.gamma(1.0 / dispersions)
        return rng.poisson(rates).astype(np.float64)


class _Values(NamedTuple):
    """Counts of a column, each once: what depends on a count is worked out once for all rows that have it."""

    values: FloatArray  # (u,) the last one stands for what is missing, where anything is
    place: NDArray[np.intp]  # (m,)
    has_gaps: bool

    @classmethod
    def of(cls, batch: Batch, j: int) -> _Values:
        values = batch.once(("values", j), lambda: np.unique(batch.x[j]))  # NaN, once, comes last
        place = batch.once(("place", j), lambda: np.searchsorted(values, batch.x[j]))
        missing = np.isnan(values)
        return cls(np.where(missing, 0.0, values), place, bool(missing[-1]))

    def spread(self, table: FloatArray) -> FloatArray:
        """Values (K, u) for every row, (K, m); 0 where a count is missing."""
        if self.has_gaps:
            table[:, -1] = 0.0
        return table[:, self.place]

    def gather(self, resp: FloatArray) -> FloatArray:
        """Sums of responsibilities (K, m) over the rows of each value, (K, u)."""
        n = len(self.values)
        counts = np.array([np.bincount(self.place, share, minlength=n) for share in resp])
        if self.has_gaps:
            counts[:, -1] = 0.0
        return counts


def log_density(x: FloatArray, mean: FloatArray, size: FloatArray) -> FloatArray:
    """Log-densities (K, u) of counts (u,), less −log x!, at means (K, u) or (K, 1), and sizes 1 / α (K, 1)."""
    out = np.empty(np.broadcast_shapes(x.shape, mean.shape, size.shape))
    mean, size = np.broadcast_to(mean, out.shape), np.broadcast_to(size, (len(out), 1))
    is_large = size[:, 0] >= LARGE
    if is_large.any():
        m, s = mean[is_large], size[is_large]
        by_series = xlogy(x, m) + (x + s) * _log_ratio(x, m, s) - x - 0.5 * np.log1p(x / s)
        out[is_large] = by_series + (stirling(x + s) - stirling(s))
    if not is_large.all():
        m, s = mean[~is_large], size[~is_large]
        exact = gammaln(x + s) - gammaln(s) + xlogy(x, m) + s * np.log(s)
        out[~is_large] = exact - (x + s) * np.log(s + m)
    return out


def stirling(z: FloatArray) -> FloatArray:
    """log Γ(z) less (z − ½) log z − z + ½ log 2π, for large z."""
    w = 1.0 / z**2
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w / 1680))) / z


def derivatives(x: FloatArray, mean: FloatArray, size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """First and second derivatives (K, u) of log-densities by log α, at means and sizes as of `log_density`."""
    first, second = np.empty((2, *np.broadcast_shapes(x.shape, mean.shape, size.shape)))
    mean, size = np.broadcast_to(mean, first.shape), np.broadcast_to(size, (len(first), 1))
    is_large = size[:, 0] >= LARGE
    if is_large.any():
        m, s = mean[is_large], size[is_large]
        by_series = _log_ratio_less(x, m, s) + x / (2 * s * (s + x)) + rest_of_digamma(x + s)
        first[is_large] = by_series - rest_of_digamma(s)
        by_series = (m - x) ** 2 / ((s + x) * (s + m) ** 2) - x * (2 * s + x) / (2 * s**2 * (s + x) ** 2)
        second[is_large] = by_series + (rest_of_trigamma(x + s) - rest_of_trigamma(s))
    if not is_large.all():
        m, s = mean[~is_large], size[~is_large]
        first[~is_large] = digamma(x + s) - digamma(s) - np.log1p(m / s) + (m - x) / (s + m)
        exact = polygamma(1, x + s) - polygamma(1, s) + m / (s * (s + m))
        second[~is_large] = exact - (m - x) / (s + m) ** 2
    return -size * first, size * (size * second + first)


def _log_ratio(x: FloatArray, mean: FloatArray, size: FloatArray) -> FloatArray:
    """log (x + size) / (mean + size), without cancellation where the two are near."""
    t = (x - mean) / (size + mean)
    near = np.log1p(np.maximum(t, FAR_BELOW))
    return np.where(t > FAR_BELOW, near, np.log((x + size) / (size + mean)))


def _log_ratio_less(x: FloatArray, mean: FloatArray, size: FloatArray) -> FloatArray:
    """The same less t = (x − mean) / (size + mean), of which it is log (1 + t), by a series near 0."""
    t = (x - mean) / (size + mean)
    near = np.where(np.abs(t) < SMALL, t, 0.0)
    series = np.zeros_like(near)
    for n in range(9, 1, -1):
        series = near * series + (-1) ** (n + 1) / n
    return np.where(np.abs(t) < SMALL, near**2 * series, _log_ratio(x, mean, size) - t)


def rest_of_digamma(z: FloatArray) -> FloatArray:
    """ψ(z) less log z − 1 / 2z, for large z."""
    w = 1.0 / z**2
    return -w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w / 240)))


def rest_of_trigamma(z: FloatArray) -> FloatArray:
    """ψ'(z) less 1 / z + 1 / 2z², for large z."""
    w = 1.0 / z**2
    return w / z * (1 / 6 - w * (1 / 30 - w * (1 / 42 - w / 30)))
