"""Chains in use: ways to hand sequences over, time gaps, and probabilities that wait for some steps more."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from emlearn import HMMEM
from emlearn.em import Batches
from emlearn.hmm._lag import fixed_lag
from emlearn.latent import ChainParams


def quick(**params):
    return HMMEM(2, n_init=2, random_state=0, **params)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.RandomState(0)
    state = np.repeat([0, 1, 0, 1], 30)
    return pd.DataFrame(
        {
            "who": np.repeat(["b", "a", "c"], [50, 30, 40]),
            "x": 3.0 * state + rng.normal(size=120),
            "y": state + rng.normal(size=120),
        }
    )


# -- ways to hand them over --------------------------------------------------------------------------------


def test_dicts_and_grouped_frames_are_lists(frame):
    parts = {who: part[["x", "y"]] for who, part in frame.groupby("who")}
    expected = quick().fit(list(parts.values()))
    for given in (
        parts,
        frame.groupby("who"),
        frame.groupby("who")[["x", "y"]],
        frame.groupby(frame["who"].to_numpy())[["x", "y"]],
        frame.groupby(["who"]),
    ):
        fitted = quick().fit(given)
        np.testing.assert_array_equal(fitted.means_, expected.means_)
        for mine, theirs in zip(fitted.predict(given), expected.predict(list(parts.values())), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    arrays = {who: part.to_numpy() for who, part in parts.items()}
    np.testing.assert_array_equal(quick().fit(arrays).means_, expected.means_)
    alone = quick().fit(frame.groupby("who")["x"])
    np.testing.assert_array_equal(alone.means_, quick().fit([part[["x"]] for part in parts.values()]).means_)


def test_grouped_frames_of_polars_are_lists(frame):
    pl = pytest.importorskip("polars")
    grouped = pl.from_pandas(frame).group_by("who", maintain_order=True)
    parts = [part[["x", "y"]] for _, part in frame.groupby("who", sort=False)]
    np.testing.assert_array_equal(quick().fit(grouped).means_, quick().fit(parts).means_)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.zeros(12)] * 60, "60 one-dimensional arrays, which may be the rows of one sequence or"),
        ([pd.Series(np.zeros(12))] * 3, "np.vstack"),
        ([np.zeros(12), np.zeros(11)], "Sequence 0 is one-dimensional"),
        ({}, "empty dict"),
        ({"a": np.zeros(12), "b": np.zeros(5)}, r"Sequence 0 is one-dimensional.*\['a', 'b'\]"),
        ({"a": np.zeros((12, 1)), "b": np.zeros((5, 2))}, r"Sequence 1 has 2 features.*\['a', 'b'\]"),
        ({"a": np.zeros((12, 1)), 7: [["low"]]}, "no numbers in columns"),
    ],
)
def test_what_may_be_either_is_refused_in_words(X, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X)


# -- time gaps ---------------------------------------------------------------------------------------------


def with_times(frame, kind):
    """Rows of three people by turns, with times that have gaps; and the sequences they make up."""
    rng = np.random.RandomState(1)
    steps = np.where(np.arange(len(frame)) % 17 == 16, 30, 1)
    frame = frame.assign(time=np.cumsum(steps))
    pieces = (frame.groupby("who")["time"].diff() > 5).groupby(frame["who"]).cumsum()
    pieces = frame["who"] + pieces.astype(str)
    if kind == "datetime":
        frame["time"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(frame["time"], unit="min")
    order = np.sort(rng.permutation(len(frame)))
    return frame.iloc[order], pieces.iloc[order]


@pytest.mark.parametrize(
    ("kind", "gap"),
    [("number", 5), ("number", 29.5), ("datetime", "5min"), ("datetime", pd.Timedelta(minutes=29))],
)
def test_sequences_end_at_gaps(frame, kind, gap):
    frame, pieces = with_times(frame, kind)
    X = frame[["x", "y"]]
    expected = quick().fit(X, groups=pieces)
    for table, params, fit in (
        (frame[["time", "x", "y"]], {"sequence_id": "time"}, {"groups": frame["who"]}),
        (X.set_axis(frame["time"]), {}, {"groups": frame["who"].to_numpy()}),
    ):
        model = quick(max_gap=gap, **params).fit(table, **fit)
        assert model.n_sequences_ == expected.n_sequences_ == pieces.nunique()
        np.testing.assert_array_equal(model.means_, expected.means_)
        np.testing.assert_array_equal(model.predict(table, **fit), expected.predict(X, groups=pieces))
        assert model.score(table, **fit) == expected.score(X, groups=pieces)
    alone = frame.loc[frame["who"] == "b", ["time", "x", "y"]]
    model = quick(max_gap=gap, sequence_id="time").fit(alone)
    assert model.n_sequences_ == pieces[frame["who"] == "b"].nunique()
    assert model.predict_next(alone).state_proba.shape == (model.n_sequences_, 1, 2)


def test_times_that_go_back_begin_a_sequence(frame):
    table = frame[["x"]].assign(t=np.tile(np.arange(40), 3))
    assert quick(max_gap=1, sequence_id="t").fit(table).n_sequences_ == 3
    whole = quick(max_gap=1, sequence_id="t").fit(table, lengths=[20, 100])
    assert whole.n_sequences_ == 4


@pytest.mark.parametrize(
    ("change", "params", "message"),
    [
        ({}, {"max_gap": 0}, "max_gap=0 must be a number, and positive"),
        ({}, {"max_gap": "1h"}, "must be a number"),
        ({}, {"max_gap": np.nan}, "positive"),
        ({}, {"max_gap": 5, "sequence_id": "y"}, "'y' is not in X"),
        ({"t": np.nan}, {"max_gap": 5}, "time of row 0 is missing"),
        ({"t": "noon"}, {"max_gap": 5}, "numbers or datetimes"),
        ({"t": pd.Timestamp("2026-01-01")}, {"max_gap": "long"}, "must be a span of time"),
        ({"t": pd.Timestamp("2026-01-01")}, {"max_gap": "-1h"}, "positive"),
    ],
)
def test_bad_gaps_and_times_are_named(frame, change, params, message):
    table = frame[["x"]].assign(t=np.arange(120.0)).assign(**change)
    with pytest.raises(ValueError, match=message):
        quick(**{"sequence_id": "t", **params}).fit(table)


def test_gaps_need_times_and_rows(frame):
    with pytest.raises(ValueError, match="needs times: name their column"):
        quick(max_gap=1).fit(frame[["x"]].to_numpy())
    with pytest.raises(ValueError, match="one sequence per entry already"):
        quick(max_gap=1, sequence_id="t").fit([frame[["x"]], frame[["x"]]])


# -- a fixed lag -------------------------------------------------------------------------------------------


def by_enumeration(chain, log_prob, lag):
    """Probability of each state given the steps up to ``lag`` later, (T, K), over all paths."""
    T, K = log_prob.shape
    proba = np.zeros((T, K))
    for t in range(T):
        end = min(T, t + lag + 1)
        for path in itertools.product(range(K), repeat=end):
            value = chain.start[path[0]]
            for s, state in enumerate(path):
                value *= np.exp(log_prob[s, state]) * (chain.transition[path[s - 1], state] if s else 1.0)
            proba[t, path[t]] += value
    total = proba.sum(axis=1, keepdims=True)
    return proba / np.where(total > 0, total, 1.0)


@pytest.mark.parametrize("lag", [0, 1, 2, 7])
@pytest.mark.parametrize("zeros", [False, True])
def test_a_lag_is_the_sum_over_all_paths(lag, zeros):
    rng = np.random.RandomState(lag)
    K, lengths = 3, [6, 4, 1]
    transition = rng.dirichlet(np.ones(K), size=K)
    if zeros:
        transition = np.triu(transition)
        transition /= transition.sum(axis=1, keepdims=True)
    chain = ChainParams(rng.dirichlet(np.ones(K)), transition)
    log_prob = 2 * rng.normal(size=(sum(lengths), K))
    if zeros:
        log_prob[rng.uniform(size=log_prob.shape) < 0.2] = -np.inf
    (batch,) = Batches(log_prob, lengths=lengths)
    found = np.empty_like(log_prob)
    with np.errstate(divide="ignore", invalid="ignore"):
        found[batch.rows] = fixed_lag(chain, batch.x.copy(), batch, lag).T
    expected = [by_enumeration(chain, part, lag) for part in np.split(log_prob, np.cumsum(lengths)[:-1])]
    possible = np.concatenate([np.repeat(part.any(axis=1).all(), len(part)) for part in expected])
    np.testing.assert_allclose(found[possible], np.vstack(expected)[possible], atol=1e-12)


def test_lags_lie_between_filter_and_smoother(frame):
    X = frame[["x", "y"]].to_numpy() * [1.0, 0.0] + np.random.RandomState(2).normal(size=(120, 2))
    model = quick().fit([X[:70], X[70:]])
    given = [X[:70], X[70:], X[:1]]
    for lag, expected in ((0, model.filter_proba(given)), (200, model.predict_proba(given))):
        for mine, theirs in zip(model.predict_proba(given, lag=lag), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-12)
    # What is known 3 steps later is what the filter's sequence says when it is cut there.
    proba = model.predict_proba(X, lag=3)
    for t in (0, 10, 60):
        np.testing.assert_allclose(proba[t], model.predict_proba(X[: t + 4])[t], atol=1e-12)
    lists = model.predict_proba([[X[:70]], [X[70:]]], lag=3)
    np.testing.assert_allclose(next(iter(lists))[0], model.predict_proba([X[:70]], lag=3)[0], atol=1e-12)


def test_states_out_of_range_come_back_within_a_lag():
    known = {"means": [[0.0], [1.0], [500.0]], "covariances": [1.0, 1.0, 1.0], "covariance_type": "spherical"}
    transmat = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1e-120, 0.0, 1 - 1e-120]]
    model = HMMEM.from_parameters([1.0, 0.0, 0.0], transmat, **known)
    X = np.r_[0.0, 500.0, 500.0, 0.0, 500.0, 1.0][:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(model.predict_proba(X, lag=10), model.predict_proba(X), atol=1e-9)
        np.testing.assert_allclose(model.predict_proba(X, lag=0), model.filter_proba(X), atol=1e-9)


@pytest.mark.parametrize("lag", [-1, 1.5, True, "2"])
def test_bad_lags_are_named(lag, frame):
    with pytest.raises(ValueError, match="lag="):
        quick().fit(frame[["x"]]).predict_proba(frame[["x"]], lag=lag)
