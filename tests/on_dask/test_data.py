"""Rows on a cluster: the same sums as those of the same blocks in memory, and what is wrong is named."""

import pickle

import dask
import dask.array as da
import dask.bag
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed

from emlearn.dask import OnDask
from emlearn.dask._blocks import JOINED_ROWS, read_plainly
from emlearn.dask._collections import is_dask
from emlearn.dask._data import read_on_dask
from emlearn.em import Affine, Batch, Batches, LatentModel
from emlearn.em.fit import climb
from emlearn.em.trees import leaves
from emlearn.families import COVARIANCE_SHAPES, IncompleteGaussian
from emlearn.latent import MixtureWeights

LARGE = JOINED_ROWS // 2 + 1  # rows of blocks of which no two are joined
LENGTHS = (LARGE, LARGE + 500, LARGE + 10)
N = sum(LENGTHS)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 3)) + 4.0 * rng.integers(0, 2, N)[:, None]
    X[rng.random(X.shape) < 0.05] = np.nan
    return X, rng.random(N)


def pieces(X, lengths=LENGTHS):
    return np.split(X, np.cumsum(lengths)[:-1])


def pairs(X, weight, lengths=LENGTHS):
    return list(zip(pieces(X, lengths), pieces(weight, lengths), strict=True))


def model_and_start(X):
    model = LatentModel(MixtureWeights(), IncompleteGaussian(COVARIANCE_SHAPES["full"], 1e-6))
    resp = np.random.default_rng(1).dirichlet(np.ones(2), 500).T.copy()
    return model, model.start(Batch(np.ascontiguousarray(X[:500].T)), resp)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def test_sums_are_those_of_the_same_blocks_in_memory(client, rows):
    X, weight = rows
    model, start = model_and_start(X)
    cut = {"rows": 512, "units": Affine(np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 3.0]))}
    data = OnDask(da.from_array(X, chunks=(LENGTHS, 3)), da.from_array(weight, chunks=(LENGTHS,)), **cut)
    there, here = data, Batches(pairs(X, weight), **cut)
    assert same(there.sum(model.expectation(start)), here.sum(model.expectation(start)))
    assert (there.n_rows, there.n_features, tuple(there.block_lengths)) == (N, 3, LENGTHS)
    np.testing.assert_array_equal(there.weights(), weight)

    def seen(batch):
        return batch.rows, batch.x.tobytes(), batch.weight.tobytes()

    assert list(there.map(seen)) == list(here.map(seen))
    fits = [climb(model, start, where, max_iter=6) for where in (there, here)]
    assert same(fits[0].params, fits[1].params)
    assert fits[0].history == fits[1].history
    assert len(fits[0].history) > 5


def test_recut_is_of_the_same_rows(client, rows):
    X, _ = rows
    data = OnDask(da.from_array(X, chunks=(LENGTHS, 3)))
    units = Affine(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    there = data.recut(units=units, columns=np.array([2, 0]), rows=700)
    here = Batches(pieces(X)).recut(units=units, columns=np.array([2, 0]), rows=700)
    assert [batch.x.tobytes() for batch in there.map(_itself)] == [batch.x.tobytes() for batch in here]
    assert there.n_features == 2
    assert there.weights() is None


def _itself(batch):
    return batch


def test_columns_of_columns(client, rows):
    data = OnDask(da.from_array(rows[0], chunks=(LENGTHS, 3)))
    once = data.recut(columns=np.array([2, 0])).recut(columns=np.array([1]))
    np.testing.assert_array_equal(once.take(np.array([0, 5, N - 1])), rows[0][[0, 5, N - 1]][:, [0]])


@pytest.mark.parametrize("positions", [[0], [N - 1], [3, 3, LARGE - 1, LARGE, N - 1], []])
def test_take_brings_rows_in_their_order(client, rows, positions):
    X = rows[0].astype(np.float32)
    data = OnDask(da.from_array(X, chunks=(LENGTHS, 3)))
    taken = data.take(np.array(positions, dtype=np.intp))
    np.testing.assert_array_equal(taken, X[positions])
    assert taken.dtype == data.dtype == np.float32


def test_only_rows_that_are_asked_for_travel(client, rows):
    data = OnDask(da.from_array(rows[0], chunks=(LENGTHS, 3)))
    sent = []
    in_order = data._held.in_order

    def spied(*args):
        sent.extend(results := in_order(*args))
        return results

    data._held.in_order = spied
    data.take(np.array([1, 2, LARGE + 3]))
    assert [len(part) for part in sent] == [2, 1, 0]


def test_what_stands_beside_X_is_more_columns(client, rows):
    X, y = rows
    arrays = da.from_array(X, chunks=(LENGTHS, 3)), None, da.from_array(y, chunks=500)  # cut like X then
    data = OnDask(*arrays)
    assert data.n_features == 4
    np.testing.assert_array_equal(data.take(np.arange(N)), np.column_stack([X, y]))


def test_arrays_in_memory_may_stand_beside_X(client, rows):
    X, weight = rows
    data = OnDask(da.from_array(X, chunks=(LENGTHS, 3)), weight, weight)
    np.testing.assert_array_equal(data.weights(), weight)
    assert OnDask(da.from_array(X, chunks=(LENGTHS, 3)), 2.0).sum(_weight_of) == 2 * N


def _weight_of(batch):
    return batch.total_weight


def frame_of(X):
    return pd.DataFrame(X, columns=["a", "b", "c"])


def by_position(X, lengths=LENGTHS):
    """A frame in partitions of these lengths, whose lengths Dask does not know."""
    parts = [frame_of(part) for part in pieces(X, lengths)]
    return dd.from_delayed([delayed(part) for part in parts], meta=parts[0].iloc[:0], verify_meta=False)


@pytest.mark.parametrize("kind", ["frame", "unknown chunks", "delayed", "futures"])
def test_every_kind_of_collection(client, rows, kind):
    X, weight = rows
    collection = {
        "frame": lambda: by_position(X),
        "unknown chunks": lambda: da.concatenate(
            [da.from_delayed(delayed(part), (np.nan, 3), float) for part in pieces(X)],
            allow_unknown_chunksizes=True,
        ),
        "delayed": lambda: [delayed(part) for part in pieces(X)],
        "futures": lambda: client.scatter(pieces(X)),
    }[kind]()
    assert is_dask(collection)
    there = OnDask(collection, [delayed(part) for part in pieces(weight)])
    assert same(there.sum(_moments), Batches(pairs(X, weight)).sum(_moments))
    assert tuple(there.block_lengths) == LENGTHS


def _moments(batch):
    return np.nansum(batch.x * batch.weight, axis=1), batch.total_weight


def test_small_blocks_are_joined_in_their_order(client, rows):
    X, weight = rows
    chunks = (1, 30, 0, LARGE, 7, N - LARGE - 38)  # the first of one row, one empty
    data = OnDask(by_position(X, chunks), [delayed(part) for part in pieces(weight, chunks)])
    assert tuple(data.block_lengths) == (LARGE + 38, N - LARGE - 38)
    np.testing.assert_array_equal(data.take(np.arange(N)), X)
    np.testing.assert_array_equal(data.weights(), weight)
    many = OnDask(da.from_array(X, chunks=(100, 3)))
    assert len(many.block_lengths) < 5
    np.testing.assert_array_equal(many.take(np.arange(N)), X)


def test_types_that_differ_by_partition(client):
    parts = [
        pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}),
        pd.DataFrame({"a": [1.5, 2.5], "b": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"a": np.array([1, 0], dtype=np.float32), "b": [True, False]}),
        pd.DataFrame({"a": [None, 3], "b": [1, 2]}, dtype=object),
    ]
    data = OnDask([delayed(part) for part in parts])
    expected = np.array([[1, 0.5], [2, np.nan], [1.5, 1], [2.5, np.nan], [1, 1], [0, 0], [np.nan, 1], [3, 2]])
    np.testing.assert_array_equal(data.take(np.arange(8)), expected)
    assert data.dtype == np.float64


def bad_blocks():
    X = np.ones((20, 2))
    infinite = X.copy()
    infinite[13, 1] = np.inf
    text = pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]})
    ten = (10, 2)
    return {
        "along features": (lambda: (da.ones((10, 4), chunks=(5, 2)),), r"rechunk\(\{1: -1\}\)"),
        "infinite": (
            lambda: (da.from_array(infinite, chunks=ten),),
            "Block 1 of X: .*infinity in column 1, row 3",
        ),
        "infinite, named": (
            lambda: (dd.from_pandas(pd.DataFrame(infinite, columns=["a", "b"]), npartitions=2, sort=False),),
            r"Block 1 of X: .*infinity in column 'b', row 3",
        ),
        "one dimension": (lambda: (da.ones(10, chunks=5),), r"\(n, d\)"),
        "empty": (lambda: (da.ones((0, 2), chunks=(5, 2)),), "no rows"),
        "all blocks empty": (lambda: ([delayed(X[:0])] * 2,), "no rows"),
        "widths": (
            lambda: ([delayed(X), delayed(X[:, :1])],),
            "Block 1 of X has 1 features, but the first has 2",
        ),
        "dimensions": (lambda: ([delayed(X), delayed(X[0])],), r"Block 1 of X: has the shape \(2,\)"),
        "text": (lambda: (dd.from_pandas(text, npartitions=1),), "no numbers in columns \\['a'"),
        "categories": (
            lambda: (dd.from_pandas(text.astype({"a": "category"}), npartitions=1),),
            r"no numbers in columns \['a' \(category\)\]",
        ),
        "objects": (
            lambda: ([delayed(text.astype(object))],),
            r"Block 0 of X: .*no numbers in columns \['a'\]",
        ),
        "a bag": (lambda: (dask.bag.from_sequence([1, 2]),), "dask array or DataFrame"),
        "number of blocks": (
            lambda: ([delayed(X)] * 2, [delayed(X[:, 0])]),
            "X and what stands beside it have 2, 1 blocks",
        ),
        "length of a block": (
            lambda: ([delayed(X)] * 2, [delayed(X[:, 0]), delayed(X[:5, 0])]),
            "Block 1 of X: has 20 rows, but beside them stands what has 5",
        ),
        "length": (lambda: (da.from_array(X, chunks=ten), np.ones(7)), "X has 20 rows, but .* 7"),
        "length of a collection": (
            lambda: (da.from_array(X, chunks=ten), da.ones(7, chunks=5)),
            "X has 20 rows, but .* 7",
        ),
        "in memory beside unknown lengths": (
            lambda: (dd.from_pandas(pd.DataFrame(X), npartitions=2), np.ones(20)),
            "unknown lengths",
        ),
        "negative weight": (
            lambda: (da.from_array(X, chunks=ten), da.from_array(-X[:, 0], chunks=10)),
            "Block 0 of X: sample_weight has negative values",
        ),
    }


@pytest.mark.parametrize("name", bad_blocks())
@pytest.mark.parametrize("where", ["cluster", "here"])
def test_what_is_wrong_is_named(client, name, where):
    make, message = bad_blocks()[name]
    scheduler = dask.config.set(scheduler=client if where == "cluster" else "synchronous")
    with scheduler, pytest.raises(ValueError, match=message):
        read(*make()).n_rows  # noqa: B018 - counts them


def read(*given):
    return read_on_dask(read_plainly, *given)


def test_without_a_cluster_blocks_are_computed_as_they_are_read(rows):
    X, weight = rows
    computed = []

    def load(part):
        computed.append(len(part))
        return part

    with dask.config.set(scheduler="synchronous"):
        blocks = [delayed(load)(part) for part in pieces(X)]
        data = read(blocks, da.from_array(weight, chunks=(LENGTHS,)).to_delayed().tolist())
        del computed[:]
        batches = data.map(_itself)
        next(batches)
        assert len(computed) == 2  # one ahead, which might have been joined, and no more
        assert same(data.sum(_moments), Batches(pairs(X, weight)).sum(_moments))
        np.testing.assert_array_equal(data.take(np.array([2, N - 1])), X[[2, N - 1]])
    here = dask.config.set(scheduler="threads")
    with here, pytest.raises(ValueError, match=r"make a distributed\.Client first"):
        OnDask(da.from_array(X))


def test_neither_rows_nor_cluster_go_into_a_pickle(client, rows):
    data = OnDask(da.from_array(rows[0], chunks=(LENGTHS, 3)))
    pickled = pickle.dumps(data)
    assert len(pickled) < 200
    left = pickle.loads(pickled)
    assert (left.n_rows, left.n_features) == (N, 3)
    with pytest.raises(RuntimeError, match="pickle"):
        left.sum(len)
    # What is mapped may name the data.
    assert data.sum(lambda batch: float(batch.x.shape[1]) + 0.0 * data.n_rows) == N


def test_a_worker_keeps_what_one_batches_would(client, monkeypatch):
    """All blocks of a worker share one budget: a third block does not keep half as much again."""
    X = np.ones((6 * LARGE, 2))
    data = OnDask(da.from_array(X, chunks=(LARGE, 2)), client=client)

    def room(batch):
        return batch._room * batch.x.shape[1] * 8  # bytes that may be kept of the batch's rows

    n_workers = len(set(data._held.workers))
    one = sum(Batches(X).map(room))
    assert sum(data.map(room)) == pytest.approx(n_workers * one)


def test_where_the_data_lie_is_told(client, rows):
    told = OnDask(da.from_array(rows[0], chunks=(LENGTHS, 3))).described()
    assert told.startswith(f"{N} rows in 3 blocks on 2 threads of 2 workers")
    assert client.dashboard_link in told


def test_errors_of_a_function_come_back_as_they_are(client, rows):
    data = OnDask(da.from_array(rows[0], chunks=(LENGTHS, 3)))

    def fails(batch):
        raise np.linalg.LinAlgError("singular")

    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        data.sum(fails)


def test_errors_of_a_recipe_come_back_as_they_are(client):
    def missing():
        raise FileNotFoundError("no such file")

    with pytest.raises(FileNotFoundError, match="no such file"):
        OnDask([delayed(missing)()])


def test_folds_join_block_by_block(client, rows):
    X, weight = rows
    chunks = da.from_array(X, chunks=(LENGTHS, 3)), da.from_array(weight, chunks=(LENGTHS,))
    there, here = OnDask(*chunks, rows=700), Batches(pairs(X, weight), rows=700)
    made = [
        data.fold(_most, lambda one, other: (max(one[0], other[0]), one[1] + other[1]))
        for data in (there, here)
    ]
    assert made[0] == made[1]
    assert made[0][0] == np.nanmax(X)


def _most(batch):
    return np.nanmax(batch.x), batch.total_weight
