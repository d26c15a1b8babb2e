"""Gaussian mixtures."""

from emlearn.mixture._gaussian_mixture import ConditionalMixture, GaussianMixtureEM

__all__ = ["ConditionalMixture", "GaussianMixtureEM"]
