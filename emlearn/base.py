"""The scikit-learn shell that every estimator shares."""

from __future__ import annotations

import copy
import functools
import inspect
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from emlearn._by_hand import ByHand
from emlearn._input.arrays import check_weight, read_array
from emlearn._input.columns import column_name, find_columns
from emlearn._input.pieces import gathered
from emlearn._input.tables import read_rows
from emlearn._pace import Pace
from emlearn._sklearn_compat import CallbackSupportMixin
from emlearn._typing import Method
from emlearn._version import __version__
from emlearn._warn import warn
from emlearn.em import (
    Affine,
    Batch,
    Data,
    EMModel,
    LatentModel,
    LatentPair,
    RaceResult,
    Restarts,
    Start,
    cool,
    one_blas_thread,
    race,
)
from emlearn.em.batches import intended_underflow
from emlearn.em.trees import leaves
from emlearn.families.base import Sketch
from emlearn.families.gaussian import LEAST_FLOOR
from emlearn.inference._methods import Inferring

# Print-outs of one fit are at least this far apart, in seconds.
BETWEEN_LINES = 1.0
# A fit is one of many where more than this share of starts would end where none did, unless so many agree on
# it. It takes some starts to say so.
MANY_UNSEEN, MANY_AGREE, ENOUGH_STARTS = 0.2, 0.2, 7
# Scales of features are no larger than this many standard deviations of what lies close together.
FAR = 100.0
# Steps of EM at each temperature of an annealed start.
COOLING_STEPS = 15


class Moments(NamedTuple):
    """Weighted counts, means, variances and number of rows with weight, from the first pass over the data."""

    weight: float  # of rows
    entries: np.ndarray  # (d,) weight of the entries that are not missing
    mean: np.ndarray  # (d,)
    variance: np.ndarray  # (d,)
    n_rows: int
    has_gaps: np.ndarray  # (d,) whether an entry of a row with weight is missing
    has_weights: bool  # whether rows have any of their own
    most: np.ndarray  # (d,) largest entry of rows with weight

    def joined(self, other):
        """Of these rows and others."""
        entries = self.entries + other.entries
        share = other.entries / np.where(entries > 0, entries, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):  # refused when units are chosen
            delta = np.where(share < 1, other.mean - self.mean, 0.0)
            mean = np.where(share < 1, self.mean + delta * share, other.mean)
            variance = self.variance * (1 - share) + other.variance * share + delta**2 * share * (1 - share)
        return Moments(
            self.weight + other.weight,
            entries,
            mean,
            variance,
            self.n_rows + other.n_rows,
            self.has_gaps | other.has_gaps,
            self.has_weights or other.has_weights,
            np.fmax(self.most, other.most),
        )


def moments_of(batch):
    """Moments of a batch."""
    x, w = batch.x, np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
    if batch.is_sparse:
        return _moments_of_sparse(x, w, batch.weight is not None)
    present = ~np.isnan(x)
    counted = present & (w > 0)
    if present.all():
        entries, has_gaps = np.full(len(x), w.sum()), np.zeros(len(x), dtype=bool)
    else:
        entries, has_gaps = present @ w, (~present & (w > 0)).any(axis=1)
    total = np.where(entries > 0, entries, 1.0)
    # About a row of the batch, so that a large common offset cancels before anything is summed.
    near = x[np.arange(len(x)), counted.argmax(axis=1)]
    near = np.where(counted.any(axis=1), near, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # refused when units are chosen
        centred = np.where(counted, x - near[:, None], 0.0)
        step = centred @ w / total
        centred = np.where(counted, centred - step[:, None], 0.0)
        variance = centred**2 @ w / total
    n_rows, has_weights = int(np.count_nonzero(w)), batch.weight is not None
    most = np.max(x, axis=1, where=counted, initial=-np.inf)
    return Moments(w.sum(), entries, near + step, variance, n_rows, has_gaps, has_weights, most)


def _moments_of_sparse(x, w, has_weights):
    """The same of counts (d, m), which have 0 for an origin, and of which none is missing."""
    total, seen = w.sum(), x[:, w > 0]
    mean = x @ w / (total or 1.0)
    variance = np.maximum(x**2 @ w / (total or 1.0) - mean**2, 0.0)
    most = seen.max(axis=1).toarray().ravel() if seen.shape[1] else np.full(len(mean), -np.inf)
    has_gaps = np.zeros(len(mean), dtype=bool)
    entries = np.full(len(mean), total)
    return Moments(total, entries, mean, variance, seen.shape[1], has_gaps, has_weights, most)


class Plan(NamedTuple):
    """What a fit is about, in the engine's units."""

    model: EMModel
    units: Affine
    starts: list[Start]  # the most that are tried
    data: Data
    part: Data | None  # of the data, to race on; None for all
    size: float  # what lower_bound_ is per
    log_volume: float  # of the user's unit, of all data
    rows: Batch | None = None  # what starts are made from, in the engine's units
    n_rows: int = 0  # of all data
    n_observed: float = 0  # observations that count: distinct rows, steps, or rows with weight
    exchangeable: bool = True  # whether nothing but their estimates tells components apart
    unit: float = 1.0  # weight of the data that counts as one observation
    part_unit: float = 1.0  # the same of the part
    part_share: float = 1.0  # of the weight of all data that the part has
    part_model: EMModel | None = None  # what is fitted to the part, where that is not the same
    again: Callable[[LatentPair], list[Start]] | None = (
        None  # starts for what a fit raced on a part does not explain
    )
    some: Callable[[], Data] | None = None  # some of the data, to find the rate of EM on
    raised: Callable[[float], Plan] | None = None  # the plan with another ridge

    cooling: tuple[float, ...] = ()  # inverse temperatures below 1 that each start goes through first
    # The plan and the result in all features, where the race is in the coordinates of fewer.
    lifted: Callable[[RaceResult], tuple[Plan, RaceResult]] | None = None

    def volume(self, on_part: bool) -> float:
        """Log volume of the user's unit, of the part or of all data."""
        return self.log_volume * (self.part_share if on_part else 1.0)


def all_or_nothing(fit: Method) -> Method:
    """Decorate ``fit`` or ``partial_fit``: if it does not return, the estimator is as it was before."""
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def guarded_fit(self, *args, **kwargs):
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:  # would name the class that defines fit, which may be private
            raise TypeError(f"{type(self).__name__}.{fit.__name__}() {error}") from None
        before = dict(self.__dict__)
        try:
            with intended_underflow():
                return fit(self, *args, **kwargs)
        except BaseException:
            callbacks = {k: v for k, v in self.__dict__.items() if "callback" in k}
            self.__dict__.clear()
            self.__dict__.update(before)
            self.__dict__.update(callbacks)  # scikit-learn takes these down itself
            raise

    return guarded_fit


class EMMixin(ByHand, Inferring, CallbackSupportMixin, BaseEstimator):
    """Validation, units, progress and warnings common to all estimators fitted by EM.

    An estimator adds its parameters, the model, its starts and its attributes.
    """

    _floor_matters = True  # whether what the data force onto a family's floor is worth a warning
    # What holds where an estimator has no parameters for that.
    assignment: Any = "soft"
    annealing: Any = False
    ranking: Any = "evidence"
    warm_start: Any = False
    n_jobs: Any = None
    verbose: Any = 0
    _default_schedule: tuple[float, ...] = (0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
    _of_chain: tuple[str, ...] = ()  # what `mean_parameters_` holds, by names that `from_parameters` takes

    converged_: bool
    n_iter_: int
    log_likelihood_: float
    lower_bound_: float
    lower_bounds_: list[float]
    extrapolated_: list[bool]
    gap_: float
    restarts_: Restarts
    mean_parameters_: dict[str, Any]
    n_parameters_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def _check_X(self, X, *, reset, allow_nan=True):
        """Rows as a float array, NaN where an entry is missing; bad ones are named before any work is done."""
        return read_rows(self, X, reset=reset, allow_nan=allow_nan)

    def _column_name(self, column):
        return column_name(getattr(self, "feature_names_in_", None), column)

    def _column_numbers(self, columns, what="columns"):
        """Numbers of features from numbers, names or a mask, which the user gave as ``what``."""
        return find_columns(columns, getattr(self, "feature_names_in_", None), self.n_features_in_, what)

    def _check_weight(self, sample_weight, X, *, of_all=True):
        """Weights as float64, or None."""
        return check_weight(sample_weight, X.shape[0], of_all=of_all)

    def _moments(self, data):
        """First pass: mean and variance of each feature, merged batch by batch (Chan et al., 1979).

        Missing entries are left out. A feature without any entry has mean and variance 0.
        """
        moments = None
        for of_batch in data.map(moments_of):
            moments = of_batch if moments is None else moments.joined(of_batch)
        if moments is None or not moments.weight:
            raise ValueError("sample_weight is zero for every row: nothing is left to fit.")
        return moments

    def _choose_units(self, moments, family, near=np.inf):
        """Shift and scale that free the fit of units of measurement, and which features are constant.

        Parameters
        ----------
        moments : Moments
        family : Emission
        near : ndarray of shape (d,), default=inf
            Standard deviations as most rows tell them from those around them (`near_spread`): scales are no
            larger than a hundred times that, however far away others lie.
        """
        # A constant column has no scale of its own: its size serves, so that a change of unit still cancels.
        eps = np.finfo(np.float64).eps
        constant = np.sqrt(moments.variance) <= 4 * eps * np.abs(moments.mean)
        size = np.where(moments.mean == 0, 1.0, np.abs(moments.mean))
        scale = family.units(np.where(constant, 0.0, np.minimum(moments.variance, (FAR * near) ** 2)))
        has_unit = ~np.isnan(scale)
        # Through the family as well: what has one unit for all features has one for all of them here too.
        scale = np.where(has_unit, np.where(scale > 0, scale, family.units(size**2)), 1.0)
        beyond = ~((scale > 1e-140) & (scale < 1e140) & np.isfinite(moments.mean))
        if beyond.any():
            column = int(np.argmax(beyond))
            raise ValueError(
                f"{self._column_name(column)} has a scale of {scale[column]:.3g}, whose square is beyond "
                "floating point. Give it in another unit."
            )
        return Affine(np.where(has_unit, moments.mean, 0.0), scale), constant

    def _bound(self, family, some, moments, size, entries=None):
        """A family bound to the data; warns of what they force onto its floor.

        Parameters
        ----------
        family : Emission
        some : Batch
            Rows, in the engine's units.
        moments : Moments
            Of all rows.
        size : float
            How many ``some`` stand for.
        entries : callable, default=None
            ``entries(j)`` are those of a feature in all rows that count; None: as in ``some``.
        """
        names = tuple(map(self._column_name, range(len(moments.most))))
        family = family.bound_to(Sketch(some, moments.most, moments.n_rows, size, names, entries))
        forced = [names[j] for j in sorted(family.forced_columns())]
        if forced and self._floor_matters:
            listed = ", ".join(forced[:10]) + (f" and {len(forced) - 10} more" if forced[10:] else "")
            n_distinct = len(np.unique(some.x[:, ~np.isnan(some.x).all(axis=0)], axis=1).T)
            self._warn(
                f"X is constant or linearly dependent in {listed} ({n_distinct} distinct rows, {len(names)} "
                "columns), or nearly so beside an outlier or such a floor: covariances rest on the floor set "
                f"by reg_covar={max(self.reg_covar, LEAST_FLOOR):g}."
            )
        return family

    def _warn(self, message, category=ConvergenceWarning):
        warn(message, category)

    def _check_distinct_rows(self, n_rows, sample):
        if len(sample.weight) < self.n_components:
            drawn = len(sample.positions)
            where = "of them" if drawn == n_rows else f"in an even sample of {drawn}"
            raise ValueError(
                f"n_components={self.n_components} needs at least as many distinct rows, but X has "
                f"n_samples={n_rows} rows with weight, {len(sample.weight)} {where} distinct. "
                "Reduce n_components."
            )

    def _rng(self, random_state):
        """A source of draws: what a call was given, or that of the estimator."""
        return check_random_state(self.random_state if random_state is None else random_state)

    def _check_counts(self, weight):
        """Warn where weights do not count rows, for what takes their sum for the sample size."""
        weight = gathered(weight)
        if weight is not None and 0 < np.max(weight) < 1:
            self._warn(
                f"The sample size of BIC is the sum of sample_weight, {np.sum(weight):.6g}, for {len(weight)} "
                "weights of which none reaches 1. Scale them to say how often each counts.",
                UserWarning,
            )

    @contextmanager
    def _progress(self, plan, X, y):
        """A report for the race: scikit-learn's callbacks (fit → start → iteration) and ``verbose``."""
        context = self._init_callback_context(max_subtasks=len(plan.starts), sequential_subtasks=False)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        starts, pace = {}, Pace(plan.data, plan.part, len(plan.starts), self.tol)
        spoke = self._began = time.perf_counter()
        if self.verbose and (where := plan.data.described()):
            self._print(where)

        def report(number, kind, iterate, on_part):
            nonlocal spoke
            pace.see(number, on_part)
            if number not in starts:
                starts[number] = context.subcontext(
                    task_name=f"start ({kind})", task_id=number, max_subtasks=None
                )
                starts[number].call_on_fit_task_begin(estimator=self, X=X, y=y)
            if self.verbose > 1 or (self.verbose and time.perf_counter() - spoke > BETWEEN_LINES):
                spoke = time.perf_counter()
                mark = ", extrapolated" if iterate.extrapolated else ""
                objective = iterate.objective - plan.volume(on_part)
                speed = pace.in_words(iterate, on_part)
                self._print(f"start {number} ({kind}): objective {objective:.6f}{mark}{speed}")
            step = starts[number].subcontext(task_name="iteration")
            step.call_on_fit_task_begin(estimator=self, X=X, y=y)
            return step.call_on_fit_task_end(
                estimator=self,
                X=X,
                y=y,
                reconstruction_attributes={"_taken": (plan.model, iterate.params, plan.units)},
            )

        watched = self.verbose > 0 or bool(getattr(self, "_skl_callbacks", None))
        yield report if watched else None
        for start in starts.values():
            start.call_on_fit_task_end(estimator=self, X=X, y=y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)

    @property
    def _taken(self):
        """Model, parameters and units that were taken: set where callbacks ask for a fit that ended earlier."""
        return self._model, self._params, self._units

    @_taken.setter
    def _taken(self, fitted):
        self._take(*fitted)

    def _print(self, line):
        print(f"[{time.perf_counter() - self._began:6.1f} s] {line}")

    def _log_volume_of(self, data):
        """Log volume of the user's unit, of the entries of data in the engine's units."""

        def entries(batch):
            if batch.is_sparse:
                return np.full(batch.x.shape[0], batch.total_weight)
            present = ~np.isnan(batch.x)
            return present.sum(axis=1) if batch.weight is None else present @ batch.weight

        return float(data.sum(entries) @ np.log(self._units.scale))

    # -- the fit -----------------------------------------------------------------------------------------

    def _check_ways(self):
        """Refuse ways to fit that cannot go together."""
        schedule = self._schedule()
        if schedule and self.warm_start:
            raise ValueError(
                "warm_start=True goes on from the last fit, which annealing would melt: drop one of them."
            )
        if schedule and not self.max_iter:
            raise ValueError(
                "max_iter=0 evaluates the starts as they are, which annealing would melt: drop one of them."
            )
        given = self._places_given() if schedule else []
        if given:
            tell = "tells" if len(given) == 1 else "tell"
            raise ValueError(
                f"{' and '.join(given)} {tell} where components begin, which annealing would melt: drop one or "
                "the other."
            )
        if self.assignment == "sampled" and self.acceleration not in ("auto", "none"):
            raise ValueError(
                f"acceleration={self.acceleration!r} extrapolates what converges, but assignment='sampled' "
                "makes a chain of draws: leave it at 'auto'."
            )

    def _places_given(self):
        """Names of the parameters by which a user said where components begin, of those that may move."""
        return []

    def _schedule(self):
        """Inverse temperatures of `annealing`, the last one 1; none without."""
        if isinstance(self.annealing, (bool, np.bool_)):
            return self._default_schedule if self.annealing else ()
        schedule = read_array("annealing", self.annealing, finite=True, advice="Give inverse temperatures.")
        shown = f"annealing={schedule.tolist()}"
        if schedule.ndim != 1 or not len(schedule):
            raise ValueError(f"{shown} is no schedule: give inverse temperatures, one after another.")
        if schedule.min() <= 0 or schedule.max() > 1:
            raise ValueError(f"{shown} must lie in (0, 1]: these are inverse temperatures.")
        if (np.diff(schedule) <= 0).any():
            raise ValueError(f"{shown} must increase: it is the temperature that falls.")
        if schedule[-1] != 1:
            raise ValueError(f"{shown} must end at 1, where the likelihood is what it is.")
        return tuple(schedule.tolist())

    def _as_asked(self, plan):
        """The plan with the assignment and the annealing that were asked for.

        Starts are made, and cooled, with soft assignments.
        """
        soft, on_part = plan.model, plan.part_model or plan.model
        if self.assignment == "soft" and not self._schedule():
            return plan
        rng = check_random_state(self.random_state)
        seed, *seeds = rng.randint(np.iinfo(np.int32).max, size=1 + len(plan.starts)).tolist()
        cooling, ground = self._schedule()[:-1], plan.data if plan.part is None else plan.part
        if cooling:

            def cooled(start, seed):
                def make():
                    return cool(on_part, start.make(), ground, cooling, COOLING_STEPS, seed)

                return start._replace(make=make, make_each=None)

            plan = plan._replace(starts=list(map(cooled, plan.starts, seeds)))
        if self.assignment == "soft":
            return plan
        asked = {"assignment": self.assignment, "seed": seed}
        return plan._replace(model=replace(soft, **asked), part_model=replace(on_part, **asked))

    def _fit(self, plan, X, y):
        """Race the starts of a plan, and take what comes out."""
        plan = self._as_asked(plan)
        guide = vars(self).pop("_guide", None)
        self._is_guided = guide is not None
        if guide is not None:
            plan = plan._replace(starts=guide(plan))
        result = self._race(plan, X, y)
        instead = self._plan_instead(plan, result.best)
        if instead is not None:
            plan, result = instead, self._race(instead, X, y)
        if plan.lifted is not None:
            plan, result = plan.lifted(result)
        params, mean, order = result.best.params, result.best.mean, None
        if plan.model.is_random and mean is None:
            mean = params
        if plan.exchangeable:
            order = self._order(plan, params)
            latent, family = plan.model.latent, plan.model.family
            params = LatentPair(latent.reorder(params.latent, order), family.reorder(params.family, order))
            if mean is not None:
                mean = LatentPair(latent.reorder(mean.latent, order), family.reorder(mean.family, order))
        self._take(plan.model, params, plan.units)
        self._take_mean(mean)
        self._publish_race(plan, result)
        self._remember(plan, result.best, order)
        for complaint in self._complaints(plan, result.best):
            self._warn(complaint)
        return self

    def _remember(self, plan, best, order):
        """Keep what of a fit a later call goes on from; components were brought into an ``order``."""

    def _plan_instead(self, plan, best):
        """Another plan, where the best fit of this one will not do; None where it does."""
        return None

    def _order(self, plan, params):
        """The order of components: by weight, the largest first, of equals by the first mean."""
        means, weights = plan.model.family.mean(params.family), params.latent
        order = np.lexsort((means[:, 0], -np.round(weights[: len(means)], 9)))
        return np.append(order, np.arange(len(means), len(weights)))  # what has no parameters stays last

    def _take(self, model, params, units):
        """Take parameters in the engine's units, and publish what follows from them."""
        raise NotImplementedError

    def _take_mean(self, mean):
        """Publish mean parameters of a chain of draws, in the engine's units, if there are any."""
        self._mean = mean
        vars(self).pop("mean_parameters_", None)
        if mean is not None:
            other = copy.copy(self)
            # A mean of covariances that share a part of their form need not be of that form.
            legal = mean._replace(family=self._model.family.nearest_legal(mean.family))
            other._take(self._model, legal, self._units)
            names = [name for name in self._of_chain if hasattr(other, name + "_")]
            self.mean_parameters_ = {name: getattr(other, name + "_") for name in names}

    def _publish(self, fields):
        """Attributes by name, in place of those that were published before."""
        for name in getattr(self, "_published", ()):
            vars(self).pop(name + "_", None)
        for name, value in fields.items():
            vars(self)[name + "_"] = value
        self._published = tuple(fields)

    def _complaints(self, plan, best):
        """What of the fit is not as it should be, in sentences."""
        if not plan.model.is_random:  # a chain neither ends nor reaches maxima
            yield from self._unless_converged(best)
            yield from self._unless_seen()
        yield from self._unless_parted()

    def _unless_parted(self):
        """Components that began the same stay the same; only what a user gives begins so."""
        if len(self.restarts_.starts) > 1 or not isinstance(self._model, LatentModel):
            return
        K = self.n_components
        own = [leaf.reshape(K, -1) for leaf in leaves(self._params.family) if len(leaf) % K == 0]
        same = [  # of one component there is no pair
            (k, j)
            for j in range(K)
            for k in range(j)
            if own and all(np.array_equal(leaf[j], leaf[k]) for leaf in own)
        ]
        if same:
            pairs = ", ".join(f"{k} and {j}" for k, j in same[:3])
            yield (
                f"Components {pairs} began the same, and EM cannot part them: this is a fit of fewer. "
                "Give starting values that differ."
            )

    def _unless_seen(self):
        if self._is_guided:  # such starts tell nothing of those that are drawn at random
            return
        starts, n_best, n_maxima, unseen = self.restarts_
        if len(starts) < ENOUGH_STARTS or not n_maxima:
            return
        if unseen > MANY_UNSEEN and n_best < MANY_AGREE * len(starts):
            yield (
                f"{len(starts)} starts ended at {n_maxima} different maxima, {n_best} of them at the best, and "
                f"about {unseen:.0%} of further ones would end where none did: take this fit for one of many. "
                "Raise n_init, reduce n_components, or choose a simpler model."
            )

    def _unless_converged(self, best, advice="reduce n_components"):
        if best.converged:
            return
        where = f"max_iter={self.max_iter}" if best.reason == "max_iter" else f"iteration {best.n_iter}"
        refused = ""
        if best.reason == "max_iter" and 2 * best.n_iter < self.max_iter:
            refused = f" Of its iterations {best.n_iter} were accepted: the others were refused guesses."
        what = {
            "max_iter": f"Increase max_iter, or {advice}.{refused}",
            "callback": "A callback ended it.",
            "fall": "The next step would have lowered the objective.",
        }
        gap = f"a projected {best.gap:.3g}" if np.isfinite(best.gap) else "an unknown number of"
        # Less than the tolerance is believed where gains shrink at a rate that has settled.
        but = (
            ", or many times as many, since gains do not shrink at a steady rate" if best.gap < self.tol else ""
        )
        yield (
            f"EM stopped short of tol={self.tol}, at {where}, with {gap} nats still to be gained{but}. "
            f"{what[best.reason]}"
        )

    @property
    def _continues(self):
        """Whether a fit begins where the last one ended."""
        return self.warm_start and hasattr(self, "_params")

    def _warm_start(self, model, units, fits, latent=None):
        """The last fit's parameters in new units as the only start.

        ``fits`` says whether they are parameters of the model; ``latent`` takes the place of what is hidden's.
        """
        if not fits:
            raise ValueError(
                "warm_start=True continues the last fit, but that had other features, another n_components or "
                f"another {self._form}. Set warm_start=False."
            )
        family = self._model.family.in_units(self._params.family, self._units)
        family = model.family.nearest_legal(model.family.in_units(family, units.inverse))
        last = LatentPair(self._params.latent if latent is None else latent, family)
        return [Start("warm", lambda: last)]

    def _race(self, plan, X, y):
        """The race of the starts, with progress and print-out."""
        with self._progress(plan, X, y) as report:
            result = race(
                plan.model,
                plan.starts,
                plan.data,
                sample=plan.part,
                sample_model=plan.part_model,
                ranking=self.ranking,
                unit=plan.unit,
                sample_unit=plan.part_unit,
                tol=self.tol,
                max_iter=self.max_iter,
                acceleration=self.acceleration,
                n_jobs=self.n_jobs,
                again=plan.again,
                report=report,
            )
        return result._replace(restarts=result.restarts.less(plan.volume))

    def _publish_race(self, plan, result):
        """Attributes of how the fit went, in the user's units."""
        best = result.best
        self.converged_ = best.converged
        self.n_iter_ = best.n_iter
        self._publish_objective(plan, best)
        self.extrapolated_ = list(best.extrapolated)
        self.gap_ = best.gap
        self.restarts_ = result.restarts
        if self.verbose:
            for number, start in enumerate(result.restarts.starts):
                self._print(
                    f"start {number} ({start.kind}): {start.status} after {start.n_iter} iterations, "
                    f"objective {start.log_likelihood:.4f}, projected {start.limit:.4f}"
                )
            self._print(
                f"{type(self).__name__}: {result.restarts}; objective {best.objective - plan.log_volume:.4f}, "
                f"{best.n_iter} iterations, converged={best.converged}"
            )

    def _publish_objective(self, plan, best):
        """Attributes of what was reached, in the user's units."""
        self._bounds_are_per = plan.size
        self.log_likelihood_ = best.log_likelihood - plan.log_volume
        self.lower_bound_ = self.log_likelihood_ / plan.size
        if getattr(plan.model, "assignment", "soft") == "hard":  # that was of what is seen and hidden together
            with one_blas_thread():
                seen = plan.data.sum(replace(plan.model, assignment="soft").expectation(best.params))
            self.log_likelihood_ = seen.log_likelihood - plan.log_volume
        self.lower_bounds_ = [(value - plan.log_volume) / plan.size for value in best.history]

    def __getstate__(self):
        return {**super().__getstate__(), "_emlearn_version": __version__}

    def __setstate__(self, state):
        version = state.pop("_emlearn_version", "unknown")
        if version != __version__:
            warnings.warn(
                f"{type(self).__name__} was pickled by emlearn {version} and is loaded by {__version__}: "
                "it may not work as it did.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
