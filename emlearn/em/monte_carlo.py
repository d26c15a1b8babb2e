r"""Monte Carlo EM, for models whose hidden values can be drawn but whose expectations have no closed form.

The E-step averages over draws z of the hidden values given the data, and what it maximises is
:math:`\tilde Q(\theta) = \sum_i w_i \sum_r W_{ir} \log p(x_i, z_{ir}; \theta)`, with weights W that sum to 1
over the draws of each unit. The noise of the draws decides how many there must be (Caffo, Jank & Jones,
2005): a step is taken if the lower confidence bound of the increment of Q is positive, else more draws join
those at hand; it is over when the upper bound says that less than ``tol`` is left.

The bounds are theirs but for three things, which matter near the maximum, where a step is mostly noise:

* A step that maximises :math:`\tilde Q` looks like ascent to the draws that it was made of, the more so the
  more parameters there are. So half of the draws suggest a step and the other half judge it, and the other way
  round; the mean of the two increments has to be above its error.
* The noise of the step has a share in the increment that does not vanish where the step happens to be short:
  with p parameters its mean is :math:`p s^2 / 4 \Delta`, for an increment Δ of standard error s. It is part of
  the upper bound.
* An increment of Q is one step, not what is left. The variance of a draw's increment is v'Vv for a step v and
  the missing information V, and twice the increment is v'Iv for the complete information I: their ratio is
  the rate ρ at which EM converges along the step. What is left is the upper bound over 1 − ρ, with the
  largest ρ of a few steps, and ``tol`` means what it means in `fit_em`.

With normal random intercepts, whose maximum is known, none of 150 fits of 5, 18 or 42 parameters ended
more than ``tol`` = .01 below it. By the bounds as published, with a tenth of the draws and less, 12 %, 42 %
and 80 % did.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import ceil
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from emlearn.em.batches import Batch, as_data, one_blas_thread
from emlearn.em.data import Data
from emlearn.em.fit import MAX_SHORTENED, MonotonicityWarning
from emlearn.em.model import EMModel
from emlearn.em.stopping import NOISE
from emlearn.em.trees import Tree, add, leaves, tree_map

FloatArray = NDArray[np.float64]

# Normal quantiles: of the lower bound that must be positive (a step that is no ascent is taken with probability
# .25), of the power with which the next step of the same size should be seen to be one (.75), and of the upper
# bound that must be below the tolerance (.9).
Z_ASCENT, Z_POWER, Z_STOP = 0.6745, 0.6745, 1.2816
# Steps before the last whose rates count: believe the slowest, as noise may hide it from one of them.
N_RATES = 3
# Draws join those at hand until they are this many times as many.
GROWTH = 1.5
# No unit may rest on fewer effective draws than this: the standard error could not be believed.
MIN_EFFECTIVE = 10.0
# Draws are made and looked at in pieces of at most this many numbers per hidden value.
PIECE = 2**18


class Draws(NamedTuple):
    """Draws of the hidden values from a density other than their posterior.

    They are weighted by joint density over proposal, and weights sum to 1 for each unit. That leaves a bias
    which goes as 1 / draws, and which standard errors do not show: a good proposal keeps it small.
    """

    hidden: Any  # array (n_draws, n_units, ...), or a tuple of such arrays
    log_proposal: FloatArray  # (n_draws, n_units): log density that they were drawn from


class MonteCarloModel(EMModel):
    """Base of models whose hidden values are drawn. One of your own needs four methods.

    They are `sample_hidden`, `log_joint`, `statistics` and `maximize`. A unit is what has hidden values of its
    own: a row, or a sequence of rows where the data have ``lengths`` (`Batch.lanes`). Units are independent,
    given the parameters.

    Attributes
    ----------
    chained : bool, default=False
        Whether draws are steps of a Markov chain, whose errors are then judged from means of consecutive draws.
        The chain goes on from ``last``, and has converged by the time of its first draw.
    """

    chained: bool = False

    def expectation(self, params: Any) -> Any:
        """Not there: the expectation has no closed form."""
        raise NotImplementedError(
            f"{type(self).__name__} has no E-step in closed form: fit it with emlearn.em.fit_mcem."
        )

    def sample_hidden(
        self, params: Any, batch: Batch, n_draws: int, rng: np.random.RandomState, last: Any = None
    ) -> Any:
        """Draw the hidden values of each unit, given its data.

        Parameters
        ----------
        params : NamedTuple
        batch : Batch
        n_draws : int
            Draws for each unit.
        rng : RandomState
        last : array of shape (n_units, ...), or a tuple of such arrays, or None
            For ``chained`` models alone: the draw before the first, None where a chain begins.

        Returns
        -------
        hidden : array of shape (n_draws, n_units, ...), tuple of such arrays, or Draws
            Draws from the posterior, or `Draws` from anything wider, with its log density: they are weighted.
        """
        raise NotImplementedError(f"{type(self).__name__} has no sample_hidden.")

    def log_joint(self, params: Any, batch: Batch, hidden: Any) -> FloatArray:
        """Log density (n_draws, n_units) of data and hidden values together.

        Constants may be left out; where draws are weighted the log-likelihood reported lacks them too.
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_joint.")

    def statistics(self, params: Any, batch: Batch, hidden: Any, resp: FloatArray) -> Tree:
        """Sums over draws and units of ``resp`` (n_draws, n_units) times what `maximize` needs.

        ``resp`` is the weight of a unit, shared out among its draws. ``params`` are those of the E-step, about
        which a partial M-step takes its derivatives.
        """
        raise NotImplementedError(f"{type(self).__name__} has no statistics.")


class MonteCarloStep(NamedTuple):
    """An iteration of Monte Carlo EM. Increments are those of the expected complete log density, in nats."""

    params: Any  # after the step
    increment: float  # as the draws say from which the step was made, which flatters it
    standard_error: float  # of that
    held_out: float  # as those draws say that the step does not know
    held_out_error: float  # of that
    n_draws: int  # draws for each unit
    effective: float  # effective draws of the unit that has fewest, 1 / Σ W²
    rate: float  # of EM along the step: the missing share of the information
    gap: float  # upper bound of what was to be gained before this step, nats; inf where nothing can be said

    @property
    def lower(self) -> float:
        """Lower confidence bound of the increment: the step is taken where it is positive."""
        return self.held_out - Z_ASCENT * self.held_out_error


class MonteCarloResult(NamedTuple):
    """Outcome of a fit by Monte Carlo EM."""

    params: Any
    log_likelihood: float  # nats, estimated from importance weights; NaN where draws have none
    log_likelihood_error: float  # its standard error
    converged: bool
    n_iter: int
    gap: float  # upper bound of what is still to be gained, nats
    history: tuple[MonteCarloStep, ...]
    reason: str  # "converged", "max_draws", "max_iter", "callback" or "fall"


def fit_mcem(
    model: MonteCarloModel,
    params: Any,
    data: Any,
    *,
    tol: float = 1e-2,
    max_iter: int = 200,
    n_draws: int = 50,
    max_draws: int = 20_000,
    random_state: int | np.random.RandomState | None = None,
    callback: Callable[[MonteCarloStep], bool | None] | None = None,
) -> MonteCarloResult:
    """Fit a model by Monte Carlo EM from given parameters, with as many draws as the noise asks for.

    The loop is not that of `fit_em`, which compares values of an objective: here there is none, only draws
    that tell the increment of a step up to an error. To take the step, to draw more and to stop are judged by
    that error, and extrapolation, which needs a smooth map, has no place.

    Parameters
    ----------
    model : MonteCarloModel
        What is fitted: `sample_hidden`, `log_joint`, `statistics` and `maximize`.
    params : NamedTuple
        Where to start.
    data : array-like of shape (n, d), pair (rows, weights), iterable of arrays, or Data
        Whatever `emlearn.em.Batches` takes. Draws of an iteration are held at once, and made by one thread.
    tol : float, default=1e-2
        Stop when less than this is still to be gained in all, in nats, with a probability of .9. 1e-2 leaves an
        estimate within 14 % of a standard error. Draws go as 1 / ``tol``.
    max_iter : int, default=200
        Largest number of steps.
    n_draws : int, default=50
        Draws for each unit to begin with, at least 10.
    max_draws : int, default=20000
        Draws for each unit in one iteration beyond which the fit is given up, its last step taken.
    random_state : int, RandomState or None, default=None
        Seed of the draws.
    callback : callable, default=None
        Called with each `MonteCarloStep`; a true result stops the fit.

    Returns
    -------
    MonteCarloResult

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` or ``max_draws`` are used up.

    Raises
    ------
    ValueError
        If ``model`` is no instance of a `MonteCarloModel`, ``tol``, ``max_iter``, numbers of draws or weights
        cannot be, or draws or their log densities are not finite, of a wrong shape, or all without weight.

    References
    ----------
    Caffo, B. S., Jank, W. and Jones, G. L. (2005). Ascent-based Monte Carlo expectation–maximization.
    Journal of the Royal Statistical Society B 67, 235-251.

    Examples
    --------
    Measurements x = z + noise, both normal with variance 1; the mean of z is estimated, and is that of x.

    >>> import numpy as np
    >>> from emlearn.em import MonteCarloModel, fit_mcem
    >>> class Shift(MonteCarloModel):
    ...     def sample_hidden(self, params, batch, n_draws, rng):
    ...         middle = (batch.x[0] + params[0]) / 2
    ...         return middle + rng.normal(size=(n_draws, len(middle))) / np.sqrt(2)
    ...     def log_joint(self, params, batch, hidden):
    ...         return -((batch.x[0] - hidden) ** 2 + (hidden - params[0]) ** 2) / 2
    ...     def statistics(self, params, batch, hidden, resp):
    ...         return np.array([np.sum(resp), np.sum(resp * hidden)])
    ...     def maximize(self, stats, params):
    ...         return (stats[1] / stats[0],)
    >>> x = np.array([[1.0], [3.0], [2.0], [4.0]])
    >>> result = fit_mcem(Shift(), (0.0,), x, random_state=0)
    >>> result.converged, bool(abs(result.params[0] - 2.5) < 0.05)
    (True, True)
    """
    if not isinstance(model, MonteCarloModel):
        raise ValueError(f"model must be an instance of a subclass of MonteCarloModel, not {model!r}.")
    _check_numbers(tol, max_iter, n_draws, max_draws)
    batches, rng = as_data(data), check_random_state(random_state)
    history: list[MonteCarloStep] = []
    reason = "max_iter"
    with one_blas_thread(), np.errstate(under="ignore"):
        for _ in range(max_iter):
            slowest = max((step.rate for step in history[-N_RATES:]), default=0.0)
            trial = _Trial(model, params, batches, rng, n_draws, slowest)
            while (verdict := trial.verdict(tol)) == "more" and trial.n_draws < max_draws:
                trial.draw(min(ceil(GROWTH * trial.n_draws), max_draws))
            params = trial.params
            history.append(trial.step)
            if verdict != "ascent":
                reason = "max_draws" if verdict == "more" else verdict
                break
            if callback is not None and callback(trial.step):
                reason = "callback"
                break
            n_draws = min(max(n_draws, trial.draws_to_see_it_again), max_draws)
    if reason == "fall":
        warnings.warn(
            f"Monte Carlo EM stopped: step {len(history)} changes the expected log density of data and hidden "
            f"values by {trial.step.increment:.3g} nats. The M-step does not maximise what log_joint says.",
            MonotonicityWarning,
            stacklevel=2,
        )
    elif reason in ("max_iter", "max_draws"):
        limit, advice = (max_iter, "max_iter") if reason == "max_iter" else (max_draws, "max_draws, or tol")
        advice = f"Increase {advice}."
        if trial.step.effective < MIN_EFFECTIVE:
            advice = (
                f"Some unit rests on {trial.step.effective:.2g} effective draws: draw from a proposal that is "
                "closer to the posterior, or start elsewhere."
            )
        warnings.warn(
            f"Monte Carlo EM stopped short of tol={tol}, at {reason}={limit}, with a projected "
            f"{trial.step.gap:.3g} nats still to be gained. {advice}",
            ConvergenceWarning,
            stacklevel=2,
        )
    return MonteCarloResult(
        params,
        *trial.log_likelihood(),
        converged=reason == "converged",
        n_iter=len(history),
        gap=history[-1].gap,
        history=tuple(history),
        reason=reason,
    )


def _check_numbers(tol: Any, max_iter: Any, n_draws: Any, max_draws: Any) -> None:
    if not isinstance(tol, Real):
        raise ValueError(f"tol={tol!r} must be a number.")
    for name, value in (("max_iter", max_iter), ("n_draws", n_draws), ("max_draws", max_draws)):
        if not isinstance(value, Integral):
            raise ValueError(f"{name}={value!r} must be an integer.")
    if not float(tol) > 0:
        raise ValueError(f"tol={tol} must be positive: draws never tell that nothing at all is left.")
    if max_iter < 1:
        raise ValueError(f"max_iter={max_iter} must be at least 1.")
    if n_draws < 10:
        raise ValueError(f"n_draws={n_draws} must be at least 10, or errors cannot be told from the draws.")
    if max_draws < n_draws:
        raise ValueError(f"max_draws={max_draws} must be at least n_draws={n_draws}.")


class _Change(NamedTuple):
    """What the draws of half a sample say of new parameters. Sums over units."""

    increment: float
    variance: float  # of its error
    spread: float  # variance of the increment under the posterior: the step's missing information
    size: float  # nats, for what floating point can tell


class _Half:
    """Half of the draws for the units of a batch."""

    def __init__(self, model: MonteCarloModel, params: Any, batch: Batch):
        self._model, self._params, self._batch = model, params, batch
        self._n_units = batch.x.shape[1] if batch.lanes is None else len(batch.lanes.lengths)
        # The first steps of all sequences come first.
        self.unit_weight = np.ones(self._n_units) if batch.weight is None else batch.weight[: self._n_units]
        self._pieces: list[Tree] = []
        self._log_joint = np.empty((0, self._n_units))
        self._log_proposal: FloatArray | None = None
        self._share = np.empty((0, self._n_units))

    def draw(self, n: int, rng: np.random.RandomState) -> None:
        """Add draws until there are ``n`` for each unit."""
        at_once = max(1, PIECE // max(1, self._batch.x.shape[1]))
        joint, proposal = [self._log_joint], [] if self._log_proposal is None else [self._log_proposal]
        n_more = n - len(self._log_joint)
        while n_more > 0:
            hidden, log_proposal = self._piece(min(n_more, at_once), rng)
            joint.append(self.log_joint(self._params, [hidden]))
            if log_proposal is not None:
                proposal.append(log_proposal)
            self._pieces.append(hidden)
            n_more -= at_once
        self._log_joint = np.concatenate(joint)
        self._log_proposal = np.concatenate(proposal) if proposal else None
        self._share = self._shares()

    def _piece(self, n: int, rng: np.random.RandomState) -> tuple[Tree, FloatArray | None]:
        name = type(self._model).__name__
        if self._model.chained:
            last = tree_map(lambda values: values[-1], self._pieces[-1]) if self._pieces else None
            answer = self._model.sample_hidden(self._params, self._batch, n, rng, last)
        else:
            answer = self._model.sample_hidden(self._params, self._batch, n, rng)
        hidden, log_proposal = answer if isinstance(answer, Draws) else (answer, None)
        if log_proposal is not None and self._model.chained:
            raise ValueError(f"{name} is chained: its draws must come from the posterior, not from a proposal.")
        for values in leaves(hidden):
            if np.shape(values)[:2] != (n, self._n_units):
                raise ValueError(
                    f"{name}.sample_hidden gave an array of shape {np.shape(values)}, which must begin with "
                    f"({n}, {self._n_units}): draws, units."
                )
            if not np.all(np.isfinite(values)):
                raise ValueError(f"{name}.sample_hidden drew values that are not finite, at {self._params}.")
        if log_proposal is not None:
            if np.shape(log_proposal) != (n, self._n_units):
                raise ValueError(
                    f"{name}.sample_hidden gave log densities of shape {np.shape(log_proposal)}, not "
                    f"({n}, {self._n_units}): draws, units."
                )
            if not np.all(np.isfinite(log_proposal)):
                raise ValueError(
                    f"{name}.sample_hidden drew values whose log density under the proposal is not finite."
                )
        return hidden, log_proposal

    def log_joint(self, params: Any, pieces: list[Tree] | None = None) -> FloatArray:
        """Log joint density (n_draws, n_units) of draws, by default of all that are held."""
        found = []
        for hidden in self._pieces if pieces is None else pieces:
            value = np.asarray(self._model.log_joint(params, self._batch, hidden), dtype=np.float64)
            shape = (len(leaves(hidden)[0]), self._n_units)
            if value.shape != shape:
                raise ValueError(
                    f"{type(self._model).__name__}.log_joint gave an array of shape {value.shape}, not "
                    f"{shape}: draws, units."
                )
            found.append(value)
        return np.concatenate(found)

    def _shares(self) -> FloatArray:
        """Weights (n_draws, n_units) that sum to 1 over the draws of each unit."""
        name, log_joint = type(self._model).__name__, self._log_joint
        if self._log_proposal is None:
            if not np.all(np.isfinite(log_joint)):
                raise ValueError(
                    f"{name}.log_joint is not finite for draws of {name}.sample_hidden, at {self._params}. "
                    "What is not drawn from the posterior must come as Draws, with its log density."
                )
            return np.full(log_joint.shape, 1 / len(log_joint))
        if np.any(np.isnan(log_joint) | (log_joint == np.inf)):
            raise ValueError(f"{name}.log_joint is NaN or infinite for draws, at {self._params}.")
        log_share = log_joint - self._log_proposal
        top = log_share.max(axis=0)
        if np.any(lost := np.isneginf(top)):
            raise ValueError(
                f"All {len(log_joint)} draws for {np.sum(lost)} of {self._n_units} units (number "
                f"{np.flatnonzero(lost)[0]} of its batch is the first) have weight 0, at {self._params}: the "
                f"proposal of {name}.sample_hidden misses their posterior. Draw from something wider."
            )
        share: FloatArray = np.exp(log_share - top)
        return share / share.sum(axis=0)

    def statistics(self) -> Tree:
        """Sums of what the M-step needs."""
        total, start = None, 0
        for hidden in self._pieces:
            end = start + len(leaves(hidden)[0])
            resp = self.unit_weight * self._share[start:end]
            part = self._model.statistics(self._params, self._batch, hidden, resp)
            total, start = part if total is None else add(total, part), end
        return total

    def effective(self) -> float:
        """Effective number of draws of the unit that has fewest."""
        return float(1 / np.square(self._share).sum(axis=0).max())

    def change(self, params: Any) -> _Change:
        """What the draws say of other parameters."""
        with np.errstate(invalid="ignore"):  # -inf − -inf, of draws without weight
            change = self.log_joint(params) - self._log_joint
        change = np.where(self._share > 0, change, 0.0)
        mean = (self._share * change).sum(axis=0)
        with np.errstate(invalid="ignore"):  # a step to where a draw cannot be
            off = change - mean
        spread = (self._share * off**2).sum(axis=0)
        n = len(change)
        if self._model.chained:
            length = int(np.sqrt(n))
            n_means = n // length
            means = off[: n_means * length].reshape(n_means, length, -1).mean(axis=1)
            variance = means.var(axis=0, ddof=1) / n_means
        else:
            variance = (self._share**2 * off**2).sum(axis=0) * n / (n - 1)
        w = self.unit_weight
        size = np.where(self._share > 0, np.abs(self._log_joint), 0.0).max(axis=0)
        return _Change(float(w @ mean), float(w**2 @ variance), float(w @ spread), float(w @ (1 + size)))

    def log_weights(self, params: Any) -> FloatArray | None:
        """Logarithms (n_draws, n_units) of importance weights, before they are normalised."""
        return None if self._log_proposal is None else self.log_joint(params) - self._log_proposal


def _as_it_is(batch: Batch) -> Batch:
    return batch


class _Trial:
    """Draws at given parameters, and the step that they suggest."""

    def __init__(
        self,
        model: MonteCarloModel,
        params: Any,
        data: Data,
        rng: np.random.RandomState,
        n_draws: int,
        slowest: float,
    ):
        self._model, self._before, self._rng, self._slowest = model, params, rng, slowest
        self._pairs = [
            (_Half(model, params, batch), _Half(model, params, batch)) for batch in data.map(_as_it_is)
        ]
        if not self._pairs:
            raise ValueError("The data holds no rows.")
        weights = np.concatenate([half.unit_weight for half, _ in self._pairs])
        if not (weights >= 0).all() or not weights.any():
            raise ValueError(
                f"Weights must be 0 or more, and not all 0, but lie between {weights.min():.6g} and "
                f"{weights.max():.6g}."
            )
        self.draw(n_draws)

    def draw(self, n_draws: int) -> None:
        """Draw until there are ``n_draws`` for each unit (one more, if that is odd), and look what they say."""
        each = (n_draws + 1) // 2
        for pair in self._pairs:
            for half in pair:
                half.draw(each, self._rng)
        self.n_draws = 2 * each
        self._suggest()

    def _suggest(self) -> None:
        stats = [self._statistics(which) for which in (0, 1)]
        both = tree_map(lambda a, b: (a + b) / 2, *stats)
        attempt, self.params = 0, self._image(both, 0)
        seen = self._judge(self.params, self.params)
        while not self._rises(seen) and attempt < MAX_SHORTENED:
            shorter = self._model.shortened(both, self._before, attempt + 1)
            if shorter is None:
                break
            attempt, self.params = attempt + 1, shorter
            seen = self._judge(self.params, self.params)
        self._is_ascent = self._rises(seen)
        held_out = seen
        if self._is_ascent:  # each half judges the step of the other, which is as much shortened
            held_out = self._judge(self._image(stats[1], attempt), self._image(stats[0], attempt))
        else:
            self.params = self._before
        increment = max(seen.increment, NOISE * seen.size)
        rate = seen.spread / (2 * increment)
        slowest = max(rate, self._slowest)
        error, n_params = np.sqrt(seen.variance), len(self._model.flatten(self._before))
        noise_of_step = n_params * seen.variance / (4 * increment)
        self.step = MonteCarloStep(
            params=self.params,
            increment=seen.increment,
            standard_error=float(error),
            held_out=held_out.increment,
            held_out_error=float(np.sqrt(held_out.variance)),
            n_draws=self.n_draws,
            effective=min(pair[0].effective() + pair[1].effective() for pair in self._pairs),
            rate=float(rate),
            gap=float((increment + Z_STOP * error + noise_of_step) / (1 - slowest)) if slowest < 1 else np.inf,
        )

    def _statistics(self, which: int) -> Tree:
        total = None
        for pair in self._pairs:
            part = pair[which].statistics()
            total = part if total is None else add(total, part)
        return total

    def _image(self, stats: Tree, attempt: int) -> Any:
        if attempt == 0:
            return self._model.maximize(stats, self._before)
        return self._model.shortened(stats, self._before, attempt)

    def _judge(self, of_first: Any, of_second: Any) -> _Change:
        """What the two halves say, each of parameters of its own: the mean."""
        total = _Change(0.0, 0.0, 0.0, 0.0)
        for pair in self._pairs:
            for half, params in zip(pair, (of_first, of_second), strict=True):
                total = add(total, half.change(params))
        prior = self._model.log_prior
        gained = (prior(of_first) + prior(of_second)) / 2 - prior(self._before)
        return _Change(total.increment / 2 + gained, total.variance / 4, total.spread / 2, total.size)

    def _rises(self, seen: _Change) -> bool:
        return seen.increment >= -self._model.rounding * seen.size  # false for NaN

    def verdict(self, tol: float) -> str:
        """What to do: "ascent" (go on from the step), "more" draws, or why it is over."""
        if not self._is_ascent:
            return "fall"
        if self.step.effective >= MIN_EFFECTIVE:
            if self.step.gap < tol:
                return "converged"
            if self.step.lower > 0:
                return "ascent"
        return "more"

    @property
    def draws_to_see_it_again(self) -> int:
        """Draws with which a step of the same increment would be seen to be one, more likely than not."""
        relative_error = self.step.held_out_error / self.step.held_out
        return ceil(self.n_draws * ((Z_ASCENT + Z_POWER) * relative_error) ** 2)

    def log_likelihood(self) -> tuple[float, float]:
        """Log-likelihood of the step's parameters with its standard error, NaN where draws are not weighted."""
        value = variance = 0.0
        for first, second in self._pairs:
            one, other = first.log_weights(self.params), second.log_weights(self.params)
            if one is None or other is None:
                return np.nan, np.nan
            log_weight, w = np.concatenate([one, other]), first.unit_weight
            top = log_weight.max(axis=0)
            relative = np.exp(log_weight - top)
            mean = relative.mean(axis=0)
            value += float(w @ (np.log(mean) + top))
            variance += float(w**2 @ (relative.var(axis=0, ddof=1) / mean**2)) / len(relative)
        return value, float(np.sqrt(variance))
