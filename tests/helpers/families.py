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
    Binomial,
    BinomialParams,
    Categorical,
    CategoricalParams,
    FactorGaussian,
    FactorParams,
    Gaussian,
    GaussianParams,
    MissingRows,
    MixtureOf,
    MixtureParams,
    Multinomial,
    MultinomialParams,
    NegativeBinomial,
    NegativeBinomialParams,
    Poisson,
    PoissonParams,
    Product,
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
    # Entries that are missing one by one.
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
    *("poisson", "bernoulli", "categorical", "gaps in poisson", "gaps in tied"),
    *("binomial", "binomial pairs", "negative binomial", "zero-inflated", "multinomial"),
    *("incomplete poisson", "incomplete categorical", "incomplete negative binomial"),
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
