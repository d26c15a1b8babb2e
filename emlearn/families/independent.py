r"""What families have in common whose columns are independent given the component.

Each entry x of a row has the density of an exponential family,

.. math:: \log p(x) = \sum_i \eta_i T_i(x) - A(\eta) + h(x),

in every column the same one, with parameters of its own. Entries that are missing are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch
from emlearn.em.spaces import Positive, Probability
from emlearn.em.trees import leaves
from emlearn.families import evidence
from emlearn.families.base import (
    Emission,
    ExponentialFamily,
    FloatArray,
    Sketch,
    counted,
    diagonal,
    filled,
    has_gaps,
    middle,
    observed,
    read_field,
    take_fields,
)

# With fewer rows a component is as narrow as can be, whatever they are.
LEAST_ROWS = 2
# No component is narrower: the shape of a gamma, α + β of a beta distribution, the concentration of angles.
MOST_NARROW = 1e6
LOST = 10 * float(np.finfo(np.float64).eps)  # of digits, where terms cancel
SLACK = 1e-9  # what is this near to the bound, relatively, rests there


class IndependentColumns(ExponentialFamily):
    r"""Base of families of independent columns: a subclass states the density of an entry, and its maximum.

    T(x) of a row is (1, :math:`T_1(x)`, ..., which entries are there), natural parameters are 0,
    :math:`\eta_1`, ..., and :math:`-A(\eta)`.

    Attributes
    ----------
    parameters : type
        NamedTuple of the parameters, each of shape (K, d).
    typical : float
        An entry that is possible: what is never seen has the parameters of this.
    """

    marginalises = True
    is_by_feature = True
    counts_entries = True
    parameters: ClassVar[Any]
    typical: ClassVar[float]

    def entry_statistics(self, x: FloatArray) -> tuple[FloatArray, ...]:
        """:math:`T_i(x)` of entries, each of the shape of x."""
        raise NotImplementedError

    def entry_natural(self, params: Any) -> tuple[FloatArray, ...]:
        """:math:`\\eta_i` of the parameters, each (K, d)."""
        raise NotImplementedError

    def log_partition(self, *natural: FloatArray) -> FloatArray:
        """:math:`A(\\eta)`, of the shape of each natural parameter."""
        raise NotImplementedError

    def estimate(self, *averages: FloatArray) -> Any:
        """Parameters of greatest likelihood from averages (K, d) of each :math:`T_i`."""
        raise NotImplementedError

    def variance(self, params: Any) -> FloatArray:
        """Variance of each column, (K, d)."""
        raise NotImplementedError

    def points(self, x: FloatArray) -> FloatArray:
        """Entries (d, m) as points for clustering, (f, m)."""
        raise NotImplementedError

    def side_by_side(self, n_fits: int) -> IndependentColumns:
        return self

    def size(self, d: int) -> int:
        """Number of parameters of a component of d columns."""
        return d * len(self.parameters._fields)

    def statistics(self, batch: Batch) -> FloatArray:
        parts = self.entry_statistics(batch.x)
        if not has_gaps(batch):
            return np.vstack([counted(batch), *parts])
        here = ~np.isnan(batch.x)
        return np.vstack([counted(batch), *(np.where(here, part, 0.0) for part in parts), here])

    def natural(self, params: Any) -> FloatArray:
        natural = self.entry_natural(params)
        constant = np.zeros((len(natural[0]), 1))
        return np.hstack([constant, *natural, -self.log_partition(*natural)])

    def maximize(self, totals: FloatArray, params: Any = None) -> Any:
        usual = self.entry_statistics(np.array(self.typical))
        *sums, weight = np.split(totals[:, 1:], len(usual) + 1, axis=1)
        empty = weight <= 0
        total = np.where(empty, 1.0, weight)
        new = self.estimate(*(np.where(empty, u, s / total) for u, s in zip(usual, sums, strict=True)))
        if params is None or not empty.any():
            return new
        return type(new)(*(np.where(empty, old, own) for old, own in zip(params, new, strict=True)))

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> Any:
        names = self.parameters._fields
        given = take_fields(self, named, names)
        shape: tuple[int | None, ...] = (*lead, None)
        arrays = []
        for name, value, space in zip(names, given, leaves(self.spaces), strict=True):
            array = read_field(name, value, shape)
            if isinstance(space, (Positive, Probability)) and not (array > 0).all():
                raise ValueError(f"{name} must be positive; the least is {array.min():.6g}.")
            if isinstance(space, Probability) and (array > 1).any():
                raise ValueError(f"{name} must be no more than 1; the largest is {array.max():.6g}.")
            shape = array.shape
            arrays.append(array.reshape(-1, array.shape[-1]))
        return self.parameters(*arrays)

    def divergence(self, params: Any, other: Emission, others: Any) -> FloatArray:
        r"""Bhattacharyya distances: those of :math:`A(\eta)` at the middle from its average at the ends."""
        if type(others) is not type(params) or others[0].shape[1] != params[0].shape[1]:
            raise self.unlike(other)
        here, there = self.entry_natural(params), self.entry_natural(others)
        between = self.log_partition(*(0.5 * (a[:, None] + b) for a, b in zip(here, there, strict=True)))
        ends = 0.5 * (self.log_partition(*here)[:, None] + self.log_partition(*there))
        return np.maximum(ends - between, 0.0).sum(axis=2)

    def n_parameters(self, params: Any) -> int:
        """Number of free parameters."""
        return sum(value.size for value in params)

    def n_held(self, params: Any, names: tuple[str, ...]) -> int:
        return sum(getattr(params, name).size for name in names)

    def covariance(self, params: Any) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return diagonal(self.variance(params))

    def embedding(self, batch: Batch) -> FloatArray:
        """Entries as points, missing ones in the middle of the others, (f, m)."""
        points = batch.mapped((type(self), "points"), self.points)
        return filled(points, middle(points))


@dataclass(frozen=True)
class BoundedColumns(IndependentColumns):
    """Base of families of which a component of one value would be infinitely narrow, its likelihood infinite.

    Some parameters add up to how narrow a component is, and that has a bound: `MOST_NARROW`, or, where values
    are recorded in steps, what does not undercut half a step. What a narrow component owes to luck is a
    handicap, as of Gaussians (`emlearn.families.evidence`).

    Parameters
    ----------
    most : ndarray of shape (d,), default=None
        How narrow components may be. `bound_to` finds it.

    Attributes
    ----------
    narrow : tuple of str
        Names of the parameters that add up to how narrow a component is.
    """

    most: FloatArray | None = field(default=None, compare=False, repr=False)

    narrow: ClassVar[tuple[str, ...]]

    @property
    def floored(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the parameters that the bound is of."""
        return self.narrow

    def most_narrow(self, mean: FloatArray, variance: FloatArray) -> FloatArray:
        """How narrow components of these means and variances are, (d,)."""
        raise NotImplementedError

    def spread(self, params: Any) -> FloatArray:
        """Variances (K, d) on a scale where no unit of measurement matters: how components differ in width."""
        raise NotImplementedError

    def bound_to(self, sketch: Sketch) -> BoundedColumns:
        """The family, knowing in which steps columns are recorded."""
        batch = observed(sketch.some)
        hidden = evidence.hidden(batch, sketch.size)
        steps = hidden > 0
        by_steps = self.most_narrow(middle(batch)[:, 0], np.where(steps, hidden, 1.0))
        return replace(self, most=np.where(steps, np.clip(by_steps, 1.0, MOST_NARROW), MOST_NARROW))

    def of_some(self, columns: NDArray[np.int_]) -> BoundedColumns:
        return self if self.most is None else replace(self, most=self.most[columns])

    @property
    def limit(self) -> FloatArray:
        """How narrow components may be, (d,) or a number."""
        return np.asarray(MOST_NARROW if self.most is None else self.most)

    @property
    def rounding(self) -> float:
        # Terms of a log-density are as large as that, and cancel.
        return max(1e-10, LOST * float(self.limit.max()))

    def _narrowness(self, params: Any) -> FloatArray:
        return np.asarray(sum(getattr(params, name) for name in self.narrow))

    def resting(self, params: Any) -> NDArray[np.bool_] | None:
        """Coordinates of parameters that are as narrow as may be; None for none."""
        at_most = self._narrowness(params) >= self.limit * (1.0 - SLACK)
        if not at_most.any():
            return None
        return np.concatenate([(at_most & (name in self.narrow)).ravel() for name in params._fields])

    def nearest_legal(self, params: Any) -> Any:
        """Parameters with what is too narrow as narrow as may be."""
        share = np.minimum(self.limit / self._narrowness(params), 1.0)
        return params._replace(**{name: getattr(params, name) * share for name in self.narrow})

    def handicap(self, params: Any, stats: FloatArray) -> float:
        spread, weight = self.spread(params), stats[:, 0]
        if len(spread) == 1:
            return 0.0
        divergence = evidence.divergence(spread / (weight / weight.sum() @ spread)).sum(axis=1)
        return evidence.handicap(divergence, weight, spread.shape[1], LEAST_ROWS)


class PositiveColumns(IndependentColumns):
    """Base of families of columns of positive numbers, which say by themselves in which unit they are."""

    support = "positive numbers"
    typical = 1.0

    def points(self, x: FloatArray) -> FloatArray:
        return np.log(x)

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are positive; NaN counts as possible."""
        return (x > 0) | np.isnan(x)


def positive_means(means: FloatArray) -> FloatArray:
    """Means (K, d) to start from, which must be positive."""
    if not (means > 0).all():
        raise ValueError(f"Means to start from must be positive; the least is {means.min():.6g}.")
    return means
