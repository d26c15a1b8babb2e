r"""Rows of Gaussians of which some entries are missing.

Where the entries are missing at random (what is missing does not depend on its value, given what is
observed), the likelihood is that of the observed entries, each row's density the marginal one of the features
that it has. Given a component and the observed entries, the missing ones are again Gaussian: at their
conditional means a row counts like one that was complete, but for the noise that is added to its products.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emlearn.em.batches import Batch
from emlearn.families.base import FloatArray, available_mean
from emlearn.families.covariance import Given, Structure
from emlearn.families.patterns import Gaps


class Filled(NamedTuple):
    """A batch with its missing entries at their conditional means, component by component."""

    log_prob: FloatArray  # (K, m) log-density of what is observed
    centred: list[FloatArray]  # K arrays (d, m), less the mean of the component
    given: list[Given]  # C distributions of what is missing

    def moments(
        self, structure: Structure, resp: FloatArray, of_missing: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Σ r (x − μ), (K, d), and Σ r · products of it, (C, F2), expected given what is observed.

        ``of_missing`` (K, m) is what the covariances of missing entries are weighted by, where that is not r.
        """
        first = np.array([centred @ share for centred, share in zip(self.centred, resp, strict=True)])
        second = np.array(
            [
                structure.moment(centred, None if (share == 1.0).all() else share)
                for centred, share in zip(self.centred, resp, strict=True)
            ]
        )
        second = structure.pool(second)
        for c, share in enumerate(structure.pool(resp if of_missing is None else of_missing)):
            second[c] += self.given[c].noise(share)
        return first, second


def fill(
    structure: Structure, means: FloatArray, whiteners: FloatArray, precise: bool, batch: Batch, gaps: Gaps
) -> Filled:
    """Fill the missing entries of a batch; ``precise`` as in `Given.fill`."""
    places = batch.once("places", gaps.places)
    zeroed = batch.once("zeroed", lambda: np.where(gaps.missing, 0.0, batch.x))
    given = structure.all_given(whiteners, gaps, places)
    log_prob = np.empty((len(means), batch.x.shape[1]))
    volume = -0.5 * np.log(2 * np.pi) * gaps.n_observed
    filled = []
    for k, c in enumerate(structure.which(len(means))):
        centred = zeroed - means[k][:, None]
        log_prob[k] = given[c].fill(centred, precise)
        log_prob[k] *= -0.5
        log_prob[k] += given[c].log_det
        log_prob[k] += volume
        filled.append(centred)
    return Filled(log_prob, filled, given)


def available_moments(
    structure: Structure, batch: Batch, resp: FloatArray, gaps: Gaps
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights (K,), means (K, d) and Σ r · products about them (C, F2), where there are no parameters yet.

    Means are those of the available entries. For second moments a missing entry is at its mean, plus noise of
    the available entries' variance.
    """
    d = len(batch.x)
    resp = resp * (gaps.n_observed > 0)
    overall = resp.sum(axis=0, keepdims=True)
    centre = available_mean(batch.x, overall, 0.0)
    means = available_mean(batch.x, resp, centre)
    variance = available_mean((batch.x - centre.T) ** 2, overall, 1.0)[0]
    second = np.empty((len(means), structure.n_products(d)))
    for k, mean in enumerate(means):
        centred = batch.x - mean[:, None]
        own = available_mean(centred**2, resp[[k]], variance)[0]
        centred[gaps.missing] = 0.0
        noise = np.diag(np.sqrt(own * (gaps.missing @ resp[k])))
        second[k] = structure.moment(centred, resp[k]) + structure.moment(noise, None)
    return resp.sum(axis=1), means, structure.pool(second)
