"""Mixtures of rows."""

from emlearn.mixture._bayesian import BayesianGaussianMixtureEM, MixturePosterior
from emlearn.mixture._gaussian_mixture import ConditionalMixture, GaussianMixtureEM
from emlearn.mixture._mixture import MixtureEM

__all__ = [
    "BayesianGaussianMixtureEM",
    "ConditionalMixture",
    "GaussianMixtureEM",
    "MixtureEM",
    "MixturePosterior",
]
