r"""Families whose parameters are distributions of parameters: variational Bayes.

With a conjugate prior and a posterior q that takes hidden values and parameters for independent, the evidence
has the lower bound

.. math:: \mathcal L = \sum_n \log \sum_k e^{E \log w_k + E \log p(x_n \mid \theta_k)}
    - \mathrm{KL}(q(\theta) \,\|\, p(\theta)).

The first part is what an E-step sums up, with expected log-densities in the place of log-densities; the second
is `log_prior`; and the M-step adds expected statistics to the prior's. So the engine fits such a family as it
fits any other. Parameters are those of q; priors have the same form, with one component that serves all or a
component each, as the posterior of data seen before has.

References
----------
Attias (2000), A variational Bayesian framework for graphical models, NIPS 12. Bishop (2006), Pattern
Recognition and Machine Learning, chapter 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from emlearn.em.batches import Affine, Batch
from emlearn.em.dirichlet import beta_divergence, dirichlet_divergence, expected_logs
from emlearn.em.model import Observed
from emlearn.em.spaces import Counts, Real
from emlearn.em.trees import leaves, tree_map
from emlearn.families.base import (
    Emission,
    ExponentialFamily,
    FloatArray,
    Sketch,
    WrappedFamily,
    diagonal,
    filled,
)
from emlearn.families.bernoulli import Bernoulli, BernoulliParams
from emlearn.families.categorical import Categorical, CategoricalParams
from emlearn.families.covariance import Structure
from emlearn.families.gaussian import Gaussian, GaussianParams, GaussianTotals, moved_moments
from emlearn.families.patterns import find_gaps
from emlearn.families.poisson import Poisson, PoissonParams
from emlearn.families.product import Product

# A posterior's scatter is at least the prior's, up to this share.
NOT_LESS = 0.999
# Squared lengths above which a predictive density takes its volume from elsewhere.
FAR = 1e6
# Least eigenvalue of a predictive covariance matrix, as a share of its largest entry.
LEAST_SHARE = 1e-14


class NormalWishart(NamedTuple):
    r"""Distribution of the means and precision matrices of K Gaussians, or of one that serves as prior of all.

    :math:`\Lambda \sim W(\nu, S^{-1})`, with the mean :math:`\nu S^{-1}`, and :math:`\mu \mid \Lambda \sim
    N(m, (\beta \Lambda)^{-1})`. Diagonal forms have a Gamma distribution of shape ν/2 and rate S/2 for each
    feature, spherical ones one of shape νd/2 and rate Sd/2.
    """

    means: FloatArray  # (K, d) m
    precision: FloatArray  # (K,) β: how many observations the mean is worth
    dof: FloatArray  # (C,) ν: how many observations the precision matrix is worth
    scatter: FloatArray  # (C, ...) S


class _OfPrior(NamedTuple):
    """What divergences from a prior take of its matrices."""

    root: FloatArray  # (C, ...)
    log_det: FloatArray  # (C,) of the inverse roots
    log_gamma: FloatArray  # (C,) log-normaliser in the degrees of freedom


@dataclass(frozen=True, eq=False)
class VariationalGaussian(Emission):
    r"""Gaussian components whose means and precision matrices have a `NormalWishart` distribution.

    Missing entries, NaN, are hidden values like any others: the bound is one of the density of what is
    observed. Observations of which all is missing say nothing.

    Parameters
    ----------
    gaussian : Gaussian
        The family, of one of the six forms with a conjugate prior: full, diagonal or spherical, each
        component's own or one for all. Its floor and ridge play no part.
    prior : NormalWishart
        Prior of every component, of shapes (1, d), (1,), (1,), (1, ...); or of each, (K, d), (K,), (C,),
        (C, ...).

    Raises
    ------
    ValueError
        If the form has no conjugate prior, or the prior is none: degrees of freedom of at most d − 1 (0, where
        there are no correlations), a mean worth no observations, or a scatter that is not positive definite.

    Examples
    --------
    One component of known form: the bound is the evidence.

    >>> import numpy as np
    >>> from emlearn.em import Batches, LatentModel, fit_em
    >>> from emlearn.families import COVARIANCE_SHAPES, Gaussian, NormalWishart, VariationalGaussian
    >>> from emlearn.latent import DirichletWeights
    >>> X = np.array([[0.0], [1.0], [3.0]])
    >>> prior = NormalWishart(np.zeros((1, 1)), np.ones(1), np.ones(1), np.ones((1, 1, 1)))
    >>> family = VariationalGaussian(Gaussian(COVARIANCE_SHAPES["full"]), prior)
    >>> model = LatentModel(DirichletWeights(1.0), family)
    >>> data = Batches(X)
    >>> result = fit_em(model, model.start(next(iter(data)), np.ones((1, 3))), data)
    >>> print(f"{result.objective:.6f}")
    -6.874427
    """

    is_density = False  # but a bound on one

    gaussian: Gaussian
    prior: NormalWishart

    marginalises = True

    def __post_init__(self) -> None:
        structure, d = self.gaussian.structure, self.prior.means.shape[1]
        if not structure.conjugate:
            raise ValueError(
                f"{type(structure).__name__} covariances have no conjugate prior: choose full, diag, spherical "
                "or one of these that is tied."
            )
        least = structure.least_dof(d)
        if not (self.prior.dof > least).all():
            raise ValueError(
                f"The prior's degrees of freedom must be more than {least} (d - 1 of full matrices), but are "
                f"{self.prior.dof.min():.6g}."
            )
        if not (self.prior.precision > 0).all():
            raise ValueError(
                f"The precision of the prior's mean must be positive, but is {self.prior.precision.min():.6g}."
            )
        structure.refuse(self.prior.scatter, d, "the prior's scatter")

    @property
    def _structure(self) -> Structure:
        return self.gaussian.structure

    @property
    def plain(self) -> Gaussian:
        """The family whose parameters have a distribution."""
        return self.gaussian

    @cached_property
    def spaces(self) -> Any:
        return NormalWishart(
            Real(),  # type: ignore[arg-type]
            Counts(self.prior.precision),  # type: ignore[arg-type]
            Counts(self.prior.dof),  # type: ignore[arg-type]
            self._structure.space(),
        )

    # -- EM ----------------------------------------------------------------------------------------------

    def plug_in(self, params: NormalWishart) -> GaussianParams:
        """The Gaussians of the expected means and precision matrices."""
        return GaussianParams(params.means, _times(1 / params.dof, params.scatter))

    def density(self, params: NormalWishart) -> Callable[[Batch], Observed]:
        """Expected log-densities, and statistics, at ``params``, as a function of a batch."""
        inner = self.gaussian.density(self.plug_in(params), self._shift(params))

        def observe(batch: Batch) -> Observed:
            seen = inner(batch)
            gaps = find_gaps(batch)
            if gaps is not None and gaps.empty.size:
                seen.log_prob[:, gaps.empty] = 0.0
            return seen

        return observe

    def _shift(self, params: NormalWishart) -> FloatArray:
        """By how much expected log-densities differ from log-densities at the plug-in parameters, (K,)."""
        structure, d = self._structure, params.means.shape[1]
        n_pooled = structure.n_pooled(d)
        logs = n_pooled * digamma(structure.gamma_shapes(params.dof, d)).sum(axis=1)
        of_matrix = 0.5 * (logs - d * np.log(0.5 * n_pooled * params.dof))
        shift: FloatArray = of_matrix[structure.which(len(params.means))] - 0.5 * d / params.precision
        return shift

    def maximize(self, totals: GaussianTotals, params: NormalWishart) -> NormalWishart:
        """The posterior given Σ r T(x): the prior's worth of observations and these."""
        structure, prior = self._structure, self.prior
        weight = totals.weight[:, None]
        precision = prior.precision + totals.weight
        step = (totals.first + prior.precision[:, None] * (prior.means - params.means)) / precision[:, None]
        means = params.means + step
        # Moments about the new means, from those about the old ones; and the prior's mean about them.
        moved = structure.products(step, weight * step - 2 * totals.first)
        away = means - prior.means
        moved += prior.precision[:, None] * structure.products(away, away)
        scatter = structure.covariance(totals.second + structure.pool(moved), means.shape[1])
        return NormalWishart(
            means, precision, prior.dof + structure.pool(totals.weight), prior.scatter + scatter
        )

    def recentred(self, totals: GaussianTotals, old: NormalWishart, new: NormalWishart) -> GaussianTotals:
        return moved_moments(self._structure, totals, new.means - old.means)

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> NormalWishart:
        """Parameters from weighted responsibilities (K, m)."""
        here = self.unseen(len(resp))
        return self.maximize(self.density(here)(batch).totals(resp), here)

    def unseen(self, n_components: int) -> NormalWishart:
        """The prior, for so many components."""
        n_matrices = 1 if self._structure.shared else n_components
        means, precision, dof, scatter = self.prior
        of_all = len(means) == 1
        return NormalWishart(
            np.repeat(means, n_components, axis=0) if of_all else means,
            np.repeat(precision, n_components) if of_all else precision,
            np.repeat(dof, n_matrices) if of_all else dof,
            np.repeat(scatter, n_matrices, axis=0) if of_all else scatter,
        )

    def log_prior(self, params: NormalWishart) -> float:
        """Minus the Kullback-Leibler divergence of the posterior from the prior, in nats."""
        return -float(self.divergences(params).sum())

    def divergences(self, params: NormalWishart) -> FloatArray:
        """What each component, and what is shared, adds to the divergence from the prior, (K,)."""
        structure, prior, d = self._structure, self.prior, params.means.shape[1]
        dof = params.dof
        whitener = structure.whitener(params.scatter)
        away = params.means - prior.means
        lengths = np.einsum("ki,ki->k", away, structure.apply_precision(whitener, away))
        ratio = prior.precision / params.precision
        of_means = d * (ratio - 1 - np.log(ratio))
        of_means += prior.precision * dof[structure.which(len(away))] * lengths
        before, shapes = self._before, structure.gamma_shapes(dof, d)
        of_matrices = (dof - prior.dof) * structure.n_pooled(d) * digamma(shapes).sum(axis=1)
        of_matrices -= 2 * (gammaln(shapes).sum(axis=1) - before.log_gamma)
        of_matrices += dof * (structure.traces(whitener, before.root, d) - d)
        of_matrices += 2 * prior.dof * (before.log_det - structure.log_det(whitener, d))
        if structure.shared:  # the first one's, so that the sum is right
            of_matrices = np.append(of_matrices, np.zeros(len(away) - 1))
        divergences: FloatArray = 0.5 * (of_means + of_matrices)
        return divergences

    @cached_property
    def _before(self) -> _OfPrior:
        """What the divergence takes of the prior's matrices."""
        structure, (_, _, dof, scatter) = self._structure, self.prior
        d = self.prior.means.shape[1]
        log_gamma = gammaln(structure.gamma_shapes(dof, d)).sum(axis=1)
        return _OfPrior(structure.root(scatter), structure.log_det(structure.whitener(scatter), d), log_gamma)

    def resting(self, params: NormalWishart) -> NDArray[np.bool_] | None:
        # No posterior has less scatter than the prior: extrapolation that leads there is refused.
        beyond = self._structure.n_at_floor(params.scatter - NOT_LESS * self.prior.scatter, 0.0) > 0
        if not beyond.any():
            return None
        K, d = params.means.shape
        of_components = beyond[self._structure.which(K)]
        n_coordinates = self.spaces.scatter.n_coordinates(params.scatter)
        return np.concatenate(
            [
                np.repeat(of_components, d),
                of_components,
                beyond,
                self._structure.coordinates_of(beyond, n_coordinates),
            ]
        )

    # -- what else families are asked --------------------------------------------------------------------

    def predictive(self, params: NormalWishart) -> Callable[[Batch], FloatArray]:
        """Log-densities (K, m) of new observations, parameters integrated out, as a function of a batch.

        Student's t, with ν − d + 1 degrees of freedom for full matrices, ν for each feature of diagonal ones,
        νd for spherical ones.
        """
        if self._structure.by_feature:
            return self._predict_by_feature(params)
        spread, dof = self._of_predictive(params)
        # The density of a Gaussian of two volumes tells lengths from determinants, whatever is missing.
        narrow = self._alone.density(spread)
        wide = self._alone.density(spread._replace(covariances=2 * spread.covariances))
        dof, centre = dof[:, None], params.means.mean(axis=0)

        def measured(batch: Batch, p: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
            """Squared lengths, and −½ log |Σ|, both (K, m)."""
            seen = narrow(batch)
            log_narrow = seen.log_prob + seen.shared_log_prob()
            seen = wide(batch)
            lengths = 4 * (seen.log_prob + seen.shared_log_prob() - log_narrow) + 2 * p * np.log(2)
            lengths = np.maximum(lengths, 0.0)
            return lengths, log_narrow + 0.5 * lengths + 0.5 * p * np.log(2 * np.pi)

        def predict(batch: Batch) -> FloatArray:
            gaps = find_gaps(batch)
            p = np.full(batch.x.shape[1], len(batch.x)) if gaps is None else gaps.n_observed
            lengths, normal = measured(batch, p)
            far = np.flatnonzero((lengths > FAR).any(axis=0))
            if len(far):  # their lengths leave no digits for a volume: it is that of like rows at the centre
                here = np.where(np.isnan(batch.x[:, far]), np.nan, centre[:, None])
                normal[:, far] = measured(Batch(here), p[far])[1]
            return np.asarray(
                normal
                + gammaln(0.5 * (dof + p))
                - gammaln(0.5 * dof)
                - 0.5 * p * np.log(np.pi * dof)
                - 0.5 * (dof + p) * np.log1p(lengths / dof)
            )

        return predict

    def _predict_by_feature(self, params: NormalWishart) -> Callable[[Batch], FloatArray]:
        spread, of_matrices = self._of_predictive(params)
        dof = of_matrices[:, None, None]
        means, variances = spread.means[:, :, None], spread.covariances[:, :, None]
        constant = gammaln(0.5 * (dof + 1)) - gammaln(0.5 * dof) - 0.5 * np.log(np.pi * dof * variances)

        def predict(batch: Batch) -> FloatArray:
            of_entries = constant - 0.5 * (dof + 1) * np.log1p((batch.x - means) ** 2 / (dof * variances))
            return np.asarray(np.nansum(of_entries, axis=1))  # what is missing has density 1

        return predict

    def _of_predictive(self, params: NormalWishart) -> tuple[GaussianParams, FloatArray]:
        """Scale matrices, each component's own, and degrees of freedom (K,) of new observations."""
        K, d = params.means.shape
        dof, scatter = (part[self._structure.which(K)] for part in (params.dof, params.scatter))
        weight = dof - self._structure.least_dof(d)
        covariances = _times((1 + 1 / params.precision) / weight, scatter)
        # Rounding may leave nothing of what is small beside an outlier.
        each = [self._structure.raise_to(part[None], LEAST_SHARE * np.max(part)) for part in covariances]
        covariances = np.concatenate(each)
        return GaussianParams(params.means, covariances), weight * self._structure.n_pooled(d)

    def predictive_covariance(self, params: NormalWishart) -> FloatArray:
        """Covariance matrix of new observations of each component, (K, d, d).

        Where there are too few degrees of freedom for one, infinite on the diagonal and NaN elsewhere.
        """
        spread, dof = self._of_predictive(params)
        covariances = self._alone.covariance(spread)
        none = np.full(covariances.shape[1:], np.nan)
        np.fill_diagonal(none, np.inf)
        has_one = dof > 2
        times = np.where(has_one, dof / np.where(has_one, dof - 2, 1.0), 1.0)
        return np.where(has_one[:, None, None], _times(times, covariances), none)

    def sample(self, params: NormalWishart, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One new observation from the component of each label, (n, d), parameters integrated out."""
        spread, dof = self._of_predictive(params)
        d = params.means.shape[1]
        width = d if self._structure.by_feature else 1
        noise = self._alone.sample(spread._replace(means=np.zeros_like(spread.means)), labels, rng)
        of_rows = dof[labels, None]
        return params.means[labels] + noise * np.sqrt(of_rows / rng.chisquare(of_rows, (len(labels), width)))

    @cached_property
    def _alone(self) -> Gaussian:
        """The family in which each component has a matrix of its own."""
        return replace(self.gaussian, structure=replace(self._structure, shared=False), forced=None)

    def mean(self, params: NormalWishart) -> FloatArray:
        """Expected mean of each component, (K, d)."""
        return params.means

    def covariance(self, params: NormalWishart) -> FloatArray:
        """Inverse of the expected precision matrix of each component, (K, d, d)."""
        return self.gaussian.covariance(self.plug_in(params))

    def embedding(self, batch: Batch) -> FloatArray:
        return self.gaussian.embedding(batch)

    def units(self, variances: FloatArray) -> FloatArray:
        return self.gaussian.units(variances)

    def in_units(self, params: NormalWishart, units: Affine) -> NormalWishart:
        return params._replace(
            means=params.means * units.scale + units.shift,
            scatter=self._structure.rescale(params.scatter, units.scale),
        )

    def reorder(self, params: NormalWishart, order: NDArray[np.int_]) -> NormalWishart:
        of_matrices = np.zeros(1, dtype=np.intp) if self._structure.shared else order
        return NormalWishart(
            params.means[order], params.precision[order], params.dof[of_matrices], params.scatter[of_matrices]
        )

    def reordered(self, order: NDArray[np.int_]) -> VariationalGaussian:
        """The same prior, of components in another order."""
        return self if len(self.prior.means) == 1 else replace(self, prior=self.reorder(self.prior, order))

    def marginal(self, params: NormalWishart, columns: NDArray[np.int_]) -> NormalWishart:
        """Distribution of the means and covariances of some features."""
        structure, d, n_kept = self._structure, params.means.shape[1], len(columns)
        # What all features told of one variance is still known of it.
        times = structure.n_pooled(d) / structure.n_pooled(n_kept)
        dof = times * (params.dof - (structure.least_dof(d) - structure.least_dof(n_kept)))
        scatter = times * structure.marginal(params.scatter, columns)
        return NormalWishart(params.means[:, columns], params.precision, dof, scatter)

    def of_some(self, columns: NDArray[np.int_]) -> VariationalGaussian:
        """The family of some features."""
        return VariationalGaussian(self.gaussian.of_some(columns), self.marginal(self.prior, columns))

    def fields(self, params: NormalWishart, lead: tuple[int, ...]) -> dict[str, Any]:
        """Means and covariances as `Gaussian.fields` has them, and what the means and matrices are worth."""
        return {
            **self.gaussian.fields(self.plug_in(params), lead),
            "mean_precision": params.precision.reshape(lead).copy(),
            "degrees_of_freedom": params.dof[self._structure.which(len(params.means))].reshape(lead),
        }

    def n_parameters(self, params: NormalWishart) -> int:
        """Number of free parameters of the Gaussians."""
        return self.gaussian.n_parameters(self.plug_in(params))

    def floats_per_row(self, n_components: int, d: int) -> int:
        """How many numbers an E-step works on per observation."""
        return self.gaussian.floats_per_row(n_components, d)

    def size(self, d: int) -> int:
        """Number of parameters of a component of d features."""
        return self.gaussian.size(d)

    def has_form_of(self, other: Any) -> bool:
        """Whether parameters of the other family are parameters of this one."""
        return isinstance(other, VariationalGaussian) and self.gaussian.has_form_of(other.gaussian)

    @property
    def rounding(self) -> float:
        # A prior mean far off puts its distance into the scatter, which leaves the least eigenvalue few digits.
        prior = self.prior
        largest = max(1.0, float(prior.precision.max() * np.square(prior.means).sum(axis=1).max()))
        return max(1e-10, 10 * float(np.finfo(np.float64).eps) * largest / self._least)

    @cached_property
    def _least(self) -> float:
        """Least eigenvalue of the prior's scatter, below which no matrix comes."""
        return float(
            np.linalg.eigvalsh(self._structure.dense(self.prior.scatter, self.prior.means.shape[1])).min()
        )


def _times(factors: FloatArray, matrices: FloatArray) -> FloatArray:
    """Each of some matrices (C, ...) times a factor (C,)."""
    return np.asarray(factors.reshape(-1, *[1] * (matrices.ndim - 1)) * matrices)


class GammaRates(NamedTuple):
    """Gamma distributions of the rates of K components over d counts, or of one that is prior of all."""

    shape: FloatArray  # (K, d) how many were counted
    rate: FloatArray  # (K, 1), or (K, d) by variable: in how many observations


class BetaProbabilities(NamedTuple):
    """Beta distributions of the probabilities of d variables in K components, or in one, prior of all."""

    ones: FloatArray  # (K, d) how many were 1
    zeros: FloatArray  # (K, d) how many were 0


class DirichletProbabilities(NamedTuple):
    """Dirichlet distributions of probabilities of categories in K components, or in one, prior of all."""

    counts: tuple[FloatArray, ...]  # d arrays (K, n_categories[j])


@dataclass(frozen=True, eq=False)
class _Conjugate(ExponentialFamily):
    """An exponential family with a conjugate prior, each of whose parameters counts something.

    A subclass states the natural parameters' expectations, what of the totals is added to the prior, and the
    divergence from it.
    """

    is_density = False  # but a bound on one

    family: Any
    prior: Any

    def __post_init__(self) -> None:
        if not all((np.asarray(leaf) > 0).all() for leaf in leaves(self.prior)):
            least = min(float(np.min(leaf)) for leaf in leaves(self.prior))
            raise ValueError(
                f"The prior of {type(self.family).__name__} must count more than 0 everywhere, but its least "
                f"entry is {least:.6g}."
            )

    @property
    def plain(self) -> Any:
        """The family whose parameters have a distribution."""
        return self.family

    def expected_log_joint(self, stats: Any, new: Any, old: Any) -> None:
        """None: parameters are of a posterior, which says itself how certain it is."""
        return None

    @cached_property
    def spaces(self) -> Any:
        return tree_map(Counts, self.prior)

    def unseen(self, n_components: int) -> Any:
        """The prior, for so many components."""
        times = n_components if len(leaves(self.prior)[0]) == 1 else 1
        return tree_map(lambda leaf: np.repeat(leaf, times, axis=0), self.prior)

    def reordered(self, order: NDArray[np.int_]) -> Any:
        """The same prior, of components in another order."""
        of_all = len(leaves(self.prior)[0]) == 1
        return self if of_all else replace(self, prior=self.reorder(self.prior, order))

    def predictive_covariance(self, params: Any) -> FloatArray:
        """Covariance matrix of new observations of each component, (K, d, d)."""
        return np.asarray(self.family.covariance(self.plug_in(params)))

    @property
    def support(self) -> str:  # type: ignore[override]
        return str(self.family.support)

    @property
    def marginalises(self) -> bool:  # type: ignore[override]
        return bool(self.family.marginalises)

    @property
    def observes(self) -> str:  # type: ignore[override]
        return str(self.family.observes)

    @property
    def counts_entries(self) -> bool:  # type: ignore[override]
        return bool(self.family.counts_entries)

    def beyond(self, batch: Batch) -> NDArray[np.bool_] | None:
        beyond: NDArray[np.bool_] | None = self.family.beyond(batch)
        return beyond

    def bound_to(self, sketch: Sketch) -> Emission:
        return replace(self, family=self.family.bound_to(sketch))

    def is_possible(self, x: FloatArray, params: Any = None) -> NDArray[np.bool_]:
        """Which entries of x (d, m) the family has a density for, whatever was seen before."""
        return np.asarray(self.family.is_possible(x))

    def is_observable(self, x: FloatArray) -> NDArray[np.bool_]:
        return np.asarray(self.family.is_observable(x))

    def statistics(self, batch: Batch) -> FloatArray:
        return np.asarray(self.family.statistics(batch))

    def base_measure(self, batch: Batch) -> FloatArray | float:
        value: FloatArray | float = self.family.base_measure(batch)
        return value

    def embedding(self, batch: Batch) -> FloatArray:
        return np.asarray(self.family.embedding(batch))

    def n_parameters(self, params: Any) -> int:
        """Number of free parameters of the family."""
        return int(self.family.n_parameters(self.plug_in(params)))

    def _counted(self, totals: FloatArray) -> Any:
        """What the totals Σ r T(x) (K, F) add to the prior's counts."""
        raise NotImplementedError

    def plug_in(self, params: Any) -> Any:
        """The family's parameters at their expectations."""
        raise NotImplementedError

    def divergences(self, params: Any) -> FloatArray:
        """Kullback-Leibler divergence of each component from the prior, (K,)."""
        raise NotImplementedError

    def predictive(self, params: Any) -> Callable[[Batch], FloatArray]:
        """Log-densities (K, m) of new observations, parameters integrated out, as a function of a batch."""
        density = self.family.density(self.plug_in(params))

        def predict(batch: Batch) -> FloatArray:
            seen = density(batch)
            return np.asarray(seen.log_prob + seen.shared_log_prob())

        return predict

    def maximize(self, totals: FloatArray, params: Any = None) -> Any:
        """The posterior given totals: the prior's counts and these."""
        return tree_map(np.add, self.prior, self._counted(totals))

    def log_prior(self, params: Any) -> float:
        """Minus the Kullback-Leibler divergence of the posterior from the prior, in nats."""
        return -float(self.divergences(params).sum())

    def sample(self, params: Any, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d), at the expected parameters."""
        return np.asarray(self.family.sample(self.plug_in(params), labels, rng))


@dataclass(frozen=True, eq=False)
class VariationalPoisson(_Conjugate):
    r"""Poisson counts whose rates have Gamma distributions.

    Parameters
    ----------
    family : Poisson
        The family.
    prior : GammaRates
        Prior of every component, of shapes (1, d) and (1, 1) or (1, d); or of each.

    Raises
    ------
    ValueError
        If the prior counts nothing.
    """

    family: Poisson
    prior: GammaRates

    def natural(self, params: GammaRates) -> FloatArray:
        expected_logs = digamma(params.shape) - np.log(params.rate)
        return np.hstack([np.zeros((len(expected_logs), 1)), expected_logs, -params.shape / params.rate])

    def _counted(self, totals: FloatArray) -> GammaRates:
        d = totals.shape[1] // 2
        return GammaRates(totals[:, 1 : 1 + d], totals[:, 1 + d :])

    def plug_in(self, params: GammaRates) -> PoissonParams:
        return PoissonParams(params.shape / params.rate)

    def mean(self, params: GammaRates) -> FloatArray:
        """Expected rates, (K, d)."""
        return params.shape / params.rate

    def covariance(self, params: GammaRates) -> FloatArray:
        """Covariance matrices at the expected rates, (K, d, d)."""
        return self.family.covariance(self.plug_in(params))

    def predictive_covariance(self, params: GammaRates) -> FloatArray:
        """Covariance matrix of new counts of each component, (K, d, d): negative binomial."""
        return diagonal(self.mean(params) * (1 + 1 / params.rate))

    def divergences(self, params: GammaRates) -> FloatArray:
        (a, b), (a0, b0) = params, self.prior
        own = (a - a0) * digamma(a) - gammaln(a) + gammaln(a0) + a0 * np.log(b / b0) + a * (b0 - b) / b
        return np.asarray(own.sum(axis=1))

    def predictive(self, params: GammaRates) -> Callable[[Batch], FloatArray]:
        """Log-probabilities (K, m) of new counts: negative binomial, rates integrated out."""
        a, b = params.shape[:, :, None], params.rate[:, :, None]

        def predict(batch: Batch) -> FloatArray:
            x = filled(batch)
            own = gammaln(a + x) - gammaln(a) - gammaln(x + 1) + a * np.log(b / (1 + b)) - x * np.log1p(b)
            return np.asarray(np.where(np.isnan(batch.x), 0.0, own).sum(axis=1))

        return predict

    def sample(self, params: GammaRates, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """New counts from the component of each label, (n, d), rates integrated out."""
        rates = rng.gamma(params.shape[labels]) / params.rate[labels]
        return rng.poisson(rates).astype(np.float64)


@dataclass(frozen=True, eq=False)
class VariationalBernoulli(_Conjugate):
    r"""Variables that are 0 or 1, whose probabilities have Beta distributions.

    Parameters
    ----------
    family : Bernoulli
        The family.
    prior : BetaProbabilities
        Prior of every component, of shapes (1, d), (1, d); or of each.

    Raises
    ------
    ValueError
        If the prior counts nothing.
    """

    family: Bernoulli
    prior: BetaProbabilities

    def natural(self, params: BetaProbabilities) -> FloatArray:
        log_p, log_q, both = digamma(params.ones), digamma(params.zeros), digamma(params.ones + params.zeros)
        return np.hstack([np.zeros((len(both), 1)), log_p - log_q, log_q - both])

    def _counted(self, totals: FloatArray) -> BetaProbabilities:
        d = totals.shape[1] // 2
        ones, entries = totals[:, 1 : 1 + d], totals[:, 1 + d :]
        return BetaProbabilities(ones, np.maximum(entries - ones, 0.0))

    def plug_in(self, params: BetaProbabilities) -> BernoulliParams:
        return BernoulliParams(self.mean(params))

    def mean(self, params: BetaProbabilities) -> FloatArray:
        """Expected probabilities of a 1, (K, d)."""
        return params.ones / (params.ones + params.zeros)

    def covariance(self, params: BetaProbabilities) -> FloatArray:
        """Covariance matrices, (K, d, d)."""
        return self.family.covariance(self.plug_in(params))

    def divergences(self, params: BetaProbabilities) -> FloatArray:
        return np.asarray(beta_divergence(*params, *self.prior).sum(axis=1))


@dataclass(frozen=True, eq=False)
class VariationalCategorical(_Conjugate):
    r"""Categorical variables whose probabilities have Dirichlet distributions.

    Parameters
    ----------
    family : Categorical
        The family. If it does not say how many categories there are, it has those of the prior.
    prior : DirichletProbabilities
        Prior of every component, d arrays (1, n_categories[j]); or of each.

    Raises
    ------
    ValueError
        If the prior counts nothing, or has another number of categories than the family.
    """

    family: Categorical
    prior: DirichletProbabilities

    def __post_init__(self) -> None:
        super().__post_init__()
        n_categories = tuple(counts.shape[1] for counts in self.prior.counts)
        if self.family.n_categories not in ((), n_categories):
            raise ValueError(
                f"The prior is one of {n_categories} categories, but {self.family} has others: give as many."
            )
        object.__setattr__(self, "family", replace(self.family, n_categories=n_categories, absent=()))

    def natural(self, params: DirichletProbabilities) -> FloatArray:
        logs = [expected_logs(counts) for counts in params.counts]
        return np.hstack([np.zeros((len(logs[0]), 1)), *logs])

    def _counted(self, totals: FloatArray) -> DirichletProbabilities:
        ends = np.cumsum([1, *self.family.n_categories])
        return DirichletProbabilities(tuple(totals[:, a:b] for a, b in pairwise(ends)))

    def plug_in(self, params: DirichletProbabilities) -> CategoricalParams:
        return CategoricalParams(tuple(c / c.sum(axis=1, keepdims=True) for c in params.counts))

    def divergences(self, params: DirichletProbabilities) -> FloatArray:
        pairs = zip(params.counts, self.prior.counts, strict=True)
        return np.asarray(sum(dirichlet_divergence(*pair) for pair in pairs))


@dataclass(frozen=True)
class Predictive(WrappedFamily):
    """New observations of a variational family, parameters integrated out.

    For densities, moments and draws. It cannot be fitted: new observations say nothing of parameters here.

    Parameters
    ----------
    family : VariationalGaussian, VariationalPoisson, VariationalBernoulli or VariationalCategorical
        The family.
    """

    family: Any

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log predictive densities at ``params``, as a function of a batch."""
        predict = self.family.predictive(params)
        return lambda batch: Observed(predict(batch), 0.0, _no_totals, lambda: 0.0)

    def covariance(self, params: Any) -> FloatArray:
        """Covariance matrix of new observations of each component, (K, d, d)."""
        return np.asarray(self.family.predictive_covariance(params))


def _no_totals(resp: FloatArray) -> Any:
    raise NotImplementedError("A predictive family is not fitted.")


def changed(family: Emission, change: Callable[[Any], Emission]) -> Emission:
    """The family with ``change`` applied to what is within all wrappers, and to each part of a product."""
    if isinstance(family, Product):
        return Product(tuple((columns, changed(part, change)) for columns, part in family.parts))
    if isinstance(family, WrappedFamily):
        return replace(family, family=changed(family.family, change))
    return change(family)


def expectation_of(family: Emission, params: Any) -> tuple[Emission, Any]:
    """The plain family in the place of a variational one, and the parameters that are expected of it."""
    if isinstance(family, Product):
        pairs = zip(family.parts, params, strict=True)
        parts = [(columns, *expectation_of(part, p)) for (columns, part), p in pairs]
        return Product(tuple((columns, part) for columns, part, _ in parts)), tuple(p for _, _, p in parts)
    if isinstance(family, WrappedFamily):
        plain, point = expectation_of(family.family, params)
        return replace(family, family=plain), point
    of_known: Any = family
    return of_known.plain, of_known.plug_in(params)
