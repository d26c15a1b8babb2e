"""Mixtures of regressions, and mixtures of experts."""

from emlearn.regression._experts import MixtureOfExperts, MixtureOfExpertsClassifier
from emlearn.regression._regressions import MixtureOfLinearRegressions

__all__ = ["MixtureOfExperts", "MixtureOfExpertsClassifier", "MixtureOfLinearRegressions"]
