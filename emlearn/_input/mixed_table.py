"""Tables with categories beside numbers: numbers for a joint model of all columns, and the way back."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn._input.categories import TEXT, _array, _categories, _column, _entries, _replaced
from emlearn._input.columns import column_name, find_columns
from emlearn._input.tables import as_numpy, is_frame
from emlearn._warn import warn

# More levels are no category: a model has a column for each.
MOST_LEVELS = 1000
# With more levels than this, and than half of the entries, most tell of one row alone.
FEW_LEVELS = 20
LISTED = 3  # levels that a message lists
BOOL, FLOAT = re.compile("bool", re.IGNORECASE), re.compile("float|double", re.IGNORECASE)


class Category(NamedTuple):
    """A column of categories, and the columns of numbers that stand for it."""

    labels: list[Any]  # levels by code
    ordered: bool
    dtype: Any  # in the frame of the fit; None if it was an array
    at: NDArray[np.intp]  # columns of numbers
    indicated: NDArray[np.intp]  # levels of which these are the indicators: all but one; none if ordered

    def shares(self, indicators: NDArray[Any]) -> NDArray[Any]:
        """What indicators of all levels but one say of each, (n, L)."""
        every = np.empty((len(indicators), len(self.labels)))
        every[:, self.indicated] = indicators
        (rest,) = np.setdiff1d(np.arange(len(self.labels)), self.indicated)
        every[:, rest] = 1.0 - indicators.sum(axis=1)
        return every


class MixedTable:
    """How the columns of a table become columns of numbers, and come back.

    A category of L levels becomes L - 1 indicators, without one of the level that is most frequent, which a
    prior of uncorrelated columns fits best; NaN where the entry is missing. One whose levels are ordered
    becomes a column of codes.

    Parameters
    ----------
    tables : iterable of ndarray of object of shape (n, d), or of frames
        What is to be learnt from.
    columns : list of int
        Which columns hold categories.
    marker : object, default=None
        What marks a missing entry, besides None and NaN.
    more_to_come : bool, default=False
        Whether these tables are not all: levels are then those that the types of columns tell.

    Attributes
    ----------
    categories : dict of int -> Category
        By column of the table.
    first : ndarray of int of shape (d,)
        First column of numbers of each column of the table.
    feature_of : ndarray of int of shape (D,)
        Column of the table that each column of numbers belongs to.
    """

    def __init__(
        self, tables: Iterable[Any], columns: list[int], marker: Any = None, more_to_come: bool = False
    ):
        self._marker = marker
        found = {j: _Found({}, Counter(), False, None) for j in columns}
        names, d = None, 0
        for table in map(as_numpy, tables):
            names, d = _names(table), table.shape[1]
            for j in columns:
                found[j] = found[j].and_of(_column(table, j), is_frame(table), marker)
        widths = np.ones(d, dtype=np.intp)
        levels = {}
        for j in columns:
            labels, reference = found[j].levels(column_name(names, j), more_to_come)
            levels[j] = labels, reference
            widths[j] = 1 if found[j].ordered else max(1, len(labels) - 1)
        self.feature_of = np.repeat(np.arange(d), widths)
        self.first = np.cumsum(widths) - widths
        self.numbers = np.setdiff1d(np.arange(d), columns)
        self.categories = {}
        for j, (labels, reference) in levels.items():
            at, ordered = self.first[j] + np.arange(widths[j]), found[j].ordered
            # One level, or none, has a column that is constant, or empty.
            indicated = np.setdiff1d(np.arange(len(labels)), reference) if len(labels) > 1 else np.arange(1)
            indicated = np.empty(0, dtype=np.intp) if ordered else indicated
            self.categories[j] = Category(labels, ordered, found[j].dtype, at, indicated)

    @property
    def nominal(self) -> list[Category]:
        """The categories without order."""
        return [category for category in self.categories.values() if not category.ordered]

    @property
    def ordered(self) -> NDArray[np.intp]:
        """Columns of numbers of the categories with an order."""
        columns = [category.at for category in self.categories.values() if category.ordered]
        return np.concatenate([np.empty(0, dtype=np.intp), *columns])

    @property
    def levels(self) -> dict[int, NDArray[Any]]:
        """Levels of the categories of each column of the table that has any."""
        return {j: _array(category.labels) for j, category in self.categories.items()}

    def names(self, names: Any) -> NDArray[Any]:
        """Names of the columns of numbers, by those of the table."""
        out = [names[j] for j in self.feature_of]
        for j, category in self.categories.items():
            if not category.ordered and len(category.labels) > 1:
                for column, level in zip(category.at, category.indicated, strict=True):
                    out[column] = f"{names[j]}={category.labels[level]}"
        return np.array(out, dtype=object)

    def coded(self, X: Any, *, strict: bool = False) -> Any:
        """The table with codes in the place of categories, NaN where one is missing or not known.

        Raises
        ------
        ValueError
            If an entry is none of the ordered levels; with ``strict``, none of any.

        Warns
        -----
        UserWarning
            Of levels that are not known.
        """
        names, replaced, unseen = _names(X), {}, []
        for j, category in self.categories.items():
            column = _column(X, j)
            codes = _codes(column, {label: code for code, label in enumerate(category.labels)}, self._marker)
            strange = np.flatnonzero(codes == -1)
            if len(strange):
                where = column_name(names, j)
                entries = _entries(column)
                if category.labels and (category.ordered or strict):
                    raise ValueError(
                        f"X is {entries[strange[0]]!r} in {where}, row {strange[0]}, which is none of "
                        f"{'its ordered' if category.ordered else 'the'} categories at fit, "
                        f"{_listed(category.labels)}. Make it one of these, or missing, or fit with a type of "
                        "this column that has it."
                    )
                if category.labels:
                    unseen.append(f"{_listed(dict.fromkeys(entries[i] for i in strange))} in {where}")
                codes[strange] = np.nan
            replaced[j] = codes
        if unseen:
            warn(f"X has categories unseen at fit, taken for missing: {'; '.join(unseen)}.", UserWarning)
        return _replaced(X, replaced)

    def expanded(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Columns of numbers (n, D), of numbers and codes (n, d)."""
        out = np.empty((len(codes), len(self.feature_of)), dtype=codes.dtype)
        out[:, self.first] = codes
        for j, category in self.categories.items():
            if not category.ordered:
                code = codes[:, j, None]
                # Of the only level there is, 0: a constant. Of no level, all are missing.
                indicators = code == category.indicated if len(category.labels) > 1 else np.zeros_like(code)
                out[:, category.at] = np.where(np.isnan(code), np.nan, indicators)
        return out

    def spread(self, limits: NDArray[Any]) -> NDArray[Any]:
        """Limits of columns of numbers (2, D), by those of the table (2, d), which are of numbers alone."""
        spread = limits[:, self.feature_of]
        for category in self.categories.values():
            spread[0, category.at], spread[1, category.at] = -np.inf, np.inf
            if category.ordered:
                spread[:, category.at] = [[0.0], [max(len(category.labels) - 1.0, 0.0)]]
        return spread

    def restored(
        self,
        given: Any,
        read: NDArray[Any],
        filled: NDArray[Any],
        kept: Any,
        integers: Any,
        beside: dict[str, Any],
    ) -> Any:
        """The table with its gaps filled, in the types that it had.

        Parameters
        ----------
        given : ndarray of object of shape (n, d), or a frame
        read, filled : ndarray of shape (n, D)
            Its columns of numbers, before and after imputation.
        kept : ndarray of int
            Columns of the table that are wanted.
        integers : ndarray of int
            Columns of numbers that hold whole numbers.
        beside : dict of str -> ndarray of shape (n,)
            More columns, which come last.
        """
        given = as_numpy(given)
        columns = {}
        for place, j in enumerate(map(int, kept)):
            column, gone = _column(given, j), np.isnan(read[:, self.first[j]])
            if j in self.categories:
                category = self.categories[j]
                labels = self._labels(category, filled)
                if not is_frame(given):
                    columns[place] = np.where(gone, labels, column)
                elif gone.any() or category.dtype is not None:
                    columns[place] = _typed(given, labels, category.dtype or column.dtype, j)
            elif gone.any():
                values = filled[:, self.first[j]]
                if not is_frame(given):
                    columns[place] = np.where(gone, values, column)
                else:
                    same = FLOAT.match(str(column.dtype)) or self.first[j] in integers
                    columns[place] = _typed(given, values, column.dtype if same else None, j)
        return _assembled(given, kept, columns, beside)

    @staticmethod
    def _labels(category, filled):
        """Levels of rows of numbers: the nearest of ordered ones, else that of the greatest indicator."""
        if not category.labels:
            return np.full(len(filled), None, dtype=object)
        labels = np.empty(len(category.labels), dtype=object)
        labels[:] = category.labels
        own = filled[:, category.at]
        if category.ordered:
            return labels[np.clip(np.rint(own[:, 0]), 0, len(labels) - 1).astype(np.intp)]
        return labels[
            category.shares(own).argmax(axis=1) if len(labels) > 1 else np.zeros(len(own), dtype=np.intp)
        ]


def find_categories(X: Any, categorical: Any) -> list[int]:
    """Which columns of a table hold categories.

    Parameters
    ----------
    X : object
        A table, or anything else, which has none.
    categorical : "from_dtype", None, or columns
        By names, numbers or a mask; "from_dtype": those of a type for categories or truth values in frames, and
        those of nothing but texts or truth values among objects.
    """
    if categorical is None or len(getattr(X, "shape", ())) != 2:
        return []
    frame, d = is_frame(X), X.shape[1]
    if not isinstance(categorical, str) or categorical != "from_dtype":
        if not isinstance(categorical, str) and not len(np.atleast_1d(np.asarray(categorical, dtype=object))):
            return []
        return sorted(find_columns(categorical, _names(X), d, "categorical").tolist())
    if not frame and X.dtype.kind not in "OUS":
        return []
    return [j for j in range(d) if _is_category(_column(X, j), frame)]


def _is_category(column, frame):
    dtype = column.dtype
    if _categories(column) is not None:
        return True
    kind = dtype.kind if isinstance(dtype, np.dtype) else None
    if frame and (kind == "b" or BOOL.match(str(dtype))):
        return True
    of_text = kind in ("U", "S") or re.match("str|utf8|categorical|large_string", str(dtype), re.IGNORECASE)
    if not of_text and str(dtype).lower() != "object":
        return False
    found = [entry for entry in _entries(column) if entry is not None]
    if not found:
        return bool(of_text)
    return any(all(isinstance(entry, kinds) for entry in found) for kinds in (TEXT, (bool, np.bool_)))


def _names(X):
    return [str(name) for name in X.columns] if is_frame(X) else None


class _Found(NamedTuple):
    """What tables have told of a column of categories."""

    typed: dict[Any, None]  # levels that its type has, in their order
    counts: Counter[Any]  # of entries
    ordered: bool
    dtype: Any  # in the first frame

    def and_of(self, column, of_frame, marker):
        """The same with one more table's column."""
        typed, kind = _categories(column), column.dtype
        labels = typed.tolist() if typed is not None else [False, True] if BOOL.match(str(kind)) else []
        entries = (entry for entry in _entries(column) if entry is not None and entry != marker)
        return _Found(
            {**self.typed, **{label: None for label in labels if label != marker}},
            self.counts + Counter(entries),
            self.ordered or bool(getattr(kind, "ordered", False)),
            kind if self.dtype is None and of_frame else self.dtype,
        )

    def levels(self, where, more_to_come):
        """Levels, and the code of that which gets no indicator: the most frequent."""
        counts = self.counts
        if more_to_come and not self.typed:
            raise ValueError(
                f"partial_fit must know all categories from the first, but the type of {where} does not tell "
                "them: give the column a type for categories, with all of its levels."
            )
        if self.ordered or more_to_come:
            labels = list(self.typed)
        elif self.typed:
            labels = [label for label in self.typed if counts[label]]
        else:
            labels = list(counts)
            with suppress(TypeError):  # labels of several types have no order
                labels = sorted(labels)
        if len(labels) > MOST_LEVELS:
            raise ValueError(
                f"X has {len(labels)} categories in {where}: more than {MOST_LEVELS} tell too little each. "
                "Leave the column out, or join categories; if they are numbers, make them floats."
            )
        if not self.ordered and len(labels) > max(FEW_LEVELS, counts.total() / 2):
            warn(
                f"X has {len(labels)} categories among {counts.total()} entries in {where}: most tell of one "
                "row alone. Leave the column out if it names the row; if it holds numbers, make them floats.",
                UserWarning,
            )
        most = max(range(len(labels)), key=lambda code: counts[labels[code]], default=0)
        return labels, most


def _codes(column, code, marker):
    """Codes of the entries of a column, NaN where one is missing, -1 where it has none."""
    code = {None: np.nan, marker: np.nan, **code}
    accessor, typed = getattr(column, "cat", None), _categories(column)
    if typed is not None and hasattr(accessor, "codes"):  # of pandas
        lookup = np.array([*(code.get(label, -1) for label in typed.tolist()), np.nan], dtype=float)
        return lookup[np.asarray(accessor.codes)]
    return np.array([code.get(e, -1) for e in _entries(column)], dtype=float)


def _listed(labels):
    labels = list(labels)
    more = f" and {len(labels) - LISTED} more" if labels[LISTED:] else ""
    return ", ".join(repr(label) for label in labels[:LISTED]) + more


def _typed(frame, values, dtype, j):
    """Values as a column of a frame, of a type; None: floats."""
    if hasattr(frame, "iloc"):
        pd = sys.modules["pandas"]
        return pd.Series(values, index=frame.index).astype(np.float64 if dtype is None else dtype)
    pl = sys.modules["polars"]
    column = pl.Series(frame.columns[j], values.tolist(), strict=False)
    return column.cast(pl.Float64 if dtype is None else dtype)


def _assembled(given, kept, columns, beside):
    """The columns of a table that are kept, some of them with new values, and others after them."""
    if not is_frame(given):
        out = given[:, kept].astype(object)
        for place, column in columns.items():
            out[:, place] = column
        return np.column_stack([out, *beside.values()]) if beside else out
    if hasattr(given, "iloc"):
        out = given.iloc[:, kept].copy(deep=False)
        for place, column in columns.items():
            out.isetitem(place, column)
        for name, column in beside.items():
            out.insert(out.shape[1], name, column, allow_duplicates=True)
        return out
    pl = sys.modules["polars"]
    out = given[:, list(map(int, kept))].with_columns(list(columns.values()))
    return out.with_columns([pl.Series(name, column) for name, column in beside.items()])
