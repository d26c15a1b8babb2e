"""What pyproject.toml cannot say: one compiled extension that may be missing."""

from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

CHAIN = Path("emlearn/latent/_chain.pyx")

# Where the source or Cython is missing, emlearn runs on the NumPy twin. `optional` does the
# same for a missing compiler. setuptools calls Cython itself; memoryviews need no NumPy headers.
buildable = CHAIN.exists() and find_spec("Cython") is not None
chain = Extension("emlearn.latent._chain", [CHAIN.as_posix()], optional=True)

setup(ext_modules=[chain] if buildable else [])
