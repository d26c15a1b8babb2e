"""Columns by number, name or mask."""

from __future__ import annotations

import numpy as np

MANY_NAMES = 20  # an error does not list more names than this


def find_columns(columns, names, n_features, what="columns"):
    """Numbers of the features that ``columns`` means.

    Parameters
    ----------
    columns : int, str, or list or array of either, or of n_features bool
        Numbers count from 0, negative ones from the end. A mask says of each feature whether it is meant.
    names : sequence of str, or None
        Names of the features, if they have any.
    n_features : int
    what : str
        What the user gave, for errors.

    Returns
    -------
    numbers : ndarray of int
        In the order in which they are given.
    """
    if not isinstance(columns, (list, tuple)):
        columns = np.atleast_1d(np.asarray(columns)).tolist()
    columns = [column.item() if isinstance(column, np.generic) else column for column in columns]
    if columns and all(isinstance(column, bool) for column in columns):
        if len(columns) != n_features:
            raise ValueError(
                f"{what} is a mask of {len(columns)}, but X has {n_features} features: say True or False of "
                "each, or give numbers or names."
            )
        columns = np.flatnonzero(columns).tolist()
    if not columns:
        raise ValueError(f"{what} names no feature.")
    numbers = [_find(column, None if names is None else list(names), n_features, what) for column in columns]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{what} names a feature twice: {columns}.")
    return np.array(numbers, dtype=np.int_)


def _find(column, names, n_features, what):
    if isinstance(column, str) and names and column in names:
        if names.count(column) > 1:
            raise ValueError(
                f"{what} names {column!r}, but {names.count(column)} columns of X have that name: rename them."
            )
        return names.index(column)
    if type(column) is int and -n_features <= column < n_features:
        return column % n_features
    known = f"X has {n_features} of them, counted from 0"
    if names:
        known = f"the features are {list_names(names)}, counted from 0"
    elif isinstance(column, str):
        known = f"the features have no names, use numbers from 0 to {n_features - 1}"
    raise ValueError(f"{what} names {column!r}, which is no feature; {known}.")


def find_column(column, names, n_features, what):
    """Number of the one feature that ``column`` means."""
    numbers = find_columns(column, names, n_features, what)
    if len(numbers) != 1:
        raise ValueError(f"{what}={column!r}: give one feature, by number or name.")
    return int(numbers[0])


def column_name(names, column):
    """How errors call a column, which has a name or a number."""
    return f"column {column}" if names is None else f"column {str(names[column])!r}"


def list_names(names):
    """Names in an error, the first if they are many."""
    listed = ", ".join(repr(name) for name in names[:MANY_NAMES])
    return f"[{listed}]" if len(names) <= MANY_NAMES else f"[{listed}, ... ({len(names)} in all)]"
