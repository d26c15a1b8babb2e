"""The EM loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from emlearn.em.acceleration import ACCELERATIONS, Accelerator, propose, some, squared_length
from emlearn.em.batches import Batch, as_data, intended_underflow, one_blas_thread
from emlearn.em.forms import IGNORED, check_leaves, checked, quiet
from emlearn.em.model import EMModel, EStep
from emlearn.em.rate import Secants
from emlearn.em.spaces import FloatArray
from emlearn.em.stack import Alone, Stack, n_together, stack_of
from emlearn.em.stopping import NOISE, AitkenStop, Iterate, Projection
from emlearn.em.trees import Tree, tree_map

BoolArray = NDArray[np.bool_]
Rows = NDArray[np.intp]

# Times that an M-step is shortened before it is given up.
MAX_SHORTENED = 30
# An extrapolated point that gains more than this many times what plain steps are projected to gain, or than the
# objective itself is large, has left what the objective can be computed for.
ABSURD, ABSURDLY_LARGE = 1e6, 100.0
# What a model may raise at parameters that are none: LinAlgError is a ValueError, and what overflows, divides
# by zero or was made an error by np.errstate is an ArithmeticError.
NO_PARAMETERS = (ValueError, ArithmeticError)


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
        If the objective is not finite at the start, or if parameters or statistics are made of anything but
        arrays, numbers, and tuples of these.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` iterations do not reach ``tol``; not where they are 0, for parameters to be evaluated.
    MonotonicityWarning
        If the objective falls, or is no number any more, and `EMModel.shortened` has nothing shorter to offer.

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
    result = climb(
        model, params, data, tol=tol, max_iter=max_iter, acceleration=acceleration, callback=callback
    )
    if result.reason == "max_iter" and max_iter and not model.is_random:  # draws never come to an end
        gap = f"a projected {result.gap:.3g}" if math.isfinite(result.gap) else "an unknown number of"
        warnings.warn(
            f"EM stopped short of tol={tol}, at max_iter={max_iter}, with {gap} nats still to be gained. "
            "Increase max_iter, or start elsewhere.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return result


def climb(
    model: EMModel,
    params: Any,
    data: Any,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
    callback: Callable[[Iterate], bool | None] | None = None,
) -> EMResult:
    """`fit_em` for callers that judge themselves whether it converged: without a warning if it did not."""
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


def fit_each(
    model: EMModel,
    starts: Sequence[Any],
    data: Any,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
) -> list[EMResult | Exception]:
    """Fits of a model from each of some starts, as by `fit_em`, or what went wrong; side by side if it can."""
    batches, stack = as_data(data), stack_of(model)
    size = n_together(model, batches)
    results: list[EMResult | Exception] = []
    with one_blas_thread(), intended_underflow():
        for first in range(0, len(starts), size):
            fits = Fits(stack, starts[first : first + size], batches, tol, max_iter, acceleration)
            results += _to_the_end(fits, tol)
    return results


def _to_the_end(fits: Fits, tol: float) -> list[EMResult | Exception]:
    """What becomes of each of some fits."""
    n_fits = len(fits)
    results: list[EMResult | Exception | None] = [None] * n_fits
    histories: list[list[Iterate]] = [[] for _ in range(n_fits)]
    stops = [AitkenStop(tol) for _ in range(n_fits)]
    moving = list(range(n_fits))
    while moving:
        news, going = fits.advance(), []
        for row, number in enumerate(moving):
            what, history, stop = news[row], histories[number], stops[number]
            if isinstance(what, Exception):
                results[number] = what
                continue
            end = what if isinstance(what, str) else "max_iter" if fits.is_spent(row) else ""
            if isinstance(what, Iterate):
                history.append(what)
                end = "callback" if stop(what) else end
            if not end:
                going.append(row)
                continue
            history[-1] = fits.in_full(row, history[-1])
            results[number] = EMResult.of(history, stop.reason(history[-1], end))
        if going and len(going) < len(moving):
            fits = fits.take(going)
        moving = [moving[row] for row in going]
    return cast("list[EMResult | Exception]", results)


def remember(history: list[Iterate], iterate: Iterate) -> None:
    """Append to a history in which only the last iterate keeps its parameters and statistics."""
    if history and history[-1].params is not None:
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
    fits = Fits(stack_of(model, many=False), [params], data, tol, max_iter, acceleration)
    while not fits.is_spent(0):
        (news,) = fits.advance()
        if isinstance(news, Exception):
            raise news
        if isinstance(news, str):
            return news
        if news is not None:
            yield fits.in_full(0, news)
    return "max_iter"


def _size(objective: float, weight: float) -> float:
    """Nats that rounding is relative to, of an objective and Σ weight; it does not explain a fall to -inf."""
    return (abs(objective) if math.isfinite(objective) else 0.0) + weight


def _warn_of_fall(before: float, here: float, n_iter: int) -> None:
    fell = f"fell by {before - here:.3g} nats" if math.isfinite(here) else f"went from {before:.6g} to {here}"
    warnings.warn(
        f"EM stopped: the objective {fell} in iteration {n_iter}. The M-step does not "
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


class _Points(NamedTuple):
    """Where some fits stand: parameters with their E-steps, the EM images that come with them, coordinates.

    Those of a model that draws have no coordinates.
    """

    params: Tree  # stacked, as are the two that follow
    stats: Tree
    image: Tree  # G(θ): the parameters that an M-step makes of this E-step
    vector: FloatArray  # (S, D)
    image_vector: FloatArray  # (S, D)
    movable: BoolArray  # (S, D) what may be extrapolated: not on a boundary, where the map is not smooth

    def take(self, rows: Rows, stack: Stack) -> _Points:
        """Of some of the fits."""
        return _Points(*(stack.take(tree, rows) for tree in self[:3]), *(part[rows] for part in self[3:]))

    def put(self, rows: Rows, others: _Points, stack: Stack) -> _Points:
        """With others in the place of some rows."""
        trees = (stack.put(tree, rows, other) for tree, other in zip(self[:3], others[:3], strict=True))
        parts = [part.copy() for part in self[3:]]
        for part, other in zip(parts, others[3:], strict=True):
            part[rows] = other
        return _Points(*trees, *parts)

    def join(self, others: Sequence[_Points], stack: Stack) -> _Points:
        """These, then others."""
        every = [self, *others]
        trees = (stack.join(*each) for each in zip(*(points[:3] for points in every), strict=True))
        parts = (np.concatenate(each) for each in zip(*(points[3:] for points in every), strict=True))
        return _Points(*trees, *parts)


# What a fit asks of the next E-step.
START, PLAIN, LEAP = 0, 1, 2
# What becomes of a fit by an E-step: an iterate to show, nothing, why it is over, or what went wrong.
News = Iterate | str | Exception | None


@dataclass(slots=True)
class _Fit:
    """One of the fits: where it stands, and how it goes on."""

    accelerator: Accelerator
    chain: _Chain | None
    projection: Projection = field(default_factory=Projection)
    secants: Secants = field(default_factory=Secants)
    asks: int = START
    n_iter: int = 0  # E-steps after the first
    n_shortened: int = 0  # how often the M-step was, since the last iterate
    objective: float = math.nan
    size: float = math.nan  # nats, for what floating point can tell
    failed: Exception | None = None  # to step on from where it starts

    def is_risen(self, objective: float, size: float) -> bool:
        """Whether an E-step of this objective is as high as it should be; of a plain one, but for rounding."""
        if self.asks == START or self.chain is not None:
            return math.isfinite(objective)
        gain = objective - self.objective
        if self.asks == PLAIN:
            return gain >= -100 * NOISE * size
        return 0.0 <= gain <= min(ABSURD * self.projection.gap, ABSURDLY_LARGE * self.size)


@dataclass
class _Seen:
    """What an E-step of several fits brings."""

    objective: list[float]  # of each fit; NaN where it failed
    log_likelihood: list[float]
    weight: float = math.nan
    errors: dict[int, Exception] = field(default_factory=dict)  # of fits that failed
    late: dict[int, Exception] = field(default_factory=dict)  # of those that cannot step on from their start
    lower: dict[int, Any] = field(default_factory=dict)  # where plain steps fell: a shorter one, or None
    rows: list[int] = field(default_factory=list)  # fits that rose, ...
    points: _Points | None = None  # ... and where they are


class Fits:
    """Fits of one model to the same data, side by side, an E-step of all at a time: the loop of EM.

    What is computed of parameters is of all fits at once. What each decides it decides as if it were alone:
    they have their own step lengths, guards and projections.

    Parameters
    ----------
    stack : Stack
        The model, as far as its parameters can stand side by side.
    params : sequence of parameters
        Where each begins.
    data : array-like, pair (rows, weights), iterable of arrays, or Data
    tol, max_iter, acceleration
        As in `em_iterates`.
    """

    def __init__(
        self, stack: Stack, params: Sequence[Any], data: Any, tol: float, max_iter: int, acceleration: str
    ):
        if acceleration not in ACCELERATIONS:
            raise ValueError(f"acceleration={acceleration!r} is none of {', '.join(ACCELERATIONS)}.")
        self._stack, self._data = stack, as_data(data)
        self._tol, self._max_iter = tol, max_iter
        self._model = stack.model
        if isinstance(stack, Alone):
            for one in params:
                check_leaves("parameters", one)
        self._is_random = self._model.is_random
        self._fits = [
            _Fit(ACCELERATIONS[acceleration](), _Chain(burn_in=max_iter // 2) if self._is_random else None)
            for _ in params
        ]
        self._wanted: Tree = stack.of_sets(params)  # parameters of the next E-step
        self._here: _Points | None = None  # None before the first
        self._weight = math.nan  # Σ weight

    def __len__(self) -> int:
        return len(self._fits)

    def take(self, rows: Sequence[int]) -> Fits:
        """Some of the fits, which from now on go by themselves."""
        some, places = self._alike(), np.array(rows, dtype=np.intp)
        some._fits = [self._fits[row] for row in rows]
        some._wanted = self._stack.take(self._wanted, places)
        some._here = None if self._here is None else self._here.take(places, self._stack)
        return some

    def _alike(self) -> Fits:
        """A shallow copy, at a tenth of the price of `copy.copy`."""
        alike = Fits.__new__(Fits)
        alike.__dict__.update(self.__dict__)
        return alike

    @property
    def are_new(self) -> bool:
        """Whether they are before their first E-steps; else all are past it."""
        return self._here is None

    def join(self, *others: Fits) -> Fits:
        """These fits, then others of the same model; either all or none are new."""
        both = self._alike()
        both._fits = sum((other._fits for other in others), self._fits)
        both._wanted = self._stack.join(self._wanted, *(other._wanted for other in others))
        points = [other._here for other in others if other._here is not None]
        both._here = None if self._here is None else self._here.join(points, self._stack)
        return both

    def is_spent(self, row: int) -> bool:
        """Whether a fit has no iterations left."""
        fit = self._fits[row]
        return fit.asks == PLAIN and not fit.n_shortened and fit.n_iter >= self._max_iter

    def in_full(self, row: int, iterate: Iterate) -> Iterate:
        """The latest iterate of a fit with its parameters and statistics."""
        points, fit = self._here, self._fits[row]
        if points is None:
            return iterate
        full = iterate._replace(
            params=self._stack.one(points.params, row),
            stats=self._stack.one(points.stats, row),
            secants=fit.secants,
            weight=self._weight,
        )
        return full if fit.chain is None else fit.chain.see(full)

    # -- a step ------------------------------------------------------------------------------------------

    def advance(self) -> list[News]:
        """Take an E-step of each fit, and say what became of it.

        A fit of which there is nothing to show was refused a guess, or shortens its step: it goes on. One that
        is over, or that failed, must not be asked again, nor one that is spent.
        """
        fits = self._fits
        news: list[News] = [None] * len(fits)
        failed = {row: fit.failed for row, fit in enumerate(fits) if fit.failed is not None}
        if len(failed) == len(fits):
            return list(failed.values())
        seen = self._look()
        for fit in fits:
            fit.n_iter += fit.asks != START
        onward = list(seen.rows)  # who asks for its EM image next
        for row, error in seen.errors.items():
            news[row] = error
        for row, params in seen.lower.items():
            if params is None:
                if not self._is_random:
                    _warn_of_fall(fits[row].objective, seen.objective[row], fits[row].n_iter)
                news[row] = "fall"
            else:
                fits[row].n_shortened += 1
                self._wanted = self._stack.put(self._wanted, np.array([row]), self._stack.of_sets([params]))
        if len(seen.rows) < len(fits):
            gone_on = {*seen.rows, *seen.lower}
            for row, fit in enumerate(fits):
                if fit.asks == LEAP and row not in gone_on:
                    fit.accelerator.learn(False)
                    news[row] = None
                    onward.append(row)
        guesses = None
        if seen.points is not None:
            self._weight = seen.weight
            guesses = self._judge(seen, seen.points, news)
        self._go_on_plainly(onward)
        if guesses is not None:
            self._try_guesses(*guesses)
        for row, reason in failed.items():
            news[row] = reason
        for row, error in seen.late.items():
            fits[row].failed = error
        return news

    def _look(self) -> _Seen:
        """What there is where E-steps are asked for. Nothing of the fits is changed."""
        try:
            with np.errstate(**IGNORED) if any(fit.asks == LEAP for fit in self._fits) else nullcontext():
                return self._look_at_all()
        except NO_PARAMETERS as error:
            if len(self) == 1:
                return _Seen([math.nan], [math.nan], errors={0: error})
        # Whose fault it was is found out one by one.
        each = [self.take([row])._look() for row in range(len(self))]
        together = _Seen([one.objective[0] for one in each], [one.log_likelihood[0] for one in each])
        for row, one in enumerate(each):
            for part in ("errors", "late", "lower"):
                if own := getattr(one, part):
                    getattr(together, part)[row] = own[0]
            if one.points is not None:
                together.rows.append(row)
                together.weight = one.weight
        points = [one.points for one in each if one.points is not None]
        together.points = points[0].join(points[1:], self._stack) if points else None
        return together

    def _expectation(self) -> Callable[[Batch], EStep]:
        """The E-step of all fits where they want it."""
        fits = self._fits
        e_step = self._stack.expectation(self._wanted, fits[0].n_iter + (fits[0].asks != START))
        if self._here is None and isinstance(self._stack, Alone):  # a model of one's own: once for all
            return checked(e_step)
        return quiet(e_step) if any(fit.asks == LEAP for fit in fits) else e_step

    def _look_at_all(self) -> _Seen:
        stack, params, fits = self._stack, self._wanted, self._fits
        e_step = self._data.sum(self._expectation())
        log_likelihood: list[float] = np.ravel(e_step.log_likelihood).tolist()
        prior = stack.log_prior(params)
        objective = [likelihood + own for likelihood, own in zip(log_likelihood, prior, strict=True)]
        seen = _Seen(objective, log_likelihood, float(e_step.weight))
        for row, fit in enumerate(fits):
            if self._is_risen(row, fit, seen):
                seen.rows.append(row)
        if not seen.rows:
            return seen
        stats, rows = e_step.stats, seen.rows
        if len(rows) < len(fits):
            places = np.array(rows)
            params, stats = stack.take(params, places), stack.take(stats, places)
        image, failed = self._images(stats, params)
        seen.late = {rows[i]: error for i, error in failed.items()}
        if self._is_random:
            vector = image_vector = np.zeros((1, 0))
            movable = np.zeros((1, 0), dtype=bool)
        else:
            image_vector = stack.flatten(image)
            vector = self._vectors(params, rows)
            movable = np.isfinite(vector)
            resting = stack.resting(params)
            if resting is not None:
                movable &= ~resting
        seen.points = _Points(params, stats, image, vector, image_vector, movable)
        return seen

    def _is_risen(self, row: int, fit: _Fit, seen: _Seen) -> bool:
        """Whether a fit rose as it should; if not, what becomes of it is told in ``seen``."""
        objective = seen.objective[row]
        size = _size(objective, seen.weight)
        if fit.is_risen(objective, size):
            return True
        if fit.asks == START:
            seen.errors[row] = ValueError(f"The objective is {objective} at the starting parameters.")
        elif fit.asks == PLAIN:
            shorter = self._shortened(row)
            if shorter is None and objective - fit.objective >= -self._model.rounding * size:
                return True
            seen.lower[row] = shorter
        return False

    def _shortened(self, row: int) -> Any:
        """What to take for an M-step that lowered the objective; None where there is nothing else."""
        attempt = self._fits[row].n_shortened + 1
        if self._here is None or self._is_random or attempt >= MAX_SHORTENED:
            return None
        stats, params = (self._stack.one(tree, row) for tree in (self._here.stats, self._here.params))
        return self._model.shortened(stats, params, attempt)

    def _images(self, stats: Tree, params: Tree) -> tuple[Tree, dict[int, Exception]]:
        """M-steps; a start is shown even where there is none, with itself in its place and what went wrong."""
        try:
            return self._stack.maximize(stats, params), {}
        except NO_PARAMETERS as error:
            if self._here is not None or len(self) > 1:  # to be found out one by one
                raise
            return params, {0: error}

    def _vectors(self, params: Tree, rows: list[int]) -> FloatArray:
        """Coordinates of parameters: those of an image are known already."""
        if self._here is None:
            return self._stack.flatten(params)
        known = self._here.image_vector
        own = (self._fits[row] for row in rows)
        others = [i for i, fit in enumerate(own) if fit.asks == LEAP or fit.n_shortened]
        if len(others) == len(rows):
            return self._stack.flatten(params)
        vector = known if len(rows) == len(known) and not others else known[rows]
        if others:
            vector[others] = self._stack.flatten(self._stack.take(params, np.array(others)))
        return vector

    def _judge(self, seen: _Seen, points: _Points, news: list[News]) -> tuple[list[int], FloatArray] | None:
        """Take in what rose and show it; fits that have a guess at where they lead, and the guesses."""
        rows, before, guesses = seen.rows, self._here, None
        if len(rows) == len(self):
            self._here = points
        elif before is not None:
            self._here = before.put(np.array(rows), points, self._stack)
        else:  # those that failed are not asked again: anything may stand for them
            stand_in = np.zeros(len(self), dtype=np.intp)
            stand_in[rows] = np.arange(len(rows))
            self._here = points.take(stand_in, self._stack)
        if before is not None and not self._is_random:
            plain = [i for i, row in enumerate(rows) if self._fits[row].asks == PLAIN]
            if plain:
                guesses = self._see_steps(before, points, seen, plain)
        for row in rows:
            fit, projection = self._fits[row], self._fits[row].projection
            objective, log_likelihood = seen.objective[row], seen.log_likelihood[row]
            fit.n_shortened = 0
            fit.objective, fit.size = objective, abs(objective) + seen.weight
            if fit.asks == PLAIN and not self._is_random:
                rate = projection.rate if projection.follows_plain else math.nan
                iterate = Iterate(None, objective, log_likelihood, False, projection.gap, rate, projection.lost)
            else:
                iterate = Iterate(None, objective, log_likelihood, fit.asks == LEAP)
                if fit.asks == LEAP:
                    projection.break_off()
                    fit.accelerator.learn(True)
            news[row] = iterate
        return guesses

    def _see_steps(
        self, before: _Points, points: _Points, seen: _Seen, plain: list[int]
    ) -> tuple[list[int], FloatArray] | None:
        """Take in pairs of plain steps; fits that have a guess at where they lead, and the guesses."""
        rows = [seen.rows[i] for i in plain]
        fits = [self._fits[row] for row in rows]
        start = some(before.vector, rows)
        vector, image_vector = some(points.vector, plain), some(points.image_vector, plain)
        movable = some(points.movable, plain)
        with np.errstate(invalid="ignore"):  # -inf − -inf, masked
            u, v = vector - start, image_vector - vector
        step, next_step = squared_length(u), squared_length(v)
        if not (movable.all() and math.isfinite(sum(step) + sum(next_step))):
            moving = movable & np.isfinite(u + v)
            u, v = np.where(moving, u, 0.0), np.where(moving, v, 0.0)
            step, next_step = squared_length(u), squared_length(v)
        going = []
        for i, (row, fit) in enumerate(zip(rows, fits, strict=True)):
            objective = seen.objective[row]
            noise = NOISE * (abs(objective) + seen.weight)
            fit.projection.see(objective - fit.objective, step[i], next_step[i], noise)
            fit.secants.see(start[i], u[i], v[i])
            # Close to the end only plain steps: they alone can show that it is the end.
            if fit.projection.gap >= self._tol and fit.n_iter + 1 < self._max_iter:
                going.append(i)
        if not going:
            return None
        start, u, v = (some(part, going) for part in (start, u, v))
        chosen, guesses = propose([fits[i].accelerator for i in going], start, u, v, [step[i] for i in going])
        return ([rows[going[i]] for i in chosen], guesses) if chosen else None

    def _go_on_plainly(self, rows: list[int]) -> None:
        """Ask for the EM images of some fits next."""
        if self._here is None:
            return
        for row in rows:
            self._fits[row].asks = PLAIN
        images = self._here.image
        if len(rows) < len(self):
            places = np.array(rows, dtype=np.intp)
            images = self._stack.put(self._wanted, places, self._stack.take(images, places))
        self._wanted = images

    def _try_guesses(self, rows: list[int], guesses: FloatArray) -> None:
        """Ask for those guesses next that are legal."""
        legal, params = self._legal(rows, guesses)
        if legal:
            self._wanted = self._stack.put(self._wanted, np.array(legal), params)
        for row in rows:
            if row in legal:
                self._fits[row].asks = LEAP
            else:
                self._fits[row].accelerator.learn(False)

    def _legal(self, rows: list[int], guesses: FloatArray) -> tuple[list[int], Tree]:
        """Which guesses are parameters, no more of them on a constraint than here; and these.

        What cannot be computed at a guess speaks against the guess alone.
        """
        here, stack = self._here, self._stack
        if here is None:
            return [], None
        movable, vector = some(here.movable, rows), some(here.vector, rows)
        like = here.params if len(rows) == len(self) else stack.take(here.params, np.array(rows))
        try:
            with np.errstate(invalid="ignore", divide="ignore"):  # of guesses that are no numbers any more
                params = stack.unflatten(np.where(movable, guesses, vector), like)
            legal = [i for i, is_finite in enumerate(stack.are_finite(params)) if is_finite]
            if len(legal) < len(rows):
                params = stack.take(params, np.array(legal, dtype=np.intp))
            if legal and (resting := stack.resting(params)) is not None:
                rests: BoolArray = np.any(resting & movable[legal], axis=1)
                if rests.any():
                    params = stack.take(params, np.flatnonzero(~rests))
                    legal = [i for i, does in zip(legal, rests.tolist(), strict=True) if not does]
            return [rows[i] for i in legal], params
        except NO_PARAMETERS:
            if len(rows) == 1:
                return [], None
        each = [self._legal([row], guesses[i : i + 1]) for i, row in enumerate(rows)]
        found = [params for own, params in each if own]
        return [row for own, _ in each for row in own], stack.join(*found) if found else None
