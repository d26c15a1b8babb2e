"""From what a user says of a Markov chain to the chain: which parts are estimated, possible, or given."""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from emlearn._emissions.given import held_names
from emlearn._input.arrays import read_array
from emlearn._input.sequences import locate
from emlearn._input.tables import as_numpy
from emlearn.em import Batches
from emlearn.families.base import concentrations
from emlearn.latent import ChainParams, MarkovChain
from emlearn.latent.known import possible_states

SUM_TOLERANCE = 1e-6  # probabilities given by the user sum to 1 up to this


def bind_chain(estimator, concentration=None):
    """The chain that an estimator's parameters describe, and what of its starting values they give.

    Parameters
    ----------
    estimator : HMMEM
        For `n_components`, `startprob`, `transition`, their priors and starting values, and `stickiness`.
    concentration : callable, default=None
        Reads the concentrations of a prior from ``(name, value, shapes)``; by default those of which the
        posterior has a maximum.

    Returns
    -------
    chain : MarkovChain
    given : ChainParams
        None for the parts that a start is to find.
    """
    K, startprob, held = estimator.n_components, estimator.startprob, held_names(estimator)
    start = probabilities_of("startprob_init", estimator.startprob_init, (K,))
    transition = probabilities_of("transmat_init", estimator.transmat_init, (K, K))
    fixed, stationary = None, False
    if not isinstance(startprob, str):
        fixed = probabilities_of("startprob", startprob, (K,))
    elif startprob == "uniform":
        fixed = np.full(K, 1.0 / K)
    else:
        stationary = startprob == "stationary"
    if start is not None and (fixed is not None or stationary):
        raise ValueError(
            f"startprob_init is a start for an estimate, but startprob={startprob!r} leaves nothing to "
            "estimate: drop one of them."
        )
    allowed, probabilities = _read_transition(estimator.transition, K)
    transition = probabilities if transition is None else transition
    check_allowed("transmat_init", transition, allowed)
    if stationary and allowed is not None and connected_components(allowed, connection="strong")[0] > 1:
        raise ValueError(
            "startprob='stationary' needs transitions by which every state can be reached from every other, "
            "but transition forbids too many."
        )
    if "startprob" in held and stationary:
        raise ValueError(
            "fixed holds startprob, but startprob='stationary' lets it follow from the transitions: drop one "
            "of them."
        )
    for name, value in (("startprob", start if fixed is None else fixed), ("transmat", transition)):
        if name in held and value is None and not estimator._continues:
            raise ValueError(f"fixed holds {name}, but there is no value to hold it at: give {name}_init.")
    sticky = estimator.stickiness * np.eye(K) if estimator.stickiness else 0.0
    concentration = _concentration if concentration is None else concentration
    chain = MarkovChain(
        fixed_start=fixed is not None or "startprob" in held,
        stationary=stationary,
        allowed=allowed,
        start_concentration=concentration("startprob_prior", estimator.startprob_prior, [(K,)]),
        concentration=concentration("transmat_prior", estimator.transmat_prior, [(K,), (K, K)]) + sticky,
        fixed_transition="transmat" in held,
    )
    return chain, ChainParams(start if fixed is None else fixed, transition)


def is_exchangeable(estimator, labels):
    """Whether nothing but their estimates tells states apart."""
    by_state = (estimator.startprob_prior, estimator.transmat_prior)
    given = (
        estimator.startprob_init,
        estimator.transmat_init,
        estimator.means_init,
        estimator.emission_init,
        estimator.prior,
        labels,
    )
    return (
        isinstance(estimator.startprob, str)
        and isinstance(estimator.transition, str)
        and estimator.transition == "full"
        and all(np.ndim(prior) == 0 for prior in by_state)
        and all(value is None for value in given)
    )


def check_allowed(name, transition, allowed):
    """Refuse transition probabilities where none is allowed."""
    if transition is None or allowed is None or not (transition[~allowed] > 0).any():
        return
    i, j = np.argwhere((transition > 0) & ~allowed)[0]
    raise ValueError(
        f"{name}[{i}, {j}] is {transition[i, j]:.6g}, but transition forbids to go from state {i} to state {j}."
    )


def check_labels(labels, lengths, n_states, chain, given):
    """Refuse what is known of states if no path can pass through it.

    Parameters
    ----------
    labels : ndarray of int of shape (n,), or of bool of shape (n, K)
    lengths : ndarray of int of shape (n_sequences,)
    n_states : int
    chain : MarkovChain
    given : ChainParams
        As `bind_chain` returns them.
    """
    K, first = n_states, np.cumsum(lengths) - lengths
    possible = possible_states(labels, K).T
    if chain.fixed_start and given.start is not None:
        forbidden = ~(possible[first] & (given.start > 0)).any(axis=1)
        if forbidden.any():
            sequence = int(np.argmax(forbidden))
            raise ValueError(
                f"state_labels begins sequence {sequence} in {_states(possible[first[sequence]])}, but "
                "startprob gives that probability 0."
            )
    if chain.allowed is not None:
        forbidden = ~((possible[:-1] @ chain.allowed) & possible[1:]).any(axis=1)
        forbidden[first[1:] - 1] = False
        if forbidden.any():
            row = int(np.argmax(forbidden))
            sequence, step = locate(row, lengths)
            raise ValueError(
                f"state_labels goes from {_states(possible[row])} to {_states(possible[row + 1])} after step "
                f"{step} of sequence {sequence}, but transition forbids that."
            )
    # What is left is whether a path passes through all of them.
    allowed = np.ones((K, K)) if chain.allowed is None else chain.allowed
    even = ChainParams(np.full(K, 1.0 / K), allowed / allowed.sum(axis=1, keepdims=True))
    structure = ChainParams(*(e if part is None else part for e, part in zip(even, given, strict=True)))
    for batch in Batches(np.zeros((len(labels), 1)), lengths=lengths, labels=labels):
        no_news = np.zeros((K, batch.x.shape[1]))
        _, log_joint = MarkovChain().viterbi(structure, no_news, batch)
        if not np.isfinite(log_joint).all():
            sequence = int(batch.sequences[np.argmin(np.isfinite(log_joint))])
            raise ValueError(
                f"state_labels of sequence {sequence} are impossible: no allowed path passes through them."
            )


def _states(possible):
    """Which states are possible, in words."""
    states = np.flatnonzero(possible).tolist()
    return f"state {states[0]}" if len(states) == 1 else f"states {', '.join(map(str, states))}"


def _read_transition(transition, K):
    """Which transitions are allowed (None: all), and their probabilities, where they are given."""
    if isinstance(transition, str):
        return (None if transition == "full" else np.triu(np.ones((K, K), dtype=bool))), None
    kind = as_numpy(transition, "transition").dtype.kind
    given = read_array("transition", transition, shapes=[(K, K)], advice=f"There are n_components={K} states.")
    if kind in "iu" and ((given == 0) | (given == 1)).all() and (given.sum(axis=1) != 1).any():
        raise ValueError(
            "transition holds 0 and 1, but its rows do not sum to 1: if it says which transitions are "
            "possible, make it boolean."
        )
    probabilities = None if kind == "b" else probabilities_of("transition", given, (K, K))
    given = given > 0
    if not given.any(axis=1).all():
        state = int(np.argmin(given.any(axis=1)))
        raise ValueError(f"transition forbids every way out of state {state}: allow it at least to stay.")
    return given, probabilities


def probabilities_of(name, value, shape):
    """Probabilities from what a user gave, along the last axis; None for None."""
    if value is None:
        return None
    array = read_array(name, value, shapes=[shape], advice=f"There are n_components={shape[0]} states.")
    if not (np.isfinite(array).all() and array.min() >= 0):
        raise ValueError(f"{name} must hold probabilities, but its least entry is {array.min():.6g}.")
    sums = array.sum(axis=-1)
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if np.any(wrong):
        row = f"row {int(np.argmax(wrong))} sums" if array.ndim == 2 else "it sums"
        raise ValueError(f"{name} must sum to 1, but {row} to {np.atleast_1d(sums)[np.argmax(wrong)]:.6g}.")
    return array / np.expand_dims(sums, -1)


def _concentration(name, value, shapes):
    """Concentrations of a Dirichlet prior from what a user gave: 1 for None."""
    if value is None:
        return 1.0
    return concentrations(name, read_array(name, value, shapes=[(), *shapes]))
