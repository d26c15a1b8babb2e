"""Hidden Markov models."""

from emlearn.hmm._filter import HMMFilter
from emlearn.hmm._hmm import HMMEM, Forecast
from emlearn.hmm._variational import HMMPosterior

__all__ = ["HMMEM", "Forecast", "HMMFilter", "HMMPosterior"]
