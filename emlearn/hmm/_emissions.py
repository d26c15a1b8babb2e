"""From what a user says of the observations to a family of densities."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from numbers import Integral, Real

import numpy as np

from emlearn._input.arrays import read_array
from emlearn._input.columns import find_columns
from emlearn.em import Affine
from emlearn.em.trees import leaves, tree_map
from emlearn.families import (
    Bernoulli,
    Binomial,
    Categorical,
    MissingRows,
    MixtureOf,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
    ZeroInflatedPoisson,
    gaussian_family,
    student_t_family,
)
from emlearn.families.base import keep, unwrapped
from emlearn.families.variational import changed
from emlearn.hmm._chain import held_names


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
    "gmm": lambda estimator: MixtureOf(_gaussian(estimator), estimator.n_mixtures),
}


# What the words say of columns; those that are left out are of numbers.
KINDS = {
    "categorical": "codes",
    **dict.fromkeys(("poisson", "bernoulli", "binomial", "multinomial"), "counts"),
    **dict.fromkeys(("negative_binomial", "zero_inflated_poisson"), "counts"),
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
    families = _with_categories(estimator, families)
    families = [
        (columns, family if isinstance(family, MissingRows) else MissingRows(family))
        for columns, family in families
    ]
    return families[0][1] if len(families) == 1 else Product(tuple(families))


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


def with_priors(estimator, family):
    """The family with the priors of `emission_prior`, for a fit of greatest posterior density."""
    said = estimator.emission_prior
    if said is None:
        return family
    if isinstance(said, Real):
        return _with_prior(family, said, "emission_prior")
    if not isinstance(family, Product):
        return _with_prior(family, said, "emission_prior")
    names = getattr(estimator, "feature_names_in_", None)
    given = by_part(said, family, estimator.n_features_in_, names, "emission_prior")
    return Product(
        tuple(
            (columns, part if own is None else _with_prior(part, own, f"emission_prior[{columns}]"))
            for (columns, part), own in zip(family.parts, given, strict=True)
        )
    )


def _with_prior(family, said, what):
    if not _takes_number(family):
        raise ValueError(
            f"{what} is for inference='variational', but inference='em', by which probabilities alone have "
            "priors: change one of them."
        )
    if isinstance(said, Real):
        return changed(family, lambda own: _prior_of_all(own, said))
    if not isinstance(said, dict):
        raise ValueError(f"{what} must be a number or a dict of priors by name, but is {said!r}.")
    return _prefixed(what, family.with_prior, said)


def _takes_number(family):
    if isinstance(family, Product):
        return any(_takes_number(part) for part in family.families)
    return bool(unwrapped(family).prior_names)


def _prior_of_all(family, number):
    """The family with this concentration of all that its prior counts."""
    names = family.prior_names
    return _prefixed("emission_prior", family.with_prior, dict.fromkeys(names, number)) if names else family


def categorical_columns(emission, n_features, names):
    """Columns of which an estimator's ``emission`` says that they hold categories."""
    try:
        parts = _parts(emission, n_features, names)
    except ValueError:  # which is said where a fit begins
        return []
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


def parts_of(family, n_features, params=None):
    """Columns, family and parameters of each part of an emission."""
    if not isinstance(family, Product):
        return [(np.arange(n_features), family, params)]
    every = [None] * len(family.parts) if params is None else params
    return [(np.array(columns), part, own) for (columns, part), own in zip(family.parts, every, strict=True)]


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
    places = {frozenset(columns): i for i, (columns, _) in enumerate(family.parts)}
    found = [None] * len(family.parts)
    for key, value in given.items():
        columns = find_columns(list(key) if isinstance(key, tuple) else [key], names, n_features, what)
        place = places.get(frozenset(columns.tolist()))
        if place is None:
            known = ", ".join(str(columns) for columns, _ in family.parts)
            raise ValueError(f"{what} has the key {key!r}, but the columns of the emissions are {known}.")
        found[place] = value
    return found


def named_fields(value, family, n_components, what):
    """Parameters by name, from a dict of them or from the NamedTuple in which they are published."""
    if isinstance(value, dict):
        return value
    if hasattr(value, "_fields"):
        try:
            named = family.fields(tree_map(np.asarray, value), (n_components,))
        except (TypeError, ValueError, AttributeError, IndexError):
            raise ValueError(
                f"{what} is not of {n_components} components of this emission, but {type(value).__name__}."
            ) from None
        return {name: array for name, array in named.items() if name not in family.derived}
    raise ValueError(f"{what} must be a dict of parameters by name, but is {value!r}.")


def emission_of(estimator, emission_params, named):
    """A family that has the parameters that a user gave, and these.

    Parameters
    ----------
    estimator : HMMEM
    emission_params : dict, NamedTuple or None
        By the columns of each part, where columns have emissions of their own; or as published.
    named : dict
        Parameters by name, where all columns have the same emission.

    Returns
    -------
    family : MissingRows, or Product of them
    params : NamedTuple, or tuple of them
    """
    K, names = estimator.n_components, getattr(estimator, "feature_names_in_", None)
    n_features = len(estimator.emission) if isinstance(estimator.emission, dict) else 1
    if isinstance(estimator.emission, Product):
        n_features = estimator.emission.n_features
    if names is not None and isinstance(estimator.emission, (dict, Product)) and len(names) != n_features:
        raise ValueError(f"feature_names has {len(names)} names, but emission {n_features} columns.")
    family = emission_family(estimator, n_features, names)
    if not isinstance(family, Product):
        if named and emission_params is not None:
            raise ValueError(f"emission_params is given beside {', '.join(named)}: drop one of them.")
        try:
            if emission_params is not None:
                named = named_fields(emission_params, family, K, "emission_params")
            params = family.from_fields(named, (K,))
        except ValueError as error:
            if emission_params is None:
                raise
            raise ValueError(
                f"{error} They are read as emission={estimator.emission!r} of "
                f"covariance_type={estimator.covariance_type!r}: give the emission, and the covariance_type, "
                "of the model that emission_params come from."
            ) from None
        return family.with_parameters(params), params
    if named:
        raise ValueError(
            f"{', '.join(named)}: columns have emissions of their own here. Give emission_params, a dict by "
            "the columns of each."
        )
    if emission_params is None:
        raise ValueError("emission_params must be given: a dict by the columns of each emission.")
    parts = []
    given = by_part(emission_params, family, n_features, names, "emission_params")
    for (columns, part), value in zip(family.parts, given, strict=True):
        what = f"emission_params[{columns}]"
        if value is None:
            raise ValueError(f"{what} is not given.")
        own = _prefixed(what, part.from_fields, named_fields(value, part, K, what), (K,))
        width = _n_columns(part.with_parameters(own), own)
        if width != len(columns):
            raise ValueError(f"{what} is for {width} columns.")
        parts.append(own)
    params = tuple(parts)
    return family.with_parameters(params), params


def _n_columns(family, params):
    """How many columns an observation has, as a draw of one shows."""
    return family.sample(params, np.zeros(1, dtype=np.intp), np.random.RandomState(0)).shape[1]


def n_columns_of(family, params):
    """How many columns an observation has."""
    return family.n_features if isinstance(family, Product) else _n_columns(family, params)


# Parameters that say where states are, by name.
PLACES = ("means", "rates", "probabilities")


class GivenEmission:
    """What a user says of the emissions to start from, and which of it is held fixed.

    Parameters
    ----------
    estimator : HMMEM
        For its ``emission_init``, ``means_init`` and ``fixed``.
    family : MissingRows, or Product of them
        Bound to the data.
    example : NamedTuple, or tuple of them
        Some parameters of the family, in the engine's units, which show the names and shapes there are.
    units : Affine
        The engine's units.
    """

    def __init__(self, estimator, family, example, units):
        K, d = estimator.n_components, estimator.n_features_in_
        names = getattr(estimator, "feature_names_in_", None)
        self._family, self._units, self._lead = family, units, (K,)
        init = estimator.emission_init
        n_parts = len(family.parts) if isinstance(family, Product) else 1
        self._given = [{} for _ in range(n_parts)]
        if init is not None and isinstance(family, Product):
            values = by_part(init, family, d, names, "emission_init")
            for i, ((columns, part), value) in enumerate(zip(family.parts, values, strict=True)):
                if value is not None:
                    self._given[i] = named_fields(value, part, K, f"emission_init[{columns}]")
        elif init is not None:
            self._given = [named_fields(init, family, K, "emission_init")]
        examples = self._fields(example)
        for given, known in zip(self._given, examples, strict=True):
            _refuse_unlike(given, known)
        self._names = [list(known) for known in examples]
        places = [name for given in self._given for name in PLACES if name in given]
        if places and estimator.means_init is not None:
            raise ValueError(f"means_init and the {places[0]} of emission_init say the same: drop one of them.")
        self._hold(estimator, example)
        self.put(example)  # and so what cannot be is named before any work is done

    def _each(self, params):
        """Family, parameters and units of each part."""
        if not isinstance(self._family, Product):
            yield self._family, params, self._units
            return
        for (columns, part), own in zip(self._family.parts, params, strict=True):
            index = list(columns)
            yield part, own, Affine(self._units.shift[index], self._units.scale[index])

    def _fields(self, params):
        """Parameters of each part by name, in the user's units, less what follows from others."""
        found = []
        for part, own, units in self._each(params):
            fields = part.fields(part.in_units(own, units), self._lead)
            found.append({name: value for name, value in fields.items() if name not in part.derived})
        return found

    def _hold(self, estimator, example):
        """Find out what is held of each part."""
        wanted = [name for name in held_names(estimator) if name not in ("startprob", "transmat")]
        every = dict.fromkeys(name for names in self._names for name in names)
        more = PLACES if estimator.means_init is not None else ()
        here = [
            set(names) if estimator._continues else {*given, *more}
            for names, given in zip(self._names, self._given, strict=True)
        ]
        for name in wanted:
            if name not in every:
                listed = ", ".join(["startprob", "transmat", *every])
                raise ValueError(f"fixed holds {name!r}, which is none of {listed}.")
            if not any(name in names and name in there for names, there in zip(self._names, here, strict=True)):
                where = "means_init or emission_init" if name in PLACES else "emission_init"
                raise ValueError(
                    f"fixed holds {name}, but there is no value to hold it at: give it in {where}."
                )
        self._held = [
            tuple(name for name in wanted if name in names and name in there)
            for names, there in zip(self._names, here, strict=True)
        ]
        self.family = self._family
        if wanted:
            parts = [
                part.held(held, own) if held else part
                for (part, own, _), held in zip(self._each(example), self._held, strict=True)
            ]
            self.family = parts[0]
            if isinstance(self._family, Product):
                columns = [columns for columns, _ in self._family.parts]
                self.family = Product(tuple(zip(columns, parts, strict=True)))

    @property
    def places(self):
        """Whether states are where the user says, and nothing is left for a race to find."""
        parts = zip(self._names, self._given, strict=True)
        return all(set(names) <= set(given) or "means" in given for names, given in parts)

    def put(self, params):
        """Parameters of the family, in the engine's units, with what is given in the place of what is there."""
        parts = []
        each = zip(self._each(params), self._fields(params), self._given, self._held, strict=True)
        for (part, own, units), fields, given, held in each:
            if given:
                own = part.from_fields({**fields, **given}, self._lead)
                own = part.in_units(own, units.inverse)
                own = keep(part.nearest_legal(own), own, held)
            parts.append(own)
        return tuple(parts) if isinstance(self._family, Product) else parts[0]


def _refuse_unlike(given, known):
    """Refuse what is given by a name, or in a shape, that is not among what is known."""
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"emission_init gives {name!r}, which is none of {', '.join(known)}.")
        one, like = value, known[name]
        if (
            isinstance(like, tuple)
            and len(like) == 1
            and (not isinstance(value, (tuple, list)) or _shape(value) == np.shape(like[0]))
        ):
            one = (value,)
        shapes = [np.shape(leaf) for leaf in leaves(like)]
        there = [np.shape(leaf) for leaf in (one if isinstance(like, tuple) else [one])]
        if there != shapes:
            expected, has = (s[0] if len(s) == 1 else s for s in (shapes, there))
            raise ValueError(f"emission_init['{name}'] has shape {has}; expected {expected}.")


def _shape(value):
    """Shape of nested lists; None where they are ragged."""
    try:
        return np.shape(value)
    except ValueError:
        return None


def _prefixed(what, function, *args):
    """``function(*args)``, of which an error begins with ``what``."""
    try:
        return function(*args)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def refuse_impossible(estimator, data, family):
    """Refuse observations for which an emission has no density; those without weight are absent.

    Parameters
    ----------
    estimator : HMMEM
        For the names of columns.
    data : Data
        Sequences in the user's units.
    family : Emission
    """
    _refuse(estimator, data, family, "is_possible", {})


def warn_of_impossible(estimator, data, family, params, labels):
    """Refuse what are no observations; warn, once, of such as have no density at parameters that were fitted.

    Parameters
    ----------
    estimator : HMMEM
    data : Data
        Sequences in the user's units.
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
        sequence, step, column, value = first
        which = "that sequence" if n == 1 else f"the {n} sequences with the like"
        estimator._warn(
            f"X is {_shown(value, column, labels)} in {estimator._column_name(column)}, sequence {sequence}, "
            f"step {step}: never seen in fit, or impossible after it. Its log-density is -inf, and so is the "
            f"log-likelihood of {which}. A prior, emission_prior, leaves no category impossible.",
            UserWarning,
        )


def _shown(value, column, labels):
    """An entry, for messages."""
    return repr(labels[column][int(value)]) if column in labels else f"{value:g}"


def _refuse(estimator, data, family, way, labels):
    """Refuse steps of which a family takes all or nothing, and entries that by a method of it are not legal."""
    parts = parts_of(family, data.n_features)
    found = data.fold(partial(_first_refused, parts, way), min)
    if found == NONE_REFUSED:
        return
    part, is_value, sequence, step, column, value = found
    where = f"{estimator._column_name(column)}, sequence {sequence}, step {step}"
    if not is_value:
        raise ValueError(
            f"Input X contains NaN in {where}, beside entries that are there: with this emission a "
            "step is missing as a whole or not at all. Columns that may be missing one by one need "
            "a family each, as in a dict by column."
        )
    raise ValueError(f"X is {_shown(value, column, labels)} in {where}: not one of {parts[part][1].support}.")


NONE_REFUSED = (np.inf,)


def _first_refused(parts, way, batch):
    """What to say of the first entry that is refused; where there is none, what comes after all of them.

    Number of the part of the emissions, whether it is refused for its value and not as missing, sequence,
    step, column, value.
    """
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
    """Sequence, step, column and value of the first entry of a part that is ``bad`` (d, m)."""
    places = np.flatnonzero(bad.any(axis=0))
    steps, lane = (place[places] for place in batch.lanes.places())
    sequences = batch.sequences[lane]
    first = np.lexsort([steps, sequences])[0]
    j = int(np.argmax(bad[:, places[first]]))
    return int(sequences[first]), int(steps[first]), int(columns[j]), float(batch.x[columns[j], places[first]])


def _impossible(parts, batch):
    """The first entry that has no density, as `_first_place` says it, and in how many sequences."""
    first, anywhere = NONE_REFUSED, np.zeros(batch.x.shape[1], dtype=bool)
    for columns, part, own in parts:
        bad = ~part.is_possible(batch.x[columns], own)
        if bad.any():
            first = min(first, _first_place(bad, columns, batch))
            anywhere |= bad.any(axis=0)
    n = len(np.unique(batch.lanes.places()[1][anywhere])) if anywhere.any() else 0
    return first, n


def _first_and_sum(one, other):
    return min(one[0], other[0]), one[1] + other[1]


def entries_of(column, batch):
    """What is observed of a column in a batch, of rows with weight, each value once."""
    x = batch.x[column] if batch.weight is None else batch.x[column][batch.weight > 0]
    return np.unique(x[~np.isnan(x)])


def _parts(emission, n_features, names):
    """Columns of each part, a tuple of int, and its word or family."""
    if isinstance(emission, Product):
        if emission.n_features != n_features:
            raise ValueError(f"emission has {emission.n_features} columns, but X has {n_features}.")
        return emission.parts
    if not isinstance(emission, dict):
        return [(tuple(range(n_features)), _known(emission))]
    keys = [list(key) if isinstance(key, tuple) else [key] for key in emission]
    flat = [key for some in keys for key in some]
    places = iter(find_columns(flat, names, n_features, "emission").tolist() if flat else [])
    found, together = {}, {}
    for number, (some, what) in enumerate(zip(keys, emission.values(), strict=True)):
        own = [next(places) for _ in some]
        found |= dict.fromkeys(own, _known(what))
        together.setdefault(what if isinstance(what, str) else number, []).extend(own)
    left = [j if names is None else str(names[j]) for j in range(n_features) if j not in found]
    if left:
        raise ValueError(f"emission says nothing of the columns {left}: give each column of X an emission.")
    of_words = [isinstance(what, str) for what in together]
    return [
        (tuple(sorted(columns) if is_word else columns), found[columns[0]])
        for columns, is_word in zip(together.values(), of_words, strict=True)
    ]


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
