"""Scorers for searches and cross-validation: how well a fitted density describes rows, held out or not.

A regressor's own score is R², which cannot tell how many components there are: the mean hardly depends on them.
These judge the distribution. They ask for ``sample_weight``, ``groups`` and ``offset``, which scikit-learn
hands over where metadata routing is enabled.
"""

from __future__ import annotations

import copy
import inspect
from functools import partial
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from emlearn.base import EMMixin
from emlearn.inference._summary import criterion_of

__all__ = [
    "DensityScorer",
    "aic_scorer",
    "bic_scorer",
    "icl_scorer",
    "log_density_scorer",
    "loo_scorer",
    "sabic_scorer",
]

# Criteria that are found from the model, whatever it is.
OF_THE_MODEL = ("sabic", "loo")
# What may stand beside the rows, and is asked for.
BESIDE = ("sample_weight", "groups", "offset")


class DensityScorer:
    """A scorer ``scorer(estimator, X, y)`` of a density; greater is better.

    There are six of them, ready to be used: `log_density_scorer`, `aic_scorer`, `bic_scorer`, `sabic_scorer`,
    `icl_scorer`, `loo_scorer`. Each takes every estimator of the library that has such a density or criterion,
    also at the end of a Pipeline.

    Parameters
    ----------
    name : {"log_density", "aic", "bic", "sabic", "icl", "loo"}
        What is scored.

    Examples
    --------
    >>> from emlearn import MixtureOfLinearRegressions
    >>> from emlearn.datasets import load_npreg
    >>> from emlearn.metrics import log_density_scorer
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> npreg = load_npreg(as_frame=True)
    >>> search = GridSearchCV(
    ...     MixtureOfLinearRegressions(family="poisson", random_state=0),
    ...     {"n_components": [1, 2]},
    ...     scoring=log_density_scorer,
    ...     cv=KFold(4, shuffle=True, random_state=0),
    ... )
    >>> search.fit(npreg.data, npreg.yp).best_params_
    {'n_components': 2}
    """

    def __init__(self, name: str):
        self._name = name
        self._requests: dict[str, bool | str | None] = dict.fromkeys(BESIDE, True)

    def __repr__(self) -> str:
        return f"{self._name}_scorer"

    def set_score_request(self, **requests: bool | str | None) -> DensityScorer:
        """A scorer that asks for other metadata, or by other names; this one stays as it is.

        Parameters
        ----------
        **requests : bool, str or None
            For ``sample_weight``, ``groups`` and ``offset``: True asks for it, False does not, None has
            scikit-learn refuse it, and a text is the name under which it is passed.

        Returns
        -------
        scorer : DensityScorer

        Raises
        ------
        ValueError
            If there is no such metadata.
        """
        unknown = sorted(requests.keys() - self._requests.keys())
        if unknown:
            raise ValueError(f"{self!r} takes {', '.join(BESIDE)}, but not {', '.join(unknown)}.")
        other = copy.copy(self)
        other._requests = {**self._requests, **requests}
        return other

    def get_metadata_routing(self) -> MetadataRequest:
        """What scikit-learn is asked to hand over."""
        request = MetadataRequest(owner=self)
        for name, alias in self._requests.items():
            request.score.add_request(param=name, alias=alias)
        return request

    def __call__(self, estimator: Any, X: Any, y: Any = None, **beside: Any) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : estimator of the library, or Pipeline that ends with one
            Fitted.
        X : array-like
            What it takes as X.
        y : array-like, default=None
            Responses, of those that have any.
        **beside
            ``sample_weight``, ``groups`` and ``offset``; what the estimator does not take is refused.

        Returns
        -------
        score : float
            The mean log-density of an observation in nats, by weight; or minus the criterion.

        Raises
        ------
        TypeError
            If the estimator has no such density or criterion.
        ValueError
            If it was fitted with ``groups`` or an ``offset``, and there are none here.
        """
        while isinstance(estimator, Pipeline):
            if len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        judge, takes = self._judge(estimator)
        given = {name: value for name, value in beside.items() if value is not None}
        # Groups may be meant for the splitter alone: a fit that had none is one of rows.
        if "groups" in given and "groups" not in getattr(estimator, "_had", BESIDE):
            del given["groups"]
        unknown = sorted(given.keys() - takes.keys())
        if unknown:
            listed, kind = ", ".join(unknown), type(estimator).__name__
            raise TypeError(f"{self!r} was given {listed}, which {kind} does not take.")
        if "y" in takes:
            given["y"] = y
        value = float(judge(X, **given))
        return value if self._name == "log_density" else -value

    def _judge(self, estimator: Any) -> tuple[Any, Any]:
        """The function that tells, and the names of what it takes."""
        kind = type(estimator).__name__
        if isinstance(estimator, EMMixin):
            if self._name in OF_THE_MODEL:
                takes = inspect.signature(estimator._seen_again).parameters
                return partial(criterion_of, estimator, self._name), takes
            if self._name != "log_density":
                method = getattr(estimator, self._name, None)
            elif hasattr(estimator, "_mean_log_density"):  # those whose score is another
                method = estimator._mean_log_density
            else:
                method = getattr(estimator, "score", None) if hasattr(estimator, "score_samples") else None
            if method is not None:
                return method, inspect.signature(method).parameters
        what = "density of its own" if self._name == "log_density" else self._name
        raise TypeError(f"{self!r} judges estimators of emlearn by what they fit, but {kind} has no {what}.")


#: Mean log-density of held-out observations, in nats.
log_density_scorer = DensityScorer("log_density")
#: Minus Akaike's information criterion.
aic_scorer = DensityScorer("aic")
#: Minus the Bayesian information criterion.
bic_scorer = DensityScorer("bic")
#: Minus the integrated completed likelihood.
icl_scorer = DensityScorer("icl")
#: Minus the BIC adjusted for the sample size (Sclove, 1987).
sabic_scorer = DensityScorer("sabic")
#: Twice the log-likelihood of each row of a fit by the parameters that an M-step without it leads to.
loo_scorer = DensityScorer("loo")
