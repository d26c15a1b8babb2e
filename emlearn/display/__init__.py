"""Pictures of fitted models. matplotlib is imported only when something is drawn."""

from emlearn.display._certainty import CertaintyDisplay
from emlearn.display._convergence import ConvergenceDisplay
from emlearn.display._hmm import HMMDisplay
from emlearn.display._inference import InferenceDisplay, ModelSelectionDisplay
from emlearn.display._missing_patterns import MissingPatternDisplay
from emlearn.display._mixture import MixtureDisplay
from emlearn.display._overimpute import OverimputeDisplay
from emlearn.display._regression_mixture import RegressionMixtureDisplay
from emlearn.display._residuals import ResidualDisplay

__all__ = [
    "CertaintyDisplay",
    "ConvergenceDisplay",
    "HMMDisplay",
    "InferenceDisplay",
    "MissingPatternDisplay",
    "MixtureDisplay",
    "ModelSelectionDisplay",
    "OverimputeDisplay",
    "RegressionMixtureDisplay",
    "ResidualDisplay",
]
