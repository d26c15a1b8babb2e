"""The prototype of EM on arrays of the array API standard takes the engine's steps."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "array_api_em.py"
# Relative to the largest number of each array: two dozen operations on sums of a thousand rows.
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def prototype():
    spec = importlib.util.spec_from_file_location("array_api_em", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # NamedTuple looks its module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(params=["numpy", "array_api_strict"])
def library(request, prototype):
    pytest.importorskip(request.param)
    return prototype.arrays_of(request.param)


@pytest.mark.parametrize("e_step", ["by_products", "by_roots", "expectation"])
@pytest.mark.parametrize(("d", "K"), [(2, 3), (10, 1), (12, 2)])
def test_steps_are_those_of_the_engine(prototype, library, e_step, d, K):
    params, x = prototype.problem(d, K, 1000)
    totals, after = prototype.engine_step(params, x)
    own = library.params(params)
    found = getattr(prototype, e_step)(library.xp, own)(library.array(x))
    assert prototype.difference(found, totals) < TOLERANCE
    assert prototype.difference(prototype.maximize(library.xp, found, own), after) < TOLERANCE


def test_the_floor_is_that_of_the_engine(prototype, library):
    """One of the components has no width in one direction: its eigenvalue is raised, the others' are not."""
    params, x = prototype.problem(3, 2, 1000)
    x[2, x[0] > np.median(x[0])] = 5.0
    params.means[0], params.means[1] = (x[:, x[2] != 5.0].mean(axis=1), x[:, x[2] == 5.0].mean(axis=1))
    for k, rows in enumerate((x[:, x[2] != 5.0], x[:, x[2] == 5.0])):
        params.covariances[k] = np.cov(rows) + 1e-4 * np.eye(3)
    totals, after = prototype.engine_step(params, x)
    lowest = np.linalg.eigvalsh(after.covariances)[:, 0]
    assert lowest[1] == pytest.approx(prototype.FLOOR)
    assert lowest[0] > 100 * prototype.FLOOR
    own = library.params(params)
    found = prototype.by_products(library.xp, own)(library.array(x))
    # Precisions of 10,000 times squares of up to 50: that many digits more are lost in rounding.
    assert prototype.difference(found, totals) < 1e-9
    assert prototype.difference(prototype.maximize(library.xp, found, own), after) < 1e-9


def test_batches_add_up(prototype, library):
    params, x = prototype.problem(4, 3, 900)
    e_step = prototype.expectation(library.xp, library.params(params))
    whole = library.array(x)
    parts = prototype.summed(e_step, [whole[:, :300], whole[:, 300:650], whole[:, 650:]])
    assert prototype.difference(parts, [prototype.numbers(a) for a in e_step(whole)]) < TOLERANCE


def test_a_library_that_is_not_there_is_skipped(prototype):
    assert prototype.arrays_of("no_such_arrays") is None
