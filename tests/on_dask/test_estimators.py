"""Estimators of rows fitted to collections of Dask: as fitted to the same blocks as pieces."""

import pickle
from itertools import product

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from sklearn.model_selection import GridSearchCV

from emlearn import (
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn._sample import SAMPLE_ROWS
from emlearn.dask import OnDask
from emlearn.dask._blocks import JOINED_ROWS
from emlearn.dask._held import Held
from emlearn.em import Affine
from emlearn.impute._sigma_points import sigma_points
from tests.helpers.pace import some_slow

LENGTHS = (SAMPLE_ROWS // 2 + 1, SAMPLE_ROWS // 2 + 300)  # so that the race is on a part, and the fit on all
N = sum(LENGTHS)
SHORT = {"n_init": 2, "max_iter": 8, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows(dtype=np.float64):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, N)
    X = (rng.standard_normal((N, 3)) + 5.0 * labels[:, None]).astype(dtype)
    y = np.where(labels, X[:, 0], -X[:, 1]) + 0.1 * rng.standard_normal(N)
    return X, y, rng.random(N) + 0.5


def gaps(X):
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    return X


def pieces(values):
    return np.split(values, [LENGTHS[0]])


def on_dask(values):
    return da.from_array(values, chunks=(LENGTHS, *values.shape[1:]))


def parameters(fitted):
    """All numbers that a fit has published."""
    return {
        name: value
        for name, value in vars(fitted).items()
        if name.endswith("_") and isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype.kind == "f"
    }


def assert_same(one, other):
    first, second = parameters(one), parameters(other)
    assert len(first) > 3
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-10, atol=1e-10, err_msg=name)


KINDS = ["float64", "float32", "gaps and weights"]
MIXTURES = [
    GaussianMixtureEM(2, **SHORT),
    BayesianGaussianMixtureEM(2, **SHORT),
    EMImputer(n_components=2, **SHORT),
    EMImputer(max_iter=20, random_state=0),
]


@pytest.mark.parametrize(("estimator", "kind"), some_slow(product(MIXTURES, KINDS), 5), ids=str)
def test_fit_is_that_of_the_same_blocks_as_pieces(client, estimator, kind):
    X, _, weight = rows(np.float32 if kind == "float32" else np.float64)
    weights = {}, {}
    if kind == "gaps and weights":
        X = gaps(X)
        weights = {"sample_weight": on_dask(weight)}, {"sample_weight": pieces(weight)}
    with np.errstate(all="ignore"):
        there = type(estimator)(**estimator.get_params()).fit(on_dask(X), **weights[0])
        here = type(estimator)(**estimator.get_params()).fit(pieces(X), **weights[1])
    assert_same(there, here)
    if hasattr(here, "predict"):
        labels = there.predict(on_dask(X))
        assert isinstance(labels, da.Array)
        np.testing.assert_array_equal(labels.compute(), here.predict(X))
    else:
        np.testing.assert_allclose(there.transform(on_dask(X)).compute(), here.transform(X), rtol=1e-9)
    assert there.score(on_dask(X), **weights[0]) == pytest.approx(
        here.score(pieces(X), **weights[1]), rel=1e-12
    )


@pytest.mark.parametrize(
    "estimator", [MixtureOfLinearRegressions(2, **SHORT), MixtureOfExperts(2, **SHORT)], ids=str
)
def test_regressions(client, estimator):
    X, y, weight = rows()
    there = type(estimator)(**estimator.get_params()).fit(on_dask(X), on_dask(y), sample_weight=on_dask(weight))
    here = type(estimator)(**estimator.get_params()).fit(pieces(X), pieces(y), sample_weight=pieces(weight))
    assert_same(there, here)
    np.testing.assert_allclose(there.predict(on_dask(X)).compute(), here.predict(X), rtol=1e-9)
    resp = there.component_proba(on_dask(X), on_dask(y))
    assert resp.chunks == (LENGTHS, (2,))
    np.testing.assert_allclose(resp.compute(), here.component_proba(X, y), rtol=1e-7, atol=1e-12)
    mean, std = there.predict(on_dask(X), return_std=True)
    np.testing.assert_allclose(std.compute(), here.predict(X, return_std=True)[1], rtol=1e-9)
    assert mean.chunks == std.chunks == (LENGTHS,)
    log_density = there.score_samples(on_dask(X), on_dask(y))
    assert log_density.chunks == (LENGTHS,)
    np.testing.assert_allclose(log_density.compute(), here.score_samples(X, y), rtol=1e-8)
    assert there.score(on_dask(X), on_dask(y)) == pytest.approx(here.score(X, y), rel=1e-10)
    bic = there.bic(on_dask(X), on_dask(y), on_dask(weight))
    assert bic == pytest.approx(here.bic(X, y, weight), rel=1e-10)


def test_a_classifier_sees_all_classes(client):
    X, y, _ = rows()
    classes = np.where(y > 0, "up", "down")
    classes[: LENGTHS[0]] = "up"  # the first block shows but one
    classifier = MixtureOfExpertsClassifier(2, **SHORT)
    there = classifier.fit(on_dask(X), on_dask(classes))
    assert there.classes_.tolist() == ["down", "up"]
    labels = there.predict(on_dask(X))
    assert labels.dtype == there.classes_.dtype
    np.testing.assert_array_equal(labels.compute(), there.predict(X))
    assert there.predict_proba(on_dask(X)).chunks == (LENGTHS, (2,))


def frame_and_names():
    X = rows()[0]
    frame = pd.DataFrame(gaps(X), columns=["a", "b", "c"])
    return frame, dd.from_pandas(frame, npartitions=2, sort=False)


def test_frames(client):
    frame, on_cluster = frame_and_names()
    fitted = GaussianMixtureEM(2, **SHORT).fit(on_cluster)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    labels = fitted.predict(on_cluster)
    assert isinstance(labels, da.Array)
    assert np.isnan(labels.shape[0])
    np.testing.assert_array_equal(labels.compute(), fitted.predict(frame))
    np.testing.assert_allclose(fitted.score_samples(on_cluster).compute(), fitted.score_samples(frame))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(on_cluster.rename(columns={"a": "z"}))


def test_an_imputer_that_makes_frames_makes_them_of_frames(client):
    frame, on_cluster = frame_and_names()
    imputer = EMImputer(max_iter=5).fit(on_cluster)
    assert isinstance(imputer.transform(on_cluster), da.Array)
    imputer.set_output(transform="pandas")
    imputed = imputer.transform(on_cluster)
    assert isinstance(imputed, dd.DataFrame)
    assert list(imputed.columns) == ["a", "b", "c"]
    pd.testing.assert_frame_equal(imputed.compute(), imputer.transform(frame))


def test_rows_without_patterns_stay_on_their_workers(client, monkeypatch):
    """Of which a fit of one component would make points, if points were fewer."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((2 * JOINED_ROWS, 20))
    X[rng.random(X.shape) < 0.5] = np.nan
    sent, in_order = [], Held.in_order

    def spied(*args):
        sent.extend(results := in_order(*args))
        return results

    data = OnDask(da.from_array(X, chunks=(JOINED_ROWS, 20)))
    monkeypatch.setattr(Held, "in_order", spied)
    assert sigma_points(data, Affine(np.zeros(20), np.ones(20))) is None
    assert len(sent) == 2
    assert len(pickle.dumps(sent)) < 1000


def test_predictions_stay_lazy(client):
    X, _, _ = rows()
    fitted = GaussianMixtureEM(2, **SHORT).fit(X[:500])
    read = []

    def load(block):
        read.append(len(block))
        return block

    lazy = on_dask(X).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    resp = fitted.predict_proba(lazy)
    assert resp.chunks == (LENGTHS, (2,))
    assert resp.dtype == np.float64
    assert not read
    expected = fitted.predict_proba(X)
    fitted.fit(X[:500] * 3.0)  # what comes after the call does not count
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(resp.compute(), expected)
    assert sorted(read) == list(LENGTHS)


def test_an_estimator_is_one_task_of_the_graph(client):
    X, _, _ = rows()
    fitted = GaussianMixtureEM(2, **SHORT).fit(X)
    many = da.from_array(X, chunks=(1000, 3))
    labels = fitted.predict(many)
    size = len(pickle.dumps(fitted))
    graph = dict(labels.__dask_graph__())
    holders = [key for key, task in graph.items() if len(pickle.dumps(task)) > size / 2]
    assert sum(str(key).startswith("GaussianMixtureEM") for key in holders) == 1
    assert all("GaussianMixtureEM" in str(key) or "array" in str(key) for key in holders)
    np.testing.assert_array_equal(labels.compute(), fitted.predict(X))


def test_empty_blocks_and_lists_in_predictions(client):
    X, _, _ = rows()
    fitted = GaussianMixtureEM(2, **SHORT).fit(X)
    array = da.from_array(X, chunks=((0, 5, 0, N - 5), 3))
    np.testing.assert_array_equal(fitted.predict(array).compute(), fitted.predict(X))
    blocks = fitted.predict([delayed(part) for part in pieces(X)])
    np.testing.assert_array_equal(np.concatenate(dask.compute(*blocks)), fitted.predict(X))


def test_nothing_of_the_cluster_is_pickled_with_an_estimator(client):
    X, _, _ = rows()
    fitted = GaussianMixtureEM(2, **SHORT).fit(on_dask(X))
    pickled = pickle.dumps(fitted)
    assert b"distributed" not in pickled
    assert b"emlearn.dask" not in pickled
    assert_same(pickle.loads(pickled), fitted)


def test_a_fit_that_is_refused_changes_nothing(client):
    X, _, _ = rows()
    fitted = GaussianMixtureEM(2, **SHORT).fit(X)
    before = pickle.dumps(fitted)
    bad = X.copy()
    bad[N - 1, 2] = np.inf
    with pytest.raises(ValueError, match=rf"Block 1 of X: .*infinity in column 2, row {LENGTHS[1] - 1}"):
        fitted.fit(on_dask(bad))
    with pytest.raises(ValueError, match=r"Block 0 of X: .*NaN"):
        MixtureOfLinearRegressions(2).fit(on_dask(gaps(X)), on_dask(X[:, 0]))
    with pytest.raises(ValueError, match="zero for every row"):
        fitted.fit(on_dask(X), sample_weight=on_dask(np.zeros(N)))
    assert pickle.dumps(fitted) == before


def test_without_a_cluster(client):
    X, _, _ = rows()
    with dask.config.set(scheduler="threads"):
        there = GaussianMixtureEM(2, **SHORT).fit(on_dask(X))
        assert_same(there, GaussianMixtureEM(2, **SHORT).fit(pieces(X)))
        np.testing.assert_array_equal(there.predict(on_dask(X)).compute(), there.predict(X))


def test_verbose_says_where_the_data_lie(client, capsys):
    GaussianMixtureEM(2, verbose=1, **SHORT).fit(on_dask(rows()[0]))
    assert f"{N} rows in 2 blocks on 2 threads of 2 workers, dashboard at http" in capsys.readouterr().out


def test_grid_search_and_restarts_on_the_backend_of_joblib(client):
    import joblib

    X, _, _ = rows()
    few = X[::100]
    search = GridSearchCV(GaussianMixtureEM(n_init=1, random_state=0), {"n_components": [1, 2]}, cv=2)
    here = GaussianMixtureEM(2, n_init=3, random_state=0).fit(few)
    expected = search.fit(few).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend="dask"):
        found = search.set_params(n_jobs=2).fit(few)
        there = GaussianMixtureEM(2, n_init=3, random_state=0, n_jobs=2).fit(few)
    np.testing.assert_allclose(found.cv_results_["mean_test_score"], expected, rtol=1e-12)
    assert found.best_params_ == {"n_components": 2}
    assert_same(there, here)
