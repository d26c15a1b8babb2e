"""How certain estimates are: standard errors, intervals, tests, tables."""

from emlearn.inference._check import PredictiveCheck, posterior_predictive_check
from emlearn.inference._estimates import Estimate, Inference, WaldTest
from emlearn.inference._residuals import PseudoResiduals
from emlearn.inference._summary import Summary

__all__ = [
    "Estimate",
    "Inference",
    "PredictiveCheck",
    "PseudoResiduals",
    "Summary",
    "WaldTest",
    "posterior_predictive_check",
]
