r"""The rate of convergence of EM, which is the largest fraction of missing information.

Near a maximum an EM step shrinks the error by :math:`J = \partial G / \partial \theta`, where G is the EM map.
Its eigenvalues are the fractions of information that are missing, direction by direction (Dempster, Laird &
Rubin, 1977). `em_rate` finds the largest at a maximum, by E-steps of its own; `Secants` estimate it from the
steps of a fit, at no cost.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import as_data, one_blas_thread
from emlearn.em.model import EMModel

FloatArray = NDArray[np.float64]

# Relative to coordinates of order 1: the error of a forward difference, far above rounding.
DIFFERENCE = 1e-5
# Above this an eigenvalue counts as 1, where there are flat directions.
FLAT = 1 - 1e-4
# Changes by which the EM map is remembered, and how far one must stand out from the others, relatively.
N_SECANTS = 10
SAME_DIRECTION = 1e-3


def em_rate(
    model: EMModel,
    params: Any,
    data: Any,
    *,
    max_steps: int = 25,
    tol: float = 1e-3,
) -> float:
    """Largest eigenvalue of the EM map at a maximum, by Arnoldi's method on differences of EM steps.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
        Parameters at, or close to, a maximum.
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Data
        What `emlearn.em.fit_em` takes.
    max_steps : int, default=25
        Largest number of E-steps beside the first.
    tol : float, default=1e-3
        Stop when two steps more have changed the eigenvalue by less, relatively.

    Returns
    -------
    rate : float
        Between 0 and 1; NaN where an EM step leads to what is no number.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, LatentPair, em_rate, fit_em
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.latent import MixtureWeights
    >>> data = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> model = LatentModel(MixtureWeights(), Poisson())
    >>> start = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    >>> print(f"{em_rate(model, fit_em(model, start, data, tol=1e-9).params, data):.3f}")
    0.996
    """
    batches = as_data(data)
    here = model.flatten(params)
    moving = np.isfinite(here)
    resting = model.resting(params)
    if resting is not None:
        moving &= ~resting
    without_flat = model.without_flat(params)

    def image(vector: FloatArray) -> FloatArray:
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                at = model.unflatten(vector, params)
                return model.flatten(model.maximize(batches.sum(model.expectation(at)).stats, at))
        except np.linalg.LinAlgError:  # no parameters, so close to a boundary
            return np.full_like(vector, np.nan)

    def change(direction: FloatArray) -> FloatArray:
        step = np.zeros_like(here)
        step[moving] = DIFFERENCE * direction
        return (image(here + step) - fixed)[moving] / DIFFERENCE

    n = int(np.count_nonzero(moving))
    if not n:
        return 0.0

    def estimable(direction: FloatArray) -> FloatArray:
        # The map takes flat directions to themselves: what is left of the rest when these are taken out is
        # the map of what can be estimated.
        if without_flat is None:
            return direction
        whole = np.zeros_like(here)
        whole[moving] = direction
        return without_flat(whole)[moving]

    with one_blas_thread():
        fixed = image(here)
        first = np.random.RandomState(0).standard_normal(n)
        first /= np.linalg.norm(first)
        if without_flat is not None:
            first = change(first) - first  # without what else the map may leave as it is
        first = estimable(first)
        length = float(np.linalg.norm(first))
        if not np.isfinite(length):
            return float("nan")
        if not length:  # all that could be estimated is found in one step
            return 0.0
        basis = [first / length]
        projected = np.zeros((max_steps + 1, max_steps + 1))
        rates = [0.0]
        for j in range(min(max_steps, n)):
            ahead = estimable(change(basis[j]))
            for _ in range(2):  # once more, for what rounding left
                for i, vector in enumerate(basis):
                    share = vector @ ahead
                    projected[i, j] += share
                    ahead = ahead - share * vector
            rest = float(np.linalg.norm(ahead))
            if not np.isfinite(rest):
                return float("nan")
            values = np.linalg.eigvals(projected[: j + 1, : j + 1]).real
            if without_flat is not None:  # what rounding lets back in is flat too
                values = values[values < FLAT]
            rates.append(float(values.max(initial=0.0)))
            steady = j > 1 and np.ptp(rates[-3:]) < tol * rates[-1]
            if steady or rest < DIFFERENCE:
                break
            projected[j + 1, j] = rest
            basis.append(ahead / rest)
    return float(np.clip(rates[-1], 0.0, 1.0))


class Secants:
    """Changes of the parameters and of their EM images between the latest points: the EM map along them."""

    def __init__(self) -> None:
        n_steps = N_SECANTS // 2 + 1  # each but the first tells of two changes
        self._seen: deque[tuple[FloatArray, FloatArray, FloatArray]] = deque(maxlen=n_steps)

    def see(self, start: FloatArray, u: FloatArray, v: FloatArray) -> None:
        """Take in a pair of EM steps ``u`` and ``v`` from ``start``."""
        self._seen.append((start, u, v))

    def _pairs(self) -> list[tuple[FloatArray, FloatArray]]:
        """The latest changes, of length 1, with those of their images."""
        changes: list[tuple[FloatArray, FloatArray]] = []
        last = None
        for start, u, v in self._seen:
            point = np.where(np.isfinite(start), start, 0.0) + u
            if last is not None:  # across an extrapolation
                changes.append((point - u - last[0], point - last[1]))
            changes.append((u, v))
            last = point, point + v
        lengths = [float(np.linalg.norm(change)) for change, _ in changes]
        pairs = [
            (change / length, of_image / length)
            for (change, of_image), length in zip(changes, lengths, strict=True)
            if 0 < length < np.inf and np.isfinite(of_image).all()
        ]
        return pairs[-N_SECANTS:]

    @property
    def rate(self) -> float:
        """Largest eigenvalue of the EM map, as far as it acts along these changes; 0 if there are none."""
        pairs = self._pairs()
        if not pairs:
            return 0.0
        changes, images = (np.column_stack(part) for part in zip(*pairs, strict=True))
        left, size, right = np.linalg.svd(changes, full_matrices=False)
        told = size > SAME_DIRECTION * size[0]
        along = (left[:, told].T @ images) @ (right[told].T / size[told])
        return float(np.clip(np.linalg.eigvals(along).real.max(), 0.0, 1.0))
