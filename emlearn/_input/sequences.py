"""Sequences: the ways in which users hand them over, and their one normal form."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from emlearn._input.arrays import read_array, read_weights, refuse_weights
from emlearn._input.categories import names_of
from emlearn._input.columns import list_names
from emlearn._input.tables import FLOATS, as_numpy, is_frame, read_table, refuse_entries
from emlearn._sklearn_compat import validate_data

SETS = (set, frozenset)  # of states


class Part(NamedTuple):
    """Some of the sequences of X, which are numbered as they are there."""

    sequences: list[Any]
    first: int = 0  # number of the first one


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences in normal form, and the way back to the form in which they came.

    Attributes
    ----------
    rows : ndarray of shape (n, d)
        All rows, float64 or float32; those of one sequence are together, in order of time.
    lengths : ndarray of shape (n_sequences,)
        Number of rows of each sequence, at least 1.
    order : ndarray of shape (n,) or None
        Position of each row in the user's X; None if they are as they came.
    form : {"list", "rows"}
        Whether X was a list of sequences (or a 3-D array) or the rows of all of them.
    first : int
        Number of the first sequence, where they are a part of X.
    """

    rows: np.ndarray
    lengths: np.ndarray
    order: np.ndarray | None
    form: str
    first: int = 0
    # Where columns held categories by name: by column what their codes stand for, of those of a fit first.
    labels: dict = field(default_factory=dict)

    @property
    def n_sequences(self):
        """Number of sequences."""
        return len(self.lengths)

    @property
    def offsets(self):
        """First row of each sequence, and at the end the number of rows; of shape (n_sequences + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def locate(self, row):
        """Number of the sequence, and step within it, of a row of `rows`."""
        sequence, step = locate(row, self.lengths)
        return self.first + sequence, step

    def shown(self, row, column):
        """An entry, for messages."""
        value = self.rows[row, column]
        return repr(self.labels[column][int(value)]) if column in self.labels else f"{value:g}"

    def per_row(self, values):
        """Repeat what there is one of for each sequence, so that there is one for each row of `rows`."""
        return np.repeat(values, self.lengths, axis=0)

    def restore(self, values):
        """Give values of shape (n, ...), one for each row of `rows`, the form in which X came.

        Rows become an array in the order of X; a list becomes an object array (n_sequences,) of arrays
        (T_i, ...).
        """
        if self.form == "list":
            return _split(values, self.lengths)
        if self.order is None:
            return values
        restored = np.empty_like(values)
        restored[self.order] = values
        return restored


def locate(row, lengths):
    """Sequence, and step within it, of a row of sequences of these lengths."""
    sequence = int(np.searchsorted(np.cumsum(lengths), row, side="right"))
    return sequence, int(row - lengths[:sequence].sum())


# -- reading -----------------------------------------------------------------------------------------------


def read_sequences(
    estimator,
    X,
    *,
    groups=None,
    lengths=None,
    sequence_id=None,
    max_gap=None,
    reset,
    allow_nan=True,
    coding=None,
):
    """Bring sequences, in whichever way they are given, into normal form.

    Parameters
    ----------
    estimator : estimator instance
        Where scikit-learn keeps `n_features_in_` and `feature_names_in_`, and who errors speak of.
    X : list of array-likes, array-like, or Part
        - a list, tuple or 1-D object array of 2-D arrays or DataFrames, one for each sequence;
        - a 3-D array (n_sequences, T, d), where rows of NaN at the end of a sequence are padding;
        - the rows of all sequences, (n, d), with `groups`, `lengths` or `sequence_id`;
        - rows alone: one sequence. A list of lists of the same length is rows, as it is in scikit-learn;
          one of 1-D arrays, which may be either, is refused;
        - a dict of sequences, or a frame's groupby: a list of them in that order.
    groups : array-like of shape (n,), default=None
        Rows of the same group form a sequence, in the order in which they come. Sequences are in order of
        first appearance.
    lengths : array-like of int of shape (n_sequences,), default=None
        Number of rows of each sequence; their sum is n.
    sequence_id : str, default=None
        Column, or index level, of a DataFrame that holds the groups; it is not a feature. A list or a 3-D
        array has no need of it: there it is left out of frames that have such a column, and is ignored
        otherwise.
    max_gap : number or time span, default=None
        `sequence_id` holds times, and a sequence ends where the next row of it is later by more than this, or
        earlier; without a `sequence_id` the index of the frame holds the times. None: nothing is cut.
    reset : bool
        Whether to set the estimator's feature names and number of features (fit), or to check them.
    allow_nan : bool, default=True
        Whether entries may be NaN. Infinity never passes.
    coding : Coding, default=None
        Of categories by name.

    Returns
    -------
    sequences : Sequences
    """
    marks = [name for name, mark in (("groups", groups), ("lengths", lengths)) if mark is not None]
    part, first = isinstance(X, Part), 0
    if part:
        X, first = X
        known = None if reset else _known_columns(estimator)
        gathered = _check_items(X, sequence_id, first, known)
    else:
        gathered = _gather(X, sequence_id)
    if gathered is not None and max_gap is not None:
        raise ValueError(
            "max_gap cuts rows into sequences, but X holds one sequence per entry already: set max_gap=None."
        )
    if gathered is not None and marks:
        raise ValueError(
            f"X holds one sequence per entry, which says already where each begins: drop {' and '.join(marks)}."
        )
    if len(marks) == 2:
        raise ValueError("groups and lengths both say where sequences begin: drop lengths.")

    order = None
    if gathered is None:
        if max_gap is not None:
            X, groups = _cut_at_gaps(X, sequence_id, groups, lengths, max_gap)
            lengths = None
        elif sequence_id is not None:
            X, groups = _take_id(X, sequence_id, groups, marks)
        advice = " If one says to which sequence a row belongs, set sequence_id." if is_frame(X) else ""
        if coding is not None:
            X = as_numpy(X)
            (X,) = coding.encode([X], lambda _, row: _place_in_rows(row, len(X), groups, lengths))
        X = read_table(X, advice=advice)
        rows = validate_data(estimator, X, reset=reset, dtype=FLOATS, ensure_all_finite=False)
        if groups is not None:
            lengths, order = read_groups(groups, len(rows))
            rows = rows if order is None else rows[order]
        else:
            lengths = np.array([len(rows)]) if lengths is None else read_lengths(lengths, len(rows))
    elif is_frame(gathered[0][0]):
        # Names are checked on one frame: joining arrays is much cheaper than joining frames.
        parts, lengths = _numbers_of(gathered, first, coding)
        validate_data(estimator, parts[0], reset=reset, skip_check_array=True)
        rows = check_array(
            np.concatenate([_frame_values(part) for part in parts]),
            dtype=FLOATS, ensure_all_finite=False, estimator=estimator, input_name="X",
        )  # fmt: skip
    else:
        parts, lengths = _numbers_of(gathered, first, coding)
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows = validate_data(estimator, rows, reset=reset, dtype=FLOATS, ensure_all_finite=False)
    form = "rows" if gathered is None else "list"
    labels = {} if coding is None else coding.shown
    sequences = Sequences(rows, np.asarray(lengths, dtype=np.intp), order, form, first, labels)
    _check_entries(estimator, sequences, allow_nan, is_all=not part)
    return sequences


def _known_columns(estimator):
    """Number of columns, or their names, that sequences must have, and who says so."""
    names = getattr(estimator, "feature_names_in_", None)
    return estimator.n_features_in_, None if names is None else list(names), type(estimator).__name__


def _numbers_of(gathered, first, coding=None):
    """Parts as tables of numbers, and lengths; the first sequence has the number ``first``."""
    parts, lengths = gathered
    whole = len(parts) < len(lengths)  # all sequences in one
    if coding is not None and not whole:
        parts = coding.encode(parts, lambda sequence, step: f"sequence {first + sequence}, step {step}")
    named = enumerate(parts, first)
    return [read_table(part, "X" if whole else f"Sequence {i}") for i, part in named], lengths


def _place_in_rows(row, n_rows, groups, lengths):
    """Sequence and step of a row, in words."""
    order = None
    if groups is not None:
        lengths, order = read_groups(groups, n_rows)
    lengths = np.array([n_rows]) if lengths is None else read_lengths(lengths, n_rows)
    row = row if order is None else int(np.flatnonzero(order == row)[0])
    sequence, step = Sequences(np.empty((n_rows, 0)), lengths, None, "rows").locate(row)
    return f"sequence {sequence}, step {step}"


def _gather(X, sequence_id=None):
    """Parts of X (2-D arrays or frames, each of one or more whole sequences) and lengths; None for rows."""
    if isinstance(X, dict):
        return _gather_dict(X, sequence_id)
    if is_grouped(X):
        return _gather(_ungroup(X), sequence_id)
    if getattr(X, "ndim", None) == 3 and not sparse.issparse(X):
        rows, lengths = _cut_padding(as_numpy(X))
        return [rows], lengths
    in_array = isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    if not (in_array or isinstance(X, (list, tuple))):
        return None
    if len(X) == 0:
        raise ValueError("X is an empty list: give at least one sequence.")
    n_dim = n_dim_of(X[0])
    if n_dim == 0:
        return None
    if n_dim == 1 and not in_array:  # rows, as in scikit-learn, if they can be
        shapes = {(n_dim_of(item), len(item)) if n_dim_of(item) else (0, 0) for item in X}
        if len(shapes) == 1 and all(len(getattr(item, "shape", ())) == 1 for item in X):
            raise ValueError(
                f"X is a list of {len(X)} one-dimensional arrays, which may be the rows of one sequence or a "
                "sequence each. Give np.vstack(X) for rows, and [x.reshape(-1, 1) for x in X] for sequences of "
                "one feature."
            )
        if len(shapes) == 1:
            return None
    return _check_items(X, sequence_id)


def _gather_dict(X, sequence_id):
    items = list(X.values())
    if not items:
        raise ValueError("X is an empty dict: give at least one sequence.")
    try:
        return _check_items(items, sequence_id)
    except ValueError as error:
        raise ValueError(
            f"{error} Sequences of a dict have numbers in its order: {list_names(list(X))}."
        ) from error


def is_grouped(X):
    """Whether X is a frame's groupby, of pandas or polars."""
    kind = type(X)
    package = kind.__module__.partition(".")[0]
    return package in ("pandas", "polars") and "GroupBy" in kind.__name__ and hasattr(kind, "__iter__")


def _ungroup(X):
    """The frame of each group, without the columns that say which it is."""
    keys = getattr(X, "keys", None)  # of pandas
    keys = keys if isinstance(keys, list) else [keys]
    parts = []
    for key, part in X:
        if not is_frame(part):  # the groupby of a column
            parts.append(part.to_frame())
            continue
        named = [name for name in keys if isinstance(name, str) and name in list(part.columns)]
        if not _is_pandas(part):  # polars has no names of what it grouped by, but these are constant
            key = key if isinstance(key, tuple) else (key,)
            named = [name for name in part.columns if part[name].n_unique() == 1 and part[name][0] in key]
        for name in named:
            part = _drop_column(part, name)
        parts.append(part)
    return parts


def _check_items(items, sequence_id, number=0, known=None):
    """Each sequence as a 2-D array or as a frame, all with the same features; and their lengths.

    The first one has a ``number``. Where columns are ``known`` they must be these.
    """
    items = [as_numpy(item, f"Sequence {i}") for i, item in enumerate(items, number)]
    framed = is_frame(items[0])
    expected, has, parts, lengths = None, f"sequence {number} has", [], np.empty(len(items), dtype=np.intp)
    if known is not None:
        width, names, who = known
        expected = names if framed else width
        has = has if expected is None else f"{who} is expecting"
    for i, item in enumerate(items, number):
        if is_frame(item) != framed:
            raise ValueError(
                f"Sequence {i} is a {type(item).__name__}, but sequence {number} is a "
                f"{type(items[0]).__name__}: give all as DataFrames or none."
            )
        if framed:
            if sequence_id is not None and sequence_id in list(item.columns):
                item = _drop_column(item, sequence_id)
            columns = list(item.columns)
        else:
            if sparse.issparse(item):
                raise TypeError(f"Sequence {i} is sparse: give a dense array, as by its toarray().")
            item = np.asarray(item)
            if item.ndim != 2:
                _refuse_dimensions(i, item)
            columns = item.shape[1]
        expected = columns if expected is None else expected
        if columns != expected:
            if framed:
                raise ValueError(
                    f"Sequence {i} has columns {list_names(columns)}, but {has} {list_names(expected)}."
                )
            raise ValueError(f"Sequence {i} has {columns} features, but {has} {expected}.")
        if len(item) == 0:
            raise ValueError(f"Sequence {i} is empty: leave it out, or give it at least one row.")
        parts.append(item)
        lengths[i - number] = len(item)
    return parts, lengths


def _refuse_dimensions(i, item):
    if item.ndim == 1:
        raise ValueError(
            f"Sequence {i} is one-dimensional: a sequence has the shape (n_steps, n_features). "
            "If it has a single feature, give its reshape(-1, 1)."
        )
    raise ValueError(f"Sequence {i} has the shape {item.shape} instead of (n_steps, n_features).")


def _cut_padding(X):
    """Rows and lengths of sequences (n_sequences, T, d), without the rows of NaN at their ends."""
    n_sequences, n_steps, n_features = X.shape
    if n_steps == 0:
        raise ValueError(f"Sequence 0 is empty: X has the shape {X.shape}, without any steps.")
    lengths = np.full(n_sequences, n_steps, dtype=np.intp)
    X = read_table(X.reshape(n_sequences * n_steps, n_features)).reshape(X.shape)
    padded = np.flatnonzero(np.isnan(X[:, -1]).all(axis=1)) if n_features else []
    if len(padded) == 0:
        return X.reshape(n_sequences * n_steps, n_features), lengths
    seen = ~np.isnan(X[padded]).all(axis=2)
    unseen = ~seen.any(axis=1)
    if unseen.any():
        raise ValueError(f"Sequence {padded[np.argmax(unseen)]} has nothing but NaN: leave it out.")
    lengths[padded] = n_steps - np.argmax(seen[:, ::-1], axis=1)
    return X[np.arange(n_steps) < lengths[:, None]], lengths


def _take_id(X, sequence_id, groups, marks):
    """Take the column or index level `sequence_id` out of a frame: what is left, and the groups."""
    if not is_frame(X):
        if marks:  # these say it too, and `sequence_id` is for frames
            return X, groups
        raise ValueError(
            f"sequence_id={sequence_id!r} names a column of a DataFrame, but X is a {type(X).__name__}: "
            "give a DataFrame, or groups=."
        )
    columns, levels = list(X.columns), list(getattr(getattr(X, "index", None), "names", ()))
    if sequence_id not in columns and sequence_id not in levels:
        raise ValueError(
            f"sequence_id={sequence_id!r} is not in X, which has the columns {list_names(columns)}"
            + (f" and the index levels {list_names(levels)}." if any(n is not None for n in levels) else ".")
        )
    if marks:
        raise ValueError(
            f"sequence_id={sequence_id!r} and {marks[0]} both say where sequences begin: drop {marks[0]}, "
            "or set sequence_id=None."
        )
    if columns == [sequence_id]:
        raise ValueError(f"X has no column but sequence_id={sequence_id!r}: there are no features.")
    if sequence_id in columns:
        return _drop_column(X, sequence_id), X[sequence_id]
    return X, X.index.get_level_values(sequence_id)


def _cut_at_gaps(X, sequence_id, groups, lengths, max_gap):
    """Take times out of a frame: what is left, and groups that end where a row is later by more than a gap."""
    if sequence_id is not None:
        X, times = _take_id(X, sequence_id, None, ())
    elif hasattr(X, "index") and hasattr(X, "iloc"):
        times = X.index
    else:
        raise ValueError(
            f"max_gap={max_gap!r} needs times: name their column in sequence_id, or give a DataFrame whose "
            "index holds them."
        )
    times, n = np.asarray(times), len(X)
    gap = _read_gap(max_gap, times)
    if (times != times).any():
        raise ValueError(
            f"The time of row {int(np.argmax(times != times))} is missing: give it, or drop the row."
        )
    if groups is not None and lengths is not None:
        raise ValueError("groups and lengths both say where sequences begin: drop lengths.")
    if groups is None:
        lengths = np.array([n]) if lengths is None else read_lengths(lengths, n)
        order = np.arange(n)
    else:
        lengths, order = read_groups(groups, n)
        order = np.arange(n) if order is None else order
    steps = np.diff(times[order])
    begins = np.r_[True, (steps > gap) | (steps < 0 * gap)]
    begins[np.cumsum(lengths)[:-1]] = True
    numbers = np.empty(n, dtype=np.intp)
    numbers[order] = np.cumsum(begins)
    return X, numbers


def _read_gap(max_gap, times):
    """A gap that differences of times can be compared with."""
    if times.dtype.kind not in "iufM":
        raise ValueError(f"Times must be numbers or datetimes for max_gap, but are of type {times.dtype}.")
    try:
        if times.dtype.kind == "M":
            pandas = sys.modules.get("pandas")
            gap = np.timedelta64(max_gap) if pandas is None else pandas.Timedelta(max_gap).to_timedelta64()
            is_positive = gap > np.timedelta64(0)
        else:
            gap = float(max_gap)
            is_positive = gap > 0
    except (TypeError, ValueError):
        is_positive = False
    if not is_positive:
        kind = "a span of time, as pandas reads it" if times.dtype.kind == "M" else "a number"
        raise ValueError(f"max_gap={max_gap!r} must be {kind}, and positive.")
    return gap


def read_groups(groups, n_rows):
    """Lengths, in order of first appearance, and the order that puts groups together (None: they are)."""
    if np.shape(groups) != (n_rows,):
        shape = np.shape(groups)
        raise ValueError(f"groups has shape {shape}, but X has {n_rows} rows: give one group per row.")
    codes = group_codes(groups)
    together = (codes[1:] >= codes[:-1]).all()
    return np.bincount(codes), None if together else np.argsort(codes, kind="stable")


def group_codes(groups):
    """Number of the group of each row, in order of first appearance."""
    # A list of mixed types must not become an array of strings: NaN would be a name like any other.
    groups = np.asarray(groups, dtype=object if isinstance(groups, (list, tuple)) else None)
    if groups.dtype.kind in "mM" and np.isnat(groups).any():
        _refuse_group(np.argmax(np.isnat(groups)))
    values = groups.tolist()
    codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
    missing = [value for value in codes if is_missing(value)]
    if missing:
        _refuse_group(next(row for row, value in enumerate(values) if is_missing(value)))
    return np.fromiter(map(codes.__getitem__, values), dtype=np.intp, count=len(values))


def _refuse_group(row):
    raise ValueError(f"The group of row {row} is missing: say where the row belongs, or drop it.")


def is_missing(value):
    if value is None:
        return True
    try:
        return bool(value != value)  # NaN, NaT
    except TypeError:  # pandas.NA is neither true nor false
        return True


def read_lengths(lengths, n_rows):
    given = np.asarray(lengths)
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise ValueError(f"lengths={lengths!r}: give a list of integers, one for each sequence.")
    bad = (given < 1) | (given != np.floor(given)) | ~np.isfinite(given)
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(
            f"lengths[{place}] is {given[place]}: the length of a sequence is an integer, 1 or more."
        )
    if given.sum() != n_rows:
        raise ValueError(
            f"lengths add up to {int(given.sum())}, but X has {n_rows} rows. If cross-validation has cut X, "
            "lengths stayed whole: give a list of sequences, groups or sequence_id instead."
        )
    return given.astype(np.intp)


def _check_entries(estimator, sequences, allow_nan, is_all):
    """Refuse infinity, and NaN unless it is allowed, naming the place; of a part of X with the sequence."""
    names = getattr(estimator, "feature_names_in_", None)

    def place(row):
        sequence, step = sequences.locate(row)
        if sequences.n_sequences == 1 and is_all:
            return f"row {step}"
        at = f"sequence {sequence}, row {step}"
        if sequences.form == "list":
            return at
        return f"{at} (row {row if sequences.order is None else sequences.order[row]} of X)"

    refuse_entries(sequences.rows, names, estimator, allow_nan, place)


# -- what goes with sequences ------------------------------------------------------------------------------


def check_sequence_weight(sample_weight, sequences):
    """One weight for each sequence.

    Parameters
    ----------
    sample_weight : float, array-like of shape (n_sequences,) or (n,), or None
        A number is the weight of every sequence. For rows, a weight for each row is taken too if it is the
        same throughout a sequence.
    sequences : Sequences
        What the weights belong to.

    Returns
    -------
    weight : ndarray of shape (n_sequences,), float64, or None
    """
    if sample_weight is None:
        return None
    n_sequences, n_rows = sequences.n_sequences, len(sequences.rows)
    weight = read_weights(sample_weight, n_sequences)
    if sequences.form == "rows" and weight.shape == (n_rows,) and n_rows != n_sequences:
        weight = weight if sequences.order is None else weight[sequences.order]
        of_rows, weight = weight, weight[sequences.offsets[:-1]]
        differs = of_rows != sequences.per_row(weight)
        if differs.any():
            sequence, step = sequences.locate(int(np.argmax(differs)))
            raise ValueError(
                f"sample_weight is {weight[sequence]:g} at the start of sequence {sequence} and "
                f"{of_rows[np.argmax(differs)]:g} in its row {step}: a weight counts whole sequences."
            )
    if weight.shape != (n_sequences,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, but X has {n_sequences} sequences"
            + (f" in {n_rows} rows" if sequences.form == "rows" else "")
            + ": give one weight per sequence."
        )
    refuse_weights(weight, "sequence")
    return weight


def check_state_labels(state_labels, sequences, n_states):
    """What is known of states.

    Parameters
    ----------
    state_labels : array-like of shape (n,) or (n, K), list of such for each sequence, or None
        States 0 to `n_states` - 1; -1, NaN or None where they are not known. In place of one state there may be
        a set of those that are possible; an array of booleans says it of each state.
    sequences : Sequences
        What the labels belong to.
    n_states : int
        Number of states, K.

    Returns
    -------
    labels : ndarray of int of shape (n,), of bool of shape (n, K), or None
        In the order of ``sequences.rows``: states, -1 where they are not known, or which are possible.
    """
    if state_labels is None:
        return None
    n_rows = len(sequences.rows)
    if sequences.form == "list":
        n_given = len(state_labels) if hasattr(state_labels, "__len__") else 0
        if n_given != sequences.n_sequences:
            raise ValueError(
                f"state_labels has {n_given} entries, but X has {sequences.n_sequences} sequences: "
                "give one array of labels per sequence."
            )
        parts = [_label_values(part, n_states) for part in state_labels]
        for i, (part, length) in enumerate(zip(parts, sequences.lengths, strict=True)):
            if part.shape not in ((length,), (length, n_states)):
                raise ValueError(
                    f"state_labels[{i}] has shape {part.shape}, but sequence {i} has {length} rows: "
                    f"give one label per row, or booleans of shape ({length}, {n_states})."
                )
        if any(part.ndim == 2 for part in parts):
            parts = [part if part.ndim == 2 else _as_sets(part, n_states) for part in parts]
        labels = np.concatenate(parts)
    else:
        labels = _label_values(state_labels, n_states)
        if labels.shape not in ((n_rows,), (n_rows, n_states)):
            raise ValueError(
                f"state_labels has shape {labels.shape}, but X has {n_rows} rows: give one label per row, or "
                f"booleans of shape ({n_rows}, {n_states})."
            )
        labels = labels if sequences.order is None else labels[sequences.order]
    if labels.ndim == 2:
        bad, which = ~(labels > 0).any(axis=1), "no state at all"
    else:
        labels = np.where(np.isnan(labels), -1.0, labels) if labels.dtype.kind == "f" else labels
        bad = (labels < -1) | (labels >= n_states) | (labels != np.floor(labels))
        which = labels[np.argmax(bad)]
    if bad.any():
        sequence, step = sequences.locate(int(np.argmax(bad)))
        raise ValueError(
            f"state_labels is {which} in sequence {sequence}, row {step}: a label is one of the states "
            f"0 to {n_states - 1}, or -1 where the state is not known, or a set of those that are possible."
        )
    return labels.astype(np.bool_ if labels.ndim == 2 else np.intp)


def name_states(state_labels, sequences, n_states):
    """Labels as numbers, where they are texts or of a type for categories, and the names of all states.

    Parameters
    ----------
    state_labels : array-like of shape (n,), list of array-likes, or None
        As of `check_state_labels`, or with names; None or NaN where a state is not known.
    sequences : Sequences
    n_states : int
    """
    if state_labels is None:
        return None, None
    of_list = sequences.form == "list"
    parts = [state_labels]
    if of_list:
        parts = list(state_labels) if hasattr(state_labels, "__len__") else []
    found = names_of(parts)
    if found is None:
        return state_labels, None
    codes, names = found
    if len(names) > n_states:
        raise ValueError(
            f"state_labels has {len(names)} names, {list_names(names.tolist())}, but there are "
            f"n_components={n_states} states."
        )
    if len(names) < n_states:  # those that no label names
        others = (name for name in map("state {}".format, range(2 * n_states)) if name not in names.tolist())
        names = np.array([*names.tolist(), *(next(others) for _ in range(n_states - len(names)))], dtype=object)
    return codes if of_list else codes[0], names


def _label_values(labels, n_states):
    """Labels of rows (n,), or which states are possible (n, K)."""
    if isinstance(labels, (list, tuple)) and any(isinstance(label, SETS) for label in labels):
        return np.array([_possible(label, row, n_states) for row, label in enumerate(labels)])
    values = as_numpy(labels, "state_labels")
    values = np.asarray(values)
    if values.dtype == object and any(isinstance(label, SETS) for label in values.flat):
        return _label_values(values.tolist(), n_states)
    if values.ndim == 2 and (values.dtype.kind == "b" or (values.shape[1] == n_states > 1)):
        if not ((values == 0) | (values == 1)).all():
            raise ValueError(
                "state_labels with a column for each state says of each whether it is possible: 0 or 1."
            )
        return values.astype(np.bool_)
    if values.dtype.kind in "iuf" or values.ndim == 0:
        return values
    return read_array("state_labels", labels)


def _as_sets(labels, n_states):
    return np.array([_possible(label, row, n_states) for row, label in enumerate(labels.tolist())])


def _possible(label, row, n_states):
    """Which states a label leaves possible, (K,)."""
    if is_missing(label) or (not isinstance(label, SETS) and label == -1):
        return np.ones(n_states, dtype=bool)
    possible = np.zeros(n_states, dtype=bool)
    for state in label if isinstance(label, SETS) else [label]:
        if not isinstance(state, Real) or not 0 <= state < n_states or state != int(state):
            raise ValueError(
                f"state_labels has {label!r} in row {row}: states are whole numbers from 0 to {n_states - 1}."
            )
        possible[int(state)] = True
    return possible


# -- helpers -----------------------------------------------------------------------------------------------


def _is_pandas(frame):
    return hasattr(frame, "iloc")


def n_dim_of(item):
    """Number of dimensions, without making an array of nested lists."""
    if isinstance(item, (list, tuple)):
        return 1 + (n_dim_of(item[0]) if len(item) else 0)
    return len(getattr(item, "shape", ()))


def _drop_column(frame, name):
    return frame.drop(columns=[name]) if _is_pandas(frame) else frame.drop(name)


def _frame_values(frame):
    values = frame.to_numpy()
    if values.dtype.kind in "fiub":
        return values
    return check_array(frame, dtype=FLOATS, ensure_all_finite=False, input_name="X")  # knows pandas.NA


def _join(parts):
    """Rows of all parts: a frame of frames, an array of arrays."""
    if len(parts) == 1:
        return parts[0]
    if not is_frame(parts[0]):
        return np.concatenate(parts)
    if _is_pandas(parts[0]):
        return sys.modules["pandas"].concat(parts)
    return sys.modules["polars"].concat(parts, how="vertical_relaxed")


def _split_rows(values, lengths):
    """Split what a transformer made of rows, if it made one row of each."""
    shape = values.shape if hasattr(values, "shape") else (len(values),)
    if len(shape) != 2 or shape[0] != lengths.sum():
        raise ValueError(
            f"The transformer makes an array of shape {tuple(shape)} of {lengths.sum()} rows. SequenceWise "
            "needs one row for each; what looks across rows (lags, differences, windows) must be applied to "
            "the sequences one by one."
        )
    return _split(values, lengths)


def _split(values, lengths):
    """Object array of the values of each sequence."""
    if sparse.issparse(values):
        values = values.tocsr()
    sliceable = values.iloc if hasattr(values, "iloc") else values
    parts, start = np.empty(len(lengths), dtype=object), 0
    for i, length in enumerate(lengths.tolist()):
        parts[i] = sliceable[start : start + length]
        start += length
    return parts
