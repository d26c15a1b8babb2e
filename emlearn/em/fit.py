"""The EM loop and its stopping rule."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.acceleration import ACCELERATIONS
from emlearn.em.batches import Batches, as_batches, one_blas_thread
from emlearn.em.model import EMModel, EStep
from emlearn.em.spaces import FloatArray
from emlearn.em.trees import leaves

# Relative to the objective and the total weight: a gain below this cannot be told from rounding.
NOISE = 1e-14
# Rate assumed where gains are lost in rounding and none below 1 has been seen.
UNSEEN = 0.99
# Changes by which the EM map is remembered, and how far one must stand out from the others, relatively.
N_SECANTS = 10
# Times that an M-step is shortened before it is given up.
MAX_SHORTENED = 30
SAME_DIRECTION = 1e-3


class MonotonicityWarning(RuntimeWarning):
    """The objective fell from one EM iteration to the next: the model's E-step and M-step disagree."""


class Iterate(NamedTuple):
    """Where EM stands after an E-step."""

    params: Any
    objective: float  # log-likelihood + log prior, nats
    log_likelihood: float  # nats
    extrapolated: bool  # reached by extrapolation; else the EM image of the iterate before
    gap: float = np.inf  # projected gain still to come, nats; inf where nothing can be said
    rate: float = np.nan  # at which gains shrink; NaN where the last two steps were not plain
    lost: bool = False  # whether the last gain cannot be told from rounding
    secants: Secants | None = None  # what the steps so far tell of the EM map


class EMResult(NamedTuple):
    """Outcome of a fit. The log-likelihood belongs to the parameters returned."""

    params: Any
    log_likelihood: float  # nats
    objective: float  # log-likelihood + log prior, nats
    converged: bool
    n_iter: int  # iterations: steps of EM or accepted extrapolations after the start
    gap: float  # projected gain still to come, nats
    history: tuple[float, ...]  # objective after each E-step
    extrapolated: tuple[bool, ...]  # which of them were reached by extrapolation
    secants: Secants | None = None  # what the last steps tell of the EM map

    @classmethod
    def of(cls, history: list[Iterate], converged: bool) -> EMResult:
        """Sum up the iterates of a fit."""
        last = history[-1]
        return cls(
            params=last.params,
            log_likelihood=last.log_likelihood,
            objective=last.objective,
            converged=converged,
            n_iter=len(history) - 1,
            gap=last.gap,
            history=tuple(iterate.objective for iterate in history),
            extrapolated=tuple(iterate.extrapolated for iterate in history),
            secants=last.secants,
        )


def fit_em(
    model: EMModel,
    params: Any,
    data: Any,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
    callback: Callable[[Iterate], bool | None] | None = None,
) -> EMResult:
    """Fit a model by EM from given parameters.

    Parameters
    ----------
    model : EMModel
        What is fitted: `expectation`, `maximize` and, for extrapolation, `spaces`.
    params : NamedTuple
        Where to start.
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Batches
        Whatever `emlearn.em.Batches` takes.
    tol : float, default=1e-4
        Stop when less than this is still to be gained in all, in nats of total objective, as projected
        from the rate of convergence. 1e-4 leaves an estimate within 1.5 % of a standard error.
    max_iter : int, default=1000
        Largest number of E-steps after the first.
    acceleration : {"auto", "squarem", "secant", "none"}, default="auto"
        Guarded extrapolation; see `emlearn.em.acceleration`.
    callback : callable, default=None
        Called with each `Iterate`; a true result stops the fit.

    Returns
    -------
    EMResult

    Raises
    ------
    ValueError
        If the objective is not finite at the start.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, LatentPair, fit_em
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.latent import MixtureWeights
    >>> counts, days = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> start = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    >>> result = fit_em(LatentModel(MixtureWeights(), Poisson()), start, (counts, days))
    >>> print(f"{result.log_likelihood:.4f}", result.converged)
    -1989.9459 True
    """
    history: list[Iterate] = []
    stop = AitkenStop(tol)
    with one_blas_thread():
        for iterate in em_iterates(model, params, data, tol, max_iter, acceleration):
            remember(history, iterate)
            if stop(iterate) or (callback is not None and callback(iterate)):
                break
    return EMResult.of(history, stop.converged)


def remember(history: list[Iterate], iterate: Iterate) -> None:
    """Append to a history in which only the last iterate keeps its parameters."""
    if history:
        history[-1] = history[-1]._replace(params=None)
    history.append(iterate)


def em_iterates(
    model: EMModel,
    params: Any,
    data: Any,
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
) -> Iterator[Iterate]:
    """E-steps one after another, without a stopping rule: the loop of `fit_em`, to be driven by hand.

    Iterates rise: an extrapolated point that is not at least as good as the EM step before it is not shown.
    Arguments are those of `fit_em`; ``tol`` says when to leave off extrapolating.
    """
    if acceleration not in ACCELERATIONS:
        raise ValueError(f"acceleration={acceleration!r} is none of {', '.join(ACCELERATIONS)}.")
    accelerator = ACCELERATIONS[acceleration]()
    projection = Projection()
    secants = Secants()
    last = _Point(model, params, as_batches(data))
    if not np.isfinite(last.objective):
        raise ValueError(f"The objective is {last.objective} at the starting parameters.")
    yield last.iterate()._replace(secants=secants)
    n_iter = 0
    while n_iter < max_iter:
        here, n_steps = last.step()
        n_iter += n_steps
        gain = here.objective - last.objective
        if here.is_below(last, model.rounding):
            warnings.warn(
                f"EM stopped: the objective fell by {-gain:.3g} nats in iteration {n_iter}. The M-step does "
                "not maximise what the E-step sums up, or the data are so large that the objective loses its "
                "digits.",
                MonotonicityWarning,
                stacklevel=2,
            )
            return
        u, v = here.differences(last)
        projection.see(gain, u, v, NOISE * here.size)
        secants.see(last.vector, u, v)
        yield here.iterate(projection)._replace(secants=secants)
        start, last = last.vector, here
        # Close to the end only plain steps: they alone can show that it is the end.
        if projection.gap < tol or n_iter + 1 >= max_iter:
            continue
        vector = accelerator.propose(start, u, v)
        if vector is None:
            continue
        ahead = here.move_to(vector)
        n_iter += ahead is not None
        if ahead is not None and ahead.objective >= here.objective:  # false for NaN
            accelerator.learn(accepted=True)
            projection.break_off()
            last = ahead
            yield last.iterate()._replace(secants=secants)
        else:
            accelerator.learn(accepted=False)


class Secants:
    """Changes of the parameters and of their EM images between the latest points: the EM map along them."""

    def __init__(self) -> None:
        self._seen: deque[tuple[FloatArray, FloatArray, FloatArray]] = deque(maxlen=N_SECANTS)

    def see(self, start: FloatArray, u: FloatArray, v: FloatArray) -> None:
        """Take in a pair of EM steps ``u`` and ``v`` from ``start``."""
        self._seen.append((start, u, v))

    def _pairs(self) -> list[tuple[FloatArray, FloatArray]]:
        """The latest changes, of length 1, with those of their images."""
        changes: list[tuple[FloatArray, FloatArray]] = []
        last = None
        for start, u, v in self._seen:
            point = np.where(np.isfinite(start), start, 0.0) + u
            if last is not None:  # across an extrapolation
                changes.append((point - u - last[0], point - last[1]))
            changes.append((u, v))
            last = point, point + v
        lengths = [float(np.linalg.norm(change)) for change, _ in changes]
        pairs = [
            (change / length, of_image / length)
            for (change, of_image), length in zip(changes, lengths, strict=True)
            if 0 < length < np.inf and np.isfinite(of_image).all()
        ]
        return pairs[-N_SECANTS:]

    @property
    def rate(self) -> float:
        """Largest eigenvalue of the EM map, as far as it acts along these changes; 0 if there are none."""
        pairs = self._pairs()
        if not pairs:
            return 0.0
        changes, images = (np.column_stack(part) for part in zip(*pairs, strict=True))
        left, size, right = np.linalg.svd(changes, full_matrices=False)
        told = size > SAME_DIRECTION * size[0]
        along = (left[:, told].T @ images) @ (right[told].T / size[told])
        return float(np.clip(np.linalg.eigvals(along).real.max(), 0.0, 1.0))


class Projection:
    """What is still to be gained if gains go on shrinking as they do: the rest of a geometric series.

    Attributes
    ----------
    gap : float
        Projected gain, in nats; inf where nothing can be said.
    rate : float
        At which gains shrink: the ratio of two of them or that of steps, squared, whichever is larger.
    follows_plain : bool
        Whether the last two steps were plain EM steps.
    lost : bool
        Whether the last gain cannot be told from rounding.
    """

    def __init__(self) -> None:
        self.gap, self.rate, self.lost, self.follows_plain = np.inf, UNSEEN, False, False
        self._last_gain = np.nan

    def see(self, gain: float, u: FloatArray, v: FloatArray, noise: float) -> None:
        """Take in the gain of a plain EM step ``u``, and the step ``v`` that follows."""
        if gain > 100 * noise:
            # Gains go as the squares of steps. Two plain gains tell the rate too: believe the slower.
            shrinking = np.dot(v, v) / max(np.dot(u, u), np.finfo(np.float64).tiny)
            self.rate = max(shrinking, gain / self._last_gain if self._last_gain > 0 else 0.0)
        elif self.rate >= 1:  # too little to tell a rate from: what was seen before must serve
            self.rate = UNSEEN
        self.gap = max(gain, noise) * self.rate / (1 - self.rate) if self.rate < 1 else np.inf
        self.lost = gain <= noise
        self.follows_plain = not np.isnan(self._last_gain)
        self._last_gain = gain

    def break_off(self) -> None:
        """Hear that the next step does not follow a plain one."""
        self._last_gain = np.nan


class AitkenStop:
    """Stop after two plain iterations in a row with less than ``tol`` nats still to come.

    A rate that is still rising, its distance to 1 falling by more than a tenth, does not count: the slow
    directions have not come to the fore yet. Ten plain gains in a row that are lost in rounding stop a fit
    too, however small ``tol``; the gap then says what may hide there.
    """

    def __init__(self, tol: float):
        self._tol = tol
        self._last_rate = np.nan
        self._hits = self._lost = 0

    def __call__(self, iterate: Iterate) -> bool:
        rising = 1 - iterate.rate < 0.9 * (1 - self._last_rate)
        certain = iterate.gap < self._tol and not np.isnan(iterate.rate) and not rising
        self._hits = self._hits + 1 if certain else 0
        self._last_rate = iterate.rate
        if not iterate.extrapolated:
            self._lost = self._lost + 1 if iterate.lost else 0
        return self.converged

    @property
    def converged(self) -> bool:
        return self._hits >= 2 or self._lost >= 10


class _Point:
    """Parameters with their E-step, the EM image that comes with it, and coordinates."""

    def __init__(self, model: EMModel, params: Any, batches: Batches, *, extrapolated: bool = False):
        self._model = model
        self._batches = batches
        self._extrapolated = extrapolated
        self.params = params
        self.e_step: EStep = batches.sum(model.expectation(params))
        self.objective = float(self.e_step.log_likelihood + model.log_prior(params))
        self.size = abs(self.objective) + self.e_step.weight  # nats, for what floating point can tell

    @cached_property
    def image(self) -> Any:
        """G(θ): the parameters that an M-step makes of this E-step."""
        return self._model.maximize(self.e_step.stats, self.params)

    @cached_property
    def vector(self) -> FloatArray:
        return self._model.flatten(self.params)

    @cached_property
    def image_vector(self) -> FloatArray:
        return self._model.flatten(self.image)

    def is_below(self, before: _Point, rounding: float) -> bool:
        """Whether the objective is less here, by more than relative ``rounding``, or NaN."""
        return not self.objective >= before.objective - rounding * self.size

    def step(self) -> tuple[_Point, int]:
        """The next point of plain EM, by as short a step as does not fall, and the E-steps that took."""
        after = _Point(self._model, self.image, self._batches)
        if "image_vector" in self.__dict__:
            after.vector = self.image_vector
        for n_steps in range(1, MAX_SHORTENED):
            if not after.is_below(self, 100 * NOISE):
                return after, n_steps
            params = self._model.shortened(self.e_step.stats, self.params, n_steps)
            if params is None:
                return after, n_steps
            after = _Point(self._model, params, self._batches)
        return after, MAX_SHORTENED

    @cached_property
    def movable(self) -> NDArray[np.bool_]:
        """Coordinates that may be extrapolated: not on a boundary, where the map is not smooth."""
        finite = np.isfinite(self.vector)
        resting = self._model.resting(self.params)
        return finite if resting is None else finite & ~resting

    def differences(self, before: _Point) -> tuple[FloatArray, FloatArray]:
        """The EM step that led here from ``before``, and the one that leads on; 0 where not movable."""
        with np.errstate(invalid="ignore"):  # -inf − -inf, masked
            u = self.vector - before.vector
            v = self.image_vector - self.vector
            moving = self.movable & np.isfinite(u + v)
        return (u, v) if moving.all() else (np.where(moving, u, 0.0), np.where(moving, v, 0.0))

    def move_to(self, vector: FloatArray) -> _Point | None:
        """The point at other coordinates, as far as they may move; None if that is not a legal one."""
        params = self._model.unflatten(np.where(self.movable, vector, self.vector), self.params)
        if not all(np.all(np.isfinite(leaf)) for leaf in leaves(params)):
            return None
        resting = self._model.resting(params)
        if resting is not None and (resting & self.movable).any():
            return None
        return _Point(self._model, params, self._batches, extrapolated=True)

    def iterate(self, projection: Projection | None = None) -> Iterate:
        base = Iterate(self.params, self.objective, float(self.e_step.log_likelihood), self._extrapolated)
        if projection is None:
            return base
        rate = projection.rate if projection.follows_plain else np.nan
        return base._replace(gap=projection.gap, rate=rate, lost=projection.lost)
