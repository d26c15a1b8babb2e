"""Estimators fitted by Expectation-Maximization, compatible with scikit-learn."""

from emlearn._show_versions import show_versions
from emlearn._version import __version__
from emlearn.hmm import HMMEM
from emlearn.mixture import GaussianMixtureEM

__all__ = ["HMMEM", "GaussianMixtureEM", "__version__", "show_versions"]
