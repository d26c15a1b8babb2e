"""Fixtures of all tests. What is no fixture and has more than one user lies in tests/helpers."""

import pytest

pytest.register_assert_rewrite("tests.helpers")

from emlearn.latent import markov_chain  # noqa: E402
from tests.helpers.kernels import KERNELS  # noqa: E402


@pytest.fixture(params=KERNELS.values(), ids=KERNELS.keys())
def kernel(request, monkeypatch):
    """The recursions that the test runs on, first these and then those."""
    monkeypatch.setattr(markov_chain, "kernel", request.param)
    return request.param
