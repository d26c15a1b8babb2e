"""Independent positive numbers of a gamma distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, polygamma

from emlearn.em.batches import Batch
from emlearn.em.spaces import Positive
from emlearn.families import tails
from emlearn.families.base import Emission, FloatArray, Held, filled
from emlearn.families.independent import BoundedColumns, PositiveColumns, positive_means
from emlearn.families.negative_binomial import LARGE, rest_of_digamma, rest_of_trigamma

# Newton steps of the shape, of which four or five are usual, and the relative change that ends them.
MOST_STEPS, EXACT = 30, 1e-14


class GammaParams(NamedTuple):
    """Parameters of K components over d columns."""

    shapes: FloatArray  # (K, d)
    rates: FloatArray  # (K, d) shape / mean


@dataclass(frozen=True)
class Gamma(PositiveColumns, BoundedColumns):
    r"""Positive numbers of gamma distributions, independent given the component.

    With shape a and rate b the mean is a / b, the variance :math:`a / b^2`, and

    .. math:: p(x) = \frac{b^a}{\Gamma(a)} x^{a - 1} e^{-b x} .

    T(x) = (1, x, log x, which entries are there). In the M-step the mean is the average, and the shape solves
    :math:`\log a - \psi(a) = \log \bar x - \overline{\log x}`, by Newton's method in 1 / a (Minka, 2002), to
    the last digits. A component of one value would have an infinite shape: it rests at :math:`10^6`, a
    standard deviation of a thousandth of the mean. scipy's parameters are ``a`` and ``scale = 1 / b``. Missing
    entries, NaN, are left out.

    References
    ----------
    Minka (2002), Estimating a gamma distribution, technical report, Microsoft Research.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> amounts = np.random.RandomState(0).gamma(3.0, 1 / 0.5, size=(1000, 1))
    >>> model = HMMEM(1, emission="gamma").fit(amounts)
    >>> print(f"{model.shapes_[0, 0]:.2f} {model.rates_[0, 0]:.2f}")
    3.23 0.55
    """

    parameters = GammaParams
    narrow = ("shapes",)

    @property
    def spaces(self) -> Any:
        return GammaParams(Positive(), Positive())  # type: ignore[arg-type]

    def entry_statistics(self, x: FloatArray) -> tuple[FloatArray, ...]:
        return x, np.log(x)

    def base_measure(self, batch: Batch) -> FloatArray:
        return -np.log(filled(batch, 1.0)).sum(axis=0)

    def entry_natural(self, params: GammaParams) -> tuple[FloatArray, ...]:
        return -params.rates, params.shapes

    def log_partition(self, *natural: FloatArray) -> FloatArray:
        minus_rates, shapes = natural
        return np.asarray(gammaln(shapes) - shapes * np.log(-minus_rates))

    def estimate(self, *averages: FloatArray) -> GammaParams:
        means, mean_logs = averages
        shapes = _shape_of(np.log(means) - mean_logs, self.limit)
        return GammaParams(shapes, shapes / means)

    def most_narrow(self, mean: FloatArray, variance: FloatArray) -> FloatArray:
        return mean**2 / variance

    def held(self, names: tuple[str, ...], params: GammaParams) -> Emission:
        return Held(self, names) if names == ("shapes",) else super().held(names, params)

    def maximize_held(self, totals: FloatArray, params: GammaParams, names: tuple[str, ...]) -> GammaParams:
        if names != ("shapes",):
            return params
        return self.with_means(params, self.mean(self.maximize(totals, params)))  # of any shape the averages

    def spread(self, params: GammaParams) -> FloatArray:
        return np.asarray(polygamma(1, params.shapes))  # of log x

    def tails(self, params: GammaParams, x: FloatArray) -> FloatArray:
        return tails.gamma(x, params.shapes[:, :, None], params.rates[:, :, None])

    def mean(self, params: GammaParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.shapes / params.rates

    def variance(self, params: GammaParams) -> FloatArray:
        """Variance of each column, (K, d)."""
        return params.shapes / params.rates**2

    def with_means(self, params: GammaParams, means: FloatArray) -> GammaParams:
        """Parameters with the means (K, d) moved, the shapes as they are."""
        return params._replace(rates=params.shapes / positive_means(means))

    def widened(self, params: GammaParams, factors: FloatArray) -> GammaParams:
        return self.nearest_legal(GammaParams(*(own / factors[:, None] for own in params)))

    def sample(self, params: GammaParams, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        drawn = rng.gamma(params.shapes[labels]) / params.rates[labels]
        return np.maximum(drawn, np.finfo(np.float64).tiny)  # what a small shape draws may be no number


def log_less_digamma(shape: FloatArray) -> tuple[FloatArray, FloatArray]:
    """log a − ψ(a) and its derivative, to all digits for large a too."""
    large, small = np.maximum(shape, LARGE), np.minimum(shape, LARGE)
    value = np.where(shape >= LARGE, 0.5 / large - rest_of_digamma(large), np.log(small) - digamma(small))
    by_series = -0.5 / large**2 - rest_of_trigamma(large)
    return value, np.where(shape >= LARGE, by_series, 1.0 / small - polygamma(1, small))


def _shape_of(gap: FloatArray, most: FloatArray) -> FloatArray:
    """The shape a at which log a − ψ(a), which falls from ∞ to 0, is the gap; no more than the most."""
    least = log_less_digamma(most)[0]
    within = np.maximum(gap, least)
    shape = (3.0 - within + np.sqrt((within - 3.0) ** 2 + 24.0 * within)) / (12.0 * within)
    for _ in range(MOST_STEPS):
        value, slope = log_less_digamma(shape)
        before, shape = shape, 1.0 / (1.0 / shape + (value - within) / (shape**2 * slope))
        if (np.abs(shape - before) <= EXACT * before).all():
            break
    return np.where(gap > least, np.minimum(shape, most), most)
