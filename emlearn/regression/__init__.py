"""Mixtures of regressions and of experts, and regressions that switch."""

from emlearn.regression._experts import MixtureOfExperts, MixtureOfExpertsClassifier
from emlearn.regression._regressions import MixtureOfLinearRegressions
from emlearn.regression._switching import MarkovSwitchingRegression, RegimeForecast

__all__ = [
    "MarkovSwitchingRegression",
    "MixtureOfExperts",
    "MixtureOfExpertsClassifier",
    "MixtureOfLinearRegressions",
    "RegimeForecast",
]
