"""What estimators share that are fitted to streams, by partial_fit.

A stream begins with a race, as any fit does: its first rows are kept until there are enough for one that can be
trusted. Then they are dropped, and stepwise EM goes on from the statistics of that fit (`emlearn.em.online`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from emlearn.em import Batch, EStep, LatentPair, one_blas_thread
from emlearn.em.batches import batch_rows
from emlearn.em.data import sum_of
from emlearn.em.online import Stepwise
from emlearn.em.trees import tree_map

# Rows that are kept for the last race: so many, or so many for each parameter, if that is more.
BUFFER_ROWS, BUFFER_PER_PARAMETER = 5000, 10
# An M-step is taken after so many rows, or this share of those seen: the past must outweigh what is new.
STEP_ROWS, STEP_SHARE = 1000, 0.05
# What only a fit to data that stay can tell.
OF_A_FIT = (
    "converged",
    "n_iter",
    "log_likelihood",
    "lower_bound",
    "lower_bounds",
    "extrapolated",
    "gap",
    "mean_parameters",
    "fraction_missing_information",
)


class Rows(NamedTuple):
    """What one call of partial_fit brings, as it was read."""

    X: Any  # (n, d)
    y: Any = None  # (n, c) responses
    weight: Any = None  # (n,), or one for each sequence; None for 1
    lengths: Any = None  # (n_sequences,) of sequences
    offset: Any = None  # (n,) of linear predictors; None for 0

    @property
    def n_units(self) -> int:
        """How many things have a weight: rows or sequences."""
        return len(self.X) if self.lengths is None else len(self.lengths)

    @property
    def row_weight(self) -> Any:
        """Weight of each row, or None."""
        if self.weight is None or self.lengths is None:
            return self.weight
        return np.repeat(self.weight, self.lengths)

    def n_distinct(self) -> int:
        """Number of distinct rows with weight."""
        weight = self.row_weight
        counted = self.X if weight is None else self.X[weight > 0]
        return len(np.unique(counted, axis=0, equal_nan=True))


class Buffer(NamedTuple):
    """The first rows of a stream."""

    parts: tuple[Rows, ...]
    n_raced: int  # how many rows the last race saw

    @property
    def n_rows(self) -> int:
        return sum(len(part.X) for part in self.parts)

    def and_more(self, rows: Rows) -> Buffer:
        """The buffer with copies of more rows."""
        return self._replace(parts=(*self.parts, Rows(*(None if a is None else np.array(a) for a in rows))))

    def joined(self) -> Rows:
        """All of them as one; what some have and others do not is 1 for weights and 0 for offsets there."""

        def join(name: str, otherwise: float) -> Any:
            arrays = [getattr(part, name) for part in self.parts]
            if all(array is None for array in arrays):
                return None
            return np.concatenate(
                [
                    np.full(part.n_units, otherwise) if array is None else array
                    for part, array in zip(self.parts, arrays, strict=True)
                ]
            )

        if len(self.parts) == 1:
            return self.parts[0]
        return Rows(*(join(name, 1.0 if name == "weight" else 0.0) for name in Rows._fields))


@dataclass(frozen=True)
class Following:
    """Stepwise EM, with its components in the order of its race.

    Attributes
    ----------
    state : Stepwise
    order : ndarray of int of shape (K,) or None
        Which of its components each of the estimator's is; None where they are in the same order.
    n_rows : int
        Rows seen so far.
    """

    state: Stepwise
    order: Any
    n_rows: int

    def in_order(self, order: Any) -> Following:
        """The same after the estimator's components were brought into another order."""
        return replace(self, order=np.array(order) if self.order is None else self.order[order])

    def params(self) -> LatentPair:
        """Parameters, the components in the estimator's order."""
        params, model = self.state.params, self.state.model
        if self.order is None:
            return params
        return LatentPair(
            model.latent.reorder(params.latent, self.order), model.family.reorder(params.family, self.order)
        )


class Streaming:
    """partial_fit, but for what an estimator reads and how: `_fit_to`, `_batches_of`, and `_refuse_rows`."""

    forgetting: float
    n_rows_seen_: int

    def _fit_to(self, rows):
        """Fit to rows that were read."""
        raise NotImplementedError

    def _batches_of(self, model, rows):
        """The model as these rows need it, and the rows as data in the engine's units (`rows_of_batch`)."""
        raise NotImplementedError

    def _refuse_rows(self, rows):
        """Refuse rows that the model, as it stands, cannot have seen."""

    def _after_rows(self, rows):
        """Bring up to date what is told of all rows beside the model."""

    # -- what a fit leaves -------------------------------------------------------------------------------

    def _remember(self, plan, best, order):
        self._forget_stream()
        if plan.model.is_random:
            return
        state = Stepwise(
            plan.model,
            best.params,
            tree_map(lambda leaf: leaf / best.weight, best.stats),
            time=best.weight / plan.unit,
            weight=best.weight,
            unit=plan.unit,
        )
        self._following = Following(state, order, plan.n_rows)

    def _forget_stream(self):
        for name in ("_buffer", "n_rows_seen_", "_following"):
            vars(self).pop(name, None)

    # -- partial_fit -------------------------------------------------------------------------------------

    @property
    def _begins(self):
        """Whether a stream begins."""
        return not hasattr(self, "_params")

    def _check_stream(self):
        """Refuse what cannot go on as a stream."""
        self._validate_params()  # scikit-learn checks them in the first call alone
        if self.assignment == "sampled":
            raise ValueError(
                "assignment='sampled' makes a chain of draws over data that stay, and partial_fit sees rows "
                "once. Choose another."
            )
        if self._begins:
            return
        if not (hasattr(self, "_following") or hasattr(self, "_buffer")):
            raise ValueError(
                f"partial_fit goes on from the statistics of a fit, but this {type(self).__name__} has "
                "parameters without any. Begin a stream with a new estimator, or fit first."
            )
        n_own = self._n_fitted - (0 if self._model is None else self._model.family.n_others)
        if n_own != self.n_components:
            raise ValueError(
                f"n_components={self.n_components}, but what partial_fit goes on from has {n_own}: "
                "begin a stream with a new estimator."
            )

    def _take_in(self, rows):
        """Learn from more rows of the stream."""
        buffer = vars(self).get("_buffer")
        if self._begins:
            self._refuse_too_few(rows)
            self._gather(Buffer((), 0), rows)
        elif buffer is not None:
            self._gather(buffer, rows)
        else:
            self._follow(rows)
        return self

    def _refuse_too_few(self, rows):
        least, found = max(2, self.n_components), rows.n_distinct()
        if found < least:
            raise ValueError(
                f"The first batch of a stream must carry the model: n_components={self.n_components} needs at "
                f"least {least} distinct rows, but X has n_samples={len(rows.X)}, {found} of them distinct. "
                "Gather some more before the first call."
            )

    def _gather(self, buffer, rows):
        """Keep rows, and race anew where there are twice as many, or enough."""
        buffer = buffer.and_more(rows)
        n = buffer.n_rows
        if not buffer.n_raced or n >= 2 * buffer.n_raced or n >= self._n_to_gather():
            for name in ("_params", "_following"):  # it is no warm start
                vars(self).pop(name, None)
            self._fit_to(buffer.joined())
            buffer = buffer._replace(n_raced=n)
        if buffer.n_raced < n or n < self._n_to_gather():
            self._buffer = buffer
        self.n_rows_seen_ = n

    def _n_to_gather(self):
        """Rows that are enough for a race whose winner is followed from there."""
        if self._model is None:  # nothing varies so far
            return np.inf
        latent, family = self._params
        n_parameters = self._model.latent.n_parameters(latent) + self._model.family.n_parameters(family)
        return max(BUFFER_ROWS, BUFFER_PER_PARAMETER * n_parameters)

    def _follow(self, rows):
        """Stepwise EM over rows."""
        self._refuse_rows(rows)
        following = self._following
        own = following.state.model
        model, data = self._batches_of(own, rows)
        state = replace(following.state, model=model, forgetting=float(self.forgetting))
        with one_blas_thread():
            state = follow(state, data)
        n_rows = following.n_rows + len(rows.X)
        self._following = replace(following, state=replace(state, model=own), n_rows=n_rows)
        self._after_rows(rows)
        self._take(self._model, self._following.params(), self._units)
        for name in OF_A_FIT:
            vars(self).pop(name + "_", None)
        self.n_rows_seen_ = n_rows


def follow(state: Stepwise, batches: Iterable[Batch]) -> Stepwise:
    """Stepwise EM over batches, of which some make a step together."""
    some: list[Batch] = []
    for batch in batches:
        some.append(batch)
        weight = sum(one.total_weight for one in some)
        if weight >= max(STEP_ROWS * state.unit, STEP_SHARE * state.weight):
            state, some = _step(state, some), []
    return _step(state, some) if some else state


def _step(state: Stepwise, some: list[Batch]) -> Stepwise:
    def sum_over(e_step: Callable[[Batch], EStep]) -> EStep:
        total: EStep = sum_of(map(e_step, some))
        return total

    return state.saw(sum_over)[1]


def rows_of_batch(floats_per_row: int) -> int:
    """Rows in a batch of a stream."""
    return min(STEP_ROWS, batch_rows(floats_per_row))
