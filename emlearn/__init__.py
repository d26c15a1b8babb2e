"""Estimators fitted by Expectation-Maximization, compatible with scikit-learn."""

from emlearn._show_versions import show_versions
from emlearn._version import __version__
from emlearn.hmm import HMMEM
from emlearn.impute import EMImputer, MultipleImputation, pool
from emlearn.missing import ampute, little_mcar_test, missing_patterns, overimpute
from emlearn.mixture import GaussianMixtureEM
from emlearn.regression import MixtureOfExperts, MixtureOfExpertsClassifier, MixtureOfLinearRegressions

__all__ = [
    "HMMEM",
    "EMImputer",
    "GaussianMixtureEM",
    "MixtureOfExperts",
    "MixtureOfExpertsClassifier",
    "MixtureOfLinearRegressions",
    "MultipleImputation",
    "__version__",
    "ampute",
    "little_mcar_test",
    "missing_patterns",
    "overimpute",
    "pool",
    "show_versions",
]
