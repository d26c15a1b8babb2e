"""Imputation of missing entries, and what goes on from there."""

from emlearn.impute._imputer import EMImputer
from emlearn.impute._multiple import MultipleImputation
from emlearn.impute._pooling import Pooled, PooledWaldTest, pool

__all__ = ["EMImputer", "MultipleImputation", "Pooled", "PooledWaldTest", "pool"]
