"""Which model: how many components, of which form, and how certain that is."""

from emlearn.model_selection._bootstrap import (
    Bootstrap,
    LikelihoodRatioTest,
    Stability,
    bootstrap,
    bootstrap_lrt,
    stability,
)
from emlearn.model_selection._search import InformationCriterionSearch

__all__ = [
    "Bootstrap",
    "InformationCriterionSearch",
    "LikelihoodRatioTest",
    "Stability",
    "bootstrap",
    "bootstrap_lrt",
    "stability",
]
