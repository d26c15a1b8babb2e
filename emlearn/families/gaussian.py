"""Multivariate Gaussians of every covariance shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Real
from emlearn.families.base import (
    ExponentialFamily,
    FloatArray,
    available_mean,
    linear_forms,
    mean_or_kept,
)
from emlearn.families.covariance import Diagonal, Full, Spherical, Structure

# Above this relative error of x² − 2xμ + μ² the whitened path takes over.
CANCELLATION = 1e-10
# With this many times more features than components, and 10 at least, whitening costs less than products.
WHITEN_RATIO = 5
# Eigenvalues this much above the floor, relatively, count as resting on it.
FLOOR_SLACK = 1e-6
# A responsibility below this, relative to the largest, is lost in rounding when second moments are summed.
NO_SHARE = 1e-20
# A component with no more than this share of all weight is empty and keeps its parameters.
NO_WEIGHT = 1e-100


class GaussianParams(NamedTuple):
    """Parameters of K components over d features."""

    means: FloatArray  # (K, d)
    covariances: FloatArray  # (C, d, d), (C, d) or (C,); C is K, or 1 when tied


class GaussianTotals(NamedTuple):
    """Σ r T(x), with moments about the means of the E-step's parameters: nothing cancels."""

    weight: FloatArray  # (K,) Σ r
    first: FloatArray  # (K, d) Σ r (x − μ)
    second: FloatArray  # (C, F2) Σ r · products of (x − μ); one row, the sum over k, when tied


class CovarianceShape(NamedTuple):
    """A form of covariance matrix, each component's own or shared by all."""

    structure: Structure
    tied: bool


COVARIANCE_SHAPES = {
    "full": CovarianceShape(Full(), tied=False),
    "tied": CovarianceShape(Full(), tied=True),
    "diag": CovarianceShape(Diagonal(), tied=False),
    "spherical": CovarianceShape(Spherical(), tied=False),
    "tied_diag": CovarianceShape(Diagonal(), tied=True),
    "tied_spherical": CovarianceShape(Spherical(), tied=True),
}


@dataclass(frozen=True)
class Gaussian(ExponentialFamily):
    r"""Gaussian components.

    Parameters
    ----------
    shape : CovarianceShape
        One of ``COVARIANCE_SHAPES``.
    floor : float, default=1e-6
        Least eigenvalue of a covariance matrix, in the units of the data that the family sees.
    n_forced : int, default=0
        Number of eigenvalues of every matrix that the data force onto the floor (constant or collinear
        features). A component with more of them there is spurious.
    ridge : float, default=0.0
        Prior on each covariance matrix, worth as many observations of uncorrelated features of variance 1:
        :math:`-\tfrac12 \text{ridge} (\log |\Sigma| + \operatorname{tr} \Sigma^{-1})`. 0 is maximum likelihood.

    Notes
    -----
    Two paths give the same numbers. The *quadratic* path is that of an exponential family,
    :math:`T(x) = (1, x, x_i x_j)`, and serves all components with one matrix product each way. The
    *whitened* path forms :math:`W_k^\top (x - \mu_k)` component by component; it is exact where a
    component is so tight and far from the origin that :math:`x^2` would cancel, and faster where there are
    many features. With a tied matrix :math:`x^\top \Sigma^{-1} x` is the same for all components and
    :math:`\sum x x^\top` does not change between iterations, so that an E-step is linear in x.
    """

    shape: CovarianceShape
    floor: float = 1e-6
    n_forced: int = 0
    ridge: float = 0.0

    @property
    def spaces(self) -> Any:
        return GaussianParams(Real(), self.shape.structure.space)  # type: ignore[arg-type]

    def statistics(self, batch: Batch) -> FloatArray:
        structure, tied = self.shape
        d, m = batch.x.shape
        T = np.empty((1 + d + (0 if tied else structure.n_products(d)), m))
        T[0] = 1.0
        T[1 : d + 1] = batch.x
        if not tied:
            structure.write_squares(batch.x, T[d + 1 :])
        return T

    def natural(self, params: GaussianParams) -> FloatArray:
        return self._linearise(params).natural

    def density(self, params: GaussianParams) -> Callable[[Batch], Observed]:
        form = self._linearise(params)
        return lambda batch: self._observe(params, form, batch)

    def _observe(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        reach = batch.once("reach", lambda: np.einsum("im,im->m", batch.x, batch.x).max())
        if self._always_whitens(*params.means.shape) or form.cancels(reach):
            return self._observe_whitened(params, form, batch)
        return self._observe_quadratic(params, form, batch)

    def _always_whitens(self, n_components: int, d: int) -> bool:
        if self.shape.tied or not isinstance(self.shape.structure, Full):
            return False
        return d >= max(10, WHITEN_RATIO * n_components)

    def floats_per_row(self, n_components: int, d: int) -> int:
        """How many numbers an E-step works on per observation."""
        if self._always_whitens(n_components, d):
            return 3 * d + 2 * n_components
        n_squares = 0 if self.shape.tied else self.shape.structure.n_products(d)
        return 1 + d + n_squares + 2 * n_components

    def _linearise(self, params: GaussianParams) -> GaussianForm:
        structure, tied = self.shape
        d = params.means.shape[1]
        whitener = structure.whitener(params.covariances)
        constant = structure.log_det(whitener, d) - 0.5 * d * np.log(2 * np.pi)
        linear = structure.apply_precision(whitener, params.means)
        at_zero = constant - 0.5 * np.einsum("ki,ki->k", params.means, linear)
        quadratic = structure.coefficients(whitener, d)
        natural = np.empty((len(linear), 1 + d + (0 if tied else quadratic.shape[1])))
        natural[:, 0], natural[:, 1 : d + 1] = at_zero, linear
        if not tied:
            natural[:, d + 1 :] = quadratic
        flat = whitener.reshape(len(whitener), -1)
        tightness = float(np.einsum("ci,ci->c", flat, flat).max())
        return GaussianForm(natural, quadratic, whitener, constant, tightness)

    def _observe_quadratic(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        structure, tied = self.shape
        means = params.means
        d = means.shape[1]
        T = batch.once((self.shape, "statistics"), lambda: self.statistics(batch))
        shared = 0.0
        if tied:
            scatter = batch.once((structure, "scatter"), lambda: structure.moment(batch.x, batch.weight))
            shared = float(form.quadratic[0] @ scatter)

        def totals(resp: FloatArray) -> GaussianTotals:
            raw = resp @ T.T
            weight, sums = raw[:, 0], raw[:, 1 : d + 1]
            # Σ r (x − μ)(x − μ)ᵀ = Σ r x xᵀ − 2 μ Σ r xᵀ + w μ μᵀ, symmetrised.
            shift = structure.products(means, weight[:, None] * means - 2 * sums)
            second = scatter + shift.sum(axis=0) if tied else raw[:, d + 1 :] + shift
            return GaussianTotals(weight, sums - weight[:, None] * means, np.atleast_2d(second))

        def shared_log_prob() -> FloatArray | float:
            return form.quadratic[0] @ structure.squares(batch.x) if tied else 0.0

        return Observed(linear_forms(form.natural, T), shared, totals, shared_log_prob)

    def _observe_whitened(self, params: GaussianParams, form: GaussianForm, batch: Batch) -> Observed:
        structure, tied = self.shape
        log_prob = np.empty((len(params.means), batch.x.shape[1]))
        centred = np.empty_like(batch.x)
        for k, mean in enumerate(params.means):
            c = 0 if tied else k
            np.subtract(batch.x, mean[:, None], out=centred)
            log_prob[k] = form.constant[c] - 0.5 * structure.distance(form.whitener[c], centred)

        return Observed(log_prob, 0.0, lambda resp: self._moments_about(params.means, batch, resp), lambda: 0.0)

    def _moments_about(self, means: FloatArray, batch: Batch, resp: FloatArray) -> GaussianTotals:
        structure, tied = self.shape
        weight = resp.sum(axis=1)
        second = np.empty((len(means), structure.n_products(means.shape[1])))
        for k, mean in enumerate(means):
            x, share = batch.x, resp[k]
            belongs = share > NO_SHARE * share.max()
            if 2 * np.count_nonzero(belongs) < len(share):
                x, share = x[:, belongs], share[belongs]
            centred = x - mean[:, None]
            centred *= np.sqrt(share)
            second[k] = structure.moment(centred, None)
        if tied:
            second = second.sum(axis=0, keepdims=True)
        return GaussianTotals(weight, resp @ batch.x.T - weight[:, None] * means, second)

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> GaussianParams:
        """Parameters from weighted responsibilities (K, m)."""
        means = mean_or_kept(resp @ batch.x.T, resp.sum(axis=1), None)
        structure, tied = self.shape
        standard = structure.identity(1 if tied else len(means), len(batch.x))
        return self.maximize(self._moments_about(means, batch, resp), GaussianParams(means, standard))

    def maximize(  # type: ignore[override]
        self, totals: GaussianTotals, params: GaussianParams
    ) -> GaussianParams:
        structure, tied = self.shape
        d = totals.first.shape[1]
        weight, step = totals.weight, totals.first
        empty = weight <= NO_WEIGHT * weight.sum()
        some_empty = bool(empty.any())
        if some_empty:
            if empty.all():
                return params
            weight = np.where(empty, 1.0, weight)
            step = np.where(empty[:, None], 0.0, step)
        step = step / weight[:, None]
        spread = structure.products(step, step) * totals.weight[:, None]
        if tied:
            spread, weight = spread.sum(axis=0, keepdims=True), totals.weight.sum(keepdims=True)
        within = totals.second - spread
        if self.ridge:
            within += self.ridge * structure.moment(np.eye(d), None)
            weight = weight + self.ridge
        covariances = structure.covariance(within / weight[:, None], d, self.floor)
        if not tied and some_empty:
            covariances[empty] = params.covariances[empty]
        return GaussianParams(params.means + step, covariances)

    def log_prior(self, params: GaussianParams) -> float:
        """Log prior density of the covariance matrices, up to a constant."""
        if not self.ridge:
            return 0.0
        structure, d = self.shape.structure, params.means.shape[1]
        whitener = structure.whitener(params.covariances)
        traces = [structure.distance(own, np.eye(d)).sum() for own in whitener]
        return float(self.ridge * (structure.log_det(whitener, d).sum() - 0.5 * np.sum(traces)))

    def resting(self, params: GaussianParams) -> NDArray[np.bool_] | None:
        resting = self.spurious(params)
        if not resting.any():
            return None
        of_means = np.broadcast_to(resting, len(params.means))
        n_products = self.spaces.covariances.n_coordinates(params.covariances[:1])
        return np.concatenate([np.repeat(of_means, params.means.shape[1]), np.repeat(resting, n_products)])

    @property
    def rounding(self) -> float:
        # Covariances carry errors of eps, which a least eigenvalue at the floor turns into eps / floor.
        return max(1e-10, 10 * float(np.finfo(np.float64).eps) / self.floor)

    def handicap(self, params: GaussianParams) -> float:
        return np.inf if self.spurious(params).any() else 0.0

    def spurious(self, params: GaussianParams) -> NDArray[np.bool_]:
        """Which covariance matrices rest on the floor without being forced to by the data, (C,)."""
        return self._n_at_floor(params) > self.n_forced

    def _n_at_floor(self, params: GaussianParams) -> NDArray[np.int_]:
        floor = self.floor * (1 + FLOOR_SLACK)
        return self.shape.structure.n_at_floor(params.covariances, floor)

    def mean(self, params: GaussianParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.means

    def covariance(self, params: GaussianParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        K, d = params.means.shape
        dense = self.shape.structure.dense(params.covariances, d)
        return np.broadcast_to(dense, (K, d, d)).copy()

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations, a missing entry at its feature's mean over the batch, (d, m)."""
        missing = np.isnan(batch.x)
        if not missing.any():
            return batch.x
        weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
        return np.where(missing, available_mean(batch.x, weight[None, :], 0.0).T, batch.x)

    def n_parameters(self, params: GaussianParams) -> int:
        """Number of free parameters."""
        K, d = params.means.shape
        return K * d + len(params.covariances) * self.shape.structure.n_products(d)

    def in_units(self, params: GaussianParams, units: Affine) -> GaussianParams:
        """Parameters of the data before it was brought to ``units``."""
        return GaussianParams(
            params.means * units.scale + units.shift,
            self.shape.structure.rescale(params.covariances, units.scale),
        )

    def reorder(self, params: GaussianParams, order: NDArray[np.int_]) -> GaussianParams:
        """Parameters with the components in another order."""
        covariances = params.covariances if self.shape.tied else params.covariances[order]
        return GaussianParams(params.means[order], covariances)

    def fields(self, params: GaussianParams, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the means (lead, d) and of the covariances (lead, ...), or the one that is shared."""
        means, covariances = params
        if self.shape.tied:
            covariances = covariances[0].copy()
        else:
            covariances = covariances.reshape(*lead, *covariances.shape[1:]).copy()
        return {"means": means.reshape(*lead, -1).copy(), "covariances": covariances}

    def with_means(self, params: GaussianParams, means: FloatArray) -> GaussianParams:
        """Parameters with the means (K, d) moved, all else as it is."""
        return params._replace(means=means)

    def nearest_legal(self, params: GaussianParams) -> GaussianParams:
        """Parameters with eigenvalues below the floor raised to it."""
        return params._replace(covariances=self.shape.structure.raise_to(params.covariances, self.floor))

    def marginal(self, params: GaussianParams, columns: NDArray[np.int_]) -> GaussianParams:
        """Parameters of the distribution of some features."""
        covariances = self.shape.structure.marginal(params.covariances, columns)
        return GaussianParams(params.means[:, columns], covariances)

    def conditional(
        self, params: GaussianParams, known: NDArray[np.int_], x: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Means (n, K, q) and covariances (K, q, q) of the other features, given the ``known`` x (n, p)."""
        K, d = params.means.shape
        others = np.setdiff1d(np.arange(d), known)
        dense = self.shape.structure.dense(params.covariances, d)
        covariances = np.broadcast_to(dense, (K, d, d))
        cross = covariances[:, known[:, None], others]
        slopes = np.linalg.solve(covariances[:, known[:, None], known], cross).swapaxes(1, 2)
        centred = x[:, None, :] - params.means[:, known]
        means = params.means[:, others] + np.einsum("kqp,nkp->nkq", slopes, centred)
        return means, covariances[:, others[:, None], others] - slopes @ cross

    def sample(
        self, params: GaussianParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        d = params.means.shape[1]
        roots = np.linalg.cholesky(self.shape.structure.dense(params.covariances, d))
        noise = rng.standard_normal((len(labels), d))
        index = np.zeros_like(labels) if self.shape.tied else labels
        out = params.means[labels]
        for c in np.unique(index):
            out[index == c] += noise[index == c] @ roots[c].T
        return out


class GaussianForm(NamedTuple):
    """What of a Gaussian's log-density depends on the parameters alone."""

    natural: FloatArray  # (K, F) coefficients on T(x)
    quadratic: FloatArray  # (C, F2) those on the products
    whitener: FloatArray  # (C, ...)
    constant: FloatArray  # (C,) log-density at the mean
    tightness: float  # largest trace of a precision matrix

    def cancels(self, reach: float) -> bool:
        """Whether x² − 2xμ + μ² loses too many digits, for |x|² up to ``reach``."""
        return self.tightness * reach * float(np.finfo(np.float64).eps) > CANCELLATION
