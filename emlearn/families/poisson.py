"""Independent Poisson counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Positive
from emlearn.families import tails
from emlearn.families.base import (
    Emission,
    ExponentialFamily,
    FloatArray,
    counted,
    diagonal,
    filled,
    has_gaps,
    log_factorials,
    mean_or_kept,
    middle,
    of_entries,
    read_field,
    take_fields,
)


class PoissonParams(NamedTuple):
    """Parameters of K components over d counts."""

    rates: FloatArray  # (K, d) expected counts


@dataclass(frozen=True)
class Poisson(ExponentialFamily):
    r"""Poisson counts, independent given the component.

    T(x) = (1, x, which entries are there), natural parameters 0, log λ and −λ, h(x) = −Σ log x!. Missing
    entries, NaN, are left out.
    """

    support = "the counts 0, 1, 2 and so on"
    marginalises = True
    is_by_feature = True
    observes = "counts"
    counts_entries = True
    takes_sparse = True

    @property
    def spaces(self) -> Any:
        return PoissonParams(Positive())  # type: ignore[arg-type]

    def side_by_side(self, n_fits: int) -> Poisson:
        return self

    def statistics(self, batch: Batch) -> Any:
        if not has_gaps(batch):
            return of_entries(batch)
        return np.vstack([counted(batch), filled(batch), ~np.isnan(batch.x)])

    def base_measure(self, batch: Batch) -> FloatArray:
        return -log_factorials(batch)

    def natural(self, params: PoissonParams) -> FloatArray:
        with np.errstate(divide="ignore"):  # a rate of 0 allows no count but 0
            log_rates = np.log(params.rates)
        return np.hstack([np.zeros((len(log_rates), 1)), log_rates, -params.rates])

    def maximize(self, totals: FloatArray, params: PoissonParams | None = None) -> PoissonParams:
        d = totals.shape[1] // 2
        kept = None if params is None else params.rates
        return PoissonParams(mean_or_kept(totals[:, 1 : 1 + d], totals[:, 1 + d :], kept))

    def is_possible(self, x: FloatArray, params: PoissonParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are counts; NaN counts as possible."""
        possible = (x >= 0) & (x == np.floor(x))
        if params is not None:
            possible &= (x == 0) | (params.rates.max(axis=0) > 0)[:, None]
        return possible | np.isnan(x)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> PoissonParams:
        (rates,) = take_fields(self, named, ("rates",))
        rates = read_field("rates", rates, (*lead, None))
        if (rates < 0).any():
            raise ValueError(f"rates must not be negative; the least is {rates.min():.6g}.")
        return PoissonParams(rates.reshape(-1, rates.shape[-1]))

    def divergence(self, params: PoissonParams, other: Emission, others: Any) -> FloatArray:
        if not isinstance(others, PoissonParams) or others.rates.shape[1] != params.rates.shape[1]:
            raise self.unlike(other)
        roots, roots_there = np.sqrt(params.rates), np.sqrt(others.rates)
        step = roots[:, None] - roots_there
        return 0.5 * np.einsum("kld,kld->kl", step, step)

    def with_means(self, params: PoissonParams, means: FloatArray) -> PoissonParams:
        """Rates (K, d)."""
        if not (means > 0).all():
            raise ValueError(f"Rates to start from must be positive; the least is {means.min():.6g}.")
        return PoissonParams(means)

    def n_parameters(self, params: PoissonParams) -> int:
        """Number of free parameters."""
        return params.rates.size

    def tails(self, params: PoissonParams, x: FloatArray) -> FloatArray:
        return tails.poisson(x, params.rates[:, :, None])

    def mean(self, params: PoissonParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.rates

    def covariance(self, params: PoissonParams) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return diagonal(params.rates)

    def embedding(self, batch: Batch) -> FloatArray:
        """Counts on a scale where their variance is about 1 (Anscombe, 1948), (d, m)."""
        return anscombe(batch)

    def sample(self, params: PoissonParams, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        return rng.poisson(params.rates[labels]).astype(np.float64)


def anscombe(batch: Batch) -> FloatArray:
    """Counts (d, m) on a scale where their variance is about 1, missing ones in the middle of the others.

    Those of sparse counts are sparse too: moved, so that a count of 0 is at 0.
    """
    if batch.is_sparse:
        x: Any = batch.x.copy()
        x.data = 2.0 * (np.sqrt(x.data + 0.375) - np.sqrt(0.375))
        return x
    return 2.0 * np.sqrt((filled(batch, middle(batch)) if has_gaps(batch) else batch.x) + 0.375)
