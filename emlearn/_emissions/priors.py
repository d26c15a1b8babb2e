"""Priors of what is emitted, from what a user says of them."""

from __future__ import annotations

from numbers import Real

from emlearn._emissions.words import by_part, parts_of, prefixed, with_parts
from emlearn.families import Product
from emlearn.families.base import unwrapped
from emlearn.families.variational import changed


def with_priors(estimator, family, refusal="is given, but by EM probabilities alone have priors: drop it"):
    """The family with the priors of `emission_prior`, for a fit of greatest posterior density.

    Of emissions that have none, an error ends with the ``refusal``.
    """
    said = estimator.emission_prior
    if said is None:
        return family
    if isinstance(said, Real):
        return _with_prior(family, said, "emission_prior", refusal)
    d, names = estimator.n_features_in_, getattr(estimator, "feature_names_in_", None)
    parts = parts_of(family, d)
    if len(parts) == 1:
        return with_parts(family, [_with_prior(parts[0][1], said, "emission_prior", refusal)])
    given = by_part(said, family, d, names, "emission_prior")
    return with_parts(
        family,
        [
            part
            if own is None
            else _with_prior(part, own, f"emission_prior[{tuple(columns.tolist())}]", refusal)
            for (columns, part, _), own in zip(parts, given, strict=True)
        ],
    )


def _with_prior(family, said, what, refusal):
    if not _takes_number(family):
        raise ValueError(f"{what} {refusal}.")
    if isinstance(said, Real):
        return changed(family, lambda own: _prior_of_all(own, said))
    if not isinstance(said, dict):
        raise ValueError(f"{what} must be a number or a dict of priors by name, but is {said!r}.")
    return prefixed(what, family.with_prior, said)


def _takes_number(family):
    if isinstance(family, Product):
        return any(_takes_number(part) for part in family.families)
    return bool(unwrapped(family).prior_names)


def _prior_of_all(family, number):
    """The family with this concentration of all that its prior counts."""
    names = family.prior_names
    return prefixed("emission_prior", family.with_prior, dict.fromkeys(names, number)) if names else family
