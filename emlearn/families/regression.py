r"""A response given features: linear regression and generalised linear models, one for each component.

.. math:: \log p(y \mid x, k) = \log p(y \mid \eta_k = \beta_k^\top z + o, \phi_k)

The design z holds the features, the constant 1 among them; o is an offset. An M-step is a Newton step from
the additive :math:`\sum r v z z^\top` and :math:`\sum r z (y - \mu)`, with v the curvature by η. For normal
responses it is weighted least squares, taken about the residuals of the parameters before, so that nothing
cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.algebra import solve, weighted_gram
from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Fixed, Positive, Real, SharedColumns
from emlearn.families import evidence
from emlearn.families.base import Emission, ExponentialFamily, FloatArray, unwrapped
from emlearn.families.responses import Response

# Dispersions this much above a bound, relatively, count as resting on it.
BOUND_SLACK = 1e-6
# Where counts vary no more than Poisson counts dispersions rest here: what is less cannot be told from it.
LEAST_DISPERSION, MOST_DISPERSION = 1e-9, 1e6
# No M-step changes the logarithm of a dispersion by more, where it is a Newton step.
LONGEST_IN_DISPERSION = 2.0
# Root mean square change of a linear predictor beyond which a Newton step is cut, where there is a link.
LONGEST = 3.0
# A component with no more than this share of all weight is empty and keeps its parameters.
NO_WEIGHT = 1e-100


class RegressionParams(NamedTuple):
    """Parameters of K regressions on p columns of a design."""

    coef: FloatArray  # (K, p)
    dispersion: FloatArray  # (K,), or (1,) where it is shared or known: of normal responses the variance


class RegressionTotals(NamedTuple):
    """Σ r T(x, y), about the residuals at the parameters of the E-step."""

    weight: FloatArray  # (K,) Σ r
    design: FloatArray  # (p, p) Σ weight z zᵀ, of all components together
    gram: FloatArray  # (K, p, p) Σ r v z zᵀ
    score: FloatArray  # (K, p) Σ r z (y − μ)
    squares: FloatArray  # (K,) Σ r (y − μ)², weighted as the gram is; 0 where that does not tell the dispersion
    # Derivatives by the logarithm of a dispersion without closed estimate, and Σ r times that logarithm.
    slope: FloatArray | float = 0.0  # (K,)
    bend: FloatArray | float = 0.0  # (K,)
    place: FloatArray | float = 0.0  # (K,)


class Marginal(NamedTuple):
    """Distribution of one response in every component."""

    response: Any  # with the means, variances, probabilities and quantiles of a `Response`
    eta: FloatArray  # (K, m) linear predictors
    dispersion: FloatArray  # (K,) or (1,)


@dataclass(frozen=True)
class Regression(ExponentialFamily):
    r"""Regressions of a response on a design.

    The first ``n_columns`` rows of a batch are the design, or those that ``design`` names; ``n_beside`` others
    may lie among or after them. The next ones are the response, and one more, where ``has_offset``, is added to
    the linear predictor.

    Parameters
    ----------
    response : Response
        Distribution of the response given its linear predictor.
    n_columns : int
        Number of columns of the design, p.
    penalty : tuple of p floats, default=()
        Ridge on the coefficients of each component: the log prior is
        :math:`-\tfrac12 \sum_k \sum_j \alpha_j \beta_{kj}^2 / \phi_k`. Empty for none.
    shared : tuple of int, default=()
        Columns whose coefficients all components have in common.
    shared_dispersion : bool, default=False
        Whether all components have the same dispersion.
    least_ratio : float, default=0.0
        Least ratio of two components' dispersions (Hathaway, 1985), which keeps the likelihood bounded.
    floor : float, default=1e-12
        Least dispersion.
    has_offset : bool, default=False
        Whether the last row of a batch is an offset.
    design : tuple of int, default=()
        The rows of a batch that are the design, in its order; empty for the first ones.
    n_beside : int, default=0
        Number of rows before the response that are not of the design: what only a gate sees.
    n_fits : int, default=1
        Of how many fits components stand side by side; see `side_by_side`.
    """

    response: Response
    n_columns: int
    penalty: tuple[float, ...] = ()
    shared: tuple[int, ...] = ()
    shared_dispersion: bool = False
    least_ratio: float = 0.0
    floor: float = 1e-12
    has_offset: bool = False
    design: tuple[int, ...] = ()
    n_beside: int = 0
    n_fits: int = field(default=1, compare=False)

    def side_by_side(self, n_fits: int) -> Regression | None:
        # What components share, they would share with those of other fits.
        if self.penalty or self.shared or self.shared_dispersion or not self.response.is_exact:
            return None
        return replace(self, n_fits=n_fits)

    def _of_fits(self, of_components: NDArray[Any]) -> NDArray[Any]:
        """What is of components (K,) by fits, (components of each, n_fits)."""
        return of_components.reshape(-1, self.n_fits)

    @property
    def support(self) -> str:  # type: ignore[override]
        """What responses must be, in words."""
        return self.response.support

    @property
    def spaces(self) -> Any:
        coef = SharedColumns(self.shared) if self.shared else Real()
        dispersion = Positive() if self.response.has_dispersion else Fixed()
        return RegressionParams(coef, dispersion)  # type: ignore[arg-type]

    def floats_per_row(self, n_components: int, n_read: int) -> int:
        """How many numbers an E-step works on per observation, of which so many are read."""
        return 2 * n_read + n_components * (self.n_columns + 4)

    def split(self, batch: Batch) -> tuple[FloatArray, FloatArray, FloatArray | float]:
        """Design (p, m), response (c, m) and offset (m,) of a batch."""
        first, stop = self.n_columns + self.n_beside, len(batch.x) - self.has_offset
        offset = batch.x[-1] if self.has_offset else 0.0
        return self._seen(batch), batch.x[first:stop], offset

    def _seen(self, batch: Batch) -> FloatArray:
        """The design, (p, m)."""

        def gather() -> FloatArray:
            return batch.x[list(self.design)]

        seen: FloatArray = batch.once(self.design, gather) if self.design else batch.x[: self.n_columns]
        return seen

    def cross_products(self, batch: Batch) -> FloatArray:
        """Σ weight z zᵀ, (p, p)."""

        def multiply() -> FloatArray:
            design = self.split(batch)[0]
            return (design if batch.weight is None else design * batch.weight) @ design.T

        gram: FloatArray = batch.once(("design", self.n_columns, self.design), multiply)
        return gram

    def linear_predictor(self, params: RegressionParams, batch: Batch) -> FloatArray:
        """η of every component, (K, m)."""
        design, _, offset = self.split(batch)
        eta = params.coef @ design
        eta += offset
        return eta

    def density(self, params: RegressionParams) -> Callable[[Batch], Observed]:
        dispersion = params.dispersion[:, None]

        def observe(batch: Batch) -> Observed:
            design, y, _ = self.split(batch)
            eta = self.linear_predictor(params, batch)
            seen = self.response.observe(eta, y, dispersion)
            shared = batch.once("base", lambda: batch.sum(self.response.base_measure(y)))

            def totals(resp: FloatArray) -> RegressionTotals:
                error = resp * seen.error
                squares, by_dispersion = np.zeros(len(resp)), np.zeros((3, len(resp)))
                if self.response.is_exact:
                    own = seen.error if seen.curvature is None else seen.error / seen.curvature
                    squares = np.einsum("km,km->k", error, own)
                elif self.response.has_dispersion:
                    found = self.response.by_dispersion(eta, y, dispersion)
                    by_dispersion[:2] = [np.einsum("km,km->k", resp, part) for part in found]
                    by_dispersion[2] = resp.sum(axis=1) * np.log(params.dispersion)
                bend = resp if seen.curvature is None else resp * seen.curvature
                return RegressionTotals(
                    resp.sum(axis=1),
                    np.repeat(self.cross_products(batch), self.n_fits, axis=0),
                    weighted_gram(bend, design),
                    error @ design.T,
                    squares,
                    *by_dispersion,
                )

            return Observed(seen.log_prob, shared, totals, lambda: self.response.base_measure(y))

        return observe

    def gentle_gram(self, params: RegressionParams, batch: Batch, resp: FloatArray) -> FloatArray:
        """The gram for a curvature of 1 / (1 + η²), which vanishes as no exponential does, (K, p, p)."""
        eta = self.linear_predictor(params, batch)
        return weighted_gram(resp / (1.0 + eta**2), self.split(batch)[0])

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> RegressionParams:
        """Parameters from weighted responsibilities (K, m): least squares of rough predictors."""
        design, y, offset = self.split(batch)
        eta = np.broadcast_to(self.response.linear(y), resp.shape)
        none = np.ones(self.n_dispersions(len(resp)))
        seen = self.response.observe(eta, y, none[:, None])
        bend = resp if seen.curvature is None else resp * seen.curvature
        params = RegressionParams(np.zeros((len(resp), self.n_columns)), none)
        totals = RegressionTotals(
            resp.sum(axis=1),
            self.cross_products(batch),
            weighted_gram(bend, design),
            (bend * (eta - offset)) @ design.T,
            np.zeros(len(resp)),
        )
        params = RegressionParams(self._newton_step(totals, params), none)
        return self.maximize(self.density(params)(batch).totals(resp), params)

    def embedding(self, batch: Batch) -> FloatArray:
        """What one regression leaves of each response: along every column of the design, and its size."""
        weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
        one = replace(self, n_fits=1).start(batch, weight[None])
        design, y, _ = self.split(batch)
        residual = self.response.linear(y) - self.linear_predictor(one, batch)[0]
        return np.vstack([residual * design, np.abs(residual)])

    def maximize(  # type: ignore[override]
        self, totals: RegressionTotals, params: RegressionParams
    ) -> RegressionParams:
        empty = totals.weight <= NO_WEIGHT * totals.weight.sum()
        if empty.all():
            return params
        step = self._newton_step(totals, params)
        if not self.response.is_exact:
            step *= self._cut(step, totals)
        coef = params.coef + step
        if not self.shared:
            coef[empty] = params.coef[empty]
        if not self.response.is_exact:
            return RegressionParams(coef, self._stepped(totals, params, 1.0))
        squares = totals.squares + self._ridge(coef)
        bend = (totals.gram @ step[:, :, None])[:, :, 0]
        squares += (step * (bend - 2 * totals.score)).sum(axis=1)
        if len(params.dispersion) == 1:
            return RegressionParams(coef, np.maximum([squares.sum() / totals.weight.sum()], self.floor))
        dispersion = self._dispersion(squares, totals.weight)
        return RegressionParams(coef, self._or_kept(dispersion, params.dispersion, empty))

    def _or_kept(self, dispersion: FloatArray, kept: FloatArray, empty: NDArray[np.bool_]) -> FloatArray:
        """Dispersions, those of empty components as they were, so far as they do not bind the others."""
        if not empty.any():
            return dispersion
        dispersion = np.where(empty, kept, dispersion)
        if self.least_ratio:
            least = self._of_fits(np.where(empty, np.inf, dispersion)).min(axis=0)
            most = self._of_fits(np.where(empty, 0.0, dispersion)).max(axis=0)
            dispersion = np.clip(self._of_fits(dispersion), least, most).ravel()
        return dispersion

    def recentred(
        self, totals: RegressionTotals, old: RegressionParams, new: RegressionParams
    ) -> RegressionTotals:
        # Exact for normal responses; for others as far as the curvature stays what it was.
        step = new.coef - old.coef
        bend = (totals.gram @ step[:, :, None])[:, :, 0]
        squares = totals.squares
        if self.response.is_exact:
            squares = squares + (step * (bend - 2 * totals.score)).sum(axis=1)
        return totals._replace(score=totals.score - bend, squares=squares)

    def _stepped(self, totals: RegressionTotals, params: RegressionParams, share: float) -> FloatArray:
        """Dispersions after a share of a Newton step in their logarithms; as they are, where they are known."""
        if not self.response.has_dispersion:
            return params.dispersion
        weight, slope, bend, place = (
            np.asarray(part, dtype=np.float64)
            for part in (totals.weight, totals.slope, totals.bend, totals.place)
        )
        if self.penalty:  # the coefficients' prior knows of the dispersion
            ridge = 0.5 * self._ridge(params.coef) / self._scale(params)
            slope, bend = slope + ridge * self.response.scales, bend - ridge * self.response.scales
        if len(params.dispersion) == 1:
            weight, slope, bend, place = (part.sum(keepdims=True) for part in (weight, slope, bend, place))
        curved = bend < 0
        newton = -slope / np.where(curved, bend, 1.0)
        step = np.where(curved, np.clip(newton, -LONGEST_IN_DISPERSION, LONGEST_IN_DISPERSION), np.sign(slope))
        there = weight > 0
        stepped = np.exp(np.where(there, place / np.where(there, weight, 1.0) + share * step, 0.0))
        stepped = np.where(there, stepped, params.dispersion)
        return self._legal_dispersion(stepped)

    def _legal_dispersion(self, dispersion: FloatArray) -> FloatArray:
        """Dispersions brought within their bounds."""
        if not self.response.has_dispersion:
            return dispersion
        least, most = max(self.floor, self.least_ratio * float(dispersion.max())), np.inf
        if self.response.is_discrete:  # no component can lift the likelihood without end
            least = LEAST_DISPERSION
        if not self.response.is_exact:
            most = MOST_DISPERSION
        return np.clip(dispersion, least, most)

    def _scale(self, params: RegressionParams) -> FloatArray:
        """What derivatives by linear predictors are multiples of 1 over, (K,) or (1,)."""
        return params.dispersion if self.response.scales else np.ones_like(params.dispersion)

    def expected_log_joint(  # type: ignore[override]
        self, totals: RegressionTotals, new: RegressionParams, old: RegressionParams
    ) -> float | None:
        there = self.recentred(totals, old, new)
        if self.response.is_exact:
            return float(-0.5 * np.sum(totals.weight * np.log(new.dispersion) + there.squares / new.dispersion))
        half_way = 0.5 * (totals.score + there.score)  # the slope there, by which a parabola rises
        value = np.sum(half_way * (new.coef - old.coef) / self._scale(old)[:, None])
        if self.response.has_dispersion:
            value += np.sum(totals.slope * np.log(new.dispersion / old.dispersion))
        return float(value)

    def _dispersion(self, squares: FloatArray, weight: FloatArray) -> FloatArray:
        """Dispersions of greatest likelihood within the bounds, from sums of squares and weights."""
        here = weight > 0
        free = np.maximum(squares / np.where(here, weight, 1.0), self.floor)
        least = self._of_fits(np.where(here, free, np.inf)).min(axis=0)
        most = self._of_fits(np.where(here, free, 0.0)).max(axis=0)
        for fit in np.flatnonzero(~(least >= self.least_ratio * most)):
            own = slice(fit, None, self.n_fits)
            free[own] = self._within_ratio(free[own], squares[own], weight[own])
        return free

    def _within_ratio(self, free: FloatArray, squares: FloatArray, weight: FloatArray) -> FloatArray:
        """Dispersions of one fit within the ratio, from those that are free of it."""
        here = weight > 0
        # Cut to [t, t / ratio], with t the root of a derivative that is monotone between breaks (Fritz,
        # García-Escudero & Mayo-Iscar, 2013, prop. 3.2).
        breaks = np.unique(np.concatenate([free[here], free[here] * self.least_ratio]))
        between = np.concatenate([[0.5 * breaks[0]], 0.5 * (breaks[1:] + breaks[:-1]), [2 * breaks[-1]]])
        low = here & (free < between[:, None])
        high = here & (free > between[:, None] / self.least_ratio)
        total = (squares * low + self.least_ratio * squares * high).sum(axis=1)
        least = total / np.maximum((weight * (low + high)).sum(axis=1), np.finfo(np.float64).tiny)
        cut = np.clip(free, least[:, None], least[:, None] / self.least_ratio)
        cut = np.maximum(cut, self.floor)
        value = (weight * np.log(cut) + squares / cut)[:, here].sum(axis=1)
        best: FloatArray = cut[np.argmin(value)]
        return best

    def shortened(
        self, totals: RegressionTotals, params: RegressionParams, attempt: int
    ) -> RegressionParams | None:
        """Half the step, a quarter, ...; None where `maximize` is exact."""
        if self.response.is_exact:
            return None
        coef = self.maximize(totals, params).coef
        for _ in range(attempt):
            coef = 0.5 * (params.coef + coef)
        return RegressionParams(coef, self._stepped(totals, params, 0.5**attempt))

    def _newton_step(self, totals: RegressionTotals, params: RegressionParams) -> FloatArray:
        """Change of the coefficients (K, p) by a Newton step, at the dispersions of ``params``.

        Of least norm: coefficients stay as they are in directions of which the design says nothing.
        """
        gram, score = totals.gram, totals.score
        if self.penalty:
            gram = gram + np.diag(self.penalty)
            score = score - params.coef * self.penalty
        if not self.shared:
            return solve(gram, score)
        # Some coefficients are one and the same: where each coefficient of each component is in the system.
        K, p = params.coef.shape
        place = np.zeros((K, p), dtype=np.intp)
        own = np.setdiff1d(np.arange(p), self.shared)
        place[:, own] = np.arange(K * len(own)).reshape(K, -1)
        place[:, list(self.shared)] = K * len(own) + np.arange(len(self.shared))
        system = np.zeros((place.max() + 1,) * 2)
        right = np.zeros(len(system))
        dispersion = np.broadcast_to(self._scale(params), K)
        np.add.at(system, (place[:, :, None], place[:, None, :]), gram / dispersion[:, None, None])
        np.add.at(right, place, score / dispersion[:, None])
        return solve(system, right)[place]

    def _cut(self, step: FloatArray, totals: RegressionTotals) -> FloatArray:
        """Factors (K, 1) for steps that change linear predictors too much for any curvature to hold."""
        squares = np.einsum("ki,ij,kj->k", step, totals.design, step) / totals.weight.sum()
        factors = LONGEST / np.sqrt(np.maximum(squares, LONGEST**2))
        if self.shared:
            factors[:] = factors.min()
        return factors[:, None]

    def _ridge(self, coef: FloatArray) -> FloatArray | float:
        return coef**2 @ np.array(self.penalty) if self.penalty else 0.0

    def n_dispersions(self, n_components: int) -> int:
        """Number of dispersions among so many components, one if they share it or know it."""
        return n_components if self.response.has_dispersion and not self.shared_dispersion else 1

    def log_prior(self, params: RegressionParams) -> float:
        """Log prior density of the coefficients, up to a constant."""
        return float(-0.5 * np.sum(self._ridge(params.coef) / self._scale(params)))

    def resting(self, params: RegressionParams) -> NDArray[np.bool_] | None:
        # A bound on ratios ties dispersions to one another: where one rests on it, none may be moved alone.
        at_bound = self.at_bound(params)
        if self.response.has_dispersion and self.response.is_discrete:
            dispersion = params.dispersion
            at_bound = (dispersion <= LEAST_DISPERSION) | (dispersion >= MOST_DISPERSION)
            own = np.zeros(len(params.coef) * self.n_own + len(self.shared), dtype=bool)
            return np.concatenate([own, at_bound]) if at_bound.any() else None
        if not at_bound.any():
            return None
        of_component = np.broadcast_to(at_bound, len(params.coef))
        own = np.repeat(of_component, self.n_own)
        shared = np.repeat(of_component.any(), len(self.shared))
        of_fit = np.broadcast_to(
            self._of_fits(at_bound).any(axis=0), (len(at_bound) // self.n_fits, self.n_fits)
        )
        return np.concatenate([own, shared, of_fit.ravel()])

    def handicap(self, params: RegressionParams, stats: RegressionTotals) -> float:
        dispersion = params.dispersion
        if len(dispersion) == 1 or not self.response.has_dispersion or self.response.is_discrete:
            return 0.0
        divergence = evidence.divergence(dispersion / np.average(dispersion, weights=stats.weight))
        least = 1 if self.penalty else self.n_own + 1
        return evidence.handicap(divergence, stats.weight, self.n_own, least)

    @property
    def n_own(self) -> int:
        """Number of coefficients that each component has to itself."""
        return self.n_columns - len(self.shared)

    def nearest_legal(self, params: RegressionParams) -> RegressionParams:
        """Parameters with shared coefficients made the same, and dispersions raised to their bounds."""
        coef, shared = params.coef.copy(), list(self.shared)
        coef[:, shared] = coef[:, shared].mean(axis=0)
        return RegressionParams(coef, self._legal_dispersion(params.dispersion))

    def at_bound(self, params: RegressionParams) -> NDArray[np.bool_]:
        """Which dispersions rest on a bound from above: on the floor, or on the least ratio."""
        return self._rest(params.dispersion)

    def _rest(self, dispersion: FloatArray) -> NDArray[np.bool_]:
        if not self.response.has_dispersion or self.response.is_discrete:
            return np.zeros(len(dispersion), dtype=bool)
        of_fits = self._of_fits(dispersion)
        least = np.full(self.n_fits, self.floor)
        if len(of_fits) > 1:
            least = np.maximum(least, self.least_ratio * of_fits.max(axis=0))
        at_bound: NDArray[np.bool_] = of_fits <= least * (1 + BOUND_SLACK)
        return at_bound.ravel()

    @property
    def rounding(self) -> float:
        # Residuals carry errors of eps, which a variance on the floor turns into eps / √floor.
        return max(1e-10, 10 * float(np.finfo(np.float64).eps) / np.sqrt(self.floor))

    def n_parameters(self, params: RegressionParams) -> int:
        """Number of free parameters."""
        n_coef = len(params.coef) * self.n_own + len(self.shared)
        return n_coef + self.response.has_dispersion * len(params.dispersion)

    def for_share(self, share: float) -> Regression:
        """The family for a share of the data, on which penalties weigh as much less."""
        return replace(self, penalty=tuple(share * alpha for alpha in self.penalty))

    def in_units(self, params: RegressionParams, units: Affine) -> RegressionParams:
        """Parameters of the data before design and response were brought to ``units``.

        Only a design whose first column is the constant may be shifted.
        """
        seen = list(self.design) if self.design else slice(self.n_columns)
        shift, scale = (part[seen] for part in units)
        shift_y, scale_y = (part[self.n_columns + self.n_beside] for part in units)
        coef = params.coef * (scale_y / scale)
        coef[:, 0] += shift_y - coef @ shift
        return RegressionParams(coef, params.dispersion * (scale_y**2 if self.response.has_unit else 1.0))

    def divergence(self, params: RegressionParams, other: Emission, others: Any) -> FloatArray:
        """Bhattacharyya distances (K, L) of normal responses; columns of the design have mean square 1."""
        self._like(other)
        step = params.coef[:, None] - others.coef
        has_unit = self.response.has_unit  # others are compared by their linear predictors
        noise = np.broadcast_to(params.dispersion if has_unit else 1.0, len(params.coef))[:, None]
        noise_there = np.broadcast_to(others.dispersion if has_unit else 1.0, len(others.coef))
        both = noise + noise_there
        apart = 0.25 * np.einsum("klp,klp->kl", step, step) / both
        return apart + 0.5 * np.log(both / (2.0 * np.sqrt(noise * noise_there)))

    def _like(self, other: Emission) -> None:
        """Refuse a family whose parameters cannot be compared with those of this one."""
        other = unwrapped(other)
        if not isinstance(other, Regression) or (other.response, other.n_columns, other.design) != (
            self.response,
            self.n_columns,
            self.design,
        ):
            raise self.unlike(other)

    def reorder(self, params: RegressionParams, order: NDArray[np.int_]) -> RegressionParams:
        """Parameters with the components in another order."""
        dispersion = params.dispersion
        return RegressionParams(params.coef[order], dispersion if len(dispersion) == 1 else dispersion[order])

    def with_noise(self, coef: FloatArray, variance: float) -> RegressionParams:
        """Parameters with coefficients, and the same dispersion in all components."""
        return RegressionParams(coef, np.full(self.n_dispersions(len(coef)), variance))

    def noise(self, params: RegressionParams) -> FloatArray:
        """Size of the noise of each component, (K,)."""
        return np.broadcast_to(params.dispersion, len(params.coef))

    # -- in the words of users ---------------------------------------------------------------------------

    def published(self, params: RegressionParams, first: int) -> dict[str, FloatArray]:
        """Attributes of an estimator, from parameters in the user's units; ``first`` is 1 with an intercept."""
        K = len(params.coef)
        fields = {
            "coef": params.coef[:, first:].copy(),
            "intercept": params.coef[:, 0].copy() if first else np.zeros(K),
        }
        if self.response.has_unit:
            fields["sigma"] = np.broadcast_to(np.sqrt(params.dispersion), K).copy()
        elif self.response.has_dispersion:
            fields["dispersion"] = np.broadcast_to(params.dispersion, K).copy()
        return fields

    @property
    def predictive(self) -> Any:
        """What a response is of each component, at linear predictors (K, m)."""
        return self.response

    def variance(self, params: RegressionParams, eta: FloatArray) -> FloatArray:
        """Variances of responses in every component, of the shape of the linear predictors."""
        variance: FloatArray = self.predictive.variance(eta, params.dispersion[:, None])
        return variance

    def marginals(self, params: RegressionParams, eta: FloatArray) -> list[Marginal]:
        """The distribution of each response."""
        return [Marginal(self.predictive, eta, params.dispersion)]

    def response_tails(self, params: Any, eta: FloatArray, responses: FloatArray) -> FloatArray:
        """`Response.tails` of the responses of a batch, (4, K, m), or of several (4, K, q, m)."""
        marginals = self.marginals(params, eta)
        rows = [responses] if len(marginals) == 1 else responses[:, None]
        each = [
            own.response.tails(y, own.eta, own.dispersion[:, None])
            for own, y in zip(marginals, rows, strict=True)
        ]
        return each[0] if len(each) == 1 else np.stack(each, axis=2)

    def draw(
        self, params: RegressionParams, eta: FloatArray, which: NDArray[np.intp], rng: np.random.RandomState
    ) -> FloatArray:
        """Responses of the regressions ``which`` (m,), at their linear predictors (..., m)."""
        return self.response.draw(eta, np.broadcast_to(params.dispersion, len(params.coef))[which], rng)
