"""Search over numbers of components and forms of a model by an information criterion."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from emlearn import _guides
from emlearn._sklearn_compat import BaseEstimator
from emlearn._warn import warn
from emlearn.base import EMMixin
from emlearn.inference._summary import criteria, criterion_of

CRITERIA = ("bic", "aic", "icl", "sabic", "loo")
# Own starts of a fit that has the components of a smaller one to split.
OWN_STARTS = 5
# Nats by which a log-likelihood may be lower than that of fewer components: what fits are left short of.
SHORT = 1e-3


def _of_best(name):
    def has(self):
        return hasattr(getattr(self, "best_estimator_", self.estimator), name)

    return has


class InformationCriterionSearch(MetaEstimatorMixin, BaseEstimator):
    """Fit every candidate of a grid to all data, and keep the best by an information criterion.

    Candidates that differ in ``n_components`` alone are fitted one after another. The components of each are
    split, one at a time, into starts for the next, and the closest ones merged into starts for the one before:
    the log-likelihood does not fall as components are added, and one lucky fit of many helps the others.

    Parameters
    ----------
    estimator : estimator
        One of emlearn's with a likelihood, or a `Pipeline` that ends in one.
    param_grid : dict or list of dict
        As of `sklearn.model_selection.GridSearchCV`.
    criterion : {"bic", "aic", "icl", "sabic", "loo"} or callable, default="bic"
        What is least. ``"loo"`` is minus twice the log-likelihood of each row by the parameters that an M-step
        without it leads to; a callable ``criterion(estimator, X, y)`` gives a number.
    refit : bool, default=True
        Keep the best fit, as `best_estimator_`. It was fitted to all data already.
    n_jobs : int, default=None
        Paths of candidates that are fitted at the same time, by joblib.

    Attributes
    ----------
    best_params_ : dict
        The best candidate.
    best_index_ : int
        Its place in ``cv_results_``.
    best_score_ : float
        Minus its criterion: greater is better, as everywhere in scikit-learn.
    best_estimator_ : estimator
        Its fit; only with ``refit``.
    cv_results_ : dict of arrays
        For each candidate ``params``, ``param_...``, ``log_likelihood``, ``n_parameters``, every criterion by
        its name, ``score`` and ``rank``, ``converged``, ``fit_time`` in seconds, and ``start``, where its fit
        came from. ``believable`` is False where a component of few rows makes the likelihood as high as it is:
        such fits come after all others.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    bootstrap_lrt : A test of one number of components against another.
    sklearn.model_selection.GridSearchCV : Choice by likelihood of rows that were left out.

    References
    ----------
    Schwarz (1978), Estimating the dimension of a model, Ann. Statist. 6. Biernacki, Celeux & Govaert (2000),
    Assessing a mixture model for clustering with the integrated completed likelihood, IEEE PAMI 22. Ueda,
    Nakano, Ghahramani & Hinton (2000), SMEM algorithm for mixture models, Neural Comput. 12.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.model_selection import InformationCriterionSearch
    >>> grid = {"n_components": [1, 2, 3, 4], "covariance_type": ["full", "tied", "diag"]}
    >>> search = InformationCriterionSearch(GaussianMixtureEM(random_state=0), grid)
    >>> search.fit(load_old_faithful().data).best_params_
    {'covariance_type': 'tied', 'n_components': 3}
    >>> round(-search.best_score_, 2)
    2314.3
    """

    best_params_: dict[str, Any]
    best_index_: int
    best_score_: float
    best_estimator_: Any
    cv_results_: dict[str, Any]
    n_features_in_: int

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        criterion: Literal["bic", "aic", "icl", "sabic", "loo"] | Callable[..., float] = "bic",
        refit: bool = True,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.criterion = criterion
        self.refit = refit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit all candidates.

        Parameters
        ----------
        X : array-like
            What the estimator's ``fit`` takes.
        y : array-like, default=None
        **fit_params
            What else it takes: weights, groups, lengths, offsets. Of a pipeline they go to its last step.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the criterion is unknown or does not belong to the estimator, the grid is empty or changes what
            the last step of a pipeline sees, or no candidate can be fitted.
        """
        candidates = self._check()
        numbers = [self._number_of(candidate) for candidate in candidates]
        paths = _paths(candidates, numbers)
        fitted = Parallel(n_jobs=self.n_jobs)(
            delayed(_climb)(
                self.estimator, [candidates[i] for i in path], [numbers[i] for i in path], X, y, fit_params
            )
            for path in paths
        )
        found = [None] * len(candidates)
        for path, of_path in zip(paths, fitted, strict=True):
            for place, fit in zip(path, of_path, strict=True):
                found[place] = fit
        failures = [fit.error for fit in found if fit.error is not None]
        if len(failures) == len(found):
            raise ValueError(f"None of {len(found)} candidates could be fitted. The first: {failures[0]}")
        if failures:
            warn(
                f"{len(failures)} of {len(found)} candidates could not be fitted. The first: {failures[0]}",
                UserWarning,
            )
        rows = [_evaluated(fit, X, y, fit_params, self.criterion) for fit in found]
        self._publish(candidates, rows)
        for complaint in found[self.best_index_].complaints:  # of fits that nobody will use none are told
            warn(*complaint)
        if self.refit:
            self.best_estimator_ = found[self.best_index_].estimator
        self.n_features_in_ = found[self.best_index_].estimator.n_features_in_
        return self

    def _number_of(self, candidate):
        """How many components a candidate has."""
        last = self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator
        return next((value for name, value in candidate.items() if _is_number(name)), last.n_components)

    def _check(self):
        last = self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator
        if not isinstance(last, EMMixin):
            raise ValueError(
                f"estimator={self.estimator!r} has no likelihood to compare: give an estimator of emlearn, or "
                "a pipeline that ends in one."
            )
        if not callable(self.criterion) and self.criterion not in CRITERIA:
            raise ValueError(f"criterion={self.criterion!r} is none of {', '.join(CRITERIA)}, nor callable.")
        if self.criterion == "icl" and not hasattr(last, "icl"):
            raise ValueError(f"criterion='icl' is of clusters, which a {type(last).__name__} does not have.")
        candidates = list(ParameterGrid(self.param_grid))
        if not candidates:
            raise ValueError("param_grid holds no candidate.")
        if isinstance(self.estimator, Pipeline):
            own = self.estimator.steps[-1][0]
            others = sorted({name for c in candidates for name in c if not name.startswith(f"{own}__")})
            if others and not callable(self.criterion):
                raise ValueError(
                    f"param_grid changes {others[0]}, and with it the data of {own!r}: likelihoods of other "
                    "data cannot be compared."
                )
        return candidates

    def _publish(self, candidates, rows):
        names = sorted({name for candidate in candidates for name in candidate})
        results = {"params": candidates}
        for name in names:
            missing = [name not in candidate for candidate in candidates]
            values = np.empty(len(candidates), dtype=object)
            values[:] = [candidate.get(name) for candidate in candidates]
            results[f"param_{name}"] = np.ma.MaskedArray(values, mask=missing)
        for key in rows[0]:
            results[key] = np.array([row[key] for row in rows])
        score = results["score"]
        believable = results["believable"] | ~results["believable"].any()
        order = np.lexsort([np.where(np.isnan(score), np.inf, -score), ~believable])
        results["rank"] = np.empty(len(score), dtype=int)
        results["rank"][order] = np.arange(1, len(score) + 1)
        self.cv_results_ = results
        self.best_index_ = int(order[0])
        self.best_score_ = float(score[self.best_index_])
        self.best_params_ = candidates[self.best_index_]

    @available_if(_of_best("predict"))
    def predict(self, X: Any, **params: Any) -> Any:
        """``predict`` of the best fit."""
        return self._best().predict(X, **params)

    @available_if(_of_best("predict_proba"))
    def predict_proba(self, X: Any, **params: Any) -> Any:
        """``predict_proba`` of the best fit."""
        return self._best().predict_proba(X, **params)

    @available_if(_of_best("score_samples"))
    def score_samples(self, X: Any, *args: Any, **params: Any) -> Any:
        """``score_samples`` of the best fit."""
        return self._best().score_samples(X, *args, **params)

    @available_if(_of_best("transform"))
    def transform(self, X: Any) -> Any:
        """``transform`` of the best fit."""
        return self._best().transform(X)

    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """``score`` of the best fit."""
        return float(self._best().score(X, y, **params))

    def _best(self):
        check_is_fitted(self)
        if not self.refit:
            raise AttributeError(
                "refit=False keeps no fit: fit the estimator with best_params_, or set refit=True."
            )
        return self.best_estimator_


class _Fit:
    """What became of a candidate."""

    def __init__(self, estimator=None, seconds=0.0, error=None, complaints=()):
        self.estimator, self.seconds, self.error, self.complaints = estimator, seconds, error, complaints

    @property
    def last(self):
        return self.estimator[-1] if isinstance(self.estimator, Pipeline) else self.estimator

    @property
    def height(self):
        return -math.inf if self.error is not None else self.last.log_likelihood_

    @property
    def is_believable(self):
        """Whether its height is more than the luck of components that fit a few rows whatever they are."""
        if self.error is not None or self.last.ranking == "likelihood":
            return self.error is None
        return self.best_start.evidence > -math.inf

    @property
    def best_start(self):
        return next(start for start in self.last.restarts_.starts if start.status == "best")


def _paths(candidates, numbers):
    """Places of candidates that differ in their number of components alone, fewest components first."""
    paths: dict[str, list[int]] = {}
    for place, candidate in enumerate(candidates):
        rest = {name: repr(value) for name, value in candidate.items() if not _is_number(name)}
        paths.setdefault(repr(sorted(rest.items())), []).append(place)
    return [sorted(path, key=lambda i: numbers[i]) for path in paths.values()]


def _is_number(name):
    return name.rsplit("__", 1)[-1] == "n_components"


def _climb(estimator, candidates, numbers, X, y, fit_params):
    """Fits of candidates that have more and more components."""
    attempt = partial(_attempt, estimator, X, y, fit_params)
    fits: list[_Fit] = []

    def below(place):
        """The highest believable fit of fewer components, how many those are fewer, and how high it stands."""
        fewer = [i for i in range(place) if numbers[i] < numbers[place] and fits[i].error is None]
        if not fewer:
            return None, 0, -math.inf
        best = max(fewer, key=lambda i: (fits[i].is_believable, fits[i].height))
        return fits[best], numbers[place] - numbers[best], fits[best].height - SHORT

    def raise_to_those_before(place):
        before, more, floor = below(place)
        if fits[place].height < floor:
            again = attempt(candidates[place], partial(_only, _guides.doubled, before, more=more))
            fits[place] = _higher(fits[place], again, floor)

    for place, candidate in enumerate(candidates):
        before, more, _ = below(place)
        fits.append(attempt(candidate, before and partial(_with_splits, before, more)))
        raise_to_those_before(place)
    for place in range(len(fits) - 2, -1, -1):
        if numbers[place + 1] == numbers[place] + 1 and fits[place + 1].error is None:
            again = attempt(candidates[place], partial(_only, _guides.merged, fits[place + 1]))
            fits[place] = _higher(fits[place], again, below(place)[2])
    for place in range(1, len(fits)):  # what was raised may be higher than the next now
        raise_to_those_before(place)
    return fits


def _attempt(estimator, X, y, fit_params, candidate, guide):
    begun = time.perf_counter()
    fitted = clone(estimator).set_params(**{name: clone(v, safe=False) for name, v in candidate.items()})
    last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    if guide is not None:
        vars(last)["_guide"] = guide
    given = fit_params
    if isinstance(fitted, Pipeline):
        given = {f"{fitted.steps[-1][0]}__{name}": value for name, value in fit_params.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted.fit(X, y, **given)
        except (ValueError, FloatingPointError) as error:
            return _Fit(error=str(error), seconds=time.perf_counter() - begun)
        finally:
            vars(last).pop("_guide", None)
    return _Fit(fitted, time.perf_counter() - begun, complaints=[(str(w.message), w.category) for w in caught])


def _with_splits(before, more, plan):
    splits = _guides.split(before.last, plan, more)
    return [*splits, *plan.starts[:OWN_STARTS]] if splits else plan.starts


def _only(guide, other, plan, **how):
    return guide(other.last, plan, **how) or plan.starts[:1]


def _higher(one, other, floor):
    """The higher of two fits of a candidate, a believable one first unless fewer components stand higher."""

    def worth(fit, height):
        return fit.is_believable and fit.height >= floor, height

    better = worth(other, other.height) > worth(one, one.height + SHORT)
    higher = other if better else one
    higher.seconds = one.seconds + other.seconds
    return higher


def _evaluated(fit, X, y, fit_params, criterion):
    names = ("log_likelihood", "n_parameters", *CRITERIA, "score")
    if fit.error is not None:
        nothing = dict.fromkeys(names, math.nan)
        return {**nothing, "believable": False, "converged": False, "start": "", "fit_time": fit.seconds}
    last, seen = fit.last, X
    if isinstance(fit.estimator, Pipeline):
        seen = fit.estimator[:-1].transform(X) if len(fit.estimator) > 1 else X
    given = fit_params if y is None else {"y": y, **fit_params}
    again = last._seen_again(seen, **given)
    ll, k = last.log_likelihood_, last.n_parameters_
    row = {"log_likelihood": ll, "n_parameters": k, **criteria(ll, k, again.size)}
    row["icl"] = float(last.icl(seen, **given)) if hasattr(last, "icl") else math.nan
    row["loo"] = math.nan
    if criterion == "loo":
        row["loo"] = criterion_of(last, "loo", seen, **given)
    row["score"] = -float(criterion(fit.estimator, X, y) if callable(criterion) else row[criterion])
    row["believable"], row["converged"] = fit.is_believable, last.converged_
    row["start"] = fit.best_start.kind
    row["fit_time"] = fit.seconds
    return row
