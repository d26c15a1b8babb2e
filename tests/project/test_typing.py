"""Types of the public names: that they are there, that they are true, and that a checker finds them."""

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import emlearn
from emlearn import datasets, display, hmm, impute, missing, mixture, regression, sequences
from emlearn._sklearn_compat import StrOptions

ROOT = Path(__file__).parents[2]
MODULES = (emlearn, datasets, display, hmm, impute, missing, mixture, regression, sequences)
PUBLIC = {
    value.__name__: value
    for module in MODULES
    for name, value in vars(module).items()
    if not name.startswith("_")
    and (inspect.isclass(value) or inspect.isfunction(value))
    and value.__module__.startswith("emlearn.")
}
ESTIMATORS = [name for name, value in PUBLIC.items() if hasattr(value, "_parameter_constraints")]


def functions_of(value):
    """A function itself; of a class `__init__`, and what is public and emlearn's own."""
    if inspect.isfunction(value):
        return {value.__name__: value}
    found = {}
    for name in dir(value):
        member = inspect.getattr_static(value, name)
        function = getattr(member, "fget", None) or getattr(member, "fn", None) or getattr(value, name, None)
        own = (getattr(function, "__module__", None) or "").startswith("emlearn.")
        if own and (name == "__init__" or not name.startswith("_")):
            found[name] = function
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_public_signatures_are_annotated(name):
    for title, function in functions_of(PUBLIC[name]).items():
        signature = inspect.signature(function)
        lacking = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert set(lacking) <= {"self", "cls"}, title
        assert signature.return_annotation is not signature.empty, title


def words(hint):
    """Words of a `Literal`, within a union or alone."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return set().union(*map(words, get_args(hint)))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_words_are_those_that_are_accepted(name):
    """A `Literal` has every word that the parameter can be, and no other."""
    estimator = PUBLIC[name]
    hints = get_type_hints(estimator.__init__)
    for parameter, constraints in estimator._parameter_constraints.items():
        options = [c.options for c in constraints if isinstance(c, StrOptions)]
        if words(hints[parameter]):
            assert [words(hints[parameter])] == options, parameter


def test_checkers_find_the_types():
    """A wheel carries the marker; an editable install is a path, not an import hook, which they cannot run."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert (ROOT / "emlearn/py.typed").exists()
    assert "py.typed" in settings["package-data"]["emlearn"]
    assert settings["package-dir"] == {"": "."}


@pytest.mark.slow  # and before each commit: they are among the files of mypy
def test_programs_of_users_are_typed(tmp_path):
    """mypy --strict on the programs of tests/typing, which say what types they expect."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=pyproject.toml"]
    command += [f"--cache-dir={tmp_path}", "tests/typing"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
