"""The pages of the documentation: their blocks of code run, in their order. Doctests are pytest's own."""

import re
import textwrap
from pathlib import Path

import pytest

import emlearn

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:(?: +.*)?\n)+)", re.MULTILINE)
PAGES = sorted(
    path.relative_to(ROOT / "doc").with_suffix("").as_posix()
    for path in (ROOT / "doc").rglob("*.rst")
    if not {"generated", "auto_examples", "_build"} & set(path.parts) and BLOCK.search(path.read_text("utf-8"))
)
# What a fragment takes for granted, in words of its page.
GIVEN = {
    "coming_from/hmmlearn": """
from hmmlearn.hmm import PoissonHMM
from emlearn import HMMEM
from emlearn.datasets import load_earthquakes
X = load_earthquakes().data.astype(int)
lengths = [50, 57]
""",
}


def blocks(page):
    return [
        textwrap.dedent(block) for block in BLOCK.findall((ROOT / "doc" / f"{page}.rst").read_text("utf-8"))
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")  # there is no screen
@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    if page == "coming_from/hmmlearn":
        pytest.importorskip("hmmlearn")
    monkeypatch.chdir(tmp_path)  # an example saves its picture where it stands
    names = {}
    exec(GIVEN.get(page, ""), names)
    for block in blocks(page):
        exec(compile(block, f"{page}.rst", "exec"), names)


COMING_FROM = sorted(path for path in (ROOT / "doc" / "coming_from").glob("*.rst") if path.stem != "index")


@pytest.mark.parametrize("path", COMING_FROM, ids=lambda path: path.stem)
def test_pages_of_peers_have_one_form(path):
    """Calls, parameters, attributes, why numbers differ, and what the other does better."""
    page = path.read_text("utf-8")
    form = ("Old call, new call", "Parameters", "Attributes", "Why numbers differ", "What .* that .* not")
    places = [re.search(rf"^{heading}\n[-~]", page, re.MULTILINE) for heading in form]
    assert all(places)
    assert [place.start() for place in places] == sorted(place.start() for place in places)


def test_pages_of_code_are_found():
    assert {"dask", "learn/production", "coming_from/hmmlearn"} <= set(PAGES)


def test_the_chart_leads_to_every_estimator():
    chart = (ROOT / "doc" / "_static" / "which_estimator.svg").read_text("utf-8")
    for page in re.findall(r'href="([^"]+)\.html"', chart):
        assert (ROOT / "doc" / f"{page}.rst").exists(), page
    estimators = {name for name in emlearn.__all__ if hasattr(getattr(emlearn, name), "fit")}
    assert estimators <= set(re.findall(r'class="name"[^>]*>([\w.]+)<', chart)) | {"InformationCriterionSearch"}
    words = (ROOT / "doc" / "user_guide.rst").read_text("utf-8")
    assert all(f":doc:`{name} <" in words for name in estimators - {"InformationCriterionSearch"})
