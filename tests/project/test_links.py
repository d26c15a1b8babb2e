"""The checker of the built pages' links, which .ci/run lets loose on the documentation."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "doc" / "check_links.py"


def test_links_that_lead_nowhere_are_found(tmp_path):
    spec = importlib.util.spec_from_file_location("check_links", PATH)
    check_links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check_links)
    (tmp_path / "deep").mkdir()
    (tmp_path / "picture one.png").touch()
    (tmp_path / "a.html").write_text(
        '<p id="x"></p><img src="picture%20one.png"><a href="deep/b.html#y">b</a><a href="#x">here</a>'
        '<a href="https://example.org/none">elsewhere</a><a href="deep/c.html">no page</a>',
        encoding="utf-8",
    )
    (tmp_path / "deep" / "b.html").write_text(
        '<p id="y"></p><a href="../a.html#z">no anchor</a><img src="none.png"><a href="mailto:a@b.org">m</a>',
        encoding="utf-8",
    )
    found = {(page.as_posix(), link) for page, link in check_links.broken(tmp_path)}
    assert found == {("a.html", "deep/c.html"), ("deep/b.html", "../a.html#z"), ("deep/b.html", "none.png")}
