"""Independent categorical variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Simplex
from emlearn.families.base import (
    LEAST_OVERLAP,
    Emission,
    ExponentialFamily,
    FloatArray,
    Sketch,
    concentrations,
    counted,
    has_gaps,
    one_concentration,
    read_prior,
    read_shares,
    take_fields,
)

# A code beyond this, and beyond the number of rows, is no code.
MOST_CODES = 100


class CategoricalParams(NamedTuple):
    """Parameters of K components over d variables."""

    probabilities: tuple[FloatArray, ...]  # d arrays (K, n_categories[j]); rows sum to 1


@dataclass(frozen=True)
class Categorical(ExponentialFamily):
    r"""Categorical variables, independent given the component: with mixture weights, latent class analysis.

    T(x) = (1, indicator of each category of each variable), natural parameters the log-probabilities. A
    missing entry, NaN, is of no category, and so is left out.

    Parameters
    ----------
    n_categories : tuple of int, default=()
        Number of categories of each variable; observations are codes 0 ... n − 1. Empty, or 0 for a variable:
        as the data have.
    concentration : float or tuple of tuples of float, default=1.0
        Concentrations of a Dirichlet prior of the probabilities, at least 1, which is maximum likelihood: one
        for all, or for each variable those of its categories.
    absent : tuple of tuples of int, default=()
        Codes of each variable that do not occur: they have no share in a prior, and are no parameters. Bound to
        data, where ``n_categories`` is left open, those that no observation has.
    """

    n_categories: tuple[int, ...] = ()
    concentration: float | tuple[tuple[float, ...], ...] = 1.0
    absent: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    marginalises = True
    is_by_feature = True
    observes = "codes"
    prior_names = ("concentration",)

    def bound_to(self, sketch: Sketch) -> Categorical:
        """The family with as many categories as there are codes, where it does not say how many."""
        d = len(sketch.most)
        if self.n_categories and len(self.n_categories) != d:
            raise ValueError(f"emission={self} is for {len(self.n_categories)} columns, but X has {d} for it.")
        given = self.n_categories or (0,) * d
        open_ones = np.where(np.array(given) == 0, sketch.most, 0.0)
        j = int(np.argmax(open_ones))
        if open_ones[j] > max(sketch.n_rows, MOST_CODES):
            raise ValueError(
                f"Categories must be the codes 0, 1, 2, ..., but {sketch.names[j]} has {sketch.most[j]:g} in "
                f"{sketch.n_rows} rows: recode it, as by scikit-learn's OrdinalEncoder."
            )
        n_categories = tuple(n or int(max(code, 0)) + 1 for n, code in zip(given, sketch.most, strict=True))
        absent = [
            () if given[j] else tuple(np.setdiff1d(np.arange(n), sketch.seen(j)).tolist())
            for j, n in enumerate(n_categories)
        ]
        return replace(self, n_categories=n_categories, absent=tuple(absent))

    @property
    def support(self) -> str:  # type: ignore[override]
        """What the observations must be, in words."""
        if not self.n_categories:
            return "the codes 0, 1, 2 and so on of categories"
        most = max(self.n_categories) - 1
        return f"the codes 0 to {most}" + (" (fewer in some columns)" if min(self.n_categories) <= most else "")

    @property
    def spaces(self) -> Any:
        return CategoricalParams(tuple(Simplex() for _ in self.n_categories))  # type: ignore[misc]

    def side_by_side(self, n_fits: int) -> Categorical | None:
        return self if self.concentration == 1.0 else None  # a prior is one of each fit

    def floats_per_row(self, n_components: int, d: int) -> int:
        return 4 * n_components + 2 * sum(self.n_categories)

    def statistics(self, batch: Batch) -> FloatArray:
        codes = [x == np.arange(n)[:, None] for x, n in zip(batch.x, self.n_categories, strict=True)]
        T = np.vstack([counted(batch) > 0, *codes])
        return T.astype(np.float64)

    def beyond(self, batch: Batch) -> NDArray[np.bool_] | None:
        """Which observations (m,) are of a category that is none of these; None for none."""

        def find() -> NDArray[np.bool_] | None:
            beyond = np.asarray((batch.x >= np.array(self.n_categories)[:, None]).any(axis=0))
            return beyond if beyond.any() else None

        found: NDArray[np.bool_] | None = batch.once((self.n_categories, "beyond"), find)
        return found

    def natural(self, params: CategoricalParams) -> FloatArray:
        every = np.concatenate(params.probabilities, axis=1)
        natural = np.zeros((len(every), 1 + every.shape[1]))
        with np.errstate(divide="ignore"):  # what has probability 0 is impossible
            np.log(every, out=natural[:, 1:])
        return natural

    def _prior(self, j: int, shape: tuple[int, ...], params: CategoricalParams | None) -> FloatArray | float:
        """What a Dirichlet prior adds to counts of a variable: nothing where a probability is 0 for good."""
        if self.concentration == 1.0:
            return 0.0
        c = self.concentration if isinstance(self.concentration, float) else np.array(self.concentration[j])
        added = np.broadcast_to(np.asarray(c) - 1.0, shape)
        if params is not None:
            return np.where(params.probabilities[j] > 0, added, 0.0)
        occurs = np.ones(shape[-1])
        occurs[list(self.absent[j]) if self.absent else []] = 0.0
        return added * occurs

    def maximize(self, totals: FloatArray, params: CategoricalParams | None = None) -> CategoricalParams:
        counts, ends = totals[:, 1:], np.cumsum([0, *self.n_categories])
        places = list(pairwise(ends.tolist()))
        if self.concentration != 1.0:
            shapes = [(len(counts), n) for n in self.n_categories]
            counts = counts + np.hstack([self._prior(j, shape, params) for j, shape in enumerate(shapes)])
        weight = np.add.reduceat(counts, ends[:-1], axis=1)
        empty = weight <= 0
        shares = counts / np.repeat(np.where(empty, 1.0, weight), self.n_categories, axis=1)
        probabilities = [shares[:, a:b] for a, b in places]
        for k, j in np.argwhere(empty):
            probabilities[j][k] = 1.0 / self.n_categories[j] if params is None else params.probabilities[j][k]
        return CategoricalParams(tuple(probabilities))

    def with_prior(self, named: Mapping[str, Any]) -> Categorical:
        (value,) = read_prior(self, named)
        if value is None or np.isscalar(value):
            return replace(self, concentration=one_concentration("concentration", value))
        by_column = [value] if np.isscalar(value[0]) else value
        names = [
            f"concentration[{j}]" if len(by_column) > 1 else "concentration" for j in range(len(by_column))
        ]
        given = [concentrations(name, own) for name, own in zip(names, by_column, strict=True)]
        n_categories = tuple(len(own) for own in given)
        known = self.n_categories or n_categories
        if len(known) != len(given) or any(n not in (0, m) for n, m in zip(known, n_categories, strict=True)):
            raise ValueError(
                f"concentration is of {n_categories} categories, but there are {self.n_categories}."
            )
        every = tuple(tuple(own.tolist()) for own in given)
        return replace(self, n_categories=n_categories, concentration=every)

    def log_prior(self, params: CategoricalParams) -> float:
        total = 0.0
        if self.concentration != 1.0:
            for j, p in enumerate(params.probabilities):
                total += float((self._prior(j, p.shape, params) * np.log(np.where(p > 0, p, 1.0))).sum())
        return total

    def embedding(self, batch: Batch) -> FloatArray:
        """Indicators of all categories (f, m), of missing entries how frequent each category is."""
        T = self.statistics(batch)[1:]
        if not has_gaps(batch):
            return T
        weight = np.ones(T.shape[1]) if batch.weight is None else batch.weight
        ends = np.cumsum([0, *self.n_categories])
        for x, (a, b) in zip(batch.x, pairwise(ends), strict=True):
            counts = T[a:b] @ weight
            T[a:b, np.isnan(x)] = (counts / max(counts.sum(), np.finfo(np.float64).tiny))[:, None]
        return T

    def is_possible(self, x: FloatArray, params: CategoricalParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are codes 0 ... n − 1; NaN counts as possible.

        With ``params``, a code to which no component gives a probability is not.
        """
        n = np.array(self.n_categories)[:, None]
        possible = (x >= 0) & (x < n) & (x == np.floor(x))
        if params is not None:
            codes = np.where(possible, x, 0).astype(np.intp)
            known = [p.max(axis=0)[row] > 0 for p, row in zip(params.probabilities, codes, strict=True)]
            possible &= np.array(known)
        return possible | np.isnan(x)

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are codes, be it of categories that there are not; NaN counts as one."""
        return ((x >= 0) & (x == np.floor(x))) | np.isnan(x)

    def category_probabilities(self, params: CategoricalParams) -> list[FloatArray | None]:
        return list(params.probabilities)

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> CategoricalParams:
        (given,) = take_fields(self, named, ("probabilities",))
        if not isinstance(given, (tuple, list)) or np.ndim(given[0]) == len(lead):  # one array, for one column
            given = [given]
        probabilities = []
        for j, of_column in enumerate(given):
            name = f"probabilities[{j}]" if len(given) > 1 else "probabilities"
            n = self.n_categories[j] if len(self.n_categories) == len(given) else None
            shares = read_shares(name, of_column, (*lead, n))
            probabilities.append(shares.reshape(-1, shares.shape[-1]))
        if self.n_categories and len(self.n_categories) != len(given):
            raise ValueError(
                f"probabilities has arrays for {len(given)} columns, but {self} is for "
                f"{len(self.n_categories)}."
            )
        return CategoricalParams(tuple(probabilities))

    def with_parameters(self, params: CategoricalParams) -> Categorical:
        return replace(self, n_categories=tuple(p.shape[1] for p in params.probabilities))

    def marginal(self, params: CategoricalParams, columns: NDArray[np.int_]) -> CategoricalParams:
        return CategoricalParams(tuple(params.probabilities[j] for j in columns))

    def of_some(self, columns: NDArray[np.int_]) -> Categorical:
        def some(of_all: Any) -> Any:
            return tuple(of_all[j] for j in columns) if isinstance(of_all, tuple) and of_all else of_all

        return replace(
            self,
            n_categories=some(self.n_categories),
            concentration=some(self.concentration),
            absent=some(self.absent),
        )

    def divergence(self, params: CategoricalParams, other: Emission, others: Any) -> FloatArray:
        if not isinstance(others, CategoricalParams) or len(others.probabilities) != len(params.probabilities):
            raise self.unlike(other)
        total = np.zeros((len(params.probabilities[0]), len(others.probabilities[0])))
        for p, q in zip(params.probabilities, others.probabilities, strict=True):
            both = min(p.shape[1], q.shape[1])  # codes that one of them never saw have no overlap
            overlap = np.sqrt(p[:, :both]) @ np.sqrt(q[:, :both]).T
            total -= np.log(np.clip(overlap, LEAST_OVERLAP, 1.0))
        return total

    def n_parameters(self, params: CategoricalParams) -> int:
        """Number of free parameters; those of codes that do not occur are none."""
        absent = list(map(len, self.absent)) if self.absent else [0] * len(params.probabilities)
        pairs = zip(params.probabilities, absent, strict=True)
        return sum(len(p) * max(p.shape[1] - n - 1, 0) for p, n in pairs)

    def sample(
        self, params: CategoricalParams, labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        u = rng.uniform(size=(len(labels), len(self.n_categories)))
        columns = [
            (np.cumsum(p, axis=1)[labels, :-1] < u[:, [j]]).sum(axis=1)
            for j, p in enumerate(params.probabilities)
        ]
        return np.column_stack(columns).astype(np.float64)
