"""Mixtures of regressions, and mixtures of experts."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from emlearn._by_hand import as_they_are
from emlearn._input.arrays import as_one_column, read_array
from emlearn._input.pieces import comes_in_pieces, each_piece, gathered, piece_by_piece, read_data
from emlearn._input.sequences import group_codes, read_groups
from emlearn._rare import worst_explained
from emlearn._sample import (
    SAMPLE_ROWS,
    Sample,
    draw_from,
    ground,
    in_units,
    near_spread,
    portfolio,
    unit_of,
)
from emlearn._sklearn_compat import Interval, StrOptions, _fit_context, with_callbacks
from emlearn._typing import RandomState
from emlearn.base import FAR, EMMixin, Plan, all_or_nothing
from emlearn.em import (
    ACCELERATIONS,
    ASSIGNMENTS,
    RANKINGS,
    Affine,
    Batch,
    Batches,
    LatentModel,
    LatentPair,
    SideBySide,
    Start,
    one_blas_thread,
)
from emlearn.em.batches import far_as_impossible
from emlearn.families import (
    COVARIANCE_SHAPES,
    RESPONSES,
    Gaussian,
    MultivariateParams,
    MultivariateRegression,
    Regression,
    RegressionAnd,
    RegressionParams,
    Response,
    UniformNoise,
    ZeroMass,
)
from emlearn.families.regression_and import others_of
from emlearn.inference._estimates import Inference, SeenAgain, read_clusters, weight_of
from emlearn.inference._residuals import PseudoResiduals, residuals_of
from emlearn.latent import Grouped, MixtureWeights, SoftmaxGate
from emlearn.latent.mixture_weights import posterior_of
from emlearn.regression._report import complaints, summarise
from emlearn.regression._starts import PORTFOLIO, GroupedSample, RegressionStarts, read_supposed

# Features are freed of their units one by one.
EACH_ALONE = Gaussian(COVARIANCE_SHAPES["diag"])
BISECTIONS = 200
MOST_PENALTY = 1e300  # no coefficient is left by far less


def _of_rows(latent):
    """How rows are distributed over components, each a group of its own."""
    return latent.latent if isinstance(latent, Grouped) else latent


def _instead(response, y):
    """What a user may have meant by responses that are impossible."""
    if response.is_discrete and y.shape[1] == 1:
        if response.name != "binomial" and (y >= 0).all():
            return (
                " A rate is a count over an exposure: give counts, and the exposure by offset=np.log(exposure)."
            )
        if response.name == "binomial" and (y >= 0).all() and (y <= 1).all():
            return " A share of successes has trials: give the numbers of successes and of failures."
        if response.name == "binomial" and len(np.unique(y)) == 2:
            return f" Encode the two classes as 0 and 1, as in y == {y.max():g}."
    return ""


def _named_alone(cls):
    """Decorate a private class: Python's errors name its public methods without it."""
    for name, method in vars(cls).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            inspect.unwrap(method).__qualname__ = name
    return cls


def _given(**arguments):
    """Names of the arguments that a user gave."""
    return frozenset(name for name, value in arguments.items() if value is not None)


def _less_offset(y, offset, response):
    """Response and offset: normal responses less their offset, so that it has no part in their unit."""
    if offset is not None and response.n_responses > 1:
        raise ValueError(
            f"offset is for one response, but y has {response.n_responses}: subtract from each what is known."
        )
    if offset is None or not response.has_unit:
        return y, offset
    return y - offset[:, None], None


@_named_alone
class _RegressionMixture(EMMixin):
    """What mixtures of regressions and of experts share: all but their weights and how targets are read."""

    coef_: NDArray[Any]
    intercept_: NDArray[Any]
    sigma_: NDArray[Any]
    covariances_: NDArray[Any]
    weights_: NDArray[Any]

    _of_parameters = frozenset({"coef_", "intercept_", "sigma_", "covariances_", "dispersion_", "weights_"})

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "family": [StrOptions(set(RESPONSES)), Response],
        "fit_intercept": ["boolean"],
        "alpha": [Interval(Real, 0.0, None, closed="left")],
        "shared_coef": ["array-like", str, Integral, None],
        "shared_variance": ["boolean"],
        "min_variance_ratio": [Interval(Real, 0.0, 1.0, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "ranking": [StrOptions(set(RANKINGS))],
        "acceleration": [StrOptions(set(ACCELERATIONS))],
        "assignment": [StrOptions(set(ASSIGNMENTS))],
        "annealing": ["boolean", "array-like"],
        "warm_start": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # An offset goes wherever it can. Groups may be meant for cross-validation alone: the user says.
    __metadata_request__fit = {"offset": True}
    __metadata_request__predict = {"offset": True}
    __metadata_request__predict_proba = {"offset": True}
    __metadata_request__score = {"offset": True}
    _portfolio = PORTFOLIO
    _had: frozenset[str] = frozenset()  # what stood beside X and y in the fit
    _weighed: int | None = None  # number of rows of a fit with weights
    _n_targets = 1  # columns of y in the fit
    _undetermined = 0  # how many coefficients and slopes of a gate the rows of the fit do not determine

    @property
    def _response(self):
        response = RESPONSES[self.family] if isinstance(self.family, str) else self.family
        return response.of_columns(self._n_targets)

    # Of those that know no other components.
    zero_inflated: Any = False
    noise: Any = False

    def _of_noise(self):
        """Settings of the family that are about noise."""
        return {"shared_dispersion": self.shared_variance, "least_ratio": self.min_variance_ratio}

    # -- fit ---------------------------------------------------------------------------------------------

    @with_callbacks
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        start_labels: ArrayLike | None = None,
    ) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it
            Rows are observations. A memory-mapped array of floats is read batch by batch. Pieces are arrays, or
            pairs (rows, weights), of what can be read again and again: a list, an object whose ``__iter__``
            starts afresh, or a function that returns a new iterator. What stands beside X comes in pieces of
            the same lengths, or is an array that is cut like X.
        y : array-like of shape (n,), (n, 2) or (n, q)
            Response of each row, for a classifier its class. Two columns are numbers of successes and of
            failures, with ``family="binomial"``; q of them so many responses, with normal noise.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.
        groups : array-like of shape (n,), default=None
            Rows of one group belong to the same component. What prior weights depend on must not vary within
            a group.
        offset : array-like of shape (n,), default=None
            Added to the linear predictor of every component: the logarithm of exposure for counts.
        start_labels : array-like of int of shape (n,), or of float of shape (n, K), default=None
            Components that rows are supposed to be in, where the fit starts, in place of a race: their numbers,
            -1 where nothing is supposed, or probabilities. The fit does not hold to them; components keep their
            numbers. Not of pieces.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or offset have entries that are missing, infinite or not what `family` is about, lengths
            differ, there are fewer distinct rows than components, or a label or parameter is not a legal one.
        """
        self._check_ways()
        supposed = read_supposed(start_labels, X, self.n_components)
        plan = self._plan(self._data(X, y, sample_weight, groups, offset), offset is not None)
        if supposed is not None and not self._continues:
            rows = self._data(X, y, sample_weight, None, offset, fit=False)
            start = Start("given", partial(self._supposed, plan.model, rows, plan.units, supposed))
            plan = plan._replace(starts=[start], exchangeable=False)
        self._fit(plan, X, y)
        self._had = _given(groups=groups, offset=offset)
        self._weighed = plan.n_rows if plan.size != plan.n_rows else None
        return self

    def _supposed(self, model, data, units, resp):
        """Parameters by the components (n, K) that rows are supposed to be in."""
        rng = check_random_state(self.random_state)
        positions, counts = draw_from(data, self._moments(data), SAMPLE_ROWS, rng)
        rows = in_units(data.take(positions), self._affine(units, data.n_features))
        batch = Batch(np.ascontiguousarray(rows.T), counts)
        resp = resp[positions].T * counts
        if others_of(model.family):
            resp = model.family.with_others(batch, resp)
        return LatentPair(_of_rows(model.latent).start(batch, resp), model.family.start(batch, resp))

    def _data(self, X, y, sample_weight, groups, offset, *, fit=True):
        """Design, responses and offsets, side by side; rows of a group together, as a sequence."""
        if comes_in_pieces(X):
            if groups is not None:
                raise ValueError("groups may have rows in several pieces of X: give X as one array with them.")
            self._see_targets(y)

        def read(X, weight, y, offset, first):
            X = self._check_X(X, reset=fit and first is not False, allow_nan=False)
            self._shared_columns()  # refused before any work is done
            gated = self._gated_columns()
            if fit and first is not False:
                self._count_targets(y)
            y = self._read_y(y, X, self._response, reset=fit and first is None)
            weight = self._check_weight(weight, X, of_all=first is None)
            y, offset = _less_offset(y, self._check_offset(offset, X), self._response)
            lengths, order = (None, None) if groups is None else self._read_groups(groups, X, weight, gated)
            if weight is not None and order is not None:
                weight = weight[order]
            return self._table(X, y, offset, order, self.fit_intercept), weight, lengths

        return read_data(read, X, sample_weight, y, offset)

    def _count_targets(self, y):
        """Learn how many columns the responses have, as a user gives them."""
        shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
        self._n_targets = shape[1] if len(shape) == 2 else 1

    def _see_targets(self, y):
        """Learn of the responses what one piece of them cannot tell."""

    def _plan(self, data, has_offset):
        shared, gated = self._shared_columns(), self._gated_columns()
        moments, rng = self._moments(data), check_random_state(self.random_state)
        size = max(SAMPLE_ROWS, 10 * self.n_components * data.n_features)
        if data.lengths is None:
            drawn = draw_from(data, moments, size, rng)
            rows = data.take(drawn[0])
        else:
            positions = np.unique(np.linspace(0, data.n_rows - 1, size).astype(np.intp))
            weight = data.weights()
            drawn = positions, np.ones(len(positions)) if weight is None else weight[positions]
            rows = data.take(positions)
        units = self._units_of(moments, rows, drawn[1])
        of_table = self._affine(units, data.n_features)
        latent = self._choose_latent(gated, units, moments)
        latent = latent if data.lengths is None else Grouped(latent)
        has_offset = has_offset and not self._response.has_unit
        family = self._choose_family(shared, units, has_offset)
        others = self._choose_others(data, units)
        model = LatentModel(latent, RegressionAnd.of(family, others) if others else family)
        if data.lengths is None:
            sample = Sample.of(rows, of_table, drawn, moments.n_rows)
        else:
            sample = GroupedSample.of_groups(data, of_table, size, 10 * self.n_components, rng)
        self._check_rows(moments.n_rows, sample)
        share = 1.0 if sample.is_whole else sample.weight.sum() / moments.weight
        part_model = self._for_share(model, share)
        floats_per_row = model.family.floats_per_row(self.n_components, data.n_features)
        floats_per_row += latent.floats_per_row(self.n_components)
        starts = self._starts(part_model, units, sample, floats_per_row, rng)
        everything = partial(data.recut, units=of_table, n_threads=effective_n_jobs(self.n_jobs))
        whole, part = ground(
            sample, starts, everything, merged=self.assignment != "sampled", floats_per_row=floats_per_row
        )
        unit = unit_of(moments.weight, moments.n_rows)
        return Plan(
            model,
            units,
            starts,
            whole,
            part,
            size=moments.weight,
            log_volume=moments.weight * self._log_unit(units),
            n_rows=data.n_rows,
            n_observed=moments.n_rows,
            rows=sample.batch,
            unit=unit,
            part_unit=sample.unit,
            part_share=sample.weight.sum() / moments.weight,
            again=worst_explained(model, sample.batch, whole, part, unit, rng),
            exchangeable=not self._continues,
            part_model=part_model,
        )

    def _read_y(self, y, X, response, *, reset):
        """Response of each row, (n, 1); or successes and trials, (n, 2)."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: it is the response."
            )
        advice = "For classes see MixtureOfExpertsClassifier."
        if response.name == "binomial":
            advice = f"{advice[:-1]}, or encode them as 0 and 1, as in y == 'yes'."
        y = read_array("y", y, advice=advice)
        check_consistent_length(X, y)
        if not (y.ndim == 2 and y.shape[1] > 1 and response.takes(y.shape[1])):
            y = column_or_1d(as_one_column("y", y))[:, None]
        if response.n_responses != response.of_columns(y.shape[1]).n_responses:
            raise ValueError(
                f"y has {y.shape[1]} columns, but {type(self).__name__} was fitted with "
                f"{response.n_responses}: give as many responses of each row."
            )
        row = int(np.argmax(~np.isfinite(y).all(axis=1)))
        if not np.isfinite(y[row]).all():
            what = "NaN" if np.isnan(y[row]).any() else "infinity"
            raise ValueError(f"Input y contains {what} in row {row}. Leave out rows without a response.")
        possible = response.is_possible(y)
        if not possible.all():
            row = int(np.argmin(possible))
            value = y[row, 0] if y.shape[1] == 1 else y[row].tolist()
            raise ValueError(
                f"With family={response.name!r} y must be {response.support}, but is {value} in row {row}."
                f"{_instead(response, y)}"
            )
        return response.encode(y)

    def _check_offset(self, offset, X):
        if offset is None:
            return None
        offset = read_array("offset", offset, advice="Give one for each row.")
        if np.shape(offset) not in ((len(X),), (len(X), 1)):
            raise ValueError(
                f"offset has shape {np.shape(offset)}, but X has {len(X)} rows: give one number for each row."
            )
        offset = as_one_column("offset", offset)
        row = int(np.argmax(~np.isfinite(offset)))
        if not np.isfinite(offset[row]):
            raise ValueError(
                f"offset is {offset[row]} in row {row}. Leave out rows without one, as where exposure is 0."
            )
        return offset

    def _shared_columns(self):
        """Columns of coef_ that are shared."""
        if self.shared_coef is None or not np.size(self.shared_coef):
            return np.empty(0, dtype=np.int_)
        shared, seen = self._column_numbers(self.shared_coef, "shared_coef"), self._expert_columns()
        unseen = shared[~np.isin(shared, seen)]
        if len(unseen):
            raise ValueError(
                f"shared_coef names {self._column_name(unseen[0])}, which experts do not see. Add it"
                " to expert_features, or leave it out of shared_coef."
            )
        return np.flatnonzero(np.isin(seen, shared))

    def _expert_columns(self):
        """Features that regressions see."""
        return np.arange(self.n_features_in_)

    def _gated_columns(self):
        """Features that the gate sees; None where there is no gate."""
        return None

    def _read_groups(self, groups, X, weight, gated):
        """Lengths of groups and the order that puts them together, without rows that have no weight."""
        lengths, order = read_groups(groups, len(X))
        if weight is not None and not weight.all():
            order = np.arange(len(X)) if order is None else order
            kept = weight[order] > 0
            lengths = np.add.reduceat(kept, np.cumsum(lengths) - lengths)
            lengths, order = lengths[lengths > 0], order[kept]
        first = np.cumsum(lengths) - lengths
        for column in () if gated is None else gated:
            values = X[:, column] if order is None else X[order, column]
            varies = np.maximum.reduceat(values, first) > np.minimum.reduceat(values, first)
            if varies.any():
                raise ValueError(
                    f"The gate sees {self._column_name(column)}, which varies within groups: the component of "
                    "a group can depend only on what its rows have in common. Choose gate_features that do "
                    "not vary, such as means over groups."
                )
        return lengths, order

    def _choose_latent(self, gated, units, moments):
        """How components are weighted."""
        if gated is None:
            return MixtureWeights()
        columns = gated + int(self.fit_intercept)
        of_gate = None
        if not self.fit_intercept:  # the design is not centred, but the gate has an intercept
            of_columns = moments._replace(mean=moments.mean[columns], variance=moments.variance[columns])
            shift, scale = self._choose_units(of_columns, EACH_ALONE)[0]
            of_gate = Affine(shift / units.scale[columns], scale / units.scale[columns])
        return SoftmaxGate(tuple(columns.tolist()), self.gate_alpha, of_gate)

    @staticmethod
    def _for_share(model, share):
        """The model for a share of the data: penalties weigh as much less."""
        return (
            model if share == 1.0 else LatentModel(model.latent.for_share(share), model.family.for_share(share))
        )

    @staticmethod
    def _table(X, y, offset, order, has_intercept):
        """Design, responses and offsets side by side."""
        constant = [np.broadcast_to(1.0, (len(X), 1))] if has_intercept else []
        others = [part for part in (y, offset) if part is not None]
        return SideBySide(*constant, X, *others, order=order)

    def _choose_others(self, data, units):
        """Components that are no regressions."""
        if not (self.zero_inflated or self.noise):
            return ()
        place = self.n_features_in_ + int(self.fit_intercept)

        def of_batch(batch):
            there = slice(None) if batch.weight is None else batch.weight > 0
            y = batch.x[place, there]
            return np.array([y.min(initial=np.inf), -y.max(initial=-np.inf)])

        ends = np.stack(list(data.map(of_batch))).min(axis=0)
        low, high = ends[0], -ends[1]
        if self.zero_inflated:
            if not self._response.is_discrete:
                raise ValueError(
                    f"zero_inflated=True is for counts and successes, but family={self.family!r} has other "
                    "responses: 0 is a number like any other there."
                )
            if low > 0:
                raise ValueError(
                    f"zero_inflated=True, but no response is 0: the least is {low:g}. Set zero_inflated=False."
                )
        if self.noise:
            if self._response.is_discrete:
                raise ValueError(
                    f"noise=True is a uniform component for numbers, but family={self.family!r} has counts. "
                    "Set noise=False."
                )
            if self._response.n_responses > 1:
                raise ValueError(
                    f"noise=True is for one response, but y has {self._response.n_responses}. Set noise=False."
                )
            if not low < high:
                raise ValueError(
                    "noise=True is a component that is uniform on the range of y, but all responses are alike."
                )
        low, high = (np.array([low, high]) - units.shift[-1]) / units.scale[-1]
        return (ZeroMass(),) * bool(self.zero_inflated) + (UniformNoise(low, high),) * bool(self.noise)

    def _units_of(self, moments, rows, counts):
        """Units of the columns of the design and of the response, from moments and from some rows."""
        d, mean, variance = self.n_features_in_, moments.mean, moments.variance
        if not self.fit_intercept:  # about 0: a shift would be an intercept
            mean, variance = np.zeros_like(mean), variance + mean**2
        first = int(self.fit_intercept)
        features = slice(first, first + d)
        of_features = moments._replace(mean=mean[features], variance=variance[features])
        shift, scale = self._choose_units(of_features, EACH_ALONE)[0]
        q = self._response.n_responses
        shift_y, scale_y = np.zeros(q), np.ones(q)
        if self._response.has_unit:
            of_y = slice(first + d, first + d + q)
            shift_y = mean[of_y]
            # Of a response that is far from all others, such as a code for missing values, no unit is made.
            spread = np.minimum(np.sqrt(variance[of_y]), FAR * near_spread(rows[:, of_y], counts))
            constant = spread <= 4 * np.finfo(np.float64).eps * np.abs(shift_y)
            scale_y = np.where(constant, np.where(shift_y != 0, np.abs(shift_y), 1.0), spread)
            beyond = ~((scale_y > 1e-150) & (scale_y < 1e150))
            if beyond.any():
                raise ValueError(
                    f"y has a scale of {scale_y[beyond][0]:.3g}, whose square is beyond floating point. Give "
                    "it in another unit."
                )
        return Affine(np.r_[[0.0] * first, shift, shift_y], np.r_[[1.0] * first, scale, scale_y])

    @staticmethod
    def _affine(units, n_columns):
        """Units of all columns of a table: an offset is measured as the response is, counts have no units."""
        more = n_columns - len(units.shift)
        if more < 0:
            return Affine(units.shift[:n_columns], units.scale[:n_columns])
        return Affine(np.r_[units.shift, np.zeros(more)], np.r_[units.scale, np.full(more, units.scale[-1])])

    def _choose_family(self, shared, units, has_offset):
        first, seen = int(self.fit_intercept), self._expert_columns()
        rows = np.r_[[0] * first, first + seen].astype(np.intp)
        penalty = np.minimum(self.alpha / units.scale[rows] ** 2, MOST_PENALTY)
        penalty[:first] = 0.0
        penalty[shared + first] /= self.n_components  # each of the copies bears its share
        family = Regression(
            self._response,
            len(penalty),
            penalty=tuple(penalty.tolist()) if self.alpha else (),
            shared=tuple((shared + first).tolist()),
            has_offset=has_offset,
            design=() if np.array_equal(rows, np.arange(len(rows))) else tuple(rows.tolist()),
            n_beside=first + self.n_features_in_ - len(rows),
            **self._of_noise(),
        )
        if self._response.n_responses == 1:
            return family
        if len(shared):
            raise ValueError(
                f"shared_coef is for one response, but y has {self._response.n_responses}. Leave it out."
            )
        return MultivariateRegression.of(family, self._response)

    def _check_rows(self, n_rows, sample):
        if not isinstance(sample, GroupedSample):
            self._check_distinct_rows(n_rows, sample)
        elif len(sample.lengths) < self.n_components:
            raise ValueError(
                f"n_components={self.n_components} needs at least as many groups, but there are "
                f"{len(sample.lengths)} with weight. Reduce n_components."
            )

    def _starts(self, model, units, sample, floats_per_row, rng):
        """Starts for the race; or one, where there is only one to make."""
        if self._continues:
            return self._last(model, units)
        make = RegressionStarts(model, self.n_components, sample, floats_per_row)
        # As many free coefficients as rows explain all of them: nothing is left to tell components apart by.
        explained = not self.alpha and len(sample.rows) <= model.family.n_columns
        if (self.n_components == 1 and not self.noise) or explained:
            return [Start("all", make.everything)]
        return portfolio(make.start, self._portfolio, self.n_init, rng)

    _form = "family or kind of variance"

    def _last(self, model, units):
        """The last fit's parameters in new units, as the only start."""
        latent, params = self._params
        new, old = model.family, self._model.family
        fits = (len(self.coef_), len(self._units.shift)) == (self.n_components, len(units.shift))
        fits = fits and (new.n_columns, new.design, new.response) == (
            old.n_columns,
            old.design,
            old.response,
        )
        fits = fits and others_of(new) == others_of(old)
        fits = fits and new.n_dispersions(self.n_components) == len(params.dispersion)
        fits = fits and self._has_same_latent(model)
        if fits:
            latent = self._latent_in_new_units(latent, model, units)
        return self._warm_start(model, units, fits, latent)

    def _has_same_latent(self, model):
        return True

    def _latent_in_new_units(self, latent, model, units):
        return latent

    def _order(self, plan, params):
        return self._by_share(params, params.latent)

    @staticmethod
    def _by_share(params, shares):
        """Order of the components by their shares, largest first; what is no regression stays last."""
        first = params.family.coef[:, 0]
        return np.r_[np.lexsort((first, -np.round(shares[: len(first)], 9))), len(first) : len(shares)]

    def _take(self, model, params, units):
        self._model, self._params, self._units = model, params, units
        family = model.family.in_units(params.family, units)
        self._publish(model.family.published(family, int(self.fit_intercept)))
        self._take_latent(params.latent)
        n_parameters = model.latent.n_parameters(params.latent) + model.family.n_parameters(params.family)
        self.n_parameters_ = n_parameters - self._undetermined

    def _take_latent(self, latent):
        """Attributes of how components are weighted."""
        vars(self)["weights_"] = latent.copy()

    def _divergence(self, other):
        # In units of the features' spread, which parameters by hand do not know.
        units = self._units if hasattr(self, "restarts_") else other._units
        if len(self._units.shift) != len(other._units.shift):
            raise ValueError(
                f"fit_intercept is {self.fit_intercept} in one, {other.fit_intercept} in the other."
            )
        mine, theirs = (
            fitted._model.family.in_units(
                fitted._model.family.in_units(fitted._params.family, fitted._units), units.inverse
            )
            for fitted in (self, other)
        )
        return self._model.family.divergence(mine, other._model.family, theirs)

    @classmethod
    def _of_coefficients(cls, coef, intercept, sigma, feature_names, params, n_features=None):
        """An estimator, its family and parameters of that, from what a user gave."""
        dispersion = params.pop("dispersion", None)
        covariances = params.pop("covariances", None)
        coef = read_array("coef", coef, finite=True, advice="Give a row for each component.")
        K = len(coef)
        estimator = cls._of_legal(K, params)
        several = coef.ndim == 3 and coef.shape[1] > 1 and estimator._response.takes(coef.shape[1])
        if coef.ndim != 2 and not several:
            raise ValueError(
                f"coef has shape {coef.shape}; expected (K, d), a row for each component, or with normal noise "
                "(K, q, d) for q responses."
            )
        estimator._n_targets = coef.shape[1] if several else 1
        estimator._know_features(n_features or coef.shape[-1], feature_names)
        d, seen = estimator.n_features_in_, estimator._expert_columns()
        if coef.shape[-1] != len(seen):
            raise ValueError(
                f"coef has shape {coef.shape}, but experts see {len(seen)} of {d} features: see "
                "expert_features."
            )
        constant = np.zeros(coef.shape[:-1])
        if intercept is not None:
            constant = read_array("intercept", intercept, shapes=[constant.shape], finite=True)
        if not estimator.fit_intercept and constant.any():
            raise ValueError("intercept is not 0, but fit_intercept=False: drop one of them.")
        units = as_they_are(d + estimator._response.n_responses + int(estimator.fit_intercept))
        shared = estimator._shared_columns()
        if len(shared) and (coef[:, shared] != coef[0, shared]).any():
            raise ValueError("coef of the features in shared_coef must be the same in all components.")
        family = estimator._choose_family(shared, units, False)
        if estimator.noise:
            raise ValueError(
                "noise=True has the range of the responses, which parameters do not tell: set noise=False, or "
                "fit."
            )
        if estimator.zero_inflated:
            family = RegressionAnd.of(family, (ZeroMass(),))
        design = (
            np.concatenate([constant[..., None], coef], axis=-1) if estimator.fit_intercept else coef.copy()
        )
        if several:
            if sigma is not None or dispersion is not None:
                raise ValueError("The noise of several responses is given by covariances.")
            noise = _read_covariances(covariances, family, K)
            return estimator, family, MultivariateParams(design.reshape(K, -1), *noise), units
        if covariances is not None:
            raise ValueError("covariances are for several responses: coef must then have shape (K, q, d).")
        noise = np.ones(family.n_dispersions(K))
        if family.response.has_unit:
            noise = _read_noise(sigma, K, len(noise)) ** 2
        elif sigma is not None:
            raise ValueError(f"sigma is for normal noise, but family={family.response.name!r} has none.")
        elif family.response.has_dispersion:
            noise = _read_noise(dispersion, K, len(noise), "dispersion", "the dispersion of each component")
        if dispersion is not None and (family.response.has_unit or not family.response.has_dispersion):
            raise ValueError(
                f"dispersion is for counts and gamma, but family={family.response.name!r} has none."
            )
        return estimator, family, RegressionParams(design, noise), units

    _summarise = staticmethod(summarise)

    def _publish_race(self, plan, result):
        super()._publish_race(plan, result)
        with one_blas_thread():
            self._summary = plan.data.sum(self._summarise(plan.model, self._params))
            n_undetermined = self._summary.n_undetermined(self._model.family)
        self.n_parameters_ += self._undetermined - n_undetermined
        self._undetermined = n_undetermined

    def _complaints(self, plan, best):
        summary = vars(self).pop("_summary")
        with one_blas_thread():
            told = list(complaints(self, summary, plan.size / plan.n_observed, plan.size))
        yield from told
        yield from super()._complaints(plan, best)

    # -- after fit ---------------------------------------------------------------------------------------

    def _check_as_fitted(self, **given):
        """Refuse to judge responses without what the fit knew of them: another model would be the judge."""
        check_is_fitted(self)
        advice = {
            "groups": "groups=, np.arange(len(X)) where each row is a group of its own",
            "offset": "offset=, zeros where there is none",
        }
        for name, value in given.items():
            if value is None and name in self._had:
                raise ValueError(
                    f"The fit had {name}, and this call has none: it would judge the responses by another "
                    f"model. Give {advice[name]}. In a search or cross-validation {name} must come by metadata "
                    "routing: see set_fit_request, and emlearn.metrics for scorers that ask for it."
                )

    def _map_rows(self, X, function, y=None, offset=None, floats_per_row=0, seen=None):
        """``function(batch, family)`` of each batch, gathered over the rows of X, which come first.

        The function gives an array (..., m), or several in a tuple, and works on so many floats per row beside
        those of an E-step. ``seen`` are log-densities (n, K) of what was seen of the group of each row before.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False, allow_nan=False)
        offset = self._check_offset(offset, X)
        if y is not None:
            response = self._model.family.response
            y, offset = _less_offset(self._read_y(y, X, response, reset=False), offset, response)
        elif offset is not None:  # stands where a response would
            y = np.zeros((len(X), 1))
        family = replace(self._model.family, has_offset=offset is not None)
        units, n_before = self._units, self._n_before
        features = X
        if seen is not None:  # beside the features, where regressions do not look
            features = SideBySide(X, seen)
            family = replace(family, n_beside=family.n_beside + seen.shape[1])
            none = np.zeros(seen.shape[1])
            units = Affine(*(np.insert(u, n_before, none + one) for u, one in zip(units, (0, 1), strict=True)))
        table = self._table(features, y, offset, None, n_before > X.shape[1])
        units = self._affine(units, table.shape[1])
        batches = Batches(
            table,
            floats_per_row=floats_per_row + family.floats_per_row(len(self.coef_), table.shape[1]),
            units=units if y is None and not hasattr(self, "gate_features_") else units.bounded,
            n_threads=effective_n_jobs(self.n_jobs),
        )
        with one_blas_thread():
            parts = list(batches.map(lambda batch: function(batch, family)))
        if isinstance(parts[0], tuple):
            return tuple(np.concatenate(part, axis=-1).T for part in zip(*parts, strict=True))
        return np.concatenate(parts, axis=-1).T

    def _estimated(self):
        names = [f"{name}_" for name in self._published]
        if not self.fit_intercept:
            names.remove("intercept_")
        return (*names, *self._of_latent)

    _of_latent: tuple[str, ...] = ("weights_",)

    @property
    def _fits_groups(self):
        return isinstance(self._model.latent, Grouped)

    def _seen_again(self, X, y=None, sample_weight=None, groups=None, offset=None):
        clusters = None if self._fits_groups else groups
        self._check_as_fitted(groups=groups if self._fits_groups else None, offset=offset)
        data = self._data(X, y, sample_weight, groups if self._fits_groups else None, offset, fit=False)
        family, latent = self._model.family, self._model.latent
        data = data.recut(
            units=self._affine(self._units, data.n_features),
            floats_per_row=family.floats_per_row(len(self.coef_), data.n_features)
            + latent.floats_per_row(len(self.coef_)),
            n_threads=effective_n_jobs(self.n_jobs),
        )
        size = weight_of(data)
        return SeenAgain(data, size * self._log_unit(self._units), size, read_clusters(clusters, data.n_rows))

    def _drawn_anew(self, X, given, rng):
        """Responses drawn from the model."""
        if self._fits_groups:
            raise ValueError(
                "Responses of groups cannot be drawn from the model: draw groups, by kind='weights'."
            )
        drawn, _ = self.sample(X, offset=given.get("offset"), random_state=rng)
        return X, {**given, "y": drawn}

    def _prior(self, batch, family=None):
        """Weights (K, m) before the responses of the batch are seen; of a family, with what was seen before."""
        prior = self._log_prior(batch)
        family = self._model.family if family is None else family
        stop = self._n_before + family.n_beside - self._model.family.n_beside
        seen = batch.x[self._n_before : stop]
        return np.exp(prior) if not len(seen) else posterior_of(prior + seen)[0]

    @property
    def _latent(self):
        """How rows are distributed over components, each a group of its own."""
        return _of_rows(self._model.latent)

    @property
    def _n_before(self):
        """Number of columns of a table before the responses."""
        return len(self._units.shift) - self._model.family.response.n_responses

    @property
    def _of_y(self):
        """Shift and scale of the response, numbers; of several (q, 1)."""
        q = self._model.family.response.n_responses
        return (part[-1] if q == 1 else part[-q:, None] for part in self._units)

    def _log_unit(self, units):
        """Logarithm of the volume of the responses' units."""
        return float(np.log(units.scale[-self._response.n_responses :]).sum())

    def _means(self, batch, family):
        """Mean response of each component, (K, m), or means of several, (K, q, m)."""
        eta = family.linear_predictor(self._params.family, batch)
        shift, scale = self._of_y
        return family.predictive.mean(eta) * scale + shift

    def _mixture_mean(self, X, offset, groups=None, history=None):
        return self._map_rows(
            X,
            lambda batch, family: _mixed(self._prior(batch, family), self._means(batch, family)),
            offset=offset,
            seen=self._seen_before(X, groups, history),
        )

    def _seen_before(self, X, groups, history):
        """Log-densities (n, K) of the responses seen before of the group of each row; None without any."""
        if history is None:
            if groups is not None:
                raise ValueError(
                    "groups say nothing without responses of theirs: give history=(X, y, groups), rows of "
                    "these groups whose responses are known."
                )
            return None
        if groups is None:
            raise ValueError("history tells of groups: say by groups= to which of them each row of X belongs.")
        if not isinstance(history, (tuple, list)) or len(history) not in (3, 4):
            raise ValueError("history must be (X, y, groups), or (X, y, groups, offset).")
        known, y, of_known, *more = history
        offset = more[0] if more else None
        self._check_as_fitted(offset=offset)
        log_prob = self._map_rows(known, self._log_prob, y, offset)
        asked = len(self._check_X(X, reset=False))
        for what, of_rows, n in (("history has groups", of_known, len(log_prob)), ("groups", groups, asked)):
            if np.shape(of_rows) != (n,):
                raise ValueError(
                    f"{what} of shape {np.shape(of_rows)} beside {n} rows: give one group for each row."
                )
        gated = getattr(self, "gate_features_", None)
        self._read_groups(groups, self._check_X(X, reset=False), None, gated)
        together = [*np.asarray(of_known, dtype=object).tolist(), *np.asarray(groups, dtype=object).tolist()]
        codes = group_codes(together)
        total = np.zeros((codes.max() + 1, log_prob.shape[1]))
        np.add.at(total, codes[: len(log_prob)], log_prob)
        total -= np.maximum(total.max(axis=1, keepdims=True), -np.finfo(np.float64).max)
        return total[codes[len(log_prob) :]]

    @piece_by_piece("offset")
    def predict_components(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """Mean response of each component.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None

        Returns
        -------
        means : ndarray of shape (n, K), or (n, K, q) of several responses
            In the unit of y; of binomial responses the probability of success.
        """
        return np.moveaxis(self._map_rows(X, self._means, offset=offset), -1, 1)

    @piece_by_piece("y", "offset")
    def component_proba(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        history: Any = None,
        by_group: bool = False,
    ) -> NDArray[np.float64]:
        """Probability of each component: prior weights, or responsibilities once y is known.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,), default=None
            Responses, or classes; without them the probabilities are those of the mixture's weights, or of its
            gate.
        groups : array-like of shape (n,), default=None
            Rows of one group share their component.
        offset : array-like of shape (n,), default=None
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows of the groups whose responses were seen before.
        by_group : bool, default=False
            One row for each group, in the order in which they appear, in place of one for each row.

        Returns
        -------
        proba : ndarray of shape (n, K), or (n_groups, K)
            Rows sum to 1.
        """
        if by_group and groups is None:
            raise ValueError("by_group=True asks for a row for each group: give groups.")
        if y is None and history is None and groups is not None:
            raise ValueError("groups say nothing without y: give y too, or a history of theirs.")
        seen = self._seen_before(X, groups, history) if y is None or history is not None else None
        if y is None:
            proba = self._map_rows(X, self._prior, offset=offset, seen=seen)
            return proba[np.unique(group_codes(groups), return_index=True)[1]] if by_group else proba
        self._check_as_fitted(groups=groups, offset=offset)
        resp, _, codes = self._posterior(X, y, None, groups, offset, seen)
        return resp if codes is None or by_group else resp[codes]

    def _posterior(self, X, y, weight, groups, offset, seen=None):
        """Responsibilities (u, K) and log evidence (u,) of rows, or of groups with the group of each row.

        What was seen of groups before is evidence too, but not counted.
        """
        if groups is None:

            def of_rows(batch, family):
                return posterior_of(self._log_prob(batch, family) + self._log_prior(batch))

            resp, evidence = self._map_rows(X, of_rows, y, offset)
            return resp, evidence, None
        log_prob, prior = self._map_rows(
            X, lambda batch, family: (self._log_prob(batch, family), self._log_prior(batch)), y, offset
        )
        if weight is not None:
            log_prob *= weight[:, None]
        gated = getattr(self, "gate_features_", None)
        lengths, order = self._read_groups(groups, self._check_X(X, reset=False), weight, gated)
        order = np.arange(len(log_prob)) if order is None else order
        first = np.cumsum(lengths) - lengths
        of_groups = np.add.reduceat(log_prob[order], first) + prior[order[first]]
        if seen is not None:
            of_groups += seen[order[first]]
        resp, evidence = posterior_of(of_groups.T.copy())
        codes = np.zeros(len(log_prob), dtype=np.intp)
        codes[order] = np.repeat(np.arange(len(lengths)), lengths)
        return resp.T, evidence, codes

    def _log_prob(self, batch, family):
        """Log-densities of the responses in the user's unit, component by component, (K, m)."""
        seen = family.density(self._params.family)(batch)
        return seen.log_prob + seen.shared_log_prob() - self._log_unit(self._units)

    def _log_prior(self, batch):
        """Log prior weights, (K, m)."""
        log_weights = self._latent.log_weights(self._params.latent, batch)
        return np.broadcast_to(log_weights, (len(log_weights), batch.x.shape[1]))

    @piece_by_piece("y", "offset")
    def score_samples(
        self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Log-density of each response given its row, or of all responses of each group given their rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
        groups : array-like of shape (n,), default=None
            Rows of one group share their component.
        offset : array-like of shape (n,), default=None

        Returns
        -------
        log_density : ndarray of shape (n,), or (n_groups,) in the order in which groups appear
            In nats, with respect to the unit of y.
        """
        self._check_as_fitted(groups=groups, offset=offset)
        return far_as_impossible(self._posterior(X, y, None, groups, offset)[1])

    def aic(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> float:
        """Akaike's information criterion, smaller is better.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
        offset : array-like of shape (n,), default=None

        Returns
        -------
        aic : float
        """
        self._check_weighed(X, sample_weight)
        return -2 * self._total(X, y, sample_weight, groups, offset)[0] + 2 * self.n_parameters_

    def bic(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> float:
        """Bayesian information criterion, smaller is better (Schwarz, 1978).

        The sample size is the number of rows, in groups too.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
        offset : array-like of shape (n,), default=None

        Returns
        -------
        bic : float
        """
        self._check_weighed(X, sample_weight)
        log_likelihood, size, _ = self._total(X, y, sample_weight, groups, offset)
        self._check_counts(sample_weight)
        return -2 * log_likelihood + self.n_parameters_ * np.log(size)

    def icl(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> float:
        """Integrated completed likelihood, smaller is better.

        BIC plus twice the entropy of the responsibilities: it counts components that are apart (Biernacki,
        Celeux & Govaert, 2000).

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
        offset : array-like of shape (n,), default=None

        Returns
        -------
        icl : float
        """
        self._check_weighed(X, sample_weight)
        log_likelihood, size, entropy = self._total(X, y, sample_weight, groups, offset)
        return -2 * log_likelihood + self.n_parameters_ * np.log(size) + 2 * entropy

    def _check_weighed(self, X, sample_weight):
        """Warn where a criterion of a weighted fit is asked for without weights."""
        check_is_fitted(self)
        if sample_weight is None and not comes_in_pieces(X) and np.shape(X)[:1] == (self._weighed,):
            self._warn(
                "The fit had sample_weight, and this call has none: every row counts once here, and the "
                "criterion is not that of the fit. Give sample_weight=.",
                UserWarning,
            )

    def _mean_log_density(self, X, y, sample_weight=None, *, groups=None, offset=None):
        """Mean log-density of the responses, by weight."""
        log_likelihood, size, _ = self._total(X, y, sample_weight, groups, offset)
        return log_likelihood / size

    def _total(self, X, y, sample_weight, groups, offset):
        """Log-likelihood, total weight and entropy of the responsibilities."""
        if comes_in_pieces(X):

            def of_piece(rows, weight, y, offset):
                return self._total(rows, y, weight, groups, offset)

            parts = each_piece(of_piece, X, sample_weight, y, offset)
            return tuple(map(sum, zip(*parts, strict=True)))
        self._check_as_fitted(groups=groups, offset=offset)
        weight = self._check_weight(sample_weight, X)
        resp, evidence, _ = self._posterior(X, y, weight, groups, offset)
        entropy = special.entr(resp).sum(axis=1)
        size = float(len(y) if weight is None else weight.sum())
        # Groups count once each; those without weight are not there.
        counts = np.ones(len(evidence)) if weight is None or groups is not None else weight
        return float(evidence @ counts), size, float(entropy @ counts)

    def sample(
        self, X: Any, *, offset: ArrayLike | None = None, random_state: RandomState = None
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw a response for each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        y : ndarray of shape (n,), or (n, q)
            Of binomial responses one trial each.
        components : ndarray of int of shape (n,)
            The components they were drawn from.
        """
        prior, eta = self._map_rows(
            X,
            lambda batch, family: (
                self._prior(batch, family),
                family.linear_predictor(self._params.family, batch),
            ),
            offset=offset,
        )
        rng = self._rng(random_state)
        cumulative = prior.cumsum(axis=1)[:, :-1]
        components = (rng.uniform(size=(len(prior), 1)) > cumulative).sum(axis=1)
        rows = np.arange(len(prior))
        own = np.minimum(components, eta.shape[-1] - 1)
        y = self._model.family.draw(self._params.family, eta[rows, ..., own].T, own, rng)
        for k, other in enumerate(others_of(self._model.family), eta.shape[-1]):
            y = np.where(components == k, other.draw(len(y), rng), y)
        shift, scale = self._of_y
        return self._of_response((y * scale + shift).T), components

    def _of_response(self, y):
        """Responses as the user gives them."""
        return y


def _read_covariances(given, family, K):
    """Dispersions and coefficients of each response on those before it, from covariances that a user gave."""
    normal, C = family.normal, family.n_dispersions(K)
    q, diagonal = normal.n_responses, normal.covariance_type == "diag"
    if given is None:
        raise ValueError("covariances must be given: those of the noise of each component.")
    given = read_array("covariances", given, shapes=[(K, q) if diagonal else (K, q, q)], finite=True)
    structure = COVARIANCE_SHAPES[normal.covariance_type]
    structure.refuse(given, q)
    if C < K and not np.allclose(given, given[0]):
        raise ValueError("covariances must be the same in all components where shared_variance=True.")
    return normal.of_covariance(structure.dense(given[:C], q))


def _mixed(prior, of_components):
    """Means over components, by their probabilities (K, m), of what is of each, (K, ..., m)."""
    return np.einsum("km,k...m->...m", prior, of_components)


def _read_noise(given, K, n_dispersions, name="sigma", what="the standard deviation of each component's noise"):
    """As many numbers as the family has dispersions, from one for each component that a user gave."""
    if given is None:
        raise ValueError(f"{name} must be given: {what}.")
    given = read_array(name, given, shapes=[(K,)], finite=True)
    if not (given > 0).all():
        raise ValueError(f"{name} must be positive; the least is {given.min():.6g}.")
    if n_dispersions < K and not np.allclose(given, given[0]):
        raise ValueError(f"{name} must be the same in all components where shared_variance=True.")
    return given[:n_dispersions]


@_named_alone
class _MixtureRegressor(RegressorMixin, _RegressionMixture):
    """Predictions of a response that is a number."""

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[False] = False,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[True],
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: Inference,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...

    @piece_by_piece("offset", "groups")
    def predict(
        self,
        X: Any,
        return_std: bool | Inference = False,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], ...]:
        """Mean response: that of the mixture, over components and noise.

        Parameters
        ----------
        X : array-like of shape (n, d)
        return_std : bool or Inference, default=False
            Whether to return standard deviations too. What `infer` gives for the data of the fit tells besides
            how well the mean is known.
        offset : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
            With a history, the group of each row. Rows of groups that it does not tell of are as without it.
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows whose responses are known, and their groups: what these say of a group's component says how its
            other rows will respond.

        Returns
        -------
        mean : ndarray of shape (n,), or (n, q) of several responses
            In the unit of y; of binomial responses the probability of success.
        std : ndarray of shape (n,), or (n, q)
            Standard deviation of a response about its mean, the noise: without the uncertainty of the fit
            itself. Only with ``return_std``.
        error : ndarray of shape (n,), or (n, q)
            Standard error of the mean, of estimation alone: a new response is off by the root of
            ``std**2 + error**2``. Only where ``return_std`` is an `Inference`.

        Raises
        ------
        ValueError
            If ``return_std`` is the inference of another fit.

        Examples
        --------
        >>> from emlearn import MixtureOfLinearRegressions
        >>> from emlearn.datasets import load_tone_perception
        >>> tones = load_tone_perception()
        >>> mixture = MixtureOfLinearRegressions(n_components=2, random_state=0).fit(tones.data, tones.target)
        >>> mean, std, error = mixture.predict([[2.5]], return_std=mixture.infer(tones.data, tones.target))
        >>> print(f"{mean[0]:.2f}, noise {std[0]:.2f}, estimation {error[0]:.3f}")
        2.16, noise 0.22, estimation 0.023
        """
        if not return_std:
            return self._mixture_mean(X, offset, groups, history)

        def moments(batch, family):
            eta = family.linear_predictor(self._params.family, batch)
            prior, means = self._prior(batch, family), self._means(batch, family)
            _, scale = self._of_y
            mean, within = _mixed(prior, means), family.variance(self._params.family, eta) * scale**2
            return mean, np.sqrt(_mixed(prior, within + (means - mean) ** 2))

        found = self._map_rows(X, moments, offset=offset, seen=self._seen_before(X, groups, history))
        if isinstance(return_std, Inference):

            def means(fitted):
                return fitted._mixture_mean(X, offset, groups, history)

            found = *found, return_std._errors_of_predictions(self, means)
        return found

    @piece_by_piece("y", "offset")
    def predict_proba(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        history: Any = None,
        by_group: bool = False,
    ) -> NDArray[np.float64]:
        """Probability of each component: the same as `component_proba`.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
            Rows of one group share their component.
        offset : array-like of shape (n,), default=None
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows of the groups whose responses were seen before.
        by_group : bool, default=False
            One row for each group, in the order in which they appear, in place of one for each row.

        Returns
        -------
        proba : ndarray of shape (n, K), or (n_groups, K)
        """
        return self.component_proba(X, y, groups=groups, offset=offset, history=history, by_group=by_group)

    @piece_by_piece("offset", "groups")
    def predict_quantiles(
        self,
        X: Any,
        q: ArrayLike,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[np.float64]:
        """Quantiles of the response: of the mixture, components and noise together.

        The uncertainty of the fit itself is not in them.

        Parameters
        ----------
        X : array-like of shape (n, d)
        q : float or array-like of shape (m,)
            Probabilities between 0 and 1.
        offset : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
            With a history, the group of each row. Rows of groups that it does not tell of are as without it.
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows whose responses are known, and their groups: what these say of a group's component says how its
            other rows will respond.

        Returns
        -------
        quantiles : ndarray of shape (n, m), or (n,) for a number q
            Of several responses (n, q, m), or (n, q). Least responses whose distribution function is q or more,
            in the unit of y.
        """
        levels = np.asarray(q, dtype=np.float64)
        if levels.ndim > 1 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q={q!r}: quantiles are for probabilities between 0 and 1.")

        def of_batch(batch, family):
            eta = family.linear_predictor(self._params.family, batch)
            prior, of_responses = self._prior(batch, family), family.marginals(self._params.family, eta)
            found = [self._invert(own, prior, np.atleast_1d(levels)).T for own in of_responses]
            shift, scale = self._of_y
            found = found[0] if len(found) == 1 else np.stack(found, axis=1)
            return found * scale + shift

        floats_per_row = 4 * self.coef_[..., 0].size * max(levels.size, 1)
        seen = self._seen_before(X, groups, history)
        quantiles = self._map_rows(X, of_batch, offset=offset, floats_per_row=floats_per_row, seen=seen)
        return quantiles if levels.ndim else quantiles[..., 0]

    def _invert(self, marginal, prior, levels):
        """Quantiles (m, q) by bisection, between the least and the greatest of the components' own."""
        response, eta, dispersion = marginal
        dispersion = dispersion[:, None, None]
        prior, eta, levels = prior[:, :, None], eta[:, :, None], levels[None, None]
        own = response.quantile(levels, eta, dispersion)
        low, high = own.min(axis=0), own.max(axis=0)
        if response.is_discrete:
            low = low - 1.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            if response.is_discrete:
                middle = np.floor(middle)
            if ((middle <= low) | (middle >= high)).all():
                break
            above = (prior * response.cumulative(middle, eta, dispersion)).sum(axis=0) >= levels[0]
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return high

    @piece_by_piece("offset", "groups")
    def predict_interval(
        self,
        X: Any,
        coverage: float = 0.95,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[np.float64]:
        """Interval that holds the response with a given probability.

        The uncertainty of the fit itself is not in it.

        Parameters
        ----------
        X : array-like of shape (n, d)
        coverage : float, default=0.95
            Probability between 0 and 1; as much is left out on either side.
        offset : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
            With a history, the group of each row. Rows of groups that it does not tell of are as without it.
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows whose responses are known, and their groups: what these say of a group's component says how its
            other rows will respond.

        Returns
        -------
        interval : ndarray of shape (n, 2), or (n, q, 2) of several responses
            Each on its own. Lower and upper ends, in the unit of y.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage={coverage!r}: give a probability between 0 and 1.")
        ends = [(1 - coverage) / 2, (1 + coverage) / 2]
        return self.predict_quantiles(X, ends, offset=offset, groups=groups, history=history)

    def pseudo_residuals(self, X: Any, y: ArrayLike, *, offset: ArrayLike | None = None) -> PseudoResiduals:
        """How far out each response lies in its distribution, on a normal scale.

        Those of one normal regression are residuals over the standard deviation of the noise. Components count
        by their weights before the response is seen. See `emlearn.display.ResidualDisplay`, which draws them.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,), or of shape (n, 2) for successes and failures
        offset : array-like of shape (n,), default=None

        Returns
        -------
        residuals : PseudoResiduals
            `low`, `mid` and `high`, each of shape (n,), or (n, q) of several responses, each by itself.

        References
        ----------
        Dunn & Smyth (1996), Randomized quantile residuals, J. Comput. Graph. Stat. 5.
        """
        self._check_as_fitted(offset=offset)

        def of_batch(batch, family):
            eta, responses = family.linear_predictor(self._params.family, batch), family.split(batch)[1]
            tails = family.response_tails(self._params.family, eta, responses)
            return residuals_of(self._prior(batch, family), tails)

        return PseudoResiduals(*self._map_rows(X, of_batch, y, offset))

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, offset: ArrayLike | None = None
    ) -> float:
        """Coefficient of determination R² of the mean response.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,), (n, 2) for successes and failures, or (n, q)
        sample_weight : array-like of shape (n,), default=None
        offset : array-like of shape (n,), default=None

        Returns
        -------
        score : float
            Of two columns that of the shares of success, each counted by its number of trials; of several
            responses the mean of theirs.
        """
        self._check_as_fitted(offset=offset)
        predicted, y = gathered(self.predict(X, offset=offset)), np.asarray(gathered(y))
        sample_weight = gathered(sample_weight)
        if y.ndim == 2 and y.shape[1] == 2 and self._model.family.response.n_responses == 1:
            trials = y.sum(axis=1)
            sample_weight = trials if sample_weight is None else trials * np.asarray(sample_weight)
            y = y[:, 0] / np.where(trials > 0, trials, 1)
        return float(r2_score(y, predicted, sample_weight=sample_weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._response.takes(3)
        return tags
