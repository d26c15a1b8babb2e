"""Hidden Markov models."""

from emlearn.hmm._hmm import HMMEM, Forecast

__all__ = ["HMMEM", "Forecast"]
