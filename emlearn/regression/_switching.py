"""Regressions whose regime follows a Markov chain."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, Literal, NamedTuple, Self, overload

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emlearn._input.arrays import read_array
from emlearn._input.sequence_pieces import refuse_pieces
from emlearn._input.sequences import check_sequence_weight, check_state_labels, read_sequences
from emlearn._input.tables import as_numpy
from emlearn._rare import worst_explained
from emlearn._sample import ground, portfolio, unit_of
from emlearn._sklearn_compat import Interval, StrOptions, _fit_context, with_callbacks
from emlearn._typing import Acceleration, Annealing, Assignment, RandomState, Ranking, ResponseFamily
from emlearn.base import Plan, all_or_nothing
from emlearn.em import Batches, LatentModel, LatentPair, Start, one_blas_thread
from emlearn.em.algebra import solve, weighted_gram
from emlearn.em.batches import far_as_impossible
from emlearn.em.model import by_blocks
from emlearn.families.base import unwrapped
from emlearn.families.missing_rows import MissingRows
from emlearn.hmm._chain import bind_chain, check_allowed, check_labels, probabilities_of
from emlearn.hmm._residuals import backwards, check_kind, states_by_others
from emlearn.hmm._starts import SAMPLE_STEPS, ChainStarts, SequenceSample, given_start
from emlearn.inference._estimates import Inference, SeenAgain
from emlearn.inference._residuals import PseudoResiduals, residuals_of
from emlearn.latent import ChainParams, MarkovChain, stationary_distribution
from emlearn.regression._base import _given, _less_offset, _mixed, _RegressionMixture
from emlearn.regression._report import Summary, counts_of

RECURSIONS = MarkovChain()  # whatever was fitted, at some probabilities
# Steps, beside as many as a regression has coefficients, that a start looks at together.
RUNS = (2, 5, 12)
# Steps over which a start compares regressions.
WINDOW = 7


class RegimeForecast(NamedTuple):
    """What comes after a sequence, step by step. With several sequences there is an axis for them in front."""

    regime_proba: NDArray[np.float64]  # (n_steps, K)
    mean: NDArray[np.float64]  # (n_steps,) of the responses, or (n_steps, q) of several
    std: NDArray[np.float64]  # of the same shape


class _Read(NamedTuple):
    """Sequences with what stands beside their rows, in the order of these."""

    sequences: Any  # Sequences
    table: NDArray[np.float64] | None  # (n, c) design, responses and offsets; NaN where there is no response
    has_offset: bool  # whether the last column of the table is an offset
    offset: NDArray[np.float64] | None  # (n,) as given


class SwitchingStarts(ChainStarts):
    """Starts of every kind for regressions that switch, beside those of hidden Markov models.

    To those observations are what one regression of all steps leaves.
    """

    @property
    def kinds(self):
        """Kinds of starts, by turns."""
        first, second, *others = super().kinds
        return ("local", first, second, "local", *others)

    def start(self, kind, seed):
        """A start of some kind."""
        if kind == "local":
            return Start(kind, lambda: self._local(np.random.RandomState(seed)))
        return super().start(kind, seed)

    def _local(self, rng):
        """Regressions through runs of a few steps, and for each step the one that fits best about it."""
        family = unwrapped(self._model.family)
        seen = ~np.isnan(self._batch.x[0, self._order])
        design, y, offset = family.split(self._batch)
        design, eta = design[:, self._order[seen]], family.response.linear(y[:, self._order[seen]])
        eta = np.atleast_2d(eta - np.broadcast_to(offset, len(seen))[self._order[seen]])
        length = min(eta.shape[1], family.n_columns + int(rng.choice(RUNS)))
        squares = np.zeros((self._K, len(seen)))
        for k, begin in enumerate(rng.randint(0, eta.shape[1] - length + 1, size=self._K)):
            run = slice(begin, begin + length)
            gram = weighted_gram(np.ones((1, length)), design[:, run])[0]
            coef = np.stack([solve(gram, design[:, run] @ own[run]) for own in eta])
            squares[k, seen] = ((eta - coef @ design) ** 2).sum(axis=0)
        for begin, end in zip(np.r_[0, self._ends[:-1]], self._ends, strict=True):
            squares[:, begin:end] = uniform_filter1d(squares[:, begin:end], WINDOW, axis=1, mode="nearest")
        return self._from_labels(squares.argmin(axis=0), rng)


def _summarise(model, params):
    """The summary of a batch, as a function of it."""
    density = by_blocks(model.family.density(params.family))
    family = unwrapped(model.family)

    def of_batch(batch):
        seen = density(batch)
        resp = RECURSIONS.posterior(params.latent, seen.log_prob, batch)[0]
        totals = seen.totals(resp)
        there = np.flatnonzero(~np.isnan(batch.x[0]))
        observed = batch.part("observed", there)
        expected = family.gentle_gram(params.family, observed, resp[:, there])
        means = counts_of(family, params.family, observed, resp[:, there])
        # No gate can be wrong: there is none.
        return Summary(totals.weight, totals.gram, expected, totals.design, np.inf, means, np.zeros((0, 0)))

    return of_batch


class MarkovSwitchingRegression(RegressorMixin, _RegressionMixture):
    r"""Regressions of a series whose regime, which is hidden, follows a Markov chain.

    .. math:: p(y_t \mid x_t, s_t = k) = p(y_t \mid \beta_k^\top x_t + b_k + o_t, \sigma_k^2), \qquad
        P(s_t = k \mid s_{t-1} = j) = A_{jk}

    Each regime has a regression of its own, linear or, with ``family``, a generalised linear one; regimes last
    and follow one another as the transition matrix A says. Without features it is a hidden Markov model of y.

    Parameters
    ----------
    n_components : int, default=2
        Number of regimes, K.
    family : str or `emlearn.families.Response`, default="gaussian"
        Distribution of the response, or of several, given its regime, as in `MixtureOfLinearRegressions`.
    fit_intercept : bool, default=True
        Whether regressions have intercepts.
    alpha : float, default=0.0
        Ridge on the coefficients of each regime, not on intercepts, as in `MixtureOfLinearRegressions`.
    shared_coef : array-like of int or str, default=None
        Features, by number or name, whose coefficients are the same in all regimes. An intercept that does not
        switch is a column of ones among them, with ``fit_intercept=False``.
    shared_variance : bool, default=False
        Whether all regimes have the same variance of the noise.
    min_variance_ratio : float, default=1e-3
        Least ratio of two regimes' noise variances: without it the likelihood has no bound.
    startprob : {"free", "stationary", "uniform"} or array-like of shape (K,), default="free"
        Distribution of the first regime: estimated, that which the transition matrix keeps (the steady state),
        equal, or as given and held fixed.
    transition : {"full", "left-right"} or array-like of shape (K, K), default="full"
        Which transitions are possible: all, those to the same or a later regime, those where a boolean array
        is true, or those where an array of probabilities is not 0 (it is then also where to start from).
    startprob_prior, transmat_prior : float or array-like, default=None
        Concentrations of Dirichlet priors, of shape (K,) and (K,) or (K, K): at least 1, and None is 1, maximum
        likelihood.
    stickiness : float, default=0.0
        Added to the concentration of every transition from a regime to itself: favours regimes that last.
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
        What an M-step sees of regimes, as in `HMMEM`: their posterior probabilities, the most probable path,
        or a path drawn from the posterior.
    annealing : bool or array-like of shape (n_temperatures,), default=False
        Deterministic annealing, as in `HMMEM`: True is 0.7, 0.85, 1.
    algorithm : {"viterbi", "posterior"}, default="viterbi"
        What `decode` returns: the most probable path, or the most probable regime at each step.
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
    coef_ : ndarray of shape (K, d), or (K, q, d) of several responses
        Coefficients of each regime, on the scale of the linear predictor, per unit of the features.
    intercept_ : ndarray of shape (K,), or (K, q)
        Intercepts; 0 without.
    sigma_ : ndarray of shape (K,)
        Standard deviations of the noise, in the unit of y. Only with ``family="gaussian"``, and with
        "student_t", of which it is the scale.
    covariances_ : ndarray of shape (K, q, q), or (K, q) of ``MultivariateNormal("diag")``
        Covariances of the noise of several responses, in place of `sigma_`.
    dispersion_ : ndarray of shape (K,)
        The :math:`\phi` of ``family="negative_binomial"`` and "gamma".
    startprob_ : ndarray of shape (K,)
        Distribution of the first regime.
    transmat_ : ndarray of shape (K, K)
        Probabilities of transitions, from row to column.
    stationary_distribution_ : ndarray of shape (K,)
        Share of time in each regime in the long run.
    converged_ : bool
        Whether the best start met `tol`, or all gains were lost in rounding. A chain of draws never does.
    n_iter_ : int
        Number of iterations of the best start, on all of the data.
    log_likelihood_ : float
        Total weighted log-likelihood of the responses given X at the fitted parameters, in nats. Of nothing
        else, whatever the `assignment`.
    lower_bound_ : float
        The same per observed step; equals ``score(X, y)``. With hard assignments that of what is seen and
        hidden together, which is less.
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
        Number of free parameters.
    n_sequences_ : int
        Number of sequences that were fitted.
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    HMMEM : Hidden Markov models of what has no features.
    MixtureOfLinearRegressions : The same without order in time.

    Notes
    -----
    Sequences come as in `HMMEM`: a list of arrays or DataFrames with a list of their responses; rows with
    ``groups=`` or ``lengths=``; rows alone are one sequence. A response that is NaN is a step at which it was
    not observed: time passes, and nothing else. Features must be known at every step; lagged responses are
    features like any other.

    Regimes are sorted by their mean response where features are at their means, the lowest first; without
    intercepts by their coefficients. They keep their order where something tells them apart: forbidden
    transitions, given or by state different priors; and where a fit goes on from the last one.

    References
    ----------
    Goldfeld & Quandt (1973), A Markov model for switching regressions, J. Econometrics 1. Hamilton (1989), A
    new approach to the economic analysis of nonstationary time series and the business cycle, Econometrica 57.
    Hamilton (1990), Analysis of time series subject to changes in regime, J. Econometrics 45.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import MarkovSwitchingRegression
    >>> rng = np.random.default_rng(0)
    >>> reacts = np.repeat([0, 1, 0, 1], 50)
    >>> x = rng.normal(size=(200, 1))
    >>> y = np.where(reacts, 2 - x[:, 0], 1 + x[:, 0]) + 0.3 * rng.normal(size=200)
    >>> model = MarkovSwitchingRegression(n_components=2, random_state=0).fit(x, y)
    >>> model.coef_.round(1).ravel(), model.intercept_.round(1)
    (array([ 1., -1.]), array([1., 2.]))
    >>> model.transmat_.round(2)
    array([[0.98, 0.02],
           [0.01, 0.99]])
    >>> np.mean(model.predict_proba(x, y).argmax(axis=1) == reacts)
    np.float64(1.0)
    >>> model.predict_next(x, y, [[0.0], [0.0]]).mean.round(2)
    array([1.95, 1.94])
    """

    startprob_: NDArray[Any]
    transmat_: NDArray[Any]
    stationary_distribution_: NDArray[Any]
    n_sequences_: int

    _of_parameters = frozenset(
        f"{name}_"
        for name in (
            "coef",
            "intercept",
            "sigma",
            "covariances",
            "dispersion",
            "startprob",
            "transmat",
            "stationary_distribution",
        )
    )
    _made_of = "coef, intercept, startprob=..., transmat=..., sigma=..."
    _of_chain = ("coef", "intercept", "startprob", "transmat", "sigma", "covariances", "dispersion")
    _default_schedule = (0.7, 0.85, 1.0)
    _form = "family or kind of variance"

    _summarise = staticmethod(_summarise)

    # What `bind_chain` reads of an estimator, and this one leaves open.
    startprob_init = transmat_init = None
    fixed = ()

    # Groups say which rows are a sequence: wherever rows go, they go along.
    __metadata_request__fit = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__score = {"groups": True}

    _parameter_constraints: dict = {
        **_RegressionMixture._parameter_constraints,
        "startprob": [StrOptions({"free", "stationary", "uniform"}), "array-like"],
        "transition": [StrOptions({"full", "left-right"}), "array-like"],
        "startprob_prior": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "transmat_prior": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "stickiness": [Interval(Real, 0, None, closed="left")],
        "algorithm": [StrOptions({"viterbi", "posterior"})],
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
        min_variance_ratio: float = 1e-3,
        startprob: ArrayLike = "free",
        transition: ArrayLike = "full",
        startprob_prior: ArrayLike | None = None,
        transmat_prior: ArrayLike | None = None,
        stickiness: float = 0.0,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        ranking: Ranking = "evidence",
        acceleration: Acceleration = "auto",
        assignment: Assignment = "soft",
        annealing: Annealing = False,
        algorithm: Literal["viterbi", "posterior"] = "viterbi",
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
        self.min_variance_ratio = min_variance_ratio
        self.startprob = startprob
        self.transition = transition
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.stickiness = stickiness
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.ranking = ranking
        self.acceleration = acceleration
        self.assignment = assignment
        self.annealing = annealing
        self.algorithm = algorithm
        self.warm_start = warm_start
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
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
        state_labels: Any = None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
            The rows of one sequence or, with groups or lengths, of several; or sequences.
        y : array-like of shape (n,), (n, 2) or (n, q), or list of array-likes of shape (T_i,), ...
            Response of each row, NaN where it was not observed. Two columns are numbers of successes and of
            failures, with ``family="binomial"``; q of them so many responses, with normal noise.
        sample_weight : array-like of shape (n_sequences,), default=None
            How often each sequence counts. With rows, one weight for each row will do if it is the same
            throughout a sequence.
        groups : array-like of shape (n,), default=None
            With rows: those of the same group are a sequence, in the order in which they come.
        lengths : array-like of int of shape (n_sequences,), default=None
            With rows: lengths of the sequences, one after the other.
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None
            Added to the linear predictor of every regime: the logarithm of exposure for counts.
        state_labels : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None
            Regimes that are known, -1 where they are not; in place of one a set of those that are possible, as
            in `HMMEM`. The fit holds to them, and regimes keep their numbers; `log_likelihood_` is that of the
            responses and of what is known.

        Returns
        -------
        self : MarkovSwitchingRegression

        Raises
        ------
        ValueError
            If X, y or offset have entries that are infinite, missing where they must not be, or not what
            `family` is about, lengths differ, there are fewer responses than regimes, or a label or parameter
            is not a legal one.
        """
        self._check_ways()
        read = self._read(X, y, offset, groups, lengths, reset=True)
        weight = check_sequence_weight(sample_weight, read.sequences)
        labels = check_state_labels(state_labels, read.sequences, self.n_components)
        self._fit(self._plan_of(read, weight, labels), X, y)
        self._had = _given(groups=groups, offset=offset)
        return self

    def _read(self, X, y, offset, groups, lengths, *, reset):
        """What a user gave, y where it is given."""
        refuse_pieces(X, type(self).__name__)
        if reset and y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: it is the response."
            )
        sequences = read_sequences(self, X, groups=groups, lengths=lengths, reset=reset, allow_nan=False)
        rows = sequences.rows
        as_in_rows = slice(None) if sequences.order is None else sequences.order
        if offset is not None:
            offset = self._check_offset(_one_by_one("offset", offset, sequences), rows)[as_in_rows]
        if y is None:
            return _Read(sequences, None, False, offset)
        self._shared_columns()  # refused before any work is done
        y, observed = self._read_responses(_one_by_one("y", y, sequences), rows, reset)
        y, added = _less_offset(y[as_in_rows], offset, self._response)
        table = self._table(rows, y, added, None, self.fit_intercept)[:]
        table[~observed[as_in_rows]] = np.nan
        return _Read(sequences, table, added is not None, offset)

    def _read_responses(self, y, rows, reset):
        """Responses as the family takes them, some legal ones where there are none, and where there are any."""
        y = read_array("y", y)
        of_row = tuple(range(1, y.ndim))
        missing, whole = np.isnan(y).any(axis=of_row), np.isnan(y).all(axis=of_row)
        if reset:
            self._count_targets(y)
        y = self._read_y(np.where(np.isnan(y), 1.0, y), rows, self._response, reset=False)
        if (missing & ~whole).any() and self._response.n_responses > 1:
            raise ValueError(
                f"y has some of its responses in row {int(np.argmax(missing & ~whole))}, and others are NaN: a "
                "step is observed or not. Fill them in, or make all of them NaN."
            )
        if missing.all():
            raise ValueError("y has nothing but NaN: there is no response.")
        return y, ~missing

    def _plan_of(self, read, weight, labels):
        table, lengths = read.table, read.sequences.lengths
        data = Batches(table, weight, lengths=lengths, labels=labels)
        observed = ~np.isnan(table[:, 0])
        counts = np.ones(len(table)) if weight is None else np.repeat(weight, lengths)
        n_observed = int(np.count_nonzero(observed & (counts > 0)))
        if n_observed < self.n_components:
            raise ValueError(
                f"n_components={self.n_components} needs at least as many responses, but y has "
                f"n_samples={n_observed} with weight. Reduce n_components."
            )
        shared = self._shared_columns()
        moments = self._moments(data)
        units = self._units_of(moments, table[observed], counts[observed])
        of_table = self._affine(units, data.n_features)
        chain, given = bind_chain(self)
        if labels is not None:
            check_labels(labels, lengths, self.n_components, chain, given)
        exchangeable = labels is None and self._is_exchangeable()
        plain = LatentModel(chain, self._choose_family(shared, units, read.has_offset))
        model = plain if observed.all() else replace(plain, family=MissingRows(plain.family))
        rng = check_random_state(self.random_state)
        sample = SequenceSample.of(
            data, labels, max(SAMPLE_STEPS, 10 * self.n_components * data.n_features), rng
        )
        put = partial(given_start, chain=given)
        starts = self._starts_of(plain, model, units, sample, given, put, exchangeable, rng)
        size = float(counts @ observed)
        unit = unit_of(size, n_observed)
        cut = {"units": of_table, "floats_per_row": self._floats_per_row(plain.family, data.n_features)}
        everything = partial(data.recut, n_threads=effective_n_jobs(self.n_jobs))
        whole, part = ground(sample, starts, everything, merged=self.assignment != "sampled", **cut)
        (some,) = sample.batches(of_table, rows=len(sample.rows))
        self.n_sequences_ = len(lengths)
        share = float(sample.weight @ sample.lengths / moments.weight)
        return Plan(
            model,
            units,
            starts,
            whole,
            part,
            size=size,
            log_volume=size * self._log_unit(units),
            n_rows=data.n_rows,
            n_observed=n_observed,
            rows=some,
            exchangeable=exchangeable and not self._continues,
            unit=unit,
            part_unit=sample.unit,
            part_share=share,
            part_model=None if part is None else self._for_share(model, share),
            again=worst_explained(model, some, whole, part, unit, rng, put),
        )

    @staticmethod
    def _for_share(model, share):
        """The model for a share of the data: penalties weigh as much less."""
        family = unwrapped(model.family).for_share(share)
        whole = model.family is unwrapped(model.family)
        return replace(model, family=family if whole else MissingRows(family))

    def _floats_per_row(self, family, n_read):
        return family.floats_per_row(self.n_components, n_read) + 5 * self.n_components

    def _starts_of(self, plain, model, units, sample, given, put, exchangeable, rng):
        """Starts for the race; or one, where there is only one to make."""
        if self._continues:
            held = ChainParams(given.start if plain.latent.fixed_start else None, None)
            return [given_start(start, held) for start in self._last(plain, units)]
        allowed = plain.latent.allowed
        make = SwitchingStarts(
            model,
            self.n_components,
            sample,
            self._affine(units, sample.rows.shape[1]),
            ordered=allowed is not None and not np.tril(allowed, -1).any(),
            exchangeable=exchangeable,
            floats_per_row=self._floats_per_row(plain.family, sample.rows.shape[1]),
        )
        if self.n_components == 1:
            return [put(Start("all", make.everything))]
        return list(map(put, portfolio(make.start, make.kinds, self.n_init, rng)))

    def _is_exchangeable(self):
        """Whether nothing but their estimates tells regimes apart."""
        return (
            isinstance(self.startprob, str)
            and isinstance(self.transition, str)
            and self.transition == "full"
            and np.ndim(self.startprob_prior) == np.ndim(self.transmat_prior) == 0
        )

    def _latent_in_new_units(self, latent, model, units):
        check_allowed("The last fit's transmat_", latent.transition, model.latent.allowed)
        return latent

    def _order(self, plan, params):
        keys = [*params.family.coef.T, unwrapped(plan.model.family).noise(params.family)]
        return np.lexsort(keys[::-1])

    def _take(self, model, params, units):
        start = model.latent.start_of(params.latent)
        params = params._replace(latent=params.latent._replace(start=start))
        super()._take(replace(model, family=unwrapped(model.family)), params, units)

    _of_latent = ("startprob_", "transmat_", "stationary_distribution_")
    _fits_groups = True

    def _seen_again(self, X, y=None, sample_weight=None, groups=None, offset=None, lengths=None):
        self._check_as_fitted(offset=offset)
        if y is None:
            raise ValueError("y is None: regimes are known by the responses that they lead to.")
        read = self._read(X, y, offset, groups, lengths, reset=False)
        weight = check_sequence_weight(sample_weight, read.sequences)
        family = MissingRows(replace(self._model.family, has_offset=read.has_offset))
        data = Batches(
            read.table,
            weight,
            lengths=read.sequences.lengths,
            units=self._affine(self._units, read.table.shape[1]),
            floats_per_row=self._floats_per_row(self._model.family, read.table.shape[1]),
            n_threads=effective_n_jobs(self.n_jobs),
        )
        observed = ~np.isnan(read.table[:, 0])
        of_steps = 1.0 if weight is None else np.repeat(weight, read.sequences.lengths)
        size = float(np.sum(observed * of_steps))
        model = replace(self._model, family=family)
        return SeenAgain(data, size * self._log_unit(self._units), size, model=model)

    def _drawn_anew(self, X, given, rng):
        """Responses drawn from the model, with gaps where they were."""
        where = {name: given[name] for name in ("groups", "lengths", "offset") if name in given}
        drawn, _ = self.sample(X, random_state=rng, **where)
        if np.asarray(drawn).dtype == object:
            gaps = [np.isnan(np.asarray(y, dtype=float)) for y in given["y"]]
            return X, {**given, "y": [np.where(m, np.nan, y) for m, y in zip(gaps, drawn, strict=True)]}
        return X, {**given, "y": np.where(np.isnan(np.asarray(given["y"], dtype=float)), np.nan, drawn)}

    def _take_latent(self, latent):
        fields = {"startprob": latent.start.copy(), "transmat": latent.transition.copy()}
        fields["stationary_distribution"] = stationary_distribution(latent.transition, latent.start)
        for name, value in fields.items():
            vars(self)[f"{name}_"] = value

    @classmethod
    def from_parameters(
        cls,
        coef: ArrayLike,
        intercept: ArrayLike | None = None,
        *,
        startprob: ArrayLike,
        transmat: ArrayLike,
        sigma: ArrayLike | None = None,
        family: ResponseFamily = "gaussian",
        feature_names: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Known regressions that switch in a known way, in place of a fit.

        Parameters
        ----------
        coef : array-like of shape (K, d)
            Coefficients of each regime, on the scale of the linear predictor.
        intercept : array-like of shape (K,), default=None
            Intercepts; None for 0.
        startprob : array-like of shape (K,), or {"stationary", "uniform"}
            Distribution of the first regime.
        transmat : array-like of shape (K, K)
            Probabilities of transitions, from row to column.
        sigma : array-like of shape (K,), default=None
            Standard deviations, or scales, of the noise. Only with ``family="gaussian"`` or "student_t".
        family : str or `emlearn.families.Response`, default="gaussian"
            Distribution of the response given its regime.
        feature_names : array-like of str of shape (d,), default=None
            Names of the features.
        **params
            ``dispersion``, of shape (K,), where the family has one; ``covariances``, of the shape of the
            attribute, for several responses, with coef (K, q, d) and intercept (K, q); and other parameters of
            the class. With ``warm_start=True`` a fit goes on from here.

        Returns
        -------
        model : MarkovSwitchingRegression
            Fitted, without what only a fit can tell, such as `converged_`.

        Raises
        ------
        ValueError
            If probabilities are negative or do not sum to 1, a standard deviation is not positive, or shapes do
            not fit.

        Examples
        --------
        >>> from emlearn import MarkovSwitchingRegression
        >>> model = MarkovSwitchingRegression.from_parameters(
        ...     [[1.0], [-1.0]], startprob="stationary", transmat=[[0.9, 0.1], [0.2, 0.8]], sigma=[0.1, 0.1]
        ... )
        >>> model.predict([[1.0], [2.0], [3.0]], [1.0, 2.0, -3.0]).round(2)
        array([ 1.,  2., -3.])
        """
        params["family"] = family
        if isinstance(startprob, str):
            params["startprob"] = startprob
        model, regression, emitted, units = cls._of_coefficients(coef, intercept, sigma, feature_names, params)
        K = len(emitted.coef)
        transmat = probabilities_of("transmat", transmat, (K, K))
        chain, _ = bind_chain(model)
        check_allowed("transmat", transmat, chain.allowed)
        if not isinstance(startprob, str):
            start = probabilities_of("startprob", startprob, (K,))
        elif startprob in ("stationary", "uniform"):
            start = stationary_distribution(transmat) if chain.stationary else np.full(K, 1.0 / K)
        else:
            raise ValueError("startprob='free' is to be estimated: give the distribution of the first regime.")
        model._take(LatentModel(chain, regression), LatentPair(ChainParams(start, transmat), emitted), units)
        return model

    # -- after fit ---------------------------------------------------------------------------------------

    def _pass(self, X, y, offset, groups, lengths, function, *outputs):
        """Fill an array for each output, a shape per row, with ``function(log_prob, batch, seen)``.

        Returns what was read, and the arrays in the order of its rows.
        """
        read = self._read_responded(X, y, offset, groups, lengths)
        return read, *self._pass_over(read, function, *outputs)

    def _read_responded(self, X, y, offset, groups, lengths):
        """What a user gave, responses among it."""
        check_is_fitted(self)
        if y is None:
            raise ValueError("y is None: regimes are known by the responses that they lead to.")
        return self._read(X, y, offset, groups, lengths, reset=False)

    def _pass_over(self, read, function, *outputs):
        """The same for what was read: the arrays alone."""
        family = MissingRows(replace(self._model.family, has_offset=read.has_offset))
        density = by_blocks(family.density(self._params.family))
        data = Batches(
            read.table,
            lengths=read.sequences.lengths,
            units=self._affine(self._units, read.table.shape[1]).bounded,
            floats_per_row=self._floats_per_row(self._model.family, read.table.shape[1]),
            n_threads=effective_n_jobs(self.n_jobs),
        )
        arrays = [np.empty((len(read.table), *shape), dtype) for shape, dtype in outputs]

        def of_batch(batch):
            seen = density(batch)
            for array, value in zip(arrays, function(seen.log_prob, batch, seen), strict=True):
                array[batch.rows] = value

        with one_blas_thread():
            for _ in data.map(of_batch):
                pass
        return arrays

    @property
    def _per_regime(self):
        check_is_fitted(self)
        return ((len(self.startprob_),), np.float64)

    def _smooth(self, X, y, offset, groups, lengths):
        """What was read, and smoothed probabilities."""

        def function(log_prob, batch, seen):
            return (RECURSIONS.posterior(self._params.latent, log_prob, batch)[0].T,)

        return self._pass(X, y, offset, groups, lengths, function, self._per_regime)

    def _filter(self, X, y, offset, groups, lengths):
        """What was read, filtered probabilities, and predictive log-densities in the unit of y."""

        def function(log_prob, batch, seen):
            passed = RECURSIONS.filter(self._params.latent, log_prob, batch)
            return passed.filtered.T, passed.predictive + seen.shared_log_prob()

        outputs = self._per_regime, ((), np.float64)
        read, filtered, predictive = self._pass(X, y, offset, groups, lengths, function, *outputs)
        predictive = predictive - self._log_unit(self._units) * ~np.isnan(read.table[:, 0])
        return read, filtered, far_as_impossible(predictive)

    def _unconditional(self, sequences):
        """Probabilities of regimes at each step before anything was observed, (n, K)."""
        chain, lengths = self._params.latent, sequences.lengths
        proba = np.empty((lengths.max(), len(chain.start)))
        proba[0] = chain.start
        for step in range(1, len(proba)):
            proba[step] = proba[step - 1] @ chain.transition
        return proba[np.arange(len(sequences.rows)) - np.repeat(sequences.offsets[:-1], lengths)]

    def _predictors(self, rows, offset):
        """Linear predictors of rows in the units of the user, (K, n), or (K, q, n) of several responses."""
        eta = self.coef_ @ np.asarray(rows, dtype=np.float64).T + self.intercept_[..., None]
        return eta if offset is None else eta + offset

    @property
    def _in_units(self):
        """Parameters of the family in the units of the user."""
        return self._model.family.in_units(self._params.family, self._units)

    def _mean_and_std(self, proba, eta):
        """Mean and standard deviation (n, ...) of mixtures of the regimes, by their probabilities (n, K)."""
        means = self._model.family.response.mean(eta)
        within = self._model.family.variance(self._in_units, eta)
        mean = _mixed(proba.T, means)
        return mean.T, np.sqrt(_mixed(proba.T, within + (means - mean) ** 2)).T

    @overload
    def predict(
        self,
        X: Any,
        y: Any = None,
        return_std: Literal[False] = False,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> NDArray[Any]: ...

    @overload
    def predict(
        self,
        X: Any,
        y: Any = None,
        *,
        return_std: Literal[True],
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @overload
    def predict(
        self,
        X: Any,
        y: Any = None,
        *,
        return_std: Inference,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

    def predict(
        self,
        X: Any,
        y: Any = None,
        return_std: bool | Inference = False,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """Mean response: of the regimes by their smoothed probabilities; without y by those of the chain alone.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None
            Responses, which tell the regime of their step and of those around it; NaN where not observed. None:
            regimes have the probabilities that the chain gives them before anything is observed.
        return_std : bool or Inference, default=False
            Whether to return standard deviations too. What `infer` gives for the data of the fit tells besides
            how well the mean is known.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        mean : ndarray of shape (n,), or object array of ndarrays of shape (T_i,)
            In the unit of y; of binomial responses the probability of success. Of several responses (n, q).
        std : ndarray of shape (n,), or object array of ndarrays of shape (T_i,)
            Standard deviation of a new response at that step, in a regime of these probabilities: the noise,
            without the uncertainty of the fit itself. Only with ``return_std``.
        error : ndarray of shape (n,), or object array of ndarrays of shape (T_i,)
            Standard error of the mean, of estimation alone. Only where ``return_std`` is an `Inference`.

        Raises
        ------
        ValueError
            If ``return_std`` is the inference of another fit.
        """
        if y is None:
            check_is_fitted(self)
            read = self._read(X, None, offset, groups, lengths, reset=False)
            proba = self._unconditional(read.sequences)
        else:
            read, proba = self._smooth(X, y, offset, groups, lengths)
        found = self._mean_and_std(proba, self._predictors(read.sequences.rows, read.offset))
        found = tuple(map(read.sequences.restore, found))
        if not return_std:
            return found[0]
        if isinstance(return_std, Inference):

            def means(fitted):
                mean = fitted.predict(X, y, groups=groups, lengths=lengths, offset=offset)
                return np.concatenate(list(mean)) if mean.dtype == object else mean

            error = return_std._errors_of_predictions(self, means)
            found = *found, replace(read.sequences, order=None).restore(error)
        return found

    def predict_components(
        self, X: Any, *, groups: ArrayLike | None = None, lengths: ArrayLike | None = None, offset: Any = None
    ) -> NDArray[Any]:
        """Mean response of each regime.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        means : ndarray of shape (n, K), or object array of ndarrays of shape (T_i, K)
            Of several responses (n, K, q).
        """
        check_is_fitted(self)
        read = self._read(X, None, offset, groups, lengths, reset=False)
        means = self._model.family.response.mean(self._predictors(read.sequences.rows, read.offset))
        return read.sequences.restore(np.moveaxis(means.T, -1, 1))

    def predict_proba(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> NDArray[Any]:
        """Smoothed probabilities: of each regime at each step, given all responses of its sequence.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None
            Responses. None: probabilities before anything is observed.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        proba : ndarray of shape (n, K), or object array of ndarrays of shape (T_i, K)
            Rows sum to 1.
        """
        if y is None:
            check_is_fitted(self)
            sequences = self._read(X, None, offset, groups, lengths, reset=False).sequences
            return sequences.restore(self._unconditional(sequences))
        read, proba = self._smooth(X, y, offset, groups, lengths)
        return read.sequences.restore(proba)

    def component_proba(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> NDArray[Any]:
        """Probability of each regime: the same as `predict_proba`.

        Parameters
        ----------
        X, y, groups, lengths, offset
            As of `predict_proba`.

        Returns
        -------
        proba : ndarray of shape (n, K), or object array of ndarrays of shape (T_i, K)
        """
        return self.predict_proba(X, y, groups=groups, lengths=lengths, offset=offset)

    def filter_proba(
        self,
        X: Any,
        y: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> NDArray[Any]:
        """Filtered probabilities: of each regime, given the responses up to that step.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        proba : ndarray of shape (n, K), or object array of ndarrays of shape (T_i, K)
            Rows sum to 1.
        """
        read, proba, _ = self._filter(X, y, offset, groups, lengths)
        return read.sequences.restore(proba)

    def decode(
        self,
        X: Any,
        y: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Regimes, and the log joint probability of each path and its responses.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        regimes : ndarray of int of shape (n,), or object array of ndarrays of int of shape (T_i,)
            The most probable path or, with ``algorithm="posterior"``, the most probable regime at each step.
        log_joint : ndarray of shape (n_sequences,)
            log p(path, y), in nats; -inf where the regimes make up no possible path.
        """
        read, path, log_joint = self._paths(X, y, offset, groups, lengths)
        return read.sequences.restore(path), log_joint

    def _paths(self, X, y, offset, groups, lengths):
        """What was read, a path for each sequence, and its log joint probability with the responses."""

        def function(log_prob, batch, seen):
            chain, of_regimes = self._params.latent, log_prob.copy()
            if self.algorithm == "viterbi":
                path = RECURSIONS.viterbi(chain, log_prob, batch)[0]
            else:
                path = RECURSIONS.posterior(chain, log_prob, batch)[0].argmax(axis=0)
            return path, of_regimes[path, np.arange(len(path))] + seen.shared_log_prob()

        outputs = ((), np.intp), ((), np.float64)
        read, path, joint = self._pass(X, y, offset, groups, lengths, function, *outputs)
        first = read.sequences.offsets[:-1]
        with np.errstate(divide="ignore"):  # log 0 forbids
            steps = np.log(self.transmat_)[np.r_[0, path[:-1]], path]
            steps[first] = np.log(self.startprob_)[path[first]]
        joint += steps - self._log_unit(self._units) * ~np.isnan(read.table[:, 0])
        return read, path, np.add.reduceat(joint, first)

    def predict_next(
        self,
        X: Any,
        y: Any,
        X_next: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
        offset_next: ArrayLike | None = None,
    ) -> RegimeForecast:
        """Forecast the steps after the end of each sequence, whose features are known.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,)
        X_next : array-like of shape (n_steps, d), or (n_sequences, n_steps, d)
            Features of the steps that come. In two dimensions those of every sequence.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None
        offset_next : array-like of shape (n_steps,), or (n_sequences, n_steps), default=None

        Returns
        -------
        forecast : RegimeForecast
            Probabilities of the regimes, `regime_proba` (n_steps, K), and `mean` and `std` (n_steps,) of the
            responses. With a list, groups or lengths there is an axis for the sequences in front.
        """
        read, filtered, _ = self._filter(X, y, offset, groups, lengths)
        sequences, d = read.sequences, self.n_features_in_
        one = sequences.form == "rows" and groups is None and lengths is None
        features = read_array("X_next", X_next, finite=True)
        n_steps = features.shape[-2] if features.ndim > 1 else 0
        shapes = [(n_steps, d)] if one else [(n_steps, d), (sequences.n_sequences, n_steps, d)]
        if features.shape not in shapes or not n_steps:
            shown = " or ".join(f"({'n_sequences, ' * (len(shape) - 2)}n_steps, {d})" for shape in shapes)
            raise ValueError(f"X_next has shape {features.shape}; expected {shown}.")
        shape = (n_steps,) if one else (sequences.n_sequences, n_steps)
        features = np.broadcast_to(features, (*shape, d)).reshape(-1, d)
        if offset_next is not None:
            of_steps = [(n_steps,)] if one else [(n_steps,), shape]
            offset_next = read_array("offset_next", offset_next, shapes=of_steps, finite=True)
            offset_next = np.broadcast_to(offset_next, shape).ravel()
        state = filtered[sequences.offsets[1:] - 1]
        state = state[0] if one else state
        proba = np.empty((*state.shape[:-1], n_steps, len(self.coef_)))
        for step in range(n_steps):
            state = state @ self.transmat_
            proba[..., step, :] = state
        eta = self._predictors(features, offset_next)
        moments = self._mean_and_std(proba.reshape(-1, len(self.coef_)), eta)
        mean, std = (values.reshape(*shape, *values.shape[1:]) for values in moments)
        return RegimeForecast(proba, mean, std)

    def score_samples(
        self,
        X: Any,
        y: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> NDArray[Any]:
        """Log predictive density of each response, given the responses before it.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        log_density : ndarray of shape (n,), or object array of ndarrays of shape (T_i,)
            In nats, with respect to the unit of y. They sum to the log-likelihood; a missing response has 0.
        """
        read, _, predictive = self._filter(X, y, offset, groups, lengths)
        return read.sequences.restore(predictive)

    def pseudo_residuals(
        self,
        X: Any,
        y: Any,
        *,
        kind: str = "ordinary",
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> PseudoResiduals:
        """How far out each response lies, on a normal scale, given the responses at other steps.

        See `emlearn.display.ResidualDisplay`, which draws them.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,)
        kind : {"ordinary", "forecast"}, default="ordinary"
            Given all other steps, or those before it alone.
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        residuals : PseudoResiduals
            `low`, `mid` and `high`, each an ndarray of shape (n,), or object array of ndarrays of shape (T_i,),
            with a last axis (q,) of several responses, each by itself. NaN where there is no response.

        Raises
        ------
        ValueError
            If the kind is none of these.

        References
        ----------
        Zucchini, MacDonald & Langrock (2016), Hidden Markov Models for Time Series, 2nd edition, section 6.2.
        """
        check_kind(kind)
        (K,), _ = self._per_regime
        read = self._read_responded(X, y, offset, groups, lengths)
        family, params = replace(self._model.family, has_offset=read.has_offset), self._params.family

        def tails(log_prob, batch, seen):
            eta, responses = family.linear_predictor(params, batch), family.split(batch)[1]
            return (np.moveaxis(family.response_tails(params, eta, responses), -1, 0),)

        several = np.shape(self.intercept_)[1:]
        (found,) = self._pass_over(read, tails, ((4, K, *several), np.float64))
        order = backwards(read.sequences.lengths)

        def filtered(chain, back):
            def function(log_prob, batch, seen):
                return (RECURSIONS.filter(chain, log_prob, batch).filtered.T,)

            ordered = read._replace(table=read.table[order]) if back else read
            return self._pass_over(ordered, function, self._per_regime)[0]

        shares = states_by_others(self._params.latent, read.sequences.lengths, filtered, kind)
        residuals = residuals_of(shares.T, np.moveaxis(found, 0, -1))
        return PseudoResiduals(*(read.sequences.restore(part.T) for part in residuals))

    def _mean_log_density(self, X, y, sample_weight=None, *, groups=None, offset=None):
        return self.score(X, y, sample_weight, groups=groups, offset=offset)

    def score(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> float:
        """Mean log predictive density per observed response.

        Not R², as features say nothing of the regime: what comes next is told by the responses before.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        y : array-like of shape (n,), or list of array-likes of shape (T_i,)
        sample_weight : array-like of shape (n_sequences,), default=None
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None

        Returns
        -------
        score : float
            In nats.
        """
        log_likelihood, size = self._of_all(X, y, sample_weight, groups, lengths, offset)
        return log_likelihood / size

    def _of_all(self, X, y, sample_weight, groups, lengths, offset):
        """Log-likelihood, and weight of all responses."""
        read, _, predictive = self._filter(X, y, offset, groups, lengths)
        weight = check_sequence_weight(sample_weight, read.sequences)
        observed = ~np.isnan(read.table[:, 0])
        counts = np.ones(len(observed)) if weight is None else read.sequences.per_row(weight)
        counted = counts > 0  # without weight, -inf is nothing
        return float(counts[counted] @ predictive[counted]), float(counts @ observed)

    def aic(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> float:
        """Akaike's information criterion, smaller is better.

        Parameters
        ----------
        X, y, sample_weight, groups, lengths, offset
            As of `score`.

        Returns
        -------
        aic : float
        """
        log_likelihood, _ = self._of_all(X, y, sample_weight, groups, lengths, offset)
        return -2 * log_likelihood + 2 * self.n_parameters_

    def bic(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> float:
        """Bayesian information criterion, smaller is better; its n is the number of observed responses.

        Parameters
        ----------
        X, y, sample_weight, groups, lengths, offset
            As of `score`.

        Returns
        -------
        bic : float
        """
        log_likelihood, size = self._of_all(X, y, sample_weight, groups, lengths, offset)
        self._check_counts(sample_weight)
        return -2 * log_likelihood + self.n_parameters_ * np.log(size)

    def icl(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
    ) -> float:
        """Integrated completed likelihood, smaller is better: BIC of the responses and their regimes together.

        Regimes are those of the most probable paths (Biernacki, Celeux & Govaert, 2000).

        Parameters
        ----------
        X, y, sample_weight, groups, lengths, offset
            As of `score`.

        Returns
        -------
        icl : float
        """
        read, _, log_joint = self._paths(X, y, offset, groups, lengths)
        weight = check_sequence_weight(sample_weight, read.sequences)
        counts = np.ones(len(log_joint)) if weight is None else weight
        size = read.sequences.per_row(counts) @ ~np.isnan(read.table[:, 0])
        return float(-2 * counts @ log_joint + self.n_parameters_ * np.log(size))

    def sample(  # type: ignore[override]
        self,
        X: Any,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
        random_state: RandomState = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw the regimes of sequences, and a response for each row.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of array-likes of shape (T_i, d)
        groups : array-like of shape (n,), default=None
        lengths : array-like of int, default=None
        offset : array-like of shape (n,), or list of array-likes of shape (T_i,), default=None
        random_state : int, RandomState instance or None, default=None
            None: that of the estimator, of which an int makes the same draws at each call.

        Returns
        -------
        y : ndarray of shape (n,), or object array of ndarrays of shape (T_i,)
            Of binomial responses one trial each.
        regimes : ndarray of int of shape (n,), or object array of ndarrays of int of shape (T_i,)
        """
        check_is_fitted(self)
        read = self._read(X, None, offset, groups, lengths, reset=False)
        rng = self._rng(random_state)
        n_steps = read.sequences.lengths
        cumulative = np.vstack([self.transmat_, self.startprob_]).cumsum(axis=1)[:, :-1]
        paths = np.empty((len(n_steps), n_steps.max()), dtype=np.intp)
        regime = np.full(len(n_steps), len(self.startprob_))  # the last row: before the first step
        for step in range(n_steps.max()):
            regime = (cumulative[regime] <= rng.uniform(size=(len(n_steps), 1))).sum(axis=1)
            paths[:, step] = regime
        regimes = paths[np.arange(n_steps.max()) < n_steps[:, None]]
        eta = self._predictors(read.sequences.rows, read.offset)
        own = eta[regimes, ..., np.arange(len(regimes))].T
        y = self._model.family.draw(self._in_units, own, regimes, rng).T
        return read.sequences.restore(y), read.sequences.restore(regimes)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # features say nothing of the regime
        tags.target_tags.multi_output = self._response.takes(3)
        return tags


def _one_by_one(name, values, sequences):
    """What stands beside sequences as one array for all rows, as they came."""
    if sequences.form != "list":
        return values
    n_given = len(values) if hasattr(values, "__len__") else 0
    if n_given != sequences.n_sequences:
        raise ValueError(
            f"{name} has {n_given} entries, but X has {sequences.n_sequences} sequences: give one array "
            "for each."
        )
    parts = [as_numpy(values[i], f"{name}[{i}]") for i in range(n_given)]
    for i, (part, length) in enumerate(zip(parts, sequences.lengths, strict=True)):
        if len(np.shape(part)) not in (1, 2) or len(part) != length:
            raise ValueError(
                f"{name}[{i}] has shape {np.shape(part)}, but sequence {i} has {length} rows: give one entry "
                "for each row."
            )
    return np.concatenate(parts)
