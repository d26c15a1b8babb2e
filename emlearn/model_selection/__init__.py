"""Which model: how many components, of which form."""

from emlearn.model_selection._search import InformationCriterionSearch

__all__ = ["InformationCriterionSearch"]
