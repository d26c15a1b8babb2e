"""Hidden Markov models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emlearn._by_hand import as_they_are
from emlearn._emissions.entries import entries_of, refuse_impossible, warn_of_impossible
from emlearn._emissions.given import GivenEmission, apart, emission_of, held_names, n_columns_of
from emlearn._emissions.published import categories_of, fields_of, kept_state, read_state, with_labels
from emlearn._emissions.words import PARAMETERS, categorical_columns, emission_family, observed_kinds
from emlearn._input.arrays import read_array
from emlearn._input.categories import Coding
from emlearn._input.sequence_pieces import (
    come_in_pieces,
    read_sequence_data,
    refuse_pieces,
    sequence_by_sequence,
)
from emlearn._input.sequences import (
    Sequences,
    check_sequence_weight,
    check_state_labels,
    name_states,
    read_sequences,
)
from emlearn._online import Rows, Streaming, rows_of_batch
from emlearn._rare import worst_explained
from emlearn._sample import ground, near_spread, unit_of
from emlearn._sklearn_compat import Interval, StrOptions, _fit_context, with_callbacks
from emlearn._spikes import spikes
from emlearn._typing import Acceleration, Annealing, Assignment, CovarianceType, RandomState, Ranking
from emlearn.base import EMMixin, Moments, Plan, all_or_nothing, moments_of
from emlearn.em import (
    ACCELERATIONS,
    ASSIGNMENTS,
    RANKINGS,
    Batches,
    LatentModel,
    LatentPair,
    Start,
    one_blas_thread,
)
from emlearn.em.model import by_blocks
from emlearn.em.trees import leaves, tree_map
from emlearn.families import COVARIANCE_TYPES, Emission
from emlearn.families.base import HardlyImpossible
from emlearn.hmm._chain import (
    bind_chain,
    check_allowed,
    check_labels,
    is_exchangeable,
    probabilities_of,
)
from emlearn.hmm._filter import HMMFilter
from emlearn.hmm._inference import About, MaximumLikelihood, views_of
from emlearn.hmm._lag import fixed_lag
from emlearn.hmm._residuals import backwards, check_kind, states_by_others
from emlearn.hmm._starts import SAMPLE_STEPS, ChainStarts, SequenceSample, given_start
from emlearn.hmm._variational import HMMPosterior, Variational, reordered
from emlearn.inference._estimates import SeenAgain
from emlearn.inference._residuals import PseudoResiduals, residuals_of
from emlearn.latent import ChainParams, MarkovChain, stationary_distribution
from emlearn.latent.known import possible_states

INFERENCES = {"em": MaximumLikelihood, "variational": Variational}
# Rows whose residuals are found together.
ROWS_TOGETHER = 10_000
# A state counts where it holds more than this share of a step.
COUNTS = 0.5
RECURSIONS = MarkovChain()  # whatever was fitted, at some probabilities


# What is published of a chain, beside its emissions; and what of it may be held.
OF_CHAIN = ("startprob", "transmat", "stationary_distribution")
HELD_OF_CHAIN = ("startprob", "transmat")


class Seen(NamedTuple):
    """What the first pass over sequences tells of them."""

    moments: Moments
    n_steps: float  # weight of the steps at which something is observed
    n_counted: int  # number of those with weight

    def joined(self, other):
        """Of these sequences and others."""
        return Seen(
            self.moments.joined(other.moments),
            self.n_steps + other.n_steps,
            self.n_counted + other.n_counted,
        )


def see(batch):
    """The first look at a batch."""
    observed = ~np.isnan(batch.x).all(axis=0)
    if batch.weight is not None:
        observed &= batch.weight > 0
    return Seen(moments_of(batch), batch.sum(observed), int(np.count_nonzero(observed)))


class Forecast(NamedTuple):
    """What comes after a sequence, step by step. With several sequences there is an axis for them in front."""

    state_proba: NDArray[np.float64]  # (n_steps, K)
    mean: NDArray[np.float64]  # (n_steps, d) of the observations; NaN for categories
    covariance: NDArray[np.float64]  # (n_steps, d, d) of the observations; NaN for categories


class HMMEM(Streaming, DensityMixin, EMMixin):
    r"""Hidden Markov model fitted by Expectation-Maximization (Baum–Welch), or by variational Bayes.

    Parameters
    ----------
    n_components : int, default=2
        Number of states, K.
    emission : str, dict or family object, default="gaussian"
        What states emit: "gaussian", "student_t" (numbers with outliers; degrees of freedom are estimated for
        each state, or as `emlearn.families.student_t_family` says), "poisson" (counts), "negative_binomial"
        (counts that vary more), "zero_inflated_poisson", "geometric", "bernoulli" (0 or 1), "binomial" (columns
        of successes, then as many of trials), "multinomial" (counts of a category in each column),
        "exponential", "gamma" or "lognormal" (positive numbers), "beta" (shares), "von_mises" (angles in
        radians), "von_mises_fisher" (unit vectors), "categorical" (codes 0 … n − 1 or names, independent
        columns), "gmm" (a mixture of `n_mixtures` Gaussians in each state), or a family from
        `emlearn.families`. A dict gives each column, by name or number, or a tuple of columns its own; columns
        with the same word belong together, and parts are independent given the state. A family object brings
        its own covariance shape and floor: `covariance_type`, `n_mixtures` and `reg_covar` are for the words.
    inference : {"em", "variational"}, default="em"
        What is inferred of the parameters: those of greatest likelihood, or by variational Bayes a distribution
        of them. The second needs emissions with a conjugate prior ("gaussian" with "full", "tied", "diag",
        "spherical", "tied_diag" or "tied_spherical" covariances, "poisson", "categorical", "bernoulli", and
        dicts of these), a `startprob` that is not "stationary", and nothing `fixed`.
    covariance_type : str, default="full"
        Form of Gaussian covariance matrices, as in `GaussianMixtureEM`: "full", "tied", "diag", "spherical",
        "tied_diag" or "tied_spherical", mclust's letters, or "factor". For "student_t" that of scale matrices,
        which "factor" is not for.
    n_factors : int, default=10
        Number of factors, where `covariance_type` is "factor"; no more than there are features count.
    n_mixtures : int, default=2
        Number of Gaussians in each state, for "gmm".
    n_categories : int or array-like of int, default=None
        Number of categories of each categorical column, or of all of them. None: as the data have, those of a
        column of a type for categories (of pandas, an Enum of polars) as that has.
    startprob : {"free", "stationary", "uniform"} or array-like of shape (K,), default="free"
        Distribution of the first state: estimated, that which the transition matrix keeps, equal, or as
        given and held fixed.
    transition : {"full", "left-right"} or array-like of shape (K, K), default="full"
        Which transitions are possible: all, those to the same or a later state, those where a boolean array
        is true, or those where an array of probabilities is not 0 (it is then also where to start from).
    startprob_prior, transmat_prior : float or array-like, default=None
        Concentrations of Dirichlet priors, of shape (K,) and (K,) or (K, K): at least 1, and None is 1, maximum
        likelihood. With ``inference="variational"`` positive, and None is 1 / K, as in hmmlearn: each prior is
        worth one observation.
    stickiness : float, default=0.0
        Added to the concentration of every transition from a state to itself: favours states that last.
    emission_prior : dict or float, default=None
        Priors of what each state emits, by name. In a fit of greatest likelihood those of probabilities make it
        one of greatest posterior density: Dirichlet distributions of `concentration` over categories, a number
        or for each column an array, and Beta distributions of `ones` and `zeros`; of at least 1. A category
        that data or `n_categories` name is then impossible nowhere. A number alone is that of all of these.
        With ``inference="variational"`` what is left out is weak and from the data. Gaussians have `means` (d,)
        (the means of X), worth `beta` steps (1), and covariances about `scale` / `dof`: `scale` of the form of
        one covariance matrix (that of X), worth `dof` steps (d). Rates of counts have a Gamma distribution of
        `shape` (1) and `rate` (1 / mean of X), numbers or (d,). Probabilities of a 1 have a Beta distribution
        of `ones` and `zeros` (1/2), those of categories Dirichlet distributions of `concentration` (1 / number
        of categories). For a dict of emissions a dict of these by the columns of each.
    prior : HMMPosterior, default=None
        For ``inference="variational"``: `posterior_` of another fit, state by state, in place of all other
        priors. Fits of sequences one after another so become a fit of all of them.
    reg_covar : float, default=1e-9
        Least eigenvalue of a covariance matrix, relative to each feature's variance. A constraint, not a
        term added to diagonals; values below 1e-9 count as 1e-9. With ``inference="variational"`` that of the
        default `scale`.
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
        owe to luck (`emlearn.families.evidence`), or the log-likelihood as it is. A variational bound has no
        handicap: it has paid for what it fits.
    startprob_init : array-like of shape (K,), default=None
        Distribution of the first state to start from.
    transmat_init : array-like of shape (K, K), default=None
        Transition matrix to start from. Zeros stay zero.
    means_init : array-like of shape (K, d), default=None
        Means (rates, probabilities) to start from. There is then one start, whatever `n_init` says.
    emission_init : dict, default=None
        Parameters of the emissions to start from, by the names under which they are published: `means` and
        `covariances`, `rates`, `probabilities`, `weights`, in their shapes. For a dict of emissions a dict of
        these by the columns of each, as `emission_params_` has them. Where it says of every column where states
        are (means, or all parameters) there is one start.
    fixed : str or sequence of str, default=()
        What stays at the starting value that is given: "startprob", "transmat" and names of parameters of the
        emissions, as in ``("transmat", "means")``.
    acceleration : {"auto", "squarem", "secant", "none"}, default="auto"
        Extrapolation of EM steps. It never lowers the objective.
    assignment : {"soft", "hard", "sampled"}, default="soft"
        What an M-step sees of states. "soft": their posterior probabilities, which is EM. "hard": those of the
        most probable path (classification EM), which climbs the likelihood of data and paths together (Viterbi
        training). "sampled": those of a path drawn from the posterior (stochastic EM): a chain of `max_iter`
        iterations that neither climbs nor ends by `tol`. The best of it by likelihood is the fit, and the mean
        of its second half is `mean_parameters_`. A sequence is drawn once, whatever its weight. With
        ``inference="variational"`` only "soft".
    annealing : bool or array-like of shape (n_temperatures,), default=False
        Deterministic annealing: before its race each start goes through some steps of EM at these inverse
        temperatures, which rise to 1: below 1 the posterior is flattened. True is 0.7, 0.85, 1: where it is
        hotter, states melt into one. `means_init` and `emission_init` would melt, and are refused beside it,
        unless they are held `fixed`; so is ``max_iter=0``.
    sequence_id : str, default=None
        Column, or index level, of a DataFrame that says to which sequence a row belongs; with `max_gap`, of
        times.
    max_gap : number or time span, default=None
        Longest time between two rows of a sequence, where rows have times: a column named by `sequence_id`, or
        the index of a DataFrame. A sequence ends where the next row of it (of its ``groups``, where these are
        given) is later by more, or earlier. Numbers for numbers; for datetimes what pandas reads as a span, as
        in "1h". None: nothing is cut.
    algorithm : {"viterbi", "posterior"}, default="viterbi"
        What `predict` and `decode` return: the most probable path, or the most probable state at each step.
    warm_start : bool, default=False
        Start from the last fit's solution, whatever `n_init` and any starting values say, and keep its order of
        components. The first fit races.
    forgetting : float, default=0.0
        Share of the past that `partial_fit` forgets with each step, for streams that drift: 1 / n keeps about n
        of them, 0 forgets nothing. `fit` knows nothing of it.
    n_jobs : int, default=None
        Threads that share the starts, and the rows of large data. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the starts and all draws. With an int, every call draws the same.
    verbose : int, default=0
        1 prints what became of the starts, 2 every iteration too.

    Attributes
    ----------
    startprob_ : ndarray of shape (K,)
        Distribution of the first state.
    transmat_ : ndarray of shape (K, K)
        Probabilities of transitions, from row to column.
    stationary_distribution_ : ndarray of shape (K,)
        Share of time in each state in the long run. With ``inference="variational"`` these, and the parameters
        of the emissions, are posterior means (covariances: inverses of the mean precision matrices).
    means_, covariances_, rates_, probabilities_, weights_
        Parameters of the emissions, in the units of X, where there is one emission for all columns: means
        and covariances of Gaussians as in `GaussianMixtureEM`; rates (K, d) of counts; probabilities (K, d)
        of a 1, or for categories a tuple with an array (K, n_categories) for each column. With "gmm" means
        and covariances have the shape (K, M, …), and weights (K, M).
    scale_matrices_, df_
        Of "student_t", in the place of covariances, and degrees of freedom (K,), at least 1 and at most 200.
        With more than two, covariances are ``df / (df - 2)`` times the scale matrices.
    dispersions_, inflations_
        Of "negative_binomial" and "zero_inflated_poisson", (K, d).
    shapes_, alphas_, betas_, log_means_, log_covariances_, angles_, directions_, concentrations_
        Of "gamma", beside `rates_`, and "beta" (K, d); of the logarithms of "lognormal" numbers, as means and
        covariances of Gaussians; of "von_mises" (K, d) both, of "von_mises_fisher" (K, d) and (K,).
    categories_ : list of ndarray
        Categories of each categorical column, in the order of `probabilities_`: codes, or names. Only where
        there are such columns.
    states_ : ndarray of shape (K,)
        Names of the states. Only where `state_labels` had names.
    emission_params_ : NamedTuple, or dict of tuple of int -> NamedTuple
        The same for every emission; for a dict of emissions by the columns of each part.
    converged_ : bool
        Whether the best start met `tol`, or all gains were lost in rounding. A chain of draws never does.
    n_iter_ : int
        Number of iterations of the best start, on all of the data.
    log_likelihood_ : float
        Total weighted log-likelihood of what is observed, at the fitted parameters, in nats. Of nothing else,
        whatever the `assignment`.
    lower_bound_ : float
        The same per observed step; equals ``score(X)``, where no states were known. With hard assignments that
        of what is seen and hidden together, which is less. With ``inference="variational"`` the lower bound of
        the log evidence :math:`\log p(X)`, in total and with all constants; of one state it is the evidence.
        `lower_bounds_` are then totals too, and there is no `log_likelihood_`.
    lower_bounds_ : list of float
        Objective (log-likelihood plus log prior) per observed step at each iteration of the best start, the
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
        Number of free parameters; what is fixed or forbidden does not count.
    n_effective_components_ : int
        How many states hold more than half a step. Only with ``inference="variational"``.
    posterior_ : HMMPosterior
        All that was learnt, as `prior` of another fit. Only with ``inference="variational"``; computed when
        asked for.
    n_sequences_ : int
        Number of sequences that were fitted.
    n_rows_seen_ : int
        Number of steps that `partial_fit` has seen, with those of a `fit` before it. Only after `partial_fit`;
        what only a fit can tell (`converged_`, `n_iter_`, `log_likelihood_`, `lower_bound_`, `lower_bounds_`,
        `extrapolated_`, `gap_`) is absent once steps are seen but once.
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    GaussianMixtureEM : The same without order in time.
    emlearn.sequences.SequenceWise : Applies a transformer of rows to a list of sequences.

    Notes
    -----
    Sequences come in four ways, with the same result: a list (or object array) of arrays or DataFrames, one
    for each sequence; rows with ``groups=``; a DataFrame with ``sequence_id``; rows with ``lengths=``. A 3-D
    array padded with rows of NaN counts as a list, and rows alone as one sequence. What is returned mirrors
    what came in: an object array of arrays for a list, rows for rows. Sequences that do not fit into memory
    come in pieces that are read again at each pass, or lie on a cluster of Dask: see `fit`.

    Missing entries, NaN, are integrated out. A row of NaN is a step at which nothing was observed. What is
    impossible has log-density -inf, and so has after the fit, with a warning, a category that fit never saw:
    what goes through it has posterior probabilities of 0, and log-likelihood -inf.

    States are sorted by their first mean, or, where there are only categories, by how often they are visited.
    They keep their order where something tells them apart: fixed or forbidden transitions, known states,
    given starting values or priors by state; and where a fit goes on from the last one. With
    ``inference="variational"`` states that the data do not need, of less than half a step, come last.

    Variational Bayes takes the states of each sequence and the parameters for independent; what is fitted is
    then the closest to the true posterior, in Kullback-Leibler divergence. Its `predict`, `decode`,
    `predict_proba` and `sample_states` are of the states' posterior, at expected log-probabilities.
    `score_samples`, `score`, `filter_proba`, `predict_next` and `sample` are predictive: at each step
    parameters are integrated out, so that Gaussian states have Student's t and counts are negative binomial.
    Bounds of different K on the same data compare models; each is of one of the K! orders of states, so that
    for the evidence :math:`\log K!` may be added.

    `predict` and `predict_proba` look at the whole sequence, past and future. `filter_proba` and `predict_next`
    look at the past alone.

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), A maximization technique occurring in the statistical analysis of
    probabilistic functions of Markov chains, Ann. Math. Stat. 41. Zucchini, MacDonald & Langrock (2016),
    Hidden Markov Models for Time Series, CRC Press. MacKay (1997), Ensemble learning for hidden Markov models,
    University of Cambridge. Beal (2003), Variational algorithms for approximate Bayesian inference, chapter 3,
    University College London.

    Examples
    --------
    >>> from emlearn import HMMEM
    >>> from emlearn.datasets import load_earthquakes
    >>> X = load_earthquakes().data
    >>> model = HMMEM(n_components=2, emission="poisson", random_state=0).fit(X)
    >>> model.rates_.round(1)
    array([[15.4],
           [26. ]])
    >>> model.transmat_.round(3)
    array([[0.928, 0.072],
           [0.119, 0.881]])
    >>> print(f"{model.log_likelihood_:.3f}")
    -341.879

    A distribution of the parameters, of as many states as the data support:

    >>> bayes = HMMEM(5, emission="poisson", inference="variational", random_state=0).fit(X)
    >>> bayes.n_effective_components_
    3
    >>> bayes.rates_[:3].round(1)
    array([[13.2],
           [19.2],
           [29.5]])
    """

    startprob_: NDArray[Any]
    transmat_: NDArray[Any]
    stationary_distribution_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    rates_: NDArray[Any]
    probabilities_: Any
    weights_: NDArray[Any]
    emission_params_: Any
    n_sequences_: int

    _of_parameters = frozenset(
        f"{name}_"
        for name in (
            *("startprob", "transmat", "stationary_distribution", "emission_params"),
            *("weights", *PARAMETERS),
            *("covars", "lambdas", "emissionprob"),  # what hmmlearn calls them
        )
    )
    _made_of = "startprob, transmat, means=..., covariances=..., ..."
    _of_chain = ("startprob", "transmat", "emission_params")
    _default_schedule = (0.7, 0.85, 1.0)  # where it is hotter than that, states melt into one

    # Groups say which rows are a sequence: wherever rows go, they go along.
    __metadata_request__fit = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__score = {"groups": True}

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "emission": [str, dict, object],
        "inference": [StrOptions(set(INFERENCES))],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "n_mixtures": [Interval(Integral, 1, None, closed="left")],
        "n_categories": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "startprob": [StrOptions({"free", "stationary", "uniform"}), "array-like"],
        "transition": [StrOptions({"full", "left-right"}), "array-like"],
        "startprob_prior": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "transmat_prior": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "stickiness": [Interval(Real, 0, None, closed="left")],
        "emission_prior": [dict, Interval(Real, 0, None, closed="neither"), None],
        "prior": [HMMPosterior, None],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "ranking": [StrOptions(set(RANKINGS))],
        "startprob_init": ["array-like", None],
        "transmat_init": ["array-like", None],
        "means_init": ["array-like", None],
        "emission_init": [dict, None],
        "fixed": [str, tuple, list],
        "acceleration": [StrOptions(set(ACCELERATIONS))],
        "assignment": [StrOptions(set(ASSIGNMENTS))],
        "annealing": ["boolean", "array-like"],
        "sequence_id": [str, Integral, None],
        "max_gap": "no_validation",  # where there are times to compare it with
        "algorithm": [StrOptions({"viterbi", "posterior"})],
        "warm_start": ["boolean"],
        "forgetting": [Interval(Real, 0.0, 1.0, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        emission: str | dict[Any, Any] | Emission = "gaussian",
        inference: Literal["em", "variational"] = "em",
        covariance_type: CovarianceType = "full",
        n_factors: int = 10,
        n_mixtures: int = 2,
        n_categories: ArrayLike | None = None,
        startprob: ArrayLike = "free",
        transition: ArrayLike = "full",
        startprob_prior: ArrayLike | None = None,
        transmat_prior: ArrayLike | None = None,
        stickiness: float = 0.0,
        emission_prior: dict[Any, Any] | float | None = None,
        prior: HMMPosterior | None = None,
        reg_covar: float = 1e-9,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        startprob_init: ArrayLike | None = None,
        transmat_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        emission_init: dict[Any, Any] | None = None,
        fixed: str | Sequence[str] = (),
        acceleration: Acceleration = "auto",
        assignment: Assignment = "soft",
        annealing: Annealing = False,
        sequence_id: str | int | None = None,
        max_gap: Any = None,
        algorithm: Literal["viterbi", "posterior"] = "viterbi",
        warm_start: bool = False,
        forgetting: float = 0.0,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int | bool = 0,
    ) -> None:
        self.n_components = n_components
        self.emission = emission
        self.inference = inference
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.n_mixtures = n_mixtures
        self.n_categories = n_categories
        self.startprob = startprob
        self.transition = transition
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.stickiness = stickiness
        self.emission_prior = emission_prior
        self.prior = prior
        self.reg_covar = reg_covar
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.startprob_init = startprob_init
        self.transmat_init = transmat_init
        self.means_init = means_init
        self.emission_init = emission_init
        self.fixed = fixed
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.sequence_id = sequence_id
        self.max_gap = max_gap
        self.algorithm = algorithm
        self.warm_start = warm_start
        self.forgetting = forgetting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- fit ---------------------------------------------------------------------------------------------

    @with_callbacks
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        state_labels: Any = None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
            Sequences, or the rows of them. Pieces are sequences, or lists of them, of what can be read again
            and again: a list of lists, an object whose ``__iter__`` starts afresh, or a function that returns a
            new iterator. On a cluster of Dask a bag of sequences, a list of delayed ones (or of futures, or of
            dask arrays), or a dask array (n, d) with `lengths`: they are fitted where they lie.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n_sequences,), default=None
            How often each sequence counts. With rows, one weight for each row will do if it is the same
            throughout a sequence.
        groups : array-like of shape (n,), default=None
            With rows: those of the same group are a sequence, in the order in which they come.
        lengths : array-like of int of shape (n_sequences,), default=None
            With rows: lengths of the sequences, one after the other.
        state_labels : list of array-likes of shape (T_i,), or array-like of shape (n,), default=None
            States that are known, -1 where they are not; or their names, None where they are not. In place of a
            state there may be a set of those that are possible; arrays of booleans, with a column for each
            state, say it of each.

        Returns
        -------
        self : HMMEM

        Raises
        ------
        ValueError
            If X, a weight, a label or a parameter is not a legal one, or pieces cannot be read again; the
            message names the place.
        """
        self._check_ways()
        if come_in_pieces(X):
            if state_labels is not None:
                raise ValueError(
                    "state_labels stand beside sequences in memory, but X comes in pieces: give a list of all "
                    "sequences."
                )
            data, labels = self._data_in_pieces(X, sample_weight, groups, lengths, fit=True), None
            self._state_names = None
        else:
            sequences = self._read(X, groups, lengths, reset=True)
            _check_ignored(y, sequences)
            weight = check_sequence_weight(sample_weight, sequences)
            state_labels, self._state_names = name_states(state_labels, sequences, self.n_components)
            labels = check_state_labels(state_labels, sequences, self.n_components)
            if labels is not None and possible_states(labels, self.n_components).all():
                labels = None
            data = Batches(sequences.rows, weight, lengths=sequences.lengths, labels=labels)
        plan = self._plan(data, labels)
        try:
            return self._fit(plan, X, y)
        except ValueError as error:
            self._refuse_start(plan, data, error)
            raise

    def _refuse_start(self, plan, data, error):
        """Name the first sequence that is impossible where the fit was to start, if any is."""
        params = plan.starts[0].make()
        chain = params.latent
        if isinstance(plan.model.latent, MarkovChain):
            chain = chain._replace(start=plan.model.latent.start_of(chain))
        find = partial(_first_impossible, plan.model, params._replace(latent=chain))
        try:
            sequence, step = data.recut(units=plan.units).fold(find, min)
        except np.linalg.LinAlgError:  # where the start has no densities that is what there is to say
            return
        if sequence < np.inf:
            raise ValueError(
                f"Sequence {sequence} is impossible where the fit starts: no state that can be reached has a "
                f"density at step {step}. Starting values of 0 stay 0: give the probabilities (rates, "
                "transitions) that it needs more than that."
            ) from error

    def _data_in_pieces(self, X, sample_weight, groups, lengths, *, fit):
        def read(part, weight, first):
            sequences = self._read(part, None, None, reset=fit and first)
            return sequences.rows, weight, sequences.lengths

        return read_sequence_data(read, X, sample_weight, groups=groups, lengths=lengths)

    def fit_predict(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        state_labels: Any = None,
    ) -> NDArray[Any]:
        """Fit the model, and return the states as `predict` gives them.

        Parameters
        ----------
        X, y, sample_weight, groups, lengths, state_labels
            As of `fit`.

        Returns
        -------
        states : object array of ndarrays of int of shape (T_i,), or ndarray of int of shape (n,)
        """
        self.fit(X, y, sample_weight, groups=groups, lengths=lengths, state_labels=state_labels)
        return self.predict(X, groups=groups, lengths=lengths)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Self:
        """Learn from more sequences of a stream.

        The first sequences are kept, and a race is run on them again whenever they have twice as many steps,
        until there are 5000 or ten for each parameter, whichever is more. From then on sequences are seen once,
        by stepwise EM (Cappé & Moulines, 2009), in the units and within the bounds that the last race has
        chosen. After `fit` it goes on from there. Predictions and scores are of the model as it stands after
        each call.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d)
            Whole sequences, or the rows of them: what a call begins does not go on in the next. The first batch
            must hold at least as many distinct rows as there are states, and two.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n_sequences,), default=None
            How often each sequence counts, as of `fit`.
        groups : array-like of shape (n,), default=None
            With rows: those of the same group are a sequence, in the order in which they come.
        lengths : array-like of int of shape (n_sequences,), default=None
            With rows: lengths of the sequences, one after the other.

        Returns
        -------
        self : HMMEM
            The estimator. `n_rows_seen_` says how many steps it has seen; what only a fit can tell, as
            `converged_` and `lower_bound_`, is of the last race, and absent once sequences are seen but once.

        Raises
        ------
        ValueError
            If the first batch is too small, a later one has other features or what emissions have no density
            for, or an entry, a weight or a parameter is not a legal one. The estimator is then as it was
            before.
        """
        self._check_ways()
        self._check_stream()
        sequences = self._read(X, groups, lengths, reset=self._begins)
        _check_ignored(y, sequences)
        weight = check_sequence_weight(sample_weight, sequences)
        return self._take_in(Rows(sequences.rows, weight=weight, lengths=sequences.lengths))

    def _fit_to(self, rows):
        self._fit(self._plan(_data_of(rows), None), rows.X, None)

    def _batches_of(self, model, rows):
        cut = rows_of_batch(self._floats_per_row())
        model = LatentModel(model.latent, HardlyImpossible(model.family))
        return model, _data_of(rows).recut(units=self._units, rows=cut)

    def _refuse_rows(self, rows):
        refuse_impossible(self, _data_of(rows), self._model.family)

    def _after_rows(self, rows):
        self.n_sequences_ += len(rows.lengths)

    def _plan(self, data, labels):
        way = INFERENCES[self.inference](self)
        chain, given = way.chain()
        if labels is not None:
            check_labels(labels, data.lengths, self.n_components, chain, given)
        emission = emission_family(self, self.n_features_in_, getattr(self, "feature_names_in_", None))
        emission = way.emission(emission)
        seen = data.fold(see, Seen.joined)
        self._check_steps(seen, way.least_steps)
        rng = check_random_state(self.random_state)
        total = seen.moments.weight
        sample = SequenceSample.of(data, labels, self._sample_size(), rng)
        sample = way.part_of(sample, total)
        family, about = self._bind_family(emission, data, seen, sample)
        units, exchangeable = about.units, is_exchangeable(self, labels)
        free = LatentModel(chain, family)
        model, starts, put = self._starts(way, free, sample, about, given, exchangeable, rng)
        self._unit = unit = unit_of(seen.n_steps, seen.n_counted)
        everything = partial(data.recut, n_threads=effective_n_jobs(self.n_jobs))
        cut = {"units": units, "floats_per_row": self._floats_per_row()}
        whole, part = ground(sample, starts, everything, merged=self.assignment != "sampled", **cut)
        (some,) = sample.batches(units, rows=len(sample.rows))
        self._made_with = self._making()
        self.n_sequences_ = len(data.lengths)
        return Plan(
            model,
            units,
            starts,
            whole,
            part,
            size=seen.n_steps,
            log_volume=seen.moments.entries @ np.log(units.scale),
            n_rows=data.n_rows,
            n_observed=seen.n_steps,
            rows=some,
            exchangeable=exchangeable and not self._continues,
            unit=unit,
            part_unit=sample.unit,
            part_share=sample.weight @ sample.lengths / total,
            again=worst_explained(model, some, whole, part, unit, rng, put),
        )

    def _places_given(self):
        if set(held_names(self)).difference(HELD_OF_CHAIN):
            return []  # what is held tells states apart at any temperature
        return [name for name in ("means_init", "emission_init") if getattr(self, name) is not None]

    def _read(self, X, groups, lengths, *, reset):
        refuse_pieces(X, f"this method of {type(self).__name__}")
        known, fitted = (None, None) if reset else (vars(self).get("_labels", {}), self)
        coding = Coding(partial(categorical_columns, self.emission), known, fitted)
        sequences = read_sequences(
            self,
            X,
            groups=groups,
            lengths=lengths,
            sequence_id=self.sequence_id,
            max_gap=self.max_gap,
            reset=reset,
            coding=coding,
        )
        if reset:
            self._labels = coding.labels
        return sequences

    def _sample_size(self):
        return max(SAMPLE_STEPS, 10 * self.n_components**2)

    def _floats_per_row(self):
        d = self.n_features_in_
        return 5 * self.n_components + d * (d + 3) // 2

    def _check_steps(self, seen, least):
        """Refuse columns of nothing but NaN, and fewer observed steps with weight than are needed."""
        unseen = seen.moments.entries == 0
        if unseen.any():
            column = self._column_name(int(np.argmax(unseen)))
            raise ValueError(f"X has nothing but NaN in {column}: leave it out.")
        if seen.n_counted < least:
            raise ValueError(
                f"n_components={self.n_components} needs at least as many observed steps, but X has "
                f"n_samples={seen.n_counted}. Reduce n_components."
            )

    def _bind_family(self, family, data, seen, sample):
        """The family of the emissions, bound to the data, and what there is to know of them."""
        near = near_spread(sample.rows, np.repeat(sample.weight, sample.lengths))
        units, _ = self._choose_units(seen.moments, family, near)
        (some,) = sample.batches(units, rows=len(sample.rows))

        def entries(j):
            return data.fold(partial(entries_of, j), np.union1d)

        family = self._bound(family, some, seen.moments, sample.size, entries)
        refuse_impossible(self, data, family)
        return family, About(data, seen.moments, units)

    def _starts(self, way, plain, sample, about, given, exchangeable, rng):
        shape = self.n_components, self.n_features_in_
        means, allowed = self.means_init, plain.latent.allowed
        if means is not None:
            means = read_array("means_init", means, shapes=[shape], finite=True)
        make = partial(
            ChainStarts,
            plain,
            sample=sample,
            units=about.units,
            ordered=allowed is not None and not np.tril(allowed, -1).any(),
            exchangeable=exchangeable,
            floats_per_row=self._floats_per_row(),
        )
        here, emission = make(self.n_components), None
        if self.emission_init is not None or held_names(self):
            every = here.everything().family
            emission = GivenEmission(self, plain.family, every, about.units, HELD_OF_CHAIN)
            plain = LatentModel(plain.latent, emission.family)
        model = way.model(plain, about)
        if self._continues:
            return model, self._last(model, about.units, given, allowed, way.like(model, here)), None
        one = None
        if self.n_components == 1 and plain.family.is_unimodal:
            one = Start("all", here.everything)
        elif means is not None:
            one = here.at(means)
        elif emission is not None and emission.places:
            one = Start("given", here.everything)
        put = partial(given_start, chain=given, emission=emission)
        return model, *way.starts(model, make, one, put, exchangeable, rng)

    _form = "emission, covariance_type or inference"

    @property
    def _floor_matters(self):
        return self.inference == "em" or (self.prior is None and self.emission_prior is None)

    def _last(self, model, units, given, allowed, like):
        """The last fit's parameters in new units, of the form of ``like``, as the only start."""
        chain, emitted = self._params
        fits = len(chain.start) == self.n_components and self._made_with == self._making()
        if fits and [leaf.shape for leaf in leaves(emitted)] != [leaf.shape for leaf in leaves(like)]:
            raise ValueError("warm_start=True continues the last fit, but X has other categories now.")
        if fits:
            check_allowed("The last fit's transmat_", self._views.expected.chain.transition, allowed)
        if model.latent.fixed_start and given.start is not None:
            chain = chain._replace(start=given.start)
        return self._warm_start(model, units, fits, latent=chain)

    def _making(self):
        """What the form of the parameters depends on."""
        emission = repr(sorted(self.emission.items(), key=str)) if isinstance(self.emission, dict) else None
        form = self.covariance_type, self.n_factors, self.n_mixtures, self.n_features_in_, self.inference
        return emission or repr(self.emission), *form

    def _order(self, plan, params):
        """The order of states: by their means, or by how often they are visited where there are none.

        States that a prior alone keeps alive come last.
        """
        views = views_of(plan.model, params)
        chain, family, emitted = views.expected
        keys = []
        if family.has_moments:
            keys = [column for column in family.mean(emitted).T if not np.isnan(column).any()]
        if not keys:
            visits = stationary_distribution(chain.transition, plan.model.latent.start_of(chain))
            keys = [-np.round(visits, 9)]
        if views.is_distribution:
            keys.insert(0, views.n_steps <= COUNTS * plan.unit)
        return np.lexsort(keys[::-1])

    def _take(self, model, params, units):
        start = model.latent.start_of(params.latent)
        params = params._replace(latent=params.latent._replace(start=start))
        self._model, self._params, self._units = model, params, units
        self._views = views_of(model, params)
        chain, family, emitted = self._views.expected
        in_the_long_run = stationary_distribution(chain.transition, chain.start)
        fields = {"startprob": chain.start.copy(), "transmat": chain.transition.copy()}
        fields["stationary_distribution"] = in_the_long_run
        if self._views.is_distribution:
            fields["n_effective_components"] = int(np.sum(self._views.n_steps > COUNTS * self._unit))
        own = family.in_units(emitted, units)
        self._publish(fields | fields_of(family, own, self.n_features_in_, self._n_fitted))
        self._publish_names(family, emitted)
        self.n_parameters_ = model.latent.n_parameters(params.latent) + family.n_parameters(emitted)

    def _publish_names(self, family, emitted):
        """What codes of categories, and numbers of states, stand for."""
        labels, names = vars(self).get("_labels", {}), vars(self).get("_state_names")
        categories = categories_of(family, emitted, self.n_features_in_, labels)
        for name, value in (("categories", categories or None), ("states", names)):
            vars(self).pop(f"{name}_", None)
            if value is not None:
                vars(self)[f"{name}_"] = value

    def _publish_objective(self, plan, best):
        super()._publish_objective(plan, best)
        if self._views.is_distribution:  # a bound of what all data are worth, and no likelihood
            del self.log_likelihood_
            self.lower_bounds_ = [value - plan.log_volume for value in best.history]
            self.lower_bound_ = self.lower_bounds_[-1]

    @property
    def posterior_(self) -> HMMPosterior:
        """All that was learnt, in the units of X, as `prior` of another fit."""
        check_is_fitted(self)
        if not self._views.is_distribution:
            raise AttributeError("posterior_ is of inference='variational': by EM parameters have none.")
        chain, emitted = self._params
        emission = tree_map(np.copy, self._model.family.in_units(emitted, self._units))
        return HMMPosterior(chain.start.copy(), chain.transition.copy(), emission)

    def reorder(self, order: ArrayLike) -> Self:
        check_is_fitted(self)
        if vars(self).get("_state_names") is not None:
            self._state_names = self._state_names[self._read_order(order)]
        if self._views.is_distribution:  # states may have priors of their own
            self._model = reordered(self._model, self._read_order(order))
        return super().reorder(order)

    reorder.__doc__ = EMMixin.reorder.__doc__

    def _divergence(self, other):
        mine, theirs = (fitted._views.expected for fitted in (self, other))
        return mine.family.divergence(
            mine.family.in_units(mine.emitted, self._units),
            theirs.family,
            theirs.family.in_units(theirs.emitted, other._units),
        )

    @classmethod
    def from_parameters(
        cls,
        startprob: ArrayLike,
        transmat: ArrayLike,
        *,
        emission: str | dict[Any, Any] | Emission = "gaussian",
        emission_params: Any = None,
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """A hidden Markov model of known parameters, in place of a fit.

        Parameters
        ----------
        startprob : array-like of shape (K,), or {"stationary", "uniform"}
            Distribution of the first state.
        transmat : array-like of shape (K, K)
            Probabilities of transitions, from row to column.
        emission : str, dict or family object, default="gaussian"
            What states emit, as of the class.
        emission_params : dict or NamedTuple, default=None
            Where columns have emissions of their own: for the columns of each, as a tuple, a dict of its
            parameters by name. What is published as `emission_params_` will do for every emission, beside the
            `emission` and `covariance_type` that it comes from.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features.
        **params
            Parameters of the emissions by the names under which they are published, where all columns have the
            same: ``means`` and ``covariances`` (with "gmm" and ``weights``; with ``covariance_type="factor"``
            ``loadings`` and ``noise`` instead of covariances), ``rates``, ``probabilities``. And other
            parameters of the class. With ``warm_start=True`` a fit goes on from here.

        Returns
        -------
        model : HMMEM
            Fitted, without what only a fit can tell, such as `converged_`.

        Raises
        ------
        ValueError
            If probabilities are negative or do not sum to 1, a covariance is not symmetric and positive
            definite, a parameter is missing or not one of the emission's, or shapes do not fit.

        Examples
        --------
        >>> from emlearn import HMMEM
        >>> model = HMMEM.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], emission="poisson", rates=[[2.0], [9.0]]
        ... )
        >>> model.predict([[1.0], [3.0], [8.0], [10.0]])
        array([0, 0, 1, 1])
        """
        transmat = read_array("transmat", transmat)
        if transmat.ndim != 2 or transmat.shape[0] != transmat.shape[1]:
            raise ValueError(f"transmat has shape {transmat.shape}; expected (K, K).")
        K = len(transmat)
        transmat = probabilities_of("transmat", transmat, (K, K))
        named, params = apart(cls, params | {"emission": emission})
        if isinstance(startprob, str):
            params["startprob"] = startprob
        model = cls._of_legal(K, params)
        if model.inference != "em":
            raise ValueError(
                f"inference={model.inference!r} makes distributions of parameters, but these are known: leave "
                "it 'em'."
            )
        chain, _ = bind_chain(model.set_params(fixed=()))
        model.fixed = params.get("fixed", ())
        check_allowed("transmat", transmat, chain.allowed)
        if not isinstance(startprob, str):
            start = probabilities_of("startprob", startprob, (K,))
        else:
            start = stationary_distribution(transmat) if chain.stationary else np.full(K, 1.0 / K)
        if feature_names is not None:
            names = [feature_names] if isinstance(feature_names, str) else list(feature_names)
            model._know_features(len(names), names)
        family, emitted = emission_of(model, emission_params, named)
        d = n_columns_of(family, emitted)
        model._know_features(d, feature_names)
        model._made_with = model._making()
        model._take(
            LatentModel(chain, family), LatentPair(ChainParams(start, transmat), emitted), as_they_are(d)
        )
        return model

    def _complaints(self, plan, best):
        # With so few steps every covariance is singular, and the data's own warning has said so.
        few = plan.n_observed <= self.n_components * self.n_features_in_
        if not (few and plan.model.family.forced_columns()):
            yield from spikes(self, plan, "state", "steps")
        yield from super()._complaints(plan, best)

    def _unless_parted(self):
        """Of distributions nothing: states that are empty are all alike, as they should be."""
        return () if self._views.is_distribution else super()._unless_parted()

    # -- after fit ---------------------------------------------------------------------------------------

    def _pass(self, X, groups, lengths, view, function, *outputs):
        """Fill an array for each output, a shape per row, with ``function(chain, log_prob, batch, seen)``.

        ``view`` names one of the fit. Returns X in normal form, and the arrays in the order of its rows.
        """
        check_is_fitted(self)
        sequences = self._read(X, groups, lengths, reset=False)
        _, family, emitted = getattr(self._views, view)
        data = Batches(sequences.rows, lengths=sequences.lengths, first_sequence=sequences.first)
        warn_of_impossible(self, data, family, emitted, sequences.labels)
        return sequences, *self._pass_over(data, view, function, *outputs)

    def _pass_over(self, data, view, function, *outputs):
        """The same for sequences in the user's units: the arrays alone."""
        chain, family, emitted = getattr(self._views, view)
        density = by_blocks(family.density(emitted))
        arrays = [np.empty((data.n_rows, *shape), dtype) for shape, dtype in outputs]

        def of_batch(batch):
            seen = density(batch)
            values = function(chain, seen.log_prob, batch, seen)
            for array, value in zip(arrays, values, strict=True):
                array[batch.rows] = value

        with one_blas_thread():
            for _ in self._cut(data).map(of_batch):
                pass
        return arrays

    def _estimated(self):
        others = {"emission_params", "n_effective_components"}
        own = [name for name in self._published if name not in others]
        if len(own) == len(OF_CHAIN):
            own.append("emission_params")
        return tuple(f"{name}_" for name in own)

    def _seen_again(self, X, y=None, sample_weight=None, groups=None, lengths=None):
        data = self._cut(self._read_again(X, sample_weight, groups, lengths, y)[0])

        def n_steps(batch):
            return _total((~np.isnan(batch.x)).any(axis=0), batch.weight)

        return SeenAgain(data, self._log_volume_of(data), float(data.sum(n_steps)))

    def _drawn_anew(self, X, given, rng):
        """Sequences of the same lengths drawn from the model, with gaps where X has them."""
        where = {name: given[name] for name in ("groups", "lengths") if name in given}
        sequences = self._read(X, where.get("groups"), where.get("lengths"), reset=False)
        drawn = self.sample(sequences.lengths, random_state=rng)[0]
        gaps = np.split(np.isnan(sequences.rows), np.cumsum(sequences.lengths)[:-1])
        for sequence, missing in zip(drawn, gaps, strict=True):
            sequence[missing] = np.nan
        return drawn, {name: value for name, value in given.items() if name not in where}

    _fits_groups = True

    def _cut(self, data):
        """Sequences in the user's units as data for the engine."""
        return data.recut(
            units=self._units.bounded,
            floats_per_row=self._floats_per_row(),
            n_threads=effective_n_jobs(self.n_jobs),
        )

    def _smooth(self, X, groups, lengths, lag=None):
        def function(chain, log_prob, batch, seen):
            if lag is not None:
                return (fixed_lag(chain, log_prob, batch, int(lag)).T,)
            return (RECURSIONS.posterior(chain, log_prob, batch)[0].T,)

        return self._pass(X, groups, lengths, "hidden", function, (self._per_state(), np.float64))

    def _filter(self, X, groups, lengths):
        """Filtered probabilities and predictive log-densities."""

        def function(chain, log_prob, batch, seen):
            passed = RECURSIONS.filter(chain, log_prob, batch)
            return passed.filtered.T, passed.predictive + seen.shared_log_prob()

        outputs = (self._per_state(), np.float64), ((), np.float64)
        sequences, filtered, predictive = self._pass(X, groups, lengths, "ahead", function, *outputs)
        return sequences, filtered, predictive - self._log_volume(sequences.rows, self._units)

    def _per_state(self):
        check_is_fitted(self)
        return (len(self.startprob_),)

    def _log_volume(self, rows, units):
        """Log of the volume of a unit of the engine in units of X, for the observed entries of each row."""
        log_scale = np.log(units.scale)
        with np.errstate(over="ignore", invalid="ignore"):  # a cheap first look
            complete = not np.isnan(rows.sum(dtype=np.float64))
        if complete:
            return np.full(len(rows), log_scale.sum())
        return ~np.isnan(rows) @ log_scale

    @sequence_by_sequence(np.intp)
    def predict(
        self, X: Any, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> NDArray[Any]:
        """States: the most probable path, or the most probable state at each step, as `algorithm` says.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
            As `fit` takes them.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        states : object array of ndarrays of int of shape (T_i,), or ndarray of int of shape (n,)
            Of pieces an iterable of what is made of each, when asked for. On Dask lazy, and like in kind: a bag
            of a bag; of a list one of delayed objects, or of dask arrays where these were; of a dask array one
            in blocks of whole sequences.
        """

        def function(chain, log_prob, batch, seen):
            return (self._path(chain, log_prob, batch),)

        sequences, states = self._pass(X, groups, lengths, "hidden", function, ((), np.intp))
        return sequences.restore(self._named(states))

    def decode(
        self, X: Any, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """States as `predict` gives them, and the log joint probability of each path and its observations.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        states : object array of ndarrays of int of shape (T_i,), or ndarray of int of shape (n,)
        log_joint : ndarray of shape (n_sequences,)
            log p(path, x), in nats; with ``inference="variational"`` its expectation over the parameters. With
            ``algorithm="posterior"`` it is -inf where the states make up no possible path.
        """

        def function(chain, log_prob, batch, seen):
            given_state = log_prob.copy()
            path = self._path(chain, log_prob, batch)
            return path, given_state[path, np.arange(len(path))] + seen.shared_log_prob()

        outputs = ((), np.intp), ((), np.float64)
        sequences, states, density_there = self._pass(X, groups, lengths, "hidden", function, *outputs)
        chain, first = self._views.hidden.chain, sequences.offsets[:-1]
        with np.errstate(divide="ignore"):  # log 0 forbids
            steps = np.log(chain.transition)[np.r_[0, states[:-1]], states]
            steps[first] = np.log(chain.start)[states[first]]
        joint = steps + density_there - self._log_volume(sequences.rows, self._units)
        return sequences.restore(self._named(states)), np.add.reduceat(joint, first)

    def _path(self, chain, log_prob, batch):
        """States of a batch, as `algorithm` says."""
        if self.algorithm == "viterbi":
            return RECURSIONS.viterbi(chain, log_prob, batch)[0]
        return RECURSIONS.posterior(chain, log_prob, batch)[0].argmax(axis=0)

    @sequence_by_sequence(by_state=True)
    def predict_proba(
        self,
        X: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        lag: int | None = None,
    ) -> NDArray[Any]:
        """Smoothed probabilities: of each state, given the whole sequence, or no more than a lag of it.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        lag : int, default=None
            How many later steps count for each step: what is known that much later, on line. 0 is
            `filter_proba`. None: all.

        Returns
        -------
        proba : object array of ndarrays of shape (T_i, K), or ndarray of shape (n, K)
            Rows sum to 1; where a sequence is impossible they are 0.
            Of pieces, and lazily on Dask, as of `predict`.
        """
        if lag is not None and (not isinstance(lag, Integral) or isinstance(lag, bool) or lag < 0):
            raise ValueError(f"lag={lag!r} must be a whole number of steps, 0 or more, or None for all.")
        sequences, proba = self._smooth(X, groups, lengths, lag)
        return sequences.restore(proba)

    def sample_states(
        self,
        X: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        random_state: RandomState = None,
    ) -> NDArray[Any]:
        """Draw the states of X from their posterior distribution, whole paths at a time.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        states : object array of ndarrays of int of shape (T_i,), or ndarray of int of shape (n,)
        """
        seed = self._rng(random_state).randint(np.iinfo(np.int32).max)

        def function(chain, log_prob, batch, seen):
            # A generator for each batch, so that threads change nothing.
            rng = np.random.RandomState([seed, int(batch.sequences[0])])
            return (RECURSIONS.draw_paths(chain, log_prob, batch, rng),)

        sequences, states = self._pass(X, groups, lengths, "hidden", function, ((), np.intp))
        return sequences.restore(self._named(states))

    @sequence_by_sequence(by_state=True)
    def filter_proba(
        self, X: Any, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Filtered probabilities: of each state, given the sequence up to that step.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        proba : object array of ndarrays of shape (T_i, K), or ndarray of shape (n, K)
            Rows sum to 1.
            Of pieces, and lazily on Dask, as of `predict`.
        """
        sequences, proba, _ = self._filter(X, groups, lengths)
        return sequences.restore(proba)

    def predict_next(
        self, X: Any, n_steps: int = 1, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> Forecast:
        """Forecast the steps after the end of each sequence.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d)
        n_steps : int, default=1
            How many steps ahead.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        forecast : Forecast
            Probabilities of the states, `state_proba` (n_steps, K), and `mean` (n_steps, d) and `covariance`
            (n_steps, d, d) of the observations, in units of X. With a list, groups or lengths there is an axis
            for the sequences in front. Categories have no mean: it is NaN there, and ``state_proba @
            probabilities_[j]`` gives their probabilities. With ``inference="variational"`` these are of the
            posterior predictive distribution. A Gaussian state of too few steps has no variance, so that it is
            infinite: a prior `dof` of d + 2 prevents that.
            The density of a value x as the next step is the last of ``score_samples`` of the sequence with x at
            its end.
        """
        _check_n_steps(n_steps)
        sequences, filtered, _ = self._filter(X, groups, lengths)
        last = filtered[sequences.offsets[1:] - 1]
        one = sequences.form == "rows" and sequences.n_sequences == 1 and groups is None and lengths is None
        return self._ahead(last[0] if one and not self._cuts_rows else last, n_steps)

    def _ahead(self, state, n_steps, begins=False):
        """Forecast from probabilities of the states (..., K): of the last step, or of the first that comes."""
        _check_n_steps(n_steps)
        transition = self._views.ahead.chain.transition
        proba = np.empty((*state.shape[:-1], n_steps, len(transition)))
        for step in range(n_steps):
            state = state if begins and step == 0 else state @ transition
            proba[..., step, :] = state
        return Forecast(proba, *self._moments_of(proba))

    def filter(self) -> HMMFilter:
        """A filter that follows a sequence on line, step by step, and can forecast after each.

        Returns
        -------
        following : HMMFilter
            With ``update(x)``, ``state_proba``, ``log_likelihood`` and ``predict_next()``.

        Examples
        --------
        >>> from emlearn import HMMEM
        >>> from emlearn.datasets import load_earthquakes
        >>> X = load_earthquakes().data
        >>> following = HMMEM(2, emission="poisson", random_state=0).fit(X).filter()
        >>> for x in X[-3:]:
        ...     print(following.update(x).state_proba.round(2))
        [1. 0.]
        [1. 0.]
        [1. 0.]
        """
        check_is_fitted(self)
        return HMMFilter(self)

    def _moments_of(self, proba):
        """Mean (..., d) and covariance (..., d, d) of mixtures of the states, in units of X."""
        (_, family, emitted), d = self._views.ahead, self.n_features_in_
        if not family.has_moments:
            nothing = np.full((*proba.shape[:-1], d), np.nan)
            return nothing, np.full((*nothing.shape, d), np.nan)
        emitted = family.in_units(emitted, self._units)
        means, covariances = family.mean(emitted), family.covariance(emitted)
        mean = proba @ means
        mean[~proba.any(axis=-1)] = np.nan  # after what is impossible there is no state
        centred = means - mean[..., None, :]
        between = np.einsum("...k,...ki,...kj->...ij", proba, centred, centred)
        shares = proba[..., None, None]
        with np.errstate(invalid="ignore"):  # a state that is impossible may have no covariance
            within = np.where(shares > 0, shares * covariances, 0.0).sum(axis=-3)
        return mean, between + within

    @sequence_by_sequence()
    def score_samples(
        self, X: Any, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Log predictive density of each step, given the steps before it.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        log_density : object array of ndarrays of shape (T_i,), or ndarray of shape (n,)
            In nats, with respect to the units of X. They sum to the log-likelihood; a missing step has 0. With
            ``inference="variational"`` parameters are integrated out, step by step.
            Of pieces, and lazily on Dask, as of `predict`.
        """
        sequences, _, predictive = self._filter(X, groups, lengths)
        return sequences.restore(predictive)

    def pseudo_residuals(
        self,
        X: Any,
        *,
        kind: str = "ordinary",
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> PseudoResiduals:
        """How far out each observation lies, on a normal scale: feature by feature, given other steps.

        An observation is compared with the distribution that the other steps of its sequence foretell. What the
        parameters do not describe stands out: outliers as values beyond 3 or so, other shapes in a Q–Q plot,
        dependence that the chain does not have in the autocorrelation of forecast residuals. See
        `emlearn.display.ResidualDisplay`.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d)
        kind : {"ordinary", "forecast"}, default="ordinary"
            Given all other steps, or those before it alone.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        residuals : PseudoResiduals
            `low`, `mid` and `high`, each an object array of ndarrays of shape (T_i, d), or ndarray of shape
            (n, d). NaN for entries that are missing, and for categories,
            angles and directions.

        Raises
        ------
        ValueError
            If the kind is none of these, nothing but categories is observed, or a family of one's own states no
            `tails`.

        References
        ----------
        Zucchini, MacDonald & Langrock (2016), Hidden Markov Models for Time Series, 2nd edition, section 6.2.

        Examples
        --------
        >>> from emlearn import HMMEM
        >>> from emlearn.datasets import load_earthquakes
        >>> quakes = load_earthquakes().data
        >>> model = HMMEM(3, emission="poisson", random_state=0).fit(quakes)
        >>> low, mid, high = model.pseudo_residuals(quakes)
        >>> f"{mid.mean():.2f} ± {mid.std():.2f}, from {mid.min():.1f} to {mid.max():.1f}"
        '-0.00 ± 0.95, from -2.5 to 2.7'
        """
        check_kind(kind)
        check_is_fitted(self)
        chain, family, emitted = self._views.expected
        # Before any work: whether there are any.
        if np.isnan(family.tails(emitted, np.zeros((self.n_features_in_, 1)))).all():
            raise ValueError(
                "X holds nothing but categories or directions, which have no order to be far out in."
            )
        sequences = self._read(X, groups, lengths, reset=False)
        rows = sequences.rows

        def filtered(chain, back):
            def function(_, log_prob, batch, seen):
                return (RECURSIONS.filter(chain, log_prob, batch).filtered.T,)

            data = Batches(rows[backwards(sequences.lengths)] if back else rows, lengths=sequences.lengths)
            return self._pass_over(data, "expected", function, (self._per_state(), np.float64))[0]

        shares = states_by_others(chain, sequences.lengths, filtered, kind)
        found = [np.empty(rows.shape) for _ in PseudoResiduals._fields]
        for start in range(0, len(rows), ROWS_TOGETHER):
            some = slice(start, start + ROWS_TOGETHER)
            x = ((rows[some] - self._units.shift) / self._units.scale).T
            for values, here in zip(found, residuals_of(shares[some].T, family.tails(emitted, x)), strict=True):
                values[some] = here.T
        return PseudoResiduals(*map(sequences.restore, found))

    @sequence_by_sequence(by_step=False)
    def log_likelihood(
        self, X: Any, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Log-likelihood of each sequence.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        log_likelihood : ndarray of shape (n_sequences,)
            In nats. Of pieces, and lazily on Dask, as of `predict`: with a number for each sequence, and of a
            dask array as one (n_sequences,).
        """
        sequences, _, predictive = self._filter(X, groups, lengths)
        return np.add.reduceat(predictive, sequences.offsets[:-1])

    def score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Mean log-likelihood per observed step.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        y : Ignored
        sample_weight : array-like of shape (n_sequences,), default=None
            How often each sequence counts.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        score : float
            In nats.
        """
        log_likelihood, n_steps = self._total_score(X, sample_weight, groups, lengths, y)
        return log_likelihood / n_steps

    def _total_score(self, X, sample_weight, groups, lengths, y=None):
        """Weighted sums of the log-densities of steps, and of the steps at which something is observed."""
        check_is_fitted(self)
        data, names = self._read_again(X, sample_weight, groups, lengths, y)
        chain, family, emitted = self._views.ahead
        warn_of_impossible(self, data, family, emitted, names)
        density, log_scale = by_blocks(family.density(emitted)), np.log(self._units.scale)

        def of_batch(batch):
            seen, present = density(batch), ~np.isnan(batch.x)
            passed = RECURSIONS.filter(chain, seen.log_prob, batch)
            log_density = passed.predictive + seen.shared_log_prob() - log_scale @ present
            return _total(log_density, batch.weight), _total(present.any(axis=0), batch.weight)

        with one_blas_thread():
            total, n_steps = self._cut(data).sum(of_batch)
        if not n_steps > 0:
            raise ValueError("X holds no observed step with weight: there is nothing to score.")
        return float(total), float(n_steps)

    def _read_again(self, X, sample_weight, groups, lengths, y=None):
        """Sequences to look at after a fit, in the user's units, and the names of their categories."""
        if come_in_pieces(X):
            return self._data_in_pieces(X, sample_weight, groups, lengths, fit=False), {}
        sequences = self._read(X, groups, lengths, reset=False)
        _check_ignored(y, sequences)
        if groups is None and lengths is None and not self._cuts_rows:
            self._unless_alone(sequences)
        weight = check_sequence_weight(sample_weight, sequences)
        return Batches(sequences.rows, weight, lengths=sequences.lengths), sequences.labels

    @property
    def _cuts_rows(self):
        """Whether a parameter says where sequences begin in rows."""
        return self.sequence_id is not None or self.max_gap is not None

    def _unless_alone(self, sequences):
        """Warn of rows of which nothing says that they are one sequence, where a fit was of several."""
        alone = sequences.form == "rows" and sequences.n_sequences == 1
        if alone and getattr(self, "n_sequences_", 1) > 1:
            self._warn(
                f"These {len(sequences.rows)} rows count as one sequence, but the model was fitted on "
                f"{self.n_sequences_}. If they are several, pass a list of sequences, groups, lengths or "
                "sequence_id.",
                UserWarning,
            )

    def aic(
        self,
        X: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Akaike's information criterion on X, smaller is better.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        sample_weight : array-like of shape (n_sequences,), default=None
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        aic : float
        """
        self._refuse_criterion("aic")
        return -2 * self._total_score(X, sample_weight, groups, lengths)[0] + 2 * self.n_parameters_

    def _refuse_criterion(self, name):
        check_is_fitted(self)
        if self._views.is_distribution:
            raise ValueError(
                f"{name} corrects a greatest likelihood, which inference='variational' has not: compare "
                "lower_bound_ of fits to the same data."
            )

    def bic(
        self,
        X: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Bayesian information criterion on X, smaller is better; its n is the number of observed steps.

        Parameters
        ----------
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d); or pieces of them
        sample_weight : array-like of shape (n_sequences,), default=None
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None

        Returns
        -------
        bic : float
        """
        self._refuse_criterion("bic")
        log_likelihood, n_steps = self._total_score(X, sample_weight, groups, lengths)
        self._check_counts(sample_weight)
        return -2 * log_likelihood + self.n_parameters_ * np.log(n_steps)

    def sample(
        self,
        n_samples: int | ArrayLike = 1,
        n_sequences: int | None = None,
        *,
        currstate: int | ArrayLike | None = None,
        random_state: RandomState = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw sequences from the model.

        Parameters
        ----------
        n_samples : int, or array-like of int of shape (n_sequences,), default=1
            Length of each sequence, or lengths, one for each.
        n_sequences : int, default=None
            Number of sequences; None for one, as an array, or for as many as there are lengths.
        currstate : int, or array-like of int of shape (n_sequences,), default=None
            State at the first step; None draws it.
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        X : ndarray of shape (n_samples, d), or object array of n_sequences of them
        states : ndarray of int of shape (n_samples,), or object array of n_sequences of them

        Examples
        --------
        >>> from emlearn import HMMEM
        >>> transmat = [[0.9, 0.1], [0.2, 0.8]]
        >>> shops = HMMEM.from_parameters([0.5, 0.5], transmat, emission="poisson", rates=[[1], [9]])
        >>> X, states = shops.sample([2, 3], currstate=1, random_state=0)
        >>> [len(counts) for counts in X], [path[0].item() for path in states]
        ([2, 3], [1, 1])
        """
        check_is_fitted(self)
        lengths = _lengths_to_draw(n_samples, n_sequences)
        rng = self._rng(random_state)
        chain, family, emitted = self._views.ahead
        n, K = len(lengths), len(chain.start)
        states = np.empty((n, lengths.max()), dtype=np.intp)
        levels = rng.uniform(size=(lengths.max(), n, 1))
        cumulative = np.vstack([chain.transition, chain.start]).cumsum(axis=1)[:, :-1]
        state = np.full(n, K)  # the last row: before the first step
        for step, level in enumerate(levels):
            state = (cumulative[state] <= level).sum(axis=1)
            if step == 0 and currstate is not None:
                state = np.broadcast_to(_read_states("currstate", currstate, n, K), n)
            states[:, step] = state
        states = states[np.arange(lengths.max()) < lengths[:, None]]
        X = family.sample(emitted, states, rng) * self._units.scale + self._units.shift
        X, states = with_labels(X, vars(self).get("_labels")), self._named(states)
        if n_sequences is None and np.ndim(n_samples) == 0:
            return X, states
        whole = Sequences(X, lengths, None, "list")
        return whole.restore(X), whole.restore(states)

    def _named(self, states):
        """States by name, where `state_labels` had names."""
        names = vars(self).get("_state_names")
        return states if names is None else names[states]

    def __getstate__(self):
        return kept_state(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(read_state(state))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        kinds = observed_kinds(self.emission)
        tags.input_tags.categorical = "codes" in kinds
        tags.input_tags.string = "codes" in kinds
        tags.input_tags.positive_only = "numbers" not in kinds
        return tags


def _data_of(rows):
    """Sequences that were read before."""
    return Batches(rows.X, rows.weight, lengths=rows.lengths)


def _check_n_steps(n_steps):
    if not (isinstance(n_steps, Integral) and n_steps >= 1) or isinstance(n_steps, bool):
        raise ValueError(f"n_steps={n_steps}: forecast at least one step.")


def _lengths_to_draw(n_samples, n_sequences):
    """Length of each sequence that is asked for."""
    lengths = np.atleast_1d(np.asarray(n_samples))
    n = len(lengths) if n_sequences is None or lengths.size > 1 else n_sequences
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and isinstance(n, Integral)
    if not (whole and lengths.size and n >= 1 and lengths.min() >= 1):
        raise ValueError(
            f"n_samples={n_samples}, n_sequences={n_sequences}: ask for at least one step of one sequence."
        )
    if n_sequences not in (None, n):
        raise ValueError(f"n_samples has {n} lengths, but n_sequences={n_sequences}: give one of them.")
    return np.broadcast_to(lengths, n).astype(np.intp)


def _read_states(name, states, n, n_states):
    """States that a user gave, one or (n,)."""
    given = read_array(name, np.asarray(states), shapes=[(), (n,)], finite=True)
    if not ((given >= 0) & (given < n_states) & (given == np.floor(given))).all():
        raise ValueError(f"{name}={states!r}: states are whole numbers from 0 to {n_states - 1}.")
    return given.astype(np.intp)


def _first_impossible(model, params, batch):
    """Number of the first sequence of a batch that is impossible, and the step at which it becomes so."""
    passed = model.latent.filter(params.latent, model.family.density(params.family)(batch).log_prob, batch)
    impossible = passed.predictive == -np.inf
    if batch.weight is not None:
        impossible &= batch.weight > 0
    if not impossible.any():
        return np.inf, 0
    steps, lane = (place[impossible] for place in batch.lanes.places())
    sequences = batch.sequences[lane]
    first = np.lexsort([steps, sequences])[0]
    return int(sequences[first]), int(steps[first])


def _check_ignored(y, sequences):
    """Refuse lengths in the place of y, where hmmlearn's users would put them."""
    n = len(y) if hasattr(y, "__len__") else None
    if n is not None and n not in (len(sequences.rows), sequences.n_sequences):
        raise ValueError(
            f"y is ignored, but has {n} entries for {len(sequences.rows)} rows. If they are lengths of "
            "sequences, pass lengths=..."
        )


def _total(values, weight):
    """Weighted sum over rows of one value each, or of a constant."""
    if weight is None:
        return np.sum(values)
    counts = weight > 0  # without weight, -inf is nothing
    return np.broadcast_to(values, weight.shape)[counts] @ weight[counts]
