"""Standard errors and tests as methods of estimators."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from emlearn.inference._estimates import Estimate, Inference, WaldTest
from emlearn.inference._summary import Summary, facts_of


class Inferring:
    """Methods that say how certain a fit is. An estimator says what it estimates, and reads data once more."""

    def _estimated(self):
        """Names of the attributes that are estimates."""
        raise NotImplementedError

    def _seen_again(self, X, **given):
        """What a fit to X, and to what else was given, saw: `SeenAgain`."""
        raise NotImplementedError

    def _at(self, model, params):
        """A copy with other parameters, in the engine's units."""
        other = copy.copy(self)
        other._take(model, params, self._units)
        return other

    def _check_is_density(self):
        """Refuse what has no maximum of a likelihood: posterior distributions, hard assignments."""
        check_is_fitted(self)
        if self._model is None or not getattr(self._model, "is_density", True):
            raise ValueError(
                f"This {type(self).__name__} is no maximum of a likelihood, whose parameters would have "
                "standard errors and whose height could be compared."
            )

    def infer(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        kind: str = "observed",
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Inference:
        """What the data of the fit tell of its parameters, and how certain that is.

        Parameters
        ----------
        X : array-like
            The data of the fit, as `fit` took them.
        y : array-like, default=None
            Responses, for regressions.
        sample_weight : array-like, default=None
            The weights of the fit. They count repetitions; of ``kind="robust"`` they may be those of a survey.
        kind : {"observed", "opg", "robust"}, default="observed"
            By the observed information, by the outer product of the scores of rows, sequences or groups, or by
            the sandwich of both (White, 1982), which holds where the model does not.
        groups : array-like of shape (n,), default=None
            The groups of the fit. Where it had none, rows of one group are taken as dependent: their scores are
            added up, for ``kind="opg"`` and ``"robust"``.
        offset : array-like of shape (n,), default=None
            Of regressions.
        lengths : array-like of int, default=None
            Of sequences.

        Returns
        -------
        inference : Inference
            Standard errors, intervals and tests, which the other methods give one by one.

        Raises
        ------
        ValueError
            If the estimator has no maximum of a likelihood, or something is given that its fit does not take.
        """
        self._check_is_density()
        others = {
            "y": y,
            "sample_weight": sample_weight,
            "groups": groups,
            "offset": offset,
            "lengths": lengths,
        }
        given = {name: value for name, value in others.items() if value is not None}
        takes = inspect.signature(self._seen_again).parameters
        for name in given:
            if name not in takes:
                raise ValueError(f"{name} is nothing that a {type(self).__name__} is fitted to: leave it out.")
        if groups is not None and kind == "observed" and not self._fits_groups:
            raise ValueError(
                "groups say which rows depend on one another, which the observed information cannot take into "
                "account: give kind='robust'."
            )
        return Inference(self, self._seen_again(X, **given), kind)

    _fits_groups = False  # whether groups were part of the model

    def summary(self, X: Any, y: Any = None, *, level: float = 0.95, **how: Any) -> Summary:
        """A table of the estimates, and of how the fit went.

        Parameters
        ----------
        X : array-like
            The data of the fit.
        y : array-like, default=None
        level : float, default=0.95
            Of the intervals.
        **how
            As of `infer`.

        Returns
        -------
        summary : Summary
            ``print`` it, or take ``to_frame()`` or ``to_latex()`` of it.

        Examples
        --------
        >>> from emlearn import GaussianMixtureEM
        >>> from emlearn.datasets import load_old_faithful
        >>> X = load_old_faithful(as_frame=True).data
        >>> model = GaussianMixtureEM(n_components=2, covariance_type="tied", random_state=0).fit(X)
        >>> print(model.summary(X))  # doctest: +ELLIPSIS
                              GaussianMixtureEM, 2 components
        ...
        means_[0, waiting]...
        """
        inference = self.infer(X, y, **how)
        given = {name: value for name, value in {"y": y, **how}.items() if value is not None and name != "kind"}
        title = f"{type(self).__name__}, {self.n_components} component{'s' * (self.n_components > 1)}"
        return Summary(title, facts_of(self, inference, X, given), inference, level)

    def standard_errors(self, X: Any, y: Any = None, **how: Any) -> dict[str, Any]:
        """Standard errors of the estimates.

        Parameters
        ----------
        X : array-like
            The data of the fit.
        y : array-like, default=None
        **how
            As of `infer`.

        Returns
        -------
        standard_errors : dict
            By the name of the attribute, of its shape, in its unit. NaN where an estimate lies on a boundary or
            cannot be told from the data.

        Examples
        --------
        >>> from emlearn import GaussianMixtureEM
        >>> from emlearn.datasets import load_old_faithful
        >>> X = load_old_faithful().data
        >>> model = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
        >>> model.standard_errors(X)["means_"].round(3)
        array([[0.031, 0.456],
               [0.027, 0.592]])
        """
        return self.infer(X, y, **how).standard_errors

    def confidence_intervals(self, X: Any, y: Any = None, *, level: float = 0.95, **how: Any) -> dict[str, Any]:
        """Intervals by the name of the attribute: see `Inference.confidence_intervals`.

        Parameters
        ----------
        X : array-like
            The data of the fit.
        y : array-like, default=None
        level : float, default=0.95
        **how
            As of `infer`.

        Returns
        -------
        intervals : dict of pairs (low, high)
            Each of the attribute's shape.
        """
        return self.infer(X, y, **how).confidence_intervals(level)

    def covariance_of_estimates(self, X: Any, y: Any = None, **how: Any) -> NDArray[np.float64]:
        """Covariance matrix of all estimates, in the order of `Inference.labels`.

        Parameters
        ----------
        X : array-like
            The data of the fit.
        y : array-like, default=None
        **how
            As of `infer`.

        Returns
        -------
        covariance : ndarray of shape (P, P)
        """
        return self.infer(X, y, **how).covariance

    def wald_test(self, X: Any, y: Any = None, *, R: ArrayLike, r: ArrayLike = 0.0, **how: Any) -> WaldTest:
        """Test that ``R @ estimates = r``: see `Inference.wald_test`.

        Parameters
        ----------
        X : array-like
            The data of the fit.
        y : array-like, default=None
        R : array-like of shape (q, P)
        r : array-like of shape (q,) or float, default=0.0
        **how
            As of `infer`.

        Returns
        -------
        test : WaldTest
        """
        return self.infer(X, y, **how).wald_test(R, r)

    def function_se(self, function: Callable[[Any], Any], X: Any, y: Any = None, **how: Any) -> Estimate:
        """Value and standard error of a function of the fitted estimator: see `Inference.function_se`.

        Parameters
        ----------
        function : callable
            ``function(estimator)`` gives a number or an array.
        X : array-like
            The data of the fit.
        y : array-like, default=None
        **how
            As of `infer`.

        Returns
        -------
        estimate : Estimate

        Examples
        --------
        >>> from emlearn import GaussianMixtureEM
        >>> from emlearn.datasets import load_old_faithful
        >>> X = load_old_faithful().data
        >>> model = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
        >>> apart = model.function_se(lambda e: e.means_[0] - e.means_[1], X)
        >>> apart.value.round(2), apart.standard_error.round(2)
        (array([ 2.25, 25.49]), array([0.04, 0.74]))
        """
        return self.infer(X, y, **how).function_se(function)

    def profile_likelihood(
        self, function: Callable[[Any], float] | str, X: Any, y: Any = None, *, level: float = 0.95, **how: Any
    ) -> tuple[float, float]:
        """Interval by the profile likelihood: see `Inference.profile_likelihood`.

        Parameters
        ----------
        function : callable or str
            ``function(estimator)`` gives the parameter; or a label, as ``"means_[0, 1]"``.
        X : array-like
            The data of the fit.
        y : array-like, default=None
        level : float, default=0.95
        **how
            As of `infer`.

        Returns
        -------
        low, high : float
        """
        return self.infer(X, y, **how).profile_likelihood(function, level)
