"""Mixtures of rows."""

from emlearn.mixture._bayesian import BayesianGaussianMixtureEM, MixturePosterior
from emlearn.mixture._conditional import ConditionalMixture, MixedConditional
from emlearn.mixture._discriminant import MixtureDiscriminant
from emlearn.mixture._gaussian_mixture import GaussianMixtureEM
from emlearn.mixture._mixture import MixtureEM

__all__ = [
    "BayesianGaussianMixtureEM",
    "ConditionalMixture",
    "GaussianMixtureEM",
    "MixedConditional",
    "MixtureDiscriminant",
    "MixtureEM",
    "MixturePosterior",
]
