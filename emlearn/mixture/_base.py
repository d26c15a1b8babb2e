"""What estimators of mixtures of rows share: reading, starts on a part, predictions row by row."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emlearn._online import Rows, Streaming, rows_of_batch
from emlearn._rare import worst_explained
from emlearn._sample import SAMPLE_ROWS, Sample, draw_evenly, ground, near_spread, unit_of
from emlearn._sklearn_compat import _fit_context, with_callbacks
from emlearn.base import EMMixin, Plan, all_or_nothing
from emlearn.em import Batches, LatentModel, one_blas_thread
from emlearn.latent import MixtureWeights


class MixtureOfRows(Streaming, DensityMixin, EMMixin):
    """Shell of mixtures of Gaussians. A subclass says what is fitted, from where, and what is published."""

    # -- fit ---------------------------------------------------------------------------------------------

    @with_callbacks
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations; NaN is a missing entry. A memory-mapped array of floats is read batch by
            batch.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X has infinite entries, a column of NaN, or fewer distinct rows than components, or a parameter,
            starting value or weight is not a legal one.
        """
        self._check_ways()
        X = self._check_X(X, reset=True)
        return self._fit(self._plan(X, self._check_weight(sample_weight, X)), X, y)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from more rows of a stream.

        The first rows are kept, and a race is run on them again whenever they are twice as many, until there
        are 2000 or ten for each parameter, whichever is more. From then on rows are seen once, by stepwise EM
        (Cappé & Moulines, 2009), in the units and within the bounds that the last race has chosen. After `fit`
        it goes on from there. Predictions and scores are of the model as it stands after each call.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations; NaN is a missing entry. The first batch must hold at least as many distinct
            rows as there are components, and two.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        self : object
            The estimator. `n_rows_seen_` says how many rows it has seen; what only a fit can tell, as
            `converged_` and `lower_bound_`, is of the last race, and absent once rows are seen but once.

        Raises
        ------
        ValueError
            If the first batch is too small, a later one has other features, or an entry, a weight or a
            parameter is not a legal one. The estimator is then as it was before.

        See Also
        --------
        emlearn.em.fit_em_online : The same for models of your own.
        """
        self._check_ways()
        self._check_stream()
        X = self._check_X(X, reset=self._begins)
        return self._take_in(Rows(X, weight=self._check_weight(sample_weight, X)))

    def _fit_to(self, rows):
        self._fit(self._plan(rows.X, rows.weight), rows.X, None)

    def _batches_of(self, model, rows):
        floats_per_row = model.family.floats_per_row(self.n_components, rows.X.shape[1])
        cut = rows_of_batch(floats_per_row)
        return model, Batches(rows.X, rows.weight, units=self._units, rows=cut)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.intp]:
        """Fit the mixture and return the most probable component of each row, (n,)."""
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    def _plan(self, X, weight):
        d = X.shape[1]
        family = self._family()
        moments = self._moments(X, weight)
        if not moments.entries.all():
            column = self._column_name(int(np.argmin(moments.entries)))
            raise ValueError(f"X has nothing but NaN in {column}: leave it out.")
        rng = check_random_state(self.random_state)
        size = max(SAMPLE_ROWS, 10 * self.n_components * (1 + family.size(d)))
        positions, counts = drawn = draw_evenly(len(X), weight, size, rng)
        near = near_spread(X[positions], counts)
        units, _ = self._choose_units(moments, family, near)
        self._look_at_spread(X, weight, moments, near)
        sample = Sample.of(X, weight, units, drawn)
        if self._needs_distinct_rows:
            self._check_distinct_rows(moments.n_rows, sample)
        family = self._bound(
            family, sample.batch, np.nanmax(sample.rows, axis=0), len(sample.rows), sample.size
        )
        sample = self._part_of(sample, moments.weight)
        everything = partial(Batches, X, weight, units=units, n_threads=effective_n_jobs(self.n_jobs))
        cut = {"floats_per_row": family.floats_per_row(self.n_components, d)}
        model = self._model_of(family, moments, units, partial(everything, **cut))
        if self._continues:
            starts = self._warm_start(model, units, self._fits_last(model, d))
        else:
            starts = self._starts(model, sample, X, weight, units, rng)
        data, part = ground(sample, starts, everything, merged=self.assignment != "sampled", **cut)
        log_volume = moments.entries @ np.log(units.scale)
        unit = unit_of(moments.weight, moments.n_rows)
        self._dtype = X.dtype
        return Plan(
            model,
            units,
            starts,
            data,
            part,
            size=moments.weight,
            log_volume=log_volume,
            n_observed=len(sample.rows),
            unit=unit,
            part_unit=sample.unit,
            part_share=sample.counts.sum() / moments.weight,
            again=worst_explained(model, sample.batch, data, part, unit, rng) if self._is_alike else None,
            exchangeable=self._is_alike and not (self._continues or self._gives_order),
        )

    _form = "covariance_type"
    _needs_distinct_rows = True
    _is_alike = True  # whether nothing is known of a component that is not known of all

    def _family(self):
        """The family of the components, before it knows any data."""
        raise NotImplementedError

    def _look_at_spread(self, X, weight, moments, near):
        """See whether values lie far from those that are close together, of standard deviations ``near``."""

    def _model_of(self, family, moments, units, everything):
        """What is fitted, in the engine's units; ``family`` knows the data, which ``everything`` makes."""
        return LatentModel(MixtureWeights(), family)

    def _part_of(self, sample, total):
        """The sample as what starts and the race look at, of a whole of this weight."""
        return sample

    @property
    def _gives_order(self):
        """Whether the user's starting values tell which component is which."""
        raise NotImplementedError

    def _starts(self, model, sample, X, weight, units, rng):
        """Starts in the engine's units, as many as may be tried."""
        raise NotImplementedError

    def _fits_last(self, model, d):
        """Whether the last fit's parameters are some of the model's."""
        weights, family = self._params
        same_size = len(weights) == self.n_components and family.means.shape[1] == d
        return same_size and model.family.has_form_of(self._model.family)

    # -- after fit ---------------------------------------------------------------------------------------

    def _resp_of_rows(self, params):
        """Function of a batch that gives responsibilities, (m, K)."""
        density, latent = self._model.family.density(params.family), self._model.latent
        return lambda batch: latent.resp(params.latent, density(batch).log_prob)[0].T

    def _log_density_of(self, params):
        """Function of a batch that gives log-densities, (m,), in the engine's units."""
        density, latent = self._model.family.density(params.family), self._model.latent

        def log_density(batch):
            seen = density(batch)
            return latent.resp(params.latent, seen.log_prob)[1] + seen.shared_log_prob()

        return log_density

    def _map_rows(self, X, of_parameters):
        """What the function ``of_parameters(params)`` gives of each batch, gathered over the rows of X."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        batches = Batches(
            X,
            floats_per_row=self._model.family.floats_per_row(self._n_fitted, X.shape[1]),
            units=self._units,
            n_threads=effective_n_jobs(self.n_jobs),
        )
        with one_blas_thread():
            return np.concatenate(list(batches.map(of_parameters(self._params))))

    def predict(self, X: Any) -> NDArray[np.intp]:
        """Most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        labels : ndarray of int of shape (n,)
        """
        return self._map_rows(X, self._resp_of_rows).argmax(axis=1)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Responsibilities: posterior probability of each component.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        resp : ndarray of shape (n, K)
            Rows sum to 1.
        """
        return self._map_rows(X, self._resp_of_rows)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        log_density : ndarray of shape (n,)
            In nats, with respect to the units of X.
        """

        def of_parameters(params):
            log_scale = np.log(self._units.scale)
            log_density = self._log_density_of(params)

            def of_batch(batch):
                complete = not np.isnan(batch.x.sum())  # a cheap first look
                volume = log_scale.sum() if complete else log_scale @ ~np.isnan(batch.x)
                return log_density(batch) - volume

            return of_batch

        return self._map_rows(X, of_parameters)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log-density per row.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : Ignored
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        score : float
            In nats.
        """
        log_density = self.score_samples(X)
        return float(np.average(log_density, weights=self._check_weight(sample_weight, log_density)))

    def _total_score(self, X, sample_weight):
        log_density = self.score_samples(X)
        weight = self._check_weight(sample_weight, log_density)
        if weight is None:
            return float(log_density.sum()), len(log_density)
        return float(log_density @ weight), float(weight.sum())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
