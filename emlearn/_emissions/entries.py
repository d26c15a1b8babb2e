"""Observations that are none, or that a fit gives no density: refused, or warned of, by name and place."""

from __future__ import annotations

from functools import partial

import numpy as np

from emlearn._emissions.words import parts_of


def refuse_impossible(estimator, data, family):
    """Refuse observations for which an emission has no density; those without weight are absent.

    Parameters
    ----------
    estimator : HMMEM or MixtureEM
        For the names of columns.
    data : Data
        Rows or sequences in the user's units.
    family : Emission
    """
    _refuse(estimator, data, family, "is_possible", {})


def warn_of_impossible(estimator, data, family, params, labels):
    """Refuse what are no observations; warn, once, of such as have no density at parameters that were fitted.

    Parameters
    ----------
    estimator : HMMEM or MixtureEM
    data : Data
        Rows or sequences in the user's units.
    family : Emission
    params : NamedTuple
        Parameters of the family.
    labels : dict of int -> list
        By column what codes stand for.
    """
    _refuse(estimator, data, family, "is_observable", labels)
    parts = [part for part in parts_of(family, data.n_features, params) if part[1].observes != "numbers"]
    if not parts:
        return
    first, n = data.fold(partial(_impossible, parts), _first_and_sum)
    if n:
        place, column, value = first
        unit = "row" if len(place) == 1 else "sequence"
        which = f"that {unit}" if n == 1 else f"the {n} {unit}s with the like"
        estimator._warn(
            f"X is {_shown(value, column, labels)} in {estimator._column_name(column)}, {_where(place)}: never "
            f"seen in fit, or impossible after it. Its log-density is -inf, and so is the log-likelihood of "
            f"{which}. A prior, emission_prior, leaves no category impossible.",
            UserWarning,
        )


def _where(place):
    """Where an entry is, for messages: a row, or sequence and step."""
    return f"row {place[0]}" if len(place) == 1 else f"sequence {place[0]}, step {place[1]}"


def _shown(value, column, labels):
    """An entry, for messages."""
    return repr(labels[column][int(value)]) if column in labels else f"{value:g}"


def _refuse(estimator, data, family, way, labels):
    """Refuse what is missing in part where a family takes all or nothing, and entries that are not legal."""
    parts = parts_of(family, data.n_features)
    found = data.fold(partial(_first_refused, parts, way), min)
    if found == NONE_REFUSED:
        return
    part, is_value, place, column, value = found
    where = f"{estimator._column_name(column)}, {_where(place)}"
    if not is_value:
        unit = "row" if len(place) == 1 else "step"
        raise ValueError(
            f"Input X contains NaN in {where}, beside entries that are there: with this emission a "
            f"{unit} is missing as a whole or not at all. Columns that may be missing one by one need "
            "a family each, as in a dict by column."
        )
    raise ValueError(f"X is {_shown(value, column, labels)} in {where}: not one of {parts[part][1].support}.")


# What comes after every place.
NONE_REFUSED, NONE_IMPOSSIBLE = (np.inf,), ((np.inf,),)


def _first_refused(parts, way, batch):
    """What to say of the first entry that is refused; where there is none, what comes after all of them.

    Number of the part of the emissions, whether it is refused for its value and not as missing, and what
    `_first_place` says of it.
    """
    if batch.is_sparse:  # of which entries were looked at when they were read
        return NONE_REFUSED
    absent = np.zeros(batch.x.shape[1], dtype=bool) if batch.weight is None else batch.weight == 0
    for number, (columns, part, _) in enumerate(parts):
        x = batch.x[columns]
        missing = np.isnan(x)
        partly = np.zeros_like(absent)
        if not part.marginalises and missing.any():
            partly = missing.any(axis=0) & ~(missing.all(axis=0) | absent)
        bad = missing & partly if partly.any() else ~(getattr(part, way)(x) | absent)
        if bad.any():
            return number, int(not partly.any()), *_first_place(bad, columns, batch)
    return NONE_REFUSED


def _first_place(bad, columns, batch):
    """Row, or sequence and step, column and value of the first entry of a part that is ``bad`` (d, m)."""
    places = np.flatnonzero(bad.any(axis=0))
    if batch.lanes is None:
        first, where = places[0], (int(batch.rows.start + places[0]),)
    else:
        steps, lane = (place[places] for place in batch.lanes.places())
        sequences = batch.sequences[lane]
        earliest = np.lexsort([steps, sequences])[0]
        first, where = places[earliest], (int(sequences[earliest]), int(steps[earliest]))
    j = int(np.argmax(bad[:, first]))
    return where, int(columns[j]), float(batch.x[columns[j], first])


def _impossible(parts, batch):
    """The first entry that has no density, as `_first_place` says it, and in how many sequences or rows."""
    first, anywhere = NONE_IMPOSSIBLE, np.zeros(batch.x.shape[1], dtype=bool)
    if batch.is_sparse:
        return _impossible_of_sparse(*parts[0][1:], batch)
    for columns, part, own in parts:
        bad = ~part.is_possible(batch.x[columns], own)
        if bad.any():
            first = min(first, _first_place(bad, columns, batch))
            anywhere |= bad.any(axis=0)
    if batch.lanes is None:
        return first, int(np.count_nonzero(anywhere))
    return first, len(np.unique(batch.lanes.places()[1][anywhere]))


def _impossible_of_sparse(family, params, batch):
    """The same of sparse rows."""
    rows = np.flatnonzero(~family.possible_rows(batch.x, params))
    if not len(rows):
        return NONE_IMPOSSIBLE, 0
    values = batch.x[:, rows[:1]].toarray()
    j = int(np.argmin(family.is_possible(values, params)))
    return ((int(batch.rows.start + rows[0]),), j, float(values[j, 0])), len(rows)


def _first_and_sum(one, other):
    return min(one[0], other[0]), one[1] + other[1]


def entries_of(column, batch):
    """What is observed of a column in a batch, of rows with weight, each value once."""
    x = batch.x[column] if batch.weight is None else batch.x[column][batch.weight > 0]
    return np.unique(x[~np.isnan(x)])
