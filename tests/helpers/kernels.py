"""The two kernels of Markov chains."""

import pytest

from emlearn.latent import _chain_numpy, markov_chain

COMPILED = markov_chain.kernel  # unless it is not built, or the environment asks for the twin
needs_compiled = pytest.mark.skipif(COMPILED is _chain_numpy, reason="the compiled kernel is not in use")
on_both_kernels = pytest.mark.usefixtures("kernel")
KERNELS = {"numpy": _chain_numpy, "compiled": pytest.param(COMPILED, marks=needs_compiled)}
