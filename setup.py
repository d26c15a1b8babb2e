"""What pyproject.toml cannot say: compiled extensions that may be missing."""

import os
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

PACKAGE = Path("emlearn")
# Extensions, and the headers that they include.
HEADERS = {
    "em/_matrices": [],
    "families/_scales": ["families/scales.h", "em/elementary.h", "em/vectors.h"],
    "latent/_chain": ["latent/chain_steps.h", "em/vectors.h"],
    "latent/_exponentials": ["latent/exponentials.h", "em/elementary.h", "em/vectors.h"],
}


def extension(name):
    """One extension, that emlearn installs without where (`optional`) a compiler is missing."""
    return Extension(
        f"emlearn.{name.replace('/', '.')}",
        [(PACKAGE / f"{name}.pyx").as_posix()],
        depends=[(PACKAGE / header).as_posix() for header in HEADERS[name]],
        # The flags suit every processor of a platform: the headers ask for wider vectors at run time.
        extra_compile_args=[] if os.name == "nt" else ["-O3", "-fno-math-errno", "-fno-trapping-math"],
        optional=True,
    )


# Where an extension is not built, its NumPy twin runs. setuptools calls Cython itself, and needs no headers.
buildable = PACKAGE.exists() and find_spec("Cython") is not None
setup(ext_modules=[extension(name) for name in HEADERS] if buildable else [])
