"""Places for mixtures of regressions to start from.

No kind wins everywhere. Random responsibilities find regressions that cross, bands of residuals those that run
side by side, elemental sets what few rows show, annealing what needs time. Experts that live in different
places are found by k-means and by regions drawn at random.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from emlearn._input.arrays import read_array
from emlearn._input.pieces import comes_in_pieces
from emlearn._sample import Sample, draw_evenly, in_units
from emlearn.em import Batch, Batches, LatentModel, LatentPair, Start, cool, one_thread
from emlearn.em.algebra import solve, weighted_gram
from emlearn.em.annealing import cool_each
from emlearn.em.restarts import FAILURES
from emlearn.families import RegressionAnd
from emlearn.latent.grouped import lanes_of

# Kinds by turns.
PORTFOLIO = ("random", "residual", "elemental", "kmeans", "annealed", "elemental")
# Experts differ in where they are, too.
GATED_PORTFOLIO = ("random", "kmeans", "elemental", "regions", "residual", "elemental", "annealed")
# Shares of all weight that each cut between bands of residuals may move by, in bands.
JITTER = 0.4
# Components whose predictors differ by less than this, in units of noise, are one.
SAME = 1e-3
TEMPERATURES = (0.3, 0.5, 0.7, 0.85)  # inverse, of annealing


@dataclass(frozen=True)
class GroupedSample(Sample):
    """Distinct rows of groups, with their weights; groups and the rows of each in an order of their own.

    Rows of a group that are equal are merged, those without weight left out.
    """

    lengths: np.ndarray  # (n_groups,) rows of each group, in order

    @classmethod
    def of_groups(cls, data, units, size, least, rng):
        """The groups of the data if they have no more than ``size`` rows, else an even part of them.

        Parameters
        ----------
        data : Data
            Rows, those of each group together, as a sequence; weights are positive.
        units : Affine
        size : int
        least : int
            Number of groups to take at least, however many rows they have.
        rng : RandomState

        Returns
        -------
        sample : GroupedSample
        """
        n, weight, lengths = data.n_rows, data.weights(), data.lengths
        first = np.cumsum(lengths) - lengths
        there = np.arange(len(lengths))
        if n > size:
            there, _ = draw_evenly(len(lengths), None, max(size * len(lengths) // n, least), rng)
        positions = np.concatenate([np.arange(first[g], first[g] + lengths[g]) for g in there])
        group = np.repeat(np.arange(len(there)), lengths[there])
        counts = np.ones(len(positions)) if weight is None else weight[positions]
        distinct, rank = np.unique(in_units(data.take(positions), units), axis=0, return_inverse=True)
        key, place = np.unique(group * len(distinct) + rank.ravel(), return_inverse=True)
        counts = np.bincount(place.ravel(), counts)
        group, rank = np.divmod(key, len(distinct))
        ends = np.flatnonzero(np.diff(group, append=-1)) + 1
        contents = [
            (tuple(rank[a:b]), tuple(counts[a:b]), range(a, b))
            for a, b in zip(np.append(0, ends[:-1]), ends, strict=True)
        ]
        contents.sort(key=lambda content: content[:2])
        order = np.concatenate([list(rows) for *_, rows in contents])
        lengths = np.array([len(rows) for *_, rows in contents])
        is_whole = len(positions) == n
        return cls(distinct[rank[order]], counts[order], positions, counts, is_whole, lengths)

    @cached_property
    def batch(self):
        """The whole sample as one batch."""
        return next(iter(Batches(self.rows, self.weight, lengths=self.lengths, rows=len(self.rows) + 1)))

    def batches(self, floats_per_row):
        """The sample as data for the engine."""
        return Batches(self.rows, self.weight, lengths=self.lengths, floats_per_row=floats_per_row)


def read_supposed(labels, X, n_components):
    """Probabilities (n, K) of the components that rows are supposed to be in; None for None."""
    if labels is None:
        return None
    if comes_in_pieces(X):
        raise ValueError(
            "start_labels stand beside rows in memory, but X comes in pieces: give one array of rows."
        )
    K = n_components
    labels = read_array(
        "start_labels", labels, finite=True, advice="-1 says that nothing is supposed of a row."
    )
    if labels.shape not in ((n := np.shape(X)[0],), (n, K)):
        raise ValueError(
            f"start_labels has shape {labels.shape}; expected ({n},), or ({n}, {K}) probabilities."
        )
    if labels.ndim == 1:
        legal = (labels == np.floor(labels)) & (labels >= -1) & (labels < K)
        labels, row = (labels[:, None] == np.arange(K)) | (labels[:, None] < 0), int(np.argmin(legal))
    else:
        legal = (labels >= 0).all(axis=1) & (labels.sum(axis=1) > 0)
        row = int(np.argmin(legal))
    if not legal.all():
        raise ValueError(
            f"start_labels of row {row} are neither one of the components 0 to {K - 1}, nor -1, nor their "
            "probabilities."
        )
    resp = labels / labels.sum(axis=1, keepdims=True)
    if not (counts := resp.sum(axis=0)).all():
        raise ValueError(f"start_labels give component {int(np.argmin(counts))} no row.")
    return resp


class _Draws:
    """Random numbers of a start: few are ever asked for theirs, and to seed a generator takes its time."""

    def __init__(self, seed: int):
        self._seed = seed

    @cached_property
    def rng(self) -> np.random.RandomState:
        return np.random.RandomState(self._seed)


def _drawn(method, draws: _Draws) -> LatentPair:
    return method(draws.rng)


class RegressionStarts:
    """Starts of every kind, as functions of a random generator.

    Parameters
    ----------
    model : LatentModel
        Mixture weights or a gate, perhaps of groups, times regressions.
    n_components : int
        Number of components, K.
    sample : Sample
        Rows to start from: the design, the response and perhaps an offset.
    floats_per_row : int
        How many numbers an E-step works on per row.
    """

    def __init__(self, model: LatentModel, n_components: int, sample: Sample, floats_per_row: int):
        self._model = model
        self._K = n_components
        self._batch: Batch = sample.batch
        self._weight = np.asarray(self._batch.weight)
        self._unit = self._weight.sum() / len(sample.positions)  # the mean weight of a row
        self._batches = sample.batches(floats_per_row)
        alone = self._batch.lanes is None  # a row is a group of its own
        self._group = np.arange(len(self._weight)) if alone else lanes_of(self._batch)

    def start(self, kind: str, seed: int) -> Start:
        """A start of some kind, one of those in the portfolios."""
        methods = {
            "random": self._random,
            "elemental": self._elemental,
            "residual": self._residual,
            "kmeans": self._kmeans,
            "regions": self._regions,
            "annealed": self._annealed,
        }
        draws = _Draws(seed)
        together = self._cooled if kind == "annealed" else None
        return Start(
            kind,
            partial(_drawn, methods[kind], draws),
            lambda params: self._reseed(params, draws.rng),
            together,
        )

    def everything(self) -> LatentPair:
        """One component, of all rows; or K that are alike."""
        return self._from_resp(np.full((self._K, len(self._weight)), 1.0 / self._K))

    def _from_resp(self, resp: np.ndarray) -> LatentPair:
        return self._model.start(self._batch, self._with_others(resp * self._weight))

    def _with_others(self, resp: np.ndarray) -> np.ndarray:
        """Weighted responsibilities of all components, from those of the regressions."""
        family = self._model.family
        return family.with_others(self._batch, resp) if isinstance(family, RegressionAnd) else resp

    def _from_labels(self, labels: np.ndarray) -> LatentPair:
        return self._from_resp((labels == np.arange(self._K)[:, None]).astype(np.float64))

    def _features(self) -> np.ndarray:
        """All that experts or the gate see."""
        family = self._model.family
        return self._batch.x[: family.n_columns + family.n_beside]

    def _of_groups(self, values: np.ndarray) -> np.ndarray:
        """Weighted means over groups, one for each row."""
        if self._batch.lanes is None:
            return values
        total = np.bincount(self._group, self._weight)
        return (np.bincount(self._group, values * self._weight) / total)[self._group]

    def _random(self, rng) -> LatentPair:
        resp = rng.uniform(size=(self._K, self._group.max() + 1))
        return self._from_resp((resp / resp.sum(axis=0))[:, self._group])

    def _residual(self, rng) -> LatentPair:
        """Bands of the residuals of one regression, each row weighted at random."""
        family = self._model.family
        chance = rng.exponential(size=len(self._weight)) * self._weight
        one = family.start(self._batch, chance[None])
        _, y, _ = family.split(self._batch)
        residual = family.response.linear(y) - family.linear_predictor(one, self._batch)[0]
        if residual.ndim == 2:  # of classes, or of several responses: in some direction
            residual = rng.normal(size=len(residual)) @ residual
        residual = self._of_groups(residual)
        order = np.argsort(residual, kind="stable")
        share = np.cumsum(self._weight[order]) / self._weight.sum()
        cuts = np.arange(1, self._K) + rng.uniform(-JITTER, JITTER, size=self._K - 1)
        at = np.minimum(np.searchsorted(share, cuts / self._K), len(order) - 1)
        return self._from_labels(np.searchsorted(residual[order][at], residual, side="left"))

    def _kmeans(self, rng) -> LatentPair:
        _, y, _ = self._model.family.split(self._batch)
        response = np.atleast_2d(self._model.family.response.linear(y))
        spread = response.std(axis=1, keepdims=True)
        points = np.vstack([self._features(), response / np.where(spread > 0, spread, 1.0)]).T
        kmeans = KMeans(self._K, n_init=1, max_iter=20, random_state=rng)
        with one_thread(), warnings.catch_warnings():  # starts have threads of their own
            warnings.simplefilter("ignore", ConvergenceWarning)  # points may coincide
            return self._from_labels(kmeans.fit_predict(points, sample_weight=self._weight))

    def _regions(self, rng) -> LatentPair:
        """Regions of the features, nearest to each of some rows, where columns count by chance."""
        features = self._features()
        points = features * rng.exponential(size=(len(features), 1)) ** 2
        centres = points[:, [rng.choice(self._draw(rng)) for _ in range(self._K)]]
        distances = (points**2).sum(axis=0) - 2 * centres.T @ points + (centres**2).sum(axis=0)[:, None]
        return self._from_labels(distances.argmin(axis=0))

    def _elemental(self, rng) -> LatentPair:
        """Regressions through as few rows as determine them."""
        return self._at(np.stack([self._through(self._draw(rng)) for _ in range(self._K)]))

    def _annealed(self, rng) -> LatentPair:
        """Cool the posterior: a few steps at each of some rising inverse temperatures below 1."""
        return cool(self._model, self._elemental(rng), self._batches, TEMPERATURES)

    def _cooled(self, annealed: list[partial]) -> list[LatentPair | Exception]:
        """Several of these, made together."""
        hot: list[LatentPair | Exception] = []
        for start in annealed:
            try:
                hot.append(self._elemental(start.args[-1].rng))
            except FAILURES as error:
                hot.append(error)
        return cool_each(self._model, hot, self._batches, TEMPERATURES)

    def _draw(self, rng, weight=None) -> np.ndarray:
        """Rows of as many groups, drawn by weight, as determine a regression."""
        of_groups = np.bincount(self._group, self._weight if weight is None else weight)
        with np.errstate(divide="ignore"):  # those without weight come last
            order = np.argsort(rng.exponential(size=len(of_groups)) / of_groups)
        n_rows = np.cumsum(np.bincount(self._group)[order])
        n_drawn = 1 + np.searchsorted(n_rows, self._model.family.n_columns)
        return np.flatnonzero(np.isin(self._group, order[:n_drawn]))

    def _through(self, rows: np.ndarray) -> np.ndarray:
        """Coefficients (p,) of least squares of rough linear predictors on some rows; of several in a row."""
        design, y, offset = self._model.family.split(self._batch)
        design, offset = design[:, rows], np.broadcast_to(offset, self._weight.shape)[rows]
        eta = self._model.family.response.linear(y[:, rows]) - offset
        gram = weighted_gram(np.ones((1, len(rows))), design)[0]
        return np.concatenate([solve(gram, design @ own) for own in np.atleast_2d(eta)])

    def _log_prob(self, coef: np.ndarray) -> np.ndarray:
        """Log-densities (K, m) with dispersion 1, each row's the mean of its group."""
        params = self._model.family.with_noise(coef, 1.0)
        log_prob = self._model.family.density(params)(self._batch).log_prob[: len(coef)]
        return np.stack([self._of_groups(row) for row in log_prob])

    def _at(self, coef: np.ndarray) -> LatentPair:
        """Equal shares, and the noise that the nearest regression leaves of each row."""
        family = self._model.family
        variance = 1.0
        if family.response.is_exact:
            # Of densities with dispersion 1, whose height is that of residuals of 0, half the square is lost.
            q = family.response.n_responses
            half = -0.5 * np.log(2 * np.pi) - self._log_prob(coef).max(axis=0) / q
            variance = max(2 * float(np.average(half, weights=self._weight)), family.floor)
        equal = np.full((self._K, len(self._weight)), 1.0 / self._K) * self._weight
        params = family.nearest_legal(family.with_noise(coef, variance))
        return LatentPair(self._model.latent.start(self._batch, self._with_others(equal)), params)

    def _doubles(self, params) -> np.ndarray:
        """Which components are the same as one before them; none where all are."""
        eta = self._model.family.linear_predictor(params, self._batch)
        noise = self._model.family.noise(params)
        doubles = np.zeros(self._K, dtype=bool)
        for k in range(1, self._K):
            apart = (eta[k] - eta[:k]) ** 2 @ self._weight / self._weight.sum()
            apart = apart.reshape(k, -1).max(axis=1)  # there may be several predictors
            ratio = np.abs(np.log(noise[:k] / noise[k]))
            doubles[k] = ((apart <= SAME**2 * noise[k]) & (ratio <= SAME)).any()
        return doubles & (doubles.sum() < self._K - 1)

    def _reseed(self, params: LatentPair, rng) -> LatentPair | None:
        """Regressions through badly explained rows for components that others do without.

        That is those that less than one row supports, and those that are the same as another: where few rows
        far away dwarf what the rest differ by, EM ends between components that have become one.
        """
        counts = self._model.expectation(params)(self._batch).stats.family.weight
        lost = np.flatnonzero((counts < self._unit) | self._doubles(params.family))
        if not len(lost):
            return None
        coef = params.family.coef.copy()
        kept = np.setdiff1d(np.arange(self._K), lost)
        best = self._log_prob(coef[kept]).max(axis=0) if len(kept) else np.zeros(len(self._weight))
        for k in lost:
            badly = self._weight * (best <= np.quantile(best, 0.2))
            coef[k] = self._through(self._draw(rng, badly))
        return self._at(coef)
