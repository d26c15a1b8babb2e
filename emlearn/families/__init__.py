"""Families of densities: what is seen, given what is hidden."""

from emlearn.families.base import ExponentialFamily
from emlearn.families.categorical import Categorical, CategoricalParams
from emlearn.families.gaussian import (
    COVARIANCE_SHAPES,
    Gaussian,
    GaussianParams,
    GaussianTotals,
)
from emlearn.families.poisson import Poisson, PoissonParams

__all__ = [
    "COVARIANCE_SHAPES",
    "Categorical",
    "CategoricalParams",
    "ExponentialFamily",
    "Gaussian",
    "GaussianParams",
    "GaussianTotals",
    "Poisson",
    "PoissonParams",
]
