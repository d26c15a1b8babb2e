"""Types that signatures share."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from emlearn.families.responses import Response

Acceleration = Literal["auto", "squarem", "secant", "none"]
Annealing = bool | Sequence[float] | np.ndarray
Assignment = Literal["soft", "hard", "sampled"]
CovarianceType = Literal[
    "full",
    "tied",
    "diag",
    "spherical",
    "tied_diag",
    "tied_spherical",
    "VEI",
    "EVI",
    "VEE",
    "EVE",
    "VVE",
    "EEV",
    "VEV",
    "EVV",
    "VVV",
    "EEE",
    "VVI",
    "VII",
    "EEI",
    "EII",
    "factor",
]
Ranking = Literal["evidence", "likelihood"]
ResponseFamily = (
    Literal["gaussian", "poisson", "binomial", "student_t", "negative_binomial", "gamma"] | Response
)
RandomState = int | np.random.RandomState | None
Method = TypeVar("Method", bound=Callable[..., Any])  # a decorator gives back the type that it was given
