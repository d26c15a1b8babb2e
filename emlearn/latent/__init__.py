"""Latent structures: what is hidden, and how it is distributed."""

from emlearn.latent.markov_chain import ChainParams, ChainStats, MarkovChain, stationary_distribution
from emlearn.latent.mixture_weights import MixtureWeights

__all__ = ["ChainParams", "ChainStats", "MarkovChain", "MixtureWeights", "stationary_distribution"]
