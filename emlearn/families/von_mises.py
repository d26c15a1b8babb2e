"""Independent angles about a mean direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine
from emlearn.em.spaces import Positive, Real
from emlearn.families.base import Emission, FloatArray, Held
from emlearn.families.bessel import bessel_ratio, concentration_of, log_bessel
from emlearn.families.independent import BoundedColumns

# Below the least concentration angles are as good as uniform.
LEAST_CONCENTRATION = 1e-6
# Angles beyond a turn either way are taken for degrees.
TURN = 2.0 * np.pi


class VonMisesParams(NamedTuple):
    """Parameters of K components over d columns."""

    angles: FloatArray  # (K, d) mean directions, in radians
    concentrations: FloatArray  # (K, d)


@dataclass(frozen=True)
class VonMises(BoundedColumns):
    r"""Angles in radians, of von Mises distributions, independent given the component.

    With mean direction :math:`\mu` and concentration :math:`\kappa`

    .. math:: p(x) = \frac{e^{\kappa \cos(x - \mu)}}{2 \pi I_0(\kappa)} ,

    a density on the circle: x and x + 2π are the same angle. T(x) = (1, cos x, sin x, which entries are there).
    The M-step is that of `VonMisesFisher` in two dimensions, to the last digits. A component of one angle would
    have an infinite concentration: it rests at :math:`10^6`, or at half a step, where angles are recorded in
    steps. scipy's parameters are ``kappa`` and ``loc``. Angles have no mean and covariance as numbers have.
    Missing entries, NaN, are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> winds = np.radians([[170], [-175], [180], [160], [10], [-5], [20], [0], [-170], [175]])
    >>> model = HMMEM(2, emission="von_mises", random_state=0).fit(winds)
    >>> labels = model.predict(winds)
    >>> labels == labels[0]
    array([ True,  True,  True,  True, False, False, False, False,  True,  True])
    >>> np.sort(np.degrees(model.angles_).round(), axis=0)
    array([[  6.],
           [177.]])
    """

    support = "angles in radians, from -2π to 2π (np.radians makes them of degrees)"
    parameters = VonMisesParams
    typical = 0.0
    narrow = ("concentrations",)

    @property
    def spaces(self) -> Any:
        return VonMisesParams(Real(), Positive())  # type: ignore[arg-type]

    def entry_statistics(self, x: FloatArray) -> tuple[FloatArray, ...]:
        return np.cos(x), np.sin(x)

    def entry_natural(self, params: VonMisesParams) -> tuple[FloatArray, ...]:
        angles, kappa = params
        return kappa * np.cos(angles), kappa * np.sin(angles)

    def log_partition(self, *natural: FloatArray) -> FloatArray:
        return np.log(TURN) + log_bessel(0.0, np.hypot(*natural))

    def estimate(self, *averages: FloatArray) -> VonMisesParams:
        cosine, sine = averages
        kappa = concentration_of(0.0, np.hypot(cosine, sine), LEAST_CONCENTRATION, self.limit)
        return VonMisesParams(np.arctan2(sine, cosine), kappa)

    def maximize(self, totals: FloatArray, params: VonMisesParams | None = None) -> VonMisesParams:
        new: VonMisesParams = super().maximize(totals, params)
        if params is None:
            return new
        # As near as may be to what it was, so that what crosses half a turn does not leap.
        return new._replace(angles=params.angles + _within_half_a_turn(new.angles - params.angles))

    def in_units(self, params: VonMisesParams, units: Affine) -> VonMisesParams:
        """Parameters as they are told: angles from -π to π."""
        return params._replace(angles=_within_half_a_turn(params.angles))

    def most_narrow(self, mean: FloatArray, variance: FloatArray) -> FloatArray:
        return 1.0 / variance

    def held(self, names: tuple[str, ...], params: VonMisesParams) -> Emission:
        return Held(self, names) if names == ("concentrations",) else super().held(names, params)

    def spread(self, params: VonMisesParams) -> FloatArray:
        return 1.0 - bessel_ratio(0.0, params.concentrations)

    def is_possible(self, x: FloatArray, params: VonMisesParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) may be radians; NaN counts as possible."""
        return (np.abs(x) <= TURN * (1.0 + 1e-9)) | np.isnan(x)

    def points(self, x: FloatArray) -> FloatArray:
        return np.concatenate([np.cos(x), np.sin(x)])

    def with_means(self, params: VonMisesParams, means: FloatArray) -> VonMisesParams:
        """Parameters with the angles (K, d) moved, the concentrations as they are."""
        return params._replace(angles=_within_half_a_turn(means))

    def widened(self, params: VonMisesParams, factors: FloatArray) -> VonMisesParams:
        wider = params._replace(concentrations=params.concentrations / factors[:, None])
        return self.nearest_legal(wider)

    def tails(self, params: VonMisesParams, x: FloatArray) -> FloatArray:
        return self.without_tails(params, x)

    def sample(
        self, params: VonMisesParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        return _within_half_a_turn(rng.vonmises(params.angles[labels], params.concentrations[labels]))


def _within_half_a_turn(angles: FloatArray) -> FloatArray:
    """The same angles, from -π to π; those that are there already as they stand."""
    return np.where(np.abs(angles) <= np.pi, angles, angles - TURN * np.round(angles / TURN))
