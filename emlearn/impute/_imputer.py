"""Imputation of missing entries by maximum likelihood."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.base import TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from emlearn._by_hand import as_they_are
from emlearn._input.arrays import check_count, read_array
from emlearn._input.mixed_table import MixedTable, find_categories
from emlearn._input.pieces import MappedPieces, piece_by_piece, read_data
from emlearn._input.tables import as_numpy, find_bad_entry, is_frame
from emlearn._online import Rows, Streaming, rows_of_batch
from emlearn._rare import worst_explained
from emlearn._sample import SAMPLE_ROWS, Sample, draw_from, ground, in_units, portfolio, unit_of
from emlearn._sklearn_compat import (
    Interval,
    StrOptions,
    _check_feature_names_in,
    _fit_context,
    in_container,
    validate_data,
    with_callbacks,
)
from emlearn._typing import Acceleration, CovarianceType, RandomState, Ranking
from emlearn.base import EMMixin, Plan, all_or_nothing
from emlearn.em import (
    ACCELERATIONS,
    RANKINGS,
    Affine,
    Batch,
    Batches,
    EMResult,
    LatentModel,
    LatentPair,
    RaceResult,
    Restarts,
    Start,
    em_rate,
    one_blas_thread,
)
from emlearn.em.batches import far_as_impossible
from emlearn.em.fit import climb
from emlearn.families import COVARIANCE_SHAPES, COVARIANCE_TYPES, gaussian_family
from emlearn.families.base import read_shares
from emlearn.impute._choices import USUAL, choose_n_factors, choose_ridge
from emlearn.impute._draws import draw, redraws
from emlearn.impute._intervals import lost_by_gaps, widths
from emlearn.impute._levels import with_levels
from emlearn.impute._relations import Relations, condition, find_relations
from emlearn.impute._report import (
    FLOOR,
    RAISED_TO,
    complaints_of_columns,
    of_few_entries,
    of_raised_ridge,
    of_small_weights,
)
from emlearn.impute._sigma_points import sigma_points
from emlearn.inference._estimates import SeenAgain, read_clusters, weight_of
from emlearn.latent import MixtureWeights
from emlearn.mixture._starts import RowStarts, kinds_for

# Up to so many parameters the rate of convergence is found by E-steps of its own, on so many rows (it is a
# property of the data, not of their number); with more it is what the last steps of the fit tell.
FEW_PARAMETERS = 50
RATE_ROWS = 1000
# Rows are cut, to choose a number of factors, as for so many of them.
FEW_FACTORS = 10
# A ridge beside which a relation that holds exactly stands out.
LITTLE = 0.1
FULL = COVARIANCE_SHAPES["full"]


class EMImputer(Streaming, TransformerMixin, EMMixin):
    r"""Imputation by the Gaussian distribution, or mixture, of greatest likelihood given what is observed.

    The model is joint: every feature that is observed in a row tells of every one that is missing. The fit is
    exact maximum likelihood (with `ridge`, maximum a posteriori) from incomplete rows, where what is missing
    does not depend on its value, given what is observed.

    Parameters
    ----------
    missing_values : float or None, default=nan
        What marks a missing entry. NaN also stands for None and ``pandas.NA``.
    n_components : int, default=1
        Number of Gaussian components, K.
    covariance_type : str, default="full"
        Form of the covariance matrices: "full", "tied", "diag", "spherical", "tied_diag" or
        "tied_spherical", as in `GaussianMixtureEM`; or "factor", `n_factors` factors plus noise of each
        feature's own, for wide data (more columns than rows included).
    n_factors : int or "auto", default="auto"
        Number of factors, q, where `covariance_type` is "factor"; no more than there are features count. "auto"
        is that of the least BIC of one component, on up to 1,000 rows.
    ridge : float or "auto", default="auto"
        Prior on each covariance matrix, worth that many rows of uncorrelated features that have their own
        variance. It does not depend on the units of X. 0 is maximum likelihood. "auto" is, of one component
        with a "full" or "tied" covariance, that of the greatest evidence given X (empirical Bayes), in all
        else 1.
    tol : float, default=1e-4
        Stop when less than this is still to be gained in total, in nats, as projected from the rate of
        convergence. It does not depend on the number of rows.
    max_iter : int, default=1000
        Largest number of iterations of one start. 0 evaluates the starts: the fit is the best of them.
    n_init : int, default=40
        Most starts that are tried. They are drawn until few maxima can be left that none has reached: seven,
        if all of them lead to one, twelve, if to two, and so on; `restarts_.unseen` says what share is left.
    ranking : {"evidence", "likelihood"}, default="evidence"
        What the fits of different starts are compared by: the log-likelihood less a handicap for what it may
        owe to luck (`emlearn.families.evidence`), or the log-likelihood as it is.
    min_value : float, array-like of shape (d,) or None, default=-inf
        Least imputed value, of each feature; None is -inf. What would lie below is brought to it. The fit knows
        nothing of limits: means of draws that were cut are biased. Rather than cut a tail that matters, take
        logarithms.
    max_value : float, array-like of shape (d,) or None, default=inf
        Greatest imputed value, of each feature; None is inf.
    categorical : "from_dtype", None, or int, str or sequence of them, default="from_dtype"
        Columns that hold categories, by number or name. "from_dtype": in frames those of a type for categories,
        of texts or of truth values; in arrays of objects those of nothing but texts, or but truth values.
        None: there are none.
    integer : int, str, sequence of them, or None, default=None
        Columns of whole numbers, by number or name: what is imputed in them is rounded.
    sample_posterior : bool, default=False
        Whether `transform` draws from the distribution of the missing entries given the observed, in place
        of its mean.
    add_indicator : bool, default=False
        Whether to append a column for each feature with missing entries at fit, 1 where it is missing.
    keep_empty_features : bool, default=False
        Whether features without any entry at fit are kept, with 0 for what is missing, or dropped.
    acceleration : {"auto", "squarem", "secant", "none"}, default="auto"
        Extrapolation of EM steps. It never lowers the objective.
    forgetting : float, default=0.0
        Share of the past that `partial_fit` forgets with each row, for streams that drift: 1 / n keeps about n
        of them, 0 forgets nothing. `fit` knows nothing of it.
    n_jobs : int, default=None
        Threads that share the starts, and the rows of large data. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the starts and all draws. With an int, every call draws the same.
    verbose : int, default=0
        1 prints what became of the starts, 2 every iteration too.

    Attributes
    ----------
    mean_ : ndarray of shape (D,)
        Mean of each column of the model; NaN for a feature without entries. Without categories the columns are
        the d features. Of L categories each but the most frequent has a column, of which the mean is its share;
        ordered ones have a column of codes.
    covariance_ : ndarray of shape (D, D)
        Covariance of these columns, of the whole mixture. Computed when asked for.
    column_names_ : ndarray of str of shape (D,)
        Names of these columns, such as "colour=red".
    categories_ : dict of int -> ndarray
        Levels of each feature that holds categories, by its number.
    weights_ : ndarray of shape (K,)
        Weights of the components, largest first, unless `reorder` has changed that.
    means_ : ndarray of shape (K, D)
        Means of the components.
    covariances_ : ndarray of shape (K, D, D)
        Covariances of the components. Computed when asked for.
    missing_fraction_ : ndarray of shape (d,)
        Share of each feature's entries that is missing.
    fraction_missing_information_ : float
        Largest eigenvalue of the EM map, by which EM converges: of all that could be estimated, the share of
        information that is missing where most is. With up to 50 parameters found by E-steps of its own, on up
        to 1,000 rows; with more, to a few hundredths, from the last steps of the fit.
    ridge_ : float
        The ridge that was used: `ridge`, or what was chosen, or more where the covariance would be singular.
    n_factors_ : int or None
        Number of factors; None but for "factor".
    converged_ : bool
        Whether the best start met `tol`, or all gains were lost in rounding.
    gap_ : float
        Total objective still to be gained, projected, in nats.
    n_iter_ : int
        Number of iterations of the best start, on all of the data.
    log_likelihood_ : float
        Total weighted log-likelihood of what is observed, at the fitted parameters, in nats.
    lower_bound_ : float
        The same per observed entry; equals ``score(X)``.
    lower_bounds_ : list of float
        Objective (log-likelihood plus log prior) per observed entry at each iteration of the best start, the
        start first.
    extrapolated_ : list of bool
        Which of them were reached by extrapolation.
    restarts_ : Restarts
        What happened to each of the `starts` (kind, status, log-likelihood, evidence, projected limit, ...),
        how many reached the best maximum (`n_best`) of how many (`n_maxima`), and what share of further starts
        would end where none did (`unseen`).
    n_parameters_ : int
        Number of free parameters.
    indicator_ : MissingIndicator or None
        What appends the columns of `add_indicator`.
    n_rows_seen_ : int
        Number of rows that `partial_fit` has seen, with those of a `fit` before it. Only after `partial_fit`;
        what only a fit can tell (`converged_`, `n_iter_`, `log_likelihood_`, `lower_bound_`, `lower_bounds_`,
        `extrapolated_`, `gap_`) is absent once rows are seen but once.
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    MultipleImputation : Fits a model to many completed data sets.
    GaussianMixtureEM : Clusters incomplete data.

    Notes
    -----
    Rows are independent: what `transform` makes of a row, draws apart, depends on that row and the fit
    alone. A feature that is constant says nothing of the others; it is imputed by its value, and has no part
    in likelihoods. Linear relations that hold exactly in all rows (sums and their parts, copies) hold in what
    is imputed and drawn too; they are found where all that they involve is observed in enough rows. With
    several components an entry is imputed by the mean over components, each weighted by
    its probability given the observed entries. Limits, `missing_values`, `sample_posterior`,
    `keep_empty_features`, `random_state` and `n_jobs` act when rows are imputed, all else at fit.

    Categories are imputed by indicators of their levels, jointly with all else. Given what a row has, a level
    is probable by its share and the density that the row has given it (as in discriminant analysis).
    `transform` takes the most probable level, `sample` draws one; what else is missing in a row is drawn after
    its categories, given them. Levels that are ordered (an ordered type of pandas) are numbers by rank,
    rounded. Then a frame is returned for a frame, with its types: of columns without gaps as they are, of
    categories as at fit; whole numbers that are imputed stay such a type where `integer` names them, and become
    floats otherwise. For an array one of objects is returned. Levels unseen at fit count as missing.

    The prior is :math:`\log p(\Sigma) = -\tfrac12 r \, (\log |\Sigma| + \operatorname{tr} D \Sigma^{-1})` with
    r the ridge and D the diagonal matrix of the variances of the available entries, so that the M-step adds
    r D to the scatter matrix and r to the count.

    References
    ----------
    Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm,
    J. R. Stat. Soc. B 39. Little & Rubin (2002), Statistical Analysis with Missing Data, 2nd ed., Wiley,
    ch. 11. Rubin & Thayer (1982), EM algorithms for ML factor analysis, Psychometrika 47.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import EMImputer
    >>> X = np.array([[1.0, 2.0], [2.0, 4.1], [3.0, 5.9], [4.0, np.nan], [np.nan, 3.0]])
    >>> EMImputer(ridge=0).fit_transform(X).round(2)
    array([[1.  , 2.  ],
           [2.  , 4.1 ],
           [3.  , 5.9 ],
           [4.  , 7.9 ],
           [1.49, 3.  ]])

    Categories beside numbers:

    >>> X = [["short", 1.6], ["short", 1.5], ["tall", 1.9], ["tall", 2.0], [None, 1.95], [None, 1.55]]
    >>> EMImputer().fit_transform(X)[4:]
    array([['tall', 1.95],
           ['short', 1.55]], dtype=object)
    """

    mean_: NDArray[Any]
    weights_: NDArray[Any]
    means_: NDArray[Any]
    missing_fraction_: NDArray[Any]
    fraction_missing_information_: float
    ridge_: float
    n_factors_: int | None
    indicator_: Any

    _table: MixedTable | None = None  # how columns become numbers, where some hold categories
    _of_parameters = frozenset({"weights_", "means_", "mean_", "covariance_", "covariances_"})
    _made_of = "mean, covariance"

    _parameter_constraints: dict = {
        "missing_values": "no_validation",
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "n_factors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "ridge": [Interval(Real, 0.0, None, closed="left"), StrOptions({"auto"})],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "ranking": [StrOptions(set(RANKINGS))],
        "min_value": [Real, "array-like", None],
        "max_value": [Real, "array-like", None],
        "categorical": [StrOptions({"from_dtype"}), str, Integral, "array-like", None],
        "integer": [str, Integral, "array-like", None],
        "sample_posterior": ["boolean"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "acceleration": [StrOptions(set(ACCELERATIONS))],
        "forgetting": [Interval(Real, 0.0, 1.0, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        missing_values: Any = np.nan,
        n_components: int = 1,
        covariance_type: CovarianceType = "full",
        n_factors: int | Literal["auto"] = "auto",
        ridge: float | Literal["auto"] = "auto",
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        min_value: ArrayLike | None = -np.inf,
        max_value: ArrayLike | None = np.inf,
        categorical: Any = "from_dtype",
        integer: Any = None,
        sample_posterior: bool = False,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        acceleration: Acceleration = "auto",
        forgetting: float = 0.0,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int | bool = 0,
    ) -> None:
        self.missing_values = missing_values
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.ridge = ridge
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.min_value = min_value
        self.max_value = max_value
        self.categorical = categorical
        self.integer = integer
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.acceleration = acceleration
        self.forgetting = forgetting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- fit ---------------------------------------------------------------------------------------------

    @with_callbacks
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the distribution of the features.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it
            Rows are observations. Pieces are arrays, or pairs (rows, weights), of what can be read again and
            again: a list, an object whose ``__iter__`` starts afresh, or a function that returns a new
            iterator.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n,), or pieces of it, default=None
            How often each row counts.

        Returns
        -------
        self : EMImputer

        Raises
        ------
        ValueError
            If X holds infinity, text that is not `categorical`, or nothing but missing entries, if a limit of
            the imputed values is of the wrong length or they cross, if `integer` names categories, if a feature
            has more than 1000 categories, or if weights are negative, all zero, or too many or few.

        Warns
        -----
        UserWarning
            Of features without entries, of constant ones, and, with "full" and "tied", of pairs of features
            that no row has both of: the data say nothing of their correlation. Of features whose categories
            are mostly seen once.
        ConvergenceWarning
            If `max_iter` comes first, `ridge` had to be raised, or there are few observed entries for the
            parameters of a full covariance.
        """
        self._fit_data(self._data(X, sample_weight, fit=True), X, y)
        return self

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from more rows of a stream.

        The first rows are kept, and a fit is made of them again whenever they are twice as many, until there
        are 5000 or ten for each parameter, whichever is more. From then on rows are seen once, by stepwise EM
        (Cappé & Moulines, 2009), in the units, of the features and with the ridge that the last fit has chosen.
        After `fit` it goes on from there. `transform` serves after each call.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations. The first batch must hold at least as many distinct rows as there are
            components, and two.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        self : EMImputer
            `n_rows_seen_` says how many rows it has seen, `missing_fraction_` is of all of them; what only a
            fit can tell, as `converged_` and `fraction_missing_information_`, is of the last one, and absent
            once rows are seen but once.

        Raises
        ------
        ValueError
            If the first batch is too small, a later one has other features or categories, or an entry, a
            weight or a parameter is not a legal one, or the type of a column in the first does not tell all of
            its categories. The estimator is then as it was before.

        Warns
        -----
        UserWarning
            Where a feature that was constant or without entries when the model was chosen begins to vary.
        """
        self._check_stream()
        table = self._table_of([X], more_to_come=True) if self._begins else None
        X = self._read(X, reset=self._begins, table=table, strict=True)
        self._check_limits()
        return self._take_in(Rows(X, weight=self._check_weight(sample_weight, X, of_all=self._begins)))

    def _fit_to(self, rows):
        self._fit_data(Batches(rows.X, rows.weight), rows.X, None)

    def _fit_data(self, data, X, y):
        self._check_limits()
        moments = self._moments(data)
        if not moments.entries.any():
            raise ValueError("Every entry of X is missing: there is nothing to learn from.")
        self._choose_features(moments)
        self.indicator_ = self._lost = self._relations = None
        if self.add_indicator:
            has_gaps = np.where(moments.has_gaps[self._first_columns], np.nan, 0.0)[None]  # it asks for no more
            self.indicator_ = MissingIndicator(error_on_new=False).fit(has_gaps)
        if len(self._features):
            rng = check_random_state(self.random_state)
            modelled = data.recut(columns=self._features)
            self._relations, near = self._find_relations(data, modelled)
            self._fit(self._plan(modelled, rng, near=near), X, y)
        else:
            self._fit_nothing()
        for complaint in complaints_of_columns(self, data):
            self._warn(complaint, UserWarning)

    def _batches_of(self, model, rows):
        cut = rows_of_batch(self._floats_per_row(model))
        return model, Batches(self._modelled(rows.X), rows.weight, units=self._units, rows=cut)

    def _after_rows(self, rows):
        if rows.weight is not None and not rows.weight.any():
            return
        moments = self._moments(Batches(rows.X, rows.weight))
        fixed = np.setdiff1d(np.arange(rows.X.shape[1]), self._features)
        differs = moments.entries[fixed] > 0
        differs &= (moments.variance[fixed] > 0) | (moments.mean[fixed] != self._available_mean[fixed])
        if differs.any():
            column = self._column_name(int(fixed[np.argmax(differs)]))
            self._warn(
                f"{column} was constant, or had no entries, in the rows that chose the model, and is no "
                "part of it, but now it varies. Begin a new stream for it to be imputed from the others.",
                UserWarning,
            )
        if self._relations is not None:
            self._relations = self._relations.kept_by(rows.X)
        self._fitted_to = self._fitted_to.joined(moments)
        self._publish_gaps()

    def _choose_features(self, moments):
        """Which features are modelled: those that vary."""
        _, constant = self._choose_units(moments, gaussian_family("diag"))
        self._empty = moments.entries == 0
        self._lone = constant & (moments.entries <= unit_of(moments.weight, moments.n_rows)) & ~self._empty
        self._features = np.flatnonzero(~constant & ~self._empty)
        self._available_mean = np.where(self._empty, np.nan, moments.mean)
        self._fitted_to = moments
        self._publish_gaps()

    def _publish_gaps(self):
        moments, first = self._fitted_to, self._first_columns
        self.missing_fraction_ = np.maximum(1.0 - moments.entries[first] / moments.weight, 0.0)

    def _read(self, X, *, reset, table=None, strict=False):
        """X as floats, NaN where an entry is missing, with columns of their own for categories."""
        marker = self.missing_values
        if not _is_nan(marker) and not (isinstance(marker, Real) and np.isfinite(marker)):
            raise ValueError(
                f"missing_values={marker!r} is neither a finite number nor NaN, None or pandas.NA."
            )
        if reset:
            self._table = table or self._table_of([X])
        if self._table is not None:
            X = as_numpy(X)
            if not reset and (is_frame(X) or np.shape(X)[1:] != (self.n_features_in_,)):
                validate_data(self, X, reset=False, skip_check_array=np.ndim(X) == 2)  # says what is wrong
            X = self._table.coded(X, strict=strict)
        X = self._check_X(X, reset=reset)
        table = self._table
        if _is_nan(marker):
            return X if table is None else table.expanded(X)
        numbers = np.arange(X.shape[1]) if table is None else table.numbers
        values = X[:, numbers]
        bad = find_bad_entry(values, allow_nan=False)
        if bad is not None:
            raise ValueError(
                f"Input X contains NaN in {self._feature_name(numbers[bad[1]])}, row {bad[0]}, but "
                f"missing_values={marker} says what marks a missing entry. Use one marker."
            )
        values = np.where(X.dtype.type(marker) == values, X.dtype.type(np.nan), values)
        if table is None:
            return values
        X[:, numbers] = values
        return table.expanded(X)

    def _table_of(self, tables, more_to_come=False):
        """How columns become numbers, learnt from tables; None where none holds categories."""
        columns = {j for X in tables for j in find_categories(as_numpy(X), self.categorical)}
        if not columns:
            return None
        marker = None if _is_nan(self.missing_values) else self.missing_values
        return MixedTable(tables, sorted(columns), marker, more_to_come)

    def _feature_name(self, feature):
        """How errors call a feature of X."""
        return super()._column_name(feature)

    def _column_name(self, column):
        """How errors call the feature that a column of the model belongs to."""
        return self._feature_name(self._feature_of[column])

    @property
    def _first_columns(self):
        """First column of the model of each feature of X."""
        return np.arange(self.n_features_in_) if self._table is None else self._table.first

    @property
    def _feature_of(self):
        """Feature of X that each column of the model belongs to."""
        return np.arange(self.n_features_in_) if self._table is None else self._table.feature_of

    @property
    def categories_(self) -> dict[int, NDArray[Any]]:
        """Levels of each feature that holds categories, by its number."""
        check_is_fitted(self)
        return {} if self._table is None else self._table.levels

    @property
    def column_names_(self) -> NDArray[Any]:
        """Names of the columns of the model, (D,)."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, None)
        return names if self._table is None else self._table.names(names)

    @property
    def _nominal(self):
        """The categories without order."""
        return [] if self._table is None else self._table.nominal

    def _integers(self):
        """Columns of the model of whole numbers: those that `integer` names, and of ordered categories."""
        ordered = np.empty(0, dtype=np.intp) if self._table is None else self._table.ordered
        if self.integer is None or (not isinstance(self.integer, str) and np.size(self.integer) == 0):
            return ordered
        features = self._column_numbers(self.integer, "integer")
        if self._table is not None and not np.isin(features, self._table.numbers).all():
            (j, *_) = np.setdiff1d(features, self._table.numbers)
            raise ValueError(f"integer names {self._feature_name(j)}, which holds categories: leave it out.")
        return np.concatenate([ordered, self._first_columns[features]])

    def _check_limits(self):
        """Least and greatest value of each column of the model, (2, D)."""
        d = self.n_features_in_
        limits = np.empty((2, d))
        for i, (name, no_limit) in enumerate((("min_value", -np.inf), ("max_value", np.inf))):
            given = getattr(self, name)
            value = read_array(
                name,
                no_limit if given is None else given,  # as scikit-learn's
                shapes=[(), (d,)],
                advice=f"Give one for each of the {d} features.",
            )
            if np.isnan(value).any():
                raise ValueError(f"{name} holds NaN. No limit is {'-' if i == 0 else ''}inf.")
            limits[i] = value
        if np.isposinf(limits[0]).any() or np.isneginf(limits[1]).any():
            raise ValueError("min_value=inf or max_value=-inf leaves no number to impute.")
        if (limits[0] > limits[1]).any():
            j = int(np.argmax(limits[0] > limits[1]))
            raise ValueError(
                f"min_value={limits[0, j]:g} is above max_value={limits[1, j]:g} for {self._feature_name(j)}."
            )
        limits = limits if self._table is None else self._table.spread(limits)
        columns = self._integers()
        least, most = np.ceil(limits[0, columns]), np.floor(limits[1, columns])
        if (least > most).any():
            j = columns[np.argmax(least > most)]
            raise ValueError(
                f"integer names {self._column_name(j)}, but there is no whole number between "
                f"min_value={limits[0, j]:g} and max_value={limits[1, j]:g}."
            )
        limits[:, columns] = least, most
        return limits

    def _modelled(self, X):
        """The features that vary; without a copy where all do."""
        return X if len(self._features) == X.shape[1] else X[:, self._features]

    def _data(self, X, sample_weight, *, fit):
        """Rows to fit, or to compare with those of the fit."""

        pieces = MappedPieces(lambda rows: rows, X)

        def read(X, weight, first):
            table = None
            if fit and first and find_categories(as_numpy(X), self.categorical):
                table = self._table_of(pieces)  # categories of all pieces
            X = self._read(X, reset=fit and first is not False, table=table)
            return X, self._check_weight(weight, X, of_all=first is None)

        return read_data(read, X, sample_weight)

    @property
    def _ridge_unless_chosen(self):
        """The ridge, where the data do not choose it."""
        return USUAL if self.ridge == "auto" else float(self.ridge)

    def _model_of(self, ridge, n_factors=1):
        """The model of the features that vary, with a given ridge and number of factors."""
        family = gaussian_family(self.covariance_type, floor=FLOOR, ridge=ridge, n_factors=n_factors)
        return LatentModel(MixtureWeights(), family)

    def _plan(self, data, rng, ridge=None, near=None):
        """How to fit the features that vary, in the user's units; with the data's own ridge unless given.

        That is looked for from parameters that are ``near``, where there are some.
        """
        moments, features, K = self._fitted_to, self._features, self.n_components
        given = self._ridge_unless_chosen if ridge is None else ridge
        model, begin = self._model_of(given), None
        units = Affine(moments.mean[features], model.family.units(moments.variance[features]))
        if self.covariance_type == "factor":
            model, begin = self._of_factors(data, units, given)
        elif ridge is None and self.ridge == "auto" and K == 1 and model.family.has_correlations:
            model, begin = self._of_evidence(data, units, near)
        ways = partial(self._way_of_one, begin) if K == 1 else self._ways_of_many
        unit = unit_of(moments.weight, moments.n_rows)
        starts, ground = ways(model, data, units, unit, rng)

        def some():
            few, counts = draw_from(data, moments, RATE_ROWS, rng)
            return self._cut(Batches(data.take(few), counts), model, units, n_threads=1)

        entries = moments.entries[features]
        return Plan(
            model,
            units,
            starts,
            **ground,
            size=entries.sum(),
            n_rows=data.n_rows,
            log_volume=entries @ np.log(units.scale),
            unit=unit,
            some=some,
            raised=partial(self._plan, data, rng),
        )

    def _of_evidence(self, data, units, near):
        """The model with the ridge of greatest evidence, and parameters to begin from."""
        model, d = self._model_of(USUAL), len(self._features)
        start = LatentPair(np.ones(1), model.family.standard(1, d)) if near is None else near
        if self._fitted_to.n_rows > RATE_ROWS:
            positions, counts = draw_from(data, self._fitted_to, RATE_ROWS, np.random.RandomState(0))
            data = Batches(data.take(positions), counts)
        some = self._cut(data, model, units)
        free = np.arange(d)
        if self._relations is not None:
            free = np.flatnonzero(~np.isin(self._features, self._relations.dependent))
        ridge, params = choose_ridge(self._model_of, start, some, free)
        return self._model_of(ridge), params

    def _find_relations(self, data, modelled):
        """Linear relations that hold exactly in all rows; and rough parameters, if it took some to find out."""
        features, moments, near = self._features, self._fitted_to, None
        if len(features) < 2:
            return None, near
        units = Affine(moments.mean[features], np.sqrt(moments.variance[features]))
        rng = np.random.RandomState(0)
        positions, counts = draw_from(modelled, moments, RATE_ROWS, rng)
        rows = modelled.take(positions)[counts > 0]

        def precision_of():
            nonlocal near
            model = LatentModel(MixtureWeights(), gaussian_family("full", floor=FLOOR, ridge=LITTLE))
            start = LatentPair(np.ones(1), model.family.standard(1, len(features)))
            near = climb(
                model, start, Batches(rows, counts[counts > 0], units=units), tol=1.0, max_iter=12
            ).params
            return model.family.precisions(near.family)[0]

        found = find_relations(rows, units, features, len(self._feature_of), precision_of)
        if found is None or moments.n_rows <= len(rows):
            return found, near
        for kept in data.map(partial(_kept_by, found)):
            own = np.isin(found.dependent, kept)
            found = Relations(*(part[own] for part in found))
        return found if len(found.dependent) else None, near

    def _conditioned(self, X, values):
        """Means, or draws, of missing entries given exact relations too, and what is left of deviations."""
        if self._relations is None or not len(values):
            return values, np.ones(len(values))
        relations = self._relations.within(self._features, X.shape[1])
        if not len(relations.dependent):
            return values, np.ones(len(values))
        own = self.covariance_[np.ix_(self._features, self._features)]
        scale = np.sqrt(np.diag(own))
        return condition(X, values, relations, own, scale, self._features)

    def _of_factors(self, data, units, ridge):
        """The model with the number of factors that was asked for, or chosen, and parameters to begin from."""
        most = len(self._features)
        if self.n_factors != "auto":
            return self._model_of(ridge, min(self.n_factors, most)), None
        positions, counts = draw_from(data, self._fitted_to, RATE_ROWS, np.random.RandomState(0))
        rows = data.take(positions)
        some = self._cut(Batches(rows, counts), self._model_of(ridge, min(FEW_FACTORS, most)), units)
        batch = Batch(np.ascontiguousarray(in_units(rows, units).T), counts)

        def start_of(model):
            return model.start(batch, counts[None, :])

        most = max(min(most, self._fitted_to.n_rows) // 2, 1)
        q, params = choose_n_factors(partial(self._model_of, ridge), start_of, some, most)
        return self._model_of(ridge, q), params

    def _way_of_one(self, begin, model, data, units, unit, rng):
        """The one sensible start of one component, where none is known to begin from, and the data."""

        def from_some():  # from the entries that are there
            positions, counts = draw_from(data, self._fitted_to, SAMPLE_ROWS, rng)
            rows = Batch(np.ascontiguousarray(in_units(data.take(positions), units).T), counts)
            return model.start(rows, counts[None, :])

        standard = model.family.standard(1, data.n_features)
        if begin is not None:
            make = partial(copy.copy, begin)
        else:
            make = from_some if standard is None else partial(LatentPair, np.ones(1), standard)
        return [Start("all", make)], {"data": self._data_of_one(model, data, units), "part": None}

    def _data_of_one(self, model, data, units):
        """Data for one component, of which points do as well as rows."""
        points = sigma_points(data, units)
        if points is None:
            return self._cut(data, model, units)
        n_threads = effective_n_jobs(self.n_jobs)
        return Batches(*points, floats_per_row=self._floats_per_row(model), n_threads=n_threads)

    def _ways_of_many(self, model, data, units, unit, rng):
        """Starts for the race, and what a plan says of the data and the part of them to race on."""
        size = max(SAMPLE_ROWS, 10 * self.n_components * model.family.size(data.n_features))
        moments = self._fitted_to
        drawn = draw_from(data, moments, size, rng)
        sample = Sample.of(data.take(drawn[0]), units, drawn, moments.n_rows)
        self._check_distinct_rows(moments.n_rows, sample)
        make = RowStarts(model, self.n_components, sample)
        starts = portfolio(make.start, kinds_for("auto", model.family), self.n_init, rng)
        everything = partial(data.recut, units=units, n_threads=effective_n_jobs(self.n_jobs))
        whole, part = ground(sample, starts, everything, floats_per_row=self._floats_per_row(model))
        again = worst_explained(model, sample.batch, whole, part, unit, rng)
        share = sample.counts.sum() / moments.weight
        part_is = {"part": part, "part_unit": sample.unit, "part_share": share}
        return starts, {"data": whole, "again": again, **part_is}

    def _floats_per_row(self, model):
        return model.family.floats_per_row(self.n_components, len(self._features))

    def _cut(self, data, model, units, n_threads=None):
        """Rows of the modelled features, in the user's units, as data for the engine."""
        return data.recut(
            floats_per_row=self._floats_per_row(model),
            units=units,
            n_threads=effective_n_jobs(self.n_jobs) if n_threads is None else n_threads,
        )

    def _plan_instead(self, plan, best):
        """A fit with more ridge, where one with less would rest on its constraints."""
        least = RAISED_TO * self._fitted_to.weight
        if plan.model.family.ridge >= least or not plan.model.family.on_floor(best.params.family).any():
            return None
        family = plan.model.family
        self._warn(of_raised_ridge(self, family.covariance(best.params.family), family.ridge, least))
        return plan.raised(least)

    def _publish_race(self, plan, result):
        super()._publish_race(plan, result)
        if plan.model is not None and self.n_components == 1 and plan.model.family.has_correlations:
            lost, n = lost_by_gaps(plan.model, self._params, plan.some())
            d = len(self._feature_of)
            share = self._fitted_to.weight / n  # of rows that were drawn
            every = np.zeros((d, d))
            every[np.ix_(self._features, self._features)] = share * lost
            self._lost = every, share * n
        if plan.model is not None and not result.best.n_iter:
            self.fraction_missing_information_ = np.nan  # nothing was iterated that could tell
        elif plan.model is None:
            self.fraction_missing_information_ = 0.0
        elif self.n_parameters_ > FEW_PARAMETERS:
            self.fraction_missing_information_ = result.best.secants.rate
        else:
            self.fraction_missing_information_ = em_rate(plan.model, self._params, plan.some(), tol=1e-4)

    def _complaints(self, plan, best):
        yield from self._unless_converged(best, advice="raise ridge")
        yield from of_small_weights(self)
        yield from of_few_entries(self, plan.model.family)

    def _fit_nothing(self):
        """The fit where no feature varies."""
        self._forget_stream()
        plan = Plan(None, Affine(np.empty(0), np.empty(0)), [], None, None, size=1.0, log_volume=0.0)
        best = EMResult(None, 0.0, 0.0, True, n_iter=0, gap=0.0, history=(0.0,), extrapolated=(False,))
        self._take(None, LatentPair(np.ones(1), None), plan.units)
        self.ridge_, self.n_factors_, self.n_parameters_ = self._ridge_unless_chosen, None, 0
        self._publish_race(plan, RaceResult(best, Restarts((), 0, 0, 0.0)))

    def _take(self, model, params, units):
        self._model, self._params, self._units = model, params, units
        means = np.tile(self._available_mean, (len(params.latent), 1))
        if len(self._features):
            family = model.family
            means[:, self._features] = family.mean(family.in_units(params.family, units))
            self.ridge_ = float(family.ridge)
            self.n_factors_ = getattr(family, "n_factors", None)
            self.n_parameters_ = len(params.latent) - 1 + family.n_parameters(params.family)
        self._publish({"weights": params.latent.copy(), "means": means, "mean": params.latent @ means})

    def _divergence(self, other):
        if not np.array_equal(self._features, other._features):
            raise ValueError("features that were constant or empty in one of the fits vary in the other.")
        return super()._divergence(other) if len(self._features) else np.zeros((1, 1))

    @classmethod
    def from_parameters(
        cls,
        mean: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        means: ArrayLike | None = None,
        covariances: ArrayLike | None = None,
        covariance_type: CovarianceType = "full",
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """An imputer by a known distribution, in place of a fit.

        Parameters
        ----------
        mean : array-like of shape (d,), default=None
            Mean of each feature; NaN for one of which nothing is known.
        covariance : array-like of shape (d, d), default=None
            Covariance of the features; rows of 0 for features that are constant.
        weights, means, covariances : array-like of shape (K,), (K, d), (K, d, d), default=None
            Weights, means and covariances of several components, in place of the two above.
        covariance_type : str, default="full"
            Form that the covariances have, as of the class, but for "factor": covariances do not tell loadings,
            and "full" imputes the same by them.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features.
        **params
            Other parameters of the class.

        Returns
        -------
        imputer : EMImputer
            Fitted, without what only a fit and its rows can tell, such as `missing_fraction_`; `sample`, which
            draws parameters from the rows of the fit, is refused.

        Raises
        ------
        ValueError
            If a covariance is not symmetric and positive definite, or not of the form, weights are negative or
            do not sum to 1, or shapes do not fit.

        Examples
        --------
        >>> import numpy as np
        >>> from emlearn import EMImputer
        >>> imputer = EMImputer.from_parameters([0.0, 10.0], [[1.0, 0.5], [0.5, 1.0]])
        >>> imputer.transform([[2.0, np.nan]])
        array([[ 2., 11.]])
        """
        several = weights is not None or means is not None or covariances is not None
        given = (weights, means, covariances) if several else (mean, covariance)
        if any(part is None for part in given) or (several and not (mean is None and covariance is None)):
            raise ValueError("Give mean and covariance, or else weights, means and covariances.")
        if not several:
            mean = read_array("mean", mean)
            means, covariances, weights = (
                mean[None],
                np.expand_dims(read_array("covariance", covariance), 0),
                1.0,
            )
            names = "mean", "covariance"
        else:
            means, covariances = read_array("means", means), read_array("covariances", covariances)
            names = "means", "covariances"
        if means.ndim != 2:
            expected = "(K, d)" if several else "(d,)"
            raise ValueError(f"{names[0]} has shape {means.shape[not several :]}; expected {expected}.")
        K, d = means.shape
        if covariances.shape != (K, d, d):
            expected = (K, d, d)[not several :]
            raise ValueError(f"{names[1]} has shape {covariances.shape[not several :]}; expected {expected}.")
        shares = read_shares("weights", np.atleast_1d(weights), (K,))
        if covariance_type == "factor":
            raise ValueError(
                "covariances do not tell the loadings of covariance_type='factor': leave it at 'full', which "
                "imputes the same by them."
            )
        params["covariance_type"] = covariance_type
        imputer = cls._of_legal(K, params)
        if imputer.add_indicator:
            raise ValueError("add_indicator=True marks what was missing in the rows of a fit: there is none.")
        imputer._know_features(d, feature_names)
        imputer._check_limits()
        imputer._take_known(shares, means, covariances, names)
        return imputer

    def _take_known(self, weights, means, covariances, names):
        """Take known parameters; features without a mean are empty, those without variance constant."""
        every = np.arange(means.shape[1])
        self._empty = np.isnan(means).all(axis=0)
        known = every[~self._empty]
        for name, given in zip(names, (means[:, known], covariances[:, known[:, None], known]), strict=True):
            if not np.isfinite(given).all():
                raise ValueError(f"{name} holds NaN or infinity for a feature of which there is a mean.")
        self._available_mean = weights @ means
        self._lone = np.zeros(means.shape[1], dtype=bool)
        self.indicator_ = self._lost = self._relations = None
        variance = np.where(self._empty, 0.0, covariances[:, every, every]).sum(axis=0)
        within = (weights * (means - self._available_mean).T) @ (means - self._available_mean)
        varies = ~self._empty & ((variance != 0) | (np.diag(within) > 0))
        features = self._features = every[varies]
        if not len(features):
            self.ridge_, self.n_factors_, self.n_parameters_ = self._ridge_unless_chosen, None, 0
            self._take(None, LatentPair(np.ones(1), None), as_they_are(0))
            return
        family = gaussian_family(self.covariance_type, ridge=self._ridge_unless_chosen)
        own = covariances[:, features[:, None], features]
        FULL.refuse(own, len(features), names[1])
        emitted = family.of_moments(means[:, features], own)
        if not np.allclose(family.covariance(emitted), own, rtol=1e-6, atol=1e-9 * np.abs(own).max()):
            raise ValueError(
                f"{names[1]} has not the form that covariance_type={self.covariance_type!r} says: leave it at "
                "'full', which imputes the same by it."
            )
        model = LatentModel(MixtureWeights(), family)
        self._take(model, LatentPair(weights, emitted), as_they_are(len(features)))

    @property
    def covariances_(self) -> NDArray[np.float64]:
        """Covariances of the components, (K, d, d)."""
        check_is_fitted(self)
        d = self.means_.shape[1]
        covariances = np.zeros((len(self.weights_), d, d))
        covariances[:, self._empty] = covariances[:, :, self._empty] = np.nan
        if len(self._features):
            family = self._model.family
            own = family.covariance(family.in_units(self._params.family, self._units))
            covariances[:, self._features[:, None], self._features] = own
        return covariances

    @property
    def covariance_(self) -> NDArray[np.float64]:
        """Covariance of the features, (d, d)."""
        check_is_fitted(self)
        within = np.einsum("k,kij->ij", self.weights_, self.covariances_)
        centred = self.means_ - self.mean_
        return within + (self.weights_ * centred.T) @ centred

    def _estimated(self):
        return ("weights_", "means_", "covariances_") if len(self.weights_) > 1 else ("mean_", "covariance_")

    def _seen_again(self, X, y=None, sample_weight=None, groups=None):
        data = self._cut(self._data(X, sample_weight, fit=False), self._model, self._units)
        return SeenAgain(data, self._log_volume_of(data), weight_of(data), read_clusters(groups, data.n_rows))

    # -- after fit ---------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Impute the missing entries of X.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it
            Of pieces each is imputed when it is asked for.

        Returns
        -------
        X_imputed : ndarray or frame of shape (n, d_out), or an iterable of such
            X without missing entries; what is observed is as it was. Features without entries at fit are
            left out unless `keep_empty_features`; with `add_indicator` its columns come last. With categories
            an array of objects, or a frame for a frame.

        Raises
        ------
        ValueError
            If X has other features than at fit, infinity, or ordered categories that are none of those at fit.

        Warns
        -----
        UserWarning
            Of categories unseen at fit, which count as missing.
        """
        check_is_fitted(self)
        read = self._read(X, reset=False)
        return self._as_given(X, read, self._imputed(read))

    def _imputed(self, X):
        """What `_read` gives with its missing entries imputed, those of categories by columns of numbers."""
        if not self.sample_posterior:
            filled = self._fill(X, self._conditioned(X, self._means_of_cells(X))[0])
            return with_levels(self, X, filled)
        rng = check_random_state(self.random_state)
        X = with_levels(self, X, rng=rng)
        return self._fill(X, self._conditioned(X, draw(self, X, rng))[0])

    def _as_given(self, given, read, filled):
        """What `transform` returns of X as it was given, was read, and is filled."""
        marked = [] if self.indicator_ is None else self.indicator_.features_
        gone = np.isnan(read[:, self._first_columns[marked]]).astype(read.dtype)
        if self._table is None:
            filled = self._without_empty(filled)
            return np.hstack([filled, gone]) if self.indicator_ is not None else filled
        beside = dict(zip(self.get_feature_names_out()[len(self._kept) :], gone.T, strict=True))
        return self._table.restored(given, read, filled, self._kept, self._integers(), beside)

    def inverse_transform(self, X: Any) -> NDArray[Any]:
        """Put missing entries back where the indicator says that they were.

        Parameters
        ----------
        X : array-like of shape (n, d_out)
            What `transform` returned, with the columns of `add_indicator`.

        Returns
        -------
        X_original : ndarray of shape (n, d)
            With `missing_values` where an entry was missing. Of features without missing entries at fit there
            is no indicator: what was imputed in them stays.

        Raises
        ------
        ValueError
            Without `add_indicator`, or if X has another number of columns.
        """
        check_is_fitted(self)
        if self.indicator_ is None:
            raise ValueError(
                "inverse_transform needs the indicator's columns: set add_indicator=True, fit and transform."
            )
        X = np.asarray(X)
        kept = self._kept
        marked = self.indicator_.features_
        if X.ndim != 2 or X.shape[1] != len(kept) + len(marked):
            raise ValueError(
                f"X has shape {X.shape}, but transform gives {len(kept)} features and {len(marked)} indicators."
            )
        marker = np.nan if _is_nan(self.missing_values) else self.missing_values
        original = np.full((len(X), self.n_features_in_), marker, dtype=X.dtype)
        original[:, kept] = X[:, : len(kept)]
        gone = np.zeros(original.shape, dtype=bool)
        gone[:, marked] = X[:, len(kept) :].astype(bool)
        original[gone] = marker
        return original

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """Names of the columns that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str of shape (d,), default=None
            Names of the features; None for those seen at fit, or else "x0", "x1", ....

        Returns
        -------
        names : ndarray of str of shape (d_out,)
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        if self.indicator_ is None:
            return names[self._kept]
        return np.concatenate([names[self._kept], self.indicator_.get_feature_names_out(names)])

    def conditional_std(self, X: Any) -> NDArray[Any]:
        """Standard deviation of each imputed entry, given what its row has.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        std : ndarray of shape (n, d_out)
            In the units of X; 0 for what is observed. Columns are those of `transform`, without indicators.
            NaN for categories without order; of ordered ones in ranks.
            Limits do not enter, nor does the uncertainty of the fit itself, which `predict_interval` and
            `sample` include.
        """
        check_is_fitted(self)
        X = self._read(X, reset=False)

        def std_of(weights, means, variances):
            centred = means - np.einsum("ck,ck->c", weights, means)[:, None]
            return np.sqrt(np.einsum("ck,ck->c", weights, variances() + centred**2))

        std = np.zeros_like(X)
        std[self._where(X)] = self._of_cells(X, std_of)
        if self._relations is not None:
            std[self._where(X)] *= self._conditioned(X, self._means_of_cells(X))[1]
        return self._without_empty(std)

    def predict_interval(self, X: Any, coverage: float = 0.95) -> tuple[NDArray[Any], NDArray[Any]]:
        """Interval that holds each missing entry with a given probability, given what its row has.

        With one component and a "full" or "tied" covariance it includes what is not known of the fit: limits
        are quantiles of Student's t distribution, wider where few rows tell of an entry. With several
        components, and with "factor" and the other forms, it is of the fit as it stands, and too narrow with
        few rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        coverage : float, default=0.95
            Probability between 0 and 1; as much is left out on either side.

        Returns
        -------
        lower, upper : ndarray of shape (n, d_out)
            Limits, within `min_value` and `max_value`; both are the value itself where it is observed. Of a
            feature with one entry at fit, `min_value` and `max_value` themselves: infinite by default.
            Columns are those of `transform`, without indicators. Whole numbers where `integer` asks for these;
            NaN for categories without order, and ranks, from 0, for ordered ones.
        """
        check_is_fitted(self)
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise ValueError(f"coverage={coverage}: give a probability between 0 and 1.")
        X = self._read(X, reset=False)
        tails = (0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage)

        def limits_of(weights, means, variances):
            stds = np.sqrt(variances())
            return np.stack([_mixture_quantile(tail, weights, means, stds) for tail in tails], axis=1)

        lower, upper = self._of_cells(X, limits_of, shape=(2,)).T
        if self._lost is not None:
            factors, dofs = self._widths(X)
            middle, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
            half *= factors * special.stdtrit(dofs, tails[1]) / special.ndtri(tails[1])
            lower, upper = middle - half, middle + half
        if self._relations is not None:
            means = self._means_of_cells(X)
            moved, shares = self._conditioned(X, means)
            middle, half = 0.5 * (lower + upper) + moved - means, 0.5 * (upper - lower) * shares
            lower, upper = middle - half, middle + half
        lower, upper = self._fill(X, lower), self._fill(X, upper)
        lone = np.isnan(X) & self._lone[: X.shape[1]]
        if lone.any():  # one entry says nothing of how far others lie
            for filled, limits in zip((lower, upper), self._check_limits(), strict=True):
                filled[lone] = np.broadcast_to(limits, X.shape)[lone]
        return self._without_empty(lower), self._without_empty(upper)

    @piece_by_piece()
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Log-density of what is observed of each row.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it

        Returns
        -------
        log_density : ndarray of shape (n,), or an iterable of such
            In nats, with respect to the units of X; 0 for a row without entries. Features that were constant
            or empty at fit do not count.
        """
        check_is_fitted(self)
        return self._log_density(self._modelled(self._read(X, reset=False)))

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log-density per observed entry, so that `GridSearchCV` needs no scorer.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : Ignored
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        score : float
            In nats. Features that were constant or empty at fit do not count.

        Raises
        ------
        ValueError
            If nothing is observed.
        """
        check_is_fitted(self)
        data = self._data(X, sample_weight, fit=False)
        if not len(self._features):
            return 0.0
        weights, family = self._params
        completion, log_scale = self._model.family.completion(family), np.log(self._units.scale)

        def of_batch(batch):
            there = ~np.isnan(batch.x)
            log_density = self._model.latent.resp(weights, completion(batch).log_prob)[1] - log_scale @ there
            return batch.sum(log_density), batch.sum(np.count_nonzero(there, axis=0))

        with one_blas_thread():
            modelled = self._cut(data.recut(columns=self._features), self._model, self._units.bounded)
            total, n_entries = modelled.sum(of_batch)
        if not n_entries:
            raise ValueError("Every entry of X is missing: there is nothing to score.")
        return float(total / n_entries)

    @overload
    def sample(
        self,
        X: Any,
        n_imputations: int = 20,
        *,
        X_fit: Any = None,
        sample_weight: ArrayLike | None = None,
        method: Literal["auto", "posterior", "bootstrap"] = "auto",
        lazy: Literal[False] = False,
        random_state: RandomState = None,
    ) -> list[Any]: ...

    @overload
    def sample(
        self,
        X: Any,
        n_imputations: int = 20,
        *,
        X_fit: Any = None,
        sample_weight: ArrayLike | None = None,
        method: Literal["auto", "posterior", "bootstrap"] = "auto",
        lazy: Literal[True],
        random_state: RandomState = None,
    ) -> Iterator[Any]: ...

    def sample(
        self,
        X: Any,
        n_imputations: int = 20,
        *,
        X_fit: Any = None,
        sample_weight: ArrayLike | None = None,
        method: Literal["auto", "posterior", "bootstrap"] = "auto",
        lazy: bool = False,
        random_state: RandomState = None,
    ) -> list[Any] | Iterator[Any]:
        """Complete X many times, with the uncertainty of the fit and of the missing entries.

        Each time the parameters are drawn first, then the missing entries given the observed. Set no limits
        by `min_value` or `max_value` where means of what is drawn are wanted.

        Parameters
        ----------
        X : array-like of shape (n, d)
            What to complete.
        n_imputations : int, default=20
            How often.
        X_fit : array-like of shape (n', d), default=None
            The rows that the imputer was fitted to, where X is not these: parameters are drawn from them.
        sample_weight : array-like of shape (n',), default=None
            Their weights at fit.
        method : {"auto", "posterior", "bootstrap"}, default="auto"
            How parameters are drawn. "posterior": given X, by data augmentation: a chain from the fit for each
            imputation, long enough to forget it by `fraction_missing_information_`. The prior is that of
            `ridge`, as a Wishart distribution of ridge + d + 1 degrees of freedom; with ``ridge=0`` it is
            noninformative, the determinant of the covariance to the power of -(d + 1) / 2. For one component,
            "full" or "tied", and weights that are whole numbers. "bootstrap": EM goes on from the fit under
            random weights of the rows (Rubin's Bayesian bootstrap), which varies too little with some 30 rows,
            or not many more than features. "auto": the posterior where it is to be had.
        lazy : bool, default=False
            Whether to return an iterator that makes one at a time.
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        completed : list, or iterator, of what `transform` returns
            To be analysed one by one, and the results pooled by `pool`.

        Raises
        ------
        ValueError
            If X, or `X_fit`, is not what the imputer was fitted to, or `method` asks for a posterior that is
            not to be had.

        References
        ----------
        Rubin (1987), Multiple Imputation for Nonresponse in Surveys, Wiley. Tanner & Wong (1987), The
        calculation of posterior distributions by data augmentation, J. Am. Stat. Assoc. 82. Schafer (1997),
        Analysis of Incomplete Multivariate Data, Chapman & Hall, ch. 5.

        Examples
        --------
        >>> import numpy as np
        >>> from emlearn import EMImputer, pool
        >>> from emlearn.datasets import load_airquality
        >>> X = load_airquality().data[:, :4]
        >>> completed = EMImputer(random_state=0).fit(X).sample(X)
        >>> means = [Z[:, 0].mean() for Z in completed]
        >>> errors = [Z[:, 0].std(ddof=1) / np.sqrt(len(Z)) for Z in completed]
        >>> pooled = pool(means, errors)
        >>> print(f"Ozone {pooled.estimate:.0f} +- {pooled.standard_error:.1f} ppb")
        Ozone 42 +- 2.8 ppb
        """
        check_is_fitted(self)
        if not hasattr(self, "_fitted_to"):
            raise ValueError(
                "sample draws parameters from the rows of the fit, but these parameters were given: set "
                "sample_posterior=True, and transform draws from them as they are."
            )
        check_count("n_imputations", n_imputations)
        rows = self._read(X if X_fit is None else X_fit, reset=False)
        read = rows if X_fit is None else self._read(X, reset=False)
        weight = self._check_weight(sample_weight, rows)
        if not self._was_fitted_to(rows, weight):
            raise ValueError(
                f"{'X is' if X_fit is None else 'X_fit is'} not what the imputer was fitted to, or not with "
                "the same sample_weight: parameters are drawn from these. Give the rows of fit as X_fit where "
                "X is not these, and their sample_weight where they had any."
            )
        Z = self._modelled(rows)
        seeds = self._rng(random_state).randint(np.iinfo(np.int32).max, size=n_imputations)

        redrawn = redraws(copy.copy(self), Z, weight, method)  # a lazy draw finds the imputer as it is now

        def complete(seed):
            drawn = redrawn(seed)
            return in_container(drawn._as_given(X, read, drawn._imputed(read)), X, drawn)

        if lazy:
            return map(complete, seeds)
        with one_blas_thread():
            return Parallel(n_jobs=self.n_jobs, require="sharedmem")(delayed(complete)(seed) for seed in seeds)

    def _was_fitted_to(self, rows, weight):
        """Whether these are the rows and weights of the fit, as far as their moments tell."""
        moments, expected = self._moments(Batches(rows, weight)), self._fitted_to
        if len(moments.entries) != len(expected.entries):
            return False
        slack = 1e-6 * np.sqrt(expected.variance) + 1e-9 * np.abs(expected.mean)
        same_mean = np.abs(moments.mean - expected.mean) <= slack
        return np.allclose(moments.entries, expected.entries) and same_mean.all()

    # -- what these share --------------------------------------------------------------------------------

    @property
    def _kept(self):
        """Which features `transform` gives."""
        every = np.arange(self.n_features_in_)
        return every if self.keep_empty_features else every[~self._empty[self._first_columns]]

    def _without_empty(self, values):
        """What `transform` gives of columns (n, D); NaN for categories without order, which are no numbers."""
        for category in self._nominal:
            values[:, category.at] = np.nan
        kept = self._first_columns[self._kept]
        return values if len(kept) == values.shape[1] else values[:, kept]

    def _where(self, X):
        """Rows and columns of X of the missing entries that the model imputes, row by row."""
        rows, columns = np.nonzero(np.isnan(X)[:, self._features])
        return rows, self._features[columns]

    def _fill_means(self, X):
        """X with missing entries at their conditional means, whatever the limits."""
        filled = X.astype(np.float64)
        filled[self._where(X)] = self._means_of_cells(X)
        return filled

    def _means_of_cells(self, X):
        """Conditional means of the missing entries that the model imputes, row by row."""
        return self._of_cells(X, lambda w, mean, _: np.einsum("ck,ck->c", w, mean))

    def _fill(self, X, values):
        """X with ``values`` for the missing entries that the model imputes, and constants for the others."""
        limits = self._check_limits()
        filled = X.copy()
        rows, columns = self._where(X)
        whole = np.isin(columns, self._integers())
        filled[rows, columns] = np.clip(np.where(whole, np.rint(values) + 0.0, values), *limits[:, columns])
        if len(self._features) < X.shape[1]:
            rows, columns = np.nonzero(np.isnan(filled))
            constants = np.where(self._empty, 0.0, self._available_mean)
            constants[self._integers()] = np.rint(constants[self._integers()])
            filled[rows, columns] = np.clip(constants, *limits)[columns]
        return filled

    def _complete(self, Z, function, params=None):
        """``function(completion, resp (K, m), log_density (m,), missing (m, d))`` of each batch, in a list."""
        weights, family = self._params if params is None else params
        completion = self._model.family.completion(family)

        def of_batch(batch):
            done = completion(batch)
            resp, log_density = self._model.latent.resp(weights, done.log_prob)
            return function(done, resp, log_density, np.ascontiguousarray(np.isnan(batch.x).T))

        with one_blas_thread():
            return list(self._cut(Batches(Z), self._model, self._units.bounded).map(of_batch))

    def _of_cells(self, X, reduce, shape=()):
        """``reduce(weights, means, variances)`` of the missing entries, row by row, (cells, *shape).

        It is given, batch by batch, arrays (cells, K) of the components' probabilities and of the means in
        them, and a function that gives the variances.
        """
        Z = self._modelled(X)
        if not np.isnan(Z).any():
            return np.empty((0, *shape))
        every = range(len(self.weights_))
        shift, scale = self._units

        def of_batch(done, resp, _, missing):
            rows, columns = np.nonzero(missing)
            unit = scale[columns, None]
            means = np.stack([done.mean(k)[columns, rows] for k in every], axis=1)
            return reduce(
                resp.T[rows],
                means * unit + shift[columns, None],
                lambda: np.stack([done.variance(k)[columns, rows] for k in every], axis=1) * unit**2,
            )

        return np.concatenate(self._complete(Z, of_batch))

    def _widths(self, X):
        """What the scale of each missing entry is multiplied by for what the fit does not know, and dofs."""
        Z = (self._modelled(X) - self._units.shift) / self._units.scale
        if not np.isnan(Z).any():
            return np.empty(0), np.empty(0)
        filled = (self._modelled(self._fill_means(X)) - self._units.shift) / self._units.scale
        lost, n = self._lost
        columns = np.ix_(self._features, self._features)
        means, covariances = self._params.family
        return widths(Z, covariances[0], filled - means[0], lost[columns], n, self.ridge_)

    def _log_density(self, Z):
        if not len(self._features):
            return np.zeros(len(Z))
        log_scale = np.log(self._units.scale)

        def of_batch(done, resp, log_density, missing):
            return far_as_impossible(log_density - ~missing @ log_scale)

        return np.concatenate(self._complete(Z, of_batch))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = _is_nan(self.missing_values)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


# Around what scikit-learn's set_output has made of it: frames are made piece by piece.
EMImputer.transform = piece_by_piece()(EMImputer.transform)  # type: ignore[method-assign]


def _kept_by(relations, batch):
    """Columns that relations give which hold in a batch."""
    return relations.kept_by(batch.x.T).dependent


def _is_nan(marker):
    """Whether a marker of missing entries is NaN, or what becomes NaN when data are read."""
    if marker is None or type(marker).__name__ == "NAType":
        return True
    return isinstance(marker, Real) and bool(marker != marker)


def _mixture_quantile(p, weights, means, stds):
    """Quantile p of Gaussian mixtures, one for each row of weights, means and deviations, (cells, K)."""
    each = means + special.ndtri(p) * stds
    low, high = each.min(axis=1), each.max(axis=1)
    if means.shape[1] == 1:
        return low
    safe = np.where(stds > 0, stds, np.finfo(np.float64).tiny)
    for _ in range(60):  # halving: to the last digit
        middle = 0.5 * (low + high)
        below = np.einsum("ck,ck->c", weights, special.ndtr((middle[:, None] - means) / safe)) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
