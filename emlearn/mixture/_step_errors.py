"""How certain parameters are that were found one step after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em import Data, LatentPair, observed_information, scores
from emlearn.em.information import DIFFERENCE, Information, objective_along, spectrum
from emlearn.em.spaces import n_coordinates


@dataclass(frozen=True)
class StepErrors:
    r"""Covariance of the estimates of a later step, in which those of the first stand as if they were known.

    With the information :math:`I_1` of the first step and :math:`I_2` of the later one, and the slope C of the
    score of the later by the parameters of the first,

    .. math:: V = I_2^{-1} + I_2^{-1} C I_1^{-1} C^\top I_2^{-1}

    where what is known of classes is a model with parameters of the first step (Gong & Samaniego, 1981; Bakk &
    Kuha, 2018), or are errors of classification, which depend on these (Bakk, Oberski & Vermunt, 2014). The
    robust covariance is that of what each row moves estimates by, through both steps.

    Parameters
    ----------
    first, later : MixtureEM
        The fits, a later one of which parts that are known have no coordinates.
    rows, records : Data
        What they were fitted to, in the units of each.
    of, share : ndarray of shape (n_records,)
        Which row each record is of, and the share of the row that it is.
    known_at : callable, or None
        ``known_at(params)``: parameters of the known parts of the later fit, by those of the first. None: they
        do not depend on them.
    whole : callable
        ``whole(first, later)``: parameters of the whole model from those of the two fits.
    """

    first: Any
    later: Any
    rows: Data
    records: Data
    of: NDArray[np.intp]
    share: NDArray[np.float64]
    known_at: Callable[[LatentPair], tuple[Any, ...]] | None
    whole: Callable[[LatentPair, LatentPair], LatentPair]

    def __call__(self, model: Any, data: Data, kind: str, clusters: Any) -> tuple[Information, NDArray[Any]]:
        """Information on the parameters of the whole model, step by step, and a root of their covariance."""
        if kind == "opg":
            raise ValueError("kind='opg' is for fits in one step: give 'observed' or 'robust'.")
        if kind == "observed" and (self.share != 1).any():
            raise ValueError(
                "kind='observed' takes records for independent, but proportional assignments make several of a "
                "row: give kind='robust'."
            )
        one = observed_information(self.first._model, self.first._params, self.rows)
        before = self.later._params
        two = observed_information(self.later._model, self._with_known(before, one.params), self.records)
        (root, inverse), (root_later, inverse_later) = map(_inverse, (one.observed, two.observed))
        through = inverse_later @ self._slope(
            one, two
        )  # how parameters of the first step move those of the later
        if kind == "observed":
            moves_first = np.hstack([root, np.zeros((len(root), root_later.shape[1]))])
            moves_later = np.hstack([through @ root, root_later])
        else:
            first, weight = scores(self.first._model, one.params, self.rows, one.free)
            each, _ = scores(self.later._model, two.params, self.records, two.free)
            later = np.zeros((len(first), each.shape[1]))
            np.add.at(later, self.of, each * self.share[:, None])
            by_row = first @ inverse, later @ inverse_later + first @ (through @ inverse).T
            moves = np.hstack(by_row) * weight[:, None]
            if clusters is not None:
                _, codes = np.unique(clusters, return_inverse=True)
                summed = np.zeros((codes.max() + 1, moves.shape[1]))
                np.add.at(summed, codes, moves)
                moves = summed
            moves_first, moves_later = np.split(np.linalg.qr(moves, mode="r").T, [len(root)])
        return self._in_order(model, data, one, two, moves_first, moves_later)

    def _with_known(self, later: LatentPair, first: LatentPair) -> LatentPair:
        """Parameters of the later fit, of which those that are known are by the first ones."""
        if self.known_at is None:
            return later
        known = self.known_at(first)
        hidden = later.latent if self._n_hidden(later) else first.latent  # which are held
        return LatentPair(hidden, (*known, *later.family[len(known) :]))

    def _n_hidden(self, later: LatentPair) -> int:
        """How many coordinates of the later fit are of what is hidden."""
        return n_coordinates(self.later._model.latent.spaces, later.latent)

    def _slope(self, one: Information, two: Information) -> NDArray[np.float64]:
        """Slope (f_later, f_first) of the score of the later step by the parameters of the first."""
        model = self.first._model
        here = model.flatten(one.params)
        places = np.flatnonzero(one.free)
        if self.known_at is None:
            return np.zeros((np.count_nonzero(two.free), len(places)))

        def score(place: int, step: float) -> NDArray[np.float64]:
            vector = here.copy()
            vector[place] += step
            params = self._with_known(two.params, model.unflatten(vector, one.params))
            along = objective_along(self.later._model, params, self.records, two.free)
            return along(np.zeros(np.count_nonzero(two.free)))[1]

        steps = [DIFFERENCE * max(abs(here[place]), 1.0) for place in places]
        slopes = [(score(p, h) - score(p, -h)) / (2 * h) for p, h in zip(places, steps, strict=True)]
        return np.stack(slopes, axis=1) if slopes else np.empty((np.count_nonzero(two.free), 0))

    def _in_order(self, model, data, one, two, moves_first, moves_later):
        """The same by the coordinates of the whole model: those of what is hidden, of items, of outcomes."""
        n_hidden = self._n_hidden(two.params)
        of_first = n_coordinates(self.first._model.latent.spaces, one.params.latent) if n_hidden else 0
        before, hidden = np.count_nonzero(one.free[:of_first]), np.count_nonzero(two.free[:n_hidden])
        free = np.concatenate([two.free[:n_hidden], one.free[of_first:], two.free[n_hidden:]])
        moves = np.vstack([moves_later[:hidden], moves_first[before:], moves_later[hidden:]])
        n_first = len(moves_first) - before
        observed = np.zeros((len(moves), len(moves)))
        inside = np.zeros(len(moves), dtype=bool)
        inside[hidden : hidden + n_first] = True
        observed[np.ix_(inside, inside)] = one.observed[before:, before:]
        observed[np.ix_(~inside, ~inside)] = two.observed
        params = self.whole(one.params, two.params)
        log_likelihood = float(data.sum(model.expectation(params)).log_likelihood)
        return Information(params, free, observed, np.zeros(len(moves)), log_likelihood), moves


def _inverse(information: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Root (f, r) of the inverse of an information on what is estimable, and that inverse (f, f)."""
    values, directions = spectrum(information)
    return directions / np.sqrt(values), (directions / values) @ directions.T
