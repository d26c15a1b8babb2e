"""Scorers of densities."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from emlearn import (
    HMMEM,
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfLinearRegressions,
    MultipleImputation,
)
from emlearn.datasets import load_npreg
from emlearn.metrics import (
    aic_scorer,
    bic_scorer,
    icl_scorer,
    log_density_scorer,
    loo_scorer,
    sabic_scorer,
)
from emlearn.model_selection import InformationCriterionSearch

NPREG = load_npreg(as_frame=True)
X, Y, GROUPS = NPREG.data, NPREG.yp, NPREG.id2
N = len(Y)


def regressions(n_components=2):
    return MixtureOfLinearRegressions(n_components, family="poisson", n_init=2, random_state=0)


def test_groups_offset_and_weights_arrive_by_routing():
    offset, weight = np.linspace(0, 0.5, N), np.tile([1.0, 2.0], N // 2)
    given = {"groups": GROUPS, "offset": offset, "sample_weight": weight}
    cv = GroupKFold(3)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = regressions().set_fit_request(groups=True, sample_weight=True)
        scorers = {"density": log_density_scorer, "bic": bic_scorer, "aic": aic_scorer, "icl": icl_scorer}
        found = cross_validate(asking, X, Y, scoring=scorers, cv=cv, params=given)
        search = GridSearchCV(asking, {"n_components": [1, 2]}, scoring=log_density_scorer, cv=cv)
        search.fit(X, Y, **given)
    assert search.best_params_ == {"n_components": 2}
    np.testing.assert_allclose(
        [search.cv_results_[f"split{i}_test_score"][1] for i in range(3)], found["test_density"]
    )
    for i, (train, test) in enumerate(cv.split(X, Y, GROUPS)):
        here, there = (
            {name: np.asarray(value)[rows] for name, value in given.items()} for rows in (train, test)
        )
        fit = regressions().fit(X.iloc[train], Y.iloc[train], **here)
        held_out = X.iloc[test], Y.iloc[test]
        log_likelihood = fit.n_parameters_ - 0.5 * fit.aic(*held_out, **there)
        assert found["test_density"][i] == pytest.approx(log_likelihood / weight[test].sum())
        for name in ("aic", "bic", "icl"):
            assert found[f"test_{name}"][i] == pytest.approx(-getattr(fit, name)(*held_out, **there))


def test_without_routing_an_offset_is_missed():
    search = GridSearchCV(
        regressions(), {"n_components": [1]}, scoring=log_density_scorer, cv=2, error_score="raise"
    )
    with pytest.raises(ValueError, match=r"The fit had offset.*must come by metadata routing"):
        search.fit(X, Y, offset=np.ones(N))
    with pytest.raises(ValueError, match="The fit had offset"):  # that of R², too
        search.set_params(scoring=None).fit(X, Y, offset=np.ones(N))
    search.set_params(scoring=log_density_scorer).fit(X, Y)


def test_groups_for_the_splitter_alone():
    """A fit of rows is scored by rows, whoever else is told of groups."""
    with sklearn.config_context(enable_metadata_routing=True):
        asking = regressions().set_fit_request(groups=False)
        params = {"groups": GROUPS}
        one, other = (
            cross_val_score(asking, X, Y, scoring=scorer, cv=GroupKFold(3), params=params)
            for scorer in (log_density_scorer, log_density_scorer.set_score_request(groups=False))
        )
        renamed = log_density_scorer.set_score_request(groups="who")
        assert renamed.get_metadata_routing().score.requests["groups"] == "who"
        assert log_density_scorer.get_metadata_routing().score.requests["groups"] is True
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "estimator",
    [
        GaussianMixtureEM(2, n_init=1, random_state=0),
        BayesianGaussianMixtureEM(2, n_init=1, random_state=0),
        EMImputer(),
        HMMEM(1),
        make_pipeline(PolynomialFeatures(2, include_bias=False), GaussianMixtureEM(1)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_estimators_are_judged_by_their_density(estimator):
    rows = NPREG.data.assign(yn=NPREG.yn)
    weight = np.ones(1) if isinstance(estimator, HMMEM) else np.tile([1.0, 3.0], N // 2)
    estimator.fit(rows)
    assert log_density_scorer(estimator, rows) == pytest.approx(estimator.score(rows))
    inner = estimator if not hasattr(estimator, "steps") else estimator[-1]
    Z = rows if inner is estimator else estimator[:-1].transform(rows)
    found = log_density_scorer(estimator, rows, None, sample_weight=weight)
    assert found == pytest.approx(inner.score(Z, sample_weight=weight))
    if hasattr(inner, "bic"):
        assert bic_scorer(estimator, rows) == pytest.approx(-inner.bic(Z))
        with pytest.raises(TypeError, match=r"was given offset, which .* does not take"):
            log_density_scorer(estimator, rows, offset=weight)
    scores = cross_val_score(inner, np.asarray(rows), scoring=log_density_scorer, cv=KFold(2))
    assert np.isfinite(scores).all()


def test_what_has_no_density():
    predictor = MultipleImputation(LinearRegression(), n_imputations=2, random_state=0)
    for estimator, kind in ((predictor, "MultipleImputation"), (LinearRegression(), "LinearRegression")):
        with pytest.raises(TypeError, match=f"but {kind} has no density of its own"):
            log_density_scorer(estimator.fit(X, Y), X, Y)
    with pytest.raises(TypeError, match="but EMImputer has no icl"):
        icl_scorer(EMImputer().fit(X.assign(yn=NPREG.yn)), X)
    with pytest.raises(ValueError, match="takes sample_weight, groups, offset, but not weights"):
        bic_scorer.set_score_request(weights=True)


def test_every_criterion_of_a_search_has_a_scorer():
    grid = {"n_components": [2]}
    search = InformationCriterionSearch(regressions(), grid, criterion="loo").fit(X, Y, groups=GROUPS)
    for scorer in (aic_scorer, bic_scorer, sabic_scorer, icl_scorer, loo_scorer):
        name = repr(scorer).removesuffix("_scorer")
        found = scorer(search.best_estimator_, X, Y, groups=GROUPS)
        assert found == pytest.approx(-search.cv_results_[name][0]), name
    rows = np.random.RandomState(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match="no maximum of a likelihood"):
        sabic_scorer(BayesianGaussianMixtureEM(2, random_state=0).fit(rows), rows)
