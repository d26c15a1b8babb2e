r"""Gaussians of which some entries are missing.

Where the entries are missing at random (what is missing does not depend on its value, given what is
observed), the likelihood is that of the observed entries, each row's density the marginal one of the features
that it has. Given a component and the observed entries, the missing ones are again Gaussian: at their
conditional means a row counts like one that was complete, but for the noise that is added to its products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emlearn.em.batches import Batch
from emlearn.em.model import Observed
from emlearn.families.base import Completion, FloatArray, available_mean
from emlearn.families.covariance import Given
from emlearn.families.gaussian import (
    Gaussian,
    GaussianForm,
    GaussianParams,
    GaussianTotals,
)
from emlearn.families.patterns import Gaps, find_gaps


@dataclass(frozen=True)
class IncompleteGaussian(Gaussian):
    """Gaussian components with missing entries, NaN, integrated out.

    Batches without missing entries are a `Gaussian`'s. Observations of which all is missing have the density
    1 under every component and add nothing to the statistics. The parameters are those of `Gaussian`.
    """

    marginalises = True

    def density(self, params: GaussianParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        form = self._linearise(params)

        def observe(batch: Batch) -> Observed:
            gaps = find_gaps(batch)
            if gaps is None:
                return self._observe(params, form, batch)
            log_prob, filled, given = self._fill(params, form, batch, gaps)

            def totals(resp: FloatArray) -> GaussianTotals:
                if gaps.empty.size:
                    resp = resp.copy()
                    resp[:, gaps.empty] = 0.0
                return self._expected_totals(filled, given, resp)

            return Observed(log_prob, 0.0, totals, lambda: 0.0)

        return observe

    def completion(self, params: GaussianParams) -> Callable[[Batch], Completion]:
        """Conditional moments of missing entries at ``params``, as a function of a batch."""
        form = self._linearise(params)

        def complete(batch: Batch) -> Completion:
            gaps = find_gaps(batch)
            if gaps is None:
                seen = self._observe(params, form, batch)
                log_prob = seen.log_prob + seen.shared_log_prob()
                return Completion(log_prob, lambda _: batch.x, lambda _: np.zeros_like(batch.x))
            log_prob, filled, given = self._fill(params, form, batch, gaps)
            return Completion(
                log_prob,
                lambda k: np.where(gaps.missing, filled[k] + params.means[k][:, None], batch.x),
                lambda k: given[k % len(given)].variance(),
            )

        return complete

    def _fill(
        self, params: GaussianParams, form: GaussianForm, batch: Batch, gaps: Gaps
    ) -> tuple[FloatArray, list[FloatArray], list[Given]]:
        """Log-densities, the centred batch with missing entries filled, per component, and how."""
        structure = self.structure
        reach = batch.once("reach", lambda: np.nansum(batch.x**2, axis=0).max())
        precise = form.cancels(reach)
        places = batch.once("places", gaps.places)
        zeroed = batch.once("zeroed", lambda: np.where(gaps.missing, 0.0, batch.x))
        given = [structure.given(whitener, gaps, places) for whitener in form.whitener]
        log_prob = np.empty((len(params.means), batch.x.shape[1]))
        volume = -0.5 * np.log(2 * np.pi) * gaps.n_observed
        filled = []
        for k, c in enumerate(structure.which(len(log_prob))):
            of_k = given[c]
            centred = zeroed - params.means[k][:, None]
            log_prob[k] = of_k.fill(centred, precise)
            log_prob[k] *= -0.5
            log_prob[k] += of_k.log_det
            log_prob[k] += volume
            filled.append(centred)
        return log_prob, filled, given

    def _expected_totals(
        self, filled: list[FloatArray], given: list[Given], resp: FloatArray
    ) -> GaussianTotals:
        structure = self.structure
        first = np.array([centred @ share for centred, share in zip(filled, resp, strict=True)])
        second = np.array(
            [
                structure.moment(centred, None if (share == 1.0).all() else share)
                for centred, share in zip(filled, resp, strict=True)
            ]
        )
        second = structure.pool(second)
        for c, share in enumerate(structure.pool(resp)):
            second[c] += given[c].noise(share)
        return GaussianTotals(resp.sum(axis=1), first, second)

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> GaussianParams:
        """Parameters from weighted responsibilities (K, m).

        Means are those of the available entries. For second moments a missing entry is at its mean, plus
        noise of the available entries' variance.
        """
        gaps = find_gaps(batch)
        if gaps is None:
            return super().start(batch, resp)
        structure = self.structure
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
        totals = GaussianTotals(resp.sum(axis=1), np.zeros_like(means), structure.pool(second))
        return self.maximize(totals, GaussianParams(means, structure.identity(len(means), d)))
