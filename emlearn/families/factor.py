r"""Mixtures of factor analysers, with missing entries.

.. math:: x = \mu_k + \Lambda_k z + e, \qquad z \sim N(0, I_q), \quad e \sim N(0, \operatorname{diag} \psi_k)

Given the factors z, the features are independent: missing ones are left out, and nothing else follows from
their being missing. All algebra is on q × q matrices, one per pattern of observed features o,

.. math:: M_o = I + \Lambda_o^\top \Psi_o^{-1} \Lambda_o, \qquad
   \operatorname{cov}(z \mid x_o) = M_o^{-1}, \qquad
   E[z \mid x_o] = M_o^{-1} \Lambda_o^\top \Psi_o^{-1} (x_o - \mu_o),

and the sums over features and over observations are matrix products with the 0/1 array of what is observed.
No array is larger than a few times the batch, and none is d × d.

In the M-step each feature is regressed on the factors over the observations that have it. The factors'
own mean and covariance are estimated as well and then absorbed into the means and the loadings: the model
is the same with them or without, but EM takes longer steps with them (Liu, Rubin & Wu, 1998, Parameter
expansion to accelerate EM: the PX-EM algorithm, Biometrika 85).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.utils.extmath import randomized_svd

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Positive, Real
from emlearn.families import evidence, tails
from emlearn.families.base import (
    Completion,
    ExponentialFamily,
    FloatArray,
    Sketch,
    available_mean,
    read_field,
    take_fields,
)
from emlearn.families.covariance import Full
from emlearn.families.gaussian import FLOOR_SLACK, NO_WEIGHT
from emlearn.families.patterns import group_columns

IntArray = NDArray[np.intp]

# Up to this many rows or features, whichever are fewer, a start has its eigenvectors to the last digit.
EXACT_SIDE = 2000
# A start leaves each feature at least this share of its variance as noise.
LEAST_NOISE = 0.05
# A start leaves each factor at least this share of the variance along its direction.
LEAST_FACTOR = 0.01
# Eigenvalues of a start's covariance matrix below this, relative to the largest, are rounding.
NO_VARIANCE = 1e-10


class FactorParams(NamedTuple):
    """Parameters of K components over d features with q factors."""

    means: FloatArray  # (K, d)
    loadings: FloatArray  # (K, d, q)
    noise: FloatArray  # (K, d) variances of what the factors leave unexplained


class FactorTotals(NamedTuple):
    """Expected sums, with ζ = (z, 1) and x − μ about the means of the E-step's parameters.

    The distinct products ζζᵀ, F = (q + 1)(q + 2) / 2, are those of the upper triangle, row by row.
    """

    latent: FloatArray  # (K, F) Σ r ζζᵀ over all observations of something; the last is Σ r
    products: FloatArray  # (K, d, F) Σ r ζζᵀ over those that have the feature
    cross: FloatArray  # (K, d, q + 1) Σ r (x − μ) ζ over them
    squares: FloatArray  # (K, d) Σ r (x − μ)² over them


@dataclass(frozen=True)
class FactorGaussian(ExponentialFamily):
    r"""Gaussian components with covariances :math:`\Lambda \Lambda^\top + \operatorname{diag} \psi`.

    Missing entries, NaN, are integrated out. Observations of which all is missing have the density 1 under
    every component and add nothing to the statistics.

    Parameters
    ----------
    n_factors : int
        Columns of :math:`\Lambda`, q. Any number is legal, but no more than d of them can matter.
    floor : float, default=1e-6
        Least noise variance, in the units of the data that the family sees.
    ridge : float, default=0.0
        Prior on each covariance matrix, worth as many observations of uncorrelated features of variance 1:
        :math:`-\tfrac12 \text{ridge} (\log |\Sigma| + \operatorname{tr} \Sigma^{-1})`. 0 is maximum likelihood.
    forced : tuple of int, default=()
        Features whose noise the data force onto the floor, being constant. `bound_to` finds them.
    hidden : ndarray of shape (d,), default=None
        As in `Gaussian`: variances that the steps of the features hide.

    Notes
    -----
    That the noise of some features rests on the floor (a Heywood case) is ordinary: the factors then explain
    them to the end. Up to q features can be so explained, and the floor keeps the likelihood bounded. With
    more than q of them there the density is degenerate along directions that the factors cannot carry, and
    the component is spurious.
    """

    n_factors: int
    floor: float = 1e-6
    ridge: float = 0.0
    forced: tuple[int, ...] = ()
    hidden: FloatArray | None = field(default=None, compare=False)

    marginalises = True
    is_placed = True
    derived = ("covariances",)
    floored = ("noise",)

    @property
    def spaces(self) -> Any:
        return FactorParams(Real(), Real(), Positive())  # type: ignore[arg-type]

    def density(self, params: FactorParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        posteriors = _posteriors(params)

        def observe(batch: Batch) -> Observed:
            seen = _Seen.of(batch)
            log_prob, factors = posteriors(seen)
            return Observed(log_prob, 0.0, lambda resp: self._totals(params, seen, factors, resp), lambda: 0.0)

        return observe

    def completion(self, params: FactorParams) -> Callable[[Batch], Completion]:
        """What the observed entries say of the missing ones, as a function of a batch."""
        posteriors = _posteriors(params)

        def complete(batch: Batch) -> Completion:
            seen = _Seen.of(batch)
            log_prob, factors = posteriors(seen)

            def mean(k: int) -> FloatArray:
                if seen.observed is None:
                    return batch.x.copy()
                expected = params.loadings[k] @ factors[k].mean
                expected += params.means[k][:, None]
                return np.where(seen.observed, seen.filled, expected)

            def variance(k: int) -> FloatArray:
                if seen.observed is None:
                    return np.zeros_like(batch.x)
                rows, columns = _triangle(self.n_factors)
                pairs = params.loadings[k][:, rows] * params.loadings[k][:, columns]
                pairs *= np.where(rows == columns, 1.0, 2.0)
                explained = pairs @ factors[k].covariance()  # by the factors, as far as they are unknown
                every = np.maximum(explained, 0.0) + params.noise[k][:, None]
                return np.where(seen.observed, 0.0, seen.spread(every))

            return Completion(log_prob, mean, variance)

        return complete

    def _totals(
        self, params: FactorParams, seen: _Seen, factors: list[_Factors], resp: FloatArray
    ) -> FactorTotals:
        K, d, q = params.loadings.shape
        rows, columns = _triangle(q + 1)
        of_factors = columns < q
        something = seen.kinds.any(axis=0)
        totals = FactorTotals(
            np.empty((K, rows.size)),
            np.empty((K, d, rows.size)),
            np.empty((K, d, q + 1)),
            np.empty((K, d)),
        )
        for k, share in enumerate(resp):
            zeta = np.vstack([factors[k].mean, np.ones_like(share)])
            weighted = zeta * share
            if seen.kinds.shape[1] == 1:
                products = (weighted @ zeta.T)[rows, columns][:, None]
            else:
                products = seen.gather(zeta[rows] * weighted[columns])
            products[of_factors] += factors[k].covariance() * products[-1]
            totals.latent[k] = products @ something
            totals.products[k] = seen.kinds @ products.T
            centred = seen.centred(params.means[k])
            totals.cross[k] = centred @ weighted.T
            totals.squares[k] = np.square(centred, out=centred) @ share
        return totals

    def maximize(  # type: ignore[override]
        self, totals: FactorTotals, params: FactorParams
    ) -> FactorParams:
        """Parameters from totals; a component without weight keeps its own."""
        weight = totals.latent[:, -1]
        updated = FactorParams(*(leaf.copy() for leaf in params))
        for k in np.flatnonzero(weight > NO_WEIGHT * weight.sum()):
            own = FactorTotals(*(leaf[k] for leaf in totals))
            old = FactorParams(*(leaf[k] for leaf in params))
            updated.means[k], updated.loadings[k], updated.noise[k] = self._regress(own, old)
        return updated

    def recentred(self, totals: FactorTotals, old: FactorParams, new: FactorParams) -> FactorTotals:
        # What is expected of the factors stays as it is.
        q = self.n_factors
        step = new.means - old.means
        zeta = totals.products[:, :, _square(q + 1)[q]]  # (K, d, q + 1) Σ r ζ
        squares = totals.squares - 2 * step * totals.cross[:, :, q] + step**2 * zeta[:, :, q]
        return totals._replace(cross=totals.cross - step[:, :, None] * zeta, squares=squares)

    def expected_log_joint(  # type: ignore[override]
        self, stats: FactorTotals, new: FactorParams, old: FactorParams
    ) -> float | None:
        q = self.n_factors
        moments = self.recentred(stats, old, new)  # ζ beside x less the new means
        zz = moments.products[:, :, _square(q + 1)[:q, :q]]
        explained = np.einsum("kjq,kjqp,kjp->kj", new.loadings, zz, new.loadings)
        squares = moments.squares + explained - 2 * np.sum(new.loadings * moments.cross[:, :, :q], axis=2)
        weight = moments.products[:, :, -1]
        return float(-0.5 * np.sum(weight * np.log(new.noise) + squares / new.noise))

    def _regress(self, totals: FactorTotals, params: FactorParams) -> FactorParams:
        """M-step of one component, from its own totals and parameters, without the leading axis.

        The prior counts as observations whose deviations from the mean have unit variance: they have a
        say in the loadings and the noise, and none in the means.
        """
        means, loadings, noise = params
        q = self.n_factors
        weight = totals.products[:, -1]
        seen = weight > NO_WEIGHT * totals.latent[-1]
        share = np.where(seen, weight, 1.0)
        # All below is per unit of a feature's weight, and covariances rather than products.
        z, zz = _centre(totals.products / share[:, None], q)
        x = totals.cross[:, q] / share
        xz = totals.cross[:, :q] / share[:, None] - x[:, None] * z
        xx = totals.squares / share - x * x
        count = np.ones_like(share)
        if not seen.all():
            z[~seen], x[~seen], zz[~seen], xz[~seen], xx[~seen], count[~seen] = 0, 0, 0, 0, 0, 0
        prior_zz = np.zeros((q, q))
        if self.ridge:
            prior_xz, prior_zz = _prior_moments(loadings, noise)
            pseudo = self.ridge / share
            zz += pseudo[:, None, None] * prior_zz
            xz += pseudo[:, None] * prior_xz
            xx += pseudo
            count += pseudo
        kept = count == 0  # features that neither data nor prior know
        if kept.any():
            zz[kept] = np.eye(q)
            count[kept] = 1.0
        slopes = np.linalg.solve(zz, xz[:, :, None])[:, :, 0]
        step = x - np.einsum("jq,jq->j", slopes, z)
        # The residual, in the form in which an error of the slopes does not count.
        rest = 2 * xz - (zz @ slopes[:, :, None])[:, :, 0]
        residual = (xx - np.einsum("jq,jq->j", slopes, rest)) / count
        # The factors' own mean and covariance, absorbed into the means and the loadings.
        total = totals.latent[-1]
        centre, spread = _centre(totals.latent[None] / total, q)
        root = _root((total * spread[0] + self.ridge * prior_zz) / (total + self.ridge))
        return FactorParams(
            np.where(seen, means + step + slopes @ centre[0], means),
            np.where(kept[:, None], loadings, slopes @ root),
            np.where(kept, noise, np.maximum(residual, self._floors)),
        )

    def log_prior(self, params: FactorParams) -> float:
        """Log prior density of the covariance matrices, up to a constant."""
        if not self.ridge:
            return 0.0
        total = 0.0
        for loadings, noise in zip(params.loadings, params.noise, strict=True):
            log_det, precision = _inverse_diagonal(loadings, noise)
            total += log_det + precision.sum()
        return -0.5 * self.ridge * float(total)

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> FactorParams:
        """Parameters from weighted responsibilities (K, m): probabilistic principal components.

        Means and variances are those of the available entries; for the directions a missing entry is at its
        mean. A direction that a component's observations do not have (there are fewer of them than factors,
        say) is that of a feature with the most noise, one feature for each, with a small loading: zero
        loadings would be a saddle point, which EM never leaves. Factors beyond d stay zero, since they have
        nothing to add.
        """
        d = len(batch.x)
        missing = np.isnan(batch.x)
        resp = resp * ~missing.all(axis=0)
        overall = resp.sum(axis=0, keepdims=True)
        centre = available_mean(batch.x, overall, 0.0)
        variance = available_mean((batch.x - centre.T) ** 2, overall, 1.0)[0]
        params = FactorParams(
            available_mean(batch.x, resp, centre),
            np.zeros((len(resp), d, self.n_factors)),
            np.empty((len(resp), d)),
        )
        for k, share in enumerate(resp):
            centred = batch.x - params.means[k][:, None]
            own = available_mean(centred**2, share[None, :], variance)[0]
            centred[missing] = 0.0
            centred *= np.sqrt(share / max(share.sum(), np.finfo(np.float64).tiny))
            loadings = params.loadings[k]
            found = _principal(centred, min(self.n_factors, d))
            loadings[:, : found.shape[1]] = found
            noise = np.maximum(own - np.sum(found**2, axis=1), LEAST_NOISE * own)
            params.noise[k] = np.maximum(noise, self._floors)
            order = np.argsort(-_to_compare(params.noise[k]), kind="stable")
            noisiest = order[: self.n_factors - found.shape[1]]
            lacking = found.shape[1] + np.arange(len(noisiest))
            loadings[noisiest, lacking] = np.sqrt(LEAST_FACTOR * params.noise[k, noisiest])
        return params

    def bound_to(self, sketch: Sketch) -> FactorGaussian:
        """The family with no more factors than features, knowing which features are constant."""
        x = sketch.some.x
        weight = np.ones((1, x.shape[1])) if sketch.some.weight is None else sketch.some.weight[None, :]
        variance = available_mean((x - available_mean(x, weight, 0.0).T) ** 2, weight, 1.0)[0]
        forced = tuple(np.flatnonzero(variance <= self.floor).tolist())
        hidden = evidence.hidden(sketch.some, sketch.size)
        hidden[list(forced)] = 0.0
        q = min(self.n_factors, len(x))
        return replace(self, n_factors=q, forced=forced, hidden=hidden)

    @property
    def _floors(self) -> FloatArray | float:
        """Least noise of each feature."""
        return self.floor if self.hidden is None else np.maximum(self.hidden, self.floor)

    def forced_columns(self) -> tuple[int, ...]:
        return self.forced

    def resting(self, params: FactorParams) -> NDArray[np.bool_] | None:
        resting = self._rests(params)
        if not resting.any():
            return None
        free = np.zeros(params.means.size + params.loadings.size, dtype=bool)
        return np.concatenate([free, resting.ravel()])

    @property
    def rounding(self) -> float:
        # Second moments carry errors of eps, which a noise at the floor turns into eps / floor.
        return max(1e-10, 10 * float(np.finfo(np.float64).eps) / self.floor)

    def handicap(self, params: FactorParams, stats: FactorTotals) -> float:
        if len(params.means) == 1:
            return 0.0
        weight = stats.latent[:, -1]
        # What the data force earns nothing, and costs nothing.
        free = np.setdiff1d(np.arange(params.means.shape[1]), self.forced)
        each = list(zip(params.loadings[:, free], params.noise[:, free], strict=True))
        share = weight / weight.sum()
        roots = [np.sqrt(part) * loadings for part, (loadings, _) in zip(share, each, strict=True)]
        within = np.hstack(roots), share @ params.noise[:, free]
        d = len(free)
        divergence = np.array([0.5 * (_trace(within, own) + _trace(own, within)) - d for own in each])
        least = 2 if self.ridge else min(self.n_factors + 2, d + 1)  # as in Gaussian
        return evidence.handicap(divergence, weight, d, least)

    def on_floor(self, params: FactorParams) -> NDArray[np.bool_]:
        """Which components have more noises on the floor than they have factors, (K,)."""
        return self._rests(params).sum(axis=1) > self.n_factors + len(self.forced)

    def _rests(self, params: FactorParams) -> NDArray[np.bool_]:
        return params.noise <= self._floors * (1 + FLOOR_SLACK)

    def floats_per_row(self, n_components: int, d: int) -> int:
        """How many numbers an E-step works on per observation."""
        q = self.n_factors
        return 4 * d + 2 * (q + 1) * (q + 2) + n_components * (q * q + q + 2)

    def mean(self, params: FactorParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.means

    def covariance(self, params: FactorParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        dense = params.loadings @ params.loadings.swapaxes(1, 2)
        every = np.arange(dense.shape[1])
        dense[:, every, every] += params.noise
        return dense

    def tails(self, params: FactorParams, x: FloatArray) -> FloatArray:
        variances = np.diagonal(self.covariance(params), axis1=1, axis2=2)
        return tails.normal(x, params.means[:, :, None], variances[:, :, None])

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations, a missing entry at its feature's mean over the batch, (d, m)."""
        missing = np.isnan(batch.x)
        if not missing.any():
            return batch.x
        weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
        return np.where(missing, available_mean(batch.x, weight[None, :], 0.0).T, batch.x)

    def without_flat(self, params: FactorParams) -> Callable[[FloatArray], FloatArray]:
        return partial(self.without_turns, params)

    def without_turns(self, params: FactorParams, direction: FloatArray) -> FloatArray:
        """The part of a direction of the coordinates that turns no factors into each other.

        Turns ΛS, S skew, change no density. S solves a Lyapunov equation, in closed form where ΛᵀΛ is diagonal.
        """
        K, d, q = params.loadings.shape
        rest = direction.copy()
        for own, loadings in zip(rest[K * d : K * d * (1 + q)].reshape(K, d, q), params.loadings, strict=True):
            values, vectors = np.linalg.eigh(loadings.T @ loadings)
            twist = loadings.T @ own
            twist = vectors.T @ (twist - twist.T) @ vectors
            pairs = np.add.outer(values, values)
            told = pairs > len(own) * np.finfo(np.float64).eps * values[-1]
            np.divide(twist, pairs, out=twist, where=told)
            twist[~told] = 0.0  # turns of factors without loadings turn nothing
            own -= loadings @ (vectors @ twist @ vectors.T)
        return rest

    has_correlations = False  # not one for each pair of features

    def standard(self, n_components: int, d: int) -> None:
        """None: EM never leaves loadings of 0, whatever the data."""
        return None

    def size(self, d: int) -> int:
        """Number of parameters of a component of d features, turns of the factors included."""
        return d + min(self.n_factors, d) * d

    @property
    def pooled(self) -> None:
        """None: there is no family of these in which components share a matrix."""
        return None

    def shrunk(self, params: FactorParams, share: float) -> FactorParams:
        """Parameters with covariances of a ``share`` of the volume, noise as far as the floor."""
        factor = share ** (2.0 / params.means.shape[1])
        noise = np.maximum(factor * params.noise, self._floors)
        return params._replace(loadings=np.sqrt(factor) * params.loadings, noise=noise)

    def fields(self, params: FactorParams, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the means, covariances, loadings and variances of the noise, by name."""
        means, loadings, noise = params
        named = {
            "means": means,
            "covariances": self.covariance(params),
            "loadings": loadings,
            "noise": noise,
        }
        return {name: value.reshape(*lead, *value.shape[1:]).copy() for name, value in named.items()}

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> FactorParams:
        means, loadings, noise = take_fields(self, named, ("means", "loadings", "noise"), ("covariances",))
        means = read_field("means", means, (*lead, None))
        d = means.shape[-1]
        loadings = read_field("loadings", loadings, (*lead, d, None))
        noise = read_field("noise", noise, (*lead, d))
        if not (noise > 0).all():
            raise ValueError(f"noise must be positive; the least is {noise.min():.6g}.")
        params = FactorParams(
            means.reshape(-1, d), loadings.reshape(-1, d, loadings.shape[-1]), noise.reshape(-1, d)
        )
        given = named.get("covariances")
        if given is not None:
            covariances = read_field("covariances", given, (*lead, d, d)).reshape(-1, d, d)
            own = self.covariance(params)
            if not np.allclose(covariances, own, rtol=1e-6, atol=1e-6 * np.abs(own).max()):
                raise ValueError("covariances are not loadings @ loadings.T + diag(noise): leave them out.")
        return params

    def with_parameters(self, params: FactorParams) -> FactorGaussian:
        return replace(self, n_factors=params.loadings.shape[2])

    def precisions(self, params: FactorParams) -> FloatArray:
        """Precisions, (K, d, d)."""
        whitener = self.precisions_cholesky(params)
        return whitener @ whitener.swapaxes(1, 2)

    def precisions_cholesky(self, params: FactorParams) -> FloatArray:
        """Square roots of the precisions, upper triangular, (K, d, d)."""
        return Full().whitener(self.covariance(params))

    def n_parameters(self, params: FactorParams) -> int:
        """Number of free parameters.

        Rotations of the factors do not count, and no covariance matrix has more than d (d + 1) / 2.
        """
        K, d, q = params.loadings.shape
        q = min(q, d)
        return K * (d + min(d * q - q * (q - 1) // 2 + d, d * (d + 1) // 2))

    def in_units(self, params: FactorParams, units: Affine) -> FactorParams:
        """Parameters of the data before it was brought to ``units``."""
        return FactorParams(
            params.means * units.scale + units.shift,
            params.loadings * units.scale[:, None],
            params.noise * units.scale**2,
        )

    def units(self, variances: FloatArray) -> FloatArray:
        return np.sqrt(variances)

    def with_means(self, params: FactorParams, means: FloatArray) -> FactorParams:
        """Parameters with the means (K, d) moved, all else as it is."""
        return params._replace(means=means)

    def widened(self, params: FactorParams, factors: FloatArray) -> FactorParams:
        loadings = params.loadings * np.sqrt(factors)[:, None, None]
        return self.nearest_legal(params._replace(loadings=loadings, noise=params.noise * factors[:, None]))

    def nearest_legal(self, params: FactorParams) -> FactorParams:
        """Parameters with noises below the floor raised to it."""
        return params._replace(noise=np.maximum(params.noise, self._floors))

    def of_some(self, columns: NDArray[np.int_]) -> FactorGaussian:
        """The family of some of the features."""
        return replace(self, forced=(), hidden=None)

    def has_form_of(self, other: Any) -> bool:
        """Whether parameters of the other family are parameters of this one."""
        return isinstance(other, FactorGaussian) and other.n_factors == self.n_factors

    def marginal(self, params: FactorParams, columns: NDArray[np.int_]) -> FactorParams:
        """Parameters of the distribution of some features."""
        return FactorParams(*(leaf[:, columns] for leaf in params))

    def sample(self, params: FactorParams, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        z = rng.standard_normal((len(labels), self.n_factors))
        out = rng.standard_normal((len(labels), params.means.shape[1]))
        for k in np.unique(labels):
            own = labels == k
            out[own] *= np.sqrt(params.noise[k])
            out[own] += params.means[k] + z[own] @ params.loadings[k].T
        return out


@dataclass(frozen=True)
class _Patterns:
    """Which entries of a batch are missing, and which observations share a pattern.

    Where few do, each counts as a pattern of its own.
    """

    missing: NDArray[np.bool_]  # (d, m)
    first: IntArray | None  # (p,) an observation of each pattern; None where each is its own
    kind: IntArray | None  # (m,) the pattern of each observation; None if its own, or the only one
    order: IntArray | None  # (m,) the observations, pattern by pattern
    starts: IntArray | None  # (p,) where in `order` each pattern begins

    @property
    def size(self) -> int:
        """How many numbers of 64 bits it takes to remember this."""
        arrays = (self.missing, self.first, self.kind, self.order, self.starts)
        return sum(array.nbytes for array in arrays if array is not None) // 8


def _find_patterns(batch: Batch) -> _Patterns | None:
    """The patterns of a batch; None where nothing is missing."""

    def find() -> _Patterns | None:
        if not np.isnan(batch.x.sum()):  # a cheap first look
            return None
        missing = np.isnan(batch.x)
        if not missing.any():
            return None
        order, bounds = group_columns(missing)
        p, m = len(bounds) - 1, len(order)
        if p == 1:
            return _Patterns(missing, order[:1], None, None, None)
        if 2 * p > m:
            return _Patterns(missing, None, None, None, None)
        kind = np.empty_like(order)
        kind[order] = np.repeat(np.arange(p), np.diff(bounds))
        return _Patterns(missing, order[bounds[:-1]], kind, order, bounds[:-1])

    return batch.once("factor patterns", find)


class _Seen(NamedTuple):
    """What there is of a batch, with p patterns of observed features."""

    filled: FloatArray  # (d, m) the data, 0 where missing
    observed: FloatArray | None  # (d, m) 1 where observed, else 0; None where nothing is missing
    kinds: FloatArray  # (d, p) the patterns
    patterns: _Patterns | None

    @classmethod
    def of(cls, batch: Batch) -> _Seen:
        patterns = _find_patterns(batch)
        if patterns is None:
            return cls(batch.x, None, np.ones((len(batch.x), 1)), None)
        observed = (~patterns.missing).astype(np.float64)
        filled = batch.x.copy()
        np.copyto(filled, 0.0, where=patterns.missing)
        kinds = observed if patterns.first is None else observed.take(patterns.first, axis=1)
        return cls(filled, observed, kinds, patterns)

    def spread(self, values: FloatArray) -> FloatArray:
        """One value per pattern (..., p) as one per observation, (..., m) or, if all are alike, (..., 1)."""
        if self.patterns is None or self.patterns.kind is None:
            return values
        return values.take(self.patterns.kind, axis=-1)

    def gather(self, values: FloatArray) -> FloatArray:
        """Sums by pattern (..., p) of one value per observation (..., m), where there are several."""
        if self.patterns is None or self.patterns.order is None or self.patterns.starts is None:
            return values
        return np.add.reduceat(values.take(self.patterns.order, axis=-1), self.patterns.starts, axis=-1)

    def centred(self, mean: FloatArray) -> FloatArray:
        """x − μ, (d, m), 0 where missing; a new array."""
        if self.observed is None:
            return self.filled - mean[:, None]
        centred = mean[:, None] * self.observed
        return np.subtract(self.filled, centred, out=centred)


class _Factors(NamedTuple):
    """Posterior of one component's factors."""

    mean: FloatArray  # (q, m)
    whitener: FloatArray  # (q, q, p) L⁻¹ for M = L Lᵀ, pattern by pattern

    def covariance(self) -> FloatArray:
        """M⁻¹ of each pattern, the upper triangle row by row, (q (q + 1) / 2, p)."""
        q, _, p = self.whitener.shape
        out = np.empty((q * (q + 1) // 2, p))
        start = 0
        for i in range(q):
            below = self.whitener[i:, i:]
            np.einsum("kp,kjp->jp", below[:, 0], below, out=out[start : start + q - i])
            start += q - i
        return out


def _posteriors(params: FactorParams) -> Callable[[_Seen], tuple[FloatArray, list[_Factors]]]:
    """Log-densities (K, m) and the factors' posteriors, as a function of what there is of a batch."""
    K, d, q = params.loadings.shape
    rows, columns = _triangle(q)
    # Sums over the observed features: the Gram matrix of the scaled loadings, and Σ log 2πψ.
    scaled = params.loadings / np.sqrt(params.noise)[:, :, None]
    terms = np.empty((K, rows.size + 1, d))
    for own, A, noise in zip(terms, scaled, params.noise, strict=True):
        np.multiply(A.T[rows], A.T[columns], out=own[:-1])
        own[-1] = np.log(2 * np.pi * noise)
    flat = terms.reshape(-1, d)
    precision = 1.0 / params.noise
    projection = np.ascontiguousarray((params.loadings * precision[:, :, None]).swapaxes(1, 2))

    def of_batch(seen: _Seen) -> tuple[FloatArray, list[_Factors]]:
        log_prob = np.empty((K, seen.filled.shape[1]))
        factors = []
        sums = (flat @ seen.kinds).reshape(K, rows.size + 1, -1)
        for k in range(K):
            whitener, log_det = _whiten(sums[k, :-1], q)
            centred = seen.centred(params.means[k])
            z = projection[k] @ centred
            if whitener.shape[2] == 1:
                z = whitener[:, :, 0].T @ (whitener[:, :, 0] @ z)
            else:
                own = seen.spread(whitener)
                z = np.einsum("ijm,im->jm", own, np.einsum("ijm,jm->im", own, z))
            # The squared length |Ψ^(−½) (x − μ − Λz)|² + |z|² is that of Mahalanobis, and nothing cancels.
            explained = params.loadings[k] @ z
            if seen.observed is not None:
                explained *= seen.observed
            centred -= explained
            length = precision[k] @ np.square(centred, out=centred)
            length += np.einsum("qm,qm->m", z, z)
            length += seen.spread(sums[k, -1] + log_det)
            np.multiply(length, -0.5, out=log_prob[k])
            factors.append(_Factors(z, whitener))
        return log_prob, factors

    return of_batch


def _whiten(gram: FloatArray, q: int) -> tuple[FloatArray, FloatArray]:
    """L⁻¹ (q, q, p) and log |M| (p,) of M = I + gram = L Lᵀ, from upper triangles (q (q + 1) / 2, p).

    Written out over p matrices at a time, which is several times faster than LAPACK on one after another.
    """
    p = gram.shape[1]
    lower, inverse = np.zeros((q, q, p)), np.zeros((q, q, p))
    start = 0
    for j in range(q):
        column = gram[start : start + q - j].copy()
        start += q - j
        column[0] += 1.0
        if j:
            column -= np.einsum("ikp,kp->ip", lower[j:, :j], lower[j, :j])
        np.maximum(column[0], 1.0, out=column[0])  # no pivot of I + gram is less, but for rounding
        np.sqrt(column[0], out=column[0])
        column[1:] /= column[0]
        lower[j:, j] = column
    for i in range(q):
        np.divide(1.0, lower[i, i], out=inverse[i, i])
        if i:
            inverse[i, :i] = np.einsum("kp,kjp->jp", lower[i, :i], inverse[:i, :i])
            inverse[i, :i] *= -inverse[i, i]
    diagonal = lower[np.arange(q), np.arange(q)]
    return inverse, 2 * np.log(diagonal).sum(axis=0)


def _complete_whitener(loadings: FloatArray, noise: FloatArray) -> FloatArray:
    """L⁻¹ for M = L Lᵀ of an observation of everything, (q, q)."""
    gram = loadings.T @ (loadings / noise[:, None])
    rows, columns = _triangle(len(gram))
    return _whiten(gram[rows, columns][:, None], len(gram))[0][:, :, 0]


def _inverse_diagonal(loadings: FloatArray, noise: FloatArray) -> tuple[float, FloatArray]:
    """log |Σ|, and the diagonal of Σ⁻¹, (d,)."""
    whitener = _complete_whitener(loadings, noise)
    explained = whitener @ loadings.T
    leverage = np.einsum("qj,qj->j", explained, explained) / noise
    log_det = np.log(noise).sum() - 2 * np.log(np.diagonal(whitener)).sum()
    return float(log_det), (1 - leverage) / noise


def _trace(inverted: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> float:
    """tr Σ⁻¹ Σ' of two covariances, each by its loadings and its noise."""
    (loadings, noise), (loadings_there, noise_there) = inverted, other
    explained = _complete_whitener(loadings, noise) @ loadings.T / noise
    diagonal = 1 / noise - np.einsum("qj,qj->j", explained, explained)
    of_loadings = np.sum(loadings_there**2 / noise[:, None]) - np.sum((explained @ loadings_there) ** 2)
    return float(diagonal @ noise_there + of_loadings)


def _centre(moments: FloatArray, q: int) -> tuple[FloatArray, FloatArray]:
    """Means (n, q) and covariances (n, q, q) of z, from mean products (n, F) of ζ = (z, 1).

    What rounding may have cost the least eigenvalues is given back.
    """
    square = _square(q + 1)
    z, zz = moments[:, square[:q, q]], moments[:, square[:q, :q]]
    centred = zz - z[:, :, None] * z[:, None, :]
    every = np.arange(q)
    centred[:, every, every] += 4 * (q + 1) * np.finfo(np.float64).eps * zz[:, every, every]
    return z, centred


def _root(matrix: FloatArray) -> FloatArray:
    """The symmetric square root, which turns nothing: rotations would only blur the steps of EM."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _prior_moments(loadings: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E[xzᵀ] (d, q) and E[zzᵀ] (q, q), given x of uncorrelated features with mean 0 and variance 1."""
    whitener = _complete_whitener(loadings, noise)
    slopes = (loadings / noise[:, None]) @ whitener.T @ whitener
    return slopes, whitener.T @ whitener + slopes.T @ slopes


def _principal(centred: FloatArray, q: int) -> FloatArray:
    """Loadings (d, q') of the first principal directions of C Cᵀ; q' ≤ q, as far as there are any.

    With the variance that probabilistic principal components give them: what lies above the mean of the
    rest, but some of it in any case. The largest entry of each is positive.
    """
    d, m = centred.shape
    q = min(q, m)
    if q == 0:
        return np.zeros((d, 0))
    side = min(d, m)
    if side > EXACT_SIDE:
        # What is drawn are directions of features: the order of observations does not enter.
        _, singular, vectors = randomized_svd(centred.T, q, transpose=False, random_state=0)
        values, vectors = singular**2, vectors.T
    elif d <= m:
        values, vectors = eigh(centred @ centred.T, subset_by_index=(side - q, side - 1))
    else:
        values, vectors = eigh(centred.T @ centred, subset_by_index=(side - q, side - 1))
        vectors = centred @ (vectors / np.sqrt(np.maximum(values, np.finfo(np.float64).tiny)))
    order = np.argsort(-values, kind="stable")
    values, vectors = values[order], vectors[:, order]
    some = values > NO_VARIANCE * values[0]
    values, vectors = values[some], vectors[:, some]
    rest = max(float(np.sum(centred**2) - values.sum()), 0.0) / max(d - len(values), 1)
    largest = np.argmax(_to_compare(np.abs(vectors)), axis=0)
    signs = np.where(vectors[largest, np.arange(len(values))] < 0, -1.0, 1.0)
    return vectors * (signs * np.sqrt(np.maximum(values - rest, LEAST_FACTOR * values)))


def _to_compare(sizes: FloatArray) -> FloatArray:
    """Sizes rounded, so that those equal up to rounding compare as equal, by columns."""
    return np.round(sizes / np.maximum(sizes.max(axis=0), np.finfo(np.float64).tiny), 6)


@cache
def _triangle(q: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the upper triangle of a q × q matrix, row by row."""
    return np.triu_indices(q)


@cache
def _square(q: int) -> IntArray:
    """Where each entry of a symmetric q × q matrix stands in its upper triangle."""
    rows, columns = _triangle(q)
    where = np.empty((q, q), dtype=np.intp)
    where[rows, columns] = where[columns, rows] = np.arange(rows.size)
    return where
