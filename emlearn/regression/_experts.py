"""Mixtures of experts: regressions whose weights depend on features."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from emlearn._input.arrays import as_one_column, read_array
from emlearn._input.pieces import gathered, piece_by_piece
from emlearn._input.sequences import is_missing
from emlearn._sklearn_compat import Interval
from emlearn._typing import Acceleration, Annealing, Assignment, RandomState, Ranking, ResponseFamily
from emlearn.em import LatentModel, LatentPair
from emlearn.families import RESPONSES, Classes, ClassRegression, RegressionParams
from emlearn.families.regression_and import others_of
from emlearn.latent import SoftmaxGate
from emlearn.regression._base import _MixtureRegressor, _of_rows, _RegressionMixture
from emlearn.regression._starts import GATED_PORTFOLIO


class _Gated:
    """What prior weights that depend on features add to a mixture."""

    gate_coef_: NDArray[Any]
    gate_intercept_: NDArray[Any]
    gate_features_: NDArray[Any]
    expert_features_: NDArray[Any]
    _portfolio = GATED_PORTFOLIO

    def _expert_columns(self):
        seen = self._some_columns("expert_features")
        if not len(seen) and not self.fit_intercept:
            raise ValueError(
                "expert_features names no feature and fit_intercept=False: nothing is left of the experts. "
                "Set fit_intercept=True for intercepts alone."
            )
        return seen

    def _gated_columns(self):
        return self._some_columns("gate_features")

    def _some_columns(self, parameter):
        """Numbers of the features in a parameter: None for all, an empty list or mask for none."""
        given = getattr(self, parameter)
        if given is None:
            return np.arange(self.n_features_in_)
        if not np.size(given):
            return np.empty(0, dtype=np.int_)
        mask = np.asarray(given)
        if mask.dtype == bool and mask.shape == (self.n_features_in_,) and not mask.any():
            return np.empty(0, dtype=np.int_)
        return self._column_numbers(given, parameter)

    _of_parameters = _RegressionMixture._of_parameters | {
        "expert_features_",
        "gate_coef_",
        "gate_intercept_",
        "gate_features_",
    }
    _made_of = "coef, intercept, gate_coef=..., gate_intercept=..., ..."
    _of_chain = ("coef", "intercept", "sigma", "covariances", "dispersion", "gate_coef", "gate_intercept")

    def _shares(self, plan, params):
        """Means of the prior weights over the rows of the fit."""
        return _of_rows(plan.model.latent).shares(params.latent, plan.data)

    def _order(self, plan, params):
        return self._by_share(params, self._shares(plan, params))

    def _publish_race(self, plan, result):
        super()._publish_race(plan, result)
        vars(self)["weights_"] = self._shares(plan, self._params)

    def reorder(self, order: ArrayLike) -> Self:
        super().reorder(order)
        if hasattr(self, "weights_"):  # the rows of the fit have a say in these, not only the parameters
            vars(self)["weights_"] = self.weights_[self._read_order(order)]
        return self

    reorder.__doc__ = _RegressionMixture.reorder.__doc__

    @classmethod
    def _of_gate(cls, coef, intercept, sigma, gate_coef, gate_intercept, feature_names, params):
        """An estimator of known regressions and a known gate."""
        n_features = cls._n_features(gate_coef, feature_names, params)
        experts, regression, emitted, units = cls._of_coefficients(
            coef, intercept, sigma, feature_names, params, n_features
        )
        K, gated = len(emitted.coef) + len(others_of(regression)), experts._gated_columns()
        slopes = read_array(
            "gate_coef",
            gate_coef,
            shapes=[(K, len(gated))],
            finite=True,
            advice=f"The gate sees {len(gated)} features: see gate_features.",
        )
        constants = read_array("gate_intercept", gate_intercept, shapes=[(K,)], finite=True)
        gate = np.column_stack([constants, slopes])
        latent = SoftmaxGate(tuple((gated + int(experts.fit_intercept)).tolist()), experts.gate_alpha)
        params = LatentPair(gate - gate.mean(axis=0), emitted)  # only differences matter
        experts._take(LatentModel(latent, regression), params, units)
        return experts

    @staticmethod
    def _n_features(gate_coef, feature_names, params):
        """Number of features of known experts; None where they have a coefficient for each."""
        seen = params.get("expert_features")
        if seen is None:
            return None
        if feature_names is not None:
            return len([feature_names] if isinstance(feature_names, str) else list(feature_names))
        if params.get("gate_features") is None:
            return np.shape(gate_coef)[-1] if np.ndim(gate_coef) else 1
        if np.asarray(seen).dtype == bool:
            return np.size(seen)
        raise ValueError(
            "With expert_features and gate_features the parameters do not tell how many features there are: "
            "give feature_names, or expert_features as a mask of all features."
        )

    def _take_latent(self, latent):
        gate = self._latent
        params = gate.in_units(latent, self._units)
        params = params - params.mean(axis=0)  # only differences matter, and what is shared has no error
        vars(self).update(
            expert_features_=self._seen_by_experts(),
            gate_features_=np.array(gate.columns, dtype=np.int_) - int(self.fit_intercept),
            gate_coef_=params[:, 1:].copy(),
            gate_intercept_=params[:, 0].copy(),
        )

    _of_latent = ("gate_coef_", "gate_intercept_")

    def _seen_by_experts(self):
        family, first = self._model.family, int(self.fit_intercept)
        rows = np.array(family.design or range(family.n_columns), dtype=np.int_)
        return rows[first:] - first

    def _has_same_latent(self, model):
        first = int(self.fit_intercept)
        return np.array_equal(np.array(_of_rows(model.latent).columns) - first, self.gate_features_)

    def _latent_in_new_units(self, latent, model, units):
        return _of_rows(model.latent).from_units(self._latent.in_units(latent, self._units), units)


class MixtureOfExperts(_Gated, _MixtureRegressor):
    r"""Regressions whose weights depend on the features: each expert has a say where it knows best.

    .. math:: p(y \mid x) = \sum_k \pi_k(x) \, p(y \mid \beta_k^\top x + b_k + o, \sigma_k^2), \qquad
        \pi_k(x) \propto e^{a_k + g_k^\top x}

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
    expert_features : array-like of int, str or bool, default=None
        Features, by number, name or mask, that the regressions of the experts see; None for all, an empty list
        for intercepts alone (latent classes whose shares depend on features). The gate may see others, or the
        same.
    gate_features : array-like of int, str or bool, default=None
        Features, by number, name or mask, that the gate sees; None for all. Of an empty list weights do not
        depend on features.
    gate_alpha : float, default=1e-4
        Ridge on the slopes of the gate, in units of the features' standard deviations: half of it times their
        squares, in nats. It keeps them finite where features separate the components.
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
    n_jobs : int, default=None
        Threads that share the starts, and the rows of large data. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the starts and all draws. With an int, every call draws the same.
    verbose : int, default=0
        1 prints what became of the starts, 2 every iteration too.

    Attributes
    ----------
    coef_ : ndarray of shape (K, p), or (K, q, p) of several responses
        Coefficients of each component for the features that experts see, p = d by default, on the scale of the
        linear predictor, per unit of the features.
    intercept_ : ndarray of shape (K,), or (K, q)
        Intercepts; 0 without.
    sigma_ : ndarray of shape (K,)
        Standard deviations of the noise, in the unit of y. Only with ``family="gaussian"``, and with
        "student_t", of which it is the scale.
    covariances_ : ndarray of shape (K, q, q), or (K, q) of ``MultivariateNormal("diag")``
        Covariances of the noise of several responses, in place of `sigma_`.
    dispersion_ : ndarray of shape (K,)
        The :math:`\phi` of ``family="negative_binomial"`` and "gamma".
    expert_features_ : ndarray of int of shape (p,)
        The features that experts see.
    gate_coef_ : ndarray of shape (K, q)
        Slopes of the gate, per unit of its features. Only differences between components matter: each column
        sums to 0.
    gate_intercept_ : ndarray of shape (K,)
        Intercepts of the gate, of sum 0.
    gate_features_ : ndarray of int of shape (q,)
        The features that the gate sees.
    weights_ : ndarray of shape (K,), or (K + 1,) with `zero_inflated` or `noise`
        Means of the prior weights over the rows of the fit, largest first, unless a warm start keeps the order
        of the last fit. What is no regression comes last, here and in the gate.
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
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    MixtureOfLinearRegressions : Weights are the same for all rows.
    MixtureOfExpertsClassifier : The response is a class.

    References
    ----------
    Lambert (1992), Zero-inflated Poisson regression, Technometrics 34. Banfield & Raftery (1993), Model-based
    Gaussian and non-Gaussian clustering, Biometrics 49.
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts, Neural Comput. 3. Jordan &
    Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, Neural Comput. 6. Böhning (1992),
    Multinomial logistic regression algorithm, Ann. Inst. Statist. Math. 44.

    Examples
    --------
    >>> from emlearn import MixtureOfExperts
    >>> from emlearn.datasets import load_tone_perception
    >>> tones = load_tone_perception()
    >>> experts = MixtureOfExperts(n_components=2, random_state=0).fit(tones.data, tones.target)
    >>> experts.predict_proba([[1.5], [3.0]]).round(1)
    array([[0.8, 0.2],
           [0.6, 0.4]])
    """

    _parameter_constraints: dict = {
        **_RegressionMixture._parameter_constraints,
        "zero_inflated": ["boolean"],
        "noise": ["boolean"],
        "expert_features": ["array-like", str, Integral, None],
        "gate_features": ["array-like", str, Integral, None],
        "gate_alpha": [Interval(Real, 0.0, None, closed="left")],
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
        expert_features: ArrayLike | None = None,
        gate_features: ArrayLike | None = None,
        gate_alpha: float = 1e-4,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        acceleration: Acceleration = "auto",
        assignment: Assignment = "soft",
        annealing: Annealing = False,
        warm_start: bool = False,
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
        self.expert_features = expert_features
        self.gate_features = gate_features
        self.gate_alpha = gate_alpha
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_parameters(
        cls,
        coef: ArrayLike,
        intercept: ArrayLike | None = None,
        *,
        gate_coef: ArrayLike,
        gate_intercept: ArrayLike,
        sigma: ArrayLike | None = None,
        family: ResponseFamily = "gaussian",
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Known regressions with a known gate, in place of a fit.

        Parameters
        ----------
        coef : array-like of shape (K, p)
            Coefficients of each component, on the scale of the linear predictor, for the features in
            `expert_features`, which is a parameter of the class.
        intercept : array-like of shape (K,), default=None
            Intercepts; None for 0.
        gate_coef : array-like of shape (K, q)
            Slopes of the gate, for the features in `gate_features`, which is a parameter of the class. Only
            differences between components matter.
        gate_intercept : array-like of shape (K,)
            Intercepts of the gate. With ``zero_inflated=True`` the gate has one component more, the last.
        sigma : array-like of shape (K,), default=None
            Standard deviations, or scales, of the noise. Only with ``family="gaussian"`` or "student_t".
        family : str or `emlearn.families.Response`, default="gaussian"
            Distribution of the response given its component.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features. With `expert_features` they say how many features there are.
        **params
            ``dispersion``, of shape (K,), where the family has one; ``covariances``, of the shape of the
            attribute, for several responses, with coef (K, q, d) and intercept (K, q); and other parameters of
            the class. With ``warm_start=True`` a fit goes on from here.

        Returns
        -------
        experts : MixtureOfExperts
            Fitted, without what only a fit and its rows can tell, such as `converged_` and `weights_`.

        Raises
        ------
        ValueError
            If a standard deviation is not positive, or shapes do not fit.

        Examples
        --------
        >>> from emlearn import MixtureOfExperts
        >>> experts = MixtureOfExperts.from_parameters(
        ...     [[1.0], [-1.0]], gate_coef=[[-2.0], [2.0]], gate_intercept=[0.0, 0.0], sigma=[1.0, 1.0]
        ... )
        >>> experts.predict([[-3.0], [3.0]]).round(2)
        array([-3., -3.])
        """
        params["family"] = family
        return cls._of_gate(coef, intercept, sigma, gate_coef, gate_intercept, feature_names, params)


class MixtureOfExpertsClassifier(_Gated, ClassifierMixin, _RegressionMixture):
    r"""Logistic regressions whose weights depend on the features, for any number of classes.

    .. math:: P(\text{class 1} \mid x) = \sum_k \pi_k(x) \, \operatorname{expit}(\beta_k^\top x + b_k + o)

    This is for two classes; of more each has :math:`\exp(\beta_{kc}^\top x + b_{kc})`, over their sum, in
    place of expit.

    Parameters
    ----------
    n_components : int, default=2
        Number of components, K.
    fit_intercept : bool, default=True
        Whether regressions have intercepts.
    alpha : float, default=1.0
        Ridge on the coefficients of each component, not on intercepts: the fit maximises the log-likelihood
        less :math:`\tfrac12 \alpha \sum_k \lVert \beta_k \rVert^2 / \phi_k`, with :math:`\phi_k` the variance
        of the noise, or 1. For one component this is `alpha` of scikit-learn's Ridge, n times that of its
        PoissonRegressor, and 1 / C of its LogisticRegression.
    shared_coef : array-like of int or str, default=None
        Features, by number or name, whose coefficients are the same in all components.
    expert_features : array-like of int, str or bool, default=None
        Features, by number, name or mask, that the regressions of the experts see; None for all, an empty list
        for intercepts alone (latent classes whose shares depend on features). The gate may see others, or the
        same.
    gate_features : array-like of int, str or bool, default=None
        Features, by number, name or mask, that the gate sees; None for all. Of an empty list weights do not
        depend on features.
    gate_alpha : float, default=1e-4
        Ridge on the slopes of the gate, in units of the features' standard deviations: half of it times their
        squares, in nats. It keeps them finite where features separate the components.
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
    n_jobs : int, default=None
        Threads that share the starts, and the rows of large data. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the starts and all draws. With an int, every call draws the same.
    verbose : int, default=0
        1 prints what became of the starts, 2 every iteration too.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The classes. Of two `coef_` are of the log-odds of the second.
    coef_ : ndarray of shape (K, p), or (K, C, p) for more than two classes
        Coefficients of each component for the features that experts see, p = d by default, on the scale of the
        linear predictor, per unit of the features. Of more than two classes those of each, of sum 0.
    intercept_ : ndarray of shape (K,), or (K, C)
        Intercepts; 0 without.
    expert_features_ : ndarray of int of shape (p,)
        The features that experts see.
    gate_coef_ : ndarray of shape (K, q)
        Slopes of the gate, per unit of its features. Only differences between components matter: each column
        sums to 0.
    gate_intercept_ : ndarray of shape (K,)
        Intercepts of the gate, of sum 0.
    gate_features_ : ndarray of int of shape (q,)
        The features that the gate sees.
    weights_ : ndarray of shape (K,)
        Means of the prior weights over the rows of the fit, largest first, unless a warm start keeps the order
        of the last fit.
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
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    MixtureOfExperts : The response is a number.

    Notes
    -----
    Of two classes experts are logistic regressions, and ``alpha`` is 1 / C of scikit-learn's; of more they are
    multinomial ones, in which no class is the reference.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import MixtureOfExpertsClassifier
    >>> rng = np.random.RandomState(0)
    >>> X = rng.uniform(-2, 2, size=(400, 2))
    >>> steep = np.where(X[:, 0] < 0, 3.0, -3.0) * X[:, 1]  # what the second feature says depends on the first
    >>> y = np.where(rng.uniform(size=400) < 1 / (1 + np.exp(-steep)), "yes", "no")
    >>> experts = MixtureOfExpertsClassifier(n_components=2, random_state=0).fit(X, y)
    >>> experts.predict([[-1.0, 1.0], [1.0, 1.0]])
    array(['yes', 'no'], dtype='<U3')
    """

    classes_: NDArray[Any]

    @property
    def _response(self):
        n_classes = len(getattr(self, "classes_", ()))
        return Classes(n_classes) if n_classes > 2 else RESPONSES["binomial"]

    def _choose_family(self, shared, units, has_offset):
        family = super()._choose_family(shared, units, has_offset)
        if not isinstance(family.response, Classes):
            return family
        if has_offset:
            raise ValueError(
                f"offset is for two classes, but there are {len(self.classes_)}: it would be added to the "
                "log-odds of the second."
            )
        return ClassRegression.of(family, family.response)

    def _class_proba(self, batch, family):
        """Probabilities of the classes in each component, (K, C, m)."""
        return family.classes.probabilities(family.linear_predictor(self._params.family, batch))

    _parameter_constraints: dict = {
        name: constraint
        for name, constraint in MixtureOfExperts._parameter_constraints.items()
        if name not in ("family", "shared_variance", "min_variance_ratio", "zero_inflated", "noise")
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        fit_intercept: bool = True,
        alpha: float = 1.0,
        shared_coef: ArrayLike | None = None,
        expert_features: ArrayLike | None = None,
        gate_features: ArrayLike | None = None,
        gate_alpha: float = 1e-4,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        acceleration: Acceleration = "auto",
        assignment: Assignment = "soft",
        annealing: Annealing = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int | bool = 0,
    ) -> None:
        self.n_components = n_components
        self.fit_intercept = fit_intercept
        self.alpha = alpha
        self.shared_coef = shared_coef
        self.expert_features = expert_features
        self.gate_features = gate_features
        self.gate_alpha = gate_alpha
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_parameters(
        cls,
        coef: ArrayLike,
        intercept: ArrayLike | None = None,
        *,
        gate_coef: ArrayLike,
        gate_intercept: ArrayLike,
        classes: ArrayLike = (0, 1),
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Known logistic regressions with a known gate, in place of a fit.

        Parameters
        ----------
        coef : array-like of shape (K, p), or (K, C, p) for more than two classes
            Coefficients of each component, on the scale of the linear predictor; of more than two classes those
            of each, of which only differences matter. For the features in `expert_features`, which is a
            parameter of the class.
        intercept : array-like of shape (K,), or (K, C), default=None
            Intercepts; None for 0.
        gate_coef : array-like of shape (K, q)
            Slopes of the gate, for the features in `gate_features`, which is a parameter of the class. Only
            differences between components matter.
        gate_intercept : array-like of shape (K,)
            Intercepts of the gate.
        classes : array-like of shape (C,), default=(0, 1)
            The classes. Of two `coef` are of the log-odds of the second.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features. With `expert_features` they say how many features there are.
        **params
            Other parameters of the class. With ``warm_start=True`` a fit goes on from here.

        Returns
        -------
        experts : MixtureOfExpertsClassifier
            Fitted, without what only a fit and its rows can tell, such as `converged_` and `weights_`.

        Raises
        ------
        ValueError
            If there are fewer than two classes, or shapes do not fit.

        Examples
        --------
        >>> from emlearn import MixtureOfExpertsClassifier
        >>> experts = MixtureOfExpertsClassifier.from_parameters(
        ...     [[-4.0], [4.0]], [-4.0, -4.0], gate_coef=[[-2.0], [2.0]], gate_intercept=[0.0, 0.0],
        ...     classes=["no", "yes"],
        ... )
        >>> experts.predict([[-3.0], [0.0], [3.0]])
        array(['yes', 'no', 'yes'], dtype='<U3')
        """
        known = np.unique(classes)
        if len(known) < 2 or not np.array_equal(known, classes):
            raise ValueError(f"classes={classes!r}: give the classes, two at least, in their order.")
        gate = gate_coef, gate_intercept, feature_names, params
        if len(known) == 2:
            experts = cls._of_gate(coef, intercept, None, *gate)
            experts.classes_ = known
            return experts
        coef = read_array("coef", coef, finite=True, advice="Give a row for each component and class.")
        if coef.ndim != 3 or coef.shape[1] != len(known):
            raise ValueError(
                f"coef has shape {coef.shape}; expected (K, {len(known)}, d), a row for each class."
            )
        if intercept is None:
            intercept = np.zeros(coef.shape[:2])
        intercept = read_array("intercept", intercept, shapes=[coef.shape[:2]], finite=True)
        of_classes = coef
        if params.get("fit_intercept", True):
            of_classes = np.concatenate([intercept[:, :, None], coef], axis=2)
        elif intercept.any():
            raise ValueError("intercept is not 0, but fit_intercept=False: drop one of them.")
        experts = cls._of_gate(coef[:, 0], None, None, *gate)
        experts.classes_ = known
        model, units = experts._model, experts._units
        family = ClassRegression.of(model.family, Classes(len(known)))
        coordinates = (family.classes.basis.T @ of_classes).reshape(len(coef), -1)
        emitted = RegressionParams(coordinates, np.ones(1))
        experts._take(replace(model, family=family), experts._params._replace(family=emitted), units)
        return experts

    def _of_noise(self):
        return {}

    def _read_y(self, y, X, response, *, reset):
        """Number of the class of each row, (n, 1)."""
        if y is None:
            return super()._read_y(y, X, response, reset=reset)
        check_consistent_length(X, y)
        # Before a list of mixed types becomes an array of texts, in which NaN is a word like any other.
        y = as_one_column("y", y)
        labels = list(y) if isinstance(y, (list, tuple)) else np.asarray(y).ravel().tolist()
        y = column_or_1d(y)
        for row, label in enumerate(labels):
            if is_missing(label) or label in (np.inf, -np.inf):
                what = "NaN" if is_missing(label) else "infinity"
                raise ValueError(f"Input y contains {what} in row {row}. Leave out rows without a class.")
        check_classification_targets(y)
        if reset:
            self._learn_classes(np.unique(y))
        unknown = ~np.isin(y, self.classes_)
        if unknown.any():
            row = int(np.argmax(unknown))
            known, other = self.classes_.tolist(), y[row : row + 1].tolist()[0]
            raise ValueError(f"y has the class {other!r} in row {row}; the classes of the fit are {known}.")
        return np.searchsorted(self.classes_, y).astype(np.float64)[:, None]

    def _see_targets(self, y):
        self._learn_classes(np.unique(gathered(y)))

    def _learn_classes(self, classes):
        if len(classes) == 1:
            raise ValueError(f"y has only one class, {classes.tolist()[0]!r}: a classifier needs two.")
        self.classes_ = classes

    def _of_response(self, y):
        return self.classes_[y.astype(np.intp)]

    @piece_by_piece("offset", "groups")
    def predict_proba(
        self,
        X: Any,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[np.float64]:
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None
            Added to the log-odds of the second of two classes, component by component.
        groups : array-like of shape (n,), default=None
            With a history, the group of each row. Rows of groups that it does not tell of are as without it.
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows whose responses are known, and their groups: what these say of a group's component says how its
            other rows will respond.

        Returns
        -------
        proba : ndarray of shape (n, C)
            In the order of ``classes_``.
        """

        check_is_fitted(self)
        if len(self.classes_) == 2:
            second = np.clip(self._mixture_mean(X, offset, groups, history), 0.0, 1.0)  # rounding
            return np.column_stack([1.0 - second, second])

        def of_batch(batch, family):
            return np.einsum("km,kcm->cm", self._prior(batch, family), self._class_proba(batch, family))

        seen = self._seen_before(X, groups, history)
        proba = np.clip(self._map_rows(X, of_batch, offset=offset, seen=seen), 0.0, 1.0)
        return proba / proba.sum(axis=1, keepdims=True)

    @piece_by_piece("offset")
    def predict_components(self, X: Any, *, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """Probabilities of classes in each component.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None

        Returns
        -------
        proba : ndarray of shape (n, K), or (n, K, C) for more than two classes
            Of two classes the probability of the second.
        """
        check_is_fitted(self)
        if len(self.classes_) == 2:
            return super().predict_components(X, offset=offset)
        return self._map_rows(X, self._class_proba, offset=offset).swapaxes(1, 2)

    @piece_by_piece("offset", "groups")
    def predict_log_proba(
        self,
        X: Any,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[np.float64]:
        """Logarithm of `predict_proba`; -inf where that is 0.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
            With a history, the group of each row. Rows of groups that it does not tell of are as without it.
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows whose responses are known, and their groups: what these say of a group's component says how its
            other rows will respond.

        Returns
        -------
        log_proba : ndarray of shape (n, C)
            In the order of ``classes_``.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, offset=offset, groups=groups, history=history))

    @piece_by_piece("offset", "groups")
    def predict(
        self,
        X: Any,
        *,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        history: Any = None,
    ) -> NDArray[Any]:
        """The most probable class.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None
        groups : array-like of shape (n,), default=None
            With a history, the group of each row. Rows of groups that it does not tell of are as without it.
        history : tuple (X, y, groups) or (X, y, groups, offset), default=None
            Rows whose responses are known, and their groups: what these say of a group's component says how its
            other rows will respond.

        Returns
        -------
        y : ndarray of shape (n,)
        """
        most_probable = self.predict_proba(X, offset=offset, groups=groups, history=history).argmax(axis=1)
        return self.classes_[most_probable]

    def sample(
        self, X: Any, *, offset: ArrayLike | None = None, random_state: RandomState = None
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw a class for each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
        offset : array-like of shape (n,), default=None
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        y : ndarray of shape (n,)
        components : ndarray of int of shape (n,)
            The components they were drawn from.
        """
        check_is_fitted(self)
        if len(self.classes_) == 2:
            return super().sample(X, offset=offset, random_state=random_state)
        prior, proba = self._map_rows(
            X,
            lambda batch, family: (self._prior(batch, family), self._class_proba(batch, family)),
            offset=offset,
        )
        rng = self._rng(random_state)
        components = (rng.uniform(size=(len(prior), 1)) > prior.cumsum(axis=1)[:, :-1]).sum(axis=1)
        own = proba[np.arange(len(proba)), :, components]
        codes = (rng.uniform(size=(len(own), 1)) > own.cumsum(axis=1)[:, :-1]).sum(axis=1)
        return self.classes_[codes], components

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, offset: ArrayLike | None = None
    ) -> float:
        """Share of rows whose class is predicted.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), default=None
        offset : array-like of shape (n,), default=None

        Returns
        -------
        score : float
        """
        self._check_as_fitted(offset=offset)
        predicted = gathered(self.predict(X, offset=offset))
        return float(accuracy_score(gathered(y), predicted, sample_weight=gathered(sample_weight)))
