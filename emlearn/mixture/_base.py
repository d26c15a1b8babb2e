"""What estimators of mixtures of rows share: reading, starts on a part, predictions row by row."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special
from sklearn.base import DensityMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from emlearn._emissions.entries import entries_of
from emlearn._emissions.words import parts_of
from emlearn._input.pieces import comes_in_pieces, piece_by_piece, read_data
from emlearn._input.tables import read_table
from emlearn._online import Rows, Streaming, rows_of_batch
from emlearn._rare import worst_explained
from emlearn._sample import SAMPLE_ROWS, Sample, draw_with_known, ground, near_spread, unit_of
from emlearn._sklearn_compat import _fit_context, with_callbacks
from emlearn._spikes import spikes
from emlearn.base import EMMixin, Plan, all_or_nothing
from emlearn.em import Batches, LatentModel, one_blas_thread
from emlearn.em.batches import far_as_impossible
from emlearn.families.base import unwrapped
from emlearn.families.few_rows import FewRows
from emlearn.families.gaussian import Gaussian
from emlearn.families.with_noise import GivenDensity, UniformBox, WithNoise, with_claim
from emlearn.inference._estimates import SeenAgain, read_clusters, weight_of
from emlearn.latent import MixtureWeights
from emlearn.mixture._conditional import moments_given
from emlearn.mixture._labels import read_labels
from emlearn.mixture._starts import GivenParams, choose_starts, gives_order

# Starts of a race that none can win by evidence: one of each kind.
ENOUGH_OF_LUCK = 10
# Rows that tell how dense what a mixture draws is.
DRAWS = 10_000


class MixtureOfRows(Streaming, DensityMixin, EMMixin):
    """Shell of mixtures. A subclass says what is fitted, from where, and what is published."""

    # -- fit ---------------------------------------------------------------------------------------------

    @with_callbacks
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, labels: ArrayLike | None = None
    ) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it
            Rows are observations; NaN is a missing entry. A memory-mapped array of floats is read batch by
            batch. Sparse rows, of `scipy.sparse`, are for emissions of `MixtureEM` that take them: multinomial,
            poisson, bernoulli. Pieces are arrays, or pairs (rows, weights), of what can be read again and
            again: a list, an object whose ``__iter__`` starts afresh, as of `emlearn.em.from_parquet`, or a
            function that returns a new iterator.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n,), or pieces of it, default=None
            How often each row counts.
        labels : array-like of int of shape (n,), or of bool of shape (n, K), default=None
            Components that are known: their numbers, -1 (or NaN) where they are not; or which are possible.
            Components then keep these numbers, and log-likelihoods of the fit are of rows and labels. They are
            not taken from ``y``, which pipelines and searches pass whatever it is for: a mixture that is made
            from the answers is another one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X has infinite entries, a column of NaN, or fewer distinct rows than components, or a parameter,
            starting value or weight is not a legal one, or pieces cannot be read again.
        """
        self._check_ways()
        if labels is None:
            return self._fit(self._plan(self._data(X, sample_weight)), X, y)
        if comes_in_pieces(X):
            raise ValueError(
                "labels stand beside rows in memory, but X comes in pieces: give one array of all."
            )
        if not isinstance(self.init_params, str) or self.init_params != "auto":
            raise ValueError("labels say where components begin: leave init_params at 'auto'.")
        if self._is_noisy:
            raise ValueError("labels are of components, of which noise is none: set noise=False, or drop them.")
        data = self._data(X, sample_weight)
        labels = read_labels(labels, data.n_rows, self.n_components)
        data = Batches(data.take(np.arange(data.n_rows)), data.weights(), labels=labels)
        return self._fit(self._plan(data, labels), X, y)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from more rows of a stream.

        The first rows are kept, and a race is run on them again whenever they are twice as many, until there
        are 5000 or ten for each parameter, whichever is more. From then on rows are seen once, by stepwise EM
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
        if sparse.issparse(X):
            raise ValueError("X is sparse: partial_fit takes arrays. Give each batch as one, by toarray().")
        X = self._check_X(X, reset=self._begins)
        return self._take_in(Rows(X, weight=self._check_weight(sample_weight, X, of_all=self._begins)))

    def _fit_to(self, rows):
        self._dtype = rows.X.dtype
        self._fit(self._plan(Batches(rows.X, rows.weight)), rows.X, None)

    def _batches_of(self, model, rows):
        floats_per_row = model.family.floats_per_row(self.n_components, rows.X.shape[1])
        cut = rows_of_batch(floats_per_row)
        return model, Batches(rows.X, rows.weight, units=self._units, rows=cut)

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, labels: ArrayLike | None = None
    ) -> NDArray[np.intp]:
        """Fit the mixture and return the most probable component of each row, (n,), whatever its label."""
        return self.fit(X, y, sample_weight=sample_weight, labels=labels).predict(X)

    def _data(self, X, sample_weight, *, fit=True, **beside):
        """What is fitted, or looked at after a fit; what stands ``beside`` goes to whoever reads rows."""

        def read(X, weight, first):
            if sparse.issparse(X) and first is not None:
                raise ValueError("it is sparse. Give one table of all, as by scipy.sparse.vstack, or arrays.")
            X = self._check_X(X, reset=fit and first is not False, **beside)
            if fit and first is not False:
                self._dtype = X.dtype
            return X, self._check_weight(weight, X, of_all=first is None)

        return read_data(read, X, sample_weight)

    def _plan(self, data, labels=None):
        d = data.n_features
        family = self._family()
        self._knew_labels = labels is not None
        moments = self._moments(data)
        if not moments.entries.all():
            column = self._column_name(int(np.argmin(moments.entries)))
            raise ValueError(f"X has nothing but NaN in {column}: leave it out.")
        rng = check_random_state(self.random_state)
        size = max(SAMPLE_ROWS, 10 * self.n_components * (1 + family.size(d)))
        if data.is_sparse:  # what a part of the rows lacks would begin, and so remain, impossible
            size = data.n_rows
        weight = data.weights() if moments.has_weights else None
        drawn = positions, counts = draw_with_known(data.n_rows, weight, labels, size, rng)
        rows = data.take(positions)
        near = near_spread(rows, counts)
        units, _ = self._choose_units(moments, family, near)
        self._look_at_spread(rows, counts, data, moments, near)
        sample = Sample.of(rows, units, drawn, moments.n_rows, None if labels is None else labels[positions])
        if self._needs_distinct_rows:
            self._check_distinct_rows(moments.n_rows, sample)
        family = self._bound(family, sample.batch, moments, sample.size, partial(_entries_of, data))
        self._refuse_data(data, family)
        sample = self._part_of(sample, moments.weight)
        everything = partial(data.recut, units=units, n_threads=effective_n_jobs(self.n_jobs))
        cut = {"floats_per_row": family.floats_per_row(self.n_components, d)}
        given = self._given(family, sample, data, units)
        model = self._model_of(given.family, moments, units, partial(everything, **cut))
        if self._is_noisy:
            noise = self._noise_of(data, given.family, units)
            model = replace(model, family=WithNoise(given.family.beside_others(), noise))
        few = None if self._continues else self._few_rows(family, sample)
        if self._continues:
            fits = self._fits_last(model, sample)
            starts = self._warm_start(model, units, fits, self._last_latent(model, units) if fits else None)
        elif few is None:
            starts = self._starts(model, sample, data, units, given, rng)
        else:
            of_few, coordinates = replace(model, family=few.family), replace(sample, rows=few.rows(sample.rows))
            starts = self._starts(of_few, coordinates, data, units, given, rng)
            if self.ranking == "evidence" and few.is_all_luck(self.n_components):
                starts = starts[:ENOUGH_OF_LUCK]
        whole, part = ground(sample, starts, everything, merged=self.assignment != "sampled", **cut)
        log_volume = moments.entries @ np.log(units.scale)
        unit = unit_of(moments.weight, moments.n_rows)
        plan = Plan(
            model,
            units,
            starts,
            whole,
            part,
            size=moments.weight,
            log_volume=log_volume,
            n_rows=data.n_rows,
            n_observed=len(sample.weight),
            rows=sample.batch if few is None else None,
            unit=unit,
            part_unit=sample.unit,
            part_share=sample.counts.sum() / moments.weight,
            again=worst_explained(model, sample.batch, whole, part, unit, rng) if self._is_alike else None,
            exchangeable=self._is_alike and labels is None and not (self._continues or self._gives_order),
        )
        if few is None:
            return plan

        def lifted(result):
            params = result.best.params
            params = params._replace(family=few.params(params.family))
            with one_blas_thread():
                seen = whole.sum(model.expectation(params))
            best = result.best._replace(params=params, stats=seen.stats)
            return plan._replace(log_volume=of_rows), result._replace(best=best)

        of_rows = log_volume + few.log_volume * moments.weight
        cut = {"floats_per_row": few.family.floats_per_row(self.n_components, few.basis.shape[1])}
        return plan._replace(model=of_few, data=coordinates.batches(**cut), log_volume=of_rows, lifted=lifted)

    def _few_rows(self, family, sample):
        """What rows fewer than features span, where the fit may be in its coordinates."""
        return None

    noise: Any = False

    @property
    def _is_noisy(self):
        return callable(self.noise) or bool(self.noise)

    def _noise_of(self, data, family, units):
        """What the noise is, in the engine's units."""
        if callable(self.noise):
            return GivenDensity(self.noise, units)
        ends = np.stack(list(data.map(_ends))).min(axis=0)
        low, high = (np.array([ends[0], -ends[1]]) - units.shift) / units.scale
        aside = self._columns_aside(data.n_features)
        low[aside], high[aside] = 0.0, 1.0
        no_numbers = np.isnan(family.units(np.ones(len(low))))
        no_numbers[aside] = False
        for bad, what in (
            (no_numbers, "{} has counts or categories, or numbers of one sign, shares or angles: give noise"),
            (low >= high, "all entries of {} are alike: leave it out, or give noise"),
        ):
            if bad.any():
                named = what.format(self._column_name(int(np.argmax(bad))))
                raise ValueError(
                    f"noise=True is uniform on the box of the data, but {named} a function that tells "
                    "log-densities."
                )
        return UniformBox(low, high)

    def _columns_aside(self, n_features):
        """Numbers of columns that have no density."""
        return []

    _form = "covariance_type"
    _needs_distinct_rows = True
    _is_alike = True  # whether nothing is known of a component that is not known of all

    def _family(self):
        """The family of the components, before it knows any data."""
        raise NotImplementedError

    def _refuse_data(self, data, family):
        """Refuse rows that a family, which knows the data, has no density for."""

    def _given(self, family, sample, data, units):
        """Starting values that the user gave, in the engine's units, and the family as far as it is free."""
        return GivenParams.check(self, data.n_features, units, family)

    def _look_at_spread(self, rows, counts, data, moments, near):
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

    def _starts(self, model, sample, data, units, given, rng):
        """Starts in the engine's units, as many as may be tried; ``given`` as of `_given`."""
        raise NotImplementedError

    def _fits_last(self, model, sample):
        """Whether the last fit's parameters are some of the model's."""
        weights, family = self._params
        n_others = model.family.n_others
        fits = len(weights) == self.n_components + n_others and n_others == self._model.family.n_others
        fits = fits and family.means.shape[1] == sample.rows.shape[1]
        return fits and unwrapped(model.family).has_form_of(unwrapped(self._model.family))

    def _last_latent(self, model, units):
        """The last fit's parameters of what is hidden, in the engine's units."""
        return self._params.latent

    # -- after fit ---------------------------------------------------------------------------------------

    def _seen_again(self, X, y=None, sample_weight=None, groups=None):
        if vars(self).get("_knew_labels"):
            raise ValueError(
                "The fit knew components of some rows by labels, without which its likelihood has another "
                "maximum: errors of such a fit are not told."
            )
        data = self._cut(self._data_again(X, sample_weight))
        return SeenAgain(data, self._log_volume_of(data), weight_of(data), read_clusters(groups, data.n_rows))

    def _drawn_anew(self, X, given, rng):
        """As many rows drawn from the model, with gaps where X has them."""
        X = self._check_X(X, reset=False)
        drawn = self.sample(len(X), random_state=rng)[0]
        drawn = drawn[rng.permutation(len(drawn))]  # they come component by component
        drawn[np.isnan(X)] = np.nan
        return drawn, given

    def _resp_of_rows(self, params):
        """Function of a batch that gives responsibilities, (m, K)."""
        density, latent = self._model.family.density(params.family), self._model.latent
        return lambda batch: latent.resp(params.latent, density(batch).log_prob, batch)[0].T

    def _log_density_of(self, params):
        """Function of a batch that gives log-densities, (m,), in the engine's units."""
        density, latent = self._model.family.density(params.family), self._model.latent

        def log_density(batch):
            seen = density(batch)
            return latent.resp(params.latent, seen.log_prob, batch)[1] + seen.shared_log_prob()

        return log_density

    def _map_rows(self, X, of_parameters):
        """What the function ``of_parameters(params)`` gives of each batch, gathered over the rows of X."""
        check_is_fitted(self)
        return self._map_data(self._data_again(X), of_parameters)

    def _map_data(self, data, of_parameters):
        """The same of data in the user's units."""
        with one_blas_thread():
            return np.concatenate(list(self._cut(data).map(of_parameters(self._params))))

    def _data_again(self, X, sample_weight=None):
        """Rows to look at after a fit, in the user's units."""
        return self._data(X, sample_weight, fit=False)

    def _cut(self, data):
        """Data in the engine's units, cut as the model likes them."""
        return data.recut(
            floats_per_row=self._model.family.floats_per_row(self._n_fitted, data.n_features),
            units=self._units.bounded,
            n_threads=effective_n_jobs(self.n_jobs),
        )

    @piece_by_piece()
    def predict(self, X: Any) -> NDArray[np.intp]:
        """Most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it

        Returns
        -------
        labels : ndarray of int of shape (n,), or an iterable of such
            Of pieces those of each, made when they are asked for.
        """
        return self._map_rows(X, self._resp_of_rows).argmax(axis=1)

    @piece_by_piece()
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Responsibilities: posterior probability of each component.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it

        Returns
        -------
        resp : ndarray of shape (n, K), or an iterable of such
            Rows sum to 1. Of pieces those of each, made when they are asked for.
        """
        return self._map_rows(X, self._resp_of_rows)

    @piece_by_piece()
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it

        Returns
        -------
        log_density : ndarray of shape (n,), or an iterable of such
            In nats, with respect to the units of X. Of pieces those of each, made when they are asked for.
        """
        return far_as_impossible(self._map_rows(X, self._log_density_in_units))

    def _log_density_in_units(self, params):
        """Function of a batch that gives log-densities, (m,), in the user's units."""
        log_scale = np.log(self._units.scale)
        log_density = self._log_density_of(params)

        def of_batch(batch):
            complete = not np.isnan(batch.x.sum())  # a cheap first look
            volume = log_scale.sum() if complete else log_scale @ ~np.isnan(batch.x)
            return log_density(batch) - volume

        return of_batch

    @piece_by_piece()
    def outlier_scores(self, X: Any) -> NDArray[np.float64]:
        """How far out each row lies: minus its log-density.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it

        Returns
        -------
        scores : ndarray of shape (n,), or an iterable of such
            In nats, with respect to the units of X; the larger, the farther out. Rows with missing entries have
            the density of the others, and are comparable with such alone.
        """
        return -self.score_samples(X)

    def is_outlier(self, X: Any, share: float | None = None) -> NDArray[np.bool_]:
        """Which rows are outliers.

        Parameters
        ----------
        X : array-like of shape (n, d)
        share : float, default=None
            An outlier is less dense than all but this share of what the model draws, where that lacks the same
            entries: outside of the smallest region of probability 1 - share (Hyndman, 1996). None, for fits
            with `noise`: an outlier is noise with a probability of more than one half.

        Returns
        -------
        is_outlier : ndarray of bool of shape (n,)

        Raises
        ------
        ValueError
            If ``share`` is not between 0 and 1, or not given where the fit has no noise.
        """
        check_is_fitted(self)
        if share is None:
            if not self._model.family.n_others:
                raise ValueError("share must be given where a fit has no noise: give it, or fit with noise.")
            return self.predict_proba(X)[:, -1] > 0.5
        if not 0 < share < 1:
            raise ValueError(f"share={share} must be between 0 and 1.")
        scores = self.outlier_scores(X)
        missing = np.isnan(self._check_X(X, reset=False))
        patterns, which = np.unique(missing, axis=0, return_inverse=True)
        drawn = np.asarray(self.sample(DRAWS, random_state=0)[0], dtype=np.float64)
        most = [
            np.quantile(self.outlier_scores(np.where(lacks, np.nan, drawn)), 1 - share) for lacks in patterns
        ]
        return scores > np.array(most)[which.ravel()]

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log-density per row.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it
        y : Ignored
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        score : float
            In nats.
        """
        total, weight = self._total_score(X, sample_weight)
        return total / weight

    def _total_score(self, X, sample_weight):
        """Weighted sum of the log-densities, and of the weights."""
        return self._total(X, sample_weight, self._log_density_in_units)

    def _total(self, X, sample_weight, of_parameters):
        """Weighted sum of what ``of_parameters(params)`` gives of rows, (m,), and of the weights."""
        check_is_fitted(self)
        data = self._cut(self._data_again(X, sample_weight))
        of_rows = of_parameters(self._params)

        def of_batch(batch):
            return batch.sum(of_rows(batch)), batch.total_weight

        with one_blas_thread():
            total, weight = data.sum(of_batch)
        if not weight:
            raise ValueError("sample_weight is zero for every row: nothing is left to score.")
        return float(total), float(weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class MixtureByLikelihood(MixtureOfRows):
    """Shell of mixtures of known parameters: starts, complaints and criteria of a greatest likelihood."""

    @property
    def _gives_order(self):
        return gives_order(self) and not self._schedule()  # what a callable numbers melts

    def _starts(self, model, sample, data, units, given, rng):
        if not self._is_noisy:
            return choose_starts(self, model, sample, data, units, given, rng)

        def into(batch, resp):
            return model.start(batch, with_claim(resp))

        components = replace(model, family=model.family.family)
        return choose_starts(self, components, sample, data, units, given, rng, into=into)

    def _few_rows(self, family, sample):
        given = not isinstance(self.init_params, str) or self._places_given()
        plain = self.assignment == "soft" and not (self._schedule() or self._is_noisy)
        if given or not plain or not sample.is_whole or not isinstance(family, Gaussian):
            return None
        return FewRows.of(family, sample.batch, sample.size)

    def _complaints(self, plan, best):
        # With so few rows every full matrix is singular, and the data's own warning has said so.
        few = plan.n_observed <= self.n_components * self.n_features_in_
        if not (few and plan.model.family.forced_columns()):
            yield from spikes(self, plan, "component", "rows")
        K = len(self.weights_) - plan.model.family.n_others
        if (self.weights_[K:] == 0).any():
            yield "No row supports the noise. Set noise=False."
        empty = np.flatnonzero(self.weights_[:K] == 0)
        if len(empty):
            yield f"No row supports components {empty.tolist()}. Reduce n_components."
        yield from super()._complaints(plan, best)

    # -- after fit ---------------------------------------------------------------------------------------

    def aic(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Akaike's information criterion on X, smaller is better.

        Parameters
        ----------
        X : array-like of shape (n, d)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        aic : float
        """
        return -2 * self._total_score(X, sample_weight)[0] + 2 * self.n_parameters_

    def bic(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Bayesian information criterion on X, smaller is better (Schwarz, 1978).

        Parameters
        ----------
        X : array-like of shape (n, d)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        bic : float
        """
        log_likelihood, total_weight = self._total_score(X, sample_weight)
        self._check_counts(sample_weight)
        return -2 * log_likelihood + self.n_parameters_ * np.log(total_weight)

    def icl(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Integrated completed likelihood on X, smaller is better.

        BIC plus twice the entropy of the responsibilities: it counts clusters that are apart (Biernacki,
        Celeux & Govaert, 2000).

        Parameters
        ----------
        X : array-like of shape (n, d)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        icl : float
        """

        def entropy_of(params):
            resp_of = self._resp_of_rows(params)
            return lambda batch: special.entr(resp_of(batch)).sum(axis=1)

        return self.bic(X, sample_weight) + 2 * self._total(X, sample_weight, entropy_of)[0]

    def _given_others(self, X_known, columns):
        """Of the columns that remain, given others: weights (n, K), means, covariances, and their numbers."""
        check_is_fitted(self)
        known, family = self._column_numbers(columns), self._model.family
        if family.n_others:
            raise ValueError("Noise has no moments given some columns: fit without it.")
        rows = self._read_known(X_known, known)
        if rows.shape[1] != len(known):
            raise ValueError(f"X_known has {rows.shape[1]} columns, but columns names {len(known)}.")
        d = self.n_features_in_
        others = np.setdiff1d(np.arange(d), known)
        numbers, whole = [], np.full((len(rows), d), np.nan)
        whole[:, known] = rows
        for own, part, _ in parts_of(family, d):
            some = np.isin(own, known)
            part = unwrapped(part)
            if some.any() and not (some.all() or part.is_placed or part.is_by_feature):
                raise ValueError(
                    f"columns names some of {own.tolist()}, which are one {type(part).__name__}: name all of "
                    "them or none."
                )
            numbers += own.tolist()
        others = others[np.isin(others, numbers)]
        if not len(others):
            raise ValueError("columns holds all features: none is left to be conditioned.")
        weights = self._map_data(Batches(whole), self._resp_of_rows)
        n, K, q = len(rows), weights.shape[1], len(others)
        if not family.has_moments:
            return weights, np.full((n, K, q), np.nan), np.full((K, q, q), np.nan), others
        centre, scale = self._units
        means, covariances = family.mean(self._params.family), family.covariance(self._params.family)
        told = known[~np.isnan(means[:, known]).any(axis=0)]  # of what has no mean others are independent
        kept = np.sort(np.append(told, others))
        z = (whole[:, told] - centre[told]) / scale[told]
        means, covariances = moments_given(
            means[:, kept], covariances[:, kept[:, None], kept], np.searchsorted(kept, told), z
        )
        means = np.broadcast_to(means, (n, K, q)) * scale[others] + centre[others]
        return weights, means, covariances * np.outer(scale[others], scale[others]), others

    def _read_known(self, X_known, known):
        """Values of some columns as numbers."""
        table = read_table(X_known, "X_known")
        return check_array(table, dtype=np.float64, input_name="X_known", ensure_all_finite="allow-nan")


def _entries_of(data, column):
    """What is observed of a column of data, each value once."""
    return data.fold(partial(entries_of, column), np.union1d)


def _ends(batch):
    """Least entries of a batch and, with the sign turned, largest ones, of rows with weight, (2, d)."""
    x = batch.x if batch.weight is None else batch.x[:, batch.weight > 0]
    missing = np.isnan(x)
    low = np.where(missing, np.inf, x).min(axis=1, initial=np.inf)
    return np.stack([low, -np.where(missing, -np.inf, x).max(axis=1, initial=-np.inf)])


def in_precision(values, dtype):
    """Values as of this type, or of doubles where they are out of its range."""
    largest = np.abs(values).max(initial=0.0)
    within = largest <= np.finfo(dtype).max and not 0 < largest < np.finfo(dtype).tiny
    return values.astype(dtype if within else np.float64)
