"""What a type checker makes of mixtures of any columns, of inference and of choosing. Checked, not run."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from emlearn import (
    BayesianGaussianMixtureEM,
    GaussianMixtureEM,
    InformationCriterionSearch,
    LatentClassEM,
    MarkovSwitchingRegression,
    MixtureDiscriminant,
    MixtureEM,
    bootstrap,
    bootstrap_lrt,
    stability,
)
from emlearn.inference import Estimate, Inference, Summary, WaldTest
from emlearn.mixture import MixedConditional
from emlearn.model_selection import Bootstrap, LikelihoodRatioTest, Stability

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Array = NDArray[Any]


def mixtures(X: Floats, y: list[str]) -> None:
    model = MixtureEM(3, emission={"visits": "poisson", "spent": "gamma"}, random_state=0)
    assert_type(model.fit(X, labels=[0, -1, 1]), MixtureEM)
    assert_type(model.predict(X), Ints)
    assert_type(model.predict_proba(X), Floats)
    assert_type(model.weights_, Array)
    assert_type(model.marginal(["visits"]), MixtureEM)
    assert_type(model.conditional(X, ["spent"]), MixedConditional)
    classes = LatentClassEM(3, n_steps=3, correction="BCH")
    assert_type(classes.fit(X), LatentClassEM)
    assert_type(classes.relative_entropy(X), float)
    assert_type(classes.bivariate_residuals(X), Floats)
    assert_type(BayesianGaussianMixtureEM(5).fit(X), BayesianGaussianMixtureEM)
    assert_type(MixtureDiscriminant(2).fit(X, y), MixtureDiscriminant)
    assert_type(MixtureDiscriminant(2).predict(X), Array)


def switching(X: list[Floats], y: list[Floats]) -> None:
    model = MarkovSwitchingRegression(2, random_state=0)
    assert_type(model.fit(X, y), MarkovSwitchingRegression)
    assert_type(model.transmat_, Array)
    assert_type(model.score(X, y), float)


def inference(model: GaussianMixtureEM, X: Floats) -> None:
    found = model.infer(X)
    assert_type(found, Inference)
    assert_type(found.standard_errors, dict[str, Any])
    assert_type(found.function_se(lambda fitted: fitted.means_[0]), Estimate)
    assert_type(model.summary(X), Summary)
    assert_type(model.confidence_intervals(X, level=0.9), dict[str, Any])
    assert_type(model.covariance_of_estimates(X), Floats)
    assert_type(model.wald_test(X, R=[1.0, -1.0]), WaldTest)


def choosing(X: Floats) -> None:
    search = InformationCriterionSearch(GaussianMixtureEM(), {"n_components": [1, 2]}, criterion="icl")
    assert_type(search.fit(X), InformationCriterionSearch)
    assert_type(search.score(X), float)
    assert_type(bootstrap(GaussianMixtureEM().fit(X), X), Bootstrap)
    assert_type(bootstrap_lrt(GaussianMixtureEM(1), GaussianMixtureEM(2), X), LikelihoodRatioTest)
    assert_type(stability(GaussianMixtureEM(), X), Stability)


def mistakes(X: Floats) -> None:
    """Each of these is an error: an ignore that is not needed is one, too."""
    LatentClassEM(n_steps="three")  # type: ignore[arg-type]
    LatentClassEM(correction="bch")  # type: ignore[arg-type]
    MixtureEM(n_classes=2)  # type: ignore[call-arg]
    InformationCriterionSearch(GaussianMixtureEM(), {}, criterion="bayes")  # type: ignore[arg-type]
    print(GaussianMixtureEM().infer(X).p_values)  # type: ignore[attr-defined]
