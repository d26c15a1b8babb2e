"""Tables of pandas, polars and nested lists as numbers, without importing what the user has not."""

from __future__ import annotations

import re
import sys

import numpy as np

NUMERIC = re.compile(r"(u?int|float|double|bool)", re.IGNORECASE)  # dtypes of columns that need no closer look


def is_frame(X):
    """Whether X is a table with columns, of pandas or polars."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def only_numbers(X):
    """X; or where it holds objects a table of its numbers, None and ``pandas.NA`` as NaN.

    Raises
    ------
    ValueError
        If columns hold text, or a frame's columns anything else that is no number, naming them.
    """
    if is_frame(X):
        if all(NUMERIC.match(str(dtype)) for dtype in X.dtypes):
            return X
    elif isinstance(X, (list, tuple)):
        if np.ndim(X) != 2 or np.asarray(X).dtype.kind in "biufc":
            return X
    elif getattr(X, "dtype", None) is None or X.dtype.kind in "biufc":
        return X  # or no table at all: scikit-learn says what is wrong
    entries = np.asarray(X, dtype=object)
    if entries.ndim != 2:
        return X
    numbers = np.empty(entries.shape)
    bad = []
    for j, column in enumerate(entries.T):
        try:
            numbers[:, j] = [_number(value) for value in column]
        except (TypeError, ValueError):
            if not is_frame(X) and not any(isinstance(value, (str, bytes)) for value in column):
                return X
            bad.append(str(X.columns[j]) if is_frame(X) else j)
    if bad:
        raise ValueError(
            f"X has entries that are no numbers in columns {bad}. Leave these out or encode them, for example "
            "with scikit-learn's ColumnTransformer."
        )
    return like(X, numbers)


def _number(value):
    if value is None or type(value).__name__ == "NAType":  # pd.NA, without importing pandas
        return np.nan
    if isinstance(value, (str, bytes)):  # "3.5" is text as well
        raise TypeError
    return float(value)


def like(X, values):
    """``values`` as a frame with the columns of X if that is one of pandas or polars, as they are otherwise."""
    pd, pl = sys.modules.get("pandas"), sys.modules.get("polars")
    if pd is not None and isinstance(X, pd.DataFrame):
        return pd.DataFrame(values, index=X.index, columns=X.columns)
    if pl is not None and isinstance(X, pl.DataFrame):
        return pl.DataFrame(values, schema=X.columns).fill_nan(None)
    return values
