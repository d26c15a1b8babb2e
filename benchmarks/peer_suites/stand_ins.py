"""Classes that take the places of scikit-learn's: same names, same calls, emlearn's numbers.

They are as thin as they can be. `GaussianMixtureEM` and `BayesianGaussianMixtureEM` are called as they are,
with their own defaults, as by a user who changes an import. `EMImputer` is no chained equations: what says how
these go about it is dropped.
"""

import numpy as np
from sklearn.impute import SimpleImputer as TheirSimpleImputer

from emlearn import BayesianGaussianMixtureEM, EMImputer, GaussianMixtureEM

# Whether the test that runs has called a stand-in.
used = {"called": False}


class Called:
    """Notes that a test came to emlearn."""

    def fit(self, X, y=None, **kwargs):
        used["called"] = True
        return super().fit(X, y, **kwargs)

    def fit_transform(self, X, y=None, **kwargs):
        used["called"] = True
        return super().fit_transform(X, y, **kwargs)


class GaussianMixture(Called, GaussianMixtureEM):
    """scikit-learn's name."""

    def _n_parameters(self):
        return self.n_parameters_


class BayesianGaussianMixture(Called, BayesianGaussianMixtureEM):
    """scikit-learn's name."""


class IterativeImputer(Called, EMImputer):
    """scikit-learn's arguments: those that say how chained equations go about it are heard, and do nothing.

    Rounds of regressions are no iterations of EM, so that `max_iter` and `tol` are among them. These
    regressions shrink next to nothing, and so does ``ridge=0``.
    """

    def __init__(
        self,
        estimator=None,
        *,
        missing_values=np.nan,
        sample_posterior=False,
        max_iter=10,
        tol=1e-3,
        n_nearest_features=None,
        initial_strategy="mean",
        fill_value=None,
        imputation_order="ascending",
        skip_complete=False,
        min_value=-np.inf,
        max_value=np.inf,
        verbose=0,
        random_state=None,
        add_indicator=False,
        keep_empty_features=False,
    ):
        super().__init__(
            missing_values=missing_values,
            sample_posterior=sample_posterior,
            min_value=min_value,
            max_value=max_value,
            verbose=verbose,
            random_state=random_state,
            add_indicator=add_indicator,
            keep_empty_features=keep_empty_features,
            ridge=0.0,
        )
        self.estimator = estimator
        self.n_nearest_features = n_nearest_features
        self.initial_strategy = initial_strategy
        self.fill_value = fill_value
        self.imputation_order = imputation_order
        self.skip_complete = skip_complete

    _parameter_constraints = EMImputer._parameter_constraints | dict.fromkeys(
        (
            "estimator",
            "n_nearest_features",
            "initial_strategy",
            "fill_value",
            "imputation_order",
            "skip_complete",
        ),
        "no_validation",
    )


class MeanImputer(Called, EMImputer):
    """`SimpleImputer` where it takes means: by independent features each is imputed by its own."""

    def __init__(
        self,
        *,
        missing_values=np.nan,
        strategy="mean",
        fill_value=None,
        copy=True,
        add_indicator=False,
        keep_empty_features=False,
        covariance_type="diag",
        ridge=0.0,
    ):
        super().__init__(
            missing_values=missing_values,
            add_indicator=add_indicator,
            keep_empty_features=keep_empty_features,
            covariance_type=covariance_type,
            ridge=ridge,
        )
        self.strategy = strategy
        self.fill_value = fill_value
        self.copy = copy

    _parameter_constraints = EMImputer._parameter_constraints | dict.fromkeys(
        ("strategy", "fill_value", "copy"), "no_validation"
    )

    @property
    def statistics_(self):
        return self.mean_


def simple_imputer(*, strategy="mean", **params):
    """`SimpleImputer(...)`: ours for means, theirs for all else."""
    return (MeanImputer if strategy == "mean" else TheirSimpleImputer)(strategy=strategy, **params)


simple_imputer.__name__ = "SimpleImputer"
