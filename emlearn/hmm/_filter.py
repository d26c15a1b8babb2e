"""Filtering on line: what is known of the state, one observation after the other."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emlearn._emissions.words import parts_of
from emlearn._input.columns import column_name
from emlearn._warn import warn
from emlearn.em.batches import FARTHEST, Batch

# In standard deviations: what is neither missing nor so far off that its density might overflow.
ORDINARY = 1e50

if TYPE_CHECKING:
    from emlearn.hmm._hmm import HMMEM, Forecast


class HMMFilter:
    """A fitted hidden Markov model that follows one sequence, step by step.

    Made by `HMMEM.filter`, of the model as it is then. A step costs O(K²) beside the densities, however long
    the sequence is; what is known after it is what `HMMEM.filter_proba` says of the whole.

    Parameters
    ----------
    model : HMMEM
        A fitted model.

    Attributes
    ----------
    state_proba : ndarray of shape (K,)
        Probability of each state at the last step, given all steps so far; before the first, the distribution
        of the first state. All 0 once an observation was impossible.
    log_likelihood : float
        Of all steps so far, in nats.
    n_steps : int
        How many steps were taken in.

    References
    ----------
    Rabiner (1989), Proceedings of the IEEE 77, equations 19 and 20.

    Examples
    --------
    >>> from emlearn import HMMEM
    >>> transmat = [[0.9, 0.1], [0.2, 0.8]]
    >>> shop = HMMEM.from_parameters([0.5, 0.5], transmat, emission="poisson", rates=[[1], [9]])
    >>> following = shop.filter()
    >>> for count in [0, 1, 7]:
    ...     print(following.update([count]).state_proba.round(3))
    [1. 0.]
    [1. 0.]
    [0.006 0.994]
    >>> following.predict_next().state_proba.round(2)
    array([[0.2, 0.8]])
    """

    def __init__(self, model: HMMEM) -> None:
        self._model = copy.copy(model)
        self._chain, self._family, self._emitted = model._views.ahead
        self._density = self._family.density(self._emitted)
        self._names = getattr(model, "feature_names_in_", None)
        self._parts = list(parts_of(self._family, model.n_features_in_, self._emitted))
        labels = vars(model).get("_labels", {})
        self._codes = {j: {label: i for i, label in enumerate(own.tolist())} for j, own in labels.items()}
        shift, scale = model._units
        self._shift, self._scale, self._log_scale = shift[:, None], scale[:, None], np.log(scale)
        self._volume, self._ordinary = self._log_scale.sum(), ORDINARY * scale.min()
        with np.errstate(divide="ignore"):  # log 0 forbids
            self._log_transition = np.log(self._chain.transition)
        self.reset()

    def reset(self) -> Self:
        """Forget all steps: what comes next is the first of a sequence.

        Returns
        -------
        self : HMMFilter
        """
        # Logarithms lose no state that may come to matter later, however improbable it is now.
        with np.errstate(divide="ignore"):
            self._log_proba = np.log(self._chain.start)
        self.log_likelihood, self.n_steps = 0.0, 0
        return self

    @property
    def state_proba(self) -> NDArray[np.float64]:
        return np.exp(self._log_proba)

    def update(self, x: ArrayLike) -> Self:
        """Take in the next step.

        Parameters
        ----------
        x : array-like of shape (d,)
            What is observed; NaN where an entry is missing. A number, or the name of a category, where there is
            one feature. After a category that fit never saw, of which a warning tells, no state is possible.

        Returns
        -------
        self : HMMFilter
            With `state_proba` and `log_likelihood` as they are after the step.

        Raises
        ------
        ValueError
            If x has another width, or an entry that the emission has no density for. The filter then stays as
            it was.
        """
        x, size = self._read(x)
        if size < self._ordinary:
            inside, volume = (x - self._shift) / self._scale, self._volume
        else:  # far off, or NaN
            with np.errstate(over="ignore"):
                inside = np.clip((x - self._shift) / self._scale, -FARTHEST, FARTHEST)
            volume = self._log_scale[~np.isnan(x[:, 0])].sum()
        log_proba = self._log_proba
        if self.n_steps:
            log_proba = np.logaddexp.reduce(log_proba[:, None] + self._log_transition, axis=0)
        seen = self._density(Batch(inside))
        log_joint = log_proba + seen.log_prob[:, 0]
        log_predictive = np.logaddexp.reduce(log_joint)
        # What no state makes leaves no state possible.
        self._log_proba = log_joint - log_predictive if log_predictive > -np.inf else log_joint
        shared = seen.shared_log_prob()
        self.log_likelihood += float(log_predictive - volume) + (shared if np.ndim(shared) == 0 else shared[0])
        self.n_steps += 1
        return self

    def predict_next(self, n_steps: int = 1) -> Forecast:
        """Forecast the steps that come next, as `HMMEM.predict_next` does.

        Parameters
        ----------
        n_steps : int, default=1
            How many steps ahead.

        Returns
        -------
        forecast : Forecast
        """
        return self._model._ahead(self.state_proba, n_steps, begins=not self.n_steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return HMMFilter, (self._model,), (self._log_proba, self.log_likelihood, self.n_steps)

    def __setstate__(self, state: tuple[NDArray[np.float64], float, int]) -> None:
        self._log_proba, self.log_likelihood, self.n_steps = state

    def _read(self, x: ArrayLike) -> tuple[NDArray[np.float64], float]:
        """What was observed, (d, 1), and its largest entry in size."""
        d, step = len(self._shift), self.n_steps
        try:
            given = np.asarray(self._with_codes(x) if self._codes else x, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"x={x!r} at step {step} must hold {d} numbers, but: {error}.") from None
        if given.size != d or given.ndim > 2:
            raise ValueError(
                f"x has shape {given.shape} at step {step}, but the model has {d} features: give one step at a "
                f"time, an array of shape ({d},)."
            )
        column = given.reshape(d, 1)
        size = np.abs(column).max()  # NaN where an entry is missing
        if not size < np.inf and np.isinf(column).any():
            where = column_name(self._names, int(np.argmax(np.isinf(column))))
            raise ValueError(f"x contains infinity in {where}, step {step}. Remove or replace it.")
        for columns, family, own in self._parts:
            possible = family.is_possible(column[columns], own)
            if not possible.all():
                self._tell(x, column[columns], columns, family, possible)
        return column, size

    def _tell(self, given, x, columns, family, possible):
        """Refuse what is no observation, and warn of what has no density."""
        observable = family.is_observable(x)
        j = int(np.argmin((possible if observable.all() else observable)[:, 0]))
        entry = np.asarray(given, dtype=object).ravel()[columns[j]]
        shown = repr(entry) if isinstance(entry, str) else f"{x[j, 0]:g}"
        where = f"x is {shown} in {column_name(self._names, columns[j])}, step {self.n_steps}"
        if not observable.all():
            raise ValueError(f"{where}: not one of {family.support}.")
        warn(
            f"{where}: never seen in fit, or impossible after it. Its log-density is -inf, and from here on no "
            "state is possible.",
            UserWarning,
        )

    def _with_codes(self, x):
        """The entries of a step, codes in the place of names; a name that fit never saw has the next one."""
        entries = np.asarray(x, dtype=object).ravel().tolist()
        for j, codes in self._codes.items():
            if j < len(entries) and entries[j] is not None and entries[j] == entries[j]:
                entries[j] = codes.get(entries[j], len(codes))
        return [np.nan if entry is None else entry for entry in entries]
