"""The package as users import it, and which of its parts may know which."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import emlearn

PACKAGE = Path(emlearn.__file__).parent
# What can be imported today must stay so. Names are never taken off this list.
PUBLIC = {
    "emlearn": """
        BayesianGaussianMixtureEM EMImputer GaussianMixtureEM HMMEM InformationCriterionSearch
        LatentClassEM
        MarkovSwitchingRegression MixtureDiscriminant MixtureEM MixtureOfExperts MixtureOfExpertsClassifier
        MixtureOfLinearRegressions MultipleImputation __version__ ampute bootstrap bootstrap_lrt
        little_mcar_test match_components missing_patterns overimpute pool show_versions stability
    """,
    "emlearn.dask": "OnDask",
    "emlearn.datasets": """
        load_airquality load_cdnow load_earthquakes load_election load_fed_funds load_npreg load_old_faithful
        load_tone_perception
    """,
    "emlearn.metrics": "DensityScorer aic_scorer bic_scorer icl_scorer log_density_scorer",
    "emlearn.display": """
        ConvergenceDisplay HMMDisplay InferenceDisplay LatentClassDisplay MissingPatternDisplay MixtureDisplay
        ModelSelectionDisplay
        OverimputeDisplay
        RegressionMixtureDisplay
    """,
    "emlearn.em": """
        ACCELERATIONS Affine Batch Batches Counts Draws EMModel EMResult EStep Family Fixed Iterate Lanes
        LatentModel LatentPair LatentStructure MonotonicityWarning MonteCarloModel MonteCarloResult
        MonteCarloStep Observed Positive PositiveDefinite Probability RaceResult Real Restart Restarts
        SideBySide Simplex Start em_iterates em_rate fit_em fit_mcem one_blas_thread one_thread race
    """,
    "emlearn.families": """
        COVARIANCE_SHAPES RESPONSES Bernoulli BernoulliParams Categorical CategoricalParams Emission
        Classes ClassRegression MultivariateNormal MultivariateParams MultivariateRegression StudentT
        ExponentialFamily FactorGaussian FactorParams Gaussian GaussianParams GaussianTotals Held
        IncompleteGaussian MixtureOf MixtureParams MixtureTotals Numeric Poisson PoissonParams Product
        Regression RegressionParams RegressionTotals Response WithGaps
        BetaProbabilities DirichletProbabilities GammaRates NormalWishart VariationalBernoulli
        VariationalCategorical VariationalGaussian VariationalPoisson
    """,
    "emlearn.hmm": "Forecast HMMEM",
    "emlearn.impute": "EMImputer MultipleImputation Pooled PooledWaldTest pool",
    "emlearn.inference": "Estimate Inference PredictiveCheck Summary WaldTest posterior_predictive_check",
    "emlearn.latent": """
        DirichletChain DirichletWeights StickBreaking
        ChainParams ChainStats GateStats Grouped HeldWeights
        MarkovChain MixtureWeights SoftmaxGate stationary_distribution
    """,
    "emlearn.missing": """
        LittleTest MissingPatterns Overimputed ampute little_mcar_test missing_patterns overimpute
    """,
    "emlearn.mixture": """
        BayesianGaussianMixtureEM MixturePosterior ConditionalMixture GaussianMixtureEM MixedConditional
        LatentClassEM MixtureDiscriminant MixtureEM
    """,
    "emlearn.model_selection": """
        Bootstrap InformationCriterionSearch LikelihoodRatioTest Stability bootstrap bootstrap_lrt stability
    """,
    "emlearn.regression": """
        MarkovSwitchingRegression MixtureOfExperts MixtureOfExpertsClassifier MixtureOfLinearRegressions
        RegimeForecast
    """,
    "emlearn.sequences": "SequenceWise",
    "emlearn.testing": """
        FAMILY_LAWS LAWS check_acceleration check_batches check_family check_flatten check_gradient check_model
        check_monotone check_reported check_row_order check_score check_union check_weights
    """,
}
SUBMODULES = {path.partition(".")[2] for path in PUBLIC} - {""}
# Whose modules have names without an underscore: they are the rooms of which the documentation speaks.
LAYERS = {"em": {"em"}, "latent": {"em", "latent"}, "families": {"em", "families"}}
NAMED = {"base"}  # what all estimators inherit


@pytest.mark.parametrize(("path", "name"), [(path, name) for path in PUBLIC for name in PUBLIC[path].split()])
def test_public_names_stay(path, name):
    assert hasattr(import_module(path), name)


@pytest.mark.parametrize("path", PUBLIC)
def test_all_is_what_there_is(path):
    module = import_module(path)
    names = getattr(module, "__all__", None)
    if names is not None:
        assert sorted(set(names)) == sorted(names)
        assert set(PUBLIC[path].split()) <= set(names)
        assert all(hasattr(module, name) for name in names)


def modules():
    """Names of all modules, from the top of the package down."""
    for file in sorted(PACKAGE.rglob("*.py*")):
        if file.suffix in (".py", ".pyx"):
            yield file, [part.removesuffix(file.suffix) for part in file.relative_to(PACKAGE).parts]


def test_every_other_module_is_private():
    for file, parts in modules():
        public = SUBMODULES | NAMED | {"__init__"} if len(parts) == 1 else SUBMODULES
        private = any(part.startswith("_") for part in parts)
        assert private or parts[0] in (public if len(parts) == 1 else LAYERS), file


def test_imports_point_one_way():
    """The engine knows no model, and what is hidden and what is seen know nothing of each other."""
    seen = set()
    for file, (layer, *_) in modules():
        if layer in LAYERS:
            found = re.findall(
                r"^\s*(?:from|import) (emlearn\b[\w.]*|\.)", file.read_text("utf-8"), re.MULTILINE
            )
            known = {name.removeprefix("emlearn").removeprefix(".").partition(".")[0] for name in found}
            assert known <= LAYERS[layer], file
            seen.add(layer)
    assert seen == set(LAYERS)


def test_dir_is_what_is_public():
    assert dir(emlearn) == sorted(set(PUBLIC["emlearn"].split()) | SUBMODULES)
    with pytest.raises(AttributeError, match=r"module 'emlearn' has no attribute 'displays'"):
        _ = emlearn.displays


def test_submodules_come_when_asked_for():
    """As attributes, and none of them brings an optional package before it is needed."""
    # scikit-learn imports pandas itself where it finds it, so only what emlearn adds counts.
    code = "import sys, sklearn.mixture\nbefore = set(sys.modules)\nimport emlearn\n"
    code += "".join(f"print(emlearn.{name}.__name__)\n" for name in SUBMODULES)
    code += "assert not {'matplotlib', 'pandas', 'polars', 'dask'} & set(sys.modules) - before"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert set(answer.stdout.split()) == {f"emlearn.{name}" for name in SUBMODULES}
