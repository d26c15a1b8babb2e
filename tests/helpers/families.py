"""The registry of families. A new one is one entry of `FAMILIES`, and all laws are checked of it.

Families of regressions see columns to explain and columns that explain: they have laws of their own, in
tests/families/test_regression_laws.py, for every entry of `emlearn.families.RESPONSES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from emlearn.em import Batch, LatentModel, LatentPair
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    BernoulliParams,
    Beta,
    BetaParams,
    Binomial,
    BinomialParams,
    Categorical,
    CategoricalParams,
    Exponential,
    ExponentialParams,
    FactorGaussian,
    FactorParams,
    Gamma,
    GammaParams,
    Gaussian,
    GaussianParams,
    Geometric,
    GeometricParams,
    LogNormal,
    LogNormalParams,
    MissingRows,
    MixtureOf,
    MixtureParams,
    Multinomial,
    MultinomialParams,
    MultivariateStudentT,
    NegativeBinomial,
    NegativeBinomialParams,
    Poisson,
    PoissonParams,
    Product,
    StudentTParams,
    VonMises,
    VonMisesFisher,
    VonMisesFisherParams,
    VonMisesParams,
    ZeroInflatedPoisson,
    ZeroInflatedPoissonParams,
)
from emlearn.latent import MixtureWeights

NAN = np.nan
K = 2  # components of every example
FULL = COVARIANCE_SHAPES["full"]


@dataclass(frozen=True)
class Example:
    """What tests must know of a family to check it against all laws."""

    family: Any
    params: Any  # of two components, in the interior
    rows: Callable[[Any, Any], Any]  # rng, component of each row -> rows
    log_density: Callable[[Any, int], float]  # of a row under a component, from first principles
    # "line": a density on the line, for any number of columns. Rows: all of its support but for next to
    # nothing. None: follows from other entries.
    support: Any = "line"
    maximum: Callable[[Any, Any], Any] | None = None  # rows, weights -> parameters of one component

    @property
    def takes_missing(self) -> bool:
        """Whether the rows have missing entries."""
        return bool(np.isnan(self.rows(np.random.RandomState(0), np.arange(40) % K)).any())


# Helpers that know nothing of the registry.


def batch_of(X, weight=None):
    return Batch(np.ascontiguousarray(np.transpose(X)), weight)


def observe(family, params, X, weight=None):
    return family.density(params)(batch_of(X, weight))


def log_density(family, params, X):
    seen = observe(family, params, X)
    return seen.log_prob + seen.shared_log_prob()


def with_holes(X, rng, share=0.25, gaps=2):
    """X with entries missing at random, and in the first rows all of them."""
    X = np.where(rng.uniform(size=X.shape) < share, NAN, X)
    X[:gaps] = NAN
    return X


def holes(rows, share=0.25, gaps=2):
    """Rows as ``rows`` draws them, with entries missing."""
    return lambda rng, labels: with_holes(rows(rng, labels), rng, share, gaps)


def of_observed(log_density):
    """That of what is observed: 0 for a row of which nothing is."""
    return lambda x, k: 0.0 if np.isnan(x).all() else log_density(x, k)


# Gaussians.

MEANS = np.array([[-1.5, 0.0, 0.5], [1.5, 1.0, -0.5]])
ROOT = np.array([[1.0, 0.4, 0.0], [0.0, 0.6, -0.3], [0.0, 0.0, 0.8]])
COVARIANCES = np.array([ROOT.T @ ROOT, np.diag([0.5, 1.2, 0.7]) - 0.1])


def gaussian_rows(rng, labels, d=3):
    """Two clusters, of correlated features."""
    return MEANS[labels, :d] + rng.normal(size=(len(labels), d)) @ ROOT[:d, :d]


SHARING_A_PART = ("VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV")
MATRICES = ("full", "tied", *(letters for letters in SHARING_A_PART if not letters.endswith("I")))
# Not kept where features are scaled one by one.
ONE_UNIT = ("EVE", "VVE", "EEV", "VEV")
SIMPLE_FORMS = ("full", "tied", "diag", "tied_diag", "spherical", "tied_spherical")


def in_form(shape, covariances):
    """Covariances (K, d, d) as a simple form keeps them, and as matrices again."""
    kept = covariances[:1] if shape.startswith("tied") else covariances
    if shape.endswith("diag"):
        kept = np.diagonal(kept, axis1=1, axis2=2).copy()
    if shape.endswith("spherical"):
        kept = np.trace(kept, axis1=1, axis2=2) / kept.shape[-1]
    d = covariances.shape[-1]
    matrices = [c if np.ndim(c) == 2 else np.eye(d) * c for c in kept]
    return kept, np.array(matrices * (len(covariances) // len(matrices)))


def parameters_of(family, shape, d):
    """Parameters of two components, and their covariance matrices; of other forms as they fit some rows."""
    if shape in SIMPLE_FORMS:
        kept, matrices = in_form(shape, COVARIANCES[:, :d, :d])
        return GaussianParams(MEANS[:, :d], kept), matrices
    labels = np.arange(2000) % K
    rows = MEANS[labels, :d] + np.random.RandomState(0).normal(size=(2000, d)) @ ROOT[:d, :d]
    rows[labels == 1] *= np.array([0.7, 1.4, 1.0])[:d]
    params = family.start(batch_of(rows), (labels == np.arange(K)[:, None]) * 1.0)
    return params, family.covariance(params)


def normal_log_density(mean, covariance, x):
    """Of the entries that are there."""
    there = ~np.isnan(x)
    return stats.multivariate_normal(mean[there], covariance[np.ix_(there, there)]).logpdf(x[there])


def gaussian_maximum(shape):
    def maximum(X, weight):
        mean, covariance = np.average(X, axis=0, weights=weight), np.cov(X.T, aweights=weight, ddof=0)
        return GaussianParams(mean[None], in_form(shape, covariance[None])[0])

    return maximum


def gaussian(shape, d=2, *, incomplete=False, **options):
    family = Gaussian(COVARIANCE_SHAPES[shape], **options)
    params, matrices = parameters_of(family, shape, d)
    return Example(
        family,
        params,
        (holes if incomplete else lambda rows: rows)(lambda rng, labels: gaussian_rows(rng, labels, d)),
        of_observed(lambda x, k: normal_log_density(params.means[k], matrices[k], x)),
        maximum=gaussian_maximum(shape) if shape in SIMPLE_FORMS and not incomplete else None,
    )


DEGREES = np.array([7.0, 12.0])  # of freedom, enough for covariances to be told by draws


def student(shape, df="free", d=2, *, incomplete=False):
    """Student's t with the scale matrices that a Gaussian has for covariances.

    60 rows tell little of their tails, and plain EM would take thousands of steps to a higher bound.
    """
    family = MultivariateStudentT(Gaussian(COVARIANCE_SHAPES[shape]), df, max_df=15.0)
    normal, matrices = parameters_of(family.normal, shape, d)
    nu = {"free": DEGREES, "shared": DEGREES[:1]}.get(df)
    nu = np.full(K, df) if nu is None else nu
    of_each = np.broadcast_to(nu, K)

    def rows(rng, labels):
        steps = np.linalg.cholesky(matrices)[labels] @ rng.normal(size=(len(labels), d, 1))
        scale = rng.chisquare(of_each[labels]) / of_each[labels]
        return normal.means[labels] + steps[:, :, 0] / np.sqrt(scale)[:, None]

    def log_density(x, k):
        there = ~np.isnan(x)
        own = stats.multivariate_t(normal.means[k, there], matrices[k][np.ix_(there, there)], df=of_each[k])
        return own.logpdf(x[there])

    return Example(
        family,
        StudentTParams(*normal, nu),
        holes(rows) if incomplete else rows,
        of_observed(log_density),
        None,
    )


FACTOR_MEANS = np.array([[-1.5, 0.0, 0.5, 1.0, -0.5], [1.5, 1.0, -0.5, -1.0, 0.5]])
LOADINGS = np.array([[1.0, 0.8, -0.9, 0.7, 1.1], [0.7, -1.1, 0.8, 1.0, -0.9]])[:, :, None]
NOISE = np.array([[0.3, 0.4, 0.3, 0.2, 0.4], [0.4, 0.2, 0.3, 0.3, 0.2]])
FACTOR_COVARIANCES = LOADINGS @ np.swapaxes(LOADINGS, 1, 2) + NOISE[:, :, None] * np.eye(5)


def factor_rows(rng, labels):
    noise = np.sqrt(NOISE)[labels] * rng.normal(size=(len(labels), 5))
    return FACTOR_MEANS[labels] + LOADINGS[labels, :, 0] * rng.normal(size=(len(labels), 1)) + noise


def factor(ridge):
    return Example(
        FactorGaussian(1, ridge=ridge),
        FactorParams(FACTOR_MEANS, LOADINGS, NOISE),
        holes(factor_rows, 0.1),
        of_observed(lambda x, k: normal_log_density(FACTOR_MEANS[k], FACTOR_COVARIANCES[k], x)),
    )


# Counts and codes.

RATES = np.array([[1.5, 0.7], [6.0, 3.0]])
CHANCES = np.array([[0.2, 0.3, 0.1, 0.4], [0.85, 0.7, 0.9, 0.6]])
CODES = (np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]]))


def poisson_rows(rng, labels):
    return rng.poisson(RATES[labels]).astype(float)


def binary_rows(rng, labels):
    return (rng.uniform(size=(len(labels), 4)) < CHANCES[labels]) * 1.0


def code_rows(rng, labels):
    return np.column_stack([[rng.choice(len(p[k]), p=p[k]) for k in labels] for p in CODES]).astype(float)


def poisson_log_density(x, k):
    return stats.poisson(RATES[k]).logpmf(x).sum()


def code_log_density(x, k):
    return sum(np.log(p[k, int(v)]) for p, v in zip(CODES, x, strict=True))


TRIALS = (5, 3)
SUCCESS = np.array([[0.2, 0.7], [0.6, 0.4]])
DISPERSIONS = np.array([[0.4, 0.1], [0.15, 0.6]])
INFLATIONS = np.array([[0.3, 0.15], [0.2, 0.4]])
KINDS = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
TOTAL = 4


def binomial_rows(rng, labels):
    return rng.binomial(TRIALS, SUCCESS[labels]) * 1.0


def pair_rows(rng, labels):
    """Successes, and trials of which there may be any number."""
    trials = rng.randint(1, 9, size=len(labels))
    return np.column_stack([rng.binomial(trials, SUCCESS[labels, 0]), trials]) * 1.0


def negative_binomial_rows(rng, labels):
    size = 1 / DISPERSIONS[labels]
    return rng.negative_binomial(size, size / (size + RATES[labels])) * 1.0


def zero_inflated_rows(rng, labels):
    return rng.poisson(RATES[labels]) * (rng.uniform(size=(len(labels), 2)) >= INFLATIONS[labels]) * 1.0


def multinomial_rows(rng, labels, total=TOTAL):
    return np.array([rng.multinomial(total, KINDS[k]) for k in labels]) * 1.0


def uneven_rows(rng, labels):
    """Multinomial counts, of each row another number."""
    return np.array([rng.multinomial(rng.randint(4, 13), KINDS[k]) for k in labels]) * 1.0


def negative_binomial_log_density(x, k):
    size = 1 / DISPERSIONS[k]
    there = ~np.isnan(x)
    return stats.nbinom(size, size / (size + RATES[k])).logpmf(x)[there].sum()


def zero_inflated_log_density(x, k):
    there = ~np.isnan(x)
    density = INFLATIONS[k] * (x == 0) + (1 - INFLATIONS[k]) * stats.poisson(RATES[k]).pmf(x)
    return np.log(density[there]).sum()


def multinomial_log_density(x, k):
    """Of what is observed, given its total."""
    there = ~np.isnan(x)
    if not x[there].sum():
        return 0.0
    p = KINDS[k][there]
    return stats.multinomial(int(x[there].sum()), p / p.sum()).logpmf(x[there])


def known_total_log_density(x, k):
    """Of what is observed, given the total of all."""
    there = ~np.isnan(x)
    known = x[there].sum()
    lumped = np.append(x[there], TOTAL - known), np.append(KINDS[k][there], KINDS[k][~there].sum())
    return stats.multinomial(TOTAL, lumped[1]).logpmf(lumped[0])


def of_entries(log_density):
    """That of the entries that are there, which are independent."""
    return lambda x, k: sum(log_density(v, k, j) for j, v in enumerate(x) if not np.isnan(v))


# Positive numbers, angles and directions.

SHAPES = np.array([[3.0, 8.0], [12.0, 1.5]])
SCALES = np.array([[1.0, 0.5], [0.8, 3.0]])
LOG_MEANS = np.array([[-0.5, 0.3], [0.8, 1.1]])
LOG_COVARIANCES = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.1]]])
ANGLES = np.array([[0.5, 3.0], [-2.0, -0.4]])
SPANS = np.array([[2.0, 5.0], [4.0, 0.7]])
ALPHAS = np.array([[2.0, 0.8], [5.0, 9.0]])
BETAS = np.array([[6.0, 1.5], [1.2, 7.0]])
CHANCE = np.array([[0.3, 0.7], [0.1, 0.4]])
DIRECTIONS = np.array([[0.6, 0.0, 0.8], [-0.48, 0.6, -0.64]])
CONCENTRATIONS = np.array([4.0, 12.0])


def gamma_rows(rng, labels):
    return rng.gamma(SHAPES[labels], SCALES[labels])


def exponential_rows(rng, labels):
    return rng.exponential(SCALES[labels])


def log_normal_rows(rng, labels):
    roots = np.linalg.cholesky(LOG_COVARIANCES)[labels]
    return np.exp(LOG_MEANS[labels] + np.einsum("nij,nj->ni", roots, rng.normal(size=(len(labels), 2))))


def log_normal_log_density(x, k):
    there = ~np.isnan(x)
    return normal_log_density(LOG_MEANS[k], LOG_COVARIANCES[k], np.log(x)) - np.log(x[there]).sum()


def angle_rows(rng, labels):
    return rng.vonmises(ANGLES[labels], SPANS[labels])


def beta_rows(rng, labels):
    return rng.beta(ALPHAS[labels], BETAS[labels])


def geometric_rows(rng, labels):
    return rng.geometric(CHANCE[labels]) - 1.0


def direction_rows(rng, labels):
    out = np.empty((len(labels), 3))
    for k in np.unique(labels):
        law = stats.vonmises_fisher(DIRECTIONS[k], CONCENTRATIONS[k])
        out[labels == k] = law.rvs(np.count_nonzero(labels == k), random_state=rng)
    return out


def table_of(*values):
    return np.array(list(product(*values)), dtype=float)


# Families made of families. A component of a mixture has two members.

SHARES = np.array([[0.3, 0.7], [0.6, 0.4]])
CENTRES = np.array([[-1.0, -0.6], [-1.0, 0.6], [1.0, -0.6], [1.0, 0.6]])
SPREADS = np.array([[[0.05, 0.01], [0.01, 0.04]], [[0.03, 0.0], [0.0, 0.06]]] * 2)
LEVELS = np.array([[1.0], [9.0], [4.0], [2.0]])


def four_rows(rng, labels):
    """Four clusters in two dimensions, two for each component."""
    member = 2 * np.asarray(labels) + np.arange(len(labels)) // 2 % 2
    return CENTRES[member] + 0.2 * rng.normal(size=(len(labels), 2))


def mixture_log_density(member):
    """That of a mixture of two, from that of a member, which are numbered through all components."""
    return lambda x, k: logsumexp([np.log(SHARES[k, m]) + member(x, 2 * k + m) for m in range(2)])


def mixed_rows(rng, labels):
    """A Gaussian pair around a count, and a code; each missing on its own."""
    counts, codes = poisson_rows(rng, labels)[:, 0], binary_rows(rng, labels)[:, 0]
    pair = gaussian_rows(rng, labels, 2)
    X = np.column_stack([pair[:, 0], counts, pair[:, 1], codes])
    for column in (1, 3, 0):
        X[rng.uniform(size=len(X)) < 0.2, column] = NAN
    X[3:4] = NAN
    return X


def mixed_log_density(x, k):
    pair = of_observed(lambda x, k: normal_log_density(MEANS[k, :2], COVARIANCES[k, :2, :2], x))
    count = of_observed(lambda x, k: stats.poisson(RATES[k, 0]).logpmf(x[0]))
    code = of_observed(lambda x, k: np.log(CODES[0][k, int(x[0])]))
    return pair(x[[0, 2]], k) + count(x[[1]], k) + code(x[[3]], k)


FAMILIES = {
    **{f"gaussian {shape}": gaussian(shape) for shape in COVARIANCE_SHAPES},
    **{f"incomplete {shape}": gaussian(shape, 3, incomplete=True) for shape in COVARIANCE_SHAPES},
    **{f"ridge {shape}": gaussian(shape, 3, incomplete=True, ridge=3.0) for shape in COVARIANCE_SHAPES},
    "factor": factor(0.0),
    "ridge factor": factor(1.0),
    "student": student("full"),
    "student EVI": student("EVI", 9.0),
    "student tied": student("tied", "shared"),
    "incomplete student": student("full", d=3, incomplete=True),
    "incomplete student diag": student("diag", "shared", 3, incomplete=True),
    "incomplete student tied": student("tied", d=3, incomplete=True),
    "poisson": Example(
        Poisson(),
        PoissonParams(RATES),
        poisson_rows,
        poisson_log_density,
        table_of(range(50), range(50)),
        lambda X, weight: PoissonParams(np.average(X, axis=0, weights=weight)[None]),
    ),
    "bernoulli": Example(
        Bernoulli(),
        BernoulliParams(CHANCES),
        binary_rows,
        lambda x, k: stats.bernoulli(CHANCES[k]).logpmf(x.astype(int)).sum(),
        table_of(*[range(2)] * 4),
        lambda X, weight: BernoulliParams(np.average(X, axis=0, weights=weight)[None]),
    ),
    "categorical": Example(
        Categorical((2, 3)),
        CategoricalParams(CODES),
        code_rows,
        code_log_density,
        table_of(range(2), range(3)),
        lambda X, weight: CategoricalParams(
            tuple(np.bincount(x.astype(int), weight)[None] / weight.sum() for x in X.T)
        ),
    ),
    "binomial": Example(
        Binomial(TRIALS),
        BinomialParams(SUCCESS),
        binomial_rows,
        lambda x, k: stats.binom(TRIALS, SUCCESS[k]).logpmf(x).sum(),
        table_of(range(6), range(4)),
        lambda X, weight: BinomialParams(np.average(X, axis=0, weights=weight)[None] / TRIALS),
    ),
    "binomial pairs": Example(
        Binomial(),
        BinomialParams(SUCCESS[:, :1]),
        pair_rows,
        lambda x, k: stats.binom(x[1], SUCCESS[k, 0]).logpmf(x[0]),
        None,
        lambda X, weight: BinomialParams(np.array([[weight @ X[:, 0] / (weight @ X[:, 1])]])),
    ),
    "negative binomial": Example(
        NegativeBinomial(),
        NegativeBinomialParams(RATES, DISPERSIONS),
        negative_binomial_rows,
        negative_binomial_log_density,
        table_of(range(120), range(120)),
    ),
    "zero-inflated": Example(
        ZeroInflatedPoisson(),
        ZeroInflatedPoissonParams(RATES, INFLATIONS),
        zero_inflated_rows,
        zero_inflated_log_density,
        table_of(range(50), range(50)),
    ),
    "multinomial": Example(
        Multinomial(TOTAL),
        MultinomialParams(KINDS),
        multinomial_rows,
        known_total_log_density,
        np.array([x for x in product(range(TOTAL + 1), repeat=3) if sum(x) == TOTAL], dtype=float),
        lambda X, weight: MultinomialParams((weight @ X / (weight @ X).sum())[None]),
    ),
    "multinomial of any total": Example(
        Multinomial(),
        MultinomialParams(KINDS),
        uneven_rows,
        multinomial_log_density,
        None,
        lambda X, weight: MultinomialParams((weight @ X / (weight @ X).sum())[None]),
    ),
    "gamma": Example(
        Gamma(),
        GammaParams(SHAPES, 1 / SCALES),
        gamma_rows,
        lambda x, k: stats.gamma(SHAPES[k], scale=SCALES[k]).logpdf(x).sum(),
        None,
    ),
    "exponential": Example(
        Exponential(),
        ExponentialParams(1 / SCALES),
        exponential_rows,
        lambda x, k: stats.expon(scale=SCALES[k]).logpdf(x).sum(),
        None,
        lambda X, weight: ExponentialParams(1 / np.average(X, axis=0, weights=weight)[None]),
    ),
    "log-normal": Example(
        LogNormal(Gaussian(FULL)),
        LogNormalParams(LOG_MEANS, LOG_COVARIANCES),
        log_normal_rows,
        log_normal_log_density,
        None,
        lambda X, weight: LogNormalParams(*gaussian_maximum("full")(np.log(X), weight)),
    ),
    "angles": Example(
        VonMises(),
        VonMisesParams(ANGLES, SPANS),
        angle_rows,
        lambda x, k: stats.vonmises(SPANS[k], loc=ANGLES[k]).logpdf(x).sum(),
        None,
    ),
    "beta": Example(
        Beta(),
        BetaParams(ALPHAS, BETAS),
        beta_rows,
        lambda x, k: stats.beta(ALPHAS[k], BETAS[k]).logpdf(x).sum(),
        None,
    ),
    "geometric": Example(
        Geometric(),
        GeometricParams(CHANCE),
        geometric_rows,
        lambda x, k: stats.geom(CHANCE[k], loc=-1).logpmf(x).sum(),
        table_of(range(400), range(400)),
        lambda X, weight: GeometricParams(1 / (1 + np.average(X, axis=0, weights=weight)[None])),
    ),
    "directions": Example(
        VonMisesFisher(),
        VonMisesFisherParams(DIRECTIONS, CONCENTRATIONS),
        direction_rows,
        lambda x, k: stats.vonmises_fisher(DIRECTIONS[k], CONCENTRATIONS[k]).logpdf(x),
        None,
    ),
    # Entries that are missing one by one.
    "incomplete gamma": Example(
        Gamma(),
        GammaParams(SHAPES, 1 / SCALES),
        holes(gamma_rows),
        of_entries(lambda v, k, j: stats.gamma(SHAPES[k, j], scale=SCALES[k, j]).logpdf(v)),
        None,
    ),
    "incomplete exponential": Example(
        Exponential(),
        ExponentialParams(1 / SCALES),
        holes(exponential_rows),
        of_entries(lambda v, k, j: stats.expon(scale=SCALES[k, j]).logpdf(v)),
        None,
    ),
    "incomplete angles": Example(
        VonMises(),
        VonMisesParams(ANGLES, SPANS),
        holes(angle_rows),
        of_entries(lambda v, k, j: stats.vonmises(SPANS[k, j], loc=ANGLES[k, j]).logpdf(v)),
        None,
    ),
    "incomplete beta": Example(
        Beta(),
        BetaParams(ALPHAS, BETAS),
        holes(beta_rows),
        of_entries(lambda v, k, j: stats.beta(ALPHAS[k, j], BETAS[k, j]).logpdf(v)),
        None,
    ),
    "incomplete log-normal": Example(
        LogNormal(Gaussian(FULL)),
        LogNormalParams(LOG_MEANS, LOG_COVARIANCES),
        holes(log_normal_rows),
        of_observed(log_normal_log_density),
        None,
    ),
    "incomplete poisson": Example(
        Poisson(),
        PoissonParams(RATES),
        holes(poisson_rows),
        of_entries(lambda v, k, j: stats.poisson(RATES[k, j]).logpmf(v)),
        None,
    ),
    "incomplete bernoulli": Example(
        Bernoulli(),
        BernoulliParams(CHANCES),
        holes(binary_rows),
        of_entries(lambda v, k, j: np.log(CHANCES[k, j] if v else 1 - CHANCES[k, j])),
        None,
    ),
    "incomplete categorical": Example(
        Categorical((2, 3)),
        CategoricalParams(CODES),
        holes(code_rows),
        of_entries(lambda v, k, j: np.log(CODES[j][k, int(v)])),
        None,
    ),
    "incomplete binomial": Example(
        Binomial(TRIALS),
        BinomialParams(SUCCESS),
        holes(binomial_rows),
        of_entries(lambda v, k, j: stats.binom(TRIALS[j], SUCCESS[k, j]).logpmf(v)),
        None,
    ),
    "incomplete negative binomial": Example(
        NegativeBinomial(),
        NegativeBinomialParams(RATES, DISPERSIONS),
        holes(negative_binomial_rows),
        negative_binomial_log_density,
        None,
    ),
    "incomplete zero-inflated": Example(
        ZeroInflatedPoisson(),
        ZeroInflatedPoissonParams(RATES, INFLATIONS),
        holes(zero_inflated_rows),
        zero_inflated_log_density,
        None,
    ),
    "incomplete multinomial": Example(
        Multinomial(TOTAL),
        MultinomialParams(KINDS),
        holes(multinomial_rows),
        known_total_log_density,
        None,
    ),
    "incomplete multinomial of any total": Example(
        Multinomial(),
        MultinomialParams(KINDS),
        holes(uneven_rows),
        multinomial_log_density,
        None,
    ),
    "gaps in poisson": Example(
        MissingRows(Poisson()),
        PoissonParams(RATES),
        holes(poisson_rows, 0.0, 9),
        of_observed(poisson_log_density),
        table_of(range(50), range(50)),
    ),
    "gaps in tied": Example(
        MissingRows(Gaussian(COVARIANCE_SHAPES["tied"])),
        GaussianParams(MEANS[:, :2], COVARIANCES[:1, :2, :2]),
        holes(lambda rng, labels: gaussian_rows(rng, labels, 2), 0.0, 9),
        of_observed(lambda x, k: normal_log_density(MEANS[k, :2], COVARIANCES[0, :2, :2], x)),
    ),
    "product": Example(
        Product(
            (
                ((0, 2), MissingRows(Gaussian(FULL))),
                ((1,), MissingRows(Poisson())),
                ((3,), MissingRows(Categorical((2,)))),
            )
        ),
        (
            GaussianParams(MEANS[:, :2], COVARIANCES[:, :2, :2]),
            PoissonParams(RATES[:, :1]),
            CategoricalParams(CODES[:1]),
        ),
        mixed_rows,
        mixed_log_density,
        None,
    ),
    "product of counts and codes": Example(
        Product((((1,), Poisson()), ((0,), Categorical((3,))))),
        (PoissonParams(RATES[:, :1]), CategoricalParams(CODES[1:])),
        lambda rng, labels: np.column_stack([code_rows(rng, labels)[:, 1], poisson_rows(rng, labels)[:, 0]]),
        lambda x, k: np.log(CODES[1][k, int(x[0])]) + stats.poisson(RATES[k, 0]).logpmf(x[1]),
        table_of(range(3), range(60)),
    ),
    "mixture of gaussians": Example(
        MixtureOf(Gaussian(FULL), 2),
        MixtureParams(SHARES, GaussianParams(CENTRES, SPREADS)),
        four_rows,
        mixture_log_density(lambda x, m: normal_log_density(CENTRES[m], SPREADS[m], x)),
    ),
    "mixture of incomplete": Example(
        MixtureOf(Gaussian(COVARIANCE_SHAPES["tied_diag"]), 2),
        MixtureParams(SHARES, GaussianParams(CENTRES, np.array([[0.04, 0.05]]))),
        holes(four_rows, 0.1),
        of_observed(
            mixture_log_density(lambda x, m: normal_log_density(CENTRES[m], np.diag([0.04, 0.05]), x)),
        ),
    ),
    "mixture of poissons": Example(
        MixtureOf(MissingRows(Poisson()), 2),
        MixtureParams(SHARES, PoissonParams(LEVELS)),
        holes(
            lambda rng, labels: rng.poisson(LEVELS[2 * labels + rng.randint(2, size=len(labels))]) * 1.0, 0.1
        ),
        of_observed(mixture_log_density(lambda x, m: stats.poisson(LEVELS[m]).logpmf(x).sum())),
        table_of(range(60)),
    ),
}

# One of each kind: of families with a covariance another form where rows are whole, in part or regularised.
EACH_KIND_OF_FAMILY = [
    *(
        "gaussian full",
        "gaussian VEI",
        "incomplete tied",
        "incomplete tied_spherical",
        "ridge diag",
        "ridge factor",
    ),
    *("student", "incomplete student tied"),
    *("poisson", "bernoulli", "categorical", "gaps in poisson", "gaps in tied"),
    *("binomial", "binomial pairs", "negative binomial", "zero-inflated", "multinomial"),
    *("incomplete poisson", "incomplete categorical", "incomplete negative binomial"),
    *("gamma", "incomplete log-normal", "directions", "incomplete angles", "beta"),
    *("incomplete multinomial", "incomplete multinomial of any total"),
    *("product", "product of counts and codes"),
    *("mixture of gaussians", "mixture of incomplete", "mixture of poissons"),
]


def problem(name, latent=None, n=60, weighted=True):
    """Model, rough parameters and data."""
    example, rng = FAMILIES[name], np.random.RandomState(3)
    labels = np.arange(n) % K
    X = example.rows(rng, labels)
    model = LatentModel(MixtureWeights() if latent is None else latent, example.family)
    resp = 0.5 * (labels == np.arange(K)[:, None]) + 0.5 * rng.dirichlet(np.ones(K), size=n).T
    weight = rng.uniform(0.5, 2.0, size=n) if weighted else None
    # Members of a mixture have several maxima to climb: laws of acceleration begin near one.
    near = isinstance(example.family, MixtureOf)
    rough = LatentPair(np.full(K, 1 / K), example.params) if near else model.start(batch_of(X), resp)
    return model, rough, (X, weight)


def n_of_covariances(covariance_type, K, d):
    """Number of free parameters of K covariance matrices over d features."""
    full = d * (d + 1) // 2
    return {
        "full": K * full,
        "tied": full,
        "diag": K * d,
        "spherical": K,
        "tied_diag": d,
        "tied_spherical": 1,
        "VEI": K + d - 1,
        "EVI": 1 + K * (d - 1),
        "VEE": K - 1 + full,
        "EVE": 1 + K * (d - 1) + full - d,  # and of here on, as mclust's nMclustParams counts
        "VVE": K * d + full - d,
        "EEV": d + K * (full - d),
        "VEV": K + d - 1 + K * (full - d),
        "EVV": 1 - K + K * full,
    }[covariance_type]
