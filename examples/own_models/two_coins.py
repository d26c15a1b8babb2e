"""Two coins of unknown bias, one of which is taken at random for ten tosses at a time.

Hidden is which coin it was. The E-step finds the probability of each, and the M-step is heads by tosses.
Source: Do & Batzoglou (2008), What is the expectation maximization algorithm?, Nat. Biotechnol. 26, whose
five sets of tosses lead from biases of .6 and .5 to .80 and .52.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from emlearn.em import EMModel, EStep, Probability, fit_em, race
from emlearn.testing import check_model


class Params(NamedTuple):
    biases: np.ndarray  # probability of heads, of each coin


class TwoCoins(EMModel):
    """Rows are numbers of heads."""

    spaces = Params(Probability())

    def __init__(self, tosses):
        self.tosses = tosses

    def joint(self, params, heads):
        """Log probability of each coin and the heads, (2, m)."""
        ways = gammaln(self.tosses + 1) - gammaln(heads + 1) - gammaln(self.tosses - heads + 1)
        biases = params.biases[:, None]
        return np.log(0.5) + ways + heads * np.log(biases) + (self.tosses - heads) * np.log1p(-biases)

    def expectation(self, params):
        def e_step(batch):
            heads = batch.x[0]
            joint = self.joint(params, heads)
            log_density = logsumexp(joint, axis=0)
            resp = np.exp(joint - log_density)
            if batch.weight is not None:
                resp = resp * batch.weight
            return EStep((resp @ heads, resp.sum(axis=1)), batch.sum(log_density), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        heads, times = stats
        return Params(heads / (self.tosses * times))

    def sample(self, params, rows, rng):
        coin = rng.randint(2, size=len(rows))
        return rng.binomial(self.tosses, params.biases[coin])[:, None]


data = np.array([[5], [9], [8], [4], [7]])
start = Params(np.array([0.6, 0.5]))
check_model(TwoCoins(10), start, data)
fit = fit_em(TwoCoins(10), start, data)
answer = np.array([0.80, 0.52])
print("by EM:              ", *fit.params.biases.round(2))
print("by Do and Batzoglou:", *answer)

# Which coin it was, row by row, after the fit.
joint = TwoCoins(10).joint(fit.params, data[:, 0])
print("first coin, probability:", *np.exp(joint - logsumexp(joint, axis=0))[0].round(2))

# From anywhere else it is the same, but for which coin is called the first.
rng = np.random.RandomState(0)
raced = race(TwoCoins(10), [Params(rng.uniform(size=2)) for _ in range(10)], data)
print(raced.restarts)
