"""A mixture for each class: discriminant analysis by density, where some classes may be unknown."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from emlearn._emissions.words import observed_kinds
from emlearn._sklearn_compat import BaseEstimator, Interval, StrOptions, _fit_context
from emlearn._typing import CovarianceType, RandomState
from emlearn.families import COVARIANCE_TYPES, Emission
from emlearn.mixture._mixture import MixtureEM


class MixtureDiscriminant(ClassifierMixin, BaseEstimator):
    r"""Classifier with a mixture for each class, which also learns from rows whose class is not known.

    .. math:: p(c \mid x) \propto \sum_{k \text{ of class } c} w_k \, p(x \mid k)

    One mixture of all components is fitted, in which rows of a class come from its components alone, and rows
    of unknown class from any. With one component for each class this is linear discriminant analysis
    (``covariance_type="tied"``), quadratic ("full"), or naive Bayes: Gaussian ("diag"), of counts
    (``emission="multinomial"``), of categories ("categorical") or 0 and 1 ("bernoulli").

    Parameters
    ----------
    n_components : int or dict of class -> int, default=1
        Number of components of each class.
    emission : str, dict or family object, default="gaussian"
        What rows of a component are, as of `MixtureEM`: a word, or a dict of columns of any kind.
    covariance_type : str, default="full"
        Form of Gaussian covariance matrices, as of `MixtureEM`. What is shared is shared by all classes.
    n_factors : int, default=10
        Number of factors, where `covariance_type` is "factor".
    n_categories : int or array-like of int, default=None
        Number of categories of each categorical column, or of all of them. None: as the data have.
    emission_prior : dict or float, default=None
        Priors of probabilities, as of `MixtureEM`. 1 + `alpha` for what scikit-learn's naive Bayes classifiers
        do with `alpha`.
    reg_covar : float, default=1e-9
        Least eigenvalue of a covariance matrix, relative to each feature's variance.
    unlabeled : object, default=None
        What stands in y for a class that is not known, as -1, beside None and NaN, which always do.
    tol : float, default=1e-4
        Stop when less than this is still to be gained in total, in nats.
    max_iter : int, default=1000
        Largest number of iterations of one start.
    n_init : int, default=40
        Most starts that are tried.
    n_jobs : int, default=None
        Threads that share the starts, and the rows of large data. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the starts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, sorted.
    class_prior_ : ndarray of shape (n_classes,)
        Weights of the classes.
    n_iter_ : int
        Number of iterations of the best start.
    mixture_ : MixtureEM
        The mixture of all components, those of the first class first.
    component_classes_ : ndarray of int of shape (K,)
        Which of `classes_` each component belongs to.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    MixtureEM : What is fitted; its `fit` takes ``labels`` of components.

    References
    ----------
    Hastie & Tibshirani (1996), Discriminant analysis by Gaussian mixtures, J. R. Stat. Soc. B 58. Fraley and
    Raftery (2002), Model-based clustering, discriminant analysis, and density estimation, JASA 97. Nigam,
    McCallum, Thrun & Mitchell (2000), Text classification from labeled and unlabeled documents using EM,
    Machine Learning 39.

    Examples
    --------
    Of 150 flowers the species of 15 is known:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from emlearn import MixtureDiscriminant
    >>> X, y = load_iris(return_X_y=True)
    >>> some = np.where(np.arange(150) % 10 == 0, y, -1)
    >>> model = MixtureDiscriminant(unlabeled=-1, random_state=0).fit(X, some)
    >>> print(f"{model.score(X, y):.3f}")
    0.973
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), dict],
        "emission": [str, dict, object],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "n_categories": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "emission_prior": [dict, Interval(Real, 0, None, closed="neither"), None],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "unlabeled": "no_validation",
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int | Mapping[Any, int] = 1,
        *,
        emission: str | dict[Any, Any] | Emission = "gaussian",
        covariance_type: CovarianceType = "full",
        n_factors: int = 10,
        n_categories: ArrayLike | None = None,
        emission_prior: dict[Any, Any] | float | None = None,
        reg_covar: float = 1e-9,
        unlabeled: Any = None,
        tol: float = 1e-4,
        max_iter: int = 1000,
        n_init: int = 40,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.emission = emission
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.n_categories = n_categories
        self.emission_prior = emission_prior
        self.reg_covar = reg_covar
        self.unlabeled = unlabeled
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixtures of all classes together.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations; NaN is a missing entry.
        y : array-like of shape (n,)
            Classes; None, NaN or `unlabeled` where one is not known.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        self : MixtureDiscriminant

        Raises
        ------
        ValueError
            If no class is known, ``n_components`` lacks a class or names one that is not there, or as of
            `MixtureEM.fit`.
        """
        if y is None:
            raise ValueError("MixtureDiscriminant requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        known = ~_is_missing(y, self.unlabeled)
        if not known.any():
            raise ValueError("y knows no class at all: give those of some rows.")
        check_classification_targets(y[known])
        classes, codes = np.unique(y[known], return_inverse=True)
        counts = self._counts(classes)
        of_component = np.repeat(np.arange(len(classes)), counts)
        possible = np.ones((len(y), len(of_component)), dtype=bool)
        possible[known] = of_component == codes[:, None]
        params = {name: value for name, value in self.get_params(deep=False).items() if name in OF_MIXTURE}
        mixture = MixtureEM(len(of_component), **params)
        mixture.fit(X, sample_weight=sample_weight, labels=possible)
        self.classes_, self.mixture_, self.component_classes_ = classes, mixture, of_component
        self.n_iter_ = mixture.n_iter_
        self.class_prior_ = self._by_class(mixture.weights_[None])[0]
        self.n_features_in_ = mixture.n_features_in_
        vars(self).pop("feature_names_in_", None)
        if hasattr(mixture, "feature_names_in_"):
            self.feature_names_in_ = mixture.feature_names_in_
        return self

    def _counts(self, classes):
        """Number of components of each class."""
        if not isinstance(self.n_components, Mapping):
            return np.full(len(classes), self.n_components)
        given, known = dict(self.n_components), classes.tolist()
        for name in given:
            if name not in known:
                raise ValueError(f"n_components names the class {name!r}, but y has {known}.")
        for name in known:
            if name not in given:
                raise ValueError(f"n_components does not say how many components the class {name!r} has.")
        counts = [given[name] for name in known]
        if not all(isinstance(n, Integral) and n >= 1 for n in counts):
            raise ValueError(f"n_components={given} must hold whole numbers, 1 or more.")
        return np.array(counts)

    def _by_class(self, values):
        """Sums (n, n_classes) of values (n, K) of the components of each class."""
        return values @ (self.component_classes_[:, None] == np.arange(len(self.classes_)))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
            Rows sum to 1; a row that no component can have, as of a category never seen, has the weights of the
            classes.
        """
        check_is_fitted(self)
        proba = self._by_class(self.mixture_.predict_proba(X))
        proba[~proba.any(axis=1)] = self.class_prior_
        return proba

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        y : ndarray of shape (n,)
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        kinds = observed_kinds(self.emission)
        tags.input_tags.categorical = tags.input_tags.string = "codes" in kinds
        tags.input_tags.positive_only = "numbers" not in kinds
        return tags


# Parameters that are those of the mixture.
OF_MIXTURE = set(MixtureEM._get_param_names()) - {"n_components"}


def _is_missing(y, unlabeled):
    """Which entries of y stand for a class that is not known."""
    if y.dtype.kind == "f":
        missing = np.isnan(y)
    elif y.dtype == object:
        missing = np.array([entry is None or entry != entry for entry in y], dtype=bool)
    else:
        missing = np.zeros(len(y), dtype=bool)
    if unlabeled is not None:
        missing |= np.array([entry == unlabeled for entry in y.tolist()], dtype=bool)
    return missing
