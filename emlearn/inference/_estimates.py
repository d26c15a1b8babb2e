"""Standard errors, intervals and tests for the parameters of a fitted estimator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import expit, logit

from emlearn._input.arrays import read_array
from emlearn._warn import warn
from emlearn.em import Data, em_rate, one_blas_thread
from emlearn.em.information import Information, objective_along, observed_information, scores, spectrum

FloatArray = NDArray[np.float64]

KINDS = ("observed", "opg", "robust")
# Differences of attributes, relative to coordinates of order 1.
STEP = 1e-5
# An estimate moves along a direction if it does so by more than this, relative to how it moves at all.
MOVES = 1e-2
# Nats that may be left to gain at what counts as a maximum.
ARRIVED = 0.01
# Of log-likelihoods of the same data: what another order of sums may change, relatively and in nats.
SAME, LEAST_APART = 1e-7, 1e-6
# Attributes that are probabilities, and others that are positive: their intervals are on the scale of log-odds
# and logarithms. Of covariances the variances are positive.
PROBABILITIES = frozenset(
    (
        "weights",
        "group_weights",
        "startprob",
        "transmat",
        "stationary_distribution",
        "probabilities",
        "inflations",
    )
)
POSITIVE = frozenset(("rates", "sigma", "noise", "dispersions", "dispersion", "df"))
# What has one entry for each component, and none for a feature.
OF_COMPONENTS = PROBABILITIES - {"probabilities"} | {"intercept", "sigma", "gate_intercept"}
COVARIANCES = frozenset(("covariances", "covariance", "scale_matrices"))
# Steps of one width of an interval, after which the likelihood counts as never falling far enough.
MOST_STEPS = 30


class WaldTest(NamedTuple):
    """Test of linear hypotheses on estimates.

    Attributes
    ----------
    statistic : float
        Squared distance from the hypothesis in units of the estimates' covariance.
    df : int
        How many hypotheses are independent.
    pvalue : float
        Probability of as large a statistic under them, by the chi-squared distribution.
    """

    statistic: float
    df: int
    pvalue: float


@dataclass(frozen=True)
class Estimate:
    """A function of the estimates, with its standard error.

    Attributes
    ----------
    value : ndarray
    standard_error : ndarray
        Of the same shape; NaN where the data do not tell.
    covariance : ndarray of shape (size, size)
        Of the entries of ``value``, in C order.
    """

    value: FloatArray
    standard_error: FloatArray
    covariance: FloatArray


class SeenAgain(NamedTuple):
    """The data of a fit, for the engine."""

    data: Data
    log_volume: float  # of the user's unit, of all data
    size: float  # observations, for criteria
    clusters: NDArray[Any] | None = None  # which units are not independent, (u,)
    model: Any = None  # of data of which not all is there; None: that of the estimator
    # (model, data, kind, clusters) -> information and moves, of a fit in several steps.
    steps: Callable[..., tuple[Information, FloatArray]] | None = None


class Inference:
    """What data tell of the parameters of a fitted estimator, and how certain that is.

    Made by the method `infer` of estimators.

    Attributes
    ----------
    labels : list of str
        Name of each estimate: those of all attributes one after another, in C order.
    estimates : ndarray of shape (P,)
        Their values.
    covariance : ndarray of shape (P, P)
        Covariance of the estimates; NaN where one is fixed, or not estimable.
    fixed : list of str
        Estimates on a boundary, as a probability of 0: they count as known.
    not_estimable : list of str
        Estimates that could be changed without any change of the likelihood.
    kind : str
        How the covariance was found.
    log_likelihood : float
        Of the data, in nats.
    size : float
        Number of observations, as criteria count them.

    References
    ----------
    McLachlan & Krishnan (2008), The EM Algorithm and Extensions, chapter 4. White (1982), Maximum likelihood
    estimation of misspecified models, Econometrica 50.
    """

    def __init__(self, estimator: Any, again: SeenAgain, kind: str = "observed"):
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} is none of {', '.join(KINDS)}.")
        self.kind = kind
        self._data = again.data
        model = replace(again.model or estimator._model, assignment="soft")
        if not model.is_density:
            raise ValueError(
                f"{type(estimator).__name__} has a posterior in the place of estimates with standard errors."
            )
        self._model = model
        self._is_by_steps = again.steps is not None
        if again.steps is None:
            self._information = observed_information(model, estimator._params, again.data)
        else:
            self._information, self._moves = again.steps(model, again.data, kind, again.clusters)
        self._estimator = estimator._at(model, self._information.params)
        self.log_likelihood = self._information.log_likelihood - again.log_volume
        self.size = again.size
        self._fitted = _flat(_attributes(estimator))
        gap = self._information.gap()
        if not warn_of_other_data(estimator, model, again) and gap > ARRIVED:
            warn(
                f"The estimates are not at a maximum: some {gap:.3g} nats are to be gained. Fit with a smaller "
                "tol or a larger max_iter.",
                UserWarning,
            )
        self._values, self._directions = spectrum(self._information.observed)
        if again.steps is None:
            self._moves = self._of_coordinates(again.clusters)
        tree = _attributes(self._estimator)
        self.labels = _labels(tree, getattr(estimator, "feature_names_in_", None))
        self.estimates = _flat(tree)
        slopes = self._slopes(lambda fitted: _flat(_attributes(fitted)))
        moves, known, moved = self._carried(slopes)
        self.covariance = _covariance(moves, known & moved)
        self.fixed = [label for label, moves in zip(self.labels, moved, strict=True) if not moves]
        self.not_estimable = [label for label, ok in zip(self.labels, known | ~moved, strict=True) if not ok]

    def _of_coordinates(self, clusters):
        """Root of the covariance of the free coordinates, (f, r): moves of one standard deviation each."""
        bread = self._directions / self._values  # (f, r); times `_directions` transposed the inverse
        if self.kind == "observed":
            return self._directions / np.sqrt(self._values)
        slopes, weight = scores(self._model, self._information.params, self._data, self._information.free)
        slopes = slopes @ self._directions
        if clusters is not None:
            if len(clusters) != len(slopes):
                raise ValueError(f"groups has {len(clusters)} entries, but there are {len(slopes)} units.")
            slopes = _sums(slopes * weight[:, None], clusters)
            weight = np.ones(len(slopes))
        if self.kind == "opg":
            meat = (slopes * weight[:, None]).T @ slopes
            values, vectors = spectrum(meat)
            return self._directions @ (vectors / np.sqrt(values))
        meat = (slopes * weight[:, None] ** 2).T @ slopes
        values, vectors = np.linalg.eigh(meat)
        return bread @ (vectors * np.sqrt(np.maximum(values, 0.0)))

    def _at(self, step):
        """The estimator with its free coordinates moved."""
        information = self._information
        vector = self._model.flatten(information.params)
        vector[information.free] += step
        return self._estimator._at(self._model, self._model.unflatten(vector, information.params))

    def _slopes(self, function):
        """Derivatives of a function of estimators by the free coordinates, (size, f)."""
        here = self._model.flatten(self._information.params)[self._information.free]
        steps = np.diag(STEP * np.maximum(np.abs(here), 1.0))
        slopes = [(function(self._at(e)) - function(self._at(-e))) / (2 * e[i]) for i, e in enumerate(steps)]
        return np.stack(slopes, axis=1) if slopes else np.empty((len(function(self._estimator)), 0))

    def _carried(self, slopes):
        """Moves (p, r) of what has these slopes, which of it the data tell, and which of it moves at all."""
        with np.errstate(invalid="ignore"):
            scale = np.sqrt(np.maximum(np.abs(np.diagonal(self._information.observed)), 1e-300))
            relative = slopes / scale
            kept = self._directions * scale[:, None]  # orthonormal
            beside = relative - relative @ kept @ kept.T
            size = np.linalg.norm(relative, axis=1)
            known = np.linalg.norm(beside, axis=1) <= MOVES * size
        moved = np.linalg.norm(slopes, axis=1) > 0
        return slopes @ self._moves, known, moved

    def _refuse_steps(self):
        if self._is_by_steps:
            raise ValueError(
                "A fit in several steps is no maximum of one likelihood: its estimates have standard errors, "
                "but this is for fits in one step."
            )

    def influence(self) -> FloatArray:
        """How much a row, sequence or group of each moves the estimates, to first order, (u, P)."""
        self._refuse_steps()
        information = self._information
        slopes, weight = scores(self._model, information.params, self._data, information.free)
        bread = (self._directions / self._values) @ self._directions.T
        of_estimates = self._slopes(lambda fitted: _flat(_attributes(fitted)))
        return np.asarray(weight[:, None] * (slopes @ bread @ of_estimates.T))

    def missing_information(self) -> float:
        """Largest fraction of information that is missing for what is hidden, over all directions."""
        self._refuse_steps()
        return em_rate(self._model, self._information.params, self._data)

    # -- what users ask ----------------------------------------------------------------------------------

    @cached_property
    def standard_errors(self) -> dict[str, Any]:
        """Standard errors by the name of the attribute, of its shape."""
        return self._as_attributes(np.sqrt(np.diagonal(self.covariance)))

    def _as_attributes(self, values):
        return _shaped(_attributes(self._estimator), values)

    def _short_labels(self, longest):
        """The labels, with names of features no longer than this."""
        names = getattr(self._estimator, "feature_names_in_", None)
        if names is not None:
            names = [name if len(name) <= longest else name[: longest - 1] + "…" for name in map(str, names)]
        return _labels(_attributes(self._estimator), names)

    def confidence_intervals(self, level: float = 0.95) -> dict[str, Any]:
        """Wald intervals by the name of the attribute.

        Those of probabilities are symmetric in log-odds, those of rates, standard deviations and variances in
        logarithms, and all others as they are.

        Parameters
        ----------
        level : float, default=0.95
            Probability that an interval holds the true value, in large samples.

        Returns
        -------
        intervals : dict of pairs (low, high)
            Each of the attribute's shape; NaN where there is no standard error.

        Raises
        ------
        ValueError
            If the level is not between 0 and 1.
        """
        low, high = self._intervals(level)
        return {
            name: (below, above)
            for (name, below), above in zip(
                self._as_attributes(low).items(), self._as_attributes(high).values(), strict=True
            )
        }

    @cached_property
    def _distinct(self):
        """Places of the estimates, of symmetric matrices those of the upper triangle."""
        kept = []
        for name, values in _walk(_attributes(self._estimator)):
            upper = np.ones(values.shape, dtype=bool)
            if _kind(name) in COVARIANCES and _are_matrices(values):
                upper &= np.triu(np.ones(values.shape[-2:], dtype=bool))
            kept.append(upper.ravel())
        return np.flatnonzero(np.concatenate(kept))

    @cached_property
    def _scales(self):
        return _scales(_attributes(self._estimator))

    def _intervals(self, level):
        if not 0 < level < 1:
            raise ValueError(f"level={level} must lie between 0 and 1.")
        width = stats.norm.ppf(0.5 + level / 2) * np.sqrt(np.diagonal(self.covariance))
        x, scales = self.estimates, self._scales
        low, high = x - width, x + width
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            bounded = scales == "probability"
            p = x[bounded]
            odds, spread = logit(p), width[bounded] / (p * (1 - p))
            low[bounded], high[bounded] = expit(odds - spread), expit(odds + spread)
            positive = scales == "positive"
            factor = np.exp(width[positive] / x[positive])
            low[positive], high[positive] = x[positive] / factor, x[positive] * factor
        return low, high

    def wald_test(self, R: ArrayLike, r: ArrayLike = 0.0) -> WaldTest:
        """Test of the hypothesis that ``R @ estimates = r``.

        Parameters
        ----------
        R : array-like of shape (q, P) or (P,)
            A row for each hypothesis, a column for each of `labels`.
        r : array-like of shape (q,) or float, default=0.0

        Returns
        -------
        test : WaldTest

        Raises
        ------
        ValueError
            If R has another width, names an estimate without a standard error, or r another length.
        """
        P = len(self.labels)
        R = read_array("R", R, finite=True, advice=f"Give a row of {P} numbers for each hypothesis.")
        R = np.atleast_2d(R)
        if R.ndim != 2 or R.shape[1] != P:
            raise ValueError(f"R has shape {R.shape}, but there are {P} estimates: see labels.")
        r = np.broadcast_to(read_array("r", r, shapes=[(), (len(R),)], finite=True), len(R))
        used = (R != 0).any(axis=0)
        unknown = [self.labels[i] for i in np.flatnonzero(used & np.isnan(np.diagonal(self.covariance)))]
        if unknown:
            raise ValueError(f"R names {unknown[0]}, which has no standard error: see fixed and not_estimable.")
        distance = R[:, used] @ self.estimates[used] - r
        values, vectors = np.linalg.eigh(R[:, used] @ self.covariance[np.ix_(used, used)] @ R[:, used].T)
        kept = values > 1e-12 * values.max(initial=0.0)
        statistic = float(np.sum((distance @ vectors[:, kept]) ** 2 / values[kept]))
        df = int(np.count_nonzero(kept))
        return WaldTest(statistic, df, float(stats.chi2.sf(statistic, df)))

    def function_se(self, function: Callable[[Any], Any]) -> Estimate:
        """Value and standard error of a function of the fitted estimator, by the delta method.

        Parameters
        ----------
        function : callable
            ``function(estimator)`` gives a number or an array, as of ``lambda e: e.means_[1] - e.means_[0]``.
            It is called with copies of the estimator whose parameters are a little apart.

        Returns
        -------
        estimate : Estimate
        """

        def flat(fitted):
            return np.asarray(function(fitted), dtype=np.float64).ravel()

        value = np.asarray(function(self._estimator), dtype=np.float64)
        moves, known, moved = self._carried(self._slopes(flat))
        covariance = _covariance(moves, known & moved)
        with np.errstate(invalid="ignore"):
            error = np.sqrt(np.diagonal(covariance)).reshape(value.shape)
        return Estimate(value, error, covariance)

    def _errors_of_predictions(self, estimator, function):
        """Standard errors of an array of numbers ``function(estimator)``, without their covariance."""
        if not np.array_equal(self._fitted, _flat(_attributes(estimator))):
            raise ValueError(
                "return_std is the inference of another fit: give that of this one, as infer gives it for the "
                "data of the fit."
            )
        moves, known, moved = self._carried(self._slopes(lambda fitted: np.ravel(function(fitted))))
        errors = np.where(known & moved, np.sqrt((moves**2).sum(axis=1)), np.nan)
        return errors.reshape(np.shape(function(estimator)))

    def profile_likelihood(
        self, function: Callable[[Any], float] | str, level: float = 0.95
    ) -> tuple[float, float]:
        """Interval of all values of a parameter that the likelihood does not rule out.

        For each value the others are fitted anew. Such intervals need not be symmetric, and do not depend on
        how a parameter is written; they hold more often than Wald's where the likelihood is no parabola.

        Parameters
        ----------
        function : callable or str
            ``function(estimator)`` gives the parameter, a number; or one of `labels`.
        level : float, default=0.95

        Returns
        -------
        low, high : float
            Infinite where the likelihood does not fall far enough.

        Raises
        ------
        ValueError
            If there is no such label, or nothing that moves the parameter.
        """
        self._refuse_steps()
        if isinstance(function, str):
            if function not in self.labels:
                raise ValueError(f"{function!r} is none of the labels, as {self.labels[0]!r}.")
            place = self.labels.index(function)

            def of(fitted):
                return float(_flat(_attributes(fitted))[place])
        else:
            of = function
        here = self.function_se(of)
        if here.value.size != 1:
            raise ValueError(f"The function gives {here.value.size} numbers: profile one of them at a time.")
        error = float(here.standard_error.ravel()[0])
        if not error > 0:
            raise ValueError("Nothing that the data tell moves this parameter: it has no standard error.")
        fall = 0.5 * float(stats.chi2.ppf(level, 1))
        profile = _Profile(self, of)
        ends = []
        for side in (-1, 1):
            ends.append(profile.where_it_falls(float(here.value.ravel()[0]), side * error, fall))
        return ends[0], ends[1]


class _Profile:
    """Greatest likelihood among parameters at which a function has a value."""

    def __init__(self, inference, function):
        self._inference, self._function = inference, function
        root = inference._directions / np.sqrt(inference._values)
        self._root = root  # coordinates in which the information is 1
        information = inference._information
        self._along = objective_along(inference._model, information.params, inference._data, information.free)

    def _objective(self, z):
        """Minus the objective and its slope, by a step in standardised coordinates."""
        height, slope = self._along(self._root @ z)
        return -height, -(slope @ self._root)

    def _value(self, z):
        return self._function(self._inference._at(self._root @ z))

    def _slope(self, z):
        steps = STEP * np.eye(len(z))
        return np.array([(self._value(z + e) - self._value(z - e)) / (2 * STEP) for e in steps])

    def height(self, value, z):
        """Greatest objective where the function has a value, and where that is, from a place nearby."""
        found = optimize.minimize(
            self._objective,
            z,
            jac=True,
            method="SLSQP",
            constraints={
                "type": "eq",
                "fun": lambda z: self._value(z) - value,
                "jac": self._slope,
            },
            options={"ftol": 1e-9, "maxiter": 200},
        )
        return -float(found.fun), found.x

    def where_it_falls(self, value, error, fall):
        """Where the greatest objective has fallen by so much, on the side to which ``error`` points."""
        z = np.zeros(self._root.shape[1])
        top = -self._objective(z)[0]
        inside, step = value, math.sqrt(2 * fall) * error
        for _ in range(MOST_STEPS):
            beyond = inside + step
            height, there = self.height(beyond, z)
            if not top - height < fall:
                break
            inside, z = beyond, there
        else:
            return math.copysign(math.inf, error)
        return float(
            optimize.brentq(
                lambda at: top - self.height(at, z)[0] - fall, inside, beyond, xtol=1e-4 * abs(error)
            )
        )


def _covariance(moves, is_known):
    """Covariance of what moves so (p, r), NaN where it is not known."""
    covariance = moves @ moves.T
    covariance[~is_known] = covariance[:, ~is_known] = np.nan
    return covariance


def _attributes(estimator):
    """What is estimated, by attribute: arrays, or dicts and tuples of such."""
    return {name: getattr(estimator, name) for name in estimator._estimated()}


def _walk(tree, name=""):
    """Arrays of a tree, each with its name."""
    if isinstance(tree, dict):
        for key, branch in tree.items():  # of attributes, or, within one, of columns
            yield from _walk(branch, key if isinstance(key, str) else ", ".join(map(str, key)))
    elif isinstance(tree, tuple):
        keys = getattr(tree, "_fields", range(len(tree)))
        for key, branch in zip(keys, tree, strict=True):
            yield from _walk(branch, f"{name}.{key}" if isinstance(key, str) else f"{name}[{key}]")
    else:
        yield name, np.asarray(tree, dtype=np.float64)


def _flat(tree):
    """All numbers of a tree, one after another."""
    return np.concatenate([values.ravel() for _, values in _walk(tree)])


def _shaped(tree, values):
    """Numbers one after another in the form of a tree."""
    place = 0

    def fill(tree):
        nonlocal place
        if isinstance(tree, dict):
            return {key: fill(branch) for key, branch in tree.items()}
        if isinstance(tree, tuple):
            branches = [fill(branch) for branch in tree]
            return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
        shape = np.shape(tree)
        size = math.prod(shape)
        place += size
        return values[place - size : place].reshape(shape)

    return fill(tree)


def _kind(name):
    """What the numbers of this name are, without what they are an attribute of."""
    return name.rsplit(".", 1)[-1].rstrip("_")


def _labels(tree, features):
    """A name for each number of a tree; features by their own names where they have any."""
    labels = []
    for name, values in _walk(tree):
        n_named, kind = 0, _kind(name)
        if "." in name:  # of some columns
            columns, field = name.split(".", 1)
            if features is not None:
                columns = ", ".join(str(features[int(j)]) for j in columns.split(", "))
            name = f"{columns}.{field}"
        elif features is not None and kind not in OF_COMPONENTS and values.shape[-1:] == (len(features),):
            n_named = 2 if kind in COVARIANCES and _are_matrices(values) else 1
        for place in np.ndindex(values.shape):
            own = [str(i) for i in place[: len(place) - n_named]]
            own += [str(features[i]) for i in place[len(place) - n_named :]] if n_named else []
            labels.append(f"{name}[{', '.join(own)}]" if place else name)
    return labels


def _are_matrices(values):
    """Whether covariances are matrices, and not variances."""
    return (
        values.ndim > 1
        and values.shape[-1] == values.shape[-2]
        and np.allclose(values, values.swapaxes(-1, -2))
    )


def _scales(tree):
    """On which scale the interval of each number is symmetric: of probabilities, positive numbers, or none."""
    scales = []
    for name, values in _walk(tree):
        kind = _kind(name)
        scale = "probability" if kind in PROBABILITIES else "positive" if kind in POSITIVE else "real"
        of_name = np.full(values.shape, scale, dtype="<U11")
        if kind in COVARIANCES:
            of_name[...] = "positive"
            if _are_matrices(values):
                of_name[..., ~np.eye(values.shape[-1], dtype=bool)] = "real"
        scales.append(of_name.ravel())
    return np.concatenate(scales)


def _sums(values, codes):
    """Sums of rows (u, f) that have the same code."""
    _, codes = np.unique(codes, return_inverse=True)
    out = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(out, codes, values)
    return out


def warn_of_other_data(estimator, model, again):
    """Warn of data whose log-likelihood is not that of the fit; whether they are such."""
    fitted_to = getattr(estimator, "log_likelihood_", None)
    if fitted_to is None:
        return False
    with one_blas_thread():
        seen = again.data.sum(model.expectation(estimator._params))
    here = float(seen.log_likelihood - again.log_volume)
    if abs(here - fitted_to) <= SAME * abs(fitted_to) + LEAST_APART:
        return False
    warn(
        f"These are not the data of the fit: their log-likelihood is {here:.8g}, that of the fit is "
        f"{fitted_to:.8g}. Errors of estimates are told by the data that they were made of: give these, with "
        "their weights.",
        UserWarning,
    )
    return True


def read_clusters(groups, n):
    """Which rows are not independent, (n,), or None."""
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {groups.shape}, but X has {n} rows: give one label for each row.")
    return groups


def weight_of(data):
    """Sum of the weights of all rows."""
    return float(data.sum(lambda batch: batch.total_weight))
