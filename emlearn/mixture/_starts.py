"""Places to start from: the portfolio that mixtures race.

No kind of start wins everywhere, so the default is some of each. All draw their rows by inverse CDF over
the cumulative weights of a `Sample`, whose rows are in lexicographic order with equal rows merged: neither
the order of the rows nor repeating a row instead of weighting it can change a start.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from emlearn._emissions.given import GivenEmission
from emlearn._input.arrays import read_array
from emlearn._sample import Sample, features_first, in_units, portfolio
from emlearn.em import Batch, LatentModel, LatentPair, Start, one_thread
from emlearn.em.annealing import cool_each
from emlearn.em.fit import fit_each
from emlearn.em.restarts import FAILURES
from emlearn.families.base import Emission, widths_apart, with_entries
from emlearn.families.covariance_types import STRUCTURES
from emlearn.latent.known import possible_states

# Kinds by turns. Tied first and then freed finds what the others miss where features are many; the rest
# share what it misses.
PORTFOLIO = (
    "tied",
    "kmeans",
    "random_from_data",
    "tied",
    "kmeans_sphered",
    "annealed",
    "tied",
    "k-means++",
    "random",
    "random_from_data",
)


# Where components are not placed by means: distances of rows say less, and a few drawn at random serve as well.
MIXED_PORTFOLIO = (
    "kmeans",
    "random_from_data",
    "few_rows",
    "tied",
    "annealed",
    "few_rows",
    "k-means++",
    "random_from_data",
    "random",
    "few_rows",
)
# Labels are softened by this much there, so that no component begins with an impossible row.
SOFT = 0.1
# Rows that each component begins with, beside twice the features; and what all others weigh relative to those.
FEW, OTHERS = 10, 0.1


# Steps of k-means for a start, and distances from centres beyond which starts are sooner made one by one.
KMEANS_STEPS = 20
MANY_DISTANCES = 200_000

START_KINDS = {
    "auto": PORTFOLIO,
    "kmeans": ("kmeans",),
    "k-means++": ("k-means++",),
    "random": ("random",),
    "random_from_data": ("random_from_data",),
}


def kinds_for(init, family):
    """Kinds of starts for a family, by turns; none is "tied" where nothing is left to be pooled."""
    kinds = MIXED_PORTFOLIO if init == "auto" and not family.is_placed else START_KINDS[init]
    return tuple(kind for kind in kinds if kind != "tied" or family.pooled is not None)


def choose_starts(estimator, model, sample, data, units, given, rng, *, into=None):
    """Starts for the race, ``n_init`` at most; or one, where there is only one to make.

    Parameters
    ----------
    estimator : GaussianMixtureEM
        For its ``n_components``, ``n_init`` and ``init_params``.
    model : LatentModel
        A mixture.
    sample : Sample
        Rows to start from.
    data : Data
        All rows, in the user's units.
    units : Affine
        The engine's units.
    given : GivenParams
        Starting values that the user gave.
    rng : RandomState
    into : callable, default=None
        ``into(batch, resp)`` makes parameters of what is fitted, where that is not ``model``, which then only
        tells responsibilities.

    Returns
    -------
    starts : list of Start
    """
    K, n_init, init = estimator.n_components, estimator.n_init, estimator.init_params
    make = RowStarts(model, K, sample, into)
    # With noise beside it, one component may be in several places.
    alone = K == 1 and model.family.is_unimodal and not estimator.noise
    if given.is_complete or alone:
        return [given.override(Start("given" if given.is_complete else "all", make.begin(make.everything)))]
    if given.means is not None:
        return [given.override(Start("given", lambda: make.around(given.means)))]
    if isinstance(init, str):
        kinds = kinds_for(init, model.family) if sample.labels is None else ("known",)
        return [given.override(start) for start in portfolio(make.start, kinds, n_init, rng)]
    if callable(init):
        drawn = data.take(sample.positions)
        batch = Batch(features_first(in_units(drawn, units)))
        every_resp = [resp_of(init(drawn.copy(), K, rng), K, drawn.shape[0]) for _ in range(n_init)]
        counts = sample.counts
    else:
        every_resp = [resp_of(init, K, data.n_rows)]
        batch = Batch(features_first(in_units(data.take(np.arange(data.n_rows)), units)))
        weight = data.weights()
        counts = 1.0 if weight is None else weight
    start = model.start if into is None else into
    return [given.override(Start("given", partial(start, batch, resp * counts))) for resp in every_resp]


def gives_order(estimator):
    """Whether starting values that an estimator was given tell which component is which."""
    init, precisions = estimator.init_params, getattr(estimator, "precisions_init", None)
    if getattr(estimator, "means_init", None) is not None:
        return True
    if precisions is not None and not STRUCTURES[estimator.covariance_type].shared:
        each = np.reshape(precisions, (estimator.n_components, -1))
        if (each != each[0]).any():
            return True
    # Of several answers of a callable that with the best fit is taken, and each may number them as it likes.
    return not isinstance(init, str) and (not callable(init) or estimator.n_init == 1)


def resp_of(answer, n_components, n_rows):
    """Responsibilities (K, n) from a user's labels (n,) or responsibilities (n, K).

    Components follow the order of the labels, as sorted.
    """
    answer = np.asarray(answer)
    if answer.shape == (n_rows,):
        answer = answer.astype(str) if answer.dtype == object else answer
        labels = np.unique(answer)
        if len(labels) != n_components:
            raise ValueError(
                f"init_params as labels must hold n_components={n_components} different ones, but holds "
                f"{len(labels)}: {labels[:10].tolist()}."
            )
        if answer.dtype.kind == "f" and np.isnan(answer).any():
            raise ValueError("init_params as labels holds NaN: each row needs a label.")
        return (answer == labels[:, None]).astype(np.float64)
    if answer.shape != (n_rows, n_components):
        raise ValueError(
            f"init_params gives an array of shape {answer.shape}; expected one label per row, ({n_rows},), or "
            f"responsibilities, ({n_rows}, {n_components})."
        )
    resp = answer.T.astype(np.float64)
    if not (np.isfinite(resp).all() and resp.min() >= 0 and np.allclose(resp.sum(axis=0), 1, atol=1e-6)):
        raise ValueError("init_params as responsibilities must be non-negative, each row with sum 1.")
    if not resp.any(axis=1).all():
        empty = int(np.argmin(resp.any(axis=1)))
        raise ValueError(f"init_params gives no row to component {empty}.")
    return resp


@dataclass(frozen=True)
class GivenParams:
    """Starting values that the user fixed, in the engine's units; None where the start is to find them."""

    family: Emission  # of what is fitted
    weights: np.ndarray | None
    means: np.ndarray | None
    covariances: np.ndarray | None

    @classmethod
    def check(cls, estimator, n_features, units, family):
        """Starting values from an estimator's ``weights_init``, ``means_init`` and ``precisions_init``."""
        K = estimator.n_components
        means = covariances = None
        weights_init, means_init, precisions_init = (
            getattr(estimator, name, None) for name in ("weights_init", "means_init", "precisions_init")
        )
        weights = read_weights_init(weights_init, K + bool(estimator.noise))
        if means_init is not None:
            means = read_array("means_init", means_init, shapes=[(K, n_features)], finite=True)
            means = (means - units.shift) / units.scale
        if precisions_init is not None:
            structure = STRUCTURES.get(estimator.covariance_type)
            if structure is None:
                raise ValueError(
                    f"drop precisions_init: covariance_type={estimator.covariance_type!r} has no use for it."
                )
            stack = structure.identity(K, n_features).shape
            shape = stack[1:] if structure.shared else stack
            given = read_array("precisions_init", precisions_init, shapes=[shape], finite=True)
            precisions = structure.rescale(given.reshape(stack), units.scale)
            dense = structure.dense(precisions, n_features)
            for k, matrix in enumerate(dense):
                if not np.allclose(matrix, matrix.T):
                    raise ValueError(f"precisions_init must be symmetric; matrix {k} is not.")
                if np.linalg.eigvalsh(matrix).min() <= 0:
                    raise ValueError(f"precisions_init must be positive definite; matrix {k} is not.")
            covariances = family.nearest(structure.invert(precisions))
        return cls(family, weights, means, covariances)

    @property
    def is_complete(self):
        """Whether nothing is left to be found."""
        return all(part is not None for part in (self.weights, self.means, self.covariances))

    def override(self, start: Start) -> Start:
        """The start with what is given in place of what it finds."""
        if all(part is None for part in (self.weights, self.means, self.covariances)):
            return start

        def make():
            params = start.make()
            family = {"means": self.means, "covariances": self.covariances}
            family = {name: value for name, value in family.items() if value is not None}
            return LatentPair(
                params.latent if self.weights is None else self.weights,
                params.family._replace(**family),
            )

        return Start(start.kind, make)


@dataclass(frozen=True)
class GivenParts:
    """What a user says of where a mixture of any emission starts, as `GivenParams` of Gaussians."""

    family: Emission  # of what is fitted, less what is held
    weights: np.ndarray | None
    means: np.ndarray | None
    emission: GivenEmission | None

    @property
    def is_complete(self):
        """Whether nothing is left to be found of where components are."""
        return self.emission is not None and self.emission.places

    def override(self, start: Start) -> Start:
        """The start with what is given in place of what it finds."""
        if self.weights is None and self.emission is None:
            return start

        def make():
            params = start.make()
            return LatentPair(
                params.latent if self.weights is None else self.weights,
                params.family if self.emission is None else self.emission.put(params.family),
            )

        return Start(start.kind, make)


def read_weights_init(weights_init, n_components):
    """Weights to start from as a user gave them, or None."""
    if weights_init is None:
        return None
    weights = read_array("weights_init", weights_init, shapes=[(n_components,)], finite=True)
    if weights.min() < 0 or not np.isclose(weights.sum(), 1):
        raise ValueError(
            f"weights_init must be non-negative with sum 1; the least is {weights.min():.6g}, the sum "
            f"{weights.sum():.6g}."
        )
    return weights


def kmeans_labels(rows, weight, n_clusters, generators):
    """Clusters (m,) of rows by k-means from each of several generators, or what went wrong.

    Steps are those of scikit-learn's KMeans, of all starts at once where that is sooner.
    """
    if sparse.issparse(rows) or len(rows) * n_clusters * len(generators) > MANY_DISTANCES:
        return [_or_error(partial(_kmeans_alone, rows, weight, n_clusters), rng) for rng in generators]
    if not len(generators):
        return []
    centred = rows - rows.mean(axis=0)
    before = [rng.get_state() for rng in generators]
    labels = _lloyd(centred, weight, centred[_seeds(centred, weight, n_clusters, generators)])
    for i, rng in enumerate(generators):
        if labels[i] is None:  # that a cluster has lost its rows takes more than steps
            rng.set_state(before[i])
            labels[i] = _or_error(partial(_kmeans_alone, rows, weight, n_clusters), rng)
    return labels


def _seeds(rows, weight, n_clusters, generators):
    """Rows (S, K) to begin k-means with, those of scikit-learn's `kmeans_plusplus` for each generator."""
    S, squares = len(generators), np.einsum("md,md->m", rows, rows)

    def distances(chosen):
        """Squared distances (S, t, m) from all rows of those chosen (S, t)."""
        products = (rows[chosen.ravel()] @ rows.T).reshape(*chosen.shape, -1)
        return np.maximum(squares[chosen][..., None] - 2 * products + squares, 0.0)

    share = np.cumsum(weight / weight.sum())
    share /= share[-1]
    chosen = np.empty((S, n_clusters), dtype=np.intp)
    chosen[:, 0] = np.searchsorted(share, [rng.random_sample() for rng in generators], side="right")
    nearest = distances(chosen[:, :1])[:, 0]
    n_tries, every = 2 + int(np.log(n_clusters)), np.arange(S)
    for k in range(1, n_clusters):
        reached = np.cumsum(weight * nearest, axis=1)
        level = np.array([rng.uniform(size=n_tries) for rng in generators]) * (nearest @ weight)[:, None]
        tried = (reached[:, None, :] < level[:, :, None]).sum(axis=2)
        tried = np.minimum(tried, len(rows) - 1)
        closer = np.minimum(nearest[:, None], distances(tried))
        best = (closer @ weight).argmin(axis=1)
        chosen[:, k], nearest = tried[every, best], closer[every, best]
    return chosen


def _kmeans_alone(rows, weight, n_clusters, rng):
    kmeans = KMeans(n_clusters, n_init=1, max_iter=KMEANS_STEPS, random_state=rng)
    with one_thread(), warnings.catch_warnings():  # starts have threads of their own
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows with gaps may meet in one point
        return kmeans.fit_predict(rows, sample_weight=weight)


def _lloyd(rows, weight, centres):
    """Clusters of rows (m, d) from each of S starts, centres (S, K, d); None where one has no rows."""
    S, K, d = centres.shape
    labels = np.full((S, len(rows)), -1)
    lost = np.zeros(S, dtype=bool)
    tol = 1e-4 * rows.var(axis=0).mean()
    moving, last = np.arange(S), np.zeros(S, dtype=bool)
    for step in range(KMEANS_STEPS + 1):
        if not len(moving):
            break
        own = centres[moving]
        nearness = rows @ own.reshape(-1, d).T
        nearness -= 0.5 * np.einsum("skd,skd->sk", own, own).ravel()
        new = nearness.reshape(len(rows), -1, K).argmax(axis=2).T
        same = (new == labels[moving]).all(axis=1)
        labels[moving] = new
        # Where centres hardly moved, or steps are used up, this was the last look at which is nearest.
        goes = ~same & ~last if step < KMEANS_STEPS else np.zeros(len(moving), dtype=bool)
        moving, new, own = moving[goes], new[goes], own[goes]
        resp = (new[:, None] == np.arange(K)[:, None]) * weight  # (S, K, m)
        total = resp.sum(axis=2)
        empty = (total <= 0).any(axis=1)
        lost[moving[empty]] = True
        moving, resp, total, own = moving[~empty], resp[~empty], total[~empty], own[~empty]
        centres[moving] = (resp.reshape(-1, len(rows)) @ rows).reshape(-1, K, d) / total[:, :, None]
        last = np.sum((centres[moving] - own) ** 2, axis=(1, 2)) <= tol
    return [None if lost[s] else labels[s] for s in range(S)]


def _place(weight, rng):
    """A place drawn at random in proportion to weights."""
    reached = np.cumsum(weight)
    return min(int(np.searchsorted(reached, rng.uniform() * reached[-1], side="right")), len(weight) - 1)


def _mean(points, weight):
    """Weighted mean of points (m, f), sparse or not, (f,)."""
    if sparse.issparse(points):
        return weight @ points / weight.sum()
    return np.average(points, axis=0, weights=weight)


def _squares(points, centres):
    """Squared distances (K, m) of points (m, f) from centres (K, f); if sparse, less those of the points."""
    if not sparse.issparse(points):
        return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres])
    centres = centres.toarray() if sparse.issparse(centres) else centres
    return (centres**2).sum(axis=1)[:, None] - 2.0 * (points @ centres.T).T


def _of_variance_1(points, weight):
    """Sparse points (m, f) in units of variance 1, where they are; not centred, or none of them would be 0."""
    squares = _mean(points**2, weight)
    variance = squares - _mean(points, weight) ** 2
    varies = variance > 1e-12 * squares
    scale = varies / np.sqrt(np.where(varies, variance, 1.0))
    points = points.tocsr()
    return with_entries(points, points.data * scale[points.indices])


def _or_error(function, value):
    """What a function makes of a value, or what went wrong, in that or before."""
    if isinstance(value, Exception):
        return value
    try:
        return function(value)
    except FAILURES as error:
        return error


def _after(function, values):
    """What a function of several makes of the values with which nothing went wrong, in the places of these."""
    sound = [value for value in values if not isinstance(value, Exception)]
    answers = iter(function(sound) if sound else [])
    return [value if isinstance(value, Exception) else next(answers) for value in values]


@dataclass(frozen=True)
class _Drawn:
    """Makes one of the starts of a kind."""

    starts: RowStarts
    kind: str
    seed: int

    def __call__(self) -> LatentPair:
        (made,) = self.starts.make_each([self])
        if isinstance(made, Exception):
            raise made
        return made


class RowStarts:
    """Starts of every kind for a mixture of rows, as functions of a random generator.

    Parameters
    ----------
    model : LatentModel
        Mixture weights, or a gate, times a family.
    n_components : int
        Number of components, K.
    sample : Sample
        Rows to start from.
    into : callable, default=None
        ``into(batch, resp)`` makes parameters of what is fitted, where that is not ``model``, which then only
        tells responsibilities.
    """

    def __init__(
        self,
        model: LatentModel,
        n_components: int,
        sample: Sample,
        into: Callable[[Batch, np.ndarray], LatentPair] | None = None,
    ):
        self._model = model
        self._into = into
        self._K = n_components
        self._sample = sample
        self._batches = sample.batches(model.family.floats_per_row(n_components, sample.rows.shape[1]))

    def start(self, kind: str, seed: int) -> Start:
        """A start of some kind, one of those in the portfolios."""
        return Start(kind, _Drawn(self, kind, seed), make_each=self.make_each)

    def make_each(self, starts: list[_Drawn]) -> list[LatentPair | Exception]:
        """What is fitted begins from these, or what went wrong: those of a kind are made together."""
        made: dict[_Drawn, LatentPair | Exception] = {}
        together = {
            "tied": self._tied,
            "annealed": self._annealed,
            "kmeans": self._kmeans,
            "kmeans_sphered": self._kmeans_sphered,
            "k-means++": self._kmeans_plusplus,
        }
        methods = {
            "random": self._random,
            "random_from_data": self._random_from_data,
            "few_rows": self._few_rows,
            "known": self._known,
        }
        for kind in {start.kind: None for start in starts}:
            alike = [start for start in starts if start.kind == kind]
            generators = [np.random.RandomState(start.seed) for start in alike]
            if kind in together:
                of_kind = _after(together[kind], generators)
            else:
                of_kind = [_or_error(methods[kind], rng) for rng in generators]
            made |= zip(alike, of_kind, strict=True)
        if self._into is None:
            return [made[start] for start in starts]
        return [_or_error(lambda p: self.begin(lambda: p)(), made[start]) for start in starts]

    def begin(self, make: Callable[[], LatentPair]) -> Callable[[], LatentPair]:
        """Makes parameters of what is fitted, from those of the model."""
        into = self._into
        if into is None:
            return make
        return lambda: into(self._sample.batch, self._posterior(self._model, make()) * self._sample.weight)

    @cached_property
    def _everything(self) -> LatentPair:
        return self.from_resp(np.full((self._K, len(self._sample.weight)), 1.0 / self._K))

    def everything(self) -> LatentPair:
        """All components alike, with the mean and covariance of all rows."""
        return self._everything

    @cached_property
    def _points(self) -> np.ndarray:
        """Rows as points, (m, f): as they are, or where they are no numbers of variance 1 each."""
        if self._model.family.is_placed:
            return self._sample.points
        points = self._model.family.embedding(self._sample.batch).T
        if sparse.issparse(points):
            return _of_variance_1(points, self._sample.weight)
        centred = points - np.average(points, axis=0, weights=self._sample.weight)
        spread = np.sqrt(self._sample.weight @ centred**2 / self._sample.weight.sum())
        kept = spread > 0
        return centred[:, kept] / spread[kept] if kept.any() else centred[:, :1]

    def at(self, points: np.ndarray) -> LatentPair:
        """Equal weights, and every component at a point.

        It has the covariance of all rows, shrunk to a K-th of the volume; where there is no such thing, it is
        that of the rows which are nearest.
        """
        family = self._model.family
        if not family.is_placed:
            return self._from_labels(self._nearest(points))
        shrunk = family.shrunk(self.everything().family, 1.0 / self._K)
        return self._evenly(family.widened(family.with_means(shrunk, points), widths_apart(points)))

    def _evenly(self, params) -> LatentPair:
        return LatentPair(self._model.latent.even(self._K), params)

    def _nearest(self, points: np.ndarray) -> np.ndarray:
        """Which point is nearest to each row, (m,)."""
        return _squares(self._points, points).argmin(axis=0)

    def around(self, means: np.ndarray) -> LatentPair:
        """Equal weights, and one covariance for all: that of the rows about the means that they are nearest to.

        That of all rows about one mean would be so wide that components forget the means they were given.
        """
        family = self._model.family
        if not family.is_placed:
            moved = family.with_means(self.everything().family, means)
            return self._evenly(family.widened(moved, widths_apart(means)))
        if not hasattr(family, "of_moments"):
            return self.at(means)
        resp = (self._nearest(means) == np.arange(self._K)[:, None]) * self._sample.weight
        within = family if family.pooled is None else family.pooled
        of_rows = within.covariance(within.start(self._sample.batch, resp))
        params = family.nearest_legal(family.of_moments(means, of_rows))
        return self._evenly(family.widened(params, widths_apart(means)))

    def from_resp(self, resp: np.ndarray) -> LatentPair:
        """Parameters from responsibilities (K, m), as far as what is known leaves them."""
        if self._sample.labels is not None:
            resp = np.where(possible_states(self._sample.labels, self._K), resp, 0.0)
            resp = resp / resp.sum(axis=0)
        return self._model.start(self._sample.batch, resp * self._sample.weight)

    def _from_labels(self, labels: np.ndarray) -> LatentPair:
        resp = (labels == np.arange(self._K)[:, None]).astype(np.float64)
        if not self._model.family.is_placed:
            resp = (1.0 - SOFT) * resp + SOFT / self._K
        return self.from_resp(resp)

    def _kmeans(self, generators, rows=None) -> list[LatentPair | Exception]:
        rows = self._points if rows is None else rows
        labels = kmeans_labels(rows, self._sample.weight, self._K, generators)
        return [_or_error(self._from_labels, of_start) for of_start in labels]

    def _kmeans_sphered(self, generators) -> list[LatentPair | Exception]:
        values, vectors = np.linalg.eigh(self._sample.covariance)
        kept = values > 1e-6 * values[-1]
        if kept.sum() >= len(self._sample.rows) - 1:  # all are equally far apart: rounding would choose
            return self._kmeans(generators)
        return self._kmeans(generators, self._sample.points @ (vectors[:, kept] / np.sqrt(values[kept])))

    def _kmeans_plusplus(self, generators) -> list[LatentPair | Exception]:
        points, weight = self._points, self._sample.weight
        if not sparse.issparse(points) and len(points) * self._K * len(generators) <= MANY_DISTANCES:
            seeds = _seeds(points, weight, self._K, generators)
        else:
            seeds = [
                kmeans_plusplus(points, self._K, sample_weight=weight, random_state=g)[1] for g in generators
            ]
        return [_or_error(self.at, points[of_start]) for of_start in seeds]

    def _random_from_data(self, rng) -> LatentPair:
        return self.at(self._points[self._sample.draw(self._K, rng)])

    def _known(self, rng) -> LatentPair:
        """k-means in which rows go where they may: from means of those known, or from some that may belong."""
        possible = possible_states(self._sample.labels, self._K)
        points, weight = self._points, self._sample.weight
        n_possible, centres = possible.sum(axis=0), []
        for may in possible:
            fewest = n_possible[may].min(initial=self._K)
            own = np.flatnonzero(may & (n_possible == fewest)) if may.any() else np.arange(len(weight))
            if fewest == 1:
                centres.append(_mean(points[own], weight[own]))
            else:
                drawn = own[_place(weight[own], rng)]
                centres.append(_mean(points[[drawn]], np.ones(1)))
        labels = np.full(len(weight), -1)
        for _ in range(KMEANS_STEPS):
            distances = _squares(points, np.stack(centres))
            before, labels = labels, np.where(possible, distances, np.inf).argmin(axis=0)
            if np.array_equal(before, labels):
                break
            for k in np.unique(labels):
                own = labels == k
                centres[k] = _mean(points[own], weight[own])
        return self._from_labels(labels)

    def _few_rows(self, rng) -> LatentPair:
        """Each component begins with a few rows of its own, and next to nothing of the others."""
        m, d = self._sample.rows.shape
        own = max(min(FEW + 2 * d, m // self._K), 1)
        drawn = self._sample.draw(min(own * self._K, m), rng)
        resp = np.full((self._K, m), OTHERS * own / m)
        resp[:, drawn] = 0.0
        resp[np.arange(len(drawn)) % self._K, drawn] = 1.0
        return self.from_resp(resp)

    def _random(self, rng) -> LatentPair:
        resp = rng.uniform(size=(self._K, len(self._sample.weight)))
        return self.from_resp(resp / resp.sum(axis=0))

    def _tied(self, generators) -> list[LatentPair | Exception]:
        """Fit one covariance matrix for all components first, then free them."""
        tied = replace(self._model, family=self._model.family.pooled)
        of_tied = RowStarts(tied, self._K, self._sample)

        def fit(starts):
            return fit_each(tied, starts, self._batches, max_iter=100, tol=0.1 * self._sample.unit)

        fits = _after(fit, of_tied._kmeans(generators))
        return [_or_error(lambda fit: self.from_resp(self._posterior(tied, fit.params)), fit) for fit in fits]

    def _annealed(self, generators) -> list[LatentPair | Exception]:
        """Cool the posterior: a few steps at each of some rising inverse temperatures below 1."""
        hot = [_or_error(self._random_from_data, rng) for rng in generators]
        return _after(lambda starts: cool_each(self._model, starts, self._batches, (0.3, 0.5, 0.7, 0.85)), hot)

    def _posterior(self, model: LatentModel, params: LatentPair) -> np.ndarray:
        log_prob = model.family.density(params.family)(self._sample.batch).log_prob
        return model.latent.resp(params.latent, log_prob, self._sample.batch)[0]
