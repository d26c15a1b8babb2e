"""Frequencies of the genes A, B and O from blood groups.

Hidden is the genotype: who is of group A has AA or AO. The E-step shares them out by their probabilities, and
the M-step counts genes. Gene counting is EM from before it had the name: Ceppellini, Siniscalco & Smith
(1955), The estimation of gene frequencies in a random-mating population, Ann. Hum. Genet. 20. The data are
521 patients with ulcers (Clarke et al., 1959); Lange, Numerical Analysis for Statisticians, has .2136, .0501
and .7363.
"""

from typing import NamedTuple

import numpy as np

from emlearn.em import EMModel, EStep, Simplex, fit_em
from emlearn.testing import check_model

A, B, AB, O = range(4)  # noqa: E741 - as the group is called


class Params(NamedTuple):
    genes: np.ndarray  # frequencies of A, B and O


class GeneCounting(EMModel):
    """Rows are the number of a group; weights say how many people are of it."""

    spaces = Params(Simplex())

    def expectation(self, params):
        p, q, r = params.genes
        probability = np.array([p * (p + 2 * r), q * (q + 2 * r), 2 * p * q, r * r])
        # Genes of each kind that somebody of a group has, in expectation: of AA two, of AO one of each.
        twice_a, twice_b = p / (p + 2 * r), q / (q + 2 * r)
        genes = np.array(
            [
                [1 + twice_a, 0, 1 - twice_a],
                [0, 1 + twice_b, 1 - twice_b],
                [1, 1, 0],
                [0, 0, 2],
            ]
        )

        def e_step(batch):
            group = batch.x[0].astype(int)
            weight = np.ones(len(group)) if batch.weight is None else batch.weight
            return EStep(weight @ genes[group], batch.sum(np.log(probability[group])), batch.total_weight)

        return e_step

    def maximize(self, stats, params):
        return Params(stats / stats.sum())


groups, people = np.array([[A], [B], [AB], [O]]), np.array([186, 38, 13, 284])
start = Params(np.full(3, 1 / 3))
check_model(GeneCounting(), start, (groups, people))
fit = fit_em(GeneCounting(), start, (groups, people))
answer = np.array([0.2136, 0.0501, 0.7363])
print("by EM:   ", *fit.params.genes.round(4))
print("by Lange:", *answer)
