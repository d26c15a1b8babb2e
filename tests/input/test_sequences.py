"""The ways in which users hand over sequences, and the way back."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from emlearn._input.sequences import check_sequence_weight, check_state_labels, read_sequences
from emlearn.sequences import SequenceWise

LENGTHS = [3, 1, 4]
N = sum(LENGTHS)
NAMES = ["hr", "bp"]
# scikit-learn 1.7 does not see the names of a polars frame that has no __dataframe__
POLARS_HAVE_NAMES = hasattr(StandardScaler().fit(pl.DataFrame({"a": [0.0, 1.0]})), "feature_names_in_")


class Holder(BaseEstimator):
    """Keeps what scikit-learn's validation sets."""


@pytest.fixture
def X():
    X = np.random.RandomState(0).normal(size=(N, 2))
    X[1, 0] = np.nan  # a missing entry
    X[5] = np.nan  # a missing step, in the middle of the last sequence
    return X


def read(X, holder=None, *, reset=True, **kwargs):
    return read_sequences(Holder() if holder is None else holder, X, reset=reset, **kwargs)


def cut(X):
    return np.split(X, np.cumsum(LENGTHS)[:-1])


def padded(X, n_steps=6):
    X3 = np.full((len(LENGTHS), n_steps, X.shape[1]), np.nan)
    for i, rows in enumerate(cut(X)):
        X3[i, : len(rows)] = rows
    return X3


def objects(parts):
    array = np.empty(len(parts), dtype=object)
    for i, part in enumerate(parts):
        array[i] = part
    return array


def labelled(values):
    return np.repeat(values, LENGTHS)


def pandas(X):
    return pd.DataFrame(X, columns=NAMES)


def polars(X):
    return pl.DataFrame(X, schema=NAMES)


# -- all ways in are one -----------------------------------------------------------------------------------


MIXED = ["b", "c", "b", "a", "c", "b", "c", "c"]

FORMS = {
    "list": lambda X: (cut(X), {}),
    "tuple": lambda X: (tuple(cut(X)), {}),
    "object array": lambda X: (objects(cut(X)), {}),
    "nested lists": lambda X: ([part.tolist() for part in cut(X)], {}),
    "list of pandas": lambda X: ([pandas(part) for part in cut(X)], {}),
    "list of polars": lambda X: ([polars(part) for part in cut(X)], {}),
    "object array of pandas": lambda X: (objects([pandas(part) for part in cut(X)]), {}),
    "list of nullable": lambda X: ([pandas(part).convert_dtypes() for part in cut(X)], {}),
    "list with ids": lambda X: ([pandas(part).assign(stay=1) for part in cut(X)], {"sequence_id": "stay"}),
    "list, id ignored": lambda X: (cut(X), {"sequence_id": "stay"}),
    "3-D": lambda X: (padded(X), {}),
    "3-D, id ignored": lambda X: (padded(X), {"sequence_id": "stay"}),
    "3-D of objects": lambda X: (padded(X).astype(object), {}),
    "groups": lambda X: (X, {"groups": labelled(["b", "a", "c"])}),
    "groups of int": lambda X: (X, {"groups": labelled([7, 2, 9]).tolist()}),
    "groups of float": lambda X: (X, {"groups": labelled([7.5, -2, 9])}),
    "groups of dates": lambda X: (X, {"groups": labelled(np.array([3, 1, 2], dtype="M8[ns]"))}),
    "groups of mixed types": lambda X: (
        X,
        {"groups": labelled([1, 2, 3]).astype(object).tolist()[:-4] + ["1"] * 4},
    ),
    "groups, frame": lambda X: (pandas(X), {"groups": labelled(["b", "a", "c"])}),
    "groups, Series": lambda X: (X, {"groups": pd.Series(labelled(["b", "a", "c"]), index=range(N, 0, -1))}),
    "groups, nullable": lambda X: (X, {"groups": pd.Series(labelled([3, 1, 2]), dtype="Int64")}),
    "groups, Categorical": lambda X: (
        X,
        {"groups": pd.Categorical(labelled(["b", "a", "c"]), categories=["unused", "a", "b", "c"])},
    ),
    "groups, polars": lambda X: (polars(X), {"groups": pl.Series(labelled(["b", "a", "c"]))}),
    "groups, polars Categorical": lambda X: (
        X,
        {"groups": pl.Series(labelled(["b", "a", "c"]), dtype=pl.Categorical)},
    ),
    "groups, objects": lambda X: (X.astype(object), {"groups": labelled([1, 2, 3])}),
    "groups, array, id ignored": lambda X: (X, {"groups": labelled([1, 2, 3]), "sequence_id": "stay"}),
    "lengths": lambda X: (X, {"lengths": LENGTHS}),
    "lengths of float": lambda X: (X, {"lengths": np.array(LENGTHS, dtype=float)}),
    "lengths, frame": lambda X: (pandas(X), {"lengths": pd.Series(LENGTHS)}),
    "column": lambda X: (pandas(X).assign(stay=labelled(["b", "a", "c"])), {"sequence_id": "stay"}),
    "first column": lambda X: (
        pd.DataFrame({"stay": labelled([5, 6, 4]), **dict(zip(NAMES, X.T, strict=True))}),
        {"sequence_id": "stay"},
    ),
    "column of categories": lambda X: (
        pandas(X).assign(stay=pd.Categorical(labelled(["b", "a", "c"]), categories=list("abcd"))),
        {"sequence_id": "stay"},
    ),
    "column, polars": lambda X: (
        polars(X).with_columns(stay=pl.Series(labelled(["b", "a", "c"]))),
        {"sequence_id": "stay"},
    ),
    "index level": lambda X: (
        pandas(X).assign(stay=labelled([2, 1, 3]), t=range(N)).set_index(["stay", "t"]),
        {"sequence_id": "stay"},
    ),
    "index": lambda X: (
        pandas(X).set_index(pd.Index(labelled([2, 1, 3]), name="stay")),
        {"sequence_id": "stay"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same(X, form):
    given, kwargs = FORMS[form](X)
    holder = Holder()
    sequences = read(given, holder, **kwargs)
    np.testing.assert_allclose(sequences.rows, X, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(sequences.lengths, LENGTHS)
    assert sequences.rows.dtype == np.float64
    assert sequences.lengths.dtype == np.intp
    assert sequences.order is None
    assert sequences.n_sequences == 3
    np.testing.assert_array_equal(sequences.offsets, [0, 3, 4, 8])
    np.testing.assert_array_equal(sequences.per_row([10, 20, 30]), labelled([10, 20, 30]))
    assert [sequences.locate(row) for row in (0, 2, 3, 4, 7)] == [(0, 0), (0, 2), (1, 0), (2, 0), (2, 3)]
    as_list = "list" in form or "3-D" in form or form in ("tuple", "object array", "object array of pandas")
    assert sequences.form == ("list" if as_list else "rows")
    assert holder.n_features_in_ == 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = read(given, holder, reset=False, **kwargs)
    np.testing.assert_array_equal(again.rows, sequences.rows)


@pytest.mark.parametrize("frame", [pandas, polars])
@pytest.mark.parametrize("how", ["list", "groups", "sequence_id", "alone"])
def test_names_of_features(X, frame, how):
    if frame is polars and not POLARS_HAVE_NAMES:
        pytest.skip("this scikit-learn does not see them")
    holder, kwargs, given = Holder(), {}, frame(X)
    if how == "list":
        given = [frame(part) for part in cut(X)]
    elif how == "groups":
        kwargs = {"groups": labelled([0, 1, 2])}
    elif how == "sequence_id":
        stay = labelled([0, 1, 2])
        given = given.with_columns(stay=stay) if frame is polars else given.assign(stay=stay)
        kwargs = {"sequence_id": "stay"}
    read(given, holder, **kwargs)
    np.testing.assert_array_equal(holder.feature_names_in_, NAMES)
    assert holder.n_features_in_ == 2

    with pytest.raises(ValueError, match=r"feature names should match.*\n.*unseen at fit time:\n- x"):
        read([pd.DataFrame(X, columns=["x", "bp"])], holder, reset=False)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Holder"):
        read([X], holder, reset=False)
    read([X], holder)
    assert not hasattr(holder, "feature_names_in_")
    with pytest.warns(UserWarning, match="X has feature names, but Holder was fitted without"):
        read(given, holder, reset=False, **kwargs)


@pytest.mark.parametrize("given", [lambda X: X, lambda X: [X, X], lambda X: np.stack([X, X])])
def test_other_number_of_features(X, given):
    holder = Holder()
    read(given(X), holder)
    with pytest.raises(ValueError, match="X has 1 features, but Holder is expecting 2 features as input"):
        read(given(X[:, :1]), holder, reset=False)


@pytest.mark.parametrize("given", [lambda X: X, pandas, polars, lambda X: X.astype(object), np.ndarray.tolist])
def test_rows_alone_are_one_sequence(X, given):
    sequences = read(given(X))
    np.testing.assert_array_equal(sequences.rows, X)
    np.testing.assert_array_equal(sequences.lengths, [N])
    assert sequences.form == "rows"


@pytest.mark.parametrize("rows", [[[1, 2], [3, 4]], ([1, 2], [3, 4])])
def test_nested_lists_of_numbers_are_rows(rows):
    sequences = read(rows)
    np.testing.assert_array_equal(sequences.rows, [[1.0, 2.0], [3.0, 4.0]])
    assert sequences.form == "rows"


@pytest.mark.parametrize(
    "groups",
    [MIXED, pd.Categorical(MIXED), pl.Series(MIXED), [{"a": 1, "b": 5, "c": 3}[group] for group in MIXED]],
)
def test_interleaved_groups(X, groups):
    """Sequences come in order of first appearance, their rows as they came."""
    mixed = np.array([0, 10, 1, 20, 11, 2, 12, 13], dtype=float)[:, None]
    sequences = read(mixed, groups=groups)
    np.testing.assert_array_equal(sequences.rows[:, 0], [0, 1, 2, 10, 11, 12, 13, 20])
    np.testing.assert_array_equal(sequences.lengths, [3, 4, 1])
    np.testing.assert_array_equal(mixed[sequences.order], sequences.rows)
    for values in (sequences.rows[:, 0], sequences.rows, np.stack([sequences.rows] * 3, axis=1)):
        restored = sequences.restore(values)
        np.testing.assert_array_equal(restored[sequences.order], values)
    np.testing.assert_array_equal(sequences.restore(sequences.rows), mixed)
    frame = pd.DataFrame({"id": groups, "x": mixed[:, 0]})
    np.testing.assert_array_equal(read(frame, sequence_id="id").order, sequences.order)


def test_groups_of_no_order(X):
    """Many groups, against the plain definition."""
    rng = np.random.RandomState(1)
    groups, rows = rng.randint(40, size=500), rng.normal(size=(500, 3))
    sequences = read(rows, groups=groups)
    _, first = np.unique(groups, return_index=True)
    parts = [rows[groups == groups[row]] for row in np.sort(first)]
    np.testing.assert_array_equal(sequences.rows, np.concatenate(parts))
    np.testing.assert_array_equal(sequences.lengths, [len(part) for part in parts])
    np.testing.assert_array_equal(sequences.restore(sequences.rows), rows)


def test_restore_mirrors_a_list(X):
    sequences = read(cut(X))
    for values, shape in ((np.arange(N), ()), (X, (2,)), (np.zeros((N, 3, 3)), (3, 3))):
        parts = sequences.restore(values)
        assert parts.dtype == object
        assert parts.shape == (3,)
        assert [part.shape for part in parts] == [(length, *shape) for length in LENGTHS]
        np.testing.assert_array_equal(np.concatenate(list(parts)), values)
    assert read([X[:1]]).restore(np.zeros((1, 2)))[0].shape == (1, 2)


def test_missing_steps_stay_and_padding_goes(X):
    given = np.full((2, 5, 2), np.nan)
    given[0, 1] = 1  # NaN before and between
    given[0, 3] = 2
    given[1, :, 0] = 3  # one feature never seen
    sequences = read(given)
    np.testing.assert_array_equal(sequences.lengths, [4, 5])
    np.testing.assert_array_equal(sequences.rows, np.concatenate([given[0, :4], given[1]]))
    full = np.arange(12.0).reshape(2, 3, 2)
    assert np.shares_memory(read(full).rows, full)
    assert read(full.astype(int)).rows.dtype == np.float64


def test_dtypes(X):
    for given in (X, cut(X), padded(X)):
        small = [part.astype(np.float32) for part in given]
        assert read(np.stack(small) if given is X else small).rows.dtype == np.float32
        assert read(given).rows.dtype == np.float64
    assert read([np.array([[1], [2]]), np.array([[True]])]).rows.dtype == np.float64
    assert read([pandas(X).astype(np.float32)]).rows.dtype == np.float32
    assert np.shares_memory(read(X).rows, X)


def test_nullable_columns_become_nan():
    frame = pd.DataFrame(
        {"a": pd.array([1.5, None, 2], dtype="Float64"), "b": pd.array([1, 2, None], dtype="Int64")}
    )
    expected = [[1.5, 1], [np.nan, 2], [2, np.nan]]
    nulls = pl.DataFrame({"a": [1.5, None, 2], "b": [1, 2, None]})
    for given in (frame, [frame], [frame, frame], nulls, [nulls]):
        np.testing.assert_array_equal(read(given).rows[:3], expected)
    np.testing.assert_array_equal(read([frame[["a"]]]).rows[:, 0], [1.5, np.nan, 2])


def test_input_is_left_alone(X):
    before = X.copy()
    frame = pandas(X).assign(stay=MIXED)
    read(frame, sequence_id="stay")
    read([frame], sequence_id="stay")
    read(X, groups=MIXED)
    assert list(frame.columns) == [*NAMES, "stay"]
    np.testing.assert_array_equal(X, before)


# -- what is refused ---------------------------------------------------------------------------------------


def with_columns(X, *names):
    return pd.DataFrame(X, columns=list(names))


SEVEN = np.arange(14.0).reshape(7, 2)
REFUSED = {
    "groups and lengths": (SEVEN, {"groups": [0] * 7, "lengths": [7]}, "groups and lengths .*: drop lengths"),
    "groups and list": ([SEVEN], {"groups": [0] * 7}, "one sequence per entry.*: drop groups"),
    "lengths and list": ([SEVEN], {"lengths": [7]}, "one sequence per entry.*: drop lengths"),
    "both and list": ([SEVEN], {"lengths": [7], "groups": [0] * 7}, "drop groups and lengths"),
    "lengths and 3-D": (SEVEN[None], {"lengths": [7]}, "one sequence per entry.*: drop lengths"),
    "groups and id": (
        with_columns(SEVEN, "a", "b"),
        {"groups": [0] * 7, "sequence_id": "a"},
        "sequence_id='a' and groups both.*: drop groups, or set sequence_id=None",
    ),
    "lengths and id": (
        with_columns(SEVEN, "a", "b"),
        {"lengths": [7], "sequence_id": "a"},
        "sequence_id='a' and lengths both",
    ),
    "id of an array": (
        SEVEN,
        {"sequence_id": "a"},
        "names a column.*X is a ndarray: give a DataFrame, or groups=",
    ),
    "id of nested lists": (SEVEN.tolist(), {"sequence_id": "a"}, "X is a list: give a DataFrame, or groups="),
    "unknown id": (
        with_columns(SEVEN, "a", "b"),
        {"sequence_id": "stay"},
        r"sequence_id='stay' is not in X, which has the columns \['a', 'b'\]\.",
    ),
    "unknown id, index": (
        with_columns(SEVEN, "a", "b").rename_axis("time"),
        {"sequence_id": "stay"},
        r"columns \['a', 'b'\] and the index levels \['time'\]",
    ),
    "unknown id, polars": (
        pl.DataFrame(SEVEN, schema=["a", "b"]),
        {"sequence_id": "stay"},
        r"not in X, which has the columns \['a', 'b'\]\.",
    ),
    "unknown id, many columns": (
        pd.DataFrame(np.ones((2, 50))),
        {"sequence_id": "stay"},
        r"19, \.\.\. \(50 in all\)\]",
    ),
    "id alone": (pd.DataFrame({"a": [1, 2]}), {"sequence_id": "a"}, "no column but sequence_id='a'"),
    "short groups": (SEVEN, {"groups": [0] * 6}, r"groups has shape \(6,\), but X has 7 rows"),
    "wide groups": (SEVEN, {"groups": np.zeros((7, 2))}, r"groups has shape \(7, 2\), but X has 7 rows"),
    "zero length": (SEVEN, {"lengths": [4, 0, 3]}, r"lengths\[1\] is 0: .* an integer, 1 or more"),
    "negative length": (SEVEN, {"lengths": [8, -1]}, r"lengths\[1\] is -1:"),
    "broken length": (SEVEN, {"lengths": [3.5, 3.5]}, r"lengths\[0\] is 3\.5:"),
    "missing length": (SEVEN, {"lengths": [7, np.nan]}, r"lengths\[1\] is nan:"),
    "words as lengths": (SEVEN, {"lengths": ["7"]}, "lengths=.*give a list of integers"),
    "one length": (SEVEN, {"lengths": 7}, "lengths=7: give a list of integers"),
    "sum of lengths": (
        SEVEN,
        {"lengths": [4, 4]},
        "lengths add up to 8, but X has 7 rows.*cross-validation.*a list of sequences, groups or sequence_id",
    ),
    "no lengths": (SEVEN, {"lengths": []}, "lengths add up to 0, but X has 7 rows"),
    "empty list": ([], {}, "X is an empty list"),
    "empty object array": (objects([]), {}, "X is an empty list"),
    "no rows": (SEVEN[:0], {}, r"0 sample\(s\)"),
    "no rows, groups": (SEVEN[:0], {"groups": []}, r"0 sample\(s\)"),
    "no sequences, 3-D": (np.zeros((0, 3, 2)), {}, r"0 sample\(s\)"),
    "no steps, 3-D": (np.zeros((3, 0, 2)), {}, "Sequence 0 is empty"),
    "no features": ([np.zeros((3, 0))], {}, r"0 feature\(s\)"),
    "no features, 3-D": (np.zeros((2, 3, 0)), {}, r"0 feature\(s\)"),
    "empty sequence": ([SEVEN, SEVEN[:0]], {}, "Sequence 1 is empty"),
    "empty frame": ([pandas(SEVEN), pandas(SEVEN[:0])], {}, "Sequence 1 is empty"),
    "all padding": (
        np.stack([SEVEN, np.full_like(SEVEN, np.nan)]),
        {},
        "Sequence 1 has nothing but NaN",
    ),
    "ragged numbers": (
        [np.arange(3.0), np.arange(4.0)],
        {},
        r"Sequence 0 is one-dimensional.*reshape\(-1, 1\)",
    ),
    "ragged lists": ([[1, 2], [3]], {}, r"Sequence 0 is one-dimensional.*reshape\(-1, 1\)"),
    "objects of one dimension": (objects([np.arange(3.0)] * 2), {}, "Sequence 0 is one-dimensional"),
    "ragged Series": ([pd.Series([1, 2]), pd.Series([1.0])], {}, "Sequence 0 is one-dimensional"),
    "ragged polars Series": ([pl.Series([1, 2]), pl.Series([1.0])], {}, "Sequence 0 is one-dimensional"),
    "second of one dimension": ([SEVEN, SEVEN[:, 0]], {}, "Sequence 1 is one-dimensional"),
    "three dimensions": ([SEVEN, SEVEN[None]], {}, r"Sequence 1 has the shape \(1, 7, 2\)"),
    "nothing": ([SEVEN, None], {}, r"Sequence 1 has the shape \(\)"),
    "widths": ([SEVEN, SEVEN, SEVEN[:, :1]], {}, "Sequence 2 has 1 features, but sequence 0 has 2"),
    "columns": (
        [with_columns(SEVEN, "a", "b"), with_columns(SEVEN, "b", "a")],
        {},
        r"Sequence 1 has columns \['b', 'a'\], but sequence 0 has \['a', 'b'\]",
    ),
    "columns, polars": (
        [pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [1], "c": [1]})],
        {},
        r"Sequence 1 has columns \['a', 'c'\], but sequence 0 has \['a'\]",
    ),
    "frame and array": ([pandas(SEVEN), SEVEN], {}, "Sequence 1 is a ndarray, but sequence 0 is a DataFrame"),
    "array and frame": ([SEVEN, pandas(SEVEN)], {}, "Sequence 1 is a DataFrame, but sequence 0 is a ndarray"),
    # scikit-learn's own words
    "one dimension": (np.arange(3.0), {}, "Expected 2D array, got 1D array instead"),
    "list of one dimension": ([1.0, 2.0], {}, "Expected 2D array, got 1D array instead"),
    "four dimensions": (np.zeros((2, 2, 2, 2)), {}, "Found array with dim 4"),
    "strings": (np.array([["a", "b"]]), {}, r"X has entries that are no numbers in columns \[0, 1\]"),
    "strings in a list": (
        [np.array([["a", "b"]])],
        {},
        r"Sequence 0 has .* no numbers in columns \[0, 1\]",
    ),
    "strings in a frame": (
        [pd.DataFrame({"a": ["u"]})],
        {},
        r"Sequence 0 has .* columns \['a'\]",
    ),
    "complex": (SEVEN + 1j, {}, "Complex data not supported"),
    "complex in a list": ([SEVEN, SEVEN + 1j], {}, "Complex data not supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    given, kwargs, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        read(given, **kwargs)


def test_sparse_is_refused():
    with pytest.raises(TypeError, match="Sparse data was passed"):
        read(sparse.csr_array(SEVEN))
    with pytest.raises(TypeError, match=r"Sequence 1 is sparse.*toarray\(\)"):
        read([SEVEN, sparse.csr_array(SEVEN)])
    with pytest.raises(TypeError, match="Sequence 0 is sparse"):
        read([sparse.csr_matrix(SEVEN)])


@pytest.mark.parametrize(
    "groups",
    [
        [0, 0, None, 1, 1, 1, 1],
        ["a", "a", np.nan, "b", "b", "b", "b"],
        np.array([0, 0, np.nan, 1, 1, 1, np.nan]),
        pd.Series([0, 0, pd.NA, 1, 1, 1, 1], dtype="Int64"),
        pd.Series(["a", "a", None, "b", "b", "b", "b"]),
        pd.Categorical(["a", "a", None, "b", "b", "b", "b"]),
        pd.to_datetime(["2020", "2020", None, "2021", "2021", "2021", "2021"]),
        pd.to_datetime(["2020", "2020", None, "2021", "2021", "2021", "2021"], utc=True),
        pl.Series(["a", "a", None, "b", "b", "b", "b"]),
        pl.Series([0, 0, None, 1, 1, 1, 1]),
    ],
    ids=lambda groups: f"{type(groups).__name__} {getattr(groups, 'dtype', '')}",
)
def test_missing_groups_are_named(groups):
    with pytest.raises(ValueError, match="The group of row 2 is missing"):
        read(SEVEN, groups=groups)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_entries_are_named(value):
    kind = "NaN" if np.isnan(value) else "infinity"
    advice = "Holder does not accept missing values" if np.isnan(value) else "Remove or replace it"
    X = np.random.RandomState(0).normal(size=(N, 2))
    if not np.isnan(value):
        X[0, 0] = np.nan  # does not hide it
        X[6, 0] = np.inf  # is not the first
    X[5, 1] = value
    allow = {"allow_nan": not np.isnan(value)}

    def refuses(given, where, **kwargs):
        with pytest.raises(ValueError, match=f"^Input X contains {kind} in {where}. {advice}"):
            read(given, **kwargs, **allow)

    refuses(X, "column 1, row 5")
    refuses(pandas(X), "column 'bp', row 5")
    refuses([X], "column 1, row 5")
    refuses(cut(X), "column 1, sequence 2, row 1")
    refuses([pandas(part) for part in cut(X)], "column 'bp', sequence 2, row 1")
    refuses(X, r"column 1, sequence 2, row 1 \(row 5 of X\)", lengths=LENGTHS)
    refuses(
        X[[4, 0, 5, 1, 6, 2, 7, 3]],
        r"column 1, sequence 0, row 1 \(row 2 of X\)",
        groups=[2, 0, 2, 0, 2, 0, 2, 1],
    )


def test_entries_far_down_are_named():
    X = np.zeros((40_000, 1))
    X[100] = np.nan
    X[39_999] = np.inf
    with pytest.raises(ValueError, match="infinity in column 0, row 39999"):
        read(X)
    with pytest.raises(ValueError, match="NaN in column 0, row 100"):
        read(X, allow_nan=False)
    X[100], X[39_999] = 1e308, 1e308
    with np.errstate(all="raise"):
        read(X)


class Echo(TransformerMixin, BaseEstimator):
    """Reads sequences and gives them back."""

    def fit(self, X, y=None, sample_weight=None):
        sequences = read_sequences(self, X, reset=True)
        self.weight_ = check_sequence_weight(sample_weight, sequences)
        return self

    def transform(self, X):
        check_is_fitted(self)
        sequences = read_sequences(self, X, reset=False)
        return sequences.restore(sequences.rows)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@parametrize_with_checks(
    [Echo()],
    expected_failed_checks=lambda estimator: dict.fromkeys(
        ["check_sample_weight_equivalence_on_dense_data", "check_sample_weights_not_overwritten"],
        "the rows form one sequence, which has one weight",
    ),
)
def test_scikit_learn_checks_of_reading(estimator, check):
    check(estimator)


# -- weights -----------------------------------------------------------------------------------------------


def test_weights_of_sequences(X):
    weight = [2.0, 0.0, 1.0]
    as_list, as_rows = read(cut(X)), read(X, groups=labelled([0, 1, 2]))
    assert check_sequence_weight(None, as_list) is None
    for sequences in (as_list, as_rows):
        for given in (weight, np.array(weight, dtype=np.float32), pd.Series(weight, index=[5, 6, 7])):
            checked = check_sequence_weight(given, sequences)
            assert checked.dtype == np.float64
            np.testing.assert_array_equal(checked, weight)
        np.testing.assert_array_equal(check_sequence_weight(3, sequences), [3, 3, 3])
    np.testing.assert_array_equal(check_sequence_weight(labelled(weight), as_rows), weight)


def test_weights_of_rows_follow_their_groups():
    sequences = read(np.arange(N)[:, None], groups=MIXED)
    weight = np.array([{"a": 5.0, "b": 2.0, "c": 0.5}[group] for group in MIXED])
    np.testing.assert_array_equal(check_sequence_weight(weight, sequences), [2, 0.5, 5])
    weight[6] = 1
    with pytest.raises(ValueError, match=r"is 0\.5 at .* sequence 1 and 1 in its row 2: a weight counts whole"):
        check_sequence_weight(weight, sequences)


def test_weights_of_one_sequence(X):
    for weight in (np.full(N, 2.0), [2.0], 2.0):
        np.testing.assert_array_equal(check_sequence_weight(weight, read(X)), [2.0])
    with pytest.raises(ValueError, match="a weight counts whole sequences"):
        check_sequence_weight(np.arange(1, N + 1), read(X))
    single = read(X, groups=np.arange(N)[::-1])  # as many sequences as rows
    np.testing.assert_array_equal(check_sequence_weight(np.arange(N), single), np.arange(N))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, -1, -2], "negative values, the first for sequence 1"),
        ([0, 0, 0], "zero for every sequence"),
        (0, "zero for every sequence"),
        (-1.0, "negative values, the first for sequence 0"),
        (np.inf, "sample_weight=inf: a weight must be a finite number"),
        ([1, np.nan, 1], "NaN"),
        ([1, np.inf, 1], "infinity"),
        ([1, 1], r"sample_weight has shape \(2,\), but X has 3 sequences.*one weight per sequence"),
        (np.ones((3, 2)), r"shape \(3, 2\), but X has 3 sequences"),
        (["a", "b", "c"], "must be an array of numbers, but holds 'a'"),
    ],
)
def test_bad_weights(X, weight, message):
    for sequences in (read(cut(X)), read(X, lengths=LENGTHS)):
        with pytest.raises(ValueError, match=message):
            check_sequence_weight(weight, sequences)


def test_weights_of_rows_are_for_rows(X):
    with pytest.raises(ValueError, match=r"shape \(8,\), but X has 3 sequences: give one weight per sequence"):
        check_sequence_weight(np.ones(N), read(cut(X)))
    with pytest.raises(ValueError, match=r"shape \(7,\), but X has 3 sequences in 8 rows"):
        check_sequence_weight(np.ones(N - 1), read(X, lengths=LENGTHS))


# -- labels of states --------------------------------------------------------------------------------------


def test_labels_of_states(X):
    labels = np.array([0, 2, -1, 1, -1, -1, 0, 1])
    as_list = read(cut(X))
    assert check_state_labels(None, as_list, 3) is None
    unknown = np.where(labels < 0, np.nan, labels)
    nullable = pd.Series(unknown).astype("Int64")
    for parts in (
        cut(labels),
        objects(cut(labels)),
        [part.tolist() for part in cut(labels)],
        cut(unknown),
        [nullable[:3], nullable[3:4], nullable[4:]],
        [pl.Series(part) for part in cut(labels)],
        [labels[:3].astype(np.int8), [None if label < 0 else label for label in labels[3:4]], unknown[4:]],
    ):
        checked = check_state_labels(parts, as_list, 3)
        assert checked.dtype == np.intp
        np.testing.assert_array_equal(checked, labels)
    checked = check_state_labels(labels.reshape(2, 4), read(X.reshape(2, 4, 2)), 3)
    np.testing.assert_array_equal(checked, labels)
    for rows in (read(X), read(X, lengths=LENGTHS)):
        for given in (labels, unknown, nullable, labels.tolist(), pl.Series(labels)):
            np.testing.assert_array_equal(check_state_labels(given, rows, 3), labels)
    sequences = read(X, groups=MIXED)
    np.testing.assert_array_equal(check_state_labels(labels, sequences, 3), labels[sequences.order])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 0, 0, 3, 0, 0], "state_labels is 3 in sequence 2, row 1: .*states 0 to 2, or -1"),
        ([0, 0, -2, 0, 0, 0, 0, 0], "state_labels is -2 in sequence 0, row 2"),
        ([0, 0, 0, 0.5, np.nan, 0, 0, 0], r"state_labels is 0\.5 in sequence 1, row 0"),
        ([0, 0, 0, np.inf, 0, 0, 0, 0], "state_labels is inf in sequence 1, row 0|infinity"),
        (["a"] * 8, "must be an array of numbers, but holds 'a'"),
    ],
)
def test_bad_labels(X, labels, message):
    labels = np.array(labels)
    for given, sequences in ((labels, read(X, lengths=LENGTHS)), (cut(labels), read(cut(X)))):
        with pytest.raises(ValueError, match=message):
            check_state_labels(given, sequences, 3)


def test_labels_of_wrong_length(X):
    zeros = np.zeros(N, dtype=int)
    with pytest.raises(ValueError, match=r"state_labels has shape \(7,\), but X has 8 rows"):
        check_state_labels(zeros[1:], read(X, lengths=LENGTHS), 3)
    with pytest.raises(ValueError, match="state_labels has 8 entries, but X has 3 sequences"):
        check_state_labels(zeros, read(cut(X)), 3)
    with pytest.raises(ValueError, match="state_labels has 0 entries, but X has 3 sequences"):
        check_state_labels(0, read(cut(X)), 3)
    with pytest.raises(ValueError, match=r"state_labels\[1\] has shape \(2,\), but sequence 1 has 1 rows"):
        check_state_labels([zeros[:3], zeros[:2], zeros[:4]], read(cut(X)), 3)
    with pytest.raises(ValueError, match=r"state_labels\[0\] has shape \(\), but sequence 0 has 3 rows"):
        check_state_labels([0, 1, 2], read(cut(X)), 3)


# -- SequenceWise ------------------------------------------------------------------------------------------


@parametrize_with_checks([SequenceWise(StandardScaler()), SequenceWise(PCA(n_components=1, random_state=0))])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("make", [cut, lambda X: tuple(cut(X)), lambda X: objects(cut(X)), padded])
def test_sequences_in_sequences_out(X, make):
    scaler = SequenceWise(StandardScaler())
    expected = StandardScaler().fit_transform(X)
    for result in (scaler.fit_transform(make(X)), scaler.fit(make(X)).transform(make(X))):
        assert result.dtype == object
        assert [len(part) for part in result] == LENGTHS
        np.testing.assert_allclose(np.concatenate(list(result)), expected, rtol=0, atol=1e-12)
    back = scaler.inverse_transform(result)
    np.testing.assert_allclose(np.concatenate(list(back)), X, rtol=0, atol=1e-12)
    assert scaler.n_features_in_ == 2
    assert not hasattr(scaler, "feature_names_in_")
    # Sequences cut elsewhere, and rows, go through the same scaler.
    np.testing.assert_allclose(scaler.transform([X[2:5]])[0], expected[2:5])
    np.testing.assert_allclose(scaler.transform(X), expected)


@pytest.mark.parametrize("frame", [pandas, polars])
def test_frames_through_a_transformer(X, frame):
    given = [frame(part) for part in cut(X)]
    scaler = SequenceWise(StandardScaler()).fit(given)
    if frame is pandas or POLARS_HAVE_NAMES:
        np.testing.assert_array_equal(scaler.feature_names_in_, NAMES)
        np.testing.assert_array_equal(scaler.get_feature_names_out(), NAMES)
        with pytest.raises(ValueError, match="feature names should match"):
            scaler.transform([with_columns(X, "a", "b")])
    np.testing.assert_allclose(
        np.concatenate(list(scaler.transform(given))), StandardScaler().fit_transform(X), atol=1e-12
    )
    with pytest.raises(ValueError, match="Sequence 1 has columns"):
        scaler.transform([given[0], given[1][["bp"]]])


@pytest.mark.parametrize(("container", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_set_output(X, container, kind):
    given = [pandas(part).set_index(pd.Index(range(10, 10 + len(part)))) for part in cut(X)]
    inner = StandardScaler()
    scaler = SequenceWise(inner).set_output(transform=container)
    expected = StandardScaler().fit_transform(X)
    for result in (
        scaler.fit_transform(given),
        scaler.transform(given),
        clone(scaler).fit_transform(given),
        SequenceWise(StandardScaler()).fit(given).set_output(transform=container).transform(given),
        SequenceWise(StandardScaler().set_output(transform=container)).fit_transform(given),
        make_pipeline(SequenceWise(StandardScaler())).set_output(transform=container).fit_transform(given),
    ):
        assert [type(part) for part in result] == [kind] * 3
        assert list(result[2].columns) == NAMES
        if kind is pd.DataFrame:
            assert [list(part.index) for part in result] == [list(part.index) for part in given]
        np.testing.assert_allclose(np.concatenate([part.to_numpy() for part in result]), expected)
    assert isinstance(scaler.transform(pandas(X)), kind)
    assert isinstance(scaler.set_output(transform="default").transform(given)[0], np.ndarray)
    assert scaler.set_output() is scaler
    assert not hasattr(inner, "_sklearn_output_config"), "the user's transformer was changed"
    with sklearn.config_context(transform_output=container):
        assert isinstance(SequenceWise(StandardScaler()).fit_transform(given)[0], kind)


def test_transformer_sees_the_frames(X):
    """Columns that are no numbers are the transformer's business."""
    given = [pandas(part).assign(ward=ward) for part, ward in zip(cut(X), ["A", "B", "A"], strict=True)]
    columns = ColumnTransformer([("ward", OneHotEncoder(), ["ward"]), ("rest", StandardScaler(), NAMES)])
    result = SequenceWise(columns).fit_transform(given)
    np.testing.assert_allclose(np.concatenate(list(result)), columns.fit_transform(pd.concat(given)))
    encoded = SequenceWise(OneHotEncoder()).fit_transform([part[["ward"]] for part in given])
    assert [part.shape for part in encoded] == [(length, 2) for length in LENGTHS]
    assert sparse.issparse(encoded[0])


def test_transformers_without_everything(X):
    def double(X):
        return 2 * X

    doubling = SequenceWise(FunctionTransformer(double))
    np.testing.assert_array_equal(doubling.fit_transform(cut(X))[2], 2 * cut(X)[2])

    class Bare(BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = X.shape[1]
            return self

        def transform(self, X):
            return X + 1

    bare = SequenceWise(Bare())
    assert not hasattr(bare, "inverse_transform")
    assert not hasattr(bare, "get_feature_names_out")
    assert not hasattr(bare, "set_output")
    np.testing.assert_array_equal(bare.fit_transform(cut(X))[0], cut(X)[0] + 1)
    with pytest.raises(TypeError, match="transformer=3 has no fit and transform"):
        SequenceWise(3).fit(X)
    with pytest.raises(TypeError, match="has no fit and transform"):
        SequenceWise(None).fit_transform([X])


def test_state_of_sequence_wise(X):
    scaler = SequenceWise(StandardScaler())
    for method in ("transform", "inverse_transform", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(scaler, method)(*([] if method == "get_feature_names_out" else [cut(X)]))
    assert not hasattr(scaler, "n_features_in_")
    assert not hasattr(scaler.transformer, "mean_")
    scaler.fit(cut(X))
    assert not hasattr(scaler.transformer, "mean_"), "a clone is fitted"
    again = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(again.transform(cut(X))[2], scaler.transform(cut(X))[2])
    with pytest.raises(ValueError, match="Sequence 1 is empty"):
        scaler.fit([X, X[:0]])
    assert scaler.transformer_.n_samples_seen_.max() == 7, "a failed fit changes nothing"


def test_tags_are_those_of_the_transformer():
    assert get_tags(SequenceWise(StandardScaler())).input_tags.allow_nan
    assert get_tags(SequenceWise(SimpleImputer())).input_tags.allow_nan
    assert not get_tags(SequenceWise(PCA())).input_tags.allow_nan
    assert get_tags(SequenceWise(StandardScaler())).input_tags.three_d_array
    assert get_tags(SequenceWise(StandardScaler())).transformer_tags.preserves_dtype == ["float64", "float32"]
    for transformer in (None, StandardScaler):
        assert get_tags(SequenceWise(transformer)).transformer_tags is not None


class Spread(BaseEstimator):
    """Scores how far the sequences are from zero: prefers centred ones."""

    def fit(self, X, y=None):
        self.sequences_ = read_sequences(self, X, reset=True)
        return self

    def score(self, X, y=None):
        return -abs(float(np.mean(read_sequences(self, X, reset=False).rows)))


@pytest.mark.parametrize("make", [list, objects, lambda parts: [pandas(part) for part in parts], np.stack])
def test_grid_search_over_sequences(make):
    rng = np.random.RandomState(0)
    X = make([5 + rng.normal(size=(6, 2)) for _ in range(9)])
    pipeline = make_pipeline(SequenceWise(StandardScaler()), Spread())
    grid = {"sequencewise__transformer__with_mean": [False, True]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X)
    assert search.best_params_ == {"sequencewise__transformer__with_mean": True}
    assert search.best_estimator_[-1].sequences_.n_sequences == 9


def test_supervised_transformers_get_y_with_rows(X):
    seen = []

    class Spy(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            seen.append(y)
            return super().fit(X)

    y = np.arange(N)
    SequenceWise(Spy()).fit(X, y)
    SequenceWise(Spy()).fit(cut(X), [0, 1, 2])
    assert seen[0] is y
    assert seen[1] is None


@pytest.mark.parametrize(
    "make", [lambda rows: rows[1:], lambda rows: np.repeat(rows, 2, axis=0), lambda rows: rows[:, 0]]
)
def test_a_transformer_must_keep_the_rows(make, X):
    with pytest.raises(ValueError, match=r"makes an array of shape .* of \d+ rows"):
        SequenceWise(FunctionTransformer(make)).fit_transform(cut(X))


def test_masked_entries_are_missing(X):
    masked = np.ma.masked_array(X, mask=False)
    masked[2, 0] = np.ma.masked
    expected = np.array(X)
    expected[2, 0] = np.nan
    np.testing.assert_array_equal(read(masked).rows, expected)


def test_dates_are_named():
    frame = pd.DataFrame({"a": [1.0, 2.0], "day": pd.date_range("2020", periods=2)})
    with pytest.raises(ValueError, match=r"no numbers in columns \['day'\].*sequence_id"):
        read(frame)
