"""The language of emissions: from a word, a dict by column or a family to a family of densities."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import numpy as np

from emlearn._input.arrays import read_array
from emlearn._input.columns import find_columns
from emlearn.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Covariates,
    Exponential,
    Gamma,
    Geometric,
    LogNormal,
    MissingRows,
    MixtureOf,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
    VonMises,
    VonMisesFisher,
    ZeroInflatedPoisson,
    gaussian_family,
    student_t_family,
)
from emlearn.families.base import unwrapped
from emlearn.families.variational import changed


def _gaussian(estimator):
    return gaussian_family(estimator.covariance_type, floor=estimator.reg_covar, n_factors=estimator.n_factors)


def _student_t(estimator):
    return student_t_family(estimator.covariance_type, floor=estimator.reg_covar)


# The family of each word, from an estimator's other parameters.
EMISSIONS = {
    "gaussian": _gaussian,
    "student_t": _student_t,
    "poisson": lambda _: Poisson(),
    "categorical": lambda _: Categorical(),  # with as many categories as `_with_categories` says
    "bernoulli": lambda _: Bernoulli(),
    "binomial": lambda _: Binomial(),
    "multinomial": lambda _: Multinomial(),
    "negative_binomial": lambda _: NegativeBinomial(),
    "zero_inflated_poisson": lambda _: ZeroInflatedPoisson(),
    "gamma": lambda _: Gamma(),
    "exponential": lambda _: Exponential(),
    "lognormal": lambda estimator: LogNormal(_gaussian(estimator)),
    "beta": lambda _: Beta(),
    "geometric": lambda _: Geometric(),
    "von_mises": lambda _: VonMises(),
    "von_mises_fisher": lambda _: VonMisesFisher(),
    "gmm": lambda estimator: MixtureOf(_gaussian(estimator), estimator.n_mixtures),
}

# Those whose rows may be sparse.
SPARSE = ("multinomial", "bernoulli", "poisson", "von_mises_fisher")

# Names of what families have for parameters; with "gmm" besides the weights of members.
PARAMETERS = (
    *("means", "covariances", "loadings", "noise", "log_means", "log_covariances"),
    *("rates", "probabilities", "dispersions", "inflations", "shapes", "alphas", "betas"),
    *("scale_matrices", "df"),
    *("angles", "directions", "concentrations"),
)
# What the words say of columns; those that are left out are of numbers.
KINDS = {
    "categorical": "codes",
    **dict.fromkeys(("poisson", "bernoulli", "binomial", "multinomial"), "counts"),
    **dict.fromkeys(("negative_binomial", "zero_inflated_poisson", "geometric"), "counts"),
}


def emission_family(estimator, n_features, names, aside=(), *, in_sequence=True, emission=None):
    """The family that an estimator's ``emission`` says, not yet bound to data.

    Parameters
    ----------
    estimator : HMMEM or MixtureEM
        For its ``emission``: a word, a family object, or a dict of column -> either. Columns are names or
        numbers; those with the same word make up one part.
    n_features : int
    names : ndarray of str, or None
    aside : tuple of int, default=()
        Columns that are no observations, but given with them.
    in_sequence : bool, default=True
        Whether observations follow one another, so that whole ones that are missing keep their place: a lone
        family is then spared these, even if it could take them.
    emission : str, dict or Emission, default=None
        What is said of columns, in the place of ``estimator.emission``.

    Returns
    -------
    family : Emission
        With several parts a Product, of which each may miss what the others have. What stands ``aside`` is a
        part of its own, the last.
    """
    emission = estimator.emission if emission is None else emission
    families = [
        (columns, family_of(estimator, what)) for columns, what in _parts(emission, n_features, names, aside)
    ]
    families = _with_categories(estimator, families)
    if len(families) > 1 or in_sequence or not families[0][1].marginalises:
        families = [
            (columns, family if isinstance(family, MissingRows) else MissingRows(family))
            for columns, family in families
        ]
    if aside:
        families.append((tuple(aside), Covariates()))
    return families[0][1] if len(families) == 1 else Product(tuple(families))


def family_of(estimator, what):
    """The family of a word, or a family as it is."""
    what = _known(what)
    return EMISSIONS[what](estimator) if isinstance(what, str) else what


def _with_categories(estimator, parts):
    """Columns and families with the numbers of categories that are said, or that go with names."""
    said, labels = estimator.n_categories, getattr(estimator, "_labels", {})
    places = [j for columns, family in parts if unwrapped(family).observes == "codes" for j in columns]
    if said is None:
        of_column = {}
    elif isinstance(said, Integral):
        of_column = dict.fromkeys(places, int(said))
    else:
        given = read_array(
            "n_categories", said, shapes=[(len(places),)], advice="Give one for each such column."
        )
        if not ((given >= 1) & (given == np.floor(given))).all():
            raise ValueError(f"n_categories={said!r} must hold integers of 1 or more.")
        of_column = dict(zip(sorted(places), map(int, given), strict=True))
    if said is not None and not places:
        raise ValueError(
            f"n_categories={said!r} is of categories, but emission={estimator.emission!r} has none: drop it."
        )
    for j, names in labels.items():
        if of_column.get(j, len(names)) < len(names):
            raise ValueError(
                f"n_categories is {of_column[j]} for {estimator._column_name(j)}, but that has {len(names)}."
            )
        of_column.setdefault(j, len(names))

    def known(family, columns):
        if not isinstance(family, Categorical) or family.n_categories:
            return family
        n_categories = tuple(of_column.get(j, 0) for j in columns)
        return replace(family, n_categories=n_categories) if any(n_categories) else family

    return [
        (columns, changed(family, lambda own, columns=columns: known(own, columns)))
        for columns, family in parts
    ]


def aside_of(estimator, n_features, names):
    """Numbers of the columns that are given with observations, in their order: those that a gate sees."""
    gate = getattr(estimator, "gate", None)
    if gate is None:
        return ()
    return tuple(sorted(find_columns(gate, names, n_features, "gate").tolist()))


def n_columns_aside(gate):
    """How many columns a gate sees, whatever their names."""
    given = np.atleast_1d(np.asarray(gate, dtype=object))
    if gate is None:
        return 0
    return sum(map(bool, given)) if all(isinstance(entry, (bool, np.bool_)) for entry in given) else len(given)


def categorical_columns(emission, n_features, names, aside=()):
    """Columns of which an estimator's ``emission`` says that they hold categories."""
    parts = _parts(emission, n_features, names, aside)
    return sorted(j for columns, what in parts if _is_of_codes(what) for j in columns)


def _is_of_codes(what):
    return what == "categorical" if isinstance(what, str) else getattr(what, "observes", None) == "codes"


def observed_kinds(emission):
    """What columns hold, as an estimator's ``emission`` says: a set of "numbers", "counts" and "codes"."""
    every = list(emission.values()) if isinstance(emission, dict) else [emission]
    if isinstance(emission, Product):
        every = list(emission.families)
    return {
        KINDS.get(what, "numbers") if isinstance(what, str) else getattr(what, "observes", "numbers")
        for what in every
    }


def takes_sparse(emission):
    """Whether rows may be sparse, as an estimator's ``emission`` says."""
    return emission in SPARSE if isinstance(emission, str) else getattr(emission, "takes_sparse", False) is True


def emission_of_some(emission, n_features, names, aside, label):
    """An ``emission`` for some of the columns, in the order of ``label``: number or name of each among them."""
    found = {}
    for columns, what in _parts(emission, n_features, names, aside):
        own = [columns.index(j) for j in label if j in columns]
        if own:
            as_it_was = isinstance(what, str) or own == list(range(len(columns)))
            found[tuple(label[columns[i]] for i in own)] = what if as_it_was else what.of_some(np.array(own))
    return found


def parts_of(family, n_features, params=None):
    """Columns, family and parameters of each part of an emission, without what stands beside observations."""
    if not isinstance(family, Product):
        return [(np.arange(n_features), family, params)]
    every = [None] * len(family.parts) if params is None else params
    parts = zip(family.parts, every, strict=True)
    return [(np.array(columns), part, own) for (columns, part), own in parts if part.observes != "nothing"]


def with_parts(family, families):
    """The family with others in the places of its parts."""
    if not isinstance(family, Product):
        return families[0]
    every = [*families, *family.families[len(families) :]]
    return Product(tuple((columns, own) for (columns, _), own in zip(family.parts, every, strict=True)))


def as_fitted(family, params):
    """A family and its parameters, of one part alone those of that: as `emission_family` makes it."""
    alone = isinstance(family, Product) and len(family.parts) == 1
    return (family.families[0], params[0]) if alone else (family, params)


def with_params(family, params, of_parts):
    """Parameters of the family with others in the places of those of its parts."""
    return (*of_parts, *params[len(of_parts) :]) if isinstance(family, Product) else of_parts[0]


def by_part(given, family, n_features, names, what):
    """Of a dict by columns what is of each part of an emission; None for parts of which it says nothing.

    Parameters
    ----------
    given : dict
        Keys are the columns of a part: a tuple of names or numbers, or one of them where the part has one.
    family : Product
    n_features : int
    names : ndarray of str, or None
    what : str
        What the user gave, for errors.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{what} must be a dict by the columns of each emission, but is {given!r}.")
    parts = [tuple(columns.tolist()) for columns, *_ in parts_of(family, n_features)]
    places = {frozenset(columns): i for i, columns in enumerate(parts)}
    found = [None] * len(parts)
    for key, value in given.items():
        columns = find_columns(list(key) if isinstance(key, tuple) else [key], names, n_features, what)
        place = places.get(frozenset(columns.tolist()))
        if place is None:
            known = ", ".join(map(str, parts))
            raise ValueError(f"{what} has the key {key!r}, but the columns of the emissions are {known}.")
        found[place] = value
    return found


def _parts(emission, n_features, names, aside=()):
    """Columns of each part, a tuple of int, and its word or family."""
    rest = [j for j in range(n_features) if j not in aside]
    if isinstance(emission, Product):
        if emission.n_features != len(rest):
            raise ValueError(f"emission has {emission.n_features} columns, but X has {len(rest)} for it.")
        return [(tuple(rest[j] for j in columns), family) for columns, family in emission.parts]
    if not isinstance(emission, dict):
        if not rest and aside:
            raise ValueError("Every column of X stands aside: none is left for the emission.")
        return [(tuple(rest), _known(emission))]
    keys = [list(key) if isinstance(key, tuple) else [key] for key in emission]
    flat = [key for some in keys for key in some]
    places = iter(find_columns(flat, names, n_features, "emission").tolist() if flat else [])
    found, together = {}, {}
    for number, (some, what) in enumerate(zip(keys, emission.values(), strict=True)):
        own = [next(places) for _ in some]
        found |= dict.fromkeys(own, _known(what))
        together.setdefault(what if isinstance(what, str) else number, []).extend(own)
    both = [_shown(j, names) for j in found if j in aside]
    if both:
        raise ValueError(f"gate and emission name the columns {both}: each column is for one of them.")
    left = [_shown(j, names) for j in rest if j not in found]
    if left:
        raise ValueError(f"emission says nothing of the columns {left}: give each column of X an emission.")
    of_words = [isinstance(what, str) for what in together]
    return [
        (tuple(sorted(columns) if is_word else columns), found[columns[0]])
        for columns, is_word in zip(together.values(), of_words, strict=True)
    ]


def _shown(j, names):
    return j if names is None else str(names[j])


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


def prefixed(what, function, *args):
    """``function(*args)``, of which an error begins with ``what``."""
    try:
        return function(*args)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
