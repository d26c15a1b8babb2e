r"""Gaussians of fewer rows than features, in the coordinates of what the rows span.

Rows about their mean lie in a subspace of r < n dimensions, and so do the means of all components. Orthogonal
to it every covariance matrix rests on the floor φ, whatever the responsibilities: with an orthonormal basis V,

.. math:: \Sigma = V S V^\top + \varphi (I - V V^\top),

where S is the maximum for the rows' coordinates, with the same floor. The fit of the coordinates is that of the
rows, and its log-density higher by :math:`\tfrac12 (d - r) \log 2\pi\varphi`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from emlearn.em.batches import Batch
from emlearn.families.base import Emission, FloatArray
from emlearn.families.covariance import Full
from emlearn.families.gaussian import FLOOR_SLACK, Gaussian, GaussianParams


class FewRows(NamedTuple):
    """What the rows span."""

    family: Gaussian  # of the coordinates
    basis: FloatArray  # (d, r), orthonormal
    floor: float
    n_rows: float

    @classmethod
    def of(cls, family: Emission, batch: Batch, n_rows: float) -> FewRows | None:
        """What all rows, about their mean, span; None where that is no less or the floor not alike everywhere.

        Parameters
        ----------
        family : Emission
            Bound to the data; of others than Gaussians of any matrix there is nothing to be said.
        batch : Batch
            The rows.
        n_rows : float
            How many they are, with equal ones that were merged.
        """
        d, m = batch.x.shape
        if m > d or not isinstance(family, Gaussian) or type(family.structure) is not Full:
            return None
        if family.ridge or family.hidden is not None:
            return None
        if np.isnan(batch.x).any():
            return None
        basis, sizes, _ = np.linalg.svd(batch.x, full_matrices=False)
        basis = basis[:, sizes > d * np.finfo(np.float64).eps * sizes[0]]
        if not 0 < basis.shape[1] < d:
            return None
        few = cls(replace(family, forced=None), basis, family.floor, n_rows)
        everyone = np.ones((1, m)) if batch.weight is None else batch.weight[None, :]
        coordinates = Batch(few.rows(batch.x.T).T, batch.weight)
        whole = few.family.start(coordinates, everyone).covariances
        forced = family.structure.low_directions(whole, basis.shape[1], family.floor * (1 + FLOOR_SLACK))
        return few._replace(family=replace(few.family, forced=forced if forced.size else None))

    def rows(self, rows: FloatArray) -> FloatArray:
        """Coordinates (m, r) of rows (m, d)."""
        return rows @ self.basis

    @property
    def log_volume(self) -> float:
        """How much higher the log-density of a row's coordinates is than that of the row."""
        d, r = self.basis.shape
        return 0.5 * (d - r) * float(np.log(2 * np.pi * self.floor))

    def is_all_luck(self, n_components: int) -> bool:
        """Whether some component has too few rows to tell anything, whatever the fit."""
        n_free = self.basis.shape[1] - self.family.n_forced
        return self.n_rows < n_components * self.family.structure.least_rows(n_free)

    def params(self, params: GaussianParams) -> GaussianParams:
        """Parameters of the rows from those of their coordinates."""
        basis, r = self.basis, self.basis.shape[1]
        above = params.covariances - self.floor * np.eye(r)
        covariances = basis @ above @ basis.T + self.floor * np.eye(len(basis))
        return GaussianParams(params.means @ basis.T, 0.5 * (covariances + covariances.swapaxes(1, 2)))
