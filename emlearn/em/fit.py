"""The EM loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from emlearn.em.acceleration import ACCELERATIONS, EachFit
from emlearn.em.batches import as_data, intended_underflow, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.model import EMModel
from emlearn.em.rate import Secants
from emlearn.em.spaces import FloatArray
from emlearn.em.stack import Stack, n_together, stack_of
from emlearn.em.stopping import NOISE, AitkenStop, Iterate, Projection
from emlearn.em.trees import Tree, tree_map

BoolArray = NDArray[np.bool_]
Rows = NDArray[np.intp]

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
            fits = Fits.begin(stack, starts[first : first + size], batches, tol, max_iter, acceleration)
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
        news, spent = fits.advance(), fits.are_spent()
        rows = []
        for row, number in enumerate(moving):
            what, history, end = news[row], histories[number], "callback"
            if isinstance(what, Exception):
                results[number] = what
                continue
            if isinstance(what, Iterate):
                history.append(what)
            if isinstance(what, str) or not (isinstance(what, Iterate) and stops[number](what)):
                if not (isinstance(what, str) or spent[row]):
                    rows.append(row)
                    continue
                end = what if isinstance(what, str) else "max_iter"
            history[-1] = fits.in_full(row, history[-1])
            results[number] = EMResult.of(history, stops[number].reason(history[-1], end))
        if len(rows) < len(moving):
            moving = [moving[row] for row in rows]
            fits = fits.take(np.array(rows, dtype=np.intp)) if rows else fits
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
    fits = Fits.begin(stack_of(model, many=False), [params], data, tol, max_iter, acceleration)
    while not fits.are_spent()[0]:
        (news,) = fits.advance()
        if isinstance(news, Exception):
            raise news
        if isinstance(news, str):
            return news
        if news is not None:
            yield fits.in_full(0, news)
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


class _Points(NamedTuple):
    """Where some fits stand: parameters with their E-steps, the EM images that come with them, coordinates.

    Those of a model that draws have no image yet, and no coordinates.
    """

    params: Tree  # stacked, as are the two that follow
    stats: Tree
    image: Tree  # G(θ): the parameters that an M-step makes of this E-step
    objective: FloatArray  # (S,)
    log_likelihood: FloatArray  # (S,)
    size: FloatArray  # (S,) nats, for what floating point can tell
    weight: FloatArray  # (S,) Σ weight
    vector: FloatArray  # (S, D)
    image_vector: FloatArray  # (S, D)
    movable: BoolArray  # (S, D) what may be extrapolated: not on a boundary, where the map is not smooth
    extrapolated: BoolArray  # (S,)

    def take(self, rows: Rows, stack: Stack) -> _Points:
        """Of some of the fits."""
        return _Points(*(stack.take(tree, rows) for tree in self[:3]), *(part[rows] for part in self[3:]))

    def put(self, rows: Rows, others: _Points, stack: Stack) -> _Points:
        """With others in the place of some rows."""
        if len(rows) == len(self.objective):
            return others
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


@dataclass
class _Seen:
    """What an E-step of several fits brings."""

    objective: FloatArray = field(default_factory=lambda: np.full(1, np.nan))  # (S,) NaN where it failed
    errors: dict[int, Exception] = field(default_factory=dict)  # of fits that failed
    late: dict[int, Exception] = field(default_factory=dict)  # of those that cannot step on from their start
    lower: dict[int, Any] = field(default_factory=dict)  # where plain steps fell: a shorter one, or None
    rows: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.intp))  # fits that rose, ...
    points: _Points | None = None  # ... and where they are


class Fits:
    """Fits of one model to the same data, side by side, an E-step of all at a time: the loop of EM.

    Each goes its way as if it were alone, with its own step lengths, guards and projections.

    Parameters
    ----------
    stack : Stack
        The model, as far as its parameters can stand side by side.
    data : Data
    tol, max_iter, acceleration
        As in `em_iterates`.
    n_fits : int
    """

    def __init__(self, stack: Stack, data: Data, tol: float, max_iter: int, acceleration: str, n_fits: int):
        self._stack, self._data = stack, data
        self._tol, self._max_iter = tol, max_iter
        self._model = stack.model
        self._accelerator = ACCELERATIONS[acceleration](n_fits)
        self._projection = Projection(n_fits)
        self._secants = [Secants() for _ in range(n_fits)]
        self._chains = [_Chain(burn_in=max_iter // 2) if self._model.is_random else None for _ in range(n_fits)]
        self._asks = np.full(n_fits, START)
        self._n_iter = np.zeros(n_fits, dtype=np.intp)
        self._n_shortened = np.zeros(n_fits, dtype=np.intp)
        self._failed: list[Exception | None] = [None] * n_fits  # to step on from where they start
        self._wanted: Tree = None  # parameters of the next E-step
        self._here: _Points | None = None  # None before the first

    @classmethod
    def begin(
        cls, stack: Stack, params: Sequence[Any], data: Any, tol: float, max_iter: int, acceleration: str
    ) -> Fits:
        """Fits from given parameters, before their first E-steps."""
        if acceleration not in ACCELERATIONS:
            raise ValueError(f"acceleration={acceleration!r} is none of {', '.join(ACCELERATIONS)}.")
        fits = cls(stack, as_data(data), tol, max_iter, acceleration, len(params))
        fits._wanted = stack.of_sets(params)
        return fits

    def __len__(self) -> int:
        return len(self._asks)

    def take(self, rows: Rows) -> Fits:
        """Some of the fits."""
        some = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, EachFit | np.ndarray):
                vars(some)[name] = value.take(rows) if isinstance(value, EachFit) else value[rows]
            elif isinstance(value, list):
                vars(some)[name] = [value[row] for row in rows]
        some._wanted = self._stack.take(self._wanted, rows)
        some._here = None if self._here is None else self._here.take(rows, self._stack)
        return some

    @property
    def are_new(self) -> bool:
        """Whether they are before their first E-steps; else all are past it."""
        return self._here is None

    def join(self, *others: Fits) -> Fits:
        """These fits, then others of the same model; either all or none are new."""
        both = copy(self)
        for name, value in vars(self).items():
            there = [vars(other)[name] for other in others]
            if isinstance(value, EachFit):
                vars(both)[name] = value.join(*there)
            elif isinstance(value, np.ndarray):
                vars(both)[name] = np.concatenate([value, *there])
            elif isinstance(value, list):
                vars(both)[name] = sum(there, value)
        both._wanted = self._stack.join(self._wanted, *(other._wanted for other in others))
        points = [other._here for other in others if other._here is not None]
        both._here = None if self._here is None else self._here.join(points, self._stack)
        return both

    def are_spent(self) -> BoolArray:
        """Which have no iterations left, (S,)."""
        return (self._asks == PLAIN) & (self._n_shortened == 0) & (self._n_iter >= self._max_iter)

    def in_full(self, row: int, iterate: Iterate) -> Iterate:
        """The latest iterate of a fit with its parameters and statistics."""
        points, chain = self._here, self._chains[row]
        if points is None:
            return iterate
        full = iterate._replace(
            params=self._stack.one(points.params, row),
            stats=self._stack.one(points.stats, row),
            secants=self._secants[row],
            weight=float(points.weight[row]),
        )
        return full if chain is None else chain.see(full)

    # -- a step ------------------------------------------------------------------------------------------

    def advance(self) -> list[News]:
        """Take an E-step of each fit, and say what became of it.

        A fit of which there is nothing to show was refused a guess, or shortens its step: it goes on. One that
        is over, or that failed, must not be asked again, nor one that is spent.
        """
        news: list[News] = [None] * len(self)
        failed = [row for row, error in enumerate(self._failed) if error is not None]
        if failed and len(failed) == len(self):
            return list(self._failed)
        seen = self._look()
        self._n_iter += self._asks != START
        for row, error in seen.errors.items():
            news[row] = None if self._asks[row] == LEAP else error
        for row, params in seen.lower.items():
            if params is None:
                if self._here is not None and not self._model.is_random:
                    fall = float(self._here.objective[row] - seen.objective[row])
                    _warn_of_fall(fall, int(self._n_iter[row]))
                news[row] = "fall"
            else:
                self._n_shortened[row] += 1
                self._wanted = self._stack.put(self._wanted, np.array([row]), self._stack.of_sets([params]))
        refused = self._asks == LEAP
        if seen.points is not None:
            refused[seen.rows] = False
            self._judge(seen.points, seen.rows, news)
        if refused.any():
            rows = np.flatnonzero(refused)
            self._accelerator.learn(rows, np.zeros(len(rows), dtype=bool))
            self._go_on_plainly(rows)
        for row in failed:
            news[row] = self._failed[row]
        for row, error in seen.late.items():
            self._failed[row] = error
        return news

    def _look(self) -> _Seen:
        """What there is where E-steps are asked for. Nothing of the fits is changed."""
        try:
            return self._look_at_all()
        except NO_PARAMETERS as error:
            if len(self) == 1:
                return _Seen(errors={0: error})
        # Whose fault it was is found out one by one.
        together, rows = _Seen(np.full(len(self), np.nan)), []
        for row in range(len(self)):
            one = self.take(np.array([row]))._look()
            together.objective[row] = one.objective[0]
            for part in ("errors", "late", "lower"):
                if own := getattr(one, part):
                    getattr(together, part)[row] = own[0]
            if one.points is not None:
                rows.append(row)
                points = together.points
                together.points = one.points if points is None else points.join([one.points], self._stack)
        together.rows = np.array(rows, dtype=np.intp)
        return together

    def _look_at_all(self) -> _Seen:
        stack, params = self._stack, self._wanted
        e_step = self._data.sum(stack.expectation(params, self._n_iter + (self._asks != START)))
        log_likelihood = np.atleast_1d(np.asarray(e_step.log_likelihood, dtype=np.float64))
        objective = log_likelihood + stack.log_prior(params)
        size = np.abs(objective) + e_step.weight
        errors, lower, rose = self._risen(objective, size)
        seen = _Seen(objective=objective, errors=errors, lower=lower, rows=np.flatnonzero(rose))
        if not rose.any():
            return seen
        stats, rows = e_step.stats, seen.rows
        if not rose.all():
            params, stats = stack.take(params, rows), stack.take(stats, rows)
            objective, log_likelihood, size = objective[rows], log_likelihood[rows], size[rows]
        image, failed = self._images(stats, params)
        seen.late = {int(rows[i]): error for i, error in failed.items()}
        if self._model.is_random:
            vector = image_vector = np.zeros((1, 0))
            movable = np.zeros((1, 0), dtype=bool)
        else:
            image_vector = stack.flatten(image)
            vector = self._vectors(params, rows)
            movable = np.isfinite(vector)
            resting = stack.resting(params)
            if resting is not None:
                movable &= ~resting
        extrapolated = self._asks[rows] == LEAP
        weight = np.full(len(rows), float(e_step.weight))
        points = _Points(
            params,
            stats,
            image,
            objective,
            log_likelihood,
            size,
            weight,
            vector,
            image_vector,
            movable,
            extrapolated,
        )
        seen.points = points
        return seen

    def _images(self, stats: Tree, params: Tree) -> tuple[Tree, dict[int, Exception]]:
        """M-steps; a start is shown even where there is none, with itself in its place and what went wrong."""
        try:
            return self._stack.maximize(stats, params), {}
        except NO_PARAMETERS as error:
            if self._here is not None or len(self) > 1:  # to be found out one by one
                raise
            return params, {0: error}

    def _vectors(self, params: Tree, rows: Rows) -> FloatArray:
        """Coordinates of parameters: those of an image are known already."""
        known = (self._asks[rows] == PLAIN) & (self._n_shortened[rows] == 0)
        if self._here is None or not known.any():
            return self._stack.flatten(params)
        vector = self._here.image_vector[rows]
        if not known.all():
            others = np.flatnonzero(~known)
            vector[others] = self._stack.flatten(self._stack.take(params, others))
        return vector

    def _risen(
        self, objective: FloatArray, size: FloatArray
    ) -> tuple[dict[int, Exception], dict[int, Any], BoolArray]:
        """Who failed, who fell and with which shorter step it may go on, and who rose as it should, (S,)."""
        here = self._here
        errors: dict[int, Exception] = {}
        lower: dict[int, Any] = {}
        if here is None or self._model.is_random:
            rose = np.isfinite(objective)
        else:
            gain = objective - here.objective
            believable = np.minimum(ABSURD * self._projection.gap, ABSURDLY_LARGE * here.size)
            leapt = (gain >= 0.0) & (gain <= believable)  # False for NaN
            # Of plain steps that is asked again below, with what rounding may do.
            stepped = gain >= -100 * NOISE * size
            rose = np.where(
                self._asks == LEAP, leapt, np.where(self._asks == START, np.isfinite(objective), stepped)
            )
        for row in np.flatnonzero(~rose & (self._asks != LEAP)).tolist():
            if self._asks[row] == START:
                errors[row] = ValueError(f"The objective is {objective[row]} at the starting parameters.")
                continue
            shorter = self._shortened(row)
            if shorter is not None:
                lower[row] = shorter
            elif here is not None and gain[row] >= -self._model.rounding * size[row]:
                rose[row] = True
            else:
                lower[row] = None
        return errors, lower, rose

    def _shortened(self, row: int) -> Any:
        """What to take for an M-step that lowered the objective; None where there is nothing else."""
        attempt = int(self._n_shortened[row]) + 1
        if self._here is None or self._model.is_random or attempt >= MAX_SHORTENED:
            return None
        stats, params = (self._stack.one(tree, row) for tree in (self._here.stats, self._here.params))
        return self._model.shortened(stats, params, attempt)

    def _judge(self, points: _Points, rows: Rows, news: list[News]) -> None:
        """Take in what rose, show it, and choose where to go from there."""
        asked = self._asks[rows]
        before = self._here
        if before is not None:
            self._here = before.put(rows, points, self._stack)
        elif len(rows) == len(self):
            self._here = points
        else:  # those that failed are not asked again: anything may stand for them
            stand_in = np.zeros(len(self), dtype=np.intp)
            stand_in[rows] = np.arange(len(rows))
            self._here = points.take(stand_in, self._stack)
        self._n_shortened[rows] = 0
        if self._model.is_random:
            self._show(points, rows, news, np.zeros(len(rows), dtype=bool))
            self._go_on_plainly(rows)
            return
        plain = np.flatnonzero(asked == PLAIN)
        self._projection.break_off(rows[asked == LEAP])
        self._accelerator.learn(rows[asked == LEAP], np.ones(np.count_nonzero(asked == LEAP), dtype=bool))
        guesses = None
        if len(plain) and before is not None:
            guesses = self._see_steps(before, points, rows, plain)
        self._show(points, rows, news, asked == PLAIN)
        self._go_on_plainly(rows)
        if guesses is not None:
            self._try_guesses(*guesses)

    def _see_steps(
        self, before: _Points, points: _Points, rows: Rows, plain: Rows
    ) -> tuple[Rows, FloatArray] | None:
        """Take in pairs of plain steps; fits that have a guess at where they lead, and the guesses."""
        fits = rows[plain]
        start, vector = before.vector[fits], points.vector[plain]
        with np.errstate(invalid="ignore"):  # -inf − -inf, masked
            u, v = vector - start, points.image_vector[plain] - vector
            moving = points.movable[plain] & np.isfinite(u + v)
        if not moving.all():
            u, v = np.where(moving, u, 0.0), np.where(moving, v, 0.0)
        gain = points.objective[plain] - before.objective[fits]
        self._projection.see(fits, gain, u, v, NOISE * points.size[plain])
        for i, row in enumerate(fits):
            self._secants[row].see(start[i], u[i], v[i])
        # Close to the end only plain steps: they alone can show that it is the end.
        goes = (self._projection.gap[fits] >= self._tol) & (self._n_iter[fits] + 1 < self._max_iter)
        if not goes.any():
            return None
        if not goes.all():
            fits, start, u, v = fits[goes], start[goes], u[goes], v[goes]
        none, guess = self._accelerator.propose(fits, start, u, v)
        return None if none.all() else (fits[~none], guess[~none])

    def _show(self, points: _Points, rows: Rows, news: list[News], by_plain: BoolArray) -> None:
        """Iterates of what is there now, without parameters and statistics."""
        shown = zip(
            rows.tolist(),
            points.objective.tolist(),
            points.log_likelihood.tolist(),
            by_plain.tolist(),
            strict=True,
        )
        gap, rate, lost = (
            part[rows].tolist() for part in (self._projection.gap, self._projection.rate, self._projection.lost)
        )
        follows = self._projection.follows_plain[rows].tolist()
        extrapolated = points.extrapolated.tolist()
        for i, (row, objective, log_likelihood, plain) in enumerate(shown):
            if plain:
                known = gap[i], rate[i] if follows[i] else np.nan, lost[i]
                news[row] = Iterate(None, objective, log_likelihood, False, *known)
            else:
                news[row] = Iterate(None, objective, log_likelihood, extrapolated[i])

    def _go_on_plainly(self, rows: Rows) -> None:
        """Ask for the EM images of some fits next."""
        if self._here is None:
            return
        self._asks[rows] = PLAIN
        images = self._here.image
        if len(rows) < len(self):
            images = self._stack.put(self._wanted, rows, self._stack.take(images, rows))
        self._wanted = images

    def _try_guesses(self, rows: Rows, guesses: FloatArray) -> None:
        """Ask for those guesses next that are legal."""
        legal, params = self._legal(rows, guesses)
        if params is not None:
            self._asks[rows[legal]] = LEAP
            self._wanted = self._stack.put(self._wanted, rows[legal], params)
        if not legal.all():
            refused = rows[~legal]
            self._accelerator.learn(refused, np.zeros(len(refused), dtype=bool))

    def _legal(self, rows: Rows, guesses: FloatArray) -> tuple[BoolArray, Tree]:
        """Which guesses are parameters, no more of them on a constraint than here; and these, None for none.

        What cannot be computed at a guess speaks against the guess alone.
        """
        here, stack = self._here, self._stack
        if here is None:
            return np.zeros(len(rows), dtype=bool), None
        movable = here.movable[rows]
        try:
            params = stack.unflatten(
                np.where(movable, guesses, here.vector[rows]), stack.take(here.params, rows)
            )
            legal = stack.are_finite(params)
            if not legal.all():
                params = stack.take(params, np.flatnonzero(legal)) if legal.any() else None
            if params is not None and (resting := stack.resting(params)) is not None:
                rests = (resting & movable[legal]).any(axis=1)
                if rests.any():
                    params = None if rests.all() else stack.take(params, np.flatnonzero(~rests))
                    legal[np.flatnonzero(legal)[rests]] = False
            return legal, params
        except NO_PARAMETERS:
            if len(rows) == 1:
                return np.zeros(1, dtype=bool), None
        legal, params = np.zeros(len(rows), dtype=bool), None
        for i in range(len(rows)):
            (legal[i],), own = self._legal(rows[i : i + 1], guesses[i : i + 1])
            if own is not None:
                params = own if params is None else stack.join(params, own)
        return legal, params
