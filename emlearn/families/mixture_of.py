"""Densities that are mixtures themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.parametric import Composite, Leaf
from emlearn.em.spaces import Simplex
from emlearn.families.base import Emission, FloatArray, Held, Sketch, numeric, read_shares, unwrapped

# Points that spread this little, relative to all points, have no direction of their own.
NO_SPREAD = 1e-12
# Projections are told apart to so many digits: which of two equal ones is first must not rest on rounding.
DIGITS = 9


class MixtureParams(NamedTuple):
    """Parameters of K mixtures of M members each."""

    weights: FloatArray  # (K, M) rows sum to 1
    members: Any  # of K · M components of the family, mixture by mixture


class MixtureTotals(NamedTuple):
    """Σ r T(x)."""

    weight: FloatArray  # (K, M)
    members: Any  # totals of K · M components


@dataclass(frozen=True)
class MixtureOf(Composite, Emission):
    """Components that are mixtures of members of a family.

    Which member an observation is of is hidden too, but given the component it depends on nothing else: it
    is summed out here, and latent structures see K components.

    Parameters
    ----------
    family : Emission
        The family of the members. Of its K · M components, M in a row make up a mixture.
    n_components : int
        M, the number of members of each mixture.
    """

    family: Emission
    n_components: int

    @property
    def _parts(self) -> tuple[Any, ...]:
        return Leaf(Simplex()), self.family

    @property
    def support(self) -> str:  # type: ignore[override]
        """What the observations must be, in words."""
        return self.family.support

    @property
    def marginalises(self) -> bool:  # type: ignore[override]
        """Whether entries of an observation may be missing."""
        return self.family.marginalises

    @property
    def observes(self) -> str:  # type: ignore[override]
        """Whether observations are "numbers", "counts" or "codes"."""
        return self.family.observes

    @property
    def spaces(self) -> Any:
        return MixtureParams(Simplex(), self.family.spaces)  # type: ignore[arg-type]

    def density(self, params: MixtureParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        inner = self.family.density(params.members)
        with np.errstate(divide="ignore"):  # weight 0 is log-weight -inf
            log_weights = np.log(params.weights)

        def observe(batch: Batch) -> Observed:
            seen = inner(batch)
            share = seen.log_prob.reshape(*log_weights.shape, -1)  # p(member | x, component), in place
            share += log_weights[:, :, None]
            shift = share.max(axis=1)
            impossible = shift == -np.inf
            any_impossible = impossible.any()
            if any_impossible:
                shift[impossible] = 0.0
            share -= shift[:, None]
            np.exp(share, out=share)
            total = share.sum(axis=1)
            if any_impossible:
                total[impossible] = 1.0  # shares of 0
            share /= total[:, None]
            log_prob = np.log(total)
            log_prob += shift
            if any_impossible:
                log_prob[impossible] = -np.inf

            def totals(resp: FloatArray) -> MixtureTotals:
                joint = share * resp[:, None]
                return MixtureTotals(joint.sum(axis=2), seen.totals(joint.reshape(-1, joint.shape[2])))

            return Observed(log_prob, seen.shared, totals, seen.shared_log_prob)

        return observe

    def maximize(self, totals: MixtureTotals, params: MixtureParams) -> MixtureParams:
        """Parameters from Σ r T(x); a component without weight keeps its own."""
        return MixtureParams(
            _shares(totals.weight, params.weights), self.family.maximize(totals.members, params.members)
        )

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> MixtureParams:
        """Parameters from weighted responsibilities (K, m).

        Each component's observations are cut into M soft slices of about equal weight, along the direction
        in which they spread most: members that were the same would stay the same. With ``rng``, each belongs
        softly to the nearest of M that are drawn instead.
        """
        K, M = len(resp), self.n_components
        points = self.family.embedding(batch)
        overall = resp.sum(axis=0)
        least = NO_SPREAD * principal(points, overall)[1]
        joint = np.empty((K, M, points.shape[1]))
        for k in range(K):
            share = resp[k]
            direction, spread = principal(points, share)
            if M > 1 and spread <= least:  # all in one point, or none at all: cut them off the others
                share = share + overall * ((share.sum() or 1.0) / (overall.sum() or 1.0))
                direction, _ = principal(points, share)
            cut = slices(points, share, direction, M) if rng is None else _cells(points, share, M, rng)
            joint[k] = share * cut
        uniform = np.full((K, M), 1.0 / M)
        return MixtureParams(
            _shares(joint.sum(axis=2), uniform), self.family.start(batch, joint.reshape(K * M, -1))
        )

    def n_parameters(self, params: MixtureParams) -> int:
        """Number of free parameters."""
        K, M = params.weights.shape
        return K * (M - 1) + self.family.n_parameters(params.members)

    is_unimodal = False

    @property
    def has_moments(self) -> bool:
        return self.family.has_moments

    def tails(self, params: MixtureParams, x: FloatArray) -> FloatArray:
        of_members = self.family.tails(params.members, x)
        return np.einsum(
            "km,tkm...->tk...", params.weights, of_members.reshape(4, *params.weights.shape, *x.shape)
        )

    def mean(self, params: MixtureParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return _average(params.weights, numeric(self.family).mean(params.members))

    def covariance(self, params: MixtureParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        inner = numeric(self.family)
        means = inner.mean(params.members)
        centred = means - np.repeat(_average(params.weights, means), self.n_components, axis=0)
        products = centred[:, :, None] * centred[:, None, :]
        return _average(params.weights, inner.covariance(params.members) + products)

    def bound_to(self, sketch: Sketch) -> MixtureOf:
        return replace(self, family=self.family.bound_to(sketch))

    def with_prior(self, named: Mapping[str, Any]) -> MixtureOf:
        return replace(self, family=self.family.with_prior(named))

    def forced_columns(self) -> tuple[int, ...]:
        return self.family.forced_columns()

    def on_floor(self, params: MixtureParams) -> NDArray[np.bool_]:
        """Which components have a member on the floor, (K,)."""
        members = np.broadcast_to(self.family.on_floor(params.members), params.weights.size)
        return np.asarray(members.reshape(params.weights.shape).any(axis=1))

    def units(self, variances: FloatArray) -> FloatArray:
        return self.family.units(variances)

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations as points for clustering, (f, m), never NaN; not to be written to."""
        return self.family.embedding(batch)

    def in_units(self, params: MixtureParams, units: Affine) -> MixtureParams:
        """Parameters of the data before it was brought to ``units``."""
        return params._replace(members=self.family.in_units(params.members, units))

    def is_possible(self, x: FloatArray, params: MixtureParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) the family has a density for; NaN counts as possible."""
        return self.family.is_possible(x, None if params is None else params.members)

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are of the kind that the family observes; NaN counts as such."""
        return self.family.is_observable(x)

    def reorder(self, params: MixtureParams, order: NDArray[np.int_]) -> MixtureParams:
        """Parameters with the components in another order."""
        M = self.n_components
        members = (order[:, None] * M + np.arange(M)).ravel()
        return MixtureParams(params.weights[order], self.family.reorder(params.members, members))

    def fields(self, params: MixtureParams, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the weights (lead, M), and of the members' parameters (lead, M, ...)."""
        M = self.n_components
        weights = params.weights.reshape(*lead, M).copy()
        return {"weights": weights, **self.family.fields(params.members, (*lead, M))}

    @property
    def derived(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.family.derived

    @property
    def floored(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.family.floored

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> MixtureParams:
        members = {name: value for name, value in named.items() if name != "weights"}
        if named.get("weights") is None:
            raise ValueError("weights must be given: those of the members of each mixture.")
        weights = read_shares("weights", named["weights"], (*lead, None))
        M = weights.shape[-1]
        return MixtureParams(weights.reshape(-1, M), self.family.from_fields(members, (*lead, M)))

    def with_parameters(self, params: MixtureParams) -> MixtureOf:
        return MixtureOf(self.family.with_parameters(params.members), params.weights.shape[1])

    def held(self, names: tuple[str, ...], params: MixtureParams) -> Emission:
        if set(names) - {"weights"}:
            self.family.held(names, params.members)  # which refuses what it cannot
        return Held(self, names)

    def maximize_held(
        self, totals: MixtureTotals, params: MixtureParams, names: tuple[str, ...]
    ) -> MixtureParams:
        new = self.maximize(totals, params)
        members = new.members
        if set(names) - {"weights"}:
            members = self.family.maximize_held(totals.members, params.members, names)
        return MixtureParams(params.weights if "weights" in names else new.weights, members)

    def n_held(self, params: MixtureParams, names: tuple[str, ...]) -> int:
        of_weights = params.weights.size - len(params.weights) if "weights" in names else 0
        return of_weights + (self.family.n_held(params.members, names) if set(names) - {"weights"} else 0)

    def divergence(self, params: MixtureParams, other: Emission, others: Any) -> FloatArray:
        """That of the mixtures of the roots of their members' densities, which is 0 for equal ones alone."""
        other = unwrapped(other)
        if not isinstance(other, MixtureOf):
            return super().divergence(params, other, others)
        here, there = (self.family, params), (other.family, others)

        def log_overlap(one: tuple[Emission, Any], two: tuple[Emission, Any]) -> FloatArray:
            (family, a), (another, b) = one, two
            apart = family.divergence(a.members, another, b.members)
            shape = *a.weights.shape, *b.weights.shape
            weights = a.weights[:, :, None, None] * b.weights
            return np.asarray(logsumexp(-apart.reshape(shape), axis=(1, 3), b=weights))

        own, own_there = (np.diagonal(log_overlap(one, one)) for one in (here, there))
        return 0.5 * (own[:, None] + own_there) - log_overlap(here, there)

    def marginal(self, params: MixtureParams, columns: NDArray[np.int_]) -> MixtureParams:
        return params._replace(members=self.family.marginal(params.members, columns))

    def of_some(self, columns: NDArray[np.int_]) -> MixtureOf:
        return replace(self, family=self.family.of_some(columns))

    def widened(self, params: MixtureParams, factors: FloatArray) -> MixtureParams:
        of_members = np.repeat(factors, self.n_components)
        return params._replace(members=self.family.widened(params.members, of_members))

    def with_means(self, params: MixtureParams, means: FloatArray) -> MixtureParams:
        """Parameters with the means (K, d) of the mixtures moved, their members along with them."""
        of_members = numeric(self.family).mean(params.members)
        step = np.repeat(means - _average(params.weights, of_members), self.n_components, axis=0)
        return params._replace(members=self.family.with_means(params.members, of_members + step))

    def nearest_legal(self, params: MixtureParams) -> MixtureParams:
        """Parameters brought within the family's constraints."""
        return params._replace(members=self.family.nearest_legal(params.members))

    def sample(self, params: MixtureParams, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        u = rng.uniform(size=(len(labels), 1))
        member = (np.cumsum(params.weights, axis=1)[labels, :-1] < u).sum(axis=1)
        return self.family.sample(params.members, labels * self.n_components + member, rng)


def _shares(counts: FloatArray, otherwise: FloatArray) -> FloatArray:
    """Counts (K, M) as shares of each row's sum, ``otherwise`` where that is 0."""
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), otherwise)


def _average(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Averages over the members, (K, ...), of values (K · M, ...) by weights (K, M)."""
    return np.einsum("km,km...->k...", weights, values.reshape(*weights.shape, *values.shape[1:]))


def principal(points: FloatArray, weight: FloatArray) -> tuple[FloatArray, float]:
    """Direction (f,) in which points (f, m) spread most, and the variance in it."""
    total = weight.sum()
    if not total > 0:
        return np.zeros(len(points)), 0.0
    centred = points - (points @ weight / total)[:, None]
    values, vectors = np.linalg.eigh((centred * weight) @ centred.T / total)
    direction = vectors[:, -1]
    # Of a direction and its opposite always the same one, whatever LAPACK returns.
    sign = np.sign(direction @ (1.0 / np.arange(1, len(direction) + 1)))
    return direction * (sign or 1.0), float(values[-1])


def _cells(points: FloatArray, weight: FloatArray, n: int, rng: np.random.RandomState) -> FloatArray:
    """Soft shares (n, m) of the points (f, m) nearest to each of n that are drawn by weight."""
    cumulative = np.cumsum(weight)
    drawn = np.searchsorted(cumulative, rng.uniform(size=n) * cumulative[-1], side="right")
    centres = points[:, np.minimum(drawn, len(weight) - 1)]
    scale = np.maximum(points.std(axis=1), np.finfo(np.float64).tiny)[:, None]
    distances = np.stack([(((points - c[:, None]) / scale) ** 2).sum(axis=0) for c in centres.T])
    # Points that are equal must not make members so: each draw of the same one is a little further off.
    nearest = (distances + 1e-9 * rng.uniform(size=(n, 1))).argmin(axis=0)
    return 0.9 * (nearest == np.arange(n)[:, None]) + 0.1 / n


def slices(points: FloatArray, weight: FloatArray, direction: FloatArray, n: int) -> FloatArray:
    """Shares (n, m) of n slices of equal weight across ``direction`` in each of the points (f, m)."""
    along = (points * direction[:, None]).sum(axis=0)
    along -= along.min()
    reach = along.max()
    _, place = np.unique(np.round(along / reach, DIGITS) if reach > 0 else along, return_inverse=True)
    here = np.bincount(place, weight)
    rank = ((np.cumsum(here) - here / 2) / here.sum())[place] if here.sum() > 0 else np.full(len(along), 0.5)
    centres = (np.arange(n) + 0.5) / n
    shares = np.exp(-2.0 * (n * (rank - centres[:, None])) ** 2)
    return shares / shares.sum(axis=0)
