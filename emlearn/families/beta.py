"""Independent shares of a beta distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, expit, polygamma

from emlearn.em.batches import Batch
from emlearn.em.spaces import Positive
from emlearn.families import tails
from emlearn.families.base import FloatArray, filled
from emlearn.families.independent import BoundedColumns

# Newton steps, of which six or so are usual, and the relative change that ends them.
MOST_STEPS, EXACT = 100, 1e-13
OF_UNIFORM = -1.0  # mean of log x, and of log(1 − x), of uniform shares


class BetaParams(NamedTuple):
    """Parameters of K components over d columns."""

    alphas: FloatArray  # (K, d)
    betas: FloatArray  # (K, d)


@dataclass(frozen=True)
class Beta(BoundedColumns):
    r"""Shares between 0 and 1, of beta distributions, independent given the component.

    .. math:: p(x) = \frac{x^{\alpha - 1} (1 - x)^{\beta - 1}}{B(\alpha, \beta)}

    with the mean :math:`\alpha / (\alpha + \beta)`. T(x) = (1, log x, log(1 − x), which entries are there). The
    log-likelihood is concave in α and β: the M-step climbs it by Newton's method to the last digits. A
    component of one value would have infinite parameters: α + β is no more than :math:`10^6`, or, where shares
    are recorded in steps, than half a step allows. scipy's parameters are ``a`` and ``b``. Missing entries,
    NaN, are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import HMMEM
    >>> shares = np.random.RandomState(0).beta(2.0, 5.0, size=(1000, 1))
    >>> model = HMMEM(1, emission="beta").fit(shares)
    >>> print(f"{model.alphas_[0, 0]:.2f} {model.betas_[0, 0]:.2f}")
    2.06 4.97
    """

    support = "numbers between 0 and 1, both excluded"
    parameters = BetaParams
    typical = 0.5
    narrow = ("alphas", "betas")

    @property
    def spaces(self) -> Any:
        return BetaParams(Positive(), Positive())  # type: ignore[arg-type]

    def entry_statistics(self, x: FloatArray) -> tuple[FloatArray, ...]:
        return np.log(x), np.log1p(-x)

    def base_measure(self, batch: Batch) -> FloatArray:
        x = filled(batch, 0.5)
        missing = np.isnan(batch.x)
        return -np.where(missing, 0.0, np.log(x) + np.log1p(-x)).sum(axis=0)

    def entry_natural(self, params: BetaParams) -> tuple[FloatArray, ...]:
        return params.alphas, params.betas

    def log_partition(self, *natural: FloatArray) -> FloatArray:
        return np.asarray(betaln(*natural))

    def estimate(self, *averages: FloatArray) -> BetaParams:
        log_x, log_rest = averages
        most = np.broadcast_to(self.limit, log_x.shape)
        on_bound = _on_bound(log_x - log_rest, most)
        # The log-likelihood is concave: if it rises across the bound there, nothing within is higher.
        rises = log_x - digamma(on_bound) + digamma(most) >= 0
        alphas, betas = _climb(np.where(rises, OF_UNIFORM, log_x), np.where(rises, OF_UNIFORM, log_rest))
        return BetaParams(np.where(rises, on_bound, alphas), np.where(rises, most - on_bound, betas))

    def most_narrow(self, mean: FloatArray, variance: FloatArray) -> FloatArray:
        return mean * (1.0 - mean) / variance - 1.0

    def spread(self, params: BetaParams) -> FloatArray:
        return np.asarray(polygamma(1, params.alphas) + polygamma(1, params.betas))  # of log x / (1 − x)

    def is_possible(self, x: FloatArray, params: BetaParams | None = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) lie between 0 and 1; NaN counts as possible."""
        return ((x > 0) & (x < 1)) | np.isnan(x)

    def points(self, x: FloatArray) -> FloatArray:
        return np.log(x) - np.log1p(-x)

    def tails(self, params: BetaParams, x: FloatArray) -> FloatArray:
        return tails.beta(x, params.alphas[:, :, None], params.betas[:, :, None])

    def mean(self, params: BetaParams) -> FloatArray:
        """Mean of each component, (K, d)."""
        return params.alphas / (params.alphas + params.betas)

    def variance(self, params: BetaParams) -> FloatArray:
        """Variance of each column, (K, d)."""
        mean = self.mean(params)
        return mean * (1.0 - mean) / (params.alphas + params.betas + 1.0)

    def with_means(self, params: BetaParams, means: FloatArray) -> BetaParams:
        """Parameters with the means (K, d) moved, α + β as they are."""
        if not ((means > 0) & (means < 1)).all():
            raise ValueError("Means to start from must lie between 0 and 1.")
        size = params.alphas + params.betas
        return BetaParams(size * means, size * (1.0 - means))

    def widened(self, params: BetaParams, factors: FloatArray) -> BetaParams:
        return self.nearest_legal(BetaParams(*(own / factors[:, None] for own in params)))

    def sample(self, params: BetaParams, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d)."""
        drawn = rng.beta(params.alphas[labels], params.betas[labels])
        return np.clip(drawn, np.finfo(np.float64).tiny, 1.0 - np.finfo(np.float64).epsneg)


def _climb(log_x: FloatArray, log_rest: FloatArray) -> tuple[FloatArray, FloatArray]:
    """α and β of greatest likelihood, given averages of log x and log(1 − x)."""
    # Near the maximum where both are large (Johnson & Kotz, 1970), and positive everywhere.
    left = np.maximum(-np.expm1(np.logaddexp(log_x, log_rest)), np.finfo(np.float64).eps)
    alphas, betas = 0.5 + 0.5 * np.exp(log_x) / left, 0.5 + 0.5 * np.exp(log_rest) / left

    def height(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray(a * log_x + b * log_rest - betaln(a, b))

    for _ in range(MOST_STEPS):
        both = digamma(alphas + betas)
        slope_a, slope_b = log_x - digamma(alphas) + both, log_rest - digamma(betas) + both
        bend_a, bend_b, shared = (polygamma(1, v) for v in (alphas, betas, alphas + betas))
        det = bend_a * bend_b - shared * (bend_a + bend_b)
        step_a = ((bend_b - shared) * slope_a + shared * slope_b) / det
        step_b = (shared * slope_a + (bend_a - shared) * slope_b) / det
        # No step takes more than nine tenths of either, nor down the hill.
        share = np.minimum(1.0, 0.9 / np.maximum(-np.minimum(step_a / alphas, step_b / betas), 0.9))
        here = height(alphas, betas)
        for _ in range(20):
            lower = height(alphas + share * step_a, betas + share * step_b) < here - EXACT * np.abs(here)
            if not lower.any():
                break
            share = np.where(lower, 0.5 * share, share)
        alphas, betas = alphas + share * step_a, betas + share * step_b
        if (np.maximum(np.abs(step_a / alphas), np.abs(step_b / betas)) <= EXACT).all():
            break
    return alphas, betas


def _on_bound(log_odds: FloatArray, most: FloatArray) -> FloatArray:
    """α of greatest likelihood where α + β is the most, given averages of log x / (1 − x)."""
    near_end = 1.0 / (1.0 + np.abs(log_odds) + np.log(most))  # where ψ(α) is about −1 / α
    alphas = np.clip(most * expit(log_odds), near_end, most - near_end)
    for _ in range(MOST_STEPS):
        slope = log_odds - digamma(alphas) + digamma(most - alphas)
        step = slope / (polygamma(1, alphas) + polygamma(1, most - alphas))
        alphas = np.clip(alphas + step, 0.1 * alphas, most - 0.1 * (most - alphas))
        if (np.abs(step) <= EXACT * alphas).all():
            break
    return alphas
