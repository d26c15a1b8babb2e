"""Distributions of a response given its linear predictor: what a generalised linear model is made of.

A response knows its density, and the two derivatives by the linear predictor η that a Newton step needs; one
whose dispersion has no closed estimate those by the dispersion's logarithm too. Curvatures are observed ones,
and positive: log-densities are concave in η, but for Student's t, which is made of normal ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from emlearn.families import negative_binomial, tails
from emlearn.families.gamma import log_less_digamma

FloatArray = NDArray[np.float64]


# No rate is this large, in logarithms: beyond, an overlong Newton step would make 0 · inf of it.
LARGEST = 150.0
# Counts of this rate are normal, to within a count or two.
NORMAL = 1e7


class Likelihood(NamedTuple):
    """Log-densities of responses, and what a Newton step in η needs, for K components."""

    log_prob: FloatArray  # (K, m), up to `Response.base_measure`
    error: FloatArray  # (K, m) derivative of log_prob by η, times φ where that scales; often y − mean
    curvature: FloatArray | None  # (K, m) minus the second one, times the same; None for 1


class Response:
    """Distribution of a response with linear predictor η and dispersion φ: the base of all of them.

    One of your own needs ``name``, ``support``, `is_possible`, `observe`, `linear`, `mean` and `variance`; for
    predictive intervals `cumulative` and `quantile`, for draws `draw`, for pseudo-residuals `tails`. The
    response of each observation is a column of ``y``, (c, m).

    Attributes
    ----------
    name : str
    support : str
        What a response must be, in words.
    has_dispersion : bool
        Whether φ is to be estimated; else it is 1.
    scales : bool
        Whether φ divides the derivatives by η: it is then the unit of a ridge.
    is_exact : bool
        Whether an M-step is weighted least squares, with φ the weighted mean square.
    has_unit : bool
        Whether y and η have one unit, and φ its square.
    is_discrete : bool
    n_responses : int
        How many there are of each row.
    """

    name: str
    support: str
    has_dispersion: bool = False
    scales: bool = False
    is_exact: bool = False
    has_unit: bool = False
    is_discrete: bool = False
    n_responses: int = 1

    def takes(self, n_columns: int) -> bool:
        """Whether y, as a user gives it, may have so many columns."""
        return n_columns == 1

    def of_columns(self, n_columns: int) -> Response:
        """The response of so many columns of y."""
        return self

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        """Which responses (n, c), as a user gives them, have a density."""
        raise NotImplementedError

    def encode(self, y: FloatArray) -> FloatArray:
        """Responses (n, c) as the other methods take them, rows for columns."""
        return y

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        """Densities of y at linear predictors (K, m), dispersions (K, 1)."""
        raise NotImplementedError

    def by_dispersion(
        self, eta: FloatArray, y: FloatArray, dispersion: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """First and second derivative (K, m) of log_prob by log φ. Only where φ is estimated and not exact."""
        raise NotImplementedError

    def base_measure(self, y: FloatArray) -> FloatArray | float:
        """The part of the log-density that depends on y alone, (m,) or a number."""
        return 0.0

    def linear(self, y: FloatArray) -> FloatArray:
        """Roughly the linear predictor that would explain y best, (m,)."""
        raise NotImplementedError

    def mean(self, eta: FloatArray) -> FloatArray:
        """Mean response."""
        raise NotImplementedError

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Variance of the response."""
        raise NotImplementedError

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Probability of a response of y or less."""
        raise NotImplementedError

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """P(Y < y), P(Y <= y), P(Y >= y) and P(Y > y), (4, K, m), of responses (c, m)."""
        raise NotImplementedError

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        """Least response with a cumulative probability of q or more."""
        raise NotImplementedError

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        """One response for each η."""
        raise NotImplementedError


class _Number(Response):
    """Any number, about its linear predictor."""

    support = "finite numbers"
    has_dispersion = True
    scales = is_exact = has_unit = True
    is_discrete = False

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        return np.ones(len(y), dtype=bool)

    def mean(self, eta: FloatArray) -> FloatArray:
        return eta


@dataclass(frozen=True)
class Normal(_Number):
    """A number, normal with mean η and variance φ; of several columns of y `MultivariateNormal`."""

    name = "gaussian"

    def takes(self, n_columns: int) -> bool:
        return n_columns > 0

    def of_columns(self, n_columns: int) -> Response:
        return self if n_columns == 1 else MultivariateNormal(n_responses=n_columns)

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        error = y[0] - eta
        log_prob = error * error
        log_prob *= -0.5 / dispersion
        log_prob -= 0.5 * np.log(2 * np.pi * dispersion)
        return Likelihood(log_prob, error, None)

    def linear(self, y: FloatArray) -> FloatArray:
        return y[0]

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return np.broadcast_to(dispersion, eta.shape)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.ndtr((y - eta) / np.sqrt(dispersion))

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return tails.normal(y[0], eta, dispersion)

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return eta + special.ndtri(q) * np.sqrt(dispersion)

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        return rng.normal(eta, np.sqrt(dispersion))


@dataclass(frozen=True)
class MultivariateNormal(_Number):
    """Several numbers, normal about their linear predictors, with noise that may be correlated.

    Parameters
    ----------
    covariance_type : {"full", "diag"}, default="full"
        Any covariance of the noise of the responses, or none.
    n_responses : int, default=1
        Columns of y, q: fits see it.

    Examples
    --------
    Of one component this is least squares, and the covariance of what it leaves:

    >>> import numpy as np
    >>> from emlearn import MixtureOfLinearRegressions
    >>> from emlearn.families import MultivariateNormal
    >>> rng = np.random.default_rng(0)
    >>> x, both, own = rng.normal(size=(1000, 1)), rng.normal(size=(1000, 1)), rng.normal(size=(1000, 2))
    >>> y = x * [1.0, -1.0] + both + own
    >>> MixtureOfLinearRegressions(1).fit(x, y).covariances_.round(1)
    array([[[2.1, 1. ],
            [1. , 2.1]]])
    >>> MixtureOfLinearRegressions(1, family=MultivariateNormal("diag")).fit(x, y).covariances_.round(1)
    array([[2.1, 2.1]])
    """

    covariance_type: str = "full"
    n_responses: int = 1

    name = "gaussian"

    def __post_init__(self) -> None:
        if self.covariance_type not in ("full", "diag"):
            raise ValueError(f"covariance_type={self.covariance_type!r} is neither 'full' nor 'diag'.")

    def takes(self, n_columns: int) -> bool:
        return n_columns > 0

    def of_columns(self, n_columns: int) -> Response:
        return _NORMAL if n_columns == 1 else replace(self, n_responses=n_columns)

    def linear(self, y: FloatArray) -> FloatArray:
        return y

    @property
    def rows_before(self) -> list[slice]:
        """Where the coefficients of each response on those before it stand in a row of them."""
        if self.covariance_type == "diag":
            return [slice(0, 0)] * self.n_responses
        return [slice(j * (j - 1) // 2, j * (j + 1) // 2) for j in range(self.n_responses)]

    @property
    def n_before(self) -> int:
        """How many of these coefficients there are."""
        return self.rows_before[-1].stop

    def less_before(self, before: FloatArray) -> FloatArray:
        """I − Φ (C, q, q), of the coefficients (C, n_before) of each response on those before it."""
        unit = np.tile(np.eye(self.n_responses), (len(before), 1, 1))
        for j, own in enumerate(self.rows_before):
            unit[:, j, : own.stop - own.start] = -before[:, own]
        return unit

    def covariance(self, dispersion: FloatArray, before: FloatArray) -> FloatArray:
        """Covariances (C, q, q), from the variances that the responses before leave of each, (C, q)."""
        root = np.linalg.inv(self.less_before(before)) * np.sqrt(dispersion)[:, None]
        return root @ root.swapaxes(1, 2)

    def of_covariance(self, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Variances and coefficients from covariances (C, q, q)."""
        root = np.linalg.cholesky(covariance)
        diagonal = np.einsum("cjj->cj", root)
        unit = np.linalg.inv(root / diagonal[:, None])
        before = [-unit[:, j, : own.stop - own.start] for j, own in enumerate(self.rows_before)]
        return diagonal**2, np.concatenate(before, axis=1)


@dataclass(frozen=True)
class Counts(Response):
    """A count, Poisson with mean exp η."""

    name = "poisson"
    support = "the counts 0, 1, 2 and so on"
    has_dispersion = False
    is_discrete = True

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        return ((y >= 0) & (y == np.floor(y))).all(axis=1)

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        # About the rate that explains each count best: large counts would lose the digits of small differences.
        near = np.maximum(y[0], 1.0)
        away = np.minimum(eta, LARGEST) - np.log(near)
        excess = near * np.expm1(away)
        return Likelihood(y[0] * away - excess, y[0] - near - excess, near + excess)

    def base_measure(self, y: FloatArray) -> FloatArray:
        near = np.maximum(y[0], 1.0)
        return y[0] * np.log(near) - near - special.gammaln(y[0] + 1.0)

    def linear(self, y: FloatArray) -> FloatArray:
        return np.log(y[0] + 0.5)

    def mean(self, eta: FloatArray) -> FloatArray:
        return np.exp(np.minimum(eta, LARGEST))

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return self.mean(eta)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.pdtr(np.maximum(np.floor(y), -1.0), self.mean(eta))

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return tails.poisson(y[0], self.mean(eta))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        rate, q = np.broadcast_arrays(self.mean(eta), q)
        found = np.floor(rate + special.ndtri(q) * np.sqrt(rate))
        some = rate < NORMAL
        if some.any():
            found[some] = stats.poisson.ppf(q[some], rate[some])
        return found

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        rate = self.mean(eta)
        some = rng.poisson(np.minimum(rate, NORMAL)).astype(np.float64)
        return np.where(rate < NORMAL, some, np.floor(rng.normal(rate, np.sqrt(rate))))


@dataclass(frozen=True)
class Successes(Response):
    """Successes of one trial, 0 or 1; or with a second row their number beside that of trials. Mean expit η."""

    name = "binomial"
    support = "0 or 1, or counts in two columns: successes and failures"
    has_dispersion = False
    is_discrete = True

    def takes(self, n_columns: int) -> bool:
        return n_columns in (1, 2)

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        if y.shape[1] == 1:
            return ((y == 0) | (y == 1)).all(axis=1)
        return ((y >= 0) & (y == np.floor(y))).all(axis=1)

    def encode(self, y: FloatArray) -> FloatArray:
        return y if y.shape[1] == 1 else np.column_stack([y[:, 0], y.sum(axis=1)])

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        # About a probability near to what explains each row best, as for negative_binomial.
        trials, best = self._trials(y), self._best(y)
        away = eta - self.linear(y)
        # log(1 + e^η) less the same at the best, which never overflows.
        excess = np.maximum(away, 0.0) + np.log1p(
            np.where(away > 0, 1.0 - best, best) * np.expm1(-np.abs(away))
        )
        mean = special.expit(eta)
        curvature = trials * mean * special.expit(-eta)
        return Likelihood(y[0] * away - trials * excess, y[0] - trials * mean, curvature)

    def base_measure(self, y: FloatArray) -> FloatArray:
        trials, best = self._trials(y), self._best(y)
        successes = y[0]
        ways = -special.betaln(successes + 1.0, trials - successes + 1.0) - np.log1p(trials)
        return ways + successes * np.log(best) + (trials - successes) * np.log1p(-best)

    def linear(self, y: FloatArray) -> FloatArray:
        best = self._best(y)
        return np.log(best / (1.0 - best))

    @staticmethod
    def _trials(y: FloatArray) -> FloatArray | float:
        return y[1] if len(y) == 2 else 1.0

    def _best(self, y: FloatArray) -> FloatArray:
        """Probability that about explains each row best, not 0 or 1."""
        return (y[0] + 0.5) / (self._trials(y) + 1.0)

    def mean(self, eta: FloatArray) -> FloatArray:
        return special.expit(eta)

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        mean = self.mean(eta)
        return mean * (1.0 - mean)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return stats.bernoulli.cdf(y, self.mean(eta))

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return tails.binomial(y[0], self._trials(y), self.mean(eta))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return stats.bernoulli.ppf(q, self.mean(eta))

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        return rng.binomial(1, self.mean(eta)).astype(np.float64)


@dataclass(frozen=True)
class StudentT(_Number):
    r"""A number, Student's t about η with scale √φ: normal noise whose variance differs from row to row.

    Rows that lie far off weigh little: an M-step is least squares weighted by
    :math:`(\nu + 1) / (\nu + e^2 / \phi)`.

    Parameters
    ----------
    df : float, default=4.0
        Degrees of freedom ν, positive. The variance is infinite up to 2.

    References
    ----------
    Lange, Little & Taylor (1989), Robust statistical modeling using the t distribution, JASA 84.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn import MixtureOfLinearRegressions
    >>> from emlearn.families import StudentT
    >>> x = np.arange(20.0)[:, None]
    >>> y = 2 * x[:, 0] + np.where(np.arange(20) % 2, 0.5, -0.5)
    >>> y[3] = 1000
    >>> line = MixtureOfLinearRegressions(1, family=StudentT(df=2)).fit(x, y)
    >>> line.coef_.round(1)
    array([[2.]])
    """

    df: float = 4.0

    name = "student_t"

    def __post_init__(self) -> None:
        if not 0 < self.df < np.inf:
            raise ValueError(f"df={self.df}: degrees of freedom must be positive and finite.")

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        error = y[0] - eta
        squares = error * error / (self.df * dispersion)
        weight = (self.df + 1.0) / self.df / (1.0 + squares)
        log_prob = -0.5 * (self.df + 1.0) * np.log1p(squares)
        log_prob -= 0.5 * np.log(self.df * dispersion) + special.betaln(0.5, 0.5 * self.df)
        return Likelihood(log_prob, weight * error, weight)

    def linear(self, y: FloatArray) -> FloatArray:
        return y[0]

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        factor = self.df / (self.df - 2.0) if self.df > 2 else np.inf
        return np.broadcast_to(factor * dispersion, eta.shape)

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.stdtr(self.df, (y - eta) / np.sqrt(dispersion))

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        z = (y[0] - eta) / np.sqrt(dispersion)
        return tails.of_numbers(special.stdtr(self.df, z), special.stdtr(self.df, -z))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return eta + special.stdtrit(self.df, q) * np.sqrt(dispersion)

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        return eta + np.sqrt(dispersion) * rng.standard_t(self.df, size=np.shape(eta))


@dataclass(frozen=True)
class OverdispersedCounts(Response):
    """A count, negative binomial with mean μ = exp η and variance μ + φ μ² (NB2)."""

    name = "negative_binomial"
    support = "the counts 0, 1, 2 and so on"
    has_dispersion = True
    is_discrete = True

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        return ((y >= 0) & (y == np.floor(y))).all(axis=1)

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        mean = self.mean(eta)
        log_prob = negative_binomial.log_density(y[0], mean, 1.0 / dispersion)
        spread = 1.0 + dispersion * mean
        return Likelihood(
            log_prob, (y[0] - mean) / spread, mean / spread * ((1.0 + dispersion * y[0]) / spread)
        )

    def by_dispersion(
        self, eta: FloatArray, y: FloatArray, dispersion: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        return negative_binomial.derivatives(y[0], self.mean(eta), 1.0 / dispersion)

    def base_measure(self, y: FloatArray) -> FloatArray:
        return np.asarray(-special.gammaln(y[0] + 1.0))

    def linear(self, y: FloatArray) -> FloatArray:
        return np.log(y[0] + 0.5)

    def mean(self, eta: FloatArray) -> FloatArray:
        return np.exp(np.clip(eta, -LARGEST, LARGEST))

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        mean = self.mean(eta)
        return mean + dispersion * mean**2

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return stats.nbinom.cdf(y, 1.0 / dispersion, 1.0 / (1.0 + dispersion * self.mean(eta)))

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return tails.negative_binomial(y[0], self.mean(eta), dispersion)

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return stats.nbinom.ppf(q, 1.0 / dispersion, 1.0 / (1.0 + dispersion * self.mean(eta)))

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        rate = self.mean(eta) * dispersion * rng.gamma(1.0 / dispersion, size=np.shape(eta))
        some = rng.poisson(np.minimum(rate, NORMAL)).astype(np.float64)
        return np.where(rate < NORMAL, some, np.floor(rng.normal(rate, np.sqrt(rate))))


@dataclass(frozen=True)
class PositiveNumbers(Response):
    """A positive number, of a gamma distribution with mean μ = exp η and variance φ μ²: its shape is 1 / φ."""

    name = "gamma"
    support = "positive numbers"
    has_dispersion = True
    scales = True
    is_discrete = False

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        return np.asarray((y > 0).all(axis=1))

    def observe(self, eta: FloatArray, y: FloatArray, dispersion: FloatArray) -> Likelihood:
        away = np.minimum(np.log(y[0]) - eta, LARGEST)
        error = np.expm1(away)
        shape = 1.0 / dispersion
        log_prob = (away - error) * shape
        # log of shape^shape e^-shape / Γ(shape), which for large shapes is a small difference of large numbers.
        large = np.maximum(shape, negative_binomial.LARGE)
        by_series = 0.5 * np.log(0.5 * large / np.pi) - negative_binomial.stirling(large)
        small = np.minimum(shape, negative_binomial.LARGE)
        exact = special.xlogy(small, small) - small - special.gammaln(small)
        log_prob += np.where(shape >= negative_binomial.LARGE, by_series, exact)
        return Likelihood(log_prob, error, 1.0 + error)

    def by_dispersion(
        self, eta: FloatArray, y: FloatArray, dispersion: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        away = np.minimum(np.log(y[0]) - eta, LARGEST)
        shape = 1.0 / dispersion
        first, second = log_less_digamma(shape)
        slope = -shape * (away - np.expm1(away) + first)
        return slope, -slope + shape**2 * second

    def base_measure(self, y: FloatArray) -> FloatArray:
        return -np.log(y[0])

    def linear(self, y: FloatArray) -> FloatArray:
        return np.log(y[0])

    def mean(self, eta: FloatArray) -> FloatArray:
        return np.exp(np.clip(eta, -LARGEST, LARGEST))

    def variance(self, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return dispersion * self.mean(eta) ** 2

    def cumulative(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.gammainc(1.0 / dispersion, np.maximum(y, 0.0) / (self.mean(eta) * dispersion))

    def tails(self, y: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return tails.gamma(y[0], 1.0 / dispersion, 1.0 / (self.mean(eta) * dispersion))

    def quantile(self, q: FloatArray, eta: FloatArray, dispersion: FloatArray) -> FloatArray:
        return special.gammaincinv(1.0 / dispersion, q) * dispersion * self.mean(eta)

    def draw(self, eta: FloatArray, dispersion: FloatArray, rng: np.random.RandomState) -> FloatArray:
        return self.mean(eta) * dispersion * rng.gamma(1.0 / dispersion, size=np.shape(eta))


_NORMAL = Normal()
_ALL: tuple[Response, ...] = (
    _NORMAL,
    Counts(),
    Successes(),
    StudentT(),
    OverdispersedCounts(),
    PositiveNumbers(),
)
RESPONSES = {response.name: response for response in _ALL}
