"""Tables of pandas, polars, other libraries and nested lists as numbers, importing none of these libraries."""

from __future__ import annotations

import datetime
import re
import sys
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from emlearn._input.columns import column_name, list_names
from emlearn._sklearn_compat import validate_data

FLOATS = [np.float64, np.float32]
CHUNK_ROWS = 16384  # of a table that is looked through step by step
# Types of columns that need no closer look.
NUMERIC = re.compile(r"(u?int\d|float|double|bool|decimal)", re.IGNORECASE)
NUMBERS, TEXT_OR_TIME = "biuf", "USTmM"  # kinds of types of NumPy
TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
NO_NUMBERS = (str, bytes, complex, *TIMES)


def is_frame(X):
    """Whether X is a table with columns, of pandas or polars."""
    kind = type(X)  # cheaper to ask: pandas makes a Series of the types of each table
    return hasattr(kind, "columns") and hasattr(kind, "dtypes")


def as_numpy(X, name="X"):
    """X as an array of NumPy, or a frame; what is masked as NaN. Other things stay as they are.

    No number is copied that need not be, and nothing of a memory map is read.
    """
    if isinstance(X, Named):
        return X.rows
    if isinstance(X, np.ma.MaskedArray):
        if X.dtype.kind in NUMBERS:
            return X.astype(np.float64).filled(np.nan)
        return X.filled(None) if X.dtype == object else X.data
    if isinstance(X, np.ndarray) or is_frame(X) or sparse.issparse(X):
        return X
    if isinstance(X, (list, tuple)):
        try:
            array = np.asarray(X)
            # Texts and times beside numbers would make texts of the numbers.
            return np.asarray(X, dtype=object) if array.dtype.kind in TEXT_OR_TIME else array
        except ValueError as error:
            raise ValueError(f"{name} must be an array of numbers, but is none: {error}") from error
    if hasattr(X, "to_pandas") and not hasattr(X, "dtype"):  # a table of pyarrow and the like
        return X.to_pandas()
    if not any(hasattr(X, way) for way in ("__array__", "__array_namespace__", "__dlpack__")):
        return X
    try:
        return np.asarray(X) if hasattr(X, "__array__") else np.from_dlpack(X)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = f"{type(X).__module__}.{type(X).__name__}"
        raise ValueError(
            f"{name} is a {kind} that NumPy cannot read ({error}). Give an array of NumPy."
        ) from error


def read_table(X, name="X", advice=""):
    """X as an array or frame of numbers; what is None, masked or ``pandas.NA`` as NaN.

    What is no table at all is left to scikit-learn, which says what is wrong.

    Raises
    ------
    ValueError
        If there are no rows or no columns; if columns hold text, be it digits, dates, spans of time or in a
        frame anything else that is no number, naming them.
    """
    X = as_numpy(X, name)
    shape = getattr(X, "shape", ())
    if len(shape) != 2 or sparse.issparse(X):
        return X
    for what, unit, count in zip(("rows", "columns"), ("sample", "feature"), shape, strict=True):
        if not count:
            raise ValueError(
                f"{name} has no {what}: {count} {unit}(s) (shape={tuple(shape)}) while a minimum of 1 is "
                "required."
            )
    if is_frame(X):
        if all(_is_numeric(dtype) for dtype in X.dtypes):
            return X
    elif X.dtype.kind not in "O" + TEXT_OR_TIME:
        return X
    numbers, bad = [], []
    for label, column in _columns(X):
        try:
            numbers.append([number(entry) for entry in column])
        except (TypeError, ValueError):
            if not is_frame(X) and not any(isinstance(entry, NO_NUMBERS) for entry in column):
                return X
            bad.append(label)
    if bad:
        raise ValueError(
            f"{name} has entries that are no numbers in columns {list_names(bad)}. Leave these out or encode "
            f"them, for example with scikit-learn's ColumnTransformer.{advice}"
        )
    return like(X, np.array(numbers).T)


def _is_numeric(dtype):
    return dtype.kind in NUMBERS if isinstance(dtype, np.dtype) else NUMERIC.match(str(dtype))


def _columns(X):
    """Names and entries of the columns."""
    if not is_frame(X):
        return enumerate(X.T)
    columns = (X.iloc[:, j] if hasattr(X, "iloc") else X[name] for j, name in enumerate(X.columns))
    return zip(map(str, X.columns), columns, strict=True)


def number(entry):
    """An entry as a float; a TypeError or ValueError if it is none."""
    if entry is None or type(entry).__name__ == "NAType":  # pd.NA, without importing pandas
        return np.nan
    if isinstance(entry, NO_NUMBERS):  # "3.5" is text as well
        raise TypeError
    return float(entry)


class Named(NamedTuple):
    """Rows with names for their features, of a source that is no frame."""

    rows: np.ndarray  # (n, d)
    names: tuple[str, ...]


def read_rows(estimator, X, *, reset, allow_nan=True):
    """X of an estimator as floats, NaN where an entry is missing, its features as those of the fit."""
    if isinstance(X, Named):
        X = _read_named(estimator, X, reset)
    else:
        X = validate_data(estimator, read_table(X), reset=reset, dtype=FLOATS, ensure_all_finite=False)
    refuse_entries(X, getattr(estimator, "feature_names_in_", None), estimator, allow_nan)
    return X


def _read_named(estimator, X, reset):
    rows, names = X
    known = None if reset else getattr(estimator, "feature_names_in_", None)
    if known is not None and list(known) != list(names):
        raise ValueError(
            f"The features are {list_names(names)}, but {type(estimator).__name__} was fitted to "
            f"{list_names(known)}: give the same, in that order."
        )
    if reset:
        estimator.n_features_in_, estimator.feature_names_in_ = len(names), np.asarray(names, dtype=object)
    elif known is None:
        return validate_data(estimator, rows, reset=False, dtype=FLOATS, ensure_all_finite=False)
    return check_array(rows, dtype=FLOATS, ensure_all_finite=False, input_name="X")


def refuse_entries(rows, names, estimator=None, allow_nan=True, place="row {}".format):
    """Refuse infinity, and NaN unless it is allowed, naming column and place."""
    bad = find_bad_entry(rows, allow_nan)
    if bad is None:
        return
    what, advice = "infinity", "Remove or replace it."
    if np.isnan(rows[bad]):
        what = "NaN"
        advice = (
            f"{type(estimator).__name__} does not accept missing values: remove them, or impute them before, "
            "as with EMImputer."
        )
    raise ValueError(f"Input X contains {what} in {column_name(names, bad[1])}, {place(bad[0])}. {advice}")


def find_bad_entry(X, allow_nan=True):
    """Row and column of the first entry of X that is infinite, or NaN unless that is allowed; None for none."""
    for start in range(0, len(X), CHUNK_ROWS):
        chunk = X[start : start + CHUNK_ROWS]
        with np.errstate(invalid="ignore", over="ignore"):  # a cheap first look
            total = chunk.sum(dtype=np.float64)
        if np.isfinite(total):
            continue
        bad = np.isinf(chunk) if allow_nan else ~np.isfinite(chunk)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            return start + int(row), int(column)
    return None


def shorten(name, width):
    """A name cut in the middle, since names of a kind differ at the end."""
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[: width - 1 - half]}…{name[-half:]}"


def like(X, values):
    """``values`` as a frame with the columns of X if that is one of pandas or polars, as they are otherwise."""
    pd, pl = sys.modules.get("pandas"), sys.modules.get("polars")
    if pd is not None and isinstance(X, pd.DataFrame):
        return pd.DataFrame(values, index=X.index, columns=X.columns)
    if pl is not None and isinstance(X, pl.DataFrame):
        return pl.DataFrame(values, schema=X.columns, orient="row").fill_nan(None)
    return values
