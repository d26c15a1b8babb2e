"""When EM may stop: what is still to be gained, as projected, and the rule that judges it."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

from emlearn.em.rate import Secants

# Relative to the objective and the total weight: a gain below this cannot be told from rounding.
NOISE = 1e-14
# Rate assumed where gains are lost in rounding and none below 1 has been seen.
UNSEEN = 0.99


# Why a fit is over: what is still to be gained is below the tolerance; gains are lost in rounding; a callback
# said so; iterations are used up; the objective fell; of many starts none is more than luck, and the best of
# them is far from its end.
REASONS = ("converged", "rounding", "callback", "max_iter", "fall", "luck")


class Iterate(NamedTuple):
    """Where EM stands after an E-step."""

    params: Any
    objective: float  # log-likelihood + log prior, nats
    log_likelihood: float  # nats
    extrapolated: bool  # reached by extrapolation; else the EM image of the iterate before
    gap: float = math.inf  # projected gain still to come, nats; inf where nothing can be said
    rate: float = math.nan  # at which gains shrink; NaN where the last two steps were not plain
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

    __slots__ = ("_last_gain", "follows_plain", "gap", "lost", "rate")

    def __init__(self) -> None:
        self.gap, self.rate, self.lost, self.follows_plain = math.inf, UNSEEN, False, False
        self._last_gain = math.nan

    def see(self, gain: float, step: float, next_step: float, noise: float) -> None:
        """Take in the gain of a plain EM step, and squared lengths of this step and of that which follows."""
        if gain > 100 * noise:
            # Gains go as the squares of steps. Two plain gains tell the rate too: believe the slower.
            shrinking = next_step / max(step, sys.float_info.min)
            self.rate = max(shrinking, gain / self._last_gain if self._last_gain > 0 else 0.0)
        elif self.rate >= 1:  # too little to tell a rate from: what was seen before must serve
            self.rate = UNSEEN
        self.gap = max(gain, noise) * self.rate / (1 - self.rate) if self.rate < 1 else math.inf
        self.lost = gain <= noise
        self.follows_plain = not math.isnan(self._last_gain)
        self._last_gain = gain

    def break_off(self) -> None:
        """Hear that the next step does not follow a plain one."""
        self._last_gain = math.nan


class AitkenStop:
    """Stop after two plain iterations in a row with less than ``tol`` nats still to come.

    A rate that is still rising, its distance to 1 falling by more than a tenth, does not count: the slow
    directions have not come to the fore yet. Ten plain gains in a row that are lost in rounding stop a fit
    too, however small ``tol``; the gap then says what may hide there.
    """

    def __init__(self, tol: float):
        self._tol = tol
        self._last_rate = self._last_objective = self._gain = math.nan
        self._hits = self._lost = 0

    def __call__(self, iterate: Iterate) -> bool:
        rising = 1 - iterate.rate < 0.9 * (1 - self._last_rate)
        certain = iterate.gap < self._tol and not math.isnan(iterate.rate) and not rising
        self._hits = self._hits + 1 if certain else 0
        self._last_rate = iterate.rate
        self._gain, self._last_objective = iterate.objective - self._last_objective, iterate.objective
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
        # With too few iterations to be sure, a step that gained next to nothing says it as well: fits of one
        # iteration that go on from each other never see two in a row.
        single = math.isnan(last.rate) and 0 <= self._gain < self._tol
        if end == "max_iter" and last.gap < self._tol and (last.lost or self._hits or single):
            return "converged"
        return end
