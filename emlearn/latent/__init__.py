"""Latent structures: what is hidden, and how it is distributed."""

from emlearn.latent.mixture_weights import MixtureWeights

__all__ = ["MixtureWeights"]
