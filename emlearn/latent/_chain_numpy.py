"""Recursions of Markov chains in NumPy: oracle of the compiled ones, and what runs where these are not built.

Arrays are (K, m), one column per observation, arranged as `emlearn.em.batches.Lanes` says: a loop over steps
takes all sequences at once.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import FloatArray, IntArray

NAME = "NumPy"

# A filtered probability below this becomes 0, so that nothing overflows on the way back.
FLUSH = 1e-200
# A step whose scale is below this is done again in numbers of any size.
LEAST = 1e-100
# The compiled kernel may forget what was flushed while that weighs less than this, relative to what was kept:
# exp(-45).
LOG_NEGLIGIBLE = -45.0
# Numbers of any size are mantissa · RADIX^power, mantissas from 2^-256 up to 2^256.
LOG2_RADIX = 512
RADIX = 2.0**LOG2_RADIX
LEAST_MANTISSA = 2.0 ** (-LOG2_RADIX // 2)
# log(RADIX) in two parts: a power times the first, which has 24 bits, is exact.
LOG_RADIX = 354.891357421875, -9.751830015783778e-07
# Transitions below this, times a probability that was not flushed, may underflow.
LEAST_TRANSITION = LEAST_MANTISSA
# Where all transitions but zeros are above that, the products of what was not flushed are above this.
LEAST_ALIVE = 1e-290


class Zeros(IntEnum):
    """What a transition matrix holds at its low end, which decides whether what was flushed may matter."""

    NONE = 0  # nothing below LEAST_TRANSITION
    EXACT = 1  # zeros, and nothing else that is so small
    TINY = 2  # positive numbers that small

    @classmethod
    def of(cls, transition: FloatArray) -> Zeros:
        if transition.min() >= LEAST_TRANSITION:
            return cls.NONE
        return cls.TINY if ((transition > 0) & (transition < LEAST_TRANSITION)).any() else cls.EXACT


class Far(NamedTuple):
    """Steps that were done in numbers of any size, and what they leave.

    At columns of such steps `filtered` holds mantissas, the density's place those of the probability of each
    state before it was observed. Where a step ends in ordinary numbers its powers are 0. The number of states
    is padded with impossible ones to W, a multiple of four.
    """

    columns: NDArray[np.uint8]  # (m,) whether the step to this column was one
    power: FloatArray  # (m, W) of filtered probabilities there
    mixed_power: FloatArray  # (m, W) of the probabilities before that
    mantissa: FloatArray  # (W, W) of transitions
    exponent: FloatArray  # (W, W) their powers

    @classmethod
    def of(cls, transition: FloatArray, m: int) -> Far:
        """None yet; memory of columns that none is is never touched."""
        W = -(-len(transition) // 4) * 4
        padded = np.pad(transition, (0, W - len(transition)))
        return cls(np.zeros(m, dtype=np.uint8), np.empty((m, W)), np.empty((m, W)), *_tidy(padded, 0.0))

    @property
    def is_tiny(self) -> bool:
        """Whether transitions have powers, so that those of products may differ by one more."""
        return bool(((self.exponent > -np.inf) & (self.exponent < 0)).any())


def _tidy(values: FloatArray, power: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """Mantissas and powers of values · RADIX^power; the power of 0 is minus infinity."""
    _, exponent = np.frexp(values)
    whole = (exponent - 1 + LOG2_RADIX // 2) // LOG2_RADIX
    return np.ldexp(values, -LOG2_RADIX * whole), np.where(values > 0, whole + power, -np.inf)


def _unit(power: FloatArray) -> FloatArray:
    """RADIX^power for powers at most 0, where anything below -2 is as good as none."""
    unit: FloatArray = np.select([power == 0, power == -1, power == -2], [1.0, 1 / RADIX, RADIX**-2])
    return unit


def _column(filtered: FloatArray, far: Far | None, columns: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mantissas and powers of filtered probabilities, (K, n) each."""
    power = np.zeros((len(filtered), len(columns)))
    if far is not None:
        power = np.where(far.columns[columns] > 0, far.power[columns, : len(filtered)].T, 0.0)
    return _tidy(filtered[:, columns], power)


def as_numbers(filtered: FloatArray, far: Far) -> None:
    """Filtered probabilities as ordinary numbers, in place."""
    columns = np.flatnonzero(far.columns)
    filtered[:, columns] *= _unit(far.power[columns, : len(filtered)].T)


def forward(
    log_prob: FloatArray,
    density: FloatArray,
    start: FloatArray,
    transition: FloatArray,
    n_active: IntArray,
    filtered: FloatArray,
    scale: FloatArray,
    shift: FloatArray,
    zeros: int,
) -> Far | None:
    r"""Filter: the probability of each state given what was seen so far.

    Filtered probabilities below ``FLUSH`` become 0, which must lose nothing that comes to matter later.

    With `Zeros.NONE` it never does: in one step what is kept gives every state ``LEAST_TRANSITION`` times its
    density or more, what was flushed K times ``FLUSH`` times its density or less, and so it stays.

    Otherwise a step that would flush a state that is possible is done again in numbers of any size, and so are
    those after it, up to one at whose end all is in range of ordinary numbers. A number is mantissa · 2^(512 ·
    power), the mantissa from 2^-256 up to 2^256, each state with a power of its own. A sum of products takes
    the largest power among its terms; terms of a power three or more below it are below the largest by a factor
    of 2^-512 at least (mantissas of products are within 2^±512), and left out. So every filtered probability
    has the relative error of the same sum in ordinary numbers, however small it is: nothing is lost, and there
    is no bound to keep.

    Parameters
    ----------
    log_prob : ndarray of shape (K, m)
        Log-densities.
    density : ndarray of shape (K, m)
        ``exp(log_prob - shift)``; changed where a step is done again, as `Far` says.
    start, transition : ndarray of shape (K,), (K, K)
    n_active : ndarray of shape (T,)
        Sequences that have a step t.
    filtered : ndarray of shape (K, m)
        Output: filtered probabilities; columns sum to 1, or are 0 after an impossible observation. Where a
        step was done again they are mantissas: see `as_numbers`.
    scale : ndarray of shape (m,)
        Output: what columns summed to. Predictive log-densities are ``log(scale) + shift``.
    shift : ndarray of shape (m,)
        Maximum of the log-densities; changed where a step is done again.
    zeros : Zeros
        Of ``transition``.

    Returns
    -------
    far : Far or None
        Steps that were done again, if any.
    """
    far, here = None, 0
    beyond = np.zeros(n_active[0], dtype=bool)
    keep = zeros != Zeros.NONE
    for t, n in enumerate(n_active):
        before = np.arange(here - n_active[t - 1], here)[:n] if t > 0 else None
        mixed = np.repeat(start[:, None], n, axis=1) if t == 0 else transition.T @ filtered[:, before]
        columns = slice(here, here + n)
        with np.errstate(over="ignore", invalid="ignore"):  # of lanes whose columns hold mantissas
            filtered[:, columns] = mixed * density[:, columns]
            scale[columns] = filtered[:, columns].sum(axis=0)
            filtered[:, columns] /= np.where(scale[columns] > 0, scale[columns], 1.0)
        filtered[:, columns][filtered[:, columns] < FLUSH] = 0.0
        again = beyond[:n] | ~(scale[columns] >= LEAST)
        if keep:
            if t > 0:  # products with tiny probabilities may have underflowed
                mixed = (transition > 0).T.astype(float) @ (filtered[:, before] > 0)
            lost = (filtered[:, columns] == 0) & (log_prob[:, columns] > -np.inf) & (mixed > 0)
            again |= lost.any(axis=0)
        if again.any():
            far = Far.of(transition, len(scale)) if far is None else far
            lanes = np.flatnonzero(again)
            if before is None:
                m, m_power = _tidy(mixed[:, lanes], 0.0)
            else:
                u, power = _column(filtered, far, before[lanes])
                m, m_power = _far_combine(u, power, far)
            beyond[lanes] = _far_observe(
                m, m_power, log_prob, density, filtered, scale, shift, far, here + lanes, keep
            )
        here += n
    return far


def _far_combine(u: FloatArray, power: FloatArray, far: Far) -> tuple[FloatArray, FloatArray]:
    """Sums over states j of u[j] · transition[j, k], numbers of any size, for each lane."""
    mantissa, exponent = far.mantissa[: len(u), : len(u)], far.exponent[: len(u), : len(u)]
    powers = power[:, None] + exponent[:, :, None]
    top = powers.max(axis=0)
    with np.errstate(invalid="ignore"):  # what is impossible from everywhere
        units = _unit(powers - top)
    return (u[:, None] * units * mantissa[:, :, None]).sum(axis=0), top


def _far_observe(
    m: FloatArray,
    m_power: FloatArray,
    log_prob: FloatArray,
    density: FloatArray,
    filtered: FloatArray,
    scale: FloatArray,
    shift: FloatArray,
    far: Far,
    columns: IntArray,
    keep: bool,
) -> NDArray[np.bool_]:
    """Joint probabilities, normalised; whether a lane is then out of range of ordinary numbers."""
    d = density[:, columns]
    with np.errstate(invalid="ignore"):
        x = log_prob[:, columns] - shift[columns]
    small = (d < LEAST_MANTISSA) & (m > 0) & (x > -np.inf)
    x = np.where(small, x, 0.0)
    whole = np.rint(x / LOG_RADIX[0])
    rest = np.clip(x - whole * LOG_RADIX[0] - whole * LOG_RADIX[1], -178.0, 178.0)  # where x has no digits left
    d = np.where(small, np.exp(rest), np.where(d < LEAST_MANTISSA, 0.0, d))
    density[:, columns], far.mixed_power[columns, : len(m)] = m, m_power.T
    u = np.where(m * d > 0, m * d, 0.0)
    u, power = _tidy(u, m_power + whole)
    top = power.max(axis=0)
    possible = top > -np.inf
    top[~possible] = 0.0
    total = (u * _unit(power - top)).sum(axis=0)
    scale[columns] = total
    shift[columns] = np.where(possible, shift[columns] + (top * LOG_RADIX[0] + top * LOG_RADIX[1]), -np.inf)
    u, power = _tidy(u / np.where(possible, total, 1.0), power - top)
    numbers = u * _unit(power)
    beyond = keep & ((u > 0) & (numbers < FLUSH)).any(axis=0)
    filtered[:, columns] = np.where(beyond, u, np.where(numbers < FLUSH, 0.0, numbers))
    far.power[columns, : len(m)] = np.where(beyond, power, 0.0).T
    far.columns[columns] = 1
    return np.asarray(beyond)


def backward(
    density: FloatArray,
    transition: FloatArray,
    n_active: IntArray,
    filtered: FloatArray,
    scale: FloatArray,
    ahead: FloatArray,
    far: Far | None = None,
    weight: FloatArray | None = None,
) -> FloatArray | None:
    r"""Smooth: the probability of each state given all that was seen.

    A step that was done in numbers of any size is taken back without backward variables, whose range has no
    bound either: the probability of state j before state k is

    .. math:: \frac{\alpha_j A_{jk}}{\sum_i \alpha_i A_{ik}} \gamma_k,

    with what was filtered before and what is smoothed after, and all of these are at most 1. In ordinary steps
    the backward variable is :math:`\gamma / \alpha`.

    Parameters
    ----------
    density : ndarray of shape (K, m)
        As `forward` left it. Output: posterior probabilities.
    transition : ndarray of shape (K, K)
    n_active : ndarray of shape (T,)
    filtered, scale : ndarray of shape (K, m), (m,)
        From `forward`.
    ahead : ndarray of shape (K, m)
        Output: ``transition * (filtered @ ahead.T)`` are the expected numbers of transitions. At the column of
        a step it holds density × backward variable / scale of the next step; 0 at the end of a sequence, and
        where the next step is one of ``far``.
    far : Far, default=None
        From `forward`.
    weight : ndarray of shape (n_lanes,) or more, default=None
        Weights of the sequences, for what is returned.

    Returns
    -------
    pairs : ndarray of shape (K, K) or None
        Weighted expected transitions at the steps of ``far``.
    """
    K = len(transition)
    beta = np.ones((K, n_active[0]))
    # Where the step to a column was far, beta is not known, but the posterior is.
    posterior, known = np.empty((K, n_active[0])), np.zeros(n_active[0], dtype=bool)
    pairs = None if far is None else np.zeros((K, K))
    here, after = filtered.shape[1], 0
    for n in n_active[::-1]:
        following, here = here, here - n
        if after:
            columns = np.arange(following, following + after)
            seen = _posterior(filtered, beta, posterior, known, far, columns)
            alpha = filtered[:, columns]
            positive = alpha > 0
            was_far = np.zeros(after, dtype=bool) if far is None else far.columns[columns] > 0
            back = np.where(known[:after], seen / np.where(positive, alpha, 1.0), beta[:, :after])
            total = np.where(scale[columns] > 0, scale[columns], np.inf)
            with np.errstate(over="ignore", invalid="ignore"):  # of far lanes
                odds = np.where(positive & ~was_far, density[:, columns] / total * back, 0.0)
            ahead[:, here : here + after] = odds
            beta[:, :after] = transition @ odds
            if far is not None and pairs is not None and was_far.any():
                lanes = np.flatnonzero(was_far)
                u, power = _column(filtered, far, here + lanes)
                m, m_power = density[:, columns[lanes]], far.mixed_power[columns[lanes], :K].T
                share = np.where(m > 0, seen[:, lanes] / np.where(m > 0, m, 1.0), 0.0)
                with np.errstate(invalid="ignore"):  # what is impossible from everywhere
                    units = _unit(power[:, None] + far.exponent[:K, :K, None] - m_power)
                chances = u[:, None] * units * far.mantissa[:K, :K, None] * share
                before = chances.sum(axis=1)
                posterior[:, lanes] = np.where(before < FLUSH, 0.0, before)
                pairs += chances.sum(axis=2) if weight is None else chances @ weight[lanes]
            known[:after] = was_far
            density[:, columns] = seen
        ahead[:, here + after : here + n] = 0.0
        after = n
    columns = np.arange(after)
    density[:, columns] = _posterior(filtered, beta, posterior, known, far, columns)
    return pairs


def _posterior(
    filtered: FloatArray,
    beta: FloatArray,
    posterior: FloatArray,
    known: NDArray[np.bool_],
    far: Far | None,
    columns: IntArray,
) -> FloatArray:
    """Smoothed probabilities at the columns of a step."""
    n = len(columns)
    numbers = filtered[:, columns]
    if far is not None:
        numbers = np.where(
            far.columns[columns] > 0, numbers * _unit(far.power[columns, : len(numbers)].T), numbers
        )
    with np.errstate(over="ignore", invalid="ignore"):  # where nothing was filtered
        smoothed = np.where(numbers > 0, numbers * beta[:, :n], 0.0)
    return np.where(known[:n], posterior[:, :n], smoothed)


def viterbi(
    log_prob: FloatArray,
    log_start: FloatArray,
    log_transition: FloatArray,
    n_active: IntArray,
    path: IntArray,
) -> FloatArray:
    """Most probable paths.

    Parameters
    ----------
    log_prob : ndarray of shape (K, m)
        Log-densities; overwritten.
    log_start, log_transition : ndarray of shape (K,), (K, K)
    n_active : ndarray of shape (T,)
    path : ndarray of int of shape (m,)
        Output: the state at each column; of equals the first.

    Returns
    -------
    log_joint : ndarray of shape (n_lanes,)
        Log joint probability of each path and what was seen.
    """
    origin = np.empty(log_prob.shape, dtype=np.intp)
    log_joint = np.empty(n_active[0])
    log_prob[:, : n_active[0]] += log_start[:, None]
    here = n_active[0]
    for before, n in pairwise(n_active):
        arrivals = log_prob[:, None, here - before : here - before + n] + log_transition[:, :, None]
        origin[:, here : here + n] = arrivals.argmax(axis=0)
        log_prob[:, here : here + n] += arrivals.max(axis=0)
        here += n
    after = 0
    for n in n_active[::-1]:
        following, here = here, here - n
        if after:
            there = np.arange(following, following + after)
            path[here : here + after] = origin[path[there], there]
        ends = slice(here + after, here + n)
        path[ends] = log_prob[:, ends].argmax(axis=0)
        log_joint[after:n] = log_prob[:, ends].max(axis=0)
        after = n
    return log_joint


def draw_paths(
    filtered: FloatArray,
    transition: FloatArray,
    n_active: IntArray,
    uniform: FloatArray,
    path: IntArray,
    far: Far | None = None,
) -> None:
    """Draw paths from the posterior, from the last step to the first.

    Parameters
    ----------
    filtered : ndarray of shape (K, m)
        From `forward`.
    transition : ndarray of shape (K, K)
    n_active : ndarray of shape (T,)
    uniform : ndarray of shape (m,)
        Draws from [0, 1).
    path : ndarray of int of shape (m,)
        Output: the state at each column.
    far : Far, default=None
        From `forward`.
    """
    here, after = filtered.shape[1], 0
    for n in n_active[::-1]:
        following, here = here, here - n
        following = np.arange(following, following + after)
        columns = np.arange(here, here + n)
        odds = filtered[:, columns]
        with np.errstate(over="ignore"):  # of far lanes
            odds[:, :after] *= transition[:, path[following]]
        if far is not None:
            lanes = np.flatnonzero(far.columns[np.append(following, columns[after:])])
            u, power = _column(filtered, far, columns[lanes])
            inner = lanes < after
            towards = path[following[lanes[inner]]]
            u[:, inner] *= far.mantissa[: len(u), towards]
            power[:, inner] += far.exponent[: len(u), towards]
            u, power = _tidy(u, power)
            top = power.max(axis=0)
            with np.errstate(invalid="ignore"):  # where what was seen is impossible any path will do
                odds[:, lanes] = np.where(top > -np.inf, u * _unit(power - top), 1.0)
        cumulative = np.cumsum(odds, axis=0)
        level = uniform[columns] * cumulative[-1]
        path[columns] = np.minimum((cumulative <= level).sum(axis=0), len(odds) - 1)
        after = n
