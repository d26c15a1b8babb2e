"""How fast a fit goes, and how long it will still take."""

import numpy as np
import pytest

from emlearn import _pace
from emlearn._pace import Pace, duration
from emlearn.em import Batches, Iterate


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(_pace, "time", clock)
    return clock


def iterate(gap=np.inf, rate=np.nan):
    return Iterate(None, -1.0, -1.0, False, gap, rate)


def pace_after(clock, *moments, on_part=False, part=None, n_starts=1, tol=1e-4, n_rows=6000):
    pace = Pace(Batches(np.zeros((n_rows, 1))), part, n_starts, tol)
    for clock.now in moments:
        pace.see(0, on_part)
    return pace


def test_time_left_is_that_of_gains_that_shrink(clock):
    pace = pace_after(clock, 0, 2)
    # .5 ** 10 is about 1e-3: ten passes of two seconds until .1024 is 1e-4, and one that says so.
    assert pace.in_words(iterate(0.1024, 0.5), False) == "; 3,000 rows/s, about 22 s left"
    assert pace.in_words(iterate(1e-5, 0.5), False) == "; 3,000 rows/s, about 2 s left"
    assert pace.in_words(iterate(0.1, np.nan), False) == "; 3,000 rows/s"
    assert pace.in_words(iterate(np.inf, 1.2), False) == "; 3,000 rows/s"


def test_short_passes_are_not_spoken_of(clock):
    assert pace_after(clock, 0, 0.9).in_words(iterate(0.1, 0.5), False) == ""
    assert pace_after(clock, 5).in_words(iterate(0.1, 0.5), False) == ""  # the first pass


def test_refused_guesses_do_not_slow_the_pace(clock):
    assert pace_after(clock, 0, 2, 6, 8).in_words(iterate(), False) == "; 3,000 rows/s"


def test_a_start_that_waited_was_not_slow(clock):
    pace = pace_after(clock, 0, 2)
    clock.now = 50.0
    pace.see(1, False)  # another start, whose first E-step this was
    clock.now = 53.0
    pace.see(1, False)
    assert pace.in_words(iterate(), False) == "; 3,000 rows/s"


def test_nothing_is_promised_of_one_of_several(clock):
    several = pace_after(clock, 0, 2, n_starts=3)
    assert several.in_words(iterate(0.1, 0.5), False) == "; 3,000 rows/s"
    part = Batches(np.zeros((3000, 1)))
    on_part = pace_after(clock, 0, 2, on_part=True, part=part, n_starts=3)
    assert on_part.in_words(iterate(0.1, 0.5), True) == "; 1,500 rows/s"
    finalist = pace_after(clock, 0, 2, part=part, n_starts=3)
    assert finalist.in_words(iterate(0.1, 0.5), False).endswith(" left")
    assert pace_after(clock, 0, 2, tol=0.0).in_words(iterate(0.1, 0.5), False) == "; 3,000 rows/s"
    many = pace_after(clock, 0, 2, n_rows=6_200_000)
    assert many.in_words(iterate(), False) == "; 3.1 M rows/s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.26, "0.26 s"),
        (41.3, "41 s"),
        (89.9, "90 s"),
        (91, "1.5 min"),
        (754, "13 min"),
        (7201, "2 h"),
        (4e5, "110 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
