"""Gaussian mixtures."""

from emlearn.mixture._bayesian import BayesianGaussianMixtureEM, MixturePosterior
from emlearn.mixture._gaussian_mixture import ConditionalMixture, GaussianMixtureEM

__all__ = ["BayesianGaussianMixtureEM", "ConditionalMixture", "GaussianMixtureEM", "MixturePosterior"]
