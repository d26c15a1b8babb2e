"""What pyproject.toml cannot say: one compiled extension that may be missing."""

import os
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

CHAIN = Path("emlearn/latent/_chain.pyx")

# Where Cython or (`optional`) a compiler is missing, emlearn installs without and runs its NumPy twin.
# setuptools calls Cython itself; memoryviews need no NumPy headers. The flags suit every processor of a
# platform: chain_steps.h asks for wider vectors at run time.
buildable = CHAIN.exists() and find_spec("Cython") is not None
chain = Extension(
    "emlearn.latent._chain",
    [CHAIN.as_posix()],
    depends=["emlearn/latent/chain_steps.h"],
    extra_compile_args=[] if os.name == "nt" else ["-O3", "-fno-math-errno", "-fno-trapping-math"],
    optional=True,
)

setup(ext_modules=[chain] if buildable else [])
