"""Independent counts of failures before a first success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.spaces import Probability
from emlearn.families import tails
from emlearn.families.base import FloatArray
from emlearn.families.independent import IndependentColumns, positive_means


class GeometricParams(NamedTuple):
    """Parameters of K components over d counts."""

    probabilities: FloatArray  # (K, d) of a success


@dataclass(frozen=True)
class Geometric(IndependentColumns):
    r"""How often something failed before it succeeded, independent given the component: 0, 1, 2, ...

    .. math:: p(x) = p (1 - p)^x

    with mean :math:`(1 - p) / p`. scipy's ``geom(p, loc=-1)``: of counts of trials, from 1 on, take one off.
    T(x) = (1, x, which entries are there). Missing entries, NaN, are left out.

    Examples
    --------
    >>> from emlearn import HMMEM
    >>> failures = [[0], [1], [0], [9], [14], [11], [12], [0], [0], [1]]
    >>> model = HMMEM(2, emission="geometric", random_state=0).fit(failures)
    >>> model.predict(failures)
    array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0])
    >>> model.probabilities_.round(2)
    array([[0.76],
           [0.09]])
    """

    support = "the counts 0, 1, 2 and so on"
    observes = "counts"
    parameters = GeometricParams
    typical = 0.0

    @property
    def spaces(self) -> Any:
        return GeometricParams(Probability())  # type: ignore[arg-type]

    def entry_statistics(self, x: FloatArray) -> tuple[FloatArray, ...]:
        return (x,)

    def entry_natural(self, params: GeometricParams) -> tuple[FloatArray, ...]:
        with np.errstate(divide="ignore"):  # with a probability of 1 no count but 0 is possible
            return (np.log1p(-params.probabilities),)

    def log_partition(self, *natural: FloatArray) -> FloatArray:
        (log_failure,) = natural
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log(-np.expm1(log_failure)))

    def estimate(self, *averages: FloatArray) -> GeometricParams:
        return GeometricParams(1.0 / (1.0 + averages[0]))

    def is_possible(self, x: FloatArray, params: GeometricParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts; NaN counts as possible."""
        possible = (x >= 0) & (x == np.floor(x))
        if params is not None:
            possible &= (x == 0) | (params.probabilities.min(axis=0) < 1)[:, None]
        return possible | np.isnan(x)

    def points(self, x: FloatArray) -> FloatArray:
        return np.log1p(x)

    def tails(self, params: GeometricParams, x: FloatArray) -> FloatArray:
        log_failure = np.log1p(-params.probabilities[:, :, None])
        return tails.of_counts(
            x, lambda n: -np.expm1((n + 1) * log_failure), lambda n: np.exp((n + 1) * log_failure)
        )

    def mean(self, params: GeometricParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return (1.0 - params.probabilities) / params.probabilities

    def variance(self, params: GeometricParams) -> FloatArray:
        """Variance of each column, (K, d)."""
        return (1.0 - params.probabilities) / params.probabilities**2

    def with_means(self, params: GeometricParams, means: FloatArray) -> GeometricParams:
        """Probabilities with which these (K, d) are the means."""
        return self.estimate(positive_means(means))

    def sample(
        self, params: GeometricParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        return np.asarray(rng.geometric(params.probabilities[labels]), dtype=np.float64) - 1.0
