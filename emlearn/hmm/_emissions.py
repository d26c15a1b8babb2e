"""From what a user says of the observations to a family of densities."""

from __future__ import annotations

from functools import partial

import numpy as np

from emlearn._input.columns import find_columns
from emlearn.em import Affine
from emlearn.em.trees import leaves, tree_map
from emlearn.families import Bernoulli, Categorical, MissingRows, MixtureOf, Poisson, Product, gaussian_family
from emlearn.families.base import keep
from emlearn.hmm._chain import held_names


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
        if isinstance(like, tuple) and len(like) == 1 and not isinstance(value, (tuple, list)):
            one = (value,)
        shapes = [np.shape(leaf) for leaf in leaves(like)]
        there = [np.shape(leaf) for leaf in (one if isinstance(like, tuple) else [one])]
        if there != shapes:
            expected, has = (s[0] if len(s) == 1 else s for s in (shapes, there))
            raise ValueError(f"emission_init['{name}'] has shape {has}; expected {expected}.")


def _prefixed(what, function, *args):
    """``function(*args)``, of which an error begins with ``what``."""
    try:
        return function(*args)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def refuse_impossible(estimator, data, family, params=None):
    """Refuse observations for which an emission has no density; those without weight are absent.

    Parameters
    ----------
    estimator : HMMEM
        For the names of columns.
    data : Data
        Sequences in the user's units.
    family : Emission
    params : NamedTuple, default=None
        Parameters of the family, under which observations must be possible too.
    """
    parts = parts_of(family, data.n_features, params)
    found = data.fold(partial(_first_impossible, parts), min)
    if found == NONE_IMPOSSIBLE:
        return
    part, is_possible, sequence, step, column, value = found
    where = f"{estimator._column_name(column)}, sequence {sequence}, step {step}"
    if not is_possible:
        raise ValueError(
            f"Input X contains NaN in {where}, beside entries that are there: with this emission a "
            "step is missing as a whole or not at all. Columns that may be missing one by one need "
            "a family each, as in emission={0: Poisson(), 1: Poisson()}."
        )
    what = f"not one of {parts[part][1].support}" + (", or never seen in fit" if params else "")
    raise ValueError(f"X is {value:g} in {where}: {what}.")


NONE_IMPOSSIBLE = (np.inf,)


def _first_impossible(parts, batch):
    """What to say of the first entry that is refused; where there is none, what comes after all of them.

    Number of the part of the emissions, whether it is refused for its value and not as missing, sequence,
    step, column, value.
    """
    absent = np.zeros(batch.x.shape[1], dtype=bool) if batch.weight is None else batch.weight == 0
    for number, (columns, part, own) in enumerate(parts):
        x = batch.x[columns]
        missing = np.isnan(x)
        partly = np.zeros_like(absent)
        if not part.marginalises and missing.any():
            partly = missing.any(axis=0) & ~(missing.all(axis=0) | absent)
        if partly.any():
            bad = missing & partly
        else:
            bad = ~(part.is_possible(x, own) | absent)
            if not bad.any():
                continue
        places = np.flatnonzero(bad.any(axis=0))
        steps, lane = (place[places] for place in batch.lanes.places())
        sequences = batch.sequences[lane]
        first = np.lexsort([steps, sequences])[0]
        j = int(np.argmax(bad[:, places[first]]))
        value = float(x[j, places[first]])
        sequence, step = int(sequences[first]), int(steps[first])
        return number, int(not partly.any()), sequence, step, int(columns[j]), value
    return NONE_IMPOSSIBLE


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
