"""Know your gaps: which entries are missing, whether at random, and how well imputation restores them."""

from emlearn.missing._ampute import ampute
from emlearn.missing._little import LittleTest, little_mcar_test
from emlearn.missing._overimpute import Overimputed, overimpute
from emlearn.missing._patterns import MissingPatterns, missing_patterns

__all__ = [
    "LittleTest",
    "MissingPatterns",
    "Overimputed",
    "ampute",
    "little_mcar_test",
    "missing_patterns",
    "overimpute",
]
