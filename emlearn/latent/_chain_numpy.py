"""Recursions of Markov chains in NumPy: oracle of the compiled ones, and what runs where these are not built.

Arrays are (K, m), one column per observation, arranged as `emlearn.em.batches.Lanes` says: a loop over steps
takes all sequences at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Any, NamedTuple

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
# Once there are no more lanes than this, and they have so many steps or more to go, their steps are taken in
# blocks side by side, of so many steps at least and at most; with zeros fewer, in which less gets out of range.
FEW_LANES, LONG = 3, 256
SHORTEST_BLOCK, BLOCK, BLOCK_OF_ZEROS = 16, 256, 128


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


@np.errstate(divide="ignore", invalid="ignore")
def forward(
    log_prob: FloatArray,
    density: FloatArray,
    start: FloatArray,
    transition: FloatArray,
    n_active: IntArray,
    filtered: FloatArray,
    scale: FloatArray,
    shift: FloatArray,
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

    Returns
    -------
    far : Far or None
        Steps that were done again, if any.
    """
    keep = Zeros.of(transition) != Zeros.NONE
    arrays = log_prob, density, filtered, scale, shift
    first = _steps_of_many(n_active)
    far = _forward_steps(arrays, transition, n_active[:first], keep, start=start)
    for lane in range(n_active[first] if first < len(n_active) else 0):
        far = _forward_long(arrays, transition, _columns_of(lane, first - 1, n_active), keep, far)
    return far


def _forward_steps(
    arrays: tuple[FloatArray, ...],
    transition: FloatArray,
    n_active: IntArray,
    keep: bool,
    *,
    start: FloatArray | None = None,
    entering: tuple[FloatArray, FloatArray] | None = None,
) -> Far | None:
    """Filter step by step, lanes side by side.

    They begin from the distribution of the first state or, ``entering``, from mantissas and powers, (K, n)
    each, of what was filtered before.
    """
    log_prob, density, filtered, scale, shift = arrays
    far, here = None, 0
    beyond = np.zeros(n_active[0], dtype=bool)
    for t, n in enumerate(n_active):
        before = np.arange(here - n_active[t - 1], here)[:n] if t > 0 else np.empty(0, dtype=np.intp)
        if t > 0:
            alive = filtered[:, before]
            mixed = transition.T @ alive
        elif entering is not None:
            alive, beyond = entering[0], np.logical_or.reduce(entering[1] < 0, axis=0)
            mixed = transition.T @ alive
        else:
            assert start is not None
            mixed = np.repeat(start[:, None], n, axis=1)
        columns = slice(here, here + n)
        with np.errstate(over="ignore", invalid="ignore"):  # of lanes whose columns hold mantissas
            filtered[:, columns] = mixed * density[:, columns]
            scale[columns] = filtered[:, columns].sum(axis=0)
            filtered[:, columns] /= np.where(scale[columns] > 0, scale[columns], 1.0)
        filtered[:, columns][filtered[:, columns] < FLUSH] = 0.0
        again = beyond[:n] | ~(scale[columns] >= LEAST)
        if keep:
            possible = mixed
            if t > 0 or start is None:  # products with tiny probabilities may have underflowed
                possible = (transition > 0).T.astype(float) @ (alive > 0)
            lost = (filtered[:, columns] == 0) & (log_prob[:, columns] > -np.inf) & (possible > 0)
            again |= lost.any(axis=0)
        if again.any():
            far = Far.of(transition, filtered.shape[1]) if far is None else far
            lanes = np.flatnonzero(again)
            if t > 0:
                m, m_power = _far_combine(*_column(filtered, far, before[lanes]), far)
            elif entering is not None:
                m, m_power = _far_combine(*_tidy(entering[0][:, lanes], entering[1][:, lanes]), far)
            else:
                m, m_power = _tidy(mixed[:, lanes], 0.0)
            beyond[lanes] = _far_observe(
                m, m_power, log_prob, density, filtered, scale, shift, far, here + lanes, keep
            )
        here += n
    return far


def _steps_of_many(n_active: IntArray) -> int:
    """The first step from which on few sequences are left, and long; the number of steps where they are not."""
    T = len(n_active)
    first = max(int(np.searchsorted(-n_active, -FEW_LANES)), 1)
    return first if T - first >= LONG else T


def _columns_of(lane: int, first: int, n_active: IntArray) -> IntArray:
    """Columns of a lane from a step on."""
    n = int(np.count_nonzero(n_active > lane))
    return np.concatenate([[0], np.cumsum(n_active[: n - 1])])[first:].astype(np.intp) + lane


def _in_blocks(n: int, longest: int) -> IntArray:
    """So many steps in blocks side by side, (L, B); -1 where the last block has none."""
    length = int(np.clip(np.sqrt(2 * n), SHORTEST_BLOCK, longest))
    n_blocks = -(-n // length)
    steps = np.arange(length)[:, None] + length * np.arange(n_blocks)
    return np.where(steps < n, steps, -1)


def _forward_long(
    arrays: tuple[FloatArray, ...], transition: FloatArray, columns: IntArray, keep: bool, far: Far | None
) -> Far | None:
    """Filter a sequence from its second column on, a block of steps beside the next.

    What a block makes of each state that it may begin in tells, block after block, what they do begin with;
    from there all of them go side by side. Blocks in which a state gets out of range go alone.
    """
    log_prob, density, filtered, scale, shift = arrays
    K = len(transition)
    steps = _in_blocks(len(columns) - 1, BLOCK_OF_ZEROS if keep else BLOCK)
    places = columns[1:]

    def run(blocks: IntArray, u: FloatArray, power: FloatArray, far: Far | None) -> Far | None:
        """The steps of some blocks, the last of all the last one, from what was filtered before."""
        own = steps[:, blocks]
        there = own >= 0
        at = places[own[there]]
        part = log_prob[:, at], density[:, at], np.empty((K, len(at))), np.empty(len(at)), shift[at]
        n_there = np.count_nonzero(there, axis=1)
        found = _forward_steps(part, transition, n_there[n_there > 0], keep, entering=(u, power))
        filtered[:, at], scale[at] = part[2], part[3]
        if found is None:
            return far
        density[:, at], shift[at] = part[1], part[4]
        far = Far.of(transition, filtered.shape[1]) if far is None else far
        far.columns[at], far.power[at], far.mixed_power[at] = found.columns, found.power, found.mixed_power
        return far

    maps, log_size, is_alone = _forward_maps(density, log_prob, transition, steps, places, keep)
    mantissa, exponent = _tidy(maps, 0.0) if keep else (maps, maps)
    u, power = filtered[:, columns[:1]], np.zeros((K, 1))
    if keep:
        u, power = _column(filtered, far, columns[:1])
    n_blocks = steps.shape[1]
    enter_u, enter_power = np.empty((K, n_blocks)), np.zeros((K, n_blocks))
    for b in range(n_blocks):
        enter_u[:, b], enter_power[:, b] = u[:, 0], np.where(u[:, 0] > 0, power[:, 0], 0.0)
        if is_alone[b]:
            far = run(np.array([b]), enter_u[:, [b]], enter_power[:, [b]], far)
            last = places[steps[:, b].max()]
            u, power = _column(filtered, far, np.array([last]))
        elif keep:
            u, power = _mapped(u, power, log_size[b], mantissa[b], exponent[b])
        else:
            weight = np.where(u[:, 0] > 0, log_size[b], -np.inf)
            weight = u[:, 0] * np.exp(weight - weight.max()) if u.any() else u[:, 0]
            u = (weight @ maps[b])[:, None]
            u /= max(u.sum(), np.finfo(np.float64).tiny)
            u[u < FLUSH] = 0.0
    others = np.flatnonzero(~is_alone)
    if others.size:
        far = run(others, enter_u[:, others], enter_power[:, others], far)
    return far


def _forward_maps(
    density: FloatArray,
    log_prob: FloatArray,
    transition: FloatArray,
    steps: IntArray,
    places: IntArray,
    keep: bool,
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """What blocks make of each state before them.

    Probabilities of the states after them (B, K, K), logarithms of factors that these lack (B, K), and in which
    blocks something that is possible got out of range (B,).
    """
    K, n_blocks = len(transition), steps.shape[1]
    maps, log_size = np.tile(np.eye(K), (n_blocks, 1, 1)), np.zeros((n_blocks, K))
    lost = np.zeros(n_blocks, dtype=bool)
    possible, edges = maps.copy(), (transition > 0).astype(float)
    for own in steps:
        n = int(np.count_nonzero(own >= 0))
        at = places[own[:n]]
        seen = np.where(log_prob[:, at] > -np.inf, density[:, at], 0.0)
        mapped = (maps[:n].reshape(-1, K) @ transition).reshape(n, K, K) * seen.T[:, None, :]
        size = mapped.sum(axis=2)
        if keep:
            reached = (possible[:n].reshape(-1, K) @ edges).reshape(n, K, K) > 0
            possible[:n] = reached & (log_prob[:, at].T[:, None, :] > -np.inf)
            small = mapped < (LEAST_ALIVE * np.maximum(size, 1e-10))[:, :, None]
            lost[:n] |= (small & (possible[:n] > 0)).any(axis=(1, 2))
        mapped /= np.where(size > 0, size, 1.0)[:, :, None]
        if not keep:
            mapped[mapped < FLUSH] = 0.0
        maps[:n] = mapped
        with np.errstate(divide="ignore"):
            log_size[:n] += np.log(size)
    return maps, log_size, lost


def _mapped(
    u: FloatArray, power: FloatArray, log_size: FloatArray, mantissa: FloatArray, exponent: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """What a block makes of mantissas and powers (K, 1), normalised, as `_far_observe` does."""
    sized = log_size > -np.inf
    size = np.where(sized, log_size, 0.0)
    size -= size.max()
    if (power == 0).all() and not exponent.any() and size.min() > -100:  # all in range of ordinary numbers
        numbers = (u[:, 0] * np.exp(size) * sized) @ mantissa
        total = numbers.sum()
        if total > LEAST and numbers[numbers > 0].min() > 1e-100 * total:
            return (numbers / total)[:, None], power
    whole = np.rint(size / LOG_RADIX[0])
    rest = np.exp(size - whole * LOG_RADIX[0] - whole * LOG_RADIX[1])
    u, power = _tidy(u[:, 0] * np.where(sized, rest, 0.0), power[:, 0] + whole)
    powers = power[:, None] + exponent
    top = powers.max(axis=0)
    with np.errstate(invalid="ignore"):  # what is impossible from everywhere
        m = (u[:, None] * _unit(powers - top) * mantissa).sum(axis=0)
    m, power = _tidy(m, top)
    highest = power.max()
    if highest == -np.inf:
        return np.zeros((len(m), 1)), np.zeros((len(m), 1))
    total = (m * _unit(power - highest)).sum()
    m, power = _tidy(m / total, power - highest)
    numbers = m * _unit(power)
    if ((m > 0) & (numbers < FLUSH)).any():
        return m[:, None], power[:, None]
    return _tidy(numbers[:, None], 0.0)


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
    weight = np.ones(n_active[0]) if weight is None else weight
    # Where the step to a column was far, beta is not known, but the posterior is.
    back = _Back(
        density,
        transition,
        filtered,
        scale,
        ahead,
        far,
        weight,
        beta=np.ones((K, n_active[0])),
        posterior=np.empty((K, n_active[0])),
        known=np.zeros(n_active[0], dtype=bool),
        pairs=None if far is None else np.zeros((K, K)),
    )
    first = _steps_of_many(n_active)
    taken = 0  # lanes whose step to the ones that follow was taken already
    for lane in range(n_active[first] if first < len(n_active) else 0):
        back.long(lane, _columns_of(lane, first - 1, n_active))
        taken += 1
    here, after = int(n_active[:first].sum()), taken
    for n in n_active[:first][::-1]:
        following, here = here, here - n
        if after and not taken:
            back.step(np.arange(following, following + after), np.arange(here, here + after))
        ahead[:, here + after : here + n] = 0.0
        after, taken = n, 0
    columns = np.arange(after)
    density[:, columns] = _posterior(filtered, back.beta, back.posterior, back.known, far, columns)
    return back.pairs


@dataclass(frozen=True)
class _Back:
    """The way back. What is known at the columns that it has come to is changed in place, lane by lane."""

    density: FloatArray  # (K, m)
    transition: FloatArray
    filtered: FloatArray
    scale: FloatArray
    ahead: FloatArray
    far: Far | None
    weight: FloatArray  # of lanes
    beta: FloatArray  # (K, n_lanes) backward variables
    posterior: FloatArray  # (K, n_lanes), which takes their place ...
    known: NDArray[np.bool_]  # (n_lanes,) ... here
    pairs: FloatArray | None

    def step(self, columns: IntArray, before: IntArray) -> None:
        """Take the steps of the first lanes back that lead from the columns before to these."""
        far, filtered, density = self.far, self.filtered, self.density
        K, n = len(self.transition), len(columns)
        seen = _posterior(filtered, self.beta, self.posterior, self.known, far, columns)
        alpha = filtered[:, columns]
        positive = alpha > 0
        was_far = np.zeros(n, dtype=bool) if far is None else far.columns[columns] > 0
        back = np.where(self.known[:n], seen / np.where(positive, alpha, 1.0), self.beta[:, :n])
        total = np.where(self.scale[columns] > 0, self.scale[columns], np.inf)
        with np.errstate(over="ignore", invalid="ignore"):  # of far lanes
            odds = np.where(positive & ~was_far, density[:, columns] / total * back, 0.0)
        self.ahead[:, before] = odds
        self.beta[:, :n] = self.transition @ odds
        if far is not None and self.pairs is not None and was_far.any():
            lanes = np.flatnonzero(was_far)
            u, power = _column(filtered, far, before[lanes])
            m, m_power = density[:, columns[lanes]], far.mixed_power[columns[lanes], :K].T
            share = np.where(m > 0, seen[:, lanes] / np.where(m > 0, m, 1.0), 0.0)
            with np.errstate(invalid="ignore"):  # what is impossible from everywhere
                units = _unit(power[:, None] + far.exponent[:K, :K, None] - m_power)
            chances = u[:, None] * units * far.mantissa[:K, :K, None] * share
            smoothed = chances.sum(axis=1)
            self.posterior[:, lanes] = np.where(smoothed < FLUSH, 0.0, smoothed)
            self.pairs[...] += chances @ self.weight[lanes]
        self.known[:n] = was_far
        density[:, columns] = seen

    def long(self, lane: int, columns: IntArray) -> None:
        """Take all steps of one lane back to the first of these columns, a block of them beside the next.

        What a block makes of each state at its end tells, block after block, what is known there. Where steps
        are out of range it is the posterior that goes back, as always with factors that are at most 1.
        """
        steps = _in_blocks(len(columns) - 1, BLOCK)
        places, before = columns[1:], columns[:-1]
        self.ahead[:, columns[-1]] = 0.0
        by_posterior = np.zeros(steps.shape[1], dtype=bool)
        if self.far is not None:
            is_far = self.far.columns[places] > 0
            by_posterior |= np.logical_or.reduce((steps >= 0) & is_far[steps], axis=0)
        maps = self._maps(steps, places)
        by_posterior |= ~np.isfinite(maps).all(axis=(1, 2))
        others = np.flatnonzero(by_posterior)
        if others.size:
            maps[others] = self._maps_of_posteriors(steps[:, others], places, before)
        blocks = self._of_lanes(np.full(steps.shape[1], lane))
        blocks.known[...] = by_posterior
        one = self._of_lanes([lane])
        for b in range(steps.shape[1] - 1, -1, -1):
            end = places[[steps[:, b].max()]]
            if by_posterior[b]:
                at_end = _posterior(self.filtered, one.beta, one.posterior, one.known, self.far, end)[:, 0]
                blocks.posterior[:, b] = at_end
                one.posterior[:, 0] = at_end @ maps[b]
            else:
                if one.known[0]:
                    alpha = self.filtered[:, end[0]]
                    quotient = one.posterior[:, 0] / np.where(alpha > 0, alpha, 1.0)
                    one.beta[:, 0] = np.where(alpha > 0, quotient, 0.0)
                blocks.beta[:, b] = one.beta[:, 0]
                one.beta[:, 0] = blocks.beta[:, b] @ maps[b]
            one.known[0] = by_posterior[b]
        for own in steps[::-1]:
            own = own[own >= 0]
            blocks.step(places[own], before[own])
        self.beta[:, lane], self.posterior[:, lane] = one.beta[:, 0], one.posterior[:, 0]
        self.known[lane] = one.known[0]

    def _of_lanes(self, lanes: Any) -> _Back:
        """The same way with lanes of their own, as they stand."""
        return replace(
            self,
            weight=self.weight[lanes],
            beta=self.beta[:, lanes],
            posterior=self.posterior[:, lanes],
            known=self.known[lanes],
        )

    def _maps(self, steps: IntArray, places: IntArray) -> FloatArray:
        """Backward variables before blocks for each unit of them at the end, (B, K, K)."""
        K, n_blocks = len(self.transition), steps.shape[1]
        maps = np.tile(np.eye(K), (n_blocks, 1, 1))
        for own in steps[::-1]:
            at = places[own[own >= 0]]
            total = np.where(self.scale[at] > 0, self.scale[at], np.inf)
            with np.errstate(over="ignore", invalid="ignore"):  # of far columns
                factor = np.where(self.filtered[:, at] > 0, self.density[:, at] / total, 0.0).T
                odds = (maps[: len(at)] * factor[:, None, :]).reshape(-1, K)
                maps[: len(at)] = (odds @ self.transition.T).reshape(len(at), K, K)
        return maps

    def _maps_of_posteriors(self, steps: IntArray, places: IntArray, before: IntArray) -> FloatArray:
        """Posteriors before blocks for each state at the end, (B, K, K)."""
        K, n_blocks = len(self.transition), steps.shape[1]
        far = Far.of(self.transition, 0) if self.far is None else self.far
        maps = np.tile(np.eye(K), (n_blocks, 1, 1))
        for own in steps[::-1]:
            own = own[own >= 0]
            u, power = _column(self.filtered, self.far, before[own])
            m, m_power = _far_combine(u, power, far)
            with np.errstate(invalid="ignore", divide="ignore"):  # what is impossible from everywhere
                units = _unit(power[:, None] + far.exponent[:K, :K, None] - m_power)
                shares = u[:, None] * units * far.mantissa[:K, :K, None] / m
            shares = np.where(m > 0, shares, 0.0)  # of the state before each state, (K, K, n)
            maps[: len(own)] = np.matmul(maps[: len(own)], shares.transpose(2, 1, 0))
        return maps


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
