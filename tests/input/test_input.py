"""What users hand over: all estimators and functions read it alike, and refuse it in the same words."""

import datetime
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import Ridge

from emlearn import (
    HMMEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
    MultipleImputation,
    ampute,
    little_mcar_test,
    missing_patterns,
    overimpute,
    pool,
)
from emlearn._input.arrays import read_array
from emlearn._input.columns import find_columns
from emlearn._input.tables import read_table

N = 24
ROWS = np.round(np.random.RandomState(0).normal(size=(N, 2)), 2)
ROWS[::5, 1] += 3.0
Y = np.round(ROWS @ [1.0, -1.0] + np.random.RandomState(1).normal(size=N), 2)
CLASSES = (Y > 0).astype(int)
REGRESSIONS = {
    "MixtureOfLinearRegressions": lambda: MixtureOfLinearRegressions(1, n_init=1, random_state=0),
    "MixtureOfExperts": lambda: MixtureOfExperts(1, n_init=1, random_state=0),
    "MixtureOfExpertsClassifier": lambda: MixtureOfExpertsClassifier(1, alpha=1.0, random_state=0),
}
# How each is given X: ``fit``, or what takes its place in a function.
FITS = {
    "GaussianMixtureEM": lambda X: GaussianMixtureEM(1).fit(X),
    "EMImputer": lambda X: EMImputer().fit(X),
    "HMMEM": lambda X: HMMEM(1).fit(X),
    "MultipleImputation": lambda X: MultipleImputation(Ridge(), n_imputations=2, random_state=0).fit(X, Y),
    **{
        name: lambda X, make=make, y=CLASSES if "Classifier" in name else Y: make().fit(X, y)
        for name, make in REGRESSIONS.items()
    },
}
FUNCTIONS = {
    "missing_patterns": missing_patterns,
    "little_mcar_test": little_mcar_test,
    "ampute": lambda X: ampute(X, random_state=0),
    "overimpute": lambda X: overimpute(EMImputer(), X, n_folds=2, random_state=0),
}
every_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
everything = pytest.mark.parametrize("fit", [*FITS.values(), *FUNCTIONS.values()], ids=[*FITS, *FUNCTIONS])


def numbers_of(fitted):
    """Some numbers that depend on X, to tell whether two fits saw the same."""
    names = ("means_", "transmat_", "coef_", "log_likelihood_", "mean_")
    if isinstance(fitted, MultipleImputation):
        return np.array([model.coef_ for model in fitted.estimators_])
    return np.concatenate([np.ravel(getattr(fitted, name)) for name in names if hasattr(fitted, name)])


# -- text and time -----------------------------------------------------------------------------------------


SPANS = (1000 * ROWS).astype("timedelta64[ms]")
TEXT = ROWS.astype(str)
SECOND = [[first, str(second)] for first, second in ROWS.tolist()]
NO_NUMBERS = {
    "rows of text digits": (TEXT.tolist(), "[0, 1]"),
    "one column of text digits": (SECOND, "[1]"),
    "array of text digits": (TEXT, "[0, 1]"),
    "array of bytes": (TEXT.astype("S"), "[0, 1]"),
    "objects of text digits": (TEXT.astype(object), "[0, 1]"),
    "masked text digits": (np.ma.masked_array(TEXT, mask=False), "[0, 1]"),
    "spans of time": (SPANS, "[0, 1]"),
    "spans of nanoseconds": (SPANS.astype("timedelta64[ns]"), "[0, 1]"),
    "masked spans of time": (np.ma.masked_array(SPANS, mask=False), "[0, 1]"),
    "rows of spans": ([[a, datetime.timedelta(seconds=b)] for a, b in ROWS.tolist()], "[1]"),
    "rows of NumPy's spans": (SPANS.tolist(), "[0, 1]"),
    "dates": (SPANS.astype("timedelta64[ns]").view("datetime64[ns]"), "[0, 1]"),
    "complex objects": ((ROWS + 1j).astype(object), "[0, 1]"),
    "pandas, text digits": (pd.DataFrame(SECOND, columns=["a", "b"]), "['b']"),
    "pandas, spans": (pd.DataFrame({"a": ROWS[:, 0], "b": SPANS[:, 0]}), "['b']"),
    "pandas, dates": (pd.DataFrame({"a": pd.date_range("2020", periods=N), "b": ROWS[:, 0]}), "['a']"),
    "pandas, periods": (pd.DataFrame({"a": pd.period_range("2020", periods=N), "b": ROWS[:, 0]}), "['a']"),
    "pandas, intervals": (pd.DataFrame({"a": pd.interval_range(0, N), "b": ROWS[:, 0]}), "['a']"),
    "pandas, categories": (pd.DataFrame(SECOND, columns=["a", "b"]).astype({"b": "category"}), "['b']"),
    "pandas, complex": (pd.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1] + 1j}), "['b']"),
    "polars, text digits": (pl.DataFrame(SECOND, schema=["a", "b"], orient="row"), "['b']"),
    "polars, spans": (pl.DataFrame({"a": ROWS[:, 0], "b": SPANS[:, 0]}), "['b']"),
    "polars, dates": (pl.DataFrame({"a": [datetime.date(2020, 1, 1)] * N, "b": ROWS[:, 0]}), "['a']"),
}


# They ask what is missing, and nothing else.
OF_ANY_TABLE = ("missing_patterns", "little_mcar_test", "ampute")
OF_CATEGORIES = ("EMImputer", "MultipleImputation", "overimpute")


def takes(name, case):
    is_category = any(word in case for word in ("text", "bytes", "categories"))
    return name in OF_ANY_TABLE or (name in OF_CATEGORIES and is_category)


REFUSED = [(name, case) for name in {**FITS, **FUNCTIONS} for case in NO_NUMBERS if not takes(name, case)]


@pytest.mark.parametrize(("name", "case"), REFUSED)
def test_text_and_time_are_refused_in_the_same_words(name, case):
    (X, columns), fit = NO_NUMBERS[case], {**FITS, **FUNCTIONS}[name]
    message = f"X has entries that are no numbers in columns {columns}. Leave these out or encode them"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        fit(X)


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_text_and_time_are_refused_in_sequences(case):
    X, columns = NO_NUMBERS[case]
    first = pd.DataFrame(ROWS, columns=["a", "b"]) if isinstance(X, pd.DataFrame) else ROWS
    first = pl.DataFrame(ROWS, schema=["a", "b"]) if isinstance(X, pl.DataFrame) else first
    message = f"Sequence 1 has entries that are no numbers in columns {columns}. Leave these out or encode"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        HMMEM(1).fit([first, X])
    if isinstance(X, np.ndarray) and not isinstance(X, np.ma.MaskedArray):
        with pytest.raises(ValueError, match="^" + re.escape(message.replace("Sequence 1", "X"))):
            HMMEM(1).fit(X.reshape(2, N // 2, 2))


# -- what is taken -----------------------------------------------------------------------------------------


class Strange:
    """An array of another library: a type of its own, without ``kind``."""

    class DType:
        def __str__(self):
            return "strange.float64"

    def __init__(self, values):
        self._values = np.asarray(values)
        self.dtype, self.shape, self.ndim = self.DType(), self._values.shape, self._values.ndim

    def __len__(self):
        return len(self._values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype=dtype)


class OnDevice(Strange):
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert a tensor on a device")


class Exchanged:
    """An array that gives its numbers by DLPack alone."""

    def __init__(self, values):
        self._values = np.array(values)
        self.dtype, self.shape, self.ndim = Strange.DType(), self._values.shape, self._values.ndim

    def __array_namespace__(self, api_version=None):
        raise NotImplementedError

    def __len__(self):
        return len(self._values)

    def __dlpack__(self, **kwargs):
        return self._values.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def torch(values):
    return pytest.importorskip("torch").tensor(values)


def array_api_strict(values):
    return pytest.importorskip("array_api_strict").asarray(values)


def pyarrow(values):
    return pytest.importorskip("pyarrow").table({"a": values[:, 0], "b": values[:, 1]})


TAKEN = {
    "rows": np.ndarray.tolist,
    "tuples": lambda X: tuple(map(tuple, X.tolist())),
    "objects": lambda X: X.astype(object),
    "strange": Strange,
    "exchanged": Exchanged,
    "torch": torch,
    "array_api_strict": array_api_strict,
    "pyarrow": pyarrow,
    "masked": lambda X: np.ma.masked_array(X, mask=False),
    "read-only": lambda X: np.lib.stride_tricks.as_strided(X, writeable=False),
    "pandas": pd.DataFrame,
    "pandas objects": lambda X: pd.DataFrame(X, columns=["a", "b"]).astype(object),
    "pandas nullable": lambda X: pd.DataFrame(X, columns=["a", "b"]).astype("Float64"),
    "pandas sparse": lambda X: pd.DataFrame(X, columns=["a", "b"]).astype(pd.SparseDtype(float, 0.0)),
    "pandas categories": lambda X: pd.DataFrame(X, columns=["a", "b"]).astype("category"),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b"]),
}


# Categories are more than numbers to imputers.
READ = [
    (name, table) for name in FITS for table in TAKEN if name not in OF_CATEGORIES or "categories" not in table
]


@pytest.mark.parametrize(("name", "table"), READ)
def test_every_table_is_read_as_an_array_is(name, table):
    fit, make = FITS[name], TAKEN[table]
    np.testing.assert_allclose(numbers_of(fit(make(ROWS))), numbers_of(FITS[name](ROWS)), rtol=1e-12)


@pytest.mark.parametrize("make", TAKEN.values(), ids=TAKEN)
def test_functions_read_every_table(make):
    X = ROWS.copy()
    X[::4, 1] = np.nan
    expected = missing_patterns(X)
    found = missing_patterns(make(X))
    np.testing.assert_array_equal(found.observed, expected.observed)
    np.testing.assert_array_equal(found.counts, expected.counts)


@pytest.mark.parametrize("make", TAKEN.values(), ids=TAKEN)
def test_sequences_are_any_table(make):
    expected = numbers_of(HMMEM(1).fit([ROWS[:10], ROWS[10:]]))
    np.testing.assert_array_equal(numbers_of(HMMEM(1).fit([make(ROWS[:10]), make(ROWS[10:])])), expected)


@pytest.mark.parametrize("make", [Strange, Exchanged, torch, array_api_strict])
def test_sequences_in_one_array_of_another_library(make):
    X = ROWS.reshape(2, N // 2, 2)
    np.testing.assert_array_equal(numbers_of(HMMEM(1).fit(make(X))), numbers_of(HMMEM(1).fit(X)))


@pytest.mark.parametrize("make", [Strange, Exchanged, torch, array_api_strict])
@pytest.mark.parametrize("name", REGRESSIONS)
def test_arrays_of_other_libraries_beside_X(name, make):
    y = CLASSES if "Classifier" in name else Y
    weight, offset = 1.0 + np.arange(N) % 2, ROWS[:, 1]
    expected = REGRESSIONS[name]().fit(ROWS, y, weight, offset=offset)
    found = REGRESSIONS[name]().fit(make(ROWS), make(y), make(weight), offset=make(offset))
    np.testing.assert_array_equal(numbers_of(found), numbers_of(expected))


@everything
def test_an_array_that_numpy_cannot_read(fit):
    with pytest.raises(ValueError, match=r"X is a .*OnDevice that NumPy cannot read \(can't convert"):
        fit(OnDevice(ROWS))


@every_fit
def test_bool_is_a_number(fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = ROWS > 0.2
        np.testing.assert_array_equal(numbers_of(fit(X)), numbers_of(fit(X.astype(float))))


def test_a_memory_map_is_not_copied(tmp_path):
    X = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=ROWS.shape)
    X[:] = ROWS
    assert read_table(X) is X
    assert read_table(ROWS) is ROWS


# -- what is refused ---------------------------------------------------------------------------------------


EMPTY = {
    "no frame": (pd.DataFrame(), "rows"),
    "no columns": (pd.DataFrame(index=range(3)), "columns"),
    "no rows": (pd.DataFrame({"a": [], "b": []}), "rows"),
    "polars": (pl.DataFrame(), "rows"),
    "polars, no rows": (pl.DataFrame({"a": [], "b": []}), "rows"),
    "array without rows": (np.empty((0, 2)), "rows"),
    "array without columns": (np.empty((3, 0)), "columns"),
    "rows without columns": ([[], [], []], "columns"),
}


@pytest.mark.parametrize("case", EMPTY)
@everything
def test_nothing_is_said_plainly(fit, case):
    X, what = EMPTY[case]
    with pytest.raises(ValueError, match=f"has no {what}: 0 (sample|feature)|Sequence 0 is one-dimensional"):
        fit(X)


@everything
def test_sparse_keeps_the_words_of_scikit_learn(fit):
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        with pytest.raises(TypeError, match="Sparse data was passed"):
            fit(kind(ROWS))


@pytest.mark.parametrize("name", [name for name in {**FITS, **FUNCTIONS} if name not in OF_ANY_TABLE])
def test_complex_keeps_the_words_of_scikit_learn(name):
    fit = {**FITS, **FUNCTIONS}[name]
    for X in (ROWS + 1j, (ROWS + 1j).tolist()):
        with pytest.raises(ValueError, match="Complex data not supported"):
            fit(X)


@everything
def test_ragged_rows(fit):
    with pytest.raises(ValueError, match=r"inhomogeneous|Sequence 0 is one-dimensional"):
        fit([[1.0, 2.0], [3.0]])


@everything
def test_infinity_is_named(fit):
    X = ROWS.copy()
    X[7, 1] = np.inf
    frame = pd.DataFrame(X, columns=["a", "b"])
    for given, name in ((X, "column (1|'x1')"), (frame, "column 'b'"), (Strange(X), "column (1|'x1')")):
        with pytest.raises(ValueError, match=f"contains infinity in {name}, row 7. Remove or replace it"):
            fit(given)


# -- beside X ----------------------------------------------------------------------------------------------


NO_ARRAYS = {
    "text digits": (["1"] * N, "'1'"),
    "array of text digits": (np.full(N, "1"), "'1'"),
    "Series of text digits": (pd.Series(["1"] * N), "'1'"),
    "spans": (np.arange(N).astype("timedelta64[ns]"), "dates or times"),
    "Series of spans": (pd.Series(np.arange(N).astype("timedelta64[s]")), "dates or times"),
    "dates": (pd.Series(pd.date_range("2020", periods=N)), "dates or times"),
    "complex": (np.full(N, 1j), re.escape("1j")),
}


@pytest.mark.parametrize("case", NO_ARRAYS)
@pytest.mark.parametrize("name", ["y", "offset", "sample_weight"])
@pytest.mark.parametrize("make", list(REGRESSIONS.values())[:2])
def test_arguments_beside_X_are_numbers(make, name, case):
    value, what = NO_ARRAYS[case]
    given = {"y": Y, name: value}
    message = f"{name} must be an array of numbers, but holds .*{what}"
    with pytest.raises(ValueError, match=message):
        make().fit(ROWS, **given)


@pytest.mark.parametrize("case", NO_ARRAYS)
def test_weights_and_starts_are_numbers(case):
    value, what = NO_ARRAYS[case]
    holds = f"must be an array of numbers, but holds .*{what}"
    calls = {
        "sample_weight": lambda: GaussianMixtureEM(1).fit(ROWS, sample_weight=value),
        "means_init": lambda: GaussianMixtureEM(1, means_init=value).fit(ROWS),
        "startprob": lambda: HMMEM(2, startprob=value).fit(ROWS),
        "transmat_init": lambda: HMMEM(2, transmat_init=value).fit(ROWS),
        "transition": lambda: HMMEM(2, transition=value).fit(ROWS),
        "min_value": lambda: EMImputer(min_value=value).fit(ROWS),
        "estimates": lambda: pool(value, np.ones(N)),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name} {holds}"):
            call()
    with pytest.raises(ValueError, match=f"sample_weight {holds}"):
        HMMEM(1).fit([ROWS], sample_weight=value)


def test_an_array_states_its_shape_and_place():
    assert read_array("a", [[1, None]], shapes=[(1, 2)]).tolist()[0][0] == 1.0
    with pytest.raises(ValueError, match=r"^a has shape \(2,\); expected a number or \(3,\)\. Give 3\.$"):
        read_array("a", [1, 2], shapes=[(), (3,)], advice="Give 3.")
    with pytest.raises(ValueError, match=r"^a contains NaN at \(1, 0\): every entry must be finite"):
        read_array("a", [[1, 2], [None, 3]], finite=True)
    with pytest.raises(ValueError, match=r"^a contains infinity at 1: every entry must be finite"):
        read_array("a", [1, np.inf], finite=True)
    with pytest.raises(ValueError, match=r"^a must be an array of numbers, but is none: .*inhomogeneous"):
        read_array("a", [[1, 2], [3]])


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("what", ["y", "offset"])
@pytest.mark.parametrize("column", [lambda v: v[:, None], pd.DataFrame, lambda v: v[:, None].tolist()])
def test_a_column_vector_warns_at_the_line_of_the_user(name, what, column):
    y = CLASSES if "Classifier" in name else Y
    given = {"y": y, "offset": ROWS[:, 1]}
    expected = REGRESSIONS[name]().fit(ROWS, **given)
    given[what] = column(given[what])
    with pytest.warns(DataConversionWarning, match=f"column-vector {what} was passed") as caught:
        fitted = REGRESSIONS[name]().fit(ROWS, **given)
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_array_equal(numbers_of(fitted), numbers_of(expected))
    with pytest.warns(DataConversionWarning) as caught:
        expected.score_samples(ROWS, **given)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_a_missing_argument_names_the_class_of_the_user(name):
    with pytest.raises(TypeError, match=rf"^{name}\.fit\(\) missing a required argument: 'y'$"):
        REGRESSIONS[name]().fit(ROWS)
    with pytest.raises(TypeError, match=rf"^{name}\.fit\(\) got an unexpected keyword argument 'weights'$"):
        REGRESSIONS[name]().fit(ROWS, Y, weights=Y)


# -- columns -----------------------------------------------------------------------------------------------


NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("columns", "numbers"),
    [
        (1, [1]),
        (np.int64(1), [1]),
        ([2, 0], [2, 0]),
        (-1, [2]),
        ([-3, 2], [0, 2]),
        ("b", [1]),
        (np.array(["c", "a"]), [2, 0]),
        (["c", 0], [2, 0]),
        (pd.Index(["b"]), [1]),
        ([True, False, True], [0, 2]),
        (np.array([False, False, True]), [2]),
        (pd.Series([False, True, False]), [1]),
    ],
)
def test_columns_are_found(columns, numbers):
    assert find_columns(columns, NAMES, 3).tolist() == numbers
    assert find_columns(columns, np.array(NAMES, dtype=object), 3).tolist() == numbers


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "names no feature"),
        ([False] * 3, "names no feature"),
        (3, r"names 3, which is no feature; the features are \['a', 'b', 'c'\], counted from 0"),
        (-4, "names -4, which is no feature"),
        (1.0, r"names 1\.0, which is no feature"),
        ("d", "names 'd', which is no feature"),
        (None, "names None, which is no feature"),
        ([[0, 1]], r"names \[0, 1\], which is no feature"),
        ([0, "a"], r"names a feature twice: \[0, 'a'\]"),
        ([2, -1], "names a feature twice"),
        ([True, False], "is a mask of 2, but X has 3 features"),
        (np.ones(4, dtype=bool), "is a mask of 4, but X has 3 features"),
        ([True, 1, 0], "names True, which is no feature"),
    ],
)
def test_columns_that_are_none(columns, message):
    with pytest.raises(ValueError, match=f"^chosen {message}"):
        find_columns(columns, NAMES, 3, "chosen")


def test_columns_without_names():
    with pytest.raises(ValueError, match=r"names 'a', .*; the features have no names, use numbers from 0 to 2"):
        find_columns("a", None, 3)
    with pytest.raises(ValueError, match=r"names 3, .*; X has 3 of them, counted from 0"):
        find_columns(3, None, 3)


@pytest.mark.parametrize("column", [1, -1, "b", [False, True], np.array([False, True]), ["b"]])
def test_all_find_columns_alike(column):
    frame = pd.DataFrame(ROWS, columns=["a", "b"])
    mixture = GaussianMixtureEM(1).fit(frame)
    assert mixture.marginal(column).feature_names_in_.tolist() == ["b"]
    lost = np.isnan(ampute(frame, columns=column, mechanism="mcar", random_state=0))
    assert lost.to_numpy().any(axis=0).tolist() == [False, True]
    shared = MixtureOfLinearRegressions(2, shared_coef=column, random_state=0, n_init=1).fit(frame, Y)
    assert len(np.unique(shared.coef_[:, 1])) == 1 < len(np.unique(shared.coef_[:, 0]))


def test_emissions_find_columns_alike():
    frame = pd.DataFrame({"a": ROWS[:, 0], "b": np.arange(N) % 3})
    expected = HMMEM(1, emission={"a": "gaussian", "b": "poisson"}).fit(frame).log_likelihood_
    for first, second in ((0, 1), (-2, -1), ("a", -1), (np.int64(0), "b")):
        fitted = HMMEM(1, emission={first: "gaussian", second: "poisson"}).fit(frame)
        assert fitted.log_likelihood_ == expected
