"""What of emissions is published after a fit, and what their codes stand for."""

from __future__ import annotations

import numpy as np

from emlearn._emissions.words import parts_of
from emlearn._input.categories import decoded
from emlearn.em.trees import tree_map


def fields_of(family, params, n_features, n_components):
    """Parameters of the emissions by name, under names of their own where all columns have the same.

    Parameters
    ----------
    family : Emission
    params : NamedTuple, or tuple of them
        In the user's units.
    n_features, n_components : int

    Returns
    -------
    fields : dict
    """
    parts = parts_of(family, n_features, tree_map(np.copy, params))
    if len(parts) > 1:
        return {"emission_params": {tuple(columns.tolist()): own for columns, _, own in parts}}
    _, part, own = parts[0]
    return {"emission_params": own, **part.fields(own, (n_components,))}


def probabilities_of(family, params, n_features):
    """Probabilities of categories, (K, n_categories), by the number of each column that has any, in order.

    Where parameters are those of groups, they are of the shape (K, n_groups, n_categories).
    """
    found = {}
    for columns, part, own in parts_of(family, n_features, params):
        each = zip(columns.tolist(), part.category_probabilities(own), strict=False)
        found |= {j: p for j, p in each if p is not None}
    return dict(sorted(found.items()))


def categories_of(family, params, n_features, labels):
    """What codes stand for in each column of categories, in the order of columns: codes, or ``labels``."""
    probabilities = probabilities_of(family, params, n_features)
    return [labels.get(j, np.arange(p.shape[-1])) for j, p in probabilities.items()]


def with_labels(X, labels):
    """Rows with names in the place of codes, where fit saw names; of any other columns numbers."""
    if not labels:
        return X
    columns = [decoded(x, labels[j]) if j in labels else x for j, x in enumerate(X.T)]
    if len(labels) == len(columns) and len({column.dtype.kind for column in columns}) == 1:
        return np.stack(columns, axis=1)
    table = np.empty(X.shape, dtype=object)
    for j, column in enumerate(columns):
        table[:, j] = column
    return table


def kept_state(state):
    """The state of an estimator as it is kept: tuples of columns are no keys of JSON, as of skops."""
    by_column = state.get("emission_params_")
    if not isinstance(by_column, dict):
        return state
    return state | {"emission_params_": list(by_column.items())}


def read_state(state):
    """The inverse of `kept_state`."""
    by_column = state.get("emission_params_")
    return state | {"emission_params_": dict(by_column)} if isinstance(by_column, list) else state
