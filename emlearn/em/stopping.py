"""When EM may stop: what is still to be gained, as projected, and the rule that judges it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.acceleration import EachFit, squared_length
from emlearn.em.rate import Secants

FloatArray = NDArray[np.float64]
Rows = NDArray[np.intp]

# Relative to the objective and the total weight: a gain below this cannot be told from rounding.
NOISE = 1e-14
# Rate assumed where gains are lost in rounding and none below 1 has been seen.
UNSEEN = 0.99


# Why a fit is over: what is still to be gained is below the tolerance; gains are lost in rounding; a callback
# said so; iterations are used up; the objective fell.
REASONS = ("converged", "rounding", "callback", "max_iter", "fall")


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
    stats: Any = None  # expected sufficient statistics at the parameters
    weight: float = 0.0  # Σ weight that these are of
    best: Any = None  # of a chain of draws: the iterate of the highest objective so far; None: this one
    mean: Any = None  # of a chain of draws: mean parameters since the burn-in; None before its end

    @property
    def reached(self) -> Iterate:
        """What a fit that ended here would return: this, or the best of a chain of draws."""
        return self if self.best is None else self.best


class Projection(EachFit):
    """What is still to be gained if gains go on shrinking as they do: the rest of a geometric series.

    Attributes, of each of several fits:

    Attributes
    ----------
    gap : ndarray of shape (S,)
        Projected gain, in nats; inf where nothing can be said.
    rate : ndarray of shape (S,)
        At which gains shrink: the ratio of two of them or that of steps, squared, whichever is larger.
    follows_plain : ndarray of bool of shape (S,)
        Whether the last two steps were plain EM steps.
    lost : ndarray of bool of shape (S,)
        Whether the last gain cannot be told from rounding.
    """

    def __init__(self, n_fits: int) -> None:
        self.gap, self.rate = np.full(n_fits, np.inf), np.full(n_fits, UNSEEN)
        self.lost, self.follows_plain = np.zeros(n_fits, dtype=bool), np.zeros(n_fits, dtype=bool)
        self._last_gain = np.full(n_fits, np.nan)

    def see(self, rows: Rows, gain: FloatArray, u: FloatArray, v: FloatArray, noise: FloatArray) -> None:
        """Take in the gains of plain EM steps ``u`` of some fits, and the steps ``v`` that follow."""
        # Gains go as the squares of steps. Two plain gains tell the rate too: believe the slower.
        shrinking = squared_length(v) / np.maximum(squared_length(u), np.finfo(np.float64).tiny)
        before = self._last_gain[rows]
        by_gains = np.divide(gain, before, out=np.zeros(len(rows)), where=before > 0)
        # Where there is too little to tell a rate from, what was seen before must serve.
        served = np.where(self.rate[rows] >= 1, UNSEEN, self.rate[rows])
        rate = np.where(gain > 100 * noise, np.maximum(shrinking, by_gains), served)
        left = np.maximum(gain, noise) * rate
        self.gap[rows] = np.divide(left, 1 - rate, out=np.full(len(rows), np.inf), where=rate < 1)
        self.rate[rows] = rate
        self.lost[rows] = gain <= noise
        self.follows_plain[rows] = ~np.isnan(before)
        self._last_gain[rows] = gain

    def break_off(self, rows: Rows) -> None:
        """Hear that the next steps of some fits do not follow plain ones."""
        self._last_gain[rows] = np.nan


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

    def reason(self, last: Iterate, end: str) -> str:
        """Why a fit is over, one of ``REASONS``: ``end``, if this did not stop it."""
        if self._hits >= 2:
            return "converged"
        if self._lost >= 10:
            return "rounding"
        # With too few iterations to be sure, a step that gained nothing says it as well.
        if end == "max_iter" and last.gap < self._tol and (last.lost or self._hits):
            return "converged"
        return end
