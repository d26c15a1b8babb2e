r"""What all exponential families share.

.. math:: \log p(x \mid k) = \eta_k \cdot T(x) - A(\eta_k) + h(x)

The first row of T(x) is the constant 1, and the first column of the natural parameters holds
:math:`-A(\eta_k)`. All K log-densities of a batch are then one matrix product, and all expected sufficient
statistics of all components are one more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Family, Observed
from emlearn.em.parametric import Wrapper
from emlearn.em.spaces import Fixed
from emlearn.em.trees import leaves, tree_map

FloatArray = NDArray[np.float64]

# Probabilities that a user gives sum to 1 up to this.
SUM_TOLERANCE = 1e-6
# Added to variances of components that are compared, in units of all of them together.
ALMOST_SINGULAR = 1e-10
# The least overlap of two distributions that are compared: what is impossible in one of them counts as this.
LEAST_OVERLAP = 1e-100
# In a matrix product, where 0 · inf is NaN, this stands in for the logarithm of 0. No density is that small.
LOG_OF_ZERO = -1e200
# Log-density of what is next to impossible: about that of the least number.
LEAST_LOG = -708.0


class Sketch(NamedTuple):
    """What a family may want to know of the data before a fit."""

    some: Batch  # rows, in the engine's units: all of them, or an even part
    most: FloatArray  # (d,) largest value of each feature, over all rows that count
    n_rows: int  # how many rows count
    size: float  # how many observations they stand for
    names: tuple[str, ...]  # of the features, for messages
    entries: Callable[[int], FloatArray] | None = None  # j -> (n,) of all rows that count; None: as in `some`

    def of(self, columns: Sequence[int]) -> Sketch:
        """The sketch of some of the features."""
        chosen, entries = list(columns), self.entries
        some = self.some.part(("columns", *chosen), slice(None), chosen)
        names = tuple(self.names[j] for j in chosen)
        of_chosen = None if entries is None else lambda j: entries(chosen[j])
        return Sketch(some, self.most[chosen], self.n_rows, self.size, names, of_chosen)

    def seen(self, j: int) -> FloatArray:
        """What is observed of a feature, each value once, in ascending order."""
        entries = self.some.x[j] if self.entries is None else self.entries(j)
        return np.unique(entries[~np.isnan(entries)]).astype(np.float64)


class Emission(Family):
    """What every family here offers beside what the engine asks of it.

    Attributes
    ----------
    support : str
        What the observations must be, in words.
    marginalises : bool
        Whether entries of an observation may be missing.
    observes : str
        Whether observations are "numbers", "counts" (0, 1, 2, ...) or "codes" of categories.
    is_unimodal : bool
        Whether the likelihood of one component has one maximum, so that one start is enough.
    derived : tuple of str
        Names in `fields` of what follows from the others.
    floored : tuple of str
        Names of the parameters that a floor bounds.
    prior_names : tuple of str
        Names of the concentrations that `with_prior` takes.
    n_others : int
        How many components stand after those that have parameters, and have none.
    is_by_feature : bool
        Whether features are independent given the component, each with parameters along their second axis.
    is_placed : bool
        Whether a component is where its mean is, so that it can begin at any row: it then has `shrunk` too.
    pooled : Emission or None
        The family in which components share what is a matrix each here; None where there is none, or they do.
    """

    support: str = "finite numbers"
    marginalises: bool = False
    observes: str = "numbers"
    is_unimodal: bool = True
    derived: tuple[str, ...] = ()
    floored: tuple[str, ...] = ()
    prior_names: tuple[str, ...] = ()
    n_others: int = 0
    is_by_feature: bool = False
    is_placed: bool = False

    @property
    def pooled(self) -> Emission | None:
        return None

    def size(self, d: int) -> int:
        """About how many parameters a component of d features has, as far as a family knows before a fit."""
        return d

    def floats_per_row(self, n_components: int, d: int) -> int:
        """About how many numbers an E-step works on per observation of d features."""
        return 4 * n_components + 4 * d

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

    def beside_others(self) -> Emission:
        """The family where responsibilities of its components do not add up to 1."""
        return self

    def bound_to(self, sketch: Sketch) -> Emission:
        """The family, knowing of the data what it has to: number of categories, what lies on the floor, ..."""
        return self

    def with_prior(self, named: Mapping[str, Any]) -> Emission:
        """The family with a prior of its parameters, by the names of what it counts.

        Raises
        ------
        ValueError
            If there is none by a name, or it has no maximum.
        """
        raise ValueError(
            f"{type(self).__name__} takes no prior in a fit of greatest posterior density: only families of "
            "probabilities do."
        )

    def forced_columns(self) -> tuple[int, ...]:
        """Features that the data, once bound to them, force onto a constraint: constant or collinear ones."""
        return ()

    def on_floor(self, params: Any) -> NDArray[np.bool_]:
        """Which components rest on a floor that data do not force them to, (K,); (1,) where they share it."""
        return np.zeros(1, dtype=bool)

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

    def possible_rows(self, x: Any, params: Any = None) -> NDArray[np.bool_]:
        """Which rows of a sparse batch x (d, m) the family has a density for, see `takes_sparse`; NaN is none.

        That of entries independent of one another, of which all but 0 are possible where 1 is.
        """
        if params is None:
            fine = np.isfinite(x.data) & self.is_possible(x.data[None])[0]
            row = np.repeat(np.arange(x.shape[1]), np.diff(x.indptr))
            return np.asarray(np.bincount(row, ~fine, x.shape[1]) == 0)
        may_be_0, may_be_1 = self.is_possible(np.tile([0.0, 1.0], (x.shape[0], 1)), params).T
        ones = x.astype(bool).astype(np.float64)
        against = np.count_nonzero(~may_be_0) + ones.T @ (may_be_0 * 1.0 - may_be_1)
        return np.asarray(against <= 0)

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are of the kind that is observed, be it never: NaN counts as such.

        What is of this kind but not possible has the log-density -inf; what is not is a user's mistake.
        """
        return self.is_possible(x)

    def tails(self, params: Any, x: FloatArray) -> FloatArray:
        """P(X < x), P(X <= x), P(X >= x) and P(X > x) of entries x (d, m) one by one, (4, K, d, m).

        NaN of entries that are missing, and of what has no order: codes, angles, directions.

        Raises
        ------
        ValueError
            If the family does not state them.
        """
        if self.observes == "numbers":
            raise ValueError(f"{type(self).__name__} states no `tails`, of which pseudo-residuals are made.")
        return self.without_tails(params, x)

    @staticmethod
    def without_tails(params: Any, x: FloatArray) -> FloatArray:
        """The `tails` of what has no order."""
        return np.full((4, len(leaves(params)[0]), *x.shape), np.nan)

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        """Parameters with the components in another order."""
        return tree_map(lambda leaf: leaf[order], params)

    def fields(self, params: Any, lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the parameters by name, the axis of components in the shape ``lead``."""
        copies = tree_map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]).copy(), params)
        named: dict[str, Any] = copies._asdict()
        return named

    def category_probabilities(self, params: Any) -> list[FloatArray | None]:
        """Probabilities (K, ..., n_categories) of the categories of each feature, None of what has none.

        Features at the end that have none may be left out.
        """
        return []

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> Any:
        """Parameters from arrays by the names, and of the shapes, under which `fields` gives them.

        Raises
        ------
        ValueError
            If a name is missing or not one of them, or an array is not what it has to be.
        """
        raise ValueError(
            f"{type(self).__name__} states no `from_fields`: it cannot be made of parameters by name."
        )

    def with_parameters(self, params: Any) -> Emission:
        """The family that has these parameters: with as many categories, factors or members as they have."""
        return self

    def held(self, names: tuple[str, ...], params: Any) -> Emission:
        """The family with the parameters of these names held where they are; ``params`` shows which there are.

        Raises
        ------
        ValueError
            If there is no M-step for what is left.
        """
        rest = [name for name in getattr(params, "_fields", ()) if name not in names]
        if rest:
            raise ValueError(f"{type(self).__name__} has no M-step for {' and '.join(rest)} alone.")
        return Held(self, names)

    def maximize_held(self, totals: Any, params: Any, names: tuple[str, ...]) -> Any:
        """M-step in which the parameters of these names stay as they are."""
        return keep(self.maximize(totals, params), params, names)

    def n_held(self, params: Any, names: tuple[str, ...]) -> int:
        """How many free parameters those of these names would be."""
        return self.n_parameters(params)

    def marginal(self, params: Any, columns: NDArray[np.int_]) -> Any:
        """Parameters of the distribution of some features, which is one of `of_some`.

        Raises
        ------
        ValueError
            If it is of no family.
        """
        if not self.is_by_feature:
            raise ValueError(f"Some features of {type(self).__name__} have a distribution of another kind.")
        return tree_map(lambda leaf: leaf[:, columns], params)

    def of_some(self, columns: NDArray[np.int_]) -> Emission:
        """The family of some of the features."""
        return self

    def divergence(self, params: Any, other: Emission, others: Any) -> FloatArray:
        """Bhattacharyya distances (K, L) of these components from those of another family.

        Where a family does not say otherwise, those of Gaussians with the components' means and covariances.

        Raises
        ------
        ValueError
            If the two families are about different things.
        """
        other = unwrapped(other)
        if not (self.has_moments and other.has_moments):
            raise self.unlike(other)
        means, means_there = numeric(self).mean(params), numeric(other).mean(others)
        every = np.ones(means.shape[1])
        counts, counts_there = np.isnan(self.units(every)), np.isnan(other.units(every))
        if means.shape[1] != means_there.shape[1] or (counts != counts_there).any():
            raise self.unlike(other)
        return gaussian_divergence(means, self.bulk(params), means_there, other.bulk(others))

    def bulk(self, params: Any) -> FloatArray:
        """Finite covariance matrices (K, d, d) by which components of numbers are compared."""
        return numeric(self).covariance(params)

    def unlike(self, other: Emission) -> ValueError:
        """The error that says that components of two families cannot be compared."""
        kinds = type(self).__name__, type(unwrapped(other)).__name__
        return ValueError(f"components of {kinds[0]} cannot be compared with those of {kinds[1]}, as they are.")

    def with_means(self, params: Any, means: FloatArray) -> Any:
        """Parameters with the means (K, d) moved, all else as it is."""
        raise ValueError(f"{type(self).__name__} has no means to start from.")

    def widened(self, params: Any, factors: FloatArray) -> Any:
        """Parameters with variances multiplied by factors (K,), where components have any of their own."""
        return params

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
    def takes_sparse(self) -> bool:  # type: ignore[override]
        return self.family.takes_sparse

    @property
    def observes(self) -> str:  # type: ignore[override]
        return self.family.observes

    @property
    def is_unimodal(self) -> bool:  # type: ignore[override]
        return self.family.is_unimodal

    @property
    def n_others(self) -> int:  # type: ignore[override]
        return self.family.n_others

    @property
    def pooled(self) -> Emission | None:
        return None if self.family.pooled is None else replace(self, family=self.family.pooled)

    def side_by_side(self, n_fits: int) -> Emission | None:
        family = cast("Emission | None", self.family.side_by_side(n_fits))
        return None if family is None else replace(self, family=family)

    @property
    def has_moments(self) -> bool:
        return self.family.has_moments

    def category_probabilities(self, params: Any) -> list[FloatArray | None]:
        return self.family.category_probabilities(params)

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        return self.family.density(params)

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        return self.family.start(batch, resp, rng)

    def beside_others(self) -> Emission:
        return replace(self, family=self.family.beside_others())

    def bound_to(self, sketch: Sketch) -> Emission:
        return replace(self, family=self.family.bound_to(sketch))

    def with_prior(self, named: Mapping[str, Any]) -> Emission:
        return replace(self, family=self.family.with_prior(named))

    def size(self, d: int) -> int:
        return self.family.size(d)

    def floats_per_row(self, n_components: int, d: int) -> int:
        return self.family.floats_per_row(n_components, d)

    def n_parameters(self, params: Any) -> int:
        return self.family.n_parameters(params)

    def sample(self, params: Any, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        return self.family.sample(params, labels, rng)

    def embedding(self, batch: Batch) -> FloatArray:
        return self.family.embedding(batch)

    def forced_columns(self) -> tuple[int, ...]:
        return self.family.forced_columns()

    def on_floor(self, params: Any) -> NDArray[np.bool_]:
        return self.family.on_floor(params)

    def units(self, variances: FloatArray) -> FloatArray:
        return self.family.units(variances)

    def in_units(self, params: Any, units: Affine) -> Any:
        return self.family.in_units(params, units)

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        return self.family.is_possible(x, params)

    def possible_rows(self, x: Any, params: Any = None) -> NDArray[np.bool_]:
        return self.family.possible_rows(x, params)

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        return self.family.is_observable(x)

    def tails(self, params: Any, x: FloatArray) -> FloatArray:
        return self.family.tails(params, x)

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        return self.family.reorder(params, order)

    def fields(self, params: Any, lead: tuple[int, ...]) -> dict[str, Any]:
        return self.family.fields(params, lead)

    @property
    def derived(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.family.derived

    @property
    def floored(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.family.floored

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> Any:
        return self.family.from_fields(named, lead)

    def with_parameters(self, params: Any) -> Emission:
        return replace(self, family=self.family.with_parameters(params))

    def held(self, names: tuple[str, ...], params: Any) -> Emission:
        return replace(self, family=self.family.held(names, params))

    def maximize_held(self, totals: Any, params: Any, names: tuple[str, ...]) -> Any:
        return self.family.maximize_held(totals, params, names)

    def n_held(self, params: Any, names: tuple[str, ...]) -> int:
        return self.family.n_held(params, names)

    @property
    def is_by_feature(self) -> bool:  # type: ignore[override]
        return self.family.is_by_feature

    def marginal(self, params: Any, columns: NDArray[np.int_]) -> Any:
        return self.family.marginal(params, columns)

    def of_some(self, columns: NDArray[np.int_]) -> Emission:
        return replace(self, family=self.family.of_some(columns))

    def divergence(self, params: Any, other: Emission, others: Any) -> FloatArray:
        return self.family.divergence(params, other, others)

    def with_means(self, params: Any, means: FloatArray) -> Any:
        return self.family.with_means(params, means)

    def widened(self, params: Any, factors: FloatArray) -> Any:
        return self.family.widened(params, factors)

    def nearest_legal(self, params: Any) -> Any:
        return self.family.nearest_legal(params)

    def mean(self, params: Any) -> FloatArray:
        """Mean of each component, (K, d)."""
        return numeric(self.family).mean(params)

    def covariance(self, params: Any) -> FloatArray:
        """Covariance matrix of each component, (K, d, d)."""
        return numeric(self.family).covariance(params)


@dataclass(frozen=True)
class Held(WrappedFamily):
    """A family some of whose parameters stay where they are.

    Parameters
    ----------
    family : Emission
        The family, with an M-step for what is not held (`Emission.maximize_held`).
    names : tuple of str
        Which parameters are held, by the names that they have in `Emission.fields`.
    """

    family: Emission
    names: tuple[str, ...]

    @property
    def spaces(self) -> Any:
        return keep(self.family.spaces, None, self.names, lambda space, _: Fixed())

    def maximize(self, totals: Any, params: Any) -> Any:
        """Parameters from Σ r T(x), those that are held as they were."""
        return self.family.maximize_held(totals, params, self.names)

    def shortened(self, stats: Any, params: Any, attempt: int) -> Any:
        step = self.family.shortened(stats, params, attempt)
        return None if step is None else keep(step, params, self.names)

    def nearest_legal(self, params: Any) -> Any:
        """Parameters that are free brought within the family's constraints."""
        return keep(self.family.nearest_legal(params), params, self.names)

    @property
    def _holds_floored(self) -> bool:
        """Whether nothing that is free is bounded by a floor."""
        return set(self.floored) <= set(self.names)

    def handicap(self, params: Any, stats: Any) -> float:
        return 0.0 if self._holds_floored else self.family.handicap(params, stats)

    def resting(self, params: Any) -> NDArray[np.bool_] | None:
        resting = None if self._holds_floored else self.family.resting(params)
        if resting is None:
            return None
        pairs = zip(leaves(self.family.spaces), leaves(self.spaces), leaves(params), strict=True)
        free = [np.full(inner.n_coordinates(p), not isinstance(own, Fixed)) for inner, own, p in pairs]
        return resting[np.concatenate(free)]

    def without_flat(self, params: Any) -> None:
        """None: what is held has no coordinates."""
        return None

    def n_parameters(self, params: Any) -> int:
        """Number of parameters that are not held."""
        return self.family.n_parameters(params) - self.family.n_held(params, self.names)


@dataclass(frozen=True)
class HardlyImpossible(WrappedFamily):
    """A family to which what has no density is not impossible, but next to it.

    For streams: a zero that a fit found in the first rows must not keep it from learning from later ones.
    """

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        inner = self.family.density(params)

        def observe(batch: Batch) -> Observed:
            seen = inner(batch)
            np.putmask(seen.log_prob, seen.log_prob == -np.inf, LEAST_LOG)
            return seen

        return observe


def keep(
    new: Any, old: Any, names: tuple[str, ...], take: Callable[[Any, Any], Any] = lambda _, old: old
) -> Any:
    """The tree ``new`` with what has one of these names, however deep, as in ``old``: ``take`` leaf by leaf."""
    if not hasattr(new, "_fields"):
        return new
    before = new if old is None else old
    parts = zip(new._fields, new, before, strict=True)
    return type(new)(
        *(tree_map(take, a, b) if name in names else keep(a, b, names, take) for name, a, b in parts)
    )


def unwrapped(family: Emission) -> Emission:
    """The family within all wrappers."""
    return unwrapped(family.family) if isinstance(family, WrappedFamily) else family


def take_fields(
    family: Emission, named: Mapping[str, Any], needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[Any]:
    """What a user gave under the names that are needed, in their order; others are refused."""
    known = f"the parameters of {type(family).__name__} are {', '.join(needed)}"
    for name in named:
        if name not in needed + optional:
            raise ValueError(f"{name} is no parameter here: {known}.")
    missing = [name for name in needed if named.get(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given: {known}.")
    return [named[name] for name in needed]


def read_field(name: str, value: Any, shape: tuple[int | None, ...]) -> FloatArray:
    """Finite numbers of a shape, in which None is any length, from what a user gave as ``name``; a copy."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, but is {value!r}.") from None
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape) + "," * (len(shape) == 1)
        raise ValueError(f"{name} has shape {array.shape}; expected ({expected}).")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity: every entry must be finite.")
    return array


def read_prior(family: Emission, named: Mapping[str, Any]) -> list[Any]:
    """Concentrations by a family's `prior_names`, None where one is not given; others are refused."""
    known = family.prior_names
    for name in named:
        if name not in known:
            raise ValueError(
                f"{type(family).__name__} has no prior by the name {name!r}, but by {' and '.join(known)}."
            )
    return [named.get(name) for name in known]


def concentrations(name: str, value: Any) -> FloatArray:
    """Concentrations of priors from what a user gave, of any shape: at least 1."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, or an array of numbers, but is {value!r}.") from None
    bad = ~((array >= 1) & np.isfinite(array))
    if bad.any():
        raise ValueError(
            f"{name} holds {array[bad].min():.6g}: concentrations must be finite, and at least 1, or the "
            "posterior has no maximum."
        )
    return array


def one_concentration(name: str, value: Any) -> float:
    """One concentration, 1 for None."""
    array = concentrations(name, 1.0 if value is None else value)
    if array.ndim:
        raise ValueError(f"{name} must be one number, but has shape {array.shape}.")
    return float(array)


def read_shares(name: str, value: Any, shape: tuple[int | None, ...]) -> FloatArray:
    """Probabilities of sum 1 along the last axis, from what a user gave as ``name``."""
    shares = read_field(name, value, shape)
    if shares.size and shares.min() < 0:
        raise ValueError(f"{name} must hold probabilities, but its least entry is {shares.min():.6g}.")
    total = shares.sum(axis=-1, keepdims=True)
    worst = total.flat[np.argmax(np.abs(total - 1))]
    if abs(worst - 1) > SUM_TOLERANCE:
        what = "it sums" if shares.ndim == 1 else "a row sums"
        raise ValueError(f"{name} must sum to 1, but {what} to {worst:.6g}.")
    out: FloatArray = shares / total
    return out


def gaussian_divergence(
    means: FloatArray, covariances: FloatArray, means_there: FloatArray, covariances_there: FloatArray
) -> FloatArray:
    """Bhattacharyya distances (K, L) of K Gaussians from L others, by means and covariance matrices."""
    d = means.shape[1]
    every = np.concatenate([means, means_there])
    spread = np.diagonal(np.concatenate([covariances, covariances_there]), axis1=1, axis2=2).mean(axis=0)
    spread = np.sqrt(spread + every.var(axis=0))
    scale = np.where(spread > 0, spread, 1.0)
    a, b = (m / scale for m in (means, means_there))
    # In units of all components together; the last digits bear no matrix that is singular.
    S, T = (c / np.outer(scale, scale) + ALMOST_SINGULAR * np.eye(d) for c in (covariances, covariances_there))
    step = a[:, None] - b[None]
    both = 0.5 * (S[:, None] + T[None])
    lengths = np.einsum("kli,kli->kl", step, np.linalg.solve(both, step[..., None])[..., 0])
    log_det = np.linalg.slogdet(both)[1]
    return lengths / 8 + 0.5 * log_det - 0.25 * (np.linalg.slogdet(S)[1][:, None] + np.linalg.slogdet(T)[1])


class ExponentialFamily(Emission):
    """Base of exponential families: a subclass states `statistics`, `natural` and `maximize`.

    Attributes
    ----------
    counts_entries : bool
        Whether the last d rows of T(x) say which of the d entries are there, 1 or 0. Of a batch without gaps
        they are left out, and `statistics` is shorter.
    """

    counts_entries: bool = False

    def statistics(self, batch: Batch) -> Any:
        """Sufficient statistics T(x) of shape (F, m), the first row 1, as an array or `SparseStatistics`."""
        raise NotImplementedError

    def natural(self, params: Any) -> FloatArray:
        """Natural parameters of shape (K, F), the first column −A; -inf where T(x) > 0 is impossible."""
        raise NotImplementedError

    def maximize(self, totals: FloatArray, params: Any = None) -> Any:
        """Parameters from totals Σ r T(x) of shape (K, F)."""
        raise NotImplementedError

    def base_measure(self, batch: Batch) -> FloatArray | float:
        """Log base measure h(x), per observation (m,), or 0."""
        return 0.0

    def beyond(self, batch: Batch) -> NDArray[np.bool_] | None:
        """Which observations (m,) have no density whatever the parameters; None for none."""
        return None

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        natural = self.natural(params)
        has_zeros = bool((natural == -np.inf).any())
        if has_zeros:
            natural = np.maximum(natural, LOG_OF_ZERO)

        def observe(batch: Batch) -> Observed:
            T: Statistics = batch.once((self, "statistics"), lambda: self.statistics(batch))
            shared = batch.once((self, "base"), lambda: batch.sum(self.base_measure(batch)))
            log_prob = linear_forms(_of_complete(natural, len(T)), T)
            if has_zeros:
                np.putmask(log_prob, log_prob < 0.5 * LOG_OF_ZERO, -np.inf)
            beyond = self.beyond(batch)
            if beyond is not None:
                log_prob[:, beyond] = -np.inf
            return Observed(
                log_prob=log_prob,
                shared=shared,
                totals=lambda resp: _with_entries(totals_of(resp, T), natural.shape[1]),
                shared_log_prob=lambda: self.base_measure(batch),
            )

        return observe

    def expected_log_joint(self, stats: FloatArray, new: Any, old: Any) -> float | None:
        natural = self.natural(new)
        return float((stats * np.where(stats == 0, 0.0, natural)).sum())  # nothing of what is impossible

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        """Parameters from weighted responsibilities (K, m)."""
        T = self.statistics(batch)
        left_out = batch.x.shape[0] if self.counts_entries and not has_gaps(batch) else 0
        return self.maximize(_with_entries(totals_of(resp, T), len(T) + left_out))

    def embedding(self, batch: Batch) -> FloatArray:
        """The observations as points for clustering, (f, m), never NaN; not to be written to."""
        points: FloatArray = self.statistics(batch)[1:]
        return points


class SparseStatistics:
    """T(x) = (1, x) of a sparse batch, of which no more is held than the batch does."""

    def __init__(self, x: Any):
        self._x = x  # (d, m), by columns
        self.size = x.nnz

    def __len__(self) -> int:
        return int(self._x.shape[0]) + 1

    def forms(self, natural: FloatArray) -> FloatArray:
        """``natural @ T``, (K, m)."""
        by_rows = self._x.T @ np.ascontiguousarray(natural[:, 1:].T)
        return np.add(by_rows.T, natural[:, :1], order="C")

    def totals(self, resp: FloatArray) -> FloatArray:
        """``resp @ T.T``, (K, F)."""
        return np.hstack([resp.sum(axis=1, keepdims=True), (self._x @ np.ascontiguousarray(resp.T)).T])


# OpenBLAS multiplies matrices without packing up to so many multiplications, thin ones twice as fast for it:
# columns are taken in runs that are no larger, unless these are shorter than that. Measured.
UNPACKED, SHORTEST_RUN, SHORTEST_RUN_OF_SUMS = 10**6, 128, 850


Statistics = FloatArray | SparseStatistics


def of_entries(batch: Batch) -> Statistics:
    """T(x) = (1, x), of a batch of which nothing is missing."""
    return SparseStatistics(batch.x) if batch.is_sparse else np.vstack([counted(batch), batch.x])


def totals_of(resp: FloatArray, T: Statistics) -> FloatArray:
    """``resp @ T.T``."""
    if isinstance(T, SparseStatistics):
        return T.totals(resp)
    runs = _runs(len(resp), T, SHORTEST_RUN_OF_SUMS)
    total: FloatArray = resp[:, runs[0]] @ T[:, runs[0]].T
    for run in runs[1:]:
        total += resp[:, run] @ T[:, run].T
    return total


def log_factorials(batch: Batch) -> FloatArray:
    """Σ log x! of the counts of each observation, (m,)."""
    if not batch.is_sparse:
        return np.asarray(gammaln(filled(batch) + 1.0).sum(axis=0))
    x: Any = batch.x
    return sums_over_features(with_entries(x, gammaln(x.data + 1.0)))  # that of 0 is 0


def with_entries(x: Any, data: FloatArray) -> Any:
    """A sparse array with other entries in the same places, of which there is no copy."""
    return type(x)((data, x.indices, x.indptr), shape=x.shape)


def sums_over_features(x: Any) -> FloatArray:
    """Σ x of each observation, (m,), of an array or a sparse one."""
    return np.asarray(x.sum(axis=0)).ravel()


def _of_complete(natural: FloatArray, n: int) -> FloatArray:
    """Natural parameters (K, n) of statistics without rows that say which entries are there: all are."""
    if natural.shape[1] == n:
        return natural
    short = natural[:, :n].copy()
    short[:, 0] += natural[:, n:].sum(axis=1)
    return short


def _with_entries(totals: FloatArray, n: int) -> FloatArray:
    """Totals (K, n), those of all entries in the place of rows that were left out: every entry was there."""
    left_out = n - totals.shape[1]
    return np.hstack([totals, np.repeat(totals[:, :1], left_out, axis=1)]) if left_out else totals


def has_gaps(batch: Batch) -> bool:
    """Whether any entry is missing."""
    found: bool = batch.once("gaps", lambda: bool(np.isnan(batch.x.sum())))
    return found


def observed(batch: Batch) -> Batch:
    """The observations of which anything is there."""
    return batch.part("observed", np.flatnonzero(~np.isnan(batch.x).all(axis=0)))


def counted(batch: Batch) -> FloatArray:
    """1 for every observation (m,) of which anything is there, 0 for others."""
    if not has_gaps(batch):
        return np.ones(batch.x.shape[1])
    return np.asarray(~np.isnan(batch.x).all(axis=0), dtype=np.float64)


def filled(batch: Batch, value: FloatArray | float = 0.0) -> FloatArray:
    """The entries (d, m), a value or one for each feature (d, 1) in the place of those that are missing."""
    return np.where(np.isnan(batch.x), value, batch.x) if has_gaps(batch) else batch.x


def middle(batch: Batch) -> FloatArray:
    """Weighted mean of the entries of each feature, (d, 1); 0 where there are none."""
    weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
    return available_mean(batch.x, weight[None], 0.0).T


def linear_forms(natural: FloatArray, T: Statistics) -> FloatArray:
    """``natural @ T``, the way that is fastest: BLAS packs a long T better when it stands first."""
    if isinstance(T, SparseStatistics):
        return T.forms(natural)
    runs = _runs(len(natural), T, SHORTEST_RUN)
    if len(runs) > 1:
        forms = np.empty((len(natural), T.shape[1]))
        for run in runs:
            np.matmul(natural, T[:, run], out=forms[:, run])
        return forms
    if len(T) < 300:
        return natural @ T
    return np.ascontiguousarray((T.T @ np.ascontiguousarray(natural.T)).T)


def _runs(n_components: int, T: FloatArray, shortest: int) -> list[slice]:
    """Columns in runs whose products BLAS does not pack; all in one where they would be too short."""
    F, m = T.shape
    longest = UNPACKED // max(n_components * F, 1)
    if m <= longest or longest < shortest:
        return [slice(0, m)]
    length = -(-m // -(-m // longest))
    return [slice(start, min(start + length, m)) for start in range(0, m, length)]


def mean_or_kept(sums: FloatArray, weight: FloatArray, kept: FloatArray | None) -> FloatArray:
    """Σ r x / Σ r, (K, d), by weights (K,) or (K, d); what has no weight keeps its value, 0 if it has none."""
    weight = weight[:, None] if weight.ndim == 1 else weight
    empty = np.broadcast_to(weight <= 0, sums.shape)
    mean = sums / np.where(weight <= 0, 1.0, weight)
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


def widths_apart(means: FloatArray) -> FloatArray:
    """Factors (K,) of variances that tell components apart whose means (K, d) are the same; 1 for all others.

    Components that begin the same stay the same: EM has no reason to part them.
    """
    factors = np.ones(len(means))
    _, group = np.unique(means, axis=0, return_inverse=True)
    for g in np.unique(group):
        same = np.flatnonzero(group.ravel() == g)
        factors[same] = 4.0 ** (np.arange(len(same)) - (len(same) - 1) / 2)
    return factors
