"""Rows of Parquet and Arrow files, and pieces written to Parquet."""

import copy
import decimal
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from emlearn import EMImputer, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn._input.pieces import read_data
from emlearn.em import Batches, FileRows, LatentModel, LatentPair, fit_em, from_parquet, parquet, to_parquet
from emlearn.em.parquet import _cut
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights
from tests.helpers.trees import assert_same

pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
feather = pytest.importorskip("pyarrow.feather")
pq = pytest.importorskip("pyarrow.parquet")

N, NAMES = 1000, ["a", "b", "c"]
FILE_DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)) + 4 * rng.integers(2, size=(N, 1))


@pytest.fixture
def weights():
    return np.random.default_rng(1).uniform(0.5, 2, size=N)


@pytest.fixture
def path(tmp_path, X, weights):
    """A file of four row groups: 300, 300, 300 and 100 rows."""
    path = tmp_path / "rows.parquet"
    table = pa.table({**dict(zip(NAMES, X.T, strict=True)), "w": weights})
    pq.write_table(table, path, row_group_size=300)
    return path


def read(rows):
    return np.concatenate(list(rows))


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "emlearn-read-ahead"]


def open_files(folder):
    """Files below a folder that this process has open or mapped."""
    handles = [os.readlink(entry) for entry in FILE_DESCRIPTORS.iterdir() if entry.exists()]
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in handles + mapped if str(folder) in line]


def left_open(folder):
    """The same, but for what threads of Arrow are about to let go of."""
    deadline = time.monotonic() + 5
    while (left := open_files(folder)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def model_and_start(d):
    start = LatentPair(
        np.array([0.5, 0.5]), GaussianParams(np.array([[0.0] * d, [3.0] * d]), np.stack([np.eye(d)] * 2))
    )
    return LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"])), start


# -- what is read --------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_file(path, X):
    rows = from_parquet(path, NAMES)
    np.testing.assert_array_equal(read(rows), X)
    np.testing.assert_array_equal(read(rows), X)  # again
    assert (rows.n_rows, rows.n_features, rows.feature_names) == (N, 3, NAMES)
    assert repr(rows) == f"<1,000 rows of {path}: 3 features, in 1 pieces>"


def test_columns_in_the_order_asked_for(path, X):
    np.testing.assert_array_equal(read(from_parquet(path, ["c", "a"])), X[:, [2, 0]])
    np.testing.assert_array_equal(read(from_parquet(path, "b")), X[:, [1]])


@pytest.mark.parametrize(
    ("groups", "rows", "pieces"),
    [
        ([300, 300, 300, 100], 10_000, [1000]),
        ([300, 300, 300, 100], 300, [300, 300, 300, 100]),
        ([300, 300, 300, 100], 600, [600, 400]),
        ([1000], 300, [250, 250, 250, 250]),
        ([5, 1001, 5, 5], 300, [5, 250, 250, 250, 251, 10]),
        ([0, 3, 0, 0, 4], 3, [3, 2, 2]),
    ],
)
def test_row_groups_are_split_and_joined(groups, rows, pieces):
    cut = _cut(groups, rows)
    assert sum(cut) == sum(groups)
    assert max(cut) <= rows
    # A group that is split begins and ends a piece.
    assert sorted(cut) == sorted(pieces)


def test_pieces_are_as_long_as_they_are_said_to_be(path, X):
    for most in (1, 7, 299, 300, 301, 650, 5000):
        rows = from_parquet(path, NAMES, rows=most)
        assert [len(piece) for piece in rows] == rows.piece_rows
        np.testing.assert_array_equal(read(rows), X)


def test_pieces_of_columns_read_apart_go_together(path, monkeypatch):
    """Where a piece ends does not depend on the columns, be the file as wide as it may."""
    monkeypatch.setattr(parquet, "PIECE_BYTES", 8 * 4 * 400)  # 400 rows of all four columns
    some, one = from_parquet(path, ["a", "b"]), from_parquet(path, "c")
    assert some.piece_rows == one.piece_rows == [300, 300, 400]


def test_weights_come_beside_the_rows(path, X, weights):
    pieces = list(from_parquet(path, weight="w", rows=300))
    np.testing.assert_array_equal(np.concatenate([piece for piece, _ in pieces]), X)
    np.testing.assert_array_equal(np.concatenate([weight for _, weight in pieces]), weights)
    only_one = from_parquet(path, ["a"], weight="w", dtype=np.float32)
    (rows, weight), *_ = only_one
    assert (rows.dtype, weight.dtype) == (np.float32, np.float64)


def test_kinds_of_numbers(tmp_path):
    path = tmp_path / "kinds.parquet"
    table = pa.table({
        "float": pa.array([1.5, None, np.nan, 3.0]),
        "single": pa.array([1.5, None, np.nan, 3.0], pa.float32()),
        "half": pa.array([1.5, None, np.nan, 3.0], pa.float16()),
        "int": pa.array([1, None, 2**60 + 1, 4]),
        "byte": pa.array([1, 2, 255, None], pa.uint8()),
        "bool": pa.array([True, None, False, True]),
        "decimal": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-2.00"), decimal.Decimal("0.5")]),
        "category": pa.array([7, 8, None, 7]).dictionary_encode(),
        "nothing": pa.array([None] * 4, pa.null()),
    })  # fmt: skip
    pq.write_table(table, path)
    nan = np.nan
    expected = {
        "float": [1.5, nan, nan, 3],
        "single": [1.5, nan, nan, 3],
        "half": [1.5, nan, nan, 3],
        "int": [1, nan, 2.0**60, 4],
        "byte": [1, 2, 255, nan],
        "bool": [1, nan, 0, 1],
        "decimal": [1.25, nan, -2, 0.5],
        "category": [7, 8, nan, 7],
        "nothing": [nan] * 4,
    }
    for source in (path, table, table.to_batches()[0], ds.dataset(table)):
        rows = from_parquet(source)
        assert rows.feature_names == list(expected)
        np.testing.assert_array_equal(read(rows), np.transpose(list(expected.values())))
    assert read(from_parquet(path, dtype=np.float32)).dtype == np.float32


def test_index_of_pandas_is_no_feature(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3, 4]}, index=pd.Index(["u", "v"], name="who"))
    frame.to_parquet(tmp_path / "frame.parquet")
    assert from_parquet(tmp_path / "frame.parquet").feature_names == ["x", "y"]


def test_folder_list_and_dataset(tmp_path, X):
    """Files of a folder by name, part-2 before part-10; small ones are joined."""
    for i in range(12):
        part = pa.table(dict(zip(NAMES, X[i * 50 : (i + 1) * 50].T, strict=True)))
        pq.write_table(part, tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "README.txt").write_text("Two columns.")
    folder = from_parquet(tmp_path, rows=120)
    assert folder.piece_rows == [100] * 6
    np.testing.assert_array_equal(read(folder), X[:600])
    files = [tmp_path / f"part-{i}.parquet" for i in (3, 1)]
    np.testing.assert_array_equal(read(from_parquet(files)), np.concatenate([X[150:200], X[50:100]]))
    dataset = ds.dataset([str(file) for file in files])
    np.testing.assert_array_equal(read(from_parquet(dataset, ["b"])), read(from_parquet(files, ["b"])))


def test_names_of_folders_are_columns(tmp_path):
    table = pa.table({"a": [1.0, 2.0, 3.0], "year": [2023, 2024, 2023]})
    partitioning = ds.partitioning(pa.schema([("year", pa.int32())]), flavor="hive")
    ds.write_dataset(table, tmp_path / "by_year", format="parquet", partitioning=partitioning)
    rows = from_parquet(tmp_path / "by_year")
    assert rows.feature_names == ["a", "year"]
    np.testing.assert_array_equal(read(rows), [[1, 2023], [3, 2023], [2, 2024]])
    np.testing.assert_array_equal(read(from_parquet(tmp_path / "by_year", ["year"])), [[2023], [2023], [2024]])
    alone = next((tmp_path / "by_year").glob("year=2024/*"))  # a file is what is in it
    assert from_parquet(alone).feature_names == ["a"]


@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
def test_arrow_file(tmp_path, X, compression):
    path = tmp_path / "rows.feather"
    table = pa.table(dict(zip(NAMES, X.T, strict=True)))
    feather.write_feather(table, str(path), compression=compression, chunksize=130)
    rows = from_parquet(path, ["c", "a"], rows=300)
    assert rows.piece_rows == [250] * 4
    np.testing.assert_array_equal(read(rows), X[:, [2, 0]])
    np.testing.assert_array_equal(read(pickle.loads(pickle.dumps(rows))), X[:, [2, 0]])
    dataset = ds.dataset(str(path), format="feather")
    np.testing.assert_array_equal(read(from_parquet(dataset)), X)


def test_from_another_folder(path, X, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = from_parquet("rows.parquet", NAMES)
    monkeypatch.chdir(tmp_path.parent)
    np.testing.assert_array_equal(read(rows), X)


def test_uri(path, tmp_path, X):
    np.testing.assert_array_equal(read(from_parquet(path.as_uri(), NAMES, rows=300)), X)
    assert from_parquet(tmp_path.as_uri(), NAMES).n_rows == N


def test_copies_hold_no_open_file(path, X):
    rows = from_parquet(path, NAMES, rows=300)
    under_way = iter(rows)
    next(under_way)
    for again in (pickle.loads(pickle.dumps(rows)), copy.deepcopy(rows)):
        assert again.piece_rows == rows.piece_rows
        np.testing.assert_array_equal(read(again), X)
    under_way.close()


# -- fits ----------------------------------------------------------------------------------------------------


def test_fit_is_that_of_the_same_pieces_in_memory(path, X):
    model, start = model_and_start(3)
    rows = from_parquet(path, NAMES, rows=300)
    of_file = fit_em(model, start, rows)
    of_list = fit_em(model, start, [X[:300], X[300:600], X[600:900], X[900:]])
    assert_same(of_file.params, of_list.params, rtol=1e-12)
    assert of_file.n_iter == of_list.n_iter
    assert_same(of_file.params, fit_em(model, start, X).params)


def test_fit_with_weights(path, X, weights):
    model, start = model_and_start(3)
    of_file = fit_em(model, start, from_parquet(path, NAMES, weight="w", rows=300))
    assert_same(of_file.params, fit_em(model, start, (X, weights)).params)
    data = Batches(from_parquet(path, NAMES, weight="w", rows=300))
    np.testing.assert_array_equal(data.weights(), weights)


def test_rows_at_positions(path, X):
    data = Batches(from_parquet(path, NAMES, rows=300))
    assert (data.n_rows, data.n_features) == (N, 3)
    np.testing.assert_array_equal(data.take(np.array([0, 5, 299, 300, 650])), X[[0, 5, 299, 300, 650]])
    assert not reading_threads()  # although not all pieces were read


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of more rows than a race looks at, and its rows, responses and weights."""
    path = tmp_path_factory.mktemp("many") / "rows.parquet"
    rng = np.random.default_rng(2)
    n = 22_000
    group = rng.integers(2, size=n)
    X = rng.normal(size=(n, 2)) + 4 * group[:, None]
    X[rng.uniform(size=n) < 0.01, 1] = np.nan
    y = 1 + np.where(group == 1, 2, -1) * X[:, 0] + 0.3 * rng.normal(size=n)
    weight = rng.uniform(0.5, 2, size=n)
    columns = {"u": X[:, 0], "v": pa.array(X[:, 1], from_pandas=True), "y": y, "w": weight}
    pq.write_table(pa.table(columns), path, row_group_size=8000)
    return path, X, y, weight


def mixture_of_two():
    return GaussianMixtureEM(2, n_init=2, random_state=0)


def test_estimator(many, tmp_path):
    path, X, _, _ = many
    rows = from_parquet(path, ["u", "v"], rows=8000)
    of_file = mixture_of_two().fit(rows)
    assert of_file.feature_names_in_.tolist() == ["u", "v"]
    assert not reading_threads()
    of_list = mixture_of_two().fit([X[:8000], X[8000:16000], X[16000:]])
    whole = mixture_of_two().fit(X)
    for other, rtol in ((of_list, 1e-12), (whole, 1e-10)):
        for name in ("weights_", "means_", "covariances_", "lower_bound_"):
            np.testing.assert_allclose(getattr(of_file, name), getattr(other, name), rtol=rtol)
        assert of_file.n_iter_ == other.n_iter_
    labels = tmp_path / "labels.parquet"
    to_parquet(labels, of_file.predict(rows), columns="label")
    np.testing.assert_array_equal(pq.read_table(labels)["label"].to_numpy(), whole.predict(X))
    to_parquet(labels, of_file.predict_proba(rows))
    np.testing.assert_allclose(read(from_parquet(labels)), whole.predict_proba(X), atol=1e-10)
    assert of_file.score(rows) == pytest.approx(whole.score(X), rel=1e-12)
    assert pickle.loads(pickle.dumps(of_file)).means_.tolist() == of_file.means_.tolist()
    assert len(pickle.dumps(of_file)) < 100_000  # no rows


def test_rows_of_a_file_need_not_be_counted(path, monkeypatch):
    n_passes = 0

    class Counted(FileRows):
        def __iter__(self):
            nonlocal n_passes
            n_passes += 1
            return super().__iter__()

    rows = from_parquet(path, NAMES, rows=300)
    rows.__class__ = Counted
    data = read_data(lambda rows, weight, first: (rows.rows, weight), rows)
    assert n_passes == 1  # the first piece, by which others are checked
    assert (data.n_rows, data.n_features) == (N, 3)
    assert n_passes == 1
    assert data.recut(columns=np.array([0, 2])).n_features == 2
    assert n_passes == 1


def test_estimator_with_weights(many):
    path, X, _, weight = many
    expected = mixture_of_two().fit(X, sample_weight=weight)
    rows = from_parquet(path, ["u", "v"], rows=8000)
    beside = mixture_of_two().fit(rows, sample_weight=from_parquet(path, "w", rows=8000))
    pairs = mixture_of_two().fit(from_parquet(path, ["u", "v"], weight="w", rows=8000))
    for other in (beside, pairs):
        np.testing.assert_allclose(other.means_, expected.means_, rtol=1e-10)
        np.testing.assert_allclose(other.lower_bound_, expected.lower_bound_, rtol=1e-10)


def test_regression(many):
    path, X, y, weight = many
    x, response, w = (from_parquet(path, name, rows=8000) for name in "uyw")
    of_file = MixtureOfLinearRegressions(2, n_init=2, random_state=0).fit(x, response, sample_weight=w)
    whole = MixtureOfLinearRegressions(2, n_init=2, random_state=0).fit(X[:, [0]], y, sample_weight=weight)
    np.testing.assert_allclose(of_file.coef_, whole.coef_, rtol=1e-10)
    np.testing.assert_allclose(of_file.lower_bound_, whole.lower_bound_, rtol=1e-10)
    np.testing.assert_allclose(np.concatenate(list(of_file.predict(x))), whole.predict(X[:, [0]]), rtol=1e-8)


def test_imputation(many, tmp_path):
    path, X, _, _ = many
    rows = from_parquet(path, ["u", "v"], rows=8000)
    of_file, whole = EMImputer().fit(rows), EMImputer().fit(X)
    np.testing.assert_allclose(of_file.covariances_, whole.covariances_, rtol=1e-10)
    to_parquet(tmp_path / "complete.parquet", of_file.transform(rows), columns=rows.feature_names)
    complete = read(from_parquet(tmp_path / "complete.parquet"))
    np.testing.assert_allclose(complete, whole.transform(X), rtol=1e-9)


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(many, tmp_path):
    _, X, _, _ = many
    path = tmp_path / "rows.parquet"
    to_parquet(path, X[:3000], ["u", "v"])
    rows = from_parquet(path, rows=1000)
    mixture = mixture_of_two().fit(rows)
    before = dict(vars(mixture))
    to_parquet(path, X[:2000], ["u", "v"])
    with pytest.raises(ValueError, match="had 3,000 rows, but 2,000 when read again"):
        mixture.fit(rows)
    bad = np.array(X[:3000])
    bad[2345, 0] = np.inf
    to_parquet(path, bad, ["u", "v"])
    with pytest.raises(ValueError, match="Piece 2 of X: Input X contains infinity in column 'u', row 345"):
        mixture.fit(rows)
    assert not reading_threads()
    assert vars(mixture) == before


# -- threads and files ---------------------------------------------------------------------------------------


def test_one_thread_reads_two_pieces_ahead(path):
    assert not reading_threads()
    pieces = iter(from_parquet(path, NAMES, rows=100))
    assert not reading_threads()  # nothing is read before it is asked for
    next(pieces)
    assert len(reading_threads()) == 1
    list(pieces)
    assert not reading_threads()


@pytest.mark.skipif(not FILE_DESCRIPTORS.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("format", ["parquet", "feather"])
def test_nothing_is_left_of_a_pass_that_ends_early(tmp_path, X, format):
    path = tmp_path / f"rows.{format}"
    table = pa.table(dict(zip(NAMES, X.T, strict=True)))
    if format == "parquet":
        pq.write_table(table, path, row_group_size=50)
    else:
        feather.write_feather(table, str(path), compression="uncompressed", chunksize=50)
    rows = from_parquet(path, rows=50)
    assert not left_open(tmp_path)
    for _ in rows:
        assert open_files(tmp_path)
        break
    assert not reading_threads()
    assert not left_open(tmp_path)

    model, start = model_and_start(3)

    def fail(batch):
        raise KeyError("in the E-step")

    for n_threads in (1, 2):
        with pytest.raises(KeyError, match="in the E-step"):
            Batches(rows, rows=10, n_threads=n_threads).sum(fail)
        assert not reading_threads()
        assert not left_open(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit_em(model, start, rows, callback=lambda iterate: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not reading_threads()
    assert not left_open(tmp_path)


def test_passes_side_by_side(path, X):
    rows = from_parquet(path, NAMES, rows=100)
    for one, other in zip(rows, rows, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not reading_threads()


def test_errors_of_the_reader_reach_the_caller(path, X):
    rows = from_parquet(path, NAMES, rows=300)
    content = bytearray(path.read_bytes())
    content[1000:3000] = b"\xff" * 2000  # the first row group; the footer stays
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        list(rows)
    assert not reading_threads()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"rows\.parquet"):
        list(rows)
    assert not reading_threads()


@pytest.mark.slow
def test_a_pass_under_way_does_not_hold_up_the_end_of_the_program(path):
    program = (
        "import sys; from emlearn.em import from_parquet\n"
        "pieces = iter(from_parquet(sys.argv[1], ['a'], rows=10)); next(pieces); print('done')"
    )
    root = str(Path(__file__).parents[2])
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(("n_now", "found"), [(900, "900"), (1100, "more than 1,000")])
@pytest.mark.parametrize("format", ["parquet", "feather"])
def test_file_that_changed_between_passes(tmp_path, X, n_now, found, format):
    path = tmp_path / f"rows.{format}"

    def write(X):
        table = pa.table(dict(zip(NAMES, X.T, strict=True)))
        (pq.write_table if format == "parquet" else feather.write_feather)(table, str(path))

    write(X)
    rows = from_parquet(path, rows=300)
    list(rows)
    write(np.resize(X, (n_now, 3)))
    model, start = model_and_start(3)
    with pytest.raises(ValueError, match=f"had 1,000 rows, but {found} when read again: it must stay"):
        fit_em(model, start, rows)
    assert not reading_threads()
    write(X[:, :3] + 1)
    assert read(rows).shape == X.shape  # as many rows are taken for the same
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "d": X[:, 2]})
    (pq.write_table if format == "parquet" else feather.write_feather)(table, str(path))
    with pytest.raises(ValueError, match="has other columns than before"):
        list(rows)


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """A file with columns of every kind that is no number."""
    path = tmp_path / "mixed.parquet"
    table = pa.table({
        "x": [1.0, 2.0],
        "name": ["1", "2"],
        "day": pa.array([1, 2], pa.date32()),
        "pair": [[1.0, 2.0], [3.0]],
        "place": [{"lat": 1.0}, {"lat": 2.0}],
        "kind": pa.array(["u", "v"]).dictionary_encode(),
        "since": pa.array([1, 2], pa.timestamp("s")),
        "how long": pa.array([1, 2], pa.duration("s")),
    })  # fmt: skip
    pq.write_table(table, path)
    return path


def test_columns_that_are_no_numbers(mixed):
    with pytest.raises(ValueError, match=r"no numbers: 'name' \(string\), 'day' \(date32\[day\]\), 'pair'"):
        from_parquet(mixed)
    with pytest.raises(ValueError, match="columns that are no numbers") as error:
        from_parquet(mixed)
    assert all(f"{name!r} (" in str(error.value) for name in ("place", "kind", "since", "how long"))
    assert "'x'" not in str(error.value)
    with pytest.raises(ValueError, match=r"no numbers: 'name' \(string\)\. Say by `columns`"):
        from_parquet(mixed, ["x"], weight="name")
    assert from_parquet(mixed, ["x"]).n_features == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"columns": ["a", "z", "y"]},
            r"has no columns \['z', 'y'\]; it has \['a', 'b', 'c', 'w'\]",
        ),
        ({"columns": ["a", "b", "a"]}, r"columns \['a'\] are named twice"),
        ({"columns": []}, "columns is empty"),
        ({"weight": "v"}, r"has no columns \['v'\]"),
        ({"columns": ["a", "w"], "weight": "w"}, "weight='w' is one of the columns as well"),
        ({"rows": 0}, "rows=0 must be an integer, 1 or more"),
        ({"rows": 2.5}, r"rows=2\.5 must be an integer"),
        ({"dtype": int}, "dtype=int64 is neither float64 nor float32"),
    ],
)
def test_settings_that_cannot_be(path, settings, message):
    with pytest.raises(ValueError, match=message):
        from_parquet(path, **settings)


def test_names_that_several_columns_have(tmp_path):
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], names=["a", "b", "a"])
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match=r"columns \['a'\] are named twice in .*twice\.parquet"):
        from_parquet(tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match=r"several columns named \['a'\]"):
        from_parquet(tmp_path / "twice.parquet", ["a"])
    assert read(from_parquet(tmp_path / "twice.parquet", ["b"])).tolist() == [[2.0]]


def test_files_that_do_not_agree(tmp_path):
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": [1], "c": ["x"]}), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet has no columns \['b'\]"):
        from_parquet(tmp_path)
    assert read(from_parquet(tmp_path, ["a"])).tolist() == [[1.0], [1.0]]
    pq.write_table(pa.table({"a": [1], "b": [2], "c": ["x"]}), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet has columns \['c'\], which .*0\.parquet does not have"):
        from_parquet(tmp_path)
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet has columns that are no numbers: 'a' \(string\)"):
        from_parquet(tmp_path, ["a"])


def test_what_is_no_file_of_rows(tmp_path, path, X):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        from_parquet(tmp_path / "nowhere.parquet")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        from_parquet([path, tmp_path / "nowhere.parquet"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no files named \.parquet"):
        from_parquet(tmp_path / "empty")
    with pytest.raises(ValueError, match="0 files holds no files"):
        from_parquet([])
    text = tmp_path / "text.parquet"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"text\.parquet"):
        from_parquet(text)
    other = tmp_path / "rows.arrow"
    other.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="Parquet files and Arrow IPC files"):
        from_parquet([path, other])
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"none\.parquet holds no rows"):
        from_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"path is a DataFrame: .* Estimators take data frames as they are"):
        from_parquet(pd.DataFrame(X))
    dataset = ds.dataset(str(tmp_path / "none.parquet")).filter(ds.field("a") > 0)
    with pytest.raises(ValueError, match="filtered or projected"):
        from_parquet(dataset)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="neither of Parquet files nor of Arrow IPC"):
        from_parquet(ds.dataset(str(tmp_path / "a.csv"), format="csv"))


@pytest.mark.parametrize(("bad", "shown"), [(-1.0, "-1"), (np.nan, "nan"), (None, "nan"), (np.inf, "inf")])
def test_weights_that_are_none(tmp_path, bad, shown):
    table = pa.table({"a": np.zeros(500), "w": pa.array([1.0] * 437 + [bad] + [1.0] * 62)})
    pq.write_table(table, tmp_path / "weights.parquet")
    rows = from_parquet(tmp_path / "weights.parquet", weight="w", rows=100)
    with pytest.raises(ValueError, match=f"weight='w' is {shown} in row 437: weights must be finite"):
        list(rows)
    assert not reading_threads()


def test_without_pyarrow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="from_parquet needs pyarrow: install pyarrow"):
        from_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ImportError, match="to_parquet needs pyarrow: install pyarrow"):
        to_parquet(tmp_path / "rows.parquet", [np.zeros(3)])


@pytest.mark.slow
def test_import_without_pyarrow():
    program = "import sys; sys.modules['pyarrow'] = None; import emlearn, emlearn.em"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", program], timeout=60, env=environment).returncode == 0


# -- what is written -----------------------------------------------------------------------------------------


def test_pieces_become_row_groups(tmp_path, X):
    path = tmp_path / "out.parquet"
    to_parquet(path, (X[i : i + 300] for i in range(0, N, 300)), NAMES)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [300, 300, 300, 100]
    rows = from_parquet(path, rows=300)
    assert rows.feature_names == NAMES
    np.testing.assert_array_equal(read(rows), X)


def test_labels_and_frames(tmp_path, X):
    path = tmp_path / "out.parquet"
    to_parquet(path, iter([np.arange(3), np.arange(0), np.arange(3, 5)]), "label")
    table = pq.read_table(path)
    assert table.schema.types == [pa.int64()]
    assert table.to_pydict() == {"label": [0, 1, 2, 3, 4]}
    to_parquet(path, [pd.DataFrame({"a": [1.0, np.nan], "b": ["u", "v"]}, index=[5, 6])])
    assert pq.read_table(path).to_pydict() == {"a": [1.0, None], "b": ["u", "v"]}
    to_parquet(path, [pl.DataFrame({"a": [1, None]}), pl.DataFrame({"a": [3, 4]})], ["z"])
    assert pq.read_table(path).to_pydict() == {"z": [1, None, 3, 4]}
    to_parquet(path, [pa.table({"a": [True]})])
    assert pq.read_table(path).to_pydict() == {"a": [True]}
    to_parquet(path, X[:10])  # one array is one piece
    assert pq.read_table(path).schema.names == ["x0", "x1", "x2"]
    np.testing.assert_array_equal(read(from_parquet(path)), X[:10])
    to_parquet(path, pd.Series([1.5, 2.5]))
    assert pq.read_table(path).to_pydict() == {"x0": [1.5, 2.5]}


def test_one_piece_is_held_at_a_time(tmp_path):
    alive = []

    class Tracked(np.ndarray):
        def __del__(self):
            alive.remove(id(self))

    def pieces():
        for _ in range(5):
            piece = np.zeros(4).view(Tracked)
            alive.append(id(piece))
            yield piece
            del piece
            assert len(alive) <= 1

    to_parquet(tmp_path / "out.parquet", pieces())
    assert not alive


def test_a_file_is_complete_or_not_there(tmp_path, X):
    path = tmp_path / "out.parquet"

    def interrupted():
        yield X[:10]
        assert not path.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_parquet(path, interrupted())
    assert list(tmp_path.iterdir()) == []
    to_parquet(path, X[:10])
    with pytest.raises(ValueError, match="Piece 1 has columns"):
        to_parquet(path, [X, X[:, :2]])
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(read(from_parquet(path)), X[:10])  # what was there before
    rows = from_parquet(path, rows=5)
    to_parquet(path, (2 * piece for piece in rows))  # onto the file that is read
    np.testing.assert_array_equal(read(rows), 2 * X[:10])


@pytest.mark.parametrize(
    ("pieces", "columns", "message"),
    [
        ([], None, "There are no pieces"),
        (5, None, "pieces is a int: give an iterable of arrays"),
        (
            [np.zeros((2, 2)), np.zeros((2, 3))],
            None,
            r"Piece 1 has columns .*'x2' \(double\), but those",
        ),
        ([np.zeros(2), np.zeros(2, int)], None, r"Piece 1 has columns 'x0' \(int64\), but .* 'x0' \(double\)"),
        ([np.zeros((2, 2))], ["a"], r"Piece 0 has 2 columns, but columns names 1: \['a'\]"),
        ([np.zeros((2, 2, 2))], None, r"Piece 0 has shape \(2, 2, 2\)"),
    ],
)
def test_pieces_that_cannot_be_written(tmp_path, pieces, columns, message):
    with pytest.raises(ValueError, match=message):
        to_parquet(tmp_path / "out.parquet", pieces, columns)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="is a folder: give the path of a file"):
        to_parquet(tmp_path, [np.zeros(2)])
