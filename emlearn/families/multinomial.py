"""Counts of several categories in each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.em.spaces import Simplex
from emlearn.families import tails
from emlearn.families.base import (
    LEAST_OVERLAP,
    LOG_OF_ZERO,
    Emission,
    ExponentialFamily,
    FloatArray,
    Sketch,
    concentrations,
    counted,
    filled,
    has_gaps,
    log_factorials,
    of_entries,
    read_prior,
    read_shares,
    sums_over_features,
    take_fields,
)


class MultinomialParams(NamedTuple):
    """Parameters of K components over d categories."""

    probabilities: FloatArray  # (K, d) rows sum to 1


@dataclass(frozen=True)
class Multinomial(ExponentialFamily):
    r"""How often each of d categories was counted: given the total n of a row, a multinomial distribution.

    T(x) = (1, x), natural parameters log p. Totals may differ from row to row; the density is one of the counts
    given their total, which says nothing of the component.

    Missing entries, NaN, are integrated out. Where ``trials`` says what the total is, the missing counts make
    up the rest. Where it does not, the counts that are there are taken given their own total; what is missing
    is then expected to be as much more as its categories are probable (Dempster, Laird & Rubin, 1977, section
    4.2).

    Parameters
    ----------
    trials : int or None, default=None
        Total of every row. None: of each row its own.
    concentration : float or tuple of d floats, default=1.0
        Concentrations of a Dirichlet prior of the probabilities, at least 1, which is maximum likelihood.
    typical : int, default=1
        Total that `sample`, `mean` and `covariance` speak of where rows have their own: bound to data the
        median.

    References
    ----------
    Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, Journal of the
    Royal Statistical Society B 39.

    Examples
    --------
    Visits to three kinds of pages, session by session:

    >>> from emlearn import HMMEM
    >>> visits = [[9, 1, 0], [8, 0, 1], [6, 2, 1], [1, 7, 2], [0, 8, 3], [1, 9, 1], [8, 1, 1], [1, 8, 0]]
    >>> model = HMMEM(2, emission="multinomial", random_state=0).fit(visits)
    >>> model.predict(visits)
    array([1, 1, 1, 0, 0, 0, 1, 0])
    >>> model.probabilities_.round(2)
    array([[0.07, 0.78, 0.15],
           [0.82, 0.11, 0.08]])
    """

    trials: int | None = None
    concentration: float | tuple[float, ...] = 1.0
    typical: int = field(default=1, repr=False)

    marginalises = True
    observes = "counts"
    prior_names = ("concentration",)

    def __post_init__(self) -> None:
        if self.trials is not None and not (self.trials >= 1 and self.trials == int(self.trials)):
            raise ValueError(f"trials={self.trials!r} must be an integer of 1 or more.")

    @property
    def takes_sparse(self) -> bool:  # type: ignore[override]
        """Whether batches may be sparse: where rows have totals of their own."""
        return self.trials is None

    @property
    def support(self) -> str:  # type: ignore[override]
        """What the observations must be, in words."""
        total = "" if self.trials is None else f" that add up to {self.trials} in each row"
        return f"the counts 0, 1, 2 and so on{total}"

    @property
    def spaces(self) -> Any:
        return MultinomialParams(Simplex())  # type: ignore[arg-type]

    def bound_to(self, sketch: Sketch) -> Multinomial:
        """The family that knows what rows usually add up to."""
        d = len(sketch.most)
        if d < 2:
            raise ValueError(
                f"emission={self} needs columns of counts, one for each category, but X has {d} for it."
            )
        if not isinstance(self.concentration, float) and len(self.concentration) != d:
            raise ValueError(f"concentration is of {len(self.concentration)} categories, but X has {d}.")
        totals = sums_over_features(sketch.some.x)
        totals = totals[totals > 0]
        return replace(self, typical=int(np.median(totals)) if len(totals) else 1)

    def statistics(self, batch: Batch) -> Any:
        if has_gaps(batch):
            return np.vstack([counted(batch), filled(batch)])
        return of_entries(batch)

    def base_measure(self, batch: Batch) -> FloatArray:
        total = sums_over_features(filled(batch))
        base = -log_factorials(batch)
        if self.trials is None or not has_gaps(batch):
            return np.asarray(base + gammaln(total + 1.0))
        return np.asarray(
            base + gammaln(self.trials + 1.0) - gammaln(np.maximum(self.trials - total, 0.0) + 1.0)
        )

    def natural(self, params: MultinomialParams) -> FloatArray:
        with np.errstate(divide="ignore"):  # what has probability 0 is impossible
            return np.hstack([np.zeros((len(params.probabilities), 1)), np.log(params.probabilities)])

    def density(self, params: MultinomialParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        complete, p = super().density(params), params.probabilities

        def observe(batch: Batch) -> Observed:
            seen = complete(batch)
            if not has_gaps(batch):
                return seen
            missing = np.isnan(batch.x)
            partly = missing.any(axis=0) & ~missing.all(axis=0)
            total = filled(batch).sum(axis=0)
            if self.trials is None:  # counts given their total are as much more probable
                size, of_what, sign = np.where(partly, total, 0.0), p @ ~missing, -1.0
            else:  # what is missing makes up the rest
                size, of_what, sign = np.where(partly, self.trials - total, 0.0), p @ missing, 1.0
            with np.errstate(divide="ignore"):
                logs = np.maximum(np.log(of_what), LOG_OF_ZERO)
            log_prob = np.where(seen.log_prob == -np.inf, LOG_OF_ZERO, seen.log_prob)
            log_prob += sign * size * np.where((size > 0) & (seen.log_prob > -np.inf), logs, 0.0)
            log_prob[(log_prob < 0.5 * LOG_OF_ZERO) | ((size > 0) & (of_what == 0))] = -np.inf
            factor = np.where(of_what > 0, size / np.where(of_what > 0, of_what, 1.0), 0.0)

            def totals(resp: FloatArray) -> FloatArray:
                sums = seen.totals(resp)
                sums[:, 1:] += p * ((resp * factor) @ missing.T)
                return sums

            return Observed(log_prob, seen.shared, totals, seen.shared_log_prob)

        return observe

    def maximize(self, totals: FloatArray, params: MultinomialParams | None = None) -> MultinomialParams:
        counts = totals[:, 1:]
        if self.concentration != 1.0:
            occurs = True if params is None else params.probabilities > 0
            counts = counts + (np.asarray(self.concentration) - 1.0) * occurs
        total = counts.sum(axis=1, keepdims=True)
        kept = 1.0 / counts.shape[1] if params is None else params.probabilities
        return MultinomialParams(np.where(total > 0, counts / np.where(total > 0, total, 1.0), kept))

    def log_prior(self, params: MultinomialParams) -> float:
        if self.concentration == 1.0:
            return 0.0
        p = params.probabilities
        return float(((np.asarray(self.concentration) - 1.0) * np.log(np.where(p > 0, p, 1.0))).sum())

    def with_prior(self, named: Mapping[str, Any]) -> Multinomial:
        (value,) = read_prior(self, named)
        given = concentrations("concentration", 1.0 if value is None else value)
        if given.ndim > 1:
            raise ValueError(f"concentration has shape {given.shape}: give a number, or one for each column.")
        return replace(self, concentration=tuple(given.tolist()) if given.ndim else float(given))

    def is_possible(self, x: FloatArray, params: MultinomialParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts, of rows that add up to `trials`; NaN counts as possible."""
        count = (x >= 0) & (x == np.floor(x))
        if self.trials is not None:
            missing = np.isnan(x)
            total = np.where(missing, 0.0, x).sum(axis=0)
            count &= np.where(missing.any(axis=0), total <= self.trials, total == self.trials)
        if params is not None:
            count &= (x == 0) | (params.probabilities.max(axis=0) > 0)[:, None]
        return count | np.isnan(x)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> MultinomialParams:
        (probabilities,) = take_fields(self, named, ("probabilities",))
        shares = read_shares("probabilities", probabilities, (*lead, None))
        return MultinomialParams(shares.reshape(-1, shares.shape[-1]))

    @property
    def _usual(self) -> int:
        return self.typical if self.trials is None else self.trials

    def divergence(self, params: MultinomialParams, other: Emission, others: Any) -> FloatArray:
        p = params.probabilities
        if not isinstance(others, MultinomialParams) or others.probabilities.shape[1] != p.shape[1]:
            raise self.unlike(other)
        overlap = np.sqrt(p) @ np.sqrt(others.probabilities).T
        return np.asarray(-self._usual * np.log(np.clip(overlap, LEAST_OVERLAP, 1.0)))

    def with_means(self, params: MultinomialParams, means: FloatArray) -> MultinomialParams:
        """Probabilities in proportion to mean counts (K, d)."""
        if not (means > 0).all():
            raise ValueError(f"Mean counts to start from must be positive; the least is {means.min():.6g}.")
        return MultinomialParams(means / means.sum(axis=1, keepdims=True))

    def n_parameters(self, params: MultinomialParams) -> int:
        """Number of free parameters; categories that no component ever has are none."""
        p = params.probabilities
        return len(p) * max(int(np.count_nonzero(p.max(axis=0))) - 1, 0)

    def tails(self, params: MultinomialParams, x: FloatArray) -> FloatArray:
        total = x.sum(axis=0) if self.trials is None else self.trials
        return tails.binomial(x, total, params.probabilities[:, :, None])

    def mean(self, params: MultinomialParams) -> FloatArray:
        """Mean of each component, (K, d), of rows with the usual total."""
        return self._usual * params.probabilities

    def covariance(self, params: MultinomialParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d), of rows with the usual total."""
        p = params.probabilities
        return np.asarray(self._usual * (p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None]))

    def embedding(self, batch: Batch) -> FloatArray:
        """Roots of the shares of the total, (d, m), of what is missing as they are on average."""
        if batch.is_sparse:
            points: Any = batch.x.copy()
            points.data = np.sqrt(points.data / np.repeat(sums_over_features(points), np.diff(points.indptr)))
            return points
        x = batch.x
        total = filled(batch).sum(axis=0)
        weight = np.ones(x.shape[1]) if batch.weight is None else batch.weight
        counts = filled(batch) @ weight
        middle = counts / max(counts.sum(), np.finfo(np.float64).tiny)
        shares = np.where(total > 0, x / np.where(total > 0, total, 1.0), middle[:, None])
        return np.asarray(np.sqrt(np.where(np.isnan(shares), middle[:, None], shares)))

    def sample(
        self, params: MultinomialParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation of the usual total from the component of each label, (n, d)."""
        out = np.empty((len(labels), params.probabilities.shape[1]))
        for k in np.unique(labels):
            of_k = labels == k
            out[of_k] = rng.multinomial(self._usual, params.probabilities[k], size=np.count_nonzero(of_k))
        return out
