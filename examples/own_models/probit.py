"""Probit regression, as a linear regression of which only the sign is seen.

Hidden is the response itself, z = β · x + a standard normal: y says whether it is positive. The E-step finds
the mean of z, of a normal that is cut at 0, and the M-step is least squares. Source: Albert & Chib (1993),
Bayesian analysis of binary and polychotomous response data, J. Am. Stat. Assoc. 88, for the hidden normals;
as EM McCulloch (1994), Maximum likelihood variance components estimation for binary data. The data are
beetles killed by doses of carbon disulphide (Bliss, 1935), for which Dobson (An Introduction to Generalized
Linear Models) has −34.94 and 19.73.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr

from emlearn.em import EMModel, EStep, Real, fit_em
from emlearn.testing import check_model


class Params(NamedTuple):
    coef: np.ndarray


class Stats(NamedTuple):
    products: np.ndarray  # Σ x x'
    response: np.ndarray  # Σ E[z] x


class Probit(EMModel):
    """Rows are a response, 0 or 1, then features, of which one may be constant."""

    spaces = Params(Real())

    def expectation(self, params):
        def e_step(batch):
            y, X = batch.x[0], batch.x[1:]
            sign, linear = 2 * y - 1, params.coef @ X
            log_density = log_ndtr(sign * linear)
            response = linear + sign * np.exp(-0.5 * linear**2 - log_density) / np.sqrt(2 * np.pi)
            weighted = X if batch.weight is None else X * batch.weight
            return EStep(Stats(weighted @ X.T, weighted @ response), batch.sum(log_density), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return Params(np.linalg.solve(stats.products, stats.response))

    def sample(self, params, rows, rng):
        X = rows[:, 1:]
        return np.column_stack([rng.normal(X @ params.coef) > 0, X])


dose = np.array([1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839])  # log10 of mg / l
beetles = np.array([59, 60, 62, 56, 63, 59, 62, 60])
killed = np.array([6, 13, 18, 28, 52, 53, 61, 60])
CENTRE, WIDTH = 1.8, 0.06  # EM does not mind, but rounding does
x = np.column_stack([np.ones(8), (dose - CENTRE) / WIDTH])
data = np.vstack([np.column_stack([np.full(8, y), x]) for y in (1.0, 0.0)])
weights = np.concatenate([killed, beetles - killed])
start = Params(np.zeros(2))
check_model(Probit(), start, (data, weights))
fit = fit_em(Probit(), start, (data, weights), tol=1e-8)
slope = fit.params.coef[1] / WIDTH
coef = np.array([fit.params.coef[0] - slope * CENTRE, slope])
answer = np.array([-34.94, 19.73])
print("by EM:    ", *coef.round(2), f"({fit.n_iter} iterations)")
print("by Dobson:", *answer)
