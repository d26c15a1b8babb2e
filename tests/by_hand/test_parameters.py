"""Models made of known parameters; attributes that cannot be set; starts that are only evaluated."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from emlearn import (
    HMMEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.families import (
    COVARIANCE_SHAPES,
    COVARIANCE_TYPES,
    Categorical,
    Gaussian,
    GaussianParams,
    Poisson,
    PoissonParams,
    Product,
)

RNG = np.random.RandomState(0)
STATES = np.repeat([0, 1, 0, 2, 1, 2, 0, 1], 20)
REALS = np.column_stack([RNG.normal(4.0 * STATES, 1.0), RNG.normal(-STATES, 0.5)])
COUNTS = RNG.poisson(1.0 + 4.0 * STATES)[:, None].astype(float)
CODES = np.column_stack([(STATES + RNG.randint(2, size=160)) % 3, RNG.randint(2, size=160)]).astype(float)
BITS = (RNG.uniform(size=(160, 2)) < np.column_stack([0.1 + 0.4 * STATES, 0.9 - 0.4 * STATES])).astype(float)
EVERYTHING = np.column_stack([REALS[:, 0], COUNTS, REALS[:, 1], CODES])
NAMES = ("means", "covariances", "rates", "probabilities", "weights", "loadings", "noise")


def quietly(estimator, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few starts of many forms: how they end is no matter here
        return estimator.fit(*data)


def published(model, names=NAMES):
    return {name: getattr(model, f"{name}_") for name in names if hasattr(model, f"{name}_")}


def refuse_what_only_a_fit_knows(model):
    check_is_fitted(model)
    of_fit = {"converged_", "n_iter_", "log_likelihood_", "restarts_", "gap_", "lower_bound_"}
    assert not of_fit & set(vars(model))


# -- mixtures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_mixture_round_trip(covariance_type):
    model = GaussianMixtureEM(3, covariance_type=covariance_type, n_factors=1, n_init=2, random_state=0)
    quietly(model, REALS)
    made = GaussianMixtureEM.from_parameters(**published(model), covariance_type=covariance_type)
    refuse_what_only_a_fit_knows(made)
    np.testing.assert_allclose(made.predict_proba(REALS), model.predict_proba(REALS), rtol=1e-10, atol=1e-12)
    assert made.score(REALS) == pytest.approx(model.score(REALS), rel=1e-12)
    assert made.bic(REALS) == pytest.approx(model.bic(REALS), rel=1e-12)
    assert made.n_features_in_ == 2
    for name, value in published(model).items():
        np.testing.assert_allclose(getattr(made, f"{name}_"), value, rtol=1e-12, atol=1e-12)
    X, labels = made.set_params(random_state=0).sample(20)
    assert X.shape == (20, 2)
    assert labels.max() <= 2
    np.testing.assert_allclose(
        made.marginal([1]).score_samples(X[:, [1]]), model.marginal([1]).score_samples(X[:, [1]])
    )
    np.testing.assert_allclose(made.conditional([[0.0]], [0]).mean(), model.conditional([[0.0]], [0]).mean())


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_precisions_are_those_of_sklearn(covariance_type):
    model = GaussianMixtureEM(2, covariance_type=covariance_type, n_init=2, random_state=0).fit(REALS)
    settings = {
        "weights_init": model.weights_,
        "means_init": model.means_,
        "precisions_init": model.precisions_,
    }
    other = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, max_iter=1, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        other.fit(REALS)
    np.testing.assert_allclose(model.precisions_, other.precisions_, rtol=1e-2)
    assert model.precisions_.shape == model.covariances_.shape


def test_precisions_of_other_forms_are_inverses():
    for covariance_type in ("VEE", "factor"):
        model = GaussianMixtureEM(2, covariance_type=covariance_type, n_factors=1, n_init=2, random_state=0)
        quietly(model, REALS)
        np.testing.assert_allclose(
            model.precisions_ @ model.covariances_, np.tile(np.eye(2), (2, 1, 1)), atol=1e-9
        )
    model = quietly(
        GaussianMixtureEM(2, covariance_type="EVI", n_init=2, random_state=0), REALS.astype(np.float32)
    )
    assert model.precisions_.dtype == np.float32
    np.testing.assert_allclose(model.precisions_ * model.covariances_, 1.0, rtol=1e-5)


def test_names_of_features_are_known():
    model = GaussianMixtureEM.from_parameters([1.0], [[0.0, 1.0]], [np.eye(2)], feature_names=["a", "b"])
    assert model.predict(pd.DataFrame({"a": [1.0], "b": [2.0]})).tolist() == [0]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame({"b": [1.0], "a": [2.0]}))


def test_a_fit_goes_on_from_known_parameters():
    settings = {"warm_start": True, "covariance_type": "tied"}
    known = [0.2, 0.3, 0.5], [[8.0, -2.0], [0.0, 0.0], [4.0, -1.0]], np.eye(2)
    model = GaussianMixtureEM.from_parameters(*known, **settings).fit(REALS)
    assert model.converged_
    assert [start.kind for start in model.restarts_.starts] == ["warm"]
    np.testing.assert_allclose(model.means_, known[1], atol=1.0)  # in their order
    chain = HMMEM.from_parameters(
        [0, 1], np.full((2, 2), 0.5), emission="poisson", rates=[[9], [1]], warm_start=True
    )
    assert chain.fit(COUNTS).rates_[0] > chain.rates_[1]


BAD_MIXTURES = {
    "negative": (([1.5, -0.5], [[0.0], [1.0]], np.ones((2, 1, 1))), {}, "weights must hold probabilities"),
    "sum": (
        ([0.5, 0.6], [[0.0], [1.0]], np.ones((2, 1, 1))),
        {},
        r"weights must sum to 1, but it sums to 1\.1",
    ),
    "2-D": (([[0.5, 0.5]], [[0.0], [1.0]], np.ones((2, 1, 1))), {}, r"weights has shape \(1, 2\)"),
    "means": (([0.5, 0.5], [[0.0]], np.ones((2, 1, 1))), {}, r"means has shape \(1, 1\); expected \(2, any\)"),
    "covariances": (([0.5, 0.5], [[0.0], [1.0]], np.ones((2, 1))), {}, r"covariances has shape \(2, 1\)"),
    "definite": (
        ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]),
        {},
        "covariances must be positive definite",
    ),
    "infinite": (([1.0], [[np.inf]], [[[1.0]]]), {}, "means holds NaN or infinity"),
    "none": (([1.0], [[0.0]]), {}, "covariances must be given"),
    "loadings": (([1.0], [[0.0]], [[[1.0]]]), {"loadings": [[[1.0]]]}, "loadings is no parameter here"),
    "K": (([1.0], [[0.0]], [[[1.0]]]), {"n_components": 2}, "n_components=2, but there are parameters of 1"),
    "form": (([1.0], [[0.0]], [[[1.0]]]), {"covariance_type": "fulll"}, "covariance_type"),
    "tol": (([1.0], [[0.0]], [[[1.0]]]), {"tol": -1.0}, "tol"),
    "names": (([1.0], [[0.0]], [[[1.0]]]), {"feature_names": ["a", "b"]}, "a text for each of the 1 features"),
    "twice": (([1.0], [[0.0, 0.0]], [np.eye(2)]), {"feature_names": ["a", "a"]}, "holds a name twice"),
}


@pytest.mark.parametrize("name", BAD_MIXTURES)
def test_bad_mixtures_are_named(name):
    known, settings, message = BAD_MIXTURES[name]
    with pytest.raises(ValueError, match=message):
        GaussianMixtureEM.from_parameters(*known, **settings)


# -- hidden Markov models -----------------------------------------------------------------------------------

EMISSIONS = {
    **{shape: (REALS, {"covariance_type": shape, "n_factors": 1}) for shape in COVARIANCE_TYPES},
    "gmm": (REALS, {"emission": "gmm"}),
    "gmm tied": (REALS, {"emission": "gmm", "covariance_type": "tied"}),
    "gmm factor": (REALS, {"emission": "gmm", "covariance_type": "factor", "n_factors": 1}),
    "poisson": (COUNTS, {"emission": "poisson"}),
    "bernoulli": (BITS, {"emission": "bernoulli"}),
    "categorical": (CODES, {"emission": "categorical"}),
    "one column": (CODES[:, :1], {"emission": "categorical"}),
    "object": (CODES, {"emission": Categorical((3, 2))}),
    "stationary": (COUNTS, {"emission": "poisson", "transition": "left-right"}),
    "dict": (
        EVERYTHING,
        {
            "emission": dict(
                zip(range(5), ("gaussian", "poisson", "gaussian") + ("categorical",) * 2, strict=True)
            )
        },
    ),
    "dict of objects": (EVERYTHING[:, :2], {"emission": {0: "gmm", 1: Poisson()}}),
    "dict of one": (COUNTS, {"emission": {0: "poisson"}}),
    "product": (
        EVERYTHING[:, :3],
        {"emission": Product((((0, 2), Gaussian(COVARIANCE_SHAPES["full"])), ((1,), Poisson())))},
    ),
}


@pytest.mark.parametrize("name", EMISSIONS)
def test_hmm_round_trip(name):
    X, settings = EMISSIONS[name]
    model = quietly(HMMEM(3, n_init=1, max_iter=15, random_state=0, **settings), X)
    ways = [{"emission_params": model.emission_params_}]
    if published(model):
        ways.append(published(model))
    for way in ways:
        made = HMMEM.from_parameters(model.startprob_, model.transmat_, **way, **settings)
        refuse_what_only_a_fit_knows(made)
        np.testing.assert_allclose(made.predict_proba(X), model.predict_proba(X), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(made.score_samples(X), model.score_samples(X), rtol=1e-10, atol=1e-10)
        assert made.n_parameters_ == model.n_parameters_
        assert made.n_features_in_ == X.shape[1]
        assert made.aic(X) == pytest.approx(model.aic(X))
        assert made.decode(X)[1] == pytest.approx(model.decode(X)[1])
        assert made.sample(4)[0].shape == (4, X.shape[1])
        np.testing.assert_allclose(made.predict_next(X).mean, model.predict_next(X).mean)
        assert not hasattr(made, "n_sequences_")
        pickle.loads(pickle.dumps(made)).reorder([2, 0, 1]).predict(X)


CHAIN = [0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]]


def test_starts_in_words():
    made = HMMEM.from_parameters("stationary", CHAIN[1], emission="poisson", rates=[[1.0], [2.0]])
    np.testing.assert_allclose(made.startprob_, [2 / 3, 1 / 3])
    assert made.n_parameters_ == 4
    even = HMMEM.from_parameters("uniform", CHAIN[1], emission="poisson", rates=[[1.0], [2.0]])
    assert even.startprob_.tolist() == [0.5, 0.5]


def test_parameters_of_columns_by_name():
    made = HMMEM.from_parameters(
        *CHAIN,
        emission={"load": "gaussian", "hits": "poisson"},
        emission_params={
            "hits": {"rates": [[1.0], [9.0]]},
            ("load",): {"means": [[0.0], [5.0]], "covariances": np.ones((2, 1, 1))},
        },
        feature_names=["load", "hits"],
    )
    frame = pd.DataFrame({"load": [0.0, 5.0], "hits": [1, 9]})
    assert made.predict(frame).tolist() == [0, 1]


def test_known_sequences_by_first_principles():
    """Two steps of a chain of coins, all paths added up by hand."""
    chances = np.array([0.1, 0.7])
    made = HMMEM.from_parameters(*CHAIN, emission="bernoulli", probabilities=chances[:, None])
    expected = sum(0.5 * chances[a] * CHAIN[1][a][b] * (1 - chances[b]) for a in range(2) for b in range(2))
    assert made.log_likelihood([[1.0], [0.0]]).item() == pytest.approx(np.log(expected))


RATES = {"emission": "poisson", "rates": [[1.0], [2.0]]}
TWO = {"emission": {0: "gaussian", 1: "poisson"}}
BAD_HMMS = {
    "startprob": (([0.5, 0.6], CHAIN[1]), RATES, "startprob must sum to 1"),
    "startprob shape": (([1.0], CHAIN[1]), RATES, r"startprob has shape \(1,\)"),
    "transmat": (
        (CHAIN[0], [[0.9, 0.2], [0.2, 0.8]]),
        RATES,
        r"transmat must sum to 1, but row 0 sums to 1\.1",
    ),
    "negative": ((CHAIN[0], [[1.1, -0.1], [0.2, 0.8]]), RATES, "transmat must hold probabilities"),
    "square": ((CHAIN[0], [[0.9, 0.1]]), RATES, r"transmat has shape \(1, 2\); expected \(K, K\)"),
    "word": (("fre", CHAIN[1]), RATES, "startprob"),
    "forbidden": (CHAIN, {**RATES, "transition": "left-right"}, "forbids to go from state 1 to state 0"),
    "emission": (
        CHAIN,
        {"emission": "poison", "rates": [[1.0], [2.0]]},
        "none of gaussian, student_t, poisson",
    ),
    "lambdas": (CHAIN, {"emission": "poisson", "lambdas": [[1.0], [2.0]]}, "parameters of Poisson are rates"),
    "rates": (CHAIN, {"emission": "poisson"}, "rates must be given"),
    "three": (CHAIN, {"emission": "poisson", "rates": [[1.0]] * 3}, r"rates has shape \(3, 1\)"),
    "both": (CHAIN, {**RATES, "emission_params": {"rates": [[1.0], [2.0]]}}, "drop one of them"),
    "no dict": (CHAIN, {**TWO, "rates": [[1.0], [2.0]]}, "columns have emissions of their own here"),
    "nothing": (CHAIN, TWO, "emission_params must be given"),
    "list": (CHAIN, {**TWO, "emission_params": [1]}, "must be a dict by the columns"),
    "a part": (
        CHAIN,
        {**TWO, "emission_params": {1: {"rates": [[1.0], [2.0]]}}},
        r"emission_params\[\(0,\)\] is not",
    ),
    "key": (
        CHAIN,
        {**TWO, "emission_params": {(0, 1): {}}},
        r"has the key \(0, 1\), but the columns .* are \(0,\)",
    ),
    "name": (CHAIN, {**TWO, "emission_params": {"load": {}}}, "names 'load', which is no feature"),
    "width": (
        CHAIN,
        {
            **TWO,
            "emission_params": {
                0: {"means": np.zeros((2, 2)), "covariances": [np.eye(2)] * 2},
                1: {"rates": [[1.0], [2.0]]},
            },
        },
        r"emission_params\[\(0,\)\] is for 2 columns",
    ),
    "no names": (
        CHAIN,
        {"emission": "poisson", "emission_params": 3.0},
        "must be a dict of parameters by name",
    ),
    "names": (CHAIN, {**RATES, "feature_names": ["a", "b"]}, "feature_names"),
    "another's": (
        CHAIN,
        {"emission_params": PoissonParams(np.ones((2, 1)))},
        "of 2 components of this emission, but PoissonParams.* as emission='gaussian' .*: give the emission",
    ),
    "another form": (
        CHAIN,
        {"emission_params": GaussianParams(np.zeros((2, 2)), np.ones((2, 2)))},
        r"covariances has shape \(2, 2\).* of covariance_type='full': give .* covariance_type, of the model",
    ),
}


@pytest.mark.parametrize("name", BAD_HMMS)
def test_bad_hmms_are_named(name):
    known, settings, message = BAD_HMMS[name]
    with pytest.raises(ValueError, match=message):
        HMMEM.from_parameters(*known, **settings)


# -- imputers -----------------------------------------------------------------------------------------------

GAPS = np.where(RNG.uniform(size=REALS.shape) < 0.2, np.nan, REALS)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_components", [1, 2])
def test_imputer_round_trip(covariance_type, n_components):
    model = EMImputer(
        n_components=n_components, covariance_type=covariance_type, n_factors=1, n_init=2, random_state=0
    )
    quietly(model, GAPS)
    form = "full" if covariance_type == "factor" else covariance_type
    ways = [published(model, ["weights", "means", "covariances"])]
    if n_components == 1:
        ways.append({"mean": model.mean_, "covariance": model.covariance_})
    for way in ways:
        made = EMImputer.from_parameters(**way, covariance_type=form)
        refuse_what_only_a_fit_knows(made)
        np.testing.assert_allclose(made.transform(GAPS), model.transform(GAPS), rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(
            made.conditional_std(GAPS), model.conditional_std(GAPS), rtol=1e-8, atol=1e-8
        )
        np.testing.assert_allclose(made.score_samples(GAPS), model.score_samples(GAPS), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(made.covariance_, model.covariance_, rtol=1e-9, atol=1e-12)
        drawn = made.set_params(sample_posterior=True, random_state=0).transform(GAPS)
        assert np.isfinite(drawn).all()
        if form == covariance_type:
            assert made.n_parameters_ == model.n_parameters_


def test_imputer_with_constant_and_empty_features():
    X = np.column_stack([GAPS, np.full(160, 7.0), np.full(160, np.nan)])
    model = quietly(EMImputer(), X)
    made = EMImputer.from_parameters(model.mean_, model.covariance_)
    rows = np.array([[np.nan, 0.0, np.nan, np.nan], [3.0, np.nan, 7.0, np.nan]])
    np.testing.assert_allclose(made.transform(rows), model.transform(rows), rtol=1e-9)
    assert made.n_parameters_ == model.n_parameters_
    nothing = EMImputer.from_parameters([7.0], [[0.0]])
    assert nothing.transform([[np.nan]]).tolist() == [[7.0]]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, "Give mean and covariance, or else"),
        ({"mean": [0.0], "weights": [1.0]}, "Give mean and covariance, or else"),
        ({"mean": [0.0], "covariance": [1.0]}, r"covariance has shape \(1,\); expected \(1, 1\)"),
        ({"mean": [[0.0]], "covariance": [[1.0]]}, r"mean has shape \(1, 1\); expected \(d,\)"),
        ({"mean": [0.0, 0.0], "covariance": [[1.0, 2.0], [2.0, 1.0]]}, "covariance must be positive definite"),
        ({"mean": [0.0, 0.0], "covariance": [[1.0, 0.5], [0.4, 1.0]]}, "covariance must be symmetric"),
        ({"mean": [0.0], "covariance": [[-1.0]]}, "least eigenvalue is -1"),
        ({"mean": [0.0], "covariance": [[np.nan]]}, "covariance holds NaN"),
        ({"mean": [np.inf], "covariance": [[1.0]]}, "mean holds NaN or infinity"),
        (
            {"weights": [0.5, 0.6], "means": [[0.0], [1.0]], "covariances": np.ones((2, 1, 1))},
            "weights must sum to 1",
        ),
        (
            {"weights": [1.0], "means": [[0.0], [1.0]], "covariances": np.ones((2, 1, 1))},
            r"weights has shape \(1,\)",
        ),
        ({"means": [[0.0]], "weights": [1.0]}, "or else weights, means and covariances"),
        ({"mean": [0.0]}, "Give mean and covariance"),
        ({"mean": [0.0], "covariance": [[1.0]], "covariance_type": "factor"}, "do not tell the loadings"),
        (
            {"mean": [0.0, 0.0], "covariance": [[1.0, 0.5], [0.5, 1.0]], "covariance_type": "diag"},
            "covariance has not the form that covariance_type='diag' says",
        ),
        ({"mean": [0.0], "covariance": [[1.0]], "add_indicator": True}, "add_indicator=True"),
        ({"mean": [0.0], "covariance": [[1.0]], "min_value": 3.0, "max_value": 2.0}, "min_value=3 is above"),
    ],
)
def test_bad_imputers_are_named(known, message):
    with pytest.raises(ValueError, match=message):
        EMImputer.from_parameters(**known)


def test_an_imputer_by_hand_has_no_rows_to_draw_parameters_from():
    made = EMImputer.from_parameters([0.0], [[1.0]])
    with pytest.raises(ValueError, match="sample_posterior=True"):
        made.sample([[np.nan]])


# -- regressions --------------------------------------------------------------------------------------------

ROWS = RNG.normal(size=(120, 2)) * [1.0, 10.0] + [5.0, 100.0]
ETA = np.where(RNG.randint(2, size=120), 1.0 + 0.5 * ROWS[:, 0], 3.0 - 0.2 * ROWS[:, 0] + 0.02 * ROWS[:, 1])
RESPONSES = {
    "gaussian": ETA + 0.1 * RNG.normal(size=120),
    "poisson": RNG.poisson(np.exp(ETA / 2)),
    "binomial": (RNG.uniform(size=120) < 1 / (1 + np.exp(4.0 - ETA))) * 1,
}


@pytest.mark.parametrize("settings", [{}, {"fit_intercept": False}, {"shared_coef": [1]}, {"alpha": 1.0}])
@pytest.mark.parametrize("family", RESPONSES)
@pytest.mark.parametrize("cls", [MixtureOfLinearRegressions, MixtureOfExperts])
def test_regression_round_trip(cls, family, settings):
    y = RESPONSES[family]
    settings = {"family": family, **settings}
    names = ["coef", "intercept", "sigma", "weights"]
    if cls is MixtureOfExperts:
        settings["gate_features"] = [1]
        names = ["coef", "intercept", "sigma", "gate_coef", "gate_intercept"]
    model = quietly(cls(2, n_init=2, max_iter=30, random_state=0, **settings), ROWS, y)
    made = cls.from_parameters(**published(model, names), **settings)
    refuse_what_only_a_fit_knows(made)
    np.testing.assert_allclose(made.predict(ROWS), model.predict(ROWS), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        made.component_proba(ROWS, y), model.component_proba(ROWS, y), rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(made.score_samples(ROWS, y), model.score_samples(ROWS, y), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        made.predict_interval(ROWS[:5]), model.predict_interval(ROWS[:5]), rtol=1e-7, atol=1e-7
    )
    assert made.aic(ROWS, y) == pytest.approx(model.aic(ROWS, y))
    assert made.n_parameters_ == model.n_parameters_
    assert made.set_params(random_state=0).sample(ROWS)[0].shape == (120,)
    groups = np.arange(120) // 4
    if cls is MixtureOfLinearRegressions:
        assert made.score_samples(ROWS, y, groups=groups).shape == (30,)


def test_classifier_round_trip():
    y = np.where(RESPONSES["binomial"], "yes", "no")
    model = quietly(MixtureOfExpertsClassifier(2, n_init=2, random_state=0), ROWS, y)
    names = ["coef", "intercept", "gate_coef", "gate_intercept", "classes"]
    made = MixtureOfExpertsClassifier.from_parameters(**published(model, names))
    refuse_what_only_a_fit_knows(made)
    np.testing.assert_allclose(made.predict_proba(ROWS), model.predict_proba(ROWS), rtol=1e-10)
    assert (made.predict(ROWS) == model.predict(ROWS)).all()
    assert made.score(ROWS, y) == model.score(ROWS, y)
    assert set(made.sample(ROWS)[0]) == {"no", "yes"}


def test_only_differences_of_a_gate_matter():
    known = {"coef": [[1.0], [2.0]], "sigma": [1.0, 1.0]}
    one = MixtureOfExperts.from_parameters(**known, gate_coef=[[1.0], [-1.0]], gate_intercept=[0.0, 0.0])
    other = MixtureOfExperts.from_parameters(**known, gate_coef=[[7.0], [5.0]], gate_intercept=[3.0, 3.0])
    np.testing.assert_allclose(one.predict([[0.3]]), other.predict([[0.3]]))
    assert other.gate_coef_.ravel().tolist() == [1.0, -1.0]


def test_a_regression_goes_on_from_known_parameters():
    made = MixtureOfLinearRegressions.from_parameters(
        [[-0.2, 0.02], [0.5, 0.0]], [3.0, 1.0], weights=[0.5, 0.5], sigma=[0.1, 0.1], warm_start=True
    )
    made.fit(ROWS, RESPONSES["gaussian"])
    np.testing.assert_allclose(made.coef_[:, 0], [-0.2, 0.5], atol=0.1)
    assert made.converged_


LINE = {"weights": [0.5, 0.5], "sigma": [1.0, 1.0]}
BAD_LINES = {
    "1-D": ({"coef": [1.0, 2.0], **LINE}, r"coef has shape \(2,\); expected \(K, d\)"),
    "NaN": ({"coef": [[np.nan], [1.0]], **LINE}, "coef contains NaN"),
    "intercept": ({"coef": [[1.0], [2.0]], "intercept": [1.0], **LINE}, r"intercept has shape \(1,\)"),
    "no intercept": (
        {"coef": [[1.0], [2.0]], "intercept": [1.0, 0.0], "fit_intercept": False, **LINE},
        "intercept is not 0, but fit_intercept=False",
    ),
    "weights": ({"coef": [[1.0], [2.0]], **LINE, "weights": [0.5, 0.4]}, "weights must sum to 1"),
    "no sigma": ({"coef": [[1.0], [2.0]], "weights": [0.5, 0.5]}, "sigma must be given"),
    "sigma": ({"coef": [[1.0], [2.0]], **LINE, "sigma": [1.0, 0.0]}, "sigma must be positive; the least is 0"),
    "one sigma": ({"coef": [[1.0], [2.0]], **LINE, "sigma": 1.0}, r"sigma has shape \(\)"),
    "counts": ({"coef": [[1.0], [2.0]], **LINE, "family": "poisson"}, "sigma is for normal noise"),
    "shared": ({"coef": [[1.0], [2.0]], **LINE, "shared_coef": [0]}, "coef of the features in shared_coef"),
    "variance": (
        {"coef": [[1.0], [2.0]], **LINE, "sigma": [1.0, 2.0], "shared_variance": True},
        "sigma must be the same in all components",
    ),
}
GATE = {"coef": [[1.0], [2.0]], "sigma": [1.0, 1.0], "gate_coef": [[1.0], [2.0]], "gate_intercept": [0.0, 0.0]}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_regressions_are_named(name):
    known, message = BAD_LINES[name]
    with pytest.raises(ValueError, match=message):
        MixtureOfLinearRegressions.from_parameters(**known)


def test_bad_gates_and_classes_are_named():
    for more, message in [
        (
            {"gate_coef": [[1.0, 0.0], [2.0, 0.0]]},
            r"gate_coef has shape \(2, 2\); expected \(2, 1\). The gate sees 1",
        ),
        ({"gate_features": []}, r"gate_coef has shape \(2, 1\); expected \(2, 0\)"),
        ({"gate_intercept": [0.0]}, "gate_intercept has shape"),
        ({"gate_features": [3]}, "gate_features names 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            MixtureOfExperts.from_parameters(**{**GATE, **more})
    known = {name: value for name, value in GATE.items() if name != "sigma"}
    for classes in ([1], [1, 1], [1, 0], [0, 2, 1]):
        with pytest.raises(ValueError, match="give the classes, two at least, in their order"):
            MixtureOfExpertsClassifier.from_parameters(**known, classes=classes)
    with pytest.raises(ValueError, match=r"coef has shape \(2, 1\); expected \(K, 3, d\)"):
        MixtureOfExpertsClassifier.from_parameters(**known, classes=[0, 1, 2])


# -- attributes that are set by hand ------------------------------------------------------------------------

BY_HAND = [
    (GaussianMixtureEM(), "weights_ means_ covariances_ precisions_ precisions_cholesky_ loadings_ noise_"),
    (HMMEM(), "startprob_ transmat_ means_ covariances_ rates_ probabilities_ weights_ emission_params_"),
    (HMMEM(), "covars_ lambdas_ emissionprob_ stationary_distribution_"),
    (EMImputer(), "mean_ covariance_ means_ covariances_ weights_"),
    (MixtureOfLinearRegressions(), "coef_ intercept_ sigma_ weights_"),
    (MixtureOfExperts(), "coef_ intercept_ sigma_ weights_ gate_coef_ gate_intercept_ gate_features_"),
    (MixtureOfExpertsClassifier(), "coef_ intercept_ gate_coef_"),
]


@pytest.mark.parametrize(
    ("estimator", "names"), BY_HAND, ids=lambda x: x if isinstance(x, str) else type(x).__name__
)
def test_attributes_set_by_hand_are_refused_by_name(estimator, names):
    for name in names.split():
        with pytest.raises(
            AttributeError, match=rf"{name} cannot be set.*{type(estimator).__name__}.from_parameters"
        ):
            setattr(estimator, name, np.ones(2))
        assert name not in vars(estimator)


def test_attributes_of_a_fit_are_refused_too():
    model = GaussianMixtureEM.from_parameters([0.4, 0.6], [[0.0], [5.0]], np.ones((2, 1, 1)))
    with pytest.raises(AttributeError, match="see reorder"):
        model.means_ = model.means_[::-1]
    assert model.means_.tolist() == [[0.0], [5.0]]
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.predict([[4.0]]).tolist() == [1]
    assert not hasattr(clone(model), "means_")
    model.set_params(tol=1e-3)
    model.note_ = "whatever is not a parameter may be set"


# -- starts that are only evaluated -------------------------------------------------------------------------

UNTOUCHED = [
    (GaussianMixtureEM(2, max_iter=0, n_init=4, random_state=0), (REALS,)),
    (HMMEM(2, max_iter=0, n_init=4, random_state=0), (REALS,)),
    (EMImputer(max_iter=0), (GAPS,)),
    (EMImputer(n_components=2, max_iter=0, n_init=4, random_state=0), (GAPS,)),
    (MixtureOfLinearRegressions(2, max_iter=0, n_init=4, random_state=0), (ROWS, RESPONSES["gaussian"])),
    (MixtureOfExperts(2, max_iter=0, n_init=4, random_state=0), (ROWS, RESPONSES["gaussian"])),
    (MixtureOfExpertsClassifier(2, max_iter=0, n_init=4, random_state=0), (ROWS, RESPONSES["binomial"])),
]


@pytest.mark.parametrize(
    ("estimator", "data"), UNTOUCHED, ids=lambda x: "" if isinstance(x, tuple) else type(x).__name__
)
def test_no_iterations_evaluate_the_starts(estimator, data):
    with pytest.warns(ConvergenceWarning, match="max_iter=0"):
        model = clone(estimator).fit(*data)
    assert model.n_iter_ == 0
    assert not model.converged_
    assert len(model.lower_bounds_) == 1
    assert all(start.n_iter == 0 for start in model.restarts_.starts)
    if not isinstance(model, EMImputer):
        total = np.sum(model.score_samples(*data)) if not hasattr(model, "classes_") else model.log_likelihood_
        assert model.log_likelihood_ == pytest.approx(total)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        further = clone(estimator).set_params(max_iter=1).fit(*data)
    assert (
        further.log_likelihood_ > model.log_likelihood_ - 1e-9
        or further.restarts_.starts != model.restarts_.starts
    )


def test_no_iterations_leave_given_values_as_they_are():
    means = [[0.0, 0.0], [8.0, -2.0]]
    precisions = np.array([np.eye(2) * 4.0, np.eye(2)])
    model = GaussianMixtureEM(
        2, max_iter=0, means_init=means, precisions_init=precisions, weights_init=[0.2, 0.8]
    )
    made = GaussianMixtureEM.from_parameters([0.2, 0.8], means, np.linalg.inv(precisions))
    with pytest.warns(ConvergenceWarning):
        model.fit(REALS)
    np.testing.assert_allclose(model.means_, means, atol=1e-12)
    np.testing.assert_allclose(model.score_samples(REALS), made.score_samples(REALS), rtol=1e-10)
    assert model.log_likelihood_ == pytest.approx(made.score_samples(REALS).sum())
