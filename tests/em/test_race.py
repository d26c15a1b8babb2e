"""The race of starts: waves until few maxima can be left, and the best evidence wins."""

import math
import warnings
from typing import NamedTuple

import numpy as np
import pytest

from emlearn import GaussianMixtureEM
from emlearn.em import EMModel, EStep, Fixed, Real, Start, fit_em, race
from emlearn.em.restarts import FIRST_STEPS, LUCK_STEPS, N_FINALISTS, UNSEEN, Restart, Restarts

N = 50  # rows of data
ROWS = np.ones((N, 1))


class Place(NamedTuple):
    hill: np.ndarray  # (1,) which maximum EM climbs to
    error: np.ndarray  # (1,) how far from it


class Hills(EMModel):
    """Maxima of known heights, in nats, which EM comes closer to by half at each step.

    What is higher may be luck: by ``handicaps`` in nats. Hills in ``cliffs`` have no next step, once the error
    is below a bound.
    """

    spaces = Place(Fixed(), Real())

    def __init__(self, heights, handicaps=None, cliffs=None, rate=0.5):
        self.heights = np.array(heights, dtype=float)
        self.handicaps = np.zeros(len(heights)) if handicaps is None else handicaps
        self.cliffs = cliffs or {}
        self.rate = rate
        self.seen = []  # weights of which the handicap was asked

    def expectation(self, params):
        hill = int(params.hill[0])

        def e_step(batch):
            share = batch.total_weight / N
            return EStep(np.array([batch.total_weight]), share * (self.heights[hill] - params.error[0] ** 2),
                         batch.total_weight)  # fmt: skip

        return e_step

    def maximize(self, stats, params):
        hill = int(params.hill[0])
        if abs(params.error[0]) < self.cliffs.get(hill, 0.0):
            raise np.linalg.LinAlgError("a cliff")
        return params._replace(error=self.rate * params.error)

    def handicap(self, params, stats):
        self.seen.append(float(stats[0]))
        return float(self.handicaps[int(params.hill[0])])


def at(hill, error=1.0):
    return Place(np.array([float(hill)]), np.array([error]))


def starts_at(hills, error=1.0):
    return [Start(f"to {hill}", lambda hill=hill: at(hill, error)) for hill in hills]


def won(result):
    return int(result.best.params.hill[0])


def statuses(restarts):
    return [start.status for start in restarts.starts]


# -- waves -------------------------------------------------------------------------------------------------


def test_of_runs_without_evidence_one_goes_on():
    hills = Hills([5.0, 6.0, 7.0], handicaps=[np.inf] * 3, rate=0.95)
    result = race(hills, starts_at([0, 1, 2, 1]), ROWS, acceleration="none")
    assert won(result) == 2
    assert result.best.converged
    n_iter = [start.n_iter for start in result.restarts.starts]
    assert n_iter[2] > 2 * FIRST_STEPS
    assert max(n_iter[:2] + n_iter[3:]) <= FIRST_STEPS
    # By likelihood they all have something to win.
    by_height = race(hills, starts_at([0, 1, 2, 2]), ROWS, acceleration="none", ranking="likelihood")
    assert min(start.n_iter for start in by_height.restarts.starts[2:]) > FIRST_STEPS


def test_where_all_is_luck_nobody_goes_far():
    hills = Hills([5.0, 6.0], handicaps=[np.inf] * 2, rate=0.999)
    best = race(hills, starts_at([0, 1, 0]), ROWS, acceleration="none").best
    assert (best.reason, best.converged) == ("luck", False)
    assert best.n_iter < FIRST_STEPS + LUCK_STEPS
    alone = race(hills, starts_at([1]), ROWS, acceleration="none").best  # as asked for
    assert alone.n_iter == 1000
    sound = Hills([5.0, 6.0], handicaps=[0.0, np.inf], rate=0.999)
    assert race(sound, starts_at([0, 1, 1]), ROWS, acceleration="none").best.reason == "max_iter"


def test_seven_starts_that_agree_are_enough():
    restarts = race(Hills([10.0]), starts_at([0] * 100), ROWS).restarts
    assert len(restarts.starts) == restarts.n_best == 7
    assert restarts.n_maxima == 1
    assert restarts.unseen == 2 / 42 < UNSEEN == 0.05
    assert statuses(restarts) == ["best", *["finished"] * 6]


@pytest.mark.parametrize("n", [1, 2, 6, 7, 8, 20])
def test_starts_that_agree_are_no_more_than_there_are(n):
    restarts = race(Hills([10.0]), starts_at([0] * n), ROWS).restarts
    drawn = min(n, 7)
    assert len(restarts.starts) == restarts.n_best == drawn
    assert restarts.unseen == (0.0 if n == 1 else min(1.0, 2 / (drawn * (drawn - 1))))


@pytest.mark.parametrize("n", [2, 7, 8, 30])
def test_starts_that_all_differ_are_drawn_to_the_end(n):
    order = np.random.RandomState(0).permutation(n)
    result = race(Hills(np.arange(n) * 3.0), starts_at(order), ROWS)
    restarts = result.restarts
    assert len(restarts.starts) == restarts.n_maxima == n
    assert restarts.n_best == 1
    assert restarts.unseen == 1.0
    assert won(result) == n - 1
    assert restarts.starts[int(np.argmax(order))].status == "best"


def n_drawn(n_maxima, hills):
    """How many starts the rule of Boender & Rinnooy Kan draws, one wave after another."""
    n = 0
    while n < len(hills):
        w = len(set(hills[:n]))
        if n > 1 and w * (w + 1) / (n * (n - 1)) <= 0.05:
            break
        wanted = next(m for m in range(2, 10_000) if max(w, 1) * (max(w, 1) + 1) / (m * (m - 1)) <= 0.05)
        n = min(max(wanted, n + 1), len(hills))
    return n


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_maxima", [2, 3, 6])
def test_waves_are_drawn_until_few_maxima_can_be_left(n_maxima, seed):
    hills = np.random.RandomState(seed).randint(n_maxima, size=60).tolist()
    drawn = n_drawn(n_maxima, hills)
    result = race(Hills(20.0 * np.arange(n_maxima)), starts_at(hills), ROWS)
    restarts, seen = result.restarts, set(hills[:drawn])
    assert len(restarts.starts) == drawn
    assert restarts.n_maxima == len(seen)
    w = len(seen)
    assert restarts.unseen == pytest.approx(min(1.0, w * (w + 1) / (drawn * (drawn - 1))))
    assert won(result) == max(seen)
    assert restarts.n_best == hills[:drawn].count(max(seen))


def test_two_maxima_in_the_first_wave_ask_for_five_starts_more():
    restarts = race(Hills([10.0, 20.0]), starts_at([0] * 6 + [1] * 50), ROWS).restarts
    assert len(restarts.starts) == 12  # 2 · 3 / (12 · 11) < 1 / 20 < 2 · 3 / (11 · 10)
    assert restarts.n_best == 6


def test_maxima_are_told_apart_by_more_than_next_to_nothing():
    for gap, n_maxima in ((0.0, 1), (0.04, 1), (0.2, 2)):
        restarts = race(Hills([10.0, 10.0 - gap]), starts_at([0, 1] * 3), ROWS, tol=1e-8).restarts
        assert restarts.n_maxima == n_maxima
        assert restarts.n_best == (6 if gap == 0.0 else 3)


def test_what_is_luck_or_fails_is_no_maximum():
    """Neither spurious runs nor failed ones tell how many maxima are left: as many more are drawn."""
    model = Hills([10.0, 99.0, 99.0], [0.0, np.inf, 0.0], cliffs={2: np.inf})
    restarts = race(model, starts_at([0, 1, 2, 0, 1, 2, 0] + [0] * 50), ROWS).restarts
    assert len(restarts.starts) == 7 + 4
    assert (restarts.n_best, restarts.n_maxima, restarts.unseen) == (7, 1, 2 / 42)
    assert [statuses(restarts).count(s) for s in ("best", "finished", "spurious", "failed")] == [1, 6, 2, 2]


# -- what wins ---------------------------------------------------------------------------------------------

RANKED = Hills([10.0, 15.0, 30.0, 50.0], [0.0, 2.0, 25.0, np.inf])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (3, 0)])
@pytest.mark.parametrize("sample", [None, ROWS])
def test_the_best_evidence_wins(order, sample):
    result = race(RANKED, starts_at(order), ROWS, sample=sample)
    best = 1 if 1 in order else 0
    assert won(result) == best
    assert result.best.objective == pytest.approx(RANKED.heights[best], abs=1e-4)
    for hill, start in zip(order, result.restarts.starts, strict=True):
        assert start.status == ("best" if hill == best else "spurious" if hill == 3 else "finished")
        assert start.limit == pytest.approx(RANKED.heights[hill], abs=0.02)
        assert start.evidence == pytest.approx(start.log_likelihood - RANKED.handicaps[hill])
        assert start.history[-1] == start.log_likelihood
        assert start.n_iter == len(start.history) - 1
    assert math.isinf(result.restarts.starts[order.index(3)].evidence)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (3, 0)])
@pytest.mark.parametrize("sample", [None, ROWS])
def test_the_highest_likelihood_wins_if_asked_for(order, sample):
    result = race(RANKED, starts_at(order), ROWS, sample=sample, ranking="likelihood")
    assert won(result) == 3
    assert result.best.objective == pytest.approx(50.0, abs=1e-4)
    assert result.restarts.starts[order.index(3)].status == "best"


def test_ranked_by_no_other_name():
    with pytest.raises(ValueError, match="ranking='bic' is neither 'evidence' nor 'likelihood'"):
        race(RANKED, starts_at([0]), ROWS, ranking="bic")


def test_where_all_is_luck_the_highest_wins():
    result = race(Hills([10.0, 30.0, 20.0], [np.inf] * 3), starts_at([0, 1, 2]), ROWS)
    assert won(result) == 1
    assert statuses(result.restarts) == ["spurious", "best", "spurious"]


def test_of_equals_the_first_wins():
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        result = race(Hills([10.0, 10.0 + 1e-9, 10.0 - 1e-9]), starts_at(order), ROWS, tol=1e-10)
        assert won(result) == order[0]
        assert statuses(result.restarts)[0] == "best"
    slow = race(Slow([10.0]), starts_at([0] * 5), ROWS, tol=1e-8, acceleration="none")
    assert statuses(slow.restarts) == ["best", *["finished"] * 4]
    steps = [start.n_iter for start in slow.restarts.starts]
    assert steps[0] > steps[1] == max(steps[1:])  # the others went no further than to where it shows


@pytest.mark.parametrize("weight", [1e-3, 0.3, 7.0, 1e4])
def test_units_of_weight_change_nothing(weight):
    """Weights scaled by a constant that counts as one observation scale all nats, and change no choice."""
    hills = [0, 1, 2, 3, 1, 0]
    model, again = (Hills(RANKED.heights, RANKED.handicaps) for _ in range(2))
    plain = race(model, starts_at(hills), ROWS)
    scaled = race(again, starts_at(hills), (ROWS, np.full(N, weight)), unit=weight)
    np.testing.assert_allclose(again.seen, model.seen)  # observations of weight 1
    assert won(scaled) == won(plain)
    assert statuses(scaled.restarts) == statuses(plain.restarts)
    for there, here in zip(scaled.restarts.starts, plain.restarts.starts, strict=True):
        of_there, of_here = ([run.log_likelihood, run.evidence, run.limit] for run in (there, here))
        np.testing.assert_allclose(of_there, np.multiply(weight, of_here), rtol=1e-9)
        assert there.n_iter == here.n_iter
    assert scaled.restarts[1:] == plain.restarts[1:]


@pytest.mark.parametrize("ranking", ["evidence", "likelihood"])
def test_threads_change_nothing(ranking):
    hills = np.random.RandomState(0).randint(4, size=30)
    alone, shared = (
        race(RANKED, starts_at(hills), ROWS, ranking=ranking, n_jobs=n_jobs) for n_jobs in (None, 3)
    )
    assert alone.restarts == shared.restarts
    assert alone.best.history == shared.best.history


# -- what fails --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranking", ["evidence", "likelihood"])
@pytest.mark.parametrize("bound", [np.inf, 0.9, 0.1])
@pytest.mark.parametrize("n_failing", [1, 5, 12])
def test_what_fails_never_wins(n_failing, bound, ranking):
    """However high it stood before."""
    model = Hills([10.0, 99.0], cliffs={1: bound})
    order = np.random.RandomState(n_failing).permutation([1] * n_failing + [0, 0])
    result = race(model, starts_at(order), ROWS, ranking=ranking)
    assert won(result) == 0
    assert result.best.objective == pytest.approx(10.0, abs=1e-4)
    for hill, start in zip(order, result.restarts.starts, strict=True):
        assert (start.status == "failed") == (hill == 1) == ("LinAlgError: a cliff" in start.message)
        if hill == 1:
            assert start.log_likelihood == start.history[-1] > 90
    assert result.restarts.n_best == 2


def test_a_start_that_cannot_be_made_never_wins():
    def fails():
        raise ValueError("no such start")

    some = [Start("bad", fails), *starts_at([0]), Start("bad", fails)]
    result = race(Hills([10.0]), some, ROWS)
    assert statuses(result.restarts) == ["failed", "best", "failed"]
    bad = result.restarts.starts[0]
    assert (bad.log_likelihood, bad.evidence, bad.limit) == (-np.inf, -np.inf, -np.inf)
    assert (bad.n_iter, bad.history, bad.message) == (0, (), "ValueError: no such start")


def test_every_start_may_fail():
    with pytest.raises(ValueError, match="All 9 starts failed; the first one with: LinAlgError: a cliff"):
        race(Hills([1.0], cliffs={0: np.inf}), starts_at([0] * 9), ROWS)
    with pytest.raises(ValueError, match="no start to race"):
        race(Hills([1.0]), [], ROWS)


# -- that it ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_iter", [1, 2, 3])
@pytest.mark.parametrize("rate", [0.5, 0.999])
@pytest.mark.parametrize("sample", [None, ROWS])
def test_few_iterations_and_many_starts_end(max_iter, rate, sample):
    rng = np.random.RandomState(0)
    hills, errors = rng.randint(4, size=60), rng.uniform(0.1, 5.0, size=60)
    some = [Start("any", lambda h=h, e=e: at(h, e)) for h, e in zip(hills, errors, strict=True)]
    model = Hills(RANKED.heights, RANKED.handicaps, rate=rate)
    result = race(model, some, ROWS, sample=sample, max_iter=max_iter)
    assert result.best.n_iter <= max_iter
    starts = result.restarts.starts
    assert all(start.n_iter <= max_iter for start in starts)
    assert statuses(result.restarts).count("best") == 1
    assert set(statuses(result.restarts)) <= {"best", "finished", "dropped", "spurious"}
    sound = [start for start in starts if not math.isinf(start.evidence)]
    best = next(start for start in starts if start.status == "best")
    assert best.evidence >= max(start.evidence for start in sound) - 0.011


@pytest.mark.parametrize("ended_after", [0, 1, 5])
@pytest.mark.parametrize("sample", [None, ROWS])
def test_starts_that_are_asked_to_end_do(ended_after, sample):
    """By the report: each after so many E-steps."""
    n_seen = {}

    def report(number, kind, iterate, on_part):
        n_seen[number, on_part] = n_seen.get((number, on_part), 0) + 1
        return n_seen[number, on_part] > ended_after

    result = race(RANKED, starts_at(np.arange(40) % 4), ROWS, sample=sample, report=report, acceleration="none")
    assert won(result) == 1
    assert max(n_seen.values()) == ended_after + 1
    if sample is None or ended_after < 5:  # a finalist goes on from where it was
        assert result.best.reason == "callback"


class Slow(Hills):
    """Gains that hardly shrink: what is behind is dropped long before it arrives."""

    def __init__(self, heights, handicaps=None):
        super().__init__(heights, handicaps, rate=0.97)


@pytest.mark.parametrize("sample", [None, ROWS])
def test_what_falls_behind_is_dropped(sample):
    model = Slow(500.0 * np.arange(5))
    result = race(model, starts_at([0, 1, 2, 3, 4]), ROWS, sample=sample, acceleration="none")
    assert won(result) == 4
    assert statuses(result.restarts) == ["dropped"] * 4 + ["best"]
    steps = [start.n_iter for start in result.restarts.starts]
    assert max(steps[:4]) < 60
    assert result.best.objective == pytest.approx(2000.0, abs=1e-3)


@pytest.mark.parametrize("rate", [0.5, 0.97])
def test_what_is_dropped_forgets_its_parameters(rate):
    kept = []

    class Watched(Hills):
        def handicap(self, params, stats):
            kept.append(params is not None and stats is not None)
            return super().handicap(params, stats)

    hills = np.random.RandomState(0).randint(6, size=40)
    race(Watched(200.0 * np.arange(6), rate=rate), starts_at(hills), ROWS, acceleration="none")
    assert kept
    assert all(kept)  # asked for while they are there


# -- on a part ---------------------------------------------------------------------------------------------


def test_the_race_on_a_part_is_told_from_the_rest():
    seen = set()
    part = ROWS[:40]

    def report(number, kind, iterate, on_part):
        seen.add((number, kind, on_part))
        height = RANKED.heights[int(kind.split()[1])] - iterate.params.error[0] ** 2
        assert iterate.objective == pytest.approx((len(part) / N if on_part else 1.0) * height)

    result = race(RANKED, starts_at([0, 1, 3]), ROWS, sample=part, report=report)
    assert {(number, on_part) for number, _, on_part in seen if on_part} == {(0, True), (1, True), (2, True)}
    finished = {number for number, _, on_part in seen if not on_part}
    assert {1} <= finished <= {0, 1, 2}  # finalists
    assert len(finished) <= N_FINALISTS
    assert all(start.on_part for start in result.restarts.starts)
    assert result.best.objective == pytest.approx(15.0, abs=1e-4)
    assert result.restarts.starts[1].log_likelihood == pytest.approx(12.0, abs=1e-2)
    alone = race(RANKED, starts_at([0, 1, 3]), ROWS, report=lambda number, kind, iterate, on_part: on_part)
    assert not any(start.on_part for start in alone.restarts.starts)


def test_starts_that_come_late_run_on_all_of_the_data():
    """The winner of the part, fitted to all, may show where more starts are needed."""
    asked = []

    def again(params):
        asked.append(int(params.hill[0]))
        return starts_at([2, 3, 0])

    for handicaps, best in (([0.0] * 4, 3), ([0.0, 0.0, 0.0, np.inf], 2), ([0.0, 0.0, np.inf, np.inf], 1)):
        model = Hills(RANKED.heights, handicaps)
        asked.clear()
        result = race(model, starts_at([0, 1]), ROWS, sample=ROWS[:10], again=again)
        assert asked == [1]
        assert won(result) == best
        starts = result.restarts.starts
        assert [start.on_part for start in starts] == [True, True, False, False, False]
        assert [start.status for start in starts].count("best") == 1
        assert starts[{3: 3, 2: 2, 1: 1}[best]].status == "best"
        assert result.restarts.n_best == 1
        assert result.restarts.n_maxima == 2 + (best > 1)
    asked.clear()
    race(model, starts_at([0, 1]), ROWS, again=again)  # where the race saw all there is none
    assert not asked


class SeenThrough(Hills):
    """In all data, and at the end, the height of hill 1 shows to be luck."""

    def handicap(self, params, stats):
        return np.inf if self.gives_way(params, stats) else super().handicap(params, stats)

    def gives_way(self, params, stats):
        return int(params.hill[0]) == 1 and stats[0] == N and abs(params.error[0]) < 0.1


class FailsLate(SeenThrough):
    """... to have no next step there."""

    def maximize(self, stats, params):
        if self.gives_way(params, stats):
            raise np.linalg.LinAlgError("a cliff")
        return super().maximize(stats, params)


@pytest.mark.parametrize("kind", [SeenThrough, FailsLate])
def test_a_winner_of_the_part_that_turns_out_to_be_none_gives_way(kind):
    model, part = kind(RANKED.heights), {"sample": ROWS[:10], "acceleration": "none"}
    result = race(model, starts_at([0, 1], error=0.5), ROWS, **part)
    assert won(result) == 0
    assert result.restarts.starts[0].status == "best"
    assert result.best.objective == pytest.approx(RANKED.heights[0], abs=1e-3)
    alone = starts_at([1, 1], error=0.5)
    if kind is SeenThrough:  # there is no other
        assert won(race(model, alone, ROWS, **part)) == 1
    else:
        with pytest.raises(ValueError, match=r"finalists of the race failed on the whole data; .*: a cliff"):
            race(model, alone, ROWS, **part)


def test_the_winner_is_what_a_fit_alone_gives():
    result = race(Slow([10.0, 99.0]), starts_at([0, 1]), ROWS, tol=1e-6)
    alone = fit_em(Slow([10.0, 99.0]), at(1), ROWS, tol=1e-6)
    assert result.best.history == alone.history
    assert result.best.reason == alone.reason == "converged"


# -- what is told of it ------------------------------------------------------------------------------------

FINISHED = Restart("a", "best", -10.0, -12.0, -9.5, 2, (-30.0, -20.0, -10.0))
RECORDS = (
    FINISHED,
    FINISHED._replace(status="finished", evidence=-15.0, on_part=True),
    FINISHED._replace(status="dropped"),
    FINISHED._replace(status="spurious", evidence=-np.inf),
    FINISHED._replace(kind="b", status="failed", message="ValueError: no", n_reseeded=2),
    FINISHED._replace(status="dropped"),
)


def test_in_a_word():
    assert repr(Restarts(RECORDS, 2, 3, 12 / 42)) == (
        "<Restarts: 2 of 6 starts at the best of 3 maxima, 29% unseen; 2 dropped, 1 spurious, 1 failed>"
    )
    assert (
        repr(Restarts(RECORDS[:2], 2, 1, 0.0)) == "<Restarts: 2 of 2 starts at the best of 1 maxima, 0% unseen>"
    )
    assert repr(Restarts(RECORDS[2:3], 0, 1, 1.0)).endswith("100% unseen; 1 dropped>")


def test_what_was_passed_over_is_told():
    higher = [
        FINISHED._replace(status="spurious", log_likelihood=-3.0, evidence=-np.inf),
        FINISHED._replace(status="failed", log_likelihood=50.0),
        FINISHED._replace(status="finished", log_likelihood=9.0, on_part=not FINISHED.on_part),  # of other data
    ]
    assert Restarts(RECORDS, 2, 3, 0.2).passed_over == 0.0
    restarts = Restarts((*RECORDS, *higher), 2, 3, 0.2)
    assert restarts.passed_over == 7.0
    assert repr(restarts).endswith("2 dropped, 2 spurious, 2 failed, one 7 nats higher>")
    assert Restarts(RECORDS[2:3], 0, 1, 1.0).passed_over == 0.0  # where none is the best


def test_as_a_table():
    frame = Restarts(RECORDS, 2, 3, 0.2).to_frame()
    assert frame.index.name == "start"
    assert list(frame.columns) == [
        "kind", "status", "log_likelihood", "evidence", "limit", "n_iter", "message", "n_reseeded", "on_part"
    ]  # fmt: skip
    assert frame["status"].tolist() == [record.status for record in RECORDS]
    assert frame["evidence"].tolist() == [-12.0, -15.0, -12.0, -np.inf, -12.0, -12.0]
    assert frame["on_part"].tolist() == [False, True] + [False] * 4
    assert frame.loc[4, "message"] == "ValueError: no"
    assert frame.loc[4, "n_reseeded"] == 2


def test_in_other_units():
    restarts = Restarts(RECORDS, 2, 3, 0.2)
    less = restarts.less(lambda on_part: 1.0 if on_part else 100.0)
    assert less[1:] == restarts[1:]
    for before, after in zip(restarts.starts, less.starts, strict=True):
        nats = 1.0 if before.on_part else 100.0
        assert after.log_likelihood == before.log_likelihood - nats
        assert after.evidence == before.evidence - nats
        assert after.limit == before.limit - nats
        assert after.history == tuple(value - nats for value in before.history)
        same = ("kind", "status", "n_iter", "message", "n_reseeded", "on_part")
        assert all(getattr(after, name) == getattr(before, name) for name in same)
    assert FINISHED.less(3.0).history == (-33.0, -23.0, -13.0)
    assert FINISHED.less(0.0) == FINISHED


@pytest.mark.parametrize("max_iter", [1, 3, 8])
def test_no_start_takes_more_iterations_than_are_allowed(max_iter):
    """Not those either that paused at their last one."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(150, 2)) + 2.0 * rng.randint(3, size=(150, 1))
    for seed in range(5):
        model = GaussianMixtureEM(3, max_iter=max_iter, acceleration="none", random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
        assert max(start.n_iter for start in model.restarts_.starts) <= max_iter
