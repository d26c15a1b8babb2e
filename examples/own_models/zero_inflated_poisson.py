"""Poisson regression of counts with too many zeros.

Hidden is which zeros are of those that never count, and which happen to be 0. The E-step finds the
probability that a row counts. Of the M-step the share has a closed form, the coefficients have not: one
Newton step for them is enough (generalised EM), and where it goes too far `shortened` halves it. Source:
Lambert (1992), Zero-inflated Poisson regression, with an application to defects in manufacturing,
Technometrics 34.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from emlearn.em import EMModel, EStep, Probability, Real, fit_em
from emlearn.testing import check_model


class Params(NamedTuple):
    never: float  # share of rows that never count
    coef: np.ndarray


class Stats(NamedTuple):
    n: float
    counting: float
    score: np.ndarray  # slope of the expected log-likelihood at the old coefficients
    information: np.ndarray  # and how it is curved


class ZeroInflatedPoisson(EMModel):
    """Rows are a count, then features, of which one may be constant."""

    spaces = Params(Probability(), Real())

    def expectation(self, params):
        def e_step(batch):
            y, X = batch.x[0], batch.x[1:]
            log_rate = params.coef @ X
            rate = np.exp(log_rate)
            counts = np.log1p(-params.never) + y * log_rate - rate - gammaln(y + 1)
            log_density = np.where(y == 0, np.logaddexp(np.log(params.never), counts), counts)
            resp = np.exp(counts - log_density)
            weighted = resp if batch.weight is None else resp * batch.weight
            stats = Stats(
                batch.total_weight,
                weighted.sum(),
                X @ (weighted * (y - rate)),
                (X * (weighted * rate)) @ X.T,
            )
            return EStep(stats, batch.sum(log_density), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return self.shortened(stats, params, 0)

    def shortened(self, stats, params, attempt):
        step = np.linalg.solve(stats.information, stats.score)
        return Params(1 - stats.counting / stats.n, params.coef + 0.5**attempt * step)

    def sample(self, params, rows, rng):
        X = rows[:, 1:]
        counts = rng.poisson(np.exp(X @ params.coef)) * (rng.uniform(size=len(rows)) >= params.never)
        return np.column_stack([counts, X])


rng = np.random.RandomState(0)
X = np.column_stack([np.ones(500), rng.normal(size=(500, 2))])
data = ZeroInflatedPoisson().sample(
    Params(0.35, np.array([0.5, 0.8, -0.4])), np.column_stack([np.zeros(500), X]), rng
)
start = Params(0.5, np.zeros(3))
check_model(ZeroInflatedPoisson(), start, data[:80])
fit = fit_em(ZeroInflatedPoisson(), start, data, tol=1e-8)


def minus_log_likelihood(vector):
    y, log_rate = data[:, 0], X @ vector[1:]
    log_never, log_other = -np.logaddexp(0, -vector[0]), -np.logaddexp(0, vector[0])
    counts = log_other + y * log_rate - np.exp(log_rate) - gammaln(y + 1)
    return -np.where(y == 0, np.logaddexp(log_never, counts), counts).sum()


found = minimize(minus_log_likelihood, np.zeros(4), method="BFGS")
answer = Params(1 / (1 + np.exp(-found.x[0])), found.x[1:])
print(f"by EM:           never {fit.params.never:.4f}, coefficients", *fit.params.coef.round(4))
print(f"by an optimiser: never {answer.never:.4f}, coefficients", *answer.coef.round(4))
