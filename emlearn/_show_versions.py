"""What a bug report needs to say about the machine."""

import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from emlearn._version import __version__

_DISTRIBUTIONS = (
    "scikit-learn",
    "numpy",
    "scipy",
    "joblib",
    "threadpoolctl",
    "matplotlib",
    "Cython",
    "dask",
    "pandas",
    "polars",
    "pyarrow",
)


def _installed(distribution):
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _kernel(module):
    return import_module(f"emlearn.{module}").kernel.NAME


def _blas():
    # threadpoolctl sees only libraries that are loaded: NumPy and SciPy bring theirs.
    from numpy import linalg  # noqa: F401
    from scipy.linalg import blas  # noqa: F401
    from threadpoolctl import threadpool_info

    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]


def show_versions() -> None:
    """Print versions and settings to paste into a bug report.

    Prints the system, the versions of emlearn and of the packages it can use, whether the
    optional compiled extensions are there, and each BLAS library that is
    loaded, with its number of threads.

    Examples
    --------
    >>> import emlearn
    >>> emlearn.show_versions()
    System
        python: ...
    """
    sections = {
        "System": {
            "python": sys.version.replace("\n", " "),
            "executable": sys.executable,
            "machine": platform.platform(),
        },
        "Packages": {
            "emlearn": __version__,
            **{name: _installed(name) for name in _DISTRIBUTIONS},
        },
        "Compiled code": {
            "chain kernel": _kernel("latent.markov_chain"),
            "posterior kernel": _kernel("latent.exponentials"),
            "matrix kernel": _kernel("em.matrices"),
            "scale kernel": _kernel("families.student_t"),
        },
        "BLAS": {
            f"library {i}": "{internal_api} {version}, {num_threads} threads".format_map(pool)
            for i, pool in enumerate(_blas(), start=1)
        },
    }
    for title, entries in sections.items():
        print(title)
        for name, value in entries.items():
            print(f"    {name}: {value}")
