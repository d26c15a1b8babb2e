"""Survival times where some are cured: an exponential distribution, and a share that never fails.

Hidden is who of those that did not fail is cured. The E-step finds the probability that they are not, q = (1
− c) S(t) / (c + (1 − c) S(t)); the M-step counts: c is the share of the cured, and the rate is failures by
the time under risk of those who are not. Source: Boag (1949), Maximum likelihood estimates of the proportion
of patients cured by cancer therapy, J. R. Stat. Soc. B 11; in EM's terms Sy & Taylor (2000), Biometrics 56.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from emlearn.em import EMModel, EStep, Positive, Probability, fit_em
from emlearn.testing import check_model


class Params(NamedTuple):
    cured: float  # share of all
    rate: float  # failures in a year, of those who are not


class Stats(NamedTuple):
    n: float
    at_risk: float  # how many are not cured
    failures: float
    time: float  # years under risk


class CuredExponentials(EMModel):
    """Rows are (years, whether it failed then, years after which it would not be watched any more)."""

    spaces = Params(Probability(), Positive())

    def expectation(self, params):
        def e_step(batch):
            years, failed, _ = batch.x
            not_cured = np.log1p(-params.cured) - params.rate * years
            log_density = np.where(
                failed == 1, not_cured + np.log(params.rate), np.logaddexp(np.log(params.cured), not_cured)
            )
            at_risk = np.where(failed == 1, 1.0, np.exp(not_cured - log_density))
            stats = Stats(batch.total_weight, batch.sum(at_risk), batch.sum(failed), batch.sum(at_risk * years))
            return EStep(stats, batch.sum(log_density), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return Params(1 - stats.at_risk / stats.n, stats.failures / stats.time)

    def sample(self, params, rows, rng):
        cured = rng.uniform(size=len(rows)) < params.cured
        years = np.where(cured, np.inf, rng.exponential(1 / params.rate, size=len(rows)))
        watched = rows[:, 2]
        return np.column_stack([np.minimum(years, watched), years <= watched, watched])


rng = np.random.RandomState(0)
watched = rng.uniform(2.0, 8.0, size=400)
data = CuredExponentials().sample(Params(0.3, 0.5), np.column_stack([watched, watched, watched]), rng)
start = Params(0.5, 1.0)
check_model(CuredExponentials(), start, data[:80])
fit = fit_em(CuredExponentials(), start, data, tol=1e-8)


def minus_log_likelihood(vector):
    cured, rate = 1 / (1 + np.exp(-vector[0])), np.exp(vector[1])
    years, failed, _ = data.T
    surviving = np.exp(-rate * years)
    return -np.sum(
        np.log(np.where(failed == 1, (1 - cured) * rate * surviving, cured + (1 - cured) * surviving))
    )


found = minimize(minus_log_likelihood, [0.0, 0.0], method="BFGS")
answer = Params(1 / (1 + np.exp(-found.x[0])), np.exp(found.x[1]))
print(f"by EM:           cured {fit.params.cured:.4f}, rate {fit.params.rate:.4f} ({fit.n_iter} iterations)")
print(f"by an optimiser: cured {answer.cured:.4f}, rate {answer.rate:.4f}")
