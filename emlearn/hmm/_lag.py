"""Probabilities of states given what was seen up to some steps later: smoothing with a fixed lag."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from emlearn.latent import ChainParams, MarkovChain


def fixed_lag(params: ChainParams, log_prob: np.ndarray, batch, lag: int) -> np.ndarray:
    """Probability of each state given its sequence up to ``lag`` steps later, (K, m).

    What the steps after t say of a state there is passed back by a step at each of ``lag`` turns, for all
    t at once.

    Parameters
    ----------
    params : ChainParams
    log_prob : ndarray of shape (K, m)
        Log-densities.
    batch : Batch
        Of sequences.
    lag : int
        0 is the filter; from the length of a sequence on, all of it counts.
    """
    n_active = batch.lanes.n_active
    later = np.arange(n_active[0], log_prob.shape[1])
    before = later - np.repeat(n_active[:-1], n_active[1:])
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(params.start), np.log(params.transition)
        passed = MarkovChain().filter(params, log_prob.copy(), batch)
        if passed.far is None:
            log_filtered = np.log(passed.filtered)
        else:  # states that are out of range of numbers may come to matter later
            log_filtered = _log_filtered(log_start, log_transition, log_prob, n_active)
    of_later = np.zeros_like(log_prob)
    for _ in range(min(lag, len(n_active) - 1)):
        told = np.full((len(log_prob), len(later)), -np.inf)
        for to, ahead in enumerate(log_prob[:, later] + of_later[:, later]):
            np.logaddexp(told, log_transition[:, to, None] + ahead, out=told)
        # Where nothing is possible later all states are told the same, and the sequence is impossible anyway.
        most = told.max(axis=0)
        of_later[:, before] = told - np.where(most > -np.inf, most, 0.0)
    joint = log_filtered + of_later
    total = logsumexp(joint, axis=0)
    return np.exp(joint - np.where(total > -np.inf, total, 0.0))


def _log_filtered(log_start, log_transition, log_prob, n_active):
    """Logarithms of filtered probabilities (K, m), one step after the other."""
    out = np.empty_like(log_prob)
    begin = 0
    for step, n in enumerate(n_active):
        here = slice(begin, begin + n)
        if step:
            last = out[:, begin - n_active[step - 1] : begin][:, :n]
            out[:, here] = log_prob[:, here] + logsumexp(last[:, None] + log_transition[:, :, None], axis=0)
        else:
            out[:, here] = log_prob[:, here] + log_start[:, None]
        total = logsumexp(out[:, here], axis=0)
        out[:, here] -= np.where(total > -np.inf, total, 0.0)
        begin += n
    return out
