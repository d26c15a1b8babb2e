"""Several families side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.parametric import Composite
from emlearn.em.trees import leaves
from emlearn.families.base import Emission, FloatArray, Sketch, numeric, take_fields, unwrapped


@dataclass(frozen=True)
class Product(Composite, Emission):
    """Families that are independent given the component, each for some of the features.

    The parameters are a tuple of the parts' parameters, and so are the statistics.

    Parameters
    ----------
    parts : tuple of pairs (columns, family)
        The columns, a tuple of int, that each family is for. Every column belongs to one part.
    """

    parts: tuple[tuple[tuple[int, ...], Emission], ...]

    def __post_init__(self) -> None:
        columns = sorted(column for part, _ in self.parts for column in part)
        if not columns or columns != list(range(len(columns))):
            raise ValueError(f"Every column must belong to one part, but the parts have the columns {columns}.")

    @property
    def families(self) -> tuple[Emission, ...]:
        """The family of each part."""
        return tuple(family for _, family in self.parts)

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.families

    @property
    def n_features(self) -> int:
        """Number of columns of all parts."""
        return sum(len(columns) for columns, _ in self.parts)

    def _sub_batches(self, batch: Batch) -> Iterator[Batch]:
        for columns, _ in self.parts:
            yield batch.part(("columns", columns), slice(None), list(columns))

    def density(self, params: tuple[Any, ...]) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        densities = [family.density(p) for family, p in zip(self.families, params, strict=True)]

        def observe(batch: Batch) -> Observed:
            parts = zip(densities, self._sub_batches(batch), strict=True)
            seen = [density(part) for density, part in parts]
            log_prob = seen[0].log_prob
            for other in seen[1:]:
                log_prob += other.log_prob
            return Observed(
                log_prob,
                sum(part.shared for part in seen),
                lambda resp: tuple(part.totals(resp) for part in seen),
                lambda: sum(part.shared_log_prob() for part in seen),
            )

        return observe

    def maximize(self, totals: tuple[Any, ...], params: tuple[Any, ...]) -> tuple[Any, ...]:
        """Parameters from Σ r T(x)."""
        parts = zip(self.families, totals, params, strict=True)
        return tuple(family.maximize(t, p) for family, t, p in parts)

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> tuple[Any, ...]:
        """Parameters from weighted responsibilities (K, m)."""
        parts = zip(self.families, self._sub_batches(batch), strict=True)
        return tuple(family.start(part, resp, rng) for family, part in parts)

    support = "what the parts take"

    @property
    def marginalises(self) -> bool:  # type: ignore[override]
        """Whether entries of an observation may be missing."""
        return all(family.marginalises for family in self.families)

    @property
    def observes(self) -> str:  # type: ignore[override]
        """Whether observations are "numbers", where some are, "codes", where others are, or "counts" alone."""
        found = {family.observes for family in self.families}
        return next(kind for kind in ("numbers", "codes", "counts") if kind in found)

    @property
    def is_unimodal(self) -> bool:  # type: ignore[override]
        return all(family.is_unimodal for family in self.families)

    @property
    def pooled(self) -> Product | None:
        families = [family.pooled for family in self.families]
        if all(family is None for family in families):
            return None
        return self._of([own or family for own, family in zip(families, self.families, strict=True)])

    def side_by_side(self, n_fits: int) -> Product | None:
        families = [family.side_by_side(n_fits) for family in self.families]
        if any(family is None for family in families):
            return None
        return self._of(cast(list[Emission], families))

    def _of(self, families: list[Emission]) -> Product:
        """Other families in the places of these."""
        return Product(tuple((columns, own) for (columns, _), own in zip(self.parts, families, strict=True)))

    @property
    def spaces(self) -> Any:
        return tuple(family.spaces for family in self.families)

    def size(self, d: int) -> int:
        return sum(family.size(len(columns)) for columns, family in self.parts)

    def floats_per_row(self, n_components: int, d: int) -> int:
        return sum(family.floats_per_row(n_components, len(columns)) for columns, family in self.parts)

    def n_parameters(self, params: tuple[Any, ...]) -> int:
        """Number of free parameters."""
        return sum(family.n_parameters(p) for family, p in zip(self.families, params, strict=True))

    def tails(self, params: tuple[Any, ...], x: FloatArray) -> FloatArray:
        out = np.empty((4, _n_components(params), *x.shape))
        for (columns, family), p in zip(self.parts, params, strict=True):
            out[:, :, list(columns)] = family.tails(p, x[list(columns)])
        return out

    def mean(self, params: tuple[Any, ...]) -> FloatArray:
        """Mean of each component, (K, d); NaN in the columns of families of codes, that have none."""
        mean = np.full((_n_components(params), self.n_features), np.nan)
        for (columns, family), p in zip(self.parts, params, strict=True):
            if family.has_moments:
                mean[:, columns] = numeric(family).mean(p)
        return mean

    def covariance(self, params: tuple[Any, ...]) -> FloatArray:
        """Covariance matrix of each component, (K, d, d); NaN where `mean` is."""
        covariance = np.zeros((_n_components(params), self.n_features, self.n_features))
        for (columns, family), p in zip(self.parts, params, strict=True):
            index = np.array(columns)
            if family.has_moments:
                covariance[:, index[:, None], index] = numeric(family).covariance(p)
            else:
                covariance[:, index] = covariance[:, :, index] = np.nan
        return covariance

    def embedding(self, batch: Batch) -> FloatArray:
        """The points of all parts, one above the other, (f, m)."""
        parts = zip(self.families, self._sub_batches(batch), strict=True)
        return np.vstack([family.embedding(part) for family, part in parts])

    def in_units(self, params: tuple[Any, ...], units: Affine) -> tuple[Any, ...]:
        """Parameters of the data before it was brought to ``units``."""
        return tuple(
            family.in_units(p, Affine(units.shift[list(columns)], units.scale[list(columns)]))
            for (columns, family), p in zip(self.parts, params, strict=True)
        )

    def units(self, variances: FloatArray) -> FloatArray:
        scales = np.empty(self.n_features)
        for columns, family in self.parts:
            scales[list(columns)] = family.units(variances[list(columns)])
        return scales

    def beside_others(self) -> Product:
        return Product(tuple((columns, family.beside_others()) for columns, family in self.parts))

    def bound_to(self, sketch: Sketch) -> Product:
        return Product(tuple((columns, family.bound_to(sketch.of(columns))) for columns, family in self.parts))

    def forced_columns(self) -> tuple[int, ...]:
        return tuple(columns[j] for columns, family in self.parts for j in family.forced_columns())

    def on_floor(self, params: tuple[Any, ...]) -> NDArray[np.bool_]:
        each = [family.on_floor(p) for family, p in zip(self.families, params, strict=True)]
        return np.any(np.broadcast_arrays(*each), axis=0)

    def is_possible(self, x: FloatArray, params: tuple[Any, ...] | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) the families have a density for; NaN counts as possible."""
        possible = np.empty(x.shape, dtype=bool)
        for i, (columns, family) in enumerate(self.parts):
            possible[list(columns)] = family.is_possible(
                x[list(columns)], None if params is None else params[i]
            )
        return possible

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are of the kind that the families observe; NaN counts as such."""
        observable = np.empty(x.shape, dtype=bool)
        for columns, family in self.parts:
            observable[list(columns)] = family.is_observable(x[list(columns)])
        return observable

    def reorder(self, params: tuple[Any, ...], order: NDArray[np.int_]) -> tuple[Any, ...]:
        """Parameters with the components in another order."""
        return tuple(family.reorder(p, order) for family, p in zip(self.families, params, strict=True))

    def category_probabilities(self, params: tuple[Any, ...]) -> list[FloatArray | None]:
        found: list[FloatArray | None] = [None] * self.n_features
        for (columns, family), p in zip(self.parts, params, strict=True):
            for j, own in zip(columns, family.category_probabilities(p), strict=False):
                found[j] = own
        return found

    def fields(self, params: tuple[Any, ...], lead: tuple[int, ...]) -> dict[str, Any]:
        """Copies of the parts' parameters, a tuple with a dict for each."""
        parts = zip(self.families, params, strict=True)
        return {"parts": tuple(family.fields(p, lead) for family, p in parts)}

    def from_fields(self, named: Mapping[str, Any], lead: tuple[int, ...]) -> tuple[Any, ...]:
        (given,) = take_fields(self, named, ("parts",))
        if len(given) != len(self.parts):
            raise ValueError(f"parts are {len(given)}, but the families side by side are {len(self.parts)}.")
        return tuple(
            family.from_fields(of_part, lead) for family, of_part in zip(self.families, given, strict=True)
        )

    def with_parameters(self, params: tuple[Any, ...]) -> Product:
        parts = zip(self.parts, params, strict=True)
        return Product(tuple((columns, family.with_parameters(p)) for (columns, family), p in parts))

    @property
    def is_by_feature(self) -> bool:  # type: ignore[override]
        return all(family.is_by_feature for family in self.families)

    def _kept(self, columns: NDArray[np.int_]) -> Iterator[tuple[int, tuple[int, ...], NDArray[np.int_]]]:
        """Number of each part that some features leave, their places among these, and in the part."""
        for number, (own, _) in enumerate(self.parts):
            there = [(place, own.index(j)) for place, j in enumerate(columns.tolist()) if j in own]
            if there:
                places, inside = zip(*there, strict=True)
                yield number, places, np.array(inside)

    def marginal(self, params: tuple[Any, ...], columns: NDArray[np.int_]) -> tuple[Any, ...]:
        return tuple(
            params[i] if self._is_as_it_was(i, own) else self.families[i].marginal(params[i], own)
            for i, _, own in self._kept(columns)
        )

    def of_some(self, columns: NDArray[np.int_]) -> Product:
        return Product(
            tuple(
                (there, self.families[i] if self._is_as_it_was(i, own) else self.families[i].of_some(own))
                for i, there, own in self._kept(columns)
            )
        )

    def _is_as_it_was(self, number: int, own: NDArray[np.int_]) -> bool:
        return np.array_equal(own, np.arange(len(self.parts[number][0])))

    def divergence(self, params: tuple[Any, ...], other: Emission, others: Any) -> FloatArray:
        """The sum of the parts' own."""
        other = unwrapped(other)
        if not isinstance(other, Product) or [c for c, _ in other.parts] != [c for c, _ in self.parts]:
            raise self.unlike(other)
        parts = zip(self.families, params, other.families, others, strict=True)
        return np.asarray(sum(family.divergence(p, there, q) for family, p, there, q in parts))

    def with_means(self, params: tuple[Any, ...], means: FloatArray) -> tuple[Any, ...]:
        """Parameters with the means (K, d) moved where the families have any."""
        return tuple(
            family.with_means(p, means[:, list(columns)]) if family.has_moments else p
            for (columns, family), p in zip(self.parts, params, strict=True)
        )

    def widened(self, params: tuple[Any, ...], factors: FloatArray) -> tuple[Any, ...]:
        return tuple(family.widened(p, factors) for family, p in zip(self.families, params, strict=True))

    def nearest_legal(self, params: tuple[Any, ...]) -> tuple[Any, ...]:
        """Parameters brought within the families' constraints."""
        return tuple(family.nearest_legal(p) for family, p in zip(self.families, params, strict=True))

    def sample(
        self, params: tuple[Any, ...], labels: NDArray[np.int_], rng: np.random.RandomState
    ) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        out = np.empty((len(labels), self.n_features))
        for (columns, family), p in zip(self.parts, params, strict=True):
            out[:, columns] = family.sample(p, labels, rng)
        return out


def _n_components(params: tuple[Any, ...]) -> int:
    return len(leaves(params)[0])
