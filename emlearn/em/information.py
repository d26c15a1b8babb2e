r"""What data tell of parameters: scores and information, in unconstrained coordinates.

The slope of the expected log joint density at the parameters of the E-step is that of the log-likelihood
(Fisher's identity). So the score at any parameters takes one E-step and no more data, and its differences
along p coordinates, the observed information, 2p E-steps (Oakes, 1999).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Batch, Lanes, as_data, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.model import EMModel, LatentModel
from emlearn.em.spaces import Probability, Simplex, n_coordinates
from emlearn.em.trees import leaves, tree_map

FloatArray = NDArray[np.float64]

# Differences of a score, or of the expected log joint density, relative to coordinates of order 1.
DIFFERENCE = 1e-4
# Of log-likelihoods themselves, which are differenced twice.
WIDE_DIFFERENCE = 1e-3
# Probabilities closer than this to 0 or 1 are tried there.
NEAR_EDGE = 0.01
# Of an objective: what is no more than this lower is as high.
NOISE = 1e-12
# Information along a direction below this, relative to the largest, is none.
NO_INFORMATION = 1e-7


class Information(NamedTuple):
    """What data tell of parameters, in the unconstrained coordinates of a model.

    Attributes
    ----------
    params : NamedTuple
        The parameters, probabilities that the data want at 0 or 1 moved there.
    free : ndarray of bool of shape (p,)
        Coordinates that are not on a boundary.
    observed : ndarray of shape (f, f)
        Minus the second derivative of the objective by the free coordinates.
    score : ndarray of shape (f,)
        Its slope, 0 at a maximum.
    log_likelihood : float
        In nats.
    """

    params: Any
    free: NDArray[np.bool_]
    observed: FloatArray
    score: FloatArray
    log_likelihood: float

    def gap(self) -> float:
        """Nats that a Newton step would gain, as far as the information says in which direction."""
        values, directions = spectrum(self.observed)
        return float(0.5 * np.sum((self.score @ directions) ** 2 / values)) if len(values) else 0.0


def spectrum(information: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues (r,) that are not 0, and directions (f, r) along which they are the information.

    Coordinates are brought to the same scale first: the inverse on what is estimable is
    ``directions / values @ directions.T``.
    """
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(information)), np.finfo(np.float64).tiny))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    kept = values > NO_INFORMATION * values.max(initial=0.0)
    return values[kept], vectors[:, kept] / scale[:, None]


def observed_information(model: EMModel, params: Any, data: Any) -> Information:
    """Observed information at a maximum, from two E-steps for each coordinate.

    Without `EMModel.expected_log_joint` it takes differences of the log-likelihood, two E-steps for each pair.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
        Parameters at, or close to, a maximum.
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Data
        What `emlearn.em.fit_em` takes.

    Returns
    -------
    information : Information

    References
    ----------
    Oakes (1999), Direct calculation of the information matrix via the EM algorithm, J. R. Stat. Soc. B 61.
    Louis (1982), Finding the observed information matrix when using the EM algorithm, J. R. Stat. Soc. B 44.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, LatentPair, fit_em, observed_information
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.latent import MixtureWeights
    >>> data = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> model = LatentModel(MixtureWeights(), Poisson())
    >>> start = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    >>> params = fit_em(model, start, data, tol=1e-9).params
    >>> found = observed_information(model, params, data)
    >>> cov = np.linalg.pinv(found.observed, rcond=1e-7)
    >>> (np.sqrt(np.diagonal(cov)[2:]) * params.family.rates.ravel()).round(3)  # rates, by their logarithms
    array([0.35, 0.25])
    """
    data = as_data(data)
    with one_blas_thread():
        params, free, log_likelihood = _on_edges(model, params, data)
        at = _Coordinates(model, params, free)
        here = _score(at, data, np.zeros(at.n))
        if here is None:
            observed, here = _by_second_differences(at, data)
        else:
            steps = np.diag(DIFFERENCE * at.size)
            ahead, behind = (np.array([_score(at, data, sign * step) for step in steps]) for sign in (1, -1))
            observed = (behind - ahead).reshape(at.n, at.n) / (2 * DIFFERENCE * at.size[:, None])
            observed = 0.5 * (observed + observed.T)
    return Information(params, free, observed, here, log_likelihood)


def objective_along(
    model: EMModel, params: Any, data: Any, free: NDArray[np.bool_]
) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """The objective and its slope by the free coordinates, as a function of a step of these."""
    data = as_data(data)
    at = _Coordinates(model, params, free)

    def height(step: FloatArray) -> float:
        there = at(step)
        return float(data.sum(model.expectation(there)).log_likelihood + model.log_prior(there))

    def along(step: FloatArray) -> tuple[float, FloatArray]:
        with one_blas_thread():
            slope = _score(at, data, step)
            if slope is None:
                steps = np.diag(DIFFERENCE * at.size)
                slope = np.array(
                    [(height(step + e) - height(step - e)) / (2 * e[i]) for i, e in enumerate(steps)]
                )
            return height(step), slope

    return along


def scores(
    model: LatentModel, params: Any, data: Any, free: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Slope of the log-density of each unit by the free coordinates, (u, f), and the units' weights (u,).

    A unit is an observation, or a sequence or group of them. Differences of two passes for each coordinate.
    """
    data = as_data(data)
    at = _Coordinates(model, params, free)

    def of_units(step: FloatArray) -> FloatArray:
        return np.concatenate(list(data.map(model.log_density(at(step)))))

    def weight(batch: Batch) -> FloatArray:
        of_batch = model.latent.unit_weight(batch)
        return np.ones(_n_units(batch)) if of_batch is None else np.asarray(of_batch)

    with one_blas_thread():
        steps = np.diag(DIFFERENCE * at.size)
        slopes = [(of_units(step) - of_units(-step)) / (2 * step[i]) for i, step in enumerate(steps)]
        weights = np.concatenate(list(data.map(weight)))
    return np.stack(slopes, axis=1) if slopes else np.empty((len(weights), 0)), weights


def leave_one_out(model: EMModel, params: Any, data: Any) -> float:
    """Sum of the log-likelihoods of each unit by the parameters of an M-step without it, in nats.

    Responsibilities of the others stay as they are: one M-step and two E-steps of a single unit for each. A
    unit is an observation or a sequence, and one of weight w stands for w of which one is left out.
    """
    data = as_data(data)
    total = 0.0
    with one_blas_thread():
        e_step = model.expectation(params)
        stats = data.sum(e_step).stats
        for units in data.map(_units):
            for unit, weight in units:
                without = model.maximize(tree_map(np.subtract, stats, e_step(unit).stats), params)
                total += weight * model.expectation(without)(unit).log_likelihood
    return total


def _units(batch: Batch) -> list[tuple[Batch, float]]:
    """The units of a batch that have weight, each alone and of weight 1, and their weights."""
    weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
    if batch.lanes is None:
        alone = [np.array([i]) for i in range(len(weight))]
    else:
        alone = [batch.lanes.columns(i) for i in range(len(batch.lanes.lengths))]
    found = []
    for columns in alone:
        lanes = None if batch.lanes is None else Lanes.of(np.array([len(columns)]))
        if weight[columns[0]] > 0:
            found.append((Batch(np.ascontiguousarray(batch.x[:, columns]), lanes=lanes), weight[columns[0]]))
    return found


def _n_units(batch: Batch) -> int:
    return batch.x.shape[1] if batch.lanes is None else len(batch.lanes.lengths)


class _Coordinates:
    """Parameters by steps of the free coordinates."""

    def __init__(self, model: EMModel, params: Any, free: NDArray[np.bool_]):
        self.model, self.params, self.free = model, params, free
        self._here = model.flatten(params)
        self.n = int(np.count_nonzero(free))
        self.size = np.maximum(np.abs(self._here[free]), 1.0)

    def __call__(self, step: FloatArray) -> Any:
        vector = self._here.copy()
        vector[self.free] += step
        return self.model.unflatten(vector, self.params)

    def slope(self, function: Callable[[Any], float], about: FloatArray) -> FloatArray:
        """Slope of a function of parameters at a step, by central differences."""
        steps = np.diag(DIFFERENCE * self.size)
        rises = [function(self(about + step)) - function(self(about - step)) for step in steps]
        return np.array(rises) / (2 * DIFFERENCE * self.size)


def _score(at: _Coordinates, data: Data, step: FloatArray) -> FloatArray | None:
    """Slope of the objective at a step: one E-step, and differences without data."""
    model, old = at.model, at(step)
    stats = data.sum(model.expectation(old)).stats
    if model.expected_log_joint(stats, old, old) is None:
        return None

    def objective(new: Any) -> float:
        return float(model.expected_log_joint(stats, new, old) + model.log_prior(new))  # type: ignore[operator]

    return at.slope(objective, step)


def _by_second_differences(at: _Coordinates, data: Data) -> tuple[FloatArray, FloatArray]:
    """Minus the second differences of the objective, and its slope."""
    model = at.model

    def objective(step: FloatArray) -> float:
        params = at(step)
        return float(data.sum(model.expectation(params)).log_likelihood + model.log_prior(params))

    steps = np.diag(WIDE_DIFFERENCE * at.size)
    observed, score = np.empty((at.n, at.n)), np.empty(at.n)
    here = objective(np.zeros(at.n))
    for i, a in enumerate(steps):
        ahead, behind = objective(a), objective(-a)
        score[i] = (ahead - behind) / (2 * a[i])
        observed[i, i] = (2 * here - ahead - behind) / a[i] ** 2
        for j, b in enumerate(steps[:i]):
            mixed = objective(a + b) - objective(a - b) - objective(b - a) + objective(-a - b)
            observed[i, j] = observed[j, i] = -mixed / (4 * a[i] * b[j])
    return observed, score


def _on_edges(model: EMModel, params: Any, data: Data) -> tuple[Any, NDArray[np.bool_], float]:
    """Parameters with probabilities at 0 or 1 that are highest there, free coordinates, log-likelihood.

    EM comes ever closer to a boundary and does not arrive: the objective tells where it would.
    """

    def objective(at: Any) -> tuple[float, float]:
        log_likelihood = data.sum(model.expectation(at)).log_likelihood
        return float(log_likelihood + model.log_prior(at)), float(log_likelihood)

    vector, edges = model.flatten(params), _edges(model, params)
    best = objective(params)
    for i in np.flatnonzero(~np.isnan(edges) & (vector != edges)):
        moved = vector.copy()
        moved[i] = edges[i]
        there = objective(model.unflatten(moved, params))
        if there[0] >= best[0] - NOISE * abs(best[0]):
            vector, best = moved, there
    params = model.unflatten(vector, params)
    free = np.isfinite(vector) & ~(vector == edges)
    resting = model.resting(params)
    return params, free if resting is None else free & ~resting, best[1]


def _edges(model: EMModel, params: Any) -> FloatArray:
    """Coordinates of probabilities of 0 or 1 that are near, NaN where none is."""
    spaces = model.spaces
    if spaces is None:
        return np.full(len(model.flatten(params)), np.nan)
    edges = []
    for space, value in zip(leaves(spaces), leaves(params), strict=True):
        p = np.ravel(value)
        near = np.full(n_coordinates(space, value), np.nan)
        if isinstance(space, Simplex):
            near[p < NEAR_EDGE] = 0.0
        elif isinstance(space, Probability):
            near[p < NEAR_EDGE] = 0.0
            near[p > 1 - NEAR_EDGE] = 0.5 * np.pi
        edges.append(near)
    return np.concatenate(edges)
