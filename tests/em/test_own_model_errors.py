"""What models of one's own may get wrong, and what the engine says to it."""

import pickle
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from emlearn.em import (
    Batches,
    EMModel,
    EStep,
    MonotonicityWarning,
    MonteCarloModel,
    Start,
    fit_em,
    fit_em_online,
    fit_mcem,
    race,
)

NAN = np.nan


class Params(NamedTuple):
    mean: float


X = np.random.default_rng(0).normal(2.0, size=(60, 1))


class Mean(EMModel):
    """The mean of a normal distribution of variance 1; a subclass changes what it likes."""

    def statistics(self, batch, total):
        return (total, batch.total_weight)

    def expectation(self, params):
        def e_step(batch):
            log_density = -0.5 * (batch.x[0] - params.mean) ** 2 - 0.5 * np.log(2 * np.pi)
            return EStep(
                self.statistics(batch, batch.sum(batch.x[0])), batch.sum(log_density), batch.total_weight
            )

        return e_step

    def maximize(self, stats, params):
        return Params(stats[0] / stats[1])


def with_statistics(make):
    class Other(Mean):
        def statistics(self, batch, total):
            return make(batch, total)

    return Other()


def cut(n):
    return Batches(X, rows=n)


GOOD = {
    "numbers": lambda batch, total: (total, batch.total_weight),
    "numpy numbers": lambda batch, total: (np.float64(total), np.int64(batch.x.shape[1])),
    "an array": lambda batch, total: np.array([total, batch.total_weight]),
    "arrays of no dimension": lambda batch, total: (np.array(total), np.array(batch.total_weight)),
    "counts": lambda batch, total: (total, batch.x.shape[1]),
}


@pytest.mark.parametrize("rows", [60, 7])
@pytest.mark.parametrize("statistics", GOOD)
def test_statistics_of_any_legal_form_add_up(statistics, rows):
    fit = fit_em(with_statistics(GOOD[statistics]), Params(0.0), cut(rows))
    assert fit.params.mean == pytest.approx(X.mean(), abs=1e-10)


class Sums(NamedTuple):
    total: object
    weight: float


BAD = {
    "list": (lambda b, t: Sums([t], b.total_weight), r"statistics\.total is a list: lists are joined"),
    "bare list": (lambda b, t: [t, b.total_weight], r"statistics is a list: lists are joined"),
    "in a tuple": (lambda b, t: (t, [b.total_weight]), r"statistics\[1\] is a list"),
    "dict": (lambda b, t: {"total": t}, "statistics is a dict: dicts do not add up"),
    "None": (lambda b, t: Sums(t, None), r"statistics\.weight is a NoneType"),
    "text": (lambda b, t: Sums("t", 1.0), r"statistics\.total is a str\."),
    "truth": (lambda b, t: Sums(t, b.x[0] > 1), r"statistics\.weight is an array of truth values"),
    "one truth": (lambda b, t: Sums(t, True), r"statistics\.weight is a truth value"),
    "objects": (lambda b, t: Sums(np.array([t, None]), 1.0), r"statistics\.total is an array of object"),
    "complex": (lambda b, t: Sums(np.array([1j]), 1.0), r"statistics\.total is an array of complex128"),
}


@pytest.mark.parametrize("rows", [60, 7])
@pytest.mark.parametrize("kind", BAD)
def test_other_statistics_are_refused_by_name(kind, rows):
    make, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        fit_em(with_statistics(make), Params(0.0), cut(rows))
    with pytest.raises(ValueError, match=message):
        fit_em_online(with_statistics(make), Params(0.0), [X[:30], X[30:]])
    with pytest.raises(ValueError, match=message):
        race(with_statistics(make), [Params(0.0), Params(1.0)], cut(rows))


def test_labelled_statistics_are_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"statistics\.total is a Series with labels of its own"):
        fit_em(with_statistics(lambda b, t: Sums(pandas.Series([t]), 1.0)), Params(0.0), X)


def test_statistics_of_draws_are_checked_too():
    class Drawn(MonteCarloModel):
        def sample_hidden(self, params, batch, n_draws, rng):
            return rng.normal(size=(n_draws, batch.x.shape[1]))

        def log_joint(self, params, batch, hidden):
            return np.zeros_like(hidden)

        def statistics(self, params, batch, hidden, resp):
            return [float(resp.sum())]

        def maximize(self, stats, params):
            return params

    with pytest.raises(ValueError, match="statistics is a list"):
        fit_mcem(Drawn(), Params(0.0), X, random_state=0)
    with pytest.raises(ValueError, match=r"parameters\.mean is a list"):
        fit_mcem(Drawn(), Params([0.0]), X, random_state=0)


def test_parameters_are_checked_too():
    for fit in (fit_em, lambda *args: fit_em_online(args[0], args[1], [X])):
        with pytest.raises(ValueError, match=r"parameters\.mean is a list"):
            fit(Mean(), Params([0.0]), X)
    with pytest.raises(ValueError, match=r"start 1\.mean is a list"):
        race(Mean(), [Params(0.0), Params([0.0])], X)


def test_an_e_step_is_one():
    class Loose(Mean):
        def expectation(self, params):
            e_step = super().expectation(params)
            return lambda batch: tuple(e_step(batch))

    class PerRow(Mean):
        def expectation(self, params):
            e_step = super().expectation(params)
            return lambda batch: e_step(batch)._replace(log_likelihood=-(batch.x[0] ** 2))

    with pytest.raises(ValueError, match="E-step of a batch is a tuple: it must be EStep"):
        fit_em(Loose(), Params(0.0), X)
    with pytest.raises(ValueError, match=r"log_likelihood of the E-step is a ndarray of shape \(60,\)"):
        fit_em(PerRow(), Params(0.0), X)


# A fall.


class Cliff(Mean):
    """Full M-steps fall off: beyond 1 there is no density."""

    def __init__(self, lost, can_shorten):
        self.lost, self.can_shorten, self.asked = lost, can_shorten, 0

    def log_prior(self, params):
        return self.lost if params.mean > 1 else 0.0

    def shortened(self, stats, params, attempt):
        self.asked += 1
        full = super().maximize(stats, params)
        return Params(params.mean + 0.5**attempt * (full.mean - params.mean)) if self.can_shorten else None


@pytest.mark.parametrize("lost", [-np.inf, NAN])
@pytest.mark.parametrize("acceleration", ["auto", "none"])
def test_a_fall_to_nothing_is_a_fall(lost, acceleration):
    model = Cliff(lost, can_shorten=False)
    with pytest.warns(MonotonicityWarning, match=f"went from .* to {lost}"):
        fit = fit_em(model, Params(0.0), X, acceleration=acceleration)
    assert (fit.reason, fit.converged, model.asked) == ("fall", False, 1)
    assert fit.params == Params(0.0)
    assert np.isfinite(fit.objective)


@pytest.mark.parametrize("lost", [-np.inf, NAN])
def test_a_step_to_nothing_is_shortened(lost):
    model = Cliff(lost, can_shorten=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the slope at the cliff is not 0
        fit = fit_em(model, Params(0.0), X, max_iter=30, acceleration="none")
    assert model.asked > 1
    assert 0.9 < fit.params.mean <= 1.0
    assert np.all(np.diff(fit.history) >= 0)


# Guesses.


class Slow(Mean):
    """Takes short steps, so that there are guesses."""

    def maximize(self, stats, params):
        full = super().maximize(stats, params).mean
        return Params(params.mean + 0.1 * (full - params.mean))


class Fragile(Slow):
    """Does not stand what plain steps do not lead to."""

    def __init__(self, error):
        self.error, self.guesses = error, []

    def unflatten(self, vector, like):
        self.guesses.append(float(vector[0]))
        return super().unflatten(vector, like)

    def expectation(self, params):
        if params.mean in self.guesses:
            return self.error()
        return super().expectation(params)


ERRORS = {
    "LinAlgError": lambda: np.linalg.cholesky(np.array([[-1.0]])),
    "ZeroDivisionError": lambda: 1 / 0,
    "OverflowError": lambda: 10.0**1000,
    "FloatingPointError": lambda: (_ for _ in ()).throw(FloatingPointError("overflow")),
    "ValueError": lambda: float("x"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_what_goes_wrong_at_a_guess_is_the_guess(error):
    model = Fragile(ERRORS[error])
    fit = fit_em(model, Params(0.0), X, tol=1e-8)
    assert model.guesses
    assert fit.converged
    assert not any(fit.extrapolated)
    assert fit.params.mean == pytest.approx(X.mean(), abs=1e-3)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_floating_point_errors_at_a_guess_warn_nobody(n_threads):
    class Warns(Fragile):
        def __init__(self):
            super().__init__(None)

        def expectation(self, params):
            e_step = Mean.expectation(self, params)
            if params.mean not in self.guesses:
                return e_step
            beyond = np.log(np.array(-1.0)) / np.array(0.0)  # here, and in the threads
            return lambda batch: e_step(batch)._replace(log_likelihood=float(np.sqrt(-X[0, 0]) + beyond))

    model = Warns()
    fit = fit_em(model, Params(0.0), Batches(X, rows=30, n_threads=n_threads), tol=1e-8)
    assert model.guesses
    assert fit.converged


def test_of_plain_steps_nothing_is_hidden():
    class Warns(Mean):
        def maximize(self, stats, params):
            return Params(float(np.log(np.array(-1.0))))

    with pytest.warns(RuntimeWarning, match="invalid value"), pytest.warns(MonotonicityWarning, match="to nan"):
        fit_em(Warns(), Params(0.0), X)


@pytest.mark.parametrize("error", ERRORS)
def test_a_start_that_raises_is_one_that_failed(error):
    class Raises(Mean):
        def expectation(self, params):
            return ERRORS[error]() if params.mean < 0 else super().expectation(params)

    result = race(Raises(), [Params(-1.0), Params(1.0)], X)
    assert [start.status for start in result.restarts.starts] == ["failed", "best"]
    assert result.restarts.starts[0].message.startswith(error)


# Starts.


def test_parameters_race_as_they_are():
    means = [0.0, 5.0, 2.0]
    given = race(Mean(), [Params(mean) for mean in means], X, max_iter=0).restarts
    made = race(Mean(), [Start("given", lambda m=mean: Params(m)) for mean in means], X, max_iter=0).restarts
    assert [start.history for start in given.starts] == [start.history for start in made.starts]
    assert len({start.history for start in given.starts}) == 3
    assert {start.kind for start in given.starts} == {"given"}
    mixed = race(Mean(), [Params(0.0), Start("far", lambda: Params(9.0))], X).restarts
    assert [start.kind for start in mixed.starts] == ["given", "far"]


def test_what_is_no_start_is_refused():
    with pytest.raises(ValueError, match=r'Start 1 is a function: say Start\("random", function\)'):
        race(Mean(), [Params(0.0), lambda: Params(1.0)], X)
    with pytest.raises(ValueError, match="starts are one set of parameters: give a list"):
        race(Mean(), Params(0.0), X)


# Convergence.


def test_a_fit_that_does_not_converge_says_so_once():
    short = r"tol=0\.0001, at max_iter=5, with .* nats still to be gained. Increase max_iter"
    with pytest.warns(ConvergenceWarning, match=short) as told:
        fit = fit_em(Slow(), Params(0.0), X, max_iter=5, acceleration="none")
    assert len(told) == 1
    assert told[0].filename == __file__
    assert not fit.converged


def test_who_asked_for_an_end_is_not_warned():
    assert fit_em(Slow(), Params(0.0), X, max_iter=0).reason == "max_iter"
    assert fit_em(Slow(), Params(0.0), X, callback=lambda iterate: True).reason == "callback"
    assert fit_em(Slow(), Params(0.0), X).converged


def test_fits_are_still_values():
    fit = fit_em(Mean(), Params(0.0), X)
    assert pickle.loads(pickle.dumps(fit)).params.mean == fit.params.mean
