"""Laws that every model obeys, to be run on a model of your own.

EM is easy to get almost right: an M-step that forgets a factor still climbs for a while, and a wrong
E-step still converges, to something else. The laws here hold for every correct model whose observations
are independent, and one of them breaks for nearly every incorrect one. Those that take `Batches` hold for
models of sequences too.

============= ================================================= ===========================================
Law           What it says                                      What it catches
============= ================================================= ===========================================
flatten       coordinates of parameters lead back to them       spaces that do not fit the parameters
spaces        other coordinates lead to other parameters        spaces that are missing, or too wide
union         the E-step of A ∪ B is that of A plus that of B   statistics that are not sums, constants
                                                                counted per batch, rows that see each other
batches       neither size of batches nor threads matter        the same, and state kept between batches
weights       weight 2 is the row twice, weight 0 is no row     terms that forget the weights
row_order     the order of rows does not matter                 rows that see their neighbours
density       the density of what is seen integrates to 1, or   a log-likelihood that is counted twice, or
              draws from it bend it as much as they vary        lacks what depends on the parameters
score         what an E-step expects of data and hidden values  an `expected_log_joint` of something else
              rises as the log-likelihood does, where a model
              states it
monotone      the objective never falls                         wrong M-steps, a wrong E-step of most kinds,
                                                                an extrapolation that is not guarded
reported      a fit reports the objective of its parameters     a log prior or evidence of an iterate before
acceleration  extrapolation ends as high as plain EM            coordinates that stop short of the maximum,
                                                                constraints that freeze too much
gradient      the gradient vanishes where a fit ends            M-steps that climb to something else, a log
                                                                prior that the M-step does not know
============= ================================================= ===========================================

A family of densities has laws of its own (`check_family`), beside those of a mixture of it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate

from emlearn.em import (
    ACCELERATIONS,
    Affine,
    Batch,
    Batches,
    EMModel,
    EMResult,
    EStep,
    LatentModel,
    LatentPair,
    MonotonicityWarning,
    Real,
    one_blas_thread,
)
from emlearn.em.batches import as_data, intended_underflow
from emlearn.em.fit import NO_PARAMETERS, climb
from emlearn.em.spaces import flatten, unflatten
from emlearn.em.trees import leaves, tree_map
from emlearn.families.base import Emission, numeric
from emlearn.latent import MixtureWeights

__all__ = [
    "FAMILY_LAWS",
    "LAWS",
    "check_acceleration",
    "check_batches",
    "check_density",
    "check_family",
    "check_flatten",
    "check_gradient",
    "check_model",
    "check_monotone",
    "check_reported",
    "check_row_order",
    "check_score",
    "check_spaces",
    "check_union",
    "check_weights",
]

FloatArray = NDArray[np.float64]

SUM_TOLERANCE = 1e-10  # relative: what the order of summation may change
SPLIT_ROWS = 7  # rows per batch, where laws cut the data finely
MOST_MOVED = 20  # coordinates that are moved to see where they lead, about
# Draws from a model, in how many groups, and in how many directions their log-likelihood is looked at.
N_DRAWN, N_GROUPS, N_DIRECTIONS = 4000, 400, 2
# Draws from each component of a family, and by how many standard errors their moments may be off.
N_OF_EACH, MOST_ERRORS = 20_000, 5.0
N_SLOPES = 3  # directions in which slopes are compared
STEP = 1e-3  # for slopes and curvature, relative to coordinates
FLAT = 1e-2  # directions in which the squared slope of a group is no more tell nothing: others are looked at
# Variance by curvature of 400 groups is 1 within .07, one standard error: 2 or 1/2 is something else.
MOST_APART = 1.45
MOST_ERROR = 0.07
INTEGRAL_TOLERANCE = 2e-3
ASIDE = 0.1  # how far the second place is at which a density is integrated, relative to coordinates


def check_model(
    model: EMModel, params: Any, data: Any, *, tol: float = 1e-4, laws: Sequence[str] | None = None
) -> None:
    """Check a model against the laws of EM.

    Only law "density" sees a log-likelihood that is a multiple of what it should be. Where a model draws rows
    (`EMModel.sample`) it works on draws, else by integration, of data that have one column. What it cannot see
    are other models of several columns: there check that the density integrates to 1, or state ``sample``.

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
    ['flatten', 'spaces', 'union', 'batches', 'weights', 'row_order', 'density', 'score', 'monotone',
     'reported', 'acceleration', 'gradient']
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


def check_spaces(model: EMModel, params: Any, data: Any) -> None:
    """Check that unconstrained coordinates are: that there is a log-likelihood wherever they lead.

    Each coordinate, or some of many, is moved both ways by once and three times its size, and at least 1 and 3.
    A rate of which nothing says that it is positive is then one below 0.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d), pair (rows, weights), or Batches
    """
    vector = model.flatten(params)
    free = np.flatnonzero(np.isfinite(vector))
    for i in free[:: max(len(free) // MOST_MOVED, 1)]:
        for times in (-3.0, -1.0, 1.0, 3.0):
            there = vector.copy()
            there[i] += times * max(1.0, abs(vector[i]))
            what = _likelihood_or_failure(model, there, params, data)
            _require(
                "spaces",
                what is None,
                f"with coordinate {i} of the flat parameters{_name_of(model, params, i)} at {there[i]:.4g}, "
                f"from {vector[i]:.4g}, {what}: say in which space it lives, by ``spaces`` of the model "
                "(Positive(), Probability(), Simplex(), ...)",
            )


def _likelihood_or_failure(model: EMModel, vector: FloatArray, like: Any, data: Any) -> str | None:
    """What is wrong with the log-likelihood at some coordinates; None if nothing is."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            found = _at(model, model.unflatten(vector, like), data).log_likelihood
        except NO_PARAMETERS as error:
            return f"the E-step raises {type(error).__name__}: {error}"
    return "the log-likelihood is NaN" if np.isnan(found) else None


def _name_of(model: EMModel, params: Any, coordinate: int) -> str:
    """The parameter that a coordinate is of, in brackets; empty where only the model knows."""
    spaces = model.spaces if model.spaces is not None else tree_map(lambda _: Real(), params)
    sizes = [space.n_coordinates(value) for space, value in zip(leaves(spaces), leaves(params), strict=True)]
    which = int(np.searchsorted(np.cumsum(sizes), coordinate, side="right"))
    return f" ({list(_paths(params))[which]})" if which < len(sizes) else ""


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


def check_density(model: EMModel, params: Any, data: Any) -> None:
    """Check that the log-likelihood is that of a density.

    Where the model draws rows, each of many draws says how the log-likelihood changes with the parameters: in
    mean not at all, and its variance is the curvature (the two identities of Bartlett, 1953). Else, and if the
    data have one column, the density is integrated: over the line, what is positive, the unit interval, counts,
    whole numbers or the values that are in the data, of which one must give 1. Of other models nothing is
    checked.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
    data : array-like of shape (n, d) or pair (rows, weights)
    """
    if not model.is_density:
        return
    rows, _ = _split(data)
    rows = np.asarray(rows, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    rng = np.random.RandomState(0)
    drawn = model.sample(params, rows[rng.randint(len(rows), size=N_DRAWN)], rng)
    if drawn is not None:
        _check_draws(model, params, np.asarray(drawn, dtype=np.float64), rng)
    elif rows.shape[1] == 1:
        _check_integral(model, params, rows[np.isfinite(rows)])


def _check_draws(model: EMModel, params: Any, drawn: FloatArray, rng: np.random.RandomState) -> None:
    batches = [Batch(np.ascontiguousarray(part.T)) for part in np.array_split(drawn, N_GROUPS)]
    vector = model.flatten(params)
    size = np.where(np.isfinite(vector), np.maximum(1.0, np.abs(vector)), 0.0)

    def of_groups(at: FloatArray) -> FloatArray:
        e_step = model.expectation(model.unflatten(at, params))
        return np.array([e_step(batch).log_likelihood for batch in batches])

    with one_blas_thread(), intended_underflow():
        here = of_groups(vector)
        n_told = 0
        for _ in range(5 * N_DIRECTIONS):
            step = STEP * size * rng.choice([-1.0, 1.0], size=len(vector))
            ahead, behind = of_groups(vector + step), of_groups(vector - step)
            slopes, bends = (ahead - behind) / 2, -(ahead - 2 * here + behind)
            curvature = np.mean(bends)
            variance, error = np.var(slopes), np.std(slopes) / np.sqrt(N_GROUPS)
            larger = max(variance, abs(curvature))
            # Nor does a direction tell anything along which draws do not agree how curved it is.
            if larger < FLAT * STEP**2 or np.std(bends) / np.sqrt(N_GROUPS) > MOST_ERROR * larger:
                continue
            n_told += 1
            _require(
                "density",
                abs(np.mean(slopes)) <= 6 * error,
                "over draws from the model the log-likelihood has a slope at the parameters that they are "
                f"drawn with: {np.mean(slopes) / error:.3g} standard errors. A term that depends on the "
                "parameters is missing, or the model draws something else",
            )
            ratio = variance / curvature if curvature > 0 else np.inf
            _require(
                "density",
                1 / MOST_APART <= ratio <= MOST_APART,
                "over draws from the model the slope of the log-likelihood varies "
                f"{ratio:.3g} times as much as it is curved, where it should be 1: it is a multiple of what it "
                "should be, or the model draws something else",
            )
            if n_told == N_DIRECTIONS:
                break


def _check_integral(model: EMModel, params: Any, x: FloatArray) -> None:
    # At two places, or a width that happens to be the right one would hide a power of the density.
    vector = model.flatten(params)
    aside = model.unflatten(
        vector + ASIDE * np.where(np.isfinite(vector), np.maximum(1.0, np.abs(vector)), 0.0), params
    )
    totals = {}
    with one_blas_thread(), intended_underflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        for name, total in _totals(_density_of(model, params), x):
            totals[name] = total
            if abs(total - 1) <= INTEGRAL_TOLERANCE:
                again = next(total for other, total in _totals(_density_of(model, aside), x) if other == name)
                if abs(again - 1) <= INTEGRAL_TOLERANCE:
                    return
                totals[name] = again
    listed = ", ".join(f"{total:.6g} over {name}" for name, total in totals.items())
    _require(
        "density",
        False,
        f"the density of a row sums up to {listed}: one should be 1. If rows are not all that is drawn, or can "
        "be something else, state ``sample`` or leave this law out",
    )


def _density_of(model: EMModel, params: Any) -> Callable[[float], float]:
    e_step = model.expectation(params)

    def density(value: float) -> float:
        with np.errstate(all="ignore"):
            try:
                return float(np.exp(e_step(Batch(np.array([[value]]))).log_likelihood))
            except (*NO_PARAMETERS, LookupError):  # no value that there can be
                return math.nan

    return density


def _totals(density: Callable[[float], float], x: FloatArray) -> Iterator[tuple[str, float]]:
    """Sums and integrals of a density of one column over what may be all of its values."""
    middle, width = np.median(x), max(np.std(x), 1e-8)
    if len(values := np.unique(x)) <= max(20, len(x) // 4):
        yield "the values that are in the data", sum(map(density, values))
    if np.array_equal(x, np.round(x)):
        top = int(x.max() + 100 * width + 100)
        counts = [density(value) for value in range(min(top, 20_000) + 1)]
        yield "counts from 0", sum(counts)
        yield "counts from 1", sum(counts[1:])
        bottom = max(int(x.min() - 100 * width - 100), -20_000)
        yield "whole numbers", sum(map(density, range(bottom, 0))) + sum(counts)
    inner = np.quantile(x, np.linspace(0.05, 0.95, 10))

    def integral(
        at: Callable[[float], float], slope: Callable[[float], float], ends: Any, points: Any
    ) -> float:
        found = integrate.quad(
            lambda t: density(at(t)) * slope(t), *ends, points=points, limit=200, epsabs=1e-5, epsrel=1e-4
        )
        return float(found[0])

    if x.min() >= 0:
        if x.max() <= 1:
            yield "the unit interval", integral(float, lambda t: 1.0, (0.0, 1.0), inner)
        own = inner[inner > 0]
        positive = integral(math.exp, math.exp, (math.log(width) - 30, math.log(width) + 12), np.log(own))
        yield "what is positive", positive
        yield "what is positive, and 0", positive + density(0.0)
    yield (
        "the line",
        integral(
            lambda t: middle + width * math.sinh(t),
            lambda t: width * math.cosh(t),
            (-14.0, 14.0),
            np.arcsinh((inner - middle) / width),
        ),
    )


def check_score(model: EMModel, params: Any, data: Any) -> None:
    """Check Fisher's identity: `expected_log_joint` has the slope of the log-likelihood, by differences.

    A model that does not state it has nothing to check.

    Parameters
    ----------
    model : EMModel
    params : NamedTuple
        Parameters, not at a maximum.
    data : array-like of shape (n, d), pair (rows, weights), or Batches
    """
    rng = np.random.RandomState(0)
    here = _at(model, params, data)
    if model.expected_log_joint(here.stats, params, params) is None:
        return
    vector = model.flatten(params)
    moving = np.isfinite(vector)
    resting = model.resting(params)
    moving &= True if resting is None else ~resting
    size = np.where(moving, np.maximum(1.0, np.abs(vector, where=moving, out=np.ones_like(vector))), 0.0)

    def slope(function: Callable[[Any], float], step: FloatArray) -> float:
        near, far = (
            function(model.unflatten(vector + n * step, params))
            - function(model.unflatten(vector - n * step, params))
            for n in (1, 2)
        )
        return (8 * near - far) / 12

    for _ in range(N_SLOPES):
        step = STEP * size * rng.choice([-1.0, 1.0], size=len(vector))
        expected = slope(lambda new: model.expected_log_joint(here.stats, new, params) or 0.0, step)
        found = slope(lambda new: _at(model, new, data).log_likelihood, step)
        allowed = 1e-5 * (STEP * here.weight + abs(found)) + _rounding(here.log_likelihood, here.weight)
        _require(
            "score",
            abs(expected - found) <= allowed,
            f"in a direction in which the log-likelihood rises by {found:.8g} `expected_log_joint` does by "
            f"{expected:.8g}",
        )


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


OF_ROWS = ("union", "batches", "weights", "row_order", "density")
FITTED = ("monotone", "reported", "acceleration", "gradient")
LAWS: dict[str, Callable[..., None]] = {
    "flatten": check_flatten,
    "spaces": check_spaces,
    "union": check_union,
    "batches": check_batches,
    "weights": check_weights,
    "row_order": check_row_order,
    "density": check_density,
    "score": check_score,
    "monotone": check_monotone,
    "reported": check_reported,
    "acceleration": check_acceleration,
    "gradient": check_gradient,
}


def check_family(
    family: Emission,
    params: Any,
    rows: Any,
    *,
    tol: float = 1e-4,
    laws: Sequence[str] | None = None,
) -> None:
    """Check a family of densities against what estimators ask of it, and a mixture of it by `check_model`.

    ================= =========================================================================================
    Law               What it says
    ================= =========================================================================================
    n_parameters      as many as there are directions in which coordinates move the parameters
    nearest_legal     parameters that are legal stay as they are
    reorder           components in another order have their densities in that order
    units             a density in other units is the density by the units' volume
    fields            copies of all parameters, by name; `from_fields`, if stated, leads back
    sample            draws are possible, and have the means and covariances that the family states
    marginal          a row with gaps has the density of the entries that are there
    ================= =========================================================================================

    Parameters
    ----------
    family : Emission
        The family.
    params : NamedTuple
        Parameters of K components, two at least, in the interior of their spaces.
    rows : array-like of shape (n, d), or pair (rows, weights)
        A few dozen, such as these components have, with NaN where the family takes it.
    tol : float, default=1e-4
        Tolerance of fits, in nats.
    laws : sequence of str, default=None
        Names of the laws to check, out of `FAMILY_LAWS`; None for all of them, and for those of EM.

    Raises
    ------
    AssertionError
        At the first law that is broken, with its name and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.testing import check_family
    >>> params = PoissonParams(np.array([[1.0], [6.0]]))
    >>> counts = np.random.RandomState(0).poisson(np.tile([1.0, 6.0], 40))[:, None]
    >>> check_family(Poisson(), params, counts)
    >>> class Forgetful(Poisson):
    ...     def n_parameters(self, params):
    ...         return 1
    >>> check_family(Forgetful(), params, counts)
    Traceback (most recent call last):
        ...
    AssertionError: Law 'n_parameters': it is 1, but coordinates move the parameters in 2 directions.
    """
    X, _ = _split(rows)
    X = np.asarray(X, dtype=np.float64)
    for name in FAMILY_LAWS if laws is None else laws:
        FAMILY_LAWS[name](family, params, X)
    if laws is None:
        K = _n_components(family, params, X)
        even = LatentPair(np.full(K, 1.0 / K), params)
        check_model(LatentModel(MixtureWeights(), family), even, rows, tol=tol)


def _log_density(family: Emission, params: Any, rows: FloatArray) -> FloatArray:
    """Of each row under each component, (K, n)."""
    seen = family.density(params)(Batch(np.ascontiguousarray(rows.T)))
    return seen.log_prob + seen.shared_log_prob()


def _n_components(family: Emission, params: Any, rows: FloatArray) -> int:
    return len(_log_density(family, params, rows[:1]))


def _check_n_parameters(family: Emission, params: Any, rows: FloatArray) -> None:
    vector, found = flatten(family.spaces, params), family.n_parameters(params)

    def at(there: FloatArray) -> FloatArray:
        return np.concatenate([np.ravel(leaf) for leaf in leaves(unflatten(family.spaces, there, params))])

    steps = 1e-4 * np.diag(np.maximum(np.abs(vector), 1e-2))
    slopes = np.reshape([at(vector + step) - at(vector - step) for step in steps], (len(vector), -1))
    rank = int(np.linalg.matrix_rank(slopes, tol=1e-5 * np.linalg.norm(slopes, 2))) if slopes.size else 0
    _require(
        "n_parameters",
        found == rank,
        f"it is {found}, but coordinates move the parameters in {rank} directions",
    )


def _check_nearest_legal(family: Emission, params: Any, rows: FloatArray) -> None:
    _compare("nearest_legal", "nearest_legal(params)", family.nearest_legal(params), "params", params)


def _check_reorder(family: Emission, params: Any, rows: FloatArray) -> None:
    here = _log_density(family, params, rows)
    for order in (np.arange(len(here))[::-1], np.arange(1)):
        there = _log_density(family, family.reorder(params, order), rows)
        _close("reorder", f"densities in the order {order.tolist()}", there, "theirs", here[order], 1.0)


def _check_units(family: Emission, params: Any, rows: FloatArray) -> None:
    d = rows.shape[1]
    of_one = family.units(np.ones(d))
    numbers = ~np.isnan(of_one)
    # One unit for all features is found where the others have a say in that of one.
    alone = np.allclose(family.units(np.r_[4.0, np.ones(d - 1)])[1:], of_one[1:], equal_nan=True)
    scale = np.linspace(2.0, 0.3, d) if alone else np.full(d, 2.0)
    units = Affine(np.where(numbers, np.linspace(-3.0, 5.0, d), 0.0), np.where(numbers, scale, 1.0))
    there = _log_density(family, family.in_units(params, units), rows * units.scale + units.shift)
    here = _log_density(family, params, rows) - ~np.isnan(rows) @ np.log(units.scale)
    _close("units", "densities in other units", there, "those by the volume of the units", here, 1.0)


def _check_fields(family: Emission, params: Any, rows: FloatArray) -> None:
    lead = (_n_components(family, params, rows),)
    fields = family.fields(params, lead)
    with suppress(ValueError):  # where a family states none
        made = family.from_fields(fields, lead)
        _compare("fields", "from_fields(fields(params))", made, "params", params)
    shared = any(np.shares_memory(array, leaf) for array in _arrays_in(fields) for leaf in leaves(params))
    _require("fields", not shared, "they are no copies: what is written to them changes the parameters")


def _arrays_in(fields: Any) -> Iterator[NDArray[Any]]:
    if isinstance(fields, (np.ndarray, np.generic)):
        yield np.asarray(fields)
    else:
        for part in fields.values() if isinstance(fields, dict) else fields:
            yield from _arrays_in(part)


def _check_sample(family: Emission, params: Any, rows: FloatArray) -> None:
    K = _n_components(family, params, rows)
    labels = np.arange(N_OF_EACH * K) % K
    drawn = family.sample(params, labels, np.random.RandomState(0))
    _require("sample", drawn.dtype == np.float64, f"draws are {drawn.dtype}, not float64")
    _require("sample", family.is_possible(drawn.T, params).all(), "draws are not possible")
    if not family.has_moments:
        return
    means, covariances = numeric(family).mean(params), numeric(family).covariance(params)
    for k in range(K):
        known = np.isfinite(means[k]) & np.isfinite(np.diag(covariances[k]))
        centred = drawn[labels == k][:, known] - means[k, known]
        products = centred[:, :, None] * centred[:, None, :]
        for what, found, expected in (
            ("mean", centred, 0.0),
            ("covariance", products, covariances[k][np.ix_(known, known)]),
        ):
            error = np.std(found, axis=0) / math.sqrt(N_OF_EACH)
            away = np.max(np.abs(found.mean(axis=0) - expected) / np.where(error > 0, error, 1.0), initial=0.0)
            _require(
                "sample",
                away < MOST_ERRORS,
                f"the {what} of draws from component {k} is {away:.3g} standard errors off",
            )


def _check_marginal(family: Emission, params: Any, rows: FloatArray) -> None:
    if not family.marginalises:
        return
    d = rows.shape[1]
    nothing = _log_density(family, params, np.full((1, d), np.nan))
    _close("marginal", "the log-density of a row of which nothing is there", nothing, "0", 0 * nothing, 1.0)
    for columns in (np.arange(d - 1), np.arange(1, d)):
        some = np.full_like(rows, np.nan)
        some[:, columns] = rows[:, columns]
        if not len(columns):
            return
        try:
            own = family.marginal(params, columns)
        except ValueError:  # it is of no family
            return
        there = _log_density(family.of_some(columns), own, rows[:, columns])
        found = _log_density(family, params, some)
        what = f"the density of rows of which columns {columns.tolist()} are there"
        _close("marginal", what, found, "that by `marginal` and `of_some`", there, 1.0)


FAMILY_LAWS: dict[str, Callable[..., None]] = {
    "n_parameters": _check_n_parameters,
    "nearest_legal": _check_nearest_legal,
    "reorder": _check_reorder,
    "units": _check_units,
    "fields": _check_fields,
    "sample": _check_sample,
    "marginal": _check_marginal,
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
