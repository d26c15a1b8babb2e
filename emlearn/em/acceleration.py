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

import math
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

N_SECANTS = 3  # that a guess is made from
FIRST_SQUAREM = 4  # cycles far from the optimum, where a linear model of the map says little


class Accelerator:
    """How one fit is extrapolated, and what became of the guesses so far.

    SQUAREM takes one step length along both differences, bounded; the bound grows with success. Quasi-Newton
    steps from the latest secant pairs back off for 1, 2, 4, 8 cycles when refused; meanwhile SQUAREM stands in.

    Parameters
    ----------
    squarem : bool
        Whether there are steps by SQUAREM.
    secants_after : float
        Number of cycles, pairs of plain steps, from which on steps are made from secants; inf for never.
    """

    def __init__(self, squarem: bool, secants_after: float):
        self._has_squarem = squarem
        self._secants_after = secants_after
        self._cycles = 0
        self._longest, self.length = 4.0, 1.0
        self.pairs: list[tuple[FloatArray, FloatArray]] = []
        self._pause, self._wait = 1, 0
        self._used_secants = False

    def takes_secants(self, u: FloatArray, v: FloatArray) -> bool:
        """Whether the guess from this pair of steps, and from those before it, is made of secants."""
        self._cycles += 1
        self._used_secants = False
        if self._cycles > self._secants_after:
            self.pairs = [*self.pairs[1 - N_SECANTS :], (u, v)]
            if self._wait:
                self._wait -= 1
            else:
                self._used_secants = True
        return self._used_secants

    def lengthen(self, step: float, bend: float) -> float:
        """The length of a step by SQUAREM, from \\|u\\|² and \\|v − u\\|²; 1 is the plain step."""
        if not self._has_squarem:
            return 1.0
        ratio = math.sqrt(step) / math.sqrt(bend) if bend > 0 else math.inf
        self.length = min(max(ratio, 1.0), self._longest)
        return self.length

    def learn(self, accepted: bool) -> None:
        """Hear whether the last guess was accepted."""
        if self._used_secants:
            if accepted:
                self._pause = 1
            else:
                self._wait, self._pause = self._pause, min(2 * self._pause, 8)
        elif not accepted:
            self._longest = max(self.length / 4, 2.0)
        elif self.length == self._longest:
            self._longest *= 4


def propose(
    accelerators: Sequence[Accelerator], start: FloatArray, u: FloatArray, v: FloatArray, step: Sequence[float]
) -> tuple[list[int], FloatArray]:
    """Where several fits may be heading, from a pair of EM steps of each.

    Parameters
    ----------
    accelerators : sequence of Accelerator
        Those of the fits.
    start, u, v : ndarray of shape (S, D)
        Where the pairs of steps begin, and the steps.
    step : sequence of float
        Squared lengths of ``u``.

    Returns
    -------
    rows : list of int
        Which of the fits have a guess; the others take plain steps.
    guesses : ndarray of shape (len(rows), D)
        Points beyond ``start + u + v``.
    """
    by_secants, by_squarem, lengths = [], [], []
    bend: list[float] | None = None
    for row, accelerator in enumerate(accelerators):
        if accelerator.takes_secants(u[row], v[row]):
            by_secants.append(row)
            continue
        if bend is None:
            bend = squared_length(v - u)
        if (length := accelerator.lengthen(step[row], bend[row])) != 1.0:
            by_squarem.append(row)
            lengths.append(length)
    guesses = []
    if by_squarem:
        own_start, own_u, own_v = some(start, by_squarem), some(u, by_squarem), some(v, by_squarem)
        along = np.array(lengths)[:, None]
        guesses.append(own_start + 2 * along * own_u + along**2 * (own_v - own_u))
    if by_secants:
        pairs = [accelerators[row].pairs for row in by_secants]
        guesses.append(_by_secants(pairs, some(start, by_secants), some(u, by_secants)))
    if len(guesses) < 2:
        return by_squarem + by_secants, guesses[0] if guesses else start[:0]
    order = np.argsort(by_squarem + by_secants)
    return sorted(by_squarem + by_secants), np.concatenate(guesses)[order]


def _by_secants(
    pairs: list[list[tuple[FloatArray, FloatArray]]], start: FloatArray, u: FloatArray
) -> FloatArray:
    """Quasi-Newton points (S, D) from the secant pairs of each fit, at most ``N_SECANTS``."""
    # Those that were not seen yet are 0, which does not change what the others tell.
    unseen = np.zeros(u.shape[1])
    lacking = [N_SECANTS - len(of_fit) for of_fit in pairs]
    U, V = (
        np.concatenate(
            [
                part
                for of_fit, n in zip(pairs, lacking, strict=True)
                for part in (*(pair[which] for pair in of_fit), *n * [unseen])
            ]
        ).reshape(len(pairs), N_SECANTS, -1)
        for which in (0, 1)
    )
    gram = U @ (U - V).swapaxes(1, 2)
    # Least squares of least norm: an inverse first would lose digits where secants are nearly the same.
    left, size, right = np.linalg.svd(gram)
    told = size > N_SECANTS * np.finfo(np.float64).eps * size[:, :1]
    along = left.swapaxes(1, 2) @ (U @ u[:, :, None])
    along = np.divide(along[:, :, 0], size, out=np.zeros_like(size), where=told)
    coefficients = along[:, None] @ right
    guess: FloatArray = start + u + (coefficients @ V)[:, 0]
    return guess


def squared_length(vectors: FloatArray) -> list[float]:
    """Squared lengths of vectors (S, D), to the same bits however many there are."""
    if len(vectors) == 1:
        return [float(np.dot(vectors[0], vectors[0]))]
    lengths: list[float] = np.vecdot(vectors, vectors).tolist()
    return lengths


def some(rows: NDArray[Scalar], which: list[int]) -> NDArray[Scalar]:
    """Some rows of an array, in their order."""
    return rows if len(which) == len(rows) else rows[which]


ACCELERATIONS = {
    "auto": partial(Accelerator, True, FIRST_SQUAREM),
    "squarem": partial(Accelerator, True, math.inf),
    "secant": partial(Accelerator, False, 0),
    "none": partial(Accelerator, False, math.inf),
}
