"""What Student's t costs beside the Gaussian, per E- and M-step, and how many iterations fits take.

python benchmarks/robust.py
"""

import time
import warnings

import numpy as np

from emlearn.datasets import load_old_faithful
from emlearn.em import Batch, Batches, LatentModel, fit_em, one_blas_thread
from emlearn.families import gaussian_family, student_t_family
from emlearn.latent import MixtureWeights

SIZES = [(272, 2, 2), (10_000, 5, 3), (100_000, 5, 3), (100_000, 10, 3), (50_000, 20, 5), (20_000, 50, 3)]
FORMS = ["full", "diag", "spherical", "tied"]


def blobs(n, d, K):
    rng = np.random.RandomState(0)
    labels = np.arange(n) % K
    return rng.normal(size=(n, d)) + 2.5 * rng.normal(size=(K, d))[labels], labels


def seconds_per_step(family, X, labels, K):
    """Processor time of one E-step and M-step, the least of several rounds."""
    model = LatentModel(MixtureWeights(), family)
    data = Batches(X, floats_per_row=family.floats_per_row(K, X.shape[1]))
    resp = 0.8 * (labels == np.arange(K)[:, None]) + 0.2 / K
    params = model.start(Batch(np.ascontiguousarray(X.T)), resp)
    least, n_steps = np.inf, max(3, 200_000 // len(X))
    for _ in range(5):
        began = time.process_time()
        for _ in range(n_steps):
            params = model.maximize(data.sum(model.expectation(params)).stats, params)
        least = min(least, (time.process_time() - began) / n_steps)
    return least


def main():
    # With a matrix for all, sums of products are constants for Gaussians, and for Student's t they are not.
    print(
        "milliseconds per iteration: Gaussian, Student's t of free degrees of freedom, ratio, of full Gaussian"
    )
    with one_blas_thread():
        for n, d, K in SIZES:
            X, labels = blobs(n, d, K)
            for form in FORMS:
                normal = seconds_per_step(gaussian_family(form), X, labels, K)
                robust = seconds_per_step(student_t_family(form), X, labels, K)
                if form == "full":
                    full = normal
                times = f"{1e3 * normal:8.3f} {1e3 * robust:8.3f} {robust / normal:6.2f} {robust / full:6.2f}"
                print(f"{n:7d} x {d:2d}, K = {K}, {form:9s} {times}")
    X = np.asarray(load_old_faithful().data, dtype=float)
    short = X[:, 0] < 3
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    for df in (4.0, "shared", "free"):
        model = LatentModel(MixtureWeights(), student_t_family(df=df))
        start = model.start(Batch(np.ascontiguousarray(X.T)), 0.9 * np.stack([~short, short]) + 0.05)
        for way in ("none", "auto"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit = fit_em(model, start, X, tol=1e-8, max_iter=5000, acceleration=way)
            print(f"Old Faithful, K = 2, df = {df}, acceleration = {way}: {fit.n_iter} iterations")


if __name__ == "__main__":
    main()
