"""Tables of pandas, polars and nested lists as numbers, without importing what the user has not."""

from __future__ import annotations

import datetime
import re
import sys

import numpy as np

# Types of columns that need no closer look.
NUMERIC = re.compile(r"(u?int|float|double|bool|decimal)", re.IGNORECASE)
NO_NUMBERS = (str, bytes, datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def is_frame(X):
    """Whether X is a table with columns, of pandas or polars."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def only_numbers(X):
    """X; or where it holds objects or a mask a table of its numbers, None, ``pandas.NA`` and masked as NaN.

    Raises
    ------
    ValueError
        If columns hold text, dates, or in a frame anything else that is no number, naming them.
    """
    if isinstance(X, np.ma.MaskedArray):
        return X.astype(np.float64).filled(np.nan)
    if is_frame(X):
        if all(NUMERIC.match(str(dtype)) for dtype in X.dtypes):
            return X
    elif isinstance(X, (list, tuple)):
        if np.ndim(X) != 2 or np.asarray(X).dtype.kind in "biufc":
            return X
    elif getattr(X, "dtype", None) is None or X.dtype.kind in "biufc":
        return X  # or no table at all: scikit-learn says what is wrong
    columns = _columns(X)
    if columns is None:
        return X
    numbers, bad = [], []
    for name, column in columns:
        try:
            numbers.append([_number(value) for value in column])
        except (TypeError, ValueError):
            if not is_frame(X) and not any(isinstance(value, NO_NUMBERS) for value in column):
                return X
            bad.append(name)
    if bad:
        raise ValueError(
            f"X has entries that are no numbers in columns {bad}. Leave these out or encode them, for example "
            "with scikit-learn's ColumnTransformer."
        )
    return like(X, np.array(numbers).T)


def _columns(X):
    """Names and entries of the columns, or None where X is no table."""
    if is_frame(X):
        columns = (X.iloc[:, j] if hasattr(X, "iloc") else X[name] for j, name in enumerate(X.columns))
        return list(zip(map(str, X.columns), columns, strict=True))
    entries = np.asarray(X, dtype=object)
    return list(enumerate(entries.T)) if entries.ndim == 2 else None


def _number(value):
    if value is None or type(value).__name__ == "NAType":  # pd.NA, without importing pandas
        return np.nan
    if isinstance(value, NO_NUMBERS):  # "3.5" is text as well
        raise TypeError
    return float(value)


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
