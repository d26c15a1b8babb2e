"""LatentClassEM: classes, and what depends on them in one, two or three steps."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import InformationCriterionSearch, LatentClassEM, MixtureEM
from emlearn.datasets import load_election
from tests.helpers.estimators import POLARS_HAS_NAMES

FIXED = {"tol": 1e-8, "random_state": 0}


@pytest.fixture(scope="module")
def votes():
    return load_election(as_frame=True).frame


@pytest.fixture(scope="module")
def items(votes):
    return list(votes.columns[:12])


def with_outcomes(votes, items):
    return votes[[*items, "AGE", "VOTE3"]].dropna().assign(VOTE3=lambda frame: frame.VOTE3 - 1)


@pytest.mark.parametrize(
    ("n_steps", "slopes", "intercepts"),
    [
        (2, [0.0832, -0.6187, 0.5355], [0.2923, 2.1150, -2.4074]),
        (3, [0.0859, -0.5870, 0.5011], [0.2753, 1.9638, -2.2391]),
    ],
)
def test_party_in_steps(votes, items, n_steps, slopes, intercepts):
    """StepMix 3."""
    X = votes[[*items, "PARTY"]].dropna()
    classes = LatentClassEM(3, gate="PARTY", n_steps=n_steps, gate_alpha=0, **FIXED).fit(X)
    np.testing.assert_allclose(classes.gate_coef_[:, 0], slopes, atol=1e-4)
    np.testing.assert_allclose(classes.gate_intercept_, intercepts, atol=1e-4)
    assert classes.score(X) * len(X) == pytest.approx(classes.log_likelihood_)
    assert classes.measurement_.feature_names_in_.tolist() == items


def test_party_in_one_step(votes, items):
    X = votes[[*items, "PARTY"]].dropna()
    classes = LatentClassEM(3, gate="PARTY", gate_alpha=0, **FIXED).fit(X)
    assert classes.log_likelihood_ == pytest.approx(-16222.3233488003, abs=1e-4)


@pytest.mark.parametrize(
    ("n_steps", "correction"),
    [
        *(pytest.param(n, None, marks=pytest.mark.slow) for n in (1, 2, 3)),
        (3, "ML"),
        (3, "BCH"),
    ],
)
def test_outcomes_are_those_of_a_peer(votes, items, n_steps, correction):
    stepmix = pytest.importorskip("stepmix")
    from stepmix.utils import get_mixed_descriptor

    X = with_outcomes(votes, items)
    outcome = {"AGE": "gaussian", "VOTE3": "categorical"}
    classes = LatentClassEM(
        3, outcome=outcome, n_steps=n_steps, correction=correction, covariance_type="diag", **FIXED
    ).fit(X)
    data, structural = get_mixed_descriptor(X, continuous=["AGE"], categorical=["VOTE3"])
    peer = stepmix.StepMix(
        3,
        n_steps=n_steps,
        correction=correction,
        measurement="categorical",
        structural=structural,
        abs_tol=1e-12,
        max_iter=5000,
        random_state=0,
        verbose=0,
        progress_bar=0,
    ).fit(X[items], data)
    found = peer.get_parameters()["structural"]
    order = np.argsort(-peer.weights_)
    own = classes.emission_params_[12,]
    means = np.ravel(found["continuous"]["means"])[order]
    np.testing.assert_allclose(own.means.ravel(), means, rtol=1e-4)
    np.testing.assert_allclose(
        own.covariances.ravel(), np.ravel(found["continuous"]["covariances"])[order], rtol=1e-3
    )
    pis = np.asarray(found["categorical"]["pis"]).reshape(3, -1)[order]
    np.testing.assert_allclose(classes.probabilities_[-1], pis, atol=1e-4)


def answers(n=400, seed=0):
    rng = np.random.RandomState(seed)
    keen = rng.uniform(size=n) < 0.4
    X = np.where(rng.uniform(size=(n, 4)) < np.where(keen, 0.9, 0.2)[:, None], "yes", "no")
    X = pd.DataFrame(X, columns=list("abcd"), dtype="category")
    return X.assign(spent=rng.normal(np.where(keen, 30.0, 10.0), 4.0)), keen


def test_three_steps_by_hand():
    """Assignments as categories with known errors, and outcomes by the inverse of these."""
    X, _ = answers()
    for how in ("modal", "proportional"):
        classes = LatentClassEM(
            2, outcome={"spent": "gaussian"}, n_steps=3, correction="BCH", step_assignment=how, **FIXED
        ).fit(X)
        resp = classes.measurement_.predict_proba(X[list("abcd")])
        into = np.eye(2)[resp.argmax(axis=1)] if how == "modal" else resp
        errors = resp.T @ into / resp.sum(axis=0)[:, None]
        np.testing.assert_allclose(classes.classification_errors_, errors)
        weights = into @ np.linalg.inv(errors)
        means = weights.T @ X.spent / weights.sum(axis=0)
        np.testing.assert_allclose(classes.emission_params_[4,].means.ravel(), means)
        np.testing.assert_allclose(classes.weights_, weights.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "emission",
    ["student_t", pytest.param("gmm", marks=pytest.mark.slow), {"a": "gaussian", "b": "categorical"}],
)
def test_items_of_any_kind_are_held(emission):
    """What a second step finds of the classes is what the first did, and outcomes are those of their rows."""
    rng = np.random.RandomState(0)
    keen = rng.uniform(size=400) < 0.4
    X = pd.DataFrame({"a": rng.normal(9.0 * keen), "b": (rng.uniform(size=400) < 0.2 + 0.6 * keen) * 1.0})
    if not isinstance(emission, dict):
        X["b"] = rng.normal(-9.0 * keen)
    X["spent"] = rng.normal(5.0 * keen)
    classes = LatentClassEM(2, emission=emission, outcome={"spent": "gaussian"}, n_steps=2, **FIXED).fit(X)
    first = classes.measurement_
    np.testing.assert_allclose(classes.weights_, first.weights_)
    of_items = classes.marginal(["a", "b"])
    np.testing.assert_allclose(of_items.score_samples(X[["a", "b"]]), first.score_samples(X[["a", "b"]]))
    resp = first.predict_proba(X[["a", "b"]])
    means = resp.T @ X.spent / resp.sum(axis=0)
    np.testing.assert_allclose(classes.emission_params_[2,].means.ravel(), means, atol=0.02)


def test_missing_outcomes_are_left_out():
    X, _ = answers()
    X.loc[::3, "spent"] = np.nan
    classes = LatentClassEM(2, outcome={"spent": "gaussian"}, n_steps=3, random_state=0).fit(X)
    np.testing.assert_allclose(classes.emission_params_[4,].means.ravel(), [10, 30], atol=1)


def test_names_and_tables():
    X, keen = answers()
    classes = LatentClassEM(2, outcome={"spent": "gaussian"}, n_steps=2, random_state=0).fit(X)
    table = classes.probabilities_table()
    assert table.category.unique().tolist() == ["no", "yes"]
    assert table.column.unique().tolist() == list("abcd")
    sums = table.groupby(["column", "class"]).probability.sum()
    np.testing.assert_allclose(sums, 1)
    assert (classes.predict(X) == keen).mean() > 0.95
    assert 0 < classes.relative_entropy(X) < 1
    some = classes.marginal(["a", "b"])
    assert some.predict_proba(X[["a", "b"]]).shape == (400, 2)
    again = clone(classes).fit(X)
    np.testing.assert_array_equal(again.predict_proba(X), classes.predict_proba(X))


def test_residuals_of_pairs():
    """Of one class they are Pearson's statistic of independence; what depends within classes stands out."""
    from scipy.stats import chi2_contingency

    X, keen = answers()
    items = X[list("abcd")]
    residuals = LatentClassEM(1).fit(items).bivariate_residuals(items)
    expected = chi2_contingency(pd.crosstab(X.a, X.b), correction=False).statistic
    assert residuals[0, 1] == residuals[1, 0] == pytest.approx(expected)
    twin = items.assign(twin=items.d)
    residuals = LatentClassEM(2, random_state=0).fit(twin, labels=keen.astype(int)).bivariate_residuals(twin)
    assert np.nanargmax(residuals) in (3 * 5 + 4, 4 * 5 + 3)


def test_many_rows_are_few_patterns():
    X, _ = answers(25_000)
    items = X[list("abcd")]
    classes = LatentClassEM(2, **FIXED).fit(items)
    other = MixtureEM(2, emission="categorical", **FIXED).fit(items)
    assert classes.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-4)
    np.testing.assert_allclose(classes.weights_, other.weights_, atol=1e-4)


def test_known_classes():
    X, keen = answers()
    labels = np.where(np.arange(400) < 40, keen, -1)
    labels = np.where(labels < 0, np.nan, labels)
    classes = LatentClassEM(2, random_state=0).fit(X[list("abcd")], labels=labels)
    assert classes.probabilities_[0][1, 1] > 0.8


@pytest.mark.parametrize(
    ("params", "fit", "message"),
    [
        ({"n_steps": 3}, {}, "nothing for its later steps"),
        ({"n_steps": 2, "outcome": {"spent": "gaussian"}}, {"labels": np.zeros(400)}, "labels"),
        ({"n_steps": 2, "outcome": {"spent": "gaussian"}, "fixed": "means"}, {}, "fixed says what"),
        (
            {"n_steps": 3, "outcome": {"spent": "gaussian"}, "emission_prior": {"b": 2}},
            {},
            "emission_prior has",
        ),
        ({"outcome": {"spent": "gaussian"}, "gate": "spent"}, {}, "gate or group and outcome name"),
        ({"outcome": {"a": "categorical"}, "emission": {"a": "categorical"}}, {}, "emission and outcome name"),
        ({"outcome": {"spent": "gaussian", 4: "gaussian"}}, {}, "twice"),
        ({"outcome": {"spend": "gaussian"}}, {}, "spend"),
        ({"n_steps": 3, "correction": "BCH", "gate": "spent"}, {}, "gate has none"),
        ({"n_steps": 3, "correction": "BCH", "outcome": {"spent": "student_t"}}, {}, "closed form"),
        ({"n_steps": 2, "outcome": {"spent": "poisson"}}, {}, "spent"),
    ],
)
def test_bad_input_is_named(params, fit, message):
    X, _ = answers()
    model = LatentClassEM(2, random_state=0, **params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, **fit)
    assert not hasattr(model, "weights_")


def of_two_classes(n=500, seed=0, sure=0.8):
    """Five items of probabilities ``sure`` and less, a covariate of slope 1, and an outcome."""
    rng = np.random.RandomState(seed)
    z = rng.normal(size=n)
    keen = rng.uniform(size=n) < 1 / (1 + np.exp(-0.3 - z))
    X = (rng.uniform(size=(n, 5)) < np.where(keen, sure, 1.1 - sure)[:, None]).astype(float)
    return np.column_stack([X, z, rng.normal(2.0 * keen)])


def slope_of(classes):
    """Of the class that says yes, against the other."""
    yes = int(classes.probabilities_[0][0, 1] < classes.probabilities_[0][1, 1])
    return classes.gate_coef_[yes, 0] - classes.gate_coef_[1 - yes, 0]


@pytest.mark.parametrize(
    ("n_steps", "kind"),
    [
        (2, "observed"),
        (3, "robust"),
        *(pytest.param(*own, marks=pytest.mark.slow) for own in [(2, "robust"), (3, "observed")]),
    ],
)
def test_errors_where_classes_are_known_for_certain(n_steps, kind):
    """Whatever the number of steps they are then the same."""
    X = of_two_classes(200, sure=0.999)
    form = {"gate": [5], "outcome": {6: "gaussian"}, "gate_alpha": 0.0, **FIXED}
    once = LatentClassEM(2, **form).fit(X)
    steps = LatentClassEM(2, n_steps=n_steps, **form).fit(X)

    def both(fitted):
        return np.append(fitted.emission_params_[6,].means.ravel(), slope_of(fitted))

    assert any(label == "6.means[1, 0]" for label in steps.infer(X, kind=kind).labels)
    errors = [fitted.infer(X, kind=kind).function_se(both).standard_error for fitted in (once, steps)]
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("n_steps", [2, 3])
def test_errors_are_those_of_repetitions(n_steps):
    """Where items tell classes badly those of the first step matter."""
    found, errors = [], []
    for seed in range(20):
        X = of_two_classes(seed=seed, sure=0.75)[:, :6]
        classes = LatentClassEM(2, gate=[5], n_steps=n_steps, gate_alpha=0, n_init=4, random_state=0).fit(X)
        inference = classes.infer(X)
        found.append(slope_of(classes))
        errors.append(inference.function_se(slope_of).standard_error)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.4)
    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / np.sqrt(20))


def test_errors_of_steps_in_any_order():
    X = of_two_classes(150)[:, :6]
    classes = LatentClassEM(2, gate=[5], n_steps=3, **FIXED).fit(X)
    before = classes.infer(X, kind="robust").function_se(slope_of).standard_error
    errors, assigned = classes.classification_errors_, classes.measurement_.predict(X[:, :5])
    classes.reorder([1, 0])
    np.testing.assert_allclose(classes.classification_errors_, errors[::-1, ::-1])
    np.testing.assert_array_equal(classes.measurement_.predict(X[:, :5]), 1 - assigned)
    after = classes.infer(X, kind="robust").function_se(slope_of).standard_error
    assert after == pytest.approx(before, rel=1e-3)
    assert "through all steps" in str(classes.summary(X))
    with pytest.raises(ValueError, match="several steps"):
        classes.infer(X).influence()
    with pytest.raises(ValueError, match="opg"):
        classes.infer(X, kind="opg")


@pytest.mark.parametrize(
    ("how", "message"), [({"correction": "BCH"}, "bootstrap"), ({"step_assignment": "proportional"}, "robust")]
)
def test_errors_that_are_not_told(how, message):
    X, _ = answers()
    classes = LatentClassEM(2, outcome={"spent": "gaussian"}, n_steps=3, random_state=0, **how).fit(X)
    with pytest.raises(ValueError, match=message):
        classes.standard_errors(X)


# -- manners ---------------------------------------------------------------------------------------------------


@parametrize_with_checks([LatentClassEM(2, emission="gaussian", n_init=2, random_state=0)])
def test_sklearn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_searches_and_pipelines():
    X, keen = answers()
    few = {"n_init": 4, "random_state": 0}
    by_criterion = InformationCriterionSearch(LatentClassEM(**few), {"n_components": [1, 2, 3]}).fit(
        X[list("abcd")]
    )
    assert by_criterion.best_params_ == {"n_components": 2}
    classes = LatentClassEM(2, outcome={"spent": "gaussian"}, **few)
    grid = GridSearchCV(classes, {"n_components": [1, 2], "n_steps": [1, 3]}, cv=3, error_score="raise").fit(X)
    assert grid.best_params_["n_components"] == 2
    encoder = ColumnTransformer([("items", OrdinalEncoder(), list("abcd"))], remainder="passthrough")
    chain = make_pipeline(encoder, clone(classes).set_params(outcome={4: "gaussian"}, n_steps=2)).fit(X)
    assert (chain.predict(X) == keen).mean() > 0.95


@POLARS_HAS_NAMES
@pytest.mark.parametrize("n_steps", [1, 3])
def test_frames_of_either_kind(n_steps):
    X, _ = answers(120)
    classes = LatentClassEM(2, outcome={"spent": "gaussian"}, n_steps=n_steps, n_init=4, random_state=0)
    of_pandas, of_polars = (clone(classes).fit(frame) for frame in (X, pl.from_pandas(X)))
    np.testing.assert_array_equal(of_polars.predict_proba(pl.from_pandas(X)), of_pandas.predict_proba(X))


def test_a_failed_fit_leaves_what_steps_told():
    X = of_two_classes(150)[:, :6]
    classes = LatentClassEM(2, gate=[5], n_steps=3, **FIXED).fit(X)
    before = dict(vars(classes))
    with pytest.raises(ValueError, match="sample_weight"):
        classes.set_params(n_steps=1).fit(X, sample_weight=-np.ones(len(X)))
    assert vars(classes.set_params(n_steps=3)) == before


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ({"spent": "poisson"}, "in column 'spent', row 0: not one of"),
        ({"spent": "beta"}, "spent"),
        ({"spent": "gauss"}, "gauss"),
    ],
)
def test_bad_outcomes_are_refused_before_any_work(outcome, message, monkeypatch):
    X, _ = answers()
    monkeypatch.setattr(LatentClassEM, "_step", lambda *args, **others: pytest.fail("a step began"))
    with pytest.raises(ValueError, match=message):
        LatentClassEM(2, outcome=outcome, n_steps=3, random_state=0).fit(X)
    with pytest.raises(ValueError, match="n_steps=3 takes all rows at once"):
        LatentClassEM(2, outcome={"spent": "gaussian"}, n_steps=3).partial_fit(X)


# -- groups ----------------------------------------------------------------------------------------------------


def of_three_groups(n=600, seed=0):
    rng = np.random.RandomState(seed)
    group = rng.randint(3, size=n)
    keen = rng.uniform(size=n) < np.array([0.3, 0.5, 0.7])[group]
    X = (rng.uniform(size=(n, 5)) < np.where(keen, 0.85, 0.2)[:, None]).astype(float)
    X[rng.uniform(size=X.shape) < 0.05] = np.nan
    return X, group


def test_weights_by_group_are_those_of_a_gate_on_indicators():
    X, group = of_three_groups()
    classes = LatentClassEM(2, group=0, **FIXED).fit(np.column_stack([group, X]))
    indicators = (group[:, None] == [1, 2]).astype(float)
    gated = MixtureEM(2, emission="categorical", gate=[5, 6], gate_alpha=0, **FIXED)
    gated.fit(np.column_stack([X, indicators]))
    assert classes.log_likelihood_ == pytest.approx(gated.log_likelihood_, abs=1e-5)
    assert classes.n_parameters_ == gated.n_parameters_
    np.testing.assert_allclose(classes.weights_, gated.weights_, atol=1e-4)


def test_groups_that_share_nothing_are_fits_of_their_own():
    X, group = of_three_groups()
    table = np.column_stack([X, group])
    classes = LatentClassEM(2, group=5, invariant=False, **FIXED).fit(table)
    alone = [LatentClassEM(2, **FIXED).fit(X[group == g]) for g in range(3)]
    assert classes.log_likelihood_ == pytest.approx(sum(fit.log_likelihood_ for fit in alone), abs=1e-5)
    assert classes.n_parameters_ == sum(fit.n_parameters_ for fit in alone)
    some = LatentClassEM(2, group=5, invariant=[0, 1, 2], **FIXED).fit(table)
    assert [p.shape for p in some.probabilities_] == [(2, 2)] * 3 + [(2, 3, 2)] * 2
    assert some.n_parameters_ == 3 + 2 * 3 + 2 * 2 * 3
    shared = LatentClassEM(2, group=5, **FIXED).fit(table)
    assert shared.log_likelihood_ < some.log_likelihood_ < classes.log_likelihood_
    one = some.of_group(1)
    np.testing.assert_allclose(one.predict_proba(X[group == 1]), some.predict_proba(table[group == 1]))
    np.testing.assert_allclose(one.score_samples(X[group == 1]), some.score_samples(table[group == 1]))
    assert some.standard_errors(table)["group_weights_"].shape == (2, 3)


def test_groups_by_name_in_a_frame():
    X, group = of_three_groups(300)
    frame = pd.DataFrame(X, columns=list("abcde")).assign(land=np.array(["fr", "de", "it"])[group], spent=0.0)
    frame["spent"] = np.random.RandomState(0).normal(np.nan_to_num(X[:, 0]) * 5)
    classes = LatentClassEM(
        2, group="land", invariant=list("abc"), outcome={"spent": "gaussian"}, random_state=0
    ).fit(frame)
    assert classes.groups_.tolist() == ["de", "fr", "it"]
    french = classes.of_group("fr")
    assert french.feature_names_in_.tolist() == [*"abcde", "spent"]
    rows = frame[frame.land == "fr"].drop(columns="land")
    np.testing.assert_allclose(french.predict_proba(rows), classes.predict_proba(frame[frame.land == "fr"]))
    assert french.probabilities_table().column.unique().tolist() == list("abcde")
    again = clone(classes).set_params(warm_start=True).fit(frame).fit(frame)
    assert again.log_likelihood_ >= classes.log_likelihood_ - 1e-4
    drawn, _ = classes._drawn_anew(frame, {}, np.random.RandomState(0))
    assert (drawn[:, 5] == frame.land).all()
    with pytest.raises(ValueError, match="row 1, a group that fit did not see: the groups are de, fr, it"):
        classes.predict(frame[:3].assign(land=["de", "es", "it"]))
    for call in (lambda: classes.sample(3), lambda: classes.marginal(["a"]), classes.probabilities_table):
        with pytest.raises(ValueError, match="of_group"):
            call()
    with pytest.raises(ValueError, match="'es' is none of the groups"):
        classes.of_group("es")
    with pytest.raises(ValueError, match="'land' is for fits"):
        LatentClassEM.from_parameters([1.0], emission="categorical", group="land", probabilities=[[[0.5, 0.5]]])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"group": 5, "gate": [0]}, "there is a gate"),
        ({"group": 5, "n_steps": 2, "outcome": {0: "categorical"}}, "there is n_steps=2"),
        ({"group": 5, "outcome": {5: "categorical"}}, "group and outcome name"),
        ({"group": 5, "invariant": [5]}, "invariant names the group"),
        ({"group": 5, "invariant": [7]}, "invariant"),
        ({"group": 6}, "group"),
        ({"group": 5, "weights_init": [0.5, 0.5]}, "groups each has its own"),
    ],
)
def test_bad_groups_are_named(params, message):
    X, group = of_three_groups(60)
    model = LatentClassEM(2, random_state=0, **params)
    with pytest.raises(ValueError, match=message):
        model.fit(np.column_stack([X, group]))
    assert not hasattr(model, "weights_")
