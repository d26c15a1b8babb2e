r"""Stepwise EM for streams: every observation is seen once, and only mean statistics are kept.

.. math:: \bar s \leftarrow (1 - \gamma) \, \bar s + \gamma \, s_{\text{new}}, \qquad
   \theta \leftarrow \operatorname{maximize}(W \bar s)

with statistics per unit of weight, all about the parameters of the moment (`Parametric.recentred`), and W the
weight that they stand for. The observation at time t has the step :math:`\gamma_t = (t + t_0)^{-\kappa}`, or
the share of the past that is forgotten with each, if that is more. The steps of a batch are composed as if they
were taken in continuous time, so that how a stream is cut hardly matters.

References
----------
Cappé & Moulines (2009), On-line expectation-maximization algorithm for latent data models, J. R. Stat. Soc. B
71.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from emlearn.em.batches import Batch, as_data, intended_underflow, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.fit import MAX_SHORTENED
from emlearn.em.forms import check_leaves, checked
from emlearn.em.model import EMModel, EStep
from emlearn.em.stopping import NOISE
from emlearn.em.trees import tree_map

# Any power in (.5, 1] converges. Small ones forget a bad start; this one is for a start that is none.
KAPPA = 0.9

# Sums an E-step over some observations.
SumOver = Callable[[Callable[[Batch], EStep]], EStep]


@dataclass(frozen=True)
class Stepwise:
    """Where stepwise EM stands; a step gives another.

    Attributes
    ----------
    model : EMModel
    params : NamedTuple
        Parameters.
    stats : NamedTuple or None
        Mean statistics per unit of weight, about these parameters; None before any observation.
    time : float
        How many observations were seen.
    weight : float
        The weight that the statistics stand for beside a prior: what was seen and is not forgotten.
    unit : float
        Weight that counts as one observation.
    kappa, t0, forgetting, hold : float
        As of `fit_em_online`.
    n_steps : int
        Number of M-steps so far.
    """

    model: EMModel
    params: Any
    stats: Any = None
    time: float = 0.0
    weight: float = 0.0
    unit: float = 1.0
    kappa: float = KAPPA
    t0: float = 0.0
    forgetting: float = 0.0
    hold: float = 0.0
    n_steps: int = 0

    def saw(self, sum_over: SumOver) -> tuple[EStep, Stepwise]:
        """The E-step of new observations, and the state after it.

        Parameters
        ----------
        sum_over : callable
            ``sum_over(e_step)`` sums an E-step over the observations. It is asked again where an M-step is
            partial, and may have gone too far.

        Raises
        ------
        ValueError
            If the observations have no density at the parameters.
        """
        e_step = self.model.at(self.n_steps).expectation(self.params)
        if self.n_steps == 0:
            check_leaves("parameters", self.params)
            e_step = checked(e_step)
        with np.errstate(under="ignore", over="ignore", invalid="ignore"):  # which the next line names
            seen = sum_over(e_step)
        if not np.isfinite(seen.log_likelihood):
            raise ValueError(
                f"The log-likelihood of new rows is {seen.log_likelihood} at the parameters, which give some "
                "of them no density. Look for outliers or errors in them."
            )
        with intended_underflow():
            return seen, self._after(seen, sum_over)

    def _after(self, seen: EStep, sum_over: SumOver) -> Stepwise:
        if not seen.weight > 0:
            return self
        n = seen.weight / self.unit
        fresh = tree_map(lambda leaf: leaf / seen.weight, seen.stats)
        is_held = self.time + n < self.hold
        if self.stats is None:
            mixed = fresh
        else:
            # What was gathered at the same parameters counts alike.
            kept = self.time / (self.time + n) if self.time < self.hold else self.kept(n)
            mixed = tree_map(lambda old, new: kept * old + (1.0 - kept) * new, self.stats, fresh)
        state = replace(self, stats=mixed, time=self.time + n, weight=self._weight_after(n))
        if is_held:
            return state
        params = state._maximize(seen, sum_over)
        stats = self.model.recentred(mixed, self.params, params)
        return replace(state, params=params, stats=stats, n_steps=self.n_steps + 1)

    def kept(self, n: float) -> float:
        """Share of the statistics that ``n`` observations more leave of what there is."""
        start, forget = self.time + self.t0, -float(np.log1p(-self.forgetting))
        stop = start + n
        # From where on the past is forgotten faster than the steps shrink.
        turn = stop if forget == 0 else min(max(forget ** (-1.0 / self.kappa), start), stop)
        if self.kappa == 1.0:
            shrinking = np.log(turn / start) if start > 0 else np.inf
        else:
            shrinking = (turn ** (1 - self.kappa) - start ** (1 - self.kappa)) / (1 - self.kappa)
        return float(np.exp(-shrinking - forget * (stop - turn)))

    def _weight_after(self, n: float) -> float:
        if self.forgetting == 0:
            return self.weight + self.unit * n
        forget = -float(np.log1p(-self.forgetting))
        left = float(np.exp(-forget * n))
        return self.weight * left + self.unit * (1.0 - left) / forget

    def _maximize(self, seen: EStep, sum_over: SumOver) -> Any:
        """M-step; a partial one as short as it must be for the new observations not to speak against it."""
        model, params = self.model, self.params
        stats = tree_map(lambda leaf: leaf * self.weight, self.stats)
        new = model.maximize(stats, params)
        share = seen.weight / self.weight  # of the prior

        def objective(log_likelihood: float, at: Any) -> float:
            return float(log_likelihood + share * model.log_prior(at))

        before = objective(seen.log_likelihood, params)
        slack = 100 * NOISE * (abs(before) + seen.weight)
        for attempt in range(1, MAX_SHORTENED):
            shorter = model.shortened(stats, params, attempt)
            if shorter is None:
                break
            there = sum_over(model.at(self.n_steps).expectation(new)).log_likelihood
            if objective(there, new) >= before - slack:
                break
            new = shorter
        return new


class OnlineResult(NamedTuple):
    """What stepwise EM has made of a stream."""

    params: Any
    stats: Any  # mean expected statistics per unit of weight, about the parameters
    weight: float  # that they stand for: Σ weight, less what is forgotten
    n_items: int  # of the stream
    log_likelihood: float  # Σ weight · log p(x), nats, of each item at the parameters before it was seen
    history: tuple[float, ...]  # the same per unit of weight, item by item


class OnlineStep(NamedTuple):
    """Where stepwise EM stands after an item of a stream."""

    params: Any
    log_likelihood: float  # of the item, per unit of weight, at the parameters before it was seen, nats
    weight: float  # that the statistics stand for


def fit_em_online(
    model: EMModel,
    params: Any,
    stream: Any,
    *,
    kappa: float = KAPPA,
    t0: float = 2.0,
    forgetting: float = 0.0,
    hold: float = 20.0,
    callback: Callable[[OnlineStep], bool | None] | None = None,
) -> OnlineResult:
    r"""Fit a model by stepwise EM to a stream, of which each item is seen once.

    Each item is an E-step and an M-step, as in `fit_em`, but on mean statistics of all that was seen.

    Parameters
    ----------
    model : EMModel
        What is fitted. Where its statistics are about the parameters of their E-step, it needs `recentred`.
    params : NamedTuple
        Where to start. The better, the better: run `race` on some of the data.
    stream : iterable
        Arrays of rows (m, d), pairs (rows, weights), `Batch` or `Batches`; a generator will do. Batches of
        about a thousand rows are a good choice: each costs an M-step.
    kappa : float, default=0.9
        The observation at time t has the step :math:`(t + t_0)^{-\kappa}`, in (.5, 1]. Smaller powers forget a
        bad start sooner, and are noisier.
    t0 : float, default=2.0
        Observations that the steps begin after.
    forgetting : float, default=0.0
        Share of the past that is forgotten with each observation, for streams that drift: :math:`1 / n` keeps
        about n of them. 0 forgets nothing.
    hold : float, default=20.0
        Observations before the first M-step: parameters are held, and statistics gathered.
    callback : callable, default=None
        Called with an `OnlineStep` after each item; a true result ends the fit.

    Returns
    -------
    OnlineResult

    Raises
    ------
    ValueError
        If the stream is one array, holds no rows or items of different width, if rows have no density at the
        parameters, or if an argument is not legal.

    References
    ----------
    Cappé & Moulines (2009), On-line expectation-maximization algorithm for latent data models, J. R. Stat. Soc.
    B 71.

    Examples
    --------
    >>> import numpy as np
    >>> from emlearn.em import LatentModel, LatentPair, fit_em_online
    >>> from emlearn.families import Poisson, PoissonParams
    >>> from emlearn.latent import MixtureWeights
    >>> rng = np.random.default_rng(0)
    >>> stream = (rng.poisson(np.where(rng.random((500, 1)) < 0.3, 1.0, 6.0)) for _ in range(200))
    >>> start = LatentPair(np.array([0.5, 0.5]), PoissonParams(np.array([[2.0], [5.0]])))
    >>> result = fit_em_online(LatentModel(MixtureWeights(), Poisson()), start, stream)
    >>> result.params.latent.round(1), result.params.family.rates.ravel().round(1)
    (array([0.3, 0.7]), array([1., 6.]))
    """
    if not 0.5 < kappa <= 1.0:
        raise ValueError(f"kappa={kappa} must lie in (.5, 1]: other steps do not converge.")
    if not 0.0 <= forgetting < 1.0:
        raise ValueError(f"forgetting={forgetting} must lie in [0, 1): a share of the past.")
    for name, value in (("t0", t0), ("hold", hold)):
        if not (value >= 0.0 and np.isfinite(value)):
            raise ValueError(f"{name}={value} must be a number of observations.")
    state = Stepwise(model, params, kappa=kappa, t0=t0, forgetting=forgetting, hold=hold)
    history: list[float] = []
    total = 0.0
    for sum_over in _items(stream):
        with one_blas_thread():
            seen, state = state.saw(sum_over)
        total += seen.log_likelihood
        history.append(seen.log_likelihood / seen.weight if seen.weight > 0 else np.nan)
        if callback is not None and callback(OnlineStep(state.params, history[-1], state.weight)):
            break
    if not history:
        raise ValueError("The stream holds no rows.")
    return OnlineResult(
        state.params, state.stats, state.weight, len(history), float(total), tuple(map(float, history))
    )


def _items(stream: Any) -> Iterator[SumOver]:
    """For each item of a stream what sums an E-step over it."""
    if getattr(stream, "ndim", 3) < 3:
        raise ValueError(
            "The stream is one array: give its pieces one after another, as by "
            "numpy.array_split(X, len(X) // 1000), or fit_em all of it."
        )
    width = None
    for number, item in enumerate(stream):
        if isinstance(item, Batch):
            n, d = item.x.shape[::-1]
            sum_over = _over(item)
        else:
            data: Data = as_data(item)
            n, d, sum_over = data.n_rows, data.n_features, data.sum
        if not n:
            continue
        width = d if width is None else width
        if d != width:
            raise ValueError(f"Item {number} of the stream has {d} features, but those before have {width}.")
        yield sum_over


def _over(batch: Batch) -> SumOver:
    return lambda e_step: e_step(batch)
