"""Independent positive numbers of an exponential distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.spaces import Positive
from emlearn.families import tails
from emlearn.families.base import FloatArray
from emlearn.families.independent import PositiveColumns, positive_means


class ExponentialParams(NamedTuple):
    """Parameters of K components over d columns."""

    rates: FloatArray  # (K, d) 1 / mean


@dataclass(frozen=True)
class Exponential(PositiveColumns):
    r"""Positive numbers of exponential distributions, independent given the component: waiting times.

    .. math:: p(x) = b e^{-b x}

    with the rate b: mean and standard deviation are 1 / b, scipy's ``scale``. T(x) = (1, x, which entries are
    there). Missing entries, NaN, are left out.

    Examples
    --------
    >>> from emlearn import HMMEM
    >>> waits = [[0.2], [0.1], [0.3], [4.0], [9.0], [6.0], [8.0], [0.2], [0.3], [0.1]]
    >>> model = HMMEM(2, emission="exponential", random_state=0).fit(waits)
    >>> model.predict(waits)
    array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0])
    >>> (1 / model.rates_).round(2)
    array([[0.2 ],
           [6.36]])
    """

    parameters = ExponentialParams

    @property
    def spaces(self) -> Any:
        return ExponentialParams(Positive())  # type: ignore[arg-type]

    def entry_statistics(self, x: FloatArray) -> tuple[FloatArray, ...]:
        return (x,)

    def entry_natural(self, params: ExponentialParams) -> tuple[FloatArray, ...]:
        return (-params.rates,)

    def log_partition(self, *natural: FloatArray) -> FloatArray:
        (minus_rates,) = natural
        return np.asarray(-np.log(-minus_rates))

    def estimate(self, *averages: FloatArray) -> ExponentialParams:
        return ExponentialParams(1.0 / averages[0])

    def tails(self, params: ExponentialParams, x: FloatArray) -> FloatArray:
        return tails.gamma(x, 1.0, params.rates[:, :, None])

    def mean(self, params: ExponentialParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return 1.0 / params.rates

    def variance(self, params: ExponentialParams) -> FloatArray:
        """Variance of each column, (K, d)."""
        return 1.0 / params.rates**2

    def with_means(self, params: ExponentialParams, means: FloatArray) -> ExponentialParams:
        """Rates at which these (K, d) are the means."""
        return ExponentialParams(1.0 / positive_means(means))

    def sample(
        self, params: ExponentialParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        return rng.exponential(1.0 / params.rates[labels])
