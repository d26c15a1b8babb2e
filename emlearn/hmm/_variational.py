"""Hidden Markov models whose parameters have distributions: priors, from what a user says, and starts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn._emissions.given import held_names
from emlearn._emissions.words import by_part, parts_of
from emlearn._input.arrays import read_array
from emlearn._priors import covariance_of
from emlearn._sample import portfolio
from emlearn.em import Affine, LatentModel, LatentPair, Start
from emlearn.em.trees import leaves, tree_map
from emlearn.families import (
    Bernoulli,
    BetaProbabilities,
    Categorical,
    DirichletProbabilities,
    GammaRates,
    Gaussian,
    NormalWishart,
    Poisson,
    Product,
    VariationalBernoulli,
    VariationalCategorical,
    VariationalGaussian,
    VariationalPoisson,
)
from emlearn.families.base import unwrapped
from emlearn.families.gaussian import LEAST_FLOOR
from emlearn.families.variational import changed
from emlearn.hmm._chain import bind_chain
from emlearn.latent import DirichletChain

CONJUGATE = "'gaussian', 'poisson', 'categorical', 'bernoulli' and dicts of these by column"
FORMS = "full, tied, diag, spherical, tied_diag or tied_spherical"


class HMMPosterior(NamedTuple):
    """What is known of a hidden Markov model, in units of X: posterior of one fit, prior of the next."""

    startprob: NDArray[
        np.float64
    ]  # (K,) parameters of a Dirichlet distribution; probabilities if they are given
    transmat: NDArray[np.float64]  # (K, K) the same of each row; 0 is impossible
    emission: Any  # NormalWishart, GammaRates, ... of the K states; of several parts a tuple of these


class Variational:
    """A distribution of the parameters, by variational Bayes.

    Parameters
    ----------
    estimator : HMMEM

    Raises
    ------
    ValueError
        If the estimator has parameters that do not go with it.
    """

    def __init__(self, estimator):
        self._estimator = estimator
        free = isinstance(estimator.startprob, str) and estimator.startprob == "free"
        if isinstance(estimator.startprob, str) and estimator.startprob == "stationary":
            raise ValueError(
                "startprob='stationary' has no conjugate prior: with inference='variational' leave it 'free', "
                "give probabilities, or choose inference='em'."
            )
        if estimator.startprob_prior is not None and not free:
            raise ValueError(
                f"startprob_prior is for startprob='free', but startprob={estimator.startprob!r} leaves "
                "nothing to infer: drop one of them."
            )
        if held_names(estimator):
            raise ValueError(
                f"fixed={estimator.fixed!r} holds parameters, but with inference='variational' they have "
                "distributions: leave it out, and say in priors what is known."
            )
        if estimator.assignment != "soft":
            raise ValueError(
                f"assignment={estimator.assignment!r} is for inference='em': with inference='variational' it "
                "stays 'soft'."
            )
        if estimator.prior is not None:
            self._check_given_prior()

    def _check_given_prior(self):
        estimator, K = self._estimator, self._estimator.n_components
        names = ("startprob_prior", "transmat_prior", "emission_prior")
        twice = [name for name in names if getattr(estimator, name) is not None]
        twice += ["stickiness"] if estimator.stickiness else []
        if twice:
            raise ValueError(f"prior says all that {' and '.join(twice)} would: give one or the other.")
        inits = ("startprob_init", "transmat_init", "means_init", "emission_init")
        starts = [name for name in inits if getattr(estimator, name) is not None]
        if starts:
            raise ValueError(f"A fit with prior starts from there: drop {' and '.join(starts)}.")
        for name, shape in (("startprob", (K,)), ("transmat", (K, K))):
            given = getattr(estimator.prior, name)
            advice = f"There are n_components={K} states."
            given = read_array(f"prior.{name}", given, shapes=[shape], finite=True, advice=advice)
            if not ((given >= 0).all() and given.any(axis=-1).all()):
                raise ValueError(
                    f"prior.{name} must not be negative, nor a row of it 0; the least is {given.min():.6g}."
                )
        if not all(np.isfinite(leaf).all() for leaf in _numbers_of(estimator.prior.emission)):
            raise ValueError("prior.emission must hold finite numbers, as posterior_ of a fit does.")

    @property
    def least_steps(self):
        return 1 if self._estimator.prior is not None else self._estimator.n_components

    def chain(self):
        K, prior = self._estimator.n_components, self._estimator.prior
        plain, given = bind_chain(self._estimator, partial(_concentration, n_states=K))
        start, rows = plain.start_concentration, plain.concentration
        if prior is not None:
            start, rows = (np.array(part, dtype=np.float64) for part in (prior.startprob, prior.transmat))
        if plain.fixed_start:
            start = given.start
        allowed = np.broadcast_to(rows, (K, K)) > 0
        if plain.allowed is not None:
            allowed = allowed & plain.allowed
            rows = np.where(allowed, rows, 0.0)
        self._latent = DirichletChain(
            fixed_start=plain.fixed_start, start_concentration=start, concentration=rows
        )
        allowed = None if allowed.all() else allowed
        return replace(plain, start_concentration=1.0, concentration=1.0, allowed=allowed), given

    def emission(self, family):
        """The family of the emissions, before it is bound to data; refused if it has no conjugate prior."""
        d = self._estimator.n_features_in_
        parts = parts_of(family, d)
        for columns, part, _ in parts:
            _refuse_not_conjugate(self._estimator, columns, unwrapped(part))
        self._given = [None] * len(parts)
        prior = self._estimator.prior
        if prior is not None:
            alone = type(prior.emission) is not tuple  # which is of several parts
            self._given = [prior.emission] if alone else list(prior.emission)
            if len(self._given) != len(parts):
                raise ValueError(f"prior is of {len(self._given)} emissions, but there are {len(parts)} here.")
            # A batch of data need not have all categories.
            parts = [
                (columns, changed(part, partial(_with_categories, prior=own)), None)
                for (columns, part, _), own in zip(parts, self._given, strict=True)
            ]
            return _rebuilt(family, [part for _, part, _ in parts])
        return family

    def part_of(self, sample, total):
        if sample.is_whole:
            return sample
        # A prior weighs as much beside it as beside all data.
        return replace(sample, weight=sample.weight * (total / (sample.weight @ sample.lengths)))

    def model(self, plain, about):
        estimator, d = self._estimator, self._estimator.n_features_in_
        parts, said = parts_of(plain.family, d), estimator.emission_prior
        named = [{}] * len(parts)
        if isinstance(said, Real):
            if not any(unwrapped(part).prior_names for _, part, _ in parts):
                raise ValueError(
                    f"emission_prior={said!r} is a prior of probabilities, of which there are none."
                )
            named = [said if unwrapped(part).prior_names else {} for _, part, _ in parts]
        elif said is not None and isinstance(plain.family, Product):
            names = getattr(estimator, "feature_names_in_", None)
            named = by_part(said, plain.family, d, names, "emission_prior")
        elif said is not None:
            named = [said]
        made = []
        for (columns, part, _), said, given in zip(parts, named, self._given, strict=True):
            what = "emission_prior" if len(parts) == 1 else f"emission_prior[{tuple(columns.tolist())}]"
            if isinstance(said, Real) and unwrapped(part).prior_names:
                said = dict.fromkeys(unwrapped(part).prior_names, said)
            of_part = _PartOf(estimator, about, columns, {} if said is None else said, what, given)
            made.append(changed(part, of_part.with_prior))
        return LatentModel(self._latent, _rebuilt(plain.family, made))

    def like(self, model, here):
        return prior_of(model.family, self._estimator.n_components)

    def starts(self, model, make, one, put, exchangeable, rng):
        K = self._estimator.n_components
        if self._estimator.prior is not None:
            before = LatentPair(model.latent.before(K), prior_of(model.family, K))
            return [Start("prior", lambda: before)], None
        make = cache(make)

        def of(start, n_states):
            start, here = put(start), make(n_states)
            return Start(start.kind, lambda: _into(model, here.explained(start.make()), K - n_states))

        if one is not None:
            return [of(one, K)], None

        def start(kind, seed):
            # What the data support is often fewer states: half of the starts begin with fewer, unless all are
            # known to come first, or there is only one start, which could not find more.
            fewer = exchangeable and not self._latent.fixed_start and self._estimator.n_init > 1
            n_empty = max(int(np.random.RandomState(seed).randint(1 - K, K)), 0) if fewer else 0
            here = make(K - n_empty)
            plain = Start("all", here.everything) if n_empty == K - 1 > 0 else here.start(kind, seed)
            return of(plain, K - n_empty)

        return portfolio(start, make(K).kinds, self._estimator.n_init, rng), None


def _into(model, explained, n_empty):
    """Parameters of the model from responsibilities and transitions of plain ones, some states left empty."""
    batch, resp, counts = explained
    resp = np.vstack([resp, np.zeros((n_empty, resp.shape[1]))])
    padded = tree_map(lambda n: np.pad(n, (0, n_empty)), counts)
    return LatentPair(model.latent.maximize(padded), model.family.start(batch, resp))


def prior_of(family, n_components):
    """The priors of a family of distributions, in the form of parameters of so many components."""
    if isinstance(family, Product):
        return tuple(prior_of(part, n_components) for part in family.families)
    return unwrapped(family).unseen(n_components)


def reordered(model, order):
    """The model with its priors in another order of states."""
    family = changed(model.family, lambda own: own.reordered(order))
    return LatentModel(model.latent.reordered(order), family)


def _numbers_of(emission):
    """Arrays of the posterior of emissions; refused where it is none."""
    try:
        return [np.asarray(leaf, dtype=np.float64) for leaf in leaves(emission)]
    except (TypeError, ValueError):
        raise ValueError(
            f"prior.emission must be as posterior_ of a fit has it, but is {emission!r}."
        ) from None


def _rebuilt(family, parts):
    """The family with other ones in the place of its parts."""
    if not isinstance(family, Product):
        return parts[0]
    return Product(tuple((columns, part) for (columns, _), part in zip(family.parts, parts, strict=True)))


def _refuse_not_conjugate(estimator, columns, family):
    where = f"emission of columns {columns.tolist()}" if isinstance(estimator.emission, dict) else "emission"
    if type(family) is Gaussian:
        if family.structure.conjugate:
            return
        form = f"covariance_type={estimator.covariance_type!r}"
        if not isinstance(estimator.emission, str):
            form = f"{where}: {type(family.structure).__name__}"
        raise ValueError(f"{form} has no conjugate prior: with inference='variational' choose {FORMS}.")
    if type(family) in (Poisson, Bernoulli, Categorical):
        return
    if isinstance(estimator.emission, str) and estimator.covariance_type == "factor":
        shown = "covariance_type='factor'"
    else:
        shown = (
            f"emission={estimator.emission!r}" if isinstance(estimator.emission, str) else f"{where}: {family}"
        )
    raise ValueError(f"{shown} has no conjugate prior: inference='variational' takes {CONJUGATE}, of {FORMS}.")


def _with_categories(family, prior):
    """The family with the categories of a prior, where it has any."""
    if isinstance(family, Categorical) and isinstance(prior, DirichletProbabilities):
        return replace(family, n_categories=tuple(counts.shape[1] for counts in prior.counts))
    return family


def _concentration(name, value, shapes, n_states):
    """Concentrations of a Dirichlet prior from what a user gave; for None those worth one observation."""
    if value is None:
        return 1.0 / n_states
    return _positive(name, value, [(), *shapes])


def _positive(name, value, shapes):
    """Positive numbers from what a user gave."""
    array = read_array(name, value, shapes=shapes, finite=True)
    if not (array > 0).all():
        raise ValueError(f"{name} must be positive; the least is {array.min():.6g}.")
    return array


class _PartOf:
    """The prior of one part of the emissions, for a family of known parameters.

    Parameters
    ----------
    estimator : HMMEM
    about : About
    columns : ndarray of int
        Columns of the part.
    said : dict
        What the user says, by name.
    what : str
        Where that was said, for errors.
    given : NamedTuple or None
        The prior of each state, in the user's units.
    """

    def __init__(self, estimator, about, columns, said, what, given):
        self._estimator, self._said, self._what, self._given = estimator, said, what, given
        self._d, self._columns, self._about = len(columns), columns, about
        self._units = Affine(about.units.shift[columns], about.units.scale[columns])

    def with_prior(self, family):
        """The family with a prior of its parameters."""
        make = {
            Gaussian: self._gaussian,
            Poisson: self._poisson,
            Bernoulli: self._bernoulli,
            Categorical: self._categorical,
        }[type(family)]
        common = make(family)
        if self._given is None:
            return common
        like = common.unseen(self._estimator.n_components)
        shapes, expected = ([np.shape(leaf) for leaf in leaves(tree)] for tree in (self._given, like))
        if type(self._given) is not type(like) or shapes != expected:
            raise ValueError(
                f"prior is of another kind: {type(self._given).__name__} of shapes {shapes}, but "
                f"n_components={self._estimator.n_components} and {self._d} columns of {type(family).__name__} "
                f"need {type(like).__name__} of {expected}."
            )
        own = type(common)(family, self._given)
        return replace(own, prior=own.in_units(self._given, self._units.inverse))

    def _names(self, *known):
        """Refuse what is said under other names than these."""
        if not isinstance(self._said, dict):
            raise ValueError(f"{self._what} must be a dict of priors by name, but is {self._said!r}.")
        for name in self._said:
            if name not in known:
                raise ValueError(f"{self._what} holds {name!r}, which is none of {', '.join(known)}.")

    def _number(self, name, default, shape=()):
        """A positive prior, in this shape."""
        value = self._said.get(name)
        if value is None:
            return np.broadcast_to(default, shape)
        shapes = [()] if shape == () else [(), shape]
        return np.broadcast_to(_positive(f"{self._what}[{name!r}]", value, shapes), shape)

    @property
    def _moments(self):
        moments, columns = self._about.moments, self._columns
        return moments._replace(
            entries=moments.entries[columns], mean=moments.mean[columns], variance=moments.variance[columns]
        )

    def _gaussian(self, family):
        self._names("means", "beta", "dof", "scale")
        d, structure, units = self._d, family.structure, self._units
        means, scale = self._said.get("means"), self._said.get("scale")
        if means is None:
            means = self._moments.mean
        else:
            means = read_array(f"{self._what}['means']", means, shapes=[(d,)], finite=True)
        least = structure.least_dof(d)
        dof = self._number("dof", float(d))
        if dof <= least:
            raise ValueError(
                f"{self._what}['dof'] is {dof:g}, but must be more than {least}, the number of features less 1."
            )
        if scale is None:
            scatter = covariance_of(structure, self._moments, units, self._batches)
            scatter = structure.raise_to(scatter, max(self._estimator.reg_covar, LEAST_FLOOR))
        else:
            shape = structure.identity(1, d).shape
            name = f"{self._what}['scale']"
            scale = read_array(name, scale, shapes=[shape[1:]], finite=True).reshape(shape)
            structure.refuse(scale, d, name)
            scatter = structure.rescale(scale, 1 / units.scale)
        prior = NormalWishart(
            ((means - units.shift) / units.scale)[None],
            self._number("beta", 1.0).reshape(1),
            dof.reshape(1),
            scatter,
        )
        return VariationalGaussian(family, prior)

    def _batches(self):
        return self._about.data.recut(columns=self._columns, units=self._units)

    def _poisson(self, family):
        self._names("shape", "rate")
        d = self._d
        mean = np.maximum(self._moments.mean, 1 / self._about.moments.weight)  # of nothing but zeros
        prior = GammaRates(self._number("shape", 1.0, (d,))[None], self._number("rate", 1 / mean, (d,))[None])
        return VariationalPoisson(family, prior)

    def _bernoulli(self, family):
        self._names("ones", "zeros")
        ones, zeros = (self._number(name, 0.5, (self._d,))[None] for name in ("ones", "zeros"))
        return VariationalBernoulli(family, BetaProbabilities(ones, zeros))

    def _categorical(self, family):
        self._names("concentration")
        said, name = self._said.get("concentration"), f"{self._what}['concentration']"
        n_categories = family.n_categories
        if said is None:
            counts = [np.full(n, 1 / n) for n in n_categories]
        elif np.isscalar(said):
            value = _positive(name, said, [()])
            counts = [np.full(n, value) for n in n_categories]
        else:
            by_column = [said] if self._d == 1 and np.isscalar(said[0]) else said
            if len(by_column) != self._d:
                raise ValueError(f"{name} has arrays for {len(by_column)} columns, but there are {self._d}.")
            counts = [
                _positive(name if self._d == 1 else f"{name}[{j}]", of_column, [(n,)])
                for j, (of_column, n) in enumerate(zip(by_column, n_categories, strict=True))
            ]
        return VariationalCategorical(family, DirichletProbabilities(tuple(c[None] for c in counts)))
