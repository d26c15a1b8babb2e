"""A model of your own in two functions: orders a year, where some customers have left for good."""

from typing import NamedTuple

import numpy as np
from scipy.stats import poisson

from emlearn.em import EMModel, EStep, Positive, Probability, race


class Params(NamedTuple):
    left: float  # share of customers who left
    rate: float  # orders a year of those who stayed


class ZeroInflatedPoisson(EMModel):
    spaces = Params(Probability(), Positive())

    def expectation(self, params):
        def e_step(batch):
            x = batch.x[0]
            stayed = (1 - params.left) * poisson.pmf(x, params.rate)
            evidence = stayed + params.left * (x == 0)
            resp = stayed / evidence  # probability that the customer stayed
            stats = np.array([batch.sum(1 - resp), batch.sum(resp), batch.sum(resp * x)])
            return EStep(stats, batch.sum(np.log(evidence)), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return Params(stats[0] / (stats[0] + stats[1]), stats[2] / stats[1])


rng = np.random.default_rng(0)
orders = np.where(rng.uniform(size=5000) < 0.3, 0, rng.poisson(2.5, size=5000))
guesses = [Params(*rng.uniform([0, 0.1], [1, 5])) for _ in range(10)]
best, restarts = race(ZeroInflatedPoisson(), guesses, orders)
print(f"left: {best.params.left:.3f}, rate: {best.params.rate:.3f}, {best.n_iter} iterations")
print(f"{restarts.n_best} of {len(guesses)} starts agree; {best.gap:.1g} nats still to be gained")
