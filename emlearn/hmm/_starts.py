"""Places to start from: the portfolio that hidden Markov models race.

States differ in what they emit, in how long they last and in what follows them. Each kind of start looks at
one of these first. Starts see sequences in a canonical order, equal ones merged, so that neither the order of
sequences nor repeating one instead of weighting it can change them; beyond 20,000 steps they see pieces drawn
evenly along the sequences as they come.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from emlearn._sample import unit_of
from emlearn.em import Batches, LatentModel, Start, cool, one_thread
from emlearn.em.fit import climb
from emlearn.families.base import widths_apart
from emlearn.latent import MixtureWeights
from emlearn.latent.known import possible_states

# Steps that a race looks at.
SAMPLE_STEPS = 20_000
# Beyond that it looks at pieces of sequences, none longer than this.
PIECE_STEPS = 500
# Hard labels are softened by this much, so that no state begins with an impossible observation.
SOFT = 0.1

PORTFOLIO = (
    "kmeans",
    "windows",
    "segments",
    "mixture",
    "random_from_data",
    "lagged",
    "windows",
    "annealed",
    "random_from_data",
    "random",
)


@dataclass(frozen=True)
class SequenceSample:
    """Distinct sequences, or pieces of them, with their weights: the longest first, then by their content."""

    rows: np.ndarray  # (m, d), in the user's units
    weight: np.ndarray  # (n_sequences,)
    lengths: np.ndarray  # (n_sequences,)
    labels: np.ndarray | None  # (m,), or (m, K) whether a state is possible
    is_whole: bool  # whether nothing of the data is left out

    @classmethod
    def of(cls, data, labels, size, rng):
        """All sequences if they have no more than ``size`` steps, else an even part of their pieces."""
        lengths = data.lengths
        offsets = np.cumsum(lengths) - lengths
        is_whole = data.n_rows <= size
        most = lengths.max() if is_whole else PIECE_STEPS
        n_pieces = -(-lengths // most)
        weight, n_seen = _look_at_pieces(data, n_pieces, most)
        if not is_whole:
            offsets, lengths, weight = _draw_pieces(offsets, lengths, weight, n_pieces, n_seen, size, rng)
        counted = np.flatnonzero(weight)
        offsets, lengths, weight = offsets[counted], lengths[counted], weight[counted]
        ends = np.cumsum(lengths)
        begins = ends - lengths
        positions = np.arange(ends[-1]) + np.repeat(offsets - begins, lengths)
        known = [np.ascontiguousarray(data.take(positions))]
        if labels is not None:
            known.append(labels[positions])
        contents, merged = {}, {}
        for begin, end, w in zip(begins.tolist(), ends.tolist(), weight, strict=True):
            key = (begin - end, *(part[begin:end].tobytes() for part in known))
            contents.setdefault(key, begin)
            merged[key] = merged.get(key, 0.0) + w
        keys = sorted(contents)
        order = np.concatenate([contents[key] + np.arange(-key[0]) for key in keys])
        return cls(
            np.asarray(known[0][order], dtype=np.float64),
            np.array([merged[key] for key in keys]),
            np.array([-key[0] for key in keys], dtype=np.intp),
            None if labels is None else known[1][order],
            is_whole,
        )

    @property
    def unit(self):
        """Weight that counts as one step."""
        return unit_of(self.weight @ self.lengths, self.lengths.sum())

    @property
    def size(self):
        """How many steps these stand for."""
        return self.weight @ self.lengths / self.unit

    def batches(self, units, **settings):
        """The sample as data for the engine."""
        weight = None if (self.weight == 1.0).all() else self.weight
        return Batches(self.rows, weight, lengths=self.lengths, labels=self.labels, units=units, **settings)


def _look_at_pieces(data, n_pieces, most):
    """Weight of each sequence, and of each of its pieces the number of steps at which something is observed.

    Pieces have at ``most`` so many steps.
    """
    weight, first = np.ones(len(n_pieces)), np.cumsum(n_pieces) - n_pieces
    n_seen = np.empty(n_pieces.sum())
    for sequences, own, of_pieces in data.map(partial(_of_sequences, most)):
        n = n_pieces[sequences]
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        n_seen[np.repeat(first[sequences], n) + within] = of_pieces
        if own is not None:
            weight[sequences] = own
    return weight, n_seen


def _of_sequences(most, batch):
    """Numbers of the sequences of a batch, their weights, and what `_look_at_pieces` gives of their pieces."""
    lanes = batch.lanes
    n = -(-lanes.lengths // most)
    steps, lane = lanes.places()
    length = lanes.lengths[lane]
    piece = (np.cumsum(n) - n)[lane] + ((steps + 1) * n[lane] + length - 1) // length - 1
    seen = ~np.isnan(batch.x).all(axis=0)
    weight = None if batch.weight is None else batch.weight[: len(n)]  # at their first steps
    return batch.sequences, weight, np.bincount(piece, seen, n.sum())


def _draw_pieces(offsets, lengths, weight, n_pieces, n_seen, size, rng):
    """Offsets, lengths and weights of pieces with about ``size`` steps in all, drawn evenly along the data.

    Pieces are drawn in proportion to their weight and to the observed steps that they have, ``n_seen``.
    """
    number = np.arange(n_pieces.sum()) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    parent = np.repeat(np.arange(len(lengths)), n_pieces)
    begin, end = ((number + i) * lengths[parent] // n_pieces[parent] for i in (0, 1))
    begin, end, of_piece = offsets[parent] + begin, offsets[parent] + end, weight[parent]
    mass = n_seen * of_piece
    some = np.flatnonzero(mass)
    n_drawn = max(1, int(size / (end - begin)[some].mean()))
    if len(some) <= n_drawn:
        return begin[some], (end - begin)[some], of_piece[some]
    levels = (np.arange(n_drawn) + rng.uniform(size=n_drawn)) / n_drawn * mass.sum()
    drawn = np.minimum(np.searchsorted(np.cumsum(mass), levels, side="right"), np.flatnonzero(mass)[-1])
    drawn, times = np.unique(drawn, return_counts=True)
    # A piece drawn in proportion to its steps and weight counts as often as it was drawn.
    return begin[drawn], (end - begin)[drawn], times.astype(np.float64)


class ChainStarts:
    """Starts of every kind for a hidden Markov model.

    Parameters
    ----------
    model : LatentModel
        A Markov chain times a family.
    n_components : int
        Number of states, K.
    sample : SequenceSample
    units : Affine
        The engine's units.
    ordered : bool
        Whether states follow one another in one direction.
    exchangeable : bool
        Whether states can be told apart by nothing but their estimates.
    floats_per_row : int
        For the cut of the data, as in `Batches`.
    """

    def __init__(self, model, n_components, sample, units, *, ordered, exchangeable, floats_per_row):
        self._model, self._K, self._units = model, n_components, units
        self._ordered, self._exchangeable, self._unit = ordered, exchangeable, sample.unit
        (self._batch,) = sample.batches(units, rows=len(sample.rows))
        self._data = sample.batches(units, floats_per_row=floats_per_row)
        lanes = self._batch.lanes
        steps, lane = lanes.places()
        self._time = (steps + 0.5) / lanes.lengths[lane]  # share of its sequence that has passed
        self._order = np.lexsort([steps, lane])  # columns in order of time, sequence by sequence
        self._ends = np.cumsum(lanes.lengths)
        self._weight = np.ones(len(steps)) if self._batch.weight is None else self._batch.weight

    @cached_property
    def _points(self):
        """Observations as points of unit variance, in order of time, (m, f)."""
        points = self._model.family.embedding(self._batch)[:, self._order].T
        spread = points.std(axis=0)
        return (points - points.mean(axis=0)) / np.where(spread > 0, spread, 1.0)

    @property
    def kinds(self):
        """Kinds of starts, by turns."""
        return ("in_turn", *PORTFOLIO) if self._ordered else PORTFOLIO

    def start(self, kind, seed):
        """A start of some kind."""
        methods = {
            "kmeans": self._kmeans,
            "windows": self._windows,
            "segments": self._segments,
            "mixture": self._mixture,
            "random_from_data": self._random_from_data,
            "lagged": self._lagged,
            "annealed": self._annealed,
            "random": self._random,
            "in_turn": self._in_turn,
        }
        return Start(kind, lambda: methods[kind](np.random.RandomState(seed)))

    def everything(self):
        """All states alike: for one state, all there is to start from."""
        return self._from_resp(np.full((self._K, len(self._order)), 1.0 / self._K), None)

    def explained(self, params):
        """The sample as a batch, with weighted responsibilities (K, m) and transitions at some parameters."""
        seen = self._model.family.density(params.family)(self._batch)
        resp, counts, _ = self._model.latent.posterior(params.latent, seen.log_prob, self._batch)
        return self._batch, resp.copy(), counts

    def at(self, means):
        """The one start where means (K, d), in the user's units, are given."""
        everything = self.everything()
        means = (means - self._units.shift) / self._units.scale
        try:
            moved = self._model.family.with_means(everything.family, means)
            moved = self._model.family.widened(moved, widths_apart(means))
        except ValueError as error:
            raise ValueError(f"means_init: {error}") from error
        return Start("given", lambda: everything._replace(family=moved))

    # -- kinds -------------------------------------------------------------------------------------------

    def _kmeans(self, rng):
        return self._from_labels(self._cluster(self._points, rng), rng)

    def _windows(self, rng):
        """Cluster moving averages: regimes that overlap step by step are apart in the mean."""
        width = int(rng.choice([3, 5, 9, 17]))
        return self._from_labels(self._cluster(self._moving(width), rng), rng)

    def _segments(self, rng):
        """Cut sequences at random into runs, and cluster the runs by their means."""
        m = len(self._order)
        per_state = rng.choice([1, 2, 4, 8])
        n_cuts = min(max(m // 3, 1), m - 1, self._K * per_state * len(self._ends))
        cuts = np.union1d(rng.choice(np.arange(1, m), size=n_cuts, replace=False), self._ends[:-1])
        run = np.searchsorted(cuts, np.arange(m), side="right")
        sums = np.zeros((run[-1] + 1, self._points.shape[1]))
        np.add.at(sums, run, self._points)
        means = sums / np.bincount(run)[:, None]
        labels = self._cluster(means, rng, np.bincount(run, self._weight[self._order]))
        return self._from_labels(labels[run], rng)

    def _mixture(self, rng):
        """Forget the order of the rows: a few steps of a finite mixture of the same family."""
        mixture = LatentModel(MixtureWeights(), self._model.family)
        begin = mixture.start(self._batch, self._soft(self._near_some(rng)) * self._weight, rng)
        fit = climb(mixture, begin, self._data, max_iter=20, tol=0.1 * self._unit)
        log_prob = mixture.family.density(fit.params.family)(self._batch).log_prob
        resp = mixture.latent.resp(fit.params.latent, log_prob)[0]
        return self._from_resp(self._named(0.95 * resp + 0.05 / self._K, rng), rng)

    def _random_from_data(self, rng):
        labels = np.empty(len(self._order), dtype=np.intp)
        labels[self._order] = self._near_some(rng)[self._order]
        return self._from_resp(self._named(self._soft(labels), rng), rng)

    def _lagged(self, rng):
        """Cluster pairs of successive observations: what follows tells states apart too."""
        later = np.append(np.arange(1, len(self._order)), len(self._order) - 1)
        later[self._ends - 1] = self._ends - 1
        return self._from_labels(self._cluster(np.hstack([self._points, self._points[later]]), rng), rng)

    def _annealed(self, rng):
        """Cool the posterior: a few steps at each of some rising inverse temperatures below 1."""
        # Where it is hotter than that, states melt into one.
        return cool(self._model, self._random_from_data(rng), self._data, (0.7, 0.85))

    def _random(self, rng):
        """States in runs of random lengths, whatever is observed."""
        stay = rng.choice([0.5, 0.8, 0.95])
        moves = rng.uniform(size=len(self._order)) > stay
        moves[0] = True
        moves[self._ends[:-1]] = True
        states = rng.randint(self._K, size=np.count_nonzero(moves))
        return self._from_labels(states[np.cumsum(moves) - 1], rng)

    def _in_turn(self, rng):
        """States one after the other, for about equal shares of each sequence."""
        ends = np.cumsum(rng.dirichlet(np.full(self._K, 20.0)))[:-1]
        return self._from_resp(self._known(self._soft(np.searchsorted(ends, self._time, side="right"))), rng)

    # -- parts of them -----------------------------------------------------------------------------------

    def _cluster(self, points, rng, weight=None):
        """Clusters (m,) of points (m, f) by k-means."""
        if len(points) <= self._K:
            return np.arange(len(points)) % self._K
        weight = self._weight[self._order] if weight is None else weight
        kmeans = KMeans(self._K, n_init=1, max_iter=20, random_state=rng)
        with one_thread(), warnings.catch_warnings():  # starts have threads of their own
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than states
            return kmeans.fit_predict(points, sample_weight=weight)

    def _moving(self, width):
        averages = np.empty_like(self._points)
        for begin, end in zip(np.r_[0, self._ends[:-1]], self._ends, strict=True):
            averages[begin:end] = uniform_filter1d(self._points[begin:end], width, axis=0, mode="nearest")
        return averages

    def _near_some(self, rng):
        """For each column of the batch which of K observations drawn at random is nearest."""
        weight = self._weight[self._order]
        levels = np.sort(rng.uniform(size=self._K)) * weight.sum()
        drawn = np.minimum(np.searchsorted(np.cumsum(weight), levels, side="right"), len(weight) - 1)
        centres = self._points[rng.permutation(drawn)]
        distances = np.stack([((self._points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
        labels = np.empty(len(weight), dtype=np.intp)
        labels[self._order] = (distances + 1e-9 * rng.uniform(size=distances.shape)).argmin(axis=1)
        return labels

    def _from_labels(self, labels, rng):
        """Parameters from labels (m,) in order of time."""
        of_columns = np.empty_like(labels)
        of_columns[self._order] = labels
        return self._from_resp(self._named(self._soft(of_columns), rng), rng)

    def _soft(self, labels):
        hard = labels == np.arange(self._K)[:, None]
        return (1.0 - SOFT) * hard + SOFT / self._K

    def _named(self, resp, rng):
        """Responsibilities with the clusters given to states: by known labels, by time, or by chance."""
        K, possible = self._K, self._possible
        if not possible.all():
            known = ~possible.all(axis=0)
            shares = possible[:, known] / possible[:, known].sum(axis=0)
            agreement = (resp[:, known] * self._weight[known]) @ shares.T
            clusters, states = linear_sum_assignment(-agreement)
            resp = resp[clusters[np.argsort(states)]]
        elif self._ordered:
            weighted = resp * self._weight
            resp = resp[np.argsort(weighted @ self._time / np.maximum(weighted.sum(axis=1), 1e-300))]
        elif not self._exchangeable:
            resp = resp[rng.permutation(K)]
        return self._known(resp)

    def _known(self, resp):
        """Responsibilities without those of states that are not possible."""
        if self._possible.all():
            return resp
        left = np.where(self._possible, resp, 0.0)
        total = left.sum(axis=0)
        even = self._possible / self._possible.sum(axis=0)
        return np.where(total > 0, left / np.where(total > 0, total, 1.0), even)

    @cached_property
    def _possible(self):
        """Which states what is known leaves possible, (K, m)."""
        labels, K = self._batch.labels, self._K
        return np.ones((K, 1), dtype=bool) if labels is None else possible_states(labels, K)

    def _from_resp(self, resp, rng):
        return self._model.start(self._batch, resp * self._weight, rng)


def given_start(start, chain, emission=None):
    """The start with what is given in place of what it finds: parts of the chain (None: not), and emissions."""

    def make():
        params = start.make()
        if emission is not None:
            params = params._replace(family=emission.put(params.family))
        parts = {name: value for name, value in chain._asdict().items() if value is not None}
        return params._replace(latent=params.latent._replace(**parts))

    return Start(start.kind, make)
