"""Fits to data drawn anew: bootstrap of estimates, tests of the number of components, stability."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emlearn._guides import doubled, same, split
from emlearn.em import Batches, LatentPair, fit_em
from emlearn.em.fit import NO_PARAMETERS
from emlearn.inference._estimates import (
    Inference,
    _attributes,
    _flat,
    _labels,
    _shaped,
    warn_of_other_data,
)
from emlearn.latent import Grouped

KINDS = ("weights", "parametric", "blocks")
# Exceedances after which a test by simulation may stop (Besag & Clifford, 1991).
ENOUGH = 10
# Share of replicates that may fail.
MOST_FAILED = 0.1


class Bootstrap:
    """Estimates of data drawn anew, component by component next to those of the fit.

    Attributes
    ----------
    labels : list of str
        Name of each estimate, as of `emlearn.inference.Inference`.
    estimates : ndarray of shape (P,)
        Of the fit.
    replicates : ndarray of shape (n, P)
        Of each draw.
    n_failed : int
        Draws that could not be fitted, which are left out.
    """

    def __init__(self, estimator: Any, replicates: Any, n_failed: int, influence: Any):
        self._tree = _attributes(estimator)
        self.labels = _labels(self._tree, getattr(estimator, "feature_names_in_", None))
        self.estimates = _flat(self._tree)
        self.replicates = replicates
        self.n_failed = n_failed
        self._influence = influence

    @cached_property
    def standard_errors(self) -> dict[str, Any]:
        """Standard deviations of the replicates, by attribute."""
        found: dict[str, Any] = _shaped(self._tree, self.replicates.std(axis=0, ddof=1))
        return found

    def confidence_intervals(self, level: float = 0.95, kind: str = "percentile") -> dict[str, Any]:
        """Intervals by attribute.

        Parameters
        ----------
        level : float, default=0.95
        kind : {"percentile", "bca"}, default="percentile"
            Quantiles of the replicates, or those corrected for bias and for how the standard error changes
            with the estimate (Efron, 1987), by the influence of rows or sequences.

        Returns
        -------
        intervals : dict of pairs (low, high)

        Raises
        ------
        ValueError
            If the level is not between 0 and 1, or the kind none of these.
        """
        if not 0 < level < 1:
            raise ValueError(f"level={level} must lie between 0 and 1.")
        if kind not in ("percentile", "bca"):
            raise ValueError(f"kind={kind!r} is neither 'percentile' nor 'bca'.")
        tails = np.array([0.5 - level / 2, 0.5 + level / 2])[:, None]
        if kind == "bca":
            below = (self.replicates < self.estimates).mean(axis=0) + 0.5 * (
                self.replicates == self.estimates
            ).mean(axis=0)
            n = len(self.replicates)
            bias = stats.norm.ppf(np.clip(below, 0.5 / n, 1 - 0.5 / n))
            z = bias + stats.norm.ppf(tails)
            tails = stats.norm.cdf(bias + z / (1 - self._acceleration * z))
        else:
            tails = np.broadcast_to(tails, (2, len(self.estimates)))
        ends = np.array([np.quantile(r, t) for r, t in zip(self.replicates.T, tails.T, strict=True)]).T
        low, high = _shaped(self._tree, ends[0]), _shaped(self._tree, ends[1])
        return {name: (low[name], high[name]) for name in low}

    @cached_property
    def _acceleration(self):
        influence = self._influence()
        size = np.sum(influence**2, axis=0)
        return np.sum(influence**3, axis=0) / (6 * np.where(size > 0, size, 1.0) ** 1.5)


def bootstrap(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    n: int = 999,
    kind: str = "weights",
    block_length: int | None = None,
    random_state: Any = None,
    n_jobs: int | None = None,
    **given: Any,
) -> Bootstrap:
    """Fit data drawn anew many times, each fit going on from the estimates.

    Parameters
    ----------
    estimator : estimator
        Fitted to X.
    X : array-like
        The data of the fit.
    y : array-like, default=None
        Responses, for regressions.
    n : int, default=999
        How often data are drawn.
    kind : {"weights", "parametric", "blocks"}, default="weights"
        Rows, sequences or groups are drawn with replacement; or all are drawn from the fitted model, with gaps
        where they were; or sequences are put together from pieces of their own, drawn with replacement.
    block_length : int, default=None
        Steps of a piece. None: the root of a sequence's length.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int, default=None
        Processes. Results do not depend on it.
    **given
        What else the fit was given: ``sample_weight``, ``groups``, ``lengths``, ``offset``.

    Returns
    -------
    bootstrap : Bootstrap
        Components of every fit stand next to their likes in ``estimator`` (Hungarian method).

    Raises
    ------
    ValueError
        If the kind is unknown, does not apply to the data, or more than a tenth of the draws cannot be fitted.

    References
    ----------
    Efron (1987), Better bootstrap confidence intervals, JASA 82. McLachlan & Peel (2000), Finite Mixture
    Models, section 2.16.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.model_selection import bootstrap
    >>> X = load_old_faithful().data
    >>> model = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
    >>> found = bootstrap(model, X, n=200, random_state=0)
    >>> print(f"{found.standard_errors['means_'][0, 1]:.2f}")
    0.46
    """
    check_is_fitted(estimator)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is none of {', '.join(KINDS)}.")
    _check_number("n", n)
    given = {name: value for name, value in {"y": y, **given}.items() if value is not None}
    draw = (
        _Parametric(estimator, X, given)
        if kind == "parametric"
        else _Redrawn(estimator, X, given, kind, block_length)
    )
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=n)
    chunks = np.array_split(seeds, min(n, 4 * effective_n_jobs(n_jobs)))
    parts = Parallel(n_jobs=n_jobs)(delayed(_refits)(estimator, draw, chunk) for chunk in chunks)
    found = [fit for part in parts for fit in part]
    done = [fit for fit in found if fit is not None]
    n_failed = len(found) - len(done)
    if n_failed > MOST_FAILED * n:
        raise ValueError(
            f"{n_failed} of {n} draws could not be fitted: some component has too few observations."
        )
    return Bootstrap(estimator, np.array(done), n_failed, partial(_influence, estimator, X, given))


def _refits(estimator, draw, seeds):
    """Estimates of each draw, None where one cannot be fitted."""
    found = []
    for seed in seeds:
        try:
            found.append(_refit(estimator, *draw(np.random.RandomState(seed))))
        except NO_PARAMETERS:
            found.append(None)
    return found


def _refit(estimator, model, data):
    params = estimator._params
    fit = fit_em(model, params, data, tol=estimator.tol, max_iter=estimator.max_iter)
    return _flat(_attributes(estimator._at(model, _matched(model, params, fit.params))))


def _matched(model, params, other):
    """Parameters with the components in the order of the likes among others."""
    order = linear_sum_assignment(model.family.divergence(params.family, model.family, other.family))[1]
    if np.array_equal(order, np.arange(len(order))):
        return other
    return LatentPair(model.latent.reorder(other.latent, order), model.family.reorder(other.family, order))


def _see_again(estimator, X, given):
    """The data of the fit, with a warning if they are others."""
    again = estimator._seen_again(X, **given)
    model = again.model or estimator._model
    warn_of_other_data(estimator, replace(model, assignment="soft"), again)
    return again


class _Parametric:
    """Data drawn from a fitted model."""

    def __init__(self, estimator, X, given):
        self._estimator, self._X, self._given = estimator, X, given
        _see_again(estimator, X, given)
        self(np.random.RandomState(0))  # what cannot be drawn is refused before any work

    def __call__(self, rng):
        X, given = self._estimator._drawn_anew(self._X, self._given, rng)
        again = self._estimator._seen_again(X, **given)
        return again.model or self._estimator._model, again.data


class _Redrawn:
    """Rows, sequences, groups or pieces of sequences, drawn with replacement."""

    def __init__(self, estimator, X, given, kind, block_length):
        again = _see_again(estimator, X, given)
        self._model, data = again.model or estimator._model, again.data
        if not isinstance(data, Batches):
            raise ValueError("X is to be drawn from again and again: give it as an array, not in pieces.")
        self._data, self._kind = data, kind
        self._rows, self._weight = data.take(np.arange(data.n_rows)), data.weights()
        self._lengths = data.lengths
        self._groups = isinstance(estimator._model.latent, Grouped)
        of_chain = self._lengths is not None and not self._groups
        if kind == "blocks":
            if not of_chain:
                raise ValueError("kind='blocks' is of sequences: draw rows and groups by kind='weights'.")
            longest = int(self._lengths.max())
            if block_length is not None and not 1 <= block_length <= longest:
                raise ValueError(
                    f"block_length={block_length} must be from 1 to {longest}, the longest sequence."
                )
        elif block_length is not None:
            raise ValueError("block_length is of kind='blocks'.")
        elif of_chain and len(self._lengths) == 1:
            raise ValueError(
                "There is one sequence, of which no others can be drawn: give kind='blocks' or 'parametric'."
            )
        self._block_length = block_length

    def __call__(self, rng):
        return self._model, self._drawn(rng)

    def _drawn(self, rng):
        rows, weight, lengths = self._rows, self._weight, self._lengths
        if self._kind == "blocks":
            order = np.concatenate([self._pieces(first, n, rng) for first, n in self._sequences()])
            return self._data.in_the_place_of(rows[order], weight, lengths)
        if lengths is None:
            counts = _counts(np.ones(rows.shape[0]) if weight is None else weight, rng)
            kept = counts > 0
            return self._data.in_the_place_of(rows[kept], counts[kept])
        first = np.cumsum(lengths) - lengths
        if self._groups:  # which have no weight of their own
            drawn = rng.randint(len(lengths), size=len(lengths))
            order = np.concatenate([first[i] + np.arange(lengths[i]) for i in drawn])
            return self._data.in_the_place_of(
                rows[order], None if weight is None else weight[order], lengths[drawn]
            )
        counts = _counts(np.ones(len(lengths)) if weight is None else weight[first], rng)
        return self._data.in_the_place_of(rows, counts, lengths)

    def _sequences(self):
        return zip(np.cumsum(self._lengths) - self._lengths, self._lengths, strict=True)

    def _pieces(self, first, n, rng):
        """Rows of a sequence put together from pieces of it."""
        length = min(self._block_length or math.ceil(math.sqrt(n)), n)
        begins = rng.randint(n - length + 1, size=-(-n // length))
        return first + (begins[:, None] + np.arange(length)).ravel()[:n]


def _counts(weight, rng):
    """How much each unit counts when as many are drawn as have weight."""
    n = np.count_nonzero(weight)
    return rng.multinomial(n, weight / weight.sum()) * (weight.sum() / n)


def _influence(estimator, X, given):
    """How much each unit moves the estimates, but for a factor, (u, P)."""
    return Inference(estimator, estimator._seen_again(X, **given)).influence()


class LikelihoodRatioTest(NamedTuple):
    """Test of a model against a larger one, by simulation.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    pvalue : float
        Share of draws from the smaller model with as large a statistic.
    replicates : ndarray of shape (n_draws,)
        Statistics of the draws.
    smaller, larger : estimator
        The fits.
    """

    statistic: float
    pvalue: float
    replicates: NDArray[np.float64]
    smaller: Any
    larger: Any


def bootstrap_lrt(
    smaller: Any,
    larger: Any,
    X: Any,
    y: Any = None,
    *,
    n: int = 999,
    random_state: Any = None,
    n_jobs: int | None = None,
    **given: Any,
) -> LikelihoodRatioTest:
    """Test whether a model of fewer components explains the data as well as a larger one (McLachlan, 1987).

    Under the smaller model the statistic has no chi-squared distribution; it is found by fitting both to draws
    from the smaller one, with as many starts as for the data. Once ten draws have exceeded the statistic the
    test stops, with a p-value of 10 by the number of draws; else it is (1 + b) / (1 + n) (Besag & Clifford,
    1991).

    Parameters
    ----------
    smaller, larger : estimator
        What is fitted: estimators of one kind, fitted or not; they are cloned.
    X : array-like
    y : array-like, default=None
        Responses, for regressions.
    n : int, default=999
        Most draws.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int, default=None
        Processes. Results do not depend on it.
    **given
        What else ``fit`` takes.

    Returns
    -------
    test : LikelihoodRatioTest

    Raises
    ------
    ValueError
        If the estimators are not of one kind, the larger one has no more parameters, or a draw cannot be made.

    References
    ----------
    McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of components in a
    normal mixture, Appl. Stat. 36. Besag & Clifford (1991), Sequential Monte Carlo p-values, Biometrika 78.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.model_selection import bootstrap_lrt
    >>> X = load_old_faithful().data
    >>> one, two = (GaussianMixtureEM(n_components=K, random_state=0) for K in (1, 2))
    >>> test = bootstrap_lrt(one, two, X, n=19, random_state=0)
    >>> round(test.statistic, 2), test.pvalue
    (319.07, 0.05)
    """
    if type(smaller) is not type(larger):
        kinds = type(smaller).__name__, type(larger).__name__
        raise ValueError(f"smaller is a {kinds[0]}, larger a {kinds[1]}: give two of one kind.")
    _check_number("n", n)
    if larger.n_components < smaller.n_components:
        raise ValueError(
            f"larger has n_components={larger.n_components}, smaller {smaller.n_components}: change places."
        )
    given = {name: value for name, value in {"y": y, **given}.items() if value is not None}
    fits = _higher_of_nested(smaller, larger, X, given)
    if fits[0].n_parameters_ >= fits[1].n_parameters_:
        raise ValueError(
            f"larger has {fits[1].n_parameters_} parameters, no more than the {fits[0].n_parameters_} of "
            "smaller."
        )
    statistic = _ratio(*fits)
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=n)
    found: list[float] = []
    width = ENOUGH * max(1, effective_n_jobs(n_jobs) // 2)
    with Parallel(n_jobs=n_jobs) as parallel:
        for first in range(0, n, width):
            found += parallel(
                delayed(_ratio_of_draw)(*fits, X, given, seed) for seed in seeds[first : first + width]
            )
            exceeds = np.cumsum(np.array(found) >= statistic)
            if exceeds[-1] >= ENOUGH:  # whatever the width, as if draws came one by one
                last = int(np.searchsorted(exceeds, ENOUGH)) + 1
                return LikelihoodRatioTest(statistic, ENOUGH / last, np.array(found[:last]), *fits)
    return LikelihoodRatioTest(statistic, float((1 + exceeds[-1]) / (1 + n)), np.array(found), *fits)


def _higher_of_nested(smaller, larger, X, given):
    """Fits of both; the larger one starts from the smaller one too."""
    one = clone(smaller).fit(X, **given)
    more = larger.n_components - smaller.n_components
    likely, next_to = (partial(split, more=more), partial(doubled, more=more)) if more else (same, same)
    two = clone(larger)
    vars(two)["_guide"] = lambda plan: [*likely(one, plan), *plan.starts]
    two.fit(X, **given)
    if two.log_likelihood_ < one.log_likelihood_:
        again = clone(larger)
        vars(again)["_guide"] = lambda plan: next_to(one, plan) or plan.starts
        again.fit(X, **given)
        two = again if again.log_likelihood_ > two.log_likelihood_ else two
    return one, two


def _ratio(one, two):
    return max(2 * float(two.log_likelihood_ - one.log_likelihood_), 0.0)


def _ratio_of_draw(one, two, X, given, seed):
    rng = np.random.RandomState(seed)
    drawn, others = one._drawn_anew(X, given, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return _ratio(*_higher_of_nested(one, two, drawn, others))
        except ValueError:  # a draw that the larger one cannot be fitted to
            return 0.0


class Stability(NamedTuple):
    """How far clusters come back when data are drawn anew.

    Attributes
    ----------
    jaccard : ndarray of shape (K,)
        For each cluster of the fit, how much of it comes back, in the mean: rows that it has in common with the
        most similar cluster, by the rows of either. Below .6 a cluster is no finding, above .85 it is stable.
    adjusted_rand : float
        Agreement of all labels, 1 for the same and 0 for chance, in the mean.
    """

    jaccard: NDArray[np.float64]
    adjusted_rand: float


def stability(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    n: int = 50,
    random_state: Any = None,
    n_jobs: int | None = None,
    **given: Any,
) -> Stability:
    """How far the components of a mixture come back in fits to rows drawn with replacement (Hennig, 2007).

    Each draw is fitted from the beginning, with the estimator's own starts.

    Parameters
    ----------
    estimator : estimator
        A fitted mixture, of densities or of regressions.
    X : array-like of shape (n, d)
        The data of the fit.
    y : array-like, default=None
        Responses, for regressions: rows are then told apart by them too.
    n : int, default=50
        How often rows are drawn.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int, default=None
        Processes. Results do not depend on it.
    **given
        What else the fit was given: ``offset``.

    Returns
    -------
    stability : Stability

    Raises
    ------
    ValueError
        If rows belong together, as sequences or groups, or ``n`` is less than 1.

    References
    ----------
    Hennig (2007), Cluster-wise assessment of cluster stability, Comput. Stat. Data Anal. 52.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.model_selection import stability
    >>> X = load_old_faithful().data
    >>> model = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
    >>> stability(model, X, n=10, random_state=0).jaccard.round(1)
    array([1., 1.])
    """
    check_is_fitted(estimator)
    _check_number("n", n)
    given = {name: value for name, value in {"y": y, **given}.items() if value is not None}
    if getattr(_see_again(estimator, X, given).data, "lengths", None) is not None:
        raise ValueError(
            "Stability is of rows that are drawn one by one, but here rows belong together, as sequences or "
            "groups: see bootstrap."
        )
    labels = _labels_of(estimator, X, given)
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=n)
    found = Parallel(n_jobs=n_jobs)(delayed(_labels_again)(estimator, X, given, seed) for seed in seeds)
    K = estimator.n_components
    here = labels == np.arange(K)[:, None]
    similar = []
    for other in found:
        there = other == np.arange(K)[:, None]
        both = here.astype(float) @ there.T
        either = here.sum(axis=1)[:, None] + there.sum(axis=1) - both
        similar.append((both / np.maximum(either, 1)).max(axis=1))
    agreement = np.mean([adjusted_rand_score(labels, other) for other in found])
    return Stability(np.mean(similar, axis=0), float(agreement))


def _labels_of(estimator, X, given):
    """The most probable component of each row."""
    posterior = getattr(estimator, "component_proba", None) or estimator.predict_proba
    labels: NDArray[np.int_] = posterior(X, **given).argmax(axis=1)
    return labels


def _labels_again(estimator, X, given, seed):
    rng = np.random.RandomState(seed)
    size = X.shape[0] if hasattr(X, "shape") else len(X)
    fitted = clone(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(X, sample_weight=np.bincount(rng.randint(size, size=size), minlength=size), **given)
    return _labels_of(fitted, X, given)


def _check_number(name, value):
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number from 1 on.")
