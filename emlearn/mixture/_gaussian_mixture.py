"""Gaussian mixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from emlearn._by_hand import as_they_are
from emlearn._input.arrays import check_count
from emlearn._sklearn_compat import Interval, StrOptions
from emlearn._typing import Acceleration, Annealing, Assignment, CovarianceType, RandomState, Ranking
from emlearn.em import (
    ACCELERATIONS,
    ASSIGNMENTS,
    RANKINGS,
    Affine,
    LatentModel,
    LatentPair,
)
from emlearn.families import COVARIANCE_TYPES, gaussian_family
from emlearn.families.base import read_shares
from emlearn.latent import MixtureWeights
from emlearn.mixture._base import MixtureByLikelihood, in_precision
from emlearn.mixture._conditional import ConditionalMixture
from emlearn.mixture._starts import START_KINDS


class GaussianMixtureEM(MixtureByLikelihood):
    r"""Gaussian mixture fitted by Expectation-Maximization.

    Parameters
    ----------
    n_components : int, default=1
        Number of components, K.
    covariance_type : str, default="full"
        Form of the covariance matrices. "full", "diag" (no correlations) and "spherical" (one variance for
        all features) give each component its own; "tied", "tied_diag" and "tied_spherical" share one. "factor"
        is a mixture of factor analysers: `n_factors` factors plus noise of each feature's own, for wide data.
        mclust's letters do as well: VVV (full), EEE (tied), VVI (diag), VII (spherical), EEI (tied_diag), EII
        (tied_spherical). So do the letters of its other shapes: of volume, shape and orientation, in this
        order, E is what all components share and V what each has of its own: VEE, EVE, VVE, EEV, VEV, EVV
        and, of uncorrelated features, VEI and EVI. Of EVE, VVE, EEV and VEV the fit depends on the units
        of the features.
    n_factors : int, default=10
        Number of factors, q, where `covariance_type` is "factor"; no more than there are features count.
    tol : float, default=1e-4
        Stop when less than this is still to be gained in total, in nats, as projected from the rate of
        convergence. It does not depend on the number of rows.
    max_iter : int, default=1000
        Largest number of iterations of one start. 0 evaluates the starts: the fit is the best of them.
    reg_covar : float, default=1e-9
        Least eigenvalue of a covariance matrix, relative to each feature's variance (to the mean variance
        for spherical forms). A constraint, not a term added to diagonals; values below 1e-9 count as 1e-9.
    n_init : int, default=40
        Most starts that are tried. They are drawn until few maxima can be left that none has reached: seven,
        if all of them lead to one, twelve, if to two, and so on; `restarts_.unseen` says what share is left.
    ranking : {"evidence", "likelihood"}, default="evidence"
        What the fits of different starts are compared by: the log-likelihood less a handicap for what it may
        owe to luck (`emlearn.families.evidence`), or the log-likelihood as it is.
    init_params : str, array or callable, default="auto"
        How to start: "auto", "kmeans", "k-means++", "random" or "random_from_data". "auto" races several
        kinds: k-means on standardised and on sphered data, a tied covariance matrix first and then freed,
        random rows, random responsibilities, annealing. An array holds labels (n,) or responsibilities
        (n, K) of the rows of X. A callable is called ``n_init`` times with
        ``(X, n_components, random_state)``, where X holds the rows that take part in the race (all, or of
        very many a sample), and returns either.
    weights_init : array-like of shape (K,), default=None
        Weights to start from.
    means_init : array-like of shape (K, d), default=None
        Means to start from, with equal weights and a common covariance matrix (of all rows about the means
        that they are nearest to) where these are not given too. There is then one start, and neither
        `init_params` nor `n_init` matters.
    precisions_init : array-like, default=None
        Precisions (inverse covariances) to start from, of the shape that `covariance_type` implies:
        (K, d, d), (d, d), (K, d), (K,), (d,) or ().
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
    weights_ : ndarray of shape (K,)
        Weights, largest first, unless something gave components an order: see Notes.
    means_ : ndarray of shape (K, d)
        Means, in the units of X.
    covariances_ : ndarray
        Covariances, in squared units of X: (K, d, d) for "full", (d, d) for "tied", (K, d) for "diag",
        (K,) for "spherical", (d,) for "tied_diag", () for "tied_spherical"; (K, d) for VEI
        and EVI; (K, d, d) for "factor" and all others.
    precisions_cholesky_ : ndarray
        Square roots of the precisions, of the shape of `covariances_`; matrices are upper triangular,
        :math:`\Sigma^{-1} = U U^\top`.
    precisions_ : ndarray
        Precisions (inverse covariances), of the shape of `covariances_`. Computed when asked for.
    loadings_, noise_ : ndarray of shape (K, d, q), (K, d)
        Loadings of the factors, and variances of the noise, in units of X. Only for "factor".
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
        Number of free parameters.
    n_rows_seen_ : int
        Number of rows that `partial_fit` has seen, with those of a `fit` before it. Only after `partial_fit`;
        what only a fit can tell (`converged_`, `n_iter_`, `log_likelihood_`, `lower_bound_`, `lower_bounds_`,
        `extrapolated_`, `gap_`) is absent once rows are seen but once.
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    Notes
    -----
    Of fewer rows than columns, fitted with full covariances each their own, no start can have evidence: ten are
    tried, some of each kind.

    Missing entries, NaN, are integrated out: the density of a row is that of the entries it has, and the fit is
    maximum likelihood from incomplete rows, where what is missing does not depend on its value, given what is
    there. A row of NaN says nothing of the components: its responsibilities are the weights.

    A race of starts finds components in any order: they are sorted by weight. Their order is kept where it was
    given, by `means_init`, by `precisions_init` that differ, or by labels or responsibilities as `init_params`
    (also those of a callable with ``n_init=1``), and where a fit goes on from the last one.

    Features are standardised inside, so that units of measurement do not matter: ``a * X + b`` gives the
    same components, labels and, up to :math:`n \sum \log |a|`, the same likelihood.

    The likelihood of a mixture is unbounded: a component that shrinks around few points lifts it without
    end. The fits of different starts are therefore compared by their evidence, the likelihood less a handicap
    for thin components (`emlearn.families.evidence`): one that many rows support earns more than that.

    References
    ----------
    Dempster, Laird & Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm,
    J. R. Stat. Soc. B 39. McLachlan & Peel (2000), Finite Mixture Models, Wiley. Ghahramani & Jordan (1994),
    Supervised learning from incomplete data via an EM approach, NIPS 6.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> X = load_old_faithful().data
    >>> mixture = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
    >>> mixture.means_.round(1)
    array([[ 4.3, 80. ],
           [ 2. , 54.5]])
    >>> print(f"{mixture.log_likelihood_:.3f}")
    -1130.264
    >>> mixture.predict([[2.0, 50.0], [4.5, 85.0]])
    array([1, 0])
    """

    weights_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]
    loadings_: NDArray[Any]
    noise_: NDArray[Any]

    _of_parameters = frozenset(
        f"{name}_"
        for name in (
            "weights",
            "means",
            "covariances",
            "precisions",
            "precisions_cholesky",
            "loadings",
            "noise",
        )
    )
    _made_of = "weights, means, covariances"
    _of_chain = ("weights", "means", "covariances", "loadings", "noise")

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "ranking": [StrOptions(set(RANKINGS))],
        "init_params": [StrOptions(set(START_KINDS)), "array-like", callable],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", Real, None],
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
        covariance_type: CovarianceType = "full",
        n_factors: int = 10,
        tol: float = 1e-4,
        max_iter: int = 1000,
        reg_covar: float = 1e-9,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        init_params: ArrayLike | Callable[..., ArrayLike] = "auto",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
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
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.tol = tol
        self.max_iter = max_iter
        self.reg_covar = reg_covar
        self.n_init = n_init
        self.ranking = ranking
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.warm_start = warm_start
        self.forgetting = forgetting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- fit ---------------------------------------------------------------------------------------------

    def _family(self):
        return gaussian_family(self.covariance_type, floor=self.reg_covar, n_factors=self.n_factors)

    def _places_given(self):
        names = [
            name
            for name in ("means_init", "precisions_init", "weights_init")
            if getattr(self, name) is not None
        ]
        init = self.init_params
        return names if isinstance(init, str) or callable(init) else [*names, "init_params"]

    def _take(self, model, params, units):
        self._model, self._params, self._units = model, params, units
        own, K = model.family.in_units(params.family, units), len(params.latent)
        fields = {"weights": params.latent, **model.family.fields(own, (K,))}
        fields["precisions_cholesky"] = model.family.precisions_cholesky(own)
        self._publish({name: in_precision(value, self._dtype) for name, value in fields.items()})
        self.n_parameters_ = K - 1 + model.family.n_parameters(params.family)

    def _estimated(self):
        return tuple(f"{name}_" for name in self._published if not name.startswith("precisions"))

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike | None = None,
        *,
        loadings: ArrayLike | None = None,
        noise: ArrayLike | None = None,
        covariance_type: CovarianceType = "full",
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """A mixture of known parameters, in place of a fit.

        Parameters
        ----------
        weights : array-like of shape (K,)
            Weights, of sum 1.
        means : array-like of shape (K, d)
            Means.
        covariances : array-like, default=None
            Covariances, of the shape that `covariances_` has for this `covariance_type`. Not needed for
            "factor".
        loadings, noise : array-like of shape (K, d, q), (K, d), default=None
            Loadings of the factors, and variances of the noise. Only for "factor".
        covariance_type : str, default="full"
            Form of the covariance matrices, as of the class.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features.
        **params
            Other parameters of the class. With ``warm_start=True`` a fit goes on from here.

        Returns
        -------
        mixture : GaussianMixtureEM
            Fitted, with all that follows from its distribution; without what only a fit can tell, such as
            `converged_`.

        Raises
        ------
        ValueError
            If weights are negative or do not sum to 1, a covariance is not symmetric and positive definite, or
            shapes do not fit.

        Examples
        --------
        >>> from emlearn import GaussianMixtureEM
        >>> mixture = GaussianMixtureEM.from_parameters([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]])
        >>> mixture.predict([[1.0], [4.0]])
        array([0, 1])
        """
        weights = read_shares("weights", weights, (None,))
        K = len(weights)
        given = {"means": means, "covariances": covariances, "loadings": loadings, "noise": noise}
        named = {name: value for name, value in given.items() if value is not None}
        params["covariance_type"] = covariance_type
        if covariance_type == "factor" and np.ndim(loadings) == 3:
            params.setdefault("n_factors", np.shape(loadings)[2])
        mixture = cls._of_legal(K, params)
        family = gaussian_family(covariance_type, floor=mixture.reg_covar, n_factors=mixture.n_factors)
        emitted = family.from_fields(named, (K,))
        mixture._know_features(emitted.means.shape[1], feature_names)
        mixture._dtype = np.dtype(np.float64)
        model = LatentModel(MixtureWeights(), family.with_parameters(emitted))
        mixture._take(model, LatentPair(weights, emitted), as_they_are(emitted.means.shape[1]))
        return mixture

    @property
    def precisions_(self) -> NDArray[Any]:
        """Precisions (inverse covariances), of the shape of `covariances_`."""
        check_is_fitted(self)
        family = self._model.family
        return in_precision(family.precisions(family.in_units(self._params.family, self._units)), self._dtype)

    # -- after fit ---------------------------------------------------------------------------------------

    def sample(
        self, n_samples: int = 1, random_state: RandomState = None
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        X : ndarray of shape (n_samples, d)
            Rows, grouped by component.
        y : ndarray of int of shape (n_samples,)
            Their components.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        rng = self._rng(random_state)
        weights, params = self._params
        y = np.repeat(np.arange(len(weights)), rng.multinomial(n_samples, weights))
        X = self._model.family.sample(params, y, rng) * self._units.scale + self._units.shift
        return X.astype(self.means_.dtype), y

    def marginal(self, columns: ArrayLike) -> GaussianMixtureEM:
        """Mixture of some of the features.

        Parameters
        ----------
        columns : array-like of int or str
            Features to keep, by number or name.

        Returns
        -------
        mixture : GaussianMixtureEM
            Fitted, with what belongs to its distribution: weights, means, covariances, number of
            parameters; without the history of a fit.
        """
        check_is_fitted(self)
        index = self._column_numbers(columns)
        weights, params = self._params
        part = self._model.family.marginal(params, index)
        mixture = clone(self).set_params(
            init_params="auto", weights_init=None, means_init=None, precisions_init=None
        )
        mixture.n_features_in_ = len(index)
        if hasattr(self, "feature_names_in_"):
            mixture.feature_names_in_ = self.feature_names_in_[index]
        units = Affine(self._units.shift[index], self._units.scale[index])
        model = replace(self._model, family=self._model.family.of_some(index))
        mixture._dtype = self._dtype
        mixture._take(model, LatentPair(weights, part), units)
        return mixture

    def conditional(self, X_known: ArrayLike, columns: ArrayLike) -> ConditionalMixture:
        """Mixture of the remaining features, given some.

        Parameters
        ----------
        X_known : array-like of shape (n, len(columns))
            Values of the known features, in the order of ``columns``; NaN where one is not known of a row.
        columns : array-like of int or str
            Which features they are, by number or name.

        Returns
        -------
        mixture : ConditionalMixture
            ``weights`` (n, K), ``means`` (n, K, q) and ``covariances`` (K, q, q) of the q remaining
            features in their order; ``mixture.mean()`` is their expectation, (n, q). Where entries of X_known
            are missing each row has covariances of its own, (n, K, q, q).

        Raises
        ------
        ValueError
            If ``columns`` names a feature twice or one that is not there, or leaves none.

        Examples
        --------
        >>> from emlearn import GaussianMixtureEM
        >>> from emlearn.datasets import load_old_faithful
        >>> X = load_old_faithful().data
        >>> mixture = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
        >>> wait = mixture.conditional([[2.0], [4.5]], columns=[0])  # after 2 and 4.5 minutes
        >>> wait.mean().round()
        array([[54.],
               [81.]])
        """
        return ConditionalMixture(*self._given_others(X_known, columns)[:3])
