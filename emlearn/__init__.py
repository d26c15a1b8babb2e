"""Estimators fitted by Expectation-Maximization, compatible with scikit-learn."""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from emlearn._by_hand import match_components
from emlearn._show_versions import show_versions
from emlearn._version import __version__
from emlearn.hmm import HMMEM
from emlearn.impute import EMImputer, MultipleImputation, pool
from emlearn.missing import ampute, little_mcar_test, missing_patterns, overimpute
from emlearn.mixture import BayesianGaussianMixtureEM, GaussianMixtureEM, MixtureDiscriminant, MixtureEM
from emlearn.model_selection import InformationCriterionSearch, bootstrap, bootstrap_lrt, stability
from emlearn.regression import (
    MarkovSwitchingRegression,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)

__all__ = [
    "HMMEM",
    "BayesianGaussianMixtureEM",
    "EMImputer",
    "GaussianMixtureEM",
    "InformationCriterionSearch",
    "MarkovSwitchingRegression",
    "MixtureDiscriminant",
    "MixtureEM",
    "MixtureOfExperts",
    "MixtureOfExpertsClassifier",
    "MixtureOfLinearRegressions",
    "MultipleImputation",
    "__version__",
    "ampute",
    "bootstrap",
    "bootstrap_lrt",
    "little_mcar_test",
    "match_components",
    "missing_patterns",
    "overimpute",
    "pool",
    "show_versions",
    "stability",
]

_SUBMODULES = (
    "dask",
    "datasets",
    "display",
    "em",
    "families",
    "hmm",
    "impute",
    "inference",
    "latent",
    "metrics",
    "missing",
    "mixture",
    "model_selection",
    "regression",
    "sequences",
    "testing",
)


def __getattr__(name: str) -> _ModuleType:
    """A submodule that nothing has imported yet."""
    if name in _SUBMODULES:
        return _import_module(f"emlearn.{name}")
    raise AttributeError(f"module 'emlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_SUBMODULES]
