r"""What all exponential families share.

.. math:: \log p(x \mid k) = \eta_k \cdot T(x) - A(\eta_k) + h(x)

The first row of T(x) is the constant 1, and the first column of the natural parameters holds
:math:`-A(\eta_k)`. All K log-densities of a batch are then one matrix product, and all expected sufficient
statistics of all components are one more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Family, Observed
from emlearn.em.parametric import Wrapper
from emlearn.em.trees import tree_map

FloatArray = NDArray[np.float64]


class Sketch(NamedTuple):
    """What a family may want to know of the data before a fit."""

    some: Batch  # rows, in the engine's units: all of them, or an even part
    most: FloatArray  # (d,) largest value of each feature, over all rows that count
    n_rows: int  # how many rows count
    names: tuple[str, ...]  # of the features, for messages

    def of(self, columns: Sequence[int]) -> Sketch:
        """The sketch of some of the features."""
        chosen = list(columns)
        some = self.some.part(("columns", *chosen), slice(None), chosen)
        return Sketch(some, self.most[chosen], self.n_rows, tuple(self.names[j] for j in chosen))


class Emission(Family):
    """What every family here offers beside what the engine asks of it.

    Attributes
    ----------
    support : str
        What the observations must be, in words.
    marginalises : bool
        Whether entries of an observation may be missing.
    is_unimodal : bool
        Whether the likelihood of one component has one maximum, so that one start is enough.
    """

    support: str = "finite numbers"
    marginalises: bool = False
    is_unimodal: bool = True

    def n_parameters(self, params: Any) -> int:
        """Number of free parameters."""
        raise NotImplementedError

    def sample(self, params: Any, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        raise NotImplementedError

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations as points for clustering, (f, m), never NaN; not to be written to."""
        raise NotImplementedError

    @property
    def has_moments(self) -> bool:
        """Whether observations are numbers, with `mean` and `covariance`, and not codes."""
        return isinstance(self, Numeric)

    def bound_to(self, sketch: Sketch) -> Emission:
        """The family, knowing of the data what it has to: number of categories, what lies on the floor, ..."""
        return self

    def forced_columns(self) -> tuple[int, ...]:
        """Features that the data, once bound to them, force onto a constraint: constant or collinear ones."""
        return ()

    def units(self, variances: FloatArray) -> FloatArray:
        """Scale (d,) that features can be freed of, from their variances; NaN for counts and codes."""
        return np.full(len(variances), np.nan)

    def in_units(self, params: Any, units: Affine) -> Any:
        """Parameters of the data before it was brought to ``units``.

        Counts and codes have no units (shift 0 and scale 1), and their parameters stay as they are.
        """
        return params

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) the family has a density for; NaN counts as possible.

        With ``params``, entries to which no component gives a density are impossible too.
        """
        return np.ones(x.shape, dtype=bool)

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        """Parameters with the components in another order."""
        return tree_map(lambda leaf: leaf[order], params)

    def fields(self, params: Any, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the parameters by name, the axis of components in the shape ``lead``."""
        copies = tree_map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]).copy(), params)
        named: dict[str, Any] = copies._asdict()
        return named

    def with_means(self, params: Any, means: FloatArray) -> Any:
        """Parameters with the means (K, d) moved, all else as it is."""
        raise ValueError(f"{type(self).__name__} has no means to start from.")

    def nearest_legal(self, params: Any) -> Any:
        """Parameters brought within the family's constraints."""
        return params


@runtime_checkable
class Numeric(Protocol):
    """A family whose observations are numbers, and not codes."""

    def mean(self, params: Any) -> FloatArray:
        """Mean of each component, (K, d)."""
        ...

    def covariance(self, params: Any) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        ...


class Completion(NamedTuple):
    """What observations say of their own missing entries, component by component."""

    log_prob: FloatArray  # (K, m) log-density of what is observed
    mean: Callable[[int], FloatArray]  # k -> (d, m), missing entries at their conditional means
    variance: Callable[[int], FloatArray]  # k -> (d, m) their conditional variances, 0 elsewhere


def numeric(family: Emission) -> Numeric:
    """``family``, of which it is known, or for the caller to find out, that it has moments."""
    return cast(Numeric, family)


@dataclass(frozen=True)
class WrappedFamily(Wrapper, Emission):
    """A family that is another one but for what a subclass says otherwise, with the parameters of that.

    Parameters
    ----------
    family : Emission
        The other one.
    """

    family: Emission

    @property
    def _parts(self) -> tuple[Any, ...]:
        return (self.family,)

    @property
    def support(self) -> str:  # type: ignore[override]
        return self.family.support

    @property
    def marginalises(self) -> bool:  # type: ignore[override]
        return self.family.marginalises

    @property
    def is_unimodal(self) -> bool:  # type: ignore[override]
        return self.family.is_unimodal

    @property
    def has_moments(self) -> bool:
        return self.family.has_moments

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        return self.family.density(params)

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        return self.family.start(batch, resp, rng)

    def bound_to(self, sketch: Sketch) -> Emission:
        return replace(self, family=self.family.bound_to(sketch))

    def n_parameters(self, params: Any) -> int:
        return self.family.n_parameters(params)

    def sample(self, params: Any, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        return self.family.sample(params, labels, rng)

    def embedding(self, batch: Batch) -> FloatArray:
        return self.family.embedding(batch)

    def forced_columns(self) -> tuple[int, ...]:
        return self.family.forced_columns()

    def units(self, variances: FloatArray) -> FloatArray:
        return self.family.units(variances)

    def in_units(self, params: Any, units: Affine) -> Any:
        return self.family.in_units(params, units)

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        return self.family.is_possible(x, params)

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        return self.family.reorder(params, order)

    def fields(self, params: Any, lead: tuple[int, ...]) -> dict[str, Any]:
        return self.family.fields(params, lead)

    def with_means(self, params: Any, means: FloatArray) -> Any:
        return self.family.with_means(params, means)

    def nearest_legal(self, params: Any) -> Any:
        return self.family.nearest_legal(params)

    def mean(self, params: Any) -> FloatArray:
        """Mean of each component, (K, d)."""
        return numeric(self.family).mean(params)

    def covariance(self, params: Any) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return numeric(self.family).covariance(params)


class ExponentialFamily(Emission):
    """Base of exponential families: a subclass states `statistics`, `natural` and `maximize`."""

    def statistics(self, batch: Batch) -> FloatArray:
        """Sufficient statistics T(x) of shape (F, m), the first row 1."""
        raise NotImplementedError

    def natural(self, params: Any) -> FloatArray:
        """Natural parameters of shape (K, F), the first column −A."""
        raise NotImplementedError

    def maximize(self, totals: FloatArray, params: Any = None) -> Any:
        """Parameters from totals Σ r T(x) of shape (K, F)."""
        raise NotImplementedError

    def base_measure(self, batch: Batch) -> FloatArray | float:
        """Log base measure h(x), per observation (m,), or 0."""
        return 0.0

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        natural = self.natural(params)

        def observe(batch: Batch) -> Observed:
            T = batch.once((self, "statistics"), lambda: self.statistics(batch))
            shared = batch.once((self, "base"), lambda: batch.sum(self.base_measure(batch)))
            return Observed(
                log_prob=linear_forms(natural, T),
                shared=shared,
                totals=lambda resp: resp @ T.T,
                shared_log_prob=lambda: self.base_measure(batch),
            )

        return observe

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        """Parameters from weighted responsibilities (K, m)."""
        return self.maximize(resp @ self.statistics(batch).T)

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations as points for clustering, (f, m), never NaN; not to be written to."""
        return self.statistics(batch)[1:]


def linear_forms(natural: FloatArray, T: FloatArray) -> FloatArray:
    """``natural @ T``, the way round that is faster: BLAS packs a long T better when it stands first."""
    if len(T) < 300:
        return natural @ T
    return np.ascontiguousarray((T.T @ np.ascontiguousarray(natural.T)).T)


def mean_or_kept(sums: FloatArray, weight: FloatArray, kept: FloatArray | None) -> FloatArray:
    """Σ r x / Σ r per component; a component without weight keeps its value, 0 if it has none yet."""
    empty = weight <= 0
    mean = sums / np.where(empty, 1.0, weight)[:, None]
    if kept is not None and empty.any():
        mean[empty] = kept[empty]
    return mean


def available_mean(x: FloatArray, weight: FloatArray, otherwise: FloatArray | float) -> FloatArray:
    """Weighted means (K, d) of the entries of x (d, m) that are not NaN, ``otherwise`` where there are none."""
    present = ~np.isnan(x)
    total = weight @ present.T
    mean = np.empty_like(total)
    mean[...] = otherwise
    return np.divide(weight @ np.where(present, x, 0.0).T, total, out=mean, where=total > 0)


def conditional_moments(
    means: FloatArray, covariances: FloatArray, known: NDArray[np.int_], x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Means (n, K, q) and covariances (K, q, q) of Gaussians' other features, given the ``known`` x (n, p)."""
    others = np.setdiff1d(np.arange(means.shape[1]), known)
    cross = covariances[:, known[:, None], others]
    slopes = np.linalg.solve(covariances[:, known[:, None], known], cross).swapaxes(1, 2)
    centred = x[:, None, :] - means[:, known]
    conditional = means[:, others] + np.einsum("kqp,nkp->nkq", slopes, centred)
    return conditional, covariances[:, others[:, None], others] - slopes @ cross


def diagonal(variances: FloatArray) -> FloatArray:
    """Diagonal matrices (K, d, d) of variances (K, d)."""
    return variances[:, :, None] * np.eye(variances.shape[1])
