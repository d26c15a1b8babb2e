"""Recursions of Markov chains in NumPy: oracle of the compiled ones, and what runs where these are not built.

Arrays are (K, m), one column per observation, arranged as `emlearn.em.batches.Lanes` says: a loop over steps
takes all sequences at once.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import FloatArray, IntArray

NAME = "NumPy"

# A filtered probability below this becomes 0, so that nothing overflows on the way back.
FLUSH = 1e-200
# A step whose scale is below this is done again, shifted by what is largest among the states it can reach.
LEAST = 1e-100
# Below this, products lose digits, and a step that is done again is not exact.
LEAST_EXACT = 1e-290
# What was flushed may be forgotten while it weighs less than this, relative to what was kept: exp(-45).
LOG_NEGLIGIBLE = -45.0
# Transitions below this, times a probability that was not flushed, may underflow.
LEAST_TRANSITION = 1e-90


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
    log_growth: float,
) -> NDArray[np.uint8]:
    r"""Filter: the probability of each state given what was seen so far.

    Filtered probabilities below ``FLUSH`` become 0. What that loses is bounded by a debt for each sequence.
    Write the joint probabilities of the state and what was seen up to step t, in units of what is kept, as
    :math:`a + e`: what is kept, :math:`\sum_k a_k = 1`, and all that descends from what was flushed. A step
    with densities d takes them to :math:`(a A) \circ d` and :math:`(e A) \circ d`, and divides both by the
    scale :math:`c = \sum_k (a A \circ d)_k`. As :math:`d \le 1`, and rows of A sum to g at most,

    .. math:: \sum_k e'_k \le \frac{g}{c} \sum_k e_k,

    so the log of the bound, which is the debt, grows by log g − log c. A step that is done again takes as unit
    the largest density among the states that what is kept can reach. For the others then only log d ≤ old shift
    − new shift, and the debt grows by that too. Flushing adds K times ``FLUSH`` at most. Debts do not shrink
    (c ≤ g), so the oldest is the largest, and n of them are together at most n times that: the larger stands
    for both. At the end of a sequence the debt bounds the weight of all paths that were lost, relative to those
    that were kept, and so the relative error of the likelihood: while it is below ``LOG_NEGLIGIBLE``, 3e-20 for
    each time that anything was flushed.

    With `Zeros.NONE` there is no debt to keep: in one step what is kept gives every state ``LEAST_TRANSITION``
    times its density or more, what was flushed K times ``FLUSH`` times its density or less, and so it stays.

    Parameters
    ----------
    log_prob : ndarray of shape (K, m)
        Log-densities.
    density : ndarray of shape (K, m)
        ``exp(log_prob - shift)``; changed where a step is done again.
    start, transition : ndarray of shape (K,), (K, K)
    n_active : ndarray of shape (T,)
        Sequences that have a step t.
    filtered : ndarray of shape (K, m)
        Output: filtered probabilities; columns sum to 1, or are 0 after an impossible observation.
    scale : ndarray of shape (m,)
        Output: what columns summed to. Predictive log-densities are ``log(scale) + shift``.
    shift : ndarray of shape (m,)
        Maximum of the log-densities; changed where a step is done again.
    zeros : Zeros
        Of ``transition``. With `Zeros.EXACT` a state counts as flushed if what is kept leads there; with
        `Zeros.TINY` products underflow, and any possible state that has probability 0 counts.
    log_growth : float
        Log of the largest sum of a row of ``transition``.

    Returns
    -------
    inexact : ndarray of uint8 of shape (n_lanes,)
        Sequences in which what was flushed may matter, to be done again by `in_logs`.
    """
    K = len(start)
    inexact = np.zeros(n_active[0], dtype=np.uint8)
    debt = np.full(n_active[0], -np.inf)  # log of what was flushed, relative to what was kept, at most
    mixed = np.repeat(start[:, None], n_active[0], axis=1)
    here = 0
    for t, n in enumerate(n_active):
        if t > 0:
            mixed = transition.T @ filtered[:, here - n_active[t - 1] :][:, :n]
        columns = slice(here, here + n)
        filtered[:, columns] = mixed * density[:, columns]
        scale[columns] = filtered[:, columns].sum(axis=0)
        for lane in np.flatnonzero(~(scale[columns] >= LEAST)):
            c = here + lane
            reachable = mixed[:, lane] > 0
            top = log_prob[reachable, c].max(initial=-np.inf)
            density[:, c] = 0.0
            if top > -np.inf:
                density[reachable, c] = np.exp(log_prob[reachable, c] - top)
            filtered[:, c] = mixed[:, lane] * density[:, c]
            scale[c] = filtered[:, c].sum()
            if zeros == Zeros.TINY or 0 < scale[c] < LEAST_EXACT:
                inexact[lane] = True
            if debt[lane] > -np.inf:
                debt[lane] += shift[c] - top
            shift[c] = top
        filtered[:, columns] /= np.where(scale[columns] > 0, scale[columns], 1.0)
        filtered[:, columns][filtered[:, columns] < FLUSH] = 0.0
        if zeros != Zeros.NONE:
            owing = debt[:n] > -np.inf
            if owing.any():
                with np.errstate(divide="ignore"):
                    debt[:n] += np.where(owing, log_growth - np.log(scale[columns]), 0.0)
                inexact[:n] |= owing & (debt[:n] > LOG_NEGLIGIBLE)
            flushed = (filtered[:, columns] == 0) & (log_prob[:, columns] > -np.inf)
            flushed = (flushed & ((mixed > 0) | (zeros == Zeros.TINY))).any(axis=0)
            debt[:n][flushed] = np.maximum(debt[:n][flushed], np.log(FLUSH) + np.log(K))
        here += n
    return inexact


def backward(
    density: FloatArray,
    transition: FloatArray,
    n_active: IntArray,
    filtered: FloatArray,
    scale: FloatArray,
    ahead: FloatArray,
) -> None:
    """Smooth: the probability of each state given all that was seen.

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
        a step it holds density × backward variable / scale of the next step; 0 at the end of a sequence.
    """
    beta = np.ones((len(transition), n_active[0]))
    here, after = filtered.shape[1], 0
    with np.errstate(over="ignore", invalid="ignore"):  # in sequences that are done again in logarithms
        for n in n_active[::-1]:
            following, here = here, here - n
            if after:
                there = slice(following, following + after)
                total = np.where(scale[there] > 0, scale[there], np.inf)
                seen = filtered[:, there] > 0
                odds = np.where(seen, density[:, there] / total * beta[:, :after], 0.0)
                ahead[:, here : here + after] = odds
                density[:, there] = np.where(seen, filtered[:, there] * beta[:, :after], 0.0)
                beta[:, :after] = transition @ odds
            ahead[:, here + after : here + n] = 0.0
            after = n
        density[:, :after] = np.where(filtered[:, :after] > 0, filtered[:, :after] * beta, 0.0)


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
    """
    here, after = filtered.shape[1], 0
    for n in n_active[::-1]:
        following, here = here, here - n
        odds = filtered[:, here : here + n].copy()
        odds[:, :after] *= transition[:, path[following : following + after]]
        cumulative = np.cumsum(odds, axis=0)
        level = uniform[here : here + n] * cumulative[-1]
        path[here : here + n] = np.minimum((cumulative <= level).sum(axis=0), len(odds) - 1)
        after = n


def in_logs(
    log_prob: FloatArray, log_start: FloatArray, log_transition: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Filter and smooth one sequence in logarithms: slower, and exact whatever the range of numbers.

    Parameters
    ----------
    log_prob : ndarray of shape (T, K)
        Log-densities.
    log_start, log_transition : ndarray of shape (K,), (K, K)

    Returns
    -------
    log_filtered : ndarray of shape (T, K)
    increments : ndarray of shape (T,)
        Predictive log-densities.
    posterior : ndarray of shape (T, K)
    pairs : ndarray of shape (K, K)
        Expected numbers of transitions.
    """
    T, K = log_prob.shape
    filtered = np.empty((T, K))
    increments = np.empty(T)
    posterior = np.zeros((T, K))
    pairs = np.zeros((K, K))
    for t in range(T):
        prior = log_start if t == 0 else _log_sum(filtered[t - 1][:, None] + log_transition)
        filtered[t] = prior + log_prob[t]
        increments[t] = _log_sum(filtered[t])
        if increments[t] > -np.inf:
            filtered[t] -= increments[t]
    beta = np.zeros(K)
    for t in range(T - 1, -1, -1):
        if t < T - 1:
            if increments[t + 1] > -np.inf:
                odds = log_transition + (log_prob[t + 1] + beta - increments[t + 1])
                pairs += np.exp(filtered[t][:, None] + odds)
                beta = _log_sum(odds.T)
            else:
                beta = np.full(K, -np.inf)
        if increments[t] > -np.inf:
            posterior[t] = np.exp(filtered[t] + beta)
    return filtered, increments, posterior, pairs


def _log_sum(terms: FloatArray) -> FloatArray:
    """Log of the sum of exponentials along the first axis."""
    top = terms.max(axis=0)
    safe = np.where(top > -np.inf, top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(terms - safe).sum(axis=0)) + safe
