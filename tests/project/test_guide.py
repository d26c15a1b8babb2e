"""The guide: its blocks of code run, in the order in which they stand. Doctests in it are pytest's own."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:(?: +.*)?\n)+)", re.MULTILINE)
# The file that a page includes in front of a block that goes on with it.
INCLUDED = {"guide": "examples/fit_your_own_model.py"}


def blocks(page):
    return [
        textwrap.dedent(block) for block in BLOCK.findall((ROOT / "doc" / f"{page}.rst").read_text("utf-8"))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["guide"])
def test_blocks_run(page):
    pytest.importorskip("pandas")
    names = {}
    if page in INCLUDED:
        exec(compile((ROOT / INCLUDED[page]).read_text("utf-8"), INCLUDED[page], "exec"), names)
    assert blocks(page)
    for block in blocks(page):
        exec(compile(block, f"{page}.rst", "exec"), names)
