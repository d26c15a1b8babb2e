r"""What is chosen by the data: how strong a prior, and how many factors.

The prior on a precision matrix P of d features of unit variance, :math:`\log p(P) = \tfrac12 r \, (\log |P| -
\operatorname{tr} P)`, is a Wishart distribution of :math:`\nu = r + d + 1` degrees of freedom, under which the
expected covariance is I. With S the scatter of n rows about their mean, the means integrated out, the evidence
of r is

.. math:: \log \frac{\Gamma_d(\frac{\nu + n - 1}2)}{\Gamma_d(\frac\nu2)} + \frac{\nu d}2 \log r -
   \frac{\nu + n - 1}2 \log |S + r I| .

Where entries are missing, rows of what is imputed would confirm whatever r they were imputed by. Near the
maximum :math:`\hat\Sigma` the likelihood is that of m complete rows, as many as there are entries for, with the
scatter of the same gradient: :math:`S - (n - m) \hat\Sigma`, where S is what an E-step expects. The evidence of
these and a few EM steps with the r of the greatest go by turns.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import multigammaln

from emlearn.em.fit import climb

# The ridge where the data say nothing of it, and the spread of its logarithm. With a wider one the ridge of few
# features would draw their correlations to 0 by more than intervals of estimates can bear.
USUAL, SPREAD = 1.0, 0.8
# Least and greatest ridge, the latter in rows of the data.
LEAST, MOST = 1e-3, 100.0
# Turns of evidence and EM, at most; steps of EM in each; and a change of the logarithm that ends them.
ROUNDS, STEPS, SAME = 12, 4, 0.05


def log_evidence(ridge, eigenvalues, n):
    """Evidence of a ridge, up to a constant.

    Parameters
    ----------
    ridge : float
    eigenvalues : ndarray of shape (d,)
        Of the scatter matrix, in units in which features have variance 1.
    n : float
        Number of rows.
    """
    d = len(eigenvalues)
    before = ridge + d + 1
    after = before + max(n - 1, 0.0)
    gammas = multigammaln(0.5 * after, d) - multigammaln(0.5 * before, d)
    return gammas + 0.5 * before * d * np.log(ridge) - 0.5 * after * np.log(eigenvalues + ridge).sum()


def most_evident(eigenvalues, n):
    """The ridge of greatest evidence, of a scatter matrix with these eigenvalues."""

    def loss(log_ridge):
        prior = 0.5 * ((log_ridge - np.log(USUAL)) / SPREAD) ** 2
        return prior - log_evidence(np.exp(log_ridge), eigenvalues, n)

    bounds = np.log(LEAST), np.log(MOST * max(n, 1.0))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def choose_ridge(model_of, start, data, columns):
    """The ridge of greatest evidence, and parameters to go on from.

    Parameters
    ----------
    model_of : callable
        The model, of one Gaussian, with a given ridge.
    start : LatentPair
    data : Data
        Rows in units in which features have variance 1.
    columns : ndarray of shape (d',)
        Features of which no linear relation holds.
    """
    ridge, params, steps = USUAL, start, []
    n_whole = data.sum(_rows_of_entries)
    for number in range(ROUNDS):
        model = model_of(ridge)
        fit = climb(model, params, data, tol=0.1, max_iter=STEPS)
        params, totals = fit.params, fit.stats.family
        scatter = model.family.structure.covariance(totals.second, totals.first.shape[1])[0]
        scatter = scatter - np.outer(totals.first[0], totals.first[0]) / totals.weight[0]
        scatter -= (totals.weight[0] - n_whole) * model.family.covariance(params.family)[0]
        if not np.isfinite(scatter).all():  # outliers beyond what can be squared
            return USUAL, start
        eigenvalues = np.linalg.eigvalsh(scatter[np.ix_(columns, columns)])
        found = most_evident(np.maximum(eigenvalues, 0.0), n_whole)
        steps.append(np.log(found / ridge))
        ridge = found
        if number and abs(steps[-1]) < SAME:
            break
        if len(steps) > 2 and 0 < steps[-1] / steps[-2] < 0.9:  # on to where these steps lead
            rest = steps[-1] / steps[-2]
            ridge = float(np.exp(np.log(ridge) + steps[-1] * rest / (1 - rest)))
            steps = []
    return float(f"{ridge:.3g}"), params


def _rows_of_entries(batch):
    """Of how many complete rows a batch has the entries."""
    return batch.sum(1.0 - np.isnan(batch.x).mean(axis=0))


# Steps of EM by which numbers of factors are compared, at most, and nats that are left to gain.
FACTOR_STEPS, FACTOR_TOL = 100, 1.0


def choose_n_factors(model_of, start_of, data, most):
    """The number of factors of the least BIC, and parameters to go on from.

    It doubles until BIC rises, and what lies between is halved: so there are some 2 log q fits.

    Parameters
    ----------
    model_of : callable
        The model with a given number of factors.
    start_of : callable
        Parameters to begin from, of a model.
    data : Data
    most : int
        Largest number.
    """
    tried = {}

    def bic(q):
        if q not in tried:
            model = model_of(q)
            fit = climb(model, start_of(model), data, tol=FACTOR_TOL, max_iter=FACTOR_STEPS)
            size = model.family.n_parameters(fit.params.family)
            tried[q] = size * np.log(max(fit.weight, 2.0)) - 2 * fit.log_likelihood, fit.params
        return tried[q][0]

    best = 1
    while 2 * best <= most and bic(2 * best) < bic(best):
        best *= 2
    bic(best)
    step = best // 2
    while step:
        for q in (best - step, best + step):
            if 1 <= q <= most and bic(q) < bic(best):
                best = q
                break
        step //= 2
    return best, tried[best][1]
