"""Parameters of emissions that a user gives: to start from, to hold fixed, or in place of a fit."""

from __future__ import annotations

import numpy as np

from emlearn._emissions.words import (
    aside_of,
    by_part,
    emission_family,
    n_columns_aside,
    parts_of,
    prefixed,
    with_params,
    with_parts,
)
from emlearn.em import Affine
from emlearn.em.trees import leaves, tree_map
from emlearn.families import Covariates, CovariatesParams, Product
from emlearn.families.base import keep


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


def apart(cls, given):
    """What `from_parameters` was given: parameters of emissions by name, and those of the class.

    Of the latter there are the numbers of factors and members that the former have.
    """
    known = set(cls._get_param_names()) - {"noise"}  # here that of factors
    named = {name: value for name, value in given.items() if name not in known}
    params = {name: value for name, value in given.items() if name in known}
    for name, field in (("n_factors", "loadings"), ("n_mixtures", "weights")):
        if np.ndim(named.get(field)):
            params.setdefault(name, np.shape(named[field])[-1])
    return named, params


def emission_of(estimator, emission_params, named):
    """A family that has the parameters that a user gave, and these.

    Parameters
    ----------
    estimator : HMMEM or MixtureEM
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
    in_sequence, n_aside = not hasattr(estimator, "gate"), n_columns_aside(getattr(estimator, "gate", None))
    if not isinstance(estimator.emission, (dict, Product)):
        (_, family, _), *_ = parts_of(emission_family(estimator, 1, None, in_sequence=in_sequence), 1)
        params = _of_one_family(estimator, family, emission_params, named)
        family = family.with_parameters(params)
        return _beside(family, params, aside_of(estimator, _n_columns(family, params) + n_aside, names), K)
    n_features = n_aside + _n_named(estimator.emission)
    if names is not None and len(names) != n_features:
        raise ValueError(f"feature_names has {len(names)} names, but emission {n_features} columns.")
    aside = aside_of(estimator, n_features, names)
    family = emission_family(estimator, n_features, names, aside, in_sequence=in_sequence)
    every = parts_of(family, n_features)
    if len(every) == 1:
        params = _of_one_family(estimator, every[0][1], emission_params, named)
        params = with_params(family, (None, *_nothing(aside, K)), [params])
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
    for (columns, part, _), value in zip(every, given, strict=True):
        what = f"emission_params[{tuple(columns.tolist())}]"
        if value is None:
            raise ValueError(f"{what} is not given.")
        own = prefixed(what, part.from_fields, named_fields(value, part, K, what), (K,))
        width = _n_columns(part.with_parameters(own), own)
        if width != len(columns):
            raise ValueError(f"{what} is for {width} columns.")
        parts.append(own)
    params = (*parts, *_nothing(aside, K))
    return family.with_parameters(params), params


def _of_one_family(estimator, family, emission_params, named):
    """Parameters of a family that is that of all columns, by either way of giving them."""
    K = estimator.n_components
    if named and emission_params is not None:
        raise ValueError(f"emission_params is given beside {', '.join(named)}: drop one of them.")
    if emission_params is None:
        return family.from_fields(named, (K,))
    try:
        return family.from_fields(named_fields(emission_params, family, K, "emission_params"), (K,))
    except ValueError as error:
        raise ValueError(
            f"{error} They are read as emission={estimator.emission!r} of "
            f"covariance_type={estimator.covariance_type!r}: give the emission, and the covariance_type, "
            "of the model that emission_params come from."
        ) from None


def _beside(family, params, aside, n_components):
    """A family and its parameters with columns beside those that it is for."""
    if not aside:
        return family, params
    d = _n_columns(family, params) + len(aside)
    rest = tuple(j for j in range(d) if j not in aside)
    return Product(((rest, family), (aside, Covariates()))), (params, *_nothing(aside, n_components))


def _nothing(aside, n_components):
    """Parameters of what stands aside, if anything does."""
    return [CovariatesParams(np.empty((n_components, 0)))] if aside else []


def _n_named(emission):
    """How many columns an emission names."""
    if isinstance(emission, Product):
        return emission.n_features
    return sum(len(key) if isinstance(key, tuple) else 1 for key in emission)


def _n_columns(family, params):
    """How many columns an observation has, as a draw of one shows."""
    return family.sample(params, np.zeros(1, dtype=np.intp), np.random.RandomState(0)).shape[1]


def n_columns_of(family, params):
    """How many columns an observation has."""
    return family.n_features if isinstance(family, Product) else _n_columns(family, params)


def held_names(estimator):
    """Names of the parts that are held fixed."""
    fixed = estimator.fixed
    names = (fixed,) if isinstance(fixed, str) else tuple(fixed)
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"fixed={fixed!r} must hold names of parameters, as in ('transmat', 'means').")
    return names


# Parameters that say where components are, by name.
PLACES = ("means", "rates", "probabilities")


class GivenEmission:
    """What a user says of the emissions to start from, and which of it is held fixed.

    Parameters
    ----------
    estimator : HMMEM or MixtureEM
        For its ``emission_init``, ``means_init`` and ``fixed``.
    family : MissingRows, or Product of them
        Bound to the data.
    example : NamedTuple, or tuple of them
        Some parameters of the family, in the engine's units, which show the names and shapes there are.
    units : Affine
        The engine's units.
    beside : tuple of str
        Names of what is hidden's parameters, which `fixed` may hold too.
    """

    def __init__(self, estimator, family, example, units, beside):
        K, d = estimator.n_components, estimator.n_features_in_
        names = getattr(estimator, "feature_names_in_", None)
        self._family, self._units, self._lead = family, units, (K,)
        init = estimator.emission_init
        parts = parts_of(family, d)
        self._given = [{} for _ in parts]
        if init is not None and len(parts) > 1:
            values = by_part(init, family, d, names, "emission_init")
            for i, ((columns, part, _), value) in enumerate(zip(parts, values, strict=True)):
                if value is not None:
                    what = f"emission_init[{tuple(columns.tolist())}]"
                    self._given[i] = named_fields(value, part, K, what)
        elif init is not None:
            self._given = [named_fields(init, parts[0][1], K, "emission_init")]
        examples = self._fields(example)
        for given, known in zip(self._given, examples, strict=True):
            _refuse_unlike(given, known)
        self._names = [list(known) for known in examples]
        places = [name for given in self._given for name in PLACES if name in given]
        if places and estimator.means_init is not None:
            raise ValueError(f"means_init and the {places[0]} of emission_init say the same: drop one of them.")
        self._hold(estimator, example, beside)
        self.put(example)  # and so what cannot be is named before any work is done

    def _each(self, params):
        """Family, parameters and units of each part."""
        for columns, part, own in parts_of(self._family, len(self._units.shift), params):
            yield part, own, Affine(self._units.shift[columns], self._units.scale[columns])

    def _fields(self, params):
        """Parameters of each part by name, in the user's units, less what follows from others."""
        found = []
        for part, own, units in self._each(params):
            fields = part.fields(part.in_units(own, units), self._lead)
            found.append({name: value for name, value in fields.items() if name not in part.derived})
        return found

    def _hold(self, estimator, example, beside):
        """Find out what is held of each part."""
        wanted = [name for name in held_names(estimator) if name not in beside]
        every = dict.fromkeys(name for names in self._names for name in names)
        more = PLACES if estimator.means_init is not None else ()
        here = [
            set(names) if estimator._continues else {*given, *more}
            for names, given in zip(self._names, self._given, strict=True)
        ]
        for name in wanted:
            if name not in every:
                listed = ", ".join([*beside, *every])
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
            self.family = with_parts(self._family, parts)

    @property
    def places(self):
        """Whether components are where the user says, and nothing is left for a race to find."""
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
        return with_params(self._family, params, parts)


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
