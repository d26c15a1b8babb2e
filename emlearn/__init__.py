"""Estimators fitted by Expectation-Maximization, compatible with scikit-learn."""

from emlearn._show_versions import show_versions
from emlearn._version import __version__
from emlearn.hmm import HMMEM
from emlearn.impute import EMImputer
from emlearn.mixture import GaussianMixtureEM

__all__ = ["HMMEM", "EMImputer", "GaussianMixtureEM", "__version__", "show_versions"]
