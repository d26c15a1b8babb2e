"""What is known of what is hidden: for each observation which components are possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch


def possible_states(labels: NDArray[Any], n_states: int) -> NDArray[np.bool_]:
    """Which states are possible, (K, m), by labels (m,), negative where nothing is known, or by (m, K)."""
    if labels.ndim == 2:
        return np.ascontiguousarray(labels.T, dtype=np.bool_)
    possible: NDArray[np.bool_] = (labels < 0) | (labels == np.arange(n_states)[:, None])
    return possible


def exclude(log_prob: NDArray[np.float64], batch: Batch | None) -> None:
    """Leave no states possible but those that the batch's labels say, in log-probabilities (K, m) in place."""
    if batch is not None and (labels := batch.labels) is not None:
        K = len(log_prob)
        others = batch.once(("excluded", K), lambda: ~possible_states(labels, K))
        np.putmask(log_prob, others, -np.inf)
