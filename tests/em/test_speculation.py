"""What extrapolation leads to is a guess: whatever is wrong with it, EM goes on from where it was."""

import numpy as np
import pytest

from emlearn.em import LatentModel, LatentPair, fit_em
from emlearn.families import Poisson, PoissonParams
from emlearn.latent import MixtureWeights

# Fits are cut short here on purpose.

DEATHS = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
START = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
PLAIN = LatentModel(MixtureWeights(), Poisson())


class Guarded(LatentModel):
    """Does something at parameters that no M-step made."""

    def __init__(self, at_guess):
        super().__init__(MixtureWeights(), Poisson())
        object.__setattr__(self, "at_guess", at_guess)
        object.__setattr__(self, "guesses", [])

    def unflatten(self, vector, like):
        guess = super().unflatten(vector, like)
        self.guesses.append(guess)
        return guess

    def is_guess(self, params):
        return any(params is guess for guess in self.guesses)


def fails(error):
    def fail(value):
        raise error

    return fail


class InEStep(Guarded):
    def expectation(self, params):
        return self.at_guess(params) if self.is_guess(params) else super().expectation(params)


class InMStep(Guarded):
    def maximize(self, stats, params):
        return self.at_guess(params) if self.is_guess(params) else super().maximize(stats, params)


class InPrior(Guarded):
    def log_prior(self, params):
        return self.at_guess(0.0) if self.is_guess(params) else 0.0


ERRORS = [np.linalg.LinAlgError("singular"), FloatingPointError("overflow"), ValueError("no parameters")]


def goes_on_as_plain_em(model):
    """Whether a fit with guesses, all refused, sees what plain EM sees."""
    result = fit_em(model, START, DEATHS, max_iter=60)
    plain = fit_em(PLAIN, START, DEATHS, max_iter=60, acceleration="none")
    assert model.guesses
    assert not any(result.extrapolated)
    assert result.history == plain.history[: len(result.history)]
    return len(result.history) > 25


@pytest.mark.parametrize("where", [InEStep, InMStep, InPrior])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_guess_that_raises_is_refused(where, error):
    assert goes_on_as_plain_em(where(fails(error)))


@pytest.mark.parametrize("lift", [np.nan, np.inf, -np.inf, 1e10])
def test_an_absurd_objective_is_no_ascent(lift):
    assert goes_on_as_plain_em(InPrior(lambda value: value + lift))


def test_a_guess_that_is_right_is_taken():
    assert any(fit_em(PLAIN, START, DEATHS).extrapolated)


def test_other_errors_are_not_hidden():
    model = InEStep(fails(KeyError("rates")))
    with pytest.raises(KeyError):
        fit_em(model, START, DEATHS)


def test_what_raises_at_an_em_step_is_raised():
    class Singular(LatentModel):
        def expectation(self, params):
            raise np.linalg.LinAlgError("singular")

    with pytest.raises(np.linalg.LinAlgError):
        fit_em(Singular(MixtureWeights(), Poisson()), START, DEATHS)
