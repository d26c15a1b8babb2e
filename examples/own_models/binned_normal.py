"""A normal distribution of which there is a histogram.

Hidden is where in its bin each observation lies. The E-step finds mean and mean square of the normal between
the edges, and the M-step takes moments as if they had been seen. Source: Dempster, Laird & Rubin (1977),
section 4.2, grouped data. The data are chests of 5,738 Scottish soldiers by the inch (Quetelet, 1846).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr

from emlearn.em import EMModel, EStep, Positive, Real, fit_em
from emlearn.testing import check_model


class Params(NamedTuple):
    mean: float
    sd: float


def log_probability(low, high):
    """Of a standard normal between two edges, from whichever tail is nearer."""
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    above, below = log_ndtr(high), log_ndtr(low)
    return above + np.log1p(-np.exp(below - above))


class BinnedNormal(EMModel):
    """Rows are the edges of a bin; weights say how many fell into it."""

    spaces = Params(Real(), Positive())

    def expectation(self, params):
        def e_step(batch):
            low, high = (batch.x - params.mean) / params.sd
            log_share = log_probability(low, high)
            at_low, at_high = (np.exp(-0.5 * edge**2 - log_share) / np.sqrt(2 * np.pi) for edge in (low, high))
            z = at_low - at_high
            z_squared = (
                1 + np.where(np.isfinite(low), low, 0) * at_low - np.where(np.isfinite(high), high, 0) * at_high
            )
            x = params.mean + params.sd * z
            x_squared = params.mean**2 + 2 * params.mean * params.sd * z + params.sd**2 * z_squared
            sums = (batch.total_weight, batch.sum(x), batch.sum(x_squared))
            return EStep(sums, batch.sum(log_share), batch.total_weight)

        return e_step

    def maximize(self, sums, params):
        n, first, second = sums
        mean = first / n
        return Params(mean, np.sqrt(second / n - mean**2))

    def sample(self, params, rows, rng):
        edges = np.unique(rows)
        bins = np.searchsorted(edges, rng.normal(params.mean, params.sd, size=len(rows))) - 1
        return np.column_stack([edges[bins], edges[bins + 1]])


soldiers = np.array([3, 18, 81, 185, 420, 749, 1073, 1079, 934, 658, 370, 92, 50, 21, 4, 1])
edges = np.concatenate([[-np.inf], np.arange(33.5, 48), [np.inf]]) - 40  # inches above 40
bins = np.column_stack([edges[:-1], edges[1:]])
start = Params(0.0, 1.0)
check_model(BinnedNormal(), start, (bins, soldiers))
fit = fit_em(BinnedNormal(), start, (bins, soldiers), tol=1e-8)
found = minimize(
    lambda v: -soldiers @ log_probability(*((bins - v[0]) / np.exp(v[1])).T), [0.0, 0.0], method="BFGS"
)
answer = Params(found.x[0], np.exp(found.x[1]))
print(f"by EM:           mean {40 + fit.params.mean:.4f}, standard deviation {fit.params.sd:.4f}")
print(f"by an optimiser: mean {40 + answer.mean:.4f}, standard deviation {answer.sd:.4f}")
