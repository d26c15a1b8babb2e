"""From what a user says of the observations to a family of densities that knows the data's limits."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from emlearn.em import Batch
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    Categorical,
    Gaussian,
    IncompleteGaussian,
    MixtureOf,
    Poisson,
    Product,
    WithGaps,
)
from emlearn.families.base import Sketch
from emlearn.families.gaussian import LEAST_FLOOR


@dataclass(frozen=True)
class Part:
    """Some columns of the data, and what their emission needs to know of them."""

    estimator: object  # for its parameters, warnings and names of columns
    columns: np.ndarray  # (d,) of int
    rows: np.ndarray  # (n, d), in the user's units, those that count
    some: Batch  # of these columns, all steps or an even part of them, in the engine's units
    constant: np.ndarray  # (d,) of bool

    def name(self, j):
        """Name of a column, for messages."""
        return self.estimator._column_name(self.columns[j])


def _gaussian(part):
    estimator = part.estimator
    shape = COVARIANCE_SHAPES[estimator.covariance_type]
    return _bound(part, IncompleteGaussian(shape, max(estimator.reg_covar, LEAST_FLOOR)))


def _bound(part, gaussian):
    return bind_floor(part.estimator, gaussian, part.some, part.constant, part.columns)


def _gmm(part):
    return MixtureOf(_gaussian(part), part.estimator.n_mixtures)


def _poisson(part):
    return Poisson()


def _bernoulli(part):
    return Bernoulli()


def _categorical(part):
    most = np.nanmax(part.rows, axis=0)
    if most.max() > max(len(part.rows), 100):
        raise ValueError(
            f"Categories must be the codes 0, 1, 2, ..., but {part.name(np.argmax(most))} has "
            f"{most.max():g} in {len(part.rows)} rows: recode it, as by scikit-learn's OrdinalEncoder."
        )
    return Categorical(tuple(int(max(code, 0)) + 1 for code in most))


EMISSIONS = {
    "gaussian": _gaussian,
    "poisson": _poisson,
    "categorical": _categorical,
    "bernoulli": _bernoulli,
    "gmm": _gmm,
}
# These are fitted in units of the data's own spread; counts and codes have no units.
SCALED = ("gaussian", "gmm")


def parse_emission(emission, n_features, names):
    """Parts of the columns and what each is: a list of pairs (columns, name or family).

    Parameters
    ----------
    emission : str, family object, or dict of column -> either
        Columns of a dict are names or numbers; those with the same name of an emission make up one part.
    n_features : int
    names : ndarray of str, or None

    Returns
    -------
    parts : list of (ndarray of int, str or family)
    """
    if isinstance(emission, Product):
        if emission.n_features != n_features:
            raise ValueError(f"emission has {emission.n_features} columns, but X has {n_features}.")
        return [(np.array(columns), family) for columns, family in emission.parts]
    if not isinstance(emission, dict):
        return [(np.arange(n_features), _known(emission))]
    positions = {} if names is None else {name: j for j, name in enumerate(names)}
    found, together = {}, {}
    for column, what in emission.items():
        place = positions.get(column, column)
        if not isinstance(place, Integral) or not 0 <= place < n_features:
            known = f"0 to {n_features - 1}" if names is None else f"{list(names)}"
            raise ValueError(f"emission names the column {column!r}, but the columns of X are {known}.")
        if place in found:
            raise ValueError(f"emission names column {place} twice.")
        found[int(place)] = _known(what)
        key = what if isinstance(what, str) else int(place)
        together.setdefault(key, []).append(int(place))
    left = [j if names is None else str(names[j]) for j in range(n_features) if j not in found]
    if left:
        raise ValueError(f"emission says nothing of the columns {left}: give each column of X an emission.")
    return [(np.array(sorted(columns)), found[columns[0]]) for columns in together.values()]


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


def is_scaled(what):
    """Whether an emission is fitted in units of the data's own spread."""
    if isinstance(what, (MixtureOf, WithGaps)):
        return is_scaled(what.family)
    return isinstance(what, Gaussian) or (isinstance(what, str) and what in SCALED)


def bind_emission(parts):
    """The family of all columns together.

    Parameters
    ----------
    parts : list of pairs (Part, name or family)

    Returns
    -------
    family : Emission
    """
    families = []
    for part, what in parts:
        family = EMISSIONS[what](part) if isinstance(what, str) else _bind(part, what)
        families.append(WithGaps(family))
    if len(families) == 1:
        return families[0]
    columns = [tuple(part.columns.tolist()) for part, _ in parts]
    return Product(tuple(zip(columns, families, strict=True)))


def _bind(part, family):
    """A family that a user made, Gaussians in it bound to the data's limits."""
    if isinstance(family, WithGaps):
        return _bind(part, family.family)
    if isinstance(family, MixtureOf):
        return MixtureOf(_bind(part, family.family), family.n_components)
    if isinstance(family, Gaussian):
        return _bound(part, IncompleteGaussian(family.structure, family.floor, family.forced))
    if isinstance(family, Categorical) and len(family.n_categories) != len(part.columns):
        raise ValueError(
            f"emission={family} is for {len(family.n_categories)} columns, but X has {len(part.columns)} for "
            "it."
        )
    return family


def parts_of(family, n_features, params=None):
    """Columns, inner family and parameters of each part of a bound emission."""
    if isinstance(family, Product):
        every = [None] * len(family.parts) if params is None else params
        parts = zip(family.parts, every, strict=True)
        return [(np.array(columns), gaps.family, of_part) for (columns, gaps), of_part in parts]
    return [(np.arange(n_features), family.family, params)]


def bind_floor(estimator, gaussian, batch, constant, columns):
    """A Gaussian family that knows how many eigenvalues the data force onto its floor; warns if there are any.

    Parameters
    ----------
    estimator : EMMixin
        Who warns.
    gaussian : Gaussian
    batch : Batch
        Rows, in the engine's units.
    constant : ndarray of bool of shape (d,)
        Which features are constant.
    columns : ndarray of int of shape (d,)
        Where they stand in X.

    Returns
    -------
    gaussian : Gaussian
    """
    names = tuple(estimator._column_name(column) for column in columns)
    gaussian = gaussian.bound_to(Sketch(batch, np.nanmax(batch.x, axis=1), batch.x.shape[1], names))
    forced = gaussian.forced_columns()
    if forced is None:
        return gaussian
    named = [names[j] for j in np.flatnonzero(constant | forced)]
    listed = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if named[10:] else "")
    n_distinct = len(np.unique(batch.x, axis=1).T)
    estimator._warn(
        f"X is constant or linearly dependent in {listed} ({n_distinct} distinct rows, {len(constant)} "
        "columns), or nearly so beside an outlier or such a floor: covariances rest on the floor set by "
        f"reg_covar={gaussian.floor:g}."
    )
    return gaussian
