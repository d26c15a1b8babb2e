r"""Several responses given features: linear regressions whose noise is correlated, one set for each component.

.. math:: y = B_k z + e, \qquad e \sim N(0, \Sigma_k), \qquad
   (I - \Phi_k) \Sigma_k (I - \Phi_k)^\top = \operatorname{diag} \phi_k

The noise of each response is regressed on that of the responses before it (modified Cholesky decomposition,
Pourahmadi, 1999): the strictly lower triangle Φ holds the coefficients, φ the variances that are left. Each row
of both is a regression of its own. So a bound on ratios of these variances, response by response, bounds the
likelihood and keeps the M-step exact, as it does for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.algebra import solve, weighted_gram
from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Positive, Real
from emlearn.families import evidence
from emlearn.families.base import Emission, FloatArray
from emlearn.families.covariance import Full
from emlearn.families.regression import NO_WEIGHT, Marginal, Regression, RegressionTotals
from emlearn.families.responses import RESPONSES, MultivariateNormal


class MultivariateParams(NamedTuple):
    """Parameters of K regressions of q responses on p columns; C is K, or 1 where noise is shared."""

    coef: FloatArray  # (K, q · p), response by response
    dispersion: FloatArray  # (C, q) variances of each response's noise given that of the responses before it
    before: FloatArray  # (C, q (q − 1) / 2) coefficients on these, row by row; (C, 0) of uncorrelated noise


@dataclass(frozen=True)
class MultivariateRegression(Regression):
    r"""Linear regressions of several responses on a design; ``response`` is `MultivariateNormal`.

    ``penalty`` is of the p columns of the design, and the log prior of the coefficients
    :math:`-\tfrac12 \sum_k \sum_j \alpha_j B_{kj}^\top \Sigma_k^{-1} B_{kj}`.
    """

    @classmethod
    def of(cls, family: Regression, response: MultivariateNormal) -> MultivariateRegression:
        """The regression of several responses that is like one of a number."""
        settings: dict[str, Any] = {field.name: getattr(family, field.name) for field in fields(family)}
        return cls(**(settings | {"response": response}))

    @property
    def normal(self) -> MultivariateNormal:
        """The response."""
        response = self.response
        assert isinstance(response, MultivariateNormal)
        return response

    @property
    def spaces(self) -> Any:
        return MultivariateParams(Real(), Positive(), Real())  # type: ignore[arg-type]

    def floats_per_row(self, n_components: int, n_read: int) -> int:
        """How many numbers an E-step works on per observation, of which so many are read."""
        return 2 * n_read + n_components * (self.n_columns + 4 * self.normal.n_responses)

    @property
    def n_own(self) -> int:
        return self.n_columns * self.normal.n_responses

    def by_response(self, coef: FloatArray) -> FloatArray:
        """Coefficients (K, q · p) as (K, q, p)."""
        return coef.reshape(len(coef), -1, self.n_columns)

    def linear_predictor(self, params: MultivariateParams, batch: Batch) -> FloatArray:  # type: ignore[override]
        """Means of the responses in every component, (K, q, m)."""
        means: FloatArray = self.by_response(params.coef) @ self.split(batch)[0]
        return means

    def density(self, params: MultivariateParams) -> Callable[[Batch], Observed]:  # type: ignore[override]
        whiten = self.normal.less_before(params.before)
        variance = params.dispersion[:, :, None]

        def observe(batch: Batch) -> Observed:
            design, y, _ = self.split(batch)
            error = y - self.linear_predictor(params, batch)
            log_prob = -0.5 * ((whiten @ error) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=1)

            def totals(resp: FloatArray) -> RegressionTotals:
                weighted = resp[:, None] * error
                return RegressionTotals(
                    resp.sum(axis=1),
                    np.repeat(self.cross_products(batch), self.n_fits, axis=0),
                    weighted_gram(resp, design),
                    (weighted @ design.T).reshape(len(resp), -1),
                    weighted @ error.swapaxes(1, 2),
                    *np.zeros((3, len(resp))),
                )

            return Observed(log_prob, 0.0, totals, lambda: 0.0)

        return observe

    def gentle_gram(self, params: MultivariateParams, batch: Batch, resp: FloatArray) -> FloatArray:  # type: ignore[override]
        eta = self.linear_predictor(params, batch)
        return weighted_gram(resp / (1.0 + (eta**2).sum(axis=1)), self.split(batch)[0])

    def start(  # type: ignore[override]
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> MultivariateParams:
        params = self.with_noise(np.zeros((len(resp), self.n_own)), 1.0)
        for _ in range(2):  # the second time about what the first leaves, so that nothing cancels
            params = self.maximize(self.density(params)(batch).totals(resp), params)
        return params

    def with_noise(self, coef: FloatArray, variance: float) -> MultivariateParams:  # type: ignore[override]
        q = self.normal.n_responses
        C = self.n_dispersions(len(coef))
        return MultivariateParams(coef, np.full((C, q), variance), np.zeros((C, self.normal.n_before)))

    def noise(self, params: MultivariateParams) -> FloatArray:  # type: ignore[override]
        own = np.trace(self.covariance(params), axis1=1, axis2=2) / self.normal.n_responses
        return np.broadcast_to(own, len(params.coef))

    def covariance(self, params: MultivariateParams) -> FloatArray:
        """Covariances of the noise, (C, q, q)."""
        return self.normal.covariance(params.dispersion, params.before)

    def embedding(self, batch: Batch) -> FloatArray:
        weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
        one = self.start(batch, weight[None])
        design, y, _ = self.split(batch)
        residual = y - self.linear_predictor(one, batch)[0]
        return np.vstack([*(own * design for own in residual), np.abs(residual)])

    def maximize(self, totals: RegressionTotals, params: MultivariateParams) -> MultivariateParams:  # type: ignore[override]
        empty = totals.weight <= NO_WEIGHT * totals.weight.sum()
        if empty.all():
            return params
        gram, score, old = totals.gram, self.by_response(totals.score), self.by_response(params.coef)
        if self.penalty:
            gram, score = gram + np.diag(self.penalty), score - old * self.penalty
        step = solve(gram[:, None], score)
        step[empty] = 0.0
        coef = params.coef + step.reshape(params.coef.shape)
        squares, weight = self._moved(totals, step).squares + self._ridges(coef), totals.weight
        if len(params.dispersion) == 1:
            squares, weight = squares.sum(axis=0, keepdims=True), weight.sum(keepdims=True)
            empty = np.zeros(1, dtype=bool)
        diagonal = np.arange(self.normal.n_responses)
        squares[:, diagonal, diagonal] = np.maximum(squares[:, diagonal, diagonal], 0.0)  # rounding
        dispersion, before = np.empty_like(params.dispersion), np.empty_like(params.before)
        for j, own in enumerate(self.normal.rows_before):
            on = slice(0, own.stop - own.start)
            some = solve(squares[:, on, on], squares[:, j, on]) if on.stop else before[:, own]
            left = squares[:, j, j] - (some * squares[:, j, on]).sum(axis=1)
            kept = params.dispersion[:, j]
            dispersion[:, j] = self._or_kept(self._dispersion(np.maximum(left, 0.0), weight), kept, empty)
            before[:, own] = some
        before[empty] = params.before[empty]
        return MultivariateParams(coef, dispersion, before)

    def _moved(self, totals: RegressionTotals, step: FloatArray) -> RegressionTotals:
        """Totals about the coefficients moved by a step (K, q, p)."""
        score, bend = self.by_response(totals.score), step @ totals.gram
        cross = step @ (0.5 * bend - score).swapaxes(1, 2)
        squares = totals.squares + cross + cross.swapaxes(1, 2)
        return totals._replace(score=(score - bend).reshape(totals.score.shape), squares=squares)

    def recentred(  # type: ignore[override]
        self, totals: RegressionTotals, old: MultivariateParams, new: MultivariateParams
    ) -> RegressionTotals:
        return self._moved(totals, self.by_response(new.coef - old.coef))

    def _ridges(self, coef: FloatArray) -> FloatArray | float:
        """What the prior adds to the squares, (K, q, q)."""
        if not self.penalty:
            return 0.0
        by_response = self.by_response(coef)
        return (by_response * self.penalty) @ by_response.swapaxes(1, 2)

    def _left(self, params: MultivariateParams, squares: FloatArray) -> FloatArray:
        """Squares (K, q, q) of responses, of each less what those before it tell of it, (K, q)."""
        whiten = self.normal.less_before(params.before)
        return np.einsum("...jj->...j", whiten @ squares @ whiten.swapaxes(1, 2))

    def expected_log_joint(  # type: ignore[override]
        self, totals: RegressionTotals, new: MultivariateParams, old: MultivariateParams
    ) -> float | None:
        left = self._left(new, self.recentred(totals, old, new).squares)
        variance = new.dispersion
        return float(-0.5 * np.sum(totals.weight[:, None] * np.log(variance) + left / variance))

    def log_prior(self, params: MultivariateParams) -> float:  # type: ignore[override]
        ridges = self._ridges(params.coef)
        if not isinstance(ridges, np.ndarray):
            return 0.0
        return float(-0.5 * np.sum(self._left(params, ridges) / params.dispersion))

    def _each_at_bound(self, params: MultivariateParams) -> NDArray[np.bool_]:
        """Which dispersions rest on a bound, (C, q)."""
        return np.stack([self._rest(own) for own in params.dispersion.T], axis=1)

    def at_bound(self, params: MultivariateParams) -> NDArray[np.bool_]:  # type: ignore[override]
        return np.asarray(self._each_at_bound(params).any(axis=1))

    def resting(self, params: MultivariateParams) -> NDArray[np.bool_] | None:  # type: ignore[override]
        each = self._each_at_bound(params)
        if not each.any():
            return None
        some = each.any(axis=1)
        of_fits = each.reshape(-1, self.n_fits, each.shape[1]).any(axis=0)  # a bound ties components together
        return np.concatenate(
            [
                np.repeat(np.broadcast_to(some, len(params.coef)), self.n_own),
                np.tile(of_fits, (len(each) // self.n_fits, 1)).ravel(),
                np.repeat(some, self.normal.n_before),
            ]
        )

    def handicap(self, params: MultivariateParams, stats: RegressionTotals) -> float:  # type: ignore[override]
        if len(params.dispersion) == 1:
            return 0.0
        q = self.normal.n_responses
        divergence = Full().divergence(self.covariance(params), stats.weight / stats.weight.sum(), q)
        least = 1 if self.penalty else self.n_columns + 1 + (q - 1 if self.normal.n_before else 0)
        return evidence.handicap(divergence, stats.weight, self.n_own + q - 1 + self.normal.n_before, least)

    def nearest_legal(self, params: MultivariateParams) -> MultivariateParams:  # type: ignore[override]
        legal = np.stack([self._legal_dispersion(own) for own in params.dispersion.T], axis=1)
        return params._replace(dispersion=legal)

    def n_parameters(self, params: MultivariateParams) -> int:  # type: ignore[override]
        """Number of free parameters."""
        return sum(part.size for part in params)

    def in_units(self, params: MultivariateParams, units: Affine) -> MultivariateParams:  # type: ignore[override]
        seen = list(self.design) if self.design else slice(self.n_columns)
        first, q = self.n_columns + self.n_beside, self.normal.n_responses
        shift, scale = (part[seen] for part in units)
        shift_y, scale_y = (part[first : first + q] for part in units)
        coef = self.by_response(params.coef) * (scale_y[:, None] / scale)
        coef[:, :, 0] += shift_y - coef @ shift
        before = params.before.copy()
        for j, own in enumerate(self.normal.rows_before):
            before[:, own] *= scale_y[j] / scale_y[: own.stop - own.start]
        return MultivariateParams(coef.reshape(params.coef.shape), params.dispersion * scale_y**2, before)

    def divergence(self, params: MultivariateParams, other: Emission, others: Any) -> FloatArray:  # type: ignore[override]
        self._like(other)
        q, K, L = self.normal.n_responses, len(params.coef), len(others.coef)
        step = (params.coef[:, None] - others.coef).reshape(K, L, q, -1)
        noise = np.broadcast_to(self.covariance(params), (K, q, q))[:, None]
        noise_there = np.broadcast_to(self.covariance(others), (L, q, q))
        both = 0.5 * (noise + noise_there)
        apart = 0.125 * (step * np.linalg.solve(both, step)).sum(axis=(2, 3))
        volume, *volumes = (np.linalg.slogdet(part)[1] for part in (both, noise, noise_there))
        return apart + 0.5 * (volume - 0.5 * sum(volumes))

    def reorder(self, params: MultivariateParams, order: NDArray[np.int_]) -> MultivariateParams:  # type: ignore[override]
        if len(params.dispersion) == 1:
            return params._replace(coef=params.coef[order])
        return MultivariateParams(*(part[order] for part in params))

    # -- in the words of users ---------------------------------------------------------------------------

    def published(self, params: MultivariateParams, first: int) -> dict[str, FloatArray]:  # type: ignore[override]
        coef = self.by_response(params.coef)
        covariance = np.broadcast_to(self.covariance(params), (len(coef), *2 * coef.shape[1:2]))
        if self.normal.covariance_type == "diag":
            covariance = np.einsum("kjj->kj", covariance)
        intercept = coef[:, :, 0].copy() if first else np.zeros(coef.shape[:2])
        return {"coef": coef[:, :, first:].copy(), "intercept": intercept, "covariances": covariance.copy()}

    def variance(self, params: MultivariateParams, eta: FloatArray) -> FloatArray:  # type: ignore[override]
        own = np.einsum("kjj->kj", self.covariance(params))
        return np.broadcast_to(own[:, :, None], eta.shape)

    def marginals(self, params: MultivariateParams, eta: FloatArray) -> list[Marginal]:  # type: ignore[override]
        own = np.einsum("kjj->kj", self.covariance(params))
        return [Marginal(RESPONSES["gaussian"], eta[:, j], own[:, j]) for j in range(eta.shape[1])]

    def draw(  # type: ignore[override]
        self, params: MultivariateParams, eta: FloatArray, which: NDArray[np.intp], rng: np.random.RandomState
    ) -> FloatArray:
        roots = np.linalg.inv(self.normal.less_before(params.before)) * np.sqrt(params.dispersion)[:, None]
        own = roots[which if len(roots) > 1 else np.zeros_like(which)]
        return eta + np.einsum("mij,jm->im", own, rng.normal(size=eta.shape))
