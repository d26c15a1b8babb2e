"""Multiple imputation: models fitted to many completed data sets, their predictions averaged."""

from __future__ import annotations

import copy
import importlib
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MetaEstimatorMixin, clone, is_classifier, is_regressor
from sklearn.impute import MissingIndicator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state, check_X_y, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from emlearn._input.arrays import as_one_column
from emlearn._input.mixed_table import find_categories
from emlearn._input.tables import as_numpy, read_table
from emlearn._sklearn_compat import (
    BaseEstimator,
    CallbackSupportMixin,
    Interval,
    _fit_context,
    available_if,
    in_container,
    validate_data,
    with_callbacks,
)
from emlearn._typing import RandomState
from emlearn.base import all_or_nothing
from emlearn.em import Affine, one_blas_thread
from emlearn.impute._draws import redraws
from emlearn.impute._imputer import EMImputer

FLOATS = [np.float64, np.float32]
CONTAINERS = ("pandas", "polars")  # data frames that imputers can return
# Directions of the standardised targets that vary less, relatively, are rounding.
NO_SPREAD = 1e-7


def _models_have(method):
    """Check, for ``available_if``, that the estimator has a method; its own error says why not."""

    def check(self):
        models = getattr(self, "estimators_", [self.estimator])
        getattr(models[0], method)
        return True

    return check


class MultipleImputation(CallbackSupportMixin, MetaEstimatorMixin, BaseEstimator):
    """A regressor or classifier fitted to many completed data sets, whose predictions are averaged.

    An `EMImputer` learns the joint distribution of the features and the target. Each imputation draws its
    parameters anew and then the missing entries, given the features that are there and the target, and has
    a model of its own fitted to what that completes, so that the models differ by what is not known. For
    prediction each sees missing entries at their means given the other features, under the parameters that
    were drawn for it, so that predictions do not depend on chance, or on which rows come together.

    Parameters
    ----------
    estimator : estimator
        Regressor or classifier to fit, such as a `Pipeline`.
    n_imputations : int, default=20
        Number of completed data sets, m; two at least.
    imputer : EMImputer, default=None
        What completes X; None for ``EMImputer()``, which it becomes where ``imputer__...`` is set. Whatever it
        says of features, such as `missing_values` and `min_value`, it says of those of X, not of y. Its
        `sample_posterior` does not matter.
    n_jobs : int, default=None
        Threads that share the imputations. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the imputations, and every `random_state` of the estimator; that of the imputer where it
        is None.

    Attributes
    ----------
    imputer_ : EMImputer
        The distribution of X, from the fit to X and y together. What it says of that fit, such as
        `converged_`, `log_likelihood_` and `fraction_missing_information_`, is of both.
    imputers_ : list of EMImputer
        One for each imputation, with the parameters that were drawn for it. They impute means given X alone.
    estimators_ : list of estimators
        The model fitted to each completed data set.
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes. Only for classifiers.
    coef_ : ndarray
        Mean of the models' coefficients, where they have any.
    intercept_ : float or ndarray
        Mean of the models' intercepts, where they have any.
    coef_between_std_ : ndarray
        Standard deviation of the coefficients between imputations: what is not known of them because entries
        are missing. The standard errors within a data set are not among what scikit-learn's models give; the
        last example shows how to have both.
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them. The models are then fitted to data frames.

    See Also
    --------
    EMImputer : The imputer.
    pool : Estimates and standard errors of many imputations in one.

    Notes
    -----
    Imputation sees y, as columns beside those of X: the targets, or indicators of the classes. What is drawn
    for a feature then goes with y as the feature itself does. Without y it would not, and coefficients would
    be drawn towards zero in proportion to what is missing (Moons et al., 2006). So y must have no missing
    entries: leave rows without it out, or impute it too, as in the last example. Its units do not matter.
    Prediction sees X alone: y is integrated out of each imputer of `imputers_`.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys, Wiley. Moons, Donders, Stijnen & Harrell
    (2006), Using the outcome for imputation of missing predictor values was preferred, J. Clin. Epidemiol. 59.

    Examples
    --------
    >>> from emlearn import MultipleImputation
    >>> from emlearn.datasets import load_airquality
    >>> from sklearn.linear_model import LinearRegression
    >>> data = load_airquality().data[:, :4]
    >>> X, y = data[:, :3], data[:, 3]  # ozone, sunshine and wind; temperature
    >>> model = MultipleImputation(LinearRegression(), random_state=0).fit(X, y)
    >>> model.predict([[40.0, 200.0, 10.0], [40.0, float("nan"), 10.0]]).round()
    array([78., 78.])

    Pooled estimates and standard errors of a regression of ozone, which has missing entries itself, on the
    others:

    >>> import numpy as np
    >>> from emlearn import EMImputer, pool
    >>> def least_squares(Z):
    ...     A, y = np.column_stack([np.ones(len(Z)), Z[:, 1:]]), Z[:, 0]
    ...     coef, rss, *_ = np.linalg.lstsq(A, y)
    ...     variance = rss / (len(Z) - A.shape[1]) * np.diag(np.linalg.inv(A.T @ A))
    ...     return coef, np.sqrt(variance)
    >>> completed = EMImputer(random_state=0).fit(data).sample(data)
    >>> coefs, errors = zip(*map(least_squares, completed))
    >>> pooled = pool(coefs, errors, df_complete=len(data) - 4)
    >>> for name, b, e in zip(["1", "sunshine", "wind", "temperature"], pooled.estimate, pooled.standard_error):
    ...     print(f"{name:12}{b:7.2f} +- {e:.2f}")
    1            -70.51 +- 21.51
    sunshine       0.06 +- 0.02
    wind          -2.97 +- 0.66
    temperature    1.68 +- 0.23
    """

    imputer_: EMImputer
    imputers_: list[EMImputer]
    estimators_: list[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    _parameter_constraints: dict = {
        "estimator": "no_validation",
        "n_imputations": [Interval(Integral, 2, None, closed="left")],
        "imputer": [EMImputer, None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        n_imputations: int = 20,
        *,
        imputer: EMImputer | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.n_imputations = n_imputations
        self.imputer = imputer
        self.n_jobs = n_jobs
        self.random_state = random_state

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of the estimator and imputer too (``imputer__ridge``).

        Parameters
        ----------
        **params
            By name.

        Returns
        -------
        self : MultipleImputation
        """
        if params.get("imputer", self.imputer) is None and any(name.startswith("imputer__") for name in params):
            params = {**params, "imputer": EMImputer()}  # what None stands for
        return super().set_params(**params)

    # -- fit ---------------------------------------------------------------------------------------------

    @with_callbacks
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the imputer, and a model to each completed data set.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations; NaN, or the imputer's `missing_values`, is a missing entry.
        y : array-like of shape (n,) or (n, q)
            Targets, none of them missing; several only for regressors that take them.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts, in imputation and for the models.

        Returns
        -------
        self : MultipleImputation

        Raises
        ------
        ValueError
            If the estimator is neither a regressor nor a classifier, or does not take weights that are given,
            if y has missing entries, or of what `EMImputer.fit` and the estimator refuse.
        """
        self._check_estimator(sample_weight)
        rng = check_random_state(self.random_state)
        imputer = EMImputer() if self.imputer is None else clone(self.imputer)
        _set_seeds(imputer, rng, only_none=True)
        X = as_numpy(X)
        self._of_categories = bool(find_categories(X, imputer.categorical))
        X, y = self._read_training(X, y)
        imputer.set_output(transform=self._container or "default")
        entries = imputer._read(X, reset=True)
        if np.isnan(entries).all():
            raise ValueError("Every entry of X is missing: there is nothing to learn from.")
        imputer.indicator_ = None
        if imputer.add_indicator:
            imputer.indicator_ = MissingIndicator(error_on_new=False).fit(entries[:, imputer._first_columns])
        weight = imputer._check_weight(sample_weight, entries)
        targets = _as_columns(y, weight, is_classifier(self.estimator)).astype(entries.dtype)
        beside = np.hstack([entries, targets])
        context = self._init_callback_context(max_subtasks=1 + self.n_imputations, sequential_subtasks=False)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        joint = _fit_joint(imputer, beside, weight, context)
        Z = joint._modelled(beside)
        self.imputer_ = _without_targets(joint, imputer)
        redrawn = redraws(joint, Z, weight, "auto")
        given = {} if weight is None else {"sample_weight": weight}

        def fit_one(task, imputation_seed, model_seed):
            task.call_on_fit_task_begin(estimator=self, X=X, y=y)
            drawn = redrawn(imputation_seed)
            alone = _without_targets(drawn, imputer).set_params(sample_posterior=False, n_jobs=1)
            model = clone(self.estimator)
            _set_seeds(model, np.random.RandomState(model_seed))
            filled = drawn._imputed(beside)[:, : entries.shape[1]]
            with _told_of(task, model):
                model.fit(self._completed(alone, X, entries, filled), y, **given)
            task.call_on_fit_task_end(estimator=self, X=X, y=y)
            return alone, model

        seeds = rng.randint(np.iinfo(np.int32).max, size=(self.n_imputations, 2))
        tasks = [context.subcontext(task_name="imputation", task_id=1 + i) for i in range(self.n_imputations)]
        fits = self._spread(fit_one, [(task, *pair) for task, pair in zip(tasks, seeds, strict=True)])
        self.imputers_, self.estimators_ = map(list, zip(*fits, strict=True))
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _check_estimator(self, sample_weight):
        estimator = self.estimator
        is_one = hasattr(estimator, "__sklearn_tags__") and not isinstance(estimator, type)
        if not is_one or not (is_regressor(estimator) or is_classifier(estimator)):
            raise ValueError(f"estimator={estimator!r} is neither a regressor nor a classifier: give one.")
        if sample_weight is not None and not has_fit_parameter(estimator, "sample_weight"):
            raise ValueError(f"sample_weight is given, but {type(estimator).__name__}.fit does not take it.")

    def _read_training(self, X, y):
        """X as `_read` gives it, and y as the models take it."""
        of_classes = is_classifier(self.estimator)
        of_many = get_tags(self).target_tags.multi_output
        y = y if of_many else as_one_column("y", y)
        how_y = {"multi_output": of_many, "y_numeric": not of_classes}
        if self._of_categories:  # X is then read by the imputer
            validate_data(self, X, skip_check_array=True)
            _, y = check_X_y(np.zeros((len(X), 1)), y, **how_y)
        else:
            _, y = validate_data(self, read_table(X), y, dtype=FLOATS, ensure_all_finite=False, **how_y)
        if of_classes:
            check_classification_targets(y)
        named = hasattr(self, "feature_names_in_")
        package = type(X).__module__.partition(".")[0]
        self._container = (package if package in CONTAINERS else CONTAINERS[0]) if named else None
        return self._read(X), y

    def _read(self, X):
        """X as floats, in a data frame if it had names at fit: then everything inside knows them too.

        With categories it stays as it is.
        """
        if self._of_categories:
            X = as_numpy(X)
            validate_data(self, X, reset=False, skip_check_array=True)
            return X
        values = validate_data(self, read_table(X), reset=False, dtype=FLOATS, ensure_all_finite=False)
        return self._table(values, getattr(self, "feature_names_in_", None), X)

    def _table(self, values, names, X):
        """An array; or if X had names at fit a data frame, with the index of X if it has one."""
        if self._container is None:
            return values
        package = importlib.import_module(self._container)
        if self._container == "polars":
            return package.DataFrame(values, schema=list(names))
        return package.DataFrame(values, columns=names, index=X.index if hasattr(X, "iloc") else None)

    def _completed(self, imputer, X, entries, filled):
        """What an imputer makes of X, which it has read as ``entries`` and filled."""
        return in_container(imputer._as_given(X, entries, filled), X, imputer)

    def _spread(self, function, arguments):
        """Results of ``function(*arguments)`` for each imputation, by threads."""
        with one_blas_thread():
            tasks = (delayed(function)(*each) for each in arguments)
            return Parallel(n_jobs=self.n_jobs, require="sharedmem")(tasks)

    # -- after fit ---------------------------------------------------------------------------------------

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the target of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            NaN, or the imputer's `missing_values`, is a missing entry.

        Returns
        -------
        y : ndarray of shape (n,) or (n, q)
            Mean of the models' predictions; of classes the one with the greatest mean probability. Where a
            classifier has no ``predict_proba``, the class that most models predict, of several the first.
        """
        check_is_fitted(self)
        if not is_classifier(self.estimators_[0]):
            return np.mean(self._of_models("predict", X), axis=0)
        if hasattr(self, "predict_proba"):
            support = self.predict_proba(X)
        else:
            labels = np.array(self._of_models("predict", X))
            support = np.stack([(labels == label).sum(axis=0) for label in self.classes_], axis=1)
        return self.classes_[support.argmax(axis=1)]

    @available_if(_models_have("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class, the mean over the models. For classifiers that have it.

        Parameters
        ----------
        X : array-like of shape (n, d)
            NaN, or the imputer's `missing_values`, is a missing entry.

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
            Columns are in the order of `classes_`.
        """
        check_is_fitted(self)
        return np.mean(self._of_models("predict_proba", X), axis=0)

    @available_if(_models_have("decision_function"))
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Confidence in the classes, the mean over the models. For classifiers that have it.

        Parameters
        ----------
        X : array-like of shape (n, d)
            NaN, or the imputer's `missing_values`, is a missing entry.

        Returns
        -------
        decision : ndarray of shape (n,) or (n, n_classes)
            As of the estimator.
        """
        check_is_fitted(self)
        return np.mean(self._of_models("decision_function", X), axis=0)

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy of a classifier, coefficient of determination R² of a regressor.

        Parameters
        ----------
        X : array-like of shape (n, d)
            NaN, or the imputer's `missing_values`, is a missing entry.
        y : array-like of shape (n,) or (n, q)
            True targets.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts.

        Returns
        -------
        score : float
        """
        metric = accuracy_score if is_classifier(self) else r2_score
        return metric(y, self.predict(X), sample_weight=sample_weight)

    def _of_models(self, method, X):
        """What a method of each model gives for X, completed by the means of its own imputer."""
        X = self._read(X)
        entries = self.imputer_._read(X, reset=False)

        def of_one(imputer, model):
            return getattr(model, method)(self._completed(imputer, X, entries, imputer._imputed(entries)))

        return self._spread(of_one, zip(self.imputers_, self.estimators_, strict=True))

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels of the classes, (n_classes,)."""
        check_is_fitted(self)
        return self.estimators_[0].classes_

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Mean of the models' coefficients."""
        return self._over_models("coef_").mean(axis=0)

    @property
    def intercept_(self) -> float | NDArray[np.float64]:
        """Mean of the models' intercepts."""
        mean = self._over_models("intercept_").mean(axis=0)
        return float(mean) if mean.ndim == 0 else mean

    @property
    def coef_between_std_(self) -> NDArray[np.float64]:
        """Standard deviation of the models' coefficients."""
        return self._over_models("coef_").std(axis=0, ddof=1)

    def _over_models(self, attribute):
        """An attribute of all models, (m, ...)."""
        check_is_fitted(self)
        values = [np.asarray(getattr(model, attribute)) for model in self.estimators_]
        if len({value.shape for value in values}) > 1:
            raise AttributeError(f"The models differ in the shape of {attribute}: there is no mean of it.")
        return np.array(values, dtype=np.float64)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        own = get_tags(self.estimator)
        tags.estimator_type = own.estimator_type
        tags.classifier_tags, tags.regressor_tags = own.classifier_tags, own.regressor_tags
        tags.target_tags = own.target_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        reads_nan = self.imputer is None or get_tags(self.imputer).input_tags.allow_nan
        tags.input_tags.allow_nan = reads_nan
        return tags


def _set_seeds(estimator, rng, only_none=False):
    """Give every `random_state` of an estimator, however deep, a seed; or only where it is None."""
    params = estimator.get_params(deep=True)
    names = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    seeds = {name: rng.randint(np.iinfo(np.int32).max) for name in names}
    estimator.set_params(**{k: v for k, v in seeds.items() if params[k] is None or not only_none})


# -- imputation with targets -------------------------------------------------------------------------------


def _as_columns(y, weight, of_classes):
    """What targets, or indicators of classes, tell: as few columns as do, uncorrelated, of unit variance."""
    if of_classes:
        classes, y = np.unique(y, return_inverse=True)
        y = y[:, None] == np.arange(1, len(classes))
    Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    counted = slice(None) if weight is None else weight > 0
    largest = np.abs(Y[counted]).max(axis=0)
    Y = Y / np.where(largest > 0, largest, 1.0)  # whose squares are within floating point
    Y -= Y[counted].mean(axis=0)
    spread = Y[counted].std(axis=0)
    Y /= np.where(spread > 4 * np.finfo(np.float64).eps, spread, np.inf)
    _, size, axes = np.linalg.svd(Y[counted] / np.sqrt(len(Y[counted])), full_matrices=False)
    axes *= np.where(axes[:, :1] < 0, -1.0, 1.0)
    some = size > NO_SPREAD
    return Y @ (axes[some].T / size[some])


class _JointImputer(EMImputer):
    """An imputer of features with the columns of a target beside them, which messages call y."""

    _of_features = None  # the imputer of the features alone, which has read them

    def _column_name(self, column):
        alone = self._of_features
        return alone._column_name(column) if column < len(alone._feature_of) else "y"

    @property
    def _feature_of(self):
        own = self._of_features._feature_of
        return np.concatenate([own, own.max() + np.arange(1, self.n_features_in_ - len(own) + 1)])

    @property
    def _nominal(self):
        return self._of_features._nominal

    def _integers(self):
        return self._of_features._integers()


@contextmanager
def _told_of(task, estimator):
    """Within it callbacks that go down to other estimators hear of this one, if it has any."""
    if not hasattr(estimator, "set_callbacks") or not hasattr(task, "propagate_callback_context"):
        yield
        return
    with task.propagate_callback_context(estimator):
        yield


def _fit_joint(imputer, entries, weight, context):
    """An imputer of X, with columns of the target beside it, as ``imputer``, which has read X, is to be one."""
    unlimited = np.full(entries.shape[1] - len(imputer._feature_of), np.inf)
    least, most = np.hstack([imputer._check_limits(), [-unlimited, unlimited]])
    joint = _JointImputer(**imputer.get_params(deep=False)).set_output(transform="default")
    joint.set_params(missing_values=np.nan, sample_posterior=True, min_value=least, max_value=most)
    joint.set_params(categorical=None, integer=None)
    joint._of_features = imputer
    task = context.subcontext(task_name="imputer", task_id=0)
    task.call_on_fit_task_begin(estimator=imputer, X=entries, y=None)
    with _told_of(task, joint):
        joint.fit(entries, sample_weight=weight)
    task.call_on_fit_task_end(estimator=imputer, X=entries, y=None)
    return joint


def _without_targets(joint, imputer):
    """The distribution of X that is left of the joint one; in all else as ``imputer``, which has read X."""
    d = len(imputer._feature_of)
    own = np.flatnonzero(joint._features < d)
    alone = copy.copy(imputer)
    of_fit = vars(joint).keys() - vars(imputer).keys() - {"_of_features"}
    vars(alone).update({name: getattr(joint, name) for name in of_fit})
    alone._features = joint._features[own]
    for name in ("_empty", "_available_mean"):
        setattr(alone, name, getattr(joint, name)[:d])
    alone.missing_fraction_ = joint.missing_fraction_[imputer._first_columns]
    family = joint._params.family
    if len(own):
        family = joint._model.family.marginal(family, own)
    units = Affine(*(values[own] for values in joint._units))
    alone._take(joint._model, joint._params._replace(family=family), units)
    alone.n_parameters_ = joint.n_parameters_
    return alone
