"""A mixture fitted to a file ten times as large as what may be allocated, its labels written to another.

The rows are made, read and labelled some at a time. A limit on memory makes sure: with it, there is not even
room for them as one array. Needs pyarrow.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from emlearn import GaussianMixtureEM
from emlearn.em import from_parquet, to_parquet

try:
    import resource
except ImportError:  # Windows
    resource = None

N, D, K = 10_000_000, 4, 3
ALLOWED = 8 * N * D // 10  # bytes that may be allocated beside what the interpreter and its libraries hold
STATUS = Path("/proc/self/status")  # where Linux tells what a process holds

means = 4 * np.random.default_rng(0).standard_normal((K, D))


def pieces(n, seed=1):
    """Rows of a mixture."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, 50_000):
        m = min(50_000, n - start)
        yield means[rng.integers(K, size=m)] + rng.standard_normal((m, D))


def held():
    """Bytes of memory that this process has allocated."""
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmData"))
    return 1024 * int(line.split()[1])


with tempfile.TemporaryDirectory() as folder:
    # A small fit and a small file first, so that all libraries are loaded when memory is limited.
    small, large, labels = (f"{folder}/{name}.parquet" for name in ("small", "large", "labels"))
    to_parquet(small, pieces(20_000))
    mixture = GaussianMixtureEM(K, n_init=2, random_state=0).fit(from_parquet(small, rows=10_000))
    to_parquet(small, mixture.predict(from_parquet(small, rows=10_000)))

    to_parquet(large, pieces(N), columns=[f"feature {j}" for j in range(D)])
    size = Path(large).stat().st_size
    print(f"{N:,} rows of {D} features: {8 * N * D / 1e6:.0f} MB, {size / 1e6:.0f} MB as a file")

    if resource is None or not STATUS.exists():
        print(f"{sys.platform} does not limit what a process allocates: the fit is the same, without a limit.")
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (held() + ALLOWED, resource.RLIM_INFINITY))
        print(f"From here on {ALLOWED / 1e6:.0f} MB more may be allocated.")
        try:
            np.empty((N, D))
        except MemoryError as error:
            print(f"All rows at once: {error}")

    rows = from_parquet(large, rows=25_000)
    mixture.fit(rows)
    print(f"\n{rows}")
    print(f"{mixture.n_iter_} iterations, converged: {mixture.converged_}")
    print(f"weights {mixture.weights_.round(3)}")
    off = np.abs(np.sort(mixture.means_, axis=0) - np.sort(means, axis=0)).max()
    print(f"means, sorted, are off by {off:.4f} at most")

    to_parquet(labels, mixture.predict(rows), columns="label")
    counts = sum(np.bincount(piece[:, 0].astype(int), minlength=K) for piece in from_parquet(labels))
    print(f"labels written: {counts.tolist()}")

if resource is not None:
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak of memory, all told: {peak / 1e6:.0f} MB")
