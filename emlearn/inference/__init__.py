"""How certain estimates are: standard errors, intervals, tests."""

from emlearn.inference._estimates import Estimate, Inference, WaldTest

__all__ = ["Estimate", "Inference", "WaldTest"]
