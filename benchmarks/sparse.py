"""Documents as sparse counts: how long a mixture of multinomials takes, and what memory beside the input.

    python benchmarks/sparse.py [--rows 20000] [--columns 5000] [--density 0.01] [--components 10]

Words of each document are drawn from one of as many topics as the mixture has components. What is measured are
fits to the end, by the engine and by `MixtureEM` from a random start, and by `MixtureEM` from a race of five
starts: by ``tracemalloc`` the most that was held beside the input, and the time in another run without
it. The same rows, dense, would take rows · columns · 8 bytes.
"""

import argparse
import time
import tracemalloc
import warnings

import numpy as np
from gaussian_mixture import title
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from emlearn import MixtureEM
from emlearn.em import Batches, LatentModel, fit_em
from emlearn.families import Bernoulli, Multinomial
from emlearn.latent import MixtureWeights

MEGABYTE = 2**20


def documents(n, d, density, K, rng):
    """Counts of words, sparse, and the topic of each document."""
    topics, labels = rng.dirichlet(np.full(d, 0.2), size=K), rng.integers(K, size=n)
    length = int(1.2 * density * d)  # words, of which some occur more than once
    uniform = rng.uniform(size=(n, length))
    words = np.empty(uniform.shape, dtype=np.int32)
    for k in range(K):
        words[labels == k] = np.searchsorted(np.cumsum(topics[k])[:-1], uniform[labels == k])
    words, rows = words.ravel(), np.repeat(np.arange(n, dtype=np.int32), length)
    return sparse.coo_array((np.ones(len(words)), (rows, words)), shape=(n, d)).tocsr(), labels


def show(name, seconds, n_iter, peak, held, ari):
    """Print a line of the table."""
    print(f"{name:<28}{seconds:>9.1f}{n_iter:>12}{peak:>14.0f} MB{peak / held:>13.1f}x{ari:>7.2f}", flush=True)


def measured(fit):
    """What a fit gives, its seconds, and the most that it holds, in MB."""
    begin = time.perf_counter()
    found = fit()
    seconds = time.perf_counter() - begin
    tracemalloc.start()
    fit()
    peak = tracemalloc.get_traced_memory()[1] / MEGABYTE
    tracemalloc.stop()
    return found, seconds, peak


def main():
    """Print a line for each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=5_000)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--components", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    X, labels = documents(options.rows, options.columns, options.density, options.components, rng)
    held = (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / MEGABYTE
    dense = 8 * options.rows * options.columns / MEGABYTE
    title(f"documents {X.shape[0]:,} x {X.shape[1]:,}, density {X.nnz / np.prod(X.shape):.2%}")
    print(f"input {held:.0f} MB, dense {dense:.0f} MB")
    print(f"{'fit':<28}{'seconds':>9}{'iterations':>12}{'held beside':>17}{'of the input':>14}{'ARI':>7}")
    ones = X.copy()
    ones.data = np.ones_like(X.data)
    for family, rows in ((Multinomial(concentration=1.1), X), (Bernoulli(ones=1.1, zeros=1.1), ones)):
        model, K = LatentModel(MixtureWeights(), family), options.components
        first = next(iter(Batches(rows, rows=2000)))

        def fit(model=model, rows=rows, first=first, K=K):
            resp = np.random.RandomState(0).dirichlet(np.full(K, 0.3), size=first.x.shape[1]).T
            return fit_em(model, model.start(first, resp), Batches(rows))

        found, seconds, peak = measured(fit)
        density = family.density(found.params.family)
        log_weights = np.log(np.maximum(found.params.latent, 1e-300))[:, None]
        near = [(density(batch).log_prob + log_weights).argmax(axis=0) for batch in Batches(rows)]
        ari = adjusted_rand_score(labels, np.concatenate(near))
        name = type(family).__name__.lower()
        show(f"{name}, engine", seconds, found.n_iter, peak, held, ari)
        for n_init, init_params in ((1, "random"), (5, "auto")):
            mixture = MixtureEM(
                K, emission=name, emission_prior=1.1, n_init=n_init, init_params=init_params, random_state=0
            )
            found, seconds, peak = measured(lambda mixture=mixture, rows=rows: mixture.fit(rows))
            ari = adjusted_rand_score(labels, found.predict(rows))
            show(f"{name}, {init_params}, {n_init}", seconds, found.n_iter_, peak, held, ari)


if __name__ == "__main__":
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that are one of many
        main()
