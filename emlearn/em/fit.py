"""The EM loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.acceleration import ACCELERATIONS
from emlearn.em.batches import as_data, intended_underflow, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.model import EMModel, EStep
from emlearn.em.rate import Secants
from emlearn.em.spaces import FloatArray
from emlearn.em.stopping import NOISE, AitkenStop, Iterate, Projection
from emlearn.em.trees import leaves, tree_map

# Times that an M-step is shortened before it is given up.
MAX_SHORTENED = 30
# An extrapolated point that gains more than this many times what plain steps are projected to gain, or than the
# objective itself is large, has left what the objective can be computed for.
ABSURD, ABSURDLY_LARGE = 1e6, 100.0
# What a model may raise at parameters that are none.
NO_PARAMETERS = (np.linalg.LinAlgError, FloatingPointError, ValueError)


class MonotonicityWarning(RuntimeWarning):
    """The objective fell from one EM iteration to the next: the model's E-step and M-step disagree."""


class EMResult(NamedTuple):
    """Outcome of a fit. The log-likelihood belongs to the parameters returned."""

    params: Any
    log_likelihood: float  # nats; with hard assignments that of what is seen and hidden together
    objective: float  # log-likelihood + log prior, nats
    converged: bool
    n_iter: int  # iterations: steps of EM or accepted extrapolations after the start
    gap: float  # projected gain still to come, nats
    history: tuple[float, ...]  # objective after each E-step
    extrapolated: tuple[bool, ...]  # which of them were reached by extrapolation
    secants: Secants | None = None  # what the last steps tell of the EM map
    reason: str = "converged"  # why it is over, one of `emlearn.em.stopping.REASONS`
    mean: Any = None  # of a chain of draws: mean parameters since the burn-in
    stats: Any = None  # expected sufficient statistics at the parameters
    weight: float = 0.0  # Σ weight that these are of

    @classmethod
    def of(cls, history: list[Iterate], reason: str) -> EMResult:
        """Sum up the iterates of a fit."""
        last = history[-1]
        reached = last.reached
        return cls(
            params=reached.params,
            log_likelihood=reached.log_likelihood,
            objective=reached.objective,
            converged=reason in ("converged", "rounding"),
            n_iter=len(history) - 1,
            gap=last.gap,
            history=tuple(iterate.objective for iterate in history),
            extrapolated=tuple(iterate.extrapolated for iterate in history),
            secants=last.secants,
            reason=reason,
            mean=last.mean,
            stats=reached.stats,
            weight=reached.weight,
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
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Data
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
    stop, end = AitkenStop(tol), "callback"

    def iterates() -> Iterator[Iterate]:
        nonlocal end
        end = yield from em_iterates(model, params, data, tol, max_iter, acceleration)

    with one_blas_thread(), intended_underflow():
        for iterate in iterates():
            remember(history, iterate)
            if stop(iterate) or (callback is not None and callback(iterate)):
                break
    return EMResult.of(history, stop.reason(history[-1], end))


def remember(history: list[Iterate], iterate: Iterate) -> None:
    """Append to a history in which only the last iterate keeps its parameters and statistics."""
    if history:
        history[-1] = history[-1]._replace(params=None, stats=None, best=None, mean=None)
    history.append(iterate)


def em_iterates(
    model: EMModel,
    params: Any,
    data: Any,
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
) -> Generator[Iterate, None, str]:
    """E-steps one after another, without a stopping rule: the loop of `fit_em`, to be driven by hand.

    Iterates rise: an extrapolated point that is not at least as good as the EM step before it is not shown,
    though it counts as an iteration. What the generator returns is why there are no more: "max_iter" or "fall".
    Arguments are those of `fit_em`; ``tol`` says when to leave off extrapolating. Iterates of a model that
    draws (`EMModel.is_random`) are a Markov chain, and do not rise.
    """
    if acceleration not in ACCELERATIONS:
        raise ValueError(f"acceleration={acceleration!r} is none of {', '.join(ACCELERATIONS)}.")
    accelerator, projection, secants = ACCELERATIONS[acceleration](), Projection(), Secants()
    chain = _Chain(burn_in=max_iter // 2) if model.is_random else None
    last = _Point(model, params, as_data(data))
    if not np.isfinite(last.objective):
        raise ValueError(f"The objective is {last.objective} at the starting parameters.")
    yield last.iterate(secants) if chain is None else chain.see(last.iterate(secants))
    n_iter = 0
    while n_iter < max_iter:
        here, n_steps = last.step()
        n_iter += n_steps
        if chain is not None:
            if not np.isfinite(here.objective):
                return "fall"
            last = here
            yield chain.see(here.iterate(secants))
            continue
        if here.is_below(last, model.rounding):
            _warn_of_fall(last.objective - here.objective, n_iter)
            return "fall"
        u, v = here.differences(last)
        projection.see(here.objective - last.objective, u, v, NOISE * here.size)
        secants.see(last.vector, u, v)
        yield here.iterate(secants, projection)
        # Close to the end only plain steps: they alone can show that it is the end.
        only_plain = projection.gap < tol or n_iter + 1 >= max_iter
        guess = None if only_plain else accelerator.propose(last.vector, u, v)
        last = here
        if guess is not None:
            last, n_steps = here.leap(guess, projection.gap)
            n_iter += n_steps
            accelerator.learn(accepted=last is not here)
        if last is not here:
            projection.break_off()
            yield last.iterate(secants)
    return "max_iter"


def _warn_of_fall(fall: float, n_iter: int) -> None:
    warnings.warn(
        f"EM stopped: the objective fell by {fall:.3g} nats in iteration {n_iter}. The M-step does not "
        "maximise what the E-step sums up, or the data are so large that the objective loses its digits.",
        MonotonicityWarning,
        stacklevel=3,
    )


class _Chain:
    """What is kept of a chain of draws: its best iterate, and the mean of the parameters after the burn-in."""

    def __init__(self, burn_in: int):
        self._burn_in = burn_in
        self._n_seen = 0
        self._best: Iterate | None = None
        self._mean: Any = None

    def see(self, iterate: Iterate) -> Iterate:
        """The iterate with what is kept so far."""
        self._n_seen += 1
        n_after = self._n_seen - 1 - self._burn_in  # the start is none of the draws
        if n_after == 1:
            self._mean = iterate.params
        elif n_after > 1:
            self._mean = tree_map(lambda mean, new: mean + (new - mean) / n_after, self._mean, iterate.params)
        if self._best is None or iterate.objective > self._best.objective:
            self._best = iterate
        return iterate._replace(best=self._best, mean=self._mean)


class _Point:
    """Parameters with their E-step, the EM image that comes with it, and coordinates."""

    def __init__(
        self, model: EMModel, params: Any, batches: Data, *, number: int = 0, extrapolated: bool = False
    ):
        self._model = model
        self._number = number
        self._batches = batches
        self._extrapolated = extrapolated
        self.params = params
        self.e_step: EStep = batches.sum(model.at(number).expectation(params))
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
        after = _Point(self._model, self.image, self._batches, number=self._number + 1)
        if self._model.is_random:
            return after, 1
        after.vector = self.image_vector  # the same parameters
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

    def leap(self, guess: FloatArray, gap: float) -> tuple[_Point, int]:
        """The guess if it is legal and at least as good, else this point; and the E-steps that took.

        ``gap`` is what plain steps would gain, projected: a guess that gains more by orders of magnitude is
        not believed. What cannot be computed at a guess speaks against the guess alone.
        """
        n_steps = 0
        try:
            params = self._model.unflatten(np.where(self.movable, guess, self.vector), self.params)
            if self._is_legal(params):
                n_steps = 1
                ahead = _Point(self._model, params, self._batches, extrapolated=True)
                # False for NaN. Whether there is a way on from there belongs to what is asked of it.
                if 0.0 <= ahead.objective - self.objective <= self._believable(gap) and ahead.image is not None:
                    return ahead, n_steps
        except NO_PARAMETERS:
            pass
        return self, n_steps

    def _believable(self, gap: float) -> float:
        """The most that extrapolation may gain, in nats."""
        return min(ABSURD * gap, ABSURDLY_LARGE * self.size)

    def _is_legal(self, params: Any) -> bool:
        """Whether parameters are finite, and no more of them rest on a constraint than here."""
        if not all(np.all(np.isfinite(leaf)) for leaf in leaves(params)):
            return False
        resting = self._model.resting(params)
        return resting is None or not (resting & self.movable).any()

    def iterate(self, secants: Secants, projection: Projection | None = None) -> Iterate:
        """What is shown of this point; a projection says what the plain step that led here tells."""
        shown = Iterate(
            self.params,
            self.objective,
            float(self.e_step.log_likelihood),
            self._extrapolated,
            secants=secants,
            stats=self.e_step.stats,
            weight=self.e_step.weight,
        )
        if projection is None:
            return shown
        rate = projection.rate if projection.follows_plain else np.nan
        return shown._replace(gap=projection.gap, rate=rate, lost=projection.lost)
