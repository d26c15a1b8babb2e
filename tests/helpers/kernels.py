"""The two kernels of Markov chains, and of posterior probabilities."""

import pytest

from emlearn.latent import _chain_numpy, _exponentials_numpy, exponentials, markov_chain

COMPILED = markov_chain.kernel  # unless it is not built, or the environment asks for the twin
needs_compiled = pytest.mark.skipif(COMPILED is _chain_numpy, reason="the compiled kernel is not in use")
on_both_kernels = pytest.mark.usefixtures("kernel")
# Beside the recursions of a name.
EXPONENTIALS = {"NumPy": _exponentials_numpy, "compiled": exponentials.kernel}
KERNELS = {"numpy": _chain_numpy, "compiled": pytest.param(COMPILED, marks=needs_compiled)}
