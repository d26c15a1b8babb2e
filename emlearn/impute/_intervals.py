r"""Distributions of missing entries that include what is not known of the fit.

Under the prior of `emlearn.impute._choices` the precision matrix of complete rows has a Wishart posterior.
Given the observed entries o of a row, a missing one has Student's t distribution about its conditional mean, of
:math:`n + r + 1` degrees of freedom and squared scale

.. math:: \frac{n + r}{n + r + 1} \hat\sigma^2_{m | o} \Bigl(1 + \frac1n + \frac s{n + r}
   y^\top \bigl(\hat\Sigma_{oo} - \tfrac r{n + r} I\bigr) y \Bigr), \qquad
   y = \hat\Sigma_{oo}^{-1} (x_o - \hat\mu_o) .

The last term is the variance of the regression on the observed entries about what the prior has drawn it to, by
the share s of the residual variance that the rows themselves show. By how much the prior draws is in the rest
of it, to which the prior adds r rows of its own.

Where entries are missing, n counts the rows by what they tell of the residual :math:`v^\top (x - \mu)` of the
entry on the observed: a row of conditional covariance C counts :math:`1 - v^\top C v / v^\top \Sigma v`, 1 if
it has all that is involved, 0 if it lacks the entry itself.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from emlearn.families.gaussian import GaussianForm
from emlearn.families.patterns import find_gaps, group_columns

# No interval rests on less than this.
LEAST_ROWS = 1.0


def lost_by_gaps(model, params, data):
    """Σ weight · conditional covariance of the rows, (d, d), and Σ weight, for one Gaussian."""
    structure, means = model.family.structure, params.family.means
    d = means.shape[1]
    form = GaussianForm(structure, means, structure.whitener(params.family.covariances))
    whole = structure.dense(params.family.covariances, d)[0]

    def of_batch(batch):
        weight = np.ones(batch.x.shape[1]) if batch.weight is None else batch.weight
        gaps = find_gaps(batch)
        if gaps is None:
            return np.zeros((d, d)), weight.sum()
        (given,) = structure.all_given(form.whitener, gaps, batch.once("places", gaps.places))
        noise = structure.covariance(given.noise(weight)[None], d)[0]
        return noise + weight[gaps.empty].sum() * whole, weight.sum()

    return data.sum(of_batch)


def widths(Z, covariance, centred, lost, n, ridge):
    """What the scale of each missing entry is multiplied by, and its degrees of freedom, row by row.

    Parameters
    ----------
    Z : ndarray of shape (m, d)
        NaN where an entry is missing.
    covariance : ndarray of shape (d, d)
    centred : ndarray of shape (m, d)
        Rows less the mean, missing entries at their conditional means.
    lost : ndarray of shape (d, d)
        `lost_by_gaps` of the rows of the fit.
    n : float
        How many these were.
    ridge : float

    Returns
    -------
    factors, dofs : ndarray of shape (cells,)
    """
    precision = np.linalg.inv(covariance)
    missing = np.isnan(Z)
    pull = centred @ precision  # 0 where an entry is missing
    distance, length = np.einsum("mi,mi->m", centred, pull), np.einsum("mi,mi->m", pull, pull)
    factors, dofs = np.ones(Z.shape), np.ones(Z.shape)
    order, bounds = group_columns(missing.T)
    for start, stop in pairwise(bounds.tolist()):
        rows = order[start:stop]
        gone = np.flatnonzero(missing[rows[0]])
        if not len(gone):
            continue
        own = np.linalg.inv(precision[np.ix_(gone, gone)])
        residual = own @ precision[gone]  # (c, d), each entry less what the observed ones tell of it
        told = n - np.einsum("ci,ij,cj->c", residual, lost, residual, optimize=True) / np.diag(own)
        told = np.maximum(told, LEAST_ROWS)
        leverage = (distance[rows, None] - ridge / (told + ridge) * length[rows, None]) / (told + ridge)
        noise = 1 - ridge * np.einsum("ci,ci->c", residual, residual) / ((told + ridge) * np.diag(own))
        leverage = np.maximum(leverage, 0.0) * np.maximum(noise, 0.0)
        cells = np.ix_(rows, gone)
        factors[cells] = np.sqrt((told + ridge) / (told + ridge + 1) * (1 + 1 / told + leverage))
        dofs[cells] = told + ridge + 1
    return factors[missing], dofs[missing]
