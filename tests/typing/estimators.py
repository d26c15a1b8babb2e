"""What a type checker makes of the estimators. It is checked by mypy, not run."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from emlearn import (
    HMMEM,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
    match_components,
)
from emlearn.em import Restarts
from emlearn.families import Poisson
from emlearn.hmm import Forecast
from emlearn.metrics import log_density_scorer
from emlearn.mixture import ConditionalMixture
from emlearn.sequences import SequenceWise

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Array = NDArray[Any]


def mixture(X: Floats, weight: list[int], rng: np.random.RandomState) -> None:
    model = GaussianMixtureEM(n_components=3, covariance_type="VEE", means_init=[[1], [2]], random_state=rng)
    assert_type(model.fit(X, sample_weight=weight), GaussianMixtureEM)
    assert_type(model.fit_predict(X), Ints)
    assert_type(model.predict(X), Ints)
    assert_type(model.predict_proba(X), Floats)
    assert_type(model.score_samples([[1.0, 2.0]]), Floats)
    assert_type(model.score(X), float)
    assert_type(model.bic(X, sample_weight=weight), float)
    assert_type(model.sample(10), tuple[Array, Ints])
    assert_type(model.marginal(["a", "b"]), GaussianMixtureEM)
    assert_type(model.conditional(X, [0]), ConditionalMixture)
    assert_type(model.conditional(X, 0).mean(), Floats)
    assert_type(model.means_, Array)
    assert_type(model.lower_bounds_, list[float])
    assert_type(model.restarts_, Restarts)
    assert_type(model.precisions_, Array)
    assert_type(GaussianMixtureEM(assignment="sampled", annealing=[0.5, 1.0]).mean_parameters_, dict[str, Any])
    known = GaussianMixtureEM.from_parameters([0.5, 0.5], [[0.0], [1.0]], X, covariance_type="diag", tol=1e-3)
    assert_type(known, GaussianMixtureEM)
    assert_type(known.reorder([1, 0]), GaussianMixtureEM)
    assert_type(match_components(model, known), Ints)


class Own(GaussianMixtureEM):
    """A subclass stays itself."""


def subclass(X: Floats) -> None:
    assert_type(Own().fit(X), Own)


def hidden_markov(sequences: list[Floats], X: Floats) -> None:
    model = HMMEM(n_components=2, emission={0: Poisson(), 1: "gaussian"}, transition="left-right")
    assert_type(model.fit(sequences), HMMEM)
    assert_type(model.fit(X, lengths=[2, 3], state_labels=[[0, -1], [1, 1, -1]]), HMMEM)
    assert_type(model.predict(sequences), Array)
    assert_type(model.decode(X), tuple[Array, Floats])
    assert_type(model.predict_next(X, 3), Forecast)
    assert_type(model.predict_next(X).mean, Floats)
    assert_type(model.score(X, groups=["a", "a", "b"]), float)
    assert_type(model.transmat_, Array)
    assert_type(HMMEM.from_parameters([1.0], [[1.0]], emission="poisson", rates=[[2.0]]), HMMEM)
    HMMEM(emission_init={"means": X}, fixed=("transmat",), transmat_init=X)
    assert_type(SequenceWise(model).fit(sequences), SequenceWise)


def regressions(X: Floats, y: list[float]) -> None:
    for model in (MixtureOfLinearRegressions(), MixtureOfExperts(gate_features=["x"])):
        assert_type(model.predict(X), Floats)
        assert_type(model.predict(X, return_std=True), tuple[Floats, Floats])
        assert_type(model.predict(X, return_std=model.infer(X, y)), tuple[Floats, Floats, Floats])
        assert_type(model.predict_interval(X, 0.9), Floats)
        assert_type(model.component_proba(X, y, groups=[1, 1, 2]), Floats)
        assert_type(model.sample(X), tuple[Array, Ints])
        assert_type(model.score(X, y), float)
        assert_type(model.predict(X, groups=[1, 1, 2], history=(X, y, [1, 1, 2])), Floats)
        assert_type(log_density_scorer(model, X, y), float)
    MixtureOfExperts(expert_features=["x"], gate_features=[False, True], zero_inflated=True)
    MixtureOfLinearRegressions(noise=True)
    assert_type(MixtureOfLinearRegressions(family="poisson").fit(X, y), MixtureOfLinearRegressions)
    assert_type(MixtureOfExperts().fit(X, y, offset=y).gate_coef_, Array)
    assert_type(MixtureOfExpertsClassifier().fit(X, ["yes", "no"]), MixtureOfExpertsClassifier)
    assert_type(MixtureOfExpertsClassifier().predict(X), Array)


def mistakes(X: Floats, y: Floats) -> None:
    """Each of these is an error: an ignore that is not needed is one, too."""
    GaussianMixtureEM(n_component=2)  # type: ignore[call-arg]
    GaussianMixtureEM(covariance_type="fulll")  # type: ignore[arg-type]
    GaussianMixtureEM(acceleration=None)  # type: ignore[arg-type]
    MixtureOfExperts(assignment="firm")  # type: ignore[arg-type]
    GaussianMixtureEM(2, "full")  # type: ignore[call-arg]
    HMMEM(algorithm="map")  # type: ignore[arg-type]
    MixtureOfExperts(family="normal")  # type: ignore[arg-type]
    MixtureOfExperts().fit(X)  # type: ignore[call-arg]
    MixtureOfExperts().predict(X, y)  # type: ignore[call-overload]
    model = HMMEM().fit(X, y, groups=y, length=[3])  # type: ignore[call-arg]
    model.startprob_ = 1.0  # type: ignore[assignment]
