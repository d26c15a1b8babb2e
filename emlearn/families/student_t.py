r"""Multivariate Student's t of every covariance shape: Gaussians for data with outliers.

.. math:: x \mid u \sim N(\mu_k, \Sigma_k / u), \qquad u \sim \Gamma(\nu_k / 2, \nu_k / 2)

A t distribution is a Gaussian whose observations have scales u of their own. These are hidden beside the
component, and all that EM needs to know of them is

.. math:: E[u \mid x] = \frac{\nu + d}{\nu + \delta}, \qquad
   E[\log u \mid x] = \psi\left(\frac{\nu + d}{2}\right) - \log \frac{\nu + \delta}{2}, \qquad
   \delta = (x - \mu)^\top \Sigma^{-1} (x - \mu) :

what lies far off weighs little. Where entries are missing the others are t as well, with the same ν, and d and
δ are theirs.

In the M-step the level of the scales is estimated too, and absorbed into Σ: sums are divided by Σ r u in place
of Σ r (Kent, Tyler & Vardi, 1994, A curious likelihood identity for the multivariate t-distribution, Commun.
Stat. Simul. 23), and ν / 2 is the shape of the Gamma distribution, of any mean, that fits them best. The model
is the same with that level or without, but EM takes longer steps with it (Liu, Rubin & Wu, 1998, Parameter
expansion to accelerate EM: the PX-EM algorithm, Biometrika 85).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, digamma, fdtri, gammaln, stdtr

from emlearn.em.batches import Affine, Batch
from emlearn.em.compiled import compiled_or
from emlearn.em.model import Observed
from emlearn.em.spaces import Fixed, Positive
from emlearn.families import _scales_numpy, tails
from emlearn.families.base import (
    Emission,
    FloatArray,
    Held,
    Sketch,
    keep,
    read_field,
    take_fields,
)
from emlearn.families.covariance_types import STRUCTURES
from emlearn.families.gaussian import LEAST_FLOOR, NO_WEIGHT, Gaussian, GaussianParams, GaussianTotals

# Estimates of the degrees of freedom begin here, and are no less than those of a Cauchy distribution.
FIRST_DF, LEAST_DF = 10.0, 1.0
# With more of them than this a t distribution is a Gaussian up to rounding.
MOST_DF = 1e6
# Degrees of freedom as near to a bound as this, relatively, rest on it.
SLACK = 1e-6
# Newton steps that find the shape of a Gamma distribution to the last digit.
SHAPE_STEPS = 3

kernel: Any = compiled_or(_scales_numpy)


class StudentTParams(NamedTuple):
    """Parameters of K components over d features."""

    means: FloatArray  # (K, d), of the centre: a distribution with ν ≤ 1 has no mean
    scale_matrices: FloatArray  # (C, d, d), (C, d) or (C,); C is K, or 1 where all share one
    df: FloatArray  # (K,) degrees of freedom ν; (1,) where all share one that is estimated


class StudentTTotals(NamedTuple):
    """Expected sums over observations of which something is there."""

    normal: GaussianTotals  # weighted by r u
    weight: FloatArray  # (K,) Σ r
    log_scale: FloatArray  # (K,) Σ r log u


@dataclass(frozen=True)
class MultivariateStudentT(Emission):
    r"""Components that are multivariate Student's t.

    Missing entries, NaN, are integrated out. Observations of which all is missing have the density 1 under
    every component and add nothing to the statistics.

    Parameters
    ----------
    normal : Gaussian
        What the components are given the scales of their observations: form and floor of the scale matrices.
    df : float or {"free", "shared"}, default="free"
        Degrees of freedom: a number, which is kept; estimated for each component, or one for all.
    max_df : float, default=200.0
        Estimates are no less than 1 and no more than this. Without outliers the likelihood rises in ν for ever,
        and hardly: one that rests here has no standard error.
    n_fits : int, default=1
        Of how many fits components stand side by side.

    Examples
    --------
    One row in twenty is an outlier:

    >>> import numpy as np
    >>> from emlearn.em import Batches, LatentModel, fit_em
    >>> from emlearn.families import student_t_family
    >>> from emlearn.latent import MixtureWeights
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> X[::20] *= 100
    >>> model, data = LatentModel(MixtureWeights(), student_t_family("spherical")), Batches(X)
    >>> fit = fit_em(model, model.start(next(iter(data)), np.ones((1, 200))), data).params.family
    >>> fit.scale_matrices.round(1), fit.df.round(1), X.var().round()
    (array([0.6]), array([1.4]), np.float64(435.0))
    """

    normal: Gaussian
    df: float | Literal["free", "shared"] = "free"
    max_df: float = 200.0
    n_fits: int = field(default=1, compare=False)

    marginalises = True
    is_placed = True
    floored = ("scale_matrices", "df")

    def __post_init__(self) -> None:
        if isinstance(self.df, str):
            if self.df not in ("free", "shared"):
                raise ValueError(f'df={self.df!r} is neither "free" nor "shared" nor a number.')
        elif not 0 < self.df <= MOST_DF:
            raise ValueError(
                f"df={self.df}: degrees of freedom must be positive, and no more than {MOST_DF:g}, beyond "
                "which components are Gaussian."
            )
        if not LEAST_DF < self.max_df <= MOST_DF:
            raise ValueError(
                f"max_df={self.max_df} must be more than {LEAST_DF:g}, and no more than {MOST_DF:g}."
            )

    @property
    def is_estimated(self) -> bool:
        """Whether the degrees of freedom are."""
        return isinstance(self.df, str)

    @cached_property
    def spaces(self) -> Any:
        means, scale_matrices = self.normal.spaces
        return StudentTParams(means, scale_matrices, Positive() if self.is_estimated else Fixed())  # type: ignore[arg-type]

    def side_by_side(self, n_fits: int) -> MultivariateStudentT | None:
        normal = self.normal.side_by_side(n_fits)
        return None if normal is None else replace(self, normal=normal, n_fits=n_fits)

    @staticmethod
    def _normal(params: StudentTParams) -> GaussianParams:
        return GaussianParams(params.means, params.scale_matrices)

    def _of_each(self, params: StudentTParams) -> FloatArray:
        """Degrees of freedom of each component, (K,)."""
        if self.df != "shared":
            return params.df
        return params.df[np.arange(len(params.means)) % self.n_fits]

    # -- EM ----------------------------------------------------------------------------------------------

    def density(self, params: StudentTParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        lengths = self.normal.lengths(self._normal(params))
        nu, d = self._of_each(params)[:, None], params.means.shape[1]
        rate = 1.0 / nu[:, 0]
        complete, every = _by_number(nu, np.array([d])), cache(lambda: _by_number(nu, np.arange(d + 1)))

        def observe(batch: Batch) -> Observed:
            half, at_mean, n_observed, totals_of = lengths(batch)
            alike = len(n_observed) == 1 and n_observed[0] == d
            if alike:
                shape, constant, factor, log_scale = complete
            else:
                shape, constant, factor, log_scale = (of.take(n_observed, axis=1) for of in every())
            log_prob = np.empty_like(half)
            kernel.log_densities(half, rate, shape, constant + at_mean, log_prob)

            def totals(resp: FloatArray) -> StudentTTotals:
                if not n_observed.all():
                    resp = resp * (n_observed > 0)
                weight, of_logs, scaled = np.empty(len(nu)), np.empty(len(nu)), np.empty_like(half)
                kernel.expect(half, rate, factor, np.ascontiguousarray(resp), scaled, weight, of_logs)
                of_scales = weight * log_scale[:, 0] if alike else np.einsum("km,km->k", resp, log_scale)
                return StudentTTotals(totals_of(scaled, resp), weight, of_scales - of_logs)

            return Observed(log_prob, 0.0, totals, lambda: 0.0)

        return observe

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> StudentTParams:
        """Parameters from weighted responsibilities (K, m)."""
        normal = self.normal.start(batch, resp, rng)
        return StudentTParams(*normal, self._first_df(len(normal.means)))

    def _first_df(self, n_components: int) -> FloatArray:
        df = min(FIRST_DF, self.max_df) if isinstance(self.df, str) else float(self.df)
        return np.full(self.n_fits if self.df == "shared" else n_components, df)

    def maximize(self, totals: StudentTTotals, params: StudentTParams) -> StudentTParams:
        """Parameters from totals; a component without weight keeps its own."""
        normal, level = self.normal.maximize_expanded(
            totals.normal, self._normal(params), totals.weight, alike=self.df != "free"
        )
        return StudentTParams(*normal, self._estimate(totals, level, params))

    def _estimate(self, totals: StudentTTotals, level: FloatArray, params: StudentTParams) -> FloatArray:
        """Degrees of freedom of greatest likelihood, given the level of the scales."""
        n, of_scales, of_logs = totals.weight, totals.normal.weight, totals.log_scale
        if not self.is_estimated:
            return params.df
        # Σ r (u / level − log(u / level) − 1), for scales that are all alike 0.
        excess = of_scales / level - of_logs + n * (np.log(level) - 1)
        if self.df == "shared":
            n, excess = (values.reshape(-1, self.n_fits).sum(axis=0) for values in (n, excess))
        empty = n <= NO_WEIGHT * n.sum()
        excess = np.maximum(excess / np.where(empty, 1.0, n), 0.5 / self.max_df)  # more than at the most
        df = np.minimum(np.maximum(2 * gamma_shape(excess), LEAST_DF), self.max_df)
        return np.where(empty, params.df, df)

    def recentred(self, totals: StudentTTotals, old: StudentTParams, new: StudentTParams) -> StudentTTotals:
        # What is expected of the scales stays as it is.
        normal = self.normal.recentred(totals.normal, self._normal(old), self._normal(new))
        return totals._replace(normal=normal)

    def expected_log_joint(
        self, stats: StudentTTotals, new: StudentTParams, old: StudentTParams
    ) -> float | None:
        moments = self.recentred(stats, old, new).normal._replace(weight=stats.weight)
        of_normal = self.normal.expected_log_joint(moments, self._normal(new), self._normal(new))
        shape = 0.5 * self._of_each(new)
        of_scales = stats.weight * (shape * np.log(shape) - gammaln(shape))
        of_scales += shape * (stats.log_scale - stats.normal.weight)
        return None if of_normal is None else of_normal + float(of_scales.sum())

    def log_prior(self, params: StudentTParams) -> float:
        return self.normal.log_prior(self._normal(params))

    @property
    def rounding(self) -> float:
        return self.normal.rounding

    def resting(self, params: StudentTParams) -> NDArray[np.bool_] | None:
        of_normal = self.normal.resting(self._normal(params))
        at_bound = (params.df <= LEAST_DF * (1 + SLACK)) | (params.df >= self.max_df * (1 - SLACK))
        if not self.is_estimated or not at_bound.any():
            at_bound = np.zeros(len(params.df) if self.is_estimated else 0, dtype=bool)
            return None if of_normal is None else np.append(of_normal, at_bound)
        if of_normal is None:
            spaces = self.normal.spaces
            n = spaces.means.n_coordinates(params.means)
            n += spaces.covariances.n_coordinates(params.scale_matrices)
            of_normal = np.zeros(n, dtype=bool)
        return np.append(of_normal, at_bound)

    def handicap(self, params: StudentTParams, stats: StudentTTotals) -> float:
        return self.normal.handicap(self._normal(params), stats.normal._replace(weight=stats.weight))

    # -- what the data say before a fit ------------------------------------------------------------------

    def bound_to(self, sketch: Sketch) -> MultivariateStudentT:
        """The family, knowing what the data force onto its floor."""
        return replace(self, normal=self.normal.bound_to(sketch))

    def forced_columns(self) -> tuple[int, ...]:
        return self.normal.forced_columns()

    def on_floor(self, params: StudentTParams) -> NDArray[np.bool_]:
        """Which scale matrices rest on the floor without being forced to by the data, (C,)."""
        return self.normal.on_floor(self._normal(params))

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations, a missing entry at its feature's mean over the batch, (d, m)."""
        return self.normal.embedding(batch)

    def units(self, variances: FloatArray) -> FloatArray:
        return self.normal.units(variances)

    def floats_per_row(self, n_components: int, d: int) -> int:
        """How many numbers an E-step works on per observation."""
        return self.normal.beside_others().floats_per_row(n_components, d) + 2 * n_components

    # -- parameters --------------------------------------------------------------------------------------

    def tails(self, params: StudentTParams, x: FloatArray) -> FloatArray:
        squares = np.diagonal(self.normal.covariance(self._normal(params)), axis1=1, axis2=2)
        z = (x - params.means[:, :, None]) / np.sqrt(squares)[:, :, None]
        nu = self._of_each(params)[:, None, None]
        return tails.of_numbers(stdtr(nu, z), stdtr(nu, -z))

    def mean(self, params: StudentTParams) -> FloatArray:
        """Centre of each component, (K, d): the mean, where there is one."""
        return params.means

    def covariance(self, params: StudentTParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d), infinite with up to two degrees of freedom."""
        nu = self._of_each(params)
        with np.errstate(divide="ignore"):
            factor = np.where(nu > 2, nu / np.maximum(nu - 2, 0.0), np.inf)
        scale = self.normal.covariance(self._normal(params))
        return np.multiply(scale, factor[:, None, None], out=scale, where=scale != 0)

    def bulk(self, params: StudentTParams) -> FloatArray:
        """Covariances of normal distributions, half of which lies where half of these do."""
        d = params.means.shape[1]
        median = d * fdtri(d, self._of_each(params), 0.5)
        return self.normal.covariance(self._normal(params)) * (median / chdtri(d, 0.5))[:, None, None]

    def n_parameters(self, params: StudentTParams) -> int:
        """Number of free parameters."""
        return self.normal.n_parameters(self._normal(params)) + self._n_df(params)

    def _n_df(self, params: StudentTParams) -> int:
        return params.df.size if self.is_estimated else 0

    def in_units(self, params: StudentTParams, units: Affine) -> StudentTParams:
        """Parameters of the data before it was brought to ``units``."""
        return StudentTParams(*self.normal.in_units(self._normal(params), units), params.df)

    def reorder(self, params: StudentTParams, order: NDArray[np.int_]) -> StudentTParams:
        """Parameters with the components in another order."""
        df = params.df if self.df == "shared" else params.df[order]
        return StudentTParams(*self.normal.reorder(self._normal(params), order), df)

    def fields(self, params: StudentTParams, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of means (lead, d), of scale matrices, as a Gaussian's covariances, and of ν, (lead) or ()."""
        means, scale_matrices = self.normal.fields(self._normal(params), lead).values()
        df = params.df[0] if self.df == "shared" else params.df.reshape(lead).copy()
        return {"means": means, "scale_matrices": scale_matrices, "df": df}

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> StudentTParams:
        if not isinstance(self.df, str):
            named = {"df": np.full(lead, float(self.df)), **named}
        means, scale_matrices, df = take_fields(self, named, ("means", "scale_matrices", "df"))
        df = read_field("df", df, () if self.df == "shared" else lead).ravel()
        if not ((df > 0) & (df <= MOST_DF)).all():
            raise ValueError(f"df holds {df.min():.6g} to {df.max():.6g}: it must be in (0, {MOST_DF:g}].")
        if not isinstance(self.df, str) and (df != self.df).any():
            raise ValueError(
                f"df is given, but the degrees of freedom of this family are {self.df:g}: drop it."
            )
        try:
            of_normal = {"means": means, "covariances": scale_matrices}
            return StudentTParams(*self.normal.from_fields(of_normal, lead), df)
        except ValueError as error:
            raise ValueError(str(error).replace("covariances", "scale_matrices")) from None

    def of_moments(self, means: FloatArray, covariances: FloatArray) -> StudentTParams:
        """Parameters from means (K, d) and the nearest of this form to matrices (K, d, d)."""
        return StudentTParams(*self.normal.of_moments(means, covariances), self._first_df(len(means)))

    def held(self, names: tuple[str, ...], params: StudentTParams) -> Emission:
        return Held(self, names)

    def maximize_held(
        self, totals: StudentTTotals, params: StudentTParams, names: tuple[str, ...]
    ) -> StudentTParams:
        if "means" in names:  # scale matrices are then about the means as they are
            totals = totals._replace(normal=totals.normal._replace(first=np.zeros_like(totals.normal.first)))
        new = self.maximize(totals, params)
        if "scale_matrices" in names:  # which then cannot absorb the level of the scales
            new = new._replace(df=self._estimate(totals, np.ones_like(totals.weight), params))
        return keep(new, params, names)

    def n_held(self, params: StudentTParams, names: tuple[str, ...]) -> int:
        of_normal = tuple("covariances" if name == "scale_matrices" else name for name in names)
        return self.normal.n_held(self._normal(params), of_normal) + self._n_df(params) * ("df" in names)

    def with_means(self, params: StudentTParams, means: FloatArray) -> StudentTParams:
        """Parameters with the means (K, d) moved, all else as it is."""
        return params._replace(means=means)

    def widened(self, params: StudentTParams, factors: FloatArray) -> StudentTParams:
        return StudentTParams(*self.normal.widened(self._normal(params), factors), params.df)

    def nearest_legal(self, params: StudentTParams) -> StudentTParams:
        """Parameters with eigenvalues below the floor raised to it, and ν within its bounds."""
        normal = self.normal.nearest_legal(self._normal(params))
        df = np.clip(params.df, LEAST_DF, self.max_df) if self.is_estimated else params.df
        return StudentTParams(*normal, df)

    # -- forms -------------------------------------------------------------------------------------------

    def size(self, d: int) -> int:
        """Number of parameters of a component of d features."""
        return self.normal.size(d) + 1

    @property
    def pooled(self) -> MultivariateStudentT | None:
        """The family in which components share what is a matrix each here; None where they do."""
        normal = self.normal.pooled
        return None if normal is None else replace(self, normal=normal)

    def shrunk(self, params: StudentTParams, share: float) -> StudentTParams:
        """Parameters with scale matrices of a ``share`` of the volume, unless that brings some to the floor."""
        return StudentTParams(*self.normal.shrunk(self._normal(params), share), params.df)

    def of_some(self, columns: NDArray[np.int_]) -> MultivariateStudentT:
        """The family of some of the features."""
        return replace(self, normal=self.normal.of_some(columns))

    def has_form_of(self, other: Any) -> bool:
        """Whether parameters of the other family are parameters of this one."""
        alike = isinstance(other, MultivariateStudentT) and (self.df == "shared") == (other.df == "shared")
        return alike and self.normal.has_form_of(other.normal)

    def marginal(self, params: StudentTParams, columns: NDArray[np.int_]) -> StudentTParams:
        """Parameters of the distribution of some features."""
        return StudentTParams(*self.normal.marginal(self._normal(params), columns), params.df)

    def sample(
        self, params: StudentTParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        drawn = self.normal.sample(self._normal(params), labels, rng)
        nu = self._of_each(params)[labels]
        centre = params.means[labels]
        return centre + (drawn - centre) * np.sqrt(nu / rng.chisquare(nu))[:, None]


def _by_number(nu: FloatArray, n: NDArray[np.int_]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """What depends on how many entries are observed, each (K, len(n)): for ν (K, 1) and numbers of entries n.

    ½ (ν + n), what the log-density at the centre has beside that of a Gaussian, 1 + n / ν, and the expected
    log-scale where the length is 0.
    """
    base = 0.5 * nu
    shape, log_base = base + 0.5 * n, np.log(base)
    constant = gammaln(shape) - gammaln(base) - 0.5 * n * log_base
    return shape, constant, shape / base, digamma(shape) - log_base


def gamma_shape(excess: FloatArray) -> FloatArray:
    """Shapes a of Gamma distributions, log a − ψ(a) = ``excess``: the log of the mean less the mean of the log.

    Newton steps in 1 / a (Minka, 2002, Estimating a Gamma distribution), from within 1.5 %.
    """
    shapes = np.empty(len(excess))
    kernel.gamma_shapes(excess, SHAPE_STEPS, shapes)
    return shapes


def student_t_family(
    covariance_type: str = "full",
    *,
    df: float | Literal["free", "shared"] = "free",
    max_df: float = 200.0,
    floor: float = 0.0,
) -> MultivariateStudentT:
    """Multivariate Student's t with scale matrices of a ``covariance_type``.

    Parameters
    ----------
    covariance_type : str, default="full"
        Form of the scale matrices, one of ``COVARIANCE_TYPES`` but "factor".
    df : float or {"free", "shared"}, default="free"
        Degrees of freedom: a number, which is kept; estimated for each component, or one for all.
    max_df : float, default=200.0
        The most that estimates are; they are at least 1.
    floor : float, default=0.0
        Least eigenvalue of a scale matrix, in units of the features' variance; 1e-9 at least.

    Returns
    -------
    family : MultivariateStudentT

    Raises
    ------
    ValueError
        If there is no such form, or degrees of freedom are not positive.

    Examples
    --------
    States with outliers, as many in each:

    >>> from emlearn import HMMEM
    >>> from emlearn.families import student_t_family
    >>> model = HMMEM(2, emission=student_t_family("diag", df="shared"))
    """
    structure = STRUCTURES.get(covariance_type)
    if structure is None:
        raise ValueError(f"covariance_type={covariance_type!r} is none of {', '.join(STRUCTURES)}.")
    return MultivariateStudentT(Gaussian(structure, max(floor, LEAST_FLOOR)), df, max_df)
