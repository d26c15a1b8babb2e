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

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Rows = NDArray[np.intp]


class EachFit:
    """Something kept of each of several fits: attributes are arrays with an entry for each, or such things."""

    def take(self, rows: Rows) -> Self:
        """Of some of the fits."""
        return self._with(
            {
                name: value.take(rows) if isinstance(value, EachFit) else value[rows]
                for name, value in vars(self).items()
            }
        )

    def join(self, *others: Self) -> Self:
        """Of these fits, then of others."""
        joined = {}
        for name, value in vars(self).items():
            there = [vars(other)[name] for other in others]
            joined[name] = value.join(*there) if isinstance(value, EachFit) else np.concatenate([value, *there])
        return self._with(joined)

    def _with(self, values: dict[str, Any]) -> Self:
        new = object.__new__(type(self))
        vars(new).update(values)
        return new


class Accelerator(Protocol):
    """Proposes points for several fits from pairs of EM steps, and is told what became of them.

    One of S fits is made by its class of S; ``rows`` say which of them are meant.
    """

    def propose(
        self, rows: Rows, start: FloatArray, u: FloatArray, v: FloatArray
    ) -> tuple[BoolArray, FloatArray]:
        """Which rows take plain steps, (r,), and points beyond ``start + u + v`` for the others, (r, D)."""
        ...

    def learn(self, rows: Rows, accepted: BoolArray) -> None:
        """Hear whether the last proposals were accepted."""
        ...

    def take(self, rows: Rows) -> Self:
        """Of some of the fits."""
        ...

    def join(self, *others: Self) -> Self:
        """Of these fits, then of others."""
        ...


class Squarem(EachFit):
    """One step length along both differences, bounded; the bound grows with success."""

    def __init__(self, n_fits: int) -> None:
        self._longest = np.full(n_fits, 4.0)
        self._length = np.ones(n_fits)

    def propose(
        self, rows: Rows, start: FloatArray, u: FloatArray, v: FloatArray
    ) -> tuple[BoolArray, FloatArray]:
        turn = v - u
        bend = np.sqrt(squared_length(turn))
        ratio = np.divide(np.sqrt(squared_length(u)), bend, out=np.full(len(rows), np.inf), where=bend > 0)
        self._length[rows] = length = np.clip(ratio, 1.0, self._longest[rows])
        along = length[:, None]
        return length == 1.0, start + 2 * along * u + along**2 * turn

    def learn(self, rows: Rows, accepted: BoolArray) -> None:
        length, longest = self._length[rows], self._longest[rows]
        bolder = np.where(length == longest, 4 * longest, longest)
        self._longest[rows] = np.where(accepted, bolder, np.maximum(length / 4, 2.0))


class Secant(EachFit):
    """Quasi-Newton from the latest secant pairs; backs off for 1, 2, 4, 8 cycles when refused."""

    n_secants = 3

    def __init__(self, n_fits: int) -> None:
        # Those that were not seen yet are 0, which does not change what the others tell.
        self._u = np.zeros((n_fits, self.n_secants, 0))
        self._v = np.zeros((n_fits, self.n_secants, 0))
        self._pause = np.ones(n_fits, dtype=np.intp)
        self._wait = np.zeros(n_fits, dtype=np.intp)

    def _widen(self, n_coordinates: int) -> None:
        if not self._u.shape[2]:
            self._u, self._v = (np.zeros((*self._u.shape[:2], n_coordinates)) for _ in range(2))

    def join(self, *others: Self) -> Self:
        every = [self, *others]
        for some in every:
            some._widen(max(each._u.shape[2] for each in every))
        return super().join(*others)

    def propose(
        self, rows: Rows, start: FloatArray, u: FloatArray, v: FloatArray
    ) -> tuple[BoolArray, FloatArray]:
        self._widen(u.shape[1])
        U = np.concatenate([self._u[rows, 1:], u[:, None]], axis=1)
        V = np.concatenate([self._v[rows, 1:], v[:, None]], axis=1)
        self._u[rows], self._v[rows] = U, V
        waits = self._wait[rows] > 0
        self._wait[rows] -= waits
        if waits.all():
            return waits, start
        gram = U @ (U - V).swapaxes(1, 2)
        known = np.isfinite(gram).all(axis=(1, 2))
        if not known.all():
            gram = np.where(known[:, None, None], gram, 0.0)
        # Least squares of least norm: an inverse first would lose digits where secants are nearly the same.
        left, size, right = np.linalg.svd(gram)
        told = size > self.n_secants * np.finfo(np.float64).eps * size[:, :1]
        along = np.einsum("rij,ri->rj", left, (U @ u[:, :, None])[:, :, 0])
        along = np.divide(along, size, out=np.zeros_like(along), where=told)
        coefficients = np.einsum("rji,rj->ri", right, along)
        guess = start + u + (coefficients[:, None] @ V)[:, 0]
        return waits | ~known, guess

    def learn(self, rows: Rows, accepted: BoolArray) -> None:
        pause = self._pause[rows]
        self._wait[rows] = np.where(accepted, self._wait[rows], pause)
        self._pause[rows] = np.where(accepted, 1, np.minimum(2 * pause, 8))


class SquaremThenSecant(EachFit):
    """SQUAREM far from the optimum, where a linear model of the map says little; secants after that.

    While the secants back off, SQUAREM stands in for them.
    """

    n_squarem = 4

    def __init__(self, n_fits: int) -> None:
        self._squarem, self._secant = Squarem(n_fits), Secant(n_fits)
        self._uses_secant = np.zeros(n_fits, dtype=bool)
        self._cycles = np.zeros(n_fits, dtype=np.intp)

    def propose(
        self, rows: Rows, start: FloatArray, u: FloatArray, v: FloatArray
    ) -> tuple[BoolArray, FloatArray]:
        self._cycles[rows] += 1
        late = np.flatnonzero(self._cycles[rows] > self.n_squarem)
        none, guess = np.ones(len(rows), dtype=bool), start
        if len(late):
            none[late], of_late = self._secant.propose(rows[late], start[late], u[late], v[late])
            guess = start.copy()
            guess[late] = of_late
        self._uses_secant[rows] = ~none
        early = np.flatnonzero(none)
        if len(early) == len(rows):
            return self._squarem.propose(rows, start, u, v)
        if len(early):
            none[early], guess[early] = self._squarem.propose(rows[early], start[early], u[early], v[early])
        return none, guess

    def learn(self, rows: Rows, accepted: BoolArray) -> None:
        secant = self._uses_secant[rows]
        if secant.any():
            self._secant.learn(rows[secant], accepted[secant])
        if not secant.all():
            self._squarem.learn(rows[~secant], accepted[~secant])


class Unaccelerated(EachFit):
    """Plain EM."""

    def __init__(self, n_fits: int) -> None:
        pass

    def propose(
        self, rows: Rows, start: FloatArray, u: FloatArray, v: FloatArray
    ) -> tuple[BoolArray, FloatArray]:
        return np.ones(len(rows), dtype=bool), start

    def learn(self, rows: Rows, accepted: BoolArray) -> None:
        pass


def squared_length(vectors: FloatArray) -> FloatArray:
    """Squared lengths (r,) of vectors (r, D), to the same bits however many there are."""
    return np.array([np.dot(vector, vector) for vector in vectors])


ACCELERATIONS: dict[str, type[Squarem | Secant | SquaremThenSecant | Unaccelerated]] = {
    "auto": SquaremThenSecant,
    "squarem": Squarem,
    "secant": Secant,
    "none": Unaccelerated,
}
