"""Mixtures of regressions whose weights are the same for all rows."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, Self

from numpy.typing import ArrayLike

from emlearn._online import Rows, Streaming, rows_of_batch
from emlearn._sklearn_compat import Interval, _fit_context
from emlearn._typing import Acceleration, Annealing, Assignment, RandomState, Ranking, ResponseFamily
from emlearn.base import all_or_nothing
from emlearn.em import Batches, LatentModel, LatentPair
from emlearn.families.base import read_shares
from emlearn.families.regression_and import others_of
from emlearn.latent import Grouped, MixtureWeights
from emlearn.regression._base import _given, _less_offset, _MixtureRegressor, _RegressionMixture


class MixtureOfLinearRegressions(Streaming, _MixtureRegressor):
    r"""Regressions of sub-populations: each row follows one of K, and which is hidden.

    .. math:: p(y \mid x) = \sum_k w_k \, p(y \mid \beta_k^\top x + b_k + o, \sigma_k^2)

    Clusterwise or latent class regression: linear, or with ``family`` a generalised linear model in each
    component. Weights of components do not depend on x; those of `MixtureOfExperts` do.

    Parameters
    ----------
    n_components : int, default=2
        Number of components, K.
    family : str or `emlearn.families.Response`, default="gaussian"
        One of "gaussian", "student_t", "poisson", "negative_binomial", "gamma" and "binomial": the distribution
        of the response given its component. Normal noise about a linear regression, or that of
        Student's t with 4 degrees of freedom, which outliers hardly move (``StudentT(df=...)`` for others);
        counts with the logarithm as link, Poisson or with a variance of :math:`\mu + \phi \mu^2`; positive
        numbers with the logarithm as link and the variance :math:`\phi \mu^2`; or successes with the logit,
        where y is 0 or 1 or has two columns, successes and failures. With "gaussian" y may have q columns:
        several responses, whose noise is correlated (``MultivariateNormal("diag")``: is not). Or a response of
        your own.
    fit_intercept : bool, default=True
        Whether regressions have intercepts.
    alpha : float, default=0.0
        Ridge on the coefficients of each component, not on intercepts: the fit maximises the log-likelihood
        less :math:`\tfrac12 \alpha \sum_k \lVert \beta_k \rVert^2 / \phi_k`, with :math:`\phi_k` the variance
        of the noise, or 1. For one component this is `alpha` of scikit-learn's Ridge, n times that of its
        PoissonRegressor, and 1 / C of its LogisticRegression.
    shared_coef : array-like of int or str, default=None
        Features, by number or name, whose coefficients are the same in all components.
    shared_variance : bool, default=False
        Whether all components have the same variance of the noise.
    zero_inflated : bool, default=False
        Whether there is one component more, the last, that never has a count or a success: zero-inflated
        regression, with one component or more (Lambert, 1992). Not with ``family="gaussian"``.
    noise : bool, default=False
        Whether there is one component more, the last, that is uniform on the range of y: for outliers. Not for
        counts.
    min_variance_ratio : float, default=1e-3
        Least ratio of two components' noise variances (Hathaway, 1985). Without it the likelihood has no
        bound: a component whose noise shrinks about few rows lifts it without end. 1e-3 lets standard
        deviations differ by a factor of 32. A fit that rests on it warns, and is taken only if it is better
        by more than luck can give: :math:`\tfrac12 \log(1 / \text{ratio})` nats for as many rows as a component
        has coefficients of its own, and one more.
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
    acceleration : {"auto", "squarem", "secant", "none"}, default="auto"
        Extrapolation of EM steps. It never lowers the objective.
    assignment : {"soft", "hard", "sampled"}, default="soft"
        What an M-step sees of rows. "soft": their responsibilities, which is EM. "hard": each in its most
        probable component (classification EM), which climbs the likelihood of data and components together.
        "sampled": each in one drawn by its responsibilities (stochastic EM): a chain of `max_iter` iterations
        that neither climbs nor ends by `tol`. The best of it by likelihood is the fit, and the mean of its
        second half is `mean_parameters_`. A row is drawn once, whatever its weight; rows of one group stay
        together.
    annealing : bool or array-like of shape (n_temperatures,), default=False
        Deterministic annealing: before its race each start goes through some steps of EM at these inverse
        temperatures, which rise to 1: below 1 the posterior is flattened. True is 0.2, 0.35, 0.5, 0.7, 0.85, 1.
        ``max_iter=0`` is refused beside it.
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
    coef_ : ndarray of shape (K, d), or (K, q, d) of several responses
        Coefficients of each component, on the scale of the linear predictor, per unit of the features.
    intercept_ : ndarray of shape (K,), or (K, q)
        Intercepts; 0 without.
    sigma_ : ndarray of shape (K,)
        Standard deviations of the noise, in the unit of y. Only with ``family="gaussian"``, and with
        "student_t", of which it is the scale.
    covariances_ : ndarray of shape (K, q, q), or (K, q) of ``MultivariateNormal("diag")``
        Covariances of the noise of several responses, in place of `sigma_`.
    dispersion_ : ndarray of shape (K,)
        The :math:`\phi` of ``family="negative_binomial"`` and "gamma".
    weights_ : ndarray of shape (K,), or (K + 1,) with `zero_inflated` or `noise`
        Weights of the components, with groups the shares of groups: largest first, unless a warm start keeps
        the order of the last fit. What is no regression comes last.
    converged_ : bool
        Whether the best start met `tol`, or all gains were lost in rounding. A chain of draws never does.
    n_iter_ : int
        Number of iterations of the best start, on all of the data.
    log_likelihood_ : float
        Total weighted log-likelihood of the responses given X at the fitted parameters, in nats. Of nothing
        else, whatever the `assignment`.
    lower_bound_ : float
        The same per unit of weight. With hard assignments that of what is seen and hidden together, which is
        less.
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
        Number of free parameters; of coefficients as many as the rows determine, which is fewer where columns
        make up one another.
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
    MixtureOfExperts : Weights depend on features.

    Notes
    -----
    Features, and normal responses, are standardised inside: units of measurement do not matter. Each M-step is
    weighted least squares, or one Newton step; with ``shared_coef`` and several variances it is conditional on
    these. None lowers the objective.

    References
    ----------
    DeSarbo & Cron (1988), A maximum likelihood methodology for clusterwise linear regression, J. Classif. 5.
    Wedel & DeSarbo (1995), A mixture likelihood approach for generalized linear models, J. Classif. 12.
    Lambert (1992), Zero-inflated Poisson regression, Technometrics 34. Banfield & Raftery (1993), Model-based
    Gaussian and non-Gaussian clustering, Biometrics 49.
    Hathaway (1985), A constrained formulation of maximum-likelihood estimation for normal mixture
    distributions, Ann. Statist. 13.

    Examples
    --------
    >>> from emlearn import MixtureOfLinearRegressions
    >>> from emlearn.datasets import load_tone_perception
    >>> tones = load_tone_perception()
    >>> mixture = MixtureOfLinearRegressions(n_components=2, random_state=0).fit(tones.data, tones.target)
    >>> mixture.coef_.round(3).ravel(), mixture.intercept_.round(3)
    (array([0.043, 0.992]), array([ 1.916, -0.019]))
    >>> mixture.predict([[2.0], [3.0]]).round(2)
    array([1.99, 2.32])
    """

    _made_of = "coef, intercept, weights=..., sigma=..."
    _of_chain = ("coef", "intercept", "weights", "sigma", "covariances", "dispersion")
    _parameter_constraints: dict = {
        **_RegressionMixture._parameter_constraints,
        "zero_inflated": ["boolean"],
        "noise": ["boolean"],
        "forgetting": [Interval(Real, 0.0, 1.0, closed="left")],
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        family: ResponseFamily = "gaussian",
        fit_intercept: bool = True,
        alpha: float = 0.0,
        shared_coef: ArrayLike | None = None,
        shared_variance: bool = False,
        zero_inflated: bool = False,
        noise: bool = False,
        min_variance_ratio: float = 1e-3,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
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
        self.family = family
        self.fit_intercept = fit_intercept
        self.alpha = alpha
        self.shared_coef = shared_coef
        self.shared_variance = shared_variance
        self.zero_inflated = zero_inflated
        self.noise = noise
        self.min_variance_ratio = min_variance_ratio
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.warm_start = warm_start
        self.forgetting = forgetting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    __metadata_request__partial_fit = {"offset": True}

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Learn from more rows of a stream.

        The first rows are kept, and a race is run on them again whenever they are twice as many, until there
        are 5000 or ten for each parameter, whichever is more. From then on rows are seen once, by stepwise EM
        (Cappé & Moulines, 2009), in the units and within the bounds that the last race has chosen. After `fit`
        it goes on from there. Predictions and scores are of the model as it stands after each call.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations. The first batch must hold at least as many distinct rows as there are
            components, and two.
        y : array-like of shape (n,), or (n, 2)
            Response of each row, as of `fit`.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.
        offset : array-like of shape (n,), default=None
            Added to the linear predictor of every component: the logarithm of exposure for counts.

        Returns
        -------
        self : object
            The estimator. `n_rows_seen_` says how many rows it has seen; what only a fit can tell, as
            `converged_` and `lower_bound_`, is of the last race, and absent once rows are seen but once.

        Raises
        ------
        ValueError
            If the first batch is too small, a later one has other features, a fit with groups went before, or
            an entry, a weight or a parameter is not a legal one. The estimator is then as it was before.
        """
        self._check_ways()
        for parameter in ("zero_inflated", "noise"):
            if getattr(self, parameter):
                raise ValueError(f"partial_fit knows regressions alone: set {parameter}=False, or fit.")
        self._check_stream()
        if not self._begins and isinstance(self._model.latent, Grouped):
            raise ValueError("partial_fit takes rows, but the fit that it goes on from had groups of them.")
        X = self._check_X(X, reset=self._begins, allow_nan=False)
        if self._begins:
            self._count_targets(y)
        read_y = self._read_y(y, X, self._response, reset=self._begins)
        weight = self._check_weight(sample_weight, X, of_all=self._begins)
        offset = self._check_offset(offset, X)
        kept = vars(self).get("_buffer")
        if kept is not None and kept.parts[0].y.shape[1] != read_y.shape[1]:  # of binomial responses
            raise ValueError(
                "y must have as many columns in all batches: successes alone, or successes and failures."
            )
        self._take_in(Rows(X, read_y, weight, offset=offset))
        self._had |= _given(offset=offset)
        return self

    def _fit_to(self, rows):
        plan = self._plan(Batches(self._table_of(rows), rows.weight), rows.offset is not None)
        self._fit(plan, rows.X, rows.y)

    def _batches_of(self, model, rows):
        table = self._table_of(rows)
        has_offset = rows.offset is not None and not model.family.response.has_unit
        model = replace(model, family=replace(model.family, has_offset=has_offset))
        cut = rows_of_batch(model.family.floats_per_row(self.n_components, table.shape[1]))
        units = self._affine(self._units, table.shape[1])
        return model, Batches(table, rows.weight, units=units, rows=cut)

    def _table_of(self, rows):
        y, offset = _less_offset(rows.y, rows.offset, self._response)
        return self._table(rows.X, y, offset, None, self.fit_intercept)

    @classmethod
    def from_parameters(
        cls,
        coef: ArrayLike,
        intercept: ArrayLike | None = None,
        *,
        weights: ArrayLike,
        sigma: ArrayLike | None = None,
        family: ResponseFamily = "gaussian",
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """A mixture of known regressions, in place of a fit.

        Parameters
        ----------
        coef : array-like of shape (K, d)
            Coefficients of each component, on the scale of the linear predictor.
        intercept : array-like of shape (K,), default=None
            Intercepts; None for 0.
        weights : array-like of shape (K,), or (K + 1,) with ``zero_inflated=True``
            Weights, of sum 1.
        sigma : array-like of shape (K,), default=None
            Standard deviations, or scales, of the noise. Only with ``family="gaussian"`` or "student_t".
        family : str or `emlearn.families.Response`, default="gaussian"
            Distribution of the response given its component.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features.
        **params
            ``dispersion``, of shape (K,), where the family has one; ``covariances``, of the shape of the
            attribute, for several responses, with coef (K, q, d) and intercept (K, q); and other parameters of
            the class. With ``warm_start=True`` a fit goes on from here.

        Returns
        -------
        mixture : MixtureOfLinearRegressions
            Fitted, without what only a fit can tell, such as `converged_`.

        Raises
        ------
        ValueError
            If weights are negative or do not sum to 1, a standard deviation is not positive, or shapes do not
            fit.

        Examples
        --------
        >>> from emlearn import MixtureOfLinearRegressions
        >>> mixture = MixtureOfLinearRegressions.from_parameters(
        ...     [[0.0], [1.0]], [2.0, 0.0], weights=[0.7, 0.3], sigma=[0.05, 0.1]
        ... )
        >>> mixture.predict([[3.0]]).round(2)
        array([2.3])
        """
        params["family"] = family
        mixture, regression, emitted, units = cls._of_coefficients(
            coef, intercept, sigma, feature_names, params
        )
        shares = read_shares("weights", weights, (len(emitted.coef) + len(others_of(regression)),))
        mixture._take(LatentModel(MixtureWeights(), regression), LatentPair(shares, emitted), units)
        return mixture
