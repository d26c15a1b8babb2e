"""From what a user says of the observations to a family of densities."""

from __future__ import annotations

import numpy as np

from emlearn._input.columns import find_columns
from emlearn.families import Bernoulli, Categorical, MissingRows, MixtureOf, Poisson, Product, gaussian_family


def _gaussian(estimator):
    return gaussian_family(estimator.covariance_type, floor=estimator.reg_covar, n_factors=estimator.n_factors)


# The family of each word, from an estimator's other parameters.
EMISSIONS = {
    "gaussian": _gaussian,
    "poisson": lambda _: Poisson(),
    "categorical": lambda _: Categorical(),
    "bernoulli": lambda _: Bernoulli(),
    "gmm": lambda estimator: MixtureOf(_gaussian(estimator), estimator.n_mixtures),
}


def emission_family(estimator, n_features, names):
    """The family that an estimator's ``emission`` says, not yet bound to data.

    Parameters
    ----------
    estimator : HMMEM
        For its ``emission``: a word, a family object, or a dict of column -> either. Columns are names or
        numbers; those with the same word make up one part.
    n_features : int
    names : ndarray of str, or None

    Returns
    -------
    family : MissingRows, or Product of them
        Of several parts each may miss what the others have.
    """
    families = [
        (columns, what if not isinstance(what, str) else EMISSIONS[what](estimator))
        for columns, what in _parts(estimator.emission, n_features, names)
    ]
    families = [
        (columns, family if isinstance(family, MissingRows) else MissingRows(family))
        for columns, family in families
    ]
    return families[0][1] if len(families) == 1 else Product(tuple(families))


def parts_of(family, n_features, params=None):
    """Columns, family and parameters of each part of an emission."""
    if not isinstance(family, Product):
        return [(np.arange(n_features), family, params)]
    every = [None] * len(family.parts) if params is None else params
    return [(np.array(columns), part, own) for (columns, part), own in zip(family.parts, every, strict=True)]


def _parts(emission, n_features, names):
    """Columns of each part, a tuple of int, and its word or family."""
    if isinstance(emission, Product):
        if emission.n_features != n_features:
            raise ValueError(f"emission has {emission.n_features} columns, but X has {n_features}.")
        return emission.parts
    if not isinstance(emission, dict):
        return [(tuple(range(n_features)), _known(emission))]
    places = find_columns(list(emission), names, n_features, "emission").tolist() if emission else []
    found, together = {}, {}
    for place, what in zip(places, emission.values(), strict=True):
        found[place] = _known(what)
        together.setdefault(what if isinstance(what, str) else place, []).append(place)
    left = [j if names is None else str(names[j]) for j in range(n_features) if j not in found]
    if left:
        raise ValueError(f"emission says nothing of the columns {left}: give each column of X an emission.")
    return [(tuple(sorted(columns)), found[columns[0]]) for columns in together.values()]


def _known(what):
    if isinstance(what, str):
        if what not in EMISSIONS:
            raise ValueError(f"emission={what!r} is none of {', '.join(EMISSIONS)}.")
    elif isinstance(what, type) and hasattr(what, "density"):
        raise ValueError(f"emission={what.__name__} is a class: give an instance, {what.__name__}().")
    elif not hasattr(what, "density"):
        raise ValueError(
            f"emission={what!r} is neither one of {', '.join(EMISSIONS)}, nor a dict of these by column, nor "
            "a family from emlearn.families."
        )
    return what
