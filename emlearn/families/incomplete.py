r"""Gaussians of which some entries are missing.

Where the entries are missing at random (what is missing does not depend on its value, given what is
observed), the likelihood is that of the observed entries, each row's density the marginal one of the features
that it has. Rows are grouped by pattern: given a component, the missing features are a linear function of
the observed plus noise, :math:`E[x_m - \mu_m \mid x_o] = B (x_o - \mu_o)` with
:math:`B = \Sigma_{mo} \Sigma_{oo}^{-1}`, so that the expected moments of whole rows follow from the sums of
the observed entries' moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emlearn.em.batches import Batch, IntArray
from emlearn.em.model import Observed
from emlearn.em.trees import add
from emlearn.families.base import FloatArray, available_mean
from emlearn.families.gaussian import Gaussian, GaussianParams, GaussianTotals


class _Pattern(NamedTuple):
    """Observations that have the same features."""

    key: tuple[str, bytes]
    features: IntArray  # (p,) that are observed, at least one
    columns: IntArray  # (m',) of the batch


@dataclass(frozen=True)
class _Patterns:
    """All patterns of a batch but that of observations of nothing, which tell nothing."""

    patterns: list[_Pattern]
    size: int  # how many numbers it takes to remember them


@dataclass(frozen=True)
class IncompleteGaussian(Gaussian):
    """Gaussian components with missing entries, NaN, integrated out.

    Batches without missing entries are a `Gaussian`'s. Observations of which all is missing have the density
    1 under every component and add nothing to the statistics. The parameters are those of `Gaussian`.
    """

    marginalises = True

    def density(self, params: GaussianParams) -> Callable[[Batch], Observed]:
        """Log-densities and statistics at ``params``, as a function of a batch."""
        complete = super().density(params)
        marginals: dict[tuple[str, bytes], Callable[[Batch], Observed]] = {}

        def marginal(pattern: _Pattern) -> Callable[[Batch], Observed]:
            if len(pattern.features) == params.means.shape[1]:
                return complete
            if pattern.key not in marginals:
                part = self.marginal(params, pattern.features)
                marginals[pattern.key] = Gaussian.density(self, part)
            return marginals[pattern.key]

        def observe(batch: Batch) -> Observed:
            found = _find_patterns(batch)
            if found is None:
                return complete(batch)
            seen = [
                (p, marginal(p)(batch.part(p.key, p.columns, p.features))) for p in found.patterns
            ]
            log_prob = np.zeros((len(params.means), batch.x.shape[1]))
            for pattern, part in seen:
                log_prob[:, pattern.columns] = part.log_prob

            def totals(resp: FloatArray) -> GaussianTotals:
                total = self._no_totals(params)
                for pattern, part in seen:
                    of_part = part.totals(resp.take(pattern.columns, axis=1))
                    total = add(total, self._extend(of_part, params, pattern.features))
                return total

            def shared_log_prob() -> FloatArray:
                shared = np.zeros(batch.x.shape[1])
                for pattern, part in seen:
                    shared[pattern.columns] = part.shared_log_prob()
                return shared

            return Observed(log_prob, sum(part.shared for _, part in seen), totals, shared_log_prob)

        return observe

    def _no_totals(self, params: GaussianParams) -> GaussianTotals:
        K, d = params.means.shape
        n_products = self.shape.structure.n_products(d)
        return GaussianTotals(
            np.zeros(K), np.zeros((K, d)), np.zeros((len(params.covariances), n_products))
        )

    def _extend(
        self, totals: GaussianTotals, params: GaussianParams, features: IntArray
    ) -> GaussianTotals:
        """Expected totals of all features from totals of some."""
        structure, tied = self.shape
        d = params.means.shape[1]
        if len(features) == d:
            return totals
        weight = totals.weight.sum(keepdims=True) if tied else totals.weight
        return GaussianTotals(
            totals.weight,
            *structure.extend(params.covariances, features, d, weight, totals.first, totals.second),
        )

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> GaussianParams:
        """Parameters from weighted responsibilities (K, m).

        Means are those of the available entries. For second moments a missing entry is at its mean, plus
        noise of the available entries' variance.
        """
        if _find_patterns(batch) is None:
            return super().start(batch, resp)
        structure, tied = self.shape
        d = len(batch.x)
        missing = np.isnan(batch.x)
        resp = resp * ~missing.all(axis=0)
        overall = resp.sum(axis=0, keepdims=True)
        centre = available_mean(batch.x, overall, 0.0)
        means = available_mean(batch.x, resp, centre)
        variance = available_mean((batch.x - centre.T) ** 2, overall, 1.0)[0]
        second = np.empty((len(means), structure.n_products(d)))
        for k, mean in enumerate(means):
            centred = batch.x - mean[:, None]
            own = available_mean(centred**2, resp[[k]], variance)[0]
            centred[missing] = 0.0
            noise = np.diag(np.sqrt(own * (missing @ resp[k])))
            second[k] = structure.moment(centred, resp[k]) + structure.moment(noise, None)
        if tied:
            second = second.sum(axis=0, keepdims=True)
        standard = structure.identity(1 if tied else len(means), d)
        return self.maximize(
            GaussianTotals(resp.sum(axis=1), np.zeros_like(means), second),
            GaussianParams(means, standard),
        )


def _find_patterns(batch: Batch) -> _Patterns | None:
    """The batch's patterns of observed features; None where nothing is missing."""

    def find() -> _Patterns | None:
        if not np.isnan(batch.x.sum()):  # a cheap first look
            return None
        missing = np.isnan(batch.x)
        if not missing.any():
            return None
        kinds, kind, counts = np.unique(missing, axis=1, return_inverse=True, return_counts=True)
        columns = np.split(np.argsort(kind.ravel(), kind="stable"), np.cumsum(counts)[:-1])
        patterns = [
            _Pattern(("pattern", gone.tobytes()), np.flatnonzero(~gone), own)
            for gone, own in zip(kinds.T, columns, strict=True)
            if not gone.all()
        ]
        return _Patterns(patterns, batch.x.shape[1])

    return batch.once("patterns", find)
