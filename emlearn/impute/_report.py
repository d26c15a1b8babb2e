"""What of data and of a fitted imputer is not as it should be, in sentences."""

from __future__ import annotations

import numpy as np

# With more features than this, a full covariance is worth a warning if there are fewer observed entries for
# each of its parameters than so many: with a ridge that the data chose, and with another.
FEW_FEATURES, FEW, SCANTY = 10, 1.0, 5.0
# Where a fit would rest on its constraints, the least eigenvalue that a raised ridge leaves, relatively.
RAISED_TO = 1e-6
# Least eigenvalue of a fit, relatively: with less the objective loses its digits before it rests there.
FLOOR = 0.1 * RAISED_TO
# Columns and pairs of them that a message lists.
MOST_COLUMNS, MOST_PAIRS = 10, 5
# A prior worth more than this share of all weight outweighs weights that do not count rows.
OUTWEIGHED = 0.1
# Entries of singular directions, squared, that count.
TAKES_PART = 1e-3


def complaints_of_columns(imputer, data):
    """Complaints of columns without entries, of constant ones, and of pairs that no row has both of."""
    empty = imputer._empty
    constant = np.setdiff1d(np.flatnonzero(~empty), imputer._features)
    # Of levels that no row has, a category has columns that are constant beside others that are not.
    of = imputer._feature_of
    constant = constant[~np.isin(of[constant], of[imputer._features])]
    if empty.any():
        what = "left out of the output. Set keep_empty_features=True to keep them, filled with 0."
        if imputer.keep_empty_features:
            what = "filled with 0; categories stay missing." if imputer._table else "filled with 0."
        yield f"X has {_listed(imputer, np.flatnonzero(empty))} without any entry: {what}"
    if len(constant):
        listed = _listed(imputer, constant)
        yield f"X has {listed} constant: filled with that value, of no use for the others."
    if len(imputer._features) and imputer._model.family.has_correlations:
        yield from _of_strangers(imputer, data)


def of_raised_ridge(imputer, covariances, used, ridge):
    """The complaint that covariances (K, d, d) are singular without more ridge than used, and along what."""
    along = np.zeros(len(imputer._features))
    for covariance in covariances:
        values, vectors = np.linalg.eigh(covariance)
        along += (vectors[:, values < RAISED_TO] ** 2).sum(axis=1)
    return (
        f"With ridge={used:g} the covariance is singular along "
        f"{_listed(imputer, imputer._features[along > TAKES_PART])}: linearly dependent, or too few rows. The "
        f"fit was done again with ridge={ridge:.3g}."
    )


def of_small_weights(imputer):
    """Complaints that weights are worth few rows beside the prior."""
    moments = imputer._fitted_to
    if moments.has_weights and moments.weight < moments.n_rows and imputer.ridge_ > OUTWEIGHED * moments.weight:
        yield (
            f"sample_weight sums to {moments.weight:.3g} for {moments.n_rows} rows, beside a prior worth "
            f"ridge={imputer.ridge_:g} rows: a weight says how often a row counts. Scale weights to sum to the "
            "number of rows, or set ridge=0."
        )


def of_few_entries(imputer, family):
    """Complaints that there are few entries for the parameters of a full covariance, where some are missing."""
    moments, d = imputer._fitted_to, len(imputer._features)
    entries = moments.entries[imputer._features]
    gaps = entries.min(initial=moments.weight) < moments.weight
    chosen = imputer.ridge == "auto"
    share = moments.n_rows / moments.weight  # of weights that do not count rows
    per_parameter = share * entries.sum() / max(family.size(d), 1)
    if family.has_correlations and gaps and d > FEW_FEATURES and per_parameter < (FEW if chosen else SCANTY):
        rest = "" if chosen else ", which the data did not choose: intervals may be too narrow"
        yield (
            f"There are {per_parameter:.2g} observed entries for each parameter of a full covariance of {d} "
            f"features: what is imputed rests on ridge={imputer.ridge_:g}{rest}. "
            + ("Try covariance_type='factor'." if chosen else "Leave ridge at 'auto'.")
        )


def _of_strangers(imputer, data):
    """Complaints of features that no row has both of."""
    features, moments = imputer._features, imputer._fitted_to
    entries = moments.entries[features]
    if len(entries) < 2 or np.sort(entries)[:2].sum() > moments.weight:
        return  # the rarest two must meet
    pairs = np.argwhere(np.triu(data.recut(columns=features).sum(_seen_together) == 0))
    if len(pairs):
        first = np.searchsorted(imputer._feature_of, imputer._feature_of[features[pairs]])  # of each category's
        pairs = np.unique(first, axis=0)
        named = [" and ".join(imputer._column_name(j) for j in pair) for pair in pairs[:MOST_PAIRS]]
        more = f" and {len(pairs) - MOST_PAIRS} more pairs" if pairs[MOST_PAIRS:].size else ""
        yield (
            f"No row has both {'; '.join(named)}{more}: their correlation cannot be learnt but through "
            "other features and the ridge."
        )


def _seen_together(batch):
    """In how many rows with weight features are observed in pairs, (d, d)."""
    seen = ~np.isnan(batch.x)
    if batch.weight is not None:
        seen = seen[:, batch.weight > 0]
    return seen.astype(np.float32) @ seen.T.astype(np.float32)


def _listed(imputer, columns):
    names = list(dict.fromkeys(imputer._column_name(j) for j in columns))
    more = f" and {len(names) - MOST_COLUMNS} more" if names[MOST_COLUMNS:] else ""
    return ", ".join(names[:MOST_COLUMNS]) + more
