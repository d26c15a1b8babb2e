"""EM of a full-covariance Gaussian mixture on arrays of the Python array API standard: a prototype, and floors.

    SCIPY_ARRAY_API=1 python benchmarks/array_api_em.py                    # everything, on the processor
    SCIPY_ARRAY_API=1 python benchmarks/array_api_em.py times sklearn --device cuda --rows 10000000

Parts:

equal
    The prototype beside emlearn's own E-step and M-step, on each array library that is installed; float32.
times
    An E-step and an M-step of each, one thread.
sklearn
    An iteration of scikit-learn's GaussianMixture on the same arrays (``array_api_dispatch``).
floors
    What one card could do at best, by bytes over bandwidth and operations over rate, beside this machine.

NumPy, array_api_strict, torch and JAX are tried, and skipped where they are not installed; with ``--device``
only torch. Tables are reStructuredText.
"""

import argparse
import functools
import os
import time
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from emlearn.em import Batch, Batches, LatentModel, LatentPair
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams
from emlearn.latent import MixtureWeights

FLOOR = 1e-6  # least eigenvalue of a covariance matrix
# Where the engine takes roots rather than products (emlearn/families/gaussian.py).
ROOTS_FROM, ROOTS_RATIO = 10, 100
LIBRARIES = ("numpy", "array_api_strict", "torch", "jax")
SIZES = ((10, 10), (50, 20))  # (d, K)


# -- the prototype: nothing but the standard below this line ---------------------------------------------


class Params(NamedTuple):
    """Parameters of K components over d features."""

    weights: Any  # (K,)
    means: Any  # (K, d)
    covariances: Any  # (K, d, d)


class Totals(NamedTuple):
    """What an E-step adds up, moments about the means of its parameters."""

    log_likelihood: Any
    counts: Any  # (K,) Σ r
    first: Any  # (K, d) Σ r (x − μ)
    second: Any  # (K, d, d) Σ r (x − μ)(x − μ)ᵀ


def whiteners(xp, covariances):
    """W with Σ⁻¹ = W Wᵀ, (K, d, d). The standard has no triangular solve: L is inverted as any matrix is."""
    return xp.matrix_transpose(xp.linalg.inv(xp.linalg.cholesky(covariances)))


def linear_terms(xp, means, whitener):
    """Coefficients on x, (K, d), and log-densities at 0, (K,)."""
    d = means.shape[1]
    linear = xp.matmul(whitener, xp.matmul(xp.matrix_transpose(whitener), means[:, :, None]))[:, :, 0]
    log_det = xp.sum(xp.log(xp.linalg.diagonal(whitener)), axis=1)
    return linear, log_det - 0.5 * d * float(np.log(2 * np.pi)) - 0.5 * xp.sum(means * linear, axis=1)


def posterior(xp, joint):
    """Responsibilities (K, m) and log evidence (m,). The standard has no logsumexp."""
    shift = xp.max(joint, axis=0)
    joint = xp.exp(joint - shift)
    total = xp.sum(joint, axis=0)
    return joint / total, xp.log(total) + shift


def about(xp, means, counts, first, second):
    """Moments about the means, from those about 0."""
    cross = means[:, :, None] * (counts[:, None] * means - 2 * first)[:, None, :]
    second = second + 0.5 * (cross + xp.matrix_transpose(cross))
    return counts, first - counts[:, None] * means, second


def triangle(xp, d, like):
    """Places of the upper triangle in a flat matrix, (F,), and of each entry in the triangle, (d · d,)."""
    rows, columns = np.triu_indices(d)
    where = np.empty((d, d), dtype=np.int64)
    where[rows, columns] = where[columns, rows] = np.arange(rows.size)
    device = getattr(like, "device", None)
    flat = (rows * d + columns).tolist(), where.ravel().tolist(), np.where(rows == columns, -0.5, -1.0).tolist()
    return (
        xp.asarray(flat[0], device=device),
        xp.asarray(flat[1], device=device),
        xp.asarray(flat[2], dtype=like.dtype, device=device),
    )


def by_products(xp, params):
    """E-step as two matrix products with T(x) = (1, x, x_i x_j), as a function of x (d, m)."""
    K, d = params.means.shape
    whitener = whiteners(xp, params.covariances)
    linear, at_zero = linear_terms(xp, params.means, whitener)
    flat, where, factor = triangle(xp, d, params.means)
    precision = xp.reshape(xp.matmul(whitener, xp.matrix_transpose(whitener)), (K, d * d))
    quadratic = xp.take(precision, flat, axis=1) * factor
    natural = xp.concat([(at_zero + xp.log(params.weights))[:, None], linear, quadratic], axis=1)

    def e_step(x):
        T = xp.concat([xp.ones_like(x[:1, :]), x, *[x[i : i + 1, :] * x[i:, :] for i in range(d)]], axis=0)
        resp, evidence = posterior(xp, xp.matmul(natural, T))
        raw = xp.matmul(resp, xp.matrix_transpose(T))
        second = xp.reshape(xp.take(raw[:, d + 1 :], where, axis=1), (K, d, d))
        return Totals(xp.sum(evidence), *about(xp, params.means, raw[:, 0], raw[:, 1 : d + 1], second))

    return e_step


def by_roots(xp, params):
    """E-step by |Wᵀ x|² and (√r x)(√r x)ᵀ, component by component, as a function of x (d, m)."""
    whitener = whiteners(xp, params.covariances)
    linear, at_zero = linear_terms(xp, params.means, whitener)
    at_zero = at_zero + xp.log(params.weights)

    def e_step(x):
        squares = []
        for k in range(whitener.shape[0]):
            white = xp.matmul(xp.matrix_transpose(whitener[k, :, :]), x)
            squares.append(xp.sum(white * white, axis=0))
        joint = xp.matmul(linear, x) + at_zero[:, None] - 0.5 * xp.stack(squares)
        resp, evidence = posterior(xp, joint)
        second = []
        for k in range(whitener.shape[0]):
            rooted = x * xp.sqrt(resp[k, :])
            second.append(xp.matmul(rooted, xp.matrix_transpose(rooted)))
        first = xp.matmul(resp, xp.matrix_transpose(x))
        return Totals(xp.sum(evidence), *about(xp, params.means, xp.sum(resp, axis=1), first, xp.stack(second)))

    return e_step


def expectation(xp, params):
    """The E-step that the engine would take."""
    K, d = params.means.shape
    return by_roots(xp, params) if d >= ROOTS_FROM and d * d >= ROOTS_RATIO * K else by_products(xp, params)


def maximize(xp, totals, params, floor=FLOOR):
    """The M-step, for components none of which is empty."""
    counts = totals.counts[:, None]
    step = totals.first / counts
    covariances = totals.second / counts[:, :, None] - step[:, :, None] * step[:, None, :]
    values, vectors = xp.linalg.eigh(covariances)
    # What cholesky does where a matrix is not positive definite is not in the standard, so eigenvalues are
    # asked; and a branch on data waits for the device.
    if bool(xp.any(values < floor)):
        raised = xp.maximum(values, xp.asarray(floor, dtype=values.dtype, device=values.device))
        rebuilt = xp.matmul(vectors * raised[:, None, :], xp.matrix_transpose(vectors))
        rebuilt = 0.5 * (rebuilt + xp.matrix_transpose(rebuilt))
        covariances = xp.where((values[:, 0] < floor)[:, None, None], rebuilt, covariances)
    return Params(totals.counts / xp.sum(totals.counts), params.means + step, covariances)


def add(a, b):
    return Totals(*[x + y for x, y in zip(a, b, strict=True)])


def summed(e_step, batches):
    return functools.reduce(add, map(e_step, batches))


# -- arrays of each library ------------------------------------------------------------------------------


class Library(NamedTuple):
    """An array library that is installed."""

    name: str
    xp: Any  # its namespace, as the standard has it
    device: Any
    finish: Any  # waits for what has been asked of it
    compiled: Any  # what makes an E-step of a Python function

    def array(self, values, dtype=np.float64):
        values = np.asarray(values, dtype=dtype)
        return self.xp.asarray(values) if self.device is None else self.xp.asarray(values, device=self.device)

    def params(self, params, dtype=np.float64):
        return Params(*[self.array(values, dtype) for values in params])

    def seconds(self, function, n=5):
        """Least seconds of n calls, after one that is not counted."""
        self.finish(function())
        seconds = []
        for _ in range(n):
            begin = time.perf_counter()
            self.finish(function())
            seconds.append(time.perf_counter() - begin)
        return min(seconds)


def arrays_of(name, device=None):
    """The library of this name, on this device; None if it is not installed, or does not load."""
    if find_spec(name) is None:
        return None
    try:
        module = import_module(name)
    except ImportError:  # one that wants a driver
        return None
    if name == "torch":
        xp = import_module("sklearn.externals.array_api_compat.torch")
        wait = module.cuda.synchronize if str(device).startswith("cuda") else lambda: None
        return Library(name, xp, device, lambda _: wait(), lambda f: f)
    if name == "jax":
        module.config.update("jax_enable_x64", True)
        return Library(name, module.numpy, None, module.block_until_ready, module.jit)
    return Library(name, module, None, lambda _: None, lambda f: f)


def libraries(device):
    """Those that are there; with a device, torch alone."""
    names = LIBRARIES if device is None else ("torch",)
    found = [arrays_of(name, device) for name in names]
    return [lib for lib in found if lib is not None]


def numbers(array):
    """As a NumPy array, wherever it is."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


# -- the engine ------------------------------------------------------------------------------------------


def model():
    return LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"], floor=FLOOR))


def engine_params(params):
    return LatentPair(params.weights, GaussianParams(params.means, params.covariances))


def engine_totals(result, d):
    """The engine's statistics in the prototype's form."""
    _, where, _ = triangle(np, d, np.empty(0))
    second = result.stats.family.second[:, where].reshape(-1, d, d)
    return Totals(result.log_likelihood, result.stats.family.weight, result.stats.family.first, second)


def engine_step(params, x):
    """Totals and new parameters, by emlearn, for x (d, m)."""
    em, start = model(), engine_params(params)
    result = em.expectation(start)(Batch(np.ascontiguousarray(x)))
    after = em.maximize(result.stats, start)
    return engine_totals(result, len(x)), Params(after.latent, *after.family)


def problem(d, K, n, seed=0):
    """Parameters near those that n rows, features first, are drawn from."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((K, d)) * 4.0 / np.sqrt(d)
    axes = np.linalg.qr(rng.standard_normal((K, d, d)))[0]
    covariances = (axes * rng.uniform(0.4, 1.6, size=(K, 1, d))) @ axes.swapaxes(1, 2)
    weights = rng.dirichlet(np.full(K, 10.0))
    x = rng.standard_normal((d, n))
    labels = rng.choice(K, size=n, p=weights)
    for k, root in enumerate(np.linalg.cholesky(covariances)):
        x[:, labels == k] = root @ x[:, labels == k] + means[k][:, None]
    return Params(weights, means + 0.1, 1.2 * covariances), x


def difference(ours, theirs):
    """Largest difference, relative to the largest number of each array."""
    pairs = [(numbers(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


# -- parts -----------------------------------------------------------------------------------------------


def rst_table(columns, rows):
    cells = [columns, *rows]
    widths = [max(len(row[j]) for row in cells) for j in range(len(columns))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def title(text):
    print(f"\n{text}\n{'-' * len(text)}\n", flush=True)


def part_equal(options):
    title("Largest relative difference from emlearn's E-step and M-step")
    rows = []
    for lib in libraries(options.device):
        for d, K in SIZES:
            params, x = problem(d, K, 20_000)
            totals, after = engine_step(params, x)
            own = lib.params(params)
            for e_step in (by_products, by_roots):
                found = e_step(lib.xp, own)(lib.array(x))
                made = maximize(lib.xp, found, own)
                apart = [f"{difference(*pair):.0e}" for pair in ((found, totals), (made, after))]
                rows.append([lib.name, f"{d}", f"{K}", e_step.__name__.replace("_", " "), *apart])
    print(rst_table(["arrays", "d", "K", "E-step", "statistics", "parameters"], rows))

    title("The same in float32, NumPy, 20,000 rows of 10 features, K = 10")
    rows, (plain, x) = [], problem(10, 10, 20_000)
    for offset in (0.0, 10.0, 100.0):
        moved, there = plain._replace(means=plain.means + offset), x + offset
        totals, after = engine_step(moved, there)
        narrow = Params(*[a.astype(np.float32) for a in moved])
        for e_step in (by_products, by_roots):
            found = e_step(np, narrow)(there.astype(np.float32))
            made = maximize(np, found, narrow)
            off = abs(float(found.log_likelihood) - totals.log_likelihood) / x.shape[1]
            rows.append(
                [
                    f"{offset:g}",
                    e_step.__name__.replace("_", " "),
                    f"{off:.0e}",
                    f"{difference(made, after):.0e}",
                ]
            )
    columns = ["all means moved by", "E-step", "log-likelihood, nats a row", "parameters"]
    print(rst_table(columns, rows))


def part_times(options):
    for d, K in SIZES:
        n = options.rows * 10 // d
        title(f"{n:,} rows of {d} features, K = {K}: milliseconds")
        params, x = problem(d, K, n)
        with threadpool_limits(1):
            rows = [times_of_engine(params, x)]
            for lib in libraries(options.device):
                if lib.name == "torch" and options.device is None:
                    import_module("torch").set_num_threads(1)
                rows += times_of(lib, params, x, options.batch or (4096 if lib.device is None else 2**20))
        print(rst_table(["arrays", "how", "E-step", "M-step"], rows))


def times_of_engine(params, x):
    """Row of the table for emlearn, with the batches that it would choose."""
    em, start = model(), engine_params(params)
    batches = engine_batches(params, x)
    e_step = em.expectation(start)
    stats = batches.sum(e_step).stats
    numpy = arrays_of("numpy")
    times = [numpy.seconds(lambda: batches.sum(e_step)), numpy.seconds(lambda: em.maximize(stats, start))]
    return ["emlearn", "", f"{1e3 * times[0]:.0f}", f"{1e3 * times[1]:.2f}"]


def engine_batches(params, x, n_threads=1):
    """Rows as the estimators cut them, from x (d, n)."""
    own, (K, d) = model(), params.means.shape
    floats = own.family.floats_per_row(K, d) + own.latent.floats_per_row(K)
    return Batches(np.ascontiguousarray(x.T), floats_per_row=floats, n_threads=n_threads)


def times_of(lib, params, x, m):
    """Rows of the table for one library."""
    own = lib.params(params)
    whole = lib.array(x)
    n = x.shape[1]  # slices beyond the end are not in the standard
    batches = [whole[:, i : min(i + m, n)] for i in range(0, n, m)]
    plain = expectation(lib.xp, own)
    totals = summed(plain, batches)
    m_step = 1e3 * lib.seconds(lambda: maximize(lib.xp, totals, own))
    e_step = 1e3 * lib.seconds(lambda: summed(plain, batches), 3)
    rows = [[lib.name, f"operation by operation, batches of {m:,}", f"{e_step:.0f}", f"{m_step:.2f}"]]
    if lib.name == "jax":
        compiled = lib.compiled(plain)
        e_step = 1e3 * lib.seconds(lambda: summed(compiled, batches), 3)
        rows.append([lib.name, f"compiled, batches of {m:,}", f"{e_step:.0f}", ""])
    return rows


def part_sklearn(options):
    d, K = SIZES[0]
    title(
        f"scikit-learn {sklearn.__version__}, {options.rows:,} rows of {d} features, K = {K}: ms an iteration"
    )
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        print("Skipped: scikit-learn wants the environment variable SCIPY_ARRAY_API=1.")
        return
    params, x = problem(d, K, options.rows)
    rows = []
    with threadpool_limits(1):
        for lib in libraries(options.device):
            X = lib.array(np.ascontiguousarray(x.T))
            for kind in ("full", "diag"):
                try:
                    rows.append([lib.name, kind, f"{1e3 * sklearn_iteration(lib, X, params, kind):.0f}"])
                except (TypeError, ValueError, AttributeError, RuntimeError) as error:
                    rows.append([lib.name, kind, f"fails: {str(error).splitlines()[0][:60]}"])
    print(rst_table(["arrays", "covariances", "ms"], rows))


def sklearn_iteration(lib, X, params, kind, n=5):
    """Seconds of an iteration: those of n + 1 less those of one, over n."""
    precisions = np.linalg.inv(params.covariances)
    precisions = precisions if kind == "full" else np.diagonal(precisions, axis1=1, axis2=2)
    start = {
        "weights_init": lib.array(params.weights),
        "means_init": lib.array(params.means),
        "precisions_init": lib.array(precisions),
    }

    def fit(max_iter):
        mixture = GaussianMixture(
            len(params.weights), covariance_type=kind, tol=0.0, max_iter=max_iter, init_params="random", **start
        )
        with sklearn.config_context(array_api_dispatch=True), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return mixture.fit(X)

    return (lib.seconds(lambda: fit(n + 1), 3) - lib.seconds(lambda: fit(1), 3)) / n


# -- floors ----------------------------------------------------------------------------------------------


class Card(NamedTuple):
    """What a data sheet says, per second."""

    name: str
    bandwidth: float  # bytes of its memory
    vector: dict  # operations outside of its matrix units, by bytes of a number
    matrix: dict  # operations in its matrix units
    bus: float  # bytes from the host, one way


# NVIDIA's data sheet of the H100 SXM. Its matrix units do not take float32 in full precision.
H100 = Card("H100 SXM", 3.35e12, {8: 34e12, 4: 67e12}, {8: 67e12, 4: 67e12}, 64e9)
SHARE = 20  # this machine is timed on one row in so many
EXP = 30  # operations that we take an exponential for


class Work(NamedTuple):
    """An E-step of n rows, in numbers and operations."""

    products: float  # operations of the two products
    rest: float  # all others
    once: float  # numbers read once: the rows
    passes: float  # numbers read and written, one operation after another

    @classmethod
    def by_products(cls, n, d, K):
        F = 1 + d + d * (d + 1) // 2
        passes = d + 3 * F + 12 * K  # x; T written and read twice; log-densities and responsibilities
        return cls(4.0 * F * K * n, (F + (EXP + 8) * K) * n, d * n, passes * n)

    @classmethod
    def by_roots(cls, n, d, K):
        passes = K * (2 * d + 2 * d + 2 * d) + 12 * K  # white, squares; √r x, twice over; responsibilities
        return cls(4.0 * d * d * K * n, (3 * d * K + (EXP + 8) * K) * n, d * n, passes * n)


def part_floors(options):
    title(f"An E-step on one {H100.name}, at best, and on this machine: milliseconds")
    rows = []
    for n, d, K in ((10_000_000, 10, 10), (1_000_000, 50, 20)):
        for kind in (Work.by_products, Work.by_roots):
            work = kind(n, d, K)
            for size in (8, 4):
                flops = work.products / H100.matrix[size] + work.rest / H100.vector[size]
                read = work.once * size / H100.bandwidth
                fused, apart = max(flops, read), max(flops, work.passes * size / H100.bandwidth)
                names = [f"{n:.0e} x {d}, K = {K}", kind.__name__.replace("_", " "), f"float{8 * size}"]
                times = [f"{1e3 * t:.2f}" for t in (flops, read, fused, apart, work.once * size / H100.bus)]
                rows.append([*names, f"{work.products / 1e9:,.0f}", *times])
    columns = ["rows", "E-step", "numbers", "products, Gflop", "operations", "rows read once"]
    print(rst_table([*columns, "in one kernel", "operation by operation", "rows over the bus, once"], rows))
    if options.device is not None:
        return
    rows = []
    for n, d, K in ((10_000_000, 10, 10), (1_000_000, 50, 20)):
        params, x = problem(d, K, n // SHARE)
        row = [f"{n:.0e} x {d}, K = {K}"]
        for n_threads in (1, 2):
            batches, e_step = engine_batches(params, x, n_threads), model().expectation(engine_params(params))
            ask = functools.partial(batches.sum, e_step)
            with threadpool_limits(1):
                row.append(f"{1e3 * SHARE * arrays_of('numpy').seconds(ask, 3):,.0f}")
        rows.append(row)
    print(f"\n{rst_table(['rows', 'emlearn, one thread', 'two threads'], rows)}")


PARTS = {"equal": part_equal, "times": part_times, "sklearn": part_sklearn, "floors": part_floors}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--device", help="device of torch, such as cuda; the processor if not given")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of 10 features to time with")
    parser.add_argument("--batch", type=int, help="rows of a batch of the prototype")
    options = parser.parse_args()
    wanted = options.parts or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    there = [lib.name for lib in libraries(options.device)]
    if options.device is not None and not there:
        parser.error(f"--device {options.device} wants torch, which is not installed or does not load here")
    skipped = set(LIBRARIES) - set(there) if options.device is None else ()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; arrays of {', '.join(there)}.")
    if skipped:
        print(f"Skipped, not installed or without what it loads: {', '.join(sorted(skipped))}.")
    for name in wanted:
        PARTS[name](options)


if __name__ == "__main__":
    main()
