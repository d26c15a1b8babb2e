"""Independent categorical variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    T(x) = (1, indicator of each category of each variable), natural parameters the log-probabilities.

    Parameters
    ----------
    n_categories : tuple of int, default=()
        Number of categories of each variable; observations are codes 0 ... n − 1. Empty: as the data have.
    """

    n_categories: tuple[int, ...] = ()

    def bound_to(self, sketch: Sketch) -> Categorical:
        """The family with as many categories as there are codes, where it does not say how many."""
        d = len(sketch.most)
        if self.n_categories:
            if len(self.n_categories) != d:
                raise ValueError(
                    f"emission={self} is for {len(self.n_categories)} columns, but X has {d} for it."
                )
            return self
        j = int(np.argmax(sketch.most))
        if sketch.most[j] > max(sketch.n_rows, MOST_CODES):
            raise ValueError(
                f"Categories must be the codes 0, 1, 2, ..., but {sketch.names[j]} has {sketch.most[j]:g} in "
                f"{sketch.n_rows} rows: recode it, as by scikit-learn's OrdinalEncoder."
            )
        return Categorical(tuple(int(max(code, 0)) + 1 for code in sketch.most))

    @property
    def support(self) -> str:  # type: ignore[override]
        """What the observations must be, in words."""
        most = max(self.n_categories) - 1
        return f"the codes 0 to {most}" + (" (fewer in some columns)" if min(self.n_categories) <= most else "")

    @property
    def spaces(self) -> Any:
        return CategoricalParams(tuple(Simplex() for _ in self.n_categories))  # type: ignore[misc]

    def side_by_side(self, n_fits: int) -> Categorical:
        return self

    def statistics(self, batch: Batch) -> FloatArray:
        codes = [x == np.arange(n)[:, None] for x, n in zip(batch.x, self.n_categories, strict=True)]
        T = np.vstack([np.ones((1, batch.x.shape[1]), dtype=bool), *codes])
        return T.astype(np.float64)

    def natural(self, params: CategoricalParams) -> FloatArray:
        # The smallest number's log stands in for -inf: in a matrix product, 0 · inf is NaN.
        tiny = np.finfo(np.float64).tiny
        logs = [np.log(np.maximum(p, tiny)) for p in params.probabilities]
        return np.hstack([np.zeros((logs[0].shape[0], 1)), *logs])

    def maximize(self, totals: FloatArray, params: CategoricalParams | None = None) -> CategoricalParams:
        ends = np.cumsum([1, *self.n_categories])
        probabilities = []
        for j, (a, b) in enumerate(pairwise(ends)):
            counts = totals[:, a:b]
            weight = counts.sum(axis=1, keepdims=True)
            kept = 1.0 / (b - a) if params is None else params.probabilities[j]
            with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0, replaced
                probabilities.append(np.where(weight > 0, counts / weight, kept))
        return CategoricalParams(tuple(probabilities))

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
        return Categorical(tuple(p.shape[1] for p in params.probabilities))

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
        """Number of free parameters."""
        return sum(p.shape[0] * (p.shape[1] - 1) for p in params.probabilities)

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
