"""Directions: unit vectors about a mean direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Directions, Positive
from emlearn.families import evidence
from emlearn.families.base import (
    Emission,
    ExponentialFamily,
    FloatArray,
    Held,
    Sketch,
    of_entries,
    read_field,
    sums_over_features,
    take_fields,
)
from emlearn.families.bessel import bessel_ratio, concentration_of, log_bessel
from emlearn.families.independent import LEAST_ROWS, LOST

# Below the least concentration directions are as good as uniform, above the most as good as equal.
LEAST_CONCENTRATION, MOST_CONCENTRATION = 1e-6, 1e6
# Unit vectors have the length 1 up to this.
LENGTH_TOLERANCE = 1e-6


class VonMisesFisherParams(NamedTuple):
    """Parameters of K components over d columns."""

    directions: FloatArray  # (K, d) of length 1
    concentrations: FloatArray  # (K,)


@dataclass(frozen=True)
class VonMisesFisher(ExponentialFamily):
    r"""Unit vectors, distributed about a mean direction: the von Mises–Fisher distribution.

    With mean direction :math:`\mu` and concentration :math:`\kappa` in d dimensions

    .. math:: p(x) = \frac{\kappa^{d/2 - 1}}{(2 \pi)^{d/2} I_{d/2 - 1}(\kappa)} e^{\kappa \mu^\top x} ,

    a density on the sphere. T(x) = (1, x). In the M-step :math:`\mu` is the direction of the mean vector, and
    :math:`\kappa` solves :math:`I_{d/2}(\kappa) / I_{d/2 - 1}(\kappa) = \bar R`, its length, by Newton's
    method to the last digits (Banerjee et al., 2005, and Sra, 2012, stop before). Bessel functions are taken in
    logarithms, of any order, so that d may be in the thousands. A concentration lies between :math:`10^{-6}`
    and :math:`10^6`, where components of equal rows rest.

    Rows must have the length 1: divide others by it, as `sklearn.preprocessing.normalize` does. They may be
    sparse. One of an array may be missing as a whole.

    References
    ----------
    Banerjee, Dhillon, Ghosh & Sra (2005), Clustering on the unit hypersphere using von Mises–Fisher
    distributions, Journal of Machine Learning Research 6.

    Sra (2012), A short note on parameter approximation for von Mises–Fisher distributions, Computational
    Statistics 27.

    Examples
    --------
    Two kinds of directions in the plane:

    >>> import numpy as np
    >>> from sklearn.preprocessing import normalize
    >>> from emlearn import HMMEM
    >>> headings = normalize([[9, 1], [8, -2], [9, 0], [1, 9], [-1, 8], [0, 9], [9, -1], [2, 9]])
    >>> model = HMMEM(2, emission="von_mises_fisher", random_state=0).fit(headings)
    >>> model.predict(headings)
    array([1, 1, 1, 0, 0, 0, 1, 0])
    >>> model.directions_.round(2) + 0.0
    array([[ 0.05,  1.  ],
           [ 1.  , -0.06]])
    """

    takes_sparse = True
    floored = ("concentrations",)
    support = "unit vectors (divide each row by its length, as sklearn.preprocessing.normalize does)"

    @property
    def spaces(self) -> Any:
        return VonMisesFisherParams(Directions(), Positive())  # type: ignore[arg-type]

    def side_by_side(self, n_fits: int) -> VonMisesFisher:
        return self

    def bound_to(self, sketch: Sketch) -> VonMisesFisher:
        """The family itself, of columns that can be a direction."""
        if len(sketch.most) < 2:
            raise ValueError(
                f"emission={self} needs the 2 or more columns of a unit vector, but X has 1 for it: of angles "
                'take "von_mises".'
            )
        return self

    def statistics(self, batch: Batch) -> Any:
        return of_entries(batch)

    def natural(self, params: VonMisesFisherParams) -> FloatArray:
        directions, kappa = params
        half = 0.5 * directions.shape[1]
        constant = (half - 1) * np.log(kappa) - half * np.log(2 * np.pi) - log_bessel(half - 1, kappa)
        return np.column_stack([constant, kappa[:, None] * directions])

    def maximize(self, totals: FloatArray, params: VonMisesFisherParams | None = None) -> VonMisesFisherParams:
        weight, sums = totals[:, 0], totals[:, 1:]
        length = np.linalg.norm(sums, axis=1)
        some = length > 0
        first = np.eye(1, sums.shape[1])
        kept = first if params is None else params.directions
        directions = np.where(some[:, None], sums / np.where(some, length, 1.0)[:, None], kept)
        mean_length = length / np.where(weight > 0, weight, 1.0)
        order = 0.5 * sums.shape[1] - 1.0
        kappa = concentration_of(order, mean_length, LEAST_CONCENTRATION, MOST_CONCENTRATION)
        if params is not None:
            kappa = np.where(weight > 0, kappa, params.concentrations)
        return VonMisesFisherParams(directions, kappa)

    @property
    def rounding(self) -> float:
        return LOST * MOST_CONCENTRATION  # κ and the logarithm of the Bessel function cancel

    def resting(self, params: VonMisesFisherParams) -> NDArray[np.bool_] | None:
        """Coordinates of concentrations at their least or most; None for none."""
        kappa = params.concentrations
        within = (kappa > LEAST_CONCENTRATION) & (kappa < MOST_CONCENTRATION)
        if within.all():
            return None
        return np.concatenate([np.zeros(params.directions.size, dtype=bool), ~within])

    def nearest_legal(self, params: VonMisesFisherParams) -> VonMisesFisherParams:
        """Parameters with concentrations within their bounds."""
        kappa = np.clip(params.concentrations, LEAST_CONCENTRATION, MOST_CONCENTRATION)
        return params._replace(concentrations=kappa)

    def held(self, names: tuple[str, ...], params: VonMisesFisherParams) -> Emission:
        return Held(self, names) if names == ("concentrations",) else super().held(names, params)

    def n_held(self, params: VonMisesFisherParams, names: tuple[str, ...]) -> int:
        of_all = self.n_parameters(params)
        return of_all if "directions" in names else len(params.concentrations)

    def handicap(self, params: VonMisesFisherParams, stats: FloatArray) -> float:
        K, d = params.directions.shape
        if K == 1:
            return 0.0
        weight = stats[:, 0]
        spread = 1.0 - self._mean_lengths(params)
        divergence = (d - 1) * evidence.divergence(spread / (weight / weight.sum() @ spread))
        return evidence.handicap(divergence, weight, d - 1, LEAST_ROWS)

    def _mean_lengths(self, params: VonMisesFisherParams) -> FloatArray:
        return bessel_ratio(0.5 * params.directions.shape[1] - 1.0, params.concentrations)

    def is_possible(self, x: FloatArray, params: VonMisesFisherParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) belong to unit vectors; NaN counts as possible."""
        length = np.sqrt(np.einsum("dm,dm->m", x, x))
        return np.broadcast_to((np.abs(length - 1.0) <= LENGTH_TOLERANCE) | np.isnan(length), x.shape)

    def possible_rows(self, x: Any, params: VonMisesFisherParams | None = None) -> NDArray[np.bool_]:
        """Which rows of a sparse batch x (d, m) are unit vectors."""
        return np.asarray(np.abs(np.sqrt(sums_over_features(x**2)) - 1.0) <= LENGTH_TOLERANCE)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> VonMisesFisherParams:
        directions, kappa = take_fields(self, named, VonMisesFisherParams._fields)
        directions = read_field("directions", directions, (*lead, None))
        kappa = read_field("concentrations", kappa, lead).ravel()
        directions = directions.reshape(-1, directions.shape[-1])
        length = np.linalg.norm(directions, axis=1)
        if (np.abs(length - 1.0) > LENGTH_TOLERANCE).any():
            worst = length[np.argmax(np.abs(length - 1.0))]
            raise ValueError(f"directions must have the length 1, but one has {worst:.6g}: divide by it.")
        if not (kappa > 0).all():
            raise ValueError(f"concentrations must be positive; the least is {kappa.min():.6g}.")
        return VonMisesFisherParams(directions, kappa)

    def divergence(self, params: VonMisesFisherParams, other: Emission, others: Any) -> FloatArray:
        """Bhattacharyya distances, by the normalisers and that of the middle of the natural parameters."""
        d = params.directions.shape[1]
        if not isinstance(others, VonMisesFisherParams) or others.directions.shape[1] != d:
            raise self.unlike(other)
        here, there = self.natural(params), self.natural(others)
        middle = 0.5 * (here[:, None, 1:] + there[None, :, 1:])
        length = np.maximum(np.linalg.norm(middle, axis=2), np.finfo(np.float64).tiny).ravel()
        along = np.broadcast_to(np.eye(1, d), (len(length), d))
        constant = self.natural(VonMisesFisherParams(along, length))[:, 0].reshape(middle.shape[:2])
        distance: FloatArray = constant - 0.5 * (here[:, None, 0] + there[None, :, 0])
        return np.maximum(distance, 0.0)

    def with_means(self, params: VonMisesFisherParams, means: FloatArray) -> VonMisesFisherParams:
        """Parameters with the directions those of the vectors (K, d), concentrations as they are."""
        length = np.linalg.norm(means, axis=1, keepdims=True)
        if not (length > 0).all():
            raise ValueError("Directions to start from must not be 0.")
        return params._replace(directions=means / length)

    def widened(self, params: VonMisesFisherParams, factors: FloatArray) -> VonMisesFisherParams:
        return self.nearest_legal(params._replace(concentrations=params.concentrations / factors))

    def n_parameters(self, params: VonMisesFisherParams) -> int:
        """Number of free parameters: of a direction one less than its columns."""
        return params.directions.size

    def tails(self, params: VonMisesFisherParams, x: FloatArray) -> FloatArray:
        return self.without_tails(params, x)

    def mean(self, params: VonMisesFisherParams) -> FloatArray:
        """Mean vector of each component, (K, d): it is shorter than 1."""
        return np.asarray(self._mean_lengths(params)[:, None] * params.directions)

    def covariance(self, params: VonMisesFisherParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        directions, kappa = params
        d, length = directions.shape[1], self._mean_lengths(params)
        across = length / kappa
        along = 1.0 - length**2 - (d - 1) * across
        products = directions[:, :, None] * directions[:, None]
        return np.asarray(across[:, None, None] * np.eye(d) + (along - across)[:, None, None] * products)

    def embedding(self, batch: Batch) -> FloatArray:
        """The vectors as they are, (d, m)."""
        return batch.x

    def sample(
        self, params: VonMisesFisherParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d): Wood's (1994) rejection along μ."""
        directions, kappa = params.directions[labels], params.concentrations[labels]
        n, d = directions.shape
        half = 0.5 * (d - 1)
        b = half / (kappa + np.hypot(kappa, half))  # between 0 and 1
        at_mode = (1.0 - b) / (1.0 + b)
        bound = kappa * at_mode + 2 * half * np.log1p(-(at_mode**2))
        cosine, left = np.empty(n), np.arange(n)
        while left.size:
            z = rng.beta(half, half, size=left.size)
            own, scale = b[left], kappa[left]
            drawn = (1.0 - (1.0 + own) * z) / (1.0 - (1.0 - own) * z)
            excess = scale * drawn + 2 * half * np.log1p(-at_mode[left] * drawn) - bound[left]
            accepted = excess >= np.log(1.0 - rng.uniform(size=left.size))
            cosine[left[accepted]] = drawn[accepted]
            left = left[~accepted]
        across = rng.standard_normal((n, d))
        across -= np.einsum("nd,nd->n", across, directions)[:, None] * directions
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        sine = np.sqrt(np.maximum(1.0 - cosine**2, 0.0))
        out = cosine[:, None] * directions + sine[:, None] * across
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))
