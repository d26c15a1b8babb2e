"""E-steps that each way of extrapolation takes, from the same start to the default tolerance.

python benchmarks/acceleration.py
"""

import numpy as np
from gaussian_mixture import rst_table
from sklearn.datasets import load_iris

from emlearn.datasets import load_old_faithful
from emlearn.em import ACCELERATIONS, Batch, LatentModel, LatentPair, fit_em
from emlearn.families import COVARIANCE_SHAPES, Gaussian, Poisson, PoissonParams
from emlearn.latent import MixtureWeights


def deaths():
    """The Poisson mixture of the deaths of women of 80 and over (The Times, 1910 to 1912)."""
    data = np.arange(10)[:, None], [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    start = LatentPair(np.array([0.3, 0.7]), PoissonParams(np.array([[1.0], [2.5]])))
    return LatentModel(MixtureWeights(), Poisson()), start, data


def gaussian(X, shape, K):
    """A Gaussian mixture from random responsibilities."""
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[shape]))
    resp = np.random.default_rng(0).dirichlet(np.ones(K), size=len(Z)).T
    return model, model.start(Batch(np.ascontiguousarray(Z.T)), resp), Z


PROBLEMS = {
    "London deaths, Poisson, K = 2": deaths,
    "Old Faithful, full, K = 2": lambda: gaussian(load_old_faithful().data, "full", 2),
    "Old Faithful, tied, K = 3": lambda: gaussian(load_old_faithful().data, "tied", 3),
    "iris, full, K = 3": lambda: gaussian(load_iris().data, "full", 3),
    "iris, diag, K = 4": lambda: gaussian(load_iris().data, "diag", 4),
    "iris, spherical, K = 5": lambda: gaussian(load_iris().data, "spherical", 5),
}


def main():
    rows = []
    for name, make in PROBLEMS.items():
        model, start, data = make()
        row = [name]
        for acceleration in ACCELERATIONS:
            evaluations = 0

            def counting(params, model=model):
                nonlocal evaluations
                evaluations += 1
                return type(model).expectation(model, params)

            object.__setattr__(model, "expectation", counting)  # refused guesses count too
            fit = fit_em(model, start, data, acceleration=acceleration, max_iter=20_000)
            row.append(f"{evaluations - 1} ({fit.log_likelihood:.2f})")
        rows.append(row)
    print(rst_table(["problem, E-steps (log-likelihood)", *ACCELERATIONS], rows))


if __name__ == "__main__":
    main()
