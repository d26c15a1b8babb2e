"""Mixtures of rows whose columns are of any kind: numbers, counts, categories, or some of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from emlearn._by_hand import as_they_are
from emlearn._emissions.entries import refuse_impossible, warn_of_impossible
from emlearn._emissions.given import GivenEmission, apart, emission_of, held_names, n_columns_of
from emlearn._emissions.priors import with_priors
from emlearn._emissions.published import (
    categories_of,
    fields_of,
    kept_state,
    probabilities_of,
    read_state,
    with_labels,
)
from emlearn._emissions.words import (
    PARAMETERS,
    as_fitted,
    aside_of,
    categorical_columns,
    emission_family,
    emission_of_some,
    n_columns_aside,
    observed_kinds,
    takes_sparse,
)
from emlearn._input.arrays import check_count, read_array
from emlearn._input.categories import Coding
from emlearn._input.sparse import read_sparse
from emlearn._input.tables import Named, as_numpy
from emlearn._sklearn_compat import Interval, StrOptions
from emlearn._typing import Acceleration, Annealing, Assignment, CovarianceType, RandomState, Ranking
from emlearn.em import ACCELERATIONS, ASSIGNMENTS, RANKINGS, Affine, Batch, Batches, LatentModel, LatentPair
from emlearn.em.trees import leaves
from emlearn.families import COVARIANCE_TYPES, Emission
from emlearn.families.base import HardlyImpossible, read_shares
from emlearn.families.with_noise import components_of
from emlearn.latent import MixtureWeights, SoftmaxGate
from emlearn.latent.mixture_weights import drawn_from
from emlearn.mixture._base import MixtureByLikelihood
from emlearn.mixture._conditional import MixedConditional
from emlearn.mixture._starts import START_KINDS, GivenParts, read_weights_init


class MixtureEM(MixtureByLikelihood):
    r"""Mixture of rows whose columns are numbers, counts or categories, fitted by Expectation-Maximization.

    Latent class and latent profile analysis, mixtures of counts, and of all of these side by side: columns with
    emissions of their own are independent given the component.

    Parameters
    ----------
    n_components : int, default=1
        Number of components, K.
    emission : str, dict or family object, default="gaussian"
        What rows of a component are: "gaussian", "student_t" (numbers with outliers; degrees of freedom are
        estimated for each component, or as `emlearn.families.student_t_family` says), "poisson" (counts),
        "negative_binomial" (counts that vary more), "zero_inflated_poisson", "geometric", "bernoulli" (0 or 1),
        "binomial" (columns of successes, then as many of trials), "multinomial" (counts of a category in each
        column), "exponential", "gamma" or "lognormal" (positive numbers), "beta" (shares), "von_mises" (angles
        in radians), "von_mises_fisher" (unit vectors), "categorical" (codes 0 … n − 1 or names, independent
        columns), "gmm" (a mixture of `n_mixtures` Gaussians in each component), or a family from
        `emlearn.families`. A dict gives each column, by name or number, or a tuple of columns its own; columns
        with the same word belong together, and parts are independent given the component. A family object
        brings its own covariance shape and floor: `covariance_type`, `n_mixtures` and `reg_covar` are for the
        words.
    covariance_type : str, default="full"
        Form of Gaussian covariance matrices, as in `GaussianMixtureEM`: "full", "tied", "diag", "spherical",
        "tied_diag" or "tied_spherical", mclust's letters, or "factor".
    n_factors : int, default=10
        Number of factors, where `covariance_type` is "factor"; no more than there are features count.
    n_mixtures : int, default=2
        Number of Gaussians in each component, for "gmm".
    n_categories : int or array-like of int, default=None
        Number of categories of each categorical column, or of all of them. None: as the data have, those of a
        column of a type for categories (of pandas, an Enum of polars) as that has.
    gate : array-like of int, str or bool, default=None
        Columns, by number, name or mask, on which the weights of the components depend, by a multinomial
        logistic regression (latent class regression). They are no part of the emission, and must be known of
        every row. None: all rows have the same weights.
    gate_alpha : float, default=1e-4
        Ridge on the slopes of the gate, in units of the features' standard deviations: half of it times their
        sum of squares is taken from the log-likelihood. Without it slopes run to infinity where the columns
        tell components apart without error.
    emission_prior : dict or float, default=None
        Priors of probabilities, by name, which make the fit one of greatest posterior density: Dirichlet
        distributions of `concentration` over categories, a number or for each column an array, and Beta
        distributions of `ones` and `zeros`; of at least 1. A category that data or `n_categories` name is then
        impossible nowhere. A number alone is that of all of these. For a dict of emissions a dict of these by
        the columns of each.
    noise : bool or callable, default=False
        Whether there is one more component, without parameters, for what lies far from all others, as in
        `GaussianMixtureEM`: uniform on the box of the data, where all columns are numbers, or a function of
        rows that gives log-densities. It is the last component, K, of `weights_` and all predictions.
    reg_covar : float, default=1e-9
        Least eigenvalue of a covariance matrix, relative to each feature's variance. A constraint, not a
        term added to diagonals; values below 1e-9 count as 1e-9.
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
    init_params : str, array or callable, default="auto"
        How to start: "auto", "kmeans", "k-means++", "random" or "random_from_data", as in `GaussianMixtureEM`.
        "auto" races several kinds; where columns are counts or categories these are k-means on rows as points
        (categories by indicators), random rows and those nearest to them, a few rows at random for each
        component, random responsibilities, annealing, and a tied covariance matrix first and then freed. An
        array holds labels (n,) or responsibilities (n, K) of the rows of X. A callable is called ``n_init``
        times with ``(X, n_components, random_state)``, where X holds the rows that take part in the race,
        categories as codes, and returns either.
    weights_init : array-like of shape (K,), or (K + 1,) with `noise`, default=None
        Weights to start from.
    means_init : array-like of shape (K, d), default=None
        Means (rates, probabilities) of the columns of the emission to start from. There is then one start,
        whatever `n_init` says.
    emission_init : dict, default=None
        Parameters of the emissions to start from, by the names under which they are published: `means` and
        `covariances`, `rates`, `probabilities`, in their shapes. For a dict of emissions a dict of these by the
        columns of each, as `emission_params_` has them. Where it says of every column where components are
        (means, or all parameters) there is one start.
    fixed : str or sequence of str, default=()
        Names of parameters of the emissions that stay at the starting value that is given, as in
        ``("means",)``.
    acceleration : {"auto", "squarem", "secant", "none"}, default="auto"
        Extrapolation of EM steps. It never lowers the objective.
    assignment : {"soft", "hard", "sampled"}, default="soft"
        What an M-step sees of rows. "soft": their responsibilities, which is EM. "hard": each in its most
        probable component (classification EM), which climbs the likelihood of data and components together.
        "sampled": each in one drawn by its responsibilities (stochastic EM): a chain of `max_iter` iterations
        that neither climbs nor ends by `tol`. The best of it by likelihood is the fit, and the mean of its
        second half is `mean_parameters_`. A row is drawn once, whatever its weight.
    annealing : bool or array-like of shape (n_temperatures,), default=False
        Deterministic annealing: before its race each start goes through some steps of EM at these inverse
        temperatures, which rise to 1: below 1 the posterior is flattened. True is 0.2, 0.35, 0.5, 0.7, 0.85, 1.
        Starting values that are given would melt, and are refused beside it, as is ``max_iter=0``.
    warm_start : bool, default=False
        Start from the last fit's solution, whatever `n_init` and any starting values say, and keep its order of
        components. The first fit races.
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
    weights_ : ndarray of shape (K,), or (K + 1,) with `noise`
        Weights, largest first, unless something gave components an order: see Notes. With a gate their means
        over the rows of the fit.
    means_, covariances_, rates_, probabilities_
        Parameters of the emissions, in the units of X, where there is one emission for all columns: means
        and covariances of Gaussians as in `GaussianMixtureEM`; rates (K, d) of counts; probabilities (K, d)
        of a 1, or for categories a tuple with an array (K, n_categories) for each column. With "gmm" means
        and covariances have the shape (K, M, …), and there are `member_weights_` (K, M).
    scale_matrices_, df_
        Of "student_t", in the place of covariances, and degrees of freedom (K,), at least 1 and at most 200.
    dispersions_, inflations_
        Of "negative_binomial" and "zero_inflated_poisson", (K, d).
    shapes_, alphas_, betas_, log_means_, log_covariances_, angles_, directions_, concentrations_
        Of "gamma", beside `rates_`, and "beta" (K, d); of the logarithms of "lognormal" numbers, as means and
        covariances of Gaussians; of "von_mises" (K, d) both, of "von_mises_fisher" (K, d) and (K,).
    categories_ : list of ndarray
        Categories of each categorical column, in the order of `probabilities_`: codes, or names. Only where
        there are such columns.
    emission_params_ : NamedTuple, or dict of tuple of int -> NamedTuple
        The same for every emission; for a dict of emissions by the columns of each part.
    gate_coef_ : ndarray of shape (K, q)
        Slopes of the gate, per unit of its columns, in the order in which X has them. Only differences between
        components matter: each column sums to 0. Only with a gate.
    gate_intercept_ : ndarray of shape (K,)
        Intercepts of the gate, of sum 0.
    converged_ : bool
        Whether the best start met `tol`, or all gains were lost in rounding. A chain of draws never does.
    n_iter_ : int
        Number of iterations of the best start, on all of the data.
    log_likelihood_ : float
        Total weighted log-likelihood of what is observed, at the fitted parameters, in nats. Of nothing else,
        whatever the `assignment`.
    lower_bound_ : float
        The same per unit of weight; equals ``score(X)``. With hard assignments that of what is seen and hidden
        together, which is less.
    lower_bounds_ : list of float
        Objective (log-likelihood plus log prior) per unit of weight at each iteration of the best start, the
        start first. With hard assignments the likelihood is that of what is seen and hidden together; with
        sampled ones the values go up and down.
    extrapolated_ : list of bool
        Which of them were reached by extrapolation.
    gap_ : float
        Total objective still to be gained, projected, in nats.
    restarts_ : Restarts
        What happened to each of the `starts` (kind, status, log-likelihood, evidence, projected limit, ...),
        how many reached the best maximum (`n_best`) of how many (`n_maxima`), and what share of further starts
        would end where none did (`unseen`).
    mean_parameters_ : dict
        Mean parameters over the second half of a chain of draws, by the names that `from_parameters` takes.
        Only with ``assignment="sampled"``.
    n_parameters_ : int
        Number of free parameters; what is fixed, and codes that nobody has or names, do not count.
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
    GaussianMixtureEM : The same for Gaussians, with starting values and precisions as in scikit-learn.
    HMMEM : Emissions of the same kinds, in sequences.

    Notes
    -----
    Categories may be names: texts, or a column of a type for categories. They stand for codes in the order of
    `categories_`, and draws have them. What fit never saw has log-density -inf after it, with a warning.

    Missing entries, NaN, are integrated out: the density of a row is that of the entries it has, and the fit is
    maximum likelihood from incomplete rows, where what is missing does not depend on its value, given what is
    there. A row of NaN says nothing of the components: its responsibilities are the weights.

    A race of starts finds components in any order: they are sorted by weight. Their order is kept where it was
    given, by `means_init`, by `emission_init`, or by labels or responsibilities as `init_params`
    (also those of a callable with ``n_init=1``), and where a fit goes on from the last one.

    The log-density of columns side by side is that of numbers in the units of X and of counts and categories
    as they are, so that log-likelihoods of different emissions for the same column can be compared only where
    both are counts or categories.

    References
    ----------
    McLachlan & Peel (2000), Finite Mixture Models, Wiley. Goodman (1974), Exploratory latent structure
    analysis using both identifiable and unidentifiable models, Biometrika 61. Bandeen-Roche, Miglioretti, Zeger
    & Rathouz (1997), Latent variable regression for multiple discrete outcomes, J. Am. Stat. Assoc. 92.

    Examples
    --------
    Customers who spend and visit more or less, of whom some entries are missing:

    >>> import numpy as np
    >>> from emlearn import MixtureEM
    >>> rng = np.random.RandomState(0)
    >>> regular = rng.uniform(size=300) < 0.3
    >>> spent = rng.lognormal(np.where(regular, 4.0, 2.5), 0.4)
    >>> visits = rng.poisson(np.where(regular, 8.0, 2.0)).astype(float)
    >>> visits[::10] = np.nan
    >>> X = np.column_stack([np.log(spent), visits])
    >>> mixture = MixtureEM(2, emission={0: "gaussian", 1: "poisson"}, random_state=0).fit(X)
    >>> mixture.weights_.round(2)
    array([0.69, 0.31])
    >>> mixture.emission_params_[1,].rates.round(1)
    array([[2.1],
           [7.7]])
    >>> mixture.predict([[2.0, 1.0], [4.5, np.nan]])
    array([0, 1])
    """

    weights_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    rates_: NDArray[Any]
    probabilities_: Any
    emission_params_: Any
    gate_coef_: NDArray[Any]
    gate_intercept_: NDArray[Any]

    _of_parameters = frozenset(
        f"{name}_"
        for name in (
            *("weights", "emission_params", "gate_coef", "gate_intercept"),
            *("member_weights", *PARAMETERS),
        )
    )
    _made_of = "weights, means=..., covariances=..., ..."
    _of_chain = ("weights", "gate_coef", "gate_intercept", "emission_params")

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "emission": [str, dict, object],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "n_mixtures": [Interval(Integral, 1, None, closed="left")],
        "n_categories": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "gate": ["array-like", str, Integral, None],
        "gate_alpha": [Interval(Real, 0.0, None, closed="left")],
        "emission_prior": [dict, Interval(Real, 0, None, closed="neither"), None],
        "noise": ["boolean", callable],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "ranking": [StrOptions(set(RANKINGS))],
        "init_params": [StrOptions(set(START_KINDS)), "array-like", callable],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "emission_init": [dict, None],
        "fixed": [str, tuple, list],
        "acceleration": [StrOptions(set(ACCELERATIONS))],
        "assignment": [StrOptions(set(ASSIGNMENTS))],
        "annealing": ["boolean", "array-like"],
        "warm_start": ["boolean"],
        "forgetting": [Interval(Real, 0.0, 1.0, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        emission: str | dict[Any, Any] | Emission = "gaussian",
        covariance_type: CovarianceType = "full",
        n_factors: int = 10,
        n_mixtures: int = 2,
        n_categories: ArrayLike | None = None,
        gate: ArrayLike | None = None,
        gate_alpha: float = 1e-4,
        emission_prior: dict[Any, Any] | float | None = None,
        noise: bool | Callable[..., ArrayLike] = False,
        reg_covar: float = 1e-9,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        init_params: ArrayLike | Callable[..., ArrayLike] = "auto",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        emission_init: dict[Any, Any] | None = None,
        fixed: str | Sequence[str] = (),
        acceleration: Acceleration = "auto",
        assignment: Assignment = "soft",
        annealing: Annealing = False,
        warm_start: bool = False,
        forgetting: float = 0.0,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int | bool = 0,
    ) -> None:
        self.n_components = n_components
        self.emission = emission
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.n_mixtures = n_mixtures
        self.n_categories = n_categories
        self.gate = gate
        self.gate_alpha = gate_alpha
        self.emission_prior = emission_prior
        self.noise = noise
        self.reg_covar = reg_covar
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.emission_init = emission_init
        self.fixed = fixed
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.warm_start = warm_start
        self.forgetting = forgetting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- input -------------------------------------------------------------------------------------------

    def _check_X(self, X, *, reset, allow_nan=True, shown=None):
        if sparse.issparse(X):
            return self._read_sparse(X, reset)
        known, fitted = (None, None) if reset else (vars(self).get("_labels", {}), self)
        coding = Coding(self._columns_of_codes, known, fitted)
        if not isinstance(X, Named):
            (X,) = coding.encode([as_numpy(X)], lambda _, row: f"row {row}")
        rows = super()._check_X(X, reset=reset, allow_nan=allow_nan)
        if reset:
            self._labels = coding.labels
        if shown is not None:  # what codes stand for in a message
            shown.update(coding.shown)
        for j in self._gate_columns(rows.shape[1]):
            if np.isnan(rows[:, j]).any():
                row = int(np.argmax(np.isnan(rows[:, j])))
                raise ValueError(
                    f"Input X contains NaN in {self._column_name(j)}, row {row}, which the gate sees: what "
                    "weights depend on must be known. Impute it before, or leave the rows out."
                )
        return rows

    def _read_sparse(self, X, reset):
        if reset:
            self._labels = {}
        family = emission_family(self, X.shape[-1], None, in_sequence=False) if self._takes_sparse else None
        what = "a mixture with a gate" if self.gate is not None else f"emission={self.emission!r}"
        return read_sparse(self, X, family, what, reset=reset)

    @property
    def _takes_sparse(self):
        return self.gate is None and takes_sparse(self.emission)

    def _columns_of_codes(self, n_features, names):
        gated = self._gate_columns(n_features, names)
        return categorical_columns(self._emission(n_features, names), n_features, names, gated)

    def _emission(self, n_features, names):
        """What is said of all columns of the emission."""
        return self.emission

    def _gate_columns(self, n_features, names=None):
        """Numbers of the columns that the gate sees, in their order."""
        return aside_of(self, n_features, getattr(self, "feature_names_in_", None) if names is None else names)

    def _data_again(self, X, sample_weight=None):
        shown: dict[int, Any] = {}
        data = self._data(X, sample_weight, fit=False, shown=shown)
        warn_of_impossible(self, data, self._model.family, self._params.family, shown)
        return data

    # -- fit ---------------------------------------------------------------------------------------------

    def _family(self):
        d, names = self.n_features_in_, getattr(self, "feature_names_in_", None)
        family = emission_family(
            self, d, names, self._gate_columns(d), in_sequence=False, emission=self._emission(d, names)
        )
        return with_priors(self, family)

    def _model_of(self, family, moments, units, everything):
        gated = list(self._gate_columns(len(units.scale)))
        if not gated:
            return LatentModel(MixtureWeights(), family)
        spread = np.sqrt(moments.variance[gated])
        own = Affine(moments.mean[gated], np.where(spread > 0, spread, 1.0))
        return LatentModel(SoftmaxGate(tuple(gated), self.gate_alpha, own), family)

    def _columns_aside(self, n_features):
        return list(self._gate_columns(n_features))

    def _refuse_data(self, data, family):
        refuse_impossible(self, data, family)

    def _refuse_rows(self, rows):
        refuse_impossible(self, Batches(rows.X, rows.weight), self._model.family)

    def _after_rows(self, rows):
        if self._weights_vary:  # they were means over the rows of a fit
            vars(self).pop("weights_", None)

    def _batches_of(self, model, rows):
        model, data = super()._batches_of(model, rows)
        return LatentModel(model.latent, HardlyImpossible(model.family)), data

    def _given(self, family, sample, data, units):
        K, emission = self.n_components, None
        weights = read_weights_init(self.weights_init, K + self._is_noisy)
        if weights is not None and self._weights_vary:
            raise ValueError(
                "weights_init gives weights for all rows, but with a gate or groups each has its own: drop it."
            )
        if self.emission_init is not None or held_names(self):
            emission = GivenEmission(self, family, self._example(family, sample), units, ())
            family = emission.family
        return GivenParts(family, weights, self._means_given(units), emission)

    def _means_given(self, units):
        """Means to start from, in the engine's units; 0 for what the gate sees."""
        if self.means_init is None:
            return None
        d = len(units.scale)
        seen = np.setdiff1d(np.arange(d), self._gate_columns(d))
        given = read_array("means_init", self.means_init, shapes=[(self.n_components, len(seen))], finite=True)
        means = np.zeros((self.n_components, d))
        means[:, seen] = given
        return (means - units.shift) / units.scale

    @property
    def _is_alike(self):
        return not held_names(self)

    @property
    def _gives_order(self):
        return super()._gives_order or self.emission_init is not None

    def _places_given(self):
        if held_names(self):
            return []  # what is held tells components apart at any temperature
        names = [n for n in ("means_init", "emission_init", "weights_init") if getattr(self, n) is not None]
        by_row = not (isinstance(self.init_params, str) or callable(self.init_params))
        return [*names, "init_params"] if by_row else names

    _form = "emission, covariance_type or gate"

    def _fits_last(self, model, sample):
        n_others = model.family.n_others
        if self._n_fitted != self.n_components + n_others or self._made_with != self._making():
            return False
        now = self._example(components_of(model.family), sample)
        return [leaf.shape for leaf in leaves(self._params.family)] == [leaf.shape for leaf in leaves(now)]

    def _last_latent(self, model, units):
        latent, hidden = self._model.latent, self._params.latent
        if self.gate is None:
            return hidden
        return model.latent.from_units(latent.in_units(hidden, self._units), units)

    def _example(self, family, sample):
        """Parameters of the family, which show the names and shapes there are: all components alike."""
        even = np.full((self.n_components, len(sample.weight)), 1.0 / self.n_components)
        return family.start(sample.batch, even * sample.weight)

    def _making(self):
        """What the form of the parameters depends on."""
        d = self.n_features_in_
        emission = self._emission(d, getattr(self, "feature_names_in_", None))
        shown = repr(sorted(emission.items(), key=str)) if isinstance(emission, dict) else repr(emission)
        form = self.covariance_type, self.n_factors, self.n_mixtures, self._is_noisy
        return shown, *form, d, self._gate_columns(d)

    def _order(self, plan, params):
        shares, family = self._shares(plan, params), plan.model.family
        K = len(shares) - family.n_others
        keys = -np.round(shares[:K], 9)[:, None]
        if family.has_moments:
            means = family.mean(params.family)[:K]
            keys = np.hstack([keys, means[:, ~np.isnan(means).any(axis=0)]])
        # Rows as lists: lexsort holds some kilobytes for each of the columns, of which there may be many.
        return np.array(
            [*sorted(range(K), key=lambda k: keys[k].tolist()), *range(K, len(shares))], dtype=np.intp
        )

    def _shares(self, plan, params):
        """Weights of the components, of a gate their means over the rows of the fit."""
        latent = plan.model.latent
        return latent.shares(params.latent, plan.data) if self._weights_vary else params.latent

    def _take(self, model, params, units):
        self._model, self._params, self._units = model, params, units
        d, K = len(units.scale), self._n_fitted - model.family.n_others
        family, own = components_of(model.family), model.family.in_units(params.family, units)
        fields = fields_of(family, own, d, K)
        if "weights" in fields:  # of the members of each component
            fields["member_weights"] = fields.pop("weights")
        fields = {**self._hidden_fields(model.latent, params.latent, units), **fields}
        categories = categories_of(family, own, d, vars(self).get("_labels", {}))
        self._publish(fields | ({"categories": categories} if categories else {}))
        self._made_with = self._making()
        self.n_parameters_ = model.latent.n_parameters(params.latent) + family.n_parameters(params.family)

    @property
    def _weights_vary(self):
        """Whether rows have weights of their own, of which `weights_` are the means."""
        return self.gate is not None

    def _hidden_fields(self, latent, params, units):
        """What is published of the latent structure."""
        if self.gate is None:
            return {"weights": params.copy()}
        gate = latent.in_units(params, units)
        gate = gate - gate.mean(axis=0)  # only differences matter
        return {"gate_coef": gate[:, 1:].copy(), "gate_intercept": gate[:, 0].copy()}

    def _publish_race(self, plan, result):
        super()._publish_race(plan, result)
        if self._weights_vary:
            vars(self)["weights_"] = self._shares(plan, self._params)

    def _estimated(self):
        names = [name for name in self._published if name not in ("emission_params", "categories")]
        if all(name in ("weights", "group_weights", "gate_coef", "gate_intercept") for name in names):
            names.append("emission_params")
        return tuple(f"{name}_" for name in names)

    def reorder(self, order: ArrayLike) -> Self:
        super().reorder(order)
        if self._weights_vary and hasattr(self, "weights_"):
            vars(self)["weights_"] = self.weights_[self._read_order(order)]
        return self

    reorder.__doc__ = MixtureByLikelihood.reorder.__doc__

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike | None = None,
        *,
        emission: str | dict[Any, Any] | Emission = "gaussian",
        emission_params: Any = None,
        gate_coef: ArrayLike | None = None,
        gate_intercept: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """A mixture of known parameters, in place of a fit.

        Parameters
        ----------
        weights : array-like of shape (K,), default=None
            Weights, of sum 1. None only with a gate.
        emission : str, dict or family object, default="gaussian"
            What rows of a component are, as of the class.
        emission_params : dict or NamedTuple, default=None
            Where columns have emissions of their own: for the columns of each, as a tuple, a dict of its
            parameters by name. What is published as `emission_params_` will do for every emission, beside the
            `emission` and `covariance_type` that it comes from.
        gate_coef : array-like of shape (K, q), default=None
            Slopes for the columns in `gate`, which is a parameter of the class, in the order in which X has
            them. Only differences between components matter.
        gate_intercept : array-like of shape (K,), default=None
            Intercepts of the gate.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features, with those that the gate sees.
        **params
            Parameters of the emissions by the names under which they are published, where all columns have the
            same: ``means`` and ``covariances`` (with "gmm" and ``member_weights``; with
            ``covariance_type="factor"`` ``loadings`` and ``noise`` instead of covariances), ``rates``,
            ``probabilities``. And other parameters of the class. With ``warm_start=True`` a fit goes on from
            here.

        Returns
        -------
        mixture : MixtureEM
            Fitted, without what only a fit can tell, such as `converged_`; with a gate also without
            `weights_`, which are means over rows.

        Raises
        ------
        ValueError
            If probabilities are negative or do not sum to 1, a covariance is not symmetric and positive
            definite, a parameter is missing or not one of the emission's, or shapes do not fit.

        Examples
        --------
        >>> from emlearn import MixtureEM
        >>> mixture = MixtureEM.from_parameters([0.3, 0.7], emission="poisson", rates=[[8.0], [1.0]])
        >>> mixture.predict([[0], [3], [9]])
        array([1, 1, 0])
        """
        if "member_weights" in params:
            params["weights"] = params.pop("member_weights")
        named, params = apart(cls, params | {"emission": emission})
        gated = params.get("gate") is not None
        for name, value in (("gate_coef", gate_coef), ("gate_intercept", gate_intercept)):
            if (value is not None) != gated:
                raise ValueError(f"{name} goes with a gate: give both, or neither.")
        if (weights is None) != gated:
            raise ValueError(
                "Give weights, or a gate with gate_coef and gate_intercept, by which each row has its own."
            )
        if gated:
            constants = read_array("gate_intercept", gate_intercept, finite=True)
            shape = len(constants), n_columns_aside(params["gate"])
            slopes = read_array("gate_coef", gate_coef, shapes=[shape], finite=True)
            hidden = np.column_stack([constants, slopes])
            hidden -= hidden.mean(axis=0)  # only differences matter
        else:
            hidden = read_shares("weights", weights, (None,))
        mixture = cls._of_legal(len(hidden), params)
        if feature_names is not None:
            names = [feature_names] if isinstance(feature_names, str) else list(feature_names)
            mixture._know_features(len(names), names)
        family, emitted = emission_of(mixture, emission_params, named)
        d = n_columns_of(family, emitted)
        mixture._know_features(d, feature_names)
        mixture._labels = {}
        latent = SoftmaxGate(mixture._gate_columns(d), mixture.gate_alpha) if gated else MixtureWeights()
        mixture._take(LatentModel(latent, family), LatentPair(hidden, emitted), as_they_are(d))
        return mixture

    # -- after fit ---------------------------------------------------------------------------------------

    def sample(
        self, n_samples: int = 1, random_state: RandomState = None, *, X_gate: Any = None
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; with a gate, of which there is one for each row of ``X_gate``, not to be given.
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.
        X_gate : array-like of shape (n_samples, q), default=None
            With a gate: values of its columns, in the order in which X has them.

        Returns
        -------
        X : ndarray of shape (n_samples, d)
            Rows, without a gate grouped by component; of objects, where columns of categories with names stand
            beside others.
        y : ndarray of int of shape (n_samples,)
            Their components.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        rng = self._rng(random_state)
        if (X_gate is None) != (self.gate is None):
            raise ValueError(
                "X_gate is for a gate, which this mixture does not have."
                if self.gate is None
                else "By a gate the component of a row depends on its columns: give them as X_gate."
            )
        given = None
        if X_gate is not None:
            columns = list(self._gate_columns(self.n_features_in_))
            given = read_array("X_gate", X_gate, finite=True)
            if given.ndim != 2 or given.shape[1] != len(columns) or n_samples not in (1, len(given)):
                raise ValueError(
                    f"X_gate has shape {given.shape}; expected a row for each of n_samples, and {len(columns)} "
                    "columns."
                )
        X, y = self._draw(n_samples if given is None else len(given), given, rng)
        return with_labels(X, vars(self).get("_labels")), y

    def _draw(self, n, given, rng):
        """Rows, categories as codes, and their components; ``given`` are the columns of a gate."""
        latent, params = self._params
        if given is None:
            y = np.repeat(np.arange(len(latent)), rng.multinomial(n, latent))
        else:
            columns = list(self._gate_columns(self.n_features_in_))
            whole = np.zeros((self.n_features_in_, n))
            whole[columns] = given.T  # whose units are those of X
            shares = np.exp(self._model.latent.log_weights(latent, Batch(whole)))
            y = drawn_from(shares, rng.uniform(size=n))
        X = self._model.family.sample(params, y, rng) * self._units.scale + self._units.shift
        if given is not None:
            X[:, columns] = given
        return X, y

    def _drawn_anew(self, X, given, rng):
        X = self._check_X(X, reset=False)
        columns = list(self._gate_columns(self.n_features_in_))
        drawn, _ = self._draw(X.shape[0], X[:, columns] if columns else None, rng)
        if not columns:
            drawn = drawn[rng.permutation(len(drawn))]  # they come component by component
        if sparse.issparse(X):
            return sparse.csr_array(drawn), given
        drawn[np.isnan(X)] = np.nan
        return with_labels(drawn, vars(self).get("_labels")), given

    def marginal(self, columns: ArrayLike) -> MixtureEM:
        """Mixture of some of the columns.

        Parameters
        ----------
        columns : array-like of int or str
            Columns to keep, by number or name. Those that a gate sees stay in any case, at the end where they
            are not named.

        Returns
        -------
        mixture : MixtureEM
            Fitted, with what belongs to its distribution; without the history of a fit.

        Raises
        ------
        ValueError
            If ``columns`` names a column twice, one that is not there or none of the emission, or some columns
            of an emission whose columns only go together, as of "multinomial".
        """
        check_is_fitted(self)
        d, names = self.n_features_in_, getattr(self, "feature_names_in_", None)
        gated = self._gate_columns(d)
        index = self._column_numbers(columns)
        index = np.append(index, np.setdiff1d(gated, index)).astype(np.intp)
        kept = {int(j): place for place, j in enumerate(index)}
        label = {j: place if names is None else str(names[j]) for j, place in kept.items()}
        emission = emission_of_some(self._emission(d, names), d, names, gated, label)
        if not emission:
            raise ValueError(f"columns names none of the emission: {np.asarray(columns).tolist()}.")
        mixture = clone(self).set_params(
            emission=emission,
            gate=[label[j] for j in gated] or None,
            init_params="auto",
            **dict.fromkeys(("n_categories", "emission_prior", "weights_init", "means_init", "emission_init")),
            fixed=(),
        )
        mixture.n_features_in_ = len(index)
        if names is not None:
            mixture.feature_names_in_ = names[index]
        mixture._labels = {kept[j]: own for j, own in vars(self).get("_labels", {}).items() if j in kept}
        latent, hidden = self._model.latent, self._params.latent
        if gated:
            latent, hidden = latent.moved(hidden, [kept[j] for j in gated])
        fitted = self._model.family
        whole = components_of(fitted)
        family, emitted = as_fitted(whole.of_some(index), whole.marginal(self._params.family, index))
        if fitted.n_others:
            family = replace(fitted, family=family, noise=fitted.noise.of(index))
        units = Affine(self._units.shift[index], self._units.scale[index])
        mixture._take(LatentModel(latent, family), LatentPair(hidden, emitted), units)
        if gated and hasattr(self, "weights_"):
            vars(mixture)["weights_"] = self.weights_.copy()
        return mixture

    def conditional(self, X_known: Any, columns: ArrayLike) -> MixedConditional:
        """Mixture of the remaining columns, given some.

        Parameters
        ----------
        X_known : array-like of shape (n, len(columns))
            Values of the known columns, in the order of ``columns``; NaN where one is not known of a row.
        columns : array-like of int or str
            Which columns they are, by number or name. All that a gate sees must be among them.

        Returns
        -------
        mixture : MixedConditional
            ``weights`` (n, K), and of the q remaining columns in their order ``means`` (n, K, q) and
            ``covariances`` (K, q, q), which for categories are NaN; where entries of X_known are missing each
            row has covariances of its own, (n, K, q, q). ``probabilities`` (K, n_categories) of remaining
            categories, by the number of the column. ``mixture.mean()`` is the expectation of numbers and
            counts, (n, q), and ``mixture.proba(column)`` the probabilities of categories, (n, n_categories).

        Raises
        ------
        ValueError
            If ``columns`` names a column twice, one that is not there, or some of an emission whose columns
            only go together, or leaves none; if not all that a gate sees is known.

        Examples
        --------
        >>> import numpy as np
        >>> from emlearn import MixtureEM
        >>> mixture = MixtureEM.from_parameters(
        ...     [0.5, 0.5],
        ...     emission={0: "poisson", 1: "categorical"},
        ...     emission_params={
        ...         (0,): {"rates": [[1.0], [9.0]]},
        ...         (1,): {"probabilities": [[0.9, 0.1], [0.2, 0.8]]},
        ...     },
        ... )
        >>> mixture.conditional([[0], [12]], columns=[0]).proba(1).round(2)
        array([[0.9, 0.1],
               [0.2, 0.8]])
        >>> mixture.conditional([[0], [1]], columns=[1]).mean().round(1)
        array([[2.5],
               [8.1]])
        """
        weights, means, covariances, others = self._given_others(X_known, columns)
        params, d = self._params.family, self.n_features_in_
        every = probabilities_of(self._model.family, params, d)
        probabilities = {j: p.copy() for j, p in every.items() if j in others}
        return MixedConditional(weights, means, covariances, probabilities)

    def _read_known(self, X_known, known):
        labels = vars(self).get("_labels", {})
        given = known.tolist()
        coding = Coding(None, {i: labels[j] for i, j in enumerate(given) if j in labels})
        (X_known,) = coding.encode([as_numpy(X_known, "X_known")], lambda _, row: f"row {row} of X_known")
        rows = super()._read_known(X_known, known)
        if rows.shape[1] != len(given):
            return rows  # which is said by whoever asks
        for j in self._gate_columns(self.n_features_in_):
            if j not in given or np.isnan(rows[:, given.index(j)]).any():
                raise ValueError(
                    f"The gate sees {self._column_name(j)}, so that it must be known: name it in columns, and "
                    "leave no entry out."
                )
        whole = np.full((len(rows), self.n_features_in_), np.nan)
        whole[:, given] = rows
        shown = {given[i]: own for i, own in coding.shown.items()}
        warn_of_impossible(self, Batches(whole), self._model.family, self._params.family, shown)
        return rows

    def __getstate__(self):
        return kept_state(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(read_state(state))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        kinds = observed_kinds(self.emission)
        tags.input_tags.categorical = "codes" in kinds
        tags.input_tags.string = "codes" in kinds
        tags.input_tags.sparse = self._takes_sparse
        tags.input_tags.positive_only = "numbers" not in kinds
        return tags
