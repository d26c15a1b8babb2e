r"""The race of starts: many begin, few finish, and the one with the best evidence wins.

A likelihood with several maxima is climbed from many places. Starts are drawn in waves until few maxima can be
left that none has reached: after N starts that arrived at w different maxima, those not yet seen draw the share

.. math:: u = \frac{w (w + 1)}{N (N - 1)}

of further starts, in expectation (Boender & Rinnooy Kan, 1987). Within a wave runs that fall behind are
dropped. A run has arrived when all but a hundredth of a nat is gained; only what may win goes on to the end.

References
----------
Boender & Rinnooy Kan (1987), Bayesian stopping rules for multistart global optimization methods, Mathematical
Programming 37.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from emlearn.em.batches import as_data, intended_underflow, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.fit import NO_PARAMETERS, EMResult, Fits, News, remember
from emlearn.em.forms import check_leaves
from emlearn.em.model import EMModel
from emlearn.em.stack import Stack, n_together, stack_of
from emlearn.em.stopping import AitkenStop, Iterate
from emlearn.em.trees import tree_map

FIRST_STEPS = 30  # E-steps after which the runs of a wave are compared for the first time
N_FINALISTS = 3  # that are compared on all of the data, where the race was on a part
MAX_RESEEDED = 3
# Gains that shrink more slowly than this, from one step to the next, are projected as if they did not.
SLOWEST = 0.99
# Fits whose projected limits are this close, in nats, are taken for the same maximum.
SAME = 0.01
# Of fits that are closer yet the first start is taken, so that rounding has no say in which.
EQUAL = 1e-6
# Starts are drawn until those that would end where none did are expected to be no more than this share of all.
UNSEEN = 0.05
# So many starts of which all are spurious are enough: further ones would be no better founded.
ENOUGH_OF_LUCK = 20
# Where all are, E-steps that the best of them may still take: collapses can go on for ever.
LUCK_STEPS = 120
RANKINGS = ("evidence", "likelihood")
FAILURES = NO_PARAMETERS  # they end a start, and no more than that


class Start(NamedTuple):
    """A place to start from. Parameters that are known already need none: `race` takes them as they are."""

    kind: str  # how it was found
    make: Callable[[], Any]  # () -> params
    reseed: Callable[[Any], Any] | None = None  # params -> better ones to go on from; None if they will do
    # Several `make` -> what they make, or what went wrong: where starts are sooner made together.
    make_each: Callable[[list[Callable[[], Any]]], list[Any]] | None = None


class Restart(NamedTuple):
    """What happened to a start."""

    kind: str  # how it was found
    status: str  # "best", "finished" (as far as was needed), "dropped", "spurious" (no evidence) or "failed"
    log_likelihood: float  # last objective (with a prior, if any), nats
    evidence: float  # the same less what may be luck; -inf for a spurious fit
    limit: float  # projected limit of the objective, nats
    n_iter: int
    history: tuple[float, ...]  # objective after each E-step, since it was last reseeded
    message: str = ""  # why it failed
    n_reseeded: int = 0  # how often components that had lost all rows were placed anew
    on_part: bool = False  # whether it saw but a part of the data, as a race on many does

    def less(self, nats: float) -> Restart:
        """The same with objectives that are lower by so many nats."""
        return self._replace(
            log_likelihood=float(self.log_likelihood - nats),
            evidence=float(self.evidence - nats),
            limit=float(self.limit - nats),
            history=tuple(float(objective - nats) for objective in self.history),
        )


class Restarts(NamedTuple):
    """What happened to all starts."""

    starts: tuple[Restart, ...]
    n_best: int  # how many reached the best maximum, projected, within 0.01 nats
    n_maxima: int  # how many different maxima were reached
    unseen: float  # expected share of further starts that would end where none did

    @property
    def passed_over(self) -> float:
        """How many nats the highest start stands above the one that was returned, which has more evidence.

        0 where none is higher. More than its handicap that can be only of a spurious start.
        """
        best = next((start for start in self.starts if start.status == "best"), None)
        if best is None:
            return 0.0
        there = [start for start in self.starts if start.status != "failed" and start.on_part == best.on_part]
        return max(start.log_likelihood for start in there) - best.log_likelihood

    def __repr__(self) -> str:
        status = [start.status for start in self.starts]
        more = [f"{status.count(name)} {name}" for name in ("dropped", "spurious", "failed") if name in status]
        if self.passed_over > SAME:
            more.append(f"one {self.passed_over:.3g} nats higher")
        return (
            f"<Restarts: {self.n_best} of {len(self.starts)} starts at the best of {self.n_maxima} maxima, "
            f"{self.unseen:.0%} unseen{'; ' if more else ''}{', '.join(more)}>"
        )

    def less(self, volume: Callable[[bool], float]) -> Restarts:
        """The same with objectives lower by so many nats, on a part of the data or on all: in other units."""
        return self._replace(starts=tuple(start.less(volume(start.on_part)) for start in self.starts))

    def to_frame(self) -> Any:
        """The starts as a pandas DataFrame, a row each, without their histories."""
        import pandas as pd

        columns = [name for name in Restart._fields if name != "history"]
        rows = [[getattr(start, name) for name in columns] for start in self.starts]
        return pd.DataFrame(rows, columns=columns).rename_axis("start")


class RaceResult(NamedTuple):
    """The best fit, and what happened to each start."""

    best: EMResult
    restarts: Restarts


# Number of the start, kind, iterate, whether it saw but a part of the data -> whether to end it.
Report = Callable[[int, str, Iterate, bool], "bool | None"]


def race(
    model: EMModel,
    starts: Sequence[Any],
    data: Any,
    *,
    sample: Any = None,
    sample_model: EMModel | None = None,
    ranking: str = "evidence",
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
    unit: float = 1.0,
    sample_unit: float = 1.0,
    again: Callable[[Any], Sequence[Start]] | None = None,
    n_jobs: int | None = None,
    report: Report | None = None,
) -> RaceResult:
    """Fit a model by EM from many starts.

    Starts are taken in their order, until few maxima can be left that none has reached.

    Parameters
    ----------
    model : EMModel
        What is fitted.
    starts : sequence of parameters, or of Start
        Where to start from; the most that are tried. Parameters are taken as they are, and called "given"; a
        `Start` makes them when its turn comes.
    data : array-like, pair (rows, weights), iterable of arrays, or Data
        What `emlearn.em.fit_em` takes.
    sample : like ``data``, default=None
        Part of the data to run the race on; the finalists then finish on all of it.
    sample_model : EMModel, default=None
        What is fitted to the part, where that is not the same: a prior that weighs as much less.
    ranking : {"evidence", "likelihood"}, default="evidence"
        What fits are compared by: the objective less the model's handicap, or the objective as it is.
    tol, max_iter, acceleration
        As in `emlearn.em.fit_em`.
    unit, sample_unit : float, default=1.0
        Weight that counts as one observation, in the data and in the part: ``tol``, and all else that is in
        nats, is for that.
    again : callable, default=None
        ``again(params)`` gives more starts once the winner is fitted to all of the data, of which the race saw
        a part: where it explains them badly. They run on all of the data.
    n_jobs : int, default=None
        Threads that share the starts, by joblib. The result does not depend on it.
    report : callable, default=None
        ``report(number of the start, kind, iterate, whether on the part)`` after each E-step; a true result
        ends that start.

    Returns
    -------
    RaceResult

    Raises
    ------
    ValueError
        If every start fails. A start that fails while others go on is recorded.
    """
    if not starts:
        raise ValueError("There is no start to race: give at least one.")
    if ranking not in RANKINGS:
        raise ValueError(f"ranking={ranking!r} is neither 'evidence' nor 'likelihood'.")
    if hasattr(starts, "_fields"):
        raise ValueError("starts are one set of parameters: give a list of such, of one if need be.")
    starts = [_as_start(start, number) for number, start in enumerate(starts)]
    batches = as_data(data)
    ground = batches if sample is None else as_data(sample)
    of_whole, of_part = _one_at_a_time(report)
    settings = _Settings(tol, max_iter, acceleration, unit, ranking, of_whole)
    ground_settings = settings if sample is None else settings._replace(unit=sample_unit, report=of_part)
    # More threads than cores would only take turns, so BLAS gets one while joblib has the others.
    with one_blas_thread(), Parallel(n_jobs=n_jobs, require="sharedmem") as parallel:
        ground_model = model if sample is None or sample_model is None else sample_model
        under_way = _Race(ground_model, ground, ground_settings, parallel, on_part=ground is not batches)
        under_way.enter(starts)
        best = winner = under_way.winner()
        late: list[_Run] = []
        if ground is not batches:
            best = _finish_on_all(under_way.finalists(), model, batches, settings)
            winner = under_way.runs[best.number]
            for number, start in enumerate(
                () if again is None or len(starts) == 1 else again(best.last.reached.params),
                len(under_way.runs),
            ):
                late.append(_Run(stack_of(model), batches, settings, start, number))
                _go(late[-1:])
                if late[-1].beats(best):
                    best = winner = late[-1]
    return RaceResult(EMResult.of(best.history, best.reason), under_way.record(winner, late))


def _as_start(start: Any, number: int) -> Start:
    """A start, of which parameters are one as they stand."""
    if isinstance(start, Start):
        return start
    if callable(start):
        raise ValueError(f'Start {number} is a function: say Start("random", function), or give parameters.')
    check_leaves(f"start {number}", start)
    return Start("given", lambda: start)


class _Settings(NamedTuple):
    """How runs go."""

    tol: float
    max_iter: int
    acceleration: str
    unit: float
    ranking: str
    report: Callable[[int, str, Iterate], bool | None] | None


def _one_at_a_time(report: Report | None) -> tuple[Any, Any]:
    """The report as threads may call it, of the whole data and of the part; None for none."""
    if report is None:
        return None, None
    lock, told = threading.Lock(), report

    def locked_report(number: int, kind: str, iterate: Iterate, on_part: bool) -> bool | None:
        with lock:
            return told(number, kind, iterate, on_part)

    return partial(locked_report, on_part=False), partial(locked_report, on_part=True)


class _Race:
    """The race on one ground.

    Attributes
    ----------
    runs : list of _Run
        Those that were begun, in the order of their starts.
    """

    def __init__(self, model: EMModel, ground: Data, settings: _Settings, parallel: Parallel, *, on_part: bool):
        self.runs: list[_Run] = []
        self._on_part = on_part
        self._new_run = partial(_Run, stack_of(model), ground, settings)
        self._n_together = n_together(model, ground)
        self._ahead: list[_Run] = []  # after their first steps, but not wanted yet
        self._may_run_ahead = settings.report is None and self._n_together > 1
        self._same = SAME * settings.unit
        self._equal = EQUAL * settings.unit
        self._parallel = parallel

    def enter(self, starts: Sequence[Start]) -> None:
        """Run waves of starts, until enough is seen or none is left; then finish whatever may win."""
        while len(self.runs) < len(starts) and (wanted := self._n_wanted()):
            self._run_wave(self._next_runs(starts, wanted))
        while True:
            in_play = self._in_play()
            if not in_play:  # the best failed when all others had been left
                best = self._ranked()[0]
                in_play = self.runs[best.number : best.number + 1] = [self._new_run(best.start, best.number)]
            # The first of equals is to win, whichever of them came to its end by itself.
            first = min((run for run in in_play if self._equals(run, in_play[0])), key=lambda run: run.number)
            if first.is_done:
                break
            if first.is_spurious and len(self.runs) > 1:
                first.chase_luck()
            else:
                _go([first])

    def _equals(self, run: _Run, best: _Run) -> bool:
        """Whether two runs lead to the same height, but for rounding."""
        return run is best or run.is_at(best, self._equal)

    def _next_runs(self, starts: Sequence[Start], wanted: int) -> list[_Run]:
        """So many runs more, after their first steps."""
        first = len(self.runs) + len(self._ahead)
        lacking = wanted - len(self._ahead)
        if lacking > 0:
            # Where the first wave did not suffice most of the starts will be wanted, and side by side they cost
            # little more: what they find must not be shown before they are.
            if self.runs and self._may_run_ahead:
                lacking = max(lacking, self._n_together)
            new = [self._new_run(start, i) for i, start in enumerate(starts[first : first + lacking], first)]
            self._approach(new, FIRST_STEPS)
            self._ahead += new
        wave, self._ahead = self._ahead[:wanted], self._ahead[wanted:]
        return wave

    def _approach(self, runs: list[_Run], steps: int) -> None:
        """Let runs take so many E-steps more, no further than to where next to nothing is left to be gained."""
        size = self._n_together
        groups = [runs[i : i + size] for i in range(0, len(runs), size)]
        if len(groups) == 1:
            _go(groups[0], steps, to_arrival=True)
        else:
            self._parallel(delayed(_go)(group, steps, to_arrival=True) for group in groups)

    def _run_wave(self, wave: list[_Run]) -> None:
        """Advance runs until they arrive; drop the worse half, again and again, of those that have not."""
        self.runs += wave
        alive, steps = wave, FIRST_STEPS
        while True:
            ranked = self._ranked()
            alive = [
                run
                for run in alive
                if not (run.has_arrived or run.is_done or run.is_spurious)
                and run.may_beat(ranked[0], 30 * self._same)
            ]
            if not alive:
                break
            steps *= 2
            self._approach(alive, steps)
        kept = self._different(ranked) if self._on_part else []
        for run in ranked:
            may_win = run.may_beat(ranked[0], self._same) and not self._is_luck(run, ranked)
            if not (may_win or run in kept):
                run.leave()

    @staticmethod
    def _is_luck(run: _Run, ranked: list[_Run]) -> bool:
        """Whether a run is under way to nothing but luck, which one run is enough for: the best of them."""
        return run.is_spurious and run is not ranked[0] and not (run.has_arrived or run.is_done)

    def _ranked(self) -> list[_Run]:
        """Runs that did not fail, the best first; of equals that which started first."""
        return sorted((run for run in self.runs if not run.message), key=_Run.rank, reverse=True)

    def _maxima(self) -> list[list[_Run]]:
        """Runs by where they lead, as far as their projections tell; spurious ones lead nowhere."""
        somewhere = sorted((run for run in self._ranked() if not run.is_spurious), key=lambda run: -run.limit)
        places: list[list[_Run]] = []
        for run in somewhere:
            # A limit is known no better than what is still to be gained.
            unknown = 5 * self._same + run.limit - run.last.reached.objective
            if places and places[-1][-1].limit - run.limit < unknown:
                places[-1].append(run)
            else:
                places.append([run])
        return places

    def _counts(self) -> tuple[int, int]:
        """At how many places how many runs are; those that were dropped count as at one of their own."""
        n_arrived = [len(place) for place in self._maxima()]
        return len(n_arrived), sum(n_arrived)

    def _unseen(self) -> float:
        w, n = self._counts()
        return min(w * (w + 1) / (n * (n - 1)), 1.0) if n > 1 else 1.0

    def _n_wanted(self) -> int:
        """How many more starts would do, if they led nowhere new."""
        w, n = self._counts()
        if self._unseen() <= UNSEEN or (n == 0 and len(self.runs) >= ENOUGH_OF_LUCK):
            return 0
        w = max(w, 1)
        return max(math.ceil(0.5 + math.sqrt(0.25 + w * (w + 1) / UNSEEN)) - n, 1)

    def _in_play(self) -> list[_Run]:
        """Runs that could go on, the best first."""
        ranked = self._ranked()
        if not ranked:
            raise ValueError(f"All {len(self.runs)} starts failed; the first one with: {self.runs[0].message}")
        return [run for run in ranked if not run.is_left]

    def _at_best(self) -> list[_Run]:
        """Finished runs where the best of all runs is, the best first."""
        in_play = self._in_play()
        return [run for run in in_play if run.is_done and run.is_at(in_play[0], self._same)]

    def winner(self) -> _Run:
        """The best run; of those that are equal but for rounding that which started first."""
        best = self._at_best()
        if not best[0].stop.converged:  # the end of the way that it broke off is better, whatever its evidence
            best = [run for run in self._in_play() if run.has_ended_ahead_of(best[0], self._same)] or best
        return min((run for run in best if run.is_at(best[0], self._equal)), key=lambda run: run.number)

    def finalists(self) -> list[_Run]:
        """The best runs at different places."""
        return self._different([self.winner(), *self._in_play()])

    def _different(self, ranked: list[_Run]) -> list[_Run]:
        """The first runs at different places that are still in play, as many as are compared on all data."""
        chosen: list[_Run] = []
        for run in ranked:
            if not (run.is_left or any(run.is_at(other, self._same) for other in chosen)):
                chosen.append(run)
        return chosen[:N_FINALISTS]

    def record(self, winner: _Run, late: list[_Run]) -> Restarts:
        """What happened to all starts, those that came after the race among them."""
        others = [] if winner in late else self.runs
        reached = [run for run in others if run is not winner and (run.has_arrived or run.is_done)] + [winner]
        n_best = sum(bool(not run.message and run.is_at(winner, self._same)) for run in reached)
        records = [run.record(run is winner, self._on_part) for run in self.runs]
        records += [run.record(run is winner, False) for run in late]
        n_maxima = len(self._maxima()) + (winner in late)
        return Restarts(tuple(records), n_best, n_maxima, self._unseen() if len(self.runs) > 1 else 0.0)


def _finish_on_all(finalists: list[_Run], model: EMModel, batches: Data, settings: _Settings) -> _Run:
    """The finalist of a race on a part that explains all data best, fitted to them."""
    again = []
    for run in finalists:
        start = Start(run.start.kind, partial(getattr, run.last.reached, "params"))
        again.append(_Run(stack_of(model), batches, settings, start, run.number))
        _go(again[-1:], 1)
    # One that fails, or turns out to be luck, gives way to the next.
    while sound := [run for run in again if not run.message]:
        best = max(sound, key=_Run.rank)
        if best.is_done:
            return best
        _go([best])
    raise ValueError(
        f"All finalists of the race failed on the whole data; the first one with: {again[0].message}"
    )


def _begin(runs: list[_Run]) -> None:
    """Find where runs start from: together, where their starts can be made so."""
    for run in runs:
        if run.start.make_each is None:
            run.begin()
    for make_each in {run.start.make_each: None for run in runs if run.start.make_each is not None}:
        alike = [run for run in runs if run.start.make_each == make_each]
        for run, params in zip(alike, make_each([run.start.make for run in alike]), strict=True):
            run.begin(params)


def _go(runs: list[_Run], steps: float = math.inf, *, to_arrival: bool = False) -> None:
    """Take up to so many E-steps of some runs, and as many again wherever lost components are placed anew.

    No further than ``to_arrival``, if asked for: to where next to nothing is left to be gained.
    """
    under_way: list[_Run] = []
    fits: Fits | None = None
    coming = list(runs)
    for run in runs:
        run.allow(steps, to_arrival)
    with intended_underflow():
        _begin([run for run in runs if run.is_new])
        while coming or under_way:
            begun = [run for run in coming if run.goes_on()]
            coming = []
            if begun:
                first, *others = (run.resume() for run in begun)
                joined = first.join(*others) if others else first
                if fits is not None and joined.are_new:  # for their first E-step by themselves
                    joined, begun, coming = _advance(joined, begun)
                if begun:
                    fits = joined if fits is None else fits.join(joined)
                    under_way += begun
            if fits is not None and under_way:
                fits, under_way, resting = _advance(fits, under_way)
                coming += resting
            if not under_way:
                fits = None


def _advance(fits: Fits, runs: list[_Run]) -> tuple[Fits, list[_Run], list[_Run]]:
    """Take an E-step of each run: the fits that go on, whose they are, and who has come to rest or is over."""
    news = fits.advance()
    for row, run in enumerate(runs):
        run.hear(news[row], fits, row)
        if fits.is_spent(row):
            run.spend()
    rows = [row for row, run in enumerate(runs) if run.is_moving]
    if len(rows) == len(runs):
        return fits, runs, []
    for row, run in enumerate(runs):
        if not run.is_moving:
            run.halt(fits, row)
    going = fits.take(rows) if rows else fits
    return going, [runs[row] for row in rows], [run for run in runs if not run.is_moving]


class _Run:
    """EM under way from one start."""

    def __init__(self, stack: Stack, batches: Data, settings: _Settings, start: Start, number: int):
        self.start = start
        self.number = number
        self.history: list[Iterate] = []
        self.message = ""
        self.stop = AitkenStop(settings.tol * settings.unit)
        self.n_reseeded = 0
        self.is_done = self._ended = False  # of itself, or since the report asked for it
        self._end = "callback"  # why there are no more iterates
        self.is_left = False  # for good, with its parameters forgotten
        self._before_anew: list[Iterate] = []
        self._handicapped: tuple[int, float] = 0, 0.0
        self._place: tuple[Fits, int] | None = None  # where it pauses, or begins: among others, and which it is
        self._steps_left = self._steps_allowed = 0.0
        self._to_arrival = False
        self._stack, self._model = stack, stack.model
        self._reseed = start.reseed
        self._batches = batches
        self._settings = settings
        self._arrival = self._new_arrival()

    @property
    def is_new(self) -> bool:
        """Whether it has not begun."""
        return self._place is None and not (self.history or self.is_done)

    def begin(self, params: Any = None) -> None:
        """Begin from where it starts, or fail by what went wrong in finding that."""
        if isinstance(params, Exception):
            self._fail(params)
            return
        try:
            self._begin_at(self.start.make() if params is None else params)
        except FAILURES as error:
            self._fail(error)

    def _begin_at(self, params: Any) -> None:
        tol, max_iter, acceleration, unit, *_ = self._settings
        fits = Fits(self._stack, [params], self._batches, tol * unit, max_iter, acceleration)
        self._place = fits, 0

    def resume(self) -> Fits:
        """The fit as it paused, by itself."""
        if self._place is None:
            raise ValueError(f"Start {self.number} has come to its end.")
        fits, row = self._place
        return fits if len(fits) == 1 else fits.take([row])

    def _fail(self, error: Exception) -> None:
        self.message = f"{type(error).__name__}: {error}"
        self.history = self.history or self._before_anew
        self.is_done = True

    def _new_arrival(self) -> AitkenStop:
        return AitkenStop(max(SAME, self._settings.tol) * self._settings.unit)

    @property
    def last(self) -> Iterate:
        return self.history[-1]

    @property
    def reason(self) -> str:
        """Why it is over."""
        return self.stop.reason(self.last, "callback" if self._ended else self._end)

    @property
    def has_arrived(self) -> bool:
        """Whether next to nothing is left to be gained."""
        if self._model.is_random:  # a chain arrives nowhere: that which has come highest by then goes on
            return not self.message and len(self.history) >= FIRST_STEPS
        return not self.message and (self._arrival.converged or self.stop.converged)

    @property
    def limit(self) -> float:
        """Projected limit of the objective; where nothing can be projected, or is to come, what is reached."""
        return self.last.reached.objective if self.is_done and not self.stop.converged else self.projection

    @property
    def projection(self) -> float:
        """Projected limit of the objective were it to go on; where nothing can be projected, what is reached.

        No rate beyond ``SLOWEST`` is believed: where parameters run away, gains hardly shrink from one step to
        the next, and promise more than there is.
        """
        gap = next(iterate.gap for iterate in reversed(self.history) if not iterate.extrapolated)
        if not math.isfinite(gap):
            return self.last.reached.objective
        recent = self.history[-4:]
        for before, here in zip(reversed(recent[:-1]), reversed(recent[1:]), strict=True):
            if not here.extrapolated:
                gain = here.objective - before.objective
                return self.last.objective + min(gap, gain * SLOWEST / (1 - SLOWEST))
        return self.last.objective + min(gap, 0.0)

    @property
    def handicap(self) -> float:
        """What it may owe to luck, in nats; asked of the model once for each iterate."""
        n_seen, handicap = self._handicapped
        if n_seen != len(self.history):
            unit, stats = self._settings.unit, self.last.reached.stats
            if unit != 1.0:
                stats = tree_map(lambda leaf: leaf / unit, stats)
            handicap = unit * self._model.handicap(self.last.reached.params, stats)
            self._handicapped = len(self.history), handicap
        return handicap

    @property
    def is_spurious(self) -> bool:
        """Whether it may owe all of its height to luck, and that counts."""
        return self._settings.ranking == "evidence" and math.isinf(self.handicap)

    def worth(self, objective: float) -> tuple[bool, float]:
        """Sorts by evidence at an objective, or by that alone if asked for; spurious fits below all others."""
        if self._settings.ranking == "likelihood":
            return True, objective
        return not self.is_spurious, objective - (0.0 if self.is_spurious else self.handicap)

    def rank(self) -> tuple[bool, float, int]:
        """Sorts by what it is worth at its limit, and of equals that first which started first."""
        return *self.worth(self.limit), -self.number

    def beats(self, other: _Run) -> bool:
        """Whether it is worth more, at another maximum."""
        same = SAME * self._settings.unit
        return not self.message and self.rank() > other.rank() and not self.is_at(other, same)

    def may_beat(self, other: _Run, nats: float) -> bool:
        """Whether it could be worth as much as the other is already, but for so many nats."""
        return self.worth(self.limit + nats) >= other.worth(other.last.reached.objective)

    def chase_luck(self) -> None:
        """Go on to the end, if that is not far or there is more than luck on the way."""
        _go([self], LUCK_STEPS)
        if self.is_spurious and not self.is_done:
            self._end, self.is_done = "luck", True

    def leave(self) -> None:
        """Go no further, and keep no more than what is to be told."""
        self.handicap  # noqa: B018 - asked for while the parameters are there
        self.is_left = True
        self._place = None
        best = self.last.best
        forgotten: dict[str, Any] = {"params": None, "stats": None, "secants": None}
        self.history[-1] = self.last._replace(**forgotten, best=best and best._replace(**forgotten), mean=None)

    def is_at(self, other: _Run, nats: float) -> bool:
        """Whether both lead to the same maximum."""
        return self.is_spurious == other.is_spurious and abs(self.limit - other.limit) < nats

    def has_ended_ahead_of(self, other: _Run, nats: float) -> bool:
        """Whether it converged where the other, which broke off, was going."""
        unknown = nats + other.projection - other.last.reached.objective  # no better is a projection known
        converged = self.stop.converged and self.is_spurious == other.is_spurious
        return converged and abs(self.limit - other.projection) < unknown

    def allow(self, steps: float, to_arrival: bool) -> None:
        """Let it take up to so many E-steps."""
        self._steps_left = self._steps_allowed = steps
        self._to_arrival = to_arrival

    @property
    def is_moving(self) -> bool:
        """Whether it is to take a further E-step."""
        there = self._to_arrival and self._arrival.converged
        return self._steps_left > 0 and not (self.is_done or there)

    def goes_on(self) -> bool:
        """Whether it is to take a further E-step, if need be from where lost components are placed anew."""
        try:
            if self._place is not None:  # it may have paused at its last iteration
                fits, row = self._place
                if fits.is_spent(row):
                    self.spend()
            while not self.is_moving:
                if self.message or not self._begin_anew():
                    return False
        except FAILURES as error:
            self._fail(error)
            return False
        return True

    def hear(self, news: News, fits: Fits, row: int) -> None:
        """Take in what became of an E-step."""
        if isinstance(news, Iterate):
            self._see(news, fits, row)
        elif isinstance(news, str):
            self._end, self.is_done = news, True
        elif news is not None:
            if not isinstance(news, FAILURES):
                raise news
            self._fail(news)

    def _see(self, iterate: Iterate, fits: Fits, row: int) -> None:
        report = self._settings.report
        if report is not None or self._model.is_random:
            iterate = fits.in_full(row, iterate)
        remember(self.history, iterate)
        self._ended = report is not None and bool(report(self.number, self.start.kind, iterate))
        self._arrival(iterate)
        self.is_done = self.stop(iterate) or self._ended
        self._steps_left -= 1

    def spend(self) -> None:
        """Hear that there are no iterations left."""
        if self.is_moving:
            self._end, self.is_done = "max_iter", True

    def halt(self, fits: Fits, row: int) -> None:
        """Keep what is needed to go on from there."""
        if self.history and self.last.params is None:
            self.history[-1] = fits.in_full(row, self.last)
        self._place = None if self.is_done else (fits, row)

    def _begin_anew(self) -> bool:
        """Whether the start has better parameters to go on from than these, of which it lost components."""
        if self._reseed is None or self._ended or self.n_reseeded == MAX_RESEEDED:
            return False
        params = self._reseed(self.last.params)
        if params is None:
            return False
        self.n_reseeded += 1
        self._before_anew = self.history
        self.history, self.is_done, self._handicapped = [], False, (0, 0.0)
        self.stop, self._arrival = AitkenStop(self._settings.tol * self._settings.unit), self._new_arrival()
        self._steps_left = self._steps_allowed
        self._begin_at(params)
        return True

    def record(self, is_best: bool, on_part: bool) -> Restart:
        """What happened to it."""
        if self.message:
            status = "failed"
        elif is_best:
            status = "best"
        elif self.is_spurious:
            status = "spurious"
        else:
            status = "finished" if self.has_arrived or self.is_done else "dropped"
        history = tuple(it.objective for it in self.history)
        reached, handicap, limit = -np.inf, 0.0, -np.inf
        if history:
            reached = float(max(history) if self._model.is_random else history[-1])
            handicap, limit = self.handicap, float(self.limit)
        return Restart(
            self.start.kind,
            status,
            log_likelihood=reached,
            evidence=reached - handicap,
            limit=limit,
            n_iter=max(len(history) - 1, 0),
            history=history,
            message=self.message,
            n_reseeded=self.n_reseeded,
            on_part=on_part,
        )
