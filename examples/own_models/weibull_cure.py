"""Survival times where some are cured, and the risk of the others changes with time: a Weibull distribution.

Hidden is who of those that did not fail is cured, as in ``cured_exponentials.py``. Survival of the others is
exp(−rate · t^shape), whose shape has no closed form: the M-step is one Newton step in the logarithms of both,
with a curvature that is positive wherever it is taken, so that a step which `shortened` makes short enough
climbs. Source: Farewell (1982), The use of mixture models for the analysis of survival data with long-term
survivors, Biometrics 38.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from emlearn.em import EMModel, EStep, Positive, Probability, fit_em
from emlearn.testing import check_model


class Params(NamedTuple):
    cured: float
    rate: float
    shape: float  # above 1 the risk grows with time


class Stats(NamedTuple):
    n: float
    at_risk: float
    slope: np.ndarray  # of the expected log-likelihood by log rate and log shape
    curvature: np.ndarray


class WeibullCure(EMModel):
    """Rows are (years, whether it failed then, years after which it would not be watched any more)."""

    spaces = Params(Probability(), Positive(), Positive())

    def expectation(self, params):
        def e_step(batch):
            years, failed, _ = batch.x
            log_time = params.shape * np.log(years)
            hazard = params.rate * np.exp(log_time)  # in all, up to then
            not_cured = np.log1p(-params.cured) - hazard
            failing = not_cured + np.log(params.rate * params.shape) + log_time - np.log(years)
            log_density = np.where(failed == 1, failing, np.logaddexp(np.log(params.cured), not_cured))
            resp = np.where(failed == 1, 1.0, np.exp(not_cured - log_density))
            slope = np.array(
                [
                    batch.sum(failed - resp * hazard),
                    batch.sum(failed * (1 + log_time) - resp * hazard * log_time),
                ]
            )
            across = batch.sum(resp * hazard * log_time)
            curvature = np.array(
                [
                    [batch.sum(resp * hazard), across],
                    [across, batch.sum(resp * hazard * log_time**2 + failed)],
                ]
            )
            stats = Stats(batch.total_weight, batch.sum(resp), slope, curvature)
            return EStep(stats, batch.sum(log_density), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return self.shortened(stats, params, 0)

    def shortened(self, stats, params, attempt):
        step = 0.5**attempt * np.linalg.solve(stats.curvature, stats.slope)
        return Params(
            1 - stats.at_risk / stats.n, params.rate * np.exp(step[0]), params.shape * np.exp(step[1])
        )

    def sample(self, params, rows, rng):
        cured = rng.uniform(size=len(rows)) < params.cured
        years = (rng.exponential(size=len(rows)) / params.rate) ** (1 / params.shape)
        years, watched = np.where(cured, np.inf, years), rows[:, 2]
        return np.column_stack([np.minimum(years, watched), years <= watched, watched])


rng = np.random.RandomState(0)
watched = rng.uniform(2.0, 8.0, size=400)
data = WeibullCure().sample(Params(0.3, 0.2, 1.6), np.column_stack([watched, watched, watched]), rng)
start = Params(0.5, 0.5, 1.0)
check_model(WeibullCure(), start, data[:80])
fit = fit_em(WeibullCure(), start, data, tol=1e-8)


def minus_log_likelihood(vector):
    log_cured, log_other = -np.logaddexp(0, -vector[0]), -np.logaddexp(0, vector[0])
    years, failed, _ = data.T
    log_time = np.exp(vector[2]) * np.log(years)
    surviving = log_other - np.exp(vector[1] + log_time)
    failing = surviving + vector[1] + vector[2] + log_time - np.log(years)
    return -np.where(failed == 1, failing, np.logaddexp(log_cured, surviving)).sum()


found = minimize(minus_log_likelihood, np.array([0.0, -1.0, 0.0]), method="BFGS")
answer = Params(1 / (1 + np.exp(-found.x[0])), *np.exp(found.x[1:]))
print("by EM:           cured {:.4f}, rate {:.4f}, shape {:.4f}".format(*fit.params))
print("by an optimiser: cured {:.4f}, rate {:.4f}, shape {:.4f}".format(*answer))
