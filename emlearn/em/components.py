"""What is asked of any latent model: to which component each row belongs, and where EM may start from."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from emlearn.em.batches import Batch, as_data, intended_underflow
from emlearn.em.data import Data
from emlearn.em.model import LatentModel, LatentPair, by_blocks
from emlearn.em.restarts import Start
from emlearn.em.spaces import FloatArray

# Rows that starts are made from, and rows that each component of one begins with, beside twice the features.
MOST_ROWS, FEW = 5000, 10
# What the other rows weigh in all, relative to those.
OTHERS = 0.1
# In the place of no weight: too little to count beside any other, and a power of 2, so that nothing is rounded.
NEXT_TO_NOTHING = 2.0**-500


def responsibilities(model: LatentModel, params: LatentPair, data: Any) -> FloatArray:
    """Probability of each component, given the data, for each row.

    Parameters
    ----------
    model : LatentModel
    params : LatentPair
        Of a fit, for example.
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Data
        What `emlearn.em.fit_em` takes; of sequences, `Batches`. Rows of weight 0 are answered too.

    Returns
    -------
    resp : ndarray of shape (n, K)
        Rows in the order of the data, each of which sums to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, LatentPair, responsibilities
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.latent import MixtureWeights
    >>> params = LatentPair(np.array([0.5, 0.5]), PoissonParams(np.array([[1.0], [6.0]])))
    >>> responsibilities(LatentModel(MixtureWeights(), Poisson()), params, [[0], [3], [7]]).round(3)
    array([[0.993, 0.007],
           [0.407, 0.593],
           [0.001, 0.999]])
    """
    batches = as_data(data)
    parts = list(batches.map(partial(_of_batch, model, params)))
    if not parts:
        raise ValueError("The data holds no rows.")
    found, first = np.empty((sum(len(resp) for resp, _ in parts), parts[0][0].shape[1])), 0
    for resp, places in parts:
        found[slice(first, first + len(resp)) if places is None else places] = resp
        first += len(resp)
    return found


def _of_batch(model: LatentModel, params: LatentPair, batch: Batch) -> tuple[FloatArray, Any]:
    """Responsibilities (m, K), and which rows they are of."""
    weight = batch.weight
    if weight is not None:
        weight = np.where(weight > 0, weight, NEXT_TO_NOTHING)
        batch = Batch(
            batch.x, weight, lanes=batch.lanes, rows=batch.rows, sequences=batch.sequences, labels=batch.labels
        )
    with intended_underflow():
        seen = by_blocks(model.family.density(params.family))(batch)
        resp, *_ = model.latent.posterior(params.latent, seen.log_prob, batch, model.beta)
    return (resp if weight is None else resp / weight).T.copy(), batch.rows


def random_starts(
    model: LatentModel,
    data: Any,
    n_components: int,
    n_starts: int = 30,
    random_state: int | np.random.RandomState | None = None,
) -> list[Start]:
    """Starts for `emlearn.em.race`, of a latent model of any kind.

    Each component begins with a few rows drawn at random, and with next to nothing of the others: as different
    as chance makes them, and fit to some rows.

    Parameters
    ----------
    model : LatentModel
        Whose family and latent structure can `start`.
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Data
        What is to be fitted.
    n_components : int
        Number of components, K.
    n_starts : int, default=30
        How many there are to be; a race need not take all.
    random_state : int, RandomState or None, default=None
        Of the draws.

    Returns
    -------
    starts : list of Start

    Raises
    ------
    ValueError
        If there are fewer components than one, fewer starts, or fewer rows with weight than components.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, race, random_starts
    >>> from emlearn.families import Poisson
    >>> from emlearn.latent import MixtureWeights
    >>> counts, days = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> model = LatentModel(MixtureWeights(), Poisson())
    >>> starts = random_starts(model, (counts, days), n_components=2, random_state=0)
    >>> print(f"{race(model, starts, (counts, days)).best.log_likelihood:.3f}")
    -1989.946
    """
    for name, value in (("n_components", n_components), ("n_starts", n_starts)):
        if not (isinstance(value, (int, np.integer)) and value >= 1):
            raise ValueError(f"{name}={value!r} must be a positive integer.")
    batch = _some_of(as_data(data))
    n_rows = int(np.sum(batch.weight > 0)) if batch.weight is not None else batch.x.shape[1]
    if n_rows < n_components:
        raise ValueError(f"n_components={n_components} needs as many rows, but {n_rows} have weight.")
    rng = check_random_state(random_state)
    seeds = rng.randint(np.iinfo(np.int32).max, size=n_starts)
    return [Start("random", partial(_random_start, model, batch, n_components, seed)) for seed in seeds]


def _random_start(model: LatentModel, batch: Batch, n_components: int, seed: int) -> LatentPair:
    rng = np.random.RandomState(seed)
    d, m = batch.x.shape
    weight = np.ones(m) if batch.weight is None else batch.weight
    there = rng.permutation(np.flatnonzero(weight > 0))
    own = min(FEW + 2 * d, len(there) // n_components)
    chosen: NDArray[np.intp] = there[: own * n_components].reshape(n_components, own)
    resp = np.full((n_components, m), OTHERS * own / m)
    resp[:, chosen] = 0.0
    np.put_along_axis(resp, chosen, 1.0, axis=1)
    with intended_underflow():
        return model.start(batch, resp * weight, rng)


def _some_of(data: Data) -> Batch:
    """Some of the rows, evenly spread; of sequences those of a batch, which are whole."""
    if data.lengths is not None:
        return next(iter(data.map(lambda batch: batch)))
    step = max(data.n_rows // MOST_ROWS, 1)
    parts = list(data.map(partial(_every, step)))
    weights = [np.ones(x.shape[1]) if weight is None else weight for x, weight in parts]
    return Batch(np.ascontiguousarray(np.concatenate([x for x, _ in parts], axis=1)), np.concatenate(weights))


def _every(step: int, batch: Batch) -> tuple[FloatArray, FloatArray | None]:
    return batch.x[:, ::step], None if batch.weight is None else batch.weight[::step]
