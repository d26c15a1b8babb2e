"""Peers' own tests run against emlearn, where they are installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2] / "benchmarks" / "peer_suites"
SUITES = ("sklearn-mixture", "sklearn-impute", "hmmlearn")


@pytest.fixture(scope="module")
def runner():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        spec = importlib.util.spec_from_file_location("peer_suites_run", HERE / "run.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "peer_suites_run", module)
        spec.loader.exec_module(module)
        yield module


def outcome(runner, name):
    try:
        runner.places_of(runner.SUITES[name])
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    return runner.run(name)


def failures(found):
    return {test: result.reason for test, (result, _) in found.items() if result.kind == "fails"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_nothing_fails(runner, name):
    found = outcome(runner, name)
    assert sum(result.kind == "passes" for result, _ in found.values()) >= 70
    assert failures(found) == {}


def told(passed, called=True, error="", kind=None):
    return {
        "outcome": kind or ("passed" if passed else "failed"),
        "called": called,
        "error": error,
        "seconds": 0.0,
    }


@pytest.mark.parametrize(
    ("test", "what", "kind", "reason"),
    [
        ("test_gaussian_mixture.py::test_any", told(True), "passes", ""),
        ("test_gaussian_mixture.py::test_any", told(True, called=False), "does not apply", "calls none"),
        ("test_gaussian_mixture.py::test_any", told(False, error="wrong"), "fails", "wrong"),
        ("test_gaussian_mixture.py::test_any", told(False, called=False, error="wrong"), "fails", "wrong"),
        (
            "test_gaussian_mixture.py::test_any",
            told(False, kind="xfailed"),
            "does not apply",
            "expected to fail",
        ),
        ("test_gaussian_mixture.py::test_any", told(False, kind="skipped"), "does not apply", "skipped"),
        ("test_gaussian_mixture.py::test_regularisation", told(False), "does not apply", "distinct rows"),
        ("test_gaussian_mixture.py::test_regularisation", told(True), "passes", ""),
    ],
)
def test_verdicts(runner, test, what, kind, reason):
    verdict = runner.verdict("sklearn-mixture", test, what)
    assert verdict.kind == kind
    assert reason in verdict.reason


def test_suites_that_are_not_installed_are_named(runner):
    with pytest.raises(FileNotFoundError, match="no_such_package is not installed"):
        runner.places_of(runner.Suite("no_such_package", ("tests",)))
    with pytest.raises(FileNotFoundError, match="numpy is not installed with its tests"):
        runner.places_of(runner.Suite("numpy", ("no/such/folder",)))


def test_every_reason_is_a_pattern(runner):
    assert set(runner.NOT_APPLICABLE) == set(runner.SUITES) == set(SUITES)
    for table in runner.NOT_APPLICABLE.values():
        for pattern, reason in table:
            assert runner.re.compile(pattern)
            assert reason.strip()
