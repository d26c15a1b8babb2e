"""The EM engine: models, batches, the loop, acceleration and the race of starts."""

from emlearn.em.acceleration import ACCELERATIONS
from emlearn.em.annealing import cool
from emlearn.em.batches import Affine, Batch, Batches, Lanes, SideBySide, one_blas_thread, one_thread
from emlearn.em.components import random_starts, responsibilities
from emlearn.em.data import Data
from emlearn.em.fit import EMResult, MonotonicityWarning, em_iterates, fit_em
from emlearn.em.information import Information, leave_one_out, observed_information, scores
from emlearn.em.model import (
    ASSIGNMENTS,
    EMModel,
    EStep,
    Family,
    LatentModel,
    LatentPair,
    LatentStructure,
    Observed,
)
from emlearn.em.monte_carlo import Draws, MonteCarloModel, MonteCarloResult, MonteCarloStep, fit_mcem
from emlearn.em.online import OnlineResult, OnlineStep, fit_em_online
from emlearn.em.parquet import FileRows, from_parquet, to_parquet
from emlearn.em.rate import em_rate
from emlearn.em.restarts import RANKINGS, RaceResult, Restart, Restarts, Start, race
from emlearn.em.spaces import Counts, Directions, Fixed, Positive, PositiveDefinite, Probability, Real, Simplex
from emlearn.em.stopping import Iterate

__all__ = [
    "ACCELERATIONS",
    "ASSIGNMENTS",
    "RANKINGS",
    "Affine",
    "Batch",
    "Batches",
    "Counts",
    "Data",
    "Directions",
    "Draws",
    "EMModel",
    "EMResult",
    "EStep",
    "Family",
    "FileRows",
    "Fixed",
    "Information",
    "Iterate",
    "Lanes",
    "LatentModel",
    "LatentPair",
    "LatentStructure",
    "MonotonicityWarning",
    "MonteCarloModel",
    "MonteCarloResult",
    "MonteCarloStep",
    "Observed",
    "OnlineResult",
    "OnlineStep",
    "Positive",
    "PositiveDefinite",
    "Probability",
    "RaceResult",
    "Real",
    "Restart",
    "Restarts",
    "SideBySide",
    "Simplex",
    "Start",
    "cool",
    "em_iterates",
    "em_rate",
    "fit_em",
    "fit_em_online",
    "fit_mcem",
    "from_parquet",
    "leave_one_out",
    "observed_information",
    "one_blas_thread",
    "one_thread",
    "race",
    "random_starts",
    "responsibilities",
    "scores",
    "to_parquet",
]
