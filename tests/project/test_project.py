"""The project as a whole: version, imports, README."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import emlearn
from tests.helpers.pace import some_slow

ROOT = Path(__file__).parents[2]


def test_version_is_stated_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    source = project["tool"]["setuptools"]["dynamic"]["version"]
    assert "version" not in project["project"]
    assert source == {"attr": "emlearn._version.__version__"}
    assert emlearn.__version__ == emlearn._version.__version__


def test_installed_version_is_the_imported_one():
    try:
        installed = version("scikit-emlearn")
    except PackageNotFoundError:
        pytest.skip("not installed")
    assert installed == emlearn.__version__


def test_show_versions(capsys):
    emlearn.show_versions()
    printed = capsys.readouterr().out
    assert f"emlearn: {emlearn.__version__}" in printed
    assert re.search(r"scikit-learn: \d", printed)
    for kernel in ("chain", "posterior", "matrix"):
        assert re.search(rf"{kernel} kernel: (compiled|NumPy)\n", printed)
    assert "BLAS" in printed


def test_readme_warns_first():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert "Do not `pip install emlearn`" in first


def readme_snippets():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", some_slow(range(4), [0, 2]))  # the second is a grid search
def test_readme_snippets_run(number, capsys):
    exec(compile(readme_snippets()[number], "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_readme_has_four_snippets():
    assert len(readme_snippets()) == 4


def test_paths_in_contributing_exist():
    """But for sections that wait to be checked against the code."""
    sections = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")
    text = "\n".join(part for part in sections if "<!-- checked against code: no -->" not in part)
    paths = re.findall(r"\b(?:emlearn|tests|doc)/[\w/{},.]*\w", text)
    assert len(paths) > 15
    for path in paths:
        start, alternatives, end = re.fullmatch(r"([^{]*)(?:\{(.*)\})?(.*)", path).groups()
        for name in (alternatives or "").split(","):
            assert path == "doc/_build" or (ROOT / f"{start}{name}{end}").exists(), path
