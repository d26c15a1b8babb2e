"""The race of starts: many begin, the promising go on, few finish.

A likelihood with several maxima is climbed from many places. Starts race by successive halving: each gets a few
E-steps, the half with the best projected limits go on for twice as many, and so on, until few are left. Those
finish; then runs that were displaced, by a projection that proved too high or by several runs that met at one
place, get their turn.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from emlearn.em.batches import Batches, as_batches, one_blas_thread
from emlearn.em.fit import EMResult, em_iterates, remember
from emlearn.em.model import EMModel
from emlearn.em.stopping import AitkenStop, Iterate

FIRST_STEPS = 10  # E-steps that each start gets at first
N_FINALISTS = 3
MAX_RESEEDED = 3
# Gains that shrink more slowly than this, from one step to the next, are projected as if they did not.
SLOWEST = 0.99
# Fits whose projected limits are this close, in nats, are taken for the same maximum.
SAME = 0.01
# Of fits that are closer yet the first start is taken, so that rounding has no say in which.
EQUAL = 1e-6


class Start(NamedTuple):
    """A place to start from."""

    kind: str  # how it was found
    make: Callable[[], Any]  # () -> params
    reseed: Callable[[Any], Any] | None = None  # params -> better ones to go on from; None if they will do


class Restart(NamedTuple):
    """What happened to a start."""

    kind: str  # how it was found
    status: str  # "best", "finished", "dropped", "spurious" (on a constraint) or "failed"
    log_likelihood: float  # last objective (with a prior, if any), nats; of the subsample, if there is one
    limit: float  # projected limit of the objective, nats
    n_iter: int
    history: tuple[float, ...]  # objective after each E-step, since it was last reseeded
    message: str = ""  # why it failed
    n_reseeded: int = 0  # how often components that had lost all rows were placed anew


class Restarts(NamedTuple):
    """What happened to all starts."""

    starts: tuple[Restart, ...]
    n_best: int  # how many reached the best value, projected, within 0.01 nats
    escalated: bool  # whether a second round of starts was needed


class RaceResult(NamedTuple):
    """The best fit, and what happened to each start."""

    best: EMResult
    restarts: Restarts


Report = Callable[[int, str, Iterate], "bool | None"]  # number of the start, kind, iterate -> whether to end it


def race(
    model: EMModel,
    starts: Sequence[Start],
    data: Any,
    *,
    reserve: Sequence[Start] = (),
    n_agree: int = 2,
    sample: Any = None,
    sample_model: EMModel | None = None,
    tol: float = 1e-4,
    max_iter: int = 1000,
    acceleration: str = "auto",
    n_jobs: int | None = None,
    report: Report | None = None,
) -> RaceResult:
    """Fit a model by EM from many starts.

    Starts are halved, beginning with 10 E-steps each, until 3 distinct ones are left to finish. If too few
    starts reach the best limit, the reserve joins.

    Parameters
    ----------
    model : EMModel
        What is fitted.
    starts : sequence of Start
        Where to start from.
    data : array-like, pair (rows, weights), iterable of arrays, or Batches
        What `emlearn.em.fit_em` takes.
    reserve : sequence of Start, default=()
        More starts, for a second round if fewer than ``n_agree`` of the first reach the best limit.
    n_agree : int, default=2
        How many starts must reach the best limit to make it trustworthy.
    sample : like ``data``, default=None
        Part of the data to run the race on; the finalists then finish on all of it.
    sample_model : EMModel, default=None
        What is fitted to the part, where that is not the same: a prior that weighs as much less.
    tol, max_iter, acceleration
        As in `emlearn.em.fit_em`.
    n_jobs : int, default=None
        Threads that share the starts, by joblib. The result does not depend on it.
    report : callable, default=None
        ``report(number of the start, kind, iterate)`` after each E-step; a true result ends that start.

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
    batches = as_batches(data)
    ground = batches if sample is None else as_batches(sample)
    ground_model = model if sample is None or sample_model is None else sample_model
    settings = {"tol": tol, "max_iter": max_iter, "acceleration": acceleration}
    report = _one_at_a_time(report)
    # More threads than cores would only take turns, so BLAS gets one while joblib has the others.
    with one_blas_thread(), Parallel(n_jobs=n_jobs, require="sharedmem") as parallel:
        under_way = _Race(ground_model, ground, settings, report, parallel)
        under_way.enter(starts)
        escalated = bool(reserve) and not under_way.is_decided(n_agree)
        if escalated:
            under_way.enter(reserve)
        best = winner = under_way.winner()
        if ground is not batches:
            finalists = _distinct(under_way.finalists)[:N_FINALISTS]
            best = _finish_on_all(finalists, model, batches, settings, report)
            winner = under_way.runs[best.number]
    record = Restarts(under_way.records(winner), _n_reaching(winner, under_way.runs), escalated)
    return RaceResult(EMResult.of(best.history, best.stop.converged), record)


def _one_at_a_time(report: Report | None) -> Report:
    """The report as threads may call it."""
    lock = threading.Lock()

    def locked_report(number: int, kind: str, iterate: Iterate) -> bool | None:
        with lock:
            return report is not None and report(number, kind, iterate)

    return locked_report


class _Race:
    """The race on one ground: runs of a wave of starts are halved, finish, and leave turns to the displaced.

    Attributes
    ----------
    runs : list of _Run
        All of them, in order of their starts.
    finalists : list of _Run
        Those that were run to the end, the best first.
    """

    def __init__(
        self, model: EMModel, ground: Batches, settings: dict[str, Any], report: Report, parallel: Parallel
    ):
        self.runs: list[_Run] = []
        self.finalists: list[_Run] = []
        self._new_run = partial(_Run, model, ground, settings, report)
        self._parallel = parallel

    def enter(self, starts: Sequence[Start]) -> None:
        """Run a wave of starts; the finalists of waves before stay."""
        wave = [self._new_run(start, number) for number, start in enumerate(starts, len(self.runs))]
        self.runs += wave
        self._finish(self._halve(wave))
        while displaced := _displaced(self.runs, self.finalists):
            self._finish(displaced)

    def _halve(self, alive: list[_Run]) -> list[_Run]:
        """Advance runs and drop the worse half, again and again, until few distinct ones are left."""
        steps = FIRST_STEPS
        while True:
            self._advance(alive, steps)
            ranked = sorted((run for run in alive if not run.message), key=_Run.rank, reverse=True)
            alive = _distinct(ranked)
            if len(alive) <= N_FINALISTS:
                return alive
            alive = alive[: max(math.ceil(len(alive) / 2), N_FINALISTS)]
            steps *= 2

    def _finish(self, runs: list[_Run]) -> None:
        self._advance(runs, math.inf)
        self.finalists += runs
        self.finalists.sort(key=_Run.rank, reverse=True)

    def _advance(self, runs: list[_Run], steps: float) -> None:
        self._parallel(delayed(run.advance)(steps) for run in runs)

    def is_decided(self, n_agree: int) -> bool:
        """Whether the best is trustworthy: not spurious, and reached by so many."""
        if not self.finalists or self.finalists[0].is_spurious:
            return False
        return _n_reaching(self.finalists[0], self.runs) >= n_agree

    def winner(self) -> _Run:
        """The best run; of equals the one that started first."""
        if not self.finalists:
            raise ValueError(f"All {len(self.runs)} starts failed; the first one with: {self.runs[0].message}")
        equals = (run for run in self.finalists if run.equals(self.finalists[0]))
        return min(equals, key=lambda run: run.number)

    def records(self, winner: _Run) -> tuple[Restart, ...]:
        return tuple(run.record(run is winner, run in self.finalists) for run in self.runs)


def _distinct(ranked: list[_Run]) -> list[_Run]:
    """Ranked runs less those that have all but arrived where a better one is."""
    kept: list[_Run] = []
    for run in ranked:
        near = [i for i, other in enumerate(kept) if abs(other.value - run.value) < SAME]
        if run.gap >= SAME or not near:
            kept.append(run)
        elif run.number < kept[near[0]].number and run.equals(kept[near[0]]):
            kept[near[0]] = run
    return kept


def _displaced(runs: list[_Run], finalists: list[_Run]) -> list[_Run]:
    """Runs that get their turn after all.

    They stand higher already than the best that has arrived; or those ahead of them met at one place, or on
    a constraint.
    """
    others = [run for run in runs if run not in finalists and not run.is_spurious]
    higher = [run for run in others if run.reached > finalists[0].value + SAME]
    arrived = _distinct([run for run in finalists if not run.is_spurious])
    if not higher and (len(arrived) > 1 or (arrived and len(finalists) > N_FINALISTS)):
        return []
    ranked = sorted(higher or others, key=_Run.rank, reverse=True)
    return [run for run in _distinct(arrived + ranked) if run not in arrived][:N_FINALISTS]


def _n_reaching(best: _Run, runs: list[_Run]) -> int:
    alike = (run for run in runs if not run.message and run.is_spurious == best.is_spurious)
    return sum(1 for run in alike if run.value >= best.value - SAME)


def _finish_on_all(
    finalists: list[_Run],
    model: EMModel,
    batches: Batches,
    settings: dict[str, Any],
    report: Report,
) -> _Run:
    """The finalist of a race on a subsample that explains all data best, fitted to them."""
    again = []
    for run in finalists:
        start = Start(run.kind, partial(getattr, run.last, "params"))
        again.append(_Run(model, batches, settings, report, start, run.number))
        again[-1].advance(1)
    again = [run for run in again if not run.message]
    if not again:
        raise ValueError("The finalists of the race failed on the whole data.")
    best = max(again, key=_Run.rank)
    best.advance(math.inf)
    if best.message:
        raise ValueError(f"The best start failed on the whole data: {best.message}")
    return best


class _Run:
    """EM under way from one start."""

    def __init__(
        self,
        model: EMModel,
        batches: Batches,
        settings: dict[str, Any],
        report: Report,
        start: Start,
        number: int,
    ):
        self.kind = start.kind
        self.number = number
        self.history: list[Iterate] = []
        self.message = ""
        self.stop = AitkenStop(settings["tol"])
        self.n_reseeded = 0
        self._before_anew: list[Iterate] = []
        self._handicapped: tuple[Iterate | None, float] = None, 0.0
        self._model = model
        self._reseed = start.reseed
        self._batches = batches
        self._settings = settings
        self._report = report
        self._done = self._ended = False  # of itself, or since the report asked for it
        self._iterates = self._begin(start.make)

    def _begin(self, make: Callable[[], Any]) -> Iterator[Iterate]:
        yield from em_iterates(self._model, make(), self._batches, **self._settings)

    @property
    def last(self) -> Iterate:
        return self.history[-1]

    @property
    def gap(self) -> float:
        """Projected gain still to come, as of the last plain step."""
        return next(iterate.gap for iterate in reversed(self.history) if not iterate.extrapolated)

    @property
    def limit(self) -> float:
        """Projected limit of the objective; where nothing can be projected, what is reached.

        No rate beyond ``SLOWEST`` is believed: where parameters run away, gains hardly shrink from one step to
        the next, and promise more than there is.
        """
        gains = [
            here.objective - before.objective
            for before, here in pairwise(self.history[-4:])
            if not here.extrapolated
        ]
        most = gains[-1] * SLOWEST / (1 - SLOWEST) if gains else 0.0
        return self.last.objective + (min(self.gap, most) if np.isfinite(self.gap) else 0.0)

    @property
    def _handicap(self) -> float:
        """What it may owe to a constraint, in nats; asked of the model once for each iterate."""
        iterate, handicap = self._handicapped
        if iterate is not self.last:
            handicap = self._model.handicap(self.last.params)
            self._handicapped = self.last, handicap
        return handicap

    @property
    def is_spurious(self) -> bool:
        """Whether it owes its height to a constraint, or failed."""
        return bool(self.message) or math.isinf(self._handicap)

    def _less_handicap(self, nats: float) -> float:
        """Nats less the handicap; those with an infinite one are compared with each other, without."""
        return nats if math.isinf(self._handicap) else nats - self._handicap

    @property
    def value(self) -> float:
        """The limit, less what it may owe to luck: what runs are compared by."""
        return self._less_handicap(self.limit)

    @property
    def reached(self) -> float:
        """What it is worth without going on."""
        return self._less_handicap(self.last.objective)

    def rank(self) -> tuple[bool, float]:
        """Sorts spurious fits below all others, then by value."""
        return not self.is_spurious, self.value

    def equals(self, other: _Run) -> bool:
        """Whether nothing but rounding may tell which is better."""
        return self.is_spurious == other.is_spurious and abs(self.value - other.value) < EQUAL

    def advance(self, steps: float) -> None:
        """Take up to so many E-steps more, and as many again wherever lost components are placed anew."""
        try:
            self._take(steps)
            while self._begin_anew():
                self._take(steps)
        except (np.linalg.LinAlgError, FloatingPointError, ValueError) as error:
            self.message = f"{type(error).__name__}: {error}"
            self.history = self.history or self._before_anew
            self._done = True

    def _take(self, steps: float) -> None:
        while steps > 0 and not self._done:
            iterate = next(self._iterates, None)
            if iterate is None:
                self._done = True
                break
            remember(self.history, iterate)
            self._ended = bool(self._report(self.number, self.kind, iterate))
            self._done = self.stop(iterate) or self._ended
            steps -= 1

    def _begin_anew(self) -> bool:
        """Whether the start has better parameters to go on from than these, of which it lost components."""
        if self._reseed is None or self._ended or self.n_reseeded == MAX_RESEEDED:
            return False
        params = self._reseed(self.last.params)
        if params is None:
            return False
        self.n_reseeded += 1
        self._before_anew = self.history
        self.history, self.stop, self._done = [], AitkenStop(self._settings["tol"]), False
        self._iterates = self._begin(lambda: params)
        return True

    def record(self, is_best: bool, is_finalist: bool) -> Restart:
        if not self.history:
            return Restart(self.kind, "failed", -np.inf, -np.inf, 0, (), self.message, self.n_reseeded)
        if self.message:
            status = "failed"
        elif is_best:
            status = "best"
        elif self.is_spurious:
            status = "spurious"
        else:
            status = "finished" if is_finalist else "dropped"
        history = tuple(it.objective for it in self.history)
        return Restart(
            self.kind,
            status,
            float(self.last.objective),
            float(self.limit),
            len(history) - 1,
            history,
            self.message,
            self.n_reseeded,
        )
