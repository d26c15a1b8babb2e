"""The same family in several groups of observations, with parameters of its own in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.parametric import Composite
from emlearn.em.trees import leaves
from emlearn.families.base import Emission, FloatArray, Sketch


@dataclass(frozen=True)
class ByGroup(Composite, Emission):
    """A family whose parameters are others in each group of observations, which the last feature names.

    The parameters are a tuple of those of the groups, in the order of ``levels``, and so are the statistics.
    The group itself is given, and has no density.

    Parameters
    ----------
    families : tuple of Emission
        The family of each group, for all features but the last.
    levels : tuple of float
        Values of the last feature, one for each group, in ascending order.
    """

    families: tuple[Emission, ...]
    levels: tuple[float, ...]

    support = "what the family takes, and last the group"
    marginalises = True

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.families

    @property
    def observes(self) -> str:  # type: ignore[override]
        return self.families[0].observes

    @property
    def is_unimodal(self) -> bool:  # type: ignore[override]
        return self.families[0].is_unimodal

    @property
    def spaces(self) -> Any:
        return tuple(family.spaces for family in self.families)

    def side_by_side(self, n_fits: int) -> ByGroup | None:
        families = [family.side_by_side(n_fits) for family in self.families]
        return None if None in families else replace(self, families=tuple(cast(list[Emission], families)))

    def _groups(self, batch: Batch) -> list[NDArray[np.intp]]:
        """Which observations of a batch belong to each group."""

        def of(level: float) -> NDArray[np.intp]:
            found: NDArray[np.intp] = batch.once(("group", level), lambda: np.flatnonzero(batch.x[-1] == level))
            return found

        return list(map(of, self.levels))

    def _sub_batches(self, batch: Batch) -> list[Batch]:
        """The observations of each group; of one that has none here the first of all, which does not count."""
        groups = self._groups(batch)
        return [
            batch.part(("group", level), own if len(own) else slice(0, 1), slice(None, -1))
            for own, level in zip(groups, self.levels, strict=True)
        ]

    def density(self, params: tuple[Any, ...]) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        densities = [family.density(p) for family, p in zip(self.families, params, strict=True)]
        K = len(leaves(params)[0])

        def observe(batch: Batch) -> Observed:
            groups, m = self._groups(batch), batch.x.shape[1]
            seen = [density(part) for density, part in zip(densities, self._sub_batches(batch), strict=True)]
            there = [(own, of_group) for own, of_group in zip(groups, seen, strict=True) if len(own)]
            log_prob = np.empty((K, m))
            for own, of_group in there:
                log_prob[:, own] = of_group.log_prob

            def totals(resp: FloatArray) -> tuple[Any, ...]:
                resps = [resp[:, own] if len(own) else np.zeros((K, 1)) for own in groups]
                return tuple(of_group.totals(r) for of_group, r in zip(seen, resps, strict=True))

            def shared_log_prob() -> FloatArray:
                each = np.empty(m)
                for own, of_group in there:
                    each[own] = of_group.shared_log_prob()
                return each

            return Observed(log_prob, sum(of_group.shared for _, of_group in there), totals, shared_log_prob)

        return observe

    def maximize(self, totals: tuple[Any, ...], params: tuple[Any, ...]) -> tuple[Any, ...]:
        """Parameters from Σ r T(x)."""
        return tuple(family.maximize(t, p) for family, t, p in self._each(totals, params))

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> tuple[Any, ...]:
        """Parameters from weighted responsibilities (K, m)."""
        resps = [resp[:, own] if len(own) else np.zeros((len(resp), 1)) for own in self._groups(batch)]
        each = zip(self.families, self._sub_batches(batch), resps, strict=True)
        return tuple(family.start(part, own, rng) for family, part, own in each)

    def bound_to(self, sketch: Sketch) -> ByGroup:
        """The family of each group bound to the observations of that."""
        some, of_some = sketch.of(range(len(sketch.most) - 1)), sketch.some.x[-1]
        if sketch.size >= sketch.n_rows:  # of all rows it is known what each group has; of a part it is not
            some = some._replace(entries=None)
        families = []
        for g, (family, level) in enumerate(zip(self.families, self.levels, strict=True)):
            own = some.some.part(("group", g), np.flatnonzero(of_some == level))
            families.append(family.bound_to(some._replace(some=own)))
        return replace(self, families=tuple(families))

    def in_units(self, params: tuple[Any, ...], units: Affine) -> tuple[Any, ...]:
        """Parameters of the data before it was brought to ``units``."""
        own = Affine(units.shift[:-1], units.scale[:-1])
        return tuple(family.in_units(p, own) for family, p in self._each(params))

    def units(self, variances: FloatArray) -> FloatArray:
        return np.append(self.families[0].units(variances[:-1]), np.nan)

    def size(self, d: int) -> int:
        return len(self.families) * self.families[0].size(d - 1)

    def floats_per_row(self, n_components: int, d: int) -> int:
        return self.families[0].floats_per_row(n_components, d - 1)

    def n_parameters(self, params: tuple[Any, ...]) -> int:
        """Number of free parameters."""
        return sum(family.n_parameters(p) for family, p in self._each(params))

    def fields(self, params: tuple[Any, ...], lead: tuple[int, ...]) -> dict[str, Any]:
        return {}  # none is one array of all groups

    def category_probabilities(self, params: tuple[Any, ...]) -> list[FloatArray | None]:
        each = zip(*(family.category_probabilities(p) for family, p in self._each(params)), strict=True)
        return [None if any(p is None for p in own) else np.stack(own, axis=1) for own in each]

    def embedding(self, batch: Batch) -> FloatArray:
        return self.families[0].embedding(batch.part("without group", slice(None), slice(None, -1)))

    def nearest_legal(self, params: tuple[Any, ...]) -> tuple[Any, ...]:
        """Parameters brought within the families' constraints."""
        return tuple(family.nearest_legal(p) for family, p in self._each(params))

    def on_floor(self, params: tuple[Any, ...]) -> NDArray[np.bool_]:
        each = [family.on_floor(p) for family, p in self._each(params)]
        return np.any(np.broadcast_arrays(*each), axis=0)

    def forced_columns(self) -> tuple[int, ...]:
        return tuple({j for family in self.families for j in family.forced_columns()})

    def is_possible(self, x: FloatArray, params: tuple[Any, ...] | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) the family of the group has a density for; NaN counts as possible."""
        possible = np.ones(x.shape, dtype=bool)
        for g, (family, level) in enumerate(zip(self.families, self.levels, strict=True)):
            own = x[-1] == level
            possible[:-1, own] = family.is_possible(x[:-1, own], None if params is None else params[g])
        return possible

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        """Which entries of x (d, m) are of the kind that the family observes; NaN counts as one."""
        return np.vstack([self.families[0].is_observable(x[:-1]), np.ones((1, x.shape[1]), dtype=bool)])
