"""Latent classes: mixtures of categories, with covariates and outcomes in one, two or three steps."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emlearn._emissions.published import probabilities_of, with_labels
from emlearn._emissions.words import as_fitted, emission_of_some, family_of, observed_kinds, parts_of
from emlearn._input.columns import find_columns
from emlearn._input.pieces import comes_in_pieces
from emlearn._input.tables import Named
from emlearn._sample import SAMPLE_ROWS
from emlearn._sklearn_compat import Interval, StrOptions, _fit_context
from emlearn._typing import Acceleration, Annealing, Assignment, CovarianceType, RandomState, Ranking
from emlearn.base import all_or_nothing
from emlearn.em import Affine, Batch, Batches, LatentModel, LatentPair, one_blas_thread
from emlearn.families import ByGroup, Categorical, Covariates, Emission, Product
from emlearn.latent import HeldWeights, MixtureWeights, WeightsByGroup
from emlearn.mixture._mixture import MixtureEM
from emlearn.mixture._step_errors import StepErrors
from emlearn.mixture._steps import (
    assigned,
    classification_errors,
    is_closed_form,
    is_legal,
    one_m_step,
)

if TYPE_CHECKING:
    import pandas as pd

    from emlearn.display import LatentClassDisplay


class LatentClassEM(MixtureEM):
    r"""Latent class analysis: classes of rows within which categories are independent.

    .. math:: p(y_i \mid z_i) = \sum_c \pi_c(z_i) \prod_j \rho_{j, c, y_{ij}}

    A `MixtureEM` of categorical items, whose classes may depend on covariates z (`gate`) and tell of outcomes
    (`outcome`). These take part in the one fit, or come after the items in a second or third step, so that
    they have no say in what the classes are.

    Parameters
    ----------
    n_components : int, default=2
        Number of classes, K.
    emission : str, dict or family object, default="categorical"
        What items are, the columns that neither `gate` nor `outcome` names: see `MixtureEM`. With "gaussian"
        this is latent profile analysis.
    outcome : dict, default=None
        Distal outcomes: for each column, by name or number, or a tuple of columns, a word or family as in
        `emission`. Missing ones are left out. None: there are none.
    n_steps : {1, 2, 3}, default=1
        1 fits items, covariates and outcomes together. 2 fits the items alone, and then the rest with the
        parameters of the items held (Bakk & Kuha, 2018). 3 fits the items, assigns rows to classes, and
        relates the assignments, as measurements with known errors, to the rest (Vermunt, 2010). Without a gate
        classes keep the weights of the first step.
    correction : {"ML", "BCH"} or None, default="ML"
        How a third step allows for errors of assignment. "ML": by maximum likelihood, in which their
        probabilities are known. "BCH": rows count for each class by the inverse of the errors (Bolck, Croon &
        Hagenaars, 2004), which may be less than 0; for outcomes alone, whose M-step is a closed form. None: not
        at all, which biases differences between classes towards 0.
    step_assignment : {"modal", "proportional"}, default="modal"
        How a third step assigns rows: to their most probable class, or to all in proportion to their
        probabilities, as many records of a row with these for weights.
    group : int or str, default=None
        Column that says to which group a row belongs, as countries or waves of a survey. Classes have weights
        of their own in each (multi-group latent class analysis; Clogg & Goodman, 1984). It must be known of
        every row. For a fit in one step, without a gate. None: all rows are one group.
    invariant : bool or array-like of int or str, default=True
        What has the same parameters in all groups: True all items and outcomes (measurement invariance), False
        none, or those that these columns name. Fits that differ in this alone are nested: twice the difference
        of their `log_likelihood_` is compared with that of their `n_parameters_`.
    covariance_type, n_factors, n_mixtures : str, int, int
        Of Gaussians and mixtures of them, as of `MixtureEM`.
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
        impossible nowhere. A number alone is that of all of these. For a dict of emissions, and with outcomes,
        a dict of these by the columns of each.
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
    ranking, init_params, weights_init, means_init, emission_init, fixed, acceleration, assignment, annealing :
        As of `MixtureEM`; with several steps of the items. Parameters of emissions are given with one step.
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
        Weights of the classes, with a gate or groups their means over the rows of the fit.
    groups_ : ndarray of shape (n_groups,)
        The groups, in ascending order. Only with `group`.
    group_weights_ : ndarray of shape (K, n_groups)
        Weights of the classes in each group. Only with `group`.
    probabilities_ : tuple of ndarray of shape (K, n_categories)
        Probabilities of the categories of each categorical column, outcomes with them, in the order of columns;
        of shape (K, n_groups, n_categories), where groups have their own.
    categories_ : list of ndarray
        What these are: codes, or names.
    classification_errors_ : ndarray of shape (K, K)
        Probability that a row of a class (rows) is assigned to a class (columns). Only with ``n_steps=3``.
    measurement_ : MixtureEM
        The fit of the items alone, the first of several steps. How a fit went (`restarts_`, `converged_`,
        `n_iter_`, ...) is then that of this one; `log_likelihood_` and `lower_bound_` are of the whole model,
        which only ``n_steps=1`` maximizes. Only with several steps.
    gate_coef_, gate_intercept_, emission_params_, log_likelihood_, lower_bound_, n_parameters_, ...
        As of `MixtureEM`.

    See Also
    --------
    MixtureEM : Mixtures of columns of any kind.
    emlearn.display.LatentClassDisplay : Profiles of the classes.

    Notes
    -----
    Rows of which the class is known are told by ``labels`` of `fit`, with ``n_steps=1``: -1 or NaN where it is
    not. Equal rows are one pattern; beyond 20,000 rows this holds where all columns are categories.

    Standard errors after several steps count the uncertainty of the first: see the user guide on latent
    classes. Those of "BCH" are a matter for `emlearn.bootstrap`, which repeats all steps.

    References
    ----------
    .. [1] D. A. Linzer and J. B. Lewis (2011), "poLCA: an R package for polytomous variable latent class
       analysis", Journal of Statistical Software 42 (10).
    .. [2] A. Bolck, M. Croon and J. Hagenaars (2004), "Estimating latent structure models with categorical
       variables: one-step versus three-step estimators", Political Analysis 12, 3-27.
    .. [3] J. K. Vermunt (2010), "Latent class modeling with covariates: two improved three-step approaches",
       Political Analysis 18, 450-469.
    .. [4] Z. Bakk and J. Kuha (2018), "Two-step estimation of models between latent classes and external
       variables", Psychometrika 83, 871-892.
    .. [5] C. C. Clogg and L. A. Goodman (1984), "Latent structure analysis of a set of multidimensional
       contingency tables", Journal of the American Statistical Association 79, 762-771.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import LatentClassEM
    >>> rng = np.random.RandomState(0)
    >>> keen = rng.uniform(size=500) < 0.4
    >>> answers = rng.uniform(size=(500, 5)) < np.where(keen, 0.9, 0.2)[:, None]
    >>> spent = rng.normal(np.where(keen, 30.0, 10.0), 4.0)
    >>> X = np.column_stack([answers, spent])
    >>> classes = LatentClassEM(2, outcome={5: "gaussian"}, n_steps=3, random_state=0).fit(X)
    >>> classes.weights_.round(1)
    array([0.6, 0.4])
    >>> classes.emission_params_[5,].means.round().ravel()
    array([10., 30.])
    """

    classification_errors_: NDArray[Any]
    measurement_: MixtureEM

    _parameter_constraints: dict = {
        **{name: kinds for name, kinds in MixtureEM._parameter_constraints.items() if name != "noise"},
        "outcome": [dict, None],
        "n_steps": [Interval(Integral, 1, 3, closed="both")],
        "correction": [StrOptions({"ML", "BCH"}), None],
        "step_assignment": [StrOptions({"modal", "proportional"})],
        "group": [Integral, str, None],
        "invariant": ["boolean", "array-like"],
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        emission: str | dict[Any, Any] | Emission = "categorical",
        outcome: dict[Any, Any] | None = None,
        n_steps: int = 1,
        correction: Literal["ML", "BCH"] | None = "ML",
        step_assignment: Literal["modal", "proportional"] = "modal",
        group: int | str | None = None,
        invariant: bool | ArrayLike = True,
        covariance_type: CovarianceType = "full",
        n_factors: int = 10,
        n_mixtures: int = 2,
        n_categories: ArrayLike | None = None,
        gate: ArrayLike | None = None,
        gate_alpha: float = 1e-4,
        emission_prior: dict[Any, Any] | float | None = None,
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
        super().__init__(
            n_components,
            emission=emission,
            covariance_type=covariance_type,
            n_factors=n_factors,
            n_mixtures=n_mixtures,
            n_categories=n_categories,
            gate=gate,
            gate_alpha=gate_alpha,
            emission_prior=emission_prior,
            reg_covar=reg_covar,
            tol=tol,
            max_iter=max_iter,
            n_init=n_init,
            ranking=ranking,
            init_params=init_params,
            weights_init=weights_init,
            means_init=means_init,
            emission_init=emission_init,
            fixed=fixed,
            acceleration=acceleration,
            assignment=assignment,
            annealing=annealing,
            warm_start=warm_start,
            forgetting=forgetting,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.outcome = outcome
        self.n_steps = n_steps
        self.correction = correction
        self.step_assignment = step_assignment
        self.group = group
        self.invariant = invariant

    # -- input -------------------------------------------------------------------------------------------

    def _outcome_columns(self, n_features, names):
        """Numbers of the columns of outcomes, in the order of `outcome`."""
        keys = [key for own in self.outcome or {} for key in (own if isinstance(own, tuple) else (own,))]
        return find_columns(keys, names, n_features, "outcome").tolist() if keys else []

    def _gate_columns(self, n_features, names=None):
        gated = super()._gate_columns(n_features, names)
        group = self._group_column(n_features, names)
        return gated if group is None else (group,)

    def _group_column(self, n_features, names=None):
        """Number of the column of groups, or None."""
        if self.group is None:
            return None
        names = getattr(self, "feature_names_in_", None) if names is None else names
        return int(find_columns([self.group], names, n_features, "group")[0])

    def _columns_of_codes(self, n_features, names):
        found, group = super()._columns_of_codes(n_features, names), self._group_column(n_features, names)
        return found if group is None else sorted([*found, group])

    def _check_X(self, X, *, reset, **how):
        rows = super()._check_X(X, reset=reset, **how)
        group = self._group_column(rows.shape[1])
        if group is None:
            return rows
        if reset:
            self._levels = tuple(np.unique(rows[:, group]).tolist())
        strange = ~np.isin(rows[:, group], self._levels)
        if strange.any():
            row = int(np.argmax(strange))
            known = [str(name) for name in self._names_of_groups()]
            raise ValueError(
                f"X has in {self._column_name(group)}, row {row}, a group that fit did not see: the groups are "
                f"{', '.join(known[:10])}{', ...' if len(known) > 10 else ''}."
            )
        return rows

    def _names_of_groups(self):
        """What the groups are, in their order."""
        labels = vars(self).get("_labels", {}).get(self._group_column(self.n_features_in_))
        levels = np.array(self._levels)
        return levels if labels is None else np.asarray(labels)[levels.astype(np.intp)]

    def _emission(self, n_features, names):
        emission, gated = self.emission, self._gate_columns(n_features, names)
        if self.outcome:
            outcome = self._outcome_columns(n_features, names)
            self._refuse_both("gate or group", gated, outcome, names)
            if isinstance(emission, dict):
                keys = [k for own in emission for k in (own if isinstance(own, tuple) else (own,))]
                own = find_columns(keys, names, n_features, "emission").tolist()
                self._refuse_both("emission", own, outcome, names)
            else:
                items = tuple(j for j in range(n_features) if j not in outcome and j not in gated)
                if not items:
                    raise ValueError("outcome and gate name all columns of X: none is left for the items.")
                emission = {items: emission}
            # As families, since columns of the same word would be one part.
            emission = {**emission, **{key: family_of(self, what) for key, what in self.outcome.items()}}
        free = self._free_columns(n_features, names)
        if free and len(free) < n_features - len(gated):  # these are parts of their own
            rest = [j for j in range(n_features) if j not in free and j not in gated]
            shared, own = (
                emission_of_some(emission, n_features, names, gated, {j: j for j in some})
                for some in (rest, free)
            )
            emission = {**shared, **{key: family_of(self, what) for key, what in own.items()}}
        return emission

    def _free_columns(self, n_features, names=None):
        """Numbers of the columns whose parameters are others in each group."""
        group = self._group_column(n_features, names)
        if group is None or self.invariant is True:
            return []
        every = [j for j in range(n_features) if j != group]
        if self.invariant is False:
            return every
        names = getattr(self, "feature_names_in_", None) if names is None else names
        kept = find_columns(self.invariant, names, n_features, "invariant").tolist()
        if group in kept:
            raise ValueError(f"invariant names the group, column {self.group!r}: it names items and outcomes.")
        return [j for j in every if j not in kept]

    def _family(self):
        family, d = super()._family(), self.n_features_in_
        free = self._free_columns(d)
        if not free:
            return family
        group = self._group_column(d)
        parts = [(columns.tolist(), own) for columns, own, _ in parts_of(family, d)]
        shared = [(tuple(columns), own) for columns, own in parts if columns[0] not in free]
        of_groups = [(columns, own) for columns, own in parts if columns[0] in free]
        every = [j for columns, _ in of_groups for j in columns]
        own = of_groups[0][1]
        if len(of_groups) > 1:
            own = Product(tuple((tuple(columns), part) for columns, part in _moved(of_groups, every)))
        by_group = ByGroup((own,) * len(self._levels), self._levels)
        return Product((*shared, ((*every, group), by_group)))

    def _model_of(self, family, moments, units, everything):
        if self.group is None:
            return super()._model_of(family, moments, units, everything)
        return LatentModel(WeightsByGroup(self._group_column(len(units.scale)), self._levels), family)

    @property
    def _weights_vary(self):
        return super()._weights_vary or self.group is not None

    def _hidden_fields(self, latent, params, units):
        if self.group is None:
            return super()._hidden_fields(latent, params, units)
        return {"groups": self._names_of_groups(), "group_weights": params.copy()}

    def _estimated(self):
        names = [name for name in super()._estimated() if name != "groups_"]
        every = probabilities_of(self._model.family, self._params.family, self.n_features_in_)
        if len(every) < self.n_features_in_ - len(self._gate_columns(self.n_features_in_)):
            # Not all are categories: by the columns of each emission.
            names = [*(name for name in names if name != "probabilities_"), "emission_params_"]
        return tuple(dict.fromkeys(names))

    def _making(self):
        return *super()._making(), self.group, repr(self.invariant), vars(self).get("_levels")

    def of_group(self, group: Any) -> LatentClassEM:
        """The classes of one group, as a model of rows without the column of groups.

        Parameters
        ----------
        group : int, float or str
            One of `groups_`.

        Returns
        -------
        classes : LatentClassEM
            Fitted, without what only a fit can tell.

        Raises
        ------
        ValueError
            If there are no groups, or not this one.

        Examples
        --------
        >>> import numpy as np
        >>> from emlearn import LatentClassEM
        >>> rng = np.random.RandomState(0)
        >>> country = np.repeat([0, 1], 300)
        >>> keen = rng.uniform(size=600) < np.where(country, 0.7, 0.3)
        >>> answers = rng.uniform(size=(600, 4)) < np.where(keen, 0.9, 0.2)[:, None]
        >>> X = np.column_stack([country, answers])
        >>> classes = LatentClassEM(2, group=0, random_state=0).fit(X)
        >>> classes.group_weights_.round(1)
        array([[0.3, 0.7],
               [0.7, 0.3]])
        >>> classes.of_group(1).weights_.round(1)
        array([0.7, 0.3])
        """
        check_is_fitted(self)
        if self.group is None:
            raise ValueError("There are no groups: the fit was made without `group`.")
        names = self._names_of_groups().tolist()
        if group not in names:
            raise ValueError(f"group={group!r} is none of the groups, {', '.join(map(str, names))}.")
        g, d, column = names.index(group), self.n_features_in_, self._group_column(self.n_features_in_)
        kept = [j for j in range(d) if j != column]
        parts = []
        for columns, family, params in parts_of(self._model.family, d, self._params.family):
            if column in columns:
                columns, family, params = columns[:-1], family.families[g], params[g]
            parts.append(([kept.index(j) for j in columns], family, params))
        names = getattr(self, "feature_names_in_", None)
        one = clone(self).set_params(
            group=None,
            invariant=True,
            emission={tuple(columns): family for columns, family, _ in parts},
            outcome=None,
            **dict.fromkeys(("n_categories", "emission_prior", "means_init", "emission_init")),
            fixed=(),
            init_params="auto",
        )
        one._know_features(len(kept), None if names is None else names[kept])
        labels = vars(self).get("_labels", {})
        one._labels = {kept.index(j): own for j, own in labels.items() if j != column}
        whole = Product(tuple((tuple(columns), family) for columns, family, _ in parts))
        family, params = as_fitted(whole, tuple(own for *_, own in parts))
        units = Affine(self._units.shift[kept], self._units.scale[kept])
        one._take(
            LatentModel(MixtureWeights(), family), LatentPair(self._params.latent[:, g].copy(), params), units
        )
        return one

    def _refuse_both(self, what, columns, outcome, names):
        both = [j if names is None else str(names[j]) for j in outcome if j in columns]
        if both:
            raise ValueError(f"{what} and outcome name the columns {both}: each column is for one of them.")

    # -- fit ---------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, labels: ArrayLike | None = None
    ) -> Self:
        """Fit the classes, and what depends on them.

        Parameters
        ----------
        X : array-like of shape (n, d), or pieces of it
            Items, covariates of the gate and outcomes; NaN where an item or an outcome is missing. Pieces as of
            `MixtureEM`, with ``n_steps=1``.
        y : Ignored
            Present for pipelines.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.
        labels : array-like of int of shape (n,), or of bool of shape (n, K), default=None
            Classes that are known: their numbers, -1 (or NaN) where they are not; or which are possible. With
            ``n_steps=1``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or entry is not a legal one; if there are several steps and neither gate nor outcome,
            or labels, pieces or a warm start; if "BCH" has a gate, or an outcome without a closed form, or ends
            at a negative probability or variance; if there are groups beside a gate or several steps.
        """
        if self.n_steps == 1:
            for name in ("classification_errors_", "measurement_", "_later"):
                vars(self).pop(name, None)
            return super().fit(X, y, sample_weight, labels=labels)
        return self._fit_by_steps(X, sample_weight, labels)

    def _check_ways(self):
        super()._check_ways()
        if self.group is not None and (self.n_steps > 1 or self.gate is not None):
            what = "a gate" if self.gate is not None else f"n_steps={self.n_steps}"
            raise ValueError(
                f"group={self.group!r} goes with one step and no gate, but there is {what}: drop one of them. "
                "A gate may see indicators of groups."
            )

    def _check_stream(self):
        super()._check_stream()
        if self.n_steps > 1:
            raise ValueError(
                f"n_steps={self.n_steps} takes all rows at once, which partial_fit does not have: use fit, or "
                "n_steps=1."
            )

    def _plan(self, data, labels=None):
        kinds = observed_kinds(self.emission) | observed_kinds(self.outcome or {})
        if kinds == {"codes"} and self.gate is None and labels is None and self.assignment != "sampled":
            data = merged(data)
        return super()._plan(data, labels)

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_by_steps(self, X, sample_weight, labels):
        self._check_steps(X, labels)
        data = self._data(X, sample_weight)
        with warnings.catch_warnings():  # steps warn themselves
            warnings.simplefilter("ignore")
            self._plan(data)  # what the whole model has no density for is refused before any step
        rows = np.asarray(data.take(np.arange(data.n_rows)), dtype=np.float64)
        weight = data.weights()
        weight = np.ones(len(rows)) if weight is None else weight
        gated = list(self._gate_columns(self.n_features_in_))
        parts = [(own.tolist(), family) for own, family, _ in parts_of(self._family(), self.n_features_in_)]
        outcome = self._outcome_columns(self.n_features_in_, getattr(self, "feature_names_in_", None))
        of_items = [part for part in parts if part[0][0] not in outcome]
        of_outcome = [part for part in parts if part[0][0] in outcome]
        beside = Beside(rows, [*outcome, *gated], of_outcome, gated)
        by_inverse = self.n_steps == 3 and self.correction == "BCH"
        if by_inverse:
            self._refuse_open_forms(beside, weight)
        items = [j for j in range(self.n_features_in_) if j not in beside.columns]
        seen = self._named(rows[:, items], items)
        measurement = self._step(MixtureEM, seen, weight, _moved(of_items, items))
        resp = measurement.predict_proba(seen)
        vars(self).pop("classification_errors_", None)
        records = self._records(measurement, rows[:, items], resp, weight)
        counts = weight[records.of] * records.share
        structural = self._relate(
            records.seen,
            records.known,
            beside._replace(rows=rows[records.of]),
            counts,
            resp[records.of],
            measurement.weights_,
        )
        if self.n_steps == 3:
            into = assigned(resp, self.step_assignment)
            errors = self.classification_errors_ = classification_errors(resp, into, weight)
            if by_inverse:
                self._by_inverse(structural, beside, (into @ np.linalg.inv(errors)).T * weight)
        self._later = structural
        self._join(measurement, structural, items, beside)
        self._publish_steps(measurement, items, rows, weight)
        return self

    def _records(self, measurement, items, resp, weight):
        """What a later step sees of the items, and what is known of that."""
        if self.n_steps == 2:
            every = np.arange(len(items))
            return Records(items, _held(measurement), every, np.ones(len(items)))
        into = assigned(resp, self.step_assignment)
        of, to = np.nonzero(into)
        errors = classification_errors(resp, into, weight) if self.correction == "ML" else np.eye(resp.shape[1])
        known = [([0], Categorical((len(errors),)), {"probabilities": errors})]
        return Records(to[:, None].astype(np.float64), known, of, into[of, to])

    def _check_steps(self, X, labels):
        """Refuse what does not go with several steps."""
        self._check_ways()
        said = f"n_steps={self.n_steps}"
        if self.gate is None and not self.outcome:
            raise ValueError(
                f"{said} has nothing for its later steps: give a gate or an outcome, or n_steps=1."
            )
        if labels is not None:
            raise ValueError(f"labels are for a fit in one step, but {said}: drop them, or fit with n_steps=1.")
        if self.warm_start:
            raise ValueError(f"warm_start=True goes on with a fit in one step, but {said}: drop one of them.")
        given = [name for name in ("means_init", "emission_init") if getattr(self, name) is not None]
        given += ["fixed"] if self.fixed else []
        if given:
            raise ValueError(
                f"{given[0]} says what parameters of a fit in one step are, but {said}: drop it, or fit with "
                "n_steps=1."
            )
        if comes_in_pieces(X):
            raise ValueError(f"{said} needs rows in memory, but X comes in pieces: give one array of all.")
        if self.n_steps == 3 and self.correction == "BCH" and self.gate is not None:
            raise ValueError(
                "correction='BCH' is for outcomes, of which an M-step is a closed form; a gate has none. Use "
                "correction='ML'."
            )

    def _named(self, rows, columns, before=()):
        """Rows with the names that their columns have, after some of their own, where columns have any."""
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return rows
        return Named(rows, (*before, *(str(names[j]) for j in columns)))

    def _step(self, kind, rows, weight, parts, **others):
        """Fit of a mixture with parts (columns, family), with what it has in common with all of this."""
        common = {name: getattr(self, name) for name in MixtureEM._get_param_names() if hasattr(self, name)}
        mixture = kind(**common)
        emission = {tuple(columns): family for columns, family in parts}
        own = {"emission": emission, "gate": None, "n_categories": None, "emission_prior": None, **others}
        return mixture.set_params(**own).fit(rows, sample_weight=weight)

    def _relate(self, seen, known, beside, weight, resp, weights, **others):
        """The fit of gate and outcomes beside what is known of classes: parts whose parameters are held."""
        width = seen.shape[1]
        place = {j: width + i for i, j in enumerate(beside.columns)}
        parts = [(columns, family) for columns, family, _ in known]
        parts += [([place[j] for j in columns], family) for columns, family in beside.parts]
        values = {tuple(columns): fields for columns, _, fields in known}
        names = [f"class, measurement {i}" for i in range(width)]
        return self._step(
            _Later,
            self._named(np.column_stack([seen, beside.rows[:, beside.columns]]), beside.columns, names),
            weight,
            parts,
            gate=[place[j] for j in beside.gate] or None,
            init_params=resp,
            weights_init=None if beside.gate else weights,
            emission_init=values if len(parts) > 1 else next(iter(values.values())),
            fixed=tuple({name for fields in values.values() for name in fields}),
            annealing=False,
            **others,
        )

    def _outcome_parts(self, structural, beside):
        """Columns, family and parameters of each outcome in the fit of these."""
        parts = parts_of(structural._model.family, structural.n_features_in_, structural._params.family)
        return parts[len(parts) - len(beside.parts) :]

    def _refuse_open_forms(self, beside, weight):
        """Refuse outcomes whose M-step is not a closed form, by trying it at classes drawn at random."""
        K, n = self.n_components, len(weight)
        resp = check_random_state(0).dirichlet(np.ones(K), size=n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = self._relate(
                np.zeros((n, 1)),
                [([0], Categorical((1,)), {"probabilities": np.ones((K, 1))})],
                beside,
                weight,
                resp,
                resp.mean(axis=0),
                max_iter=0,
            )
        for j, family, params, x in self._each_outcome(fit, beside):
            if not is_closed_form(family, params, x, resp.T * weight):
                raise ValueError(
                    f"correction='BCH' needs an outcome whose M-step is a closed form, which that of "
                    f"{self._column_name(j)} is not. Use correction='ML'."
                )

    def _each_outcome(self, fit, beside):
        """Number of the first column, family, parameters and values of each outcome."""
        width = fit.n_features_in_ - len(beside.columns)
        x = ((beside.rows[:, beside.columns] - fit._units.shift[width:]) / fit._units.scale[width:]).T
        for columns, family, params in self._outcome_parts(fit, beside):
            yield beside.columns[columns[0] - width], family, params, x[columns - width]

    def _by_inverse(self, fit, beside, resp):
        """Put parameters by one M-step, at these weights (K, n) of rows, in the place of uncorrected ones."""
        found = list(fit._params.family)
        start = len(found) - len(beside.parts)
        for i, (j, family, params, x) in enumerate(self._each_outcome(fit, beside), start):
            found[i] = one_m_step(family, params, x, resp)
            if not is_legal(family, found[i]):
                raise ValueError(
                    f"correction='BCH' ends at a negative probability or variance of {self._column_name(j)}: "
                    "classes are told apart too badly for it. Use correction='ML'."
                )
        fit._params = fit._params._replace(family=tuple(found))

    def _join(self, measurement, structural, items, beside):
        """The whole model of the parts that steps have found."""
        d = self.n_features_in_
        width = structural.n_features_in_ - len(beside.columns)
        parts = _moved(_parts(measurement), range(len(items)), items)
        others = _parts(structural)[-len(beside.parts) :] if beside.parts else []
        parts += _moved(others, range(width, structural.n_features_in_), beside.columns)
        latent = MixtureWeights()
        if beside.gate:
            parts.append((beside.gate, Covariates()))
            latent, _ = structural._model.latent.moved(structural._params.latent, beside.gate)
        units = Affine(np.empty(d), np.empty(d))
        for whole, first, rest in zip(units, measurement._units, structural._units, strict=True):
            whole[items], whole[beside.columns] = first, rest[width:]
        family = Product(tuple((tuple(columns), own) for columns, own in parts))
        params = _joined(measurement._params, structural._params, len(others), bool(beside.gate))
        self._take(LatentModel(latent, family), params, units)

    def _publish_steps(self, measurement, items, rows, weight):
        """What a fit publishes beside its parameters."""
        for name in ("converged_", "n_iter_", "extrapolated_", "gap_", "restarts_", "lower_bounds_"):
            vars(self)[name] = getattr(measurement, name)
        data = self._cut(Batches(rows, weight))
        if self.gate is not None:
            vars(self)["weights_"] = self._model.latent.shares(self._params.latent, data)
        log_density = self._log_density_in_units(self._params)
        with one_blas_thread():
            self.log_likelihood_ = float(data.sum(lambda batch: batch.sum(log_density(batch))))
        self._bounds_are_per = float(weight.sum())
        self.lower_bound_ = self.log_likelihood_ / self._bounds_are_per
        labels = vars(self).get("_labels", {})
        measurement._labels = {place: labels[j] for place, j in enumerate(items) if j in labels}
        measurement._take(measurement._model, measurement._params, measurement._units)
        self.measurement_ = measurement

    def _take(self, model, params, units):
        if self.group is not None and "_levels" not in vars(self):
            raise ValueError(f"group={self.group!r} is for fits: make a model of one group, and drop it.")
        super()._take(model, params, units)
        by_column = probabilities_of(model.family, params.family, len(units.scale))
        if by_column and not isinstance(vars(self).get("probabilities_"), tuple):
            vars(self)["probabilities_"] = tuple(p.copy() for p in by_column.values())
            self._published = (*self._published, "probabilities")

    # -- after fit ---------------------------------------------------------------------------------------

    def marginal(self, columns: ArrayLike) -> LatentClassEM:
        self._refuse_groups()
        one = copy.copy(self)
        one.emission = self._emission(self.n_features_in_, getattr(self, "feature_names_in_", None))
        one.outcome, one.n_steps = None, 1
        return MixtureEM.marginal(one, columns)

    marginal.__doc__ = MixtureEM.marginal.__doc__

    def _refuse_groups(self):
        if self.group is not None:
            raise ValueError("There are several groups: ask one of them, which `of_group` gives.")

    def _draw(self, n, given, rng):
        self._refuse_groups()
        return super()._draw(n, given, rng)

    def _drawn_anew(self, X, given, rng):
        if self.group is None:
            return super()._drawn_anew(X, given, rng)
        rows = self._check_X(X, reset=False)
        column = self._group_column(rows.shape[1])
        drawn = rows.copy()
        for level, name in zip(self._levels, self._names_of_groups().tolist(), strict=True):
            own = np.flatnonzero(rows[:, column] == level)
            some = self.of_group(name)._draw(len(own), None, rng)[0]
            drawn[np.ix_(own, np.delete(np.arange(rows.shape[1]), column))] = some[rng.permutation(len(own))]
        drawn[np.isnan(rows)] = np.nan
        return with_labels(drawn, vars(self).get("_labels")), given

    def _seen_again(self, X, y=None, sample_weight=None, groups=None):
        again = super()._seen_again(X, y, sample_weight, groups)
        if self.n_steps == 1:
            return again
        if self.n_steps == 3 and self.correction == "BCH":
            raise ValueError(
                "correction='BCH' is no fit of a likelihood, by which errors would be told. Use "
                "emlearn.model_selection.bootstrap, which repeats all steps, or correction='ML'."
            )
        data, first, later = self._data_again(X, sample_weight), self.measurement_, self._later
        rows = np.asarray(data.take(np.arange(data.n_rows)), dtype=np.float64)
        weight = np.ones(len(rows)) if data.weights() is None else data.weights()
        d, names = self.n_features_in_, getattr(self, "feature_names_in_", None)
        gated, outcome = list(self._gate_columns(d)), self._outcome_columns(d, names)
        items = [j for j in range(d) if j not in gated and j not in outcome]
        of_items = first._cut(Batches(rows[:, items], weight))

        def resp_at(params):
            return np.concatenate(list(of_items.map(first._resp_of_rows(params))))

        records = self._records(first, rows[:, items], resp_at(first._params), weight)
        seen = np.column_stack([records.seen, rows[records.of][:, [*outcome, *gated]]])
        fixed = records.seen if self.step_assignment == "modal" else None
        known_at = None
        if self.n_steps == 2:
            known_at = self._items_at
        elif self.correction == "ML":

            def known_at(params):
                resp = resp_at(params)
                into = resp if fixed is None else (fixed == np.arange(resp.shape[1])).astype(np.float64)
                errors = classification_errors(resp, into, weight)
                return (later._params.family[0]._replace(probabilities=(errors,)),)

        n_outcomes = len(later._params.family) - len(records.known) - bool(gated)
        steps = StepErrors(
            first,
            later,
            of_items,
            later._cut(Batches(seen, weight[records.of] * records.share)),
            records.of,
            records.share,
            known_at,
            lambda one, two: _joined(one, two, n_outcomes, bool(gated)),
        )
        return again._replace(steps=steps)

    def _items_at(self, params):
        """Parameters of items in the later step, by those of the first."""
        first, later, found = self.measurement_, self._later, []
        for columns, family, own in parts_of(first._model.family, first.n_features_in_, params.family):
            here, there = (Affine(*(part[columns] for part in fit._units)) for fit in (first, later))
            found.append(family.in_units(family.in_units(own, here), there.inverse))
        return tuple(found)

    def reorder(self, order: ArrayLike) -> Self:
        super().reorder(order)
        if hasattr(self, "measurement_"):
            order = self._read_order(order)
            self.measurement_.reorder(order)
            self._later.reorder(order)
            if hasattr(self, "classification_errors_"):
                self.classification_errors_ = self.classification_errors_[np.ix_(order, order)]
                assignment, *others = self._later._params.family
                swapped = assignment._replace(probabilities=(assignment.probabilities[0][:, order],))
                self._later._params = self._later._params._replace(family=(swapped, *others))
        return self

    reorder.__doc__ = MixtureEM.reorder.__doc__

    def probabilities_table(self) -> pd.DataFrame:
        """Probabilities of categories as a table, one line for each column, category and class.

        Returns
        -------
        table : DataFrame
            Columns ``column`` (name or number), ``category``, ``class`` and ``probability``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> from emlearn import LatentClassEM
        >>> classes = LatentClassEM.from_parameters(
        ...     [0.6, 0.4], emission="categorical", probabilities=[[[0.9, 0.1], [0.2, 0.8]]]
        ... )
        >>> classes.probabilities_table()
           column  category  class  probability
        0       0         0      0          0.9
        1       0         0      1          0.2
        2       0         1      0          0.1
        3       0         1      1          0.8
        """
        check_is_fitted(self)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("A table needs pandas, which is not installed.") from error
        lines = [
            (column, category, k, p)
            for column, categories, of_column in self._profiles()
            for category, of_category in zip(categories, of_column.T, strict=True)
            for k, p in enumerate(of_category)
        ]
        return pd.DataFrame(lines, columns=["column", "category", "class", "probability"])

    def _profiles(self):
        self._refuse_groups()
        return self._each_profile()

    def _each_profile(self):
        """Name, categories and probabilities (K, n_categories) of each column of categories."""
        d, names = self.n_features_in_, getattr(self, "feature_names_in_", None)
        by_column = probabilities_of(self._model.family, self._params.family, d)
        for (j, p), categories in zip(by_column.items(), self.categories_, strict=True):
            yield j if names is None else str(names[j]), categories, p

    def relative_entropy(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        r"""How well rows are told apart, from 0 to 1.

        .. math:: 1 - \frac{\sum_{i, c} -r_{ic} \log r_{ic}}{n \log K}

        with responsibilities r (Ramaswamy, DeSarbo, Reibstein & Robinson, 1993).

        Parameters
        ----------
        X : array-like of shape (n, d)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        entropy : float
            1 of one class.
        """

        def entropy_of(params):
            resp_of = self._resp_of_rows(params)
            return lambda batch: special.entr(resp_of(batch)).sum(axis=1)

        total, weight = self._total(X, sample_weight, entropy_of)
        K = self._n_fitted
        return 1.0 if K == 1 else float(1.0 - total / (weight * np.log(K)))

    def bivariate_residuals(self, X: Any, sample_weight: ArrayLike | None = None) -> NDArray[np.float64]:
        r"""Association of each pair of categorical columns that the classes do not explain.

        Pearson's statistic of the table of two columns, per degree of freedom (Vermunt & Magidson, 2005,
        Technical Guide for Latent GOLD 4.0):

        .. math:: \frac{1}{(J_a - 1)(J_b - 1)} \sum_{u, v} \frac{(n_{uv} - e_{uv})^2}{e_{uv}},
            \qquad e_{uv} = \sum_i \sum_c \pi_c(z_i) \rho_{a, c, u} \rho_{b, c, v}

        over rows that have both columns. Values much above 1 say that the two depend on each other within
        classes.

        Parameters
        ----------
        X : array-like of shape (n, d)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        residuals : ndarray of shape (q, q)
            Of the categorical columns in their order, NaN on the diagonal.
        """
        check_is_fitted(self)
        self._refuse_groups()
        data = self._data_again(X, sample_weight)
        rows = np.asarray(data.take(np.arange(data.n_rows)), dtype=np.float64)
        weight = data.weights()
        weight = np.ones(len(rows)) if weight is None else weight
        scaled = ((rows - self._units.shift) / self._units.scale).T
        prior = np.exp(self._model.latent.log_weights(self._params.latent, Batch(scaled)))
        prior = np.broadcast_to(prior, (len(prior), len(rows))) * weight
        every = probabilities_of(self._model.family, self._params.family, self.n_features_in_)
        columns, q = list(every), len(every)
        residuals = np.full((q, q), np.nan)
        for a in range(q):
            for b in range(a):
                both = ~np.isnan(rows[:, [columns[a], columns[b]]]).any(axis=1)
                p, r = every[columns[a]], every[columns[b]]
                expected = (p.T * prior[:, both].sum(axis=1)) @ r
                seen = np.zeros_like(expected)
                codes = rows[both][:, [columns[a], columns[b]]].astype(np.intp)
                np.add.at(seen, (codes[:, 0], codes[:, 1]), weight[both])
                there = expected > 0
                chi2 = ((seen - expected)[there] ** 2 / expected[there]).sum()
                df = (p.any(axis=0).sum() - 1) * (r.any(axis=0).sum() - 1)
                residuals[a, b] = residuals[b, a] = chi2 / df if df else np.nan
        return residuals

    def profile_plot(self, **kwargs: Any) -> LatentClassDisplay:
        """Draw the profiles of the classes.

        Parameters
        ----------
        **kwargs
            Passed to `emlearn.display.LatentClassDisplay.from_estimator`.

        Returns
        -------
        display : LatentClassDisplay
        """
        from emlearn.display import LatentClassDisplay

        return LatentClassDisplay.from_estimator(self, **kwargs)


class Beside(NamedTuple):
    """What stands beside items in later steps."""

    rows: NDArray[np.float64]  # of all columns
    columns: list[int]  # of outcomes, and then of the gate
    parts: list[tuple[list[int], Emission]]  # columns and family of each outcome
    gate: list[int]  # columns that it sees


class Records(NamedTuple):
    """What a later step sees of classes: rows, or records of them."""

    seen: NDArray[np.float64]  # (n_records, q) items, or the class that a row was assigned to
    known: list[tuple[list[int], Emission, dict[str, Any]]]  # parts of these, and parameters that are held
    of: NDArray[np.intp]  # which row each is of
    share: NDArray[np.float64]  # of the row


class _Later(MixtureEM):
    """A later step: without a gate classes have the weights that they had."""

    def _model_of(self, family, moments, units, everything):
        model = super()._model_of(family, moments, units, everything)
        return model if self.gate is not None else LatentModel(HeldWeights(), family)


def _parts(mixture):
    """Columns and family of each part of a fitted mixture."""
    found = parts_of(mixture._model.family, mixture.n_features_in_)
    return [(columns.tolist(), family) for columns, family, _ in found]


def _moved(parts, columns, places=None):
    """Parts (columns, family) with the places of columns for their numbers, by default 0, 1, 2, ..."""
    place = dict(zip(columns, range(len(columns)) if places is None else places, strict=True))
    return [([place[j] for j in own], family) for own, family in parts]


def _joined(first, later, n_outcomes, is_gated):
    """Parameters of the whole from those of items and of what comes after: outcomes, and what a gate sees."""
    of_items = first.family if type(first.family) is tuple else (first.family,)
    rest = later.family[len(later.family) - n_outcomes - is_gated :]
    return LatentPair(later.latent, (*of_items, *rest))


def _held(mixture):
    """Columns, family and parameters by name of each part of a fitted mixture."""
    found = []
    for columns, family, params in parts_of(
        mixture._model.family, mixture.n_features_in_, mixture._params.family
    ):
        units = Affine(*(part[columns] for part in mixture._units))
        fields = family.fields(family.in_units(params, units), (mixture.n_components,))
        found.append((columns.tolist(), family, {k: v for k, v in fields.items() if k not in family.derived}))
    return found


def merged(data):
    """Data of which equal rows are one that counts as often, where there are many rows and few are distinct."""
    if data.n_rows <= SAMPLE_ROWS or not getattr(data, "in_memory", False):
        return data
    rows, weight = data.take(np.arange(data.n_rows)), data.weights()
    codes = np.where(np.isnan(rows), -1, rows)
    sizes = codes.max(axis=0) + 2
    if np.log2(sizes).sum() > 62 or codes.min() < -1 or (codes != np.floor(codes)).any():
        return data
    key = (codes + 1).astype(np.int64) @ np.cumprod(np.append(1, sizes[:-1])).astype(np.int64)
    _, first, where = np.unique(key, return_index=True, return_inverse=True)
    if 2 * len(first) > len(rows):
        return data
    return Batches(rows[first], np.bincount(where, weights=weight))
