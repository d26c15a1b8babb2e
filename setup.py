"""What pyproject.toml cannot say: one compiled extension that may be missing."""

from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

CHAIN = Path("emlearn/latent/_chain.pyx")

# The place is kept for the recursions of Markov chains: there is no source yet. Where it, Cython or
# (`optional`) a compiler is missing, emlearn installs without. setuptools calls Cython itself;
# memoryviews need no NumPy headers.
buildable = CHAIN.exists() and find_spec("Cython") is not None
chain = Extension("emlearn.latent._chain", [CHAIN.as_posix()], optional=True)

setup(ext_modules=[chain] if buildable else [])
