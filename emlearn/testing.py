"""Laws that every model obeys, to be run on a model of your own.

EM is easy to get almost right: an M-step that forgets a factor still climbs for a while, and a wrong
E-step still converges, to something else. The laws here hold for every correct model whose observations
are independent, and one of them breaks for nearly every incorrect one. Those that take `Batches` hold for
models of sequences too.

============= ================================================= ===========================================
Law           What it says                                      What it catches
============= ================================================= ===========================================
flatten       coordinates of parameters lead back to them       spaces that do not fit the parameters
union         the E-step of A ∪ B is that of A plus that of B   statistics that are not sums, constants
                                                                counted per batch, rows that see each other
batches       neither size of batches nor threads matter        the same, and state kept between batches
weights       weight 2 is the row twice, weight 0 is no row     terms that forget the weights
row_order     the order of rows does not matter                 rows that see their neighbours
monotone      the objective never falls                         wrong M-steps, a wrong E-step of most kinds,
                                                                an extrapolation that is not guarded
reported      a fit reports the objective of its parameters     a log prior or evidence of an iterate before
acceleration  extrapolation ends as high as plain EM            coordinates that stop short of the maximum,
                                                                constraints that freeze too much
gradient      the gradient vanishes where a fit ends            M-steps that climb to something else, a log
                                                                prior that the M-step does not know
============= ================================================= ===========================================
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em import (
    ACCELERATIONS,
    Batches,
    EMModel,
    EMResult,
    EStep,
    MonotonicityWarning,
    one_blas_thread,
)
from emlearn.em.batches import as_data
from emlearn.em.fit import climb
from emlearn.em.trees import leaves

__all__ = [
    "LAWS",
    "check_acceleration",
    "check_batches",
    "check_flatten",
    "check_gradient",
    "check_model",
    "check_monotone",
    "check_reported",
    "check_row_order",
    "check_union",
    "check_weights",
]

FloatArray = NDArray[np.float64]

SUM_TOLERANCE = 1e-10  # relative: what the order of summation may change
SPLIT_ROWS = 7  # rows per batch, where laws cut the data finely


def check_model(
    model: EMModel, params: Any, data: Any, *, tol: float = 1e-4, laws: Sequence[str] | None = None
) -> None:
    """Check a model against the laws of EM.

    One thing they cannot see is a density that does not integrate to 1: check that beside them.

    Parameters
    ----------
    model : EMModel
        The model.
    params : NamedTuple
        Parameters in the interior of their spaces, from where EM leads to a maximum: a rough guess.
    data : array-like of shape (n, d), pair (rows, weights), or Batches
        A few dozen rows, of ordinary size (standardised, or counts). `Batches`, of sequences perhaps, are
        taken as they are: the laws of rows that are independent do not apply to them.
    tol : float, default=1e-4
        Tolerance of fits, in nats, as in `emlearn.em.fit_em`.
    laws : sequence of str, default=None
        Names of the laws to check, out of `LAWS`; None for all that apply.

    Raises
    ------
    AssertionError
        At the first law that is broken, with its name and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, LatentPair
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.latent import MixtureWeights
    >>> from emlearn.testing import LAWS, check_model
    >>> counts, days = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> params = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    >>> check_model(LatentModel(MixtureWeights(), Poisson()), params, (counts, days))

    A model with an M-step that is not quite one:

    >>> class Hasty(LatentModel):
    ...     def maximize(self, stats, params):
    ...         new = super().maximize(stats, params)
    ...         return new._replace(family=PoissonParams(1.1 * new.family.rates))
    >>> check_model(Hasty(MixtureWeights(), Poisson()), params, (counts, days))
    Traceback (most recent call last):
        ...
    AssertionError: Law 'monotone': ...
    >>> list(LAWS)  # doctest: +NORMALIZE_WHITESPACE
    ['flatten', 'union', 'batches', 'weights', 'row_order', 'monotone', 'reported', 'acceleration',
     'gradient']
    """
    if laws is None:
        laws = [name for name in LAWS if not (isinstance(data, Batches) and name in OF_ROWS)]
    for name in laws:
        law = LAWS[name]
        law(model, params, data, **({"tol": tol} if name in FITTED else {}))


def check_flatten(model: EMModel, params: Any, data: Any = None) -> None:
    """Check that ``unflatten(flatten(params))`` gives the parameters back.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : Ignored
    """
    vector = model.flatten(params)
    _require("flatten", np.ndim(vector) == 1, f"flatten gives an array of {np.ndim(vector)} dimensions, not 1")
    _compare("flatten", "unflatten(flatten(params))", model.unflatten(vector, params), "params", params)


def check_union(model: EMModel, params: Any, data: Any) -> None:
    """Check that the E-step of A ∪ B is the E-step of A plus that of B.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d) or pair (rows, weights)
    """
    rows, weights = _split(data)
    cut = max(1, len(rows) // 3)
    parts = [_e_step(model, params, rows[part], weights[part]) for part in (slice(cut), slice(cut, None))]
    union = _e_step(model, params, rows, weights)
    for path, whole, first, second in zip(_paths(union), *map(leaves, (union, *parts)), strict=True):
        _close("union", f"{path} of the union", whole, "the sum over its parts", first + second, union.weight)


def check_batches(model: EMModel, params: Any, data: Any) -> None:
    """Check that neither the size of batches nor the number of threads changes an E-step.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d) or pair (rows, weights)
    """
    rows, weights = _split(data)
    whole = _e_step(model, params, rows, weights, rows=len(rows))
    for n_threads in (1, 2):
        cut = _e_step(model, params, rows, weights, rows=SPLIT_ROWS, n_threads=n_threads)
        what = f"the E-step in batches of {SPLIT_ROWS} on {n_threads} threads"
        _compare("batches", what, cut, "that of the whole", whole, whole.weight)


def check_weights(model: EMModel, params: Any, data: Any) -> None:
    """Check that a row of weight 2 counts as the row twice, and one of weight 0 as none.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d) or pair (rows, weights)
    """
    rows, weights = _split(data)
    times = np.arange(len(rows)) % 4
    weighted = _e_step(model, params, rows, weights * times)
    repeated = _e_step(model, params, np.repeat(rows, times, axis=0), np.repeat(weights, times))
    _compare("weights", "the E-step with weights", weighted, "that of repeated rows", repeated, weighted.weight)


def check_row_order(model: EMModel, params: Any, data: Any) -> None:
    """Check that the order of the rows does not change an E-step.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d) or pair (rows, weights)
    """
    rows, weights = _split(data)
    order = np.random.RandomState(0).permutation(len(rows))
    there = _e_step(model, params, rows, weights, rows=SPLIT_ROWS)
    back = _e_step(model, params, rows[order], weights[order], rows=SPLIT_ROWS)
    _compare("row_order", "the E-step of shuffled rows", back, "that of the rows", there, there.weight)


def check_monotone(model: EMModel, params: Any, data: Any, *, tol: float = 1e-4) -> None:
    """Check that the objective never falls, with any acceleration.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d), pair (rows, weights), or Batches
    tol : float, default=1e-4
        Tolerance of the fits, in nats.
    """
    weight = _at(model, params, data).weight
    for acceleration in ACCELERATIONS:
        history = np.array(_fit("monotone", model, params, data, tol, acceleration).history)
        falls = history[:-1] - history[1:]
        worst = int(np.argmax(falls)) if len(falls) else 0
        _require(
            "monotone",
            len(falls) == 0 or falls[worst] <= _rounding(history[worst], weight),
            f"with acceleration={acceleration!r} the objective falls from {history[worst]:.12g} to "
            f"{history[min(worst + 1, len(history) - 1)]:.12g} in iteration {worst + 1}",
        )


def check_reported(model: EMModel, params: Any, data: Any, *, tol: float = 1e-4) -> None:
    """Check that the log-likelihood and the objective that a fit reports are those of its parameters.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d), pair (rows, weights), or Batches
    tol : float, default=1e-4
        Tolerance of the fit, in nats.
    """
    fit = _fit("reported", model, params, data, tol)
    there = _at(model, fit.params, data)
    objective = there.log_likelihood + model.log_prior(fit.params)
    rounding = _rounding(objective, there.weight)
    for what, reported, found in (
        ("log-likelihood", fit.log_likelihood, there.log_likelihood),
        ("objective", fit.objective, objective),
        ("last objective of the history", fit.history[-1], objective),
    ):
        _require(
            "reported",
            abs(reported - found) <= rounding,
            f"the fit reports the {what} {reported:.12g}, but it is {found:.12g} at the parameters returned",
        )


def check_acceleration(model: EMModel, params: Any, data: Any, *, tol: float = 1e-4) -> None:
    """Check that accelerated fits end at least as high as plain EM, to ten tolerances.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
        From where there is one maximum to climb.
    data : array-like of shape (n, d), pair (rows, weights), or Batches
    tol : float, default=1e-4
        Tolerance of the fits, in nats.
    """
    plain = _fit("acceleration", model, params, data, tol, "none")
    for acceleration in ACCELERATIONS:
        fit = _fit("acceleration", model, params, data, tol, acceleration)
        _require(
            "acceleration",
            fit.objective >= plain.objective - 10 * tol,
            f"acceleration={acceleration!r} ends at {fit.objective:.12g}, plain EM at {plain.objective:.12g}",
        )


def check_gradient(model: EMModel, params: Any, data: Any, *, tol: float = 1e-4) -> None:
    """Check that the gradient of the objective vanishes where a fit ends, by central differences.

    The scale of a gradient is that of the curvature: the law is that no unconstrained coordinate, moved
    alone, has more to gain than ten tolerances, by a Newton step. Coordinates on a boundary are left out.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d), pair (rows, weights), or Batches
    tol : float, default=1e-4
        Tolerance of the fit, in nats.
    """
    fit = _fit("gradient", model, params, data, tol)
    _require("gradient", fit.converged, f"the fit does not converge in {fit.n_iter} iterations")
    vector = model.flatten(fit.params)
    moving = np.isfinite(vector)
    resting = model.resting(fit.params)
    moving &= True if resting is None else ~resting

    def objective(at: FloatArray) -> float:
        there = model.unflatten(at, fit.params)
        return _at(model, there, data).log_likelihood + model.log_prior(there)

    weight = _at(model, fit.params, data).weight
    for i in np.flatnonzero(moving):
        step = np.zeros_like(vector)
        step[i] = 1e-4 * max(1.0, abs(vector[i]))
        ahead, behind = objective(vector + step), objective(vector - step)
        slope = (ahead - behind) / (2 * step[i])
        # Less than rounding makes of a flat objective is not curvature.
        least = _rounding(fit.objective, weight) / step[i] ** 2
        curvature = max(abs(ahead - 2 * fit.objective + behind) / step[i] ** 2, least)
        gain = slope**2 / (2 * curvature)
        _require(
            "gradient",
            gain <= 10 * tol,
            f"coordinate {i} of the flat parameters, {vector[i]:.6g}, has slope {slope:.3g} and curvature "
            f"{curvature:.3g} at the end of the fit: {gain:.3g} nats are still to be gained (tol={tol})",
        )


OF_ROWS = ("union", "batches", "weights", "row_order")
FITTED = ("monotone", "reported", "acceleration", "gradient")
LAWS: dict[str, Callable[..., None]] = {
    "flatten": check_flatten,
    "union": check_union,
    "batches": check_batches,
    "weights": check_weights,
    "row_order": check_row_order,
    "monotone": check_monotone,
    "reported": check_reported,
    "acceleration": check_acceleration,
    "gradient": check_gradient,
}


def _require(law: str, holds: Any, message: str) -> None:
    if not holds:
        raise AssertionError(f"Law {law!r}: {message}.")


def _split(data: Any) -> tuple[NDArray[Any], FloatArray]:
    """Rows (n, d) and weights (n,)."""
    if isinstance(data, Batches):
        raise ValueError("This law is about rows that are independent: give it the rows, not Batches.")
    rows, weights = data if isinstance(data, tuple) else (data, None)
    rows = np.asarray(rows)
    return rows, np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)


def _e_step(model: EMModel, params: Any, X: Any, weights: FloatArray, **cut: Any) -> EStep:
    return _at(model, params, Batches(X, weights, **cut))


def _at(model: EMModel, params: Any, data: Any) -> EStep:
    """E-step of all data."""
    with one_blas_thread():
        e_step: EStep = as_data(data).sum(model.expectation(params))
    return e_step


def _fit(law: str, model: EMModel, params: Any, data: Any, tol: float, acceleration: str = "auto") -> EMResult:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MonotonicityWarning)
        try:
            return climb(model, params, data, tol=tol, max_iter=20_000, acceleration=acceleration)
        except MonotonicityWarning as fell:
            message = f"with acceleration={acceleration!r}, {fell}"
            raise AssertionError(f"Law {'monotone'!r}: {message} (while checking {law!r}).") from None


def _rounding(objective: float, weight: float) -> float:
    return 1e-11 * (abs(objective) + weight)


def _compare(law: str, what: str, found: Any, other: str, expected: Any, weight: float = 1.0) -> None:
    """Require that two trees are the same, leaf by leaf."""
    paths = list(_paths(expected))
    _require(law, list(_paths(found)) == paths, f"{what} and {other} are of different form")
    for path, a, b in zip(paths, leaves(found), leaves(expected), strict=True):
        _close(law, f"{path} of {what}", a, other, b, weight)


def _close(law: str, what: str, found: Any, other: str, expected: Any, weight: float) -> None:
    _require(law, np.shape(found) == np.shape(expected), f"{what} and {other} differ in shape")
    allowed = SUM_TOLERANCE * max(weight, float(np.max(np.abs(expected), initial=0.0)))
    worst = float(np.max(np.abs(np.subtract(found, expected)), initial=0.0))
    _require(law, worst <= allowed, f"{what} and {other} differ by {worst:.3g} ({allowed:.3g} is allowed)")


def _paths(tree: Any, path: str = "") -> Iterator[str]:
    """Name of each leaf, as one would write it."""
    if not isinstance(tree, tuple):
        yield path or "the value"
        return
    names = getattr(tree, "_fields", None) or [f"[{i}]" for i in range(len(tree))]
    for name, branch in zip(names, tree, strict=True):
        yield from _paths(branch, name if not path else path + name if name[0] == "[" else f"{path}.{name}")
