"""What is inferred of a hidden Markov model: parameters, or as in `_variational` a distribution of them.

An estimator asks one of two objects with the same methods for what is fitted and where from. What was fitted is
then seen in three ways (`Views`), so that predictions need not know what it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from emlearn._emissions.priors import with_priors
from emlearn._sample import portfolio
from emlearn.em import Data
from emlearn.families import Emission
from emlearn.families.variational import Predictive, changed, expectation_of
from emlearn.hmm._chain import bind_chain
from emlearn.latent import ChainParams, DirichletChain


class View(NamedTuple):
    """Densities and a chain for the recursions, in the engine's units."""

    chain: ChainParams  # whose rows may sum to less than 1
    family: Emission
    emitted: Any


class Views(NamedTuple):
    """A fit as each kind of question sees it; where parameters are known all views are the same."""

    hidden: View  # for what is hidden, given all that is seen
    ahead: View  # for densities of what is seen, and what is to come
    expected: View  # for parameters
    n_steps: np.ndarray | None  # (K,) expected number of steps in each state, where a prior adds to it

    @property
    def is_distribution(self):
        """Whether parameters have a distribution."""
        return self.n_steps is not None


def views_of(model, params):
    """The views of the parameters of a model."""
    chain, emitted = params
    if not isinstance(model.latent, DirichletChain):
        known = View(chain, model.family, emitted)
        return Views(known, known, known, None)
    mean = model.latent.mean(chain)
    return Views(
        View(model.latent.geometric_mean(chain), model.family, emitted),
        View(mean, changed(model.family, Predictive), emitted),
        View(mean, *expectation_of(model.family, emitted)),
        model.latent.counts(chain),
    )


class About(NamedTuple):
    """What priors may want to know of the data."""

    data: Data  # in the user's units
    moments: Any  # Moments
    units: Any  # Affine


class MaximumLikelihood:
    """Parameters of greatest likelihood; with priors of the chain, of greatest posterior density.

    Parameters
    ----------
    estimator : HMMEM

    Raises
    ------
    ValueError
        If the estimator has parameters that are for another inference.
    """

    def __init__(self, estimator):
        if estimator.prior is not None:
            raise ValueError(
                f"prior is for inference='variational', but inference={estimator.inference!r}: change one of "
                "them."
            )
        self._estimator = estimator

    @property
    def least_steps(self):
        """How many observed steps there must be."""
        return self._estimator.n_components

    def chain(self):
        """A chain of known parameters, and what of its starting values is given."""
        return bind_chain(self._estimator)

    def emission(self, family):
        """The family of the emissions, before it is bound to data."""
        refusal = (
            "is for inference='variational', but inference='em', by which probabilities alone have priors: "
            "change one of them"
        )
        return with_priors(self._estimator, family, refusal)

    def part_of(self, sample, total):
        """The sample as what starts and the race look at, of data of this weight."""
        return sample

    def model(self, plain, about):
        """What is fitted, made of a chain and a family of known parameters."""
        return plain

    def like(self, model, here):
        """Parameters of the emissions that show their shapes; ``here`` makes plain ones."""
        return here.everything().family

    def starts(self, model, make, one, put, exchangeable, rng):
        """The starts, and what puts into any other start what the user gave.

        Parameters
        ----------
        model : LatentModel
        make : callable
            ``make(K)`` makes starts of K states, of plain parameters.
        one : Start or None
            The only start.
        put : callable
            Of a start the same with what the user gave.
        exchangeable : bool
            Whether nothing tells states apart.
        rng : RandomState
        """
        if one is not None:
            return [put(one)], put
        here = make(self._estimator.n_components)
        return list(map(put, portfolio(here.start, here.kinds, self._estimator.n_init, rng))), put
