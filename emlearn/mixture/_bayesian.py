"""Bayesian mixtures of Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from emlearn._input.arrays import check_count, read_array
from emlearn._priors import covariance_of
from emlearn._sample import portfolio, unit_of
from emlearn._sklearn_compat import Interval, StrOptions
from emlearn._typing import Acceleration, RandomState
from emlearn.base import FAR
from emlearn.em import ACCELERATIONS, Affine, LatentModel, LatentPair, Start
from emlearn.em.trees import leaves
from emlearn.families import Gaussian, NormalWishart, VariationalGaussian
from emlearn.families.covariance_types import STRUCTURES
from emlearn.families.gaussian import LEAST_FLOOR
from emlearn.latent import DirichletWeights, MixtureWeights, StickBreaking
from emlearn.mixture._base import MixtureOfRows, in_precision
from emlearn.mixture._starts import START_KINDS, RowStarts, choose_starts, gives_order, kinds_for

DISTRIBUTION = "dirichlet_distribution"
KINDS_OF_WEIGHTS = ("dirichlet_process", DISTRIBUTION, "pitman_yor")
CONJUGATE_TYPES = frozenset(name for name, structure in STRUCTURES.items() if structure.conjugate)
# A component counts where it holds more than this share of a row.
COUNTS = 0.5
MOST_ROWS = 1e100  # by weight, that priors stand beside
# Priors beyond these leave nothing of the data but rounding: worth so many times as many rows, with a mean at
# so many standard deviations (where matrices have off-diagonals, or none), or with variances so many times
# those of the data, or the inverse.
MOST_TIMES, FURTHEST_FULL, FURTHEST, WIDEST = 1e5, 1e6, 1e100, 1e300


# A code, or a slip: one value in no more than this share of the rows, without which the variance would be less
# than that part of what it is, and that of all others within so many deviations of what lies close together.
RARE, ITS_PART, NOT_ONE_BODY = 0.05, 0.25, 2.0


class MixturePosterior(NamedTuple):
    """What is known of a mixture, in the units of X: the posterior of one fit, and the prior of the next."""

    weights: NDArray[np.float64]  # (K,) Dirichlet parameters, or of processes expected counts
    components: NormalWishart  # of the K components
    unseen: NormalWishart  # of one that was never seen
    of_process: bool  # whether the weights are those of a process


class BayesianGaussianMixtureEM(MixtureOfRows):
    r"""Bayesian mixture of Gaussians, fitted by variational Expectation-Maximization.

    Parameters and attributes are those of scikit-learn's ``BayesianGaussianMixture``, but `verbose_interval`.
    A prior says what is known of weights, means and covariances before there are data; the fit is a posterior
    distribution of them, and components that the data do not need stay as empty as the prior has them.

    Parameters
    ----------
    n_components : int, default=1
        Largest number of components, K.
    covariance_type : str, default="full"
        Form of the covariance matrices, of those with a conjugate prior: "full", "diag" (no correlations) and
        "spherical" (one variance for all features) give each component its own; "tied", "tied_diag" and
        "tied_spherical" share one. mclust's letters do as well: VVV (full), EEE (tied), VVI (diag), VII
        (spherical), EEI (tied_diag), EII (tied_spherical).
    tol : float, default=1e-4
        Stop when less than this is still to be gained in total, in nats, as projected from the rate of
        convergence. It does not depend on the number of rows.
    max_iter : int, default=1000
        Largest number of iterations of one start. 0 evaluates the starts: the fit is the best of them.
    reg_covar : float, default=1e-6
        Least eigenvalue of the default `covariance_prior`, relative to each feature's variance. One that is
        given is taken as it is.
    n_init : int, default=40
        Most starts that are tried. They are drawn until few maxima can be left that none has reached: seven,
        if all of them lead to one, twelve, if to two, and so on; `restarts_.unseen` says what share is left.
    init_params : str, array or callable, default="auto"
        How to start: "auto", "kmeans", "k-means++", "random" or "random_from_data", of all K components or of
        fewer by turns. An array holds labels (n,) or responsibilities (n, K) of the rows of X. A callable is
        called ``n_init`` times with ``(X, n_components, random_state)``, where X holds the rows that take part
        in the race (all, or of very many a sample), and returns either.
    weight_concentration_prior_type : str, default="dirichlet_process"
        Prior of the weights: "dirichlet_process", "dirichlet_distribution" of K weights, or "pitman_yor", a
        process that expects more small components.
    weight_concentration_prior : float, default=None
        Concentration of that prior: of the Dirichlet distribution how many rows of each component it is worth.
        The smaller, the fewer components. None is 1 / K.
    discount_prior : float, default=0.0
        Discount of the Pitman-Yor process, from 0 (a Dirichlet process) to below 1: the number of components
        that n rows are expected to have grows as :math:`n^\text{discount}`.
    mean_precision_prior : float, default=None
        How many rows the prior mean is worth. None is 1.
    mean_prior : array-like of shape (d,), default=None
        Prior mean of all components. None is the mean of X.
    degrees_of_freedom_prior : float, default=None
        How many rows the prior covariance is worth; more than d − 1 for "full" and "tied", more than 0 for
        others. None is d.
    covariance_prior : array-like, default=None
        Prior scatter matrix: covariances are expected to be about this, divided by the degrees of freedom. Of
        shape (d, d) for "full" and "tied", (d,) for "diag" and "tied_diag", a number for "spherical" and
        "tied_spherical". None is the covariance of X, in that form; a warning names values so far from most
        that it says nothing of these.
    prior : MixturePosterior, default=None
        `posterior_` of another fit: what was learnt there, component by component, is the prior here. Fits of
        batches one after another so become a fit of all of them. In place of the priors of means and
        covariances, and of the concentration of a Dirichlet distribution. It is the only start, too. It fits
        a mixture of as many components, of that form, with weights of a distribution or a process as there.
    acceleration : {"auto", "squarem", "secant", "none"}, default="auto"
        Extrapolation of EM steps. It never lowers the objective.
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
        Expected weights, largest first, normalised to sum 1. Processes leave some weight to components never
        seen, which `score_samples` knows.
    means_ : ndarray of shape (K, d)
        Expected means, in the units of X.
    covariances_ : ndarray
        Inverses of the expected precisions, in squared units of X: (K, d, d) for "full", (d, d) for "tied",
        (K, d) for "diag", (K,) for "spherical", (d,) for "tied_diag", () for "tied_spherical".
    precisions_cholesky_ : ndarray
        Square roots of the precisions, of the shape of `covariances_`; matrices are upper triangular,
        :math:`\Sigma^{-1} = U U^\top`.
    precisions_ : ndarray
        Expected precisions (inverse covariances), of the shape of `covariances_`. Computed when asked for.
    weight_concentration_ : ndarray of shape (K,), or tuple of two
        Parameters of the posterior of the weights: of the Dirichlet distribution, or of processes the two of
        the Beta distribution of each component's stick.
    mean_precision_ : ndarray of shape (K,)
        How many rows each mean is worth.
    degrees_of_freedom_ : ndarray of shape (K,)
        How many rows each covariance is worth.
    weight_concentration_prior_, mean_precision_prior_, mean_prior_ : float, float, ndarray of shape (d,)
        The priors that were used; with `prior`, of each component.
    degrees_of_freedom_prior_, covariance_prior_ : float, ndarray
        The same for covariances.
    n_effective_components_ : int
        How many components hold more than half a row; `without_empty` leaves out the others.
    posterior_ : MixturePosterior
        All that was learnt, as `prior` of another fit. Computed when asked for.
    converged_ : bool
        Whether the best start met `tol`, or all gains were lost in rounding.
    n_iter_ : int
        Number of iterations of the best start, on all of the data.
    lower_bound_ : float
        Lower bound of the log evidence :math:`\log p(X)`, in nats, all constants included. That of one
        component with a Dirichlet distribution is the log evidence itself.
    lower_bounds_ : list of float
        The bound at each iteration of the best start, the start first. It never falls.
    extrapolated_ : list of bool
        Which of them were reached by extrapolation.
    gap_ : float
        Total objective still to be gained, projected, in nats.
    restarts_ : Restarts
        What happened to each of the `starts` (kind, status, log-likelihood, evidence, projected limit, ...),
        how many reached the best maximum (`n_best`) of how many (`n_maxima`), and what share of further starts
        would end where none did (`unseen`).
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
    GaussianMixtureEM : The mixture of greatest likelihood.

    Notes
    -----
    Means and covariances have a Normal-Wishart prior,

    .. math:: \Lambda_k \sim W(\nu_0, S_0^{-1}), \quad \mu_k \mid \Lambda_k \sim N(m_0, (\beta_0
        \Lambda_k)^{-1}),

    where diagonal forms have a Gamma distribution of shape ν/2 for each feature's precision, and spherical ones
    one of shape νd/2. The posterior is taken to be independent between rows' components and parameters; what
    is fitted is then the closest to the true one, in Kullback-Leibler divergence.

    Sticks of processes are broken in the order of the components' size, the largest first. The bound is highest
    there; scikit-learn breaks them in the order of its start, where the prior does little.

    Its updates for "full" are those of the model. Its "diag" and "spherical" take digammas and normalisers of
    Wishart matrices where precisions are independent, and "tied" shares rows evenly among components, so that
    the bound falls: on standardised iris, of three components from k-means with a Dirichlet distribution, in 70
    of 97 iterations ("diag"), 44 of 60 ("spherical") and 45 of 65 ("tied"), to end at -552.0886, -621.7227 and
    -457.2558 where -552.0840, -621.7226 and -457.1847 are reached here. With "full" it falls in none of 165.

    Bounds of different K compare mixtures; each is of one of the K! orders of its components, so that for
    the evidence of a mixture :math:`\log K!` may be added.

    A missing entry, NaN, is one more hidden value. A race of starts finds components in any order: they are
    sorted by weight, unless labels or responsibilities, the last fit or `prior` gave them one.

    References
    ----------
    Attias (2000), A variational Bayesian framework for graphical models, NIPS 12. Bishop (2006), Pattern
    Recognition and Machine Learning, chapter 10. Blei & Jordan (2006), Variational inference for Dirichlet
    process mixtures, Bayesian Analysis 1.

    Examples
    --------
    >>> from emlearn import BayesianGaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> X = load_old_faithful().data
    >>> mixture = BayesianGaussianMixtureEM(n_components=6, random_state=0).fit(X)
    >>> mixture.n_effective_components_
    2
    >>> mixture.weights_[:3].round(3)
    array([0.644, 0.356, 0.001])
    >>> print(f"{mixture.lower_bound_:.3f}")
    -1180.342
    """

    weights_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]
    weight_concentration_: NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]
    mean_precision_: NDArray[Any]
    degrees_of_freedom_: NDArray[Any]
    n_effective_components_: int

    _of_parameters = frozenset(
        f"{name}_"
        for name in (
            "weights",
            "means",
            "covariances",
            "precisions",
            "precisions_cholesky",
            "weight_concentration",
            "mean_precision",
            "degrees_of_freedom",
        )
    )

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(CONJUGATE_TYPES))],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(START_KINDS)), "array-like", callable],
        "weight_concentration_prior_type": [StrOptions(set(KINDS_OF_WEIGHTS))],
        "weight_concentration_prior": [Interval(Real, 0.0, None, closed="neither"), None],
        "discount_prior": [Interval(Real, 0.0, 1.0, closed="left")],
        "mean_precision_prior": [Interval(Real, 0.0, None, closed="neither"), None],
        "mean_prior": ["array-like", None],
        "degrees_of_freedom_prior": [Interval(Real, 0.0, None, closed="neither"), None],
        "covariance_prior": ["array-like", Real, None],
        "prior": "no_validation",  # an estimator in its place is refused with advice
        "acceleration": [StrOptions(set(ACCELERATIONS))],
        "warm_start": ["boolean"],
        "forgetting": [Interval(Real, 0.0, 1.0, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    ranking = "likelihood"  # a bound owes nothing to luck: it has paid for what it fits

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-4,
        max_iter: int = 1000,
        reg_covar: float = 1e-6,
        n_init: int = 40,
        init_params: ArrayLike | Callable[..., ArrayLike] = "auto",
        weight_concentration_prior_type: Literal[
            "dirichlet_process", "dirichlet_distribution", "pitman_yor"
        ] = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        discount_prior: float = 0.0,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        prior: MixturePosterior | None = None,
        acceleration: Acceleration = "auto",
        warm_start: bool = False,
        forgetting: float = 0.0,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int | bool = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.reg_covar = reg_covar
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.discount_prior = discount_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.prior = prior
        self.acceleration = acceleration
        self.warm_start = warm_start
        self.forgetting = forgetting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- priors ------------------------------------------------------------------------------------------

    @property
    def _structure(self):
        return STRUCTURES[self.covariance_type]

    @property
    def _is_alike(self):
        return self.prior is None

    @property
    def _needs_distinct_rows(self):
        return self.prior is None

    @property
    def _floor_matters(self):
        return self.prior is None and self.covariance_prior is None

    def _family(self):
        self._check_priors()
        return Gaussian(self._structure, max(self.reg_covar, LEAST_FLOOR))

    def _check_priors(self):
        """Refuse priors that contradict each other or the features, before any work is done."""
        d, structure = self.n_features_in_, self._structure
        kind = self.weight_concentration_prior_type
        if self.discount_prior and kind != "pitman_yor":
            raise ValueError(
                f"discount_prior={self.discount_prior} is for weight_concentration_prior_type='pitman_yor', "
                f"but that is {kind!r}."
            )
        if self.prior is not None:
            self._check_given_prior()
            return
        least = structure.least_dof(d)
        dof = self.degrees_of_freedom_prior
        if dof is not None and dof <= least:
            raise ValueError(
                f"degrees_of_freedom_prior={dof} must be more than {least}, the number of features less 1, for "
                f"covariance_type={self.covariance_type!r}."
            )
        if self.mean_prior is not None:
            read_array("mean_prior", self.mean_prior, shapes=[(d,)], finite=True)
        if self.covariance_prior is not None:
            shape = structure.identity(1, d).shape
            given = read_array("covariance_prior", self.covariance_prior, shapes=[shape[1:]], finite=True)
            structure.refuse(given.reshape(shape), d, "covariance_prior")

    def _check_given_prior(self):
        d, K, structure = self.n_features_in_, self.n_components, self._structure
        kind = self.weight_concentration_prior_type
        if not isinstance(self.prior, MixturePosterior):
            what = type(self.prior).__name__
            whose = "its" if hasattr(type(self.prior), "posterior_") else "a fit's"
            raise ValueError(f"prior must be a MixturePosterior, not a {what}: give {whose} `posterior_`.")
        names = ["mean_precision_prior", "mean_prior", "degrees_of_freedom_prior", "covariance_prior"]
        if kind == DISTRIBUTION:
            names.append("weight_concentration_prior")
        twice = [name for name in names if getattr(self, name) is not None]
        if twice:
            raise ValueError(f"prior says all that {' and '.join(twice)} would: give one or the other.")
        if not isinstance(self.init_params, str):
            raise ValueError("prior says where components begin, as init_params does: give one or the other.")
        for name, part in zip(("weights", "components", "unseen"), self.prior[:-1], strict=True):
            if not all(np.isfinite(leaf).all() for leaf in leaves(part)):
                raise ValueError(f"prior has {name} that are not finite: give the posterior_ of a fit.")
        if (np.asarray(self.prior.weights) < 0).any():
            raise ValueError("prior has negative weights: give the posterior_ of a fit.")
        if self.prior.of_process == (kind == DISTRIBUTION):
            raise ValueError(
                f"prior has weights of a {'process' if self.prior.of_process else 'distribution'}, which mean "
                f"something else with weight_concentration_prior_type={kind!r}: set the type of the fit that "
                "it comes from."
            )
        if np.shape(self.prior.weights) != (K,):
            n = np.size(self.prior.weights)
            raise ValueError(f"prior has {n} weights, but n_components={K}: set n_components={n}.")
        for part, n in ((self.prior.components, K), (self.prior.unseen, 1)):
            matrices = structure.identity(n, d).shape
            expected = (n, d), (n,), matrices[:1], matrices
            found = tuple(np.shape(leaf) for leaf in part)
            if found != expected:
                raise ValueError(
                    f"prior is of another kind: it has the shapes {found}, but n_components={K}, "
                    f"covariance_type={self.covariance_type!r} and {d} features need {expected}. Give the "
                    "posterior_ of a fit of that covariance_type, to the same features."
                )

    def _look_at_spread(self, rows, counts, data, moments, near):
        """Warn where the default prior is as wide as values that lie far from all others."""
        if not self._floor_matters:
            return
        far = np.sqrt(moments.variance) / near
        wide = far > FAR
        for i in np.flatnonzero(~wide & (far > NOT_ONE_BODY)):
            wide[i] = _is_of_one_value(rows[:, i].astype(np.float64), counts, near[i])
        if not wide.any():
            return
        j, more = int(np.argmax(np.where(wide, far, -np.inf))), np.count_nonzero(wide) - 1
        middle = np.nanmedian(rows[:, j])

        def farthest(batch):
            away = np.where(np.isnan(batch.x[0]), -1.0, np.abs(batch.x[0] - middle))
            row = int(np.argmax(away if batch.weight is None else np.where(batch.weight > 0, away, -1.0)))
            return away[row], batch.x[0, row], batch.rows.start + row

        away, value, row = max(data.recut(columns=np.array([j])).map(farthest))
        self._warn(
            f"{self._column_name(j)} is {value:.6g} in row {row}, {away / near[j]:.3g} standard deviations of "
            f"what lies close together away from it{f' ({more} more are like that)' if more else ''}. The "
            "default priors, mean and covariance of X, are drawn there, and the fit with them. Replace codes "
            "for missing values by NaN, or give mean_prior and covariance_prior.",
            UserWarning,
        )

    def _model_of(self, family, moments, units, everything):
        concentration = self.weight_concentration_prior
        concentration = 1.0 / self.n_components if concentration is None else float(concentration)
        seen = None if self.prior is None else np.array(self.prior.weights, dtype=np.float64)
        if self.weight_concentration_prior_type == DISTRIBUTION:
            latent = DirichletWeights(concentration if seen is None else seen)
        else:
            latent = StickBreaking(concentration, self.discount_prior, seen)
        if self.prior is None:
            own = unseen = self._common_prior(moments, units, everything)
        else:
            structure = VariationalGaussian(family, self.prior.unseen)
            own, unseen = (
                structure.in_units(part, units.inverse) for part in (self.prior.components, self.prior.unseen)
            )
        self._unseen = VariationalGaussian(family, unseen)
        return LatentModel(latent, VariationalGaussian(family, own))

    def _common_prior(self, moments, units, everything):
        """The prior of every component, in the engine's units."""
        d, structure = len(units.scale), self._structure
        if self.mean_prior is None:
            means = (moments.mean - units.shift) / units.scale
        else:
            means = (np.asarray(self.mean_prior, dtype=np.float64) - units.shift) / units.scale
        if self.covariance_prior is None:
            scatter = covariance_of(structure, moments, units, everything)
            scatter = structure.raise_to(scatter, max(self.reg_covar, LEAST_FLOOR))
        else:
            given = np.asarray(self.covariance_prior, dtype=np.float64)
            scatter = structure.rescale(given.reshape(structure.identity(1, d).shape), 1 / units.scale)
        precision = 1.0 if self.mean_precision_prior is None else float(self.mean_precision_prior)
        self._refuse_extremes(means, precision, scatter, moments, units)
        dof = d if self.degrees_of_freedom_prior is None else self.degrees_of_freedom_prior
        return NormalWishart(means[None], np.array([precision]), np.array([float(dof)]), scatter)

    def _refuse_extremes(self, means, precision, scatter, moments, units):
        """Refuse priors beside which data are lost in rounding, by name; in the engine's units."""
        size = moments.weight / unit_of(moments.weight, moments.n_rows)
        worth = {"degrees_of_freedom_prior": self.degrees_of_freedom_prior}
        if self.weight_concentration_prior_type == DISTRIBUTION:
            worth["weight_concentration_prior"] = self.weight_concentration_prior
        for name, rows in worth.items():
            if rows is not None and rows > MOST_TIMES * size:
                raise ValueError(
                    f"{name}={rows:.6g} is worth so many rows that the {size:.6g} of X are lost in rounding: "
                    f"give at most {MOST_TIMES * size:.3g}."
                )
        variances = np.diagonal(self._structure.dense(scatter, len(means))[0])
        if not ((variances > 1 / WIDEST) & (variances < WIDEST)).all():
            raise ValueError(
                "covariance_prior has variances that beside those of X are beyond floating point: give it in "
                "the units of X."
            )
        # What of the mean's distance comes into the scatter, in standard deviations.
        with np.errstate(over="ignore"):
            away = np.abs(means - (moments.mean - units.shift) / units.scale)
            away *= np.sqrt(min(precision, size) / (1 + variances))
        column = int(np.argmax(away))
        if away[column] > (FURTHEST_FULL if self._structure.correlates else FURTHEST):
            raise ValueError(
                f"mean_prior has {self._column_name(column)} at {away[column]:.3g} standard deviations from "
                "the mean of X, and covariances that reach as far have no digits left for X. Give a mean_prior "
                "that is nearer, a wider covariance_prior or a smaller mean_precision_prior."
            )

    # -- fit ---------------------------------------------------------------------------------------------

    def _part_of(self, sample, total):
        if sample.is_whole:
            return sample
        times = total / sample.counts.sum()  # a prior weighs as much beside it as beside all data
        return replace(sample, weight=sample.weight * times, counts=sample.counts * times)

    @property
    def _gives_order(self):
        return gives_order(self)

    def _starts(self, model, sample, data, units, given, rng):
        K = self.n_components
        if self.prior is not None:
            before = LatentPair(model.latent.before(K), model.family.unseen(K))
            return [Start("prior", lambda: before)]
        plain = LatentModel(MixtureWeights(), model.family.gaussian)
        if K == 1 or not isinstance(self.init_params, str):
            return choose_starts(self, plain, sample, data, units, given, rng, into=model.start)

        if sample.labels is not None:
            return portfolio(RowStarts(plain, K, sample, model.start).start, ("known",), self.n_init, rng)

        def start(kind, seed):
            # What is needed in the end is often few components: half of the starts begin with fewer, unless
            # there is only one, which could not find more.
            n_empty = max(int(np.random.RandomState(seed).randint(1 - K, K)), 0) if self.n_init > 1 else 0
            empty = np.zeros((n_empty, len(sample.rows)))
            make = RowStarts(
                plain, K - n_empty, sample, lambda batch, resp: model.start(batch, np.vstack([resp, empty]))
            )
            return Start("all", make.begin(make.everything)) if n_empty == K - 1 else make.start(kind, seed)

        return portfolio(start, kinds_for(self.init_params, plain.family), self.n_init, rng)

    def _take(self, model, params, units):
        self._model, self._params, self._units = model, params, units
        latent, family = model.latent, model.family
        K, own = len(params.latent), family.in_units(params.family, units)
        weights = latent.mean(params.latent)
        fields = {"weights": weights / weights.sum(), **family.fields(own, (K,))}
        fields["precisions_cholesky"] = family.gaussian.precisions_cholesky(family.plug_in(own))
        concentration = latent.concentration
        if self._is_process:
            order, _, sticks = latent.sticks(params.latent)
            by_component = tuple(np.empty(K) for _ in sticks)
            for of_component, of_stick in zip(by_component, sticks, strict=True):
                of_component[order] = of_stick
            fields["weight_concentration"] = np.array(by_component)
        else:
            fields["weight_concentration"] = params.latent.copy()
        prior = family.in_units(family.prior, units)
        common = len(prior.means) == 1
        matrix = len(prior.dof) == 1
        fields["weight_concentration_prior"] = np.asarray(concentration)
        fields["mean_precision_prior"] = prior.precision[0] if common else prior.precision
        fields["mean_prior"] = prior.means[0] if common else prior.means
        fields["degrees_of_freedom_prior"] = prior.dof[0] if matrix else prior.dof
        fields["covariance_prior"] = prior.scatter[0] if matrix else prior.scatter
        fields = {name: in_precision(np.asarray(value), self._dtype) for name, value in fields.items()}
        fields = {name: value[()] if value.ndim == 0 else value for name, value in fields.items()}
        if self._is_process:
            fields["weight_concentration"] = tuple(fields["weight_concentration"])
        self._publish(fields)
        unit = self._unit
        self.n_effective_components_ = int(np.sum(latent.counts(params.latent) > COUNTS * unit))

    def _plan(self, data, labels=None):
        plan = super()._plan(data, labels)
        if plan.size > MOST_ROWS:
            raise ValueError(
                f"sample_weight adds up to {plan.size:.3g}: weights count rows beside what the priors are "
                f"worth, and more than {MOST_ROWS:g} leave nothing of these. Scale them down."
            )
        self._unit = plan.unit
        return plan

    def _publish_objective(self, plan, best):
        self.lower_bounds_ = [value - plan.log_volume for value in best.history]
        self.lower_bound_ = self.lower_bounds_[-1]
        self._bounds_are_per = 1.0

    def _unless_parted(self):
        """Nothing: components that are empty are all alike, as they should be."""
        return ()

    # -- after fit ---------------------------------------------------------------------------------------

    @property
    def precisions_(self) -> NDArray[Any]:
        """Expected precisions (inverse covariances), of the shape of `covariances_`."""
        check_is_fitted(self)
        family = self._model.family
        own = family.plug_in(family.in_units(self._params.family, self._units))
        return in_precision(family.gaussian.precisions(own), self._dtype)

    @property
    def posterior_(self) -> MixturePosterior:
        """All that was learnt, in the units of X, as `prior` of another fit."""
        check_is_fitted(self)
        in_units, (weights, components) = self._model.family.in_units, self._params
        return MixturePosterior(
            weights.copy(),
            in_units(components, self._units),
            in_units(self._unseen.prior, self._units),
            self._is_process,
        )

    @property
    def _is_process(self):
        return isinstance(self._model.latent, StickBreaking)

    def _log_density_of(self, params):
        """Posterior predictive: parameters are integrated out, and new components may come."""
        latent, family = self._model.latent, self._model.family
        predict = family.predictive(params.family)
        log_weights = np.log(latent.mean(params.latent))[:, None]
        rest = latent.unseen(params.latent)
        if not rest:
            return lambda batch: logsumexp(predict(batch) + log_weights, axis=0)
        predict_new = self._unseen.predictive(self._unseen.prior)

        def log_density(batch):
            seen = predict(batch) + log_weights
            return logsumexp(np.vstack([seen, predict_new(batch) + np.log(rest)]), axis=0)

        return log_density

    def sample(
        self, n_samples: int = 1, random_state: RandomState = None
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw new rows from the posterior predictive distribution, that of `score_samples`.

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
            Their components; −1 of one never seen, which processes leave room for.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        rng = self._rng(random_state)
        latent, family = self._model.latent, self._model.family
        weights = np.append(latent.mean(self._params.latent), latent.unseen(self._params.latent))
        counts = rng.multinomial(n_samples, weights / weights.sum())
        y = np.repeat(np.arange(len(counts) - 1), counts[:-1])
        rows = [
            family.sample(self._params.family, y, rng),
            self._unseen.sample(self._unseen.prior, np.zeros(counts[-1], dtype=np.intp), rng),
        ]
        X = np.vstack(rows) * self._units.scale + self._units.shift
        return X.astype(self.means_.dtype), np.append(y, np.full(counts[-1], -1))

    def reorder(self, order: ArrayLike) -> Self:
        check_is_fitted(self)
        order = self._read_order(order)
        self._model = self._model_with(order)
        return super().reorder(order)

    reorder.__doc__ = MixtureOfRows.reorder.__doc__

    def _model_with(self, components):
        """The model of these components, in this order."""
        latent, family = self._model.latent, self._model.family
        return LatentModel(latent.reordered(components), family.reordered(components))

    def without_empty(self, least: float = COUNTS) -> BayesianGaussianMixtureEM:
        """The same mixture without components that hold next to nothing.

        A process has components without end, and those that are left out join the ones never seen. The bound
        changes by about as many nats as they hold rows: not at all where they hold none. Weights with a
        Dirichlet distribution are those of K components, and of fewer they would be others.

        Parameters
        ----------
        least : float, default=0.5
            Components that hold more rows than this stay. That with most stays in any case.

        Returns
        -------
        mixture : BayesianGaussianMixtureEM
            Fitted, with `n_effective_components_` components (if ``least`` is .5); without the history of a
            fit. With ``warm_start=True`` its `fit` goes on from there.

        Raises
        ------
        ValueError
            If the weights are not those of a process, or ``least`` is not a number from 0 on.

        Examples
        --------
        >>> from emlearn import BayesianGaussianMixtureEM
        >>> from emlearn.datasets import load_old_faithful
        >>> X = load_old_faithful().data
        >>> mixture = BayesianGaussianMixtureEM(n_components=3, random_state=0).fit(X)
        >>> mixture.without_empty().means_.round(1)
        array([[ 4.3, 79.9],
               [ 2.1, 54.7]])
        """
        check_is_fitted(self)
        if not self._is_process:
            raise ValueError(
                "Weights with a Dirichlet distribution are those of n_components components: to have fewer, "
                "fit fewer. Empty components can be left out of a process."
            )
        if not (isinstance(least, Real) and least >= 0):
            raise ValueError(f"least={least!r} must be a number of rows, at least 0.")
        (rows, family), model = self._params, self._model
        kept = np.flatnonzero((rows > least * self._unit) | (rows == rows.max()))
        mixture = self._alike(
            n_components=len(kept),
            weight_concentration_prior=float(model.latent.concentration),
            prior=None if self.prior is None else self._prior_of(kept),
        )
        mixture._take(
            self._model_with(kept), LatentPair(rows[kept], model.family.reorder(family, kept)), self._units
        )
        return mixture

    def _prior_of(self, components):
        """What `prior` says of some components."""
        model = self._model_with(components)
        prior = model.family.in_units(model.family.prior, self._units)
        return self.prior._replace(weights=model.latent.seen, components=prior)

    def marginal(self, columns: ArrayLike) -> BayesianGaussianMixtureEM:
        """Mixture of some of the features: the others, and what is known of them, are integrated out.

        Densities are those of rows in which the others are missing. Responsibilities differ a little from
        theirs, for which what is missing is not integrated out but hidden, like the components.

        Parameters
        ----------
        columns : array-like of int or str
            Features to keep, by number or name.

        Returns
        -------
        mixture : BayesianGaussianMixtureEM
            Fitted, with what belongs to its distribution; without the history of a fit.

        Raises
        ------
        ValueError
            If ``columns`` names a feature twice or one that is not there.
        """
        check_is_fitted(self)
        index = self._column_numbers(columns)
        model, (rows, family) = self._model, self._params
        mixture = self._alike(
            init_params="auto",
            prior=None,
            mean_prior=None,
            degrees_of_freedom_prior=None,
            covariance_prior=None,
        )
        mixture.n_features_in_ = len(index)
        if hasattr(self, "feature_names_in_"):
            mixture.feature_names_in_ = self.feature_names_in_[index]
        mixture._unseen = self._unseen.of_some(index)
        units = Affine(self._units.shift[index], self._units.scale[index])
        part = LatentPair(rows, model.family.marginal(family, index))
        mixture._take(LatentModel(model.latent, model.family.of_some(index)), part, units)
        return mixture

    def _alike(self, **params):
        """A clone with other parameters that is to be given what was fitted."""
        mixture = clone(self).set_params(**params)
        for name in ("n_features_in_", "feature_names_in_", "_dtype", "_unit", "_unseen"):
            if hasattr(self, name):
                setattr(mixture, name, getattr(self, name))
        return mixture


def _is_of_one_value(column, weight, near):
    """Whether one value far out, in few rows, makes most of a column's variance, others lying together."""
    counts = ~np.isnan(column) & (True if weight is None else weight > 0)
    x = column[counts]
    weight = np.ones(len(x)) if weight is None else weight[counts]
    away = np.abs(x - np.median(x))
    others = x != x[np.argmax(away)]
    if not others.any() or weight[others].sum() < (1 - RARE) * weight.sum():
        return False
    variance, of_others = (
        np.average((x[rows] - np.average(x[rows], weights=weight[rows])) ** 2, weights=weight[rows])
        for rows in (slice(None), others)
    )
    return of_others < ITS_PART * variance and of_others < (NOT_ONE_BODY * near) ** 2
