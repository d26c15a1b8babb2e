r"""Draws of the mean and covariance from their posterior, by data augmentation.

In the units of the fit the prior of the precision matrix P is the Wishart distribution for which the ridge r is
chosen (`emlearn.impute._choices`): :math:`p(P) \propto |P|^{r / 2} \exp(-\tfrac r2 \operatorname{tr} P)`, of
r + d + 1 degrees of freedom. Of the covariance that is :math:`|\Sigma|^{-r / 2 - d - 1} \exp(-\tfrac r2
\operatorname{tr} \Sigma^{-1})`. Without a ridge it is noninformative, :math:`|\Sigma|^{-(d + 1) / 2}`. Of the
mean it is flat.

Given n completed rows with scatter S about their mean, P has a Wishart distribution of n + r + d degrees of
freedom, n - 1 without a ridge, and scale :math:`(S + r I)^{-1}`, and :math:`\mu` given it is normal about their
mean, with covariance :math:`\Sigma / n`. Missing entries are drawn given the observed and these, these given
the completed rows, and so on. The chain forgets by the rate at which EM converges.

References
----------
Tanner & Wong (1987), The calculation of posterior distributions by data augmentation, JASA 82. Schafer (1997),
Analysis of Incomplete Multivariate Data, Chapman & Hall, ch. 5. Bartlett (1933), On the theory of statistical
regression, Proc. R. Soc. Edinburgh 53.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from emlearn.em import Batch, LatentPair
from emlearn.families.gaussian import Gaussian, GaussianParams
from emlearn.families.patterns import find_gaps

# What is left of the start, and the most steps that this may take.
FORGOTTEN, MOST_STEPS = 0.02, 500
# Rows that weights may make of the rows there are.
MOST_ROWS = 1_000_000


def why_not(imputer, Z, weight):
    """Why this posterior is not to be drawn from; None where it is.

    Parameters
    ----------
    imputer : EMImputer
        Fitted.
    Z : ndarray of shape (n, d')
        The rows of the fit, those of their features that are modelled.
    weight : ndarray of shape (n,) or None

    Returns
    -------
    reason : str or None
    """
    if not len(imputer._features):
        return None  # there is nothing to draw
    family = imputer._model.family
    if len(imputer.weights_) > 1:
        return f"it has {len(imputer.weights_)} components, and one is needed"
    if not (isinstance(family, Gaussian) and family.has_correlations):
        return f"covariance_type={imputer.covariance_type!r} is neither 'full' nor 'tied'"
    if weight is not None and not np.array_equal(weight, np.rint(weight)):
        return "sample_weight holds numbers that are not whole, and what counts as rows must be drawn as rows"
    counts = np.ones(len(Z)) if weight is None else weight
    if counts.sum() > max(MOST_ROWS, len(Z)):
        return f"sample_weight sums to {counts.sum():g}, and so many rows cannot be drawn"
    n, d = float(counts @ (~np.isnan(Z)).mean(axis=1)), Z.shape[1]
    if not family.ridge and n - 1 < d:
        return f"there are entries for {n:.0f} complete rows of {d} features, which with ridge=0 is too few"
    return None


class Posterior:
    """Draws of the parameters of one Gaussian given incomplete rows.

    Parameters
    ----------
    imputer : EMImputer
        Fitted, of what `why_not` lets pass.
    Z : ndarray of shape (n, d')
        The rows of the fit, those of their features that are modelled.
    weight : ndarray of shape (n,) or None
        Whole numbers.
    """

    def __init__(self, imputer, Z, weight):
        self._family, self._start = imputer._model.family, imputer._params
        counts = np.ones(len(Z)) if weight is None else weight
        told = ~np.isnan(Z).all(axis=1) & (counts > 0)  # no other row says anything
        Z, counts = (Z[told] - imputer._units.shift) / imputer._units.scale, counts[told]
        centred = Z - self._start.family.means[0]
        whole = ~np.isnan(Z).any(axis=1)
        complete = centred[whole]
        self._n = counts.sum()
        self._first = counts[whole] @ complete
        self._second = (complete.T * counts[whole]) @ complete
        # Missing entries of a row that counts twice are drawn twice.
        self._rest = np.repeat(centred[~whole], counts[~whole].astype(np.intp), axis=0).T.copy()
        self._missing = np.isnan(self._rest)
        self._gaps = find_gaps(Batch(self._rest)) if self._rest.size else None
        self._places = None if self._gaps is None else self._gaps.places()
        self._n_steps = n_steps(getattr(imputer, "fraction_missing_information_", np.nan))
        if self._gaps is None:
            self._n_steps = 1  # which does not depend on where it starts

    def draw(self, rng):
        """Parameters, by a chain of its own from the maximum.

        Parameters
        ----------
        rng : RandomState

        Returns
        -------
        params : LatentPair
        """
        mean, covariance = np.zeros(len(self._first)), self._start.family.covariances[0]
        for _ in range(self._n_steps):
            first, second = self._first, self._second
            if self._gaps is not None:
                filled = self._fill(mean, covariance, rng)
                first, second = first + filled.sum(axis=1), second + filled @ filled.T
            mean, covariance = self._of_completed(first, second, rng)
        means = self._start.family.means + mean
        return LatentPair(self._start.latent, GaussianParams(means, covariance[None]))

    def _fill(self, mean, covariance, rng):
        """Incomplete rows (d, m), about the fitted mean, with what is missing drawn.

        As in `emlearn.impute._draws`: a row drawn whole misses its own conditional mean by as much as a draw
        misses that of the row.
        """
        structure = self._family.structure
        given = structure.given(structure.whitener(covariance[None])[0], self._gaps, self._places)
        whole = np.linalg.cholesky(covariance) @ rng.standard_normal(self._rest.shape)
        whole += mean[:, None]
        off = np.where(self._missing, 0.0, self._rest - whole)
        given.fill(off, False)
        return np.where(self._missing, whole + off, self._rest)

    def _of_completed(self, first, second, rng):
        """Mean and covariance given the sums over completed rows."""
        n, ridge, d = self._n, self._family.ridge, len(first)
        scatter = second - np.outer(first, first) / n + ridge * np.eye(d)
        (scatter,) = self._family.nearest(scatter[None] / n) * n
        dof = n + ridge + d if ridge else n - 1
        # Bartlett: a triangle of normal variates, with roots of chi-squared ones on its diagonal.
        triangle = np.tril(rng.standard_normal((d, d)), -1)
        triangle[np.diag_indices(d)] = np.sqrt(rng.chisquare(dof - np.arange(d)))
        root = solve_triangular(triangle, np.linalg.cholesky(scatter).T, lower=True).T  # Σ = root rootᵀ
        mean = first / n + root @ rng.standard_normal(d) / np.sqrt(n)
        (covariance,) = self._family.nearest((root @ root.T)[None])
        return mean, covariance


def n_steps(rate):
    """Steps of a chain that forgets by a rate at each."""
    if not np.isfinite(rate):
        return MOST_STEPS
    rate = min(max(rate, 1e-3), 1 - 1e-9)
    return int(min(np.ceil(np.log(FORGOTTEN) / np.log(rate)), MOST_STEPS))
