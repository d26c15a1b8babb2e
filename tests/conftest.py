"""Fixtures of all tests. What is no fixture and has more than one user lies in tests/helpers."""

import os

import pytest
from threadpoolctl import threadpool_limits

pytest.register_assert_rewrite("tests.helpers")

from emlearn.latent import exponentials, markov_chain  # noqa: E402
from tests.helpers.kernels import EXPONENTIALS, KERNELS  # noqa: E402

# Processes side by side (pytest -n) share the cores.
if n_processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    threadpool_limits(max(1, (os.cpu_count() or 1) // n_processes))


@pytest.fixture(params=KERNELS.values(), ids=KERNELS.keys())
def kernel(request, monkeypatch):
    """The recursions that the test runs on, first these and then those."""
    monkeypatch.setattr(markov_chain, "kernel", request.param)
    monkeypatch.setattr(exponentials, "kernel", EXPONENTIALS[request.param.NAME])
    return request.param
