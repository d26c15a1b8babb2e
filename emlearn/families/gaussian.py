"""Multivariate Gaussians of every covariance shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Real
from emlearn.families import evidence, tails
from emlearn.families.base import (
    Completion,
    Emission,
    ExponentialFamily,
    FloatArray,
    Held,
    Sketch,
    available_mean,
    keep,
    linear_forms,
    mean_or_kept,
    observed,
    read_field,
    take_fields,
    totals_of,
)
from emlearn.families.covariance import Diagonal, Full, Spherical, Structure
from emlearn.families.incomplete import Filled, available_moments, fill
from emlearn.families.patterns import Gaps, find_gaps
from emlearn.families.shared_forms import CommonAxes, EqualForm, EqualShape, EqualVolume, OwnAxes

LOG_2_PI = float(np.log(2 * np.pi))
EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
# Above this relative error of x² − 2xμ + μ² the whitened path takes over.
CANCELLATION = 1e-10
# From this many features on, d² more than so many times the components, roots cost less than products.
ROOTS_FROM, ROOTS_RATIO = 10, 100
# Floors below this are more than floating point can bear.
LEAST_FLOOR = 1e-9
# Entries of directions that the data force onto the floor, squared, that count.
TAKES_PART = 1e-3
# Eigenvalues this much above the floor, relatively, count as resting on it, and below it as beyond it.
FLOOR_SLACK = 1e-3
# A responsibility below this, relative to the largest, is lost in rounding when second moments are summed.
NO_SHARE = 1e-20
# A component with no more than this share of all weight is empty and keeps its parameters.
NO_WEIGHT = 1e-100


class GaussianParams(NamedTuple):
    """Parameters of K components over d features."""

    means: FloatArray  # (K, d)
    covariances: FloatArray  # (C, d, d), (C, d) or (C,); C is K, or 1 where all share one


class GaussianTotals(NamedTuple):
    """Σ r T(x), with moments about the means of the E-step's parameters: nothing cancels."""

    weight: FloatArray  # (K,) Σ r
    first: FloatArray  # (K, d) Σ r (x − μ)
    second: FloatArray  # (C, F2) Σ r · products of x − μ, summed over those that share a matrix


class Lengths(NamedTuple):
    """How far the observations of a batch lie from components: what mixtures of their scales are made of."""

    half: FloatArray  # (K, m) −½ squared Mahalanobis length of what is observed
    at_mean: FloatArray  # (K, m) or (K, 1) log-density where that is 0
    n_observed: NDArray[np.intp]  # (m,) or (1,)
    # Weights (K, m), and the responsibilities of what is missing, -> Σ weight · T(x).
    totals: Callable[[FloatArray, FloatArray], GaussianTotals]


COVARIANCE_SHAPES: dict[str, Structure] = {
    "full": Full(),
    "tied": Full(shared=True),
    "diag": Diagonal(),
    "spherical": Spherical(),
    "tied_diag": Diagonal(shared=True),
    "tied_spherical": Spherical(shared=True),
    "VEI": EqualShape(),
    "EVI": EqualVolume(),
    "VEE": EqualForm(),
    "EVE": CommonAxes(along=EqualVolume()),
    "VVE": CommonAxes(along=Diagonal()),
    "EEV": OwnAxes(along=Diagonal(shared=True)),
    "VEV": OwnAxes(along=EqualShape()),
    "EVV": OwnAxes(along=EqualVolume()),
}


@dataclass(frozen=True)
class Gaussian(ExponentialFamily):
    r"""Gaussian components.

    Missing entries, NaN, are integrated out. Observations of which all is missing have the density 1 under
    every component and add nothing to the statistics.

    Parameters
    ----------
    structure : Structure
        Form of the covariance matrices, one of ``COVARIANCE_SHAPES``.
    floor : float, default=1e-6
        Least eigenvalue of a covariance matrix, in the units of the data that the family sees.
    forced : ndarray of shape (d, f), default=None
        Orthonormal directions in which the data force every matrix onto the floor, features being constant or
        collinear. A component with more eigenvalues there is spurious. `bound_to` finds them.
    ridge : float, default=0.0
        Prior on each covariance matrix, worth as many observations of uncorrelated features of variance 1:
        :math:`-\tfrac12 \text{ridge} (\log |\Sigma| + \operatorname{tr} \Sigma^{-1})`. 0 is maximum likelihood.
    hidden : ndarray of shape (d,), default=None
        Variance that the steps hide in which a feature is recorded: its own floor, where that is higher.
        `bound_to` finds it.
    is_whole : bool, default=True
        Whether there are no other components, so that responsibilities add up to 1 and products of a shared
        matrix to the same in every iteration. `beside_others` is for what is not.

    Notes
    -----
    Three paths give the same numbers. The *quadratic* path is that of an exponential family,
    :math:`T(x) = (1, x, x_i x_j)`, and serves all components with one matrix product each way. *By roots*,
    :math:`|W_k^\top x|^2` component by component, products of features are not formed, of which there are too
    many where there are many features. The *whitened* path forms :math:`W_k^\top (x - \mu_k)`; it is exact
    where a component is so tight and far from the origin that :math:`x^2` would cancel. With a tied matrix
    :math:`x^\top \Sigma^{-1} x` is the same for all components and :math:`\sum x x^\top` does not change
    between iterations, so that an E-step is linear in x.
    """

    structure: Structure
    floor: float = 1e-6
    forced: FloatArray | None = field(default=None, compare=False)
    ridge: float = 0.0
    hidden: FloatArray | None = field(default=None, compare=False)
    is_whole: bool = field(default=True, compare=False)

    marginalises = True
    is_placed = True
    floored = ("covariances",)

    def side_by_side(self, n_fits: int) -> Gaussian | None:
        structure = None if self.ridge else self.structure.side_by_side(n_fits)
        if structure is None or structure is self.structure:
            return None if structure is None else self
        return replace(self, structure=structure)

    @cached_property
    def spaces(self) -> Any:
        return GaussianParams(Real(), self.structure.space(self.forced))  # type: ignore[arg-type]

    @property
    def n_forced(self) -> int:
        """Number of eigenvalues of every matrix that the data force onto the floor."""
        return 0 if self.forced is None else self.forced.shape[1]

    def bound_to(self, sketch: Sketch) -> Gaussian:
        """The family, knowing what the data force onto its floor."""
        batch = observed(sketch.some)
        return self.bound_within(batch, evidence.hidden(batch, sketch.size))

    def bound_within(self, batch: Batch, hidden: FloatArray) -> Gaussian:
        """The same from `observed` rows, of whose features steps hide so much of the variance, (d,)."""
        d = len(batch.x)
        everyone = np.ones((1, batch.x.shape[1])) if batch.weight is None else batch.weight[None, :]
        whole = self.start(batch, everyone).covariances
        forced = self.structure.low_directions(whole, d, self.floor * (1 + FLOOR_SLACK))
        bound = replace(self, forced=forced if forced.size else None)
        hidden = hidden.copy()
        hidden[list(bound.forced_columns())] = 0.0
        floor, hidden_beyond = self.structure.floors(self.floor, hidden)
        return replace(bound, floor=floor, hidden=hidden_beyond)

    def forced_columns(self) -> tuple[int, ...]:
        if self.forced is None:
            return ()
        return tuple(np.flatnonzero(np.sum(self.forced**2, axis=1) > TAKES_PART).tolist())

    def statistics(self, batch: Batch) -> FloatArray:
        structure = self.structure
        d, m = batch.x.shape
        T = np.empty((1 + d + (0 if structure.shared else structure.n_products(d)), m))
        T[0] = 1.0
        T[1 : d + 1] = batch.x
        if not structure.shared:
            structure.write_squares(batch.x, T[d + 1 :])
        return T

    def natural(self, params: GaussianParams) -> FloatArray:
        return self._linearise(params).natural

    def density(self, params: GaussianParams, offset: FloatArray | float = 0.0) -> Callable[[Batch], Observed]:
        """Log-densities, with an offset of each component (K,), and statistics, as a function of a batch."""
        form = self._linearise(params, offset)

        def observe(batch: Batch) -> Observed:
            gaps = find_gaps(batch)
            if gaps is None:
                return self._observe(params, form, batch)
            filled = self._fill(params, form, batch, gaps)
            if np.ndim(offset):
                filled.log_prob[...] += np.asarray(offset)[:, None]

            def totals(resp: FloatArray) -> GaussianTotals:
                if gaps.empty.size:
                    resp = resp.copy()
                    resp[:, gaps.empty] = 0.0
                return GaussianTotals(resp.sum(axis=1), *filled.moments(self.structure, resp))

            return Observed(filled.log_prob, 0.0, totals, lambda: 0.0)

        return observe

    def beside_others(self) -> Gaussian:
        return replace(self, is_whole=False)

    def lengths(self, params: GaussianParams) -> Callable[[Batch], Lengths]:
        """Squared lengths, and totals by weights other than responsibilities, as a function of a batch."""
        own = self.beside_others() if self.structure.shared else self
        form = own._linearise(params)
        at_mean = form.of_each(form.constant)
        about_0 = GaussianForm(form.structure, form.means, form.whitener, -at_mean)

        def observe(batch: Batch) -> Lengths:
            gaps = find_gaps(batch)
            if gaps is None:
                half, _, totals, _ = own._observe(params, about_0, batch)
                everything = np.array([len(batch.x)])
                return Lengths(half, at_mean[:, None], everything, lambda weight, _: totals(weight))
            filled = own._fill(params, form, batch, gaps)
            matrix = own.structure.which(len(params.means))
            log_dets = np.array([given.log_det for given in filled.given])[matrix]
            log_dets -= 0.5 * LOG_2_PI * gaps.n_observed
            half = np.subtract(filled.log_prob, log_dets, out=filled.log_prob)

            def totals_of(weight: FloatArray, resp: FloatArray) -> GaussianTotals:
                return GaussianTotals(weight.sum(axis=1), *filled.moments(own.structure, weight, resp))

            return Lengths(half, log_dets, gaps.n_observed, totals_of)

        return observe

    def completion(self, params: GaussianParams) -> Callable[[Batch], Completion]:
        """Conditional moments of missing entries at ``params``, as a function of a batch."""
        form = self._linearise(params)

        def complete(batch: Batch) -> Completion:
            gaps = find_gaps(batch)
            if gaps is None:
                seen = self._observe(params, form, batch)
                log_prob = seen.log_prob + seen.shared_log_prob()
                return Completion(log_prob, lambda _: batch.x, lambda _: np.zeros_like(batch.x))
            log_prob, centred, given = self._fill(params, form, batch, gaps)
            matrix = self.structure.which(len(centred))
            return Completion(
                log_prob,
                lambda k: np.where(gaps.missing, centred[k] + params.means[k][:, None], batch.x),
                lambda k: given[matrix[k]].variance(),
            )

        return complete

    def _fill(self, params: GaussianParams, form: GaussianForm, batch: Batch, gaps: Gaps) -> Filled:
        reach = batch.once("reach of what is seen", lambda: np.nansum(batch.x**2, axis=0).max())
        return fill(self.structure, params.means, form.whitener, form.cancel(reach) is not None, batch, gaps)

    def _observe(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        """A batch of which nothing is missing."""
        reach = batch.once("reach", lambda: np.einsum("im,im->m", batch.x, batch.x).max())
        tight = form.cancel(reach)
        if tight is not None and (self.structure.shared or tight.all()):
            return self._observe_whitened(params, form, batch)
        if self.structure.shared and not self.is_whole:
            return self._observe_beside(params, form, batch)
        if self._takes_roots(*params.means.shape):
            seen = self._observe_by_roots(params, form, batch)
        else:
            seen = self._observe_quadratic(params, form, batch)
        return seen if tight is None else self._observe_tight(params, form, batch, seen, tight)

    def _observe_tight(
        self, params: GaussianParams, form: GaussianForm, batch: Batch, seen: Observed, tight: NDArray[np.bool_]
    ) -> Observed:
        """What is seen with those components whitened that need it."""
        which = np.flatnonzero(tight)
        means = params.means[which]
        offset = form.offset[which] if isinstance(form.offset, np.ndarray) else form.offset
        own = GaussianForm(self.structure, means, form.whitener[which], offset)
        whitened = self._observe_whitened(GaussianParams(means, params.covariances[which]), own, batch)
        seen.log_prob[which] = whitened.log_prob

        def totals(resp: FloatArray) -> GaussianTotals:
            everything = seen.totals(resp)
            for of_all, of_tight in zip(everything, whitened.totals(resp[which]), strict=True):
                of_all[which] = of_tight
            return everything

        return Observed(seen.log_prob, seen.shared, totals, seen.shared_log_prob)

    def _takes_roots(self, n_components: int, d: int) -> bool:
        n_matrices = self.structure.n_fits if self.structure.shared else n_components
        return (
            self._weighs_products
            and self.structure.correlates
            and d >= ROOTS_FROM
            and d * d >= ROOTS_RATIO * n_matrices
        )

    @property
    def _weighs_products(self) -> bool:
        """Whether sums of products depend on responsibilities."""
        return not (self.structure.shared and self.is_whole)

    def floats_per_row(self, n_components: int, d: int) -> int:
        """How many numbers an E-step works on per observation."""
        if self._takes_roots(n_components, d):
            return 3 * d + 2 * n_components
        return 1 + d + self._weighs_products * self.structure.n_products(d) + 2 * n_components

    def _linearise(self, params: GaussianParams, offset: FloatArray | float = 0.0) -> GaussianForm:
        return GaussianForm(self.structure, params.means, self.structure.whitener(params.covariances), offset)

    def _observe_quadratic(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        structure = self.structure
        d = params.means.shape[1]

        def statistics() -> FloatArray:
            T: FloatArray = batch.once((structure, "statistics"), lambda: self.statistics(batch))
            return T

        T = statistics()
        held = None if batch.is_block else T
        shared: Any = 0.0
        if structure.shared:
            scatter = batch.once((structure, "scatter"), lambda: structure.moment(batch.x, batch.weight))
            shared = form.quadratic @ scatter  # of each of the fits that stand side by side
            shared = shared if structure.n_fits > 1 else float(shared[0])

        def totals(resp: FloatArray) -> GaussianTotals:
            raw = totals_of(resp, statistics() if held is None else held)
            second = scatter if structure.shared else raw[:, d + 1 :]
            return self._about(params.means, raw[:, 0], raw[:, 1 : d + 1], second)

        def shared_log_prob() -> FloatArray | float:
            return form.quadratic[0] @ structure.squares(batch.x) if structure.shared else 0.0

        return Observed(linear_forms(form.natural, T), shared, totals, shared_log_prob)

    def _observe_by_roots(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        """The quadratic path without products of features: with many of them they are more than the roots."""
        log_prob = form.linear @ batch.x
        log_prob += form.at_zero[:, None]
        for of_component, whitener in zip(log_prob, form.whitener, strict=True):
            of_component -= 0.5 * self.structure.distance(whitener, batch.x)

        def totals(resp: FloatArray) -> GaussianTotals:
            second = self._second_moments(batch, resp)
            return self._about(params.means, resp.sum(axis=1), resp @ batch.x.T, second)

        return Observed(log_prob, 0.0, totals, lambda: 0.0)

    def _observe_beside(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        """With a matrix for all and responsibilities that do not add up to 1: products of all at once."""
        structure = self.structure
        log_prob = form.natural[:, 1:] @ batch.x
        log_prob += form.natural[:, :1]
        by_fit = log_prob.reshape(-1, structure.n_fits, log_prob.shape[1])
        if self._takes_roots(*params.means.shape):
            squares = None
            for c, whitener in enumerate(form.whitener):
                by_fit[:, c] -= 0.5 * structure.distance(whitener, batch.x)
        else:
            squares = batch.once((structure, "squares"), lambda: structure.squares(batch.x))
            by_fit += form.quadratic @ squares

        def totals(resp: FloatArray) -> GaussianTotals:
            of_matrices = structure.pool(resp)
            second = self._second_moments(batch, of_matrices) if squares is None else of_matrices @ squares.T
            return self._about(params.means, resp.sum(axis=1), resp @ batch.x.T, second)

        return Observed(log_prob, 0.0, totals, lambda: 0.0)

    def _about(
        self, means: FloatArray, weight: FloatArray, first: FloatArray, second: FloatArray
    ) -> GaussianTotals:
        """Totals about the means, from moments about 0."""
        # Σ r (x − μ)(x − μ)ᵀ = Σ r x xᵀ − μ Σ r xᵀ − μ Σ r (x − μ)ᵀ, symmetrised.
        about = first - weight[:, None] * means
        shift = self.structure.products(means, first + about)
        return GaussianTotals(weight, about, second - self.structure.pool(shift))

    def recentred(self, totals: GaussianTotals, old: GaussianParams, new: GaussianParams) -> GaussianTotals:
        return moved_moments(self.structure, totals, new.means - old.means)

    def expected_log_joint(  # type: ignore[override]
        self, stats: GaussianTotals, new: GaussianParams, old: GaussianParams
    ) -> float | None:
        structure, d = self.structure, new.means.shape[1]
        moments = self.recentred(stats, old, new)
        whitener = structure.whitener(new.covariances)
        log_det = structure.log_det(whitener, d) @ structure.pool(moments.weight)
        return float(log_det + np.sum(structure.coefficients(whitener, d) * moments.second))

    def _observe_whitened(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        structure = self.structure
        log_prob = np.empty((len(params.means), batch.x.shape[1]))
        centred = np.empty_like(batch.x)
        for k, c in enumerate(structure.which(len(log_prob))):
            mean = params.means[k]
            np.subtract(batch.x, mean[:, None], out=centred)
            log_prob[k] = form.constant[c] - 0.5 * structure.distance(form.whitener[c], centred)
        if np.ndim(form.offset):
            log_prob += np.asarray(form.offset)[:, None]

        return Observed(log_prob, 0.0, lambda resp: self._moments_about(params.means, batch, resp), lambda: 0.0)

    def _moments_about(self, means: FloatArray, batch: Batch, resp: FloatArray) -> GaussianTotals:
        weight = resp.sum(axis=1)
        second = self.structure.pool(self._second_moments(batch, resp, means))
        return GaussianTotals(weight, resp @ batch.x.T - weight[:, None] * means, second)

    def _second_moments(self, batch: Batch, resp: FloatArray, means: FloatArray | None = None) -> FloatArray:
        """Σ r · products of x for each component, or of x − μ, (K, F2)."""
        structure = self.structure
        second = np.empty((len(resp), structure.n_products(len(batch.x))))
        for k, share in enumerate(resp):
            x = batch.x
            belongs = share > NO_SHARE * share.max()
            if 2 * np.count_nonzero(belongs) < len(share):
                x, share = x[:, belongs], share[belongs]
            root = np.sqrt(share)
            if means is None:
                weighted = x * root
            else:
                weighted = x - means[k][:, None]
                weighted *= root
            second[k] = structure.moment(weighted, None)
        return second

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> GaussianParams:
        """Parameters from weighted responsibilities (K, m)."""
        gaps = find_gaps(batch)
        if gaps is not None:
            weight, means, second = available_moments(self.structure, batch, resp, gaps)
            standard = self.structure.identity(len(means), len(batch.x))
            totals = GaussianTotals(weight, np.zeros_like(means), second)
            return self.maximize(totals, GaussianParams(means, standard))
        means = mean_or_kept(resp @ batch.x.T, resp.sum(axis=1), None)
        standard = self.structure.identity(len(means), len(batch.x))
        return self.maximize(self._moments_about(means, batch, resp), GaussianParams(means, standard))

    def maximize(  # type: ignore[override]
        self, totals: GaussianTotals, params: GaussianParams, counts: FloatArray | None = None
    ) -> GaussianParams:
        """Parameters from totals; covariances are sums over ``counts`` (K,), where that is not their weight."""
        structure, d = self.structure, totals.first.shape[1]
        least = NO_WEIGHT * totals.weight.sum()
        if totals.weight.min() > least:
            step, first = totals.first / totals.weight[:, None], totals.first
            weight = structure.pool(totals.weight if counts is None else counts)
        else:
            empty = totals.weight <= least
            if empty.all():
                return params
            first = np.where(empty[:, None], 0.0, totals.first)
            step = first / np.where(empty, 1.0, totals.weight)[:, None]
            weight = structure.pool(np.where(empty, 0.0, totals.weight if counts is None else counts))
        within = totals.second - structure.pool(structure.products(step, first))
        if self.ridge:
            within += self.ridge * structure.moment(np.eye(d), None)
            weight = np.where(weight > 0, weight + self.ridge, 0.0)
        grain, kept = self._grain, params.covariances
        if grain is None:
            return GaussianParams(params.means + step, structure.maximize(within, weight, kept, d, self.floor))
        # Where every feature's own floor is the same.
        within = within * self._per_grain
        covariances = structure.maximize(within, weight, self._by_grain(kept), d, self.floor)
        return GaussianParams(params.means + step, structure.rescale(covariances, grain))

    @cached_property
    def _grain(self) -> FloatArray | None:
        """Units of the features in which all have the same floor; None where they have it as they are."""
        if self.hidden is None:
            return None
        return np.sqrt(np.maximum(self.hidden / self.floor, 1.0))

    @cached_property
    def _per_grain(self) -> FloatArray | float:
        """What products are multiplied by in these units, (1, F2)."""
        if self._grain is None:
            return 1.0
        return self.structure.products(1 / self._grain[None, :], 1 / self._grain[None, :])

    def _by_grain(self, covariances: FloatArray) -> FloatArray:
        """Covariances in units in which all features have the same floor."""
        return covariances if self._grain is None else self.structure.rescale(covariances, 1 / self._grain)

    def nearest(self, covariances: FloatArray) -> FloatArray:
        """Legal covariances near to these."""
        nearest = self.structure.nearest(self._by_grain(covariances), self.floor)
        return nearest if self._grain is None else self.structure.rescale(nearest, self._grain)

    def log_prior(self, params: GaussianParams) -> float:
        """Log prior density of the covariance matrices, up to a constant."""
        if not self.ridge:
            return 0.0
        structure, d = self.structure, params.means.shape[1]
        whitener = structure.whitener(params.covariances)
        traces = [structure.distance(own, np.eye(d)).sum() for own in whitener]
        return float(self.ridge * (structure.log_det(whitener, d).sum() - 0.5 * np.sum(traces)))

    def resting(self, params: GaussianParams) -> NDArray[np.bool_] | None:
        own = self._by_grain(params.covariances)
        at_floor = self.structure.reaches_floor(own, self.floor * (1 + FLOOR_SLACK))
        if not at_floor.any():
            return None
        resting = at_floor
        if self.n_forced:
            beyond = self.structure.reaches_floor(own, self.floor * (1 - FLOOR_SLACK))
            resting = (self._n_at_floor(params) > self.n_forced) | beyond
            if not resting.any():
                return None
        K, d = params.means.shape
        n_coordinates = self.spaces.covariances.n_coordinates(params.covariances)
        of_covariances = self.structure.coordinates_of(resting, n_coordinates)
        return np.concatenate([np.repeat(resting[self.structure.which(K)], d), of_covariances])

    @property
    def rounding(self) -> float:
        # Covariances carry errors of eps, which a least eigenvalue at the floor turns into eps / floor.
        return max(1e-10, 10 * float(np.finfo(np.float64).eps) / self.floor)

    def handicap(self, params: GaussianParams, stats: GaussianTotals) -> float:
        structure, d = self.structure, params.means.shape[1]
        if len(params.covariances) == 1:
            return 0.0
        share = stats.weight / stats.weight.sum()
        if self.forced is None:
            divergence = structure.divergence(params.covariances, share, d)
        else:  # what the data force there earns nothing, and costs nothing
            free = null_space(self.forced.T)
            dense = free.T @ structure.dense(params.covariances, d) @ free
            divergence = Full().divergence(dense, share, free.shape[1])
        d_free = d - self.n_forced
        # With a prior, few rows do not make a matrix singular; a lone one is no component all the same.
        least = min(2, structure.least_rows(d_free)) if self.ridge else structure.least_rows(d_free)
        return evidence.handicap(divergence, stats.weight, d_free, least)

    def maximize_expanded(
        self, totals: GaussianTotals, params: GaussianParams, weight: FloatArray, *, alike: bool
    ) -> tuple[GaussianParams, FloatArray]:
        r"""M-step where observations have scales of their own, and these a level that is estimated too.

        An observation has the covariance :math:`\Sigma / u`, and totals are weighted by r u. With
        :math:`\alpha u` in the place of u the model is the same whatever α. That of greatest likelihood is
        Σ r u / Σ r, and covariances, which absorb it, are then sums over Σ r u. Where a constraint binds they
        are sums over Σ r, as in plain EM, and α is 1.

        Parameters
        ----------
        totals : GaussianTotals
        params : GaussianParams
        weight : ndarray of shape (K,)
            Σ r.
        alike : bool
            Whether the scales of all components have the same distribution. If not, there is no such level
            where matrices have the same volume.

        Returns
        -------
        params : GaussianParams
        level : ndarray of shape (K,)
            α of each component.
        """
        structure, together = self.structure, self.structure.of_one_volume
        of_scales, of_all = together(totals.weight), together(weight)
        some = (of_scales > 0) & (of_all > 0)
        if self.ridge or not (alike or structure.own_volumes):
            some[:] = False
        level: FloatArray = np.where(some, of_scales, 1.0) / np.where(some, of_all, 1.0)
        new = self.maximize(totals, params, weight * level)
        if not some.any():
            return new, level
        bound = structure.reaches_floor(self._by_grain(new.covariances), self.floor * (1 + FLOOR_SLACK))
        if bound.any():
            of_each: FloatArray = bound[structure.which(len(level))].astype(np.float64)
            level[together(of_each) > 0] = 1.0
            new = self.maximize(totals, params, weight * level)
        return new, level

    def on_floor(self, params: GaussianParams) -> NDArray[np.bool_]:
        """Which covariance matrices rest on the floor without being forced to by the data, (C,)."""
        return self._n_at_floor(params) > self.n_forced

    def _n_at_floor(self, params: GaussianParams) -> NDArray[np.int_]:
        return self._n_at(params.covariances, self.floor * (1 + FLOOR_SLACK))

    def _n_at(self, covariances: FloatArray, floor: float) -> NDArray[np.int_]:
        return self.structure.n_at_floor(self._by_grain(covariances), floor)

    def mean(self, params: GaussianParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.means

    def covariance(self, params: GaussianParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        K, d = params.means.shape
        dense = self.structure.dense(params.covariances, d)
        return np.broadcast_to(dense, (K, d, d)).copy()

    def tails(self, params: GaussianParams, x: FloatArray) -> FloatArray:
        variances = np.diagonal(self.covariance(params), axis1=1, axis2=2)
        return tails.normal(x, params.means[:, :, None], variances[:, :, None])

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations, a missing entry at its feature's mean over the batch, (d, m)."""
        missing = np.isnan(batch.x)
        if not missing.any():
            return batch.x
        weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
        return np.where(missing, available_mean(batch.x, weight[None, :], 0.0).T, batch.x)

    @property
    def has_correlations(self) -> bool:
        """Whether each pair of features has a parameter of its own."""
        return self.structure.correlates

    def standard(self, n_components: int, d: int) -> GaussianParams:
        """Standard normal components: what EM may begin from where there is one, whatever the data."""
        return GaussianParams(np.zeros((n_components, d)), self.structure.identity(n_components, d))

    def size(self, d: int) -> int:
        """Number of parameters of a component of d features."""
        return d + self.structure.n_products(d)

    @property
    def pooled(self) -> Gaussian | None:
        """The family in which components share what is a matrix each here; None where they do."""
        structure = self.structure.pooled
        return None if structure is None else replace(self, structure=structure)

    def shrunk(self, params: GaussianParams, share: float) -> GaussianParams:
        """Parameters with covariances of a ``share`` of the volume, unless that brings some to the floor."""
        n_free = params.means.shape[1] - self.n_forced
        covariances = params.covariances * share ** (2.0 / max(n_free, 1))
        if (self._n_at(covariances, self.floor) > self.n_forced).any():
            return params
        return params._replace(covariances=self.nearest(covariances))

    def precisions_cholesky(self, params: GaussianParams) -> FloatArray:
        """Square roots of the precisions, of the shape of the covariances in `fields`."""
        whitener = self.structure.whitener(params.covariances)
        return whitener[0] if self.structure.shared else whitener

    def precisions(self, params: GaussianParams) -> FloatArray:
        """Precisions, of the shape of the covariances in `fields`."""
        whitener = self.precisions_cholesky(params)
        if isinstance(self.structure, Full):
            return whitener @ np.swapaxes(whitener, -1, -2)
        return whitener**2

    def n_parameters(self, params: GaussianParams) -> int:
        """Number of free parameters."""
        K, d = params.means.shape
        return K * d + self.structure.n_free(K, d)

    def in_units(self, params: GaussianParams, units: Affine) -> GaussianParams:
        """Parameters of the data before it was brought to ``units``."""
        return GaussianParams(
            params.means * units.scale + units.shift,
            self.structure.rescale(params.covariances, units.scale),
        )

    def reorder(self, params: GaussianParams, order: NDArray[np.int_]) -> GaussianParams:
        """Parameters with the components in another order."""
        covariances = params.covariances if self.structure.shared else params.covariances[order]
        return GaussianParams(params.means[order], covariances)

    def fields(self, params: GaussianParams, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the means (lead, d) and of the covariances (lead, ...), or the one that is shared."""
        means, covariances = params
        if self.structure.shared:
            covariances = covariances[0].copy()
        else:
            covariances = covariances.reshape(*lead, *covariances.shape[1:]).copy()
        return {"means": means.reshape(*lead, -1).copy(), "covariances": covariances}

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> GaussianParams:
        means, covariances = take_fields(self, named, ("means", "covariances"))
        means = read_field("means", means, (*lead, None))
        d = means.shape[-1]
        means = means.reshape(-1, d)
        stack = self.structure.identity(len(means), d).shape
        shape = stack[1:] if self.structure.shared else (*lead, *stack[1:])
        covariances = read_field("covariances", covariances, shape).reshape(stack)
        self.structure.refuse(covariances, d)
        return GaussianParams(means, covariances)

    def of_moments(self, means: FloatArray, covariances: FloatArray) -> GaussianParams:
        """Parameters from means (K, d) and the nearest of this form to covariance matrices (K, d, d)."""
        return GaussianParams(means, self.structure.of_dense(covariances))

    def maximize_held(
        self, totals: GaussianTotals, params: GaussianParams, names: tuple[str, ...]
    ) -> GaussianParams:
        if "means" in names:  # covariances are then about the means as they are
            totals = totals._replace(first=np.zeros_like(totals.first))
        return keep(self.maximize(totals, params), params, names)

    def held(self, names: tuple[str, ...], params: GaussianParams) -> Emission:
        return Held(self, names)

    def n_held(self, params: GaussianParams, names: tuple[str, ...]) -> int:
        K, d = params.means.shape
        return K * d * ("means" in names) + self.structure.n_free(K, d) * ("covariances" in names)

    def with_means(self, params: GaussianParams, means: FloatArray) -> GaussianParams:
        """Parameters with the means (K, d) moved, all else as it is."""
        return params._replace(means=means)

    def widened(self, params: GaussianParams, factors: FloatArray) -> GaussianParams:
        if self.structure.shared or (factors == 1.0).all():
            return params
        own = params.covariances * factors.reshape(-1, *[1] * (params.covariances.ndim - 1))
        return params._replace(covariances=self.nearest(own))

    def units(self, variances: FloatArray) -> FloatArray:
        return self.structure.units(variances)

    def nearest_legal(self, params: GaussianParams) -> GaussianParams:
        """Parameters with eigenvalues below the floor raised to it."""
        return params._replace(covariances=self.nearest(params.covariances))

    def of_some(self, columns: NDArray[np.int_]) -> Gaussian:
        """The family of some of the features."""
        return replace(self, structure=self.structure.of_some, forced=None, hidden=None)

    def has_form_of(self, other: Any) -> bool:
        """Whether parameters of the other family are parameters of this one."""
        return isinstance(other, Gaussian) and other.structure == self.structure

    def marginal(self, params: GaussianParams, columns: NDArray[np.int_]) -> GaussianParams:
        """Parameters of the distribution of some features."""
        covariances = self.structure.marginal(params.covariances, columns)
        return GaussianParams(params.means[:, columns], covariances)

    def sample(
        self, params: GaussianParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        d = params.means.shape[1]
        roots = np.linalg.cholesky(self.structure.dense(params.covariances, d))
        noise = rng.standard_normal((len(labels), d))
        index = self.structure.which(len(params.means))[labels]
        out = params.means[labels]
        for c in np.unique(index):
            out[index == c] += noise[index == c] @ roots[c].T
        return out


def moved_moments(structure: Structure, totals: GaussianTotals, step: FloatArray) -> GaussianTotals:
    """Totals about means that have moved by ``step`` (K, d)."""
    weight = totals.weight[:, None]
    moved = structure.products(step, weight * step - 2 * totals.first)
    return GaussianTotals(totals.weight, totals.first - weight * step, totals.second + structure.pool(moved))


@dataclass(frozen=True, eq=False)
class GaussianForm:
    """What of Gaussians' log-densities depends on the parameters alone."""

    structure: Structure
    means: FloatArray  # (K, d)
    whitener: FloatArray  # (C, ...)
    offset: FloatArray | float = 0.0  # (K,), added to log-densities

    def of_each(self, of_matrices: FloatArray) -> FloatArray:
        """What is of C matrices as it is of components: of them all, where they share one."""
        fits = self.structure.shared and self.structure.n_fits > 1
        return of_matrices[self.structure.which(len(self.means))] if fits else of_matrices

    @cached_property
    def constant(self) -> FloatArray:
        """Log-density at the mean, without the offset, (C,)."""
        d = self.means.shape[1]
        return self.structure.log_det(self.whitener, d) - 0.5 * d * LOG_2_PI

    @cached_property
    def linear(self) -> FloatArray:
        """Coefficients on x, (K, d)."""
        return self.structure.apply_precision(self.of_each(self.whitener), self.means)

    @cached_property
    def at_zero(self) -> FloatArray:
        """Log-density at 0, (K,)."""
        return self.of_each(self.constant) - 0.5 * np.einsum("ki,ki->k", self.means, self.linear) + self.offset

    @cached_property
    def quadratic(self) -> FloatArray:
        """Coefficients on the products, (C, F2)."""
        return self.structure.coefficients(self.whitener, self.means.shape[1])

    @cached_property
    def natural(self) -> FloatArray:
        """Coefficients on T(x), (K, F)."""
        return self.structure.natural(self)

    @cached_property
    def tightness(self) -> FloatArray:
        """Trace of each precision matrix, (C,)."""
        flat = self.whitener.reshape(len(self.whitener), -1)
        return np.asarray(np.einsum("ci,ci->c", flat, flat))

    def cancel(self, reach: float) -> NDArray[np.bool_] | None:
        """With which matrices x² − 2xμ + μ² loses digits, for |x|² up to ``reach``, (C,); None for none."""
        most = CANCELLATION / (max(float(reach), TINY) * EPS)
        flat = self.whitener.ravel()
        if flat.dot(flat) <= most:  # the traces of all precision matrices
            return None
        lost: NDArray[np.bool_] = self.tightness > most
        return lost if lost.any() else None
