"""Conjugate priors as weak as scikit-learn has them, from the first pass over the data."""

from __future__ import annotations

import numpy as np

from emlearn._sample import unit_of
from emlearn.em import LatentModel, LatentPair
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights


def covariance_of(structure, moments, units, everything):
    """Covariance of all rows in a form, (1, ...), in the engine's units: of those of a feature that have it.

    Parameters
    ----------
    structure : Structure
    moments : Moments
        In the user's units.
    units : Affine
    everything : callable
        Makes batches of all rows.
    """
    size = moments.weight / unit_of(moments.weight, moments.n_rows)  # in rows
    inflated = size / (size - 1) if size > 1 else 1.0
    variances = moments.variance / units.scale**2
    if not structure.correlates:
        by_feature = inflated * variances[None]
        return by_feature if structure.by_feature else by_feature.mean(axis=1)
    # Correlations as if what is missing were uncorrelated with the rest, so that the matrix is one.
    full = Gaussian(COVARIANCE_SHAPES["full"])
    spread = np.diag(np.where(variances > 0, variances, 1.0))[None]
    at = LatentPair(np.ones(1), GaussianParams(np.zeros((1, len(variances))), spread))
    totals = everything().sum(LatentModel(MixtureWeights(), full).expectation(at)).stats.family
    mean = totals.first / totals.weight[:, None]
    within = totals.second / totals.weight[:, None] - full.structure.products(mean, mean)
    return inflated * full.structure.covariance(within, len(variances))
