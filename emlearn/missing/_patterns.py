"""Which entries are missing together."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array

from emlearn._input.categories import _column, _entries
from emlearn._input.tables import NUMERIC, as_numpy, is_frame, number, read_table, refuse_entries, shorten
from emlearn.families.patterns import group_columns

SHOWN_PATTERNS, SHOWN_WIDTH = 20, 100  # of a table in print


def _read(X):
    """Rows as float64, NaN where an entry is missing, and the names of the features ("x0", ... without)."""
    X = as_numpy(X)
    names = [str(name) for name in X.columns] if is_frame(X) else None
    X = check_array(read_table(X), dtype=np.float64, ensure_all_finite=False)
    names = [f"x{i}" for i in range(X.shape[1])] if names is None else names
    refuse_entries(X, names)
    return X, names


class AnyTable(NamedTuple):
    """What is there in a table of anything."""

    values: NDArray[np.float64]  # (n, d), NaN where an entry is missing or no number
    observed: NDArray[np.bool_]  # (n, d)
    is_number: NDArray[np.bool_]  # (d,), which columns hold numbers
    names: list[str]


def _read_any(X):
    """A table of numbers, texts, categories, dates or anything else."""
    X = as_numpy(X)
    shape = getattr(X, "shape", ())
    others = [str(dtype) for dtype in X.dtypes] if is_frame(X) else [str(getattr(X, "dtype", ""))]
    if len(shape) != 2 or not all(shape) or all(map(NUMERIC.match, others)) or sparse.issparse(X):
        X, names = _read(X)
        return AnyTable(X, ~np.isnan(X), np.ones(X.shape[1], dtype=bool), names)
    names = [str(name) for name in X.columns] if is_frame(X) else [f"x{j}" for j in range(shape[1])]
    values, observed = np.full(shape, np.nan), np.empty(shape, dtype=bool)
    is_number = np.zeros(shape[1], dtype=bool)
    for j in range(shape[1]):
        entries = entries_of(X, j)
        observed[:, j] = [entry is not None for entry in entries]
        with suppress(TypeError, ValueError):
            values[:, j] = [number(entry) for entry in entries]
            is_number[j] = True
    refuse_entries(values, names if is_frame(X) else None)
    return AnyTable(values, observed, is_number, names)


def entries_of(X, j):
    """Entries of a column, None where one is missing."""
    column = _column(X, j)
    if getattr(column.dtype, "kind", "") in "mM" and isinstance(X, np.ndarray):
        return column.astype(f"{column.dtype.kind}8[us]").tolist()
    return _entries(column)


def _patterns_of(observed):
    """Distinct rows (P, d) of ``observed``, their counts, and which of them each row is."""
    rows, bounds = group_columns(~observed.T)
    patterns, counts = observed[rows[bounds[:-1]]], np.diff(bounds)
    missing = ~patterns
    # The last key counts most: fewest missing, then most rows, then gaps in the later features.
    order = np.lexsort((*missing.T[::-1], -counts, missing.sum(axis=1)))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    which = np.empty_like(rows)
    which[rows] = np.repeat(place, counts)
    return patterns[order], counts[order], which


# -- patterns ------------------------------------------------------------------------------------------------


class MissingPatterns(NamedTuple):
    """Patterns of missing entries, those with the fewest first, then those of the most rows.

    Made by `missing_patterns`. Printed, it is a table: a line for each pattern with its number of rows,
    and below each feature how many of its entries are missing.

    Attributes
    ----------
    observed : ndarray of bool of shape (P, d)
        Which features each pattern has.
    counts : ndarray of int of shape (P,)
        Number of rows of each pattern.
    n_missing : ndarray of int of shape (d,)
        Number of missing entries of each feature.
    feature_names : list of d str
        Names of the features; "x0", "x1", ... where X has none.
    """

    observed: NDArray[np.bool_]  # (P, d)
    counts: NDArray[np.intp]  # (P,)
    n_missing: NDArray[np.intp]  # (d,)
    feature_names: list[str]

    def to_frame(self) -> Any:
        """The patterns as a table of pandas.

        Returns
        -------
        frame : DataFrame of shape (P, d + 2)
            ``n_rows``, a column of bool for each feature (True where it is observed), and ``n_missing``,
            the number of features that the pattern lacks.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> from emlearn.missing import missing_patterns
        >>> missing_patterns([[1.0, None], [2.0, 5.0], [3.0, 6.0]]).to_frame()
           n_rows    x0     x1  n_missing
        0       2  True   True          0
        1       1  True  False          1
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas, which is not installed.") from error
        frame = pd.DataFrame(self.observed, columns=self.feature_names)
        frame.insert(0, "n_rows", self.counts, allow_duplicates=True)
        lacking = np.count_nonzero(~self.observed, axis=1)
        frame.insert(frame.shape[1], "n_missing", lacking, allow_duplicates=True)
        return frame

    def largest(self, n_patterns: int) -> NDArray[np.intp]:
        """Numbers of the patterns of the most rows.

        Parameters
        ----------
        n_patterns : int
            How many, at most.

        Returns
        -------
        numbers : ndarray of int
            In the order of the patterns.
        """
        return np.sort(np.argsort(-self.counts, kind="stable")[:n_patterns])

    def __repr__(self):
        n, P, d = self.counts.sum(), len(self.counts), len(self.feature_names)
        total = self.n_missing.sum()
        head = f"{_count(n, 'row')}, {_count(P, 'pattern')}, {total} of {n * d} entries missing"
        head += f" ({total / (n * d):.1%})" if total else ""
        rows = self.largest(SHOWN_PATTERNS)
        names = [shorten(name, 12) for name in self.feature_names]
        totals = [str(m) for m in self.n_missing]
        widths = np.array([max(len(name), len(m), 2) for name, m in zip(names, totals, strict=True)])
        margin = max(4, len(str(self.counts.max())))
        room = SHOWN_WIDTH - margin - len("  missing")
        # Where not all features fit, those with the most gaps are of interest.
        by_interest = np.argsort(-self.n_missing, kind="stable")
        fitting = np.count_nonzero(np.cumsum(widths[by_interest] + 2) <= room)
        shown = np.sort(by_interest[:fitting])

        def line(lead, cells):
            cells = [f"{cell:>{widths[j]}}" for j, cell in zip(shown, cells, strict=True)]
            return "  ".join([f"{lead:>{margin}}", *cells])

        lines = [head, line("rows", [names[j] for j in shown])]
        lines += [line(self.counts[p], ["." if self.observed[p, j] else "NA" for j in shown]) for p in rows]
        lines.append(line("", self.n_missing[shown]) + "  missing")
        if len(rows) < P:
            left = _count(n - self.counts[rows].sum(), "row")
            lines.append(f"and {_count(P - len(rows), 'other pattern')} of {left}")
        if len(shown) < d:
            lines.append(
                f"and {_count(d - len(shown), 'more feature')}, "
                f"{total - self.n_missing[shown].sum()} of their entries missing"
            )
        return "\n".join(lines)


def _count(number, noun, nouns=None):
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def missing_patterns(X: Any) -> MissingPatterns:
    """Which entries are missing together, and in how many rows.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows are observations; NaN, None, and pandas' NA and NaT are missing entries. Columns may hold anything:
        numbers, texts, categories, dates.

    Returns
    -------
    patterns : MissingPatterns
        ``observed`` (P, d), ``counts`` (P,), ``n_missing`` (d,) and ``feature_names``.

    Raises
    ------
    ValueError
        If X has infinite entries, or is no table.

    Examples
    --------
    >>> from emlearn.datasets import load_airquality
    >>> from emlearn.missing import missing_patterns
    >>> airquality = load_airquality(as_frame=True).frame
    >>> missing_patterns(airquality)
    153 rows, 4 patterns, 44 of 918 entries missing (4.8%)
    rows  Ozone  Solar.R  Wind  Temp  Month  Day
     111      .        .     .     .      .    .
      35     NA        .     .     .      .    .
       5      .       NA     .     .      .    .
       2     NA       NA     .     .      .    .
             37        7     0     0      0    0  missing
    """
    _, observed, _, names = _read_any(X)
    patterns, counts, _ = _patterns_of(observed)
    return MissingPatterns(patterns, counts, np.count_nonzero(~observed, axis=0), names)
