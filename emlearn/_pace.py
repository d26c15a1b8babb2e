"""How fast a fit goes, and how long it will still take, for print-outs."""

from __future__ import annotations

import threading
import time

import numpy as np

from emlearn.em import Data, Iterate

# Where a pass over the rows takes longer than this, in seconds, print-outs say how fast they are gone through.
LONG_PASS = 1.0


class Pace:
    """How fast a race goes through the rows, and how long the rest will take, for print-outs.

    Parameters
    ----------
    data, part : Data or None
        All data, and the part of them that the race runs on; None for all.
    n_starts : int
        The most starts that are tried.
    tol : float
        At what projected gain a fit ends, in nats.
    """

    def __init__(self, data: Data, part: Data | None, n_starts: int, tol: float):
        self._data = {True: part, False: data}
        self._one_is_left = part is not None or n_starts == 1  # once E-steps are of all data
        self._tol = tol
        self._last: dict[int, tuple[tuple[int, bool], float]] = {}  # by thread: what it did last, and when
        self._pass: dict[bool, float] = {}  # seconds that a pass over the part, or over all data, takes

    def see(self, number: int, on_part: bool) -> None:
        """Take note that an E-step is over."""
        now, what = time.perf_counter(), (number, on_part)
        before, then = self._last.get(threading.get_ident(), (None, now))
        self._last[threading.get_ident()] = what, now
        if before == what:
            # The shortest: where a guess was refused there were two passes, of which one is not shown.
            self._pass[on_part] = min(now - then, self._pass.get(on_part, np.inf))

    def in_words(self, iterate: Iterate, on_part: bool) -> str:
        """Rows per second, and the time left where that can be told; nothing where passes are short."""
        seconds = self._pass.get(on_part, 0.0)
        if seconds <= LONG_PASS:
            return ""
        speed = self._data[on_part].n_rows / seconds
        words = f"; {speed / 1e6:.1f} M rows/s" if speed >= 1e5 else f"; {speed:,.0f} rows/s"
        may_tell = self._one_is_left and not on_part and self._tol > 0
        if may_tell and iterate.gap < np.inf and 0 < iterate.rate < 1:
            # Gains shrink at this rate until what is left of them is below tol; then one more says so.
            n_steps = 1 + max(0.0, np.log(iterate.gap / self._tol) / -np.log(iterate.rate))
            words += f", about {duration(n_steps * seconds)} left"
        return words


def duration(seconds: float) -> str:
    """A span of time, in two digits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"
