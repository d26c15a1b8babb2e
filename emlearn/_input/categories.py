"""Categories that have names, or are of a type for categories: codes for the engine, and the way back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from emlearn._input.columns import column_name
from emlearn._input.tables import is_frame
from emlearn._sklearn_compat import _check_feature_names

TEXT = (str, bytes)


class Coded(NamedTuple):
    """Tables whose categories have become codes."""

    tables: list[Any]
    labels: dict[int, np.ndarray]  # by column what its codes stand for, in their order
    strange: dict[int, np.ndarray]  # the same of labels that are none of those known: of the codes after these


class Coding:
    """Which columns may hold categories by name, and what is known of these.

    Parameters
    ----------
    columns : callable
        ``columns(d, names)``: numbers of such columns.
    known : dict of int -> ndarray, or None
        By column what codes stand for, as a fit has learnt it. None is to learn it.
    fitted : estimator, optional
        Whose features frames must have, in the order of its fit.

    Attributes
    ----------
    labels : dict of int -> ndarray
        The same after tables were read.
    shown : dict of int -> list
        By column what codes of the tables stand for, those of labels that a fit did not see after the others.
    """

    def __init__(self, columns, known, fitted=None):
        self._columns, self._known, self._fitted = columns, known, fitted
        self.labels = {} if known is None else known
        self.shown = {}

    def encode(self, tables, place):
        """Tables (n, d) with codes for names; ``place(table, row)`` says where a row is."""
        if any(len(getattr(table, "shape", ())) != 2 or sparse.issparse(table) for table in tables):
            return tables  # what is wrong with them is said elsewhere
        if is_frame(tables[0]):
            if hasattr(self._fitted, "feature_names_in_"):  # or entries of other columns would be blamed
                _check_feature_names(self._fitted, tables[0], reset=False)
        elif all(table.dtype.kind in "biuf" for table in tables) and not self._known:
            return tables
        d, names = tables[0].shape[1], list(tables[0].columns) if is_frame(tables[0]) else None
        columns = self._columns(d, names) if self._known is None else [j for j in self._known if j < d]
        coded = encode(tables, columns, self._known, place)
        self.labels = coded.labels
        self.shown = {j: [*labels.tolist(), *coded.strange[j]] for j, labels in coded.labels.items()}
        return coded.tables


def encode(
    tables: list[Any],
    columns: list[int],
    known: dict[int, np.ndarray] | None,
    place: Callable[[int, int], str],
) -> Coded:
    """Tables with codes in the place of categories that are no numbers, or of a type for categories.

    Parameters
    ----------
    tables : list of ndarray of shape (n, d), or of frames
        Of the same columns.
    columns : list of int
        Columns that may hold categories.
    known : dict of int -> ndarray, or None
        Labels of columns, as a fit has learnt them: others are coded after them. None learns them: those of a
        type for categories, else all that there are, in order.
    place : callable
        ``place(table, row)`` says where a row is, for errors.

    Raises
    ------
    ValueError
        If a column holds categories of different types.
    """
    labels, strange, codes = {}, {}, {}
    for j in columns:
        parts = [_column(table, j) for table in tables]
        names = getattr(tables[0], "columns", None)
        where = column_name(None if names is None else list(names), j)
        entries = [_entries(part) for part in parts]
        _refuse_mixed(entries, where, place)
        if known is not None:
            if j not in known:
                continue
            own = known[j]
            _refuse_other_kind(entries, own, where, place)
        else:
            own = _labels_of(parts, entries)
            if own is None:
                continue
        code = {label: i for i, label in enumerate(own.tolist())}
        for label in dict.fromkeys(entry for part in entries for entry in part if entry is not None):
            code.setdefault(label, len(code))
        labels[j], strange[j] = own, np.array(list(code)[len(own) :], dtype=object)
        codes[j] = [np.array([np.nan if e is None else code[e] for e in part], dtype=float) for part in entries]
    coded = [_replaced(table, {j: codes[j][i] for j in codes}) for i, table in enumerate(tables)]
    return Coded(coded if codes else tables, labels, strange)


def names_of(parts: list[Any]) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Codes of labels, -1 where one is missing, and what they stand for; None where labels are numbers.

    Parameters
    ----------
    parts : list of array-like of shape (n,)
        Labels, of which all are texts, or all of a type for categories.
    """
    try:
        if not parts or any(np.ndim(part) != 1 for part in parts):
            return None
    except ValueError:  # ragged, which is said elsewhere
        return None
    entries = [_entries(part) for part in parts]
    labels = _labels_of(parts, entries)
    if labels is None:
        return None
    code = {label: i for i, label in enumerate(labels.tolist())}
    return [np.array([-1 if e is None else code[e] for e in part], dtype=np.intp) for part in entries], labels


def decoded(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of codes; None where a code is NaN."""
    missing = np.isnan(codes)
    if not missing.any():
        return labels[codes.astype(np.intp)]
    found = labels.astype(object)[np.where(missing, 0, codes).astype(np.intp)]
    found[missing] = None
    return found


def _column(table: Any, j: int) -> Any:
    if not is_frame(table):
        return table[:, j]
    return table.iloc[:, j] if hasattr(table, "iloc") else table[:, j]


def _categories(part: Any) -> Any:
    """Categories of a column of a type for them, in their order; None for other types."""
    kind = getattr(part, "dtype", None)
    categories = getattr(kind, "categories", None)  # of pandas, and of an Enum of polars
    if categories is None:
        return None
    values = np.asarray(categories.to_list() if hasattr(categories, "to_list") else categories)
    return values if values.ndim == 1 else None  # a Categorical of polars has some, but does not tell them


def _entries(part: Any) -> list[Any]:
    """Entries of a column as they are, those that are missing as None."""
    kind = getattr(part, "dtype", None)
    values = part.tolist() if hasattr(part, "tolist") else list(part)
    if isinstance(kind, np.dtype) and kind.kind in "biu":
        return values
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and value != value


def _labels_of(parts: list[Any], entries: list[list[Any]]) -> np.ndarray | None:
    """What the codes of a column are to stand for; None where it holds numbers, which are codes."""
    typed = [_categories(part) for part in parts]
    if all(own is not None for own in typed):
        every = dict.fromkeys(label for own in typed for label in own.tolist())
        same = all(len(own) == len(every) for own in typed)
        return _array(list(every) if same else sorted(every))
    found = [entry for part in entries for entry in part if entry is not None]
    if not found or not all(isinstance(entry, TEXT) for entry in found):
        return None
    return _array(sorted(set(found)))


def _array(labels: list[Any]) -> np.ndarray:
    """Labels as an array, of their own type where they have one."""
    array = np.array(labels)
    return array if array.dtype.kind in "biufU" else np.array(labels, dtype=object)


def _refuse_mixed(entries: list[list[Any]], where: str, place: Callable[[int, int], str]) -> None:
    """Refuse texts beside what are none."""
    first: bool | None = None
    for i, part in enumerate(entries):
        for row, entry in enumerate(part):
            if entry is None:
                continue
            is_text = isinstance(entry, TEXT)
            if first is None:
                first = is_text
            if is_text != first:
                others = "texts" if first else "numbers"
                raise ValueError(
                    f"X is {entry!r} in {where}, {place(i, row)}, beside {others}: categories of a column must "
                    "be of one type. Make all of them texts, or all of them codes."
                )


def _refuse_other_kind(
    entries: list[list[Any]], labels: np.ndarray, where: str, place: Callable[[int, int], str]
) -> None:
    """Refuse what cannot be one of the labels of a fit: numbers for texts, or texts for numbers."""
    kinds = {isinstance(label, TEXT) for label in labels.tolist()}
    for i, part in enumerate(entries):
        for row, entry in enumerate(part):
            if entry is not None and isinstance(entry, TEXT) not in kinds:
                raise ValueError(
                    f"X is {entry!r} in {where}, {place(i, row)}: in fit the categories of this column were "
                    f"{'texts' if True in kinds else 'numbers'}, and this is none."
                )


def _replaced(table: Any, columns: dict[int, np.ndarray]) -> Any:
    """The table with other columns in some places."""
    if not columns:
        return table
    if not is_frame(table):
        table = table.astype(object)
        for j, codes in columns.items():
            table[:, j] = codes
        return table
    if hasattr(table, "iloc"):
        table = table.copy(deep=False)
        for j, codes in columns.items():
            table.isetitem(j, codes)
        return table
    pl = sys.modules["polars"]
    names = list(table.columns)
    return table.with_columns([pl.Series(names[j], codes) for j, codes in columns.items()])
