"""What the other steps of a sequence say of the state at each step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emlearn.em.batches import FloatArray, IntArray
from emlearn.latent import ChainParams

KINDS = ("ordinary", "forecast")


def check_kind(kind: str) -> None:
    """Refuse what is none of the kinds of pseudo-residuals."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is neither {' nor '.join(map(repr, KINDS))}.")


def backwards(lengths: IntArray) -> IntArray:
    """Places of the rows of sequences, each from its end to its beginning."""
    stop = np.cumsum(lengths)
    first = stop - lengths
    return np.repeat(first + stop - 1, lengths) - np.arange(stop[-1])


def states_by_others(
    chain: ChainParams, lengths: IntArray, filtered: Callable[[ChainParams, bool], FloatArray], kind: str
) -> FloatArray:
    """Probabilities of the states at each step, (n, K), given the steps before it or all others.

    ``filtered(chain, back)`` are filtered probabilities (n, K) of the sequences, if asked for `backwards`.
    """
    first = np.cumsum(lengths) - lengths
    shares = _ahead(filtered(chain, False), chain, first)
    if kind == "ordinary":
        # The likelihood of what comes after a step is filtered too, against time: by transitions in reverse,
        # whose rows need not sum to 1, from an end of which nothing is known.
        K = len(chain.start)
        turned = chain.transition.T / chain.transition.sum(axis=0).max()
        back = ChainParams(np.full(K, 1.0 / K), turned)
        shares *= _ahead(filtered(back, True), back, first)[backwards(lengths)]
    with np.errstate(invalid="ignore"):  # no state is left by what is impossible
        return shares / shares.sum(axis=1, keepdims=True)


def _ahead(filtered: FloatArray, chain: ChainParams, first: IntArray) -> FloatArray:
    """Probabilities of states before each step is seen."""
    ahead = np.empty_like(filtered)
    ahead[1:] = filtered[:-1] @ chain.transition
    ahead[first] = chain.start
    return ahead
