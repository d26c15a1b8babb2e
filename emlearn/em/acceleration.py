r"""Extrapolation of EM: cheap guesses at where the iterations are heading.

With :math:`u = G(\theta) - \theta` and :math:`v = G(G(\theta)) - G(\theta)` from a pair of plain EM steps, in
unconstrained coordinates, both methods model the EM map G as linear near its fixed point. A guess costs one
E-step, which is not lost when the guess is good: it gives the objective there *and* the next EM image.
`emlearn.em.fit` accepts a guess only if it is at least as good as the EM step in hand.

References
----------
Varadhan & Roland (2008), Simple and globally convergent methods for accelerating the convergence of any EM
algorithm, Scand. J. Statist. 35, scheme S3 (SQUAREM).
Zhou, Alexander & Lange (2011), A quasi-Newton acceleration for high-dimensional optimization algorithms,
Stat. Comput. 21, eq. 5 (multi-secant).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Accelerator(Protocol):
    """Proposes a point from a pair of EM steps and is told what became of it."""

    def propose(self, start: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray | None:
        """Point beyond ``start + u + v``, or None to take the plain step."""
        ...

    def learn(self, accepted: bool) -> None:
        """Hear whether the last proposal was accepted."""
        ...


class Squarem:
    """One step length along both differences, bounded; the bound grows with success."""

    def __init__(self) -> None:
        self._longest = 4.0
        self._length = 1.0

    def propose(self, start: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray | None:
        bend = np.linalg.norm(v - u)
        ratio = np.linalg.norm(u) / bend if bend > 0 else np.inf
        self._length = float(np.clip(ratio, 1.0, self._longest))
        if self._length == 1.0:
            return None
        return start + 2 * self._length * u + self._length**2 * (v - u)

    def learn(self, accepted: bool) -> None:
        if not accepted:
            self._longest = max(self._length / 4, 2.0)
        elif self._length == self._longest:
            self._longest *= 4


class Secant:
    """Quasi-Newton from the latest secant pairs; backs off for 1, 2, 4, 8 cycles when refused."""

    n_secants = 3

    def __init__(self) -> None:
        self._pairs: list[tuple[FloatArray, FloatArray]] = []
        self._pause = 1
        self._wait = 0

    def propose(self, start: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray | None:
        self._pairs = [*self._pairs[-self.n_secants + 1 :], (u, v)]
        if self._wait:
            self._wait -= 1
            return None
        U = np.column_stack([pair[0] for pair in self._pairs])
        V = np.column_stack([pair[1] for pair in self._pairs])
        coefficients = np.linalg.lstsq(U.T @ (U - V), U.T @ u, rcond=None)[0]
        return start + u + V @ coefficients

    def learn(self, accepted: bool) -> None:
        if accepted:
            self._pause = 1
        else:
            self._wait = self._pause
            self._pause = min(2 * self._pause, 8)


class SquaremThenSecant:
    """SQUAREM far from the optimum, where a linear model of the map says little; secants after that.

    While the secants back off, SQUAREM stands in for them.
    """

    n_squarem = 4

    def __init__(self) -> None:
        self._squarem, self._secant = Squarem(), Secant()
        self._used: Accelerator = self._squarem
        self._cycles = 0

    def propose(self, start: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray | None:
        self._cycles += 1
        if self._cycles > self.n_squarem:
            guess = self._secant.propose(start, u, v)
            if guess is not None:
                self._used = self._secant
                return guess
        self._used = self._squarem
        return self._squarem.propose(start, u, v)

    def learn(self, accepted: bool) -> None:
        self._used.learn(accepted)


class Unaccelerated:
    """Plain EM."""

    def propose(self, start: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray | None:
        return None

    def learn(self, accepted: bool) -> None:
        pass


ACCELERATIONS: dict[str, type[Accelerator]] = {
    "auto": SquaremThenSecant,
    "squarem": Squarem,
    "secant": Secant,
    "none": Unaccelerated,
}
