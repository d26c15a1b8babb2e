"""Latent structures: what is hidden, and how it is distributed."""

from emlearn.latent.grouped import Grouped
from emlearn.latent.markov_chain import ChainParams, ChainStats, MarkovChain, stationary_distribution
from emlearn.latent.mixture_weights import HeldWeights, MixtureWeights
from emlearn.latent.softmax_gate import GateStats, SoftmaxGate
from emlearn.latent.variational import DirichletChain, DirichletWeights, StickBreaking
from emlearn.latent.weights_by_group import WeightsByGroup

__all__ = [
    "ChainParams",
    "ChainStats",
    "DirichletChain",
    "DirichletWeights",
    "GateStats",
    "Grouped",
    "HeldWeights",
    "MarkovChain",
    "MixtureWeights",
    "SoftmaxGate",
    "StickBreaking",
    "WeightsByGroup",
    "stationary_distribution",
]
