"""Hidden Markov models of sequences on a cluster: as fitted to the same sequences in lists of lists."""

import pickle
from itertools import pairwise, product

import dask
import dask.array as da
import dask.bag
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed

from emlearn import HMMEM
from emlearn.dask._sequences import sequences_of_chunks
from tests.helpers.pace import some_slow

SHORT = {"n_init": 2, "max_iter": 4, "random_state": 0}
SAMPLE_STEPS, JOINED_STEPS = 700, 600  # of fewer sequences than are worth a cluster
CUTS = 8, 15  # sequences of three partitions, too long to be joined

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module", autouse=True)
def _as_if_there_were_many():
    """A race on a part, and blocks that are not joined, of few sequences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emlearn.hmm._hmm.SAMPLE_STEPS", SAMPLE_STEPS)
        patch.setattr("emlearn.dask._sequences.JOINED_STEPS", JOINED_STEPS)
        yield


def chains(dtype=np.float64, gaps=False):
    rng = np.random.default_rng(0)
    sequences = []
    for length in rng.integers(30, 60, 24).tolist():
        state = np.cumsum(rng.random(length) < 0.1) % 2
        x = rng.standard_normal((length, 2)) + 3.0 * state[:, None]
        if gaps:
            x[rng.random(x.shape) < 0.1] = np.nan
            x[rng.random(length) < 0.05] = np.nan
        sequences.append(x.astype(dtype))
    return sequences


CHAINS = chains()
LENGTHS = [len(x) for x in CHAINS]
BLOCKS = [sum(LENGTHS[:8]), sum(LENGTHS[8:15]), sum(LENGTHS[15:])]


def in_three(sequences):
    return [sequences[: CUTS[0]], sequences[CUTS[0] : CUTS[1]], sequences[CUTS[1] :]]


def bag_of(sequences):
    return dask.bag.from_delayed([delayed(part) for part in in_three(sequences)])


def delayed_of(sequences):
    return [delayed(x) for x in sequences]


def arrays_of(sequences):
    return [da.from_array(x, chunks=(25, 1)) for x in sequences]


def rows_of(sequences):
    """All rows, in chunks that end within sequences."""
    rows = np.concatenate(sequences)
    return da.from_array(rows, chunks=((BLOCKS[0] - 20, BLOCKS[1], BLOCKS[2] + 20), 1))


def run_by_run(sequences):
    """Sequences in lists as long as are joined."""
    runs, n_steps = [[]], 0
    for x in sequences:
        if n_steps + len(x) > JOINED_STEPS:
            runs.append([])
            n_steps = 0
        runs[-1].append(x)
        n_steps += len(x)
    return runs


def parameters(fitted):
    """All numbers that a fit has published."""
    return {
        name: value
        for name, value in vars(fitted).items()
        if name.endswith("_") and isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype.kind == "f"
    }


def assert_identical(one, other):
    first, second = parameters(one), parameters(other)
    assert len(first) > 5
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert one.lower_bounds_ == other.lower_bounds_


def test_sequences_are_too_many_for_a_race_and_partitions_too_long_to_be_joined():
    assert sum(LENGTHS) > SAMPLE_STEPS
    assert all(one + other > JOINED_STEPS for one, other in pairwise(BLOCKS))
    assert len(run_by_run(CHAINS)) > 1


@pytest.mark.parametrize("kind", some_slow(["float64", "float32", "gaps and weights"], ["gaps and weights"]))
def test_a_bag_is_fitted_as_lists_are(client, kind):
    weights = {}
    sequences = (
        CHAINS if kind == "float64" else chains(np.float32 if kind == "float32" else float, kind[0] == "g")
    )
    if kind == "gaps and weights":
        weights = {"sample_weight": np.random.default_rng(1).integers(0, 4, len(sequences)) / 2}
    there = HMMEM(2, **SHORT).fit(bag_of(sequences), **weights)
    here = HMMEM(2, **SHORT).fit(in_three(sequences), **weights)
    whole = HMMEM(2, **SHORT).fit(sequences, **weights)
    assert there.restarts_.starts[0].on_part or there.restarts_.starts[1].on_part
    assert_identical(there, here)
    for name, value in parameters(whole).items():
        tolerance = 1e-10 if name != "gap_" else 1e-3  # what a projection makes of rounding
        np.testing.assert_allclose(value, parameters(there)[name], rtol=tolerance, atol=tolerance, err_msg=name)
    assert there.n_sequences_ == len(sequences)
    labels = there.predict(bag_of(sequences))
    assert isinstance(labels, dask.bag.Bag)
    for made, expected in zip(labels.compute(), whole.predict(sequences), strict=True):
        np.testing.assert_array_equal(made, expected)
    assert there.score(bag_of(sequences), **weights) == here.score(in_three(sequences), **weights)
    assert there.score(bag_of(sequences), **weights) == pytest.approx(
        whole.score(sequences, **weights), rel=1e-12
    )


@pytest.mark.parametrize("kind", some_slow(["delayed", "futures", "arrays"], ["arrays"]))
def test_a_list_is_joined_run_by_run(client, kind):
    given = {"delayed": delayed_of, "futures": client.scatter, "arrays": arrays_of}[kind](CHAINS)
    assert_identical(HMMEM(2, **SHORT).fit(given), HMMEM(2, **SHORT).fit(run_by_run(CHAINS)))


def test_an_array_is_cut_where_sequences_end(client):
    there = HMMEM(2, **SHORT).fit(rows_of(CHAINS), lengths=LENGTHS)
    assert_identical(there, HMMEM(2, **SHORT).fit(in_three(CHAINS)))
    labels = there.predict(rows_of(CHAINS), lengths=LENGTHS)
    assert labels.chunks == (tuple(BLOCKS),)
    assert labels.dtype == np.intp
    np.testing.assert_array_equal(labels.compute(), np.concatenate(there.predict(CHAINS)))
    log_likelihood = there.log_likelihood(rows_of(CHAINS), lengths=LENGTHS)
    assert log_likelihood.shape == (len(CHAINS),)
    np.testing.assert_allclose(log_likelihood.compute(), there.log_likelihood(CHAINS), rtol=1e-12)
    assert there.bic(rows_of(CHAINS), lengths=LENGTHS) == pytest.approx(there.bic(CHAINS), rel=1e-12)


@pytest.mark.parametrize(
    ("chunks", "lengths", "expected"),
    [
        ((5, 5), [2, 3, 5], [[2, 3], [5]]),
        ((4, 6), [2, 3, 5], [[2, 3], [5]]),
        ((1, 1, 1, 7), [10], [[10]]),
        ((0, 9, 0, 1), [4, 5, 1], [[4, 5], [1]]),
        ((3, 3, 3, 3), [7, 5], [[7], [5]]),
    ],
)
def test_chunks_have_the_sequences_that_end_in_them(chunks, lengths, expected):
    assert [part.tolist() for part in sequences_of_chunks(chunks, np.array(lengths))] == expected


def test_an_array_alone_is_one_sequence(client):
    rows = np.concatenate(CHAINS[:3])
    there = HMMEM(2, **SHORT).fit(da.from_array(rows, chunks=(25, 2)))
    assert_identical(there, HMMEM(2, **SHORT).fit(rows))
    assert there.n_sequences_ == 1
    proba = there.predict_proba(da.from_array(rows, chunks=(25, 2)))
    assert proba.shape == (len(rows), 2)
    np.testing.assert_array_equal(proba.compute(), there.predict_proba(rows))


@pytest.mark.parametrize(
    "settings",
    some_slow(
        [
            {"inference": "variational"},
            {"assignment": "hard"},
            {"assignment": "sampled"},
            {"emission": {0: "gaussian", 1: "gaussian"}, "annealing": True},
        ],
        2,
    ),
    ids=str,
)
def test_every_way_to_fit(client, settings):
    there, here = (HMMEM(2, **SHORT, **settings).fit(X) for X in (bag_of(CHAINS), in_three(CHAINS)))
    assert_identical(there, here)


def test_few_sequences_are_fitted_as_in_memory(client):
    """All of them are the ground of the race, in an order of their own, so that no cut is left to matter."""
    few = CHAINS[:10]
    whole = HMMEM(2, **SHORT).fit(few)
    assert_identical(HMMEM(2, **SHORT).fit(dask.bag.from_sequence(few, npartitions=3)), whole)
    assert_identical(HMMEM(2, **SHORT).fit([few[:5], few[5:]]), whole)


def test_without_a_cluster(client):
    with dask.config.set(scheduler="synchronous"):
        for X, lengths in ((bag_of(CHAINS), None), (rows_of(CHAINS), LENGTHS)):
            there = HMMEM(2, **SHORT).fit(X, lengths=lengths)
            assert_identical(there, HMMEM(2, **SHORT).fit(in_three(CHAINS)))
        listed = HMMEM(2, **SHORT).fit(delayed_of(CHAINS))
        assert_identical(listed, HMMEM(2, **SHORT).fit(run_by_run(CHAINS)))


METHODS = ["predict", "predict_proba", "filter_proba", "score_samples", "log_likelihood"]


@pytest.mark.parametrize("method", some_slow(METHODS, ["predict_proba", "log_likelihood"]))
def test_predictions_are_like_in_kind_to_what_was_given(client, method):
    fitted, some = HMMEM(2, **SHORT).fit(CHAINS[:5]), CHAINS[:7]
    expected = getattr(fitted, method)(some)
    by_step = method != "log_likelihood"
    bag = getattr(fitted, method)(dask.bag.from_sequence(some, npartitions=2))
    listed = getattr(fitted, method)(delayed_of(some))
    arrays = getattr(fitted, method)(arrays_of(some))
    assert isinstance(bag, dask.bag.Bag)
    assert not any(isinstance(one, da.Array) for one in listed)
    if by_step:
        assert [one.shape for one in arrays] == [one.shape for one in expected]
        assert {one.dtype for one in arrays} == {expected[0].dtype}
    for made in (bag.compute(), dask.compute(*listed), dask.compute(*arrays)):
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_array_equal(one, other) if method == "predict" else np.testing.assert_allclose(
                one, other, rtol=1e-12
            )


def test_predictions_of_futures_and_of_arrays_of_unknown_lengths(client):
    fitted, some = HMMEM(2, **SHORT).fit(CHAINS[:5]), CHAINS[:4]
    expected = fitted.predict(some)
    unknown = [da.from_delayed(delayed(x), (np.nan, 2), dtype=float) for x in some]
    for given in (client.scatter(some), unknown):
        for one, other in zip(dask.compute(*fitted.predict(given)), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.isnan(fitted.predict(unknown)[0].shape[0])
    assert fitted.fit_predict(unknown)[2].dtype == np.intp


def test_predictions_stay_lazy(client):
    fitted, read = HMMEM(2, **SHORT).fit(CHAINS[:5]), []

    def load(x):
        read.append(len(x))
        return x

    states = fitted.predict([delayed(load)(x) for x in CHAINS[:4]])
    of_bag = fitted.predict(dask.bag.from_sequence(CHAINS[:4]).map(load))
    assert not read
    expected = fitted.predict(CHAINS[:4])
    fitted.fit([10.0 * x for x in CHAINS[:5]])  # what comes after the call does not count
    with dask.config.set(scheduler="synchronous"):
        for made in (dask.compute(*states), of_bag.compute()):
            for one, other in zip(made, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert sorted(read) == sorted(2 * LENGTHS[:4])


def test_frames(client):
    """Their names are those of the model; a column of `sequence_id` is left out."""
    frames = [pd.DataFrame(x, columns=["a", "b"]).assign(id=i) for i, x in enumerate(CHAINS[:6])]
    there = HMMEM(2, sequence_id="id", **SHORT).fit(delayed_of(frames))
    here = HMMEM(2, sequence_id="id", **SHORT).fit(frames)
    assert there.feature_names_in_.tolist() == ["a", "b"]
    assert_identical(there, here)
    other = [*frames[:4], frames[4].rename(columns={"a": "z"})]
    with pytest.raises(ValueError, match=r"Sequence 4 has columns .*'z'"):
        HMMEM(2, sequence_id="id").fit(delayed_of(other))


def infinite(x):
    x = x.copy()
    x[3, 1] = np.inf
    return x


def bad_sequences():
    """What the 18th sequence is made, or all of X, and what is said of it."""
    few = CHAINS
    return {
        "infinite": (infinite, "infinity in column 1, sequence 17, row 3"),
        "width": (lambda x: x[:, :1], "Sequence 17 has 1 features, but .* 2"),
        "empty": (lambda x: x[:0], "Sequence 17 is empty"),
        "one dimension": (lambda x: x[:, 0], "Sequence 17 is one-dimensional"),
        "three dimensions": (lambda x: x[None], r"Sequence 17 has the shape \(1, \d+, 2\)"),
        "text": (lambda x: x.astype(str), r"Sequence 17 has entries that are no numbers in columns \[0, 1\]"),
        "no sequence": (lambda x: 7, "Sequence 17 has the shape"),
        "first": (lambda: bag_of([few[0][:, 0], *few[1:]]), "Sequence 0 is one-dimensional"),
        "empty bag": (lambda: dask.bag.from_sequence([]), "X holds no sequences"),
        "empty partitions": (lambda: bag_of([]), "X holds no sequences"),
        "unknown lengths": (
            lambda: (rows_of(CHAINS)[rows_of(CHAINS)[:, 0] > -99], LENGTHS),
            "unknown lengths",
        ),
        "lengths": (lambda: (rows_of(CHAINS), LENGTHS[1:]), "lengths add up to"),
        "lengths of a bag": (lambda: (bag_of(few), LENGTHS), "drop lengths"),
        "frame": (
            lambda: dd.from_pandas(pd.DataFrame(few[0]), npartitions=2),
            "DataFrame of Dask, .* give a bag of sequences",
        ),
    }


@pytest.mark.parametrize(("name", "where"), some_slow(product(bad_sequences(), ["cluster", "here"]), 3))
def test_what_is_wrong_is_named(client, name, where):
    spoil, message = bad_sequences()[name]
    given = [spoil()] if spoil.__code__.co_argcount == 0 else []
    if not given:
        sequences = [*CHAINS[:17], spoil(CHAINS[17]), *CHAINS[18:]]
        given = [bag_of(sequences), delayed_of(sequences)]
    fitted = HMMEM.from_parameters(
        [0.5, 0.5], np.eye(2), means=np.eye(2), covariances=np.ones((2, 2, 2)) + np.eye(2)
    )
    before = pickle.dumps(fitted)
    for X in given:
        X, lengths = X if isinstance(X, tuple) else (X, None)
        scheduler = dask.config.set(scheduler=client if where == "cluster" else "synchronous")
        with scheduler, pytest.raises(ValueError, match=message):
            fitted.fit(X, lengths=lengths)
    assert pickle.dumps(fitted) == before


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sample_weight": np.ones(7)}, r"sample_weight has shape \(7,\), but X has 24 sequences"),
        ({"sample_weight": np.ones(25)}, r"sample_weight has shape \(25,\), but X has 24 sequences"),
        ({"sample_weight": -np.ones(24)}, "negative values, the first for sequence 0"),
        ({"sample_weight": np.zeros(24)}, "zero for every sequence"),
        ({"state_labels": [np.zeros(3)]}, "state_labels stand beside sequences in memory"),
        ({"groups": np.ones(24)}, "drop groups"),
    ],
)
def test_what_stands_beside_sequences(client, kwargs, message):
    with pytest.raises(ValueError, match=message):
        HMMEM(2, **SHORT).fit(bag_of(CHAINS), **kwargs)


def test_weights_of_dask_and_one_for_all(client):
    weight = np.random.default_rng(1).random(len(CHAINS))
    expected = HMMEM(2, **SHORT).fit(in_three(CHAINS), sample_weight=weight)
    assert_identical(
        HMMEM(2, **SHORT).fit(bag_of(CHAINS), sample_weight=da.from_array(weight, chunks=20)), expected
    )
    fitted = HMMEM(2, **SHORT).fit(bag_of(CHAINS), sample_weight=2.0)
    assert fitted.log_likelihood_ == pytest.approx(2 * HMMEM(2, **SHORT).fit(CHAINS).log_likelihood_, rel=1e-6)


def test_counts_without_a_density_are_named_by_their_sequence(client):
    counts = [np.floor(np.abs(x)) for x in CHAINS]
    counts[16][5, 1] = 0.5
    counts[18][2, 0] = -1.0
    with pytest.raises(ValueError, match=r"X is 0.5 in column 1, sequence 16, step 5: not one of"):
        HMMEM(2, emission="poisson").fit(bag_of(counts))


@pytest.mark.parametrize("method", ["decode", "sample_states", "predict_next", "partial_fit"])
def test_what_takes_sequences_in_memory_says_so(client, method):
    fitted = HMMEM(2, **SHORT).fit(CHAINS[:3])
    with pytest.raises(
        ValueError, match="X is of Dask, but this method of HMMEM takes sequences that are in memory"
    ):
        getattr(fitted, method)(bag_of(CHAINS))


def test_nothing_of_the_cluster_is_pickled(client):
    fitted = HMMEM(2, **SHORT).fit(bag_of(CHAINS))
    pickled = pickle.dumps(fitted)
    assert b"distributed" not in pickled
    assert b"emlearn.dask" not in pickled
    assert_identical(pickle.loads(pickled), fitted)


def test_restarts_on_the_backend_of_joblib(client):
    import joblib

    here = HMMEM(2, **SHORT).fit(CHAINS[:10])
    with joblib.parallel_config(backend="dask"):
        there = HMMEM(2, n_jobs=2, **SHORT).fit(CHAINS[:10])
    assert_identical(there, here)
