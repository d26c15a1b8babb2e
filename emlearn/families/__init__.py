"""Families of densities: what is seen, given what is hidden."""

from emlearn.families.base import Emission, ExponentialFamily, Held, Numeric, Sketch, WrappedFamily
from emlearn.families.bernoulli import Bernoulli, BernoulliParams
from emlearn.families.beta import Beta, BetaParams
from emlearn.families.binomial import Binomial, BinomialParams
from emlearn.families.by_group import ByGroup
from emlearn.families.categorical import Categorical, CategoricalParams
from emlearn.families.class_regression import Classes, ClassRegression
from emlearn.families.covariance import Structure
from emlearn.families.covariance_types import COVARIANCE_TYPES, gaussian_family
from emlearn.families.covariates import Covariates, CovariatesParams
from emlearn.families.exponential import Exponential, ExponentialParams
from emlearn.families.factor import FactorGaussian, FactorParams
from emlearn.families.gamma import Gamma, GammaParams
from emlearn.families.gaussian import (
    COVARIANCE_SHAPES,
    Gaussian,
    GaussianParams,
    GaussianTotals,
)
from emlearn.families.geometric import Geometric, GeometricParams
from emlearn.families.independent import BoundedColumns, IndependentColumns, PositiveColumns
from emlearn.families.lognormal import LogNormal, LogNormalParams
from emlearn.families.missing_rows import MissingRows
from emlearn.families.mixture_of import MixtureOf, MixtureParams, MixtureTotals
from emlearn.families.multinomial import Multinomial, MultinomialParams
from emlearn.families.multivariate_regression import MultivariateParams, MultivariateRegression
from emlearn.families.negative_binomial import (
    NegativeBinomial,
    NegativeBinomialParams,
    NegativeBinomialTotals,
)
from emlearn.families.poisson import Poisson, PoissonParams
from emlearn.families.product import Product
from emlearn.families.regression import Regression, RegressionParams, RegressionTotals
from emlearn.families.regression_and import RegressionAnd, UniformNoise, ZeroMass
from emlearn.families.responses import RESPONSES, MultivariateNormal, Response, StudentT
from emlearn.families.student_t import (
    MultivariateStudentT,
    StudentTParams,
    StudentTTotals,
    student_t_family,
)
from emlearn.families.variational import (
    BetaProbabilities,
    DirichletProbabilities,
    GammaRates,
    NormalWishart,
    VariationalBernoulli,
    VariationalCategorical,
    VariationalGaussian,
    VariationalPoisson,
)
from emlearn.families.von_mises import VonMises, VonMisesParams
from emlearn.families.von_mises_fisher import VonMisesFisher, VonMisesFisherParams
from emlearn.families.zero_inflated_poisson import ZeroInflatedPoisson, ZeroInflatedPoissonParams

# Names of before.
IncompleteGaussian = Gaussian
WithGaps = MissingRows

__all__ = [
    "COVARIANCE_SHAPES",
    "COVARIANCE_TYPES",
    "RESPONSES",
    "Bernoulli",
    "BernoulliParams",
    "Beta",
    "BetaParams",
    "BetaProbabilities",
    "Binomial",
    "BinomialParams",
    "BoundedColumns",
    "ByGroup",
    "Categorical",
    "CategoricalParams",
    "ClassRegression",
    "Classes",
    "Covariates",
    "CovariatesParams",
    "DirichletProbabilities",
    "Emission",
    "Exponential",
    "ExponentialFamily",
    "ExponentialParams",
    "FactorGaussian",
    "FactorParams",
    "Gamma",
    "GammaParams",
    "GammaRates",
    "Gaussian",
    "GaussianParams",
    "GaussianTotals",
    "Geometric",
    "GeometricParams",
    "Held",
    "IncompleteGaussian",
    "IndependentColumns",
    "LogNormal",
    "LogNormalParams",
    "MissingRows",
    "MixtureOf",
    "MixtureParams",
    "MixtureTotals",
    "Multinomial",
    "MultinomialParams",
    "MultivariateNormal",
    "MultivariateParams",
    "MultivariateRegression",
    "MultivariateStudentT",
    "NegativeBinomial",
    "NegativeBinomialParams",
    "NegativeBinomialTotals",
    "NormalWishart",
    "Numeric",
    "Poisson",
    "PoissonParams",
    "PositiveColumns",
    "Product",
    "Regression",
    "RegressionAnd",
    "RegressionParams",
    "RegressionTotals",
    "Response",
    "Sketch",
    "Structure",
    "StudentT",
    "StudentTParams",
    "StudentTTotals",
    "UniformNoise",
    "VariationalBernoulli",
    "VariationalCategorical",
    "VariationalGaussian",
    "VariationalPoisson",
    "VonMises",
    "VonMisesFisher",
    "VonMisesFisherParams",
    "VonMisesParams",
    "WithGaps",
    "WrappedFamily",
    "ZeroInflatedPoisson",
    "ZeroInflatedPoissonParams",
    "ZeroMass",
    "gaussian_family",
    "student_t_family",
]
