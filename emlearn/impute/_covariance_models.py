"""What each `covariance_type` of EMImputer is: how its family is made, started and judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emlearn.em import LatentPair
from emlearn.families import COVARIANCE_SHAPES, FactorGaussian, Gaussian, GaussianParams
from emlearn.families.covariance import Diagonal, Full, Structure
from emlearn.families.gaussian import LEAST_FLOOR
from emlearn.mixture._starts import kinds_for


@dataclass(frozen=True)
class ShapeModel:
    """Covariance matrices of one of the shapes."""

    structure: Structure

    @property
    def has_correlations(self):
        """Whether each pair of features has a parameter of its own."""
        return isinstance(self.structure, Full)

    @property
    def kinds(self):
        """Kinds of starts to race."""
        return kinds_for("auto", Gaussian(self.structure))

    def family(self, n_factors, n_features, ridge):
        """The family of densities."""
        return Gaussian(self.structure, floor=LEAST_FLOOR, ridge=ridge)

    def n_parameters(self, n_factors, d):
        """Parameters of a component, about."""
        return d + self.structure.n_products(d)

    def first(self, model, n_features, batch):
        """Where one component starts: uncorrelated; available-case moments are one EM step from there."""
        standard = GaussianParams(np.zeros((1, n_features)), self.structure.identity(1, n_features))
        return LatentPair(np.ones(1), standard)

    def is_singular(self, model, params):
        """Whether the likelihood owes its height to the floor."""
        return np.isinf(model.handicap(params))


@dataclass(frozen=True)
class FactorModel:
    """Factors and noise. That noises rest on the floor is ordinary here."""

    structure = Diagonal()
    has_correlations = False
    kinds = ("kmeans", "random")  # starts that know no particular form of covariance

    def family(self, n_factors, n_features, ridge):
        """The family of densities."""
        return FactorGaussian(min(n_factors, n_features), floor=LEAST_FLOOR, ridge=ridge)

    def n_parameters(self, n_factors, d):
        """Parameters of a component, about."""
        return d + n_factors * d

    def first(self, model, n_features, batch):
        """Where one component starts: principal directions of some rows."""
        rows = batch()
        return model.start(rows, rows.weight[None, :])

    def is_singular(self, model, params):
        """Whether the likelihood owes its height to the floor."""
        return False


COVARIANCE_MODELS = {
    **{name: ShapeModel(structure) for name, structure in COVARIANCE_SHAPES.items()},
    "factor": FactorModel(),
}
